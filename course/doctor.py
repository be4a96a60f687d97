"""What `course doctor` looks at: the machine, the packages, the data, and what grading will need."""

import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

from course_lib.data import sets

FREE_GIB_NEEDED = 2.0  # CIFAR-10's archive, its download, and a few training runs


class Finding(NamedTuple):
    """One row: what was looked at, what was found, and where it is not ok, what to do."""

    state: Literal["ok", "optional", "missing"]
    what: str
    found: str
    remedy: str = ""


def examine(for_grading: bool = False) -> list[Finding]:
    """All findings, in the order in which they are shown; `for_grading` starts a sandbox, too."""
    sandbox = grading() if for_grading else bubblewrap()
    return [python(), *torch_and_device(), *data_sets(), sandbox, free_disk(sets.data_dir())]


def python() -> Finding:
    """Python's version (the package does not install on one that is too old)."""
    return Finding("ok", "Python", f"{platform.python_version()} ({sys.executable})")


def torch_and_device() -> list[Finding]:
    """PyTorch's version, the device that training uses, threads, and whether bf16 is fast here."""
    try:
        import torch

        from course_lib.hardware import bf16_is_fast
    except ImportError as error:
        return [
            Finding("missing", "PyTorch", str(error), "run `make book`, which installs the pinned packages into .venv")
        ]
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    name = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    fast = bf16_is_fast(device)
    return [
        Finding("ok", "PyTorch", version("torch")),
        Finding("ok", "device", f"{device.type} ({name})"),
        Finding("ok", "threads", str(torch.get_num_threads())),
        Finding("ok", "bf16", "fast here: training uses it" if fast else "slow here: training stays in float32"),
    ]


def data_sets() -> list[Finding]:
    """Which archives are in the data dir, and that the small sets' package is there."""
    folder = sets.data_dir()
    findings = []
    for name in sets.SHAPES:
        archive = folder / f"{name}.npz"
        if archive.exists():
            findings.append(Finding("ok", name, f"{archive} ({archive.stat().st_size / 2**20:.0f} MiB)"))
        else:
            remedy = (
                f"it is downloaded when first used, or put {archive.name} into a folder and set COURSE_DATA_DIR to it"
            )
            findings.append(Finding("optional", name, f"not in {folder}", remedy))
    try:
        findings.append(Finding("ok", "digits, photographs", f"scikit-learn {version('scikit-learn')}"))
    except PackageNotFoundError:
        findings.append(
            Finding("missing", "digits, photographs", "no scikit-learn", "run `make book`, which installs it")
        )
    return findings


def bubblewrap() -> Finding:
    """The sandbox that grading uses; readers and students need none."""
    program = shutil.which("bwrap")
    if program is None:
        remedy = (
            "only grading needs it: install your system's bubblewrap package (Debian, Ubuntu: apt install bubblewrap)"
        )
        return Finding("optional", "bubblewrap", "not found", remedy)
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return Finding("ok", "bubblewrap", f"{said.stdout.strip()} ({program})")


# What a sandbox that does not start says, and what to do about it.
REMEDIES = {
    "namespace": "this machine, or its container, gives no namespaces: on Ubuntu 24.04 or later allow them by an AppArmor profile for "
    "/usr/bin/bwrap (or sysctl kernel.apparmor_restrict_unprivileged_userns=0), elsewhere by sysctl kernel.unprivileged_userns_clone=1; "
    "start a container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --cap-add SYS_ADMIN",
    "libseccomp": "install your system's libseccomp package (Debian, Ubuntu: apt install libseccomp2)",
    "bubblewrap (bwrap) is not installed": "install your system's bubblewrap package (Debian, Ubuntu: apt install bubblewrap)",
    "this Python lies in": "install Python outside of /tmp and /dev/shm, and the course with it",
    "No module named": "install the course with all that grading needs: pip install 'learning-to-denoise[book,dev,grade]'",
}
SAME_CAUSE = ("uid map", "Operation not permitted", "Permission denied", "No space left on device", "unshare", "mount")


def grading() -> Finding:
    """Whether a submission can be graded here: a sandbox is started, and runs a line of code."""
    from autograder.assignment.library import build_course
    from autograder.sandbox.outside import Sandbox, SandboxError

    try:
        with tempfile.TemporaryDirectory() as folder, Sandbox(build_course([], Path(folder))) as box:
            from autograder.sandbox.child import StudentError

            child = box.spawn()
            try:
                child.load(["answer = 42"])
                if child.get("answer") == 42:
                    return Finding("ok", "grading", "a sandbox starts, and runs code")
                complaint = "it answers what it was not asked"
            except StudentError as error:
                complaint = f"{error}: {child.printed.decode(errors='replace')}"
            finally:
                child.kill()
    except (SandboxError, OSError) as error:
        complaint = str(error)
    return Finding("missing", "grading", complaint.strip().splitlines()[-1][-300:], remedy(complaint))


def remedy(complaint: str) -> str:
    """What to do about a sandbox that does not start."""
    found = next((text for key, text in REMEDIES.items() if key in complaint), None)
    if found is None and any(key in complaint for key in SAME_CAUSE):
        found = REMEDIES["namespace"]
    return found or "the guide for instructors says what a sandbox needs"


def free_disk(folder: Path) -> Finding:
    """The free space where data go."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 2**30
    found = f"{free:.1f} GiB at {existing}"
    if free < FREE_GIB_NEEDED:
        return Finding(
            "missing",
            "free disk",
            found,
            f"free some space ({FREE_GIB_NEEDED:g} GiB), or set COURSE_DATA_DIR to a larger disk",
        )
    return Finding("ok", "free disk", found)
