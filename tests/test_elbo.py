"""Both forms of the bound against the joint Gaussian law of a whole chain, and against -log p itself.

With an affine denoiser every integrand is quadratic in the noise, so the two-node Gauss rule (noise +1 and -1, each
with weight 1/2) is exact: fed all 2^T sign patterns as its n draws, the package's average IS the expectation.

Sabotage of elbo.py that turned this file red: L_T or L_t halved; L_0's sign; the roots and squares of decoder_var and
sigma; beta_2, sqrt(beta_1) or beta_tilde_2 as the decoder's variance; the loop one step short; mean_hat of t - 1; x_0
and x_t exchanged in the posterior; x_t for x_{t-1} in a log ratio; L_t written one place off; alpha or alpha_bar for
the root of alpha, sqrt(beta) or 1 - alpha_bar for beta; the KL turned round; log(2 pi) dropped; a halved log; a chain
of jumps for a chain of steps; draws summed, or averaged across samples; the total without a term; log(2) dropped.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    bits_per_dim,
    elbo_consistency,
    elbo_terms,
    linear_schedule,
)

FORMS = (elbo_terms, elbo_consistency)
SIGMAS, PREDICTORS = ("posterior", "beta"), ("eps", "x0", "mean")
T = 4
SCHEDULE = Schedule([0.1, 0.35, 0.2, 0.5])
# An arbitrary affine model: at each t = 1..4 the network says SLOPE[t] * x_t + SHIFT[t].
SLOPE, SHIFT = [None, 0.8, 0.5, 0.9, 0.3], [None, 0.1, -0.4, 0.3, 0.2]
X0 = torch.tensor([[0.7, -1.2, 0.4], [2.0, 0.0, -0.3]], dtype=torch.float64)  # (B, d)
STANDARD = GaussianMixture([1.0], [[0.0]], 1.0)


def affine(xt, t):
    return SLOPE[int(t[0])] * xt + SHIFT[int(t[0])]


def std_normal_nats(x):
    return -Normal(0.0, 1.0).log_prob(x).sum(1)


def feed_signs(monkeypatch, rows, T=T):
    """Every +-1 pattern as the forward noise of steps 1..T, for `rows` samples with n = 2^T draws each."""
    signs = torch.tensor(list(itertools.product([1.0, -1.0], repeat=T)), dtype=torch.float64).repeat(rows, 1)
    step = iter(signs.T)
    monkeypatch.setattr("ddpm_lesson.forward.draw_noise",
                        lambda x, noise, generator: next(step).reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape))
    return 2**T


def posterior(xt, x0, t, schedule):
    """q(x_{t-1} | x_t, x_0), t >= 2, as a product of densities: precisions add."""
    alpha, prev = schedule.alpha[t], schedule.alpha_bar[t - 1]
    precision = 1 / (1 - prev) + alpha / schedule.beta[t]
    return Normal((prev.sqrt() * x0 / (1 - prev) + alpha.sqrt() * xt / schedule.beta[t]) / precision, precision.rsqrt())


def model_mean(predicts, prediction, xt, t, schedule):
    if predicts == "mean":
        return prediction
    if predicts == "eps":
        prediction = (xt - (1 - schedule.alpha_bar[t]).sqrt() * prediction) / schedule.alpha_bar[t].sqrt()
    return posterior(xt, prediction, t, schedule).mean if t > 1 else prediction


def joint_bound(x0, predicts, sigma, decoder_var):
    """(-ELBO, -log p(x_0)) of the affine model, from the joint laws of all states at once; x0: (N,) numbers."""
    forward = torch.zeros(T, T, dtype=torch.float64)  # x_1..x_T = decay * x0 + forward @ noise
    for t, s in itertools.product(range(1, T + 1), repeat=2):
        if s <= t:
            forward[t - 1, s - 1] = (SCHEDULE.beta[s] * SCHEDULE.alpha[s + 1 : t + 1].prod()).sqrt()
    decay = torch.stack([SCHEDULE.alpha[1 : t + 1].prod().sqrt() for t in range(1, T + 1)])
    q = MultivariateNormal(decay * x0[:, None], forward @ forward.T)

    shift, reverse = torch.zeros(T + 1).double(), torch.eye(T + 1).double()  # x_0..x_T = shift + reverse @ noise
    for t in range(T, 0, -1):
        zero, one = (model_mean(predicts, affine(x, [t]), x, t, SCHEDULE) for x in torch.tensor([0.0, 1.0]).double())
        std = decoder_var**0.5 if t == 1 else posterior(one, one, t, SCHEDULE).stddev if sigma == "posterior" \
            else SCHEDULE.beta[t].sqrt()
        shift[t - 1] = zero + (one - zero) * shift[t]
        reverse[t - 1] = (one - zero) * reverse[t] + std * reverse[t - 1]
    cov = reverse @ reverse.T
    gain = cov[1:, 0] / cov[0, 0]
    p_x0 = Normal(shift[0], cov[0, 0].sqrt())
    p_rest = MultivariateNormal(shift[1:] + gain * (x0[:, None] - shift[0]), cov[1:, 1:] - gain.outer(cov[0, 1:]))
    return kl_divergence(q, p_rest) - p_x0.log_prob(x0), -p_x0.log_prob(x0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decoder_var", [None, 0.3])
@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_total_is_the_joint_bound_and_lies_above_minus_log_p(form, decoder_var, sigma, predicts, monkeypatch):
    n = feed_signs(monkeypatch, len(X0))
    terms = form(affine, X0, SCHEDULE, sigma=sigma, decoder_var=decoder_var, predicts=predicts, n=n)
    bound, nats = joint_bound(X0.flatten(), predicts, sigma, decoder_var or SCHEDULE.beta[1])
    assert_close(terms.total, bound.reshape(X0.shape).sum(1), rtol=1e-10, atol=1e-12)
    assert (terms.total > nats.reshape(X0.shape).sum(1)).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("beta", [[0.3], [0.4, 0.1], np.linspace(0.01, 0.1, 8), 0.05 * np.arange(1, 11)])
def test_for_the_exact_reverse_chain_the_bound_is_minus_log_p_at_every_x0(form, beta, monkeypatch):
    """x_0 ~ N(0, I): every q(x_t) is N(0, I), and the reverse kernel with variance beta_t is exact."""
    schedule = Schedule(beta)
    n = feed_signs(monkeypatch, len(X0), schedule.T)
    terms = form(GaussianMixture([1.0], [[0.0] * 3], 1.0).denoiser(schedule), X0, schedule, sigma="beta", n=n)
    assert_close(terms.total, std_normal_nats(X0), rtol=1e-10, atol=0)


def test_register_sizes_of_the_terms_for_a_thousand_steps(monkeypatch):
    """x_0 ~ N(0, 1), linear schedule: the terms are quadratic in x_0 too, so x_0 = +-1 averages over the data."""
    schedule, sign = linear_schedule(), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    monkeypatch.setattr("ddpm_lesson.forward.draw_noise", lambda x, noise, generator: sign)
    terms = elbo_terms(STANDARD.denoiser(schedule), sign.sort(0).values, schedule, sigma="beta")
    assert [f"{x:.3f}" for x in (terms.L_0.mean(), terms.L_t.sum(0).mean())] == ["-3.186", "4.605"]
    assert f"{terms.L_T.mean():.1e}" == "2.0e-05"
    assert_close(terms.total.mean().item(), 0.5 * math.log(2 * math.pi * math.e), rtol=1e-10, atol=0)


REGISTER = {"denoiser": lambda xt, t: (0.8 if t[0] == 1 else 0.6) * xt, "predicts": "mean", "sigma": "beta",
            "x0": torch.tensor([[0.7]], dtype=torch.float64), "schedule": Schedule([0.3, 0.5])}


def recorded(form, **arguments):
    """The form's terms, and the x_t that the denoiser saw: a list with x_1..x_T."""
    denoiser, seen = arguments.pop("denoiser"), []

    def spy(xt, t):
        seen.append((xt, t))
        return denoiser(xt, t)

    terms = form(spy, **arguments)
    assert [set(t.tolist()) for _, t in seen] == [{t} for t in range(1, len(seen) + 1)]  # each t once, nothing else
    return terms, [None, *(xt for xt, _ in seen)]


