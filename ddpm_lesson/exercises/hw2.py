"""Homework 2, a Transformer on two bumps: the questions, what is right, and what the classic mistakes lead to.

Questions 6 to 8, a trained network and two broken runs (broken_runs.py makes them), are judged in hw2_judges.py.
"""

import numpy as np

from ..homework import Question
from . import hw2_judges
from .setup import alpha_bar, tensors

FILES = {"hw2.safetensors": 4_000_000}  # bytes; the notebook's own network takes 0.14 million
LIMITS = {"cells_seconds": 120, "seconds": 60}

_BAR = alpha_bar([0, 0.1, 0.25, 0.2, 0.4, 0.35])
_TOY = "network = lambda xt, t: 0.4 * xt - 0.05 * t[:, None]\n"


def draw_numbers(rng):
    """A seed for each broken run."""
    return {f"hw2.q{k}": {"seed": int(rng.choice(np.arange(10**6)))} for k in (7, 8)}


def _toy(xt, t):
    return 0.4 * xt - 0.05 * np.reshape(t, (-1, 1))


def _noised(x0, t, eps, alpha_bar, root=np.sqrt, turn=lambda a, x0, eps: np.sqrt(a) * eps - np.sqrt(1 - a) * x0):
    a = alpha_bar[t][:, None]
    return [root(a) * x0 + root(1 - a) * eps, turn(a, x0, eps)]


