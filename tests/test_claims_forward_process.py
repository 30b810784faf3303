"""The forward process: the kernel, the chain, the jump, and what is left of x_0 at its end.

q_step is run on unit vectors (`unrolled`), which reads off what x_t holds of x_0 and of every step's noise: a table
that fixes the joint law of the whole chain. The β's are written down here, and products of them are taken here.
"""

import functools
import inspect
import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy import integrate, stats
from torch.utils._python_dispatch import TorchDispatchMode

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    constant_schedule,
    cosine_schedule,
    kl_gaussian,
    linear_schedule,
    mean_from_eps,
    posterior_mean_var,
    q_mean_var,
    q_sample,
    q_step,
    quadratic_schedule,
    ve_sample,
    ve_to_vp,
    vp_to_ve,
    x0_from_eps,
)

BETAS = {
    "toy": 0.05 * np.arange(1, 11),  # the register's own
    "uneven": np.array([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14]),
    "random": np.random.default_rng(0).uniform(0.02, 0.3, 6),
    "linear": 1e-4 + 0.0199 * np.arange(1000) / 999,
}
SCHEDULES = {name: Schedule(beta) for name, beta in BETAS.items()}
SHORT = ("toy", "uneven", "random")
TIMES = {"toy": (1, 2, 3, 5, 9, 10), "uneven": (1, 2, 4, 7, 8), "random": (1, 2, 5, 6), "linear": (1, 2, 500, 1000)}
AT = [(name, t) for name in TIMES for t in TIMES[name]]
AFTER_1 = [case for case in AT if case[1] > 1]
PACKAGE = {
    "linear": linear_schedule(), "linear 10": linear_schedule(10), "rescaled 50": linear_schedule(50, rescale=True),
    "quadratic": quadratic_schedule(), "quadratic 7": quadratic_schedule(7), "constant": constant_schedule(),
    "constant 3": constant_schedule(3, 0.4), "cosine": cosine_schedule(), "cosine 20": cosine_schedule(20),
}
everywhere = pytest.mark.parametrize("name, t", AT)
after_1 = pytest.mark.parametrize("name, t", AFTER_1)
on_every_schedule = pytest.mark.parametrize("schedule", PACKAGE.values(), ids=PACKAGE)


def close(got, want, tol=1e-10):
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def steps(beta, kernel_var=lambda b: b):
    """Factor of x_0 and variance of x_t given x_0 after one step of variance kernel_var(b) for each b in beta."""
    factor, var = 1.0, 0.0
    for b in beta:
        factor, var = np.sqrt(1 - b) * factor, (1 - b) * var + kernel_var(b)
    return factor, var


@functools.cache
def unrolled(name):
    """coefficients[t, s]: what x_t holds of x_0 (s = 0) and of eps_s, from the package's q_step on unit vectors."""
    schedule = SCHEDULES[name]
    unit = torch.eye(schedule.T + 1, dtype=torch.float64)
    states = [unit[0]]
    for t in range(1, schedule.T + 1):
        states.append(q_step(states[-1], t, schedule, noise=unit[t]))
    return torch.stack(states).numpy()


def split(draw, t, schedule):
    """What a draw holds of its x and of its noise."""
    return (draw(column(x), t, schedule, noise=column(e)).item() for x, e in ((1.0, 0.0), (0.0, 1.0)))


def kl_to_standard_normal(mean, var):
    """The defining integral of KL(N(mean, var) || N(0, 1))."""
    def integrand(x):
        log_ratio = (x**2 - (x - mean) ** 2 / var - np.log(var)) / 2
        return np.exp(-(x - mean) ** 2 / (2 * var)) / np.sqrt(2 * np.pi * var) * log_ratio

    return integrate.quad(integrand, mean - 12 * var**0.5, mean + 12 * var**0.5, epsabs=1e-14, epsrel=1e-11)[0]


# --- notation (definitions) ---

@pytest.mark.claim("alpha-beta-notation")
@on_every_schedule
def test_alpha_bar_is_the_product_of_the_alphas_and_one_at_zero(schedule):
    alpha = 1 - schedule.beta.numpy()[1:]
    close(schedule.alpha[1:], alpha, 1e-15)
    close(schedule.alpha_bar[1:], np.exp(np.cumsum(np.log1p(-schedule.beta.numpy()[1:]))), 1e-12)
    assert schedule.alpha_bar[0] == 1 and len(schedule.alpha_bar) == schedule.T + 1


@pytest.mark.claim("alpha-beta-notation")
def test_alpha_bar_of_exact_fractions():
    beta = [Fraction(1, 4), Fraction(1, 3), Fraction(2, 5)]
    want = [1, Fraction(3, 4), Fraction(1, 2), Fraction(3, 10)]
    close(Schedule([float(b) for b in beta]).alpha_bar, [float(w) for w in want], 1e-15)


@pytest.mark.claim("beta-range")
@on_every_schedule
def test_every_schedule_stays_inside_the_open_interval_and_never_decreases(schedule):
    beta = schedule.beta[1:].numpy()
    assert ((beta > 0) & (beta < 1)).all()
    assert (np.diff(beta) >= 0).all() and (np.diff(schedule.alpha[1:]) <= 0).all()


@pytest.mark.claim("beta-range")
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_the_ends_of_the_interval_are_excluded_because_they_break_a_division(end):
    with pytest.raises(ValueError, match="beta"):
        Schedule([end, 0.2])
    factor, var = steps([end])
    assert (var if end == 0 else factor) == 0  # 1 - ᾱ_1 = 0 divides the posterior; 1/√α_1 the noise prediction


@pytest.mark.claim("forward-kernel")
@everywhere
def test_one_step_has_mean_root_alpha_x_and_variance_beta(name, t):
    beta = BETAS[name][t - 1]
    signal, noise = split(q_step, t, SCHEDULES[name])
    assert noise > 0
    close([signal, noise**2], [np.sqrt(1 - beta), beta])
    close(noise**2, 1 - signal**2)  # the second spelling: 1 - α_t


