# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · A UNet draws digits
#
# **You will do.** Lecture 004's second lab. Train a small UNet on real images, in about three minutes. Watch digits appear, first small ones, then MNIST from a network that comes with this package. Then measure how good they are.
#
# **You will learn.** How a UNet is built and why it has skips. At which $t$ the network works. Why a short chain can explode, and what clipping does about it. Why a number about samples means nothing without the same number for real images.
#
# **You will need.** The forward jump (02), the cosine schedule (03), the bound (04b), the simple loss (07), the sampling loop and its short form (08), the time waves and attention (09).
#
# Lecture 004: "Lab 2 : DDPM for images", "Datasets". (The slides show only the title of Lab 2. "The lab" below means its public notebook.) Lecture 000: "Choice of beta_t: linear and cosine", "Training". Ho et al. 2020: Eq. 13, 14 and 15, Algorithms 1 and 2, Section 4 and Appendix B.

# %%
import os

import matplotlib.pyplot as plt
import torch
from IPython.display import display
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from ddpm_lesson import cosine_schedule, evaluate, labs, plots, sample
from ddpm_lesson.checks import check
from ddpm_lesson.data import digits
from ddpm_lesson.models import UNet, classifier, load_notes, load_weights, transformer
from ddpm_lesson.train import sample_losses, train

SMOKE = bool(os.environ.get("SMOKE"))  # a short run, for tests
STEPS, COUNT, LONG = (60, 100, 100) if SMOKE else (1500, 400, 1000)
seed, colors, schedule = torch.Generator().manual_seed, plots.COLORS, cosine_schedule(1000)

# %% [markdown] tags=["claim:mnist-dimension"]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $(B,C,H,W)$ | | a batch of $B$ images with $C$ values per pixel, $H$ rows and $W$ columns; here $C=1$ |
# | $\epsilon_\theta(x_t,t)$ | `network`, `ema` | the network's guess of the noise; `ema` is the running average of its weights (lesson 09) |
# | $x_{0\mid t}$ | | the guess of the clean image that $\epsilon_\theta$ implies |
# | ε-error | | mean squared error of a guess of $\epsilon$, per pixel |
# | $h$, $c$ | `h`, `c` | what flows through the network: images with many channels; the time, as numbers |
# | $\lambda_k$ | `eigenvalues` | eigenvalues of the data's covariance: the variance in each of its main directions |
# | FD | `frechet_distance` | Fréchet distance of two sets, section 6 |
#
# ## 1 · Real images
#
# **The question.** At which $t$ can nobody tell any more which digit it was?
#
# Two sets. The **digits** of scikit-learn: 1797 images of $8\times8$, so $d=64$. They come with the library and train on any laptop. **MNIST**: 60,000 images of $28\times28$, so $d=784$. (Lecture 004, "Datasets", has $N_x\times N_y\times3$. That counts three colours; these images have one grey value per pixel.)
#
# Both are scaled to $[-1,1]$, background $-1$. All constants of the course assume values of about this size. Images left in $[0,1]$ are the first classic slip of this lab: the same $\bar\alpha_t$ then leaves less signal, and $-1$ is no longer the background that the sampler clips to.
#
# Of the 1797 digits 1500 are for training. The other 297 are **held out**: no network sees them.
#
# Who is the best reader of noised digits? One who weighs all training digits by how well they explain $x_t$ (the weights of lesson 08, section 9) and says the class with the largest sum. That reader is exact if the digits to be read are drawn from the training set. For new ones it is a good stand-in.
#
# **Predict before you run.** Write down before you look at the strip below: at which $t$ does this reader still get half of the held-out digits right? What will it get at $t=1000$?

# %% alt="Two digits, noised at t = 0, 100, …, 1000. They are clear up to t = 200 or 300, hard to see from 400 on and gone at 800. Under each column t, alpha-bar and the share of held-out digits read correctly, from 99 percent down to 8 percent."
images, labels = digits()
known, new = torch.randperm(1797, generator=seed(0)).split([1500, 297])  # to train on; held out
train_x, new_x = images[known].flatten(1).double(), images[new].flatten(1).double()
noise, strip, names = torch.randn((297, 64), generator=seed(3)).double(), [], []
for t, ab in zip(range(0, 1001, 100), schedule.alpha_bar[::100], strict=True):
    xt = ab.sqrt() * new_x + (1 - ab).sqrt() * noise
    exponent = -(torch.cdist(xt, ab.sqrt() * train_x) ** 2) / (2 * (1 - ab).clamp(min=1e-4))
    read = ((exponent.softmax(1) @ F.one_hot(labels[known]).double()).argmax(1) == labels[new]).double().mean()
    strip.append(xt[[0, 5]].view(2, 1, 8, 8))
    names.append(f"{t}\n{ab:.2f}\n{read:.0%}")
fig, ax = plt.subplots(figsize=(7.5, 2.4))
plots.draw_images(torch.stack(strip, 1), ax, columns=names)
ax.set(xlabel="$t$, $\\bar\\alpha_t$, share of held-out digits read", title="About half can still be read at $\\bar\\alpha_t=0.2$")
plt.show()

