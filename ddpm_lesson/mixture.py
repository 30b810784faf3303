"""Data whose exact denoiser is known: the Gaussian mixture.

The exact denoiser is the best that any network could be: it predicts E[x_0 | x_t]. Every sampler, loss and bound
runs with it, so a picture can be judged with no network to blame. Computed in float64 where the device has it.
"""

import math

import torch

from .inputs import check_choice, check_count, check_generator, check_tensor, time_index
from .posterior import posterior_weights
from .predictors import PREDICTORS, eps_from_x0, mean_from_x0


class GaussianMixture:
    """The mixture sum_k weights[k] * N(means[k], std[k]**2 I) over R^d, with everything about its noising known.

    weights: (K,), > 0, summing to 1; means: (K, d); std: a number or (K,), >= 0. Samples are (B, d).
    std = 0 makes the data a finite set of points. ValueError for anything else.
    """

    def __init__(self, weights, means, std):
        self.weights, self.means = _table("weights", weights, 1), _table("means", means, 2)
        K = len(self.means)
        if len(self.weights) != K or not (self.weights > 0).all() or abs(float(self.weights.sum()) - 1) > 1e-6:
            raise ValueError(f"weights must be {K} numbers > 0 that sum to 1, one per mean, not "
                             f"{self.weights.tolist()}")
        self.weights = self.weights / self.weights.sum()
        self.std = _table("std", std, 0, 1)
        if self.std.shape not in ((), (K,)) or not (self.std >= 0).all():
            raise ValueError(f"std must be a finite number >= 0, or {K} of them, one per mean, not {self.std.tolist()}")
        self.std = self.std.expand(K)

    def sample(self, n, generator=None):
        """n draws from the mixture, (n, d), in the default dtype on the CPU."""
        check_generator(generator)
        k = torch.multinomial(self.weights, check_count("n", n), replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], dtype=torch.float64, generator=generator)
        return (self.means[k] + self.std[k, None] * z).to(torch.get_default_dtype())

    def log_prob(self, x):
        """log density at x in nats, (B,).

        log_prob = logsumexp_k(log weights[k] + log N(x; means[k], std[k]**2 I))

        ValueError where a std is 0: a point has no density.
        """
        self._check_x("x", x)
        if not (self.std > 0).all():
            raise ValueError("log_prob needs every std > 0: a component with std 0 is a point and has no density")
        x_exact = exact(x)
        log_joint = self._log_joint(x_exact, 1.0, self.std.to(x_exact) ** 2)
        return (log_joint - self.means.shape[1] / 2 * math.log(2 * math.pi)).logsumexp(1).to(x)

    def noised(self, t, schedule):
        """The mixture that x_t follows, q(x_t): another GaussianMixture.

        means_t = alpha_bar_t.sqrt() * means;  std_t**2 = alpha_bar_t * std**2 + 1 - alpha_bar_t
        Lecture 000, "Forward jump", averaged over the data.

        t: an int in 0..T; t = 0 gives the data back.
        """
        alpha_bar_t = schedule.alpha_bar.detach()[time_index(t, schedule, (), lowest=0)]
        return GaussianMixture(self.weights, alpha_bar_t.sqrt() * self.means,
                               (alpha_bar_t * self.std**2 + 1 - alpha_bar_t).sqrt())

    def posterior_mean(self, xt, t, schedule):
        """E[x_0 | x_t], (B, d): the exact x_0 predictor.

        sum_k r[k] * m[k], r = q(k | x_t), m[k] = means[k] + gain[k] * (xt - alpha_bar_t.sqrt() * means[k])
        Lecture 000, "x_0 Predictor (2)"; each component is a product of Gaussians.

        t: int or (B,) in 1..T.
        """
        x, scale, r, gain, _ = self._given_component(xt, t, schedule)
        mean = (r * (1 - gain * scale)) @ self.means.to(x) + (r * gain).sum(1, keepdim=True) * x
        return mean.to(xt)

    def denoiser(self, schedule, predicts="eps"):
        """The exact denoiser, a callable (xt, t) -> prediction: no function of (x_t, t) has a smaller error.

        eps_hat = (xt - alpha_bar_t.sqrt() * E[x_0 | x_t]) / (1 - alpha_bar_t).sqrt(), for predicts "eps".
        """
        return exact_denoiser(self.posterior_mean, schedule, predicts)

    def score(self, xt, t, schedule):
        """The gradient of log q(x_t) at xt, (B, d).

        score = (alpha_bar_t.sqrt() * E[x_0 | x_t] - xt) / (1 - alpha_bar_t) = -E[eps | x_t] / (1 - alpha_bar_t).sqrt()
        Ho et al. 2020, Section 3.2; lecture 002, "Reverse Process" (Tweedie's formula).
        """
        return exact_score(self.posterior_mean, xt, t, schedule)

    def reverse_moments(self, xt, t, schedule):
        """Mean (B, d) and covariance (B, d, d) of the true reverse kernel q(x_{t-1} | x_t).

        mean = mu_tilde(xt, E[x_0 | x_t]);  cov = beta_tilde_t * I + weight_x0**2 * Cov(x_0 | x_t)
        The law of total variance over `posterior_mean_var`. At t = 1 they are E and Cov of x_0 given x_1.
        """
        mean, cov = self._moments(xt, t, schedule)
        index = time_index(t, schedule, cov.shape)
        weight_x0, beta_tilde_t = posterior_weights(index, schedule)[1], schedule.beta_tilde[index]
        cov = weight_x0.to(cov) ** 2 * cov + beta_tilde_t.to(cov) * torch.eye(cov.shape[-1]).to(cov)
        return mean_from_x0(xt.to(mean), mean, t, schedule).to(xt), cov.to(xt)

    def _check_x(self, name, x):
        if check_tensor(name, x).ndim != 2 or x.shape[1] != self.means.shape[1]:
            raise ValueError(f"{name} must have shape (B, {self.means.shape[1]}), not {tuple(x.shape)}")

    def _log_joint(self, x, scale, var):
        """log weights[k] + log N(x; scale * means[k], var[k] I) without the constant in 2 pi, (B, K)."""
        weights, means = self.weights.to(x), self.means.to(x)
        distance = scale * torch.cdist(x / scale, means, compute_mode="donot_use_mm_for_euclid_dist")
        return weights.log() - (means.shape[1] * var.log() + distance**2 / var) / 2

    def _given_component(self, xt, t, schedule):
        """Per component k: q(k | x_t), the gain of E[x_0 | x_t, k], and the variance of x_0 left within it."""
        self._check_x("xt", xt)
        x, data_var = exact(xt), self.std.to(exact(xt)) ** 2
        alpha_bar_t = schedule.alpha_bar[time_index(t, schedule, xt.shape)].to(x)  # () or (B, 1)
        var = alpha_bar_t * data_var + 1 - alpha_bar_t  # (K,) or (B, K): of x_t within a component
        r = self._log_joint(x, alpha_bar_t.sqrt(), var).softmax(1)  # (B, K)
        return x, alpha_bar_t.sqrt(), r, alpha_bar_t.sqrt() * data_var / var, data_var * (1 - alpha_bar_t) / var

    def _moments(self, xt, t, schedule):
        """E[x_0 | x_t], (B, d), and Cov[x_0 | x_t], (B, d, d)."""
        x, scale, r, gain, left = self._given_component(xt, t, schedule)
        means = self.means.to(x)
        m = means + gain[..., None] * (x[:, None] - scale[..., None] * means)  # (B, K, d): E[x_0 | x_t, k]
        mean = (r[..., None] * m).sum(1)
        spread = m - mean[:, None]
        between = torch.einsum("bk,bki,bkj->bij", r, spread, spread)
        return mean, between + (r * left).sum(1)[:, None, None] * torch.eye(x.shape[1]).to(x)


