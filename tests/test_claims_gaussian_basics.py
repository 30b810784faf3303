"""Gaussian basics: the density, mu + sigma eps, sums, completing the square, Bayes, the chain rule, Jensen."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy import integrate, stats

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    cosine_schedule,
    linear_schedule,
    posterior_mean_var,
    q_mean_var,
    q_sample,
    q_step,
    ve_sample,
)

SCHEDULES = {
    "toy": Schedule([0.05 * s for s in range(1, 11)]),  # β_s = 0.05 s, the register's own
    "uneven": Schedule([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14]),
    "linear": linear_schedule(),
    "cosine": cosine_schedule(50),
}
TIMES = {"toy": (1, 2, 5, 10), "uneven": (1, 3, 8), "linear": (1, 2, 300, 1000), "cosine": (1, 20, 49)}
AT = [pytest.param(SCHEDULES[name], t, id=f"{name}-{t}") for name in TIMES for t in TIMES[name]]
AFTER_1 = [case for case in AT if case.values[1] > 1]
GAUSSIANS = [(0.0, 1.0), (-1.3, 0.25), (2.0, 3.7)]  # mean, variance
everywhere = pytest.mark.parametrize("schedule, t", AT)


def close(got, want, tol=1e-10):
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def quad(f, mean, std):
    """The integral of f over a window that holds all of a Gaussian's mass."""
    return integrate.quad(f, mean - 14 * std, mean + 14 * std, points=[mean], epsabs=1e-13, epsrel=1e-12, limit=200)[0]


def log_normal(x, mean, var):
    return -(np.log(2 * np.pi * var) + (x - mean) ** 2 / var) / 2


def normal(x, mean, var):
    """The density, held against sympy and scipy in the first tests below; scipy's own is too slow for quadrature."""
    return np.exp(log_normal(x, mean, var))


def chain_law(schedule, t):
    """Factor of x_0 and variance of x_t given x_0, carried through t single steps."""
    factor, var = 1.0, 0.0
    for beta in schedule.beta[1:t + 1].tolist():
        factor, var = np.sqrt(1 - beta) * factor, (1 - beta) * var + beta
    return factor, var


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def package_density(mean, std):
    """x -> the density of N(mean, std^2 I) as the package computes it, from its logarithm."""
    mixture = GaussianMixture([1.0], [mean], std)
    return lambda *x: mixture.log_prob(torch.tensor([x], dtype=torch.float64)).exp().item()


# --- the density ---

@pytest.mark.claim("gaussian-density-1d")
def test_density_has_mass_one_mean_mu_and_variance_sigma_squared():
    x, mu = sp.symbols("x mu", real=True)
    sigma = sp.symbols("sigma", positive=True)
    density = sp.exp(-(x - mu) ** 2 / (2 * sigma**2)) / sp.sqrt(2 * sp.pi * sigma**2)
    mass, mean, variance = (sp.integrate(density * f, (x, -sp.oo, sp.oo)) for f in (1, x, (x - mu) ** 2))
    assert [sp.simplify(v) for v in (mass - 1, mean - mu, variance - sigma**2)] == [0, 0, 0]


@pytest.mark.claim("gaussian-density-1d")
@pytest.mark.parametrize("mean, var", GAUSSIANS)
def test_the_packages_density_has_these_moments_and_is_the_formula(mean, var):
    density = package_density([mean], var**0.5)
    close(quad(density, mean, var**0.5), 1, 1e-8)
    close(quad(lambda x: x * density(x), mean, var**0.5), mean, 1e-8)
    close(quad(lambda x: (x - mean) ** 2 * density(x), mean, var**0.5), var, 1e-8)
    for x in (mean, mean - 0.7, mean + 2.1):
        close(density(x), np.exp(-(x - mean) ** 2 / (2 * var)) / np.sqrt(2 * np.pi * var), 1e-12)
        close(density(x), stats.norm.pdf(x, mean, var**0.5), 1e-12)
        close(normal(x, mean, var), stats.norm.pdf(x, mean, var**0.5), 1e-12)


