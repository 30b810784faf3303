"""KL divergences against quadrature, torch.distributions, and what a KL must do whatever its formula.

Seen to fail on wrong versions: q and p swapped in the logarithm, the ratio or the distance, log2, a missing 1, half, d
or square, a plus sign, var_p squared, mean for sum, the sum over the last dimension only or before broadcasting; the
factors of q and p swapped, log det with the wrong sign or factor, an elementwise tolerance for symmetry.
"""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.hermite_e import hermegauss
from scipy import integrate, stats
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from ddpm_lesson import kl_full, kl_gaussian

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)
means, variances = st.floats(-3, 3), st.floats(0.05, 5)


def randn(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def positive(*shape, seed=0):
    return 0.2 + torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def covariance(*shape, d, seed=0):
    root = randn(*shape, d, d, seed=seed)
    return root @ root.mT + 0.1 * torch.eye(d, dtype=torch.float64)


def log_density(x, mean, var):
    return -((x - mean) ** 2 / var + math.log(2 * math.pi * var)) / 2


# --- one variance for all directions, or one per value ---

@given(means, variances, means, variances)
def test_kl_gaussian_is_the_integral_that_defines_it(mean_q, var_q, mean_p, var_p):
    def integrand(x):
        log_q, log_p = log_density(x, mean_q, var_q), log_density(x, mean_p, var_p)
        return math.exp(log_q) * (log_q - log_p)

    width = 12 * math.sqrt(var_q)
    integral, _ = integrate.quad(integrand, mean_q - width, mean_q + width, epsabs=1e-13, epsrel=1e-12, limit=200)
    assert float(kl_gaussian(mean_q, var_q, mean_p, var_p)) == pytest.approx(integral, rel=1e-9, abs=1e-11)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_kl_gaussian_sums_torchs_over_every_dimension_but_the_first(shape, data):
    def narrowed():  # any argument may be narrower than the result
        return [n if data.draw(st.booleans()) else 1 for n in shape][data.draw(st.integers(0, len(shape))):]

    mean_q, mean_p = randn(*shape), randn(*narrowed(), seed=1)
    var_q, var_p = positive(*narrowed()), positive(*narrowed(), seed=1)
    kl = kl_gaussian(mean_q, var_q, mean_p, var_p)
    assert kl.shape == (shape[0],)
    expected = kl_divergence(Normal(mean_q, var_q.expand(shape).sqrt()), Normal(mean_p.expand(shape), var_p.sqrt()))
    close(kl, expected.reshape(shape[0], -1).sum(1))


def test_the_batch_may_come_from_any_argument():
    for place in range(4):
        arguments = [0.3, 0.5, -1.0, 2.0]
        expected = kl_gaussian(*arguments)
        assert expected.shape == ()
        arguments[place] = torch.full((5, 2), arguments[place], dtype=torch.float64)
        close(kl_gaussian(*arguments), (2 * expected).expand(5))


@given(means, variances, means, variances)
def test_kl_is_never_negative_and_0_only_for_equals(mean_q, var_q, mean_p, var_p):
    kl = float(kl_gaussian(mean_q, var_q, mean_p, var_p))
    assert kl >= -1e-13
    assert abs(float(kl_gaussian(mean_q, var_q, mean_q, var_q))) == 0
    if abs(mean_q - mean_p) > 1e-3 or abs(var_q - var_p) > 1e-2:
        assert kl > 0


def test_the_order_matters_unless_the_variances_agree():
    close(kl_gaussian(0.3, 0.5, -1.0, 0.5), kl_gaussian(-1.0, 0.5, 0.3, 0.5))
    close(kl_gaussian(0.3, 0.5, -1.0, 0.5), torch.tensor(1.3**2, dtype=torch.float64))  # |difference|² / (2 var)
    # By hand, in nats: var 1 against 4 gives (log 4 + 1/4 - 1) / 2, and 4 against 1 gives (-log 4 + 4 - 1) / 2.
    close(kl_gaussian(0, 1, 0, 4), torch.tensor((math.log(4) - 0.75) / 2, dtype=torch.float64))
    close(kl_gaussian(0, 4, 0, 1), torch.tensor((3 - math.log(4)) / 2, dtype=torch.float64))


def test_the_dimension_multiplies_the_variance_part_only():
    one, hundred = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 100, dtype=torch.float64)
    close(kl_gaussian(hundred, 1.0, 0.0, 4.0), 100 * kl_gaussian(one, 1.0, 0.0, 4.0))
    shifted = hundred.clone()
    shifted[0, 0] = 2.0
    close(kl_gaussian(shifted, 4.0, 0.0, 4.0), torch.tensor([0.5], dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kl_gaussian_in_lower_precision_costs_only_rounding(dtype):
    arguments = [v.to(dtype) for v in (randn(3, 4), positive(3, 4), randn(3, 4, seed=1), positive(3, 4, seed=1))]
    got, exact = kl_gaussian(*arguments), kl_gaussian(*(v.double() for v in arguments))
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), exact, rtol=16 * torch.finfo(dtype).eps, atol=0)


