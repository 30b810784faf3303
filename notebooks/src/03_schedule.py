# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Choose how much noise, and when
#
# **You will do.** Compare the lecture's five ways to choose $\beta_t$. Watch a sampler fail because of the schedule alone. Learn a schedule by gradient descent.
#
# **You will learn.** What each schedule promises and what it keeps. How to see that a chain misses its prior. Why the steps must be small. What "learned" would mean.
#
# **You will need.** The forward jump and $\bar\alpha_t$ from lesson 02, the Kullback-Leibler divergence from lesson 01.
#
# Lecture 000: the slides "Choice of β_t" and "β_t Schedule Comparison". Lecture 004: "Noising process". Ho et al. 2020: Section 4.
# Nichol and Dhariwal 2021: Section 3.2.

# %%
import math

import matplotlib.pyplot as plt
import torch
from numpy.polynomial.hermite_e import hermegauss

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    constant_schedule,
    cosine_schedule,
    linear_schedule,
    plots,
    q_sample,
    quadratic_schedule,
    sample,
    widgets,
)
from ddpm_lesson.checks import check
from ddpm_lesson.data import digits

torch.set_default_dtype(torch.float64)
T = 1000
mixture = GaussianMixture(weights=[0.3, 0.7], means=[[-1.479], [0.634]], std=0.25)  # mean 0, variance 1
generator = torch.Generator().manual_seed(3)

# %% [markdown] tags=["claim:schedule-choices", "claim:linear-schedule"]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $\beta_t$ | `schedule.beta[t]` | variance of the noise of step $t$ |
# | $\bar\alpha_t=\prod_{s\le t}(1-\beta_s)$ | `schedule.alpha_bar[t]` | the share of the signal's power that $t$ steps keep (原始影像的保留比例) |
# | $q(x_t)$ | `mixture.noised(t, schedule)` | the density of $x_t$ over all data, not of one image |
# | $q(x_{t-1}\mid x_t)$ | | the **true** reverse step: where was the chain, if we know the data but not this $x_0$? |
# | $p(x_T)=\mathcal N(0,\mathbf I)$ | | the prior, from which sampling starts |
#
# ## 1 · Five ways to choose
#
# **The question.** A chain has $T$ steps. How much noise should each add?
#
# Lecture 000 lists five answers. Four of them fix $\beta_t$ in advance, and DDPM does too. The fifth learns it (section 6).
#
# * **Constant:** $\beta_t=\beta$. Then $\bar\alpha_t=(1-\beta)^t$.
# * **Linear** (Ho et al., Section 4): equal steps from $\beta_1=10^{-4}$ to $\beta_T=0.02$, $\;\beta_t=\beta_1+\frac{t-1}{T-1}(\beta_T-\beta_1)$.
# * **Quadratic:** $\sqrt{\beta_t}$ rises in equal steps instead.
# * **Cosine** (Nichol and Dhariwal, Eq. 17): choose $\bar\alpha_t$ first, and take the $\beta_t$ that produces it.
#
# Watch the $t-1$. The slide prints $10^{-4}+\frac tT(0.02-10^{-4})$. That attains $10^{-4}$ at $t=0$, which is not a step. At $T=1000$ the slip is small
# ($\beta_1=0.00012$), at $T=10$ it is not ($\beta_1=0.0021$, twenty times too large).
#
# **Exercise 3.1.** A linear schedule with $T=5$, $\beta_1=0.1$ and $\beta_5=0.3$. What is $\beta_2$?

# %% tags=["exercise:3.1"]
# BEGIN SOLUTION
beta_3_1 = 0.1 + (2 - 1) / (5 - 1) * (0.3 - 0.1)
# END SOLUTION
check("3.1", beta_3_1)

# %% [markdown] tags=["claim:cosine-schedule"]
# The cosine schedule starts from the curve it wants:
#
# $$f(t)=\cos^2\!\Big(\frac{t/T+s}{1+s}\cdot\frac\pi2\Big),\qquad \bar\alpha_t=\frac{f(t)}{f(0)},\qquad \beta_t=1-\frac{\bar\alpha_t}{\bar\alpha_{t-1}},\qquad s=0.008$$
#
# The offset $s$ keeps the first $\beta_t$ from being too small. Two traps:
#
# * The slide writes $\cos(\dots)^2$. Is the cosine squared, or its argument? **Decide** by putting $t=T$ in: $\bar\alpha_T$ must not be negative.
# * $f(T)=0$. So the last $\beta$ would be exactly 1, and $1/\sqrt{\alpha_T}$, by which the sampler of lesson 08 multiplies, infinite. Every $\beta_t$ is therefore cut at 0.999. At $T=1000$ only the last one is touched.

