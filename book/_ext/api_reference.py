"""`{api} course_lib.sampling`: the reference of a package's modules, made from their docstrings. `{api-rooms}`: the list of the packages.

Each public name is an object of Sphinx's Python domain, so that pages link to it and the search finds it. Its entry leads to the
chapters that show its source; below the source, the chapter leads back to the entry. Nobody types these links.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.directives.code import LiteralInclude
from sphinx.util.docutils import SphinxDirective

from api_names import Entry, Module, docstring, foundations, library, module_path, modules_in, rooms
from api_places import Place, derivations, label_of, shown_name, uses
from pages import page_file, page_names

FOLDER = "book/api/"  # the pages of the reference


def fenced(directive: str, argument: str, *lines: str, depth: int = 3) -> str:
    """A directive in MyST; tildes, since backticks may stand in it, and more of them around others."""
    return "\n".join([f"{'~' * depth}{{{directive}}} {argument}", *lines, "~" * depth, ""])


class Facts(NamedTuple):
    """What the library and the book say, read once a build."""

    modules: dict[str, Module]
    derived: dict[str, list[Place]]
    used: dict[str, Place]


@cache
def facts(root: Path) -> Facts:
    """The facts about the book in a folder."""
    return Facts(library(root), derivations(root), uses(root))


class Writer:
    """The Markdown of entries."""

    def __init__(self, app: Sphinx) -> None:
        self.root = Path(app.srcdir)
        theme = app.config.html_theme_options
        self.files = f"{theme['repository_url'].rstrip('/')}/blob/{theme.get('repository_branch', 'main')}"
        _, self.derived, self.used = facts(self.root)

    def module(self, module: Module) -> str:
        """A module's words and its entries."""
        head = fenced("py:module", module.name)
        links = fenced("container", "api-links", f"`{module.name}` · {self.source(module, 1)}")
        return "\n".join([head, links, module.words, "", *(self.entry(module, entry) for entry in module.entries)])

    def entry(self, module: Module, entry: Entry) -> str:
        """One name, and what belongs to it."""
        inner = [self.entry(module, member) for member in entry.members]
        kind = f"A kind of {' and '.join(f'`{base}`' for base in entry.bases)}.\n" if entry.bases else ""
        lines = (
            f":module: {module.name}",
            *entry.options,
            "",
            entry.words,
            "",
            kind,
            self.links(module, entry),
            *inner,
        )
        return fenced(f"py:{entry.kind}", entry.name + entry.signature, *lines, depth=6 if "." in entry.name else 7)

    def links(self, module: Module, entry: Entry) -> str:
        """Where a name is derived, or first used, and its source; of a member, where it is derived."""
        name = f"{module.name}.{entry.name}"
        parts = []
        if name in self.derived:
            parts.append(f"Derived in {' and '.join(self.shown(place, name) for place in self.derived[name])}")
        elif name in self.used:
            place = self.used[name]
            parts.append(f"Used in {{doc}}`{place.words} </{place.page}>`")
        if "." not in entry.name:
            parts.append(self.source(module, entry.line))
        return fenced("container", "api-links", " · ".join(parts)) if parts else ""

    def shown(self, place: Place, name: str) -> str:
        """A link to the source on a page."""
        return f"{{ref}}`{place.words} <{label_of(place.page, name)}>`"

    def source(self, module: Module, line: int) -> str:
        """A link to the file in the repository."""
        return f"[source]({self.files}/{module.file.relative_to(self.root)}#L{line})"


class Linker:
    """Turns the names in signatures and docstrings into links to their entries, and the other names in signatures into text."""

    def __init__(self, modules: dict[str, Module]) -> None:
        self.known = {name for module in modules.values() for name in module.names()}

    def exact(self, name: str, module: Module) -> str | None:
        """The full name of what a module calls by some name, where that has an entry."""
        first, dot, rest = name.partition(".")
        target = module.scope.get(first, "") + dot + rest
        return target if target in self.known else None

    def near(self, name: str, module: Module) -> str | None:
        """The only entry of a name in the module or one beside it, or of a dotted name anywhere; None where there are several."""
        owners = [one.removesuffix(f".{name}") for one in self.known if one.endswith(f".{name}")]
        room = module.name.rpartition(".")[0]
        here = [one for one in owners if f"{one}.".startswith(f"{module.name}.") or one.rpartition(".")[0] == room]
        found = owners if "." in name else here
        return f"{found[0]}.{name}" if len(found) == 1 else None

    def link(self, parsed: list[nodes.Node], module: Module) -> None:
        """Change the nodes of a module's entries in place."""
        for node in [found for part in parsed for found in part.findall(addnodes.desc_signature)]:
            for reference in list(node.findall(addnodes.pending_xref)):
                target = self.exact(reference["reftarget"], module)
                reference.parent.replace(reference, self.wrapped(target, reference.children))
        for literal in [found for part in parsed for found in part.findall(nodes.literal)]:
            name = literal.astext()
            target = None if name in module.parameters else self.exact(name, module) or self.near(name, module)
            if target and not isinstance(literal.parent, addnodes.pending_xref):
                literal.parent.replace(literal, self.wrapped(target, [literal.deepcopy()]))

    def wrapped(self, target: str | None, inside: list[nodes.Node]) -> list[nodes.Node]:
        """Some nodes as a link, or as they are."""
        return [reference_to(target, *inside)] if target else inside


