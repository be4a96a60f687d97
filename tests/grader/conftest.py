"""One warm sandbox for all tests of the grader."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(ROOT) as box:
        yield box
