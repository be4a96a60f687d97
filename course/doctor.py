"""What `course doctor` looks at: the machine, the packages, the data, and what grading will need."""

import platform
import shutil
import subprocess
import sys
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


def examine() -> list[Finding]:
    """All findings, in the order in which they are shown."""
    return [python(), *torch_and_device(), *data_sets(), bubblewrap(), free_disk(sets.data_dir())]


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
