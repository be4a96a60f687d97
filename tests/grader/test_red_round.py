"""Attacks that are no cell of a notebook: what errors may say, notebooks and archives that grow, folders that stay, stores that fail."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest
from traitlets.config import LoggingConfigurable

from autograder.assignment.source import read_assignment
from autograder.assignment.submission import NOTEBOOK_BYTES, SubmissionError, parse_notebook, read_submission
from autograder.exchange import collect
from autograder.exchange.collect import Extractor
from autograder.exchange.export import safe
from autograder.exchange.formulas import markdown_to_html
from autograder.exchange.nbgrader import SHOWN_OF_A_CELL, harmless
from autograder.grading import one, workplace
from autograder.grading.one import memory_bounded
from autograder.grading.workplace import PREFIX, YOUNG, Workplace
from autograder.sandbox.child import MESSAGE, Child, Limits, StudentError, interrupted_at
from autograder.sandbox.outside import Sandbox
from autograder.testing.suite import Student

QUICK = Limits(call_seconds=3, load_seconds=10, cpu_seconds=5, memory_bytes=512 << 20)
ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., Child]


@pytest.fixture
def start(sandbox: Sandbox) -> Iterator[Start]:
    """Start a child with cells; all are ended after the test."""
    children = []

    def run(*cells: str) -> Child:
        child = sandbox.spawn(QUICK)
        children.append(child)
        child.load(list(cells))
        return child

    yield run
    for child in children:
        child.kill()


# --- what goes home ---------------------------------------------------------------------------------------------------------


def test_an_error_says_no_more_than_its_author_needs(start: Start) -> None:
    child = start(
        "letters = 'abcdefghij'\ndef f(x):\n    raise ValueError(''.join(letters[int(digit)] for digit in str(x)[2:] * 1000))"
    )
    with pytest.raises(StudentError) as caught:
        child.call("f", 0.123456789)
    assert len(str(caught.value)) <= MESSAGE + len("ValueError: ")
    assert 'File "<cell 1>", line 3, in f\n    raise ValueError(' in caught.value.trace


FORGED = """
from autograder.sandbox.inside import service
def f(x): pass
def described(error):
    hidden = "".join("abcdefghij"[int(digit)] for digit in "12345678")
    lines = [f'  File "<cell 1>", line 3, in f', f"    {hidden}", f'  File "<cell 1>", line 12345678, in f', hidden,
        f'  File "<cell 1>", line 3, in {hidden}', f'  File "<cell 77>", line 3, in f', f'  File "{hidden}", line 3, in f']
    return {"kind": hidden * 100 + "\\x1b[2J", "message": "", "trace": "\\n".join(lines)}
honest = service.attempt
service.attempt = lambda student, request: {"error": described(0)} if "call" in request else honest(student, request)
"""


def test_of_a_traceback_only_numbers_are_taken_and_the_lines_are_the_students_own(start: Start) -> None:
    with pytest.raises(StudentError) as caught:
        start(FORGED).call("f", 0.5)
    assert caught.value.trace == '  File "<cell 1>", line 3, in f\n    def f(x): pass\n'
    assert len(str(caught.value)) <= 62 and "\x1b" not in str(caught.value)


# --- what is asked of the grader itself ---------------------------------------------------------------------------------------

SUITE = """
import time
from autograder.testing.suite import points

@points("f", 1)
def test_endless(student):
    student.call("f")
    while True:
        pass

@points("f", 1)
def test_after_it(student):
    time.sleep(30)

@points("f", 1)
def test_too_large(student):
    raise RuntimeError("std::bad_alloc")
