"""The loss weights against the KL they come from, and the simple loss against what is known exactly.

Sabotage of losses.py that turned this file red: 2 dropped from 2 sigma^2; sigma or sigma^4 for sigma^2; beta for
beta^2; alpha_bar or its root for alpha_bar_prev; alpha_bar or a root for alpha; alpha_bar_prev for alpha_bar in
1 - alpha_bar, its square dropped or a root put there; the edge entries; randint from 0, from 2 or to T - 1; sum or
absolute value for the mean square; a sign; x_t, beta_tilde or exchanged arguments in the targets; x_0 to the denoiser.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from ddpm_lesson import GaussianMixture, Schedule, linear_schedule, loss_weight, simple_loss

PREDICTORS, SIGMAS = ("eps", "x0", "mean"), ("posterior", "beta")
REGISTER = Schedule([0.05 * s for s in range(1, 11)])  # the register's short schedule, T = 10
SIGNS = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.0)  # data +-1


def bayes(xt, x0, t, schedule):
    """q(x_{t-1} | x_t, x_0) for t >= 2 as prior times likelihood: precisions add (the package never does this)."""
    alpha, prev = schedule.alpha[t], schedule.alpha_bar[t - 1]
    precision = 1 / (1 - prev) + alpha / schedule.beta[t]
    mean = (prev.sqrt() * x0 / (1 - prev) + alpha.sqrt() * xt / schedule.beta[t]) / precision
    return Normal(mean, precision.rsqrt())


def model_mean(predicts, value, xt, t, schedule):
    """The mean of the reverse step if a network predicts `value`, by way of x_0."""
    if predicts == "mean":
        return value
    if predicts == "eps":
        value = (xt - (1 - schedule.alpha_bar[t]).sqrt() * value) / schedule.alpha_bar[t].sqrt()
    return bayes(xt, value, t, schedule).mean if t > 1 else value


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_weight_is_the_difference_quotient_of_the_kl(predicts, sigma, chain):
    """Spoil the prediction by delta: the KL (at t = 1, -log p) grows by weight[t] * delta^2."""
    x0, eps, delta = torch.tensor([0.3, 1.1, -0.7], dtype=torch.float64)
    weight = loss_weight(predicts, chain, sigma)
    for t in range(2 if sigma == "posterior" else 1, chain.T + 1):
        xt = chain.alpha_bar[t].sqrt() * x0 + (1 - chain.alpha_bar[t]).sqrt() * eps
        q = bayes(xt, x0, t, chain) if t > 1 else None
        truth = {"eps": eps, "x0": x0, "mean": q.mean if q else x0}[predicts]
        std = q.stddev if sigma == "posterior" else chain.beta[t].sqrt()

        def cost(value, xt=xt, t=t, q=q, std=std):
            p = Normal(model_mean(predicts, value, xt, t, chain), std)
            return kl_divergence(q, p) if q else -p.log_prob(x0)

        assert_close(weight[t], (cost(truth + delta) - cost(truth)) / delta**2, rtol=1e-10, atol=0)


@pytest.mark.parametrize("predicts", PREDICTORS)
def test_weight_at_the_edges(predicts, chain):
    assert loss_weight(predicts, chain).shape == (chain.T + 1,)
    assert loss_weight(predicts, chain)[:2].tolist() == [0.0, math.inf]
    assert loss_weight(predicts, chain, "beta")[0] == 0 and loss_weight(predicts, chain, "beta").isfinite().all()
    assert loss_weight(predicts, Schedule([0.3])).tolist() == [0.0, math.inf]
    assert loss_weight("mean", Schedule([0.3]), "beta")[1].item() == pytest.approx(1 / 0.6, rel=1e-12)


def test_x0_weight_is_half_the_drop_of_the_snr(chain):
    snr = [math.prod(1 - b for b in chain.beta[1 : t + 1].tolist()) for t in range(chain.T + 1)]
    snr = [a / (1 - a) if a < 1 else math.inf for a in snr]
    for t in range(1, chain.T + 1):
        assert loss_weight("x0", chain)[t].item() == pytest.approx((snr[t - 1] - snr[t]) / 2, rel=1e-10)


def test_register_values_of_the_eps_weight():
    weight = loss_weight("eps", linear_schedule(), "beta")
    assert [f"{w:.3f}" for w in weight[1:4].tolist()] == ["0.500", "0.273", "0.194"]
    assert weight[1:].argmin() + 1 == 349 and weight[1:].argmax() + 1 == 1
    assert f"{weight[349]:.5f}" == "0.00497" and f"{weight[1000]:.4f}" == "0.0102"
    below = (weight[1:] < weight[1:].mean()).nonzero().flatten() + 1
    assert (below[0], below[-1], len(below)) == (103, 966, 864)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_gradients_of_the_weight_flow_to_beta(predicts, sigma):
    """Also past the infinite entry, which must not turn them into nan."""
    beta = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b: loss_weight(predicts, Schedule(b), sigma)[2:], beta)


@pytest.mark.parametrize("name, call", [
    ("predicts", lambda: loss_weight("v", REGISTER)),
    ("predicts", lambda: loss_weight(None, REGISTER)),
    ("sigma", lambda: loss_weight("eps", REGISTER, "alpha")),
    ("sigma", lambda: loss_weight("eps", REGISTER, None)),
])
def test_wrong_words_are_refused(name, call):
    with pytest.raises(ValueError, match=f"{name} must be one of '.*', not "):
        call()


# simple_loss


def oracle(predicts, x0, eps, schedule):
    """A cheat that knows what was drawn, so its loss is 0."""

    def denoiser(xt, t):
        assert t.dtype == torch.int64 and t.shape == (len(xt),)
        rows = zip(xt, x0, t.tolist(), strict=True)
        mean = torch.stack([bayes(x, known, i, schedule).mean if i > 1 else known for x, known, i in rows])
        return {"eps": eps, "x0": x0, "mean": mean}[predicts]

    return denoiser


@pytest.mark.parametrize("predicts", PREDICTORS)
@pytest.mark.parametrize("t", [1, 4, 8, torch.tensor([1, 8, 3]), torch.tensor([1, 8, 3], dtype=torch.int32), None])
def test_an_oracle_has_no_loss_and_an_error_costs_its_mean_square(predicts, t, chain):
    x0, eps, wrong = torch.randn(3, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    perfect = oracle(predicts, x0, eps, chain)
    loss = simple_loss(perfect, x0, chain, t=t, noise=eps, predicts=predicts)
    assert loss.shape == () and loss < 1e-28
    spoilt = simple_loss(lambda xt, t: perfect(xt, t) + wrong, x0, chain, t=t, noise=eps, predicts=predicts)
    assert_close(spoilt.item(), np.mean(wrong.numpy() ** 2), rtol=1e-10, atol=0)


def test_the_denoiser_sees_the_forward_jump(chain):
    x0, eps = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen, t = [], torch.tensor([1, 8, 3, 5])

    def spy(xt, t):
        seen.append((xt, t))
        return xt

    simple_loss(spy, x0, chain, t=t, noise=eps)
    (xt, at), = seen
    assert at.tolist() == t.tolist()
    alpha_bar = np.cumprod(1 - chain.beta.numpy())[t.numpy(), None]
    assert_close(xt.numpy(), alpha_bar**0.5 * x0.numpy() + (1 - alpha_bar) ** 0.5 * eps.numpy(), rtol=1e-10, atol=0)


def test_the_zero_denoiser_has_loss_one(chain):
    """The target is a unit Gaussian at every t; the mean of n squares has standard error sqrt(2 / n)."""
    x0 = torch.full((500, 40), 3.0)
    loss = simple_loss(lambda xt, t: 0 * xt, x0, chain, generator=torch.Generator().manual_seed(2))
    assert abs(loss - 1) < 5 * (2 / x0.numel()) ** 0.5


def test_the_least_loss_for_data_plus_minus_one():
    """The register's 0.4090 at t = 5: trapezoid rule over the noise, exact to rounding for so smooth an integrand."""
    best, nodes = SIGNS.denoiser(REGISTER), torch.linspace(-9, 9, 181, dtype=torch.float64)
    losses = [simple_loss(best, torch.ones(1, 1).double(), REGISTER, t=5, noise=z).item() for z in nodes]
    least = float(np.sum(losses * np.exp(-nodes.numpy() ** 2 / 2)) * 0.1 / math.sqrt(2 * math.pi))
    assert f"{least:.4f}" == "0.4090"  # by symmetry +1 alone is enough
    x0 = torch.ones(200_000, 1)
    sampled = simple_loss(best, x0, REGISTER, t=5, generator=torch.Generator().manual_seed(3))
    spread = np.sqrt(np.sum(np.square(losses) * np.exp(-nodes.numpy() ** 2 / 2)) * 0.1 / math.sqrt(2 * math.pi))
    assert abs(sampled - least) < 5 * spread / len(x0) ** 0.5


