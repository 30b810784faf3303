"""Homework graded: known marks for right, wrong, broken and hostile notebooks, and nothing told that is hidden.

Sabotage that turned this file red: any try right instead of all; shapes not compared; a tolerance of 0.1; error kinds,
lines and messages told as they come; what cannot be judged called 0; CSV cells and page texts as they are; slugs
without their digest; all graded again every time; marks not saved when they come; no look for a jail; hidden inputs
without the salt; marks by hand that stay when the answer changes. With a stop for every try in place of one per
question, one function that hangs left no time for the others: that is how the ten submissions found it.
"""

import csv
import html.parser
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import nbformat
import numpy as np
import pytest
from answers import RIGHT, WRONG
from handed_in import ROOT, Handed, built, jailed
from nbclient import NotebookClient

from ddpm_lesson import homework
from ddpm_lesson.grading import course, grade, jail, material, notebooks, pages, records, submissions
from ddpm_lesson.grading.__main__ import main
from ddpm_lesson.grading.process import MISUSED, Reply
from ddpm_lesson.grading.submissions import File, collect, find, roster

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="homework is graded on Linux or macOS")
TABLE = homework.questions("hw1")
AUTO = [question for question, asked in TABLE.items() if asked.call]
FULL = {question: TABLE[question].points for question in AUTO}
ZERO = dict.fromkeys(AUTO, 0)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return built(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="session")
def drawn(folder):
    return material.load("hw1", b"a secret of 16 bytes or more", folder=folder)


def of(*questions):
    return {f"hw1.{q}": FULL[f"hw1.{q}"] for q in questions}


