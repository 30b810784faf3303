"""The Kullback-Leibler divergence: its sign, and its closed form between Gaussians in one and more dimensions."""

import itertools

import numpy as np
import pytest
import sympy as sp
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy import integrate, stats

from ddpm_lesson import Schedule, cosine_schedule, kl_full, kl_gaussian, linear_schedule, posterior_mean_var

PAIRS = [  # mean and variance of the first law, then of the second
    (0.3, 0.4, -0.5, 0.9), (0.0, 1.0, 0.0, 1.0), (0.0, 1.0, 0.0, 4.0), (1.0, 0.2, -0.7, 0.2), (-2.0, 3.0, 1.0, 0.5),
    (0.0, 0.01, 0.1, 0.02),
]
TOY = Schedule([0.05 * s for s in range(1, 11)])
REVERSE = [(TOY, 5), (TOY, 2), (TOY, 10), (linear_schedule(100), 60), (cosine_schedule(50), 20)]


def close(got, want, tol=1e-10):
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def log_normal(x, mean, var):
    return -(np.log(2 * np.pi * var) + (x - mean) ** 2 / var) / 2


def log_ratio(x, m1, v1, m2, v2):
    return log_normal(x, m1, v1) - log_normal(x, m2, v2)


def expect(f, mean, var):
    """E[f(x)] under N(mean, var), by adaptive quadrature."""
    def integrand(x):
        return np.exp(log_normal(x, mean, var)) * f(x)

    return integrate.quad(integrand, mean - 12 * var**0.5, mean + 12 * var**0.5, epsabs=1e-13, epsrel=1e-11)[0]


def kl_by_quadrature(m1, v1, m2, v2):
    """The definition itself: the integral of p_1 log(p_1 / p_2)."""
    return expect(lambda x: log_ratio(x, m1, v1, m2, v2), m1, v1)


def kl_one(m1, v1, m2, v2):
    """The package's answer for one number."""
    return kl_gaussian(tensor(m1), tensor(v1), tensor(m2), tensor(v2)).item()


def random_law(rng, n):
    root = rng.normal(size=(n, n))
    return rng.normal(size=n), root @ root.T + 0.2 * np.eye(n)


def kl_by_hermite(mean_1, cov_1, mean_2, cov_2):
    """E_{p_1}[log p_1 - log p_2] with scipy's densities: a quadratic, so a product rule of few nodes is exact."""
    z, w = hermegauss(5)
    nodes = np.array(list(itertools.product(z, repeat=len(mean_1))))
    weights = np.prod(list(itertools.product(w / w.sum(), repeat=len(mean_1))), axis=1)
    x = mean_1 + nodes @ np.linalg.cholesky(cov_1).T
    p_1, p_2 = stats.multivariate_normal(mean_1, cov_1), stats.multivariate_normal(mean_2, cov_2)
    return weights @ (p_1.logpdf(x) - p_2.logpdf(x))


def reverse_pair(schedule, t, x0=0.7, x0_hat=0.2, xt=1.2):
    """Bayes on a grid: mean and variance of q(x_{t-1} | x_t, x_0), and the same mean for a guess at x_0."""
    beta = schedule.beta.tolist()
    factor, var = 1.0, 0.0
    for b in beta[1:t]:
        factor, var = (1 - b) ** 0.5 * factor, (1 - b) * var + b
    x = np.linspace(-12, 12, 60_001)
    moments = []
    for start in (x0, x0_hat):
        w = np.exp(log_normal(xt, (1 - beta[t]) ** 0.5 * x, beta[t]) + log_normal(x, factor * start, var))
        mean = (w @ x) / w.sum()
        moments.append((mean, w @ (x - mean) ** 2 / w.sum()))
    (mean, variance), (mean_hat, variance_hat) = moments
    close(variance, variance_hat, 1e-9)  # it does not depend on x_0
    return mean, mean_hat, variance


# --- the definition ---