@pytest.mark.erratum("003:35")
@everywhere
def test_printed_kernel_with_covariance_root_beta_misses_the_posts_own_jump(name, t):
    beta = BETAS[name][:t]
    target = 1 - np.prod(1 - beta)  # line 37 of the same post
    printed, correct = steps(beta, np.sqrt)[1], steps(beta)[1]
    close(correct, target)
    assert printed - target > 0.009
    close((unrolled(name)[t, 1:] ** 2).sum(), target)
    if (name, t) == ("toy", 5):
        assert (round(printed, 4), round(target, 5)) == (1.3317, 0.56395)


@pytest.mark.claim("forward-step-sampling")
@everywhere
def test_the_step_takes_quantiles_of_its_noise_to_quantiles_of_the_kernel(name, t):
    """√α_t x + √(1-α_t) eps is increasing in eps, so this pins the whole conditional law."""
    level, beta = np.array([1e-3, 0.2, 0.5, 0.9]), BETAS[name][t - 1]
    for x_prev in (-2.0, 0.0, 0.7):
        eps = column(*stats.norm.ppf(level))
        x = q_step(torch.full_like(eps, x_prev), t, SCHEDULES[name], noise=eps)[:, 0].numpy()
        close(stats.norm.cdf(x, np.sqrt(1 - beta) * x_prev, np.sqrt(beta)), level, 1e-9)


@pytest.mark.claim("forward-step-sampling")
def test_the_noises_of_a_chain_are_independent_of_each_other_and_of_x_0():
    n, name, generator = 200_000, "uneven", seeded(0)
    x = [torch.randint(0, 2, (n,), generator=seeded(1)).double() * 2 - 1]
    for t in range(1, 5):
        x.append(q_step(x[-1], t, SCHEDULES[name], generator=generator))
    beta = BETAS[name]
    eps = [((x[t] - np.sqrt(1 - beta[t - 1]) * x[t - 1]) / np.sqrt(beta[t - 1])).numpy() for t in range(1, 5)]
    for a, b in itertools.combinations([x[0].numpy(), *eps], 2):
        for f, g in ((a, b), (a**2 - 1, b**2 - 1), (a, b**2 - 1)):
            assert abs((f * g).mean()) <= 5 * (f * g).std() / n**0.5  # 5 standard errors
    for e in eps:
        assert stats.kstest(e, "norm").pvalue > 1e-6


@pytest.mark.claim("forward-chain-factorization")
@pytest.mark.parametrize("T", [2, 3, 6])
@pytest.mark.parametrize("name", SHORT)
def test_product_of_the_kernels_is_the_joint_density_of_the_chain(name, T):
    """The joint law, one multivariate normal, comes from the package's chain; the kernels come from scipy."""
    beta, coefficients = BETAS[name][:T], unrolled(name)[1:T + 1]
    x0 = 0.7
    joint = stats.multivariate_normal(coefficients[:, 0] * x0, coefficients[:, 1:] @ coefficients[:, 1:].T)
    for x in np.random.default_rng(T).normal(size=(4, T)):
        path = np.concatenate([[x0], x])
        each = stats.norm.logpdf(path[1:], np.sqrt(1 - beta) * path[:-1], np.sqrt(beta))
        close(each.sum(), joint.logpdf(x), 1e-11)


# --- the Markov property ---

def joint_covariance(name, data_var):
    """Cov(x_0, ..., x_T) for data of the given variance."""
    coefficients = unrolled(name)
    return coefficients @ np.diag([data_var, *[1.0] * SCHEDULES[name].T]) @ coefficients.T


def condition(covariance, target, given):
    """Regression weights of x_target on the given states, and the variance they leave."""
    weights = np.linalg.solve(covariance[np.ix_(given, given)], covariance[given, target])
    return weights, covariance[target, target] - weights @ covariance[given, target]


