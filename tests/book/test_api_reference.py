"""The reference of the library: every public name is in it, and the links between it and the chapters lead both ways."""

import io
import os
import re
import subprocess
import symtable
import sys
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

from api_names import foundations, library, modules_in, read_module, rooms
from api_places import derivations, label_of, names_used, uses
from pages import page_file, page_names

ROOT = Path(__file__).resolve().parents[2]
EXTENSIONS = ROOT / "book" / "_ext"


def public_names(file: Path) -> set[str]:
    """What Python's own compiler says that a module defines and does not import."""
    table = symtable.symtable(file.read_text(), str(file), "exec")
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() and not symbol.is_imported()}
    return {name for name in names if not name.startswith("_")}


# --- the library and the book as they are ----------------------------------------------------------------------------


def test_every_public_name_has_an_entry() -> None:
    files = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in ROOT.glob("course_lib/**/*.py")}
    wanted = {f"{module}.{name}" for module, file in files.items() for name in public_names(file)}
    found = {name for module in library().values() for name in module.names()}
    assert wanted and wanted - found == set()


def test_every_room_has_a_page() -> None:
    pages = [file.read_text() for file in (ROOT / "book" / "api").glob("*.md")]
    assert sorted(re.findall(r"^```\{api\} (\S+)$", "\n".join(pages), re.MULTILINE)) == sorted(rooms())


def test_every_source_that_a_page_shows_is_found() -> None:
    derived = derivations()
    source = re.compile(r"literalinclude\} (\S+)\n(?:[^`\n]*\n)*?:pyobject:\s*(\S+)")
    shown = {
        (page, name)
        for page in page_names()
        for file, name in source.findall(page_file(page).read_text())
        if "course_lib/" in file  # the command's code and a page's own have no entries
    }
    found = {(place.page, name.split(".", 3)[3]) for name, places in derived.items() for place in places}
    assert shown and found == shown


def test_the_built_book_links_both_ways(html: Path) -> None:
    with (html / "objects.inv").open("rb") as stream:
        objects = InventoryFile.load(stream, "", os.path.join)
    known = {
        name: address[2] for kind, found in objects.items() if kind.startswith("py:") for name, address in found.items()
    }
    assert {name for module in library().values() for name in module.names()} - known.keys() == set()
    lost = []
    for name, places in derivations().items():
        file, anchor = known[name].split("#")
        reference = entry_html((html / file).read_text(), anchor)
        for place in places:
            chapter = (html / f"{place.page}.html").read_text()
            identifier = re.search(
                rf'id="({re.escape(re.sub("[^a-z0-9]+", "-", label_of(place.page, name)))})"', chapter
            )
            address = os.path.relpath(f"{place.page}.html", os.path.dirname(file))
            there = identifier and f'"{address}#{identifier[1]}"' in reference
            back = re.search(rf'href="[^"]*{re.escape(Path(file).name)}#{re.escape(anchor)}"', chapter)
            if not (there and back):
                lost.append((name, place.page, bool(there), bool(back)))
    assert lost == []


def entry_html(page: str, anchor: str) -> str:
    """The part of a page from an entry to the next."""
    return page.split(f'id="{anchor}"', 1)[1].split("<dt ", 1)[0]


# --- a small library and a small book --------------------------------------------------------------------------------


