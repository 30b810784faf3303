"""Build the lessons, one way: src/NN_name.py -> NN_name.ipynb (executed) and student/NN_name.ipynb (no answers).

    python -m notebooks.build [NAME ...]            execute and write; all lessons and homework when no name is given
    python -m notebooks.build [NAME ...] --check    execute nothing; list what is stale or over a limit
"""

import argparse
import ast
import base64
import copy
import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat

from .translate import translate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 300  # seconds a cell may run
PERCENT = {"extension": ".py", "format_name": "percent", "comment_magics": False}
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
# A closed list, because a misspelt "solution" would hand the answer to the students.
TAG = re.compile(r"(claim|erratum):\S+|exercise:\d+\.\d+|solution|answer|knobs|plumbing|nbval-ignore-output")
HOMEWORK_TAG = re.compile(r"exercise:hw\d+\.q\d+|hidden|solution|answer|knobs|plumbing")
SET_UP = """\
import importlib.util{imports}

import matplotlib.pyplot as plt

if importlib.util.find_spec("ddpm_lesson") is None:
    {missing}
plt.style.use("ddpm_lesson.lesson")"""
NOT_HERE = "ddpm_lesson is not installed here: start Jupyter with the README's first command"
# A tag, not the wheel of a release: it is one name, serves a fork as well, and does not wait for a release to finish.
# It costs the seconds in which pip builds the wheel. pip keeps what fits the ranges: Colab's torch stays.
INSTALL = """\
subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", "git+{url}@{ref}"])
    importlib.invalidate_caches()"""


class BuildError(Exception):
    """What stops a build: one or more lines of `file:line: what is wrong`."""


def built(source, language=""):
    """Return the paths of the complete notebook and of the student copy of a source."""
    folder, name = source.parents[1], f"{source.stem}.ipynb"
    return folder / language / name, folder / "student" / language / name


def parse(source):
    """Return the syntax tree of a source."""
    try:
        return ast.parse(source.read_text("utf-8"))
    except SyntaxError as error:
        raise BuildError(f"{source.name}:{error.lineno}: {error.msg}") from None


def tags(cell):
    return cell.metadata.get("tags", [])


