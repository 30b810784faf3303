"""The reconstruction term: the decoder at t = 1, why its variance must be positive, and that it is not negligible."""

import functools
import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch
from exact_chains import GaussianChain, batch, exact_terms, feed, hermite
from scipy import integrate, stats

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    constant_schedule,
    cosine_schedule,
    elbo_terms,
    linear_schedule,
    loss_weight,
    mean_from_eps,
    mean_from_x0,
    posterior_mean_var,
    quadratic_schedule,
    simple_loss,
)

TOY = Schedule(0.05 * np.arange(1, 11))  # β_s = 0.05 s, the register's own
LINEAR = linear_schedule()
SCHEDULES = [TOY, LINEAR, quadratic_schedule(), cosine_schedule(), cosine_schedule(10), linear_schedule(10),
             constant_schedule(5, 0.4), Schedule([0.9]), Schedule([1e-6, 0.5]), Schedule([0.03, 0.2, 0.11])]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
IMAGES = np.array([[0.7, -1.2, 0.4], [2.0, 0.0, -0.3]])  # x_0, (B, 3)
STANDARD = GaussianMixture([1.0], [[0.0]], 1.0)
TWO_POINTS = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.0)
MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0], [1.2]], 0.3)


def close(got, want, tol=1e-10):
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def sine(xt, t):
    return torch.sin(xt) + 0.1 * t.double()[:, None]


def reconstruction(schedule, x0, monkeypatch, denoiser=sine, predicts="x0", decoder_var=None, nodes=80):
    """The package's L_0 at x_0 = x0 (a number), with Gauss-Hermite quadrature over x_1."""
    z, weights = hermite(nodes)
    feed(monkeypatch, *[z] * schedule.T)
    L_0 = elbo_terms(denoiser, batch(x0, nodes), schedule, sigma="beta", predicts=predicts, decoder_var=decoder_var).L_0
    return weights @ L_0.numpy()


def nats_by_quadrature(beta_1, x0, mean, var):
    """-E[log N(x_0; mean(x_1), var)] over q(x_1 | x_0), by scipy."""
    q = stats.norm(math.sqrt(1 - beta_1) * x0, math.sqrt(beta_1))
    return integrate.quad(lambda x1: -q.pdf(x1) * stats.norm.logpdf(x0, mean(x1), math.sqrt(var)),
                          q.mean() - 10 * q.std(), q.mean() + 10 * q.std(), points=[q.mean()], epsabs=1e-12)[0]


# ---- the term and the decoder ------------------------------------------------------------------------------------


@pytest.mark.claim("reconstruction-term")
@pytest.mark.parametrize("beta, decoder_var", [([0.3], 0.2), ([0.05, 0.4], None), ([0.6, 0.1, 0.2], 1.3)])
@pytest.mark.parametrize("x0", [0.7, -1.3])
def test_the_reconstruction_term_is_the_mean_of_minus_log_p_over_x1(beta, decoder_var, x0, monkeypatch):
    want = nats_by_quadrature(beta[0], x0, lambda x1: math.sin(x1) + 0.1, decoder_var or beta[0])
    close(reconstruction(Schedule(beta), x0, monkeypatch, decoder_var=decoder_var), want, 1e-8)


@pytest.mark.claim("gaussian-decoder")
@pytest.mark.parametrize("decoder_var", [None, 0.25])
@pytest.mark.parametrize("x0", [np.array([[0.7], [-1.3]]), IMAGES], ids=["d1", "d3"])
def test_the_gaussian_decoders_closed_form(x0, decoder_var, monkeypatch):
    """d/2 log(2 π σ²) + E|x_0 - μ(x_1, 1)|² / (2 σ²), the square from moments; and one quadrature per dimension."""
    chain = GaussianChain([0.2, 0.35, 0.1], [0.8, 0.5, 0.9], [0.1, -0.4, 0.3], decoder_var=decoder_var)
    var, d = decoder_var or 0.2, x0.shape[1]
    L_0 = exact_terms(elbo_terms, chain, x0, monkeypatch).L_0
    close(L_0, d / 2 * math.log(2 * math.pi * var) + chain.square(x0, 0, 1, 0.8, 0.1).sum(1) / (2 * var))
    close(L_0, [sum(nats_by_quadrature(0.2, x, lambda x1: 0.8 * x1 + 0.1, var) for x in row) for row in x0], 1e-8)


