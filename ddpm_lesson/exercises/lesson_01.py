"""The exercises of lesson 01 Gaussians."""

import math

import torch

from .exercise import Exercise

EXERCISES = {
    "1.1": Exercise(1 / math.sqrt(2 * math.pi * 0.25), {
        "You used 0.25 as the standard deviation. The last entry is the variance.": 1 / (math.sqrt(2 * math.pi) * 0.25),
        "The prefactor is one over the root of 2πσ².": 1 / (2 * math.pi * 0.25),
        "That is the standard normal's. Divide by σ = 0.5.": 1 / math.sqrt(2 * math.pi),
    }, hint="At the mean the exponential is 1. The prefactor is left."),
    "1.2": Exercise(40_000, {
        "The error falls with the root of n: square the ratio.": 200,
        "You left σ out: the standard error is σ / √n.": 10_000,
        "σ² / n is the variance of the mean. Its root is the standard error.": 400,
        "You forgot to square σ.": 20_000,
    }, hint="Solve σ / √n = 0.01 for n."),
    "1.3": Exercise(0.5, {
        "You added standard deviations. Add variances, then take the root.": 0.7,
        "That is the variance. Take its root.": 0.25,
    }, hint="Variances of independent variables add."),
    "1.4": Exercise((3.0, 2 / 3), {
        "The mean weighs each source by its precision, 1 / variance, not equally.": (3.5, 2 / 3),
        "That is the sum of two variables. For products of densities the precisions add.": (7.0, 3.0),
        "You weighed by the variances. The more precise source counts more.": (4.0, 2 / 3),
        "The second number is the precision. The variance is one over it.": (3.0, 1.5),
        "The second number is the standard deviation. The question asks for the variance.": (3.0, (2 / 3) ** 0.5),
    }, hint="A = 1/v + 1/w and B = m/v + y/w: mean B/A, variance 1/A."),
    "1.5": Exercise(math.log(5) - math.log(9) / 2, {
        "That is log E[Y]. Subtract the mean of the logarithms.": math.log(5),
        "That is E[log Y]. Subtract it from the logarithm of the mean.": math.log(3),
        "That is base 10. log is the natural logarithm.": (math.log(5) - math.log(9) / 2) / math.log(10),
        "The other way round: the logarithm of the mean is the larger.": math.log(3) - math.log(5),
    }, hint="E[Y] = 5, and E[log Y] = (log 1 + log 9) / 2."),
    "1.6": Exercise(math.log(2) + 1 / 8 - 1 / 2, {
        "You used 4 as the standard deviation. It is the variance.": math.log(4) + 1 / 32 - 1 / 2,
        "log(σ_q / σ_p) takes standard deviations: log 2, not log 4.": math.log(4) + 1 / 8 - 1 / 2,
        "That is the other direction, KL(N(0, 4) || N(0, 1)).": -math.log(2) + 2 - 1 / 2,
        "That is in bits. In nats, use the natural logarithm throughout.":
            (math.log(2) + 1 / 8 - 1 / 2) / math.log(2),
    }, hint="The means agree. σ_p = 1 and σ_q = 2."),
    "1.7": Exercise(lambda mean_p, mean_q, var: ((mean_p - mean_q) ** 2).sum() / (2 * var), {
        "The factor 1/2 is missing.": lambda mean_p, mean_q, var: ((mean_p - mean_q) ** 2).sum() / var,
        "Sum over the dimensions, do not average: divergences of independent entries add.":
            lambda mean_p, mean_q, var: ((mean_p - mean_q) ** 2).mean() / (2 * var),
        "You divided by the square of the variance: `var` is σ² already.":
            lambda mean_p, mean_q, var: ((mean_p - mean_q) ** 2).sum() / (2 * var**2),
        "You averaged over the dimensions and left out the 1/2. Sum, then divide by 2σ².":
            lambda mean_p, mean_q, var: ((mean_p - mean_q) ** 2).mean() / var,
        "Python divides first, then multiplies: write / (2 * var).":
            lambda mean_p, mean_q, var: ((mean_p - mean_q) ** 2).sum() / 2 * var,
        "Square each entry first, then sum.": lambda mean_p, mean_q, var: (mean_p - mean_q).sum() ** 2 / (2 * var),
        "That is the distance, not its square.":
            lambda mean_p, mean_q, var: ((mean_p - mean_q) ** 2).sum() ** 0.5 / (2 * var),
    }, inputs=(torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.0, 0.3, -0.2]), torch.tensor(0.3)),
       hint="The second formula of section 8."),
}
