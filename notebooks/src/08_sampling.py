# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · Walk from noise to data, one draw at a time
#
# **You will do.** Turn the formula of lesson 06 into a sampler, in eight lines. Measure its error with the exact denoiser, so that no network is to blame. Make one slip at a time and see which of them show.
#
# **You will learn.** The two forms of the reverse step and why they are one. What $T$, $\sigma_t$ and the start cost. What the step has to do with Langevin dynamics. Why the best
# possible denoiser of a training set copies it.
#
# **You will need.** The forward jump (02), the posterior (05), $\epsilon_\theta$, $x_{0|t}$ and the score (06), the choice of $\sigma_t$ and the weights (07).
#
# Lecture 000: "Reverse Process (Generation)" (1) to (7), "Reverse Process with $\epsilon_t$ Predictor", "Direct Sampling vs. Generative Models", "x_0 Predictor (4)". Lecture 002: "Reverse
# Process". Lecture 004: "Generative steps", "Step 4: Code the generation process", "Conclusion". Ho et al. 2020: Algorithm 2, Eq. 11, 12 and 15, Section 3.2.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from ddpm_lesson import GaussianMixture, Schedule, plots, posterior_mean_var, sample, widgets
from ddpm_lesson.checks import check
from ddpm_lesson.data import digits
from ddpm_lesson.schedule import cosine_schedule, linear_schedule

torch.set_default_dtype(torch.float64)
mixture = GaussianMixture(weights=[0.3, 0.7], means=[[-1.479], [0.634]], std=0.25)  # variance 1
toy, schedule = Schedule([0.05 * s for s in range(1, 11)]), linear_schedule(100, rescale=True)
pixels = digits()[0].flatten(1).double()  # (1797, 64), each in [-1, 1]
seed = torch.Generator().manual_seed  # seed(9) is the generator, started anew at 9

# %% [markdown] tags=["claim:ancestral-sampling-algorithm", "claim:ancestral-sampling-step"]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $p_\theta(x_{t-1}\mid x_t)=\mathcal N(\mu_\theta(x_t,t),\sigma_t^2\mathbf I)$ | | the model's step back |
# | $\epsilon_\theta(x_t,t)$ | `denoiser(x, t)` | what the denoiser says about the noise in $x_t$. In this lesson it is exact: $\mathbb E[\epsilon\mid x_t]$ |
# | $\sigma_t$ | `sigma[t]` | the **standard deviation** of the step: $\sigma_t^2=\tilde\beta_t$ (`"posterior"`) or $\sigma_t^2=\beta_t$ (`"beta"`) |
# | $z$ | `z` | fresh standard normal noise of a reverse step |
# | $x_{0\mid t}$ | `x0_hat` | the guess at the clean image that $\epsilon_\theta(x_t,t)$ implies |
# | $s_\theta(x_t,t)$ | | the score that $\epsilon_\theta$ implies: $-\epsilon_\theta/\sqrt{1-\bar\alpha_t}$ (lesson 06) |
#
# The data are the two humps of lesson 02, `mixture`, and later the digits. Two schedules: `toy` ($T=10$) and `schedule` ($T=100$).
#
# Recall from lesson 07: for data $\mathcal N(0,1)$ the exact choice is $\sigma_t^2=\beta_t$; for data that are one point it is $\sigma_t^2=\tilde\beta_t$.
#
# ## 1 · The loop
#
# **The question.** (Lecture 000.) We have the step $p_\theta(x_{t-1}\mid x_t)$ for every $t$. How do we generate?
#
# The model's joint law is a product, read from the far end: $p_\theta(x_{0:T})=p(x_T)\,\prod_{t=1}^Tp_\theta(x_{t-1}\mid x_t)$. Each factor needs only the variable drawn just before. So draw them in this order. This is **ancestral sampling**:
#
# $$x_T\sim\mathcal N(0,\mathbf I);\qquad x_{t-1}\sim p_\theta(x_{t-1}\mid x_t)\quad\text{for }t=T,T-1,\dots,1;\qquad\text{return }x_0$$
#
# A draw from a Gaussian is its mean plus its standard deviation times $z$ (lesson 01). With the mean of lesson 06 (Ho et al. Eq. 11, Algorithm 2):
#
# $$x_{t-1}=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t,t)\Big)+\sigma_t\,z,\qquad z\sim\mathcal N(0,\mathbf I),\quad z=0\text{ at }t=1$$
#
# Why no noise at $t=1$? No later step would remove it. With $\sigma_t^2=\tilde\beta_t$ the formula says so itself: $\tilde\beta_1=0$. With $\sigma_t^2=\beta_t$ it is a rule of Algorithm 2.
#
# **Predict before you run.** Below, each chain starts from $\mathcal N(0,1)$. When does it decide which of the two humps to take: at once, half way, or in the last steps? (The midpoint between the humps is near $-0.4$.)