def read(path):
    """student -> row of grades.csv."""
    with open(path, encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def points(row):
    return {question: float(row[question]) if row[question] else None for question in AUTO}


# what students hand in: (notebook, the points it must get; None where a human must decide)


ANSWERS_ALL = "\n".join(source for source, _ in WRONG.values())
LIAR = """
class Liar(float):
    __eq__ = __le__ = __ge__ = __lt__ = __gt__ = lambda *_: True
    __ne__ = lambda *_: False
    __sub__ = __rsub__ = __abs__ = __mul__ = lambda *_: 0.0
    __hash__ = float.__hash__
liar = Liar(7)
"""
ALL = """
{name} = lambda *_, **__: {value}
"""
ATTACKS = {  # each is a cell at the end, after which all answers are wrong
    "torch.allclose and the like replaced": """
import torch, numpy, math, builtins
torch.allclose = torch.equal = torch.isclose = numpy.allclose = numpy.isclose = math.isclose = lambda *_, **__: True
torch.Tensor.__eq__ = torch.Tensor.allclose = lambda *_, **__: True
builtins.all = builtins.any = lambda *_: True""",
    "the checker patched": """
import sys, ddpm_lesson.checks, ddpm_lesson.homework
ddpm_lesson.checks.agree = lambda *_, **__: True
ddpm_lesson.checks.compare = ddpm_lesson.homework.compare = lambda *_, **__: ""
ddpm_lesson.homework.marked = lambda *_, **__: (1.0, "")
ddpm_lesson.homework.Question.points = 10**6""",
    "objects equal to everything": LIAR + """
ve_jump = two_back = from_v = mean_from_v = best_isotropic = best_variance = lambda *_, **__: [liar, liar]
b_q2, pair_q8, pair_q9, pair_q10 = liar, (liar, liar), [liar, liar], {"a": liar}""",
    "the course's table of answers": """
def stolen(question, *names):
    try:
        from ddpm_lesson.exercises import hw1
        right = hw1.QUESTIONS["hw1." + question].right
    except Exception:
        return lambda *_, **__: 0.0
    return lambda *values: right(numbers.get("hw1." + question, {}), **dict(zip(names, map(np.asarray, values))))
ve_jump, from_v = stolen("q1", "x", "s", "t", "sigma", "eps"), stolen("q4", "xt", "v", "alpha_bar_t")
b_q2, pair_q8, pair_q9 = stolen("q2")(), stolen("q8")(), stolen("q9")()""",
    "answers, hidden cells and other submissions in files": """
import os, glob
found = []
for top in ("/", os.path.expanduser("~"), os.getcwd()):
    for where, folders, files in os.walk(top):
        if where.startswith(("/proc", "/sys")): folders.clear(); continue
        wanted = [f for f in files if f.startswith("hw1") or "salt" in f.lower() or f == "grades.csv"]
        found += [os.path.join(where, f) for f in wanted]
found = [f for f in found if "site-packages" not in f]
for path in found:
    text = open(path, errors="replace").read()
    if "def hw1_q1" in text or "ve_jump" in text:
        ve_jump = lambda x, s, t, sigma, eps: x + (sigma[t]**2 - sigma[s]**2).sqrt()[:, None] * eps""",
    "marks in place of answers": """
given = {"points": 4, "of": 4, "share": 1.0, "note": "Right.", "right": True}
ve_jump = two_back = from_v = mean_from_v = best_isotropic = best_variance = lambda *_, **__: given
b_q2, pair_q8, pair_q9, pair_q10 = given, [1.0, "Right."], True, [[1.0, ""], [1.0, ""]]""",
    "what is asked, told in every way there is": """
import sys
def tell(*values):
    values = [v.flatten().tolist() for v in values]
    print(values); print(values, file=sys.stderr)
    open("/tmp/told", "w").write(str(values))
    where = {}
    exec(compile("\\n" * (int(abs(values[0][0]) * 1000)) + "def f(): raise kind(values)", f"cell {values}", "exec"),
         {"values": values, "kind": type(f"Told_{values[0][0]}", (Exception,), {})}, where)
    where["f"]()
def ve_jump(x, s, t, sigma, eps): tell(x, eps)
def two_back(xt, x0, t, beta): raise ValueError(f"<b>{xt.tolist()}</b> (cell 3, line {int(abs(xt[0]) * 1000)})")
def from_v(xt, v, alpha_bar_t): return xt.repeat(int(abs(v[0, 0]) * 100) + 1, 1)
def mean_from_v(xt, v, t, beta): sys.exit(int(abs(xt[0]) * 100))
def best_isotropic(cov): return [str(cov.tolist())] * 2
def best_variance(t, beta, cov): raise type("NotImplementedError", (Exception,), {})(beta.tolist())""",
    "HTML and scripts": """
def ve_jump(*_): raise ValueError("<script>alert(1)</script>")
raise ValueError("</pre><script>alert(1)</script><img src=x onerror=alert(1)>\u202e")""",
    "numbers of one's own choice": """
from ddpm_lesson.homework import start
numbers, check = start("hw1", key="weak", student="somebody else")
import ddpm_lesson.homework
ddpm_lesson.homework.numbers = lambda *_, **__: {}
numbers.clear()
b_q2, pair_q8, pair_q9, pair_q10 = 0, (0, 0), (0, 0), (0, 0)""",
    "an answer of 15 MB, and one with a million names": """
import numpy
ve_jump = lambda *_: numpy.zeros(15 << 17)
two_back = lambda *_: {str(k): k for k in range(10**6)}
from_v = lambda *_: [[]] * 10**6
mean_from_v = lambda *_: "9" * 10**6
best_isotropic = lambda *_: 10**400
b_q2, pair_q8 = float("inf"), (float("nan"), float("inf"))""",
}


def hostile(folder, name):
    return Handed(folder).add(ATTACKS[name], 10**6)


def ten(folder):
    """name -> (file's name, bytes, points, a part of the flags)."""
    spoilt = Handed(folder).all()  # no metadata at all, cells split, one copied, one more, in another format
    for cell in spoilt.nb["cells"]:
        cell["metadata"], cell["id"] = {}, "same"
    spoilt.answer = None
    cells = spoilt.nb["cells"]
    where = next(k for k, cell in enumerate(cells) if "grade_id: hw1.q3" in "".join(cell["source"]))
    source = "".join(cells[where]["source"])
    head, tail = source[: source.index("def two_back")], source[source.index("def two_back"):]
    cells[where: where + 1] = [dict(cells[where], source=text) for text in (head, "import math", tail, source)]
    broken = Handed(folder).all().answer(
        q3="def two_back(:\n    pass", q4="raise RuntimeError('mine')\ndef from_v(): pass",
        q6="def best_isotropic(cov):\n    while True: pass",
        q7="import os\ndef best_variance(t, beta, cov): os._exit(0)")
    broken.nb["cells"] = [cell for cell in broken.nb["cells"] if "grade_id: hw1.q5" not in "".join(cell["source"])]
    ended = Handed(folder).all().add("import os\nos._exit(0)", 8).add("raise SystemExit", 9).add("input()", 10)
    unlike = Handed(folder).all()  # the given cells are gone
    unlike.nb["cells"] = [cell for cell in unlike.nb["cells"] if "grade_id" in "".join(cell["source"])]
    rest = {q: v for q, v in FULL.items() if q not in ("hw1.q3", "hw1.q4", "hw1.q5", "hw1.q6", "hw1.q7")}
    all_attacks = Handed(folder).add("\n".join([*list(ATTACKS.values())[:3], LIAR]), 10**6)
    return {
        "solution": ("solution.ipynb", Handed(folder).all().bytes(), FULL, ""),
        "numpy": ("Copy of hw1 (1)/whatever.ipynb", Handed(folder).all().answer(**RIGHT[0]).bytes(), FULL, ""),
        "python": ("python.ipynb", Handed(folder).all().answer(**RIGHT[1]).bytes(), FULL, ""),
        "float32": ("float32.ipynb", Handed(folder).all().answer(**RIGHT[2]).add("%matplotlib inline").bytes(), FULL,
                    ""),
        "spoilt": ("spoilt.ipynb", spoilt.bytes(), FULL, "hw1.q3: 2 cells say that they answer it"),
        "wrong": ("wrong.ipynb", Handed(folder).answer(**{q: s for q, (s, _) in WRONG.items()}).bytes(), ZERO,
                  "no points at all"),
        "broken": ("broken.ipynb", broken.bytes(), ZERO | rest, "hw1.q6: took too long"),
        "ended": ("ended.ipynb", ended.bytes(), FULL, "cell 9 the process ended"),
        "unlike": ("unlike.ipynb", unlike.bytes(), FULL, "that were handed out are missing or changed"),
        "hostile": ("hostile.ipynb", all_attacks.bytes(), ZERO, "no points at all"),
    }


def checked(folder, handed, tmp_path, drawn, **options):
    """Grades them, and compares every mark. Returns the feedback's text by student, and the rows."""
    for name, content, *_ in handed.values():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    failed = course.grade_all(drawn, collect(find(tmp_path / "in")), tmp_path / "out", say=lambda _: None, **options)
    rows = read(tmp_path / "out" / "grades.csv")
    assert failed == {} and len(rows) == len(handed)
    feedback = {}
    for who, (file, _, wanted, flag) in handed.items():
        student = file.partition("/")[0].removesuffix(".ipynb")
        assert points(rows[student]) == wanted, (who, rows[student])
        assert flag in rows[student]["flags"], (who, rows[student])
        feedback[who] = (tmp_path / "out" / "feedback" / f"{records.slug(student)}.html").read_text("utf-8")
        harmless(feedback[who])
        assert not hidden_in(feedback[who], drawn), who
    harmless((tmp_path / "out" / "summary.html").read_text("utf-8"))
    return feedback, {who: rows[file.partition("/")[0].removesuffix(".ipynb")] for who, (file, *_) in handed.items()}


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def handle_starttag(self, tag, attributes):
        self.seen |= {tag, *(f"{tag} {name}" for name, _ in attributes)}
        assert all(name != "href" or value.startswith("#") for name, value in attributes)


def harmless(page):
    """The page has no tag, attribute or link that the templates do not have."""
    tags = Tags()
    tags.feed(page)
    wanted = "html head meta title style body h1 h2 h3 p strong div table tr th td pre ul li a svg rect text".split()
    assert {tag for tag in tags.seen if " " not in tag} <= set(wanted)
    names = {tag.split(" ")[1] for tag in tags.seen if " " in tag}
    assert names <= {"lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "width", "height",
                     "role", "aria-label", "x", "y", "fill", "text-anchor"}
    assert "default-src 'none'" in page and "\u202e" not in page


def hidden_in(page, drawn):
    """Hidden inputs and right answers that stand in a page, by their first four decimals."""
    secret = []
    for question in AUTO:
        mine = homework.numbers("hw1", drawn.key).get(question, {})
        for inputs in drawn.tries[question]:
            secret += [np.asarray(x, float).ravel() for x in inputs.values()]
            secret += [np.asarray(x, float).ravel() for x in np.atleast_1d(TABLE[question].right(mine, **inputs))]
    texts = {repr(abs(x)) for x in np.concatenate(secret).tolist()}
    return {text for text in texts if re.fullmatch(r"\d+\.\d{6,}", text) and text[: text.index(".") + 5] in page}


@jailed
def test_ten_submissions_get_the_marks_they_deserve(folder, drawn, tmp_path):
    feedback, rows = checked(folder, ten(folder), tmp_path, drawn, jobs=2)
    for question, (_, note) in WRONG.items():
        said = re.search(rf"#hw1\.{question}'>.*?</td>.*?</td><td>(.*?)</td>", feedback["wrong"])[1]
        assert said == html.escape(note or TABLE[f"hw1.{question}"].hint)
    told = dict(re.findall(r"#hw1\.(q\d+)'>.*?</td>.*?</td><td>(.*?)</td>", feedback["broken"]))
    assert "is called two_back, or its cell failed" in told["q3"] and "is called from_v" in told["q4"]
    assert told["q6"] == "No answer: took too long." and told["q7"] == "No answer: the process ended."
    assert re.search(r"<li>Cell \d+: SyntaxError", feedback["broken"]) and "RuntimeError: mine" in feedback["broken"]
    assert rows["solution"]["to be read"] == "2" and rows["wrong"]["points"] == "0"
    assert "most common" in (tmp_path / "out" / "summary.html").read_text()
    waiting = (tmp_path / "out" / "hand.csv").read_text()
    assert waiting.count("hw1.q11") == waiting.count("hw1.q12") == 8  # those of the solutions


@jailed
@pytest.mark.parametrize("name", list(ATTACKS)[:1] + [pytest.param(name, marks=pytest.mark.slow) for name in
                                                      list(ATTACKS)[1:]])
def test_an_attack_gains_nothing_and_tells_nothing(folder, drawn, tmp_path, name):
    handed = {name: ("<img src=x onerror=alert(1)>.ipynb", hostile(folder, name).bytes(), ZERO, "")}
    feedback, rows = checked(folder, handed, tmp_path, drawn, jobs=1)
    assert "alert(1)" in feedback[name]


# right and wrong, without a jail: what a notebook answers is made here


def judged(drawn, question, answer, tries=None):
    """Points and note for answers: answer(numbers, **inputs), as the jail would bring them."""
    mine, asked = homework.numbers("hw1", drawn.key).get(question, {}), TABLE[question]
    tries = drawn.tries[question] if tries is None else tries
    return grade._by_grader(asked, mine, tries, Reply([answer(mine, **inputs) for inputs in tries], None), {})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of wrong formulas
@pytest.mark.parametrize("question", AUTO)
def test_every_mistake_gets_no_points_and_its_name(drawn, question):
    right = TABLE[question].right
    assert judged(drawn, question, right) == (FULL[question], "Right.")
    assert len(TABLE[question].mistakes) >= 4
    for message, mistake in TABLE[question].mistakes.items():
        nan = any(np.isnan(np.asarray(mistake(homework.numbers("hw1", drawn.key).get(question, {}), **inputs))).any()
                  for inputs in drawn.tries[question])
        assert judged(drawn, question, mistake) == (0, TABLE[question].hint if nan else message)


SLIPS = {
    "times 1.01": lambda x: x * 1.01, "plus 0.01": lambda x: x + 0.01, "minus": lambda x: -x,
    "root": lambda x: abs(x) ** 0.5,
    "square": lambda x: x * x, "zero": lambda x: 0 * x, "nan": lambda x: x * np.nan, "infinite": lambda x: x + np.inf,
    "one less": lambda x: x.ravel()[:-1], "one more": lambda x: np.append(x, 0.0),
    "reversed": lambda x: x.ravel()[::-1] + 1e-3,
    "two digits": lambda x: x.round(1) + 0.004, "text": lambda x: "right", "none": lambda x: None,
    "an outer product": lambda x: np.multiply.outer(x.ravel(), x.ravel()), "a dict": lambda x: {"x": x},
    "empty": lambda x: [], "true": lambda x: True,
    "first": lambda x: x.ravel()[0] + 0.05, "nested": lambda x: [[x.tolist()], 1.0], "twice": lambda x: [x, x],
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_get_no_points(drawn, slip):
    for question in AUTO:
        got = judged(drawn, question, lambda mine, q=question, **inputs:
                     SLIPS[slip](np.asarray(TABLE[q].right(mine, **inputs), float)))
        assert got[0] == 0 and got[1] != "Right.", (question, got)


def test_right_for_some_inputs_only_gets_no_points(drawn):
    for question in AUTO:
        if len(drawn.tries[question]) > 1:
            for wrong_at in range(len(drawn.tries[question])):
                answers = [np.asarray(TABLE[question].right({}, **inputs)) for inputs in drawn.tries[question]]
                answers[wrong_at] = answers[wrong_at] + 0.1
                assert grade._by_grader(TABLE[question], {}, drawn.tries[question], Reply(answers, None), {})[0] == 0


def test_right_answers_in_other_types_get_all_points(drawn):
    forms = [lambda x: x.tolist(), lambda x: x.astype(np.float32), lambda x: x[..., None], lambda x: x[None],
             lambda x: np.asfortranarray(x), lambda x: x * (1 + 1e-6)]
    for question in AUTO:
        for form in forms:
            assert judged(drawn, question, lambda mine, q=question, form=form, **inputs: form(
                np.asarray(TABLE[q].right(mine, **inputs), float))) == (FULL[question], "Right."), question


RAISED = "Your code raised {} for what the grader tried."


@pytest.mark.parametrize("error, told", [
    ("NotImplementedError: Exercise hw1.q1 (cell 3, line 2)", "Not answered."),
    ("TypeError: expected numbers or arrays, got ellipsis", "Not answered."),
    ("NameError: name 'f' is not defined", "Nothing in the notebook is called f, or its cell failed."),
    ("NameError: name 'g' is not defined (cell 3, line 2)", RAISED.format("NameError in cell 3, line 2")),
    ("ValueError: 0.123456 (cell 3, line 4)", RAISED.format("ValueError in cell 3, line 4")),
    ("ValueError: 0.123456 (cell 3, line 123456)", RAISED.format("ValueError")),
    ("ValueError: x (cell 0.1234, line 1)", RAISED.format("ValueError")),
    ("ValueError: x (cell 4, line 1)", RAISED.format("ValueError")),
    ("Told_0_1234: x", RAISED.format("an error")), ("<script>", RAISED.format("an error")),
    ("", RAISED.format("an error")), ("__name__: 1", RAISED.format("an error")),
    ("took too long, and was stopped after 12.3 s", "No answer: took too long."),
    ("the process ended (exit code 77)", "No answer: the process ended."),
    ("used more than 4096 MB of memory", "No answer: used more than it may."),
    (MISUSED, f"No answer: {MISUSED}."),
])
def test_an_error_is_told_without_what_the_student_could_put_into_it(error, told):
    assert grade._told(error, "f(x)", {"3": 5}) == told


def test_what_cannot_be_judged_waits_for_a_human(drawn):
    asked = TABLE["hw1.q1"]._replace(right=None, judge=lambda mine, inputs, value: value["share"])

    def got(*answers):
        return grade._by_grader(asked, {}, [{}] * len(answers), Reply(list(answers), None), {})

    assert got(1.0) == (None, "This answer could not be judged (TypeError).")
    asked = asked._replace(judge=lambda mine, inputs, value: (value, f"share {value}"))
    assert got(0.5, 1.0) == (2.0, "share 0.5") and got(7.0)[0] == 4 and got(-1.0)[0] == 0
    not_tried = Reply(None, "not tried: the notebook ended too often, or took too long")
    assert grade._by_grader(asked, {}, [{}], not_tried, {}) == (None, "No answer: not tried.")
    for forged in (1.0, [], [1.0, 1.0], {"value": [1.0]}, "x"):
        assert grade._by_grader(asked, {}, [{}], Reply(forged, None), {})[0] == 0


@pytest.mark.parametrize("content, reason", [(b"", "the file is empty"), (b"hello", "it is not a Jupyter notebook"),
                                             (b'{"cells": [{"cell_type": "code", "source": "start(\'hw2\')"}]}',
                                              "this is hw2, not hw1")])
def test_what_is_no_submission_has_a_reason_and_no_marks(drawn, content, reason):
    result = grade.grade(drawn, "a", content, trust=True)
    assert result["flags"] == [f"not graded: {reason}"]
    assert all(mark["points"] is None and reason in mark["note"] for mark in result["marks"].values())


def test_a_notebook_made_to_keep_the_grader_busy_does_not():
    """Here a search that goes through a line again for every place in it would take days."""
    assert len(material.START.findall("start('hw1'" * 10**5)) == 10**5
    cells = [notebooks.Cell("code", "# grade_id: " * 10**6, ())]
    assert notebooks.answers(cells, "hw1.q1") == []


# the course: history, files, killed graders, other engines


def fake(material, student, content, files, trust):
    """Marks without a jail: the notebook is the number of points for hw1.q1, or the name of an error."""
    if content == b"boom":
        raise RuntimeError("the jail did not start")
    result = grade.nothing(material, "")
    return result | {"flags": [], "marks": result["marks"] | {"hw1.q1": {
        "points": float(content), "of": 4, "note": "Right.", "answer": content.decode()}}}


@pytest.fixture
def graded(tmp_path, drawn, monkeypatch):
    """graded({"anna.ipynb": b"3", ...}) -> rows of grades.csv; what is not named stays as it was handed in."""
    monkeypatch.setattr(course, "grade", fake)

    def run(handed, material=drawn, wrong=None, **options):
        for name, content in handed.items():
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_bytes(content)
        submissions = collect(find(tmp_path / "in"), options.get("students"))
        assert course.grade_all(material, submissions, tmp_path / "out", jobs=2, trust=True, say=lambda _: None,
                                **options) == (wrong or {})
        return read(tmp_path / "out" / "grades.csv")

    return run


def tree(folder):
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns if "records" in str(path) else 0)
            for path in folder.rglob("*") if path.is_file()}


