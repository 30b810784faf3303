"""Homework as people meet it: handed out, solved in a real JupyterLab, graded, and the feedback opened in a browser."""

import json
import re

import pytest
from handed_in import Handed, built, jailed

from ddpm_lesson.grading.__main__ import main

from .conftest import SHOTS

pytestmark = pytest.mark.browser

JUMP = """# grade_id: hw1.q1
def ve_jump(x, s, t, sigma, eps):
    return x + (sigma[t] ** 2 - sigma[s] ** 2).sqrt()[:, None] * eps

check("hw1.q1", ve_jump)"""
ROOT_MISSING = """# grade_id: hw1.q3
def two_back(xt, x0, t, beta):
    return xt, x0

check("hw1.q3", two_back)"""
WHY = "Because <script>document.title = 'stolen'</script> $a<b$"


def cell(page, text):
    """The cell with this text. A long notebook is drawn in parts: go through it until the cell is there."""
    found = page.locator(".jp-Notebook .jp-Cell").filter(has_text=re.compile(text)).first
    page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
    for _ in range(120):
        if found.count() and found.is_visible():
            found.scroll_into_view_if_needed()
            return found
        page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop += 300")
        page.wait_for_timeout(150)
    raise AssertionError(f"no cell with {text!r}")


def write(page, where, text):
    """Replaces what stands in a cell, as somebody who pastes."""
    where.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


@jailed
def test_from_release_to_feedback(page, server, tmp_path):
    folder, salt, work = built(tmp_path), str(tmp_path / "salt"), server.folder / "homework"
    common = ["--salt", salt, "--folder", str(folder)]
    assert main(["release", "hw1", "--to", str(work), *common]) == 0

    page.goto(server.url("lab", "homework/hw1_forward"))
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_timeout(1000)
    write(page, cell(page, "grade_id: hw1.q1(?!\\d)"), JUMP)
    write(page, cell(page, "grade_id: hw1.q3(?!\\d)"), ROOT_MISSING)
    answer = cell(page, "Your answer here")
    answer.dblclick()
    write(page, answer, f"<!-- grade_id: hw1.q11 -->\n{WHY}")
    page.keyboard.press("Shift+Enter")
    path = work / "hw1_forward.ipynb"
    for attempt in range(60):
        if attempt % 20 == 0:  # a click while the kernel is still connecting is lost without a word
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_timeout(1000)
        page.keyboard.press("Control+s")
        saved = path.read_text("utf-8")
        if "hw1.q10: not answered yet." in saved and "Because" in saved:
            break
    assert "hw1.q1: right." in saved and "hw1.q3: not yet. " in saved and '"ename"' not in saved
    SHOTS.mkdir(exist_ok=True)
    cell(page, "grade_id: hw1.q1(?!\\d)")
    page.screenshot(path=SHOTS / "homework_solved.png")
    server.close_kernels()

    handed = tmp_path / "in"
    handed.mkdir()
    (handed / "anna.ipynb").write_text(saved, "utf-8")
    (handed / "bob.ipynb").write_bytes(Handed(folder, released=path).all().bytes())
    assert main(["grade", str(handed), "--out", str(tmp_path / "graded"), "--jobs", "2", *common]) == 0
    out = tmp_path / "graded" / "hw1"
    record = json.loads((out / "records" / "anna.json").read_text("utf-8"))
    marks = {question: mark["points"] for question, mark in record["attempts"][-1]["marks"].items()}
    assert marks == {f"hw1.q{k}": 0 for k in range(2, 13)} | {"hw1.q1": 4, "hw1.q11": None}

    page.problems.clear()
    page.goto((out / "feedback" / "anna.html").as_uri())
    assert page.get_by_text("4 of 60 points").is_visible() and page.get_by_text(WHY).is_visible()
    assert page.title().startswith("hw1: Homework 1")
    page.screenshot(path=SHOTS / "homework_feedback.png", full_page=True)
    page.goto((out / "summary.html").as_uri())
    assert page.locator("svg").count() == 12
    page.screenshot(path=SHOTS / "homework_summary.png", full_page=True)
    assert page.problems == []
