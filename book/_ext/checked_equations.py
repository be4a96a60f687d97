"""Put a mark beside each labelled equation that leads to its check, write the page that lists all equations, and count them."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from equations import ROOT, Check, Equation, book_checks, book_equations, report
from pages import page_file, page_names
from perturbations import ENOUGH, MOST

INDEX = "book/equations"
COUNTING = (INDEX, "book/index")  # the pages that say how many equations there are
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


def kind_of(check: Check | None) -> str:
    """What an equation is, in words."""
    if check is None:
        return "unchecked"
    if check.kind == "proves":
        return "proved"
    return "definition, with which the library is compared" if check.runs else "definition"


def counts() -> dict[str, int]:
    """How many equations the book has of each kind, and how often each claim is perturbed at least and at most."""
    found = report(book_equations(), book_checks())
    labelled = found.proved + found.defined + found.unchecked
    return {
        "labelled": len(labelled),
        "proved": len(found.proved),
        "definitions": len(found.defined),
        "compared": len(found.compared),
        "enough": ENOUGH,
        "most": MOST,
    }


def equation_count(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = None
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The role `{equation-count}`: one of the words of `counts()`, as a number."""
    found = counts()
    if text not in found:
        message = inliner.reporter.error(f"{rawtext}: the counts are {', '.join(found)}", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    return [nodes.Text(str(found[text]))], []


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
        kind = kind_of(check)
        line, _ = self.parse_inline(f"{{eq}}`{equation.label}` · {kind} · `{equation.label}`")
        entry += nodes.paragraph("", "", *line)
        entry += nodes.math_block(equation.tex, equation.tex, nowrap=False, number=None)
        if check is not None and check.runs:
            code = nodes.literal_block(check.source, check.source, language="python")
            summary = f"{check.file.relative_to(ROOT)}, line {check.line}"
            entry += nodes.raw("", f"<details><summary>{summary}</summary>", format="html")
            entry += code
            entry += nodes.raw("", "</details>", format="html")
        return entry


def reread_index(app: Sphinx, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """The list of equations and the pages that count them follow every page."""
    counting = {page for page in COUNTING if page in env.found_docs}
    return sorted(counting) if (added | changed | removed) - counting else []


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_directive("equation-list", EquationList)
    app.add_role("equation-count", equation_count)
    app.connect("doctree-resolved", add_marks)
    app.connect("env-get-outdated", reread_index)
    return {"parallel_read_safe": True, "version": "1"}