# %% [markdown]
# About half at $t=700$, where $\bar\alpha_t$ is 0.2. At $t=1000$ the reader guesses, one in ten. (A share of 297 digits is uncertain by up to 3 %.) Your eyes may give up earlier: they do not know the 1500 digits by heart. So which digit it will be is decided mostly between $t=1000$ and $t=400$. The steps below 300 only finish it.
#
# **Exercise 10.1.** The loss of the lab. `x0` and `eps` are $(B,1,H,W)$, `t` is $(B,)$, in $1..T$. Jump to $x_t$, ask the network, compare with the noise. Return one loss per image: the mean over its pixels. What shape must $\bar\alpha_t$ have? (A tensor of shape $(B,)$ times one of shape $(B,1,H,W)$: torch aligns the **last** axes. If $W=B$ it does not complain, and is wrong. With $B=1$ it is right by luck, so a test with one image shows nothing.)

# %% tags=["exercise:10.1"]
def image_loss(network, x0, t, eps, alpha_bar):  # alpha_bar: (T+1,). Returns (B,)
    # BEGIN SOLUTION
    ab = alpha_bar[t][:, None, None, None]  # (B, 1, 1, 1)
    xt = ab.sqrt() * x0 + (1 - ab).sqrt() * eps
    return (network(xt, t) - eps).square().mean((1, 2, 3))
    # END SOLUTION
check("10.1", image_loss)

# %% [markdown]
# ## 2 · The network, one block at a time
#
# **The question.** The guess of the noise has a value for every pixel. To tell noise from a stroke, the network must look at the neighbours. To know which strokes belong there, it must see the whole digit. How can it do both?
#
# * A **convolution** makes each new pixel from its $3\times3$ neighbourhood, with the same weights everywhere. One sees far only after many of them.
# * **Halving** the sides brings far pixels near each other: at $7\times7$ three convolutions reach from the middle to every edge. But halving loses where exactly a stroke was.
# * So the way down keeps a copy at each size, and the way up gets it back beside what comes from below: the **skip**. Drawn with the sizes downwards, the way is a U (Ronneberger et al. 2015).
#
# ```text
# 28×28   stem ─ block ──────────────── skip ──────────────── block ─ head
#                  └ halve                           double ┘
# 14×14              block ──────────── skip ──────────── block
#                      └ halve                   double ┘
#  7×7                   block ──────── skip ──────── block
#                          └─ block ─ look ─ block ─┘
# ```
#
# **Look** is the attention of lesson 09 with one token per pixel: at $7\times7$ these are 49 tokens, which is cheap. At $28\times28$ there would be 784, and 256 times as many pairs.
#
# The cell runs the parts of the package's MNIST network by hand, on two images. (Its weights come with the package, section 5.) **Predict before you run:** how many channels come out of `cat` each time? And could $7\times7$ be halved once more, and doubled back?

# %%
unet, skips = load_weights("mnist_unet"), []
xt, t = torch.randn((2, 1, 28, 28), generator=seed(4)), torch.tensor([700, 300])
c, h = unet.time(transformer.waves(t, 32)), unet.stem(xt)
for level, (block,) in enumerate(unet.down):
    h = block(unet.halve[level - 1](h) if level else h, c)
    skips.append(h)
    print("down", tuple(h.shape))
for part in unet.middle:  # block, look, block
    h = part(h, c)
for (block,) in unet.up:
    joined = torch.cat([F.interpolate(h, size=skips[-1].shape[2:]), skips.pop()], 1)  # doubled, but for the first
    h = block(joined, c)
    print("up  ", tuple(h.shape), "  made of", tuple(joined.shape))
eps_hat = unet.head(F.silu(unet.norm(h)))
print("eps ", tuple(eps_hat.shape), "  as the package:", torch.allclose(eps_hat, unet(xt, t), atol=1e-5))

# %% [markdown]
# The halving is a $3\times3$ convolution that moves two pixels at a time, with a border of one pixel of zeros. It makes $\lfloor(n-1)/2\rfloor+1$ pixels of $n$. So $28\to14\to7\to4$, and 4 doubled is 8: the skip of side 7 would not fit. A side must be divisible by 2 once per halving. $28=4\cdot7$ allows two.
#
# **A block** adds to $h$ what two convolutions make of it. `norm` is **group norm**: the channels form 8 groups, and each group of each image gets mean 0 and variance 1. $\text{SiLU}(x)=x/(1+e^{-x})$ bends. A small network makes $c$ of the waves of $t$. The time enters **in every block**: a linear map of $c$ gives each channel a scale and a shift.
# Why everywhere? At $t=900$ a bright spot is noise, at $t=10$ it is ink. Every layer should know which question it answers.
#
# $$h\ \leftarrow\ \text{skip}(h)+\text{conv}_2\Big(\text{SiLU}\big(\text{norm}(h')\odot(1+\text{scale})+\text{shift}\big)\Big),\qquad h'=\text{conv}\big(\text{SiLU}(\text{norm}(h))\big)$$
#
# ($\odot$: channel by channel.) This skip is inside the block: the identity, or a $1\times1$ convolution where the number of channels changes. $\text{conv}_2$ and the head start at zero: a new network guesses 0 (lesson 09). The cell runs the last block on the way up once more, from the inside.
#
# **Predict before you run.** Which part holds most of the numbers to learn: the full size, where the image has most pixels, or the small sizes?

