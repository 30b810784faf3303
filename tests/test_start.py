"""start.py, without installing anything: what it decides, what it says, and that a student's work stays."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import start  # noqa: E402

HERE = "{}.{}".format(*sys.version_info)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A checkout in miniature, and a record of the commands that start.py would have run."""
    for folder in ("ddpm_lesson", "notebooks/student"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "notebooks/student/00_start_here.ipynb", "notebooks/00_a.ipynb"):
        (tmp_path / name).write_text("from the course: " + name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DDPM_LESSON_VENV", raising=False)
    monkeypatch.setattr(start, "ROOT", str(tmp_path))
    commands, versions = [], {}

    def call(command, **options):
        commands.append(command)
        return any(word in command for word in fake.failing)

    def popen(command, **options):
        if "venv" in command:
            Path(command[-1]).mkdir(exist_ok=True)
            Path(command[-1], "pyvenv.cfg").write_text("")
            versions[start.python_in(command[-1])] = HERE
        failed = call(command)
        return SimpleNamespace(stdout=[f"line {n}\n" for n in range(30)], wait=lambda: failed)

    fake = SimpleNamespace(folder=tmp_path, commands=commands, versions=versions, failing=[], free=100)
    monkeypatch.setattr(start.subprocess, "call", call)
    monkeypatch.setattr(start.subprocess, "Popen", popen)
    monkeypatch.setattr(start, "version_of", versions.get)
    monkeypatch.setattr(start, "free_gb", lambda folder: fake.free)
    monkeypatch.setattr(start, "become", lambda command: commands.append(command))
    return fake


def installs(fake):
    return [command for command in fake.commands if "install" in command]


def stamp(fake):
    return fake.folder / ".venv" / "ddpm-lesson.json"


# ---------------------------------------------------------------- the environment


def test_the_first_run_installs_under_the_constraints_and_the_second_does_not(course):
    python = start.set_up("lab")
    assert [command[2] for command in course.commands] == ["venv", "ensurepip", "pip"]
    assert installs(course)[0] == [
        python, "-m", "pip", "install", "--editable", ".[lab]", "--constraint", "constraints.txt"]
    assert start.set_up("lab") == python and len(course.commands) == 3


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_into_the_same_environment(course, name):
    start.set_up("lab")
    Path(name).write_text("numpy>=99")
    start.set_up("lab")
    assert [command[2] for command in course.commands] == ["venv", "ensurepip", "pip", "ensurepip", "pip"]
    start.set_up("lab")
    assert len(installs(course)) == 2


def test_other_changes_install_nothing(course):
    start.set_up("lab")
    Path("ddpm_lesson", "new.py").write_text("")
    start.set_up("lab")
    assert len(installs(course)) == 1


def test_the_test_extra_serves_the_lab_and_not_the_other_way_round(course):
    start.set_up("lab")
    start.set_up("test")
    start.set_up("lab")
    start.set_up("test")
    assert [command[5] for command in installs(course)] == [".[lab]", ".[test]"]
    Path("pyproject.toml").write_text("numpy>=99")
    start.set_up("lab")
    assert installs(course)[-1][5] == ".[test]"  # else the next test would have to install again
    start.set_up("test")
    assert len(installs(course)) == 3


@pytest.mark.parametrize("failing", ["venv", "ensurepip", "pip"])
def test_a_failed_set_up_leaves_no_stamp_and_the_next_one_repairs(course, failing):
    start.set_up("lab")
    Path("pyproject.toml").write_text("numpy>=99")
    if failing == "venv":
        course.versions.clear()
    course.failing = [failing]
    with pytest.raises(SystemExit, match="message is just above"):
        start.set_up("lab")
    assert not stamp(course).exists()
    course.failing = []
    start.set_up("lab")
    assert stamp(course).exists()


def test_a_stop_in_the_middle_of_pip_leaves_no_stamp(course, monkeypatch):
    def interrupt(command, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(start.subprocess, "Popen", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start.set_up("lab")
    assert not stamp(course).exists()


def test_an_unreadable_stamp_counts_as_none(course):
    start.set_up("lab")
    stamp(course).write_text('{"extra": ')
    start.set_up("lab")
    assert len(installs(course)) == 2


@pytest.mark.parametrize("version", [None, "3.9"])
def test_a_broken_environment_or_one_of_another_python_is_made_afresh(course, capsys, version):
    python = start.set_up("lab")
    course.versions[python] = version
    start.set_up("lab")
    assert [command[2] for command in course.commands] == ["venv", "ensurepip", "pip"] * 2
    assert all("--clear" in command for command in course.commands if "venv" in command)
    assert "making it afresh" in capsys.readouterr().out


def test_a_moved_checkout_makes_its_environment_afresh(course):
    start.set_up("lab")
    said = json.loads(stamp(course).read_text())
    stamp(course).write_text(json.dumps(said | {"folder": "elsewhere"}))
    start.set_up("lab")
    assert [command[2] for command in course.commands] == ["venv", "ensurepip", "pip"] * 2


def test_the_environment_can_be_in_another_folder(course, monkeypatch):
    monkeypatch.setenv("DDPM_LESSON_VENV", str(course.folder / "other"))
    assert start.set_up("lab") == start.python_in(str(course.folder / "other"))
    assert not Path(".venv").exists()


def test_a_folder_that_is_no_environment_is_never_cleared(course, monkeypatch):
    Path("precious").mkdir()
    Path("precious", "thesis.txt").write_text("years of work")
    monkeypatch.setenv("DDPM_LESSON_VENV", "precious")
    with pytest.raises(SystemExit, match="something else than a Python environment"):
        start.set_up("lab")
    assert course.commands == []


def test_version_of_a_real_and_of_a_missing_python():
    assert start.version_of(sys.executable) == HERE
    assert start.version_of("no-such-python") is None


# ---------------------------------------------------------------- what is said when something is missing


@pytest.mark.parametrize("version", [(2, 7), (3, 9), (3, 14), (4, 0)])
def test_a_wrong_python_is_told_which_one_to_get(monkeypatch, version):
    monkeypatch.setenv("PATH", "")
    said = r"needs Python 3.10 to 3.13; this is Python {}.{}.\nGet 3.13".format(*version)
    with pytest.raises(SystemExit, match=said):
        start.check_python(version)


def test_a_wrong_python_is_told_about_a_right_one_on_this_machine(tmp_path, monkeypatch):
    (tmp_path / "python3.12").write_text("")
    monkeypatch.setenv("PATH", os.pathsep.join(["nowhere", str(tmp_path)]))
    with pytest.raises(SystemExit, match="Type: python3.12 start.py"):
        start.check_python((3, 14))


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_a_supported_python_passes(minor):
    assert start.check_python((3, minor, 2)) is None


def test_old_pythons_can_read_start_py():
    """They must get as far as the message; those that are on this machine show it."""
    text = (ROOT / "start.py").read_text(encoding="ascii")  # Python 2 reads nothing else without a declaration
    too_new = (ast.AnnAssign, ast.JoinedStr, ast.NamedExpr, ast.Nonlocal, ast.AsyncFunctionDef, ast.Starred)
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, too_new), ast.unparse(node)
        assert not (isinstance(node, ast.FunctionDef) and (node.returns or node.args.kwonlyargs)), node.name
        assert not (isinstance(node, ast.Raise) and node.cause), ast.unparse(node)
    by_pyenv = [str(path) for path in Path.home().glob(".pyenv/versions/*/bin/python")]
    by_name = [shutil.which(name) for name in ("python2", "python3.6", "python3.8", "python3.9", "python3.14")]
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for python in filter(None, by_pyenv + by_name):
        version = subprocess.run([python, "-c", ask], capture_output=True, text=True).stdout.strip()
        if version and not start.OLDEST <= tuple(map(int, version.split("."))) <= start.NEWEST:
            run = subprocess.run([python, str(ROOT / "start.py")], capture_output=True, text=True)
            assert run.returncode == 1 and f"this is Python {version}.\n" in run.stderr, run.stderr


@pytest.mark.parametrize("missing", ["pyproject.toml", "constraints.txt", "notebooks/student/00_start_here.ipynb"])
def test_start_py_without_its_project(course, missing):
    Path(missing).unlink()
    with pytest.raises(SystemExit, match="is missing in .*\n.*whole project"):
        start.check_folder()


def test_no_venv_module(course, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)  # importing it now fails, as on a bare Debian
    with pytest.raises(SystemExit, match="apt install python3-venv"):
        start.set_up("lab")
    assert course.commands == []


def test_too_little_disk(course):
    course.free = 2.5
    with pytest.raises(SystemExit, match=r"Only 2\.5 GB are free.*need 3 GB"):
        start.set_up("lab")
    assert course.commands == []


def test_linux_is_warned_of_the_size_of_cuda(course, monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    course.free = 5
    start.set_up("lab")
    assert "Note: 5.0 GB are free" in capsys.readouterr().out


def test_a_folder_that_does_not_exist(course, monkeypatch):
    monkeypatch.setenv("DDPM_LESSON_VENV", str(course.folder / "no" / "such" / "folder"))
    with pytest.raises(SystemExit, match="does not exist"):
        start.set_up("lab")
    assert course.commands == []


def test_no_permission_to_write(course, monkeypatch):
    monkeypatch.setattr(start.os, "access", lambda path, mode: False)
    with pytest.raises(SystemExit, match="no permission to write"):
        start.set_up("lab")
    assert course.commands == []


def test_no_network_shows_the_end_of_what_pip_said_and_what_to_do(course):
    course.failing = ["pip"]
    with pytest.raises(SystemExit, match="no network(.|\n)*run the same command again") as stop:
        start.set_up("lab")
    assert str(stop.value).startswith("line 10\n") and "line 29\n" in str(stop.value)


def test_an_unknown_word_is_answered_with_the_known_ones():
    with pytest.raises(SystemExit, match="knows lab, test and pages, not 'lesson'"):
        start.main(["lesson"])


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_names_the_three_commands(words):
    help_text = subprocess.check_output([sys.executable, str(ROOT / "start.py"), *words], text=True)
    assert all(command in help_text for command in ("start.py ", "start.py test", "start.py pages", "py start.py"))


# ---------------------------------------------------------------- the three commands


def test_lab_opens_a_copy_and_never_overwrites_what_the_student_wrote(course):
    start.main([])
    mine = Path("work", "00_start_here.ipynb")
    assert course.commands[-1][1:4] == ["-m", "jupyterlab", "--LabApp.default_url=/lab/tree/work/00_start_here.ipynb"]
    assert mine.read_text() == Path("notebooks", "student", "00_start_here.ipynb").read_text()

    mine.write_text("my answers")
    Path("notebooks", "student", "00_start_here.ipynb").write_text("a new edition")
    Path("notebooks", "student", "01_new.ipynb").write_text("a new lesson")
    Path("notebooks", "student", "zh").mkdir()
    Path("notebooks", "student", "zh", "01_new.ipynb").write_text("another language")
    start.main(["lab", "--no-browser"])
    assert mine.read_text() == "my answers"
    assert Path("work", "01_new.ipynb").read_text() == "a new lesson"
    assert course.commands[-1][-1] == "--no-browser"
    assert Path("work", "zh", "01_new.ipynb").read_text() == "another language"
    assert sorted(os.listdir("work")) == ["00_start_here.ipynb", "01_new.ipynb", "zh"]
    assert os.listdir(Path("work", "zh")) == ["01_new.ipynb"]


@pytest.mark.parametrize(("platform", "strictness"), [("linux", "--nbval"), ("darwin", "--nbval-lax")])
def test_test_runs_tests_and_lessons_in_one_pytest(course, monkeypatch, platform, strictness):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    start.main(["test"])
    command = course.commands[-1]
    assert command[1:3] == ["-m", "pytest"] and command[-2:] == ["tests", str(Path("notebooks", "00_a.ipynb"))]
    assert strictness in command and os.environ["OMP_NUM_THREADS"] == "1"


def test_test_hands_further_words_to_pytest_alone(course, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    start.main(["test", "-k", "posterior"])
    assert course.commands[-1][1:] == ["-m", "pytest", "-k", "posterior"]


def test_pages_goes_on_after_a_failing_lesson_and_says_so(course, capsys):
    Path("notebooks", "01_b.ipynb").write_text("")
    course.failing = [str(Path("notebooks", "00_a.ipynb"))]
    with pytest.raises(SystemExit, match="Stopped with an error, shown above: 00_a"):
        start.main(["pages"])
    index = Path("pages", "index.html").read_text()
    assert '<a href="01_b.html">' in index and "00_a stopped with an error" in index
    assert "1 lessons ran" in capsys.readouterr().out


def test_pages_takes_no_further_words(course):
    with pytest.raises(SystemExit, match="no further words"):
        start.main(["pages", "02"])
