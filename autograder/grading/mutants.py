"""Trust in the grades: the reference scores everything, the untouched release nothing, every mutant fails its named test."""

import copy
import tempfile
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jupytext
from nbformat import NotebookNode

from autograder.assignment.source import Assignment, to_bytes
from autograder.assignment.submission import read_submission
from autograder.grading.one import grade
from autograder.grading.result import Result
from autograder.sandbox.outside import Sandbox

SECRET = b"the gates are public"
STUDENT = "reference"  # who hands in the solved notebooks


class Mutant(NamedTuple):
    """A classic mistake: one replacement in one cell of the reference, the test that must fail, and what it must say."""

    name: str
    cell: str
    old: str
    new: str
    fails: str
    says: str


def mutants(assignment: Assignment) -> list[Mutant]:
    """The mistakes that a suite promises to catch."""
    return [Mutant(**entry) for entry in tomllib.loads((assignment.suite / "mutants.toml").read_text())["mutant"]]


def mutated(assignment: Assignment, mutant: Mutant) -> NotebookNode:
    """The solved notebook with one mistake. Raises ValueError where the replaced text does not stand there exactly once."""
    notebook = assignment.solved()
    cell = cell_named(notebook, mutant.cell)
    if cell.source.count(mutant.old) != 1:
        raise ValueError(f"mutant {mutant.name!r}: {mutant.old!r} should stand once in the cell {mutant.cell}")
    cell.source = cell.source.replace(mutant.old, mutant.new)
    return notebook


def accepted(assignment: Assignment) -> Iterator[tuple[str, NotebookNode]]:
    """The solved notebook with some of its cells answered differently, and as well; once for each file in accepted/."""
    for file in sorted((assignment.suite / "accepted").glob("*.py")):
        notebook = copy.deepcopy(assignment.solved())
        for answer in jupytext.read(file, fmt="py:percent").cells:
            if "solution" in answer.metadata:
                cell_named(notebook, answer.metadata["solution"]).source = answer.source
        yield file.stem, notebook


def cell_named(notebook: NotebookNode, name: str) -> NotebookNode:
    """The cell with a grade id."""
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)


def grade_notebook(
    assignment: Assignment,
    notebook: NotebookNode,
    sandbox: Sandbox,
    files: Mapping[str, bytes] | None = None,
    only: Collection[str] = (),
) -> Result:
    """Grade a notebook that is not a file yet as if it had been handed in, with the reference's files or others beside it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "topic.ipynb"
        file.write_bytes(to_bytes(notebook))
        for name, content in (assignment.reference if files is None else files).items():
            (Path(folder) / name).write_bytes(content)
        return grade(
            read_submission(file, assignment.files, STUDENT),
            assignment.suite,
            assignment.name,
            sandbox,
            SECRET,
            assignment.limits,
            only,
        )
