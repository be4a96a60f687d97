"""The sandbox from outside: start it, let it make a clean process for each submission, and end it whatever goes on inside.

No bubblewrap, no grading: `Sandbox` fails closed.
"""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.sandbox.limits import USUAL, Limits

if TYPE_CHECKING:
    from autograder.sandbox.child import Child

HERE = Path(__file__).resolve().parent
INSIDE = HERE / "inside"  # all that a sandbox sees of this package
# Installed packages in which answers stand ready; ours too, where they are installed and not merely linked.
HIDDEN = ("diffusers", "denoising_diffusion_pytorch", "course_lib", "autograder", "solutions", "benchmarks")
# Files of an installer in which the instructor's paths stand, and folders below /usr in which administrators keep what is not for all.
TELLING = ("*.pth", "*.egg-link", "__editable__*.py", "__pycache__/__editable__*", "*.dist-info/direct_url.json")
PRIVATE = ("/usr/etc", "/usr/local/etc", "/usr/local/src", "/usr/src")
READY_SECONDS = 120.0


class SandboxError(RuntimeError):
    """The sandbox itself could not be started: nothing may be graded."""


def hidden_folders(base: Path, packages: Path) -> list[str]:
    """What is not shown of that which is, by its path inside: HIDDEN packages, those of the machine's own Python too, and PRIVATE folders.

    `base` is where this Python was installed, `packages` its site-packages. The course itself is hidden where it lies in a folder that
    is shown.
    """
    shown = (base, Path("/usr"))
    own = {folder for top in (*shown, Path("/usr/local")) for folder in (top / "lib").glob("python3*/*-packages")}
    if any(packages.is_relative_to(folder) for folder in shown):  # in an environment of Conda, say
        own.add(packages)
    places = [(packages, Path("/packages")), *((folder, folder) for folder in sorted(own))]
    found = [inside / name for outside, inside in places for name in HIDDEN if (outside / name).is_dir()]
    found += [Path(folder) for folder in PRIVATE if os.path.isdir(folder)]
    course = HERE.parents[1]
    if any(course.is_relative_to(folder) for folder in shown) and not base.is_relative_to(course):
        found.append(course)
    return [str(folder) for folder in found]


class Sandbox:
    """A bubblewrap sandbox with a warm Python in it, from which each submission gets a clean child.

    It is started here and warms up by itself, while this process imports what it needs; the first child waits until it is ready.

    `course` is the folder that holds the `course_lib` that students see, `given` the files that lie beside their notebooks;
    `modules` are imported before the first child. Raises SandboxError where there is no bubblewrap, or no course_lib.
    """

    def __init__(self, course: Path, modules: tuple[str, ...] = (), given: Iterable[Path] = ()) -> None:
        if shutil.which("bwrap") is None:
            raise SandboxError(
                "bubblewrap (bwrap) is not installed, and without it nothing is graded: apt install bubblewrap"
            )
        if not (course / "course_lib").is_dir():
            raise SandboxError(f"there is no course_lib in {course}, so nothing is graded: build the assignments first")
        base, packages = Path(sys.base_prefix), Path(sysconfig.get_path("purelib"))
        if any(base.is_relative_to(place) for place in ("/tmp", "/dev/shm")):
            raise SandboxError(
                f"this Python lies in {base}, where each submission gets an empty folder of its own, so nothing is graded: install "
                "Python elsewhere"
            )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        binds = {"/grader/autograder/sandbox/inside": str(INSIDE)}
        binds |= {"/course/course_lib": str(course / "course_lib"), "/packages": str(packages)}
        for file in given:
            without = course / "given" / file.name  # where something of it is withheld
            binds[f"/course/{file.name}"] = str(without if without.exists() else file)
        if not base.is_relative_to("/usr"):
            binds[str(base)] = str(base)
        binds |= {
            f"/packages/{file.relative_to(packages)}": os.devnull for kind in TELLING for file in packages.glob(kind)
        }
        hidden = hidden_folders(base, packages)
        environment = {
            **{"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONPATH": "/grader:/course:/packages"},
            **{"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "MPLCONFIGDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},
        }
        python = str(base / "bin" / f"python3.{sys.version_info.minor}")
        spec = {
            "binds": binds,
            "hidden": hidden,
            "environment": environment,
            "command": [python, "-s", "-m", "autograder.sandbox.inside.zygote", str(theirs.fileno()), *modules],
            "tmp_bytes": 64 << 20,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(HERE / "launch.py"), json.dumps(spec)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.numbers, self.lock, self.control = itertools.count(), threading.Lock(), ours
        self.warm: bool | None = None  # not known yet
        self.complaint = ""

    def ready(self) -> None:
        """Wait until it is warm. Raises SandboxError, with what it said, where it did not start."""
        with self.lock:
            if self.warm is None:
                self.warm = self._says_ready()
        if not self.warm:
            self.close()
            raise SandboxError(f"the sandbox did not start, so nothing is graded: {self.complaint}")

    def _says_ready(self) -> bool:
        """Whether that is its first word, which it has so long to say."""
        try:
            self.control.settimeout(READY_SECONDS)
            return self.control.recv(16) == b"ready"
        except OSError:
            return False

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything in the sandbox, and keep what it complained of."""
        self.control.close()
        self.process.kill()
        if self.process.stderr is not None and not self.process.stderr.closed:
            _, complaint = self.process.communicate()
            self.complaint = complaint.decode(errors="replace").strip()[-2000:]

    def spawn(self, limits: Limits = USUAL, until: float | None = None) -> "Child":
        """A clean child, with nothing in it yet, which is ended after `until`. Raises SandboxError where there can be none."""
        from autograder.sandbox.child import Child  # and with it torch, by now

        self.ready()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        output, theirs_output = os.pipe()
        number = next(self.numbers)
        order = {"do": "spawn", "child": number, "limits": limits._asdict()}
        try:
            with self.lock:
                socket.send_fds(self.control, [json.dumps(order).encode()], [theirs.fileno(), theirs_output])
        except OSError as error:
            ours.close()
            os.close(output)
            raise SandboxError("the sandbox ended unexpectedly") from error
        finally:
            theirs.close()
            os.close(theirs_output)
        return Child(partial(self.kill, number), ours, output, limits, until)

    def kill(self, number: int) -> None:
        """End a child and all that it started, and wait until they are gone."""
        with self.lock:
            try:
                self.control.send(json.dumps({"do": "kill", "child": number}).encode())
                if self.control.recv(16) != b"killed":
                    raise ConnectionError
            except OSError as error:  # the sandbox itself is gone, and the child with it
                self.process.kill()
                raise SandboxError("the sandbox ended unexpectedly") from error
