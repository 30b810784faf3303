"""Build the homework: src/hwN_name.py -> student/hwN_name.ipynb (committed) and solution/hwN_name.ipynb (the grader's).

`python -m notebooks.build` does it. The solution is the complete notebook, executed, with the cells tagged `hidden`,
whose functions draw the grader's inputs. It stays on the instructor's machine.
"""

import ast
import copy
import re

import nbformat

from ddpm_lesson import homework
from notebooks.build import ROOT, BuildError, cut_cell, execute, load, scrub, tags

BLANK = "*Your answer here.*"


def student_copy(nb, lines):
    """Return the notebook that a student gets: no answers, no hidden cells, and nbgrader's metadata."""
    student, path = copy.deepcopy(nb), nb.metadata.ddpm_lesson.source
    name = path.rsplit("/", 1)[-1].partition("_")[0]
    table, seen = homework.questions(name), []
    student.cells = [cell for cell in student.cells if not {"hidden", "solution", "answer"} & set(tags(cell))]
    for cell in student.cells:
        where, is_code = f"{path}:{lines[cell.id]}", cell.cell_type == "code"
        answers = [tag.removeprefix("exercise:") for tag in tags(cell) if tag.startswith("exercise:")]
        marked = re.search("(BEGIN|END) SOLUTION", cell.source)
        if bool(marked) != bool(answers) or len(answers) > 1:
            raise BuildError(f"{where}: an answer has one tag exercise:{name}.qN and a marked solution")
        grader = {"schema_version": 3, "grade": False, "solution": False, "locked": True, "task": False}
        if not answers:
            cell.metadata.update({"nbgrader": grader | {"grade_id": cell.id}} if is_code else {})
            continue
        (question,) = answers
        seen.append(question)
        if question not in table or is_code is not bool(table[question].call):
            raise BuildError(f"{where}: {question} must be in exercises/{name}.py, with a call if its cell is code")
        cell.metadata["nbgrader"] = grader | {
            "grade": True, "solution": True, "locked": False, "points": table[question].points,
            "grade_id": question.replace(".", "-")}  # nbgrader's pages use it where a dot means something
        cell.metadata["deletable"] = False
        if is_code:
            try:
                cell.source = f"# grade_id: {question}\n" + cut_cell(cell.source, question, path, lines[cell.id])
                ast.parse(cell.source)
            except SyntaxError as error:
                raise BuildError(f"{where}: the markers cut a statement in two: {error.msg}") from None
        else:
            blank = re.sub(r"(?s)<!-- BEGIN SOLUTION -->.*?<!-- END SOLUTION -->", BLANK, cell.source)
            if blank.count(BLANK) != 1 or "SOLUTION" in blank:
                raise BuildError(f"{where}: {question} needs one <!-- BEGIN SOLUTION --> ... <!-- END SOLUTION -->")
            cell.source = f"<!-- grade_id: {question} -->\n{blank}"
    if sorted(seen) != sorted(table):
        raise BuildError(f"{path}:1: answer cells for {sorted(seen)}, but the table has {sorted(table)}")
    source = "\n".join(cell.source for cell in student.cells if cell.cell_type == "code")
    start = f'numbers, check = start("{name}", key="public", student="")'
    if source.count(start) != 1:
        raise BuildError(f"{path}:1: want one line {start}")
    return student


def paths(source):
    """Return the paths of the student copy and of the solution of a source."""
    return [source.parents[1] / folder / f"{source.stem}.ipynb" for folder in ("student", "solution")]


def build(source, root=ROOT, run=True):
    """Write the student copy and the solution of a source, or neither. run=False does not execute the solution."""
    nb, lines = load(source, root)
    student = student_copy(nb, lines)
    if run:
        execute(nb, lines)
        scrub(nb)
        printed = "".join(output.get("text", "") for cell in nb.cells for output in cell.get("outputs", []))
        if wrong := re.findall(r"(?m)^hw\d+\.q\d+: (?!right\.|this one is).*", printed):
            raise BuildError(f"{nb.metadata.ddpm_lesson.source}:1: the solution is not right:\n" + "\n".join(wrong))
    for path, notebook in zip(paths(source), (student, nb), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(nbformat.writes(notebook) + "\n", "utf-8", newline="\n")


def check(source, root=ROOT):
    """Raise BuildError when the student copy of a source is missing, stale or altered."""
    path = paths(source)[0]
    if not path.exists() or path.read_text("utf-8") != nbformat.writes(student_copy(*load(source, root))) + "\n":
        raise BuildError(f"{path.relative_to(root)} is missing, stale or was edited by hand: "
                         f"run python -m notebooks.build {source.stem}")


def check_together(sources, root=ROOT):
    """Raise BuildError for a student copy without a source."""
    expected = {paths(source)[0] for source in sources}
    orphans = sorted(set((root / "notebooks/homework/student").glob("*.ipynb")) - expected)
    if orphans:
        raise BuildError("\n".join(f"{path.relative_to(root)} has no source: delete it" for path in orphans))
