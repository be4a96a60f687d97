"""Change an expression of Python as a slip of the pen changes a formula, in every way that this file knows.

A factor, a term, a square, a root or a sign is lost; a product becomes a quotient; a number becomes 1 or grows by one; an index
moves by one; two names or two functions are mixed up. `perturbations.py` asks whether the checks of the equations notice.
"""

import ast
import copy
from collections.abc import Iterator

Slip = tuple[str, ast.expr]  # the kind of slip and what the expression becomes

PARTNERS = {
    "alpha": "alpha_bar",
    "alpha_bar": "alpha",
    "signal": "noise",
    "noise": "signal",
    "denoise": "eps",
    "eps": "denoise",
    "sin": "cos",
    "cos": "sin",
    "sinh": "cosh",
    "cosh": "sinh",
    "tan": "sin",
    "tanh": "sinh",
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "mean": "sum",
    "sum": "mean",
    "ceil": "floor",
    "floor": "ceil",
}
"""Functions and fields that are easily taken for one another."""

TWINS = {
    "alpha": ("alpha_bar", "bar", "now"),
    "alpha_bar": ("alpha",),
    "bar": ("alpha", "before"),
    "now": ("before", "then", "alpha"),
    "before": ("now",),
    "then": ("now",),
    "a": ("b",),
    "b": ("a",),
    "s": ("t",),
    "t": ("s",),
}
"""Names for which another is written by mistake, where the check has that other name too."""

DROPPED = {"sqrt", "square", "exp", "log", "log2", "abs", "det", "inv", "clamp", "softmax", "Abs"}
"""Functions of one value that a slip of the pen forgets."""

NUMERIC = DROPPED | {
    "sin",
    "cos",
    "tan",
    "tanh",
    "sinh",
    "cosh",
    "Rational",
    "range",
    "sum",
    "min",
    "max",
    "comb",
    "double",
}
"""Functions whose plain arguments are numbers of the formula, not axes or shapes."""

REVERSED: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.Gt(),
    ast.LtE: ast.Gt(),
    ast.Gt: ast.Lt(),
    ast.GtE: ast.Lt(),
    ast.Eq: ast.NotEq(),
}


def changed(node: ast.AST, names: tuple[str, ...], numeric: bool = True) -> Iterator[Slip]:
    """Yield the expression with one slip in it, for each slip; `names` may be mixed up, and a bare number changes if `numeric`."""
    yield from slips(node, names, numeric)
    for field, value in ast.iter_fields(node):
        for position, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST):
                continue
            for kind, other in changed(child, names, counts(node, field, child)):
                twin = copy.copy(node)
                new = [*value[:position], other, *value[position + 1 :]] if isinstance(value, list) else other
                setattr(twin, field, new)
                yield kind, twin  # type: ignore[misc]


def bare(expression: ast.expr) -> Iterator[Slip]:
    """Yield what a claim becomes that is one name, number or call, in which there is little to lose: its double, and its negative."""
    truth = isinstance(expression, ast.Call) and called(expression) in ("any", "all", "bool")
    if isinstance(expression, ast.Name | ast.Constant | ast.Call) and not truth:
        yield "factor", ast.BinOp(ast.Constant(2), ast.Mult(), expression)
        yield "sign", ast.UnaryOp(ast.USub(), expression)


