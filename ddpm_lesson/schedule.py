"""The noise schedule: how much noise each of the T steps adds, as tables read at the lecture's own t."""

import math

import torch

from .inputs import check_choice, check_count, check_tensor


class Schedule:
    """The tables of a schedule, built from β_1..β_T; each is (T+1,), float64, on the CPU, and read at t = 0..T.

    alpha = 1 - beta;  alpha_bar[t] = alpha[1] * ... * alpha[t];
    beta_tilde[t] = (1 - alpha_bar[t-1]) / (1 - alpha_bar[t]) * beta[t];  snr = alpha_bar / (1 - alpha_bar)
    Ho et al. 2020, Eq. 2, 4, 7; lecture 000, "Forward Process", "Forward Convergence".

    beta: (T,) floats in (0, 1), a tensor or a sequence. Gradients flow from every table back to it.
    Raises ValueError when a β is not finite or lies outside (0, 1), or when ᾱ_t stops decreasing in float64.
    At t = 0 nothing has happened yet: beta[0] = 0, alpha_bar[0] = 1, snr[0] = inf. At t = 1 beta_tilde is exactly 0.
    """

    def __init__(self, beta):
        beta = _check_beta(beta)
        zero, one = beta.new_zeros(1), beta.new_ones(1)
        self.T = len(beta)
        self.beta = torch.cat([zero, beta])
        self.alpha = 1 - self.beta
        self.alpha_bar = torch.cat([one, self.alpha[1:].cumprod(0)])
        _check_decreasing(self.alpha_bar)
        noise_var = 1 - self.alpha_bar[1:]  # (T,), at t = 1..T
        self.beta_tilde = torch.cat([zero, zero, noise_var[:-1] / noise_var[1:] * beta[1:]])
        self.snr = torch.cat([one / 0, self.alpha_bar[1:] / noise_var])

    def __repr__(self):
        beta_1, beta_T, alpha_bar_T = (float(v.detach()) for v in (self.beta[1], self.beta[-1], self.alpha_bar[-1]))
        return f"Schedule(T={self.T}, beta_1={beta_1:.4g}, beta_T={beta_T:.4g}, alpha_bar_T={alpha_bar_T:.4g})"

    def sigma(self, kind):
        """The standard deviation of the reverse step, (T+1,).

        sigma = beta_tilde.sqrt() for kind "posterior", beta.sqrt() for kind "beta"
        Ho et al. 2020, Section 3.2; lecture 000, "Denoising Matching Term".

        Raises ValueError for another kind. "posterior" is exactly 0 at t = 1, where x_0 is known.
        """
        check_choice("sigma", kind, ("posterior", "beta"))
        first, variance = (2, self.beta_tilde) if kind == "posterior" else (1, self.beta)
        # The zeros are put there, not computed: the slope of a root at 0 is infinite and would poison gradients.
        return torch.cat([variance.new_zeros(first), variance[first:].sqrt()])

    def terminal_kl(self, x0):
        """KL(q(x_T | x_0) || N(0, I)) in nats, (B,): what is lost by starting the sampler from N(0, I).

        terminal_kl = (alpha_bar[T] * (|x0|^2 - d) - d * log(1 - alpha_bar[T])) / 2
        Ho et al. 2020, Eq. 5 (L_T); lecture 000, "Prior Matching Term".

        x0: (B, ...), d values per sample. It is small only if alpha_bar[T] is: look before you sample.
        """
        check_tensor("x0", x0)
        if not x0.ndim:
            raise ValueError("x0 must have a batch dimension, (B, ...), not shape ()")
        d, alpha_bar_T = math.prod(x0.shape[1:]), self.alpha_bar[-1]
        square = x0.square().reshape(len(x0), d).sum(1)  # (B,)
        return (alpha_bar_T.to(x0) * (square - d) - (d * torch.log1p(-alpha_bar_T)).to(x0)) / 2


