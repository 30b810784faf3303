# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 · A Transformer learns two bumps
#
# **You will do.** Lecture 004's first lab. Train a small Transformer to predict noise, watch it approach the best possible loss, and sample from it. Then find out what is wrong with three broken versions.
#
# **You will learn.** How to know a loss is good: the floor, and how to predict it by counting. What attention computes. Which mistakes a picture shows, and which no picture shows.
#
# **You will need.** The conditional mean (lesson 06), the simple loss and its floor (07), the sampling loop (08). The same lab in one dimension, where the density can be drawn, is [09b](09b_small_lab.ipynb). It takes some seconds and may come first.
#
# Lecture 004: "Lab 1 : DDPM for mixture of Gaussians", Question 1, Steps 1 to 4. Ho et al. 2020: Eq. 14, Algorithms 1 and 2. The training takes less than three minutes of two free CPU cores (on the machine where we measured).

# %%
import os
from unittest.mock import patch

import matplotlib.pyplot as plt
import torch
from IPython.display import display
from scipy.stats import kstest, uniform  # scipy comes with scikit-learn
from torch.optim.swa_utils import AveragedModel

from ddpm_lesson import TwoBumps, cosine_schedule, linear_schedule, p_sample_loop, plots, q_sample, sample
from ddpm_lesson.checks import check
from ddpm_lesson.models import Transformer, transformer
from ddpm_lesson.train import train

STEPS, TWIN, COUNT = (200, 20, 100) if os.environ.get("SMOKE") else (2500, 200, 1000)  # knobs
data, schedule, colors = TwoBumps(100), cosine_schedule(150), plots.COLORS
seed, alpha_bar, exact = torch.Generator().manual_seed, schedule.alpha_bar, data.denoiser(schedule)

# %% [markdown]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $\epsilon_\theta(x_t,t)$ | `network`, `ema` | the network's guess of the noise; `ema` is the running average of its weights |
# | $\epsilon^*(x_t,t)=\mathbb E[\epsilon\mid x_t]$ | `exact` | the exact denoiser: no function of $(x_t,t)$ has a smaller squared error |
# | ε-error | | mean squared error of a guess of $\epsilon$, per entry of $x$; one number for each $t$, or averaged over $t=1..T$ |
# | floor | `floor`, `best` | the ε-error of $\epsilon^*$: at each $t$, and averaged |
# | gap | `gap_to_exact` | the mean of $(\epsilon_\theta-\epsilon^*)^2$ per entry |
# | $m_1,m_2$ | `places` | where the two bumps of a signal stand |
#
# ## 1 · Two bumps, two numbers
#
# A signal $x_0$ of the lab has $n=100$ points. It holds two bumps of width 1, at random places:
#
# $$x_0=2\,\big(b(m_1)+b(m_2)\big)-1,\qquad b(m)_i=e^{-(g_i-m)^2/2},\qquad m_1\sim\mathcal U[-15,-5],\quad m_2\sim\mathcal U[5,15]$$
#
# with $g$ the 100 points from $-20$ to $20$. The map $2\,(\cdot)-1$ is the same for all signals. (The lab scales each signal by its own minimum and maximum.) So $x_0$ lies in $\mathbb R^{100}$ and has **two degrees of freedom**.
#
# The schedule is the cosine one of lesson 03, with $T=150$.
#
# **Exercise 9.1.** (The lab's Step 1.) $\beta_1=0.1$, $\beta_2=0.2$, $\beta_3=0.5$. Give the two weights of the jump to $t=2$, that of $x_0$ and that of $\epsilon$, as a pair. (Mind the index: the slide says that the tables have the length $T$, so there index 0 is $t=1$.)

# %% tags=["exercise:9.1"]
# BEGIN SOLUTION
weights_9_1 = (0.9 * 0.8) ** 0.5, (1 - 0.9 * 0.8) ** 0.5
# END SOLUTION
check("9.1", weights_9_1)

# %% alt="Left: four signals, each with one bump left and one bump right of the middle. Right: the first of them noised at t = 1, 50, 100 and 150; its bumps drown."
four, noise = data.sample(4, seed(3)), torch.randn((100,), generator=seed(4))
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
for k, t in enumerate((1, 50, 100, 150)):
    xt = alpha_bar[t].sqrt() * four[0] + (1 - alpha_bar[t]).sqrt() * noise
    left.plot(data.grid, four[k] - 6 * k, color=colors["data"])
    right.plot(data.grid, xt - 6 * k, color=colors["noised"], linewidth=1)
    right.text(21, -6 * k - 0.5, f"t = {t}", va="center")
