# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04b · Compare each step back with one you know
#
# **You will do.** Take the bound apart a second time, line by line, on chains you drew yourself. Measure both decompositions against each other. Watch the gap to the likelihood close.
#
# **You will learn.** The three terms that the rest of the course trains and measures: $L_T$, $L_{t-1}$, $L_0$. Which of them can be ignored, and which cannot.
#
# **You will need.** Lesson 04. From lesson 02, why $q(x_t\mid x_{t-1})=q(x_t\mid x_{t-1},x_0)$.
#
# Lecture 000: "ELBO (3)" to "(10)", "Complex Derivations (2)" to "(4)" with Eq. 46-58, "Reconstruction Term", "Prior Matching Term", "Denoising Matching Term". Lecture 002: "Background: Diffusion", "Reverse Process Decoder".
# Lecture 004: "Lower bound", "Maximizing the lower bound". Ho et al. 2020: Section 2, Eq. 5; Section 3.1; Section 3.3 and Eq. 13; Appendix A.

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch.distributions import Normal

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    cosine_schedule,
    elbo_consistency,
    elbo_terms,
    linear_schedule,
    plots,
    posterior_mean_var,
)
from ddpm_lesson.checks import check

torch.set_default_dtype(torch.float64)
mixture = GaussianMixture(weights=[0.3, 0.7], means=[[-1.479], [0.634]], std=0.25)
toy = Schedule([0.05 * s for s in range(1, 11)])  # T = 10
mean_hat = mixture.denoiser(toy, "mean")  # the model: the best mean that a function of x_t can give
generator = torch.Generator().manual_seed(44)

# %% [markdown]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $q(x_{t-1}\mid x_t,x_0)$ | `posterior_mean_var` | one step back for someone who knows $x_0$: $\mathcal N(\tilde\mu_t,\tilde\beta_t)$. Lesson 05 derives it; here its name is enough |
# | $p_\theta(x_{t-1}\mid x_t)$ | `mean_hat` | the model's step back, $\mathcal N(\mu_\theta(x_t,t),\sigma_t^2)$ |
# | $L_T,\ L_{t-1},\ L_0$ | `elbo_terms` | prior matching, denoising matching (one for each $t=2..T$), reconstruction; in nats |
#
# The data are our mixture, $T=10$, and $\sigma_t^2=\beta_t$. The model's mean is exact: no function of $x_t$ alone has a smaller squared error. Still the model is not perfect. Its steps are Gaussian, and the true ones are not (lesson 03).

# %% [markdown] tags=["claim:bayes-conditioned-on-x0"]
# ## 1 · The idea
#
# **The question.** In lesson 04 the forward step $q(x_t\mid x_{t-1})$ stood under $p_\theta(x_{t-1}\mid x_t)$: two densities of two different variables. Can we turn the forward step around?
#
# Bayes' rule turns conditionals around. But plain $q(x_{t-1}\mid x_t)$ depends on all the data, and we do not have it as a formula. **With $x_0$ in every condition** everything is a known Gaussian. And we may bring $x_0$ in for nothing, as the chain is Markov
# (lecture 000, Eq. 46):
#
# $$q(x_t\mid x_{t-1})=q(x_t\mid x_{t-1},x_0)=\frac{q(x_{t-1}\mid x_t,x_0)\;q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)},\qquad t\ge2$$
#
# At $t=1$ this would say $q(x_0\mid x_1,x_0)$, which is no density. That step stays as it is.