# %%
t, s = torch.arange(T + 1), 0.008
angle = (t / T + s) / (1 + s) * math.pi / 2
f = angle.cos() ** 2
alpha_bar = f / f[0]
beta = 1 - alpha_bar[1:] / alpha_bar[:-1]  # β_1 … β_T

print(f"the cosine squared: f(T) = {f[T].abs():.3f}   its argument squared: f(T) = {(angle[T] ** 2).cos():.3f}")
print(f"betas above 0.999: {(beta > 0.999).sum()}, at t = {int((beta > 0.999).nonzero()[0]) + 1}")
print("the package agrees:", torch.allclose(beta.clamp(max=0.999), cosine_schedule(T).beta[1:]))

# %%
schedules = {
    "constant": constant_schedule(T),  # β = 0.02
    "linear": linear_schedule(T),
    "quadratic": quadratic_schedule(T),
    "cosine": cosine_schedule(T),
}
print("               beta_1   beta_500  beta_1000    abar_500   abar_1000")
for name, schedule in schedules.items():
    row = " ".join(f"{schedule.beta[t]:10.6f}" for t in (1, 500, T))
    print(f"{name:10s} {row} {schedule.alpha_bar[500]:11.5f} {schedule.alpha_bar[T]:11.1e}")

# %% alt="Two panels over t from 0 to 1000. Left, beta on a logarithmic axis for the four schedules. Right, alpha-bar: constant falls first, then linear, then quadratic; cosine falls along a gentle S and is highest almost to the end."
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2))
for name, schedule in schedules.items():
    left.plot(range(1, T + 1), schedule.beta[1:], **plots.SCHEDULES[name])
    right.plot(schedule.alpha_bar, **plots.SCHEDULES[name], label=name)
left.set(yscale="log", xlabel="t", title="β_t: the noise of one step")
right.set(xlabel="t", title="ᾱ_t: the signal that is left")
right.legend()
plt.show()

# %% [markdown]
# The two panels look unrelated. $\bar\alpha_t$ is a product of many factors, so small differences in $\beta_t$ add up in its logarithm. **Read the right panel, not the left one.**
#
# **Exercise 3.2.** The cosine schedule without offset, $s=0$. What is $\bar\alpha_t$ at $t=T/3$?

# %% tags=["exercise:3.2"]
# BEGIN SOLUTION
alpha_bar_3_2 = math.cos(math.pi / 6) ** 2
# END SOLUTION
check("3.2", alpha_bar_3_2)

# %% [markdown]
# **Exercise 3.3.** Nichol and Dhariwal go from a wanted $\bar\alpha$ to $\beta$. Write that map for any table $\bar\alpha_0,\dots,\bar\alpha_T$.

# %% tags=["exercise:3.3"]
def betas_for(alpha_bar):
    """β_1 … β_T, a tensor of T numbers, from alpha_bar, a tensor of T + 1 numbers that starts with 1."""
    # BEGIN SOLUTION
    return 1 - alpha_bar[1:] / alpha_bar[:-1]
    # END SOLUTION


check("3.3", betas_for)

# %% [markdown] tags=["claim:cosine-keeps-more-mid-signal"]
# ## 2 · Linear against cosine
#
# **Predict before you run.** Half of the steps are done, $t=500$ of 1000. The table above has $\bar\alpha_{500}=0.079$ (linear) and $0.494$ (cosine). Until which $t$ can you read the digit, in each row?

# %% alt="The digit 1 at t = 0, 100, 200, 300, 400, 500, 700 and 1000 with one and the same noise. In the linear row it fades by t = 200 to 300, in the cosine row by t = 400 to 500."
image = digits()[0][1:2]
times = [0, 100, 200, 300, 400, 500, 700, 1000]
eps = torch.randn(image.shape, generator=torch.Generator().manual_seed(7))  # one noise for all pictures
rows = []
for schedule in (schedules["linear"], schedules["cosine"]):
    rows.append(torch.cat([image] + [q_sample(image, t, schedule, noise=eps) for t in times[1:]]))