left.set(xlabel="place $g_i$", yticks=[], title="Four signals: only the places differ")
right.set(xlabel="place $g_i$", title="The first one, noised: its bumps drown")
plt.show()
print("ᾱ at t = 1, 50, 100, 150:", *(f"{alpha_bar[t]:.4f}" for t in (1, 50, 100, 150)))

# %% [markdown]
# At $t=150$ nothing of the data is left: $\mathcal N(0,\mathbf I)$ is a fair start for sampling.
#
# **Exercise 9.2.** (Step 2.) The tables are now as on the slide: the $\bar\alpha$ are `[0.9, 0.64, 0.25]`, and index 0 is $t=1$. Jump from $x_0=3$ to $t=2$ with the noise $\epsilon=-1$. What is $x_2$?

# %% tags=["exercise:9.2"]
# BEGIN SOLUTION
x_9_2 = 0.64**0.5 * 3 + (1 - 0.64) ** 0.5 * (-1)
# END SOLUTION
check("9.2", x_9_2)

# %% [markdown]
# ## 2 · The floor, before any network
#
# **The exact denoiser.** $\epsilon^*$ needs $\mathbb E[x_0\mid x_t]$. Bayes' rule over the places: each pair $(m_1,m_2)$ is weighed by how well its signal explains $x_t$, and
#
# $$\mathbb E[x_0\mid x_t]=\int x_0(m)\,q(m\mid x_t)\,dm,\qquad q(m\mid x_t)\propto\exp\Big[-\frac{\|x_t-\sqrt{\bar\alpha_t}\,x_0(m)\|^2}{2(1-\bar\alpha_t)}\Big]\quad\text{on the two intervals}$$
#
# Two integrals, one for each bump (the bumps are at least 10 apart, and touch by a factor $e^{-25}$). In the package: `data.denoiser(schedule)`.
#
# **How low can the ε-error get?** Guess it by counting. Take little noise. The signals form a curved surface with 2 dimensions in $\mathbb R^{100}$. Near $x_0$ it looks like a plane.
#
# * In the 98 directions across the plane $x_0$ does not move. What is seen there is noise, and $\epsilon$ is known.
# * In the 2 directions along the plane a move of $x_t$ may be noise or a shift of a bump. If all places are equally likely, nothing can be said: the best guess of $\epsilon$ there is 0, with a squared error of 1.
#
# **Predict before you run.** What is the floor, then, as a mean over 100 entries? It is an estimate for little noise. Will the floor be higher or lower at middle $t$, where the bumps are easily mistaken for noise? And at $t=T$? Write down three numbers.
#
# **Exercise 9.3.** Other data: signals of 60 points with three bumps. Each bump has a random place **and** a random height. About how large is the floor at little noise?

# %% tags=["exercise:9.3"]
# BEGIN SOLUTION
floor_9_3 = 3 * 2 / 60
# END SOLUTION
check("9.3", floor_9_3)

# %% alt="The exact denoiser's error per entry against t, dotted: near the grey line at 2/100 up to t = 60, up to about 0.03 near t = 100, then down to 0 at t = 150."
generator, floor, (test_x, test_exact) = seed(9), torch.zeros(151), torch.zeros(2, 150, 200, 100)
for t in range(1, 151):
    x0, eps = data.sample(200, generator), torch.randn((200, 100), generator=generator)
    test_x[t - 1] = q_sample(x0, t, schedule, noise=eps)
    test_exact[t - 1] = exact(test_x[t - 1], t)
    floor[t] = (test_exact[t - 1] - eps).square().mean()
best = floor[1:].mean().item()
fig, ax = plt.subplots()
ax.axhline(0.02, color="0.6", linewidth=1, label="2/100")
ax.plot(range(1, 151), floor[1:], ":", color=colors["posterior"], linewidth=3, label="exact denoiser")
ax.set(xlabel="t", ylabel="ε-error", ylim=(0, 0.035), title="About 2/100: of 100 directions 2 are uncertain")
ax.legend(loc="lower left")
plt.show()
for first, last in ((1, 150), (1, 60), (90, 100), (141, 150)):
    print(f"floor, t = {first} to {last}: {floor[first : last + 1].mean():.3f}")

