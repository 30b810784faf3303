"""Build the course as a web site out of the notebooks as they are committed. Nothing is executed.

    python -m book.build            write build/book/html; open its index.html, no server and no network needed
    python -m book.build OUT        write the site to the folder OUT

What Sphinx reads is written first, to build/book/source: lessons.py makes a page of each notebook, pages.py makes those
that come out of the register, CITATION.cff and the texts beside the notebooks.
"""

import argparse
import shutil
import sys
from pathlib import Path

import nbformat
from sphinx.cmd.build import main as sphinx

from .lessons import lesson
from .pages import write_pages
from .sources import Sources

ROOT = Path(__file__).resolve().parents[1]


def write_sources(root, folder):
    """Write what Sphinx reads for the project at `root` to an empty folder, and return the Sources."""
    sources = Sources(root, folder)
    for path in sources.lessons:
        sources.write(sources.page(path), nbformat.writes(lesson(path, sources)))
    write_pages(sources)
    return sources


def build(out, root=ROOT, work=ROOT / "build" / "book"):
    """Return Sphinx's exit status: 0 where the site stands in `out`, with every formula and every link to a page."""
    for folder in (out, work / "source"):
        shutil.rmtree(folder, ignore_errors=True)
    for name in write_sources(root, work / "source").missing:
        print(f"note: a lesson links {name}, which is not there (yet)")
    return sphinx(["-q", "-E", "-W", "--keep-going", "-b", "html", "-c", str(Path(__file__).parent),
                   "-d", str(work / "doctrees"), str(work / "source"), str(out)])


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m book.build", description="Build the course as a web site.")
    parser.add_argument("out", nargs="?", metavar="OUT", type=Path, default=ROOT / "build" / "book" / "html",
                        help="the folder of the site (default: build/book/html)")
    out = parser.parse_args(argv).out.resolve()
    if out.exists() and any(out.iterdir()) and not (out / "searchindex.js").exists():
        parser.error(f"{out} holds something else than a site: name an empty or a new folder")
    status = build(out)
    if not status:
        print(f"Open {out / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
