# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Turn an image into noise, one small step at a time
#
# English · [繁體中文](zh/02_forward.ipynb)
#
# **You will do.** Noise real digits step by step. Find the shortcut that noises them in one jump. Watch the exact
# density of a toy data set melt into a bell curve.
#
# **You will learn.** The forward kernel and why it shrinks before it adds. The forward jump (正向跳躍) and its proof.
# What $\bar\alpha_t$ measures. When the end of the chain is really noise, and when it only looks like it.
#
# **You will need.** Mean and variance, independent Gaussians add their variances, a little PyTorch. Lesson 00 tests these.
#
# The lectures go by number (the README lists them). Here: lecture 000, "Terminology", "Forward Process (正向加噪)", "VP-SDE vs. VE-SDE", "Forward Convergence", "Forward jump".
# Ho et al. 2020: Section 2, Eq. 2 and 4. Lecture 003: "Some Distributions".

# %%
import matplotlib.pyplot as plt
import torch

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    linear_schedule,
    plots,
    q_sample,
    q_step,
    ve_sample,
    vp_to_ve,
    widgets,
)
from ddpm_lesson.checks import check
from ddpm_lesson.data import digits, mnist

DATA = "digits"  # or "mnist": 28 × 28, found in data/mnist or downloaded once (2 MB)
T = 100  # steps of the chain
schedule = linear_schedule(T, rescale=True)  # β rises from 0.001 to 0.2
images, labels = digits() if DATA == "digits" else mnist("test")  # (N, 1, H, W), values in [-1, 1]
generator = torch.Generator().manual_seed(2)
print(schedule)

# %% [markdown] tags=["claim:alpha-beta-notation", "claim:sequence-notation", "claim:schedule-array-length", "claim:mnist-dimension", "claim:forward-kernel", "claim:forward-step-sampling", "claim:beta-range", "claim:forward-chain-factorization"]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $q(\cdot)$, $p(\cdot)$ | | $q$: distributions of the noising chain, fixed. $p$: those of the model that will undo it |
# | $T$, $t$ | `T`, `t` | number of steps; the step, $t=1..T$ |
# | $x_0$ | `x0` | a clean image: 64 numbers for the 8 × 8 digits, $28\cdot28=784$ for MNIST |
# | $x_t$, $x_{1:T}$ | `xt` | the image after $t$ steps; the sequence $x_1, x_2, \dots, x_T$, both ends included |
# | $\beta_t$ | `schedule.beta[t]` | **variance** of the noise that step $t$ adds, $0<\beta_t<1$ |
# | $\alpha_t=1-\beta_t$ | `schedule.alpha[t]` | what step $t$ keeps |
# | $\bar\alpha_t=\alpha_1\alpha_2\cdots\alpha_t$ | `schedule.alpha_bar[t]` | what $t$ steps keep; $\bar\alpha_0=1$, because no step has been taken |
# | $\epsilon$ | `eps` | standard normal noise, $\mathcal N(0,\mathbf I)$, shaped like $x$ |
#
# The tables have $T+1$ entries, so `alpha_bar[t]` is the slide's $\bar\alpha_t$. There is no shift by one to remember.
#
# In $\mathcal N(x;\mu,\sigma^2\mathbf I)$ the last entry is a variance. This lesson turns on that.
#
# ## 1 · One step
#
# **The question.** We want a chain that forgets the image. Each step may change it only a little. What should a step do?
#
# The answer of lecture 000, "Forward Process", and of Ho et al., Eq. 2:
#
# $$q(x_t\mid x_{t-1})=\mathcal N\big(x_t;\ \sqrt{1-\beta_t}\,x_{t-1},\ \beta_t\mathbf I\big),\qquad 0<\beta_1\le\beta_2\le\dots\le\beta_T<1$$
#
# This is the **forward kernel**. To draw from it, shrink and add noise:
#
# $$x_t=\sqrt{1-\beta_t}\,x_{t-1}+\sqrt{\beta_t}\,\epsilon_t ,\qquad \epsilon_t\sim\mathcal N(0,\mathbf I)$$
#
# The noise is scaled by $\sqrt{\beta_t}$, because $\beta_t$ is its variance. Each step draws fresh noise and looks only at $x_{t-1}$.
# So the distribution of the whole chain is a product: $q(x_{1:T}\mid x_0)=\prod_{t=1}^T q(x_t\mid x_{t-1})$.
#
# Ho et al. use $T=1000$ steps, with $\beta$ from 0.0001 to 0.02. We take 100 steps, each ten times larger: `rescale=True`.
#
# **Predict before you run.** Here $\beta$ rises evenly from 0.001 to 0.2. After how many of the 100 steps will you fail to read the digits?

