"""Processes that share work: on cores of their own, copied from one that is warm, and a lost one is told."""

import os
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from autograder.grading import many, pool

WORK = """
import os, signal, sys, time
begun = []
def start(*arguments):
    begun.extend(arguments)
def cores(job):
    time.sleep(1)
    return sorted(os.sched_getaffinity(0))
def half(job):
    if job == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if job % 2:
        raise ValueError(f"{job} is odd")
    return job / 2
def argument(job):
    return begun, {"torch", "autograder.grading.many"} <= set(sys.modules), os.getppid()
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that the processes can import, which are copies of one that is as warm as for grading."""
    pool.prepare(*many.WARM)
    name = f"work_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    return import_module(name)


def ran(work: ModuleType, function: Callable, jobs: list, workers: int = 2) -> dict:
    return dict(pool.each(jobs, function, partial(work.start, "ready"), workers))


def test_each_process_has_cores_of_its_own(work: ModuleType) -> None:
    assert pool.shares([0, 2, 4, 6], 2) == [[0, 4], [2, 6]]
    assert pool.shares([3, 5], 5) == [[3], [5], [3], [5], [3]]
    used = set(map(tuple, ran(work, work.cores, list(range(6))).values()))
    mine = sorted(os.sched_getaffinity(0))
    assert used <= set(map(tuple, pool.shares(mine, 2))) and len(used) == min(2, len(mine))


def test_processes_are_copies_of_a_warm_one(work: ModuleType) -> None:
    found = ran(work, work.argument, list(range(4))).values()
    assert all(begun == ["ready"] and warm for begun, warm, _ in found)
    (server,) = {parent for *_, parent in found}
    assert psutil.Process(server).ppid() == os.getpid()


def test_what_fails_is_told_and_a_lost_process_costs_what_was_not_done(work: ModuleType) -> None:
    found = ran(work, work.half, [0, 1, 2, 3], workers=9)
    assert (found[0], found[2]) == (0, 1) and [str(found[job]) for job in (1, 3)] == ["1 is odd", "3 is odd"]
    found = ran(work, work.half, [0, 4, 6], workers=1)
    assert found[0] == 0 and isinstance(found[4], BrokenProcessPool) and isinstance(found[6], BrokenProcessPool)


def test_whoever_stops_listening_ends_the_processes(work: ModuleType) -> None:
    before, begun = set(psutil.Process().children(recursive=True)), time.monotonic()
    going = pool.each(list(range(40)), work.cores, work.start, 2)
    next(going)
    going.close()
    assert time.monotonic() - begun < 20
    assert not set(psutil.Process().children(recursive=True)) - before
