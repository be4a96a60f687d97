"""The sandbox holds: student code gets what it needs, and neither sees, keeps nor breaks anything else."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from autograder.sandbox import outside
from autograder.sandbox.child import Child, Limits, StudentError
from autograder.sandbox.inside import zygote
from autograder.sandbox.outside import Sandbox, SandboxError

QUICK = Limits(call_seconds=3, load_seconds=10, cpu_seconds=5, memory_bytes=512 << 20)
Start = Callable[..., Child]


@pytest.fixture
def start(sandbox: Sandbox) -> Iterator[Start]:
    """Start a child with cells; all are ended after the test."""
    children = []

    def run(*cells: str, limits: Limits = QUICK) -> Child:
        child = sandbox.spawn(limits)
        children.append(child)
        child.errors = child.load(list(cells))  # type: ignore[attr-defined]
        return child

    yield run
    for child in children:
        child.kill()


# --- it serves --------------------------------------------------------------------------------------------------------------


def test_functions_are_called_with_plain_data_and_variables_are_read(start: Start) -> None:
    child = start("import torch\nscale = 3", "def f(x, *, shift=0):\n    return {'y': scale * x + shift, 'n': len(x)}")
    found = child.call("f", torch.arange(3.0), shift=1)
    assert torch.equal(found["y"], torch.tensor([1.0, 4.0, 7.0])) and found["n"] == 3
    assert child.get("scale") == 3


def test_a_cell_that_fails_is_reported_with_its_line_and_the_next_runs(start: Start) -> None:
    child = start("a = 1\nb = a / 0", "c = 5", "%matplotlib inline\n!rm -rf /\nd = 6", "%%bash\nexit", "class")
    failed, *rest, syntax = child.errors
    assert failed["kind"] == "ZeroDivisionError" and 'File "<cell 1>", line 2' in failed["trace"]
    assert rest == [None] * 3 and syntax["kind"] == "SyntaxError"
    assert child.get("c") == 5 and child.get("d") == 6


def test_an_import_that_fails_costs_what_needs_it(start: Start) -> None:
    child = start(
        "a = 1\nimport no_such_package as n\nimport math\nfrom no_other import thing\nb = math.sqrt(4)\ndef f(): return n.x",
        "from __future__ import annotations\nimport no_third\nc = 3",
        "try:\n    import no_such_package\nexcept ImportError:\n    d = 4",
        "raise ImportError('my own')\ne = 5",
    )
    first, second, third, fourth = child.errors
    assert first["message"] == "No module named 'no_such_package'" and "line 2" in first["trace"]
    assert child.get("a") == 1 and child.get("b") == 2 and third is None and child.get("d") == 4
    assert second["message"] == "No module named 'no_third'" and fourth["message"] == "my own"
    with pytest.raises(StudentError, match="name 'n' is not defined"):
        child.call("f")
    for name in "ce":
        with pytest.raises(StudentError, match=f"does not define {name}"):
            child.get(name)


def test_an_error_in_a_function_names_the_students_line(start: Start) -> None:
    child = start("def f(x):\n    y = x + 1\n    return y.missing")
    with pytest.raises(StudentError, match="AttributeError: 'int' object has no attribute 'missing'") as caught:
        child.call("f", 1)
    assert "line 3, in f" in caught.value.trace and "/grader" not in caught.value.trace
    with pytest.raises(StudentError, match="NameError: your notebook does not define g"):
        child.call("g")


def test_functions_of_ours_are_asked_from_inside_and_run_outside(start: Start) -> None:
    child, asked = (
        start("def sample(model, x, steps):\n    for t in range(steps, 0, -1):\n        x = model(x, t)\n    return x"),
        [],
    )

    def model(x: torch.Tensor, t: int) -> torch.Tensor:
        asked.append((t, os.getpid()))
        return x + t

    assert torch.equal(child.call("sample", model, torch.zeros(2), 3), torch.full((2,), 6.0))
    assert asked == [(t, os.getpid()) for t in (3, 2, 1)]
    with pytest.raises(StudentError, match="RuntimeError: TypeError: can only concatenate str"):
        child.call("sample", model, "text", 1)


def test_what_is_no_plain_data_does_not_cross_and_the_child_goes_on(start: Start) -> None:
    child = start("def f():\n    return object()\ndef g():\n    return 2")
    with pytest.raises(StudentError, match="a object cannot be sent"):
        child.call("f")
    assert child.call("g") == 2


def test_what_is_printed_is_kept_up_to_its_cap(start: Start) -> None:
    child = start("print('hello')", "import os\nfor _ in range(300):\n    os.write(1, b'x' * 100_000)")
    child.kill()
    assert child.printed.startswith(b"hello\n") and len(child.printed) == QUICK.output_bytes


# --- it ends what does not end ----------------------------------------------------------------------------------------------

ENDINGS = {
    "an endless loop": ("while True: pass", "still running after 3 seconds"),
    "a loop that swallows everything": (
        "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "still running",
    ),
    "ignored signals": (
        "import signal, time\n    for s in range(1, 65):\n        try: signal.signal(s, signal.SIG_IGN)\n"
        "        except (OSError, ValueError): pass\n    time.sleep(100)",
        "still running",
    ),
    "a hard exit": ("import os\n    os._exit(0)", "ended the process"),
    "a crash": ("import ctypes\n    ctypes.string_at(0)", "ended the process"),
    "a killed process": ("import os\n    os.kill(os.getpid(), 9); os.abort()", "ended the process"),
    "a closed channel": ("import os\n    os.closerange(3, 100)", "ended the process|still running"),
    "a stolen channel": ("import os\n    while True: os.read(3, 1)", "still running"),
    "forged bytes": ("import os\n    os.write(3, b'\\xff' * 100)", "cannot be read: the frame is larger"),
    "a forged frame": (
        "import os\n    os.write(3, b'\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x005')",
        "the answer is no answer",
    ),
    "a forged answer": (
        "import os, json\n    t = json.dumps({'oops': 1}).encode()\n    os.write(3, len(t).to_bytes(4, 'big') + bytes(4) + t)",
        "answered in the place",
    ),
    "a forged callback": (
        "import os, json\n    t = json.dumps({'callback': '__import__', 'args': ['os'], 'kwargs': {}}).encode()\n"
        "    os.write(3, len(t).to_bytes(4, 'big') + bytes(4) + t)",
        "a function that it was not given",
    ),
    "a frame that never ends": (
        "import os, time\n    os.write(3, (100).to_bytes(4, 'big') + bytes(4) + b'1')\n    time.sleep(50)",
        "still running",
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_call_that_does_not_end_well_costs_this_call_alone(start: Start, sandbox: Sandbox, name: str) -> None:
    body, message = ENDINGS[name]
    child, neighbour = start(f"def f():\n    {body}"), start("def f():\n    return 1")
    begun = time.monotonic()
    with pytest.raises(StudentError, match=message):
        child.call("f")
    assert time.monotonic() - begun < QUICK.call_seconds + 3
    with pytest.raises(StudentError, match="ended the process that ran it"):
        child.call("f")
    assert neighbour.call("f") == 1


def test_exit_is_an_error_like_any_other(start: Start) -> None:
    child = start("raise SystemExit(3)", "def f():\n    raise KeyboardInterrupt", "x = 1")
    assert child.errors[0]["kind"] == "SystemExit" and child.get("x") == 1
    with pytest.raises(StudentError, match="KeyboardInterrupt"):
        child.call("f")
    assert child.get("x") == 1


def test_an_error_that_cannot_be_described_is_an_error_like_any_other(start: Start) -> None:
    child = start("class E(Exception):\n    def __str__(self): raise self\n", "def f():\n    raise E")
    with pytest.raises(StudentError, match="cannot be described"):
        child.call("f")


def test_a_cell_that_does_not_end_costs_no_other(start: Start) -> None:
    endless = "while True:\n    try:\n        pass\n    except Exception:\n        pass"
    child = start("x = 1", endless, "def f(): return x + 1", limits=QUICK._replace(load_seconds=4))
    errors: Any = child.errors  # type: ignore[attr-defined]
    assert [error and error["kind"] for error in errors] == [None, "Timeout", None]
    assert "does not run in grading" in errors[1]["message"] and child.call("f") == 2


def test_what_only_a_notebook_understands_runs_or_does_nothing_and_nothing_else_is_changed(start: Start) -> None:
    child = start(
        "%matplotlib inline\n!pip install nothing\nfiles = !ls\n%time x = 3\n%timeit x\nx?\ndisplay(x)",
        "%%time\ndef f():\n    r = (17\n    % 5)\n    return [r, x, files, '''\n%d items\n!''']",
        "%%bash\nnothing of this runs",
    )
    assert child.errors == [None] * 3 and child.call("f") == [2, 3, [], "\n%d items\n!"]  # type: ignore[attr-defined]


def test_a_function_that_needs_symbols_gets_symbols(start: Start) -> None:
    child = start(
        "import sympy as sp",
        "def f(x, a):\n    line = -((x - a) ** 2)\n    return {'line': line, 'slopes': [sp.diff(line, x)]}",
        "def g(x, a):\n    return sp.diff(x * sp.Symbol('y'), x)\ndef h(x):\n    raise ValueError(type(x).__name__)",
    )
    found = child.call("f", 1.5, 0.25)
    assert found["line"] == -(1.25**2) and found["slopes"] == [-2.5]
    with pytest.raises(StudentError, match="Can't calculate"):
        child.call("g", 1.0, 2.0)
    with pytest.raises(StudentError, match="ValueError: float"):
        child.call("h", 1.0)


def test_memory_is_capped(start: Start) -> None:
    child = start("def f(n):\n    return len(bytearray(n))")
    assert child.call("f", 100 << 20) == 100 << 20
    with pytest.raises(StudentError, match="MemoryError"):
        child.call("f", 1 << 30)


HIDING = """
import ctypes, threading, time
def eat():
    time.sleep(0.5)
    held = bytearray(b"x") * (200 << 20)
    time.sleep(60)
