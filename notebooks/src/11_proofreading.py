# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · Proofread the lectures, one number per slip
#
# **You will do.** Take all 63 slips that were found in the five lectures of this course. For each, compute one number that the printed form gets wrong and the corrected form gets right.
#
# **You will learn.** Nine habits of a careful reader. Each is one question. Each of the 63 slips is caught by one of them.
#
# **You will need.** Lessons 01 to 08: Gaussians, the forward jump, the posterior, the bound, the losses, the sampler.
#
# The lectures are good, and this course is built on them. They display 334 formulas or groups of formulas. Slips of the pen happen in every lecture. What matters is that a reader can find them. Some may not be the author's:
# the mark (T) says that a slip looks like damage on the way from the slide to the text that we worked from. There, look at your own slide first.
#
# Lectures 000 to 004, all parts. Ho et al. 2020: Eq. 1 to 14. A number such as 000:424 names a slip: the lecture, then the line of our text. Letters tell slips of one line apart.

# %%
import re

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown
from torch.distributions import Normal, kl_divergence

from ddpm_lesson import GaussianMixture, Schedule, linear_schedule, loss_weight, plots
from ddpm_lesson.checks import check
from ddpm_lesson.register import errata

# %% [markdown]
# ## The symbols
#
# All is done with the example of lesson 05: the toy schedule with $T=10$, the step $t=5$, $x_0=0.7$ and $x_t=1.2$.
#
# | symbol | code | meaning |
# |---|---|---|
# | $\alpha_t$, $\beta_t$, $\bar\alpha_t$, $\bar\alpha_{t-1}$ | `a`, `b`, `c`, `p` | the schedule at $t=5$ |
# | $\sqrt{\alpha_t}$, $\sqrt{\bar\alpha_t}$, $\sqrt{\bar\alpha_{t-1}}$ | `ra`, `rc`, `rp` | their roots |
# | $\tilde\mu_t$, $\tilde\beta_t$ | `bayes(xt, x0)` | mean and variance of $q(x_{t-1}\mid x_t,x_0)$, **here by Bayes' rule on a grid**, without the formulas that are on trial |
# | $\mathcal N(y;\mu,v)$ | `bell(y, mu, v)` | the Gaussian density; $v$ is the variance |
# | $\int f(x)\,dx$ | `area(f)` | the integral over the grid `x` |
# | $\epsilon$, $\epsilon_0$, $\varepsilon_t$ | `eps` | the noise in $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ |
# | $\hat x_\theta$, $\tilde x_0$; $\epsilon_\theta$, $\hat\varepsilon_\theta$ | | a network's guess of $x_0$; of the noise |
# | $\mu_\theta$, $\sigma_t^2$ | | mean and variance of the model's step $p_\theta(x_{t-1}\mid x_t)$ |
# | $d$ | | the number of entries of $x$; 1 in our numbers, if nothing else is said |
#
# **In the slides.** Lecture 000 writes $\tilde\sigma_t^2$ for $\tilde\beta_t$. Lecture 004 writes $\sigma^2(t)$ for it, $p$ for our $q$, $\mu_{\text{denoise}_1}$ and $\mu_{\text{denoise}_2}$ for $\tilde\mu_t$ and $\mu_\theta$, $z$ for a standard normal draw, $ct$ for a constant, $N_t$ for the number of steps and $\delta$ for the distance of two levels. Where a lecture prints $x$ in bold, we do not (the table of section 10 keeps it).
#
# `row` prints a line for each slip: what the printed form gives, what the corrected form gives, and the **truth**: the same quantity, found another way or required by its definition. It stops the notebook if the corrected form misses the truth, or if the printed form meets it.

# %%
torch.set_default_dtype(torch.float64)
toy = Schedule([0.05 * s for s in range(1, 11)])  # T = 10
t, x0, xt = 5, torch.tensor(0.7), torch.tensor(1.2)
a, b, c, p = toy.alpha[t], toy.beta[t], toy.alpha_bar[t], toy.alpha_bar[t - 1]
ra, rc, rp = a.sqrt(), c.sqrt(), p.sqrt()
x = torch.linspace(-12, 12, 24_001)  # the grid of every integral

# %%
def area(y):
    return torch.trapezoid(y, x)

def bell(y, mean, var):
    return Normal(mean, var**0.5).log_prob(torch.as_tensor(y)).exp()

def bayes(xt, x0):
    q = bell(xt, ra * x, b) * bell(x, rp * x0, 1 - p)  # q(x_t|x_{t-1}) q(x_{t-1}|x_0)
    mean = area(x * q) / area(q)
    return mean, area((x - mean) ** 2 * q) / area(q)

def row(number, printed, correct, truth, what):
    assert abs(correct - truth) < 1e-5 and abs(printed - truth) > 1e-3
    print(f"{number:8} printed {printed:8.3f}  correct {correct:7.3f}  truth {truth:7.3f}  {what}")

def picture(title, xlabel, ylabel, **axes):  # what every figure ends with
    plt.gca().set(title=title, xlabel=xlabel, ylabel=ylabel, **axes)
    plt.legend()
    plt.show()

# %% [markdown] tags=["erratum:002:257", "erratum:002:259", "erratum:002:261", "erratum:002:265a", "erratum:000:535", "erratum:000:58", "erratum:001:68", "erratum:001:123"]
# ## 1 · Does it integrate to one?
#
# **The habit.** Left of the bar stands the variable. Integrate over it, hold all else fixed: a density gives 1. A joint density, with one variable integrated out, gives the density of the rest.
#
# | id | place | printed | corrected |
# |---|---|---|---|
# | 002:257 | Appendix A, before Bayes' rule | $\mathcal N(x_t;\sqrt{1-\beta_t}\,x_{t-1},\beta_t^2)=\frac{1}{\sqrt{2\pi}\,\beta_t}\exp[\dots]$ | $\mathcal N(x_t;\sqrt{1-\beta_t}\,x_{t-1},\beta_t)=\frac{1}{\sqrt{2\pi\beta_t}}\exp[\dots]$ |
# | 002:259 | the next line | $\mathcal N(x_t;\sqrt{\bar\alpha_t}\,x_0,(1-\bar\alpha_t)^2)=\frac{1}{\sqrt{2\pi}(1-\bar\alpha_t)}\exp[\dots]$ | $\mathcal N(x_t;\sqrt{\bar\alpha_t}\,x_0,1-\bar\alpha_t)=\frac{1}{\sqrt{2\pi(1-\bar\alpha_t)}}\exp[\dots]$ |
# | 002:261 | the line after that | the same, with $t-1$ for $t$ | the same, with $t-1$ for $t$ |
# | 002:265a | Appendix A, Bayes' rule, row 2; again in rows 3 and 4 | $\frac{\sqrt{2\pi}(1 - \bar{\alpha}_t)}{\sqrt{2\pi}\beta_t\sqrt{2\pi}(1 - \bar{\alpha}_{t-1})}$ | $\frac{\sqrt{2\pi(1 - \bar{\alpha}_t)}}{\sqrt{2\pi\beta_t}\sqrt{2\pi(1 - \bar{\alpha}_{t-1})}} = \frac{1}{\sqrt{2\pi\tilde{\beta}_t}}$ |
# | 000:535 (T) | Denoising Matching Term: what is the posterior? | $q(x_{t-1}\mid x_t, x_0) = \frac{q(x_t\mid x_{t-1}, x_0)}{q(x_t\mid x_0)}$ | $q(x_{t-1}\mid x_t, x_0) = \frac{q(x_t\mid x_{t-1}, x_0)\, q(x_{t-1}\mid x_0)}{q(x_t\mid x_0)}$ |
# | 000:58 | Terminology (reverse) | $p_{\theta}(x_0 \mid  x_{1:T}) = p_{\theta}(x_T) \prod_{t=1}^T p_{\theta}(x_{t-1} \mid  x_t)$ | $p_{\theta}(x_{0:T}) = p(x_T) \prod_{t=1}^T p_{\theta}(x_{t-1} \mid  x_t)$ |
# | 001:68 | Define the Model | $= p_{\theta}(x_T) \prod_{t=1}^T p_{\theta}(x_t \mid  x_{t-1})$ | $= p_{\theta}(x_T) \prod_{t=1}^T p_{\theta}(x_{t-1} \mid  x_t)$ |
# | 001:123 (T) | Optimizing the ELBO, forward chain | $q(x_{1:T}\mid x_0)=\dots=q(x_T\mid x_{T-1},\dots,x_0)$ | $q(x_{1:T}\mid x_0)=q(x_1\mid x_0)\cdots q(x_T\mid x_{T-1},\dots,x_0)$ |
#
# In the three densities the exponents, $[\dots]$, are right: only the variance and the normaliser $\sqrt{2\pi v}$ are not (002:265a inherits them: a root is missing). In 000:58 the right side is a density of all states together; the numbers are those of $p(x_0\mid x_1)=\mathcal N(0.8\,x_1,0.3)$ at $x_1=1$, $x_2=-0.3$. In 001:68, with $T=1$, both forms have
# the factor $p(x_1)$; we leave it out and integrate the rest over $x_0$. In 001:123 an equals sign stands where the dots of a product belong. Our chain for it has two steps,
# $x_0\to x_{t-1}\to x_t$: the print keeps only the last factor.
#
# **Predict before you run.** $\beta_t=0.25$ in 002:257. What area has the printed density?

