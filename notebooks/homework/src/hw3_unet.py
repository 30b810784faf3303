# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Homework 3 · A UNet draws digits
#
# **Seven questions, 45 points, about 4 hours**, of which the machine trains for two to four minutes. Points and minutes stand beside each question.
#
# **You will need.** Lessons 06 to 08. Lesson 09 shows a training loop; homework 2 has one like it. You should have met convolutions before.
#
# **How it works.** Write your answers where the cells say so, and run them. `check` tells you at once whether an answer is right. The grader tries your functions on other inputs.
#
# **Hand in two files:** this notebook, and `hw3.safetensors`, the weights of your network. Section 3 writes that file beside the notebook. The grader does not train; it loads the weights.
#
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $x_0$, $x_t$ | `x0`, `xt` | an image and its noised version, (B, 1, 8, 8) |
# | $t$ | `t` | integer tensor (B,): each image has its own $t=1..T$, $T=100$ |
# | $\bar\alpha_t$ | `alpha_bar` | the table $\bar\alpha_0..\bar\alpha_T$, with $T+1$ entries |
# | $\epsilon_\theta(x_t,t)$ | `network(xt, t)` | the network's guess of the noise, shaped like $x_t$ |
#
# The images are scikit-learn's 8 × 8 digits. Train on the first 1500 only. The other 297 are for judging.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import interpolate, silu

from ddpm_lesson import linear_schedule, plots
from ddpm_lesson.data import digits
from ddpm_lesson.homework import start
from ddpm_lesson.models.transformer import waves

images, schedule = digits()[0][:1500], linear_schedule(100, rescale=True)
alpha_bar = schedule.alpha_bar.float()  # (101,)

def answered(work):
    """work(), or a line that says which question it waits for."""
    try:
        return work()
    except NotImplementedError as error:
        print(f"This cell waits for your answer: {error}")

# %%
numbers, check = start("hw3", key="public", student="")

# %% tags=["knobs"]
STEPS = 30 if os.environ.get("SMOKE") else 1500  # of training; change it as you like

# %% [markdown]
# ## 1 · Two blocks, to a specification
#
# The grader puts weights of its own into your blocks. So the names and shapes of the layers must be exactly these. `h` is (B, inside, H, W), and `e`, the time, is (B, c).
#
# | name | layer | in `Down(inside, out, c)` | in `Up(below, skip, out, c)` |
# |---|---|---|---|
# | `norm` | GroupNorm, 4 groups | inside channels | below + skip channels |
# | `conv` | Conv2d 3 × 3, padding 1 | inside → out | below + skip → out |
# | `time` | Linear | c → out | c → out |
# | `norm_2` | GroupNorm, 4 groups | out channels | out channels |
# | `conv_2` | Conv2d 3 × 3, padding 1 | out → out | out → out |
# | `skip` | Conv2d 1 × 1 | inside → out | below + skip → out |
# | `halve` | Conv2d 3 × 3, padding 1, stride 2 | out → out | |
#
# Both do the same to their input $h$:
#
# $$u=\text{conv}(\text{silu}(\text{norm}(h)))+\text{time}(e),\qquad w=\text{skip}(h)+\text{conv}_2(\text{silu}(\text{norm}_2(u)))$$
#
# $\text{time}(e)$ is one number per channel, added to all its pixels.
#
# ### Question 1 · Down (6 points, 30 minutes)
#
# `Down` returns the pair ($w$, halve($w$)): the first goes across to the way up, the second goes on down.