# %%
x = images[:8]
chain = [x]
for t in range(1, T + 1):
    eps = torch.randn(x.shape, generator=generator)
    x = (1 - schedule.beta[t]).sqrt() * x + schedule.beta[t].sqrt() * eps  # x_t from x_{t-1}
    chain.append(x)
chain = torch.stack(chain)  # (T + 1, 8, 1, H, W): chain[t] is x_t

same = q_step(chain[T - 1], T, schedule, noise=eps)  # the package's step, with the last step's noise
print("the package's q_step agrees:", torch.allclose(same, chain[T]))

# %% alt="Three handwritten digits, one per row, at seven times from t = 0 to t = 100. Grain covers them by t = 40, and at t = 100 only noise is left. Black to white is -1.5 to 1.5."
times = [0, 5, 10, 20, 40, 70, 100]
fig, ax = plt.subplots(figsize=(7, 3.2))
plots.draw_images(chain[times, :3].transpose(0, 1), ax, columns=[f"t = {t}" for t in times])
ax.set_title("The chain forgets gradually: hard to read at t = 20, lost to the eye at t = 40")
plt.show()

# %% [markdown]
# (The grey scale runs from -1.5 to 1.5, so a clean background at -1 looks dark grey. The pictures of lesson 00 used a gentler schedule, its slider this one; lesson 03 compares them.)
#
# Lecture 003 prints $\sqrt{\beta_t}\,\mathbf I$ as the covariance of the kernel, and uses $\beta_t$ in its next line. Only one of them keeps unit variance. Which? (Section 2 answers.)
#
# **Exercise 2.1.** One pixel: $x_{t-1}=2$, $\beta_t=0.25$, and the noise drawn is $\epsilon_t=1$. What is $x_t$?

# %% tags=["exercise:2.1"]
# BEGIN SOLUTION
pixel = 0.75**0.5 * 2 + 0.25**0.5 * 1
# END SOLUTION
check("2.1", pixel)

# %% [markdown] tags=["claim:variance-preservation"]
# ## 2 · Why shrink before adding?
#
# **The question.** Lecture 000 asks why the forward step is defined like this (為什麼正向加噪要這樣定義？). Why $\sqrt{1-\beta_t}$, and not just 1?
#
# Take one pixel. $\mathrm{Var}$ is over all images and all noise. The noise is independent of $x_{t-1}$, so variances add:
#
# $$\mathrm{Var}(x_t)=(1-\beta_t)\,\mathrm{Var}(x_{t-1})+\beta_t$$
#
# Put $\mathrm{Var}(x_{t-1})=1$ in: out comes 1. The step **preserves** unit variance, whatever $\beta_t$ is. This is why the form is called
# *variance preserving*, VP. From another start, the distance to 1 is multiplied by $1-\beta_t$ at each step, so after $t$ steps
#
# $$\mathrm{Var}(x_t)=1+\bar\alpha_t\,\big(\mathrm{Var}(x_0)-1\big)$$
#
# Real data need not start at 1: the pixels of the digits have a variance of about 0.3 on average, and those at the edge almost none. All climb to 1. The mean shrinks away as well, $\mathbb E[x_t]=\sqrt{\bar\alpha_t}\,\mathbb E[x_0]$.
#
# **Predict before you run.** Leave the shrinking out and start from variance 1. What is the variance after 100 steps: 2, 11 or 1000?