@pytest.mark.claim("kl-definition")
@pytest.mark.parametrize("pair", PAIRS)
def test_both_spellings_agree_and_are_positive_unless_the_laws_are_equal(pair):
    m1, v1, m2, v2 = pair
    kl = kl_by_quadrature(*pair)
    other = -expect(lambda x: log_ratio(x, m2, v2, m1, v1), m1, v1)
    close(kl, other, 1e-8)
    close(kl_one(*pair), kl, 1e-8)
    assert kl > 0.1 if pair[:2] != pair[2:] else abs(kl) < 1e-10


@pytest.mark.claim("kl-definition")
def test_divergence_is_zero_only_for_equal_laws_on_random_tables():
    rng = np.random.default_rng(0)
    for _ in range(100):
        n = rng.integers(2, 7)
        p, q = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))
        assert p @ np.log(p / q) > 0 and p @ np.log(p / p) == 0
        assert p @ np.log(q / p) < 0  # the integral without its minus sign


@pytest.mark.erratum("004:219")
@pytest.mark.parametrize("schedule, t", REVERSE)
def test_printed_divergence_without_the_minus_sign_is_never_positive(schedule, t):
    """Its two laws are q(x_{t-1} | x_t, x_0) and a model's p(x_{t-1} | x_t); the model here has variance β_t."""
    mean, mean_hat, var = reverse_pair(schedule, t)
    var_hat = schedule.beta[t].item()
    printed = expect(lambda x: log_ratio(x, mean_hat, var_hat, mean, var), mean, var)
    correct = -printed
    assert printed < -0.001  # a divergence cannot be
    close(kl_one(mean, var, mean_hat, var_hat), correct, 1e-8)


@pytest.mark.erratum("004:219")
def test_printed_sign_at_the_registers_numbers():
    printed = expect(lambda x: log_ratio(x, -0.5, 0.9, 0.3, 0.4), 0.3, 0.4)
    assert round(printed, 5) == -0.48324
    close(-printed, kl_one(0.3, 0.4, -0.5, 0.9), 1e-8)


# --- one dimension ---

@pytest.mark.claim("kl-gaussian-1d")
def test_closed_form_follows_from_the_first_two_moments():
    z, m_p, m_q = sp.symbols("z mu_P mu_Q", real=True)
    s_p, s_q = sp.symbols("sigma_P sigma_Q", positive=True)
    x = m_p + s_p * z  # z ~ N(0, 1)
    log_p = -sp.log(s_p) - (x - m_p) ** 2 / (2 * s_p**2)
    log_q = -sp.log(s_q) - (x - m_q) ** 2 / (2 * s_q**2)
    c2, c1, c0 = sp.Poly(sp.expand(log_p - log_q), z).all_coeffs()
    expectation = c0 + 0 * c1 + 1 * c2  # E[z] = 0, E[z^2] = 1
    claimed = sp.log(s_q / s_p) + (s_p**2 + (m_p - m_q) ** 2) / (2 * s_q**2) - sp.Rational(1, 2)
    assert sp.simplify(sp.expand_log(expectation - claimed)) == 0


@pytest.mark.claim("kl-gaussian-1d")
@pytest.mark.parametrize("seed", range(12))
def test_the_package_agrees_with_quadrature_on_random_laws(seed):
    rng = np.random.default_rng(seed)
    m1, m2 = rng.normal(0, 2, 2)
    v1, v2 = np.exp(rng.normal(0, 1, 2))
    close(kl_one(m1, v1, m2, v2), kl_by_quadrature(m1, v1, m2, v2), 1e-8)
    close(kl_one(m2, v2, m1, v1), kl_by_quadrature(m2, v2, m1, v1), 1e-8)
    assert abs(kl_one(m1, v1, m2, v2) - kl_one(m2, v2, m1, v1)) > 1e-3  # the order matters


