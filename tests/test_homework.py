"""Homework in a notebook (start, check) and the builder of homework, on a tiny made-up one.

Sabotage that turned this file red: key and student joined without a mark between them; the numbers handed out
uncopied; hidden cells left in the student copy.
"""

import importlib
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from handed_in import ROOT, answer_cells

from ddpm_lesson.homework import Question, numbers, start

build = importlib.import_module("notebooks.homework.build")
lessons = importlib.import_module("notebooks.build")

SOURCE = '''\
# %% [markdown]
# # Homework 9 · Tiny

# %%
from ddpm_lesson.homework import start

numbers, check = start("hw9", key="public", student="")

# %% tags=["exercise:hw9.q1"]
def scaled(x, s):
    # BEGIN SOLUTION
    secret = s**0.5
    return numbers["hw9.q1"]["a"] * secret * x
    # END SOLUTION

check("hw9.q1", scaled)

# %% tags=["hidden"]
def hw9_q1(rng):
    return {"x": rng.normal(size=3), "s": 2.0}

# %% tags=["exercise:hw9.q2"]
# BEGIN SOLUTION
b_q2 = 2 * numbers["hw9.q2"]["b"]
# END SOLUTION
check("hw9.q2", b_q2)

# %% [markdown] tags=["exercise:hw9.q3"]
# Say why.
#
# <!-- BEGIN SOLUTION -->
# The secret why.
# <!-- END SOLUTION -->

# %% tags=["exercise:hw9.q4"]
# BEGIN SOLUTION
q4 = {"loss": 0.5}
# END SOLUTION
check("hw9.q4", q4)

# %% tags=["solution"]
secret_check = 1
'''


@pytest.fixture(autouse=True)
def hw9(monkeypatch):
    module = types.ModuleType("ddpm_lesson.exercises.hw9")
    module.draw_numbers = lambda rng: {"hw9.q1": {"a": rng.uniform(1, 2)}, "hw9.q2": {"b": int(rng.randint(10**6))}}
    module.QUESTIONS = {
        "hw9.q1": Question(
            3, "scaled(x, s)", lambda n, x, s: n["a"] * s**0.5 * x, {"x": np.array([1.0, -2, 3]), "s": 4.0},
            {"A root is missing.": lambda n, x, s: n["a"] * s * x, "This one fails.": lambda n, x, s: 1 / 0},
            "import torch; x = torch.tensor(x)", hint="Think."),
        "hw9.q2": Question(2, "b_q2", lambda n: 2 * n["b"], mistakes={"Twice, not once.": lambda n: n["b"]}),
        "hw9.q3": Question(5, rubric="5 all"),
        "hw9.q4": Question(4, "q4", judge=lambda n, inputs, value: (
            min(1, 0.5 / value["loss"]), f"The loss is {value['loss']}.")),
    }
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
def said(capsys):
    def say(question, *answer, **options):
        start("hw9", **options)[1](question, *answer)
        return capsys.readouterr().out.strip().removeprefix(f"{question}: ")
    return say


def test_numbers_are_a_courses_and_a_students_own_and_the_same_on_every_machine():
    assert numbers("hw9") == numbers("hw9", "public", "") == numbers("hw9")
    whose = ("public", ""), ("k", ""), ("k", "a"), ("k", "b"), ("ka", "")
    drawn = [numbers("hw9", *which)["hw9.q2"]["b"] for which in whose]
    assert len(set(drawn)) == 5
    assert drawn[:2] == [900864, 348009]  # of NumPy's frozen generator
    with pytest.raises(ValueError, match="homework must be one that exists, not 'hw77'"):
        numbers("hw77")
    with pytest.raises(ValueError, match="homework must be a name such as 'hw1', not 'x'"):
        start("x")


def test_a_student_may_spoil_the_numbers_and_check_goes_on(capsys):
    mine, check = start("hw9")
    twice = 2 * mine["hw9.q2"]["b"]
    mine.clear()
    check("hw9.q2", twice)
    assert capsys.readouterr().out == "hw9.q2: right.\n"


