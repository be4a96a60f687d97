"""Pages run side by side before Sphinx reads them, and one that fails is reported once, as if it had run in its turn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"
PAGE = """---
jupytext: {{text_representation: {{extension: .md, format_name: myst}}}}
kernelspec: {{name: python3, display_name: Python 3, language: python}}
{header}---
# Page

```{{code-cell}} ipython3
{code}
```
"""
MEET = """from pathlib import Path
import time
Path("{mine}.here").touch()
until = time.monotonic() + 60
while not Path("{other}.here").exists() and time.monotonic() < until:
    time.sleep(0.05)
print("met " * 3 if Path("{other}.here").exists() else "waited in vain")"""
CONFIG = """
title: Small
author: nobody
only_build_toc_files: true
execute: {{execute_notebooks: cache, timeout: 120}}
sphinx:
  local_extensions: {{parallel_pages: {folder}, page_times: {folder}}}
"""


def book(folder: Path, header: str = "", **pages: str) -> subprocess.CompletedProcess:
    """Build a book of some pages with one cell each, the first of them its root."""
    for name, code in pages.items():
        (folder / f"{name}.md").write_text(PAGE.format(code=code, header=header))
    first, *others = pages
    (folder / "_toc.yml").write_text(
        f"format: jb-book\nroot: {first}\nchapters:\n" + "".join(f"- file: {name}\n" for name in others)
    )
    (folder / "_config.yml").write_text(CONFIG.format(folder=EXTENSIONS))
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(folder), "-W", "-q", "--keep-going"]
    return subprocess.run(command, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core runs one page at a time")
@pytest.mark.parametrize("header", ["", "mystnb: {execution_timeout: 90}\n"])
def test_pages_run_side_by_side_and_are_not_run_again(tmp_path: Path, header: str) -> None:
    pages = {one: MEET.format(mine=one, other=other) for one, other in (("left", "right"), ("right", "left"))}
    done = book(tmp_path, header, **pages)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "running the code of 2 pages, 2 at a time" in done.stdout and "2 of 2" in done.stdout
    for name in pages:
        page = (tmp_path / "_build" / "html" / f"{name}.html").read_text()
        assert "met met met" in page
    times = json.loads((tmp_path / "_build" / "page-times.json").read_text())
    assert {name: entry["run"] for name, entry in times.items()} == {"left": True, "right": True}
    assert "running the code" not in book(tmp_path, **pages).stdout


def test_a_page_that_fails_is_reported_once_and_the_others_are_there(tmp_path: Path) -> None:
    done = book(tmp_path, good="print('fine')", bad="1 / 0")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and said.count("Executing notebook failed") == 1
    assert "ZeroDivisionError" in (tmp_path / "_build" / "html" / "reports" / "bad.err.log").read_text()
    assert "fine" in (tmp_path / "_build" / "html" / "good.html").read_text()
