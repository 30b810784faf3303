"""The network of lecture 004's first lab: a Transformer that reads a noised signal patch by patch."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ..inputs import check_count


class Transformer(nn.Module):
    """A denoiser (xt, t) -> eps_hat, (B, n), for signals of n points.

    h = embed(patches of xt) + position;  h = block(h, t) for each Block;  eps_hat = head(norm(h), t)
    Vaswani et al. 2017; time enters as in Peebles and Xie 2023 (adaLN-Zero); lecture 004, Lab 1.

    n: points per signal; patch: points per token, a divisor of n; width: numbers per token, a multiple of 2 * heads;
    depth: blocks; heads: attention heads per block. xt is (B, n) of the weights' dtype and device, t is (B,) in 1..T,
    for any T; other shapes raise ValueError. Before training eps_hat is exactly 0; torch.manual_seed fixes the rest.
    """

    def __init__(self, n=100, patch=10, width=80, depth=3, heads=4):
        super().__init__()
        self.n, self.patch, self.width = check_count("n", n), check_count("patch", patch), check_count("width", width)
        if n % patch:
            raise ValueError(f"patch must divide n = {n} into whole patches, and {patch} does not")
        if width % (2 * check_count("heads", heads)):
            raise ValueError(f"width must be a multiple of 2 * heads = {2 * heads}, not {width}")
        self.embed = nn.Linear(patch, width)
        self.position = nn.Parameter(0.5 * torch.randn(n // patch, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(check_count("depth", depth)))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zero(nn.Linear(width, 2 * width))
        self.head = zero(nn.Linear(width, patch))

    def forward(self, xt, t):
        if xt.ndim != 2 or xt.shape[1] != self.n or t.shape != xt.shape[:1]:
            raise ValueError(f"xt must have shape (B, {self.n}) and t (B,), not {tuple(xt.shape)} and {tuple(t.shape)}")
        h = self.embed(xt.unflatten(1, (-1, self.patch))) + self.position  # (B, L, width), L = n / patch
        c = self.time(waves(t, self.width).to(h))[:, None]  # (B, 1, width)
        for block in self.blocks:
            h = block(h, c)  # (B, L, width)
        shift, scale = self.modulation(c).chunk(2, -1)  # (B, 1, width) each
        return self.head(self.norm(h) * (1 + scale) + shift).flatten(1)  # (B, L, patch) -> (B, n)


class Block(nn.Module):
    """Attention between the tokens, then a small network for each, both told by c how to read and how much to add."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)  # what it would scale and shift by comes from c
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = zero(nn.Linear(width, 6 * width))  # at first both gates are 0, and the block the identity

    def forward(self, h, c):
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(c).chunk(6, -1)  # (B, 1, width) each
        h = h + gate * self.attention(self.norm(h) * (1 + scale) + shift)  # (B, L, width)
        return h + gate_2 * self.mlp(self.norm(h) * (1 + scale_2) + shift_2)  # (B, L, width)


class Attention(nn.Module):
    """What each token gathers from all: softmax over the keys of q @ k.mT / d**0.5, times v, with d = width / heads."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)  # a bias of k would add the same to every score
        self.out = nn.Linear(width, width)

    def forward(self, h):
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, L, d) each
        mixed = scaled_dot_product_attention(q, k, v)  # (B, heads, L, d)
        return self.out(mixed.transpose(1, 2).flatten(2))  # (B, L, width)


def waves(t, width):
    """Cosines and sines of t, (B, width): the nearest steps differ in the fast ones, the far ones in the slow ones.

    cos(w * t), sin(w * t), w = 10000**(-i / (width / 2)), i = 0..width/2 - 1
    Vaswani et al. 2017, Section 3.5.
    """
    w = 10000.0 ** -torch.linspace(0, 1, width // 2 + 1, device=t.device)[:-1]  # (width / 2,)
    angle = t[:, None] * w  # (B, width / 2), float32 for any dtype of the network: bfloat16 cannot tell 257 from 258
    return torch.cat([angle.cos(), angle.sin()], 1)


def zero(layer):
    """layer, with all its weights 0."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer
