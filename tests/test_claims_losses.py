"""The register's claims and errata on losses: where the weights come from, and what they do and do not change.

The oracles: conditioning of a joint Gaussian for the posterior, torch.distributions and trapezoid sums for the KL,
moments of the linear-Gaussian model for the bound, exact rationals for the weights. None reads the package's tables.

Sabotage of the package that turned this file red: in each weight a square, a root, abar for abar_prev, abar for alpha,
the weights swapped, 2 sigma, sigma^4, no 2, a finite first entry; randint(0, T), randint(1, T), abs for square, sum
for mean, x_t for x_0 as the target; sigma for sigma^2, a sign, no L_T, one step less in the bound; terminal_kl.
And of the formulas here: each printed form made right, each correct form spoilt, d and the constants dropped.
"""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import sympy
import torch
from float64 import close, column, randn
from torch.distributions import Normal, kl_divergence

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    cosine_schedule,
    elbo_terms,
    eps_from_x0,
    kl_gaussian,
    linear_schedule,
    loss_weight,
    mean_from_eps,
    mean_from_x0,
    posterior_mean_var,
    q_sample,
    simple_loss,
    x0_from_eps,
)

REGISTER_BETAS = 0.05 * np.arange(1, 11)  # the schedule of the register's numbers, T = 10
UNEVEN_BETAS = np.array([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14])
REGISTER, UNEVEN = Schedule(REGISTER_BETAS), Schedule(UNEVEN_BETAS)
CASES = [(REGISTER_BETAS, 2), (REGISTER_BETAS, 5), (REGISTER_BETAS, 10), (UNEVEN_BETAS, 3), (UNEVEN_BETAS, 8)]
every_case = pytest.mark.parametrize("betas, t", CASES, ids=lambda v: str(v) if isinstance(v, int) else f"T{len(v)}")
every_sigma = pytest.mark.parametrize("sigma", ["posterior", "beta"])
STANDARD_NORMAL = GaussianMixture([1.0], [[0.0]], 1.0)
SIGNS = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.0)  # data +-1
X0, XT, X0_HAT = 0.7, 1.2, 0.2  # the register's point


def jump(betas, t):
    """What t single steps leave of x_0 (a factor) and the variance of what they add."""
    signal, var = 1.0, 0.0
    for beta in betas[:t]:
        signal, var = math.sqrt(1 - beta) * signal, (1 - beta) * var + beta
    return signal, var


def posterior(betas, t, xt, x0):
    """Mean and variance of x_{t-1} given x_t and x_0, by conditioning the joint Gaussian of two neighbours."""
    (signal, var), beta = jump(betas, t - 1), betas[t - 1]
    gain = math.sqrt(1 - beta) * var / ((1 - beta) * var + beta)
    return signal * x0 + gain * (xt - math.sqrt(1 - beta) * signal * x0), var - gain * math.sqrt(1 - beta) * var


def reverse_variance(betas, t, sigma):
    return posterior(betas, t, 0.0, 0.0)[1] if sigma == "posterior" else betas[t - 1]


def noise_nodes():
    """Standard normal nodes (N, 1) and weights (N,) of a trapezoid rule, exact to rounding for smooth functions."""
    z = torch.arange(-9, 9.01, 0.05, dtype=torch.float64)
    return z[:, None], (-z.square() / 2).exp().div((-z.square() / 2).exp().sum())


def kl_by_quadrature(mean_q, var_q, mean_p, var_p):
    """The integral of q log(q / p), from the two log densities."""
    z, w = noise_nodes()
    q, p = (Normal(*torch.tensor([m, v**0.5], dtype=torch.float64)) for m, v in ((mean_q, var_q), (mean_p, var_p)))
    x = mean_q + var_q**0.5 * z[:, 0]
    return (w * (q.log_prob(x) - p.log_prob(x))).sum().item()


def network(xt):
    """Some mu_theta(x_t): anything will do."""
    return 0.6 * xt + 0.2 * (2 * xt).sin() - 0.1


def constant(d, beta_tilde, var):
    """C_t of the claim mean-matching-loss."""
    return d / 2 * (beta_tilde / var - 1 + math.log(var / beta_tilde))


def rational_alpha_bar(betas):
    """abar_0..abar_T exactly, for the rational numbers that the float64 betas are."""
    return [math.prod((1 - Fraction(float(b)) for b in betas[:t]), start=Fraction(1)) for t in range(len(betas) + 1)]


# --- the KL as a distance of means


@pytest.mark.claim("mean-matching-loss")
@every_sigma
@every_case
def test_the_averaged_kl_is_the_weighted_distance_of_the_means_and_a_constant(betas, t, sigma):
    """Both sides averaged over three x_0 and over x_t; the left side is the KL of the torch distributions."""
    schedule, (signal, var), (z, w) = Schedule(betas), jump(betas, t), noise_nodes()
    x0 = torch.tensor([-1.0, 0.3, 1.4], dtype=torch.float64)
    xt = signal * x0 + math.sqrt(var) * z  # (N, 3)
    q_mean, q_var = posterior(betas, t, xt, x0)
    p = Normal(network(xt), math.sqrt(reverse_variance(betas, t, sigma)))
    averaged = (w @ kl_divergence(Normal(q_mean, math.sqrt(q_var)), p)).mean()
    distance = (posterior_mean_var(xt, x0.expand_as(xt), t, schedule)[0] - network(xt)).square()
    stated = loss_weight("mean", schedule, sigma)[t] * (w @ distance).mean()
    close(averaged, stated + constant(1, q_var, reverse_variance(betas, t, sigma)))


@pytest.mark.claim("mean-matching-loss")
@every_case
def test_the_constant_counts_the_dimensions_and_is_0_for_the_variance_of_the_posterior_alone(betas, t):
    beta_tilde = posterior(betas, t, 0.0, 0.0)[1]
    mean = randn(1, 5)
    for factor in (0.2, 0.9, 0.999, 1.0, 1.001, 1.3, 5.0):
        c = constant(1, beta_tilde, factor * beta_tilde)
        close(c, kl_by_quadrature(0.4, beta_tilde, 0.4, factor * beta_tilde), atol=1e-11)
        close(kl_gaussian(mean, beta_tilde, mean, factor * beta_tilde), [5 * c], atol=1e-11)
        assert c > 0 if factor != 1 else c == 0


@pytest.mark.claim("mean-matching-loss")
@every_sigma
def test_the_packages_bound_has_these_terms(sigma):
    """20000 draws of x_t for x_0 = (0.7, -1.1); 5 standard errors, from the spread over the draws."""
    x0, (z, w), schedule = column(0.7, -1.1).T, noise_nodes(), UNEVEN
    terms = elbo_terms(lambda xt, t: network(xt), x0.expand(20_000, 2), schedule, sigma=sigma, predicts="mean",
                       generator=torch.Generator().manual_seed(0)).L_t
    for t in range(2, schedule.T + 1):
        signal, var = jump(UNEVEN_BETAS, t)
        xt = signal * x0 + math.sqrt(var) * z
        q_mean, q_var = posterior(UNEVEN_BETAS, t, xt, x0)
        p_var = reverse_variance(UNEVEN_BETAS, t, sigma)
        stated = (w @ (q_mean - network(xt)).square()).sum() / (2 * p_var) + constant(2, q_var, p_var)
        assert abs(terms[t].mean() - stated) < 5 * terms[t].std() / 20_000**0.5


@pytest.mark.erratum("002:114")
@every_case
def test_002_114_the_variance_of_the_posterior_is_replaced_without_its_constant(betas, t):
    (mean, beta_tilde), var = posterior(betas, t, XT, X0), betas[t - 1]  # sigma_t^2 = beta_t
    line_before = kl_by_quadrature(mean, beta_tilde, 0.1, var)
    printed = kl_by_quadrature(mean, var, 0.1, var)
    correct = printed + constant(1, beta_tilde, var)
    close(correct, line_before)
    packaged = kl_gaussian(*posterior_mean_var(column(XT), column(X0), t, Schedule(betas)), 0.1, float(var))
    close(packaged, [line_before])
    assert line_before - printed > (1e-3 if t <= 5 else 1e-5)  # near T the two variances meet
    if t == 5:
        assert (f"{printed:.4f}", f"{correct:.4f}", f"{correct - printed:.6f}") == ("1.6489", "1.6691", "0.020157")
    close(kl_by_quadrature(mean, beta_tilde, 0.1, beta_tilde), (mean - 0.1) ** 2 / (2 * beta_tilde))  # there: no loss


@pytest.mark.erratum("002:115")
@every_sigma
@every_case
def test_002_115_an_average_over_xt_is_set_equal_to_the_kl_at_one_xt(betas, t, sigma):
    """The KL differs from one x_t to the next, so no number equals it; its average is the right side and C_t."""
    (signal, var), (z, w) = jump(betas, t), noise_nodes()
    xt, p_var = signal * X0 + math.sqrt(var) * z, reverse_variance(betas, t, sigma)
    q_mean, q_var = posterior(betas, t, xt, X0)
    mu = xt / math.sqrt(1 - betas[t - 1])
    right_side = (w @ (q_mean - mu).square()).item() / (2 * p_var)
    kl = kl_gaussian(q_mean, q_var, mu, p_var)
    close(w @ kl, right_side + constant(1, q_var, p_var))
    points = column(-1.0, XT, 3.0)
    at = kl_gaussian(*posterior_mean_var(points, column(X0), t, Schedule(betas)), points / math.sqrt(1 - betas[t - 1]),
                     p_var)
    assert at.max() - at.min() > right_side / 2 and (at - right_side).abs().max() > right_side / 2
    if t == 5 and sigma == "posterior":
        assert (f"{at[1]:.5f}", f"{right_side:.5f}") == ("0.38427", "0.39815")


# --- the weights of the three predictors


