"""The two-bump signals against a plain double integral over both places, and their samples against what is promised.

The oracle knows nothing of the package's factorization into two single integrals: it sums exp(-|x_t - sqrt(ab) x_0|^2)
over a fine 2-D grid of (m_1, m_2), refined around the peak.

Sabotage of two_bumps.py that turned this file red: slope or curve halved or doubled; alpha_bar for its root and back;
the root of 1 - alpha_bar; x or x - sqrt(alpha_bar) for x + sqrt(alpha_bar); the affine map's 2 or -1 dropped; the
bump's 2 dropped or its exponent unsquared; w for log w, or none; one range for both bumps; a range or the grid shifted;
too few panels; no finer panels at the ends; one m for both bumps; the first row's t for all; rows written over.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, uniform
from torch.testing import assert_close

from ddpm_lesson import Schedule, TwoBumps, cosine_schedule, linear_schedule, q_sample, simple_loss

PREDICTORS = ("eps", "x0", "mean")
COSINE = cosine_schedule(150)


def signal(m_1, m_2, n):
    """x_0 from its definition, broadcast over the places, (..., n)."""
    g = -20 + 40 * np.arange(n) / (n - 1)
    bumps = (np.exp(-((g - np.asarray(m)[..., None]) ** 2) / 2) for m in (m_1, m_2))
    return 2 * sum(bumps) - 1


def axis(low, high, mode, width, panel=0.25):
    """Gauss-Legendre nodes and weights on [low, high]: short panels, and far shorter ones around the mode."""
    halves = 0.5 ** np.arange(1, 12)
    near = mode + width * np.concatenate([np.linspace(-10, 10, 21), halves, -halves])
    edges = np.linspace(low, high, round((high - low) / panel) + 1)
    edges = np.unique(np.concatenate([edges, near[(near > low) & (near < high)]]))
    node, weight = np.polynomial.legendre.leggauss(8)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + node)).ravel(), (half * weight).ravel()


def brute_force(xt, alpha_bar, n, mode, panel=0.25):
    """E[x_0 | x_t] for one x_t, (n,), by the double integral; mode: about where (m_1, m_2) must be."""
    # A bump moved by dm changes x_0 by 2 |b'| dm: that is how well x_t pins its place down.
    width = math.sqrt((1 - alpha_bar) / alpha_bar / (4 * math.sqrt(math.pi) / 2 * (n - 1) / 40))
    (m_1, w_1), (m_2, w_2) = axis(-15, -5, mode[0], width, panel), axis(5, 15, mode[1], width, panel)
    nowhere = np.inf  # a bump that is not there
    first, second = signal(m_1, nowhere, n), signal(nowhere, m_2, n) + 1
    log_q = np.stack([-((xt - alpha_bar**0.5 * (one + second)) ** 2).sum(1) / (2 * (1 - alpha_bar)) for one in first])
    q = np.exp(log_q - log_q.max()) * np.outer(w_1, w_2)
    return (q.sum(1) @ first + q.sum(0) @ second) / q.sum()


def noisy(m, t, n, schedule, seed=0):
    alpha_bar = float(schedule.alpha_bar[t])
    eps = np.random.default_rng(seed).standard_normal(n)
    return alpha_bar**0.5 * signal(*m, n) + (1 - alpha_bar) ** 0.5 * eps, alpha_bar


PLACES = [(-10.3, 7.1), (-15.0, 15.0), (-5.0, 5.0), (-5.001, 14.99)]  # inside, and at the ends of the ranges


@pytest.mark.parametrize("m", PLACES)
@pytest.mark.parametrize("t", [1, 3, 20, 75, 120, 150])
def test_posterior_mean_is_the_double_integral(t, m):
    xt, alpha_bar = noisy(m, t, 100, COSINE)
    found = TwoBumps().posterior_mean(torch.from_numpy(xt)[None], t, COSINE)[0].numpy()
    assert_close(found, brute_force(xt, alpha_bar, 100, m), rtol=0, atol=1e-7)


@pytest.mark.parametrize("n", [2, 3, 8, 25, 41])
@pytest.mark.parametrize("t", [1, 4, 8])
def test_also_on_a_coarse_grid(n, t, chain):
    """Where a bump can fall between the points, and x_t says little about its place."""
    for seed, m in enumerate(PLACES):
        xt, alpha_bar = noisy(m, t, n, chain, seed)
        found = TwoBumps(n).posterior_mean(torch.from_numpy(xt)[None], t, chain)[0].numpy()
        assert_close(found, brute_force(xt, alpha_bar, n, m), rtol=0, atol=1e-7)


@pytest.mark.parametrize("t", [1, 1000])
def test_also_at_both_ends_of_the_usual_schedule(t):
    """beta_1 = 1e-4 pins each bump to 0.003; at t = 1000 nothing is left but the prior's mean."""
    schedule = linear_schedule()
    xt, alpha_bar = noisy((-9.87, 12.34), t, 100, schedule)
    found = TwoBumps().posterior_mean(torch.from_numpy(xt)[None], t, schedule)[0].numpy()
    assert_close(found, brute_force(xt, alpha_bar, 100, (-9.87, 12.34)), rtol=0, atol=1e-7)


