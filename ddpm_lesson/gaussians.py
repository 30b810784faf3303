"""Distances between Gaussians, in nats."""

import functools
import math

import torch

from .inputs import check_shapes


def kl_gaussian(mean_q, var_q, mean_p, var_p):
    """KL(N(mean_q, var_q I) || N(mean_p, var_p I)) in nats, summed over all dimensions but the first, (B,).

    kl = sum(log(var_p / var_q) + var_q / var_p - 1 + (mean_q - mean_p)**2 / var_p) / 2
    Lecture 004, "Denoising probabilities", with the dimension d that the slide leaves out.

    mean_q, mean_p: (B, ...); var_q, var_p: variances (never standard deviations), > 0. All four broadcast; plain
    numbers are allowed. ValueError for a variance <= 0, values that are not finite, shapes that do not broadcast.
    """
    q_and_p = _tensors(mean_q=mean_q, var_q=var_q, mean_p=mean_p, var_p=var_p)
    for name in ("var_q", "var_p"):
        if not q_and_p[name].is_meta and not (q_and_p[name] > 0).all():
            raise ValueError(f"{name} must be > 0: its smallest value is {float(q_and_p[name].min()):.6g}")
    shape = check_shapes(**q_and_p)
    mean_q, var_q, mean_p, var_p = q_and_p.values()
    kl = ((var_p / var_q).log() + var_q / var_p - 1 + (mean_q - mean_p) ** 2 / var_p) / 2
    return kl.expand(shape).reshape(shape[0], math.prod(shape[1:])).sum(1) if shape else kl


def kl_full(mean_q, cov_q, mean_p, cov_p):
    """KL(N(mean_q, cov_q) || N(mean_p, cov_p)) in nats for full covariance matrices, (...).

    kl = (tr(cov_p^-1 cov_q) - d + (mean_p - mean_q)^T cov_p^-1 (mean_p - mean_q) + log det cov_p - log det cov_q) / 2
    Lecture 002, Appendix C; lecture 004, "Denoising probabilities".

    means: (..., d); covariances: (..., d, d), symmetric positive definite. ValueError otherwise.
    Computed in float32 at least: there is no Cholesky factorization in half precision.
    """
    q_and_p = _tensors(mean_q=mean_q, cov_q=cov_q, mean_p=mean_p, cov_p=cov_p)
    dtype = functools.reduce(torch.promote_types, (x.dtype for x in q_and_p.values()), torch.float32)
    mean_q, cov_q, mean_p, cov_p = (x.to(dtype) for x in q_and_p.values())
    d = mean_q.shape[-1] if mean_q.ndim else 0
    for name, x in q_and_p.items():
        wanted = (d,) if name.startswith("mean") else (d, d)
        if not d or tuple(x.shape[-len(wanted):]) != wanted:
            raise ValueError(f"{name} must have shape (..., {', '.join(['d'] * len(wanted))}) with d = {d}, "
                             f"not {tuple(x.shape)}")
    check_shapes(mean_q=mean_q[..., 0], cov_q=cov_q[..., 0, 0], mean_p=mean_p[..., 0], cov_p=cov_p[..., 0, 0])
    root_q, root_p = _cholesky("cov_q", cov_q), _cholesky("cov_p", cov_p)
    shift = torch.linalg.solve_triangular(root_p, (mean_p - mean_q).unsqueeze(-1), upper=False)  # (..., d, 1)
    ratio = torch.linalg.solve_triangular(root_p, root_q, upper=False)  # tr(cov_p^-1 cov_q) = |ratio|^2
    log_det = (root_p.diagonal(dim1=-2, dim2=-1).log() - root_q.diagonal(dim1=-2, dim2=-1).log()).sum(-1)
    return (ratio.square().sum((-2, -1)) - d + shift.square().sum((-2, -1))) / 2 + log_det


def _tensors(**values):
    """The values as finite floating-point tensors; plain numbers become like the first tensor beside them."""
    for name, v in values.items():
        is_number = isinstance(v, (int, float)) and not isinstance(v, bool)
        if not is_number and not (torch.is_tensor(v) and v.is_floating_point()):
            found = f"a tensor of {v.dtype}" if torch.is_tensor(v) else f"{type(v).__name__} {v!r:.60}"
            raise ValueError(f"{name} must be a floating-point tensor or a number, not {found}")
    like = next((v for v in values.values() if torch.is_tensor(v)), torch.zeros((), dtype=torch.float64))
    tensors = {n: v if torch.is_tensor(v) else like.new_tensor(float(v)) for n, v in values.items()}
    for name, x in tensors.items():
        if not x.is_meta and not x.isfinite().all():
            raise ValueError(f"{name} must be finite: it holds nan or inf")
    return tensors


def _cholesky(name, cov):
    # Measured against the largest entry: rounding leaves its trace where the exact value would be 0.
    rounding = math.sqrt(torch.finfo(cov.dtype).eps) * cov.detach().abs().amax((-2, -1), keepdim=True)
    if not cov.is_meta and ((cov - cov.mT).abs() > rounding).any():
        raise ValueError(f"{name} must be symmetric: it differs from its transpose")
    root, info = torch.linalg.cholesky_ex(cov)
    if not cov.is_meta and info.any():
        raise ValueError(f"{name} must be positive definite: its smallest eigenvalue is "
                         f"{float(torch.linalg.eigvalsh(cov.detach()).min()):.6g}")
    return root
