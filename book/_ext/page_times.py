"""Write down how long each page's cells ran, and whether this build ran them: _build/page-times.json."""

import json
import time
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def write_times(app: Sphinx, error: Exception | None) -> None:
    """One entry for each page with code, in the order of the page names."""
    if error is not None or app.builder.format != "html":
        return
    times = {}
    for page, metadata in sorted(app.env.nb_metadata.items()):  # type: ignore[attr-defined]
        executed = metadata.get("exec_data")
        if executed and executed["runtime"] is not None:
            times[page] = {"seconds": round(executed["runtime"], 2), "run": executed["mtime"] >= app.build_started}  # type: ignore[attr-defined]
    (Path(app.outdir).parent / "page-times.json").write_text(json.dumps(times, indent=1) + "\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.build_started = time.time()  # type: ignore[attr-defined]
    app.connect("build-finished", write_times)
    return {"parallel_read_safe": True, "version": "1"}
