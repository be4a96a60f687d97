"""How fast submissions are graded, by us and by others: python -m benchmarks.grading [--students 24] [--quick]

The same submissions of assignment 1 go through `nbgrader autograde` as it comes and `otter run` (both: a kernel for each notebook,
the public checks as its tests, no sandbox) and through `course grade` (sandbox, hidden tests), with one and with two processes, in
turns. Then a class ten times as large goes through ours, where the start counts for little. Memory is the most that all
processes of a run use together, shared pages counted once. otter-grader lies in build/graders, which `make bench-grade` fills.
Written to results/bench-grading.json.
"""

import argparse
import ast
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from autograder.assignment.source import ROOT, Assignment, read_assignment, to_bytes
from autograder.grading.mutants import STUDENT, cell_named
from benchmarks.record import machine, measured, write

A01 = read_assignment("a01")
PROGRAMS = Path(sys.executable).parent
OTTER = {**os.environ, "PYTHONPATH": str(ROOT / "build" / "graders")}
LARGE = "course grade, large class"
Make = Callable[[Assignment, int], bytes]  # the notebook of a student, by number
SECONDS = 0.3  # between two looks at the memory


class Watched:
    """Commands that run side by side, and the most memory that they use together."""

    def __init__(self, commands: list[list[str]], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.most, self.running = 0, True
        begun, busy = time.monotonic(), busy_seconds()
        self.processes = [
            subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for command in commands
        ]
        watcher = threading.Thread(target=self.watch)
        watcher.start()
        complaints = [process.communicate()[1] for process in self.processes]
        self.seconds, self.core_seconds = time.monotonic() - begun, busy_seconds() - busy
        self.running = False
        watcher.join()
        for process, complaint in zip(self.processes, complaints, strict=True):
            if process.returncode:
                raise RuntimeError(complaint.decode(errors="replace")[-2000:])

    def watch(self) -> None:
        """Look again and again."""
        while self.running:
            self.most = max(self.most, memory([process.pid for process in self.processes]))
            time.sleep(SECONDS)


def busy_seconds() -> float:
    """How long the machine's cores have worked since it started, all together: of a command alone on it, what that takes of them."""
    times = psutil.cpu_times()
    return times.user + times.system


def memory(processes: list[int]) -> int:
    """The bytes that processes and their descendants use now, shared pages counted once."""
    total = 0
    for number in processes:
        with suppress(psutil.NoSuchProcess):
            for one in [psutil.Process(number), *psutil.Process(number).children(recursive=True)]:
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    total += one.memory_full_info().pss
    return total


def solved(assignment: Assignment, student: int) -> NotebookNode:
    """The solved notebook, with a line that is the student's own, so that no grade is known before."""
    notebook = assignment.solved()
    notebook.cells.append(new_markdown_cell(f"the notebook of student {student}", id="whose"))
    return notebook


def submission(assignment: Assignment, student: int) -> bytes:
    """A solved notebook as it is handed in."""
    return to_bytes(solved(assignment, student))


def plain(assignment: Assignment, student: int) -> NotebookNode:
    """The same for graders that execute all of it: without the cells that train, which grading leaves out."""
    notebook = solved(assignment, student)
    for cell in notebook.cells:
        if cell.metadata.get("course", {}).get("home"):
            cell.source = ""
    return notebook


def plain_submission(assignment: Assignment, student: int) -> bytes:
    """What otter-grader executes."""
    return to_bytes(plain(assignment, student))


def stock_submission(assignment: Assignment, student: int) -> bytes:
    """The same with the public checks as its graded cells, as stock nbgrader wants it."""
    notebook = plain(assignment, student)
    for name in checked(assignment):
        cell_named(notebook, f"grade_{name}").source = cell_named(notebook, f"check_{name}").source
    return to_bytes(notebook)


def checked(assignment: Assignment) -> list[str]:
    """The tasks that have a public check and points."""
    checks = {name for name, _ in assignment.cells("check")}
    return [name for name, _ in assignment.cells("grade") if name in checks]


def named(student: int) -> str:
    """The name of a student's folder."""
    return f"student{student:04}"


def spelled(student: int) -> str:
    """The reference's name, in capitals of the student's own: work that is bound to a name is right under each of them."""
    if student >= 2 ** len(STUDENT):
        return named(student)
    return "".join(c.upper() if student >> place & 1 else c for place, c in enumerate(STUDENT))


def hand_in(
    folder: Path, assignment: Assignment, students: range, make: Make, name: Callable[[int], str] = named
) -> None:
    """Write submissions in nbgrader's layout."""
    for student in students:
        write_submission(folder / name(student) / assignment.name, assignment, make(assignment, student))


def write_submission(place: Path, assignment: Assignment, notebook: bytes) -> None:
    """Write a notebook, what comes with it, and the files that are handed in beside it."""
    place.mkdir(parents=True)
    (place / "topic.ipynb").write_bytes(notebook)
    for file in assignment.given:
        shutil.copy(file, place)
    for name, content in assignment.reference.items():
        (place / name).write_bytes(content)


def stock(folder: Path, assignment: Assignment, students: int, jobs: int) -> Watched:
    """`nbgrader autograde` as it comes; each process has a course folder and a gradebook of its own."""
    commands = []
    for job in range(jobs):
        course = folder / f"course{job}"
        write_submission(course / "source" / assignment.name, assignment, stock_submission(assignment, 0))
        (course / "nbgrader_config.py").write_text(
            "import os, pathlib\nc = get_config()\nc.CourseDirectory.root = str(pathlib.Path(__file__).parent)\n"
            f"os.environ['PATH'] = {str(PROGRAMS)!r} + os.pathsep + os.environ['PATH']\n"
            "c.GenerateAssignment.preprocessors = ['nbgrader.preprocessors.' + n for n in ('LockCells', 'ClearOutput', "
            "'ComputeChecksums', 'SaveCells')]\nc.ExecutePreprocessor.timeout = 600\n"
        )
        released = [str(PROGRAMS / "nbgrader"), "generate_assignment", assignment.name]
        subprocess.run(released, cwd=course, check=True, capture_output=True)
        hand_in(course / "submitted", assignment, range(job, students, jobs), stock_submission)
        commands.append(["env", "-C", str(course), str(PROGRAMS / "nbgrader"), "autograde", assignment.name])
    return Watched(commands, folder)


def otter(folder: Path, assignment: Assignment, students: int, jobs: int) -> Watched:
    """`otter run`, one submission after the other; each test is the cell with the public check of its task."""
    (folder / "tests").mkdir()
    for name in checked(assignment):
        check = cell_named(assignment.solved(), f"check_{name}").source
        answers = sorted({node.id for node in ast.walk(ast.parse(check)) if isinstance(node, ast.Name)} - {"checks"})
        body = "\n".join(f"    {line}" for line in ("import checks", *check.splitlines()))
        test = f"@test_case()\ndef test({', '.join(answers)}):\n{body}\n"
        head = f"from otter.test_files import test_case\n\nOK_FORMAT = False\nname = {name!r}\npoints = 10\n\n\n"
        (folder / "tests" / f"{name}.py").write_text(head + test)
    for file in assignment.given:
        shutil.copy(file, folder)
    hand_in(folder / "submitted", assignment, range(students), plain_submission)
    command = [sys.executable, "-m", "otter"]
    subprocess.run(
        [
            *command,
            "generate",
            "-t",
            "tests",
            "-o",
            "tests.zip",
            "--no-environment",
            *(file.name for file in assignment.given),
        ],
        cwd=folder,
        env=OTTER,
        check=True,
        capture_output=True,
    )
    loop = (
        'for file in "$@"; do "$0" -m otter run --no-logo -a tests.zip -o "$(dirname "$file")" "$file" || exit 1; done'
    )
    files = sorted(str(file) for file in (folder / "submitted").glob("*/*/topic.ipynb"))
    return Watched([["sh", "-c", loop, sys.executable, *files[job::jobs]] for job in range(jobs)], folder, OTTER)


def ours(folder: Path, assignment: Assignment, students: int, jobs: int) -> Watched:
    """`course grade`."""
    hand_in(folder / "submitted", assignment, range(students), submission, spelled)
    command = [sys.executable, "-m", "course.cli", "grade", str(folder / "submitted"), "--assignment", assignment.name]
    return Watched([[*command, "--jobs", str(jobs), "--out", str(folder / "out")]], ROOT)


WAYS = {"nbgrader": stock, "otter-grader": otter, "course grade": ours, LARGE: ours}


class Turn(NamedTuple):
    """One way to grade, once: submissions a minute, and the most memory in MB."""

    name: str
    jobs: int
    rate: float
    memory: int


def one_round(counts: Mapping[str, int]) -> Iterator[Turn]:
    """Every way to grade, with one process and with two, each with so many students."""
    for jobs in (1, 2):
        for name, students in counts.items():
            with tempfile.TemporaryDirectory() as folder:
                found = WAYS[name](Path(folder), A01, students, jobs)
            turn = Turn(name, jobs, 60 * students / found.seconds, round(found.most / 1e6))
            print(f"{name}, {jobs} jobs: {turn.rate:.1f} a minute, {turn.memory} MB", flush=True)
            yield turn


def summary(rounds: list[list[Turn]]) -> dict[str, Any]:
    """The metrics of some rounds: medians of rates and of the ratios in each round, and the most memory of all."""
    rates: dict[tuple[str, int], list[float]] = {}
    metrics: dict[str, Any] = {}
    for turn in itertools.chain(*rounds):
        rates.setdefault((turn.name, turn.jobs), []).append(turn.rate)
        key = f"{turn.name}, {turn.jobs} jobs, peak MB"
        metrics[key] = {"value": max(turn.memory, metrics.get(key, {"value": 0})["value"])}
    for (name, jobs), values in rates.items():
        metrics[f"{name}, {jobs} jobs, submissions a minute"] = measured(values)
    for other, jobs in itertools.product(("nbgrader", "otter-grader"), (1, 2)):
        ratios = [a / b for a, b in zip(rates["course grade", jobs], rates[other, jobs], strict=True)]
        metrics[f"{jobs} jobs, ratio to {other}"] = measured(ratios)
    for name in ("course grade", LARGE):
        both = zip(rates[name, 2], rates[name, 1], strict=True)
        metrics[f"{name}, from one job to two"] = measured([two / one for two, one in both])
    return metrics


def main() -> None:
    """Grade, and write the comparison into the ledger after each round, so that a long run can be stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="two submissions once, to see that all runs; writes nothing"
    )
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    students = 2 if arguments.quick else arguments.students
    counts = {name: 10 * students if name == LARGE else students for name in WAYS}
    rounds: list[list[Turn]] = []
    started = time.monotonic()
    while len(rounds) < (1 if arguments.quick else arguments.rounds):
        rounds.append(list(one_round(counts)))
        if not arguments.quick:
            options = {"students": students, "rounds": len(rounds), **machine()}
            write(arguments.out / "bench-grading.json", "grading", options, summary(rounds), started)


if __name__ == "__main__":
    main()
