"""Homework 1, questions 8 to 10: three formulas as lectures print them, and the numbers that refute them.

The answers are pairs: what comes out of the printed formula, and what should. Errata 000:620, 002:291 and 004:569.
"""

import numpy as np

from ..homework import Question
from .setup import alpha_bar, drawn_beta


def draw_numbers(rng):
    """The numbers of the three questions."""
    return {
        "hw1.q8": {"beta": drawn_beta(rng, 4), "t": 3, "x0": round(float(rng.uniform(1, 3)), 2)},
        "hw1.q9": {"beta": drawn_beta(rng, 4), "t": 4},
        "hw1.q10": {"beta": drawn_beta(rng, 4, 0.1, 0.3), "t": 3, "c": round(float(rng.uniform(2, 4)), 2)},
    }


def _printed_mean(n, root=np.sqrt, sign=-1, weight=None):
    """The posterior mean where x_t = √ᾱ_t x_0, as printed; each argument puts a slip right, or makes another."""
    beta, t, bar = np.array(n["beta"]), n["t"], alpha_bar(n["beta"])
    w_t = np.sqrt(1 - beta[t] if weight is None else weight) * (1 - bar[t - 1]) / root(1 - bar[t])
    return (w_t * np.sqrt(bar[t]) + sign * np.sqrt(bar[t - 1]) * beta[t] / root(1 - bar[t])) * n["x0"]


def _true_mean(n, back=1):
    return np.sqrt(alpha_bar(n["beta"])[n["t"] - back]) * n["x0"]


def _terms(n):
    """What is left of each step's noise at t: variances, one per step."""
    beta, t = np.array(n["beta"]), n["t"]
    return np.array([beta[i] * np.prod(1 - beta[i + 1:t + 1]) for i in range(1, t + 1)])


def _noise_left(n, back=0):
    return 1 - alpha_bar(n["beta"])[n["t"] - back]


def _variances(n):
    bar = alpha_bar(n["beta"])
    return bar * n["c"] + 1 - bar


def _after_step(n, power=4, before=None):
    """The variance of x_{t-1} from the exact mean plus σ^(power / 2) z; before: the variance of x_t."""
    V, t = _variances(n), n["t"]
    slope = np.sqrt(1 - n["beta"][t]) * V[t - 1] / V[t]
    return slope**2 * (V[t] if before is None else before) + (n["beta"][t] * V[t - 1] / V[t]) ** (power / 2)


QUESTIONS = {
    "hw1.q8": Question(
        4, "pair_q8", lambda n: [_printed_mean(n), _true_mean(n)], tolerance=1e-3,
        mistakes={
            "First what the printed formula gives, then what should come out.":
                lambda n: [_true_mean(n), _printed_mean(n)],
            "The first number is not the printed formula's: you put its sign right.":
                lambda n: [_printed_mean(n, sign=1), _true_mean(n)],
            "The first number is not the printed formula's: you put its denominators right.":
                lambda n: [_printed_mean(n, root=lambda v: v), _true_mean(n)],
            "The first number is right. Without noise the chain stands at t-1, not at t, one step back.":
                lambda n: [_printed_mean(n), _true_mean(n, back=0)],
            "The first number is right. One step back is not all the way back.":
                lambda n: [_printed_mean(n), n["x0"]],
            "The first number is right. The second still has one of the two slips, the sign.":
                lambda n: [_printed_mean(n), _printed_mean(n, root=lambda v: v)],
            "The first number is right. The second still has one of the two slips, the denominators.":
                lambda n: [_printed_mean(n), _printed_mean(n, sign=1)],
        }, hint="Put x_t = √ᾱ_t x_0 into the formula, letter by letter. Then think: no noise, so where is x_{t-1}?"),
    "hw1.q9": Question(
        4, "pair_q9", lambda n: [(_terms(n) ** 0.5).sum() ** 2, _noise_left(n)], tolerance=1e-3,
        mistakes={
            "First what the printed formula gives, then what should come out.":
                lambda n: [_noise_left(n), (_terms(n) ** 0.5).sum() ** 2],
            "The first number is the factor of ε. Its variance is asked for.":
                lambda n: [(_terms(n) ** 0.5).sum(), _noise_left(n)],
            "The first number is right. The second is a standard deviation.":
                lambda n: [(_terms(n) ** 0.5).sum() ** 2, _noise_left(n) ** 0.5],
            "In the first number one term is missing. There is one for every step.":
                lambda n: [(_terms(n)[:-1] ** 0.5).sum() ** 2, _noise_left(n)],
            "The first number is right. The second is ᾱ_t, the signal's share.":
                lambda n: [(_terms(n) ** 0.5).sum() ** 2, 1 - _noise_left(n)],
            "The first number is right. The second belongs to one step earlier.":
                lambda n: [(_terms(n) ** 0.5).sum() ** 2, _noise_left(n, back=1)],
            "You gave each step a noise of its own. The printed formula has one ε for all.":
                lambda n: [_terms(n).sum(), _noise_left(n)],
        }, hint="One ε with a factor: the variance is the factor's square. And what must it be for the jump?"),
    "hw1.q10": Question(
        4, "pair_q10", lambda n: [_after_step(n), _variances(n)[n["t"] - 1]], tolerance=1e-3,
        mistakes={
            "First what the printed formula gives, then what should come out.":
                lambda n: [_variances(n)[n["t"] - 1], _after_step(n)],
            "The first number is not the printed formula's: you put its slip right.":
                lambda n: [_after_step(n, power=2), _variances(n)[n["t"] - 1]],
            "The first number is a standard deviation.":
                lambda n: [_after_step(n) ** 0.5, _variances(n)[n["t"] - 1]],
            "The first number is right. The second is the variance of x_t. The step goes to x_{t-1}.":
                lambda n: [_after_step(n), _variances(n)[n["t"]]],
            "The first number is right. The second is the variance of the data, not of x_{t-1}.":
                lambda n: [_after_step(n), n["c"]],
            "Both numbers are too small: x_t varies, and its variance goes through the mean, squared.":
                lambda n: [_after_step(n, before=0), _after_step(n, before=0, power=2)],
            "x_t does not have the variance 1 here.":
                lambda n: [_after_step(n, before=1), _variances(n)[n["t"] - 1]],
        }, hint="The mean is a multiple of x_t, and z is independent of it. What happens to variances then?"),
}
