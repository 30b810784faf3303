# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Bound a likelihood that you cannot compute
#
# **You will do.** Write down the model that undoes the noise. Compute its likelihood exactly, once, where that is possible. Bound it everywhere else. Find the line of the lecture's derivation that does not follow, with numbers.
#
# **You will learn.** How a DDPM is a VAE. What the ELBO is, how far it lies below the likelihood, and when that matters. The first way to take it apart.
#
# **You will need.** The chain rule, Jensen's inequality and the Kullback-Leibler divergence from lesson 01; the forward chain from lesson 02.
#
# Lecture 000: "Terminology", "ELBO (1)" to "(3)", "Complex Derivations (1)" with Eq. 34-45, "Consistency Term". Lecture 001: "Define the Model", "ELBO optimization". Lecture 002: "Background: Diffusion".
# Ho et al. 2020: Section 2, Eq. 1 and 3. Part two is lesson 04b.

# %%
import math

import matplotlib.pyplot as plt
import torch

from ddpm_lesson import kl_gaussian, plots
from ddpm_lesson.checks import check

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(4)


def log_N(x, mean, var):
    """The log density of N(mean, var) at x, in nats."""
    return -((x - mean) ** 2) / (2 * var) - math.log(2 * math.pi * var) / 2

# %% [markdown] tags=["claim:reverse-chain-factorization", "claim:reverse-kernel-gaussian"]
# ## 1 · The model
#
# | symbol | code | meaning |
# |---|---|---|
# | $q(x_t\mid x_{t-1})$ | | the forward step, fixed: nothing to learn |
# | $p_\theta(x_{t-1}\mid x_t)$ | | the model's step back; $\theta$ are the network's parameters |
# | $p(x_T)$ | | the prior $\mathcal N(0,\mathbf I)$; it has no $\theta$ |
# | $p_\theta(x_0)$ | | how probable the model finds the image $x_0$: the **likelihood** (of $\theta$) |
# | $x_{1:T}$ | | $x_1,\dots,x_T$, all the noisy states: the **latent** variables |
#
# **The question.** What does the model consist of?
#
# It starts at the prior and walks back. Each step is a Gaussian around a mean that a network computes (Ho et al., Eq. 1):
#
# $$p_\theta(x_{0:T})=p(x_T)\prod_{t=1}^T p_\theta(x_{t-1}\mid x_t),\qquad p_\theta(x_{t-1}\mid x_t)=\mathcal N\big(x_{t-1};\ \mu_\theta(x_t,t),\ \sigma_t^2\mathbf I\big)$$
#
# In general the covariance may be a network's output too, $\Sigma_\theta(x_t,t)$. DDPM fixes it to $\sigma_t^2\mathbf I$.
#
# Read the first formula with care. It is the **joint** density of all states. Lecture 000 has $p_\theta(x_0\mid x_{1:T})$ on its left: that would be only the last factor. Lecture 001 turns the arrows in the factors around once, and then makes $x_T$ twice.
# A density integrates to 1. That finds both slips.
#
# Our example is a chain of two steps on the line, small enough to integrate: $\beta_1=0.3$, $\beta_2=0.5$, and a model that is good, but not perfect.

# %%
alpha, beta = [math.nan, 0.7, 0.5], [math.nan, 0.3, 0.5]  # read at t = 1, 2


def log_p0(x0, x1):
    """The model's last step, p(x_0 | x_1)."""
    return log_N(x0, 0.8 * x1, 0.3)


def log_p1(x1, x2):
    """The model's step p(x_1 | x_2)."""
    return log_N(x1, 0.6 * x2, 0.5)


grid = torch.linspace(-9, 9, 2001)
dx = grid[1] - grid[0]
joint_of_x0 = (log_p0(grid, 1.0) + log_p1(torch.tensor(1.0), -0.3) + log_N(-0.3, 0.0, 1.0)).exp()
print(f"joint, integrated over x_0 at x_1 = 1, x_2 = -0.3: {joint_of_x0.sum() * dx:.4f}, so it is no p(x_0 | x_1, x_2)")
print(f"p(x_0 | x_1), integrated over x_0: {log_p0(grid, 1.0).exp().sum() * dx:.4f}")

