"""What a hidden suite is written with: points for tests, fresh inputs for each submission, and the functions and files handed in."""

import functools
import hashlib
import hmac
import importlib.util
import math
import re
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from autograder.assignment.source import SOLUTIONS
from autograder.sandbox.child import Child, StudentError
from autograder.sandbox.inside import frames
from autograder.sandbox.limits import Limits
from autograder.sandbox.outside import Sandbox
from autograder.testing.answers import Wrong, as_number, as_tensor, describe, match, shown

Test = TypeVar("Test", bound=Callable[..., None])


def points(task: str, worth: float) -> Callable[[Test], Test]:
    """Mark a test: it belongs to a task (the grade id of a cell) and is worth so many points."""

    def mark(test: Test) -> Test:
        test.points = (task, worth)  # type: ignore[attr-defined]
        return test

    return mark


def power(smallest: str, luck: float = 0.0) -> Callable[[Test], Test]:
    """State what a test can do, which `tools/power.py` measures: the smallest mistake that it must catch, and how often luck fails it.

    `smallest` is the name of a mutant of the assignment, and the test catches it in (nearly) all draws. `luck` is the probability
    that the test refuses a right answer of one submission: 0 where answer and truth differ by rounding alone, and else a bound
    which the test's file derives. A suite's sum of luck is at most 1e-4.
    """

    def mark(test: Test) -> Test:
        test.power = (smallest, luck)  # type: ignore[attr-defined]
        return test

    return mark


def follows(**right: Callable[..., Any]) -> Callable[[Test], Test]:
    """Let a test pass also where the student's earlier functions of these names would have to be right for it.

    So a mistake costs the points of its own task and no others. Where the answer is wrong with the earlier functions right too,
    the message is about what is then still wrong.
    """

    def mark(test: Test) -> Test:
        @functools.wraps(test)
        def with_second_try(student: "Student", **fixtures: Any) -> None:
            try:
                test(student=student, **fixtures)
            except (Wrong, StudentError) as first:
                if isinstance(first, StudentError) and first.kind in ("Ended", "Timeout"):
                    raise
                student.instead = right
                try:
                    test(student=student, **fixtures)
                except StudentError:
                    raise first from None
                finally:
                    student.instead = {}

        return with_second_try  # type: ignore[return-value]

    return mark


class Draw:
    """Inputs drawn afresh for one submission and one test: the same again only for the same submission, course and test."""

    def __init__(self, seed: bytes) -> None:
        number = int.from_bytes(seed[:8], "big") >> 1
        self.numpy = np.random.default_rng(number)
        self.torch = torch.Generator().manual_seed(number)

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return float(self.numpy.uniform(low, high))

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self.numpy.integers(low, high + 1))

    def normal(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.torch, dtype=torch.float64).to(dtype)


def seed_for(secret: bytes, *parts: str) -> bytes:
    """A seed that only the course's secret and these parts decide."""
    return hmac.new(secret, "\0".join(parts).encode(), hashlib.sha256).digest()


class Student:
    """A submission's functions as a test calls them; the sandbox behind it starts again where code ended it."""

    RESTARTS = 5
    AGAIN = 20.0  # seconds for the cells in a new process, where one of them has been stopped before: it will be again

    def __init__(self, sandbox: Sandbox, cells: list[str], limits: Limits) -> None:
        self.sandbox, self.cells, self.limits = sandbox, cells, limits
        self.errors: list[dict[str, str] | None] = []
        self.restarts = -1
        self.instead: Mapping[str, Callable[..., Any]] = {}  # right functions in the place of the student's
        self.child: Child | None = None
        self.until = time.monotonic() + limits.all_seconds  # for all its processes together
        self.hopeless: StudentError | None = None  # the notebook cannot even be loaded

    def ready(self) -> Child:
        """The process with the submission loaded; a new one where the last has ended."""
        if self.hopeless is not None:
            raise self.hopeless
        if self.child is None or not self.child.alive:
            if time.monotonic() > self.until:
                minutes = math.ceil(self.limits.all_seconds / 60)
                raise StudentError(
                    f"your code took the {minutes} minutes that all of it has, so the rest was not run", "Timeout"
                )
            if self.restarts >= self.RESTARTS:
                raise StudentError(
                    f"your code ended its process {self.RESTARTS + 1} times, so the rest was not run", "Ended"
                )
            self.restarts += 1
            stopped = any(error is not None and error["kind"] == "Timeout" for error in self.errors)
            seconds = min(self.limits.load_seconds, self.AGAIN if stopped else math.inf)
            self.child = self.sandbox.spawn(self.limits._replace(load_seconds=seconds), self.until)
            try:
                self.errors = self.child.load(self.cells)
            except StudentError as error:
                self.hopeless = error
                raise
        return self.child

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What a function of the student's returns: plain data without NaN or infinity. Raises StudentError."""
        child = self.ready()
        child.instead = dict(self.instead)
        return self.checked(name, child.call(name, *args, **kwargs))

    def unchanged(self, function: str, *names: str) -> None:
        """Raise Wrong where the last call has changed one of its arguments, whose names these are, in their order."""
        for number in self.child.changed if self.child is not None else []:
            if 0 <= number < len(names):
                name = names[number]
                raise Wrong(
                    f"{function} changes the {name} that it is given, which its caller may need again: make new tensors instead of "
                    f"changing {name} in place (no {name} += ..., no {name}.mul_(...))"
                )

    def get(self, name: str) -> Any:
        """The value of a variable of the student's."""
        return self.checked(name, self.ready().get(name))

    def checked(self, name: str, value: Any) -> Any:
        """The value, where all its numbers are finite."""
        try:
            frames.check_finite(value)
        except frames.FrameError:
            raise StudentError(f"{name} returned NaN or infinity", "NotFinite") from None
        return value

    def number(self, name: str, *args: Any, **kwargs: Any) -> float:
        """A call that must return one number."""
        return as_number(name, self.call(name, *args, **kwargs))

    def tensor(self, name: str, *args: Any, shape: tuple[int, ...] | None = None, **kwargs: Any) -> Tensor:
        """A call that must return a tensor or an array of numbers, as float64, of the given shape."""
        return as_tensor(name, self.call(name, *args, **kwargs), shape)

    def tensors(self, name: str, *args: Any, shapes: list[tuple[int, ...]]) -> list[Tensor]:
        """A call that must return several tensors or arrays of numbers, of the given shapes."""
        found = self.call(name, *args)
        if type(found) is not list or len(found) != len(shapes):
            raise Wrong(f"{name} should return {len(shapes)} tensors; it returned {describe(found)}")
        return [as_tensor(name, value, shape) for value, shape in zip(found, shapes, strict=True)]

    def close(self) -> None:
        """End the process."""
        if self.child is not None:
            self.child.kill()


