"""The notebook builder, on tiny lessons; and the repository's own notebooks against their sources."""

import base64
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
build = importlib.import_module("notebooks.build")

LESSON = '''\
# %% [markdown]
# # Add two numbers

# %% tags=["claim:sum"]
total = 1 + 1
print(f"{total = }", flush=True)
print("done")

# %% alt="A line that rises from 0 to \\"1\\" (α = 1)."
import matplotlib.pyplot as plt

plt.plot([0, 1])
plt.show()

# %% tags=["nbval-ignore-output"]
import ipywidgets

ipywidgets.IntSlider()

# %% [markdown] tags=["exercise:2.1"]
# Double a number.

# %% tags=["exercise:2.1"]
def double(x):
    """Return 2 x."""
    if x is not None:
        # BEGIN SOLUTION
        secret = 2
        return secret * x
        # END SOLUTION


# %% tags=["exercise:2.2"]
# BEGIN SOLUTION
half, third = 1 / 2, 1 / 3
half: float = half + 0
# END SOLUTION
given = 4

# %% tags=["solution"]
assert double(2) == given

# %% [markdown] tags=["answer"]
# Because of the secret.
'''
TITLE = "# %% [markdown]\n# # Title\n\n"
EXERCISE = TITLE + '# %% tags=["exercise:2.1"]\n'