# %%
for number, v in (("002:257", b), ("002:259", 1 - c), ("002:261", 1 - p)):
    peak = area(torch.exp(-(x**2) / (2 * v)))
    row(number, peak / ((2 * torch.pi) ** 0.5 * v), peak / (2 * torch.pi * v) ** 0.5, 1, "area")
step, jump, seen = bell(xt, ra * x, b), bell(x, rp * x0, 1 - p), bell(xt, rc * x0, 1 - c)
ratio, whole = (1 - c) / (b * (1 - p)), area(step * jump) / seen
row("002:265a", ratio.sqrt() * whole, whole, 1, "area over x_(t-1)")  # the root was left out
row("000:535", area(step) / seen, whole, 1, "area over x_(t-1)")
others = bell(-0.3, 0, 1) * bell(1, 0.6 * -0.3, 0.5)  # p(x_2) p(x_1|x_2) in a chain with T = 2
row("000:58", area(others * bell(x, 0.8, 0.3)), area(bell(x, 0.8, 0.3)), 1, "area over x_0")
row("001:68", area(bell(1, ra * x, b)), area(bell(x, ra, b)), 1, "area over x_0, T = 1, x_1 = 1")
row("001:123", area(step), area(step * jump), seen, "x_(t-1) integrated out: q(x_t|x_0)")

# %% [markdown]
# **Exercise 11.1.** Someone writes the density of $\mathcal N(0,\sigma^2\mathbf I)$ in $\mathbb R^3$ as $\frac{1}{\sqrt{2\pi\sigma^2}}\exp\big(-\frac{\|x\|^2}{2\sigma^2}\big)$, with $\sigma^2=0.25$. What does it integrate to over $\mathbb R^3$?

# %% tags=["exercise:11.1"]
# BEGIN SOLUTION
area_11_1 = 2 * torch.pi * 0.25
# END SOLUTION
check("11.1", area_11_1)

# %% [markdown] tags=["erratum:003:35", "erratum:000:1199", "erratum:002:291", "erratum:004:569"]
# ## 2 · Is it a variance or a standard deviation?
#
# **The habit.** Give $x$ a unit, say metres. A variance has square metres. The last entry of $\mathcal N$ is a variance. What multiplies a standard normal draw is a standard deviation. Variances of independent noises add, standard
# deviations do not.
#
# | id | place | printed | corrected |
# |---|---|---|---|
# | 003:35 | Some Distributions | $q(x_t\mid x_{t-1}):= \mathcal{N}(x_t; \sqrt{1-\beta_t}x_{t-1}, \sqrt{\beta_t}\mathbf{I})$ | $q(x_t\mid x_{t-1}):= \mathcal{N}(x_t; \sqrt{1-\beta_t}x_{t-1}, \beta_t\mathbf{I})$ |
# | 000:1199 | Training (2); again: Training (3) | $x_t \sim q(x_t\mid x_0) = \mathcal{N}(\sqrt{\bar{\alpha}_t} x_0, \sqrt{1 - \bar{\alpha}_t} \mathbf{I})$ | $x_t \sim q(x_t\mid x_0) = \mathcal{N}(\sqrt{\bar{\alpha}_t} x_0, (1 - \bar{\alpha}_t) \mathbf{I})$ |
# | 002:291 | Appendix B | $\big[(\prod_{i=2}^t\sqrt{\alpha_i})\sqrt{\beta_1}+\dots+\sqrt{\alpha_t}\sqrt{\beta_{t-1}}+\sqrt{\beta_t}\,\big]\epsilon$ | $\big[(\prod_{i=2}^t\alpha_i)\beta_1+\dots+\alpha_t\beta_{t-1}+\beta_t\big]^{1/2}\epsilon$ |
# | 004:569 | Generative steps | $x_{t-1}=\dots+\sigma^2(t)\,z$ | $x_{t-1}=\dots+\sigma(t)\,z$ |
#
# The truth comes step by step: a step multiplies the variance by $\alpha_s$ and adds $\beta_s$.
#
# **Predict before you run.** Read with $\sqrt{\beta_t}$ as the variance of a step, does the chain of 003:35 still keep the variance of $x_t$ given $x_0$ below 1?

# %%
v_t, v_003, m_t = 0.0, 0.0, x0  # variances, and the mean for section 6
for s in range(1, t + 1):
    v_t, v_003 = toy.alpha[s] * v_t + toy.beta[s], toy.alpha[s] * v_003 + toy.beta[s].sqrt()
    m_t = toy.alpha[s].sqrt() * m_t
row("003:35", v_003, 1 - c, v_t, "Var(x_t|x_0), step by step")
row("000:1199", (1 - c).sqrt(), 1 - c, v_t, "Var(x_t|x_0), step by step")
stds = (c / toy.alpha_bar[1:6] * toy.beta[1:6]).sqrt()  # of the five noises in x_5
row("002:291", stds.sum(), (stds**2).sum().sqrt(), v_t.sqrt(), "std of all the noise in x_t")
mean_grid, var_grid = bayes(xt, x0)
row("004:569", toy.beta_tilde[t] ** 2, toy.beta_tilde[t], var_grid, "Var(x_(t-1)|x_t,x_0)")

# %% [markdown]
# **Q.** The habit works on code, too. A program draws $x_{t-1}$ with `torch.normal(mean, var)`, where `var` is 0.04. Which variance do the draws have?

# %% [markdown] tags=["answer"]
# <details><summary>Answer</summary>
#
# `torch.normal` wants the standard deviation. The draws have standard deviation 0.04, so variance 0.0016. It is the slip of 004:569.
#
# </details>

