"""Homework 3, a UNet on images: the questions, what is right, and what the classic mistakes lead to.

The two questions that ask for a trained network, 5 and 6, are judged in hw3_judges.py.
"""

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, conv2d, group_norm, interpolate, linear, silu

from ..homework import Question
from . import hw3_judges
from .hw3_judges import snr_weight
from .setup import alpha_bar, tensors

FILES = {"hw3.safetensors": 4_000_000}  # bytes; the notebook's own network takes 0.35 million
LIMITS = {"cells_seconds": 120, "seconds": 120}

_BAR = alpha_bar([0, 0.1, 0.25, 0.2, 0.4, 0.35])
_RNG = np.random.RandomState(0)
_RUBRIC = """\\
1 two flaws are named that the picture shows (broken strokes, blurred or empty images, missing or frequent classes, ...)
2 for each a possible cause in the network, the training or the sampler, and why it would lead to this flaw (1 each)
2 one experiment: what is changed and what is kept, which number is measured (1), and which outcome would say no (1)"""


def draw_numbers(rng):
    """No question has numbers of its own: all ask for functions, or for a trained network."""
    return {}


def block_weights(rng, inside, out, c, halve):
    """Random weights of a Down (halve) or Up block: name -> array."""
    shapes = {"norm.weight": (inside,), "norm.bias": (inside,), "conv.weight": (out, inside, 3, 3), "conv.bias": (out,),
              "time.weight": (out, c), "time.bias": (out,), "norm_2.weight": (out,), "norm_2.bias": (out,),
              "conv_2.weight": (out, out, 3, 3), "conv_2.bias": (out,), "skip.weight": (out, inside, 1, 1),
              "skip.bias": (out,)}
    shapes |= {"halve.weight": (out, out, 3, 3), "halve.bias": (out,)} if halve else {}
    return {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}


def _residual(h, e, weights, act=silu, time=1.0, late=0.0, skip=1.0, first=True):
    w = {name: torch.as_tensor(x) for name, x in weights.items()}
    step = linear(e, w["time.weight"], w["time.bias"])[:, :, None, None]
    ready = group_norm(h, 4, w["norm.weight"], w["norm.bias"])
    ready = act(ready) if first else group_norm(act(h), 4, w["norm.weight"], w["norm.bias"])
    u = conv2d(ready, w["conv.weight"], w["conv.bias"], padding=1) + time * step
    u = act(group_norm(u, 4, w["norm_2.weight"], w["norm_2.bias"]))
    u = conv2d(u, w["conv_2.weight"], w["conv_2.bias"], padding=1) + late * step
    return u + skip * conv2d(h, w["skip.weight"], w["skip.bias"]), w


def _down(h, e, weights, pool=False, swap=False, **slip):
    u, w = _residual(torch.as_tensor(h), torch.as_tensor(e), weights, **slip)
    small = avg_pool2d(conv2d(u, w["halve.weight"], w["halve.bias"], padding=1), 2) if pool else conv2d(
        u, w["halve.weight"], w["halve.bias"], stride=2, padding=1)
    return torch.cat([part.flatten() for part in ((small, u) if swap else (u, small))])


def _up(h, s, e, weights, mode="nearest", swap=False, **slip):
    wide = interpolate(torch.as_tensor(h), scale_factor=2.0, mode=mode)
    parts = [wide, torch.as_tensor(s)]
    return _residual(torch.cat(parts[::-1] if swap else parts, 1), torch.as_tensor(e), weights, **slip)[0]


def _train(x0, t, eps, alpha_bar, weight=snr_weight, zero=True, steps=True, after=False, rate=0.2):
    """Losses of three steps on the toy network, then its two weights; gradients by hand."""
    shape = (-1, 1, 1, 1)
    a, w = alpha_bar[t].reshape(shape), weight(alpha_bar, t).reshape(shape)
    xt, tau = np.sqrt(a) * x0 + np.sqrt(1 - a) * eps, t.reshape(shape) / 10
    p, grad, losses = np.array([0.3, -0.2]), np.zeros(2), []
    for _ in range(3):
        rest = p[0] * xt + p[1] * tau - eps
        grad = grad * (not zero) + [2 * (w * rest * xt).mean(), 2 * (w * rest * tau).mean()]
        p = p - rate * grad * steps
        losses.append((w * (p[0] * xt + p[1] * tau - eps if after else rest) ** 2).mean())
    return np.array([*losses, *p])


def _strided(xT, times, z, alpha_bar, eta, square=1.0, spread=1, next_=None, shift=0, last=True):
    x, visited = xT, [*times, 0]
    for i, (t, s) in enumerate(zip(visited[:-1], visited[1:], strict=True)):
        if s == 0 and not last:
            break
        a, b = alpha_bar[t], alpha_bar[t - 1 if next_ else s]
        eps = 0.4 * x - 0.05 * (s if shift else t)
        sigma = (eta * np.sqrt((1 - b) / (1 - a) * (1 - a / b))) ** spread
        x0 = (x - np.sqrt(1 - a) * eps) / np.sqrt(a)
        x = np.sqrt(b) * x0 + np.sqrt(np.maximum(1 - b - square * sigma**2, 0)) * eps + sigma * z[i]
    return x


_DOWN = {"h": _RNG.normal(size=(2, 8, 4, 4)), "e": _RNG.normal(size=(2, 6)),
         "weights": block_weights(_RNG, 8, 12, 6, halve=True)}
_UP = {"h": _RNG.normal(size=(2, 8, 2, 2)), "s": _RNG.normal(size=(2, 4, 4, 4)), "e": _RNG.normal(size=(2, 6)),
       "weights": block_weights(_RNG, 12, 8, 6, halve=False)}
