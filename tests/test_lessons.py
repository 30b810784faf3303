"""The lessons as a student runs them. nbval, in the same command, executes the complete copies and compares them."""

import base64
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from ddpm_lesson.exercises import EXERCISES
from ddpm_lesson.register import claims

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))
STUDENT = sorted((ROOT / "notebooks" / "student").glob("*.ipynb"))


def run(nb, folder):
    NotebookClient(nb, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return "".join(o.get("text", "") for c in nb.cells if c.cell_type == "code" for o in c.outputs)


@pytest.mark.parametrize("path", STUDENT, ids=lambda p: p.stem)
def test_a_student_copy_runs_to_its_end_alone_in_an_empty_folder_with_every_exercise_open(path, tmp_path):
    nb = nbformat.read(path, 4)
    tags = [tag for cell in nb.cells for tag in cell.metadata.get("tags", [])]
    exercises = [tag.split(":")[1] for tag in tags if tag.startswith("exercise:")]
    printed = run(nb, tmp_path)
    assert re.findall(r"^([\d.]+): (.*)$", printed, re.M) == [(e, "not answered yet.") for e in exercises]


@pytest.mark.mnist
def test_lesson_02_runs_on_mnist_where_the_files_are_there(tmp_path):
    if not Path(os.environ.get("DDPM_LESSON_DATA", "missing")).is_dir():
        if os.environ.get("DDPM_LESSON_REQUIRE_MNIST") == "1":
            pytest.fail("DDPM_LESSON_REQUIRE_MNIST=1, but $DDPM_LESSON_DATA names no folder")
        pytest.skip("the MNIST files are not at hand: set DDPM_LESSON_DATA to their folder")
    nb = nbformat.read(ROOT / "notebooks" / "02_forward.ipynb", 4)
    (knobs,) = (cell for cell in nb.cells if 'DATA = "digits"' in cell.source)
    knobs.source = knobs.source.replace('DATA = "digits"', 'DATA = "mnist"') + "\nprint(tuple(images.shape))"
    printed = run(nb, tmp_path)
    assert "(10000, 1, 28, 28)" in printed
    assert "agrees: False" not in printed and "not yet" not in printed


def test_the_map_and_the_readme_link_every_lesson_that_exists_and_no_other():
    lessons = {path.stem for path in (ROOT / "notebooks" / "src").glob("*.py")}
    readme = (ROOT / "README.md").read_text("utf-8")
    assert set(re.findall(r"\(notebooks/(\w+)\.ipynb\)", readme)) == lessons
    start = (ROOT / "notebooks" / "src" / "00_start_here.py").read_text("utf-8")
    assert set(re.findall(r"\((\w+)\.ipynb\)", start)) == lessons - {"00_start_here"}
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", readme):
        assert (ROOT / link).exists(), link


def test_every_claim_of_the_register_is_taught_in_a_cell_and_no_other():
    cells = [cell for path in (ROOT / "notebooks").glob("*.ipynb") for cell in nbformat.read(path, 4).cells]
    taught = [tag[6:] for cell in cells for tag in cell.metadata.get("tags", []) if tag.startswith("claim:")]
    assert set(taught) == set(claims())


def test_the_lessons_ask_at_least_25_questions_that_check_can_answer():
    tags = re.findall(r'tags=\["exercise:([\d.]+)"\]', "".join(p.read_text("utf-8") for p in SOURCES))
    assert len(tags) >= 25 and sorted(tags) == sorted(EXERCISES)


def test_the_readme_shows_a_figure_of_a_lesson_as_it_is_built_today():
    name = re.findall(r"!\[.+?\]\((.+?\.png)\)", (ROOT / "README.md").read_text("utf-8"))[0]
    nb = nbformat.read(ROOT / "notebooks" / "02_forward.ipynb", 4)
    outputs = [output for cell in nb.cells if cell.cell_type == "code" for output in cell.outputs]
    first = next(output.data["image/png"] for output in outputs if "image/png" in output.get("data", {}))
    assert base64.b64decode(first) == (ROOT / name).read_bytes(), "run python -m tests.browser.pictures"