# %% [markdown] tags=["erratum:004:411", "erratum:004:415", "erratum:004:425", "erratum:004:429", "erratum:002:213", "erratum:002:105", "erratum:000:717", "erratum:000:620", "erratum:000:1081"]
# ## 3 · What happens at $t=1$?
#
# **The habit.** Put the smallest case in. At $t=1$, $\bar\alpha_0=1$ and $\tilde\beta_1=0$. One step was taken, with variance $\beta_1$. And $x_{t-1}$ is $x_0$: whoever knows $x_0$ has no freedom left.
#
# | id | place | printed | corrected |
# |---|---|---|---|
# | 004:411 | Back to maximizing the lower bound; again: Maximizing the lower bound (2) | $p(x_t\mid x_0) = \mathcal{N}(\sqrt{\bar{\alpha}_t}x_0, \sigma^2(t)\mathbf{I})$ | $p(x_t\mid x_0) = \mathcal{N}(\sqrt{\bar{\alpha}_t}x_0, (1-\bar{\alpha}_t)\mathbf{I})$ |
# | 004:415 | Back to maximizing the lower bound | $x_1 \sim p(x_1\mid x_0) = \mathcal{N}(\sqrt{\bar{\alpha}_1}x_0, \sigma^2(1)\mathbf{I})$ | $x_1 \sim p(x_1\mid x_0) = \mathcal{N}(\sqrt{\bar{\alpha}_1}x_0, (1-\bar{\alpha}_1)\mathbf{I})$ |
# | 004:425 | Maximizing the lower bound | $\alpha_1=\bar\alpha_1=\delta$ | $\alpha_1=\bar\alpha_1$, which is $1-\delta$ |
# | 004:429 | Maximizing the lower bound | $\log p(x_0\mid x_1)\propto ct$ $-\frac{1}{2\sigma^2(1)}\frac{(1-\alpha_1)^2\bar\alpha_0}{(1-\bar\alpha_1)^2}\Vert\tilde x_0(x_1)-x_0\Vert^2$ | $\log p(x_0\mid x_1)=-\frac d2\log(2\pi\sigma_1^2)$ $-\frac{1}{2\sigma_1^2}\Vert\tilde x_0(x_1)-x_0\Vert^2$ with a chosen $\sigma_1^2>0$, such as $\beta_1$ |
# | 002:213 | Reverse Process Decoder, Eq. 13 | $\mathcal{N}(x_0; \mu_\theta(x_1, 1), \sigma_0^2 \mathbf{I})$ | $\mathcal{N}(x_0; \mu_\theta(x_1, 1), \sigma_1^2 \mathbf{I})$ |
# | 002:105 (T) | Reverse Process | $\sigma_t^2 = \tilde{\beta}_t = \frac{1-\tilde{\alpha}_t}{1-\alpha_t} \beta_t$ | $\sigma_t^2 = \tilde{\beta}_t = \frac{1-\bar{\alpha}_{t-1}}{1-\bar{\alpha}_t} \beta_t$ |
# | 000:717 | $x_0$ Predictor (1); again: DDPM: recap, two forms of the mean | $\frac{\sqrt{\alpha_t}(1 - \bar{\alpha}_{t-1})}{1 - \bar{\alpha}_t} x_t - \frac{\sqrt{\bar{\alpha}_{t-1}}\beta_t}{1 - \bar{\alpha}_t} x_0$ | $\frac{\sqrt{\alpha_t}(1 - \bar{\alpha}_{t-1})}{1 - \bar{\alpha}_t} x_t + \frac{\sqrt{\bar{\alpha}_{t-1}}\beta_t}{1 - \bar{\alpha}_t} x_0$ |
# | 000:620 | $q(x_{t-1}\mid x_t,x_0)$ (6); again: DDPM: recap, posterior; DDPM: recap, list | $\frac{\sqrt{\alpha_t}(1 - \bar{\alpha}_{t-1})}{\sqrt{1 - \bar{\alpha}_t}} x_t - \frac{\sqrt{\bar{\alpha}_{t-1}}\beta_t}{\sqrt{1 - \bar{\alpha}_t}} x_0$ | $\frac{\sqrt{\alpha_t}(1 - \bar{\alpha}_{t-1})}{1 - \bar{\alpha}_t} x_t + \frac{\sqrt{\bar{\alpha}_{t-1}}\beta_t}{1 - \bar{\alpha}_t} x_0$ |
# | 000:1081 | Variational Distribution, option 2; again: Variational Distribution, summary | $\frac{\sqrt{\alpha_t}(1-\bar{\alpha}_{t-1})}{\sqrt{1-\bar{\alpha}_t}} x_t + \frac{\sqrt{\bar{\alpha}_{t-1}}\beta_t}{\sqrt{1-\bar{\alpha}_t}} \hat{x}_\theta(x_t, t)$ | $\frac{\sqrt{\alpha_t}(1-\bar{\alpha}_{t-1})}{1-\bar{\alpha}_t} x_t + \frac{\sqrt{\bar{\alpha}_{t-1}}\beta_t}{1-\bar{\alpha}_t} \hat{x}_\theta(x_t, t)$ |
#
# 004:425: in the lecture's list of levels $1,1-\delta,1-2\delta,\dots$ the entry $t=1$ is $1-\delta$. 004:429 and 002:213: for the data $\mathcal N(0,1)$ the variance of $x_0$ given $x_1$ is known, and it is $\beta_1$. There is no $\sigma_0$: the line before
# it, read at $t=1$, says $\sigma_1$ (entry 0 of our tables is padding, a zero). 004:411 is wrong at every $t$; its row has $t=5$. 002:105: $\tilde\alpha_t$ is not defined; we read $\bar\alpha_t$. In the three means the weight of $x_1$ contains $1-\bar\alpha_0=0$.
#
# **Predict before you run.** Given $x_0=0.7$, what do the three printed means say that $x_0$ is?

# %%
b1, c1 = toy.beta[1], toy.alpha_bar[1]  # and alpha_bar[0] = 1
left = GaussianMixture([1.0], [[0.0]], 1.0).reverse_moments(xt[None, None], 1, toy)[1].squeeze()
row("004:411", toy.beta_tilde[t], 1 - c, v_t, "Var(x_t|x_0), t = 5")
row("004:415", toy.beta_tilde[1], 1 - c1, b1, "Var(x_1|x_0)")
row("004:425", 1 / 10, 1 - 1 / 10, torch.linspace(1, 0, 11)[1], "alpha_1, if N_t = 10")
row("004:429", 1 / (2 * toy.beta_tilde[1]), 1 / (2 * b1), 1 / (2 * left), "1 / (2 Var(x_0|x_1))")
row("002:213", toy.beta[0], b1, left, "Var(x_0|x_1), data N(0, 1)")
row("002:105", (1 - c1) / (1 - toy.alpha[1]) * b1, toy.beta_tilde[1], 0, "Var of x_0, given x_0")
row("000:717", -b1 / (1 - c1) * x0, b1 / (1 - c1) * x0, x0, "mean of x_0, given x_0")
row("000:620", -b1 / (1 - c1) ** 0.5 * x0, b1 / (1 - c1) * x0, x0, "mean of x_0, given x_0")
row("000:1081", b1 / (1 - c1) ** 0.5 * x0, b1 / (1 - c1) * x0, x0, "the same, the guess is x_0")

# %% alt="Three means of x at t-1 against t, for x_t = 1.2 and x_0 = 0.7. Only the corrected one starts at 0.7. The one with a minus sign starts at -0.7, the one with roots at 0.16."
now, prev, ts = toy.alpha_bar[1:], toy.alpha_bar[:-1], range(1, 11)
at_xt, at_x0 = toy.alpha[1:].sqrt() * (1 - prev) * xt, prev.sqrt() * toy.beta[1:] * x0
plt.plot(ts, (at_xt + at_x0) / (1 - now), "o:", color=plots.COLORS["posterior"], label="corrected")
plt.plot(ts, (at_xt + at_x0) / (1 - now) ** 0.5, "^--", color="0.4", label="roots 000:1081")
plt.plot(ts, (at_xt - at_x0) / (1 - now), "s-.", color=plots.COLORS["model"], label="minus 000:717")
picture("At t = 1 the mean is $x_0=0.7$: two printed forms miss it", "t", "mean of $x_{t-1}$")

# %% [markdown]
# **Exercise 11.2.** A handout prints $\tilde\mu_t=\frac{\sqrt{\alpha_t}(1-\bar\alpha_t)}{1-\bar\alpha_t}\,x_t+\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0$. Put $t=1$ in, with $\alpha_1=0.81$, $x_0=0.5$, $x_1=2$. The mean of $x_0$, given $x_0$, is 0.5. Which number does the handout give?

# %% tags=["exercise:11.2"]
# BEGIN SOLUTION
mean_11_2 = 0.81**0.5 * 2 + 0.5
# END SOLUTION
check("11.2", mean_11_2)