"""


def test_work_on_what_was_returned_ends_with_the_submission(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "suite" / "test_all.py").write_text(SUITE)
    code = {"cell_type": "code", "source": "def f(): pass", "metadata": {}, "outputs": []}
    (tmp_path / "answer.ipynb").write_text(json.dumps({"cells": [code]}))
    monkeypatch.setattr(one, "GRACE", 1)
    begun = time.monotonic()
    submission = read_submission(tmp_path / "answer.ipynb")
    result = one.grade(submission, tmp_path / "suite", "demo", sandbox, b"secret", QUICK._replace(all_seconds=8))
    assert time.monotonic() - begun < 20
    assert ["time for your submission was over" in test.message for test in result.tests] == [True] * 3
    assert not any(test.passed or test.review for test in result.tests)
    limits = QUICK._replace(all_seconds=100)
    result = one.grade(submission, tmp_path / "suite", "demo", sandbox, b"secret", limits, only=["test_too_large"])
    assert (
        result.tests[0].message == "what your code returned is too large to be looked at" and not result.tests[0].review
    )


def test_of_hundreds_of_cells_that_fail_little_is_said(sandbox: Sandbox) -> None:
    loud = ["class E(Exception): pass\ndef f(n):\n    if n: f(n - 1)\n    raise E('x' * 1000)", *["f(9)"] * 300]
    student = Student(sandbox, loud, QUICK._replace(load_seconds=60))
    try:
        said = one.load(student)
        assert len(said) == 31 and said[0].startswith("cell 2: E: xxx") and said[-1] == "270 more cells failed"
        assert sum(map(len, said)) < 100_000
    finally:
        student.close()


def test_an_alarm_within_another_gives_it_back() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError), interrupted_at(begun + 0.5):
        with interrupted_at(begun + 60):
            pass
        time.sleep(30)
    assert 0.4 < time.monotonic() - begun < 5


QUESTIONS = {  # what student code may do with a function of ours that doubles its argument
    "in itself": "sum(1 for _ in range(3) if f(f(f(1.0))) == 8.0)",
    "ten thousand times": "sum(f(1.0) > 0 for _ in range(10_000))",
    "with other arguments": "[attempt(lambda: f()), attempt(lambda: f(1, 2)), attempt(lambda: f(y=1)), attempt(lambda: f(x=f))]",
    "about what cannot be sent": "[attempt(lambda: f(v)) for v in (object(), 1j, {1}, {1: 2}, 10**400, torch.zeros(1).to_sparse())]",
    "about itself": "attempt(lambda: f([f, f]))",
    "about eight million bytes": "len(f(torch.zeros(8_000_000, dtype=torch.uint8)))",
    "about four million floats, each with a long name": "attempt(lambda: f({'x' * 1000 + str(n): 1.0 for n in range(500)}))",
    "in many threads": "[t.join() for t in [threading.Thread(target=attempt, args=(lambda: f(1.0),)) for _ in range(8)] if not t.start()]",
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_whatever_is_asked_of_our_functions_costs_this_call_at_most(start: Start, question: str) -> None:
    child = start(
        "import threading, torch\ndef attempt(g):\n    try:\n        g()\n    except Exception as error:\n"
        f"        return type(error).__name__\ndef ask(f):\n    {QUESTIONS[question]}\n    return 1"
    )
    begun = time.monotonic()
    with memory_bounded(512 << 20), suppress(StudentError):
        assert child.call("ask", lambda x: x * 2) == 1
    assert time.monotonic() - begun < QUICK.call_seconds + 3


# --- notebooks that grow while they are read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'{"":{}},', b"[[[[[[[[[[]]]]]]]]]],", b'"[[[[[[[[[[",'])
def test_a_notebook_of_nothing_but_brackets_is_not_even_read(unit: bytes) -> None:
    text = b'{"cells": [], "metadata": [' + unit * ((NOTEBOOK_BYTES - 100) // len(unit)) + b"0]}"
    begun = time.process_time()
    with pytest.raises(SubmissionError, match="holds too much: clear its outputs"):
        parse_notebook(text)
    assert time.process_time() - begun < 2


def test_an_honest_notebook_with_large_outputs_is_read() -> None:
    points = b"[0.123456789, 0.987654321]," * 300_000
    text = b'{"cells": [{"cell_type": "code", "source": "x", "outputs": [' + points + b"0]}]}"
    assert parse_notebook(text)[0].source == "x"


# --- folders that stay ----------------------------------------------------------------------------------------------------------

HOLD = """
import time
from autograder.grading.workplace import Workplace
place = Workplace()
print(place.path, flush=True)
time.sleep(60)
"""


def held(place: Path) -> tuple[subprocess.Popen, Path]:
    """A process that holds a workplace, and where."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_folder_of_a_killed_grader_goes_when_the_next_begins_and_no_other_does(tmp_path: Path) -> None:
    (killed, left), (living, kept) = held(tmp_path), held(tmp_path)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        (young := tmp_path / f"{PREFIX}young").mkdir()
        (link := tmp_path / f"{PREFIX}link").symlink_to(ROOT)
        for folder in (left, kept):
            os.utime(folder, (0, time.time() - 2 * YOUNG))
        os.utime(link, (0, 0), follow_symlinks=False)
        workplace.tidy(tmp_path)
        assert not left.exists() and kept.is_dir() and young.is_dir() and (ROOT / "tests").is_dir()
    finally:
        for process in (killed, living):
            process.kill()
            process.communicate()


def test_a_workplace_goes_with_its_grader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workplace.tempfile, "tempdir", str(tmp_path))
    place = Workplace()
    (place.path / "file").write_text("x")
    place.close()
    assert list(tmp_path.iterdir()) == []


# --- archives that grow while they are unpacked ---------------------------------------------------------------------------------

NAME = read_assignment("a02").name