# %% alt="Variance against t. Three variance-preserving curves start at 0.25, 1 and 4 and meet at 1. The curve without shrinking climbs to 11."
beta, alpha_bar = schedule.beta, schedule.alpha_bar
fig, ax = plt.subplots()
for start in (0.25, 1.0, 4.0):
    variance = [torch.tensor(start).double()]
    for t in range(1, T + 1):
        variance.append((1 - beta[t]) * variance[-1] + beta[t])  # one step
    closed_form = 1 + alpha_bar * (start - 1)
    agree = torch.allclose(torch.stack(variance), closed_form)
    print(f"start {start:.2f}   t = 50 {variance[50]:.3f}   t = 100 {variance[T]:.3f}   formula agrees: {agree}")
    label = "with shrinking, from 0.25, 1 and 4" if start == 1 else None
    ax.plot(closed_form, color=plots.COLORS["noised"], label=label)
ax.plot(1 + beta.cumsum(0), color="0.2", linestyle="--", label="without shrinking, from 1")
ax.set(xlabel="t", ylabel="Var($x_t$)", ylim=(0, 12))
ax.set_title("Shrinking brings every start to variance 1; without it, no end")
ax.legend()
plt.show()

# %% [markdown]
# **Exercise 2.2.** A data set has $\mathrm{Var}(x_0)=4$. What is $\mathrm{Var}(x_t)$ when $\bar\alpha_t=0.25$?

# %% tags=["exercise:2.2"]
# BEGIN SOLUTION
variance_2_2 = 1 + 0.25 * (4 - 1)
# END SOLUTION
check("2.2", variance_2_2)

# %% [markdown] tags=["claim:two-step-composition", "claim:forward-jump", "claim:forward-noise-variance-telescopes"]
# ## 3 · Can we jump?
#
# **The question.** Training will need $x_t$ for a random $t$. Must we walk through all $t$ steps?
#
# Take two steps (lecture 000, "Forward Convergence"; our $\epsilon_t$ is the slide's $\epsilon_{t-1}$):
#
# $$x_2=\sqrt{\alpha_2}\,\big(\sqrt{\alpha_1}\,x_0+\sqrt{1-\alpha_1}\,\epsilon_1\big)+\sqrt{1-\alpha_2}\,\epsilon_2
# =\sqrt{\alpha_2\alpha_1}\,x_0+\underbrace{\sqrt{\alpha_2(1-\alpha_1)}\,\epsilon_1+\sqrt{1-\alpha_2}\,\epsilon_2}_{\text{two independent noises}}$$
#
# Independent Gaussians add their **variances**:
#
# $$\alpha_2(1-\alpha_1)+(1-\alpha_2)=1-\alpha_2\alpha_1$$
#
# So two steps are one step with $\alpha_2\alpha_1$ in place of $\alpha$. And so on: if the noise in $x_{t-1}$ has variance $1-\bar\alpha_{t-1}$, then the noise in $x_t$ has
#
# $$\alpha_t(1-\bar\alpha_{t-1})+(1-\alpha_t)=1-\alpha_t\bar\alpha_{t-1}=1-\bar\alpha_t$$
#
# By induction this holds for every $t$. It is the **forward jump**, Ho et al. Eq. 4:
#
# $$q(x_t\mid x_0)=\mathcal N\big(x_t;\ \sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t)\mathbf I\big)$$
#
# The same, seen from the noises: $\epsilon_s$ enters at step $s$ with $\sqrt{\beta_s}$ and is then shrunk by every later step.
# Below, for $t=50$, the weights of all $t$ noises are written out. Their **squares** add up to the variance $1-\bar\alpha_t=0.93$. The weights themselves add up to 5.5, but the standard deviation is $\sqrt{1-\bar\alpha_t}=0.96$: standard deviations do not add.

# %%
t = 50
alpha = schedule.alpha
weights = [beta[s].sqrt() * alpha[s + 1 : t + 1].prod().sqrt() for s in range(1, t + 1)]
weights = torch.stack(weights)  # (t,), of ε_1 … ε_t
print(f"sum of squares {weights.square().sum():.6f}   1 - ᾱ_t {1 - alpha_bar[t]:.6f}")
print(f"sum of weights {weights.sum():.6f}   √(1 - ᾱ_t) {(1 - alpha_bar[t]).sqrt():.6f}")

# %% [markdown]
# **Exercise 2.3.** $\beta_1=0.1$ and $\beta_2=0.2$. Given $x_0$, what is the **standard deviation** of the noise in $x_2$?

