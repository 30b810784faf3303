"""The noise schedules: linear against cosine, the list that runs to zero, and when a reverse step is Gaussian.

What the slides say of stable training and of sample quality is empirical and is not tested; the numbers behind it are.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import integrate

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    constant_schedule,
    cosine_schedule,
    eps_from_x0,
    linear_schedule,
    mean_from_eps,
    p_step,
    posterior_mean_var,
    quadratic_schedule,
    x0_from_eps,
)

LINEAR, COSINE = linear_schedule(), cosine_schedule()


def close(got, want, tol=1e-10):
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def linear_alpha_bar():
    """ᾱ_0..ᾱ_1000 of Ho et al.'s numbers, in exact fractions of the decimals."""
    alpha_bar = [Fraction(1)]
    for t in range(1, 1001):
        beta = Fraction(1, 10_000) + Fraction(t - 1, 999) * Fraction(199, 10_000)
        alpha_bar.append(Fraction(alpha_bar[-1] * (1 - beta)).limit_denominator(10**40))
    return np.array([float(a) for a in alpha_bar])


def cosine_alpha_bar(T=1000, s=0.008):
    """f(t) / f(0) before any clip, by the double-angle formula: cos² = (1 + cos 2x) / 2."""
    angle = np.array([math.pi * (t / T + s) / (1 + s) for t in range(T + 1)])
    return (1 + np.cos(angle)) / (1 + math.cos(angle[0]))


# --- the choices (definitions) ---

@pytest.mark.claim("schedule-choices")
def test_constant_linear_and_quadratic_have_straight_graphs_of_power_one_one_and_one_half():
    for schedule, power in ((linear_schedule(50), 1), (quadratic_schedule(50), 0.5), (constant_schedule(50), 1)):
        graph = schedule.beta[1:].numpy() ** power
        close(np.diff(graph), np.full(49, (graph[-1] - graph[0]) / 49), 1e-13)
    for schedule in (linear_schedule(50), quadratic_schedule(50)):
        close(schedule.beta[[1, 50]], [1e-4, 0.02], 1e-15)
    close(constant_schedule(50).beta[1:], np.full(50, 0.02), 1e-16)
    close(constant_schedule(50).alpha_bar[50], 0.98**50)


@pytest.mark.claim("schedule-choices")
def test_beta_may_be_learned():
    """The gap at T falls when β rises, so its gradient in each β is negative; checked by finite differences."""
    beta = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64, requires_grad=True)

    def gap(beta):
        return Schedule(beta).terminal_kl(column(1.0)).sum()

    assert torch.autograd.gradcheck(gap, beta)
    gap(beta).backward()
    assert (beta.grad < 0).all()


@pytest.mark.claim("linear-schedule")
def test_linear_schedule_attains_both_ends_and_has_the_stated_alpha_bar():
    beta = LINEAR.beta.numpy()
    assert beta[1] == 1e-4 and beta[1000] == 0.02
    close(np.diff(beta[1:]), np.full(999, 0.0199 / 999), 1e-15)
    want = linear_alpha_bar()
    close(LINEAR.alpha_bar.numpy() / want, np.ones(1001), 1e-11)
    assert f"{want[1000]:.4e}" == "4.0358e-05"
    for T in (2, 10, 77):
        close(linear_schedule(T, 0.01, 0.3).beta[[1, T]], [0.01, 0.3], 1e-15)


@pytest.mark.claim("linear-schedule")
@pytest.mark.parametrize("T, first", [(1000, "1.199e-04"), (10, "2.090e-03")])
def test_the_slides_formula_starts_one_step_late(T, first):
    """It is 1e-4 + t/T (0.02 - 1e-4): 1e-4 belongs to t = 0, which is no step."""
    slide = 1e-4 + np.arange(T + 1) / T * (0.02 - 1e-4)
    assert slide[0] == 1e-4 and f"{slide[1]:.3e}" == first
    gap = slide[1:] - linear_schedule(T).beta[1:].numpy()
    close(slide[T], 0.02, 1e-15)
    assert (gap[:-1] > 0).all() and gap[0] > 1.9e-5


