"""The packages that a notebook may import: those that grading has, whatever else a student's machine holds."""

import ast
import sys
from collections.abc import Iterable
from contextlib import suppress

# By the names that one imports. Others may be installed where the course is graded, and may be missing there.
PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "sympy",
    "matplotlib",
    "sklearn",
    "PIL",
    "safetensors",
    "tqdm",
    "rich",
    "IPython",
)


def unknown_packages(sources: Iterable[str], given: Iterable[str]) -> list[str]:
    """The packages that cells of a notebook import and grading may lack; `given` are the modules that lie beside it."""
    from IPython.core.inputtransformer2 import TransformerManager  # which knows a notebook's magics

    allowed = {*sys.stdlib_module_names, *PACKAGES, "course_lib", *given}
    found: dict[str, None] = {}
    for source in sources:
        with suppress(SyntaxError, ValueError):  # a cell that does not run says so itself
            for node in ast.walk(ast.parse(TransformerManager().transform_cell(source))):
                if isinstance(node, ast.Import):
                    found |= dict.fromkeys(name.name.split(".")[0] for name in node.names)
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    found[node.module.split(".")[0]] = None
    return [name for name in found if name not in allowed]
