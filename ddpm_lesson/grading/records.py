"""What is known of each student's homework: one file per student, with the history; each is written at once or not.

A record is {"student", "name", "attempts": [...]}; the last attempt counts. Marks that a human gives stand in hand.csv.
"""

import csv
import hashlib
import io
import json
import os
import re
from pathlib import Path

HAND = "hand.csv"


def slug(student):
    """A file's name for a student, whatever the id is; other students have other ones."""
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", student):
        return student
    digest = hashlib.sha256(student.encode("utf-8", "replace")).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9_-]", "_", student)[:48] + f"~{digest}"


def write(path, text):
    """Writes a file so that a reader, and a machine that stops, sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(beside, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _path(folder, student):
    return Path(folder) / "records" / f"{slug(student)}.json"


def load(folder, student=None):
    """The record of a student, or of all: student -> record."""
    if student is not None:
        path = _path(folder, student)
        return json.loads(path.read_text("utf-8")) if path.exists() else None
    records = (json.loads(path.read_text("utf-8")) for path in sorted((Path(folder) / "records").glob("*.json")))
    return {record["student"]: record for record in records}


def add(folder, student, name, attempt):
    """Saves one more attempt."""
    record = load(folder, student) or {"student": student, "name": name, "attempts": []}
    record["name"] = name or record["name"]
    record["attempts"].append(attempt)
    write(_path(folder, student), json.dumps(record, indent=1, ensure_ascii=False))


def table(header, rows):
    """A CSV in which no cell is a formula to a spreadsheet."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [["" if cell is None else f"'{cell}" if str(cell)[:1] in tuple("=+-@\t\r\n") else cell for cell in row]
         for row in [header, *rows]])
    return text.getvalue()


def answer_id(mark):
    """What names an answer: a mark given by hand stays with its answer, and a new answer waits for a new one."""
    return hashlib.sha256(mark["answer"].encode("utf-8", "replace")).hexdigest()[:8]


def by_hand(folder):
    """(student, question, answer's id or "" for any) -> points, comment, as hand.csv says."""
    path, given = Path(folder) / HAND, {}
    if not path.exists():
        return given
    with open(path, encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            student, comment = (re.sub("^'", "", row[name] or "") for name in ("student", "comment"))
            if (row["points"] or "").strip():
                if not re.fullmatch(r"\s*\d+(\.\d+)?\s*", row["points"]):
                    raise ValueError(f"{path}: points must be a number such as 1.5, not {row['points']!r}")
                given[student, row["question"], row["answer"] or ""] = float(row["points"]), comment
    return given


def write_by_hand(folder, given, records):
    """Writes hand.csv: what is given, and a row without points for every answer that waits."""
    rows = {key: (*key, f"{points:g}", comment) for key, (points, comment) in given.items()}
    for student, record in records.items():
        for question, mark in record["attempts"][-1]["marks"].items():
            key = student, question, answer_id(mark)
            if mark["points"] is None and mark["answer"] and (student, question, "") not in given:
                rows.setdefault(key, (*key, "", ""))
    header = ["student", "question", "answer", "points", "comment"]
    write(Path(folder) / HAND, table(header, [rows[key] for key in sorted(rows)]))


def marks(record, given):
    """question -> mark of the attempt that counts, with what a human gave in place of what the grader gave."""
    out = {}
    for question, mark in record["attempts"][-1]["marks"].items():
        keys = [(record["student"], question, which) for which in (answer_id(mark), "")]
        points, comment = next((given[key] for key in keys if key in given), (None, ""))
        out[question] = mark if points is None else mark | {"points": points, "note": comment or "Read."}
    return out
