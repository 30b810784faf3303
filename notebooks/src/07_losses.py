# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · Turn the bound into a loss, and train on it
#
# **You will do.** Reduce a KL between two Gaussians to a squared error, three times. Weigh the errors, drop the weights, and see what moves. Train a small network in ten lines.
#
# **You will learn.** The weights $\omega_t$ and $\omega'_t$. Which variance is best for which data. What the simple loss keeps of the bound, and what it gives up.
#
# **You will need.** The KL of two Gaussians (lesson 01), the bound (04) and its terms (04b), the posterior (05), the three predictors and the conditional mean (06).
#
# Lecture 000: "Denoising Matching Term" (4) to (11), "x_0 Predictor", "Diffusion Matching Term", "Training". Lecture 002: "Reverse Process", "Simplified Training Objective", Appendix D.
# Lecture 003: "Reverse process". Lecture 004: "Denoising loss", "Maximizing the lower bound", "MSE loss", "Training steps". Ho et al. 2020: Eq. 8, 12 and 14, Algorithm 1.

# %%
import matplotlib.pyplot as plt
import torch

from ddpm_lesson import GaussianMixture, Schedule, elbo_terms, linear_schedule, loss_weight, plots, predictors, q_sample
from ddpm_lesson.checks import check
from ddpm_lesson.widgets import loss_explorer

torch.set_default_dtype(torch.float64)
toy = Schedule([0.05 * s for s in range(1, 11)])
hundred, paper = linear_schedule(100, rescale=True), linear_schedule()
alpha, beta, alpha_bar, beta_tilde = toy.alpha, toy.beta, toy.alpha_bar, toy.beta_tilde
mixture = GaussianMixture([0.3, 0.7], [[-1.479], [0.634]], std=0.25)  # mean 0, variance 1
colors, generator = plots.COLORS, torch.Generator().manual_seed(7)
grid = torch.linspace(-8, 8, 4001)
column = grid[:, None]  # the same as 4001 points with one entry each

# %% [markdown]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $\tilde\mu_t$, $\tilde\beta_t$ | `mu_tilde`, `beta_tilde` | mean and variance of the posterior $q(x_{t-1}\mid x_t,x_0)$, lesson 05 |
# | $\mu_\theta$, $\hat x_\theta$, $\epsilon_\theta$ | `mu_hat`, `x0_hat`, `eps_hat` | the network's guess of $\tilde\mu_t$, of $x_0$, of $\epsilon$; it sees $x_t$ and $t$; $\theta$ are its numbers |
# | $\sigma_t^2$ | `"beta"`, `"posterior"` | variance of the model's step $p_\theta(x_{t-1}\mid x_t)$, fixed before training; the package knows $\beta_t$ and $\tilde\beta_t$ by these names |
# | $L_T$, $L_{t-1}$, $L_0$ | `elbo_terms` | the terms of the bound, lesson 04b; $L_{t-1}$, $t\ge2$, is the KL of step $t$, averaged over $x_t$. In code it is `L_t[t]` |
# | $C_t$ | | the part of $L_{t-1}$ in which the network does not occur |
# | $\omega_t$, $\omega'_t$ | `loss_weight` | what multiplies the squared error of $x_0$, of $\epsilon$, in $L_{t-1}$ |
# | $w_t$ | `w` | any positive weights, one for each $t$ |
# | $\mathrm{SNR}_t$ | `snr` | $\bar\alpha_t/(1-\bar\alpha_t)$, infinite at $t=0$ |
# | $d$ | | number of entries of $x$ |
# | $M$ | | number of draws in an average |
# | $\mathcal U\{1..T\}$ | `torch.randint(1, T + 1, ...)` | each of $1..T$ equally likely |
#
# Three schedules: `toy` ($T=10$), `hundred` ($T=100$) and the paper's own, `paper` ($T=1000$). The short tables above, such as `beta`, are those of `toy`.
#
# ## 1 · From a KL to a squared error
#
# **The question.** For every $t\ge2$ the bound asks how far the model's step is from the posterior. Both are Gaussian:
#
# $$q(x_{t-1}\mid x_t,x_0)=\mathcal N(\tilde\mu_t,\tilde\beta_t\mathbf I),\qquad p_\theta(x_{t-1}\mid x_t)=\mathcal N(\mu_\theta(x_t,t),\sigma_t^2\mathbf I)$$
#
# **Q.** (Lecture 000.) Why do we give the model the same variance as the posterior, $\sigma_t^2=\tilde\beta_t$? Must we? And what is the KL then? Write your answers down.

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# With equal variances the KL is $\|\tilde\mu_t-\mu_\theta\|^2/2\sigma_t^2$: only the means are left to match. That is convenient, but not required. The next lines show that any other
# fixed variance leaves the same task.
#
# </details>

# %% [markdown] tags=["claim:mean-matching-loss", "claim:equal-variance-choice"]
# Put both Gaussians into the formula of lesson 01, section 8, and keep the variances apart:
#
# $$D_{\mathrm{KL}}=\frac{1}{2\sigma_t^2}\,\|\tilde\mu_t-\mu_\theta(x_t,t)\|^2+C_t,\qquad C_t=\frac d2\Big[\frac{\tilde\beta_t}{\sigma_t^2}-1+\log\frac{\sigma_t^2}{\tilde\beta_t}\Big]$$
#
# $C_t$ holds no $\theta$. With $r=\tilde\beta_t/\sigma_t^2$ the bracket is $r-1-\log r$. Since $\log r\le r-1$, it is never negative, and 0 only at $r=1$. So **every** fixed $\sigma_t^2$ leaves the task of matching means.
# It sets a factor and adds a constant, which vanishes exactly when $\sigma_t^2=\tilde\beta_t$. Average both sides over $x_t$ and over the data (Ho et al. Eq. 8):
#
# $$\mathbb E_{q(x_0)}\,L_{t-1}=\mathbb E_{q(x_0)}\,\mathbb E_{q(x_t\mid x_0)}\Big[\frac{1}{2\sigma_t^2}\|\tilde\mu_t(x_t,x_0)-\mu_\theta(x_t,t)\|^2\Big]+C_t$$
#
# Lecture 002 goes through these lines a little fast: from one row of its Eq. 8 to the next $\tilde\beta_t$ becomes $\sigma_t^2$, and no $C_t$ appears. As a training objective nothing is lost. As an
# equation it lacks $C_t$.
#
# **Predict before you run.** Take one pair $x_0,x_t$ and move the guess $\mu_\theta$. Draw the KL against the guess, for $\sigma_t^2=\tilde\beta_t/2$, $\tilde\beta_t$ and $2\tilde\beta_t$. Where is each curve lowest? Which of them reach 0?

