"""nbgrader with our grading in it: what `nbgrader_config.py` puts in the place of nbgrader's own preprocessors.

nbgrader releases, collects, keeps the gradebook, and returns feedback. `Checked` refuses a folder that holds links or the like,
and a notebook that `course grade` refuses; of any other it hands on the cells, and nothing else of the student's. `Canonical`
undoes whatever a student did to the cells that nbgrader relies on; `SandboxGrade` writes the scores of the hidden tests where
nbgrader looks for them. What lies in the folder of a submission is the business of autograder/exchange/collect.py.
"""

import atexit
import html
import json
import re
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers.python import PythonLexer

from autograder.assignment.source import read_assignment
from autograder.assignment.submission import NOTEBOOK_BYTES, SubmissionError, parse_notebook, read_file, read_handed_in
from autograder.exchange.collect import irregular
from autograder.exchange.reports import plain
from autograder.grading.many import Grader, check_data
from autograder.grading.result import Result
from autograder.grading.store import TERM, Store, code_fingerprint, course_secret

PICTURES = {"image/png", "image/jpeg", "image/gif", "image/svg+xml"}
PICTURES_OF_A_CELL = 20
# Of a student's text, in characters: no honest notebook has as much, and nbgrader's feedback takes seconds for each 100,000.
SHOWN_OF_A_CELL, SHOWN = 50_000, 1_000_000
CUT = "\n\n# Cut here: of a longer cell, or notebook, only the beginning is shown; all of it was graded."
COLOURED = (
    2_000  # characters of a cell: to find the colours of some cells takes pygments time that grows with their square
)
SPACES = 200  # one after the other: mistune takes time that grows with their square, seconds for 50,000
FORMULAS = 100  # of a cell: nbconvert takes their number times the cell's length


class Known(NamedTuple):
    """A cell of the assignment as the gradebook has it."""

    name: str
    kind: str
    source: str
    locked: bool
    solution: bool
    points: float | None  # None where the cell gives none
    checksum: str


class Checked(NotebookExporter):
    """Refuse a submission before nbgrader reads it (which then flags it, and goes on with the others), or read it as we do."""

    def from_filename(self, filename: str, resources: dict[str, Any] | None = None, **options: Any) -> Any:
        """The converted notebook. Raises SubmissionError where the student's folder may not be graded."""
        notebook = handed_in(self.parent, resources)
        left = next(irregular(notebook.parent), None)
        if left is not None:
            raise SubmissionError(f"not graded: no ordinary file, or too large: {left}")
        if Path(filename) == notebook:
            return self.from_notebook_node(rebuilt(read_file(notebook, NOTEBOOK_BYTES)), resources, **options)
        return super().from_filename(filename, resources, **options)


def handed_in(converter: Any, resources: Any) -> Path:
    """Where the student's notebook lies that nbgrader converts."""
    about, course = resources["nbgrader"], converter.coursedir
    folder = course.format_path(course.submitted_directory, about["student"], about["assignment"])
    return Path(folder, f"{about['notebook']}.ipynb")


def rebuilt(content: bytes) -> Any:
    """A student's notebook as `course grade` reads it: of each cell its kind, text, grade id and attachments.

    nbformat takes hours to check some notebooks, and refuses some that `course grade` takes.
    """
    cells, left = [], SHOWN
    for cell, found in zip(parse_notebook(content), json.loads(content)["cells"], strict=True):
        source = cell.source.encode(errors="replace").decode()  # a text may hold half a character, which no file can
        most = min(left, SHOWN_OF_A_CELL)
        left -= min(len(source), most)
        source = source if len(source) <= most else source[:most] + CUT
        extra = {"outputs": [], "execution_count": None} if cell.kind == "code" else {"attachments": pictures(found)}
        metadata = {"nbgrader": {"grade_id": cell.grade_id}}
        about = {"id": f"cell{len(cells)}", "cell_type": cell.kind, "metadata": metadata}
        cells.append({**about, "source": source, **extra})
    return nbformat.from_dict({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})


