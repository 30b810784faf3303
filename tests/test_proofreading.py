"""Lesson 11 treats every erratum of the register once, and prints a line of numbers for each.

Tried and seen to fail: a tag removed, a tag given twice, a row left out.
"""

import re
from pathlib import Path

import nbformat

from ddpm_lesson.register import errata

CELLS = nbformat.read(Path(__file__).parents[1] / "notebooks" / "11_proofreading.ipynb", 4).cells


def printed():
    return "".join(o.get("text", "") for cell in CELLS if cell.cell_type == "code" for o in cell.outputs)


def test_every_erratum_is_tagged_once():
    tags = [tag for cell in CELLS for tag in cell.metadata.get("tags", []) if tag.startswith("erratum:")]
    assert sorted(tags) == sorted(f"erratum:{number}" for number in errata())


def test_every_erratum_has_its_line_and_the_corrected_form_meets_the_truth():
    rows = re.findall(r"^(\d{3}:\w+) +printed +(\S+) +correct +(\S+) +truth +(\S+)", printed(), re.M)
    assert sorted(number for number, *_ in rows) == sorted(errata())
    for number, wrong, correct, truth in rows:
        assert correct == truth != wrong, number


def test_the_table_at_the_end_has_every_erratum_and_every_row_has_three_columns():
    (table,) = [o.data["text/markdown"] for c in CELLS if c.cell_type == "code" for o in c.outputs
                if "text/markdown" in o.get("data", {})]
    lines = table.strip().splitlines()[2:]
    assert sorted(line.split(" | ")[0].strip("| ") for line in lines) == sorted(errata())
    assert {line.count("|") for line in lines} == {4}
    assert all(line.count("<br>**correct:** ") == 1 for line in lines)
    assert [line[2:5] for line in lines] == sorted(line[2:5] for line in lines)