@pytest.mark.claim("markov-forward")
@pytest.mark.parametrize("data_var", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("name, t", [case for case in AT if case[0] in SHORT])
def test_the_whole_past_says_no_more_than_the_present(name, t, data_var):
    covariance, beta = joint_covariance(name, data_var), BETAS[name][t - 1]
    kernel = np.sqrt(1 - beta), beta
    weights, left = condition(covariance, t, list(range(t)))
    close(weights, [*[0.0] * (t - 1), kernel[0]], 1e-9)
    close(left, kernel[1], 1e-9)
    weights, left = condition(covariance, t, [t - 1])
    close([weights[0], left], kernel, 1e-9)
    if t > 1:
        weights, left = condition(covariance, t, [0, t - 1])
        close([*weights, left], [0.0, *kernel], 1e-9)
        assert abs(condition(covariance, t, [0])[0][0]) > 0.01  # x_0 does matter, until the present is known


@pytest.mark.claim("markov-forward")
@pytest.mark.parametrize("name, t", [(name, t) for name in SHORT for t in range(1, len(BETAS[name]))])
def test_the_future_does_say_more(name, t):
    now, following = BETAS[name][t - 1], BETAS[name][t]
    weights, left = condition(joint_covariance(name, 1.0), t, [t - 1, t + 1])
    close(left, now * following / (following + (1 - following) * now), 1e-9)
    assert left < 0.99 * now and weights[1] > 0.05
    assert abs(weights[0] - np.sqrt(1 - now)) > 0.01
    if (name, t) == ("toy", 5):
        assert round(left, 4) == 0.1579 and now == 0.25


# --- variance preserved, variance exploding ---

@pytest.mark.claim("variance-preservation")
def test_the_variance_map_has_fixed_point_one_and_keeps_its_closed_form():
    a, a_bar, v = sp.symbols("alpha abar v", positive=True)

    def step(var):
        return a * var + 1 - a

    assert sp.expand(step(1) - 1) == 0
    assert sp.solve(sp.Eq(step(v), v), v) == [1]
    assert sp.expand(step(1 + a_bar * (v - 1)) - (1 + a * a_bar * (v - 1))) == 0  # induction, from 1 + 1 * (v - 1) = v


@pytest.mark.claim("variance-preservation")
@pytest.mark.parametrize("data_var", [0.0, 0.25, 1.0, 3.0])
@everywhere
def test_every_step_obeys_the_recursion_and_the_closed_form(name, t, data_var):
    def variance(s):
        coefficients = unrolled(name)[s]
        return coefficients[0] ** 2 * data_var + (coefficients[1:] ** 2).sum()

    beta = BETAS[name][t - 1]
    close(variance(t), (1 - beta) * variance(t - 1) + beta, 1e-12)
    close(variance(t), 1 + np.prod(1 - BETAS[name][:t]) * (data_var - 1), 1e-11)
    if data_var == 1:
        close(variance(t), 1, 1e-11)


@pytest.mark.claim("variance-preservation")
@pytest.mark.parametrize("weights, means, std", [
    ((0.5, 0.5), (-1.0, 1.0), 0.0), ((0.2, 0.8), (-2.0, 0.5), 0.0), ((0.3, 0.3, 0.4), (0.0, 3.0, -1.0), 0.7)])
@everywhere
def test_data_need_not_be_gaussian(name, t, weights, means, std):
    """The package's exact law of x_t, for atoms and for a mixture; the first two have unit variance."""
    def mean_and_variance(mixture):
        w, m = mixture.weights.numpy(), mixture.means[:, 0].numpy()
        return w @ m, w @ (mixture.std.numpy() ** 2 + m**2) - (w @ m) ** 2

    data = GaussianMixture(weights, [[m] for m in means], std)
    _, var = mean_and_variance(data)
    for b in BETAS[name][:t]:
        var = (1 - b) * var + b
    close(mean_and_variance(data.noised(t, SCHEDULES[name]))[1], var, 1e-11)
    if std == 0:
        close(var, 1, 1e-11)


@pytest.mark.claim("variance-preservation")
def test_without_the_scale_or_without_independence_the_variance_is_not_preserved():
    beta = BETAS["toy"]
    unscaled = np.cumsum(np.concatenate([[1.0], beta]))  # x_t = x_{t-1} + √β_t eps
    assert (np.diff(unscaled) > 0.04).all()
    signal, noise = split(q_step, 5, SCHEDULES["toy"])
    assert (signal + noise) ** 2 > 1.8  # eps = x_{t-1}, of variance 1


@pytest.mark.claim("variance-exploding-kernel")
def test_the_step_variances_telescope():
    sigma = sp.symbols("sigma0:8", positive=True)
    total = sum(sigma[t] ** 2 - sigma[t - 1] ** 2 for t in range(1, 8))
    assert sp.expand(total - (sigma[7] ** 2 - sigma[0] ** 2)) == 0


@pytest.mark.claim("variance-exploding-kernel")
@everywhere
def test_the_rescaled_chain_is_a_variance_exploding_chain(name, t):
    """x_t / √ᾱ_t moves by independent noise of variance σ_t² - σ_{t-1}²; its mean stays x_0."""
    schedule, coefficients = SCHEDULES[name], torch.from_numpy(unrolled(name))
    now = vp_to_ve(coefficients[t], t, schedule).numpy()
    before = vp_to_ve(coefficients[t - 1], t - 1, schedule).numpy() if t > 1 else coefficients[0].numpy()
    close(now[0], 1, 1e-9)
    var, var_before = (now[1:] ** 2).sum(), (before[1:] ** 2).sum()
    move = now - before
    # rounding of the mean's ~1e-13 aside, the move is this step's noise alone, hence independent of the past
    close(np.delete(move, t), np.zeros(schedule.T), 1e-9)
    close(move[t] ** 2, var - var_before, 1e-8)
    assert var > var_before
    signal, noise = split(ve_sample, t, schedule)
    close([signal, noise**2], [1.0, var])
    # the same picture as the jump's, there and back
    x0, eps = column(-1.3, 0.4), column(0.2, -2.0)
    ve = ve_sample(x0, t, schedule, noise=eps)
    close(vp_to_ve(q_sample(x0, t, schedule, noise=eps), t, schedule), ve)
    close(ve_to_vp(ve, t, schedule), steps(BETAS[name][:t])[0] * ve.numpy())


# --- two steps, t steps ---

@pytest.mark.claim("two-step-composition")
def test_the_two_noises_add_in_variance():
    x, e1, e2 = sp.symbols("x e_1 e_2", real=True)
    a, a_prev = sp.symbols("alpha_t alpha_prev", positive=True)
    two = sp.expand(sp.sqrt(a) * (sp.sqrt(a_prev) * x + sp.sqrt(1 - a_prev) * e1) + sp.sqrt(1 - a) * e2)
    assert sp.simplify(two.coeff(x) - sp.sqrt(a * a_prev)) == 0
    noise = two.coeff(e1), two.coeff(e2)
    assert sp.simplify(noise[0] ** 2 - a * (1 - a_prev)) == 0 and sp.simplify(noise[1] ** 2 - (1 - a)) == 0
    assert sp.expand(noise[0] ** 2 + noise[1] ** 2 - (1 - a * a_prev)) == 0


@pytest.mark.claim("two-step-composition")
@after_1
def test_two_steps_of_the_package_are_one_of_the_product(name, t):
    schedule, (b_prev, b) = SCHEDULES[name], BETAS[name][t - 2:t]

    def two(x, e1, e2):
        middle = q_step(column(x), t - 1, schedule, noise=column(e1))
        return q_step(middle, t, schedule, noise=column(e2)).item()

    product, old, new = (1 - b) * (1 - b_prev), two(0.0, 1.0, 0.0), two(0.0, 0.0, 1.0)
    close([two(1.0, 0.0, 0.0), old**2, new**2], [product**0.5, (1 - b) * b_prev, b])
    close(old**2 + new**2, 1 - product)
    assert (old + new) ** 2 - (1 - product) > 1e-4  # one common noise would add standard deviations
    if t == 2:
        mean, var = q_mean_var(column(0.7), 2, schedule)
        close([mean.item(), var.item()], [product**0.5 * 0.7, 1 - product])


@pytest.mark.claim("forward-jump")
def test_one_more_step_keeps_the_form_of_the_jump():
    a, a_bar_prev = sp.symbols("alpha_t abar_prev", positive=True)
    assert sp.simplify(sp.sqrt(a) * sp.sqrt(a_bar_prev) - sp.sqrt(a * a_bar_prev)) == 0
    assert sp.expand(a * (1 - a_bar_prev) + 1 - a - (1 - a * a_bar_prev)) == 0


@pytest.mark.claim("forward-jump")
@everywhere
def test_the_jump_has_the_law_of_t_single_steps(name, t):
    factor, var = steps(BETAS[name][:t])
    chain = unrolled(name)[t]
    close([chain[0], (chain[1:] ** 2).sum()], [factor, var], 1e-12)
    x0 = torch.tensor([[-1.0, 0.5], [2.0, 0.0]], dtype=torch.float64)
    mean, variance = q_mean_var(x0, t, SCHEDULES[name])
    close(mean, factor * x0.numpy(), 1e-11)
    close(variance.item(), var, 1e-11)
    alpha = 1 - BETAS[name][:t]  # both roots hold products
    close([factor**2, var], [np.prod(alpha), 1 - np.prod(alpha)], 1e-11)
    jump = list(split(q_sample, t, SCHEDULES[name]))
    close(jump, [factor, var**0.5])


@pytest.mark.claim("forward-jump")
@pytest.mark.parametrize("name, t", [("toy", 1), ("toy", 5), ("uneven", 8)])
def test_draws_of_the_chain_and_of_the_jump_agree(name, t):
    n, schedule = 200_000, SCHEDULES[name]
    x0 = torch.tensor([-1.0, 1.0]).double().repeat(n // 2)  # two bumps: more than mean and variance to agree on
    chain, generator = x0, seeded(5)
    for s in range(1, t + 1):
        chain = q_step(chain, s, schedule, generator=generator)
    jump = q_sample(x0, t, schedule, generator=seeded(6))
    for power in (1, 2, 4):
        a, b = chain.numpy() ** power, jump.numpy() ** power
        assert abs(a.mean() - b.mean()) < 5 * np.sqrt((a.var() + b.var()) / n)  # 5 standard errors
    a, b = chain.numpy() * x0.numpy(), jump.numpy() * x0.numpy()
    assert abs(a.mean() - b.mean()) < 5 * np.sqrt((a.var() + b.var()) / n)  # 5 standard errors


@pytest.mark.erratum("000:424")
@after_1
def test_printed_jump_with_a_sum_of_alphas_multiplies_the_image(name, t):
    """At t = 1 sum and product are the same one factor."""
    alpha = 1 - BETAS[name][:t]
    printed, correct = np.sqrt(alpha.sum()), np.sqrt(np.prod(alpha))
    chain = unrolled(name)[t, 0]
    close(correct, chain)
    assert printed - chain > 0.3 and printed > 1  # it brightens the picture as it should fade
    assert printed**2 + 1 - np.prod(alpha) > 1.3  # and a unit variance does not stay 1
    if (name, t) == ("toy", 5):
        assert (round(printed, 4), round(chain, 5)) == (2.0616, 0.66034)


@pytest.mark.claim("forward-noise-variance-telescopes")
def test_the_variances_of_six_steps_telescope():
    alpha = sp.symbols("alpha1:7", positive=True)
    for t in range(1, 7):
        total = sum((1 - alpha[s]) * sp.prod(alpha[s + 1:t]) for s in range(t))
        assert sp.expand(total - (1 - sp.prod(alpha[:t]))) == 0


@pytest.mark.claim("forward-noise-variance-telescopes")
@everywhere
def test_every_noise_of_the_packages_chain_has_the_stated_coefficient(name, t):
    beta = BETAS[name][:t]
    coefficients = [np.prod(np.sqrt(1 - beta[s:])) * np.sqrt(beta[s - 1]) for s in range(1, t + 1)]
    chain = unrolled(name)[t]
    close(chain[1:t + 1], coefficients, 1e-12)
    assert not chain[t + 1:].any()  # nothing of the noises to come
    close(np.square(coefficients).sum(), 1 - np.prod(1 - beta), 1e-11)


@pytest.mark.erratum("002:291")
@after_1
def test_printed_row_adds_standard_deviations(name, t):
    """Its one common epsilon; at t = 1 there is one noise and nothing to add."""
    beta = BETAS[name][:t]
    alpha = 1 - beta
    printed = sum(np.prod(np.sqrt(alpha[s:])) * np.sqrt(beta[s - 1]) for s in range(1, t + 1))
    correct = sum(np.prod(alpha[s:]) * beta[s - 1] for s in range(1, t + 1)) ** 0.5
    true = np.sqrt(steps(beta)[1])
    close(correct, true)
    assert printed / true > 1.2
    assert abs(printed**2 - (1 - np.prod(alpha))) > 2e-4  # the next row, which is right, does not follow
    _, noise = split(q_sample, t, SCHEDULES[name])
    close(noise, correct)
    if (name, t) == ("toy", 5):
        assert (round(printed, 4), round(true, 5)) == (1.5646, 0.75097)


# --- one draw of the jump ---

@pytest.mark.claim("forward-jump-sampling")
@everywhere
def test_the_jump_carries_a_standard_normal_to_its_law(name, t):
    """Moments to the sixth by Gauss-Hermite nodes as noise: exact for polynomials."""
    x0, (factor, var) = 0.7, steps(BETAS[name][:t])
    eps, w = hermegauss(8)
    noise = torch.from_numpy(eps)
    x = q_sample(torch.full_like(noise, x0), t, SCHEDULES[name], noise=noise).numpy() - factor * x0
    moments = [(w / w.sum()) @ x**k for k in range(1, 7)]
    close(moments, [0, var, 0, 3 * var**2, 0, 15 * var**3])
    if t == 1:
        close(moments[1], BETAS[name][0])


@pytest.mark.claim("forward-jump-sampling")
def test_seeded_draws_have_covariance_one_minus_alpha_bar_times_the_identity():
    n, (factor, var) = 200_000, steps(BETAS["toy"][:5])
    x0 = torch.tensor([0.7, -0.4]).double().expand(n, 2)
    x = q_sample(x0, 5, SCHEDULES["toy"], generator=seeded(2)).numpy()
    error = 5 * np.sqrt(var / n)  # 5 standard errors each
    assert (abs(x.mean(0) - factor * np.array([0.7, -0.4])) < error).all()
    assert (abs(np.cov(x.T) - var * np.eye(2)) < 5 * var * np.sqrt(np.array([[2, 1], [1, 2]]) / n)).all()


def posterior_variance(beta, t):
    """Var(x_{t-1} | x_t, x_0): precisions add."""
    var_prev = steps(beta[:t - 1])[1]
    return 0.0 if t == 1 else 1 / ((1 - beta[t - 1]) / beta[t - 1] + 1 / var_prev)


@pytest.mark.claim("forward-jump-sampling")
@everywhere
def test_its_variance_is_neither_a_standard_deviation_nor_the_posteriors(name, t):
    var = steps(BETAS[name][:t])[1]
    _, noise = split(q_sample, t, SCHEDULES[name])
    close(noise**2, var)
    assert noise - noise**2 > 1e-5  # √v > v for v < 1
    # the posterior's is smaller: x_t itself is known to it
    posterior = posterior_variance(BETAS[name], t)
    close(posterior_mean_var(column(1.2), column(0.7), t, SCHEDULES[name])[1].item(), posterior)
    assert noise**2 > 1.2 * posterior


@pytest.mark.erratum("000:1199")
@everywhere
def test_printed_covariance_of_the_jump_is_a_standard_deviation(name, t):
    beta = BETAS[name][:t]
    printed, correct = np.sqrt(1 - np.prod(1 - beta)), 1 - np.prod(1 - beta)
    true = (unrolled(name)[t, 1:] ** 2).sum()
    close(correct, true)
    assert printed - true > 1e-5  # the two meet as ᾱ_t goes to 0
    if name != "linear" or t < 1000:
        assert printed - true > 0.003
    if (name, t) == ("toy", 5):
        assert (round(printed, 5), round(true, 5)) == (0.75097, 0.56395)


@pytest.mark.erratum("002:193")
@pytest.mark.parametrize("x0, xt", [(0.7, 1.2), (-1.0, 0.4)])
@everywhere
def test_the_equation_cited_is_not_the_one_quoted(name, t, x0, xt):
    """Eq. (8a) gives x_t back; Eq. (8d), cited, is the posterior mean of x_{t-1}."""
    factor, var = steps(BETAS[name][:t])
    eps = (xt - factor * x0) / np.sqrt(var)  # the noise that carries x_0 to x_t
    beta = BETAS[name][t - 1]
    cited = (xt - beta / np.sqrt(var) * eps) / np.sqrt(1 - beta)
    quoted = q_sample(column(x0), t, SCHEDULES[name], noise=column(eps)).item()
    close(quoted, xt)
    if name != "linear" or t < 500:  # where x_0 is nearly forgotten a small step moves little
        assert abs(cited - xt) > 0.02
    assert cited != pytest.approx(xt, rel=1e-6)
    close(mean_from_eps(column(xt), column(eps), t, SCHEDULES[name]).item(), cited, 1e-9)
    if (name, t, x0) == ("toy", 5, 0.7):
        assert round(cited, 3) == 1.008


@pytest.mark.erratum("004:411")
@everywhere
def test_printed_variance_of_the_jump_belongs_to_the_posterior(name, t):
    """σ²(t) is defined on line 384 of the slides, as the variance of x_{t-1} given x_t and x_0."""
    beta = BETAS[name]
    a_bar, a_bar_prev = np.prod(1 - beta[:t]), np.prod(1 - beta[:t - 1])
    printed, correct = beta[t - 1] * (1 - a_bar_prev) / (1 - a_bar), 1 - a_bar
    true = (unrolled(name)[t, 1:] ** 2).sum()
    close(correct, true)
    close(printed, posterior_variance(beta, t))
    assert true > 1.2 * printed
    if (name, t) == ("toy", 5):
        assert (round(printed, 5), round(true, 5)) == (0.18557, 0.56395)


@pytest.mark.erratum("004:415")
@pytest.mark.parametrize("name", BETAS)
def test_printed_first_step_carries_no_noise(name):
    beta, a_bar_0 = BETAS[name], 1.0
    a_bar_1 = 1 - beta[0]
    printed, correct = beta[0] * (1 - a_bar_0) / (1 - a_bar_1), 1 - a_bar_1
    x1 = q_sample(torch.full((100_000,), 0.7, dtype=torch.float64), 1, SCHEDULES[name], generator=seeded(1)).numpy()
    assert printed == 0
    assert abs(x1.var() - correct) < 5 * correct * np.sqrt(2 / 100_000)  # 5 standard errors, and far from 0
    close([correct, unrolled(name)[1, 1] ** 2], [beta[0], beta[0]])
    assert SCHEDULES[name].beta_tilde[1] == 0  # the package's σ²(1): right for the posterior


# --- how much of x_0 is left ---

@pytest.mark.claim("abar-strictly-decreasing")
@on_every_schedule
def test_alpha_bar_falls_at_every_step_and_never_reaches_zero(schedule):
    assert schedule.alpha_bar[0] == 1 and schedule.alpha_bar[-1] > 0
    assert (np.diff(schedule.alpha_bar) < 0).all()


@pytest.mark.claim("abar-strictly-decreasing")
@pytest.mark.parametrize("seed", range(20))
def test_alpha_bar_falls_for_betas_in_any_order(seed):
    rng = np.random.default_rng(seed)
    beta = rng.choice([rng.uniform(1e-6, 1 - 1e-6), 1e-9, 0.999999], rng.integers(2, 40))
    beta[:2] = 0.6, 0.1  # not monotone
    alpha_bar = Schedule(beta).alpha_bar.numpy()
    exact = list(itertools.accumulate((1 - Fraction(b) for b in beta), lambda a, b: a * b, initial=Fraction(1)))
    assert all(a > b > 0 for a, b in itertools.pairwise(exact))
    assert (np.diff(alpha_bar) < 0).all() and alpha_bar[-1] > 0
    close(alpha_bar / [float(e) for e in exact], np.ones_like(alpha_bar), 1e-9)


@pytest.mark.claim("abar-strictly-decreasing")
@pytest.mark.parametrize("beta", [[0.5, 0.0, 0.1], [0.5, 1e-17, 0.1]])
def test_a_beta_of_zero_or_one_lost_to_rounding_is_refused(beta):
    with pytest.raises(ValueError, match="beta"):
        Schedule(beta)


@pytest.mark.claim("abar-signal-fraction")
@everywhere
def test_alpha_bar_is_the_share_of_power_and_the_squared_correlation(name, t):
    coefficients = unrolled(name)[t]
    signal_power, noise_power = coefficients[0] ** 2, (coefficients[1:] ** 2).sum()  # Var x_0 = 1
    total, covariance = signal_power + noise_power, coefficients[0]
    schedule = SCHEDULES[name]
    alpha_bar_t = schedule.alpha_bar[t].item()
    close([alpha_bar_t, alpha_bar_t], [signal_power / total, covariance**2 / total])
    close(schedule.snr[t] / (signal_power / noise_power), 1)
    assert schedule.snr[t] < schedule.snr[t - 1]
    amplitude = q_mean_var(column(1.0), t, schedule)[0].item()
    close(amplitude, coefficients[0])
    if t > 1 or name != "linear":
        assert amplitude - alpha_bar_t > 1e-5  # the image keeps more of its amplitude than of its power


@pytest.mark.claim("abar-signal-fraction")
def test_correlation_and_signal_to_noise_symbolically():
    a = sp.symbols("abar", positive=True)
    x_var, e_var, cross = 1, 1, 0  # unit variances, independent
    cov = sp.sqrt(a) * x_var + sp.sqrt(1 - a) * cross
    var = a * x_var + (1 - a) * e_var + 2 * sp.sqrt(a * (1 - a)) * cross
    assert sp.simplify(cov**2 / (x_var * var) - a) == 0
    assert sp.simplify(sp.diff(a / (1 - a), a) - 1 / (1 - a) ** 2) == 0  # rising in ᾱ, so falling in t


@pytest.mark.claim("abar-signal-fraction")
@pytest.mark.parametrize("t", [1, 4, 8])
def test_seeded_draws_of_data_of_variance_one_have_this_correlation(t):
    n, schedule = 200_000, SCHEDULES["uneven"]
    x0 = GaussianMixture([0.5, 0.5], [[-0.8], [0.8]], 0.6).sample(n, seeded(0)).double()  # 0.64 + 0.36 = 1
    xt = q_sample(x0, t, schedule, generator=seeded(1))
    rho = np.corrcoef(x0[:, 0], xt[:, 0])[0, 1]
    a_bar = np.prod(1 - BETAS["uneven"][:t])
    assert abs(rho - a_bar**0.5) < 5 * (1 - a_bar) / n**0.5 * 1.5  # 5 standard errors (1.5: the data are no Gaussian)
    close(schedule.alpha_bar[t], a_bar, 1e-12)


@pytest.mark.claim("abar-signal-fraction")
def test_for_data_of_another_variance_alpha_bar_is_not_the_share():
    a_bar, v = np.prod(1 - BETAS["toy"][:5]), 0.25
    share = a_bar * v / (a_bar * v + 1 - a_bar)
    assert abs(share - a_bar) > 0.2


@pytest.mark.claim("forward-starts-at-data")
@on_every_schedule
def test_at_time_zero_nothing_has_happened(schedule):
    assert schedule.alpha_bar[0] == sp.prod([]) == 1 and schedule.beta[0] == 0 and schedule.snr[0] == float("inf")
    data = GaussianMixture([0.3, 0.7], [[-1.0], [1.4]], [0.3, 0.5])
    at_zero = data.noised(0, schedule)
    assert torch.equal(at_zero.means, data.means)
    close(at_zero.std, data.std, 1e-15)
    x = column(-1.2, 0.0, 0.9)
    want = 0.3 * stats.norm.pdf(x.numpy(), -1.0, 0.3) + 0.7 * stats.norm.pdf(x.numpy(), 1.4, 0.5)
    close(at_zero.log_prob(x).exp(), want[:, 0])
    assert abs(data.noised(1, schedule).means - data.means).max() > 1e-6  # which t = 1 does not


@pytest.mark.claim("forward-starts-at-data")
def test_the_empty_product_is_one_and_the_jump_tends_to_the_data():
    k = sp.symbols("k", integer=True)
    assert sp.Product(1 - k / 20, (k, 1, 0)).doit() == 1
    for beta in (1e-4, 1e-8, 1e-12):  # t = 0 as the limit of one ever smaller step
        x = q_sample(column(0.7), 1, Schedule([beta]), noise=column(3.0)).item()
        assert abs(x - 0.7) < 3.1 * beta**0.5


# --- the limit ---

NON_SUMMABLE = {"constant": lambda t: 0.02 + 0 * t, "rising": lambda t: 0.1 - 0.09 / t,
                "harmonic": lambda t: 1 / (t + 1)}
SUMMABLE = {"squares": lambda t: 1 / (t + 1) ** 2, "geometric": lambda t: 0.5**t}


def terminal(beta):
    """ᾱ_T and KL(q(x_T | x_0 = 1) || N(0, 1)) of the package."""
    schedule = Schedule(beta)
    return schedule.alpha_bar[-1].item(), schedule.terminal_kl(column(1.0)).item()


@pytest.mark.claim("forward-converges-to-normal")
@pytest.mark.parametrize("rule", NON_SUMMABLE.values(), ids=NON_SUMMABLE)
def test_betas_of_infinite_sum_drive_the_law_to_the_normal(rule):
    lengths = (10, 100, 1000, 3000)
    rows = [terminal(rule(np.arange(1, T + 1))) for T in lengths]
    assert all(after < before for (before, _), (after, _) in itertools.pairwise(rows))
    assert all(after < before for (_, before), (_, after) in itertools.pairwise(rows[:2]))
    a_bar, kl = rows[-1]
    assert a_bar < 4e-4 and kl < 2e-4
    for T, (a_bar, kl) in list(zip(lengths, rows, strict=True))[:2]:
        factor, var = steps(rule(np.arange(1, T + 1)))
        close([a_bar, kl], [factor**2, kl_to_standard_normal(factor, var)], 1e-8)
        assert kl > 0  # close, never there


@pytest.mark.claim("forward-converges-to-normal")
def test_the_harmonic_betas_decrease_and_still_suffice():
    k, n = sp.symbols("k n", integer=True, positive=True)
    product = sp.simplify(sp.product(1 - 1 / (k + 1), (k, 1, n)))
    assert sp.simplify(product - 1 / (n + 1)) == 0 and sp.limit(product, n, sp.oo) == 0
    close(terminal(1 / (np.arange(1, 501) + 1))[0], 1 / 501, 1e-12)


@pytest.mark.claim("forward-converges-to-normal")
@pytest.mark.parametrize("rule", SUMMABLE.values(), ids=SUMMABLE)
def test_betas_of_finite_sum_do_not(rule):
    (a_bar, kl), (later, later_kl) = (terminal(rule(np.arange(1.0, T + 1))) for T in (20, 45))
    assert later > 0.28 and abs(later - a_bar) < 0.02
    assert later_kl > 0.15 and abs(later_kl - kl) < 0.05
    factor, var = steps(rule(np.arange(1.0, 46)))
    close(later_kl, kl_to_standard_normal(factor, var), 1e-8)


@pytest.mark.claim("forward-converges-to-normal")
def test_the_product_vanishes_exactly_if_the_sum_diverges():
    """-2 log 2 Σβ <= log ᾱ_T <= -Σβ, the left for β <= 1/2: concavity of log(1 - β) on [0, 1/2], and its tangent."""
    b = sp.symbols("b", positive=True)
    assert sp.simplify(sp.diff(sp.log(1 - b), b, 2) + 1 / (1 - b) ** 2) == 0  # concave
    assert sp.series(sp.log(1 - b), b, 0, 2).removeO() == -b  # tangent at 0, above
    assert sp.log(1 - sp.Rational(1, 2)) == -2 * sp.log(2) * sp.Rational(1, 2)  # chord to 1/2, below
    for rule in (*NON_SUMMABLE.values(), *SUMMABLE.values()):
        beta = rule(np.arange(1.0, 46))
        log_a_bar = np.log(terminal(beta)[0])
        assert -2 * np.log(2) * beta.sum() <= log_a_bar + 1e-12 and log_a_bar <= -beta.sum()


@pytest.mark.claim("forward-converges-to-normal")
@pytest.mark.parametrize("T", [1, 10, 300])
@pytest.mark.parametrize("name", ["linear", "quadratic", "constant", "cosine"])
def test_non_decreasing_betas_give_the_geometric_bound(name, T):
    schedule = PACKAGE[name]
    assert (np.diff(schedule.beta[1:]) >= 0).all()
    assert schedule.alpha_bar[T] <= (1 - schedule.beta[1].item()) ** T * (1 + 1e-12)


@pytest.mark.claim("forward-converges-to-normal")
def test_a_schedule_rebuilt_for_each_length_may_stay_at_the_data():
    """Constant β = 1/T² is non-decreasing, yet ᾱ_T goes to 1 and the divergence grows without bound."""
    T = sp.symbols("T", positive=True)
    assert sp.limit((1 - 1 / T**2) ** T, T, sp.oo) == 1
    ends = [constant_schedule(n, 1 / n**2) for n in (2, 10, 100, 1000)]
    a_bar, kl = zip(*((s.alpha_bar[-1].item(), s.terminal_kl(column(1.0)).item()) for s in ends), strict=True)
    assert list(a_bar) == sorted(a_bar) and 1 - a_bar[-1] < 0.0011
    assert list(kl) == sorted(kl) and kl[-1] > 3
    close(a_bar, [(1 - 1 / n**2) ** n for n in (2, 10, 100, 1000)], 1e-11)


@pytest.mark.erratum("000:473")
def test_betas_between_0_and_1_do_not_force_the_product_to_zero():
    """Printed: the limit is 0, for {β_t in (0, 1)} and nothing else. β_t = 1/(t+1)² leaves half."""
    k, n = sp.symbols("k n", integer=True, positive=True)
    closed = sp.simplify(sp.product(1 - 1 / (k + 1) ** 2, (k, 1, n)))
    assert sp.simplify(closed - (n + 2) / (2 * (n + 1))) == 0
    printed, correct = 0, sp.limit(closed, n, sp.oo)
    assert correct == sp.Rational(1, 2) and abs(printed - correct) >= 0.5
    for T in (10, 1000, 100_000):
        beta = 1 / (np.arange(1.0, T + 1) + 1) ** 2
        assert ((beta > 0) & (beta < 1)).all()
        a_bar, kl = terminal(beta)
        close(a_bar, (T + 2) / (2 * (T + 1)), 1e-10)
        assert a_bar > 0.5 and kl > 0.34
    assert round(a_bar, 6) == 0.500005
    close(kl, np.log(2) / 2, 1e-5)  # the nats by which x_T misses the normal, x_0 = 1, for ever


@pytest.mark.erratum("000:473")
@pytest.mark.parametrize("beta_1", [0.1, 0.02])
def test_the_missing_condition_of_rising_betas_does_force_it(beta_1):
    for growth in (0.0, 0.3):
        beta = beta_1 + growth * (1 - 1 / np.arange(1.0, 1001))
        a_bar, kl = terminal(beta)
        assert a_bar <= (1 - beta_1) ** 1000 * (1 + 1e-9) and abs(kl) < 1e-8
    assert (1 - 0.1) ** 1000 < 1.8e-46


# --- the gap at finite T ---

@pytest.mark.claim("terminal-marginal-gap")
@pytest.mark.parametrize("T, nats, a_bar, digits", [(10, 1.17, 0.904, 3), (150, 0.124, 0.219, 3),
                                                    (1000, 2.0e-5, 4.04e-5, 2)])
def test_the_gap_of_the_linear_schedule_has_the_stated_size(T, nats, a_bar, digits):
    factor, var = steps(1e-4 + 0.0199 * np.arange(T) / (T - 1))
    gap = kl_to_standard_normal(factor, var)
    schedule = linear_schedule(T)
    close(schedule.terminal_kl(column(1.0)).item() / gap, 1, 1e-7)
    close(schedule.alpha_bar[-1].item() / factor**2, 1)
    assert float(f"{gap:.{digits}g}") == nats and float(f"{factor**2:.3g}") == a_bar


@pytest.mark.claim("terminal-marginal-gap")
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 4, 4)], ids=str)
@pytest.mark.parametrize("schedule", [
    linear_schedule(10), linear_schedule(1000), cosine_schedule(1000), constant_schedule(20, 0.3)], ids=repr)
