"""Grading on a Dask cluster: the same grades, and none is lost when a worker is killed."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from autograder.assignment.source import read_assignment, to_bytes
from autograder.grading.mutants import cell_named
from autograder.sandbox.child import interrupted_at

A01 = read_assignment("a01")


def handed_in(folder: Path, students: int) -> None:
    """Submissions that all differ; every third has a mistake."""
    for number in range(students):
        notebook = A01.solved()
        if number % 3 == 0:
            cell = cell_named(notebook, "one_step")
            cell.source = cell.source.replace("sp.sqrt(1 - alpha)", "(1 - alpha)")
        cell_named(notebook, "proof").source = f"the proof of student {number}"
        file = folder / f"student{number:02}" / A01.name / "topic.ipynb"
        file.parent.mkdir(parents=True)
        file.write_bytes(to_bytes(notebook))


class Cluster:
    """A scheduler and workers, in processes of their own."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.file, self.folder = folder / "scheduler.json", folder
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "DASK_LOGGING__DISTRIBUTED": "warning"}

        def start(*words: str) -> subprocess.Popen:
            command = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(self.file)]
            return subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

        self.processes = [start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")]
        while not self.file.exists() or not self.file.read_text():
            time.sleep(0.1)
        self.address = json.loads(self.file.read_text())["address"]
        self.processes += [start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in range(workers)]

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(bubblewrap: None, tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path, 2)
    yield running
    running.close()


def test_a_worker_that_is_killed_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    from distributed import Client

    with Client(cluster.address) as client:
        client.wait_for_workers(2, timeout=120)
    handed_in(tmp_path / "submitted", 12)
    out = tmp_path / "grades"
    command = [sys.executable, "-m", "course.cli", "grade", str(tmp_path / "submitted"), "--assignment", "a01"]
    command += ["--out", str(out), "--json", str(tmp_path / "grades.json"), "--dask", cluster.address]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while running.poll() is None and len(list((out / A01.name).glob("*.json"))) < 3:
        time.sleep(0.05)
    cluster.processes[-1].kill()
    said, complaint = running.communicate(timeout=300)
    assert running.returncode == 0, said + complaint
    scores = {entry["student"]: entry["score"] for entry in json.loads((tmp_path / "grades.json").read_text())}
    assert scores == {f"student{number:02}": 86 if number % 3 == 0 else 90.0 for number in range(12)}
    assert len(list((out / A01.name).glob("*.json"))) == 12


def in_thread(work: Callable[[], Any]) -> Any:
    """What work gives in a thread that is not the main one, as on a Dask worker, or the error that it raises."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_long_work_ends_in_the_thread_of_a_worker_too() -> None:
    def endless() -> None:
        with interrupted_at(time.monotonic() + 0.2):
            while True:
                pass

    def soon_enough() -> str:
        for _ in range(200):  # also where the end of the work and that of its time meet
            with suppress(TimeoutError), interrupted_at(time.monotonic() + 0.002):
                until = time.monotonic() + 0.002
                while time.monotonic() < until:
                    pass
        time.sleep(0.05)
        return "no interruption outside of the work"

    begun = time.monotonic()
    assert isinstance(in_thread(endless), TimeoutError) and time.monotonic() - begun < 10
    assert in_thread(soon_enough) == "no interruption outside of the work"
