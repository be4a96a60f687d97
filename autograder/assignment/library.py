"""The `course_lib` that students' code may import in an assignment: ours, without what the assignment asks them to write."""

import ast
import shutil
from collections.abc import Iterable
from pathlib import Path

import course_lib

SOURCE = Path(course_lib.__file__).resolve().parent
Function = ast.FunctionDef | ast.AsyncFunctionDef


def build_course(withheld: Iterable[str], destination: Path) -> Path:
    """Write `course_lib` below a folder, with the bodies of the withheld functions replaced by an error that says why.

    `withheld` names functions and methods below course_lib, such as "diffusion.schedules.linear" or
    "diffusion.gaussian.GaussianDiffusion.diffuse".
    Returns the folder. Raises ValueError where a name does not exist.
    """
    target = destination / "course_lib"
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(SOURCE, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    by_file: dict[Path, list[str]] = {}
    for name in withheld:
        file, inside = find_module(target, name)
        by_file.setdefault(file, []).append(inside)
    for file, names in by_file.items():
        file.write_text(without(file.read_text(), names, ".".join(file.relative_to(destination).with_suffix("").parts)))
    return destination


def find_module(folder: Path, name: str) -> tuple[Path, str]:
    """The file and the name within it that a dotted name below a package means."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        file = folder.joinpath(*parts[:count]).with_suffix(".py")
        if file.is_file():
            return file, ".".join(parts[count:])
    raise ValueError(f"withheld names a function that does not exist: course_lib has no module for {name!r}")


def without(source: str, names: Iterable[str], module: str) -> str:
    """The source of a module in which the bodies of the named functions and methods only raise an error."""
    lines = source.splitlines()
    functions = dict(named_functions(ast.parse(source)))
    for name in sorted(names, key=lambda name: -functions[name].lineno if name in functions else 0):
        if name not in functions:
            raise ValueError(f"withheld names a function that does not exist: {module} has no {name!r}")
        first, last = functions[name].body[0], functions[name].body[-1]
        message = f"{module}.{name} is what this assignment asks you to write, so it is not there to be called: write it yourself"
        lines[first.lineno - 1 : last.end_lineno] = [f"{' ' * first.col_offset}raise NotImplementedError({message!r})"]
    return "\n".join(lines) + "\n"


def named_functions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> list[tuple[str, Function]]:
    """Every function of a module and every method of its classes, by dotted name."""
    found: list[tuple[str, Function]] = []
    for node in tree.body:
        if isinstance(node, Function):
            found.append((prefix + node.name, node))
        elif isinstance(node, ast.ClassDef):
            found += named_functions(node, f"{prefix}{node.name}.")
    return found
