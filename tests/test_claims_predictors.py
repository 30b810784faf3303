"""The register's claims and errata on predictors, against oracles that never use the package's tables.

The oracles: the chain itself, walked step by step; conditioning of a joint Gaussian; Bayes on a grid; trapezoid sums
over the noise, which are exact to rounding for the smooth functions here; closed forms for data +-1 and N(0, s^2).

Sabotage of the package that turned this file red: in every map a sign, a root dropped or added, alpha for abar and
abar for alpha, t - 1 for t; in the posterior the same, beta and a root for beta_tilde; eps and x_0 swapped in
predict_mean; mixture.py without a square, a 2, abar in a gain or a variance; the KL without its 2, its 1, its square.
And of the formulas here: each printed form made right, each correct form spoilt, the stated minima and variances.
"""

import math
from itertools import product

import numpy as np
import pytest
import sympy
import torch
from float64 import close, column, randn
from scipy.optimize import brentq
from torch.distributions import Normal
from torch.testing import assert_close

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    elbo_consistency,
    elbo_terms,
    eps_from_mean,
    eps_from_x0,
    kl_gaussian,
    mean_from_eps,
    mean_from_x0,
    p_step,
    posterior_mean_var,
    q_sample,
    simple_loss,
    x0_from_eps,
    x0_from_mean,
)

BETAS = {
    "register": 0.05 * np.arange(1, 11),  # the schedule of the register's numbers, T = 10
    "uneven": np.array([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14]),
    "linear": np.linspace(1e-4, 0.02, 1000),
}
SCHEDULES = {name: Schedule(betas) for name, betas in BETAS.items()}
REGISTER, AT_5 = SCHEDULES["register"], ("register", 5)
CASES = [("register", 1), AT_5, ("register", 10), ("uneven", 2), ("uneven", 8), ("linear", 1), ("linear", 500),
         ("linear", 1000)]
PAST_1 = [case for case in CASES if case[1] > 1]
every_case = pytest.mark.parametrize("name, t", CASES)
every_case_past_1 = pytest.mark.parametrize("name, t", PAST_1)  # where the posterior has a variance
MAPS = {("mean", "x0"): mean_from_x0, ("mean", "eps"): mean_from_eps, ("x0", "eps"): x0_from_eps,
        ("x0", "mean"): x0_from_mean, ("eps", "x0"): eps_from_x0, ("eps", "mean"): eps_from_mean}

SIGNS = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.0)  # data +-1
TRIANGLE = torch.tensor([[0.9, -0.3], [-0.6, 1.1], [-0.2, -0.8]], dtype=torch.float64)  # points of a 2-D data set
TRIANGLE_WEIGHTS = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def log_normal(x, mean, var):
    """log N(x; mean, var); torch.distributions, kept from making its float32 out of plain numbers."""
    x, mean = (torch.as_tensor(v, dtype=torch.float64) for v in (x, mean))
    return Normal(mean, math.sqrt(var)).log_prob(x)


def jump(name, t):
    """What t single steps leave of x_0 (a factor) and the variance of what they add."""
    signal, var = 1.0, 0.0
    for beta in BETAS[name][:t]:
        signal, var = math.sqrt(1 - beta) * signal, (1 - beta) * var + beta
    return signal, var


def walk(name, t, x0):
    """x_t after t noisy steps, and the one standard noise that all their noises make together."""
    x, noise = x0, torch.zeros_like(x0)
    for s, beta in enumerate(BETAS[name][:t]):
        z = randn(*x0.shape, seed=100 + s)
        x, noise = (math.sqrt(1 - beta) * v + math.sqrt(beta) * z for v in (x, noise))
    return x, noise / math.sqrt(jump(name, t)[1])


def posterior(name, t, xt, x0):
    """Mean and variance of x_{t-1} given x_t and x_0, by conditioning the joint Gaussian of two neighbours."""
    signal, var = jump(name, t - 1)
    beta = BETAS[name][t - 1]
    gain = math.sqrt(1 - beta) * var / ((1 - beta) * var + beta)
    return signal * x0 + gain * (xt - math.sqrt(1 - beta) * signal * x0), var - gain * math.sqrt(1 - beta) * var


def nodes(name, t, points, weights):
    """x0, eps, x_t and weights w, one row per data point and noise node: E f(x0, eps, x_t) = (w * f).sum()."""
    points, weights = torch.as_tensor(points, dtype=torch.float64), torch.as_tensor(weights, dtype=torch.float64)
    d = points.shape[1]
    z = torch.arange(-9, 9.01, {1: 0.05, 2: 0.15}[d], dtype=torch.float64)
    z = torch.cartesian_prod(*[z] * d).reshape(-1, d)
    w = (-z.square().sum(1) / 2).exp()
    x0, eps = points.repeat_interleave(len(z), 0), z.repeat(len(points), 1)
    signal, var = jump(name, t)
    return x0, eps, signal * x0 + math.sqrt(var) * eps, (weights[:, None] * w / w.sum()).reshape(-1, 1)


def normal_data(std):
    """Points and weights that stand for N(0, std^2): Gauss-Hermite."""
    z, w = np.polynomial.hermite_e.hermegauss(40)
    return std * torch.tensor(z)[:, None], torch.tensor(w / w.sum())


