"""The pictures that sliders move: several panels each, for one step t. axes: the panels, a sequence."""

import math

import numpy as np
import torch

from ..forward import q_sample
from ..losses import loss_weight
from ..posterior import posterior_mean_var, posterior_weights
from ..predictors import eps_from_x0, mean_from_x0
from .pictures import draw_density, draw_images
from .roles import COLORS, LINES

DOT = {"marker": "o", "linestyle": "", "color": "0.1"}


def _line(artists, name, ax, x, y, **look):
    """The line of this name with new data; drawn where there is none yet."""
    if name not in artists:
        (artists[name],) = ax.plot([], [], **look)
    artists[name].set_data(np.ravel(x), np.ravel(y))  # as arrays: matplotlib would walk through a tensor


def draw_schedule(schedules, t, axes, image, noise, mixture, artists=None):
    """The tables of one or two schedules with step t marked, and an image and a density at t under the first: 6 panels.

    schedules: one or two Schedule with the same T.
    """
    new, artists = artists is None, artists or {}
    first, second = schedules[0], schedules[-1]
    tables = (
        ("$\\beta_t$: noise of one step", lambda s: s.beta, (1e-5, 1.5)),
        ("$\\bar\\alpha_t$: signal left", lambda s: s.alpha_bar, (-0.02, 1.02)),
        ("signal-to-noise ratio", lambda s: s.snr, (1e-6, 1e5)),
        ("posterior std $\\sqrt{\\tilde\\beta_t}$", lambda s: s.sigma("posterior"), (-0.02, 1.02)),
    )
    for k, (title, table, limits) in enumerate(tables):
        if new:
            axes[k].set(title=title, xlabel="t", ylim=limits, yscale="log" if k in (0, 2) else "linear")
        steps = torch.arange(1, first.T + 1)
        _line(artists, (k, 2), axes[k], steps, table(second)[1:], color=COLORS["noised"], linestyle="--")
        _line(artists, (k, 1), axes[k], steps, table(first)[1:], color=COLORS["data"])
        _line(artists, (k, 0), axes[k], [t], [table(first)[t]], **DOT)
        axes[k].set_xlim(0, first.T)
    artists["image"] = draw_images(q_sample(image, t, first, noise=noise), axes[4], artists=artists.get("image"))
    artists["density"] = draw_density(mixture.noised(t, first), axes[5], artists=artists.get("density"))
    if new:
        axes[4].set_title("an image at t")
        axes[5].set(title="the mixture at t", xlabel="$x_t$", ylim=(0, 1.25))
    return artists


def _points_under_density(t, ax, points, mixture, schedule, artists):
    """The exact density of x_t, and below it points that should follow it, (T+1, n), each at a height of its own."""
    artists["density"] = draw_density(mixture.noised(t, schedule), ax, artists=artists.get("density"))
    height = torch.linspace(-0.03, -0.12, points.shape[1], dtype=torch.float64)
    _line(artists, "points", ax, points[t], height, marker=".", markersize=3, linestyle="", color="0.2")


def draw_forward_at(t, axes, images, points, mixture, schedule, artists=None):
    """An image at 0 and at t, and the exact density of x_t over noised points: 3 panels.

    images: (T+1, 1, H, W); points: (T+1, n), both read at t.
    """
    new, artists = artists is None, artists or {}
    for k, s in enumerate((0, t)):
        artists[k] = draw_images(images[s : s + 1], axes[k], artists=artists.get(k))
    _points_under_density(t, axes[2], points, mixture, schedule, artists)
    if new:
        axes[0].set_title("$x_0$")
        axes[1].set_title("$x_t$")
        axes[2].set(title="exact density, and points", xlabel="$x_t$", xlim=(-4, 4), ylim=(-0.15, 1.25))
    return artists


