"""The tables against exact fractions, 50-digit arithmetic and published numbers; terminal_kl against quadrature.

Seen to fail on wrong versions:
  alpha, alpha_bar   beta squared, a root, shifted by a step, no 1 (or no 0 in beta) in front, float32, detached
  beta_tilde         roots of alpha_bar, beta of the step before, upside down, without beta, its root, not 0 at t = 1
  snr, sigma         snr upside down, rooted, alpha_bar alone, finite at 0; sigma's kinds swapped, variance for std
  terminal_kl        root of alpha_bar, alpha or T - 1 for it, no d or d = 1, a sign, no half, mean, |x0|, batch summed
  linear             an end left out, wrong default, rescale upside down, blind to beta_T >= 1
  quadratic, cosine  no square, fourth power, ends swapped; no s, no 1 + s, t + 1, sine, ratio upside down, other clip
"""

import math
from fractions import Fraction
from functools import partial

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from ddpm_lesson import Schedule, constant_schedule, cosine_schedule, linear_schedule, quadratic_schedule

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-14)
betas = st.lists(st.floats(1e-4, 0.99), min_size=1, max_size=20)
SCHEDULES = {"linear": linear_schedule, "quadratic": quadratic_schedule, "constant": constant_schedule,
             "cosine": cosine_schedule}


def table(values):
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


# --- the tables ---

@given(betas)
def test_tables_agree_with_exact_fractions(beta):
    alpha_bar, beta_tilde, noise_to_signal = [Fraction(1)], [Fraction(0)], Fraction(0)
    snr = [math.inf]
    for b in map(Fraction, beta):
        before = alpha_bar[-1]
        alpha_bar.append(before * (1 - b))
        # x_{t-1} is seen twice: from x_0 with variance 1 - ᾱ_{t-1}, from x_t with β/α. Their precisions add.
        beta_tilde.append(1 / (1 / (1 - before) + (1 - b) / b) if before < 1 else Fraction(0))
        noise_to_signal += b / alpha_bar[-1]  # a step of the variance-exploding chain
        snr.append(1 / noise_to_signal)
    schedule = Schedule(beta)
    assert schedule.T == len(beta)
    close(schedule.beta, table([0, *beta]))
    close(schedule.alpha, table([1, *(1 - Fraction(b) for b in beta)]))
    close(schedule.alpha_bar, table(alpha_bar))
    close(schedule.beta_tilde, table(beta_tilde))
    close(schedule.snr, table(snr))


@given(betas)
def test_nothing_has_happened_at_0_and_x0_is_known_at_1(beta):
    schedule = Schedule(beta)
    assert schedule.beta[0] == 0 and schedule.alpha[0] == 1 and schedule.alpha_bar[0] == 1
    assert schedule.snr[0] == math.inf
    assert schedule.beta_tilde[0] == 0 and schedule.beta_tilde[1] == 0
    assert schedule.sigma("posterior")[1] == 0 and schedule.sigma("beta")[0] == 0


@given(betas)
def test_signal_only_falls_and_the_posterior_is_narrower_than_the_step(beta):
    schedule = Schedule(beta)
    assert (schedule.alpha_bar.diff() < 0).all() and schedule.alpha_bar[-1] > 0
    assert (schedule.snr.diff() < 0).all()
    assert (schedule.beta_tilde[1:] <= schedule.beta[1:]).all()  # equal only where float64 rounds them so


@pytest.mark.parametrize("beta", [
    [0.1, 0.3], (0.1, 0.3), np.array([0.1, 0.3]), np.array([0.1, 0.3], np.float32), torch.tensor([0.1, 0.3]),
    torch.tensor([0.1, 0.3], dtype=torch.float64), torch.tensor([0.1, 0.3]).bfloat16(), [torch.tensor(0.1), 0.3]])
def test_tables_are_float64_of_length_T_plus_1_whatever_beta_is(beta):
    schedule = Schedule(beta)
    for name in ("beta", "alpha", "alpha_bar", "beta_tilde", "snr"):
        values = getattr(schedule, name)
        assert (values.shape, values.dtype, values.device.type) == ((3,), torch.float64, "cpu"), name


def test_one_step_is_a_schedule():
    schedule = Schedule([0.25])
    assert schedule.T == 1
    assert schedule.alpha_bar.tolist() == [1, 0.75] and schedule.beta_tilde.tolist() == [0, 0]


def test_the_callers_beta_is_neither_changed_nor_shared():
    beta = torch.tensor([0.1, 0.3], dtype=torch.float64)
    schedule = Schedule(beta)
    beta[:] = 0.5
    assert schedule.beta.tolist() == [0, 0.1, 0.3]