@pytest.mark.claim("cosine-schedule")
@pytest.mark.parametrize("T, s", [(1000, 0.008), (50, 0.008), (200, 0.02)])
def test_cosine_schedule_follows_the_squared_cosine_up_to_its_clipped_last_step(T, s):
    schedule, want = cosine_schedule(T, s), cosine_alpha_bar(T, s)
    close(schedule.alpha_bar[:T], want[:T], 1e-9)
    assert schedule.alpha_bar[0] == 1 and (np.diff(schedule.alpha_bar) < 0).all()
    assert want[T] < 1e-15  # f(T) = 0: without the clip α_T = 0
    assert (schedule.beta >= 0.999).nonzero().flatten().tolist() == [T]
    close(schedule.alpha_bar[T] / want[T - 1], 0.001, 1e-8)


@pytest.mark.claim("cosine-schedule")
def test_cosine_schedule_has_the_stated_numbers_and_squares_the_cosine():
    assert f"{COSINE.beta[1]:.3g}" == "4.13e-05" and f"{COSINE.alpha_bar[1000]:.3g}" == "2.43e-09"
    other = math.cos(((1 + 0.008) / (1 + 0.008) * math.pi / 2) ** 2)  # the square on the argument, t = T
    assert round(other, 3) == round(math.cos(math.pi**2 / 4), 3) == -0.781  # no product of numbers in (0, 1)


# --- linear against cosine ---

@pytest.mark.claim("linear-adds-noise-faster-early")
def test_linear_adds_more_noise_than_cosine_up_to_409_and_holds_less_signal_up_to_995():
    tables = {"package": (LINEAR.alpha_bar.numpy(), COSINE.alpha_bar.numpy()),
              "by hand": (linear_alpha_bar(), cosine_alpha_bar())}
    for linear, cosine in tables.values():
        gained = -np.diff(linear) > -np.diff(cosine)  # entry t - 1 is the increment of 1 - ᾱ at t
        assert gained[:409].all() and not gained[409]
        less = linear[1:] < cosine[1:]
        assert less[:995].all() and not less[995:].any()


@pytest.mark.claim("linear-adds-noise-faster-early")
def test_the_linear_schedules_own_first_steps_are_its_smallest_in_beta_but_not_in_noise_added():
    beta, alpha_bar = LINEAR.beta.numpy(), LINEAR.alpha_bar.numpy()
    assert beta[1:].argmin() + 1 == 1 and beta[1] == 1e-4 and (np.diff(beta[1:]) > 0).all()
    added = alpha_bar[:-1] * beta[1:]
    close(added, -np.diff(alpha_bar), 1e-14)
    by_hand = -np.diff(linear_alpha_bar())
    for increments in (added, by_hand):
        peak = increments.argmax()
        assert peak + 1 == 220 and increments.argmin() + 1 == 1000
        assert (np.diff(increments)[:peak] > 0).all() and (np.diff(increments)[peak:] < 0).all()


@pytest.mark.claim("cosine-keeps-more-mid-signal")
def test_half_way_the_cosine_schedule_holds_six_times_the_signal():
    assert f"{COSINE.alpha_bar[500]:.3g}" == f"{cosine_alpha_bar()[500]:.3g}" == "0.494"
    assert f"{LINEAR.alpha_bar[500]:.3g}" == f"{linear_alpha_bar()[500]:.3g}" == "0.0786"
    assert (COSINE.alpha_bar > LINEAR.alpha_bar)[1:996].all()