@pytest.mark.claim("gaussian-density-1d")
@pytest.mark.parametrize("d", [1, 2, 5])
def test_isotropic_density_is_the_product_over_coordinates(d):
    rng = np.random.default_rng(d)
    mean, x, std = rng.normal(size=d), rng.normal(size=d), 0.6
    product = np.prod([package_density([m], std)(v) for m, v in zip(mean, x, strict=True)])
    whole = package_density(mean.tolist(), std)(*x)
    close(whole, product, 1e-12)
    close(whole, stats.multivariate_normal.pdf(x, mean, std**2 * np.eye(d)), 1e-12)
    if d > 1:  # a covariance matrix, not a matrix of standard deviations
        assert abs(whole - stats.multivariate_normal.pdf(x, mean, std * np.eye(d))) > 0.1 * whole


def bell(x, centre, prefactor, var):
    """What the three misprints share: a prefactor of its own before exp(-(x - centre)^2 / (2 var))."""
    return prefactor * np.exp(-(x - centre) ** 2 / (2 * var))


def refute_prefactor(centre, var):
    """The print is 1 / (sqrt(2 pi) var) before the exponential; the density has 1 / sqrt(2 pi var)."""
    printed, correct = 1 / (np.sqrt(2 * np.pi) * var), 1 / np.sqrt(2 * np.pi * var)
    mass = quad(lambda x: bell(x, centre, printed, var), centre, var**0.5)
    assert mass > 1.05
    close(mass, var**-0.5, 1e-8)
    close(quad(lambda x: bell(x, centre, correct, var), centre, var**0.5), 1, 1e-8)
    x = centre + var**0.5 * np.array([-2.0, 0.0, 0.4])
    close(bell(x, centre, correct, var), normal(x, centre, var), 1e-12)
    # nor is the print the N(., var^2) that its left side announces: they meet at the centre only
    assert abs(normal(x, centre, var**2) / bell(x, centre, printed, var) - 1).max() > 0.1
    return mass


# where the variance is near 1 the missing root hardly shows
VAR_NOT_NEAR_1 = [case for case in AFTER_1 if chain_law(*case.values)[1] < 0.9]


@pytest.mark.erratum("002:257")
@pytest.mark.parametrize("schedule, t", AFTER_1)
def test_printed_kernel_density_does_not_integrate_to_one(schedule, t):
    mass = refute_prefactor(np.sqrt(1 - schedule.beta[t].item()) * 0.7, schedule.beta[t].item())
    if schedule is SCHEDULES["toy"] and t == 5:
        close(mass, 2, 1e-8)
    one = column(1.0)  # and the step the package takes has the corrected variance
    close(q_step(0 * one, t, schedule, noise=one).item() ** 2, schedule.beta[t].item())


@pytest.mark.erratum("002:259")
@pytest.mark.parametrize("schedule, t", VAR_NOT_NEAR_1)
def test_printed_jump_density_does_not_integrate_to_one(schedule, t):
    factor, var = chain_law(schedule, t)
    mass = refute_prefactor(factor * 0.7, var)
    if schedule is SCHEDULES["toy"] and t == 5:
        assert round(mass, 4) == 1.3316
    close([v.item() for v in q_mean_var(column(0.7), t, schedule)], [factor * 0.7, var])


@pytest.mark.erratum("002:261")
@pytest.mark.parametrize("schedule, t", VAR_NOT_NEAR_1)
def test_printed_jump_density_one_step_earlier_does_not_integrate_to_one(schedule, t):
    factor, var = chain_law(schedule, t - 1)
    mass = refute_prefactor(factor * 0.7, var)
    if schedule is SCHEDULES["toy"] and t == 5:
        assert round(mass, 4) == 1.5456
    close([v.item() for v in q_mean_var(column(0.7), t - 1, schedule)], [factor * 0.7, var])


# --- mu + sigma eps ---

