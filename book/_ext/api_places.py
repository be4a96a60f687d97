"""The pages that show the source of the library's names, or use them: where the entries of the reference lead."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

from api_names import DOCUMENTED, aliases, read_module
from imports import cells_of, parse
from pages import ROOT, page_file, page_names

INCLUDE = re.compile(r"^[`~:]{3,}\{literalinclude\} +(\S+) *\n(.*?)^[`~:]{3,} *$", re.MULTILINE | re.DOTALL)
PYOBJECT = re.compile(r"^:?pyobject: *(\S+)", re.MULTILINE)
CHAPTER = re.compile(r"chapters/0*(\d+)_")


class Place(NamedTuple):
    """A page of the book, and how a sentence calls it."""

    page: str
    words: str


def place_of(page: str, root: Path = ROOT) -> Place:
    """A page with its number, if it is a chapter, and its title."""
    title = next(
        (line[2:].strip() for line in page_file(page, root).read_text().splitlines() if line.startswith("# ")), page
    )
    number = CHAPTER.match(page)
    return Place(page, f"chapter {number[1]}: {title}" if number else title)


def shown_name(file: Path, pyobject: str | None, root: Path = ROOT) -> str | None:
    """The full name of what a literalinclude shows, where that has an entry in the reference."""
    if not pyobject or not file.is_relative_to(root) or file.suffix != ".py" or not file.is_file():
        return None
    module = ".".join(file.relative_to(root).with_suffix("").parts)
    if not f"{module}.".startswith(tuple(f"{top}." for top in DOCUMENTED)):
        return None
    name = f"{module}.{pyobject}"
    return name if name in read_module(module, root).names() else None


def label_of(page: str, name: str) -> str:
    """The label of the place on a page that shows a name's source."""
    return f"source-{page}-{name}".lower().replace("/", "-")


def derivations(root: Path = ROOT) -> dict[str, list[Place]]:
    """For each name whose source pages show, those pages, in reading order."""
    found: dict[str, list[Place]] = {}
    for page in page_names(root):
        file = page_file(page, root)
        for path, options in INCLUDE.findall(file.read_text()):
            pyobject = PYOBJECT.search(options)
            name = shown_name((file.parent / path).resolve(), pyobject and pyobject[1], root)
            if name and all(place.page != page for place in found.get(name, [])):
                found.setdefault(name, []).append(place_of(page, root))
    return found


def uses(root: Path = ROOT) -> dict[str, Place]:
    """For each full name that a page's code imports or names, the first chapter that does, or else the first other page."""
    found: dict[str, Place] = {}
    for page in sorted(page_names(root), key=lambda page: not CHAPTER.match(page)):
        names = names_used(cells_of(page_file(page, root).read_text()))
        found |= {name: place_of(page, root) for name in names - found.keys()}
    return found


def names_used(cells: list[str]) -> set[str]:
    """The full names of all that code cells, one after the other, import or reach through an imported module."""
    trees = [parse(cell) for cell in cells]
    known = {name: meaning for tree in trees for name, meaning in aliases(tree).items()}
    reached = {ast.unparse(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    chains = [chain.split(".") for chain in reached if chain.replace(".", "").isidentifier()]
    return set(known.values()) | {".".join([known[first], *rest]) for first, *rest in chains if first in known}
