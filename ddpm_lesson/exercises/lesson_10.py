"""The exercises of lesson 10 UNet."""

import torch

from .exercise import Exercise

_G = torch.Generator().manual_seed(10)
_X0, _EPS = torch.randn((2, 4, 1, 4, 4), generator=_G, dtype=torch.float64)
_T, _TABLE = torch.tensor([1, 5, 3, 2]), torch.tensor([1.0, 0.9, 0.7, 0.45, 0.2, 0.05], dtype=torch.float64)
_XT = torch.tensor([[[[0.1, -0.9, 0.8], [0.3, 1.6, -0.2]]]], dtype=torch.float64)
_GUESS = torch.tensor([[[[-0.2, 0.3, -0.6], [1.4, 0.1, 0.05]]]], dtype=torch.float64)


def _network(xt, t):
    return 0.6 * xt + 0.1 * t[:, None, None, None]


def _loss(roots=True, shift=0, shape=(-1, 1, 1, 1), target="eps", ask="xt", reduce=torch.mean):
    def image_loss(network, x0, t, eps, alpha_bar):
        ab = alpha_bar[t - shift].reshape(shape)
        xt = ab.sqrt() * x0 + (1 - ab).sqrt() * eps if roots else ab * x0 + (1 - ab) * eps
        guess = network({"xt": xt, "x0": x0}[ask], t)
        return reduce((guess - {"eps": eps, "x0": x0}[target]).square(), (1, 2, 3))
    return image_loss


