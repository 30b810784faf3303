"""The exercises of lessons 09 Transformer and 09b Small lab."""

import math

from .exercise import Exercise

_E = math.e  # the larger of the two exponentials in exercise 9.4


def _x0(last=1, factor=1, var=1, eps_scale=1, z_at_1=0.0, sign=1, first_z=-1.0):
    """x_0 of exercise 9.5; each argument is one slip."""
    beta, alpha_bar = (0.0, 0.19, 0.36), (1.0, 0.81, 0.81 * 0.64)
    x = 1.0
    for t in (2, 1)[:3 - last]:
        alpha = 1 - beta[t]
        below = (1 - alpha_bar[t]) ** (0.5 if eps_scale else 1)
        inner = x - sign * beta[t] / below * {2: 0.5, 1: 0.2}[t] * x
        variance = {0: beta[t], 1: (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta[t]}[var > 0]
        std = variance if var == 2 else variance**0.5
        x = inner / (alpha if factor else alpha_bar[t]) ** 0.5 + std * first_z * (t == 2) + z_at_1 * (t == 1)
    return x


EXERCISES = {
    "9.1": Exercise((0.72**0.5, 0.28**0.5), {
        "Both weights are roots.": (0.72, 0.28),
        "The weight of the noise is a root, too.": (0.72**0.5, 0.28),
        "The weight of x_0 is a root, too.": (0.72, 0.28**0.5),
        "First x_0, then the noise.": (0.28**0.5, 0.72**0.5),
        "That is t = 3. In a table of length T, index 2 belongs to t = 3.": (0.36**0.5, 0.64**0.5),
        "That is t = 1, index 0 of the slide's table.": (0.9**0.5, 0.1**0.5),
        "That is the last step alone, α_2. The jump takes the product.": (0.8**0.5, 0.2**0.5),
        "You multiplied the β. The product is over α = 1 - β.": (0.02**0.5, 0.98**0.5),
        "You subtracted the sum of the β. Multiply the α.": (0.7**0.5, 0.3**0.5),
        "The squares of the weights sum to 1, not the weights.": (0.72**0.5, 1 - 0.72**0.5),
    }, hint="ᾱ_2 = 0.9 · 0.8; the weights are √ᾱ_2 and √(1 - ᾱ_2)."),
    "9.2": Exercise(1.8, {
        "That is index 2, which is t = 3: this table is read at t - 1.": 1.5 - 0.75**0.5,
        "That is t = 1.": 0.9**0.5 * 3 - 0.1**0.5,
        "Both factors are roots: √ᾱ_t and √(1 - ᾱ_t).": 1.56,
        "The noise needs the root √(1 - ᾱ_t).": 2.04,
        "The signal needs the root √ᾱ_t.": 1.32,
        "You swapped the factors of signal and noise.": 1.0,
        "ε = -1: mind its sign.": 3.0,
        "Only the noise is scaled; shrink x_0 by √ᾱ_t.": 2.4,
        "The factor of the noise is √(1 - ᾱ_t), not 1 - √ᾱ_t.": 2.2,
        "The entries are ᾱ_t already: products. Do not multiply them again.": 3 * 0.576**0.5 - 0.424**0.5,
    }, hint="ᾱ_2 = 0.64, so the weights are 0.8 and 0.6."),
    "9.3": Exercise(0.1, {
        "Each bump has a place and a height: two degrees of freedom.": 0.05,
        "That is the lab's own number.": 0.02,
        "That is the share of the known directions. There the noise is known.": 0.9,
        "That is the number of degrees of freedom. The error is per entry.": 6.0,
        "Count all bumps.": 2 / 60,
        "There are 60 points now, not 100.": 0.06,
        "A mean squared error: no root.": 0.1**0.5,
        "Two for each bump, and three bumps: 2 · 3, not 2 + 3.": 5 / 60,
        "Divide by all 60 entries, not by the other 54.": 6 / 54,
    }, hint="Count the uncertain directions, and divide by the number of entries."),
    "9.4": Exercise((2 * _E - 1) / (_E + 1), {
        "The softmax runs over the keys of one token: its weights sum to 1.":
            2 * _E / (_E + _E**2) - 1 / (1 + _E**0.5),
        "Divide the products by √d.": (2 * _E**2 - 1) / (_E**2 + 1),
        "Divide the products by √d, not by d.": (2 * _E**0.5 - 1) / (_E**0.5 + 1),
        "That is what token 2 gathers.": (2 * _E**2 - _E**0.5) / (_E**2 + _E**0.5),
        "Token 1 asks: its query with both keys. (Or you swapped the two values.)": (2 - _E) / (_E + 1),
        "Without the softmax these are scores, not weights.": 2.0,
        "These are scores, without the softmax and without √d.": 4.0,
        "That is the mean of the values. The scores decide the weights.": 0.5,
        "Divide by the sum of the exponentials.": 2 * _E - 1,
    }, hint="Scores 2/√4 and 0/√4, the softmax of the two, then the mean of the values with these weights."),
    "9.5": Exercise(_x0(), {
        "The outer factor undoes one step: √α_t, not √ᾱ_t.": _x0(factor=0),
        "σ_t² is the variance. Its root multiplies z.": _x0(var=2),
        "That is σ_t² = β_t. Here σ_t² = β̃_t.": _x0(var=0),
        "That is x_1. One step is left.": _x0(last=2),
        "No noise at t = 1: β̃_1 is 0.": _x0(z_at_1=0.19**0.5),
        "At t = 1, ᾱ_{t-1} is ᾱ_0 = 1. A table of length T has no such entry, and index -1 is its last.":
            _x0(z_at_1=((1 - 0.81 * 0.64) / 0.19 * 0.19) ** 0.5),
        "The predicted noise is subtracted.": _x0(sign=-1),
        "Under ε_θ stands the root √(1 - ᾱ_t).": _x0(eps_scale=0),
        "z = -1: mind its sign.": _x0(first_z=1.0),
        "Noise is added at t = 2.": _x0(first_z=0.0),
    }, hint="x_1 first: ᾱ_2 = 0.5184, β̃_2 = 0.19 / 0.4816 · 0.36. Then t = 1, without noise."),
    "9.6": Exercise(0.118, {
        "At t = 0 the jump adds no noise, and ε leaves no trace in x_0: its best guess is 0.": 0.018,
        "The step t = 0 has an error of its own, of 1.": 0.02,
        "Average over the ten steps: (1 + 9 · 0.02) / 10.": 1.18,
        "There are nine steps with 0.02 and one with 1.": 0.12,
        "The mean is over ten steps, not nine.": 1.18 / 9,
        "That is the loss at t = 0 alone.": 1.0,
        "t = 0 counts once in ten.": 0.51,
    }, hint="At t = 0, x_t = x_0, and ε cannot be guessed: an error of 1."),
    "9.7": Exercise(1.05, {
        "The loss of a batch fluctuates with its noise. Take the floor plus the gap.": 1.3,
        "No network is below the floor. That batch was lucky, or you subtracted the gap.": 0.95,
        "The mean of the two losses still fluctuates. Take the floor plus the gap.": 1.125,
        "That is the gap over the floor. Add the floor.": 0.05,
        "That is the ε-error. Divide it by the floor.": 0.21,
        "The gap is a mean square already: no root.": 1.5,
        "The floor is counted once.": 2.05,
    }, hint="ε-error = floor + gap, divided by the floor."),
}
