# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Homework 1 · Forward, posterior, KL
#
# **Twelve questions, 60 points, about 4 hours.** Points and minutes stand beside each question.
#
# **You will need.** Lessons 01, 02, 03, 05 and 06. Question 10 needs 08, question 11 needs 07. Paper and a pencil.
#
# **How it works.** Write your answers where the cells say so, and run them. `check` tells you at once whether an answer is right. If not, it may know the mistake. It works without a network connection and counts nothing. Your instructor's grader then tries your functions on other inputs. So a function that only fits the example gets no points.
#
# Where numbers are needed, they are your course's own (or your own): the cell prints them. You may add cells. Please do not delete or copy the cells with questions. Use what you like: `math`, NumPy, PyTorch, this course's package. No question is answered by one of the package's functions alone.
#
# ## The symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $\beta_t$, $\alpha_t=1-\beta_t$ | `beta[t]` | the variance that step $t$ adds; what it keeps |
# | $\bar\alpha_t=\alpha_1\cdots\alpha_t$ | | what $t$ steps keep of the variance; $\bar\alpha_0=1$ |
# | $x_0$, $x_t$, $\epsilon$ | `x0`, `xt`, `eps` | data, the noised data, standard normal noise |
# | $\tilde\mu_t$, $\tilde\beta_t$ | | mean and variance of $q(x_{t-1}\mid x_t,x_0)$ |
#
# **Tables have $T+1$ entries and are read at $t=0..T$.** So `beta[0]` is 0 and `beta[1]` is $\beta_1$. Functions get them as float64 tensors. `t` and `s` are integer tensors of shape (B,), one for each sample of the batch: `beta[t]` is (B,), too.

# %%
import torch

from ddpm_lesson.homework import start

# %%
numbers, check = start("hw1", key="public", student="")

# %% [markdown]
# ## Question 1 · A jump in the variance-exploding form (4 points, 10 minutes)
#
# Lecture 000 names another form of the forward step, "variance exploding". It adds noise and shrinks nothing:
#
# $$q(x_t\mid x_{t-1})=\mathcal N\big(x_t;\ x_{t-1},\ (\sigma_t^2-\sigma_{t-1}^2)\,\mathbf I\big),\qquad 0=\sigma_0<\sigma_1<\dots<\sigma_T$$
#
# You stand at $x_s$, and want to jump to $x_t$, with $0\le s\le t$. Write `ve_jump`: it returns $x_t$, made of $x_s$ and **one** draw $\epsilon$. `x` and `eps` are (B, d); `s` and `t` are (B,); `sigma` is the table of $\sigma_0..\sigma_T$.

# %% tags=["exercise:hw1.q1"]
def ve_jump(x, s, t, sigma, eps):
    # BEGIN SOLUTION
    var = sigma[t] ** 2 - sigma[s] ** 2  # (B,): the variances of the steps between add up
    return x + var.sqrt()[:, None] * eps
    # END SOLUTION

check("hw1.q1", ve_jump)

# %% tags=["hidden"]
import numpy as np

def hw1_q1(rng):
    T, B = 6, 5
    t = rng.permutation(np.arange(2, 2 + B))
    s = np.array([0, t[1], *(int(rng.choice(np.arange(1, k))) for k in t[2:])])  # from the data, and on the spot
    sigma = np.concatenate([[0], np.cumsum(rng.uniform(0.1, 1.5, T))])
    return {"x": rng.normal(size=(B, 3)), "s": s, "t": t, "sigma": sigma, "eps": rng.normal(size=(B, 3))}

# %% [markdown]
# ## Question 2 · A schedule that arrives (6 points, 20 minutes)
#
# Lesson 03 had four shapes of $\beta_t$. Here is a fifth, an S:
#
# $$\beta_t=\frac{b}{1+\exp\!\big(6-12\,\tfrac{t-1}{T-1}\big)},\qquad t=1..T$$
#
# You are told $T$, and which $\bar\alpha_T$ the chain must reach. Which $b$ does it? There is no formula for it: let the machine search. Give four significant digits.

# %% tags=["exercise:hw1.q2"]
T, alpha_bar_T = numbers["hw1.q2"]["T"], numbers["hw1.q2"]["alpha_bar_T"]
print(f"T = {T}, wanted: ᾱ_T = {alpha_bar_T}")

# BEGIN SOLUTION
from scipy.optimize import brentq

def reached(b):
    return (1 - b / (1 + torch.exp(6 - 12 * torch.arange(T, dtype=torch.float64) / (T - 1)))).prod().item()

