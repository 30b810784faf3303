"""Homework 1, Forward, posterior, KL: the questions, what is right, and what the classic mistakes lead to.

Every `right` and every mistake is a function (numbers, **inputs): numbers are the question's own, drawn below. Tables
have T + 1 entries and are read at t = 0..T. Arrays are NumPy's; the notebook's functions get them as tensors.
"""

import numpy as np
from scipy.optimize import brentq

from ..homework import Question
from . import hw1_best_variance, hw1_misprints
from .setup import BETA, alpha_bar, tensors


def draw_numbers(rng):
    """The numbers of the questions that have some: "hw1.q2" -> {name: number or list}."""
    T, alpha_bar_T = int(rng.choice(np.arange(20, 61))), round(float(rng.uniform(0.002, 0.05)), 4)
    return {"hw1.q2": {"T": T, "alpha_bar_T": alpha_bar_T}, **hw1_misprints.draw_numbers(rng)}


def _ve(x, s, t, sigma, eps, scale, shrink=None):
    sigma_s, sigma_t = sigma[s][:, None], sigma[t][:, None]
    return (1 if shrink is None else shrink(sigma_s, sigma_t)) * x + scale(sigma_s, sigma_t) * eps


def _ve_question(scale, shrink=None):
    return lambda _, x, s, t, sigma, eps: _ve(x, s, t, sigma, eps, scale, shrink)


def _sigmoid_scale(T, alpha_bar_T, place=lambda t, T: (t - 1) / (T - 1), kept=None):
    """b for which the kept share of the signal is alpha_bar_T; each argument is one slip."""
    s = 1 / (1 + np.exp(6 - 12 * place(np.arange(1, T + 1), T)))
    kept = kept or (lambda beta: np.prod(1 - beta))
    return brentq(lambda b: kept(b * s) - alpha_bar_T, 0, (1 - 1e-12) / s.max(), xtol=1e-14)


def _sigmoid(**slip):
    return lambda n: _sigmoid_scale(n["T"], n["alpha_bar_T"], **slip)


def _two_back(xt, x0, t, beta, alpha_ts=None, s=lambda t: t - 2, var=None, swap=False):
    """Mean and variance of q(x_{t-2} | x_t, x_0); each argument is one slip."""
    bar = alpha_bar(beta)
    a_t, a_s = bar[t], bar[s(t)]
    a_ts = a_t / a_s if alpha_ts is None else alpha_ts(beta, t)
    w_t, w_0 = np.sqrt(a_ts) * (1 - a_s) / (1 - a_t), np.sqrt(a_s) * (1 - a_ts) / (1 - a_t)
    mean = w_0 * xt + w_t * x0 if swap else w_t * xt + w_0 * x0
    return [mean, (1 - a_s) * (1 - a_ts) / (1 - a_t) if var is None else var(beta, bar, t)]


def _posterior_var(beta, bar, t):
    return (1 - bar[t - 1]) / (1 - bar[t]) * beta[t]


def _mean_from_v(xt, v, t, beta, eps=lambda a, xt, v: np.sqrt(1 - a) * xt + np.sqrt(a) * v, outer=None, root=np.sqrt):
    a = alpha_bar(beta)[t]
    return (xt - beta[t] / root(1 - a) * eps(a, xt, v)) / np.sqrt(1 - beta[t] if outer is None else outer(a))


_RUBRIC_11 = """\
1 the expected KL is written as a function of σ² alone: d/2 (log σ² + (β̃_t + m) / σ²) + const, m = E|μ̃_t - μ_θ|² / d
2 the derivative is set to 0, and σ² = β̃_t + m comes out (1 of the 2 if d is lost)
1 it is a minimum: the second derivative, or: the expression goes to infinity at both ends
1 β̃_t is best exactly where m = 0: x_0 is a function of x_t, such as one single data point (or at t = 1, where β̃_1 = 0
  and m is all that is left); "when the network is perfect" gets 0, because m > 0 remains"""
