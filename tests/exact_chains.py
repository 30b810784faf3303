"""Chains small enough to solve exactly, without the package: the oracle behind the claim tests about the bound.

Index convention: every list is read at the lecture's own t (entry 0 is padding).
"""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss

from ddpm_lesson import Schedule


class GaussianChain:
    """q(x_t | x_{t-1}) = N(sqrt(1 - β_t) x_{t-1}, β_t) and p(x_{t-1} | x_t) = N(slope_t x_t + shift_t, var_t), 1-D.

    The prior is N(0, 1). All log densities are quadratic, so the means and covariances of x_0..x_T given x_0 yield
    every expectation. var_t for t > 1 is β_t (sigma "beta") or Var(x_{t-1} | x_t, x_0) (sigma "posterior").
    """

    def __init__(self, beta, slope, shift, sigma="beta", decoder_var=None):
        self.T, self.sigma = len(beta), sigma
        self.beta, self.slope, self.shift = ([math.nan, *values] for values in (beta, slope, shift))
        self.decay, self.cov = np.ones(self.T + 1), np.zeros((self.T + 1, self.T + 1))  # of x_0..x_T given x_0
        for t in range(1, self.T + 1):
            keep = math.sqrt(1 - self.beta[t])
            self.decay[t] = keep * self.decay[t - 1]
            self.cov[t, :t] = self.cov[:t, t] = keep * self.cov[t - 1, :t]
            self.cov[t, t] = keep**2 * self.cov[t - 1, t - 1] + self.beta[t]
        self.decoder_var = beta[0] if decoder_var is None else decoder_var
        self.var = [math.nan, self.decoder_var]
        for t in range(2, self.T + 1):
            left = self.cov[t - 1, t - 1] - self.cov[t - 1, t] ** 2 / self.cov[t, t]
            self.var.append(self.beta[t] if sigma == "beta" else left)

    def posterior(self, t, x0):
        """Gain on x_t, offset and variance of q(x_{t-1} | x_t, x_0): Gaussian conditioning of x_{t-1} on x_t."""
        gain = self.cov[t - 1, t] / self.cov[t, t]
        return gain, (self.decay[t - 1] - gain * self.decay[t]) * x0, self.cov[t - 1, t - 1] - gain * self.cov[t, t - 1]

    def square(self, x0, i, j, slope, shift):
        """E[(x_i - slope x_j - shift)^2 | x_0]."""
        spread = self.cov[i, i] - 2 * slope * self.cov[i, j] + slope**2 * self.cov[j, j]
        return spread + ((self.decay[i] - slope * self.decay[j]) * x0 - shift) ** 2

    def log_normal(self, x0, i, j, slope, shift, var):
        """E[log N(x_i; slope x_j + shift, var) | x_0]."""
        return -(np.log(2 * np.pi * var) + self.square(x0, i, j, slope, shift) / var) / 2

    def log_q(self, x0, t):
        """E[log q(x_t | x_{t-1}) | x_0]."""
        return self.log_normal(x0, t, t - 1, math.sqrt(1 - self.beta[t]), 0.0, self.beta[t])

    def log_p(self, x0, t):
        """E[log p(x_{t-1} | x_t) | x_0]."""
        return self.log_normal(x0, t - 1, t, self.slope[t], self.shift[t], self.var[t])

    def log_prior(self, x0):
        return self.log_normal(x0, self.T, 0, 0.0, 0.0, 1.0)

    def neg_elbo(self, x0):
        """E[-log p(x_{0:T}) + log q(x_{1:T} | x_0) | x_0], summed over the factors of the two chains."""
        return -self.log_prior(x0) - sum(self.log_p(x0, t) - self.log_q(x0, t) for t in range(1, self.T + 1))

    def joint_p(self):
        """Mean and covariance of x_0..x_T under p, built from x_T downwards."""
        shift, root = np.zeros(self.T + 1), np.eye(self.T + 1)
        for t in range(self.T, 0, -1):
            shift[t - 1] = self.slope[t] * shift[t] + self.shift[t]
            root[t - 1] = self.slope[t] * root[t] + math.sqrt(self.var[t]) * root[t - 1]
        return shift, root @ root.T

    def log_evidence(self, x0):
        """log p(x_0), from the law of x_0 alone."""
        mean, var = 0.0, 1.0
        for t in range(self.T, 0, -1):
            mean, var = self.slope[t] * mean + self.shift[t], self.slope[t] ** 2 * var + self.var[t]
        return -(np.log(2 * np.pi * var) + (x0 - mean) ** 2 / var) / 2

    def for_package(self):
        """The same chain as keyword arguments of `elbo_terms` and `elbo_consistency`."""
        def denoiser(xt, t):
            return self.slope[int(t[0])] * xt + self.shift[int(t[0])]

        return {"denoiser": denoiser, "schedule": Schedule(self.beta[1:]), "predicts": "mean", "sigma": self.sigma,
                "decoder_var": self.decoder_var}


