"""What is in a notebook that a student handed in: hostile JSON, of which the cells' sources are kept."""

import json
import re
from typing import NamedTuple

from .submissions import Refused


class Cell(NamedTuple):
    kind: str  # "code", "markdown", ...
    source: str
    names: tuple  # the ids and tags that it carries


def read(content):
    """The cells. Raises Refused with the reason when the bytes are no notebook."""
    if not content.strip():
        raise Refused("the file is empty")
    try:
        nb = json.loads(content.decode("utf-8-sig", "replace"))
        cells = nb["cells"] if "cells" in nb else nb["worksheets"][0]["cells"]  # the second: before 2014
        return [_cell(cell) for cell in cells if isinstance(cell, dict)]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise Refused("it is not a Jupyter notebook") from None


def _cell(cell):
    metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
    grader = metadata.get("nbgrader") if isinstance(metadata.get("nbgrader"), dict) else {}
    tags = metadata.get("tags") if isinstance(metadata.get("tags"), list) else []
    names = [grader.get("grade_id"), *(tag.removeprefix("exercise:") for tag in tags if isinstance(tag, str))]
    return Cell(str(cell.get("cell_type")), text(cell.get("source", cell.get("input", ""))),
                tuple(name.replace("-", ".") for name in names if isinstance(name, str)))


def text(source):
    """A cell's source, which may come as a list of lines, without what no file takes (lone surrogates)."""
    source = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return source.encode("utf-8", "replace").decode()


def answers(cells, question):
    """The indices of the cells that answer a question, as metadata, tags or the line grade_id say."""
    line = re.compile(rf"^(# |<!-- )grade_id: {re.escape(question)}\b", re.M)
    return [k for k, cell in enumerate(cells) if question in cell.names or line.search(cell.source)]


def same(a, b):
    """Whether two cells are the same but for white space."""
    return a.split() == b.split()