@pytest.mark.claim("gaussian-decoder")
def test_the_decoder_reads_sigma_1_and_asks_the_model_at_t_1(monkeypatch):
    """Moving any other β leaves L_0 as it is, and so does what the model says at any other t."""
    base = reconstruction(Schedule([0.2, 0.35, 0.1]), 0.7, monkeypatch)
    for beta in ([0.2, 0.5, 0.1], [0.2, 0.35, 0.4]):
        close(reconstruction(Schedule(beta), 0.7, monkeypatch), base)
    assert abs(reconstruction(Schedule([0.25, 0.35, 0.1]), 0.7, monkeypatch) - base) > 0.01

    def other(xt, t):
        return sine(xt, t) + 5.0 * (t != 1)[:, None]

    close(reconstruction(Schedule([0.2, 0.35, 0.1]), 0.7, monkeypatch, denoiser=other), base)


# ---- a positive variance is needed -------------------------------------------------------------------------------


@pytest.mark.claim("decoder-degenerate-at-posterior-variance")
def test_where_alpha_bar_prev_is_1_the_posterior_is_the_point_x0():
    """Symbolic: the Gaussian product that is q(x_{t-1} | x_t, x_0), in the limit ᾱ_{t-1} -> 1, for any α_t."""
    alpha, prev, xt, x0 = sp.symbols("alpha p x_t x_0", positive=True)  # p = ᾱ_{t-1}
    precision = alpha / (1 - alpha) + 1 / (1 - prev)
    mean = (sp.sqrt(alpha) * xt / (1 - alpha) + sp.sqrt(prev) * x0 / (1 - prev)) / precision
    assert sp.simplify(sp.together(mean).subs(prev, 1) - x0) == 0
    assert sp.together(1 / precision).subs(prev, 1) == 0


@pytest.mark.claim("decoder-degenerate-at-posterior-variance")
@every_schedule
def test_at_t_1_every_schedule_has_variance_0_and_mean_x0_to_the_last_bit(schedule):
    xt, x0 = torch.as_tensor(IMAGES), torch.as_tensor(IMAGES[::-1].copy())
    mean, var = posterior_mean_var(xt, x0, 1, schedule)
    assert var == 0 and torch.equal(mean, x0)
    assert schedule.beta_tilde[1] == 0 == schedule.sigma("posterior")[1]
    assert (schedule.beta_tilde[2:] > 0).all()


@pytest.mark.claim("decoder-degenerate-at-posterior-variance")
@every_schedule
def test_at_t_1_the_models_mean_is_its_guess_of_x0_for_any_alpha_1(schedule):
    """Also for a noise predictor, whose guess is (x_1 - sqrt(β_1) eps) / sqrt(α_1)."""
    xt, said, beta_1 = torch.as_tensor(IMAGES), torch.as_tensor(np.cos(IMAGES)), schedule.beta[1].item()
    assert torch.equal(mean_from_x0(xt, said, 1, schedule), said)
    close(mean_from_eps(xt, said, 1, schedule), (IMAGES - math.sqrt(beta_1) * said.numpy()) / math.sqrt(1 - beta_1))


