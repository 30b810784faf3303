# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Compute with Gaussians, and check every line
#
# **You will do.** Derive the facts about Gaussians and averages that the course uses. Check each by algebra, on a grid, or with samples that carry an error bar.
#
# **You will learn.** Why Gaussians stay Gaussian: independent sums, and products of densities (Bayes' rule). How far apart two of them are (KL).
#
# **You will need.** Mean, variance, Bayes' rule (lesson 00 tests these), and that a density integrates to 1.
#
# Lecture 000: "Basics: Combination of Gaussian Variables", "Basic Idea of Generative Models". Lecture 002: Appendices A and C.
# Lecture 004: "Lower bound", "Denoising probabilities". Everything DDPM does rests on this page.

# %%
import math

import matplotlib.pyplot as plt
import sympy as sp
import torch

from ddpm_lesson import kl_full, kl_gaussian, plots
from ddpm_lesson.checks import check

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(1)

# %% [markdown]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $\mathcal N(x;\mu,\sigma^2)$ | | the density of a Gaussian at $x$; the last entry is the **variance** |
# | $\mu,\ \sigma^2,\ \sigma$ | `mean`, `var`, `std` | mean, variance, standard deviation |
# | $\epsilon$ | `eps` | a standard normal draw, $\mathcal N(0,1)$ |
# | $\mathbf I$ | | the identity matrix: $\mathcal N(\mu,\sigma^2\mathbf I)$ has independent entries of equal variance |
# | $\mathbb E_p[f(x)]$ | | the average of $f$ over draws from $p$ |
# | $D_{\mathrm{KL}}(p\,\|\,q)$ | `kl_gaussian` | how much $q$ misses $p$, in nats |

# %% [markdown] tags=["claim:gaussian-density-1d"]
# ## 1 · What is the last entry?
#
# **The question.** In $\mathcal N(x;\mu,\sigma^2)$, does the last entry enter as it is, or squared?
#
# $$\mathcal N(x;\mu,\sigma^2)=\frac{1}{\sqrt{2\pi\sigma^2}}\exp\Big[-\frac{(x-\mu)^2}{2\sigma^2}\Big],\qquad\sigma^2>0$$
#
# A density must integrate to 1. Then the variance must come out as $\sigma^2$. A computer algebra system can do the three integrals.

# %%
x, mu = sp.symbols("x mu", real=True)
sigma = sp.symbols("sigma", positive=True)
density = sp.exp(-((x - mu) ** 2) / (2 * sigma**2)) / sp.sqrt(2 * sp.pi * sigma**2)

for name, f in (("1", 1), ("x", x), ("(x - mu)²", (x - mu) ** 2)):
    print(f"integral of {name} times the density:", sp.simplify(sp.integrate(f * density, (x, -sp.oo, sp.oo))))

# %% [markdown]
# One lecture (002, Appendix A) prints $\frac{1}{\sqrt{2\pi}\,\beta}\exp\big[-\frac{(x-\mu)^2}{2\beta}\big]$ as a Gaussian density. It describes one noising step (lesson 02), and $\beta$ is its variance.
#
# **Predict before you run.** $\beta=0.25$. To what does the printed right-hand side integrate?

# %% alt="Two bell curves of the same width. The printed one is twice as high and encloses the area 2, the correct one encloses 1."
beta = 0.25
grid = torch.linspace(-3, 3, 6001)
bell = torch.exp(-(grid**2) / (2 * beta))
printed, correct = bell / (math.sqrt(2 * math.pi) * beta), bell / math.sqrt(2 * math.pi * beta)

fig, ax = plt.subplots()
ax.plot(grid, printed, color=plots.COLORS["model"], linestyle="--", label="as printed")
ax.plot(grid, correct, color=plots.COLORS["posterior"], label="with √(2πβ)")
ax.set(xlabel="x", ylabel="density", ylim=(0, None))
ax.set_title("A variance in the wrong place: the printed curve holds probability 2")
ax.legend()
plt.show()
print(f"area as printed {torch.trapezoid(printed, grid):.3f}, corrected {torch.trapezoid(correct, grid):.3f}")