# %% [markdown] tags=["claim:telescoping-marginals", "claim:elbo-denoising-steps"]
# ## 2 · The derivation
#
# **Split off $t=1$, insert Bayes** (Eq. 47-52):
#
# $$\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}=\log\frac{p(x_T)\,p_\theta(x_0\mid x_1)}{q(x_1\mid x_0)}+\sum_{t=2}^T\log\left[\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_{t-1}\mid x_t,x_0)}\cdot\frac{q(x_{t-1}\mid x_0)}{q(x_t\mid x_0)}\right]$$
#
# **Telescope** (Eq. 53-54). In the product of the last ratios every numerator meets the next denominator:
#
# $$\prod_{t=2}^T\frac{q(x_{t-1}\mid x_0)}{q(x_t\mid x_0)}=\frac{q(x_1\mid x_0)}{\cancel{q(x_2\mid x_0)}}\cdot\frac{\cancel{q(x_2\mid x_0)}}{\cancel{q(x_3\mid x_0)}}\cdots\frac{\cancel{q(x_{T-1}\mid x_0)}}{q(x_T\mid x_0)}=\frac{q(x_1\mid x_0)}{q(x_T\mid x_0)}$$
#
# Its $q(x_1\mid x_0)$ cancels the one we split off. What is left (Eq. 55):
#
# $$\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}=\log p_\theta(x_0\mid x_1)+\log\frac{p(x_T)}{q(x_T\mid x_0)}+\sum_{t=2}^T\log\frac{p_\theta(x_{t-1}\mid x_t)}{q(x_{t-1}\mid x_t,x_0)}$$
#
# So far nothing was averaged. **These lines hold for every single chain**, not only on average. Draw some chains and see. `Normal` takes a standard deviation.

# %%
n, x0 = 20_000, 0.7
alpha, beta, alpha_bar = toy.alpha, toy.beta, toy.alpha_bar
chain = [torch.full((n, 1), x0)]
for t in range(1, 11):
    step = Normal(alpha[t].sqrt() * chain[-1], beta[t].sqrt())
    chain.append(step.mean + step.stddev * torch.randn(n, 1, generator=generator))
prior = Normal(0.0, 1.0)

first = prior.log_prob(chain[10])  # Eq. 48: step against step
last = prior.log_prob(chain[10]) - Normal(alpha_bar[10].sqrt() * x0, (1 - alpha_bar[10]).sqrt()).log_prob(chain[10])
for t in range(1, 11):
    model = Normal(mean_hat(chain[t], t), beta[t].sqrt()).log_prob(chain[t - 1])
    first = first + model - Normal(alpha[t].sqrt() * chain[t - 1], beta[t].sqrt()).log_prob(chain[t])
    last = last + model  # Eq. 55: the model against the posterior
    if t > 1:
        mean, var = posterior_mean_var(chain[t], chain[0], t, toy)
        last = last - Normal(mean, var.sqrt()).log_prob(chain[t - 1])
for i in range(3):
    print(f"chain {i + 1}: log p/q by Eq. 48 {first[i].item():.6f}   by Eq. 55 {last[i].item():.6f}")

# %% [markdown]
# **Exercise 4.4.** For one chain with $T=4$: $q(x_1\mid x_0)=0.6$, $q(x_2\mid x_0)=0.5$, $q(x_3\mid x_0)=0.2$, $q(x_4\mid x_0)=0.15$. What is $\prod_{t=2}^4 q(x_{t-1}\mid x_0)/q(x_t\mid x_0)$?

# %% tags=["exercise:4.4"]
# BEGIN SOLUTION
product_4_4 = 0.6 / 0.15
# END SOLUTION
check("4.4", product_4_4)

# %% [markdown] tags=["claim:elbo-denoising-matching", "claim:elbo-term-names"]
# **Average** (Eq. 56-58). Each term keeps the variables that occur in it. In the sum, those are $x_{t-1}$ and $x_t$, and their joint law splits as
#
# $$q(x_{t-1},x_t\mid x_0)=q(x_t\mid x_0)\;q(x_{t-1}\mid x_t,x_0)$$
#
# So $x_{t-1}$ is averaged under $q(x_{t-1}\mid x_t,x_0)$, the very density in the denominator. **Here the inner average is a Kullback-Leibler divergence.** The habit of lesson 04, asking under which law a variable is averaged, pays off (Ho et al., Eq. 5):
#
# $$L=\underbrace{D_{\mathrm{KL}}\big(q(x_T\mid x_0)\,\|\,p(x_T)\big)}_{L_T,\ \text{prior matching}}+\sum_{t=2}^T\underbrace{\mathbb E_{q(x_t\mid x_0)}\Big[D_{\mathrm{KL}}\big(q(x_{t-1}\mid x_t,x_0)\,\|\,p_\theta(x_{t-1}\mid x_t)\big)\Big]}_{L_{t-1},\ \text{denoising matching}}
# \underbrace{-\,\mathbb E_{q(x_1\mid x_0)}\big[\log p_\theta(x_0\mid x_1)\big]}_{L_0,\ \text{reconstruction}}$$
#
# There is one $L_{t-1}$ for each $t=2..T$. (One slide defines $L_{t-1}$ as the whole sum. A left side with $t$ and a right side without: **count the free indices**.)

