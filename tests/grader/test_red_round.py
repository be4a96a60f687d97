"""Attacks that are no cell of a notebook: what errors may say, notebooks and archives that grow, folders that stay, stores that fail."""

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from traitlets.config import LoggingConfigurable

from autograder.assignment.source import read_assignment
from autograder.assignment.submission import NOTEBOOK_BYTES, SubmissionError, parse_notebook
from autograder.exchange.collect import Extractor
from autograder.exchange.export import safe
from autograder.grading import workplace
from autograder.grading.workplace import PREFIX, YOUNG, Workplace
from autograder.sandbox.child import MESSAGE, Child, Limits, StudentError
from autograder.sandbox.outside import Sandbox

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
