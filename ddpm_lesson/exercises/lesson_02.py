"""The exercises of lesson 02 Forward process."""

import torch

from .exercise import Exercise

_X, _EPS = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.3], [-0.2, -2.0]])
_SIGMAS = torch.tensor(0.5), torch.tensor(1.3)

EXERCISES = {
    "2.1": Exercise(0.75**0.5 * 2 + 0.5, {
        "You scaled the noise by β_t. β_t is a variance, so the noise is scaled by √β_t.": 0.75**0.5 * 2 + 0.25,
        "You scaled x by 1 - β_t. The kernel's mean has its root, √(1 - β_t).": 0.75 * 2 + 0.5,
        "Both factors are roots: √(1 - β_t) on x and √β_t on the noise.": 0.75 * 2 + 0.25,
        "You forgot to shrink x before adding the noise.": 2.5,
        "You forgot to shrink x, and the noise is scaled by √β_t, not by β_t.": 2.25,
    }, hint="Put the numbers into the drawing rule of section 1."),
    "2.2": Exercise(1.75, {
        "You kept the signal's part and forgot the noise's, 1 - ᾱ_t.": 1.0,
        "You used √ᾱ_t where ᾱ_t belongs: variances take the square of the factor on x_0.": 2.5,
        "It is the distance to 1 that shrinks: subtract 1 from Var(x_0) first.": 2.0,
    }, hint="The last formula of section 2 has all you need."),
    "2.3": Exercise(0.28**0.5, {
        "That is the variance. The question asks for its root.": 0.28,
        "You added the two weights. Independent noises add their variances, not their standard deviations.":
            0.08**0.5 + 0.2**0.5,
        "The second step shrinks the first step's noise too: its variance becomes α_2 β_1.": 0.3**0.5,
        "You added the β's: the second step shrinks the first noise, and a standard deviation is a root.": 0.3,
        "That is the factor on x_0, the signal's. The question asks for the noise's.": 0.72**0.5,
    }, hint="The noise in x_2 has variance 1 - α_2 α_1."),
    "2.4": Exercise(0.98**150, {
        "Rounded too far: give two significant digits.": 0.05,
        "That is √ᾱ_T. ᾱ_T is the whole product.": 0.98**75,
        "You multiplied β_t. ᾱ_T is a product of α_t = 1 - β_t.": 0.02**150,
        "You subtracted the β's. The α's multiply.": 1 - 150 * 0.02,
        "That is 1 - ᾱ_T, the noise's share.": 1 - 0.98**150,
    }, hint="ᾱ_T is the product of T equal factors: see the table of symbols.", tolerance=0.02),
    "2.5": Exercise(lambda x_prev, sigma_prev, sigma_t, eps: x_prev + (sigma_t**2 - sigma_prev**2) ** 0.5 * eps, {
        "You scaled the noise by the difference of the standard deviations. It is the variances that are subtracted.":
            lambda x_prev, sigma_prev, sigma_t, eps: x_prev + (sigma_t - sigma_prev) * eps,
        "You scaled the noise by a variance. Take its root.":
            lambda x_prev, sigma_prev, sigma_t, eps: x_prev + (sigma_t**2 - sigma_prev**2) * eps,
        "σ_t is the noise of the whole way from x_0. One step adds only what is still missing.":
            lambda x_prev, sigma_prev, sigma_t, eps: x_prev + sigma_t * eps,
        "That is σ_t² of the whole way, and a variance. One step adds √(σ_t² - σ_{t-1}²) ε.":
            lambda x_prev, sigma_prev, sigma_t, eps: x_prev + sigma_t**2 * eps,
    }, inputs=(_X, *_SIGMAS, _EPS), hint="The kernel of section 6: what is its mean, and what its standard deviation?"),
}
