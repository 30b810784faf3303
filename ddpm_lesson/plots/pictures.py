"""Images, densities and the forward process."""

import numpy as np
import torch

from .roles import COLORS, LINES


def draw_images(images, ax, rows=None, columns=None, artists=None):
    """A table of images as one picture: images (R, C, 1, H, W) or (C, 1, H, W), with names for its rows and columns."""
    if images.ndim == 4:
        images = images[None]
    R, C, _, H, W = images.shape
    table = torch.full((R, C, H + 1, W + 1), torch.nan, dtype=images.dtype)  # a gap of one pixel between images
    table[:, :, :H, :W] = images[:, :, 0]
    table = table.permute(0, 2, 1, 3).reshape(R * (H + 1), C * (W + 1))[:-1, :-1].numpy()
    if artists is None:
        artists = ax.imshow(table, vmin=-1.5, vmax=1.5)
        ax.set_xticks((W + 1) * np.arange(C) + (W - 1) / 2, columns or [""] * C)
        ax.set_yticks((H + 1) * np.arange(R) + (H - 1) / 2, rows or [""] * R)
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
    artists.set_data(table)
    return artists


def draw_density(mixture, ax, role="noised", label=None, x=None, artists=None):
    """The density of a 1-D mixture as a line in its role's colour."""
    x = torch.linspace(-4, 4, 401, dtype=torch.float64) if x is None else x
    x, p = x.numpy(), mixture.log_prob(x[:, None]).exp().numpy()
    if artists is None:
        (artists,) = ax.plot(x, p, color=COLORS[role], label=label, **LINES[role])
        ax.set(xlabel="x", ylabel="density")
        ax.set_ylim(bottom=0, auto=True)  # auto: a later, taller curve is not cut off
    artists.set_data(x, p)
    return artists


def draw_forward(mixture, schedule, ax, paths=None, artists=None):
    """The exact density of x_t of a 1-D mixture, t across and x up, with sampled chains (T+1, n) over it."""
    x = torch.linspace(-4, 4, 161, dtype=torch.float64)
    p = torch.stack([mixture.noised(t, schedule).log_prob(x[:, None]).exp() for t in range(schedule.T + 1)], 1)
    p = (p / p.max(0).values).numpy()  # each column by its own peak, or the first steps would hide the rest
    if artists is None:
        artists = ax.imshow(p, origin="lower", aspect="auto", cmap="Blues", extent=(0, schedule.T, -4, 4))
        ax.set(xlabel="t", ylabel="$x_t$", ylim=(-4, 4), xlim=(0, schedule.T))
        ax.grid(False)
        if paths is not None:
            ax.plot(paths.numpy(), color=COLORS["noised"], linewidth=0.9)
    artists.set_data(p)
    return artists
