"""The exported table: every grade with what it is worth, and nothing that was not graded as a 0."""

import csv
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from nbgrader.api import Gradebook
from traitlets.config import LoggingConfigurable

from autograder.exchange.export import Csv, safe

# nbgrader asks its database for what it is about to add.
pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradebook with an assignment and no student: nbgrader takes seconds to make one."""
    file = tmp_path_factory.mktemp("empty") / "gradebook.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # nbgrader calls alembic
        with Gradebook(f"sqlite:///{file}") as book:
            book.add_assignment("a01")
            book.add_notebook("topic", "a01")
            book.add_grade_cell("grade_one", "topic", "a01", max_score=60, cell_type="code")
            book.add_grade_cell("grade_two", "topic", "a01", max_score=30, cell_type="code")
            book.add_grade_cell("proof", "topic", "a01", max_score=10, cell_type="markdown")
    return file


@pytest.fixture
def gradebook(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gradebook]:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    shutil.copy(empty, tmp_path / "gradebook.db")
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        yield book


def grade(book: Gradebook, student: str, one: float | None, two: float | None, proof: float | None) -> None:
    book.update_or_create_student(student)
    book.add_submission("a01", student)
    for cell, score in (("grade_one", one), ("grade_two", two)):
        found = book.find_grade(cell, "topic", "a01", student)
        found.auto_score, found.needs_manual_grade = score, False
    found = book.find_grade("proof", "topic", "a01", student)
    found.manual_score, found.needs_manual_grade = proof, proof is None
    book.db.commit()


def exported(book: Gradebook, folder: Path, **options: list[str]) -> dict[str, dict[str, str]]:
    course = Mock(submitted_directory="submitted")
    course.format_path = lambda step, student, assignment: str(folder / step / student / assignment)
    parent = LoggingConfigurable()
    parent.coursedir = course
    plugin = Csv(parent=parent, to=str(folder / "g.csv"), **options)
    plugin.export(book)
    with open(folder / "g.csv", newline="") as stream:
        return {row["student_id"]: row for row in csv.DictReader(stream)}


def test_each_row_says_what_it_is_worth(gradebook: Gradebook, tmp_path: Path) -> None:
    grade(gradebook, "ada", 60, 26, 9)
    grade(gradebook, "ben", 60, 0, None)  # nobody has read the proof
    grade(gradebook, "cyd", 60, None, None)  # grading was ended in the middle
    grade(gradebook, "dan", 0, 0, 0)  # an honest 0
    gradebook.update_or_create_student("eve")
    gradebook.update_or_create_student("fay")
    for student in ("fay", "gus"):  # handed in, and never graded; the second is not even in the gradebook
        (tmp_path / "submitted" / student / "a01").mkdir(parents=True)
    found = exported(gradebook, tmp_path)
    said = {name: (row["status"], row["raw_score"], row["score"]) for name, row in found.items()}
    assert said == {
        "ada": ("graded", "95.0", "95.0"),
        "ben": ("needs manual grading", "60.0", ""),
        "cyd": ("not graded", "", ""),
        "dan": ("graded", "0.0", "0.0"),
        "eve": ("not handed in", "", ""),
        "fay": ("not graded", "", ""),
        "gus": ("not graded", "", ""),
    }
    assert {row["max_score"] for row in found.values()} == {"100.0"}
    assert exported(gradebook, tmp_path, student=["ada"]).keys() == {"ada"}
    assert exported(gradebook, tmp_path, assignment=["a02"]) == {}


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_a_formula(gradebook: Gradebook, tmp_path: Path, name: str) -> None:
    grade(gradebook, name, 60, 30, 10)
    assert safe(name) == f"'{name}" and safe(-1.5) == "-1.5" and safe("a=1") == "a=1" and safe("") == safe(None) == ""
    (row,) = exported(gradebook, tmp_path).values()
    assert row["student_id"].startswith("'") and row["score"] == "100.0"
