# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Homework 2 · A Transformer learns two bumps, and two runs that went wrong
#
# **Eight questions, 40 points, about 3 hours**, of which the machine trains for one to three minutes. Points and minutes stand beside each question.
#
# **You will need.** Lessons 06 to 09. Question 4 of homework 1 (v) helps.
#
# **How it works.** Write your answers where the cells say so, and run them. `check` tells you at once whether an answer is right. The grader tries your functions on other inputs.
#
# **Hand in two files:** this notebook, and `hw2.safetensors`, the weights of your network. Section 3 writes that file beside the notebook. The grader does not train; it loads the weights.
#
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $x_0$, $x_t$ | `x0`, `xt` | a signal and its noised version, (B, n) |
# | $t$ | `t` | integer tensor (B,): each signal has its own $t=1..T$ |
# | $\bar\alpha_t$ | `alpha_bar` | the table $\bar\alpha_0..\bar\alpha_T$, with $T+1$ entries |
# | $v$ | `v` | $\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$, what your network will predict |
#
# The data are lecture 004's Lab 1 in small: signals of 32 points with two bumps at random places, and a chain of 50 steps. Lesson 09 predicted $\epsilon$, with the package's own loop. You predict $v$, and write the loop.

# %%
import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ddpm_lesson import TwoBumps, broken_runs, cosine_schedule, plots
from ddpm_lesson.homework import start

data, schedule = TwoBumps(32), cosine_schedule(50)
alpha_bar = schedule.alpha_bar.float()  # (51,)

def answered(work):
    """work(), or a line that says which question it waits for."""
    try:
        return work()
    except NotImplementedError as error:
        print(f"This cell waits for your answer: {error}")

# %%
numbers, check = start("hw2", key="public", student="")

# %% tags=["knobs"]
import os

STEPS = 30 if os.environ.get("SMOKE") else 2400  # of training; change it as you like

# %% [markdown]
# ## 1 · From signals to what the network sees
#
# ### Question 1 · Noise, and what to predict (4 points, 15 minutes)
#
# Write `noised`: it returns the pair ($x_t$, $v$), both (B, n), for signals that each have a $t$ of their own.

# %% tags=["exercise:hw2.q1"]
def noised(x0, t, eps, alpha_bar):
    # BEGIN SOLUTION
    a = alpha_bar[t][:, None]  # (B, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps, a.sqrt() * eps - (1 - a).sqrt() * x0
    # END SOLUTION

check("hw2.q1", noised)

# %% tags=["hidden"]
import numpy as np

def hw2_signals(rng):
    T, B, n = 9, 6, 4
    return {"x0": rng.normal(size=(B, n)), "t": rng.choice(np.arange(1, T + 1), B, replace=False),
            "eps": rng.normal(size=(B, n)), "alpha_bar": np.cumprod([1, *(1 - rng.uniform(0.05, 0.5, T))])}

hw2_q1 = hw2_q4 = hw2_signals

# %% [markdown]
# ### Question 2 · Tell the network the time (4 points, 20 minutes)
#
# As in lesson 09, $t$ becomes waves. Here they are chosen by their **periods** $p_i$, the numbers of steps after which a wave repeats. For `width` numbers there are $k=$ `width / 2` periods. They grow geometrically, each by the same factor: the first is $p_1=4$ and the last is $p_k=$ `slowest`, both included. The result is
#
# $$\Big(\cos\tfrac{2\pi t}{p_1},\dots,\cos\tfrac{2\pi t}{p_k},\ \sin\tfrac{2\pi t}{p_1},\dots,\sin\tfrac{2\pi t}{p_k}\Big)$$
#
# Write `waves`: it returns (B, width), as floating-point numbers. `width` is even, and at least 4.