@pytest.mark.parametrize("read", [
    lambda s: s.beta, lambda s: s.alpha, lambda s: s.alpha_bar, lambda s: s.beta_tilde, lambda s: s.snr[1:],
    lambda s: s.sigma("posterior"), lambda s: s.sigma("beta"),
    lambda s: s.terminal_kl(torch.tensor([[0.3, -1.0]], dtype=torch.float64))],
    ids=["beta", "alpha", "alpha_bar", "beta_tilde", "snr", "sigma posterior", "sigma beta", "terminal_kl"])
def test_gradients_flow_to_beta(read, chain):
    beta = chain.beta[1:].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda b: read(Schedule(b)), beta)
    assert read(Schedule(beta)).requires_grad


def test_repr_shows_where_the_chain_ends():
    beta = torch.tensor([0.1, 0.3], requires_grad=True)
    assert repr(Schedule(beta)) == "Schedule(T=2, beta_1=0.1, beta_T=0.3, alpha_bar_T=0.63)"


@pytest.mark.parametrize("kind, beta_2", [("posterior", 0.03 / 0.224 * 0.2), ("beta", 0.2)])
def test_sigma_is_the_root_of_its_variance(kind, beta_2, chain):
    sigma = chain.sigma(kind)
    assert sigma.shape == (9,) and sigma.dtype == torch.float64
    close(sigma[2], table([math.sqrt(beta_2)])[0])  # by hand: 1 - ᾱ_1 = 0.03, 1 - ᾱ_2 = 1 - 0.97 * 0.8 = 0.224
    variance = {"posterior": chain.beta_tilde, "beta": chain.beta}[kind]
    close(sigma.numpy() ** 2, variance.numpy())


def test_both_sigmas_agree_late_and_differ_early():
    schedule = linear_schedule()
    ratio = (schedule.beta / schedule.beta_tilde)[2:]
    assert round(float(ratio[0]), 1) == 2.2 and round(float(ratio[-1]), 4) == 1.0


# --- the named schedules ---

@given(st.integers(2, 50), st.floats(1e-4, 0.4), st.floats(1e-4, 0.4))
def test_linear_rises_in_equal_steps_between_both_ends(T, beta_1, beta_T):
    first, step = Fraction(beta_1), (Fraction(beta_T) - Fraction(beta_1)) / (T - 1)
    close(linear_schedule(T, beta_1, beta_T).beta[1:], table([first + i * step for i in range(T)]))


def test_linear_by_default_is_that_of_ho_et_al():
    schedule = linear_schedule()
    assert schedule.T == 1000
    close(schedule.beta[[1, 334, 1000]], table([1e-4, 1e-4 + 0.0199 / 3, 0.02]))  # 333 of 999 steps: a third of the way
    assert f"{schedule.alpha_bar[1000]:.4e}" == "4.0358e-05"
    assert f"{schedule.alpha_bar[500]:.4f}" == "0.0786"
    assert f"{linear_schedule(50).alpha_bar[50]:.2f}" == "0.60"


@pytest.mark.parametrize("T", [25, 100, 1000, 4000])
def test_rescaled_linear_spends_the_same_total_noise_at_every_T(T):
    schedule = linear_schedule(T, rescale=True)
    close(schedule.beta.sum(), table([10.05])[0])  # T * (β_1 + β_T) / 2 at T = 1000
    close(schedule.beta[-1] / schedule.beta[1], table([200])[0])
    assert schedule.alpha_bar[-1] < 4.4e-5


@pytest.mark.parametrize("T", [1, 10, 20])
def test_rescale_says_where_beta_reaches_1(T):
    with pytest.raises(ValueError, match=rf"T={T} makes β reach {20 / T:.4g}; β must stay below 1"):
        linear_schedule(T, rescale=True)
    linear_schedule(21, rescale=True)


@pytest.mark.parametrize("wrong", ["0.02", None, -0.02, float("nan")])
def test_rescale_refuses_what_is_no_beta(wrong):
    with pytest.raises(ValueError, match="beta_T must "):
        linear_schedule(1000, beta_T=wrong, rescale=True)


def test_quadratic_rises_in_equal_steps_of_the_root():
    close(quadratic_schedule(3, 0.01, 0.09).beta, table([0, 0.01, 0.04, 0.09]))
    beta = quadratic_schedule().beta[1:].numpy()
    assert len(beta) == 1000
    np.testing.assert_allclose([beta[0], beta[-1]], [1e-4, 0.02], rtol=1e-12)
    np.testing.assert_allclose(np.diff(np.sqrt(beta)), (math.sqrt(0.02) - 0.01) / 999, rtol=1e-9)


def test_constant_decays_geometrically():
    schedule = constant_schedule(50, 0.3)
    close(schedule.alpha_bar, table([Fraction(1) * (1 - Fraction(0.3)) ** t for t in range(51)]))
    assert constant_schedule().T == 1000 and constant_schedule().beta[1:].unique().tolist() == [0.02]


