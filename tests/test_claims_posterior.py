"""The posterior q(x_{t-1} | x_t, x_0): nine claims and eighteen errata against Bayes' rule on a grid.

The grid knows two things only: one forward step N(sqrt(1 - beta_t) x_{t-1}, beta_t), and the law of x_{t-1} given x_0,
which it builds by repeating that step. Everything else (three densities, completed squares, weights) must agree.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.integrate import quad
from scipy.stats import norm

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    constant_schedule,
    cosine_schedule,
    linear_schedule,
    mean_from_eps,
    mean_from_x0,
    posterior_mean_var,
    q_mean_var,
    q_step,
    quadratic_schedule,
)

BETA = {
    "register": 0.05 * np.arange(1, 11),  # the schedule of the register's numbers
    "uneven": np.array([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14]),
    "linear": np.linspace(1e-4, 0.02, 1000),
}
SMALL_LAST_STEP = (1e-2, 1e-3, 1e-4)
BETA |= {f"then {last}": np.array([0.3, 0.2, last]) for last in SMALL_LAST_STEP}
SCHEDULE = {name: Schedule(beta) for name, beta in BETA.items()}
X = np.linspace(-8, 8, 64001)  # x_{t-1}; the narrowest posterior below has 28 points in a standard deviation


class Point(NamedTuple):
    name: str
    t: int
    x0: float
    xt: float


REGISTER = Point("register", 5, 0.7, 1.2)
SHORT = [REGISTER, Point("register", 4, -1.3, 1.6), Point("register", 9, 2.0, 1.5), Point("uneven", 4, 1.1, 2.0),
         Point("uneven", 7, 1.5, 1.9), Point("uneven", 8, -0.9, -1.4)]
LONG = [Point("register", 2, -1.3, 0.4),
        Point("linear", 2, 0.7, 0.73), Point("linear", 500, -0.4, 1.3), Point("linear", 1000, 1.0, -0.2)]
points = pytest.mark.parametrize("p", SHORT + LONG, ids=lambda p: "-".join(map(str, p)))
short_points = pytest.mark.parametrize("p", SHORT, ids=lambda p: "-".join(map(str, p)))


def tables(p):
    """alpha_t, beta_t, abar_t, abar_{t-1} as plain floats, without the package."""
    beta = BETA[p.name]
    return 1 - beta[p.t - 1], beta[p.t - 1], math.prod(1 - beta[:p.t]), math.prod(1 - beta[:p.t - 1])


def walk(name, t, mean, var):
    """Mean and variance of x_t from those of x_0, step by step."""
    for b in BETA[name][:t]:
        mean, var = math.sqrt(1 - b) * mean, (1 - b) * var + b
    return mean, var


class Grid(NamedTuple):
    density: np.ndarray  # over X
    mean: float
    var: float
    log: np.ndarray  # log density up to a constant


@functools.cache
def bayes(p, data=None):
    """Bayes' rule on the grid for x_{t-1}: given x_t and x_0, or, with data = ((weight, mean, std), ...), given x_t."""
    b = BETA[p.name][p.t - 1]
    prior = []
    for weight, mean, std in data or ((1.0, p.x0, 0.0),):
        mean, var = walk(p.name, p.t - 1, mean, std**2)
        prior.append(math.log(weight) + norm.logpdf(X, mean, math.sqrt(var)))
    log = np.logaddexp.reduce(prior) + norm.logpdf(p.xt, math.sqrt(1 - b) * X, math.sqrt(b))
    density = np.exp(log - log.max())
    density /= density.sum() * (X[1] - X[0])
    mean = (X * density).sum() * (X[1] - X[0])
    return Grid(density, mean, ((X - mean) ** 2 * density).sum() * (X[1] - X[0]), log)


def noise_of(p):
    """The eps that carries x_0 to x_t."""
    mean, var = walk(p.name, p.t, p.x0, 0.0)
    return (p.xt - mean) / math.sqrt(var)


def column(x):
    return torch.tensor([[x]], dtype=torch.float64)


def package(p):
    mean, var = posterior_mean_var(column(p.xt), column(p.x0), p.t, SCHEDULE[p.name])
    return mean.item(), var.item()


def close(value, wanted):
    assert value == pytest.approx(wanted, rel=1e-9, abs=1e-11)


# Symbols: A^2 = alpha_t and B^2 = abar_{t-1}, so that every root is a plain letter; x, y, z = x_{t-1}, x_t, x_0.
A, B = sp.symbols("A B", positive=True)
x, y, z = sp.symbols("x y z", real=True)
b = 1 - A**2
ab, abp = A**2 * B**2, B**2
MU, BTILDE = (A * (1 - abp) * y + B * b * z) / (1 - ab), (1 - abp) * b / (1 - ab)
THREE = (y - A * x) ** 2 / b + (x - B * z) ** 2 / (1 - abp) - (y - A * B * z) ** 2 / (1 - ab)


def same(left, right):
    return sp.cancel(sp.together(left - right)) == 0


# --- Bayes' rule ---

