"""Grading: right answers score, wrong ones are named, broken ones cost their own test, and the same submission the same grade."""

import json
import resource
import time
from pathlib import Path

import pytest

from autograder.assignment.submission import SubmissionError, read_submission
from autograder.grading.one import Result, grade, memory_bounded
from autograder.sandbox.child import Limits
from autograder.sandbox.outside import Sandbox, SandboxError
from autograder.testing.answers import Wrong, match
from autograder.testing.suite import Draw, redacted, seed_for

SUITE = '''
import math
from autograder.testing.answers import match, require
from autograder.testing.suite import points

@points("std", 10)
def test_std(student, draw):
    """The standard deviation of the noise."""
    a = draw.uniform(0.1, 0.9)
    match(student.number("std", a), math.sqrt(1 - a), {"this is the variance; take its square root": 1 - a}, "std is wrong")

@points("std", 5)
def test_std_of_none(student):
    require(student.number("std", 1.0) == 0, "without noise the standard deviation is 0")

@points("total", 5)
def test_total(student, draw):
    x = draw.normal(3)
    require(abs(student.number("total", x) - float(x.sum())) < 1e-9, "total should add up its argument")

@points("total", 5)
def test_unforeseen(student):
    assert student.call("total", [1])["key"] == 1
'''
GOOD = "import math\ndef std(a):\n    return math.sqrt(1 - a)\ndef total(x):\n    return {'key': 1} if isinstance(x, list) else x.sum()"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_all.py").write_text(SUITE)
    return folder


