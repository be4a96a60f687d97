"""Python imports this by itself when it starts with this folder on its path: it hides the packages that a reader need not have."""

import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Without:
    """A finder of modules that does not find those of some names, as if they were not installed."""

    def __init__(self, finder: Any, names: frozenset[str]) -> None:
        self.finder, self.names = finder, names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module is, or None where it is hidden. To raise here would stop those who only ask whether a module is there."""
        return None if fullname.partition(".")[0] in self.names else self.finder.find_spec(fullname, path, target)

    def __getattr__(self, name: str) -> Any:
        """What else a finder can do, such as telling of distributions."""
        return getattr(self.finder, name)


if "COURSE_HIDDEN_MODULES" in os.environ:
    hidden = frozenset(json.loads(os.environ["COURSE_HIDDEN_MODULES"]))
    sys.meta_path[:] = [Without(finder, hidden) for finder in sys.meta_path]  # type: ignore[misc]
