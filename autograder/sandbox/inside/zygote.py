"""Inside the sandbox and before any student code: import the heavy packages once, then fork a clean child for each submission.

A child gets namespaces of its own (processes, mounts, messages, network, users), so that it sees neither this process nor
another child, a private /tmp, hard limits, a filter of system calls, and no privilege. It is one process, which ends with it.
The orders come over a socket that no child inherits.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
import traceback
from typing import NamedTuple

from autograder.sandbox.inside import linux, service

WATCH_SECONDS = 0.25  # between two looks at how much memory the children use
INODES = 10_000  # files and folders in each of a child's two places to write
CHANNEL = 3  # the file descriptor on which a child speaks with the grader
WARM = ("numpy", "torch", "sympy", "IPython.core.inputtransformer2", "safetensors.torch")


def main() -> None:
    """Warm up, say so, and follow orders until the grader hangs up."""
    control = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()  # hardly anything that an import makes is garbage, and looking for it takes a tenth of the time
    for name in (*sys.argv[2:], *WARM):
        importlib.import_module(name)
    gc.freeze()  # a child that looked through all of it would copy the pages
    gc.enable()
    sys.modules["torch"].set_num_threads(1)
    linux.seccomp()  # if it is missing, fail here, where it costs no student a point
    linux.set_dumpable(False)
    control.send(b"ready")
    guards: dict[int, Guard] = {}
    control.settimeout(WATCH_SECONDS)
    while True:
        end_greedy(guards)
        try:
            message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 2)
        except TimeoutError:
            continue
        if not message:
            os._exit(0)
        order = json.loads(message)
        number = order["child"]
        if order["do"] == "spawn":
            guards[number] = Guard(spawn(order["limits"], descriptors, control), order["limits"]["memory_bytes"])
            for descriptor in descriptors:
                os.close(descriptor)
        else:
            if number in guards:
                end(guards.pop(number))
            control.send(b"killed")


class Guard(NamedTuple):
    """The process that guards a child, and how much memory the child may use."""

    pid: int
    memory_bytes: int


def end(guard: Guard) -> None:
    """End a guard. It first ends its child."""
    os.kill(guard.pid, signal.SIGTERM)
    os.waitpid(guard.pid, 0)


def end_greedy(guards: dict[int, Guard]) -> None:
    """End every child that uses more memory than it may, wherever the kernel's own limits do not see it."""
    if not guards:
        return
    used = memory_by_parent()
    base = memory(status("/proc/self"))  # what every fork shares with this process
    for number, guard in list(guards.items()):
        if used.get(guard.pid, 0) - base > guard.memory_bytes:
            end(guards.pop(number))


def memory_by_parent() -> dict[int, int]:
    """The memory of every process that this one sees, in bytes, by its parent's number: a guard has one child."""
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, KeyError):  # it has just ended
                process = status(f"/proc/{name}")
                used = memory(process)
                if b"RssAnon" not in process:  # its first thread has ended; others may go on
                    threads = os.listdir(f"/proc/{name}/task")
                    used = max(memory(status(f"/proc/{name}/task/{thread}")) for thread in threads)
                parent = int(process[b"PPid"])
                found[parent] = found.get(parent, 0) + used
    return found


def memory(found: dict[bytes, bytes]) -> int:
    """The memory in a process's status that is backed by no file, in bytes."""
    return sum(int(found.get(part, b"0").split()[0]) << 10 for part in (b"RssAnon", b"RssShmem"))


def status(folder: str) -> dict[bytes, bytes]:
    """What the kernel says of a process or thread; as bytes, since it chooses its own name, which need not be text."""
    with open(f"{folder}/status", "rb") as file:
        return dict(line.split(b":", 1) for line in file.read().split(b"\n") if b":" in line)


def spawn(limits: dict[str, int], descriptors: list[int], control: socket.socket) -> int:
    """Fork a guard, which forks the child into new namespaces and dies with it; returns the guard's process number."""
    guard = os.fork()
    if guard:
        return guard
    try:
        control.close()
        uid, gid = os.getuid(), os.getgid()
        linux.unshare(linux.NEWUSER | linux.NEWNS | linux.NEWPID | linux.NEWIPC | linux.NEWNET)
        linux.set_dumpable(True)  # for a moment: only then may a process write its own maps
        linux.map_own_ids(uid, gid)
        linux.set_dumpable(False)
        quiet = linux.NOSUID | linux.NODEV
        for place in ("/tmp", "/dev/shm"):
            linux.mount("tmpfs", place, "tmpfs", quiet, f"size={limits['tmp_bytes']},nr_inodes={INODES},mode=700")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            confine(limits)
            channel, output = descriptors
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(channel, CHANNEL)
            os.closerange(CHANNEL + 1, 1 << 12)
            service.serve(socket.socket(fileno=CHANNEL))
            os._exit(0)
        # Not left to the signal that a child gets when its parent dies: student code can switch that off.
        signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(pid, 0)
    except BaseException:
        os.write(descriptors[1], traceback.format_exc().encode())
    finally:
        os._exit(0)


def confine(limits: dict[str, int]) -> None:
    """Hide the other processes, set the limits and give up every privilege; from here on nothing can be taken back."""
    space, data = linux.size_of_memory()
    with open("/proc/cpuinfo") as file:
        processors = file.read()
    linux.mount("tmpfs", "/proc", "tmpfs", linux.NOSUID | linux.NODEV, "size=1m")
    with open("/proc/cpuinfo", "w") as file:  # libraries choose their kernels by it
        file.write(processors)
    linux.mount("none", "/proc", None, linux.REMOUNT | linux.READ_ONLY | linux.NOSUID | linux.NODEV, "size=1m")
    # Mapped, /dev/zero gives memory that stays when it is unmapped.
    linux.mount("/dev/null", "/dev/zero", None, linux.BIND)
    linux.mount("tmpfs", "/dev/pts", "tmpfs", linux.NOSUID | linux.NODEV, "size=4k")  # the machine has few terminals
    linux.mount("none", "/dev/pts", None, linux.REMOUNT | linux.READ_ONLY | linux.NOSUID | linux.NODEV, "size=4k")
    for what, most in (
        (resource.RLIMIT_AS, space + limits["memory_bytes"]),
        (resource.RLIMIT_DATA, data + limits["memory_bytes"]),  # or it could write to what was mapped before
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_NPROC, limits["threads"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, 128),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_SIGPENDING, 64),  # timers too
    ):
        resource.setrlimit(what, (most, most))
    linux.drop_privileges()
    linux.die_with_parent(signal.SIGKILL)
    linux.forbid_system_calls()
    os.chdir("/tmp")


if __name__ == "__main__":
    main()