def test_grading_again_changes_nothing(graded, tmp_path):
    graded({"anna.ipynb": b"3", "bob.ipynb": b"4", "none.txt": b""})
    before = tree(tmp_path / "out")
    graded({})
    assert tree(tmp_path / "out") == before
    assert "no notebook was handed in, only none.txt" in read(tmp_path / "out" / "grades.csv")["none"]["flags"]


def test_new_work_counts_and_the_old_is_kept(graded, tmp_path, drawn):
    graded({"anna.ipynb": b"3", "bob.ipynb": b"4"})
    rows = graded({"anna.ipynb": b"2"})
    assert (rows["anna"]["hw1.q1"], rows["anna"]["attempts"], rows["bob"]["attempts"]) == ("2", "2", "1")
    rows = graded({}, drawn._replace(fingerprint="the homework was changed"))
    assert (rows["anna"]["attempts"], rows["bob"]["attempts"]) == ("3", "2")
    record = records.load(tmp_path / "out", "anna")
    assert [attempt["marks"]["hw1.q1"]["points"] for attempt in record["attempts"]] == [3, 2, 2]
    page = (tmp_path / "out" / "feedback" / "anna.html").read_text("utf-8")
    assert "Earlier" in page and ": 3 of 60 points" in page


def test_weights_are_found_beside_the_notebook_and_have_a_size(tmp_path):
    def opened(wanted, *names):
        files = [File(name, 0.0, lambda most, name=name: submissions._bounded(io.BytesIO(name.encode()), most))
                 for name in names]
        (submission,) = collect(files)
        return course._opened(submission, wanted)

    assert opened({}, "a.ipynb") == (b"a.ipynb", {}, [], "")
    assert opened({"w.safetensors": 99}, "a/a.ipynb", "a/w.safetensors", "a/photo.jpg") == (
        b"a/a.ipynb", {"w.safetensors": b"a/w.safetensors"}, ["also handed in: a/photo.jpg"], "")
    assert opened({"w.safetensors": 99}, "al_1_2_hw2.ipynb", "al_1_3_W-1.safetensors")[1:3] == (
        {"w.safetensors": b"al_1_3_W-1.safetensors"}, [])
    assert opened({"w.safetensors": 99}, "a.ipynb")[1:3] == (
        {"w.safetensors": b""}, ["w.safetensors was not handed in"])
    content, files, flags, reason = opened({"w.safetensors": 9}, "a/a.ipynb", "a/w.safetensors")
    assert files == {"w.safetensors": b""} and "a/w.safetensors was not used: it is larger than 0.0 MB" in flags
    assert opened({}, "a.txt")[3] == "no notebook was handed in, only a.txt"