@pytest.fixture
def course(tmp_path, monkeypatch):
    """An empty course, and a stand-in for the package, so that a kernel starts without torch."""
    package = tmp_path / "packages" / "ddpm_lesson"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "lesson.mplstyle").write_text("figure.figsize: 2, 1\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    root = tmp_path / "course"
    (root / "notebooks/src").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[tool.ddpm-lesson]\nrepository = ""\nref = ""\n')
    return root


def write(course, text=LESSON, name="02_sum"):
    source = course / f"notebooks/src/{name}.py"
    source.write_text(text, "utf-8")
    return source


def write_built(course, text=LESSON, name="02_sum"):
    """Write what a build would, with counts but without a kernel."""
    source = write(course, text, name)
    nb, lines = build.load(source, course)
    complete, student = build.built(source)
    student.parent.mkdir(exist_ok=True)
    student.write_text(nbformat.writes(build.cut(nb, lines)) + "\n", "utf-8")
    for count, cell in enumerate((cell for cell in nb.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
        cell.metadata.pop("alt", None)
    complete.write_text(nbformat.writes(nb) + "\n", "utf-8")
    return source


def code_of(nb):
    return "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")


# ---------------------------------------------------------------- one real build


def test_build_writes_both_copies_the_same_way_twice(course, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "agg")  # a setting of the shell must not cost the figures
    source = write(course)
    assert build.main([], course) == 0, capsys.readouterr().out
    first = [path.read_bytes() for path in build.built(source)]
    complete, student = (nbformat.read(path, as_version=4) for path in build.built(source))
    assert build.main(["--check"], course) == 0, capsys.readouterr().out

    code = [cell for cell in complete.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert code[1].outputs[0].text == "total = 2\ndone\n"
    assert code[2].outputs[0].metadata["image/png"] == {"alt": 'A line that rises from 0 to "1" (α = 1).'}
    png = base64.b64decode(code[2].outputs[0].data["image/png"])
    assert int.from_bytes(png[16:20], "big") < 250, "the lesson's style must be in force: 2 inches at dpi 100"
    assert code[3].outputs == [] and "widget" not in json.dumps(complete.metadata)
    assert set(complete.metadata) == {"kernelspec", "language_info", "ddpm_lesson"}
    assert complete.metadata.language_info == {"name": "python"}
    assert all(set(cell.metadata) <= {"tags", "alt"} for cell in complete.cells)

    assert all(cell.execution_count is None and not cell.outputs for cell in student.cells if cell.cell_type == "code")
    assert "secret" not in student.cells and "secret" not in json.dumps(student)
    assert student.metadata.ddpm_lesson.note == "generated from notebooks/src/02_sum.py; do not edit"
    by_id = {cell.id: cell for cell in complete.cells}
    assert all(by_id[cell.id].metadata == cell.metadata for cell in student.cells)
    assert [cell.id for cell in complete.cells] == [f"02-{index:03d}" for index in range(len(complete.cells))]
    build.execute(student, {cell.id: 0 for cell in student.cells})  # stubs that nobody calls raise nothing

    assert build.main(["02_sum"], course) == 0
    assert [path.read_bytes() for path in build.built(source)] == first


def test_nbval_passes_on_a_built_notebook_and_fails_on_an_altered_number(course, capsys):
    source = write(course)
    assert build.main([], course) == 0, capsys.readouterr().out
    complete = build.built(source)[0]
    text = complete.read_text("utf-8")
    assert text.count("total = 2") == 1
    (complete.parent / "altered.ipynb").write_text(text.replace("total = 2", "total = 3"), "utf-8")
    nbval = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    run = subprocess.run([*nbval, "."], cwd=complete.parent, capture_output=True, text=True, check=False)
    assert re.findall(r"^FAILED (\S+)::Cell (\d)", run.stdout, re.M) == [("altered.ipynb", "1")], run.stdout
    assert len(re.findall(r"^PASSED 02_sum.ipynb::", run.stdout, re.M)) == 7, run.stdout


def test_a_failing_cell_is_named_with_its_line_and_nothing_is_written(course, capsys):
    source = write(course, TITLE + "# %%\nx = 0\n\n# %%\nprint(1)\n1 / x\n\n# %%\nprint('never')\n")
    assert build.main([], course) == 1
    out = capsys.readouterr().out
    assert out.startswith("notebooks/src/02_sum.py:9: cell 02-003 failed\n") and "ZeroDivisionError" in out
    assert "\x1b" not in out
    assert not any(path.exists() for path in build.built(source))


def test_a_cell_may_not_run_for_ever(course, monkeypatch, capsys):
    monkeypatch.setattr(build, "TIMEOUT", 1)
    write(course, TITLE + "# %%\nimport time\n\ntime.sleep(60)\n")
    assert build.main([], course) == 1
    # On a busy machine it may already be the set-up cell.
    assert re.search(r"02_sum.py:\d: cell 02-00[12] failed\nA cell timed out .* after 1 sec", capsys.readouterr().out)


def test_a_kernel_shows_what_may_not_be_stored_and_the_build_lists_all_of_it(course, monkeypatch, capsys):
    monkeypatch.setenv("SMOKE", "1")
    cells = [
        "import os\nimport sys\nimport warnings\n\nprint(os.listdir(), os.getenv('SMOKE'), file=sys.stderr)",
        "warnings.warn('old')",
        "object()",
        "print(os.getcwd())",
        "import ipywidgets\n\nipywidgets.IntSlider()",
        "import matplotlib.pyplot as plt\n\n_ = plt.plot([0, 1])",
    ]
    source = write(course, TITLE + "".join(f"# %%\n{cell}\n\n" for cell in cells) + '# %% alt="Nothing."\n')
    assert build.main([], course) == 1
    out = capsys.readouterr().out
    alone = r"warns or fails: \[\] None$"  # an empty folder, and no SMOKE
    for number, problem in enumerate((alone, "warns", "prints 0x", "prints ", "widget", "alt"), 2):
        assert re.search(rf"^notebooks/src/02_sum.py:\d+: cell 02-{number:03d}: .*{problem}", out, re.M), (problem, out)
    assert "cell 02-008: no execution count" in out and "cell 02-008: alt text without an image" in out
    assert not any(path.exists() for path in build.built(source))


# ---------------------------------------------------------------- the set-up cell and the badge


def test_without_a_repository_there_is_no_badge_and_nothing_is_installed(course):
    nb, _ = build.load(write(course), course)
    assert nb.cells[0].source == "# Add two numbers"
    assert nb.cells[1].metadata.tags == ["setup"]
    assert "pip" not in nb.cells[1].source and "http" not in json.dumps(nb)
    compile(nb.cells[1].source, "set-up", "exec")


def test_with_a_repository_badge_and_install_point_at_the_tag(course):
    (course / "pyproject.toml").write_text('[tool.ddpm-lesson]\nrepository = "owner/name"\nref = "v1.2"\n')
    source = write(course)
    nb, _ = build.load(source, course)
    badge, blank, title = nb.cells[0].source.split("\n")
    path = build.built(source)[1].relative_to(course).as_posix()
    assert path == "notebooks/student/02_sum.ipynb"
    assert badge.endswith(f"](https://colab.research.google.com/github/owner/name/blob/v1.2/{path})")
    assert (blank, title) == ("", "# Add two numbers")
    set_up = nb.cells[1].source
    compile(set_up, "set-up", "exec")
    assert "git+https://github.com/owner/name@v1.2" in set_up and "torch" not in set_up
    assert sum(bool(line.strip()) for line in set_up.splitlines()) <= 8


def test_a_repository_needs_a_ref(course):
    (course / "pyproject.toml").write_text('[tool.ddpm-lesson]\nrepository = "owner/name"\nref = ""\n')
    with pytest.raises(build.BuildError, match="no ref"):
        build.load(write(course), course)


@pytest.mark.parametrize("repository", ["", "owner/name"])
def test_set_up_cell_acts_only_where_the_package_is_missing(course, monkeypatch, repository):
    ref = "v1" if repository else ""
    (course / "pyproject.toml").write_text(f'[tool.ddpm-lesson]\nrepository = "{repository}"\nref = "{ref}"\n')
    nb, _ = build.load(write(course), course)
    calls = []
    monkeypatch.setattr("matplotlib.pyplot.style.use", calls.append)
    monkeypatch.setattr("subprocess.check_call", lambda command: calls.append(command[1:5]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if repository:
        exec(nb.cells[1].source, {})
        assert calls == [["-m", "pip", "install", "-q"], "ddpm_lesson.lesson"]
    else:
        with pytest.raises(ModuleNotFoundError, match="README"):
            exec(nb.cells[1].source, {})
    calls.clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "here")
    exec(nb.cells[1].source, {})
    assert calls == ["ddpm_lesson.lesson"]


# ---------------------------------------------------------------- reading and cutting


def test_source_is_kept_to_the_letter(course):
    cell = "# !ls\n# %matplotlib inline\n\n\nx = 'α'  # %% no cell"
    nb, lines = build.load(write(course, TITLE + f"# %%\n{cell}\n"), course)
    assert nb.cells[2].source == cell
    assert lines == {"02-000": 1, "02-001": 1, "02-002": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n" + TITLE, "02_sum.py:1: want NN_name.py"),
        ("# %%\nx = 1\n", "02_sum.py:1: want NN_name.py"),
        ("", "02_sum.py:1: want NN_name.py"),
        (TITLE + '# %%\nx = """\n# %% x\n"""\n', "'# %%' at cells only"),
        (TITLE + "# %%\nx = (\n", r"02_sum.py:5: "),
        (TITLE + '# %% tags=["solutions"]\nx = 1\n', "02_sum.py:4: unknown in a cell header: solutions"),
        (TITLE + '# %% tags=["setup"]\nx = 1\n', "02_sum.py:4: unknown in a cell header: setup"),
        (TITLE + '# %% tags=["nbval-skip"]\nx = 1\n', "nbval-skip"),
        (TITLE + '# %% tag=["solution"]\nx = 1\n', "unknown in a cell header: tag"),
        (TITLE + '# %% tags=["solution"\nx = 1\n', "02_sum.py:4: unknown"),
        (TITLE + "# %% a name\nx = 1\n", "unknown in a cell header: title"),
        (TITLE + "# %% [raw]\n# x\n", "02_sum.py:4: unknown in a cell header: raw"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused(course, text, message):
    with pytest.raises(build.BuildError, match=message):
        build.load(write(course, text), course)


def test_a_lesson_has_a_number(course):
    with pytest.raises(build.BuildError, match="NN_name.py"):
        build.load(write(course, name="sum"), course)


def test_student_copy_has_stubs_and_no_answers(course):
    student = build.cut(*build.load(write(course), course))
    assert [cell.id for cell in student.cells] == [f"02-{index:03d}" for index in (0, 1, 2, 3, 4, 5, 6, 7)]
    function, names = student.cells[6].source, student.cells[7].source
    assert function.endswith('    if x is not None:\n        raise NotImplementedError("Exercise 2.1")')
    assert names == "half = ...  # your answer\nthird = ...  # your answer\ngiven = 4"
    scope = {}
    exec(code_of(student).replace('"ddpm_lesson"', '"json"').replace("plt.style", "str").replace(".use(", "("), scope)
    with pytest.raises(NotImplementedError, match="^Exercise 2.1$"):
        scope["double"](1)


def test_stub_at_column_0_names_what_the_solution_assigns_and_nothing_else():
    solution = ["a, [b, *c] = 1, (2, 3)", "d: int = 4", "e[i].f = j = b", "for k in c:", "    pass", "a += 1"]
    assert build.stub(solution, "", "2.1", "x:1") == [f"{name} = ...  # your answer" for name in "abcdj"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# BEGIN SOLUTION\n# BEGIN SOLUTION\nx = 1\n# END SOLUTION\n# END SOLUTION\n", ":6: nested"),
        ("x = 1\n# END SOLUTION\n", ":6: nested, unbalanced"),
        ("# BEGIN SOLUTION\nx = 1\n", ":4: exercise 2.1 has no # END SOLUTION"),
        ("def f():\n    # BEGIN SOLUTION\n    return 1\n# END SOLUTION\n", ":8: nested, unbalanced"),
        ("#BEGIN SOLUTION\nx = 1\n# END SOLUTION\n", ":5: nested, unbalanced or misspelt"),
        ("x = 1\n", ":4: exercise 2.1 has no # BEGIN"),
        ("# BEGIN SOLUTION\nprint(1)\n# END SOLUTION\n", ":7: exercise 2.1 leaves nothing to fill in"),
        ("# BEGIN SOLUTION\nfor x in range(3):\n    pass\n# END SOLUTION\n", ":8: exercise 2.1 leaves nothing"),
        ("x = [\n# BEGIN SOLUTION\n1, [\n# END SOLUTION\n]]\n", ":4: the markers cut a statement in two"),
        ("x = [\n    # BEGIN SOLUTION\n    1\n    # END SOLUTION\n]\n", ":4: the markers cut a statement in two"),
    ],
)
def test_markers_must_be_in_order(course, text, message):
    with pytest.raises(build.BuildError, match="notebooks/src/02_sum.py" + message):
        build.cut(*build.load(write(course, EXERCISE + text), course))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TITLE + "# %%\n# BEGIN SOLUTION\nx = 1\n# END SOLUTION\n", ":4: solution markers need"),
        (TITLE + "# %% [markdown]\n# BEGIN SOLUTION\n", ":4: solution markers need a code cell"),
        (EXERCISE.replace("2.1", "12.1") + "# BEGIN SOLUTION\nx = 1\n# END SOLUTION\n", ":4: exercise 12.1 does not"),
        (TITLE + '# %% [markdown] tags=["exercise:3.1"]\n# Do.\n', ":4: exercise 3.1 does not start with the lesson's"),
    ],
)
def test_exercises_and_markers_go_together(course, text, message):
    with pytest.raises(build.BuildError, match="notebooks/src/02_sum.py" + message):
        build.cut(*build.load(write(course, text), course))


# ---------------------------------------------------------------- limits


def image(size, alt="Two curves."):
    data = {"image/png": base64.b64encode(bytes(size)).decode(), "text/plain": "<Figure size 1x1 with 1 Axes>"}
    return nbformat.v4.new_output("display_data", data, metadata={"image/png": {"alt": alt}} if alt else {})


def shown(text):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def notebook(*cells):
    nb = nbformat.v4.new_notebook(metadata={"ddpm_lesson": {"source": "src/02_sum.py"}})
    for source, outputs in cells:
        nb.cells.append(nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=1))
    return nb


def test_what_is_just_inside_every_limit_passes():
    text = shown(f"640x480, 0x1F, tmp, 1e-5, sub{Path.home()}\n")
    nb = notebook(*[("x = 1\n" * 25, [image(60_000)])] * 7, ("x = 1\n" * 25, [text]))
    nb.cells += [nbformat.v4.new_markdown_cell("text") for _ in range(32)]
    assert build.limits(nb, {}) == []


@pytest.mark.parametrize(
    ("nb", "message"),
    [
        (notebook(*[("", [])] * 41), ":1: 41 cells, at most 40"),
        (notebook(*[("x = 1\n" * 25, [])] * 8, ("x = 1", [])), ":1: 201 lines of code, at most 200"),
        (notebook(("x = 1\n" * 26, [])), ": 26 lines of code, at most 25"),
        (notebook(("", [image(60_001)])), ": image/png of 60.0 kB, at most 60"),
        (notebook(*[("", [image(60_000)])] * 8), ":1: 643 kB, at most 600"),
        (notebook(("", [image(10, alt="")])), ": an image without alt text"),
        (notebook(("", [shown("<object at 0x7f3a1c2b>")])), ": prints 0x7f3a1c2b"),
        (notebook(("", [shown(f"see {Path.home()}/x")])), f": prints {Path.home()}"),
        (notebook(("", [shown(f"'{ROOT}'")])), f": prints {ROOT}"),
        (notebook(("", [nbformat.v4.new_output("stream", name="stderr", text="careful")])), "warns or fails: careful"),
        (notebook(("", [nbformat.v4.new_output("error", ename="E", evalue="bad")])), "warns or fails: bad"),
        (notebook(("", [nbformat.v4.new_output("display_data", {build.WIDGET: {}})])), ": shows a widget"),
    ],
)
def test_every_limit_holds(nb, message):
    problems = build.limits(nb, {})
    assert len(problems) == 1 and message in problems[0], problems


def test_leak_in_a_table_is_seen():
    output = nbformat.v4.new_output("execute_result", {"text/html": f"<td>{ROOT}</td>", "text/plain": "x"})
    assert build.limits(notebook(("", [output])), {})


# ---------------------------------------------------------------- --check


def alter(path, change):
    nb = nbformat.read(path, as_version=4)
    change(nb)
    path.write_text(nbformat.writes(nb) + "\n", "utf-8")


CHECKED = LESSON.replace(LESSON[LESSON.index("# %% alt") : LESSON.index("# %% tags=[\"nbval")], "")


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, lambda nb: nb.metadata.ddpm_lesson.update(sha256="0"), "02_sum.ipynb is older than its source"),
        (0, lambda nb: nb.metadata.pop("ddpm_lesson"), "02_sum.ipynb is older than its source"),
        (0, lambda nb: nb.cells[2].update(source="total = 3"), "02_sum.ipynb was edited by hand"),
        (0, lambda nb: nb.cells[2].update(id="x"), "02_sum.ipynb was edited by hand"),
        (0, lambda nb: nb.cells[2].metadata.update(tags=[]), "02_sum.ipynb was edited by hand"),
        (0, lambda nb: nb.cells[2].metadata.update(collapsed=True), "02_sum.ipynb was edited by hand"),
        (0, lambda nb: nb.cells.pop(), "02_sum.ipynb was edited by hand"),
        (0, lambda nb: nb.metadata.update(language_info={"name": "python", "version": "3.11"}), "edited by hand"),
        (0, lambda nb: nb.cells[2].update(execution_count=None), "cell 02-002: no execution count"),
        (0, lambda nb: nb.metadata.update(widgets={"state": {}}), "widget state is stored"),
        (1, lambda nb: nb.cells[2].update(source="total = 3"), "02_sum.ipynb is stale or was edited by hand"),
        (1, lambda nb: nb.cells[2].update(execution_count=1), "02_sum.ipynb is stale or was edited by hand"),
    ],
)
def test_check_finds_what_is_stale(course, capsys, which, change, message):
    source = write_built(course, CHECKED)
    assert build.main(["--check"], course) == 0, capsys.readouterr().out
    alter(build.built(source)[which], change)
    assert build.main(["--check"], course) == 1
    out = capsys.readouterr().out
    assert message in out and "02_sum" in out