@pytest.mark.claim("decoder-degenerate-at-posterior-variance")
@every_schedule
def test_with_the_posterior_variance_nothing_at_t_1_is_finite(schedule):
    """The weight is infinite, log p runs to +-infinity as the variance shrinks, and 0 itself is refused."""
    for predicts in ("mean", "x0", "eps"):
        weight = loss_weight(predicts, schedule, "posterior")
        assert weight[1] == math.inf and weight[2:].isfinite().all()
    with pytest.raises(ValueError, match="decoder_var must be a finite number > 0"):
        elbo_terms(sine, batch(0.7), schedule, decoder_var=schedule.sigma("posterior")[1].item() ** 2)
    shrinking = 10.0 ** -np.arange(2, 300, 50)
    for x0, direction in ((0.0, 1), (0.5, -1)):  # on the point, and off it
        log_p = stats.norm.logpdf(x0, 0.0, shrinking**0.5)
        assert (direction * np.diff(log_p) > 50).all() and direction * log_p[-1] > 200


@pytest.mark.claim("decoder-degenerate-at-posterior-variance")
@pytest.mark.parametrize("schedule", [TOY, linear_schedule(8), Schedule([0.03, 0.2, 0.11])], ids=str)
@pytest.mark.parametrize("predicts", ["x0", "eps"])
def test_with_a_positive_variance_it_is_the_t_1_term_of_the_weighted_loss(schedule, predicts, monkeypatch):
    """L_0 = d/2 log(2 π β_1) + weight E|error|², the weight 1/(2 σ_1²) for x_0; the square by quadrature over x_1."""
    beta_1, x0 = schedule.beta[1].item(), 0.7
    weight = loss_weight(predicts, schedule, "beta")[1].item()
    if predicts == "x0":
        close(weight, 1 / (2 * beta_1))
    q = stats.norm(math.sqrt(1 - beta_1) * x0, math.sqrt(beta_1))

    def error(x1):
        truth = x0 if predicts == "x0" else (x1 - q.mean()) / q.std()
        return (math.sin(x1) + 0.1 - truth) ** 2

    square = integrate.quad(lambda x1: q.pdf(x1) * error(x1), q.mean() - 10 * q.std(), q.mean() + 10 * q.std(),
                            points=[q.mean()], epsabs=1e-12)[0]
    want = math.log(2 * math.pi * beta_1) / 2 + weight * square
    close(reconstruction(schedule, x0, monkeypatch, predicts=predicts), want, 1e-8)


# ---- not negligible ----------------------------------------------------------------------------------------------


def over_data(data, beta_1, monkeypatch):
    """E|x_0 - E[x_0 | x_1]|² and L_0 (σ_1² = β_1, the exact denoiser) averaged over 1-D data by Gauss-Hermite."""
    z, weights = hermite(60)
    x0 = (data.means + data.std[:, None] * torch.as_tensor(z)).flatten()[:, None]
    weight = np.outer(data.weights, weights).flatten()
    weight, rows = np.outer(weight, weights).flatten(), x0.repeat_interleave(len(z), 0)
    schedule, noise = Schedule([beta_1]), np.tile(z, len(x0))
    feed(monkeypatch, noise)
    L_0 = elbo_terms(data.denoiser(schedule), rows, schedule, sigma="beta").L_0.numpy()
    x1 = math.sqrt(1 - beta_1) * rows + math.sqrt(beta_1) * torch.as_tensor(noise)[:, None]
    error = ((rows - data.posterior_mean(x1, 1, schedule)) ** 2).numpy()[:, 0]
    return weight @ error, weight @ L_0


def error_by_quadrature(data, beta_1):
    """E[Var(x_0 | x_1)] by scipy, from the density of x_1 and the posterior over the components."""
    means, var, weights = data.means[:, 0].numpy(), data.std.numpy() ** 2, data.weights.numpy()
    keep, spread = math.sqrt(1 - beta_1), (1 - beta_1) * var + beta_1

    def f(x1):
        joint = weights * stats.norm.pdf(x1, keep * means, spread**0.5)
        r, m = joint / joint.sum(), means + keep * var / spread * (x1 - keep * means)
        return joint.sum() * (r @ (m**2 + var * beta_1 / spread) - (r @ m) ** 2)

    return integrate.quad(f, -8, 8, points=[*keep * means, 0.0], epsabs=1e-12, limit=400)[0]


