"""The reverse process: ancestral sampling from noise to data."""

import math

import torch

from .inputs import check_choice, check_count, check_generator, check_tensor, draw_noise, time_index
from .predictors import PREDICTORS, mean_from_x0, predict_mean, predict_x0
from .schedule import Schedule


def p_step(denoiser, xt, t, schedule, *, sigma="posterior", predicts="eps", clip=None, noise=None, generator=None):
    """One draw from p(x_{t-1} | x_t), shaped like xt: a single reverse step.

    x_prev = mu_hat + sigma_t * z, with z = 0 at t = 1;  for predicts "eps"
    mu_hat = (xt - (1 - alpha_t) / (1 - alpha_bar_t).sqrt() * eps_hat) / alpha_t.sqrt()
    Ho et al. 2020, Algorithm 2; lecture 000, "Reverse Process (Generation)", corrected.

    t: int or (B,) in 1..T; it takes x_t to x_{t-1}. sigma: "posterior" (√β̃_t) or "beta" (√β_t), a standard deviation.
    clip=c clamps the guess x_{0|t} to [-c, c] before the mean is formed (a separate choice: the paper's text has none).
    noise fixes z, else generator draws it; both given is a ValueError. Noise is never added at t = 1.
    """
    _check_choices(sigma, predicts, clip)
    index = time_index(t, schedule, check_tensor("xt", xt).shape)
    mean = _mean(denoiser, xt, t, schedule, predicts, clip)
    if noise is None and isinstance(index, int) and index == 1:
        check_generator(generator)
        return mean
    z = draw_noise(xt, noise, generator)
    sigma_t = torch.where(torch.as_tensor(index) > 1, schedule.sigma(sigma)[index], 0.0)
    return mean + sigma_t.to(xt) * z


def p_sample_loop(denoiser, schedule, shape=None, *, xT=None, sigma="posterior", predicts="eps", clip=None,
                  generator=None, device=None):
    """An iterator over (t, x_t) for t = T, T-1, ..., 0: the whole reverse chain, T + 1 states.

    x_T ~ N(0, I);  x_{t-1} = p_step(denoiser, x_t, t, schedule)  for t = T..1
    Ho et al. 2020, Algorithm 2; lecture 000, "Reverse Process (Generation)", corrected.

    Give shape (x_T is drawn, on device) or xT (the chain starts there), not both. The rest is as for p_step.
    Arguments are checked at once, not at the first step. No gradients are kept. The last state is (0, x_0).
    """
    _check_choices(sigma, predicts, clip)
    return _loop(denoiser, schedule, _start(shape, xT, generator, device), sigma, predicts, clip, generator)


def sample(denoiser, schedule, shape=None, *, xT=None, steps=None, sigma="posterior", predicts="eps", clip=None,
           generator=None, device=None):
    """x_0 at the end of the reverse chain, of the given shape or like xT.

    steps < T visits only t_i = floor(i * T / steps), i = steps..1: a shorter chain over the same noise levels, with
    beta'_i = 1 - alpha_bar[t_i] / alpha_bar[t_{i-1}], so the same denoiser serves.
    Ho et al. 2020, Algorithm 2; Nichol and Dhariwal 2021, Section 4, for the shorter chain.

    steps: 1..T, all T steps when left out. The other arguments are p_sample_loop's.
    """
    _check_choices(sigma, predicts, clip)
    steps = schedule.T if steps is None else check_count("steps", steps, 1, schedule.T)
    x = _start(shape, xT, generator, device)
    if steps < schedule.T:
        denoiser, schedule, predicts = _strided(denoiser, schedule, steps, predicts)
    for _, x_prev in _loop(denoiser, schedule, x, sigma, predicts, clip, generator):
        x = x_prev  # only the last state is kept
    return x


def _loop(denoiser, schedule, x, sigma, predicts, clip, generator):
    yield schedule.T, x
    for t in range(schedule.T, 0, -1):
        with torch.no_grad():
            x = p_step(denoiser, x, t, schedule, sigma=sigma, predicts=predicts, clip=clip, generator=generator)
        yield t - 1, x


def _strided(denoiser, schedule, steps, predicts):
    """A denoiser, a Schedule of `steps` steps at the same noise levels, and what the denoiser now predicts."""
    visited = torch.tensor([i * schedule.T // steps for i in range(steps + 1)])  # 0 = t_0 < t_1 < ... < t_steps = T
    alpha_bar = schedule.alpha_bar.detach()[visited]

    def strided(xt, i):
        t = visited.to(i.device)[i]
        # A mean belongs to a step of length 1; the x_0 behind it does not depend on the step's length.
        return predict_x0(denoiser, xt, t, schedule, "mean") if predicts == "mean" else denoiser(xt, t)

    return strided, Schedule(1 - alpha_bar[1:] / alpha_bar[:-1]), "x0" if predicts == "mean" else predicts


def _mean(denoiser, xt, t, schedule, predicts, clip):
    if clip is None:
        return predict_mean(denoiser, xt, t, schedule, predicts)
    return mean_from_x0(xt, predict_x0(denoiser, xt, t, schedule, predicts).clamp(-clip, clip), t, schedule)


def _start(shape, xT, generator, device):
    if (shape is None) == (xT is None):
        raise ValueError(f"give exactly one of shape and xT, not {'neither' if shape is None else 'both'}")
    check_generator(generator)
    if xT is not None:
        if not check_tensor("xT", xT).ndim:
            raise ValueError("xT must have a batch dimension, (B, ...), not shape ()")
        return xT
    try:
        like = torch.empty(tuple(check_count("shape", n, 0) for n in shape), device=device)
    except TypeError:
        raise ValueError(f"shape must be a tuple of ints (B, ...), not {shape!r}") from None
    if not like.ndim:
        raise ValueError("shape must have a batch dimension, (B, ...), not ()")
    return draw_noise(like, None, generator)


def _check_choices(sigma, predicts, clip):
    check_choice("sigma", sigma, ("posterior", "beta"))
    check_choice("predicts", predicts, PREDICTORS)
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, (int, float)) or not 0 < clip < math.inf):
        raise ValueError(f"clip must be None or a finite number > 0, not {clip!r}")
