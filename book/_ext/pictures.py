"""Tell drawings from pictures: a line plot may be inverted on a dark page, a figure that holds photographs or digits may not."""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def holds_pixels(file: Path) -> bool:
    """Whether an image file shows pixels: every format but SVG does, and an SVG that embeds an image."""
    return file.suffix != ".svg" or b"<image" in file.read_bytes()


def classify(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give each image of a page the class `drawing` or `picture`, unless its author chose one."""
    for image in doctree.findall(nodes.image):
        file = Path(app.srcdir) / image["uri"]
        if not {"drawing", "picture"} & set(image["classes"]) and file.exists():
            image["classes"].append("picture" if holds_pixels(file) else "drawing")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("doctree-resolved", classify)
    return {"parallel_read_safe": True, "version": "1"}