_LOAD = "block.load_state_dict({name: torch.as_tensor(x) for name, x in weights.items()})\n"
_TOY = """\
class Toy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.p = torch.nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))
    def forward(self, xt, t):
        return self.p[0] * xt + self.p[1] * t[:, None, None, None] / 10
network = Toy()
optimizer = torch.optim.SGD(network.parameters(), lr=0.2)
"""
_RESIDUAL_MISTAKES = {
    "An activation is missing.": dict(act=lambda x: x),
    "The time does not come in.": dict(time=0.0),
    "The time comes in too late: between the two convolutions, before the second norm.": dict(time=0.0, late=1.0),
    "What came in is not added to what comes out.": dict(skip=0.0),
    "At the beginning: first the norm, then the activation.": dict(first=False),
}

QUESTIONS = {
    "hw3.q1": Question(
        6, "Down and torch.cat([x.flatten() for x in block(h, e)])", lambda _, **x: _down(**x), example=_DOWN,
        mistakes={
            "First the result at full resolution, then the halved one.": lambda _, **x: _down(**x, swap=True),
            "The convolution `halve` has stride 2. Yours pools.": lambda _, **x: _down(**x, pool=True),
            **{name: lambda _, slip=slip, **x: _down(**x, **slip) for name, slip in _RESIDUAL_MISTAKES.items()},
        }, setup=tensors("h, e") + "block = Down(8, 12, 6).double()\n" + _LOAD,
        hint="Follow the specification line by line, with one image and pencil."),
    "hw3.q2": Question(
        6, "Up and block(h, s, e)", lambda _, **x: _up(**x), example=_UP, mistakes={
            "The order of the two inputs: first what comes from below.": lambda _, **x: _up(**x, swap=True),
            "Every pixel becomes four equal ones. Yours are interpolated.": lambda _, **x: _up(**x, mode="bilinear"),
            **{name: lambda _, slip=slip, **x: _up(**x, **slip) for name, slip in _RESIDUAL_MISTAKES.items()},
        }, setup=tensors("h, s, e") + "block = Up(8, 4, 8, 6).double()\n" + _LOAD,
        hint="Follow the specification line by line, with one image and pencil."),
    "hw3.q3": Question(
        6, "training_step and [float(training_step(network, optimizer, x0, t, eps, alpha_bar)) for _ in range(3)] "
           "+ network.p.tolist()", lambda _, **x: _train(**x),
        example={"x0": _RNG.normal(size=(4, 1, 2, 2)), "t": np.array([1, 3, 5, 2]),
                 "eps": _RNG.normal(size=(4, 1, 2, 2)), "alpha_bar": alpha_bar([0, 0.02, 0.1, 0.3, 0.6, 0.5])},
        mistakes={
            "Gradients add up from step to step: something must clear them.": lambda _, **x: _train(**x, zero=False),
            "The weights of the network never change.": lambda _, **x: _train(**x, steps=False),
            "The loss is the one before the step, not after it.": lambda _, **x: _train(**x, after=True),
            "The weight is missing: every t counts the same.": lambda _, **x: _train(
                **x, weight=lambda bar, t: np.ones(len(t))),
            "The weight is not divided by the SNR.": lambda _, **x: _train(
                **x, weight=lambda bar, t: np.minimum(bar[t] / (1 - bar[t]), 5)),
            "The weight takes the larger of the two, not the smaller.": lambda _, **x: _train(
                **x, weight=lambda bar, t: np.maximum(1, 5 * (1 - bar[t]) / bar[t])),
            "The SNR is upside down: signal over noise.": lambda _, **x: _train(
                **x, weight=lambda bar, t: np.minimum(1, 5 * bar[t] / (1 - bar[t]))),
        }, setup=tensors("x0, t, eps, alpha_bar") + _TOY,
        hint="In which order: clear the gradients, loss, backward, step. And the loss is a mean over all entries."),
    "hw3.q4": Question(
        7, "strided(network, xT, times, z, alpha_bar, eta)", lambda _, **x: _strided(**x),
        example={"xT": _RNG.normal(size=(2, 1, 2, 2)), "times": [5, 3, 1], "z": _RNG.normal(size=(3, 2, 1, 2, 2)),
                 "alpha_bar": _BAR, "eta": 0.7}, mistakes={
            "The last step is missing: from the last of the times to 0.": lambda _, **x: _strided(**x, last=False),
            "The step does not go to t - 1, but to the next of the times.": lambda _, **x: _strided(**x, next_=True),
            "The noise added and the noise kept must share the variance. You kept all of it.": lambda _, **x: _strided(
                **x, square=0.0),
            "z is multiplied by a variance.": lambda _, **x: _strided(**x, spread=2),
            "The network is asked about the time where the step begins.": lambda _, **x: _strided(**x, shift=1),
            "eta is not used.": lambda _, **x: _strided(**x | {"eta": 1.0}),
            "No noise is added.": lambda _, **x: _strided(**x | {"eta": 0.0}),
        }, setup=tensors("xT, z, alpha_bar") + "network = lambda xt, t: 0.4 * xt - 0.05 * t[:, None, None, None]\n",
        hint="Take one step by hand, with eta = 0 first. z[i] belongs to the step that begins at times[i]."),
    "hw3.q5": Question(8, "denoise(xt, t)", judge=hw3_judges.held_out_loss, example=hw3_judges.example_noised(),
                       setup="import torch\nxt, t = torch.as_tensor(xt), torch.as_tensor(t)\n"),
    "hw3.q6": Question(7, "generate(xT, z)", judge=hw3_judges.samples, example=hw3_judges.example_start(),
                       setup=tensors("xT, z")),
    "hw3.q7": Question(5, rubric=_RUBRIC),
}