# %%
shift, scale = block.modulation(c)[..., None, None].chunk(2, 1)  # of the last block on the way up
inner = block.norm_2(block.conv(F.silu(block.norm(joined)))) * (1 + scale) + shift
inner = block.skip(joined) + block.conv_2(F.silu(inner))
print("scale", tuple(scale.shape), "  as the package:", torch.allclose(inner, h, atol=1e-5))
for side, level in ((28, 0), (14, 1), (7, 2)):
    parts = [unet.down[level], unet.up[2 - level], *([unet.middle] if side == 7 else [])]
    n, total = (sum(p.numel() for part in some for p in part.parameters()) for some in (parts, [unet]))
    print(f"blocks at {side:2d}×{side:<2d}: {n:9,} numbers to learn, {n / total:3.0%} of all")

# %% [markdown]
# Nearly three quarters sit at $7\times7$, where the image has 49 pixels; 5 % at the full size. A $3\times3$ convolution from $a$ channels to $b$ has $9ab$ weights, whatever the size of the image, and the small sizes have the many channels. From 112 to 112 that is 112,896; from 32 to 32 it is 9,216.
#
# **Exercise 10.2.** The waves of $t$: lesson 09 wrote them with cosines first. Ho et al.'s own code has the sines first, and its slowest wave has exactly the speed $1/10000$:
#
# $$\big(\sin w_0t,\dots,\sin w_{m-1}t,\ \cos w_0t,\dots,\cos w_{m-1}t\big),\qquad w_i=10000^{-i/(m-1)},\quad m=n/2$$
#
# `t` is $(B,)$, `n` is even and at least 4, and the result is $(B,n)$.