@pytest.mark.parametrize("added", ["\n# %%\nx = 1\n", "\n\n"])
def test_check_finds_a_changed_source(course, capsys, added):
    write_built(course, CHECKED)
    write(course, CHECKED + added)
    assert build.main(["--check"], course) == 1
    complete, student = capsys.readouterr().out.splitlines()
    assert complete == "notebooks/02_sum.ipynb is older than its source: run python -m notebooks.build 02_sum"
    assert student.startswith("notebooks/student/02_sum.ipynb is stale")


def test_check_finds_a_changed_set_up(course, monkeypatch, capsys):
    write_built(course, CHECKED)
    settings = (course / "pyproject.toml").read_text()
    (course / "pyproject.toml").write_text('[tool.ddpm-lesson]\nrepository = "owner/name"\nref = "v1"\n')
    assert build.main(["--check"], course) == 1
    assert "older than its source" in capsys.readouterr().out
    (course / "pyproject.toml").write_text(settings)
    assert build.main(["--check"], course) == 0
    monkeypatch.setattr(build, "SET_UP", build.SET_UP + "\n# more")
    assert build.main(["--check"], course) == 1
    assert "older than its source" in capsys.readouterr().out


def test_check_finds_a_missing_and_a_damaged_file(course):
    source = write_built(course, CHECKED)
    for path in build.built(source):
        kept = path.read_text("utf-8")
        path.unlink()
        assert build.main(["--check"], course) == 1
        for damaged in ("<<<<<<< HEAD\n", "{}", "[]"):
            path.write_text(damaged, "utf-8")
            assert build.main(["--check"], course) == 1
        path.write_text(kept, "utf-8")
    assert build.main(["--check"], course) == 0