# %% alt="Three parabolas, the KL against the guess of the mean, all lowest at the same guess, 1.0. The one for beta-tilde touches 0. The steeper one, for half of it, and the flatter one, for twice, stay above 0. Dots from a grid lie on the curves."
t, x0, xt = 5, 0.7, 1.2  # the example of lesson 05
mu_tilde = predictors.mean_from_x0(torch.tensor([xt]), torch.tensor([x0]), t, toy)
log_q = torch.distributions.Normal(mu_tilde, beta_tilde[t].sqrt()).log_prob(grid)
guesses = torch.linspace(0.2, 1.8, 33)
fig, ax = plt.subplots()
for factor, style, color in ((0.5, "--", "0.2"), (1.0, "-", "C2"), (2.0, "-.", "0.6")):
    var, r = factor * beta_tilde[t], torch.tensor(1 / factor)  # σ² and β̃/σ²
    log_p = torch.distributions.Normal(guesses[:, None], var.sqrt()).log_prob(grid)
    kl = torch.trapezoid(log_q.exp() * (log_q - log_p), grid)
    C = (r - 1 - r.log()) / 2  # C_t for d = 1
    formula = (mu_tilde - guesses) ** 2 / (2 * var) + C
    ax.plot(guesses, formula, style, color=color, label=f"$\\sigma_t^2={factor}\\,\\tilde\\beta_t$")
    ax.plot(guesses[::2], kl[::2], ".", color=color)
    print(f"σ² = {factor} β̃   C_t {C:.4f}   grid agrees: {torch.allclose(kl, formula)}")
ax.set(xlabel="guess", ylabel="KL, nats", ylim=(-0.05, 1.2), title="One and the same best guess")
ax.legend()
plt.show()

# %% [markdown]
# Lines: the formula. Dots: the KL on a grid. All are lowest at $\tilde\mu_t$. The height of the lowest point is $C_t$. It is 0 for $\sigma_t^2=\tilde\beta_t$ alone.
#
# **Exercise 7.1.** $d=3$, $\tilde\beta_t=0.1$ and $\sigma_t^2=0.2$. What is $C_t$, in nats? (Three digits.)

# %% tags=["exercise:7.1"]
# BEGIN SOLUTION
constant_7_1 = 3 / 2 * (0.1 / 0.2 - 1 + torch.tensor(0.2 / 0.1).log())
# END SOLUTION
check("7.1", constant_7_1)

# %% [markdown] tags=["claim:monte-carlo-loss"]
# **How is such an average computed?** Lecture 002 gives the recipe: draw $x_0$ from the data and $x_t$ from the forward jump, $M$ times, and average.
#
# $$\hat L_{t-1}=\frac1M\sum_{m=1}^M\frac{1}{2\sigma_t^2}\big\|\tilde\mu_t(x_t^{(m)},x_0^{(m)})-\mu_\theta(x_t^{(m)},t)\big\|^2$$
#
# (It leaves $C_t$ out.) Its last line says "compute the expectation". It is an estimate: unbiased, with a standard error that falls like $1/\sqrt M$. Take $\sigma_t^2=\tilde\beta_t$ and the lazy guess $\mu_\theta=x_t/\sqrt{\alpha_t}$,
# which undoes the shrinking and subtracts no noise. By lesson 05, section 5, $\tilde\mu_t-\mu_\theta=-\beta_t\epsilon/\sqrt{\alpha_t(1-\bar\alpha_t)}$. Since $\mathbb E[\epsilon^2]=1$, the exact average is
# $\beta_t^2/\big(2\tilde\beta_t\,\alpha_t(1-\bar\alpha_t)\big)$.
#
# **Predict before you run.** The KL at one pair $(x_0,x_t)$, on the last line: must it equal the average? (Lecture 002, Eq. 8, puts an equals sign between them.)

# %%
for M in (100, 10_000, 1_000_000):
    x0_m = mixture.sample(M, generator)
    xt_m = q_sample(x0_m, t, toy, generator=generator)
    miss = predictors.mean_from_x0(xt_m, x0_m, t, toy) - xt_m / alpha[t].sqrt()
    L = miss**2 / (2 * beta_tilde[t])
    print(f"M = {M:7d}   {L.mean():.4f} ± {L.std() / M**0.5:.4f}")
single = (mu_tilde - xt / alpha[t].sqrt()).square().sum() / (2 * beta_tilde[t])
exact = beta[t] ** 2 / (2 * beta_tilde[t] * alpha[t] * (1 - alpha_bar[t]))
print(f"exact average {exact:.4f}   at x_0 = 0.7, x_t = 1.2 alone {single:.4f}")

