"""Homework in a notebook: `numbers, check = start("hw1")`; then `check("hw1.q2", answer)` says right, or what is wrong.

It works offline and needs nothing but this package. A homework is a module exercises/hwN.py: a table QUESTIONS, a
function draw_numbers(rng), and perhaps FILES. The grader (grading/) reads the same table, but never what `check` said.
"""

import copy
import hashlib
import re
from importlib import import_module
from typing import NamedTuple

import numpy as np

from .checks import attempt, compare, values


class Question(NamedTuple):
    """One question. `right`, `mistakes` and `judge` are the grader's own and never enter the jail."""

    points: int
    call: str = ""  # of the notebook's namespace: "ve_jump(x0, s)" or "answer_q3"; it begins with the name that the
    #                 student defines. "": graded by hand
    right: object = None  # right(numbers, **inputs) -> number, list or array; numbers are this question's
    example: dict = {}  # the inputs that `check` tries
    mistakes: dict = {}  # message that names the classic mistake -> function like right
    setup: str = ""  # Python before the call, such as "import torch; x0 = torch.tensor(x0)"; it sees the inputs
    tolerance: float = 1e-4  # relative
    hint: str = "Go back to the question."  # for an answer that matches no mistake
    judge: object = None  # in place of right: judge(numbers, inputs, value) -> share in 0..1, note for the student
    rubric: str = ""  # of a question that is graded by hand


def questions(homework):
    """The table of a homework: "hw1.q1" -> Question. ValueError for a homework that does not exist."""
    return _module(homework).QUESTIONS


def files(homework):
    """What is handed in beside the notebook: name -> the most bytes it may have."""
    return getattr(_module(homework), "FILES", {})


def numbers(homework, key="public", student=""):
    """The numbers of each question: "hw1.q1" -> what draw_numbers(rng) drew for it.

    The same arguments give the same numbers. `key` is a course's; `student` is an id where each student has numbers of
    their own. rng is a RandomState: of NumPy's generators the one that draws the same in every version, on the
    student's machine and on the grader's.
    """
    seed = hashlib.sha256(f"{homework}\0{key}\0{student}".encode()).digest()
    return _module(homework).draw_numbers(np.random.RandomState(np.frombuffer(seed, "<u4")))


def start(homework, key="public", student=""):
    """numbers (see there) and check, a function: check("hw1.q2", answer) prints the verdict and never raises."""
    table, mine = questions(homework), numbers(homework, key, student)

    def check(question, answer=None):
        if question not in table:
            print(f"{question}: there is no such question, only {', '.join(table)}")
        elif not table[question].call:
            print(f"{question}: this one is graded by hand.")
        else:
            print(f"{question}: {attempt(lambda: _verdict(table[question], mine.get(question, {}), answer), answer)}")

    return copy.deepcopy(mine), check


def _verdict(question, mine, answer):
    """"" if the answer is right for the question's example, else what to say."""
    if question.call.isidentifier() is callable(answer):
        raise TypeError("expected a value, got a function" if callable(answer) else "expected a function")
    from .grading.inside import plain  # the grader sees the answer in this form

    scope = copy.deepcopy(question.example) | {re.match(r"\w+", question.call)[0]: answer}
    exec(question.setup, scope)
    return explain(question, mine, [copy.deepcopy(question.example)], [plain(eval(question.call, scope))])


def explain(question, mine, tries, answers):
    """"" if all answers are right, else what to tell the student; it never gives the right answer away.

    answers[k] is what the notebook gave for the inputs tries[k]. Raises TypeError, ValueError for no numbers at all.
    """
    if question.judge:
        return "" if (share := judged(question, mine, tries, answers))[0] == 1 else share[1]
    right = [values(question.right(mine, **inputs)) for inputs in tries]
    mistakes = {}
    for name, wrong in question.mistakes.items():
        try:
            mistakes[name] = [values(wrong(mine, **inputs)) for inputs in tries]
        except (ArithmeticError, ValueError):
            pass  # a wrong formula need not work everywhere
    return compare([values(answer) for answer in answers], right, mistakes, question.tolerance, question.hint)


def judged(question, mine, tries, answers):
    """The smallest share that question.judge gives to any try, and its note."""
    return min((question.judge(mine, inputs, answer) for inputs, answer in zip(tries, answers, strict=True)),
               key=lambda verdict: verdict[0])


def _module(homework):
    if not re.fullmatch(r"hw\d+", homework):
        raise ValueError(f"homework must be a name such as 'hw1', not {homework!r}")
    try:
        return import_module(f".exercises.{homework}", __package__)
    except ModuleNotFoundError:
        raise ValueError(f"homework must be one that exists, not {homework!r}") from None
