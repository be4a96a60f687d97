"""The few calls of the Linux kernel that a sandbox needs and Python lacks: namespaces, mounts, capabilities, process control."""

import ctypes
import os
from pathlib import Path

NEWNS, NEWIPC, NEWUSER, NEWPID = 0x00020000, 0x08000000, 0x10000000, 0x20000000  # clone(2)
NOSUID, NODEV, NOEXEC, BIND, REC, PRIVATE, READ_ONLY, REMOUNT = 2, 4, 8, 4096, 16384, 1 << 18, 1, 32  # mount(2)
PDEATHSIG, DUMPABLE, NO_NEW_PRIVS = 1, 4, 38  # prctl(2)
CAPABILITY_VERSION = 0x20080522  # capset(2)

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    """Raise an OSError that says what failed unless a call returned 0."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move this process (for NEWPID: its future children) into new namespaces."""
    checked(libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount a file system."""
    name = kind.encode() if kind else None
    checked(libc.mount(source.encode(), target.encode(), name, flags, options.encode()), f"mount on {target}")


def bind(source: Path, target: Path) -> None:
    """Show a folder at a second place, read-only."""
    mount(str(source), str(target), None, BIND)
    mount("none", str(target), None, BIND | REMOUNT | READ_ONLY | NOSUID | NODEV)


def map_own_ids(uid: int, gid: int) -> None:
    """In a fresh user namespace, keep the ids that this process had outside."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def die_with_parent(signal: int) -> None:
    """Receive a signal when the parent ends."""
    checked(libc.prctl(PDEATHSIG, signal, 0, 0, 0), "prctl")


def set_dumpable(value: bool) -> None:
    """Whether processes of the same user may look into this one."""
    checked(libc.prctl(DUMPABLE, int(value), 0, 0, 0), "prctl")


def drop_privileges() -> None:
    """Give up every capability, for good."""
    checked(libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    empty = (ctypes.c_uint32 * 6)()
    checked(libc.capset(header, empty), "capset")
