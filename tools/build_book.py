"""Build the book into _build/html with warnings as errors, then show how long each page ran."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
SECONDS_A_PAGE = 60  # on two CPU cores; a slower page is marked in the table
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # a terminal's colours, which Sphinx writes to files too


def build() -> int:
    """Run jupyter-book and pass its messages on; its exit status.

    A failed build forgets what Sphinx has read, so that the next one reports the same warnings again.
    """
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(ROOT), "-n", "-W", "--keep-going", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            # The kernel warns that it talks over TCP, unencrypted; it does so with this machine alone.
            if line.strip() and "Kernel is running over TCP" not in line:
                print(line if sys.stdout.isatty() else COLOUR.sub("", line), end="", flush=True)
    if process.returncode:
        shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
    return process.returncode


def show_times(seconds: float) -> None:
    """Print the table: page, seconds, cached or run."""
    times = json.loads((BUILD / "page-times.json").read_text())
    table = Table(
        "page", "seconds", "", title=f"pages with code (the whole build took {seconds:.0f} s)", title_justify="left"
    )
    for page, entry in times.items():
        slow = " (too slow)" if entry["seconds"] > SECONDS_A_PAGE else ""
        table.add_row(page, f"{entry['seconds']:.1f}{slow}", "run" if entry["run"] else "cached")
    total = sum(entry["seconds"] for entry in times.values())
    table.add_section()
    table.add_row("all", f"{total:.1f}", f"{sum(entry['run'] for entry in times.values())} run")
    Console().print(table)


def main() -> int:
    """Build, and print the table where the build succeeded."""
    start = time.monotonic()
    status = build()
    if status == 0:
        show_times(time.monotonic() - start)
        print(f"The book is in {BUILD.relative_to(ROOT)}/html: open index.html there, or run `make serve`.")
    return status


if __name__ == "__main__":
    sys.exit(main())