@pytest.mark.claim("posterior-bayes")
@points
def test_bayes_rule_gives_a_density_and_it_is_the_posterior(p):
    """Built from the package's own step and jump; the grid is not used."""
    schedule, (mean, var) = SCHEDULE[p.name], package(p)
    root = q_step(column(1.0), p.t, schedule, noise=column(0.0)).item()
    spread = q_step(column(0.0), p.t, schedule, noise=column(1.0)).item()
    prior, evidence = ([v.item() for v in q_mean_var(column(p.x0), t, schedule)] for t in (p.t - 1, p.t))

    def right_side(x):
        log = norm.logpdf(p.xt, root * x, spread) + norm.logpdf(x, prior[0], prior[1] ** 0.5)
        return math.exp(log - norm.logpdf(p.xt, evidence[0], evidence[1] ** 0.5))

    sd = math.sqrt(bayes(p).var)
    for u in mean + sd * np.array([-3, -0.4, 0, 1, 2.5]):
        close(right_side(u), norm.pdf(u, mean, math.sqrt(var)))
    total = quad(right_side, bayes(p).mean - 9 * sd, bayes(p).mean + 9 * sd, epsabs=0, epsrel=1e-10)[0]
    assert total == pytest.approx(1, abs=1e-8)


@pytest.mark.claim("posterior-bayes")
@pytest.mark.parametrize("s", [0.3, 1.0, 2.0])
def test_given_the_last_state_a_step_does_not_look_at_x0(s):
    """q(x_t | x_{t-1}, x_0) = q(x_t | x_{t-1}): in the regression of x_t on both, x_0 has no weight.

    Each state is a row of loads on the independent draws x_0 / s, eps_1, ..., eps_T, found by stepping unit vectors.
    """
    unit, alpha_bar, states = torch.eye(9, dtype=torch.float64), np.cumprod(1 - BETA["uneven"]), []
    states.append(s * unit[0])
    for t in range(1, 9):
        states.append(q_step(states[-1], t, SCHEDULE["uneven"], noise=unit[t]))
    states = torch.stack(states).numpy()
    for t in range(2, 9):
        weights = np.linalg.lstsq(states[[t - 1, 0]].T, states[t], rcond=None)[0]
        np.testing.assert_allclose(weights, [math.sqrt(1 - BETA["uneven"][t - 1]), 0], atol=1e-12)
        alone = np.linalg.lstsq(states[[0]].T, states[t], rcond=None)[0]
        np.testing.assert_allclose(alone, math.sqrt(alpha_bar[t - 1]), rtol=1e-10)  # without x_{t-1} it has one


@pytest.mark.claim("posterior-bayes")
@short_points
def test_the_divisor_does_not_depend_on_x_prev(p):
    mean, var = package(p)
    ratio = bayes(p).log - norm.logpdf(X, mean, math.sqrt(var))
    near = abs(X - mean) < 6 * math.sqrt(var)
    np.testing.assert_allclose(ratio[near], norm.logpdf(p.xt, *np.array(walk(p.name, p.t, p.x0, 0)) ** [1, 0.5]))


# --- the exponent ---

@pytest.mark.claim("posterior-log-density")
def test_the_three_exponents_are_one_completed_square_constant_included():
    assert same(THREE, (x - MU) ** 2 / BTILDE)
    assert same(b * (1 - abp) / (1 - ab), BTILDE)  # so 1/sqrt(2 pi) sqrt((1-abar_t)/(beta_t (1-abar_{t-1}))) is right
    assert same(A**2 * (1 - abp) + 1 - A**2, 1 - ab)


# The rows of lecture 003's derivation, from the third on: what stands after exp{-1/2 ...}.
LINEAR = A * y / b + B * z / (1 - abp)
ROWS = [
    2 * ((y - A * x) ** 2 / (2 * b) + (x - B * z) ** 2 / (2 * (1 - abp)) - (y - A * B * z) ** 2 / (2 * (1 - ab))),
    THREE,
    (-2 * A * y * x + A**2 * x**2) / b + (x**2 - 2 * B * x * z) / (1 - abp) + sp.Function("C")(y, z),
    -2 * A * y * x / b + A**2 * x**2 / b + x**2 / (1 - abp) - 2 * B * x * z / (1 - abp),
    (A**2 / b + 1 / (1 - abp)) * x**2 - 2 * LINEAR * x,
    (A**2 * (1 - abp) + 1 - A**2) / (b * (1 - abp)) * x**2 - 2 * LINEAR * x,
    (A**2 - ab + 1 - A**2) / (b * (1 - abp)) * x**2 - 2 * LINEAR * x,
    (1 - ab) / (b * (1 - abp)) * x**2 - 2 * LINEAR * x,
    (1 - ab) / (b * (1 - abp)) * (x**2 - 2 * LINEAR / ((1 - ab) / (b * (1 - abp))) * x),
    (1 - ab) / (b * (1 - abp)) * (x**2 - 2 * LINEAR * b * (1 - abp) / (1 - ab) * x),
    1 / (b * (1 - abp) / (1 - ab)) * (x**2 - 2 * (A * (1 - abp) * y + B * b * z) / (1 - ab) * x),
    (x - MU) ** 2 / BTILDE,
]


