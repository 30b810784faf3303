# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · Take one step back, knowing where you started
#
# **You will do.** Run every line of the lecture's longest derivation. Hold the result against Bayes' rule on a grid, and against samples.
#
# **You will learn.** The forward posterior $q(x_{t-1}\mid x_t,x_0)$: its mean, its variance, its two spellings. Why the mean is not an interpolation.
#
# **You will need.** Completing the square and Bayes' rule from lesson 01, the forward jump from lesson 02.
#
# Lecture 000: "Denoising Matching Term: what is the posterior?", "q(x_{t-1}|x_t,x_0)" (1) to (6). Lecture 002: Appendix A. Lecture 003: "Some Distributions".
# Lecture 004: "Gaussian product". Ho et al. 2020: Eq. 6, 7 and 11.

# %%
import matplotlib.pyplot as plt
import sympy as sp
import torch

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    eps_from_x0,
    linear_schedule,
    plots,
    posterior_mean_var,
    q_sample,
    q_step,
    widgets,
)
from ddpm_lesson.checks import check

torch.set_default_dtype(torch.float64)
toy = Schedule([0.05 * s for s in range(1, 11)])  # T = 10: short, so that every slip shows
generator = torch.Generator().manual_seed(5)
t, x0, xt = 5, 0.7, 1.2  # the example of this lesson
alpha, beta, alpha_bar = toy.alpha, toy.beta, toy.alpha_bar

# %% [markdown]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $q(x_{t-1}\mid x_t,x_0)$ | | where was the chain one step ago, if we see $x_t$ and know $x_0$? |
# | $\tilde\mu_t$ | `mu_tilde` | its mean |
# | $\tilde\beta_t$ | `beta_tilde` | its variance (the slides also write $\tilde\sigma_t^2$) |
# | $\epsilon$ | `eps` | the noise with $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ |

# %% [markdown] tags=["claim:posterior-bayes"]
# ## 1 · Turn the step around
#
# **The question.** The forward step $q(x_t\mid x_{t-1})$ is known. Which law leads back?
#
# Bayes' rule, with everything conditioned on $x_0$. (Without $x_0$ the way back depends on the data, see section 7. With $x_0$, all is Gaussian.)
# In the first factor $q(x_t\mid x_{t-1},x_0)=q(x_t\mid x_{t-1})$, by the Markov property:
#
# $$q(x_{t-1}\mid x_t,x_0)=q(x_t\mid x_{t-1})\;\frac{q(x_{t-1}\mid x_0)}{q(x_t\mid x_0)}$$
#
# (One slide of lecture 000 leaves out $q(x_{t-1}\mid x_0)$. The next slide has it again.)
#
# All three factors are Gaussians that we know. **Q. Which?** Say them aloud before you read the code. `N(x, mean, variance)` is the density.

# %%
def N(x, mean, var):
    """The density of N(mean, var) at x."""
    return torch.exp(-((x - mean) ** 2) / (2 * var)) / (2 * torch.pi * var).sqrt()


grid = torch.linspace(-4, 4, 80_001)  # x_{t-1}
step = N(torch.tensor(xt), alpha[t].sqrt() * grid, beta[t])  # q(x_t | x_{t-1})
jump = N(grid, alpha_bar[t - 1].sqrt() * x0, 1 - alpha_bar[t - 1])  # q(x_{t-1} | x_0)
evidence = N(torch.tensor(xt), alpha_bar[t].sqrt() * x0, 1 - alpha_bar[t])  # q(x_t | x_0)
bayes = step * jump / evidence

mean_grid = torch.trapezoid(grid * bayes, grid)
var_grid = torch.trapezoid((grid - mean_grid) ** 2 * bayes, grid)
print(f"integral {torch.trapezoid(bayes, grid):.6f}   mean {mean_grid:.6f}   variance {var_grid:.6f}")

# %% alt="Three curves over x at t-1: the wide forward jump from x_0, the likelihood of the seen x_t, and their narrower product, the posterior, between them."
fig, ax = plt.subplots()
ax.plot(grid, jump, color=plots.COLORS["data"], label="$q(x_{t-1}|x_0)$: where the past points")
ax.plot(grid, step, color=plots.COLORS["noised"], label="$q(x_t|x_{t-1})$ over $x_{t-1}$: what $x_t$ says")
ax.plot(grid, bayes, color=plots.COLORS["posterior"], linestyle=":", linewidth=3, label="posterior")
ax.set(xlabel="$x_{t-1}$", ylabel="density", ylim=(0, None))
ax.set_title("Two sources of knowledge, one sharper answer")
ax.legend()
plt.show()