def counts(parent: ast.AST, field: str, child: ast.AST) -> bool:
    """Whether a bare number or name in this place is a quantity of the formula."""
    if isinstance(parent, ast.Call):
        return field == "args" and called(parent) in NUMERIC
    if isinstance(parent, ast.Subscript | ast.Slice | ast.Attribute | ast.keyword):
        return False
    if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Pow) and field == "right":
        return not isinstance(child, ast.Constant)
    return not (isinstance(parent, ast.Tuple | ast.List) and isinstance(child, ast.Constant))


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def slips(node: ast.AST, names: tuple[str, ...], numeric: bool) -> Iterator[Slip]:
    """Yield what the topmost operation of an expression becomes."""
    match node:
        case ast.BinOp():
            yield from of_operation(node)
        case ast.UnaryOp(op=ast.USub()) if not isinstance(node.operand, ast.Constant):
            yield "sign", node.operand
        case ast.Call():
            yield from of_call(node)
        case ast.Attribute(attr="T"):
            yield "transpose", node.value
        case ast.Attribute() if node.attr in PARTNERS:
            yield "function", ast.Attribute(node.value, PARTNERS[node.attr], node.ctx)
        case ast.Subscript():
            yield from of_index(node)
        case ast.Constant(value=int() | float() as value) if numeric and not isinstance(value, bool):
            yield "number", ast.Constant(value + 1)
            if value not in (0, 1):
                yield "number", ast.Constant(1)
        case ast.Name() if numeric:
            for other in names:
                if other != node.id:
                    yield "name", ast.Name(other, node.ctx)
        case ast.Compare(ops=[op]) if type(op) in REVERSED:
            yield "relation", ast.Compare(node.left, [REVERSED[type(op)]], node.comparators)


def of_operation(node: ast.BinOp) -> Iterator[Slip]:
    """Yield the slips in a sum, a product, a quotient or a power."""
    left, right = node.left, node.right
    match node.op:
        case ast.Mult():
            yield "factor", left
            yield "factor", right
            yield "inverse", ast.BinOp(left, ast.Div(), right)
        case ast.Div():
            yield "factor", left
            yield "inverse", ast.BinOp(left, ast.Mult(), right)
            if isinstance(right, ast.Constant):
                yield "half", ast.Constant(1)
        case ast.Add():
            yield "term", left
            yield "sign", ast.BinOp(left, ast.Sub(), right)
            yield "term", right
        case ast.Sub():
            yield "sign", ast.BinOp(left, ast.Add(), right)
            yield "term", left
            yield "term", right
        case ast.Pow():
            yield "power", left
            yield "power", ast.BinOp(left, ast.Pow(), plus_one(right))
        case ast.MatMult():
            yield "order", ast.BinOp(right, ast.MatMult(), left)


def plus_one(node: ast.expr) -> ast.expr:
    """One more than an expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return ast.Constant(node.value + 1)
    return ast.BinOp(node, ast.Add(), ast.Constant(1))


def of_call(node: ast.Call) -> Iterator[Slip]:
    """Yield the slips in the use of a function."""
    name, values = called(node), [value for value in node.args if not isinstance(value, ast.Starred)]
    method = isinstance(node.func, ast.Attribute) and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id in ("math", "np", "sp", "torch")
    )
    if name in DROPPED and (method or values):
        yield "function", node.func.value if method else values[0]  # type: ignore[attr-defined]
    if isinstance(node.func, ast.Name) and name in PARTNERS:
        yield "function", ast.Call(ast.Name(PARTNERS[name], node.func.ctx), node.args, node.keywords)


def of_index(node: ast.Subscript) -> Iterator[Slip]:
    """Yield the entry before the one that is meant."""
    if isinstance(node.slice, ast.Name):
        before = ast.BinOp(node.slice, ast.Sub(), ast.Constant(1))
        yield "index", ast.Subscript(node.value, before, node.ctx)


def names_of(expression: ast.expr, scope: set[str]) -> tuple[str, ...]:
    """The plain quantities of an expression, and those of the scope that are taken for one of them."""
    inside = [node for node in ast.walk(expression) if isinstance(node, ast.Name)]
    other = {id(call.func) for call in ast.walk(expression) if isinstance(call, ast.Call)}
    other |= {id(node.value) for node in ast.walk(expression) if isinstance(node, ast.Attribute | ast.Subscript)}
    bound = {node.id for node in inside if isinstance(node.ctx, ast.Store)}
    found = dict.fromkeys(node.id for node in inside if id(node) not in other and node.id not in bound)
    twins = (twin for name in found for twin in TWINS.get(name, ()) if twin in scope)
    return tuple(dict.fromkeys((*found, *twins)))