# %% [markdown] tags=["claim:latent-variable-marginal"]
# ## 2 · How probable is one image?
#
# **The question.** The model makes whole chains. We only see $x_0$. How do we get $p_\theta(x_0)$?
#
# Sum over all chains that end there:
#
# $$p_\theta(x_0)=\int p_\theta(x_{0:T})\,dx_{1:T}$$
#
# For our chain that is a double integral, and a grid of $2001^2$ points does it. For 1000 steps of 784 pixels it is an integral over 784,000 variables. No grid will ever do it.
# And drawing chains from the model does not help: almost none of them ends near the given $x_0$.
#
# **Insert one.** Multiply and divide by the forward chain. It starts at our $x_0$, and it makes just the kind of chains that could have led to it:
#
# $$\log p_\theta(x_0)=\log\int q(x_{1:T}\mid x_0)\,\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\,dx_{1:T}=\log\ \mathbb E_{q(x_{1:T}\mid x_0)}\left[\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right]$$
#
# (Eq. 34-36 of lecture 000. On the slide, Eq. 36 has lost its logarithm.) This is an average, so samples can estimate it.

# %%
x0 = torch.tensor(0.7)
x1, x2 = grid[:, None], grid[None, :]
by_grid = (log_N(x2, 0.0, 1.0) + log_p1(x1, x2) + log_p0(x0, x1)).exp().sum() * dx**2

n = 100_000
x1 = alpha[1] ** 0.5 * x0 + beta[1] ** 0.5 * torch.randn(n, generator=generator)  # the forward chain
x2 = alpha[2] ** 0.5 * x1 + beta[2] ** 0.5 * torch.randn(n, generator=generator)
log_q = log_N(x1, alpha[1] ** 0.5 * x0, beta[1]) + log_N(x2, alpha[2] ** 0.5 * x1, beta[2])
log_ratio = log_N(x2, 0.0, 1.0) + log_p1(x1, x2) + log_p0(x0, x1) - log_q  # log p(x_0:T) - log q(x_1:T | x_0)

ratio = log_ratio.exp()
print(f"p(x_0) by grid {by_grid:.4f}   as an average {ratio.mean():.4f} ± {ratio.std() / n**0.5:.4f}")
print(f"log p(x_0) {by_grid.log():.4f}: the average without its logarithm is another number")

# %% [markdown] tags=["claim:elbo-jensen", "claim:negative-elbo-upper-bound"]
# ## 3 · The bound
#
# **The question.** We could now average ratios and take the logarithm. Why does nobody?
#
# The ratio is a product of $T$ factors. For images, and a model that is not yet good, the ratios of two chains differ by tens of powers of ten. A few lucky chains carry the whole average.
#
# So we let the logarithm go inside, where it turns the product into a sum. Jensen's inequality (lesson 01) says what that costs. The logarithm is concave, so
#
# $$\log p_\theta(x_0)=\log\mathbb E_q\left[\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right]\ \ge\ \mathbb E_q\left[\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right]=:\mathrm{ELBO}(x_0)$$
#
# The **evidence lower bound**. With a minus in front it is a loss, and the sign turns the inequality around (Ho et al., Eq. 3):
#
# $$-\log p_\theta(x_0)\ \le\ \mathbb E_q\left[-\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\right]=:L(x_0)$$
#
# Several slides of lecture 000 have $\ge$ here. The habit that catches it: **a loss must bound what you care about from above.** Otherwise making it small proves nothing.
#
# **Predict before you run.** For $x_0=0.7$, $-\log p_\theta(x_0)=1.126$. By how much does $L$ exceed it: about 1, 0.1 or 0.01 nats?

# %% alt="Histogram of log p over q for sampled chains. A line marks the mean, the ELBO, and just right of it another line marks the logarithm of the mean ratio, log p(x_0)."
elbo = log_ratio.mean()
fig, ax = plt.subplots()
ax.hist(log_ratio, bins=80, range=(-1.4, -0.6), density=True, color=plots.COLORS["noised"], alpha=0.6)
ax.axvline(elbo, color=plots.COLORS["model"], linestyle="-.", label="their mean: the ELBO")
ax.axvline(by_grid.log(), color=plots.COLORS["posterior"], linestyle=":", label="$\\log p_\\theta(x_0)$")
ax.set(xlabel="$\\log\\, p_\\theta(x_{0:T})\\,/\\,q(x_{1:T}|x_0)$ of one chain", ylabel="density")
ax.set_title("The mean of the logarithms lies just below the logarithm of the mean")
ax.legend()
plt.show()
bar = log_ratio.std() / n**0.5
print(f"-log p(x_0) = {-by_grid.log():.4f}   L = {-elbo:.4f} ± {bar:.4f}")
without_q = (log_ratio + log_q).mean()  # lecture 001 leaves the denominator out once
print(f"E[log p(x_0:T)], without the denominator: {without_q:.3f}, nowhere near")

