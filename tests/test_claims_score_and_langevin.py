"""The register's claims on the score: what the predicted noise is, and how far a reverse step is a Langevin step.

The oracles: sympy, autograd through torch.distributions, finite differences, exact moments of linear recursions.

Sabotage of the package that turned this file red: in the score, abar for sqrt(abar), a root on 1 - abar, the sign;
std for std^2 in noised; a standard deviation from q_mean_var; noise at t = 1, none at t = 2; in TwoBumps, half the
slope. And of the formulas here: the score's signs, eps / (1 - abar), the half in the drift, Eq. 12 without 1 - abar.
"""

import math

import numpy as np
import pytest
import sympy
import torch
from float64 import close, column, randn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    TwoBumps,
    constant_schedule,
    kl_gaussian,
    loss_weight,
    mean_from_x0,
    p_step,
    q_mean_var,
    q_sample,
)

BETAS = {"register": 0.05 * np.arange(1, 11), "uneven": np.array([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14]),
         "linear": np.linspace(1e-4, 0.02, 1000)}
SCHEDULES = {name: Schedule(betas) for name, betas in BETAS.items()}
every_case = pytest.mark.parametrize("name, t", [("register", 1), ("register", 5), ("uneven", 3), ("uneven", 8),
                                                 ("linear", 100), ("linear", 1000)])
MIXTURES = {  # weights, means, stds
    "signs": ([0.5, 0.5], [[-1.0], [1.0]], [0.0, 0.0]),
    "two humps": ([0.3, 0.7], [[-1.2], [0.9]], [0.4, 0.2]),
    "plane": ([0.5, 0.2, 0.3], [[0.9, -0.3], [-0.6, 1.1], [-0.2, -0.8]], [0.3, 0.0, 0.5]),
}
every_mixture = pytest.mark.parametrize("mixture", MIXTURES)


def jump(name, t):
    """What t single steps leave of x_0 (a factor) and the variance of what they add."""
    signal, var = 1.0, 0.0
    for beta in BETAS[name][:t]:
        signal, var = math.sqrt(1 - beta) * signal, (1 - beta) * var + beta
    return signal, var


def q_of_xt(mixture, name, t):
    """q(x_t) as a torch distribution: every component of the data walked t steps."""
    weights, means, stds = (torch.tensor(v, dtype=torch.float64) for v in MIXTURES[mixture])
    signal, var = jump(name, t)
    scale = (signal**2 * stds**2 + var).sqrt()[:, None].expand_as(means)
    return MixtureSameFamily(Categorical(weights), Independent(Normal(signal * means, scale), 1))


