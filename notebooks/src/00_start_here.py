# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Start here: see where the course will take you
#
# English · [繁體中文](zh/00_start_here.ipynb)
#
# **You will do.** Watch real digits dissolve and come back. Test what you need to know. Find out what this machine can run.
#
# **You will learn.** How the lessons work, and in which order to take them.
#
# **You will need.** To run a cell: click it and press Shift + Enter. Take the cells from top to bottom.

# %%
import matplotlib.pyplot as plt
import torch

from ddpm_lesson import GaussianMixture, cosine_schedule, p_sample_loop, plots, q_step, widgets
from ddpm_lesson.checks import check
from ddpm_lesson.data import digits

generator = torch.Generator().manual_seed(7)
images, labels = digits()  # 1,797 real digits, 8 × 8, values in [-1, 1]
schedule = cosine_schedule(T=100)

# %% [markdown]
# ## Move a slider
#
# Left: a digit. Middle: the same digit after $t$ small steps of noise. Run the next cell and move the slider **t, step**. (No slider? Run the two cells above as well.)
#
# **Write down:** at which $t$ do you lose the digit?
#
# On the right the same happens to numbers on a line. Lesson 02 explains that panel.

# %% tags=["nbval-ignore-output"] alt="Three panels at t = 20: a digit, the digit under noise, and a density with two humps and noised points below it. Sliders for t, the noise and the way stand above them in a running notebook."
widgets.forward_explorer()

# %% [markdown]
# ## The whole idea in two pictures
#
# **Forward.** Add a little noise to an image, again and again. After enough steps nothing is left of it. This needs no learning.
#
# **Backward.** Learn to undo one small step. Start from pure noise, undo step after step, and a new image appears.
#
# That is a denoising diffusion probabilistic model, DDPM (Ho, Jain and Abbeel 2020).

# %% alt="Two handwritten digits, one per row, at seven times from t = 0 to t = 100: clear at first, then ever more grain, then only noise."
times = [0, 10, 25, 40, 55, 70, 100]
chain = [images[[5, 8]]]
for t in range(1, 101):
    chain.append(q_step(chain[-1], t, schedule, generator=generator))  # a little noise, again and again

fig, ax = plt.subplots(figsize=(7, 2.4))
plots.draw_images(torch.stack(chain, 1)[:, times], ax, columns=[f"t = {t}" for t in times])
ax.set_title("Forward: noise wins, and no one has to learn anything")
plt.show()

# %% [markdown]
# To go backward, something must look at a noisy image and say what the clean one was: a **denoiser**. Usually it is a network.
#
# For a few kinds of data the best denoiser, the one with the smallest mean squared error, is known exactly, as a formula. The course leans on them:
# when a picture goes wrong, there is no network to blame. Here the data are the 1,797 digits, each with a little Gaussian noise (standard deviation 0.1)
# on every pixel. The denoiser is exact, and nothing was trained.
#
# **Predict before you run.** We start from pure noise. Will the results be digits? Will they be *new* digits?

# %% alt="Six rows start as pure noise at t = 100 and end as six readable digits at t = 0."
data = GaussianMixture(weights=[1 / len(images)] * len(images), means=images.flatten(1), std=0.1)
denoiser = data.denoiser(schedule)  # the best that any network could do on these data

states = dict(p_sample_loop(denoiser, schedule, shape=(6, 64), generator=generator))  # t -> x_t
backward = torch.stack([states[t].reshape(-1, 1, 8, 8) for t in reversed(times)], 1)  # (6, 7, 1, 8, 8)

fig, ax = plt.subplots(figsize=(7, 6))
plots.draw_images(backward, ax, columns=[f"t = {t}" for t in reversed(times)])
ax.set_title("Backward: from pure noise, step by step, to digits")
plt.show()

# %% alt="Top row: six sampled digits. Bottom row: the training digit nearest to each. The pairs look the same apart from faint grain."
samples = states[0]
nearest = torch.cdist(samples, data.means.float()).argmin(1)
fig, ax = plt.subplots(figsize=(7, 2.6))
pairs = torch.stack([samples.reshape(-1, 1, 8, 8), images[nearest]])
names = [f"a {int(label)}" for label in labels[nearest]]
plots.draw_images(pairs, ax, rows=["sample", "nearest in data"], columns=names)
ax.set_title("They are digits, but not new ones: the exact denoiser knows only its data")
plt.show()

# %% [markdown]
# So the best denoiser *for a finite set* copies it. A network that makes new images cannot have reached that optimum.
# Why this is a good thing is a question for lesson 08.