@pytest.mark.claim("reparameterization-trick")
def test_change_of_variables_turns_the_standard_density_into_the_general_one():
    x, e, mu = sp.symbols("x e mu", real=True)
    sigma = sp.symbols("sigma", positive=True)

    def density(z, m, v):
        return sp.exp(-(z - m) ** 2 / (2 * v)) / sp.sqrt(2 * sp.pi * v)

    pushed = density((x - mu) / sigma, 0, 1) / sigma  # the law of mu + sigma e
    assert sp.simplify(pushed / density(x, mu, sigma**2)) == 1
    pulled = density(mu + sigma * e, mu, sigma**2) * sigma  # and back: the law of (x - mu) / sigma
    assert sp.simplify(pulled / density(e, 0, 1)) == 1
    by_variance = density((x - mu) / sigma**2, 0, 1) / sigma**2
    assert sp.simplify(by_variance / density(x, mu, sigma**2)) != 1


LEVELS = np.array([1e-4, 0.02, 0.3, 0.5, 0.77, 0.999])


@pytest.mark.claim("reparameterization-trick")
@everywhere
def test_every_sampler_carries_the_quantiles_of_its_noise_to_the_quantiles_of_its_law(schedule, t):
    """mean + std * eps is increasing in eps, so this pins the whole law, not two moments."""
    eps, x = torch.from_numpy(stats.norm.ppf(LEVELS))[:, None], 1.7
    x_in = torch.full_like(eps, x)
    beta, (factor, var) = schedule.beta[t].item(), chain_law(schedule, t)
    laws = {q_step: (np.sqrt(1 - beta) * x, beta), q_sample: (factor * x, var), ve_sample: (x, var / factor**2)}
    for draw, (mean, variance) in laws.items():
        got = draw(x_in, t, schedule, noise=eps)[:, 0].numpy()
        close(stats.norm.cdf(got, mean, np.sqrt(variance)), LEVELS, 1e-8)
        if variance < 0.9:  # the variance in place of the standard deviation is seen at once
            assert abs(stats.norm.cdf(got, mean, variance) - LEVELS).max() > 0.005


@pytest.mark.claim("reparameterization-trick")
@pytest.mark.parametrize("draw", [q_step, q_sample])
def test_a_million_draws_have_the_mean_and_the_variance_of_the_law(draw):
    schedule, t, n = SCHEDULES["toy"], 5, 1_000_000
    mean, var = {q_step: (np.sqrt(0.75) * 0.7, 0.25), q_sample: (0.7 * chain_law(schedule, t)[0], 0.563952)}[draw]
    x0 = torch.full((n,), 0.7, dtype=torch.float64)
    x = draw(x0, t, schedule, generator=torch.Generator().manual_seed(3)).numpy()
    assert abs(x.mean() - mean) < 5 * np.sqrt(var / n)  # 5 standard errors: 0.0025 and 0.0038
    assert abs(x.var() - var) < 5 * var * np.sqrt(2 / n)  # 5 standard errors: 0.0018 and 0.0040


# --- sums of independent Gaussians ---

@pytest.mark.claim("sum-of-independent-gaussians")
def test_characteristic_functions_multiply_to_that_of_the_summed_moments():
    k, m1, m2 = sp.symbols("k mu_1 mu_2", real=True)
    s1, s2 = sp.symbols("sigma_1 sigma_2", positive=True)

    def characteristic(mean, var):
        return sp.exp(sp.I * k * mean - k**2 * var / 2)

    product = characteristic(m1, s1**2) * characteristic(m2, s2**2)
    assert sp.simplify(product / characteristic(m1 + m2, s1**2 + s2**2)) == 1
    assert sp.simplify(product / characteristic(m1 + m2, (s1 + s2) ** 2)) != 1  # standard deviations do not add


@pytest.mark.claim("sum-of-independent-gaussians")
@pytest.mark.parametrize("first, second", [*itertools.product(GAUSSIANS, GAUSSIANS[1:])])
def test_convolution_of_two_densities_is_the_density_of_the_sum(first, second):
    (m1, v1), (m2, v2) = first, second
    for x in (m1 + m2, m1 + m2 + 1.1, m1 + m2 - 2.0):
        convolved = quad(lambda u, x=x: normal(u, m1, v1) * normal(x - u, m2, v2), m1, v1**0.5)
        close(convolved, normal(x, m1 + m2, v1 + v2), 1e-8)
    assert abs(normal(m1 + m2, m1 + m2, v1 + v2) - normal(m1 + m2, m1 + m2, (v1**0.5 + v2**0.5) ** 2)) > 0.02