# %% tags=["exercise:10.2"]
def waves_of_ho(t, n):  # t: (B,). Returns (B, n)
    # BEGIN SOLUTION
    w = 10000.0 ** (-torch.arange(n // 2) / (n // 2 - 1))
    return torch.cat([(t[:, None] * w).sin(), (t[:, None] * w).cos()], 1)
    # END SOLUTION
check("10.2", waves_of_ho)

# %% [markdown]
# **Exercise 10.3.** A UNet with 24 channels at the full size and 40 below. On the way up, the 40 channels are doubled in size, joined with the skip, and a block makes 24 channels of them. How many numbers does the **first** $3\times3$ convolution of this block learn, biases included?

# %% tags=["exercise:10.3"]
# BEGIN SOLUTION
numbers_10_3 = (40 + 24) * 24 * 9 + 24
# END SOLUTION
check("10.3", numbers_10_3)

# %% [markdown] tags=["claim:training-algorithm"]
# ## 3 · Train it, and ask where the work is
#
# **The question.** For real images nobody knows the best possible loss. (In lesson 09 we knew the floor.) So what is a good loss?
#
# A bar from the other side: the best guess that is **linear**, a matrix times $x_t$ plus a constant. It needs no network. Turn the axes into the main directions of the data's covariance. In direction $k$, $x_t$ holds signal of variance $\bar\alpha_t\lambda_k$ and noise of variance $1-\bar\alpha_t$, uncorrelated.
# The best multiple guesses $\epsilon$ by $\frac{\sqrt{1-\bar\alpha_t}}{\bar\alpha_t\lambda_k+1-\bar\alpha_t}$ times the centred $x_t$. Its error is 1 minus the noise's share of that sum: the signal's share. (For Gaussian data this is the best guess of all: lesson 01, section 4.)
#
# $$\text{ε-error}_t=\frac1d\sum_{k=1}^d\frac{\bar\alpha_t\lambda_k}{\bar\alpha_t\lambda_k+1-\bar\alpha_t}$$
#
# How far a network comes below this bar is what it knows about digits beyond means and covariances.
#
# The training is Ho et al.'s Algorithm 1 with $T=1000$: 64 digits per step, AdamW, a rate that rises to 0.003 and falls again, and the average `ema`. The network is `UNet(widths=(32, 64))`, for $8\times8$ and $4\times4$. (`python -m ddpm_lesson.train digits` trains the same network twice as long, at a lower rate, on all 1797 digits.)
#
# **Predict before you run.** How far below the bar will it come: 5 %, a third, or to nearly 0? After how many steps would *you* call the samples digits?

# %%
eigenvalues, ab = torch.linalg.eigvalsh(train_x.T.cov()), schedule.alpha_bar[1:, None]  # (64,), (1000, 1)
linear = (ab * eigenvalues / (ab * eigenvalues + 1 - ab)).mean(1)
bar = linear.mean().item()
print(f"best linear guess: ε-error {bar:.3f} on average, {linear[0]:.2f} at t = 1, {linear[499]:.2f} at t = 500")

# %% tags=["nbval-ignore-output"] alt="Left: the training loss falls from 1 below the dashed bar of the linear guess after about 200 steps and ends at about 0.6 of it. Right: the same six samples after each quarter of the training; most of them digits from the first quarter on; later five change little, and the sixth becomes another shape."
torch.manual_seed(0)
ema, smooth, grown = AveragedModel(network := UNet(widths=(32, 64))), [1.0], torch.full((4, 6, 1, 8, 8), -1.0)
fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 2.6), width_ratios=(3, 2))
(curve,) = left.semilogy([], color=colors["noised"], label="training loss, smoothed")
left.axhline(bar, color="0.5", linestyle="--", label=f"best linear guess, {bar:.3f}")
left.set(xlabel="step", ylabel="ε-error", xlim=(0, STEPS), ylim=(0.1, 1.1), title="Past any linear guess early on")
left.legend()
table = plots.draw_images(grown, right, rows=[f"step {STEPS // 4 * k}" for k in (1, 2, 3, 4)])
picture = display(fig, display_id=True)
plt.close(fig)  # the display above is updated from now on
for step, loss, _ in train(network, ema, images[known], schedule, steps=STEPS, batch=64, lr=3e-3, decay=0.995):
    smooth.append(0.98 * smooth[-1] + 0.02 * loss)
    if step % (STEPS // 4) == 0:
        grown[step * 4 // STEPS - 1] = sample(ema, schedule, (6, 1, 8, 8), steps=50, clip=1.0, generator=seed(7))
        plots.draw_images(grown, right, artists=table)
    if step % (STEPS // 20) == 0:
        curve.set_data(range(len(smooth)), smooth)
        picture.update(fig)
print(f"training loss {smooth[-1]:.3f}: {smooth[-1] / bar:.2f} of the best linear guess")
assert smooth[-1] < (0.9 if SMOKE else 0.75 * bar)

# %% [markdown]
# It passed the linear guess within 200 steps (the smoothed curve is late), and ends some 40 % below it. After 375 steps most of the six are digits.
#
# **Predict before you run.** The same error, split by $t$, of the averaged network. Where is it largest? At which $t$ does the network beat the linear guess, and where not? And how far apart are training digits and held-out digits?

# %% tags=["nbval-ignore-output"] alt="Error against t for held-out and for training digits, close together, falling from 0.5 at small t to 0 at large t. The dashed best linear guess starts at 0.8, far above them, and meets them at about t = 650."
t, noise = torch.arange(5940) * 1000 // 5940 + 1, torch.randn((5940, 1, 8, 8), generator=seed(6))
fig, ax = plt.subplots()
ax.plot(range(25, 1001, 50), linear.view(20, 50).mean(1), "--", color="0.5", label="best linear guess")
for name, rows, style, role in (("held-out", new, "o-", "model"), ("training", known[:297], "-", "data")):
    with torch.no_grad():  # 20 visits of each digit, the k-th with t in 50 k - 49 .. 50 k
        losses = sample_losses(ema, images[rows].repeat(20, 1, 1, 1), t, noise, schedule)
    ax.plot(range(25, 1001, 50), losses.view(20, 297).mean(1), style, color=colors[role], label=f"{name} digits")
    mean, error = losses.mean(), losses.view(20, 297).mean(0).std() / 297**0.5
    print(f"{name} digits: {mean:.3f} ± {error:.3f} on average, {mean / bar:.2f} of the linear guess")
    assert mean < (1 if SMOKE else 0.7 * bar)
ax.set(xlabel="t", ylabel="ε-error", title="The network's own work is at small and middle t")
ax.legend()
plt.show()

# %% [markdown]
# Read it from the right. At large $t$ nearly all of $x_t$ is noise, and a linear guess says so as well as the network: from about $t=650$ on the two agree. At small $t$ the error is largest, although the image is hardly noised: $\epsilon$ enters it with the small factor $\sqrt{1-\bar\alpha_t}$, and looks like the small differences of grey between real digits. There, and at middle $t$, the network knows much that means and covariances do not tell.
#
# The training digits lie a little lower than the held-out ones, on average: a little overfitting (section 6 sees it, too). A network that knew them by heart would look different. The exact minimiser of the training loss has an error near 0 on training digits at small $t$, and a large one on new digits (lesson 08, section 9).
#
# ## 4 · Sample: 1000 steps, 50 steps, and a clip
#
# **The question.** 1000 steps cost 1000 calls of the network. Are 50 enough?
#
# The short chain of $S$ steps of lesson 08, section 6, visits $t_i=\lfloor iT/S\rfloor$, $i=0..S$, and takes $\beta'_i=1-\bar\alpha_{t_i}/\bar\alpha_{t_{i-1}}$. The network is the same, because it was trained at all $t$. It is a bridge to faster samplers, which also visit few $t$.
#
# **Exercise 10.4.** $T=5$, and $\bar\alpha_0..\bar\alpha_5$ are 1, 0.9, 0.7, 0.5, 0.2, 0.05. A chain of $S=2$ steps: what are $\beta'_1$ and $\beta'_2$? (A pair, three digits.)

# %% tags=["exercise:10.4"]
# BEGIN SOLUTION
betas_10_4 = (1 - 0.7, 1 - 0.05 / 0.7)
# END SOLUTION
check("10.4", betas_10_4)

# %% [markdown]
# **Predict before you run.** Five rows, from the same eight starts $x_T$ and the same stream of noise. First: all 1000 steps. Second: 50 steps. Third: 50 steps with $\sigma_t^2=\beta_t$ in place of $\tilde\beta_t$. In these three the guess $x_{0\mid t}$ is clipped to $[-1,1]$ in every step. Fourth and fifth: as the first and the second, without the clip. Which rows will show the same digits? Will you see which row is which?

# %% tags=["nbval-ignore-output"] alt="Five rows of eight samples. The first four rows show digits of similar quality. Rows two and three are nearly the same, and so are rows one and four, 1000 steps with and without the clip. The last row, 50 steps without the clip, is black and white pixels without any meaning."
xT, hows = torch.randn((8, 1, 8, 8), generator=seed(1)), {
    f"{LONG} steps": {"steps": LONG, "clip": 1.0}, "50 steps": {"steps": 50, "clip": 1.0},
    "50, σ² = β": {"steps": 50, "clip": 1.0, "sigma": "beta"}, f"{LONG}, no clip": {"steps": LONG}, "50, no clip": {"steps": 50}}
drawn = torch.stack([sample(ema, schedule, xT=xT, generator=seed(2), **how) for how in hows.values()])
fig, ax = plt.subplots(figsize=(6, 4))
plots.draw_images(drawn, ax, rows=list(hows))
ax.set_title("50 steps do as well to the eye, but not without the clip")
plt.show()
print("largest value in each row:", *(f"{x.abs().max():.3g}" for x in drawn))
assert drawn[:3].abs().max() < 1.001 and drawn[4].abs().max() > 10

# %% [markdown]
# Rows two and three use the same noise in the same places, and the two choices of $\sigma_t$ hardly differ except in the last few steps, where both are small (lesson 07): nearly the same digits (to the eye). Row one uses 1000 draws of it, and makes other digits from the same starts: the noise decides more than the start (lesson 08, section 5). Row four has the noise of row one, and nearly its digits: in 1000 steps the clip changes little.
#
# **What happened in the last row?** Row four did well without the clip. $x_{0\mid t}=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon_\theta)/\sqrt{\bar\alpha_t}$. So an error of $\epsilon_\theta$ is multiplied by $\sqrt{1-\bar\alpha_t}/\sqrt{\bar\alpha_t}$ in the guess (lesson 06). And the step then takes the guess with the weight
# $\sqrt{\bar\alpha_{t-1}}\,\beta_t/(1-\bar\alpha_t)$ of lesson 05. **Predict** the first factor at $t=1000$: 20, 600 or 20,000?

# %% tags=["nbval-ignore-output"]
ab, factor = schedule.alpha_bar, schedule.snr[1000] ** -0.5
error = (ema(xT, torch.full((8,), 1000)) - xT).detach().square().mean().sqrt()  # x_T is ε, but for 0.00005 of it
for first in (999, 980):  # where the first step lands, of 1000 or of 50
    weight = ab[first].sqrt() * (1 - ab[1000] / ab[first]) / (1 - ab[1000])
    print(f"to t = {first}: error {error:.3f} times {factor:.3g} times {weight:.2g} = {error * factor * weight:.2g}")

# %% [markdown]
# The network's error at $t=1000$ is small, less than 0.03. The factor is 20,000, and in the short chain the first step makes more than 10 of this error, beside noise of size 1. The network never saw such an $x_{980}$, and all that follows is lost. In the long chain the first step makes less than 1 of it, and 999 small steps follow that can repair it: row four shows digits.
#
# The **clip** cuts this at the root: pixels are in $[-1,1]$, so a guess outside is certainly wrong. It is a choice of its own. Algorithm 2 of the paper does not have it (the authors' code does). With an exact denoiser it would change nothing: a mean of images is inside already (lesson 08). It repairs the network's error, where the cosine schedule's tiny
# $\bar\alpha_T$ blows it up. Ask of every sampler: is there a clip?
#
# **Exercise 10.5.** The clipped guess $x_{0\mid t}$, for images `xt` and `eps_hat` of shape $(B,1,H,W)$. A batch of one must stay $(1,1,H,W)$. (`squeeze()` drops **every** axis of length 1. A sampler that uses it works with 16 images and breaks with one.)

# %% tags=["exercise:10.5"]
def clipped_guess(xt, eps_hat, alpha_bar_t):  # alpha_bar_t: a number
    # BEGIN SOLUTION
    return ((xt - (1 - alpha_bar_t) ** 0.5 * eps_hat) / alpha_bar_t**0.5).clamp(-1, 1)
    # END SOLUTION
check("10.5", clipped_guess)

# %% [markdown] tags=["claim:refinement-view"]
# ## 5 · MNIST, from a checkpoint or on your GPU
#
# The full lab: the same loop, `UNet(widths=(32, 64, 112))`, MNIST. **On a CPU this lesson does not train on MNIST**, because that takes too long for a lesson. **It loads the weights that come with the package**, trained on the 60,000 training images. Where there is a GPU, the cell below first trains (and downloads MNIST). That branch could not be run where this lesson was built. By hand:
#
# ```text
# python -m ddpm_lesson.train mnist                # one GPU
# accelerate launch -m ddpm_lesson.train mnist     # several: each takes its share of the batch
# ```
#
# Sixteen digits in 50 steps, and what the network believed on the way. Read the film in pairs: above $x_t$, below the guess $x_{0\mid t}$ (Ho et al. Eq. 15).
#
# **Predict before you run.** Which is settled first, where the ink lies or how the strokes run? To measure it, compare the guess with the final image, once in the means of squares of $4\times4$ pixels, and once pixel by pixel. The code prints the share that the guess **explains**: 1 minus its squared difference from the final image, over the square of the final images' own deviations from their mean. (From $t=860$ on, left to right. 1 is all.)

# %% tags=["nbval-ignore-output"] alt="Above: sixteen handwritten digits drawn by the network. Below: for the first of them x_t and the guess at eight times. The guess is a black and white pattern at t = 1000, a blurred shape at 860, and a digit with clear strokes at 440, where x_t is still grainy."
if torch.cuda.is_available() and not SMOKE:
    labs.main(["mnist", "--folder", "runs/mnist"])  # some minutes; if stopped, it goes on from where it was
    unet = load_weights("runs/mnist/mnist_unet.safetensors")
film, times = {}, range(1000, 0, -140)
def watched(xt, t):
    eps_hat, ab = unet(xt, t), schedule.alpha_bar[t].float()[:, None, None, None]
    film[int(t[0])] = torch.stack([xt, ((xt - (1 - ab).sqrt() * eps_hat) / ab.sqrt()).clamp(-1, 1)])
    return eps_hat
drawn = sample(watched, schedule, (16, 1, 28, 28), steps=50, clip=1.0, generator=seed(10))
whole = torch.cat([drawn.view(2, 8, 1, 28, 28), torch.stack([film[t][:, 0] for t in times], 1)])
fig, ax = plt.subplots(figsize=(6.5, 3.7))
plots.draw_images(whole, ax, rows=["samples", "", "$x_t$", "$x_{0|t}$"], columns=[f"t = {t}" for t in times])
ax.set_title("Sixteen MNIST digits in 50 steps; below, how the first one came")
plt.show()
for size in (4, 1):
    spread = F.avg_pool2d(drawn - drawn.mean(0), size).square().mean()
    shares = [1 - F.avg_pool2d(film[t][1] - drawn, size).square().mean() / spread for t in times[1:]]
    print(f"means of {size}×{size} pixels explained:", *(f"{share:6.2f}" for share in shares))
assert drawn.abs().max() < 1.001

# %% [markdown]
# First the shape, then the strokes: on the way, the guess explains more of the coarse means than of the single pixels. At $t=1000$ the first guess is useless, as section 4 said: the clip leaves a pattern of black and white.
#
# ## 6 · How good are they?
#
# **The question.** They look like digits. Can that be measured?
#
# **A judge.** A small convolutional classifier, trained on the same 1500 digits. Its last layer but one has 64 numbers, its **features**. From it:
#
# * *Confidence:* the share of samples to which it gives one class at least 90 %. *Class balance:* the share of each class.
# * *Fréchet distance.* Take the features of two sets, and for each the Gaussian of the same mean $\mu$ and covariance $\Sigma$. Then $\text{FD}=\|\mu_a-\mu_b\|^2+\mathrm{tr}\big(\Sigma_a+\Sigma_b-2(\Sigma_a\Sigma_b)^{1/2}\big)$ (Heusel et al. 2017). It sees both bad samples and missing variety.
#
# **The floor.** Two random sets of *real* digits also have a distance, because they are finite. So each distance stands beside the same number for two disjoint sets of real digits of the same size. (297 held-out digits are too few for two sets of 400. So the real digits here are drawn from all 1797, most of which network and judge have seen. A sampler that copies them would reach the floor. Therefore the next question.)
#
# **Is it copying?** For each sample, the distance to the nearest training digit. The floor again: the same for held-out digits. (The second cell.)
#
# **Predict before you run.** One set below is pure noise, clipped. How many of *its* images does the judge read with 90 % confidence? And will samples lie nearer to training digits than held-out digits do?

# %% tags=["nbval-ignore-output"]
judge = classifier.train_classifier(images[known], labels[known], epochs=15, batch=64, shift=0)
drawn = sample(ema, schedule, (COUNT, 1, 8, 8), steps=50, clip=1.0, generator=seed(11))
blank, FD = torch.randn(drawn.shape, generator=seed(12)).clamp(-1, 1), evaluate.frechet_distance
with torch.no_grad():
    for name, x in {"held-out digits": images[new], "noise": blank, "samples": drawn}.items():
        shares, confidence = evaluate.read_classes(judge(x))
        sure = (confidence >= 0.9).double().mean()
        print(f"{name:16s}{sure:4.0%} read with confidence; classes {shares.min():.0%} to {shares.max():.0%}")
    for kind, see in {"features": judge.features, "pixels": torch.nn.Flatten()}.items():
        for name, x in {"floor": None, "noise": see(blank), "samples": see(drawn)}.items():
            mean, spread = evaluate.over_repeats(FD, see(images), x, n=COUNT, repeats=20, generator=seed(13))
            print(f"FD in {kind:9s}{name:8s}{mean:7.2f} ± {spread:.2f}")
assert SMOKE or sure >= 0.8 and mean < 1.2  # of the samples

# %% tags=["nbval-ignore-output"] alt="Left: the eight samples nearest to a training digit, and under each that digit: they look alike, most of them narrow ones. Right: histograms of the distance to the nearest training digit. Those of samples and of held-out digits lie on each other, around 2."
(near, index), (near_new, _) = (evaluate.nearest_neighbours(x, images[known]) for x in (drawn, images[new]))
fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 2.2), width_ratios=(4, 3))
plots.draw_images(torch.stack([drawn, images[known][index]])[:, near.argsort()[:8]], left, rows=["sample", "training"])
left.set_title("The eight nearest pairs")
right.hist([near_new, near], 20, density=True, color=["0.7", colors["model"]], label=["held-out", "samples"])
right.set(xlabel="distance to the nearest training digit", yticks=[], title="As near as new digits are")
right.legend()
plt.show()
print("median, smallest:", *(f"{name} {d.median():.2f}, {d.min():.2f};" for name, d in (("samples", near), ("held-out", near_new))))
assert near.min() > 0.1

# %% [markdown]
# The samples lie at the floor within its spread, in features and in pixels (± is the spread over 20 choices of the real digits; to be below the floor by less than that is no success). The noise is far off. The judge is sure of some 91 % of the samples and of 98 % of the held-out digits. The Fréchet distance of 400 samples does not see that difference, which is left to improve. And confidence alone is worth little: the judge is sure of nearly a third of the pure noise, because it only learned to tell classes apart. The nearest pairs look alike, but held-out digits come as near: a narrow 1 is a narrow 1. A copy would have the distance 0.
#
# **Bits per dimension.** The bound of lesson 04b is a code length: $L_T+\sum_tL_{t-1}+L_0$ in nats, over $d\log2$, are the bits that a pixel costs. A code length needs pixels that can take only some values: here 17 levels, $0..16$. So $L_0$ needs a **decoder** that gives probabilities to levels. Ho et al. (Eq. 13) integrate the Gaussian $\mathcal N(x_{0\mid1},\beta_1)$ (at $t=1$ the mean $\mu_\theta$ is the guess itself)
# over the interval of each level; the outer two reach to infinity. A number in bits per dimension means nothing without its decoder and its number of levels.
#
# Two codes without any network, to compare: to give each level the probability $\frac1{17}$ costs $\log_217=4.09$ bits. To count, on the training digits, how often each pixel has each level, and to code new digits by these shares, costs less.
#
# **Predict before you run.** Which part will cost most: $L_T$, $L_0$, the steps $t\le100$ or the rest? Held-out digits or training digits? The network or counting?

# %% tags=["nbval-ignore-output"]
for name, x in {"held-out": images[new], "training": images[known[:297]]}.items():
    b = evaluate.bound_by_t(ema, x, schedule, levels=17, generator=seed(14))
    print(f"{name}: {b.total:.2f} ± {b.error:.2f} bits per dimension;", end="  ")
    print(f"L_T {b.L_T:.2f}, t = 101..1000 {b.L_t[101:].sum():.2f}, t = 2..100 {b.L_t[:101].sum():.2f}, L_0 {b.L_0:.2f}")
    assert b.L_T < 0.01 and 0 <= b.total < 1e6
levels = ((images.flatten(1) + 1) * 8).round().long()  # 0..16
counts = F.one_hot(levels[known], 17).double().sum(0) + 0.5  # (64, 17); + 0.5: no level is impossible
code = -(counts / counts.sum(1, keepdim=True)).log2().gather(1, levels[new].T)
print(f"held-out, by counting, pixel by pixel: {code.mean():.2f} bits per dimension")

# %% [markdown]
# $L_T$ is 0, because $\bar\alpha_T$ is tiny. $L_0$ is 0: at $t=1$ the noise is far smaller than the gap between two levels, and the decoder is sure. Four fifths are paid at about $t\le100$, for the exact grey of each pixel. The eye ignores that, and the simple loss gives it little weight (lesson 07). And so the network compresses *worse* than counting does, although the counts draw no digit at all. It was trained to draw. The training digits cost a little less than the held-out ones: the bound sees the overfitting, too.
#
# **And on MNIST?** Such numbers take minutes there, and the test images. They were measured once, by `python -m benchmarks.card`, and are stored in the file of the weights (the shipped ones, also if you trained your own above). The judge is a larger classifier, the floor is between test images, the pixels have 256 levels. FD's unit is that of the judge's features: do not compare it with the digits'.

# %%
notes = load_notes("mnist_unet")  # written by benchmarks/card.py
print("{samples} samples of {sample_steps} steps, against {compared} test images:".format(**notes))
print("FD {:.2f} ± {:.2f}, floor {:.2f} ± {:.2f};".format(*notes["fd"], *notes["fd_floor"]), "classes", end=" ")
print(*(f"{share:.0%}" for share in notes["class_shares"]))
print("""90 % confident {confident:.1%}, test images {confident_real:.1%}; nearest training image: median {nearest_pixels:.2f},
test images {nearest_pixels_real:.2f}; bits {bits_per_dim:.2f} ± {bits_error:.2f}, by counting {bits_counting:.2f}""".format(**notes))

# %% [markdown] tags=["claim:empirical-claims"]
# FD is almost three times its floor, and the judge is sure of fewer samples than of real images. (50 steps in place of 100 got 11.85 ± 1.00, in one run: a hint that what looks enough to the eye still costs something.) So a set of these digits can be told from a set of real ones. (They come from less than two hours of training on a CPU; the card beside the weights has the commands.) The ten classes are balanced. To give each of 256 levels the same probability would cost 8 bits; the network's bound is hardly better than counting.
#
# ## 7 · What do schedule and predictor change?
#
# **The question.** Lecture 000 says that the cosine schedule trains more stably and samples better, and that predicting the noise works best. Lectures 002 and 003 say that both choices of $\sigma_t$ give similar results (to the eye, as in rows two and three of section 4). All this is experience. No theorem is behind it. What do *we* measure, on the digits? (Stability is not tested here.) **Predict** before you read: which column changes most?
#
# Two thirds of this lesson's training (1000 steps), two seeds each, otherwise its recipe; behind ± half the difference of the two. Samples: 400, in 50 steps, clipped. A guess of $x_0$ is turned into one of $\epsilon$ (lesson 06). The command is `python -m benchmarks.digits_table`, some twenty minutes.
#
# | predicts | schedule | ε-error, all $t$ | ε-error where $\bar\alpha_t\approx\frac12$ | read with confidence | FD / floor |
# |---|---|---|---|---|---|
# | $\epsilon$ | linear | 0.085 ± 0.000 | 0.117 ± 0.000 | 84 ± 1 % | 2.3 ± 0.1 |
# | $\epsilon$ | cosine | 0.148 ± 0.000 | 0.113 ± 0.000 | 88 ± 2 % | 1.4 ± 0.2 |
# | $x_0$ | linear | 0.182 ± 0.009 | 0.119 ± 0.000 | 78 ± 2 % | 2.7 ± 0.3 |
# | $x_0$ | cosine | 0.334 ± 0.017 | 0.114 ± 0.000 | 82 ± 2 % | 1.7 ± 0.3 |
#
# The third column changes most, by a factor of four, and it is a trap: the linear schedule has the smaller error because it spends more of its steps where nearly all is noise, and the task is easy. At one noise level (fourth column) all four are close. The guess of $x_0$ must lose elsewhere, and lesson 06 says where: at small $t$, by the factor $\sqrt{\bar\alpha_t}/\sqrt{1-\bar\alpha_t}$.
# Here the samples of the cosine schedule are better, for both predictors, and those of the $\epsilon$-predictor are a little better, on both schedules. This holds for small digits, one rate (chosen for $\epsilon$ and cosine), short training, 50 steps and two seeds. It is no law.
#
# ## 8 · On several GPUs
#
# With `accelerate launch` on 4 GPUs, our `--batch 128` is the batch of **all** together: each takes 32, and the result is that of one GPU up to rounding. (How much sooner was not measured here.) In many training scripts the batch is that of *one* process, and the same command trains on four times as many images per step.
#
# **Exercise 10.6.** Such a script: batch 32 per process, 4 processes, 9000 steps, 60,000 training images. How many times does it go through the training set?

# %% tags=["exercise:10.6"]
# BEGIN SOLUTION
epochs_10_6 = 4 * 32 * 9000 / 60_000
# END SOLUTION
check("10.6", epochs_10_6)

# %% [markdown]
# ## What to remember
#
# * A UNet: convolutions, halving to see far, skips to keep the place, attention where the image is small, the time in every block.
# * $\bar\alpha_t$ for images has the shape $(B,1,1,1)$.
# * No floor is known for real images. The best linear guess is a bar from above; held-out images show overfitting.
# * 50 of 1000 steps are enough for the eye, with the clip. Without it an error of $\epsilon_\theta$ at $t=T$ arrives in the guess multiplied by $\sqrt{1-\bar\alpha_T}/\sqrt{\bar\alpha_T}$.
# * Every measure beside its floor. A confident judge does not mean a digit.
#
# **Next:** [11 Proofreading](11_proofreading.ipynb).
#
# **References.** Ho et al. 2020, Eq. 13 to 15, Algorithms 1 and 2, Section 4, Appendix B. Ronneberger et al. 2015, *U-Net*. Nichol and Dhariwal 2021, Section 4 (strided sampling). Heusel et al. 2017, *GANs Trained by a Two Time-Scale Update Rule*, Eq. 6. Lecture 004, Lab 2.
