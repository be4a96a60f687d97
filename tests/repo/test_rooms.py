"""The library's rooms: each imports from the rooms below it only, so that a reader can stop at any floor."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from imports import Import, imports_in, module_files, modules_in_strings, parse

ROOT = Path(__file__).resolve().parents[2]

# From low to high: a module may import from its own room and from those that stand before it here.
ROOMS = (
    "course_lib.types",
    "course_lib.files",
    "course_lib.hardware",
    "course_lib.draws",
    "course_lib.diffusion",
    "course_lib.data",
    "course_lib.nets",
    "course_lib.sampling",
    "course_lib.models",
    "course_lib.interop",
    "course_lib.training",
    "course_lib.evaluation",
    "course_lib.pages",
    "course_lib.recipes",
    "autograder.sandbox.inside",
    "autograder.sandbox",
    "autograder.assignment",
    "autograder.testing",
    "autograder.suites",
    "autograder.grading",
    "autograder.exchange",
    "course",
)
ALONE = ("autograder.sandbox.inside",)  # what runs beside the student's code has nothing else of ours in its process
NO_MODULES = ("accepted",)  # folders of notebooks' cells, which nothing imports


def module_name(file: Path, root: Path) -> str:
    """The dotted name of a module; a package's ends in `__init__`."""
    return ".".join(file.relative_to(root).with_suffix("").parts)


def room_of(module: str, rooms: tuple[str, ...]) -> str | None:
    """The innermost room that a module lies in."""
    around = [room for room in rooms if f"{module}.".startswith(f"{room}.")]
    return max(around, key=len, default=None)


def imports_of(file: Path, root: Path) -> dict[str, Import]:
    """The modules of ours that a file imports or names in a string; the packages around it are not counted."""
    tree = parse(file.read_text())
    package = ".".join(file.parent.relative_to(root).parts)
    found = {}
    for named in [*imports_in(tree, package), *modules_in_strings(tree, [root])]:
        files = module_files(named.name, [root])
        if files and files[-1] != file and files[-1] not in [folder / "__init__.py" for folder in file.parents]:
            found.setdefault(module_name(files[-1], root), named)
    inner = {target.rpartition(".")[0] for target in found if not target.endswith("__init__")}
    return {target: named for target, named in found.items() if target.removesuffix(".__init__") not in inner}


def wrong(module: str, target: str, rooms: tuple[str, ...]) -> str | None:
    """Why a module may not import another, or None."""
    mine, other = room_of(module, rooms), room_of(target, rooms)
    if module.endswith("__init__"):
        return "but an __init__ imports nothing of ours, since every import in its package runs it"
    if mine in ALONE and other != mine:
        return f"but {mine} imports nothing else of ours"
    if mine and other and rooms.index(other) > rooms.index(mine):
        return "which is above it"
    return None