# %% [markdown]
# Counting gives the mean, and nearly every value up to $t=60$. (Each point is a mean over 200 signals and is uncertain by about 0.0014.) Around $t=90$ to $100$ it is higher, 0.029: the plane is no longer the whole story. The noise makes false bumps, and the best guess spreads over several places at once.
# Then it falls to 0: $x_T$ *is* the noise.
#
# So a loss of 0.019 is perfect here. It is not a sign that 2 % of anything is left to learn. And predicting 0 costs 1, the variance of $\epsilon$.
#
# ## 3 · The network, one block at a time
#
# **The question.** Which network turns $(x_t,t)$ into $\epsilon_\theta$, 100 numbers into 100? (The lab's Step 3.) Ours has four parts. The cells below run the package's own, one after the other, on a batch of 6.
#
# **Patches become tokens.** Ten neighbouring points make a patch. One matrix maps each patch to 80 numbers, a **token**. So a signal is 10 tokens. Nothing in what follows knows their order; so a learned vector per place, the **position**, is added.
#
# **Time becomes waves.** As a bare number, 100 is almost the same as 101. So $t$ is spread over 40 cosines and 40 sines of different speed (Vaswani et al. 2017): like the hands of a clock, the fast ones separate neighbours, the slow ones tell
# early from late.
#
# $$\big(\cos w_it,\ \sin w_it\big),\qquad w_i=10000^{-i/40},\quad i=0..39$$
#
# **Predict before you run.** The scalar product of the waves of $t=75$ with those of another step: where is it largest, and does it fall to 0?

# %% alt="An image of the 80 waves, one column for each t from 1 to 150; the first cosines and sines flicker from column to column, the last hardly change. Over it a curve, the scalar product with the column t = 75, has a sharp peak at 75."
torch.manual_seed(9)
network, xt, t = Transformer(), test_x[[0, 25, 50, 75, 100, 149], 0], torch.tensor([1, 26, 51, 76, 101, 150])
patches = xt.unflatten(1, (-1, network.patch))
h = network.embed(patches) + network.position
c = network.time(transformer.waves(t, 80))[:, None]
parts = {"x_t": xt, "patches": patches, "tokens": h, "position": network.position, "time": c}
print(*(f"{name:9s}{tuple(part.shape)}" for name, part in parts.items()), sep="\n")
waves = transformer.waves(torch.arange(1, 151), 80)
fig, ax = plt.subplots(figsize=(8.5, 2.6))
ax.imshow(waves.T, aspect="auto", extent=(0.5, 150.5, 80, 0))
ax.plot(range(1, 151), 80 - 2 * (waves @ waves[74]), color=colors["model"], label="product")
ax.set(xlabel="t", ylabel="the 80 numbers", ylim=(80, -14), title="Neighbours are most alike")
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# (The curve has its own scale: its 0 is the lower edge of the picture, and its peak is $40$, one from each pair of cosine and sine.) It never falls to 0: the slowest waves hardly move over 150 steps. What matters is that neighbours differ.
#
# **Attention lets tokens look at each other.** To see a bump that lies on the border of two patches, tokens must talk. Each token makes three vectors of $d$ numbers: a **query** $q$ (what I look for), a **key** $k$ (what I have) and a **value** $v$ (what I give). Token $i$ weighs all tokens $j$,
# and gathers their values:
#
# $$a_{ij}=\frac{\exp(q_i\cdot k_j/\sqrt d)}{\sum_{j'}\exp(q_i\cdot k_{j'}/\sqrt d)},\qquad\text{out}_i=\sum_ja_{ij}\,v_j$$
#
# The sum in the denominator runs over the **keys**. So each token's weights are positive and sum to 1: $\text{out}_i$ is an average of values. Four **heads** do so side by side, each with $d=80/4=20$. Why $\sqrt d$? If the entries of $q$ and $k$ are independent with mean 0 and variance 1, $q\cdot k$ has variance $d$;
# divided by $\sqrt d$ it has variance 1, and the softmax is neither flat nor all on one key.