@pytest.mark.claim("posterior-log-density")
@pytest.mark.parametrize("row", range(1, len(ROWS)))
def test_each_row_differs_from_the_last_by_a_function_of_xt_and_x0_only(row):
    assert same(sp.diff(ROWS[row], x), sp.diff(ROWS[row - 1], x))


@pytest.mark.claim("posterior-log-density")
@points
def test_both_spellings_of_the_exponent_have_the_grids_log_ratios(p):
    a, b, ab, abp = tables(p)
    mean, sd = bayes(p).mean, math.sqrt(bayes(p).var)

    def three(u):
        return -((p.xt - a**0.5 * u) ** 2 / b + (u - abp**0.5 * p.x0) ** 2 / (1 - abp)) / 2

    def collected(u):
        return -((a / b + 1 / (1 - abp)) * u**2 - 2 * (a**0.5 * p.xt / b + abp**0.5 * p.x0 / (1 - abp)) * u) / 2

    package_mean, var = package(p)
    i, j = np.searchsorted(X, [mean + 1.5 * sd, mean - 0.7 * sd])
    ratio = bayes(p).log[i] - bayes(p).log[j]
    for spelling in (three, collected, lambda u: norm.logpdf(u, package_mean, var**0.5)):
        assert spelling(X[i]) - spelling(X[j]) == pytest.approx(ratio, rel=1e-8)


@pytest.mark.claim("posterior-log-density")
@points
def test_the_normalizing_constant_is_one_over_root_2_pi_beta_tilde(p):
    """With the third square as C(x_t, x_0), the bracket is 0 at its minimum, so the constant is the peak density."""
    a, b, ab, abp = tables(p)
    u, peak = bayes(p).mean, 1 / math.sqrt(2 * math.pi * SCHEDULE[p.name].beta_tilde[p.t].item())
    bracket = ((p.xt - a**0.5 * u) ** 2 / b + (u - abp**0.5 * p.x0) ** 2 / (1 - abp)
               - (p.xt - ab**0.5 * p.x0) ** 2 / (1 - ab))
    assert abs(bracket) < 1e-8
    assert bayes(p).density[np.searchsorted(X, u)] == pytest.approx(peak, rel=2e-3)  # the grid need not hold the peak
    close(1 / (np.exp(-(X - u) ** 2 / (2 * bayes(p).var)).sum() * (X[1] - X[0])), peak)


# --- a Gaussian, its variance, its mean ---

@pytest.mark.claim("posterior-is-gaussian")
@points
def test_the_gridded_posterior_is_the_gaussian_of_the_package(p):
    mean, var = package(p)
    assert abs(bayes(p).density - norm.pdf(X, mean, math.sqrt(var))).max() < 1e-8


@pytest.mark.claim("posterior-is-gaussian")
def test_it_is_isotropic_in_two_dimensions():
    """Bayes on a plane: no correlation, one variance, and each coordinate has its own mean."""
    p, x0, xt = REGISTER, np.array([0.7, -1.1]), np.array([1.2, 0.3])
    u = np.linspace(-4, 4, 401)
    signal, var = walk(p.name, 4, 1.0, 0.0)
    axes = [norm.logpdf(u, signal * x0[i], var**0.5) + norm.logpdf(xt[i], 0.75**0.5 * u, 0.5) for i in (0, 1)]
    density = np.exp(np.add.outer(*axes))
    density /= density.sum()
    mean = np.array([(density.sum(1) * u).sum(), (density.sum(0) * u).sum()])
    d0, d1 = u - mean[0], u - mean[1]
    cov = np.array([(density.sum(1) * d0**2).sum(), d0 @ density @ d1, (density.sum(0) * d1**2).sum()])
    got_mean, got_var = posterior_mean_var(torch.tensor(xt)[None], torch.tensor(x0)[None], 5, SCHEDULE[p.name])
    np.testing.assert_allclose(got_mean[0], mean, rtol=1e-9)
    np.testing.assert_allclose(cov, [got_var.item(), 0, got_var.item()], atol=1e-10)


@pytest.mark.claim("posterior-is-gaussian")
@pytest.mark.parametrize("beta_2", [0.02, 0.5, 0.98])
def test_at_t_1_it_is_a_point_mass_at_x0(beta_2):
    """Exactly; and it is the limit of t = 2 as a step put before it vanishes."""
    schedule = Schedule([beta_2, 0.3])
    mean, var = posterior_mean_var(column(1.2), column(0.7), 1, schedule)
    assert mean.item() == 0.7 and var.item() == 0
    gap = []
    for first in (1e-4, 1e-6):
        mean, var = posterior_mean_var(column(1.2), column(0.7), 2, Schedule([first, beta_2]))
        gap.append(abs(mean.item() - 0.7))
        assert 0 < var.item() < first
    assert gap[1] == pytest.approx(gap[0] / 100, rel=0.02)


@pytest.mark.claim("posterior-variance")
def test_three_spellings_of_the_variance_are_one():
    spellings = (1 - abp) / (1 - ab) * b, (1 - A**2) * (1 - abp) / (1 - ab), 1 / (A**2 / b + 1 / (1 - abp))
    assert same(spellings[0], spellings[1]) and same(spellings[1], spellings[2])
    assert same(b - BTILDE, b**2 * abp / (1 - ab))  # > 0, so beta_tilde < beta; it is 0 for B = 1 only (t = 1)
    assert sp.diff(THREE, x, 2).equals(2 / BTILDE)


