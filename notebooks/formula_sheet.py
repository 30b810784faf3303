"""Write formula_sheet.md: every formula of the register with its sources and the test that proves it.

    python -m notebooks.formula_sheet            write it
    python -m notebooks.formula_sheet --check    write nothing; fail when it is stale
"""

import ast
import sys
from pathlib import Path

from ddpm_lesson.register import claims, register

ROOT = Path(__file__).resolve().parents[1]
SHEET = ROOT / "notebooks" / "formula_sheet.md"
HEAD = """# Formula sheet

Made from `ddpm_lesson/register.yaml` by `python -m notebooks.formula_sheet`. Notation: $t=1..T$, $\\bar\\alpha_0=1$,
variances in the last entry of $\\mathcal N$. A source is lecture:line; ✎ marks a place where the lecture prints another
form. The last column links the file of the first test that checks the claim; definitions and design choices need none.
"""


def first_tests():
    """Claim id -> `file::test` of the first test that is marked with it."""
    found = {}
    for path in sorted((ROOT / "tests").glob("test_claims*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.claim":
                    for argument in mark.args:
                        found.setdefault(ast.literal_eval(argument), (path.name, node.name))
    return found


def sheet():
    tests, lines, topic = first_tests(), [HEAD], None
    for number, claim in claims().items():
        if claim["topic"] != topic:
            topic = claim["topic"]
            lines += [f"\n## {topic.replace('-', ' ')}\n", "| claim | formula | sources | test |", "|---|---|---|---|"]
        formula = claim["formula"].replace(r"\|", r"\Vert ").replace("|", r"\vert ")  # a bar would end the cell
        wrong = {erratum["id"].rstrip("abcd") for erratum in claim.get("errata", [])}
        places = [f"{place['lecture']}:{line}" for place in claim["places"] for line in place["lines"]]
        shown = [place + " ✎" * (place in wrong) for place in places if place in wrong or place == places[0]]
        more = len(places) - len(shown)
        sources = ", ".join(shown) + f" and {more} more" * bool(more)
        test = "[{0}](../tests/{0})".format(tests[number][0]) if number in tests else ""
        lines.append(f"| {number} | ${formula}$ | {sources} | {test} |")
    titles = [f"{name}: {title}" for name, title in register()["lectures"].items()]
    return "\n".join([*lines, "\nLectures. " + ". ".join(titles) + ".\n"])


def main():
    if "--check" in sys.argv:
        if not SHEET.exists() or SHEET.read_text("utf-8") != sheet():
            sys.exit("notebooks/formula_sheet.md is stale: run python -m notebooks.formula_sheet")
    else:
        SHEET.write_text(sheet(), "utf-8")


if __name__ == "__main__":
    main()