# %%
parts = elbo_terms(mean_hat, torch.full((n, 1), x0), toy, sigma="beta", predicts="mean", generator=generator)
bar = parts.total.std() / n**0.5
print(f"the 20,000 chains above   L = {-first.mean():.3f} ± {first.std().item() / n**0.5:.3f}")
print(f"the three kinds of terms  L = {parts.total.mean():.3f} ± {bar:.3f}")
L_T, L_0 = parts.L_T.mean(), parts.L_0.mean()
print(f"L_T {L_T:.3f}   L_4 {parts.L_t[5].mean():.3f}   sum of L_(t-1) {parts.L_t.mean(1).sum():.3f}   L_0 {L_0:.3f}")

# %% [markdown]
# The code's `L_t[5]` compares the step from $x_5$ to $x_4$. The lecture calls it $L_4$.
#
# **Exercise 4.5.** One such divergence, by hand. At some $x_t$ in one dimension: $q=\mathcal N(1.0,\ 0.1)$ and $p_\theta=\mathcal N(0.7,\ 0.2)$; the second entries are variances. How many nats? (Lesson 01, section 7; three decimals.)

# %% tags=["exercise:4.5"]
# BEGIN SOLUTION
nats_4_5 = (math.log(0.2 / 0.1) + (0.1 + (1.0 - 0.7) ** 2) / 0.2 - 1) / 2
# END SOLUTION
check("4.5", nats_4_5)

# %% [markdown] tags=["claim:rao-blackwell-kl"]
# ## 3 · The same number, another noise
#
# **The question.** Both decompositions have the same mean, $L$. Is the second better?
#
# Training estimates terms from samples. Look at one term. The consistency form samples $x_{t-1},x_t,x_{t+1}$ and takes a difference of log densities. The denoising form samples $x_t$ alone and has the average over $x_{t-1}$ **as a formula**.
# Replacing a sampled quantity by its conditional mean never raises the variance (Rao and Blackwell): each divergence varies at most as much as the log ratio $\log\frac{q(x_{t-1}\mid x_t,x_0)}{p_\theta(x_{t-1}\mid x_t)}$ whose mean it is.
#
# **Predict before you run.** For fixed $x_0$, how much does one term vary from draw to draw, in nats, in either form?

# %% alt="Standard deviation of each term against t. The consistency terms lie between 0.7 and 0.9 nats; the denoising terms are well below, and small for large t."
draws = torch.full((4000, 1), x0)
settings = {"sigma": "beta", "predicts": "mean", "generator": generator}
matching = elbo_terms(mean_hat, draws, toy, **settings)
consistency = elbo_consistency(mean_hat, draws, toy, **settings)
fig, ax = plt.subplots()
spread = consistency.L_t[1:10].std(1)
ax.plot(range(1, 10), spread, "s-", color=plots.COLORS["noised"], label="consistency, three neighbours")
spread = matching.L_t[2:].std(1)
ax.plot(range(2, 11), spread, "o-", color=plots.COLORS["data"], label="denoising matching, a divergence")
ax.set(xlabel="t", ylabel="std of one term, nats", ylim=(0, None), xticks=range(1, 11))
ax.set_title("Term by term, the denoising form is far less noisy")
ax.legend()
plt.show()
for name, form in (("consistency", consistency), ("denoising", matching)):
    bar = form.total.std() / len(draws) ** 0.5
    print(f"{name:12s} total {form.total.mean():.2f} ± {bar:.2f}   std of one draw of the total {form.total.std():.1f}")