# %% [markdown] tags=["claim:posterior-log-density"]
# ## 2 · The derivation, line by line
#
# **Write the three exponents.** Up to a constant, $-2\log q(x_{t-1}\mid x_t,x_0)$ is
#
# $$\frac{(x_t-\sqrt{\alpha_t}\,x_{t-1})^2}{\beta_t}+\frac{(x_{t-1}-\sqrt{\bar\alpha_{t-1}}\,x_0)^2}{1-\bar\alpha_{t-1}}-\frac{(x_t-\sqrt{\bar\alpha_t}\,x_0)^2}{1-\bar\alpha_t}$$
#
# (On the slide the squares are missing, and the second numerator starts with $x_t$. Put numbers in: without squares the "log density" has no peak.)
#
# **Collect powers of $x_{t-1}$.** With $A$ and $B$,
#
# $$A\,x_{t-1}^2-2B\,x_{t-1}+C,\qquad A=\frac{\alpha_t}{\beta_t}+\frac{1}{1-\bar\alpha_{t-1}},\qquad B=\frac{\sqrt{\alpha_t}\,x_t}{\beta_t}+\frac{\sqrt{\bar\alpha_{t-1}}\,x_0}{1-\bar\alpha_{t-1}}$$
#
# This needs $t\ge2$: at $t=1$, $1-\bar\alpha_0=0$. There $x_{t-1}$ *is* the known $x_0$, and the final formulas will say so.
#
# **Complete the square** (lesson 01): a Gaussian with variance $1/A$ and mean $B/A$. Let the machine do both lines. It knows $\alpha_t$ and $\bar\alpha_{t-1}$; $\beta_t=1-\alpha_t$ and
# $\bar\alpha_t=\alpha_t\bar\alpha_{t-1}$ follow.

# %%
a, p = sp.symbols("alpha_t abar_prev", positive=True)  # α_t and ᾱ_{t-1}
X, Xt, X0 = sp.symbols("x_prev x_t x_0", real=True)
b, c = 1 - a, a * p  # β_t and ᾱ_t
exponent = (Xt - sp.sqrt(a) * X) ** 2 / b + (X - sp.sqrt(p) * X0) ** 2 / (1 - p) - (Xt - sp.sqrt(c) * X0) ** 2 / (1 - c)
A = a / b + 1 / (1 - p)
B = sp.sqrt(a) * Xt / b + sp.sqrt(p) * X0 / (1 - p)

rest = exponent - (A * X**2 - 2 * B * X)
print("what is left is free of x_{t-1}:", sp.simplify(sp.diff(rest, X)) == 0)
print("and completes the square exactly:", sp.simplify(rest - B**2 / A) == 0)
print("1/A is the variance below:", sp.simplify(1 / A - (1 - p) / (1 - c) * b) == 0)
mean_x0 = (sp.sqrt(a) * (1 - p) * Xt + sp.sqrt(p) * b * X0) / (1 - c)
print("B/A is the mean below:", sp.simplify(B / A - mean_x0) == 0)

# %% [markdown] tags=["claim:posterior-is-gaussian", "claim:posterior-variance", "claim:posterior-mean-x0"]
# **Simplify.** Since $\alpha_t(1-\bar\alpha_{t-1})+\beta_t=1-\bar\alpha_t$,
#
# $$A=\frac{\alpha_t(1-\bar\alpha_{t-1})+\beta_t}{\beta_t(1-\bar\alpha_{t-1})}=\frac{1-\bar\alpha_t}{\beta_t(1-\bar\alpha_{t-1})}$$
#
# Its inverse is $\tilde\beta_t$. Multiply $B$ by it: in the first term $\beta_t$ cancels, in the second $1-\bar\alpha_{t-1}$. This is Ho et al. Eq. 7:
#
# $$q(x_{t-1}\mid x_t,x_0)=\mathcal N\big(x_{t-1};\ \tilde\mu_t,\ \tilde\beta_t\mathbf I\big),\qquad
# \tilde\beta_t=\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t$$
#
# $$\tilde\mu_t=\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t+\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0$$
#
# A plus sign. No root below. $\sqrt{\alpha_t}$ at $x_t$, because one step lies between; $\sqrt{\bar\alpha_{t-1}}$ at $x_0$, because $t-1$ steps do.

