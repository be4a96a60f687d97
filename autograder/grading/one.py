"""Grade one submission: a pure function of submission, suite, course and secret. Student code runs in the sandbox, the tests here."""

import os
import resource
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autograder.assignment.submission import Submission
from autograder.grading.result import Result, TestResult
from autograder.sandbox.child import StudentError, interrupted_at
from autograder.sandbox.inside.linux import size_of_memory
from autograder.sandbox.limits import Limits
from autograder.sandbox.outside import Sandbox, SandboxError
from autograder.testing.answers import Wrong
from autograder.testing.suite import Draw, Files, Student, redacted, seed_for

TEXT = 4000  # characters of one message
CELLS_TOLD = 30  # of those that failed: nobody reads of more
GRACE = 30  # seconds between the end of a submission's processes and that of the work on what they returned
NO_MEMORY = ("can't allocate memory", "std::bad_alloc")  # what torch says
MEMORY = 3 << 29  # bytes that grading one submission may take in the trusted process
# Of pytest only what a suite needs: no grade may hang on which plugins are installed, and to load them takes longer than most suites.
UNUSED = ("cacheprovider", "terminal", "logging", "unraisableexception", "threadexception")
QUIET = (
    "--disable-plugin-autoload",
    *(f"-pno:{plugin}" for plugin in UNUSED),
    "--assert=plain",  # nobody reads a rewritten assertion: what a student reads is in `Wrong`
    "--capture=no",
    "--import-mode=importlib",
    "-Wignore",
)


class Plugin:
    """Gives a suite its fixtures, and records what each of its tests says."""

    def __init__(
        self, student: Student, submission: Submission, assignment: str, secret: bytes, only: Collection[str]
    ) -> None:
        self.student, self.submission, self.assignment, self.secret = student, submission, assignment, secret
        self.only = only
        self.results: list[TestResult] = []
        self.broken: list[str] = []
        self.failure: SandboxError | None = None

    @pytest.fixture(name="student", scope="session")
    def give_student(self) -> Student:
        """The submission's functions."""
        return self.student

    @pytest.fixture(name="draw")
    def give_draw(self, request: pytest.FixtureRequest) -> Draw:
        """Fresh inputs for this submission and this test."""
        return Draw(seed_for(self.secret, self.assignment, self.submission.sha256, request.node.name))

    @pytest.fixture(name="shared_draw", scope="session")
    def give_shared_draw(self) -> Draw:
        """Fresh inputs for this submission, for what several tests share."""
        return Draw(seed_for(self.secret, self.assignment, self.submission.sha256))

    @pytest.fixture(name="files", scope="session")
    def give_files(self) -> Files:
        """The files that were handed in beside the notebook."""
        return Files(self.submission.files, self.submission.refused, self.submission.student)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Write tracebacks plainly: the sources that pytest looks up take seconds for each failure, and nobody sees them."""
        config.option.tbstyle = "native"  # --tb itself belongs to the terminal's plugin

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that were asked for."""
        items[:] = [item for item in items if not self.only or item.name in self.only]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a suite that does not import."""
        if report.failed:
            self.broken.append(str(report.longrepr))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        """What a test asks for, while there is time."""
        with self.in_time():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """A test, while there is time."""
        with self.in_time():
            return (yield)

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Inside, raise TimeoutError a little after all that a submission has: to look at what it returned may take hours."""
        if time.monotonic() > self.student.until + GRACE:
            raise TimeoutError
        with interrupted_at(self.student.until + GRACE):
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
        """Record a test once it has been called (or once its set-up has failed)."""
        report = yield
        if call.when == "call" or (call.when == "setup" and call.excinfo is not None):
            task, worth = getattr(item.function, "points", ("", 0.0))  # type: ignore[attr-defined]
            error = call.excinfo.value if call.excinfo else None
            self.failure = error if isinstance(error, SandboxError) else self.failure
            passed, message, review = verdict(error)
            self.results.append(TestResult(item.name, task, worth, passed, message[:TEXT], review))
        return report


def verdict(error: BaseException | None) -> tuple[bool, str, bool]:
    """Whether a test passed, what the student reads, and whether an instructor should look."""
    if error is None:
        return True, "", False
    if isinstance(error, Wrong):
        return False, str(error), False
    if isinstance(error, StudentError):
        return False, redacted(f"{error}\n{error.trace}".strip()), False
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return False, "what your code returned is too large to be looked at", False
    if isinstance(error, TimeoutError):
        return False, "the time for your submission was over before what your code returned had been looked at", False
    return False, "the test could not make sense of what your code returned; your instructor can see the details", True


def grade(
    submission: Submission,
    suite: Path,
    assignment: str,
    sandbox: Sandbox,
    secret: bytes,
    limits: Limits | None = None,
    only: Collection[str] = (),
) -> Result:
    """Run the hidden suite of an assignment against a submission, or `only` some of its tests.

    While it is graded this process may use MEMORY bytes more than before: what a function of ours needs beyond them, because of what it
    was asked, fails as the student's. Raises SandboxError where the sandbox fails, and RuntimeError where the suite itself is broken:
    then there is no grade.
    """
    begun = time.monotonic()
    # Cells for home keep their place, so that a message counts the cells as the student does.
    cells = ["" if cell.home else cell.source for cell in submission.cells if cell.kind == "code"]
    student = Student(sandbox, cells, limits or Limits())
    plugin = Plugin(student, submission, assignment, secret, only)
    try:
        with memory_bounded(MEMORY):
            errors = load(student)
            status = pytest.main(
                [*QUIET, "-c", str(suite / "pytest.ini"), f"--rootdir={suite}", str(suite)], plugins=[plugin]
            )
    finally:
        student.close()
        forget(suite)
    if status == pytest.ExitCode.INTERRUPTED and not plugin.broken:  # which ends with the same status
        raise KeyboardInterrupt  # pytest has caught it
    if plugin.failure is not None:
        raise plugin.failure  # nothing is graded without its sandbox
    if plugin.broken or not plugin.results or status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"the suite {suite} is broken, and nothing was graded: {' '.join(plugin.broken) or status}")
    return Result(assignment, submission.sha256, plugin.results, errors, round(time.monotonic() - begun, 2))


@contextmanager
def memory_bounded(extra: int) -> Iterator[None]:
    """Inside, let this process use so many bytes of memory of its own more than it has now; whatever asks for more gets a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = size_of_memory()[1] + extra
    least = min([limit for limit in (soft, hard, wanted) if limit != resource.RLIM_INFINITY])
    resource.setrlimit(resource.RLIMIT_DATA, (least, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def forget(suite: Path) -> None:
    """Drop a suite's modules, so that another suite's files of the same names are read and not these again."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and file.startswith(f"{suite}{os.sep}"):
            del sys.modules[name]


def load(student: Student) -> list[str]:
    """Run the notebook's cells; for each that failed, what the student reads."""
    try:
        student.ready()
    except StudentError as error:
        return [redacted(str(error))]
    failed = [(n, e) for n, e in enumerate(student.errors, 1) if e is not None]
    told = [redacted(f"cell {n}: {e['kind']}: {e['message']}\n{e['trace']}") for n, e in failed[:CELLS_TOLD]]
    return told + [f"{len(failed) - CELLS_TOLD} more cells failed"] * (len(failed) > CELLS_TOLD)
