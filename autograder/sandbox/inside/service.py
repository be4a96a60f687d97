"""Inside the sandbox: run the cells of a submission, then answer calls of its functions with plain data.

Nothing here is trusted by the grader: student code shares this process and may change all of it. What it can send is a frame.
"""

import ast
import linecache
import signal
import socket
import sys
import time
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
import sympy
import torch

from autograder.sandbox.inside import frames, hints

LINES = 12  # of a traceback
TOLD = 30  # failed cells whose errors are told at length
Errors = list[dict[str, str] | None]


class Timeout(BaseException):
    """A cell took too long. No Exception, which a loop of the student's might catch."""


def serve(channel: socket.socket) -> None:
    """Answer requests until the grader hangs up: {"cells": [...]}, {"call": name, ...} or {"get": name}.

    A call may bring functions that stand in the place of the student's own of the same names until it is answered.
    """
    stream: Any = channel.makefile("rwb", buffering=1 << 16)
    hints.without_compiler()
    sys.stdout = sys.stderr = open(1, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115 (as long as we live)
    student = types.ModuleType("__main__")
    sys.modules["__main__"] = student
    while True:
        try:
            request = frames.unpack(frames.read(stream), lambda name: callback(stream, name))
        except EOFError:
            return
        answer = attempt(student, request)
        try:
            frame = frames.pack(answer, None)
        except Exception as error:
            frame = frames.pack({"error": {"kind": type(error).__name__, "message": str(error)[:500], "trace": ""}})
        stream.write(frame)
        stream.flush()


def attempt(student: types.ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    """What a request gives, or the error that it raised."""
    instead, own = request.get("instead", {}), dict(student.__dict__)
    try:
        student.__dict__.update(instead)
        if "cells" in request:
            return {"value": run_cells(student, list(enumerate(request["cells"], 1)), request["seconds"])}
        name: str = request["call"] if "call" in request else request["get"]
        found: Any = student
        for part in name.split("."):
            if not hasattr(found, part):
                raise NameError(f"your notebook does not define {name}")
            found = getattr(found, part)
        if "get" in request:
            return {"value": numbers(found)}
        before = [kept(arg) for arg in request["args"]]
        value = called(found, request["args"], request["kwargs"])
        pairs = enumerate(zip(before, request["args"], strict=True))
        return {"value": value, "changed": [number for number, (old, new) in pairs if not same(old, new)]}
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: student code must not end the service
        return {"error": described(error)}
    finally:
        for name in instead:
            student.__dict__.pop(name, None)
        student.__dict__.update({name: own[name] for name in instead if name in own})


def kept(value: Any) -> Any:
    """A copy of what a call might change in its argument: the numbers of a tensor or an array, the items of a list or a dict."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    return value.copy() if isinstance(value, np.ndarray | list | dict) else value


def same(old: Any, new: Any) -> bool:
    """Whether an argument is what it was before the call."""
    if isinstance(old, torch.Tensor | np.ndarray):
        return tuple(old.shape) == tuple(new.shape) and bool((old == new).all())
    return old == new if isinstance(old, list | dict) and all(type(item) in (int, float, str) for item in old) else True


def called(function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What a function gives. One that fails for plain numbers is asked with symbols, and the numbers are put in afterwards."""
    try:
        return numbers(function(*args, **kwargs))
    except Exception:
        if kwargs or not args or not all(type(arg) in (int, float) for arg in args):
            raise
        symbols = [sympy.Symbol(f"x{number}", real=True) for number in range(len(args))]
        with suppress(Exception):  # the first error says more
            return numbers(function(*symbols), dict(zip(symbols, args, strict=True)))
        raise


def numbers(value: Any, at: dict[Any, float] | None = None) -> Any:
    """The value with SymPy's numbers as floats: an expression crosses as what it is worth (`at` some symbols), never as code."""
    if isinstance(value, sympy.Basic):
        value = value.subs(at or {}).doit()
        if value.free_symbols:
            raise TypeError(
                f"for plain numbers the result should be a number; it still holds {sorted(map(str, value.free_symbols))}"
            )
        return float(sympy.N(value))  # type: ignore[arg-type]
    if isinstance(value, list | tuple | range):  # named ones and other children of theirs too
        return [numbers(item, at) for item in value]
    return {key: entry(item, at) for key, item in value.items()} if isinstance(value, dict) else value


def entry(value: Any, at: dict[Any, float] | None) -> Any:
    """One line of a derivation, or why it is no number: a text, so that the other lines cross."""
    try:
        return numbers(value, at)
    except TypeError as error:
        return str(error)


def run_cells(student: types.ModuleType, cells: list[tuple[int, str]], seconds: float) -> Errors:
    """Execute numbered cells in the student's module, for at most so many seconds; the errors that they raised, or None.

    Each cell may take half of the time that is left, so that one that never ends costs what it defines, and no other.
    """
    student.__dict__.update(get_ipython=lambda: Shell(student.__dict__), display=lambda *objects, **options: None)
    until = time.monotonic() + 0.9 * seconds
    errors: Errors = []
    for number, source in cells:
        error = run_cell(student, source, number, (until - time.monotonic()) / 2)
        if error is not None and sum(one is not None for one in errors) >= TOLD:
            error = {**error, "message": error["message"][:200], "trace": ""}  # a message has an end
        errors.append(error)
    return errors


def run_cell(student: types.ModuleType, source: str, number: int, seconds: float) -> dict[str, str] | None:
    """Execute one cell in the student's module; the error that it raised, or None."""

    def stop(*_: Any) -> None:
        raise Timeout(
            f"it was still running after {seconds:.0f} seconds, and was stopped: what trains or measures belongs into "
            "the cell that the notebook has for it, which does not run in grading"
        )

    name = f"<cell {number}>"
    alarm = hasattr(signal, "SIGALRM")  # Windows, where students may check their notebooks, has none
    if alarm:
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds), 1)
    try:
        execute(source, student.__dict__, name)
    except BaseException as error:
        return described(error)
    finally:
        if alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def execute(source: str, names: dict[str, Any], file: str) -> None:
    """Execute a cell's source as a notebook does, but for one thing: an import that fails costs what needs it, and no other line.

    Raises what the cell raises; where that is nothing, the error of the first import that failed.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    plain = TransformerManager().transform_cell(source)
    linecache.cache[file] = (len(plain), None, plain.splitlines(keepends=True), file)
    failed: ImportError | None = None
    for statements in parts(ast.parse(plain, file)):
        try:
            exec(compile(ast.Module(statements, []), file, "exec"), names)
        except ImportError as error:
            if not isinstance(statements[0], ast.Import | ast.ImportFrom):
                raise
            failed = failed or error
    if failed is not None:
        raise failed


def parts(cell: ast.Module) -> list[list[ast.stmt]]:
    """The statements of a cell, each import by itself; all together where the cell changes how it is to be read."""
    if any(isinstance(one, ast.ImportFrom) and one.module == "__future__" for one in cell.body):
        return [cell.body]
    found: list[list[ast.stmt]] = []
    for statement in cell.body:
        alone = isinstance(statement, ast.Import | ast.ImportFrom)
        if alone or not found or isinstance(found[-1][0], ast.Import | ast.ImportFrom):
            found.append([statement])
        else:
            found[-1].append(statement)
    return found


class Shell:
    """What `get_ipython()` gives: of the magics that only a notebook understands, those that run code do so; the others do nothing."""

    RUN = ("time", "capture", "prun")

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def run_line_magic(self, name: str, line: str, *_: Any) -> None:
        """Lines such as %matplotlib inline, and %time x = f()."""
        if name in self.RUN:
            execute(line, self.names, f"<cell %{name}>")

    def run_cell_magic(self, name: str, _: str, cell: str) -> None:
        """Cells that begin with %%time and the like."""
        if name in self.RUN:
            execute(cell, self.names, f"<cell %%{name}>")

    def system(self, _: str) -> None:
        """Lines such as !pip install."""

    def getoutput(self, _: str) -> list[str]:
        """Lines such as files = !ls."""
        return []


def described(error: BaseException) -> dict[str, str]:
    """An error's kind, message, and the lines of student code that led to it."""
    try:
        steps = [step for step in traceback.extract_tb(error.__traceback__) if step.filename.startswith("<cell")]
        trace = "".join(traceback.format_list(steps[-LINES:]))
        message = str(error)
        if hint := hints.hint(error):
            message = f"{message[:300]} ({hint})"
    except BaseException:  # an exception of the student's own making may fail to describe itself
        trace, message = "", "(an error that cannot be described)"
    return {"kind": type(error).__name__[:100], "message": message[:2000], "trace": trace[:8000]}


def callback(stream: BinaryIO, name: str) -> Callable[..., Any]:
    """A function that lives in the grader: calling it asks there."""

    def ask(*args: Any, **kwargs: Any) -> Any:
        question = {"callback": name, "args": numbers(args), "kwargs": numbers(kwargs)}
        stream.write(frames.pack(question, named))
        stream.flush()
        answer = frames.unpack(frames.read(stream))
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    ask.name = name  # type: ignore[attr-defined]
    return ask


def named(function: Callable[..., Any]) -> str:
    """The name of a function that lives in the grader, for when it is an argument of another. Raises FrameError for any other."""
    if type(name := getattr(function, "name", None)) is not str:
        raise frames.FrameError("a function of your own cannot be sent to the grader")
    return name
