"""`course check`: the student's own run says what passes and what is wrong, with nothing of the instructor's."""

import importlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autograder.assignment.check import check
from autograder.assignment.packages import PACKAGES
from autograder.assignment.source import ROOT, build, read_assignment, to_bytes
from autograder.assignment.submission import SubmissionError
from autograder.grading.mutants import cell_named
from autograder.sandbox.child import Limits
from course.cli import app


@pytest.fixture
def release(tmp_path: Path) -> Path:
    build("a01", tmp_path)
    return tmp_path / "release" / "a01_closed_form"


@pytest.fixture
def solved(release: Path):
    """Hand in the solved notebook with one replacement, in the release's folder."""

    def write(cell: str = "", old: str = "", new: str = "") -> Path:
        notebook = read_assignment("a01").solved()
        if cell:
            found = cell_named(notebook, cell)
            assert old in found.source
            found.source = found.source.replace(old, new)
        (release / "topic.ipynb").write_bytes(to_bytes(notebook))
        return release / "topic.ipynb"

    return write


def test_a_right_notebook_passes_every_check(solved) -> None:
    found = check("a01", solved())
    assert len(found) == 8 and all(one.passed for one in found)


def test_an_untouched_notebook_is_told_what_to_write(release: Path) -> None:
    found = check("a01_closed_form", release / "topic.ipynb")
    assert not any(one.passed for one in found)
    messages = {one.name: one.message for one in found}
    assert messages["one_step"] == "write one_step, then run this cell again"
    assert "write snr" in messages["snr"]


def test_a_mistake_is_explained_in_the_checks_own_words(solved) -> None:
    found = {one.name: one for one in check("a01", solved("one_step", "sp.sqrt(1 - alpha)", "(1 - alpha)"))}
    assert not found["one_step"].passed and found["one_step"].message.startswith("the noise has VARIANCE 1 - alpha")
    assert found["posterior"].passed


def test_what_is_withheld_is_said_before_handing_in(solved) -> None:
    notebook = solved(
        "snr",
        "sp.log(alpha_bar) - sp.log(1 - alpha_bar + extra)",
        "__import__('course_lib.diffusion.schedules').diffusion.schedules.log_snr(None, alpha_bar)",
    )
    found = {one.name: one for one in check("a01", notebook)}
    assert "course_lib.diffusion.schedules.log_snr is what this assignment asks you to write" in found["snr"].message


def test_a_package_that_grading_lacks_is_named_before_handing_in(solved) -> None:
    """It may be installed here: pytest is."""
    notebook = solved(
        "one_step",
        "def one_step",
        "%matplotlib inline\nimport pytest, os.path\nfrom nbformat.v4 import x\ndef one_step",
    )
    found = {one.name: one for one in check("a01", notebook)}
    assert not found["packages"].passed and found["packages"].message.startswith(
        "grading has no pytest and no nbformat: use torch,"
    )
    assert "packages" not in {one.name for one in check("a01", solved())}


def test_every_package_that_may_be_used_is_one_of_the_course_s_own() -> None:
    for name in PACKAGES:
        importlib.import_module(name)
    page = (ROOT / "book" / "assignments" / "index.md").read_text()
    assert ", ".join(f"`{name}`" for name in PACKAGES) in page


def test_a_cell_that_fails_elsewhere_is_listed_by_its_number(solved) -> None:
    found = check("a01", solved("walk", "def walk", "1 / 0\ndef walk"))
    assert next(one.name for one in found if not one.passed).startswith("cell ")


def test_as_in_grading_nothing_lies_beside_the_notebook_but_what_came_with_it(release: Path, solved) -> None:
    (release / "mine.py").write_text("")
    (release / "numbers.csv").write_text("1")
    for line, message in (
        ("import mine", "ModuleNotFoundError"),
        ("open('numbers.csv')", "FileNotFoundError"),
        ("import checks", ""),
    ):
        found = {one.name: one for one in check("a01", solved("walk", "def walk", f"{line}\ndef walk"))}
        failed = [one.message for one in found.values() if not one.passed]
        assert any(message in text for text in failed) if message else not failed


def test_a_cell_has_as_long_as_in_grading(solved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autograder.assignment.check.USUAL", Limits(load_seconds=8))
    found = {one.name: one for one in check("a01", solved("walk", "def walk", "while True: pass\ndef walk"))}
    (cell,) = [one for one in found.values() if one.name.startswith("cell")]
    assert "it was still running after" in cell.message and found["one_step"].passed and not found["walk"].passed


def test_other_files_get_one_clear_error(release: Path, solved) -> None:
    with pytest.raises(SubmissionError, match="is a notebook of a01_closed_form, not of a02"):
        check("a02", solved())
    with pytest.raises(SubmissionError, match="was still running after 0 minutes"):
        check("a01", solved("one_step", "def one_step", "while True: pass\ndef one_step"), seconds=2)
    with pytest.raises(SubmissionError, match="ended Python before its last cell"):
        check("a01", solved("one_step", "def one_step", "import os\nos._exit(1)\ndef one_step"))
    notebook = solved()
    (release / "checks.py").unlink()
    with pytest.raises(SubmissionError, match="checks.py must lie beside"):
        check("a01", notebook)
    notebook.write_text(json.dumps({"cells": [], "metadata": {}}))
    with pytest.raises(SubmissionError, match="has none of the course's checks"):
        check("a01", notebook)


def test_the_commands_build_and_check(tmp_path: Path) -> None:
    runner = CliRunner()
    built = runner.invoke(app, ["assignments", "build", "a01", "--out", str(tmp_path)])
    assert built.exit_code == 0 and "topic.ipynb" in built.output
    folder = tmp_path / "solved" / "a01_closed_form"
    done = runner.invoke(app, ["check", "a01", str(folder / "topic.ipynb")])
    assert done.exit_code == 0 and "8 of 8 pass" in done.output
    done = runner.invoke(app, ["check", "a01", str(tmp_path / "release" / "a01_closed_form" / "topic.ipynb")])
    assert done.exit_code == 1 and "0 of 8 pass" in done.output and "write one_step" in done.output
    assert runner.invoke(app, ["check", "a01", str(tmp_path / "nothing.ipynb")]).exit_code == 1
    assert runner.invoke(app, ["assignments", "build", "a77", "--out", str(tmp_path)]).exit_code == 1
