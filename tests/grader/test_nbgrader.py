"""nbgrader's own commands with our grading in them: the same scores, safe feedback, and nothing that a submission does stops them."""

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import Mock

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from traitlets.config import LoggingConfigurable

from autograder.assignment.source import build, read_assignment, to_bytes
from autograder.assignment.submission import SubmissionError, parse_notebook
from autograder.exchange import collect, nbgrader
from autograder.exchange.nbgrader import CUT, Known, canonical, harmless, rebuilt
from autograder.grading.mutants import cell_named

ROOT = Path(__file__).resolve().parents[2]
A01 = read_assignment("a01")
NAME = A01.name
PROOF = """A linear map of a Gaussian vector is Gaussian, for all $0<b<1$.
<script>document.title = 'LEAK'</script><img src=x onerror=alert(1)><svg/onload=alert(1)><!-- <iframe src="x"> -->
[link](javascript:alert(1)) ![picture](x" onerror="alert(1)) <a href="javascript:alert(1)">here</a>

<style>body { display: none }</style> [two][there] [three](java&#115;cript:alert(1)) <javascript:alert(1)>

[there]: javascript:alert(1)
"""

# --- the canonical notebook ----------------------------------------------------------------------------------------------------

KNOWN = [
    Known("answer", "code", "def answer(): ...", False, True, None, "1"),
    Known("grade_answer", "code", "# hidden tests", True, False, 10.0, "2"),
    Known("proof", "markdown", "YOUR ANSWER HERE", False, True, 5.0, "3"),
]


def submitted() -> NotebookNode:
    """A notebook as it comes back, before anybody tampers with it."""
    notebook = nbformat.v4.new_notebook()
    for one in KNOWN:
        make = nbformat.v4.new_code_cell if one.kind == "code" else nbformat.v4.new_markdown_cell
        about = {"grade_id": one.name, "grade": one.points is not None, "solution": one.solution, "locked": one.locked}
        notebook.cells.append(make("mine" if one.solution else one.source, metadata={"nbgrader": about}))
    return notebook


def about(notebook: NotebookNode) -> list[tuple]:
    """What nbgrader reads of each cell."""
    rows = []
    for cell in notebook.cells:
        found = cell.metadata.get("nbgrader", {})
        keys = ("grade_id", "grade", "solution", "locked", "points")
        rows.append((cell.cell_type, cell.source, *(found.get(key) for key in keys)))
    return rows


RIGHT = [
    ("code", "mine", "answer", False, True, False, None),
    ("code", "# hidden tests", "grade_answer", True, False, True, 10.0),
    ("markdown", "mine", "proof", True, True, False, 5.0),
]


def test_an_honest_notebook_keeps_its_answers() -> None:
    assert about(canonical(submitted(), KNOWN)) == RIGHT


def test_flipped_and_forged_metadata_are_undone() -> None:
    notebook = submitted()
    for cell in notebook.cells:
        cell.metadata["nbgrader"].update(
            points=1000, locked=not cell.metadata["nbgrader"]["locked"], grade=False, task=True
        )
        cell.metadata["editable"], cell.metadata["foreign"] = True, "<script>"
    notebook.cells[1].source = "1000"
    notebook.cells[1].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "1000.0"})]
    notebook.cells[2].cell_type = "raw"
    notebook.cells[2].source = "mine"
    notebook.metadata["kernelspec"] = {"name": "evil", "display_name": "evil"}
    found = canonical(notebook, KNOWN)
    assert about(found) == RIGHT
    assert all(cell.metadata.keys() == {"nbgrader"} for cell in found.cells)
    assert all(cell.get("outputs", []) == [] for cell in found.cells)
    assert found.metadata.kernelspec.name == "python3"