@pytest.mark.claim("x0-loss-weight")
@every_sigma
@every_case
def test_the_x0_weight_turns_the_error_of_x0_into_the_kl(betas, t, sigma):
    weight, var = loss_weight("x0", Schedule(betas), sigma)[t], reverse_variance(betas, t, sigma)
    xt, x0, x0_hat = randn(3, 6)
    means = posterior(betas, t, xt, x0)[0], posterior(betas, t, xt, x0_hat)[0]
    kl = kl_divergence(*(Normal(mean, math.sqrt(var)) for mean in means))
    close(weight * (x0_hat - x0) ** 2, kl, rtol=1e-9)
    packaged = [mean_from_x0(xt, x, t, Schedule(betas)) for x in (x0, x0_hat)]
    close((packaged[1] - packaged[0]).square() / (2 * var), weight * (x0_hat - x0) ** 2)


@pytest.mark.claim("x0-loss-weight")
def test_the_x0_weight_of_the_bound_is_half_the_drop_of_the_snr_symbolically():
    alpha, prev, x, x_hat, xt = sympy.symbols("alpha prev x x_hat xt", positive=True)
    beta, abar, u = 1 - alpha, alpha * prev, sympy.Symbol("u")
    exponent = -(xt - sympy.sqrt(alpha) * u) ** 2 / (2 * beta) - (u - sympy.sqrt(prev) * x) ** 2 / (2 * (1 - prev))
    var = -1 / sympy.diff(exponent, u, 2)  # the posterior, from its log density: curvature and top
    (mean,) = sympy.solve(sympy.diff(exponent, u), u)
    gap = sympy.simplify(mean - mean.subs(x, x_hat))
    assert sympy.simplify(gap - sympy.sqrt(prev) * beta / (1 - abar) * (x - x_hat)) == 0
    weight = gap**2 / (2 * var) / (x - x_hat) ** 2
    assert sympy.simplify(weight - prev * beta**2 / (1 - abar) ** 2 / (2 * var)) == 0
    assert sympy.simplify(weight - (prev / (1 - prev) - abar / (1 - abar)) / 2) == 0


@pytest.mark.claim("x0-loss-weight")
@pytest.mark.parametrize("betas", [REGISTER_BETAS, UNEVEN_BETAS, np.linspace(1e-4, 0.02, 60)], ids=["T10", "T8", "T60"])
def test_the_x0_weight_of_the_bound_is_half_the_drop_of_the_snr_in_rationals(betas):
    abar = rational_alpha_bar(betas)
    snr = [None] + [a / (1 - a) for a in abar[1:]]
    weight = loss_weight("x0", Schedule(betas))
    close(weight[2:], [float(snr[t - 1] - snr[t]) / 2 for t in range(2, len(abar))], rtol=1e-9)
    assert weight[1] == math.inf  # where the SNR drops from infinity


@pytest.mark.erratum("000:1132")
@every_case
def test_000_1132_the_factor_of_the_variance_counted_twice(betas, t):
    beta_tilde, weight_x0 = posterior(betas, t, 0.0, 0.0)[1], posterior(betas, t, 0.0, 1.0)[0]
    omega = weight_x0**2 / (2 * beta_tilde)  # lines 730-732 of the slides: the factor is inside
    printed, correct = 1 / (2 * beta_tilde) * omega * (X0_HAT - X0) ** 2, omega * (X0_HAT - X0) ** 2
    means = posterior(betas, t, XT, X0)[0], posterior(betas, t, XT, X0_HAT)[0]
    kl = kl_by_quadrature(means[0], beta_tilde, means[1], beta_tilde)
    close(correct, kl)
    close(loss_weight("x0", Schedule(betas))[t] * (X0_HAT - X0) ** 2, kl)
    assert abs(printed / kl - 1) > 0.03  # 1 / (2 beta_tilde), which is nearest to 1 at t = 10
    if t == 5:
        assert (f"{printed:.5f}", f"{correct:.6f}") == ("0.20738", "0.076964")


@pytest.mark.claim("epsilon-loss-weight")
@every_sigma
@every_case
def test_the_eps_weight_turns_the_error_of_the_noise_into_the_kl(betas, t, sigma):
    weight, var = loss_weight("eps", Schedule(betas), sigma)[t], reverse_variance(betas, t, sigma)
    (signal, noise_var), (xt, eps, eps_hat) = jump(betas, t), randn(3, 6)
    means = [posterior(betas, t, xt, (xt - math.sqrt(noise_var) * e) / signal)[0] for e in (eps, eps_hat)]
    kl = kl_divergence(*(Normal(mean, math.sqrt(var)) for mean in means))
    close(weight * (eps_hat - eps) ** 2, kl, rtol=1e-9)
    packaged = [mean_from_eps(xt, e, t, Schedule(betas)) for e in (eps, eps_hat)]
    close((packaged[1] - packaged[0]).square() / (2 * var), weight * (eps_hat - eps) ** 2)