# %% tags=["exercise:hw2.q2"]
def waves(t, width, slowest):
    # BEGIN SOLUTION
    periods = 4 * (slowest / 4) ** torch.linspace(0, 1, width // 2)
    angle = 2 * math.pi * t[:, None] / periods  # (B, width / 2)
    return torch.cat([angle.cos(), angle.sin()], 1)
    # END SOLUTION

check("hw2.q2", waves)

# %% tags=["hidden"]
def hw2_q2(rng):
    width = int(rng.choice([4, 6, 10, 16]))
    return {"t": rng.choice(np.arange(1, 90), 5), "width": width, "slowest": float(rng.uniform(60, 900))}

# %% [markdown]
# ### Question 3 · Attention that knows the distance (5 points, 20 minutes)
#
# Attention treats all tokens alike, near or far. Many Transformers add a **bias** to the scores, a learned number for each head and each pair of places (query $i$, key $j$):
#
# $$a_{ij}=\operatorname{softmax}_j\Big(\frac{q_i\cdot k_j}{\sqrt d}+\text{bias}_{ij}\Big),\qquad\text{out}_i=\sum_ja_{ij}\,v_j$$
#
# Write `attention`. `q`, `k` and `v` are (B, heads, L, d), `bias` is (heads, L, L), and so is the result like `q`. (This $v$ is attention's value, not the $v$ to predict.)

# %% tags=["exercise:hw2.q3"]
def attention(q, k, v, bias):
    # BEGIN SOLUTION
    scores = q @ k.mT / q.shape[-1] ** 0.5 + bias  # (B, heads, L, L): queries, keys
    return scores.softmax(-1) @ v
    # END SOLUTION

check("hw2.q3", attention)

# %% tags=["hidden"]
def hw2_q3(rng):
    B, heads, L, d = (int(rng.choice(np.arange(2, 6))) for _ in range(4))
    return {**{name: rng.normal(size=(B, heads, L, d)) for name in "qkv"}, "bias": rng.normal(size=(heads, L, L))}

# %% [markdown]
# ## 2 · Loss and sampler
#
# ### Question 4 · The loss (4 points, 20 minutes)
#
# Networks are compared by their **ε-error**: the mean squared error of $\epsilon$, over all samples and all entries. Your network says $v_\theta$ in place of $\epsilon_\theta$. But $x_t$ and $v_\theta$ together tell an $\epsilon_\theta$. So the ε-error can be written with $v_\theta-v$ and a weight that depends on $t$. Which weight?
#
# Write `loss`: it returns the ε-error of a batch, a scalar. `network(xt, t)` takes `t` as a (B,) tensor and returns $v_\theta$, shaped like `xt`.

# %% tags=["exercise:hw2.q4"]
def loss(network, x0, t, eps, alpha_bar):
    # BEGIN SOLUTION
    xt, v = noised(x0, t, eps, alpha_bar)
    return (alpha_bar[t][:, None] * (network(xt, t) - v) ** 2).mean()  # ε_θ - ε = √ᾱ_t (v_θ - v)
    # END SOLUTION

check("hw2.q4", loss)

# %% [markdown]
# ### Question 5 · The sampling loop (6 points, 30 minutes)
#
# Write `sample_v`: it walks from $x_T$ to $x_0$, with $t=T,T-1,\dots,1$, and returns $x_0$. The variance of a step is the posterior's, $\tilde\beta_t$. The step from $t$ uses the noise `z[t]`, where it needs any: `z` is (T + 1, B, n). All else follows from `alpha_bar`. `network` is as in question 4.

# %% tags=["exercise:hw2.q5"]
def sample_v(network, xT, z, alpha_bar):
    # BEGIN SOLUTION
    x = xT
    for t in range(len(alpha_bar) - 1, 0, -1):
        a, a_prev = alpha_bar[t], alpha_bar[t - 1]
        beta = 1 - a / a_prev
        v = network(x, torch.full((len(x),), t))
        eps = (1 - a).sqrt() * x + a.sqrt() * v
        x = (x - beta / (1 - a).sqrt() * eps) / (1 - beta).sqrt()
        if t > 1:
            x = x + ((1 - a_prev) / (1 - a) * beta).sqrt() * z[t]
    return x
    # END SOLUTION

check("hw2.q5", sample_v)

# %% tags=["hidden"]
def hw2_q5(rng):
    T, B, n = int(rng.choice(np.arange(4, 9))), 3, 4
    return {"xT": rng.normal(size=(B, n)), "z": rng.normal(size=(T + 1, B, n)),
            "alpha_bar": np.cumprod([1, *(1 - rng.uniform(0.05, 0.5, T))])}

# %% [markdown]
# ## 3 · Train
#
# The network is given; it uses your `waves` and `attention`. The 32 points make 8 tokens of 4. Compare with lesson 09, section 3: what is the same, and what is simpler?

# %%
class Block(nn.Module):
    def __init__(self, width, heads, tokens):
        super().__init__()
        self.heads, self.bias = heads, nn.Parameter(torch.zeros(heads, tokens, tokens))
        self.norm, self.norm_2, self.time = nn.LayerNorm(width), nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h, c):  # h (B, L, width), c (B, width)
        scale, shift = self.time(c)[:, None].chunk(2, -1)
        heads = self.qkv(self.norm(h) * (1 + scale) + shift).unflatten(-1, (3, self.heads, -1))
        mixed = attention(*heads.permute(2, 0, 3, 1, 4), self.bias)  # (B, heads, L, d)
        h = h + self.out(mixed.transpose(1, 2).flatten(2))
        return h + self.mlp(self.norm_2(h))

