"""What all tests share: the policy for tests that read a data set, and the browser."""

import os

import pytest

from course_lib.data.sets import data_dir
from tools.system_packages import find_browser

pytest_plugins = ["tools.durations"]  # remembers how long each test takes, for make check


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test whose data set is missing is skipped on a reader's machine and fails on a machine that sets CI."""
    for marker in item.iter_markers("needs_data"):
        missing = [name for name in marker.args if not (data_dir() / f"{name}.npz").exists()]
        if missing:
            stop_without(
                f"{', '.join(missing)} not found in {data_dir()}: run "
                f"`.venv/bin/python -c \"from course_lib.data import sets; sets.load('{missing[0]}')\"` to download it"
            )


@pytest.fixture(scope="session")
def browser_path() -> str:
    """Path of the Chromium that the book's pages are opened in."""
    path = find_browser()
    if path is None:
        stop_without("no Chromium or Google Chrome found: run `make test`, which installs one or says how")
    return path


def stop_without(reason: str) -> None:
    """Skip the running test, or fail it where CI is set, because something that it needs is not there."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
