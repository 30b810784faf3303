"""Ancestral sampling: four claims and five errata against regression in the joint Gaussian and moment recursions.

The oracle never uses alpha_bar: it repeats the forward step and conditions. Where a claim adds noise at t = 1
(sigma_1^2 = beta_1), the package returns the mean of that step, and the tests add the beta_1 that is missing.
"""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.integrate import quad
from scipy.stats import kstest, norm
from torch.distributions import Normal, kl_divergence

from ddpm_lesson import GaussianMixture, Schedule, cosine_schedule, p_sample_loop, p_step, sample

BETA = {
    "register": 0.05 * np.arange(1, 11),  # the schedule of the register's numbers
    "uneven": np.array([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14]),
    "linear": np.linspace(1e-4, 0.02, 1000),
}
SCHEDULE = {name: Schedule(beta) for name, beta in BETA.items()}
SHORT = pytest.mark.parametrize("name", ["register", "uneven"])
STEPS = pytest.mark.parametrize("name, t", [("register", 2), ("register", 5), ("register", 10), ("uneven", 4),
                                            ("uneven", 8), ("linear", 2), ("linear", 500), ("linear", 1000)])
SIGMA = pytest.mark.parametrize("sigma", ["posterior", "beta"])


def walk(beta, t, mean, var):
    """Mean and variance of x_t from those of x_0, step by step."""
    for b in beta[:t]:
        mean, var = math.sqrt(1 - b) * mean, (1 - b) * var + b
    return mean, var


def condition(beta, t, prior, xt):
    """Mean and variance of x_{t-1} given x_t, from the law of x_{t-1} and one step: prior times likelihood."""
    mean, var = prior
    root, b = math.sqrt(1 - beta[t - 1]), beta[t - 1]
    gain = root * var / (root * root * var + b)
    return mean + gain * (xt - root * mean), var - gain * root * var


def posterior(beta, t, x0, xt):
    """Mean and variance of q(x_{t-1} | x_t, x_0)."""
    return condition(beta, t, walk(beta, t - 1, x0, 0.0), xt)


def implied_x0(beta, t, xt, eps):
    """The x_0 that the noise eps carries to x_t."""
    signal, var = walk(beta, t, 1.0, 0.0)
    return (xt - math.sqrt(var) * eps) / signal


def guess(xt, t):
    """A denoiser that is not exact and not linear; it sees t."""
    return torch.tanh(xt + t.reshape(-1, 1) / 8)


def best(m, s, schedule):
    return GaussianMixture([1.0], [[m]], s).denoiser(schedule)