# %% [markdown]
# **Exercise 4.1.** For some $x_0$ the ratio $p_\theta(x_{0:T})/q(x_{1:T}\mid x_0)$ is 0.1 for half of the chains and 0.9 for the other half. Give $\log p_\theta(x_0)$ and the ELBO, as a pair (three decimals).

# %% tags=["exercise:4.1"]
# BEGIN SOLUTION
evidence_and_bound = (math.log((0.1 + 0.9) / 2), (math.log(0.1) + math.log(0.9)) / 2)
# END SOLUTION
check("4.1", evidence_and_bound)

# %% [markdown] tags=["claim:vae-elbo"]
# ## 4 · How far below?
#
# **The question.** Bounds can be useless: $\log p\ge-\infty$. What is the gap?
#
# Forget the chain for a moment. Call the latent variables $z$ and the data $x$. Bayes' rule says $p(x,z)=p(x)\,p(z\mid x)$. Put that into the bound, with any density $q(z\mid x)$:
#
# $$\mathbb E_q\left[\log\frac{p(x,z)}{q(z\mid x)}\right]=\log p(x)+\mathbb E_q\left[\log\frac{p(z\mid x)}{q(z\mid x)}\right]=\log p(x)-D_{\mathrm{KL}}\big(q(z\mid x)\,\|\,p(z\mid x)\big)$$
#
# **The gap is a Kullback-Leibler divergence.** It is 0 only if $q$ is the model's own posterior. This is the bound of the variational autoencoder, VAE, which lecture 001 starts from. There $q_\phi(z\mid x)$ is a network too, the encoder, and training moves it towards $p(z\mid x)$.
#
# In the picture: $z\sim\mathcal N(0,1)$, $x=z+\text{noise}$ of variance $\tfrac12$, and we see $x=1.5$. Then $p(x)=\mathcal N(0,1.5)$, and lesson 01 gives the posterior $p(z\mid x)=\mathcal N(1,\tfrac13)$.

# %% alt="The bound against the mean of q for three variances of q: three parabolas under the horizontal line log p(x). Only the one with variance one third touches the line, at mean 1."
x, means = 1.5, torch.linspace(-0.5, 2.5, 301)
log_px = log_N(torch.tensor(x), 0.0, 1.5)


def bound_vae(mean, var):
    """E_q[log p(x | z)] - KL(q || p(z)) for q = N(mean, var): the bound, term by term."""
    reconstruction = log_N(x, mean, 0.5) - var / (2 * 0.5)  # E (x - z)² = (x - mean)² + var
    return reconstruction - (var + mean**2 - 1 - math.log(var)) / 2


fig, ax = plt.subplots()
for var, style in ((1 / 3, "-"), (1.0, "--"), (0.05, "-.")):
    ax.plot(means, bound_vae(means, var), color=plots.COLORS["model"], linestyle=style, label=f"q's variance {var:.2f}")
    gap = kl_gaussian(0.5, var, 1.0, 1 / 3)  # at mean 0.5
    print(f"q = N(0.5, {var:.2f}): log p - bound {log_px - bound_vae(0.5, var):.4f}   KL(q || p(z|x)) {gap:.4f}")
ax.axhline(log_px, color=plots.COLORS["posterior"], linestyle=":", label="log p(x)")
ax.set(xlabel="mean of q(z|x)", ylabel="bound, nats", ylim=(-4, -1.3))
ax.set_title("The bound touches log p(x) only where q is the exact posterior")
ax.legend()
plt.show()