@pytest.mark.claim("sum-of-independent-gaussians")
@everywhere
def test_the_noised_gaussian_of_the_package_is_the_convolution_of_data_and_noise(schedule, t):
    """x_t = √ᾱ_t x_0 + noise is a sum of two independent Gaussians; both laws come from single steps here."""
    factor, var = chain_law(schedule, t)
    data = GaussianMixture([1.0], [[0.8]], 0.6)
    noised = data.noised(t, schedule)
    for x in (0.8 * factor, 0.8 * factor + 1.0, -0.4):
        got = noised.log_prob(column(x)).exp().item()
        window = x / factor, var**0.5 / factor  # of the kernel, if it is the narrower of the two
        convolved = quad(lambda u, x=x: normal(u, 0.8, 0.36) * normal(x, factor * u, var),
                         *min(window, (0.8, 0.6), key=lambda w: w[1]))
        close(got, convolved, 1e-8)


@pytest.mark.claim("sum-of-independent-gaussians")
@pytest.mark.parametrize("rho", [-1.0, -0.5, 0.0, 0.8, 1.0])
def test_without_independence_the_variances_do_not_add(rho):
    """(X_1, X_2) with correlation rho keeps its marginals; X_2 = -X_1 (rho = -1) sums to 0, rho = 1 to (s1 + s2)^2."""
    s1, s2 = 0.7, 0.7
    x, w = hermegauss(20)
    e1, e2 = np.meshgrid(x, x)
    weight = np.outer(w, w) / (2 * np.pi)
    x1, x2 = s1 * e1, s2 * (rho * e1 + np.sqrt(1 - rho**2) * e2)
    assert np.allclose([(weight * x1**2).sum(), (weight * x2**2).sum()], [s1**2, s2**2], rtol=1e-12)
    close((weight * (x1 + x2) ** 2).sum(), s1**2 + s2**2 + 2 * rho * s1 * s2, 1e-12)
    assert ((weight * (x1 + x2) ** 2).sum() == pytest.approx(s1**2 + s2**2, rel=1e-12)) == (rho == 0)


# --- completing the square ---

@pytest.mark.claim("completing-the-square")
def test_square_is_completed_and_the_rest_is_free_of_x():
    x, B, C = sp.symbols("x B C", real=True)
    A = sp.symbols("A", positive=True)
    assert sp.expand(A * x**2 - 2 * B * x - A * (x - B / A) ** 2 + B**2 / A) == 0
    density = sp.sqrt(A / (2 * sp.pi)) * sp.exp(-A * (x - B / A) ** 2 / 2)  # N(x; B/A, 1/A)
    left = sp.exp(-(A * x**2 - 2 * B * x + C) / 2)
    assert sp.simplify(density / (sp.sqrt(A / (2 * sp.pi)) * sp.exp(C / 2 - B**2 / (2 * A)) * left)) == 1


@pytest.mark.claim("completing-the-square")
@pytest.mark.parametrize("A, B, C", [(1.0, 0.0, 0.0), (4.0, -2.0, 3.0), (0.3, 0.9, -1.0)])
def test_normalized_exponential_of_a_quadratic_has_mean_b_over_a_and_variance_one_over_a(A, B, C):
    window = B / A, A**-0.5
    mass, first, second = (
        quad(lambda x, p=p: x**p * np.exp(-(A * x**2 - 2 * B * x + C) / 2), *window) for p in (0, 1, 2))
    close([first / mass, second / mass - (first / mass) ** 2], [B / A, 1 / A], 1e-8)
    close(1 / mass, np.sqrt(A / (2 * np.pi)) * np.exp(C / 2 - B**2 / (2 * A)), 1e-8)


