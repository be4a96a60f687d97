"""What a student handed in: read with caps, never executed here, and named by the hash of its bytes."""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from autograder.assignment.source import Assignment

NOTEBOOK_BYTES = 20 << 20
CELLS = 2000
DEPTH = 100
BRACKETS = 2_000_000  # of a notebook: twenty megabytes of them would take a gigabyte and half a minute to read


class Cell(NamedTuple):
    """One cell of a notebook: "code" or "markdown", its text, the grade id that it claims (or ""), and whether it is for home alone."""

    kind: str
    source: str
    grade_id: str
    home: bool = False


class Submission(NamedTuple):
    """The cells of a notebook, the files beside it that the assignment allows, and the SHA-256 over all of it and the student's name.

    `refused` says of each file that could not be taken why; the notebook is graded without it.
    """

    cells: list[Cell]
    files: dict[str, bytes]
    sha256: str
    refused: dict[str, str]
    student: str


class Job(NamedTuple):
    """One submission to grade: whose, and where it lies."""

    student: str
    notebook: Path


class SubmissionError(ValueError):
    """A submission that cannot be read; its text is for the student and the instructor."""


def submissions(submitted: Path, assignment: "Assignment") -> list[Job]:
    """Every student's submission of an assignment, in the order of their names. Raises ValueError where there is none."""
    folders = sorted(folder for folder in submitted.iterdir() if folder.is_dir()) if submitted.is_dir() else []
    jobs = [
        Job(folder.name, folder / assignment.name / "topic.ipynb")
        for folder in folders
        if may_hold(folder / assignment.name)
    ]
    if not jobs:
        raise ValueError(
            f"no submission of {assignment.name} was found: they lie in {submitted}/<student>/{assignment.name}/topic.ipynb"
        )
    return jobs


def may_hold(folder: Path) -> bool:
    """Whether a submission lies there; also where one may not look, which reading it will say."""
    try:
        return folder.is_dir() or folder.is_symlink()
    except OSError:
        return True


def read_handed_in(notebook: Path, allowed: dict[str, int]) -> Submission:
    """What lies at SUBMITTED/<student>/<assignment>/topic.ipynb, read as `read_submission` does.

    Raises SubmissionError also where one of the two folders is a link: it may lead to the work of another student.
    """
    try:
        for folder in (notebook.parent.parent, notebook.parent):
            if folder.is_symlink():
                raise SubmissionError(f"not graded: the folder {folder.name} is a link: hand in the folder itself")
        return read_submission(notebook, allowed, notebook.parent.parent.name)
    except OSError as error:
        raise SubmissionError(f"not graded: {notebook} cannot be read ({error.strerror})") from error


def read_submission(notebook: Path, allowed: dict[str, int] | None = None, student: str = "") -> Submission:
    """Read a student's notebook, and the files beside it whose names `allowed` lists with their largest size in bytes.

    Raises SubmissionError where the notebook is missing, no regular file, too large, or no notebook.
    """
    text = read_file(notebook, NOTEBOOK_BYTES)
    cells = parse_notebook(text)
    files, refused = {}, {}
    for name, most in (allowed or {}).items():
        try:
            if os.path.lexists(notebook.parent / name):
                files[name] = read_file(notebook.parent / name, most)
        except SubmissionError as error:
            refused[name] = str(error)
    total = hashlib.sha256()
    reasons = {name: reason.encode() for name, reason in refused.items()}
    who = os.fsencode(student)
    for name, content in (("", text), (".student", who), *sorted(files.items()), *sorted(reasons.items())):
        total.update(f"{name}\0{len(content)}\0".encode() + content)
    return Submission(cells, files, total.hexdigest(), refused, student)


def read_file(path: Path, most: int) -> bytes:
    """The bytes of a regular file: no link, device or pipe, and not more than allowed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise SubmissionError(
            f"{path.name} cannot be read ({error.strerror}): hand in the file itself, not a link"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SubmissionError(f"{path.name} is no ordinary file: hand in the file itself")
    with open(descriptor, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise SubmissionError(
            f"{path.name} is larger than {most / 1e6:.3g} MB: clear the outputs of a notebook, save weights in half precision"
        )
    return content


def parse_notebook(text: bytes) -> list[Cell]:
    """The cells of a notebook of format 4. Raises SubmissionError for anything else, and for one that holds too much."""
    brackets = text.translate(None, bytes(set(range(256)) - set(b"[]{}")))
    if len(brackets) > BRACKETS:
        raise SubmissionError("the notebook holds too much: clear its outputs and hand it in again")
    try:
        check_nesting(brackets)
        cells = json.loads(text)["cells"]
        found = [parse_cell(cell) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise SubmissionError(
            "the file is not a Jupyter notebook (format 4): save it again in Jupyter and hand that in"
        ) from error
    if len(found) > CELLS:
        raise SubmissionError(f"the notebook has more than {CELLS} cells")
    return found


def parse_cell(cell: dict) -> Cell:
    """One cell; its source may be one text or a list of lines."""
    source = cell["source"]
    source = "".join(source) if type(source) is list else source
    metadata = cell.get("metadata", {})
    grade_id, home = metadata.get("nbgrader", {}).get("grade_id", ""), metadata.get("course", {}).get("home") is True
    if type(source) is not str or cell["cell_type"] not in ("code", "markdown", "raw"):
        raise ValueError("no cell")
    return Cell(cell["cell_type"], source, grade_id if type(grade_id) is str else "", home)


def check_nesting(brackets: bytes) -> None:
    """Raise a ValueError where brackets nest so deep that a parser might give up: a cheap bound that counts those in texts too."""
    depth = most = 0
    for byte in brackets:
        depth += 1 if byte in b"[{" else -1
        most = max(most, depth)
    if most > 100 * DEPTH:
        raise ValueError("nested too deep")
