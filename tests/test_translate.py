"""Lessons in other languages: the same code and outputs, texts that notice when the English has changed."""

import hashlib
import importlib
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
build = importlib.import_module("notebooks.build")
translate = importlib.import_module("notebooks.translate")

SOURCE = '''\
# %% [markdown]
# # Add
#
# See [next](03_next.ipynb) and [last](04_last.ipynb): $a+b$, `total`, $$c_{\\text{old}}$$

# %% alt="Two dots."
total = 1 + 1

# %% [markdown] tags=["exercise:2.1"]
# Double it.

# %% tags=["exercise:2.1"]
# BEGIN SOLUTION
double = 2 * total
# END SOLUTION

# %% [markdown] tags=["answer"]
# It is 4.
'''
ENGLISH = ["# Add\n\nSee [next](03_next.ipynb) and [last](04_last.ipynb): $a+b$, `total`, $$c_{\\text{old}}$$",
           "Two dots.", "Double it.", "It is 4."]
CHINESE = ["# 相加\n\n`total` 是 $a+b$，見[下一課](03_next.ipynb)、[最後一課](04_last.ipynb)：$$c_{\\text{舊}}$$",
           "兩個點。", "把它加倍。", "是 4。"]
OLD = '[tool.ddpm-lesson]\nrepository = ""\nref = ""\n'
SET = '[tool.ddpm-lesson]\nrepository = "owner/name"\nref = "v1"\n'


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@pytest.fixture
def course(tmp_path):
    """A course of one lesson with one figure, built but not executed, and its translation."""
    (tmp_path / "notebooks/src/zh").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(OLD)
    (tmp_path / "notebooks/src/02_sum.py").write_text(SOURCE, "utf-8")
    write_texts(tmp_path, zip(ENGLISH, CHINESE, strict=True))
    write_english(tmp_path)
    assert translate.main([], tmp_path) == 0
    return tmp_path


def write_texts(course, pairs):
    text = "\n".join(f"<!-- {digest(english)} -->\n{chinese}\n" for english, chinese in pairs)
    (course / "notebooks/src/zh/02_sum.md").write_text(text, "utf-8")


