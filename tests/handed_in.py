"""Homework that students could have handed in: the notebook handed out, with answers in its cells."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from ddpm_lesson.grading import jail

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

try:
    jail._probe()
    reason = ""
except jail.NoJail as error:
    reason = str(error).splitlines()[0]
jailed = pytest.mark.skipif(bool(reason), reason=f"no jail: {reason}")


def built(folder):
    """A folder with student/ and solution/ of this checkout's homework, nothing executed."""
    from notebooks.homework import build

    (folder / "notebooks/homework").mkdir(parents=True)
    shutil.copytree(ROOT / "notebooks/homework/src", folder / "notebooks/homework/src")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for source in (folder / "notebooks/homework/src").glob("*.py"):
        build.build(source, folder, run=False)
    return folder / "notebooks/homework"


def answer_cells(nb):
    """question -> its answer cell, in a notebook as it is handed out or in a solution."""
    return {tag[9:]: cell for cell in nb["cells"] for tag in cell["metadata"].get("tags", [])
            if tag.startswith("exercise:")}


class Handed:
    """A notebook as a student got it, to be answered and spoilt."""

    def __init__(self, folder, name="hw1", released=None):
        self.path = released or next((folder / "student").glob(f"{name}_*.ipynb"))
        self.nb = json.loads(self.path.read_text("utf-8"))
        solution = json.loads(next((folder / "solution").glob(f"{name}_*.ipynb")).read_text("utf-8"))
        self.solutions = {q: "".join(cell["source"]) for q, cell in answer_cells(solution).items()}

    def answer(self, *questions, **sources):
        """Puts the solution in, and for hw1.q3 the source q3=... . Returns itself."""
        name = self.path.name[:3]
        for question, source in [*((q, None) for q in questions), *((f"{name}.{q}", s) for q, s in sources.items())]:
            cell = answer_cells(self.nb)[question]
            cell["source"] = f"# grade_id: {question}\n" + (self.solutions[question] if source is None else source)
        return self

    def all(self):
        return self.answer(*self.solutions)

    def add(self, source, where=2):
        """One more code cell, such as an attack."""
        cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
        self.nb["cells"].insert(where, cell | {"id": "x"})
        return self

    def bytes(self):
        return json.dumps(self.nb).encode()