def exact_denoiser(posterior_mean, schedule, predicts):
    """The callable (xt, t) -> prediction behind `.denoiser`, from a function that gives E[x_0 | x_t]."""
    convert = {"eps": eps_from_x0, "mean": mean_from_x0}.get(check_choice("predicts", predicts, PREDICTORS))

    def denoiser(xt, t):
        x = exact(check_tensor("xt", xt))
        x0_hat = posterior_mean(x, t, schedule)
        return (x0_hat if convert is None else convert(x, x0_hat, t, schedule)).to(xt)

    return denoiser


def exact_score(posterior_mean, xt, t, schedule):
    """The gradient of log q(x_t) behind `.score`, from a function that gives E[x_0 | x_t]."""
    x = exact(check_tensor("xt", xt))
    x0_hat = posterior_mean(x, t, schedule)
    alpha_bar_t = schedule.alpha_bar[time_index(t, schedule, xt.shape)].to(x)
    return ((alpha_bar_t.sqrt() * x0_hat - x) / (1 - alpha_bar_t)).to(xt)


def exact(x):
    """x in the precision of the exact answers: float64, or float32 on Apple's GPUs, which have no more."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def _table(name, values, *ndims):
    try:
        table = torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be numbers, not {values!r:.60}") from None
    if table.ndim not in ndims or not table.numel() or not table.isfinite().all():
        wanted = " or ".join(("()", "(K,)", "(K, d)")[ndim] for ndim in ndims)
        raise ValueError(f"{name} must be finite numbers of shape {wanted}, not {values!r:.60}")
    return table