SIGN_NODES = column(-1.0, 1.0), [0.5, 0.5]
EXACT = {  # data with an exact predictor, and the points and weights that average over them
    "signs": (SIGNS, *SIGN_NODES),
    "three points": (GaussianMixture([0.2, 0.5, 0.3], column(-1.3, 0.1, 0.8), 0.0), column(-1.3, 0.1, 0.8),
                     [0.2, 0.5, 0.3]),
    "triangle": (GaussianMixture(TRIANGLE_WEIGHTS, TRIANGLE, 0.0), TRIANGLE, TRIANGLE_WEIGHTS),
    "normal": (GaussianMixture([1.0], [[0.0]], 0.8), *normal_data(0.8)),
}
every_data = pytest.mark.parametrize("data", EXACT)


def data_nodes(data, name, t):
    mixture, points, weights = EXACT[data]
    return mixture, *nodes(name, t, points, weights)


# --- the three coordinates: x_0, the noise, the mean


@pytest.mark.claim("x0-from-epsilon")
@every_case
def test_x0_from_eps_undoes_t_single_steps(name, t):
    for x0 in (randn(3), randn(4, 2), randn(2, 1, 3, 3)):
        xt, eps = walk(name, t, x0)
        close(x0_from_eps(xt, eps, t, SCHEDULES[name]), x0)


@pytest.mark.claim("x0-from-epsilon")
@every_case
def test_x0_from_eps_is_the_jump_solved_for_x0(name, t):
    x0, xt, eps, abar = sympy.symbols("x0 xt eps abar", positive=True)
    (solution,) = sympy.solve(sympy.Eq(xt, sympy.sqrt(abar) * x0 + sympy.sqrt(1 - abar) * eps), x0)
    stated = (xt - sympy.sqrt(1 - abar) * eps) / sympy.sqrt(abar)
    assert sympy.simplify(solution - stated) == 0
    at = sympy.lambdify((xt, eps, abar), solution, "math")
    close(x0_from_eps(column(1.2), column(-0.4), t, SCHEDULES[name]), [[at(1.2, -0.4, jump(name, t)[0] ** 2)]])


@pytest.mark.claim("x0-from-epsilon")
@every_case_past_1
def test_the_outer_factor_of_x0_undoes_all_steps_and_not_only_the_last(name, t):
    factor = x0_from_eps(column(1.0), column(0.0), t, SCHEDULES[name]).item()
    close(factor, 1 / math.prod(math.sqrt(1 - b) for b in BETAS[name][:t]))
    assert factor > 1.01 / math.sqrt(1 - BETAS[name][t - 1])


@pytest.mark.claim("x0-from-epsilon")
@pytest.mark.parametrize("name, t", [("register", 3), AT_5, ("uneven", 8), ("linear", 500)])
def test_with_the_predicted_noise_it_is_the_prediction_of_x0(name, t):
    """For data +-1 the best prediction is known in closed form: tanh(signal * x / var)."""
    (signal, var), xt = jump(name, t), column(-2.0, -0.3, 0.0, 0.1, 1.5)
    eps_hat = (xt - signal * (signal * xt / var).tanh()) / math.sqrt(var)
    close(x0_from_eps(xt, eps_hat, t, SCHEDULES[name]), (signal * xt / var).tanh())
    close(x0_from_eps(xt, SIGNS.denoiser(SCHEDULES[name])(xt, t), t, SCHEDULES[name]), (signal * xt / var).tanh())


@pytest.mark.claim("epsilon-from-x0")
@every_case
def test_eps_from_x0_is_the_noise_of_t_single_steps(name, t):
    for x0 in (randn(3), randn(4, 2), randn(2, 1, 3, 3)):
        xt, eps = walk(name, t, x0)
        close(eps_from_x0(xt, x0, t, SCHEDULES[name]), eps, rtol=1e-9, atol=1e-12 / math.sqrt(jump(name, t)[1]))


@pytest.mark.claim("epsilon-from-x0")
@every_case
def test_the_two_factors_of_eps(name, t):
    (signal, var), one, none = jump(name, t), column(1.0), column(0.0)
    close(eps_from_x0(one, none, t, SCHEDULES[name]), [[1 / math.sqrt(var)]])
    close(eps_from_x0(none, one, t, SCHEDULES[name]), [[-signal / math.sqrt(var)]])


@pytest.mark.claim("epsilon-from-x0")
def test_eps_needs_t_of_at_least_1():
    with pytest.raises(ValueError, match="t must"):
        eps_from_x0(column(1.0), column(1.0), 0, REGISTER)


@pytest.mark.claim("predictor-equivalence")
@every_case
@pytest.mark.parametrize("wanted, known", MAPS, ids=[f"{w}_from_{k}" for w, k in MAPS])
def test_one_of_the_three_gives_the_other_two(wanted, known, name, t):
    x0 = randn(3, 2)
    xt, eps = walk(name, t, x0)
    truth = {"x0": x0, "eps": eps, "mean": posterior(name, t, xt, x0)[0]}
    rounding = 1e-13 / min(abs(jump(name, t)[0]), BETAS[name][t - 1])  # what the weakest of the weights lets through
    close(MAPS[wanted, known](xt, truth[known], t, SCHEDULES[name]), truth[wanted], rtol=1e-10, atol=10 * rounding)