# %% [markdown]
# The exponential integrates to $\sqrt{2\pi\beta}$. Divided by $\sqrt{2\pi}\,\beta$ this is $1/\sqrt\beta=2$.
#
# **Exercise 1.1.** What is the density of $\mathcal N(0,\ 0.25)$ at $x=0$?

# %% tags=["exercise:1.1"]
# BEGIN SOLUTION
density_1_1 = 1 / math.sqrt(2 * math.pi * 0.25)
# END SOLUTION
check("1.1", density_1_1)

# %% [markdown] tags=["claim:reparameterization-trick"]
# ## 2 · How do you draw from it?
#
# Draw standard noise, stretch it, shift it. This is the **reparameterisation trick**:
#
# $$X=\mu+\sigma\epsilon,\quad\epsilon\sim\mathcal N(0,1)\qquad\Longleftrightarrow\qquad X\sim\mathcal N(\mu,\sigma^2)$$
#
# The proof is a change of variables: $x=\mu+\sigma e$ turns $\mathcal N(e;0,1)\,de$ into $\mathcal N(x;\mu,\sigma^2)\,dx$. The **standard deviation** multiplies the noise.
#
# Samples can check this, if we know how far off they may be. The **standard error** of an estimate is its standard deviation, were the experiment repeated. For the mean of $n$ draws it is $\sigma/\sqrt n$, for the variance of Gaussian draws about
# $\sigma^2\sqrt{2/n}$. Figures show two standard errors, which cover the truth about 19 times in 20. A printed ± is one.

# %% alt="Sampled variance against the number of draws, on a logarithmic axis. The dots close in on the line at 4; the error bars shrink, and all but one of them touch the line."
mean, std = 1.0, 2.0
counts = [10, 30, 100, 300, 1000, 3000, 10_000, 100_000]
fig, ax = plt.subplots()
for n in counts:
    draws = mean + std * torch.randn(n, generator=generator)
    var, bar = draws.var(), std**2 * math.sqrt(2 / n)
    ax.errorbar(n, var, yerr=2 * bar, fmt="o", color=plots.COLORS["noised"], capsize=3)
ax.axhline(std**2, color=plots.COLORS["posterior"], label="σ² = 4")
ax.set(xscale="log", xlabel="draws", ylabel="sampled variance")
ax.set_title("Ten times more draws, an error bar about three times shorter")
ax.legend()
plt.show()
print(f"{n} draws: variance {var:.2f} ± {bar:.2f}")

# %% [markdown]
# **Exercise 1.2.** You want the mean of a distribution with $\sigma=2$, with a standard error of 0.01. How many draws do you need?

# %% tags=["exercise:1.2"]
# BEGIN SOLUTION
draws_1_2 = (2 / 0.01) ** 2
# END SOLUTION
check("1.2", draws_1_2)

# %% [markdown] tags=["claim:sum-of-independent-gaussians"]
# ## 3 · What is the sum of two Gaussians?
#
# Lecture 000 asks: $x_1\sim\mathcal N(\mu_1,\sigma_1^2\mathbf I)$ and $x_2\sim\mathcal N(\mu_2,\sigma_2^2\mathbf I)$. **What is the distribution of $x_1+x_2$?** Write your answer down.
#
# Take one entry, and let $\phi_X(k)=\mathbb E[e^{ikX}]$ be the **characteristic function** of $X$. Two facts, without proof: a Gaussian has $\phi(k)=\exp(ik\mu-\tfrac12k^2\sigma^2)$, and two distributions with
# the same $\phi$ are equal. For **independent** variables the expectation of the product splits:
#
# $$\phi_{x_1+x_2}(k)=\phi_{x_1}(k)\,\phi_{x_2}(k)=\exp\big(ik(\mu_1+\mu_2)-\tfrac12k^2(\sigma_1^2+\sigma_2^2)\big)$$
#
# So $x_1+x_2\sim\mathcal N(\mu_1+\mu_2,\,(\sigma_1^2+\sigma_2^2)\mathbf I)$. **Variances add. Standard deviations do not.** In particular
#
# $$\sigma_1\epsilon_1+\sigma_2\epsilon_2\ \overset{d}{=}\ \sqrt{\sigma_1^2+\sigma_2^2}\;\epsilon\qquad\text{(the same distribution, not the same number)}$$
#
# This one line will merge the noises of a thousand steps in lesson 02. The slide does not say "independent". Does it matter? Below, $x_2$ has standard deviation 4 both times.

