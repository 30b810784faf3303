# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Predict the mean, the image or the noise, and see that they are one
#
# **You will do.** Turn each of three predictions into the other two. Collect all the clean images that explain one noisy image. Train a small network and hold it against the exact answer.
#
# **You will learn.** What a denoiser says when it cannot know: the average of all explanations, which need not be one of them. What the noise has to do with the slope of $\log q(x_t)$.
#
# **You will need.** The posterior mean $\tilde\mu_t$ from lesson 05, the forward jump from lesson 02, Bayes' rule.
#
# Lecture 000: "Denoising Matching Term" (3) to (5), "x_0 Predictor", "DDPM" (recap), "Variational Distribution", "Training", "Reverse Process (Generation)" (3) and (4). Lecture 001: "Reverse Process".
# Lecture 002: "Reverse Process", Appendix D. Lecture 003: "Reverse process". Lecture 004: "Denoising process", "Noise prediction", "MSE loss". Ho et al. 2020: Section 3.2, Eq. 7, 11, 12 and 15.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.distributions import Normal

from ddpm_lesson import GaussianMixture, Schedule, linear_schedule, plots, predictors, q_sample, widgets
from ddpm_lesson.checks import check
from ddpm_lesson.data import digits

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(61)
mixture = GaussianMixture(weights=[0.3, 0.7], means=[[-1.479], [0.634]], std=0.25)  # the data
toy = Schedule([0.05 * s for s in range(1, 11)])  # T = 10
alpha, beta, alpha_bar = toy.alpha, toy.beta, toy.alpha_bar
t, xt = 5, torch.tensor([[-0.4]])  # the example of this lesson
a, b = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()  # the jump: a x_0 + b ε

# %% [markdown] tags=["claim:mean-predictor", "claim:mu-theta-sees-xt-only"]
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $\theta$ | | the weights of the network; a function with this index is learned |
# | $\mu_\theta(x_t,t)$ | `mu_hat` | the **mean predictor**: its answer to "where was $x_{t-1}$?" |
# | $\hat x_\theta(x_t,t)$ | `x0_hat` | the **$x_0$ predictor** (the slides also write $x_{0\mid t}$) |
# | $\epsilon_\theta(x_t,t)$ | `eps_hat` | the **noise predictor** |
# | $q(x_0)$, $q(x_t)$ | `mixture`, `mixture.noised(t, toy)` | the law of the data; of the data after $t$ steps |
# | $q(x_0\mid x_t)$ | | the law of the clean images that could have led to $x_t$ |
# | $\mathbb E[x_0\mid x_t]$ | `mixture.posterior_mean` | the average of that law |
#
# The data are the two humps of lesson 02. A star, as in $\epsilon^*$, marks the best possible function.
#
# ## 1 · What may the network see?
#
# **The question.** Lesson 05 told us where the chain was one step ago, if we know $x_0$: $\mathcal N(\tilde\mu_t(x_t,x_0),\tilde\beta_t\mathbf I)$. When we generate there is no $x_0$. What takes its place?
#
# The model copies the shape of its target: a Gaussian with a known variance. Only the mean is open. A network computes it (lecture 000, option 1):
#
# $$p_\theta(x_{t-1}\mid x_t)=\mathcal N\big(x_{t-1};\ \mu_\theta(x_t,t),\ \tilde\beta_t\mathbf I\big)$$
#
# (Why this variance? Lesson 07 answers.) $\mu_\theta$ may look at $x_t$ and $t$, and at nothing else. Below, two stories end at the same $x_t$.
#
# **Predict before you run.** Two columns: the target $\tilde\mu_t(x_t,x_0)$ and the network's answer. In which of them do the stories differ? In place of a network we ask `mixture.denoiser`. Section 6 shows what it computes.

# %%
x0 = torch.tensor([[0.634], [-1.479]])  # two stories: from the right hump, from the left
eps = (xt - a * x0) / b
same_xt = a * x0 + b * eps
target = predictors.mean_from_x0(same_xt, x0, t, toy)
mu_hat = mixture.denoiser(toy, predicts="mean")(same_xt, t)
for row in torch.cat([x0, eps, same_xt, target, mu_hat], 1).tolist():
    print("x_0 {:6.3f}   ε {:6.3f}   x_t {:6.3f}   target {:6.3f}   network {:6.3f}".format(*row))

# %% [markdown]
# Same $x_t$, two targets, one answer. The network has to settle for one number. Which one is best? Section 4 answers.
#
# **Q.** Lecture 002 says that one cannot write $\mu_\theta(x_t(x_0,\epsilon),t)$, where $x_t(x_0,\epsilon)$ is the forward jump. Its own Eq. 12 does, and so do Ho et al. Is it allowed?

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# Yes. It is the same number, written with its ingredients: in training we made $x_t$ from $x_0$ and $\epsilon$. What is forbidden is to hand $x_0$ or $\epsilon$ to the network as well.
# The test is the one above: two pairs with the same $x_t$ must get the same answer.
#
# </details>