# %% [markdown] tags=["claim:elbo-gap"]
# Now back to the chain, with $z=x_{1:T}$:
#
# $$\log p_\theta(x_0)-\mathrm{ELBO}(x_0)=D_{\mathrm{KL}}\big(q(x_{1:T}\mid x_0)\,\|\,p_\theta(x_{1:T}\mid x_0)\big)\ \ge\ 0$$
#
# | | VAE | hierarchical VAE | DDPM |
# |---|---|---|---|
# | latent variables | one $z$ | $z_1,\dots,z_T$, a Markov chain | $x_1,\dots,x_T$ |
# | their size | free | free | that of $x_0$ |
# | encoder $q$ | learned | learned | **fixed**: it adds noise |
# | decoder $p_\theta$ | one network | one per level | one network, which is told $t$ |
# | the gap shrinks because | $q$ moves to $p$ | $q$ moves to $p$ | only $p_\theta$ can move |
#
# ### Is minimising $L$ the same as maximising the likelihood?
#
# Lecture 002 calls the two equivalent. **What do you think?** The gap depends on $\theta$ as well.
#
# Take $T=1$ and $\alpha_1=\tfrac12$, data $\mathcal N(0,1)$, and the model $p_\theta(x_0\mid x_1)=\mathcal N(\theta x_1,\tfrac14)$. The model's data have the variance $\theta^2+\tfrac14$, so the likelihood is best at $\theta^2=\tfrac34$: there they are exactly $\mathcal N(0,1)$.
#
# For $T=1$ the ratio is $\frac{p(x_1)}{q(x_1\mid x_0)}\,p_\theta(x_0\mid x_1)$, so $L=D_{\mathrm{KL}}(q(x_1\mid x_0)\,\|\,p(x_1))-\mathbb E\log p_\theta(x_0\mid x_1)$. The first part has no $\theta$; averaged over the data it is $-\frac12\log(1-\alpha_1)$ (lesson 02, section 5). The second is
#
# $$\tfrac12\log(2\pi\cdot\tfrac14)+\frac{\mathbb E(x_0-\theta x_1)^2}{2\cdot\frac14},\qquad\mathbb E(x_0-\theta x_1)^2=1-2\theta\sqrt{\alpha_1}+\theta^2,\quad\text{least at }\theta=\sqrt{\alpha_1}$$

# %% alt="Two curves against theta. The bound has its minimum at 0.71, the negative log-likelihood below it at 0.87."
theta = torch.linspace(0.3, 1.2, 901)
model_var = theta**2 + 0.25
nll = (torch.log(2 * math.pi * model_var) + 1 / model_var) / 2  # E[-log p(x_0)], data N(0, 1)
square = 1 - 2 * theta * 0.5**0.5 + theta**2
L = -math.log(0.5) / 2 + (math.log(2 * math.pi * 0.25) + square / 0.25) / 2  # the two parts
fig, ax = plt.subplots()
ax.plot(theta, L, color=plots.COLORS["model"], linestyle="-.", label="the bound $L$")
ax.plot(theta, nll, color=plots.COLORS["posterior"], linestyle=":", label="$-\\log p_\\theta$")
for curve, color in ((L, plots.COLORS["model"]), (nll, plots.COLORS["posterior"])):
    ax.plot(theta[curve.argmin()], curve.min(), "o", color=color)
ax.set(xlabel="θ", ylabel="nats, averaged over the data")
ax.set_title("The bound and the likelihood have different best θ")
ax.legend()
plt.show()
print(f"best theta: bound {theta[L.argmin()]:.3f}, likelihood {theta[nll.argmin()]:.3f}")

# %% [markdown]
# Not equivalent: the bound is a **surrogate**. It is a good one where the gap can be made small, and lesson 04b shows the gap going to 0 as $T$ grows. To be careful: if the gap vanishes at a $\theta$ that maximises the likelihood, that $\theta$ minimises the bound too.
#
# **Exercise 4.2.** The same with $\alpha_1=0.64$. Give the best positive $\theta$ of the bound and of the likelihood, as a pair.

# %% tags=["exercise:4.2"]
# BEGIN SOLUTION
best_thetas = (0.64**0.5, 0.75**0.5)
# END SOLUTION
check("4.2", best_thetas)

# %% [markdown] tags=["claim:elbo-log-ratio-sum"]
# ## 5 · Take it apart, the first way
#
# **The question.** The ratio belongs to a whole chain. Training needs small pieces. Which?
#
# Both chains are products. Insert them (lecture 000, Eq. 38), and let the logarithm make sums:
#
# $$\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}=\log\frac{p(x_T)\prod_{t=1}^T p_\theta(x_{t-1}\mid x_t)}{\prod_{t=1}^T q(x_t\mid x_{t-1})}=\log p(x_T)+\sum_{t=1}^T\log\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_t\mid x_{t-1})}$$
#
# This pairs step with step: the model's way from $t$ to $t-1$ over the chain's way from $t-1$ to $t$. In each term, the density above is one of $x_{t-1}$, and the density below one of $x_t$. We want to compare two densities of the **same** variable.

