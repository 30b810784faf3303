"""What an exercise calls: `check("2.1", answer)` says right, names the classic mistake, or says "not answered yet".

A right answer is a number, a tuple of numbers, or a function that is tried on a few inputs. It never raises, so that
a notebook with open questions still runs to its end. The right answers stand here: this is help, not an exam.
"""

import numpy as np
import torch

from .exercises import EXERCISES


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
