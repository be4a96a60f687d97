"""Execute a page again when anything that it runs has changed.

jupyter-cache recognises a page by its cells alone, so an edit in course_lib would leave old outputs on the page. Here each
page gets a fingerprint of all that its cells depend on: the local modules that they import, directly or not, the files that its front
matter names under `depends:` (globs from the root), the pinned package versions, and Python. Where the
fingerprint differs from the one of the last build, the cached outputs are dropped and Sphinx reads the page again.
"""

import ast
import hashlib
import json
import platform
import re
from pathlib import Path
from typing import Any

import yaml
from jupyter_cache import get_cache
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from pages import ROOT, page_file

CODE_CELL = re.compile(r"^```+\{code-cell\}[^\n]*\n(.*?)^```+\s*$", re.MULTILINE | re.DOTALL)
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
CELL_OPTIONS = re.compile(r"\A(?:---\n.*?\n---\n|(?::[\w-]+:[^\n]*\n)+)", re.DOTALL)


def cells_of(text: str) -> list[str]:
    """The code of each code cell of a page, without the cell's options."""
    return [CELL_OPTIONS.sub("", code) for code in CODE_CELL.findall(text)]


def imported_modules(code: str) -> set[str]:
    """Dotted names of all modules that some code may import; a line of IPython magic is passed over."""
    code = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in code.splitlines())
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_files(name: str, folders: list[Path]) -> list[Path]:
    """The local files that importing a dotted name runs: packages on the way, and the module; none for what pip installed."""
    parts = name.split(".")
    for folder in folders:
        files = []
        for depth in range(1, len(parts) + 1):
            base = folder.joinpath(*parts[:depth])
            files += [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
        if files:
            return files
    return []


def dependencies(page: Path, root: Path = ROOT) -> list[Path]:
    """Every local file that the cells of a page depend on, sorted; empty for a page without code."""
    text = page.read_text()
    cells = cells_of(text)
    if not cells:
        return []
    folders = [page.parent, root]
    found: set[Path] = set()
    todo = [name for cell in cells for name in imported_modules(cell)]
    while todo:
        for file in module_files(todo.pop(), folders):
            if file not in found:
                found.add(file)
                if file.name == "__init__.py":  # data that lies in a package, such as a style file, counts with it
                    found.update(file.parent.glob("*.mplstyle"))
                todo += imported_modules(file.read_text())
    header = FRONT_MATTER.match(text)
    for pattern in (yaml.safe_load(header[1]) or {}).get("depends", []) if header else []:
        found |= {file for file in root.glob(pattern) if file.is_file()}
    return sorted(found)


def fingerprint(page: Path, root: Path = ROOT) -> str:
    """One hash of a page's dependencies, the pinned versions and Python; "" for a page without code."""
    files = dependencies(page, root)
    if not files and not cells_of(page.read_text()):
        return ""
    total = hashlib.sha256(platform.python_version().encode())
    for file in [*files, root / "constraints.txt"]:
        if file.exists():
            total.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def refresh(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Drop the cached outputs of stale pages and say which pages Sphinx must read again."""
    root, memory = Path(app.srcdir), memory_file(app)
    old = json.loads(memory.read_text()) if memory.exists() else {}
    new = {page: fingerprint(page_file(page, root), root) for page in sorted(env.found_docs)}
    stale = [page for page in new if new[page] and new[page] != old.get(page)]
    cache = app.config.nb_execution_cache_path or memory.with_name(".jupyter_cache")  # myst-nb's own default
    drop_outputs(Path(cache), [page_file(page, root) for page in stale])
    app.fingerprints = new  # type: ignore[attr-defined]
    return [page for page in stale if page not in added]


def remember(app: Sphinx, error: Exception | None) -> None:
    """Keep the fingerprints of a build that came to its end; what an interrupted one ran stays stale."""
    if error is None:
        memory_file(app).write_text(json.dumps(app.fingerprints, indent=1, sort_keys=True))  # type: ignore[attr-defined]


def memory_file(app: Sphinx) -> Path:
    """Where the fingerprints lie."""
    return Path(app.outdir).parent / "fingerprints.json"


def drop_outputs(folder: Path, pages: list[Path]) -> None:
    """Remove what jupyter-cache holds for these pages."""
    if not pages or not folder.exists():
        return
    cache = get_cache(str(folder))
    names = {str(page) for page in pages}
    for record in cache.list_cache_records():
        if record.uri in names:
            cache.remove_cache(record.pk)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("env-get-outdated", refresh)
    app.connect("build-finished", remember)
    return {"parallel_read_safe": True, "version": "1"}