@pytest.mark.claim("predictor-equivalence")
@every_case
def test_all_six_conversions_round_trip_for_any_prediction(name, t):
    xt, anything, schedule = randn(4, 3), randn(4, 3, seed=1), SCHEDULES[name]
    for wanted, known in MAPS:
        there = MAPS[wanted, known](xt, anything, t, schedule)
        close(MAPS[known, wanted](xt, there, t, schedule), anything, atol=1e-10)
    for a, b, c in product(("mean", "x0", "eps"), repeat=3):
        if len({a, b, c}) == 3:
            around = MAPS[b, a](xt, anything, t, schedule)
            around = MAPS[a, c](xt, MAPS[c, b](xt, around, t, schedule), t, schedule)
            close(around, anything, atol=1e-10)


@pytest.mark.claim("predictor-equivalence")
@every_case
def test_the_maps_are_affine_with_weights_that_are_not_zero(name, t):
    xt, u, v = randn(5), randn(5, seed=1), randn(5, seed=2)
    for f in MAPS.values():
        through = [f(xt, x, t, SCHEDULES[name]) for x in (u, v, 0.25 * u + 0.75 * v)]
        close(through[2], 0.25 * through[0] + 0.75 * through[1])
    at_0, at_1 = column(0.0), column(1.0)
    weight_x0 = posterior(name, t, 0.0, 1.0)[0]  # from conditioning; the other by way of x_0 = -std / signal * eps
    signal, var = jump(name, t)
    assert weight_x0 > 1e-5
    close(mean_from_x0(at_0, at_1, t, SCHEDULES[name]), [[weight_x0]])
    close(mean_from_eps(at_0, at_1, t, SCHEDULES[name]), [[-weight_x0 * math.sqrt(var) / signal]])


@pytest.mark.claim("predictor-equivalence")
def test_x0_from_eps_loses_digits_where_alpha_bar_is_tiny():
    """The note of the claim: in float32 the rounding of eps is magnified by 1/sqrt(abar_t), 157 at t = 1000."""
    x0, eps, schedule = randn(20_000), randn(20_000, seed=1), SCHEDULES["linear"]

    def error(t):
        xt = q_sample(x0, t, schedule, noise=eps)
        return (x0_from_eps(xt.float(), eps.float(), t, schedule) - x0).square().mean().sqrt().item()

    assert error(1000) / error(1) > 0.2 * jump("linear", 1)[0] / jump("linear", 1000)[0] > 30
    xt = q_sample(x0, 1000, schedule, noise=eps)
    close(x0_from_eps(xt, eps, 1000, schedule), x0, rtol=0, atol=1e-12)  # float64 has digits to spare


# --- what a network's prediction becomes


@pytest.mark.claim("equal-variance-choice")
@every_case_past_1
def test_any_fixed_variance_leaves_the_distance_of_the_means_and_a_constant(name, t):
    d, xt, x0, mu = 3, randn(4, 3), randn(4, 3, seed=1), randn(4, 3, seed=2).requires_grad_()
    q_mean, q_var = posterior(name, t, xt, x0)
    assert_close(posterior_mean_var(xt, x0, t, SCHEDULES[name])[1].item(), q_var, rtol=1e-9, atol=0)
    for var in (q_var, BETAS[name][t - 1], 0.01, 3.0):
        kl = kl_gaussian(*posterior_mean_var(xt, x0, t, SCHEDULES[name]), mu, var)
        rest = kl - (q_mean - mu).square().sum(1) / (2 * var)
        close(rest.detach(), [d / 2 * (q_var / var - 1 + math.log(var / q_var))] * 4, rtol=1e-8, atol=1e-8)
        slope = torch.autograd.grad(kl.sum(), mu)[0]
        close(slope, (mu - q_mean).detach() / var)  # zero at the posterior mean, for every variance


@pytest.mark.claim("mean-predictor")
@every_case
def test_a_predicted_mean_is_used_as_it_is_with_the_variance_of_the_posterior(name, t):
    xt, mu, z = randn(4, 2), randn(4, 2, seed=1), randn(4, 2, seed=2)
    step = p_step(lambda x, t: mu, xt, t, SCHEDULES[name], predicts="mean", noise=z)
    close(step, mu + math.sqrt(max(posterior(name, t, 0.0, 0.0)[1], 0.0)) * z, rtol=1e-9)


@pytest.mark.claim("x0-predictor-parameterization")
@every_case
def test_a_predicted_x0_takes_the_place_of_x0_in_the_posterior_mean(name, t):
    xt, x0_hat = randn(4, 2), randn(4, 2, seed=1)
    close(mean_from_x0(xt, x0_hat, t, SCHEDULES[name]), posterior(name, t, xt, x0_hat)[0])
    step = p_step(lambda x, t: x0_hat, xt, t, SCHEDULES[name], predicts="x0", noise=torch.zeros(4, 2))
    close(step, posterior(name, t, xt, x0_hat)[0])