# %%
block = network.blocks[0]
q, k, v = block.attention.qkv(block.norm(h)).unflatten(-1, (3, 4, 20)).permute(2, 0, 3, 1, 4)
scores = q @ k.mT / 20**0.5
weights = scores.softmax(-1)  # the last axis: over the keys
mixed = weights @ v
print("q, k, v", tuple(q.shape), "  weights", tuple(weights.shape), "  out", tuple(mixed.shape))
print("as torch's own:", mixed.allclose(transformer.scaled_dot_product_attention(q, k, v), atol=1e-5))
for axis, name in ((-1, "keys"), (-2, "queries")):
    print(f"softmax over the {name}: weights sum to", [f"{w:.1f}" for w in scores.softmax(axis).sum(-1)[5, 0, :5]])

# %% [markdown]
# The second line is what the public version of the lab does: it takes the softmax over the other axis. We shall see what that does.
#
# **Exercise 9.4.** (Step 3.) Two tokens, one head, $d=4$. The products are $q_1\cdot k_1=2$, $q_1\cdot k_2=0$, $q_2\cdot k_1=4$, $q_2\cdot k_2=1$. The values are the numbers $v_1=2$ and $v_2=-1$. What does token 1 gather? (Three digits.)

# %% tags=["exercise:9.4"]
# BEGIN SOLUTION
out_9_4 = torch.tensor([2 / 4**0.5, 0 / 4**0.5]).softmax(0) @ torch.tensor([2.0, -1.0])
# END SOLUTION
check("9.4", out_9_4)

# %% [markdown]
# **A block** does two things, and adds each to the tokens: attention between tokens, then a small network on each token by itself. Before each, the tokens are normalised to mean 0 and variance 1. Here the time comes in. From $c$, the time's 80 numbers, one matrix makes six vectors: a shift, a scale and a
# **gate** for each half (Peebles and Xie 2023):
#
# $$h\leftarrow h+\text{gate}\odot\text{attention}\big(\text{norm}(h)\odot(1+\text{scale})+\text{shift}\big),\qquad\text{then the same with the small network}$$
#
# ($\odot$: entry by entry.) That matrix starts at zero. **Predict before you run:** what does a new block do to its tokens? The last layer, the **head**, starts at zero too. So what is $\epsilon_\theta$ before training, and what is its ε-error?

# %%
print("a new block changes nothing:", torch.equal(block(h, c), h))
print("largest guess of the new network:", network(xt, t).abs().max().item())
torch.nn.init.normal_(block.modulation.weight, std=0.1)  # open the gates, to look at the block at work
shift, scale, gate, shift_2, scale_2, gate_2 = block.modulation(c).chunk(6, -1)
half = h + gate * block.attention(block.norm(h) * (1 + scale) + shift)
whole = half + gate_2 * block.mlp(block.norm(half) * (1 + scale_2) + shift_2)
print("gate", tuple(gate.shape), "  as the package:", whole.allclose(block(h, c), atol=1e-5))
print(f"numbers to learn: {sum(p.numel() for p in network.parameters()):,}")

# %% [markdown]
# Before training the guess is exactly 0, and the ε-error 1. A new network starts as no network at all, and training opens the gates where that helps.
#
# ## 4 · Train, and watch the floor
#
# **The question.** How good is the network while it learns? Its ε-error splits in two. Write $\epsilon-\epsilon_\theta=(\epsilon-\epsilon^*)+(\epsilon^*-\epsilon_\theta)$ and square. Given $x_t$, the second part is fixed and the first has mean 0. So the mixed term averages to 0 (lesson 06):
#
# $$\tfrac1n\mathbb E\|\epsilon-\epsilon_\theta\|^2=\underbrace{\tfrac1n\mathbb E\|\epsilon-\epsilon^*\|^2}_{\text{floor}}+\underbrace{\tfrac1n\mathbb E\|\epsilon_\theta-\epsilon^*\|^2}_{\text{gap}}$$
#
# The right side is the better way to measure: the gap does not contain the $\epsilon$ of a test signal, so its noise does not enter.
#
# `train` is the loop of lesson 07: draw 128 signals, a $t$ for each, and noise; jump to $x_t$; descend on the squared error (Ho et al., Algorithm 1). Added is what practice adds: the step size rises at first and then falls to 0, the gradient's length is bounded, and `ema` keeps a running average of the weights. Data are drawn anew in each step, so there is nothing to memorise.
#
# **Predict before you run.** Where will the loss be after 100 steps, and where at the end? The dots are floor plus gap of the averaged network. Will they lie above or below the curve, and why?