def test_the_gap_is_the_divergence_summed_over_the_coordinates_and_positive(schedule, shape):
    x0 = torch.randn(3, *shape, generator=seeded(0), dtype=torch.float64)
    x0[0] = 0
    factor, var = steps(schedule.beta[1:].tolist())
    want = [sum(kl_to_standard_normal(factor * v, var) for v in x.ravel()) for x in x0.numpy()]
    got = schedule.terminal_kl(x0)
    close(got, want, 1e-9)
    close(kl_gaussian(*q_mean_var(x0, schedule.T, schedule), 0.0, 1.0), want, 1e-9)
    if factor**2 > 1e-6:
        close(got / torch.tensor(want), np.ones(3), 1e-4)
        assert (got > 0).all()  # for cosine's ᾱ_T = 2e-9 and x_0 = 0 it is 1e-18, below rounding


@pytest.mark.claim("terminal-marginal-gap")
def test_the_gap_follows_from_the_isotropic_divergence_and_vanishes_only_with_alpha_bar():
    a = sp.symbols("abar", positive=True)
    d, square = sp.symbols("d s", positive=True)
    gap = (d * (sp.log(1 / (1 - a)) + (1 - a) - 1) + a * square) / 2  # mean √ᾱ x_0, variance 1 - ᾱ, against 0 and 1
    assert sp.simplify(sp.expand_log(gap - (a * (square - d) - d * sp.log(1 - a)) / 2, force=True)) == 0
    assert gap.subs(a, 0) == 0
    slope = sp.diff(gap, a)  # 0 at ᾱ = 0 for x_0 = 0, and positive after
    assert sp.simplify(slope - (square + d * a / (1 - a)) / 2) == 0