@pytest.mark.claim("reconstruction-term-not-negligible")
@pytest.mark.parametrize("data", [STANDARD, MIXTURE, TWO_POINTS], ids=["normal", "mixture", "two points"])
@pytest.mark.parametrize("beta_1", [0.3, 0.5, 0.9])
def test_the_reconstruction_term_and_its_error_keep_their_bounds(data, beta_1, monkeypatch):
    """Both by quadrature; L_0 is the closed form in the error, so scipy's error checks the package's term."""
    error, L_0 = over_data(data, beta_1, monkeypatch)
    want = error_by_quadrature(data, beta_1)
    close(error, want, 2e-6)  # Gauss-Hermite is the coarser of the two where the components part
    close(L_0, math.log(2 * math.pi * beta_1) / 2 + error / (2 * beta_1))
    assert 0 < want <= beta_1 / (1 - beta_1)
    low, high = math.log(2 * math.pi * beta_1) / 2, (math.log(2 * math.pi * beta_1) + 1 / (1 - beta_1)) / 2
    assert low <= L_0 <= high


@pytest.mark.claim("reconstruction-term-not-negligible")
@pytest.mark.parametrize("d", [2, 5])
def test_the_bounds_count_the_dimensions(d, monkeypatch):
    """x_0 ~ N(0, s² I): quadratic, so signs average it. The bound on the error is approached as s grows."""
    beta_1, signs = 0.2, np.array(list(itertools.product([1.0, -1.0], repeat=2)))
    ratios = []
    for s in (0.1, 1.0, 30.0):
        data, schedule = GaussianMixture([1.0], [[0.0] * d], s), Schedule([beta_1])
        x0 = torch.as_tensor(signs[:, :1]).expand(4, d) * s
        feed(monkeypatch, signs[:, 1])
        L_0 = elbo_terms(data.denoiser(schedule), x0, schedule, sigma="beta").L_0.mean().item()
        error = d * s**2 * beta_1 / ((1 - beta_1) * s**2 + beta_1)  # Var(x_0 | x_1) per dimension
        close(L_0, d / 2 * math.log(2 * math.pi * beta_1) + error / (2 * beta_1))
        ratios.append(error / (d * beta_1 / (1 - beta_1)))
        assert d / 2 * math.log(2 * math.pi * beta_1) <= L_0
        assert L_0 <= d / 2 * (math.log(2 * math.pi * beta_1) + 1 / (1 - beta_1))
    assert ratios[0] < ratios[1] < 0.999 < ratios[2] <= 1


