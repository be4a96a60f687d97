"""Grade a folder of submissions in nbgrader's layout, SUBMITTED/<student>/<assignment>/topic.ipynb, in several processes.

A grade is a pure function of submission, suite, course_lib and secret, and is stored under the hash of them all, as soon as it is
known: who is killed and starts again grades each submission once, and a regrade finds the same bits.
"""

import hashlib
import json
import multiprocessing
import os
import re
import secrets
import signal
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from autograder import linux
from autograder.assignment import ROOT, SOLUTIONS, Assignment, read_assignment
from autograder.grading import Result, TestResult, grade
from autograder.image import build_course
from autograder.sandbox import Sandbox
from autograder.submission import Submission, SubmissionError, read_submission
from course_lib import data
from course_lib.checkpoints import write_atomically

SECRET_BYTES = 32
# The folder of a running course: submissions, gradebook, secret, and the grades known so far.
TERM = Path(os.environ.get("COURSE_TERM", ROOT / "term")).resolve()


class Job(NamedTuple):
    """One submission to grade: whose, and where it lies."""

    student: str
    notebook: Path


class Grade(NamedTuple):
    """What became of one submission: its result, or why it could not be graded."""

    student: str
    result: Result | None
    problem: str = ""


def submissions(submitted: Path, assignment: Assignment) -> list[Job]:
    """Every student's submission of an assignment, in the order of their names. Raises ValueError where there is none."""
    folders = sorted(folder for folder in submitted.iterdir() if folder.is_dir()) if submitted.is_dir() else []
    jobs = [
        Job(folder.name, folder / assignment.name / "topic.ipynb")
        for folder in folders
        if may_hold(folder / assignment.name)
    ]
    if not jobs:
        raise ValueError(
            f"no submission of {assignment.name} was found: they lie in {submitted}/<student>/{assignment.name}/topic.ipynb"
        )
    return jobs


def may_hold(folder: Path) -> bool:
    """Whether a submission lies there; also where one may not look, which reading it will say."""
    try:
        return folder.is_dir() or folder.is_symlink()
    except OSError:
        return True


def read_handed_in(notebook: Path, allowed: dict[str, int]) -> Submission:
    """What lies at SUBMITTED/<student>/<assignment>/topic.ipynb, read as `read_submission` does.

    Raises SubmissionError also where one of the two folders is a link: it may lead to the work of another student.
    """
    try:
        for folder in (notebook.parent.parent, notebook.parent):
            if folder.is_symlink():
                raise SubmissionError(f"not graded: the folder {folder.name} is a link: hand in the folder itself")
        return read_submission(notebook, allowed)
    except OSError as error:
        raise SubmissionError(f"not graded: {notebook} cannot be read ({error.strerror})") from error


def course_secret(file: Path) -> bytes:
    """The course's secret, made the first time; only its owner may read the file. Raises ValueError where the file is damaged."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=file.parent)  # for its owner alone, and whole before it has its name
        with open(descriptor, "w") as stream:
            stream.write(secrets.token_hex(SECRET_BYTES))
        os.replace(partial, file)
    found = file.read_text().strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * SECRET_BYTES}}}", found):
        raise ValueError(
            f"{file} is damaged: restore it, since another secret would draw other inputs and change grades"
        )
    return bytes.fromhex(found)


def fingerprint(assignment: Assignment, course: Path, secret: bytes) -> str:
    """The hash of all that a grade depends on besides the submission."""
    total = hashlib.sha256(hashlib.sha256(secret).digest())
    here = Path(__file__).resolve().parent
    for folder in (assignment.suite, SOLUTIONS / assignment.name, course, here):
        files = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        for file in sorted(files if folder != here else here.glob("*.py")):
            content = file.read_bytes()
            total.update(f"{file.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


class Store:
    """Finished results, one JSON file each, named by the hash of what they depend on."""

    def __init__(self, folder: Path, inputs: str) -> None:
        self.folder, self.inputs = folder, inputs
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, sha256: str) -> Path:
        """Where the result of a submission lies."""
        return self.folder / f"{hashlib.sha256((self.inputs + sha256).encode()).hexdigest()}.json"

    def get(self, sha256: str) -> Result | None:
        """A stored result, or None; a damaged file counts as none and is written anew."""
        try:
            found = json.loads(self.file(sha256).read_text())
            return Result(**{**found, "tests": [TestResult(**test) for test in found["tests"]]})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def put(self, result: Result) -> None:
        """Store a result in one atomic step."""
        write_atomically(self.file(result.sha256), json.dumps(result.as_dict(), indent=1).encode())


def grade_all(
    jobs: Iterable[Job], name: str, secret: bytes, store: Path, workers: int = 1, cluster: str = ""
) -> Iterator[Grade]:
    """Grade submissions of an assignment, each as soon as a process is free; those that are stored come at once.

    The work is done in this process, shared by several `workers` of this machine's, or by those of the Dask cluster whose
    scheduler has the address `cluster`.

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
            yield from on_cluster(waiting, assignment, secret, results, cluster)
        elif min(workers, len(waiting)) > 1:
            yield from in_processes(waiting, name, secret, results, workers)
        else:
            yield from here(waiting, grader, results)