def set_up(student, root):
    """Return the code of the set-up cell, and the Colab badge of a student copy ("" while no repository is set)."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["ddpm-lesson"]
    repository, ref = settings["repository"], settings["ref"]
    if not repository:
        return SET_UP.format(imports="", missing=f'raise ModuleNotFoundError("{NOT_HERE}")'), ""
    if not ref:
        raise BuildError("pyproject.toml: [tool.ddpm-lesson] has a repository but no ref")
    install = INSTALL.format(url=f"https://github.com/{repository}", ref=ref)
    colab = "https://colab.research.google.com"
    link = f"{colab}/github/{repository}/blob/{ref}/{student.relative_to(root).as_posix()}"
    badge = f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({link})\n\n"
    return SET_UP.format(imports="\nimport subprocess\nimport sys", missing=install), badge


def load(source, root=ROOT):
    """Return the complete notebook of a source, not executed, and by cell id the line where each cell starts."""
    parse(source)
    text, path = source.read_text("utf-8"), source.relative_to(root).as_posix()
    cells = jupytext.reads(text, PERCENT).cells
    starts = [number for number, line in enumerate(text.splitlines(), 1) if line.startswith("# %%")]
    kinds = [cell.cell_type for cell in cells]
    name = re.match(r"((?P<lesson>\d\d)[a-z]?|(?P<homework>hw\d+))_", source.name)
    if not name or len(starts) != len(cells) or kinds[:1] != ["markdown"]:
        raise BuildError(f"{path}:1: want NN_name.py: '# %% [markdown]' and the title first, '# %%' at cells only")
    prefix, known = name["lesson"] or name["homework"], TAG if name["lesson"] else HOMEWORK_TAG
    code, badge = set_up(built(source)[1], root)
    cells[0].source = badge + cells[0].source
    cells.insert(1, nbformat.v4.new_code_cell(code, metadata={"tags": ["setup"]}))
    starts.insert(1, starts[0])
    new = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    nb, lines = nbformat.v4.new_notebook(nbformat_minor=5), {}
    for index, (cell, line) in enumerate(zip(cells, starts, strict=True)):
        metadata = {key: value for key, value in cell.metadata.items() if not key.startswith("lines_to_")}
        unknown = [key for key in metadata if key not in ("tags", "alt")]
        unknown += [tag for tag in tags(cell) if not known.fullmatch(tag) and index != 1]
        unknown += [cell.cell_type] if cell.cell_type not in new else []
        if unknown:
            raise BuildError(f"{path}:{line}: unknown in a cell header: {', '.join(unknown)}")
        nb.cells.append(new[cell.cell_type](cell.source, id=f"{prefix}-{index:03d}", metadata=metadata))
        lines[nb.cells[-1].id] = line
    origin = {"source": path, "sha256": hashlib.sha256((text + badge + code).encode()).hexdigest()}
    origin["note"] = f"generated from {path}; do not edit"
    nb.metadata.update(kernelspec=KERNEL, language_info={"name": "python"}, ddpm_lesson=origin)
    return nbformat.from_dict(nb), lines


def cut(nb, lines):
    """Return the student copy of a notebook that is not executed: no answers, stubs in place of solutions."""
    student, path, lesson = copy.deepcopy(nb), nb.metadata.ddpm_lesson.source, int(nb.cells[0].id[:2])
    student.cells = [cell for cell in student.cells if not {"solution", "answer"} & set(tags(cell))]
    for cell in student.cells:
        where, is_code = f"{path}:{lines[cell.id]}", cell.cell_type == "code"
        exercises = [tag.removeprefix("exercise:") for tag in tags(cell) if tag.startswith("exercise:")]
        marked = re.search("(BEGIN|END) SOLUTION", cell.source)
        if any(int(exercise.split(".")[0]) != lesson for exercise in exercises):
            raise BuildError(f"{where}: exercise {exercises[0]} does not start with the lesson's number {lesson}")
        if marked and (len(exercises) != 1 or not is_code):
            raise BuildError(f"{where}: solution markers need a code cell with one tag exercise:{lesson}.N")
        if exercises and is_code and not marked:
            raise BuildError(f"{where}: exercise {exercises[0]} has no # BEGIN SOLUTION ... # END SOLUTION")
        if marked:
            try:
                cell.source = cut_cell(cell.source, exercises[0], path, lines[cell.id])
                ast.parse(cell.source)
            except SyntaxError as error:
                raise BuildError(f"{where}: the markers cut a statement in two: {error.msg}") from None
    return student


def cut_cell(code, exercise, path, start):
    """Return the code of an exercise with a stub in place of every marked solution."""
    kept, solution, indent = [], None, ""
    for number, line in enumerate(code.splitlines(), start + 1):
        if line.strip() == "# BEGIN SOLUTION" and solution is None:
            solution, indent = [], line[: line.index("#")]
        elif line == f"{indent}# END SOLUTION" and solution is not None:
            kept += stub(solution, indent, exercise, f"{path}:{number}")
            solution = None
        elif "BEGIN SOLUTION" in line or "END SOLUTION" in line:
            raise BuildError(f"{path}:{number}: nested, unbalanced or misspelt marker: {line.strip()}")
        elif solution is None:
            kept.append(line)
        else:
            solution.append(line)
    if solution is not None:
        raise BuildError(f"{path}:{start}: exercise {exercise} has no # END SOLUTION")
    return "\n".join(kept)


def stub(solution, indent, exercise, where):
    """Return the lines that stand for a solution: an error inside a function, `name = ...` at column 0."""
    if indent:
        return [f'{indent}raise NotImplementedError("Exercise {exercise}")']
    names = {}  # a dict keeps the order
    for node in ast.parse("\n".join(solution)).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for target in getattr(node, "targets", None) or [node.target]:
                inner = (n for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
                names.update((name.id, f"{name.id} = ...  # your answer") for name in inner)
    if not names:
        raise BuildError(f"{where}: exercise {exercise} leaves nothing to fill in: no name is assigned at column 0")
    return list(names.values())


def execute(nb, lines):
    """Run a notebook in place: a fresh kernel of this Python in an empty folder."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    started = []
    # Without kernel folders "python3" is ipykernel's own spec, that is sys.executable, whatever a user has installed.
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    # What is stored is the full lesson with inline figures, also where a shell sets these two.
    env = {key: value for key, value in os.environ.items() if key not in ("SMOKE", "MPLBACKEND")}
    client = NotebookClient(nb, km=kernel, timeout=TIMEOUT, record_timing=False, store_widget_state=False)
    client.coalesce_streams = True  # a long print arrives in pieces that differ from run to run
    client.on_cell_start = lambda cell, cell_index: started.append(cell)
    try:
        with tempfile.TemporaryDirectory() as empty:
            client.execute(cleanup_kc=True, cwd=empty, env=env)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        cell, message = started[-1], getattr(error, "traceback", str(error))
        message = re.sub(r"\x1b\[[0-9;]*m", "", message)  # the colours of the traceback
        inside = re.search(r"Cell In\[\d+\], line (\d+)", message)
        line = lines[cell.id] + int(inside[1] if inside else 0)
        raise BuildError(f"{nb.metadata.ddpm_lesson.source}:{line}: cell {cell.id} failed\n{message}") from None


