"""The network of lecture 004's second lab: a small UNet, which reads a noised image at several resolutions."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import interpolate, silu

from ..inputs import check_count
from .transformer import Attention, waves, zero

GROUPS = 8  # of channels, each with its own mean and variance in GroupNorm


class UNet(nn.Module):
    """A denoiser (xt, t) -> eps_hat, (B, channels, H, W), for images whose sides can be halved len(widths) - 1 times.

    h = stem(xt);  going down: h = block(h, c), kept as skip, then halved;  going up: h = block(cat(doubled h, skip), c)
    Ronneberger et al. 2015; Ho et al. 2020, Appendix B; lecture 004, Lab 2.

    channels: of an image. widths: channels inside, from the full resolution to the coarsest, multiples of 8; blocks:
    residual blocks per resolution, going down and again going up; heads: of the attention at the coarsest, a divisor of
    widths[-1]. xt is (B, channels, H, W) of the weights' dtype and device, t is (B,) in 1..T, for any T; other shapes
    raise ValueError. Before training eps_hat is exactly 0; torch.manual_seed fixes the rest.
    """

    def __init__(self, channels=1, widths=(32, 64, 128), blocks=1, heads=4):
        super().__init__()
        self.channels, n = check_count("channels", channels), check_count("blocks", blocks)
        if not len(widths) or any(check_count("widths", w) % GROUPS for w in widths):
            raise ValueError(f"widths must be one or more multiples of {GROUPS}, not {widths!r}")
        if widths[-1] % check_count("heads", heads):
            raise ValueError(f"heads must divide widths[-1] = {widths[-1]}, and {heads} does not")
        first, last, c = widths[0], widths[-1], 4 * widths[0]
        self.time = nn.Sequential(nn.Linear(first, c), nn.SiLU(), nn.Linear(c, c), nn.SiLU())
        self.stem = nn.Conv2d(channels, first, 3, padding=1)
        self.halve = nn.ModuleList(nn.Conv2d(w, v, 3, stride=2, padding=1) for w, v in pairwise(widths))
        self.down = nn.ModuleList(nn.ModuleList(Block(w, w, c) for _ in range(n)) for w in widths)
        self.middle = nn.ModuleList([Block(last, last, c), Look(last, heads), Block(last, last, c)])
        self.up = nn.ModuleList(
            nn.ModuleList(Block(v + w if k == 0 else w, w, c) for k in range(n))
            for v, w in pairwise((last, *reversed(widths))))  # v: of what comes from below
        self.norm = nn.GroupNorm(GROUPS, first)
        self.head = zero(nn.Conv2d(first, channels, 3, padding=1))

    def forward(self, xt, t):
        coarsest = 2 ** len(self.halve)
        if xt.ndim != 4 or xt.shape[1] != self.channels or any(side % coarsest for side in xt.shape[2:]):
            raise ValueError(f"xt must have shape (B, {self.channels}, H, W) with H and W multiples of {coarsest}, "
                             f"not {tuple(xt.shape)}")
        if t.shape != xt.shape[:1]:
            raise ValueError(f"t must have shape ({len(xt)},), one time per image, not {tuple(t.shape)}")
        c = self.time(waves(t, self.time[0].in_features).to(xt))  # (B, 4 * widths[0])
        h, skips = self.stem(xt), []  # (B, widths[0], H, W)
        for level, blocks in enumerate(self.down):
            if level > 0:
                h = self.halve[level - 1](h)
            for block in blocks:
                h = block(h, c)  # (B, widths[level], H / 2**level, W / 2**level)
            skips.append(h)
        for block in self.middle:
            h = block(h, c)
        for blocks in self.up:
            skip = skips.pop()
            if h.shape[2:] != skip.shape[2:]:
                h = interpolate(h, scale_factor=2.0)  # every pixel becomes four
            h = torch.cat([h, skip], 1)
            for block in blocks:
                h = block(h, c)
        return self.head(silu(self.norm(h)))  # (B, channels, H, W)


class Block(nn.Module):
    """h plus what two convolutions make of it; between them c, the time, scales and shifts every channel."""

    def __init__(self, inside, out, c):
        super().__init__()
        self.norm, self.norm_2 = nn.GroupNorm(GROUPS, inside), nn.GroupNorm(GROUPS, out, affine=False)
        self.conv, self.conv_2 = nn.Conv2d(inside, out, 3, padding=1), zero(nn.Conv2d(out, out, 3, padding=1))
        self.modulation = zero(nn.Linear(c, 2 * out))
        self.skip = nn.Identity() if inside == out else nn.Conv2d(inside, out, 1)

    def forward(self, h, c):
        shift, scale = self.modulation(c)[..., None, None].chunk(2, 1)  # (B, out, 1, 1) each
        new = self.conv(silu(self.norm(h)))  # (B, out, H, W)
        new = self.conv_2(silu(self.norm_2(new) * (1 + scale) + shift))
        return self.skip(h) + new


class Look(nn.Module):
    """h plus what each pixel gathers from all pixels: the Transformer's attention, with one token per pixel."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm, self.attention = nn.GroupNorm(GROUPS, width), Attention(width, heads)

    def forward(self, h, c):
        tokens = self.norm(h).flatten(2).mT  # (B, H * W, width)
        return h + self.attention(tokens).mT.unflatten(2, h.shape[2:])