# %% [markdown] tags=["claim:optimal-sigma-beta-for-gaussian-data"]
# At one pair it is another number: the equals sign needs the average. A hundred times more draws make the error bar ten times smaller.
#
# ## 2 · Which variance is best?
#
# **The question.** If any fixed $\sigma_t^2$ will do, which one makes $L_{t-1}$ smallest, averaged over the data?
#
# Give the model the best mean first. A squared error is smallest at the conditional mean (lesson 06), so $\mu_\theta=\mathbb E[\tilde\mu_t\mid x_t]$. In $\tilde\mu_t$ only the $x_0$ term varies
# once $x_t$ is given. Its weight is $k_t=\sqrt{\bar\alpha_{t-1}}\,\beta_t/(1-\bar\alpha_t)$. So the squared distance that is left averages $k_t^2\,\mathbb E\,\mathrm{tr}\,\mathrm{Cov}(x_0\mid x_t)$, where tr adds the variances of the $d$ entries. Write
#
# $$s_t=\tilde\beta_t+k_t^2\,\tfrac1d\,\mathbb E\,\mathrm{tr}\,\mathrm{Cov}(x_0\mid x_t),\qquad\mathbb E_{q(x_0)}L_{t-1}=\frac d2\Big[\frac{s_t}{\sigma_t^2}-1+\log\frac{\sigma_t^2}{\tilde\beta_t}\Big]$$
#
# The slope in $\sigma_t^2$ is $\frac d2\big[\frac1{\sigma_t^2}-\frac{s_t}{\sigma_t^4}\big]$, negative below $s_t$ and positive above. So the best variance is $\sigma_t^{2*}=s_t$. By lesson 05, section 7, $s_t$ is the average variance per entry of the true reverse kernel.
#
# * **One point as data:** $\mathrm{Cov}(x_0\mid x_t)=0$, so $\sigma_t^{2*}=\tilde\beta_t$.
# * **Data $\mathcal N(0,\mathbf I)$:** precisions add (lesson 01, section 4), $1+\frac{\bar\alpha_t}{1-\bar\alpha_t}=\frac1{1-\bar\alpha_t}$, so $\mathrm{Cov}(x_0\mid x_t)=(1-\bar\alpha_t)\mathbf I$ and
#   $\sigma_t^{2*}=\beta_t\,\frac{1-\bar\alpha_{t-1}+\bar\alpha_{t-1}\beta_t}{1-\bar\alpha_t}=\beta_t$, because $\bar\alpha_{t-1}(1-\beta_t)=\bar\alpha_t$.
# * **In between** lie all data whose mean square $v$ per entry is at most 1. The best multiple of $x_t$ guesses $x_0$ with a mean squared error of $\frac{v(1-\bar\alpha_t)}{v\bar\alpha_t+1-\bar\alpha_t}\le1-\bar\alpha_t$ per entry. The conditional mean is at least as good.
#
# The first two are the choices of Ho et al. Section 3.2, and of lectures 002 and 003. **Predict before you run:** for data $\mathcal N(0,4)$, is the best variance below $\tilde\beta_t$, between, or above $\beta_t$? And for $x_0=\pm2$?

# %% alt="Best variance divided by beta, against t = 1 to 10, for five data sets. A single point gives the lower dotted curve, beta-tilde. The standard normal gives 1. The mixture lies between them. N(0, 4) lies above 1. Data at plus or minus 2 start low and cross 1 after t = 5."
fig, ax = plt.subplots()
for name, data, style, color in (
    ("one point", GaussianMixture([1.0], [[0.0]], 0.0), "o:", colors["posterior"]),
    ("N(0, 1)", GaussianMixture([1.0], [[0.0]], 1.0), "s-", colors["noised"]),
    ("the mixture", mixture, "v-", colors["data"]),
    ("N(0, 4)", GaussianMixture([1.0], [[0.0]], 2.0), "^--", "0.2"),
    ("-2 or 2", GaussianMixture([0.5, 0.5], [[-2.0], [2.0]], 0.0), "D-.", "0.6"),
):
    best = torch.zeros(11)
    for t in range(1, 11):  # the average variance of the true reverse kernel
        _, cov = data.reverse_moments(column, t, toy)
        best[t] = torch.trapezoid(data.noised(t, toy).log_prob(column).exp() * cov[:, 0, 0], grid)
    ax.plot(range(1, 11), (best / beta)[1:], style, color=color, label=name)
ax.set(xlabel="t", ylabel="best variance / $\\beta_t$", ylim=(-0.05, 1.3))
ax.set_title("Data of variance 1 lie between $\\tilde\\beta_t$ (one point) and $\\beta_t$")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
ratio = paper.beta / paper.beta_tilde
print(f"paper, β/β̃: t = 2 {ratio[2]:.4f}   t = 100 {ratio[100]:.4f}   t = 1000 {ratio[1000]:.4f}")