fig, ax = plt.subplots(figsize=(7.5, 2.4))
plots.draw_images(torch.stack(rows), ax, rows=["linear", "cosine"], columns=[f"t = {t}" for t in times])
ax.set_title("The cosine schedule keeps the digit for about twice as many steps")
plt.show()

# %% [markdown] tags=["claim:linear-adds-noise-faster-early"]
# With one and the same noise, two pictures with equal $\bar\alpha_t$ are equal: linear at $t=250$ and cosine at $t=481$, where $\bar\alpha_t=0.52$.
#
# The slide says: the linear schedule adds noise faster early on (早期階段 noise 增加較快). Look at its $\beta_t$, though: the first is the **smallest** of all. Is the slide wrong?
#
# The noise in $x_t$ has the variance $1-\bar\alpha_t$. One step raises it by
#
# $$(1-\bar\alpha_t)-(1-\bar\alpha_{t-1})=\bar\alpha_{t-1}-\bar\alpha_t=\bar\alpha_{t-1}\beta_t$$
#
# So $\beta_t$ counts only as far as there is signal left to cover. **Predict:** at which $t$ does the linear schedule add most?

# %% alt="Noise added per step against t. The linear schedule's curve rises to a peak at t = 220 and falls to zero. The cosine curve is a low arch with its peak near t = 500. They cross at about t = 409."
fig, ax = plt.subplots()
added = {}
for name in ("linear", "cosine"):
    alpha_bar = schedules[name].alpha_bar
    added[name] = alpha_bar[:-1] - alpha_bar[1:]  # entry t - 1 is the step t
    ax.plot(range(1, T + 1), added[name], **plots.SCHEDULES[name], label=name)
ax.set(xlabel="t", ylabel="$\\bar\\alpha_{t-1}\\beta_t$, added by step t")
ax.set_title("Linear spends its noise early, cosine in the middle")
ax.legend()
plt.show()
faster = int((added["linear"] > added["cosine"]).long().argmin())
lower = schedules["linear"].alpha_bar < schedules["cosine"].alpha_bar
print(f"linear adds most at t = {int(added['linear'].argmax()) + 1}, least at t = {int(added['linear'].argmin()) + 1}")
print(f"linear adds more than cosine in each of the first {faster} steps")
print(f"linear has less signal left at every t up to {int(lower.nonzero()[-1])}")

# %% [markdown]
# The slide is right when it compares the two schedules, and wrong if one reads it as "the linear schedule's own first steps are its largest". It also says that the early noise may make training
# unstable, and that the cosine schedule trains more stably and samples better. That is experience with networks. No theorem is behind it, and this lesson does not test it.

# %% [markdown]
# ## 3 · When the chain misses the prior
#
# **The question.** What goes wrong if $\bar\alpha_T$ is not small?
#
# Sampling starts from $\mathcal N(0,\mathbf I)$. If $q(x_T)$ is something else, the very first $x_T$ is drawn from the wrong law. In practice this happens when
# someone shortens the chain and keeps $\beta$ between 0.0001 and 0.02, the numbers made for $T=1000$.
#
# To see it we move the mixture one unit to the right: 30 % near $-0.48$ and 70 % near $1.63$. (Its mean is now 1, so a missed prior cannot hide: $q(x_T)$ has the mean
# $\sqrt{\bar\alpha_T}$, the prior has 0. Images are like this too. Most pixels of a digit are dark.) The denoiser is **exact**. There is no network to blame.
#
# **Predict before you run.** The left mode holds 30 % of the data. How much of the samples at $T=50$?

# %%
moved = GaussianMixture(weights=[0.3, 0.7], means=[[-0.479], [1.634]], std=0.25)
runs = {"T = 50": linear_schedule(50), "T = 150": linear_schedule(150), "T = 50, β × 20": linear_schedule(50, rescale=True)}
samples = {}
print("                  abar_T   mean KL to the prior   share of the left mode")
for name, schedule in runs.items():
    nats = schedule.terminal_kl(moved.sample(10_000, generator=generator)).mean()
    samples[name] = sample(moved.denoiser(schedule), schedule, (10_000, 1), sigma="beta", generator=generator)
    share = (samples[name] < 0.6).double().mean()
    print(f"{name:15s} {schedule.alpha_bar[-1]:8.5f} {nats:17.4f} nats {share:20.2f}")