# %% [markdown]
# Training draws **one** $t$ for each image, so the noise of one term is what counts. That is the lecture's point, and it holds.
#
# Do not carry it over to the total. Here even the total is a little less noisy (0.6 against 0.8), but look how little of the advantage is left: independent terms as noisy as the consistency form's would add up to a std of 2.6. Along one chain their noise largely cancels. An extreme case turns the order round: if the model is the exact reversal of the chain, the gap of lesson 04 is 0, and $\log p_\theta(x_{0:T})/q(x_{1:T}\mid x_0)$ is the same
# number, $\log p_\theta(x_0)$, for **every** chain. Sampled as it stands (Eq. 48) it has no noise at all. The divergences of the second form still depend on the drawn $x_t$.

# %%
log_ratio = prior.log_prob(chain[10])  # data N(0, 1): the exact reverse step is N(√α_t x_t, β_t)
for t in range(1, 11):
    back = Normal(alpha[t].sqrt() * chain[t], beta[t].sqrt()).log_prob(chain[t - 1])
    log_ratio = log_ratio + back - Normal(alpha[t].sqrt() * chain[t - 1], beta[t].sqrt()).log_prob(chain[t])
exact = GaussianMixture([1.0], [[0.0]], 1.0).denoiser(toy, "mean")
total = elbo_terms(exact, draws, toy, **settings).total
print(f"log ratio   mean {-log_ratio.mean():.2f}   std {log_ratio.std():.2f}")
bar = total.std() / len(draws) ** 0.5
print(f"divergences mean {total.mean():.2f} ± {bar:.2f}   std {total.std():.1f}")
print(f"-log p(x_0) = {-prior.log_prob(torch.tensor(x0)):.2f}")

# %% [markdown] tags=["claim:prior-matching-term"]
# ## 4 · What is there to train?
#
# **$L_T$: nothing.** Both laws are fixed. It is the divergence that a VAE has between its encoder and its prior, but here neither side has a parameter: its gradient is zero. It is small if $\bar\alpha_T$ is small (lesson 02), which no training can repair.
#
# **$L_{t-1}$: all steps back but the last one.** That one, $t=1$, is in $L_0$ (section 5).

# %% [markdown] tags=["claim:denoising-matching-target"]
# Each $L_{t-1}\ge0$ asks the model's step to be like the step of someone who knows $x_0$. **Can it become 0?**
#
# The model does not see $x_0$. At one $x_t$ it must serve all the $x_0$ that could have led there. Write $\bar q=q(x_{t-1}\mid x_t)$ for the average of the posteriors over those $x_0$. Then for every density $p$, averaging over $x_0$ given $x_t$,
#
# $$\mathbb E\,D_{\mathrm{KL}}\big(q(\cdot\mid x_t,x_0)\,\|\,p\big)=\mathbb E\,D_{\mathrm{KL}}\big(q(\cdot\mid x_t,x_0)\,\|\,\bar q\big)+D_{\mathrm{KL}}(\bar q\,\|\,p)$$
#
# (Add and subtract $\log\bar q$ inside.) The first term on the right is fixed: how much $x_0$ tells about $x_{t-1}$ beyond $x_t$. The second is 0 for $p=\bar q$. So the best model is the **true reverse step** $q(x_{t-1}\mid x_t)$, and a floor remains.
#
# An example: data $\pm1$ and $x_t=0$, where both signs are equally likely. Compare three candidates for $p$.

# %%
t = 5
ends = torch.tensor([[1.0], [-1.0]])
mean, var = posterior_mean_var(torch.zeros(2, 1), ends, t, toy)  # two posteriors, N(±m, β̃)
grid = torch.linspace(-6, 6, 6001)
dx = (grid[1] - grid[0]).item()
two = Normal(mean, var.sqrt()).log_prob(grid)  # (2, grid): the log density of each
average = two.logsumexp(0) - math.log(2)  # log of the true reverse step at x_t = 0
spread = (var + mean[0] ** 2).sqrt()
candidates = {
    "the true reverse step": average,
    "a Gaussian with its mean and variance": Normal(0.0, spread).log_prob(grid),
    "the posterior of x_0 = +1": two[0],
}
for name, log_p in candidates.items():
    print(f"{name:38s} {(two.exp() * (two - log_p)).sum(1).mean() * dx:.3f} nats")