class TableChain:
    """The same two chains on a few states, from random tables: arrays over x_1..x_T (and x_0), so sums are exact."""

    def __init__(self, seed, states=3, T=3):
        rng = np.random.default_rng(seed)
        self.T = T
        self.q = [None, *rng.dirichlet(np.ones(states), (T, states))]  # q[t][i, j] = q(x_t = j | x_{t-1} = i)
        self.p = [None, *rng.dirichlet(np.ones(states), (T, states))]  # p[t][j, i] = p(x_{t-1} = i | x_t = j)
        self.prior = rng.dirichlet(np.ones(states))
        self.data = rng.dirichlet(np.ones(states))

    def factor(self, table, row, column):
        """table[x_row, x_column] as an array over x_0..x_T that broadcasts."""
        table = table if row < column else table.T
        shape = [1] * (self.T + 1)
        shape[row], shape[column] = len(table), len(table)
        return table.reshape(shape)

    def q_step(self, t):
        return self.factor(self.q[t], t - 1, t)

    def p_step(self, t):
        return self.factor(self.p[t], t, t - 1)

    def latents(self):
        """q(x_{1:T} | x_0), over x_0..x_T."""
        return math.prod(self.q_step(t) for t in range(1, self.T + 1))

    def joint(self):
        """p(x_{0:T})."""
        return self.prior * math.prod(self.p_step(t) for t in range(1, self.T + 1))

    def mean(self, f):
        """E_{q(x_{1:T} | x_0)}[f], for each x_0."""
        return (self.latents() * f).sum(tuple(range(1, self.T + 1)))


def feed(monkeypatch, *noise):
    """The forward process draws the given noise, one (rows,) array per call, instead of random numbers."""
    calls = iter([torch.as_tensor(np.asarray(eps, dtype=float)) for eps in noise])
    monkeypatch.setattr("ddpm_lesson.forward.draw_noise", lambda x, noise, generator:
                        next(calls).reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape))


def exact_terms(form, chain, x0, monkeypatch):
    """The form's terms with exact expectations, for a `GaussianChain` and x0 (B, d).

    The terms are quadratic in the noise, and noise of -1 and 1 at every step has the moments that matter: all the
    sign patterns as the n draws make the package's average the expectation.
    """
    signs = np.array(list(itertools.product([1.0, -1.0], repeat=chain.T)))
    feed(monkeypatch, *np.tile(signs, (len(x0), 1)).T)
    return form(x0=torch.as_tensor(x0), n=len(signs), **chain.for_package())


def batch(x, rows=1):
    """The number x as a (rows, 1) batch of float64."""
    return torch.full((rows, 1), x, dtype=torch.float64)


def hermite(n=80):
    """Nodes and weights of the standard normal law."""
    nodes, weights = hermegauss(n)
    return nodes, weights / weights.sum()


def normal(x, mean, var):
    return np.exp(-((x - mean) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var)


def log_normal(x, mean, var):
    return -((x - mean) ** 2) / (2 * var) - np.log(2 * np.pi * var) / 2


def grid(dimensions, half_width=9.0, n=301):
    """The coordinates of a grid around 0, to be broadcast, and the volume of a cell.

    A sum over it is the trapezoid rule: exact to rounding for a density whose standard deviations are above h = 0.06.
    """
    line = np.linspace(-half_width, half_width, n)
    return np.meshgrid(*[line] * dimensions, indexing="ij", sparse=True), (line[1] - line[0]) ** dimensions


REGISTER = GaussianChain([0.3, 0.5], [0.8, 0.6], [0.0, 0.0])  # the two-step example of the register, x_0 = 0.7
CHAINS = [
    REGISTER,
    GaussianChain([0.4, 0.2], [0.7, -0.5], [0.2, -0.4], "posterior", 0.25),
    GaussianChain([0.1, 0.35, 0.2], [0.8, 0.5, 0.9], [0.1, -0.4, 0.3], "posterior", 0.3),
    GaussianChain([0.05, 0.4, 0.15, 0.3, 0.25], [0.9, 0.7, 0.8, -0.2, 0.6], [0.0, 0.2, -0.1, 0.3, 0.5]),
]
POINTS = np.array([[0.7], [-1.3], [2.4]])  # x_0, (B, 1)
IMAGES = np.array([[0.7, -1.2, 0.4], [2.0, 0.0, -0.3]])  # x_0, (B, 3)
every_chain = pytest.mark.parametrize("chain", CHAINS)
tables = pytest.mark.parametrize("table", [TableChain(0), TableChain(1, states=2, T=4), TableChain(2, states=4, T=2)])


def close(got, want, tol=1e-10):
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)