@pytest.mark.claim("kl-gaussian-1d")
@pytest.mark.parametrize("pair", PAIRS)
def test_the_package_agrees_with_torch_which_takes_standard_deviations(pair):
    m1, v1, m2, v2 = (tensor(v) for v in pair)
    p, q = torch.distributions.Normal(m1, v1.sqrt()), torch.distributions.Normal(m2, v2.sqrt())
    close(kl_gaussian(m1, v1, m2, v2), torch.distributions.kl_divergence(p, q))


# --- full covariances ---

@pytest.mark.claim("kl-gaussian-multivariate")
def test_for_n_1_the_matrix_formula_is_the_one_dimensional_one():
    m1, m2 = sp.symbols("mu_1 mu_2", real=True)
    s1, s2 = sp.symbols("sigma_1 sigma_2", positive=True)
    claimed = multivariate(sp.Matrix([m1]), sp.Matrix([[s1**2]]), sp.Matrix([m2]), sp.Matrix([[s2**2]]))
    one = sp.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - sp.Rational(1, 2)
    assert sp.simplify(sp.expand_log(claimed - one, force=True)) == 0


@pytest.mark.claim("kl-gaussian-multivariate")
def test_for_diagonal_covariances_it_is_a_sum_over_coordinates():
    n = 3
    m1, m2 = (sp.Matrix(sp.symbols(f"{name}1:{n + 1}", real=True)) for name in "ab")
    v1, v2 = (sp.symbols(f"{name}1:{n + 1}", positive=True) for name in "uv")
    claimed = multivariate(m1, sp.diag(*v1), m2, sp.diag(*v2))
    each = sum(sp.log(v2[i] / v1[i]) / 2 + (v1[i] + (m1[i] - m2[i]) ** 2) / (2 * v2[i]) - sp.Rational(1, 2)
               for i in range(n))
    assert sp.simplify(sp.expand_log(claimed - each, force=True)) == 0


def multivariate(m1, cov_1, m2, cov_2):
    """The claimed formula on sympy matrices."""
    ratio = cov_2.inv() * cov_1
    return (((m1 - m2).T * cov_2.inv() * (m1 - m2))[0] - sp.log(ratio.det()) + ratio.trace() - len(m1)) / 2


@pytest.mark.claim("kl-gaussian-multivariate")
@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_package_agrees_with_an_exact_cubature_for_full_covariances(n, seed):
    rng = np.random.default_rng(10 * n + seed)
    p_1, p_2 = random_law(rng, n), random_law(rng, n)
    got, swapped = (kl_full(*map(torch.from_numpy, (*a, *b))).item() for a, b in ((p_1, p_2), (p_2, p_1)))
    close([got, swapped], [kl_by_hermite(*p_1, *p_2), kl_by_hermite(*p_2, *p_1)], 1e-9)
    assert got > 0 and abs(got - swapped) > 1e-3
    first, second = (torch.distributions.MultivariateNormal(torch.from_numpy(m), torch.from_numpy(c))
                     for m, c in (p_1, p_2))
    close(got, torch.distributions.kl_divergence(first, second).item(), 1e-9)


@pytest.mark.claim("kl-gaussian-multivariate")
@pytest.mark.parametrize("n", [2, 3])
def test_the_package_agrees_with_monte_carlo(n):
    rng = np.random.default_rng(n)
    p_1, p_2 = random_law(rng, n), random_law(rng, n)
    x = rng.multivariate_normal(*p_1, size=200_000)
    draws = stats.multivariate_normal.logpdf(x, *p_1) - stats.multivariate_normal.logpdf(x, *p_2)
    error = 5 * draws.std() / len(draws) ** 0.5  # 5 standard errors
    assert abs(kl_full(*map(torch.from_numpy, (*p_1, *p_2))).item() - draws.mean()) < error


