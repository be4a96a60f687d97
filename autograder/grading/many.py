"""Grade a folder of submissions in nbgrader's layout, SUBMITTED/<student>/<assignment>/topic.ipynb, in several processes."""

import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from itertools import islice
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, NamedTuple

from autograder.assignment.library import build_course
from autograder.assignment.source import Assignment, read_assignment
from autograder.assignment.submission import Job, Submission, SubmissionError, read_handed_in
from autograder.grading import pool
from autograder.grading.result import Result
from autograder.grading.store import Store, fingerprint
from autograder.grading.workplace import Workplace
from autograder.sandbox.outside import Sandbox, SandboxError

# What a process imports to grade, the second with torch and more, which one that only finds stored grades does without.
WARM = ("autograder.grading.many", "autograder.grading.one")


class Grade(NamedTuple):
    """What became of one submission: its result, or why it could not be graded."""

    student: str
    result: Result | None
    problem: str = ""


def grade_all(
    jobs: Iterable[Job], name: str, secret: bytes, store: Path, workers: int = 1, cluster: str = ""
) -> Generator[Grade, None, None]:
    """Grade submissions of an assignment, each as soon as a process is free; those that are stored come at once.

    A single submission is graded in this process; more of them in one or several `workers` of this machine, where one that ends its
    process costs the others nothing, or by those of the Dask cluster whose scheduler has the address `cluster`.

    A submission that cannot be read, or ends its sandbox, is reported with its problem, and the others go on.
    """
    assignment, waiting = read_assignment(name), []
    with Grader(assignment, secret) as grader:
        results = Store(store, grader.inputs)
        for job in jobs:
            try:
                known = results.get(read_handed_in(job.notebook, assignment.files).sha256)
            except SubmissionError as error:
                yield Grade(job.student, None, str(error))
                continue
            if known is None:
                waiting.append(job)
            else:
                yield Grade(job.student, known)
        if waiting and cluster:
            check_data(assignment)
            yield from on_cluster(waiting, assignment, secret, results, cluster)
        elif len(waiting) > 1:
            check_data(assignment)
            yield from in_processes(waiting, name, secret, results, workers)
        else:
            yield from here(waiting, grader, results)


class Grader:
    """One assignment in this process: the course_lib that its students see, and a sandbox that stays warm from the first grade on."""

    def __init__(self, assignment: Assignment, secret: bytes) -> None:
        self.assignment, self.secret = assignment, secret
        self.place = Workplace()
        self.course = build_course(assignment.course.get("withheld", []), self.place.path)
        self.inputs = fingerprint(assignment, self.course, secret)
        self.box: Sandbox | None = None

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def sandbox(self) -> Sandbox:
        """The sandbox, which warms up by itself; one that ended is started again."""
        if self.box is None or self.box.process.poll() is not None:
            self.box = Sandbox(self.course, self.assignment.slow_imports, self.assignment.given)
        return self.box

    def grade(self, submission: Submission) -> Result:
        """Grade one submission."""
        box = self.sandbox()
        from autograder.grading.one import grade  # and with it torch, while the sandbox imports it too

        suite, name = self.assignment.suite, self.assignment.name
        found = grade(submission, suite, name, box, self.secret, self.assignment.limits)
        if not self.current():
            raise RuntimeError("the course was changed while this was graded, by the old tests or the new: grade again")
        return found

    def current(self) -> bool:
        """Whether all that a grade depends on is still what it was when this grader began."""
        return self.inputs == fingerprint(self.assignment, self.course, self.secret)

    def close(self) -> None:
        """End the sandbox."""
        if self.box is not None:
            self.box.close()
        self.place.close()


def check_data(assignment: Assignment) -> None:
    """Raise the error of `data.load` where a data set is missing that the hidden tests compare with."""
    if assignment.data:
        from course_lib.data import sets  # and with it torch, which only grading needs

        for name in assignment.data:
            sets.load(name, "test")


