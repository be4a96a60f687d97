"""What a docstring must say: the shapes of tensors, and what is raised."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHAPE = re.compile(
    r"`\([^`()]*\)`|of (the|any|its|their|another) shape|of x's shape"
)  # such as `(B, ...)`, or that of an argument
RAISES = re.compile(r"\b[Rr]aises?\b")
NOT_ONE_SHAPE = ("Callable", "dict", "Mapping")  # a function of tensors, or tensors by name
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Function(NamedTuple):
    """A function or method, and the class around it."""

    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef
    owner: ast.ClassDef | None

    def words(self) -> str:
        """Its docstring; a special method's is its class's as well."""
        own = ast.get_docstring(self.node) or ""
        special = self.owner is not None and self.node.name.startswith("__")
        return own + ((ast.get_docstring(self.owner) or "") if special and self.owner else "")


def functions_in(tree: ast.Module, module: str) -> Iterator[Function]:
    """The functions of a module and the methods of its classes; not those inside functions, which nobody else can call."""
    for node in tree.body:
        if isinstance(node, FUNCTIONS):
            yield Function(f"{module}.{node.name}", node, None)
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, FUNCTIONS):
                    yield Function(f"{module}.{node.name}.{part.name}", part, node)


def is_public(function: Function) -> bool:
    """Whether others may call it by its name."""
    return not any(part.startswith("_") for part in function.name.split("."))


def mentions_tensor(annotation: ast.expr | None) -> bool:
    """Whether a type is a tensor or holds tensors, one or several in a row."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return mentions_tensor(ast.parse(annotation.value, mode="eval").body)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).split(".")[-1] in NOT_ONE_SHAPE:
        return False
    if isinstance(annotation, ast.Name | ast.Attribute):
        return ast.unparse(annotation) in ("Tensor", "torch.Tensor")
    return annotation is not None and any(
        mentions_tensor(part) for part in ast.iter_child_nodes(annotation) if isinstance(part, ast.expr)
    )


def takes_or_gives_tensors(function: Function) -> bool:
    """Whether a tensor is among a function's annotated arguments and its result."""
    arguments = function.node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return any(map(mentions_tensor, [function.node.returns, *(one.annotation for one in every if one)]))


def raises_value_error(body: list[ast.stmt]) -> bool:
    """Whether some statements raise a ValueError themselves; functions and classes inside them do not count."""
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Raise) and node.exc and ast.unparse(node.exc).split("(")[0] == "ValueError":
            return True
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            todo += ast.iter_child_nodes(node)
    return False


def gaps(source: str, module: str) -> list[str]:
    """What the docstrings of a module leave out, a line each."""
    found = []
    for function in functions_in(ast.parse(source), module):
        if is_public(function) and takes_or_gives_tensors(function) and not SHAPE.search(function.words()):
            found.append(f"{function.name}: no shape, such as `(B, ...)`")
        if raises_value_error(function.node.body) and not RAISES.search(function.words()):
            found.append(f"{function.name}: does not say what it raises")
    return found


def test_docstrings_state_shapes_and_what_is_raised() -> None:
    files = sorted((ROOT / "course_lib").rglob("*.py"))
    found = [
        line
        for file in files
        for line in gaps(file.read_text(), ".".join(file.relative_to(ROOT).with_suffix("").parts))
    ]
    assert files and not found, "\n".join(found)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('def f(x: Tensor) -> int:\n    """Of x `(B, ...)`."""', 0),
        ('def f(x: Tensor) -> int:\n    """Of x (B, ...)."""', 1),
        ('def f(x: int) -> tuple[Tensor, int]:\n    """Of `f(x)`."""', 1),
        ('def f(*, x: "torch.Tensor | None"):\n    """Of x."""', 1),
        ('def f(*x: Tensor):\n    """Of x."""', 1),
        ('def f() -> Tensor:\n    """One `()`."""', 0),
        ("def f() -> Tensor:\n    return x", 1),
        ('def f(x: Callable[[Tensor], Tensor], y: dict[str, Tensor]):\n    """Of x."""', 0),
        ('def _f(x: Tensor):\n    """Private."""', 0),
        ('class A:\n    """A."""\n    def f(self, x: Tensor):\n        """Of x."""', 1),
        ('def f():\n    """F."""\n    if 1:\n        raise ValueError("no")', 1),
        ('def f():\n    """F. Raises ValueError always."""\n    raise ValueError("no")', 0),
        ('def f():\n    """F."""\n    raise TypeError("no")', 0),
        ('def f():\n    """F."""\n    def g():\n        raise ValueError("no")\n    return g', 0),
        (
            'def _f():\n    """F."""\n    try:\n        pass\n    except KeyError as e:\n        raise ValueError("no") from e',
            1,
        ),
        ('class A:\n    """A."""\n    def __init__(self):\n        raise ValueError("no")', 1),
        ('class A:\n    """A. Raises ValueError."""\n    def __init__(self):\n        raise ValueError("no")', 0),
    ],
)
def test_a_gap_is_found_and_nothing_else(code: str, found: int) -> None:
    assert len(gaps(code, "m")) == found
