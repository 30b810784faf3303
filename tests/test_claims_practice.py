"""The register's claims on practice: array lengths, the size of an image, what the exact minimiser samples.

Sabotage of the package that turned this file red: no last step in the loop, noise at t = 1, beta for beta_tilde,
distances doubled or not squared in the mixture, a shifted cumulative product, v / 255 in the loader, nats for bits.
And of the formulas here: 3 values per pixel made 1, the softmax without its 2, more noise at t = 1.
"""

import functools
import gzip
import hashlib
import math
import os
import struct
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import chisquare
from sklearn.datasets import load_digits
from torch.testing import assert_close

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    TwoBumps,
    bits_per_dim,
    constant_schedule,
    cosine_schedule,
    data,
    linear_schedule,
    p_step,
    posterior_mean_var,
    quadratic_schedule,
    sample,
)

SCHEDULES = [linear_schedule(), quadratic_schedule(40), constant_schedule(7, 0.3), cosine_schedule(30),
             Schedule([0.05 * s for s in range(1, 11)]), Schedule([0.4])]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "quad", "const", "cosine", "T10", "T1"])
LINEAR = SCHEDULES[0]


# --- arrays


@pytest.mark.claim("schedule-array-length")
@every_schedule
def test_alpha_bar_at_t_is_the_product_of_the_first_t_alphas(schedule):
    """T entries for t = 1..T, and here one more in front: abar_0 = 1. Products of exact rationals."""
    T, alphas = schedule.T, [1 - Fraction(b) for b in schedule.beta[1:].tolist()]
    assert len(alphas) == T and len(schedule.alpha[1:]) == T and len(schedule.alpha_bar) == T + 1
    for t in {0, 1, 2, T // 2, T - 1, T} & set(range(T + 1)):
        product = float(math.prod(alphas[:t], start=Fraction(1)))
        assert schedule.alpha_bar[t].item() == pytest.approx(product, rel=1e-11)
    zero_based = schedule.alpha_bar[1:]  # entry i of an array without the padding is step t = i + 1
    assert all(zero_based[i] == schedule.alpha_bar[i + 1] for i in (0, T // 2, T - 1) if i < T)


@pytest.mark.claim("schedule-array-length")
@every_schedule
def test_alpha_bar_0_is_what_makes_the_first_posterior_right(schedule):
    """With abar_0 = 1, beta_tilde_1 = 0 and mu_tilde_1 = x_0; with the last entry, Python's index -1, they are not."""
    x0, xt = torch.tensor([[[0.7]], [[1.2]]], dtype=torch.float64)
    mean, var = posterior_mean_var(xt, x0, 1, schedule)
    assert mean.item() == 0.7 and var.item() == 0.0 and schedule.alpha_bar[0] == 1
    beta_1, abar_1, wrapped = (float(v) for v in (schedule.beta[1], schedule.alpha_bar[1], schedule.alpha_bar[-1]))
    assert abs((1 - wrapped) / (1 - abar_1) * beta_1) > 0.1 * beta_1


# --- images and signals


def write_idx(folder, monkeypatch, images):
    """The four files of an MNIST with these images, in folder, as the package expects them."""
    labels = np.arange(len(images), dtype=np.uint8) % 10
    for name in data.MD5:
        array = images if "images" in name else labels
        content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
        (folder / name).write_bytes(body := gzip.compress(content))
        monkeypatch.setitem(data.MD5, name, hashlib.md5(body).hexdigest())
    monkeypatch.setenv("DDPM_LESSON_DATA", str(folder))


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """20 images in MNIST's own format, every grey level among them."""
    images = np.arange(20 * 784).astype(np.uint8).reshape(20, 28, 28)
    write_idx(tmp_path, monkeypatch, images)
    return images


@pytest.mark.claim("mnist-dimension")
def test_a_file_of_images_is_uint8_of_28_by_28_and_the_loader_scales_it(small_mnist, tmp_path):
    """The claim's raw type is what the file holds; the loader gives (N, 1, 28, 28) in [-1, 1], as DESIGN says."""
    raw = data.read_idx(tmp_path / "train-images-idx3-ubyte.gz")
    assert raw.shape == (20, 28, 28) and raw.dtype == np.uint8 and (raw.min(), raw.max()) == (0, 255)
    images, _ = data.mnist()
    assert images.shape == (20, 1, 28, 28) and images[0].numel() == 784
    assert (images.min(), images.max()) == (-1, 1)
    assert np.array_equal(((images[:, 0].double() + 1) * 127.5).round().numpy(), small_mnist)


REAL_SIZES = {"train": (47_040_016, 60_000), "t10k": (7_840_016, 10_000)}  # bytes unpacked, images


@pytest.mark.claim("mnist-dimension")
@pytest.mark.erratum("004:61")
@pytest.mark.parametrize("split", REAL_SIZES)
def test_004_61_the_files_hold_one_value_per_pixel_not_three(split):
    """The unpacked sizes of the published files: 16 bytes of header, then one byte per value of every image."""
    size, n = REAL_SIZES[split]
    printed, correct = 28 * 28 * 3, 28 * 28
    assert (size - 16) % n == 0 and (size - 16) // n == correct == 784
    assert printed == 2352 == 3 * correct and 16 + n * printed - size == 2 * 784 * n  # bytes that are not there


@pytest.mark.erratum("004:61")
def test_004_61_a_file_that_claims_three_values_per_pixel_is_too_short(small_mnist, tmp_path):
    """The loader refuses the printed shape and takes the corrected one, on the same bytes."""
    path = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(path) as file:
        pixels = file.read()[16:]
    path.write_bytes(gzip.compress(struct.pack(">BBBB4I", 0, 0, 8, 4, 20, 28, 28, 3) + pixels))
    with pytest.raises(ValueError, match=r"shape \(20, 28, 28, 3\) needs 47040 values, the file has 15680"):
        data.read_idx(path)
    path.write_bytes(gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 20, 28, 28) + pixels))
    assert data.read_idx(path)[0].size == 784


@pytest.mark.mnist
@pytest.mark.claim("mnist-dimension")
@pytest.mark.erratum("004:61")
def test_004_61_the_real_files_hold_784_values_per_image():
    paths = [data._find(name) for name in data.MD5 if "images" in name]
    if None in paths:
        missing = "the four MNIST files are not on this machine (data/README.md says where to put them)"
        (pytest.fail if os.environ.get("DDPM_LESSON_REQUIRE_MNIST") == "1" else pytest.skip)(missing)
    for path, (size, n) in zip(paths, REAL_SIZES.values(), strict=True):
        with gzip.open(path) as file:
            assert len(file.read()) == size
        images = data.read_idx(path)
        assert images.shape == (n, 28, 28) and images.dtype == np.uint8
        assert (images.min(), images.max()) == (0, 255)


@pytest.mark.claim("mnist-dimension")
@pytest.mark.parametrize("n", [2, 100, 37])
def test_the_artificial_signals_have_as_many_dimensions_as_points(n):
    signals = TwoBumps(n).sample(5, torch.Generator().manual_seed(0))
    assert signals.shape == (5, n)


@pytest.mark.claim("mnist-dimension")
def test_bits_per_dimension_of_the_printed_dimension_would_be_a_third():
    nats = torch.tensor([784 * math.log(2) * 3.0])  # 3 bits for each of the 784 values
    assert_close(bits_per_dim(nats, 784), torch.tensor([3.0]))
    assert_close(bits_per_dim(nats, 2352), torch.tensor([1.0]))


# --- the exact minimiser of the training loss


POINTS = torch.tensor([[-1.7], [-0.8], [0.1], [0.9], [1.6]], dtype=torch.float64)  # a training set of 5 numbers
FINITE = GaussianMixture([0.2] * 5, POINTS, 0.0)


@functools.cache  # a thousand steps: two tests read the same samples
def exact_chain(sigma):
    """4000 seeded chains from N(0, 1) with the exact minimiser of the training loss on POINTS."""
    generator = torch.Generator().manual_seed(0)
    xT = torch.randn(4000, 1, dtype=torch.float64, generator=generator)
    return sample(FINITE.denoiser(LINEAR), LINEAR, xT=xT, sigma=sigma, generator=generator)


def distances(points, x):
    return torch.cdist(x, points, compute_mode="donot_use_mm_for_euclid_dist")  # the other mode is good to 1e-8 only


def distance_to(points, x):
    return distances(points, x).min(1).values


@pytest.mark.claim("exact-minimiser-memorises")
@pytest.mark.parametrize("schedule, t", [(LINEAR, 10), (LINEAR, 400), (LINEAR, 1000), (SCHEDULES[4], 5)])
def test_the_minimiser_on_a_finite_set_is_a_softmax_over_the_set(schedule, t):
    abar = math.prod(1 - b for b in schedule.beta[1 : t + 1].tolist())
    for points in (POINTS.numpy(), np.random.default_rng(1).normal(size=(30, 4))):
        xt = np.random.default_rng(2).normal(size=(8, points.shape[1]))
        square = ((xt[:, None] - math.sqrt(abar) * points) ** 2).sum(2)
        expected = softmax(-square / (2 * (1 - abar)), axis=1) @ points
        data = GaussianMixture([1 / len(points)] * len(points), points, 0.0)
        found = data.posterior_mean(torch.from_numpy(xt), t, schedule)
        assert_close(found, torch.from_numpy(expected), rtol=1e-9, atol=1e-11)


@pytest.mark.claim("exact-minimiser-memorises")
def test_no_other_function_has_a_smaller_loss_on_the_finite_set():
    """The loss is convex, so it is enough that every small change costs; exact sum over points and noise nodes."""
    schedule, t = SCHEDULES[4], 6
    abar = math.prod(1 - b for b in schedule.beta[1 : t + 1].tolist())
    z = torch.linspace(-8, 8, 401, dtype=torch.float64)
    w = (-(z**2) / 2).exp() / (-(z**2) / 2).exp().sum()
    xt = (math.sqrt(abar) * POINTS + math.sqrt(1 - abar) * z).reshape(-1, 1)  # (5 * 401, 1)
    eps, w = z.repeat(5)[:, None], w.repeat(5)[:, None] / 5

    def loss(change):
        return (w * (FINITE.denoiser(schedule)(xt, t) + change - eps) ** 2).sum()

    for change in (xt, xt.sin(), xt**2, torch.ones_like(xt)):
        assert loss(1e-3 * change) > loss(0) < loss(-1e-3 * change)


@pytest.mark.claim("exact-minimiser-memorises")
@pytest.mark.parametrize("sigma", ["posterior", "beta"])
def test_its_samples_are_the_training_points_in_their_proportions(sigma):
    """4000 chains; each frequency within 5 standard errors of 1/5, and a chi-square test of all."""
    x = exact_chain(sigma)
    assert distance_to(POINTS, x).max() < 1e-9
    counts = distances(POINTS, x).argmin(1).bincount(minlength=5)
    assert (counts / 4000 - 0.2).abs().max() < 5 * math.sqrt(0.2 * 0.8 / 4000)
    assert chisquare(counts).pvalue > 1e-4


@pytest.mark.claim("exact-minimiser-memorises")
def test_noise_at_t_1_would_leave_its_own_variance_on_the_points():
    """The package adds none. With sqrt(beta_1) z, beta_1 = 1e-4: 5 standard errors of a deviation are 5 / sqrt(2 n)."""
    z = torch.randn(4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    distance = distance_to(POINTS, exact_chain("beta") + 0.01 * z)
    assert abs(distance.square().mean().sqrt() / 0.01 - 1) < 5 / math.sqrt(2 * 4000)
    assert 0.03 < distance.max() < 0.05  # the register has 0.037
    last = p_step(FINITE.denoiser(LINEAR), POINTS, 1, LINEAR, sigma="beta", noise=torch.ones(5, 1).double())
    assert distance_to(POINTS, last).max() < 1e-12


@pytest.mark.claim("exact-minimiser-memorises")
def test_a_coarse_first_step_ends_between_the_points():
    """The condition: beta_1 must be small against the squared distances. Here 0.4 against 0.64 and more."""
    coarse = Schedule([0.4, 0.5, 0.6])
    x = sample(FINITE.denoiser(coarse), coarse, xT=torch.linspace(-2, 2, 101, dtype=torch.float64)[:, None],
               generator=torch.Generator().manual_seed(3))
    assert (distance_to(POINTS, x) > 0.1).double().mean() > 0.5
    close_pair = GaussianMixture([0.5, 0.5], [[0.0], [0.005]], 0.0)  # 0.005^2 is small against beta_1 = 1e-4
    x = sample(close_pair.denoiser(LINEAR), LINEAR, steps=200, generator=torch.Generator().manual_seed(4),
               xT=torch.linspace(-2, 2, 101, dtype=torch.float64)[:, None])
    assert (distance_to(close_pair.means, x) > 1e-4).double().mean() > 0.5


@pytest.mark.claim("exact-minimiser-memorises")
def test_on_real_images_too_it_returns_training_images():
    """30 of scikit-learn's digits in 64 dimensions, a linear schedule of 100 rescaled steps, 40 chains."""
    images = torch.tensor(load_digits().data[:30] / 8 - 1)
    schedule = linear_schedule(100, rescale=True)
    x = sample(GaussianMixture([1 / 30] * 30, images, 0.0).denoiser(schedule), schedule,
               xT=torch.randn(40, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(5)),
               generator=torch.Generator().manual_seed(6))
    assert distance_to(images, x).max() < 1e-9
    assert len(distances(images, x).argmin(1).unique()) > 10  # not always the same one


# --- said from experience


@pytest.mark.claim("empirical-claims")
def test_the_two_variances_of_the_reverse_step_meet_for_large_t():
    """The one provable part of this claim: beta_t / beta_tilde_t -> 1. That results are similar, that one predictor or
    schedule works best, that the simple loss makes better samples: experience, not theorems, and nothing here tests it.
    """
    abar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    ratio = ((LINEAR.sigma("beta") / LINEAR.sigma("posterior")) ** 2)[2:].numpy()
    assert np.allclose(ratio, (1 - abar[1:]) / (1 - abar[:-1]), rtol=1e-9, atol=0)
    assert (f"{ratio[0]:.1f}", f"{ratio[-1]:.4f}") == ("2.2", "1.0000")
    assert (ratio > 1).all() and (np.diff(ratio) < 0).all()  # steadily towards 1
    assert LINEAR.sigma("posterior")[1] == 0 < LINEAR.sigma("beta")[1]  # and infinite at t = 1


@pytest.mark.claim("empirical-claims")
@every_schedule
def test_the_two_variances_differ_by_at_most_the_snr_before_the_step(schedule):
    """beta_t / beta_tilde_t = 1 + beta_t * abar_{t-1} / (1 - abar_{t-1}), so it tends to 1 wherever abar tends to 0."""
    beta = schedule.beta[1:].numpy()
    for t in range(2, schedule.T + 1):
        before = np.prod(1 - beta[: t - 1])
        ratio = (schedule.sigma("beta")[t] / schedule.sigma("posterior")[t]).item() ** 2
        assert ratio - 1 == pytest.approx(beta[t - 1] * before / (1 - before), rel=1e-7, abs=1e-12)
        assert 1 < ratio < 1 + before / (1 - before)
