"""The bound on -log p(x_0), taken apart in the lecture's two ways. Both have the same value; their noise differs."""

import math
from typing import NamedTuple

import torch

from .forward import q_sample, q_step
from .gaussians import kl_gaussian
from .inputs import check_choice, check_count, check_tensor
from .posterior import posterior_mean_var
from .predictors import PREDICTORS, predict_mean


class ElboTerms(NamedTuple):
    """The terms of -ELBO in nats, each >= 0 only where it is a KL: L_T (B,), L_t (T+1, B), L_0 (B,)."""

    L_T: torch.Tensor
    L_t: torch.Tensor
    L_0: torch.Tensor

    @property
    def total(self):
        """-ELBO in nats, (B,): L_T + sum of L_t + L_0, an upper bound on -log p(x_0)."""
        return self.L_T + self.L_t.sum(0) + self.L_0


def elbo_terms(denoiser, x0, schedule, *, sigma="posterior", decoder_var=None, predicts="eps", n=1, generator=None):
    """The denoising-matching form of -ELBO, ElboTerms in nats.

    L_T = KL(q(x_T | x_0) || N(0, I));  L_0 = -E log N(x_0; mu_hat(x_1, 1), decoder_var)
    L_t[t] = E KL(q(x_{t-1} | x_t, x_0) || N(mu_hat(x_t, t), sigma_t**2)),  t = 2..T: the lecture's L_{t-1}
    Ho et al. 2020, Eq. 5; lecture 000, Eq. 46-58.

    x0: (B, ...). Each expectation over x_t is an average of n draws; the KL inside it is exact. L_t[0] = L_t[1] = 0.
    decoder_var > 0 is the variance of p(x_0 | x_1), β_1 by default (β̃_1 = 0 would make L_0 infinite).
    Gradients flow to the denoiser and to β.
    """
    decoder_var, rows = _prepare(x0, schedule, sigma, decoder_var, predicts, n)
    sigma = schedule.sigma(sigma)
    L_t, L_0 = list(rows.new_zeros(schedule.T + 1, len(rows))), None
    for t in range(1, schedule.T + 1):
        xt = q_sample(rows, t, schedule, generator=generator)
        mean_hat = predict_mean(denoiser, xt, t, schedule, predicts)
        if t == 1:
            L_0 = -_log_normal(rows, mean_hat, decoder_var)
        else:
            L_t[t] = kl_gaussian(*posterior_mean_var(xt, rows, t, schedule), mean_hat, sigma[t].to(xt) ** 2)
    return _terms(x0, schedule.terminal_kl(rows), L_t, L_0)


def elbo_consistency(denoiser, x0, schedule, *, sigma="posterior", decoder_var=None, predicts="eps", n=1,
                     generator=None):
    """The consistency form of -ELBO, ElboTerms in nats, from n sampled chains x_1..x_T per x_0.

    L_T = E KL(q(x_T | x_{T-1}) || N(0, I));  L_0 = -E log N(x_0; mu_hat(x_1, 1), decoder_var)
    L_t[t] = E[log q(x_t | x_{t-1}) - log p(x_t | x_{t+1})],  t = 1..T-1
    Lecture 000, Eq. 34-45, with the last line corrected: the term is an expectation over three neighbours of one
    chain. It is not a KL, and it may be negative.

    Arguments as for `elbo_terms`; both totals have the same mean. Each term here varies by about a nat per dimension
    whatever the model. Along one chain most of that cancels: the total may vary more or less than the other's.
    L_t[0] = L_t[T] = 0.
    """
    decoder_var, x_prev = _prepare(x0, schedule, sigma, decoder_var, predicts, n)
    sigma = schedule.sigma(sigma)
    L_t, L_0, log_q = list(x_prev.new_zeros(schedule.T + 1, len(x_prev))), None, None
    for t in range(1, schedule.T + 1):
        xt = q_step(x_prev, t, schedule, generator=generator)
        mean_hat = predict_mean(denoiser, xt, t, schedule, predicts)
        if t == 1:
            L_0 = -_log_normal(x_prev, mean_hat, decoder_var)
        else:  # log_q is of x_{t-1} given x_{t-2}; the reverse step gives x_{t-1} from x_t
            L_t[t - 1] = log_q - _log_normal(x_prev, mean_hat, sigma[t].to(xt) ** 2)
        mean, var = schedule.alpha[t].sqrt().to(xt) * x_prev, schedule.beta[t].to(xt)
        log_q, x_prev = _log_normal(xt, mean, var), xt
    return _terms(x0, kl_gaussian(mean, var, 0.0, 1.0), L_t, L_0)


def bits_per_dim(nats, d):
    """nats / (d * log(2)): a bound in nats per sample as bits per dimension.

    Ho et al. 2020, Section 4 (their images carry a further 7 bits, from [-1, 1] to 8-bit levels).

    nats: a number or tensor; d: the dimension of one sample, >= 1.
    """
    return nats / (check_count("d", d) * math.log(2))


def _prepare(x0, schedule, sigma, decoder_var, predicts, n):
    """The decoder's variance as a tensor, and x0 with every sample repeated n times, one row per draw, (B * n, ...)."""
    check_choice("sigma", sigma, ("posterior", "beta"))
    check_choice("predicts", predicts, PREDICTORS)
    if not check_tensor("x0", x0).ndim:
        raise ValueError("x0 must have a batch dimension, (B, ...), not shape ()")
    given = schedule.beta[1] if decoder_var is None else decoder_var
    try:
        decoder_var = torch.as_tensor(given, dtype=torch.float64)
        allowed = not decoder_var.ndim and 0 < float(decoder_var.detach()) < math.inf
    except (TypeError, ValueError, RuntimeError):
        allowed = False
    if not allowed:
        raise ValueError(f"decoder_var must be a finite number > 0, not {given!r:.60}")
    return decoder_var.to(x0), x0.repeat_interleave(check_count("n", n), 0)


def _log_normal(x, mean, var):
    """log N(x; mean, var I) in nats, summed over all dimensions but the first, (B,)."""
    log_density = -((x - mean) ** 2 / var + torch.log(2 * math.pi * var)) / 2
    return log_density.reshape(len(x), -1).sum(1)


def _terms(x0, L_T, L_t, L_0):
    """ElboTerms from one row per draw, averaged over the n draws of each sample."""
    def average(rows):
        return rows.unflatten(-1, (len(x0), -1)).mean(-1)

    return ElboTerms(average(L_T), average(torch.stack(L_t)), average(L_0))