def gradient(log_prob, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(log_prob(x).sum(), x)[0]


def noise_nodes():
    """Standard normal nodes (N, 1) and weights (N, 1) of a trapezoid rule, exact to rounding for smooth functions."""
    z = torch.arange(-9, 9.01, 0.05, dtype=torch.float64)[:, None]
    return z, (-z.square() / 2).exp() / (-z.square() / 2).exp().sum()


# --- the score is the noise


@pytest.mark.claim("score-noise-identity")
def test_the_score_of_the_jump_symbolically():
    x0, xt, eps, abar = sympy.symbols("x0 xt eps abar", positive=True)
    density = sympy.exp(-(xt - sympy.sqrt(abar) * x0) ** 2 / (2 * (1 - abar))) / sympy.sqrt(2 * sympy.pi * (1 - abar))
    score = sympy.diff(density, xt) / density
    assert sympy.simplify(score + (xt - sympy.sqrt(abar) * x0) / (1 - abar)) == 0
    at_jump = score.subs(xt, sympy.sqrt(abar) * x0 + sympy.sqrt(1 - abar) * eps)
    assert sympy.simplify(at_jump + eps / sympy.sqrt(1 - abar)) == 0


@pytest.mark.claim("score-noise-identity")
@every_case
def test_the_score_of_the_packages_jump_is_minus_the_noise_over_its_std(name, t):
    x0, eps = randn(5, 3), randn(5, 3, seed=1)
    xt, (mean, var) = q_sample(x0, t, SCHEDULES[name], noise=eps), q_mean_var(x0, t, SCHEDULES[name])
    score = gradient(MultivariateNormal(mean, var * torch.eye(3, dtype=torch.float64)).log_prob, xt)
    close(score, -eps / math.sqrt(jump(name, t)[1]))
    close(score, -(xt - jump(name, t)[0] * x0) / jump(name, t)[1])


@pytest.mark.claim("score-noise-identity")
@every_mixture
@every_case
def test_the_score_of_xt_is_minus_the_best_noise_over_its_std(mixture, name, t):
    """Both against autograd through the density of q(x_t); Tweedie gives E[x_0 | x_t] back."""
    data, schedule, (signal, var) = GaussianMixture(*MIXTURES[mixture]), SCHEDULES[name], jump(name, t)
    xt = 1.3 * randn(40, data.means.shape[1], seed=2)
    score = gradient(q_of_xt(mixture, name, t).log_prob, xt)
    close(data.score(xt, t, schedule), score, rtol=1e-8, atol=1e-9)
    close(-data.denoiser(schedule)(xt, t) / math.sqrt(var), score, rtol=1e-8, atol=1e-9)
    close(data.posterior_mean(xt, t, schedule), (xt + var * score) / signal, rtol=1e-8, atol=1e-9)
    close(gradient(data.noised(t, schedule).log_prob, xt), score, rtol=1e-8, atol=1e-9)


@pytest.mark.claim("score-noise-identity")
@pytest.mark.parametrize("mixture", ["signs", "two humps"])
@pytest.mark.parametrize("name, t", [("register", 5), ("uneven", 8), ("linear", 400)])
def test_the_score_by_finite_differences(mixture, name, t):
    data, h, x = GaussianMixture(*MIXTURES[mixture]), 1e-5, torch.linspace(-3, 3, 25, dtype=torch.float64)[:, None]
    log_q = q_of_xt(mixture, name, t).log_prob
    slope = ((log_q(x + h) - log_q(x - h)) / (2 * h))[:, None]
    close(-data.denoiser(SCHEDULES[name])(x, t) / math.sqrt(jump(name, t)[1]), slope, rtol=1e-6, atol=1e-6)


@pytest.mark.claim("score-noise-identity")
@pytest.mark.parametrize("t", [6, 10])
def test_the_score_of_the_two_bumps(t):
    """By autograd through the density of x_t, the two places integrated by Gauss-Legendre; n = 12 points."""
    data, (signal, var) = TwoBumps(12), jump("register", t)
    node, weight = (torch.tensor(v) for v in np.polynomial.legendre.leggauss(80))
    m_1, m_2 = torch.cartesian_prod(-10 + 5 * node, 10 + 5 * node).T
    g = torch.linspace(-20, 20, 12, dtype=torch.float64)
    x0 = 2 * sum(torch.exp(-((g - m[:, None]) ** 2) / 2) for m in (m_1, m_2)) - 1  # (6400, 12)
    log_w = torch.cartesian_prod(weight, weight).log().sum(1)

    def log_q(x):
        return (log_w - (x[:, None] - signal * x0).square().sum(2) / (2 * var)).logsumexp(1)

    xt = signal * x0[[100, 3000]] + math.sqrt(var) * randn(2, 12)
    score = gradient(log_q, xt)
    close(data.score(xt, t, SCHEDULES["register"]), score, rtol=1e-6, atol=1e-6)
    close(-data.denoiser(SCHEDULES["register"])(xt, t) / math.sqrt(var), score, rtol=1e-6, atol=1e-6)


@pytest.mark.claim("score-noise-identity")
@every_case
def test_the_noise_loss_is_score_matching_times_one_minus_alpha_bar(name, t):
    """For any prediction, not only the best; the score of q(x_t | x_0) by autograd."""
    x0, eps, eps_hat = randn(6, 2), randn(6, 2, seed=1), randn(6, 2, seed=2)
    (signal, var), schedule = jump(name, t), SCHEDULES[name]
    xt = q_sample(x0, t, schedule, noise=eps)
    target = gradient(Normal(signal * x0, math.sqrt(var)).log_prob, xt)
    s_hat = -eps_hat / math.sqrt(var)
    close((eps - eps_hat).square(), var * (s_hat - target).square(), rtol=1e-9)


@pytest.mark.claim("score-noise-identity")
@pytest.mark.parametrize("name, t", [("register", 5), ("uneven", 8), ("linear", 400)])
def test_score_matching_against_noised_samples_finds_the_score_of_xt(name, t):
    """Any other s pays E |s - score|^2 on top; data +-1, averaged by quadrature over x_0 and the noise."""
    (signal, var), (z, w), data = jump(name, t), noise_nodes(), GaussianMixture(*MIXTURES["signs"])
    x0 = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    xt = signal * x0 + math.sqrt(var) * z  # (N, 2)
    target = -z / math.sqrt(var)
    best = data.score(xt.reshape(-1, 1), t, SCHEDULES[name]).reshape(xt.shape)
    least = (w * (best - target) ** 2).sum() / 2
    for change in (0.1 * xt, xt.sin(), 0.2 * best):
        close((w * (best + change - target) ** 2).sum() / 2, least + (w * change**2).sum() / 2)
    assert least > 0.01  # the two scores agree on average, not at each x_0


# --- the reverse step and Langevin's


def score_step(score, x, t, schedule, **kwargs):
    """The package's reverse step for a given score: eps = -sqrt(1 - abar_t) * score."""
    return p_step(lambda xt, t: -(1 - schedule.alpha_bar[t[0]]).sqrt() * score(xt), x, t, schedule, **kwargs)


def sine(x):
    return 0.7 * x.sin() - 1.1 * x


@pytest.mark.claim("langevin-like-step")
@pytest.mark.parametrize("sigma", ["beta", "posterior"])
@every_case
def test_the_reverse_step_in_score_form(sigma, name, t):
    """(x + beta s) / sqrt(alpha) + sigma z; and the same mean by way of Tweedie's x_0."""
    x, z, beta = randn(6, 2), randn(6, 2, seed=1), BETAS[name][t - 1]
    step = score_step(sine, x, t, SCHEDULES[name], sigma=sigma, noise=z)
    std = 0.0 if t == 1 else math.sqrt(beta * jump(name, t - 1)[1] / jump(name, t)[1] if sigma == "posterior" else beta)
    close(step, (x + beta * sine(x)) / math.sqrt(1 - beta) + std * z)
    tweedie = (x + jump(name, t)[1] * sine(x)) / jump(name, t)[0]
    close(step, mean_from_x0(x, tweedie, t, SCHEDULES[name]) + std * z)


@pytest.mark.claim("langevin-like-step")
def test_the_score_form_and_its_expansion_symbolically():
    x, s, beta, abar = sympy.symbols("x s beta abar", positive=True)
    eps = -sympy.sqrt(1 - abar) * s
    step = (x - beta / sympy.sqrt(1 - abar) * eps) / sympy.sqrt(1 - beta)
    assert sympy.simplify(step - (x + beta * s) / sympy.sqrt(1 - beta)) == 0
    first_order = sympy.series(step, beta, 0, 2).removeO()
    assert sympy.expand(first_order - x - beta * (x / 2 + s)) == 0
    langevin = x + beta / 2 * s
    assert sympy.expand(sympy.diff(first_order, s) - 2 * sympy.diff(langevin, s)) == 0  # twice the score
    assert sympy.expand((first_order - langevin).subs(s, 0) - beta * x / 2) == 0  # and an extra drift
    assert sympy.expand((first_order - langevin).subs(s, -x)) == 0  # which cancel for the score of N(0, 1)


@pytest.mark.claim("langevin-like-step")
def test_the_remainder_of_the_expansion_is_of_second_order():
    x = randn(20)
    remainders = []
    for beta in (0.04, 0.02, 0.01):
        step = score_step(sine, x[:, None], 3, constant_schedule(5, beta), sigma="beta", noise=x.new_zeros(20, 1))[:, 0]
        remainders.append((step - x - beta * (x / 2 + sine(x))).abs())
        assert ((step - x - beta / 2 * sine(x)).abs() > 10 * remainders[-1]).float().mean() > 0.8  # Langevin is further
    for coarse, fine in zip(remainders, remainders[1:], strict=False):
        close(coarse / fine, [4.0] * 20, rtol=0.06, atol=0)


def stationary_variance(gain, noise_var):
    """Where v -> gain^2 v + noise_var ends: the map composed with itself, 2^40 steps from any finite v."""
    factor, shift = gain**2, noise_var
    for _ in range(40):
        factor, shift = factor * factor, factor * shift + shift
    assert factor < 1e-12
    return shift


def linear_reverse_step(precision, beta):
    """Gain and noise variance of the package's reverse step under the fixed score -precision * x."""
    schedule = constant_schedule(10, beta)

    def step(x, z):
        return score_step(lambda x: -precision * x, column(x), 7, schedule, sigma="beta", noise=column(z)).item()

    assert step(0.0, 0.0) == 0
    return step(1.0, 0.0), step(0.0, 1.0) ** 2


@pytest.mark.claim("langevin-like-step")
def test_with_a_fixed_score_the_two_end_at_different_variances():
    """The score -4x of N(0, 1/4)."""
    reverse = stationary_variance(*linear_reverse_step(4.0, 0.001))
    langevin = stationary_variance(1 - 0.001 / 2 * 4, 0.001)
    assert (f"{reverse:.4f}", f"{langevin:.4f}") == ("0.1430", "0.2503")
    nearer = stationary_variance(*linear_reverse_step(4.0, 0.0001)), stationary_variance(1 - 0.0001 / 2 * 4, 0.0001)
    assert abs(nearer[0] - 1 / 7) < 0.11 * abs(reverse - 1 / 7) and abs(reverse - 1 / 7) < 2e-4
    assert abs(nearer[1] - 1 / 4) < 0.11 * abs(langevin - 1 / 4) and abs(langevin - 1 / 4) < 3e-4


@pytest.mark.claim("langevin-like-step")
@pytest.mark.parametrize("var", [0.1, 0.5, 1.5])
def test_the_reverse_step_ends_at_var_over_two_minus_var_and_langevin_at_var(var):
    """Drift x/2 - x/var and noise 1: the variance of this Ornstein-Uhlenbeck process is 1 / (2 (1/var - 1/2))."""
    close(stationary_variance(*linear_reverse_step(1 / var, 0.001)), var / (2 - var), rtol=0.02, atol=0)
    close(stationary_variance(1 - 0.0005 / var, 0.001), var, rtol=0.02, atol=0)


@pytest.mark.claim("langevin-like-step")
def test_the_score_of_the_standard_normal_does_not_separate_them():
    for beta in (0.004, 0.001):
        gain, noise_var = linear_reverse_step(1.0, beta)
        assert abs(gain - (1 - beta / 2)) < beta**2 and noise_var == pytest.approx(beta, rel=1e-10)
        close(stationary_variance(gain, noise_var), 1.0, rtol=1e-9)  # sqrt(1 - beta)^2 + beta = 1, exactly
        close(stationary_variance(1 - beta / 2, beta), 1.0, rtol=beta, atol=0)


@pytest.mark.claim("langevin-like-step")
def test_many_seeded_reverse_steps_have_that_variance():
    """20000 particles, 400 steps of beta = 0.01 from variance 1; 5 standard errors sqrt(2 / n) of a variance."""
    schedule, generator, x = constant_schedule(10, 0.01), torch.Generator().manual_seed(0), randn(20_000, 1)
    for _ in range(400):
        x = score_step(lambda x: -4 * x, x, 2, schedule, sigma="beta", generator=generator)
    expected = stationary_variance(*linear_reverse_step(4.0, 0.01))
    assert abs(x.var() / expected - 1) < 5 * (2 / 20_000) ** 0.5
    assert abs(expected - 1 / 7) < 0.002


@pytest.mark.claim("langevin-like-step")
@pytest.mark.parametrize("sigma", ["posterior", "beta"])
@pytest.mark.parametrize("name, t", [("register", 5), ("register", 10), ("uneven", 3)])
def test_with_the_weights_of_eq_12_score_matching_is_one_term_of_the_bound_and_with_weight_1_it_is_not(name, t, sigma):
    """Up to a constant: the difference must be the same for every s_theta. Data +-1, averages by quadrature."""
    (signal, var), (z, w), schedule = jump(name, t), noise_nodes(), SCHEDULES[name]
    x0 = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    xt = signal * x0 + math.sqrt(var) * z  # (N, 2)
    (s_prev, v_prev), beta = jump(name, t - 1), BETAS[name][t - 1]
    gain = math.sqrt(1 - beta) * v_prev / var
    q = Normal(s_prev * x0 + gain * (xt - signal * x0), math.sqrt(v_prev * beta / var))
    p_std = math.sqrt(v_prev * beta / var if sigma == "posterior" else beta)
    weight = (loss_weight("eps", schedule, sigma)[t] * var).item()  # Eq. 12, for the error of a score
    weighted, plain = [], []
    for s in (-xt, sine(xt), -2 * xt + 1, 0 * xt):
        mean = (xt + beta * s) / math.sqrt(1 - beta)
        term = (w * kl_divergence(q, Normal(mean, p_std))).sum().item() / 2
        packaged = kl_gaussian(q.mean.reshape(-1, 1), q.variance.reshape(-1, 1), mean.reshape(-1, 1), p_std**2)
        close((w * packaged.reshape(xt.shape)).sum() / 2, term)
        matching = (w * (s + z / math.sqrt(var)) ** 2).sum().item() / 2
        weighted.append(term - weight * matching)
        plain.append(term - matching)
    ratio = v_prev * beta / var / p_std**2
    close(weighted, [(ratio - 1 - math.log(ratio)) / 2] * 4, atol=1e-10)
    assert max(plain) - min(plain) > 0.05
