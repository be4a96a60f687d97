"""What a running course keeps: its secret, and each grade as soon as it is known.

A grade is a pure function of submission, suite, course_lib and secret, and is stored under the hash of them all: who is killed and
starts again grades each submission once, and a regrade finds the same bits.
"""

import hashlib
import json
import os
import re
import secrets
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from autograder.assignment.source import ROOT, SOLUTIONS, Assignment
from autograder.grading.result import Result, TestResult
from course_lib.files import check_folder, explained, write_atomically, write_once

SECRET_BYTES = 32
# What no grade depends on: whatever else lies in this package is part of the fingerprint, so that nothing new is forgotten.
NOT_GRADING = ("suites", "exchange")
PACKAGE = Path(__file__).resolve().parents[1]
# The folder of a running course: submissions, gradebook, secret, and the grades known so far.
TERM = Path(os.environ.get("COURSE_TERM", ROOT / "term")).resolve()


def private(folder: Path) -> Path:
    """A folder that nobody else on the machine may look into, made where it is missing. Raises ValueError where it cannot be."""
    check_folder(folder)
    with explained(folder):
        folder.chmod(0o700)
    return folder


def course_secret(file: Path) -> bytes:
    """The course's secret, made the first time, by one of those who come at once; only its owner may read the file.

    Raises ValueError where it is damaged or cannot be written.
    """
    if not file.exists():
        write_once(file, secrets.token_hex(SECRET_BYTES).encode(), mode=0o600)
    found = file.read_text().strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * SECRET_BYTES}}}", found):
        raise ValueError(
            f"{file} is damaged: restore it, since another secret would draw other inputs and change grades"
        )
    return bytes.fromhex(found)


def fingerprint(assignment: Assignment, course: Path, secret: bytes) -> str:
    """The hash of all that a grade depends on besides the submission."""
    parts = [
        contents(assignment.suite),
        contents(SOLUTIONS / assignment.name, ("page.md",)),
        contents(course),
        code_fingerprint(),
        versions(),
    ]
    return hashlib.sha256(hashlib.sha256(secret).digest() + " ".join(parts).encode()).hexdigest()


def versions() -> str:
    """Python and the packages that decide what numbers come out: with others a right answer may round, and a draw fall, otherwise."""
    python = ".".join(map(str, sys.version_info[:2]))
    return f"Python {python}, " + ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "sympy"))


def code_fingerprint() -> str:
    """The hash of the grader's own code, as it lies on the disk: a process that runs on may have imported another."""
    return contents(PACKAGE, NOT_GRADING)


def contents(folder: Path, ignored: tuple[str, ...] = ()) -> str:
    """The hash of all files in a folder but those that are ignored, with their names."""
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if file.is_file() and inside.parts[0] not in ignored and "__pycache__" not in inside.parts:
            content = file.read_bytes()
            total.update(f"{inside}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def read_result(file: Path) -> Result:
    """The result in a file. Raises ValueError, TypeError or KeyError where it is damaged."""
    found = json.loads(file.read_text())
    return Result(**{**found, "tests": [TestResult(**test) for test in found["tests"]]})


class Store:
    """Finished results, one JSON file each, named by the hash of what they depend on."""

    def __init__(self, folder: Path, inputs: str) -> None:
        self.folder, self.inputs = folder, inputs
        check_folder(folder)

    def file(self, sha256: str) -> Path:
        """Where the result of a submission lies."""
        return self.folder / f"{hashlib.sha256((self.inputs + sha256).encode()).hexdigest()}.json"

    def get(self, sha256: str) -> Result | None:
        """A stored result, or None; a damaged file counts as none and is written anew."""
        try:
            return read_result(self.file(sha256))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def earlier(self) -> dict[str, Result]:
        """Every submission's last result, whatever course it was graded by, by the submission's hash."""
        known: dict[str, Result] = {}
        for file in sorted(self.folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
            with suppress(ValueError, TypeError, KeyError):  # a damaged file counts as none
                result = read_result(file)
                known[result.sha256] = result
        return known

    def put(self, result: Result) -> None:
        """Store a result in one atomic step."""
        write_atomically(self.file(result.sha256), json.dumps(result.as_dict(), indent=1).encode())
