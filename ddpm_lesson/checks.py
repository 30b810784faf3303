"""What an exercise calls: `check("2.1", answer)` says right, names the classic mistake, or says "not answered yet".

A right answer is a number, a tuple of numbers, or a function that is tried on a few inputs. It never raises, so that
a notebook with open questions still runs to its end. The right answers stand here: this is help, not an exam.
"""

from typing import NamedTuple

import numpy as np
import torch


class Exercise(NamedTuple):
    right: object  # a number, a tuple of numbers, or a function of `inputs`
    mistakes: dict = {}  # what a classic mistake is -> the number or function it leads to
    inputs: tuple = ()  # for functions: the arguments to try
    hint: str = "Go back to the question."  # for an answer that matches no mistake
    tolerance: float = 0.005  # relative: answers may be rounded


def check(exercise, answer):
    """Prints whether `answer` is right for the exercise with this number, such as "2.1"."""
    if exercise not in EXERCISES:
        raise ValueError(f"exercise must be one of {', '.join(EXERCISES)}, not {exercise!r}")
    print(f"{exercise}: {_verdict(EXERCISES[exercise], answer)}")


def _verdict(exercise, answer):
    if answer is None or answer is ...:
        return "not answered yet."
    try:
        given = _values(exercise, answer)
    except NotImplementedError:
        return "not answered yet."
    except Exception as error:  # a student's function may fail in any way; the notebook goes on
        return f"not yet. Your answer raised {type(error).__name__}: {error}"
    right = _values(exercise, exercise.right)
    if given.shape != right.shape:
        return f"not yet. Expected {_shape(right)}, got {_shape(given)}."
    if torch.allclose(given, right, rtol=exercise.tolerance, atol=1e-9):
        return "right."
    for name, wrong in exercise.mistakes.items():
        if torch.allclose(given, _values(exercise, wrong), rtol=exercise.tolerance, atol=1e-9):
            return f"not yet. {name}"
    return f"not yet. {exercise.hint}"


def _values(exercise, answer):
    """The answer, or what the answer's function returns, as one float64 tensor."""
    if callable(exercise.right):
        if not callable(answer):
            raise TypeError("expected a function")
        answer = answer(*(x.clone() if torch.is_tensor(x) else x for x in exercise.inputs))
    answer = answer.detach().cpu() if torch.is_tensor(answer) else answer
    return torch.from_numpy(np.asarray(answer, dtype=np.float64))


def _shape(values):
    return f"{values.numel()} number{'s' * (values.numel() != 1)} of shape {tuple(values.shape)}"


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