def scrub(nb):
    """Take out of an executed notebook, in place, what varies by machine, and give every image its alt text."""
    nb.metadata.language_info = {"name": "python"}
    for cell in (cell for cell in nb.cells if cell.cell_type == "code"):
        if "nbval-ignore-output" in tags(cell):  # in any other cell nbval would miss the widget's text
            views = [output for output in cell.outputs if output.get("data", {}).pop(WIDGET, None)]
            # Without a kernel a widget is its picture, if it has one.
            cell.outputs = [o for o in cell.outputs if o not in views or set(o.data) > {"text/plain"}]
        for output in cell.outputs:
            for mime in output.get("data", {}):
                if mime.startswith("image/") and "alt" in cell.metadata:
                    output.metadata.setdefault(mime, {})["alt"] = cell.metadata.alt


def limits(nb, lines, root=ROOT):
    """Return everything an executed notebook may not have, as lines of `file:line: what is wrong`."""
    path = nb.metadata.get("ddpm_lesson", {}).get("source", "?")
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    length = {cell.id: len(cell.source.splitlines()) for cell in code}
    kilobytes = len(nbformat.writes(nb).encode()) / 1000
    sizes = (len(nb.cells), 40, "cells"), (sum(length.values()), 200, "lines of code"), (kilobytes, 600, "kB")
    problems = [f"{path}:1: {size:.0f} {unit}, at most {most}" for size, most, unit in sizes if size > most]
    problems += [f"{path}:1: widget state is stored"] if "widgets" in nb.metadata else []
    for cell in code:
        found = [f"{length[cell.id]} lines of code, at most 25"] if length[cell.id] > 25 else []
        found += ["no execution count, so nbval would compare nothing"] if cell.execution_count is None else []
        mimes = [mime for output in cell.outputs for mime in output.get("data", {})]
        found += ["alt text without an image"] if "alt" in cell.metadata and "image/" not in str(mimes) else []
        found += [problem for output in cell.outputs for problem in wrong_with(output, root)]
        problems += [f"{path}:{lines.get(cell.id, 1)}: cell {cell.id}: {problem}" for problem in found]
    return problems


def wrong_with(output, root):
    """Return what a stored output may not have."""
    data, found = output.get("data", {}), []
    text = output.get("text", "") or output.get("evalue", "")
    if output.output_type == "error" or output.get("name") == "stderr":
        found.append(f"warns or fails: {text.strip()[:300]}")
    if WIDGET in data:
        found.append("shows a widget: tag the cell nbval-ignore-output")
    for mime, value in data.items():
        if not mime.startswith("image/"):
            text += f"\n{value}"
            continue
        kilobytes = len(value if "svg" in mime else base64.b64decode(value)) / 1000
        found += [f"{mime} of {kilobytes:.1f} kB, at most 60"] if kilobytes > 60 else []
        found += [] if output.metadata.get(mime, {}).get("alt") else ['an image without alt text: # %% alt="..."']
    folders = [Path.home(), Path.cwd(), root, Path(tempfile.gettempdir())]
    folders = {str(path) for folder in folders for path in (folder, folder.resolve()) if path.name}
    places = "|".join(re.escape(folder) for folder in sorted(folders, key=len, reverse=True))
    leak = re.search(rf"\b0x[0-9a-fA-F]{{6,}}|(?<![\w.])({places})\b", text)
    return found + ([f"prints {leak[0]}"] if leak else [])


def build(source, root=ROOT):
    """Write the complete notebook and the student copy of a source, or neither."""
    nb, lines = load(source, root)
    student = cut(nb, lines)
    execute(nb, lines)
    scrub(nb)
    if problems := limits(nb, lines, root):
        raise BuildError("\n".join(problems))
    for path, notebook in zip(built(source), (nb, student), strict=True):
        write(path, nbformat.writes(notebook) + "\n")
    write_translations(source, root)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", newline="\n")