# %% tags=["nbval-ignore-output"] alt="The training loss against the step on a logarithmic axis: it falls from 1 below 0.05 in the first few hundred steps and then creeps down to just above the dotted line of the floor. The dots of the averaged network lie below the curve up to about step 1500, and then on it."
def gap_to_exact(denoiser, k):
    """The mean square of eps_hat - exact at t = 1..150, on k signals that training never saw."""
    with torch.no_grad():
        guess = denoiser(test_x[:, :k].flatten(0, 1), torch.arange(1, 151).repeat_interleave(k))
    return (guess.view(150, k, 100) - test_exact[:, :k]).square().mean((1, 2))
torch.manual_seed(0)
network, smooth, dots = Transformer(), [1.0], []
ema, (fig, ax) = AveragedModel(network), plt.subplots()
(curve,) = ax.semilogy([], color=colors["noised"], label="training loss, smoothed")
(marks,) = ax.semilogy([], "o", color=colors["model"], label="floor + gap, averaged network")
ax.axhline(best, color=colors["posterior"], linestyle=":", linewidth=3, label=f"floor {best:.3f}")
ax.set(xlabel="step", ylabel="ε-error", xlim=(0, STEPS), ylim=(0.015, 1.2))
ax.legend()
live = display(fig, display_id=True)
plt.close(fig)  # from here on the display above is updated
for step, loss, _ in train(network, ema, data.sample, schedule, steps=STEPS, lr=0.006):
    smooth.append(0.98 * smooth[-1] + 0.02 * loss)
    if step % 100 == 0:
        dots.append((step, best + gap_to_exact(ema, 5).mean().item()))
        curve.set_data(range(step + 1), smooth)
        marks.set_data(*zip(*dots, strict=True))
        ax.set_title(f"step {step}: {dots[-1][1] / best:.2f} times the floor")
        live.update(fig)
assert dots[-1][1] < 1 / 3

# %% tags=["nbval-ignore-output"] alt="ε-error against t on a logarithmic axis. The network's dash-dotted curve lies on the dotted exact one, except at the first few t. The gap, a thin line, is highest at t = 1, more than ten times lower from t = 10 on, and lowest near t = 140."
(fig, ax), gap, ts = plt.subplots(), gap_to_exact(ema, 50), range(1, 151)
ax.semilogy(ts, floor[1:] + gap, "-.", color=colors["model"], label="network")
ax.semilogy(ts, floor[1:], ":", color=colors["posterior"], linewidth=3, label="exact denoiser")
ax.semilogy(ts, gap, color="0.4", linewidth=1, label="gap")
ax.set(xlabel="t", ylabel="ε-error", ylim=(1e-5, 0.1), title="Near the floor; the first steps are worst")
ax.legend(loc="lower left")
plt.show()
print(f"ε-error {1 + gap.mean() / best:.3f} times the floor; gap at t = 1: {gap[0]:.4f}")
assert best + gap.mean() < (0.1 if STEPS < 2500 else 1.15 * best)

# %% [markdown]
# The network ends 5 to 6 % above the best that any network could do. (Twice the steps, 5000 at a rate of 0.004, ended at 3 %.) Look where the rest is. At $t=1$ the gap is largest. There the noise is small ($\sqrt{1-\bar\alpha_1}=0.019$), and to guess it well, one must know the bump's shape to a small part of that.
#
# *In the training plot:* after 100 steps the loss itself is near 0.1 (the smoothed curve is late), after 500 near 0.04. All the rest buys the last factor of 2. The dots lie below the curve at first: the curve is late while the loss falls, and an average of weights has less of the jitter of single steps. (The plot does not tell how much each of the two does.) At the end the step size goes to 0, and they meet.
#
# ## 5 · Sample
#
# The loop of lesson 08, with $\sigma_t^2=\tilde\beta_t$. (Step 4 of the lab prints the outer factor as $1/\sqrt{\bar\alpha_t}$. One step back undoes $\sqrt{\alpha_t}$. Lesson 08, section 2, has the numbers.) **Predict:** will you be able to tell data, samples of the exact denoiser and samples of the network apart?
#
# **Exercise 9.5.** (Step 4.) One entry, $T=2$, $\beta_1=0.19$, $\beta_2=0.36$, $\sigma_t^2=\tilde\beta_t$. The denoiser says $\epsilon_\theta=0.5\,x_t$ at $t=2$ and $\epsilon_\theta=0.2\,x_t$ at $t=1$. From $x_2=1$, with the draws $z=-1$ at $t=2$ and $z=1$ at $t=1$ (if it is needed): which $x_0$ comes out? (Three digits. Python helps.)

