"""One assignment: read from its text notebook, and turned into the student's notebook and the instructor's.

The text (percent format) says what each cell is: solution="name" is written by the student between ### BEGIN SOLUTION and
### END SOLUTION; check="name" runs a public check; grade="name" points=N stands for hidden tests; manual="name" points=N is read
by a person; home="name" runs where the student works and never in grading (training, measuring, pictures of it). The header's
`course` entry holds title, minutes, what is withheld in grading (functions, modules and rooms of course_lib, functions of the modules
beside the notebook), and the files handed in with their largest sizes (`optional` names those that may be missing).
"""

import copy
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from autograder.sandbox.limits import Limits
from course_lib.files import write_atomically

if (
    TYPE_CHECKING
):  # imported where a notebook is made: grading reads only the header, and these are slower to import than torch
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS, SUITES = ROOT / "solutions", ROOT / "autograder" / "suites"
KINDS = ("solution", "check", "grade", "manual", "home")
REGION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n(.*?)^[ \t]*### END SOLUTION\n?", re.DOTALL | re.MULTILINE)
HEADER = re.compile(r"# ---\n((?:#.*\n)*?)# ---\n")
HERE = "YOUR ANSWER HERE"


@dataclass(frozen=True)
class Assignment:
    """An assignment's name (aNN_topic), and what its header says."""

    name: str
    course: dict[str, Any]

    @cached_property
    def notebook(self) -> "NotebookNode":
        """Its annotated notebook."""
        import jupytext

        return jupytext.read(text_file(self.name), fmt="py:percent")

    @property
    def suite(self) -> Path:
        """The folder of its hidden tests."""
        return SUITES / self.name

    @property
    def given(self) -> list[Path]:
        """All that students get beside the notebook, such as the public checks."""
        return sorted(file for file in (SOLUTIONS / self.name / "given").iterdir() if file.is_file())

    @property
    def slow_imports(self) -> tuple[str, ...]:
        """What its notebook or the files beside it import that takes long, and that a sandbox therefore loads once for all."""
        texts = [file.read_text() for file in (text_file(self.name), *self.given) if file.suffix == ".py"]
        return ("matplotlib.pyplot",) if any("matplotlib" in text for text in texts) else ()

    @property
    def files(self) -> dict[str, int]:
        """The files that may be handed in beside the notebook, with their largest size in bytes."""
        return {name: int(most) for name, most in self.course.get("files", {}).items()}

    @property
    def optional(self) -> list[str]:
        """Those of the files that need not be handed in."""
        return list(self.course.get("optional", []))

    @property
    def limits(self) -> Limits:
        """What a submission may use."""
        return Limits(**self.course.get("limits", {}))

    @property
    def data(self) -> list[str]:
        """The data sets that its hidden tests compare with."""
        return list(self.course.get("data", []))

    @property
    def reference(self) -> dict[str, bytes]:
        """The files that the solved notebook makes at home, by name."""
        return {
            name: (self.suite / "reference" / name).read_bytes() for name in self.files if name not in self.optional
        }

    @property
    def points(self) -> dict[str, float]:
        """What each graded cell is worth, by its name."""
        return {name: cell.metadata["points"] for name, cell in self.cells("grade", "manual")}

    @property
    def by_hand(self) -> dict[str, float]:
        """What a person's reading is worth, by the name of what is read."""
        return {name: cell.metadata["points"] for name, cell in self.cells("manual")}

    def cells(self, *kinds: str) -> list[tuple[str, "NotebookNode"]]:
        """The cells of some kinds with their names, in order."""
        return [(cell.metadata[kind], cell) for cell in self.notebook.cells for kind in kinds if kind in cell.metadata]

    def solved(self) -> "NotebookNode":
        """The instructor's notebook: the student's, with the solutions in it. Raises ValueError where the text is malformed."""
        return self._converted(lambda source: REGION.sub(r"\2", source))

    def released(self) -> "NotebookNode":
        """The student's notebook. Raises ValueError where the text is malformed."""
        return self._converted(None)

    def _converted(self, solve: Any) -> "NotebookNode":
        import nbformat

        check_assignment(self)
        notebook = nbformat.v4.new_notebook()
        notebook.metadata["kernelspec"] = dict(self.notebook.metadata["kernelspec"])
        notebook.metadata["language_info"] = {"name": "python"}
        withheld = list(self.course.get("withheld", []))
        notebook.metadata["course"] = {"assignment": self.name, "withheld": withheld, "files": self.files}
        notebook.metadata["course"]["modules"] = [file.name for file in self.given]
        if self.optional:
            notebook.metadata["course"]["optional"] = self.optional
        notebook.cells = [
            converted(copy.deepcopy(cell), number, solve) for number, cell in enumerate(self.notebook.cells)
        ]
        return notebook


