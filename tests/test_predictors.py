"""The six maps against one consistent (x_0, eps, x_t, mean), whose mean comes from conditioning a joint Gaussian.

Seen to fail on wrong versions, in each map: a root dropped or added, alpha_bar for alpha in the outer factor, a sign, a
factor inside for outside the bracket, division for multiplication, any table read at t - 1, arguments swapped; in
predict_mean and predict_x0: the branches or the default of `predicts` exchanged.
"""

import math
from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpm_lesson import (
    Schedule,
    eps_from_mean,
    eps_from_x0,
    mean_from_eps,
    mean_from_x0,
    q_sample,
    x0_from_eps,
    x0_from_mean,
)
from ddpm_lesson.predictors import PREDICTORS, predict_mean, predict_x0

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-11)
CHAIN = Schedule([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14])
MAPS = {("mean", "x0"): mean_from_x0, ("mean", "eps"): mean_from_eps, ("x0", "eps"): x0_from_eps,
        ("x0", "mean"): x0_from_mean, ("eps", "x0"): eps_from_x0, ("eps", "mean"): eps_from_mean}
every_map = pytest.mark.parametrize("wanted, known", MAPS, ids=[f"{w}_from_{k}" for w, k in MAPS])


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def consistent(t, beta):
    """x_t and what the three predictors should say of it, by the recursion of steps and Gaussian conditioning."""
    x0, eps, signal, var = randn(3, 2), randn(3, 2, seed=1), 1.0, 0.0
    for b in beta[:t - 1]:
        signal, var = math.sqrt(1 - b) * signal, (1 - b) * var + b
    root, b = math.sqrt(1 - beta[t - 1]), beta[t - 1]
    var_t = root * root * var + b
    xt = root * signal * x0 + math.sqrt(var_t) * eps
    mean = signal * x0 + root * var / var_t * (xt - root * signal * x0)  # of x_{t-1}, given x_t and x_0
    return xt, {"x0": x0, "eps": eps, "mean": mean}


@every_map
@given(data=st.data())
def test_each_map_finds_what_is_true(wanted, known, data):
    beta = data.draw(st.lists(st.floats(0.01, 0.8), min_size=1, max_size=8))
    t = data.draw(st.integers(1, len(beta)))
    xt, truth = consistent(t, beta)
    close(MAPS[wanted, known](xt, truth[known], t, Schedule(beta)), truth[wanted], rtol=1e-9, atol=1e-10)


@every_map
@pytest.mark.parametrize("t", range(1, 9))
def test_each_map_finds_what_is_true_in_the_short_chain(wanted, known, t, chain):
    xt, truth = consistent(t, chain.beta[1:].tolist())
    close(MAPS[wanted, known](xt, truth[known], t, chain), truth[wanted])


@every_map
@pytest.mark.parametrize("t", [1, 2, 500, 1000])
def test_each_map_finds_what_is_true_in_a_long_schedule(wanted, known, t):
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    xt, truth = consistent(t, beta.tolist())
    close(MAPS[wanted, known](xt, truth[known], t, Schedule(beta)), truth[wanted], rtol=1e-8, atol=1e-9)


@every_map
@given(data=st.data())
def test_each_map_and_its_inverse_cancel_for_any_prediction(wanted, known, data):
    """A network's prediction is consistent with nothing, and still the maps must undo each other."""
    t = data.draw(st.integers(1, 8))
    xt, anything = randn(4, 3), randn(4, 3, seed=data.draw(st.integers(1, 99)))
    there = MAPS[wanted, known](xt, anything, t, CHAIN)
    close(MAPS[known, wanted](xt, there, t, CHAIN), anything)


@pytest.mark.parametrize("a, b, c", [(a, b, c) for a, b, c in product(PREDICTORS, repeat=3) if len({a, b, c}) == 3])
def test_two_maps_in_a_row_are_the_third(a, b, c, chain):
    t, xt, anything = torch.arange(1, 9), randn(8, 3), randn(8, 3, seed=5)
    close(MAPS[c, b](xt, MAPS[b, a](xt, anything, t, chain), t, chain), MAPS[c, a](xt, anything, t, chain))