# %% [markdown]
# ## The map
#
# The lessons follow five lectures on DDPM. The table in the README says which lecture, module and tests belong to each.
#
# | lesson | question it answers | state |
# |---|---|---|
# | 00 Start here | where will this take me? | you are here |
# | [01 Gaussians](01_gaussians.ipynb) | what can be computed exactly, and how? | ready |
# | [02 Forward process](02_forward.ipynb) | how does an image turn into noise? | ready |
# | [03 Schedules](03_schedule.ipynb) | how much noise, when? | ready |
# | [04 ELBO](04_elbo.ipynb) | what do we optimise, and why? | ready |
# | [04b The terms of the bound](04b_elbo_terms.ipynb) | which parts does it have, and which of them matter? | ready |
# | [05 Posterior](05_posterior.ipynb) | where was $x_{t-1}$, if $x_t$ and $x_0$ are known? | ready |
# | [06 Predictors](06_predictors.ipynb) | what should the network predict? | ready |
# | [07 Losses](07_losses.ipynb) | what does training minimise? | ready |
# | [08 Sampling](08_sampling.ipynb) | how does noise turn into an image? | ready |
# | [09 A Transformer](09_transformer.ipynb) | can a network reach the best possible loss? | ready |
# | [09b The lab in small](09b_small_lab.ipynb) | what does its density look like? | ready |
# | [10 A UNet](10_unet.ipynb) | does it work on images? | ready |
# | [11 Proofreading](11_proofreading.ipynb) | which printed formulas are wrong, and how would you notice? | ready |
#
# ## How a lesson works
#
# * A question comes first. Then the derivation, the **equation as code**, a check against the package, and a picture whose title says what to see.
# * "Predict before you run" means it: write your guess down first. You learn from the difference.
# * **Exercises** have a `check`. It says *right*, or names the mistake it recognises, or says *not answered yet*. It never stops the notebook.
# * Every formula here is tested by machine against an independent calculation. Where a lecture's print differs from the truth, the lesson says so.

# %% [markdown]
# ## Can you start? Five questions
#
# Replace `...` by your answer and run the cell. Two or more you cannot answer: read up on that topic first.
#
# **0.1** $X$ and $Y$ are independent, with standard deviations 3 and 4. What is the **variance** of $X+Y$?

# %% tags=["exercise:0.1"]
# BEGIN SOLUTION
variance_of_sum = 3**2 + 4**2
# END SOLUTION
check("0.1", variance_of_sum)

# %% [markdown]
# **0.2** $X$ has mean 2 and variance 1. Give mean and variance of $\tfrac12X+1$ as a pair.

# %% tags=["exercise:0.2"]
# BEGIN SOLUTION
mean_and_variance = (0.5 * 2 + 1, 0.5**2 * 1)
# END SOLUTION
check("0.2", mean_and_variance)

# %% [markdown]
# **0.3** Bayes. 30 % of the images are sevens. A detector fires on 90 % of the sevens, and on 30 % of the others. It fires. How probable is a seven?

# %% tags=["exercise:0.3"]
# BEGIN SOLUTION
probability_of_seven = 0.9 * 0.3 / (0.9 * 0.3 + 0.3 * 0.7)
# END SOLUTION
check("0.3", probability_of_seven)

# %% [markdown]
# **0.4** What is the Kullback-Leibler divergence $D_{\mathrm{KL}}\big(\mathcal N(0,1)\,\|\,\mathcal N(2,1)\big)$, in nats? It measures how far apart two distributions are. For Gaussians of equal variance
# it is $(\mu_1-\mu_2)^2/(2\sigma^2)$; lesson 01 derives that.

# %% tags=["exercise:0.4"]
# BEGIN SOLUTION
kl_in_nats = (2 - 0) ** 2 / (2 * 1)
# END SOLUTION
check("0.4", kl_in_nats)

# %% [markdown]
# **0.5** PyTorch. `a` has shape `(8, 1, 1, 1)` and `x` has shape `(8, 1, 28, 28)`. What is the shape of `a * x`? Answer with a tuple.

# %% tags=["exercise:0.5"]
# BEGIN SOLUTION
shape_of_product = (8, 1, 28, 28)
# END SOLUTION
check("0.5", shape_of_product)

# %% [markdown]
# ## What can this machine run?
#
# Lessons 00 to 08 and 11 need only a CPU: each takes less than a minute. 09 and 10 train networks.
# The cell below looks for a GPU. Its output differs from machine to machine.

# %% tags=["nbval-ignore-output"]
device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
print(f"torch {torch.__version__}, device: {device}, {torch.get_num_threads()} CPU threads")
print("Lessons 00 to 08 and 11: under a minute each, on the CPU.")
if device == "cpu":
    print("Lessons 09 and 10: a few minutes each. 10 loads the large network ready-trained.")
else:
    print("Lessons 09 and 10: a few minutes each. 10 trains the large network on this device.")

# %% [markdown]
# For a bug report, run `python -m ddpm_lesson.info` and paste what it prints.
#
# ## What to remember
#
# * Forward is fixed and easy. Backward needs a denoiser. The course is about finding the right one, and knowing why it is right.
# * Look at the picture, predict, run, compare.
#
# **Next:** [01 Gaussians](01_gaussians.ipynb).
#
# **Reference.** Ho, Jain and Abbeel 2020, *Denoising Diffusion Probabilistic Models*. The digits: see `data/README.md`.
