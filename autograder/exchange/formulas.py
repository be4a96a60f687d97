"""Formulas in the pages of nbgrader, as MathML: they show without a script, without a network, and no other host learns who reads.

nbconvert leaves TeX to MathJax, which its templates load from a public server. `formulas_here` puts an empty place where they would,
and `markdown_to_html`, in the place of nbconvert's filter, writes what browsers draw by themselves.
"""

import html
from contextlib import suppress
from itertools import accumulate
from typing import Any
from unicodedata import lookup
from xml.etree.ElementTree import Element, SubElement, tostring

from jinja2 import ChoiceLoader, DictLoader, pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert_to_element
from nbconvert.exporters.html import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

LONGEST = 2_000  # characters of a formula; no formula of a page of this course has as many
DEEPEST = 40  # levels of its braces: how deep a parser of recursive functions may go, each program sets otherwise
MOST = 100  # formulas of a cell; any more, and any longer, stay as the student typed them
TAGS = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msub", "msup", "msubsup", "munder", "mover", "munderover", "mfrac", "msqrt",
    "mroot", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom", "menclose",
}  # fmt: skip
# What decides how a formula looks, and can neither load nor act.
ATTRIBUTES = {
    "accent", "accentunder", "columnalign", "columnlines", "columnspacing", "depth", "displaystyle", "fence", "form", "height",
    "largeop", "linebreak", "linethickness", "lspace", "maxsize", "minsize", "movablelimits", "notation", "rowspacing",
    "rspace", "scriptlevel", "separator", "stretchy", "symmetric", "voffset", "width",
}  # fmt: skip
# latex2mathml knows the second of each pair only.
SPELLINGS = (("{aligned}", "{align*}"), ("{gathered}", "{align*}"), (r"\lVert", r"\Vert"), (r"\rVert", r"\Vert"))
# What latex2mathml leaves as it is, or has another sign for; all are operators.
SIGNS = {
    "~": "\u223c",
    r"\|": "\u2016",
    r"\Vert": "\u2016",
    r"\lVert": "\u2016",
    r"\rVert": "\u2016",
    r"\langle": "\u27e8",
    r"\rangle": "\u27e9",
}
# Browsers know these alphabets by their letters only.
ALPHABETS = {
    "script": ("SCRIPT",),
    "double-struck": ("DOUBLE-STRUCK",),
    "fraktur": ("FRAKTUR", "BLACK-LETTER"),
    "bold": ("BOLD",),
}
NO_MATHJAX = "{%- macro mathjax(url='') -%}{%- endmacro -%}"
# The formgrader's script waits until MathJax has drawn everything: here nothing is left to draw.
DRAWN = """{%- macro mathjax(url='') -%}
<script>window.MathJax = {Hub: {Startup: {signal: {Interest: function (drawn) { drawn("End"); }}}}};</script>
{%- endmacro -%}"""


def formulas_here() -> None:
    """Let every HTML page of nbgrader be made without MathJax; `c.HTMLExporter.filters` has to name `markdown_to_html`, too."""
    usual = HTMLExporter._create_environment
    if getattr(usual, "without_mathjax", False):
        return

    def created(self: HTMLExporter) -> Any:
        environment = usual(self)
        macro = DRAWN if self.template_name == "formgrade" else NO_MATHJAX
        usual_places = [environment.loader] if environment.loader else []
        environment.loader = ChoiceLoader([DictLoader({"mathjax.html.j2": macro}), *usual_places])
        return environment

    created.without_mathjax = True  # type: ignore[attr-defined]
    HTMLExporter._create_environment = created


@pass_context
def markdown_to_html(context: Context, source: str) -> str:
    """A cell of text as HTML, with its formulas as MathML: a filter of nbconvert."""
    attachments = context.get("cell", {}).get("attachments", {})
    renderer = Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(source)


class Renderer(IPythonRenderer):
    """nbconvert's renderer of Markdown, which writes formulas itself."""

    left = MOST

    def formula(self, tex: str, display: bool) -> str:
        """A formula as MathML, or as it was typed."""
        self.left -= 1
        return mathml(tex, display) if self.left >= 0 else typed(tex, display)

    def inline_math(self, body: str) -> str:
        """$...$"""
        return self.formula(body, display=False)

    def block_math(self, body: str) -> str:
        """$$...$$"""
        return self.formula(body, display=True)

    def latex_environment(self, name: str, body: str) -> str:
        r"""\begin{...}...\end{...} outside of any dollars."""
        return self.formula(rf"\begin{{{name}}}{body}\end{{{name}}}", display=True)


def mathml(tex: str, display: bool) -> str:
    """A formula as MathML that can neither load nor act, with its TeX beside it; as it was typed, where it is no formula."""
    if len(tex) > LONGEST or deepest(tex) > DEEPEST:
        return typed(tex, display)
    known = tex
    for usual, spelling in SPELLINGS:
        known = known.replace(usual, spelling)
    try:
        found = convert_to_element(known, display="block" if display else "inline")
        formula = Element("math", {"display": "block" if display else "inline"})
        both = SubElement(formula, "semantics")
        row = SubElement(both, "mrow")
        for child in found:
            row.append(harmless(child))
        SubElement(both, "annotation", {"encoding": "application/x-tex"}).text = tex
        return tostring(formula, encoding="unicode")
    except Exception:  # latex2mathml raises many kinds, RecursionError among them
        return typed(tex, display)


def deepest(tex: str) -> int:
    """How many braces are open at once, at most."""
    return max(accumulate((sign == "{") - (sign == "}") for sign in tex), default=0)


def harmless(found: Element) -> Element:
    """A copy of an element of latex2mathml, with what is known to be harmless."""
    text = html.unescape(found.text or "")  # it holds character references
    tag = "mo" if text in SIGNS else found.tag
    made = Element(tag if tag in TAGS else "mrow")
    for name, value in found.attrib.items():
        if name in ATTRIBUTES:
            made.set(name, value)
    alphabet = ALPHABETS.get(found.get("mathvariant", ""), ())
    made.text = "".join(letter(sign, alphabet) for sign in SIGNS.get(text, text))
    for child in found:
        made.append(harmless(child))
    return made


def letter(sign: str, alphabet: tuple[str, ...]) -> str:
    """A letter in the first of some alphabets that has it."""
    size = "CAPITAL" if sign.isupper() else "SMALL"
    for name in [f"{prefix}{one} {size} {sign.upper()}" for one in alphabet for prefix in ("MATHEMATICAL ", "")]:
        with suppress(KeyError):
            return lookup(name)
    return sign


def typed(tex: str, display: bool) -> str:
    """A formula as it was typed."""
    sign = "$$" if display else "$"
    return html.escape(f"{sign}{tex}{sign}", quote=False)
