"""Check the change at hand within two minutes: style, types, and the tests and pages that the changed files reach.

The nearest tests come first, and those that do not fit into the time are counted at the end: they are left to `make test`.
"""

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import time
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "book" / "_ext")]

from tools import reach
from tools.check_pages import Outcome, PageChecks, run
from tools.durations import file_of, read_seconds

START_SECONDS = 8.0  # pytest and torch begin
PAGES_SHARE = 0.4  # of the time, after which further proofs and pages are left out


def base_commit(root: Path) -> str:
    """Where the work left the branch that it came from: the merge base with main's upstream, or HEAD where there is none."""
    try:
        return reach.git(root, "merge-base", "HEAD", "main@{upstream}")[0]
    except subprocess.CalledProcessError:
        return "HEAD"


def changed_files(root: Path, base: str) -> tuple[list[str], list[str]]:
    """The files that differ from a commit, new ones included, and those that are gone."""
    gone = set(reach.git(root, "diff", "--name-only", "--no-renames", "--diff-filter=D", base))
    changed = set(reach.git(root, "diff", "--name-only", "--no-renames", base))
    changed |= set(reach.git(root, "ls-files", "--others", "--exclude-standard"))
    there = {name for name in changed if (root / name).is_file()}
    return sorted(there), sorted(gone - there)


def syntax_errors(root: Path, files: list[str]) -> list[str]:
    """A line for each Python file that cannot be parsed."""
    found = []
    for name in files:
        try:
            if name.endswith(".py"):
                ast.parse((root / name).read_text(), name)
        except SyntaxError as error:
            found.append(f"{name}:{error.lineno}: {error.msg}")
    return found


def check_code(root: Path, changed: list[str], reached: dict[str, int], outcome: Outcome) -> None:
    """Check the style of the changed files, and the types of these and of what imports them."""
    python = [name for name in changed if name.endswith(".py")]
    if python:
        outcome.count(f"style of {reach.count(len(python), 'file')}", check_style(root, python))
    if typed := typed_files(root, reached):
        outcome.count(f"types of {reach.count(len(typed), 'file')}", run(root, "-m", "pyright", *typed))


def check_style(root: Path, files: list[str]) -> bool:
    """Run ruff over the changed files."""
    checked = run(root, "-m", "ruff", "check", "--quiet", "--force-exclude", *files)
    return run(root, "-m", "ruff", "format", "--check", "--quiet", "--force-exclude", *files) and checked


def typed_files(root: Path, reached: dict[str, int]) -> list[str]:
    """The changed files and those that import them, as far as pyright checks them."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["pyright"]
    return [name for name, distance in reached.items() if distance <= 1 and is_typed(name, settings)]


def is_typed(name: str, settings: dict[str, list[str]]) -> bool:
    """Whether pyright's settings include a file."""
    out = any(fnmatch(name, f"{pattern}/*") for pattern in settings.get("exclude", []))
    return name.endswith(".py") and name.split("/")[0] in settings["include"] and not out


def choose_tests(
    root: Path, others: list[str], reached: dict[str, int], budget: float, outcome: Outcome
) -> reach.Choice:
    """The tests to run, without those of other assignments; notes what is left out."""
    record = read_seconds(root)
    seconds = {test: time for test, time in record.items() if not any(name in test for name in others)}
    idle = {file_of(test) for test in record} - {file_of(test) for test in seconds}
    files = {name: distance for name, distance in reach.test_files(reached).items() if name not in idle}
    if built := [name for name in files if reach.needs_built_book(root / name)]:
        outcome.left.append(f"{', '.join(built)} (which read the built book)")
    if not files:
        print("no test uses the change")
    if files and not seconds:
        print("no test has a record of its seconds yet (`make test` writes it): the time is guessed")
    choice = reach.choose({name: distance for name, distance in files.items() if name not in built}, seconds, budget)
    if choice.left_out:
        outcome.left.append(str(choice))
    return choice


def check_tests(root: Path, changed: list[str], reached: dict[str, int], seconds: float, outcome: Outcome) -> None:
    """Run the tests that the change reaches, as far as the seconds go."""
    others = reach.untouched_assignments(root, changed)
    choice = choose_tests(root, others, reached, seconds - START_SECONDS, outcome)
    if not choice.files:
        return
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        plan.write_text(json.dumps({"left_out": list(choice.left_out), "seconds": seconds}))
        arguments = ["-p", "tools.durations", "--plan", str(plan), "--continue-on-collection-errors"]
        arguments += ["-k", " and ".join(f"not {name}" for name in others)] if others else []
        good = run(root, "-m", "pytest", *arguments, *choice.files)
        done = {"ran": 0, "late": [], **json.loads(plan.read_text())}
    outcome.count(f"{reach.count(done['ran'], 'test')} of {reach.count(len(choice.files), 'file')}", good)
    if done["late"]:
        files = ", ".join(sorted({file_of(test) for test in done["late"]}))
        outcome.left.append(f"{reach.count(len(done['late']), 'test')} that the time overtook, in {files}")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Check the change; 1 where something fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--base", help="the commit to compare with (default: where the work left main's upstream, or HEAD)"
    )
    parser.add_argument("--seconds", type=float, default=100.0, help="how long it may take (default: %(default)g)")
    parser.add_argument("--pages", action="store_true", help="run the cells of every page that the change reaches")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    changed, gone = changed_files(root, options.base or base_commit(root))
    if gone:
        print(f"left to `make test`, what used these files that are gone: {', '.join(gone)}")
    if broken := syntax_errors(root, changed):
        print("\n".join(f"error: {line}" for line in broken), file=sys.stderr)
        return 1
    print(f"changed: {', '.join(changed) or 'nothing'}")
    reached = reach.distances(root, changed)
    outcome = Outcome()
    check_code(root, changed, reached, outcome)
    PageChecks(root, reached, options.pages, start + PAGES_SHARE * options.seconds, outcome).run()
    check_tests(root, changed, reached, options.seconds - (time.monotonic() - start), outcome)
    for words in outcome.left:
        print(f"left to `make test`: {words}")
    failed = f"; failed: {', '.join(outcome.failed)}" if outcome.failed else ""
    print(f"{time.monotonic() - start:.0f} s; good: {', '.join(outcome.good) or 'nothing'}{failed}")
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
