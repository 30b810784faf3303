"""Marks go to nbgrader's gradebook, and come back with what humans gave. Skips where nbgrader is not installed.

Sabotage that turned this file red: HTML and links left as they are.
"""

import csv
import json
import subprocess
import sys

import nbformat
import pytest
from handed_in import Handed, built

pytest.importorskip("nbgrader.api")
from ddpm_lesson import homework  # noqa: E402
from ddpm_lesson.grading import course, grade, material, records  # noqa: E402
from ddpm_lesson.grading.__main__ import main  # noqa: E402
from ddpm_lesson.grading.nbgrader import harmless  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore"),  # nbgrader's own, of the libraries it uses
              pytest.mark.skipif(sys.platform == "win32", reason="homework is graded on Linux or macOS")]

TABLE = homework.questions("hw1")
EVIL = ("<script>alert(1)</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) $\\beta_t<1$ "
        "<a href=javascript\\:x>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return built(tmp_path_factory.mktemp("course"))


@pytest.fixture
def graded(folder, tmp_path):
    """hand_in(student, points of q1, text of q11), as `grade` would have left it."""
    drawn, out = material.load("hw1", folder=folder), tmp_path / "hw1"

    def hand_in(student, q1, q11):
        marks = grade.nothing(drawn, "")["marks"]
        for question, mark in marks.items():
            mark.update(points=None if question == "hw1.q11" else 0, answer="x")
        marks["hw1.q1"] |= {"points": q1, "note": "Right."}
        marks["hw1.q11"] |= {"answer": q11, "note": ""}
        records.add(out, student, "", {"digest": q11, "file": "x.ipynb", "submitted": 1e9, "late": False, "graded": 1e9,
                                       "handed in": [], "flags": [], "errors": [], "marks": marks})
        course.report(drawn, out)
    return hand_in


def test_marks_go_there_and_come_back(graded, folder, tmp_path, capsys):
    from nbgrader.api import Gradebook

    def exchange():
        assert main(["nbgrader", str(tmp_path / "hw1"), str(tmp_path / "nb"), "--folder", str(folder)]) == 0
        return capsys.readouterr().out

    def book():
        return Gradebook(f"sqlite:///{tmp_path / 'nb' / 'gradebook.db'}")

    def find(kind, question, student):
        return getattr(gb, f"find_{kind}")(question, "hw1_forward", "hw1", student)

    graded("anna", 4, EVIL)
    graded("Bob/../x", 0, "because")
    bob = records.slug("Bob/../x")
    assert exchange().startswith("0 marks came from formgrader; 2 submissions went")
    with book() as gb:
        handed_in = {(s.student.id, s.score, s.max_score, s.needs_manual_grade)
                     for s in gb.assignment_submissions("hw1")}
        assert handed_in == {("anna", 4, 60, True), (bob, 0, 60, True)}
        grades = gb.find_submission("hw1", "anna").notebooks[0].grades
        assert [grade.name for grade in grades if grade.needs_manual_grade] == ["hw1-q11"]
        assert find("comment", "hw1-q1", "anna").auto_comment == "Right."
        find("grade", "hw1-q11", "anna").manual_score, find("grade", "hw1-q11", "anna").extra_credit = 3, 0.5
        find("comment", "hw1-q11", "anna").manual_comment = "=good"
        gb.db.commit()
    assert exchange().startswith("1 marks came")
    answer = records.answer_id({"answer": EVIL})
    assert records.by_hand(tmp_path / "hw1") == {("anna", "hw1.q11", answer): (3.5, "=good")}
    with book() as gb:
        assert gb.find_submission("hw1", "anna").score == 7.5
        assert not gb.find_submission("hw1", "anna").needs_manual_grade
    exchange()
    assert len(records.by_hand(tmp_path / "hw1")) == 1

    graded("anna", 4, "a new answer")  # the mark belongs to the old one
    exchange()
    with book() as gb:
        assert gb.find_submission("hw1", "anna").score == 4 and gb.find_submission("hw1", "anna").needs_manual_grade
    graded("anna", 4, EVIL)
    exchange()
    with book() as gb:
        assert gb.find_submission("hw1", "anna").score == 7.5

    out = tmp_path / "nb" / "out.csv"
    subprocess.run([sys.executable, "-m", "nbgrader", "export", "--to", str(out)], cwd=tmp_path / "nb", check=True,
                   capture_output=True)
    with open(out, newline="") as file:
        assert {row["student_id"]: row["score"] for row in csv.DictReader(file)} == {"anna": "7.5", bob: "0.0"}


def test_what_formgrader_shows_has_its_boxes_and_no_script(graded, folder, tmp_path):
    from nbconvert.exporters import HTMLExporter
    from nbgrader.nbgraderformat import MetadataValidator
    from nbgrader.server_extensions.formgrader import handlers
    from traitlets.config import Config

    graded("anna", 4, EVIL)
    assert main(["nbgrader", str(tmp_path / "hw1"), str(tmp_path / "nb"), "--folder", str(folder)]) == 0
    path = tmp_path / "nb/autograded/anna/hw1/hw1_forward.ipynb"
    MetadataValidator().validate_nb(nbformat.read(path, 4))
    config = Config()
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    page, _ = HTMLExporter(config=config).from_filename(str(path), resources={
        "base_url": "", "notebook_id": "hw1_forward", "assignment_id": "hw1", "submission_id": "1", "index": 0,
        "total": 1, "student": "anna", "last_name": None, "first_name": None, "notebook_path": ""})
    assert "&lt;script&gt;alert(1)" in page and "<script>alert(1)" not in page and "<img src=x" not in page
    assert "javascript:alert(1)" not in page.replace("&#58;", ":") and '"javascript' not in page
    for question in TABLE:
        assert f'id="{question.replace(".", "-")}"' in page, question
    assert Handed(folder).nb["cells"][0]["source"] == json.loads(path.read_text("utf-8"))["cells"][0]["source"]


@pytest.mark.parametrize("text", ["[x](javascript:a)", "[x](JaVaScRiPt:a)", "[x](javascript\\:a)",
                                  "[x](data:text/html,a)", "[x]: javascript:a", "<b>",
                                  "\\href{javascript:a}{x}", "[x](vbscript\t:a)"])
def test_markdown_keeps_no_scripts(text):
    assert "<" not in harmless(text)
    assert "script:" not in harmless(text).lower().replace("\\", "").replace("\t", "") and "data:" not in harmless(text)
    assert harmless("$a<b$ and **c**") == "$a&lt;b$ and **c**"