@pytest.mark.claim("posterior-variance")
@points
def test_the_variance_of_the_gridded_posterior(p):
    a, b, _, abp = tables(p)
    for value in (package(p)[1], SCHEDULE[p.name].beta_tilde[p.t].item(), 1 / (a / b + 1 / (1 - abp))):
        close(value, bayes(p).var)
    close(SCHEDULE[p.name].sigma("posterior")[p.t].item() ** 2, bayes(p).var)


@pytest.mark.claim("posterior-variance")
@pytest.mark.parametrize("schedule", [
    *SCHEDULE.values(), cosine_schedule(), quadratic_schedule(), constant_schedule(50, 0.3), linear_schedule(20),
    Schedule([0.999, 0.001, 0.999]), Schedule([0.5]),
], ids=repr)
def test_it_is_0_at_t_1_and_strictly_between_0_and_beta_after(schedule):
    assert schedule.beta_tilde[1] == 0
    assert (schedule.beta_tilde[2:] > 0).all() and (schedule.beta_tilde[2:] < schedule.beta[2:]).all()


@pytest.mark.claim("posterior-mean-x0")
def test_the_mean_is_where_the_exponent_is_flat():
    """B/A of completing the square, and the second spelling."""
    quadratic, linear = sp.Poly(sp.together(THREE).expand(), x).all_coeffs()[:2]
    assert same(-linear / (2 * quadratic), MU)
    assert same(BTILDE * (A * y / b + B * z / (1 - abp)), MU)
    assert same(sp.diff(THREE, x).subs(x, MU), 0)


@pytest.mark.claim("posterior-mean-x0")
@points
def test_the_mean_of_the_gridded_posterior(p):
    close(package(p)[0], bayes(p).mean)
    close(mean_from_x0(column(p.xt), column(p.x0), p.t, SCHEDULE[p.name]).item(), bayes(p).mean)


@pytest.mark.claim("posterior-mean-x0")
@pytest.mark.parametrize("name", ["register", "uneven"])
def test_it_is_the_conditional_mean_in_the_joint_covariance_of_the_chain(name):
    """Sigma_12 / Sigma_22 from all steps at once, in three dimensions, one t per sample."""
    beta = BETA[name]
    T = len(beta)
    step = np.eye(T) - np.diag(np.sqrt(1 - beta[1:]), -1)  # (x_1, ..., x_T) = step^-1 (signal + sqrt(beta) eps)
    cov = np.linalg.inv(step) @ np.diag(beta) @ np.linalg.inv(step).T
    signal = np.linalg.inv(step)[:, 0] * math.sqrt(1 - beta[0])
    x0, xt = np.random.default_rng(0).normal(size=(2, T - 1, 3))
    t = torch.arange(2, T + 1)
    mean, var = posterior_mean_var(torch.tensor(xt), torch.tensor(x0), t, SCHEDULE[name])
    for row, i in enumerate(t.numpy() - 1):
        gain = cov[i - 1, i] / cov[i, i]
        np.testing.assert_allclose(mean[row], signal[i - 1] * x0[row] + gain * (xt[row] - signal[i] * x0[row]))
        close(var[row].item(), cov[i - 1, i - 1] - gain * cov[i - 1, i])


@pytest.mark.claim("posterior-mean-x0")
@short_points
def test_both_weights_are_positive_and_the_slopes_of_the_gridded_mean(p):
    up_xt = bayes(p._replace(xt=p.xt + 1)).mean - bayes(p).mean
    up_x0 = bayes(p._replace(x0=p.x0 + 1)).mean - bayes(p).mean
    assert up_xt > 0 and up_x0 > 0
    xt, x0 = column(p.xt).requires_grad_(), column(p.x0).requires_grad_()
    slopes = torch.autograd.grad(posterior_mean_var(xt, x0, p.t, SCHEDULE[p.name])[0], (xt, x0))
    close([slope.item() for slope in slopes], [up_xt, up_x0])


@pytest.mark.claim("posterior-mean-weights")
def test_the_weights_sum_to_a_fraction_that_is_below_1():
    total = MU.subs({y: 1, z: 1})
    assert same(total, (A + B) / (1 + A * B))
    assert same(1 - total, (1 - A) * (1 - B) / (1 + A * B))  # 0 only for B = 1 (t = 1), since A < 1
    assert total.subs(B, 1).equals(1) and MU.subs(B, 1).equals(z)


@pytest.mark.claim("posterior-mean-weights")
@points
def test_the_gridded_posterior_of_1_and_1_is_pulled_towards_0(p):
    at_one = p._replace(x0=1.0, xt=1.0)
    a, _, ab, abp = tables(p)
    total = bayes(at_one).mean
    assert 0 < total < 1
    close([package(at_one)[0], (a**0.5 + abp**0.5) / (1 + ab**0.5)], [total, total])
    if p == REGISTER:
        assert f"{package(at_one)[0]:.4f}" == "0.9808"