@pytest.mark.claim("terminal-marginal-gap")
def test_only_a_zero_in_the_schedule_closes_the_gap_and_it_breaks_the_noise_prediction():
    beta = np.array([0.1, 0.5, 1.0])
    factor, var = steps(beta)
    assert (factor, var) == (0, 1) and kl_gaussian(column(0.0), var, 0.0, 1.0).item() == 0
    with np.errstate(divide="ignore"):
        assert np.isinf(1 / np.sqrt(1 - beta[-1])) and np.isinf(1 / np.float64(factor))
    with pytest.raises(ValueError, match="beta"):
        Schedule(beta)
    for last in (1e-4, 1e-8, 1e-12):  # towards it: the error of a guess at eps is multiplied without bound
        schedule, xt = Schedule([0.1, 0.5, 1 - last]), column(0.3, 0.3)
        for convert, root in ((x0_from_eps, 0.45 * last), (mean_from_eps, last)):
            guess = convert(xt, column(1.0, 1.01), 3, schedule)
            assert abs(guess[1] - guess[0]).item() * np.sqrt(root) == pytest.approx(0.01, rel=0.1)


# --- no network ---

class CountOperations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.claim("forward-needs-no-network")
@pytest.mark.parametrize("draw", [q_sample, ve_sample])
def test_noising_costs_the_same_at_every_t_and_draws_once(draw):
    """The same tensor operations at t = 1 and t = 1000, one of them a draw; the chain's grow with t."""
    x0, schedule, operations = torch.ones(2, 3), linear_schedule(), {}
    for t in (1, 2, 500, 1000):
        generator = seeded(4)
        with CountOperations() as count:
            draw(x0, t, schedule, generator=generator)
        operations[t] = count.names
        alone = seeded(4)
        torch.randn(x0.shape, generator=alone)
        assert torch.equal(generator.get_state(), alone.get_state())
    assert operations[1] == operations[2] == operations[500] == operations[1000]
    assert sum("randn" in name for name in operations[1]) == 1

    def chain(t):
        x = x0
        with CountOperations() as count:
            for s in range(1, t + 1):
                x = q_step(x, s, schedule)
        return len(count.names)

    assert chain(20) == 10 * chain(2)


@pytest.mark.claim("forward-needs-no-network")
def test_noising_is_a_function_of_x0_t_and_the_draw_with_nothing_to_learn():
    assert list(inspect.signature(q_sample).parameters) == ["x0", "t", "schedule", "noise", "generator"]
    x0, noise, t = torch.ones(4, 2), torch.full((4, 2), 0.3), torch.tensor([1, 10, 500, 1000])
    schedule = linear_schedule()
    together = q_sample(x0, t, schedule, noise=noise)
    assert not together.requires_grad
    assert torch.equal(together, q_sample(x0, t, schedule, noise=noise))
    one_by_one = torch.cat([q_sample(x0[i:i + 1], int(t[i]), schedule, noise=noise[i:i + 1]) for i in range(4)])
    assert torch.equal(together, one_by_one)  # any t without the ones before it
    # affine in x_0 and the draw, with constant slopes: a closed form
    slope = torch.func.jacrev(lambda x: q_sample(x, 500, schedule, noise=noise[:1]))
    assert torch.equal(slope(x0[:1]), slope(5 * x0[:1]))