# %% [markdown] tags=["claim:x0-loss-weight", "claim:epsilon-loss-weight"]
# *The figure.* The mixture has variance 1 and stays between. $\mathcal N(0,4)$ lies above $\beta_t$ at every $t$. The data $\pm2$ have variance 4 too; they lie below $\beta_t$ up to $t=5$ and above it from $t=6$ on.
# How far apart are the two choices? On the paper's schedule (the printed line) by a factor 2.2 at $t=2$, near $t=T$ hardly at all.
#
# ## 3 · The same error, said with $x_0$ and with $\epsilon$
#
# **Q.** (Lecture 000.) What if we have an $x_0$ predictor $\hat x_\theta(x_t,t)$ instead of a mean predictor? And a noise predictor $\epsilon_\theta(x_t,t)$? How is $L_{t-1}$ minimised in each case?
#
# Build $\mu_\theta$ as $\tilde\mu_t$ is built, with the guess in place of the truth (lesson 06). What both share cancels in the difference. With $x_0$ the term of $x_t$ cancels:
#
# $$\mu_\theta-\tilde\mu_t=\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,(\hat x_\theta-x_0)\quad\Rightarrow\quad\frac{\|\mu_\theta-\tilde\mu_t\|^2}{2\sigma_t^2}=\omega_t\,\|\hat x_\theta-x_0\|^2,\qquad
# \omega_t=\frac{1}{2\sigma_t^2}\,\frac{\bar\alpha_{t-1}\beta_t^2}{(1-\bar\alpha_t)^2}$$
#
# With the noise, $\tilde\mu_t=(x_t-\beta_t\,\epsilon/\sqrt{1-\bar\alpha_t})/\sqrt{\alpha_t}$, and $x_t/\sqrt{\alpha_t}$ cancels (Ho et al. Eq. 12):
#
# $$\mu_\theta-\tilde\mu_t=\frac{\beta_t}{\sqrt{\alpha_t}\sqrt{1-\bar\alpha_t}}\,(\epsilon-\epsilon_\theta)\quad\Rightarrow\quad\frac{\|\mu_\theta-\tilde\mu_t\|^2}{2\sigma_t^2}=\omega'_t\,\|\epsilon_\theta-\epsilon\|^2,\qquad
# \omega'_t=\frac{\beta_t^2}{2\sigma_t^2\,\alpha_t\,(1-\bar\alpha_t)}$$
#
# A guess of the noise stands for the guess $\hat x_\theta=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon_\theta)/\sqrt{\bar\alpha_t}$ of $x_0$ (lesson 06), and $\|\hat x_\theta-x_0\|^2=\frac{1-\bar\alpha_t}{\bar\alpha_t}\|\epsilon_\theta-\epsilon\|^2$. So $\omega'_t=\omega_t\,(1-\bar\alpha_t)/\bar\alpha_t$: two weights, not one.
#
# **Put $\sigma_t^2=\tilde\beta_t$ in.** One factor $\beta_t$ and one $1-\bar\alpha_t$ cancel. Use $\bar\alpha_{t-1}\beta_t=\bar\alpha_{t-1}-\bar\alpha_t$:
#
# $$\omega_t=\frac{\bar\alpha_{t-1}-\bar\alpha_t}{2(1-\bar\alpha_{t-1})(1-\bar\alpha_t)}=\frac12\big(\mathrm{SNR}_{t-1}-\mathrm{SNR}_t\big)$$
#
# The bound charges an error in $x_0$ by half the drop of the signal-to-noise ratio at step $t$ ($t\ge2$).
#
# Three slips in print. Lecture 000 ("three cases") puts a second $1/2\tilde\sigma_t^2$ before its $\omega_t$, which already holds one (its $\tilde\sigma_t^2$ is our $\tilde\beta_t$). Lecture 004 once leaves out the $\tfrac12$ of the KL ("Denoising loss"). And it
# carries the weight of $x_0$ over to the noise ("Denoising loss (2)"). **Predict** which of the numbers below agree with the KL, at the example of section 1 with a guess 0.2 of $x_0$, and with a guess 0.1 of $\epsilon$. Both KLs come from means built with the $x_0$ formula of lesson 05.

# %%
a, b, var = alpha[5], alpha_bar[5], beta_tilde[5]
omega = alpha_bar[4] * beta[5] ** 2 / (1 - b) ** 2 / (2 * var)
omega_eps = beta[5] ** 2 / (a * (1 - b)) / (2 * var)
x0_hat, eps_hat, eps = 0.2, 0.1, (xt - b.sqrt() * x0) / (1 - b).sqrt()
implied = (xt - (1 - b).sqrt() * eps_hat) / b.sqrt()  # the x_0 that eps_hat stands for
mu_hat = predictors.mean_from_x0(xt * torch.ones(2), torch.tensor([x0_hat, implied]), 5, toy)
kl = (mu_hat - mu_tilde) ** 2 / (2 * var)
e, e_eps = omega * (x0_hat - x0) ** 2, (eps_hat - eps) ** 2
print(f"x_0: KL {kl[0]:.4f}   ω {e:.4f}   1/2σ̃² twice {e / (2 * var):.4f}   no 1/2 {2 * e:.4f}")
print(f"ε:   KL {kl[1]:.4f}   ω' {omega_eps * e_eps:.4f}   ω in its place {omega * e_eps:.4f}")
print(f"ω {omega:.4f}   half the drop of the SNR {(toy.snr[4] - toy.snr[5]) / 2:.4f}")

# %% [markdown]
# Only $\omega_t$ at $x_0$ and $\omega'_t$ at $\epsilon$ give the KL.
#
# **Predict before you run.** On the paper's schedule, does the bound punish errors at small $t$ or at large $t$ more? Is the answer the same for all three predictors?

# %% alt="The weights of the three predictors against t on logarithmic axes, for both variances. The weights of the mean and of x_0 fall by orders of magnitude. The weight of the noise falls from 0.5 to 0.005 and rises again to 0.01. The curves for the two variances meet after a few steps."
fig, ax = plt.subplots()
for name, label, color in (
    ("mean", "$1/2\\sigma_t^2$, for $\\tilde\\mu_t$", "0.2"),
    ("x0", "$\\omega_t$, for $x_0$", colors["data"]),
    ("eps", "$\\omega'_t$, for $\\epsilon$", colors["model"]),
):
    ax.loglog(range(1, 1001), loss_weight(name, paper, "beta")[1:], color=color, label=label)
    ax.loglog(range(2, 1001), loss_weight(name, paper)[2:], ":", color=color, linewidth=3)
ax.set(xlabel="t", ylabel="weight in the bound", title="For all three the first steps weigh most")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="dotted: $\\sigma_t^2=\\tilde\\beta_t$")
plt.show()

# %% [markdown]
# Errors at small $t$ cost most, for all three. But the weight of $x_0$ falls by ten orders of magnitude, that of $\epsilon$ by two only, and then it rises again.
#
# **Move it** (mixture, $T=100$). A weight is one half of the story; the error that is left at $t$ is the other. Predict before you change the choice: by which $t$ has the weighted sum reached half of its total, and by which $t$ the sum without weights?

