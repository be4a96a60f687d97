"""Link the first mention of each word of the glossary in a chapter or an appendix with its entry.

A page that uses a word in another sense says so in its front matter: `unlinked: evidence, bridge`.
"""

import re
from functools import cache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

log = logging.getLogger(__name__)

GLOSSARY = "book/glossary"
LINKED = ("chapters/", "book/appendices/")


def terms(env: BuildEnvironment) -> dict[str, str]:
    """The words of the glossary in small letters, and the anchor of each."""
    found = env.get_domain("std").objects  # type: ignore[attr-defined]
    return {
        name.lower(): anchor for (kind, name), (page, anchor) in found.items() if kind == "term" and page == GLOSSARY
    }


@cache
def pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the words, the longest first, alone or in the plural."""
    choices = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])({choices})(s?)(?![\w-])", re.IGNORECASE)


def link(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Go through the paragraphs of a page in order."""
    if app.builder.format != "html" or not docname.startswith(LINKED):
        return
    found = terms(app.env)
    if not found:
        return
    address, seen = app.builder.get_relative_uri(docname, GLOSSARY), unlinked(app.env, docname, found)
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if not isinstance(paragraph.parent, (nodes.section, nodes.list_item)):
            continue
        for text in [node for node in paragraph.children if isinstance(node, nodes.Text)]:
            text.parent.replace(text, pieces(text.astext(), found, address, seen))


def unlinked(env: BuildEnvironment, docname: str, found: dict[str, str]) -> set[str]:
    """The anchors of the words that the page uses in another sense."""
    words = [word.strip().lower() for word in env.metadata[docname].get("unlinked", "").split(",") if word.strip()]
    if unknown := [word for word in words if word not in found]:
        log.warning("no words of the glossary, in `unlinked`: %s", ", ".join(unknown), location=docname)
    return {found[word] for word in words if word in found}


def pieces(text: str, found: dict[str, str], address: str, seen: set[str]) -> list[nodes.Node]:
    """The text with a link around each word of the glossary that has not been seen."""
    parts: list[nodes.Node] = []
    last = 0
    for match in pattern(tuple(found)).finditer(text):
        anchor = found[match[1].lower()]
        # Short words are signs and names: an "EMA" is one, an "ema" is not.
        if anchor in seen or (len(match[1]) < 4 and not match[1].isupper()):
            continue
        seen.add(anchor)
        word = nodes.reference("", match[0], internal=True, refuri=f"{address}#{anchor}", classes=["glossary-link"])
        parts += [nodes.Text(text[last : match.start()]), word]
        last = match.end()
    return [*parts, nodes.Text(text[last:])]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx, before punctuation is tied to formulas."""
    app.connect("doctree-resolved", link, priority=600)
    return {"parallel_read_safe": True, "version": "1"}
