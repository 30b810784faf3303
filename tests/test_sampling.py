"""Ancestral sampling: what one step draws, which t the loop visits, where the noise comes from, what is refused.

The exact law of whole chains is in test_chain.py. Sabotage of sampling.py that turned this file red: noise at t = 1
(int or tensor t), or none at t = 2; sigma squared, or of t - 1; z's sign; the loop's three slips; t for t - 1 in what
it yields; a clip of the mean, of the prediction, one-sided or fixed at 1; no_grad dropped, or held across a yield; xT
ignored, or changed in place; checks that wait for the first next(); a generator not passed on; in the strided chain
i * (T // steps), the ceiling for the floor, the long chain's betas, its t or its meaning of "mean".
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    cosine_schedule,
    eps_from_x0,
    linear_schedule,
    mean_from_x0,
    p_sample_loop,
    p_step,
    sample,
    x0_from_eps,
)

PREDICTORS, SIGMAS = ("eps", "x0", "mean"), ("posterior", "beta")
SHORT = Schedule(0.05 * np.arange(1, 11))
DATA = GaussianMixture([0.2, 0.5, 0.3], [[-1.0, 0.3], [0.4, 1.0], [1.2, -0.8]], [0.1, 0.3, 0.2])
XT = torch.tensor([[0.3, -0.8], [1.5, 0.2], [-0.6, 2.1]], dtype=torch.float64)
X0 = torch.tensor([[0.9, 0.1], [-0.4, 0.6], [0.2, -1.0]], dtype=torch.float64)
Z = torch.tensor([[-0.2, 0.7], [1.1, -1.6], [0.5, 0.4]], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bayes(xt, x0, t, schedule):
    """Mean and std of q(x_{t-1} | x_t, x_0), t >= 2: precisions of prior and likelihood add."""
    alpha, prev = schedule.alpha[t], schedule.alpha_bar[t - 1]
    precision = 1 / (1 - prev) + alpha / schedule.beta[t]
    return (prev.sqrt() * x0 / (1 - prev) + alpha.sqrt() * xt / schedule.beta[t]) / precision, precision.rsqrt()


def knows(x0, predicts, schedule):
    """A denoiser that knows x_0 (the same for every x_t), in each of the three languages."""

    def denoiser(xt, t):
        t = int(t[0])
        eps = (xt - schedule.alpha_bar[t].sqrt() * x0) / (1 - schedule.alpha_bar[t]).sqrt()
        return {"x0": x0, "eps": eps, "mean": bayes(xt, x0, t, schedule)[0] if t > 1 else x0}[predicts]

    return denoiser


@pytest.mark.parametrize("predicts", PREDICTORS)
@pytest.mark.parametrize("t", range(2, 9))
def test_with_x0_known_a_step_draws_from_the_posterior(t, predicts, chain):
    """sigma "posterior": the law is q(x_{t-1} | x_t, x_0). sigma "beta": same mean, variance beta_t."""
    mean, std = bayes(XT, X0, t, chain)
    denoiser = knows(X0, predicts, chain)
    assert_close(p_step(denoiser, XT, t, chain, predicts=predicts, noise=Z), mean + std * Z, rtol=1e-10, atol=1e-12)
    x_prev = p_step(denoiser, XT, t, chain, sigma="beta", predicts=predicts, noise=Z)
    assert_close(x_prev, mean + chain.beta[t] ** 0.5 * Z, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_the_last_step_returns_x0_and_adds_no_noise(predicts, sigma, chain):
    denoiser, generator = knows(X0, predicts, chain), seeded()
    before = generator.get_state()
    for source in ({"generator": generator}, {"noise": 1e6 * Z}, {}):
        x0 = p_step(denoiser, XT, 1, chain, sigma=sigma, predicts=predicts, **source)
        assert_close(x0, X0, rtol=1e-10, atol=1e-12)
    assert torch.equal(before, generator.get_state())  # nothing was drawn
    at_1 = torch.ones(3, dtype=torch.int64)
    assert torch.equal(x0, p_step(denoiser, XT, at_1, chain, sigma=sigma, predicts=predicts, noise=Z))


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_t_per_sample_is_t_row_by_row(predicts, clip, sigma, chain):
    t = torch.tensor([8, 1, 3])
    options = {"sigma": sigma, "predicts": predicts, "clip": clip}
    denoiser = DATA.denoiser(chain, predicts)
    rows = [p_step(denoiser, XT[i : i + 1], int(t[i]), chain, noise=Z[i : i + 1], **options) for i in range(3)]
    assert_close(p_step(denoiser, XT, t, chain, noise=Z, **options), torch.cat(rows), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_three_languages_and_the_two_sampler_forms_give_one_trajectory(sigma, chain):
    """Also by hand: guess x_{0|t} from the noise, put it into the posterior mean, add sigma z."""
    loops = [p_sample_loop(DATA.denoiser(chain, p), chain, xT=XT, sigma=sigma, predicts=p, generator=seeded())
             for p in PREDICTORS]
    denoiser, noise, by_hand = DATA.denoiser(chain), seeded(), XT
    for (t, x), (_, from_x0), (_, from_mean) in zip(*loops, strict=True):
        for other in (from_x0, from_mean, by_hand):
            assert_close(x, other, rtol=1e-10, atol=1e-12)
        if t:
            guess = x0_from_eps(x, denoiser(x, torch.full((3,), t)), t, chain)
            by_hand = mean_from_x0(x, guess, t, chain)
            if t > 1:
                std = {"posterior": bayes(x, x, t, chain)[1], "beta": chain.beta[t] ** 0.5}[sigma]
                by_hand = by_hand + std * torch.randn(x.shape, generator=noise, dtype=x.dtype)


@pytest.mark.parametrize("predicts", PREDICTORS)
@pytest.mark.parametrize("t", [1, 5, 8, torch.tensor([1, 5, 8])])
def test_clip_clamps_the_guess_before_the_mean_is_formed(t, predicts, chain):
    denoiser, c = DATA.denoiser(chain, predicts), 0.25
    xt = torch.tensor([[-3.0, -2.0], [3.0, 0.5], [-1.5, 2.5]], dtype=torch.float64)
    guess = DATA.posterior_mean(xt, t, chain)
    assert (guess < -c).any() and (guess > c).any()
    clamped = torch.from_numpy(np.clip(guess.numpy(), -c, c))
    by_hand = p_step(lambda x, t: eps_from_x0(x, clamped, t, chain), xt, t, chain, noise=Z)
    clipped = p_step(denoiser, xt, t, chain, predicts=predicts, clip=c, noise=Z)
    assert_close(clipped, by_hand, rtol=1e-10, atol=1e-12)
    free = p_step(denoiser, xt, t, chain, predicts=predicts, noise=Z)
    assert (clipped - free).abs().max() > 0.02
    assert_close(p_step(denoiser, xt, t, chain, predicts=predicts, clip=100, noise=Z), free, rtol=1e-10, atol=1e-12)


def test_a_clipped_sample_stays_in_range(chain):
    x0 = sample(lambda xt, t: 0 * xt, chain, xT=10 * XT, clip=0.5, generator=seeded())
    assert x0.abs().max() == 0.5


def spying(seen, answer=lambda xt, t: 0.1 * xt):
    def denoiser(xt, t):
        assert t.shape == (len(xt),) and t.dtype == torch.int64 and len(set(t.tolist())) == 1
        seen.append(int(t[0]))
        return answer(xt, t)

    return denoiser


@pytest.mark.parametrize("T", [1, 2, 8])
def test_the_loop_visits_T_to_1_once_and_yields_T_plus_1_states(T):
    seen, xT = [], XT.clone()
    states = list(p_sample_loop(spying(seen), Schedule([0.2] * T), xT=xT, generator=seeded()))
    assert seen == list(range(T, 0, -1))
    assert [t for t, _ in states] == list(range(T, -1, -1))
    assert torch.equal(states[0][1], XT) and torch.equal(xT, XT)
    assert all(x.shape == XT.shape and x.dtype == XT.dtype for _, x in states)


def test_each_state_is_p_step_of_the_one_before(chain):
    states, noise = list(p_sample_loop(DATA.denoiser(chain), chain, xT=XT, sigma="beta", generator=seeded())), seeded()
    for (t, x), (_, x_prev) in zip(states, states[1:], strict=False):
        assert torch.equal(x_prev, p_step(DATA.denoiser(chain), x, t, chain, sigma="beta", generator=noise))


def test_the_chain_draws_xT_and_one_noise_for_each_t_above_1(chain):
    """T draws in all: x_T and z at T..2. The generator then stands where T plain draws leave it."""
    generator, plain = seeded(3), seeded(3)
    *_, (_, x0) = p_sample_loop(lambda xt, t: xt, chain, (4, 2), generator=generator)
    draws = [torch.randn(4, 2, generator=plain) for _ in range(chain.T)]
    assert torch.equal(generator.get_state(), plain.get_state())
    states = p_sample_loop(lambda xt, t: xt, chain, (4, 2), generator=seeded(3))
    assert torch.equal(next(states)[1], draws[0])


def test_a_seed_fixes_the_sample_and_the_global_generator_is_left_alone(chain):
    before = torch.get_rng_state()
    one, same, other = (sample(DATA.denoiser(chain), chain, (5, 2), generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, same) and (one != other).any()
    from_xT = (sample(DATA.denoiser(chain), chain, xT=XT, generator=seeded(s)) for s in (1, 2))
    assert (next(from_xT) != next(from_xT)).any()  # one x_T, two x_0: the chain is random
    assert torch.equal(before, torch.get_rng_state())


def test_sample_is_the_last_state_of_the_loop(chain):
    options = {"sigma": "beta", "predicts": "x0", "clip": 0.9}
    for start in ({"shape": (3, 2)}, {"xT": XT}):
        *_, (t, x0) = p_sample_loop(DATA.denoiser(chain, "x0"), chain, **start, **options, generator=seeded())
        assert t == 0 and torch.equal(x0, sample(DATA.denoiser(chain, "x0"), chain, **start, **options,
                                                 generator=seeded()))
        assert torch.equal(x0, sample(DATA.denoiser(chain, "x0"), chain, **start, **options, steps=chain.T,
                                      generator=seeded()))


@pytest.mark.parametrize("steps, visited", [(1, [8]), (2, [8, 4]), (3, [8, 5, 2]), (5, [8, 6, 4, 3, 1]),
                                            (8, [8, 7, 6, 5, 4, 3, 2, 1])])
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_a_shorter_chain_visits_t_spread_over_1_to_T(steps, visited, predicts, chain):
    seen = []
    denoiser = spying(seen, knows(X0, predicts, chain))
    x0 = sample(denoiser, chain, xT=XT, steps=steps, predicts=predicts, generator=seeded())
    assert seen == visited
    assert_close(x0, X0, rtol=1e-10, atol=1e-12)  # what is known is returned, in every language


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_a_strided_step_is_bayes_rule_over_the_stride(predicts, sigma, chain, monkeypatch):
    """Two steps, 8 -> 4 -> 0: the first draws x_4 given x_8 and x_0, with one merged forward step between them."""
    beta = 1 - chain.alpha[5:9].prod()
    precision = 1 / (1 - chain.alpha_bar[4]) + (1 - beta) / beta
    mean = (chain.alpha_bar[4].sqrt() * X0 / (1 - chain.alpha_bar[4]) + (1 - beta).sqrt() * XT / beta) / precision
    std = precision.rsqrt() if sigma == "posterior" else beta.sqrt()
    seen = []

    def answer(xt, t):
        seen.append(xt)
        return knows(X0, predicts, chain)(xt, t)

    monkeypatch.setattr("ddpm_lesson.sampling.draw_noise", lambda x, noise, generator: Z)
    sample(answer, chain, xT=XT, steps=2, sigma=sigma, predicts=predicts)
    assert_close(seen[1], mean + std * Z, rtol=1e-10, atol=1e-12)


def test_samples_of_the_exact_model_are_on_the_data():
    """Five points on a line, T = 300: every sample ends on one of them, each about as often as it should."""
    points = torch.tensor([-1.5, -0.6, 0.1, 0.8, 2.0])
    schedule, data = cosine_schedule(300), GaussianMixture([0.2] * 5, points[:, None], 0.0)
    for steps in (300, 60):
        x0 = sample(data.denoiser(schedule), schedule, (2000, 1), steps=steps, generator=seeded(5))
        distance, nearest = (x0 - points).abs().min(1)
        assert distance.max() < 1e-4
        assert (nearest.bincount(minlength=5) - 400).abs().max() < 5 * (2000 * 0.2 * 0.8) ** 0.5


def test_no_gradients_are_kept_and_the_callers_mode_is_left_alone():
    slope = torch.tensor(0.1, requires_grad=True)
    schedule = Schedule(torch.tensor([0.1, 0.2, 0.3], requires_grad=True))
    xT = torch.ones(2, 3, requires_grad=True)
    for t, x in p_sample_loop(lambda xt, t: slope * xt, schedule, xT=xT, generator=seeded()):
        assert torch.is_grad_enabled()  # between the steps, too
        assert t == 3 or not x.requires_grad
    for steps in (2, 3):
        assert not sample(lambda xt, t: slope * xt, schedule, xT=xT, steps=steps).requires_grad
    assert p_step(lambda xt, t: slope * xt, xT, 2, schedule).requires_grad  # one step alone may be differentiated


@pytest.mark.parametrize("predicts", PREDICTORS)
def test_gradients_of_a_step_flow_to_beta_x_and_the_denoiser(predicts):
    beta = torch.tensor([0.1, 0.35, 0.2], dtype=torch.float64, requires_grad=True)
    slope, xt = torch.tensor(0.6, dtype=torch.float64, requires_grad=True), XT.clone().requires_grad_()

    def step(beta, slope, xt, t, sigma, clip):
        return p_step(lambda x, t: slope * x, xt, t, Schedule(beta), sigma=sigma, predicts=predicts, clip=clip, noise=Z)

    for t, sigma, clip in [(1, "posterior", None), (3, "posterior", None), (2, "beta", 0.8),
                           (torch.tensor([1, 2, 3]), "posterior", None)]:
        assert torch.autograd.gradcheck(lambda *a, o=(t, sigma, clip): step(*a, *o), (beta, slope, xt))


@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=4), per_sample=st.booleans(), clip=st.booleans(),
       dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]), predicts=st.sampled_from(PREDICTORS),
       sigma=st.sampled_from(SIGMAS))
def test_any_shape_and_dtype(shape, per_sample, clip, dtype, predicts, sigma, chain):
    xt = torch.linspace(-1, 1, math.prod(shape), dtype=dtype).reshape(shape)
    kept, noise = xt.clone(), xt.flip(0)
    t = torch.arange(shape[0]) % chain.T + 1 if per_sample else chain.T
    options = {"sigma": sigma, "predicts": predicts, "clip": 0.4 if clip else None}
    x_prev = p_step(lambda x, t: 0.5 * x, xt, t, chain, noise=noise, **options)
    exact = p_step(lambda x, t: 0.5 * x, xt.double(), t, chain, noise=noise.double(), **options)
    assert x_prev.shape == xt.shape and x_prev.dtype == dtype and torch.equal(xt, kept)
    assert_close(x_prev.double(), exact, rtol=20 * torch.finfo(dtype).eps, atol=20 * torch.finfo(dtype).eps)
    x0 = sample(lambda x, t: 0.5 * x, chain, xT=xt, steps=3, generator=seeded(), **options)
    assert x0.shape == xt.shape and x0.dtype == dtype and x0.isfinite().all()


@pytest.mark.parametrize("predicts", PREDICTORS)
def test_on_the_meta_device(predicts, chain):
    for t in (1, chain.T, torch.tensor([1, 4])):
        x_prev = p_step(lambda xt, t: xt, torch.zeros(2, 3, device="meta"), t, chain, predicts=predicts)
        assert x_prev.is_meta and x_prev.shape == (2, 3) and x_prev.dtype == torch.float32
    x0 = sample(lambda xt, t: xt, chain, (2, 3), predicts=predicts, device="meta")
    assert x0.is_meta and x0.shape == (2, 3)
    x0 = sample(lambda xt, t: xt, chain, (2, 3), steps=3, device="meta")
    assert x0.is_meta and x0.shape == (2, 3)


BOTH = [
    ({"sigma": "alpha"}, "sigma must be one of 'posterior', 'beta', not 'alpha'"),
    ({"predicts": "v"}, "predicts must be one of 'eps', 'x0', 'mean', not 'v'"),
    *(({"clip": c}, f"clip must be None or a finite number > 0, not {c!r}")
      for c in (0, -1.0, math.inf, math.nan, True, "1")),
    ({"generator": 3}, "generator must be a torch.Generator, not int 3"),
]


@pytest.mark.parametrize("changed, message", [
    *BOTH,
    *(({"t": t}, r"t must lie in 1\.\.8, not " + str(t)) for t in (0, 9, -1)),
    ({"t": torch.tensor([1, 0, 2])}, r"t must lie in 1\.\.8, not 0"),
    ({"t": torch.tensor([1, 9, 2])}, r"t must lie in 1\.\.8, not 9"),
    ({"t": torch.tensor([1, 2])}, r"t must be an int or hold one entry per sample, not shape \(2,\)"),
    ({"t": torch.tensor([[1], [2], [3]])}, r"one entry per sample, not shape \(3, 1\)"),
    ({"t": torch.tensor([1.0, 2.0, 3.0])}, "t must be an int or an integer tensor, not a tensor of torch.float32"),
    ({"t": torch.tensor([True] * 3)}, "t must be an int or an integer tensor, not a tensor of torch.bool"),
    ({"t": 2.0}, "t must be an int .*, not float 2.0"),
    ({"t": False}, "t must be an int .*, not bool False"),
    ({"xt": torch.zeros(3, 2, dtype=torch.uint8)}, "xt must be a floating-point .* torch.uint8; scale integer images"),
    ({"xt": torch.full((3, 2), math.inf)}, "xt must be finite"),
    ({"xt": 0.5}, "xt must be a floating-point torch tensor, not float 0.5"),
    ({"noise": Z}, "either noise or generator, not both"),
    ({"noise": Z[:2], "generator": None}, "noise .*do not broadcast"),
    ({"noise": Z[:2], "generator": None, "t": 1}, "noise .*do not broadcast"),
    ({"noise": Z[None], "generator": None}, r"noise of shape \(1, 3, 2\) must broadcast to x of shape \(3, 2\)"),
    ({"noise": math.nan * Z, "generator": None}, "noise must be finite"),
    ({"noise": Z, "t": 1}, "either noise or generator, not both"),
    ({"generator": 3, "t": 1}, "generator must be a torch.Generator, not int 3"),
    ({"denoiser": lambda xt, t: xt[:1]}, r"denoiser must return a tensor of xt's shape \(3, 2\), not \(1, 2\)"),
    ({"denoiser": lambda xt, t: (xt, xt)}, "denoiser must return a tensor of xt's shape .*, not tuple"),
])
def test_p_step_refuses_wrong_input_before_it_draws(changed, message, chain):
    generator = seeded()
    before = generator.get_state(), torch.get_rng_state()
    arguments = {"denoiser": lambda xt, t: xt, "xt": XT, "t": 3, "schedule": chain, "generator": generator} | changed
    with pytest.raises(ValueError, match=message):
        p_step(**arguments)
    assert torch.equal(before[0], generator.get_state()) and torch.equal(before[1], torch.get_rng_state())


@pytest.mark.parametrize("run", [p_sample_loop, sample])
@pytest.mark.parametrize("changed, message", [
    *BOTH,
    ({"shape": None}, "give exactly one of shape and xT, not neither"),
    ({"xT": XT}, "give exactly one of shape and xT, not both"),
    ({"shape": ()}, r"shape must have a batch dimension, \(B, ...\), not \(\)"),
    ({"shape": 5}, r"shape must be a tuple of ints \(B, ...\), not 5"),
    ({"shape": (2, -1)}, "shape must be an int >= 0, not -1"),
    ({"shape": (2, 1.5)}, "shape must be an int >= 0, not float 1.5"),
    ({"shape": None, "xT": torch.zeros(2, 2, dtype=torch.int32)}, "xT must be a floating-point .* torch.int32"),
    ({"shape": None, "xT": torch.full((2, 2), math.nan)}, "xT must be finite"),
    ({"shape": None, "xT": torch.tensor(1.0)}, r"xT must have a batch dimension, \(B, ...\), not shape \(\)"),
])
def test_the_loop_refuses_wrong_input_at_once(run, changed, message, chain):
    """When it is called, not at the first next(); and before it draws or asks the denoiser."""
    generator, seen = seeded(), []
    before = generator.get_state(), torch.get_rng_state()
    arguments = {"denoiser": spying(seen), "schedule": chain, "shape": (3, 2), "generator": generator} | changed
    with pytest.raises(ValueError, match=message):
        run(**arguments)
    assert not seen
    assert torch.equal(before[0], generator.get_state()) and torch.equal(before[1], torch.get_rng_state())


@pytest.mark.parametrize("steps, message", [
    (0, r"lie in 1\.\.8, not 0"), (9, r"lie in 1\.\.8, not 9"), (2.0, "be an int .*, not float 2.0"),
    (True, "be an int .*, not bool True"),
])
def test_steps_must_be_in_1_to_T(steps, message, chain):
    with pytest.raises(ValueError, match="steps must " + message):
        sample(lambda xt, t: xt, chain, (1,), steps=steps)


def test_an_empty_batch_is_an_empty_sample():
    assert sample(lambda xt, t: xt, linear_schedule(5), (0, 2)).shape == (0, 2)


def test_x_T_is_drawn_on_the_device_that_is_asked_for():
    _, xT = next(p_sample_loop(lambda xt, t: xt, Schedule([0.1, 0.2]), (2, 3), device="meta"))
    assert xT.is_meta
    assert sample(lambda xt, t: xt, Schedule([0.1, 0.2]), (2, 3), device="meta").is_meta


@pytest.mark.parametrize("start, message", [
    ({"shape": ()}, r"^shape must have a batch dimension, \(B, ...\), not \(\)$"),
    ({"xT": torch.tensor(0.0)}, r"^xT must have a batch dimension")])
def test_a_start_without_a_batch_is_refused_by_its_name(start, message):
    with pytest.raises(ValueError, match=message):
        p_sample_loop(lambda xt, t: xt, Schedule([0.1, 0.2]), **start)