# %%
k, m1, m2 = sp.symbols("k m1 m2", real=True)
s1, s2 = sp.symbols("s1 s2", positive=True)


def characteristic(mean, std):
    """E[exp(i k X)] of a Gaussian."""
    return sp.exp(sp.I * k * mean - k**2 * std**2 / 2)


product = characteristic(m1, s1) * characteristic(m2, s2)
print("algebra:", sp.simplify(product / characteristic(m1 + m2, sp.sqrt(s1**2 + s2**2))) == 1)

n = 100_000
x1 = 3 * torch.randn(n, generator=generator)
x2 = 4 * torch.randn(n, generator=generator)
for name, total in (("independent", x1 + x2), ("x2 = -4/3 x1", x1 - 4 / 3 * x1)):
    print(f"{name:14s} variance {total.var():6.3f} ± {total.var() * math.sqrt(2 / n):.3f}")

# %% [markdown]
# Independent: 25. Dependent: 1. It matters.
#
# **Exercise 1.3.** $\epsilon_1,\epsilon_2$ are independent. What is the standard deviation of $0.3\,\epsilon_1+0.4\,\epsilon_2$?

# %% tags=["exercise:1.3"]
# BEGIN SOLUTION
std_1_3 = math.sqrt(0.3**2 + 0.4**2)
# END SOLUTION
check("1.3", std_1_3)

# %% [markdown] tags=["claim:completing-the-square", "claim:bayes-rule"]
# ## 4 · What is the product of two Gaussian densities?
#
# **The question.** A quantity has the prior density $\mathcal N(x;m,v)$. We measure it with an error: $y=x+\text{noise}$, with noise variance $w$. What do we now know?
# Bayes' rule says
#
# $$p(x\mid y)=\frac{p(y\mid x)\,p(x)}{p(y)}\ \propto\ \mathcal N(y;x,w)\,\mathcal N(x;m,v)$$
#
# (∝ means: equal up to a factor free of $x$.) The exponent is $-\frac12$ times a quadratic in $x$. Every quadratic with a positive leading term is a shifted square plus a constant, so the product is a Gaussian
# in $x$ again, up to a factor. **Completing the square**, for $A>0$:
#
# $$\exp\big\{-\tfrac12(Ax^2-2Bx+C)\big\}\ \propto\ \mathcal N\big(x;\,B/A,\ 1/A\big)$$
#
# Minus twice the exponent is $\frac{(y-x)^2}{w}+\frac{(x-m)^2}{v}=\big(\frac1v+\frac1w\big)x^2-2\big(\frac mv+\frac yw\big)x+\dots$ So $A=\frac1v+\frac1w$ and $B=\frac mv+\frac yw$.
# Inverse variances (precisions) add. The mean weighs each source by its precision.
#
# If the measurement is scaled, $y=ax+\text{noise}$, then $A=\frac1v+\frac{a^2}w$ and $B=\frac mv+\frac{ay}w$. Lesson 05 is this step, with $a=\sqrt{\alpha_t}$.

# %%
A, (B, C) = sp.symbols("A", positive=True), sp.symbols("B C", real=True)
print("rest after completing the square:", sp.simplify(A * x**2 - 2 * B * x + C - A * (x - B / A) ** 2), "(free of x)")

m, v, y, w = 0.0, 1.0, 3.0, 0.5
grid = torch.linspace(-4, 6, 20_001)
prior, likelihood = torch.exp(-((grid - m) ** 2) / (2 * v)), torch.exp(-((y - grid) ** 2) / (2 * w))
posterior = prior * likelihood
posterior = posterior / torch.trapezoid(posterior, grid)  # Bayes by brute force
mean_grid = torch.trapezoid(grid * posterior, grid)
var_grid = torch.trapezoid((grid - mean_grid) ** 2 * posterior, grid)
precision = 1 / v + 1 / w
print(f"grid    mean {mean_grid:.4f}  variance {var_grid:.4f}")
print(f"formula mean {(m / v + y / w) / precision:.4f}  variance {1 / precision:.4f}")

