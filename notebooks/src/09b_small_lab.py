# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09b · Train the lab in small, and draw its density
#
# **You will do.** Train a network of 4500 numbers on the two humps, in seconds. Hold its guess, its error and its samples against the exact ones.
#
# **You will learn.** Why floor plus gap is the right way to measure a loss. What an index slip in training costs.
#
# **You will need.** The mixture and its exact denoiser (lesson 06), the simple loss and its floor (07), the sampling loop (08). You may read it before lesson 09 or after.
#
# Lecture 000: "Training". Lecture 004: "Training steps", Lab 1. Ho et al. 2020: Eq. 14, Algorithm 1.

# %%
import os

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ddpm_lesson import GaussianMixture, linear_schedule, plots, sample
from ddpm_lesson.checks import check
from ddpm_lesson.train import train

STEPS = 200 if os.environ.get("SMOKE") else 1500  # knob
mixture, schedule = GaussianMixture([0.3, 0.7], [[-1.479], [0.634]], std=0.25), linear_schedule(100, rescale=True)
exact, colors = mixture.denoiser(schedule), plots.COLORS

# %% [markdown]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $\epsilon_\theta(x_t,t)$ | `network`, `ema` | the network's guess of the noise; `ema` is the running average of its weights |
# | $\epsilon^*(x_t,t)=\mathbb E[\epsilon\mid x_t]$ | `exact` | the exact denoiser |
# | ε-error | | mean squared error of a guess of $\epsilon$, averaged over $t=1..T$ |
# | floor | `floor` | the ε-error of $\epsilon^*$ |
# | gap | `gap` | the mean of $(\epsilon_\theta-\epsilon^*)^2$ |
#
# ## 1 · Split the loss
#
# **The question.** A loss of 0.21 after training: is that good? One cannot say without the best possible loss.
#
# For the two humps of lesson 02 the best is known: $\epsilon^*$. Write $\epsilon-\epsilon_\theta=(\epsilon-\epsilon^*)+(\epsilon^*-\epsilon_\theta)$ and square. Given $x_t$, the second part is fixed and the first has mean 0. So the mixed term averages to 0:
#
# $$\mathbb E(\epsilon-\epsilon_\theta)^2=\underbrace{\mathbb E(\epsilon-\epsilon^*)^2}_{\text{floor}}+\underbrace{\mathbb E(\epsilon_\theta-\epsilon^*)^2}_{\text{gap}}$$
#
# In one dimension both are integrals over $x_t$ (lesson 07, section 7): no sample, no error bar.
#
# The network sees $x_t$ and three functions of $t$. `train` is the loop of lesson 07 with what practice adds: AdamW, a step size that rises and then falls to 0, a bound on the gradient's length, and the average `ema`.
#
# **Predict before you run.** How close will it come: 1.03, 1.3 or 3 times the floor?

# %% tags=["nbval-ignore-output"]
class SmallNet(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        hidden = nn.Linear(4, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, xt, t):  # xt (B, 1), t (B,)
        s = (t[:, None] / 100).to(xt)
        return self.layers(torch.cat([xt, s, (3 * s).cos(), (9 * s).cos()], 1))

torch.manual_seed(0)
network = SmallNet()
ema = AveragedModel(network)
for _ in train(network, ema, mixture.sample, schedule, steps=STEPS, batch=256, lr=0.01, decay=0.99):
    pass
x, floor, gap = torch.linspace(-6, 6, 1201)[:, None], 0.0, 0.0
for t in range(1, 101):  # lesson 07's integral, at each t
    p = mixture.noised(t, schedule).log_prob(x).exp() * 0.01
    best, guess = exact(x, t), ema(x, torch.full((1201,), t)).detach()
    floor, gap = floor + (1 - p @ best**2) / 100, gap + p @ (guess - best) ** 2 / 100
print(f"floor {floor.item():.3f}   network {(floor + gap).item():.3f}, {(1 + gap / floor).item():.2f} times the floor")
assert gap < (0.6 if STEPS < 1500 else 0.1) * floor

# %% [markdown]
# The gap is about 2 % of the floor. Without the floor, that loss would look like a network that has learned four fifths.
#
# ## 2 · Draw everything
#
# **Predict before you run.** At which $t$ is the exact guess nearly a straight line, and at which does it bend? Where on the $x_t$ axis will the network err?

# %% tags=["nbval-ignore-output"] alt="Left: the guess of the noise against x_t at t = 5, 20 and 60; the network's thin lines lie on the exact dotted ones, except in the bends between the humps at t = 5 and 20, which they round off. Right: a histogram of the network's samples over the two-humped density of the data, with a few percent of the samples between the humps."
fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2))
for t, drop in ((5, -12), (20, -10), (60, 0)):
    p = mixture.noised(t, schedule).log_prob(x).exp()
    common = p > 0.01  # elsewhere x_t hardly ever is
    left.plot(x[common], exact(x, t)[common], ":", color=colors["posterior"], linewidth=4)
    guess = ema(x, torch.full((1201,), t)).detach()
    left.plot(x[common], guess[common], color="0.1", linewidth=1)
    left.annotate(f"t = {t}", (x[common][-1], guess[common][-1]), (4, drop), textcoords="offset points")
