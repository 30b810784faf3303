"""The two-bump signals of lecture 004's first lab, with the exact denoiser that the lab's network should approach."""

import math

import torch
from numpy.polynomial.legendre import leggauss

from .inputs import check_count, check_generator, check_tensor, time_index
from .mixture import exact, exact_denoiser, exact_score


class TwoBumps:
    """Signals of two unit-width bumps at random places, x in R^n with two degrees of freedom.

    x0 = 2 * (b(m_1) + b(m_2)) - 1, b(m)[i] = exp(-(g[i] - m)**2 / 2), g = linspace(-20, 20, n)
    m_1 ~ U[-15, -5], m_2 ~ U[5, 15]
    Lecture 004, Lab 1, with one fixed affine map in place of its per-signal min-max.

    n: points per signal, >= 2. Samples are (B, n).
    """

    low, high = (-15.0, 5.0), (-5.0, 15.0)  # the ranges of m_1 and m_2

    def __init__(self, n=100):
        self.n = check_count("n", n, 2)
        self.grid = torch.linspace(-20, 20, self.n, dtype=torch.float64)

    def bump(self, m):
        """b(m), unit-height Gaussian bumps at the places m, (..., n)."""
        return torch.exp(-((self.grid.to(m) - m[..., None]) ** 2) / 2)

    def sample(self, n, generator=None):
        """n signals, (n, self.n), in the default dtype on the CPU."""
        check_generator(generator)
        u = torch.rand(check_count("n", n), 2, dtype=torch.float64, generator=generator)
        m = torch.tensor(self.low) + (torch.tensor(self.high) - torch.tensor(self.low)) * u  # (n, 2)
        return (2 * self.bump(m).sum(1) - 1).to(torch.get_default_dtype())

    def log_prob(self, x):
        """Raises ValueError: two degrees of freedom in R^n have no density."""
        raise ValueError(f"TwoBumps has no log_prob: two degrees of freedom in R^{self.n} have no density")

    def posterior_mean(self, xt, t, schedule):
        """E[x_0 | x_t], (B, n), by Gauss-Legendre quadrature over each bump's place.

        2 * (E[b(m_1) | x_t] + E[b(m_2) | x_t]) - 1, with
        q(m_1, m_2 | x_t) ~ exp(-|xt - alpha_bar_t.sqrt() * x0(m_1, m_2)|**2 / (2 * (1 - alpha_bar_t)))
        Lecture 004, Lab 1; the two places are independent given x_t, up to exp(-25) where both bumps are 10 apart.

        t: int or (B,) in 1..T. The number of nodes grows as 1/sqrt(1 - alpha_bar_t): a first step of 1e-6 is slow.
        """
        if check_tensor("xt", xt).ndim != 2 or xt.shape[1] != self.n:
            raise ValueError(f"xt must have shape (B, {self.n}), not {tuple(xt.shape)}")
        x = exact(xt)
        alpha_bar_t = schedule.alpha_bar[time_index(t, schedule, xt.shape)].to(x)  # () or (B, 1)
        total = -torch.ones_like(x)
        for low, high in zip(self.low, self.high, strict=True):
            total = total + 2 * self._mean_bump(x, alpha_bar_t, low, high)
        return total.to(xt)

    def denoiser(self, schedule, predicts="eps"):
        """The exact denoiser, a callable (xt, t) -> prediction; see `GaussianMixture.denoiser`."""
        return exact_denoiser(self.posterior_mean, schedule, predicts)

    def score(self, xt, t, schedule):
        """The gradient of log q(x_t) at xt, (B, n); see `GaussianMixture.score`."""
        return exact_score(self.posterior_mean, xt, t, schedule)

    def _mean_bump(self, x, alpha_bar_t, low, high):
        """E[b(m) | x_t], (B, n), for one bump with its place uniform on [low, high]."""
        # log q(m | x_t) = slope * (b(m) @ y) - curve * |b(m)|**2, up to a constant in m
        y = x + alpha_bar_t.sqrt()
        slope, curve = 2 * alpha_bar_t.sqrt() / (1 - alpha_bar_t), 2 * alpha_bar_t / (1 - alpha_bar_t)
        m, w = self._nodes(y, slope, curve, low, high)
        b = self.bump(m)  # (G, n)
        mean = torch.empty_like(x)
        for rows in torch.arange(len(x)).split(max(1, 4_000_000 // len(m))):  # bounded memory
            scale = (slope, curve) if not slope.ndim else (slope[rows], curve[rows])
            log_q = scale[0] * (y[rows] @ b.T) - scale[1] * b.square().sum(1) + w.log()  # (rows, G)
            mean[rows] = log_q.softmax(1) @ b
        return mean

    def _nodes(self, y, slope, curve, low, high):
        """Gauss-Legendre nodes and weights on panels short beside the narrowest peak that log q(m | x_t) can have."""
        bend = (0.75 * math.pi**0.5 * self.n / 40 + 1) ** 0.5  # no bump has a longer second derivative |b''(m)|
        sharpest = slope * bend * y.norm(dim=1, keepdim=True) + 4 * curve
        sharpest = float(sharpest.detach().max()) if len(y) and not y.is_meta else 1.0
        panels = 4 + math.ceil((high - low) * sharpest**0.5 / 12)  # 12 widths of a bound that is itself wide
        node, weight = (torch.from_numpy(v) for v in leggauss(16))
        edges = torch.linspace(low, high, panels + 1, dtype=torch.float64)
        finer = (edges[1] - edges[0]) / 4.0 ** torch.arange(1, 9)  # an x_t from outside can pile q up against an end
        edges = torch.cat([edges, low + finer, high - finer]).sort().values
        half = (edges[1:] - edges[:-1])[:, None] / 2
        m, w = (edges[:-1, None] + half * (1 + node)).flatten(), (half * weight).flatten()
        return m.to(y), w.to(y)
