"""Run the pages whose outputs are not in the cache side by side, before Sphinx reads one page after the other and finds them there.

myst-nb's own reader and client do the work, so what they leave in the cache is what they would have left later. A page that fails is
not in the cache: Sphinx runs it again when its turn comes, and reports the error as ever.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

from jupyter_cache import get_cache
from myst_nb.core.execute import create_client
from myst_nb.core.execute.base import NotebookClientBase
from myst_nb.core.read import create_nb_reader
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from pages import page_file

AT_ONCE = 4  # a page may take 2 GB


class Silent:
    """A logger that says nothing: what fails is told when Sphinx reads the page."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *text, **options: None


def run_pages(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Run those of the named pages that have no cached outputs, as many at once as there are cores."""
    config: Any = env.mystnb_config  # type: ignore[attr-defined]
    if config.execution_mode != "cache":
        return
    found = {name: client(page_file(name, Path(app.srcdir)), env) for name in names}
    waiting = {name: one for name, one in found.items() if one is not None and not cached(one, config)}
    workers = min(len(waiting), len(os.sched_getaffinity(0)), AT_ONCE)
    if workers < 2:
        return
    print(f"running the code of {len(waiting)} pages, {workers} at a time", flush=True)
    # The longest first, so that the last pages, while others have nothing left to do, are short ones.
    longest = sorted(waiting, key=lambda name: page_file(name, Path(app.srcdir)).stat().st_size, reverse=True)
    with ThreadPoolExecutor(workers) as pool:  # each page has a process of its own, its kernel
        running = {pool.submit(run, waiting[name]): name for name in longest}
        for number, future in enumerate(as_completed(running), 1):
            print(f"{number} of {len(waiting)}: {running[future]}", flush=True)


def client(file: Path, env: BuildEnvironment) -> NotebookClientBase | None:
    """What would run a page, and knows its cells; None for a page without any."""
    if not file.is_file():
        return None
    text = file.read_text()
    myst, config = env.myst_config, env.mystnb_config  # type: ignore[attr-defined]
    reader = create_nb_reader(str(file), myst, config, text)
    if reader is None:
        return None
    notebook = reader.read(text)
    options = dict(notebook.metadata.get(config.metadata_key, {}))  # how the page itself says that it is to be run
    try:
        config = config.copy(**options)
    except (TypeError, ValueError):  # Sphinx will say what is wrong with them
        return None
    return create_client(notebook, str(file), config, Silent(), reader.read_fmt)  # type: ignore[arg-type]


def cached(one: NotebookClientBase, config: Any) -> bool:
    """Whether the cache holds the outputs of these cells."""
    cache = get_cache(config.execution_cache_path or ".jupyter_cache")
    with suppress(KeyError):
        cache.match_cache_notebook(one.notebook)
        return True
    return False


def run(one: NotebookClientBase) -> None:
    """Run a page into the cache."""
    with suppress(Exception), one:  # Sphinx will say what is wrong
        pass


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("env-before-read-docs", run_pages)
    return {"parallel_read_safe": True, "version": "1"}