# %% tags=["exercise:2.3"]
# BEGIN SOLUTION
std_2_3 = (1 - 0.9 * 0.8) ** 0.5
# END SOLUTION
check("2.3", std_2_3)

# %% [markdown] tags=["claim:forward-jump-sampling", "claim:forward-needs-no-network", "claim:forward-starts-at-data"]
# The jump as code is one line. It needs no network and no loop: one draw of noise for any $t$. (At $t=0$ nothing has been added: $\bar\alpha_0=1$ and $x_t=x_0$.)
#
# $$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$$
#
# Does it draw from the same distribution as the chain? We ask a toy data set, a mixture of two Gaussians on the line:
# 30 % of it near $-1.48$ and 70 % near $0.63$, with mean 0 and variance 1. Its density is known at every $t$. The jump sends $\mathcal N(\mu,\tau^2)$ to
#
# $$\mathcal N\big(\sqrt{\bar\alpha_t}\,\mu,\ \bar\alpha_t\tau^2+1-\bar\alpha_t\big)$$
#
# so a mixture stays a mixture, with the same weights. That is `mixture.noised(t, schedule)`.

# %%
mixture = GaussianMixture(weights=[0.3, 0.7], means=[[-1.479], [0.634]], std=0.25)
toy = mixture.sample(20_000, generator=generator)  # (20000, 1)

t = 15
eps = torch.randn(toy.shape, generator=generator)
jumped = alpha_bar[t].sqrt() * toy + (1 - alpha_bar[t]).sqrt() * eps  # one draw
walked = toy
for s in range(1, t + 1):
    walked = q_step(walked, s, schedule, generator=generator)  # t draws

print("the package's q_sample agrees:", torch.allclose(jumped, q_sample(toy, t, schedule, noise=eps)))
for name, xt in (("chain", walked), ("jump", jumped)):
    print(f"{name:5s} share below 0: {(xt < 0).float().mean():.2f}")
exact = mixture.noised(t, schedule)
below = exact.weights @ torch.special.ndtr(-exact.means[:, 0] / exact.std)
print(f"exact share below 0: {below:.2f}")

# %% alt="Two histograms of x at t = 15, one from the chain and one from the jump, lie on each other and on the exact density, which has a small and a large hump."
fig, ax = plt.subplots()
bins = torch.linspace(-4, 4, 65)
ax.hist(walked[:, 0], bins, density=True, histtype="step", color="0.2", label="15 steps of the chain")
ax.hist(jumped[:, 0], bins, density=True, color=plots.COLORS["noised"], alpha=0.5, label="one jump")
plots.draw_density(mixture.noised(t, schedule), ax, role="posterior", label="exact density")
ax.set_title("Chain and jump draw from the same density, and we know it exactly")
ax.legend()
plt.show()

# %% alt="Heat map of the exact density of x_t for t = 0 to 100. A dark band at 0.6 and a paler one at -1.5 widen and merge into one band around 0. Three sampled chains wander over it."
paths = [torch.tensor([-1.5, 0.5, 0.8])]  # three chains, their starts chosen by hand
for s in range(1, T + 1):
    paths.append(q_step(paths[-1], s, schedule, generator=generator))
fig, ax = plt.subplots()
plots.draw_forward(mixture, schedule, ax, paths=torch.stack(paths))
ax.set_title("Two modes melt into one bell curve (each t scaled to its own peak)")
plt.show()

# %% [markdown] tags=["claim:abar-strictly-decreasing", "claim:abar-signal-fraction"]
# ## 4 · What does $\bar\alpha_t$ measure?
#
# Every factor $\alpha_t$ lies below 1, so $1=\bar\alpha_0>\bar\alpha_1>\dots>\bar\alpha_T>0$. The image only ever loses.
#
# For data of unit variance, $\mathrm{Var}(x_t)=\bar\alpha_t\cdot1+(1-\bar\alpha_t)=1$. The first part comes from $x_0$, the second from noise. So
#
# * $\bar\alpha_t$ is the fraction of the **power** that is still signal. It equals $\mathrm{corr}(x_0,x_t)^2$, since $\mathrm{Cov}(x_0,x_t)=\sqrt{\bar\alpha_t}$ and both variances are 1;
# * $\sqrt{\bar\alpha_t}$ is the factor on the **amplitude**, the one you see on the image;
# * $\bar\alpha_t/(1-\bar\alpha_t)$ is the signal-to-noise ratio, `schedule.snr`.
#
# **Predict before you run.** The amplitude falls to a half at some $t$. Has the power fallen to a half earlier or later? (The dots use the toy data, whose variance is 1.)
#
# Below the figure the same chain has sliders. **Move them, but predict first:** does another noise seed change the $t$ at which you lose the digit? At one $t$, do the points below the density tell whether they walked or jumped? And while you move $t$? (The jump keeps one noise for all $t$.)

