"""What the release workflow asks before it publishes, on a small project and on this one."""

import importlib
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

import ddpm_lesson

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("release", ROOT / ".ci/release.py")
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)
sys.path.insert(0, str(ROOT))
build = importlib.import_module("notebooks.build")
homework = importlib.import_module("notebooks.homework.build")
translate = importlib.import_module("notebooks.translate")
TAG = f"v{ddpm_lesson.__version__}"
SOURCES = sorted(path for place in ("src", "homework/src") for path in (ROOT / "notebooks" / place).glob("*.py"))


@pytest.fixture
def project(tmp_path):
    """A project at 1.2.3 whose badges point at owner/name."""
    (tmp_path / "ddpm_lesson").mkdir()
    (tmp_path / "ddpm_lesson/__init__.py").write_text('__version__ = "1.2.3"\n')
    write(tmp_path, "owner/name", "v1.2.3")
    (tmp_path / "CHANGELOG.md").write_text("# What changed\n\n## 1.2.3\n\n- A thing.\n\n## 1.2.2\n\n- Old.\n")
    return tmp_path


def write(project, repository, ref):
    (project / "pyproject.toml").write_text(
        f'[tool.ddpm-lesson]\n# Why.\nrepository = "{repository}"\nref = "{ref}"\n\n[tool.x]\nref = "other"\n')


def test_a_tag_that_fits_may_be_released_and_has_its_notes(project):
    assert release.problems("v1.2.3", "owner/name", project) == []
    assert release.notes("v1.2.3", project) == "- A thing."
    write(project, "", "")  # no badges
    assert release.problems("v1.2.3", "owner/name", project) == []


@pytest.mark.parametrize(("tag", "repository", "settings", "message"), [
    ("v1.2.2", "owner/name", ("owner/name", "v1.2.2"), "the tag is v1.2.2, the package's version 1.2.3"),
    ("1.2.3", "owner/name", ("owner/name", "1.2.3"), "the tag is 1.2.3"),
    ("v1.2.3", "fork/name", ("owner/name", "v1.2.3"), "repository is owner/name, this is fork/name"),
    ("v1.2.3", "owner/name", ("owner/name", "main"), "ref is main, this is v1.2.3"),
    ("v1.2.3", "owner/name", ("owner/name", "v1.2.2"), "ref is v1.2.2, this is v1.2.3"),
])
def test_what_does_not_fit_stops_a_release(project, tag, repository, settings, message):
    write(project, *settings)
    (problem,) = release.problems(tag, repository, project)
    assert message in problem


@pytest.mark.parametrize("heading", ["## 1.2.3 (unreleased)", "## 1.2.30", "## 1x2.3", "## 1.2.3\n"])
def test_a_release_needs_something_to_say(project, heading):
    rest = "\n## 1.0\n\n- Old.\n" if heading.endswith("\n") else "\n\n- A thing.\n"
    text = f"# What changed\n\n{heading}{rest}"
    (project / "CHANGELOG.md").write_text(text)
    (problem,) = release.problems("v1.2.3", "owner/name", project)
    assert "no section '## 1.2.3'" in problem


def test_this_projects_badges_if_any_point_at_its_own_version_and_its_changelog_names_it():
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    repository, ref = (re.search(rf'^{name} = "(.*)"', settings, re.M)[1] for name in ("repository", "ref"))
    assert (repository, ref) == ("", "") or ref == f"v{ddpm_lesson.__version__}"
    assert f"\n## {ddpm_lesson.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def students(source, root):
    """Return the student copies of a source by path: in English, and in every language that it is translated to."""
    nb, lines = build.load(source, root)
    if "homework" in source.parts:
        return {homework.paths(source)[0]: homework.student_copy(nb, lines)}
    copies = {build.built(source)[1]: build.cut(nb, lines)}
    for texts in source.parent.glob(f"*/{source.stem}.md"):
        copies[build.built(source, texts.parent.name)[1]] = build.cut(translate.translate(nb, texts)[0], lines)
    return copies


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_with_a_repository_every_student_copy_has_a_badge_to_itself_and_installs_this_version(source, tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("*.ipynb", "__pycache__"))
    (tmp_path / "pyproject.toml").write_text(f'[tool.ddpm-lesson]\nrepository = "owner/name"\nref = "{TAG}"\n')
    copies = students(tmp_path / source.relative_to(ROOT), tmp_path)
    for path, nb in copies.items():
        name = path.relative_to(tmp_path).as_posix()
        (link,) = re.findall(r"\]\((https://colab[^)]*/github/[^)]*)\)", nb.cells[0].source)
        assert link == f"https://colab.research.google.com/github/owner/name/blob/{TAG}/{name}"
        assert nb.cells[1].source.count(f"git+https://github.com/owner/name@{TAG}\"") == 1


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_pin_what_they_use_and_write_only_where_they_say_so(path):
    text = path.read_text("utf-8")
    workflow = yaml.safe_load(text)
    for use in re.findall(r"uses: (\S+)(.*)", text):
        assert re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", use[0]) and re.match(r" # v\d", use[1]), use
    assert workflow["permissions"]["contents"] == "read"