b_q2 = brentq(lambda b: reached(b) - alpha_bar_T, 0, 1)  # ᾱ_T falls as b grows
# END SOLUTION
check("hw1.q2", b_q2)

# %% [markdown]
# ## Question 3 · Two steps back (6 points, 25 minutes)
#
# Lecture 000 asks for $q(x_{t-1}\mid x_t,x_0)$. Ask for more: what is $q(x_{t-2}\mid x_t,x_0)$, for $t\ge2$? It is normal again.
#
# Write `two_back`. It returns the mean and the variance as a pair, each of shape (B,). `xt`, `x0` and `t` are (B,): every sample is one number. Your function must also be right at $t=2$. What must it return there?

# %% tags=["exercise:hw1.q3"]
def two_back(xt, x0, t, beta):
    # BEGIN SOLUTION
    alpha_bar = (1 - beta).cumprod(0)
    a_t, a_s = alpha_bar[t], alpha_bar[t - 2]
    a_ts = a_t / a_s  # what the two steps keep
    mean = (a_ts.sqrt() * (1 - a_s) * xt + a_s.sqrt() * (1 - a_ts) * x0) / (1 - a_t)
    return mean, (1 - a_s) * (1 - a_ts) / (1 - a_t)
    # END SOLUTION

check("hw1.q3", two_back)

# %% tags=["hidden"]
def hw1_q3(rng):
    T, B = 8, 6
    t = np.concatenate([[2, T], rng.choice(np.arange(3, T), B - 2)])
    return {"xt": rng.normal(size=B), "x0": rng.normal(size=B), "t": t,
            "beta": np.concatenate([[0], rng.uniform(0.02, 0.5, T)])}

# %% [markdown]
# ## Question 4 · A fourth predictor: v (4 points, 10 minutes)
#
# Lesson 06 had networks that predict the mean, $x_0$ or $\epsilon$. Salimans and Ho (2022) predict
#
# $$v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$$
#
# Given $x_t$ and $v$, what are $x_0$ and $\epsilon$? Write `from_v`: it returns the pair ($x_0$, $\epsilon$). All arrays are (B, d), and `alpha_bar_t` is (B, 1).

# %% tags=["exercise:hw1.q4"]
def from_v(xt, v, alpha_bar_t):
    # BEGIN SOLUTION
    x0 = alpha_bar_t.sqrt() * xt - (1 - alpha_bar_t).sqrt() * v  # (x_0, ε) -> (x_t, v) is a rotation: turn back
    return x0, (1 - alpha_bar_t).sqrt() * xt + alpha_bar_t.sqrt() * v
    # END SOLUTION

check("hw1.q4", from_v)

# %% tags=["hidden"]
def hw1_q4(rng):
    return {"xt": rng.normal(size=(5, 3)), "v": rng.normal(size=(5, 3)),
            "alpha_bar_t": np.array([[1 - 1e-4], [1e-4], *rng.uniform(0.1, 0.45, (3, 1))])}

# %% [markdown]
# ## Question 5 · From v to the mean (5 points, 15 minutes)
#
# To take a reverse step one needs the mean $\mu_\theta(x_t,t)$. Your network says $v$. Write `mean_from_v`, which returns the mean that belongs to it: the mean of $q(x_{t-1}\mid x_t,x_0)$ at the $x_0$ that $v$ tells. All but `beta` are (B,).

# %% tags=["exercise:hw1.q5"]
def mean_from_v(xt, v, t, beta):
    # BEGIN SOLUTION
    alpha_bar_t = (1 - beta).cumprod(0)[t]
    eps = (1 - alpha_bar_t).sqrt() * xt + alpha_bar_t.sqrt() * v
    return (xt - beta[t] / (1 - alpha_bar_t).sqrt() * eps) / (1 - beta[t]).sqrt()
    # END SOLUTION

check("hw1.q5", mean_from_v)

# %% tags=["hidden"]
def hw1_q5(rng):
    T, B = 8, 5
    t = np.concatenate([[1, T], rng.choice(np.arange(2, T), B - 2)])
    return {"xt": rng.normal(size=B), "v": rng.normal(size=B), "t": t,
            "beta": np.concatenate([[0], rng.uniform(0.02, 0.5, T)])}

