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
    r"|nonumber|limits|[lr][vV]ert|[vV]ert|operatorname|mathrm|mathbf|boldsymbol|mathit|text|mathsf|[,;:!\s])(?![a-z])|[{}()\[\]&,;]|\\\\"
)
GROUP = r"(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\\[A-Za-z]+|[^\\\s{}]))"
COMMAND = re.compile(r"\\([A-Za-z]+(?:\{[A-Z]\})?)")


def _group(match: re.Match[str], first: int) -> str:
    """The content of a TeX argument, with or without its braces."""
    return match[first] if match[first] is not None else match[first + 1]


def tex_words(tex: str) -> str:
    """The formula as a person would read it aloud, roughly; good enough to be found and to be told from others."""
    said = re.sub(r"\\(mathbb|mathcal)\s*([A-Z])", r"\\\1{\2}", tex)
    said = re.sub(r"\\(?:dfrac|tfrac|frac)\s*" + GROUP + r"\s*" + GROUP, _fraction, said)
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


GREEK = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]
GREEK += ["nu", "xi", "omicron", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"]
LETTERS = {name: chr(0x3B1 + n + (n > 16)) for n, name in enumerate(GREEK)}
LETTERS |= {name.capitalize(): LETTERS[name].upper() for name in GREEK}
LETTERS |= {
    "varnothing": "∅",
    "nabla": "∇",
    "infty": "∞",
    "int": "∫",
    "sum": "Σ",
    "prod": "Π",
    "cdot": "·",
    "times": "×",
    "le": "≤",
}
LETTERS |= {
    "leq": "≤",
    "ge": "≥",
    "geq": "≥",
    "ne": "≠",
    "neq": "≠",
    "approx": "≈",
    "propto": "∝",
    "to": "→",
    "leftarrow": "←",
}
LETTERS |= {
    "in": "∈",
    "mid": "|",
    "vert": "|",
    "Vert": "‖",
    "|": "‖",
    "pm": "±",
    "partial": "∂",
    "sim": "~",
    "dots": "…",
    "ldots": "…",
}
LETTERS |= {"cdots": "…", "top": "ᵀ", "ell": "ℓ", "iff": "⟺", "varepsilon": "ε", "quad": "  ", "qquad": "   "}
MARKS = {"bar": "\u0304", "overline": "\u0304", "hat": "\u0302", "tilde": "\u0303", "dot": "\u0307", "vec": "\u20d7"}
SMALL = dict(zip("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")) | {
    "t": "ₜ",
    "s": "ₛ",
    "i": "ᵢ",
    "k": "ₖ",
    "x": "ₓ",
    "n": "ₙ",
    "m": "ₘ",
    "j": "ⱼ",
}
RAISED = dict(zip("0123456789+-=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿ"))


def tex_signs(tex: str) -> str:
    """The formula in the signs of Unicode, on one line, as well as it goes: `\\bar\\alpha_t` is "ᾱₜ"."""
    said = re.sub(
        r"\\(?:mathrm|mathbf|mathbb|mathcal|boldsymbol|mathit|mathsf|text\w*|operatorname)\*?(?![a-z])\s*", "", tex
    )
    said = re.sub(r"\\[lr]?Vert(?![a-z])", "‖", said)
    said = re.sub(r"\\(?:dfrac|tfrac|frac)\s*" + GROUP + r"\s*" + GROUP, _slash, said)
    said = re.sub(r"\\(?:dfrac|tfrac|frac)\s*" + GROUP + r"\s*" + GROUP, _slash, said)
    said = re.sub(
        r"\\sqrt\s*" + GROUP, lambda m: f"√({_group(m, 1)})" if len(_group(m, 1)) > 1 else f"√{_group(m, 1)}", said
    )
    accents = "|".join(MARKS)
    said = re.sub(rf"\\({accents})(?![a-z])\s*" + GROUP, lambda m: _signs(_group(m, 2)) + MARKS[m[1]], said)
    said = re.sub(r"\^\s*" + GROUP, lambda m: _script(_group(m, 1), RAISED, "^"), said)
    said = re.sub(r"_\s*" + GROUP, lambda m: _script(_group(m, 1), SMALL, "_"), said)
    said = said.replace(r"\{", "⦃").replace(r"\}", "⦄").replace(r"\|", "‖")
    said = re.sub(
        r"\\(?:begin|end)\{\w+\}|\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|nonumber|limits)(?![a-z])|\\[,;:!]|[{}&]|\\\\",
        " ",
        said,
    )
    return " ".join(_signs(said).replace("⦃", "{").replace("⦄", "}").replace("\\", " ").split())


def _signs(tex: str) -> str:
    """Commands replaced by signs."""
    return re.sub(r"\\([A-Za-z]+)", lambda m: LETTERS.get(m[1], m[1]), tex)


def _script(tex: str, signs: dict[str, str], mark: str) -> str:
    """An index or an exponent: small signs where all of them exist, else behind its mark."""
    plain = _signs(tex.strip())
    if all(sign in signs for sign in plain):
        return "".join(signs[sign] for sign in plain)
    return f"{mark}{plain}" if len(plain) < 2 else f"{mark}({plain})"


def _slash(match: re.Match[str]) -> str:
    """A fraction on one line."""
    above, below = (
        part if len(part) < 2 or re.fullmatch(r"\\[a-z]+", part) else f"({part})"
        for part in (_group(match, 1), _group(match, 3))
    )
    return f"{above}/{below}"
