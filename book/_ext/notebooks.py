"""Publish each page with code as a notebook, and offer it at the page's head: download it, or open it in Colab or JupyterLab.

The pages are text, so the notebooks are made at build time, into `notebooks/` of the built book: without outputs, the same bytes each
time, with a first cell that fetches the book where it is missing.
"""

from pathlib import Path
from typing import Any

import jupytext
import nbformat
from docutils import nodes
from sphinx.application import Sphinx

from fresh_cache import cells_of
from pages import page_file

BRANCH = "gh-pages"  # the branch that the built book is published on


def notebook_path(page: str) -> str:
    """Where a page's notebook lies in the built book."""
    return f"notebooks/{page.removesuffix('/index')}.ipynb"


def repository(app: Sphinx) -> str:
    """The repository's address."""
    return app.config.html_theme_options["repository_url"].rstrip("/")


SETUP = """# Go to this page's folder in the book; where there is no checkout around, fetch it and install its library.
import os
import subprocess
import sys
from pathlib import Path

page = "{page}.md"
book = next((folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / page).exists()), None)
if book is None:
    book = Path("learning-to-denoise").resolve()
    if not book.exists():
        subprocess.run(["git", "clone", "--depth", "1", "{url}", str(book)], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", str(book)], check=True)
os.chdir((book / page).parent)
sys.path[:0] = [os.getcwd(), str(book)]"""


def to_notebook(text: str, page: str, url: str) -> str:
    """The notebook of a page's source as JSON, with cell ids that depend on nothing but the position."""
    notebook = jupytext.reads(text, fmt="md:myst")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SETUP.format(page=page, url=url)))
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.writes(notebook)


def has_code(app: Sphinx, page: str) -> bool:
    """Whether a page has code cells."""
    file = page_file(page, Path(app.srcdir))
    return file.exists() and bool(cells_of(file.read_text()))


def write_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Write the notebook of every page with code."""
    if error is not None or app.builder.format != "html":
        return
    for page in app.env.found_docs:
        if has_code(app, page):
            file = Path(app.outdir) / notebook_path(page)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(to_notebook(page_file(page, Path(app.srcdir)).read_text(), page, repository(app)))


def add_links(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the links below the title of a page with code."""
    if app.builder.format != "html" or not has_code(app, docname):
        return
    title = next(iter(doctree.findall(nodes.title)), None)
    if title is None:
        return
    path = notebook_path(docname)
    relative = "../" * docname.count("/") + path
    owner = repository(app).removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{owner}/blob/{BRANCH}/{path}"
    lab = f"http://localhost:8888/lab/tree/_build/html/{path}"
    links = (
        f'<div class="launch"><a href="{relative}" download>Download the notebook</a><a href="{colab}">Open in Colab</a>'
        f'<a href="{lab}" title="start it in the folder of the book: jupyter lab">Open in your JupyterLab</a></div>'
    )
    title.parent.insert(title.parent.index(title) + 1, nodes.raw("", links, format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("doctree-resolved", add_links)
    app.connect("build-finished", write_notebooks)
    return {"parallel_read_safe": True, "version": "1"}
