"""What the test files of the math share, and the register's coverage.

`pytest -m "claim or erratum"` ends with a table by topic and fails when anything is not proved. In every run a claim
or erratum whose tests were all skipped is a failure, and so is a misspelt id.
"""

import pytest
from hypothesis import settings

from ddpm_lesson import Schedule
from ddpm_lesson.register import claims, errata, must_be_tested

settings.register_profile("lesson", max_examples=50, deadline=None, derandomize=True)  # the same examples in every run
settings.load_profile("lesson")


@pytest.fixture(scope="session")
def chain():
    """Eight uneven steps with ᾱ_8 = 0.17: short and far from the prior, so that a slipped index or root shows."""
    return Schedule([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14])


KINDS = {"claim": claims, "erratum": errata}
outcomes = {}  # (kind, id) -> the outcomes of its tests, in this session


def pytest_itemcollected(item):
    for kind, known in KINDS.items():
        for mark in item.iter_markers(kind):
            for number in mark.args:
                if number not in known():
                    raise pytest.UsageError(f"{item.nodeid}: {kind} {number!r} is not in the register")
                item.user_properties.append((kind, number))  # travels with the report, from xdist's workers too


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        for kind, number in report.user_properties:
            if kind in KINDS:
                outcomes.setdefault((kind, number), set()).add(report.outcome)


def unproved(config):
    """What this session should have proved and did not."""
    wanted = [key for key in outcomes if "passed" not in outcomes[key]]
    if config.option.markexpr == "claim or erratum" and not config.option.keyword:
        everything = [("claim", i) for i in must_be_tested()] + [("erratum", i) for i in errata()]
        wanted += [key for key in everything if key not in outcomes]
    return wanted


def pytest_sessionfinish(session, exitstatus):
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    if exitstatus == pytest.ExitCode.OK and unproved(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if config.option.collectonly:
        return
    if config.option.markexpr == "claim or erratum":
        terminalreporter.section("the register, topic by topic")
        proved = {key for key, outcome in outcomes.items() if "passed" in outcome and "failed" not in outcome}
        rows = {}
        for kind, ids in (("claim", must_be_tested()), ("erratum", errata())):
            for number in ids:
                topic = (claims()[number] if kind == "claim" else errata()[number])["topic"]
                for name in (topic, "all"):
                    cell = rows.setdefault(name, {"claim": [0, 0], "erratum": [0, 0]})[kind]
                    cell[0] += (kind, number) in proved
                    cell[1] += 1
        for topic, cells in sorted(rows.items(), key=lambda row: row[0] == "all"):
            a, b = cells["claim"], cells["erratum"]
            terminalreporter.line(f"{topic:24} claims {a[0]:3} of {a[1]:3}   errata {b[0]:3} of {b[1]:3}")
    for kind, number in unproved(config):
        terminalreporter.line(f"NOT PROVED: {kind} {number}", red=True)
