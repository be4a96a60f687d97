"""Python imports this by itself when it starts with this folder on its path: it hides the packages that a reader need not have."""

import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class Hidden(MetaPathFinder):
    """Finds nothing, and says so at once, for the modules whose names it was given."""

    def __init__(self, names: list[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Refuse a hidden module and all below it; leave the rest to others."""
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(
                f"No module named {fullname!r} where the package alone is installed (it is here, and hidden)",
                name=fullname,
            )


if "COURSE_HIDDEN_MODULES" in os.environ:
    sys.meta_path.insert(0, Hidden(json.loads(os.environ["COURSE_HIDDEN_MODULES"])))