def here(jobs: list[Job], grader: Grader, results: Store) -> Iterator[Grade]:
    """Grade in this process: a single submission needs no pool, whose process would import everything again."""
    if jobs:
        with suppress(SandboxError):  # which the grade of each will say
            grader.sandbox()  # it warms up while the next lines import torch
        check_data(grader.assignment)
    for job in jobs:
        try:
            found = grader.grade(read_handed_in(job.notebook, grader.assignment.files))
        except Exception as error:  # whatever it is, the others go on, as they do in the pool
            found = error
        yield kept(job, found, results)


def in_processes(jobs: list[Job], name: str, secret: bytes, results: Store, workers: int) -> Iterator[Grade]:
    """Grade in a pool of processes, each with a warm sandbox of its own; this process alone writes.

    A submission that ends its worker (by its memory, say) breaks the whole pool: then each that was being graded gets a process
    to itself, which tells who it was, and the others a new pool.
    """
    left, start = jobs, partial(start_worker, name, secret)
    pool.prepare(*WARM)
    while left:
        lost = []
        for job, found in pool.each(left, grade_job, start, workers):
            if isinstance(found, BrokenProcessPool):
                lost.append(job)
            else:
                yield kept(job, found, results)
        lost.sort(key=left.index)  # jobs are begun in their order
        for suspect in lost[:workers]:
            for job, found in pool.each([suspect], grade_job, start, 1):
                yield kept(job, found, results)
        left = lost[workers:]


def kept(job: Job, found: Result | Exception, results: Store) -> Grade:
    """The grade of a submission, stored; or why there is none."""
    if isinstance(found, BrokenProcessPool):
        return Grade(job.student, None, "not graded: it ended the process that graded it (too much memory?)")
    if isinstance(found, Exception):
        return Grade(job.student, None, f"not graded: {type(found).__name__}: {found}")
    results.put(found)
    return Grade(job.student, found)


def on_cluster(jobs: list[Job], assignment: Assignment, secret: bytes, results: Store, address: str) -> Iterator[Grade]:
    """Grade on the workers of a Dask cluster, which need this course installed but no files of ours; this process alone writes.

    The submission of a worker that dies is graded again by another.
    """
    from distributed import Client, as_completed

    with Client(address) as client:
        counts: Any = client.nthreads()
        threads = sum(counts.values())
        if not threads:
            raise ValueError(
                f"the cluster at {address} has no workers: start some with `dask worker {address} --nthreads 1`"
            )
        waiting, running = iter(jobs), {}

        def submit(job: Job) -> Any:
            submission = read_handed_in(job.notebook, assignment.files)
            future = client.submit(
                grade_on_cluster, assignment.name, results.inputs, secret, submission, pure=False, retries=3
            )
            running[future.key] = job
            return future

        going = as_completed([submit(job) for job in islice(waiting, 2 * threads + 2)], loop=client.loop)
        for future in going:
            job, error = running.pop(future.key), future.exception()
            if error is None:
                results.put(future.result())
            yield Grade(job.student, None, f"not graded: {error}") if error else Grade(job.student, future.result())
            for later in islice(waiting, 1):
                going.add(submit(later))


worker: dict[str, Grader] = {}  # what a process of the pool or of a cluster keeps
alone = threading.Lock()  # a worker with several threads grades one submission at a time


def start_worker(name: str, secret: bytes) -> None:
    """Prepare a process of the pool."""
    worker["grader"] = Grader(read_assignment(name), secret)
    Finalize(None, worker["grader"].close, exitpriority=0)  # such a process ends without the usual cleaning up


def grade_job(job: Job) -> Result:
    """Grade one submission in a process of the pool."""
    grader = worker["grader"]
    return grader.grade(read_handed_in(job.notebook, grader.assignment.files))


def grade_on_cluster(name: str, inputs: str, secret: bytes, submission: Submission) -> Result:
    """Grade one submission on a worker of a cluster, whose course must be the one that the grades are stored for."""
    with alone:
        if "grader" not in worker or worker["grader"].inputs != inputs:
            if "grader" in worker:
                worker.pop("grader").close()
            worker["grader"] = Grader(read_assignment(name), secret)
            check_data(worker["grader"].assignment)
            if worker["grader"].inputs != inputs:
                raise RuntimeError("a worker of the cluster has another version of the course: update it")
        return worker["grader"].grade(submission)