class Grader:
    """One assignment in this process: the course_lib that its students see, and a sandbox that stays warm from the first grade on.

    Raises the error of `data.load` where a data set is missing that the hidden tests compare with.
    """

    def __init__(self, assignment: Assignment, secret: bytes) -> None:
        for needed in assignment.data:
            data.load(needed, "test")
        self.assignment, self.secret = assignment, secret
        self.folder = tempfile.TemporaryDirectory()
        self.course = build_course(assignment.course.get("withheld", []), Path(self.folder.name))
        self.inputs = fingerprint(assignment, self.course, secret)
        self.box: Sandbox | None = None

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def grade(self, submission: Submission) -> Result:
        """Grade one submission; a sandbox that ended is started again."""
        if self.box is None or self.box.process.poll() is not None:
            self.box = Sandbox(self.course, beside=self.assignment.beside)
        suite, name = self.assignment.suite, self.assignment.name
        return grade(submission, suite, name, self.box, self.secret, self.assignment.limits)

    def close(self) -> None:
        """End the sandbox."""
        if self.box is not None:
            self.box.close()
        self.folder.cleanup()


def here(jobs: list[Job], grader: Grader, results: Store) -> Iterator[Grade]:
    """Grade one after the other in this process: a single worker needs no pool, whose process would import everything again."""
    for job in jobs:
        try:
            result = grader.grade(read_handed_in(job.notebook, grader.assignment.files))
        except Exception as error:  # whatever it is, the others go on, as they do in the pool
            yield Grade(job.student, None, f"not graded: {type(error).__name__}: {error}")
            continue
        results.put(result)
        yield Grade(job.student, result)


def in_processes(jobs: list[Job], name: str, secret: bytes, results: Store, workers: int) -> Iterator[Grade]:
    """Grade in a pool of processes, each with a warm sandbox of its own; this process alone writes.

    A submission that ends its worker (by its memory, say) breaks the whole pool: then each that was being graded gets a process
    to itself, which tells who it was, and the others a new pool.
    """
    left = jobs
    while left:
        lost = yield from in_pool(left, name, secret, results, min(workers, len(left)))
        for suspect in lost[:workers]:  # jobs are begun in their order
            if (yield from in_pool([suspect], name, secret, results, 1)):
                yield Grade(suspect.student, None, "not graded: it ended the process that graded it (too much memory?)")
        left = lost[workers:]


def in_pool(
    jobs: list[Job], name: str, secret: bytes, results: Store, workers: int
) -> Generator[Grade, None, list[Job]]:
    """Grade in one pool; returns the jobs that were lost because it broke, in their order."""
    context = multiprocessing.get_context("spawn")
    others, cores = set(multiprocessing.active_children()), context.SimpleQueue()
    for share in shares(sorted(os.sched_getaffinity(0)), workers):
        cores.put(share)
    lost: list[Job] = []
    running: dict[Future, Job] = {}
    pool = ProcessPoolExecutor(workers, context, start_worker, (name, secret, cores))
    try:
        for job in jobs:
            try:
                running[pool.submit(grade_job, job)] = job
            except BrokenProcessPool:
                lost.append(job)
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job, error = running.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    lost.append(job)
                elif error is not None:
                    yield Grade(job.student, None, f"not graded: {type(error).__name__}: {error}")
                else:
                    result: Result = future.result()
                    results.put(result)
                    yield Grade(job.student, result)
    finally:
        if running:  # interrupted, or the disk is full: nobody waits for the rest
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
        pool.shutdown(cancel_futures=True)
    return sorted(lost, key=jobs.index)


def shares(cores: list[int], workers: int) -> list[list[int]]:
    """Some of the cores for each worker, so that no submission takes another's time; each its own, where there are enough."""
    return [cores[number::workers] or [cores[number % len(cores)]] for number in range(workers)]


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


def start_worker(name: str, secret: bytes, cores: Any) -> None:
    """Prepare a process of the pool: on its own share of the cores, with an end when the pool's owner ends, who alone is interrupted."""
    linux.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.sched_setaffinity(0, cores.get())
    worker["grader"] = Grader(read_assignment(name), secret)


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
            if worker["grader"].inputs != inputs:
                raise RuntimeError("a worker of the cluster has another version of the course: update it")
        return worker["grader"].grade(submission)
