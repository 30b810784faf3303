"""What a homework is graded with: drawn once, by the instructor's own code, before any submission is opened."""

import hashlib
import hmac
import json
import re
import secrets
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import homework
from .jail import LIMITS
from .walls import PACKAGE

HOMEWORK = PACKAGE.parent / "notebooks" / "homework"
START = re.compile(r"start\(\s*['\"](hw\d+)['\"]")
TRIES = 5  # of a question with hidden inputs


class Material(NamedTuple):
    homework: str
    title: str
    key: str  # of the course's numbers
    personal: bool  # whether each student has numbers of their own
    given: list  # the sources of the code cells that a student gets and is not asked to change
    blank: dict  # question -> the source of its answer cell as a student gets it
    tries: dict  # question -> [inputs]
    limits: object
    fingerprint: str  # the same where the same submission must get the same marks


def salt(path, make=False):
    """The secret of a course. make=True writes one where there is none."""
    if path is None:
        return b"public"
    path = Path(path)
    if make and not path.exists():
        with open(path, "x") as file:
            path.chmod(0o600)
            file.write(secrets.token_hex(32) + "\n")
    content = path.read_bytes().strip()
    if len(content) < 16:
        raise ValueError(f"{path} must hold a secret of at least 16 characters, not {len(content)}")
    return content


def derived(secret, what):
    return hmac.new(secret, what.encode(), "sha256").digest()


def key(secret, name):
    """The key that draws a course's numbers. It stands in every notebook and tells nothing of the salt."""
    return "public" if secret == b"public" else derived(secret, f"numbers {name}").hex()[:16]


def notebook(name, kind, folder=HOMEWORK):
    """The path of a built notebook: kind is "student" or "solution". FileNotFoundError tells how to build it."""
    homework.module(name)  # a name that is none says so
    found = sorted((Path(folder) / kind).glob(f"{name}_*.ipynb"))
    if len(found) != 1:
        raise FileNotFoundError(f"there must be one {Path(folder) / kind / name}_*.ipynb, not {len(found)}: "
                                "python -m notebooks.build makes it, in a checkout of the project")
    return found[0]


def load(name, secret=b"public", personal=False, folder=HOMEWORK):
    """The Material of a homework such as "hw1". The same secret draws the same inputs."""
    student, solution = (json.loads(notebook(name, kind, folder).read_text("utf-8"))["cells"]
                         for kind in ("student", "solution"))
    hidden = ["".join(cell["source"]) for cell in solution if "hidden" in cell["metadata"].get("tags", [])]
    scope = {}
    for source in hidden:
        exec(source, scope)
    tries = {}
    for question, asked in homework.questions(name).items():
        draw = scope.get(question.replace(".", "_"))
        if asked.call and "(" in asked.call and draw is None:
            raise ValueError(f"{question} calls a function, so a hidden cell must define {question.replace('.', '_')}")
        tries[question] = [{}] if draw is None else _draw(draw, derived(secret, f"inputs {question}"))
    blank, given = {}, []
    for cell in student:
        answers = [tag[9:] for tag in cell["metadata"].get("tags", []) if tag.startswith("exercise:")]
        if answers:
            blank[answers[0]] = "".join(cell["source"])
        elif cell["cell_type"] == "code" and "knobs" not in cell["metadata"].get("tags", []):
            given.append("".join(cell["source"]))
    modules = sorted([*PACKAGE.glob("exercises/*.py"), PACKAGE / "checks.py", PACKAGE / "homework.py"])
    parts = [name, str(personal), *hidden, *given, *map(str, sorted(blank.items())),
             *(path.read_text("utf-8") for path in modules), derived(secret, "fingerprint").hex()]
    title = "".join(student[0]["source"]).rpartition("\n# ")[2].removeprefix("# ").split("\n")[0]
    return Material(name, title, key(secret, name), personal, given, blank, tries,
                    LIMITS._replace(**getattr(homework.module(name), "LIMITS", {})),
                    hashlib.sha256("\0".join(parts).encode()).hexdigest())


def _draw(draw, seed):
    """The inputs of some tries. A function that returns a list has drawn all of them itself."""
    rng = np.random.default_rng(np.frombuffer(seed, "<u4"))
    first = draw(rng)
    return first if isinstance(first, list) else [first, *(draw(rng) for _ in range(TRIES - 1))]
