"""The few calls of the Linux kernel that a sandbox needs and Python lacks: namespaces, mounts, capabilities, system call filters."""

import ctypes
import errno
import os
import resource
from functools import cache
from pathlib import Path

NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000  # clone(2)
NOSUID, NODEV, NOEXEC, BIND, REC, PRIVATE, READ_ONLY, REMOUNT = 2, 4, 8, 4096, 16384, 1 << 18, 1, 32  # mount(2)
NEW_THREAD = 0x00010000  # clone(2): no process of its own
PDEATHSIG, DUMPABLE, NO_NEW_PRIVS = 1, 4, 38  # prctl(2)
CAPABILITY_VERSION = 0x20080522  # capset(2)
ALLOW, REFUSE = 0x7FFF0000, 0x00050000  # seccomp_init(3); to REFUSE the number of an error is added
MASKED = 7  # seccomp_rule_add(3): an argument's bits under a mask are compared
INT = 0xFFFFFFFF  # the bits of an int: the kernel reads no others of such an argument, and a program may set them
SHARED_ANONYMOUS = 0x01 | 0x20  # mmap(2): memory that stays when it is unmapped, where no limit counts it

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


def size_of_memory() -> tuple[int, int]:
    """The bytes of address space that this process has, most of them the code of its packages, and those that it may write to."""
    with open("/proc/self/statm") as file:
        found = [int(pages) * resource.getpagesize() for pages in file.read().split()]
    return found[0], found[5]


def drop_privileges() -> None:
    """Give up every capability, for good."""
    checked(libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    empty = (ctypes.c_uint32 * 6)()
    checked(libc.capset(header, empty), "capset")


# What no submission needs: other processes (threads are allowed), keys that outlive it, memory that nobody counts (sockets whose
# other end is closed, lists of access, pages on their way through pipes), namespaces of its own, looks into other processes or at
# what they read, the processors of others, handles and logs of the machine.
FORBIDDEN = (
    *("fork", "vfork", "execve", "execveat", "sched_setaffinity"),
    *(
        "keyctl",
        "add_key",
        "request_key",
        "memfd_create",
        "memfd_secret",
        "shmget",
        "semget",
        "msgget",
        "mq_open",
        "vmsplice",
    ),
    *("socket", "setxattr", "lsetxattr", "fsetxattr", "splice", "tee", "sendfile", "io_setup"),
    *("unshare", "setns", "mount", "umount2", "pivot_root", "fsopen", "fsmount", "open_tree", "move_mount"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "userfaultfd", "perf_event_open", "bpf"),
    *("inotify_init", "inotify_init1", "fanotify_init", "name_to_handle_at", "open_by_handle_at", "syslog"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
)
# What does nothing, and says that it was done: a submission is alone with its files, which lie in memory. A lock on a file that all
# share would tell others something, and a million of them would be memory that nobody counts; the rest would slow the machine.
PRETENDED = ("flock", "sync", "syncfs", "fsync", "fdatasync", "sync_file_range", "fadvise64")
LOCKS = (6, 7, 37, 38)  # fcntl(2): F_SETLK, F_SETLKW and the two of open file descriptions
LOOKS = (1024, 1026, 1040)  # fcntl(2): F_SETLEASE, F_NOTIFY, F_SETDELEG, which tell what others do with a file
# From the first on, system calls have one number on every processor, and the library that writes filters may not know the name of the
# latest: they are refused as if the kernel were older, but for those that libc uses: close_range, faccessat2, epoll_pwait2.
NEWER, KNOWN = range(424, 548), (436, 439, 441)


class Comparison(ctypes.Structure):
    """A condition on one argument of a system call (struct scmp_arg_cmp of libseccomp)."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


@cache
def seccomp() -> ctypes.CDLL:
    """The library that writes filters of system calls; raises OSError where it is not installed."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise OSError(
            f"libseccomp is not installed, and without it nothing is graded: apt install libseccomp2 ({error})"
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def forbid_system_calls() -> None:
    """Refuse the calls above to this process and all that it starts, for good. Raises OSError without libseccomp."""
    library = seccomp()
    context = ctypes.c_void_p(library.seccomp_init(ALLOW))

    def refuse(name: str, error: int, *condition: Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # below: this processor or library has no such call
            rule = (Comparison * max(1, len(condition)))(*condition)
            found = library.seccomp_rule_add_array(context, REFUSE | error, number, len(condition), rule)
            if found < 0:
                raise OSError(-found, f"seccomp rule for {name}")

    for name in FORBIDDEN:
        refuse(name, errno.EPERM)
    for name in PRETENDED:
        refuse(name, 0)
    for command in LOCKS:
        refuse("fcntl", 0, Comparison(1, MASKED, INT, command))
    for command in LOOKS:
        refuse("fcntl", errno.EPERM, Comparison(1, MASKED, INT, command))
    refuse("clone", errno.EPERM, Comparison(0, MASKED, NEW_THREAD, 0))
    for option in (PDEATHSIG, DUMPABLE):  # to stay when the guard ends; to have its memory stored when it crashes
        refuse("prctl", errno.EPERM, Comparison(0, MASKED, INT, option))
    refuse("mmap", errno.EPERM, Comparison(3, MASKED, SHARED_ANONYMOUS, SHARED_ANONYMOUS))
    # clone3 among them: its flags lie in memory, out of a filter's sight; libc then takes clone.
    for number in {*NEWER} - {*KNOWN} - {library.seccomp_syscall_resolve_name(name.encode()) for name in FORBIDDEN}:
        rule = library.seccomp_rule_add_array(context, REFUSE | errno.ENOSYS, number, 0, None)
        if rule < 0:
            raise OSError(-rule, f"seccomp rule for system call {number}")
    found = library.seccomp_load(context)
    if found < 0:
        raise OSError(-found, "seccomp filter")
    library.seccomp_release(context)
