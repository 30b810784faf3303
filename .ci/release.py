"""Says whether a tag may become a release, and prints its notes: `python .ci/release.py v1.2.3 OWNER/REPO`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def problems(tag, repository, root=ROOT):
    """Return what forbids a release of this tag in this repository, one line each."""
    version = re.search(r'__version__ = "(.+)"', (root / "ddpm_lesson/__init__.py").read_text("utf-8"))[1]
    found = [] if tag == f"v{version}" else [f"the tag is {tag}, the package's version {version}"]
    settings = (root / "pyproject.toml").read_text("utf-8").split("[tool.ddpm-lesson]")[1].split("[")[0]
    named = {name: re.search(rf'^{name} = "(.*)"', settings, re.M)[1] for name in ("repository", "ref")}
    if named["repository"]:  # empty: the notebooks carry no badge and install nothing
        wanted = {"repository": repository, "ref": tag}
        found += [f"pyproject.toml: {name} is {named[name]}, this is {wanted[name]}: the notebooks' badges would lead "
                  "elsewhere" for name in named if named[name] != wanted[name]]
    if not notes(tag, root):
        found.append(f"CHANGELOG.md has no section '## {tag.removeprefix('v')}' with something in it")
    return found


def notes(tag, root=ROOT):
    """Return what CHANGELOG.md says of this tag, "" where it says nothing."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    section = re.search(rf"^## {re.escape(tag.removeprefix('v'))}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return section[1].strip() if section else ""


if __name__ == "__main__":
    if found := problems(*sys.argv[1:]):
        sys.exit("\n".join(found))
    print(notes(sys.argv[1]))