def test_late_work_is_marked(graded, tmp_path):
    (tmp_path / "in").mkdir()
    graded({"anna.ipynb": b"3", "bob.ipynb": b"3"})
    rows = graded({}, due=datetime.fromtimestamp((tmp_path / "in" / "anna.ipynb").stat().st_mtime - 5400))
    assert rows["anna"]["hours late"] == "1.5"
    assert "1.5 hours late" in (tmp_path / "out" / "feedback" / "anna.html").read_text("utf-8")
    assert graded({}, due=datetime.now())["anna"]["hours late"] == "0"
    assert graded({"cat_LATE_77_88_x.ipynb": b"3"})["77"]["hours late"] == "late"


def test_one_that_fails_stops_nobody_and_is_tried_again(graded):
    rows = graded({"anna.ipynb": b"3", "bad.ipynb": b"boom", "carl.ipynb": b"1"},
                  wrong={"bad": "RuntimeError: the jail did not start"})
    assert rows["anna"]["hw1.q1"] == "3" and rows["carl"]["hw1.q1"] == "1"
    assert rows["bad"]["hw1.q1"] == rows["bad"]["points"] == "" and "did not start" in rows["bad"]["flags"]
    assert graded({"bad.ipynb": b"2"})["bad"]["hw1.q1"] == "2"


