"""A pytest plugin for `python3 start.py test`: at the end, one line for each file says what was shown."""

import ast
from collections import Counter
from pathlib import Path


def pytest_terminal_summary(terminalreporter, config):
    counts = Counter((report.nodeid.split("::")[0], outcome) for outcome in ("passed", "failed", "error")
                     for report in terminalreporter.stats.get(outcome, []))
    terminalreporter.section("what was shown")
    names = sorted({name for name, _ in counts})
    width = max((len(Path(name).stem) for name in names), default=0)
    for name in names:
        passed, failed = counts[name, "passed"], counts[name, "failed"] + counts[name, "error"]
        verdict = f"{passed:4} hold" + (f", {failed} FAIL" if failed else "")
        terminalreporter.write_line(f"{Path(name).stem:{width}} {verdict}   {_subject(name, config)}")


def _subject(name, config):
    if name.endswith(".ipynb"):
        return "every cell runs" + ("" if config.getoption("nbval_lax") else ", and prints what the lesson shows")
    text = ast.get_docstring(ast.parse((config.rootpath / name).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split()).partition(". ")[0].removesuffix(".")
