"""Formulas that hold their place: the room that each will take is reserved, so that the page stands still while MathJax works.

MathJax typesets a formula when it comes near the window. Until then its estimated size is kept free, in the variables `--width` and
`--rows` that book.css reads. A display equation lies in a box of its own, which scrolls where the window is too narrow, with its number
beside it, or below it where there is no room. A formula in the text is tied to the punctuation that follows it.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.math import get_node_equation_number

TOKEN = re.compile(r"\\(?:text\w*|mathrm|operatorname\*?)\s*\{[^{}]*\}|\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
NO_INK = {"\\left", "\\right", "\\displaystyle", "\\limits", "{", "}", "&", "^", "_", "\\!"}
NO_INK |= {f"\\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "m", "r")}
ACCENTS = {
    "\\bar",
    "\\hat",
    "\\tilde",
    "\\vec",
    "\\dot",
    "\\mathbb",
    "\\mathcal",
    "\\mathbf",
    "\\boldsymbol",
    "\\underbrace",
}
WIDTHS = {
    **dict.fromkeys([",", ".", ";", ":", "!", "\\,", "\\:", "|", "'", "\\vert"], 0.3),
    **dict.fromkeys(["(", ")", "[", "]", "\\{", "\\}", "\\;", "\\ ", "/", "i", "j", "l", "t"], 0.4),
    **dict.fromkeys(["+", "-", "\\pm", "\\cdot", "\\times"], 1.15),
    **dict.fromkeys(
        ["=", "<", ">", "\\le", "\\ge", "\\ne", "\\approx", "\\sim", "\\propto", "\\in", "\\leftarrow", "\\to"], 1.35
    ),
    **dict.fromkeys(["\\mid", "\\|"], 0.8),
    **dict.fromkeys(["\\sqrt", "\\sum", "\\prod", "\\nabla", "\\quad", "\\int", "\\dots", "\\ldots", "\\cdots"], 1.0),
    **dict.fromkeys(["\\qquad", "\\iff", "\\Longleftrightarrow"], 2.0),
    **dict.fromkeys(["\\log", "\\exp", "\\min", "\\max", "\\sin", "\\cos", "\\lim"], 1.6),
}
FRACTION = re.compile(
    r"\\[dt]?frac\s*(\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|.)\s*(\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|.)",
    re.DOTALL,
)
SCRIPT = re.compile(r"[_^]\s*(\{(?:[^{}]|\{[^{}]*\})*\}|\\[A-Za-z]+|.)", re.DOTALL)
BLOCK = re.compile(r"\\begin\{([pbv]?matrix|cases)\}.*?\\end\{\1\}", re.DOTALL)
TALL = re.compile(r"\\d?frac|\\binom")
LIMITS = re.compile(r"\\(?:sum|prod|int|underbrace)(?![a-z])|(?<=\})\^")  # a limit below, and one above
BRACKETS = re.compile(r"\\left|\\Bigl")
AFTER = re.compile(r"[.,;:?!)\]’”%\N{EN DASH}-]+\S{0,2}(?=\s|$)|[.,;:?!)\]’”%]+")
BEFORE = re.compile(r"[(\[“‘]$")


def width(tex: str) -> float:
    """The width of a formula in em, roughly: what its signs take, one after the other, the small ones less."""
    if fraction := FRACTION.search(tex):
        parts = max(width(fraction[1]), width(fraction[2])) * 0.72 + 0.25
        return width(tex[: fraction.start()]) + parts + width(tex[fraction.end() :])
    small = sum(_line(found) for found in SCRIPT.findall(tex))
    return _line(SCRIPT.sub("", tex)) + 0.72 * small


def _line(tex: str) -> float:
    return sum(_sign(token) for token in TOKEN.findall(tex))


def _sign(token: str) -> float:
    """The width of one sign, letter or word."""
    if token in NO_INK or token in ACCENTS or token.isspace():
        return 0.0
    if token.startswith(("\\text", "\\mathrm", "\\operatorname")) and "{" in token:
        return 0.5 * (len(token) - token.index("{") - 2)
    return WIDTHS.get(token, 0.58)


def rows(tex: str) -> float:
    """The height of a display equation, in lines of text of one rem, roughly: each line is as tall as what stands in it."""
    blocks = [2.2 + 1.3 * found[0].count(r"\\") for found in BLOCK.finditer(tex)]
    lines = re.split(r"\\\\", BLOCK.sub("", tex))
    heights = [
        1.5 + 1.1 * bool(TALL.search(line)) + 0.9 * len(set(LIMITS.findall(line))) + 0.6 * bool(BRACKETS.search(line))
        for line in lines
    ]
    return sum(heights) + 0.3 * (len(lines) - 1) + max(blocks, default=0)


def visit_inline(self: Any, node: nodes.math) -> None:
    """A formula in the text, with what must not be parted from it."""
    start, end = self.builder.config.mathjax_inline
    before, after = node.get("before", ""), node.get("after", "")
    tied = bool(before or after)
    tag = self.starttag(
        node, "span", "", CLASS="math notranslate nohighlight", STYLE=f"--width:{width(node.astext()):.1f}em"
    )
    opening = f'<span class="tied">{self.encode(before)}' if tied else ""
    closing = f"{self.encode(after)}</span>" if tied else ""
    self.body.append(f"{opening}{tag}{start}{self.encode(node.astext())}{end}</span>{closing}")
    raise nodes.SkipNode


def visit_display(self: Any, node: nodes.math_block) -> None:
    """A display equation in its box, and its number."""
    start, end = self.builder.config.mathjax_display
    parts = [part for part in node.astext().split("\n\n") if part.strip()]
    split = [
        rf"\begin{{split}}{part}\end{{split}}" if r"\\" in part and not part.lstrip().startswith(r"\begin") else part
        for part in parts
    ]
    tex = parts[0] if node.get("nowrap") else r"\\".join(split)
    tex = rf"\begin{{aligned}}{tex}\end{{aligned}}" if len(parts) > 1 else tex
    self.body.append(
        self.starttag(node, "div", "", CLASS="math notranslate nohighlight", STYLE=f"--rows:{rows(tex):.1f}rem")
    )
    self.body.append(f'<div class="math-scroll">{start}{self.encode(tex)}{end}</div>')
    if node.get("number"):
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def tie(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give each formula in the text the punctuation that touches it, so that no line begins with a comma."""
    if app.builder.format != "html":
        return
    for math in list(doctree.findall(nodes.math)):
        place = math.parent.index(math)
        around = math.parent.children
        if place + 1 < len(around) and isinstance(around[place + 1], nodes.Text):
            text = around[place + 1].astext()
            if found := AFTER.match(text):
                math["after"] = found[0]
                math.parent.replace(around[place + 1], nodes.Text(text[found.end() :]))
        if place and isinstance(around[place - 1], nodes.Text):
            text = around[place - 1].astext()
            if found := BEFORE.search(text):
                math["before"] = found[0]
                math.parent.replace(around[place - 1], nodes.Text(text[: found.start()]))


def render(app: Sphinx) -> None:
    """Take the place of the renderers that other extensions have set."""
    app.registry.html_inline_math_renderers["mathjax"] = (visit_inline, None)
    app.registry.html_block_math_renderers["mathjax"] = (visit_display, None)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_js_file("wide.js")
    app.connect("builder-inited", render, priority=900)
    app.connect("doctree-resolved", tie, priority=800)
    return {"parallel_read_safe": True, "version": "1"}