def unpacked_from(archive: bytes, place: Path) -> dict[str, int]:
    """The sizes of what is taken from an archive, by path."""
    (place / "archive").mkdir(parents=True)
    (place / "archive" / "all.zip").write_bytes(archive)
    parent = LoggingConfigurable()
    parent.coursedir = Mock(assignment_id=NAME)  # type: ignore[attr-defined]
    Extractor(parent=parent).extract(str(place / "archive"), str(place / "extracted"))
    found = place / "extracted"
    return {str(file.relative_to(found)): file.stat().st_size for file in found.rglob("*") if file.is_file()}


def bomb() -> bytes:
    """Forty notebooks of nothing, twenty megabytes each, in less than a megabyte, and an honest one after them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"s{number}/topic.ipynb", bytes(NOTEBOOK_BYTES))
        archive.writestr("zoe/topic.ipynb", b'{"cells": []}' * 100)
    return file.getvalue()


def test_a_bomb_stays_packed_and_the_honest_beside_it_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(bomb()) < 1 << 20
    assert unpacked_from(bomb(), tmp_path) == {"zoe/topic.ipynb": 1300}
    assert "unpacks to more than" in caplog.text


def test_what_many_students_packed_well_is_taken(tmp_path: Path) -> None:
    text = "".join(f'"value {number % 1000} of {number}",\n' for number in range(100_000)).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10):
            archive.writestr(f"s{number}/topic.ipynb", text)
    assert len(unpacked_from(file.getvalue(), tmp_path)) == 10


# --- folders with more than an honest one ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(collect, "TERM", tmp_path)
    (place := tmp_path / "submitted" / "eve" / NAME).mkdir(parents=True)
    (place / "topic.ipynb").write_text("{}")
    return place


def test_thousands_of_links_are_set_aside_in_seconds_and_in_few_words(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5000):
        (folder / str(number)).symlink_to("/etc/passwd")
    begun = time.process_time()
    collect.clean(folder)
    assert time.process_time() - begun < 5
    assert [file.name for file in folder.iterdir()] == ["topic.ipynb"] and caplog.text.count("set aside, since") == 20
    assert len(list((folder.parents[2] / "set_aside" / "eve" / NAME).iterdir())) == 5000


def test_what_is_set_aside_takes_no_other_s_place(folder: Path) -> None:
    (aside := folder.parents[2] / "set_aside" / "eve" / NAME).mkdir(parents=True)
    (aside / "x.1").write_text("kept")
    (folder / "x").symlink_to("/etc/passwd")
    collect.clean(folder)
    assert (aside / "x.1").read_text() == "kept" and (aside / "x.2").is_symlink()


def test_of_a_hundred_thousand_files_nbgrader_copies_few(folder: Path) -> None:
    (folder / "deep").mkdir()
    for number in range(2000):
        (folder / "deep" / f"{number}").write_text("x")
    for number in range(12):
        with open(folder / f"a{number}", "wb") as file:
            file.truncate(collect.OTHER_BYTES)  # sparse: they take no room here, and all of it in a copy
    collect.clean(folder)
    left = [file for file in folder.rglob("*") if file.is_file()]
    assert folder / "topic.ipynb" in left and len(left) <= collect.OTHER_FILES + 1
    assert sum(file.stat().st_size for file in left) <= collect.OTHERS_BYTES + 2


# --- pages that take long to write ----------------------------------------------------------------------------------------------

WRITTEN = {  # as long as a cell may be
    "spaces": "a" + " " * 49_998 + "b",
    "lines of spaces": (" " * 199 + "\n") * 250,
    "brackets": "[" * 50_000,
    "pairs of brackets": "[" * 25_000 + "]" * 25_000,
    "quotations": "> " * 25_000,
    "lists": "\n".join("  " * depth + "- a" for depth in range(200)),
    "emphasis": "*a **a " * 7000,
    "code": "".join("`" * length + " " for length in range(310)),
    "dollars": "$a" * 25_000,
    "links": "[a](http://x " * 3800,
    "a table": "|a" * 12_000 + "\n" + "|-" * 12_000,
}


@pytest.mark.parametrize("what", WRITTEN)
def test_no_text_of_a_student_takes_long_to_be_shown(what: str) -> None:
    begun = time.process_time()
    context = Mock(get=lambda *_: {})
    markdown_to_html(context, harmless(WRITTEN[what][:SHOWN_OF_A_CELL], {}))
    assert time.process_time() - begun < 2


# --- cells of a table that are formulas -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        "=",
        "+",
        "-",
        "@",
        "\t=",
        "\r=",
        "\n=",
        " =",
        "\u00a0=",
        "\uff1d",
        "\uff0b",
        "\uff0d",
        "\uff20",
        "\ufeff=",
        "|",
        "%",
    ],
)
def test_no_name_is_a_formula_however_it_begins(start: str) -> None:
    assert safe(f"{start}HYPERLINK(1)").startswith("'")
    assert safe("Ada Lovelace") == "Ada Lovelace" and safe(-1.5) == "-1.5"
