"""What a denoiser is trained on: the simple loss, and the weights that would turn it into the bound."""

import math

import torch

from .forward import q_sample
from .inputs import ask, check_choice, check_tensor, draw_noise, time_index
from .posterior import posterior_mean_var
from .predictors import PREDICTORS


def loss_weight(predicts, schedule, sigma="posterior"):
    """What multiplies the squared error of a prediction in the KL term L_{t-1}, (T+1,).

    "mean": 1 / (2 sigma**2)
    "x0":   alpha_bar_prev * beta**2 / (1 - alpha_bar)**2 / (2 sigma**2)
    "eps":  beta**2 / (alpha * (1 - alpha_bar)) / (2 sigma**2)
    Ho et al. 2020, Eq. 8 and 12; lecture 000, "Diffusion Matching Term, three cases" (ω_t and ω'_t).

    Nats per unit of squared error, summed over dimensions. Entry 0 is 0; entry 1 is inf for sigma "posterior", whose
    variance is 0 there. For "x0" and sigma "posterior" it is half the drop of the SNR from t-1 to t.
    """
    check_choice("predicts", predicts, PREDICTORS)
    # With β̃_1 = 0 the weight at t = 1 is put there, not computed: 1 / 0 would poison gradients.
    edge = [0.0, math.inf] if sigma == "posterior" else [0.0]
    first, sigma = len(edge), schedule.sigma(sigma)[len(edge):]
    beta, alpha, alpha_bar, alpha_bar_prev = (
        schedule.beta[first:], schedule.alpha[first:], schedule.alpha_bar[first:], schedule.alpha_bar[first - 1:-1])
    slope_squared = {
        "mean": torch.ones_like(beta),
        "x0": alpha_bar_prev * beta**2 / (1 - alpha_bar) ** 2,
        "eps": beta**2 / (alpha * (1 - alpha_bar)),
    }[predicts]
    return torch.cat([beta.new_tensor(edge), slope_squared / (2 * sigma**2)])


def simple_loss(denoiser, x0, schedule, *, t=None, noise=None, predicts="eps", generator=None):
    """The simple loss, a scalar: mean squared error over the batch and all dimensions, t uniform on 1..T.

    loss = (denoiser(xt, t) - eps).square().mean(), xt = alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * eps
    Ho et al. 2020, Eq. 14 and Algorithm 1; lecture 000, "Training".

    x0: (B, ...). t (int or (B,)) and noise fix what is otherwise drawn, from generator if one is given. For predicts
    "x0" or "mean" the target is x_0 or mu_tilde in place of eps. A mean, where the paper has a sum over dimensions.
    """
    check_choice("predicts", predicts, PREDICTORS)
    if not check_tensor("x0", x0).ndim:
        raise ValueError("x0 must have a batch dimension, (B, ...), not shape ()")
    if t is not None:
        time_index(t, schedule, x0.shape)  # a wrong t is reported before anything is drawn
    eps = draw_noise(x0, noise, generator)
    if t is None:
        device = "cpu" if generator is None else generator.device
        t = torch.randint(1, schedule.T + 1, x0.shape[:1], generator=generator, device=device)
    xt = q_sample(x0, t, schedule, noise=eps)
    target = {"eps": eps, "x0": x0}.get(predicts)
    if target is None:
        target, _ = posterior_mean_var(xt, x0, t, schedule)
    return (ask(denoiser, xt, t) - target).square().mean()