def test_kl_gaussian_does_not_depend_on_the_device():
    x = torch.empty(2, 3, device="meta")
    for got in (kl_gaussian(x, x, x, x), kl_gaussian(x, 1.0, 0.0, 2)):
        assert (got.shape, got.dtype, got.device.type) == ((2,), torch.float32, "meta")


def test_kl_gaussian_of_an_empty_batch_is_empty():
    assert kl_gaussian(torch.zeros(0, 3), 1.0, 0.0, 1.0).shape == (0,)


def test_gradients_flow_through_kl_gaussian():
    arguments = [v.requires_grad_() for v in (randn(2, 3), positive(2, 1), randn(2, 3, seed=1), positive(1))]
    assert torch.autograd.gradcheck(kl_gaussian, arguments)


# --- full covariances ---

@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 4), st.integers(0, 99))
def test_kl_full_agrees_with_torchs(batch, d, seed):
    q = randn(*batch, d, seed=seed), covariance(*batch, d=d, seed=seed + 1)
    p = randn(*batch, d, seed=seed + 2), covariance(*batch, d=d, seed=seed + 3)
    kl = kl_full(*q, *p)
    assert kl.shape == tuple(batch)
    close(kl, kl_divergence(MultivariateNormal(*q), MultivariateNormal(*p)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_kl_full_is_the_expectation_that_defines_it(d):
    """Gauss-Hermite quadrature, exact here because log q - log p is quadratic."""
    (mean_q, cov_q), (mean_p, cov_p) = [(randn(d, seed=s), covariance(d=d, seed=s)) for s in (1, 2)]
    nodes, weights = (torch.from_numpy(v) for v in hermegauss(4))
    z = torch.cartesian_prod(*[nodes] * d).reshape(-1, d)
    w = torch.cartesian_prod(*[weights] * d).reshape(-1, d).prod(1) / (2 * math.pi) ** (d / 2)
    x = (mean_q + z @ torch.linalg.cholesky(cov_q).T).numpy()
    q, p = (stats.multivariate_normal(m.numpy(), c.numpy()) for m, c in ((mean_q, cov_q), (mean_p, cov_p)))
    expected = w @ torch.from_numpy(q.logpdf(x) - p.logpdf(x)).reshape(-1)
    close(kl_full(mean_q, cov_q, mean_p, cov_p), expected)


def test_kl_full_of_diagonal_covariances_is_kl_gaussian():
    mean_q, var_q, mean_p, var_p = randn(5, 3), positive(5, 3), randn(5, 3, seed=1), positive(5, 3, seed=1)
    close(kl_full(mean_q, var_q.diag_embed(), mean_p, var_p.diag_embed()), kl_gaussian(mean_q, var_q, mean_p, var_p))


def test_kl_full_does_not_change_under_an_affine_map():
    (mean_q, cov_q), (mean_p, cov_p) = [(randn(3, seed=s), covariance(d=3, seed=s)) for s in (1, 2)]
    a, shift = randn(3, 3, seed=3) + 2 * torch.eye(3, dtype=torch.float64), randn(3, seed=4)
    moved = [(a @ m + shift, a @ c @ a.T) for m, c in ((mean_q, cov_q), (mean_p, cov_p))]
    close(kl_full(*moved[0], *moved[1]), kl_full(mean_q, cov_q, mean_p, cov_p), rtol=1e-9)


def test_kl_full_batches_broadcast():
    mean_q, cov_q, mean_p, cov_p = randn(4, 1, 2), covariance(d=2), randn(3, 2, seed=1), covariance(4, 3, d=2, seed=1)
    kl = kl_full(mean_q, cov_q, mean_p, cov_p)
    assert kl.shape == (4, 3)
    close(kl[2, 1], kl_full(mean_q[2, 0], cov_q, mean_p[1], cov_p[2, 1]))


def test_rounding_does_not_make_a_covariance_asymmetric():
    c, s = math.cos(1.1), math.sin(1.1)
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    turned = (turn * 0.3) @ turn.T  # 0.3 I, with rounding errors of either sign beside the diagonal
    assert not torch.equal(turned, turned.T)
    zero, eye = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    close(kl_full(zero, turned, zero, 0.3 * eye), torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kl_full_works_in_float32_at_least(dtype):
    arguments = [v.to(dtype) for v in (randn(2), torch.eye(2), randn(2, seed=1), 2 * torch.eye(2))]
    got = kl_full(*arguments)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), kl_full(*(v.double() for v in arguments)), rtol=1e-6, atol=1e-6)
    arguments[0] = arguments[0].double()
    assert kl_full(*arguments).dtype == torch.float64  # mixed dtypes give the widest


def test_kl_full_does_not_depend_on_the_device():
    mean, cov = torch.empty(4, 2, device="meta"), torch.empty(4, 2, 2, device="meta")
    got = kl_full(mean, cov, mean, cov)
    assert (got.shape, got.dtype, got.device.type) == ((4,), torch.float32, "meta")


def test_gradients_flow_through_kl_full():
    def kl(mean_q, root_q, mean_p, root_p):
        eye = torch.eye(2, dtype=torch.float64)
        return kl_full(mean_q, root_q @ root_q.T + eye, mean_p, root_p @ root_p.T + eye)

    arguments = [randn(*shape, seed=s).requires_grad_() for s, shape in enumerate([(2,), (2, 2), (2,), (2, 2)])]
    assert torch.autograd.gradcheck(kl, arguments)


def test_symmetry_is_judged_by_the_size_of_each_matrix_of_a_batch():
    mean, eye = torch.zeros(2, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    rounded = 1e6 * eye
    rounded[0, 1] = 1e-3  # one part in 1e9: rounding
    assert kl_full(mean, torch.stack([rounded, eye]), mean, eye).isfinite().all()
    skew = eye.clone()
    skew[0, 1] = 1e-3  # the same number, beside entries of 1: not rounding, though the other matrix is large
    for name, cov in (("cov_q", torch.stack([rounded, skew])), ("cov_q", skew / 1e6)):
        with pytest.raises(ValueError, match=f"{name} must be symmetric"):
            kl_full(mean, cov, mean, eye)


def test_a_covariance_of_zeros_is_refused_as_not_positive_definite():
    mean, eye = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="cov_q must be positive definite"):
        kl_full(mean, 0 * eye, mean, eye)


def test_a_batch_of_covariances_that_does_not_fit_is_named():
    mean, eye = torch.zeros(2, 2), torch.eye(2)
    with pytest.raises(ValueError, match=r"cov_q \(3,\)"):
        kl_full(mean, eye.expand(3, 2, 2), mean, eye)