# %% alt="Histograms of samples at T = 50 over the density of the data. With the unscaled schedule the left mode is twice as high as it should be; with the rescaled schedule both modes match."
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.2), sharey=True)
for ax, name in zip(axes, ("T = 50", "T = 50, β × 20"), strict=True):
    ax.hist(samples[name][:, 0], bins=60, range=(-2, 3.5), density=True, color=plots.COLORS["model"], alpha=0.6, label="samples")
    plots.draw_density(moved, ax, "data", "data", x=torch.linspace(-2, 3.5, 401))
    ax.set(title=f"{name}: ᾱ_T = {runs[name].alpha_bar[-1]:.5f}", ylabel="density" if name == "T = 50" else "")
axes[1].legend(loc="upper left")
fig.suptitle("The same exact denoiser; the schedule alone doubles the small mode")
plt.show()

# %% [markdown]
# At $T=50$ the left mode has 57 % of the samples instead of 30 %. At $T=150$, with a fifth of the signal's power still in $x_T$, it has 40 %. **Look at $\bar\alpha_T$ before you sample.**
#
# **Move it, but predict first.** With which kind is $\bar\alpha_{300}$ largest? Linear, $T=50$: what will the line below the picture say? To which $\beta_T$ must you go to make it fall silent? How small may $T$ be with the cosine?

# %% tags=["nbval-ignore-output"] alt="Six panels for the cosine schedule at t = 300 of 1000: beta, alpha-bar, the signal-to-noise ratio and the posterior's standard deviation with a dot at t, a noisy digit, and the density of the mixture at t."
widgets.schedule_explorer()

# %% [markdown]
# **Exercise 3.4.** A constant schedule with $\beta_t=0.02$. What is the smallest $T$ with $\bar\alpha_T<0.01$? (A whole number.)

# %% tags=["exercise:3.4"]
# BEGIN SOLUTION
steps_3_4 = math.ceil(math.log(0.01) / math.log(1 - 0.02))
# END SOLUTION
check("3.4", steps_3_4)

# %% [markdown] tags=["claim:schedule-alpha-linear-to-zero"]
# ## 4 · Could we hit the prior exactly?
#
# Lecture 004 lets $\alpha_t$ itself fall in equal steps from 1 to 0:
#
# $$\alpha=\{1,\ 1-\delta,\ 1-2\delta,\ \dots,\ 0\}$$
#
# It prints $\delta=T/N_t$. With $N_t=T$ steps that is $\delta=1$, and the list runs $1,0,-1,\dots$ A list of $N$ equal steps from 1 to 0 needs $\delta=1/N$. (The print is right if $T$ means a time span of 1.)
#
# The first entry, $\alpha_0=1$, is not a step. The last one, $\alpha_N=0$, erases the image: $\bar\alpha_N=0$, and $q(x_N\mid x_0)=\mathcal N(0,\mathbf I)$ **exactly**. What does that cost?
# The usual reverse step (lesson 06, the noise form) divides by $\sqrt{\alpha_t}$. (So the package refuses $\beta_t=1$, and its cosine schedule is cut at 0.999.) The $x_0$ form of lesson 05 does not: its step at $t=N$, the first one of sampling, has the weights 0 for $x_N$ and $\sqrt{\bar\alpha_{N-1}}$ for $x_0$.

# %%
N = 10
alpha = 1 - torch.arange(N + 1) / N  # α_0 … α_N
alpha_bar = alpha.cumprod(0)
print(f"abar_N = {alpha_bar[N]:.1f}   1/sqrt(alpha_N) = {1 / alpha[N].sqrt():.1f}")
weight_xt = alpha[N].sqrt() * (1 - alpha_bar[N - 1]) / (1 - alpha_bar[N])
weight_x0 = alpha_bar[N - 1].sqrt() * (1 - alpha[N]) / (1 - alpha_bar[N])
print(f"weights of x_N and x_0 in the step at t = N: {weight_xt:.4f} and {weight_x0:.4f}")