def test_deleted_cells_come_back_in_their_place_and_deleted_answers_count_as_untouched() -> None:
    notebook = submitted()
    notebook.cells = [nbformat.v4.new_markdown_cell("notes"), notebook.cells[0]]
    found = canonical(notebook, KNOWN)
    assert [row[1] for row in about(found)] == ["notes", "mine", "# hidden tests", "YOUR ANSWER HERE"]
    assert found.cells[-1].metadata.nbgrader.checksum == "3"
    notebook.cells = []
    assert [row[2] for row in about(canonical(notebook, KNOWN))] == ["grade_answer", "proof"]


def test_of_doubled_cells_the_last_counts_and_unknown_ids_are_nobody_s() -> None:
    notebook = submitted()
    first = nbformat.v4.new_code_cell("older", metadata={"nbgrader": {"grade_id": "answer", "solution": True}})
    other = nbformat.v4.new_code_cell("x", metadata={"nbgrader": {"grade_id": "bonus", "grade": True, "points": 50}})
    strange = nbformat.v4.new_code_cell("y", metadata={"nbgrader": {"grade_id": ["answer"]}})
    notebook.cells = [first, other, strange, *notebook.cells]
    found = canonical(notebook, KNOWN)
    assert about(found)[3:] == RIGHT
    assert all(cell.metadata == {} for cell in found.cells[:3])


def test_a_picture_of_a_proof_is_kept() -> None:
    notebook = submitted()
    notebook.cells[2].attachments = notebook.cells[1].attachments = {"proof.png": {"image/png": "aGVsbG8="}}
    found = canonical(notebook, KNOWN)
    assert (
        found.cells[2].attachments == {"proof.png": {"image/png": "aGVsbG8="}} and "attachments" not in found.cells[1]
    )


def test_pictures_that_nbgrader_cannot_show_become_text() -> None:
    notebook = submitted()
    notebook.cells[2].source = "![kept](attachment:a.png) ![gone](attachment:b.png) ![odd](attachment:c.png)"
    notebook.cells[2].attachments = {"a.png": {"image/png": "aGVsbG8=", "text/html": "<b>"}, "c.png": {}, "d": "x"}
    own = nbformat.v4.new_markdown_cell("![mine](attachment:a.png)", attachments={"a.png": {"image/png": "aGVsbG8="}})
    notebook.cells.insert(0, own)
    found = canonical(notebook, KNOWN)
    assert found.cells[0].source == "! [mine] (attachment:a.png)" and "attachments" not in found.cells[0]
    assert found.cells[3].source == "![kept](attachment:a.png) ! [gone] (attachment:b.png) ! [odd] (attachment:c.png)"
    assert found.cells[3].attachments == {"a.png": {"image/png": "aGVsbG8="}}


@pytest.mark.parametrize("picture", ["![](https://e.example/p.png)", "!![a](https://e.example/p)", "![[b]](https://e.example)", "![c][d]",
                                     "![e](attachment:f.png", "![](https://e.example/p.png#](attachment:a.png)"])  # fmt: skip
def test_pictures_from_the_web_become_links(picture: str) -> None:
    assert "![" not in harmless(picture, {"a.png": {}})
    assert harmless("[a](https://e.example) and $n! [x]$", {}) == "[a](https://e.example) and $n! [x]$"


def test_a_cell_keeps_a_hundred_formulas() -> None:
    """Those after them are text: nbconvert looks for the end of each in all that follows."""
    for opening in ("\\begin{", "\\\\(", "\\\\["):
        assert harmless(opening + "a", {}) == opening + "a"
        assert harmless(f"{opening}a " * 300, {}).count(opening) == 100


def test_of_a_cell_and_of_a_notebook_only_so_much_is_shown() -> None:
    cells = [{"cell_type": kind, "source": "y" * 60_000} for kind in ("code", "markdown") * 15]
    found = [cell.source for cell in rebuilt(json.dumps({"cells": cells}).encode()).cells]
    assert found == ["y" * 50_000 + CUT] * 20 + [CUT] * 10