def drawn_t(schedule, n, seed):
    seen = []
    simple_loss(lambda xt, t: seen.append(t) or xt, torch.zeros(n, 1), schedule,
                generator=torch.Generator().manual_seed(seed))
    return seen[0]


def test_t_is_uniform_on_1_to_T(chain):
    t = drawn_t(chain, 8000, seed=4)
    assert t.dtype == torch.int64 and (t.min(), t.max()) == (1, chain.T)
    assert chisquare(torch.bincount(t, minlength=chain.T + 1)[1:].numpy()).pvalue > 1e-4
    assert (drawn_t(Schedule([0.2]), 50, seed=5) == 1).all()


def test_the_draws_come_from_the_generator_and_leave_the_global_one_alone(chain):
    before, losses = torch.get_rng_state(), []
    for seed in (6, 6, 7):
        generator = torch.Generator().manual_seed(seed)
        losses.append(simple_loss(lambda xt, t: xt, torch.ones(5, 2), chain, generator=generator).item())
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(before, torch.get_rng_state())


def test_gradients_flow_to_the_denoiser_and_to_beta():
    x0, eps = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    beta = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64, requires_grad=True)
    slope = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def loss(beta, slope, predicts):
        t = torch.tensor([1, 2, 3, 2])
        return simple_loss(lambda xt, t: slope * xt, x0, Schedule(beta), t=t, noise=eps, predicts=predicts)

    for predicts in PREDICTORS:
        assert torch.autograd.gradcheck(lambda b, s, p=predicts: loss(b, s, p), (beta, slope))


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), per_sample=st.booleans(),
       dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]), predicts=st.sampled_from(PREDICTORS))
