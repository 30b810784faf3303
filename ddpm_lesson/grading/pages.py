"""The pages: one per student, one for the instructor. All text that goes into them is escaped, and no script runs."""

import html
from collections import Counter
from datetime import datetime

from .. import homework

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ border-bottom: 1px solid #ccc; padding: .3em .6em; text-align: left; vertical-align: top }}
td.n, th.n {{ text-align: right; white-space: nowrap }}
pre {{ background: #f5f5f5; padding: .6em; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere }}
td, p, li {{ overflow-wrap: anywhere }}
div {{ overflow-x: auto }} div td {{ white-space: nowrap }}
svg {{ display: block }} svg text {{ font: 11px system-ui, sans-serif }}
</style></head><body>
<h1>{title}</h1>
"""


def escape(text):
    """Text for a page, without what turns the direction of reading around."""
    return html.escape("".join(c for c in str(text) if c in "\n\t" or c.isprintable() or c == "\u3000"))


def feedback(material, record, marks, late):
    """What one student gets to see."""
    last = record["attempts"][-1]
    open_ = sum(mark["points"] is None for mark in marks.values())
    out = [HEAD.format(title=escape(f"{material.homework}: {material.title}")),
           f"<p>{escape(record['name'] or record['student'])} · handed in: {escape(last['file'] or 'no notebook')}"
           f"{escape(_late(late))}</p>", f"<p><strong>{escape(_total(marks))}</strong>",
           f" ({open_} of {len(marks)} answers are still to be read)</p>" if open_ else "</p>",
           "<table><tr><th>question</th><th class=n>points</th><th>what the grader says</th></tr>"]
    for question, mark in marks.items():
        points = "–" if mark["points"] is None else f"{mark['points']:g}"
        note = mark["note"] or "To be read by your instructor."
        out.append(f"<tr><td><a href='#{escape(question)}'>{escape(question)}</a></td><td class=n>{points} of "
                   f"{mark['of']:g}</td><td>{escape(note)}</td></tr>")
    out.append("</table>")
    if last["errors"]:
        out += ["<h2>Cells that failed</h2><ul>", *(f"<li>{escape(e)}</li>" for e in last["errors"]), "</ul>"]
    if len(record["attempts"]) > 1:
        out += ["<h2>Earlier</h2><ul>", *(f"<li>{_when(old)}: {escape(_total(old['marks']))}</li>"
                                           for old in record["attempts"][:-1]), "</ul>"]
    out.append("<h2>What you answered</h2>")
    for question, mark in marks.items():
        out.append(f"<h3 id='{escape(question)}'>{escape(question)}</h3><pre>{escape(mark['answer'])}</pre>")
    return "\n".join(out) + "\n</body></html>\n"


def summary(material, header, rows, all_marks):
    """The instructor's page: how the class did, what went wrong most, and who must be looked at."""
    out = [HEAD.format(title=escape(f"{material.homework}: {material.title}, {len(all_marks)} submissions")),
           "<table><tr><th>question</th><th class=n>mean</th><th>points: how many students</th>"
           "<th>most common</th></tr>"]
    for question, asked in homework.questions(material.homework).items():
        marks = [marks[question] for marks in all_marks.values() if question in marks]
        points = [mark["points"] for mark in marks if mark["points"] is not None]
        notes = Counter(mark["note"] for mark in marks if mark["note"] and mark["points"] != mark["of"])
        common = "".join(f"<li>{count} × {escape(note)}</li>" for note, count in notes.most_common(4))
        mean = f"{sum(points) / len(points):.1f} of {asked.points:g}" if points else f"– of {asked.points:g}"
        waits = f"<p>{len(marks) - len(points)} to be read</p>" if len(points) < len(marks) else ""
        out.append(f"<tr><td>{escape(question)}</td><td class=n>{mean}</td>"
                   f"<td>{_histogram(points, asked.points)}{waits}</td><td><ul>{common}</ul></td></tr>")
    out.append("</table><h2>To be looked at</h2><table><tr><th>student</th><th>why</th></tr>")
    flagged = [row for row in rows if row[-1]]
    out += [f"<tr><td>{escape(row[0])}</td><td>{escape(row[-1])}</td></tr>" for row in flagged or [("nobody", "")]]
    out.append("</table><h2>Marks</h2><div><table><tr>")
    out += [f"<th>{escape(name)}</th>" for name in header[:-1]] + ["</tr>"]
    for row in rows:
        out.append("<tr>" + "".join(f"<td>{escape('–' if cell is None else cell)}</td>" for cell in row[:-1]) + "</tr>")
    return "\n".join(out) + "</table></div>\n</body></html>\n"


def _histogram(points, most):
    """Bars of how many got how much, as SVG with a text for those who do not see it."""
    counts = Counter(min(int(p), int(most)) for p in points)
    told = ", ".join(f"{p}: {counts[p]}" for p in sorted(counts)) or "none yet"
    width, tallest = 26, max(counts.values(), default=1)
    bars = []
    for k in range(int(most) + 1):
        height = 40 * counts[k] / tallest
        bars.append(f"<rect x='{k * width + 2}' y='{54 - height:.1f}' width='{width - 4}' height='{height:.1f}' "
                    f"fill='#0072b2'/><text x='{k * width + width / 2}' y='66' text-anchor='middle'>{k}</text>")
        bars.append(f"<text x='{k * width + width / 2}' y='{51 - height:.1f}' text-anchor='middle'>{counts[k]}</text>"
                    if counts[k] else "")
    return (f"<svg width='{(int(most) + 1) * width}' height='70' role='img' aria-label='{escape(told)}'>"
            f"{''.join(bars)}</svg>")


def _total(marks):
    points, of = sum(mark["points"] or 0 for mark in marks.values()), sum(mark["of"] for mark in marks.values())
    return f"{points:g} of {of:g} points"


def _late(late):
    return "" if not late else ", late" if late == "late" else f", {late:g} hours late"


def _when(attempt):
    return datetime.fromtimestamp(attempt["graded"]).strftime("%Y-%m-%d %H:%M")