@pytest.mark.parametrize("form", FORMS)
def test_register_example_with_two_steps(form, monkeypatch):
    total = form(**REGISTER, n=feed_signs(monkeypatch, 1, 2)).total
    assert f"{total.item():.4f}" == "1.1321"


@pytest.mark.erratum("000:152")
def test_with_the_printed_consistency_term_the_sum_is_not_the_bound(monkeypatch):
    """Eq. 45 prints E KL(q(x_t | x_{t-1}) || p(x_t | x_{t+1})), which makes x_t independent of the x_{t+1} it made."""
    arguments = REGISTER | {"n": feed_signs(monkeypatch, 1, 2)}
    terms, xt = recorded(elbo_consistency, **arguments)
    q = Normal(0.7**0.5 * REGISTER["x0"], 0.3**0.5)  # of x_1 given x_0
    printed = kl_divergence(q, Normal(0.6 * xt[2], 0.5**0.5)).mean()
    assert f"{printed:.5f}" == "0.40311" and f"{terms.L_t[1].item():.5f}" == "0.14855"
    assert f"{(terms.L_T + printed + terms.L_0).item():.4f}" == "1.3867"
    assert_close((printed - terms.L_t[1]).item(), 0.6 * 0.5**0.5 * 0.3 / 0.5, rtol=1e-10, atol=0)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_denoising_terms_on_recorded_draws(predicts, sigma):
    """Term by term, with torch.distributions, on the x_t that the package drew."""
    generator = torch.Generator().manual_seed(0)
    terms, xt = recorded(elbo_terms, denoiser=affine, x0=X0, schedule=SCHEDULE, sigma=sigma, predicts=predicts,
                         generator=generator)
    for t in range(2, T + 1):
        q = posterior(xt[t], X0, t, SCHEDULE)
        std = q.stddev if sigma == "posterior" else SCHEDULE.beta[t].sqrt()
        p = Normal(model_mean(predicts, affine(xt[t], [t]), xt[t], t, SCHEDULE), std)
        assert_close(terms.L_t[t], kl_divergence(q, p).sum(1), rtol=1e-10, atol=0)
    decoder = Normal(model_mean(predicts, affine(xt[1], [1]), xt[1], 1, SCHEDULE), SCHEDULE.beta[1].sqrt())
    assert_close(terms.L_0, -decoder.log_prob(X0).sum(1), rtol=1e-10, atol=0)
    x_T = Normal(SCHEDULE.alpha[1:].prod().sqrt() * X0, (1 - SCHEDULE.alpha[1:].prod()).sqrt())
    assert_close(terms.L_T, kl_divergence(x_T, Normal(0.0, 1.0)).sum(1), rtol=1e-10, atol=0)
    assert terms.L_t.shape == (T + 1, 2) and not terms.L_t[:2].any()


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_consistency_terms_on_recorded_chains(predicts, sigma):
    generator = torch.Generator().manual_seed(1)
    terms, xt = recorded(elbo_consistency, denoiser=affine, x0=X0, schedule=SCHEDULE, sigma=sigma, predicts=predicts,
                         decoder_var=0.2, generator=generator)
    xt[0] = X0

    def q(t):  # of x_t given x_{t-1}
        return Normal(SCHEDULE.alpha[t].sqrt() * xt[t - 1], SCHEDULE.beta[t].sqrt())

    def p(t):  # of x_{t-1} given x_t
        mean = model_mean(predicts, affine(xt[t], [t]), xt[t], t, SCHEDULE)
        std = 0.2**0.5 if t == 1 else SCHEDULE.beta[t].sqrt() if sigma == "beta" else posterior(mean, mean, t,
                                                                                              SCHEDULE).stddev
        return Normal(mean, std)

    for t in range(1, T):
        assert_close(terms.L_t[t], (q(t).log_prob(xt[t]) - p(t + 1).log_prob(xt[t])).sum(1), rtol=1e-10, atol=1e-13)
    assert_close(terms.L_0, -p(1).log_prob(X0).sum(1), rtol=1e-10, atol=0)
    assert_close(terms.L_T, kl_divergence(q(T), Normal(0.0, 1.0)).sum(1), rtol=1e-10, atol=0)
    assert terms.L_t.shape == (T + 1, 2) and not terms.L_t[0].any() and not terms.L_t[T].any()


MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], 0.3)


@pytest.mark.parametrize("form", FORMS)
def test_real_draws_average_to_the_joint_bound(form):
    """20,000 draws of the generator's own noise, within 5 standard errors."""
    x0 = X0[:1].expand(20_000, 3)
    total = form(affine, x0, SCHEDULE, generator=torch.Generator().manual_seed(2)).total
    bound = joint_bound(X0[0], "eps", "posterior", SCHEDULE.beta[1])[0].sum()
    assert abs(total.mean() - bound) < 5 * total.std() / len(x0) ** 0.5
    assert total.std() > 0.1  # the error bar means something


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_two_forms_agree_in_value_but_not_in_their_noise(sigma):
    """A model that is not exact: means agree within 5 standard errors; each consistency term is far noisier."""
    schedule = linear_schedule(50, rescale=True)
    x0, generator = torch.full((4000, 1), 0.8), torch.Generator().manual_seed(3)
    one, two = (form(MIXTURE.denoiser(schedule), x0, schedule, sigma=sigma, generator=generator) for form in FORMS)
    error = (one.total.var() / len(x0) + two.total.var() / len(x0)) ** 0.5
    assert abs(one.total.mean() - two.total.mean()) < 5 * error
    assert (two.L_t[1:-1].std(1) > 1.2 * one.L_t[2:].std(1)).all()  # the terms about x_1..x_{T-1}