def translated(source, root):
    """Return what the built notebooks of a source are in other languages: the text of each file by its path.

    src/zh/NN_name.md becomes zh/NN_name.ipynb and student/zh/NN_name.ipynb; translate.py tells how.
    """
    nb, lines = load(source, root)
    complete, files = nbformat.read(built(source)[0], as_version=4), {}
    for texts in sorted(source.parent.glob(f"*/{source.stem}.md")):
        (whole, problems), (plain, _) = translate(complete, texts), translate(nb, texts)
        if problems:
            raise BuildError("\n".join(f"{texts.parent.relative_to(root).as_posix()}/{line}" for line in problems))
        for path, notebook in zip(built(source, texts.parent.name), (whole, cut(plain, lines)), strict=True):
            files[path] = nbformat.writes(notebook) + "\n"
    return files


def write_translations(source, root=ROOT):
    for path, text in translated(source, root).items():
        write(path, text)


def check(source, root=ROOT, languages=True):
    """Raise BuildError when a built notebook of a source is missing, stale, altered or over a limit."""
    nb, lines = load(source, root)
    complete, student = built(source)
    names, again = [path.relative_to(root) for path in built(source)], f"run python -m notebooks.build {source.stem}"
    try:
        stored, stored_student = nbformat.read(complete, as_version=4), student.read_text("utf-8")
    except Exception as error:  # nbformat meets a damaged file with nearly any exception
        raise BuildError(f"{names[0]} or {names[1]} is missing or unreadable ({error}): {again}") from None
    same_source = stored.metadata.get("ddpm_lesson", {}).get("sha256") == nb.metadata.ddpm_lesson.sha256
    problems = limits(stored, lines, root)
    for cell in (cell for cell in stored.cells if cell.cell_type == "code"):
        cell.update(outputs=[], execution_count=None)
    if not same_source:
        problems.append(f"{names[0]} is older than its source: {again}")
    elif stored != nb:
        problems.append(f"{names[0]} was edited by hand: {again}")
    if stored_student != nbformat.writes(cut(nb, lines)) + "\n":
        problems.append(f"{names[1]} is stale or was edited by hand: {again}")
    if not problems and languages:
        files = translated(source, root)
        stale = [path for path in files if not path.exists() or path.read_text("utf-8") != files[path]]
        again = f"run python -m notebooks.translate {source.stem}"
        problems += [f"{path.relative_to(root)} is missing or stale: {again}" for path in stale]
    if problems:
        raise BuildError("\n".join(problems))


def check_together(sources, root):
    """Raise BuildError for a name that two lessons define, and for a built notebook without a source."""
    first, problems = {}, []
    for source in sources:
        for node in parse(source).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and first.setdefault(node.name, source) != source:
                problems.append(f"{source.name}:{node.lineno}: {node.name} is also defined in {first[node.name].name}")
    texts = [*(root / "notebooks/src").glob("*/*.md")]
    homeless = [text for text in texts if text.stem not in {source.stem for source in sources}]
    problems += [f"{text.relative_to(root)} translates no lesson" for text in homeless]
    expected = {path for source in sources for path in built(source)}
    expected |= {path for text in texts for path in built(text.parents[1] / text.name, text.parent.name)}
    patterns = "*.ipynb", "student/*.ipynb", "[a-z][a-z]/*.ipynb", "student/[a-z][a-z]/*.ipynb"
    stored = [path for pattern in patterns for path in (root / "notebooks").glob(pattern)]
    orphans = sorted(set(stored) - expected)
    problems += [f"{path.relative_to(root)} has no source: delete it" for path in orphans]
    if problems:
        raise BuildError("\n".join(problems))


def main(argv=None, root=ROOT):
    """Return the exit status: 1 after printing every problem, else 0."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.build", description="Build the lessons.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="a lesson, such as 02_forward (default: all)")
    parser.add_argument("--check", action="store_true", help="execute nothing; fail when a built notebook is stale")
    args = parser.parse_args(argv)
    from notebooks.homework import build as homework
    sources = sorted((root / "notebooks/src").glob("*.py"))
    homeworks = sorted((root / "notebooks/homework/src").glob("*.py"))
    if unknown := set(args.names) - {source.stem for source in sources + homeworks}:
        parser.error(f"no lesson {sorted(unknown)}; there are {[source.stem for source in sources + homeworks]}")
    jobs = [lambda: check_together(sources, root), lambda: homework.check_together(homeworks, root)]
    for source in sources + homeworks:
        module = homework if source in homeworks else sys.modules[__name__]
        work = module.check if args.check else module.build
        jobs += [lambda w=work, s=source: w(s, root)] if source.stem in args.names or not args.names else []
    failed = False
    for job in jobs:
        try:
            job()
        except BuildError as error:
            print(error)
            failed = True
    return int(failed)


if __name__ == "__main__":
    from notebooks.build import main  # this module under its own name, so that there is one BuildError

    sys.exit(main())