# %% tags=["nbval-ignore-output"] alt="Three panels over t for the noise predictor: its weight in the bound, the error of the exact denoiser, and the share of the loss reached up to t, which rises sooner with the weights of the bound than without."
loss_explorer()

# %% [markdown]
# **Exercise 7.2.** $\bar\alpha_{t-1}=0.5$, $\bar\alpha_t=0.2$, $\sigma_t^2=\tilde\beta_t$. A guess misses the **noise** by $\|\epsilon_\theta-\epsilon\|^2=0.2$. How large is the KL of this step, in nats? (You need no computer.)

# %% tags=["exercise:7.2"]
# BEGIN SOLUTION
kl_7_2 = (0.5 / 0.5 - 0.2 / 0.8) / 2 * (0.8 / 0.2) * 0.2
# END SOLUTION
check("7.2", kl_7_2)

# %% [markdown] tags=["claim:elbo-as-weighted-mse", "claim:sum-versus-expectation-over-t"]
# ## 4 · The bound as a weighted sum of squared errors
#
# Collect the terms, for $\sigma_t^2=\tilde\beta_t$ at $t\ge2$. At $t=1$ the SNR drops from infinity and $\omega_1$ would be infinite. So the decoder gets its own variance $\sigma_1^2>0$ (lesson 04b, section 5):
#
# $$\log p_\theta(x_0)\ \ge\ -\frac d2\log(2\pi\sigma_1^2)-\frac{1}{2\sigma_1^2}\mathbb E\|\hat x_\theta(x_1,1)-x_0\|^2-L_T-\sum_{t=2}^T\omega_t\,\mathbb E\|\hat x_\theta(x_t,t)-x_0\|^2$$
#
# The first term and $L_T$ hold no $\theta$. An **objective** may drop them. Lecture 004 drops the first, then $L_T$, and keeps the sign $\ge$.
#
# **Q.** Is it still a lower bound? Try it by hand: $T=1$, $\beta_1=\sigma_1^2=\frac12$, data $\mathcal N(0,1)$, and the best guess $\hat x_\theta=\sqrt{\bar\alpha_1}\,x_1$, whose mean squared error is $1-\bar\alpha_1$.

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# Not in general. The model draws $x_1\sim\mathcal N(0,1)$ and then $x_0$ with variance $\bar\alpha_1+\sigma_1^2=1$: its law is exactly the data's. So $\log p_\theta(x_0)$ is $-\frac12\log(2\pi e)=-1.419$ on average.
#
# The right side, averaged over the data: $-\frac12\log\pi=-0.572$, then $-\frac12/(2\cdot\frac12)=-0.5$, then $-L_T=\frac12\log(1-\bar\alpha_1)=-0.347$ (lesson 02, section 5, with $\mathbb E\,x_0^2=1$). Together $-1.419$: here the bound is exact. Without the first term it is $-0.847$, without
# $L_T$ too $-0.5$. Both lie **above** $-1.419$.
#
# Dropping $-L_T\le0$ always enlarges the right side. Dropping $-\frac d2\log(2\pi\sigma_1^2)$ makes it larger if $2\pi\sigma_1^2>1$, as here, and smaller if $2\pi\sigma_1^2<1$.
#
# </details>

# %% [markdown]
# So what lecture 004 ends with is an objective. It need not be a bound.
#
# **A sum is not an average.** The slides of lecture 000 go from $\sum_{t=2}^T$ to an expectation over a random $t>1$ with an equals sign. It takes a factor:
#
# $$\sum_{t=2}^TL_{t-1}=(T-1)\;\mathbb E_{t\sim\mathcal U\{2,\dots,T\}}\big[L_{t-1}\big]$$
#
# A constant factor moves no minimum. It does change the value, 999 times for $T=1000$.
#
# **Stack the terms.** Give the model the exact denoiser of the mixture (lesson 06), the best that training can reach. Add up its terms, from $L_T$ through $L_{T-1},\dots,L_1$ to $L_0$, with $\sigma_1^2=\beta_1$ in the decoder.
# (For **bits per dimension** divide nats by $d\log2$. Here $d=1$: by 0.693.)
#
# The total is at least the average of $-\log p_\theta(x_0)$ (lesson 04). That is at least the **entropy** of the data, $-\int q(x_0)\log q(x_0)\,dx_0$, because their difference is $D_{\mathrm{KL}}(q(x_0)\|p_\theta(x_0))\ge0$.
# What is left above the entropy is the price of Gaussian steps with fixed variances, and of starting from $\mathcal N(0,1)$.
#
# **Predict before you run.** Which of the three kinds of terms can be negative? Which variance gives the lower total for these data? (Look at section 2.)

# %% alt="Two panels, T = 10 and the last 30 indices of T = 100: the sum of the terms from L_T on. The sums rise, most steeply at the last indices, and drop when L_0 is added. The squares for beta end nearer to the dashed line of the entropy than the circles for posterior."
x0, log_q = mixture.sample(20_000, generator), mixture.log_prob(column)
entropy = -torch.trapezoid(log_q.exp() * log_q, grid)
fig, axes = plt.subplots(1, 2, figsize=(8.5, 3.2), sharey=True)
for s, ax in zip((toy, hundred), axes, strict=True):
    for sigma, style, color in (("posterior", "o:", "posterior"), ("beta", "s-", "noised")):
        parts = elbo_terms(mixture.denoiser(s), x0, s, sigma=sigma, generator=generator)
        L_T, L_t, L_0, total = (values.mean(-1) for values in (*parts, parts.total))
        print(f"T = {s.T:3d} {sigma:9s}  L_T {L_T:.2f}   sum of L_(t-1) {L_t.sum():.2f}", end="")
        print(f", of which L_1 {L_t[2]:.2f}   L_0 {L_0:.2f}   total {total:.2f} ± {parts.total.std() / 20_000**0.5:.2f}")
        running = torch.cat([L_T[None], L_t[2:].flip(0), L_0[None]]).cumsum(0)  # L_T, ..., L_1, L_0
        ax.plot(range(s.T, -1, -1), running, style, ms=4, color=colors[color], label=sigma)
    ax.axhline(entropy, color="0.2", linestyle="--", label=f"entropy {entropy:.2f}")
    ax.set(xlabel="index of the last term added", xlim=(min(s.T, 30), -0.5))
