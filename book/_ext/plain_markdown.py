"""Write a resolved page as the cells of a notebook: plain Markdown that any viewer shows, and the page's code in between.

References, citations, quoted values and equation numbers are already resolved in the page, so they come out as the book shows them.
What the book renders by directives becomes what every notebook viewer knows: quizzes, solutions and proofs fold away in `<details>`,
boxes become quotations, included code becomes a block of code.
"""

import base64
import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urljoin

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from sphinx import addnodes

from quiz import quiz, quiz_answer, quiz_question, quiz_reason, quiz_text

NUMBERED = (
    "figure",
    "table",
    "code-block",
    "displaymath",
    "exercise",
    "algorithm",
    "theorem",
)  # kinds that Sphinx counts
SILENT = (nodes.raw, nodes.target, nodes.comment, nodes.substitution_definition, addnodes.index, addnodes.toctree)
SPECIAL = re.compile(r"([*_`$<\\])")


class Writer:
    """Turns one page into cells."""

    def __init__(
        self, code: dict[int, NotebookNode], numbers: dict[str, dict[str, tuple]], source: Path, address: str
    ) -> None:
        """`code`: the code cells by their index in the page; `numbers`: of figures and the like, by kind and id; `address`: of the page."""
        self.code = code
        self.numbers = numbers
        self.source = source
        self.address = address
        self.cells: list[NotebookNode] = []
        self.text: list[str] = []
        self.pictures: dict[str, dict[str, str]] = {}
        self.written: set[int] = set()

    def write(self, document: nodes.document) -> list[NotebookNode]:
        """All cells of a page."""
        for child in document.children:
            self.top(child, 0)
        self.code_until(max(self.code, default=-1) + 1)
        self.close()
        return self.cells

    # Cells

    def top(self, node: nodes.Node, depth: int) -> None:
        """A section, a code cell, or a block of text between them."""
        if isinstance(node, nodes.section):
            if depth < 2:
                self.close()
            for child in node.children:
                if isinstance(child, nodes.title):
                    self.text.append("#" * (depth + 1) + " " + self.inline(child))
                else:
                    self.top(child, depth + 1)
        elif isinstance(node, nodes.container) and "cell" in node["classes"]:
            self.code_until(node["cell_index"] + 1)
            self.text += [self.caption(figure) for figure in node.findall(nodes.figure) if is_captioned(figure)]
        else:
            self.text += self.block(node)

    def code_until(self, end: int) -> None:
        """The code cells before an index that are not written yet, those that the page hides included."""
        for index in sorted(index for index in self.code if index < end and index not in self.written):
            self.close()
            self.cells.append(self.code[index])
            self.written.add(index)

    def close(self) -> None:
        """Make a cell of the text so far."""
        if self.text:
            cell = nbformat.v4.new_markdown_cell("\n\n".join(self.text))
            if self.pictures:
                cell["attachments"] = self.pictures
            self.cells.append(cell)
        self.text, self.pictures = [], {}

    # Blocks: each method gives paragraphs, between which blank lines go

    def blocks(self, node: nodes.Element) -> list[str]:
        """Everything in a node."""
        return [part for child in node.children for part in self.block(child)]

    def block(self, node: nodes.Node) -> list[str]:
        """One node as paragraphs of Markdown."""
        if isinstance(node, SILENT):
            return []
        for kind in type(node).__mro__:
            method: Callable[[nodes.Node], list[str]] | None = getattr(self, f"_{kind.__name__}", None)
            if method is not None:
                return method(node)
        if isinstance(node, nodes.Element) and not isinstance(node, (nodes.Inline, nodes.TextElement)):
            return self.blocks(node)
        words = self.inline_of(node)
        return [words] if words.strip() else []

    def _paragraph(self, node: nodes.paragraph) -> list[str]:
        return [self.inline(node)]

    def _section(self, node: nodes.section) -> list[str]:
        return self.blocks(node)

    def _math_block(self, node: nodes.math_block) -> list[str]:
        return [self.display(node)]

    def _literal_block(self, node: nodes.literal_block) -> list[str]:
        return [f"```{node.get('language', '')}\n{node.astext().rstrip()}\n```"]

    def _caption(self, node: nodes.caption) -> list[str]:
        return [f"*{self.inline(node)}*"]

    def _image(self, node: nodes.image) -> list[str]:
        return [self.image(node)]

    def _figure(self, node: nodes.figure) -> list[str]:
        pictures = [self.image(image) for image in node.findall(nodes.image)]
        return [*pictures, *([self.caption(node)] if is_captioned(node) else [])]

    def _bullet_list(self, node: nodes.bullet_list) -> list[str]:
        return ["\n".join(self.item("- ", item) for item in node.children)]

    def _enumerated_list(self, node: nodes.enumerated_list) -> list[str]:
        first = node.get("start", 1)
        return ["\n".join(self.item(f"{first + n}. ", item) for n, item in enumerate(node.children))]

    def item(self, mark: str, item: nodes.Node) -> str:
        """One entry of a list, its further lines indented."""
        assert isinstance(item, nodes.Element)
        return mark + indent("\n\n".join(self.blocks(item)), " " * len(mark)).lstrip()

    def _definition_list_item(self, node: nodes.definition_list_item) -> list[str]:
        terms = [self.inline(child) for child in node.children if isinstance(child, nodes.term)]
        meaning = [part for child in node.findall(nodes.definition) for part in self.blocks(child)]
        return [f"**{' '.join(terms)}**", *meaning]

    def _Admonition(self, node: nodes.Element) -> list[str]:
        title = node.next_node(nodes.title, descend=True)
        number = self.number(node)
        kind = node.get("realtype") or ("exercise" if "exercise" in node["classes"] else "")
        name = self.inline(title).strip() if title is not None and title.parent is node else type(node).__name__
        name = name.removeprefix("Exercise").strip() if kind == "exercise" else name
        head = " ".join(filter(None, [kind.capitalize(), number, name.capitalize() if not kind else name]))
        body = [part for child in node.children if child is not title for part in self.block(child)]
        if "solution" in node["classes"] or "dropdown" in node["classes"]:
            return folded("Solution" if "solution" in node["classes"] else head, body)
        return [quoted([f"**{head}**", *body])]

    def _quiz(self, node: quiz) -> list[str]:
        question = self.inline(next(iter(node.findall(quiz_question))))
        letters = dict(zip(node.findall(quiz_answer), "ABCDEFGH"))
        answers = [f"- **{letter}.** {self.inline(part(answer, quiz_text))}" for answer, letter in letters.items()]
        reasons = [
            f"- {'✓' if answer['right'] else '✗'} **{letter}.** {self.inline(part(answer, quiz_reason))}"
            for answer, letter in letters.items()
        ]
        return [f"**Question.** {question}", "\n".join(answers), *folded("Answers", ["\n".join(reasons)])]

    def _table(self, node: nodes.table) -> list[str]:
        rows = [[self.cell(entry) for entry in row.findall(nodes.entry)] for row in node.findall(nodes.row)]
        if not rows:
            return []
        head, *body = rows if node.next_node(nodes.thead) is not None else [[""] * len(rows[0]), *rows]
        lines = [head, ["---"] * len(head), *body]
        title = [f"**{self.inline(child)}**" for child in node.children if isinstance(child, nodes.title)]
        return [*title, "\n".join(f"| {' | '.join(line)} |" for line in lines)]

    def cell(self, entry: nodes.entry) -> str:
        """One cell of a table, on one line; a bar in a formula would end the cell."""
        words = "<br>".join(self.blocks(entry)).replace("\n", " ")
        words = re.sub(r"\$[^$]+\$", lambda m: m[0].replace(r"\|", r"\Vert ").replace("|", r"\vert "), words)
        return words.replace("|", r"\|")

    # Parts

    def display(self, node: nodes.math_block) -> str:
        """A display equation with its number, as the book shows it."""
        number = self.number(node)
        tag = rf" \tag{{{number}}}" if number else ""
        parts = [part.strip() for part in node.astext().split("\n\n") if part.strip()]
        if not node.get("nowrap") and any(r"\\" in part and not part.startswith(r"\begin") for part in parts):
            parts = [r"\begin{split}" + " \\\\\n".join(parts) + r"\end{split}"]
        return "$$\n" + "\n".join(parts) + f"{tag}\n$$"

    def number(self, node: nodes.Element) -> str:
        """The number that the book gives a node, such as 3.7; "" for one without."""
        for kind in NUMBERED:
            for name in node["ids"]:
                if name in self.numbers.get(kind, {}):
                    return ".".join(map(str, self.numbers[kind][name]))
        return ""

    def caption(self, figure: nodes.Element) -> str:
        """The caption of a figure with its number."""
        words = [self.inline(child) for kind in (nodes.caption, nodes.legend) for child in figure.findall(kind)]
        return " ".join(filter(None, [f"**Figure {self.number(figure)}.**", *words]))

    def image(self, node: nodes.image) -> str:
        """A picture, attached to the cell."""
        file = self.source / node["uri"]
        if not file.is_file():
            return f"[{node.get('alt', 'picture')}]({urljoin(self.address, node['uri'])})"
        kind = mimetypes.guess_type(file.name)[0] or "image/png"
        self.pictures[file.name] = {kind: base64.b64encode(file.read_bytes()).decode()}
        return f"![{node.get('alt', '')}](attachment:{file.name})"

    # Text in a line

    def inline(self, node: nodes.Element) -> str:
        """All text in a node."""
        return "".join(self.inline_of(child) for child in node.children)

    def inline_of(self, node: nodes.Node) -> str:
        """One piece of text."""
        if isinstance(node, nodes.Text):
            return SPECIAL.sub(r"\\\1", node.astext()).replace("\n", " ")
        if isinstance(node, SILENT):
            return ""
        if isinstance(node, nodes.math):
            return f"${node.astext().strip()}$"
        if isinstance(node, nodes.math_block):
            return f"\n\n{self.display(node)}\n\n"
        if isinstance(node, nodes.literal):
            return code_span(node.astext())
        if isinstance(node, nodes.image):
            return self.image(node)
        assert isinstance(node, nodes.Element)
        words = self.inline(node)
        if isinstance(node, nodes.strong):
            return around("**", words)
        if isinstance(node, (nodes.emphasis, nodes.title_reference)):
            return around("*", words)
        if isinstance(node, nodes.reference) and node.get("refuri"):
            return f"[{words}]({urljoin(self.address, node['refuri'])})"
        return words


