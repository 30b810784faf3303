"""The exercises' checks: right answers in many forms pass, classic mistakes are named, nothing stops a notebook.

Tried and seen to fail: a tolerance of 0.5 (mistakes pass as right), comparing without the shape (a pair passes for a
number), letting a student's exception through, a mistake that equals the right answer.
"""

import ast
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_lesson.checks import EXERCISES, check

SOURCES = sorted((Path(__file__).parents[1] / "notebooks" / "src").glob("*.py"))


def verdict(capsys, exercise, answer):
    check(exercise, answer)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_right_answer_is_right_and_each_mistake_is_named(capsys, exercise):
    assert verdict(capsys, exercise, EXERCISES[exercise].right) == f"{exercise}: right."
    for message, wrong in EXERCISES[exercise].mistakes.items():
        assert verdict(capsys, exercise, wrong) == f"{exercise}: not yet. {message}"


@pytest.mark.parametrize("exercise", EXERCISES)
@pytest.mark.parametrize("unanswered", [..., None])
def test_an_open_question_is_reported_and_does_not_raise(capsys, exercise, unanswered):
    assert verdict(capsys, exercise, unanswered) == f"{exercise}: not answered yet."


@pytest.mark.parametrize("answer", [2, 2.0, 2.001, Fraction(2), np.float32(2), np.array(2.0), torch.tensor(2)])
def test_a_number_may_come_in_any_type(capsys, answer):
    assert verdict(capsys, "0.4", answer) == "0.4: right."


@pytest.mark.parametrize("answer", [[2.0, 0.25], np.array([2, 0.25]), torch.tensor([2, 0.25])])
def test_a_pair_may_come_in_any_type(capsys, answer):
    assert verdict(capsys, "0.2", answer) == "0.2: right."


@pytest.mark.parametrize("answer", ["two", [2.0, 2.0], object(), torch.tensor([]), float("nan"), -2, 2.1])
def test_a_wrong_answer_is_not_right_whatever_it_is(capsys, answer):
    assert verdict(capsys, "0.4", answer).startswith("0.4: not yet.")


def test_a_function_is_tried_and_may_be_written_with_numpy_or_fail_in_any_way(capsys):
    def with_numpy(x_prev, sigma_prev, sigma_t, eps):
        return x_prev.numpy() + np.sqrt(sigma_t.numpy() ** 2 - sigma_prev.numpy() ** 2) * eps.numpy()

    def with_torch(x_prev, sigma_prev, sigma_t, eps):
        return x_prev + (sigma_t**2 - sigma_prev**2).sqrt() * eps

    def in_place(x_prev, sigma_prev, sigma_t, eps):
        x_prev += (sigma_t**2 - sigma_prev**2) ** 0.5 * eps
        return x_prev

    def stub(x_prev, sigma_prev, sigma_t, eps):
        raise NotImplementedError("Exercise 2.5")

    def broken(x_prev, sigma_prev, sigma_t, eps):
        return x_prev + undefined_name  # noqa: F821

    for right in (with_numpy, with_torch, in_place, in_place):
        assert verdict(capsys, "2.5", right) == "2.5: right."
    assert verdict(capsys, "2.5", stub) == "2.5: not answered yet."
    assert "raised NameError" in verdict(capsys, "2.5", broken)
    assert "raised TypeError" in verdict(capsys, "2.5", 0.5)
    assert "raised TypeError" in verdict(capsys, "2.5", lambda x: x)
    assert "not yet" in verdict(capsys, "2.5", lambda x_prev, a, b, e: x_prev[0])


def test_an_unknown_exercise_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="exercise must be one of 0.1, .*not '9.9'"):
        check("9.9", 1)


def test_every_exercise_of_a_lesson_has_a_check_and_every_check_is_used():
    tagged = [e for source in SOURCES for e in re.findall(r'"exercise:([\d.]+)"', source.read_text("utf-8"))]
    called = [call.args[0].value for source in SOURCES for call in ast.walk(ast.parse(source.read_text("utf-8")))
              if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "check"]
    assert sorted(tagged) == sorted(called) == sorted(EXERCISES)