def draw_posterior_at(t, x0, xt, axes, schedule, artists=None):
    """Bayes' rule for q(x_{t-1} | x_t, x_0) in one dimension, the weights of its mean, its variance: 3 panels."""
    new, artists = artists is None, artists or {}
    x = torch.linspace(-4, 4, 401, dtype=torch.float64)
    alpha, beta, prev, now = schedule.alpha[t], schedule.beta[t], schedule.alpha_bar[t - 1], schedule.alpha_bar[t]
    mean, var = posterior_mean_var(*torch.tensor([[xt], [x0]], dtype=x.dtype), t, schedule)
    curves = {
        "data": (prev.sqrt() * x0, 1 - prev, x, "$q(x_{t-1}|x_0)$"),
        "noised": (alpha.sqrt() * x, beta, xt, "$q(x_t|x_{t-1})$"),
        "prior": (now.sqrt() * x0, 1 - now, torch.full_like(x, xt), "$q(x_t|x_0)$"),
        "posterior": (mean, var, x, "posterior"),
    }
    for role, (m, v, at, label) in curves.items():
        y = torch.exp(-((at - m) ** 2) / (2 * v)) / (2 * math.pi * v).sqrt() if v > 0 else torch.full_like(x, math.nan)
        _line(artists, role, axes[0], x, y, color=COLORS[role], label=label, **LINES[role])
    _line(artists, "mean", axes[0], [mean, mean], [0, 0.12], color=COLORS["posterior"], linewidth=3)
    steps = torch.arange(1, schedule.T + 1)
    w_xt, w_x0 = posterior_weights(steps, schedule)
    for k, upper, lower in ((1, w_xt, w_x0), (2, schedule.beta[1:], schedule.beta_tilde[1:])):
        _line(artists, k, axes[k], [t, t], [upper[t - 1], lower[t - 1]], **DOT)
    if new:
        axes[0].set(title="Bayes' rule at t", xlabel="$x_{t-1}$", ylim=(0, 3), xlim=(-4, 4))
        axes[0].legend(loc="upper left", fontsize=8)
        axes[1].plot(steps, w_xt, color=COLORS["noised"], label="of $x_t$")
        axes[1].plot(steps, w_x0, color=COLORS["data"], linestyle="--", label="of $x_0$")
        axes[1].set(title="weights of the mean", xlabel="t")
        axes[2].plot(steps, schedule.beta[1:], color=COLORS["noised"], label="$\\beta_t$")
        axes[2].plot(steps, schedule.beta_tilde[1:], color=COLORS["posterior"], **LINES["posterior"],
                     label="$\\tilde\\beta_t$")
        axes[2].set(title="variances", xlabel="t")
        axes[1].legend()
        axes[2].legend()
    return artists


