"""What an exercise calls: `check("2.1", answer)` says right, names the classic mistake, or says "not answered yet".

A right answer is a number, a tuple of numbers, or a function that is tried on a few inputs. It never raises, so that
a notebook with open questions still runs to its end. The right answers stand here: this is help, not an exam.
Homework (homework.py) and its grader compare with the same `compare`.
"""

import numpy as np
import torch

from .exercises import EXERCISES


def check(exercise, answer):
    """Prints whether `answer` is right for the exercise with this number, such as "2.1"."""
    if exercise not in EXERCISES:
        raise ValueError(f"exercise must be one of {', '.join(EXERCISES)}, not {exercise!r}")
    print(f"{exercise}: {attempt(lambda: _verdict(EXERCISES[exercise], answer), answer)}")


def attempt(verdict, answer):
    """What verdict() says, or why there is no answer to judge: a student's function may fail in any way."""
    if answer is None or answer is ...:
        return "not answered yet."
    try:
        wrong = verdict()
    except NotImplementedError:
        return "not answered yet."
    except Exception as error:
        return f"not yet. Your answer raised {type(error).__name__}: {error}"
    return f"not yet. {wrong}" if wrong else "right."


def _verdict(exercise, answer):
    mistakes = {name: [_values(exercise, wrong)] for name, wrong in exercise.mistakes.items()}
    given, right = _values(exercise, answer), _values(exercise, exercise.right)
    return compare([given], [right], mistakes, exercise.tolerance, exercise.hint)


def shapes(given, right):
    """What to say when the shapes differ."""
    wanted, got = (f"{x.size} number{'s' * (x.size != 1)} of shape {tuple(x.shape)}" for x in (right, given))
    return f"Expected {wanted}, got {got}."


def compare(given, right, mistakes, tolerance, hint, shapes=shapes):
    """"" where all given values agree with the right ones, else what to tell the student.

    The first three are lists, one entry per try: given[k] is compared with right[k], and with mistakes[name][k].
    shapes(given[k], right[k]) is what to say where their shapes differ.
    """
    if all(agree(g, r, tolerance) for g, r in zip(given, right, strict=True)):
        return ""
    for name, wrong in mistakes.items():
        if all(agree(g, w, tolerance) for g, w in zip(given, wrong, strict=True)):
            return name
    for g, r in zip(given, right, strict=True):
        if np.squeeze(g).shape != np.squeeze(r).shape:
            return shapes(g, r)
    return hint


def agree(given, right, tolerance):
    """Whether two arrays are equal up to a relative tolerance, axes of length 1 aside.

    What is far below the largest entry is left over from rounding, so there an absolute error is allowed as well.
    """
    given, right = np.squeeze(given), np.squeeze(right)
    if given.shape != right.shape:
        return False
    largest = np.abs(right[np.isfinite(right)]).max(initial=0.0)
    return bool(np.allclose(given, right, rtol=tolerance, atol=1e-6 * (largest or 1.0)))


def values(answer):
    """A number, tensor or array, or lists of them, as one float64 array. TypeError or ValueError for anything else."""
    def tree(x):
        if torch.is_tensor(x):
            return x.detach().cpu().double().numpy()
        return [tree(y) for y in x] if isinstance(x, (list, tuple)) else x
    return np.asarray(tree(answer), dtype=np.float64)


def _values(exercise, answer):
    if callable(exercise.right):
        if not callable(answer):
            raise TypeError("expected a function")
        answer = answer(*(x.clone() if torch.is_tensor(x) else x for x in exercise.inputs))
    return values(answer)
