"""Every measure against a closed form, a slow version of itself from scipy or scikit-learn, or `elbo_terms`.

Sabotage of evaluate.py that turned this file red: see each test's docstring.
"""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors
from torch.testing import assert_close

from ddpm_lesson import GaussianMixture, Schedule, cosine_schedule, elbo_terms
from ddpm_lesson.data import digits
from ddpm_lesson.evaluate import (
    _edges,
    bound_by_t,
    decoder_nats,
    frechet_distance,
    nearest_neighbours,
    over_repeats,
    precision_recall,
    read_classes,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


# --- the Fréchet distance


def features_with(mean, root, n=200, seed=0):
    """n features whose mean is exactly `mean` and whose covariance is exactly root @ root.T."""
    z = randn(n, len(mean), seed=seed)
    z = z - z.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(z.mT @ z / (n - 1)), z.mT, upper=False)  # (d, n)
    return mean + (root @ white).mT


@pytest.mark.parametrize("d", [1, 2, 7, 40])
def test_frechet_distance_of_two_known_gaussians(d):
    """Against scipy's square root of C_a C_b.

    Broken: C / N; C_a + C_b without the roots; the trace of R_a R_b^T; 1 for 2 in front of the cross term; the mean
    part not squared; no mean part; the columns not centred.
    """
    roots, means = randn(2, d, d, seed=1), randn(2, d, seed=2)
    covs = roots @ roots.mT
    expected = (means[0] - means[1]).square().sum() + np.trace(
        (covs[0] + covs[1]).numpy() - 2 * sqrtm((covs[0] @ covs[1]).numpy()).real)
    a, b = (features_with(means[i], roots[i], n=150 + 50 * i, seed=i) for i in (0, 1))
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(float(expected), rel=1e-8)


def test_frechet_distance_by_hand():
    """In one dimension it is (m_a - m_b)^2 + (s_a - s_b)^2; here with n = 2 and 3 and the variances 2 and 1."""
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [5.0], [6.0]])
    assert frechet_distance(a, b) == pytest.approx(16 + (2**0.5 - 1) ** 2, rel=1e-12)


def test_frechet_distance_between_lines():
    """Two covariances of rank 1 in a space of 5, the same for 2 samples as for many: s^2 + r^2 - 2 s r |cos|."""
    u, v = (x / x.norm() for x in randn(2, 5, seed=3))
    for n in (2, 50):
        s, r = (features_with(torch.zeros(1).double(), torch.tensor([[std]]).double(), n, seed=n) for std in (3.0, 0.5))
        expected = 9 + 0.25 - 2 * 3 * 0.5 * (u @ v).abs().item()
        assert frechet_distance(s * u, r * v) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n, d", [(300, 6), (4, 9), (2, 1)])
def test_frechet_distance_of_a_set_to_itself_its_shift_its_turn_and_its_scale(n, d):
    """0; |d|^2; unchanged when both turn; the square of the scale. Also where n <= d and the covariance is singular.

    Broken: eigenvalues of C_a C_b, whose rounding's root is 1e-7 where these are 1e-15; a root of the result.
    """
    a, b, shift = randn(n, d, seed=4), 2 * randn(n, d, seed=5) + 1, randn(d, seed=6)
    turn = torch.linalg.qr(randn(d, d, seed=7)).Q
    size = a.square().sum().item() / n
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12 * size)
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-12 * size)
    assert frechet_distance(a, a + shift) == pytest.approx(shift.square().sum().item(), rel=1e-10)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-10)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * frechet_distance(a, b), rel=1e-10)


def test_frechet_distance_is_computed_in_float64_whatever_it_gets():
    """Broken: no .double(): the float32 sums of numbers near 1000 are off by more than the distance."""
    a, b = randn(500, 8, seed=8).float() / 100 + 1000, randn(500, 8, seed=9).float() / 100 + 1000
    assert frechet_distance(a, b) == frechet_distance(a.double(), b.double()) > 0


