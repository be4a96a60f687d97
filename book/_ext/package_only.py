"""Run the pages as a reader would who has installed the package and Jupyter, and none of what builds, checks or grades.

The build's environment holds all extras. So the kernels that it starts see only what `pip install learning-to-denoise ipykernel`
would bring, and a page that imports more fails: its notebook would stop at that cell on the reader's machine.
"""

import importlib.metadata
import json
import os
import re
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from sphinx.application import Sphinx

PACKAGE = "learning-to-denoise"
KERNEL = Path(__file__).with_name("kernel")  # holds what hides the rest


def canonical(name: str) -> str:
    """The name of a distribution as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def brought(*names: str) -> set[str]:
    """The distributions that installing the named ones brings, without any extra."""
    found: set[str] = set()
    todo = [canonical(name) for name in names]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another system, or replaced by one of another name
            continue
        found.add(name)
        wanted = [
            need for need in map(Requirement, needs) if need.marker is None or need.marker.evaluate({"extra": ""})
        ]
        todo += [canonical(need.name) for need in wanted]
    return found


def hidden_modules() -> list[str]:
    """The installed modules that a reader need not have."""
    allowed = brought(PACKAGE, "ipykernel")
    modules = importlib.metadata.packages_distributions()
    return sorted(name for name, by in modules.items() if not allowed & {canonical(one) for one in by})


def environment() -> dict[str, str]:
    """The variables under which a Python sees the package alone."""
    path = [str(KERNEL), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path), "COURSE_HIDDEN_MODULES": json.dumps(hidden_modules())}


def setup(app: Sphinx) -> dict[str, Any]:
    """Let every kernel of this build inherit them."""
    os.environ.update(environment())
    return {"parallel_read_safe": True, "version": "1"}