@pytest.mark.claim("kl-gaussian-multivariate")
def test_the_package_on_diagonal_covariances_is_the_sum_of_quadratures():
    covs = np.diag([0.4, 1.0, 3.0]), np.diag([0.9, 1.0, 0.5])
    got = kl_full(tensor(0.3, 0.0, -2.0), torch.from_numpy(covs[0]), tensor(-0.5, 0.2, 1.0), torch.from_numpy(covs[1]))
    close(got.item(), sum(kl_by_quadrature(*pair) for pair in (
        (0.3, 0.4, -0.5, 0.9), (0.0, 1.0, 0.2, 1.0), (-2.0, 3.0, 1.0, 0.5))), 1e-8)


# --- isotropic covariances ---

@pytest.mark.claim("kl-gaussian-isotropic")
@pytest.mark.parametrize("d", [1, 2, 4])
def test_isotropic_form_is_the_matrix_form_with_scalar_covariances(d):
    m1, m2 = (sp.Matrix(sp.symbols(f"{name}1:{d + 1}", real=True)) for name in "ab")
    v1, v2 = sp.symbols("v_1 v_2", positive=True)
    claimed = (d * (sp.log(v2 / v1) + v1 / v2 - 1) + (m2 - m1).dot(m2 - m1) / v2) / 2
    full = multivariate(m1, v1 * sp.eye(d), m2, v2 * sp.eye(d))
    assert sp.simplify(sp.expand_log(full - claimed, force=True)) == 0


@pytest.mark.claim("kl-gaussian-isotropic")
@pytest.mark.parametrize("shape", [(1,), (3,), (7,), (1, 2, 2)], ids=str)
@pytest.mark.parametrize("v1, v2", [(0.4, 0.9), (2.0, 0.7), (0.05, 0.06)])
def test_the_package_sums_one_dimensional_quadratures_over_the_coordinates(shape, v1, v2):
    rng = np.random.default_rng(0)
    m1, m2 = rng.normal(size=(2, 2, *shape))  # two samples each
    got = kl_gaussian(torch.from_numpy(m1), v1, torch.from_numpy(m2), tensor(v2))
    want = [sum(kl_by_quadrature(a, v1, b, v2) for a, b in zip(x.ravel(), y.ravel(), strict=True))
            for x, y in zip(m1, m2, strict=True)]
    assert got.shape == (2,)
    close(got, want, 1e-8)
    d = m1[0].size
    full = kl_full(*(torch.from_numpy(a) for a in (m1.reshape(2, d), v1 * np.eye(d), m2.reshape(2, d), v2 * np.eye(d))))
    close(full, want, 1e-8)


@pytest.mark.claim("kl-gaussian-isotropic")
def test_dimension_multiplies_the_variance_part_only():
    """Coordinates with equal means add the same variance part each; the mean part does not grow with them."""
    def padded(d, shift):
        mean = torch.zeros(1, d, dtype=torch.float64)
        mean[0, 0] = shift
        return kl_gaussian(mean, tensor(0.4), torch.zeros(1, d, dtype=torch.float64), tensor(0.9)).item()

    variance_part = kl_by_quadrature(0, 0.4, 0, 0.9)
    for d in (1, 2, 10):
        close(padded(d, 0.0), d * variance_part, 1e-8)
        close(padded(d, 1.5) - padded(d, 0.0), kl_by_quadrature(1.5, 0.4, 0, 0.9) - variance_part, 1e-8)


@pytest.mark.erratum("004:237")
@pytest.mark.parametrize("shift, v1, v2", [
    ((0.5, -0.2, 0.1), 0.4, 0.9), ((0.0, 0.0), 1.0, 0.3), ((1.0, -1.0, 2.0, 0.3, 0.0), 0.2, 0.1)])