# %% alt="Alpha-bar and its root fall from 1 to 0 over t. The root lies above. Dots of measured squared correlation sit on the alpha-bar curve."
ts = torch.arange(0, T + 1, 10)[1:]
measured = []
for t in ts:
    xt = q_sample(toy, int(t), schedule, generator=generator)
    measured.append(torch.corrcoef(torch.cat([toy, xt], 1).T)[0, 1] ** 2)
fig, ax = plt.subplots()
blue = plots.COLORS["data"]
ax.plot(alpha_bar.sqrt(), color=blue, linestyle="--", label="$\\sqrt{\\bar\\alpha_t}$, amplitude")
ax.plot(alpha_bar, color=blue, label="$\\bar\\alpha_t$, power")
ax.plot(ts, measured, "o", color=plots.COLORS["noised"], label="measured corr$(x_0, x_t)^2$")
ax.axhline(0.5, color="0.6", linewidth=0.8)
ax.set(xlabel="t", ylim=(0, 1.02))
ax.set_title("ᾱ counts power: half of it is gone well before half the amplitude")
ax.legend()
plt.show()
for name, kept in (("power", alpha_bar), ("amplitude", alpha_bar.sqrt())):
    print(f"{name} below one half from t = {int((kept < 0.5).nonzero()[0])}")

# %% tags=["nbval-ignore-output"] alt="Three panels at t = 20: a digit, the digit under noise, and the exact density of the toy data at this t with noised points below it."
widgets.forward_explorer()

# %% [markdown] tags=["claim:forward-converges-to-normal", "claim:terminal-marginal-gap", "claim:terminal-prior-standard-normal"]
# ## 5 · Is the end of the chain really noise?
#
# Sampling will start from the **prior** $p(x_T)=\mathcal N(0,\mathbf I)$. The chain ends at $q(x_T\mid x_0)=\mathcal N(\sqrt{\bar\alpha_T}\,x_0,(1-\bar\alpha_T)\mathbf I)$.
# The two agree only if $\bar\alpha_T\approx0$.
#
# Lecture 000 asks: if every $\beta_t\in(0,1)$, what is $\lim_{T\to\infty}\prod_{t\le T}(1-\beta_t)$? The slide says 0.
#
# **Write down:** is $0<\beta_t<1$ enough for that? Try $\beta_t=1/(t+1)^2$.

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# It is not enough. For $\beta_t=\frac1{(t+1)^2}$, $\;1-\beta_t=\frac{t\,(t+2)}{(t+1)^2}$, and the product telescopes to $\bar\alpha_T=\frac{T+2}{2(T+1)}$. It stops at $\tfrac12$.
#
# </details>

# %% [markdown]
# The product goes to 0 exactly when $\sum_t\beta_t=\infty$. One half is quick: $\log(1-\beta)\le-\beta$, so $\bar\alpha_T\le e^{-\sum\beta_t}$. (The other half is a standard fact on infinite products.)
# With the slide's other condition, $\beta_1\le\beta_2\le\dots$, the sum is infinite: then $\bar\alpha_T\le(1-\beta_1)^T$.
#
# For every finite $T$ a gap is left. The Kullback-Leibler divergence measures it, in nats (natural-log units). Of one pixel,
# $D_{\mathrm{KL}}(\mathcal N(m,v)\,\|\,\mathcal N(0,1))=\tfrac12(m^2+v-1-\log v)$; lesson 01 derives it. Put $m=\sqrt{\bar\alpha_T}\,x_0$ and $v=1-\bar\alpha_T$, and sum over the $d$ pixels:
#
# $$L_T=D_{\mathrm{KL}}\big(q(x_T\mid x_0)\,\|\,\mathcal N(0,\mathbf I)\big)=\tfrac12\Big[\bar\alpha_T\big(\|x_0\|^2-d\big)-d\log(1-\bar\alpha_T)\Big]>0$$
#
# The slides call it close to zero. **Predict:** is it, for $\beta$ from 0.0001 to 0.02 and $T=50$?