def is_captioned(node: nodes.Node) -> TypeGuard[nodes.figure]:
    """Whether a node is a figure with a caption."""
    return isinstance(node, nodes.figure) and any(isinstance(child, nodes.caption) for child in node.children)


def part(node: nodes.Element, kind: type[nodes.Element]) -> nodes.Element:
    """The one child of a kind."""
    return next(iter(node.findall(kind)))


def indent(text: str, by: str) -> str:
    """Each line that is not empty, indented."""
    return "\n".join(by + line if line else line for line in text.split("\n"))


def quoted(parts: list[str]) -> str:
    """Paragraphs as one quotation; a formula keeps to one line, since a viewer would take the marks of the others for signs in it."""
    parts = [re.sub(r"\$\$.*?\$\$", lambda m: m[0].replace("\n", " "), words, flags=re.DOTALL) for words in parts]
    return "\n".join(f"> {line}".rstrip() for line in "\n\n".join(parts).split("\n"))


def folded(head: str, body: list[str]) -> list[str]:
    """Paragraphs that open at a click."""
    return [f"<details><summary>{head}</summary>", *body, "</details>"]


def code_span(text: str) -> str:
    """Code in a line, which may hold backticks itself."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def around(mark: str, words: str) -> str:
    """Marks of emphasis, close to the words, where Markdown wants them."""
    bare = words.strip()
    return words.replace(bare, f"{mark}{bare}{mark}", 1) if bare else words
