"""Number by chapter: equation 3.7, figure 3.2, exercise 3.1. A new one renumbers its own chapter and no other.

A chapter's number is that of its folder, `chapters/03_ddim`. A long chapter lies in several folders of one number: its pages are called
2a and 2b, and what they hold is numbered through, 2.1, 2.2 and so on. The refresher counts under R, the appendices under A, B and so on.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles

from pages import page_names

CHAPTER = re.compile(r"chapters/(\d+)_")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def numbers(pages: list[str]) -> dict[str, tuple[str, str]]:
    """Of each page that is counted: the number before the dot, and the number in its title."""
    found: dict[str, tuple[str, str]] = {}
    chapters = {page: str(int(match[1])) for page in pages if (match := CHAPTER.match(page))}
    for page, number in chapters.items():
        parts = [other for other in chapters if chapters[other] == number]
        found[page] = number, number + ("abcdefgh"[parts.index(page)] if len(parts) > 1 else "")
    appendices = [page for page in pages if page.startswith("book/appendices/")]
    found |= {page: (letter, letter) for page, letter in zip(appendices, LETTERS)}
    found |= {page: ("R", "R") for page in pages if page == "book/refresher"}
    return found


def assign_section_numbers(self: TocTreeCollector, env: BuildEnvironment) -> list[str]:
    """Take the place of Sphinx's own numbers, which follow the tables of contents; the pages whose numbers changed."""
    old, env.toc_secnumbers = env.toc_secnumbers, {page: {} for page in env.tocs}
    for page, (number, shown) in numbers(page_names()).items():
        if page not in env.tocs:
            continue
        links = list(env.tocs[page].findall(nodes.reference))
        # The numbers of Sphinx are tuples, of which nothing needs to be an integer. The sections of a page have none of their own.
        env.toc_secnumbers[page] = {link["anchorname"]: () for link in links} | {"": (number,)}  # type: ignore[dict-item]
        env.titles[page]["secnumber"] = links[0]["secnumber"] = [shown]
    return [page for page in env.tocs if env.toc_secnumbers[page] != old.get(page, {})]


def show_in_title(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the number before the title of a page."""
    title, number = next(iter(doctree.findall(nodes.title)), None), numbers(page_names()).get(docname)
    if title is not None and number is not None:
        title["secnumber"] = [number[1]]


def take_over(app: Sphinx) -> None:
    """Replace what Sphinx calls when all pages are read, before it counts figures and equations."""
    for collector in (TocTreeCollector, TocTreeCollectorWithStyles):
        collector.assign_section_numbers = assign_section_numbers


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("builder-inited", take_over, priority=900)
    app.connect("doctree-resolved", show_in_title)
    return {"parallel_read_safe": True, "version": "1"}
