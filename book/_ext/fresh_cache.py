"""Execute a page again when anything that it runs has changed.

jupyter-cache recognises a page by its cells alone, so an edit in course_lib would leave old outputs on the page. Here each
page gets a fingerprint of all that its cells depend on: the local modules that they import, directly or not, the files that its front
matter names under `depends:` (globs from the root), the pinned package versions, and Python. Where the
fingerprint differs from the one of the last build, the cached outputs are dropped and Sphinx reads the page again.
"""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

from jupyter_cache import get_cache
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from imports import cells_of, declared_files, imported_modules, module_files
from pages import ROOT, page_file


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
    return sorted(found | declared_files(text, root))


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
            cache.remove_cache(record.to_dict()["pk"])  # record.pk is declared as a column


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("env-get-outdated", refresh)
    app.connect("build-finished", remember)
    return {"parallel_read_safe": True, "version": "1"}