def violations(root: Path, rooms: tuple[str, ...] = ROOMS) -> list[str]:
    """What breaks the order, a line each; empty where it is kept."""
    packages = dict.fromkeys(room.split(".")[0] for room in rooms)
    files = [file for package in packages for file in sorted((root / package).rglob("*.py"))]
    graph, problems = {}, []
    for file in (file for file in files if not set(NO_MODULES) & set(file.parts)):
        module, place = module_name(file, root), file.relative_to(root)
        found = imports_of(file, root)
        graph[module] = set(found)
        if room_of(module, rooms) is None and module not in {f"{package}.__init__" for package in packages}:
            problems.append(f"{place} is in no room: give its room a place in ROOMS of tests/repo/test_rooms.py")
        for target, named in found.items():
            if reason := wrong(module, target, rooms):
                problems.append(f"{place}:{named.line} imports {named.name}, {reason}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        problems.append("a circle of imports: " + " <- ".join(error.args[1]))
    return problems


def test_every_module_imports_from_lower_rooms_only() -> None:
    found = violations(ROOT)
    assert not found, "\n".join(found)


SMALL = ("lib.low", "lib.middle", "lib.high", "app")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that keeps the order."""
    write(tmp_path, "lib/__init__.py", '"""No imports."""')
    for room in ("low", "middle", "high"):
        write(tmp_path, f"lib/{room}/__init__.py", "")
    write(tmp_path, "lib/low/a.py", "import math\nvalue = 'lib.style'\n")
    write(tmp_path, "lib/middle/b.py", "from lib.low.a import value\nfrom lib.middle import c\n")
    write(tmp_path, "lib/middle/c.py", "import lib.low.a\n")
    write(tmp_path, "lib/high/d.py", "from lib.middle import b\n")
    write(tmp_path, "app/main.py", "import lib.high.d\ncommand = ['-m', 'app.main', 'lib.high.d.start']\n")
    return tmp_path


def write(root: Path, name: str, code: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(code)


def test_a_tree_in_order_has_no_violations(tree: Path) -> None:
    assert violations(tree, SMALL) == []


@pytest.mark.parametrize(
    ("code", "line", "name"),
    [
        ("import math\nimport lib.high.d\n", 2, "lib.high.d"),
        ("from lib.high import d\n", 1, "lib.high.d"),
        ("from lib.high.d import thing as other\n", 1, "lib.high.d"),
        ("from lib import high\n", 1, "lib.high"),
        ("from ..high import d\n", 1, "lib.high.d"),
        ("def f():\n    if True:\n        from lib.high.d import g\n", 3, "lib.high.d"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lib.high.d\n", 3, "lib.high.d"),
        ("import importlib\nm = importlib.import_module('lib.high.d')\n", 2, "lib.high.d"),
        ("command = ['python', '-m', 'lib.high.d']\n", 1, "lib.high.d"),
        ("hook = 'lib.high.d.start'\n", 1, "lib.high.d.start"),
        ("import app.main\n", 1, "app.main"),
    ],
)
def test_an_upward_import_is_found_wherever_it_hides(tree: Path, code: str, line: int, name: str) -> None:
    write(tree, "lib/middle/e.py", code)
    assert f"lib/middle/e.py:{line} imports {name}, which is above it" in violations(tree, SMALL)


def test_a_circle_inside_a_room_is_found(tree: Path) -> None:
    write(tree, "lib/middle/c.py", "def late():\n    from lib.middle.b import value\n")
    (found,) = violations(tree, SMALL)
    assert found.startswith("a circle of imports: ") and {"lib.middle.b", "lib.middle.c"} <= set(found.split())


def test_a_circle_between_rooms_is_found(tree: Path) -> None:
    write(tree, "lib/low/a.py", "import lib.high.d\n")
    upward, circle = violations(tree, SMALL)
    assert upward == "lib/low/a.py:1 imports lib.high.d, which is above it"
    assert {"lib.low.a", "lib.middle.b", "lib.high.d"} <= set(circle.split())


@pytest.mark.parametrize("file", ["lib/attic/x.py", "lib/lonely.py"])
def test_an_unknown_room_is_found_and_the_message_says_where_to_add_it(tree: Path, file: str) -> None:
    write(tree, file, "")
    assert violations(tree, SMALL) == [
        f"{file} is in no room: give its room a place in ROOMS of tests/repo/test_rooms.py"
    ]


def test_a_package_that_imports_its_modules_is_found(tree: Path) -> None:
    write(tree, "lib/high/__init__.py", "from lib.high.d import thing\n")
    (found,) = [line for line in violations(tree, SMALL) if "circle" not in line]
    assert found.startswith("lib/high/__init__.py:1 imports lib.high.d, but an __init__ imports nothing of ours")


def test_a_room_within_a_room_imports_nothing_but_itself(tmp_path: Path) -> None:
    write(tmp_path, "course_lib/types.py", "")
    write(tmp_path, "autograder/sandbox/inside/frames.py", "import json\n")
    write(tmp_path, "autograder/sandbox/inside/linux.py", "from autograder.sandbox.inside import frames\n")
    write(
        tmp_path,
        "autograder/sandbox/child.py",
        "from autograder.sandbox.inside import linux\nimport course_lib.types\n",
    )
    assert violations(tmp_path) == []
    write(tmp_path, "autograder/sandbox/inside/frames.py", "import json\nimport course_lib.types\n")
    (found,) = violations(tmp_path)
    assert found == (
        "autograder/sandbox/inside/frames.py:2 imports course_lib.types, "
        "but autograder.sandbox.inside imports nothing else of ours"
    )