# %% [markdown] tags=["claim:small-beta-gaussian-reverse"]
# ## 5 · Why so many small steps?
#
# **The question.** One step with $\beta_1=0.999$ reaches the prior at once. Why not take it?
#
# The way back. The model's reverse step will be a Gaussian. The slide notes that this fits only when $\beta_t\ll1$. We can look at the true one. By Bayes' rule, with $x_t$ fixed,
#
# $$q(x_{t-1}\mid x_t)\ \propto\ \underbrace{\mathcal N(x_t;\sqrt{1-\beta_t}\,x_{t-1},\beta_t)}_{\text{the step}}\ \underbrace{q(x_{t-1})}_{\text{the data, noised}}$$
#
# The first factor, as a function of $x_{t-1}$, is a bell of width about $\sqrt{\beta_t}$. The second has two humps. **Small $\beta_t$:** the bell is so narrow that the second factor hardly changes
# under it. The bell wins. **Large $\beta_t$:** the humps show.
#
# The *excess kurtosis* measures the shape: the fourth central moment over the squared variance, minus 3. It is 0 for a Gaussian (though not only for a Gaussian) and negative for two humps of similar weight; two equal points have $-2$. Here $\bar\alpha_{t-1}=0.8$, and $x_t=-0.5$ lies between the humps.

# %%
grid = torch.linspace(-4, 4, 80_001)


def reverse_kernel(xt, beta, previous):
    """q(x_{t-1} | x_t) on the grid by Bayes' rule, with its moments; `previous` is the mixture of x_{t-1}."""
    log_p = previous.log_prob(grid[:, None]) - (xt - math.sqrt(1 - beta) * grid) ** 2 / (2 * beta)
    p = (log_p - log_p.max()).exp()
    p = p / torch.trapezoid(p, grid)
    mean = torch.trapezoid(grid * p, grid)
    var, fourth = (torch.trapezoid((grid - mean) ** k * p, grid) for k in (2, 4))
    return p, mean, var, fourth / var**2 - 3


# %% alt="Four panels, the exact reverse kernel for beta = 0.5, 0.25, 0.1 and 0.01 with the Gaussian of the same mean and variance. At 0.5 the kernel has two humps; at 0.01 the curves coincide."
previous = mixture.noised(1, Schedule([0.2]))  # ᾱ_{t-1} = 0.8, reached in whatever way
fig, axes = plt.subplots(1, 4, figsize=(9, 2.5))
for ax, beta in zip(axes, (0.5, 0.25, 0.1, 0.01), strict=True):
    p, mean, var, kurtosis = reverse_kernel(-0.5, beta, previous)
    bell = torch.exp(-((grid - mean) ** 2) / (2 * var)) / (2 * math.pi * var).sqrt()
    ax.plot(grid, p, color=plots.COLORS["posterior"], linestyle="-", label="true")
    ax.plot(grid, bell, color=plots.COLORS["model"], linestyle="--", label="Gaussian")
    ax.set(title=f"β = {beta}", xlabel="$x_{t-1}$", yticks=[], xlim=mean + torch.tensor([-3.5, 3.5]) * var.sqrt())
    print(f"beta {beta:4.2f}   variance {var:.4f}   excess kurtosis {kurtosis:.2f}")
fig.legend(*axes[0].get_legend_handles_labels(), loc="upper right", bbox_to_anchor=(1, 1.14), ncol=2)
fig.suptitle("The true reverse step turns Gaussian as β shrinks", y=1.08)
plt.show()

# %% [markdown]
# How small is small? It depends on $x_{t-1}$. Take the data $\pm1$, a coin, and $x_t=0$. Write $v=1-\bar\alpha_{t-1}$. The density of $x_{t-1}$ is proportional to $e^{-x^2/2v}\cosh(\sqrt{\bar\alpha_{t-1}}\,x/v)$.
# At $x=0$ its logarithm has the second derivative $\bar\alpha_{t-1}/v^2-1/v$. If that is positive it bends up there, towards the two peaks. The logarithm of the bell bends down, by $(1-\beta_t)/\beta_t\approx1/\beta_t$. The bell wins if
#
# $$\beta_t\ll\frac{(1-\bar\alpha_{t-1})^2}{\bar\alpha_{t-1}}$$
#
# **Predict:** the limit is 0.05 at $\bar\alpha_{t-1}=0.8$. Will $\beta_t=0.001$ do there? And at $\bar\alpha_{t-1}=0.99$?