# %% [markdown] tags=["erratum:000:622", "erratum:004:645", "erratum:000:1091", "erratum:002:81", "erratum:002:273", "erratum:002:167", "erratum:002:169a", "erratum:002:169b", "erratum:002:265b", "erratum:000:1252"]
# ## 4 · What does this factor undo?
#
# **The habit.** $\sqrt{\alpha_t}$ is the shrinking of one step, $\sqrt{\bar\alpha_t}$ that of all $t$ steps. Ask of each factor how many steps lie between the two things that it connects. A bar is small, and this is the largest group of slips: ten of 63.
#
# | id | place | printed | corrected |
# |---|---|---|---|
# | 000:622 | $q(x_{t-1}\mid x_t,x_0)$ (6); again: DDPM: recap, two forms of the mean | $\frac{1}{\sqrt{\bar{\alpha}_t}} \left(x_t - \frac{1 - \alpha_t}{\sqrt{1 - \bar{\alpha}_t}} \varepsilon_t \right)$ | $\frac{1}{\sqrt{\alpha_t}} \left(x_t - \frac{1 - \alpha_t}{\sqrt{1 - \bar{\alpha}_t}} \varepsilon_t \right)$ |
# | 004:645 (T) | Step 4: Code the generation process | $\frac{1}{\sqrt{\bar{\alpha}_t}} (x_t - \frac{1 - \alpha_t}{\sqrt{1 - \bar{\alpha}_t}} \epsilon_\theta(x_t, t))$ | $\frac{1}{\sqrt{\alpha_t}} (x_t - \frac{1 - \alpha_t}{\sqrt{1 - \bar{\alpha}_t}} \epsilon_\theta(x_t, t))$ |
# | 000:1091 | Variational Distribution, option 3; again: Variational Distribution, summary; Reverse Process (Generation) (1) | $\frac{1}{\sqrt{\bar{\alpha}_t}}\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar{\alpha}_t}} \hat{\varepsilon}_t(x_t, t)\right)$ | $\frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar{\alpha}_t}} \hat{\varepsilon}_\theta(x_t, t)\right)$ |
# | 002:81 (T) | Background: Diffusion, Eq. 7, row 2; again: Reverse Process, Eq. 7; Appendix A | $\frac{\sqrt{\bar{\alpha}_t} (1 - \bar{\alpha}_{t-1})}{1 - \bar{\alpha}_t} x_t$ | $\frac{\sqrt{\alpha_t} (1 - \bar{\alpha}_{t-1})}{1 - \bar{\alpha}_t} x_t$ |
# | 002:273 (T) | Appendix A, the mean, row 1; the same bar in rows 2 to 4 | $\left(\frac{\sqrt{\bar{\alpha}_t}x_t}{\beta_t} + \frac{\sqrt{\bar{\alpha}_{t-1}}x_0}{1 - \bar{\alpha}_{t-1}} \right) / \left(\frac{\alpha_t}{\beta_t} + \frac{1}{1 - \bar{\alpha}_{t-1}} \right)$ | $\left(\frac{\sqrt{\alpha_t}x_t}{\beta_t} + \frac{\sqrt{\bar{\alpha}_{t-1}}x_0}{1 - \bar{\alpha}_{t-1}} \right) / \left(\frac{\alpha_t}{\beta_t} + \frac{1}{1 - \bar{\alpha}_{t-1}} \right)$ $= \frac{\sqrt{\bar{\alpha}_{t-1}}\beta_t}{1 - \bar{\alpha}_t} x_0 + \frac{\sqrt{\alpha_t}(1 - \bar{\alpha}_{t-1})}{1 - \bar{\alpha}_t} x_t$ |
# | 002:167 (T) | Reverse Process, Eq. 8d, row 3; again: Reverse Process, Eq. 8d, row 4 | $\dots\left[\frac{1}{\sqrt{\bar{\alpha}_t}}(x_t - \sqrt{1 - \bar{\alpha}_t}\epsilon) \right] + \frac{\sqrt{\bar{\alpha}_t}(1 - \bar{\alpha}_{t-1})}{1 - \bar{\alpha}_t} x_t$ | $\dots\left[\frac{1}{\sqrt{\bar{\alpha}_t}}(x_t - \sqrt{1 - \bar{\alpha}_t}\epsilon) \right] + \frac{\sqrt{\alpha_t}(1 - \bar{\alpha}_{t-1})}{1 - \bar{\alpha}_t} x_t$ |
# | 002:169a (T) | Reverse Process, Eq. 8d, row 5, the numerator before $x_t$; in row 6 the bar stands twice and cancels | $\frac{\sqrt{\bar{\alpha}_t}}{\sqrt{\alpha_t}}(1 - \alpha_t) + \sqrt{\bar{\alpha}_t}\sqrt{\bar{\alpha}_t}(1 - \frac{\bar{\alpha}_t}{\alpha_t})$ | $\frac{\sqrt{\bar{\alpha}_t}}{\sqrt{\alpha_t}}(1 - \alpha_t) + \sqrt{\alpha_t}\sqrt{\bar{\alpha}_t}(1 - \frac{\bar{\alpha}_t}{\alpha_t})$ |
# | 002:169b (T) | Reverse Process, Eq. 8d, row 5 | $\frac{\beta_t}{\sqrt{\bar{\alpha}_t}\sqrt{1 - \bar{\alpha}_t}} \epsilon$ | $\frac{\beta_t}{\sqrt{\alpha_t}\sqrt{1 - \bar{\alpha}_t}} \epsilon$ |
# | 002:265b (T) | Appendix A, Bayes' rule, row 2; again in rows 3 and 4 | $\frac{(x_t - \sqrt{\bar{\alpha}_t}x_{t-1})^2}{\beta_t}$ | $\frac{(x_t - \sqrt{\alpha_t}x_{t-1})^2}{\beta_t}$ |
# | 000:1252 | Reverse Process (Generation) (2); again: Reverse Process (Generation) (3) | $\frac{1}{\sqrt{\bar{\alpha}_t}} \left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar{\alpha}_t}} \hat{\varepsilon}_\theta(x_t, t) \right)$ | $\frac{1}{\sqrt{\alpha_t}} \left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar{\alpha}_t}} \hat{\varepsilon}_\theta(x_t, t) \right)$ |
#
# 002:167 and the two after it are one derivation (the dots stand for the factor $\frac{\sqrt{\bar\alpha_{t-1}}\beta_t}{1-\bar\alpha_t}$, which is right). Its result is $\frac{1}{\sqrt{\alpha_t}}\big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\epsilon\big)$, so we weigh the factor of $x_t$ and that of $-\epsilon$. The truth: raise $x_t$, or the noise, by 1 and see how the grid's mean moves. In 000:1091 the guess has the index $\theta$, too: $t$ is already its argument.
#
# **Predict before you run.** At $t=5$ the bar makes the mean 31 % too large. The last slip sits in a loop that runs $T$ times. What happens?

# %%
eps = (xt - rc * x0) / (1 - c).sqrt()
for number, e in (("000:622", eps), ("004:645", eps), ("000:1091", 0.1)):
    inner, implied = xt - b / (1 - c).sqrt() * e, (xt - (1 - c).sqrt() * e) / rc
    row(number, inner / rc, inner / ra, bayes(xt, implied)[0], f"mean, if the noise is {e:.2f}")
w_bad, w_xt, w_x0 = rc * (1 - p) / (1 - c), ra * (1 - p) / (1 - c), rp * b / (1 - c)
mu = w_xt * xt + w_x0 * x0
for number in ("002:81", "002:273"):  # the second is the first before it is multiplied out
    row(number, w_bad * xt + w_x0 * x0, mu, mean_grid, "mean of x_(t-1)")
slope = bayes(xt + 1, x0 + 1 / rc)[0] - mean_grid  # x_t one higher, with the same noise
for number in ("002:167", "002:169a"):  # two rows of one derivation
    row(number, w_x0 / rc + w_bad, w_x0 / rc + w_xt, slope, "factor of x_t")
slope = mean_grid - bayes(xt, x0 - ((1 - c) / c).sqrt())[0]  # the noise one higher
row("002:169b", b / rc / (1 - c).sqrt(), b / ra / (1 - c).sqrt(), slope, "factor of the noise")
wrong = bell(xt, rc * x, b) * jump  # the product of the exponentials, as printed
row("002:265b", area(x * wrong) / area(wrong), mu, mean_grid, "mean of the product")

# %% alt="Variance of x_t on a logarithmic axis, as the sampler goes from t = 10 down to t = 1. With the corrected factor it stays at 1, with the printed one it rises above 500."
v = torch.ones(11, 2)  # Var(x_t) on the way back, data N(0, 1): printed and corrected factor
for s in range(10, 1, -1):  # the bracket, with the best guess of the noise, is alpha x_t
    factor = torch.stack([toy.alpha_bar[s], toy.alpha[s]])
    v[s - 1] = toy.alpha[s] ** 2 / factor * v[s] + toy.beta[s]