def test_marks_by_hand_stay_with_their_answers(graded, tmp_path):
    graded({"anna.ipynb": b"3"})
    hand = tmp_path / "out" / "hand.csv"
    answer = records.answer_id({"answer": "3"})
    header = "student,question,answer,points,comment\n"
    hand.write_text(f"{header}anna,hw1.q1,{answer},1.5,=you did well\nanna,hw1.q11,,4,\n")
    rows = graded({})
    assert (rows["anna"]["hw1.q1"], rows["anna"]["hw1.q11"], rows["anna"]["points"]) == ("1.5", "4", "5.5")
    assert f"anna,hw1.q1,{answer},1.5,'=you did well" in hand.read_text()
    assert "=you did well" in (tmp_path / "out" / "feedback" / "anna.html").read_text("utf-8")
    rows = graded({"anna.ipynb": b"2"})  # another answer: the mark by hand for the old one does not count
    assert (rows["anna"]["hw1.q1"], rows["anna"]["hw1.q11"]) == ("2", "4")
    assert graded({"anna.ipynb": b"3"})["anna"]["hw1.q1"] == "1.5"
    hand.write_text(f"{header}anna,hw1.q1,,much,\n")
    with pytest.raises(ValueError, match="points must be a number such as 1.5, not 'much'"):
        graded({})


