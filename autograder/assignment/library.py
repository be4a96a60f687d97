"""The `course_lib` that students' code may import in an assignment: ours, without what the assignment asks them to write."""

import ast
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import course_lib

SOURCE = Path(course_lib.__file__).resolve().parent
ASSIGNMENTS = SOURCE.parent / "solutions"
BESIDE = re.compile(r"(a\d\d_\w+)\.(\w+)\.(.+)")  # assignment, module beside its notebook, function in it
Function = ast.FunctionDef | ast.AsyncFunctionDef


def build_course(withheld: Iterable[str], destination: Path) -> Path:
    """Write `course_lib` below a folder, with the bodies of the withheld functions replaced by an error that says why.

    `withheld` names functions and methods below course_lib, such as "diffusion.schedules.linear" or
    "diffusion.gaussian.GaussianDiffusion.diffuse"; or whole modules and rooms, such as "diffusion", of which every function and method
    is withheld, lambdas too: answers can be composed of parts that are none themselves.
    "a02_mnist_ddpm.digits.train" names a function of a module that lies beside the notebook of an assignment: where that is there, it
    is written below "given" without it.
    Returns the folder. Raises ValueError where a name does not exist.
    """
    target = destination / "course_lib"
    for old in (target, destination / "given"):
        if old.exists():
            shutil.rmtree(old)
    shutil.copytree(SOURCE, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    by_file: dict[Path, list[str]] = {}
    for name in withheld:
        if beside := BESIDE.fullmatch(name):
            file = ASSIGNMENTS / beside[1] / "given" / f"{beside[2]}.py"
            if file.is_file():  # a student's machine has no other assignments, and grades nothing
                copy = destination / "given" / file.name
                copy.parent.mkdir(exist_ok=True)
                source = copy.read_text() if copy.exists() else file.read_text()
                copy.write_text(without(source, [beside[3]], beside[2], for_home))
            continue
        whole = modules(target, name)
        if not whole:
            file, inside = find_module(target, name)
            by_file.setdefault(file, []).append(inside)
        for file in whole:
            file.write_text(emptied(file.read_text(), module_name(file, destination)))
    for file, names in by_file.items():
        file.write_text(without(file.read_text(), names, module_name(file, destination)))
    return destination


def modules(folder: Path, name: str) -> list[Path]:
    """The files of a module or a room of course_lib; none where the name is that of something in a module."""
    place = folder.joinpath(*name.split("."))
    return sorted(place.rglob("*.py")) or [file for file in [place.with_suffix(".py")] if file.is_file()]


def module_name(file: Path, destination: Path) -> str:
    """The dotted name of a module's file."""
    return ".".join(file.relative_to(destination).with_suffix("").parts)


def emptied(source: str, module: str) -> str:
    """The source of a module in which every function, method and lambda only raises an error when it is called."""
    return ast.unparse(Emptied(module).visit(ast.parse(source))) + "\n"


class Emptied(ast.NodeTransformer):
    """Replaces the bodies of functions, and those of lambdas outside of them."""

    def __init__(self, module: str) -> None:
        self.path = [module]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Its methods."""
        self.path.append(node.name)
        self.generic_visit(node)
        self.path.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A body that raises."""
        return self.visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """A body that raises."""
        return self.visit_function(node)

    def visit_function(self, node: Function) -> ast.AST:
        """A function whose body raises."""
        node.body = ast.parse(f"raise NotImplementedError({refusal('.'.join([*self.path, node.name]))!r})").body
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """An expression that raises."""
        node.body = ast.parse(
            f"(_ for _ in ()).throw(NotImplementedError({refusal('.'.join(self.path))!r}))", mode="eval"
        ).body
        return node


def refusal(name: str) -> str:
    """What the error says of a withheld name."""
    return f"{name} is what this assignment asks you to write, so it is not there to be called: write it yourself"


def for_home(name: str) -> str:
    """What the error says of a function beside the notebook, which trains or draws at home and could answer a task."""
    return f"{name} works where you train and draw, and not while your notebook is graded"


def find_module(folder: Path, name: str) -> tuple[Path, str]:
    """The file and the name within it that a dotted name below a package means."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        file = folder.joinpath(*parts[:count]).with_suffix(".py")
        if file.is_file():
            return file, ".".join(parts[count:])
    raise ValueError(f"withheld names a function that does not exist: course_lib has no module for {name!r}")


def without(source: str, names: Iterable[str], module: str, says: Callable[[str], str] = refusal) -> str:
    """The source of a module in which the bodies of the named functions and methods only raise an error."""
    lines = source.splitlines()
    functions = dict(named_functions(ast.parse(source)))
    for name in sorted(names, key=lambda name: -functions[name].lineno if name in functions else 0):
        if name not in functions:
            raise ValueError(f"withheld names a function that does not exist: {module} has no {name!r}")
        first, last = functions[name].body[0], functions[name].body[-1]
        message = says(f"{module}.{name}")
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