# %% alt="Exact density of x_t with t falling from 100 to 0 from left to right: one broad band that splits into two. Three sampled chains wander over it and end in one of the two bands."
def ancestral(denoiser, x, schedule, sigma, generator):
    """The chain (T, x_T), ..., (0, x_0): one reverse step after the other."""
    yield schedule.T, x
    for t in range(schedule.T, 0, -1):
        inner = x - (1 - schedule.alpha[t]) / (1 - schedule.alpha_bar[t]).sqrt() * denoiser(x, t)
        z = torch.randn(x.shape, generator=generator) if t > 1 else 0.0
        x = inner / schedule.alpha[t].sqrt() + sigma[t] * z
        yield t - 1, x

eps_exact, sigma = mixture.denoiser(schedule), schedule.sigma("posterior")
xT = torch.randn((10_000, 1), generator=seed(8))
ours = dict(ancestral(eps_exact, xT, schedule, sigma, seed(9)))
print("as the package:", ours[0].allclose(sample(eps_exact, schedule, xT=xT, generator=seed(9))))
side = torch.stack([ours[t][:, 0] for t in (100, 70, 50, 30, 20, 10, 0)]) > -0.4
print("share on the final side:", (side == side[-1]).double().mean(1).tolist())
fig, ax = plt.subplots(figsize=(7, 2.5))
plots.draw_forward(mixture, schedule, ax, paths=torch.stack([ours[t][3:6, 0] for t in range(101)]))
ax.set(xlim=(100, 0), title="Read from left to right: noise splits into the two humps of the data")
plt.show()

# %% [markdown]
# Neither at once nor in the last steps: mostly between $t=50$ and $t=10$. The shares above are for $t=100,70,50,30,20,10$ and 0. Chance alone gives 0.56 (the two sides hold 0.30 and 0.70 of the $x_0$, and 0.34 and 0.66 of the $x_{100}$).
# At $t=50$ little more than that is settled, at $t=20$ 0.93.
#
# ## 2 · Four prints, four numbers
#
# The slides print this loop with four slips. Each is easy to make, so we weigh each.
#
# * The outer factor as $1/\sqrt{\bar\alpha_t}$ (lecture 000, slides (2) and (3); lecture 004, Step 4). It undoes $t$ steps, and the loop would do that at every $t$.
# * $\sigma_t^2z$ for $\sigma_tz$ (lecture 004, "Generative steps"). Then the variance of the step is $\sigma_t^4$.
# * "Sample $x_t\sim\mathcal N(0,\mathbf I)$" as the first line (lecture 000). The start is $x_T$. The other $x_t$ need not be near that law: for data $\pm2$, $\mathrm{Var}(x_t)=1+3\bar\alpha_t$ (lesson 02).
# * "$x_t\sim p_\theta(x_{t-1}\mid x_t)$" (lecture 000). The variable drawn is $x_{t-1}$. From $x_5=1.2$ it lands around another number.
#
# The code weighs the slips in this order, at $t=5$ of `toy` and with the $x_0=0.7$ of lesson 05. **Predict:** the first slip multiplies every step by a surplus $1/\sqrt{\bar\alpha_{t-1}}$. Over the 100 steps of our schedule, do these factors multiply to 3, to 1000, or to more?

# %%
t, xt, x0, ab = 5, torch.tensor([1.2]), torch.tensor([0.7]), toy.alpha_bar  # as in lesson 05
mean, var = posterior_mean_var(xt, x0, t, toy)  # which lesson 05 held against Bayes' rule on a grid
inner = xt - toy.beta[t] / (1 - ab[t]) * (xt - ab[t].sqrt() * x0)  # the ε of x_0 put in
bar, one = ((inner / factor.sqrt()).item() for factor in (ab[t], toy.alpha[t]))
print(f"mean of x_4: {bar:.3f} with 1/√ᾱ_t, {one:.3f} with 1/√α_t, true {mean.item():.3f}")
print(f"variance of x_4: {var**2:.4f} with σ² z, {var:.4f} with σ z, which is true")
print(f"data ±2: Var(x_5) {1 + 3 * ab[5]:.3f}, Var(x_10) {1 + 3 * ab[10]:.3f}, first draw 1.000")
print(f"surplus of 1/√ᾱ_t over 100 steps: 10^{-schedule.alpha_bar[:-1].log10().sum() / 2:.0f}")

# %% [markdown]
# That is the product of the surplus factors alone. The rest of the step pulls the other way, and cannot make up for it.
#
# **Exercise 8.1.** One step: $\alpha_t=0.64$, $\bar\alpha_t=0.19$, $\sigma_t^2=\beta_t$. The state is $x_t=1$, the denoiser says $\epsilon_\theta=0.5$, and the noise drawn is $z=-1$. What is $x_{t-1}$?

# %% tags=["exercise:8.1"]
# BEGIN SOLUTION
step_8_1 = (1 - 0.36 / 0.81**0.5 * 0.5) / 0.64**0.5 + 0.36**0.5 * (-1)
# END SOLUTION
check("8.1", step_8_1)