# %%
print("β from 0.0001 to 0.02        ᾱ_T      mean KL to the prior, nats per image")
for steps, rescale in ((10, False), (50, False), (50, True), (150, False), (150, True), (1000, False)):
    s = linear_schedule(steps, rescale=rescale)
    name = f"T = {steps}" + (", β × 1000/T" if rescale else "")
    print(f"{name:24s} {s.alpha_bar[-1]:10.2e}   {s.terminal_kl(images).mean():10.4f}")
slow = Schedule([1 / (t + 1) ** 2 for t in range(1, 2001)])
print(f"β_t = 1/(t+1)², T = 2000:  ᾱ_T = {slow.alpha_bar[-1]:.4f}")

# %% alt="Densities of x_T at T = 50. The unscaled schedule gives a lopsided curve with a shoulder at -1; the rescaled one coincides with the standard normal."
fig, ax = plt.subplots()
plots.draw_density(GaussianMixture([1.0], [[0.0]], 1.0), ax, "prior", "the prior N(0, 1)")
plots.draw_density(mixture.noised(50, linear_schedule(50)), ax, "noised", "T = 50, β up to 0.02")
rescaled = linear_schedule(50, rescale=True)
plots.draw_density(mixture.noised(50, rescaled), ax, "data", "T = 50, β rescaled by 1000/T")
ax.set(xlabel="$x_T$")
ax.set_title("A schedule made for 1000 steps, cut to 50, never reaches the prior")
ax.legend()
plt.show()

# %% [markdown]
# A sampler that starts from $\mathcal N(0,1)$ on the orange schedule starts from the wrong law. Lesson 08 shows what comes out.
#
# **Exercise 2.4.** A constant schedule, $\beta_t=0.02$, $T=150$. What is $\bar\alpha_T$? Give two significant digits, such as 0.0012, or let Python compute it.

# %% tags=["exercise:2.4"]
# BEGIN SOLUTION
alpha_bar_2_4 = (1 - 0.02) ** 150
# END SOLUTION
check("2.4", alpha_bar_2_4)

# %% [markdown] tags=["claim:variance-exploding-kernel"]
# ## 6 · The other form: variance exploding
#
# **The question.** Must the image shrink at all? Lecture 000 shows another kernel, "Variance Exploding", VE:
#
# $$q(x_t\mid x_{t-1})=\mathcal N\big(x_t;\ x_{t-1},\ (\sigma_t^2-\sigma_{t-1}^2)\mathbf I\big),\qquad\sigma_0=0<\sigma_1<\dots<\sigma_T$$
#
# Here the image keeps its size and the noise grows. The variances of the steps telescope, so $q(x_t\mid x_0)=\mathcal N(x_0,\sigma_t^2\mathbf I)$.
#
# Is this another model? Divide the VP jump by $\sqrt{\bar\alpha_t}$:
#
# $$\frac{x_t}{\sqrt{\bar\alpha_t}}=x_0+\sqrt{\frac{1-\bar\alpha_t}{\bar\alpha_t}}\;\epsilon$$
#
# That is the VE form with $\sigma_t^2=(1-\bar\alpha_t)/\bar\alpha_t$, one over the signal-to-noise ratio. The steps agree as well: $\sigma_t^2-\sigma_{t-1}^2=\beta_t/\bar\alpha_t$,
# which is the noise variance of one VP step, divided by the square of the same factor. The two forms are one picture at two scales.

# %%
x0, t = images[:8], 40
eps = torch.randn(x0.shape, generator=generator)
vp, ve = q_sample(x0, t, schedule, noise=eps), ve_sample(x0, t, schedule, noise=eps)
print("VP divided by √ᾱ_t is VE:", torch.allclose(vp_to_ve(vp, t, schedule), ve, atol=1e-5))
for t in (1, 20, 60, 100):
    std_vp, std_ve = (1 - alpha_bar[t]).sqrt(), (1 / schedule.snr[t]).sqrt()
    print(f"t = {t:3d}   noise std in VP {std_vp:.2f}   in VE {std_ve:6.2f}")

