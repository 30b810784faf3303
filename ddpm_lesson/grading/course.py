"""Grades all that was handed in: every submission is a job of its own, and its marks are saved when they come."""

import os
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import datetime

from .. import homework
from . import jail, pages, records
from .grade import digest, grade, nothing
from .submissions import NOTEBOOK, Refused

WAITING = 64  # jobs handed to the executor at a time: their notebooks are in memory


def grade_all(material, submissions, folder, executor=None, jobs=None, trust=False, due=None, students=None, say=print):
    """Grades what has no marks yet, and writes the reports. Returns what went wrong: student -> reason.

    `executor` is any with the methods of concurrent.futures.Executor, such as a dask client's get_executor(); without
    one, `jobs` threads (default: one per core) wait for as many jails. `due` is a datetime. Raises NoJail before any
    notebook is opened where this machine is the one that runs them.
    """
    if not trust and executor is None:
        jail.run([], [])  # does this machine have a jail?
    own = None if executor else ThreadPoolExecutor(jobs or os.cpu_count())
    failed, running, known = {}, {}, records.load(folder)

    def save(done):
        for future in done:
            submission, attempt = running.pop(future)
            if error := future.exception():
                failed[submission.student] = f"{type(error).__name__}: {error}"
            else:
                records.add(folder, submission.student, submission.name, attempt | future.result())
            say(f"{submission.student}: {'failed' if error else 'graded'}")

    try:
        for submission in submissions:
            content, files, flags, reason = _opened(submission, homework.files(material.homework))
            if material.personal and submission.student not in (students or {}):
                reason = reason or "numbers are personal, and whose it is is not known"
            old = known.get(submission.student, {"attempts": []})["attempts"][-1:]
            attempt = {"digest": digest(material, submission.student, content, files) + reason,
                       "file": submission.notebook.path if submission.notebook else "",
                       "submitted": submission.notebook.modified if submission.notebook else 0.0,
                       "late": submission.late, "graded": time.time(), "handed in": (submission.flags + flags)[:20]}
            if old and old[0]["digest"] == attempt["digest"]:
                continue
            arguments = (nothing, material, reason) if reason else (
                grade, material, submission.student, content, files, trust)
            running[(executor or own).submit(*arguments)] = submission, attempt
            if len(running) >= WAITING:
                save(wait(running, return_when=FIRST_COMPLETED).done)
        while running:
            save(wait(running, return_when=FIRST_COMPLETED).done)
    finally:
        if own:
            own.shutdown(cancel_futures=True)
    report(material, folder, due, students, failed)
    return failed


def _opened(submission, wanted):
    """The notebook's bytes, the wanted files beside it, flags, and why it cannot be graded ("" if it can)."""
    files, flags, reason, content = {}, [], "", b""
    try:
        if submission.notebook is None:
            raise Refused(f"no notebook was handed in, only {', '.join(file.path for file in submission.others)}"[:300])
        content = submission.notebook.read(NOTEBOOK)
    except Refused as error:
        reason = str(error)
    for file in submission.others:
        name = next((name for name in wanted if file.path.lower().endswith(name.lower())), None)
        if name is None and len(wanted) == 1:  # an LMS or a browser renames, such as weights-1.safetensors
            name = next((name for name in wanted if file.path.lower().endswith(name[name.rindex("."):])), None)
        if name is None:
            flags.append(f"also handed in: {file.path[:100]}")
            continue
        try:
            files[name] = file.read(wanted[name])
        except Refused as error:
            flags.append(f"{file.path[:100]} was not used: {error}")
    flags += [f"{name} was not handed in" for name in wanted if name not in files]
    # An empty file fails at once, where a missing one would make the notebook train.
    return content, {name: files.get(name, b"") for name in wanted}, flags, reason


def report(material, folder, due=None, students=None, failed=None):
    """Writes grades.csv, hand.csv, summary.html and a page per student in feedback/, from the records alone."""
    known, given = records.load(folder), records.by_hand(folder)
    records.write_by_hand(folder, given, known)
    table, rows, all_marks = homework.questions(material.homework), [], {}
    for student, record in sorted(known.items()):
        last = record["attempts"][-1]
        marks = all_marks[student] = records.marks(record, given)
        late = hours_late(last, due)
        points = [mark["points"] for mark in marks.values()]
        flags = [*last["handed in"], *last["flags"], *([failed[student]] if student in (failed or {}) else [])]
        known_points = [p for p in points if p is not None]
        rows.append([student, record["name"], *map(_shown, points), _shown(sum(known_points) if known_points else None),
                     sum(asked.points for asked in table.values()), points.count(None), late,
                     len(record["attempts"]), "; ".join(flags)])
        page = pages.feedback(material, record, marks, late)
        records.write(folder / "feedback" / f"{records.slug(student)}.html", page)
    for student in sorted({*(students or {}), *(failed or {})} - set(known)):
        name, reason = (students or {}).get(student, ("",))[0], (failed or {}).get(student, "nothing was handed in")
        rows.append([student, name, *[None] * (len(table) + 5), reason])
    header = ["student", "name", *table, "points", "of", "to be read", "hours late", "attempts", "flags"]
    records.write(folder / "grades.csv", records.table(header, rows))
    records.write(folder / "summary.html", pages.summary(material, header, rows, all_marks))


def _shown(points):
    return None if points is None else f"{points:g}"


def hours_late(attempt, due):
    """Hours after `due`, 0 if in time, "late" if only the LMS says so."""
    if due and attempt["submitted"]:
        hours = (datetime.fromtimestamp(attempt["submitted"]) - due).total_seconds() / 3600
        if hours > 0:
            return round(hours, 1)
    return "late" if attempt["late"] else 0
