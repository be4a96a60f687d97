"""What a page says of itself: where it stands, its version and day, how to cite it; a description and a card for those who share it.

A map of the site is for engines.
"""

import html
import os
import time
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.application import Sphinx

from pages import ROOT, page_names, part_names
from tex_words import tex_signs

LONGEST = 200  # letters of a description; engines cut longer ones
CARD = "_static/card.png"  # 1200 x 630, as those who show cards want it
CITED = ("chapters/", "book/refresher", "book/appendices/", "book/index")


def version() -> str:
    """The version of the book, which is that of its library."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def day() -> str:
    """The day of this build; SOURCE_DATE_EPOCH names another, as for everything that is built reproducibly."""
    return time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))


def words(node: nodes.Node) -> str:
    """The text of a node, its formulas in signs."""
    if isinstance(node, nodes.math):
        return tex_signs(node.astext())
    if isinstance(node, nodes.raw):
        return ""
    return "".join(map(words, node.children)) if node.children else node.astext()


def description(doctree: nodes.document) -> str:
    """The first paragraphs of a page, up to the last word that fits."""
    text = ""
    for paragraph in doctree.findall(nodes.paragraph):
        if len(text) >= LONGEST:
            break
        if isinstance(paragraph.parent, nodes.section):
            text = f"{text} {' '.join(words(paragraph).split())}".strip()
    return text if len(text) <= LONGEST else text[: text.rindex(" ", 0, LONGEST - 1)].rstrip(",;:") + " …"


def add_meta(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """The tags of a page's head."""
    if doctree is None or not app.config.html_baseurl:
        return
    base = app.config.html_baseurl.rstrip("/")
    title = app.env.titles[page].astext()
    tags = {
        "og:title": title,
        "og:type": "website" if page == app.config.root_doc else "article",
        "og:url": f"{base}/{page}.html",
        "og:site_name": app.config.project,
        "og:description": description(doctree),
        "og:image": f"{base}/{CARD}",
        "og:image:alt": "Handwritten digits, clothes and small photographs that the book's own models drew",
    }
    lines = [f'<meta name="description" content="{html.escape(tags["og:description"])}">']
    lines += [f'<meta property="{name}" content="{html.escape(content)}">' for name, content in tags.items()]
    lines.append('<meta name="twitter:card" content="summary_large_image">')
    context["metatags"] = context.get("metatags", "") + "\n" + "\n".join(lines) + "\n"


def bibtex(title: str, address: str, number: str) -> str:
    """The entry of a page for a bibliography."""
    return (
        f"@misc{{learning-to-denoise,\n  title = {{{title}}},\n  author = {{{{The Learning to Denoise authors}}}},\n"
        f"  howpublished = {{Learning to Denoise, version {number}}},\n  year = {{2026}},\n  url = {{{address}}}\n}}"
    )


def add_citation(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """End a page with a way to cite it."""
    if app.builder.format != "html" or not docname.startswith(CITED) or not app.config.html_baseurl:
        return
    title = app.env.titles[docname].astext()
    address = f"{app.config.html_baseurl.rstrip('/')}/{docname}.html"
    entry = bibtex(title, address, version())
    section = next(iter(doctree.findall(nodes.section)), None)
    if section is not None:
        section += nodes.raw("", '<details class="cite"><summary>Cite this page</summary>', format="html")
        section += nodes.literal_block(entry, entry, language="bibtex")
        section += nodes.raw("", "</details>", format="html")


def add_place(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """The part that a page belongs to, at its head; version and day, at its foot."""
    context["part"] = part_names().get(page, "")
    context["theme_extra_footer"] = f"<p>Version {version()}, built on {day()}. Text CC BY 4.0, code MIT.</p>"


def configure(app: Sphinx, config: Any) -> None:
    """A place at the head of each page for its part (book/_templates/part.html), and a page for addresses that lead nowhere."""
    config.html_theme_options["article_header_start"] = ["toggle-primary-sidebar.html", "part.html"]
    config.html_context["site_path"] = urlsplit(config.html_baseurl).path or "/"
    config.html_additional_pages = {**config.html_additional_pages, "404": "404.html"}


def write_map(app: Sphinx, error: Exception | None) -> None:
    """The map of the site."""
    if error is not None or app.builder.format != "html" or not app.config.html_baseurl:
        return
    base = app.config.html_baseurl.rstrip("/")
    places = "".join(f"<url><loc>{base}/{page}.html</loc></url>\n" for page in page_names())
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    (Path(app.outdir) / "sitemap.xml").write_text(f"{head}{places}</urlset>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("config-inited", configure)
    app.connect("html-page-context", add_meta)
    app.connect("html-page-context", add_place)
    app.connect("doctree-resolved", add_citation, priority=700)
    app.connect("build-finished", write_map)
    return {"parallel_read_safe": True, "version": "1"}