def write_english(course):
    source = course / "notebooks/src/02_sum.py"
    nb, lines = build.load(source, course)
    complete, student = build.built(source)
    build.write(student, nbformat.writes(build.cut(nb, lines)) + "\n")
    for count, cell in enumerate((cell for cell in nb.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
        if "alt" in cell.metadata:
            metadata = {"image/png": {"alt": cell.metadata.alt}}
            cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": "QUJD"}, metadata=metadata)]
    build.write(complete, nbformat.writes(nb) + "\n")


def read(course, name):
    return nbformat.read(course / "notebooks" / name, as_version=4)


def check(course, capsys):
    capsys.readouterr()
    return build.main(["--check"], course), capsys.readouterr().out


def test_a_translation_has_the_same_code_and_outputs_and_its_own_texts(course, capsys):
    assert check(course, capsys) == (0, "")
    for name in ("02_sum.ipynb", "student/02_sum.ipynb"):
        english = read(course, name)
        chinese = read(course, re.sub("02_sum", "zh/02_sum", name))
        assert [cell.id for cell in english.cells] == [cell.id for cell in chinese.cells]
        for ours, theirs in zip(english.cells, chinese.cells, strict=True):
            if ours.cell_type == "code":
                assert ours.source == theirs.source and ours.execution_count == theirs.execution_count
                assert [o.data for o in ours.outputs] == [o.data for o in theirs.outputs]
            else:
                assert ours.source != theirs.source
    figure = read(course, "zh/02_sum.ipynb").cells[2]
    assert figure.metadata.alt == figure.outputs[0].metadata["image/png"].alt == "兩個點。"
    student = read(course, "student/zh/02_sum.ipynb")
    assert "是 4" not in str(student) and "double = ...  # your answer" in str(student)


def test_links_lead_to_the_same_language_where_it_exists(course):
    assert "](../03_next.ipynb)" in read(course, "zh/02_sum.ipynb").cells[0].source
    (course / "notebooks/src/zh/03_next.md").touch()
    nb, problems = translate.translate(read(course, "02_sum.ipynb"), course / "notebooks/src/zh/02_sum.md")
    assert not problems
    assert "](03_next.ipynb)" in nb.cells[0].source and "](../04_last.ipynb)" in nb.cells[0].source


def test_the_badge_of_a_translation_opens_its_own_student_copy(course, capsys):
    (course / "pyproject.toml").write_text(SET)
    write_english(course)
    assert translate.main([], course) == 0, capsys.readouterr().out
    assert check(course, capsys)[0] == 0
    for name in ("student/02_sum.ipynb", "student/zh/02_sum.ipynb"):
        badge, _, title = read(course, name).cells[0].source.split("\n")[:3]
        assert badge.endswith(f"](https://colab.research.google.com/github/owner/name/blob/v1/notebooks/{name})")
        assert title.startswith("# ")


@pytest.mark.parametrize("number", range(len(ENGLISH)))
def test_a_changed_english_text_fails_until_its_translation_is_looked_at(course, capsys, number):
    old, new = ENGLISH[number], ENGLISH[number].replace("o", "u", 1).replace("Add", "Sum").replace("It is", "It's")
    assert old != new
    source = course / "notebooks/src/02_sum.py"
    changed = SOURCE.replace(old.splitlines()[0], new.splitlines()[0])
    new = new if old.count("\n") == 0 else old.replace(old.splitlines()[0], new.splitlines()[0])
    source.write_text(changed, "utf-8")
    write_english(course)
    status, out = check(course, capsys)
    assert status == 1
    assert f"02_sum.md: no text <!-- {digest(new)} -->" in out
    assert re.search(rf"02_sum.md:\d+: no English text has the key {digest(old)}", out)
    path = course / "notebooks/src/zh/02_sum.md"
    path.write_text(path.read_text("utf-8").replace(digest(old), digest(new)), "utf-8")
    assert translate.main([], course) == 0, capsys.readouterr().out
    assert check(course, capsys) == (0, "")


@pytest.mark.parametrize(("chinese", "message"), [
    (CHINESE[0].replace("$a+b$", "$a-b$"), "02_sum.md:1: only one of both languages has $a+b$, $a-b$"),
    (CHINESE[0].replace("`total`", "total"), "has `total`"),
    (CHINESE[0].replace("04_last", "05_last"), "has ](04_last.ipynb), ](05_last.ipynb)"),
    (CHINESE[0].replace("c_{", "c^{"), "has $$c^{\\text}$$, $$c_{\\text}$$"),
    (ENGLISH[0], "02_sum.md:1: still English"),
])
def test_a_translation_keeps_formulas_code_and_links(course, capsys, chinese, message):
    write_texts(course, zip(ENGLISH, [chinese, *CHINESE[1:]], strict=True))
    status, out = check(course, capsys)
    assert status == 1 and message in out


def test_code_that_differs_between_the_languages_is_found(course, capsys):
    for name in ("zh/02_sum.ipynb", "student/zh/02_sum.ipynb"):
        path = course / "notebooks" / name
        kept = path.read_text("utf-8")
        path.write_text(kept.replace("total = 1 + 1", "total = 3"), "utf-8")
        assert path.read_text("utf-8") != kept
        status, out = check(course, capsys)
        assert status == 1 and f"notebooks/{name} is missing or stale" in out
        path.unlink()
        assert check(course, capsys)[0] == 1
        path.write_text(kept, "utf-8")
    assert check(course, capsys) == (0, "")


@pytest.mark.parametrize(("path", "message"), [
    ("src/zh/07_gone.md", "notebooks/src/zh/07_gone.md translates no lesson"),
    ("zh/07_gone.ipynb", "notebooks/zh/07_gone.ipynb has no source"),
    ("student/zh/07_gone.ipynb", "notebooks/student/zh/07_gone.ipynb has no source"),
])
def test_what_belongs_to_no_lesson_is_found(course, capsys, path, message):
    (course / "notebooks" / path).write_text("{}")
    status, out = check(course, capsys)
    assert status == 1 and message in out


def test_translations_are_not_made_from_stale_notebooks(course, capsys):
    (course / "notebooks/src/02_sum.py").write_text(SOURCE.replace("1 + 1", "1 + 2"), "utf-8")
    assert translate.main([], course) == 1
    assert "older than its source" in capsys.readouterr().out


def test_a_translator_starts_from_the_english_texts_with_their_keys(course, capsys):
    capsys.readouterr()
    assert translate.main(["02_sum", "--keys"], course) == 0
    path = course / "notebooks/src/zh/02_sum.md"
    path.write_text(capsys.readouterr().out, "utf-8")
    written, _ = translate.read(path)
    assert written == {digest(text): text for text in ENGLISH}
    status, out = check(course, capsys)  # not yet written over
    assert status == 1 and out.count("still English") == len(ENGLISH)


def test_an_unknown_lesson_is_named(course, capsys):
    with pytest.raises(SystemExit):
        translate.main(["03_sum"], course)
    assert "03_sum" in capsys.readouterr().err


# ---------------------------------------------------------------- the repository's own


TEXTS = sorted((ROOT / "notebooks/src").glob("*/*.md"))


def test_lessons_00_and_02_exist_in_chinese():
    assert {text.stem for text in TEXTS if text.parent.name == "zh"} >= {"00_start_here", "02_forward"}


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_link_of_a_translated_notebook_leads_somewhere(text):
    for path in build.built(text.parents[1] / text.name, text.parent.name):
        nb = nbformat.read(path, as_version=4)
        links = [link for cell in nb.cells if cell.cell_type == "markdown"
                 for link in re.findall(r"\]\((?!http)([^)#]+)\)", cell.source)]
        assert links and all((path.parent / link).exists() for link in links), (path, links)


def rows(path):
    lines = path.read_text("utf-8").splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in cells if not set(row[0]) <= {"-"}]


def test_both_glossaries_have_the_same_rows():
    english, chinese = ROOT / "notebooks/glossary.md", ROOT / "notebooks/zh/glossary.md"
    assert len(rows(english)) == len(rows(chinese))
    for ours, theirs in zip(rows(english), rows(chinese), strict=True):
        if ours[0] in ("symbol", "term"):
            continue
        assert ours[1].split(" ")[0] == theirs[1].split(" ")[0], "the code"
        assert ours[0] in (theirs[0], theirs[3]), "the symbol, or the English term"
        assert set(re.findall("`[^`]+`", ours[4])) == set(re.findall("`[^`]+`", theirs[4])), ours[0]
        for term in re.findall(r"[\u4e00-\u9fff]+", ours[3]):
            assert term in "".join(theirs), f"{term} is in the English glossary only"
    # A change of the English page must be looked at: then put the new key at the end of the Chinese one.
    key = digest(english.read_text("utf-8"))
    assert f"<!-- glossary.md {key} -->" in chinese.read_text("utf-8"), f"the key of glossary.md is now {key}"