# %% tags=["exercise:9.5"]
# BEGIN SOLUTION
x_1 = (1 - 0.36 / 0.4816**0.5 * 0.5 * 1) / 0.64**0.5 + (0.19 / 0.4816 * 0.36) ** 0.5 * (-1)
x0_9_5 = (x_1 - 0.19 / 0.19**0.5 * 0.2 * x_1) / 0.81**0.5
# END SOLUTION
check("9.5", x0_9_5)

# %% tags=["nbval-ignore-output"] alt="Three panels with four signals each: data, samples of the exact denoiser, samples of the network. All show two smooth bumps at random places on a flat line."
sets = {"data": (four, "data"), "exact denoiser": (sample(exact, schedule, (4, 100), generator=seed(1)), "posterior"),
        "network": (sample(ema, schedule, (4, 100), generator=seed(2)), "model")}
fig, axes = plt.subplots(1, 3, figsize=(8.5, 3), sharey=True)
for ax, (name, (x, role)) in zip(axes, sets.items(), strict=True):
    ax.plot(data.grid, x.T - 5 * torch.arange(4), color=colors[role])
    ax.set(title=name, xlabel="place $g_i$", yticks=[])
plt.show()
assert sets["network"][0].isfinite().all()

# %% [markdown]
# ## 6 · A number that catches bad samples
#
# The eye accepts these. It would accept much worse. What should be true of 1000 samples?
#
# 1. **Each is a signal:** two bumps, width 1, on a flat line. Find the places that fit it best, by least squares, and look at the **residual**, the root mean square of what is left. The two bumps do not overlap, so each can be fitted alone. For one bump at $m$ on the line $-1$,
#    $$\|x+1-2b(m)\|^2=\|x+1\|^2+4\,\big(\|b(m)\|^2-b(m)\cdot(x+1)\big)$$
#    so try many $m$ and take the one with the smallest bracket. The residual says in one number what no fit could repair.
# 2. **All together have the right law:** $m_1$ uniform on $[-15,-5]$, $m_2$ on $[5,15]$. The **Kolmogorov-Smirnov test** (KS) takes the largest distance between the share of samples below $m$ and the share that there should be. Its p is the probability that honest draws show a distance at least as large. So small p means: wrong law. (With an honest sampler p is below 0.01 once in a hundred tests.)
#
# Call a curve **good** if its residual is below 0.01, half a percent of a bump's height of 2. (We set this limit after a first look, between what the trained network leaves, 0.0035, and the noise of level 1, 0.019.) "Within 3 times the exact denoiser's residual" sounds more natural, but no sample of ours meets that at $x_0$: the last step of the exact denoiser returns a mean over signals that are
# all alike, so its residual is nearly 0 (what is measured is the grid of the fit). At $x_1$, with the noise of the first level still on it, the comparison is fair. Both shares are printed.

# %%
def fit_bumps(x):
    """The best places, (B, 2), and the residual of each signal, (B,)."""
    places, m, fitted = [], torch.arange(2, 18, 0.002, dtype=torch.float64), -1.0
    for side in (-1, 1):
        b = data.bump(side * m)  # (8000, n): the bump at each place
        j = (b.square().sum(1) - (x.double() + 1) @ b.T).argmin(1)
        places, fitted = [*places, side * m[j]], fitted + 2 * b[j]
    return torch.stack(places, 1), (x - fitted).square().mean(1).sqrt()
*_, (_, x1), (_, x0) = p_sample_loop(exact, schedule, (300, 100), generator=seed(7))
exact_residual = fit_bumps(x0)[1].median(), fit_bumps(x1)[1].median()
known, _ = fit_bumps(2 * data.bump(torch.tensor([[-12.34, 6.78]])).sum(1) - 1)
print("places -12.34, 6.78; found", *(f"{m:.2f}" for m in known[0]))
print(f"exact denoiser: residual {exact_residual[0]:.3f} at x_0, {exact_residual[1]:.3f} at x_1")