def test_neither_total_always_varies_less():
    """Along the exact reverse chain the log ratios cancel: there the consistency total is the quieter one."""
    x0 = torch.full((4000, 1), 0.7)
    schedule = Schedule(0.05 * np.arange(1, 11))

    def spread(form, model, sigma):
        generator = torch.Generator().manual_seed(4)
        return form(model.denoiser(schedule), x0, schedule, sigma=sigma, generator=generator).total.std()

    assert spread(elbo_consistency, STANDARD, "beta") < 0.8 * spread(elbo_terms, STANDARD, "beta")
    assert spread(elbo_consistency, MIXTURE, "posterior") > 1.02 * spread(elbo_terms, MIXTURE, "posterior")


def test_on_a_mixture_the_bound_lies_above_the_entropy_and_closes_as_T_grows(monkeypatch):
    """Averaged over the data by the trapezoid rule (x_0 and the noise both on grids), for the exact denoiser."""
    x0, eps = torch.linspace(-3, 3, 61).double(), torch.linspace(-7, 7, 57).double()
    nats = -MIXTURE.log_prob(x0[:, None])
    data_weight = (-nats).exp() * 0.1
    weight = (data_weight[:, None] * Normal(0.0, 1.0).log_prob(eps).exp() * 0.25).flatten()
    assert_close(weight.sum().item(), 1.0, rtol=1e-6, atol=0)
    noise = eps.repeat(len(x0))[:, None]
    monkeypatch.setattr("ddpm_lesson.forward.draw_noise", lambda x, *_: noise)
    rows = x0.repeat_interleave(len(eps))[:, None]
    gaps = []
    for steps in (25, 50, 100):
        schedule = linear_schedule(steps, rescale=True)
        total = elbo_terms(MIXTURE.denoiser(schedule), rows, schedule, sigma="beta").total
        gaps.append((weight @ total - data_weight @ nats).item())
    assert gaps[0] > gaps[1] > gaps[2] > 0.01
    assert gaps[2] < 0.6 * gaps[1] < 0.36 * gaps[0]


@pytest.mark.parametrize("form", FORMS)
def test_a_single_step_has_no_middle_terms(form):
    terms = form(lambda xt, t: xt, X0, Schedule([0.4]), generator=torch.Generator().manual_seed(5))
    assert terms.L_t.shape == (2, 2) and not terms.L_t.any()
    assert_close(terms.total, terms.L_T + terms.L_0, rtol=0, atol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_gradients_flow_to_beta_decoder_var_and_the_denoiser(form, predicts):
    """Autograd against finite differences, with the same draws each time."""
    beta = torch.tensor([0.1, 0.35, 0.2], dtype=torch.float64, requires_grad=True)
    slope = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    decoder_var = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)

    def total(beta, slope, decoder_var, sigma):
        return form(lambda xt, t: slope * xt, X0, Schedule(beta), sigma=sigma, decoder_var=decoder_var,
                    predicts=predicts, n=2, generator=torch.Generator().manual_seed(6)).total

    for sigma in SIGMAS:
        assert torch.autograd.gradcheck(lambda b, s, v, k=sigma: total(b, s, v, k), (beta, slope, decoder_var))
    assert torch.autograd.gradcheck(lambda b, s: total(b, s, None, "beta"), (beta, slope))  # beta_1 decodes


@pytest.mark.parametrize("form", FORMS)
def test_draws_come_from_the_generator_and_change_nothing_else(form):
    before, kept, totals = torch.get_rng_state(), X0.clone(), []
    for seed in (7, 7, 8):
        totals.append(form(affine, X0, SCHEDULE, n=3, generator=torch.Generator().manual_seed(seed)).total)
    assert torch.equal(totals[0], totals[1]) and (totals[0] != totals[2]).all()
    assert torch.equal(before, torch.get_rng_state()) and torch.equal(X0, kept)


@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=4), n=st.integers(1, 3), form=st.sampled_from(FORMS),
       dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]), predicts=st.sampled_from(PREDICTORS))
