"""Grades from nbgrader's gradebook as a table, which says of each what it is worth: nothing that was not graded is a 0."""

import csv
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.plugins import ExportPlugin

from course_lib.files import check_destination, write_atomically

COLUMNS = (
    *("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"),
    *("status", "raw_score", "late_submission_penalty", "score", "max_score"),
)
FORMULA = "=+-@|%"  # what a formula may begin with
GRADED, BY_HAND, UNGRADED, MISSING = "graded", "needs manual grading", "not graded", "not handed in"


class Csv(ExportPlugin):
    """`nbgrader export`: a row for each student and assignment, its score blank unless all of it was graded.

    The status is "graded"; "needs manual grading" (raw_score holds the points so far); "not graded", where something was handed in
    and has no complete grade; or "not handed in".
    """

    def export(self, gradebook: Gradebook) -> None:
        """Write the table to --to (grades.csv)."""
        destination = Path(self.to or "grades.csv")
        check_destination(destination)
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS)
        table.writeheader()
        for row in self.rows(gradebook):
            table.writerow({name: safe(value) for name, value in row.items()})
        write_atomically(destination, text.getvalue().encode())

    def rows(self, gradebook: Gradebook) -> Iterator[dict[str, Any]]:
        """The rows that were asked for, those of students whom the gradebook does not know yet too."""
        course = self.parent.coursedir  # type: ignore[union-attr]
        known: dict[str, Any] = {str(student.id): student for student in gradebook.students}
        for assignment in gradebook.assignments:
            task = str(assignment.name)
            place = Path(course.format_path(course.submitted_directory, "*", task))
            handed_in = {folder.parent.name for folder in place.parents[1].glob(f"*/{task}")}
            for name in sorted({*known, *handed_in}):
                if wanted(self.assignment, task) and wanted(self.student, name):
                    student = {key: getattr(known.get(name), key, None) for key in ("last_name", "first_name", "email")}
                    about = {"assignment": task, "duedate": assignment.duedate, "student_id": name}
                    grade = graded(gradebook, task, name, name in handed_in)
                    yield {**about, **student, **grade, "max_score": assignment.max_score}


def wanted(chosen: list[Any], name: str) -> bool:
    """Whether a name is among those that were chosen, which are all where none is."""
    return not chosen or name in map(str, chosen)


def graded(gradebook: Gradebook, assignment: str, student: str, handed_in: bool) -> dict[str, Any]:
    """The part of a row that says what a student has."""
    try:
        found: Any = gradebook.find_submission(assignment, student)
    except MissingEntry:
        return {"status": UNGRADED if handed_in else MISSING}
    about = {"timestamp": found.timestamp}
    # A test's cell has a score once it was graded; one that is graded by hand has a flag until it was.
    grades = [grade for notebook in found.notebooks for grade in notebook.grades]
    by_test = [grade for grade in grades if grade.cell.cell_type == "code"]
    if not by_test or any(grade.auto_score is None and grade.manual_score is None for grade in by_test):
        return {**about, "status": UNGRADED}
    if found.needs_manual_grade:
        return {**about, "status": BY_HAND, "raw_score": found.score}
    penalty = found.late_submission_penalty or 0.0
    score = max(0.0, found.score - penalty)
    return {**about, "status": GRADED, "raw_score": found.score, "late_submission_penalty": penalty, "score": score}


def safe(value: Any) -> str:
    """A cell of a table that no spreadsheet takes for a formula: a name that begins like one gets an apostrophe before it.

    Spreadsheets differ in the spaces that they skip, and in whether a wide sign of equality is one.
    """
    text = "" if value is None else str(value)
    begins = unicodedata.normalize("NFKC", text.lstrip("\ufeff\u200b")[:1])
    return f"'{text}" if isinstance(value, str) and begins and (begins.isspace() or begins in FORMULA) else text
