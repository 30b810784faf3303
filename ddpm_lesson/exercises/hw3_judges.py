"""Homework 3, questions 5 and 6: how a trained UNet is judged, by its loss and by its samples.

Samples are judged by their nearest real image, which gives the class, and by whether they lie among the real ones at
all. Of the classifiers at hand only this one can say "no digit", and it is the same on every machine: a small
convolutional network is sure of 45 % of pure noise, and the one for MNIST reads 80 % of these 8 x 8 digits.
"""

import numpy as np
import torch

from ..data import digits
from ..evaluate import nearest_neighbours, precision_recall
from ..schedule import linear_schedule

T, HELD_OUT = 100, 1500  # steps of the chain; the digits from here on are not trained on
LOSS = 0.056, 0.12  # the weighted loss on held-out digits: at most the first for all points, none from the second on
AMONG = 0.4, 0.1  # the share of samples among the real ones: all points from the first on, none up to the second


def snr_weight(alpha_bar, t):
    """min(SNR_t, 5) / SNR_t, shaped like t."""
    snr = alpha_bar[t] / (1 - alpha_bar[t])
    return np.minimum(snr, 5) / snr


def held_out_loss(_, inputs, value):
    """The share for a denoiser: its weighted loss on digits that it has not seen."""
    xt, t, eps_hat = np.asarray(inputs["xt"], np.float64), inputs["t"], np.asarray(value)
    if eps_hat.shape != xt.shape or eps_hat.dtype.kind != "f" or not np.isfinite(eps_hat).all():
        return 0.0, f"denoise must return ε: finite numbers of shape {xt.shape}."
    bar = linear_schedule(T, rescale=True).alpha_bar.numpy()
    a, x0 = bar[t][:, None, None, None], held_out(len(t)).double().numpy()
    eps = (xt - np.sqrt(a) * x0) / np.sqrt(1 - a)  # the images come in their known order, so this is the noise
    loss = (snr_weight(bar, t)[:, None, None, None] * (eps_hat - eps) ** 2).mean()
    if loss < 0.03:
        return 0.0, "That is better than a network can be that has not seen these digits."
    share = min(1.0, max(0.0, (LOSS[1] - loss) / (LOSS[1] - LOSS[0])))
    return share, f"Loss {loss:.3f} on digits not trained on. All points up to {LOSS[0]}, none from {LOSS[1]} on."


def samples(_, inputs, value):
    """The share for samples: how many lie among the real digits, every class, and no copies."""
    x, real = np.asarray(value), digits()
    if x.shape != np.shape(inputs["xT"]) or x.dtype.kind != "f" or not np.isfinite(x).all():
        return 0.0, f"generate must return finite numbers of shape {np.shape(inputs['xT'])}."
    x, (images, labels) = torch.as_tensor(x).double().clamp(-3, 3), real
    among, _ = precision_recall(images[:HELD_OUT].flatten(1), x.flatten(1))
    distance, nearest = nearest_neighbours(x, images)
    if (distance < 0.5).double().mean() > 0.05:
        return 0.0, "Some of these images are copies of training images. The question asks for new ones."
    classes = labels[nearest].bincount(minlength=10) / len(x)
    share = min(1.0, max(0.0, (among - AMONG[1]) / (AMONG[0] - AMONG[1]))) * (1.0 if classes.min() > 0.01 else 0.5)
    few = "" if classes.min() > 0.01 else " At least one class is missing: half of the points."
    return share, f"{among:.0%} of the samples lie among the real digits. All points from {AMONG[0]:.0%} on.{few}"


def held_out(n):
    """n digits that are not trained on, in their order, again and again."""
    images, _ = digits()
    return images[HELD_OUT + torch.arange(n) % (len(images) - HELD_OUT)]


def example_noised(n=600):
    generator = torch.Generator().manual_seed(1)
    t = torch.arange(n) % T + 1
    a = linear_schedule(T, rescale=True).alpha_bar[t][:, None, None, None].float()
    xt = a.sqrt() * held_out(n) + (1 - a).sqrt() * torch.randn((n, 1, 8, 8), generator=generator)
    return {"xt": xt.numpy(), "t": t.numpy()}


def example_start(n=200):
    generator = torch.Generator().manual_seed(1)
    return {"xT": torch.randn((n, 1, 8, 8), generator=generator).numpy(),
            "z": torch.randn((20, n, 1, 8, 8), generator=generator).numpy()}