def converted(cell: "NotebookNode", number: int, solve: Any) -> "NotebookNode":
    """A cell with nbgrader's metadata in the place of ours, and with its solution or a gap."""
    from nbformat import NotebookNode

    kind = next((kind for kind in KINDS if kind in cell.metadata), None)
    name = f"{kind}_{cell.metadata[kind]}" if kind in ("check", "grade", "home") else cell.metadata.get(kind, "")
    if kind in ("solution", "manual"):
        cell.source = (solve(cell.source) if solve else gap(cell)).rstrip()
    metadata: dict[str, Any] = {}
    if kind == "home":
        metadata["course"] = {"home": True}
    elif kind:
        metadata["nbgrader"] = {
            "schema_version": 3,
            "grade_id": name,
            "solution": kind in ("solution", "manual"),
            "locked": kind in ("check", "grade"),
            "grade": kind in ("check", "grade", "manual"),  # of what is not graded, Validate in JupyterLab says nothing
            "task": False,
        }
        if metadata["nbgrader"]["grade"]:
            metadata["nbgrader"]["points"] = 0 if kind == "check" else cell.metadata["points"]
    cell.metadata = NotebookNode(metadata)
    cell.id = name or hashlib.sha256(f"{number} {cell.source}".encode()).hexdigest()[:8]
    return cell


def gap(cell: "NotebookNode") -> str:
    """The source with each solution replaced by what the student sees there."""
    if cell.cell_type == "markdown":
        return REGION.sub(HERE + "\n", cell.source).strip()

    def replaced(found: re.Match) -> str:
        function = re.findall(r"^def (\w+)", cell.source[: found.start()], re.MULTILINE)[-1:] or [
            cell.metadata["solution"]
        ]
        return f'{found[1]}raise NotImplementedError("write {function[0]}, then run this cell again")\n'

    return REGION.sub(replaced, cell.source)


def read_assignment(name: str) -> Assignment:
    """The assignment of that name, or whose name starts so ("a01"). Raises ValueError where there is none, or its header is malformed."""
    names = assignment_names()
    matching = [known for known in names if known == name or known.split("_")[0] == name]
    if len(matching) != 1:
        raise ValueError(f"assignment must be one of {', '.join(names)}; got {name!r}")
    assignment = Assignment(matching[0], header(text_file(matching[0]).read_text()).get("course", {}))
    check_header(assignment)
    return assignment


def text_file(name: str) -> Path:
    """The text notebook of an assignment."""
    return SOLUTIONS / name / "topic.py"


def header(text: str) -> dict[str, Any]:
    """The metadata that stand in the comment at the head of a text notebook; empty where there is none."""
    found = HEADER.match(text)
    return yaml.safe_load(re.sub("^# ?", "", found[1], flags=re.MULTILINE))["jupyter"] if found else {}


def assignment_names() -> list[str]:
    """All assignments, in order."""
    return sorted(file.parent.name for file in SOLUTIONS.glob("*/topic.py"))


def check_header(assignment: Assignment) -> None:
    """Raise a ValueError where the header lacks what every assignment has."""
    missing = {"title", "minutes"} - assignment.course.keys()
    if missing:
        raise ValueError(f"{assignment.name}: the header's course entry lacks {', '.join(sorted(missing))}")


def check_assignment(assignment: Assignment) -> None:
    """Raise a ValueError where names repeat, points do not add up to 100, or a cell that needs a solution has none."""
    check_header(assignment)
    for kind in KINDS:
        names = [name for name, _ in assignment.cells(kind)]
        if len(set(names)) != len(names):
            raise ValueError(f"{assignment.name}: two {kind} cells have the same name")
    total = sum(assignment.points.values())
    if total != 100:
        raise ValueError(f"{assignment.name}: the points add up to {total:g} and not to 100")
    for name, cell in assignment.cells("solution", "manual"):
        if not REGION.search(cell.source):
            raise ValueError(f"{assignment.name}: the cell {name} marks no solution")


def to_bytes(notebook: "NotebookNode") -> bytes:
    """A notebook as a file: the same bytes each time."""
    import nbformat

    nbformat.validate(notebook)
    return (json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def build(name: str, destination: Path) -> list[Path]:
    """Write an assignment's release (the notebook and what is given with it) and its solved notebook below a folder; returns the files."""
    assignment = read_assignment(name)
    release, solved = destination / "release" / assignment.name, destination / "solved" / assignment.name
    contents = {
        release / "topic.ipynb": to_bytes(assignment.released()),
        solved / "topic.ipynb": to_bytes(assignment.solved()),
    }
    for file in assignment.given:
        contents[release / file.name] = contents[solved / file.name] = file.read_bytes()
    for path, content in contents.items():
        write_atomically(path, content)
    return sorted(contents)