# %% [markdown]
# ## Question 6 · One variance for a whole covariance (6 points, 25 minutes)
#
# The reverse steps of this course have the covariance $\sigma^2\mathbf I$. What they imitate has another one in general. How much is lost?
#
# Let $q=\mathcal N(m,\Sigma)$ with a full $d\times d$ covariance $\Sigma$, and $p=\mathcal N(m,s\,\mathbf I)$. Which $s$ makes $D_{\mathrm{KL}}(q\,\|\,p)$ smallest, and what is the divergence then, in nats?
#
# Write `best_isotropic`: it returns the pair ($s$, divergence). `cov` is $\Sigma$, (d, d), float64.

# %% tags=["exercise:hw1.q6"]
def best_isotropic(cov):
    # BEGIN SOLUTION
    d = len(cov)
    s = cov.trace() / d  # where the derivative of d log s + tr(Σ) / s is 0
    return s, (d * s.log() - cov.logdet()) / 2
    # END SOLUTION

check("hw1.q6", best_isotropic)

# %% tags=["hidden"]
def drawn_covariance(rng):
    d = int(rng.choice(np.arange(2, 5)))
    A = rng.normal(size=(d, d))
    return A @ A.T + np.diag(rng.uniform(0.2, 2, d))

def hw1_q6(rng):
    return {"cov": drawn_covariance(rng)}

# %% [markdown]
# ## Question 7 · The best σ for Gaussian data (7 points, 25 minutes)
#
# The data are $x_0\sim\mathcal N(0,C)$ with a full $d\times d$ covariance $C$. The model's step is $p(x_{t-1}\mid x_t)=\mathcal N(\mu(x_t),\sigma_t^2\,\mathbf I)$. Its mean is exact, $\mu(x_t)=\mathbb E[x_{t-1}\mid x_t]$. Only **one** number $\sigma_t^2$ is left to choose. Which one makes $\mathbb E\log p(x_{t-1}\mid x_t)$ largest?
#
# Write `best_variance`: it returns $\sigma_t^2$, a variance, for each entry of `t`, shape (B,). `t` may be 1. (Ho et al. say that $\tilde\beta_t$ is best for data that are one point, and $\beta_t$ for $C=\mathbf I$. Does your function agree?)

# %% tags=["exercise:hw1.q7"]
def best_variance(t, beta, cov):
    # BEGIN SOLUTION
    alpha_bar = (1 - beta).cumprod(0)
    data_var = torch.linalg.eigvalsh(cov)  # (d,): turn the axes, and the directions are independent
    var = alpha_bar[:, None] * data_var + 1 - alpha_bar[:, None]  # (T + 1, d): of x_t
    return (beta[t][:, None] * var[t - 1] / var[t]).mean(1)  # Var(x_{t-1} | x_t), a mean over the directions
    # END SOLUTION

check("hw1.q7", best_variance)

# %% tags=["hidden"]
def hw1_q7(rng):
    T = 7
    return {"t": np.concatenate([[1], rng.choice(np.arange(2, T + 1), 3)]), "cov": drawn_covariance(rng),
            "beta": np.concatenate([[0], rng.uniform(0.05, 0.5, T)])}

# %% [markdown]
# ## Questions 8 to 10 · Three printed formulas
#
# The lectures behind this course are good, and like all lectures they have slips of the pen. One number is enough to refute a formula. In each question give **two** numbers as a pair: what comes out of the formula **as it is printed**, letter by letter, and what **should** come out. Four digits.
#
# ### Question 8 · The posterior mean (4 points, 15 minutes)
#
# One slide of lecture 000 begins its answer with
#
# $$\tilde\mu(x_t,x_0)=\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{\sqrt{1-\bar\alpha_t}}\,x_t-\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{\sqrt{1-\bar\alpha_t}}\,x_0$$
#
# Try it where you know the answer without algebra. Let $x_t=\sqrt{\bar\alpha_t}\,x_0$: the noises of all steps cancelled. Noise and its negative are equally likely. So the mean of $x_{t-1}$ has no noise in it either. Which mean does the formula give, and which is it really?

# %% tags=["exercise:hw1.q8"]
beta, t, x0 = torch.tensor(numbers["hw1.q8"]["beta"]), numbers["hw1.q8"]["t"], numbers["hw1.q8"]["x0"]
print(f"β_1..β_4 = {numbers['hw1.q8']['beta'][1:]}, t = {t}, x_0 = {x0}")

# BEGIN SOLUTION
def means(alpha_bar):
    w_t = (1 - beta[t]).sqrt() * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]).sqrt()
    w_0 = alpha_bar[t - 1].sqrt() * beta[t] / (1 - alpha_bar[t]).sqrt()
    return w_t * alpha_bar[t].sqrt() * x0 - w_0 * x0, alpha_bar[t - 1].sqrt() * x0

