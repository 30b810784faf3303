"""The same numbers as diffusers' DDPMScheduler, an implementation by others.

Their step t - 1 is our step t: `theirs[t - 1]` is `ours[t]`, and this file is the only place with that shift. Their
tables are float32. With our float64 tables put in their place both agree to 1e-10; as it stands, to 1e-3.

Seen to fail on wrong versions: alpha_bar, beta_tilde or sigma read a step off, variance for std, quadratic without its
square, a loop that stops early, the visited steps of a shorter chain off by one, another clip.
"""

from functools import partial

import pytest
import torch
from diffusers import DDPMScheduler

from ddpm_lesson import (
    GaussianMixture,
    cosine_schedule,
    linear_schedule,
    p_step,
    posterior_mean_var,
    q_sample,
    quadratic_schedule,
    sample,
    x0_from_eps,
)

SCHEDULES = {"linear": linear_schedule, "scaled_linear": quadratic_schedule, "squaredcos_cap_v2": cosine_schedule}
SIGMAS = {"posterior": "fixed_small", "beta": "fixed_large"}
PREDICTS = {"eps": "epsilon", "x0": "sample"}
TIMES = {8: range(1, 9), 1000: [1, 2, 3, 10, 250, 500, 999, 1000]}
X, Y = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
same = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)


def alike(theirs, ours):
    """Agreement to 1e-3 of the largest value: what their float32 tables allow, above all near t = 1."""
    assert (theirs - ours).abs().max() <= 1e-3 * ours.abs().max()


every_schedule = pytest.mark.parametrize("T, name", [(T, name) for T in TIMES for name in SCHEDULES])
every_choice = pytest.mark.parametrize("sigma, predicts", [(s, p) for s in SIGMAS for p in PREDICTS])


def scheduler(name, T, ours=None, sigma="posterior", predicts="eps"):
    """Their scheduler without its clipping; with our tables in place of its own, if ours are given."""
    theirs = DDPMScheduler(T, beta_schedule=name, variance_type=SIGMAS[sigma], prediction_type=PREDICTS[predicts],
                           clip_sample=False)
    if ours is not None:
        theirs.betas, theirs.alphas = ours.beta[1:].clone(), ours.alpha[1:].clone()
        theirs.alphas_cumprod = ours.alpha_bar[1:].clone()
    return theirs


def both(T, name):
    """Our schedule, with each of their two schedulers and how closely it should agree."""
    ours = SCHEDULES[name](T)
    return ours, [(partial(scheduler, name, T, ours), same), (partial(scheduler, name, T), alike)]


@every_schedule
def test_tables(T, name):
    ours, theirs = SCHEDULES[name](T), scheduler(name, T)
    alike(theirs.betas / ours.beta[1:], torch.ones(T))
    alike(theirs.alphas_cumprod / ours.alpha_bar[1:], torch.ones(T))
    assert len(theirs) == ours.T


@every_schedule
def test_the_jump_is_their_add_noise(T, name):
    ours, schedulers = both(T, name)
    for theirs, close in schedulers:
        for t in TIMES[T]:
            close(theirs().add_noise(X, Y, torch.tensor([t - 1])), q_sample(X, t, ours, noise=Y))
        t = torch.tensor([1, 2, T - 1, T])
        close(theirs().add_noise(X, Y, t - 1), q_sample(X, t, ours, noise=Y))


@every_choice
@every_schedule
def test_a_reverse_step_is_their_step(T, name, sigma, predicts):
    ours, schedulers = both(T, name)
    for theirs, close in schedulers:
        theirs = theirs(sigma=sigma, predicts=predicts)
        for t in TIMES[T]:
            step = theirs.step(Y, t - 1, X, generator=torch.Generator().manual_seed(t))
            x_prev = p_step(lambda xt, t: Y, X, t, ours, sigma=sigma, predicts=predicts,
                            generator=torch.Generator().manual_seed(t))
            close(step.prev_sample, x_prev)
            close(step.pred_original_sample, x0_from_eps(X, Y, t, ours) if predicts == "eps" else Y)


@every_schedule
def test_the_variance_is_theirs(T, name):
    ours, schedulers = both(T, name)
    for theirs, close in schedulers:
        small, large = theirs()._get_variance, theirs(sigma="beta")._get_variance
        assert small(0) == pytest.approx(1e-20)  # where ours is exactly 0: they take a logarithm of it elsewhere
        for t in TIMES[T]:
            one = torch.ones((), dtype=torch.float64)
            close(large(t - 1) / ours.sigma("beta")[t] ** 2, one)
            if t > 1:
                close(small(t - 1) / posterior_mean_var(X, Y, t, ours)[1], one)
                close(small(t - 1) / ours.sigma("posterior")[t] ** 2, one)


@pytest.mark.parametrize("steps, sigma, atol", [
    (20, "posterior", 1e-12), (20, "beta", 1e-12),
    # "trailing" is their word for t = 20, 16, 12, 8, 4. They take 4 for a step like the others and add noise there: for
    # "fixed_small" no more than a std of 1e-10, for "fixed_large" a wrong sample. Ours adds none in a last step.
    (5, "posterior", 1e-9)])
@pytest.mark.parametrize("predicts", PREDICTS)
def test_a_whole_chain_of_samples_is_theirs(steps, sigma, atol, predicts):
    ours = cosine_schedule(20)
    denoiser = GaussianMixture([0.4, 0.6], [[-1.0, 0.0, 2.0], [1.0, 2.0, 0.0]], 0.3).denoiser(ours, predicts)
    x0 = sample(denoiser, ours, xT=X, steps=steps, sigma=sigma, predicts=predicts,
                generator=torch.Generator().manual_seed(1))
    theirs = DDPMScheduler(20, variance_type=SIGMAS[sigma], prediction_type=PREDICTS[predicts], clip_sample=False,
                           timestep_spacing="trailing")
    theirs.alphas_cumprod = ours.alpha_bar[1:].clone()
    theirs.set_timesteps(steps)
    x, generator = X, torch.Generator().manual_seed(1)
    for step in theirs.timesteps.tolist():
        x = theirs.step(denoiser(x, step + 1), step, x, generator=generator).prev_sample
    same(x0, x, atol=atol)


def test_clipping_is_theirs():
    ours = linear_schedule(8)
    theirs = DDPMScheduler(8, clip_sample=True, clip_sample_range=0.7)
    theirs.alphas_cumprod = ours.alpha_bar[1:].clone()
    for t in TIMES[8]:
        step = theirs.step(Y, t - 1, X, generator=torch.Generator().manual_seed(t))
        clipped = p_step(lambda xt, t: Y, X, t, ours, clip=0.7, generator=torch.Generator().manual_seed(t))
        same(step.prev_sample, clipped)
