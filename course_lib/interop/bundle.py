"""One class of the library as a file of its own: its source with all that it uses of the library, and nothing else.

Definitions are copied as they stand, so what runs elsewhere is what is read here.
"""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

OURS = "course_lib"


@dataclass
class Source:
    """The top level of one module: what it defines, what it imports of the library, and what it imports from elsewhere."""

    text: str
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    inner: dict[str, tuple[str, str]] = field(default_factory=dict)  # a name -> (module, its name there)
    outer: dict[str, str] = field(default_factory=dict)  # a name -> the statement that imports it


def read(module: str) -> Source:
    """The top level of a module of the library; raises ValueError for what cannot be copied: an import of a whole module of ours."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    source = Source(Path(spec.origin).read_text())
    for node in ast.parse(source.text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = alias.asname or alias.name
                whole = isinstance(node, ast.Import)
                origin = alias.name if whole else str(node.module)
                if origin.split(".")[0] != OURS:
                    as_name = f" as {alias.asname}" if alias.asname else ""
                    source.outer[name] = f"{'' if whole else f'from {origin} '}import {alias.name}{as_name}"
                elif whole or importlib.util.find_spec(origin).submodule_search_locations:  # type: ignore[union-attr]
                    raise ValueError(
                        f"{module} must import names from modules of {OURS}; it imports {ast.unparse(node)!r}"
                    )
                else:
                    source.inner[name] = origin, alias.name
        else:
            for name in defined(node):
                source.definitions[name] = node
    return source


def defined(node: ast.stmt) -> list[str]:
    """The names that a statement of a module's top level defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def names_in(node: ast.AST) -> Iterator[str]:
    """The names that a piece of code mentions, those in annotations that are strings included."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.isidentifier():
            yield part.value


def text_of(source: Source, node: ast.stmt) -> str:
    """A statement as it is written, with its decorators and the comment at its end."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(one.lineno for one in decorators)])
    return "\n".join(source.text.splitlines()[first - 1 : node.end_lineno])


def self_contained(roots: list[tuple[str, str]], aliases: dict[str, str] | None = None) -> str:
    """The source of some classes or functions, each (module, name), and of all that they use of the library, as one module's text.

    `aliases` says for names of the roots which other name stands for them there. Raises ValueError where two definitions that are needed
    have the same name.
    """
    aliases = aliases or {}
    sources: dict[str, Source] = {}
    order: list[tuple[str, str]] = []  # what a definition uses stands before it
    imports: set[str] = set()
    seen: set[tuple[str, str]] = set()

    def visit(module: str, name: str) -> None:
        if (module, name) in seen:
            return
        seen.add((module, name))
        if module not in sources:
            sources[module] = read(module)
        source = sources[module]
        node = source.definitions[name]
        for used in names_in(node):
            if used in aliases:
                continue
            if used in source.definitions:
                visit(module, used)
            elif used in source.inner:
                visit(*source.inner[used])
            elif used in source.outer:
                imports.add(source.outer[used])
        order.append((module, name))

    for root in roots:
        visit(*root)
    names = [name for _, name in order]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"the definitions that are copied must have different names; these are there twice: {repeated}"
        )
    blocks, written = [], set[int]()
    for module, name in order:
        node = sources[module].definitions[name]
        if id(node) in written:
            continue
        written.add(id(node))
        alias = [f"{alias} = {wanted}" for alias, wanted in aliases.items() if wanted == name]
        blocks.append("\n\n\n".join([text_of(sources[module], node), *alias]))
    return "\n".join(import_lines(imports)) + "\n\n\n" + "\n\n\n".join(blocks) + "\n"


def import_lines(imports: set[str]) -> list[str]:
    """Import statements in order, those from one module joined."""
    names: dict[str, list[str]] = {}
    for line in sorted(imports):
        if line.startswith("from "):
            module, name = line.removeprefix("from ").split(" import ")
            names.setdefault(module, []).append(name)
    joined = [f"from {module} import {', '.join(found)}" for module, found in names.items()]
    return [*sorted(line for line in imports if line.startswith("import ")), *joined]