# %%
for alpha_bar_prev, betas in ((0.8, (0.5, 0.25, 0.1, 0.01, 0.001)), (0.99, (0.001,))):
    coin = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.0).noised(1, Schedule([1 - alpha_bar_prev]))
    for beta in betas:
        kurtosis = reverse_kernel(0.0, beta, coin)[-1]
        print(f"abar_(t-1) = {alpha_bar_prev:.2f}   beta = {beta:5.3f}   excess kurtosis {kurtosis:.4f}")

# %% [markdown]
# At $\bar\alpha_{t-1}=0.99$ the limit is 0.0001, and $\beta_t=0.001$ is ten times too large: $-1.62$, almost two points. That is one reason to start with small steps. And at $t=1$, $1-\bar\alpha_0=0$:
# for data on two points the last kernel, $q(x_0\mid x_1)$, is two points, however small $\beta_1$ is. There the data need a smooth density instead.
#
# **Exercise 3.5.** Data $\mathcal N(0,4)$ and one huge first step, $\beta_1=0.9$. The true reverse step is Gaussian all the same (a product of two Gaussians). What is the variance of $q(x_0\mid x_1)$? (Lesson 01, section 4; three decimals.)

# %% tags=["exercise:3.5"]
# BEGIN SOLUTION
variance_3_5 = 1 / (1 / 4 + (1 - 0.9) / 0.9)
# END SOLUTION
check("3.5", variance_3_5)

# %% [markdown]
# ## 6 · Could the machine choose?
#
# **The question.** The first item on the lecture's list is "learned". Learned from what?
#
# Lesson 04 derives the quantity that training minimises: a bound $L\ge-\log p(x_0)$ on the code length of the data, in nats. It contains $\beta_t$, so it can be lowered by changing $\beta_t$.
# Here is its average over the data, for the exact denoiser and the reverse variance $\sigma_t^2=\beta_t$. (Take it on trust for now; `elbo_terms` computes the same.)
#
# $$L=L_T+\sum_{t=2}^T\tfrac12\Big[\log\frac{\beta_t}{\tilde\beta_t}-1+\frac{\mathbb E\,\mathrm{Var}(x_{t-1}\mid x_t)}{\beta_t}\Big]+\tfrac12\Big[\log(2\pi\beta_1)+\frac{\mathbb E\,\mathrm{Var}(x_0\mid x_1)}{\beta_1}\Big]$$
#
# $\tilde\beta_t=\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t$ is the variance of $x_{t-1}$ when $x_0$ is known too (lesson 05). The smallest value any model can reach is the entropy of the data. The variances are known exactly for a mixture;
# Gauss-Hermite quadrature averages them over $x_t$. The result is a smooth function of $\beta_1,\dots,\beta_T$, and PyTorch differentiates it.

# %%
z, w = (torch.from_numpy(v) for v in hermegauss(32))  # nodes and weights for averages over N(0, 1)
w = w / w.sum()


def mean_bound(schedule):
    """The bound in nats, averaged over the mixture, with its exact denoiser and sigma_t² = beta_t."""
    beta, beta_tilde, T = schedule.beta, schedule.beta_tilde, schedule.T
    t = torch.arange(1, T + 1).repeat_interleave(2 * len(z))
    abar = schedule.alpha_bar[t].reshape(T, 2, len(z))  # (t, component, node)
    xt = abar.sqrt() * mixture.means + (1 - abar * (1 - 0.25**2)).sqrt() * z
    _, var = mixture.reverse_moments(xt.reshape(-1, 1), t, schedule)  # Var(x_{t-1} | x_t)
    var = (var.reshape(T, 2, len(z)) * mixture.weights[:, None] * w).sum((1, 2))  # its mean, (T,)
    L_t = (torch.log(beta[2:] / beta_tilde[2:]) - 1 + var[1:] / beta[2:]) / 2
    L_0 = (torch.log(2 * math.pi * beta[1]) + var[0] / beta[1]) / 2
    L_T = -torch.log1p(-schedule.alpha_bar[-1]) / 2  # data of mean 0 and variance 1
    return L_T + L_t.sum() + L_0


