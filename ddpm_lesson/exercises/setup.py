"""What the homeworks' tables share."""

import numpy as np

BETA = np.array([0, 0.05, 0.12, 0.2, 0.16, 0.3, 0.24, 0.4])  # a short chain to try a function on


def alpha_bar(beta):
    """The table ᾱ_0..ᾱ_T of a table β_0..β_T with β_0 = 0."""
    return np.cumprod(1 - np.asarray(beta, float))


def tensors(names):
    """The lines of a `setup` that make tensors of arrays: names is such as "x0, t"."""
    return "import torch\n" + "".join(f"{name} = torch.as_tensor({name})\n" for name in names.split(", "))


def drawn_beta(rng, T, low=0.08, high=0.45):
    """A table of T + 1 numbers, β_0 = 0, with three digits."""
    return [0.0, *(round(float(b), 3) for b in rng.uniform(low, high, T))]
