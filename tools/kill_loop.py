"""Kill `nbgrader autograde` again and again, and see that the next plain run gives every grade of a calm one.

.venv/bin/python tools/kill_loop.py [--kills 100] [--database URL]

A class of six hands in assignment 1. In each round a new term is begun, five runs are killed (SIGKILL to the whole process group) at
random moments between the start and the end of a calm run, and a last run is left in peace. With a --database, which is emptied in
each round, the gradebook lies there (postgresql+psycopg://user@host/name), and else in SQLite.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sqlalchemy import MetaData, create_engine

from autograder.assignment.source import build, read_assignment, to_bytes
from autograder.grading.mutants import cell_named

KILLS = 5  # in a round


class Course:
    """A small term in a folder of its own."""

    def __init__(self, folder: Path, database: str | None) -> None:
        self.folder, self.term, self.database = folder, folder / "term", database
        build("a01", folder)
        self.environment = {**os.environ, "COURSE_TERM": str(self.term), "COURSE_BUILD": str(folder)}
        self.environment.pop("COURSE_DATABASE", None)
        if database is not None:
            self.environment["COURSE_DATABASE"] = database

    def begin(self) -> None:
        """A new term, in which everybody has handed in and nothing is graded."""
        shutil.rmtree(self.term, ignore_errors=True)
        if self.database is not None:
            engine = create_engine(self.database)
            tables = MetaData()
            tables.reflect(engine)
            tables.drop_all(engine)
            engine.dispose()
        assignment = read_assignment("a01")
        self.run("generate_assignment", assignment.name)
        for number in range(6):  # the first has everything right, each other one mistake more
            notebook = assignment.solved()
            for name, _ in assignment.cells("solution")[:number]:
                cell_named(notebook, name).source = "pass"
            file = self.term / "submitted" / f"student-{number}" / assignment.name / "topic.ipynb"
            file.parent.mkdir(parents=True)
            file.write_bytes(to_bytes(notebook))

    def command(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command of nbgrader, in a process group of its own."""
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / "nbgrader"), *words],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def run(self, *words: str) -> float:
        """Run a command to its end; its seconds. Raises RuntimeError where it fails."""
        begun = time.monotonic()
        if self.command(*words).wait():
            raise RuntimeError(f"nbgrader {' '.join(words)} failed: {(self.folder / 'log').read_text()[-2000:]}")
        return time.monotonic() - begun

    def grades(self) -> list[tuple[str, str, str]]:
        """Student, status and score of every row of the exported table."""
        self.run("export", "--to", str(self.folder / "grades.csv"))
        with (self.folder / "grades.csv").open() as stream:
            return [(row["student_id"], row["status"], row["raw_score"]) for row in csv.DictReader(stream)]


def main() -> int:
    """Kill, and compare; 1 where a grade differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--database")
    asked = parser.parse_args()
    name = read_assignment("a01").name
    with tempfile.TemporaryDirectory() as folder:
        course = Course(Path(folder), asked.database)
        course.begin()
        calm_seconds = course.run("autograde", name)
        calm = course.grades()
        print(f"a calm run takes {calm_seconds:.1f} s: {calm}", flush=True)
        killed = differ = 0
        while killed < asked.kills:
            course.begin()
            for _ in range(KILLS):
                going = course.command("autograde", name)
                time.sleep(random.uniform(0.2, 1.0) * calm_seconds)
                killed += going.poll() is None
                if going.poll() is None:
                    os.killpg(going.pid, signal.SIGKILL)
                going.wait()
            course.run("autograde", name)
            found = course.grades()
            if found != calm:
                differ += 1
                print(f"after {killed} kills: {found}", flush=True)
        print(f"{killed} runs killed; {differ} plain runs after them gave other grades than the calm one")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
