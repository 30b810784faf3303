"""Exchange of marks with nbgrader (extra `homework`): its formgrader shows the answers that wait for a human.

nbgrader runs nothing here. Its gradebook and its folder autograded/ get what the grader knows, and give back the marks
that humans entered. A student is called there what records.slug makes of the id.
"""

import html
import json
import os
import re
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from sqlalchemy.exc import SAWarning

from .. import homework
from . import records
from .material import notebook


def exchange(material, folder, course, built):
    """Brings the marks given in formgrader into folder/hand.csv, then writes all marks into course/gradebook.db.

    Where both have a mark for an answer, formgrader's counts. `built` is the folder of the built homework. Returns
    what was done, in words.
    """
    path, known, given = notebook(material.homework, "student", built), records.load(folder), records.by_hand(folder)
    course.mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic
    with warnings.catch_warnings(), Gradebook(f"sqlite:///{(course / 'gradebook.db').resolve()}") as book:
        warnings.simplefilter("ignore", SAWarning)  # of nbgrader's own use of a newer SQLAlchemy
        back = _read(book, material.homework, path.stem, known, course)
        given |= back
        records.write_by_hand(folder, given, known)
        _table(book, material.homework, path.stem)
        for record in known.values():
            _write(book, material, path, record, given, course)
    return (f"{len(back)} marks came from formgrader; {len(known)} submissions went to {course}; "
            "run grade again to bring its pages up to date")


def _id(question):
    return question.replace(".", "-")


def _copy(course, record, name, stem):
    return course / "autograded" / records.slug(record["student"]) / name / f"{stem}.ipynb"


def _read(book, name, stem, known, course):
    """The marks that humans gave: keys and values as in records.by_hand. They belong to the answers that were shown."""
    back = {}
    for record in known.values():
        copy = _copy(course, record, name, stem)
        shown = json.loads(copy.read_text("utf-8"))["metadata"]["answers"] if copy.exists() else {}
        for question, answer in shown.items():
            try:
                grade = book.find_grade(_id(question), stem, name, records.slug(record["student"]))
                comment = book.find_comment(_id(question), stem, name, records.slug(record["student"]))
            except MissingEntry:
                continue
            if grade.manual_score is not None:
                points = grade.manual_score + (grade.extra_credit or 0)
                back[record["student"], question, answer] = points, comment.manual_comment or ""
    return back


def _table(book, name, stem):
    """The homework's questions, as nbgrader's grade cells."""
    book.update_or_create_assignment(name)
    book.update_or_create_notebook(stem, name)
    for question, asked in homework.questions(name).items():
        kind = "code" if asked.call else "markdown"
        book.update_or_create_grade_cell(_id(question), stem, name, max_score=asked.points, cell_type=kind)
        book.update_or_create_solution_cell(_id(question), stem, name)


def _write(book, material, path, record, given, course):
    """One student's marks and notebook: the one handed out, with the answers of the attempt that counts in place."""
    student, name, last = records.slug(record["student"]), material.homework, record["attempts"][-1]
    book.update_or_create_student(student)
    when = datetime.fromtimestamp(last["submitted"], timezone.utc).replace(tzinfo=None)
    book.update_or_create_submission(name, student, timestamp=str(when))
    for question, mark in last["marks"].items():
        keys = [(record["student"], question, which) for which in (records.answer_id(mark), "")]
        points, comment = next((given[key] for key in keys if key in given), (None, None))
        grade = book.find_grade(_id(question), path.stem, name, student)
        grade.auto_score, grade.manual_score, grade.extra_credit = mark["points"], points, None
        grade.needs_manual_grade = points is None and mark["points"] is None
        note = book.find_comment(_id(question), path.stem, name, student)
        note.auto_comment, note.manual_comment = mark["note"] or None, comment or None
    book.db.commit()
    nb = json.loads(path.read_text("utf-8"))
    for cell in nb["cells"]:
        question = next((q for q in last["marks"] if _id(q) == cell["metadata"].get("nbgrader", {}).get("grade_id")), 0)
        if question:
            answer = last["marks"][question]["answer"]
            cell["source"] = harmless(answer) if cell["cell_type"] == "markdown" else answer
    nb["metadata"]["answers"] = {question: records.answer_id(mark) for question, mark in last["marks"].items()}
    records.write(_copy(course, record, name, path.stem), json.dumps(nb, indent=1, ensure_ascii=False))


def harmless(markdown):
    """Markdown with its formulas, but without HTML and scripts: nbgrader puts both into its page as they are."""
    return re.sub(r"(?i)(script|data)([\W_]{0,9}):", r"\1\2 :", html.escape(markdown, quote=False))