SLOW = {
    "dots": "a." * 25_000,
    "quotes": '"""\n' * 12_000,
    "f-strings": "f'{" * 16_000,
    "brackets": "@a" + ".a" * 24_000,
}


@pytest.mark.parametrize("kind", SLOW)
def test_no_cell_takes_long_to_be_coloured(kind: str) -> None:
    begun = time.monotonic()
    for length in (nbgrader.COLOURED, 50_000):
        shown = nbgrader.highlighted(SLOW[kind][:length])
        assert shown.startswith('<div class="highlight hl-python"><pre>')
    assert time.monotonic() - begun < 2
    assert '<span class="k">def</span>' in nbgrader.highlighted("def f(): return '<b>'")
    assert "<b>" not in nbgrader.highlighted("'<b>'" * 1000) + nbgrader.highlighted("'<b>'")


def test_of_a_notebook_only_kind_text_grade_id_and_pictures_are_read() -> None:
    picture = {"image/png": ["aGVs", "bG8="], "text/html": "<b>"}
    cell = {"cell_type": "markdown", "id": 7, "source": ["a", "b"], "outputs": [{}], "attachments": {"a.png": picture}}
    cell["metadata"] = {"nbgrader": {"grade_id": "proof", "points": 1000}, "tags": ["x"]}
    found = rebuilt(json.dumps({"nbformat": "4", "metadata": {"x": [1]}, "cells": [cell]}).encode())
    assert found.cells == [
        {
            "id": "cell0",
            "cell_type": "markdown",
            "source": "ab",
            "metadata": {"nbgrader": {"grade_id": "proof"}},
            "attachments": {"a.png": {"image/png": "aGVsbG8="}},
        }
    ]
    assert found.metadata == {} and found.nbformat == 4