# %% [markdown] tags=["claim:x0-from-epsilon", "claim:epsilon-from-x0", "claim:predictor-equivalence"]
# ## 2 · Three names for one thing
#
# **Q.** (Lecture 000.) What if a network predicts $x_0$ or $\epsilon$ instead of the mean? If $x_t$ is known and **one** of $\tilde\mu_t$, $x_0$, $\epsilon$, what are the other two?
#
# The forward jump $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ holds two of them. Solve it for either, $t\ge1$ (Ho et al. Eq. 15; here the outer factor **is** $1/\sqrt{\bar\alpha_t}$, because all $t$ steps are undone):
#
# $$x_0=\frac{1}{\sqrt{\bar\alpha_t}}\big(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon\big),\qquad
# \epsilon=\frac{1}{\sqrt{1-\bar\alpha_t}}\big(x_t-\sqrt{\bar\alpha_t}\,x_0\big)$$
#
# Lesson 05 has the mean in both spellings (Ho et al. Eq. 7 and 11):
#
# $$\tilde\mu_t=\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t+\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0
# =\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big)$$
#
# Each line is affine: a factor times the known number, plus a part from $x_t$. No factor is 0, since $\beta_t>0$ and $0<\bar\alpha_t<1$. So each can be solved backwards as well, and there are six conversions.
# Whichever of the three a network predicts, the other two follow: one model, three names for its output. Which is easiest to train is another question (lesson 07).
#
# **Is it the same on a computer?** A network errs, and a float rounds. If the known number is off by 1, the wanted one is off by the factor in front of it. The last two columns show
# its size for the usual schedule of 1000 steps, $\beta$ from 0.0001 to 0.02. **Predict before you run.** Near $t=T$ there is almost only noise in $x_t$. Which conversion is dangerous there? Which one at $t=1$?

# %%
weight_xt = alpha[t].sqrt() * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])
weight_x0 = alpha_bar[t - 1].sqrt() * beta[t] / (1 - alpha_bar[t])
x0 = torch.tensor([[0.7]])
eps = (xt - a * x0) / b
three = {"x0": x0, "eps": eps, "mean": weight_xt * xt + weight_x0 * x0}  # by hand
zero, one, usual = torch.zeros(1, 1), torch.ones(1, 1), linear_schedule()  # 1000 steps
print("                by hand   package   factor at t = 1   at t = 1000")
for name in "mean_from_x0 mean_from_eps x0_from_mean x0_from_eps eps_from_mean eps_from_x0".split():
    convert, (wanted, known) = getattr(predictors, name), name.split("_from_")
    values = three[wanted].item(), convert(xt, three[known], t, toy).item()
    factors = [convert(zero, one, step, usual).abs().item() for step in (1, 1000)]
    print("{:14s} {:8.4f}  {:8.4f} {:12.4g} {:15.4g}".format(name, *values, *factors))

# %% [markdown]
# From $\epsilon$ to $x_0$ the factor is $\sqrt{1-\bar\alpha_t}/\sqrt{\bar\alpha_t}$, 157 at $t=1000$. From the mean to $x_0$ it is even 7791: so little of $x_0$ is in $\tilde\mu_t$ there.
# At $t=1$ the other way is the bad one: from $x_0$ to $\epsilon$ the factor is one over the first, about 100. (From the mean it is the same, because $\tilde\mu_1$ **is** $x_0$.)
#
# Is that bad? A float32 number keeps about seven digits. A factor of 100 costs two of them, 7791 costs four. But networks err by more than roundings:
# near $t=T$, do not trust an $x_0$ made from a predicted $\epsilon$; still less one made from a predicted mean.
#
# **Exercise 6.1.** $\bar\alpha_t=0.64$, $x_t=1.4$, and a network predicts $\epsilon_\theta=0.5$. What is the prediction of $x_0$?

# %% tags=["exercise:6.1"]
# BEGIN SOLUTION
x0_hat_6_1 = (1.4 - 0.36**0.5 * 0.5) / 0.64**0.5
# END SOLUTION
check("6.1", x0_hat_6_1)

