"""pyproject.toml is the one list of what the course needs; every other file that repeats a part of it must agree."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import ddpm_lesson
from ddpm_lesson import info

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"pytorch": "torch"}
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
SYSTEMS = [("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64")]


@pytest.fixture
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def conda():
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]


@pytest.fixture
def pins():
    return parse((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())


def parse(lines):
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def ranges(requirements):
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in requirements}


def conda_problems(project, conda):
    """What environment.yml says that pyproject.toml (with the lab extra) does not, and the other way round."""
    wanted = ranges(parse(project["dependencies"] + project["optional-dependencies"]["lab"]))
    wanted["python"] = SpecifierSet(project["requires-python"])
    listed = [line for line in conda if isinstance(line, str) and line != "pip"]
    given = {CONDA_NAMES.get(name, name): specifier for name, specifier in ranges(parse(listed)).items()}
    problems = [f"{name}: {wanted.get(name)} in pyproject.toml, {given.get(name)} in environment.yml"
                for name in sorted(wanted.keys() | given.keys()) if wanted.get(name) != given.get(name)]
    if {"pip": ["-e ."]} not in conda:
        problems.append("environment.yml does not install the package itself")
    return problems


def pin_problems(project, pins):
    """Direct dependencies that some supported machine gets unpinned, or pinned twice, or out of range."""
    extras = project["optional-dependencies"].values()
    direct = [need for need in parse(project["dependencies"] + sum(extras, [])) if need.name != project["name"]]
    problems = []
    for python in PYTHONS:
        for system, machine in SYSTEMS:
            here = default_environment() | {
                "python_version": python, "python_full_version": python + ".5", "sys_platform": system,
                "platform_machine": machine, "os_name": "nt" if system == "win32" else "posix",
            }
            for need in direct:
                if need.marker and not need.marker.evaluate(here):
                    continue
                versions = [
                    str(pin.specifier).removeprefix("==") for pin in pins
                    if canonicalize_name(pin.name) == canonicalize_name(need.name)
                    and (pin.marker is None or pin.marker.evaluate(here))
                ]
                if len(versions) != 1 or not need.specifier.contains(versions[0]):
                    problems.append(f"{need} on Python {python}, {system}: pinned to {versions}")
    return problems


def test_environment_yml_agrees_with_pyproject(project, conda):
    assert conda_problems(project, conda) == []


@pytest.mark.parametrize(("old", "new"), [
    ("numpy>=1.26", "numpy>=1.25"),  # another range
    ("pytorch>=2.4", "pytorch"),  # no range
    ("python>=3.10,<3.14", "python>=3.10"),
    ("tqdm>=4.66", None),  # missing
    ("jupyterlab>=4", None),
    ("pip", "pandas>=2"),  # one too many
    ("pooch>=1.8", "poch>=1.8"),  # misspelt
    ({"pip": ["-e ."]}, None),
])
def test_a_drifted_environment_yml_is_found(project, conda, old, new):
    assert old in conda
    drifted = [new if line == old else line for line in conda if not (line == old and new is None)]
    assert conda_problems(project, drifted)


def test_a_drifted_pyproject_is_found(project, conda):
    drifted = copy.deepcopy(project)
    drifted["dependencies"].append("pandas>=2")
    assert conda_problems(drifted, conda)


def test_constraints_pin_every_direct_dependency_within_its_range(project, pins):
    assert pin_problems(project, pins) == []


@pytest.mark.parametrize(("name", "pin"), [
    ("torch", "torch==2.3.1"),  # out of range
    ("nbval", None),  # missing
    ("numpy", "numpy==2.2.6; python_full_version < '3.11'"),  # missing on newer Pythons
    ("ruff", "ruff==0.17.6; sys_platform != 'win32'"),  # missing on Windows
])
def test_drifted_constraints_are_found(project, pins, name, pin):
    drifted = [other for other in pins if other.name != name] + parse([pin] if pin else [])
    assert name in {pin.name for pin in pins}
    assert pin_problems(project, drifted)


def test_constraints_are_exact_and_fit_every_build_of_torch(pins):
    for pin in pins:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin}: not one exact public version"
        assert pin.url is None
        assert not re.match("nvidia|cuda|triton", pin.name), f"{pin}: belongs to one build of torch"


def test_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ddpm_lesson.__version__
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["title"] and citation["authors"]


def test_import_loads_no_plotting_and_no_data_library():
    """`import ddpm_lesson` must cost little more than `import torch`."""
    heavy = ["matplotlib", "ipywidgets", "IPython", "sklearn", "scipy", "pooch", "yaml"]
    code = f"import sys, ddpm_lesson; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"


def test_info_tells_what_a_bug_report_needs(monkeypatch):
    home = info.CHECKOUT.parent
    monkeypatch.setattr(Path, "home", lambda: home)
    lines = dict(re.split(" +", line, maxsplit=1) for line in info.report().splitlines())
    assert lines["ddpm-lesson"].startswith(ddpm_lesson.__version__ + ", ")
    assert re.match(r"3\.\d+\.\d+", lines["Python"])
    assert re.match(r"\d+\.\d+\.\d+\S*, (CPU|CUDA|Apple)", lines["torch"])
    assert re.match(r"\d+ cores, \d+ torch threads", lines["processor"])
    assert re.match(r"\d+ of 4 files|not found", lines["MNIST"])
    assert lines["location"].startswith("~") and str(home) not in info.report()


def test_info_survives_a_missing_package():
    assert info._version("no-such-package") == "not installed"
