"""What each assignment costs to grade: python -m benchmarks.assignments [--students 6] [--quick]

On an otherwise idle machine, the seconds of one submission alone, from the command to its grade, by `nbgrader autograde` as it
comes and `otter run` (which execute the same notebook without the cells that train, and run the public checks) and by `course
grade` (sandbox, hidden tests). Then a small class through ours, with one process: each further submission takes so many seconds of
one core, and 300 students times all assignments so many hours. Written to results/bench-assignments.json.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from autograder.assignment.source import Assignment, assignment_names, read_assignment
from benchmarks.grading import WAYS, Watched
from benchmarks.record import machine, measured, write

ALONE = ("nbgrader", "otter-grader", "course grade")
COURSE = 300  # students


def watched(name: str, assignment: Assignment, students: int) -> Watched:
    """One grader on so many submissions, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        return WAYS[name](Path(folder), assignment, students, 1)


def cost(assignment: Assignment, students: int, rounds: int) -> dict[str, Any]:
    """The metrics of one assignment."""
    short = assignment.name.split("_")[0]
    alone = {name: [watched(name, assignment, 1) for _ in range(rounds)] for name in ALONE}
    found = {
        f"{short}: {name}, one alone, seconds": measured([run.seconds for run in runs]) for name, runs in alone.items()
    }
    most = max(run.most for run in alone["course grade"])
    found[f"{short}: course grade, one alone, peak MB"] = {"value": round(most / 1e6)}
    small = [watched("course grade", assignment, 2) for _ in range(rounds)]
    large = [watched("course grade", assignment, students) for _ in range(rounds)]
    further = [(b.core_seconds - a.core_seconds) / (students - 2) for a, b in zip(small, large, strict=True)]
    found[f"{short}: course grade, each further one, core seconds"] = measured(further)
    return found


def main() -> None:
    """Measure each assignment, and write all into the ledger after each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="once, to see that all runs; writes nothing")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    students, rounds = (3, 1) if arguments.quick else (arguments.students, arguments.rounds)
    metrics: dict[str, Any] = {}
    started = time.monotonic()
    for name in assignment_names():
        metrics |= cost(read_assignment(name), students, rounds)
        for key, value in metrics.items():
            if key.startswith(name.split("_")[0]):
                print(key, value, flush=True)
        if not arguments.quick:
            seconds = sum(value["value"] for key, value in metrics.items() if key.endswith("core seconds"))
            total = {"course of 300 students, core hours": {"value": round(COURSE * seconds / 3600, 3)}}
            options = {"students": students, "rounds": rounds, **machine()}
            write(
                arguments.out / "bench-assignments.json",
                "grading of each assignment",
                options,
                metrics | total,
                started,
            )


if __name__ == "__main__":
    main()
