"""What a student runs before handing in: the notebook from top to bottom in a fresh process (but for the cells that train or
measure), its public checks, and the files beside it.

Nothing of the instructor's is needed: the checks lie beside the notebook, and the notebook names what is withheld from course_lib.
As in grading, no other file is there, and the cells have as long as they have there.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from autograder.assignment.library import build_course
from autograder.assignment.packages import PACKAGES, unknown_packages
from autograder.assignment.submission import NOTEBOOK_BYTES, Cell, SubmissionError, parse_notebook, read_file
from autograder.sandbox.limits import USUAL
from course_lib.pages.checking import Failed

RUNNER = """
import json, sys, types
from autograder.sandbox.inside import hints
from autograder.sandbox.inside.service import run_cells
hints.without_compiler()
cells, seconds, answer = json.load(sys.stdin)
student = sys.modules["__main__"] = types.ModuleType("__main__")
sys.path.insert(0, "")
errors = run_cells(student, cells, seconds)
with open(answer, "w") as file:
    json.dump(errors, file)
"""


class Check(NamedTuple):
    """One public check, or one other cell that failed: its name, whether it passed, and what to read where it did not."""

    name: str
    passed: bool
    message: str


def check(assignment: str, notebook: Path, seconds: float = 1800) -> list[Check]:
    """Run a student's notebook of an assignment (a01, or a01_closed_form) and say which of its public checks pass.

    Raises SubmissionError where the file is no notebook of this course, the checks are not beside it, or it runs too long.
    """
    text = read_file(notebook, NOTEBOOK_BYTES)
    cells = parse_notebook(text)
    course = json.loads(text).get("metadata", {}).get("course")
    if not isinstance(course, dict) or not any(is_check(cell) for cell in cells):
        raise SubmissionError(f"{notebook} has none of the course's checks: start from the notebook of the assignment")
    if assignment not in (name := str(course.get("assignment")), name.split("_")[0]):
        raise SubmissionError(f"{notebook} is a notebook of {name}, not of {assignment}")
    if not (notebook.parent / "checks.py").exists():
        raise SubmissionError(f"checks.py must lie beside {notebook.name}: it came with the notebook")
    numbered = [(number, cell) for number, cell in enumerate(cells, 1) if cell.kind == "code" and not cell.home]
    with tempfile.TemporaryDirectory() as folder:
        build_course(course.get("withheld", []), Path(folder))
        for name in map(str, course.get("modules", [])):
            if (notebook.parent / name).is_file():
                shutil.copy(notebook.parent / name, folder)
        errors = run([(number, cell.source) for number, cell in numbered], Path(folder), seconds)
    found = []
    for (number, cell), error in zip(numbered, errors, strict=True):
        if is_check(cell) or error is not None:
            name = cell.grade_id.removeprefix("check_") if is_check(cell) else f"cell {number}"
            found.append(Check(name, error is None, advice(error)))
    given = [str(name).removesuffix(".py") for name in course.get("modules", [])]
    if unknown := unknown_packages((cell.source for _, cell in numbered), given):
        message = f"grading has no {' and no '.join(unknown)}: use {', '.join(PACKAGES)} or Python's own library there"
        found.append(Check("packages", False, message))
    files = [(notebook.parent / str(name), most) for name, most in course.get("files", {}).items()]
    return found + [
        check_file(file, most) for file, most in files if file.exists() or file.name not in course.get("optional", [])
    ]


def check_file(file: Path, most: int) -> Check:
    """Whether a file that is handed in lies beside the notebook, and is small enough."""
    if not file.exists():
        return Check(file.name, False, "it is missing: run the cell that writes it, and hand it in with the notebook")
    size = file.stat().st_size
    return Check(file.name, size <= most, f"it has {size:,} bytes, and may have {most:,}")


def is_check(cell: Cell) -> bool:
    """Whether a cell runs a public check."""
    return cell.kind == "code" and cell.grade_id.startswith("check_")


def advice(error: dict[str, str] | None) -> str:
    """What a student reads of an error: the check's own words, or the error with its lines."""
    if error is None:
        return ""
    if error["kind"] in ("AssertionError", Failed.__name__) and error["message"]:
        return error["message"]
    return f"{error['kind']}: {error['message']}\n{error['trace']}".strip()


def run(cells: list[tuple[int, str]], course: Path, seconds: float) -> list[dict[str, str] | None]:
    """Run cells in a fresh Python that sees the students' course_lib; for each, its error or None."""
    answer = course / "answer.json"
    path = [str(course), str(Path(__file__).resolve().parents[2])]
    code = f"import sys; sys.path[:0] = {path!r}\n{RUNNER}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps([cells, USUAL.load_seconds, str(answer)]),
            cwd=course,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # grading has no GPU either
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SubmissionError(
            f"the notebook was still running after {seconds / 60:.0f} minutes, and was stopped"
        ) from None
    if not answer.exists():
        raise SubmissionError(
            f"the notebook ended Python before its last cell: {done.stderr.strip()[-500:] or 'without a message'}"
        )
    return json.loads(answer.read_text())