# %% [markdown] tags=["claim:x0-predictor-parameterization", "claim:epsilon-predictor-parameterization"]
# **Now let the network speak.** Put its prediction where the truth stood. Lecture 000 calls these options 2 and 3:
#
# $$\mu_\theta(x_t,t)=\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t+\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,\hat x_\theta(x_t,t)\qquad\text{or}\qquad
# \mu_\theta(x_t,t)=\frac{1}{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t,t)\Big)$$
#
# (Lecture 002, Appendix D, writes $\tilde\mu_t$ on the left. It is the model's mean, $\mu_\theta$.)
#
# The slides have $\sqrt{1-\bar\alpha_t}$ as both denominators of option 2, and $1/\sqrt{\bar\alpha_t}$ in front of option 3. So there are two forms of each option. **Predict** which of the four agree with Bayes' rule on a grid.
# The prediction is $\hat x_\theta=0.2$. The grid multiplies $q(x_t\mid x_{t-1})$ and $q(x_{t-1}\mid x_0)$ as in lesson 05, with 0.2 for $x_0$. (`Normal` takes a standard deviation.)

# %%
x0_hat = torch.tensor([[0.2]])
eps_hat = (xt - a * x0_hat) / b  # the noise predictor that says the same
grid = torch.linspace(-4, 4, 80_001)  # x_{t-1}
bayes = Normal(alpha[t].sqrt() * grid, beta[t].sqrt()).log_prob(xt[0]).exp()
bayes *= Normal(alpha_bar[t - 1].sqrt() * 0.2, (1 - alpha_bar[t - 1]).sqrt()).log_prob(grid).exp()
mean_grid = torch.trapezoid(grid * bayes, grid) / torch.trapezoid(bayes, grid)
option_2, inner = weight_xt * xt + weight_x0 * x0_hat, xt - beta[t] / b * eps_hat
print(f"Bayes on a grid {mean_grid:.4f}")
print(f"option 2        {option_2.item():.4f}   with the roots {(option_2 * b).item():.4f}")
print(f"option 3        {(inner / alpha[t].sqrt()).item():.4f}", end="")
print(f"   with 1/√ᾱ_t    {(inner / a).item():.4f}")

# %% [markdown]
# **Exercise 6.2.** Write $\epsilon$ from $x_t$ and the mean: solve the second spelling of $\tilde\mu_t$ in this section.

# %% tags=["exercise:6.2"]
def noise_in(xt, mean, alpha_t, alpha_bar_t):
    """The noise of the jump."""
    # BEGIN SOLUTION
    return (xt - alpha_t**0.5 * mean) * (1 - alpha_bar_t) ** 0.5 / (1 - alpha_t)
    # END SOLUTION


check("6.2", noise_in)

# %% [markdown]
# ## 3 · How many clean images explain a noisy one?
#
# **Q.** Someone hands you $x_t=-0.4$. How many $x_0$ can have led there? Write down: one, two, or more?
#
# Answer by brute force. Draw a million $x_0$ from the data. Noise each. Keep those whose $x_t$ lands within 0.02 of $-0.4$, and look at where they came from.

# %% tags=["claim:many-x0-per-xt"] alt="Histogram of the kept x_0: a smaller hump around -1.4 and a larger one around 0.6, with almost nothing between them. The exact density runs along the tops."
many = mixture.sample(1_000_000, generator=generator)
kept = many[(q_sample(many, t, toy, generator=generator) - xt).abs() < 0.02]
grid = torch.linspace(-3, 3, 6_001)  # x_0
joint = mixture.log_prob(grid[:, None]).exp() * Normal(a * grid, b).log_prob(xt[0]).exp()
exact = joint / torch.trapezoid(joint, grid)  # q(x_0) q(x_t | x_0) / q(x_t)

fig, ax = plt.subplots()
ax.hist(kept, bins=80, density=True, color=plots.COLORS["data"], alpha=0.5, label="kept $x_0$")
ax.plot(grid, exact, ":", color=plots.COLORS["posterior"], label="$q(x_0|x_t)$, exact")
ax.set(xlabel="$x_0$", ylabel="density", xlim=(-2.6, 1.8))
ax.set_title("One $x_t$, two crowds of $x_0$ that explain it")
ax.legend(loc="upper center")
plt.show()
mean_x0, bar = torch.trapezoid(grid * exact, grid), kept.std() / len(kept) ** 0.5
print(f"kept {len(kept)}: mean {kept.mean():.3f} ± {bar:.3f}, exact {mean_x0:.3f}", end="")
print(f", package {mixture.posterior_mean(xt, t, toy).item():.3f}")