def reference_to(name: str, *inside: nodes.Node) -> addnodes.pending_xref:
    """A link to an entry; where there is none, the build says so."""
    return addnodes.pending_xref(
        "", nodes.inline("", "", *inside), refdomain="py", reftype="obj", reftarget=name, refwarn=True
    )


class Reference(SphinxDirective):
    """`{api} course_lib.sampling`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The package's words, then a section for each of its modules."""
        root, package = Path(self.env.app.srcdir), self.arguments[0]
        try:
            names = modules_in(package, root)
        except ValueError as error:
            raise self.error(str(error)) from error
        modules = facts(root).modules
        if missing := [name for name in names if name not in modules]:
            raise self.error(f"{', '.join(missing)} is in no package that DOCUMENTED in book/_ext/api_names.py names")
        opening = root.joinpath(*package.split("."), "__init__.py")
        for file in [
            opening,
            *(module.file for module in modules.values()),
            *(page_file(page, root) for page in page_names(root)),
        ]:
            self.env.note_dependency(str(file))
        writer, linker = Writer(self.env.app), Linker(modules)
        content = self.parse(f"{fenced('py:module', package)}\n{docstring(opening)}\n")
        return content + [self.section(modules[name], writer, linker) for name in names]

    def section(self, module: Module, writer: Writer, linker: Linker) -> nodes.section:
        """One module."""
        title = module.name.rpartition(".")[2]
        section = nodes.section(ids=[nodes.make_id(f"api-{module.name}")])
        section += nodes.title(title, title)
        parsed = self.parse(writer.module(module))
        section += parsed
        linker.link(section.children, module)
        return section

    def parse(self, text: str) -> list[nodes.Node]:
        """The nodes of some MyST."""
        return self.parse_text_to_nodes(text)


class Rooms(Reference):
    """`{api-rooms}`: each room of the library, what is in it, and which rooms it builds on; low rooms first."""

    required_arguments = 0

    def run(self) -> list[nodes.Node]:
        """One table."""
        root = Path(self.env.app.srcdir)
        for room in rooms(root):
            self.env.note_dependency(str(root.joinpath(*room.split("."), "__init__.py")))
            for name in modules_in(room, root):
                self.env.note_dependency(str(module_path(name, root)))
        rows = ["| room | what is in it | builds on |", "|---|---|---|"]
        order = foundations(root)
        for room, below in order.items():
            words = docstring(root.joinpath(*room.split("."), "__init__.py")).split("\n\n")[0]
            links = ", ".join(f"{{py:mod}}`~{other}`" for other in order if other in below)
            rows.append(f"| {{py:mod}}`~{room}` | {' '.join(words.split())} | {links} |")
        return self.parse(fenced("table", "", ":class: narrow-words api-rooms", "", *rows))


class ShownSource(LiteralInclude):
    """A literalinclude that leads to the entry of what it shows."""

    def run(self) -> list[nodes.Node]:
        """The source, and below it the link; as ever where what is shown has no entry."""
        found = super().run()
        file = Path(self.env.relfn2path(self.arguments[0])[1]).resolve()
        name = shown_name(file, self.options.get("pyobject"), Path(self.env.app.srcdir).resolve())
        if name is None:
            return found
        link = reference_to(name, nodes.literal(name, name.replace(".", ".\u200b")), nodes.Text(" ·\u00a0reference"))
        block = nodes.container(
            "", *found, nodes.paragraph("", "", link, classes=["api-links"]), classes=["shown-source"]
        )
        label = label_of(self.env.docname, name)
        if label not in self.state.document.nameids:  # a page may show one thing twice
            block["names"].append(label)
            self.state.document.note_explicit_target(block, block)
        return [block]


def forget(app: Sphinx) -> None:
    """A new build reads everything anew."""
    facts.cache_clear()


def reread(app: Sphinx, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """The reference follows what it has read, which Sphinx looks after, and modules that are new since then."""
    root = Path(app.srcdir)
    files = {str(module_path(name, root)) for room in rooms(root) for name in modules_in(room, root)}
    known = {page: {str(root / file) for file in env.dependencies.get(page, ())} for page in env.found_docs}
    return [
        page for page in known if page.startswith(FOLDER) and page not in added and known[page] and files - known[page]
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("api", Reference)
    app.add_directive("api-rooms", Rooms)
    app.add_directive("literalinclude", ShownSource, override=True)
    app.connect("builder-inited", forget)
    app.connect("env-get-outdated", reread)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
