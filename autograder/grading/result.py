"""What grading finds, as plain data: the result of one submission, test by test."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class TestResult:
    """One hidden test: its name, its task, what it is worth and gave, and what the student reads where it failed."""

    __test__ = False  # this is no test class for pytest

    name: str
    task: str
    worth: float
    passed: bool
    message: str = ""
    review: bool = False  # the test itself failed: an instructor should look


@dataclass(frozen=True)
class Result:
    """The grade of one submission, test by test."""

    assignment: str
    sha256: str
    tests: list[TestResult]
    cell_errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def score(self, task: str | None = None) -> float:
        """The points reached, in one task or in all."""
        return sum(test.worth for test in self.tests if test.passed and task in (None, test.task))

    def worth(self, task: str | None = None) -> float:
        """The points that can be reached."""
        return sum(test.worth for test in self.tests if task in (None, test.task))

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON takes it."""
        return asdict(self)
