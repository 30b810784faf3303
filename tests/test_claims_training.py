"""Training: the two algorithms against their expectations in closed form, by quadrature and by counted draws.

Data: 30 % at -1, 70 % at 2, so that no mean, sign or square hides. The oracle walks the forward steps itself.
"""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.stats import chisquare

from ddpm_lesson import Schedule, elbo_terms, simple_loss

BETA = {
    "register": 0.05 * np.arange(1, 11),
    "uneven": np.array([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14]),
    "short": np.array([0.6, 0.1, 0.4]),
}
SCHEDULE = {name: Schedule(beta) for name, beta in BETA.items()}
every_chain = pytest.mark.parametrize("name", BETA)
VALUES, SHARES = np.array([-1.0, 2.0]), np.array([0.3, 0.7])
NODES, WEIGHTS = hermegauss(24)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def walk(beta, t):
    """What is left of x_0 in x_t, and the variance of the noise in it, step by step."""
    signal, var = 1.0, 0.0
    for b in beta[:t]:
        signal, var = math.sqrt(1 - b) * signal, (1 - b) * var + b
    return signal, var


def data(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.where(torch.rand(n, 1, generator=generator) < SHARES[0], *torch.tensor(VALUES))
    return x0, generator


# --- training on the noise: a linear network eps_hat = w_0 x_t + w_1 t / T + w_2 ---

W = np.array([0.4, -0.9, 0.25])


def normal_equations(beta, steps=None):
    """H and g with L_simple(w) = w H w - 2 g w + 1, averaged over t = 1..T (or the steps given)."""
    T, H, g = len(beta), np.zeros((3, 3)), np.zeros(3)
    steps = range(1, T + 1) if steps is None else steps
    for t in steps:
        (signal, var), tau = walk(beta, t), t / T
        mean, square = signal * SHARES @ VALUES, signal**2 * SHARES @ VALUES**2 + var
        H += np.array([[square, tau * mean, mean], [tau * mean, tau**2, tau], [mean, tau, 1]]) / len(steps)
        g += np.array([math.sqrt(var), 0, 0]) / len(steps)
    return H, g


def gradients(x0, schedule, **options):
    """One gradient for every sample, (B, 3): each sample has weights of its own."""
    w = torch.tensor(W).repeat(len(x0), 1).requires_grad_()

    def network(xt, t):
        return (w * torch.cat([xt, t[:, None].to(xt) / schedule.T, torch.ones_like(xt)], 1)).sum(1, keepdim=True)

    loss = simple_loss(network, x0, schedule, **options)
    return torch.autograd.grad(loss, w)[0].numpy() * len(x0)


@pytest.mark.claim("training-algorithm")
@every_chain
def test_the_expected_gradient_is_that_of_the_simple_loss(name):
    """Exactly: all t from 1 to T, both values of x_0, Gauss-Hermite nodes for eps; the gradient is a polynomial."""
    T = len(BETA[name])
    t, value, node = (v.ravel() for v in np.meshgrid(np.arange(1, T + 1), [0, 1], np.arange(24), indexing="ij"))
    each = gradients(torch.tensor(VALUES[value])[:, None], SCHEDULE[name], t=torch.tensor(t),
                     noise=torch.tensor(NODES[node])[:, None])
    H, g = normal_equations(BETA[name])
    np.testing.assert_allclose((SHARES[value] * WEIGHTS[node] / T) @ each, 2 * (H @ W - g), rtol=1e-10)


@pytest.mark.claim("training-algorithm")
@every_chain
def test_the_average_of_drawn_gradients_is_the_gradient_and_t_1_belongs_to_it(name):
    """60 000 single samples, 5 standard errors. The gradient for t = 2..T alone is further off than that."""
    x0, generator = data(60_000, seed=0)
    each = gradients(x0, SCHEDULE[name], generator=generator)
    error = each.std(0) / math.sqrt(len(each))
    H, g = normal_equations(BETA[name])
    assert (abs(each.mean(0) - 2 * (H @ W - g)) < 5 * error).all()
    H, g = normal_equations(BETA[name], range(2, len(BETA[name]) + 1))
    assert (abs(each.mean(0) - 2 * (H @ W - g)) > 5 * error).any()


@pytest.mark.claim("training-algorithm")
@every_chain
def test_t_is_uniform_and_the_network_sees_the_jump_of_a_standard_normal_draw(name):
    """Chi-square for t; by t, the mean and variance of x_t within 5 standard errors; x_t by the steps, given eps."""
    beta, n, seen = BETA[name], 40_000, []
    generator = torch.Generator().manual_seed(1)
    simple_loss(lambda xt, t: seen.append((xt, t)) or xt, torch.full((n, 2), 2.0).double(), SCHEDULE[name],
                generator=generator)
    (xt, t), = seen
    counts = np.bincount(t, minlength=len(beta) + 1)
    assert counts[0] == 0 and len(counts) == len(beta) + 1 and chisquare(counts[1:]).pvalue > 1e-4
    for i in range(1, len(beta) + 1):
        (signal, var), x = walk(beta, i), xt[t == i].numpy().ravel()
        assert abs(x.mean() - 2 * signal) < 5 * math.sqrt(var / len(x))
        assert abs(x.var() - var) < 5 * var * math.sqrt(2 / len(x))


@pytest.mark.claim("training-algorithm")
@every_chain
def test_the_loss_of_one_sample_is_its_squared_error_over_its_dimensions(name):
    """In three dimensions: a mean, so d times it is |eps_hat - eps|^2."""
    x0, eps = np.array([[-1.0, 2.0, 0.3]]), np.array([[0.5, -1.5, 0.1]])
    for t in range(1, len(BETA[name]) + 1):
        signal, var = walk(BETA[name], t)
        xt = signal * x0 + math.sqrt(var) * eps
        loss = simple_loss(lambda xt, t: torch.tanh(xt) * t, torch.tensor(x0), SCHEDULE[name], t=t,
                           noise=torch.tensor(eps))
        assert 3 * loss.item() == pytest.approx(np.sum((np.tanh(xt) * t - eps) ** 2), rel=1e-10)


@pytest.mark.claim("training-algorithm")
def test_repeated_steps_reach_the_minimum_of_the_simple_loss():
    """600 steps on drawn batches; the excess over the least loss of any linear network falls below 1 %."""
    schedule, (H, g) = SCHEDULE["uneven"], normal_equations(BETA["uneven"])
    least = 1 - g @ np.linalg.solve(H, g)
    w = torch.tensor(W, requires_grad=True)
    x0, generator = data(600 * 256, seed=2)
    optimizer = torch.optim.SGD([w], lr=0.2)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, 600)
    for batch in x0.split(256):
        optimizer.zero_grad()
        simple_loss(lambda xt, t: w[0] * xt + w[1] * t[:, None] / 8 + w[2], batch, schedule,
                    generator=generator).backward()
        optimizer.step()
        rate.step()
    start, end = (v @ H @ v - 2 * g @ v + 1 for v in (W, w.detach().numpy()))
    assert start > 1.15 * least and least <= end < 1.01 * least