def test_check_says_right_names_the_mistake_or_hints(said):
    a = numbers("hw9")["hw9.q1"]["a"]
    for right in (lambda x, s: a * s**0.5 * x, lambda x, s: (a * s**0.5 * x.numpy()).tolist(),
                  lambda x, s: (a * 2 * x).float(), lambda x, s: x.mul_(a * 2)[:, None],
                  lambda x, s: [torch.tensor(a * 2 * v.item(), requires_grad=True) for v in x]):
        assert said("hw9.q1", right) == "right."
    assert said("hw9.q1", lambda x, s: a * s * x) == "not yet. A root is missing."
    assert said("hw9.q1", lambda x, s: 0 * x) == "not yet. Think."
    assert said("hw9.q1", lambda x, s: x[:2]) == (
        "not yet. Expected 3 numbers of shape (3,), got 2 numbers of shape (2,).")
    assert said("hw9.q2", 2 * numbers("hw9", "k", "s")["hw9.q2"]["b"], key="k", student="s") == "right."
    assert said("hw9.q2", numbers("hw9")["hw9.q2"]["b"]) == "not yet. Twice, not once."
    assert said("hw9.q4", {"loss": 0.5}) == "right." and said("hw9.q4", {"loss": 1.0}) == "not yet. The loss is 1.0."


def test_check_never_raises(said):
    def stub(x, s):
        raise NotImplementedError("Exercise hw9.q1")

    for unanswered in (..., None, stub):
        assert said("hw9.q1", unanswered) == "not answered yet."
    assert said("hw9.q1") == "not answered yet." and said("hw9.q3", "text") == "this one is graded by hand."
    assert said("hw9.q1", 3.0).endswith("TypeError: expected a function")
    assert said("hw9.q2", print).endswith("TypeError: expected a value, got a function")
    for answer in ("two", object(), {"a": 1}, lambda: 1 / 0, [[1], [1, 2]], np.array(["a"]), 1j):
        assert said("hw9.q1", lambda x, s, answer=answer: answer).startswith("not yet. Your answer raised ")
        assert said("hw9.q4", answer).startswith("not yet. Your answer raised ")
    assert said("hw9.q9", 1) == "there is no such question, only hw9.q1, hw9.q2, hw9.q3, hw9.q4"


def test_start_loads_no_grader():
    code = ("import sys; from ddpm_lesson.homework import start; start('hw1')\n"
            "print([name for name in sys.modules if 'grading' in name])")
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"


# the builder


@pytest.fixture
def course(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.ddpm-lesson]\nrepository = ""\nref = ""\n')
    (tmp_path / "notebooks/homework/src").mkdir(parents=True)
    (tmp_path / "notebooks/src").mkdir()
    return tmp_path


def write(course, text=SOURCE):
    path = course / "notebooks/homework/src/hw9_tiny.py"
    path.write_text(text, encoding="utf-8")
    return path


def code_of(nb):
    return "\n".join("".join(cell["source"]) for cell in nb["cells"] if cell["cell_type"] == "code")


def test_a_student_copy_has_stubs_metadata_and_no_answers(course):
    build.build(write(course), course, run=False)
    paths = build.paths(course / "notebooks/homework/src/hw9_tiny.py")
    student, solution = (json.loads(path.read_text("utf-8")) for path in paths)
    text = json.dumps(student)
    assert not any(word in text for word in ("secret", "SOLUTION", "hidden", "hw9_q1"))
    assert "secret why" in json.dumps(solution)
    cells = answer_cells(student)
    assert "".join(cells["hw9.q1"]["source"]) == (
        "# grade_id: hw9.q1\ndef scaled(x, s):\n"
        '    raise NotImplementedError("Exercise hw9.q1")\n\ncheck("hw9.q1", scaled)')
    assert "b_q2 = ...  # your answer" in "".join(cells["hw9.q2"]["source"])
    assert "".join(cells["hw9.q3"]["source"]) == "<!-- grade_id: hw9.q3 -->\nSay why.\n\n*Your answer here.*"
    metadata = {question: cell["metadata"] for question, cell in cells.items()}
    assert {q: (m["nbgrader"]["grade_id"], m["nbgrader"]["points"]) for q, m in metadata.items()} == {
        "hw9.q1": ("hw9-q1", 3), "hw9.q2": ("hw9-q2", 2), "hw9.q3": ("hw9-q3", 5), "hw9.q4": ("hw9-q4", 4)}
    assert all(m["deletable"] is False and m["nbgrader"]["solution"] and m["nbgrader"]["grade"]
               for m in metadata.values())
    nbformat.validate(nbformat.from_dict(student))
    names = {}
    exec(code_of(student).replace("plt.style.use", "str"), names)  # with open stubs it runs to its end
    with pytest.raises(NotImplementedError):
        names["scaled"](1, 2)


def test_nbgrader_reads_the_metadata(course):
    nbgrader = pytest.importorskip("nbgrader.nbgraderformat")
    nb = lessons.load(write(course), course)
    nbgrader.MetadataValidator().validate_nb(build.student_copy(*nb))
    for path in (ROOT / "notebooks/homework/student").glob("*.ipynb"):
        nbgrader.MetadataValidator().validate_nb(nbformat.read(path, 4))