@pytest.mark.claim("cosine-keeps-more-mid-signal")
@pytest.mark.parametrize("T", [100, 300, 4000])
def test_so_it_does_at_other_lengths_with_the_linear_schedule_rescaled(T):
    middle = slice(T // 4, 3 * T // 4)
    assert (cosine_schedule(T).alpha_bar[middle] > linear_schedule(T, rescale=True).alpha_bar[middle] + 0.05).all()


# --- the list 1, 1 - δ, ..., 0 ---

def alphas(N, delta):
    return [1 - k * delta for k in range(N + 1)]


@pytest.mark.claim("schedule-alpha-linear-to-zero")
@pytest.mark.parametrize("N", [2, 10, 50])
def test_n_equal_steps_from_one_to_zero_need_delta_one_over_n(N):
    alpha = alphas(N, Fraction(1, N))
    assert alpha[0] == 1 and alpha[N] == 0 and all(0 < a < 1 for a in alpha[1:N])
    assert alphas(N, Fraction(1, N + 1))[N] > 0 > alphas(N, Fraction(1, N - 1))[N]
    assert math.prod(alpha[1:]) == 0
    factor, var = 1.0, 0.0  # N single steps: the law of x_N is N(0, 1) whatever x_0
    for a in alpha[1:]:
        factor, var = math.sqrt(a) * factor, float(a) * var + float(1 - a)
    assert factor == 0 and var == 1


@pytest.mark.claim("schedule-alpha-linear-to-zero")
@pytest.mark.parametrize("N", [2, 10, 50])
def test_neither_end_of_the_list_is_a_usable_step(N):
    beta = [float(k * Fraction(1, N)) for k in range(N + 1)]  # β = 1 - α: 0, 1/N, ..., 1
    with pytest.raises(ValueError, match="β_1 = 0"):
        Schedule(beta[:N])  # α_1 = 1 adds no noise
    with pytest.raises(ValueError, match=f"β_{N} = 1"):
        Schedule(beta[1:])
    inner = Schedule(beta[1:N])  # without both it is a schedule like any other
    assert inner.T == N - 1 and inner.alpha_bar[-1] > 0
    xt, x0 = column(0.3), column(0.7)
    eps = eps_from_x0(xt, x0, N - 1, inner)
    close(mean_from_eps(xt, eps, N - 1, inner), posterior_mean_var(xt, x0, N - 1, inner)[0])
    with np.errstate(divide="ignore"):
        last = np.float64(1 - beta[N])
        assert np.isinf(1 / np.sqrt(last)) and np.isinf(1 / np.sqrt(last * inner.alpha_bar[-1].item()))


@pytest.mark.claim("schedule-alpha-linear-to-zero")
@pytest.mark.parametrize("N", [2, 10])
@pytest.mark.parametrize("xt, x0", [(0.3, 0.7), (-2.0, 1.5)])
def test_the_x0_form_of_the_last_step_stays_finite_as_alpha_goes_to_zero(N, xt, x0):
    """Its limit is q(x_{N-1} | x_0), for x_N then says nothing; the noise form grows without bound."""
    factor, var = 1.0, 0.0
    for k in range(1, N):
        factor, var = math.sqrt(1 - k / N) * factor, (1 - k / N) * var + k / N
    misses, gains = [], []
    for last in (1e-4, 1e-8, 1e-12):
        schedule = Schedule([*(k / N for k in range(1, N)), 1 - last])
        mean, variance = posterior_mean_var(column(xt), column(x0), N, schedule)
        misses.append(max(abs(mean.item() - factor * x0), abs(variance.item() - var)))
        for convert in (mean_from_eps, x0_from_eps):
            guess = convert(column(xt, xt), column(0.0, 1.0), N, schedule)
            gains.append(abs(guess[1] - guess[0]).item() * math.sqrt(last))
    assert misses[0] < 0.03 and misses[1] < 3e-4 and misses[2] < 3e-6  # shrinks with √α_N
    assert min(gains) > 0.9  # the error of eps is multiplied by 1/√α_N or more


@pytest.mark.claim("schedule-alpha-linear-to-zero")
def test_bayes_rule_at_alpha_zero_returns_the_law_of_the_step_before():
    """On a grid, N = 10: q(x_N | x_{N-1}) = N(0, 1) weighs every x_{N-1} alike."""
    factor, var = 1.0, 0.0
    for k in range(1, 10):
        factor, var = math.sqrt(1 - k / 10) * factor, (1 - k / 10) * var + k / 10
    x = np.linspace(-12, 12, 20_001)
    w = np.exp(-(1.3 - math.sqrt(0) * x) ** 2 / 2 - (x - factor * 0.7) ** 2 / (2 * var))
    mean = w @ x / w.sum()
    close([mean, w @ (x - mean) ** 2 / w.sum()], [factor * 0.7, var])


@pytest.mark.erratum("004:312")
@pytest.mark.parametrize("N", [2, 10, 500])
def test_printed_delta_leaves_the_unit_interval_at_its_second_step(N):
    """δ = T/N_t, with T the number of steps as on every other slide: T = N_t = N.

    In the corrected list ᾱ_{N-1} is (N-1)!/N^(N-1), about e^-N: float64 has no such number from N = 760 or so.
    """
    printed, correct = alphas(N, Fraction(N, N)), alphas(N, Fraction(1, N))
    assert printed[:3] == [1, 0, -1] and printed[N] == 1 - N
    assert correct[N] == 0 and all(0 <= a <= 1 for a in correct)
    beta = [float(1 - a) for a in printed[1:]]
    with pytest.raises(ValueError, match="beta"):
        Schedule(beta)
    # stopped before the entry 0, as the correction says, the list is a schedule
    schedule = Schedule([float(1 - a) for a in correct[1:N]])
    close(schedule.alpha[1:], [float(a) for a in correct[1:N]], 1e-15)
    assert 1 / schedule.alpha[-1].sqrt() < N  # and 1/√α stays finite


@pytest.mark.erratum("004:312")
def test_printed_delta_is_right_only_for_a_time_horizon_of_one():
    for horizon, N in ((1, 10), (1, 1000), (2, 10), (10, 1000)):
        ends_at_zero = alphas(N, Fraction(horizon, N))[N] == 0
        assert ends_at_zero == (horizon == 1)


# --- when is a reverse step Gaussian? ---

def integral(f):
    """Over the line, split where a law of x_{t-1} for data near ±1 has its bumps."""
    edges = [-14.0, -3.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 3.0, 14.0]
    return sum(integrate.quad(f, a, b, epsabs=1e-13, epsrel=1e-11, limit=200)[0]
               for a, b in zip(edges, edges[1:], strict=False))


def reverse_law(data, alpha_bar_prev, beta, xt):
    """Density of q(x_{t-1} | x_t) by Bayes' rule, scaled by the spread of the kernel: u = (x_{t-1} - c) / s.

    The forward kernel is Gaussian in x_{t-1} with centre x_t/√α and variance β/α; c and s are its own, capped at 1, so
    that a narrow kernel is as easy to integrate as a wide one. data: (weight, mean, variance) per component.
    """
    c, s = xt / math.sqrt(1 - beta), min(math.sqrt(beta / (1 - beta)), 1.0)

    def weight(u):
        x = c + s * u
        prior = sum(w / math.sqrt(v) * np.exp(-(x - math.sqrt(alpha_bar_prev) * m) ** 2 / (2 * v))
                    for w, m, v in ((w, m, alpha_bar_prev * v + 1 - alpha_bar_prev) for w, m, v in data))
        return prior * np.exp(-(xt - math.sqrt(1 - beta) * x) ** 2 / (2 * beta))

    mass = integral(weight)
    return c, s, lambda u: weight(u) / mass


def moments(law):
    """Mean and variance of x_{t-1}, and the excess kurtosis."""
    c, s, density = law
    mean = integral(lambda u: u * density(u))
    second, fourth = (integral(lambda u, k=k: (u - mean) ** k * density(u)) for k in (2, 4))
    return c + s * mean, s**2 * second, fourth / second**2 - 3


def distance_to_gaussian(law):
    """Total variation between the law and the Gaussian of its own mean and variance."""
    c, s, density = law
    mean, var, _ = moments(law)
    m, v = (mean - c) / s, var / s**2
    u = np.linspace(-14, 14, 40_001)
    gaussian = np.exp(-(u - m) ** 2 / (2 * v)) / np.sqrt(2 * np.pi * v)
    return abs(density(u) - gaussian).sum() * (u[1] - u[0]) / 2


PLUS_MINUS = [(0.5, -1.0, 0.0), (0.5, 1.0, 0.0)]
UNEVEN = [(0.3, -1.0, 0.04), (0.7, 1.2, 0.01)]


def as_mixture(data):
    weights, means, variances = zip(*data, strict=True)
    return GaussianMixture(weights, [[m] for m in means], [v**0.5 for v in variances])


@pytest.mark.claim("small-beta-gaussian-reverse")
@pytest.mark.parametrize("alpha_bar_prev, beta, kurtosis", [
    (0.8, 0.5, -1.18), (0.8, 0.25, -1.02), (0.8, 0.1, -0.69), (0.8, 0.01, -0.05), (0.8, 0.001, -0.0008),
    (0.99, 0.001, -1.62)])
def test_excess_kurtosis_for_data_plus_minus_one_at_x_t_zero(alpha_bar_prev, beta, kurtosis):
    mean, var, got = moments(reverse_law(PLUS_MINUS, alpha_bar_prev, beta, 0.0))
    assert abs(got - kurtosis) < (0.006 if abs(kurtosis) > 0.01 else 6e-5)
    # second way: the law is two equal bumps at ±m of variance v, whose excess kurtosis is -2 m⁴ / (m² + v)²
    precision = (1 - beta) / beta + 1 / (1 - alpha_bar_prev)
    m, v = math.sqrt(alpha_bar_prev) / (1 - alpha_bar_prev) / precision, 1 / precision
    close(got, -2 * m**4 / (m**2 + v) ** 2, 1e-7)
    # and the package knows its mean and variance
    reverse_mean, cov = as_mixture(PLUS_MINUS).reverse_moments(column(0.0), 2, Schedule([1 - alpha_bar_prev, beta]))
    close([reverse_mean.item(), cov.item()], [mean, var], 1e-8)


@pytest.mark.claim("small-beta-gaussian-reverse")
@pytest.mark.parametrize("data", [PLUS_MINUS, UNEVEN], ids=["points", "bumps"])
@pytest.mark.parametrize("xt", [0.0, 0.4, -1.3])
@pytest.mark.parametrize("alpha_bar_prev", [0.5, 0.8])
def test_the_reverse_step_becomes_gaussian_as_beta_goes_to_zero(data, xt, alpha_bar_prev):
    distances = []
    for beta in (0.3, 0.1, 0.01, 1e-3, 1e-5):
        law = reverse_law(data, alpha_bar_prev, beta, xt)
        mean, var, _ = moments(law)
        got = as_mixture(data).reverse_moments(column(xt), 2, Schedule([1 - alpha_bar_prev, beta]))
        close([v.item() for v in got], [mean, var], 1e-7)
        distances.append(distance_to_gaussian(law))
    assert distances[0] > 1e-3
    assert distances[2] > distances[3] > distances[4] and distances[4] < 2e-4


@pytest.mark.claim("small-beta-gaussian-reverse")
@pytest.mark.parametrize("alpha_bar_prev", [0.2, 0.8, 0.99, 0.999])
def test_how_small_depends_on_the_noise_there_already_is(alpha_bar_prev):
    """For data ±1 the scale is (1 - ᾱ)² / ᾱ: a hundredth of it will do, a hundredfold never does."""
    scale = (1 - alpha_bar_prev) ** 2 / alpha_bar_prev
    assert -0.003 < moments(reverse_law(PLUS_MINUS, alpha_bar_prev, scale / 100, 0.0))[2] < 0
    if 100 * scale < 1:
        assert moments(reverse_law(PLUS_MINUS, alpha_bar_prev, 100 * scale, 0.0))[2] < -1.8


@pytest.mark.claim("small-beta-gaussian-reverse")
@pytest.mark.parametrize("beta", [0.5, 1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("log_odds", [0.0, 1.0, -3.0])
def test_at_t_1_points_stay_points_however_small_beta_is(beta, log_odds):
    """Bayes' rule on two points: log odds 2 √α x_1 / β. Two atoms of weights p, 1 - p: kurtosis 1/(p(1-p)) - 6."""
    x1 = log_odds * beta / (2 * math.sqrt(1 - beta))
    p = 1 / (1 + math.exp(-log_odds))
    data, schedule = as_mixture(PLUS_MINUS), Schedule([beta])
    mean, cov = data.reverse_moments(column(x1), 1, schedule)
    close([mean.item(), cov.item()], [2 * p - 1, 4 * p * (1 - p)], 1e-7)
    kurtosis = (p * (1 - (2 * p - 1)) ** 4 + (1 - p) * (-1 - (2 * p - 1)) ** 4) / (4 * p * (1 - p)) ** 2 - 3
    close(kurtosis, 1 / (p * (1 - p)) - 6, 1e-12)
    assert abs(kurtosis) > 0.9 and cov.item() > 0.1  # a Gaussian step of variance β would be far narrower


@pytest.mark.claim("small-beta-gaussian-reverse")
@pytest.mark.parametrize("x1", [0.0, 0.3, -1.0])
def test_at_t_1_a_smooth_density_is_enough(x1):
    data = [(0.5, -1.0, 0.16), (0.5, 1.0, 0.16)]
    distances = []
    for beta in (0.3, 0.01, 1e-3, 1e-5):
        law = reverse_law(data, 1.0, beta, x1)
        mean, var, _ = moments(law)
        got = as_mixture(data).reverse_moments(column(x1), 1, Schedule([beta]))
        close([v.item() for v in got], [mean, var], 1e-7)
        distances.append(distance_to_gaussian(law))
    assert distances[0] > 0.005
    assert distances[1] > distances[2] > distances[3] and distances[3] < 2e-4


@pytest.mark.claim("small-beta-gaussian-reverse")
@pytest.mark.parametrize("beta", [0.9, 0.5, 0.01])
@pytest.mark.parametrize("data_var", [0.25, 1.0, 4.0])
def test_for_gaussian_data_every_reverse_step_is_exactly_gaussian(beta, data_var):
    law = reverse_law([(1.0, 0.6, data_var)], 0.8, beta, 0.9)
    mean, var, kurtosis = moments(law)
    assert abs(kurtosis) < 1e-7 and distance_to_gaussian(law) < 1e-7
    data = GaussianMixture([1.0], [[0.6]], data_var**0.5)
    got = data.reverse_moments(column(0.9), 2, Schedule([0.2, beta]))
    close([v.item() for v in got], [mean, var], 1e-8)


@pytest.mark.claim("small-beta-gaussian-reverse")
def test_the_models_step_is_gaussian_whatever_the_network():
    """p_step is affine in its one normal draw: skewness and kurtosis 0 at β = 0.5, where the true step has -1.18."""
    schedule = Schedule([0.2, 0.5])
    data = as_mixture(PLUS_MINUS)
    for denoiser in (data.denoiser(schedule), lambda x, t: torch.sin(7 * x)):
        z = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
        x = p_step(denoiser, torch.zeros_like(z), 2, schedule, sigma="beta", noise=z)
        close(x.diff(dim=0), np.full((6, 1), math.sqrt(0.5)))
