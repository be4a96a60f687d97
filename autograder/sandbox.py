"""The grader's side of the sandbox: start it, hand it a submission, call the student's functions, and end it whatever it does.

Nothing of the student's is ever imported, unpickled or evaluated here. No bubblewrap, no grading: `Sandbox` fails closed.
"""

import json
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from autograder import frames

HERE = Path(__file__).resolve().parent
INSIDE = ("__init__.py", "frames.py", "linux.py", "zygote.py", "child.py")  # all that a sandbox sees of this package
READY_SECONDS = 120.0


class Limits(NamedTuple):
    """What a submission may use. Times in seconds, sizes in bytes; `call_seconds` is the wall time of one call."""

    call_seconds: float = 20.0
    load_seconds: float = 120.0
    cpu_seconds: int = 600
    memory_bytes: int = 2 << 30
    processes: int = 32
    file_bytes: int = 64 << 20
    tmp_bytes: int = 128 << 20
    output_bytes: int = 1 << 20


class SandboxError(RuntimeError):
    """The sandbox itself could not be started: nothing may be graded."""


class StudentError(Exception):
    """Student code failed: it raised, returned what is no plain data, took too long, or ended. The text is for the student."""

    def __init__(self, message: str, kind: str = "", trace: str = "") -> None:
        super().__init__(message)
        self.kind, self.trace = kind, trace


class Sandbox:
    """A bubblewrap sandbox with a warm Python in it, from which each submission gets a clean child.

    `course` is the folder that holds the `course_lib` that students see; `modules` are imported before the first child.
    """

    def __init__(self, course: Path, modules: tuple[str, ...] = ()) -> None:
        if shutil.which("bwrap") is None:
            raise SandboxError("bubblewrap (bwrap) is not installed, and without it nothing is graded: apt install bubblewrap")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        base, packages = Path(sys.base_prefix), Path(sysconfig.get_path("purelib"))
        binds = {f"/grader/autograder/{name}": str(HERE / name) for name in INSIDE}
        binds |= {"/course/course_lib": str(course / "course_lib"), "/packages": str(packages)}
        if not base.is_relative_to("/usr"):
            binds[str(base)] = str(base)
        environment = {
            **{"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONPATH": "/grader:/course:/packages"},
            **{"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "MPLCONFIGDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},
        }
        python = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
        spec = {
            "binds": binds,
            "environment": environment,
            "command": [python, "-s", "-m", "autograder.zygote", *modules],
            "tmp_bytes": 64 << 20,
        }
        self.children = 0
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(HERE / "launch.py"), json.dumps(spec)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            preexec_fn=None,
        )
        theirs.close()
        self.control = ours
        self.control.settimeout(READY_SECONDS)
