"""A pytest plugin: remember how many seconds each test takes, and leave out the tests that `make check` has no time for.

At the end of a run the seconds are written to build/test-seconds.json, setup and teardown included. A run of everything
replaces what was there; a run of some tests renews theirs. The tests whose turn comes after the time
of the plan are skipped and counted, since a guess of their seconds may be wrong.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path("build") / "test-seconds.json"
SECONDS: defaultdict[str, float] = defaultdict(float)
LATE: set[str] = set()
OUT_OF_TIME = "no time left for this test"
START = time.monotonic()


def read_seconds(root: Path = ROOT) -> dict[str, float]:
    """The recorded seconds by test; empty before the first run."""
    file = root / RECORD
    return json.loads(file.read_text()) if file.exists() else {}


def write_seconds(root: Path, seconds: dict[str, float]) -> None:
    """Keep the seconds, sorted by test."""
    file = root / RECORD
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({test: round(seconds[test], 3) for test in sorted(seconds)}, indent=1) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that tools/check.py gives: a JSON file with the tests to leave out, and the seconds after which none begins."""
    parser.addoption(
        "--plan", type=Path, help="a file with {'left_out': [test, ...], 'seconds': s}; gets 'ran' and 'late'"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take the named tests out; pytest counts them as deselected."""
    if plan := read_plan(config):
        left_out = set(plan["left_out"])
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]


def read_plan(config: pytest.Config) -> dict[str, Any] | None:
    """What tools/check.py has planned; None in every other run."""
    file = config.getoption("--plan")
    return None if file is None else json.loads(file.read_text())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that begins too late, before its fixtures are built."""
    plan = read_plan(item.config)
    if plan and time.monotonic() - START > plan["seconds"]:
        pytest.skip(OUT_OF_TIME)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up a test's setup, call and teardown."""
    if report.skipped and OUT_OF_TIME in str(report.longrepr):
        LATE.add(report.nodeid)
    SECONDS[report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the record, once: under xdist the workers' reports reach the main process, which writes them."""
    config = session.config
    file: Path | None = config.getoption("--plan")
    if file is not None:
        plan = json.loads(file.read_text()) | {"ran": len(set(SECONDS) - LATE), "late": sorted(LATE)}
        file.write_text(json.dumps(plan))
    new = {test: seconds for test, seconds in SECONDS.items() if test not in LATE}
    if hasattr(config, "workerinput") or not new:
        return
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.getoption("keyword")
    old = {} if whole and session.exitstatus in (0, 1) else existing(read_seconds(config.rootpath), config.rootpath)
    write_seconds(config.rootpath, {**old, **new})


def existing(seconds: dict[str, float], root: Path) -> dict[str, float]:
    """What is recorded of files that are still there."""
    files: Iterable[str] = {file_of(test) for test in seconds}
    there = {file for file in files if (root / file).exists()}
    return {test: time for test, time in seconds.items() if file_of(test) in there}


def file_of(test: str) -> str:
    """The file of a test, from its id."""
    return test.partition("::")[0]