def test_a_roster_and_personal_numbers(graded, tmp_path, drawn):
    (tmp_path / "roster.csv").write_text("student,name,login\ns1,Anna,an\ns2,Bob,bo\n")
    students = roster(tmp_path / "roster.csv")
    rows = graded({"an.ipynb": b"3", "who.ipynb": b"3"}, drawn._replace(personal=True), students=students)
    assert rows["s1"]["name"] == "Anna" and rows["s1"]["hw1.q1"] == "3"
    assert rows["s2"]["flags"] == "nothing was handed in" and rows["s2"]["points"] == ""
    assert "not on the roster" in rows["who?"]["flags"] and rows["who?"]["points"] == ""


EVIL = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\t=1", "../../etc/passwd", "..", ".", "a/b", "a\\b", "a\0b", "CON",
        "x" * 400, "<script>alert(1)</script>", "anna\u202egpj", "\ud800", "Anna", "anna", "ANNA", "", " ", "a b",
        "ä", "a.b"]


def test_names_cannot_leave_the_folder_or_meet(tmp_path):
    slugs = [records.slug(name) for name in EVIL]
    assert len({slug.casefold() for slug in slugs}) == len(EVIL) and "anna" in slugs
    assert all(re.fullmatch(r"[A-Za-z0-9_~-]{1,64}", slug) for slug in slugs)
    for name in EVIL:
        if name.isprintable():
            records.add(tmp_path / "out", name, name, {"marks": {}})
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "out" / "records"}
    assert set(records.load(tmp_path / "out")) == {name for name in EVIL if name.isprintable()}


def test_no_cell_of_a_table_is_a_formula(tmp_path):
    given = [*EVIL[:6], 'a,"b"\nc', -1, None, 0.5]
    rows = list(csv.reader(records.table(["name"], [[cell] for cell in given]).splitlines(True)))
    cells = [row[0] if row else "" for row in rows]
    assert not any(cell[:1] in tuple("=+-@\t\r") for cell in cells if cell)
    assert cells[1] == "'=cmd|' /C calc'!A0" and cells[-3:] == ["'-1", "", "0.5"] and cells[-4] == 'a,"b"\nc'


def test_a_page_escapes_all_it_shows(drawn):
    evil = "</pre></td><script>alert(1)</script><a href='javascript:alert(1)' onclick=x>\"'&\u202e\0"
    mark = {"points": 1, "of": 4, "note": evil, "answer": evil}
    attempt = {"file": evil, "errors": [evil], "graded": 0.0, "marks": {evil: mark}}
    record = {"student": evil, "name": evil, "attempts": [attempt, attempt]}
    harmless(pages.feedback(drawn, record, {evil: mark}, 0))
    harmless(pages.summary(drawn, ["student", evil, "flags"], [[evil, evil, evil]], {evil: {"hw1.q1": mark}}))