STEPS = '''"""Steps along `x`."""

from collections.abc import Callable

from torch import Tensor

from course_lib.types import Denoiser

Rule = Callable[[Tensor], Tensor]  # x -> x
# More than one step,
# and fewer than a hundred.
COUNT: int = 10
_hidden = 1
if COUNT > 5:
    MANY = True


def step(denoise: Denoiser, x: Tensor, eta: float = 0.0) -> "Walk":
    """One step of `Walk.rest` from x `(B, ...)`; as `hop`, where *eta* is 0."""


def hop(x: Tensor) -> Tensor:
    """A hop `(B, ...)`."""


def lonely() -> None:
    """Nobody uses it."""


def _private() -> None:
    """Not for others."""


class Walk:
    """Several steps."""

    pace: float = 1.0  # in metres

    def __init__(self, pace: float) -> None:
        self.pace = pace

    @property
    def rest(self) -> int:
        """How many are left."""

    @staticmethod
    def start(x: Tensor) -> Tensor:
        """The first `(B, ...)`."""

    def _inner(self) -> None:
        """Not for others."""


class Run(Walk):
    """Faster."""
'''
FIRST = """# Beginnings

```{literalinclude} ../../course_lib/room/steps.py
:language: python
:pyobject: step
```

```{literalinclude} ../../course_lib/room/steps.py
:pyobject: Walk.start
```

```{literalinclude} ../../course_lib/room/steps.py
:pyobject: _private
```
"""
SECOND = """# Ends

```{literalinclude} ../../course_lib/room/steps.py
:pyobject: step
```

```{code-cell} ipython3
%matplotlib inline
from course_lib.room import steps as walking
walking.hop(1)
```
"""
START = "# Start\n\n```{code-cell} ipython3\nfrom course_lib.room.steps import hop, Rule\n```\n"
CONF = f"""import sys
sys.path.insert(0, {str(EXTENSIONS)!r})
extensions = ['myst_parser', 'api_reference']
html_theme = 'sphinx_book_theme'
html_theme_options = {{'repository_url': 'https://github.com/x/y', 'repository_branch': 'main'}}
nitpicky = True


def setup(app):
    from sphinx.directives.code import CodeBlock

    app.add_directive('code-cell', CodeBlock)  # myst-nb's, without its seconds
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A library with one room, and a book with two chapters."""
    chapters = ["chapters/01_first/index", "chapters/02_second/index"]
    pages = [*chapters, "book/api/index", "book/api/course_lib", "book/api/room"]
    contents = "\n".join(f"  - file: {page}" for page in pages)
    write(
        tmp_path,
        {
            "_toc.yml": f"root: index\nparts:\n- chapters:\n{contents}\n",
            "conf.py": CONF,
            "index.md": START + "\n```{toctree}\n" + "\n".join(pages) + "\n```\n",
            "chapters/01_first/index.md": FIRST,
            "chapters/02_second/index.md": SECOND,
            "book/api/index.md": "# The library\n\n```{api-rooms}\n```\n",
            "book/api/course_lib.md": "# course_lib\n\n```{api} course_lib\n```\n",
            "book/api/room.md": "# course_lib.room\n\n```{api} course_lib.room\n```\n",
            "course_lib/__init__.py": '"""A small library."""\n',
            "course_lib/types.py": '"""Types."""\n\nDenoiser = int  # a guess, for `steps.lonely`, not `hop`\n',
            "course_lib/room/__init__.py": '"""One room."""\n',
            "course_lib/room/steps.py": STEPS,
        },
    )
    return tmp_path


def test_entries_say_what_the_source_says(tree: Path) -> None:
    entries = {entry.name: entry for entry in read_module("course_lib.room.steps", tree).entries}
    assert list(entries) == ["Rule", "COUNT", "MANY", "step", "hop", "lonely", "Walk", "Run"]
    assert (entries["Rule"].words, entries["Rule"].options) == ("x -> x", (':value: "Callable[[Tensor], Tensor]"',))
    assert entries["COUNT"].words == "More than one step,\nand fewer than a hundred."
    assert entries["COUNT"].options == (":type: int", ':value: "10"')
    assert entries["step"].signature == "(denoise: Denoiser, x: Tensor, eta: float=0.0) -> Walk"
    assert STEPS.splitlines()[entries["step"].line - 1].startswith("def step")
    assert (entries["Walk"].signature, entries["Run"].bases) == ("(pace: float)", ("Walk",))
    members = {member.name: (member.kind, member.signature, member.options) for member in entries["Walk"].members}
    assert members == {
        "Walk.pace": ("attribute", "", (":type: float", ':value: "1.0"')),
        "Walk.rest": ("property", "", (":type: int",)),
        "Walk.start": ("method", "(x: Tensor) -> Tensor", (":staticmethod:",)),
    }


def test_constants_of_one_line_have_values_of_their_own_and_texts_their_quotes(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"course_lib/__init__.py": "", "course_lib/some.py": "A, B = 32, 'x'\nC, D = range(2)\nE = F = (1, 2)\n"},
    )
    options = {entry.name: entry.options for entry in read_module("course_lib.some", tmp_path).entries}
    assert options == {
        "A": (':value: "32"',),
        "B": (":value: \"'x'\"",),
        "C": (),
        "D": (),
        "E": (':value: "(1, 2)"',),
        "F": (':value: "(1, 2)"',),
    }


def test_a_name_is_derived_on_each_page_that_shows_its_source(tree: Path) -> None:
    found = {name: [place.words for place in places] for name, places in derivations(tree).items()}
    assert found == {
        "course_lib.room.steps.step": ["chapter 1: Beginnings", "chapter 2: Ends"],
        "course_lib.room.steps.Walk.start": ["chapter 1: Beginnings"],
    }