@pytest.mark.claim("completing-the-square")
@pytest.mark.parametrize("schedule, t", AFTER_1)
def test_the_packages_posterior_is_b_over_a_and_one_over_a(schedule, t):
    """In x_{t-1}, q(x_t | x_{t-1}) q(x_{t-1} | x_0) has A = α/β + 1/v and B = √α x_t/β + factor x_0/v."""
    xt, x0, beta = 1.2, -0.7, schedule.beta[t].item()
    factor, var = chain_law(schedule, t - 1)
    A, B = (1 - beta) / beta + 1 / var, np.sqrt(1 - beta) * xt / beta + factor * x0 / var
    mean, variance = posterior_mean_var(column(xt), column(x0), t, schedule)
    close([mean.item(), variance.item()], [B / A, 1 / A])


@pytest.mark.claim("completing-the-square")
@everywhere
def test_the_packages_posterior_mean_of_gaussian_data_is_b_over_a(schedule, t):
    """In x_0, q(x_t | x_0) N(x_0; m, s^2) has A = 1/s^2 + factor^2/v and B = m/s^2 + factor x_t/v."""
    xt, m, s = 1.2, 0.8, 0.6
    factor, var = chain_law(schedule, t)
    A, B = 1 / s**2 + factor**2 / var, m / s**2 + factor * xt / var
    data = GaussianMixture([1.0], [[m]], s)
    close(data.posterior_mean(column(xt), t, schedule).item(), B / A, 1e-9)  # 1 - ᾱ_1 = 1e-4 costs four digits
    if t == 1:
        close(data.reverse_moments(column(xt), t, schedule)[1].item(), 1 / A, 1e-9)


# --- Bayes' rule ---

@pytest.mark.claim("bayes-rule")
@pytest.mark.parametrize("seed", range(5))
def test_bayes_rule_on_random_tables_in_exact_fractions(seed):
    """p(z | x) is counted within the column x; the rule must return the same fraction. p(x) = 0 is left out."""
    rng = np.random.default_rng(seed)
    counts = [[Fraction(int(c)) for c in row] for row in rng.integers(0, 4, (4, 6))]
    for row in counts:
        row[0] = Fraction(0)  # an x that never happens
    total = sum(map(sum, counts))
    p_z, p_x = [sum(row) / total for row in counts], [sum(col) / total for col in zip(*counts, strict=True)]
    for z, x in itertools.product(range(4), range(6)):
        if p_x[x] and p_z[z]:
            x_given_z = counts[z][x] / sum(counts[z])
            z_given_x = counts[z][x] / sum(row[x] for row in counts)
            assert z_given_x == x_given_z * p_z[z] / p_x[x]
            assert z_given_x * p_x[x] == x_given_z * p_z[z]
    assert p_x[0] == 0  # the division the condition rules out


@pytest.mark.claim("bayes-rule")
@pytest.mark.parametrize("schedule, t", AFTER_1)
def test_both_products_of_a_gaussian_pair_agree(schedule, t):
    """p(a | b) p(b) = p(b | a) p(a) with a = x_{t-1}, b = x_t given x_0, p(a | b) being the package's posterior."""
    x0, (factor, var) = 0.7, chain_law(schedule, t)
    factor_prev, var_prev = chain_law(schedule, t - 1)
    beta = schedule.beta[t].item()
    for a, b in [(0.3, 0.2), (-0.2, 0.4), (0.9, 1.1)]:
        mean, variance = (v.item() for v in posterior_mean_var(column(b), column(x0), t, schedule))
        left = log_normal(a, mean, variance) + log_normal(b, factor * x0, var)
        right = log_normal(b, (1 - beta) ** 0.5 * a, beta) + log_normal(a, factor_prev * x0, var_prev)
        close(left, right, 1e-9)  # logs of densities, up to 1e4 where β = 1e-4


@pytest.mark.claim("bayes-rule")
@pytest.mark.parametrize("xt", [-1.5, 0.0, 0.4, 2.0])
@pytest.mark.parametrize("t", [2, 5, 10])
def test_the_packages_mixture_posterior_is_bayes_rule_by_quadrature(t, xt):
    data, schedule = GaussianMixture([0.3, 0.7], [[-1.0], [1.4]], [0.3, 0.5]), SCHEDULES["toy"]
    factor, var = chain_law(schedule, t)

    def joint(x0):  # p(x_t | x_0) p(x_0)
        return normal(xt, factor * x0, var) * (0.3 * normal(x0, -1.0, 0.09) + 0.7 * normal(x0, 1.4, 0.25))

    evidence = quad(joint, 0.2, 0.6)
    close(data.noised(t, schedule).log_prob(column(xt)).exp().item(), evidence, 1e-8)
    close(data.posterior_mean(column(xt), t, schedule).item(), quad(lambda x: x * joint(x), 0.2, 0.6) / evidence, 1e-8)