def test_images_are_read_as_rows():
    a, b = randn(20, 1, 2, 3, seed=10), randn(30, 1, 2, 3, seed=11)
    assert frechet_distance(a, b) == frechet_distance(a.flatten(1), b.flatten(1))
    assert precision_recall(a, b) == precision_recall(a.flatten(1), b.flatten(1))


# --- precision and recall


def slow_share(points, centres, k):
    radius = NearestNeighbors(n_neighbors=k).fit(centres).kneighbors()[0][:, -1]  # without X: itself is left out
    return (cdist(points, centres) <= radius).any(1).mean()


@pytest.mark.parametrize("n, m, k", [(60, 40, 1), (40, 60, 3), (1300, 1100, 5), (5, 4, 3)])
def test_precision_and_recall_against_a_whole_distance_matrix(n, m, k):
    """With more than 1000 rows too, where the work is done in parts.

    Broken: kthvalue(k), which counts a sample as its own neighbour; k + 2; all for any; the radius of the other set;
    precision and recall exchanged; only the first 1000 rows; the ball's radius squared.
    """
    real, fake = randn(n, 4, seed=1), 1.5 * randn(m, 4, seed=2) + 0.5
    expected = slow_share(fake.numpy(), real.numpy(), k), slow_share(real.numpy(), fake.numpy(), k)
    assert precision_recall(real, fake, k) == pytest.approx(expected, abs=1e-12)
    assert precision_recall(fake, real, k) == pytest.approx(expected[::-1], abs=1e-12)
    assert n < 10 or 0.05 < expected[0] < expected[1] < 1


def test_precision_and_recall_by_hand():
    """Balls of radius 1, 1, 2 around 0, 1, 3, whose edge counts; and of 6, 0.25, 0.25 around -1, 5, 5.25.

    Broken: < for <=; the mean distance for the k-th.
    """
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[-1.0], [5.0], [5.25]])
    assert precision_recall(real, fake, k=1) == (2 / 3, 1.0)


def test_precision_and_recall_of_the_same_of_far_and_of_equal_samples():
    """And of samples far from the origin. Broken: distances by the expanded square, whose rounding is the larger."""
    x, y = randn(50, 64, seed=3), randn(50, 64, seed=4)
    assert 0 < precision_recall(x, y)[0] < 1 and precision_recall(x + 1e8, y + 1e8) == precision_recall(x, y)
    x = 30 * x + 1000
    assert precision_recall(x, x.flip(0)) == (1.0, 1.0)
    assert precision_recall(x, x + 1e6) == (0.0, 0.0)
    assert precision_recall(x[:9].repeat(4, 1), x[:9].repeat(5, 1)) == (1.0, 1.0)


def test_dropping_a_mode_costs_recall_and_noise_costs_precision():
    centres = 20 * torch.eye(10, dtype=torch.float64)
    label = torch.arange(500) % 10
    real, good = (centres[label] + randn(500, 10, seed=seed) for seed in (4, 5))
    floor = precision_recall(real, good)
    dropped = precision_recall(real, good[label != 3])
    noisy = precision_recall(real, torch.cat([good[:400], 100 * randn(100, 10, seed=6)]))
    assert min(floor) > 0.75
    assert dropped[0] == pytest.approx(floor[0], abs=0.03) and dropped[1] < floor[1] - 0.07
    assert noisy[0] < floor[0] - 0.15 and noisy[1] > floor[1] - 0.1


# --- nearest neighbours and classes


def test_nearest_neighbours_against_all_distances():
    """Broken: the second nearest; the index into the samples; squared distances."""
    samples, training = randn(30, 1, 4, 4, seed=1).float(), randn(70, 1, 4, 4, seed=2).float()
    distance, index = nearest_neighbours(samples, training)
    table = cdist(samples.flatten(1).double(), training.flatten(1).double())
    assert_close(distance, torch.from_numpy(table.min(1)), rtol=1e-12, atol=0)
    assert index.dtype == torch.int64 and index.tolist() == table.argmin(1).tolist()