# %%
class Net(nn.Module):
    def __init__(self, n=32, patch=4, width=32, depth=2, heads=4):
        super().__init__()
        self.patch, self.width = patch, width
        self.embed, self.place = nn.Linear(patch, width), nn.Parameter(0.5 * torch.randn(n // patch, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(Block(width, heads, n // patch) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, patch)

    def forward(self, xt, t):  # (B, n), (B,) -> v (B, n)
        h = self.embed(xt.unflatten(1, (-1, self.patch))) + self.place  # (B, L, width)
        c = self.time(waves(t, self.width, 200.0))  # (B, width)
        for block in self.blocks:
            h = block(h, c)
        return self.head(self.norm(h)).flatten(1)

# %% [markdown]
# ### Question 6 · A network near the floor (9 points, 45 minutes)
#
# No network has a smaller ε-error than the exact denoiser. That is the floor; here it is about 0.054. **Goal: at most 1.15 times the floor** (all 9 points; 2 times the floor and more: none; between them in proportion), on new signals, as a mean over $t=1..50$. The training may take **3 minutes** on two CPU cores. Our own took 40 seconds of one core and reached 1.07.
#
# 1. Write `train`: it trains `network` for `STEPS` steps with your `loss` on `data.sample(64)`, new signals in each step, and returns the trained network. What helped us: AdamW, a step size that rises to 0.004 and falls to 0 (`torch.optim.lr_scheduler.OneCycleLR`), and a running average of the weights (`torch.optim.swa_utils.AveragedModel`; it keeps the average in `.module`).
# 2. Write `denoise`: it returns $\epsilon_\theta(x_t,t)$, (B, n), from what `network` (a global name, the trained one) says. `alpha_bar` is global, too.
#
# The next cell trains, and writes `hw2.safetensors`. If the file is there already, it only loads it. **To train anew, delete the file first.**

# %% tags=["exercise:hw2.q6"]
def train(network):
    # BEGIN SOLUTION
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.AdamW(network.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.004, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        x0, t = data.sample(64), torch.randint(1, 51, (64,))
        optimizer.zero_grad()
        loss(network, x0, t, torch.randn(x0.shape), alpha_bar).backward()
        optimizer.step()
        rate.step()
        average.update_parameters(network)
    return average.module
    # END SOLUTION

def denoise(xt, t):
    # BEGIN SOLUTION
    a = alpha_bar[t][:, None]
    with torch.no_grad():
        return (1 - a).sqrt() * xt + a.sqrt() * network(xt, t)
    # END SOLUTION

# %%
torch.manual_seed(0)
network, weights = Net(), Path("hw2.safetensors")

def trained():
    if not weights.exists():
        save_file({name: x.contiguous() for name, x in train(network).state_dict().items()}, weights)
    network.load_state_dict(load_file(weights))

answered(trained)
check("hw2.q6", denoise)

# %% tags=["hidden"]
import torch
from ddpm_lesson import TwoBumps, cosine_schedule

def hw2_q6(rng):
    generator = torch.Generator().manual_seed(int(rng.choice(np.arange(10**9))))
    t = torch.arange(1, 51).repeat_interleave(30)
    x0, a = TwoBumps(32).sample(len(t), generator), cosine_schedule(50).alpha_bar[t][:, None].float()
    xt = a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=generator)
    return [{"xt": xt.numpy(), "t": t.numpy()}]  # one try: it is a mean over 1500 signals already

# %% [markdown]
# Look at your samples, too. Eight of them should be flat lines with two smooth bumps, one on each side.

# %% alt="Eight samples of the trained network, one below the other: flat lines with two smooth bumps, one left and one right of the middle."
import matplotlib.pyplot as plt

def drawn():
    with torch.no_grad():
        x0 = sample_v(network, torch.randn(8, 32), torch.randn(51, 8, 32), alpha_bar)
    fig, ax = plt.subplots()
    ax.plot(data.grid, (x0 - 3 * torch.arange(8)[:, None]).T, color=plots.COLORS["model"])
    ax.set(xlabel="place", yticks=[], title="Eight samples")
    plt.show()

answered(drawn)

# %% [markdown]
# ## 4 · Two runs that went wrong
#
# Two people trained a denoiser for the two humps of lesson 09b, in one dimension, with $T=50$ steps. Each made **one** slip. The figure below is all that they have. Left: the gap at each $t$, the mean of $(\epsilon_\theta-\epsilon^*)^2$ on the true data, where $\epsilon^*$ is the exact denoiser. Right: 4000 samples and the density of the data.
#
# The suspects:
#
# | | what was done | first number | second number |
# |---|---|---|---|
# | 1 | training drew $t$ from a part of $1..T$ only | the smallest $t$ drawn | the largest $t$ drawn |
# | 2 | the data were changed to $s\,x_0+m$ for training, and the samples not changed back | $s$ | $m$ |
# | 3 | the ε to be predicted was not the one in $x_t$, but a fresh draw | the gap at $t=50$ | 0 |
# | 4 | the network was never told $t$ | the $t$ with the smallest gap | 0 |
# | 5 | the sampler stopped early, at $x_k$ | $k$ | 0 |
# | 6 | the sampler started from noise of standard deviation $s$ | $s$ | 0 |
# | 7 | the sampler multiplied its noise by $\sigma_t^2$ in place of $\sigma_t$ | the standard deviation of the left hump's samples | of the right hump's |
# | 8 | the training stopped after $k$ steps, far too early | the largest gap | the smallest gap |
#
# **Predict first.** Which suspects leave the gap small at every $t$, because the network itself is good?

# %% alt="Two rows. Left panels: the gap against t, as dots on a logarithmic axis. Right panels: a histogram of 4000 samples and the density of the data with its two humps."
fig, axes = plt.subplots(2, 2, figsize=(9, 6))
runs = broken_runs.run_a(numbers["hw2.q7"]["seed"]), broken_runs.run_b(numbers["hw2.q8"]["seed"])
for name, run, (left, right) in zip("AB", runs, axes, strict=True):
    gap, drawn_x = broken_runs.pictures(run)
    left.semilogy(range(1, 51), gap, "o-", color=plots.COLORS["model"], markersize=4, linewidth=1)
    left.set(xlabel="t", xticks=range(0, 51, 5), title=f"Run {name}: gap to the exact denoiser")
    left.minorticks_on()
    left.grid(which="minor", axis="x", color="0.95")
    right.hist(drawn_x, 80, range=(-4, 4), density=True, color=plots.COLORS["model"], alpha=0.6, label="samples")
    plots.draw_density(broken_runs.DATA, right, "data", "data", x=torch.linspace(-4, 4, 321))
    right.set(xticks=range(-4, 5), title=f"Run {name}: samples")
    right.minorticks_on()
    right.grid(which="minor", axis="x", color="0.95")
plt.show()

# %% [markdown]
# The data's humps stand at $-1.479$ and $0.634$, both with a standard deviation of 0.25.
#
# ### Question 7 · Run A (4 points, 15 minutes)
#
# Which suspect is it, and what are its two numbers? Answer with three numbers, such as `(8, 2.5, 1.3)`. Whole numbers may be off by 1. You may print or zoom what the figure shows.

# %% tags=["exercise:hw2.q7"]
# BEGIN SOLUTION
def seen_a(gap, _):
    first = last = 20  # gap[t - 1] belongs to t; from the middle outwards, until the gap jumps
    while gap[first - 2] < 5 * gap[first - 1]:
        first -= 1
    while gap[last] < 30 * gap[last - 1]:
        last += 1
    return 1, first, last

found_a = seen_a(*broken_runs.pictures(runs[0]))
# END SOLUTION
check("hw2.q7", found_a)

# %% [markdown]
# ### Question 8 · Run B (4 points, 15 minutes)
#
# The same for run B. Numbers that are not whole may be off by 0.1.

# %% tags=["exercise:hw2.q8"]
# BEGIN SOLUTION
def seen_b(_, x):
    middle = x.mean()
    left, right = x[x < middle].mean(), x[x > middle].mean()  # the two humps
    s = (right - left) / (0.634 + 1.479)
    return 2, s.item(), (right - 0.634 * s).item()

found_b = seen_b(*broken_runs.pictures(runs[1]))
# END SOLUTION
check("hw2.q8", found_b)

# %% [markdown]
# ## Before you hand in
#
# Restart the kernel and run all cells. Hand in this notebook **and** `hw2.safetensors`.
#
# **References.** Lecture 004, Lab 1, Question 1. Salimans and Ho 2022 (v). Shaw, Uszkoreit and Vaswani 2018, *Self-Attention with Relative Position Representations*, for the idea of a bias by distance. Ho et al. 2020, Algorithms 1 and 2.
