"""See to the programs that pip cannot bring: a browser for the tests of the book, bubblewrap for the grader, PostgreSQL for one test,
systemd and its like for the test of JupyterHub.

As root on Debian or Ubuntu they are installed with apt; elsewhere a message says what to install. Without a browser the
exit status is 1. The others are only reported, or their tests skipped.
"""

import ctypes.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def find_browser() -> str | None:
    """Path of the first Chromium-like browser found."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def apt_install(packages: list[str]) -> None:
    """Install Debian packages where this process may; do nothing elsewhere, and leave a failure to apt's own message."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    print(f"Installing {' '.join(packages)} with apt-get.", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    """Install what is missing where possible; 1 if there is still no browser."""
    missing: list[str] = []
    if find_browser() is None:
        missing += ["chromium", "fonts-liberation"]
    if shutil.which("bwrap") is None:
        missing.append("bubblewrap")
    if ctypes.util.find_library("seccomp") is None:
        missing.append("libseccomp2")  # the filter of system calls in the grader's sandbox
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        missing.append("postgresql")
    for program, package in {"systemctl": "systemd", "dbus-daemon": "dbus", "ip": "iproute2"}.items():
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            missing.append(package)
    if missing:
        apt_install(missing)
    if shutil.which("bwrap") is None:
        print("note: bubblewrap is missing; the grader will need it (sudo apt install bubblewrap)", file=sys.stderr)
    if find_browser() is None:
        print(
            "error: the tests open the book in Chromium or Google Chrome, and neither was found.\n"
            "Install one, for instance:  sudo apt install chromium   or   brew install --cask google-chrome",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