# %% [markdown] tags=["claim:many-x0-per-xt"]
# More than two: every $x_0$ of the data. (Lecture 000 says infinitely many, 無數個.) $q(x_t\mid x_0)$ is a Gaussian density, and that is positive everywhere. So Bayes' rule,
#
# $$q(x_0\mid x_t)=\frac{q(x_0)\,q(x_t\mid x_0)}{q(x_t)},$$
#
# excludes none. It only makes some more probable than others. "The" $x_0$ of an $x_t$ is not a function.
#
# The same with images. Let the data be the 1,797 digits $m_1,m_2,\dots$, all equally likely, and nothing else. Then the rule gives each digit a probability,
# proportional to $\exp\!\big[-\|x_t-\sqrt{\bar\alpha_t}\,m_k\|^2/(2(1-\bar\alpha_t))\big]$. We noise an 8 with 30 of 100 steps.
#
# **Predict before you run.** How sure will Bayes be that it was an 8? And what will the average of all explanations look like?

# %% alt="Eight small images in a row: a clear 8, the same under heavy grain, five clean digits drawn from those that explain it, an 8, a 3 and three different 9s, and a grey blur of all of them."
(images, labels), hundred, step = digits(), linear_schedule(100, rescale=True), 30
data = GaussianMixture([1 / len(images)] * len(images), images.flatten(1), std=0.0)
m, alpha_bar_30 = data.means, hundred.alpha_bar[step]  # (1797, 64)
noisy = q_sample(m[8:9], step, hundred, generator=generator.manual_seed(5))
distance = ((noisy - alpha_bar_30.sqrt() * m) ** 2).sum(1)
r = (-distance / (2 * (1 - alpha_bar_30))).softmax(0)  # q(x_0 = m_k | x_t)
blur = r @ m  # E[x_0 | x_t]
drawn = torch.multinomial(r, 5, replacement=True, generator=generator)
row = torch.cat([m[8:9], noisy, m[drawn], blur[None]]).reshape(-1, 1, 8, 8)
names = ["true: 8", "$x_t$"] + [f"drawn: {k}" for k in labels[drawn]] + ["mean"]
fig, ax = plt.subplots(figsize=(7, 1.6))
plots.draw_images(row, ax, columns=names)
ax.set_title("Several digits explain the same grain; their mean is a blur")
plt.show()
print("probability of", "  ".join(f"{k}: {r[labels == k].sum():.2f}" for k in range(10)))
same = torch.allclose(blur, data.posterior_mean(noisy, step, hundred)[0])
print(f"the least probable of the 1,797 digits: {r.min():.0e}   the mean is the package's: {same}")

# %% [markdown] tags=["claim:x0-predictor-is-conditional-mean"]
# Less than half of the probability lies on the 8s. The average is grey where the explanations disagree.
#
# ## 4 · Then what is the best answer?
#
# The network must say **one** thing for each $x_t$. Suppose a wrong answer costs its squared distance from the true $x_0$. **Which function of $x_t$ is cheapest on average?**
#
# Fix $x_t$. Let $m=\mathbb E[x_0\mid x_t]$, and let $c$ be any answer. Write $x_0-c=(x_0-m)+(m-c)$ and expand the square:
#
# $$\mathbb E\big[\|x_0-c\|^2\mid x_t\big]=\mathbb E\big[\|x_0-m\|^2\mid x_t\big]+2\,(m-c)^{\!\top}\underbrace{\mathbb E[x_0-m\mid x_t]}_{=\,0}+\|m-c\|^2$$
#
# The middle term vanishes: with $x_t$ fixed, $m-c$ is a constant, and $m$ is the mean. The first term does not contain $c$. It is $\mathrm{tr}\,\mathrm{Cov}(x_0\mid x_t)$,
# the sum of the variances of the entries of $x_0$. The last is 0 exactly for $c=m$. A function may choose its value at each $x_t$ (and each $t$) separately, so
#
# $$\hat x^*(x_t)=\mathbb E[x_0\mid x_t],\qquad\text{and what it cannot avoid is}\quad\mathbb E\,\big\|\hat x^*(x_t)-x_0\big\|^2=\mathbb E\,\mathrm{tr}\,\mathrm{Cov}(x_0\mid x_t)$$
#
# Nothing here was special to $x_0$. (Lecture 000, "x_0 Predictor" (3), states the result: predict the expected value of $x_0$.) **Whatever is predicted with a squared error, the best prediction is its conditional mean.** A positive weight in front of the square, one for each $t$, does not move it. Every later lesson uses this.
#
# Try it on a coin: $x_0$ is $-1$ or $+1$, equally likely. Bayes' rule with $z=\sqrt{\bar\alpha_t}\,x_t/(1-\bar\alpha_t)$ gives $q(+1\mid x_t)=1/(1+e^{-2z})$. So $\mathbb E[x_0\mid x_t]=2\,q(+1\mid x_t)-1=\tanh z$.
#
# **Predict** the order of the first four answers below, from cheap to dear.