# %%
beta_tilde = (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta[t]
weight_xt = alpha[t].sqrt() * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])
weight_x0 = alpha_bar[t - 1].sqrt() * beta[t] / (1 - alpha_bar[t])
mu_tilde = weight_xt * xt + weight_x0 * x0

mean, var = posterior_mean_var(torch.tensor([xt]), torch.tensor([x0]), t, toy)
print(f"formula  mean {mu_tilde:.6f}   variance {beta_tilde:.6f}")
print(f"package  mean {mean.item():.6f}   variance {var:.6f}")
print(f"grid     mean {mean_grid:.6f}   variance {var_grid:.6f}")

# %% [markdown]
# Each of these appears in print in one of the lectures. **Predict** which of them survives the grid.

# %%
at_xt, at_x0 = weight_xt * xt, weight_x0 * x0
printed = {
    "minus sign, roots below (000)": (at_xt - at_x0) * (1 - alpha_bar[t]).sqrt(),
    "minus sign (000)": at_xt - at_x0,
    "√ᾱ_t at x_t (002)": at_xt * (alpha_bar[t] / alpha[t]).sqrt() + at_x0,
    "the formula above": mu_tilde,
}
for name, value in printed.items():
    print(f"{name:30s} {value:9.6f}   misses the grid by {(value - mean_grid).abs():.3f}")

# %% [markdown]
# **Exercise 5.1.** $\alpha_1=0.9$ and $\alpha_2=0.8$. What is $\tilde\beta_2$? (Three digits.)

# %% tags=["exercise:5.1"]
# BEGIN SOLUTION
variance_5_1 = (1 - 0.9) / (1 - 0.72) * 0.2
# END SOLUTION
check("5.1", variance_5_1)

# %% [markdown] tags=["claim:posterior-variance-independent-of-data"]
# ## 3 · What does it depend on?
#
# $\tilde\mu_t$ is a fixed function of $x_t$ and $x_0$. $\tilde\beta_t$ contains neither: it is known before any image is seen. So the posterior has nothing to train. That is
# what makes it a good **target**.
#
# **Predict before you run.** The forward step added variance $\beta_t$. Is the posterior wider or narrower than that? And what is it at $t=1$?
# (Compare $\bar\alpha_t$ with $\bar\alpha_{t-1}$ in the factor before $\beta_t$.)

# %% alt="beta and beta-tilde against t for ten steps. Beta-tilde starts at exactly zero for t = 1, stays below beta, and approaches it for large t."
ts = range(1, 11)
fig, ax = plt.subplots()
ax.plot(ts, toy.beta[1:], "s-", color=plots.COLORS["noised"], label="$\\beta_t$, the step's own variance")
ax.plot(ts, toy.beta_tilde[1:], "o:", color=plots.COLORS["posterior"], label="$\\tilde\\beta_t$, known $x_0$")
ax.set(xlabel="t", ylim=(-0.02, 0.55))
ax.set_title("With x_0 known, the way back is narrower than the step; at t = 1 a point")
ax.legend()
plt.show()
print(f"beta_tilde at t = 1: {toy.beta_tilde[1]:.1f}, at t = 10: {toy.beta_tilde[10] / toy.beta[10]:.3f} of beta")

# %% [markdown] tags=["claim:posterior-mean-weights"]
# ## 4 · Is the mean an interpolation?
#
# The slides call $\tilde\mu_t$ a linear interpolation (線性內插) of $x_t$ and $x_0$. An interpolation has weights that sum to 1. **Weigh it.** With $x_t=x_0=1$, an interpolation returns 1.
#
# With $u=\sqrt{\alpha_t}$ and $w=\sqrt{\bar\alpha_{t-1}}$ the sum of the weights has the numerator $(u+w)(1-uw)$ and the denominator $(1-uw)(1+uw)$:
#
# $$\frac{u(1-w^2)+w(1-u^2)}{1-u^2w^2}=\frac{u+w}{1+uw}\le1,\qquad\text{because}\quad1+uw-u-w=(1-u)(1-w)\ge0$$
#
# So it is a linear **combination** (線性組合), pulled towards 0. The sum is 1 only at $t=1$, where $w=1$: there the weights are 0 and 1, and $\tilde\mu_1=x_0$.