@pytest.mark.claim("epsilon-predictor-parameterization")
@every_case
def test_a_predicted_noise_takes_the_place_of_the_noise_in_the_posterior_mean(name, t):
    xt, eps_hat = randn(4, 2), randn(4, 2, seed=1)
    signal, var = jump(name, t)
    mean = posterior(name, t, xt, (xt - math.sqrt(var) * eps_hat) / signal)[0]  # option 2 at the x_0 that eps implies
    close(mean_from_eps(xt, eps_hat, t, SCHEDULES[name]), mean)
    close(p_step(lambda x, t: eps_hat, xt, t, SCHEDULES[name], noise=torch.zeros(4, 2)), mean)


def bayes_on_a_grid(name, t, xt, x0):
    """E[x_{t-1} | x_t, x_0], t >= 2: prior q(x_{t-1} | x_0) times likelihood q(x_t | x_{t-1}), summed on a grid."""
    (signal, var), beta = jump(name, t - 1), BETAS[name][t - 1]
    grid = torch.linspace(-12, 12, 48_001, dtype=torch.float64)
    log_joint = log_normal(grid, signal * x0, var) + log_normal(xt, math.sqrt(1 - beta) * grid, beta)
    return (log_joint.softmax(0) * grid).sum().item()


@pytest.mark.erratum("000:1081")
@pytest.mark.parametrize("name, t", [("register", 2), AT_5, ("register", 10), ("uneven", 3)])
def test_000_1081_roots_in_the_denominators_of_the_x0_form(name, t):
    (s_prev, v_prev), (_, v), alpha, xt, x0_hat = jump(name, t - 1), jump(name, t), 1 - BETAS[name][t - 1], 1.2, 0.2
    printed = math.sqrt(alpha) * v_prev / math.sqrt(v) * xt + s_prev * (1 - alpha) / math.sqrt(v) * x0_hat
    correct = math.sqrt(alpha) * v_prev / v * xt + s_prev * (1 - alpha) / v * x0_hat
    truth = bayes_on_a_grid(name, t, xt, x0_hat)
    close(correct, truth)
    close(mean_from_x0(column(xt), column(x0_hat), t, SCHEDULES[name]), [[truth]])
    close(printed, math.sqrt(v) * truth)  # too small by the missing 1/sqrt(1 - abar_t), least so at t = T
    assert printed < (0.99 if t == 10 else 0.9) * truth
    if (name, t) == AT_5:
        assert (f"{printed:.5f}", f"{correct:.5f}") == ("0.63005", "0.83899")


@pytest.mark.erratum("000:1081")
def test_000_1081_at_t_1_the_print_does_not_return_x0():
    printed = 0.0 + math.sqrt(1.0) * 0.05 / math.sqrt(0.05) * 0.7
    assert abs(printed - 0.7) > 0.5 and mean_from_x0(column(1.2), column(0.7), 1, REGISTER).item() == 0.7


@pytest.mark.erratum("000:1091")
@pytest.mark.parametrize("name, t", [("register", 2), AT_5, ("register", 10), ("uneven", 3)])
def test_000_1091_alpha_bar_in_the_outer_factor_of_the_noise_form(name, t):
    (signal, var), alpha, xt, eps = jump(name, t), 1 - BETAS[name][t - 1], 1.2, 0.1
    printed = 1 / signal * (xt - (1 - alpha) / math.sqrt(var) * eps)
    correct = 1 / math.sqrt(alpha) * (xt - (1 - alpha) / math.sqrt(var) * eps)
    truth = bayes_on_a_grid(name, t, xt, (xt - math.sqrt(var) * eps) / signal)
    close(correct, truth)
    close(mean_from_eps(column(xt), column(eps), t, SCHEDULES[name]), [[truth]])
    assert printed > 1.01 * truth
    if (name, t) == AT_5:
        assert (f"{printed:.4f}", f"{correct:.4f}") == ("1.7668", "1.3472")


@pytest.mark.erratum("000:1091")
def test_000_1091_the_print_is_right_at_t_1_only_and_then_runs_away():
    """What a sampler that believes the print does to x_T = 1 with no noise predicted or added: the factors pile up."""
    assert jump("register", 1)[0] == math.sqrt(1 - 0.05)  # abar_1 = alpha_1
    x, printed = column(1.0), 1.0
    for t in range(10, 0, -1):
        x = p_step(lambda xt, t: 0 * xt, x, t, REGISTER, noise=column(0.0))
        printed = 1 / jump("register", t)[0] * (printed - 0.0)
    close(x, [[1 / jump("register", 10)[0]]])  # the signal's own size
    assert printed > 50 * x.item()


# --- the best predictors are conditional means


@pytest.mark.claim("x0-predictor-is-conditional-mean")
@every_case
def test_e_x0_given_xt_of_signs_is_a_tanh(name, t):
    (signal, var), xt = jump(name, t), column(-2.5, -1.0, -0.2, 0.0, 0.3, 1.7)
    close(SIGNS.posterior_mean(xt, t, SCHEDULES[name]), (signal * xt / var).tanh(), rtol=1e-9)


@pytest.mark.claim("x0-predictor-is-conditional-mean")
@pytest.mark.parametrize("name, t", [("register", 3), AT_5, ("uneven", 8)])
@every_data
def test_every_other_predictor_of_x0_pays_the_mean_square_of_its_difference(data, name, t):
    """So the conditional mean is the minimiser over all functions, whatever the perturbation."""
    mixture, x0, _, xt, w = data_nodes(data, name, t)
    best = mixture.posterior_mean(xt, t, SCHEDULES[name])
    least = (w * (best - x0) ** 2).sum()
    for change in (0.1 * xt, xt.sin(), 0.05 + 0 * xt, -0.3 * best, xt.flip(1) ** 2):
        close((w * (best + change - x0) ** 2).sum(), least + (w * change**2).sum())
        assert (w * change**2).sum() > 1e-4


