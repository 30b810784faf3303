"""The site as `python -m book.build` makes it of the committed notebooks: complete, small, and with no loose end."""

import base64
import html
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from fontTools.ttLib import TTFont

from book.build import main
from book.lessons import lesson, numbered
from book.pages import anchor, prose
from book.sources import Sources
from ddpm_lesson.register import claims, errata

ROOT = Path(__file__).parents[1]
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
LOADED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """What a page has: ids, links, what it loads, and its tags with their attributes."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.loads, self.tags = path, [], [], [], []
        self.text = path.read_text("utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if attributes.get("id") else []
        self.links += [attributes["href"]] if tag == "a" and "href" in attributes else []
        if attributes.get(LOADED.get(tag)) and attributes.get("rel") not in ("prev", "next", "index", "search"):
            self.loads.append(attributes[LOADED[tag]])

    def file(self, link):
        return (self.path.parent / unquote(link.split("#")[0].split("?")[0])).resolve()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site, built by the command that people type."""
    out = tmp_path_factory.mktemp("site") / "html"
    done = subprocess.run([sys.executable, "-m", "book.build", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="session")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def cells(name, kind):
    """The cells of a complete notebook whose tags start with `kind`, and the rest of these tags."""
    nb = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
    return [(cell, [tag.removeprefix(kind) for tag in cell.metadata.get("tags", []) if tag.startswith(kind)])
            for cell in nb.cells if any(tag.startswith(kind) for tag in cell.metadata.get("tags", []))]


def test_every_notebook_and_every_text_has_a_page(pages):
    assert {f"{name}.html" for name in LESSONS} <= set(pages)
    wanted = {"index", "explorers", "formula_sheet", "errata", "glossary", "instructors", "cite", "search"}
    assert {f"{name}.html" for name in wanted} <= set(pages)


def test_every_link_within_the_site_leads_somewhere(pages, site):
    ids = {page.path.resolve(): set(page.ids) for page in pages.values()}
    broken = []
    for name, page in pages.items():
        for link in page.links + page.loads:
            if re.match(r"\w+:", link):
                continue
            file, mark = page.file(link) if link.split("#")[0] else page.path.resolve(), link.partition("#")[2]
            if not file.is_file() or (mark and file.suffix == ".html" and unquote(mark) not in ids[file]):
                broken.append(f"{name}: {link}")
    assert not broken


def test_the_lessons_link_nothing_that_is_missing(tmp_path):
    """But for lesson 10, which 09 announces and which may not be there yet."""
    sources = Sources(ROOT, tmp_path)
    for path in [*sources.lessons, *sources.texts]:
        text = path.read_text("utf-8") if path.suffix == ".md" else "\n".join(
            cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
        sources.relink(text, path)
    assert sources.missing <= {"10_unet.ipynb"}


def test_nothing_is_loaded_from_elsewhere(pages, site):
    assert not [load for page in pages.values() for load in page.loads if re.match(r"(\w+:)?//", load)]
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//[^)]*", styles)


def test_a_page_weighs_at_most_a_megabyte_with_all_its_pictures(pages, site):
    fonts = sum(path.stat().st_size for path in site.rglob("*.woff*"))
    for name, page in pages.items():
        loaded = {page.file(load) for load in page.loads} | {page.path}
        assert sum(file.stat().st_size for file in loaded) + fonts < 1e6, name


def test_no_script_of_the_explorers_is_large(site):
    assert sum((site / "_static" / f"{name}.js").stat().st_size
               for name in ("explorer-math", "explorer-plot", "explorers")) < 60_000


@pytest.mark.parametrize("name", LESSONS)
def test_the_pictures_are_those_of_the_notebook_with_their_text_and_size(name, pages):
    page, nb = pages[f"{name}.html"], nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
    stored = [(base64.b64decode(output.data["image/png"]), cell.metadata.alt)
              for cell in nb.cells if cell.cell_type == "code"
              for output in cell.outputs if "image/png" in output.get("data", {})]
    shown = [(page.file(attributes["src"]).read_bytes(), attributes["alt"])
             for tag, attributes in page.tags if tag == "img" and "_images/" in attributes["src"]]
    assert shown == stored
    for tag, attributes in page.tags:
        if tag == "img":
            width, height = struct.unpack(">II", page.file(attributes["src"]).read_bytes()[16:24])
            assert (attributes["width"], attributes["height"]) == (str(width), str(height))
            assert attributes["loading"] == "lazy" and attributes["alt"]


def test_every_claim_has_its_place_in_the_formula_sheet_and_is_linked_from_the_cells_that_teach_it(pages):
    sheet = pages["formula_sheet.html"]
    assert set(claims()) <= set(sheet.ids)
    for name in LESSONS:
        page = pages[f"{name}.html"]
        for _, ids in cells(name, "claim:"):
            for claim in ids:
                assert claim in page.ids and f"formula_sheet.html#{claim}" in page.links
                assert f"{name}.html#{claim}" in sheet.links


def test_every_displayed_formula_has_a_number_and_leads_to_a_claim_of_its_cell(pages):
    for name in LESSONS:
        page, count = pages[f"{name}.html"], 0
        links = re.findall(r'class="eqno" href="([^"]*)"[^>]*>\(([\w.]+)\)', page.text)
        for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells:
            if cell.cell_type != "markdown":
                continue
            ids = [tag[6:] for tag in cell.metadata.get("tags", []) if tag.startswith("claim:")]
            for _ in range(cell.source.count("$$") // 2):
                link, number = links[count]
                count += 1
                assert number == f"{re.match('0*([0-9]+[a-z]?)', name)[1]}.{count}"
                assert link.partition("formula_sheet.html#")[2] in ids if ids else link.startswith("#")
        assert count == len(links)


def test_the_number_of_a_formula_leads_to_the_most_similar_claim_of_its_cell():
    text, count = numbered(f"a\n$$\\big({claims()['forward-jump']['formula']}\\big)$$\nb\n  $$y=\\beta_t$$", "2", 3,
                           ["forward-kernel", "forward-jump", "alpha-beta-notation"])
    assert "\n\n$$" in text and "$$ (2.4:forward-jump:)\n\nb\n\n  $$y" in text and count == 5
    assert "(2.1::zh)" in numbered("$$x$$", "2", 0, [], "zh")[0]


def test_every_erratum_stands_below_its_lecture_with_both_forms(pages):
    page = pages["errata.html"]
    for number, erratum in errata().items():
        assert anchor(number) in page.ids
        assert f"formula_sheet.html#{erratum['claim']}" in page.links
    by_lecture = re.split(r'<section id="lecture-(\d{3})">', page.text)
    for lecture, part in zip(by_lecture[1::2], by_lecture[2::2], strict=True):
        rows = re.findall(r'<tr id="e-(\d{3})-', part)
        assert len(rows) == sum(e["lecture"] == lecture for e in errata().values()) and set(rows) == {lecture}
        assert part.count('class="printed"') == part.count('class="correct"') == len(rows)


def test_prose_keeps_words_apart_from_formulas():
    assert prose("plain & words") == "plain &amp; words"
    assert prose(r"\beta_t").startswith("<math>") and prose(r"\beta_t").endswith("</math>")
    assert re.fullmatch("a <math>.*</math> b", prose(r"a $\beta_t$ b"))
    assert prose(r"$a \\ b$").count("<math>") == 2


def folded(text):
    """The HTML with everything that is folded taken out."""
    while "<details" in text:
        text = re.sub(r"<details(?:(?!<details).)*?</details>", "", text, count=1, flags=re.S)
    return text


def visible(text):
    return re.sub(r"\s+", "", html.unescape(re.sub("<[^>]*>", "", text)))


@pytest.mark.parametrize("name", LESSONS)
def test_answers_and_solutions_are_there_and_folded(name, pages):
    text = pages[f"{name}.html"].text
    for cell, _ in cells(name, "exercise:"):
        solution = re.search(r"# BEGIN SOLUTION\n(.*?)# END SOLUTION", cell.source, re.S)
        if cell.cell_type == "code":
            assert visible(html.escape(solution[1])) in visible(text)
            assert visible(html.escape(solution[1])) not in visible(folded(text))
    assert "BEGIN SOLUTION" not in text
    for cell, _ in cells(name, "answer"):
        words = visible(max(re.findall("[A-Za-z ,]+", cell.source.partition("</summary>")[2]), key=len))
        assert len(words) > 15 and words in visible(text) and words not in visible(folded(text))


def test_the_math_font_has_every_character_that_the_formulas_need(pages, site):
    have = set(TTFont(site / "_static" / "math.woff").getBestCmap())
    formulas = "".join("".join(re.findall("<math.*?</math>", page.text, re.S)) for page in pages.values())
    used = set(html.unescape(re.sub("<[^>]*>", "", formulas)))
    assert {c for c in used if ord(c) not in have and not "\u2e80" <= c <= "\uffef"} <= set(" \n\u2061\u200b\ufe00")
    assert 0x221A in have and "<msqrt>" in formulas  # a root's sign stands in no text
    assert {0x1D44E, 0x210E, 0x1D6FC} <= have  # what a browser makes of <mi>a</mi>, <mi>h</mi>, <mi>α</mi>


def test_the_downloads_are_the_committed_notebooks(pages):
    for name in LESSONS:
        page = pages[f"{name}.html"]
        files = [page.file(link).read_bytes() for link in page.links if link.endswith(".ipynb")]
        assert files == [(ROOT / "notebooks" / folder / f"{name}.ipynb").read_bytes() for folder in ("student", "")]


@pytest.fixture
def named(tmp_path):
    """A project whose repository is set, with lesson 00 as its builder then writes it."""
    root = tmp_path / "project"
    (root / "notebooks" / "student").mkdir(parents=True)
    settings = '[tool.ddpm-lesson]\nrepository = "someone/ddpm-lesson"\nref = "v0.1.0"\n'
    (root / "pyproject.toml").write_text(settings)
    (root / "README.md").write_text("# Read me\n")
    for folder in ("", "student"):
        nb = nbformat.read(ROOT / "notebooks" / folder / "00_start_here.ipynb", 4)
        colab = "https://colab.research.google.com"
        where = f"{colab}/github/someone/ddpm-lesson/blob/v0.1.0/notebooks/student/00_start_here.ipynb"
        nb.cells[0].source = f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({where})\n\n{nb.cells[0].source}"
        nbformat.write(nb, root / "notebooks" / folder / "00_start_here.ipynb")
    return Sources(root, tmp_path / "pages"), where


def test_a_lesson_with_a_badge_gets_a_colab_button_and_no_picture_from_elsewhere(named, pages):
    sources, where = named
    first = next(c for c in lesson(sources.lessons[0], sources).cells if c.source)
    assert first.source.startswith("# 00") and f"[Open in Colab]({where})" in first.source
    assert "colab-badge" not in first.source
    assert not [link for page in pages.values() for link in page.links if "colab." in link]  # no repository, no button


def test_what_has_no_page_is_linked_on_github_once_the_repository_is_named(named):
    sources, _ = named
    path, text = sources.lessons[0], "[a](../README.md) [b](00_start_here.ipynb#x) [c](gone.md) [d](student) [e](#f)"
    assert sources.relink(text, path) == (
        "[a](https://github.com/someone/ddpm-lesson/blob/v0.1.0/README.md) [b](00_start_here.ipynb#x) c "
        "[d](https://github.com/someone/ddpm-lesson/tree/v0.1.0/notebooks/student) [e](#f)")
    assert sources.missing == {"gone.md"}
    sources.repository = ""
    assert sources.relink(text, path).startswith("a [b](")


def test_a_formula_that_cannot_be_shown_stops_the_build(tmp_path):
    (tmp_path / "index.md").write_text("# Page\n\n$\\nosuchcommand$\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "-b", "html", "-c", str(ROOT / "book"), str(tmp_path),
               str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "nosuchcommand" in done.stderr and "index.md" in done.stderr


def test_the_command_does_not_empty_a_folder_of_something_else(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path)])
    assert "something else" in capsys.readouterr().err and (tmp_path / "thesis.txt").read_text() == "mine"