# %% tags=["exercise:hw3.q1"]
class Down(nn.Module):
    def __init__(self, inside, out, c):
        super().__init__()
        # BEGIN SOLUTION
        self.norm, self.norm_2 = nn.GroupNorm(4, inside), nn.GroupNorm(4, out)
        self.conv, self.conv_2 = nn.Conv2d(inside, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
        self.time, self.skip = nn.Linear(c, out), nn.Conv2d(inside, out, 1)
        self.halve = nn.Conv2d(out, out, 3, padding=1, stride=2)
        # END SOLUTION

    def forward(self, h, e):
        # BEGIN SOLUTION
        u = self.conv(silu(self.norm(h))) + self.time(e)[:, :, None, None]
        w = self.skip(h) + self.conv_2(silu(self.norm_2(u)))
        return w, self.halve(w)
        # END SOLUTION

check("hw3.q1", Down)

# %% tags=["hidden"]
import numpy as np
from ddpm_lesson.exercises.hw3 import block_weights

def hw3_q1(rng):
    side = int(rng.choice([4, 6, 8]))
    return {"h": rng.normal(size=(3, 8, side, side)), "e": rng.normal(size=(3, 6)),
            "weights": block_weights(rng, 8, 12, 6, halve=True)}

# %% [markdown]
# ### Question 2 · Up (6 points, 20 minutes)
#
# `Up` gets `h` from below, (B, below, H / 2, W / 2), and `s` from across, (B, skip, H, W). It makes four equal pixels of every pixel of `h`, puts the channels of `s` behind those of `h`, and does to the result what the formulas say. It returns $w$.

# %% tags=["exercise:hw3.q2"]
class Up(nn.Module):
    def __init__(self, below, skip, out, c):
        super().__init__()
        # BEGIN SOLUTION
        self.norm, self.norm_2 = nn.GroupNorm(4, below + skip), nn.GroupNorm(4, out)
        self.conv, self.conv_2 = nn.Conv2d(below + skip, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
        self.time, self.skip = nn.Linear(c, out), nn.Conv2d(below + skip, out, 1)
        # END SOLUTION

    def forward(self, h, s, e):
        # BEGIN SOLUTION
        h = torch.cat([interpolate(h, scale_factor=2.0), s], 1)
        u = self.conv(silu(self.norm(h))) + self.time(e)[:, :, None, None]
        return self.skip(h) + self.conv_2(silu(self.norm_2(u)))
        # END SOLUTION

check("hw3.q2", Up)

# %% tags=["hidden"]
def hw3_q2(rng):
    side = int(rng.choice([4, 6, 8]))
    return {"h": rng.normal(size=(3, 8, side // 2, side // 2)), "s": rng.normal(size=(3, 4, side, side)),
            "e": rng.normal(size=(3, 6)), "weights": block_weights(rng, 12, 8, 6, halve=False)}

# %% [markdown]
# ## 2 · Training step and sampler
#
# ### Question 3 · One step of training (6 points, 30 minutes)
#
# Most of the squared error of $\epsilon$ at small $t$ cannot be avoided, yet it dominates the gradient. Hang et al. (2023) weigh it down, with the signal-to-noise ratio $\mathrm{SNR}_t=\bar\alpha_t/(1-\bar\alpha_t)$:
#
# $$\text{loss}=\text{mean}\Big[\frac{\min(\mathrm{SNR}_t,\,5)}{\mathrm{SNR}_t}\,\big(\epsilon_\theta(x_t,t)-\epsilon\big)^2\Big]\qquad\text{over all images and pixels}$$
#
# Write `training_step`: it noises `x0` with `eps`, computes this loss, takes **one** step of the optimizer, and returns the loss before the step, as a number. It is called again and again; every call must begin afresh.

# %% tags=["exercise:hw3.q3"]
def training_step(network, optimizer, x0, t, eps, alpha_bar):
    # BEGIN SOLUTION
    a = alpha_bar[t][:, None, None, None]  # (B, 1, 1, 1)
    snr = a / (1 - a)
    xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
    loss = (snr.clamp(max=5) / snr * (network(xt, t) - eps) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    # END SOLUTION

check("hw3.q3", training_step)

# %% tags=["hidden"]
def hw3_q3(rng):
    beta = [rng.uniform(0.01, 0.03), *rng.uniform(0.05, 0.3, 4), *rng.uniform(0.6, 0.75, 2)]  # SNR above 5 and below 1/5
    return {"x0": rng.normal(size=(6, 1, 2, 2)), "t": np.array([1, 7, *rng.choice(np.arange(2, 7), 4, replace=False)]),
            "eps": rng.normal(size=(6, 1, 2, 2)), "alpha_bar": np.cumprod([1, *(1 - np.array(beta))])}

# %% [markdown]
# ### Question 4 · A sampler with long strides (7 points, 35 minutes)
#
# A hundred steps are many. Song et al. (2021) visit only some times $t_1>t_2>\dots>t_k$, and then 0. Their step goes from $t$ to the next time on the list, $s<t$ (after $t_k$: $s=0$):
#
# $$x_s=\sqrt{\bar\alpha_s}\;\frac{x_t-\sqrt{1-\bar\alpha_t}\,\epsilon_\theta}{\sqrt{\bar\alpha_t}}+\sqrt{1-\bar\alpha_s-\sigma^2}\;\epsilon_\theta+\sigma z,\qquad\sigma=\eta\,\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\,\sqrt{1-\frac{\bar\alpha_t}{\bar\alpha_s}}$$
#
# With $\eta=1$ the noise is that of lesson 08's sampler (for this stride), with $\eta=0$ there is none. What is $\sigma$ in the last step?
#
# Write `strided`: it returns $x_0$. `times` is a list of $k$ ints, the largest first, without the 0. The step that begins at `times[i]` uses `z[i]`. `network(xt, t)` takes `t` as a (B,) tensor.

# %% tags=["exercise:hw3.q4"]
def strided(network, xT, times, z, alpha_bar, eta):
    # BEGIN SOLUTION
    x = xT
    for i, (t, s) in enumerate(zip(times, [*times[1:], 0], strict=True)):
        a, a_s = alpha_bar[t], alpha_bar[s]
        eps = network(x, torch.full((len(x),), t))
        sigma = eta * ((1 - a_s) / (1 - a)).sqrt() * (1 - a / a_s).sqrt()
        x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        x = a_s.sqrt() * x0 + (1 - a_s - sigma**2).clamp(min=0).sqrt() * eps + sigma * z[i]  # σ = 0 where s = 0
    return x
    # END SOLUTION

check("hw3.q4", strided)

# %% tags=["hidden"]
def hw3_q4(rng):
    T, k = 12, int(rng.choice([3, 4, 5]))
    times = sorted((int(t) for t in rng.choice(np.arange(2, T), k, replace=False)), reverse=True)
    return {"xT": rng.normal(size=(2, 1, 2, 2)), "times": times, "z": rng.normal(size=(k, 2, 1, 2, 2)),
            "alpha_bar": np.cumprod([1, *(1 - rng.uniform(0.05, 0.4, T))]), "eta": float(rng.uniform(0.3, 0.8))}

# %% [markdown]
# ## 3 · Train
#
# The network is given; it uses your blocks. 8 × 8 becomes 4 × 4, then 2 × 2, and goes back up.

# %%
class UNet(nn.Module):
    def __init__(self, width=16, c=64):
        super().__init__()
        self.c, self.time = c, nn.Sequential(nn.Linear(c, c), nn.SiLU(), nn.Linear(c, c), nn.SiLU())
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.down, self.down_2 = Down(width, width, c), Down(width, 2 * width, c)
        self.up_2, self.up = Up(2 * width, 2 * width, 2 * width, c), Up(2 * width, width, width, c)
        self.norm, self.head = nn.GroupNorm(4, width), nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, xt, t):  # (B, 1, 8, 8), (B,) -> eps (B, 1, 8, 8)
        e = self.time(waves(t, self.c).to(xt))
        s, h = self.down(self.stem(xt), e)  # (B, width, 8, 8), (B, width, 4, 4)
        s_2, h = self.down_2(h, e)  # (B, 2 width, 4, 4), (B, 2 width, 2, 2)
        h = self.up(self.up_2(h, s_2, e), s, e)
        return self.head(silu(self.norm(h)))

# %% [markdown]
# ### Question 5 · A good loss on new digits (8 points, 50 minutes)
#
# **Goal: a loss (question 3's, with its weights) of at most 0.056 on the 297 digits not trained on** (all 8 points; 0.12 and more: none; between them in proportion), as a mean over $t=1..100$. The training may take **5 minutes** on two CPU cores. Ours took some 80 seconds of one core and reached about 0.050.
#
# 1. Write `train`: it trains `network` for `STEPS` steps with your `training_step`, on batches of 64 drawn from `images`, and returns the trained network. What helped us: AdamW, a step size that rises to 0.004 and falls to 0 (`OneCycleLR`), and a running average of the weights (`torch.optim.swa_utils.AveragedModel`; the average is in `.module`).
# 2. Write `denoise`: it returns what `network` (a global name, the trained one) says, without gradients.
#
# The next cell trains, and writes `hw3.safetensors`. If the file is there already, it only loads it. **To train anew, delete the file first.**

# %% tags=["exercise:hw3.q5"]
def train(network):
    # BEGIN SOLUTION
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995))
    optimizer = torch.optim.AdamW(network.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.004, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        x0, t = images[torch.randint(len(images), (64,))], torch.randint(1, 101, (64,))
        training_step(network, optimizer, x0, t, torch.randn(x0.shape), alpha_bar)
        rate.step()
        average.update_parameters(network)
    return average.module
    # END SOLUTION

def denoise(xt, t):
    # BEGIN SOLUTION
    with torch.no_grad():
        return network(xt, t)
    # END SOLUTION

# %%
weights = Path("hw3.safetensors")

def trained():
    torch.manual_seed(0)
    net = UNet()
    if not weights.exists():
        save_file({name: x.contiguous() for name, x in train(net).state_dict().items()}, weights)
    net.load_state_dict(load_file(weights))
    return net

network = answered(trained)
check("hw3.q5", denoise)

# %% tags=["hidden"]
import torch
from ddpm_lesson import linear_schedule
from ddpm_lesson.exercises.hw3_judges import held_out

def hw3_q5(rng):
    generator = torch.Generator().manual_seed(int(rng.choice(np.arange(10**9))))
    t = torch.arange(1, 101).repeat(12)
    a = linear_schedule(100, rescale=True).alpha_bar[t][:, None, None, None].float()
    xt = a.sqrt() * held_out(len(t)) + (1 - a).sqrt() * torch.randn((len(t), 1, 8, 8), generator=generator)
    return [{"xt": xt.numpy(), "t": t.numpy()}]  # one try: it is a mean over 1200 noised images already

# %% [markdown]
# ### Question 6 · Digits (7 points, 30 minutes)
#
# Write `generate`: it makes images of `xT`, (B, 1, 8, 8), with your `strided` and your `denoise`. Visit 20 times of your choice, the first of them 100. Choose $\eta$. `z` is (20, B, 1, 8, 8).
#
# How are the images judged? By the real digits. An image lies **among** them if its distance to some real digit is no larger than that digit's distance to its own third neighbour (Kynkäänniemi et al. 2019). Of the 297 held-out digits 74 % do, of pure noise none. **Goal: 40 % of 200 samples**, and each of the ten classes at least once in a hundred (the class is that of the nearest digit). 10 % and less: no points. Copies of training images count nothing.

# %% tags=["exercise:hw3.q6"]
def generate(xT, z):
    # BEGIN SOLUTION
    return strided(denoise, xT, list(range(100, 0, -5)), z, alpha_bar, 1.0)
    # END SOLUTION

check("hw3.q6", generate)

# %% tags=["hidden"]
def hw3_q6(rng):
    generator = torch.Generator().manual_seed(int(rng.choice(np.arange(10**9))))
    return [{"xT": torch.randn((200, 1, 8, 8), generator=generator).numpy(),
             "z": torch.randn((20, 200, 1, 8, 8), generator=generator).numpy()}]

# %% alt="Two rows of eight images: above, training images; below, samples of the trained network, most of which can be read as digits."
def drawn():
    generator = torch.Generator().manual_seed(2)
    xT, z = torch.randn((8, 1, 8, 8), generator=generator), torch.randn((20, 8, 1, 8, 8), generator=generator)
    fig, ax = plt.subplots(figsize=(7, 2))
    plots.draw_images(torch.stack([images[:8], generate(xT, z).clamp(-1, 1)]), ax)
    ax.set_title("Above: data. Below: samples")
    plt.show()

answered(drawn)

# %% [markdown]
# ### Question 7 · What is wrong with them? (5 points, 25 minutes)
#
# Look at many of your samples. Name **two** flaws that you see. For each, name a cause it might have: in the network, in the training, or in the sampler. Then describe **one** experiment that would tell whether one of your causes is right: what you change, what you keep, which number you measure, and which outcome would say that you were wrong. (You need not run it.) This is read by a person; half a page is enough.

# %% [markdown] tags=["exercise:hw3.q7"]
# <!-- BEGIN SOLUTION -->
# For example. **Flaw 1:** some strokes are broken or have stray grey pixels. Cause: with 20 strides the last steps are long, and each uses one guess of $\epsilon$ for the whole stride. **Flaw 2:** the class 1 (thin, and of several shapes) is rarer among the samples than among the data. Cause: the network is small, and at large $t$, where the class is decided, the weight of question 3 leaves its loss as it is, but there are few training images.
#
# **Experiment** on the first cause. Keep the network, the start `xT` and $\eta$. Change only the number of times visited: 10, 20, 50, 100. Measure the share of 2000 samples among the real digits, which is uncertain by about 0.01. If my cause is right, the share rises with the number of times. If it stays within 0.02, I was wrong, and the network is what limits the samples.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Before you hand in
#
# Restart the kernel and run all cells. Hand in this notebook **and** `hw3.safetensors`.
#
# **References.** Ronneberger et al. 2015 (UNet). Hang et al. 2023, *Efficient Diffusion Training via Min-SNR Weighting Strategy*. Song, Meng and Ermon 2021, *Denoising Diffusion Implicit Models*, Eq. 12 and 16. Kynkäänniemi et al. 2019, *Improved Precision and Recall Metric for Assessing Generative Models*. Lecture 004, Lab 2.