@pytest.mark.claim("x0-predictor-is-conditional-mean")
@pytest.mark.parametrize("name, t", [("register", 3), AT_5, ("uneven", 8)])
@every_data
def test_the_least_error_is_the_mean_variance_of_x0_given_xt(data, name, t):
    """E tr Cov(x_0 | x_t): by Bayes' weights over the data points, by a closed form for the normal."""
    mixture, x0, _, xt, w = data_nodes(data, name, t)
    signal, var = jump(name, t)
    _, points, weights = EXACT[data]
    if data == "normal":
        trace = 0.64 * var / (0.64 * signal**2 + var)
    else:
        likelihood = log_normal(xt[:, None], signal * points, var).sum(2)  # (rows, K)
        r = (likelihood + torch.as_tensor(weights, dtype=torch.float64).log()).softmax(1)
        trace = (w[:, 0] * (r @ points.square().sum(1) - (r @ points).square().sum(1))).sum()
    close((w * (mixture.posterior_mean(xt, t, SCHEDULES[name]) - x0) ** 2).sum(), trace)
    assert trace > 0.01  # in general not 0
    mean, cov = mixture.reverse_moments(xt, 1, Schedule([var]))  # at t = 1 these are E and Cov of x_0 given x_1
    close(mean, mixture.posterior_mean(xt, t, SCHEDULES[name]))
    close((w[:, 0] * cov.diagonal(dim1=1, dim2=2).sum(1)).sum(), trace)


@pytest.mark.claim("x0-predictor-is-conditional-mean")
def test_regression_on_a_sample_finds_the_conditional_mean():
    """Least squares with one constant per cell of x_5; 5 standard errors per cell."""
    generator = torch.Generator().manual_seed(1)
    x0 = SIGNS.sample(400_000, generator).double()
    xt = q_sample(x0, 5, REGISTER, generator=generator)
    edges = torch.linspace(-2.4, 2.4, 25, dtype=torch.float64)
    signal, var = jump("register", 5)
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        x = torch.linspace(low, high, 201, dtype=torch.float64)
        density = log_normal(x, signal, var).exp() + log_normal(x, -signal, var).exp()
        expected = torch.trapezoid(density * (signal * x / var).tanh(), x) / torch.trapezoid(density, x)
        found = x0[(xt >= low) & (xt < high)]
        assert abs(found.mean() - expected) < 5 * ((1 - expected**2) / len(found)) ** 0.5 + 1e-4


@pytest.mark.claim("x0-predictor-is-conditional-mean")
@pytest.mark.parametrize("predicts", ["x0", "eps"])
def test_the_packages_loss_reaches_the_least_error_and_no_less(predicts):
    """20000 draws at t = 5; 5 standard errors. For data +-1 the squared errors have a known mean by quadrature."""
    mixture, x0, eps, xt, w = data_nodes("signs", *AT_5)
    signal, var = jump(*AT_5)
    x0_hat = (signal * xt / var).tanh()
    square = (x0_hat - x0) ** 2 * (1 if predicts == "x0" else signal**2 / var)
    least = (w * square).sum()
    error = ((w * square**2).sum() - least**2).sqrt() / 20_000**0.5
    generator = torch.Generator().manual_seed(2)
    data = SIGNS.sample(20_000, generator).double()
    loss = simple_loss(SIGNS.denoiser(REGISTER, predicts), data, REGISTER, t=5, predicts=predicts, generator=generator)
    assert abs(loss - least) < 5 * error


@pytest.mark.claim("mean-is-not-most-likely")
@every_case
def test_half_way_between_two_points_the_mean_is_no_point(name, t):
    mean = SIGNS.posterior_mean(column(0.0), t, SCHEDULES[name])
    signal, var = jump(name, t)
    likelihood = log_normal(0.0, signal * column(-1.0, 1.0), var)
    assert mean.item() == 0 and likelihood[0] == likelihood[1]  # x_0 = -1 and 1 are equally likely, 0 is impossible


@pytest.mark.claim("mean-is-not-most-likely")
def test_the_sampled_x0_behind_an_xt_near_0_are_never_near_their_mean():
    generator = torch.Generator().manual_seed(3)
    x0 = SIGNS.sample(400_000, generator).double()
    behind = x0[q_sample(x0, 5, REGISTER, generator=generator).abs() < 0.02]
    assert len(behind) > 1000 and (behind.abs() == 1).all()
    assert abs(behind.mean()) < 5 / len(behind) ** 0.5


@pytest.mark.claim("mean-is-not-most-likely")
def test_the_density_of_x0_given_xt_is_tiny_at_its_mean_and_the_mode_is_elsewhere():
    data = GaussianMixture([0.6, 0.4], column(-1.0, 1.5), 0.1)
    (signal, var), xt = jump("register", 7), column(0.1)
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)[:, None]
    log_post = data.log_prob(grid) + log_normal(xt[0], signal * grid[:, 0], var)
    post = log_post.softmax(0)
    mean = data.posterior_mean(xt, 7, REGISTER).item()
    close(mean, (post @ grid).item(), rtol=1e-9)
    at_mean, mode = post[(grid[:, 0] - mean).abs().argmin()], grid[post.argmax(), 0]
    assert at_mean < 1e-3 * post.max() and abs(mode - mean) > 0.5