_RUBRIC_12 = """\
1 the right three factors: q(x_t | x_{t-2}) q(x_{t-2} | x_0) / q(x_t | x_0), with a word on why x_0 may be left out
1 q(x_t | x_{t-2}) has the mean √(α_t α_{t-1}) x_{t-2} and the variance 1 - α_t α_{t-1}
2 the square is completed: the precision A = α_t α_{t-1} / (1 - α_t α_{t-1}) + 1 / (1 - ᾱ_{t-2}) and its inverse in
  closed form (1), the mean (1)
1 the two posterior steps: x_{t-2} = w x_{t-1} + ... + noise, so the first step's variance enters times w², w < 1, the
  weight of x_{t-1} (or: by the law of total variance)"""

QUESTIONS = {
    "hw1.q1": Question(
        4, "ve_jump(x, s, t, sigma, eps)", _ve_question(lambda a, b: np.sqrt(b**2 - a**2)),
        example={"x": np.array([[1.0, -2.0], [0.5, 0.3], [2.0, 1.0]]), "s": np.array([2, 0, 3]),
                 "t": np.array([4, 3, 3]), "sigma": np.array([0, 0.1, 0.5, 1.2, 3.0]),
                 "eps": np.array([[0.4, -1.1], [1.3, 0.2], [-0.6, 0.9]])},
        mistakes={
            "Standard deviations do not subtract. Which quantity does?": _ve_question(lambda a, b: b - a),
            "The noise is multiplied by a variance. It needs a standard deviation.":
                _ve_question(lambda a, b: b**2 - a**2),
            "That is the jump from 0. At s some noise is there already.": _ve_question(lambda a, b: b),
            "The noise already there was added to the noise to come.":
                _ve_question(lambda a, b: np.sqrt(a**2 + b**2)),
            "That is the variance-preserving form: it shrinks x. The variance-exploding form does not.": _ve_question(
                lambda a, b: np.sqrt(1 - (1 + a**2) / (1 + b**2)), lambda a, b: np.sqrt((1 + a**2) / (1 + b**2))),
        }, setup=tensors("x, s, t, sigma, eps"),
        hint="Which noise variance has x_t, and how much of it has x_s already? Try s = t, too."),
    "hw1.q2": Question(
        6, "b_q2", _sigmoid(), tolerance=1e-3, mistakes={
            "The S goes from t = 1 to t = T, both ends included. Yours begins one gap late.":
                _sigmoid(place=lambda t, T: t / T),
            "The S goes from t = 1 to t = T, both ends included. Yours does not reach its end.":
                _sigmoid(place=lambda t, T: (t - 1) / T),
            "That is right for small β only: the logarithm of 1 - β is not -β.":
                _sigmoid(kept=lambda beta: np.exp(-beta.sum())),
            "You let the root of the product reach the goal.": _sigmoid(kept=lambda beta: np.prod(1 - beta) ** 0.5),
            "You let the square of the product reach the goal.": _sigmoid(kept=lambda beta: np.prod(1 - beta) ** 2),
            "One factor is missing in the product.": _sigmoid(kept=lambda beta: np.prod(1 - beta[:-1])),
        }, hint="Put your b back in: which product of all 1 - β_t comes out? Give four digits."),
    "hw1.q3": Question(
        6, "two_back(xt, x0, t, beta)", lambda _, **x: _two_back(**x),
        example={"xt": np.array([1.2, -0.4, 0.7]), "x0": np.array([0.5, 1.5, -1.0]), "t": np.array([2, 5, 7]),
                 "beta": BETA},
        mistakes={
            "That is q(x_{t-1} | x_t, x_0): one step back, not two.": lambda _, **x: _two_back(
                **x, s=lambda t: t - 1),
            "The weights of x_t and x_0 are exchanged.": lambda _, **x: _two_back(**x, swap=True),
            "Two steps keep a product, they do not lose a sum of β.": lambda _, **x: _two_back(
                **x, alpha_ts=lambda beta, t: 1 - beta[t] - beta[t - 1]),
            "Two steps lie between t-2 and t. You took one of them into account.": lambda _, **x: _two_back(
                **x, alpha_ts=lambda beta, t: 1 - beta[t]),
            "The mean is right. The variances of two steps back do not simply add.": lambda _, **x: _two_back(
                **x, var=lambda beta, bar, t: _posterior_var(beta, bar, t) + _posterior_var(beta, bar, t - 1)),
            "The mean is right. The variance is that of the last step alone.": lambda _, **x: _two_back(
                **x, var=lambda beta, bar, t: _posterior_var(beta, bar, t - 1)),
            "The mean is right. The question asks for the variance.": lambda _, **x: [
                _two_back(**x)[0], np.sqrt(_two_back(**x)[1])],
        }, setup=tensors("xt, x0, t, beta"),
        hint="Bayes' rule with the jump from t-2 to t. Where must mean and variance go at t = 2?"),
    "hw1.q4": Question(
        4, "from_v(xt, v, alpha_bar_t)",
        lambda _, xt, v, alpha_bar_t: [np.sqrt(alpha_bar_t) * xt - np.sqrt(1 - alpha_bar_t) * v,
                                       np.sqrt(1 - alpha_bar_t) * xt + np.sqrt(alpha_bar_t) * v],
        example={"xt": np.array([[0.9, -1.4], [0.2, 1.1]]), "v": np.array([[0.3, 0.8], [-1.2, 0.5]]),
                 "alpha_bar_t": np.array([[0.8], [0.3]])},
        mistakes={
            "First x_0, then the noise.": lambda _, xt, v, alpha_bar_t: [
                np.sqrt(1 - alpha_bar_t) * xt + np.sqrt(alpha_bar_t) * v,
                np.sqrt(alpha_bar_t) * xt - np.sqrt(1 - alpha_bar_t) * v],
            "Both signs are turned round: that inverts x_0 and noise for -v.": lambda _, xt, v, alpha_bar_t: [
                np.sqrt(alpha_bar_t) * xt + np.sqrt(1 - alpha_bar_t) * v,
                np.sqrt(1 - alpha_bar_t) * xt - np.sqrt(alpha_bar_t) * v],
            "Without roots the two weights do not make a rotation.": lambda _, xt, v, alpha_bar_t: [
                alpha_bar_t * xt - (1 - alpha_bar_t) * v, (1 - alpha_bar_t) * xt + alpha_bar_t * v],
            "v is not the noise: that is what an ε prediction would give.": lambda _, xt, v, alpha_bar_t: [
                (xt - np.sqrt(1 - alpha_bar_t) * v) / np.sqrt(alpha_bar_t), v],
            "v is not x_0: that is what an x_0 prediction would give.": lambda _, xt, v, alpha_bar_t: [
                v, (xt - np.sqrt(alpha_bar_t) * v) / np.sqrt(1 - alpha_bar_t)],
        }, setup=tensors("xt, v, alpha_bar_t"),
        hint="Two equations, two unknowns: x_t and v, each in x_0 and ε. Put your answer back into both."),
    "hw1.q5": Question(
        5, "mean_from_v(xt, v, t, beta)", lambda _, **x: _mean_from_v(**x),
        example={"xt": np.array([1.2, -0.4, 0.7]), "v": np.array([0.5, 1.5, -1.0]), "t": np.array([1, 4, 7]),
                 "beta": BETA},
        mistakes={
            "You took v for the noise.": lambda _, **x: _mean_from_v(**x, eps=lambda a, xt, v: v),
            "The noise has the wrong sign of v.": lambda _, **x: _mean_from_v(
                **x, eps=lambda a, xt, v: np.sqrt(1 - a) * xt - np.sqrt(a) * v),
            "The outer factor undoes one step, not all t of them.": lambda _, **x: _mean_from_v(
                **x, outer=lambda a: a),
            "Below the noise stands a root.": lambda _, **x: _mean_from_v(**x, root=lambda a: a),
            "That is x_0. The mean lies one step back.": lambda _, xt, v, t, beta: (
                np.sqrt(alpha_bar(beta)[t]) * xt - np.sqrt(1 - alpha_bar(beta)[t]) * v),
            "The weights of x_t and v are exchanged.": lambda _, **x: _mean_from_v(
                **x, eps=lambda a, xt, v: np.sqrt(a) * xt + np.sqrt(1 - a) * v),
        }, setup=tensors("xt, v, t, beta"),
        hint="v gives the noise (or x_0), and either gives the mean. At t = 1 the mean is x_0 itself."),
    **hw1_best_variance.QUESTIONS,
    **hw1_misprints.QUESTIONS,
    "hw1.q11": Question(5, rubric=_RUBRIC_11),
    "hw1.q12": Question(5, rubric=_RUBRIC_12),
}
