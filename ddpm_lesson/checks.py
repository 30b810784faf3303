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
    return "not yet. Go back to the last equation above and read it symbol by symbol."


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


_X0, _EPS = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.3], [-0.2, -2.0]])

EXERCISES = {
    "0.1": Exercise(25.0, {
        "You added the standard deviations. Variances add: square both first.": 7.0,
        "That is the standard deviation, √(3² + 4²). The question asks for the variance.": 5.0,
    }),
    "0.2": Exercise((2.0, 0.25), {
        "The variance takes the square of the factor.": (2.0, 0.5),
        "The added constant moves the mean and leaves the variance alone.": (2.0, 1.25),
    }),
    "0.3": Exercise(0.75, {
        "You left out the prior: weigh each likelihood by how common its class is.": 0.9,
        "That is the joint probability. Divide it by the probability of what was seen.": 0.27,
    }),
    "0.4": Exercise(2.0, {
        "With equal variances the logarithm and the ratio cancel. What is left has a factor 1/2.": 4.0,
    }),
    "0.5": Exercise((8, 1, 28, 28), {
        "Broadcasting lines shapes up from the right: (8, 1, 1, 1) stretches over each image.": (8, 8, 28, 28),
    }),
    "2.1": Exercise(0.75**0.5 * 2 + 0.5, {
        "You scaled the noise by β_t. β_t is a variance, so the noise is scaled by √β_t.": 0.75**0.5 * 2 + 0.25,
        "You scaled x by 1 - β_t. The kernel's mean has its root, √(1 - β_t).": 0.75 * 2 + 0.5,
        "You forgot to shrink x before adding the noise.": 2.5,
    }),
    "2.2": Exercise(1.75, {
        "You kept the signal's part and forgot the noise's, 1 - ᾱ_t.": 1.0,
        "You used √ᾱ_t where ᾱ_t belongs: variances take the square of the factor on x_0.": 2.5,
    }),
    "2.3": Exercise(0.28**0.5, {
        "That is the variance. The question asks for its root.": 0.28,
        "You added the two weights. Independent noises add their variances, not their standard deviations.":
            0.08**0.5 + 0.2**0.5,
        "The second step shrinks the first step's noise too: its variance becomes α_2 β_1.": 0.3**0.5,
    }),
    "2.4": Exercise(0.3, {"ᾱ_t is the share of the power. The image itself is scaled by √ᾱ_t.": 0.09}),
    "2.5": Exercise(0.98**150, {
        "That is √ᾱ_T. ᾱ_T is the whole product.": 0.98**75,
        "You multiplied β_t. ᾱ_T is a product of α_t = 1 - β_t.": 0.02**150,
        "That is 1 - ᾱ_T, the noise's share.": 1 - 0.98**150,
    }, tolerance=0.02),
    "2.6": Exercise(lambda x0, alpha_bar_t, eps: x0 + ((1 - alpha_bar_t) / alpha_bar_t) ** 0.5 * eps, {
        "That is the VP form: the VE form leaves x_0 as it is.":
            lambda x0, alpha_bar_t, eps: alpha_bar_t**0.5 * x0 + (1 - alpha_bar_t) ** 0.5 * eps,
        "You scaled the noise by its variance. Take the root of (1 - ᾱ_t) / ᾱ_t.":
            lambda x0, alpha_bar_t, eps: x0 + (1 - alpha_bar_t) / alpha_bar_t * eps,
        "√(1 - ᾱ_t) is the VP noise. The division by √ᾱ_t scales the noise too.":
            lambda x0, alpha_bar_t, eps: x0 + (1 - alpha_bar_t) ** 0.5 * eps,
    }, inputs=(_X0, 0.36, _EPS)),
}