# %% [markdown]
# The floor at this $x_t$ is 0.237 nats: no model gets below it. The best Gaussian pays 0.003 more. Betting on one sign costs 0.616.

# %% [markdown] tags=["claim:reconstruction-term", "claim:gaussian-decoder"]
# ## 5 · And $L_0$?
#
# $$L_0=-\mathbb E_{q(x_1\mid x_0)}\big[\log p_\theta(x_0\mid x_1)\big]$$
#
# This is the reconstruction term of a VAE, for the last step only. The subscript of $\mathbb E$ says over which variable, with which law, one averages. With a Gaussian decoder $p_\theta(x_0\mid x_1)=\mathcal N(x_0;\mu_\theta(x_1,1),\sigma_1^2\mathbf I)$ it is, for $d$ dimensions,
#
# $$L_0=\frac d2\log(2\pi\sigma_1^2)+\frac1{2\sigma_1^2}\,\mathbb E\,\|x_0-\mu_\theta(x_1,1)\|^2$$
#
# The index is 1: the step $t=1$. (Lecture 002 prints $\sigma_0$, which does not exist.) Ho et al., Eq. 13, use a decoder for pixels with 256 values instead; the Gaussian one is the common stand-in.

# %% [markdown] tags=["claim:decoder-degenerate-at-posterior-variance"]
# **Which $\sigma_1$?** At $t=1$ someone who knows $x_0$ needs no guess: $\tilde\beta_1=0$, because $\bar\alpha_0=1$, and $\tilde\mu_1=x_0$. So $\mu_\theta(x_1,1)$ is the model's guess of $x_0$ itself. But $\sigma_1^2=\tilde\beta_1=0$ would make the decoder a single point, and $\log p_\theta(x_0\mid x_1)$ minus infinity unless the guess is exact.
# Lecture 004 runs into this: its weight $1/2\sigma^2(1)$ divides by zero, for every schedule. The decoder needs a variance of its own. $\sigma_1^2=\beta_1$ is usual, and it is the default of `elbo_terms`.
#
# **Q. (Lecture 000.)** Why can $L_0$ be neglected? (為什麼這一項可以忽略？) The slide's answer: $\beta_1$ is small, so $x_1\approx x_0$, and the term is small beside the others. **Before you agree,** put $\sigma_1^2=\beta_1=10^{-4}$ into the formula, with $d=1$. What does the logarithm say?

# %% [markdown] tags=["claim:reconstruction-term-not-negligible"]
# The squared error is small indeed, at most $d\,\beta_1/\alpha_1$ for the best mean, averaged over the data. But it is divided by $\beta_1$, and $\frac d2\log(2\pi\beta_1)$ goes to $-\infty$ as $\beta_1\to0$.
#
# An exact case: data $\mathcal N(0,1)$, whose reverse steps are $\mathcal N(\sqrt{\alpha_t}\,x_t,\beta_t)$. Their variance is $\beta_t$, also averaged over all data. So $L_0=\frac12\log(2\pi e\beta_1)$, and the divergence of two Gaussians with variances $\tilde\beta_t$ and $\beta_t$, whose means differ by $\beta_t-\tilde\beta_t$ in mean square, is $L_{t-1}=\frac12\log(\beta_t/\tilde\beta_t)$.
#
# Since $\beta_t/\tilde\beta_t=\frac{1-\bar\alpha_t}{1-\bar\alpha_{t-1}}$, the sum telescopes: $\sum_{t\ge2}L_{t-1}=\frac12\log\frac{1-\bar\alpha_T}{\beta_1}$. Add $L_T=-\frac12\log(1-\bar\alpha_T)$ and $L_0$: everything cancels but $\frac12\log(2\pi e)$.