@pytest.mark.claim("posterior-mean-weights")
@pytest.mark.parametrize("name", BETA)
def test_weights_are_non_negative_and_only_t_1_interpolates(name):
    t = torch.arange(1, SCHEDULE[name].T + 1)
    one, zero = torch.ones(len(t), 1).double(), torch.zeros(len(t), 1).double()
    of_xt, of_x0 = (posterior_mean_var(*pair, t, SCHEDULE[name])[0][:, 0] for pair in ((one, zero), (zero, one)))
    assert (of_xt[0], of_x0[0]) == (0, 1)
    assert (of_xt[1:] > 0).all() and (of_x0[1:] > 0).all()
    assert ((of_xt + of_x0)[1:] < 1).all()


@pytest.mark.claim("posterior-variance-independent-of-data")
def test_the_curvature_of_the_exponent_holds_neither_xt_nor_x0():
    curvature = sp.diff(THREE, x, 2)
    assert curvature.free_symbols == {A, B} and sp.diff(BTILDE, y) == sp.diff(BTILDE, z) == 0


@pytest.mark.claim("posterior-variance-independent-of-data")
@short_points
def test_other_data_move_the_gridded_posterior_but_do_not_widen_it(p):
    for xt, x0 in ((-2.0, 1.0), (0.0, 0.0), (3.0, -2.5)):
        moved = p._replace(xt=xt, x0=x0)
        close(bayes(moved).var, bayes(p).var)
        assert package(moved)[1] == package(p)[1] and abs(bayes(moved).mean - bayes(p).mean) > 0.02


@pytest.mark.claim("posterior-variance-independent-of-data")
def test_the_mean_is_a_fixed_function_and_the_variance_has_no_slope_in_the_data():
    xt, x0 = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    state, t = torch.get_rng_state(), torch.tensor([1, 2, 3, 5, 7, 8])
    mean, var = posterior_mean_var(xt, x0, t, SCHEDULE["uneven"])
    again = posterior_mean_var(xt, x0, t, SCHEDULE["uneven"])[0]
    assert torch.equal(mean, again) and torch.equal(state, torch.get_rng_state())  # nothing is drawn
    assert mean.requires_grad and not var.requires_grad


# --- the true reverse kernel, x_0 unknown ---

SIGNS = ((0.5, -1.0, 0.0), (0.5, 1.0, 0.0))  # weight, mean, std of each component
THREE_BUMPS = ((0.2, -1.5, 0.3), (0.5, 0.2, 0.1), (0.3, 1.1, 0.6))


def mixture(data):
    weights, means, std = zip(*data, strict=True)
    return GaussianMixture(weights, [[m] for m in means], std)


def spread_of_x0(p, data):
    """Var(x_0 | x_t), by Bayes over the components."""
    _, _, ab, _ = tables(p)
    w, m, v = (np.array(column) for column in zip(*((w, m, s * s) for w, m, s in data), strict=True))
    r = w * norm.pdf(p.xt, ab**0.5 * m, np.sqrt(ab * v + 1 - ab))
    r, gain = r / r.sum(), ab**0.5 * v / (ab * v + 1 - ab)
    mean = m + gain * (p.xt - ab**0.5 * m)
    return r @ (v - gain * ab**0.5 * v + mean**2) - (r @ mean) ** 2


@pytest.mark.claim("reverse-covariance-depends-on-xt")
@pytest.mark.parametrize("data", [SIGNS, THREE_BUMPS], ids=["signs", "three bumps"])
@short_points
def test_the_variance_of_the_true_kernel_is_the_law_of_total_variance(data, p):
    _, b, ab, abp = tables(p)
    true = bayes(p, data)
    close(SCHEDULE[p.name].beta_tilde[p.t].item() + (abp**0.5 * b / (1 - ab)) ** 2 * spread_of_x0(p, data), true.var)
    mean, cov = mixture(data).reverse_moments(column(p.xt), p.t, SCHEDULE[p.name])
    close([mean.item(), cov.item()], [true.mean, true.var])
    assert true.var > SCHEDULE[p.name].beta_tilde[p.t].item() + 1e-4


@pytest.mark.claim("reverse-covariance-depends-on-xt")
def test_for_data_plus_minus_1_it_depends_on_xt():
    got = [mixture(SIGNS).reverse_moments(column(xt), 5, SCHEDULE["register"])[1].item() for xt in (0.0, 2.0)]
    assert [f"{v:.4f}" for v in got] == ["0.2998", "0.1897"]
    close(got, [bayes(REGISTER._replace(xt=xt), SIGNS).var for xt in (0.0, 2.0)])


