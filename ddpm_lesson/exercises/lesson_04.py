"""The exercises of lessons 04 ELBO and 04b The terms of the bound."""

import math

from .exercise import Exercise

_MEAN, _LOGS = math.log(0.5), (math.log(0.1) + math.log(0.9)) / 2

EXERCISES = {
    "4.1": Exercise((_MEAN, _LOGS), {
        "The other way round: the ELBO is the mean of the logarithms, and it is the smaller one.": (_LOGS, _MEAN),
        "The first number is p. Take its logarithm.": (0.5, _LOGS),
        "These are the negatives. The ELBO bounds log p, not -log p.": (-_MEAN, -_LOGS),
        "log is the natural logarithm.": (_MEAN / math.log(10), _LOGS / math.log(10)),
        "That is the logarithm of the mean, twice.": (_MEAN, _MEAN),
        "The ELBO is a mean: divide the sum of the logarithms by 2.": (_MEAN, 2 * _LOGS),
        "Take logarithms of both: of the mean, and of each ratio before the mean.": (0.5, 0.3),
    }, hint="log p is the logarithm of the mean ratio; the ELBO is the mean of its logarithm."),
    "4.2": Exercise((0.8, 0.75**0.5), {
        "The other way round: √α_1 minimises the bound.": (0.75**0.5, 0.8),
        "Take roots: θ multiplies x_1, and x_1 has √α_1 x_0 in it.": (0.64, 0.75),
        "The bound's best θ is √α_1, not α_1.": (0.64, 0.75**0.5),
        "The likelihood wants θ² + 1/4 = 1, the variance of the data.": (0.8, 0.75),
        "That is the example's α_1 = 1/2.": (0.5**0.5, 0.75**0.5),
        "The likelihood does not see α_1: the model starts from its own prior N(0, 1).": (0.8, 0.8),
    }, hint="The bound: minimise 1 - 2θ√α_1 + θ². The likelihood: θ² + 1/4 = 1."),
    "4.3": Exercise(0.2, {
        "You used α_{t+1} where √α_{t+1} belongs.": 0.5 * 0.64 * 0.2 / 0.4,
        "The covariance of x_t and x_{t+1} has √α_{t+1} in it.": 0.5 * 0.2 / 0.4,
        "The cross term of the square is divided by s: (x - cy)²/2s has c x y / s.": 0.5 * 0.8 * 0.2,
        "The 2 of the cross term cancels the 2 under it.": 0.1,
        "β_t is a variance already.": 0.5 * 0.8 * 0.2**0.5 / 0.4,
        "The factor c = 0.5 of the model's mean is missing.": 0.8 * 0.2 / 0.4,
        "Right size. Eq. 45 makes the bound larger, so the answer is positive.": -0.2,
    }, hint="c √α_{t+1} β_t / s."),
    "4.4": Exercise(4.0, {
        "Turn the ratio around: the numerators are q(x_{t-1} | x_0).": 0.25,
        "That is the last factor alone.": 0.2 / 0.15,
        "That is the first factor alone.": 1.2,
        "One factor is missing: the last is q(x_3 | x_0) / q(x_4 | x_0).": 3.0,
        "One factor is missing: the first is q(x_1 | x_0) / q(x_2 | x_0).": 0.5 / 0.15,
        "The factors multiply. You added them.": 1.2 + 2.5 + 0.2 / 0.15,
    }, hint="Write the three factors side by side and cancel."),
    "4.5": Exercise((math.log(2) + 0.95 - 1) / 2, {
        "That is the other direction, KL(p || q).": (math.log(0.5) + 2.9 - 1) / 2,
        "The factor 1/2 is missing.": math.log(2) + 0.95 - 1,
        "The logarithm has a ratio of variances here, so it is halved like the rest.": math.log(2) + (0.95 - 1) / 2,
        "You left the logarithm out.": (0.95 - 1) / 2,
        "That is only the part with the means, right for equal variances.": 0.09 / 0.4,
        "The second entries are variances already. You squared them.": (2 * math.log(2) + 0.1 / 0.04 - 1) / 2,
    }, hint="(log(σ_p²/σ_q²) + (σ_q² + (μ_q - μ_p)²)/σ_p² - 1) / 2."),
    "4.6": Exercise(math.log(2 * math.pi * math.e * 0.02) / 2, {
        "You left out the squared error. Divided by 2β_1 it is 1/2, not small.": math.log(2 * math.pi * 0.02) / 2,
        "You used β_1 as the standard deviation.": math.log(2 * math.pi * 0.02**2) / 2 + 0.5,
        "That is E log p. L_0 has a minus in front.": -math.log(2 * math.pi * math.e * 0.02) / 2,
        "The squared error is divided by 2 β_1.": math.log(2 * math.pi * 0.02) / 2 + 0.01,
        "The factor 1/2 before the logarithm is missing.": math.log(2 * math.pi * 0.02) + 0.5,
        "The squared error is divided by 2 β_1, not by β_1.": math.log(2 * math.pi * 0.02) / 2 + 1,
    }, hint="½ log(2πβ_1) + E(x_0 - √α_1 x_1)² / (2β_1)."),
}