row("000:1252", *v[1], 1, "Var(x_1) in the sampler, data N(0, 1)")
plt.semilogy(ts, v[1:, 0], "s-.", color=plots.COLORS["model"], label="printed, $\\bar\\alpha_t$")
plt.semilogy(ts, v[1:, 1], "o:", color=plots.COLORS["posterior"], label="corrected, $\\alpha_t$")
picture("One bar too many, and the sampler blows up", "t", "Var($x_t$)", xlim=(10.2, 0.8))

# %% [markdown]
# Why the bracket is $\alpha_tx_t$: for the data $\mathcal N(0,1)$, $\mathbb E[x_0\mid x_t]=\sqrt{\bar\alpha_t}\,x_t$, so the best guess of the noise is $(x_t-\bar\alpha_tx_t)/\sqrt{1-\bar\alpha_t}=\sqrt{1-\bar\alpha_t}\,x_t$,
# and $1-\beta_t=\alpha_t$. Each step adds noise of variance $\beta_t$.
#
# **Exercise 11.3.** A blog recovers the image with $\hat x_0=\frac{1}{\sqrt{\alpha_t}}\big(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon\big)$. The noise $\epsilon$ is the true one, $\alpha_t=0.8$ and $\bar\alpha_t=0.2$. By which factor must $x_0$ be multiplied to give the blog's $\hat x_0$?

# %% tags=["exercise:11.3"]
# BEGIN SOLUTION
factor_11_3 = (0.2 / 0.8) ** 0.5
# END SOLUTION
check("11.3", factor_11_3)

# %% [markdown] tags=["erratum:000:574b", "erratum:002:265c", "erratum:004:360", "erratum:002:193", "erratum:000:1249", "erratum:000:1258"]
# ## 5 · Which variable does it speak of?
#
# **The habit.** Name the variable of every density, the index of every draw, the equation of every reference. Then change that variable. If the right side does not move, it is not its density.
#
# | id | place | printed | corrected |
# |---|---|---|---|
# | 000:574b | $q(x_{t-1}\mid x_t,x_0)$ (3), row 2 | $\frac{(x_t-\sqrt{\bar\alpha_{t-1}}\,x_0)}{1-\bar\alpha_{t-1}}$ | $\frac{\Vert x_{t-1}-\sqrt{\bar\alpha_{t-1}}\,x_0\Vert^2}{1-\bar\alpha_{t-1}}$ |
# | 002:265c | Appendix A, Bayes' rule, row 2; again in row 3 | $\frac{(x_t - \sqrt{\bar{\alpha}_{t-1}}x_0)^2}{1 - \bar{\alpha}_{t-1}}$ | $\frac{(x_{t-1} - \sqrt{\bar{\alpha}_{t-1}}x_0)^2}{1 - \bar{\alpha}_{t-1}}$ |
# | 004:360 | Gaussian product | $\exp\left(-\frac{(x_t - \mu_{\text{denoise}_1}(x_t, x_0))^2}{2\sigma^2(t)}\right)$ | $\exp\left(-\frac{(x_{t-1} - \mu_{\text{denoise}_1}(x_t, x_0))^2}{2\sigma^2(t)}\right)$ |
# | 002:193 | Reverse Process | By Eq. (8d), $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ | By Eq. (8a), the same |
# | 000:1249 | Reverse Process (Generation) (2); again: Reverse Process (Generation) (3); Reverse Process with noise predictor | Sample $x_t \sim \mathcal{N}(\mathbf{0}, \mathbf{I})$ | Sample $x_T \sim \mathcal{N}(\mathbf{0}, \mathbf{I})$ |
# | 000:1258 | Reverse Process (Generation) (2); again: Reverse Process with noise predictor | $x_t \sim p_\theta(x_{t-1}\mid x_t)$ | $x_{t-1} \sim p_\theta(x_{t-1}\mid x_t)$ |
#
# (In 000:574b the square is missing as well, see section 7. Here we have put it back.) For the two sampling lines the data are $\pm2$: then $\mathrm{Var}(x_t)=1+3\bar\alpha_t$ tells the states apart. A draw from $\mathcal N(0,1)$ has variance 1.
#
# **Predict before you run.** A step draws from $p_\theta(x_{t-1}\mid x_t)$ at $t=5$. Which variance must the draw have: that of $x_5$ or that of $x_4$?

# %%
for number in ("000:574b", "002:265c"):  # x_(t-1) is left in the first factor only
    row(number, area(x * step) / area(step), mu, mean_grid, "mean of x_(t-1)")
u = torch.tensor([0.3, -0.2])  # two places for x_{t-1}: how much likelier is the first?
truth = bell(xt, ra * u, b) * bell(u, rp * x0, 1 - p)
flat, peaked = bell(xt.expand(2), mu, toy.beta_tilde[t]), bell(u, mu, toy.beta_tilde[t])
row("004:360", flat[0] / flat[1], peaked[0] / peaked[1], truth[0] / truth[1], "q(0.3) / q(-0.2)")
row("002:193", mu, rc * x0 + (1 - c).sqrt() * eps, xt, "x_t; (8d) is the posterior mean")
coin = GaussianMixture([0.5, 0.5], [[-2.0], [2.0]], std=0.0)  # x_0 is -2 or 2
q_5 = coin.noised(5, toy).log_prob(x[:, None]).exp()
m, cov = coin.reverse_moments(x[:, None], 5, toy)  # of x_4, given x_5
row("000:1249", 1, 1 + 3 * c, area(q_5 * x**2), f"Var(x_5); Var(x_10) = {1 + 3 * now[9]:.3f}")
row("000:1258", 1 + 3 * c, 1 + 3 * p, area(q_5 * (m**2 + cov[..., 0])[:, 0]), "Var of the draw")

# %% [markdown] tags=["erratum:000:424", "erratum:004:61", "erratum:004:237", "erratum:000:1059", "erratum:000:1053"]
# ## 6 · How many are there: sum, product or average?
#
# **The habit.** Count. Count factors, terms, entries. Two independent copies of the data double a log-probability, a divergence, a bound. A term that does not double has lost a $d$.
#
# | id | place | printed | corrected |
# |---|---|---|---|
# | 000:424 (T) | Forward Convergence (5) | $\sqrt{\sum_{i=1}^t \alpha_i} x_0 + \sqrt{(1 - \prod_{i=1}^t \alpha_i)} \bar{\epsilon}_0$ | $\sqrt{\prod_{i=1}^t \alpha_i} x_0 + \sqrt{(1 - \prod_{i=1}^t \alpha_i)} \bar{\epsilon}_0$ |
# | 004:61 | Datasets | $d_x=N_x\times N_y\times3$ | $d_x=N_x\times N_y=28\times28=784$ |
# | 004:237 | Denoising probabilities | $D_{\mathrm{KL}}(p_1, p_2) = \frac{1}{2} \left[ \log \left( \frac{\sigma_2^2}{\sigma_1^2} \right) + \frac{\sigma_1^2}{\sigma_2^2} - 1 + \frac{\Vert \mu_2 - \mu_1\Vert _2^2}{\sigma_2^2} \right]$ | $D_{\mathrm{KL}}(p_1, p_2) = \frac{1}{2} \left[ d \left( \log \frac{\sigma_2^2}{\sigma_1^2} + \frac{\sigma_1^2}{\sigma_2^2} - 1 \right) + \frac{\Vert \mu_2 - \mu_1\Vert _2^2}{\sigma_2^2} \right]$ |
# | 000:1059 | Denoising Matching Term (9); again: Denoising Matching Term (11) | $\sum_{t=2}^T\mathbb E[D_{\mathrm{KL}}(\dots)]=\mathbb E_{t>1}[D_{\mathrm{KL}}(\dots)]$ | $\dots=(T-1)\,\mathbb E_{t>1}[D_{\mathrm{KL}}(\dots)]$ |
# | 000:1053 | ELBO (10) | $\mathcal L_{t-1}=\sum_{t=2}^T\mathbb E[D_{\mathrm{KL}}(\dots)]$ | $\sum_{t=2}^T\mathcal L_{t-1}=\sum_{t=2}^T\mathbb E[D_{\mathrm{KL}}(\dots)]$ |
#
# 004:61: MNIST is grey, one value per pixel. The file of the test images has 7 840 016 bytes: a header of 16, then one byte per value of 10 000 images. For the two sums: $d=1$, the variance is $\tilde\beta_t$, and a network that always guesses the noise 0,
# so that $\mathbb E[\epsilon^2]=1$ and each term is its weight (lesson 07). In $D_{\mathrm{KL}}(\dots)$ the dots stand for $q(x_{t-1}\mid x_t,x_0)\Vert p_\theta(x_{t-1}\mid x_t)$.
#
# **Predict before you run.** $T=10$. The sum over $t=2..10$ is how many times the average over $t>1$?

