"""The eight-step exact chain, which index slips cannot survive.

For data N(m, s^2) the best denoiser is affine in x_t, so a whole chain of steps is affine in its noise. Mean and
variance are read off the package's own functions exactly (noise 0, noise 1) and carried along in closed form. Eight
gentle steps leave alpha_bar_8 = 0.63, far from 0: one slip moves the result by a lot, where T = 1000 would hide it.

Each slip below is also a test here (`test_each_slip_fails`). Sabotage of the package that turned this file red:
range(T, 1, -1), range(T - 1, 0, -1) and range(T - 1, -1, -1) in the loop; t for t - 1 in what it yields; t - 1 to the
denoiser; noise at t = 1, or none at t = 2; sigma squared, or of t - 1; alpha_bar[t] for alpha_bar[t - 1]; alpha_bar for
alpha and a root dropped in the means; xT ignored; in the strided chain i * (T // steps), the ceiling for the floor,
the long chain's betas or its t.
"""

import copy

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ddpm_lesson import GaussianMixture, Schedule, p_sample_loop, p_step, sample

T, M = 8, 0.7
BETA = np.linspace(0.01, 0.1, T)
ALPHA_BAR = np.concatenate([[1.0], np.cumprod(1 - BETA)])  # the test's own table, independent of the package
SCHEDULE = Schedule(BETA)
PREDICTORS = ("eps", "x0", "mean")


def marginal(t, s=1.0):
    """Mean and variance of q(x_t) for data N(M, s^2)."""
    return ALPHA_BAR[t] ** 0.5 * M, ALPHA_BAR[t] * s**2 + 1 - ALPHA_BAR[t]


def denoiser(predicts, s=1.0, slip=0):
    """What a perfect network would say for data N(M, s^2), from the regression of x_0 on x_t; slip shifts its t."""

    def predict(xt, t):
        t = int(t[0]) + slip
        mean, var = marginal(t, s)
        x0 = M + ALPHA_BAR[t] ** 0.5 * s**2 / var * (xt - mean)
        eps = (1 - ALPHA_BAR[t]) ** 0.5 / var * (xt - mean)
        x_prev = (xt - BETA[t - 1] / (1 - ALPHA_BAR[t]) ** 0.5 * eps) / (1 - BETA[t - 1]) ** 0.5
        return {"x0": x0, "eps": eps, "mean": x_prev}[predicts]

    return predict


def carry(law, t, predicts="x0", schedule=SCHEDULE, noise_at_1=False, slip=0):
    """The law (mean, variance) of x_{t-1} from that of x_t, through p_step with its noise at 0 and at 1."""

    def step(x, z):
        x, z = torch.tensor([[x]], dtype=torch.float64), torch.tensor([[z]], dtype=torch.float64)
        predict = denoiser(predicts, slip=slip if t > 1 else 0)
        return p_step(predict, x, t, schedule, sigma="beta", predicts=predicts, noise=z).item()

    shift = step(0.0, 0.0)
    gain, sigma = step(1.0, 0.0) - shift, step(0.0, 1.0) - shift
    if t == 1 and noise_at_1:
        sigma = BETA[0] ** 0.5
    return shift + gain * law[0], gain**2 * law[1] + sigma**2


# With data N(M, 1) the exact reverse kernel has variance beta_t, so sigma="beta" is exact at every t > 1. The last step
# adds no noise: it returns E[x_0 | x_1], which falls short of the data's variance by Var(x_0 | x_1) = beta_1.
DATA = M, 1.0 - BETA[0]


@pytest.mark.parametrize("predicts", PREDICTORS)
def test_every_step_of_the_exact_chain_lands_on_the_exact_marginal(predicts):
    law = marginal(T)
    for t in range(T, 0, -1):
        law = carry(law, t, predicts)
        assert_close(law, marginal(t - 1) if t > 1 else DATA, rtol=1e-10, atol=0)


