"""Measure each hidden test's power: how often it refuses the reference, and how often it catches the smallest mistake it names.

.venv/bin/python tools/power.py ASSIGNMENT [--draws 2000] [--first 0] [--test NAME ...] [--out FILE.csv]

Each draw is a submission of its own, with its own secret. Student code is our own here, so it runs in this process, and a draw
takes as long as the test itself. A row says how many of the draws refused the reference and how many caught the mutant.
"""

import argparse
import csv
import importlib.util
import sys
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nbformat import NotebookNode

from autograder.assignment.source import Assignment, read_assignment, to_bytes
from autograder.assignment.submission import Submission, read_submission
from autograder.grading import mutants
from autograder.grading.one import grade
from autograder.sandbox.child import StudentError
from autograder.sandbox.inside import frames, service
from autograder.sandbox.limits import Limits


class Here:
    """A sandbox that is none, and its child in one: it runs code of ours in this process, and passes data as the sandbox does."""

    alive = True

    def __init__(self) -> None:
        self.module, self.instead, self.changed = ModuleType("student"), {}, []

    def spawn(self, limits: Limits, until: float) -> "Here":
        """A child with nothing in it."""
        return Here()

    def load(self, cells: list[str]) -> list[Any]:
        """Run the cells."""
        with redirect_stdout(None):
            return service.run_cells(self.module, list(enumerate(cells, 1)), 3600)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call one of its functions."""
        return self.ask({"call": name, "args": list(args), "kwargs": kwargs, "instead": self.instead})

    def get(self, name: str) -> Any:
        """One of its variables."""
        return self.ask({"get": name})

    def ask(self, question: dict[str, Any]) -> Any:
        """The answer, or the error, as the sandbox would give it."""
        functions: list[Any] = []

        def refer(function: Any) -> str:
            functions.append(function)
            return str(len(functions) - 1)

        request = frames.unpack(frames.pack(question, refer), lambda name: functions[int(name)])
        with redirect_stdout(None):
            answer = frames.unpack(frames.pack(service.attempt(self.module, request), None))
        if "error" in answer:
            raise StudentError(f"{answer['error']['kind']}: {answer['error']['message']}")
        self.changed = answer.get("changed", [])
        return answer["value"]

    def kill(self) -> None:
        """Nothing to end."""


def submission(assignment: Assignment, notebook: NotebookNode) -> Submission:
    """A notebook as if it had been handed in with the reference's files."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "topic.ipynb").write_bytes(to_bytes(notebook))
        for name, content in assignment.reference.items():
            (Path(folder) / name).write_bytes(content)
        return read_submission(Path(folder) / "topic.ipynb", assignment.files, mutants.STUDENT)


def tests(assignment: Assignment) -> dict[str, Any]:
    """The hidden tests of an assignment, by name."""
    file = next(assignment.suite.glob("test_*.py"))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return {name: test for name, test in vars(module).items() if hasattr(test, "points")}


def refused(assignment: Assignment, handed_in: Submission, names: set[str], draws: range) -> tuple[Counter, Counter]:
    """How many draws refused a submission, by test, and what they said."""
    count, said = Counter(), Counter()
    for draw in draws:
        secret = f"draw {draw}".encode()
        result = grade(handed_in, assignment.suite, assignment.name, Here(), secret, assignment.limits, names)  # type: ignore[arg-type]
        for test in result.tests:
            count[test.name] += not test.passed
            said[test.name, test.message] += not test.passed
    return count, +said


def main() -> int:
    """Measure, print and write the table; 1 where the reference was refused or a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assignment")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first draw")
    parser.add_argument("--test", nargs="*", default=[], help="only these tests")
    parser.add_argument("--out", type=Path, help="where to write the table, as CSV")
    asked = parser.parse_args()
    assignment = read_assignment(asked.assignment)
    sys.path[:0] = [str(file) for file in {file.parent for file in assignment.given}]
    found = {name: test for name, test in tests(assignment).items() if not asked.test or name in asked.test}
    draws = range(asked.first, asked.first + asked.draws)
    refusals, said = refused(assignment, submission(assignment, assignment.solved()), set(found), draws)
    for (name, message), times in said.items():
        print(f"{times} x {name} refused the reference: {message}")
    promised = {mutant.name: mutant for mutant in mutants.mutants(assignment)}
    rows, worst = [], 0
    for name, test in found.items():
        smallest, luck = getattr(test, "power", ("", 0.0))
        caught = 0
        if smallest:
            wrong = submission(assignment, mutants.mutated(assignment, promised[smallest]))
            caught = refused(assignment, wrong, {name}, draws)[0][name]
        rows.append(
            {
                "test": name,
                "draws": len(draws),
                "refused": refusals[name],
                "luck": luck,
                "smallest mistake": smallest,
                "caught": caught,
            }
        )
        print(
            f"{name}: {refusals[name]} refused, luck {luck:g}; {smallest!r}: {caught} caught of {len(draws)}",
            flush=True,
        )
        worst |= refusals[name] > 0 or (smallest != "" and caught < 0.99 * len(draws))
    if asked.out is not None:
        with asked.out.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
