"""What the site is made of: which notebooks and texts become pages, and where a link between them leads."""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?!\w+:|[#/])[^)\s#]+)(#[^)\s]*)?\)")
NOT_A_PAGE = {"formula_sheet.md"}  # written for GitHub; the site makes its own from the register


class Sources:
    """The files of the project at `root` that become pages of a site; `folder` is where Sphinx will read them."""

    def __init__(self, root, folder):
        self.root, self.folder, self.notebooks = Path(root), Path(folder), Path(root) / "notebooks"
        here = (self.notebooks, *(path for path in self.notebooks.glob("[a-z][a-z]") if path.is_dir()))
        self.lessons = sorted(path for place in here for path in place.glob("*.ipynb"))
        self.texts = sorted(path for place in here for path in place.glob("*.md") if path.name not in NOT_A_PAGE)
        settings = tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))["tool"]["ddpm-lesson"]
        self.repository, self.ref = settings["repository"], settings["ref"]
        self.missing = set()  # what a text links that is not there

    def page(self, path):
        """Where the page of a notebook or text stands in `folder`."""
        return self.folder / path.relative_to(self.notebooks)

    def student(self, path):
        """The copy without answers of a built notebook."""
        return self.notebooks / "student" / path.relative_to(self.notebooks)

    def relink(self, text, path):
        """The text of the file at `path` with its links made right for the site.

        Pages stay linked to each other. What has no page is linked on GitHub where the repository is known, and is
        plain text otherwise.
        """
        def link(match):
            words, target = match[1], (path.parent / match[2]).resolve()
            if target in self.lessons or target in self.texts or target == self.notebooks / "formula_sheet.md":
                return match[0]
            if not target.exists():
                self.missing.add(match[2])
            elif self.repository:
                kind = "tree" if target.is_dir() else "blob"
                return f"[{words}]({self.github(target, kind)})"
            return words

        return LINK.sub(link, text)

    def github(self, path, kind="blob"):
        """The address of a file of the repository; None while the repository is not set."""
        if not self.repository:
            return None
        return f"https://github.com/{self.repository}/{kind}/{self.ref}/{path.relative_to(self.root).as_posix()}"

    def download(self, path):
        """Copy a file to where a reader can download it, and return its path in `folder`."""
        copied = self.folder / "downloads" / path.relative_to(self.notebooks)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
        return copied.relative_to(self.folder).as_posix()

    def write(self, name, text):
        """Write a page to `folder`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