# %%
row("000:424", toy.alpha[1:6].sum() ** 0.5, toy.alpha[1:6].prod() ** 0.5, m_t / x0, "x_0 kept")
row("004:61", 28 * 28 * 3, 28 * 28, (7_840_016 - 16) / 10_000, "bytes per image in the file")
m, v1, v2 = torch.tensor([0.5, -0.2, 0.1]), torch.tensor(0.4), torch.tensor(0.9)  # d = 3
rest, far = (v2 / v1).log() + v1 / v2 - 1, m @ m / v2
truth = kl_divergence(Normal(m, v1.sqrt()), Normal(0.0, v2.sqrt())).sum()
row("004:237", (rest + far) / 2, (3 * rest + far) / 2, truth, "KL, entry by entry")
L = loss_weight("eps", toy)  # L[t] is the lecture's L_{t-1}
miss = w_xt * x + w_x0 * x0 - x / ra  # of the mean at t = 5, for every x_t
L_grid = area(bell(x, rc * x0, 1 - c) * miss**2) / (2 * toy.beta_tilde[t])
row("000:1059", L[2:].mean(), 9 * L[2:].mean(), sum(L[2:]), "sum over t = 2..10")
row("000:1053", L[2:].sum(), L[t], L_grid, "L_4, the term of t = 5")

# %% [markdown] tags=["erratum:000:574a", "erratum:002:265d", "erratum:004:390", "erratum:000:1132", "erratum:004:519", "erratum:002:114", "erratum:002:115"]
# ## 7 · Does the next line still give the same number?
#
# **The habit.** Pick numbers once. Evaluate the line above and the line below. An equals sign is a promise that they agree.
#
# | id | place | printed | corrected |
# |---|---|---|---|
# | 000:574a | $q(x_{t-1}\mid x_t,x_0)$ (3), row 2 | $\frac{(x_t - \sqrt{\alpha_t} x_{t-1})}{1 - \alpha_t} + \frac{(x_t - \sqrt{\bar{\alpha}_{t-1}} x_0)}{1 - \bar{\alpha}_{t-1}} - \frac{(x_t - \sqrt{\bar{\alpha}_t} x_0)}{1 - \bar{\alpha}_t}$ | $\frac{\Vert x_t - \sqrt{\alpha_t} x_{t-1}\Vert ^2}{1 - \alpha_t} + \frac{\Vert x_{t-1} - \sqrt{\bar{\alpha}_{t-1}} x_0\Vert ^2}{1 - \bar{\alpha}_{t-1}} - \frac{\Vert x_t - \sqrt{\bar{\alpha}_t} x_0\Vert ^2}{1 - \bar{\alpha}_t}$ |
# | 002:265d | Appendix A, Bayes' rule, row 3, third fraction; its second lacks the 2, too | $\frac{x_t^2 - \sqrt{\bar{\alpha}_t}x_0 x_t + \bar{\alpha}_t x_0^2}{1 - \bar{\alpha}_t}$ | $\frac{x_t^2 - 2\sqrt{\bar{\alpha}_t}x_0 x_t + \bar{\alpha}_t x_0^2}{1 - \bar{\alpha}_t}$ |
# | 004:390 | Denoising loss | $D_{\mathrm{KL}}=\frac{1}{\sigma^2(t)}\Vert\mu_{\text{denoise}_1}-\mu_{\text{denoise}_2}\Vert^2$ | $D_{\mathrm{KL}}=\frac{1}{2\sigma^2(t)}\Vert\mu_{\text{denoise}_1}-\mu_{\text{denoise}_2}\Vert^2$ |
# | 000:1132 | Diffusion Matching Term, three cases | $\frac{1}{2\tilde{\sigma}_t^2} \omega_t \Vert \hat{x}_\theta(x_t, t) - x_0\Vert ^2$ | $\omega_t \Vert \hat{x}_\theta(x_t, t) - x_0\Vert ^2$, where $\omega_t = \frac{1}{2\tilde{\sigma}_t^2} \frac{\bar{\alpha}_{t-1}\beta_t^2}{(1-\bar{\alpha}_t)^2}$ |
# | 004:519 | Denoising loss (2); again: MSE loss (2) | $\frac{1}{2\sigma^2(t)} \frac{(1 - \alpha_t)^2 \bar{\alpha}_{t-1}}{(1 - \bar{\alpha}_t)^2} \Vert \epsilon_\theta(x_t) - \epsilon_0\Vert _2^2$ | $\frac{1}{2\sigma^2(t)} \frac{(1 - \alpha_t)^2}{\alpha_t(1 - \bar{\alpha}_t)} \Vert \epsilon_\theta(x_t) - \epsilon_0\Vert _2^2$ |
# | 002:114 | Reverse Process, Eq. 8, row 3 | $D_{\mathrm{KL}}(\mathcal N(\tilde\mu_t,\tilde\beta_t\mathbf I)\Vert\mathcal N(\mu_\theta,\sigma_t^2\mathbf I))$ $=D_{\mathrm{KL}}(\mathcal N(\tilde\mu_t,\sigma_t^2\mathbf I)\Vert\mathcal N(\mu_\theta,\sigma_t^2\mathbf I))$ | the same right side $+\,C_t$, with $C_t=\frac d2\big[\frac{\tilde\beta_t}{\sigma_t^2}-1+\log\frac{\sigma_t^2}{\tilde\beta_t}\big]$ |
# | 002:115 | Reverse Process, Eq. 8, row 4 | $D_{\mathrm{KL}}(\dots)=\mathbb E_{x_0,x_t}\big[\frac{1}{2\sigma_t^2}\Vert\tilde\mu_t-\mu_\theta\Vert^2\big]$ | $\mathbb E_{x_0,x_t}[D_{\mathrm{KL}}(\dots)]$ $=\mathbb E_{x_0,x_t}\big[\frac{1}{2\sigma_t^2}\Vert\tilde\mu_t-\mu_\theta\Vert^2\big]+C_t$ |
#
# 000:574a: we leave out the squares only, and put $x_{t-1}$ right (section 5); the third fraction does not contain $x_{t-1}$ and drops out of a ratio. In 000:1132 the weight $\omega_t$ was defined with the factor $\frac{1}{2\tilde\sigma_t^2}$ inside, so the print counts it twice. 004:519 has the weight of the $x_0$ loss on the loss of the noise. 002:114 is exact when $\sigma_t^2=\tilde\beta_t$; we
# take $\sigma_t^2=\beta_t$ and $\mu_\theta=0.1$. 002:115 equates the divergence at one $x_t$ with its average over all $x_t$; there $\sigma_t^2=\tilde\beta_t$, so $C_t=0$, and the network guesses the noise 0, as in section 6.
#
# **Predict before you run.** The guess of $x_0$ is 0.2, the truth 0.7. By which factor does 004:390 miss?

# %%
post, omega, v = Normal(mean_grid, var_grid.sqrt()), loss_weight("x0", toy)[t], toy.beta_tilde[t]
truth, slip = kl_divergence(post, Normal(bayes(xt, 0.2)[0], var_grid.sqrt())), w_x0 * (x0 - 0.2)
row("004:390", slip**2 / v, slip**2 / (2 * v), truth, "KL, if x_0 is guessed 0.2")
row("000:1132", omega / (2 * v) * (x0 - 0.2) ** 2, omega * (x0 - 0.2) ** 2, truth, "the same KL")
truth = kl_divergence(post, Normal(bayes(xt, implied)[0], var_grid.sqrt()))
row("004:519", omega * (eps - 0.1) ** 2, L[t] * (eps - 0.1) ** 2, truth, "KL, noise guessed 0.1")
bad, C = (mean_grid - 0.1) ** 2 / (2 * b), (v / b - 1 + (b / v).log()) / 2
row("002:114", bad, bad + C, kl_divergence(post, Normal(0.1, b.sqrt())), "KL to N(0.1, beta)")
row("002:115", (mean_grid - xt / ra) ** 2 / (2 * v), L[t], L_grid, "KL, averaged over x_t")
bare = ((xt - ra * u) / b + (u - rp * x0) / (1 - p)).diff() / 2
good = ((xt - ra * u) ** 2 / b + (u - rp * x0) ** 2 / (1 - p)).diff() / 2
row("000:574a", bare[0], good[0], (peaked[0] / peaked[1]).log(), "log of q(0.3) / q(-0.2)")
ends, cross = xt**2 + c * x0**2, rc * x0 * xt
row("002:265d", ends - cross, ends - 2 * cross, (xt - rc * x0) ** 2, "the square itself")

