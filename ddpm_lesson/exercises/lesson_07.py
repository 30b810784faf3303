"""The exercises of lesson 07 Losses."""

import math

import torch

from .exercise import Exercise

_X0 = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]])
_EPS = torch.tensor([[1.0, 0.3, -0.6], [-0.2, -2.0, 0.9]])
_TABLE = torch.tensor([1.0, 0.9, 0.65, 0.4, 0.15])


def _network(xt, t):
    return 0.4 * xt + 0.1 * t[:, None]


def _loss(signal, noise, target="eps", reduce=torch.mean, shift=0):
    """The batch loss with other roots, another target, another reduction or a shifted table."""
    def loss(network, x0, t, eps, alpha_bar):
        a = alpha_bar[t - shift][:, None]
        xt = signal(a) * x0 + noise(a) * eps
        return reduce((network(xt, t) - {"eps": eps, "x0": x0}[target]) ** 2)

    return loss


def _signal(a):
    return a**0.5


def _noise(a):
    return (1 - a) ** 0.5


EXERCISES = {
    "7.1": Exercise(1.5 * (0.5 - 1 + math.log(2)), {
        "That is one dimension. Multiply by d.": 0.5 * (0.5 - 1 + math.log(2)),
        "You swapped the two variances.": 1.5 * (2 - 1 - math.log(2)),
        "The sign of the logarithm: log of σ² over β̃.": 1.5 * (0.5 - 1 - math.log(2)),
        "The factor 1/2 is missing.": 3 * (0.5 - 1 + math.log(2)),
        "The -1 is missing: C_t must be 0 for equal variances.": 1.5 * (0.5 + math.log(2)),
        "It is 0 only if the two variances are equal.": 0.0,
        "Use the natural logarithm, not base 10.": 1.5 * (0.5 - 1 + math.log10(2)),
        "Use the natural logarithm, not base 2.": 1.5 * (0.5 - 1 + 1),
        "0.1 and 0.2 are variances already. Do not square them.": 1.5 * (0.25 - 1 + math.log(4)),
    }, hint="(d / 2) · (r - 1 - log r) with r = β̃ / σ²."),
    "7.2": Exercise(0.3, {
        "That is the KL of an error in x_0. For the noise, divide the weight by SNR_t.": 0.075,
        "The factor 1/2 is missing.": 0.6,
        "That is the weight of the noise error. Multiply by the error.": 1.5,
        "The weight of the noise error is ω_t divided by SNR_t, not multiplied.": 0.375 / 4 * 0.2,
        "A signal-to-noise ratio divides ᾱ by 1 - ᾱ. You took the drop of ᾱ itself.": 0.15 * 4 * 0.2,
        "Earlier minus later: the ratio falls with t.": -0.3,
        "0.2 is squared already.": 1.5 * 0.04,
        "That is the weight for σ² = β_t. Here σ² = β̃_t.": 0.9375 * 0.2,
        "An error of size 0.2 counts by its weight.": 0.2,
    }, hint="SNR_{t-1} = 1 and SNR_t = 1/4. ω_t is half the drop, and ω'_t = ω_t / SNR_t."),
    "7.3": Exercise(2.6, {
        "That ignores the weights.": 2.0,
        "The weights are swapped.": 1.4,
        "No root: the weights multiply the squares, and the slope has them as they are.": 7 / 3,
        "You squared the weights.": 49 / 17,
        "One number must serve both steps; this fits the second only.": 3.0,
        "This fits the first step only.": 1.0,
        "Divide by the sum of the weights.": 13.0,
        "Divide by the sum of the weights, not by their number.": 6.5,
    }, hint="Set the slope of 1·(c - 1)² + 4·(c - 3)² to 0."),
    "7.4": Exercise(_loss(_signal, _noise), {
        "Roots on both factors: √ᾱ_t and √(1 - ᾱ_t).": _loss(lambda a: a, lambda a: 1 - a),
        "The noise needs the root √(1 - ᾱ_t).": _loss(_signal, lambda a: 1 - a),
        "The signal needs the root √ᾱ_t.": _loss(lambda a: a, _noise),
        "You swapped the factors of signal and noise.": _loss(_noise, _signal),
        "The target is the noise, not x_0.": _loss(_signal, _noise, target="x0"),
        "Average over all entries, do not sum.": _loss(_signal, _noise, reduce=torch.sum),
        "Average over the d entries, too. You summed over them.":
            _loss(_signal, _noise, reduce=lambda square: square.sum(1).mean()),
        "No root at the end.": _loss(_signal, _noise, reduce=lambda square: square.mean() ** 0.5),
        "The table is read at t. There is no shift by one.": _loss(_signal, _noise, shift=1),
        "The network must see the noised x_t, not x_0.":
            lambda network, x0, t, eps, alpha_bar: ((network(x0, t) - eps) ** 2).mean(),
        "The errors are squared.": _loss(_signal, _noise, reduce=lambda square: (square**0.5).mean()),
    }, inputs=(_network, _X0, torch.tensor([1, 3]), _EPS, _TABLE),
        hint="Jump to x_t, ask the network, compare with eps."),
}
