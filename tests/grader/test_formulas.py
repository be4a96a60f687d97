"""Formulas in nbgrader's pages: drawn by the browser itself, from MathML that can neither load nor act."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbconvert.exporters.html import HTMLExporter
from nbgrader.server_extensions.formgrader import handlers
from traitlets.config import Config

from autograder.assignment.source import read_assignment
from autograder.exchange.formulas import ATTRIBUTES, LONGEST, MOST, TAGS, formulas_here, mathml

ASSIGNMENTS = ("a01", "a02", "a03", "a04", "a05")
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def formulas() -> Iterator[str]:
    """Every formula in the text of every assignment, its solutions included."""
    for name in ASSIGNMENTS:
        for cell in read_assignment(name).solved().cells:
            if cell.cell_type == "markdown":
                yield from (display or inline for display, inline in FORMULA.findall(cell.source))


def exporter(template: str) -> HTMLExporter:
    """nbconvert's exporter as nbgrader_config.py and nbgrader's commands set it."""
    formulas_here()
    config = Config()
    config.HTMLExporter.filters = {"markdown2html": "autograder.exchange.formulas.markdown_to_html"}
    config.HTMLExporter.template_name = template
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    config.HTMLExporter.extra_template_paths = [
        str(Path(handlers.static_path) / "node_modules" / "bootstrap" / "dist" / "css")
    ]
    return HTMLExporter(config=config)


def page(text: str) -> str:
    """The page of feedback for a notebook with one cell of text."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    resources = {
        "nbgrader": {"notebook": "topic", "score": 0, "max_score": 0, "late_penalty": 0},
        "metadata": {"name": "topic"},
    }
    return exporter("feedback").from_notebook_node(notebook, resources)[0]


def test_every_formula_of_every_assignment_is_drawn() -> None:
    found = list(formulas())
    assert len(found) > 200
    for tex in found:
        drawn = ElementTree.fromstring(mathml(tex, display=False))
        signs = "".join(element.text or "" for element in drawn.iter() if element.tag != "annotation")
        assert drawn.tag == "math" and not re.search(r"[\\{}&^_]", signs), (tex, signs)


@pytest.mark.parametrize(
    ("tex", "signs"),
    [
        (r"\bar\alpha_t", "α¯t"),
        (r"\epsilon \sim \mathcal N(0, I)", "ϵ∼𝒩(0,I)"),
        (r"\mathbb E\,\mathbb R\,\mathfrak C\,\mathbf x", "𝔼ℝℭ𝐱"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "a=bc=d"),
        (r"0 < b < 1", "0<b<1"),
        (r"\big\| s \big\|^2", "‖s‖2"),
    ],
)
def test_signs_are_those_that_were_meant(tex: str, signs: str) -> None:
    drawn = ElementTree.fromstring(mathml(tex, display=True))
    assert "".join(element.text or "" for element in drawn.iter() if element.tag != "annotation") == signs
    assert [element.text for element in drawn.iter("annotation")] == [tex]
    assert drawn.get("display") == "block"


HOSTILE = [
    r"\text{<script>alert(1)</script>}", r"\href{javascript:alert(1)}{x}", r"\style{background:url(https://e.example)}{x}",
    r"\class{x}{y}", r"\text{&lt;img src=x onerror=alert(1)&gt;}", r"\cssId{x}{y}", r"\color{red;background:url(//e.example)}{x}",
    r"\operatorname{<svg/onload=alert(1)>}", r"</math><script>alert(1)</script>", r"\mathrm{&amp;lt;script&amp;gt;}", r'\unicode{"><b>}',
]  # fmt: skip


@pytest.mark.parametrize("tex", HOSTILE)
def test_nothing_in_a_formula_can_load_or_act(tex: str) -> None:
    begun = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            begun.append(tag)
            assert tag in TAGS | {"semantics", "annotation"}
            assert {name for name, _ in attrs} <= ATTRIBUTES | {"display", "encoding"}

    Reader().feed(mathml(tex, display=False))
    assert begun or mathml(tex, display=False).startswith("$")


@pytest.mark.parametrize(
    "tex", ["{" * 1900, r"\frac" * 300, "^{" * 400 + "}" * 400, r"\begin{matrix}", "x_a_b", "x" * (LONGEST + 1)]
)
def test_what_is_no_formula_stays_as_it_was_typed(tex: str) -> None:
    assert mathml(tex, display=False) == f"${tex}$"


def test_a_page_of_feedback_has_no_script_and_asks_nobody() -> None:
    made = page("Text with $x_t$ and\n\n$$\\sqrt{2}$$\n\n\\begin{align}a &= b\\end{align}")
    assert made.count("<math") == 3
    assert "<script" not in made and not re.search(r'(?:src|href)="(?:https?:)?//', made)


def test_a_cell_with_too_many_formulas_keeps_the_rest_as_typed() -> None:
    assert page("$x$ " * (MOST + 5)).count("<math") == MOST


def test_the_formgrader_s_script_need_not_wait() -> None:
    """It begins when MathJax says that it has ended; the rest of its pages is tried in a browser (tests/deploy)."""
    macro = str(exporter("formgrade").environment.get_template("mathjax.html.j2").module.mathjax())  # type: ignore[attr-defined]
    assert 'drawn("End")' in macro and "http" not in macro and "src" not in macro