left.plot([], [], ":", color=colors["posterior"], linewidth=4, label="exact")
left.plot([], [], color="0.1", linewidth=1, label="network")
left.set(xlabel="$x_t$", ylabel="guess of ε", xlim=(-3.5, 4.2), title="Right, but for the bends at small t")
left.legend()
drawn = sample(ema, schedule, (4000, 1), generator=torch.Generator().manual_seed(1))
right.hist(drawn[:, 0], 60, range=(-3, 3), density=True, color=colors["model"], alpha=0.6, label="its samples")
plots.draw_density(mixture, right, "data", "data", x=torch.linspace(-3, 3, 241))
right.set_title("Two humps, and some samples between")
right.legend()
plt.show()
for name, x0 in (("network", drawn), ("data", mixture.sample(4000, torch.Generator().manual_seed(2)))):
    print(f"{name}: share between -0.8 and 0: {((x0 > -0.8) & (x0 < 0)).double().mean():.1%}")
assert drawn.isfinite().all()

# %% [markdown]
# At $t=60$ one line serves: $x_t$ is mostly noise. At $t=20$ and $t=5$ the guess must first decide between the humps, and the curve bends back between them. There the network rounds off the bends.
#
# Few draws fall between the humps. So the loss hardly sees this error: 2 % above the floor. But a chain that wanders there near the end is led by it, and the output counts the result: more samples between the humps than the data have. A good loss is not yet a good sampler. (Lesson 09 judges samples by numbers of their own.)
#
# Set `STEPS` to 200 and run again. Which of the two panels suffers more?
#
# **Exercise 9.6.** A slip in training: $t$ is drawn from $0..T-1$ in place of $1..T$, with the tables of this course ($\bar\alpha_0=1$). Take $T=10$, and suppose that the floor is 0.02 at each of $t=1..9$. How low can the training loss get?

# %% tags=["exercise:9.6"]
# BEGIN SOLUTION
loss_9_6 = (1 + 9 * 0.02) / 10
# END SOLUTION
check("9.6", loss_9_6)

# %% [markdown]
# The same slip the other way round: the network is told $t-1$ for $x_t$, in training. Then it learns the right answer under a shifted name. Nothing is lost, **if** sampling tells it $t-1$ as well. If the sampler says $t$, every guess belongs to another noise level.
#
# **Exercise 9.7.** A batch of held-out draws gives a loss of 0.26 where the floor is 0.20. A second batch, other draws, gives 0.19. On both the mean of $(\epsilon_\theta-\epsilon^*)^2$ is 0.01. How many times the floor is the network's ε-error?

# %% tags=["exercise:9.7"]
# BEGIN SOLUTION
ratio_9_7 = (0.20 + 0.01) / 0.20
# END SOLUTION
check("9.7", ratio_9_7)

# %% [markdown]
# ## What to remember
#
# * ε-error = floor + gap. The gap says what training could still win. The floor says what nobody can.
# * A loss below the floor is luck of the batch, or an error in the code.
# * The loss weighs errors by how often $x_t$ occurs. Look at the samples, too.
# * A small network learns a known denoiser in seconds. Begin there when a large one fails.
#
# **Next:** [10 MNIST with a UNet](10_unet.ipynb).
#
# **References.** Ho et al. 2020, Eq. 14, Algorithm 1. Lectures 000 and 004, places named above.
