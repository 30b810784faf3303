"""The course's figures: each function draws on the axes it is given and returns the artists.

Given the artists of an earlier call, a function updates them in place.
"""

from .explorers import draw_forward_at, draw_loss, draw_posterior_at, draw_predictor_at, draw_sampling_at, draw_schedule
from .pictures import draw_density, draw_forward, draw_images
from .roles import COLORS, LINES, SCHEDULES

__all__ = [
    "COLORS", "LINES", "SCHEDULES", "draw_density", "draw_forward", "draw_forward_at", "draw_images", "draw_loss",
    "draw_posterior_at", "draw_predictor_at", "draw_sampling_at", "draw_schedule",
]
