"""`{assignment} a01`: the facts of an assignment, its tasks with their points, and its notebook to download or to open in Colab.

The files that students get are written into `assignments/` of the built book, from the text in `solutions/`.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from autograder.assignment.source import SOLUTIONS, Assignment, assignment_names, read_assignment, to_bytes
from autograder.grading.mutants import mutants
from notebooks import BRANCH, repository

HEADING = re.compile(r"^## (Task \d+): (.+?) \((.+)\)$", re.MULTILINE)
DATE = (2026, 1, 1, 0, 0, 0)  # of every file in an archive: the same bytes each time
SETUP = """# Where the course's files are missing, as in Colab, fetch them; on your own machine this does nothing.
import importlib.util
import subprocess
import sys
import urllib.request

if importlib.util.find_spec("checks") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "git+{url}"], check=True)
    for file in {files}:
        urllib.request.urlretrieve("{raw}/assignments/{name}/" + file, file)"""


def tasks(assignment: Assignment) -> list[tuple[str, str, str, str]]:
    """For each task: its number, its title, its difficulty and time, and its points."""
    rows: list[list[Any]] = []
    for cell in assignment.notebook.cells:
        for number, title, effort in HEADING.findall(cell.source if cell.cell_type == "markdown" else ""):
            rows.append([number, title, effort, 0.0])
        if "points" in cell.metadata and rows:
            rows[-1][3] += cell.metadata["points"]
    return [(number, title, effort, f"{points:g}") for number, title, effort, points in rows]


def published(app: Sphinx, assignment: Assignment) -> bytes:
    """The student's notebook with a first cell that fetches what is missing."""
    url = repository(app)
    notebook = assignment.released()
    files = [file.name for file in assignment.given]
    raw = f"{url.replace('github.com', 'raw.githubusercontent.com')}/{BRANCH}"
    cell = nbformat.v4.new_code_cell(SETUP.format(url=url, files=files, raw=raw, name=assignment.name), id="setup")
    notebook.cells.insert(0, cell)
    return to_bytes(notebook)


def files_of(app: Sphinx, assignment: Assignment) -> dict[str, bytes]:
    """What a student gets, by name."""
    return {"topic.ipynb": published(app, assignment), **{file.name: file.read_bytes() for file in assignment.given}}


def archive(files: dict[str, bytes]) -> bytes:
    """The files as a ZIP archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in sorted(files.items()):
            packed.writestr(zipfile.ZipInfo(name, DATE), content)
    return stream.getvalue()


def write_files(app: Sphinx, error: Exception | None) -> None:
    """Write the files of all assignments into the built book."""
    if error is not None or app.builder.format != "html":
        return
    for name in assignment_names():
        files = files_of(app, read_assignment(name))
        folder = Path(app.outdir) / "assignments" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        folder.with_suffix(".zip").write_bytes(archive(files))


def table(head: tuple[str, ...], rows: list[tuple[str, ...]], widths: tuple[int, ...], *classes: str) -> nodes.table:
    """A table of texts; `classes` are those of its element, beside the one for words."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in widths), cols=len(widths))

    def row(cells: tuple[str, ...]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in cells))

    group += [nodes.thead("", row(head)), nodes.tbody("", *map(row, rows))]
    return nodes.table("", group, classes=["narrow-words", *classes])


class AssignmentFacts(SphinxDirective):
    """`{assignment} a01`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Links, facts, tasks."""
        assignment = read_assignment(self.arguments[0])
        for file in (SOLUTIONS / assignment.name / "topic.py", *assignment.given):
            self.env.note_dependency(str(file))
        up = "../" * self.env.docname.count("/")
        owner = repository(self.env.app).removeprefix("https://github.com/")
        colab = (
            f"https://colab.research.google.com/github/{owner}/blob/{BRANCH}/assignments/{assignment.name}/topic.ipynb"
        )
        links = (
            f'<div class="launch"><a href="{up}assignments/{assignment.name}.zip" download>Download the notebook and its files</a>'
            f'<a href="{colab}">Open in Colab</a></div>'
        )
        handed = ", ".join(
            [
                "topic.ipynb",
                *(name if name not in assignment.optional else f"{name} if you like" for name in assignment.files),
            ]
        )
        facts = f"About {assignment.course['minutes']} minutes. 100 points. You hand in: {handed}."
        head = ("", "task", "difficulty and time", "points")
        return [
            nodes.raw("", links, format="html"),
            nodes.paragraph(text=facts),
            table(head, tasks(assignment), (12, 45, 33, 10), "tasks"),
        ]


class KillMatrix(SphinxDirective):
    """`{kill-matrix}`: which hidden test catches which mistake. The gates of the grader fail where a line of it is not true."""

    def run(self) -> list[nodes.Node]:
        """One table an assignment, folded away."""
        parts: list[nodes.Node] = []
        for number, assignment in enumerate(map(read_assignment, assignment_names()), 1):
            self.env.note_dependency(str(assignment.suite / "mutants.toml"))
            rows = [
                (mutant.name, mutant.fails.removeprefix("test_").replace("_", " "), mutant.says)
                for mutant in mutants(assignment)
            ]
            summary = f"<details><summary>Assignment {number}: {len(rows)} mistakes</summary>"
            facts = table(("mistake", "caught by the test", "which says, among other things"), rows, (30, 30, 40))
            parts += [nodes.raw("", summary, format="html"), facts, nodes.raw("", "</details>", format="html")]
        return parts


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("assignment", AssignmentFacts)
    app.add_directive("kill-matrix", KillMatrix)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