def _waves(w, sines_first=True, mixed=False):
    def waves_of_ho(t, n):
        angle = t[:, None] * w(torch.arange(n // 2, dtype=torch.float64), n // 2)
        pair = [angle.sin(), angle.cos()] if sines_first else [angle.cos(), angle.sin()]
        return torch.stack(pair, 2).flatten(1) if mixed else torch.cat(pair, 1)
    return waves_of_ho


def _speed(i, m):
    return 10000.0 ** (-i / (m - 1))


def _same(x):
    return x


def _clip(x):
    return x.clamp(-1, 1)


def _guess(root=0.5, divide=0.5, before=_same, outer=_clip):
    return lambda xt, eps_hat, ab: outer(before(xt - (1 - ab) ** root * eps_hat) / ab**divide)


EXERCISES = {
    "10.1": Exercise(_loss(), {
        "ᾱ_t of shape (B,) was laid along the last axis, the columns. It belongs to the batch: (B, 1, 1, 1).":
            _loss(shape=(-1,)),
        "ᾱ_t of shape (B, 1) was laid along the rows of the images. It belongs to the batch: (B, 1, 1, 1).":
            _loss(shape=(-1, 1)),
        "The table has entry 0 for t = 0: read alpha_bar[t], not alpha_bar[t - 1].": _loss(shift=1),
        "The weights of the jump are roots, √ᾱ_t and √(1 - ᾱ_t).": _loss(roots=False),
        "That is the sum over the pixels. Take their mean.": _loss(reduce=torch.sum),
        "The network guesses the noise: compare with eps, not with x0.": _loss(target="x0"),
        "Ask the network about x_t. You gave it x_0.": _loss(ask="x0"),
    }, inputs=(_network, _X0, _T, _EPS, _TABLE),
        hint="x_t first, with ᾱ_t of shape (B, 1, 1, 1); then the mean over axes 1, 2, 3."),
    "10.2": Exercise(_waves(_speed), {
        "Those are lesson 09's: cosines first.": _waves(_speed, sines_first=False),
        "Those are lesson 09's, cosines first and with i/m in the exponent. Here it is i/(m - 1).":
            _waves(lambda i, m: 10000.0 ** (-i / m), sines_first=False),
        "The exponent is -i/(m - 1), so that the last speed is 1/10000.": _waves(lambda i, m: 10000.0 ** (-i / m)),
        "The speeds fall: a minus in the exponent.": _waves(lambda i, m: 10000.0 ** (i / (m - 1))),
        "All sines first, then all cosines. Yours alternate.": _waves(_speed, mixed=True),
        "m is n/2, not n.": _waves(lambda i, m: 10000.0 ** (-i / (2 * m - 1))),
        "i counts 0, 1, 2, ..: yours starts at 1.": _waves(lambda i, m: 10000.0 ** (-(i + 1) / (m - 1))),
    }, inputs=(torch.tensor([3, 41, 500]), 8),
        hint="First w, of shape (n/2,), then t[:, None] * w, then sines and cosines."),
    "10.3": Exercise(13848, {
        "The skip adds 24 channels to the 40 from below.": 40 * 24 * 9 + 24,
        "You left out the biases, one per new channel.": 64 * 24 * 9,
        "Each weight of a 3×3 convolution is a table of 9 numbers.": 64 * 24 + 24,
        "The skip has 24 channels: it was kept at the full size.": 80 * 24 * 9 + 24,
        "Skip and h are joined, not added: 40 + 24 channels go in.": 24 * 24 * 9 + 24,
        "The block makes 24 channels, not 40.": 64 * 40 * 9 + 40,
        "A 3×3 convolution has 9 weights per pair of channels, not 3.": 64 * 24 * 3 + 24,
    }, hint="(channels in) × (channels out) × 9, and a bias for each channel out.", tolerance=1e-4),
    "10.4": Exercise((1 - 0.7, 1 - 0.05 / 0.7), {
        "Those are the long chain's own β at t = 2 and 5. A step spans several here.": (1 - 0.7 / 0.9, 1 - 0.05 / 0.2),
        "The floor rounds down: the chain visits 0, 2 and 5, not 0, 3 and 5.": (1 - 0.5, 1 - 0.05 / 0.5),
        "Your chain ends at t = 4. The last one is t = T, or it does not start from noise.": (1 - 0.7, 1 - 0.2 / 0.7),
        "Those are the new α'. β' is 1 minus each.": (0.7, 0.05 / 0.7),
        "The quotient is the other way round.": (1 - 1 / 0.7, 1 - 0.7 / 0.05),
        "That is the drop of ᾱ. Divide it by the ᾱ before.": (0.3, 0.65),
        "Those are 1 - ᾱ, the noise of the whole jump from 0.": (0.3, 0.95),
        "No roots: ᾱ is a product of the α, and β' = 1 - α'.": (1 - 0.7**0.5, 1 - (0.05 / 0.7) ** 0.5),
        "β'_1 belongs to the step between t = 0 and the first t visited.": (1 - 0.05 / 0.7, 1 - 0.7),
    }, hint="The chain visits 0, 2 and 5."),
    "10.5": Exercise(_guess(), {
        "The guess is not clipped.": _guess(outer=_same),
        "The pixels are in [-1, 1], not in [0, 1].": _guess(outer=lambda x: x.clamp(0, 1)),
        "Divide by √ᾱ_t first, then clip.": _guess(before=_clip, outer=_same),
        "Divide by √ᾱ_t.": _guess(divide=0.0),
        "Clip the guess of x_0, not x_t.": lambda xt, eps_hat, ab: _guess(outer=_same)(_clip(xt), eps_hat, ab),
        "Clip the guess of x_0, not the noise.": lambda xt, eps_hat, ab: _guess(outer=_same)(xt, _clip(eps_hat), ab),
        "The weights are roots, √(1 - ᾱ_t) and √ᾱ_t.": _guess(root=1.0, divide=1.0),
        "The weight of the noise is √(1 - ᾱ_t), a root.": _guess(root=1.0),
        "The noise is subtracted.": lambda xt, eps_hat, ab: _guess()(xt, -eps_hat, ab),
    }, inputs=(_XT, _GUESS, 0.25), hint="x_{0|t} by lesson 06, then clamp(-1, 1). Keep all four axes."),
    "10.6": Exercise(19.2, {
        "32 is the batch of one process. There are four.": 4.8,
        "Four processes see four times as many images, not a quarter.": 1.2,
        "That is steps per pass. How many passes are 9000 steps?": 468.75,
        "That is the number of images. Divide by 60,000.": 1_152_000,
        "That is the inverse: the share of training in one pass.": 1 / 19.2,
    }, hint="Images per step, times steps, over 60,000."),
}