axes[0].set(ylabel="sum so far, nats (right: bits)", title="T = 10: most is added at small t")
axes[1].set_title("T = 100, the end: $\\beta_t$ nearly gets to the entropy")
axes[1].secondary_yaxis("right", functions=(lambda nats: nats / 0.693, lambda bits: bits * 0.693))
axes[0].legend(title="$\\sigma_t^2$")
plt.show()

# %% [markdown] tags=["claim:simple-loss", "claim:weights-do-not-move-the-minimiser"]
# $L_0$ is negative here: a narrow density at $x_0$ can exceed 1. $L_T$ and every $L_{t-1}$ are KLs, so they are not.
#
# With $\beta_t$ the total at $T=100$ is 0.69 nats (1.00 bits), and the entropy is 0.64. With $\tilde\beta_t$ it is 1.75, more than with ten steps. Look at $L_1$, the step $t=2$: 1.41 nats, the last step up of the dotted curve. By section 2 it is
# $\frac12(s_2/\tilde\beta_2-1)$, so the best variance $s_2$ is 3.8 times $\tilde\beta_2$. $\beta_2$ is nearly right: $\beta_2/\tilde\beta_2=(1-\bar\alpha_2)/(1-\bar\alpha_1)\approx(0.001+0.003)/0.001=4$. For data that are a single point it would be the other way round.
#
# ## 5 · Drop the weights
#
# **The question.** "In practice" the slides drop $\omega_t$ and $\omega'_t$. What is left is the **simple loss**, Ho et al. Eq. 14, and its twins for $\hat x_\theta$ and $\mu_\theta$:
#
# $$L_{\mathrm{simple}}(\theta)=\mathbb E_{t\sim\mathcal U\{1..T\},\,x_0,\,\epsilon}\big\|\epsilon-\epsilon_\theta(\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon,\ t)\big\|^2$$
#
# (The package's `simple_loss` takes the mean over the $d$ entries instead of their sum. Here $d=1$.) May we drop the weights? **Predict:** does the best network change?
#
# *If the network can be any function*, no. For positive weights $w_t$,
#
# $$\sum_tw_t\,\mathbb E\|\epsilon-\epsilon_\theta(x_t,t)\|^2=\sum_tw_t\,\mathbb E\|\epsilon_\theta(x_t,t)-\mathbb E[\epsilon\mid x_t]\|^2+\text{a part without }\theta$$
#
# and at each pair $(t,x_t)$ the first sum can reach 0 by itself. The minimiser is $\mathbb E[\epsilon\mid x_t]$ for all $w$. *If the network is small*, it must share its numbers among the steps. Then the weights say where it should fit.
#
# Two models, $T=100$. The **table** has a free number for every $t$ and every cell of $x_t$; fitted to 200,000 draws, its best entry is the weighted mean of $\epsilon$ in the cell, and $w_t$ is the same for all of them.
# The **shared line** $\epsilon_\theta=c\,x_t$ has one number. Set the derivative in $c$ to 0: the best $c$ is $\sum_tw_t\mathbb E[x_t\epsilon]\big/\sum_tw_t\mathbb E[x_t^2]$. For data of mean 0 and variance 1, $\mathbb E[x_t\epsilon]=\sqrt{1-\bar\alpha_t}$ and $\mathbb E[x_t^2]=1$: the best $c$
# is the weighted average of $\sqrt{1-\bar\alpha_t}$. Three weights: 1; the bound's $\omega'_t$ with $\sigma_t^2=\beta_t$; and $(1-\bar\alpha_t)/\bar\alpha_t$, which is the simple loss of an $x_0$ predictor (section 3).

# %%
x0, t = mixture.sample(200_000, generator), torch.randint(1, 101, (200_000,), generator=generator)
eps = torch.randn(x0.shape, generator=generator)
xt, eps, edges = q_sample(x0, t, hundred, noise=eps)[:, 0], eps[:, 0], torch.linspace(-2, 2, 13)
cell = 14 * t + torch.bucketize(xt, edges)  # its own number for every t and cell of x_t
bound, as_x0 = loss_weight("eps", hundred, "beta"), 1 / hundred.snr
tables, lines = {}, {}
for name, w in (("simple loss", torch.ones(101)), ("the bound", bound), ("simple, for x_0", as_x0)):
    table = tables[name] = torch.bincount(cell, w[t] * eps) / torch.bincount(cell, w[t])
    slope = lines[name] = (w * (1 - hundred.alpha_bar).sqrt())[1:].sum() / w[1:].sum()
    same = torch.allclose(table[cell], tables["simple loss"][cell])
    print(f"{name:16s}  slope of the line {slope:.2f}   same table entries: {same}")

# %% alt="Left: at t = 20 the entries of three tables lie on each other and on the exact noise predictor, an S-shaped curve with two kinks. Right: the best slope for each t rises from 0 to 1 over t; three horizontal lines at 0.71, 0.81 and 1.00 are the one shared slope under the three weights."
fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2))
middle = (edges[1:] + edges[:-1]) / 2  # the cells of t = 20 have the numbers 281 to 292
left.plot(middle, mixture.denoiser(hundred)(middle[:, None], 20), color=colors["posterior"], label="exact")
right.plot((1 - hundred.alpha_bar).sqrt(), color="0.6", linewidth=4, label="best slope for each t")
styles = ("s", "-", "0.2"), ("x", "--", "C1"), (".", "-.", "C0")
for name, (mark, style, color) in zip(tables, styles, strict=True):
    left.plot(middle, tables[name][281:293], mark, color=color, fillstyle="none", ms=9, label=name)
    right.axhline(lines[name], linestyle=style, color=color, label=name)
