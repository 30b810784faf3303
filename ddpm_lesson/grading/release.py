"""Hands a homework out: the student copy with a course's own numbers, or with each student's."""

import io
import json
import zipfile
from pathlib import Path

from . import records
from .grade import personal
from .material import HOMEWORK, Material, key, notebook


def release(name, to, secret=b"public", students=None, folder=HOMEWORK):
    """Writes the notebooks into `to`, a folder or a name that ends in .zip, and returns their names there.

    `students` is a roster: then each gets a notebook of their own, in a folder with their id for a name.
    """
    to, path = Path(to), notebook(name, "student", folder)
    nb, written = json.loads(path.read_text("utf-8")), {}
    for student in students or [""]:
        material = Material(name, "", key(secret, name), bool(students), [], {}, {}, None, "")
        mine = dict(nb, cells=[dict(cell, source=_lines(personal("".join(cell["source"]), material, student)))
                               if cell["cell_type"] == "code" else cell for cell in nb["cells"]])
        where = f"{records.slug(student)}/{path.name}" if students else path.name
        written[where] = json.dumps(mine, indent=1, ensure_ascii=False) + "\n"
    if to.suffix == ".zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            for where, text in written.items():
                file.writestr(zipfile.ZipInfo(where, (2000, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(packed.getvalue())
    else:
        for where, text in written.items():
            records.write(to / where, text)
    return list(written)


def _lines(source):
    return source.splitlines(True)
