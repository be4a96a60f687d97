"""Find the numbers in the solutions of the exercises, and compare them with the checks that compute them."""

import re
from dataclasses import dataclass
from pathlib import Path

from equations import Check
from pages import ROOT, page_file, page_names

SOLUTION = re.compile(r"^(`{3,})\{solution(-start)?\} (\S+)\n(.*?)^\1(?:\{solution-end\}|$)", re.M | re.S)
CODE = re.compile(r"^(`{3,})(?:\w|\{code-cell|\{literalinclude).*?^\1$|`[^`\n]*`", re.M | re.S)
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)")


@dataclass(frozen=True)
class Solution:
    """The solution of one exercise: its page, the exercise's label, and the decimal numbers in its words and formulas."""

    page: str
    label: str
    numbers: tuple[str, ...]


def solutions_in(text: str, page: str = "") -> list[Solution]:
    """Every solution on a page; numbers inside code are left out, for the page computes what follows from them."""
    found = [(label, CODE.sub(" ", body)) for *_, label, body in SOLUTION.findall(text)]
    return [Solution(page, label, tuple(dict.fromkeys(NUMBER.findall(body)))) for label, body in found]


def book_solutions(root: Path = ROOT) -> list[Solution]:
    """Every solution of the book."""
    files = ((page, page_file(page, root)) for page in page_names(root))
    return [solution for page, file in files if file.exists() for solution in solutions_in(file.read_text(), page)]


def answer_problems(checks: list[Check], solutions: list[Solution] | None = None) -> list[str]:
    """Numbers in solutions that no check computes, and checks of exercises without a solution."""
    solutions = book_solutions() if solutions is None else solutions
    sources: dict[str, str] = {}
    for check in checks:
        if check.kind == "answers":
            for label in check.labels:
                sources[label] = sources.get(label, "") + check.source
    known = {solution.label for solution in solutions}
    problems = [f"a check answers {label}, which has no solution" for label in sources if label not in known]
    return problems + [
        f"{solution.page}: no check computes {number} in the solution of {solution.label}"
        for solution in solutions
        for number in solution.numbers
        if f'"{number}"' not in sources.get(solution.label, "")
    ]
