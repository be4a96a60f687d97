"""A page is executed again exactly when something that it runs has changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fresh_cache import cells_of, dependencies, fingerprint, imported_modules

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"

HEADER = """---
{extra}jupytext: {{text_representation: {{extension: .md, format_name: myst}}}}
kernelspec: {{name: python3, display_name: Python 3, language: python}}
---
# Page

```{{code-cell}} ipython3
:tags: [hide-input]
{code}
```
"""

CONFIG = """
title: Small
author: nobody
only_build_toc_files: true
execute: {{execute_notebooks: cache, timeout: 60}}
sphinx:
  local_extensions: {{fresh_cache: {folder}, page_times: {folder}}}
"""


@pytest.fixture
def small_book(tmp_path: Path) -> Path:
    """A book of two pages: one uses the package `tiny` through a module of its own, the other uses nothing."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "__init__.py").write_text("")
    (tmp_path / "tiny" / "core.py").write_text("from tiny import low\nvalue = low.value\n")
    (tmp_path / "tiny" / "low.py").write_text("value = 1\n")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "helper.py").write_text("import tiny.core\nvalue = tiny.core.value\n")
    (tmp_path / "pages" / "user.md").write_text(
        HEADER.format(extra="depends: [weights/*.bin]\n", code="import helper\nprint('value', helper.value)")
    )
    (tmp_path / "other.md").write_text(HEADER.format(extra="", code="print(2)"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.bin").write_bytes(b"1")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: other\nchapters:\n- file: pages/user\n")
    (tmp_path / "_config.yml").write_text(CONFIG.format(folder=EXTENSIONS))
    return tmp_path


def build(book: Path) -> dict[str, bool]:
    """Build, and say for each page whether its cells ran."""
    program = Path(sys.executable).with_name("jupyter-book")
    environment = {**os.environ, "PYTHONPATH": str(book)}
    done = subprocess.run(
        [str(program), "build", str(book), "-W"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {page: entry["run"] for page, entry in json.loads((book / "_build" / "page-times.json").read_text()).items()}


def test_an_edit_below_a_page_runs_that_page_alone(small_book: Path) -> None:
    both, neither = {"other": True, "pages/user": True}, {"other": False, "pages/user": False}
    user = {"other": False, "pages/user": True}
    assert build(small_book) == both
    assert build(small_book) == neither
    (small_book / "tiny" / "low.py").write_text("value = 10\n")
    assert build(small_book) == user
    assert "value 10" in (small_book / "_build" / "html" / "pages" / "user.html").read_text()
    assert build(small_book) == neither
    (small_book / "weights" / "a.bin").write_bytes(b"2")
    assert build(small_book) == user


def test_dependencies_follow_imports_and_front_matter(small_book: Path) -> None:
    found = {str(file.relative_to(small_book)) for file in dependencies(small_book / "pages" / "user.md", small_book)}
    assert found == {"pages/helper.py", "tiny/__init__.py", "tiny/core.py", "tiny/low.py", "weights/a.bin"}
    assert dependencies(small_book / "other.md", small_book) == []


def test_pinned_versions_count(small_book: Path) -> None:
    before = fingerprint(small_book / "pages" / "user.md", small_book)
    (small_book / "constraints.txt").write_text("torch==1\n")
    assert fingerprint(small_book / "pages" / "user.md", small_book) != before


def test_cells_are_read_without_their_options() -> None:
    text = (
        "```{code-cell} ipython3\n---\ntags: [a]\n---\nimport one\n```\n\n```{code-cell}\n:tags: [b]\nimport two\n```\n"
    )
    assert [cell.strip() for cell in cells_of(text)] == ["import one", "import two"]


def test_imports_of_all_kinds_are_seen() -> None:
    code = "%matplotlib inline\nimport a.b as c\nfrom d import e\ndef f():\n    from g.h import i\n"
    assert imported_modules(code) == {"a.b", "d", "d.e", "g.h", "g.h.i"}