@functools.cache
def standard_terms(schedule):
    """The package's terms for x_0 ~ N(0, 1), exact reverse steps: quadratic, so four sign pairs average them."""
    signs = np.array(list(itertools.product([1.0, -1.0], repeat=2)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        feed(monkeypatch, *[signs[:, 1]] * schedule.T)
        terms = elbo_terms(STANDARD.denoiser(schedule), torch.as_tensor(signs[:, :1]), schedule, sigma="beta")
    return terms.L_0.mean().item(), terms.L_t.sum(0).mean().item(), terms.L_T.mean().item()


@pytest.mark.claim("reconstruction-term-not-negligible")
@pytest.mark.parametrize("beta_1, printed", [(1e-2, "-0.88"), (1e-4, "-3.19"), (1e-6, "-5.49")])
def test_for_standard_normal_data_it_runs_to_minus_infinity(beta_1, printed):
    """L_0 is the differential entropy of N(0, β_1): the error β_1 vanishes, its quotient by β_1 does not."""
    L_0 = standard_terms(Schedule([beta_1]))[0]
    close(L_0, stats.norm(0, beta_1**0.5).entropy())
    assert f"{L_0:.2f}" == printed


@pytest.mark.claim("reconstruction-term-not-negligible")
def test_the_sizes_of_the_three_terms_for_a_thousand_steps():
    L_0, middle, L_T = standard_terms(LINEAR)
    assert (f"{L_0:.3f}", f"{middle:.3f}", f"{L_T:.1e}") == ("-3.186", "4.605", "2.0e-05")
    close(L_0 + middle + L_T, stats.norm.entropy())
    assert f"{L_0 + middle + L_T:.4f}" == "1.4189"


@pytest.mark.claim("reconstruction-term-not-negligible")
def test_the_noise_loss_weighs_t_1_most_of_all_for_the_linear_schedule():
    """The weight is dL_0 / dE|eps error|²: 1/(2 α_1); every later one is smaller. Not so for the toy schedule."""
    weight = loss_weight("eps", LINEAR, "beta")
    close(weight[1], 1 / (2 * (1 - 1e-4)))
    assert weight.argmax() == 1 and (weight[2:] < weight[1]).all()
    close(loss_weight("eps", TOY, "beta")[1], 1 / (2 * 0.95))


@pytest.mark.claim("reconstruction-term-not-negligible")
@pytest.mark.parametrize("T", [4, 50])
def test_the_simple_loss_treats_t_1_as_one_term_in_T(T):
    """A denoiser that knows x_0 is wrong by 1 at t = 1 alone: the loss is 1/T, exactly and within 5 errors."""
    schedule, x0 = Schedule([0.2] * T), 0.7

    def denoiser(xt, t):
        alpha_bar = 0.8 ** t.double()[:, None]
        return (xt - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt() + (t == 1)[:, None]

    close(simple_loss(denoiser, batch(x0, T), schedule, t=torch.arange(1, T + 1)), 1 / T)
    n = 20_000
    drawn = simple_loss(denoiser, batch(x0, n), schedule, generator=torch.Generator().manual_seed(0)).item()
    assert abs(drawn - 1 / T) < 5 * (1 / T * (1 - 1 / T) / n) ** 0.5


# ---- errata ------------------------------------------------------------------------------------------------------


@pytest.mark.erratum("002:213")
def test_there_is_no_sigma_0():
    """x_0 ~ N(0, 1), linear schedule: with the β that the formula would give at t = 0, L_0 is another number.

    The package's entry 0 is padding, 0: as a variance it is refused.
    """
    beta_0 = 2 * LINEAR.beta[1].item() - LINEAR.beta[2].item()  # the straight line continued to t = 0
    values, (z, weights) = {}, hermite(20)
    for name, var in (("printed", beta_0), ("correct", 1e-4)):
        # The error of sqrt(α_1) x_1 is N(0, β_1).
        values[name] = -weights @ stats.norm.logpdf(math.sqrt(1e-4) * z, 0, math.sqrt(var))
    assert (f"{values['printed']:.4f}", f"{values['correct']:.4f}") == ("-3.1729", "-3.1862")
    close(standard_terms(LINEAR)[0], values["correct"])
    assert LINEAR.sigma("beta")[0] == 0
    with pytest.raises(ValueError, match="decoder_var must be a finite number > 0"):
        elbo_terms(sine, batch(0.7), LINEAR, decoder_var=LINEAR.sigma("beta")[0].item() ** 2)


@pytest.mark.erratum("004:425")
@pytest.mark.parametrize("steps", [10, 25])
def test_alpha_1_is_1_minus_delta_in_the_slides_own_list(steps):
    """{1, 1 - δ, 1 - 2 δ, ...} with δ = 1/N_t, without its last entry 0."""
    delta = 1 / steps
    alpha = 1 - delta * np.arange(steps)  # α_0, α_1, ...
    schedule = Schedule(1 - alpha[1:])
    assert abs(delta - schedule.alpha[1]) > 0.7  # as printed
    close(schedule.alpha[1], 1 - delta)
    close(schedule.alpha_bar[:2], [1.0, alpha[1]])  # what the step needs: ᾱ_0 = 1 and ᾱ_1 = α_1
    if steps == 10:
        close([delta, schedule.alpha[1]], [0.1, 0.9])


@pytest.mark.erratum("004:429")
@every_schedule
def test_the_printed_log_density_has_an_infinite_weight_and_constant(schedule):
    """σ²(1), by the slides' own formula (1 - α)(1 - ᾱ_prev)/(1 - ᾱ), is 0 at t = 1 where ᾱ_prev = 1."""
    alpha_1 = np.float64(1 - schedule.beta[1].item())
    variance = (1 - alpha_1) * (1 - 1.0) / (1 - alpha_1)
    with np.errstate(divide="ignore"):
        weight = 1 / (2 * variance) * (1 - alpha_1) ** 2 * 1.0 / (1 - alpha_1) ** 2
        constant = -np.log(2 * np.pi * variance) / 2
    assert weight == np.inf and constant == np.inf


@pytest.mark.erratum("004:429")
@pytest.mark.parametrize("schedule", [TOY, linear_schedule(8), Schedule([0.6, 0.2])], ids=str)
def test_with_sigma_1_positive_the_corrected_log_density_is_exact(schedule):
    """-d/2 log(2 π σ_1²) - |guess - x_0|²/(2 σ_1²): scipy's density at one x_1 against the package's L_0 there."""
    x0, seen = torch.as_tensor(IMAGES), []

    def spy(xt, t):
        seen.append(xt)
        return torch.sin(xt)

    L_0 = elbo_terms(spy, x0, schedule, predicts="x0", generator=torch.Generator().manual_seed(1)).L_0
    var, guess = schedule.beta[1].item(), np.sin(seen[0].numpy())
    density = [stats.multivariate_normal(g, var * np.eye(3)).logpdf(x) for g, x in zip(guess, IMAGES, strict=True)]
    corrected = -1.5 * math.log(2 * math.pi * var) - ((guess - IMAGES) ** 2).sum(1) / (2 * var)
    close(corrected, density)
    close(-L_0, density)
    if schedule is TOY:
        assert (f"{1 / (2 * var):.4g}", f"{-math.log(2 * math.pi * var) / 2:.5f}") == ("10", "0.57893")


@pytest.mark.erratum("000:1031")
def test_the_reconstruction_term_is_not_negligible_in_the_bound_or_the_loss():
    """Its size is five orders above L_T and more than half of all L_{t-1} together; its weight is the largest."""
    L_0, middle, L_T = standard_terms(LINEAR)
    assert abs(L_0) > 1e5 * L_T and abs(L_0) > 0.5 * middle
    assert abs(middle + L_T - stats.norm.entropy()) > 3  # the bound with the term neglected
    close(L_0 + middle + L_T, stats.norm.entropy())
    low = math.log(2 * math.pi * 1e-4) / 2
    assert low <= L_0 <= low + 1 / (2 * (1 - 1e-4))
    weight = loss_weight("eps", LINEAR, "beta")
    assert f"{weight[1]:.2f}" == "0.50" and weight.argmax() == 1


@pytest.mark.erratum("000:1042")
def test_a_small_squared_error_does_not_make_the_term_small(monkeypatch):
    """As β_1 falls the error falls with it, and the term grows in size without bound."""
    values = []
    for beta_1 in (1e-2, 1e-4, 1e-6, 1e-10):
        error, L_0 = over_data(STANDARD, beta_1, monkeypatch)
        close(error, beta_1, 1e-9)
        close(L_0, math.log(2 * math.pi * beta_1) / 2 + error / (2 * beta_1), 1e-7)
        values.append(L_0)
    assert [f"{v:.2f}" for v in values[:3]] == ["-0.88", "-3.19", "-5.49"]
    assert (np.diff(values) < -2).all() and values[-1] < -10
