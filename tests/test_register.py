"""The register is whole, and the coverage command notices what is missing.

Tried and seen to fail: a claim's mark removed, an id misspelt, a claim's only test skipped, an erratum without its
printed form.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from ddpm_lesson.register import claims, errata, must_be_tested, register
from notebooks import formula_sheet

CONFTEST = Path(__file__).with_name("conftest.py")


def test_the_register_holds_110_claims_87_to_prove_and_63_errata():
    assert len(register()["claims"]) == len(claims()) == 110
    assert len(must_be_tested()) == 87
    assert len(errata()) == sum(len(claim.get("errata", [])) for claim in register()["claims"]) == 63


def test_every_claim_has_a_formula_and_its_places():
    kinds = {"identity", "statement", "definition", "design-choice", "inequality", "algorithm", "limit"}
    for claim in register()["claims"]:
        assert claim["kind"] in kinds and claim["formula"].strip() and claim["places"], claim["id"]
        for place in claim["places"]:
            assert place["lecture"] in register()["lectures"] and place["where"] and min(place["lines"]) > 0
        assert claim["formula"].count("{") == claim["formula"].count("}"), claim["id"]


def test_every_erratum_quotes_the_print_corrects_it_and_says_where_it_stands():
    severities = Counter(erratum["severity"] for erratum in errata().values())
    assert severities == {"formula": 44, "index": 8, "wording": 6, "missing-condition": 4, "reference": 1}
    for number, erratum in errata().items():
        assert erratum["printed"].strip() and erratum["correct"].strip() and erratum["where"], number
        assert erratum["printed"] != erratum["correct"], number
        line = int("".join(c for c in number[4:] if c.isdigit()))
        assert any(line in place["lines"] for place in claims()[erratum["claim"]]["places"]
                   if place["lecture"] == erratum["lecture"]), number


def test_the_formula_sheet_is_made_from_the_register_and_links_a_test_for_every_claim_to_prove():
    written = formula_sheet.SHEET.read_text("utf-8")
    assert written == formula_sheet.sheet(), "run python -m notebooks.formula_sheet"
    for number in must_be_tested():
        (row,) = (line for line in written.splitlines() if line.startswith(f"| {number} |"))
        assert row.count("|") == 5 and "](../tests/test_claims" in row


def coverage(folder, body):
    """The coverage command, on one test file of our making beside the real conftest."""
    (folder / "conftest.py").write_text(CONFTEST.read_text("utf-8"), "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n claim(id)\n erratum(id)\n")
    (folder / "test_it.py").write_text("import pytest\n" + body)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-m", "claim or erratum", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stdout + done.stderr


def every(kind, ids):
    return "".join(f"@pytest.mark.{kind}('{i}')\ndef test_{kind}_{n}():\n    pass\n" for n, i in enumerate(ids))


def test_the_coverage_command_passes_when_everything_is_proved(tmp_path):
    code, printed = coverage(tmp_path, every("claim", must_be_tested()) + every("erratum", errata()))
    assert code == 0, printed
    assert "claims  87 of  87   errata  63 of  63" in printed


def test_the_coverage_command_fails_and_names_what_is_missing_or_only_skipped(tmp_path):
    body = every("claim", must_be_tested()) + every("erratum", errata())
    body = body.replace("'forward-jump'", "'forward-step-sampling'").replace("'000:58'", "'000:117'")
    body = body.replace("@pytest.mark.claim('bayes-rule')", "@pytest.mark.skip\n@pytest.mark.claim('bayes-rule')")
    code, printed = coverage(tmp_path, body)
    assert code != 0 and "claims  85 of  87   errata  62 of  63" in printed
    for missing in ("claim forward-jump", "erratum 000:58", "claim bayes-rule"):
        assert f"NOT PROVED: {missing}" in printed


def test_a_misspelt_id_stops_the_run(tmp_path):
    code, printed = coverage(tmp_path, every("claim", ["forward-jmup"]))
    assert code != 0 and "claim 'forward-jmup' is not in the register" in printed