# %%
x = torch.linspace(-8, 8, 16_001)  # x_t of the coin
tanh = torch.tanh(a * x / b**2)
answers = {"always 0": 0 * x, "x_t / √ᾱ_t": x / a, "the likelier, ±1": x.sign(), "tanh z": tanh}
lands = {side: Normal(a * side, b).log_prob(x).exp() / 2 for side in (-1, 1)}  # half the coins each
for name, answer in (answers | {"tanh z + 0.1": tanh + 0.1}).items():
    cost = sum(torch.trapezoid(p * (answer - side) ** 2, x) for side, p in lands.items())
    print(f"{name:18s} mean squared error {cost:.3f}")
left = torch.trapezoid((lands[-1] + lands[1]) * (1 - tanh**2), x)
print(f"variance of x_0 that x_t leaves open, on average {left:.3f}")

# %% [markdown] tags=["claim:mean-is-not-most-likely"]
# At this $t$, undoing the shrinking costs more than always saying 0. The likelier side is right more often than any other answer. But when it is wrong, it pays $2^2=4$, and $\tanh z$ is cheaper. The floor is 0.529, not 0, and no training gets below it. Being off by 0.1 costs $0.1^2$ more. (For $\pm1$ the variance left open at $x_t$ is $1-\tanh^2z$.)
#
# ## 5 · Is that the most likely $x_0$?
#
# The slides explain the expected value as the one that is most likely on average (平均來說最可能), and once more as the most likely direction (最可能的去噪方向). Test it on the coin.
# At $x_t=0$ the conditional mean is $\tanh0=0$. The probability that $x_0=0$ is zero. **The mean need not be a possible $x_0$ at all.**
#
# The **mode** is the most likely $x_0$, the peak of $q(x_0\mid x_t)$ (also called MAP, the maximum a posteriori). **Predict before you run.** Let $x_t$ move from left to right. The mode must change from the left hump to the right one. Slowly or at once? And the mean? Then move $x_t$ yourself, at small and at large $t$: when is the mean a possible $x_0$?

# %% alt="Dots in two horizontal bands around -1.5 and 0.6, x_0 against x_t. The exact mean rises smoothly from one band to the other; the mode jumps between them near x_t = -0.6."
line = torch.linspace(-2.5, 2, 451)[:, None]
log_joint = mixture.log_prob(grid[:, None]) + Normal(a * grid, b).log_prob(line)  # (451, 6001)
mode = grid[log_joint.argmax(1)]
mean = mixture.posterior_mean(line, t, toy)
fig, ax = plt.subplots()
seen = q_sample(many[:1500], t, toy, generator=generator)
ax.plot(seen, many[:1500], ".", ms=2, color=plots.COLORS["data"], alpha=0.4)
ax.plot(line, mode, "--", color="0.2", label="mode, the most likely $x_0$")
ax.plot(line, mean, ":", lw=3, color=plots.COLORS["posterior"], label="mean, E[$x_0|x_t$]")
ax.set(xlabel="$x_t$", ylabel="$x_0$", xlim=(-2.5, 2))
ax.set_title("The mode jumps from crowd to crowd; the mean walks through the gap")
ax.legend(loc="lower right")
plt.show()
there = f"density of x_0 there {exact[(grid - mean_x0).abs().argmin()]:.3f} and {exact.max():.3f}"
print(f"at x_t = -0.4: mean {mean_x0:.3f}, mode {grid[exact.argmax()]:.3f}; {there}")

# %% tags=["nbval-ignore-output"] alt="Three panels at t = 30 and x_t = -0.4: the exact mean of x_0 at every x_t, the two humps of x_0 given this x_t with its mean in the gap between them, and a triangle with the values of x_0, noise and mean."
widgets.predictor_explorer()

# %% [markdown]
# So the mean can be a bad **image**: a blur, a point in the gap. It is a good **direction**: lesson 08 takes only a small step towards it, and then asks again.
#
# **Exercise 6.3.** $x_0$ is $-1$, $1$ or $4$, with probabilities 0.6, 0.3 and 0.1. For the $x_t$ that you see, $q(x_t\mid x_0)$ is 0.1, 0.3 and 0.1, in the same order. Give the mean (three digits) and the mode of $x_0$, given $x_t$, as a pair.

# %% tags=["exercise:6.3"]
# BEGIN SOLUTION
mean_and_mode_6_3 = ((-1 * 0.06 + 1 * 0.09 + 4 * 0.01) / (0.06 + 0.09 + 0.01), 1)
# END SOLUTION
check("6.3", mean_and_mode_6_3)

