"""The glossary names things of this package: what it calls code must exist."""

import inspect
import re
from pathlib import Path

import ddpm_lesson
from ddpm_lesson import GaussianMixture, elbo_terms, linear_schedule, p_step, predictors, q_sample, sample
from ddpm_lesson import train as training
from ddpm_lesson.models import Transformer, transformer, unet

GLOSSARY = (Path(__file__).parents[1] / "notebooks" / "glossary.md").read_text("utf-8")
VARIABLES = {"t", "x0", "xt", "eps", "mu_hat", "x0_hat", "eps_hat"}  # names of DESIGN, not of the package


def test_every_name_in_the_code_column_exists():
    rows = [re.split(r"(?<!\\)\|", line) for line in GLOSSARY.splitlines() if re.match(r"\| (?!symbol|term|---)", line)]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row[2])]
    assert len(names) > 30
    functions = (q_sample, p_step, sample, training.train, Transformer)
    arguments = {name for f in functions for name in inspect.signature(f).parameters}
    for name in names:
        stem = re.sub(r"[\[(].*", "", name)  # beta[t], sigma(kind), sample(steps=)
        if name.endswith("="):
            assert name[:-1] in arguments, name
        elif stem.startswith("schedule."):
            assert hasattr(linear_schedule(10), stem.removeprefix("schedule.")), name
        elif stem.startswith("mixture."):
            assert hasattr(GaussianMixture, stem.removeprefix("mixture.")), name
        else:
            homes = (ddpm_lesson, predictors, training, transformer, unet)
            assert stem in VARIABLES or any(hasattr(home, stem) for home in homes), name
        for argument in re.findall(r"\((\w+)=\)", name):
            assert argument in arguments, name
    assert elbo_terms.__name__ in names


def test_the_terms_of_lecture_000_are_there_in_chinese():
    for term in ("正向加噪", "正向跳躍", "線性內插", "噪音", "原始影像的保留比例", "條件期望", "重建"):
        assert term in GLOSSARY