ODD = {
    "half characters": lambda cells: json.dumps({"cells": [{**cell, "source": "x = 'A\ud800'"} for cell in cells]}).encode(),
    "a mark of the byte order": lambda cells: b"\xef\xbb\xbf" + json.dumps({"cells": cells}).encode(),
    "UTF-16": lambda cells: json.dumps({"cells": cells}).encode("utf-16"),
    **{f"format {form!r}": lambda cells, form=form: json.dumps({"nbformat": form, "cells": cells}).encode() for form in (2, 5, "4")},
    **{
        f"attachments {odd!r}": lambda cells, odd=odd: json.dumps({"cells": [{**cell, "attachments": odd} for cell in cells]}).encode()
        for odd in (7, {"a.png": 7}, {"a.png": {"image/png": 5}}, {"a.png": {"image/png": "é\ud800"}}, {"\ud800": {"image/png": "aA=="}})
    },
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_what_course_grade_reads_nbgrader_reads(folders: Path, odd: str) -> None:
    cells = [
        {"cell_type": "markdown", "source": "![](attachment:a.png)", "metadata": {"nbgrader": {"grade_id": "proof"}}}
    ]
    notebook = folders / "submitted" / "fay" / NAME / "topic.ipynb"
    notebook.write_bytes(ODD[odd](cells))
    (notebook.parent / ("é" * 127 + "x")).unlink()
    exporter = exporter_of(folders)
    exporter.register_preprocessor(lambda notebook, resources: (canonical(notebook, KNOWN), resources), enabled=True)
    output, _ = exporter.from_filename(
        str(notebook), {"nbgrader": {"student": "fay", "assignment": NAME, "notebook": "topic"}}
    )
    found = nbformat.reads(output.encode().decode(), as_version=4)
    assert len(found.cells) == len(parse_notebook(notebook.read_bytes())) + 1
    assert not any(cell.get("attachments") for cell in found.cells)


def exporter_of(folders: Path) -> nbgrader.Checked:
    """What reads submissions below a folder."""
    exporter = nbgrader.Checked()
    course = Mock(
        submitted_directory="submitted", format_path=lambda step, student, name: str(folders / step / student / name)
    )
    exporter.parent = Mock(spec=LoggingConfigurable, coursedir=course)
    return exporter


# --- what is dangerous to handle ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A term with submissions that hold a link: by a name as long as it can be, where it cannot be moved, and in two links' place."""
    monkeypatch.setattr(collect, "TERM", tmp_path)
    (tmp_path / "secret").write_text("LEAK")
    for student in ("dan", "eve", "fay"):
        folder = tmp_path / "submitted" / student / NAME
        folder.mkdir(parents=True)
        (folder / "topic.ipynb").write_bytes(b"{}")
        (folder / ("é" * 127 + "x")).symlink_to(tmp_path / "secret")
    (tmp_path / "set_aside").mkdir()
    (tmp_path / "set_aside" / "dan").write_text("in the way")
    (tmp_path / "submitted" / "gus").symlink_to("fay")
    (tmp_path / "submitted" / "hal").mkdir()
    (tmp_path / "submitted" / "hal" / NAME).symlink_to(f"../fay/{NAME}")
    return tmp_path


def test_links_are_moved_whatever_their_names_and_what_cannot_be_moved_is_left_out(
    folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert collect.clean_all() == ["dan"]
    assert "not graded, since it holds what cannot be moved" in caplog.text and f"submitted/dan/{NAME}" in caplog.text
    links = [path.parent.name for path in sorted((folders / "submitted").rglob("*")) if path.is_symlink()]
    assert links == [NAME] and (folders / "submitted" / "fay" / NAME / "topic.ipynb").exists()
    assert [
        len(list((folders / "set_aside" / student / NAME).iterdir())) for student in ("eve", "fay", "gus", "hal")
    ] == [1] * 4


def test_the_hook_ends_nbgrader_where_it_fails(folders: Path) -> None:
    def hook(student: str) -> None:
        collect.set_aside(NAME, student, [str(folders / "submitted" / student / NAME / "topic.ipynb")])

    hook("eve")
    with pytest.raises(SystemExit, match="not graded, since it holds what cannot be moved"):
        hook("dan")


@pytest.mark.parametrize("student", ["eve", "gus", "hal"])
def test_what_still_holds_a_link_is_not_converted(folders: Path, student: str) -> None:
    notebook = folders / "submitted" / student / NAME / "topic.ipynb"
    about = {"nbgrader": {"student": student, "assignment": NAME, "notebook": "topic"}}
    with pytest.raises(SubmissionError, match="not graded: no ordinary file"):
        exporter_of(folders).from_filename(str(notebook), about)


def test_a_mistake_in_the_configuration_ends_nbgrader(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = "from nbgrader.apps import NbGrader\nNbGrader().load_config_file()\nprint('it went on')"
    environment = {**os.environ, "COURSE_TERM": str(tmp_path / "file" / "term")}
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "it went on" not in done.stdout
    assert "nothing was done, since nbgrader_config.py failed: ValueError" in done.stderr


# --- a term ------------------------------------------------------------------------------------------------------------------------


def variant(change) -> bytes:
    """The solved notebook after a change."""
    notebook = A01.solved()
    change(notebook)
    return to_bytes(notebook)


def partly(notebook: NotebookNode) -> None:
    """A classic mistake, and a proof with a script in it."""
    cell = cell_named(notebook, "one_step")
    cell.source = cell.source.replace("sp.sqrt(1 - alpha)", "(1 - alpha)")
    cell_named(notebook, "proof").source = PROOF


def tampered(notebook: NotebookNode) -> None:
    """Wrong answers, no hidden tests, and a forged score."""
    notebook.cells = [cell for cell in A01.released().cells if "grade" not in cell.id]
    forged = nbformat.v4.new_code_cell(
        "1000",
        metadata={
            "nbgrader": {
                "grade_id": "grade_one_step",
                "grade": True,
                "locked": True,
                "solution": False,
                "points": 1000,
                "schema_version": 3,
            }
        },
        id="forged",
    )
    forged.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "1000.0"}, execution_count=1)]
    notebook.cells.append(forged)