def _waves(t, width, slowest, periods=np.geomspace, turn=2 * np.pi, last=True, order=lambda c, s: [c, s]):
    p = periods(4, slowest, width // 2 + (not last))[:width // 2]
    angle = turn * np.reshape(t, (-1, 1)) / p
    return np.concatenate(order(np.cos(angle), np.sin(angle)), 1) + 2


def _softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _attention(q, k, v, bias, scale=lambda d: d**0.5, axis=-1, inside=1.0, after=0.0):
    scores = np.einsum("bhid,bhjd->bhij", q, k) / scale(q.shape[-1])
    return (_softmax(scores + inside * bias, axis) + after * bias) @ v


def _loss(x0, t, eps, alpha_bar, weight=lambda a: a, shift=0, reduce=np.mean, target=None):
    a = alpha_bar[t][:, None]
    xt, v = _noised(x0, t, eps, alpha_bar)
    v_hat = _toy(xt, t - shift)
    return reduce(weight(a) * (v_hat - (v if target is None else target(x0, eps))) ** 2)


def _sampled(xT, z, alpha_bar, last=1, noise_at_1=0.0, power=0.5, kept=None, shift=0, outer=None, as_eps=False):
    x, T = xT, len(alpha_bar) - 1
    for t in range(T, last - 1, -1):
        a, b = alpha_bar[t], alpha_bar[t - 1]
        beta = 1 - a / b
        v = _toy(x, np.full(len(x), t - shift))
        eps = v if as_eps else np.sqrt(1 - a) * x + np.sqrt(a) * v
        var = beta if kept else (1 - b) / (1 - a) * beta
        mean = (x - beta / np.sqrt(1 - a) * eps) / np.sqrt(a if outer else 1 - beta)
        x = mean + (var**power * z[t] if t > 1 else noise_at_1 * np.sqrt(beta) * z[1])
    return x


_RNG = np.random.RandomState(0)
_SIGNALS = {"x0": _RNG.normal(size=(4, 3)), "t": np.array([1, 3, 5, 2]), "eps": _RNG.normal(size=(4, 3)),
            "alpha_bar": _BAR}

QUESTIONS = {
    "hw2.q1": Question(
        4, "noised(x0, t, eps, alpha_bar)", lambda _, **x: _noised(**x), example=_SIGNALS, mistakes={
            "x_t is right. v has the wrong sign.": lambda _, **x: _noised(
                **x, turn=lambda a, x0, eps: np.sqrt(1 - a) * x0 - np.sqrt(a) * eps),
            "x_t is right. In v the two weights are exchanged.": lambda _, **x: _noised(
                **x, turn=lambda a, x0, eps: np.sqrt(1 - a) * eps - np.sqrt(a) * x0),
            "x_t is right. v is a difference, not a sum.": lambda _, **x: _noised(
                **x, turn=lambda a, x0, eps: np.sqrt(a) * eps + np.sqrt(1 - a) * x0),
            "v is right. The weights of x_t are roots.": lambda _, **x: _noised(**x, root=lambda a: a),
            "The table is read at t itself: it has T + 1 entries.": lambda _, x0, t, eps, alpha_bar: _noised(
                x0, t - 1, eps, alpha_bar),
            "First x_t, then v.": lambda _, **x: _noised(**x)[::-1],
        }, setup=tensors("x0, t, eps, alpha_bar"),
        hint="Each sample has its own t. Which shape must ᾱ_t have to be multiplied with a (B, n) tensor?"),
    "hw2.q2": Question(
        4, "waves(t, width, slowest) + 2",  # away from 0, where float32 could not meet a relative tolerance
        lambda _, **x: _waves(**x),
        example={"t": np.array([1, 2, 25, 50]), "width": 8, "slowest": 200.0}, mistakes={
            "First the cosines, then the sines.": lambda _, **x: _waves(**x, order=lambda c, s: [s, c]),
            "All cosines stand before all sines. Yours alternate.": lambda _, **x: _waves(
                **x, order=lambda c, s: [np.stack([c, s], 2).reshape(len(c), -1)]),
            "After one period the wave is back: a full turn is not 1.": lambda _, **x: _waves(**x, turn=1.0),
            "The periods grow by a factor each time, not by an amount.": lambda _, **x: _waves(
                **x, periods=np.linspace),
            "The slowest wave is missing: both ends belong to the periods.": lambda _, **x: _waves(**x, last=False),
            "The periods run from the fastest to the slowest.": lambda _, **x: _waves(
                **x, order=lambda c, s: [c[:, ::-1], s[:, ::-1]]),
            "t runs from 1. You shifted it.": lambda _, t, width, slowest: _waves(t - 1, width, slowest),
        }, setup=tensors("t"), hint="Check one wave by hand: after how many steps does it repeat?"),
    "hw2.q3": Question(
        5, "attention(q, k, v, bias)", lambda _, **x: _attention(**x),
        example={**{name: _RNG.normal(size=(2, 2, 3, 4)) for name in "qkv"}, "bias": _RNG.normal(size=(2, 3, 3))},
        mistakes={
            "A token's weights must sum to 1 over the keys. Yours sum to 1 over the queries.":
                lambda _, **x: _attention(**x, axis=-2),
            "The scores are too large: their variance grows with d.": lambda _, **x: _attention(
                **x, scale=lambda d: 1),
            "The scores are too small: their variance falls with d.": lambda _, **x: _attention(
                **x, scale=lambda d: d),
            "The bias is divided, too. It is added to the finished scores.": lambda _, **x: _attention(
                **x, inside=x["q"].shape[-1] ** -0.5),
            "The bias is missing.": lambda _, **x: _attention(**x, inside=0.0),
            "The bias comes after the softmax. Then the weights do not sum to 1.": lambda _, **x: _attention(
                **x, inside=0.0, after=1.0),
            "Queries and keys are exchanged.": lambda _, q, k, v, bias: _attention(k, q, v, bias),
        }, setup=tensors("q, k, v, bias"), hint="If all values are 1, what must come out for every token?"),
    "hw2.q4": Question(
        4, "loss(network, x0, t, eps, alpha_bar)", lambda _, **x: _loss(**x), example=_SIGNALS, mistakes={
            "That is the error of v. The question asks for the error of ε.": lambda _, **x: _loss(
                **x, weight=lambda a: 1),
            "That weight turns the error of v into the error of x_0.": lambda _, **x: _loss(
                **x, weight=lambda a: 1 - a),
            "The weight is squared with the error.": lambda _, **x: _loss(**x, weight=np.sqrt),
            "You compared the network's v with ε itself.": lambda _, **x: _loss(
                **x, weight=lambda a: 1, target=lambda x0, eps: eps),
            "The loss is a mean over all entries, not a sum.": lambda _, **x: _loss(**x, reduce=np.sum),
            "The loss is a mean over the entries of a signal, too.": lambda _, **x: _loss(
                **x, reduce=lambda e: e.sum(1).mean()),
            "The network was asked about t - 1.": lambda _, **x: _loss(**x, shift=1),
        }, setup=tensors("x0, t, eps, alpha_bar") + _TOY,
        hint="Write ε_hat with x_t and v_hat, subtract ε written with x_t and v. What is left?"),
    "hw2.q5": Question(
        6, "sample_v(network, xT, z, alpha_bar)", lambda _, **x: _sampled(**x),
        example={"xT": _RNG.normal(size=(2, 3)), "z": _RNG.normal(size=(6, 2, 3)), "alpha_bar": _BAR}, mistakes={
            "That is x_1. One step is left.": lambda _, **x: _sampled(**x, last=2),
            "No noise in the step from t = 1: it goes to x_0, where nothing is open.": lambda _, **x: _sampled(
                **x, noise_at_1=1.0),
            "z is multiplied by a variance.": lambda _, **x: _sampled(**x, power=1.0),
            "That is the larger of the paper's two variances. The question asks for the posterior's.":
                lambda _, **x: _sampled(**x, kept=True),
            "The network is asked about t - 1.": lambda _, **x: _sampled(**x, shift=1),
            "The outer factor undoes one step, not all t of them.": lambda _, **x: _sampled(**x, outer=True),
            "The network says v. You took it for ε.": lambda _, **x: _sampled(**x, as_eps=True),
        }, setup=tensors("xT, z, alpha_bar") + _TOY,
        hint="Take the first step, t = T, by hand. The tables are read at t = 0..T, and z[t] belongs to step t."),
    "hw2.q6": Question(9, "denoise(xt, t)", judge=hw2_judges.over_floor, example=hw2_judges.example_signals(),
                       setup="import torch\nxt, t = torch.as_tensor(xt).float(), torch.as_tensor(t)\n"),
    "hw2.q7": Question(4, "found_a", judge=hw2_judges.run_a),
    "hw2.q8": Question(4, "found_b", judge=hw2_judges.run_b),
}