# %% alt="Three bell curves: a wide prior around 0, a narrower likelihood around 3, and between them, narrower than both, the posterior around 2."
fig, ax = plt.subplots()
ax.plot(grid, prior / math.sqrt(2 * math.pi * v), **plots.LINES["prior"], color=plots.COLORS["prior"], label="prior")
ax.plot(grid, likelihood / math.sqrt(2 * math.pi * w), color=plots.COLORS["noised"], label="likelihood of y = 3")
ax.plot(grid, posterior, color=plots.COLORS["posterior"], linestyle=":", label="posterior")
ax.set(xlabel="x", ylabel="density", ylim=(0, None))
ax.set_title("The posterior lies between prior and likelihood and is narrower than both")
ax.legend()
plt.show()

# %% [markdown]
# **Exercise 1.4.** Prior $\mathcal N(x;\,2,\,1)$, measurement $y=5$ with noise variance 2. Give mean and variance of $p(x\mid y)$ as a pair (three decimals).

# %% tags=["exercise:1.4"]
# BEGIN SOLUTION
mean_and_variance_1_4 = ((2 / 1 + 5 / 2) / (1 / 1 + 1 / 2), 1 / (1 / 1 + 1 / 2))
# END SOLUTION
check("1.4", mean_and_variance_1_4)

# %% [markdown] tags=["claim:chain-rule-of-probability"]
# ## 5 · Taking a joint law apart
#
# Let $q$ be any joint law of $x_0,\dots,x_T$, and let $x_{1:T}$ be short for $x_1,\dots,x_T$. Given $x_0$, it is a **product** of conditionals, with no assumption at all:
#
# $$q(x_{1:T}\mid x_0)=q(x_1\mid x_0)\;q(x_2\mid x_1,x_0)\;\cdots\;q(x_T\mid x_{T-1},\dots,x_0)$$
#
# Each factor is a ratio, such as $q(x_2\mid x_1,x_0)=q(x_0,x_1,x_2)/q(x_0,x_1)$. In the product everything cancels but the last numerator and the first denominator.
#
# (In the handwritten notes, lecture 001, the line break in this product reads as an equals sign.) A table of random numbers is a joint law too. Take one apart and put it together again.

# %%
joint = torch.rand(2, 3, 4, 5, generator=generator)
joint = joint / joint.sum()  # q(x0, x1, x2, x3)

together = joint.sum((1, 2, 3))[:, None, None, None]  # q(x0)
together = together * (joint.sum((2, 3)) / joint.sum((1, 2, 3))[:, None])[:, :, None, None]  # q(x1 | x0)
together = together * (joint.sum(3) / joint.sum((2, 3))[:, :, None])[..., None]  # q(x2 | x1, x0)
together = together * joint / joint.sum(3)[..., None]  # q(x3 | x2, x1, x0)
print("the product of the conditionals is the joint:", torch.allclose(together, joint))

# %% [markdown] tags=["claim:jensen-inequality"]
# ## 6 · The logarithm of a mean, and the mean of a logarithm
#
# **The question.** Which is larger, $\log\mathbb E[Y]$ or $\mathbb E[\log Y]$? The whole theory of lesson 04 hangs on the answer.
#
# The logarithm bends down (it is concave). Its tangent at $m=\mathbb E[Y]$ lies above it: $\log Y\le\log m+(Y-m)/m$. Average both sides; the last term vanishes:
#
# $$\log\mathbb E[Y]\ \ge\ \mathbb E[\log Y],\qquad Y>0\qquad\text{(Jensen)}$$
#
# Equality holds only when $Y$ does not vary. In the picture, $Y$ is 1 or $e^2$, each with probability $\tfrac12$: the mean of the logarithms lies on the chord.