def test_a_copy_is_found_at_distance_exactly_0():
    """Broken: the search's own distances, which expand the square and leave rounding."""
    training = torch.rand(500, 784, generator=seeded(3)) * 2 - 1
    order = torch.randperm(500, generator=seeded(4))[:100]
    distance, index = nearest_neighbours(training[order], training)
    assert torch.equal(index, order) and not distance.any() and distance.dtype == torch.float64


def test_read_classes_by_hand():
    """Broken: shares without minlength; of a sum of probabilities; counts for shares; the second class's probability;
    exp without the softmax's shift.
    """
    logits = torch.tensor([[0.0, math.log(3), -math.inf], [5.0, 0.0, -math.inf]]).nan_to_num(neginf=-1e4)
    shares, confidence = read_classes(torch.cat([logits, 1e4 * logits[1:], logits[1:]]))
    assert_close(shares, torch.tensor([0.75, 0.25, 0.0], dtype=torch.float64), rtol=0, atol=0)
    expected = torch.tensor([0.75, 1 / (1 + math.exp(-5)), 1.0, 1 / (1 + math.exp(-5))], dtype=torch.float64)
    assert_close(confidence, expected, rtol=1e-7, atol=0)


# --- repeats


def test_a_floor_takes_disjoint_halves():
    """Broken: two draws in place of one, which share rows; the same draw in every repeat; with replacement."""
    real, seen = torch.arange(24.0)[:, None], []

    def measure(a, b):
        seen.append((a, b))
        return a.mean() - b.mean()

    mean, std = over_repeats(measure, real, n=12, repeats=4, generator=seeded())
    values = np.array([(a.mean() - b.mean()).item() for a, b in seen])
    assert len(seen) == 4 and len({tuple(a.flatten().tolist()) for a, _ in seen}) == 4
    for a, b in seen:
        assert a.shape == b.shape == (12, 1) and torch.equal(torch.cat([a, b]).flatten().sort().values, real[:, 0])
    assert mean.item() == pytest.approx(values.mean(), abs=1e-6)
    assert std.item() == pytest.approx(values.std(ddof=1), rel=1e-6)


def test_a_score_draws_from_real_and_from_fake():
    """Broken: fake against fake; real's order used for both; more than n rows; several numbers averaged into one."""
    real, fake, seen = torch.arange(30.0)[:, None], -torch.arange(1, 21.0)[:, None], []

    def measure(a, b):
        seen.append((a, b))
        return len(a), b.mean().item()

    mean, std = over_repeats(measure, real, fake, n=20, repeats=3, generator=seeded())
    for a, b in seen:
        assert len(a.unique()) == len(b.unique()) == 20 and (a >= 0).all() and (b < 0).all()
        assert a[:, 0].tolist() != seen[0][0][:, 0].tolist() or a is seen[0][0]
    assert mean.tolist() == pytest.approx([20, -10.5]) and std.tolist() == pytest.approx([0, 0], abs=1e-6)
    assert mean.dtype == std.dtype == torch.float64


def test_the_floor_of_frechet_shrinks_with_n_and_noise_lifts_the_score():
    """On the pixels of the 8x8 digits; a check of the direction, which is what the lesson rests on."""
    images, _ = digits()
    images = images[:, :, 1:7, 1:7]
    small, _ = over_repeats(frechet_distance, images, n=200, generator=seeded())
    floor, spread = over_repeats(frechet_distance, images, n=800, generator=seeded())
    noisy = [over_repeats(frechet_distance, images, images + std * torch.randn(images.shape, generator=seeded()), n=800,
                          generator=seeded())[0] for std in (0.0, 0.3, 0.6)]
    assert small > 2 * floor > 0 and spread < 0.3 * floor
    assert noisy[0] < floor and floor + 5 * spread < noisy[1] < 0.5 * noisy[2]


@pytest.mark.parametrize("call", [
    lambda g: over_repeats(frechet_distance, randn(40, 2), n=10, generator=g),
    lambda g: bound_by_t(lambda xt, t: xt, randn(9, 2), CHAIN, levels=None, generator=g)[2:],
])
def test_draws_come_from_the_generator_and_change_nothing_else(call):
    before = torch.get_rng_state()
    one, same, other = ([float(x) for x in call(seeded(seed))] for seed in (1, 1, 2))
    assert one == same and all(a != b for a, b in zip(one, other, strict=True))
    assert torch.equal(before, torch.get_rng_state())


