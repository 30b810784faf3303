"""The pages that are no lesson: the formula sheet, the errata and the citation, made from the files that hold them."""

import html
import re
import shutil
from pathlib import Path

import nbformat
import yaml

from ddpm_lesson.register import claims, errata, register
from notebooks.formula_sheet import first_tests

from .explorers import LIVE, explorer
from .lessons import tagged
from .mathml import mathml

SEVERITY = {"missing-condition": "a condition is missing"}
NAMES = {"kl": "KL divergence", "vae": "VAE", "ddpm": "DDPM", "elbo": "ELBO:", "gaussian": "Gaussian",
         "langevin": "Langevin"}
SHEET = """# Formula sheet

Every formula of the five lectures in its correct form, by topic. The numbers beside the formulas of the lessons lead
here. A source is *lecture:line*, and ✎ marks a place where the lecture prints another form: it leads to the
[errata](errata.md). Notation: $t=1..T$, $\\bar\\alpha_0=1$, variances in the last entry of $\\mathcal N$.
"""
ERRATA = """# Errata of the lectures

Places where one of the five lectures prints a form that does not hold, by lecture and place, with the form that does.
Each has a test that shows the printed form fail and the corrected one hold. Lesson
[11](11_proofreading.ipynb) shows how to notice them. No lecture is without slips, and neither is this course: if you
find one here, please tell us.
"""


def write_pages(sources):
    """Write every page that is no lesson."""
    here = Path(__file__).parent
    for path in sources.texts:
        sources.write(sources.page(path), sources.relink(path.read_text("utf-8"), path))
    sources.write("formula_sheet.md", formula_sheet(sources))
    sources.write("errata.md", errata_table())
    sources.write("explorers.md", explorers(sources, (here / "explorers.md").read_text("utf-8")))
    sources.write("cite.md", cite(sources))
    sources.write("index.md", index(sources, (here / "index.md").read_text("utf-8")))
    shutil.copy(sources.notebooks / "figures" / "forward.png", sources.folder)


def title(path):
    """The title of a lesson or of a text."""
    text = nbformat.read(path, 4).cells[0].source if path.suffix == ".ipynb" else path.read_text("utf-8")
    return re.search("^# (.*)", text, re.M)[1]


def where_taught(sources):
    """Claim id -> the English lessons that have a cell for it."""
    found = {}
    for path in sources.lessons:
        if path.parent == sources.notebooks:
            ids = {claim for cell in nbformat.read(path, 4).cells for claim in tagged(cell, "claim:")}
            for claim in ids:
                found.setdefault(claim, []).append(path)
    return found


def formula_sheet(sources):
    """Every claim of the register, with an anchor of its name."""
    tests, taught, parts, topic = first_tests(), where_taught(sources), [SHEET], None
    topics = list(dict.fromkeys(claim["topic"] for claim in claims().values()))
    for number, claim in sorted(claims().items(), key=lambda item: topics.index(item[1]["topic"])):
        if claim["topic"] != topic:
            topic = claim["topic"]
            words = " ".join(NAMES.get(word, word) for word in topic.split("-"))
            parts.append(f"## {words[0].upper()}{words[1:]}")
        wrong = {erratum["id"].rstrip("abcd"): erratum["id"] for erratum in claim.get("errata", [])}
        places = [f"{place['lecture']}:{line}" for place in claim["places"] for line in place["lines"]]
        shown = [f'<a href="errata.html#{anchor(wrong[p])}">{p} ✎</a>' if p in wrong else p
                 for p in places if p in wrong or p == places[0]]
        more = f" and {len(places) - len(shown)} more" * (len(places) > len(shown))
        facts = [f"Stated in {', '.join(shown)}{more}"]
        lessons = ", ".join(f'<a href="{path.stem}.html#{number}">{title(path).split(" · ")[0]}</a>'
                            for path in taught.get(number, []))
        facts += [f"taught in {lessons}"] if lessons else []
        if number in tests:
            file = sources.github(sources.root / "tests" / tests[number][0])
            words = "::".join(tests[number])
            facts.append(f'tested by <a href="{file}">{words}</a>' if file else f"tested by <code>{words}</code>")
        parts.append(f"({number})=\n{{.claim}}\n**{number}** · {claim['kind'].replace('-', ' ')}\n\n"
                     f"$${claim['formula']}$$\n\n{{.facts}}\n{'; '.join(facts)}.")
    lectures = "\n".join(f"- **{name}** {words}" for name, words in register()["lectures"].items())
    return "\n\n".join([*parts, "## The lectures", lectures])