# %% alt="The logarithm as a curve and a chord below it, between Y = 1 and Y = e squared. At the mean of Y, the curve lies 0.43 above the chord."
low, high = 1.0, math.exp(2)
grid = torch.linspace(0.5, 8.5, 400)
mean = (low + high) / 2
fig, ax = plt.subplots()
ax.plot(grid, grid.log(), color=plots.COLORS["data"], label="log Y")
ax.plot([low, high], [math.log(low), math.log(high)], "o--", color=plots.COLORS["model"], label="chord")
ax.plot([mean, mean], [1, math.log(mean)], color="0.2")
ax.annotate("the gap", (mean + 0.1, 0.75))
ax.set(xlabel="Y", ylabel="log Y")
ax.set_title("The chord lies below the curve: E[log Y] below log E[Y]")
ax.legend()
plt.show()
print(f"log of the mean {math.log(mean):.3f}, mean of the log {(math.log(low) + math.log(high)) / 2:.3f}")

# %% [markdown]
# **Exercise 1.5.** $Y$ is 1 or 9, each with probability $\tfrac12$. How large is the gap $\log\mathbb E[Y]-\mathbb E[\log Y]$? (log is the natural logarithm; three decimals.)

# %% tags=["exercise:1.5"]
# BEGIN SOLUTION
gap_1_5 = math.log((1 + 9) / 2) - (math.log(1) + math.log(9)) / 2
# END SOLUTION
check("1.5", gap_1_5)

# %% [markdown] tags=["claim:kl-definition", "claim:kl-gaussian-1d"]
# ## 7 · How far apart are two Gaussians?
#
# The **Kullback-Leibler divergence** averages the log ratio over draws from the first law:
#
# $$D_{\mathrm{KL}}(p\,\|\,q)=\mathbb E_{p}\Big[\log\frac{p(x)}{q(x)}\Big]=-\int p(x)\log\frac{q(x)}{p(x)}\,dx\ \ge0$$
#
# Nats: with the natural logarithm. Jensen gives the sign: $\mathbb E_p[-\log\frac qp]\ge-\log\mathbb E_p[\frac qp]=-\log\int q\,dx=0$. (Lecture 004 prints the integral without its minus sign. As printed it could never be positive.)
#
# For $p=\mathcal N(\mu_p,\sigma_p^2)$ and $q=\mathcal N(\mu_q,\sigma_q^2)$ the log ratio is
#
# $$\log\frac pq=\log\frac{\sigma_q}{\sigma_p}-\frac{(x-\mu_p)^2}{2\sigma_p^2}+\frac{(x-\mu_q)^2}{2\sigma_q^2}$$
#
# Average it over $p$. Only $\mathbb E_p[(x-\mu_p)^2]=\sigma_p^2$ and
# $\mathbb E_p[(x-\mu_q)^2]=\sigma_p^2+(\mu_p-\mu_q)^2$ are needed:
#
# $$D_{\mathrm{KL}}(p\,\|\,q)=\log\frac{\sigma_q}{\sigma_p}+\frac{\sigma_p^2+(\mu_p-\mu_q)^2}{2\sigma_q^2}-\frac12$$
#
# **Predict before you run.** Is $D_{\mathrm{KL}}(p\|q)$ the same as $D_{\mathrm{KL}}(q\|p)$?

# %%
def kl_by_hand(mean_p, std_p, mean_q, std_q):
    """The formula above, in nats. It takes standard deviations; the package's kl_gaussian takes variances."""
    return math.log(std_q / std_p) + (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2) - 0.5


def log_normal(x, mean, std):
    """log N(x; mean, std²)."""
    return -((x - mean) ** 2) / (2 * std**2) - math.log(std) - math.log(2 * math.pi) / 2


n = 100_000
for name, p, q in (("KL(p||q)", (0.0, 1.0), (1.0, 2.0)), ("KL(q||p)", (1.0, 2.0), (0.0, 1.0))):
    draws = p[0] + p[1] * torch.randn(n, generator=generator)
    ratio = log_normal(draws, *p) - log_normal(draws, *q)
    package = kl_gaussian(p[0], p[1] ** 2, q[0], q[1] ** 2)
    bar = ratio.std() / n**0.5
    formula = kl_by_hand(*p, *q)
    print(f"{name}  formula {formula:.3f}  package {package:.3f}  sampled {ratio.mean():.3f} ± {bar:.3f}")

