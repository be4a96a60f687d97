"""What comes out of grading: a table, one JSON for all, Gradescope's results.json, and feedback as HTML."""

import html
import json
from pathlib import Path
from typing import Any, NamedTuple

from autograder.grading.many import Grade
from autograder.grading.result import Result, TestResult
from course_lib.files import check_destination, check_folder, write_atomically


def plain(text: str) -> str:
    """A text without control characters, which could move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def as_json(grades: list[Grade]) -> bytes:
    """All grades, sorted by student."""
    entries = [
        {
            "student": grade.student,
            "score": None if grade.result is None else grade.result.score(),
            "worth": None if grade.result is None else grade.result.worth(),
            "problem": grade.problem,
            "result": None if grade.result is None else grade.result.as_dict(),
        }
        for grade in sorted(grades, key=lambda grade: grade.student)
    ]
    return json.dumps(entries, indent=1).encode() + b"\n"


def gradescope(result: Result) -> dict[str, Any]:
    """A result in Gradescope's format; every test is visible, since a hidden one would hide the student's total."""
    tests = [
        {
            "name": plain(test.name),
            "score": test.worth if test.passed else 0.0,
            "max_score": test.worth,
            "status": "passed" if test.passed else "failed",
            "output": plain(test.message),
            "output_format": "text",
            "visibility": "visible",
        }
        for test in result.tests
    ]
    output = plain("\n\n".join(result.cell_errors)) or "Every cell ran."
    return {
        "score": result.score(),
        "execution_time": result.seconds,
        "output": output,
        "output_format": "text",
        "tests": tests,
    }


def row(test: TestResult) -> str:
    """One test as a line of the feedback's table."""
    kind, points = ("passed", test.worth) if test.passed else ("failed", 0)
    task, name, message = (html.escape(plain(text)) for text in (test.task, test.name, test.message))
    cells = (task, name, f"{points:g} of {test.worth:g}", f"<pre>{message}</pre>")
    return f'<tr class="{kind}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def feedback(grade: Grade, title: str) -> str:
    """A page for the student: what each task gave, and what to read where it gave less. All text is escaped."""
    name = html.escape(plain(grade.student))
    if grade.result is None:
        body = f"<p>This submission could not be graded: {html.escape(plain(grade.problem))}</p>"
    else:
        rows = "".join(map(row, grade.result.tests))
        errors = "".join(f"<pre>{html.escape(plain(error))}</pre>" for error in grade.result.cell_errors)
        body = (
            f"<p><strong>{grade.result.score():g} of {grade.result.worth():g} points</strong> from the tests.</p>"
            f"<table><thead><tr><th>task</th><th>test</th><th>points</th><th>what it says</th></tr></thead><tbody>{rows}</tbody></table>"
            + (f"<h2>Cells that failed</h2>{errors}" if errors else "")
        )
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
        "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem;border-bottom:1px solid #8884;vertical-align:top}"
        "pre{white-space:pre-wrap;margin:0}.failed td:nth-child(3){color:#c4401c}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}: {name}</title><style>{style}</style></head>"
        f"<body><h1>{html.escape(title)}</h1><p>{name}</p>{body}</body></html>\n"
    )


class Places(NamedTuple):
    """Where reports go: one JSON file for all, and below a folder each a page and Gradescope's results for each student."""

    json_file: Path | None = None
    feedback: Path | None = None
    gradescope: Path | None = None

    def check(self) -> None:
        """Raise a ValueError where a report could not be written."""
        if self.json_file:
            check_destination(self.json_file)
        for folder in (self.feedback, self.gradescope):
            if folder:
                check_folder(folder)


def write_reports(grades: list[Grade], title: str, places: Places) -> None:
    """Write what was asked for. A student's name was the name of a folder, so it can be one again."""
    if places.json_file:
        write_atomically(places.json_file, as_json(grades))
    for grade in grades:
        if places.feedback:
            write_atomically(places.feedback / grade.student / "feedback.html", feedback(grade, title).encode())
        if places.gradescope and grade.result is not None:
            text = json.dumps(gradescope(grade.result), indent=1)
            write_atomically(places.gradescope / grade.student / "results.json", text.encode() + b"\n")