# %% alt="The weights of x_t and of x_0 against t, and their sum. The sum starts at 1 for t = 1 and dips below 1 afterwards."
prev = toy.alpha_bar[:-1]
w_xt = toy.alpha[1:].sqrt() * (1 - prev) / (1 - toy.alpha_bar[1:])
w_x0 = prev.sqrt() * toy.beta[1:] / (1 - toy.alpha_bar[1:])
fig, ax = plt.subplots()
ax.plot(ts, w_xt, "s-", color=plots.COLORS["noised"], label="weight of $x_t$")
ax.plot(ts, w_x0, "o-", color=plots.COLORS["data"], label="weight of $x_0$")
ax.plot(ts, w_xt + w_x0, "^--", color="0.2", label="their sum")
ax.axhline(1, color="0.6", linewidth=0.8)
ax.set(xlabel="t", ylim=(-0.05, 1.3))
ax.set_title("For t > 1 the weights sum to less than 1: no interpolation")
ax.legend(loc="upper right", ncol=3)
plt.show()
print(f"sum of the weights at t = 5: {w_xt[4] + w_x0[4]:.4f}")

# %% [markdown]
# **Exercise 5.2.** $\alpha_t=0.64$ and $\bar\alpha_{t-1}=0.25$. What do the two weights sum to?

# %% tags=["exercise:5.2"]
# BEGIN SOLUTION
sum_5_2 = (0.8 + 0.5) / (1 + 0.8 * 0.5)
# END SOLUTION
check("5.2", sum_5_2)

# %% [markdown]
# **Move it, but predict first.** Push $x_t$ to the right: does the posterior move as far as $x_t$ does? Which of its properties does not change at all? Which slider changes its width? What is left at $t=1$?

# %% tags=["nbval-ignore-output"] alt="Three panels at t = 5: the Gaussians of Bayes' rule and the posterior between them, the weights of x_t and x_0 against t, and beta-tilde below beta."
widgets.posterior_explorer()

# %% [markdown] tags=["claim:posterior-mean-epsilon"]
# ## 5 · The same mean, said with the noise
#
# **Q.** (Lecture 000.) Rewrite $\tilde\mu_t$ as a function of $x_t$ and $\epsilon$. Substitute $x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$, collect $x_t$, use $\bar\alpha_t=\alpha_t\bar\alpha_{t-1}$:
#
# $$\tilde\mu_t=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big)$$
#
# The slide has $1/\sqrt{\bar\alpha_t}$ in front. The habit that catches it: **what does the factor undo?** We go back one step, so it undoes one step's shrinking, $\sqrt{\alpha_t}$.

# %%
E = sp.symbols("epsilon", real=True)
mean_eps = (Xt - b / sp.sqrt(1 - c) * E) / sp.sqrt(a)
print("algebra:", sp.simplify(mean_x0.subs(X0, (Xt - sp.sqrt(1 - c) * E) / sp.sqrt(c)) - mean_eps) == 0)

eps = eps_from_x0(torch.tensor([xt]), torch.tensor([x0]), t, toy)
inner = xt - beta[t] / (1 - alpha_bar[t]).sqrt() * eps
for name, factor in (("1/√α_t", alpha[t].sqrt()), ("1/√ᾱ_t", alpha_bar[t].sqrt())):
    print(f"{name} in front {(inner / factor).item():.6f}   grid {mean_grid:.6f}")

# %% [markdown]
# **Exercise 5.3.** Write $\tilde\mu_t$ from $x_t$ and the noise $\epsilon$ of the whole jump (the table above), not the last step's.

