"""Find every display equation of the book and the check that goes with it.

An equation is labelled with `$$ ... $$ (eq-name)` or the {math} directive's `:label:`. Its check is a function in the checks.py
beside the page, marked with `proves` or `defines` of course_lib.pages.proofs. Used by tools/equations.py, by the tests, and by
`checked_equations.py`, which puts the marks on the pages.
"""

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.front_matter import front_matter_plugin

from pages import ROOT, page_file, page_names

VERBATIM = (
    "code-cell",
    "code",
    "code-block",
    "literalinclude",
    "image",
    "figure",
    "bibliography",
    "toctree",
    "mermaid",
)
OPTION = re.compile(r":([\w-]+):[ \t]*(.*)")


@dataclass(frozen=True)
class Equation:
    """One display equation: the page it stands on, its label ("" where it has none) and its TeX."""

    page: str
    label: str
    tex: str


@dataclass(frozen=True)
class Check:
    """One marked function: its kind ("proves", "defines" or "answers"), the labels it names, and where it is."""

    kind: str
    labels: tuple[str, ...]
    function: Callable[[], None]
    file: Path
    line: int
    source: str

    @property
    def name(self) -> str:
        """Where to find it, for people: file and function."""
        return (
            f"{self.file.relative_to(ROOT) if self.file.is_relative_to(ROOT) else self.file}::{self.function.__name__}"
        )

    @property
    def runs(self) -> bool:
        """Whether it has something to run: all but definitions that the library does not compute."""
        (function,) = ast.parse(self.source).body
        return self.kind != "defines" or (isinstance(function, ast.FunctionDef) and len(function.body) > 1)


def parser() -> MarkdownIt:
    """A Markdown parser that knows the mathematics and the directives of MyST."""
    markdown = MarkdownIt("commonmark").enable("table")
    markdown.use(front_matter_plugin).use(amsmath_plugin).use(colon_fence_plugin)
    return markdown.use(dollarmath_plugin, allow_labels=True, allow_space=True, allow_digits=True, double_inline=True)


def equations_in(text: str, page: str = "") -> list[Equation]:
    """Every display equation in a page's source, those inside directives included."""
    return [Equation(page, label, tex.strip()) for label, tex in _display_math(parser(), text)]


def _display_math(markdown: MarkdownIt, text: str) -> Iterator[tuple[str, str]]:
    for token in _flatten(markdown.parse(text)):
        if token.type in ("math_block", "amsmath", "math_inline_double"):
            yield "", token.content
        elif token.type == "math_block_label":
            yield token.info, token.content
        elif token.type in ("fence", "colon_fence") and token.info.strip().startswith("{"):
            name = token.info.strip()[1:].split("}")[0]
            options, body = _split_options(token.content)
            if name == "math":
                yield options.get("label", ""), body
            elif name not in VERBATIM:
                yield from _display_math(markdown, body)


def _flatten(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _flatten(token.children or [])


def _split_options(content: str) -> tuple[dict[str, str], str]:
    """The `:name: value` lines at the head of a directive's content, and the rest."""
    lines = content.splitlines()
    options = {}
    while lines and (match := OPTION.fullmatch(lines[0].strip())):
        options[match[1]] = match[2].strip()
        lines.pop(0)
    return options, "\n".join(lines)


def book_equations(root: Path = ROOT) -> list[Equation]:
    """Every display equation of every page in the table of contents, in reading order."""
    files = ((page, page_file(page, root)) for page in page_names(root))
    return [equation for page, file in files if file.exists() for equation in equations_in(file.read_text(), page)]


def book_checks(root: Path = ROOT) -> list[Check]:
    """Every marked function in the checks.py files beside the pages."""
    folders = dict.fromkeys(page_file(page, root).parent for page in page_names(root))
    return [check for folder in folders for check in checks_in(folder / "checks.py")]


def checks_in(file: Path) -> list[Check]:
    """The marked functions of one file, in their order."""
    if not file.exists():
        return []
    module_name = f"checks_of_{file.parent.name}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    found = []
    for function in vars(module).values():
        for kind in ("proves", "defines", "answers"):
            if inspect.isfunction(function) and function.__module__ == module_name and hasattr(function, kind):
                source, line = inspect.getsourcelines(function)
                found.append(Check(kind, getattr(function, kind), function, file, line, "".join(source)))
    return found


@dataclass(frozen=True)
class Report:
    """Which equations are proved, are definitions (some of them compared with the library), are unchecked; and what is wrong."""

    proved: list[Equation]
    defined: list[Equation]
    compared: list[Equation]
    unchecked: list[Equation]
    errors: list[str]

    def __str__(self) -> str:
        labelled = len(self.proved) + len(self.defined) + len(self.unchecked)
        definitions = f"{len(self.defined)} definitions ({len(self.compared)} compared with the library)"
        return f"{labelled} labelled: {len(self.proved)} proved, {definitions}, {len(self.unchecked)} unchecked"


def report(equations: list[Equation], checks: list[Check]) -> Report:
    """Match equations and checks by label."""
    kinds: dict[str, set[str]] = {}
    checks = [check for check in checks if check.kind != "answers"]
    for check in checks:
        for label in check.labels:
            kinds.setdefault(label, set()).add(check.kind)
    runs = {label for check in checks if check.runs for label in check.labels}
    labelled = [equation for equation in equations if equation.label]
    labels = [equation.label for equation in labelled]
    errors = [
        f"{e.page}: a display equation has no label: {' '.join(e.tex.split())[:70]}" for e in equations if not e.label
    ]
    errors += [f"{e.page}: label {e.label!r} must start with 'eq-'" for e in labelled if not e.label.startswith("eq-")]
    errors += [
        f"label {label} is given to {labels.count(label)} equations"
        for label in sorted(set(labels))
        if labels.count(label) > 1
    ]
    errors += [
        f"{c.name} names {label}, which no page has" for c in checks for label in c.labels if label not in labels
    ]
    errors += [f"{label} is both proved and declared a definition" for label, found in kinds.items() if len(found) > 1]
    proved = [e for e in labelled if "proves" in kinds.get(e.label, ())]
    defined = [e for e in labelled if kinds.get(e.label) == {"defines"}]
    compared = [e for e in defined if e.label in runs]
    return Report(proved, defined, compared, [e for e in labelled if e.label not in kinds], errors)
