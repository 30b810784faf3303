"""The jump against the chain of single steps, run on basis vectors; the steps against the kernel that defines them.

Seen to fail on wrong versions: variance for standard deviation, a dropped or added root, alpha or beta at t - 1,
alpha for alpha_bar, 1 - root for root of 1 - alpha_bar, a minus sign, snr upside down, the inverse map, a variance not
in x's dtype, the generator ignored, one draw for the whole batch, uniform noise, noise in the wrong dtype or place.
"""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpm_lesson import Schedule, q_mean_var, q_sample, q_step, ve_sample, ve_to_vp, vp_to_ve

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-13)
CHAIN = Schedule([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14])
DRAWS = {"q_step": q_step, "q_sample": q_sample, "ve_sample": ve_sample}
MAPS = {"vp_to_ve": vp_to_ve, "ve_to_vp": ve_to_vp, "mean": lambda x, t, s: q_mean_var(x, t, s)[0]}
every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
every_function = pytest.mark.parametrize("function", [*(partial(f, noise=torch.tensor(0.5)) for f in DRAWS.values()),
                                                      *MAPS.values()], ids=[*DRAWS, *MAPS])
shapes = st.lists(st.integers(1, 3), min_size=1, max_size=4)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unrolled(t, schedule):
    """What x_t holds of x_0, eps_1, ..., eps_t: one chain each, started by a 1 in that place and 0 in all others."""
    unit = torch.eye(t + 1, dtype=torch.float64)
    x = unit[0]
    for s in range(1, t + 1):
        x = q_step(x, s, schedule, noise=unit[s])
    return x[0], x[1:]


def split(draw, t, schedule):
    """What a draw at t holds of its x and of its noise."""
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    return draw(one, t, schedule, noise=zero), draw(zero, t, schedule, noise=one)


# --- the formulas ---

@pytest.mark.parametrize("t", range(1, 9))
def test_a_step_adds_variance_beta_and_keeps_variance_one(t, chain):
    signal, noise = split(q_step, t, chain)
    close(noise**2, chain.beta[t])
    close(signal**2 + noise**2, torch.ones((), dtype=torch.float64))
    assert signal > 0 and noise > 0


@pytest.mark.parametrize("t", range(1, 9))
def test_the_jump_is_the_chain_of_t_steps(t, chain):
    signal, noise = split(q_sample, t, chain)
    of_x0, of_eps = unrolled(t, chain)
    close(signal, of_x0)
    close(noise, of_eps.norm())  # variances add, so the root of the sum of squares
    assert noise > 0


@pytest.mark.parametrize("t", [1, 2, 500, 1000])
def test_the_jump_is_the_chain_of_t_steps_in_a_long_schedule(t):
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    log_signal = sum(math.log1p(-b) for b in beta[:t].tolist())
    signal, noise = split(q_sample, t, Schedule(beta))
    close(signal.log(), torch.tensor(log_signal / 2, dtype=torch.float64))
    close(noise, torch.tensor(math.sqrt(-math.expm1(log_signal)), dtype=torch.float64))


@pytest.mark.parametrize("t", range(1, 9))
def test_mean_and_variance_follow_the_recursion_of_single_steps(t, chain):
    x0 = randn(4, 3)
    mean, var = x0.clone(), 0.0
    for b in chain.beta[1:t + 1].tolist():
        mean, var = math.sqrt(1 - b) * mean, (1 - b) * var + b
    got_mean, got_var = q_mean_var(x0, t, chain)
    close(got_mean, mean)
    close(got_var, torch.tensor(var, dtype=torch.float64))
    assert got_mean.shape == x0.shape


def test_the_variance_broadcasts_against_x0(chain):
    x0 = randn(8, 3, 2)
    _, var = q_mean_var(x0, torch.arange(1, 9), chain)
    assert var.shape == (8, 1, 1)
    close(var.flatten(), torch.stack([q_mean_var(x0, t, chain)[1] for t in range(1, 9)]))


@pytest.mark.parametrize("t", range(1, 9))
def test_variance_exploding_steps_add_up(t, chain):
    """x_t / √ᾱ_t grows by noise of variance β_s / ᾱ_s at each step s, and its signal stays whole."""
    signal, noise = split(ve_sample, t, chain)
    kept, var = 1.0, 0.0
    for b in chain.beta[1:t + 1].tolist():
        kept *= 1 - b
        var += b / kept
    assert signal == 1
    close(noise**2, torch.tensor(var, dtype=torch.float64))
    assert noise > 0


