"""Work shared by several processes of this machine, each on cores of its own, and none of which outlives the one that shares it out.

They are copies of one process that has everything imported, so the second costs neither another start nor the memory of one.
This module itself imports nothing large: whoever calls `prepare` first can import the rest meanwhile.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from typing import Any, TypeVar

Job = TypeVar("Job")
CONTEXT = multiprocessing.get_context("forkserver")


def prepare(*modules: str) -> None:
    """Start, in the background, the process that the others are copied from; it imports the modules of these names first."""
    CONTEXT.set_forkserver_preload(list(modules))
    forkserver.ensure_running()


def each(
    jobs: list[Job], function: Callable[[Job], Any], start: Callable[[], None], workers: int
) -> Iterator[tuple[Job, Any]]:
    """Each job, as soon as it is done, with what the function gave for it or the exception that it raised.

    That is a BrokenProcessPool for those that were waiting or under way when a process of the pool ended. Each process calls
    `start` first.
    """
    prepare(function.__module__)
    others, cores = set(multiprocessing.active_children()), CONTEXT.SimpleQueue()
    workers = min(workers, len(jobs))
    for share in shares(sorted(os.sched_getaffinity(0)), workers):
        cores.put(share)
    running: dict[Future, Job] = {}
    pool = ProcessPoolExecutor(workers, CONTEXT, start_process, (cores, start))
    try:
        for number, job in enumerate(jobs):
            try:
                running[pool.submit(function, job)] = job
            except BrokenProcessPool as error:
                yield from ((left, error) for left in jobs[number:])
                break
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job, error = running.pop(future), future.exception()
                yield job, error or future.result()
    finally:
        if running:  # interrupted, or the disk is full: nobody waits for the rest
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
        pool.shutdown(cancel_futures=True)


def shares(cores: list[int], workers: int) -> list[list[int]]:
    """Some of the cores for each worker, so that no submission takes another's time; each its own, where there are enough."""
    return [cores[number::workers] or [cores[number % len(cores)]] for number in range(workers)]


def start_process(cores: Any, start: Callable[[], None]) -> None:
    """Prepare a process of the pool: on its own share of the cores, with an end when the pool's owner ends, who alone is interrupted."""
    threading.Thread(target=end_with_owner, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.sched_setaffinity(0, cores.get())
    start()


def end_with_owner() -> None:
    """Wait for the end of the pool's owner, however it comes, and end too."""
    owner = multiprocessing.parent_process()
    if owner is not None:
        owner.join()
        os.kill(os.getpid(), signal.SIGKILL)
