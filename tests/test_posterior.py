"""The posterior against Bayes' rule with torch's densities, quadrature, and the joint Gaussian of x_{t-1} and x_t.

Seen to fail on wrong versions: alpha or alpha_bar for its root and the reverse, alpha_bar[t] for alpha_bar[t - 1],
alpha at t - 1, the weights swapped, made to sum to 1, upside down or with a minus sign; beta, the root or t - 1 for
beta_tilde; beta for 1 - alpha (inexact at t = 1); a variance not in x's dtype; a weight cut off from beta.
"""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from torch.distributions import Normal

from ddpm_lesson import Schedule, posterior_mean_var, q_mean_var, q_sample

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-13)
CHAIN = Schedule([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14])
betas = st.lists(st.floats(1e-3, 0.99), min_size=1, max_size=12)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def conditioned(xt, x0, t, beta):
    """Mean and variance of x_{t-1} given x_t, from their joint Gaussian given x_0, built by the recursion of steps."""
    mean, var = x0, 0.0
    for b in beta[:t - 1]:
        mean, var = math.sqrt(1 - b) * mean, (1 - b) * var + b
    root, b = math.sqrt(1 - beta[t - 1]), beta[t - 1]
    cov, var_t = root * var, root * root * var + b
    return mean + cov / var_t * (xt - root * mean), var - cov * cov / var_t


@given(betas, st.data())
def test_it_is_the_conditional_of_the_joint_gaussian(beta, data):
    t = data.draw(st.integers(1, len(beta)))
    xt, x0 = randn(3, 2), randn(3, 2, seed=1)
    mean, var = posterior_mean_var(xt, x0, t, Schedule(beta))
    expected_mean, expected_var = conditioned(xt, x0, t, beta)
    close(mean, expected_mean, atol=1e-12)
    close(var, torch.tensor(expected_var, dtype=torch.float64), atol=1e-15)


@pytest.mark.parametrize("t", range(2, 9))
def test_bayes_rule_holds_at_every_point(t, chain):
    x0, xt, x_prev = randn(50), randn(50, seed=1), randn(50, seed=2)

    def log_prob(x, mean, var):
        return Normal(mean, var.sqrt()).log_prob(x)

    b = chain.beta[t]
    step = log_prob(xt, (1 - b).sqrt() * x_prev, b)
    left = step + log_prob(x_prev, *q_mean_var(x0, t - 1, chain))
    right = log_prob(x_prev, *posterior_mean_var(xt, x0, t, chain)) + log_prob(xt, *q_mean_var(x0, t, chain))
    close(left, right)


@pytest.mark.parametrize("t", range(2, 9))
def test_quadrature_gives_the_same_moments(t, chain):
    x0, xt = torch.tensor(0.8, dtype=torch.float64), torch.tensor(-1.1, dtype=torch.float64)
    b, (mean_prev, var_prev) = float(chain.beta[t]), (float(v) for v in q_mean_var(x0, t - 1, chain))

    def moment(power, center=0.0):
        def unnormalized(x):
            joint = (-1.1 - math.sqrt(1 - b) * x) ** 2 / b + (x - mean_prev) ** 2 / var_prev
            return (x - center) ** power * math.exp(-joint / 2)
        return integrate.quad(unnormalized, -6, 6, epsabs=0, epsrel=1e-13, limit=200, points=[mean_prev, -1.1])[0]

    mean, var = posterior_mean_var(xt, x0, t, chain)
    expected = moment(1) / moment(0)
    assert float(mean) == pytest.approx(expected, rel=1e-9)
    assert float(var) == pytest.approx(moment(2, expected) / moment(0), rel=1e-9)