def draw_predictor_at(t, xt, axes, mixture, schedule, uniforms, artists=None):
    """The exact E[x_0 | x_t], the x_0 that explain x_t, and the conversions in numbers: 3 panels.

    uniforms: (n,) in (0, 1), the quantiles at which x_0 given x_t is drawn.
    """
    new, artists = artists is None, artists or {}
    x = torch.linspace(-4, 4, 801, dtype=torch.float64)[:, None]
    point = torch.full((1, 1), xt, dtype=torch.float64)
    curve, x0_hat = mixture.posterior_mean(x, t, schedule), mixture.posterior_mean(point, t, schedule)
    eps_hat, mu_hat = eps_from_x0(point, x0_hat, t, schedule), mean_from_x0(point, x0_hat, t, schedule)
    scale, var = schedule.alpha_bar[t].sqrt(), 1 - schedule.alpha_bar[t]
    p = (mixture.log_prob(x) - (xt - scale * x[:, 0]) ** 2 / (2 * var)).softmax(0)  # of x_0 given x_t, on the grid
    drawn = x[torch.searchsorted(p.cumsum(0), uniforms.double()).clamp(max=len(x) - 1), 0]
    p = p / p.max()
    _line(artists, "curve", axes[0], x, curve, color=COLORS["posterior"])
    _line(artists, "at", axes[0], [xt], x0_hat[0], **DOT)
    _line(artists, "density", axes[1], x, p, color=COLORS["posterior"], linestyle=":", label="density (peak = 1)")
    _line(artists, "drawn", axes[1], drawn, torch.full_like(drawn, -0.06), color=COLORS["data"], marker="|",
          linestyle="", markersize=9, label="some $x_0$ that explain $x_t$")
    _line(artists, "mean", axes[1], [x0_hat.item()] * 2, [0, 1.1], color="0.1", label="their mean")
    if new:
        axes[0].set(title="$E[x_0|x_t]$ at every $x_t$", xlabel="$x_t$", xlim=(-4, 4), ylim=(-2.5, 2.5))
        axes[1].set(title="$x_0$ given $x_t$", xlabel="$x_0$", xlim=(-2.6, 2.6), ylim=(-0.15, 1.75))
        axes[1].legend(loc="upper left", fontsize=8)
        axes[2].set(title="one known, all known", xlim=(0, 1), ylim=(0, 1))
        axes[2].axis("off")
        axes[2].plot([0.5, 0.2, 0.8, 0.5], [0.82, 0.2, 0.2, 0.82], color="0.8")
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.4"}
        for name, x, y in (("x0", 0.5, 0.82), ("eps", 0.2, 0.2), ("mean", 0.8, 0.2)):
            artists["text", name] = axes[2].text(x, y, "", ha="center", va="center", bbox=box)
    for name, symbol, value in (("x0", "x̂_0", x0_hat), ("eps", "ε̂", eps_hat), ("mean", "μ̂", mu_hat)):
        artists["text", name].set_text(f"{symbol} = {value.item():.3f}")  # no formula: those are slow to set
    return artists


def draw_loss(predicts, sigma, axes, schedule, errors, artists=None):
    """Weights over t, the error of the exact denoiser, and where bound and simple loss spend their effort: 3 panels.

    errors: a dict from predictor to the mean squared error at t = 0..T, (T+1,). All curves start at t = 2.
    """
    new, artists = artists is None, artists or {}
    steps = torch.arange(2, schedule.T + 1)
    weight, error = loss_weight(predicts, schedule, sigma)[2:], errors[predicts][2:]
    bound, simple = ((share / share.sum()).cumsum(0) for share in (weight * error, error))
    _line(artists, "weight", axes[0], steps, weight, color=COLORS["model"])
    _line(artists, "error", axes[1], steps, error, color=COLORS["posterior"])
    _line(artists, "bound", axes[2], steps, bound, color=COLORS["model"], label="bound, weighted")
    _line(artists, "simple", axes[2], steps, simple, color=COLORS["data"], linestyle="--", label="simple, no weights")
    if new:
        axes[0].set(title="weight in the bound", xlabel="t", yscale="log", ylim=(1e-3, 1e3), xlim=(0, schedule.T))
        axes[1].set(title="exact denoiser's error", xlabel="t", yscale="log", ylim=(1e-6, 2), xlim=(0, schedule.T))
        axes[2].set(title="share of the loss up to t", xlabel="t", ylim=(-0.02, 1.02), xlim=(0, schedule.T))
        axes[2].legend(loc="lower right", fontsize=8)
    return artists


def draw_sampling_at(t, axes, states, guesses, points, mixture, schedule, artists=None):
    """x_t beside the guess x_{0|t} for a row of images, and chains on the line over the density of x_t: 3 panels.

    states, guesses: (T+1, R, C, 1, H, W), tables of images; points: (T+1, m); all read at t.
    """
    new, artists = artists is None, artists or {}
    artists["states"] = draw_images(states[t], axes[0], artists=artists.get("states"))
    artists["guesses"] = draw_images(guesses[t], axes[1], artists=artists.get("guesses"))
    _points_under_density(t, axes[2], points, mixture, schedule, artists)
    if new:
        axes[0].set_title("$x_t$")
        axes[1].set_title("$x_{0|t}$, the guess at t")
        axes[2].set(title="chains, and the exact density", xlabel="$x_t$", xlim=(-4, 4), ylim=(-0.15, 1.25))
    return artists