# --- the bound by t


CHAIN = Schedule([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14])
MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, -0.3]], 0.3)
BITS = 2 * math.log(2)  # nats per bit per dimension, for d = 2


def biased(xt, t):
    """A model that is wrong in its own way at every t, so that a slipped index shows."""
    return 0.8 * xt + 0.3 * torch.cos(1.7 * t[:, None].to(xt))


@pytest.mark.parametrize("strata", [1, 3, 7, 20])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("predicts, sigma, decoder_var", [("eps", "posterior", None), ("x0", "beta", 0.2),
                                                          ("mean", "posterior", 0.05)])
def test_bound_by_t_agrees_with_elbo_terms(predicts, sigma, decoder_var, exact, strata):
    """Each term's mean over 3,000 samples within 4.5 standard errors of the mean of `elbo_terms`, all t visited there.

    Broken: t + 1 or t - 1 in the posterior, the network or sigma; strata not weighted by their width; the first
    stratum from t = 1 or t = 3, the last without T; sigma for its square; L_T missing in the total; 1 / (N log 2)
    without d; `levels` ignored; error not divided by sqrt(N); one t for a whole batch (the error is then too small).
    """
    x0 = MIXTURE.sample(3000, seeded(1)).double()
    model = MIXTURE.denoiser(CHAIN, predicts) if exact else biased
    settings = dict(sigma=sigma, decoder_var=decoder_var, predicts=predicts)
    bound = bound_by_t(model, x0, CHAIN, **settings, levels=None, strata=strata, generator=seeded(2))
    terms = elbo_terms(model, x0, CHAIN, **settings, generator=seeded(3))
    assert bound.L_T == pytest.approx(terms.L_T.mean().item() / BITS, rel=1e-12)
    totals = terms.total / BITS  # the same x0: their spread is common to both, so the two errors overstate it
    assert abs(bound.total - totals.mean()) < 4.5 * (bound.error**2 + totals.var() / 3000) ** 0.5
    assert abs(bound.L_0 - terms.L_0.mean() / BITS) < 4.5 * (2 * terms.L_0.var() / 3000) ** 0.5 / BITS
    assert bound.L_t.shape == (9,) and not bound.L_t[:2].any()
    edges = _edges(8, strata)
    for low, high in zip(edges[1:-1], edges[2:], strict=True):
        inside = terms.L_t[low:high] / BITS
        assert len(set(bound.L_t[low:high].tolist())) == 1
        assert abs(bound.L_t[low] - inside.mean()) < 4.5 * (2 * inside.var() / 3000) ** 0.5  # all t's spread, or more
    assert bound.total == pytest.approx(bound.L_T + bound.L_t.sum().item() + bound.L_0, rel=1e-12)


def test_the_error_is_the_spread_of_the_total():
    """Over 300 runs with new images and new noise; the mean of the runs is the bound that 200,000 draws give.

    Broken: error without sqrt(N), or of the mean over strata.
    """
    generator = seeded(4)
    runs = [bound_by_t(biased, MIXTURE.sample(60, generator), CHAIN, levels=None, strata=3, generator=generator)
            for _ in range(300)]
    totals, errors = (torch.tensor([getattr(run, name) for run in runs]) for name in ("total", "error"))
    assert 0.85 < errors.square().mean().sqrt() / totals.std() < 1.15
    expected = elbo_terms(biased, MIXTURE.sample(200_000, generator), CHAIN, generator=generator).total.mean() / BITS
    assert abs(totals.mean() - expected) < 4.5 * totals.std() / 300**0.5


@given(T=st.integers(1, 2000), strata=st.integers(1, 2100))
def test_strata_cover_every_step_once(T, strata):
    edges = _edges(T, strata)
    assert edges[:2] == [1, 2] and edges[-1] == T + 1 and all(a < b for a, b in zip(edges, edges[1:], strict=False))
    assert len(edges) == 2 + min(strata, T - 1)


