"""Homework in a notebook: `numbers, check = start("hw1")`; then `check("hw1.q2", answer)` says right, or what is wrong.

It works offline and needs nothing but this package. A homework is a module exercises/hwN.py: a table QUESTIONS, a
function draw_numbers(rng), and perhaps FILES and LIMITS (see below). The grader (grading/) reads the same table, but
never what `check` said.
"""

import copy
import hashlib
import re
from importlib import import_module
from typing import NamedTuple

import numpy as np

from .checks import attempt, compare, shapes, values


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
    return module(homework).QUESTIONS


def files(homework):
    """What is handed in beside the notebook: name -> the most bytes it may have."""
    return getattr(module(homework), "FILES", {})


def numbers(homework, key="public", student=""):
    """The numbers of each question: "hw1.q1" -> what draw_numbers(rng) drew for it.

    The same arguments give the same numbers. `key` is a course's; `student` is an id where each student has numbers of
    their own. rng is a RandomState: of NumPy's generators the one that draws the same in every version, on the
    student's machine and on the grader's.
    """
    seed = hashlib.sha256(f"{homework}\0{key}\0{student}".encode()).digest()
    return module(homework).draw_numbers(np.random.RandomState(np.frombuffer(seed, "<u4")))


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
    """"" if all answers are right, else what to tell the student. Arguments as in marked."""
    share, note = marked(question, mine, tries, answers)
    return "" if share == 1 else note


def marked(question, mine, tries, answers, shapes=shapes):
    """The share of the points, and what to tell the student ("" when all is right): never the right answer.

    answers[k] is what the notebook gave for the inputs tries[k], and shapes(given, right) what to say when their
    shapes differ. Raises TypeError or ValueError for answers that are no numbers.
    """
    if question.judge:
        return min((question.judge(mine, inputs, answer) for inputs, answer in zip(tries, answers, strict=True)),
                   key=lambda verdict: verdict[0])
    given = [values(answer) for answer in answers]
    right = [values(question.right(mine, **inputs)) for inputs in tries]
    mistakes = {}
    for name, wrong in question.mistakes.items():
        try:
            with np.errstate(all="ignore"):
                mistakes[name] = [values(wrong(mine, **inputs)) for inputs in tries]
        except (ArithmeticError, ValueError):
            pass  # a wrong formula need not work everywhere
    wrong = compare(given, right, mistakes, question.tolerance, question.hint, shapes)
    return float(not wrong), wrong


def module(homework):
    """Its module in exercises/. LIMITS there, a dict, replaces fields of grading.jail.Limits. ValueError if none."""
    if not re.fullmatch(r"hw\d+", homework):
        raise ValueError(f"homework must be a name such as 'hw1', not {homework!r}")
    try:
        return import_module(f".exercises.{homework}", __package__)
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.exercises.{homework}":
            raise
        raise ValueError(f"homework must be one that exists, not {homework!r}") from None
