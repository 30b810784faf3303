"""The exercises of the lessons: each with its right answer, and what the classic mistakes lead to (see checks.py)."""

import math
from typing import NamedTuple

import torch


class Exercise(NamedTuple):
    right: object  # a number, a tuple of numbers, or a function of `inputs`
    mistakes: dict = {}  # what a classic mistake is -> the number or function it leads to
    inputs: tuple = ()  # for functions: the arguments to try
    hint: str = "Go back to the question."  # for an answer that matches no mistake
    tolerance: float = 0.005  # relative: answers may be rounded


_X, _EPS = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.3], [-0.2, -2.0]])
_SIGMAS = torch.tensor(0.5), torch.tensor(1.3)

EXERCISES = {
    "0.1": Exercise(25.0, {
        "You added the standard deviations. Variances add: square both first.": 7.0,
        "You squared the sum. Square each standard deviation, then add.": 49.0,
        "That is the standard deviation, √(3² + 4²). The question asks for the variance.": 5.0,
    }, hint="A variance is a standard deviation squared. Independent variances add."),
    "0.2": Exercise((2.0, 0.25), {
        "The variance takes the square of the factor.": (2.0, 0.5),
        "The added constant moves the mean and leaves the variance alone.": (2.0, 1.25),
        "The factor on the variance is its square, and the added constant only moves the mean.": (2.0, 1.5),
    }, hint="Mean: ½ · 2 + 1. And the variance?"),
    "0.3": Exercise(0.5625, {
        "That is how often it fires on a seven. You need how often it is a seven when it fires.": 0.9,
        "You left out the prior: weigh both likelihoods by how common their class is.": 0.75,
        "That is the joint probability. Divide it by the probability that the detector fires.": 0.27,
    }, hint="Bayes: P(seven | fires) = P(fires | seven) P(seven) / P(fires)."),
    "0.4": Exercise(2.0, {
        "You left out the factor 1/2.": 4.0,
        "Square the distance between the means.": 1.0,
    }, hint="Put the means 0 and 2 and the variance 1 into the formula."),
    "0.5": Exercise((8, 1, 28, 28), {
        "Broadcasting lines shapes up from the right: (8, 1, 1, 1) stretches over each image.": (8, 8, 28, 28),
        "The smaller tensor stretches; the result is as large as the larger one.": (8, 1, 1, 1),
    }, hint="Line the two shapes up. Where one has a 1, it takes the other's size."),
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
    "5.1": Exercise(0.1 / 0.28 * 0.2, {
        "You divided the other way round.": 0.28 / 0.1 * 0.2,
        "You left out the factor β_2.": 0.1 / 0.28,
        "You used α_2 where ᾱ_2 = α_1 α_2 belongs.": 0.1,
        "That is β_2, the forward step's variance.": 0.2,
        "That is 1 - ᾱ_2, the noise of the jump.": 0.28,
        "Divide by 1 - ᾱ_2.": 0.02,
        "That is the root. β̃ is a variance.": (0.1 / 0.28 * 0.2) ** 0.5,
    }, hint="ᾱ_1 = 0.9, ᾱ_2 = 0.72, β_2 = 0.2."),
    "5.2": Exercise(1.3 / 1.4, {
        "An interpolation's weights sum to 1; these do not.": 1.0,
        "Take the roots of α_t and ᾱ_{t-1} first.": 0.89 / 1.16,
        "Take the roots √α_t and √ᾱ_{t-1} in the weights.": (0.64 * 0.75 + 0.25 * 0.36) / 0.84,
        "That is one weight. Add the other.": 0.8 * 0.75 / 0.84,
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
        "The outer factor is missing: divide by √α_t.":
            lambda xt, eps, alpha_t, alpha_bar_t: xt - (1 - alpha_t) / (1 - alpha_bar_t) ** 0.5 * eps,
    }, inputs=(_X, _EPS, torch.tensor(0.8), torch.tensor(0.4)), hint="The formula of section 5, symbol by symbol."),
}