def illustrated(notebook: NotebookNode) -> None:
    """An honest picture in a cell of the student's own, and one from the web."""
    png = {"sketch.png": {"image/png": "aGVsbG8="}}
    text = "My sketch: ![sketch](attachment:sketch.png) ![web](https://e.example/pixel.png)"
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(text, attachments=png))


def crowded(notebook: NotebookNode) -> None:
    """More cells than anybody writes."""
    notebook.cells += [nbformat.v4.new_code_cell("") for _ in range(2000)]


def odd(notebook: NotebookNode) -> None:
    """What nbformat refuses or checks for an hour, and text that takes nbconvert as long."""
    texts = ["\ud800", "\\begin{a}" * 60_000]
    notebook.cells += [nbformat.v4.new_code_cell("'\ud800'"), *map(nbformat.v4.new_markdown_cell, texts)]
    notebook.cells[-3].outputs = [{}] * 900_000


def unchecked(change) -> bytes:
    """The solved notebook after a change that makes it an invalid one."""
    notebook = A01.solved()
    change(notebook)
    return b"\xef\xbb\xbf" + json.dumps(notebook).encode()


STUDENTS = {
    "ada": variant(illustrated),
    "ben": variant(partly),
    "cat": to_bytes(A01.released()),
    "dan": to_bytes(A01.released()),
    "eve": variant(tampered),
    "gus": variant(crowded),
    "odd": unchecked(odd),
    "mal": b'{"cells": [{"cell_type": "code"}], "nbformat": 4',
}  # fmt: skip
SCORES = {"ada": 90.0, "ben": 86.0, "cat": 0.0, "eve": 0.0, "odd": 90.0}


