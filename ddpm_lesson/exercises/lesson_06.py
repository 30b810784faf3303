"""The exercises of lesson 06 Predictors."""

import torch

from .exercise import Exercise

_X, _MEAN = torch.tensor([[0.5, -1.0, 0.8], [2.0, 0.0, -1.7]]), torch.tensor([[0.9, -0.3, 1.0], [-0.2, -2.0, 0.4]])

EXERCISES = {
    "6.1": Exercise((1.4 - 0.6 * 0.5) / 0.8, {
        "The noise's factor is a root, √(1 - ᾱ_t).": (1.4 - 0.36 * 0.5) / 0.8,
        "Divide by the root, √ᾱ_t.": (1.4 - 0.6 * 0.5) / 0.64,
        "Both factors are roots: √(1 - ᾱ_t) and √ᾱ_t.": (1.4 - 0.36 * 0.5) / 0.64,
        "The noise is subtracted.": (1.4 + 0.6 * 0.5) / 0.8,
        "The noise is gone, the shrinking is not: divide by √ᾱ_t.": 1.4 - 0.6 * 0.5,
        "You swapped the two factors: √ᾱ_t belongs to x_0.": (1.4 - 0.8 * 0.5) / 0.6,
        "You divided by √ᾱ_t, but forgot √(1 - ᾱ_t) on the noise.": (1.4 - 0.5) / 0.8,
        "That is the shrunken x_t undone, as if there were no noise in it.": 1.4 / 0.8,
    }, hint="Solve x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε for x_0."),
    "6.2": Exercise(lambda xt, mean, alpha_t, alpha_bar_t:
                    (xt - alpha_t**0.5 * mean) * (1 - alpha_bar_t) ** 0.5 / (1 - alpha_t), {
        "You took the mean for x_0: that is the noise from x_0.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - alpha_bar_t**0.5 * mean) / (1 - alpha_bar_t) ** 0.5,
        "The mean is multiplied by the root √α_t: one step back was undone.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - alpha_t * mean) * (1 - alpha_bar_t) ** 0.5 / (1 - alpha_t),
        "You used √ᾱ_t where √α_t belongs: the mean lies one step back, not t.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - alpha_bar_t**0.5 * mean) * (1 - alpha_bar_t) ** 0.5 / (1 - alpha_t),
        "Multiply the mean by √α_t before you subtract it.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - mean) * (1 - alpha_bar_t) ** 0.5 / (1 - alpha_t),
        "The factor is √(1 - ᾱ_t) / β_t: you left out its root.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - alpha_t**0.5 * mean) * (1 - alpha_bar_t) / (1 - alpha_t),
        "You turned the factor upside down: it is √(1 - ᾱ_t) / β_t.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - alpha_t**0.5 * mean) * (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5,
        "The sign is turned round: the mean was x_t minus noise.": lambda xt, mean, alpha_t, alpha_bar_t:
            (alpha_t**0.5 * mean - xt) * (1 - alpha_bar_t) ** 0.5 / (1 - alpha_t),
        "Divide by β_t = 1 - α_t, without a root.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - alpha_t**0.5 * mean) * (1 - alpha_bar_t) ** 0.5 / (1 - alpha_t) ** 0.5,
        "You left out β_t = 1 - α_t.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - alpha_t**0.5 * mean) * (1 - alpha_bar_t) ** 0.5,
        "You left out the factor √(1 - ᾱ_t).": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - alpha_t**0.5 * mean) / (1 - alpha_t),
        "√(1 - ᾱ_t) stood below the noise: solved for ε, it stands above.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - alpha_t**0.5 * mean) / (1 - alpha_bar_t) ** 0.5 / (1 - alpha_t),
        "The mean was divided by √α_t already: to undo that, multiply.": lambda xt, mean, alpha_t, alpha_bar_t:
            (xt - mean / alpha_t**0.5) * (1 - alpha_bar_t) ** 0.5 / (1 - alpha_t),
    }, inputs=(_X, _MEAN, torch.tensor(0.8), torch.tensor(0.4)),
        hint="Solve the mean's second spelling in section 2 for ε."),
    "6.3": Exercise((0.4375, 1.0), {
        "You left out the prior probabilities 0.6, 0.3, 0.1.": (1.2, 1.0),
        "You left out the prior probabilities, and the products must be divided by their sum.": (0.6, 1.0),
        "You left out what x_t says, q(x_t | x_0).": (0.1, -1.0),
        "Divide by the sum 0.16: the products are not yet probabilities.": (0.07, 1.0),
        "First the mean, then the mode.": (1.0, 0.4375),
        "The mean is right. The mode is the x_0 with the largest product.": (0.4375, -1.0),
        "The mean is right. The mode is the x_0 itself, not its probability.": (0.4375, 0.5625),
        "The mean is right. The mode is the x_0 itself, not its product.": (0.4375, 0.09),
        "The mode is right. The mean weighs each x_0 by its probability.": (4 / 3, 1.0),
        "The mean is not the most likely value.": (1.0, 1.0),
    }, hint="Bayes' rule: three products, divided by their sum."),
    "6.4": Exercise(3 / 7, {
        "No network can guess the noise exactly: x_t does not give x_0 away.": 0.0,
        "That is the smallest error of an x_0 predictor. Multiply by ᾱ_t / (1 - ᾱ_t).": 12 / 7,
        "You used Var(x_0) = 3. x_t has told us something: use the variance that it leaves open.": 0.75,
        "x_t measures √ᾱ_t x_0, not x_0: its precision is ᾱ_t / (1 - ᾱ_t).": 0.25 / (1 / 3 + 1 / 0.8),
        "The variance of the noise in x_t is 1 - ᾱ_t, not 1.": 0.25 / (1 / 3 + 0.2),
        "You multiplied by (1 - ᾱ_t) / ᾱ_t, the wrong way round.": 48 / 7,
        "That is the error of the answer 0, the variance of the noise.": 1.0,
        "That is the answer for data of variance 1.": 0.2,
        "3 is a variance. Do not square it.": 9 / 4 / (1 + 9 / 4),
        "3 is a variance. Do not take its root.": 3**0.5 / 4 / (1 + 3**0.5 / 4),
        "That is the root. The error is a variance.": (3 / 7) ** 0.5,
    }, hint="Precisions add: 1/3 from the data, ᾱ_t / (1 - ᾱ_t) from x_t."),
    "6.5": Exercise(0.6975, {
        "That is the error of a predictor that sees t.": 0.575,
        "That is only what the blind one loses. Add what no one can predict.": 0.1225,
        "That is the error of the answer 0.": 1.0,
        "c_t is a root, √(1 - ᾱ_t).": 0.575 + 0.385**2,
        "You averaged 1 - ᾱ_t and took the root. The best c is the average of the c_t.": 1.425 - 1.1 * 0.425**0.5,
        "You added the standard deviation of the c_t, not their variance.": 0.575 + 0.35,
        "The two values are all there are: their variance divides by 2, not by n - 1.": 0.575 + 0.245,
        "That is the square of the average c. The error is 1 minus it.": 0.3025,
        "Square the average c before you subtract it from 1.": 0.45,
    }, hint="The average of ᾱ_t, plus the variance of c_t = 0.2, 0.9."),
}