GRADER = """
import sys, time
sys.path.insert(0, {tests!r})
import test_grading
from pathlib import Path
from ddpm_lesson.grading import course, material
from ddpm_lesson.grading.submissions import File, collect, find, roster
def slow(*arguments):
    time.sleep(0.2)
    return test_grading.fake(*arguments)
course.grade = slow
drawn = material.load("hw1", b"a secret of 16 bytes or more", folder={folder!r})
handed_in = collect(find({handed!r}))
course.grade_all(drawn, handed_in, Path({out!r}), jobs=1, trust=True, say=lambda who: print(who, flush=True))
"""


def test_a_killed_grader_loses_no_mark_and_goes_on(folder, drawn, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for k in range(12):
        (tmp_path / "in" / f"s{k:02}.ipynb").write_bytes(b"%d" % (k % 5))
    code = GRADER.format(tests=str(ROOT / "tests"), folder=str(folder), handed=str(tmp_path / "in"),
                         out=str(tmp_path / "out"))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    said = [child.stdout.readline() for _ in range(3)]
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert said[2] == "s02: graded\n" and not (tmp_path / "out" / "grades.csv").exists()
    before = tree(tmp_path / "out" / "records")
    assert 3 <= len(before) < 12
    monkeypatch.setattr(course, "grade", fake)
    course.grade_all(drawn, collect(find(tmp_path / "in")), tmp_path / "out", trust=True, say=lambda _: None)
    after = tree(tmp_path / "out" / "records")
    assert {name: after[name] for name in before if ".json." not in name} == {
        name: content for name, content in before.items() if ".json." not in name}
    rows = read(tmp_path / "out" / "grades.csv")
    assert {student: float(row["hw1.q1"]) for student, row in rows.items()} == {f"s{k:02}": k % 5 for k in range(12)}
    assert all(row["attempts"] == "1" for row in rows.values())


def test_any_executor_of_the_standard_kind_will_do(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(course, "grade", fake)
    (tmp_path / "in").mkdir()
    for k in range(4):
        (tmp_path / "in" / f"s{k}.ipynb").write_bytes(b"%d" % k)
    monkeypatch.setattr(course, "WAITING", 2)
    with ThreadPoolExecutor(2) as pool:
        handed_in = collect(find(tmp_path / "in"))
        assert course.grade_all(drawn, handed_in, tmp_path / "out", executor=pool, say=lambda _: None) == {}
    assert [row["hw1.q1"] for row in read(tmp_path / "out" / "grades.csv").values()] == ["0", "1", "2", "3"]


# the commands


def test_released_notebooks_have_a_courses_own_numbers(folder, tmp_path):
    (tmp_path / "roster.csv").write_text("student,name\nanna,A\n\"q\"\"uote\",B\n")
    salts = ["--salt", str(tmp_path / "salt")]
    common = ["release", "hw1", "--folder", str(folder)]
    assert main([*common, *salts, "--to", str(tmp_path / "all")]) == 0
    assert (tmp_path / "salt").stat().st_mode & 0o777 == 0o600
    secret = (tmp_path / "salt").read_text().strip()
    assert main([*common, *salts, "--personal", str(tmp_path / "roster.csv"), "--to", str(tmp_path / "each.zip")]) == 0
    assert main([*common, "--salt", str(tmp_path / "other"), "--to", str(tmp_path / "other course")]) == 0
    assert main([*common, "--to", str(tmp_path / "public")]) == 0
    texts = {name: (tmp_path / name / "hw1_forward.ipynb").read_text("utf-8")
             for name in ("all", "other course", "public")}
    with zipfile.ZipFile(tmp_path / "each.zip") as file:
        quote = records.slug('q"uote')
        assert file.namelist() == ["anna/hw1_forward.ipynb", f"{quote}/hw1_forward.ipynb"]
        texts |= {name: file.read(name).decode() for name in file.namelist()}
    starts = []
    for text in texts.values():
        code = "".join(answer_cells_and_others(json.loads(text)))
        (line,) = re.findall(r"numbers, check = (start\(.*\))", code)
        assert secret not in text and "def hw1_q1" not in text and "SOLUTION" not in text
        starts.append(eval(line, {"start": lambda name, key, student: (name, key, student)}))
    keys = [key for _, key, _ in starts]
    assert keys[0] == keys[3] == keys[4] and keys[2] == "public" and len(set(keys)) == 3
    assert [student for *_, student in starts] == ["", "", "", "anna", 'q"uote']
    drawn = [json.dumps(homework.numbers(*start)) for start in starts]
    assert len(set(drawn)) == 5


def answer_cells_and_others(nb):
    return ["".join(cell["source"]) for cell in nb["cells"] if cell["cell_type"] == "code"]


def test_hidden_inputs_are_a_courses_own_and_the_same_every_time(folder):
    one, again, other = (material.load("hw1", secret, folder=folder) for secret in (b"1" * 16, b"1" * 16, b"2" * 16))
    assert str(one.tries) == str(again.tries) != str(other.tries)
    assert one.fingerprint == again.fingerprint != other.fingerprint and one.key != other.key
    assert {question: len(tries) for question, tries in one.tries.items()} == {
        question: 5 if "(" in asked.call else 1 for question, asked in TABLE.items()}
    assert one.title == "Homework 1 · Forward, posterior, KL"


@pytest.mark.parametrize("arguments, said", [
    (["grade", "missing"], "submissions must be a folder or a zip file, not 'missing'"),
    (["grade", "."], "none of the notebooks says which homework it is"),
    (["grade", ".", "--homework", "hw99"], "homework must be one that exists, not 'hw99'"),
    (["grade", ".", "--homework", "../hw1"], "homework must be a name such as 'hw1'"),
    (["release", "hw1", "--to", "x", "--folder", "missing"], "python -m notebooks.build makes it"),
    (["grade", ".", "--homework", "hw1", "--salt", "missing"], "No such file"),
])
def test_what_cannot_be_done_is_said(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert said in capsys.readouterr().err and os.listdir(tmp_path) == []


def test_without_a_jail_nothing_is_graded(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    traitor = Handed(folder).all().add(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "in" / "anna.ipynb").write_bytes(traitor.bytes())
    monkeypatch.setenv("PATH", str(tmp_path))
    jail._probe.cache_clear()
    try:
        assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--folder", str(folder)]) == 2
    finally:
        jail._probe.cache_clear()
    assert "apt-get install bubblewrap" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_trust_grades_without_a_jail(folder, tmp_path, monkeypatch, capsys):
    path = zipfile.ZipFile(tmp_path / "lms.zip", "w")
    path.writestr("annalee_4711_99_hw1.ipynb", Handed(folder).all().bytes())
    path.close()
    (tmp_path / "roster.csv").write_text("student,name,canvas\nanna,Anna,4711\nbob,Bob,4712\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["grade", str(tmp_path / "lms.zip"), "--out", str(tmp_path / "out"), "--folder", str(folder), "--trust",
                 "--roster", str(tmp_path / "roster.csv"), "--due", "2000-01-01"]) == 0
    row = read(tmp_path / "out" / "hw1" / "grades.csv")["anna"]
    assert points(row) == FULL and float(row["hours late"]) > 200_000
    assert "1 submissions" in capsys.readouterr().out


@jailed
@pytest.mark.filterwarnings("ignore")  # of the cluster's own
def test_a_cluster_grades(folder, drawn, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    handed = {name: value for name, value in ten(folder).items() if name in ("solution", "wrong", "unlike")}
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None,
                                  local_directory=str(tmp_path)) as cluster:
        with distributed.Client(cluster) as client, client.get_executor() as executor:
            checked(folder, handed, tmp_path, drawn, executor=executor)


@jailed
@pytest.mark.slow
def test_a_hundred_submissions_get_the_marks_they_deserve(folder, drawn, tmp_path):
    """What it takes on two cores, RESULTS.md says."""
    rng, base, handed = random.Random(0), ten(folder), {}
    for k in range(100):
        (kind,) = rng.choices(["mixed", *base, *ATTACKS, "empty", "text"],
                              [60, *[3] * len(base), *[2] * len(ATTACKS), 2, 2])
        file = f"s{k:03}.ipynb"
        if kind == "mixed":
            notebook, wanted = Handed(folder).all(), dict(FULL)
            for question, (source, _) in WRONG.items():
                right = [answers[question] for answers in RIGHT if question in answers]
                if rng.random() < 0.4:
                    notebook.answer(**{question: source})
                    wanted[f"hw1.{question}"] = 0
                elif right:
                    notebook.answer(**{question: rng.choice(right)})
            handed[kind + file] = (file, notebook.bytes(), wanted, "")
        elif kind in base:
            handed[kind + file] = (file, *base[kind][1:])
        elif kind in ATTACKS:
            handed[kind + file] = (file, hostile(folder, kind).bytes(), ZERO, "")
        else:
            content = b"" if kind == "empty" else b"hello"
            handed[kind + file] = (file, content, dict.fromkeys(AUTO), "not graded")
    began = time.monotonic()
    checked(folder, handed, tmp_path, drawn, jobs=2)
    print(f"{len(handed)} submissions: {time.monotonic() - began:.0f} s")


@jailed
@pytest.mark.slow
@pytest.mark.parametrize("name", ["hw2", "hw3"])
def test_a_solution_and_the_weights_it_trains_earn_all_points(folder, tmp_path, monkeypatch, name):
    monkeypatch.delenv("SMOKE", raising=False)  # which would cut the training short
    (tmp_path / "in" / "anna").mkdir(parents=True)
    solution = nbformat.read(next((folder / "solution").glob(f"{name}_*.ipynb")), 4)
    NotebookClient(solution, timeout=600, resources={"metadata": {"path": tmp_path / "in" / "anna"}}).execute()
    assert "not yet" not in str([cell.outputs for cell in solution.cells if cell.cell_type == "code"])
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "in" / "anna").iterdir()}
    assert sizes.keys() == homework.files(name).keys()
    assert all(2 * sizes[file] < most for file, most in homework.files(name).items())
    (tmp_path / "in" / "anna" / "mine.ipynb").write_bytes(Handed(folder, name).all().bytes())
    wanted = {q: asked.points for q, asked in homework.questions(name).items() if asked.call}
    drawn = material.load(name, b"a secret of 16 bytes or more", folder=folder)
    assert course.grade_all(drawn, collect(find(tmp_path / "in")), tmp_path / "out", say=lambda _: None) == {}
    row = read(tmp_path / "out" / "grades.csv")["anna"]
    assert {q: float(row[q]) for q in wanted} == wanted, row