left.set(xlabel="$x_{20}$", ylabel="guess of ε", title="A free table: the weights do nothing")
right.set(xlabel="t", ylabel="slope c", title="One line for all t: they decide", ylim=(0, 1.1))
left.legend()
right.legend(loc="lower right")
plt.show()

# %% [markdown]
# The table's entries agree. The line moves: the bound's weights pull it to the small $t$, the weights of the $x_0$ loss to the large $t$. A network stands between: more numbers than the line, fewer than the table.
#
# The **values** differ in any case, for one and the same table. The simple loss is not the bound, and two losses with different weights cannot be compared by their numbers. Training feels the weights, too: under very
# unequal ones a few draws of $t$ decide the gradient of a batch.
#
# **Exercise 7.3.** A network can say only one number $c$ for two steps. At the first step $\mathbb E[\epsilon\mid x_t]=1$, at the second 3, whatever $x_t$ is. The weights are 1 and 4. Which $c$ is best?

# %% tags=["exercise:7.3"]
# BEGIN SOLUTION
best_7_3 = (1 * 1 + 4 * 3) / (1 + 4)
# END SOLUTION
check("7.3", best_7_3)

# %% [markdown] tags=["claim:simple-loss-downweights-small-t"]
# **Which steps lose weight?** Lecture 002 says with Ho et al.: relative to the bound, the simple loss down-weights small $t$, so that the network can spend itself on the harder steps.
# With $\sigma_t^2=\beta_t$ the bound has $\omega'_t=\beta_t/\big(2\alpha_t(1-\bar\alpha_t)\big)$, the simple loss has 1 for every $t$. A common factor does not count, so compare shares: where $\omega'_t$ lies above its own mean over $t$, the simple loss gives less.
#
# **Predict before you run.** Is that so for the first 10, the first 100 or the first 500 steps of the paper's 1000? And does $\omega'_t$ fall all the way? (The lowest curve at the left of the figure in section 3.)

# %% alt="The bound's weight divided by its mean, against t, on logarithmic axes. It falls from 50 at t = 1, crosses 1 near t = 100, is least near t = 350 at about one half, and is back at 1 at the end. The simple loss is the horizontal line at 1."
w = loss_weight("eps", paper, "beta")[1:]  # t = 1..1000
below = (w < w.mean()).nonzero() + 1
fig, ax = plt.subplots()
ax.loglog(range(1, 1001), w / w.mean(), "-.", color=colors["model"], label="the bound")
ax.axhline(1, color="0.2", label="the simple loss")
ax.set(xlabel="t", ylabel="weight / its mean", title="The first 102 steps lose weight, most gain")
ax.legend()
plt.show()
ends = f"below its mean for t = {below.min()} to {below.max()}, least at t = {w.argmin() + 1}"
print(f"bound: t = 1 {w[0]:.3f}   t = 1000 {w[-1]:.4f}   mean {w.mean():.4f}   {ends}")

# %% [markdown] tags=["claim:epsilon-target-unit-scale"]
# So it is true of the first 102 steps, by a factor of 50 at $t=1$ (0.500 against 0.0099). It is not a rule for all $t$: the weight is least at $t=349$ and rises again, and the last 34 steps lie above the mean, if only just.
# (At $t=1$ it is the decoder's weight with $\sigma_1^2=\beta_1$. $\tilde\beta_1=0$ would make it infinite.)
#
# ## 6 · Why the noise?
#
# **The question.** Three predictors, one minimiser. The slides choose $\epsilon$: its samples are standard normal, "well normalized and scaled", hence "easier to train". What of this can be shown?
#
# The target $\epsilon\sim\mathcal N(0,\mathbf I)$ has mean 0 and variance 1 at **every** $t$, for **every** data set. That is a fact. $x_0$ has the scale of the data. $\tilde\mu_t$ begins there, at $t=1$, and ends near 1.
# But the part of the target that can be predicted is $\mathbb E[\epsilon\mid x_t]$, and its scale does change. **Predict:** at small $t$, is it near 0 or near 1? Data with standard deviation 3:

# %%
wide = GaussianMixture([0.3, 0.7], [[-4.437], [1.902]], 0.75)  # the mixture, three times as wide
x0, eps = wide.sample(20_000, generator), torch.randn(20_000, 1, generator=generator)
for t in (1, 10, 30, 60, 100):
    xt = q_sample(x0, t, hundred, noise=eps)
    targets = x0, predictors.mean_from_x0(xt, x0, t, hundred), eps, wide.denoiser(hundred)(xt, t)
    sizes = "  x_0 {:.2f}   μ̃ {:.2f}   ε {:.2f}   E[ε|x_t] {:.2f}"
    print(f"t = {t:3d}", sizes.format(*(target.square().mean().sqrt() for target in targets)))