@pytest.mark.claim("many-x0-per-xt")
@pytest.mark.parametrize("name, t", [("register", 4), AT_5, ("register", 10), ("uneven", 3), ("linear", 500)])
def test_every_data_point_has_a_positive_probability_behind_any_xt(name, t):
    """Points that are affinely independent: the barycentric coordinates of E[x_0 | x_t] are the probabilities."""
    points = torch.cat([torch.zeros(1, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)]) + 0.1 * randn(5, 4)
    weights = torch.tensor([0.1, 0.3, 0.15, 0.25, 0.2], dtype=torch.float64)
    mean = GaussianMixture(weights, points, 0.0).posterior_mean(xt := 1.5 * randn(20, 4, seed=1), t, SCHEDULES[name])
    corners = torch.cat([points.T, torch.ones(1, 5, dtype=torch.float64)])
    found = torch.linalg.solve(corners, torch.cat([mean.T, torch.ones(1, 20, dtype=torch.float64)])).T  # (20, 5)
    signal, var = jump(name, t)
    joint = weights * log_normal(xt[:, None], signal * points, var).sum(2).exp()
    assert (joint > 0).all()
    close(found, joint / joint.sum(1, keepdim=True), rtol=1e-8)


@pytest.mark.claim("many-x0-per-xt")
@every_case
def test_any_x0_reaches_a_given_xt_with_some_noise(name, t):
    x0, xt = randn(6, 3), randn(1, 3, seed=1).expand(6, 3)
    eps = eps_from_x0(xt, x0, t, SCHEDULES[name])
    assert eps.isfinite().all() and torch.pdist(x0).min() > 0.1
    close(q_sample(x0, t, SCHEDULES[name], noise=eps), xt)


@pytest.mark.claim("noise-predictor-is-conditional-mean")
@pytest.mark.parametrize("name, t", [("register", 3), AT_5, ("uneven", 8), ("linear", 500)])
@every_data
def test_every_other_predictor_of_the_noise_pays_the_mean_square_of_its_difference(data, name, t):
    mixture, x0, eps, xt, w = data_nodes(data, name, t)
    best = mixture.denoiser(SCHEDULES[name])(xt, torch.full((len(xt),), t))
    least = (w * (best - eps) ** 2).sum()
    for change in (0.1 * xt, xt.cos(), -0.3 * best):
        close((w * (best + change - eps) ** 2).sum(), least + (w * change**2).sum())
    signal, var = jump(name, t)
    x0_hat = mixture.posterior_mean(xt, t, SCHEDULES[name])
    close(best, (xt - signal * x0_hat) / math.sqrt(var))
    close(least, signal**2 / var * (w * (x0_hat - x0) ** 2).sum(), atol=1e-10)
    assert least > 0.01
    assert (best - eps).abs().max() > 0.5  # not the noise that was drawn


@pytest.mark.claim("noise-predictor-is-conditional-mean")
def test_the_least_noise_loss_of_signs_at_t_5_is_0_4090():
    mixture, _, eps, xt, w = data_nodes("signs", *AT_5)
    assert f"{(w * (mixture.denoiser(REGISTER)(xt, 5) - eps) ** 2).sum():.4f}" == "0.4090"


@pytest.mark.claim("noise-predictor-is-conditional-mean")
@every_case
def test_for_standard_normal_data_the_best_noise_is_linear_and_its_loss_is_alpha_bar(name, t):
    (signal, var), data = jump(name, t), GaussianMixture([1.0], [[0.0]], 1.0)
    _, eps, xt, w = nodes(name, t, *normal_data(1.0))
    best = data.denoiser(SCHEDULES[name])(xt, t)
    close(best, math.sqrt(var) * xt)
    close((w * (best - eps) ** 2).sum(), signal**2)


@pytest.mark.claim("noise-predictor-is-conditional-mean")
@every_case
def test_the_loss_reaches_0_only_where_xt_tells_x0(name, t):
    point = GaussianMixture([1.0], [[0.3, -0.7]], 0.0)
    x0 = point.means.expand(50, 2)
    loss = simple_loss(point.denoiser(SCHEDULES[name]), x0, SCHEDULES[name], t=t, noise=randn(50, 2))
    assert loss < 1e-24


# --- what a predictor may see


@pytest.mark.claim("mu-theta-sees-xt-only")
@every_case
@pytest.mark.parametrize("predicts", ["eps", "x0", "mean"])
def test_two_pairs_with_the_same_xt_give_the_same_mean(predicts, name, t):
    """... whereas the posterior mean, which sees x_0, tells them apart."""
    schedule, x0, other, eps = SCHEDULES[name], randn(4, 2), randn(4, 2, seed=1), randn(4, 2, seed=2)
    xt = q_sample(x0, t, schedule, noise=eps)
    same = q_sample(other, t, schedule, noise=eps_from_x0(xt, other, t, schedule))
    close(same, xt)
    denoiser = GaussianMixture(TRIANGLE_WEIGHTS, TRIANGLE, 0.1).denoiser(schedule, predicts)
    mu, mu_same = (p_step(denoiser, x, t, schedule, predicts=predicts, noise=torch.zeros(4, 2)) for x in (xt, same))
    close(mu_same, mu, rtol=1e-8)
    apart = mean_from_x0(xt, x0, t, schedule) - mean_from_x0(same, other, t, schedule)
    close(apart, posterior(name, t, 0.0, 1.0)[0] * (x0 - other), atol=1e-9)
    assert apart.abs().max() > 1e-5


