"""Homework 2, questions 6 to 8: how a trained denoiser is judged, and the diagnosis of a broken run."""

import numpy as np
import torch

from ..broken_runs import slip_a, slip_b
from ..schedule import cosine_schedule
from ..two_bumps import TwoBumps

N, T = 32, 50  # points of a signal, steps of the chain
FLOOR = 0.0541  # the exact denoiser's ε-error, a mean over t = 1..T; tests/test_homework_questions.py measures it
FULL, NOTHING = 1.15, 2.0  # times the floor: at most this for all points, and from here on none


def over_floor(_, inputs, value):
    """The share for a denoiser: all up to FULL times the floor, none from NOTHING times on."""
    xt, t, eps_hat = torch.as_tensor(inputs["xt"]).double(), torch.as_tensor(inputs["t"]), np.asarray(value)
    if eps_hat.shape != tuple(xt.shape) or eps_hat.dtype.kind != "f" or not np.isfinite(eps_hat).all():
        return 0.0, f"denoise must return ε: finite numbers of shape {tuple(xt.shape)}."
    exact = TwoBumps(N).denoiser(cosine_schedule(T))(xt, t).numpy()
    ratio = 1 + ((eps_hat - exact) ** 2).mean() / FLOOR
    if ratio < 1.001:
        return 0.0, "That is the exact denoiser itself. The question asks for a network that has learned."
    share = min(1.0, max(0.0, (NOTHING - ratio) / (NOTHING - FULL)))
    return share, f"ε-error {ratio:.2f} times the floor. All points up to {FULL}, none from {NOTHING} on."


def example_signals():
    generator = torch.Generator().manual_seed(1)
    t = torch.arange(1, T + 1).repeat_interleave(8)
    x0, a = TwoBumps(N).sample(len(t), generator), cosine_schedule(T).alpha_bar[t][:, None].float()
    return {"xt": (a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=generator)).numpy(), "t": t.numpy()}


def run_a(numbers, _, value):
    """The share for run A: half for the suspect, the rest for its two numbers, within 1."""
    return _diagnosis(slip_a(numbers["seed"]), value, 1.01)


def run_b(numbers, _, value):
    """The share for run B: half for the suspect, the rest for its two numbers, within 0.1."""
    return _diagnosis(slip_b(numbers["seed"]), value, 0.1)


def _diagnosis(slip, value, within):
    try:
        suspect, *found = np.asarray(value, np.float64).reshape(3)
    except (TypeError, ValueError):
        return 0.0, "The answer is three numbers: the suspect, and its two numbers."
    if suspect != slip[0]:
        return 0.0, "Not this one. Which suspect would leave the other panel as it is?"
    good = [abs(f - true) <= within for f, true in zip(found, slip[1:], strict=True)]
    return 0.5 + 0.25 * sum(good), "" if all(good) else "The suspect is right. Read its numbers off more closely."
