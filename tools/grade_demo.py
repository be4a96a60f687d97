"""A small course from release to feedback, by nbgrader's own commands: make grade-demo.

Three students hand in assignment 1: one has everything right, one has made two classic mistakes, and one attacks the grader.
All of it lies below build/demo, and is made anew each time.
"""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from autograder.assignment.source import build, read_assignment, to_bytes
from autograder.grading.mutants import cell_named

DEMO = ROOT / "build" / "demo"
ATTACK = ROOT / "tests" / "grader" / "hostile" / "patched_allclose.py"


def nbgrader(*words: str) -> None:
    """Run a command of nbgrader on the demonstration; end with its messages where it fails."""
    print(f"nbgrader {' '.join(words)}", flush=True)
    environment = {**os.environ, "COURSE_TERM": str(DEMO / "term"), "COURSE_BUILD": str(DEMO)}
    environment.pop("COURSE_DATABASE", None)
    command = [str(Path(sys.executable).parent / "nbgrader"), *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def hand_in() -> None:
    """Write the three submissions."""
    assignment = read_assignment("a01")
    perfect, partly, hostile = assignment.solved(), assignment.solved(), assignment.released()
    for name, old, new in (
        ("one_step", "sp.sqrt(1 - alpha)", "(1 - alpha)"),
        ("snr", "sp.log(alpha_bar)", "-sp.log(alpha_bar)"),
    ):
        cell = cell_named(partly, name)
        cell.source = cell.source.replace(old, new)
    cell_named(hostile, "one_step").source = ATTACK.read_text()
    for student, notebook in (("perfect", perfect), ("partly-wrong", partly), ("hostile", hostile)):
        file = DEMO / "term" / "submitted" / student / assignment.name / "topic.ipynb"
        file.parent.mkdir(parents=True)
        file.write_bytes(to_bytes(notebook))


def main() -> None:
    """Release, hand in, grade, give back, and print the grades."""
    shutil.rmtree(DEMO, ignore_errors=True)
    build("a01", DEMO)
    name = read_assignment("a01").name
    nbgrader("generate_assignment", name)
    hand_in()
    nbgrader("autograde", name)
    nbgrader("generate_feedback", name)
    nbgrader("export", "--to", str(DEMO / "grades.csv"))
    table = Table("student", "points", "of", title="Grades, before a person has read the proofs", title_justify="left")
    with open(DEMO / "grades.csv") as stream:
        for row in csv.DictReader(stream):
            table.add_row(row["student_id"], row["raw_score"], row["max_score"])
    Console().print(table)
    shown = DEMO.relative_to(ROOT)
    print(f"Feedback:  {shown}/term/feedback/partly-wrong/{name}/topic.html")
    print(f"Gradebook: {shown}/term/gradebook.db, exported to {shown}/grades.csv")
    print(f"To look at it in the formgrader:  COURSE_TERM={shown}/term COURSE_BUILD={shown} .venv/bin/jupyter lab")


if __name__ == "__main__":
    main()
