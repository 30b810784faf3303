"""The exercises of lesson 11 Proofreading."""

from math import pi

from .exercise import Exercise

EXERCISES = {
    "11.1": Exercise(2 * pi * 0.25, {
        "That is right for d = 1, or with one normaliser per entry. Here are three entries and one normaliser.": 1.0,
        "The exponential integrates to that. The printed factor still stands before it.": (2 * pi * 0.25) ** 1.5,
        "That is the missing factor of one entry. Two entries lack theirs.": (2 * pi * 0.25) ** 0.5,
        "That is the printed factor alone.": (2 * pi * 0.25) ** -0.5,
        "The other way round: the area is too large, not too small.": 1 / (2 * pi * 0.25),
        "σ² is 0.25 as it stands, without a root.": 2 * pi * 0.5,
        "σ² is 0.25 already. You squared it.": 2 * pi * 0.0625,
    }, hint="Each entry's exponential integrates to √(2πσ²). There are three, and one of them is paid for."),
    "11.2": Exercise(0.9 * 2 + 0.5, {
        "That is x_0, what a right formula gives. What does this one give?": 0.5,
        "The x_0 term is missing. Its weight at t = 1 is β_1 / (1 - ᾱ_1) = 1.": 1.8,
        "The weight of x_1 has a root: √α_1.": 0.81 * 2 + 0.5,
        "The weight of x_0 is divided by 1 - ᾱ_1, which is β_1 at t = 1.": 1.8 + 0.19 * 0.5,
        "The weight of x_1 is √α_1 at t = 1: the fraction after it is 1.": 0.9 * 0.19 * 2 + 0.5,
        "The weight of x_0 has √ᾱ_0 = 1, not √ᾱ_1.": 1.8 + 0.9 * 0.5,
    }, hint="ᾱ_0 = 1, ᾱ_1 = α_1 = 0.81, β_1 = 0.19."),
    "11.3": Exercise(0.5, {
        "The other way round: the blog's value is the smaller one.": 2.0,
        "Take the root: the factors are √α_t and √ᾱ_t.": 0.25,
        "The other way round, and without the root.": 4.0,
        "That is √ᾱ_t, what the bracket is of x_0. The blog then divides by √α_t.": 0.2**0.5,
        "That is √α_t. The bracket is √ᾱ_t x_0, not x_0.": 0.8**0.5,
        "You multiplied by √α_t. The blog divides by it.": 0.4,
    }, hint="The bracket is √ᾱ_t x_0. Divide by what the blog divides by."),
}
