"""The exercises of lesson 05 Posterior."""

import torch

from .exercise import Exercise

_X, _EPS = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.3], [-0.2, -2.0]])

EXERCISES = {
    "5.1": Exercise(0.1 / 0.28 * 0.2, {
        "You divided the other way round.": 0.28 / 0.1 * 0.2,
        "You left out the factor β_2.": 0.1 / 0.28,
        "You used α_2 where ᾱ_2 = α_1 α_2 belongs.": 0.1,
        "That is β_2, the forward step's variance.": 0.2,
        "That is 1 - ᾱ_2, the noise of the jump.": 0.28,
        "Divide by 1 - ᾱ_2.": 0.02,
        "The factor is (1 - ᾱ_1) / (1 - ᾱ_2), not ᾱ_1 / ᾱ_2.": 0.9 / 0.72 * 0.2,
        "That is the root. β̃ is a variance.": (0.1 / 0.28 * 0.2) ** 0.5,
    }, hint="ᾱ_1 = 0.9, ᾱ_2 = 0.72, β_2 = 0.2."),
    "5.2": Exercise(1.3 / 1.4, {
        "An interpolation's weights sum to 1; these do not.": 1.0,
        "Take the roots of α_t and ᾱ_{t-1} first.": 0.89 / 1.16,
        "Take the roots √α_t and √ᾱ_{t-1} in the weights.": (0.64 * 0.75 + 0.25 * 0.36) / 0.84,
        "That is one weight, of x_t. Add the other.": 0.8 * 0.75 / 0.84,
        "That is one weight, of x_0. Add the other.": 0.5 * 0.36 / 0.84,
        "The denominator is 1 - ᾱ_t, without a root.": (0.8 * 0.75 + 0.5 * 0.36) / 0.84**0.5,
        "The denominator is 1 plus the product of the roots.": 1.3,
    }, hint="The sum is (u + w) / (1 + u w), with u and w the roots."),
    "5.3": Exercise(lambda xt, eps, alpha_t, alpha_bar_t:
                    (xt - (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * eps) / alpha_t**0.5, {
        "You used √ᾱ_t where √α_t belongs: the outer factor undoes one step, not t.":
            lambda xt, eps, alpha_t, alpha_bar_t:
            (xt - (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * eps) / alpha_bar_t**0.5,
        "The denominator under the noise is a root, √(1 - ᾱ_t).":
            lambda xt, eps, alpha_t, alpha_bar_t: (xt - (1 - alpha_t) / (1 - alpha_bar_t) * eps) / alpha_t**0.5,
        "That is x_0, all t steps undone. The question asks for one step back.":
            lambda xt, eps, alpha_t, alpha_bar_t: (xt - (1 - alpha_bar_t) ** 0.5 * eps) / alpha_bar_t**0.5,
        "The noise is subtracted.": lambda xt, eps, alpha_t, alpha_bar_t:
            (xt + (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * eps) / alpha_t**0.5,
        "The numerator is β_t = 1 - α_t, without a root.": lambda xt, eps, alpha_t, alpha_bar_t:
            (xt - ((1 - alpha_t) / (1 - alpha_bar_t)) ** 0.5 * eps) / alpha_t**0.5,
        "The outer factor is a root, √α_t.": lambda xt, eps, alpha_t, alpha_bar_t:
            (xt - (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * eps) / alpha_t,
        "Undo the shrinking: divide by √α_t.": lambda xt, eps, alpha_t, alpha_bar_t:
            (xt - (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * eps) * alpha_t**0.5,
        "That is the noise of the last step. ε is the noise of the whole jump.":
            lambda xt, eps, alpha_t, alpha_bar_t: (xt - (1 - alpha_t) ** 0.5 * eps) / alpha_t**0.5,
        "The outer factor is missing: divide by √α_t.":
            lambda xt, eps, alpha_t, alpha_bar_t: xt - (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * eps,
    }, inputs=(_X, _EPS, torch.tensor(0.8), torch.tensor(0.4)), hint="The formula of section 5, symbol by symbol."),
}
