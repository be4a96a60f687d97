"""Every hostile submission of the corpus gains no point, leaks nothing and stops nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.assignment.library import build_course
from autograder.assignment.source import read_assignment, to_bytes
from autograder.assignment.submission import read_submission
from autograder.grading.mutants import SECRET, cell_named
from autograder.grading.one import Result, grade
from autograder.sandbox.child import Limits
from autograder.sandbox.outside import Sandbox

CORPUS = sorted((Path(__file__).parent / "hostile").glob("*.py"))
ASSIGNMENT = read_assignment("a01")
LIMITS = Limits(call_seconds=2, load_seconds=4, all_seconds=40, cpu_seconds=8, memory_bytes=512 << 20)


@pytest.fixture(scope="module")
def box(bubblewrap: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    course = build_course(ASSIGNMENT.course["withheld"], tmp_path_factory.mktemp("course"))
    with Sandbox(course, given=ASSIGNMENT.given) as running:
        yield running


def attack(code: str, box: Sandbox, folder: Path) -> Result:
    """The grade of an otherwise untouched notebook whose first answer is the attack."""
    notebook = ASSIGNMENT.released()
    cell_named(notebook, "one_step").source = code
    file = folder / "topic.ipynb"
    file.write_bytes(to_bytes(notebook))
    return grade(read_submission(file), ASSIGNMENT.suite, ASSIGNMENT.name, box, SECRET, LIMITS)


@pytest.mark.parametrize("file", CORPUS, ids=[file.stem for file in CORPUS])
def test_it_gains_nothing_leaks_nothing_and_ends(
    file: Path, box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_SECRET", "LEAK of the environment")
    begun = time.monotonic()
    result = attack(file.read_text(), box, tmp_path)
    assert [test.name for test in result.tests if test.passed] == []
    assert result.worth() == 90
    said = " ".join([*result.cell_errors, *(test.message for test in result.tests)])
    assert "LEAK" not in said
    assert not any(test.review for test in result.tests), "a test did not foresee what came back"
    assert time.monotonic() - begun < 60


def test_after_all_of_them_an_honest_submission_scores_everything(box: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "topic.ipynb"
    file.write_bytes(to_bytes(ASSIGNMENT.solved()))
    result = grade(read_submission(file), ASSIGNMENT.suite, ASSIGNMENT.name, box, SECRET)
    assert result.score() == 90 and result.cell_errors == []


def test_the_corpus_is_large_and_says_what_it_tries() -> None:
    assert len(CORPUS) >= 115
    for file in CORPUS:
        assert file.read_text().startswith("# tries: "), file.name
