"""Give each picture its size, so that the text stands still while it loads, a file, and each drawing a second version for dark pages.

A drawing is an SVG. Its strokes and words change with the page; photographs and digits in it stay as they are. What has no second version
keeps its colours: its author gave it both (`dark-light`), or it is made of pixels.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

from dark_figures import darken

TAG = re.compile(r"<img\b[^>]*>")
SRC = re.compile(r'\ssrc="([^"]*)"')
POINT = 4 / 3  # pixels of CSS


def size(file: Path) -> tuple[int, int] | None:
    """Width and height in pixels of CSS; None for a drawing that says nothing."""
    if file.suffix != ".svg":
        with Image.open(file) as image:
            return image.size
    head = file.read_text()[:3000]
    found = []
    for name in ("width", "height"):
        match = re.search(rf'<svg\b[^>]*?\s{name}="([\d.]+)(pt|px|)"', head)
        if match is None:
            return None
        found.append(round(float(match[1]) * (POINT if match[2] == "pt" else 1)))
    return found[0], found[1]


class Pictures:
    """The pictures of one page."""

    def __init__(self, app: Sphinx, page: str) -> None:
        self.out = Path(app.outdir)
        self.root = Path(app.srcdir)
        self.page = page
        self.sources = {name: file for file, name in app.builder.images.items()}
        self.up = "../" * page.count("/")
        self.count = 0

    def source(self, link: str) -> Path | None:
        """The file that a link of the page leads to, which may not have been copied yet."""
        target = (Path("/") / self.page).parent / unquote(link)
        name = target.name
        for file in (
            self.root / self.sources.get(name, ""),
            self.root / "book" / "_static" / name,
            self.out / "_static" / name,
        ):
            if file.is_file() and name:
                return file
        return None

    def unpacked(self, content: str) -> Path:
        """A file for a picture that lies in the page itself, which would be loaded with the words, before it is in sight."""
        pixels = base64.b64decode(content)
        file = self.out / "_images" / f"{hashlib.sha256(pixels).hexdigest()}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(pixels)
        return file

    def complete(self, match: re.Match[str]) -> str:
        """One tag with what it lacks; with another for dark pages after it, if it is a drawing."""
        tag = match[0]
        link = SRC.search(tag)
        if link and link[1].startswith("data:image/png;base64,"):
            file = self.unpacked(link[1].partition(",")[2])
            tag = SRC.sub(f' src="{self.up}_images/{file.name}"', tag)
        else:
            file = self.source(link[1]) if link and not link[1].startswith("data:") else None
        if link is None or file is None:
            return tag
        self.count += 1
        tag = tag.removesuffix("/>").removesuffix(">").rstrip()
        if (found := size(file)) and " width=" not in tag and " height=" not in tag:
            tag += f' width="{found[0]}" height="{found[1]}"'
            if " style=" not in tag:
                tag += f' style="--own: {found[0]}px"'  # no phone makes it larger
        if " loading=" not in tag and self.count > 1:  # the first may be in sight at once
            tag += ' loading="lazy"'
        if file.suffix != ".svg" or "dark-light" in tag or "only-" in tag:
            return f"{tag}>"
        dark = file.with_stem(f"{file.stem}-dark").name
        (self.out / "_images").mkdir(exist_ok=True)
        (self.out / "_images" / dark).write_text(darken(file.read_text()))
        darker = SRC.sub(f' src="{self.up}_images/{dark}"', tag)
        return f"{with_class(tag, 'only-light')}>{with_class(darker, 'only-dark')}>"


def with_class(tag: str, name: str) -> str:
    """A tag with one more class."""
    if ' class="' in tag:
        return tag.replace(' class="', f' class="{name} ', 1)
    return tag.replace("<img", f'<img class="{name}"', 1)


def complete(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Complete all pictures of a page."""
    if doctree is not None and "body" in context:
        context["body"] = TAG.sub(Pictures(app, page).complete, context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("html-page-context", complete)
    return {"parallel_read_safe": True, "version": "1"}