# %% [markdown] tags=["claim:elbo-split-consistency", "claim:expectation-drops-unused-variables", "claim:consistency-prior-matching"]
# **Shift the pairing.** Take $p_\theta(x_0\mid x_1)$ and $q(x_T\mid x_{T-1})$ out of the products, and rename $t$ to $t+1$ in what is left above (Eq. 39-40):
#
# $$\prod_{t=2}^{T}p_\theta(x_{t-1}\mid x_t)=\prod_{t=1}^{T-1}p_\theta(x_t\mid x_{t+1})$$
#
# Now $p_\theta(x_t\mid x_{t+1})$ stands over $q(x_t\mid x_{t-1})$: two densities of $x_t$. Take the logarithm:
#
# $$\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}=\log p_\theta(x_0\mid x_1)+\log\frac{p(x_T)}{q(x_T\mid x_{T-1})}+\sum_{t=1}^{T-1}\log\frac{p_\theta(x_t\mid x_{t+1})}{q(x_t\mid x_{t-1})}$$
#
# Then the expectation. **An expectation needs only the variables that occur in it**; the others integrate to 1. So (Eq. 41-44)
#
# $$\mathrm{ELBO}=\mathbb E_{q(x_1\mid x_0)}\big[\log p_\theta(x_0\mid x_1)\big]+\mathbb E_{q(x_{T-1},x_T\mid x_0)}\Big[\log\frac{p(x_T)}{q(x_T\mid x_{T-1})}\Big]+\sum_{t=1}^{T-1}\mathbb E_{q(x_{t-1},x_t,x_{t+1}\mid x_0)}\Big[\log\frac{p_\theta(x_t\mid x_{t+1})}{q(x_t\mid x_{t-1})}\Big]$$
#
# In the second term, $x_T$ is averaged under $q(x_T\mid x_{T-1})$, the density in its own denominator. So it **is** a divergence, averaged over $x_{T-1}$: $\;-\mathbb E_{q(x_{T-1}\mid x_0)}\big[D_{\mathrm{KL}}(q(x_T\mid x_{T-1})\,\|\,p(x_T))\big]$. It asks the last state to look like the prior.
#
# Lecture 000 then writes the third term as a divergence as well (Eq. 45): $-\mathbb E_{q(x_{t-1},x_{t+1}\mid x_0)}\big[D_{\mathrm{KL}}(q(x_t\mid x_{t-1})\,\|\,p_\theta(x_t\mid x_{t+1}))\big]$.
#
# **Stop and think.** May it? Under which law is $x_t$ averaged in Eq. 44, when $x_{t-1}$ and $x_{t+1}$ are held fixed?

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# Under $q(x_t\mid x_{t-1},x_{t+1})$. That is not $q(x_t\mid x_{t-1})$: the chain makes $x_{t+1}$ out of $x_t$, so $x_{t+1}$ tells something about $x_t$ (lesson 02, section 7). A divergence would average $x_t$ under $q(x_t\mid x_{t-1})$, as if $x_{t+1}$ had been
# drawn from another chain that passes through the same $x_{t-1}$.
#
# </details>

# %% [markdown] tags=["claim:elbo-consistency-term"]
# Our chain has one such term, at $t=1$. Compute all three terms from the sampled chains, and the third also as Eq. 45 has it: an $x_2$ from **another** chain with the same $x_0$. (At $t=1$, $x_{t-1}$ is $x_0$ itself.)

# %%
reconstruction = log_p0(x0, x1).mean()
prior = (log_N(x2, 0.0, 1.0) - log_N(x2, alpha[2] ** 0.5 * x1, beta[2])).mean()
q1 = log_N(x1, alpha[1] ** 0.5 * x0, beta[1])  # log q(x_1 | x_0)
consistency = (log_p1(x1, x2) - q1).mean()
stranger = x2[torch.randperm(n, generator=generator)]  # x_2 of another chain
as_printed = (log_p1(x1, stranger) - q1).mean()

for name, third in (("same chain, Eq. 44", consistency), ("another chain, Eq. 45", as_printed)):
    print(f"{name:22s} third term {third:.3f}   sum {reconstruction + prior + third:.3f}   ELBO {elbo:.3f}")
print(f"the difference {consistency - as_printed:.3f}")

