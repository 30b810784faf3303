"""What is handed in: folders and zips with hostile names and contents are read, or refused with a reason.

Sabotage that turned this file red: links followed in a folder, in a zip; ".." kept in a zip's names; a file read whole
before its size is known; the file's own name, or a student's name before the LMS's id, saying whose it is; a nesting
too deep for the JSON reader let through.
"""

import io
import os
import stat
import sys
import zipfile

import pytest

from ddpm_lesson.grading import notebooks, submissions
from ddpm_lesson.grading.submissions import Refused, collect, find, roster

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="homework is graded on Linux or macOS")
NOTEBOOK = b'{"cells": [{"cell_type": "code", "source": ["x = 1\\n", "y = 2"], "metadata": {}}]}'


def zipped(*entries, path=None):
    """A zip of (name or ZipInfo, content)."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(name, content, zipfile.ZIP_DEFLATED)
    if path is None:
        return packed.getvalue()
    path.write_bytes(packed.getvalue())
    return path


def names(path):
    return [file.path for file in find(path)]


def everything(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def test_a_folder_is_read_and_no_link_is_followed(tmp_path):
    secret, top = tmp_path / "secret.ipynb", tmp_path / "handed"
    secret.write_bytes(NOTEBOOK)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "x.ipynb").write_bytes(NOTEBOOK)
    (top / "anna").mkdir(parents=True)
    (top / "anna" / "hw1.ipynb").write_bytes(NOTEBOOK)
    (top / ".ipynb_checkpoints").mkdir()
    (top / ".ipynb_checkpoints" / "hw1.ipynb").write_bytes(NOTEBOOK)
    (top / "bob.ipynb").symlink_to(secret)
    (top / "carl").symlink_to(tmp_path / "private")
    os.mkfifo(top / "dora.ipynb")
    found = {file.path: file for file in find(top)}
    assert sorted(found) == ["anna/hw1.ipynb", "bob.ipynb", "carl", "dora.ipynb"]
    assert found["anna/hw1.ipynb"].read(1000) == NOTEBOOK
    for name in ("bob.ipynb", "carl", "dora.ipynb"):
        with pytest.raises(Refused, match="a link or something else"):
            found[name].read(1000)
    with pytest.raises(Refused, match="larger than 0.0 MB"):
        found["anna/hw1.ipynb"].read(10)


def test_a_zip_is_read_where_it_is_and_its_names_mean_nothing(tmp_path):
    link = zipfile.ZipInfo("link.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    before = everything(tmp_path)
    path = zipped(("../../etc/x.ipynb", NOTEBOOK), ("/abs/y.ipynb", NOTEBOOK), ("a\\..\\..\\z.ipynb", NOTEBOOK),
                  ("C:\\w.ipynb", NOTEBOOK), (link, "/etc/passwd"), ("__MACOSX/._x.ipynb", b""), ("folder/", b""),
                  path=tmp_path / "lms.zip")
    found = {file.path: file for file in find(path)}
    assert sorted(found) == ["C:/w.ipynb", "a/z.ipynb", "abs/y.ipynb", "etc/x.ipynb", "link.ipynb"]
    assert all(found[name].read(1000) == NOTEBOOK for name in found if name != "link.ipynb")
    with pytest.raises(Refused, match="a link"):
        found["link.ipynb"].read(1000)
    assert everything(tmp_path) == [*before, str(path)]


def test_a_bomb_costs_what_is_allowed_and_no_more(tmp_path, monkeypatch):
    bomb = zipped(("bomb.ipynb", b"[" * (200 << 20)))
    lie = bytearray(bomb)
    lie[lie.rindex(b"PK\x01\x02") + 24: lie.rindex(b"PK\x01\x02") + 28] = (100).to_bytes(4, "little")  # its size
    for content in (bomb, bytes(lie)):
        (tmp_path / "lms.zip").write_bytes(content)
        (file,) = find(tmp_path / "lms.zip")
        with pytest.raises(Refused, match="larger than 21.0 MB|damaged"):
            file.read(submissions.NOTEBOOK)
    monkeypatch.setattr(submissions, "ENTRIES", 3)
    with pytest.raises(ValueError, match="at most 3 files, not 4"):
        find(zipped(*((f"{k}", b"") for k in range(4)), path=tmp_path / "many.zip"))


def test_a_zip_in_a_submission_is_opened_once(tmp_path):
    inner = zipped(("hw1.ipynb", NOTEBOOK), ("deeper.zip", zipped(("x.ipynb", NOTEBOOK))))
    path = zipped(("anna_12_34_mine.zip", inner), ("bob_13_35_mine.zip", b"no zip"), path=tmp_path / "lms.zip")
    assert names(path) == ["anna_12_34_mine.zip/deeper.zip", "anna_12_34_mine.zip/hw1.ipynb", "bob_13_35_mine.zip"]
    one, two = collect(find(path))
    assert (one.student, one.name, one.notebook.read(1000)) == ("12", "anna", NOTEBOOK)
    assert (two.student, two.notebook) == ("13", None)


def test_damaged_and_encrypted_zips_are_refused_with_a_reason(tmp_path):
    good = zipped(("a.ipynb", NOTEBOOK * 50))
    bad = bytearray(good)
    bad[60:70] = bytes(10)
    encrypted = bytearray(good)
    encrypted[6] |= 1  # the flag, in both headers
    encrypted[encrypted.rindex(b"PK\x01\x02") + 8] |= 1
    kind = bytearray(good)
    kind[8], kind[kind.rindex(b"PK\x01\x02") + 10] = 99, 99
    for content in (bad, encrypted, kind):
        (tmp_path / "lms.zip").write_bytes(content)
        (file,) = find(tmp_path / "lms.zip")
        with pytest.raises(Refused, match="damaged, encrypted or of an unknown kind"):
            file.read(10_000)
    for content in (b"", b"PK", good[:50]):
        (tmp_path / "lms.zip").write_bytes(content)
        with pytest.raises(ValueError, match="must be a folder or a zip"):
            find(tmp_path / "lms.zip")


def owners(tmp_path, *paths, students=None):
    return {one.student: one for one in collect(find(zipped(*((p, NOTEBOOK) for p in paths), path=tmp_path / "z.zip")),
                                                students)}


def test_whose_it_is_in_the_names_of_moodle_canvas_and_plain_ones(tmp_path):
    assert list(owners(tmp_path, "Lee Ånna_4711_assignsubmission_file_/hw1 (1).ipynb",
                       "Bob_B_4712_assignsubmission_file_x.ipynb")) == ["4712", "4711"]
    canvas = owners(tmp_path, "leeanna_LATE_4711_99_hw1_forward-1.ipynb", "bobb_4712_98_hw1_forward.ipynb")
    assert [(student, one.name, one.late) for student, one in canvas.items()] == [
        ("4712", "bobb", False), ("4711", "leeanna", True)]
    assert list(owners(tmp_path, "anna.ipynb", "bob's copy (2).ipynb")) == ["anna", "bob's copy (2)"]
    assert list(owners(tmp_path, "anna/hw1.ipynb", "bob/hw1.ipynb", "bob/photo.jpg")) == ["anna", "bob"]
    assert list(owners(tmp_path, "all/anna/hw1.ipynb", "all/bob/hw1.ipynb")) == ["anna", "bob"]


STUDENTS = """student,name,canvas,login
s1,Anna Lee,4711,al22
s2,Ånn Le,4712,al2
s3,Bob Wu,4713,=cmd
s4,Bob Wu,4714,bw
"""


@pytest.fixture
def students(tmp_path):
    (tmp_path / "roster.csv").write_text("\ufeff" + STUDENTS, encoding="utf-8")
    return roster(tmp_path / "roster.csv")


def test_a_roster_says_whose_it_is(tmp_path, students):
    assert students["s1"] == ("Anna Lee", {"s1", "anna lee", "4711", "al22"})
    found = owners(tmp_path, "x_4711_1_hw.ipynb", "homework of AL2.ipynb", "Bob Wu.ipynb", "bw_4.ipynb", "al23.ipynb",
                   students=students)
    assert {student: one.flags for student, one in found.items()} == {
        "s1": [], "s2": [], "s4": [], "al23?": ["'al23' is not on the roster"],
        "Bob Wu?": ["'Bob Wu' fits 2 students of the roster"]}
    assert found["s1"].name == "Anna Lee"
    assert list(owners(tmp_path, "bob wu_4711_1_hw.ipynb", students=students)) == ["s1"]  # the LMS's id comes first


def test_a_file_name_of_ones_own_claims_nobody_else(tmp_path, students):
    """In a zip of an LMS what counts is what the LMS wrote."""
    found = owners(tmp_path, "Anna Lee_1_assignsubmission_file_/s2.ipynb", "xx_4713_7_s2_al2_4712.ipynb",
                   "yy_666_7_s1.ipynb", students=students)
    assert sorted(found) == ["666?", "s1", "s3"]


def test_of_several_notebooks_the_newest_counts(tmp_path):
    old = zipfile.ZipInfo("anna/a.ipynb", (2026, 1, 1, 0, 0, 0))
    new = zipfile.ZipInfo("anna/b.ipynb", (2026, 1, 2, 0, 0, 0))
    path = zipped((new, b"new"), (old, b"old"), ("bob/w.safetensors", b"w"), ("bob/b.ipynb", b"b"),
                  path=tmp_path / "z.zip")
    anna, bob = collect(find(path))
    assert anna.notebook.read(9) == b"new" and anna.flags == [
        "2 notebooks were handed in; the newest is graded: anna/b.ipynb"]
    assert [file.path for file in bob.others] == ["bob/w.safetensors"] and bob.flags == []


@pytest.mark.parametrize("text, message", [("name\nx", "must have a column 'student'"), ("", "must have a column"),
                                           ("student\na\na\n", "line 3: the student is missing or there twice: 'a'"),
                                           ("student,name\n,x\n", "line 2: the student is missing")])
def test_a_roster_that_cannot_be_used_is_an_error(tmp_path, text, message):
    (tmp_path / "roster.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        roster(tmp_path / "roster.csv")


@pytest.mark.parametrize("content, message", [
    (b"", "empty"), (b" \n", "empty"), *((content, "not a Jupyter notebook") for content in [
        b"hello", b"\x80\x04N.", b"\xff" * 100, b"[]", b"{}", b"null", b'{"cells": 3}', b'{"cells": null}',
        b'{"worksheets": []}', b"[" * 100_000, b'{"cells":' * 10_000, b"9" * 10_000, NOTEBOOK[:-5]])])
def test_what_is_no_notebook_is_refused(content, message):
    with pytest.raises(Refused, match=message):
        notebooks.read(content)


def test_a_strange_notebook_is_read():
    (cell,) = notebooks.read(b"\xef\xbb\xbf" + NOTEBOOK)
    assert cell == ("code", "x = 1\ny = 2", ())
    assert notebooks.read(b'{"worksheets": [{"cells": [{"cell_type": "code", "input": "x"}]}]}')[0].source == "x"
    strange = b'{"cells": [3, null, {}, {"source": 3}, {"metadata": [], "source": {}}, {"metadata": {"tags": 3}},' \
              b'{"source": "\\ud800"}, ' \
              b'{"metadata": {"nbgrader": {"grade_id": "hw1-q2"}, "tags": ["exercise:hw1.q3"]}}]}'
    cells = notebooks.read(strange)
    assert len(cells) == 6 and cells[-1].names == ("hw1.q2", "hw1.q3") and cells[-2].source == "?"


def test_an_answers_cell_is_found_by_metadata_tag_or_its_first_line():
    cells = [notebooks.Cell("code", source, names) for source, names in [
        ("# grade_id: hw1.q1\nx", ()), ("# grade_id: hw1.q10", ()), ("x", ("hw1.q1",)),
        ("<!-- grade_id: hw1.q1 -->\ny", ()), ("print('# grade_id: hw1.q1')", ())]]
    assert notebooks.answers(cells, "hw1.q1") == [0, 2, 3]
