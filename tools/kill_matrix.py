"""Print which hidden test catches which classic mistake, for every assignment: the kill matrix.

.venv/bin/python tools/kill_matrix.py [ASSIGNMENT ...]

An X marks the test that is named for the mistake and says so, an o each other test of the same task that fails. Tests of other
tasks are not run. The exit status is 1 where a mistake survives.
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from autograder.assignment.library import build_course
from autograder.assignment.source import Assignment, assignment_names, read_assignment
from autograder.grading import mutants
from autograder.sandbox.outside import Sandbox


def matrix(assignment: Assignment) -> tuple[Table, int, int]:
    """The table of an assignment, how many of its mutants are caught by name, and how many there are."""
    with tempfile.TemporaryDirectory() as folder:
        course = build_course(assignment.course.get("withheld", []), Path(folder))
        with Sandbox(course, given=assignment.given) as box:
            tasks = {
                test.name: test.task for test in mutants.grade_notebook(assignment, assignment.solved(), box).tests
            }
            tests = list(tasks)
            table = Table(
                "mistake",
                *(str(number) for number in range(1, len(tests) + 1)),
                title=assignment.name,
                title_justify="left",
            )
            caught, promised = 0, mutants.mutants(assignment)
            for mutant in promised:
                tried = {mutant.fails, *(test for test, task in tasks.items() if task == mutant.cell)}
                result = mutants.grade_notebook(assignment, mutants.mutated(assignment, mutant), box, only=tried)
                failed = {test.name: test.message for test in result.tests if not test.passed}
                named = mutant.says in failed.get(mutant.fails, "")
                caught += named
                marks = ["X" if test == mutant.fails and named else "o" if test in failed else "" for test in tests]
                table.add_row(mutant.name, *marks)
    table.caption = "\n".join(f"{number} {test}" for number, test in enumerate(tests, 1))
    table.caption_justify = "left"
    return table, caught, len(promised)


def main() -> int:
    """Print the matrices; 1 where a mutant survives."""
    console, survivors = Console(width=120), 0
    for name in sys.argv[1:] or assignment_names():
        assignment = read_assignment(name)
        table, caught, total = matrix(assignment)
        console.print(table)
        console.print(f"{caught} of {total} caught by the test that is named for them")
        survivors += total - caught
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
