"""Say a formula in words, for readers who search for it and for screen readers: `\\bar\\alpha_t` is "alpha bar t"."""

import re

MATH = re.compile(r"(?<!\\)\$\$?(.+?)(?<!\\)\$\$?", re.DOTALL)  # between dollars, one or two
ACCENTS = {"bar": "bar", "hat": "hat", "tilde": "tilde", "vec": "vector", "dot": "dot", "overline": "bar"}
WORDS = {
    "varnothing": "empty",
    "nabla": "gradient",
    "log": "log",
    "mathbb{E}": "expectation",
    "mathcal{N}": "normal",
    "mathcal{L}": "loss",
    "sqrt": "square root of",
    "infty": "infinity",
    "int": "integral",
    "sum": "sum",
    "prod": "product",
    "cdot": "times",
    "times": "times",
    "le": "at most",
    "leq": "at most",
    "ge": "at least",
    "geq": "at least",
    "ne": "not equal to",
    "neq": "not equal to",
    "approx": "about",
    "propto": "proportional to",
    "to": "to",
    "in": "in",
    "mid": "given",
    "pm": "plus or minus",
    "partial": "partial",
    "top": "transposed",
    "dots": "and so on",
    "ldots": "and so on",
}
SIGNS = {"=": "equals", "+": "plus", "-": "minus", "/": "over", "|": "given", "<": "less than", ">": "more than"}
POWERS = {"2": "squared", "3": "cubed", "-1": "inverse"}
SILENT = re.compile(
    r"\\(?:left|right|big|Big|bigl|bigr|Bigl|Bigr|displaystyle|textstyle|quad|qquad|begin\{\w+\}|end\{\w+\}|label\{[^}]*\}"
    r"|nonumber|limits|operatorname|mathrm|mathbf|boldsymbol|mathit|text|mathsf|[,;:!\s])(?![a-z])|[{}()\[\]&,;]|\\\\"
)
GROUP = r"(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\\[A-Za-z]+|[^\\\s{}]))"
COMMAND = re.compile(r"\\([A-Za-z]+(?:\{[A-Z]\})?)")


def _group(match: re.Match[str], first: int) -> str:
    """The content of a TeX argument, with or without its braces."""
    return match[first] if match[first] is not None else match[first + 1]


def tex_words(tex: str) -> str:
    """The formula as a person would read it aloud, roughly; good enough to be found and to be told from others."""
    said = re.sub(r"\\(?:dfrac|tfrac|frac)\s*" + GROUP + r"\s*" + GROUP, _fraction, tex)
    said = re.sub(r"\\(?:dfrac|tfrac|frac)\s*" + GROUP + r"\s*" + GROUP, _fraction, said)  # one inside another
    accents = "|".join(ACCENTS)
    said = re.sub(rf"\\({accents})(?![a-z])\s*" + GROUP, lambda m: f"{_group(m, 2)} {ACCENTS[m[1]]} ", said)
    said = re.sub(r"\^\s*" + GROUP, lambda m: f" {POWERS.get(_group(m, 1), 'to the ' + _group(m, 1))} ", said)
    said = re.sub(r"_\s*" + GROUP, lambda m: f" {_group(m, 1)} ", said)
    for word in ("mathbb{E}", "mathcal{N}", "mathcal{L}"):
        said = said.replace(f"\\{word}", f" {WORDS[word]} ")
    said = SILENT.sub(" ", said)
    said = COMMAND.sub(lambda m: f" {WORDS.get(m[1], m[1])} ", said)
    said = re.sub(r"[=+/|<>-]", lambda m: f" {SIGNS[m[0]]} ", said).replace("\\", " ")
    return " ".join(said.split())


def _fraction(match: re.Match[str]) -> str:
    """A fraction with its parts in words' order."""
    return f" {_group(match, 1)} over {_group(match, 3)} "