# %% [markdown] tags=["erratum:000:133", "erratum:000:117", "erratum:001:97", "erratum:004:219", "erratum:000:125", "erratum:000:152", "erratum:004:441", "erratum:004:455"]
# ## 8 · Which side is larger, and may it be negative?
#
# **The habit.** A density may exceed 1, so its logarithm has either sign. A divergence is never negative. A bound stays on its side for every model. Test each with a model so small that $\log p(x_0)$ is known.
#
# | id | place | printed | corrected |
# |---|---|---|---|
# | 000:133 | ELBO: Complex Derivations (1), Eq. 36 | $\log p(x_0)=\dots=\mathbb E_q\big[\frac{p(x_{0:T})}{q(x_{1:T}\mid x_0)}\big]$ | $\dots=\log\mathbb E_q\big[\frac{p(x_{0:T})}{q(x_{1:T}\mid x_0)}\big]$ |
# | 000:117 | ELBO (1); again: ELBO (2); ELBO (4); ELBO (5); ELBO (6) | $-\log p(x_0)\ \geq\ \mathbb E_q\big[-\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\big]$ | $-\log p(x_0)\ \leq\ \mathbb E_q\big[-\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}\mid x_0)}\big]$ |
# | 001:97 (T) | ELBO in DDPM | $J=\mathbb E\log p_\theta(x_0,x_1,\dots,x_T)$ | $J=\mathbb E_{q(x_{1:T}\mid x_0)}\log\frac{p_\theta(x_0,x_1,\dots,x_T)}{q(x_1,\dots,x_T\mid x_0)}$ |
# | 004:219 | Lower bound (4) | $D_{\mathrm{KL}}(p_1,p_2)=\int p_1\log\frac{p_2}{p_1}$, with $p_1=p(x_{t-1}\mid x_t,x_0)$, $p_2=p(x_{t-1}\mid x_t)$ | $D_{\mathrm{KL}}(p_1,p_2)=-\int p_1\log\frac{p_2}{p_1}$ |
# | 000:125 | ELBO (1); again: ELBO (2) | $+\sum_{t=1}^{T-1}\mathbb E_{q(x_{t-1},x_{t+1}\mid x_0)}[D_{\mathrm{KL}}(q(x_t\mid x_{t-1})\Vert p_\theta(x_t\mid x_{t+1}))]$ | $+\sum_{t=1}^{T-1}\mathbb E_{q(x_{t-1},x_t,x_{t+1}\mid x_0)}\big[\log\frac{q(x_t\mid x_{t-1})}{p_\theta(x_t\mid x_{t+1})}\big]$ |
# | 000:152 | ELBO: Complex Derivations (1), Eq. 45 | the same sum with a minus sign, (45) | the same correction, with a minus sign |
# | 004:441 | Maximizing the lower bound (2) | $\log p(x)\geq-D_{\mathrm{KL}}(p(x_T\mid x_0),p(x_T))$ $-\sum_{t=1}^T\mathbb E[\omega_t\Vert\tilde x_0(x_t)-x_0\Vert^2]$ | $\log p(x)\geq-D_{\mathrm{KL}}(p(x_T\mid x_0),p(x_T))$ $-\frac d2\log(2\pi\sigma_1^2)$ $-\sum_{t=1}^T\mathbb E[\omega_t\Vert\tilde x_0(x_t)-x_0\Vert^2]$, where $\omega_1=\frac{1}{2\sigma_1^2}$ with a chosen $\sigma_1^2>0$ |
# | 004:455 | Maximizing the lower bound (2) | $\log p(x)\geq-\sum_{t=1}^T\mathbb E[\omega_t\Vert\tilde x_0(x_t)-x_0\Vert^2]$ | the corrected form of 004:441: the constant and the divergence belong to the bound |
#
# Here $q$ in $\mathbb E_q$ is $q(x_{1:T}\mid x_0)$, and $\omega_t$ is the weight $\frac{1}{2\sigma^2(t)}\frac{(1-\alpha_t)^2\bar\alpha_{t-1}}{(1-\bar\alpha_t)^2}$ that the lecture writes out (at $t=1$ it divides by 0, see 004:429). The consistency term (000:125 and 000:152) is **not** a divergence: given $x_{t-1}$ *and* $x_{t+1}$, the law of $x_t$ is not $q(x_t\mid x_{t-1})$. With the best reverse
# step it is minus the information that $x_1$ and $x_2$ share: with their correlation $\rho$ given $x_0$, $\frac12\log(1-\rho^2)$.
#
# The smallest chain is $T=1$, $\beta_1=0.05$, $p_\theta(x_0\mid x_1)=\mathcal N(0.9\,x_1,0.05)$; the consistency term needs $T=2$: $\beta=0.3$ and $0.5$, with $q(x_1\mid x_2,x_0)$ for the best reverse step. $J$ is lecture 001's name of the lower bound.
#
# **Predict before you run.** Two of the printed numbers are negative and must not be. Which slips are these?

# %%
q, n = Normal(0.95**0.5 * x0, b1**0.5), Normal(0.0, 1.0)  # T = 1, beta_1 = 0.05
log_p = Normal(0.0, 0.86**0.5).log_prob(x0)  # 0.86 = 0.9**2 + 0.05
gap = kl_divergence(q, Normal(0.9 / 0.86 * x0, (0.05 / 0.86) ** 0.5))  # to p(x_1|x_0)
J = area(q.log_prob(x).exp() * (n.log_prob(x) + Normal(0.9 * x, b1**0.5).log_prob(x0)))
evidence, elbo = area(bell(x, 0, 1) * bell(x0, 0.9 * x, b1)), J + q.entropy()
row("000:133", evidence, evidence.log(), log_p, "log p(x_0)")
row("000:117", elbo - log_p, log_p - elbo, gap, "larger side minus smaller side")
row("001:97", J, elbo, log_p - gap, f"a lower bound of log p(x_0) = {log_p:.3f}")
signed = area(q.log_prob(x).exp() * (n.log_prob(x) - q.log_prob(x)))
row("004:219", signed, -signed, kl_divergence(q, n), "KL of q and N(0, 1)")
y1, y2 = torch.meshgrid(x[::40], x[::40], indexing="ij")  # x_1, x_2; T = 2, beta = 0.3, 0.5
q1, rho = Normal(0.7**0.5 * x0, 0.3**0.5), torch.tensor(0.15 / 0.65).sqrt()
best = q1.mean + 0.3 / 0.65 * 0.5**0.5 * (y2 - 0.35**0.5 * x0)  # mean of q(x_1|x_2,x_0)
p1 = Normal(best, (0.3 * (1 - rho**2)) ** 0.5)
joint = q1.log_prob(y1).exp() * bell(y2, 0.5**0.5 * y1, 0.5) * 0.04**2
third = (joint * (q1.log_prob(y1) - p1.log_prob(y1))).sum()
for number in ("000:125", "000:152"):
    row(number, (joint * kl_divergence(q1, p1)).sum(), third, (1 - rho**2).log() / 2, "third term")

# %% [markdown]
# (A gap between a bound and what it bounds, 000:117, and a divergence, 004:219. The consistency term *is* negative, and the printed divergence never could be.)
#
# The last two slips of the group are about the whole bound. $T=1$, data $\mathcal N(0,1)$, the best guess of $x_0$, and $\sigma_1^2=\beta_1$. Then the bound with all its terms is tight: its mean over the data is that of $\log p(x_0)$, for every $\beta_1$.