def test_any_shape_and_dtype(shape, per_sample, dtype, predicts, chain):
    x0 = torch.linspace(-1, 1, math.prod(shape), dtype=dtype).reshape(shape)
    kept, noise = x0.clone(), x0.flip(0)
    t = torch.arange(shape[0]) % chain.T + 1 if per_sample else chain.T
    loss = simple_loss(lambda xt, t: 0.5 * xt, x0, chain, t=t, noise=noise, predicts=predicts)
    exact = simple_loss(lambda xt, t: 0.5 * xt, x0.double(), chain, t=t, noise=noise.double(), predicts=predicts)
    assert loss.shape == () and loss.dtype == dtype and torch.equal(x0, kept)
    assert_close(loss.double(), exact, rtol=100 * torch.finfo(dtype).eps, atol=10 * torch.finfo(dtype).eps)


def test_on_the_meta_device(chain):
    x0 = torch.zeros(3, 2, device="meta")
    for t in (1, chain.T, torch.tensor([1, 2, 8]), None):
        loss = simple_loss(lambda xt, t: xt, x0, chain, t=t)
        assert loss.is_meta and loss.shape == () and loss.dtype == torch.float32


X0 = torch.zeros(3, 2)


@pytest.mark.parametrize("changed, message", [
    ({"t": 0}, r"t must lie in 1\.\.10, not 0"),
    ({"t": 11}, r"t must lie in 1\.\.10, not 11"),
    ({"t": -1}, r"t must lie in 1\.\.10, not -1"),
    ({"t": torch.tensor([1, 2, 11])}, r"t must lie in 1\.\.10, not 11"),
    ({"t": torch.tensor([1, 2])}, r"t must be an int or hold one entry per sample, not shape \(2,\)"),
    ({"t": torch.tensor([1.0, 2.0, 3.0])}, "t must be an int or an integer tensor, not a tensor of torch.float32"),
    ({"t": torch.tensor([True, True, True])}, "t must be .* not a tensor of torch.bool"),
    ({"t": 2.0}, "t must be an int .*, not float 2.0"),
    ({"t": True}, "t must be an int .*, not bool True"),
    ({"noise": torch.zeros(4, 2), "generator": None}, "noise .*broadcast"),
    ({"noise": torch.zeros(5, 3, 2), "generator": None}, r"noise of shape \(5, 3, 2\) must broadcast to x"),
    ({"noise": torch.full((3, 2), math.nan), "generator": None}, "noise must be finite"),
    ({"noise": torch.zeros(3, 2)}, "either noise or generator, not both"),
    ({"predicts": "v"}, "predicts must be one of 'eps', 'x0', 'mean', not 'v'"),
    ({"x0": torch.zeros(3, 2, dtype=torch.uint8)}, "x0 must be a floating-point .* torch.uint8; scale integer images"),
    ({"x0": torch.tensor([[math.inf]])}, "x0 must be finite"),
    ({"x0": [[1.0]]}, "x0 must be a floating-point torch tensor, not list"),
    ({"x0": torch.tensor(1.0)}, r"x0 must have a batch dimension, \(B, ...\), not shape \(\)"),
    ({"denoiser": lambda xt, t: xt[:, :1]}, r"denoiser must return a tensor of xt's shape \(3, 2\), not \(3, 1\)"),
    ({"denoiser": lambda xt, t: None}, "denoiser must return .* not NoneType"),
    ({"generator": 0}, "generator must be a torch.Generator, not int 0"),
])
def test_wrong_input_is_refused(changed, message):
    """And, but for a wrong answer of the denoiser, before anything is drawn."""
    generator = torch.Generator().manual_seed(9)
    arguments = {"denoiser": lambda xt, t: xt, "x0": X0, "generator": generator} | changed
    before = generator.get_state(), torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        simple_loss(arguments.pop("denoiser"), arguments.pop("x0"), REGISTER, **arguments)
    assert torch.equal(before[1], torch.get_rng_state())
    assert "denoiser" in changed or torch.equal(before[0], generator.get_state())
