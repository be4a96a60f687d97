"""Small repairs to what extensions and authors write: numbers at the end of a line, underlined spaces, names that screen readers read."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from course_lib.pages.numbers import typeset

VERBATIM = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw, nodes.comment)
REPAIRS = [
    # What folds code away has a name that all can read; the one for screen readers says less.
    (re.compile(r'(?<=<summary) aria-label="Toggle hidden content"'), ""),
    # The bibliography calls itself a list of citations and each entry a paragraph; a group of paragraphs needs no role.
    (re.compile(r' role="list"(?= class="citation-list")| role="doc-biblioentry"'), ""),
    # An option of a command, which is not parted from its dashes.
    (re.compile(r'<span class="pre">(?=-)'), '<span class="pre option">'),
    # The corner of a table with named rows is empty on purpose.
    (re.compile(r"<th(?P<rest>[^>]*)>(?:<p>)?\s*(?:</p>)?</th>"), r"<td\g<rest>></td>"),
]

# A long signature has its parameters on lines of their own, in a list of definitions that define nothing.
LINES = re.compile(r'<dl>\s*((?:<dd><em class="sig-param">.*?</dd>\s*)+)</dl>', re.DOTALL)


def as_lines(match: re.Match[str]) -> str:
    """The parameters of a signature, each in a line."""
    lines = match[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'<span class="sig-lines">{lines}</span>'


def move_space(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """The title of a solution links " exercise 3.1", its first space included: put that before the link."""
    for title in doctree.findall(nodes.title):
        for link in list(title.findall(nodes.reference)):
            first = link.children[0] if link.children else None
            if isinstance(first, nodes.Text) and first.astext().startswith(" "):
                link.replace(first, nodes.Text(first.astext().lstrip()))
                link.parent.insert(link.parent.index(link), nodes.Text(" "))


def within_table(node: nodes.Node) -> bool:
    """Whether a table holds the node."""
    while node.parent is not None and not isinstance(node.parent, nodes.entry):
        node = node.parent
    return node.parent is not None


def set_numbers(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Numbers in the text are set as those in tables of the code; what is code, mathematics or markup stays as it is."""
    for text in list(doctree.findall(nodes.Text)):
        if isinstance(text.parent, VERBATIM):
            continue
        wanted = typeset(str(text), narrow=within_table(text))
        if wanted != text:
            text.parent.replace(text, nodes.Text(wanted))


def repair(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Repair the HTML of a page."""
    if "body" in context:
        for wrong, right in REPAIRS:
            context["body"] = wrong.sub(right, context["body"])
        context["body"] = LINES.sub(as_lines, context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("doctree-resolved", move_space, priority=700)
    app.connect("doctree-resolved", set_numbers, priority=800)
    app.connect("html-page-context", repair, priority=600)
    return {"parallel_read_safe": True, "version": "1"}
