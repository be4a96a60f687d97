"""Keep the built book to itself: no script that would fetch anything from another host.

Jupyter Book always loads sphinx-thebe, whose scripts (declared twice, which the browser reports as an error) fetch a library
from a CDN when asked to run cells in the page. The book runs its cells at build time, so they are left out.
"""

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


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx, after the extensions that add scripts."""
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "version": "1"}