def test_any_shape_and_dtype(shape, n, form, dtype, predicts):
    x0 = torch.linspace(-1, 1, math.prod(shape), dtype=dtype).reshape(shape)
    terms = form(lambda xt, t: 0.5 * xt, x0, SCHEDULE, predicts=predicts, n=n,
                 generator=torch.Generator().manual_seed(9))
    assert terms.total.shape == terms.L_T.shape == terms.L_0.shape == (shape[0],)
    assert terms.L_t.shape == (T + 1, shape[0])
    for term in (*terms, terms.total):
        assert term.dtype == dtype and term.isfinite().all()
    if form is elbo_terms:
        assert (terms.L_t >= 0).all()
    if dtype == torch.float32:  # the same float32 noise, in float64
        same = torch.Generator().manual_seed(9)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ddpm_lesson.forward.draw_noise", lambda x, *_: torch.randn(x.shape, generator=same).double())
            exact = form(lambda xt, t: 0.5 * xt, x0.double(), SCHEDULE, predicts=predicts, n=n).total
        assert_close(terms.total.double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_on_the_meta_device(form, predicts):
    terms = form(lambda xt, t: xt, torch.zeros(3, 2, device="meta"), SCHEDULE, predicts=predicts, n=2)
    assert terms.L_t.shape == (T + 1, 3)
    assert all(term.is_meta and term.dtype == torch.float32 for term in (*terms, terms.total))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("changed, message", [
    ({"sigma": "alpha"}, "sigma must be one of 'posterior', 'beta', not 'alpha'"),
    ({"predicts": "v"}, "predicts must be one of 'eps', 'x0', 'mean', not 'v'"),
    ({"decoder_var": 0}, "decoder_var must be a finite number > 0, not 0"),
    ({"decoder_var": -1.0}, "decoder_var must be a finite number > 0, not -1.0"),
    ({"decoder_var": math.inf}, "decoder_var must be a finite number > 0, not inf"),
    ({"decoder_var": math.nan}, "decoder_var must be a finite number > 0, not nan"),
    ({"decoder_var": "a"}, "decoder_var must be a finite number > 0, not 'a'"),
    ({"decoder_var": torch.ones(2)}, "decoder_var must be a finite number > 0, not tensor"),
    ({"n": 0}, "n must be an int >= 1, not 0"),
    ({"n": 1.5}, "n must be an int >= 1, not float 1.5"),
    ({"n": True}, "n must be an int >= 1, not bool True"),
    ({"x0": torch.zeros(2, 3, dtype=torch.int64)}, "x0 must be a floating-point .* torch.int64; scale integer images"),
    ({"x0": torch.tensor([[math.nan]])}, "x0 must be finite"),
    ({"x0": torch.tensor(0.5)}, r"x0 must have a batch dimension, \(B, ...\), not shape \(\)"),
    ({"x0": None}, "x0 must be a floating-point torch tensor, not NoneType"),
    ({"generator": 3}, "generator must be a torch.Generator, not int 3"),
    ({"denoiser": lambda xt, t: xt[0]}, r"denoiser must return a tensor of xt's shape \(2, 3\), not \(3,\)"),
])
def test_wrong_input_is_refused_before_anything_is_drawn(form, changed, message):
    generator = torch.Generator().manual_seed(10)
    before = generator.get_state(), torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        form(**({"denoiser": affine, "x0": X0, "schedule": SCHEDULE, "generator": generator} | changed))
    assert torch.equal(before[1], torch.get_rng_state())
    assert "denoiser" in changed or torch.equal(before[0], generator.get_state())


def test_bits_per_dim_counts_bits():
    """The entropy of 256 equally likely levels is 8 bits per dimension."""
    assert_close(bits_per_dim(784 * math.log(256), 784), 8.0, rtol=1e-12, atol=0)
    assert_close(bits_per_dim(torch.tensor([math.log(2), math.log(16)]), 2), torch.tensor([0.5, 2.0]))


@pytest.mark.parametrize("d", [0, -3, 1.5, True, None])
def test_bits_per_dim_needs_a_dimension(d):
    with pytest.raises(ValueError, match=f"d must be an int >= 1, not .*{d}"):
        bits_per_dim(1.0, d)


@pytest.mark.parametrize("form", [elbo_terms, elbo_consistency])
def test_a_float32_x0_gets_float32_terms(form):
    terms = form(lambda xt, t: xt, torch.zeros(2, 3), Schedule([0.1, 0.2, 0.3]))
    assert [term.dtype for term in (*terms, terms.total)] == [torch.float32] * 4