@pytest.mark.claim("epsilon-loss-weight")
@every_case
def test_an_error_of_x0_is_an_error_of_the_noise_divided_by_the_snr(betas, t):
    """... which is why the two weights differ, by the factor (1 - abar_t) / abar_t."""
    schedule, (xt, eps, eps_hat) = Schedule(betas), randn(3, 6)
    abar = rational_alpha_bar(betas)[t]
    x0, x0_hat = (x0_from_eps(xt, e, t, schedule) for e in (eps, eps_hat))
    close((x0_hat - x0) ** 2, float((1 - abar) / abar) * (eps_hat - eps) ** 2, rtol=1e-9)
    for sigma in ("posterior", "beta"):
        eps_weight, x0_weight = (loss_weight(p, schedule, sigma)[t].item() for p in ("eps", "x0"))
        close(eps_weight, x0_weight * float((1 - abar) / abar))
        assert abs(eps_weight / x0_weight - 1) > 0.05


@pytest.mark.claim("epsilon-loss-weight")
def test_the_eps_weight_symbolically():
    alpha, prev, xt, eps, eps_hat, var = sympy.symbols("alpha prev xt eps eps_hat var", positive=True)
    abar, u = alpha * prev, sympy.Symbol("u")

    def mean(noise):  # the top of the posterior's log density at the x_0 that the noise implies
        x0 = (xt - sympy.sqrt(1 - abar) * noise) / sympy.sqrt(abar)
        slope = sympy.sqrt(alpha) * (xt - sympy.sqrt(alpha) * u) / (1 - alpha)
        return sympy.solve(slope - (u - sympy.sqrt(prev) * x0) / (1 - prev), u)[0]

    difference = sympy.expand(mean(eps_hat) - mean(eps))
    stated = (1 - alpha) / (sympy.sqrt(alpha) * sympy.sqrt(1 - abar)) * (eps - eps_hat)
    assert sympy.simplify(difference - stated) == 0
    weight = sympy.simplify(difference**2 / (2 * var) / (eps - eps_hat) ** 2)
    for first, second in ((0.3, 0.25), (0.05, 0.6)):
        at = weight.subs({alpha: 1 - second, prev: 1 - first, var: second})
        close(loss_weight("eps", Schedule([first, second]), "beta")[2], float(at))


@pytest.mark.erratum("004:519")
@every_sigma
@every_case
def test_004_519_the_weight_of_x0_put_on_the_error_of_the_noise(betas, t, sigma):
    """The two weights meet only where abar_t = 1/2."""
    (s_prev, _), (signal, var), alpha = jump(betas, t - 1), jump(betas, t), 1 - betas[t - 1]
    p_var, eps, eps_hat = reverse_variance(betas, t, sigma), (XT - signal * X0) / math.sqrt(var), 0.1
    printed = 1 / (2 * p_var) * (1 - alpha) ** 2 * s_prev**2 / var**2 * (eps_hat - eps) ** 2
    correct = 1 / (2 * p_var) * (1 - alpha) ** 2 / (alpha * var) * (eps_hat - eps) ** 2
    means = posterior(betas, t, XT, X0)[0], posterior(betas, t, XT, (XT - math.sqrt(var) * eps_hat) / signal)[0]
    kl = kl_by_quadrature(means[0], p_var, means[1], p_var)
    close(correct, kl, rtol=1e-9)
    close(loss_weight("eps", Schedule(betas), sigma)[t] * (eps_hat - eps) ** 2, kl, rtol=1e-9)
    assert abs(printed / kl - 1) > 0.2
    close(printed, signal**2 / var * correct, rtol=1e-9)
    if t == 5 and sigma == "posterior":
        assert (f"{printed:.5f}", f"{correct:.5f}") == ("0.23971", "0.31003")


# --- the bound as a weighted squared error: data x_0, predictor x0_hat = c[t] * x_t, so that everything is Gaussian


def log_p(x0, betas, c, decoder_var):
    """The exact log p_theta(x_0): the model's chain from N(0, 1) down is Gaussian, so carry its variance along."""
    v = 1.0
    for t in range(len(betas), 0, -1):
        step = decoder_var if t == 1 else posterior(betas, t, 0.0, 0.0)[1]
        v = posterior(betas, t, 1.0, c[t])[0] ** 2 * v + step
    return -(np.log(2 * np.pi * v) + x0**2 / v).sum() / 2


def log_ratio_sum(x0, betas, c, decoder_var):
    """E_q[log p(x_{0:T}) - log q(x_{1:T} | x_0)] from the mean and covariance of the whole forward chain."""
    T, total = len(betas), 0.0
    jumps = [jump(betas, t) for t in range(T + 1)]
    cov = np.array([[jumps[max(s, t)][0] / jumps[min(s, t)][0] * jumps[min(s, t)][1] for t in range(T + 1)]
                    for s in range(T + 1)])
    for x in x0:
        mean = np.array([signal * x for signal, _ in jumps])
        total -= (math.log(2 * math.pi) + mean[T] ** 2 + cov[T, T]) / 2
        for t in range(1, T + 1):
            a, v = posterior(betas, t, 1.0, c[t])[0], decoder_var if t == 1 else posterior(betas, t, 0.0, 0.0)[1]
            square = (mean[t - 1] - a * mean[t]) ** 2 + cov[t - 1, t - 1] - 2 * a * cov[t - 1, t] + a**2 * cov[t, t]
            total -= (math.log(2 * math.pi * v) + square / v) / 2
        total += np.linalg.slogdet(2 * math.pi * math.e * cov[1:, 1:])[1] / 2
    return total