log_q = mixture.log_prob(grid[:, None])  # the grid of section 5
entropy = -torch.trapezoid(log_q.exp() * log_q, grid)
print(f"entropy of the data: {entropy:.4f} nats")

# %% [markdown]
# **Predict before you run.** Ten steps only. We start from a constant schedule with $\bar\alpha_{10}=10^{-4}$. Will the learned $\beta_t$ rise or fall with $t$? Will $\bar\alpha_{10}$ be smaller than $10^{-4}$, or larger?

# %% alt="Beta against t for ten steps. The constant start is a flat line at 0.6. The cosine rises from 0.03 to 0.999. The learned curve rises gently from 0.02 to 0.2."
start = constant_schedule(10, 1 - 1e-4 ** (1 / 10))
theta = start.beta[1:].logit().requires_grad_()  # β = sigmoid(θ) stays in (0, 1)
optimizer = torch.optim.Adam([theta], lr=0.05)
for _ in range(400):
    optimizer.zero_grad()
    mean_bound(Schedule(theta.sigmoid())).backward()
    optimizer.step()
learned = Schedule(theta.detach().sigmoid())

contest = {"constant": start, "cosine": cosine_schedule(10), "learned": learned}
fig, ax = plt.subplots()
for (name, schedule), marker in zip(contest.items(), "so^", strict=True):
    ax.plot(range(1, 11), schedule.beta[1:], marker=marker, label=name, **plots.SCHEDULES[name])
    print(f"{name:9s} bound {mean_bound(schedule):.3f} nats   abar_T {schedule.alpha_bar[-1]:.4f}")
ax.set(xlabel="t", ylabel="$\\beta_t$", xticks=range(1, 11))
ax.set_title("Ten learned steps stay small, and half of the signal is left at the end")
ax.legend()
plt.show()

# %% [markdown]
# The learned schedule halves the cosine's distance to the entropy, 0.13 nats against 0.24. And it does something a person would not: it stops at $\bar\alpha_T\approx0.51$. Why may it?
#
# $L_T=-\frac12\log(1-0.51)=0.36$ nats does not look small. But it compares the prior with $q(x_T\mid x_0)$ for **one** $x_0$. Sampling cares about $q(x_T)$, the mixture over all $x_0$. These data have mean 0 and variance 1, and their humps are gone long before the signal is:
# $q(x_T)$ is within 0.02 nats of $\mathcal N(0,1)$. Going on to $\bar\alpha_T=10^{-4}$ would spend steps on nothing and make the others coarser. The bound weighs the two. With the mixture of section 3, whose mean is 1, it would not stop there.
#
# Two remarks. DDPM does not do this: it fixes $\beta_t$ and learns the denoiser. And a smaller $L$ means a shorter code for the data, not always a better-looking sample. With many steps the choice matters less: lesson 04b lets $T$ grow, and the bound comes down to the entropy.

# %% [markdown]
# ## What to remember
#
# * Judge a schedule by $\bar\alpha_t$: where it falls is where the noise is spent. Linear early, cosine in the middle.
# * A small $\bar\alpha_T$ guarantees that sampling may start from $\mathcal N(0,\mathbf I)$. It is sufficient; look at the KL before you go without it. A schedule made for $T=1000$ must be rescaled for a shorter chain.
# * The true reverse step is Gaussian only in the limit of small $\beta_t$, and "small" is measured against $(1-\bar\alpha_{t-1})^2$.
# * $\beta_t=1$ reaches the prior exactly and breaks the noise form. Schedules stop just short of it.
#
# **Next:** [04 ELBO](04_elbo.ipynb).
#
# **References.** Lectures 000 and 004, slides named above. Ho, Jain and Abbeel 2020, *Denoising Diffusion Probabilistic Models*, Section 4.
# Nichol and Dhariwal 2021, *Improved Denoising Diffusion Probabilistic Models*, Section 3.2 and Eq. 17.
# Kingma et al. 2021, *Variational Diffusion Models*, learn the schedule with the network.
