"""Collect what can be searched, for book/_static/search.js: pages, sections, equations, figures, exercises, algorithms, terms, functions.

Sphinx's own index cuts formulas to pieces and knows no sections. Here each entry has an address of its own, a text in which formulas are
shown with the signs of Unicode, and the words in which they would be read aloud. It is written to `_static/search-data.js`.
"""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from pages import page_names
from tex_words import tex_signs, tex_words

SILENT = (
    nodes.raw,
    nodes.comment,
    nodes.system_message,
    addnodes.index,
    addnodes.toctree,
    nodes.substitution_definition,
)
COUNTED = {
    "exercise": "Exercise",
    "algorithm": "Algorithm",
    "theorem": "Theorem",
    "figure": "Figure",
    "displaymath": "Equation",
}
LEFT_OUT = {"book/equations", "book/bibliography"}  # they repeat what stands elsewhere


class Entry(dict[str, Any]):
    """One thing to be found: its kind, its anchor, its title, the formulas of that in words, its text as shown and as heard."""

    def __init__(self, kind: str, anchor: str, title: str) -> None:
        super().__init__(kind=kind, anchor=anchor, title=title, said="", shown=[], heard=[])


class Collector:
    """Walks a page and fills entries."""

    def __init__(self, symbols: bool = False) -> None:
        """`symbols`: whether each row of a table explains one, and is found by its name."""
        self.entries: list[Entry] = []
        self.symbols = symbols
        self.section = ""  # the anchor of the section at hand

    def walk(self, node: nodes.Node, entry: Entry | None) -> None:
        """Put the words of a node into its entry, and what has an entry of its own there."""
        if isinstance(node, SILENT):
            return
        if isinstance(node, nodes.Element):
            entry = self.own_entry(node, entry)
        if isinstance(node, (nodes.math, nodes.math_block)):
            self.add(entry, tex_signs(node.astext()), tex_words(node.astext()))
        elif isinstance(node, addnodes.pending_xref) and node.get("reftype") == "eq":
            pass  # its number is not known yet
        elif isinstance(node, nodes.Text):
            self.add(entry, node.astext(), "")
        elif isinstance(node, nodes.literal_block) and "highlight-python" not in node.parent.get("classes", []):
            pass  # code is found by the names of the reference
        else:
            for child in node.children:
                self.walk(child, entry)
            self.add(entry, "\n", "")

    def own_entry(self, node: nodes.Element, entry: Entry | None) -> Entry | None:
        """The entry that the words in a node belong to: a new one, or the one around it."""
        anchor = node["ids"][0] if node.get("ids") else ""
        title = node.next_node(nodes.title)
        if isinstance(node, nodes.section) and title is not None and title.parent is node:
            kind, self.section = ("section", anchor) if self.entries else ("page", "")
            return self.new(kind, self.section, title)
        if isinstance(node, nodes.math_block) and node.get("label"):
            equation = self.new("displaymath", anchor, None)
            self.add(equation, tex_signs(node.astext()), tex_words(node.astext()))
        kinds = set(node.get("classes", [])) & {"exercise", "algorithm", "theorem"}
        if kinds and anchor:
            return self.new(kinds.pop(), anchor, node.children[0])
        if isinstance(node, nodes.figure) and anchor:
            return self.new("figure", anchor, None)
        if isinstance(node, nodes.definition_list_item) and "glossary" in node.parent.get("classes", []):
            term = node.next_node(nodes.term)
            assert isinstance(term, nodes.term)
            return self.new("term", term["ids"][0], term)
        if (
            isinstance(node, nodes.row)
            and self.symbols
            and self.section.startswith("the-symbols")
            and node.next_node(nodes.math) is not None
        ):
            return self.new("symbol", self.section, node.children[0])
        if isinstance(node, addnodes.desc):
            signature = node.next_node(addnodes.desc_signature)
            if signature is not None and signature["ids"]:
                name = signature["ids"][0]
                return self.new("api", name, nodes.inline(text=name.removeprefix("course_lib.")))
        return entry

    def new(self, kind: str, anchor: str, title: nodes.Node | None) -> Entry:
        """Begin an entry."""
        entry = Entry(kind, anchor, " ".join(shown(title).split()) if title is not None else "")
        if title is not None:
            entry["said"] = heard(title)
        self.entries.append(entry)
        return entry

    def add(self, entry: Entry | None, seen: str, said: str) -> None:
        """Add words to an entry."""
        if entry is not None:
            entry["shown"].append(seen)
            entry["heard"].append(said)


def shown(node: nodes.Node) -> str:
    """The words of a title, formulas in signs."""
    if isinstance(node, nodes.math):
        return tex_signs(node.astext())
    return "".join(map(shown, node.children)) if node.children else node.astext()


def heard(node: nodes.Node) -> str:
    """The formulas of a title, in words."""
    return (
        " ".join(tex_words(math.astext()) for math in node.findall(nodes.math))
        if isinstance(node, nodes.Element)
        else ""
    )


def entries_of(env: BuildEnvironment) -> dict[str, list[Entry]]:
    """What is kept between builds, by page."""
    if not hasattr(env, "search_entries"):
        env.search_entries = {}  # type: ignore[attr-defined]
    return env.search_entries  # type: ignore[attr-defined]


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Walk a page when it has been read."""
    collector = Collector(symbols=app.env.docname == "book/notation")
    if app.env.docname not in LEFT_OUT:
        collector.walk(doctree, None)
    entries_of(app.env)[app.env.docname] = collector.entries


def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forget a page that is read again or gone."""
    entries_of(env).pop(docname, None)


def row(env: BuildEnvironment, page: str, entry: Entry) -> list[str]:
    """One entry as search.js reads it: kind, address, title, words shown, words heard, words heard in the title."""
    counted = env.toc_fignumbers.get(page, {}).get(entry["kind"], {})
    number = ".".join(map(str, counted.get(entry["anchor"], ())))
    title = " ".join(filter(None, [COUNTED.get(entry["kind"], ""), number, entry["title"]]))
    title = title.replace("Exercise Exercise", "Exercise")
    address = f"{page}.html" + (f"#{entry['anchor']}" if entry["anchor"] else "")
    words = [
        " ".join("".join(entry[part] if part == "shown" else " ".join(entry[part])).split())
        for part in ("shown", "heard")
    ]
    if entry["title"] and words[0].startswith(entry["title"]):
        words[0] = words[0][len(entry["title"]) :].strip()
    return [entry["kind"], address, title, *words, entry["said"]]


def write(app: Sphinx, error: Exception | None) -> None:
    """Write all entries, page by page in reading order."""
    if error is not None or app.builder.format != "html":
        return
    found = entries_of(app.env)
    pages = [page for page in page_names() if found.get(page)]
    titles = {page: app.env.titles[page].astext() for page in pages}
    data = [[titles[page], [row(app.env, page, entry) for entry in found[page]]] for page in pages]
    script = "window.searchData = " + json.dumps(data, ensure_ascii=False, separators=(",", ":")) + ";\n"
    (Path(app.outdir) / "_static" / "search-data.js").write_text(script)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("doctree-read", collect)
    app.connect("env-purge-doc", purge)
    app.connect("build-finished", write)
    return {"parallel_read_safe": False, "version": "1"}