# %% tags=["nbval-ignore-output"]
for s in (0, 1, 2):
    states = dict(p_sample_loop(ema, schedule, (COUNT, 100), generator=seed(s)))
    (places, residual), (_, residual_1) = fit_bumps(states[0]), fit_bumps(states[1])
    p = [kstest(places[:, i].numpy(), uniform((-15, 5)[i], 10).cdf).pvalue for i in (0, 1)]
    rules = (residual, 0.01), (residual, 3 * exact_residual[0]), (residual_1, 3 * exact_residual[1])
    good, near, near_1 = ((r < limit).double().mean() for r, limit in rules)
    print(f"seed {s}: KS p {p[0]:.3f}, {p[1]:.3f}; residual {residual.median():.4f}, good {good:.1%},", end=" ")
    print(f"within 3 times the exact {near:.1%} at x_0, {near_1:.1%} at x_1")
    assert STEPS < 2500 or (min(p) > 0.01 and good >= 0.99)
print(f"residual to expect from the gap at t = 1: {(gap[0] * (1 - alpha_bar[1]) / alpha_bar[1]).sqrt():.4f}")

# %% [markdown]
# 99.8 % good or more, and no law rejected, in three runs of three. The last line explains most of the residual. The sampler returns the guess of $x_0$ at $t=1$, and an error of $\epsilon_\theta$ moves that guess by $\sqrt{1-\bar\alpha_1}/\sqrt{\bar\alpha_1}$ times as much (lesson 06).
#
# ## 7 · Three broken versions
#
# Each of these is a slip of the public version of the lab, or a close relative:
#
# * **axis:** the softmax runs over the queries, not over the keys. Two networks are trained for 200 steps, one with the slip and one without.
# * **prior:** the paper's $\beta$ from 0.0001 to 0.02 in 50 steps. Then $\bar\alpha_T=0.60$, and sampling starts from $\mathcal N(0,\mathbf I)$ all the same. Right would be a start from $q(x_T)$. Both with the exact denoiser.
# * **end:** the list of times ends one too early, at $t=2$, so that $x_1$ is returned. Right is $x_0$. With our trained network.
#
# The code makes them and shuffles them. The figure calls them A, B and C. Each row: three samples; residuals; places (0 and 1 are the ends of the intervals); the mean of $x_t$ on the way. Grey is the right version, orange the broken one.
#
# (Every guess of $x_0$ is clipped to $[-1,1]$, so that a bad network cannot run away. For the exact denoiser that changes nothing.)
#
# **Predict before you run.** Which column will show which slip? **After it:** which letter is which?

