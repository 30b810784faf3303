"""The marks of one submission. No line of a student's runs in this process: what the jail gave back is compared here.

A note to the student holds nothing of what the grader tried or expects, and nothing that the student's code could have
made of it: no value, no message of an error that came up while the grader asked.
"""

import builtins
import hashlib
import json
import re

from .. import homework
from ..checks import values
from . import jail, notebooks
from .material import START
from .process import MISUSED
from .submissions import Refused

LONGEST = 100_000  # characters of an answer that are kept and shown
SHAPE = "The answer does not have the shape that the question asks for."
ENDS = ("took too long", "the process ended", "used more than", "made more than", "not tried", MISUSED)
FIRST = """\
import json as _json, ddpm_lesson.homework as _homework
_homework.start = start = lambda *_, **__: (_json.loads({numbers!r}), lambda *_, **__: None)
numbers, check = start()  # for a notebook that has lost its own line"""


def grade(material, student, content, files=None, trust=False):
    """The marks of a notebook (bytes): marks, flags for the instructor, and errors of its cells, all of plain values.

    marks: question -> points (None: a human decides), of, note (for the student), answer (the student's cells).
    Raises NoJail, and RuntimeError when a jail does not start: then nothing is said about the student.
    """
    table = homework.questions(material.homework)
    try:
        cells = notebooks.read(content)
    except Refused as reason:
        return nothing(material, str(reason))
    code = [(str(k), cell.source) for k, cell in enumerate(cells, 1) if cell.kind == "code"]
    named = {name for _, source in code for name in START.findall(source)}
    if named and material.homework not in named:
        return nothing(material, f"this is {', '.join(sorted(named))}, not {material.homework}")

    given = [personal(source, material, student) for source in material.given]
    missing = [source for source in given if not any(notebooks.same(source, mine) for _, mine in code)]
    flags = [f"{len(missing)} cells that were handed out are missing or changed; they were run first, as handed out"]
    mine = homework.numbers(material.homework, material.key, student if material.personal else "")
    first = [("0", source) for source in [FIRST.format(numbers=json.dumps(mine)), *missing]]
    asked = [question for question in table if table[question].call]
    requests = [jail.Request(table[q].call, material.tries[q], table[q].setup) for q in asked]
    result = jail.run(first + code, requests, material.limits, files, trust)
    replies = dict(zip(asked, result.replies, strict=True))

    lines = {name: source.count("\n") + 1 for name, source in code}
    marks, flags = nothing(material, "")["marks"], flags if missing else []
    for question, mark in marks.items():
        there = [cells[k].source for k in notebooks.answers(cells, question)]
        if table[question].call:
            tries, reply = material.tries[question], replies[question]
            points, mark["note"] = _by_grader(table[question], mine.get(question, {}), tries, reply, lines)
        else:
            points, mark["note"] = _by_hand(there, material.blank[question])
        mark.update(points=points, answer="\n\n".join(there)[:LONGEST])
        flags += [f"{question}: {mark['note']}"] if points is None and mark["note"] else []
        flags += [f"{question}: {len(there)} cells say that they answer it"] if len(there) > 1 else []
    stopped = [f"cell {name} {error}" for name, error in result.cells.items() if error.startswith(ENDS)]
    stopped += [f"{q}: {reply.error}" for q, reply in replies.items() if (reply.error or "").startswith(ENDS)]
    flags += stopped[:5] + ([] if any(mark["points"] for mark in marks.values()) else ["no points at all"])
    errors = [f"Cell {name}: {error}" for name, error in result.cells.items()
              if name != "0" and not error.startswith("NotImplementedError")]
    return {"marks": marks, "flags": flags, "errors": errors[:20]}


def nothing(material, reason):
    """What is said of a submission that cannot be graded."""
    note = f"Not graded: {reason}." if reason else ""
    marks = {question: {"points": None, "of": asked.points, "note": note, "answer": ""}
             for question, asked in homework.questions(material.homework).items()}
    return {"marks": marks, "flags": [f"not graded: {reason}"], "errors": []}


def personal(source, material, student):
    """A cell as it is handed out: with the course's key, and the student where numbers are personal."""
    key, student = (json.dumps(word, ensure_ascii=False)
                    for word in (material.key, student if material.personal else ""))
    return re.sub(r'key="public", student=""', lambda _: f"key={key}, student={student}", source)


def _by_hand(sources, blank):
    if not sources:
        return None, "No cell for this answer was found."
    if all(notebooks.same(source, blank) for source in sources):
        return 0, "Not answered."
    return None, ""


def _by_grader(asked, mine, tries, reply, lines):
    """Points and note."""
    if reply.error:
        return None if reply.error.startswith("not tried") else 0, _told(reply.error, asked.call, lines)
    answers = reply.value
    if not isinstance(answers, list) or len(answers) != len(tries):
        return 0, f"No answer: {MISUSED}."
    if any(answer is None for answer in answers):
        return 0, "The answer is None: is a line missing?"
    try:
        _ = asked.judge or [values(answer) for answer in answers]
    except (TypeError, ValueError):
        return 0, "The answer is not made of numbers."
    try:
        share, note = homework.marked(asked, mine, tries, answers, lambda *_: SHAPE)
    except Exception as error:  # the judge is the instructor's, the value may be anything
        return None, f"This answer could not be judged ({type(error).__name__})."
    points = round(asked.points * min(max(float(share), 0.0), 1.0), 2)
    return points, note or ("Right." if points == asked.points else "Not yet.")


def _told(error, call, lines):
    """What a student is told about an error that came up when the grader asked."""
    kind, name = re.match(r"\w*", error)[0], re.match(r"\w+", call)[0]
    if kind == "NotImplementedError" or error.endswith("got ellipsis"):
        return "Not answered."
    if error == f"NameError: name '{name}' is not defined":
        return f"Nothing in the notebook is called {name}, or its cell failed."
    for end in ENDS:
        if error.startswith(end):
            return f"No answer: {end}{' it may' if end.endswith('than') else ''}."
    place = re.search(r" \(cell (\d+), line (\d{1,6})\)$", error)
    where = f" in cell {place[1]}, line {place[2]}" if place and int(place[2]) <= lines.get(place[1], 0) else ""
    what = kind if isinstance(getattr(builtins, kind, None), type) else "an error"
    return f"Your code raised {what}{where} for what the grader tried."


def digest(material, student, content, files):
    """The same for what must get the same marks."""
    parts = [material.fingerprint.encode(), student.encode("utf-8", "replace") if material.personal else b"", content]
    parts += [part for name in sorted(files) for part in (name.encode(), files[name])]
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()