@pytest.mark.parametrize("old, new, message", [
    ('key="public", ', "", "hw9_tiny.py:1: want one line numbers, check = start"),
    ("# <!-- END SOLUTION -->", "", "hw9.q3 needs one <!-- BEGIN SOLUTION --> ... <!-- END SOLUTION -->"),
    ('tags=["exercise:hw9.q3"]', "", ":28: an answer has one tag exercise:hw9.qN and a marked solution"),
    ('"exercise:hw9.q2"', '"exercise:hw9.q7"', "hw9.q7 must be in exercises/hw9.py, with a call if its cell is code"),
    ('[markdown] tags=["exercise:hw9.q3"]', 'tags=["exercise:hw9.q3"]', "hw9.q3 must be in exercises/hw9.py, with"),
    ('"hidden"', '"hiden"', "unknown in a cell header: hiden"),
    ('"exercise:hw9.q2"', '"exercise:2.1"', "unknown in a cell header: exercise:2.1"),
    ("    # END SOLUTION\n", "", "hw9.q1 has no # END SOLUTION"),
    ("# BEGIN SOLUTION\nq4 = ", "q4 = 1; x = ", "nested, unbalanced or misspelt"),
    ('# %% tags=["exercise:hw9.q2"]', '# %% tags=["solution"]', "answer cells for .*'hw9.q1', 'hw9.q3', 'hw9.q4'"),
])
def test_a_source_that_would_lose_or_tell_something_is_refused(course, old, new, message):
    assert old in SOURCE
    with pytest.raises(lessons.BuildError, match=message):
        build.build(write(course, SOURCE.replace(old, new)), course, run=False)
    assert not (course / "notebooks/homework/student").exists()


def test_a_lesson_may_not_hide_cells(course):
    path = course / "notebooks/src/02_x.py"
    path.write_text('# %% [markdown]\n# # X\n\n# %% tags=["hidden"]\nx = 1\n')
    with pytest.raises(lessons.BuildError, match="unknown in a cell header: hidden"):
        lessons.load(path, course)


def test_check_finds_what_is_stale_and_builds_nothing(course):
    source = write(course)
    build.build(source, course, run=False)
    student, solution = build.paths(source)
    solution.unlink()
    build.check(source, course)
    assert not solution.exists()
    good = student.read_text("utf-8")
    for bad in (good.replace("Say why", "Say how"), good + "\n", ""):
        student.write_text(bad, "utf-8")
        with pytest.raises(lessons.BuildError, match="stale or was edited by hand: run python -m notebooks.build hw9_"):
            build.check(source, course)
    student.rename(student.with_name("hw8_old.ipynb"))
    with pytest.raises(lessons.BuildError, match="hw8_old.ipynb has no source: delete it"):
        build.check_together([source], course)
    with pytest.raises(lessons.BuildError, match="missing"):
        build.check(source, course)


def test_a_wrong_solution_is_no_solution(course, monkeypatch):
    def execute(nb, lines):
        for cell in nb.cells:
            if "hw9.q2" in str(cell.metadata) and cell.cell_type == "code":
                cell.outputs = [nbformat.v4.new_output("stream", text="hw9.q1: right.\nhw9.q2: not yet. Twice.\n")]

    monkeypatch.setattr(build, "execute", execute)
    with pytest.raises(lessons.BuildError, match="the solution is not right:\nhw9.q2: not yet. Twice."):
        build.build(write(course), course)


def test_the_repositorys_homework_is_up_to_date():
    sources = sorted((ROOT / "notebooks/homework/src").glob("*.py"))
    assert sources and lessons.main(["--check", *(source.stem for source in sources)]) == 0
    private = ["notebooks/homework/solution/x.ipynb", "graded/hw1/grades.csv"]
    ignored = subprocess.run(["git", "check-ignore", *private], cwd=ROOT, capture_output=True, text=True)
    assert ignored.returncode == 128 or len(ignored.stdout.splitlines()) == 2  # 128: not a git checkout


def test_a_homework_is_in_git_only_as_source_and_student_copy():
    assert {path.parent.name for path in (ROOT / "notebooks/homework").rglob("*.ipynb")} <= {"student", "solution"}
    for path in (ROOT / "notebooks/homework/student").glob("*.ipynb"):
        assert not re.search(r"SOLUTION|def hw\d+_q\d+\(", path.read_text("utf-8")), path
    assert Path(ROOT / "notebooks/homework/build.py").exists()