@pytest.mark.claim("mu-theta-sees-xt-only")
def test_the_package_hands_a_network_xt_and_t_and_nothing_else():
    calls = []

    def network(*args, **kwargs):
        calls.append((args, kwargs))
        return torch.zeros_like(args[0])

    x0, eps = randn(4, 2), randn(4, 2, seed=1)
    simple_loss(network, x0, REGISTER, t=5, noise=eps)
    close(calls[0][0][0], jump(*AT_5)[0] * x0 + math.sqrt(jump(*AT_5)[1]) * eps)
    p_step(network, x0, 5, REGISTER)
    for bound in (elbo_terms, elbo_consistency):
        bound(network, x0, REGISTER)
    assert len(calls) == 2 + 2 * REGISTER.T
    for args, kwargs in calls:
        assert len(args) == 2 and not kwargs and args[1].dtype == torch.int64 and args[0].shape == (4, 2)


@pytest.mark.claim("predictor-needs-time")
def test_the_same_x_asks_for_another_noise_at_another_t():
    data, x = GaussianMixture([1.0], [[0.0]], 1.0), column(-1.4, 0.6, 2.0)
    for name, times in (("register", (1, 5, 10)), ("linear", (10, 200, 1000))):
        answers = [data.denoiser(SCHEDULES[name])(x, t) for t in times]
        for t, answer in zip(times, answers, strict=True):
            close(answer, math.sqrt(jump(name, t)[1]) * x)
        assert min((a - b).abs().min() for a, b in zip(answers, answers[1:], strict=False)) > 0.1


@pytest.mark.claim("predictor-needs-time")
@pytest.mark.parametrize("name", ["register", "uneven"])
def test_the_best_time_blind_predictor_of_normal_data_loses_the_variance_of_its_slope(name):
    """x_t ~ N(0, 1) at every t, so the best function of x alone is the mean slope times x."""
    data, T = GaussianMixture([1.0], [[0.0]], 1.0), len(BETAS[name])
    slopes = torch.tensor([math.sqrt(jump(name, t)[1]) for t in range(1, T + 1)], dtype=torch.float64)
    aware = blind = 0.0
    for t in range(1, T + 1):
        _, eps, xt, w = nodes(name, t, *normal_data(1.0))
        aware += (w * (data.denoiser(SCHEDULES[name])(xt, t) - eps) ** 2).sum() / T
        blind += (w * (slopes.mean() * xt - eps) ** 2).sum() / T
    close(blind - aware, slopes.var(correction=0))
    assert blind > aware + 0.01


@pytest.mark.claim("predictor-needs-time")
@pytest.mark.parametrize("name", ["register", "uneven"])
def test_the_best_time_blind_predictor_of_signs_has_a_larger_loss(name):
    T = len(BETAS[name])

    def time_blind(x):  # E[eps | x] when t is drawn too: the densities of x under each (x_0, t) are the weights
        log_w, eps = [], []
        for t, sign in product(range(1, T + 1), (-1.0, 1.0)):
            signal, var = jump(name, t)
            log_w.append(log_normal(x, sign * signal, var))
            eps.append((x - sign * signal) / math.sqrt(var))
        return (torch.stack(log_w).softmax(0) * torch.stack(eps)).sum(0)

    aware = blind = shifted = 0.0
    for t in range(1, T + 1):
        mixture, _, eps, xt, w = data_nodes("signs", name, t)
        aware += (w * (mixture.denoiser(SCHEDULES[name])(xt, t) - eps) ** 2).sum() / T
        blind += (w * (time_blind(xt) - eps) ** 2).sum() / T
        shifted += (w * (1.05 * time_blind(xt) - eps) ** 2).sum() / T
    assert aware + 0.01 < blind < shifted


# --- how well x_0 is known on the way


def least_error(data, name, t):
    """E |x_0 - E[x_0 | x_t]|^2 with the package's exact predictor, by quadrature."""
    mixture, x0, _, xt, w = data_nodes(data, name, t)
    return (w * (mixture.posterior_mean(xt, t, SCHEDULES[name]) - x0) ** 2).sum().item()


@pytest.mark.claim("refinement-view")
def test_the_least_errors_of_signs_are_the_registers():
    errors = [f"{least_error('signs', 'register', t):.3f}" for t in range(1, 11)]
    assert errors == "0.000 0.023 0.153 0.344 0.529 0.682 0.798 0.880 0.934 0.967".split()