def error_of_x0(x0, betas, c, t):
    """E |c[t] x_t - x_0|^2 over x_t."""
    signal, var = jump(betas, t)
    return ((c[t] * signal - 1) ** 2 * x0**2 + c[t] ** 2 * var).sum()


def stated_bound(x0, betas, c, decoder_var):
    """The right side of the claim, with the package's weights and L_T: (the constant, the rest)."""
    schedule, d = Schedule(betas), len(x0)
    weight = loss_weight("x0", schedule)
    rest = -error_of_x0(x0, betas, c, 1) / (2 * decoder_var)
    rest -= sum(weight[t].item() * error_of_x0(x0, betas, c, t) for t in range(2, len(betas) + 1))
    rest -= schedule.terminal_kl(torch.tensor(x0)[None]).item()
    return -d / 2 * math.log(2 * math.pi * decoder_var), rest


def best(betas):
    """The predictor E[x_0 | x_t] for data N(0, 1): c[t] = sqrt(abar_t)."""
    return [jump(betas, t)[0] for t in range(len(betas) + 1)]


MODELS = {
    "T1": (np.array([0.5]), best(np.array([0.5]))),
    "T3": (np.array([0.5, 0.2, 0.3]), [0.0, 0.9, -0.2, 0.4]),
    "T8": (UNEVEN_BETAS, best(UNEVEN_BETAS)),
    "T10": (REGISTER_BETAS, [0.3 + 0.05 * t for t in range(11)]),
}
every_model = pytest.mark.parametrize("betas, c", MODELS.values(), ids=MODELS)
POINTS = [np.array([0.0]), np.array([0.7]), np.array([2.0, -1.0, 0.4])]


@pytest.mark.claim("elbo-as-weighted-mse")
@pytest.mark.parametrize("decoder_var", [0.01, 0.1, 0.5])
@every_model
def test_the_weighted_errors_are_the_bound(betas, c, decoder_var):
    for x0 in POINTS:
        bound = sum(stated_bound(x0, betas, c, decoder_var))
        close(bound, log_ratio_sum(x0, betas, c, decoder_var), rtol=1e-9, atol=1e-9)
        assert bound <= log_p(x0, betas, c, decoder_var) + 1e-12


@pytest.mark.claim("elbo-as-weighted-mse")
@every_model
def test_without_the_constant_it_is_a_bound_if_2_pi_var_is_at_most_1(betas, c):
    for x0, decoder_var in product(POINTS, [0.001, 0.1, 1 / (2 * math.pi)]):
        dropped, rest = stated_bound(x0, betas, c, decoder_var)
        assert dropped >= -1e-12 and rest <= log_p(x0, betas, c, decoder_var)
        close(sum(stated_bound(x0, betas, c, decoder_var)) - rest, dropped, atol=1e-9)  # loose by this much


@pytest.mark.claim("elbo-as-weighted-mse")
@every_model
def test_dropping_l_t_enlarges_it(betas, c):
    for x0 in POINTS:  # L_T > 0: q(x_T | x_0) is never N(0, I) with betas below 1
        assert Schedule(betas).terminal_kl(torch.tensor(x0)[None]) > 0


@pytest.mark.claim("elbo-as-weighted-mse")
@pytest.mark.parametrize("model", ["T3", "T8", "T10"])
def test_the_packages_bound_is_the_weighted_errors(model):
    """20000 draws of every x_t; 5 standard errors from their spread. The decoder's variance is 0.3, not beta_1."""
    x0, (betas, c) = POINTS[2], MODELS[model]
    c = torch.tensor(c, dtype=torch.float64)
    total = elbo_terms(lambda xt, t: c[t][:, None] * xt, torch.tensor(x0).expand(20_000, 3), Schedule(betas),
                       predicts="x0", decoder_var=0.3, generator=torch.Generator().manual_seed(0)).total
    stated = -sum(stated_bound(x0, betas, c.tolist(), 0.3))
    assert abs(total.mean() - stated) < 5 * total.std() / 20_000**0.5


def averages(betas, decoder_var, weights=None):
    """For x_0 ~ N(0, 1) and its best predictor: the averages of log p_theta, of L_T, and of the weighted errors."""
    x, w = np.polynomial.hermite_e.hermegauss(5)
    c, w = best(betas), w / w.sum()
    signal, var = jump(betas, len(betas))
    L_T = w @ [kl_by_quadrature(signal * x0, var, 0.0, 1.0) for x0 in x]
    errors = [sum(weights[t] * error_of_x0(np.array([x0]), betas, c, t) for t in range(1, len(betas) + 1)) for x0 in x]
    return w @ [log_p(np.array([x0]), betas, c, decoder_var) for x0 in x], L_T, w @ errors