# %% [markdown] tags=["claim:refinement-view"]
# ## 3 · Each step refines a guess
#
# **Q.** (Lecture 000.) You are given $x_t$ and the noise prediction $\epsilon_\theta(x_t,t)$. What is the prediction $x_{0\mid t}$ of $x_0$? Write it down, then look into the code of the figure
# (Ho et al. Eq. 15).
#
# So every step holds a guess at the finished image, and the chain can be read as **refining** it. Does the guess get better as $t$ falls? Yes, on average, when $\epsilon_\theta$ is exact and $x_t$ is a
# noised $x_0$. Then $x_{0\mid t}=\mathbb E[x_0\mid x_t]$, and
#
# $$\mathbb E\,\|x_0-\mathbb E[x_0\mid x_{t-1}]\|^2\ \le\ \mathbb E\,\|x_0-\mathbb E[x_0\mid x_t]\|^2$$
#
# *Proof.* Someone who holds $x_{t-1}$ can make an $x_t$: shrink it and add noise. The forward step does not look at $x_0$, so this is as good as the real $x_t$. Whatever can be guessed from $x_t$ can
# thus be guessed from $x_{t-1}$, with the same mean error. The best guess from $x_{t-1}$ is $\mathbb E[x_0\mid x_{t-1}]$ (lesson 06). It is at least as good. $\square$
#
# It is a statement on averages. A single chain may take a wrong turn. And for data $\pm1$ the guess from pure noise is near 0, which is no data point at all.
#
# **Predict before you run.** The data are now the digits of lesson 00, each pixel with noise of standard deviation 0.1. That is a mixture of 1797 Gaussians, and its denoiser is known exactly. What will $x_{0\mid t}$ look like at $t=100$: noise, grey, or a digit? (Below the figure: the inequality in numbers, for data $\pm1$ and `toy`, on a grid.
# There $\mathbb E\,(x_0-x_{0\mid t})^2=1-\mathbb E\,x_{0\mid t}^2$, because the error of a conditional mean is uncorrelated with that mean.) Then play the chains yourself, forwards and backwards: at which $t$ is it decided which digit it will be?

# %% alt="One digit in two rows for seven times from t = 100 to 1. Upper row: x_t goes from noise to a digit. Lower row: the guess starts as a blurred average and is a sharp digit while x_t is still grainy."
cosine = cosine_schedule(100)
data = GaussianMixture([1 / len(pixels)] * len(pixels), pixels, std=0.1)
eps_digits, sigma_digits = data.denoiser(cosine), cosine.sigma("posterior")
start, times, guesses = torch.randn((1, 64), generator=seed(1)), [100, 85, 70, 55, 40, 20, 1], []
states = dict(ancestral(eps_digits, start, cosine, sigma_digits, seed(2)))
for t in times:
    ab, x = cosine.alpha_bar[t], states[t]
    guesses.append((x - (1 - ab).sqrt() * eps_digits(x, t)) / ab.sqrt())  # x_{0|t}
pair = torch.cat([states[t] for t in times] + guesses).reshape(2, 7, 1, 8, 8)
fig, ax = plt.subplots(figsize=(7, 2.4))
plots.draw_images(pair, ax, rows=["$x_t$", "$x_{0|t}$"], columns=[f"t = {t}" for t in times])
ax.set_title("The guess is a blurred average, then a digit, long before $x_t$ is one")
plt.show()
coin, grid = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.0), torch.linspace(-8, 8, 4001)[:, None]
for t in range(1, 11):
    density, guess = coin.noised(t, toy).log_prob(grid).exp(), coin.posterior_mean(grid, t, toy)
    error = (1 - (density * guess[:, 0] ** 2).sum() * 0.004).abs()  # the step of the grid is 0.004
    print(f"{error:.3f}", end=" " if t < 10 else "  for t = 1 to 10\n")

# %% tags=["nbval-ignore-output"] alt="Three panels before the first step: six images of pure noise, the six guesses of x_0, all the same grey average, and 400 points under the bell curve of the exact density."
widgets.sampling_explorer()

# %% [markdown] tags=["claim:two-sampler-forms-identical"]
# ## 4 · Two forms, one sampler
#
# Lecture 000 shows a second loop: (1) compute $x_{0\mid t}$ from $x_t$ and $\epsilon_\theta$; (2) put it into the posterior mean $\tilde\mu_t(x_t,x_{0\mid t})$; (3) add $\sigma_tz$. The slide remarks that this is
# not quite what the loop before does.
#
# **Q.** Is it another sampler? Lesson 05, section 5, put $x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$ into $\tilde\mu_t(x_t,x_0)$. It is the same substitution, with $\epsilon_\theta$ for $\epsilon$:
#
# $$\tilde\mu_t(x_t,x_{0\mid t})=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t,t)\Big)$$
#
# As algebra the two loops are one. (With the misprinted factor $1/\sqrt{\bar\alpha_t}$ they would differ.) **Predict:** on the same noise, do the computer's two chains agree in every bit?
# And what if the guess is clipped to $[-1,1]$ in between?

# %%
x, noise = xT, seed(9)  # the start and the noise of section 1
for t in range(100, 0, -1):
    ab = schedule.alpha_bar[t]
    x0_hat = (x - (1 - ab).sqrt() * eps_exact(x, t)) / ab.sqrt()
    mean, _ = posterior_mean_var(x, x0_hat, t, schedule)
    x = mean + sigma[t] * torch.randn(x.shape, generator=noise) if t > 1 else mean