# %% [markdown] tags=["claim:noise-predictor-is-conditional-mean"]
# ## 6 · And the noise predictor?
#
# **The question.** Lecture 004 says that a minimised $\epsilon_\theta$ predicts the noise that was added. Can it?
#
# Section 4 holds for any target: the best prediction is $\mathbb E[\epsilon\mid x_t]$. With $x_t$ fixed, $\epsilon$ is an affine function of $x_0$, and averages pass through affine functions:
#
# $$\epsilon^*(x_t,t)=\mathbb E[\epsilon\mid x_t]=\frac{x_t-\sqrt{\bar\alpha_t}\;\mathbb E[x_0\mid x_t]}{\sqrt{1-\bar\alpha_t}},\qquad
# \min_{\epsilon_\theta}\mathbb E\|\epsilon_\theta-\epsilon\|^2=\frac{\bar\alpha_t}{1-\bar\alpha_t}\;\mathbb E\,\mathrm{tr}\,\mathrm{Cov}(x_0\mid x_t)$$
#
# The second follows from $\epsilon^*-\epsilon=-\frac{\sqrt{\bar\alpha_t}}{\sqrt{1-\bar\alpha_t}}\big(\mathbb E[x_0\mid x_t]-x_0\big)$. It is above 0, unless $x_t$ gives $x_0$ away. So no: it predicts the **average** of all noises that fit.
# Lecture 000, "Training", puts it well: the network learns a conditional expectation, not a one-to-one map.
#
# The mean is affine in $x_0$, too. The best mean predictor is $\mathbb E[\tilde\mu_t\mid x_t]$. Now $\tilde\mu_t$ is the average of $x_{t-1}$, given $x_t$ and $x_0$. Averaged over $x_0$ as well it is $\mathbb E[x_{t-1}\mid x_t]$.
# **All six conversions are affine, so each turns one best predictor into another.** Check the mean without any predictor: put $x_{t-1}$ on a grid.

# %%
coin = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], std=0.0)
sides = coin.sample(200_000, generator=generator)
eps = torch.randn(sides.shape, generator=generator)
error = (coin.denoiser(toy)(a * sides + b * eps, t) - eps) ** 2
print(f"coin: error of ε* {error.mean():.3f} ± {error.std() / len(error) ** 0.5:.3f}", end="")
print(f", formula {(a / b) ** 2 * left:.4f}")
grid = torch.linspace(-5, 5, 100_001)  # x_{t-1}: its exact law, and one step
joint = mixture.noised(t - 1, toy).log_prob(grid[:, None]).exp()
joint *= Normal(alpha[t].sqrt() * grid, beta[t].sqrt()).log_prob(xt[0]).exp()
mean_grid = torch.trapezoid(grid * joint, grid) / torch.trapezoid(joint, grid)
x0_star, eps_star = mixture.posterior_mean(xt, t, toy), mixture.denoiser(toy)(xt, t)
print(f"E[x_(t-1)|x_t]: grid {mean_grid:.4f}", end="")
print(f"   from x_0 {(weight_xt * xt + weight_x0 * x0_star).item():.4f}", end="")
print(f"   from ε {((xt - beta[t] / b * eps_star) / alpha[t].sqrt()).item():.4f}")

# %% [markdown]
# **Exercise 6.4.** The data are $\mathcal N(0,3)$ (variance 3), and $\bar\alpha_t=0.2$. How small can a noise predictor make $\mathbb E(\epsilon_\theta-\epsilon)^2$? Three digits.
# (Lesson 01, section 4, has the variance of $x_0$ after the measurement $x_t$.)

# %% tags=["exercise:6.4"]
# BEGIN SOLUTION
smallest_6_4 = 0.2 / 0.8 * 1 / (1 / 3 + 0.2 / 0.8)
# END SOLUTION
check("6.4", smallest_6_4)