# --- the Monte Carlo estimate of the mean-matching loss ---

def step_back(beta, t, x0, xt):
    """Mean and variance of q(x_{t-1} | x_t, x_0) by conditioning."""
    signal, var = walk(beta, t - 1)
    root, b = math.sqrt(1 - beta[t - 1]), beta[t - 1]
    gain = root * var / (root * root * var + b)
    return signal * x0 + gain * (xt - root * signal * x0), var - gain * root * var


def network(xt, t):
    """A mean that no exact denoiser would give."""
    return torch.tanh(1.3 * xt - 0.25) + t.reshape(-1, 1) / 16


def expected_loss(beta, t, sigma, x0=None):
    """E |mu_tilde - mu_hat|^2 / (2 sigma_t^2) by the trapezoid rule over x_t, and what the KL adds to it."""
    z = np.linspace(-9, 9, 721)
    weight = np.exp(-z**2 / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    signal, var = walk(beta, t)
    total = 0.0
    for value, share in zip(VALUES, SHARES, strict=True) if x0 is None else [(x0, 1.0)]:
        xt = signal * value + math.sqrt(var) * z
        mean, beta_tilde = step_back(beta, t, value, xt)
        sigma_squared = beta_tilde if sigma == "posterior" else beta[t - 1]
        error = (mean - np.tanh(1.3 * xt - 0.25) - t / 16) ** 2
        total += share * weight @ error / (2 * sigma_squared)
    ratio = beta_tilde / sigma_squared
    return total, (ratio - 1 - math.log(ratio)) / 2


def estimates(x0, name, sigma, generator, n=1):
    """\\hat L_{t-1}, (T+1, B): one estimate from n draws of x_t for every x_0."""
    return elbo_terms(network, x0, SCHEDULE[name], sigma=sigma, predicts="mean", n=n, generator=generator).L_t.numpy()


@pytest.mark.claim("monte-carlo-loss")
@pytest.mark.parametrize("sigma", ["posterior", "beta"])
@every_chain
def test_the_average_over_draws_estimates_the_mean_matching_loss(name, sigma):
    """M = 40 000 pairs (x_0, x_t), 5 standard errors, t = 2..T. With sigma "beta" the KL has a constant besides."""
    x0, generator = data(40_000, seed=3)
    terms = estimates(x0, name, sigma, generator)
    assert (terms[:2] == 0).all()
    for t in range(2, len(BETA[name]) + 1):
        loss, constant = expected_loss(BETA[name], t, sigma)
        assert (constant == pytest.approx(0, abs=1e-14)) if sigma == "posterior" else constant > 1e-4
        error = terms[t].std() / math.sqrt(len(x0))
        assert abs(terms[t].mean() - constant - loss) < 5 * error and error < 0.02 * loss
        for wrong in (loss / 2, 2 * loss):  # the factor 1/2 shows
            assert abs(terms[t].mean() - constant - wrong) > 20 * error


@pytest.mark.claim("monte-carlo-loss")
@pytest.mark.parametrize("M", [1, 2, 5])
def test_it_is_unbiased_for_every_number_of_draws(M):
    """20 000 repetitions of the whole estimate with M draws of (x_0, x_t) each, 5 standard errors."""
    x0, generator = data(20_000 * M, seed=4)
    repeated = estimates(x0, "uneven", "posterior", generator).reshape(9, -1, M).mean(2)
    for t in (2, 5, 8):
        loss, _ = expected_loss(BETA["uneven"], t, "posterior")
        assert abs(repeated[t].mean() - loss) < 5 * repeated[t].std() / math.sqrt(20_000)


@pytest.mark.claim("monte-carlo-loss")
@pytest.mark.parametrize("M", [4, 25])
def test_the_standard_error_falls_like_one_over_root_M(M):
    """The package's own n = M draws for a fixed x_0, 4 000 times: 5 standard errors of the two spreads."""
    generator, t = torch.Generator().manual_seed(5), 5
    x0 = torch.full((4_000, 1), 2.0, dtype=torch.float64)
    single, mean_of_M = (estimates(x0, "uneven", "posterior", generator, n)[t] for n in (1, M))
    loss, _ = expected_loss(BETA["uneven"], t, "posterior", x0=2.0)
    assert abs(mean_of_M.mean() - loss) < 5 * mean_of_M.std() / math.sqrt(4_000)
    kurtosis = ((single - single.mean()) ** 4).mean() / single.var() ** 2
    spread = math.sqrt((kurtosis - 1) / 4 / 4_000)  # relative standard error of a standard deviation
    assert single.std() / mean_of_M.std() / math.sqrt(M) == pytest.approx(1, abs=5 * 2**0.5 * spread)
    assert 5 * 2**0.5 * spread < 0.25