ctypes.CDLL(None).prctl(15, b"a\\rb\\xff", 0, 0, 0)  # a name that is no line of text
threading.Thread(target=eat).start()
ctypes.CDLL(None).pthread_exit(None)  # the first thread, whose memory the kernel shows as that of the process
"""


def test_memory_is_counted_under_any_name_and_without_the_first_thread() -> None:
    before = zygote.memory_by_parent().get(os.getpid(), 0)
    with subprocess.Popen([sys.executable, "-c", HIDING]) as process:
        try:
            for _ in range(100):
                time.sleep(0.1)
                if zygote.memory_by_parent().get(os.getpid(), 0) - before >= 200 << 20:
                    return
            pytest.fail("200 MiB are not seen")
        finally:
            process.kill()


def test_a_submission_is_one_process(start: Start) -> None:
    child = start(
        "import os, subprocess, threading\ndef fork(): return os.fork()\ndef run(): return subprocess.run(['true']).returncode\n"
        "def thread():\n    found = []\n    one = threading.Thread(target=lambda: found.append(1))\n    one.start()\n"
        "    one.join()\n    return found"
    )
    for name in ("fork", "run"):
        with pytest.raises(StudentError, match="PermissionError"):
            child.call(name)
    assert child.call("thread") == [1]


def test_threads_are_capped(start: Start) -> None:
    child = start(
        "import threading, time\ndef f():\n    for n in range(1000):\n        try:\n"
        "            threading.Thread(target=time.sleep, args=[60], daemon=True).start()\n        except RuntimeError:\n"
        "            return n"
    )
    assert 4 <= child.call("f") <= QUICK.threads


def test_there_are_no_terminals_to_use_up(start: Start) -> None:
    child = start("import os\ndef f(): return os.open('/dev/ptmx', os.O_RDWR)")
    with pytest.raises(StudentError, match="FileNotFoundError"):
        child.call("f")


def processes_below(sandbox: Sandbox) -> int:
    """How many processes a sandbox has; orphans too, since the first process of their namespace adopts them."""
    return 1 + len(psutil.Process(sandbox.process.pid).children(recursive=True))


def test_files_and_disk_are_capped(start: Start) -> None:
    child = start(
        "def one(n):\n    with open('/tmp/big', 'wb') as f:\n        f.write(bytes(n))",
        "def many():\n    import os\n    for i in range(100):\n        with open(f'/tmp/{i}', 'wb') as f: f.write(bytes(8 << 20))",
    )
    child.call("one", 1 << 20)
    with pytest.raises(StudentError, match="OSError: .*(File too large|No space left)"):
        child.call("many")


def test_processor_time_is_capped(start: Start) -> None:
    limits = QUICK._replace(cpu_seconds=1, call_seconds=20)
    child = start("def f():\n    while True: pass", limits=limits)
    begun = time.monotonic()
    with pytest.raises(StudentError, match="ended the process"):
        child.call("f")
    assert time.monotonic() - begun < 15


# --- it shows nothing and keeps nothing -------------------------------------------------------------------------------------


def test_there_is_no_network(start: Start) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        child = start("import socket\ndef f(port):\n    socket.create_connection(('127.0.0.1', port), timeout=1)")
        with pytest.raises(StudentError, match="PermissionError"):
            child.call("f", server.getsockname()[1])
    child = start("import socket\ndef f():\n    return socket.gethostbyname('example.org')")
    with pytest.raises(StudentError, match="gaierror"):
        child.call("f")


def test_environment_and_files_of_the_machine_are_not_there(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    child = start(
        "import os, sys\ndef environment(): return dict(os.environ)",
        "def look(path):\n    return os.listdir(path) if os.path.isdir(path) else os.path.exists(path)",
        "def write(path):\n    open(path, 'a').close()",
    )
    assert "COURSE_DATA_DIR" not in child.call("environment") and "SECRET" not in str(child.call("environment"))
    assert set(child.call("look", "/")) <= {
        "bin",
        "course",
        "dev",
        "etc",
        "grader",
        "lib",
        "lib32",
        "lib64",
        "packages",
        "proc",
        "root",
        "tmp",
        "usr",
    }
    assert child.call("look", "/etc") in (["ld.so.cache"], [])
    assert child.call("look", "/grader/autograder") == ["sandbox"]
    assert child.call("look", "/grader/autograder/sandbox") == ["inside"]
    seen = {name for name in child.call("look", "/grader/autograder/sandbox/inside") if name != "__pycache__"}
    assert seen == {file.name for file in outside.INSIDE.iterdir() if file.name != "__pycache__"}
    assert child.call("look", str(Path(__file__).resolve())) is False
    assert child.call("look", "/tmp") == []
    for path in ("/x", "/grader/x", "/course/course_lib/x", "/packages/x", "/usr/x", "/dev/x", "/etc/x", "/proc/x"):
        with pytest.raises(StudentError, match="OSError|PermissionError|FileNotFoundError"):
            pytest.fail(f"{path} can be written: {child.call('write', path)}")


def test_all_that_lies_inside_is_mounted_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(outside.INSIDE, tmp_path / "inside")
    (tmp_path / "inside" / "deeper").mkdir()
    (tmp_path / "inside" / "deeper" / "new.py").write_text("answer = 42\n")
    monkeypatch.setattr(outside, "INSIDE", tmp_path / "inside")
    with Sandbox(Path(outside.HERE).parents[1], modules=("autograder.sandbox.inside.deeper.new",)) as box:
        child = box.spawn(QUICK)
        errors = child.load(["from autograder.sandbox.inside.deeper.new import answer", "import autograder.testing"])
        assert errors[0] is None and errors[1]["kind"] == "ModuleNotFoundError"
        child.kill()


def test_packages_in_which_answers_stand_ready_are_not_there(start: Start) -> None:
    packages = Path(sysconfig.get_path("purelib"))
    assert (packages / "diffusers" / "__init__.py").exists()  # or this test would see nothing
    child = start(
        "import os\ndef look():\n    try:\n        open('/packages/diffusers/mine', 'w')\n    except OSError:\n"
        "        return os.listdir('/packages/diffusers')",
        "from diffusers import DDPMScheduler",
    )
    assert child.call("look") == [] and child.errors[1]["kind"] == "ImportError"  # type: ignore[attr-defined]


def test_answers_and_the_course_are_hidden_wherever_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("diffusers", "autograder", "torch"):
        (own / name).mkdir(parents=True)
    other = tmp_path.parent / "venv"
    assert outside.hidden_folders(tmp_path, other)[:2] == [str(own / "diffusers"), str(own / "autograder")]
    both = outside.hidden_folders(tmp_path, own)
    assert both[:4] == ["/packages/diffusers", "/packages/autograder", str(own / "diffusers"), str(own / "autograder")]
    assert str(tmp_path / "course") not in both
    monkeypatch.setattr(outside, "HERE", tmp_path / "course" / "autograder" / "sandbox")
    assert outside.hidden_folders(tmp_path, other)[-1] == str(tmp_path / "course")


def test_no_file_of_an_installer_tells_where_the_course_lies(start: Start) -> None:
    packages = Path(sysconfig.get_path("purelib"))
    telling = [str(file.relative_to(packages)) for kind in outside.TELLING for file in packages.glob(kind)]
    assert telling  # or this test would see nothing
    child = start("def read(name):\n    return open(f'/packages/{name}').read()")
    for name in telling:
        with pytest.raises(StudentError, match="PermissionError"):
            pytest.fail(child.call("read", name))


def test_no_other_process_is_seen_or_reached(start: Start, sandbox: Sandbox) -> None:
    child = start(
        "import os, signal\ndef me(): return [os.getpid(), os.getppid(), os.getuid()]",
        "def look(): return os.listdir('/proc')",
        "def reach(pid): os.kill(pid, signal.SIGKILL)",
    )
    pid, parent, uid = child.call("me")
    assert (pid, parent) == (1, 0) and uid != 0
    assert child.call("look") == ["cpuinfo"]
    for other in (2, 3, 10, sandbox.process.pid, os.getpid()):
        with pytest.raises(StudentError, match="ProcessLookupError"):
            child.call("reach", other)


def test_privileges_cannot_be_regained(start: Start) -> None:
    child = start(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)",
        "def unmount(path): return libc.umount2(path.encode(), 2)",
        "def deeper():\n    libc.unshare(0x10000000 | 0x20000)\n    return [libc.umount2(b'/proc', 2), libc.umount2(b'/tmp', 2)]",
        "def mount(): return libc.mount(b'none', b'/proc', b'proc', 0, b'')",
        "def become(uid): os.setuid(uid)",
    )
    for path in ("/proc", "/tmp", "/dev/shm", "/"):
        assert child.call("unmount", path) == -1
    assert child.call("mount") == -1
    with pytest.raises(StudentError, match="PermissionError|OSError"):
        child.call("become", 0)
    assert child.call("deeper") == [-1, -1]


def test_nothing_stays_for_the_next(start: Start, sandbox: Sandbox) -> None:
    daemon = (
        "import os, time, sys, torch\nopen('/tmp/left', 'w').write('behind')\nopen('/dev/shm/left', 'w').write('behind')\n"
        "torch.allclose = lambda *a, **k: True\nsys.modules['course_lib'] = None\n"
        "import threading\nthreading.Thread(target=lambda: [time.sleep(0.1) for _ in range(10**6)]).start()"
    )
    first = start(daemon)
    first.kill()
    second = start(
        "import os, torch, course_lib\ndef f(): return [os.listdir('/tmp'), os.listdir('/dev/shm'), torch.allclose(*torch.eye(2))]"
    )
    assert second.call("f") == [[], [], False]
    assert processes_below(sandbox) <= 6


def test_two_children_do_not_see_each_other(start: Start) -> None:
    first, second = (
        start("import os\ndef put(x): open('/tmp/x', 'w').write(x)\ndef names(): return os.listdir('/tmp')")
        for _ in "ab"
    )
    first.call("put", "secret")
    assert first.call("names") == ["x"] and second.call("names") == []


# --- it fails closed --------------------------------------------------------------------------------------------------------


SURVIVOR = """
import ctypes, os, signal, threading, time
os._exit = lambda code: time.sleep(60)
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
threading.Thread(target=time.sleep, args=[600]).start()
assert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == -1  # its end when its parent ends cannot be switched off
"""


def test_what_refuses_to_die_with_its_parent_ends_with_its_child_all_the_same(start: Start, sandbox: Sandbox) -> None:
    tree = psutil.Process(sandbox.process.pid)
    before = len(tree.children(recursive=True))
    child = start(SURVIVOR)
    assert child.errors == [None] and len(tree.children(recursive=True)) == before + 2  # type: ignore[attr-defined]
    child.kill()
    assert len(tree.children(recursive=True)) == before


def test_a_guard_that_was_killed_leaves_no_orphans(start: Start, sandbox: Sandbox) -> None:
    tree = psutil.Process(sandbox.process.pid)
    before = {process.pid for process in tree.children(recursive=True)}
    start(SURVIVOR)
    new = [process for process in tree.children(recursive=True) if process.pid not in before]
    guard = next(process for process in new if process.ppid() in before)
    guard.kill()
    for _ in range(40):
        left = [process for process in tree.children(recursive=True) if process.pid not in before | {guard.pid}]
        if not left:
            return
        time.sleep(0.25)
    pytest.fail(f"still there: {left}")


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"])
def test_there_are_no_sockets_but_in_pairs(start: Start, family: str) -> None:
    child = start(
        f"import asyncio, socket\ndef one():\n    socket.socket(socket.{family})\n"
        "def pair():\n    first, second = socket.socketpair()\n    first.send(b'x')\n    return len(second.recv(9))\n"
        "async def two(): return 2\ndef loop(): return asyncio.run(two())"
    )
    with pytest.raises(StudentError, match="PermissionError"):
        child.call("one")
    assert child.call("pair") == 1 and child.call("loop") == 2


NOTHING_DONE = {  # what says that it was done, since a submission is alone with its files
    "locks": "import fcntl\n    fcntl.flock(first, fcntl.LOCK_EX)\n    fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)",
    "records": "import fcntl, struct\n    fcntl.lockf(first, fcntl.LOCK_EX)\n"
    "    asked = fcntl.fcntl(second, 36, struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0))  # F_OFD_GETLK\n"
    "    assert struct.unpack('hhqqi', asked)[0] == fcntl.F_UNLCK, 'it holds a lock'",
    "syncs": "import os\n    os.sync()\n    os.fsync(first)\n    os.fdatasync(second)",
    "a database": "import sqlite3\n    with sqlite3.connect('/tmp/data.db') as base:\n        base.execute('create table t (x)')",
}


@pytest.mark.parametrize("what", NOTHING_DONE)
def test_locks_and_syncs_do_nothing_and_fail_nobody(start: Start, what: str) -> None:
    child = start(
        f"first, second = open('/tmp/x', 'w'), open('/tmp/x', 'r+')\ndef f():\n    {NOTHING_DONE[what]}\n    return 1"
    )
    assert child.call("f") == 1


def test_signals_that_wait_are_capped(start: Start) -> None:
    child = start(
        "import ctypes, os, signal\ndef f():\n    signal.pthread_sigmask(signal.SIG_BLOCK, {40})\n    number = 0\n"
        "    while ctypes.CDLL(None).sigqueue(os.getpid(), 40, ctypes.c_void_p(0)) == 0 and number < 1000: number += 1\n    return number"
    )
    assert child.call("f") <= 64


def test_files_are_copied_without_the_call_that_is_refused(start: Start) -> None:
    child = start(
        "import shutil\ndef f():\n    open('/tmp/x', 'w').write('text')\n    shutil.copy2('/tmp/x', '/tmp/y')\n"
        "    return open('/tmp/y').read()"
    )
    assert child.call("f") == "text"


@pytest.mark.parametrize(
    "call",
    [
        "libc.memfd_create(b'x', 0)",
        "libc.shmget(0, 4096, 0o600)",
        "libc.unshare(0x10000000)",
        "libc.mount(b'x', b'/tmp', b'tmpfs', 0, None)",
        "libc.ptrace(0, 0, 0, 0)",
        "libc.syscall({'x86_64': 250, 'aarch64': 219}[machine], 0, -3, 0)",  # keyctl: the session's keyring
        "libc.syscall({'x86_64': 248, 'aarch64': 217}[machine], b'user', b'x', b'y', 1, -3)",  # add_key
        "libc.syscall({'x86_64': 425, 'aarch64': 425}[machine], 8, bytes(120))",  # io_uring_setup
        "libc.syscall({'x86_64': 56, 'aarch64': 220}[machine], 0x10000000 | 17, 0, 0, 0, 0)",  # clone into new users
        "libc.socket(40, 1, 0)",  # AF_VSOCK
        "libc.socket(1, 1, 0)",  # AF_UNIX, whose connections keep their data when one end is closed
        "libc.setxattr(b'/tmp', b'user.x', b'y', 1, 0)",
        "libc.inotify_init1(0)",
        "libc.fanotify_init(0x200, 0)",
        "libc.splice(0, None, 1, None, 1, 0)",
        "libc.sendfile(1, 0, None, 1)",
        "libc.klogctl(10, None, 0)",
        "libc.syscall({'x86_64': 206, 'aarch64': 0}[machine], 1, bytes(8))",  # io_setup
        "libc.fcntl(1, 1026, 1)",  # F_NOTIFY: what is read in a folder
        "libc.fcntl(1, 1024, 0)",  # F_SETLEASE
        "libc.prctl(4, 1, 0, 0, 0)",  # PR_SET_DUMPABLE: its memory would be stored when it crashes
        "libc.syscall({'x86_64': 41, 'aarch64': 198}[machine], ctypes.c_uint64(1 << 32 | 40), 1, 0)",  # the kernel reads an int
        "libc.syscall({'x86_64': 157, 'aarch64': 167}[machine], ctypes.c_uint64(1 << 32 | 1), 0, 0, 0, 0)",  # so for prctl
        "mapped(33)",  # shared and anonymous
        "mapped(35)",  # ... and private, which is no kind of mapping
        "mapped(33 | 1 << 40)",
        "mapped(1 | 0x20 | 0x8000)",  # populated at once
        "libc.fork()",
        "libc.vfork()",
        "libc.syscall({'x86_64': 56, 'aarch64': 220}[machine], 17, 0, 0, 0, 0)",  # clone into a process of its own
        "libc.execve(b'/bin/true', None, None)",
        "libc.semget(0, 32000, 0o600)",
        "libc.msgget(0, 0o600)",
        "libc.vmsplice(1, None, 0, 0)",
        "libc.prctl(1, 0, 0, 0, 0)",  # PR_SET_PDEATHSIG
        "libc.sched_setaffinity(0, 8, bytes([255] * 8))",
    ],
)
def test_calls_that_no_submission_needs_are_refused(start: Start, call: str) -> None:
    child = start(
        "import ctypes, platform\nmachine, libc = platform.machine(), ctypes.CDLL(None, use_errno=True)\n"
        "def mapped(flags):\n    number = {'x86_64': 9, 'aarch64': 222}[machine]\n    libc.syscall.restype = ctypes.c_long\n"
        "    return libc.syscall(number, None, ctypes.c_ulong(1 << 20), 3, ctypes.c_ulong(flags), -1, 0)\n"
        f"def attempt():\n    found = {call}\n    return [found, ctypes.get_errno()]"
    )
    assert child.call("attempt") == [-1, errno.EPERM]


@pytest.mark.parametrize("number", [424, 434, 435, 438, 442, 448, 451, 457, 458, 467, 500, 547])
def test_calls_of_newer_kernels_are_not_there(start: Start, number: int) -> None:
    child = start(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def attempt(number):\n    return [libc.syscall(number, *[ctypes.c_long(-1)] * 6), ctypes.get_errno()]"
    )
    assert child.call("attempt", number) == [-1, errno.ENOSYS]


WAYS = {  # memory that stays when it is unmapped, but for one page, and that no limit would count
    "anonymous": "-1, 0x21",
    "/dev/zero": "os.open('/dev/zero', os.O_RDWR), 0x01",
    "/dev/zero, found by a folder": "os.open('zero', os.O_RDWR, dir_fd=os.open('/dev', os.O_RDONLY)), 0x01",
    "a file that is deleted": "unnamed(), 0x01",
}


@pytest.mark.parametrize("way", WAYS)
def test_memory_cannot_be_hidden_by_unmapping_it(start: Start, way: str) -> None:
    child = start(
        "import ctypes, os, tempfile\nSIZE, held, libc = 1 << 26, [], ctypes.CDLL(None, use_errno=True)\n"
        "libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]\n"
        "def unnamed():\n    held.append(tempfile.TemporaryFile())\n    held[-1].truncate(SIZE)\n    return held[-1].fileno()\n"
        "def mapped(descriptor, flags):\n    found = libc.mmap(None, SIZE, 3, flags, descriptor, 0)\n"
        "    if found in (None, ctypes.c_void_p(-1).value): raise OSError(ctypes.get_errno(), 'refused')\n    return found\n"
        f"def hide():\n    for number in range(40):\n        place = mapped({WAYS[way]})\n        ctypes.memset(place, 1, SIZE)\n"
        "        libc.munmap(ctypes.c_void_p(place + 4096), ctypes.c_size_t(SIZE - 4096))\n    return number",
        limits=QUICK._replace(memory_bytes=256 << 20, call_seconds=20, cpu_seconds=20),
    )
    with pytest.raises(StudentError):
        child.call("hide")


def test_shared_memory_counts_too(start: Start) -> None:
    child = start(
        "import mmap, time\ndef fill():\n    held = []\n    while True:\n        held.append(mmap.mmap(-1, 1 << 24))\n"
        "        held[-1].write(bytes([1]) * (1 << 24))\n        time.sleep(0.01)",
        limits=QUICK._replace(memory_bytes=256 << 20, call_seconds=20),
    )
    begun = time.monotonic()
    with pytest.raises(StudentError):  # its address space ends, or it is ended
        child.call("fill")
    assert time.monotonic() - begun < 15


def test_the_number_of_files_is_capped(start: Start) -> None:
    child = start(
        "def count():\n    for number in range(100_000):\n        try:\n            open(f'/tmp/{number}', 'w').close()\n"
        "        except OSError:\n            return number",
        limits=QUICK._replace(call_seconds=20),
    )
    assert child.call("count") < 20_000


def test_questions_about_too_much_data_are_not_answered(start: Start) -> None:
    asked = []
    code = "import torch\ndef ask(f, n):\n    return f(torch.zeros(n, dtype=torch.uint8)).tolist()"
    assert start(code).call("ask", lambda x: asked.append(len(x)) or torch.ones(1), 1000) == [1.0]
    with pytest.raises(StudentError, match="about too much data"):
        start(code).call("ask", lambda x: asked.append(len(x)) or torch.ones(1), 9 << 20)
    assert asked == [1000]


def test_work_that_student_code_asks_of_our_functions_ends_with_its_call(start: Start) -> None:
    def work(seconds: float) -> float:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return seconds

    child = start("def ask(f, seconds):\n    return f(seconds)")
    assert child.call("ask", work, 0.1) == 0.1
    begun = time.monotonic()
    with pytest.raises(StudentError, match="still running after 3 seconds"):
        child.call("ask", work, 60.0)
    assert time.monotonic() - begun < 6


def test_names_of_exceptions_say_nothing_of_the_grader(start: Start) -> None:
    child = start("class NotFinite(Exception): pass\ndef f(): raise NotFinite('no')")
    with pytest.raises(StudentError, match="NotFinite: no") as caught:
        child.call("f")
    assert caught.value.kind == ""


def test_forged_reports_of_cells_are_no_reports(sandbox: Sandbox) -> None:
    child = sandbox.spawn(QUICK)
    forged = "import autograder.sandbox.inside.service\nautograder.sandbox.inside.service.run_cell = lambda *_: 3"
    try:
        with pytest.raises(StudentError, match="broke the connection"):
            child.load([forged, "x = 1"])
    finally:
        child.kill()


def test_everything_together_has_an_end(start: Start) -> None:
    child = start("import time\ndef wait():\n    time.sleep(1)", limits=QUICK._replace(all_seconds=5))
    begun = time.monotonic()
    with pytest.raises(StudentError, match="ended the process|still running"):
        for _ in range(20):
            child.call("wait")
    assert time.monotonic() - begun < 8


def test_without_bubblewrap_nothing_is_graded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(outside.shutil, "which", lambda name: None)
    with pytest.raises(SandboxError, match=r"bubblewrap \(bwrap\) is not installed"):
        Sandbox(tmp_path)


def test_a_sandbox_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="there is no course_lib in .*, so nothing is graded"):
        Sandbox(tmp_path)


def test_a_sandbox_that_fails_inside_gives_no_child_and_says_why() -> None:
    with Sandbox(Path(outside.HERE).parents[1], modules=("no_such_module",)) as box:
        for ask in (box.ready, box.spawn, box.spawn):
            with pytest.raises(
                SandboxError, match=r"did not start, so nothing is graded: (?s:.*)No module named 'no_such_module'"
            ):
                ask()


def test_a_sandbox_that_ends_is_noticed(tmp_path: Path) -> None:
    with Sandbox(Path(outside.HERE).parents[1]) as box:
        child = box.spawn(QUICK)
        box.process.kill()
        box.process.wait()
        with pytest.raises((StudentError, SandboxError)):
            child.load(["x = 1"])
        with pytest.raises(SandboxError):
            box.spawn(QUICK).kill()