def anchor(erratum):
    """An erratum's id as an anchor."""
    return "e-" + erratum.replace(":", "-")


def errata_table():
    """The errata, one table for each lecture, in the order of its lines."""
    parts = [ERRATA]
    for lecture, words in register()["lectures"].items():
        rows = [e for e in errata().values() if e["lecture"] == lecture]
        if not rows:
            continue
        parts.append(f"## Lecture {lecture}\n\n{words}: {len(rows)} place{'s' * (len(rows) > 1)}.")
        rows = "".join(row(e) for e in sorted(rows, key=lambda e: (int(e["id"][4:].rstrip("abcd")), e["id"])))
        parts.append('<table class="errata"><thead><tr><th scope="col">Place</th><th scope="col">Printed, and corrected'
                     f"</th></tr></thead><tbody>{rows}</tbody></table>")
    return "\n\n".join(parts)


def row(e):
    """One erratum as a row."""
    notes = [SEVERITY.get(e["severity"], e["severity"])]
    notes += ["also at " + ", ".join(map(str, e["also_at"]))] if e.get("also_at") else []
    notes += ["perhaps a slip of the transcription"] if e.get("transcription") else []
    return (f'<tr id="{anchor(e["id"])}"><th scope="row"><a href="formula_sheet.html#{e["claim"]}">{e["id"]}</a>'
            f'<span class="where">{prose(e["where"])}</span><span class="note">{"; ".join(notes)}</span></th>'
            f'<td><div class="printed"><span class="mark">printed</span> {prose(e["printed"])}</div>'
            f'<div class="correct"><span class="mark">correct</span> {prose(e["correct"])}</div></td></tr>')


def prose(text):
    """The HTML of words with formulas between dollars, or of one formula without them."""
    text = text if "$" in text or not re.search(r"\\|_", text) else f"${text}$"
    parts = text.split("$")
    for k, part in enumerate(parts):
        lines = re.split(r"\\\\", part.replace("&", "")) if k % 2 else [part]
        parts[k] = "<br>".join(mathml(line) for line in lines if line.strip()) if k % 2 else html.escape(part)
    return "".join(parts)


def explorers(sources, text):
    """The page of explorers, each with a link to the last lesson that has it."""
    for name in LIVE:
        *_, (path, alt) = ((path, cell.metadata.alt) for path in sources.lessons if path.parent == sources.notebooks
                           for cell in nbformat.read(path, 4).cells if f"widgets.{name}_explorer()" in cell.source)
        text = text.replace(f"{{{name}}}", f"{explorer(name, alt)}\n\nFrom lesson [{title(path)}]({path.name}).")
    return text


def cite(sources):
    """CITATION.cff for people: a sentence and BibTeX."""
    citation = yaml.safe_load((sources.root / "CITATION.cff").read_text("utf-8"))
    names = [a.get("name") or f"{a['family-names']}, {a['given-names']}" for a in citation["authors"]]
    where = citation.get("url") or citation.get("repository-code") or sources.github(sources.root, "tree")
    fields = {"title": f"{{{citation['title']}}}", "author": " and ".join(f"{{{name}}}" for name in names),
              "version": citation["version"], "year": str(citation.get("date-released", ""))[:4], "url": where,
              "doi": citation.get("doi")}
    lines = "".join(f"  {key} = {{{value}}},\n" for key, value in fields.items() if value)
    lectures = "\n".join(f"- **{name}** {words}" for name, words in register()["lectures"].items())
    return (f"# Cite the course\n\n{citation['message']}\n\n> {'; '.join(names)}. *{citation['title']}*. "
            f"Version {citation['version']}.\n\n```bibtex\n@software{{ddpm_lesson,\n{lines}}}\n```\n\n"
            f"The licence is {citation['license']}. The lectures that it follows:\n\n{lectures}\n\n"
            "And the paper: Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS 2020.\n")


def index(sources, text):
    """The front page, with the lists of pages that the side bar shows."""
    languages = sorted({path.parent.name for path in sources.lessons} - {sources.notebooks.name})
    names = {"zh": "中文"}
    trees = [("Lessons", ["[0-9]*"]),
             ("Look things up", ["explorers", "formula_sheet", "errata", "glossary", "[a-z]*"])]
    trees += [(names.get(language, language), [f"{language}/*"]) for language in languages]
    for caption, entries in trees:
        text += (f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n" + "\n".join(entries) + "\n```\n")
    return text
