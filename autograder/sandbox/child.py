"""The grader's end of one submission's process: run its cells, call its functions, read what it prints, within limits.

Nothing of the student's is ever imported, unpickled or evaluated here.
"""

import ctypes
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from autograder.sandbox.inside import frames
from autograder.sandbox.limits import Limits

KIND, MESSAGE = 60, 600  # characters of an error's name, and of what it says: no more goes home
STEPS = 12  # lines of a traceback
STEP = re.compile(r'  File "<cell (\d{1,4})>", line ([1-9]\d{0,5}), in ([^\W\d]\w{0,59}|<\w{1,12}>)')
QUESTION_BYTES = 8 << 20  # of one question that student code asks a function of ours
QUESTIONS_BYTES = 512 << 20  # of all that it asks within one call


class StudentError(Exception):
    """Student code failed: it raised, returned what is no plain data, took too long, or ended. The text is for the student.

    `kind` says which, where the grader itself has seen it: Timeout, Ended, Frame or NotFinite. What a student's own exception is called
    says nothing, since it may have any name.
    """

    def __init__(self, message: str, kind: str = "", trace: str = "") -> None:
        super().__init__(message)
        self.kind, self.trace = kind, trace


class Child:
    """One submission's process. Every method gives plain data, or raises StudentError; none waits longer than its limit.

    `end` ends the process and returns when it is gone; `channel` is our end of its socket, `output` that of its pipe. After `until`, on
    the clock of `time.monotonic`, it is ended (by default, after the time that a whole submission has).
    """

    def __init__(
        self, end: Callable[[], None], channel: socket.socket, output: int, limits: Limits, until: float | None = None
    ) -> None:
        self.end, self.channel, self.limits = end, channel, limits
        self.alive, self.until = True, time.monotonic() + limits.all_seconds if until is None else until
        self.printed, self.instead = bytearray(), {}
        self.cells: list[str] = []  # the notebook's, once they were loaded
        self.changed: list[int] = []  # the arguments, by number, that the last call has changed
        self.reader = threading.Thread(target=self._drain, args=(output,), daemon=True)
        self.reader.start()

    def _drain(self, output: int) -> None:
        """Keep the first bytes of what the child prints, and throw the rest away while it comes."""
        with open(output, "rb", buffering=0) as stream:
            while chunk := stream.read(1 << 16):
                self.printed += chunk[: self.limits.output_bytes - len(self.printed)]

    def load(self, cells: list[str]) -> list[dict[str, str] | None]:
        """Run the cells of a notebook in order; for each, the error that it raised, or None."""
        seconds, self.cells = self.limits.load_seconds, cells
        errors = self._ask({"cells": cells, "seconds": seconds}, seconds, {})
        if type(errors) is not list or len(errors) != len(cells) or not all(e is None or is_report(e) for e in errors):
            raise self._ended("your notebook broke the connection to the grader")
        return [error and self._shown(error) for error in errors]

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What the student's function of that name gives; callables among the arguments run here, and are asked from there.

        Those in `instead` stand in the place of the student's own functions meanwhile.
        """
        callables: dict[str, Callable[..., Any]] = {}

        def reference(function: Callable[..., Any]) -> str:
            callables[str(len(callables))] = function
            return str(len(callables) - 1)

        order = {"call": name, "args": list(args), "kwargs": kwargs, "instead": self.instead}
        request = frames.pack(order, reference)
        return self._ask(request, self.limits.call_seconds, callables)

    def get(self, name: str) -> Any:
        """The value of one of the student's variables."""
        return self._ask({"get": name}, self.limits.call_seconds, {})

    def kill(self) -> None:
        """End it. What it printed stays."""
        if self.alive:
            self.alive = False
            self.channel.close()
            try:
                self.end()
            finally:
                self.reader.join(timeout=5)

    def _ask(self, request: Any, seconds: float, callables: dict[str, Callable[..., Any]]) -> Any:
        """Send one request and answer what comes back until it is answered."""
        if not self.alive:
            raise StudentError("your code ended the process that ran it, earlier in this notebook", "Ended")
        deadline, asked = min(time.monotonic() + seconds, self.until), 0
        named: list[str] = []  # the functions of ours that a message holds

        def resolve(name: str) -> Callable[..., Any]:
            named.append(name)
            if name not in callables:
                raise frames.FrameError("it names a function that it was not given")
            return callables[name]

        try:
            self._send(request if isinstance(request, bytes) else frames.pack(request), deadline)
            while True:
                frame = self._receive(deadline)
                named.clear()
                answer = unpacked(frame, resolve)
                if type(answer) is not dict:
                    raise frames.FrameError("the answer is no answer")
                if "callback" not in answer:
                    if named:
                        raise frames.FrameError("it holds a function of the grader's")
                    break
                asked += len(frame)
                if len(frame) > QUESTION_BYTES or asked > QUESTIONS_BYTES:
                    raise frames.FrameError("it asks a function that it was given about too much data")
                with interrupted_at(deadline):
                    reply = self._called_back(answer, callables)
                self._send(reply, deadline)
        except TimeoutError:
            raise self._ended(
                f"your code was still running after {seconds:g} seconds, and was stopped", "Timeout"
            ) from None
        except (EOFError, ConnectionError, BrokenPipeError):
            raise self._ended(
                "your code ended the process that ran it (exit, a crash, or too much memory)", "Ended"
            ) from None
        except frames.FrameError as error:
            raise self._ended(f"what your code sent back cannot be read: {error}", "Frame") from None
        if "error" in answer:
            raise self._failed(answer["error"])
        changed = answer.get("changed", [])
        if "value" not in answer or type(changed) is not list or not all(type(number) is int for number in changed):
            raise self._ended("your code answered in the place of the grader's service", "Frame")
        self.changed = changed
        return answer["value"]

    def _called_back(self, question: dict[str, Any], callables: dict[str, Callable[..., Any]]) -> bytes:
        """The answer to a function of ours that student code called."""
        function = callables.get(question["callback"]) if type(question["callback"]) is str else None
        args, kwargs = question.get("args"), question.get("kwargs")
        if function is None or type(args) is not list or type(kwargs) is not dict:
            raise frames.FrameError("it calls a function that it was not given")
        try:
            return frames.pack({"value": function(*args, **kwargs)})
        except TimeoutError:
            raise
        except Exception as error:  # wrong arguments are the student's, and their code learns of it; too large ones too
            return frames.pack({"error": f"{type(error).__name__}: {str(error)[:500]}"})

    def _send(self, frame: bytes, deadline: float) -> None:
        self.channel.settimeout(max(0.001, deadline - time.monotonic()))
        self.channel.sendall(frame)

    def _receive(self, deadline: float) -> bytes:
        """One whole frame, before the deadline, whatever the pace at which it comes."""
        header = self._exactly(frames.LENGTHS.size, deadline)
        return header + self._exactly(sum(frames.lengths(header)), deadline)

    def _exactly(self, size: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.channel.settimeout(left)
            chunk = self.channel.recv(min(size - len(found), 1 << 20))
            if not chunk:
                raise EOFError
            found += chunk
        return bytes(found)

    def _failed(self, found: Any) -> StudentError:
        """The error that a child reports, as text and nothing else."""
        if not is_report(found):
            return StudentError("your code failed, and its error cannot be read", "Frame")
        report = self._shown(found)
        return StudentError(f"{report['kind']}: {report['message']}", trace=report["trace"])

    def _shown(self, report: dict[str, str]) -> dict[str, str]:
        """As much of an error as its author needs: it could carry the inputs of a hidden test, in whatever writing.

        So it is short, and of its traceback only the numbers are taken; the lines are those of the notebook that was handed in.
        """
        lines = []
        for step in map(STEP.fullmatch, report["trace"][:8000].split("\n")):
            cell = self.cells[int(step[1]) - 1] if step and 1 <= int(step[1]) <= len(self.cells) else ""
            source = cell.split("\n")
            if step and int(step[2]) <= len(source) and (step[3][0] == "<" or re.search(rf"\b{step[3]}\b", cell)):
                lines += [f"{step[0]}\n", f"    {source[int(step[2]) - 1].strip()[:200]}\n"]
        kind = re.sub(r"\W", "", report["kind"][:KIND])
        return {"kind": kind, "message": report["message"][:MESSAGE], "trace": "".join(lines[-2 * STEPS :])}

    def _ended(self, message: str, kind: str = "Ended") -> StudentError:
        """The error to raise after ending a child that cannot be trusted to go on."""
        self.kill()
        return StudentError(message, kind)


def unpacked(frame: bytes, resolve: Callable[[str], Any]) -> Any:
    """What a frame holds. Raises FrameError where that breaks a rule, or takes more memory than this process may use."""
    try:
        return frames.unpack(frame, resolve)
    except (MemoryError, RuntimeError) as error:  # the latter is what torch raises
        raise frames.FrameError("it takes too much memory") from error


@contextmanager
def interrupted_at(deadline: float) -> Iterator[None]:
    """Inside, raise TimeoutError once it is later than `deadline` (time.monotonic): student code may ask our functions for long work."""
    seconds = max(0.001, deadline - time.monotonic())
    interrupted = by_signal if threading.current_thread() is threading.main_thread() else by_thread
    with interrupted(seconds):
        yield


@contextmanager
def by_signal(seconds: float) -> Iterator[None]:
    """In the main thread: the system's alarm. One that was set before, for more than this, goes on afterwards."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    begun, before = time.monotonic(), signal.signal(signal.SIGALRM, stop)
    later, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if later:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, later - (time.monotonic() - begun)))


@contextmanager
def by_thread(seconds: float) -> Iterator[None]:
    """In any other thread, such as a Dask worker's, which no signal reaches: another thread sends it the exception."""
    thread, raise_in = ctypes.c_ulong(threading.get_ident()), ctypes.pythonapi.PyThreadState_SetAsyncExc
    sending, over = threading.Lock(), False

    def stop() -> None:
        with sending:
            if not over:
                raise_in(thread, ctypes.py_object(TimeoutError))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with sending:
            over = True
            raise_in(thread, None)  # one that was sent and has not arrived must not arrive later
        timer.cancel()


def is_report(found: Any) -> bool:
    """Whether this is the report of an error: three texts."""
    return type(found) is dict and all(type(found.get(key)) is str for key in ("kind", "message", "trace"))