def printed_weights(betas, decoder_var):
    """1/(2 sigma^2(t)) (1 - alpha_t)^2 abar_{t-1} / (1 - abar_t)^2, with sigma^2(1) read as the decoder's variance."""
    weights = [math.nan]
    for t in range(1, len(betas) + 1):
        (s_prev, v_prev), (_, v), alpha = jump(betas, t - 1), jump(betas, t), 1 - betas[t - 1]
        sigma_squared = decoder_var if t == 1 else (1 - alpha) * v_prev / v
        weights.append(1 / (2 * sigma_squared) * (1 - alpha) ** 2 * s_prev**2 / v**2)
    return weights


def corrected(betas, decoder_var, L_T):
    """The corrected bound's average: the constant, w_1 = 1/(2 sigma_1^2), the package's weights from t = 2 on."""
    weights = [math.nan, 1 / (2 * decoder_var), *loss_weight("x0", Schedule(betas))[2:].tolist()]
    return -math.log(2 * math.pi * decoder_var) / 2 - L_T - averages(betas, decoder_var, weights)[2]


@pytest.mark.erratum("004:441")
@pytest.mark.erratum("004:455")
@pytest.mark.parametrize("betas", [np.array([0.5]), np.array([0.5, 0.2, 0.3]), np.array([0.4, 0.5, 0.6, 0.7])],
                         ids=["T1", "T3", "T4"])
def test_004_441_and_455_the_printed_lower_bounds_exceed_log_p(betas):
    """Averages over x_0 ~ N(0, 1), whose exact model has sigma_1^2 = beta_1 > 1/(2 pi)."""
    decoder_var = betas[0]
    log_p_theta, L_T, errors = averages(betas, decoder_var, printed_weights(betas, decoder_var))
    printed_441, printed_455 = -L_T - errors, -errors
    assert printed_441 > log_p_theta + 0.1 and printed_455 > log_p_theta + 0.1
    assert corrected(betas, decoder_var, L_T) <= log_p_theta + 1e-12
    if len(betas) == 1:
        assert (f"{printed_441:.5f}", f"{printed_455:.5f}", f"{log_p_theta:.4f}") == ("-0.84657", "-0.50000", "-1.4189")
        assert (f"{-L_T:.5f}", f"{-math.log(math.pi) / 2:.5f}") == ("-0.34657", "-0.57236")  # what they dropped
        close(corrected(betas, decoder_var, L_T), log_p_theta)  # tight here


@pytest.mark.claim("elbo-as-weighted-mse")
@pytest.mark.erratum("004:441")
def test_004_441_holds_but_is_loose_where_the_decoder_is_narrow():
    betas = np.array([0.1])
    log_p_theta, L_T, errors = averages(betas, 0.1, printed_weights(betas, 0.1))
    assert f"{-L_T - errors:.3f}" == "-1.651"
    close(log_p_theta - (-L_T - errors), -math.log(2 * math.pi * 0.1) / 2)
    assert f"{-math.log(2 * math.pi * 0.1) / 2:.5f}" == "0.23235"
    close(corrected(betas, 0.1, L_T), log_p_theta)


@pytest.mark.erratum("004:455")
@pytest.mark.erratum("004:441")
def test_004_455_fails_even_where_the_prior_term_is_0():
    """beta_1 = 1: x_1 is pure noise, E[x_0 | x_1] = 0. The package wants beta < 1, so it is asked a hair below."""
    betas = np.array([1 - 1e-9])
    log_p_theta, L_T, errors = averages(betas, betas[0], printed_weights(betas, betas[0]))
    assert abs(L_T) < 1e-8 and abs(Schedule(betas).terminal_kl(column(0.7))) < 1e-8
    close(-errors, -0.5, atol=1e-8)
    close(log_p_theta, -math.log(2 * math.pi * math.e) / 2, atol=1e-8)
    assert -errors > log_p_theta + 0.9 and -L_T - errors > log_p_theta + 0.9
    close(-errors - math.log(2 * math.pi) / 2, log_p_theta, atol=1e-8)


@pytest.mark.erratum("004:441")
@pytest.mark.erratum("004:455")
def test_004_441_taken_literally_the_first_weight_is_infinite():
    """sigma^2(1) = beta_tilde_1 = 0 for every schedule; the corrected weight 1/(2 sigma_1^2) is finite."""
    for schedule in (REGISTER, UNEVEN, linear_schedule(), cosine_schedule()):
        assert loss_weight("x0", schedule)[1] == math.inf
        close(loss_weight("x0", schedule, "beta")[1], 1 / (2 * schedule.beta[1]))  # sigma_1^2 = beta_1


# --- the simple loss


