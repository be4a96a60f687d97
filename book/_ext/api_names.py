"""The library's public names, read from its source without running it: what api_reference.py makes the reference of."""

import ast
import io
import json
import tokenize
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from imports import imports_in, parse
from pages import ROOT

DOCUMENTED = ("course_lib", "autograder.testing")  # what the reference holds: these packages and those within them
PLAIN_BASES = {"ABC", "NamedTuple", "Protocol"}  # which say how a class is written, not what it is
LONGEST_VALUE = 88  # characters of a constant that the reference shows
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Entry(NamedTuple):
    """One public name of a module, or of a class in it."""

    kind: str  # the directive of Sphinx's Python domain that describes it
    name: str  # as it is written inside the module, such as GaussianDiffusion.bridge
    signature: str  # arguments and result
    options: tuple[str, ...]  # of that directive
    words: str  # its docstring, or the comment beside it
    line: int
    bases: tuple[str, ...] = ()
    members: tuple["Entry", ...] = ()


class Module(NamedTuple):
    """A module's words and names."""

    name: str
    file: Path
    words: str
    entries: list[Entry]
    scope: dict[str, str]  # what each imported or defined name stands for, in full
    parameters: set[str]

    def names(self) -> set[str]:
        """The full names of its entries and of their members."""
        both = [name for entry in self.entries for name in (entry, *entry.members)]
        return {f"{self.name}.{entry.name}" for entry in both}


def public(name: str) -> bool:
    """Whether a name is meant for others."""
    return not name.startswith("_")


def modules_in(package: str, root: Path = ROOT) -> list[str]:
    """The modules that lie directly in a package; raises ValueError where there is no such package, or nothing in it."""
    folder = root.joinpath(*package.split("."))
    names = sorted(file.stem for file in folder.glob("*.py") if public(file.stem))
    if not (folder / "__init__.py").is_file() or not names:
        raise ValueError(f"{package} must be a package with modules in it; there is none in {folder}")
    return [f"{package}.{name}" for name in names]


def rooms(root: Path = ROOT) -> list[str]:
    """The documented packages that have modules of their own."""
    found = {file.parent for top in DOCUMENTED for file in root.joinpath(*top.split(".")).rglob("*.py")}
    holding = [folder for folder in sorted(found) if any(public(file.stem) for file in folder.glob("*.py"))]
    return [".".join(folder.relative_to(root).parts) for folder in holding]


def library(root: Path = ROOT) -> dict[str, Module]:
    """Every documented module, by name."""
    return {name: read_module(name, root) for room in rooms(root) for name in modules_in(room, root)}


def foundations(root: Path = ROOT) -> dict[str, set[str]]:
    """For each room of the first documented package, the other rooms that it imports from; low rooms first."""
    home = {name: room for room in rooms(root) if room.startswith(DOCUMENTED[0]) for name in modules_in(room, root)}
    below: dict[str, set[str]] = {room: set() for room in dict.fromkeys(home.values())}
    for name, room in home.items():
        named = imports_in(parse(module_path(name, root).read_text()), room)
        below[room] |= {home[one.name] for one in named if one.name in home} - {room}
    return {room: below[room] for room in TopologicalSorter(below).static_order()}


def module_path(name: str, root: Path = ROOT) -> Path:
    """The file of a module."""
    return root.joinpath(*name.split(".")).with_suffix(".py")


def docstring(file: Path) -> str:
    """What a file says about itself."""
    return ast.get_docstring(ast.parse(file.read_text())) or ""


def read_module(name: str, root: Path = ROOT) -> Module:
    """The public names of a module, in the order of its source."""
    file = module_path(name, root)
    source = file.read_text()
    tree = ast.parse(source)
    entries = entries_of(tree.body, Remarks(source))
    scope = aliases(tree) | {entry.name: f"{name}.{entry.name}" for entry in entries}
    parameters = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return Module(name, file, ast.get_docstring(tree) or "", entries, scope, parameters)


def aliases(tree: ast.AST) -> dict[str, str]:
    """What each imported name of some code stands for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


class Remarks:
    """The comments of a source file, which say what its constants and fields are."""

    def __init__(self, source: str) -> None:
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        found = [token for token in tokens if token.type == tokenize.COMMENT and "type: ignore" not in token.string]
        alone = [token for token in found if token.line.strip() == token.string]
        self.beside = {token.start[0]: token.string.lstrip("# ") for token in found if token not in alone}
        self.alone = {token.start[0]: token.string.lstrip("# ") for token in alone}

    def about(self, node: ast.stmt) -> str:
        """The comment at a statement's end, or the lines above it."""
        for line in (node.end_lineno or node.lineno, node.lineno):
            if line in self.beside:
                return self.beside[line]
        lines: list[str] = []
        while (line := node.lineno - len(lines) - 1) in self.alone:
            lines.insert(0, self.alone[line])
        return "\n".join(lines)


