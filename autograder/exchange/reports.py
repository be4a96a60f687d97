"""What comes out of grading: a table, one JSON for all, Gradescope's results.json, and feedback as HTML."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from autograder.assignment.source import Assignment
from autograder.grading.many import Grade
from autograder.grading.result import Result
from course_lib.files import check_destination, check_folder, write_atomically

HERE = Path(__file__).parent


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


def feedback(grade: Grade, assignment: Assignment) -> str:
    """A page for the student: what each task gave, and what to read where it gave less; of causes and consequences the cause first.

    All text is escaped, and nothing on the page comes from another host.
    """
    result, title = grade.result, str(assignment.course["title"])
    about: dict[str, Any] = {"title": title, "student": plain(grade.student), "problem": plain(grade.problem)}
    if result is not None:
        by_hand = assignment.by_hand
        about |= {
            "score": f"{result.score():g}",
            "worth": f"{result.worth():g}",
            "manual": f"{sum(by_hand.values()):g}" if by_hand else "",
            "by_hand": ", ".join(map(plain, by_hand)),
            "cell_errors": [plain(error) for error in result.cell_errors],
            "tasks": [task_of(result, task) for task in dict.fromkeys(test.task for test in result.tests)],
        }
    templates = Environment(autoescape=True, loader=FileSystemLoader(HERE), trim_blocks=True, undefined=StrictUndefined)
    return templates.get_template("feedback.html.jinja").render({"manual": "", "cell_errors": [], "tasks": [], **about})


def task_of(result: Result, task: str) -> dict[str, Any]:
    """What the page says of one task: its points, the tests that failed, and those that passed."""
    tests = [test for test in result.tests if test.task == task]
    shown = [
        (
            test.passed,
            {
                "name": named(test.name.removeprefix("test_")),
                "worth": f"{test.worth:g}",
                "message": plain(test.message),
            },
        )
        for test in tests
    ]
    return {
        "name": plain(task),
        "score": f"{result.score(task):g}",
        "worth": f"{result.worth(task):g}",
        "failed": [test for passed, test in shown if not passed],
        "passed": [test for passed, test in shown if passed],
    }


def named(name: str) -> str:
    """The name of a test as one reads it."""
    return plain(name).replace("_", " ")


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


def write_reports(grades: list[Grade], assignment: Assignment, places: Places) -> None:
    """Write what was asked for: below each folder STUDENT/ASSIGNMENT/, so that a term's assignments lie side by side.

    A student's name was the name of a folder, so it can be one again.
    """
    if places.json_file:
        write_atomically(places.json_file, as_json(grades))
    for grade in grades:
        if places.feedback:
            write_atomically(
                places.feedback / grade.student / assignment.name / "feedback.html",
                feedback(grade, assignment).encode(),
            )
        if places.gradescope and grade.result is not None:
            text = json.dumps(gradescope(grade.result), indent=1)
            write_atomically(
                places.gradescope / grade.student / assignment.name / "results.json", text.encode() + b"\n"
            )