@given(st.floats(1e-6, 0.999), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_at_t_1_it_is_exactly_x0(beta_1, dtype):
    xt, x0 = randn(4, 3).to(dtype), randn(4, 3, seed=1).to(dtype)
    mean, var = posterior_mean_var(xt, x0, 1, Schedule([beta_1, 0.5]))
    assert torch.equal(mean, x0) and var == 0
    mean, var = posterior_mean_var(xt, x0, torch.tensor([1, 2, 1, 2]), Schedule([beta_1, 0.5]))
    assert torch.equal(mean[::2], x0[::2]) and (var[::2] == 0).all() and (var[1::2] > 0).all()


def test_the_two_weights_do_not_sum_to_1(chain):
    one = torch.ones(8, 1, dtype=torch.float64)
    total, _ = posterior_mean_var(one, one, torch.arange(1, 9), chain)
    assert (total[1:] < 1).all()
    by_hand = (math.sqrt(0.8) * 0.03 + math.sqrt(0.97) * 0.2) / 0.224  # at t = 2: ᾱ_1 = 0.97, ᾱ_2 = 0.97 * 0.8
    close(total[1], torch.tensor([by_hand], dtype=torch.float64))


def test_averaged_over_xt_it_is_the_jump_to_t_minus_1(chain):
    """Mean and variance of x_{t-1} given x_0, by the law of total expectation over q(x_t | x_0)."""
    x0 = randn(1, 4)
    for t in range(2, 9):
        mean_t, var_t = q_mean_var(x0, t, chain)
        mean, beta_tilde_t = posterior_mean_var(mean_t, x0, t, chain)
        weight_xt = posterior_mean_var(mean_t + 1, x0, t, chain)[0] - mean
        expected_mean, expected_var = q_mean_var(x0, t - 1, chain)
        close(mean, expected_mean)
        close(beta_tilde_t + weight_xt**2 * var_t, expected_var.expand(1, 4))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_t_per_sample_is_one_call_per_sample(shape, data):
    t = data.draw(st.lists(st.integers(1, 8), min_size=shape[0], max_size=shape[0]))
    xt, x0 = randn(*shape), randn(*shape, seed=1)
    mean, var = posterior_mean_var(xt, x0, torch.tensor(t), CHAIN)
    assert mean.shape == tuple(shape) and var.shape == (shape[0],) + (1,) * (len(shape) - 1)
    single = [posterior_mean_var(xt[i], x0[i], t[i], CHAIN) for i in range(len(t))]
    close(mean, torch.stack([m for m, _ in single]))
    close(var.flatten(), torch.stack([v for _, v in single]))


def test_xt_and_x0_broadcast_against_each_other(chain):
    xt, x0, t = randn(4, 3), randn(1, 3, seed=1), torch.tensor([1, 2, 5, 8])
    mean, _ = posterior_mean_var(xt, x0, t, chain)
    assert torch.equal(mean, posterior_mean_var(xt, x0.expand(4, 3), t, chain)[0])
    mean, _ = posterior_mean_var(x0, xt, t, chain)
    assert torch.equal(mean, posterior_mean_var(x0.expand(4, 3), xt, t, chain)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision_costs_only_rounding(dtype, chain):
    xt, x0, t = randn(8, 5).to(dtype), randn(8, 5, seed=1).to(dtype), torch.arange(1, 9)
    got = posterior_mean_var(xt, x0, t, chain)
    exact = posterior_mean_var(xt.double(), x0.double(), t, chain)
    for a, b in zip(got, exact, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_mixed_dtypes_give_the_wider_one(chain):
    for xt, x0 in [(randn(2).float(), randn(2)), (randn(2), randn(2).float())]:
        assert [v.dtype for v in posterior_mean_var(xt, x0, 3, chain)] == [torch.float64] * 2


@pytest.mark.parametrize("t", [1, 8, torch.tensor([1, 8])], ids=["first", "last", "per sample"])
def test_nothing_depends_on_the_device(t, chain):
    x = torch.empty(2, 3, dtype=torch.bfloat16, device="meta")
    for got in posterior_mean_var(x, x, t, chain):
        assert (got.dtype, got.device.type) == (torch.bfloat16, "meta")
        assert torch.broadcast_shapes(got.shape, (2, 3)) == (2, 3)


def test_gradients_flow_to_beta_and_both_points(chain):
    xt, x0 = randn(3, 2).requires_grad_(), randn(3, 2, seed=1).requires_grad_()
    beta, t = chain.beta[1:].clone().requires_grad_(), torch.tensor([1, 5, 8])
    assert torch.autograd.gradcheck(lambda *a: posterior_mean_var(*a[:2], t, Schedule(a[2])), (xt, x0, beta))


def test_a_chain_drawn_backwards_has_the_forward_law(chain):
    """x_8 by the jump, then x_7, x_6, ..., x_3 by the posterior: at t = 3 its moments are those of q(x_3 | x_0)."""
    n, generator = 100_000, torch.Generator().manual_seed(0)
    x0 = torch.full((n,), 1.3, dtype=torch.float64)
    x = q_sample(x0, 8, chain, generator=generator)
    for t in range(8, 3, -1):
        mean, var = posterior_mean_var(x, x0, t, chain)
        x = mean + var.sqrt() * torch.randn(n, dtype=torch.float64, generator=generator)
    mean, var = q_mean_var(x0[:1], 3, chain)
    assert abs(float(x.mean() - mean)) < 5 * math.sqrt(float(var) / n)  # 5 standard errors
    assert abs(float(x.var() - var)) < 5 * float(var) * math.sqrt(2 / n)