# %% alt="For beta_1 from 0.01 to 0.000001: the sum of the denoising terms rises, L_0 falls below zero just as fast, and their total stays at 1.42."
table = []
for beta_1 in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
    s = linear_schedule(1000, beta_1=beta_1)
    L_0 = math.log(2 * math.pi * math.e * beta_1) / 2
    middle = ((s.beta[2:] / s.beta_tilde[2:]).log() / 2).sum()
    L_T = -torch.log1p(-s.alpha_bar[-1]) / 2  # E x_0² = 1
    table.append((beta_1, L_0, float(middle), float(L_0 + middle + L_T)))
    if beta_1 in (1e-2, 1e-4, 1e-6):
        print(f"beta_1 = {beta_1:.0e}   L_0 {L_0:6.3f}   sum of L_(t-1) {middle:.3f}   L_T {L_T:.6f}   L {table[-1][3]:.4f}")
columns = list(zip(*table, strict=True))
fig, ax = plt.subplots()
ax.plot(columns[0], columns[2], "o-", color=plots.COLORS["data"], label="sum of the $L_{t-1}$")
ax.plot(columns[0], columns[3], "^-", color=plots.COLORS["posterior"], label="$L$, their total")
ax.plot(columns[0], columns[1], "s-", color=plots.COLORS["model"], label="$L_0$")
ax.set(xscale="log", xlabel="$\\beta_1$", ylabel="nats")
ax.invert_xaxis()
ax.set_title("L_0 does not vanish with β_1: it falls without limit")
ax.legend(loc="lower left", ncol=3)
plt.show()

# %% [markdown]
# The total is $\frac12\log(2\pi e)=1.4189$, the entropy of the data, every time: this model is perfect. Its parts are not small. ($L_0<0$ is no mistake. It is a log **density**, and densities may exceed 1.)
#
# What is true: training with one random $t$ per image meets $t=1$ once in $T$ draws, and the simple loss of lesson 07 treats it like any other step. So no one needs special code for $L_0$ in training. In a reported bound it must not be left out.
#
# **Exercise 4.6.** Data $\mathcal N(0,1)$, the exact decoder $p(x_0\mid x_1)=\mathcal N(\sqrt{\alpha_1}\,x_1,\beta_1)$, and $\beta_1=0.02$. What is $L_0$, averaged over the data? (Nats, three decimals. You need $\mathbb E(x_0-\sqrt{\alpha_1}\,x_1)^2=\beta_1$.)

# %% tags=["exercise:4.6"]
# BEGIN SOLUTION
nats_4_6 = math.log(2 * math.pi * 0.02) / 2 + 0.02 / (2 * 0.02)
# END SOLUTION
check("4.6", nats_4_6)

# %% [markdown]
# ## 6 · Does the gap close?
#
# **The question.** $L$ is only a bound. For the mixture we can have all three numbers exactly: $L$, the model's $-\log p_\theta(x_0)$, and the entropy of the data, below which no model can go. What happens as $T$ grows?
#
# On a line, $p_\theta(x_0)$ is computable after all. Put the prior's density on a grid and walk it back, $p(x_{t-1})=\int p_\theta(x_{t-1}\mid x_t)\,p(x_t)\,dx_t$: each step is one matrix times a vector. And the averaged bound is
#
# $$\mathbb E\,L_{t-1}=\tfrac12\Big[\log\frac{\beta_t}{\tilde\beta_t}-1+\frac{\mathbb E\,\mathrm{Var}(x_{t-1}\mid x_t)}{\beta_t}\Big]$$
#
# for the exact mean and $\sigma_t^2=\beta_t$. (Write the divergence of section 2 with its two variances and means. Averaged over $x_0$ given $x_t$, $\tilde\beta_t+(\tilde\mu_t-\mu_\theta)^2$ is $\mathrm{Var}(x_{t-1}\mid x_t)$: the law of total variance.)
#
# **Predict before you run.** Ten times more steps: how far does $L$ come down towards the entropy? And how much of the rest is the gap of lesson 04?