pair_q8 = means((1 - beta).cumprod(0))
# END SOLUTION
check("hw1.q8", pair_q8)

# %% [markdown]
# ### Question 9 · The noise of all steps (4 points, 15 minutes)
#
# Lecture 002, Appendix B, collects the noise of $t$ steps in the forward jump:
#
# $$x_t=\sqrt{\bar\alpha_t}\,x_0+\Big[\Big(\prod_{i=2}^t\sqrt{\alpha_i}\Big)\sqrt{\beta_1}+\Big(\prod_{i=3}^t\sqrt{\alpha_i}\Big)\sqrt{\beta_2}+\dots+\sqrt{\alpha_t}\sqrt{\beta_{t-1}}+\sqrt{\beta_t}\Big]\,\epsilon$$
#
# with one $\epsilon\sim\mathcal N(0,\mathbf I)$. (The lines before and after it are right.) Which variance has the noise in this $x_t$, per entry, and which should it have?

# %% tags=["exercise:hw1.q9"]
beta, t = torch.tensor(numbers["hw1.q9"]["beta"]), numbers["hw1.q9"]["t"]
print(f"β_1..β_4 = {numbers['hw1.q9']['beta'][1:]}, t = {t}")

# BEGIN SOLUTION
pair_q9 = sum((beta[i] * (1 - beta[i + 1:]).prod()).sqrt() for i in range(1, t + 1)) ** 2, 1 - (1 - beta).prod()
# END SOLUTION
check("hw1.q9", pair_q9)

# %% [markdown]
# ### Question 10 · The sampling step (4 points, 20 minutes)
#
# Lecture 004 prints the step of the sampler as
#
# $$x_{t-1}=\frac1{\sqrt{\alpha_t}}\,x_t-\frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}\,\sqrt{\alpha_t}}\,\epsilon_\theta(x_t)+\sigma^2(t)\,z,\qquad z\sim\mathcal N(0,\mathbf I)$$
#
# Try it on data that are one number, $x_0\sim\mathcal N(0,c)$. Then $x_t$ has the variance $V_t=\bar\alpha_t\,c+1-\bar\alpha_t$. The exact denoiser is $\epsilon_\theta(x_t)=\sqrt{1-\bar\alpha_t}\;x_t/V_t$. And the right variance of the step is $\sigma^2(t)=\beta_t\,V_{t-1}/V_t$. So with the right formula the chain has the right variance at every step.
#
# Start the step at an $x_t$ of the right variance, $V_t$. Which variance has $x_{t-1}$ by the printed step, and which should it have?

# %% tags=["exercise:hw1.q10"]
beta, t, c = torch.tensor(numbers["hw1.q10"]["beta"]), numbers["hw1.q10"]["t"], numbers["hw1.q10"]["c"]
print(f"β_1..β_4 = {numbers['hw1.q10']['beta'][1:]}, t = {t}, c = {c}")

# BEGIN SOLUTION
def variances(alpha_bar):
    V = alpha_bar * c + 1 - alpha_bar
    slope = (1 - beta[t] / V[t]) / (1 - beta[t]).sqrt()  # of the mean, as a function of x_t
    return slope**2 * V[t] + (beta[t] * V[t - 1] / V[t]) ** 2, V[t - 1]

pair_q10 = variances((1 - beta).cumprod(0))
# END SOLUTION
check("hw1.q10", pair_q10)

# %% [markdown]
# ## Questions 11 and 12 · On paper
#
# These two are read by a person. Write short: the steps, and why each is allowed. Type it below (LaTeX works between `$` signs), or say "on paper" and hand in a photo.
#
# ### Question 11 · The best variance (5 points, 25 minutes)
#
# The model's step is $\mathcal N(\mu_\theta(x_t),\sigma^2\mathbf I)$ in $d$ dimensions, with some network $\mu_\theta$, good or bad. Show: the $\sigma^2$ that makes
#
# $$\mathbb E\,D_{\mathrm{KL}}\big(q(x_{t-1}\mid x_t,x_0)\,\big\|\,\mathcal N(\mu_\theta(x_t),\sigma^2\mathbf I)\big)$$
#
# smallest is $\sigma^2=\tilde\beta_t+\tfrac1d\,\mathbb E\|\tilde\mu_t-\mu_\theta\|^2$. The mean is over $x_0$ and $x_t$, and $t\ge2$. Then say in one sentence when exactly $\tilde\beta_t$ itself is best. (Is it best for the best network?)

