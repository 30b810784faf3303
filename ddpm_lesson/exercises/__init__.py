"""The exercises, by number: each with its right answer, and what the classic mistakes lead to (see checks.py).

A module per lesson, lesson_NN.py, each with a table EXERCISES of its own.
"""

from importlib import import_module
from pkgutil import iter_modules

EXERCISES = {}
for _lesson in sorted(module.name for module in iter_modules(__path__) if module.name.startswith("lesson_")):
    EXERCISES |= import_module(f".{_lesson}", __name__).EXERCISES