# %% tags=["exercise:5.3"]
def mean_from_noise(xt, eps, alpha_t, alpha_bar_t):
    """The posterior mean."""
    # BEGIN SOLUTION
    return (xt - (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * eps) / alpha_t**0.5
    # END SOLUTION


check("5.3", mean_from_noise)

# %% [markdown]
# ## 6 · Ask the samples
#
# No Bayes' rule here: draw a million $x_{t-1}$ with the forward jump, then take one step. Keep those that land within 0.02 of the seen $x_t$.
# Their $x_{t-1}$ must follow the posterior, up to the width of that window.

# %% alt="Histogram of the kept x at t-1 lies under the dotted curve of the posterior density."
n = 1_000_000
x_prev = q_sample(torch.full((n, 1), x0), t - 1, toy, generator=generator)
x_next = q_step(x_prev, t, toy, generator=generator)
kept = x_prev[(x_next - xt).abs() < 0.02]
bar = kept.std() / len(kept) ** 0.5

fig, ax = plt.subplots()
ax.hist(kept, bins=60, density=True, color=plots.COLORS["noised"], alpha=0.6, label="kept samples")
ax.plot(grid, N(grid, mu_tilde, beta_tilde), color=plots.COLORS["posterior"], linestyle=":", label="posterior")
ax.set(xlabel="$x_{t-1}$", ylabel="density", xlim=(-1.5, 3))
ax.set_title("Chains that pass through $x_t$ were where the formula says")
ax.legend()
plt.show()
print(f"kept {len(kept)}: mean {kept.mean():.3f} ± {bar:.3f}, formula {mu_tilde:.3f}")
bar = kept.var() * (2 / len(kept)) ** 0.5
print(f"variance {kept.var():.4f} ± {bar:.4f}, formula {beta_tilde:.4f}")

# %% [markdown] tags=["claim:reverse-covariance-depends-on-xt"]
# ## 7 · But we do not know $x_0$
#
# When we sample there is no $x_0$. The true reverse kernel averages the posterior over all $x_0$ that could have led to $x_t$. The law of total variance: the average of
# the inner variances, plus the variance of the inner means. In $\tilde\mu_t$ only the $x_0$ term still varies, so
#
# $$\mathrm{Cov}(x_{t-1}\mid x_t)=\tilde\beta_t\mathbf I+\Big(\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\Big)^2\mathrm{Cov}(x_0\mid x_t)$$
#
# It depends on $x_t$. DDPM replaces it by one number per step, $\sigma_t^2$. **Predict:** for the data $\pm1$, at which $x_t$ is the true kernel widest?

# %%
coin = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], std=0.0)  # x_0 is -1 or 1
for value in (0.0, 1.0, 2.0):
    mean, cov = coin.reverse_moments(torch.tensor([[value]]), t, toy)
    print(f"x_t = {value:.0f}: variance of x_(t-1) {cov.item():.4f}   (beta_tilde {beta_tilde:.4f}, beta {beta[t]:.4f})")
small = linear_schedule()
_, cov = coin.reverse_moments(torch.zeros(1, 1), 500, small)
print(f"1000 small steps, t = 500, x_t = 0: {cov.item() / small.beta_tilde[500]:.4f} of beta_tilde")

# %% [markdown]
# Widest at $x_t=0$, where both signs are equally likely; there it is even wider than $\beta_t$. For these data and $t\ge2$ the true kernel is a mixture of two Gaussians, not one. With 1000 small steps the extra term nearly vanishes
# at $t=500$. Early steps differ greatly at $x_t=0$ (at $t=10$ the variance is 92 times $\tilde\beta_t$), but $x_t$ hardly ever goes there.
#
# **Q.** (Lecture 003 leaves it open.) Then why does DDPM set $\Sigma_\theta(x_t,t)=\sigma_t^2\mathbf I$, which does not depend on $x_t$? Write down what speaks for it and what it costs.

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# No theorem forces it. For it: the target's own variance $\tilde\beta_t$ does not depend on $x_t$ either; with a fixed variance the divergence to the target is a squared error of the means (lesson 07); and with many small steps the true variance is nearly
# $\tilde\beta_t$ at the $x_t$ that occur. What it costs is the part of $\mathrm{Cov}(x_{t-1}\mid x_t)$ that comes from $\mathrm{Cov}(x_0\mid x_t)$. With few steps that matters, and then a learned variance pays (Nichol and Dhariwal 2021, Section 3.1).
#
# </details>

# %% [markdown]
# ## What to remember
#
# * $q(x_{t-1}\mid x_t,x_0)$ is Gaussian. Its variance $\tilde\beta_t$ is fixed in advance, smaller than the step's $\beta_t$, and 0 at $t=1$.
# * Its mean combines $x_t$ and $x_0$. For $t>1$ the weights sum to less than 1.
# * With the noise: $\tilde\mu_t=(x_t-\beta_t\,\epsilon/\sqrt{1-\bar\alpha_t})/\sqrt{\alpha_t}$. One step back, so $\alpha_t$, not $\bar\alpha_t$.
#
# **Next:** [06 Predictors](06_predictors.ipynb).
#
# **References.** Ho et al. 2020, Eq. 6, 7, 11. Lectures 000, 002, 003 and 004, places named above.