def test_strata_are_short_where_t_is_small():
    assert _edges(1000, 4) == [1, 2, 9, 43, 207, 1001]  # times 4.7 or so each
    assert _edges(8, 7) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("T, gap", [(50, 0.4), (400, 0.05)])
def test_on_discrete_data_the_bound_lies_above_the_entropy_and_comes_near_it(T, gap):
    """Four equally likely levels carry 2 bits. With the exact denoiser what is lost above them falls like 1 / T.

    Broken: strata not weighted; the density for the probability (far below 2 bits); nats for bits.
    """
    x0 = (torch.arange(8000) % 4)[:, None] / 1.5 - 1
    model, schedule = GaussianMixture([0.25] * 4, [[-1.0], [-1 / 3], [1 / 3], [1.0]], 0.0), cosine_schedule(T)
    bound = bound_by_t(model.denoiser(schedule), x0, schedule, levels=4, strata=49, batch=8000, generator=seeded(5))
    assert 2 - 4 * bound.error < bound.total < 2 + gap + 4 * bound.error
    assert bound.error < 0.02


def test_a_chain_of_one_step_has_two_terms():
    x0 = (torch.arange(6).reshape(2, 3) % 4) / 1.5 - 1
    bound = bound_by_t(lambda xt, t: torch.zeros_like(xt), x0, Schedule([0.4]), predicts="x0", levels=4)
    assert bound.L_t.tolist() == [0, 0] and bound.total == pytest.approx(bound.L_T + bound.L_0)
    nats = decoder_nats(x0, torch.zeros(2, 3), 0.4, 4) / (3 * math.log(2))
    assert bound.L_0 == pytest.approx(nats.mean().item(), rel=1e-6)
    totals = Schedule([0.4]).terminal_kl(x0) / (3 * math.log(2)) + nats
    assert bound.error == pytest.approx(totals.std().item() / 2**0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_network_gets_images_of_x0s_dtype_in_batches(dtype):
    """Broken: float64 handed to a float32 network; all images at once; gradients kept."""
    network, sizes = torch.nn.Conv2d(1, 1, 3, padding=1).to(dtype), []

    def model(xt, t):
        assert xt.dtype == dtype and t.dtype == torch.int64 and t.shape == xt.shape[:1] and not torch.is_grad_enabled()
        sizes.append(len(xt))
        return network(xt)

    x0 = torch.randint(256, (7, 1, 4, 4), generator=seeded(6)).to(dtype) / 127.5 - 1
    bound = bound_by_t(model, x0, CHAIN, strata=2, batch=3, generator=seeded(7))
    assert sizes == [3, 3, 3, 3, 3, 3, 1, 1, 1]
    assert math.isfinite(bound.total) and bound.L_t.dtype == torch.float64


# --- the decoder


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("var", [1e-6, 1e-4, 0.04, 100.0])
def test_the_levels_probabilities_sum_to_1(levels, var):
    """For means inside, on the edge and far outside.

    Broken: finite ends at -1 and 1; h from levels in place of levels - 1; var for its root.
    """
    x = torch.arange(levels, dtype=torch.float64)[:, None] / (levels - 1) * 2 - 1
    for mean in (-3.0, -1.0, -0.2, 0.001, 0.999, 1.5):
        p = (-decoder_nats(x, torch.full_like(x, mean), var, levels)).exp()
        assert p.sum().item() == pytest.approx(1, rel=1e-10)
        expected = norm.cdf(x[:, 0] + 1 / (levels - 1), mean, var**0.5) - norm.cdf(x[:, 0] - 1 / (levels - 1), mean,
                                                                                  var**0.5)
        assert_close(p[1:-1], torch.from_numpy(expected)[1:-1], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("x, mean", [(0.2, 0.2), (-0.6, 0.9), (0.6, -0.9), (1.0, -1.0), (-1.0, 1.0), (1.0, 0.99)])
def test_far_from_the_mean_the_logarithm_stays_exact(x, mean):
    """Against 200 digits of the left tail, where the right tail is mirrored; P goes down to 10^-8600.

    Broken: log(Phi - Phi); no flip into the left tail; the flip without its exchange of the two ends.
    """
    levels, var = 11, 1e-4
    with mpmath.workdps(200):
        ends = [(mpmath.mpf(round(x * 10) + side) / 10 - mpmath.mpf(mean)) / mpmath.sqrt(var) for side in (-1, 1)]
        ends = [-mpmath.inf if x == -1 else ends[0], mpmath.inf if x == 1 else ends[1]]
        low, high = ends if x <= mean else (-ends[1], -ends[0])
        tails = [mpmath.erfc(-end / mpmath.sqrt(2)) / 2 for end in (low, high)]
        expected = float(-mpmath.log(tails[1] - tails[0]))
    got = decoder_nats(torch.tensor([[x]]).double(), torch.tensor([[mean]]).double(), var, levels)
    assert got.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_wide_decoder_is_the_density_times_the_width_of_a_level():
    """Away from the two ends; for 256 levels the two differ by log2(127.5) = 6.99 bits per dimension."""
    x, mean = torch.randint(1, 255, (50, 8), generator=seeded(8)).double() / 127.5 - 1, randn(50, 8, seed=9) / 3
    density = decoder_nats(x, mean, 0.25, levels=None)
    assert_close(density, -torch.from_numpy(norm.logpdf(x, mean, 0.5)).sum(1), rtol=1e-12, atol=0)
    assert_close(decoder_nats(x, mean, 0.25) - density, torch.full((50,), 8 * math.log(127.5)).double(), rtol=1e-4,
                 atol=0)


def test_the_decoder_adds_over_pixels_and_takes_float32_images():
    x = (torch.arange(256).reshape(2, 1, 8, 16) / 127.5 - 1).float()  # as data.mnist scales them
    mean = 0.9 * x
    whole, single = decoder_nats(x, mean, 0.01), decoder_nats(x.reshape(256, 1), mean.reshape(256, 1), 0.01)
    assert_close(whole, single.reshape(2, 128).sum(1), rtol=1e-12, atol=0)
    assert whole.dtype == torch.float64
    assert_close(decoder_nats(-x, -mean, 0.01), whole, rtol=1e-6, atol=0)


# --- wrong arguments


X = randn(12, 3)
ON = torch.randint(256, (4, 3), generator=seeded()) / 127.5 - 1
REPEATS = {"measure": frechet_distance, "real": X, "n": 6}
BOUND = {"denoiser": lambda xt, t: xt, "x0": ON, "schedule": CHAIN}
SETS = [(X.tolist(), "must be a floating-point torch tensor, not list"), (X.long(), "not a tensor of torch.int64"),
        (X / 0, "must be finite"), (X[:, 0], r"\(N, d\) or \(N, C, H, W\) with N >= \d, not \(12,\)"),
        (X[:0], r"not \(0, 3\)"), (X[:, :0], r"not \(12, 0\)")]


@pytest.mark.parametrize("function, right, name, wrong, message", [
    *((frechet_distance, {"features_a": X, "features_b": X}, name, wrong, f"{name} must .*{message}"
       if not message.startswith("must") else f"{name} {message}")
      for name in ("features_a", "features_b") for wrong, message in [*SETS, (X[:1], r"N >= 2, not \(1, 3\)")]),
    (frechet_distance, {"features_a": X, "features_b": X}, "features_b", X[:, :2],
     r"features_a and features_b must have the same shape but for N, not .*\(12, 3\).*\(12, 2\)"),
    *((precision_recall, {"features_real": X, "features_fake": X}, name, X[:3],
       rf"{name} must .* with N >= 4, not \(3, 3\)") for name in ("features_real", "features_fake")),
    *((precision_recall, {"features_real": X, "features_fake": X}, "k", k, f"k must be an int >= 1, not .*{k}")
      for k in (0, -1, 2.0, True, None)),
    (nearest_neighbours, {"samples": X, "training": X}, "samples", X[:, :2], "samples and training must have the same"),
    (nearest_neighbours, {"samples": X, "training": X}, "training", X[:0], r"training must .* N >= 1, not \(0, 3\)"),
    (read_classes, {"logits": X}, "logits", X[0], r"logits must have shape \(N, d\) .*, not \(3,\)"),
    *((over_repeats, REPEATS, name, wrong, message) for name, wrong, message in [
        ("n", 7, r"real must hold at least 14 rows for n = 7, not shape \(12, 3\)"),
        ("n", 0, "n must be an int >= 1, not 0"), ("n", 1.5, "n must be an int >= 1, not float 1.5"),
        ("repeats", 1, "repeats must be an int >= 2, not 1"), ("fake", X[:5], "fake must hold at least 6 rows"),
        ("real", X[:11], "real must hold at least 12 rows for n = 6"), ("real", None, "real must be a floating-point"),
        ("generator", 3, "generator must be a torch.Generator, not int 3")]),
    *((decoder_nats, {"x0": ON, "mean": ON, "var": 0.1}, name, wrong, message) for name, wrong, message in [
        ("var", 0, "var must be a finite number > 0, not 0"), ("var", -1.0, "not -1.0"), ("var", math.inf, "not inf"),
        ("var", math.nan, "not nan"), ("var", "a", "not 'a'"), ("var", True, "not True"), ("var", None, "not None"),
        ("levels", 1, "levels must be an int >= 2, not 1"), ("levels", 2.5, "levels must be an int >= 2, not float"),
        ("levels", 100, r"x0 must lie on the 100 levels -1, -1 \+ 1/49.5, .., 1, not at -?[01]\."),
        ("x0", ON + 2.0, "x0 must lie on the 256 levels"), ("x0", X[:4], "x0 must lie on the 256 levels"),
        ("x0", ON * 0 + 1.0078125, "x0 must lie on the 256 levels -1, .*, 1, not at 1.0078"),
        ("mean", ON[:, :1], r"mean must have x0's shape \(B, ...\), not \(4, 1\) for \(4, 3\)"),
        ("mean", ON / 0, "mean must be finite"), ("x0", None, "x0 must be a floating-point torch tensor")]),
    *((bound_by_t, BOUND, name, wrong, message) for name, wrong, message in [
        ("x0", ON[:1], r"x0 must hold at least 2 samples, as one has no error, not shape \(1, 3\)"),
        ("x0", ON[:, :0], r"not shape \(4, 0\)"), ("x0", X, "x0 must lie on the 256 levels"),
        ("x0", torch.tensor(0.5), "x0 must have a batch dimension"), ("x0", ON / 0, "x0 must be finite"),
        ("levels", 100, "x0 must lie on the 100 levels"), ("levels", 0, "levels must be an int >= 2, not 0"),
        ("strata", 0, "strata must be an int >= 1, not 0"), ("batch", 0, "batch must be an int >= 1, not 0"),
        ("batch", 2.0, "batch must be an int >= 1, not float 2.0"), ("sigma", "alpha", "sigma must be one of"),
        ("predicts", "v", "predicts must be one of"), ("decoder_var", 0, "decoder_var must be a finite number > 0"),
        ("generator", 3, "generator must be a torch.Generator, not int 3"),
        ("denoiser", lambda xt, t: xt[0], r"denoiser must return a tensor of xt's shape \(4, 3\), not \(3,\)")]),
])
def test_wrong_input_is_refused_before_anything_is_drawn(function, right, name, wrong, message):
    """Broken: each check taken out; levels looked at only once the noise is drawn."""
    generator = seeded(1)
    before, kept = generator.get_state(), torch.get_rng_state()
    drawn = {"generator": generator} if function in (over_repeats, bound_by_t) else {}
    with pytest.raises(ValueError, match=message):
        function(**right | drawn | {name: wrong})
    assert torch.equal(kept, torch.get_rng_state())
    assert name == "denoiser" or torch.equal(before, generator.get_state())