# %% alt="Averages over the data against beta_1. The corrected bound is flat at -1.42. The printed bound 004:441 rises and crosses it near 0.16. The printed bound 004:455 lies at -0.5 throughout."
beta, error = torch.arange(1, 100) / 100, 0.5  # error: E[omega_1 |guess - x_0|^2]
L_T, ct = -beta.log() / 2, -(2 * torch.pi * beta).log() / 2
for number, printed in (("004:441", -L_T[49] - error), ("004:455", -error)):
    row(number, printed, ct[49] - L_T[49] - error, -n.entropy(), "mean of log p(x_0), beta_1 = 0.5")
plt.plot(beta, -L_T - error, "-.", color=plots.COLORS["model"], label="printed (004:441)")
plt.axhline(-error, color="0.4", linestyle="--", label="printed (004:455)")
plt.axhline(-n.entropy(), color=plots.COLORS["data"], label="truth = corrected bound")
picture('Without its constant, the "lower bound" rises above what it bounds', "$\\beta_1$", "nats")

# %% [markdown] tags=["erratum:004:312", "erratum:000:587", "erratum:000:1031", "erratum:000:1042", "erratum:002:35", "erratum:000:473"]
# ## 9 · What does the word claim, and what is the limit?
#
# **The habit.** "Equivalent", "negligible", "interpolation", "$\to0$" are claims. Turn each into an equation, go to the end of the range, and look for one example that breaks it.
#
# | id | place | printed | corrected |
# |---|---|---|---|
# | 004:312 | Noising process (2) | $\alpha_t=\{1,1-\delta,\dots,1-t\delta,\dots,0\}$, $\delta=\frac{T}{N_t}$ | $\delta=\frac{1}{N_t}$; stop before the entry 0 where the noise is predicted |
# | 000:587 | $q(x_{t-1}\mid x_t,x_0)$ (4); again: $x_0$ Predictor (4); DDPM: recap, posterior; DDPM: recap, list; DDPM: recap, two forms of the mean | $\tilde\mu$ is a 線性內插 (linear interpolation) of $x_t$ and $x_0$ | 線性組合 (linear combination) |
# | 000:1031 | ELBO (8); again: ELBO (9); ELBO (10) | $\mathcal L_0$ is negligible | $\frac d2\log(2\pi\beta_1)\le\mathcal L_0\le\frac d2\big[\log(2\pi\beta_1)+\frac{1}{\alpha_1}\big]$ (best mean, $\sigma_1^2=\beta_1$, averaged over the data) |
# | 000:1042 | ELBO (9) | $\beta_1$ is small, so $x_1\approx x_0$, 重建變得微不足道，且相對於其他項很小 (the reconstruction becomes negligible, and small beside the other terms) | the squared error, at most $d\beta_1/\alpha_1$, tends to 0 with $\beta_1$; but it is divided by $2\beta_1$, and $\mathcal L_0\to-\infty$ |
# | 002:35 | Background: Diffusion | minimising $-\log p_\theta(x_0)$ is equivalent to minimising its upper bound $L$ | $L$ is a tractable surrogate: $-\log p_\theta(x_0)=L-D_{\mathrm{KL}}(q(x_{1:T}\mid x_0)\Vert p_\theta(x_{1:T}\mid x_0))$ |
# | 000:473 | Forward Convergence (7) | For $\beta_t\in(0,1)$: $\lim_{T\to\infty}\prod_{t=1}^T(1-\beta_t)=0$ | $=0$ if and only if $\sum_t\beta_t=\infty$, for example when $\beta_1\le\beta_2\le\dots$ |
#
# 004:312: with $T$ the number of steps, as elsewhere in that lecture, $\delta=T/N_t=1$ for $T=N_t=10$. (If $T$ is a time horizon of 1, the print is right.) 000:587: an interpolation of 1 and 1 is 1. 000:1031 and 000:1042: 1000 linear steps from $\beta_1=10^{-4}$ and from $10^{-6}$,
# data $\mathcal N(0,1)$, exact reverse means, $\sigma_t^2=\beta_t$. "Negligible" and "small" are read as 0. For this data the squared error is $\beta_1$, so that $\mathcal L_0=\frac12[\log(2\pi\beta_1)+1]$. The truth is the entropy of the data minus all other terms: with these steps the bound is tight. 002:35: $T=1$, $\alpha_1=\frac12$, $p_\theta(x_0\mid x_1)=\mathcal N(\theta x_1,\frac14)$. Up to constants the bound
# is $2(\theta^2-\sqrt2\,\theta)$, and $p_\theta(x_0)=\mathcal N(0,\theta^2+\frac14)$. If they were equivalent, one $\theta$ would be best for both.
#
# **Q.** (Lecture 000.) All $\beta_t$ lie in $(0,1)$. Where does $\prod_t(1-\beta_t)$ go? **Predict** it for $\beta_t=1/(t+1)$ and for $\beta_t=1/(t+1)^2$, then run the cell.

# %%
row("004:312", 1 - 10 * 10 / 10, 1 - 10 / 10, torch.linspace(1, 0, 11)[-1], "alpha_10, if N_t = 10")
row("000:587", 1, (ra + rp) / (1 + rc), bayes(1, 1)[0], "mean for x_t = x_0 = 1")
for number, beta_1 in (("000:1031", 1e-4), ("000:1042", 1e-6)):
    s = linear_schedule(beta_1=beta_1)
    L_0, L_T = ((2 * torch.pi * s.beta[1]).log() + 1) / 2, -(1 - s.alpha_bar[-1]).log() / 2
    others = (s.beta[2:] / s.beta_tilde[2:]).log().sum() / 2 + L_T
    row(number, 0, L_0, n.entropy() - others, f"L_0; all others sum to {others:.3f}")
theta = torch.linspace(0.3, 1.2, 90_001)
nll, bound = (theta**2 + 0.25).log() + 1 / (theta**2 + 0.25), theta**2 - 2**0.5 * theta
row("002:35", theta[bound.argmin()], 0.75**0.5, theta[nll.argmin()], "best theta for -log p(x_0)")
product = (1 - 1 / torch.arange(2, 1002) ** 2).prod()  # beta_t = 1/(t+1)^2, all in (0, 1)
row("000:473", 0, 1002 / (2 * 1001), product, "product of 1000 steps")

# %% [markdown]
# Both products telescope: $\prod_{t\le n}\big(1-\frac{1}{t+1}\big)=\frac{1}{n+1}\to0$, but $\prod_{t\le n}\big(1-\frac{1}{(t+1)^2}\big)=\frac{n+2}{2(n+1)}\to\frac12$. With $\beta_1\le\beta_2\le\dots$, as on the lecture's earlier slides, the sum of the $\beta_t$ is infinite and the answer 0 is right.
#
# ## 10 · For your copy of the slides
#
# All 63, in the order of the lectures, as the register of this course holds them, made by code. (T): look at the slide first, the slip may be ours. Where a lecture repeats a slip, the tables above say where.

# %%
def cell(tex):  # a formula, with gaps where the line may break, as a table can hold it
    tex = tex.replace(r"\|", r"\Vert ").replace("|", r"\vert ").replace("&", "")
    gap = r"\s*(\\\\|\\quad|\\ )(\\quad|\\ |\s)*|\s+(?=\\text\{|- \\sum)"
    return tex if "$" in tex or "\\" not in tex else f"${re.sub(gap, '$ $', tex)}$"

table = "| id | place | printed, and below it the corrected form |\n|---|---|---|\n"
for e in sorted(errata().values(), key=lambda e: (e["lecture"], int(e["id"][4:].strip("abcd")))):
    place = re.sub(r"^\S*_\S*", r"$\g<0>$", e["where"]) + " (T)" * e.get("transcription", False)
    table += f"| {e['id']} | {cell(place)} | {cell(e['printed'])}<br>**correct:** {cell(e['correct'])} |\n"
Markdown(table)

# %% [markdown]
# ## What to remember
#
# * A formula is a claim about numbers. Choose small numbers, and ask it.
# * Compare with something that does not use the formula: a grid, a step-by-step loop, a case so small that the answer is known.
# * Nine questions: one? squared? $t=1$? undo what? which variable? how many? same number? which side? what does the word claim?
# * Two right numbers do not prove a formula. One wrong number refutes it.
#
# **References.** Lectures 000 to 004, places named above. Ho et al. 2020, Eq. 1 to 14.