def test_a_name_is_used_in_the_first_chapter_whose_code_names_it_or_else_on_another_page(tree: Path) -> None:
    found = uses(tree)
    assert found["course_lib.room.steps.hop"].words == "chapter 2: Ends"
    assert found["course_lib.room.steps.Rule"].words == "Start"
    assert "course_lib.room.steps.lonely" not in found


def test_names_are_followed_through_imports_of_earlier_cells() -> None:
    cells = ["import a.b\nfrom c import d as e", "e.f(a.b.g.h(x.y))"]
    assert names_used(cells) == {"a", "c.d", "c.d.f", "a.b", "a.b.g", "a.b.g.h"}


def test_low_rooms_come_first(tree: Path) -> None:
    write(tree, {"course_lib/attic/__init__.py": "", "course_lib/attic/roof.py": "from course_lib.room import steps\n"})
    found = foundations(tree)
    assert list(found) == ["course_lib", "course_lib.room", "course_lib.attic"]
    assert found["course_lib.room"] == {"course_lib"} and found["course_lib.attic"] == {"course_lib.room"}


def test_a_package_that_is_gone_is_an_error(tree: Path) -> None:
    (tree / "course_lib" / "room" / "steps.py").unlink()
    for package in ("course_lib.room", "course_lib.nowhere"):
        with pytest.raises(ValueError, match=f"{package} must be a package with modules in it"):
            modules_in(package, tree)


def build(root: Path, builder: str) -> tuple[int, str]:
    """Build the small book with warnings as errors; exit status and messages."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", builder, str(root), str(root / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False)
    return done.returncode, done.stderr


def test_the_pages_link_both_ways(tree: Path) -> None:
    status, messages = build(tree, "html")
    assert status == 0, messages
    objects = InventoryFile.load(io.BytesIO((tree / "out" / "objects.inv").read_bytes()), "", os.path.join)
    assert "course_lib.room.steps.Walk.rest" in objects["py:property"]
    page = (tree / "out/book/api/room.html").read_text()
    step, hop = (entry_html(page, f"course_lib.room.steps.{name}") for name in ("step", "hop"))
    anchor = "source-chapters-01-first-index-course-lib-room-steps-step"
    assert f'href="../../chapters/01_first/index.html#{anchor}"' in step and "Derived in" in step
    assert "chapter 2: Ends" in step and "github.com/x/y/blob/main/course_lib/room/steps.py#L18" in step
    assert 'href="course_lib.html#course_lib.types.Denoiser"' in step, "a type of ours is a link"
    assert 'href="#course_lib.room.steps.hop"' in step and "<em>eta</em>" in step, "docstrings are Markdown"
    assert "Used in" in hop and "chapter 2: Ends" in hop
    lonely = entry_html(page, "course_lib.room.steps.lonely")
    assert "Derived in" not in lonely and "Used in" not in lonely
    assert "_private" not in page
    types = (tree / "out/book/api/course_lib.html").read_text()
    assert 'href="room.html#course_lib.room.steps.lonely"' in types, "part of a full name is enough"
    assert 'href="room.html#course_lib.room.steps.hop"' not in types, "but not the last part alone, from another room"
    chapter = (tree / "out/chapters/01_first/index.html").read_text()
    assert chapter.count(f'id="{anchor}"') == 1
    assert 'href="../../book/api/room.html#course_lib.room.steps.step"' in chapter
    assert 'href="../../book/api/room.html#course_lib.room.steps.Walk.start"' in chapter
    assert chapter.count("·\u00a0reference") == 2, "what has no entry has no link"
    rows = (tree / "out/book/api/index.html").read_text()
    assert 'href="room.html#module-course_lib.room"' in rows and "One room." in rows


def test_a_module_or_a_page_that_is_gone_stops_the_build(tree: Path) -> None:
    write(tree, {"course_lib/room/other.py": '"""Other."""\n', "course_lib/attic/__init__.py": '"""Attic."""\n'})
    write(tree, {"course_lib/attic/roof.py": '"""Roof."""\n'})
    page = tree / "book/api/room.md"
    page.write_text(page.read_text() + "\n```{api} course_lib.cellar\n```\n\n{py:func}`course_lib.room.steps.hop`\n")
    (tree / "course_lib/room/steps.py").unlink()
    status, messages = build(tree, "dummy")
    assert status != 0
    assert "course_lib.cellar must be a package with modules in it" in messages
    assert "py:func reference target not found: course_lib.room.steps.hop" in messages
    assert re.search(r"01_first/index.md.*steps.py", messages), "the chapter's literalinclude"
    assert "py:mod reference target not found: course_lib.attic" in messages, "a room without a page"
