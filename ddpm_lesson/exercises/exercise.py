"""What an exercise consists of."""

from typing import NamedTuple


class Exercise(NamedTuple):
    right: object  # a number, a tuple of numbers, or a function of `inputs`
    mistakes: dict = {}  # what a classic mistake is -> the number or function it leads to
    inputs: tuple = ()  # for functions: the arguments to try
    hint: str = "Go back to the question."  # for an answer that matches no mistake
    tolerance: float = 0.005  # relative: answers may be rounded
