"""Whether a large class is graded as evenly as a small one: python -m benchmarks.cluster [--students 2000] [--quick]

Submissions of assignment 1, every one different, go through `course grade --dask` on a local Dask cluster of two worker processes:
solved ones, and each of the assignment's known mistakes. Half-way one worker is killed; Dask's nanny starts another. The time is
cut into tenths: the submissions a minute in each, and the memory that all processes use together at its end, shared pages
counted once. Every submission must be graded, and those with the same mistake alike. Written to results/bench-cluster.json.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dask.config
from distributed import LocalCluster

from autograder.assignment.source import ROOT, Assignment, to_bytes
from autograder.grading import mutants
from autograder.grading.mutants import cell_named
from benchmarks.grading import A01, SECONDS, hand_in, memory, named, solved
from benchmarks.record import machine, measured, write

TENTHS = 10


KINDS = [
    *mutants.mutants(A01),
    *[None] * len(mutants.mutants(A01)),
]  # each known mistake once, and as many solved notebooks


def submission(assignment: Assignment, student: int) -> bytes:
    """A notebook with a proof of its own, whose score its kind alone decides."""
    kind = KINDS[student % len(KINDS)]
    notebook = solved(assignment, student) if kind is None else mutants.mutated(assignment, kind)
    cell_named(notebook, "proof").source = f"the proof of student {student}"
    return to_bytes(notebook)


def two_workers() -> Any:
    """A local cluster of two processes. (Any, since distributed's types know only its asynchronous side.)"""
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    dask.config.set({"distributed.worker.profile.enabled": False})  # it keeps samples of an hour, and memory grows
    return LocalCluster(**options)


def measure(folder: Path, students: int) -> dict[str, Any]:
    """Grade on a cluster while counting results and memory; raises RuntimeError where a submission is lost or misjudged."""
    hand_in(folder / "submitted", A01, range(students), submission)
    with two_workers() as cluster:
        command = [sys.executable, "-m", "course.cli", "grade", str(folder / "submitted"), "--assignment", "a01"]
        command += ["--dask", cluster.scheduler_address, "--out", str(folder / "out"), "--json", str(folder / "grades")]
        grading = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        marks, used, killed, finished = [], [], False, None
        while grading.poll() is None:
            graded = len(list((folder / "out" / A01.name).glob("*.json")))
            if not killed and graded >= students / 2:
                os.kill(cluster.workers[0].pid, signal.SIGKILL)
                killed = True
            if graded > students * len(marks) / TENTHS:  # the first mark is the first result: the cluster is warm
                marks.append((time.monotonic(), graded))
                used.append(memory([os.getpid()]))
                print(f"{graded} graded, {used[-1] / 1e6:.0f} MB", flush=True)
            if finished is None and graded == students:
                finished = time.monotonic()  # what follows are the reports
            time.sleep(SECONDS)
        finished = finished or time.monotonic()
        complaint = grading.communicate()[1]
    if grading.returncode:
        raise RuntimeError(complaint.decode(errors="replace")[-2000:])
    check(json.loads((folder / "grades").read_text()), students)
    marks.append((finished, students))
    rates = [60 * (later - earlier) / (end - begin) for (begin, earlier), (end, later) in itertools.pairwise(marks)]
    return {
        "submissions a minute": measured(rates),
        "first tenth, submissions a minute": {"value": round(rates[0], 2)},
        "last tenth, submissions a minute": {"value": round(rates[-1], 2)},
        "all, submissions a minute": {"value": round(60 * (students - marks[0][1]) / (finished - marks[0][0]), 2)},
        "memory at the first result, MB": {"value": round(used[0] / 1e6)},
        "memory half-way, MB": {"value": round(used[len(used) // 2] / 1e6)},
        "memory at the last tenth, MB": {"value": round(used[-1] / 1e6)},
        "graded": {"value": students},
        "workers killed": {"value": int(killed)},
    }


def check(grades: list[dict[str, Any]], students: int) -> None:
    """Raises RuntimeError where a student has no grade, or two who made the same mistake have different scores."""
    scores = {entry["student"]: entry["score"] for entry in grades}
    lost = [name for name in map(named, range(students)) if scores.get(name) is None]
    if lost:
        raise RuntimeError(f"{len(lost)} submissions were not graded, the first is {lost[0]}'s")
    for first in range(min(students, len(KINDS))):
        alike = {scores[named(student)] for student in range(first, students, len(KINDS))}
        if len(alike) > 1:
            raise RuntimeError(f"the same work as {named(first)}'s got different scores: {sorted(alike)}")


def main() -> None:
    """Grade, and write what was measured into the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="a dozen, to see that all runs; writes nothing")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    students, started = 12 if arguments.quick else arguments.students, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        metrics = measure(Path(folder), students)
    print(json.dumps(metrics, indent=1))
    if not arguments.quick:
        write(
            arguments.out / "bench-cluster.json",
            "grading on a cluster",
            {"students": students, "profiler of dask": "off", **machine()},
            metrics,
            started,
        )


if __name__ == "__main__":
    main()