class Term:
    """A course in a folder of its own, on which nbgrader's commands run."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self.folder = folder
        self.environment = {**os.environ, "COURSE_TERM": str(folder / "term"), "COURSE_BUILD": str(folder / "build")}
        self.environment |= {"COURSE_DATABASE": database} if database else {}
        build("a01", folder / "build")
        for student, content in STUDENTS.items():
            file = self.path("submitted", student) / "topic.ipynb"
            file.parent.mkdir(parents=True)
            file.write_bytes(content)

    def path(self, step: str, student: str) -> Path:
        """Where a student's assignment lies at a step."""
        return self.folder / "term" / step / student / NAME

    def run(self, *words: str) -> tuple[int, str]:
        """Exit status and messages of a command of nbgrader."""
        command = [str(Path(sys.executable).parent / "nbgrader"), *words]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def grades(self) -> dict[str, dict[str, str]]:
        """The rows of the exported table, by student."""
        file = self.folder / "grades.csv"
        status, said = self.run("export", "--to", str(file))
        assert status == 0, said
        with open(file) as stream:
            return {row["student_id"]: row for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def term(bubblewrap: None, tmp_path_factory: pytest.TempPathFactory) -> Term:
    """A term in which the first assignment was released, handed in, graded and given back."""
    term = Term(tmp_path_factory.mktemp("course"))
    secret = term.folder / "instructor_only"
    secret.write_text("LEAK")
    (term.path("submitted", "eve") / "notes.txt").symlink_to(secret)
    (term.path("submitted", "eve") / ("x" * 255)).symlink_to(secret)
    os.mkfifo(term.path("submitted", "eve") / "timestamp.txt")
    (term.path("submitted", "dan") / "notes.txt").symlink_to(secret)
    (term.path("submitted", "ben") / "timestamp.txt").write_text("0001-01-01 00:00:00 +1400")
    (term.path("submitted", "ada") / "timestamp.txt").write_text("2027-03-02 10:15:00 CET\n")
    (term.folder / "term" / "set_aside").mkdir()
    (term.folder / "term" / "set_aside" / "dan").write_text("in the way: his link cannot be moved")
    status, said = term.run("generate_assignment", NAME)
    assert status == 0, said
    term.said = term.run("autograde", NAME)  # type: ignore[attr-defined]
    status, said = term.run("generate_feedback", NAME)
    assert status == 0, said
    return term


def test_scores_are_those_of_course_grade(term: Term) -> None:
    found = term.grades()
    assert {student: float(row["raw_score"]) for student, row in found.items() if student in SCORES} == SCORES
    assert all(float(row["max_score"]) == 100 for row in found.values())
    file = term.folder / "grades.json"
    command = [
        sys.executable,
        "-m",
        "course.cli",
        "grade",
        str(term.folder / "term" / "submitted"),
        "--assignment",
        "a01",
    ]
    subprocess.run([*command, "--json", str(file)], cwd=ROOT, env=term.environment, capture_output=True, check=False)
    ours = {entry["student"]: entry["score"] for entry in json.loads(file.read_text())}
    assert ours == {**SCORES, "dan": 0, "gus": None, "mal": None}


def test_what_was_not_graded_is_blank_in_the_table_and_not_0(term: Term) -> None:
    found = term.grades()
    assert {found[student]["status"] for student in ("gus", "mal", "dan")} == {"not graded"}
    assert {found[student][column] for student in ("gus", "mal", "dan") for column in ("score", "raw_score")} == {""}
    assert all(found[student]["status"] in ("graded", "needs manual grading") for student in SCORES)


def test_nobody_else_on_the_machine_may_look_into_a_term(term: Term) -> None:
    modes = {path: path.stat().st_mode & 0o077 for path in (term.folder / "term").rglob("*.db")}
    assert modes and set(modes.values()) == {0} and (term.folder / "term").stat().st_mode & 0o777 == 0o700


def cut_in_two(folder: Path) -> None:
    (folder / "topic.ipynb").chmod(0o644)
    (folder / "topic.ipynb").write_bytes((folder / "topic.ipynb").read_bytes()[:1000])


def without_its_notebook(folder: Path) -> None:
    (folder / "topic.ipynb").unlink()


@pytest.mark.parametrize("left", [cut_in_two, without_its_notebook])
def test_what_a_killed_command_left_is_made_again(term: Term, left: Callable[[Path], None]) -> None:
    before, folder = term.grades(), term.path("autograded", "ben")
    whole = (folder / "topic.ipynb").read_bytes()
    left(folder)
    with Gradebook(f"sqlite:///{term.folder / 'term' / 'gradebook.db'}") as gradebook:
        gradebook.find_grade("grade_one_step", "topic", NAME, "ben").auto_score = None
        gradebook.db.commit()
    assert term.grades()["ben"]["status"] == "not graded"
    _, said = term.run("autograde", NAME)
    assert f"made again, since it was interrupted, or what it came from has changed: {folder}" in said
    assert term.grades() == before and (folder / "topic.ipynb").read_bytes() == whole
    assert f"Skipping existing assignment: {term.path('autograded', 'ada')}" in said


def _inode(folder: Path) -> int | None:
    """Which folder this is; None while there is none. One call: it may go between a look and a second one."""
    with suppress(FileNotFoundError):
        return folder.stat().st_ino
    return None


def test_a_grader_that_is_killed_leaves_nothing_that_the_next_run_does_not_find(term: Term) -> None:
    before, command = term.grades(), [str(Path(sys.executable).parent / "nbgrader"), "autograde", NAME, "--force"]
    for student in ("ada", "ben"):
        old = _inode(term.path("autograded", student))
        going = subprocess.Popen(
            command, cwd=ROOT, env=term.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while (
            time.monotonic() < deadline
            and going.poll() is None
            and _inode(term.path("autograded", student)) in (None, old)
        ):
            time.sleep(0.001)  # until the folder is another one
        going.kill()
        going.wait()
    term.run("autograde", NAME)
    assert term.grades() == before


def test_a_malformed_or_endless_notebook_is_flagged_and_the_others_are_graded(term: Term) -> None:
    status, said = term.said  # type: ignore[attr-defined]
    assert status != 0 and "the notebook has more than 2000 cells" in said
    for student in ("gus", "mal"):
        assert f"error processing assignment '{NAME}' for student '{student}'" in said
        assert not term.path("autograded", student).exists()
        assert f"Autograding {term.path('autograded', student)}" not in said  # refused before it was converted


def test_a_link_that_cannot_be_moved_is_not_copied_by_the_command_nor_by_the_formgrader(term: Term) -> None:
    assert f"move it yourself, then grade again: {term.path('submitted', 'dan')}" in term.said[1]  # type: ignore[attr-defined]
    assert not term.path("autograded", "dan").exists()
    formgrader = f"""
from nbgrader.apps import NbGrader, NbGraderAPI
app = NbGrader()
app.load_config_file()
print(NbGraderAPI(config=app.config).autograde("{NAME}", "dan"))"""
    done = subprocess.run(
        [sys.executable, "-c", formgrader], cwd=ROOT, env=term.environment, capture_output=True, text=True, check=True
    )
    assert "'success': False" in done.stdout and "SystemExit: not graded" in done.stdout
    assert "Copying" not in done.stdout and not term.path("autograded", "dan").exists()


def test_links_and_pipes_are_set_aside_and_never_followed(term: Term) -> None:
    aside = sorted(file.name for file in term.path("set_aside", "eve").iterdir())
    assert aside == ["notes.txt.0", "timestamp.txt.1", "x" * 40 + ".2"]
    everything = [file for file in (term.folder / "term").rglob("*") if file.is_file() and not file.is_symlink()]
    assert not any(b"LEAK\n" in file.read_bytes() or file.read_bytes() == b"LEAK" for file in everything)


def test_a_time_is_kept_and_what_is_none_is_set_aside(term: Term) -> None:
    assert [file.name for file in term.path("set_aside", "ben").iterdir()] == ["timestamp.txt.0"]
    with Gradebook(f"sqlite:///{term.folder / 'term' / 'gradebook.db'}") as gradebook:
        times = [gradebook.find_submission(NAME, student).timestamp for student in ("ada", "ben")]
    assert times == [datetime(2027, 3, 2, 9, 15), None]


def test_messages_reach_the_feedback_and_scripts_do_not(term: Term) -> None:
    page = (term.path("feedback", "ben") / "topic.html").read_text()
    assert "1 - alpha is the variance of the noise" in page and "test_one_step_noise: 0 of 4" in page
    picture = (term.path("feedback", "ada") / "topic.html").read_text()
    assert "sketch] (attachment:sketch.png)" in picture and '<a href="https://e.example/pixel.png">web</a>' in picture
    assert "A linear map of a Gaussian vector" in page and "0&lt; b&lt;1</annotation>" in page
    assert re.search(r'<a href="#grade_two_steps">two_steps</a> \(Score: 18.0 / 18.0\)', page)
    assert "Test cell" not in page and "/ 0.0)" not in page
    assert active(page) == active((term.path("feedback", "ada") / "topic.html").read_text())


FORMGRADER = """
import sys
from nbconvert.exporters import HTMLExporter
from nbgrader.server_extensions.formgrader import handlers
from traitlets.config.loader import PyFileConfigLoader
from autograder.assignment.source import read_assignment
config = PyFileConfigLoader("nbgrader_config.py", sys.argv[1]).load_config()
config.HTMLExporter.template_name = "formgrade"
config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
about = dict.fromkeys(("submission_id", "notebook_id", "assignment_id", "base_url", "student", "notebook_path"), "x")
about |= {"index": 0, "total": 1, "last_name": None, "first_name": None, "metadata": {"name": "topic"}}
print(HTMLExporter(config=config).from_notebook_node(read_assignment("a01").solved(), about)[0])
"""


def test_the_formgrader_shows_scores_where_there_are_points(tmp_path: Path) -> None:
    """And not at the public checks, which nbgrader grades with 0 points so that Validate looks at them."""
    command = [sys.executable, "-c", FORMGRADER, str(ROOT)]
    world = {**os.environ, "COURSE_TERM": str(tmp_path), "PYTHONPATH": str(ROOT)}
    page = subprocess.run(command, env=world, capture_output=True, text=True, check=True).stdout
    assert re.findall(r'<input class="score tabbable" id="(\w+)"', page) == [
        name if name in A01.by_hand else f"grade_{name}" for name in A01.points
    ]


def active(page: str) -> Counter[str]:
    """Everything in a page that can act or load: how often each such tag, attribute and address stands in it."""
    found: Counter[str] = Counter()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag in ("script", "iframe", "object", "embed", "style", "link", "img", "svg", "form", "meta", "base"):
                found[tag] += 1
            for name, value in attrs:
                if name.startswith("on") or "javascript:" in (value or "").lower():
                    found[f"{name}={value}"] += 1

    Reader().feed(page)
    return found


def test_what_a_person_reads_waits_for_one_and_an_empty_answer_does_not(term: Term) -> None:
    with Gradebook(f"sqlite:///{term.folder / 'term' / 'gradebook.db'}") as gradebook:
        waiting = {s: gradebook.find_grade("proof", "topic", NAME, s).needs_manual_grade for s in SCORES}
        assert waiting == {"ada": True, "ben": True, "cat": False, "eve": False, "odd": True}
        gradebook.find_grade("proof", "topic", NAME, "ada").manual_score = 9
        gradebook.db.commit()
    assert float(term.grades()["ada"]["raw_score"]) == 99


def test_grading_again_changes_nothing_and_keeps_what_a_person_gave(term: Term) -> None:
    before = term.grades()
    again = term.path("autograded", "ben") / "topic.ipynb"
    bits = again.read_bytes()
    term.run("autograde", NAME, "--force")
    assert again.read_bytes() == bits
    assert {s: row["raw_score"] for s, row in term.grades().items()} == {
        s: row["raw_score"] for s, row in before.items()
    }


def test_the_guide_s_late_penalty_takes_ten_points_a_day() -> None:
    page = (ROOT / "book" / "instructors.md").read_text()
    names: dict = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    penalty = names["TenADay"]().late_submission_penalty
    assert [penalty("ada", 80, seconds) for seconds in (1, 86_400, 86_401, 10**7)] == [10, 10, 20, 80]


# --- PostgreSQL --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server of this test's own, on loopback."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        if os.environ.get("CI") and shutil.which("apt-get"):
            pytest.fail("PostgreSQL is not installed: apt install postgresql")
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = Path("/tmp") / f"course-postgres-{os.getpid()}"
    folder.mkdir(mode=0o700)
    if user:
        shutil.chown(folder, user, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    command = [str(programs[-1] / "initdb"), "-D", data, "-U", "course", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(command, user=user, cwd="/", check=True, capture_output=True)
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
    running = subprocess.Popen(
        [str(programs[-1] / "postgres"), "-D", data, "-p", str(port), *options],
        user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        import psycopg

        address = f"course@127.0.0.1:{port}"
        for _ in range(100):
            try:
                with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
                    connection.execute("CREATE DATABASE gradebook")
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        yield f"postgresql+psycopg://{address}/gradebook"
    finally:
        running.terminate()
        running.wait(30)
        shutil.rmtree(folder)


def test_the_gradebook_may_lie_in_postgresql(server: str, tmp_path: Path) -> None:
    term = Term(tmp_path, server)
    for words in (("generate_assignment", NAME), ("autograde", NAME, "--student", "ben"), ("generate_feedback", NAME)):
        status, said = term.run(*words)
        assert status == 0, said
    assert float(term.grades()["ben"]["raw_score"]) == SCORES["ben"]
    assert not (tmp_path / "term" / "gradebook.db").exists()