# %%
grid = torch.linspace(-5, 5, 1501)[:, None]
dx = (grid[1] - grid[0]).item()
log_q = mixture.log_prob(grid)
entropy = -(log_q.exp() * log_q).sum() * dx
bounds, likelihoods = {}, {}
for T in (10, 30, 100, 300, 1000):
    s, ratio, means = cosine_schedule(T), [], []
    for t in range(1, T + 1):
        mean, var = mixture.reverse_moments(grid, t, s)  # of the true q(x_{t-1} | x_t)
        average = (var[:, 0, 0] * mixture.noised(t, s).log_prob(grid).exp()).sum() * dx
        ratio.append(average / s.beta[t])
        means.append(mean.T)
    L_T, L_0 = -torch.log1p(-s.alpha_bar[-1]) / 2, (torch.log(2 * math.pi * s.beta[1]) + ratio[0]) / 2
    bounds[T] = L_T + L_0 + ((s.beta[2:] / s.beta_tilde[2:]).log() - 1 + torch.stack(ratio[1:])).sum() / 2
    if T <= 100:
        p = prior.log_prob(grid).exp()
        for t in range(T, 0, -1):
            p = Normal(means[t - 1], s.beta[t].sqrt()).log_prob(grid).exp() @ p * dx  # one step back
        likelihoods[T] = -(log_q.exp() * p[:, 0].log()).sum() * dx
for T, bound in bounds.items():
    p = likelihoods.get(T)
    text = "" if p is None else f"   -log p {p:.4f}   gap {bound - p:.4f}"
    print(f"T = {T:4d}   entropy {entropy:.4f}   L {bound:.4f}{text}")

# %% alt="On logarithmic axes, nats above the entropy against T. The bound falls as a straight line, a factor of ten per factor of ten in T. The model's negative log-likelihood lies below it and falls faster."
fig, ax = plt.subplots()
for name, values, role in (("the bound $L$", bounds, "model"), ("$-\\log p_\\theta(x_0)$", likelihoods, "posterior")):
    above = [float(v - entropy) for v in values.values()]
    ax.plot(list(values), above, marker="o", **plots.LINES[role], color=plots.COLORS[role], label=name)
ax.set(xscale="log", yscale="log", xlabel="T", ylabel="nats above the entropy")
ax.set_title("The bound comes down to the entropy like 1/T")
ax.legend()
plt.show()

# %% [markdown]
# From $T=10$ to 100 the bound's distance to the entropy falls 8.5 times, from 100 to 1000 ten times: like $1/T$. Two things share that distance: the model's own error, $-\log p_\theta$ minus the entropy, and the gap of lesson 04. The gap goes from 0.181 to 0.028.
# The error falls faster, so at $T=100$ nearly all of the distance is gap.
#
# With many small steps the Gaussian is the right shape (lesson 03). The model's chain becomes the true reversal, and the bound becomes the likelihood. That is why one may train on $L$ with a clear conscience, and why DDPM takes many steps.
#
# ## What to remember
#
# * Bayes with $x_0$ in every condition, then telescoping: $L=L_T+\sum_{t\ge2}L_{t-1}+L_0$.
# * $L_{t-1}$ compares the model's step with $q(x_{t-1}\mid x_t,x_0)$. It is a divergence between two Gaussians, a formula, and its floor is not 0.
# * $L_T$ has no parameters. $L_0$ is not negligible, and it needs $\sigma_1^2>0$.
# * Here every term of the denoising form is less noisy. The theorem compares it with its own sampled log ratio only, and about the total one cannot say it in general.
#
# **Next:** [05 Posterior](05_posterior.ipynb), which finds the Gaussian in the middle of every term.
#
# **References.** Lectures 000, 002 and 004, slides named above. Ho, Jain and Abbeel 2020, Eq. 5 and 13, Appendix A. Sohl-Dickstein et al. 2015, *Deep Unsupervised Learning using Nonequilibrium Thermodynamics*.