# --- the chain rule ---

def conditionals(joint):
    """[q(x_1|x_0), q(x_2|x_1,x_0), ...] of a joint table over (x_0, ..., x_T), each full size by broadcasting."""
    kept = [joint.sum(tuple(range(s + 1, joint.ndim)), keepdims=True) for s in range(joint.ndim)]
    return [kept[s] / kept[s - 1] for s in range(1, joint.ndim)]


@pytest.mark.claim("chain-rule-of-probability")
@pytest.mark.parametrize("sizes", [(2, 2), (2, 3, 2, 4), (3, 2, 2, 2, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_product_of_all_conditionals_is_the_joint_of_any_law(sizes, seed):
    rng = np.random.default_rng(seed)
    joint = rng.dirichlet(np.ones(np.prod(sizes))).reshape(sizes)
    given_x0 = joint / joint.sum(tuple(range(1, joint.ndim)), keepdims=True)
    factors = conditionals(joint)
    for s, factor in enumerate(factors, start=1):
        close(factor.sum(s), np.ones_like(factor.sum(s)), 1e-12)  # each is a conditional law of x_s
    product = np.prod(np.broadcast_arrays(*factors), axis=0)
    close(product, given_x0, 1e-12)
    close(product[0].sum(), 1, 1e-12)
    if len(factors) > 1:  # every factor is needed
        for left_out in range(len(factors)):
            rest = np.prod(np.broadcast_arrays(*factors[:left_out], *factors[left_out + 1:]), axis=0)
            assert abs(rest - given_x0).max() > 0.02
    if len(factors) > 2:  # and for a law that is no chain so is the whole past: q(x_3 | x_2) will not do
        pair = joint.sum(tuple(s for s in range(joint.ndim) if s not in (2, 3)), keepdims=True)
        short = np.prod(np.broadcast_arrays(*factors[:2], pair / pair.sum(3, keepdims=True), *factors[3:]), axis=0)
        assert abs(short - given_x0).max() > 0.002


def joint_density(x, x0, beta):
    """q(x_1, ..., x_T | x_0) as one multivariate normal, its covariance from the chain's noise coefficients."""
    mean, root = [x0], np.zeros((len(beta) + 1, len(beta)))
    for t, b in enumerate(beta, start=1):
        mean.append(np.sqrt(1 - b) * mean[-1])
        root[t] = np.sqrt(1 - b) * root[t - 1]
        root[t, t - 1] = np.sqrt(b)
    return stats.multivariate_normal.pdf(x, mean[1:], root[1:] @ root[1:].T)


@pytest.mark.erratum("001:123")
@pytest.mark.parametrize("x0, x, beta", [
    (0.7, (0.5, -0.3), (0.3, 0.5)), (0.7, (0.5, -0.3, 0.1), (0.3, 0.5, 0.2)),
    (-1.0, (-0.8, -0.9, -0.4, -0.5), (0.1,) * 4)])
def test_the_last_conditional_alone_is_not_the_joint(x0, x, beta):
    """Read '= q(x_T | ...)' as printed, and then with the dots of a product in place of '='."""
    past = (x0, *x[:-1])
    factors = [normal(now, np.sqrt(1 - b) * before, b) for now, before, b in zip(x, past, beta, strict=True)]
    printed, correct = factors[-1], np.prod(factors)
    joint = joint_density(x, x0, beta)
    close(correct, joint, 1e-12)
    assert abs(printed - joint) > 0.05
    if len(x) == 2:
        assert (round(printed, 5), round(joint, 5)) == (0.36806, 0.26483)


@pytest.mark.erratum("001:123")
def test_the_last_conditional_alone_is_not_a_law_of_the_whole_path():
    """Summed over all paths it gives the number of values of the earlier states, not 1."""
    joint = np.random.default_rng(0).dirichlet(np.ones(2 * 3 * 2 * 4)).reshape(2, 3, 2, 4)
    last = conditionals(joint)[-1]
    close(last[0].sum(), 3 * 2, 1e-12)
    close(np.prod(np.broadcast_arrays(*conditionals(joint)), axis=0)[0].sum(), 1, 1e-12)


# --- Jensen's inequality ---

CONCAVE = {"log": np.log, "sqrt": np.sqrt, "minus square": lambda y: -(y**2), "min(y, 1)": lambda y: np.minimum(y, 1)}


@pytest.mark.claim("jensen-inequality")
@pytest.mark.parametrize("phi", CONCAVE.values(), ids=CONCAVE)
def test_concave_function_of_the_mean_is_at_least_the_mean_of_the_function(phi):
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = rng.integers(2, 8)
        w, y = rng.dirichlet(np.ones(n)), np.exp(rng.normal(0, rng.choice([0.1, 1.0, 3.0]), n))
        assert phi(w @ y) - w @ phi(y) >= -1e-12 * abs(phi(y)).max()


@pytest.mark.claim("jensen-inequality")
def test_for_the_logarithm_equality_holds_only_for_a_constant():
    rng = np.random.default_rng(1)
    for _ in range(100):
        n = rng.integers(2, 8)
        w, c = rng.dirichlet(np.ones(n)) + 0.01, np.exp(rng.normal())
        w /= w.sum()
        constant, spread = np.full(n, c), c * np.exp(rng.permutation(np.linspace(0, rng.uniform(0.1, 2), n)))
        assert abs(np.log(w @ constant) - w @ np.log(constant)) < 1e-12
        assert np.log(w @ spread) - w @ np.log(spread) > 1e-6
    # almost surely: a value of probability 0 may differ. For other concave functions equality means less:
    assert np.log(np.array([1.0, 0.0]) @ [2.0, 5.0]) == np.array([1.0, 0.0]) @ np.log([2.0, 5.0])
    assert np.minimum(np.mean([0.2, 0.6]), 1) == np.mean(np.minimum([0.2, 0.6], 1))


@pytest.mark.claim("jensen-inequality")
@pytest.mark.parametrize("m, s", [(0.0, 0.3), (1.0, 1.0), (-2.0, 1.5)])
def test_for_a_log_normal_variable_the_gap_is_half_its_log_variance(m, s):
    log_of_mean = np.log(quad(lambda z: np.exp(z) * normal(z, m, s**2), m, s))
    mean_of_log = quad(lambda z: z * normal(z, m, s**2), m, s)
    close(log_of_mean - mean_of_log, s**2 / 2, 1e-8)
    assert -log_of_mean < -mean_of_log


@pytest.mark.claim("jensen-inequality")
@pytest.mark.parametrize("t", [1, 3, 8])
def test_the_bound_it_gives_is_tight_only_for_the_exact_posterior(t):
    """log p(x_t) = log E_g[p/g] >= E_g[log p/g] over any density g of x_0; p/g is constant for g = p(x_0 | x_t)."""
    schedule, xt = SCHEDULES["uneven"], 0.9
    data, (factor, var) = GaussianMixture([1.0], [[0.8]], 0.6), chain_law(SCHEDULES["uneven"], t)
    log_p = data.noised(t, schedule).log_prob(column(xt)).item()
    A = 1 / 0.36 + factor**2 / var  # the posterior of x_0 given x_t, by completing the square
    exact = (0.8 / 0.36 + factor * xt / var) / A, A**-0.5

    def bound(mean, std):
        def integrand(x0):
            log_joint = log_normal(x0, 0.8, 0.36) + log_normal(xt, factor * x0, var)
            return normal(x0, mean, std**2) * (log_joint - log_normal(x0, mean, std**2))
        return quad(integrand, mean, std)

    close(bound(*exact), log_p, 1e-8)
    for mean, std in [(exact[0] + 0.2, exact[1]), (exact[0], 1.3 * exact[1]), (0.0, 1.0)]:
        assert bound(mean, std) < log_p - 0.01