@pytest.mark.parametrize("t", range(1, 9))
def test_both_forms_are_one_picture_rescaled(t, chain):
    x0, eps = randn(4, 3), randn(4, 3, seed=1)
    xt, x = q_sample(x0, t, chain, noise=eps), ve_sample(x0, t, chain, noise=eps)
    close(vp_to_ve(xt, t, chain), x)
    close(ve_to_vp(x, t, chain), xt)
    close(ve_to_vp(torch.ones((), dtype=torch.float64), t, chain), unrolled(t, chain)[0])


def test_draws_have_the_stated_mean_and_variance(chain):
    n, x0 = 200_000, torch.tensor([-2.0, 0.7], dtype=torch.float64)
    for draw, moments in [(q_sample, q_mean_var(x0, 5, chain)), (q_step, (math.sqrt(0.93) * x0, 0.07))]:
        x = draw(x0.expand(n, 2), 5, chain, generator=torch.Generator().manual_seed(0))
        mean, var = moments
        var = torch.as_tensor(var)
        assert ((x.mean(0) - mean).abs() < 5 * (var / n).sqrt()).all()  # 5 standard errors
        assert ((x.var(0) - var).abs() < 5 * var * math.sqrt(2 / n)).all()
        assert abs(float(torch.corrcoef(x.T)[0, 1])) < 5 / math.sqrt(n)  # every value has its own noise


@pytest.mark.parametrize("draw", [q_step, q_sample, ve_sample])
def test_gradients_flow_to_beta_and_x(draw, chain):
    x, eps = randn(3, 2).requires_grad_(), randn(3, 2, seed=1)
    beta = chain.beta[1:].clone().requires_grad_()
    t = torch.tensor([1, 5, 8])
    assert torch.autograd.gradcheck(lambda x, b: draw(x, t, Schedule(b), noise=eps), (x, beta))


# --- t, noise, dtype, device ---

@every_function
@given(shape=shapes, data=st.data())
def test_t_per_sample_is_one_call_per_sample(function, shape, data):
    t = data.draw(st.lists(st.integers(1, 8), min_size=shape[0], max_size=shape[0]))
    x = randn(*shape)
    together = function(x, torch.tensor(t), CHAIN)
    assert together.shape == x.shape and together.dtype == x.dtype
    close(together, torch.stack([function(x[i], t[i], CHAIN) for i in range(len(t))]))


@pytest.mark.parametrize("t", [torch.tensor(8), torch.tensor([8, 8]), torch.tensor([8, 8], dtype=torch.uint8),
                               torch.tensor([8, 8], dtype=torch.int32)], ids=["0-d", "int64", "uint8", "int32"])
@every_function
def test_every_way_to_say_t_means_the_same(function, t, chain):
    x = randn(2, 3)
    assert torch.equal(function(x, t, chain), function(x, 8, chain))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@every_function
def test_lower_precision_costs_only_rounding(function, dtype, chain):
    x = randn(8, 5).to(dtype)
    t = torch.arange(1, 9)
    got = function(x, t, chain)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), function(x.double(), t, chain), rtol=0,
                               atol=8 * torch.finfo(dtype).eps * float(x.abs().max()))


def test_the_variance_has_the_dtype_of_x0(chain):
    for dtype in (torch.float32, torch.bfloat16):
        _, var = q_mean_var(torch.zeros(2, 3, dtype=dtype), torch.tensor([1, 8]), chain)
        assert var.dtype == dtype


@pytest.mark.parametrize("t", [1, 8, torch.tensor([1, 8])], ids=["first", "last", "per sample"])
@every_function
def test_nothing_depends_on_the_device(function, t, chain):
    got = function(torch.empty(2, 3, dtype=torch.float32, device="meta"), t, chain)
    assert (got.shape, got.dtype, got.device.type) == ((2, 3), torch.float32, "meta")


@every_draw
def test_noise_is_drawn_on_the_device_of_x(draw, chain):
    x = torch.empty(2, 3, device="meta")
    for generator in (None, torch.Generator()):
        assert draw(x, 1, chain, generator=generator).device.type == "meta"


@every_draw
def test_a_generator_decides_the_noise(draw, chain):
    x = randn(4, 3)
    got = draw(x, 3, chain, generator=torch.Generator().manual_seed(7))
    close(got, draw(x, 3, chain, noise=randn(4, 3, seed=7)))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        close(draw(x, 3, chain), got)
        assert not torch.equal(draw(x, 3, chain), got)


@every_draw
def test_one_noise_may_serve_every_sample(draw, chain):
    x, eps = randn(4, 3), randn(3)
    assert torch.equal(draw(x, 3, chain, noise=eps), draw(x, 3, chain, noise=eps.expand(4, 3)))
    assert draw(x.float(), 3, chain, noise=eps).dtype == torch.float32  # x's dtype decides, not the noise's


@every_function
def test_an_empty_batch_stays_empty(function, chain):
    assert function(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), chain).shape == (0, 3)