@pytest.mark.parametrize("s", [0.0, 0.4, 1.0, 3.0])
def test_the_true_reverse_kernel_takes_q_xT_back_to_the_data(s):
    data = GaussianMixture([1.0], [[M]], s)
    law = marginal(T, s)
    for t in range(T, 0, -1):
        mean, cov = data.reverse_moments(torch.tensor([[0.0], [1.0]], dtype=torch.float64), t, SCHEDULE)
        shift, gain = mean[0].item(), (mean[1] - mean[0]).item()
        law = shift + gain * law[0], gain**2 * law[1] + cov[0].item()
        assert_close(law, marginal(t - 1, s), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("slip, margin", [
    ("loop from T-1", 0.02), ("denoiser one step off", 0.1), ("noise at t=1", 0.0099), ("wrapped alpha_bar[-1]", 20),
])
def test_each_slip_fails(slip, margin):
    law = marginal(T)
    schedule = SCHEDULE
    if slip == "wrapped alpha_bar[-1]":  # 0-based tables: the entry before the first is the last
        schedule = copy.copy(SCHEDULE)
        schedule.alpha_bar = schedule.alpha_bar.clone()
        schedule.alpha_bar[0] = schedule.alpha_bar[T]
    for t in range(T - 1 if slip == "loop from T-1" else T, 0, -1):
        law = carry(law, t, "x0", schedule, noise_at_1=slip == "noise at t=1",
                    slip=-1 if slip == "denoiser one step off" else 0)
    assert max(abs(law[0] - DATA[0]), abs(law[1] - DATA[1])) > margin


def read_off(run, draws, monkeypatch):
    """Mean and variance of a chain that is affine in its draws: row 0 draws zeros, row i the i-th unit vector."""
    unit = torch.cat([torch.zeros(1, draws), torch.eye(draws)]).double()
    left = iter([unit[:, i : i + 1] for i in range(1, draws)])
    monkeypatch.setattr("ddpm_lesson.sampling.draw_noise", lambda x, noise, generator: next(left))
    mean, var = marginal(T)
    x0 = run(mean + var**0.5 * unit[:, :1])
    assert next(left, None) is None, "a step drew no noise"
    return x0[0].item(), (x0[1:] - x0[0]).square().sum().item()


@pytest.mark.parametrize("predicts", PREDICTORS)
def test_the_sampler_itself_returns_the_data_law(predicts, monkeypatch):
    def run(xT):
        *_, (t, x0) = p_sample_loop(denoiser(predicts), SCHEDULE, xT=xT, sigma="beta", predicts=predicts)
        assert t == 0
        return x0

    assert_close(read_off(run, T, monkeypatch), DATA, rtol=1e-10, atol=0)


@pytest.mark.parametrize("predicts", PREDICTORS)
@pytest.mark.parametrize("steps", range(1, T + 1))
def test_every_shorter_chain_keeps_the_noise_levels_and_the_data_law(steps, predicts, monkeypatch):
    """The strided chain is exact too: its last step goes from t_1 = T // steps to the data in one stride."""
    def run(xT):
        return sample(denoiser(predicts), SCHEDULE, xT=xT, steps=steps, sigma="beta", predicts=predicts)

    assert_close(read_off(run, steps, monkeypatch), (M, ALPHA_BAR[T // steps]), rtol=1e-10, atol=0)


def test_sigma_beta_is_not_exact_for_other_variances():
    """The register's counterexample: data N(0, 1/4), best denoiser, variance beta_t at every step: it ends at 0.301."""
    beta = 0.05 * np.arange(1, 11)
    schedule, best = Schedule(beta), GaussianMixture([1.0], [[0.0]], 0.5)
    x, var = torch.ones(1, 1, dtype=torch.float64), 1 - 0.75 * np.prod(1 - beta)
    for t in range(10, 0, -1):
        gain = p_step(best.denoiser(schedule), x, t, schedule, noise=0 * x).item()
        var = gain**2 * var + beta[t - 1]
    assert round(var, 3) == 0.301
