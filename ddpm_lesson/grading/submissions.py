"""What was handed in, in a folder or in a zip from an LMS: names and contents are hostile, and nothing is unpacked.

Whose it is, is decided by what the LMS or the instructor named (a folder, the beginning of a file's name), never by
what stands in the notebook.
"""

import csv
import io
import os
import re
import stat
import time
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

NOTEBOOK, ZIP, ENTRIES = 20 << 20, 64 << 20, 100_000  # most bytes of a notebook, of a zip in the folder; most files
IGNORED = re.compile(r"(^|/)(\.|__MACOSX/|Thumbs\.db$|desktop\.ini$)")
MOODLE = re.compile(r"(?P<name>[^/]*)_(?P<id>\d+)_assignsubmission_[a-z]+_?")
CANVAS = re.compile(r"(?P<name>[^_/]+?)_(?P<late>LATE_)?(?P<id>\d+)_\d+_")


class Refused(ValueError):
    """Why a file is not read."""


class File(NamedTuple):
    path: str  # its name, with "/"
    modified: float  # seconds since 1970
    read: object  # read(most bytes) -> bytes; raises Refused


class Submission(NamedTuple):
    student: str
    name: str
    notebook: File | None
    others: list  # of File: weights
    flags: list
    late: bool  # as the LMS says


def find(path):
    """The files of a folder or zip, sorted by name. ValueError when it is neither."""
    path = Path(path)
    if path.is_dir():
        found = list(_in_folder(path))
    elif path.is_file() and zipfile.is_zipfile(path):
        found = list(_in_zip(zipfile.ZipFile(path), ""))
    else:
        raise ValueError(f"submissions must be a folder or a zip file, not {str(path)!r}")
    return sorted((file for file in found if not IGNORED.search(file.path)), key=lambda file: file[:2])


def _in_folder(top):
    for where, folders, names in os.walk(top):
        for name in names + [name for name in folders if Path(where, name).is_symlink()]:
            path = Path(where, name)
            label = os.fsencode(path.relative_to(top).as_posix()).decode(errors="replace")

            def read(most, path=path):
                try:
                    if not stat.S_ISREG(path.lstat().st_mode):
                        raise Refused("it is a link or something else that is not a file")
                    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
                    with open(fd, "rb") as file:
                        return _bounded(file, most)
                except OSError as error:
                    raise Refused(f"it cannot be read ({error.strerror})") from None

            yield from _opened(File(label, path.lstat().st_mtime, read))


def _in_zip(archive, prefix):
    infos = archive.infolist()
    if len(infos) > ENTRIES:
        raise ValueError(f"a zip may hold at most {ENTRIES} files, not {len(infos)}")
    for info in infos:
        parts = [part for part in re.split(r"[/\\]", info.filename) if part not in ("", ".", "..")]

        def read(most, info=info):
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                raise Refused("it is a link or something else that is not a file")
            try:
                with archive.open(info) as file:
                    return _bounded(file, most)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
                raise Refused(f"the zip is damaged, encrypted or of an unknown kind ({type(error).__name__})") from None

        if not info.is_dir() and parts:
            try:
                modified = time.mktime((*info.date_time, 0, 0, -1))
            except (OverflowError, ValueError):
                modified = 0.0
            file = File(prefix + "/".join(parts), modified, read)
            yield from [file] if prefix else _opened(file)


def _opened(file):
    """The files in it, if it is a zip, else itself. A zip in a zip in a zip stays closed."""
    if not file.path.lower().endswith(".zip"):
        return [file]
    try:
        return list(_in_zip(zipfile.ZipFile(io.BytesIO(file.read(ZIP))), f"{file.path}/"))
    except (ValueError, zipfile.BadZipFile):
        return [file]


def _bounded(file, most):
    data = file.read(most + 1)
    if len(data) > most:
        raise Refused(f"it is larger than {most / 1e6:.1f} MB")
    return data


def roster(path):
    """student id -> (name, other things the student is called by), from a CSV with a column `student`.

    A column `name` is the name to show. Every further cell is an LMS id, a login, an address or a file's name.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if "student" not in (rows.fieldnames or []):
            raise ValueError(f"{path} must have a column 'student', not only {rows.fieldnames}")
        students = {}
        for row in rows:
            student = (row["student"] or "").strip()
            if not student or student in students:
                raise ValueError(f"{path}, line {rows.line_num}: the student is missing or there twice: {student!r}")
            others = [value for key, value in row.items() if key and isinstance(value, str)]
            students[student] = (row.get("name") or "").strip(), {_plain(value) for value in others} - {""}
    return students


def collect(files, students=None):
    """The submissions in the files, one per student. `students` is a roster, where there is one."""
    shared = {file.path.split("/")[0] for file in files}
    second = {file.path.split("/")[1] for file in files if file.path.endswith(".ipynb") and "/" in file.path}
    top = f"{shared.pop()}/" if len(shared) == 1 and len(second) > 1 else ""  # the one folder all of it lies in
    groups, known = {}, {}
    for file in files:
        owner = _owner(file.path.removeprefix(top))
        student, flags = known.setdefault(owner[:2], _match(*owner[:2], students) if students else (owner[0], []))
        groups.setdefault(student, []).append((file, owner, flags))
    return [_submission(student, group, students or {}) for student, group in groups.items()]


def _submission(student, group, students):
    notebooks = sorted((one for one in group if one[0].path.lower().endswith(".ipynb")), key=lambda one: one[0][1::-1])
    flags = sorted({flag for _, _, flags in group for flag in flags})
    if len(notebooks) > 1:
        flags.append(f"{len(notebooks)} notebooks were handed in; the newest is graded: {notebooks[-1][0].path}")
    file, (_, name, late), _ = (notebooks or group)[-1]
    name = students[student][0] if student in students else name
    others = [one for one, *_ in group if not one.path.lower().endswith(".ipynb")]
    return Submission(student, name, file if notebooks else None, others, flags, late)


def _owner(path):
    """Who handed in a file, as its path says: id, name, whether late."""
    for pattern in (MOODLE, CANVAS):
        if match := pattern.match(path):
            return match["id"], match["name"], bool(match.groupdict().get("late"))
    first = path.split("/")[0]
    return (first if "/" in path and not first.lower().endswith(".zip") else Path(first).stem), "", False


def _match(who, name, students):
    """The student of the roster that is meant, and flags. Somebody else keeps the name found, and is flagged."""
    exact = [student for student, (_, others) in students.items() if _plain(who) in others]
    if len(exact) == 1:
        return exact[0], []
    texts = {_plain(who), _plain(name)} - {""}
    lengths = {}
    for student, (_, others) in students.items():
        for other in others:
            if any(other in text and re.search(rf"(?<![^\W_]){re.escape(other)}(?![^\W_])", text) for text in texts):
                lengths[student] = max(len(other), lengths.get(student, 0))
    best = [student for student, length in lengths.items() if length == max(lengths.values())]
    if len(best) == 1:
        return best[0], []
    several = f"fits {len(best)} students of the roster" if best else "is not on the roster"
    return f"{who}?", [f"{who!r} {several}"]


def _plain(text):
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
