"""The forward process: from data to noise, one step at a time or in one jump."""

from .inputs import check_tensor, draw_noise, time_index


def q_step(x_prev, t, schedule, *, noise=None, generator=None):
    """One draw from q(x_t | x_{t-1}), shaped like x_prev: a single step of the chain.

    xt = (1 - beta_t).sqrt() * x_prev + beta_t.sqrt() * eps
    Ho et al. 2020, Eq. 2; lecture 000, "Forward Process".

    t: int or (B,) in 1..T, the step's own number: it takes x_{t-1} to x_t. noise fixes eps, else generator draws it;
    both given is a ValueError. The noise is scaled by √β_t, because β_t is the variance.
    """
    check_tensor("x_prev", x_prev)
    t, eps = time_index(t, schedule, x_prev.shape), draw_noise(x_prev, noise, generator)
    beta_t = schedule.beta[t]
    return (1 - beta_t).sqrt().to(x_prev) * x_prev + beta_t.sqrt().to(x_prev) * eps


def q_sample(x0, t, schedule, *, noise=None, generator=None):
    """One draw from q(x_t | x_0), shaped like x0: the forward jump, t steps at once.

    xt = alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * eps
    Ho et al. 2020, Eq. 4; lecture 000, "Forward jump".

    t: int or (B,) in 1..T. noise fixes eps, else generator draws it; both given is a ValueError.
    """
    check_tensor("x0", x0)
    t, eps = time_index(t, schedule, x0.shape), draw_noise(x0, noise, generator)
    alpha_bar_t = schedule.alpha_bar[t]
    return alpha_bar_t.sqrt().to(x0) * x0 + (1 - alpha_bar_t).sqrt().to(x0) * eps


def q_mean_var(x0, t, schedule):
    """Mean (like x0) and variance (broadcasts against x0) of q(x_t | x_0).

    mean, var = alpha_bar_t.sqrt() * x0, 1 - alpha_bar_t
    Ho et al. 2020, Eq. 4; lecture 000, "Forward jump".

    t: int or (B,) in 1..T. The second value is a variance, not a standard deviation.
    """
    check_tensor("x0", x0)
    alpha_bar_t = schedule.alpha_bar[time_index(t, schedule, x0.shape)]
    return alpha_bar_t.sqrt().to(x0) * x0, (1 - alpha_bar_t).to(x0)


def ve_sample(x0, t, schedule, *, noise=None, generator=None):
    """One draw of the variance-exploding form with the same signal-to-noise ratio, shaped like x0.

    x = x0 + (1 / snr_t).sqrt() * eps
    Lecture 000, "VP-SDE vs. VE-SDE", with σ_t² = (1 - ᾱ_t) / ᾱ_t and σ_0 = 0.

    The signal keeps its size and the noise grows without bound; the same noise gives `vp_to_ve` of `q_sample`.
    """
    check_tensor("x0", x0)
    t, eps = time_index(t, schedule, x0.shape), draw_noise(x0, noise, generator)
    snr_t = schedule.snr[t]
    return x0 + (1 / snr_t).sqrt().to(x0) * eps


def vp_to_ve(xt, t, schedule):
    """The variance-exploding x of a variance-preserving x_t: the same picture, rescaled.

    x = xt / alpha_bar_t.sqrt()
    Lecture 000, "VP-SDE vs. VE-SDE".
    """
    check_tensor("xt", xt)
    alpha_bar_t = schedule.alpha_bar[time_index(t, schedule, xt.shape)]
    return xt / alpha_bar_t.sqrt().to(xt)


def ve_to_vp(x, t, schedule):
    """The variance-preserving x_t of a variance-exploding x; the inverse of `vp_to_ve`.

    xt = alpha_bar_t.sqrt() * x
    Lecture 000, "VP-SDE vs. VE-SDE".
    """
    check_tensor("x", x)
    alpha_bar_t = schedule.alpha_bar[time_index(t, schedule, x.shape)]
    return alpha_bar_t.sqrt().to(x) * x
