"""A server of a class, set up in a world of its own (world.sh) as the page "On JupyterHub" says, with two students."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1:8000"
INSTRUCTOR, STUDENT, OTHER, HELPER = "instructor", "ada", "mal", "hana"
PASSWORD = "correct horse battery staple"
CHECKOUT = Path("/home/instructor/learning-to-denoise")
EXCHANGE = Path("/srv/nbgrader/exchange/learning-to-denoise")
TERM = CHECKOUT / "term"
PARTS = (
    "autograder",
    "course",
    "course_lib",
    "solutions",
    "deploy",
    "nbgrader_config.py",
    "pyproject.toml",
    "constraints.txt",
)
TEXTS = ("README.md", "LICENSE", "LICENSE-TEXT")


def run(*words: str | Path, user: str = "", check: bool = True) -> str:
    """What a command says, run as root, or in a login shell of a user."""
    command = [str(word) for word in words]
    if user:
        command = ["su", "--login", user, "--command", " ".join(command)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def add_user(name: str, groups: str = "") -> None:
    """A user with a home and a password."""
    run("useradd", "--create-home", "--shell", "/bin/bash", *(["--groups", groups] if groups else []), name)
    subprocess.run(["chpasswd"], input=f"{name}:{PASSWORD}", text=True, check=True)


def open_the_way(environment: Path) -> None:
    """Let everybody reach this Python, which a developer's home may hide, and hide the rest of this checkout from them.

    A server installs Python where all may read it; here it is the one that runs the tests.
    """
    for folder in {Path(sys.base_prefix), environment}:
        for parent in folder.parents:
            parent.chmod(parent.stat().st_mode | 0o011)
    for part in ROOT.iterdir():
        if part != environment and not part.is_symlink():
            part.chmod(part.stat().st_mode & 0o700)


def install(proxy: Path) -> None:
    """The instructor's checkout, install.sh, and the students, in the page's order."""
    environment = Path(sys.prefix)
    add_user(INSTRUCTOR)
    for part in (*PARTS, *TEXTS):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, CHECKOUT / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy(source, CHECKOUT / part)
    run("chown", "--recursive", f"{INSTRUCTOR}:", CHECKOUT)
    open_the_way(environment)
    shutil.copytree(proxy, "/opt/learning-to-denoise/proxy", symlinks=True)
    set_up()
    for name, groups in {STUDENT: "students", OTHER: "students", HELPER: "instructors"}.items():
        add_user(name, groups)
    run("systemctl", "restart", "jupyterhub")  # which learns of a new instructor when it starts
    wait_for_the_hub()


def set_up() -> str:
    """Run install.sh with what is there."""
    os.environ["HUB_ENVIRONMENT"] = sys.prefix
    return run(CHECKOUT / "deploy" / "jupyterhub" / "install.sh", "--offline")


def wait_for_the_hub(seconds: float = 90) -> None:
    """Return when the hub answers. Raises TimeoutError with its log where it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{ADDRESS}/hub/health", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(run("journalctl", "--unit", "jupyterhub", "--no-pager", check=False)[-5000:])
