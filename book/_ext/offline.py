"""Keep the built book to itself: no script that would fetch anything from another host, and none that it does not use.

Jupyter Book always loads sphinx-thebe, whose scripts (declared twice, which the browser reports as an error) fetch a library
from a CDN when asked to run cells in the page. The book runs its cells at build time, so they are left out. The theme puts 2 MB into
every page for icons and for Sphinx's search; the icons come as a font, too, and the book has a search of its own.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Take sphinx-thebe's scripts and style out of a page."""
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context.get(kind, []) if "thebe" not in described(file).lower()]


def described(file: Any) -> str:
    """The name and the text of a script or style."""
    return f"{getattr(file, 'filename', file)} {getattr(file, 'attributes', {}).get('body', '')}"


def without(part: str, *names: str) -> str:
    """A part of a page without the scripts of these names; a filter for templates."""
    for name in names:
        part = re.sub(rf'\s*<script\b[^>]*\ssrc="(?:[^"]*/)?{re.escape(name)}[^"]*"[^>]*></script>', "", part)
    return part


def add_filter(app: Sphinx) -> None:
    """Let book/_templates/layout.html use it."""
    if app.builder.format == "html":
        app.builder.templates.environment.filters["without"] = without  # type: ignore[attr-defined]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx, after the extensions that add scripts."""
    app.connect("builder-inited", add_filter)
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "version": "1"}