@given(st.floats(1e-6, 0.999), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_at_t_1_the_mean_is_exactly_x0(beta_1, dtype):
    schedule, xt, x = Schedule([beta_1, 0.5]), randn(4).to(dtype), randn(4, seed=1).to(dtype)
    assert torch.equal(mean_from_x0(xt, x, 1, schedule), x)
    assert torch.equal(x0_from_mean(xt, x, 1, schedule), x)


def test_at_t_1_the_mean_from_eps_is_x0_from_eps(chain):
    xt, eps = randn(4), randn(4, seed=1)
    close(mean_from_eps(xt, eps, 1, chain), x0_from_eps(xt, eps, 1, chain))


def test_eps_is_the_noise_that_q_sample_used(chain):
    x0, eps, t = randn(8, 3), randn(8, 3, seed=1), torch.arange(1, 9)
    xt = q_sample(x0, t, chain, noise=eps)
    close(eps_from_x0(xt, x0, t, chain), eps)
    close(x0_from_eps(xt, eps, t, chain), x0)


# --- t, shapes, dtype, device ---

@every_map
@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=4), data=st.data())
def test_t_per_sample_is_one_call_per_sample(wanted, known, shape, data):
    t = data.draw(st.lists(st.integers(1, 8), min_size=shape[0], max_size=shape[0]))
    f, xt, x = MAPS[wanted, known], randn(*shape), randn(*shape, seed=1)
    together = f(xt, x, torch.tensor(t), CHAIN)
    assert together.shape == xt.shape
    close(together, torch.stack([f(xt[i], x[i], t[i], CHAIN) for i in range(len(t))]))


@every_map
def test_both_arguments_broadcast(wanted, known, chain):
    f, xt, x, t = MAPS[wanted, known], randn(4, 3), randn(1, 3, seed=1), torch.tensor([1, 2, 5, 8])
    assert torch.equal(f(xt, x, t, chain), f(xt, x.expand(4, 3), t, chain))
    assert torch.equal(f(x, xt, t, chain), f(x.expand(4, 3), xt, t, chain))


@every_map
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision_costs_only_rounding(wanted, known, dtype, chain):
    f, xt, x, t = MAPS[wanted, known], randn(8, 5).to(dtype), randn(8, 5, seed=1).to(dtype), torch.arange(1, 9)
    got, exact = f(xt, x, t, chain), f(xt.double(), x.double(), t, chain)
    assert got.dtype == dtype
    largest = max(float(v.abs().max()) for v in (exact, 6 * xt, 6 * x))  # no map here magnifies by more than 6
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps * largest)


@every_map
def test_mixed_dtypes_give_the_wider_one(wanted, known, chain):
    f, xt, x = MAPS[wanted, known], randn(2), randn(2, seed=1)
    assert f(xt.float(), x, 3, chain).dtype == f(xt, x.float(), 3, chain).dtype == torch.float64


@every_map
@pytest.mark.parametrize("t", [1, 8, torch.tensor([1, 8])], ids=["first", "last", "per sample"])
def test_nothing_depends_on_the_device(wanted, known, t, chain):
    x = torch.empty(2, 3, device="meta")
    got = MAPS[wanted, known](x, x, t, chain)
    assert (got.shape, got.dtype, got.device.type) == ((2, 3), torch.float32, "meta")


@every_map
def test_gradients_flow_to_beta_and_both_points(wanted, known, chain):
    xt, x = randn(3, 2).requires_grad_(), randn(3, 2, seed=1).requires_grad_()
    beta, t = chain.beta[1:].clone().requires_grad_(), torch.tensor([1, 5, 8])
    assert torch.autograd.gradcheck(lambda *a: MAPS[wanted, known](*a[:2], t, Schedule(a[2])), (xt, x, beta))


# --- what a denoiser says, as a mean or as x_0 ---

@pytest.mark.parametrize("predicts", PREDICTORS)
@pytest.mark.parametrize("t", [1, 2, 8])
def test_whatever_a_denoiser_predicts_its_mean_and_x0_are_the_same(predicts, t, chain):
    xt, truth = consistent(t, chain.beta[1:].tolist())

    def denoiser(x, t):
        assert x is xt
        return truth[predicts]

    close(predict_mean(denoiser, xt, t, chain, predicts), truth["mean"])
    close(predict_x0(denoiser, xt, t, chain, predicts), truth["x0"])
    assert predict_mean(denoiser, xt, t, chain, predicts).shape == xt.shape


@pytest.mark.parametrize("predict, wanted", [(predict_mean, "mean"), (predict_x0, "x0")])
def test_a_denoiser_predicts_the_noise_unless_told_otherwise(predict, wanted, chain):
    xt, truth = consistent(5, chain.beta[1:].tolist())
    close(predict(lambda x, t: truth["eps"], xt, 5, chain), truth[wanted])