# %% [markdown] tags=["claim:score-noise-identity"]
# ## 7 · What has the noise to do with the density?
#
# The **score** is the gradient of a log density. It points uphill, to more probable places. The forward jump is a Gaussian in $x_t$, so $\log q(x_t\mid x_0)=-\|x_t-\sqrt{\bar\alpha_t}\,x_0\|^2/(2(1-\bar\alpha_t))$ plus a constant, and
#
# $$\nabla_{x_t}\log q(x_t\mid x_0)=-\frac{x_t-\sqrt{\bar\alpha_t}\,x_0}{1-\bar\alpha_t}=-\frac{\epsilon}{\sqrt{1-\bar\alpha_t}}$$
#
# We want the score of $q(x_t)=\int q(x_0)\,q(x_t\mid x_0)\,dx_0$. Take the gradient inside, use $\nabla q=q\,\nabla\log q$, and divide by $q(x_t)$. The weight $q(x_0)\,q(x_t\mid x_0)/q(x_t)$ is $q(x_0\mid x_t)$:
#
# $$\nabla\log q(x_t)=\mathbb E\big[\nabla\log q(x_t\mid x_0)\,\big|\,x_t\big]=-\frac{\mathbb E[\epsilon\mid x_t]}{\sqrt{1-\bar\alpha_t}}$$
#
# So the best noise predictor **is** the score, up to a factor. Put $\epsilon^*$ of section 6 in and solve (Tweedie's formula): $\mathbb E[x_0\mid x_t]=\big(x_t+(1-\bar\alpha_t)\nabla\log q(x_t)\big)/\sqrt{\bar\alpha_t}$.
#
# And for any network, with $s_\theta=-\epsilon_\theta/\sqrt{1-\bar\alpha_t}$: $\;\|\epsilon-\epsilon_\theta\|^2=(1-\bar\alpha_t)\,\|s_\theta-\nabla\log q(x_t\mid x_0)\|^2$. By section 4 the best $s_\theta$ is the score of $q(x_t)$, although the target is $\nabla\log q(x_t\mid x_0)$.
# To train $s_\theta$ like this, with this weight $1-\bar\alpha_t$ or another, is called **denoising score matching** (lecture 002, "Reverse Process"; Ho et al., Section 3.2).
#
# **Predict before you run.** At $t=2$ the density $q(x_t)$ still has two peaks. At how many $x_t$ is $\epsilon^*=0$, and where?

# %% alt="The density of x_t at t = 2 with two peaks, the exact noise prediction as a dotted curve, and dots from slopes of the log density lying on it. The curve is zero at both peaks and in the valley between."
line, noised = torch.linspace(-2.4, 1.8, 85)[:, None], mixture.noised(2, toy)
slope = (noised.log_prob(line + 1e-4) - noised.log_prob(line - 1e-4))[:, None] / 2e-4
a_2, b_2 = alpha_bar[2].sqrt(), (1 - alpha_bar[2]).sqrt()
best = mixture.denoiser(toy)(line, 2)
fig, ax = plt.subplots()
plots.draw_density(noised, ax, "noised", "density $q(x_t)$", x=line[:, 0])
ax.plot(line, best, ":", color=plots.COLORS["posterior"], label="E[ε$|x_t$]")
ax.plot(line[::3], -b_2 * slope[::3], ".", color="0.2", label="slope of log q, rescaled")
ax.set(xlabel="$x_t$, t = 2", ylabel="", ylim=(-1.6, 2.4))
ax.set_title("The best noise prediction is a slope: zero on peaks and in the valley")
ax.legend(ncol=3, loc="upper left")
plt.show()
tweedie = (line + b_2**2 * slope) / a_2
print(f"E[x_0|x_2 = -0.4] from the slope alone {tweedie[40].item():.3f}", end="")
print(f", by Bayes {mixture.posterior_mean(line, 2, toy)[40].item():.3f}")

# %% [markdown] tags=["claim:predictor-needs-time"]
# ## 8 · Why must the network know $t$?
#
# One network serves all $t$. (Lecture 001 writes $\mu_\theta(x_t)$ and lecture 004 $\epsilon_\theta(x_t)$; 004's lab has the $t$.) Is $x_t$ not enough?
#
# Take data $\mathcal N(0,1)$. Then $x_t\sim\mathcal N(0,1)$ for every $t$: nothing in $x_t$ betrays $t$. By lesson 01, section 4, $\mathbb E[x_0\mid x_t]=\sqrt{\bar\alpha_t}\,x_t$. Section 6 makes it
# $\epsilon^*=\sqrt{1-\bar\alpha_t}\;x_t$. **Same input, another answer at each $t$.** With $c_t=\sqrt{1-\bar\alpha_t}$ and $\mathbb E[\epsilon\,x_t]=c_t$, the answer $c\,x_t$ costs
#
# $$\mathbb E(\epsilon-c\,x_t)^2=1-2c\,c_t+c^2=\bar\alpha_t+(c-c_t)^2$$
#
# since $\epsilon$ and $x_t$ both have variance 1. A network that sees $t$ takes $c=c_t$. A blind one must average over $t$ too (section 4). If every $t$ is equally likely, its best $c$ is the average of the $c_t$, and it loses their variance. **Predict:** is that much, in our ten steps?

# %%
c, sees_t = (1 - alpha_bar[1:]).sqrt(), alpha_bar[1:].mean()  # t = 1..T
print(f"sees t: {sees_t:.3f}   lost: {c.var(unbiased=False):.3f}   blind: {sees_t + c.var(unbiased=False):.3f}")