class Files:
    """The files that were handed in, which may hold anything at all, and the name of whoever did."""

    def __init__(self, contents: Mapping[str, bytes], refused: Mapping[str, str], student: str = "") -> None:
        self.contents, self.refused, self.student = contents, refused, student

    def content(self, name: str) -> bytes:
        """The bytes of a file. Raises Wrong where it was not handed in, or could not be taken."""
        if name in self.refused:
            raise Wrong(self.refused[name])
        if name not in self.contents:
            raise Wrong(f"{name} was not handed in: run the cell that writes it, and hand it in beside the notebook")
        return self.contents[name]

    def text(self, name: str) -> str:
        """A file of text. Raises Wrong where it is none."""
        try:
            return self.content(name).decode()
        except UnicodeDecodeError:
            raise Wrong(f"{name} is no text: write it again with the notebook's own cell") from None

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The finite tensors of a safetensors file. Raises Wrong where it is none."""
        try:
            found = frames.parse_block(self.content(name))
            frames.check_finite(found)
        except frames.FrameError as error:
            raise Wrong(f"{name} cannot be used: {error}; write it again with the notebook's own cell") from None
        return found


def own_name(student: Student, files: Files, made: str, again: str) -> str:
    """The student's NAME, of which something is made that is theirs alone. Raises Wrong where it is not the name of whoever handed it in.

    `made` says what is made of it, and `again` what has to be done once more with the right one.
    """
    said = student.get("NAME")
    if type(said) is not str or not said.strip():
        raise Wrong(f"NAME should be your name, a text: {made}")
    if said.strip().casefold() != files.student.strip().casefold():
        raise Wrong(
            f"NAME is {said.strip()[:80]!r}, and this was handed in by {files.student!r}: {made}. Set NAME to the name of your folder, "
            f"and {again}; if you cannot know that name, ask your instructor"
        )
    return said


def given(assignment: str, name: str) -> ModuleType:
    """A module that students get with an assignment, for a test that has to do as it does."""
    file = SOLUTIONS / assignment / "given" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"given_{assignment}_{name}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example(
    student: Student, otherwise: str, function: str, *args: Any, right: Any, asked: str = "", name: str = ""
) -> Callable[[], str]:
    """A message for a mistake that no list names: `otherwise`, and one example, the same for all: asked, expected, got.

    `args` are fixed, never drawn; `asked` says what they are where they are too long to be shown, and `name` which line of a dict
    is meant. The student's function is asked only when the message is needed.
    """

    def message() -> str:
        question = asked or f"{function}({', '.join(shown(arg) for arg in args)})"
        question += f"[{name!r}]" if name else ""
        try:
            got = student.call(function, *args)
            got = shown(got.get(name, got) if name and type(got) is dict else got)
        except StudentError as error:
            got = f"the error {redacted(str(error))[:200]}"
        return f"{otherwise}; for example {question} should be {shown(right)}, and yours gives {got}"

    return message


def line(student: Student, function: str, name: str, *args: float) -> float:
    """One line of a derivation, at numbers."""
    found = student.call(function, *args)
    if type(found) is dict and name not in found:  # which may be written with capitals
        found = {key.strip().lower(): value for key, value in found.items()}
    if type(found) is not dict or name not in found:
        raise Wrong(f"{function} should return a dict with the line {name!r}; it returned {describe(found)}")
    if type(found[name]) is str:
        raise Wrong(f"line {name!r} of {function}: {redacted(found[name])[:300]}")
    return as_number(f"line {name!r} of {function}", found[name])


def first_wrong_line(
    student: Student,
    function: str,
    args: tuple[float, ...],
    right: Mapping[str, float],
    mistakes: Mapping[str, Mapping[str, float]],
    fixed: tuple[tuple[float, ...], Mapping[str, float]] | None = None,
) -> None:
    """Raise Wrong at the first line, in order, that is not right.

    `fixed` holds arguments that are the same for all, and each line's value there, as an example for a mistake that has no name.
    """
    for name, value in right.items():
        known = {f"line {name!r}: {text}": wrong for text, wrong in mistakes.get(name, {}).items()}
        otherwise = f"line {name!r} of {function} is the first that is wrong"
        match(
            line(student, function, name, *args),
            value,
            known,
            otherwise
            if fixed is None
            else example(student, otherwise, function, *fixed[0], right=fixed[1][name], name=name),
        )


def redacted(text: str) -> str:
    """A student's error message without long numbers, which might be inputs of a hidden test."""
    return re.sub(r"-?\d+\.\d{3,}(e[+-]?\d+)?|\d{6,}", "…", text)