# %% alt="The same digit at t = 0, 5, 10, 20, 40, 70 and 100 in three rows. The VE row turns black and white; scaled by the root of alpha-bar it is the VP row again."
eps = torch.randn((1, *images.shape[1:]), generator=generator)
digit, rows = images[:1], []
for jump in (q_sample, ve_sample):  # one noise for all
    rows.append(torch.cat([digit] + [jump(digit, t, schedule, noise=eps) for t in times[1:]]))
rows.append(rows[1] * alpha_bar[times].sqrt().reshape(-1, 1, 1, 1).float())
fig, ax = plt.subplots(figsize=(7, 3.2))
plots.draw_images(torch.stack(rows), ax, rows=["VP", "VE", "VE · √ᾱ"], columns=[f"t = {t}" for t in times])
ax.set_title("One picture at two scales: VE just runs off the grey scale")
plt.show()

# %% [markdown]
# **Exercise 2.5.** Write one **step** of the VE chain, from $x_{t-1}$ to $x_t$.

# %% tags=["exercise:2.5"]
def ve_step(x_prev, sigma_prev, sigma_t, eps):
    """x_t of the VE chain; sigma_prev and sigma_t are its noise levels, standard deviations."""
    # BEGIN SOLUTION
    return x_prev + (sigma_t**2 - sigma_prev**2) ** 0.5 * eps
    # END SOLUTION


check("2.5", ve_step)

# %% [markdown] tags=["claim:markov-forward"]
# ## 7 · A question from the slides
#
# Lecture 000 asks: **why is $q(x_t\mid x_{t-1})=q(x_t\mid x_{t-1},x_0)$?** Write your answer down. (The complete notebook has ours, folded.)

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# Once $x_{t-1}$ is known, $x_t=\sqrt{\alpha_t}\,x_{t-1}+\sqrt{\beta_t}\,\epsilon_t$, and $\epsilon_t$ is drawn afresh. Nothing about the past can say anything more about it.
# This is the Markov property. It will let us bring $x_0$ into the bound in lesson 04.
#
# </details>

# %% [markdown]
# The slide adds that a Markov chain is independent of its past *and its future* states. Careful: given the present, the **past** tells nothing more.
# The future does: $x_{t+1}$ was made from $x_t$. For two Gaussians, $\mathrm{Var}(u\mid v)=\mathrm{Var}(u)-\mathrm{Cov}(u,v)^2/\mathrm{Var}(v)$.
#
# **Predict:** does seeing $x_6$ make $x_5$ more certain or less, when $x_4$ is known? Below $\beta_s=0.05\,s$, and all is meant given $x_4$.

# %%
short, t = Schedule([0.05 * s for s in range(1, 11)]), 5
factor = short.alpha[t + 1].sqrt()
var = short.beta[t]  # of x_t, given x_{t-1}; nothing older changes it
cov = factor * var  # of x_t and x_{t+1}
var_next = factor**2 * var + short.beta[t + 1]  # of x_{t+1}
print(f"Var(x_5 | x_4) = {var:.4f}   Var(x_5 | x_4, x_6) = {var - cov**2 / var_next:.4f}")

# %% [markdown] tags=["claim:hierarchical-vae-special-case"]
# ## What to remember
#
# * One step shrinks by $\sqrt{1-\beta_t}$ and adds noise of **variance** $\beta_t$. Unit variance stays unit variance.
# * $t$ steps are one jump: $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$. Products of $\alpha$, and variances that add.
# * Nothing in the chain is learned, and $x_t$ has as many numbers as $x_0$. Those two facts make a DDPM a special hierarchical VAE (lesson 04).
# * The chain ends at the prior only if $\bar\alpha_T\approx0$. Look at $\bar\alpha_T$ and at the KL before you sample.
#
# **Next:** [03 Schedules](03_schedule.ipynb).
#
# **References.** Lecture 000, slides named above. Ho, Jain and Abbeel 2020, *Denoising Diffusion Probabilistic Models*, Eq. 2 and 4.
# Song et al. 2021, *Score-Based Generative Modeling through SDEs*, for VP and VE.