# %% [markdown]
# 0.443 against 1.307: the divergence is not symmetric.
#
# **Exercise 1.6.** $D_{\mathrm{KL}}\big(\mathcal N(0,1)\,\|\,\mathcal N(0,4)\big)$, in nats? (Three decimals.)

# %% tags=["exercise:1.6"]
# BEGIN SOLUTION
kl_1_6 = kl_by_hand(0, 1, 0, 2)
# END SOLUTION
check("1.6", kl_1_6)

# %% [markdown] tags=["claim:kl-gaussian-isotropic", "claim:kl-equal-covariance", "claim:kl-gaussian-multivariate"]
# ## 8 · In $d$ dimensions
#
# Independent entries add their divergences. For $\mathcal N(\mu_1,\sigma_1^2\mathbf I)$ and $\mathcal N(\mu_2,\sigma_2^2\mathbf I)$ in $\mathbb R^d$:
#
# $$D_{\mathrm{KL}}=\frac12\Big[d\Big(\log\frac{\sigma_2^2}{\sigma_1^2}+\frac{\sigma_1^2}{\sigma_2^2}-1\Big)+\frac{\|\mu_2-\mu_1\|^2}{\sigma_2^2}\Big]$$
#
# (Lecture 004 prints this without $d$. Two independent copies of the data double the divergence. A term without $d$ does not double.)
#
# With **equal** variances only the last term is left, and it is the same in both directions. The losses of lesson 07 are built on this form:
#
# $$D_{\mathrm{KL}}\big(\mathcal N(\mu_p,\sigma^2\mathbf I)\,\|\,\mathcal N(\mu_q,\sigma^2\mathbf I)\big)=\frac{1}{2\sigma^2}\|\mu_p-\mu_q\|^2$$
#
# For full covariances $\Sigma_1,\Sigma_2$ (lecture 002, Appendix C; given here without proof, the tests check it):
#
# $$D_{\mathrm{KL}}=\tfrac12\Big[(\mu_1-\mu_2)^{\!\top}\Sigma_2^{-1}(\mu_1-\mu_2)-\log\det(\Sigma_2^{-1}\Sigma_1)+\mathrm{tr}(\Sigma_2^{-1}\Sigma_1)-d\Big]$$

# %%
d, var_1, var_2 = 3, 0.5, 2.0
mean_1, mean_2 = torch.zeros(1, d), torch.ones(1, d)
entries = sum(kl_by_hand(0.0, var_1**0.5, 1.0, var_2**0.5) for _ in range(d))
eye = torch.eye(d)
print(f"d one-dimensional terms  {entries:.4f}")
print(f"isotropic formula        {kl_gaussian(mean_1, var_1, mean_2, var_2).item():.4f}")
print(f"full formula             {kl_full(mean_1, var_1 * eye, mean_2, var_2 * eye).item():.4f}")
distance = (mean_2 - mean_1).square().sum().item()  # squared
without_d = (math.log(var_2 / var_1) + var_1 / var_2 - 1 + distance / var_2) / 2
print(f"as printed, without d    {without_d:.4f}")

# %% [markdown]
# **Exercise 1.7.** Write $D_{\mathrm{KL}}$ of two Gaussians with the same variance `var`. The means have shape `(d,)`, for any $d$. Return one number.

# %% tags=["exercise:1.7"]
def kl_equal_variance(mean_p, mean_q, var):
    """KL in nats between N(mean_p, var I) and N(mean_q, var I)."""
    # BEGIN SOLUTION
    return ((mean_p - mean_q) ** 2).sum() / (2 * var)
    # END SOLUTION


check("1.7", kl_equal_variance)

# %% [markdown]
# ## What to remember
#
# * The last entry of $\mathcal N$ is a variance. The standard deviation multiplies the noise.
# * Independent sums add variances. Products of densities add precisions. Both stay Gaussian.
# * $\log\mathbb E\ge\mathbb E\log$. The KL is never negative, is not symmetric, and for equal variances is $\|\mu_p-\mu_q\|^2/2\sigma^2$.
#
# **Next:** [02 Forward process](02_forward.ipynb).
#
# **References.** Lectures 000, 002 and 004, places named above. C. M. Bishop 2006, *Pattern Recognition and Machine Learning*, Sections 1.6 and 2.3.
