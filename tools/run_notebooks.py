"""Run the notebooks of the built book as a reader does: downloaded, in a fresh environment, each in an empty folder.

    .venv/bin/python tools/run_notebooks.py [NAME ...]

The environment holds ipykernel and nothing else, as far as the book is concerned. The first cell of the first notebook fetches the book
and installs its library, just as it does in Colab, except that git takes the last commit of this checkout instead of the published one.
The others find the library there. Names choose notebooks by a part of their path; without any, all are run.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "_build" / "html" / "notebooks"
ENVIRONMENT = ROOT / "build" / "notebooks"
REPOSITORY = "https://github.com/learning-to-denoise/learning-to-denoise"
KERNEL = "reader"
SECONDS_A_CELL = 1200  # the first cell installs PyTorch


def make_environment() -> None:
    """A new environment with ipykernel alone, whose kernel Jupyter finds under the name KERNEL."""
    python = str(ENVIRONMENT / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "ipykernel"], check=True)
    subprocess.run([python, "-m", "ipykernel", "install", "--prefix", str(ENVIRONMENT), "--name", KERNEL], check=True)
    os.environ["JUPYTER_PATH"] = str(ENVIRONMENT / "share" / "jupyter")


def variables() -> dict[str, str]:
    """The reader's environment variables: nothing of this checkout, and git sent here instead of to the network."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    redirect = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": REPOSITORY,
    }
    return {**kept, **redirect, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}


def run(notebook: Path) -> str:
    """Run one notebook in an empty folder; what went wrong, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            nbformat.read(notebook, as_version=4),
            kernel_name=KERNEL,
            timeout=SECONDS_A_CELL,
            startup_timeout=SECONDS_A_CELL,
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env=variables())
        except CellExecutionError as error:
            return str(error)
    return ""


def main(names: list[str]) -> int:
    """Run them one after the other and print the times."""
    chosen = [file for file in sorted(NOTEBOOKS.rglob("*.ipynb")) if not names or any(n in str(file) for n in names)]
    if not chosen:
        print(f"error: no notebook in {NOTEBOOKS} is called so; run `make book` first", file=sys.stderr)
        return 1
    make_environment()
    table, failed = Table("notebook", "seconds", ""), 0
    for file in chosen:
        start = time.monotonic()
        problem = run(file)
        if problem:
            print(problem, file=sys.stderr)
        failed += bool(problem)
        table.add_row(
            str(file.relative_to(NOTEBOOKS)),
            f"{time.monotonic() - start:.0f}",
            "failed" if problem else "ran to its end",
        )
    Console().print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
