"""Start bubblewrap with what a sandbox may see. As root, first become an ordinary user: limits on processes do not bind root.

Run as a program (python launch.py SPEC.json), so that what it does to itself (mounts, ids) touches no other process. What an
ordinary user may not reach, such as a Python below /root, root first shows at a place that everyone may read.
"""

import json
import os
import stat
import sys
from pathlib import Path

NOBODY = 65534
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/lib32")


def arguments(
    binds: dict[str, str], hidden: list[str], command: list[str], environment: dict[str, str], tmp_bytes: int
) -> list[str]:
    """The command line of bubblewrap: nothing shared, nothing writable but a small /tmp, the given folders read-only, some hidden."""
    line = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    for folder in SYSTEM:
        if Path(folder).is_symlink():
            line += ["--symlink", os.readlink(folder), folder]
        elif Path(folder).is_dir():
            line += ["--ro-bind", folder, folder]
    if Path("/etc/ld.so.cache").exists():
        line += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    line += ["--proc", "/proc", "--dev", "/dev", "--size", str(tmp_bytes), "--tmpfs", "/tmp", "--hostname", "sandbox"]
    for inside, outside in binds.items():
        line += ["--ro-bind", outside, inside]
    for folder in hidden:
        line += ["--size", "4096", "--tmpfs", folder, "--remount-ro", folder]
    for name, value in environment.items():
        line += ["--setenv", name, value]
    return [*line, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--", *command]


def as_nobody(binds: dict[str, str]) -> dict[str, str]:
    """In a mount namespace of our own, show every folder below a place that all may read; then become nobody."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from autograder.sandbox.inside import linux

    linux.unshare(linux.NEWNS)
    linux.mount("none", "/", None, linux.REC | linux.PRIVATE)
    # Opened in this namespace and before the stage is set, which may hide them.
    sources = {outside: os.open(outside, os.O_PATH) for outside in binds.values()}
    stage = Path("/tmp")
    linux.mount("tmpfs", str(stage), "tmpfs", linux.NOSUID | linux.NODEV, "size=1m,mode=755")
    shown = {}
    for number, (inside, outside) in enumerate(binds.items()):
        target = stage / str(number)
        target.mkdir() if stat.S_ISDIR(os.fstat(sources[outside]).st_mode) else target.touch()
        linux.bind(Path(f"/proc/self/fd/{sources[outside]}"), target)
        shown[inside] = str(target)
    for descriptor in sources.values():
        os.close(descriptor)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    return shown


def main() -> None:
    """Read the specification and become the sandbox."""
    spec = json.loads(sys.argv[1])
    binds = as_nobody(spec["binds"]) if os.getuid() == 0 else spec["binds"]
    line = arguments(binds, spec["hidden"], spec["command"], spec["environment"], spec["tmp_bytes"])
    os.execvp(line[0], line)


if __name__ == "__main__":
    main()
