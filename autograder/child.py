"""Inside the sandbox: run the cells of a submission, then answer calls of its functions with plain data.

Nothing here is trusted by the grader: student code shares this process and may change all of it. What it can send is a frame.
"""

import linecache
import socket
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, BinaryIO

import sympy

from autograder import frames

LINES = 12  # of a traceback


def serve(channel: socket.socket) -> None:
    """Answer requests until the grader hangs up: {"cells": [...]}, {"call": name, ...} or {"get": name}.

    A call may bring functions that stand in the place of the student's own of the same names until it is answered.
    """
    stream: Any = channel.makefile("rwb", buffering=1 << 16)
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
            return {"value": [run_cell(student, source, number) for number, source in enumerate(request["cells"], 1)]}
        name: str = request["call"] if "call" in request else request["get"]
        found: Any = student
        for part in name.split("."):
            if not hasattr(found, part):
                raise NameError(f"your notebook does not define {name}")
            found = getattr(found, part)
        return {"value": numbers(found(*request["args"], **request["kwargs"]) if "call" in request else found)}
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: student code must not end the service
        return {"error": described(error)}
    finally:
        for name in instead:
            student.__dict__.pop(name, None)
        student.__dict__.update({name: own[name] for name in instead if name in own})


def numbers(value: Any) -> Any:
    """The value with SymPy's numbers as floats: an expression crosses as what it is worth, never as code."""
    if isinstance(value, sympy.Basic):
        if value.free_symbols:
            raise TypeError(
                f"for plain numbers the result should be a number; it still holds {sorted(map(str, value.free_symbols))}"
            )
        return float(sympy.N(value))  # type: ignore[arg-type]
    if type(value) in (list, tuple):
        return [numbers(item) for item in value]
    return {key: numbers(item) for key, item in value.items()} if type(value) is dict else value


def run_cell(student: types.ModuleType, source: str, number: int) -> dict[str, str] | None:
    """Execute one cell in the student's module; the error that it raised, or None."""
    from IPython.core.inputtransformer2 import TransformerManager

    name = f"<cell {number}>"
    try:
        plain = TransformerManager().transform_cell(without_magics(source))
        linecache.cache[name] = (len(plain), None, plain.splitlines(keepends=True), name)
        exec(compile(plain, name, "exec"), student.__dict__)
    except BaseException as error:
        return described(error)
    return None


def without_magics(source: str) -> str:
    """The source with lines such as %matplotlib or !pip blanked, which only a notebook understands."""
    if source.lstrip().startswith("%%"):
        return ""
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())


def described(error: BaseException) -> dict[str, str]:
    """An error's kind, message, and the lines of student code that led to it."""
    try:
        steps = [step for step in traceback.extract_tb(error.__traceback__) if step.filename.startswith("<cell")]
        trace = "".join(traceback.format_list(steps[-LINES:]))
        message = str(error)
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