print("equal in every bit:", x.equal(ours[0]), "  to rounding:", x.allclose(ours[0], 0, 1e-11))
move = sample(eps_exact, schedule, xT=xT, clip=1.0, generator=seed(9)) - ours[0]
print(f"with the clip, x_0 moves by {move.abs().mean():.2f} on average")

# %% [markdown]
# The two forms round differently, so the last bits differ. Nothing else does. Clipping changes the sampler: here it cuts into data that do lie outside $[-1,1]$. For pixels in $[-1,1]$ the exact guess is
# a mean of such pixels, so the clip never moves it. It moves only a network's error.
#
# **Exercise 8.2.** $\alpha_t=0.8$, $\bar\alpha_t=0.4$, $\bar\alpha_{t-1}=0.5$. The state is $x_t=0.8$ and the denoiser says $\epsilon_\theta=-1$. Clip the guess $x_{0\mid t}$ to $[-1,1]$. What is the **mean** of $x_{t-1}$? (Three digits.)

# %% tags=["exercise:8.2"]
# BEGIN SOLUTION
mean_8_2 = (0.8**0.5 * 0.5 * 0.8 + 0.5**0.5 * 0.2 * min((0.8 + 0.6**0.5) / 0.4**0.5, 1)) / 0.6
# END SOLUTION
check("8.2", mean_8_2)

# %% [markdown] tags=["claim:sampling-is-stochastic"]
# ## 5 · One start, many ends
#
# **The question.** Is $x_0$ fixed once $x_T$ is drawn? Lecture 004 says no: each step adds fresh noise. One chain uses $x_T$ and $T-1$ draws of $z$ (one for each $t=T,\dots,2$; a sampler that adds noise at
# $t=1$ would use $T$).
#
# **Predict before you run.** Six chains from **one** $x_T$. First row: each with its own noise. Second row: the same loop with all $\sigma_t=0$. Third row: all $\sigma_t=0$ again, from six **different** $x_T$. What will the second and the third row show?

# %% alt="Top row: six chains from one start end in different digits. Second row, sigma 0: six copies of one image. Third row, sigma 0 from six different starts: the same image six times again."
one, other = start.expand(6, 64), torch.randn((6, 64), generator=seed(5))
rows = [dict(ancestral(eps_digits, x, cosine, k * sigma_digits, seed(4)))[0]
        for x, k in ((one, 1.0), (one, 0.0), (other, 0.0))]
fig, ax = plt.subplots(figsize=(7, 3.6))
plots.draw_images(torch.stack(rows).view(3, 6, 1, 8, 8), ax, rows=["noise", "σ = 0", "six $x_T$"])
ax.set_title("The noise of the steps makes the variety, far more than the start does")
plt.show()

# %% [markdown]
# With all $\sigma_t=0$ the chain is a function of $x_T$, and here hardly even that: it forgets its start. It is no longer a draw from $p_\theta$. Section 6 shows, for data $\mathcal N(0,1)$, where the variety goes.
#
# ## 6 · What does a finite number of steps cost?
#
# In general the true way back is no Gaussian (lesson 05, section 7). A Gaussian step is an approximation, which many small steps make better (lesson 03, section 5). **How much better?** With a trained network one cannot tell this error from the
# network's own. With the exact denoiser of the mixture only the sampler's own error is left.
#
# We do not even need samples. Let $p(x_t)$ be the law of the sampler's $x_t$. In one dimension the next one follows by an integral, which we put on a grid:
#
# $$p(x_{t-1})=\int\mathcal N\big(x_{t-1};\mu_\theta(x_t,t),\sigma_t^2\big)\,p(x_t)\,dx_t,\qquad p(x_T)=\mathcal N(0,1)$$
#
# The last step has no noise: it moves each point $x_1$ to $\mu_\theta(x_1,1)=\mathbb E[x_0\mid x_1]$, with its probability. (At $t=1$ the weights of lesson 05 are 0 for $x_1$ and 1 for the guess.)
#
# To compare with the data: the **Wasserstein distance**. Move probability until one law has become the other; it is the smallest mean distance that this takes. On the line it is the area between the two distribution functions, $P(x_0\le\cdot)$.


# %%
def law_of_x0(schedule, kind, start):
    """The sampler's x_0 without sampling: points, and the probability of each."""
    sigma, mu = schedule.sigma(kind), mixture.denoiser(schedule, predicts="mean")
    x = torch.arange(-6, 6, float(sigma[-1] / 2))[:, None]  # x_T on a grid, fine against the noise
    p = start.log_prob(x).softmax(0)
    for t in range(schedule.T, 1, -1):
        mean, gap = mu(x, t)[:, 0], float(sigma[t - 1] / 2) if t > 2 else 0.004
        x = torch.arange(-6, 6, gap)[:, None]  # x_{t-1} on a grid, fine against the next noise
        p = (-(((x - mean) / sigma[t]) ** 2) / 2).softmax(0) @ p  # the integral, as a sum
    return mu(x, 1)[:, 0], p

