"""Publish each page with code as a notebook, and offer it at the page's head: download it, or open it in Colab or JupyterLab.

The pages are text, so the notebooks are made at build time, into `notebooks/` of the built book: without outputs.
A notebook says at its head what it needs, and its first cell of code fetches the book where it is missing.
"""

from pathlib import Path
from typing import Any

import jupytext
import nbformat
from docutils import nodes
from nbformat import NotebookNode
from sphinx.application import Sphinx

from fresh_cache import cells_of
from pages import page_file
from plain_markdown import Writer

BRANCH = "gh-pages"  # the branch that the built book is published on


def notebook_path(page: str) -> str:
    """Where a page's notebook lies in the built book."""
    return f"notebooks/{page.removesuffix('/index')}.ipynb"


def repository(app: Sphinx) -> str:
    """The repository's address."""
    return app.config.html_theme_options["repository_url"].rstrip("/")


NEEDS = (
    "*This notebook is a page of the open book* Learning to Denoise: *[read it there]({address}), with its figures.*\n\n"
    "**What it needs.** Python 3.11 or later, and the book: the cell below fetches it with git and installs it with pip where it is "
    "missing, which takes some minutes the first time, most of them for PyTorch, and does nothing after that. No GPU, and no data set to "
    "download: the trained models and the pictures come with the book.{seconds} The numbers in the text are those of the book's own run; "
    "with other versions of the packages the last digits may differ."
)

SETUP = """# Go to this page's folder in the book, and have its library. Where there is no copy of the book around, fetch one.
import importlib.util
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
if any(importlib.util.find_spec(name) is None for name in ("torch", "safetensors", "course_lib")):
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", str(book)], check=True)
os.chdir((book / page).parent)
sys.path[:0] = [os.getcwd(), str(book)]"""


def code_cells(text: str) -> dict[int, NotebookNode]:
    """The code cells of a page's source, by their index among all its cells; what the page folds away is folded here."""
    found = {}
    for index, cell in enumerate(jupytext.reads(text, fmt="md:myst").cells):
        if cell.cell_type == "code":
            tags = set(cell.metadata.get("tags", []))
            cell.metadata = {"jupyter": {"source_hidden": True}} if tags & {"hide-input", "remove-input"} else {}
            found[index] = cell
    return found


def to_notebook(cells: list[NotebookNode], page: str, url: str, address: str, seconds: float | None) -> str:
    """The notebook of a page as JSON, with what it needs below its title; the cells' ids depend on their position alone."""
    ran = "" if seconds is None else f" All cells together ran for {max(1, round(seconds))} s when the book was built."
    needs = nbformat.v4.new_markdown_cell(NEEDS.format(address=address, seconds=ran))
    head, rest = cells[:1], cells[1:]
    cells = [*head, needs, nbformat.v4.new_code_cell(SETUP.format(page=page, url=url)), *rest]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number:03d}"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=metadata))


def has_code_file(file: Path) -> bool:
    """Whether a page's source has code cells."""
    return file.exists() and bool(cells_of(file.read_text()))


def has_code(app: Sphinx, page: str) -> bool:
    """Whether a page has code cells."""
    return has_code_file(page_file(page, Path(app.srcdir)))


def address_of(app: Sphinx, page: str) -> str:
    """Where a page is published."""
    return f"{(app.config.html_baseurl or repository(app)).rstrip('/')}/{page}.html"


def write_notebook(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Write the notebook of a page with code, whose references are resolved by now."""
    if app.builder.format != "html" or not has_code(app, docname):
        return
    text = page_file(docname, Path(app.srcdir)).read_text()
    address = address_of(app, docname)
    writer = Writer(code_cells(text), app.env.toc_fignumbers.get(docname, {}), Path(app.srcdir), address)
    executed = app.env.nb_metadata.get(docname, {}).get("exec_data") or {}  # type: ignore[attr-defined]
    notebook = to_notebook(writer.write(doctree), docname, repository(app), address, executed.get("runtime"))
    file = Path(app.outdir) / notebook_path(docname)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(notebook)


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
    """Connect to Sphinx; the notebook is written before others decorate the page for the browser."""
    app.connect("doctree-resolved", write_notebook, priority=400)
    app.connect("doctree-resolved", add_links)
    return {"parallel_read_safe": True, "version": "1"}
