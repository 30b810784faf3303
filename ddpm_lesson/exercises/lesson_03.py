"""The exercises of lesson 03 Schedules."""

import math

import torch

from .exercise import Exercise

EXERCISES = {
    "3.1": Exercise(0.15, {
        "That is the slide's t/T. It attains β_1 at t = 0, which is not a step.": 0.18,
        "T values have T - 1 gaps, but the first value is reached at t = 1: count the gaps from there.": 0.2,
        "T values have T - 1 gaps between them, not T.": 0.14,
        "That is β_1.": 0.1,
    }, hint="From β_1 to β_5 there are four equal gaps. β_2 lies one gap above β_1."),
    "3.2": Exercise(0.75, {
        "The cosine is squared.": math.cos(math.pi / 6),
        "It is the cosine that is squared, not its argument.": math.cos((math.pi / 6) ** 2),
        "The argument is t/T times π/2.": math.cos(1 / 3) ** 2,
        "The argument is t/T times π/2, not times π.": 0.25,
        "The cosine of π/6 is √3/2: radians, not degrees.": math.cos(math.radians(math.pi / 6)) ** 2,
    }, hint="f(0) = 1, and the angle is π/6."),
    "3.3": Exercise(lambda alpha_bar: 1 - alpha_bar[1:] / alpha_bar[:-1], {
        "That is the noise variance that a step adds to x_t, ᾱ_{t-1} β_t. Divide by ᾱ_{t-1}.":
            lambda alpha_bar: alpha_bar[:-1] - alpha_bar[1:],
        "That is 1 - ᾱ_t, the noise of all t steps. β_t belongs to one step.": lambda alpha_bar: 1 - alpha_bar[1:],
        "You divided the other way round: ᾱ_t is the smaller one.":
            lambda alpha_bar: 1 - alpha_bar[:-1] / alpha_bar[1:],
        "That is α_t. β_t = 1 - α_t.": lambda alpha_bar: alpha_bar[1:] / alpha_bar[:-1],
    }, inputs=(torch.tensor([1.0, 0.9, 0.63, 0.21, 0.02]),), hint="ᾱ_t = (1 - β_t) ᾱ_{t-1}. Solve for β_t."),
    "3.4": Exercise(228, {
        "One step short: 0.98^227 is still above 0.01.": 227,
        "Round up: T is a whole number.": math.log(0.01) / math.log(0.98),
        "That is where √ᾱ_T falls below 0.01.": 456,
        "Close: e^(-Σβ) is only a bound. Use the logarithm of 1 - β.": 231,
        "That is where the β's add up to 1. The α's multiply.": 50,
        "That is where ᾱ_T falls below 0.1.": 114,
    }, hint="Solve 0.98^T = 0.01 with logarithms, and round up.", tolerance=1e-5),
    "3.5": Exercise(1 / (1 / 4 + 1 / 9), {
        "That is β_1, right only for data of variance 1.": 0.9,
        "The precision of the data is 1/4: precisions are inverse variances.": 1 / (4 + 1 / 9),
        "4 is a variance, not a standard deviation.": 1 / (1 / 16 + 1 / 9),
        "The measurement is scaled: x_1 = √α_1 x_0 + noise, so its precision is α_1/β_1.": 1 / (1 / 4 + 1 / 0.9),
        "That is the precision. The variance is one over it.": 1 / 4 + 1 / 9,
        "That is the standard deviation.": (1 / (1 / 4 + 1 / 9)) ** 0.5,
    }, hint="Precisions add: 1/4 from the data, α_1/β_1 from the step."),
}