def entries_of(body: list[ast.stmt], remarks: Remarks, owner: ast.ClassDef | None = None) -> list[Entry]:
    """The public names that some statements define; of a name that is defined twice, such as an overload, the last."""
    found: dict[str, Entry] = {}
    for node in body:
        if isinstance(node, ast.ClassDef) and public(node.name):
            found[node.name] = class_entry(node, remarks)
        elif isinstance(node, FUNCTIONS) and (public(node.name) or (owner and node.name == "__call__")):
            if "setter" not in "".join(map(ast.unparse, node.decorator_list)):
                found[node.name] = function_entry(node, owner)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {name: variable_entry(name, node, remarks, owner) for name in targets(node) if public(name)}
        elif isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try):
            inner = [part for field in ("body", "handlers", "orelse", "finalbody") for part in getattr(node, field, [])]
            flat = [line for part in inner for line in (part.body if isinstance(part, ast.ExceptHandler) else [part])]
            found |= {entry.name: entry for entry in entries_of(flat, remarks, owner)}
    return list(found.values())


def targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """The names that an assignment makes."""
    places = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [
        part.id
        for place in places
        for part in ast.walk(place)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]


def full(name: str, owner: ast.ClassDef | None) -> str:
    """A name with its class before it."""
    return f"{owner.name}.{name}" if owner else name


def function_entry(node: ast.FunctionDef | ast.AsyncFunctionDef, owner: ast.ClassDef | None) -> Entry:
    """A function, a method or a property."""
    marks = {ast.unparse(mark).split(".")[-1] for mark in node.decorator_list}
    result = annotation(node.returns)
    words = ast.get_docstring(node) or ""
    if owner and marks & {"property", "cached_property"}:
        options = (f":type: {result}",) if result else ()
        return Entry("property", full(node.name, owner), "", options, words, node.lineno)
    options = tuple(f":{mark}:" for mark in ("classmethod", "staticmethod") if owner and mark in marks)
    arguments = without_quotes(node.args)
    if owner and "staticmethod" not in marks:
        without_self(arguments)
    signature = f"({ast.unparse(arguments)})" + (f" -> {result}" if result else "")
    return Entry("method" if owner else "function", full(node.name, owner), signature, options, words, node.lineno)


def without_quotes(arguments: ast.arguments) -> ast.arguments:
    """Arguments whose types stand without the quotes that a later class needs."""
    for node in ast.walk(arguments):
        if isinstance(node, ast.arg) and node.annotation is not None:
            node.annotation = ast.parse(annotation(node.annotation), mode="eval").body
    return arguments


def without_self(arguments: ast.arguments) -> None:
    """Drop the first argument of a method."""
    (arguments.posonlyargs or arguments.args).pop(0)


def annotation(node: ast.expr | None) -> str:
    """A type as it is written, without the quotes around one."""
    if node is None:
        return ""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def class_entry(node: ast.ClassDef, remarks: Remarks) -> Entry:
    """A class: its constructor's arguments, its public fields, properties and methods."""
    members = tuple(entries_of(node.body, remarks, owner=node))
    bases = [ast.unparse(base) for base in node.bases]
    makers = [part for part in node.body if isinstance(part, FUNCTIONS) and part.name == "__init__"]
    signature = ""
    if makers:
        arguments = without_quotes(makers[0].args)
        without_self(arguments)
        signature = f"({ast.unparse(arguments)})"
    elif "NamedTuple" in bases or any("dataclass" in ast.unparse(mark) for mark in node.decorator_list):
        fields = [
            part for part in node.body if isinstance(part, ast.AnnAssign) and "init=False" not in ast.unparse(part)
        ]
        signature = f"({', '.join(map(ast.unparse, fields))})" if fields else ""
    kinds = tuple(base for base in bases if base not in PLAIN_BASES)
    return Entry("class", node.name, signature, (), ast.get_docstring(node) or "", node.lineno, kinds, members)


def value_of(name: str, node: ast.Assign | ast.AnnAssign) -> ast.expr | None:
    """What a name is given, also where several are given theirs in one line; None where that cannot be read there."""
    for target in node.targets if isinstance(node, ast.Assign) else ():
        if isinstance(target, ast.Tuple):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [None] * len(target.elts)
            for part, value in zip(target.elts, values, strict=True):
                if isinstance(part, ast.Name) and part.id == name:
                    return value
    return node.value


def variable_entry(name: str, node: ast.Assign | ast.AnnAssign, remarks: Remarks, owner: ast.ClassDef | None) -> Entry:
    """A constant, a type with a name, or a field."""
    options = [f":type: {annotation(node.annotation)}"] if isinstance(node, ast.AnnAssign) else []
    given = value_of(name, node)
    value = ast.unparse(given) if given else ""
    if value and len(value) <= LONGEST_VALUE and "\\" not in value and not value.startswith("field("):
        options.append(f":value: {json.dumps(value, ensure_ascii=False)}")  # whose own quotes YAML would take
    kind = "attribute" if owner else "data"
    return Entry(kind, full(name, owner), "", tuple(options), remarks.about(node), node.lineno)