@pytest.mark.claim("reverse-covariance-depends-on-xt")
def test_in_two_dimensions_it_is_not_even_diagonal():
    points, xt = np.array([[-1.0, -1.0], [1.0, 1.0], [0.5, -0.3]]), np.array([0.1, 0.2])
    u = np.linspace(-5, 5, 501)
    signal, var = walk("register", 4, 1.0, 0.0)
    density = sum(np.multiply.outer(*(norm.pdf(u, signal * m, var**0.5) for m in row)) for row in points)
    density *= np.multiply.outer(*(norm.pdf(v, 0.75**0.5 * u, 0.5) for v in xt))
    density /= density.sum()
    mean = density.sum(1) @ u, density.sum(0) @ u
    expected = [density.sum(1) @ (u - mean[0]) ** 2, (u - mean[0]) @ density @ (u - mean[1])]
    got_mean, cov = GaussianMixture([1 / 3] * 3, points, 0.0).reverse_moments(
        torch.tensor(xt)[None], 5, SCHEDULE["register"])
    close(got_mean[0].tolist(), mean)
    close(cov[0, 0].tolist(), expected)
    assert abs(expected[1]) > 0.05


@pytest.mark.claim("reverse-covariance-depends-on-xt")
@pytest.mark.parametrize("xt", [0.0, 0.9])
def test_what_depends_on_xt_is_second_order_in_beta(xt):
    """At fixed abar_{t-1} = 0.56; ten times smaller a step, ten times smaller a share of the whole."""
    share = []
    for last in SMALL_LAST_STEP:
        p = Point(f"then {last}", 3, 0.0, xt)
        whole, fixed = bayes(p, SIGNS).var, SCHEDULE[p.name].beta_tilde[3].item()
        share.append(whole / fixed - 1)
        assert fixed == pytest.approx(last, rel=3 * last)
    assert share[0] > 0.003
    assert share[1] / share[0] == pytest.approx(0.1, rel=0.05) and share[2] / share[1] == pytest.approx(0.1, rel=0.01)


@pytest.mark.claim("reverse-covariance-depends-on-xt")
def test_not_so_at_t_1_where_abar_prev_is_1():
    """Then beta_tilde is 0 and the other term is everything: beta_1 itself for data N(0, 1)."""
    for beta_1 in (0.3, 1e-3):
        cov = GaussianMixture([1.0], [[0.0]], 1.0).reverse_moments(column(0.4), 1, Schedule([beta_1]))[1]
        close(cov.item(), beta_1)


@pytest.mark.claim("reverse-covariance-depends-on-xt")
@short_points
def test_for_isotropic_gaussian_data_it_does_not_depend_on_xt(p):
    variances = {}
    for s in (0.2, 1.0, 3.0):
        ours = mixture([(1.0, 0.4, s)]).reverse_moments(
            torch.tensor([[-2.0], [0.0], [1.3]], dtype=torch.float64), p.t, SCHEDULE[p.name])[1]
        variances[s] = bayes(p, ((1.0, 0.4, s),)).var
        close(ours.flatten().tolist(), [variances[s]] * 3)
    # Coordinates of different variance need different sigma_t: no multiple of I is exact for them.
    assert variances[0.2] < variances[1.0] - 1e-3 < variances[3.0] - 2e-3
    close(variances[1.0], BETA[p.name][p.t - 1])


# --- the mean from the noise ---

@pytest.mark.claim("posterior-mean-epsilon")
def test_substituting_x0_leaves_one_step_in_front():
    e, noise = sp.symbols("epsilon s", real=True)  # s = sqrt(1 - abar_t), which is only used squared
    substituted = MU.subs(z, (y - noise * e) / (A * B))
    final = (y - b / noise * e) / A
    assert same(sp.expand(substituted - final).subs(noise**2, 1 - ab).coeff(e, 0), 0)
    slope = sp.diff(substituted - final, e) * noise
    assert same(sp.expand(slope).subs(noise**2, 1 - ab), 0)
    assert same(final, y / A - b / (noise * A) * e)


@pytest.mark.claim("posterior-mean-epsilon")
@points
def test_the_mean_from_the_noise_is_the_gridded_mean(p):
    a, b, ab, _ = tables(p)
    eps = noise_of(p)
    close(mean_from_eps(column(p.xt), column(eps), p.t, SCHEDULE[p.name]).item(), bayes(p).mean)
    close((p.xt - (1 - a) / math.sqrt(1 - ab) * eps) / a**0.5, bayes(p).mean)
    close(p.xt / a**0.5 - (1 - a) / ((1 - ab) ** 0.5 * a**0.5) * eps, bayes(p).mean)


@pytest.mark.claim("posterior-mean-epsilon")
def test_at_t_1_the_mean_from_the_noise_is_x0():
    for name, schedule in SCHEDULE.items():
        xt = walk(name, 1, 0.7, 0.0)[0] + math.sqrt(BETA[name][0]) * 1.3
        close(mean_from_eps(column(xt), column(1.3), 1, schedule).item(), 0.7)


# --- errata ---

def refuted(p, printed, correct, truth, in_register, margin=0.02):
    """The print misses the truth by the margin, the correction meets it; at the register's point, its numbers."""
    assert abs(printed - truth) > margin
    close(correct, truth)
    if p == REGISTER:
        assert (f"{printed:.5g}", f"{truth:.5g}") == in_register