def distance(points, p):
    """Wasserstein distance of sorted points with probabilities p to the mixture."""
    F = torch.tensor(np.interp(grid[:, 0], points, p.cumsum(0) - p / 2, left=0, right=1))
    F_data = torch.special.ndtr((grid - mixture.means[:, 0]) / mixture.std) @ mixture.weights
    return torch.trapezoid((F - F_data).abs(), grid[:, 0])


# %% [markdown]
# The chains of different length visit the noise levels of one schedule, the paper's with $T=1000$. A **strided** sampler keeps the values of $\bar\alpha$ at $t_i=\lfloor1000\,i/\text{steps}\rfloor$ and takes
# $\beta'_i=1-\bar\alpha_{t_i}/\bar\alpha_{t_{i-1}}$ for the step from $t_{i-1}$ to $t_i$. The denoiser depends on $\bar\alpha$ only, so the same one serves. (In the package: `sample(..., steps=)`.) The start costs next to nothing: $\bar\alpha_{1000}=4\cdot10^{-5}$.
#
# **Predict before you run.** Ten times more steps: is the error 10 times smaller, or $\sqrt{10}$ times, or 100 times?

# %% alt="Distance to the data against the number of steps, both logarithmic. Two falling lines, the beta choice below the posterior choice; at many steps both run nearly parallel to a grey line proportional to one over steps."
prior, full = GaussianMixture([1.0], [[0.0]], 1.0), linear_schedule()
counts, strided, errors = [10, 30, 50, 100, 300, 1000], {}, {"posterior": [], "beta": []}
for steps in counts:
    kept = full.alpha_bar[[1000 * i // steps for i in range(steps + 1)]]
    strided[steps] = Schedule(1 - kept[1:] / kept[:-1])
    for kind in errors:
        errors[kind].append(distance(*law_of_x0(strided[steps], kind, prior)))
    print(f"{steps:4d} steps:", *(f"  {kind} {errors[kind][-1]:.5f}" for kind in errors))
fig, ax = plt.subplots()
ax.loglog(counts, [3 / n for n in counts], color="0.6", lw=1, label="proportional to 1/steps")
ax.loglog(counts, errors["posterior"], "s-", color=plots.COLORS["posterior"], label="σ² = β̃")
ax.loglog(counts, errors["beta"], "o--", color=plots.COLORS["noised"], label="σ² = β")
ax.set(xlabel="steps", ylabel="Wasserstein distance", title="No network to blame: the distance falls nearly like 1/steps")
ax.legend()
plt.show()

# %% [markdown]
# Nearly 10 times smaller. From 10 to 100 steps the distance falls by factors of 5.9 ($\tilde\beta_t$) and 7.5 ($\beta_t$), from 100 to 1000 by 7.7 and 9.0. (Here $\sigma_t^2=\beta_t$ does better. The mixture has variance 1; for data $\mathcal N(0,1)$ it is the exact choice, as recalled above. Other data may prefer $\tilde\beta_t$.)
#
# **Where does variance get lost?** Take data $\mathcal N(0,1)$. Then $x_t\sim\mathcal N(0,1)$ at every $t$, and $\epsilon_\theta=\sqrt{1-\bar\alpha_t}\,x_t$ is exact (lesson 06). Put it into the mean:
#
# $$\mu_\theta=\frac{x_t-(1-\alpha_t)\,x_t}{\sqrt{\alpha_t}}=\sqrt{\alpha_t}\,x_t\qquad\Longrightarrow\qquad\mathrm{Var}(x_{t-1})=\alpha_t\,\mathrm{Var}(x_t)+\sigma_t^2$$
#
# With $\sigma_t^2=\beta_t=1-\alpha_t$, variance 1 stays 1, up to the last step. That one adds no noise: $\mathrm{Var}(x_0)=\alpha_1=1-\beta_1$. The sampler returns $\mathbb E[x_0\mid x_1]$, and a conditional mean varies
# less than what it is the mean of. With $\sigma_t^2=\tilde\beta_t<\beta_t$, every step loses a little. (With all $\sigma_t=0$ only the product of the factors $\alpha_t$ is left, $\bar\alpha_T$: nearly no variance at all. Compare the third row of section 5.) **Predict** the standard deviation after 50 steps with $\tilde\beta_t$: 0.99, 0.93 or 0.5?

# %%
short, var = strided[50], torch.ones(2)  # Var(x_t) for σ² = β̃ and for σ² = β
for t in range(50, 1, -1):
    var = short.alpha[t] * var + torch.stack([short.beta_tilde[t], short.beta[t]])
std = (short.alpha[1] * var).sqrt()  # the last step
print(f"50 steps: std {std[0]:.3f} (β̃), {std[1]:.4f} (β); √(1-β_1) = {short.alpha[1].sqrt():.4f}")

# %% [markdown]
# **Exercise 8.3.** Data $\mathcal N(0,1)$, exact denoiser, $T=2$, $\alpha_1=0.9$, $\alpha_2=0.8$. The chain starts from $\mathcal N(0,1)$ and takes $\sigma_t^2=\tilde\beta_t$. What is the **variance** of the $x_0$ it returns? (Three digits.)

# %% tags=["exercise:8.3"]
# BEGIN SOLUTION
variance_8_3 = 0.9 * (0.8 * 1 + 0.1 / 0.28 * 0.2)
# END SOLUTION
check("8.3", variance_8_3)

# %% [markdown]
# ## 7 · One slip at a time
#
# Now break the loop on purpose. Each slip below is a token or two of code. All use $\sigma_t^2=\beta_t$ and 20,000 chains.
#
# * Noise is added at $t=1$ as well.
# * The loop stops at $t=2$: $T-1$ steps, and $x_1$ is returned.
# * The loop starts at $T-1$: the draw for $x_T$ is taken for $x_{T-1}$.
# * `alpha_bar[t - 1]` is read for `alpha_bar[t]` in front of $\epsilon_\theta$. (At $t=1$ this divides by $1-\bar\alpha_0=0$. That is luck: every sample is infinite, and you notice. We let it read $\bar\alpha_1$ there, as a quick repair would.)
# * $\sigma_t^2z$ for $\sigma_tz$.
#
# **Predict before you run.** Which of the five will you *not* see? And does $T=100$ show them better than $T=10$, or worse?


# %% alt="Six histograms of samples at T = 10 over the data's density, which has a small hump at -1.5 and a large one at 0.6. Right, and start at T - 1: good fit. Noise at t = 1 and stop at t = 2: humps too wide. Reading alpha-bar one early and sigma squared: humps too narrow."
def slips(s):
    eps, sd, ab = mixture.denoiser(s), s.sigma("beta"), s.alpha_bar
    z = torch.randn((2, 20_000, 1), generator=seed(8))  # the start, and noise for t = 1
    loops = [(eps, s, sd), (eps, Schedule(s.beta[1:-1]), sd), (eps, s, sd**2),
             (lambda x, t: eps(x, t) * ((1 - ab[t]) / (1 - ab[max(t - 1, 1)])).sqrt(), s, sd)]
    good, late, squared, early = (dict(ancestral(f, z[0], *how, seed(9))) for f, *how in loops)
    return {"right": good[0], "noise at t = 1": good[0] + sd[1] * z[1], "stops at t = 2": good[1],
            "starts at T - 1": late[0], "reads ᾱ one early": early[0], "σ² z": squared[0]}

short, long, each = slips(toy), slips(schedule), torch.full((20_000,), 5e-5)
fig, axes = plt.subplots(2, 3, figsize=(7, 3.8), sharex=True, sharey=True)
for name, ax in zip(short, axes.flat, strict=True):
    near, far = (distance(x[name][:, 0].sort().values, each) for x in (short, long))
    print(f"{name:18s} distance to the data: {near:.2f} at T = 10, {far:.2f} at T = 100")
    ax.hist(short[name], 60, range=(-3, 3), density=True, color=plots.COLORS["model"], alpha=0.6)
    plots.draw_density(mixture, ax, "data", x=torch.linspace(-3, 3, 121))
    ax.set_title(name, fontweight="normal")
    ax.label_outer()
fig.suptitle("T = 10: four slips bend the samples, one hides even here", fontweight="bold")
plt.show()

# %% [markdown]
# Starting at $T-1$ leaves no trace in 20,000 samples (with new seeds, their distance varies by about 0.004 at $T=10$), since $q(x_{T-1})$ is nearly the prior as well. Such a slip needs a test of the index, not an
# eye. With $T=100$, noise at $t=1$ and the missing step hide too, because $\beta_1$ is small there. Only $\sigma_t^2z$ shows better: all $\sigma_t$ are small, and their squares are far smaller. So test with a short chain first,
# and do not trust a long one that looks right.
#
# **A wrong start.** Lesson 02 took the paper's $\beta$ from 0.0001 to 0.02 for 50 steps instead of 1000. Then $\bar\alpha_T$ is far from 0 (0.60; at $T=20$ even 0.82), and $\mathcal N(0,1)$ is not the law of $x_T$. We promised to show
# what comes out. For the mixture: the exact law of $x_0$, from the wrong start and from the right one, $q(x_T)$. For the digits: 1000 samples from either start, $T=20$. **Predict:** will the digits look bad?

# %% alt="Share of each digit class among 1000 samples: pale bars near 10 percent from the right start; dark bars from the wrong start with far too few ones and sixes and too many zeros."
for T in (10, 50):
    for name, law in (("N(0, 1)", prior), ("q(x_T)", mixture.noised(T, linear_schedule(T)))):
        x, p = law_of_x0(linear_schedule(T), "beta", law)
        print(f"T = {T} from {name:7}: {p[x < 0].sum():.3f} below 0, distance {distance(x, p):.3f}")
cut, z = linear_schedule(20), torch.randn((1000, 64), generator=seed(8))
fig, ax = plt.subplots()
for name, x, at in (("right", data.noised(20, cut).sample(1000, seed(8)), -0.2), ("wrong", z, 0.2)):
    x = sample(data.denoiser(cut), cut, xT=x, sigma="beta", generator=seed(9))
    gap, nearest = torch.cdist(x, pixels).min(1)
    share = torch.bincount(digits()[1][nearest], minlength=10) / 1000
    look = {"label": f"{name} start: {gap.mean():.2f} from a digit", "alpha": 0.65 + 1.5 * at}
    ax.bar(torch.arange(10) + at, share, 0.38, color=plots.COLORS["model"], **look)
ax.set(xlabel="class of the nearest digit", xticks=range(10), ylabel="share", ylim=(0, 0.22))
ax.set_title("A wrong start: the samples are digits, in the wrong proportions")
ax.legend()
plt.show()

# %% [markdown] tags=["claim:langevin-like-step"]
# The mixture itself has the share 0.304 below 0. With mean 0 and variance 1 it hides a missed prior well, at $T=50$ nearly all of it (lesson 03 moved the mean, and the small hump doubled). The digits do not look bad: 0.95 from the
# nearest real one, against 0.86. (The data's own noise makes $0.1\sqrt{64}=0.8$ of it.) But how many go where is wrong: few ones, few sixes, many zeros. (Each share of 1000 is uncertain by 0.01.)
#
# ## 8 · Is it Langevin dynamics?
#
# Write the step with the score. Since $\epsilon_\theta=-\sqrt{1-\bar\alpha_t}\,s_\theta$, the root cancels (Ho et al., Section 3.2; lecture 002):
#
# $$x_{t-1}=\frac{1}{\sqrt{\alpha_t}}\big(x_t+\beta_t\,s_\theta(x_t,t)\big)+\sigma_tz$$
#
# For small $\beta_t$, $\frac1{\sqrt{1-\beta_t}}=1+\frac12\beta_t+O(\beta_t^2)$. With $\sigma_t^2=\beta_t$, set it beside one **Langevin** step of size $\delta$, which goes uphill along a fixed score $s$ and adds noise:
#
# $$x_{t-1}\approx x_t+\beta_t\big(s_\theta+\tfrac12x_t\big)+\sqrt{\beta_t}\,z\qquad\text{and}\qquad x\leftarrow x+\tfrac\delta2\,s(x)+\sqrt\delta\,z$$
#
# Alike, not the same: with $\delta=\beta_t$, the reverse step has **twice** the score, and an extra drift $\frac12\beta_tx_t$. Langevin steps, repeated, settle on the law whose score is $s$ (as $\delta\to0$). The reverse step is not made to
# settle. Its score moves with $t$, and each small step carries $q(x_t)$ to nearly $q(x_{t-1})$.
#
# With the score $-x$ of $\mathcal N(0,1)$ the two even agree to first order: $\beta_t(-x+\frac12x)=-\frac12\beta_tx$. Other scores tell them apart.
#
# **Predict before you run.** Hold the score fixed at that of $\mathcal N(0,\frac14)$, $s(x)=-4x$, and repeat each step. Each settles at the variance $v$ that the step leaves as it is. Which one?

# %%
for name, factor in (("reverse step", 0.996 / 0.999**0.5), ("Langevin", 0.998)):  # β = δ = 0.001
    settled = 0.001 / (1 - factor**2)  # x times the factor, plus noise: v = factor² v + 0.001
    print(f"{name:12s} with the fixed score settles at variance {settled:.4f}")

# %% [markdown]
# Langevin stays with $\mathcal N(0,\frac14)$. The reverse step does not: for small $\beta$ it is $x\leftarrow(1-\frac72\beta)\,x+\sqrt\beta\,z$, so $v=(1-\frac72\beta)^2v+\beta\approx v-7\beta v+\beta$, and $v=\frac17=0.1429$.
#
# **And the training?** By lesson 06 the noise loss is denoising score matching, with a weight: $\|\epsilon-\epsilon_\theta\|^2=(1-\bar\alpha_t)\|s_\theta-\nabla\log q(x_t\mid x_0)\|^2$. Put the weight $\omega'_t$ of Ho et al. Eq. 12
# (lesson 07) in front: the mean is $L_{t-1}$, a term of the bound, up to the constant $C_t$. With weight 1, as in $L_{\mathrm{simple}}$, it is not. The last remark of lecture 002's "Reverse Process" is about the weighted one.
#
# **Exercise 8.4.** Repeat the small-$\beta$ reverse step with the fixed score $s(x)=-2x$ of $\mathcal N(0,\frac12)$. At which variance does it settle, as $\beta\to0$? (A fraction, or three digits.)

# %% tags=["exercise:8.4"]
# BEGIN SOLUTION
variance_8_4 = 1 / (2 * (2 - 0.5))
# END SOLUTION
check("8.4", variance_8_4)

# %% [markdown] tags=["claim:exact-minimiser-memorises"]
# ## 9 · Why not just sample the training data?
#
# **Q.** (Lecture 000.) Why do we not sample directly from the training data, instead of training a generative model? Write down two reasons.
#
# Training minimises the mean over a *finite* set $x^{(1)},\dots,x^{(n)}$. For that set the minimiser is known: $\mathbb E[x_0\mid x_t]$, with Bayes' rule over the $n$ points,
#
# $$\mathbb E[x_0\mid x_t]=\sum_iw_i\,x^{(i)},\qquad w_i\propto\exp\Big[-\frac{\|x_t-\sqrt{\bar\alpha_t}\,x^{(i)}\|^2}{2\,(1-\bar\alpha_t)}\Big]$$
#
# At $t=1$ the denominator is $2\beta_1$, tiny. The nearest point takes all the weight, up to exponentially small terms, and the last step returns it. (With noise at $t=1$ and $\sigma_1^2=\beta_1$, each pixel would keep an error of variance $\beta_1$.)
#
# **Exercise 8.5.** Two training points, $x^{(1)}=1$ and $x^{(2)}=-1$. $\bar\alpha_t=0.36$. What is $\mathbb E[x_0\mid x_t]$ at $x_t=0.5$? (Three digits.)
#
# **Predict before you run on.** After the exercise 900 digits are the training set and the other 897 are held out. How far is a sample of the exact minimiser from its nearest training digit? Then a second denoiser, the **smoother** one:
# exact for the training digits plus noise of standard deviation 0.3 on every pixel. Which of the two guesses $x_0$ better when the digit is new?

# %% tags=["exercise:8.5"]
# BEGIN SOLUTION
mean_8_5 = torch.tanh(torch.tensor(0.36**0.5 * 0.5 / (1 - 0.36)))
# END SOLUTION
check("8.5", mean_8_5)

# %%
train, held_out = pixels[torch.randperm(1797, generator=seed(0))].split([900, 897])
points, t = GaussianMixture([1 / 900] * 900, train, std=0.0), 20
xt, ab = torch.randn((5, 64), generator=seed(1)), schedule.alpha_bar[t]
w = (-(torch.cdist(xt, ab.sqrt() * train) ** 2) / (2 * (1 - ab))).softmax(1)  # the formula
print("as the package:", torch.allclose(w @ train, points.posterior_mean(xt, t, schedule)))
copies = sample(points.denoiser(schedule), schedule, (200, 64), generator=seed(8))
near, far = (torch.cdist(x, train).min(1).values for x in (copies, held_out))
print("all 200 samples within 0.001 of a training digit:", bool((near < 1e-3).all()))
print(f"held-out digits: {far.median():.1f} away, in the median")

# %% alt="Mean squared error of the guess per pixel against t, four curves. The exact minimiser: near zero on training digits up to t = 15, 0.08 on held-out digits. The smoother denoiser: slightly higher on training digits, lower on held-out digits up to t = 20. Each pair meets as t grows."
fig, ax = plt.subplots()
for std, name, role, mark in ((0.0, "minimiser", "posterior", "o"), (0.3, "smoother", "model", "")):
    model = GaussianMixture([1 / 900] * 900, train, std)
    for x0, kind, line in ((held_out[:300], "held-out", "--"), (train[:300], "training", "-")):
        errors, noise, ts = [], seed(3), range(1, 42, 4)
        for t, ab in zip(ts, schedule.alpha_bar[1:42:4], strict=True):
            xt = ab.sqrt() * x0 + (1 - ab).sqrt() * torch.randn(x0.shape, generator=noise)
            errors.append(((model.posterior_mean(xt, t, schedule) - x0) ** 2).mean())
        print(f"{name:9s} on {kind} digits: {errors[2]:.3f} at t = 9")
        ax.plot(ts, errors, mark + line, color=plots.COLORS[role], label=f"{name}, {kind}")
ax.set(xlabel="t", title="Error per pixel: at small t the exact minimiser fails on new digits")
ax.legend()
plt.show()

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# The slide's reasons: a network need not store the data; its samples are new, and so keep the data private; it takes conditions. We test neither the first nor the last. The second one needs care.
# It holds for networks that have **not** reached the minimum of their training loss. At the minimum, sampling the model *is* sampling the training data, at the price of $T$ calls of the network.
#
# </details>

# %% [markdown]
# So why does a real model not return its training data? The minimiser is unique (lesson 06), and the chain driven by it ends on training digits: all 200 did. So a model whose samples are new has a training loss
# **above** the minimum. The failure is the point. The smoother denoiser has the larger error in training (0.023 against 0.000 at $t=9$) and the smaller one on new
# digits (0.044 against 0.083), up to about $t=25$. It is a stand-in for a network. Why a trained network stops short (size, architecture, training time) is an empirical matter, which this lesson does not show.
#
# ## What to remember
#
# * Start at $x_T$. One step back: mean, plus $\sigma_tz$. $T$ steps, and no noise at $t=1$, so the sampler returns $\mathbb E[x_0\mid x_1]$.
# * Through $x_{0\mid t}$ or straight from $\epsilon_\theta$: one sampler, unless the guess is changed in between.
# * With the exact denoiser of the mixture the error falls nearly like 1/steps. The choice of $\sigma_t$ matters most when the steps are few.
# * A wrong start gives good samples in wrong numbers. Look at $\bar\alpha_T$.
# * Test the loop with a short chain and known data. At $T=100$ three of the five slips hide.
# * The exact minimiser of a finite training set copies it. New images come from not reaching it.
#
# **Next:** [09 A Transformer learns two bumps](09_transformer.ipynb).
#
# **References.** Lectures 000, 002 and 004, places named above. Ho et al. 2020, Algorithm 2, Eq. 11, 12, 15 and Section 3.2. Strided sampling: Nichol and Dhariwal 2021, *Improved Denoising Diffusion
# Probabilistic Models*, Section 4.
