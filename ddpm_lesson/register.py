"""The register: every claim of the five lectures with its correct formula, and every erratum (register.yaml)."""

from functools import cache
from pathlib import Path

import yaml


@cache
def register():
    """The register as it stands in register.yaml: {"lectures": {...}, "claims": [...]}."""
    return yaml.safe_load((Path(__file__).parent / "register.yaml").read_text("utf-8"))


def claims():
    """The claims by id, in teaching order: topic, kind, formula, places and, for some, errata."""
    return {claim["id"]: claim for claim in register()["claims"]}


def errata():
    """The errata by id, in teaching order, each with its lecture and the id and topic of its claim."""
    return {erratum["id"]: {**erratum, "claim": claim["id"], "topic": claim["topic"], "lecture": erratum["id"][:3]}
            for claim in register()["claims"] for erratum in claim.get("errata", [])}


def must_be_tested():
    """The ids of the claims that can be proved: all but definitions and design choices."""
    return [i for i, claim in claims().items() if claim["kind"] not in ("definition", "design-choice")]