# %% tags=["nbval-ignore-output"]
def over_queries(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v
def short_training():
    torch.manual_seed(1)
    average = AveragedModel(net := Transformer())
    list(train(net, average, data.sample, schedule, steps=TWIN, lr=0.004, seed=1))
    print(f"{TWIN} steps: {1 + gap_to_exact(average, 10).mean() / best:.2f} times the floor")
    return average
def walk(denoiser, xT, schedule=schedule):  # [(T, x_T), ..., (0, x_0)]
    return list(p_sample_loop(denoiser, schedule, xT=xT, clip=1.0, generator=seed(5)))
z, few = torch.randn((COUNT * 3 // 10, 100), generator=seed(4)), linear_schedule(50)
fair, few_exact = q_sample(data.sample(len(z), seed(6)), 50, few, noise=z), data.denoiser(few)
with patch.object(transformer, "scaled_dot_product_attention", over_queries):
    axis = walk(short_training(), z)
prior, end = walk(few_exact, z, few), walk(ema, z)
pairs = (axis, walk(short_training(), z)), (prior, walk(few_exact, fair, few)), (end[:-1], end)
assert axis[-1][1].isfinite().all()

# %% tags=["nbval-ignore-output"] alt="A table of plots, rows A, B and C, columns samples, residuals, places and mean of x_t. In one row the residuals are five times too large. In one row the places pile up at both ends and the mean starts at 0 where it should start at -0.6. In one row grey and orange nearly agree in every column."
fig, axes = plt.subplots(3, 4, figsize=(7, 3.9))
for letter, k, row in zip("ABC", torch.randperm(3, generator=seed(5)), axes, strict=True):
    row[0].plot(data.grid, pairs[k][0][-1][1][:3].T - 5 * torch.arange(3), color=colors["model"], linewidth=1)
    plt.setp(row, yticks=[], ylabel=f"{letter} ")
    for states, look in zip(pairs[k][::-1], ("0.7", colors["model"]), strict=True):
        places, residual = fit_bumps(states[-1][1])
        style = {"color": look, "histtype": "stepfilled" if look == "0.7" else "step", "linewidth": 2}
        row[1].hist(residual.clamp(1e-4, 1).log10(), 32, range=(-4, 0), **style)
        row[2].hist(((places - torch.tensor([-15, 5])) / 10).flatten(), 10, range=(0, 1), **style)
        row[3].plot(*torch.tensor([(t, x.mean()) for t, x in states]).T, color=look, linewidth=5 if look == "0.7" else 1.5)
    row[3].set(xlim=(states[0][0], 0), ylim=(-0.8, 0.1), yticks=[-0.5, 0])
for ax, name in zip(axes[0], ("samples", "log10 residual", "places", "mean of $x_t$"), strict=True):
    ax.set_title(name, fontweight="normal")
plt.show()

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# **A is *end*.** The residual gives it away: 0.019, the noise of level 1, against 0.0035. In the samples it is hard to see. (The exact denoiser at $x_1$ has the same residual.) Places and mean are as they should be.
#
# **B is *prior*.** The mean of $x_t$ starts at 0 in place of $-0.6$. The samples hide it: the exact denoiser still ends on two perfect bumps, with a residual that is the fit's own. Only their law is off: too many stand at the ends of the intervals. (Our explanation, which we did not test: without a signal at the start, the highest peak of the noise chooses the place, and within an interval the highest point is often at an end.) With the lab's own $T=150$ ($\bar\alpha_T=0.22$) this is small. We ran it: 1000 samples gave p between 0.005 and 0.81 in four tests, 3000 samples gave 0.03 and 0.0005.
#
# **C is *axis*.** Both networks are poor after 200 steps, and nearly equally so. We also trained both for 5000 steps at a rate of 0.004, once: with the slip 1.037 times the floor, without it 1.034, residuals of 0.0023 against 0.0022, and p = 0.24 and 0.26 from 500 samples. The network learns around the slip. It is a fault all
# the same: a token's weights then depend on the queries of all the others. In another network or with more tokens it may cost more.
#
# (A fourth slip, to try: ask the trained network about $t-1$ instead of $t$, and about 1 at $t=1$. In one run of 1000 samples, of a network trained so, its residual, 0.0018, and its p, 0.22 and 0.81, looked as good as those of the right version.)
#
# </details>

# %% [markdown]
# One of the three hardly leaves a trace: *axis*. Its network, printed first above, is a little worse than its twin after 200 steps, for this one seed. After 60 steps it was a little better, 7.7 against 7.8 times the floor. Then a plot is the wrong tool. **Q.** What do you know about attention that must hold for **every** input, and that you could test in one line? (Section 3 says it.)

# %%
q, k = torch.randn((2, 10, 20), generator=seed(0))
for name, attention in (("keys", transformer.scaled_dot_product_attention), ("queries", over_queries)):
    print(f"softmax over the {name:8s}", [f"{out:.2f}" for out in attention(q, k, torch.ones(10, 20))[:6, 0]])

# %% [markdown]
# An average of ones is 1. With the softmax over the queries it is not, because a token's weights do not sum to 1. The test needs no training and no data. It finds at once what 5000 steps of training and their samples did not show.
#
# ## What to remember
#
# * Know the floor before you train: the ε-error of the exact denoiser. With little noise it is about (degrees of freedom) / (entries). A loss alone means nothing.
# * ε-error = floor + gap. Measure the gap.
# * Tokens, position, time, attention, a small network: adaptive layers that start at zero.
# * Judge samples with numbers: a residual for each, a law for all. Eyes let too much pass.
# * Some slips show in no plot that we drew. Test what must hold for every input.
#
# **Next:** [10 MNIST with a UNet](10_unet.ipynb). The same lab in one dimension: [09b](09b_small_lab.ipynb).
#
# **References.** Vaswani et al. 2017, *Attention Is All You Need*, Sections 3.2 and 3.5. Peebles and Xie 2023, *Scalable Diffusion Models with Transformers*, Section 3.2 (adaLN-Zero). Ho et al. 2020, Eq. 14, Algorithms 1 and 2. Lecture 004, Lab 1.