def highlighted(source: str, language: str = "python", metadata: Any = None) -> str:
    """A code cell as HTML, for nbconvert's exporters: in colours, but for a long one."""
    if len(source) <= COLOURED:
        return highlight(source, PythonLexer(), HtmlFormatter(cssclass="highlight hl-python"))
    return f'<div class="highlight hl-python"><pre>{html.escape(source)}</pre></div>\n'


class Canonical(NbGraderPreprocessor):
    """Rebuild what nbgrader reads in a submitted notebook from the gradebook, whatever the student did to it."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The notebook with the gradebook's cells in it, each once, and without outputs and foreign metadata."""
        about = resources["nbgrader"]
        with Gradebook(about["db_url"]) as gradebook:
            known = known_cells(gradebook.find_notebook(about["notebook"], about["assignment"]))
        return canonical(nb, known), resources


def known_cells(notebook: Any) -> list[Known]:
    """The cells that the gradebook has of a notebook, in their order."""
    points = {cell.name: float(cell.max_score) for cell in notebook.grade_cells}
    solutions = {cell.name for cell in notebook.solution_cells}
    return [
        Known(c.name, c.cell_type, c.source, c.locked, c.name in solutions, points.get(c.name), c.checksum)
        for c in notebook.source_cells
    ]


def canonical(notebook: NotebookNode, known: list[Known]) -> NotebookNode:
    """A notebook in which each known cell that is locked or graded stands once, as it was released but for a solution's source.

    Of a cell that stands there twice the last counts; one that is missing comes back after the one that went before it.
    """
    by_name = {cell.name: cell for cell in known}
    cells: list[NotebookNode] = []
    seen: set[str] = set()
    for cell in reversed(notebook.cells):
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        name = name if isinstance(name, str) and name in by_name and name not in seen else ""
        seen.add(name)
        cells.insert(0, restored(by_name[name], cell) if name else stripped(cell))
    position = 0
    for one in known:
        if one.name in seen:
            position = (
                next(i for i, cell in enumerate(cells) if cell.metadata.get("nbgrader", {}).get("grade_id") == one.name)
                + 1
            )
        elif one.locked or one.points is not None:
            cells.insert(position, restored(one, None))
            position += 1
    for number, cell in enumerate(cells):
        cell.id = f"cell{number}"  # the same again when it is graded again
    notebook.cells = cells
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def restored(known: Known, cell: NotebookNode | None) -> NotebookNode:
    """A known cell, with the student's text where it is theirs to write."""
    source = cell.source if cell is not None and not known.locked else known.source
    metadata = {
        "schema_version": 3,
        "grade_id": known.name,
        "grade": known.points is not None,
        "solution": known.solution,
        "locked": known.locked,
        "task": False,
        "cell_type": known.kind,
        "checksum": known.checksum,
        **({} if known.points is None else {"points": known.points}),
    }
    if known.kind == "code":
        return new_code_cell(source, metadata={"nbgrader": metadata})
    kept = pictures(cell) if cell is not None and not known.locked else {}
    extra = {"attachments": kept} if kept else {}
    return new_markdown_cell(harmless(source, kept), metadata={"nbgrader": metadata}, **extra)


def stripped(cell: NotebookNode) -> NotebookNode:
    """A cell of the student's own, without outputs, metadata, pictures and HTML."""
    if cell.cell_type == "code":
        return new_code_cell(cell.source)
    return new_markdown_cell(harmless(cell.source, {}))