@pytest.mark.parametrize("T, s, beta_max", [(1000, 0.008, 0.999), (10, 0.008, 0.999), (40, 0.2, 0.9), (7, 0.0, 0.3)])
def test_cosine_agrees_with_50_digits(T, s, beta_max):
    with mpmath.workdps(50):
        turn = [(mpmath.mpf(t) / T + mpmath.mpf(s)) / (1 + mpmath.mpf(s)) for t in range(T + 1)]
        f = [(1 + mpmath.cos(mpmath.pi * u)) / 2 for u in turn]  # cos² of half the angle
        beta = [min(1 - f[t] / f[t - 1], mpmath.mpf(beta_max)) for t in range(1, T + 1)]
        clipped = [b == beta_max for b in beta]
        unclipped = clipped.index(True)  # steps before the first clip
        expected = [f[t] / f[0] for t in range(unclipped + 1)]
    schedule = cosine_schedule(T, s, beta_max)
    close(schedule.beta[1:], table(beta))
    close(schedule.alpha_bar[:unclipped + 1], table(expected))


def test_cosine_by_default_is_that_of_nichol_and_dhariwal():
    schedule = cosine_schedule()
    assert schedule.T == 1000
    assert (schedule.beta == 0.999).nonzero().tolist() == [[1000]]  # exactly one clipped step, the last
    assert f"{schedule.beta[1]:.2e}" == "4.13e-05"
    assert f"{schedule.alpha_bar[500]:.3f}" == "0.494"
    assert f"{schedule.alpha_bar[1000]:.2e}" == "2.43e-09"


def test_cosine_keeps_more_signal_and_linear_is_faster_early():
    linear, cosine = linear_schedule().alpha_bar, cosine_schedule().alpha_bar
    assert (linear < cosine).nonzero().flatten().tolist() == list(range(1, 996))
    assert (linear.diff() < cosine.diff()).nonzero().flatten().add(1).tolist() == list(range(1, 410))
    assert int(linear.diff().argmin()) + 1 == 220 and int(linear.diff().argmax()) + 1 == 1000


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_every_named_schedule_is_valid_and_does_not_fall(schedule):
    for T in (1, 2, 9, 1000):
        beta = schedule(T).beta[1:]
        assert len(beta) == T and ((beta > 0) & (beta < 1)).all() and (beta.diff() >= 0).all()


# --- the gap at T ---

@pytest.mark.parametrize("T, nats, digits, alpha_bar_T", [
    (10, 1.17, 3, 0.904), (150, 0.124, 3, 0.219), (1000, 2.0e-5, 2, 4.04e-5)])
def test_terminal_kl_has_the_published_values_and_those_of_quadrature(T, nats, digits, alpha_bar_T):
    schedule = linear_schedule(T)
    kl = float(schedule.terminal_kl(torch.ones(1, 1, dtype=torch.float64)))
    assert float(f"{kl:.{digits}g}") == nats
    assert float(f"{schedule.alpha_bar[T]:.3g}") == alpha_bar_T
    a = math.prod(1 - b for b in np.linspace(1e-4, 0.02, T))
    q, p = stats.norm(math.sqrt(a), math.sqrt(1 - a)), stats.norm(0, 1)
    integral, _ = integrate.quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), -12, 12, epsabs=1e-15, limit=200)
    assert kl == pytest.approx(integral, rel=1e-8)


@given(betas, st.lists(st.integers(1, 3), max_size=3), st.integers(0, 3))
def test_terminal_kl_sums_over_every_dimension_but_the_first(beta, dims, B):
    x0 = torch.randn(B, *dims, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    schedule = Schedule(beta)
    a = schedule.alpha_bar[-1]
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(a.sqrt() * x0, (1 - a).sqrt()), torch.distributions.Normal(0.0, 1.0))
    close(schedule.terminal_kl(x0), kl.reshape(B, math.prod(dims)).sum(1), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_terminal_kl_has_the_dtype_and_device_of_x0(dtype, chain):
    x0 = torch.linspace(-1, 1, 12).reshape(3, 4).to(dtype)
    kl = chain.terminal_kl(x0)
    assert (kl.shape, kl.dtype) == ((3,), dtype)
    torch.testing.assert_close(kl.double(), chain.terminal_kl(x0.double()), rtol=0, atol=8 * torch.finfo(dtype).eps)
    on_meta = chain.terminal_kl(x0.to("meta"))
    assert (on_meta.shape, on_meta.dtype, on_meta.device.type) == ((3,), dtype, "meta")


@pytest.mark.parametrize("name", ["beta_1", "beta_T"])
def test_a_wrong_end_is_named_with_rescale_too(name):
    with pytest.raises(ValueError, match=rf"^{name} must be a number in \(0, 1\), not str 'x'"):
        linear_schedule(50, **{name: "x"}, rescale=True)


def test_a_rescaled_schedule_that_reaches_1_says_what_to_do():
    with pytest.raises(ValueError, match="take a larger T or a smaller beta_T"):
        linear_schedule(20, rescale=True)