@pytest.mark.claim("simple-loss")
@pytest.mark.parametrize("schedule", [REGISTER, UNEVEN], ids=["T10", "T8"])
def test_the_loss_of_a_denoiser_that_knows_the_noise_is_0_and_of_one_that_says_0_is_1(schedule):
    """40000 x 3 squares of a standard normal: mean 1 (the sum over dimensions: d), 5 standard errors sqrt(2 / n)."""
    x0, eps, t = 3 + 2 * randn(40_000, 3), randn(40_000, 3, seed=1), torch.arange(40_000) % schedule.T + 1
    assert simple_loss(lambda xt, t: eps, x0, schedule, t=t, noise=eps) == 0
    assert simple_loss(lambda xt, t: x0, x0, schedule, t=t, noise=eps, predicts="x0") == 0
    loss = simple_loss(lambda xt, t: 0 * xt, x0, schedule, generator=torch.Generator().manual_seed(2))
    assert abs(loss - 1) < 5 * (2 / 120_000) ** 0.5


@pytest.mark.claim("simple-loss")
@pytest.mark.parametrize("schedule", [REGISTER, UNEVEN], ids=["T10", "T8"])
def test_drawing_t_is_the_sum_over_t_divided_by_their_number(schedule):
    """A denoiser that says t has loss E(t - eps)^2 = E t^2 + 1; 100000 draws, 5 standard errors."""
    n, squares = 100_000, torch.arange(1, schedule.T + 1).double() ** 2

    def loss(t):
        return simple_loss(lambda xt, t: t.double()[:, None], torch.zeros(n, 1).double(), schedule, t=t,
                           generator=torch.Generator().manual_seed(3))

    error = 5 * ((squares.var(correction=0) + 4 * squares.mean() + 2) / n) ** 0.5
    assert abs(loss(None) - squares.mean() - 1) < error
    assert abs(sum(loss(t) for t in range(1, schedule.T + 1)) / schedule.T - squares.mean() - 1) < error


def regression(features, target, weights):
    """Weighted least squares: the coefficients that minimise sum of weights * (features @ c - target)^2."""
    root = weights.sqrt()[:, None]
    return torch.linalg.lstsq(root * features, root * target).solution


def cells(xt, t, T, edges):
    """One indicator column per (t, cell of x): a basis that holds every function of t and of the cell."""
    index = (t - 1) * (len(edges) + 1) + torch.bucketize(xt[:, 0].contiguous(), edges)
    return torch.nn.functional.one_hot(index, T * (len(edges) + 1)).double()


@pytest.mark.claim("weights-do-not-move-the-minimiser")
@pytest.mark.parametrize("data", [SIGNS, STANDARD_NORMAL], ids=["signs", "normal"])
def test_with_a_complete_basis_the_weights_do_not_matter_and_with_a_shared_line_they_do(data):
    generator, T = torch.Generator().manual_seed(4), UNEVEN.T
    x0, eps = data.sample(20_000, generator).double(), randn(20_000, 1, seed=5)
    t = torch.randint(1, T + 1, (20_000,), generator=generator)
    xt = q_sample(x0, t, UNEVEN, noise=eps)
    choices = torch.ones(T + 1, dtype=torch.float64), loss_weight("eps", UNEVEN, "beta"), torch.arange(T + 1.0).double()
    complete = cells(xt, t, T, torch.tensor([-0.8, 0.0, 0.8], dtype=torch.float64))
    fits = [regression(complete, eps, w[t]) for w in choices]
    averages = complete.T @ eps / complete.sum(0)[:, None]  # E[eps | t, cell] in this sample
    for fit in fits:
        close(fit, averages, rtol=1e-9, atol=1e-10)
    lines = [regression(torch.cat([xt, torch.ones_like(xt)], 1), eps, w[t]) for w in choices]
    assert min((lines[a] - lines[b]).abs().max() for a, b in ((0, 1), (0, 2), (1, 2))) > 0.05


@pytest.mark.claim("weights-do-not-move-the-minimiser")
@pytest.mark.parametrize("betas", [REGISTER_BETAS, UNEVEN_BETAS], ids=["T10", "T8"])
def test_every_weighted_loss_is_least_at_the_conditional_mean_and_their_values_differ(betas):
    """Any perturbation h(x, t) costs sum of w_t E h^2, so the same function is best for all w; quadrature, data +-1."""
    schedule, (z, w), T = Schedule(betas), noise_nodes(), len(betas)
    bound = loss_weight("eps", schedule, "beta")
    least = []
    for weight in (torch.ones(T + 1, dtype=torch.float64), bound, 1 / bound):
        total, cost, perturbed = 0.0, 0.0, 0.0
        for t in range(1, T + 1):
            signal, var = jump(betas, t)
            xt = torch.cat([signal + math.sqrt(var) * z, -signal + math.sqrt(var) * z])
            eps, w2 = torch.cat([z, z])[:, 0], torch.cat([w, w]) / 2
            eps_hat = SIGNS.denoiser(schedule)(xt, t)[:, 0]
            h = 0.1 * (xt[:, 0] + t).sin()
            total += weight[t] * (w2 @ (eps_hat - eps) ** 2)
            perturbed += weight[t] * (w2 @ (eps_hat + h - eps) ** 2)
            cost += weight[t] * (w2 @ h**2)
        close(perturbed, total + cost)
        assert cost > 0
        least.append(total.item())
    assert min(abs(least[a] / least[b] - 1) for a, b in ((0, 1), (0, 2), (1, 2))) > 0.2