def notebook(folder: Path, *cells: str) -> Path:
    path = folder / "answer.ipynb"
    code = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": []} for cell in cells]
    path.write_text(json.dumps({"cells": code, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
    return path


@pytest.fixture
def graded(suite: Path, sandbox: Sandbox, tmp_path: Path):
    limits = Limits(call_seconds=2, load_seconds=5)

    def run(*cells: str) -> Result:
        return grade(read_submission(notebook(tmp_path, *cells)), suite, "demo", sandbox, b"secret", limits)

    return run


def messages(result: Result) -> dict[str, str]:
    return {test.name: test.message for test in result.tests if not test.passed}


def test_right_answers_score_everything(graded) -> None:
    result = graded(GOOD)
    assert result.score() == result.worth() == 25 and result.cell_errors == []
    assert result.score("std") == 15 and result.worth("total") == 10
    json.dumps(result.as_dict())


def test_a_known_mistake_is_named(graded) -> None:
    result = graded(GOOD.replace("math.sqrt(1 - a)", "1 - a"))
    assert messages(result) == {"test_std": "this is the variance; take its square root"} and result.score() == 15


def test_an_unknown_mistake_and_a_missing_function_have_their_messages(graded) -> None:
    result = graded("def std(a):\n    return 7.0")
    found = messages(result)
    assert (
        found["test_std"] == "std is wrong" and "NameError: your notebook does not define total" in found["test_total"]
    )
    assert result.score() == 0


def test_a_cell_that_fails_is_reported_and_the_others_count(graded) -> None:
    result = graded("undefined_name", GOOD)
    assert result.score() == 25
    assert len(result.cell_errors) == 1 and result.cell_errors[0].startswith("cell 1: NameError: name 'undefined_name'")


@pytest.mark.parametrize("body", ["while True: pass", "import os; os._exit(0)"])
def test_code_that_does_not_end_well_costs_its_own_tests(graded, body: str) -> None:
    result = graded(GOOD + f"\ndef std(a):\n    {body}")
    assert result.score() == 10 and set(messages(result)) == {"test_std", "test_std_of_none"}


def test_what_a_test_did_not_foresee_fails_and_is_flagged(graded) -> None:
    result = graded(GOOD.replace("{'key': 1}", "3"))
    (test,) = [test for test in result.tests if test.review]
    assert test.name == "test_unforeseen" and not test.passed and "your instructor can see" in test.message


def test_not_a_number_is_an_answer_that_fails(graded) -> None:
    assert messages(graded(GOOD + "\ndef std(a): return float('nan')"))["test_std"] == "std returned NaN or infinity"


def test_the_same_submission_gets_the_same_grade_and_another_gets_other_inputs(graded) -> None:
    spy = GOOD + "\nseen = []\ndef std(a):\n    raise ValueError(repr(a)[:4])"
    first, again, other = graded(spy), graded(spy), graded(spy + "\n# changed")
    strip = [{**result.as_dict(), "seconds": 0} for result in (first, again)]
    assert strip[0] == strip[1]
    assert messages(first)["test_std"] != messages(other)["test_std"]


def test_a_broken_suite_gives_no_grade(suite: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    (suite / "test_all.py").write_text("import no_such_module")
    with pytest.raises(RuntimeError, match=r"is broken, and nothing was graded: (?s:.*)no_such_module"):
        grade(read_submission(notebook(tmp_path, GOOD)), suite, "demo", sandbox, b"secret")


def test_an_interrupted_grader_stops(suite: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    (suite / "test_all.py").write_text(SUITE.replace("    x = draw.normal(3)", "    raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        grade(read_submission(notebook(tmp_path, GOOD)), suite, "demo", sandbox, b"secret")


def test_a_sandbox_that_ends_half_way_gives_no_grade(suite: Path, tmp_path: Path) -> None:
    (suite / "test_all.py").write_text(
        SUITE.replace(
            "    require(student.number",
            "    student.sandbox.process.kill(); student.sandbox.process.wait(); student.close()\n    require(student.number",
        )
    )
    with Sandbox(Path(__file__).resolve().parents[2]) as box, pytest.raises(SandboxError, match="ended unexpectedly"):
        grade(read_submission(notebook(tmp_path, GOOD)), suite, "demo", box, b"secret")


def test_inputs_depend_on_secret_assignment_submission_and_test() -> None:
    base = ("a01", "digest", "test")
    seeds = {seed_for(b"secret", *base), seed_for(b"other", *base), seed_for(b"secret", "a01d", "igest", "test")}
    seeds |= {seed_for(b"secret", *(part + "x" if i == j else part for j, part in enumerate(base))) for i in range(3)}
    assert len(seeds) == 6
    assert Draw(seed_for(b"s", "a")).uniform(0, 1) == Draw(seed_for(b"s", "a")).uniform(0, 1)
    assert 3 <= Draw(b"12345678").integer(3, 4) <= 4


def test_match_prefers_the_truth_and_skips_mistakes_that_cannot_be_told_apart() -> None:
    match(1.0, 1.0, {"wrong": 1.0}, "no")
    for got, message in ((0.5, "half"), (0.7, "no"), ([0.5], "no")):
        with pytest.raises(Wrong, match=message):
            match(got, 1.0, {"the same": 1.0, "half": 0.5}, "no")


def test_long_numbers_are_taken_out_of_messages() -> None:
    assert redacted("shape (2, 3) at 0.25, not -0.123456789e-05 or 1234567") == "shape (2, 3) at 0.25, not … or …"


# --- reading what was handed in ---------------------------------------------------------------------------------------------


def test_a_notebook_is_read_and_its_hash_covers_every_byte(tmp_path: Path) -> None:
    path = notebook(tmp_path, "a = 1", "b = 2")
    found = read_submission(path)
    assert [cell.source for cell in found.cells] == ["a = 1", "b = 2"]
    (tmp_path / "weights.safetensors").write_bytes(b"123")
    with_file = read_submission(path, {"weights.safetensors": 10, "absent.csv": 10})
    assert with_file.files == {"weights.safetensors": b"123"} and with_file.sha256 != found.sha256
    path.write_text(path.read_text() + " ")
    assert read_submission(path).sha256 != found.sha256


def test_what_is_no_notebook_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "answer.ipynb"
    deep = '{"cells": ' + "[" * 100_000
    for text in (
        "",
        "{",
        "[]",
        '{"cells": 3}',
        '{"cells": [1]}',
        '{"cells": [{"cell_type": "code"}]}',
        deep,
        '{"cells": [{"cell_type": "x", "source": ""}]}',
    ):
        path.write_text(text)
        with pytest.raises(SubmissionError, match="not a Jupyter notebook"):
            read_submission(path)
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": ""}] * 3000}))
    with pytest.raises(SubmissionError, match="more than 2000 cells"):
        read_submission(path)
    path.unlink()
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_submission(path)


def test_links_pipes_devices_folders_and_giants_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "answer.ipynb"
    path.symlink_to("/etc/passwd")
    with pytest.raises(SubmissionError, match="not a link"):
        read_submission(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SubmissionError, match="no ordinary file"):
        read_submission(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(SubmissionError, match="no ordinary file|cannot be read"):
        read_submission(path)
    path.rmdir()
    notebook(tmp_path, "x" * 1000)
    monkeypatch.setattr("autograder.assignment.submission.NOTEBOOK_BYTES", 500)
    with pytest.raises(SubmissionError, match="is larger than"):
        read_submission(path)


# --- a mistake costs its own task -------------------------------------------------------------------------------------------

FOLLOWING = """
from autograder.testing.answers import match
from autograder.testing.suite import follows, points

@points("double", 5)
def test_double(student, draw):
    x = draw.uniform(1, 2)
    match(student.number("double", x), 2 * x, {}, "double is wrong")

@points("quadruple", 5)
@follows(double=lambda x: 2 * x)
def test_quadruple(student, draw):
    x = draw.uniform(1, 2)
    match(student.number("quadruple", x), 4 * x, {"this is half of it": 2 * x}, "quadruple is wrong")

@points("twice", 5)
@follows(apply=lambda f, x: f(x))
def test_twice(student):
    match(student.number("twice", lambda x: x + 1, 1.0), 3.0, {}, "twice is wrong")
"""
RIGHT = """
def double(x): return 2 * x
def quadruple(x): return double(double(x))
def apply(f, x): return f(x)
def twice(f, x): return apply(f, apply(f, x))
"""


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ("", {}),
        ("def double(x): return 3 * x", {"test_double": "double is wrong"}),
        ("del double", {"test_double": "NameError: your notebook does not define double"}),
        ("def quadruple(x): return double(x)", {"test_quadruple": "this is half of it"}),
        (
            "def double(x): return 2.5 * x\ndef quadruple(x): return double(x)",
            {"test_double": "double is wrong", "test_quadruple": "this is half of it"},
        ),
        ("def apply(f, x): return x", {}),
        (
            "def apply(f, x): return x\ndef twice(f, x): return apply(lambda x: f(f(x)), x)",
            {"test_twice": "twice is wrong"},
        ),
    ],
    ids=[
        "right",
        "wrong",
        "missing",
        "the later one wrong",
        "both wrong",
        "with a function",
        "with one's own function",
    ],
)
def test_a_mistake_costs_no_later_task(graded, suite: Path, change: str, failed: dict[str, str]) -> None:
    (suite / "test_all.py").write_text(FOLLOWING)
    found = messages(graded(RIGHT + change))
    assert {name: text.splitlines()[0] for name, text in found.items()} == failed


def test_right_functions_are_there_for_one_call_only(graded, suite: Path) -> None:
    first, rest = FOLLOWING.split('@points("quadruple", 5)')
    doubling = first[first.index("@points") :]
    (suite / "test_all.py").write_text(first.replace(doubling, "") + '@points("quadruple", 5)' + rest + doubling)
    thief = """
def quadruple(x):
    global kept
    kept = double
    return double(double(x))
"""
    result = graded(RIGHT + thief + "def double(x): return kept(x)")
    assert result.score("quadruple") == 5 and result.score("double") == 0
    result = graded(RIGHT + thief + "del double")
    assert result.score("quadruple") == 5
    assert "your notebook does not define double" in messages(result)["test_double"]


def test_an_answer_cannot_be_a_function_of_the_graders(graded, suite: Path) -> None:
    (suite / "test_all.py").write_text(FOLLOWING)
    forger = """
from autograder.sandbox.inside import frames
old = frames.to_json
frames.to_json = lambda v, *rest: {"$callable": "0"} if callable(v) else old(v, *rest)
def twice(f, x): return f
"""
    assert "it holds a function of the grader's" in messages(graded(RIGHT + forger))["test_twice"]


GREEDY = """
import torch
from autograder.testing.answers import require
from autograder.testing.suite import points

def repeated(n):
    return torch.zeros(1000, 1) + torch.zeros(1, n)

@points("total", 5)
def test_total(student, draw):
    require(student.number("std", repeated) == 0, "never")

@points("std", 5)
def test_std(student):
    require(student.number("total", 2) == 2, "total should be the identity")
"""


def test_memory_that_our_functions_are_asked_for_costs_the_test_that_asks(
    tmp_path: Path, sandbox: Sandbox, suite: Path
) -> None:
    """The function is one of the suite's; what it is asked for would be 16 GB."""
    (suite / "test_all.py").write_text(GREEDY)
    code = "def std(f):\n    return float(f(4_000_000).sum())\ndef total(x):\n    return x"
    result = grade(
        read_submission(notebook(tmp_path, code)), suite, "demo", sandbox, b"secret", Limits(call_seconds=20)
    )
    assert {test.name: test.passed for test in result.tests} == {"test_total": False, "test_std": True}
    assert "can't allocate memory" in result.tests[0].message and not result.tests[0].review
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_bounded(1 << 26), pytest.raises(MemoryError):
        bytearray(1 << 28)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before and len(bytearray(1 << 28)) == 1 << 28


def test_a_submission_has_one_deadline_whatever_it_ends(suite: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    """A process that ends is started again, and has no more time for that."""
    code = "import os, time\ndef std(a):\n    time.sleep(1.5)\n    os._exit(0)\ntotal = std"
    limits = Limits(call_seconds=5, load_seconds=5, all_seconds=3)
    begun = time.monotonic()
    result = grade(read_submission(notebook(tmp_path, code)), suite, "demo", sandbox, b"secret", limits)
    assert result.score() == 0 and time.monotonic() - begun < 6
    assert "minutes that all of it has" in result.tests[-1].message, result.tests