@pytest.mark.erratum("000:535")
@short_points
def test_without_the_prior_it_is_no_density(p):
    a, b, ab, abp = tables(p)
    step = norm.pdf(p.xt, a**0.5 * X, b**0.5)
    evidence = norm.pdf(p.xt, ab**0.5 * p.x0, (1 - ab) ** 0.5)
    printed = quad(lambda u: norm.pdf(p.xt, a**0.5 * u, b**0.5) / evidence, -12, 12, points=[p.xt])[0]
    correct = (step * norm.pdf(X, abp**0.5 * p.x0, (1 - abp) ** 0.5) / evidence).sum() * (X[1] - X[0])
    refuted(p, printed, correct, 1.0, ("3.5217", "1"), margin=0.5)


U, V = 0.3, -0.2  # two values of x_{t-1}: their log densities differ by what Bayes' rule says
LOG_RATIO = ("2.5813",)


def log_ratio(p):
    i, j = np.searchsorted(X, [U - 1e-6, V - 1e-6])
    assert (round(X[i], 9), round(X[j], 9)) == (U, V)
    return bayes(p).log[i] - bayes(p).log[j]


def exponent(p, u, first_root=None, second=None, power=2):
    """-1/2 the sum of the three fractions at x_{t-1} = u, with the misprints as options."""
    a, b, ab, abp = tables(p)
    first = p.xt - (a**0.5 if first_root is None else first_root) * u
    second = (u if second is None else second) - abp**0.5 * p.x0
    return -(first**power / b + second**power / (1 - abp) - (p.xt - ab**0.5 * p.x0) ** power / (1 - ab)) / 2


def refuted_exponent(p, in_register, **misprint):
    printed, correct = (exponent(p, U, **kind) - exponent(p, V, **kind) for kind in (misprint, {}))
    refuted(p, printed, correct, log_ratio(p), (in_register, "2.5813"))


@pytest.mark.erratum("000:574a")
@short_points
def test_without_their_squares_the_exponents_give_other_odds(p):
    refuted_exponent(p, "0.2688", power=1)


@pytest.mark.erratum("000:574b")
@pytest.mark.erratum("002:265c")
@short_points
def test_with_xt_in_the_second_square_the_prior_is_lost(p):
    refuted_exponent(p, "2.0035", second=p.xt)


@pytest.mark.erratum("002:265b")
@short_points
def test_with_the_root_of_abar_the_first_square_is_not_one_step(p):
    refuted_exponent(p, "2.119", first_root=tables(p)[2] ** 0.5)


@pytest.mark.erratum("000:574a")
def test_line_574_as_printed_with_both_slips_at_once():
    assert abs(exponent(REGISTER, U, second=REGISTER.xt, power=1) - exponent(REGISTER, V, second=REGISTER.xt, power=1)
               - log_ratio(REGISTER)) > 1


@pytest.mark.erratum("002:265a")
@short_points
def test_the_printed_constant_does_not_normalize(p):
    _, b, ab, abp = tables(p)
    root = math.sqrt(2 * math.pi)
    printed = root * (1 - ab) / (root * b * root * (1 - abp))
    correct = math.sqrt(2 * math.pi * (1 - ab)) / (math.sqrt(2 * math.pi * b) * math.sqrt(2 * math.pi * (1 - abp)))
    truth = 1 / quad(lambda u: math.exp(exponent(p, u)), -8, 8, points=[bayes(p).mean], epsrel=1e-12)[0]
    close(1 / math.sqrt(2 * math.pi * SCHEDULE[p.name].beta_tilde[p.t].item()), truth)
    refuted(p, printed, correct, truth, ("2.1499", "0.92611"))
    close(1 / (root * b * (1 - abp) / (1 - ab)), printed)  # rows 3 and 4 repeat it in another spelling


@pytest.mark.erratum("002:265d")
@short_points
def test_the_expanded_square_needs_its_2(p):
    _, _, ab, abp = tables(p)
    printed = p.xt**2 - ab**0.5 * p.x0 * p.xt + ab * p.x0**2
    correct = p.xt**2 - 2 * ab**0.5 * p.x0 * p.xt + ab * p.x0**2
    refuted(p, printed, correct, (p.xt - ab**0.5 * p.x0) ** 2, ("1.099", "0.54429"))
    second = U**2 - abp**0.5 * p.x0 * U + abp * p.x0**2  # the same slip in the second fraction, at x_{t-1} = U
    assert abs(second - (U - abp**0.5 * p.x0) ** 2) > 0.02


@pytest.mark.erratum("004:360")
@short_points
def test_with_xt_for_x_prev_the_density_is_flat(p):
    mean, var = package(p)

    def printed(u):
        return -(p.xt - mean) ** 2 / (2 * var)  # u does not occur: that is the slip

    def correct(u):
        return -(u - mean) ** 2 / (2 * var)

    refuted(p, printed(U) - printed(V), correct(U) - correct(V), log_ratio(p), ("0", "2.5813"))


@pytest.mark.erratum("002:105")
@short_points
def test_no_reading_of_the_undefined_alpha_tilde_gives_the_variance(p):
    a, b, ab, abp = tables(p)
    correct = (1 - abp) / (1 - ab) * b
    refuted(p, (1 - ab) / (1 - a) * b, correct, bayes(p).var, ("0.56395", "0.18557"))
    for reading in (a, abp):
        assert abs((1 - reading) / (1 - a) * b - bayes(p).var) > 0.004
    close(package(p)[1], correct)


