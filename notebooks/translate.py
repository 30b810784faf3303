"""A lesson in another language: src/zh/NN_name.md holds its texts, src/NN_name.py its code, which all languages share.

Each text stands below `<!-- KEY -->`, and KEY belongs to the English text: when that changes, the key fits no longer,
and the build fails until somebody has looked at the translation again.

    python -m notebooks.translate [NAME ...]     write all translations, from the English notebooks as they are built
    python -m notebooks.translate NAME --keys    print the English texts with their keys, for a translator to write over
"""

import argparse
import copy
import hashlib
import re
import sys

KEY = re.compile(r"^<!-- ([0-9a-f]{8}) -->$\n", re.M)
BADGE = re.compile(r"\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)\n\n")  # at the top of a lesson; it is no text
# What a translation may not change: formulas but for the words in them, names of code, and where links go, except
# those between languages (zh/..., ../...).
SAME = re.compile(r"\$\$.+?\$\$|\$.+?\$|`[^`\n]+`|\]\((?![a-z.]+/)[^)\s]+\)", re.S)


def key(text):
    """Return what stands for an English text in a translation: it changes with every character."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def fixed(text):
    """Return what a text and its translation have in common."""
    return {re.sub(r"\\text\{[^}]*\}", r"\\text", part) for part in SAME.findall(text)}


def texts(nb):
    """Return the English texts of a notebook in their order, those of cells without a badge, and figures' alt texts."""
    found = []
    for cell in nb.cells:
        found += [BADGE.sub("", cell.source, count=1)] if cell.cell_type == "markdown" else []
        found += [cell.metadata.alt] if "alt" in cell.metadata else []
    return found


def read(path):
    """Return the translated texts of a file by key, and the line of each."""
    _, *parts = KEY.split(path.read_text("utf-8"))
    written = dict(zip(parts[::2], (part.strip("\n") for part in parts[1::2]), strict=True))
    lines = [number for number, line in enumerate(path.read_text("utf-8").splitlines(), 1) if KEY.match(line + "\n")]
    return written, dict(zip(parts[::2], lines, strict=True))


def translate(nb, path):
    """Return the notebook with the texts of path in place of the English ones, and a list of what does not fit.

    Code and outputs stay. Links to lessons without a translation lead one folder up, to the English ones.
    """
    written, lines = read(path)
    english = {key(text): text for text in texts(nb)}
    problems = [f"{path.name}: no text <!-- {one} --> for: {text[:60]!r}"
                for one, text in english.items() if one not in written]
    problems += [f"{path.name}:{lines[one]}: no English text has the key {one}: it has changed, or is gone"
                 for one in written if one not in english]
    for one in english.keys() & written.keys():
        differ = sorted(fixed(english[one]) ^ fixed(written[one]))
        problems += [f"{path.name}:{lines[one]}: only one of both languages has {', '.join(differ)}"] if differ else []
        problems += [f"{path.name}:{lines[one]}: still English"] if written[one] == english[one] else []
    if problems:
        return None, problems

    def lead_up(link):
        return link[0] if (path.parent / f"{link[1]}.md").exists() else f"](../{link[1]}.ipynb)"

    nb, language = copy.deepcopy(nb), path.parent.name
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            badge = BADGE.match(cell.source)
            badge = badge[0].replace("/notebooks/student/", f"/notebooks/student/{language}/") if badge else ""
            text = written[key(BADGE.sub("", cell.source, count=1))]
            cell.source = badge + re.sub(r"\]\((\d\d[a-z]?_\w+)\.ipynb\)", lead_up, text)
        if "alt" in cell.metadata:
            cell.metadata.alt = written[key(cell.metadata.alt)]
        for output in cell.get("outputs", []):
            for mime in output.get("metadata", {}).values():
                if isinstance(mime, dict) and "alt" in mime:
                    mime["alt"] = cell.metadata.alt
    nb.metadata.ddpm_lesson.note = f"generated from {nb.metadata.ddpm_lesson.source} and {path.name}; do not edit"
    return nb, []


def main(argv=None, root=None):
    """Return the exit status: 1 after printing every problem, else 0."""
    from . import build  # here, because build imports this module

    parser = argparse.ArgumentParser(prog="python -m notebooks.translate", description="Write the translated lessons.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="a lesson, such as 02_forward (default: all)")
    parser.add_argument("--keys", action="store_true", help="write nothing; print the English texts with their keys")
    args, root = parser.parse_args(argv), root or build.ROOT
    sources = sorted((root / "notebooks/src").glob("*.py"))
    if unknown := set(args.names) - {source.stem for source in sources}:
        parser.error(f"no lesson {sorted(unknown)}; there are {[source.stem for source in sources]}")
    failed = False
    for source in (source for source in sources if source.stem in args.names or not args.names):
        try:
            if args.keys:
                print("\n".join(f"<!-- {key(text)} -->\n{text}\n" for text in texts(build.load(source, root)[0])))
            else:
                build.check(source, root, languages=False)
                build.write_translations(source, root)
        except build.BuildError as error:
            print(error)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