def test_printed_isotropic_divergence_lacks_the_dimension(shift, v1, v2):
    d, square = len(shift), sum(s**2 for s in shift)
    printed = 0.5 * (np.log(v2 / v1) + v1 / v2 - 1 + square / v2)
    correct = 0.5 * (d * (np.log(v2 / v1) + v1 / v2 - 1) + square / v2)
    true = sum(kl_by_quadrature(s, v1, 0, v2) for s in shift)
    close(correct, true, 1e-8)
    assert true - printed > 0.2
    close(kl_gaussian(tensor(shift), v1, torch.zeros(1, d).double(), v2).item(), true, 1e-8)
    if d == 3:
        assert (round(printed, 5), round(true, 5)) == (0.29435, 0.54973)


@pytest.mark.erratum("004:237")
def test_printed_isotropic_divergence_is_right_for_d_1_and_for_equal_variances():
    printed = 0.5 * (np.log(0.9 / 0.4) + 0.4 / 0.9 - 1 + 0.64 / 0.9)
    close(printed, kl_by_quadrature(0.3, 0.4, -0.5, 0.9), 1e-8)
    equal = 0.5 * (np.log(0.4 / 0.4) + 0.4 / 0.4 - 1 + (0.5**2 + 0.2**2) / 0.4)
    close(equal, kl_by_quadrature(0.5, 0.4, 0, 0.4) + kl_by_quadrature(-0.2, 0.4, 0, 0.4), 1e-8)


# --- a common covariance ---

@pytest.mark.claim("kl-equal-covariance")
def test_with_equal_variances_only_the_means_are_left():
    m1, m2 = (sp.Matrix(sp.symbols(f"{name}1:4", real=True)) for name in "ab")
    v = sp.symbols("v", positive=True)
    full = multivariate(m1, v * sp.eye(3), m2, v * sp.eye(3))
    assert sp.simplify(full - (m1 - m2).dot(m1 - m2) / (2 * v)) == 0


@pytest.mark.claim("kl-equal-covariance")
@pytest.mark.parametrize("v", [0.01, 0.4, 1.0, 5.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_divergence_is_the_squared_distance_over_twice_the_variance_in_either_order(d, v):
    rng = np.random.default_rng(d)
    m1, m2 = rng.normal(size=(2, d)) * v**0.5
    orders = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in ((m1, m2), (m2, m1))]
    there, back = (kl_gaussian(a[None], v, b[None], v).item() for a, b in orders)
    close([there, back], 2 * [((m1 - m2) ** 2).sum() / (2 * v)])
    close(there, sum(kl_by_quadrature(a, v, b, v) for a, b in zip(m1, m2, strict=True)), 1e-8)
    cov = v * torch.eye(d).double()
    close([kl_full(a, cov, b, cov).item() for a, b in orders], [there, back])


@pytest.mark.claim("kl-equal-covariance")
def test_with_other_variances_the_order_matters_and_the_distance_is_not_enough():
    assert abs(kl_by_quadrature(0.3, 0.4, -0.5, 0.9) - kl_by_quadrature(-0.5, 0.9, 0.3, 0.4)) > 0.5
    for v in (0.4, 0.9):
        assert abs(kl_by_quadrature(0.3, 0.4, -0.5, 0.9) - 0.8**2 / (2 * v)) > 0.1


@pytest.mark.erratum("004:390")
@pytest.mark.parametrize("schedule, t", REVERSE)
def test_printed_denoising_divergence_is_twice_too_large(schedule, t):
    mean, mean_hat, var = reverse_pair(schedule, t)
    printed = (mean - mean_hat) ** 2 / var
    correct = (mean - mean_hat) ** 2 / (2 * var)
    true = kl_by_quadrature(mean, var, mean_hat, var)
    close(correct, true, 1e-8)
    close(printed, 2 * true, 1e-8)
    assert printed - true > 1e-4
    (mu, variance), (mu_hat, _) = (posterior_mean_var(tensor(1.2), tensor(x), t, schedule) for x in (0.7, 0.2))
    close(kl_gaussian(mu, variance, mu_hat, variance).item(), true, 1e-7)  # the grid is the less exact side
    if schedule is TOY and t == 5:
        assert (round(printed, 5), round(true, 6)) == (0.15393, 0.076964)
