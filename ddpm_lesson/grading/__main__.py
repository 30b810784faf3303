"""python -m ddpm_lesson.grading release | grade | nbgrader: hand out, grade, exchange marks with nbgrader."""

import argparse
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

from . import course, jail, material, notebooks, submissions
from .release import release


def main(argv=None):
    """Return the exit status: 0, 1 when something was not graded, 2 when nothing could be done."""
    parser = argparse.ArgumentParser(prog="python -m ddpm_lesson.grading", description="Homework: hand out, grade.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--salt", metavar="FILE", help="the course's secret: its numbers and hidden inputs are its own")
    common.add_argument("--personal", metavar="ROSTER", help="numbers of their own for all students of this CSV")
    common.add_argument("--folder", metavar="FOLDER", default=material.HOMEWORK,
                        help="where student/ and solution/ are (default: notebooks/homework)")
    hand_out = commands.add_parser("release", parents=[common], help="write the notebooks for students")
    hand_out.add_argument("homework", help="such as hw1")
    hand_out.add_argument("--to", required=True, metavar="FOLDER_OR_ZIP")
    grade = commands.add_parser("grade", parents=[common], help="grade a folder of notebooks, or a zip from an LMS")
    grade.add_argument("submissions", metavar="SUBMISSIONS")
    grade.add_argument("--homework", metavar="NAME", help="such as hw1 (default: what most of the notebooks are)")
    grade.add_argument("--out", metavar="FOLDER", default="graded", help="the marks go to FOLDER/hw1/... (graded)")
    grade.add_argument("--roster", metavar="ROSTER", help="a CSV: student,name, and columns with LMS ids or logins")
    grade.add_argument("--due", metavar="TIME", type=datetime.fromisoformat, help="such as 2026-12-01T23:59")
    grade.add_argument("--jobs", type=int, metavar="N", help="submissions at a time (default: one per core)")
    grade.add_argument("--trust", action="store_true", help="run student code WITHOUT a jail: it can do all you can")
    exchange = commands.add_parser("nbgrader", parents=[common], help="exchange marks with an nbgrader gradebook")
    exchange.add_argument("graded", metavar="FOLDER", help="what `grade` made, such as graded/hw1")
    exchange.add_argument("course", metavar="COURSE", help="nbgrader's folder, with gradebook.db")
    args = parser.parse_args(argv)
    try:
        return {"release": _release, "grade": _grade, "nbgrader": _nbgrader}[args.command](args)
    except (ValueError, OSError, jail.NoJail, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2


def _release(args):
    students = submissions.roster(args.personal) if args.personal else None
    written = release(args.homework, args.to, material.salt(args.salt, make=True), students, args.folder)
    print(f"{len(written)} notebook{'s' * (len(written) > 1)} in {args.to}"
          + (f"; keep {args.salt} secret, and keep it: grading needs it" if args.salt else ""))
    return 0


def _grade(args):
    students = submissions.roster(args.personal or args.roster) if args.personal or args.roster else None
    found = submissions.find(args.submissions)
    name = args.homework or _most(found)
    drawn = material.load(name, material.salt(args.salt), bool(args.personal), args.folder)
    if not args.salt:
        print("No --salt: the numbers and the hidden inputs are the public ones, which anybody can draw.")
    handed_in, folder = submissions.collect(found, students), Path(args.out) / name
    failed = course.grade_all(drawn, handed_in, folder, jobs=args.jobs, trust=args.trust, due=args.due,
                              students=students)
    for student, reason in failed.items():
        print(f"NOT GRADED: {student}: {reason}")
    print(f"{len(handed_in)} submissions; {folder / 'grades.csv'}, {folder / 'summary.html'}, {folder / 'feedback'}")
    return int(bool(failed))


def _most(found):
    """The homework that most of the notebooks are."""
    names = Counter()
    for file in found:
        try:
            if file.path.lower().endswith(".ipynb"):
                cells = notebooks.read(file.read(submissions.NOTEBOOK))
                names.update({name for cell in cells for name in material.START.findall(cell.source)})
        except submissions.Refused:
            pass
    if not names:
        raise ValueError("none of the notebooks says which homework it is: name it with --homework")
    return names.most_common(1)[0][0]


def _nbgrader(args):
    from . import nbgrader  # an extra: pip install ddpm-lesson[homework]

    folder = Path(args.graded)
    drawn = material.load(folder.resolve().name, material.salt(args.salt), bool(args.personal), args.folder)
    print(nbgrader.exchange(drawn, folder, Path(args.course), args.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
