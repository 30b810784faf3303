"""Make the page of a lesson: the notebook as it was built, told how the site shows each of its cells."""

import copy
import difflib
import re

import nbformat

from ddpm_lesson.register import claims

from .explorers import LIVE, explorer

BADGE = re.compile(r"\[!\[[^\]]*\]\([^)]*\)\]\((https://colab[^)]*)\)\s*")
EXPLORER = re.compile(r"^widgets\.(\w+)_explorer\(\)\s*$", re.M)
FOLDED = {"setup": "Set-up of the notebook", "plumbing": "Code", "solution": "Solution"}


def tagged(cell, kind):
    """What stands behind `kind` in the tags of a cell: tagged(cell, "claim:") are the ids of its claims."""
    return [tag.removeprefix(kind) for tag in cell.metadata.get("tags", []) if tag.startswith(kind)]


def lesson(path, sources):
    """The page of the built notebook at `path`."""
    nb, student = nbformat.read(path, 4), sources.student(path)
    stubs = {cell.id: cell for cell in nbformat.read(student, 4).cells}
    number = re.match(r"0*(\d+[a-z]?)_", path.name)[1]
    language = path.parent.name if path.parent != sources.notebooks else ""
    cells, equations, anchored = [], 0, set()
    for cell in nb.cells:
        taught = tagged(cell, "claim:")
        before = "".join(f'<span id="{claim}"></span>' for claim in taught if claim not in anchored)
        anchored.update(taught)
        if cell.cell_type == "markdown":
            text, equations = numbered(sources.relink(cell.source, path), number, equations, taught, language)
            cells.append(text_cell(f"{before}\n\n{text}"))
        else:
            cells += [text_cell(before)] * bool(before) + code(cell, stubs.get(cell.id))
        if taught:
            cells.append(text_cell(sheet_links(taught)))
    first = next(cell for cell in cells if re.search("^# ", cell.source, re.M))
    first.source = heading(first.source, path, sources)
    nb.cells = cells
    nb.metadata.pop("ddpm_lesson", None)
    return nb


def text_cell(source):
    return nbformat.v4.new_markdown_cell(source.strip())


def numbered(text, lesson, count, taught, language=""):
    """The text with a label at each displayed formula, NUMBER:CLAIM:LANGUAGE, and how many the lesson has by now.

    The claim is that of the cell whose formula is the most similar one. The language is "" for English.
    """
    def label(match):
        nonlocal count
        count += 1
        indent, formula = match.groups()  # and a blank line on both sides, or it would be part of a sentence
        return f"\n{indent}$${formula}$$ ({lesson}.{count}:{nearest(formula, taught)}:{language})\n"

    return re.sub(r"^( *)\$\$(.+?)\$\$ *$", label, text, flags=re.M | re.S), count


def nearest(formula, taught):
    """The one of these claims whose formula is the most similar to this one; "" without claims."""
    def similarity(claim):
        return difflib.SequenceMatcher(None, plain(formula), plain(claims()[claim]["formula"]), autojunk=False).ratio()

    return max(taught, key=similarity, default="")


def plain(tex):
    """TeX without what only sets its size and spaces."""
    return re.sub(r"\\(?:[,;! ]|[bB]igg?[lr]?(?![a-z])|q?quad|left|right)|\s", "", tex)


def sheet_links(taught):
    """The line below a cell that leads to its claims in the formula sheet."""
    links = ", ".join(f"[{claim}](#{claim})" for claim in taught)
    return f"{{.claims}}\nIn the formula sheet: {links}"


def code(cell, stub):
    """The cells that show a code cell: an exercise as a student sees it, with the solution folded below it."""
    cell, shown = copy.deepcopy(cell), []
    cell.metadata.tags = list(cell.metadata.get("tags", []))
    cell.metadata.mystnb = {"image": {"alt": cell.metadata.alt}} if "alt" in cell.metadata else {}
    if tagged(cell, "exercise:"):
        shown = [nbformat.v4.new_code_cell(stub.source)]
        cell.source = re.sub(r"(?m)^ *# (BEGIN|END) SOLUTION\n?", "", cell.source)
        fold(cell, "hide-cell", "Solution")
    for tag, prompt in FOLDED.items():
        if tag in cell.metadata.tags:
            fold(cell, "hide-cell" if tag == "solution" else "hide-input", prompt)
    live = EXPLORER.search(cell.source)
    if live and live[1] in LIVE:
        cell.metadata.tags.append("live")
        return [cell, text_cell(explorer(live[1], cell.metadata.alt))]
    return [*shown, cell]


def fold(cell, tag, prompt):
    cell.metadata.tags.append(tag)
    cell.metadata.mystnb |= {"code_prompt_show": prompt, "code_prompt_hide": prompt}


def heading(text, path, sources):
    """The first text with a row of buttons below its title: Colab where the notebook has its badge, and downloads."""
    colab = BADGE.search(text)
    buttons = [f"[Open in Colab]({colab[1]})"] if colab else []
    for name, file in (("Download the notebook", sources.student(path)), ("with answers", path)):
        buttons.append(f"{{download}}`{name} </{sources.download(file)}>`")
    row = "\n\n{.launch}\n" + "\n".join(buttons) + "\n\n"
    return re.sub(r"^# .*$", lambda title: title[0] + row, BADGE.sub("", text), count=1, flags=re.M)