def linear_schedule(T=1000, beta_1=1e-4, beta_T=0.02, rescale=False):
    """The Schedule of Ho et al.: β_t rises in equal steps from β_1 to β_T, both attained.

    beta[t] = beta_1 + (t - 1) / (T - 1) * (beta_T - beta_1)
    Ho et al. 2020, Section 4; lecture 000, "Choice of β_t".

    The numbers were chosen for T = 1000. With a smaller T the chain stops short of the prior (ᾱ_50 = 0.60), so
    rescale=True multiplies both ends by 1000 / T. ValueError where that makes a β reach 1.
    """
    T = check_count("T", T)
    if rescale:
        beta_1, beta_T = (_number(*end, "in (0, 1)") * 1000 / T for end in (("beta_1", beta_1), ("beta_T", beta_T)))
        if max(beta_1, beta_T) >= 1:
            raise ValueError(f"rescale by 1000/T at T={T} makes β reach {max(beta_1, beta_T):.4g}; "
                             "β must stay below 1: take a larger T or a smaller beta_T")
    return Schedule(torch.linspace(_end("beta_1", beta_1), _end("beta_T", beta_T), T, dtype=torch.float64))


def quadratic_schedule(T=1000, beta_1=1e-4, beta_T=0.02):
    """The Schedule whose √β_t rises in equal steps from √β_1 to √β_T.

    beta = linspace(sqrt(beta_1), sqrt(beta_T), T)**2
    Ho et al.'s code ("quad"); lecture 000, "Choice of β_t".
    """
    ends = math.sqrt(_end("beta_1", beta_1)), math.sqrt(_end("beta_T", beta_T))
    return Schedule(torch.linspace(*ends, check_count("T", T), dtype=torch.float64) ** 2)


def constant_schedule(T=1000, beta=0.02):
    """The Schedule that adds the same β at every step, so that alpha_bar[t] = (1 - beta)**t.

    Lecture 000, "Choice of β_t".
    """
    return Schedule(torch.full((check_count("T", T),), _end("beta", beta), dtype=torch.float64))


def cosine_schedule(T=1000, s=0.008, beta_max=0.999):
    """The Schedule whose ᾱ_t follows a squared cosine, with every β_t clipped at beta_max.

    f(t) = cos((t / T + s) / (1 + s) * pi / 2)**2;  beta[t] = min(1 - f(t) / f(t - 1), beta_max)
    Nichol and Dhariwal 2021, Eq. 17; lecture 000, "Choice of β_t".

    f(T) = 0, so without the clip the last β would be 1. The clip acts on the last step only (T = 1000).
    """
    T, beta_max, s = check_count("T", T), _end("beta_max", beta_max), _number("s", s, ">= 0")
    if not (math.isfinite(s) and s >= 0):
        raise ValueError(f"s must be a finite number >= 0, not {s}")
    t = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2  # (T+1,), ᾱ_t = f(t) / f(0) before the clip
    return Schedule((1 - f[1:] / f[:-1]).clamp(max=beta_max))


def _end(name, value):
    """A single β as a float in (0, 1)."""
    number = _number(name, value, "in (0, 1)")
    if not 0 < number < 1:
        raise ValueError(f"{name} must lie in (0, 1), not {number:.6g}")
    return number


def _number(name, value, allowed):
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number {allowed}, not {type(value).__name__} {value!r:.60}") from None


def _check_beta(beta):
    try:
        beta = torch.as_tensor(beta, dtype=torch.float64, device="cpu")  # without a dtype a list becomes float32
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"beta must be a 1-D tensor or sequence of numbers in (0, 1), not {beta!r:.60}") from None
    if beta.ndim != 1 or not len(beta):
        raise ValueError(f"beta must be 1-D and hold at least one value, β_1..β_T, not shape {tuple(beta.shape)}")
    wrong = ~((beta > 0) & (beta < 1))  # also true for nan
    if wrong.any():
        t = int(wrong.nonzero()[0]) + 1
        raise ValueError(f"beta must lie in (0, 1) at every t: β_{t} = {float(beta[t - 1].detach()):.6g}")
    return beta


def _check_decreasing(alpha_bar):
    stuck = ~(alpha_bar[1:] < alpha_bar[:-1])
    if stuck.any():
        t = int(stuck.nonzero()[0]) + 1
        raise ValueError(f"beta must keep alpha_bar strictly decreasing in float64: ᾱ_{t} = "
                         f"{float(alpha_bar[t].detach()):.6g} equals ᾱ_{t - 1} (β too small, or T too long)")