def pictures(cell: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The pictures that were pasted into a cell, by name: no more than its first twenty."""
    found, kept = cell.get("attachments"), {}
    for name, data in islice(found.items(), PICTURES_OF_A_CELL) if isinstance(found, dict) else ():
        shown = (
            {kind: base64(text) for kind, text in data.items() if kind in PICTURES} if isinstance(data, dict) else {}
        )
        if re.fullmatch(r"[\w.-]+", name, re.ASCII) and any(shown.values()):
            kept[name] = {kind: text for kind, text in shown.items() if text}
    return kept


def base64(found: Any) -> str:
    """What may be the bytes of a picture, a text or a list of lines; "" where it is anything else."""
    lines = found if isinstance(found, list) else [found]
    text = "".join(lines) if all(isinstance(line, str) for line in lines) else ""
    return text if re.fullmatch(r"[A-Za-z0-9+/=\s]*", text, re.ASCII) else ""


def harmless(text: str, kept: dict[str, dict[str, str]]) -> str:
    """Markdown in which no HTML begins, no link leads but to the web, and no picture shows but those kept.

    A space breaks what would, and leaves formulas as they were, but for those after a cell's first hundred. A picture from the
    web would tell its server who reads the feedback, and one that is missing ends nbgrader's conversion.
    """
    names = "|".join(re.escape(name) for name in kept) or "(?!)"
    number = count()
    text = re.sub(rf" {{{SPACES},}}", " " * SPACES, text)
    text = re.sub(r"(\\begin|\\\\)(?=[{(\[])", lambda opened: opened[0] + " " * (next(number) >= FORMULAS), text)
    text = re.sub(r"<(?=[A-Za-z/!?])", "< ", text)
    text = re.sub(rf"!\[(?![^][]*\]\(attachment:(?:{names})\))", "! [", text)
    text = re.sub(rf"\]\((?!https?://|attachment:(?:{names})\)|#)", "] (", text)
    return text.replace("]:", "] :")  # a link's target may stand elsewhere: [label]: target


class SandboxGrade(NbGraderPreprocessor):
    """Grade the submitted notebook as `course grade` does, and write score and messages below each cell of hidden tests."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The notebook with the scores in it. Raises where nothing may be graded, so that nbgrader flags the submission."""
        notebook = handed_in(self.parent.parent, resources)  # type: ignore[union-attr]
        result = graded(resources["nbgrader"]["assignment"], notebook)
        errors = result.cell_errors
        for cell in nb.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
            if cell.cell_type == "code" and name.startswith("grade_"):
                cell.outputs = outputs(result, name.removeprefix("grade_"), errors)
                errors = []
        return nb, resources


def outputs(result: Result, task: str, errors: list[str]) -> list[NotebookNode]:
    """What stands below the hidden tests of a task: a line for each, then the score, which nbgrader takes."""
    lines = [f"A cell of the notebook failed: {error}" for error in errors]
    for test in result.tests:
        if test.task == task:
            points = f"{test.worth if test.passed else 0:g} of {test.worth:g}"
            lines.append(f"{test.name}: {points}" + ("" if test.passed else f"\n    {test.message}"))
    score = new_output("execute_result", {"text/plain": repr(float(result.score(task)))}, execution_count=None)
    return [new_output("stream", name="stdout", text=plain("\n".join(lines)) + "\n"), score]


def graded(name: str, notebook: Path) -> Result:
    """The grade of a submitted notebook: the one that is known, or a new one."""
    secret = course_secret(TERM / "grades" / "secret")
    if name in graders and not graders[name].current():  # the formgrader runs for weeks
        if code_fingerprint() != CODE:
            raise RuntimeError(
                "the grader itself was updated: restart JupyterLab, or whatever runs nbgrader, and grade again"
            )
        graders.pop(name).close()
    if name not in graders:
        assignment = read_assignment(name)
        check_data(assignment)
        graders[name] = Grader(assignment, secret)
        atexit.register(graders[name].close)
    store = Store(TERM / "grades" / name, graders[name].inputs)
    submission = read_handed_in(notebook, graders[name].assignment.files)
    known = store.get(submission.sha256)
    if known is None:
        known = graders[name].grade(submission)
        store.put(known)
    return known


graders: dict[str, Grader] = {}  # of this process, by assignment
CODE = code_fingerprint()  # of the grader that this process has imported