# %% [markdown]
# **Exercise 6.5.** Data $\mathcal N(0,1)$, two steps only, equally often: $\bar\alpha_1=0.96$ and $\bar\alpha_2=0.19$. What is the smallest mean squared error of a **blind** noise predictor?

# %% tags=["exercise:6.5"]
# BEGIN SOLUTION
blind_6_5 = (0.96 + 0.19) / 2 + ((0.55 - 0.2) ** 2 + (0.55 - 0.9) ** 2) / 2
# END SOLUTION
check("6.5", blind_6_5)

# %% [markdown]
# ## 9 · Does a network find it?
#
# No formula for the data now. Two small networks see noisy draws of the mixture and guess the noise. One is given $t$, the other a 0 in its place. 1000 steps, a few seconds.
#
# **Predict before you run.** Which error can the first reach? Which curve will the blind one draw?

# %% tags=["claim:predictor-needs-time", "nbval-ignore-output"]
nets, costs = {}, {}
for name, sees_t in (("sees t", 1), ("blind", 0)):
    generator = torch.manual_seed(6)  # the same start and the same draws for both
    net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    adam = torch.optim.Adam(net.parameters(), lr=0.02)
    slower = torch.optim.lr_scheduler.LinearLR(adam, 1, 0.02, 1000)
    for n in [1024] * 1000 + [100_000]:  # the last, large batch is there to measure
        ts = torch.randint(1, 11, (n,), generator=generator)
        eps = torch.randn(n, 1, generator=generator)
        noisy = q_sample(mixture.sample(n, generator=generator), ts, toy, noise=eps)
        loss = ((net(torch.cat([noisy, sees_t * ts[:, None] / 10], 1)) - eps) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        slower.step()
    nets[name] = net
    costs[name] = loss.item()
costs["exact"] = ((mixture.denoiser(toy)(noisy, ts) - eps) ** 2).mean().item()
print("   ".join(f"{name} {cost:.2f}" for name, cost in costs.items()))
assert costs["sees t"] < costs["exact"] + 0.03 < costs["blind"]

# %% tags=["nbval-ignore-output"] alt="Exact noise predictions for t = 2, 4 and 10 as dotted curves of different shapes. The network that sees t follows each closely, least so at the bends for t = 2. The blind network has one single curve between them."
line = torch.linspace(-2.5, 2, 91)[:, None]
fig, ax = plt.subplots()
for step, up in ((2, 0.35), (4, 0.35), (10, -0.45)):
    best = mixture.denoiser(toy)(line, step)
    guess = nets["sees t"](torch.cat([line, 0 * line + step / 10], 1)).detach()
    ax.plot(line, best, ":", lw=4, color=plots.COLORS["posterior"], label="exact")
    ax.plot(line, guess, lw=1.2, color=plots.COLORS["model"], label="network that sees t")
    ax.annotate(f"t = {step}", (-0.85, best[33] + up), ha="center", va="center")
blind = nets["blind"](torch.cat([line, 0 * line], 1)).detach()
ax.plot(line, blind, "--", color="0.2", label="blind network")
ax.set(xlabel="$x_t$", ylabel="predicted ε", xlim=(-2.5, 2))
ax.set_title("The network comes close to the exact curves; without t it draws one for all")
ax.legend(handles=[*ax.lines[:2], ax.lines[-1]], loc="upper left")
plt.show()

# %% [markdown]
# The network that sees $t$ comes close to the exact error, about 0.30. No network gets below it, except by luck on a few draws: that much of the noise no one can predict. The blind one stays near 0.42.
# Its curve is an average (section 4 again): at each $x_t$ of the ten exact curves, each weighted by how probable its $t$ is, given $x_t$.
#
# ## What to remember
#
# * With $x_t$ and $t$ known, $\tilde\mu_t$, $x_0$ and $\epsilon$ are one thing in three spellings. The factors between them can be huge: from $\epsilon$ to $x_0$ near $t=T$, from $x_0$ to $\epsilon$ near $t=1$.
# * A squared error asks for the conditional mean: $\mathbb E[x_0\mid x_t]$, $\mathbb E[\epsilon\mid x_t]$, $\mathbb E[x_{t-1}\mid x_t]$. Its smallest value is the variance that $x_t$ leaves open, in general not 0.
# * The mean is in general not the most likely $x_0$. It may be a blur that is no image at all.
# * The best noise predictor is the score of $q(x_t)$, times $-\sqrt{1-\bar\alpha_t}$. It depends on $t$.
#
# **Next:** [07 Losses](07_losses.ipynb).
#
# **References.** Ho et al. 2020, Section 3.2, Eq. 7, 11, 12 and 15. Lectures 000, 001, 002, 003 and 004, places named above.