@pytest.mark.erratum("000:620")
@short_points
def test_the_mean_with_a_minus_and_roots_below(p):
    a, b, ab, abp = tables(p)
    printed = (a**0.5 * (1 - abp) / math.sqrt(1 - ab) * p.xt - abp**0.5 * b / math.sqrt(1 - ab) * p.x0)
    refuted(p, printed, package(p)[0], bayes(p).mean, ("0.4016", "1.008"))
    plus = (a**0.5 * (1 - abp) * p.xt + abp**0.5 * b * p.x0) / math.sqrt(1 - ab)  # each slip alone fails too
    assert abs(plus - bayes(p).mean) > 0.02


@pytest.mark.erratum("000:717")
@short_points
def test_the_mean_with_a_minus(p):
    a, b, ab, abp = tables(p)
    printed = a**0.5 * (1 - abp) / (1 - ab) * p.xt - abp**0.5 * b / (1 - ab) * p.x0
    refuted(p, printed, package(p)[0], bayes(p).mean, ("0.53477", "1.008"))


@pytest.mark.erratum("002:81")
@short_points
def test_the_mean_with_the_root_of_abar_at_xt(p):
    a, b, ab, abp = tables(p)
    printed = abp**0.5 * b / (1 - ab) * p.x0 + ab**0.5 * (1 - abp) / (1 - ab) * p.xt
    refuted(p, printed, package(p)[0], bayes(p).mean, ("0.82479", "1.008"))


@pytest.mark.erratum("002:273")
@short_points
def test_the_ratio_of_linear_to_quadratic_with_the_root_of_abar(p):
    a, b, ab, abp = tables(p)
    printed, correct = ((root * p.xt / b + abp**0.5 * p.x0 / (1 - abp)) / (a / b + 1 / (1 - abp))
                        for root in (ab**0.5, a**0.5))
    refuted(p, printed, correct, bayes(p).mean, ("0.82479", "1.008"))
    close(printed, abp**0.5 * b / (1 - ab) * p.x0 + ab**0.5 * (1 - abp) / (1 - ab) * p.xt)  # the last row's form


@pytest.mark.erratum("000:587")
@short_points
def test_an_interpolation_between_1_and_1_would_be_1(p):
    at_one = p._replace(x0=1.0, xt=1.0)
    assert bayes(at_one).mean < 1 - 0.005
    close(package(at_one)[0], bayes(at_one).mean)
    if p == REGISTER:
        assert f"{bayes(at_one).mean:.5f}" == "0.98084"


@pytest.mark.erratum("000:622")
@short_points
def test_the_mean_from_the_noise_with_abar_in_front(p):
    a, _, ab, _ = tables(p)
    eps = noise_of(p)
    printed = 1 / math.sqrt(ab) * (p.xt - (1 - a) / math.sqrt(1 - ab) * eps)
    correct = mean_from_eps(column(p.xt), column(eps), p.t, SCHEDULE[p.name]).item()
    refuted(p, printed, correct, bayes(p).mean, ("1.322", "1.008"))


def slopes(p):
    """How the gridded mean moves with x_t at fixed noise, and with the noise at fixed x_t."""
    def mean(xt, eps):
        signal, var = walk(p.name, p.t, 1.0, 0.0)
        return bayes(p._replace(xt=xt, x0=(xt - var**0.5 * eps) / signal)).mean

    return mean(1.0, 0.5) - mean(0.0, 0.5), mean(0.5, 1.0) - mean(0.5, 0.0)


def package_slopes(p):
    one, zero = column(1.0), column(0.0)
    return [mean_from_eps(*pair, p.t, SCHEDULE[p.name]).item() for pair in ((one, zero), (zero, one))]


@pytest.mark.erratum("002:167")
@short_points
def test_equation_8d_row_3_does_not_collect_to_one_step(p):
    """Lines 167 and 168: the factor of x_t."""
    a, b, ab, abp = tables(p)
    printed, correct = (abp**0.5 * b / (1 - ab) / ab**0.5 + root * (1 - abp) / (1 - ab) for root in (ab**0.5, a**0.5))
    refuted(p, printed, correct, slopes(p)[0], ("1.002", "1.1547"))
    close([1 / a**0.5, package_slopes(p)[0]], [slopes(p)[0]] * 2)


@pytest.mark.erratum("002:169a")
@short_points
def test_equation_8d_row_5_does_not_cancel(p):
    a, _, ab, _ = tables(p)
    printed, correct = ((ab**0.5 / a**0.5 * (1 - a) + root * ab**0.5 * (1 - ab / a)) / ((1 - ab) * ab**0.5)
                        for root in (ab**0.5, a**0.5))
    refuted(p, printed, correct, slopes(p)[0], ("1.002", "1.1547"))


@pytest.mark.erratum("002:169b")
@short_points
def test_the_noise_is_divided_by_the_root_of_alpha_not_of_abar(p):
    a, b, ab, _ = tables(p)
    printed, correct = (b / (root * math.sqrt(1 - ab)) for root in (ab**0.5, a**0.5))
    refuted(p, printed, correct, -slopes(p)[1], ("0.50414", "0.38441"))
    close(-package_slopes(p)[1], correct)