@pytest.mark.claim("refinement-view")
@pytest.mark.parametrize("name", BETAS)
@every_data
def test_x0_is_known_better_and_better_as_t_falls(data, name):
    T = len(BETAS[name])
    errors = [least_error(data, name, t) for t in (range(1, T + 1) if T < 100 else (100, 200, 350, 600, 999, 1000))]
    assert all(later >= earlier - 1e-12 for earlier, later in zip(errors, errors[1:], strict=False))
    assert errors[-1] > 2 * errors[0]
    _, points, weights = EXACT[data]
    weights = torch.as_tensor(weights, dtype=torch.float64)[:, None]
    spread = (weights * (points - (weights * points).sum(0)) ** 2).sum()
    assert errors[-1] <= spread  # never worse than a guess that has not looked


@pytest.mark.claim("refinement-view")
@pytest.mark.parametrize("seed", range(3))
def test_x0_is_known_better_as_t_falls_for_any_finite_data_set(seed):
    """Random points, weights and dimension; the error by quadrature over the noise of every point."""
    d = 1 + seed % 2
    points, weights = randn(4, d, seed=seed), torch.rand(4, generator=torch.Generator().manual_seed(seed)).double()
    data = GaussianMixture(weights := weights / weights.sum(), points, 0.0)
    errors = []
    for t in range(1, 9):
        x0, _, xt, w = nodes("uneven", t, points, weights)
        errors.append((w * (data.posterior_mean(xt, t, SCHEDULES["uneven"]) - x0) ** 2).sum().item())
    assert all(later > earlier for earlier, later in zip(errors, errors[1:], strict=False))


# --- the variance that makes the bound least


def best_variance(mixture, points, weights, name, t):
    """The sigma^2 where the KL of L_{t-1}, averaged over x_0 and x_t, has slope 0, with the exact mean."""
    x0, _, xt, w = nodes(name, t, points, weights)
    mu, (q_mean, q_var) = mixture.denoiser(SCHEDULES[name], "mean")(xt, t), posterior(name, t, xt, x0)

    def slope(sigma_squared):
        var = torch.tensor(sigma_squared, dtype=torch.float64, requires_grad=True)
        (w[:, 0] * kl_gaussian(q_mean, q_var, mu, var)).sum().backward()
        return var.grad.item()

    return brentq(slope, q_var / 3, 20.0, xtol=1e-13, rtol=1e-13)


def normal_and_nodes(std):
    return GaussianMixture([1.0], [[0.0]], std), *(normal_data(std) if std else (column(0.0), [1.0]))


@pytest.mark.claim("optimal-sigma-beta-for-gaussian-data")
@pytest.mark.parametrize("name, t", [("register", 2), AT_5, ("uneven", 7)])
@every_data
def test_the_best_variance_is_beta_tilde_and_the_weighted_spread_of_x0(data, name, t):
    mixture, points, weights = EXACT[data]
    beta_tilde, weight_x0 = posterior(name, t, 0.0, 0.0)[1], posterior(name, t, 0.0, 1.0)[0]
    stated = beta_tilde + weight_x0**2 * least_error(data, name, t) / points.shape[1]
    close(best_variance(*EXACT[data], name, t), stated, rtol=1e-9)
    _, _, xt, w = nodes(name, t, points, weights)
    cov = mixture.reverse_moments(xt, t, SCHEDULES[name])[1]  # what the package says of the true reverse kernel
    close((w[:, 0] * cov.diagonal(dim1=1, dim2=2).mean(1)).sum(), stated)


@pytest.mark.claim("optimal-sigma-beta-for-gaussian-data")
def test_the_registers_best_variances_at_t_5():
    best = [best_variance(*normal_and_nodes(std), *AT_5) for std in (0.0, 0.5, 1.0, 2.0)]
    assert [f"{v:.4f}" for v in best] == ["0.1856", "0.2095", "0.2500", "0.2972"]
    wide = GaussianMixture([0.5, 0.5], column(-2.0, 2.0), 0.0)  # larger variance, and still below beta
    assert f"{best_variance(wide, column(-2.0, 2.0), [0.5, 0.5], *AT_5):.4f}" == "0.2393"


@pytest.mark.claim("optimal-sigma-beta-for-gaussian-data")
@pytest.mark.parametrize("name, t", PAST_1)
def test_the_best_variance_is_beta_for_standard_normal_data_and_beta_tilde_for_a_point(name, t):
    at = SCHEDULES[name]
    close(best_variance(*normal_and_nodes(1.0), name, t), BETAS[name][t - 1], rtol=1e-8)
    close(best_variance(*normal_and_nodes(0.0), name, t), at.sigma("posterior")[t].item() ** 2, rtol=1e-8)
    assert best_variance(*normal_and_nodes(1.5), name, t) > BETAS[name][t - 1] * (1 + 1e-7)  # wider normal data


@pytest.mark.claim("optimal-sigma-beta-for-gaussian-data")
@pytest.mark.parametrize("d", [1, 2])
def test_the_best_variance_lies_between_the_two_for_data_of_at_most_unit_mean_square(d):
    for seed, (name, t) in product(range(4), [("register", 3), AT_5, ("uneven", 7)]):
        points = randn(3, d, seed=seed)
        points = points / points.square().mean().sqrt() * (1.0, 0.9, 0.6, 0.3)[seed]
        mixture = GaussianMixture([1 / 3] * 3, points, 0.0)
        best = best_variance(mixture, points, [1 / 3] * 3, name, t)
        assert posterior(name, t, 0.0, 0.0)[1] < best < BETAS[name][t - 1]