@pytest.mark.parametrize("xt", [
    np.zeros(100),
    signal(-20.0, 20.0, 100),  # bumps outside their ranges: the mass piles up at the ends
    signal(0.0, 0.0, 100),
    5 * np.sin(np.arange(100.0)),  # four places as good as each other for each bump
    3 * signal(-7.0, 11.0, 100),
], ids=["zeros", "outside", "between", "waves", "too large"])
@pytest.mark.parametrize("t", [10, 90])
def test_also_for_an_x_t_that_no_signal_made(xt, t):
    """A sampler's early states, or a student's idea. The peak may be anywhere, so all panels are short."""
    found = TwoBumps().posterior_mean(torch.from_numpy(xt)[None], t, COSINE)[0].numpy()
    assert_close(found, brute_force(xt, float(COSINE.alpha_bar[t]), 100, (0, 0), panel=0.08), rtol=0, atol=1e-7)


@pytest.mark.parametrize("xt, mode", [(signal(-17.0, 17.0, 100), (-15, 15)), (signal(-3.0, 3.0, 100), (-5, 5))])
def test_also_where_almost_all_the_mass_lies_at_the_very_end_of_a_range(xt, mode):
    """A place outside the range and hardly any noise: q falls off within 0.0005 of the end."""
    found = TwoBumps().posterior_mean(torch.from_numpy(xt)[None], 1, COSINE)[0].numpy()
    assert_close(found, brute_force(xt, float(COSINE.alpha_bar[1]), 100, mode), rtol=0, atol=1e-7)


# The samples


def places(x, n):
    """(m_1, m_2) of clean float64 signals: log b is a parabola, so two points near the peak give its place exactly."""
    g, found = np.linspace(-20, 20, n), []
    for side in (g < 0, g >= 0):
        b, at = (x[:, side] + 1) / 2, g[side]
        i = np.minimum(b.argmax(1), side.sum() - 2)
        row = np.arange(len(x))
        found.append((at[i] + at[i + 1]) / 2 - np.log(b[row, i] / b[row, i + 1]) / (at[i + 1] - at[i]))
    return np.stack(found)


def test_samples_are_two_bumps_at_uniform_independent_places():
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        x = TwoBumps().sample(5000, torch.Generator().manual_seed(0)).numpy()
    finally:
        torch.set_default_dtype(default)
    m_1, m_2 = places(x, 100)
    assert x.shape == (5000, 100)
    assert_close(x, signal(m_1, m_2, 100), rtol=0, atol=1e-9)  # nothing but the two bumps
    assert kstest(m_1, uniform(-15, 10).cdf).pvalue > 1e-4
    assert kstest(m_2, uniform(5, 10).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(m_1, m_2)[0, 1]) < 5 / 5000**0.5
    assert x.min() >= -1 and x.max() <= 1 + 1e-10 and np.median(x.max(1)) > 0.9