@pytest.mark.claim("weights-do-not-move-the-minimiser")
def test_the_weights_change_the_noise_of_the_gradient():
    """Gradient of w_t (a x - eps)^2 at a = 0, data N(0, 1), T = 1000: the bound's weights make it relatively noisier.

    By Isserlis, E[x eps] = std_t and E[x^2 eps^2] = 1 + 2 std_t^2, for (x_t, eps) with correlation std_t.
    """
    correlation = torch.tensor([math.sqrt(jump(np.linspace(1e-4, 0.02, 1000), t)[1]) for t in range(1, 1001)]).double()

    def relative_variance(weight):
        mean, square = (weight * correlation).mean(), (weight**2 * (1 + 2 * correlation**2)).mean()
        return square / mean**2 - 1

    bound = loss_weight("eps", linear_schedule(), "beta")[1:]
    assert relative_variance(bound) > 3 * relative_variance(torch.ones(1000))


@pytest.mark.claim("simple-loss-downweights-small-t")
def test_the_weights_of_the_bound_on_the_linear_schedule():
    """Against exact rationals: beta_t / (2 alpha_t (1 - abar_t)) at some t, and the statement's own numbers."""
    weight = loss_weight("eps", linear_schedule(), "beta")
    alpha_bar, betas = Fraction(1), np.linspace(1e-4, 0.02, 1000)
    for t, beta in enumerate(map(Fraction, betas.tolist()), start=1):
        alpha_bar = (alpha_bar * (1 - beta)).limit_denominator(10**40)
        if t in (1, 2, 3, 102, 103, 349, 966, 967, 1000):
            close(weight[t].item(), float(beta / (2 * (1 - beta) * (1 - alpha_bar))), rtol=1e-9)
    assert [f"{w:.3f}" for w in weight[1:4].tolist()] == ["0.500", "0.273", "0.194"]
    assert weight.argmax() == 1 and weight[1:].argmin() + 1 == 349
    assert (f"{weight[349]:.5f}", f"{weight[1000]:.4f}") == ("0.00497", "0.0102")
    below = (weight[1:] < weight[1:].mean()).nonzero()[:, 0] + 1
    assert below.tolist() == list(range(103, 967))
    assert (weight[1:349].diff() < 0).all() and (weight[349:].diff() > 0).all()  # down and up again: not monotone


@pytest.mark.claim("simple-loss-downweights-small-t")
@pytest.mark.parametrize("schedule", [linear_schedule(), REGISTER, cosine_schedule(100)],
                         ids=["linear", "T10", "cosine"])
def test_with_the_variance_of_the_posterior_the_first_weight_is_infinite(schedule):
    weight = loss_weight("eps", schedule)
    assert weight[1] == math.inf and weight[2:].isfinite().all()
    assert schedule.sigma("posterior")[1] == 0


@pytest.mark.claim("epsilon-target-unit-scale")
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("schedule", [REGISTER, linear_schedule()], ids=["T10", "linear"])
def test_the_target_of_the_noise_predictor_has_mean_0_and_variance_1_at_every_t(schedule, scale):
    """Read off the package's loss: a constant prediction c costs E eps^2 - 2 c E eps + c^2. 5 standard errors."""
    n, x0 = 50_000, scale * (2 + randn(50_000, 1))
    for t in (1, 2, schedule.T // 2, schedule.T):

        def loss(c, t=t):
            return simple_loss(lambda xt, t: 0 * xt + c, x0, schedule, t=t, generator=torch.Generator().manual_seed(t))

        mean, square = (loss(-1.0) - loss(1.0)) / 4, loss(0.0)
        assert abs(mean) < 5 / n**0.5 and abs(square - 1) < 5 * (2 / n) ** 0.5
        data = simple_loss(lambda xt, t: 0 * xt, x0, schedule, t=t, predicts="x0")  # the other target has the data's
        close(data, x0.square().mean())


@pytest.mark.claim("epsilon-target-unit-scale")
@pytest.mark.parametrize("betas", [REGISTER_BETAS, UNEVEN_BETAS], ids=["T10", "T8"])
def test_the_part_that_can_be_predicted_does_change_its_scale(betas):
    """For data N(0, s^2), E[eps | x_t] has variance (1 - abar_t) / Var x_t: it depends on t and on s."""
    schedule, (z, w), found = Schedule(betas), noise_nodes(), []
    for s, t in product((0.3, 1.0, 4.0), (1, 3, len(betas))):
        signal, var = jump(betas, t)
        data = GaussianMixture([1.0], [[0.0]], s)
        xt = math.sqrt(signal**2 * s**2 + var) * z
        found.append((w @ data.denoiser(schedule)(xt, t).square()).item())
        close(found[-1], var / (signal**2 * s**2 + var))
        covariance = math.sqrt(var) / (signal**2 * s**2 + var)  # of eps and x_t, over the variance of x_t
        close(eps_from_x0(xt, data.posterior_mean(xt, t, schedule), t, schedule), covariance * xt)
    assert max(found) > 10 * min(found)