@pytest.mark.parametrize("place", ["notebooks/07_gone.ipynb", "notebooks/student/07_gone.ipynb"])
def test_check_finds_a_notebook_without_a_source(course, capsys, place):
    write_built(course, CHECKED)
    (course / place).write_text("{}")
    assert build.main(["--check"], course) == 1
    assert "07_gone.ipynb has no source: delete it" in capsys.readouterr().out


def test_a_def_stands_in_one_lesson_only(course, capsys):
    write_built(course, TITLE + "# %%\ndef once():\n    pass\n", name="01_one")
    write_built(course, TITLE + "# %%\ndef twice():\n    pass\n\n\ndef twice():\n    return 1\n", name="02_two")
    assert build.main(["--check"], course) == 0
    write_built(course, TITLE + "# %%\ndef once():\n    pass\n", name="03_three")
    assert build.main(["--check"], course) == 1
    assert capsys.readouterr().out == "03_three.py:5: once is also defined in 01_one.py\n"


def test_unknown_lesson_is_named(course, capsys):
    write(course)
    with pytest.raises(SystemExit):
        build.main(["03_sum"], course)
    assert "03_sum" in capsys.readouterr().err


# ---------------------------------------------------------------- the repository's own notebooks


@pytest.mark.skipif(not [*(ROOT / "notebooks/src").glob("*.py")], reason="there is no lesson yet")
def test_repository_notebooks_are_up_to_date():
    code = "import sys, notebooks.build as b; sys.exit(b.main(['--check']))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