# %% [markdown] tags=["claim:empirical-claims", "claim:training-algorithm"]
# $\epsilon$ has scale 1 in every row. $\mathbb E[\epsilon\mid x_t]$ has not. At $t=1$ it is 0.04, so nearly all of the target is unpredictable. (For data of variance 1, $x_0$ has scale 1 as well. What is special about $\epsilon$ is that it needs no such data.)
#
# **What is experience, not theorem.** Each of these is reported from experiments in the lectures or the paper. Nothing above proves it:
#
# * the noise predictor works best and is easier to train (000);
# * $L_{\mathrm{simple}}$ gives better samples than the bound (Ho et al., 002);
# * $\sigma_t^2=\beta_t$ and $\sigma_t^2=\tilde\beta_t$ give similar results (002, 003);
# * the cosine schedule trains more stably and samples better (000).
#
# They need not hold for other data. For our mixture the two variances gave clearly different **bounds** in section 4. That says nothing yet about samples.
#
# ## 7 · The training algorithm
#
# **The question.** The loss is an average over $t$, $x_0$ and $\epsilon$. How do we descend on an average that we cannot compute?
#
# Draw $x_0$, $t$ and $\epsilon$, a small batch of such triples, and take the gradient of the average of their squared errors. Its expectation is the gradient of $L_{\mathrm{simple}}$: the draws do not depend on $\theta$, so gradient and expectation may change places.
# This is Ho et al., Algorithm 1, and lectures 000 and 004, "Training". Repeat:
#
# 1. draw $x_0$ from the data; 2. draw $t$ uniformly from $1..T$; 3. draw $\epsilon\sim\mathcal N(0,\mathbf I)$;
# 4. form $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$; 5. take a step along $-\nabla_\theta\|\epsilon_\theta(x_t,t)-\epsilon\|^2$.
#
# (Lecture 000 draws $t$ from $1..T$ below a loss that averages over $t>1$. The first is meant: $t=1$ trains the decoder's mean, the reconstruction term.)
#
# **How low can it go?** Not to 0: our $x_t$ does not determine $\epsilon$. The floor is the loss of the exact denoiser, $1-\mathbb E\big[\mathbb E[\epsilon\mid x_t]^2\big]$ at step $t$, by the law of total variance. **Predict before you run:** at which
# $t$ is the floor high, and what does a network score that always says 0?

# %%
torch.manual_seed(7)
net = torch.nn.Sequential(torch.nn.Linear(2, 128), torch.nn.ReLU(), torch.nn.Linear(128, 1))
optimizer, losses = torch.optim.Adam(net.parameters(), lr=0.005), []
for _ in range(1500):
    x0 = mixture.sample(512, generator)
    t = torch.randint(1, 101, (512,), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    xt = q_sample(x0, t, hundred, noise=eps)
    loss = (net(torch.cat([xt, t[:, None] / 100], 1)) - eps).square().mean()  # sees x_t and t
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

# %% alt="Left: the training loss against the step falls from about 0.7 to about 0.2 within a few hundred steps and then flickers around a line just above the dotted floor. Right: the loss for each t; the exact floor falls from 1 at t = 1 to 0 at t = 100 with a bump near t = 20, and the network lies a little above it, most at small t."
floor, reached = torch.zeros(101), torch.zeros(101)
for t in range(1, 101):
    density = mixture.noised(t, hundred).log_prob(column).exp()
    exact = mixture.denoiser(hundred)(column, t)[:, 0]
    eps_hat = net(torch.stack([grid, torch.full_like(grid, t / 100)], 1))[:, 0].detach()
    floor[t] = 1 - torch.trapezoid(density * exact**2, grid)
    reached[t] = floor[t] + torch.trapezoid(density * (eps_hat - exact) ** 2, grid)
fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2))
left.plot(losses, color=colors["noised"], linewidth=0.6, label="batches of 512")
left.axhline(floor[1:].mean(), color=colors["posterior"], linestyle=":", linewidth=3, label="floor")
left.set(xlabel="step", ylabel="training loss", ylim=(0, 1), title="It ends near a floor, not at 0")
right.plot(range(1, 101), reached[1:], "-.", color=colors["model"], label="network")
right.plot(range(1, 101), floor[1:], ":", color=colors["posterior"], label="exact denoiser")
right.set(xlabel="t", ylabel="loss at step t", title="Little noise is hard to tell from data")
right.legend()
plt.show()
print(f"always 0: 1.00, network at the end {reached[1:].mean():.2f}, floor {floor[1:].mean():.2f}")

# %% [markdown]
# At small $t$ the noise is hidden in the spread of the data, and no network can find it. At large $t$ almost all of $x_t$ is noise. The bump near $t=20$: there the two humps of the mixture have begun to overlap, and $x_t$ does not tell from
# which one it came. At $t=1$ the network does a little worse than always 0. That is one step in a hundred, and the simple loss gives it one vote in a hundred.
#
# **Change a knob.** Draw $t$ from $50..100$ only, or give the network 4 units in place of 128. Predict which part of the right figure moves, then run.
#
# **Exercise 7.4.** Write the loss of one batch, without the package. `x0` and `eps` are `(B, d)`, `t` is `(B,)`, `alpha_bar` is the table with $T+1$ entries. Average over all $B\cdot d$ entries.

# %% tags=["exercise:7.4"]
def batch_loss(network, x0, t, eps, alpha_bar):
    """The simple loss for these t and eps; network(xt, t) guesses the noise."""
    # BEGIN SOLUTION
    xt = alpha_bar[t][:, None] ** 0.5 * x0 + (1 - alpha_bar[t][:, None]) ** 0.5 * eps
    return ((network(xt, t) - eps) ** 2).mean()
    # END SOLUTION


check("7.4", batch_loss)

# %% [markdown]
# ## What to remember
#
# * For any fixed variance, $L_{t-1}$ is the average of $\|\tilde\mu_t-\mu_\theta\|^2/2\sigma_t^2$ plus a constant. The best variance lies between $\tilde\beta_t$ and $\beta_t$ for data of mean square at most 1.
# * In $x_0$ the weight is $\omega_t$, half the drop of the SNR for $\sigma_t^2=\tilde\beta_t$. In $\epsilon$ it is $\omega'_t=\omega_t(1-\bar\alpha_t)/\bar\alpha_t$.
# * Dropping the weights keeps the minimiser of an unrestricted network, and changes the value. A small network moves.
# * Training: $x_0$, $t$, $\epsilon$, one jump, one squared error. The loss ends at a floor, in general above 0.
#
# **Next:** [08 Sampling](08_sampling.ipynb).
#
# **References.** Ho et al. 2020, Sections 3.2 to 3.4, Eq. 8, 12 and 14, Algorithm 1. Lectures 000, 002, 003 and 004, places named above.
