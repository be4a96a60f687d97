"""Which modules some code may import, and in which local files they lie.

Read from the source, without running it. Used by fresh_cache.py for the pages, by tools/reach.py for the tests, and by
tests/repo/test_rooms.py for the order of the rooms.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import yaml

CODE_CELL = re.compile(r"^```+\{code-cell\}[^\n]*\n(.*?)^```+\s*$", re.MULTILINE | re.DOTALL)
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
CELL_OPTIONS = re.compile(r"\A(?:---\n.*?\n---\n|(?::[\w-]+:[^\n]*\n)+)", re.DOTALL)
DOTTED_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


class Import(NamedTuple):
    """One module that some code names, and the line where it does."""

    name: str
    line: int


def cells_of(text: str) -> list[str]:
    """The code of each code cell of a page, without the cell's options."""
    return [CELL_OPTIONS.sub("", code) for code in CODE_CELL.findall(text)]


def declared_files(text: str, root: Path) -> set[Path]:
    """The files that a page's front matter names under `depends:`, globs from the root."""
    header = FRONT_MATTER.match(text)
    patterns = (yaml.safe_load(header[1]) or {}).get("depends", []) if header else []
    return {file for pattern in patterns for file in root.glob(pattern) if file.is_file()}


def parse(code: str) -> ast.Module:
    """The tree of some code; a line of IPython magic is passed over."""
    return ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in code.splitlines()))


def imports_in(tree: ast.Module, package: str = "") -> list[Import]:
    """Every import, wherever it stands; `from a import b` may mean the modules a and a.b.

    A relative import counts from `package`, the dotted name of the package that the code lies in, and is passed over without one.
    """
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (not node.level or package):
            around = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*around, *([node.module] if node.module else [])])
            found += [Import(base, node.lineno)] + [Import(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return found


def imported_modules(code: str) -> set[str]:
    """Dotted names of all modules that some code may import."""
    return {found.name for found in imports_in(parse(code))}


def modules_in_strings(tree: ast.Module, folders: list[Path]) -> list[Import]:
    """Every string that is the dotted name of something in a local package, such as one for `python -m` or importlib."""
    return [
        Import(node.value, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and DOTTED_NAME.fullmatch(node.value)
        and len(module_files(".".join(node.value.split(".")[:2]), folders)) > 1  # the package, and a module in it
    ]


def module_files(name: str, folders: list[Path]) -> list[Path]:
    """The local files that importing a dotted name runs: packages on the way, and the module; none for what pip installed."""
    parts = name.split(".")
    for folder in folders:
        files = []
        for depth in range(1, len(parts) + 1):
            base = folder.joinpath(*parts[:depth])
            files += [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
        if files:
            return files
    return []
