"""The small course of `make grade-demo` can be made: its commands are those that test_nbgrader.py runs."""

from pathlib import Path

import nbformat
import pytest

from autograder.assignment.submission import parse_notebook
from autograder.grading.mutants import cell_named
from tools import grade_demo


def test_a_right_a_wrong_and_a_hostile_submission_are_handed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grade_demo, "DEMO", tmp_path)
    grade_demo.hand_in()
    files = {file.parts[-3]: file for file in (tmp_path / "term" / "submitted").glob("*/*/topic.ipynb")}
    assert set(files) == {"perfect", "partly-wrong", "hostile"}
    sources = {}
    for student, file in files.items():
        assert parse_notebook(file.read_bytes())
        notebook = nbformat.read(file, as_version=4)
        sources[student] = [cell_named(notebook, name).source for name in ("one_step", "snr")]
    assert sources["perfect"][0] != sources["partly-wrong"][0] and sources["perfect"][1] != sources["partly-wrong"][1]
    assert sources["hostile"][0] == grade_demo.ATTACK.read_text()
