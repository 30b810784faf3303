"""Two training runs with a slip each, made from a seed, for homework 2: what went wrong, and what one sees of it.

What went wrong is (suspect, number, number). A student's numbers hold the seed only, so that printing them tells
nothing.
"""

import numpy as np
import torch

from .forward import q_sample
from .mixture import GaussianMixture
from .sampling import sample
from .schedule import linear_schedule

T = 50
SCHEDULE = linear_schedule(T, rescale=True)
DATA = GaussianMixture([0.3, 0.7], [[-1.479], [0.634]], std=0.25)  # the two humps of the lessons


def slip_a(seed):
    """Run A draws t from first..last only."""
    rng = np.random.RandomState(seed)
    return 1, int(rng.choice(np.arange(4, 13))), int(rng.choice(np.arange(26, 37)))


def slip_b(seed):
    """Run B trains on scale * x_0 + shift, and nobody takes that back."""
    rng = np.random.RandomState(seed)
    scale = rng.choice([rng.uniform(0.45, 0.75), rng.uniform(1.3, 1.6)])
    return 2, round(float(scale), 2), round(float(rng.choice([-1, 1]) * rng.uniform(0.3, 0.9)), 2)


class TableNet(torch.nn.Module):
    """A denoiser in one dimension whose time is a row of a table for each t: it knows nothing of a t never drawn."""

    def __init__(self, width=48):
        super().__init__()
        self.time = torch.nn.Embedding(T + 1, width)
        torch.nn.init.normal_(self.time.weight, std=2.0)
        self.inside, self.out = torch.nn.Linear(1, width), torch.nn.Linear(width, 1)
        self.middle = torch.nn.Linear(width, width)

    def forward(self, xt, t):
        h = torch.nn.functional.silu(self.inside(xt) + self.time(t))
        return self.out(torch.nn.functional.silu(self.middle(h)))


def run_a(seed, steps=700):
    """The denoiser of run A."""
    _, first, last = slip_a(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TableNet()
    optimizer = torch.optim.Adam(network.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps)
    for _ in range(steps):
        x0, eps = DATA.sample(512, generator), torch.randn((512, 1), generator=generator)
        t = torch.randint(first, last + 1, (512,), generator=generator)
        optimizer.zero_grad()
        (network(q_sample(x0, t, SCHEDULE, noise=eps), t) - eps).square().mean().backward()
        optimizer.step()
        rate.step()
    return network.requires_grad_(False)


def run_b(seed):
    """The denoiser of run B, trained to the end: the exact one, of the data that it saw."""
    _, scale, shift = slip_b(seed)
    return GaussianMixture(DATA.weights, scale * DATA.means + shift, scale * DATA.std).denoiser(SCHEDULE)


def pictures(denoiser):
    """What is shown of a run: its gap to the exact denoiser at t = 1..T, (T,), and 4000 samples."""
    x = torch.linspace(-7, 7, 701)[:, None]
    gap = torch.zeros(T)
    for t in range(1, T + 1):  # an integral over x_t, as in lessons 07 and 09b
        p, best = DATA.noised(t, SCHEDULE).log_prob(x).exp() * 0.02, DATA.denoiser(SCHEDULE)(x, t)
        gap[t - 1] = p @ (denoiser(x, torch.full((701,), t)) - best)[:, 0] ** 2
    drawn = sample(denoiser, SCHEDULE, (4000, 1), generator=torch.Generator().manual_seed(1))
    return gap, drawn[:, 0]