def test_samples_have_the_default_dtype_and_follow_the_generator():
    before, data = torch.get_rng_state(), TwoBumps(30)
    one, same, other = (data.sample(4, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert one.shape == (4, 30) and one.dtype == torch.get_default_dtype() == torch.float32
    assert torch.equal(one, same) and (one != other).any()
    assert torch.equal(before, torch.get_rng_state())


# The denoiser


def test_the_three_predictions_and_the_score_say_the_same_thing(chain):
    t, data = torch.tensor([1, 4, 8]), TwoBumps(40)
    x0 = data.sample(3, torch.Generator().manual_seed(3)).double()
    xt = q_sample(x0, t, chain, generator=torch.Generator().manual_seed(4))
    alpha_bar = torch.tensor(np.cumprod(1 - chain.beta.numpy()))[t, None]
    x0_hat, eps_hat = data.posterior_mean(xt, t, chain), data.denoiser(chain)(xt, t)
    assert_close(data.denoiser(chain, "x0")(xt, t), x0_hat, rtol=0, atol=0)
    assert_close(alpha_bar.sqrt() * x0_hat + (1 - alpha_bar).sqrt() * eps_hat, xt, rtol=1e-10, atol=1e-12)
    x_prev = (xt - chain.beta[t, None] / (1 - alpha_bar).sqrt() * eps_hat) / chain.alpha[t, None].sqrt()
    assert_close(data.denoiser(chain, predicts="mean")(xt, t), x_prev, rtol=1e-10, atol=1e-12)
    assert_close(data.score(xt, t, chain), -eps_hat / (1 - alpha_bar).sqrt(), rtol=1e-10, atol=1e-12)


def test_score_is_the_slope_of_the_log_of_the_double_integral(chain):
    """Central differences of log q(x_t), itself summed over both places."""
    n, t, h = 12, 6, 1e-5
    xt, alpha_bar = noisy((-8.0, 9.0), t, n, chain)
    (m_1, w_1), (m_2, w_2) = axis(-15, -5, -8.0, 0.5), axis(5, 15, 9.0, 0.5)
    x0, w = signal(m_1[:, None], m_2, n).reshape(-1, n), np.outer(w_1, w_2).ravel()

    def log_density(x):
        return np.log(np.sum(w * np.exp(-((x - alpha_bar**0.5 * x0) ** 2).sum(1) / (2 * (1 - alpha_bar)))))

    slope = [(log_density(xt + h * e) - log_density(xt - h * e)) / (2 * h) for e in np.eye(n)[:4]]
    found = TwoBumps(n).score(torch.from_numpy(xt)[None], t, chain)[0, :4]
    assert_close(found.numpy(), np.array(slope), rtol=1e-6, atol=1e-7)


def test_the_least_simple_loss_at_cosine_150():
    """0.0191 per dimension (from 100,000 signals), the mark for every network; here within 5 standard errors."""
    data, generator = TwoBumps(), torch.Generator().manual_seed(5)
    x0 = data.sample(200, generator)
    losses = torch.stack([simple_loss(data.denoiser(COSINE), x0, COSINE, generator=generator) for _ in range(20)])
    error = losses.std() / 20**0.5
    assert error < 0.0005 and abs(losses.mean() - 0.0191) < 5 * error


@pytest.mark.parametrize("t", [5, 50, 120])
def test_the_denoiser_is_the_minimiser(t):
    """Its error has nothing left to learn from x_t: it is uncorrelated with every function of x_t, within 5 s.e."""
    data, generator = TwoBumps(), torch.Generator().manual_seed(6)
    eps = torch.randn(1000, 100, dtype=torch.float64, generator=generator)
    xt = q_sample(data.sample(1000, generator).double(), t, COSINE, noise=eps)
    best = data.denoiser(COSINE)(xt, t)
    for function in (torch.linspace(-1, 1, 100), xt, (3 * xt).sin(), best):
        product = ((best - eps) * function).sum(1)
        assert product.mean().abs() < 5 * product.std() / 1000**0.5


# Shapes, dtypes, devices, gradients, wrong input


METHODS = ("posterior_mean", "score", "eps", "x0", "mean")


def result(method, xt, t, schedule, data):
    if method in PREDICTORS:
        return data.denoiser(schedule, method)(xt, t)
    return getattr(data, method)(xt, t, schedule)


@given(B=st.integers(1, 4), n=st.integers(2, 30), method=st.sampled_from(METHODS),
       dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_any_shape_and_dtype_and_t_per_sample_is_t_row_by_row(B, n, method, dtype, chain):
    data, xt = TwoBumps(n), torch.linspace(-2, 1, B * n, dtype=dtype).reshape(B, n)
    kept, t = xt.clone(), torch.tensor([1, 8, 3, 5])[:B]
    found = result(method, xt, t, chain, data)
    rows = [result(method, xt[i : i + 1].double(), int(t[i]), chain, data) for i in range(B)]
    assert found.dtype == dtype and found.shape == (B, n) and torch.equal(xt, kept)
    # Rows together share the finest row's nodes, hence 1e-9; below float64 only the last rounding is lost.
    tolerance = 1e-9 if dtype == torch.float64 else torch.finfo(dtype).eps
    assert_close(found.double(), torch.cat(rows), rtol=tolerance, atol=min(tolerance, 1e-6))


@pytest.mark.parametrize("t", [1, 150, torch.tensor([1, 75, 150])])
def test_on_the_meta_device(t):
    xt = torch.zeros(3, 100, device="meta")
    for method in METHODS:
        found = result(method, xt, t, COSINE, TwoBumps())
        assert found.is_meta and found.dtype == torch.float32 and found.shape == (3, 100)


def test_gradients_flow_to_x_and_to_beta():
    beta = torch.tensor([0.1, 0.35, 0.2], dtype=torch.float64, requires_grad=True)
    xt, t = torch.linspace(-1, 1, 27, dtype=torch.float64).reshape(3, 9).requires_grad_(), torch.tensor([1, 2, 3])
    for method in METHODS:
        assert torch.autograd.gradcheck(lambda x, b, m=method: result(m, x, t, Schedule(b), TwoBumps(9)), (xt, beta))


def test_a_batch_too_large_for_one_piece_is_the_same(chain):
    """Large batches are worked off in pieces."""
    data, xt = TwoBumps(4), torch.linspace(-2, 2, 60_000, dtype=torch.float64).reshape(-1, 4)
    whole = data.posterior_mean(xt, 1, chain)
    assert_close(whole[-3:], data.posterior_mean(xt[-3:], 1, chain), rtol=0, atol=1e-8)
    t = torch.arange(len(xt)) % chain.T + 1  # a t for each row goes with its piece
    each = data.posterior_mean(xt, t, chain)
    assert_close(each[-3:], data.posterior_mean(xt[-3:], t[-3:], chain), rtol=0, atol=1e-8)
    assert data.posterior_mean(xt[:0], 1, chain).shape == (0, 4)


def test_a_bump_stands_at_its_place():
    data = TwoBumps(41)  # the grid points are the whole numbers from -20 to 20
    assert_close(data.grid[data.bump(torch.tensor([-7.0, 13.0])).argmax(1)], torch.tensor([-7.0, 13.0]).double())
    assert_close(data.bump(torch.tensor(13.0, dtype=torch.float64))[34], torch.tensor(math.exp(-0.5)).double(),
                 rtol=1e-7, atol=0)


def test_there_is_no_density():
    with pytest.raises(ValueError, match=r"no log_prob: two degrees of freedom in R\^100 have no density"):
        TwoBumps().log_prob(torch.zeros(2, 100))


@pytest.mark.parametrize("n", [1, 0, -5, 100.0, True, None])
def test_n_must_be_a_number_of_points(n):
    with pytest.raises(ValueError, match=f"n must be an int >= 2, not .*{n}"):
        TwoBumps(n)


XT = torch.zeros(3, 100)


@pytest.mark.parametrize("xt, t, message", [
    (torch.zeros(100), 1, r"xt must have shape \(B, 100\), not \(100,\)"),
    (torch.zeros(3, 50), 1, r"xt must have shape \(B, 100\), not \(3, 50\)"),
    (torch.zeros(3, 1, 100), 1, r"xt must have shape \(B, 100\), not \(3, 1, 100\)"),
    (torch.zeros(3, 100, dtype=torch.int64), 1, "xt must be a floating-point .* torch.int64"),
    (torch.full((3, 100), math.inf), 1, "xt must be finite"),
    ("x", 1, "xt must be a floating-point torch tensor, not str"),
    (XT, 0, "t must .*, not 0"),
    (XT, 151, "t must .*, not 151"),
    (XT, 1.0, "t must .*, not float 1.0"),
    (XT, True, "t must .*, not bool True"),
    (XT, torch.tensor([1, 2]), r"t must .* shape \(2,\)"),
    (XT, torch.tensor([1, 2, 151]), r"t must lie in 1\.\.150, not 151"),
    (XT, torch.tensor([1.0, 2.0, 3.0]), "t must .* torch.float32"),
])
@pytest.mark.parametrize("method", METHODS)
def test_wrong_questions_are_refused(method, xt, t, message):
    with pytest.raises(ValueError, match=message):
        result(method, xt, t, COSINE, TwoBumps())


def test_other_wrong_arguments_are_refused():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    for n in (0, 2.0, True):
        with pytest.raises(ValueError, match=f"n must be an int >= 1, not .*{n}"):
            TwoBumps().sample(n, generator)
    assert torch.equal(before, generator.get_state())
    with pytest.raises(ValueError, match="generator must be a torch.Generator, not int 0"):
        TwoBumps().sample(3, 0)
    with pytest.raises(ValueError, match="predicts must be one of 'eps', 'x0', 'mean', not 'v'"):
        TwoBumps().denoiser(COSINE, "v")
