"""One warm sandbox for all tests of the grader."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.sandbox.outside import Sandbox

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def bubblewrap() -> None:
    """Grading needs bubblewrap, which only Linux has; a continuous-integration machine must have it."""
    if shutil.which("bwrap") is None and not os.environ.get("CI"):
        pytest.skip("bubblewrap (bwrap) is not installed: apt install bubblewrap")


@pytest.fixture(scope="session")
def sandbox(bubblewrap: None) -> Iterator[Sandbox]:
    with Sandbox(ROOT) as box:
        yield box
