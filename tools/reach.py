"""What a change reaches: the tests and pages that use the changed files, how directly, and which tests fit into the time.

A file's distance from the change is the number of imports between them: 0 for a changed file, 1 for one that imports a changed
file, and so on. Files are named by their path from the root, as git names them.
"""

import ast
import re
import subprocess
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from imports import cells_of, declared_files, imports_in, module_files, modules_in_strings, parse
from tools.durations import file_of

# Tests that run files which no import names; the graders' tests are for one assignment each, with its name in the test's id.
ASSIGNMENT_FILES = ("autograder/suites/a[0-9][0-9]_*", "solutions/a[0-9][0-9]_*")
RUN_BY = {
    "tests/grader/test_assignments.py": ASSIGNMENT_FILES,
    "tests/grader/test_suites_hostile.py": ASSIGNMENT_FILES,
    "tests/grader/test_hostile.py": ("tests/grader/hostile/*",),
}
UNRECORDED_SECONDS = 10.0  # what a test file takes that no record knows
FILE_SECONDS = 1.0  # what importing one more test file takes


def listed(root: Path) -> list[str]:
    """Every file of the work tree that git tracks or would track."""
    names = git(root, "ls-files", "--cached", "--others", "--exclude-standard")
    return sorted({name for name in names if (root / name).is_file()})


def git(root: Path, *arguments: str) -> list[str]:
    """The lines that a git command prints; raises CalledProcessError where it fails."""
    command = ["git", "-c", "core.quotePath=false", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()


def tree_of(file: Path) -> ast.Module | None:
    """The code of a module or of a page's cells; None where it cannot be parsed."""
    try:
        return parse(file.read_text() if file.suffix == ".py" else "\n".join(cells_of(file.read_text())))
    except (SyntaxError, UnicodeDecodeError):
        return None


def used_by(name: str, tree: ast.Module, root: Path) -> Iterator[str]:
    """The local files that a file imports or names as a module, a page's data, and the conftest.py files that pytest runs before a test."""
    folder = (root / name).parent
    own = (
        [] if (folder / "__init__.py").exists() else [folder]
    )  # a script finds its neighbours, a module of a package does not
    folders = [*own, root, root / "book" / "_ext"]
    for found in [*imports_in(tree, ".".join(Path(name).parent.parts)), *modules_in_strings(tree, folders)]:
        for file in module_files(found.name, folders):
            yield str(file.relative_to(root))
    if name.endswith(".md"):
        yield from (str(file.relative_to(root)) for file in declared_files((root / name).read_text(), root))
    if Path(name).name.startswith("test_"):
        yield from (
            str(around / "conftest.py") for around in Path(name).parents if (root / around / "conftest.py").is_file()
        )


def names_file(tree: ast.Module, name: str) -> bool:
    """Whether some string of the code has the name of a file in it, or the name of the folder that the file lies in."""
    path = Path(name)
    wanted = {path.name} | ({path.parent.name} if path.suffix != ".md" else set()) - {""}
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return any(wanted & set(string.split("/")) for string in strings)


def distances(root: Path, changed: Iterable[str]) -> dict[str, int]:
    """The distance of every file that the change reaches."""
    files = listed(root)
    trees = {name: tree for name in files if name.endswith((".py", ".md")) and (tree := tree_of(root / name))}
    data = [name for name in changed if not name.endswith(".py")]
    users: defaultdict[str, set[str]] = defaultdict(set)
    for name, tree in trees.items():
        for used in {*used_by(name, tree, root), *(other for other in data if names_file(tree, other))}:
            users[used].add(name)
    for test, patterns in RUN_BY.items():
        for used in (name for name in files if any(fnmatch(name, pattern) for pattern in patterns)):
            users[used].add(test)
    found = dict.fromkeys(changed, 0)
    todo = deque(found)
    while todo:
        name = todo.popleft()
        for user in sorted(users[name] - set(found)):
            found[user] = found[name] + 1
            todo.append(user)
    return {name: distance for name, distance in found.items() if (root / name).is_file()}


def test_files(reached: dict[str, int]) -> dict[str, int]:
    """The test files among the reached ones, with their distances."""
    return {name: distance for name, distance in reached.items() if re.fullmatch(r"tests/.*/?test_\w+\.py", name)}


def untouched_assignments(root: Path, changed: Iterable[str]) -> list[str]:
    """The short names of the other assignments, where the change lies within assignments alone; otherwise none."""
    touched = [re.match(r"(?:autograder/suites|solutions)/(a\d\d)_", name) for name in changed]
    if not all(touched):
        return []
    names = {folder.name[:3] for folder in (root / "solutions").glob("a[0-9][0-9]_*")}
    return sorted(names - {match[1] for match in touched if match})


def needs_built_book(file: Path) -> bool:
    """Whether tests of a file read the built book, through the fixture `html`."""
    functions = (node for node in ast.walk(parse(file.read_text())) if isinstance(node, ast.FunctionDef))
    return any("html" in [argument.arg for argument in function.args.args] for function in functions)


@dataclass(frozen=True)
class Choice:
    """The test files to run, nearest first; the tests to leave out, with their distances (a file's own name for all of it)."""

    files: list[str]
    left_out: dict[str, int]

    def __str__(self) -> str:
        tests = [test for test in self.left_out if "::" in test]
        whole = [test for test in self.left_out if "::" not in test]
        files = len({file_of(test) for test in tests})
        parts = [f"{count(len(tests), 'test')} of {count(files, 'file')}"] if tests else []
        parts += [f"{count(len(whole), 'file')} without a record ({shortened(whole)})"] if whole else []
        near, far = min(self.left_out.values()), max(self.left_out.values())
        distance = f"all {count(far, 'import')}" if near == far else f"{near} to {count(far, 'import')}"
        return f"{' and '.join(parts)}, {distance} away"


def shortened(names: list[str], most: int = 6) -> str:
    """Names with commas; of many, the first ones and how many more there are."""
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more} more"


def count(number: int, what: str) -> str:
    """A number of things, in words."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def choose(files: dict[str, int], seconds: dict[str, float], budget: float) -> Choice:
    """Take the nearest tests that fit into the budget, among equally near ones the quickest first."""
    recorded: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for test, time in seconds.items():
        recorded[file_of(test)][test] = time
    every = [
        (distance, time, file, test)
        for file, distance in files.items()
        for test, time in (recorded[file] or {file: UNRECORDED_SECONDS}).items()
    ]
    chosen: list[str] = []
    left_out: dict[str, int] = {}
    for distance, time, file, test in sorted(every):
        cost = time + (FILE_SECONDS if file not in chosen else 0)
        if cost > budget:
            left_out[test] = distance
            continue
        budget -= cost
        if file not in chosen:
            chosen.append(file)
    return Choice(chosen, left_out)
