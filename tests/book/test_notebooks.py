"""Each page's notebook reads well without the book around it, and runs where nothing but the package is installed."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docutils import nodes

from imports import cells_of
from notebooks import SETUP, code_cells, has_code_file, notebook_path, to_notebook
from package_only import brought, environment, hidden_modules
from pages import page_file, page_names
from plain_markdown import Writer, around, code_span, quoted
from quiz import quiz, quiz_answer, quiz_question, quiz_reason, quiz_text

ROOT = Path(__file__).resolve().parents[2]
WITH_CODE = [page for page in page_names() if has_code_file(page_file(page))]
RAW = re.compile(
    r"^:::|^```\{|\{(?:quiz|eq|doc|ref|numref|cite(?::\w+)?|term|glue:\w+|prf:\w+|exercise|solution|math|abbr)\}[`\s]",
    re.MULTILINE,
)
REPOSITORY = "https://github.com/learning-to-denoise/learning-to-denoise"


def read(html: Path, page: str) -> list[dict]:
    return json.loads((html / notebook_path(page)).read_text())["cells"]


def text_of(cell: dict) -> str:
    return "".join(cell["source"])


@pytest.mark.parametrize("page", WITH_CODE)
def test_notebook_of_a_page_is_plain_markdown_and_the_code_of_the_page(html: Path, page: str) -> None:
    cells = read(html, page)
    words = "\n\n".join(text_of(cell) for cell in cells if cell["cell_type"] == "markdown")
    assert RAW.findall(words) == [], "a viewer of notebooks does not know directives and roles"
    assert "??" not in words and "undefined" not in words
    assert words.count("<details>") == words.count("</details>")
    assert text_of(cells[0]).startswith("# "), "it begins with the title"
    assert "What it needs" in text_of(cells[1])
    code = [text_of(cell) for cell in cells if cell["cell_type"] == "code"]
    assert "git" in code[0]
    assert [cell.strip() for cell in code[1:]] == [cell.strip() for cell in cells_of(page_file(page).read_text())]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("page", WITH_CODE)
def test_notebook_quotes_the_numbers_and_the_code_that_the_page_shows(html: Path, page: str) -> None:
    source = page_file(page).read_text()
    words = "\n\n".join(text_of(cell) for cell in read(html, page) if cell["cell_type"] == "markdown")
    labels = re.findall(r"^\$\$ \((eq-[\w-]+)\)", source, re.MULTILINE)
    assert len(re.findall(r"\\tag\{[A-Z\d.]+\}", words)) >= len(set(labels)), "an equation has lost its number"
    for path in re.findall(r":pyobject: ([\w.]+)", source):
        name = path.rpartition(".")[2]
        assert re.search(rf"(?:def|class) {name}\b", words), f"the code of {name} is missing"
    assert words.count("**Question.**") == source.count("{quiz}")


@pytest.mark.parametrize("page", WITH_CODE)
def test_a_cell_ends_with_what_it_shows(page: str) -> None:
    """A table or a figure that is made in the middle of a cell is thrown away without a word."""
    calls = [
        ast.unparse(line.value.func)
        for cell in cells_of(page_file(page).read_text())
        for line in ast.parse(cell).body[:-1]
        if isinstance(line, ast.Expr) and isinstance(line.value, ast.Call)
    ]
    assert [
        name for name in calls if name.startswith(("HTML", "figures.", "plotting.")) and name != "plotting.use_style"
    ] == []


def test_a_formula_in_a_quotation_keeps_to_one_line() -> None:
    assert quoted(["**Warning**", "so\n\n$$\na \\\\\nb\n$$"]) == "> **Warning**\n>\n> so\n>\n> $$ a \\\\ b $$"


def test_code_and_emphasis_keep_their_marks_close() -> None:
    assert code_span("a`b") == "``a`b``"
    assert code_span("`") == "`` ` ``"
    assert around("**", "word ") == "**word** "
    assert around("*", "  ") == "  "


def test_writer_turns_what_the_book_renders_into_markdown() -> None:
    document = nodes.document(None, None)  # type: ignore[arg-type]
    section = nodes.section("", nodes.title(text="Title"), ids=["title"])
    document += section
    question = quiz_question("", "", nodes.Text("Which is "), nodes.math(text="x"), nodes.Text("?"))
    answers = [
        quiz_answer("", quiz_text("", answer), quiz_reason("", reason), right=right)
        for right, answer, reason in [(False, "one", "No."), (True, "two_2*", "Right, two.")]
    ]
    section += quiz("", question, *answers)
    section += nodes.math_block("", "a &= 1 \\\\ b &= 2", ids=["equation-eq-a"], nowrap=False)
    section += nodes.warning("", nodes.paragraph(text="Take care."))
    row = nodes.row("", nodes.entry("", nodes.paragraph("", "", nodes.math(text="p(x | y)"))))
    group = nodes.tgroup("", nodes.colspec(colwidth=1), nodes.tbody("", row), cols=1)
    section += nodes.table("", group)
    section += nodes.raw("", "<b>only in the browser</b>", format="html")
    writer = Writer({}, {"displaymath": {"equation-eq-a": (3, 7)}}, Path(), "https://example.org/page.html")
    (cell,) = writer.write(document)
    assert cell.source.startswith("# Title\n\n**Question.** Which is $x$?\n\n- **A.** one\n- **B.** two\\_2\\*")
    assert "<details><summary>Answers</summary>\n\n- ✗ **A.** No.\n- ✓ **B.** Right, two.\n\n</details>" in cell.source
    assert "$$\n\\begin{split}a &= 1 \\\\ b &= 2\\end{split} \\tag{3.7}\n$$" in cell.source
    assert "> **Warning**\n>\n> Take care." in cell.source
    assert "| $p(x \\vert  y)$ |" in cell.source
    assert "browser" not in cell.source


def test_hidden_cells_of_a_page_are_in_its_notebook_too() -> None:
    text = "# T\n\n```{code-cell}\n:tags: [hide-input]\nx = 1\n```\n\nwords\n\n```{code-cell}\n:tags: [remove-cell]\ny = 2\n```\n"
    header = "---\njupytext: {text_representation: {extension: .md, format_name: myst}}\n"
    header += "kernelspec: {name: python3, display_name: Python 3}\n---\n"
    cells = code_cells(header + text)
    document = nodes.document(None, None)  # type: ignore[arg-type]
    first = min(cells)
    document += nodes.section(
        "", nodes.title(text="T"), nodes.container("", classes=["cell"], cell_index=first), ids=["t"]
    )
    written = Writer(cells, {}, Path(), "").write(document)
    assert [cell.source for cell in written if cell.cell_type == "code"] == ["x = 1", "y = 2"]
    assert cells[first].metadata == {"jupyter": {"source_hidden": True}}
    assert to_notebook(written, "p", "u", "a", 1.0) == to_notebook(written, "p", "u", "a", 1.0)


def test_what_a_reader_need_not_have_is_hidden_from_the_pages() -> None:
    hidden = set(hidden_modules())
    assert {
        "sphinx",
        "myst_nb",
        "jupytext",
        "jupyter_book",
        "nbgrader",
        "pytest",
        "diffusers",
        "torchmetrics",
    } <= hidden
    assert not {"torch", "numpy", "sklearn", "matplotlib", "IPython", "ipykernel", "course_lib"} & hidden
    assert {"torch", "ipython", "learning-to-denoise"} <= brought("learning-to-denoise", "ipykernel")
    variables = {**os.environ, **environment()}
    allowed = "import course_lib.pages.plotting, IPython, sklearn"
    asked = "import importlib.util, torch._dynamo; assert importlib.util.find_spec('hypothesis') is None"
    for code, status in [(allowed, 0), (asked, 0), ("import myst_nb", 1), ("from sphinx.util import math", 1)]:
        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert bool(status) == ("ModuleNotFoundError: No module named" in done.stderr)


def test_first_cell_fetches_the_book_into_an_empty_folder_and_goes_to_the_page(tmp_path: Path) -> None:
    page = "chapters/03_ddim/index"
    code = SETUP.format(page=page, url=REPOSITORY)
    code += "\nimport figures, course_lib\nprint(os.getcwd(), figures.__file__, course_lib.__file__, sep='\\n')"
    variables = {**os.environ, **environment(), "GIT_CONFIG_COUNT": "2"}
    for n, (key, value) in enumerate([(f"url.{ROOT.as_uri()}.insteadOf", REPOSITORY), ("safe.directory", "*")]):
        variables |= {f"GIT_CONFIG_KEY_{n}": key, f"GIT_CONFIG_VALUE_{n}": value}
    for _ in range(2):  # the second time it is there
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        book = tmp_path / "learning-to-denoise"
        folder = book / "chapters" / "03_ddim"
        assert done.stdout.split() == [str(folder), str(folder / "figures.py"), str(book / "course_lib/__init__.py")]
    within = subprocess.run(
        [sys.executable, "-c", code], cwd=book / "book", env=variables, capture_output=True, text=True, check=True
    )
    assert within.stdout.split()[0] == str(folder), "within a copy of the book, that copy is used"