# %% [markdown]
# The formula for the difference: for $p_\theta(x_t\mid x_{t+1})=\mathcal N(c\,x_{t+1},\,s)$ the exponent is $-(x_t-c\,x_{t+1})^2/2s$, and only its cross term $c\,x_t x_{t+1}/s$ knows whether the two belong to one chain. Given $x_{t-1}$, their covariance is
# $\mathrm{Cov}(x_t,\sqrt{\alpha_{t+1}}\,x_t)=\sqrt{\alpha_{t+1}}\,\beta_t$. So for $c>0$ Eq. 45 is too pessimistic (for $c<0$ it can even fall below $L$), by
#
# $$\frac{c\,\sqrt{\alpha_{t+1}}\,\beta_t}{s}\quad\text{per dimension:}\qquad\frac{0.6\cdot\sqrt{0.5}\cdot0.3}{0.5}=0.255$$
#
# A divergence is never negative. The true term can be: a model that knows the way back, $p_\theta(x_1\mid x_2)=q(x_1\mid x_2,x_0)$, has $\mathbb E\big[\log\frac{q(x_1\mid x_0)}{p_\theta(x_1\mid x_2)}\big]<0$, because seeing $x_2$ makes $x_1$ more certain.

# %% alt="Two stacked bars of the negative ELBO's terms, Eq. 44 and Eq. 45, and a dotted line at minus log p. The first bar ends just above the line, the second far above it."
fig, ax = plt.subplots(figsize=(7, 2.4))
for row, third in ((1, -consistency), (0, -as_printed)):
    left = 0.0
    for value, color, name in (
        (-reconstruction, plots.COLORS["data"], "reconstruction"),
        (-prior, plots.COLORS["prior"], "prior matching"),
        (third, plots.COLORS["noised"], "consistency"),
    ):
        ax.barh(row, value, left=left, color=color, edgecolor="white", label=name if row else None)
        left = left + value
ax.axvline(-by_grid.log(), color="0.1", linestyle=":", label="$-\\log p_\\theta(x_0)$")
ax.set(yticks=[1, 0], yticklabels=["Eq. 44", "Eq. 45"], xlabel="nats", xlim=(0, 1.5))
ax.set_title("Eq. 45 adds up to more than the bound")
ax.legend(ncol=4, loc="upper center", bbox_to_anchor=(0.5, -0.2))
plt.show()

# %% [markdown] tags=["claim:two-variable-expectation"]
# The names say what each term asks for. **Reconstruction**: from $x_1$, find $x_0$. **Prior matching**: the end looks like noise. **Consistency** (這兩個到達 $x_t$ 的路徑要一致): the way forward and the way back agree about $x_t$.
#
# The slides note a second flaw of this form, and here they are right: each consistency term is an average over more than one variable ($x_{t-1},x_t,x_{t+1}$). No formula is left for any of the three averages, so all of them are sampled, and that is noisy. One jump is not enough either:
# jump to $x_{t-1}$, then walk two steps. **Can we avoid that?** Lesson 04b can, with one more use of Bayes' rule.
#
# **Exercise 4.3.** By how many nats is the bound on $-\log p_\theta(x_0)$ too large with Eq. 45, if $p_\theta(x_t\mid x_{t+1})=\mathcal N(0.5\,x_{t+1},\,0.4)$, $\alpha_{t+1}=0.64$ and $\beta_t=0.2$, in one dimension?

# %% tags=["exercise:4.3"]
# BEGIN SOLUTION
difference_4_3 = 0.5 * 0.64**0.5 * 0.2 / 0.4
# END SOLUTION
check("4.3", difference_4_3)

# %% [markdown]
# ## What to remember
#
# * The model is a joint law of all states. The likelihood of $x_0$ is an integral over all chains, and nobody can compute it for images.
# * Multiply and divide by $q$, put the logarithm inside: $-\log p_\theta(x_0)\le L(x_0)$. The gap is $D_{\mathrm{KL}}(q(x_{1:T}\mid x_0)\,\|\,p_\theta(x_{1:T}\mid x_0))$.
# * Minimising $L$ is a surrogate for maximising the likelihood. The best $\theta$ may differ.
# * The first decomposition has consistency terms over three neighbours. They are not divergences.
# * The habit: before you write "= KL", ask under which law the variable is averaged.
#
# **Next:** [04b The terms of the bound](04b_elbo_terms.ipynb).
#
# **References.** Lectures 000, 001 and 002, slides named above. Ho, Jain and Abbeel 2020, Section 2, Eq. 1 and 3. Kingma and Welling 2014, *Auto-Encoding Variational Bayes*.
# Luo 2022, *Understanding Diffusion Models: A Unified Perspective*, has the numbered derivation that the slides follow.