# %% [markdown] tags=["exercise:hw1.q11"]
# <!-- BEGIN SOLUTION -->
# Write $m=\frac1d\mathbb E\|\tilde\mu_t-\mu_\theta\|^2$. The KL of two normal distributions with covariances $\tilde\beta_t\mathbf I$ and $\sigma^2\mathbf I$ is $\frac12\big[d\big(\log\frac{\sigma^2}{\tilde\beta_t}+\frac{\tilde\beta_t}{\sigma^2}-1\big)+\frac{\|\tilde\mu_t-\mu_\theta\|^2}{\sigma^2}\big]$. Its mean is $\frac d2\big[\log\sigma^2+\frac{\tilde\beta_t+m}{\sigma^2}\big]+\text{const}$.
#
# The derivative with respect to $\sigma^2$ is $\frac d2\big[\frac1{\sigma^2}-\frac{\tilde\beta_t+m}{\sigma^4}\big]$. It is 0 only at $\sigma^2=\tilde\beta_t+m$, negative below and positive above. So this is the minimum.
#
# $\tilde\beta_t$ is best exactly when $m=0$, that is, when $\mu_\theta(x_t)=\tilde\mu_t(x_t,x_0)$ always: the network must be perfect, and $x_t$ must determine $x_0$, as for data that are one single point. The best network, $\mathbb E[\tilde\mu_t\mid x_t]$, alone is not enough: its $m$ is the variance of $\tilde\mu_t$ that $x_t$ leaves open.
# <!-- END SOLUTION -->

# %% [markdown]
# ### Question 12 · Why the variances do not add (5 points, 25 minutes)
#
# Derive the variance and the mean of $q(x_{t-2}\mid x_t,x_0)$ of question 3, with Bayes' rule and by completing the square. Then: two posterior steps, from $x_t$ to $x_{t-1}$ and from there to $x_{t-2}$, have the variances $\tilde\beta_t$ and $\tilde\beta_{t-1}$. Say why their sum is not the answer.

# %% [markdown] tags=["exercise:hw1.q12"]
# <!-- BEGIN SOLUTION -->
# Write $a=\alpha_t\alpha_{t-1}$. By Bayes' rule $q(x_{t-2}\mid x_t,x_0)=q(x_t\mid x_{t-2})\,q(x_{t-2}\mid x_0)/q(x_t\mid x_0)$; the chain is Markov, so $x_0$ drops out of the first factor. The first is $\mathcal N(x_t;\sqrt a\,x_{t-2},1-a)$, a jump of two steps. The second is $\mathcal N(x_{t-2};\sqrt{\bar\alpha_{t-2}}\,x_0,1-\bar\alpha_{t-2})$. The third does not contain $x_{t-2}$.
#
# The exponent is $-\frac12(Ax_{t-2}^2-2Bx_{t-2}+\dots)$ with $A=\frac a{1-a}+\frac1{1-\bar\alpha_{t-2}}=\frac{1-\bar\alpha_t}{(1-a)(1-\bar\alpha_{t-2})}$ and $B=\frac{\sqrt a\,x_t}{1-a}+\frac{\sqrt{\bar\alpha_{t-2}}\,x_0}{1-\bar\alpha_{t-2}}$. The numerator of $A$ is $a-\bar\alpha_t+1-a$. So the variance is $\frac1A=\frac{(1-a)(1-\bar\alpha_{t-2})}{1-\bar\alpha_t}$, and the mean is $\frac BA=\frac{\sqrt a(1-\bar\alpha_{t-2})x_t+\sqrt{\bar\alpha_{t-2}}(1-a)x_0}{1-\bar\alpha_t}$.
#
# Given $x_{t-1}$ and $x_0$, $x_{t-2}=w\,x_{t-1}+(\dots)x_0+\text{noise of variance }\tilde\beta_{t-1}$ with $w=\frac{\sqrt{\alpha_{t-1}}(1-\bar\alpha_{t-2})}{1-\bar\alpha_{t-1}}<1$. The noise of the first step passes through $w$. So the variance is $\tilde\beta_{t-1}+w^2\tilde\beta_t$, less than the sum.
# <!-- END SOLUTION -->

# %% [markdown]
# ## Before you hand in
#
# Restart the kernel and run all cells. Every `check` should say what you expect. Then hand in this notebook.
#
# **References.** Salimans and Ho 2022, *Progressive Distillation for Fast Sampling of Diffusion Models*, Appendix D (v). Ho et al. 2020, Section 3.2 (σ). Lecture 000, "VP-SDE vs. VE-SDE", "Denoising Matching Term"; lecture 002, Appendix B; lecture 004, "Generate".