def doubles(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def read_step(denoiser, t, schedule, sigma):
    """Shift, gain and noise scale of a step that is affine in x_t and z: x_{t-1} = shift + gain x_t + scale z."""
    def step(x, z):
        return p_step(denoiser, doubles([x]), t, schedule, sigma=sigma, noise=doubles([z])).item()

    shift = step(0.0, 0.0)
    return shift, step(1.0, 0.0) - shift, step(0.0, 1.0) - shift


def carry(law, denoiser, schedule, sigma="beta", last=0.0):
    """Mean and variance of x_0 when x_T has the given law; `last` is the variance added after the step t = 1."""
    for t in range(schedule.T, 0, -1):
        shift, gain, scale = read_step(denoiser, t, schedule, sigma)
        law = shift + gain * law[0], gain**2 * law[1] + scale**2
    return law[0], law[1] + last


# --- one step ---

@pytest.mark.claim("ancestral-sampling-step")
@SIGMA
@STEPS
def test_a_step_is_the_mean_plus_the_standard_deviation_times_z(name, t, sigma):
    beta, xt, z = BETA[name], np.array([[1.2, -0.3], [0.0, 2.1]]), np.array([[0.7, -1.9], [0.2, 1.0]])
    x = torch.tensor(xt)
    got = p_step(guess, x, t, SCHEDULE[name], sigma=sigma, noise=torch.tensor(z))
    mean, var = posterior(beta, t, implied_x0(beta, t, xt, np.tanh(xt + t / 8)), xt)
    np.testing.assert_allclose(got, mean + math.sqrt(var if sigma == "posterior" else beta[t - 1]) * z, rtol=1e-9)


@pytest.mark.claim("ancestral-sampling-step")
@SIGMA
def test_draws_have_the_mean_and_the_variance_of_the_step(sigma):
    """In three dimensions, 100 000 draws: 5 standard errors for every entry of mean and covariance."""
    n, t, beta = 100_000, 5, BETA["register"]
    xt = doubles([1.2, -0.4, 0.1])
    draws = p_step(guess, xt.expand(n, 3), t, SCHEDULE["register"], sigma=sigma,
                   generator=torch.Generator().manual_seed(0)).numpy()
    mean, var = posterior(beta, t, implied_x0(beta, t, xt.numpy(), np.tanh(xt.numpy() + 5 / 8)), xt.numpy()[0])
    var = var if sigma == "posterior" else beta[t - 1]
    assert (abs(draws.mean(0) - mean[0]) < 5 * math.sqrt(var / n)).all()
    error = np.cov(draws.T) - var * np.eye(3)
    assert (abs(error) < 5 * var * np.sqrt((1 + np.eye(3)) / n)).all()
    assert kstest((draws[:, 0] - mean[0, 0]) / math.sqrt(var), norm.cdf).pvalue > 1e-4


@pytest.mark.claim("ancestral-sampling-step")
@STEPS
def test_with_the_true_noise_a_step_draws_from_the_posterior(name, t):
    x0, xt = 0.7, 1.2
    signal, var = walk(BETA[name], t, 1.0, 0.0)
    eps = (xt - signal * x0) / math.sqrt(var)
    still, moved = (p_step(lambda x, t: torch.full_like(x, eps), doubles([xt]), t, SCHEDULE[name],
                           noise=doubles([z])).item() for z in (0.0, 1.0))
    mean, var = posterior(BETA[name], t, x0, xt)
    assert still == pytest.approx(mean, rel=1e-9)
    assert moved - still == pytest.approx(math.sqrt(var), rel=1e-9)


@pytest.mark.claim("ancestral-sampling-step")
@SIGMA
def test_the_last_step_adds_no_noise(sigma):
    """Right for sigma_1 = 0, sigma "posterior". For "beta" it is a choice, and costs the variance beta_1 (below)."""
    for name, schedule in SCHEDULE.items():
        xt = doubles([0.3, -1.0])
        quiet, loud, drawn = (p_step(guess, xt, 1, schedule, sigma=sigma, **noise) for noise in (
            {"noise": 0 * xt}, {"noise": 1e3 + xt}, {"generator": torch.Generator().manual_seed(1)}))
        assert torch.equal(quiet, loud) and torch.equal(quiet, drawn)
        expected = implied_x0(BETA[name], 1, xt.numpy(), np.tanh(xt.numpy() + 1 / 8))
        np.testing.assert_allclose(quiet, expected, rtol=1e-10)
        assert schedule.sigma("posterior")[1] == 0 and (schedule.sigma("posterior")[2:] > 0).all()


@pytest.mark.claim("ancestral-sampling-step")
@pytest.mark.parametrize("schedule", [*SCHEDULE.values(), cosine_schedule(40)], ids=repr)
def test_for_standard_normal_data_sigma_beta_keeps_the_law_at_every_step(schedule):
    """gain^2 + sigma_t^2 = 1; at t = 1 the package leaves out the z whose variance beta_1 makes up the sum."""
    denoiser = best(0.0, 1.0, schedule)
    for t in range(1, schedule.T + 1, max(1, schedule.T // 20)):
        shift, gain, scale = read_step(denoiser, t, schedule, "beta")
        var = gain**2 + (scale**2 if t > 1 else float(schedule.beta[1]))
        assert shift == pytest.approx(0, abs=1e-12) and var == pytest.approx(1, rel=1e-10)
        if t > 1:
            assert gain**2 + read_step(denoiser, t, schedule, "posterior")[2] ** 2 < 1  # too little for these data


# --- the algorithm ---

@pytest.mark.claim("ancestral-sampling-algorithm")
@SHORT
@SIGMA
def test_the_loop_starts_from_a_normal_draw_and_visits_T_to_1_once(name, sigma):
    """Every state is recomputed from the state before, by conditioning, and from a second copy of the generator."""
    beta, schedule, asked = BETA[name], SCHEDULE[name], []

    def spy(xt, t):
        asked.append(t.tolist())
        return guess(xt, t)

    states = list(p_sample_loop(spy, schedule, (4, 2), sigma=sigma, generator=torch.Generator().manual_seed(3)))
    assert asked == [[t] * 4 for t in range(len(beta), 0, -1)]
    assert [t for t, _ in states] == list(range(len(beta), -1, -1))
    z = torch.Generator().manual_seed(3)
    assert torch.equal(states[0][1], torch.randn(4, 2, generator=z))
    for (t, xt), (_, x_prev) in zip(states, states[1:], strict=False):
        xt = xt.double().numpy()
        mean, var = posterior(beta, t, implied_x0(beta, t, xt, np.tanh(xt + t / 8)), xt)
        var = var if sigma == "posterior" else beta[t - 1]
        noise = math.sqrt(var) * torch.randn(4, 2, generator=z).numpy() if t > 1 else 0.0
        np.testing.assert_allclose(x_prev, mean + noise, atol=2e-5)  # the chain is float32, the oracle float64


@pytest.mark.claim("ancestral-sampling-algorithm")
@pytest.mark.parametrize("m", [0.0, 1.5, -3.0])
@SHORT
def test_for_data_of_unit_variance_the_exact_chain_ends_at_the_data(name, m):
    """Started from q(x_T); the package's last step leaves out the beta_1 that is added here."""
    beta, schedule = BETA[name], SCHEDULE[name]
    end = carry(walk(beta, len(beta), m, 1.0), best(m, 1.0, schedule), schedule, last=beta[0])
    assert end == pytest.approx((m, 1.0), rel=1e-10, abs=1e-10)


@pytest.mark.claim("ancestral-sampling-algorithm")
@pytest.mark.parametrize("m", [0.0, 1.5, -3.0])
@SHORT
def test_started_from_the_standard_normal_the_error_is_bounded_by_the_terminal_kl(name, m):
    """KL(data || model) <= KL(q(x_T) || N(0, 1)) <= E[L_T], the last mean by quadrature over the data."""
    beta, schedule = BETA[name], SCHEDULE[name]
    end = carry((0.0, 1.0), best(m, 1.0, schedule), schedule, last=beta[0])
    node, weight = np.polynomial.hermite_e.hermegauss(20)
    L_T = schedule.terminal_kl(torch.tensor(m + node)[:, None]).numpy() @ weight / weight.sum()

    def kl(p, q):
        return kl_divergence(*(Normal(mean, doubles(var).sqrt()) for mean, var in (p, q))).item()

    to_model, terminal = kl((m, 1.0), end), kl(walk(beta, len(beta), m, 1.0), (0.0, 1.0))
    assert to_model <= terminal + 1e-12 and terminal < L_T
    information = -math.log(walk(beta, len(beta), 0.0, 0.0)[1]) / 2  # of x_T about x_0: what L_T counts in excess
    assert L_T == pytest.approx(terminal + information, rel=1e-10)
    if m:
        assert 1e-5 < to_model < 0.9 * terminal  # the start is wrong, and the chain forgets part of that


@pytest.mark.claim("ancestral-sampling-algorithm")
def test_sigma_beta_needs_unit_variance():
    """Data N(0, 1/4): with beta_t the chain ends at 0.301; with the variance of the true kernel, at 1/4."""
    beta, schedule, data = BETA["register"], SCHEDULE["register"], GaussianMixture([1.0], [[0.0]], 0.5)
    start, denoiser = walk(beta, 10, 0.0, 0.25), data.denoiser(schedule)
    assert f"{carry(start, denoiser, schedule, last=beta[0])[1]:.3f}" == "0.301"
    var = start[1]
    for t in range(10, 0, -1):
        _, true = condition(beta, t, walk(beta, t - 1, 0.0, 0.25), 0.0)
        var = read_step(denoiser, t, schedule, "beta")[1] ** 2 * var + true
        assert data.reverse_moments(doubles([0.3]), t, schedule)[1].item() == pytest.approx(true, rel=1e-10)
    assert var == pytest.approx(0.25, rel=1e-10)


@pytest.mark.claim("ancestral-sampling-algorithm")
@SHORT
def test_many_draws_have_the_law_of_the_recursion(name):
    """`sample` from end to end, 40 000 chains: 5 standard errors of mean and variance, and a Gaussian shape."""
    n, schedule = 40_000, SCHEDULE[name]
    draws = sample(best(1.5, 1.0, schedule), schedule, (n, 1), sigma="beta",
                   generator=torch.Generator().manual_seed(4)).double().numpy().ravel()
    mean, var = carry((0.0, 1.0), best(1.5, 1.0, schedule), schedule)
    assert abs(draws.mean() - mean) < 5 * math.sqrt(var / n)
    assert abs(draws.var() - var) < 5 * var * math.sqrt(2 / n)
    assert kstest((draws - mean) / math.sqrt(var), norm.cdf).pvalue > 1e-4


# --- two spellings of the sampler ---

@pytest.mark.claim("two-sampler-forms-identical")
def test_the_mean_through_x0_is_the_mean_through_the_noise():
    """A^2 = alpha_t, B^2 = abar_{t-1}, s^2 = 1 - abar_t."""
    A, B, s = sp.symbols("A B s", positive=True)
    xt, eps = sp.symbols("x_t epsilon", real=True)
    x0 = (xt - s * eps) / (A * B)
    through_x0 = (A * (1 - B**2) * xt + B * (1 - A**2) * x0) / (1 - A**2 * B**2)
    difference = sp.cancel(sp.together(through_x0 - (xt - (1 - A**2) / s * eps) / A))
    assert sp.rem(sp.Poly(sp.fraction(difference)[0], s), sp.Poly(s**2 - 1 + A**2 * B**2, s)).is_zero
    misprint = sp.cancel(sp.together(through_x0 - (xt - (1 - A**2) / s * eps) / (A * B)))
    assert not sp.rem(sp.Poly(sp.fraction(misprint)[0], s), sp.Poly(s**2 - 1 + A**2 * B**2, s)).is_zero


def trajectory(name, predicts, **options):
    """All states of a chain whose network says `guess`, as noise or as the x_0 behind that noise."""
    beta = BETA[name]

    def as_x0(xt, t):
        return torch.tensor(implied_x0(beta, int(t[0]), xt.numpy(), guess(xt, t).numpy()))

    start = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    states = p_sample_loop(guess if predicts == "eps" else as_x0, SCHEDULE[name], xT=start, predicts=predicts,
                           generator=torch.Generator().manual_seed(6), **options)
    return torch.stack([x for _, x in states])


@pytest.mark.claim("two-sampler-forms-identical")
@SIGMA
@SHORT
def test_both_samplers_walk_the_same_path(name, sigma):
    torch.testing.assert_close(trajectory(name, "eps", sigma=sigma), trajectory(name, "x0", sigma=sigma),
                               rtol=1e-10, atol=1e-10)


@pytest.mark.claim("two-sampler-forms-identical")
@SHORT
def test_they_part_once_the_guess_is_clipped_on_the_way(name):
    plain, clipped = trajectory(name, "eps"), trajectory(name, "eps", clip=1.0)
    assert (plain - clipped)[1:].abs().amax((1, 2)).min() > 0.05
    torch.testing.assert_close(clipped, trajectory(name, "x0", clip=1.0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(plain, trajectory(name, "eps", clip=1e6), rtol=1e-10, atol=1e-10)
    t = len(BETA[name])  # the first clipped step, recomputed
    xt = plain[0].numpy()
    x0 = implied_x0(BETA[name], t, xt, np.tanh(xt + t / 8)).clip(-1, 1)
    z = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(6)).numpy()
    mean, var = posterior(BETA[name], t, x0, xt)
    np.testing.assert_allclose(clipped[1], mean + math.sqrt(var) * z, rtol=1e-9, atol=1e-12)


# --- randomness ---

@pytest.mark.claim("sampling-is-stochastic")
@SIGMA
@SHORT
def test_one_xT_gives_different_x0(name, sigma):
    xT = doubles([0.3, -1.0]).expand(200, 2)

    def draw(seed):
        return sample(guess, SCHEDULE[name], xT=xT, sigma=sigma, generator=torch.Generator().manual_seed(seed))

    first, second = draw(0), draw(1)
    assert torch.equal(first, draw(0))
    assert (first != second).all() and len(first.unique(dim=0)) == 200


@pytest.mark.claim("sampling-is-stochastic")
@SHORT
def test_with_every_sigma_0_nothing_is_left_to_chance(name):
    x = doubles([0.3, -1.0]).expand(20, 2)
    for t in range(SCHEDULE[name].T, 0, -1):
        x = p_step(guess, x, t, SCHEDULE[name], noise=torch.zeros(20, 2).double())
    assert len(x.unique(dim=0)) == 1


@pytest.mark.claim("sampling-is-stochastic")
@pytest.mark.parametrize("T", [1, 2, 8])
@SIGMA
def test_the_package_draws_T_minus_1_times_after_xT(T, sigma):
    """sigma_1 = 0 for "posterior"; for "beta" the package omits the T-th draw by choice."""
    schedule, shape = Schedule(BETA["uneven"][:T]), (3, 2)
    used, expected = (torch.Generator().manual_seed(7) for _ in range(2))
    sample(guess, schedule, xT=torch.zeros(shape), sigma=sigma, generator=used)
    for _ in range(T - 1):
        torch.randn(shape, generator=expected)
    assert torch.equal(used.get_state(), expected.get_state())


@pytest.mark.claim("sampling-is-stochastic")
@SHORT
def test_each_draw_from_T_to_2_moves_x0_and_with_sigma_1_positive_so_does_the_last(name):
    """The chain of Gaussian data is affine in its z's. T - 1 of them fall short of the data by exactly beta_1."""
    schedule, T = SCHEDULE[name], len(BETA[name])
    denoiser, slopes = best(0.0, 1.0, schedule), []
    for disturbed in range(T, 0, -1):
        x = doubles([0.0])
        for t in range(T, 0, -1):
            x = p_step(denoiser, x, t, schedule, sigma="beta", noise=doubles([float(t == disturbed)]))
        slopes.append(x.item())
    assert min(slopes[:-1]) > 1e-3 and slopes[-1] == 0
    from_xT = math.prod(read_step(denoiser, t, schedule, "beta")[1] for t in range(T, 0, -1))
    assert from_xT**2 + sum(s * s for s in slopes) == pytest.approx(1 - BETA[name][0], rel=1e-10)


# --- errata ---

POINTS = [("register", 5, 0.7, 1.2), ("register", 9, 2.0, 1.5), ("register", 4, -1.3, 1.6), ("uneven", 4, 1.1, 2.0),
          ("uneven", 7, 1.5, 1.9)]
points = pytest.mark.parametrize("name, t, x0, xt", POINTS)


def grid_posterior(name, t, x0, xt):
    """Mean and variance of q(x_{t-1} | x_t, x_0) by quadrature of prior times likelihood."""
    b, (mean, var) = BETA[name][t - 1], walk(BETA[name], t - 1, x0, 0.0)

    def moment(power, center=0.0):
        def weight(x):
            return (x - center) ** power * norm.pdf(x, mean, var**0.5) * norm.pdf(xt, math.sqrt(1 - b) * x, b**0.5)
        return quad(weight, -7, 7, points=[mean, xt], epsabs=0, epsrel=1e-11)[0]

    center = moment(1) / moment(0)
    return center, moment(2, center) / moment(0)


def tables(name, t):
    """alpha_t, abar_t, abar_{t-1}."""
    beta = BETA[name]
    return 1 - beta[t - 1], math.prod(1 - beta[:t]), math.prod(1 - beta[:t - 1])


def printed_mean(name, t, xt, eps):
    alpha, alpha_bar, _ = tables(name, t)
    return 1 / math.sqrt(alpha_bar) * (xt - (1 - alpha) / math.sqrt(1 - alpha_bar) * eps)


@pytest.mark.erratum("000:1252")
@pytest.mark.erratum("004:645")
@points
def test_the_step_with_abar_in_front_misses_the_posterior_mean(name, t, x0, xt):
    signal, var = walk(BETA[name], t, 1.0, 0.0)
    eps = (xt - signal * x0) / math.sqrt(var)
    truth = grid_posterior(name, t, x0, xt)[0]
    correct = p_step(lambda x, t: torch.full_like(x, eps), doubles([xt]), t, SCHEDULE[name], noise=doubles([0.0]))
    assert abs(printed_mean(name, t, xt, eps) - truth) > 0.05
    assert correct.item() == pytest.approx(truth, rel=1e-9)
    if (name, t) == ("register", 5):
        assert (f"{printed_mean(name, t, xt, eps):.4g}", f"{truth:.4g}") == ("1.322", "1.008")


@pytest.mark.erratum("000:1252")
@pytest.mark.erratum("004:645")
@SHORT
def test_applied_T_times_it_blows_the_sample_up(name):
    """Standard normal data and the exact predictor: the variance should stay 1 at every step."""
    T, var, correct = len(BETA[name]), 1.0, 1.0
    for t in range(T, 1, -1):
        eps_slope = math.sqrt(walk(BETA[name], t, 0.0, 0.0)[1])  # E[eps | x_t] = sqrt(1 - abar_t) x_t
        var = printed_mean(name, t, 1.0, eps_slope) ** 2 * var + BETA[name][t - 1]
        _, gain, scale = read_step(best(0.0, 1.0, SCHEDULE[name]), t, SCHEDULE[name], "beta")
        correct = gain**2 * correct + scale**2
    assert var > 20 and correct == pytest.approx(1, rel=1e-10)


@pytest.mark.erratum("004:569")
@points
def test_the_variance_times_z_is_not_the_standard_deviation_times_z(name, t, x0, xt):
    alpha, alpha_bar, alpha_bar_prev = tables(name, t)
    printed = ((1 - alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar)) ** 2  # Var(sigma^2(t) z)
    truth = grid_posterior(name, t, x0, xt)[1]
    scale = read_step(lambda x, t: 0 * x, t, SCHEDULE[name], "posterior")[2]
    assert printed < truth - 0.05 and scale**2 == pytest.approx(truth, rel=1e-9)
    if (name, t) == ("register", 5):
        assert (f"{printed:.6f}", f"{truth:.5f}") == ("0.034435", "0.18557")


@pytest.mark.erratum("000:1249")
def test_only_the_last_latent_is_nearly_standard_normal():
    """Data +-2: N(0, 1) has nearly the variance of x_T, not that of x_5. The sampler's first state is x_T."""
    data, schedule = GaussianMixture([0.5, 0.5], [[-2.0], [2.0]], 0.0), SCHEDULE["register"]
    truth = [walk(BETA["register"], t, 0.0, 4.0)[1] for t in (5, 10)]
    assert [f"{v:.5g}" for v in truth] == ["2.3082", "1.0982"]
    for t, var in zip((5, 10), truth, strict=True):
        q = data.noised(t, schedule)
        assert (q.weights @ q.means**2 + q.weights @ q.std**2).item() == pytest.approx(var, rel=1e-10)
    assert abs(1 - truth[0]) > 1 and abs(1 - truth[1]) < 0.1
    t, xT = next(p_sample_loop(data.denoiser(schedule), schedule, (50_000, 1),
                               generator=torch.Generator().manual_seed(8)))
    assert t == 10 and abs(xT.var() - 1) < 5 * math.sqrt(2 / 50_000)  # 5 standard errors


@pytest.mark.erratum("000:1258")
def test_what_a_step_draws_is_x_prev():
    """By its mean at one x_t (the register's numbers), and by the law it leaves when x_t ~ q(x_t)."""
    beta, schedule = BETA["register"], SCHEDULE["register"]
    truth = grid_posterior("register", 5, implied_x0(beta, 5, 1.2, 0.1), 1.2)[0]
    step = p_step(lambda x, t: torch.full_like(x, 0.1), doubles([1.2]), 5, schedule, noise=doubles([0.0])).item()
    assert f"{truth:.5g}" == "1.3472" and abs(1.2 - truth) > 0.1
    assert step == pytest.approx(truth, rel=1e-9)
    _, gain, _ = read_step(best(0.0, 2.0, schedule), 5, schedule, "beta")
    before, after = (walk(beta, t, 0.0, 4.0)[1] for t in (5, 4))
    drawn = gain**2 * before + condition(beta, 5, (0.0, after), 0.0)[1]
    assert drawn == pytest.approx(after, rel=1e-10) and abs(drawn - before) > 0.3
    states = p_sample_loop(guess, schedule, (1, 1), generator=torch.Generator().manual_seed(9))
    assert [t for t, _ in states][:2] == [10, 9]
