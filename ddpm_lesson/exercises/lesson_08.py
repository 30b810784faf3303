"""The exercises of lesson 08 Sampling."""

import math

from .exercise import Exercise

# The weights of x_t and of the guess in exercise 8.2.
_A, _B = 0.8**0.5 * 0.5 / 0.6, 0.5**0.5 * 0.2 / 0.6

EXERCISES = {
    "8.1": Exercise((1 - 0.36 / 0.9 * 0.5) / 0.8 - 0.6, {
        "You used √ᾱ_t where √α_t belongs: the outer factor undoes one step.":
            (1 - 0.36 / 0.9 * 0.5) / 0.19**0.5 - 0.6,
        "σ_t² is the variance. Its root multiplies z.": (1 - 0.36 / 0.9 * 0.5) / 0.8 - 0.36,
        "Under ε_θ stands the root √(1 - ᾱ_t).": (1 - 0.36 / 0.81 * 0.5) / 0.8 - 0.6,
        "The predicted noise is subtracted.": (1 + 0.36 / 0.9 * 0.5) / 0.8 - 0.6,
        "z = -1: mind its sign.": (1 - 0.36 / 0.9 * 0.5) / 0.8 + 0.6,
        "The outer factor is a root, √α_t.": (1 - 0.36 / 0.9 * 0.5) / 0.64 - 0.6,
        "That is the mean. Add σ_t z.": (1 - 0.36 / 0.9 * 0.5) / 0.8,
        "That is the guess at x_0, all t steps undone.": (1 - 0.9 * 0.5) / 0.19**0.5,
        "In front of ε_θ stands β_t = 1 - α_t, without a root.":
            (1 - 0.6 / 0.9 * 0.5) / 0.8 - 0.6,
        "That is σ_t² = β̃_t. The question has σ_t² = β_t.":
            (1 - 0.36 / 0.9 * 0.5) / 0.8 - 0.3125**0.5,
        "σ_t² = β_t = 1 - α_t, not α_t.": (1 - 0.36 / 0.9 * 0.5) / 0.8 - 0.8,
    }, hint="1 - α_t = 0.36, √(1 - ᾱ_t) = 0.9, √α_t = 0.8, σ_t = 0.6."),
    "8.2": Exercise(_A * 0.8 + _B, {
        "The guess x_{0|t} is not clipped.": _A * 0.8 + _B * (0.8 + 0.6**0.5) / 0.4**0.5,
        "That is the clipped guess, or x_{t-1} clipped. Put the clipped guess into the mean.": 1.0,
        "The predicted noise is subtracted in the guess: minus times minus.":
            _A * 0.8 + _B * (0.8 - 0.6**0.5) / 0.4**0.5,
        "√α_t, not √ᾱ_t, stands in the weight of x_t.": 0.4**0.5 * 0.5 / 0.6 * 0.8 + _B,
        "√ᾱ_{t-1}, not √ᾱ_t, stands in the weight of x_0.": _A * 0.8 + 0.4**0.5 * 0.2 / 0.6,
        "Divide both weights by 1 - ᾱ_t.": (_A * 0.8 + _B) * 0.6,
        "Below stands 1 - ᾱ_t, without a root.": (_A * 0.8 + _B) * 0.6**0.5,
        "A plus sign stands between the two terms.": _A * 0.8 - _B,
        "You swapped the two weights.": _A + _B * 0.8,
    }, hint="The guess is 2.49, so 1 after the clip; then the mean of lesson 05, section 2."),
    "8.3": Exercise(0.9 * (0.8 + 0.02 / 0.28), {
        "That is Var(x_1). The last step is still to come.": 0.8 + 0.02 / 0.28,
        "That is σ_t² = β_t. The question has σ_t² = β̃_t.": 0.9,
        "The chain has lost some of its variance.": 1.0,
        "That is the standard deviation. (Or noise at t = 1? β̃_1 is 0.)":
            (0.9 * (0.8 + 0.02 / 0.28)) ** 0.5,
        "Variances scale with α_t, not with its root.": 0.9**0.5 * (0.8**0.5 + 0.02 / 0.28),
        "Step 2 adds noise too: β̃_2.": 0.72,
        "In β̃_2, 1 - ᾱ_1 is above and 1 - ᾱ_2 below.": 0.9 * (0.8 + 0.28 / 0.1 * 0.2),
        "In β̃_2, 1 - ᾱ_2 = 0.28 is below, not 1 - α_2.": 0.9 * (0.8 + 0.1 / 0.2 * 0.2),
        "β̃_2 is a variance. Do not take its root.": 0.9 * (0.8 + (0.02 / 0.28) ** 0.5),
    }, hint="Twice Var(x_{t-1}) = α_t Var(x_t) + σ_t², with β̃_2 = 0.1 / 0.28 · 0.2 and β̃_1 = 0."),
    "8.4": Exercise(1 / 3, {
        "There Langevin settles: the variance of the law whose score it is.": 0.5,
        "You left out the drift x/2.": 0.25,
        "The drift x/2 points outwards: 2 - 1/2, not 2 + 1/2.": 0.2,
        "The factor on x is squared in the variance: 2 · (2 - 1/2).": 1 / 1.5,
        "That is the first score of the section, -4x. Here it is -2x.": 1 / 7,
        "That is the standard deviation.": (1 / 3) ** 0.5,
        "Twice the score: this step has s, Langevin s/2.": 1.0,
    }, hint="x ← (1 - 1.5 β) x + √β z. Set the variance after it equal to that before."),
    "8.5": Exercise(math.tanh(0.46875), {
        "That is the nearest point. The other one keeps some weight.": 1.0,
        "√ᾱ_t multiplies the points, not ᾱ_t.": math.tanh(0.28125),
        "Divide by the variance 1 - ᾱ_t, not by its root.": math.tanh(0.375),
        "Half the squared distance stands in the exponent.": math.tanh(0.9375),
        "That is the weight of the point 1. Average the two points.": (1 + math.tanh(0.46875)) / 2,
        "That is x_t / √ᾱ_t, which takes the noise for signal.": 0.5 / 0.6,
        "The weights have exponentials. Without them you get the argument of tanh.": 0.46875,
        "The points are shrunk in x_t: their distance is to √ᾱ_t x^(i).": math.tanh(0.78125),
        "Mind the sign: x_t is nearer to the point 1.": -math.tanh(0.46875),
        "The two weights differ: x_t is nearer to one of the points.": 0.0,
    }, hint="The weights are proportional to exp(±√ᾱ_t x_t / (1 - ᾱ_t)), so the mean is a tanh."),
}
