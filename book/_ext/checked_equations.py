"""Put a mark beside each labelled equation that leads to its check, and write the page that lists all equations."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from equations import ROOT, Check, Equation, book_checks, book_equations
from pages import page_file, page_names

INDEX = "book/equations"
WORDS = {
    "proves": ("checked", "This equation is proved by a program. Read it."),
    "defines": ("definition", "This equation is a definition. See it in the list of equations."),
}


def check_of(checks: list[Check], label: str) -> Check | None:
    """The first check that names a label."""
    return next((check for check in checks if label in check.labels), None)


def add_marks(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Wrap each labelled equation of a page with its mark; the list of equations itself carries none."""
    if app.builder.format != "html" or docname == INDEX:
        return
    checks = book_checks()
    for block in list(doctree.findall(nodes.math_block)):
        label = block.get("label") or ""
        check = check_of(checks, label)
        if check is None:
            continue
        word, title = WORDS[check.kind]
        target = f"{app.builder.get_relative_uri(docname, INDEX)}#check-{label}"
        mark = f'<a class="equation-mark {check.kind}" href="{target}" title="{title}">{word}</a>'
        wrapper = nodes.container(classes=["checked-equation"])
        block.replace_self(wrapper)
        wrapper += [block, nodes.raw("", mark, format="html")]


def page_title(text: str) -> str:
    """The first heading of a page's source."""
    return next((line[2:].strip() for line in text.splitlines() if line.startswith("# ")), "")


class EquationList(SphinxDirective):
    """`{equation-list}`: every equation of the book, page by page, with its TeX and the source of its check."""

    def run(self) -> list[nodes.Node]:
        """Build one section a page."""
        checks, equations = book_checks(), [equation for equation in book_equations() if equation.label]
        for file in [page_file(page) for page in page_names()] + [check.file for check in checks]:
            self.env.note_dependency(str(file))
        return [
            self.section(page, [e for e in equations if e.page == page], checks)
            for page in dict.fromkeys(e.page for e in equations)
        ]

    def section(self, page: str, equations: list[Equation], checks: list[Check]) -> nodes.section:
        """The heading of a page and its equations."""
        section = nodes.section(ids=[nodes.make_id(f"equations-{page}")])
        heading = page_title(page_file(page).read_text())
        section += nodes.title(heading, heading)
        for equation in equations:
            section += self.entry(equation, check_of(checks, equation.label))
        return section

    def entry(self, equation: Equation, check: Check | None) -> nodes.container:
        """One equation: where it is, what it says, and the program that checks it."""
        entry = nodes.container(classes=["equation-entry"], ids=[f"check-{equation.label}"])
        kind = {"proves": "proved", "defines": "definition"}[check.kind] if check else "unchecked"
        line, _ = self.parse_inline(f"{{eq}}`{equation.label}` · {kind} · `{equation.label}`")
        entry += nodes.paragraph("", "", *line)
        entry += nodes.math_block(equation.tex, equation.tex, nowrap=False, number=None)
        if check is not None and check.kind == "proves":
            code = nodes.literal_block(check.source, check.source, language="python")
            summary = f"{check.file.relative_to(ROOT)}, line {check.line}"
            entry += nodes.raw("", f"<details><summary>{summary}</summary>", format="html")
            entry += code
            entry += nodes.raw("", "</details>", format="html")
        return entry


def reread_index(app: Sphinx, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """The list of equations follows every page."""
    return [INDEX] if INDEX in env.found_docs and (added | changed | removed) - {INDEX} else []


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_directive("equation-list", EquationList)
    app.connect("doctree-resolved", add_marks)
    app.connect("env-get-outdated", reread_index)
    return {"parallel_read_safe": True, "version": "1"}
