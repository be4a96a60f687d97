"""Perturb what the checks of the equations claim, and see which perturbations the checks notice.

A check marks the expression that stands on the page with `claim(...)` of course_lib.pages.proofs. Here that expression is changed
by one slip of the pen (`changes.py`), the check is compiled anew and run: it must fail. A perturbation that a check does not
notice survives, and shows that the check proves less than it says.

The same change is made wherever the check writes the same expression again. So a formula that is compared with itself, typed
twice, survives everything.
"""

import ast
import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from changes import bare, changed, names_of
from equations import Check

ENOUGH = 3  # perturbations of an identity that must be killed
MOST = 10  # perturbations of an identity that are tried


@dataclass(frozen=True)
class Perturbation:
    """One change of one claim: the equation, the kind of slip, both texts, and the changed function that holds the claim."""

    check: Check
    label: str
    kind: str
    claimed: str
    changed: str
    holder: str
    function: ast.FunctionDef

    def __str__(self) -> str:
        return f"{self.label}: {self.claimed}  became  {self.changed}"

    def outcome(self) -> str:
        """Run the check with the changed claim: "killed", "survived", or "void" where the change makes no sense to Python."""
        namespace = self.check.function.__globals__
        original = namespace[self.holder]
        module = ast.fix_missing_locations(ast.Module([self.function], type_ignores=[]))
        try:
            exec(compile(module, str(self.check.file), "exec"), namespace)
            with np.errstate(all="ignore"):
                namespace[self.check.function.__name__]()
        except AssertionError:
            return "killed"
        except Exception:  # shapes that do not fit, a missing name: nobody could have claimed this
            return "void"
        finally:
            namespace[self.holder] = original
        return "survived"


@dataclass(frozen=True)
class Verdict:
    """What became of an equation's perturbations."""

    label: str
    killed: list[Perturbation]
    survived: list[Perturbation]
    holds: bool = True

    @property
    def problem(self) -> str | None:
        """Why the check of this equation is not good enough, or None."""
        if not self.holds:
            return (
                f"{self.label}: the check fails as it stands, so nothing follows from its failing when it is perturbed"
            )
        if self.survived:
            return f"{self.label}: the check does not notice that {self.survived[0].claimed}  became  {self.survived[0].changed}"
        if len(self.killed) < ENOUGH:
            return f"{self.label}: {len(self.killed)} perturbations of its claim; an identity needs {ENOUGH}"
        return None


def verdict(check: Check, label: str, most: int = MOST) -> Verdict:
    """Try up to `most` perturbations of an equation, of as many kinds as there are, after the check itself."""
    try:
        check.function()
    except Exception:
        return Verdict(label, [], [], holds=False)
    killed, survived = [], []
    for perturbation in spread(perturbations(check, label)):
        outcome = perturbation.outcome()
        if outcome != "void":
            (killed if outcome == "killed" else survived).append(perturbation)
        if len(killed) + len(survived) == most:
            break
    return Verdict(label, killed, survived)


def spread(found: list[Perturbation]) -> list[Perturbation]:
    """In turn one of each kind and claim, so that the first few differ as much as they can."""
    groups: dict[tuple[str, str], list[Perturbation]] = {}
    for perturbation in found:
        groups.setdefault((perturbation.kind, perturbation.claimed), []).append(perturbation)
    rounds = itertools.zip_longest(*groups.values())
    return [perturbation for turn in rounds for perturbation in turn if perturbation is not None]


def perturbations(check: Check, label: str) -> list[Perturbation]:
    """Every change of every claim that a check makes of an equation."""
    spared, found = getattr(check.function, "spares", {}), []
    for holder in functions_of(check.file):
        for call in claims_of(holder, check):
            if label not in (labels_of(call) or check.labels):
                continue
            expression = call.args[0]
            scope = {node.id for node in ast.walk(holder) if isinstance(node, ast.Name)}
            texts = {ast.unparse(expression)}
            slips = itertools.chain(bare(expression), changed(expression, names_of(expression, scope)))
            for kind, other in slips:
                text = ast.unparse(other)
                if text in texts or text in spared:
                    continue
                texts.add(text)
                function = Rewrite(expression, other).visit_holder(holder)
                found.append(Perturbation(check, label, kind, ast.unparse(expression), text, holder.name, function))
    return found


def claims_of(holder: ast.FunctionDef, check: Check) -> Iterator[ast.Call]:
    """The calls of `claim` in a check, and in helpers those that name one of its labels."""
    own = holder.name == check.function.__name__
    for node in ast.walk(holder):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "claim":
            labels = labels_of(node)
            if own and not labels and len(check.labels) > 1:
                raise ValueError(f"{check.name}: claim({ast.unparse(node.args[0])}) must say which equation it is")
            if set(labels) & set(check.labels) or (own and not labels):
                yield node


def labels_of(call: ast.Call) -> tuple[str, ...]:
    """The labels that a claim names."""
    return tuple(str(value.value) for value in call.args[1:] if isinstance(value, ast.Constant))


@cache
def functions_of(file: Path) -> tuple[ast.FunctionDef, ...]:
    """The functions at the top of a module, without the marks on them."""
    found = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    for function in found:
        function.decorator_list = []
    return tuple(found)


class Rewrite(ast.NodeTransformer):
    """Put one expression in the place of another wherever it stands, products and sums in whatever order."""

    def __init__(self, old: ast.expr, new: ast.expr) -> None:
        self.old, self.new = old, new
        self.key = None if isinstance(old, ast.Name | ast.Constant) else key(old)  # a bare name stands in many places

    def visit_holder(self, holder: ast.FunctionDef) -> ast.FunctionDef:
        """A rewritten copy of a function."""
        return self.visit(holder)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Replace, or copy and go on into the parts."""
        if node is self.old or (type(node) is type(self.old) and key(node) == self.key):  # type: ignore[arg-type]
            return self.new
        twin = copy.copy(node)
        for field, value in ast.iter_fields(node):
            setattr(twin, field, self.part(value))
        return twin

    def part(self, value: Any) -> Any:
        """A part of a node: a node, a list of nodes, or a plain value."""
        if isinstance(value, list):
            return [self.part(item) for item in value]
        return self.visit(value) if isinstance(value, ast.AST) else value


def key(node: ast.expr) -> str:
    """The text of an expression with the operands of sums and products in alphabetical order."""
    if id(node) not in KEYS:
        KEYS[id(node)] = (node, ast.unparse(Sorted().visit(ast.parse(ast.unparse(node), mode="eval"))))
    return KEYS[id(node)][1]


KEYS: dict[int, tuple[ast.expr, str]] = {}  # by identity; the node is kept so that its identity stays its own


class Sorted(ast.NodeTransformer):
    """Order the two sides of each sum and product."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        """First the parts, then the operation itself."""
        self.generic_visit(node)
        if isinstance(node.op, ast.Add | ast.Mult) and ast.unparse(node.left) > ast.unparse(node.right):
            node.left, node.right = node.right, node.left
        return node
