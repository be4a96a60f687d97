"""Benchmarks that draw in parts: each is kept when it is done, so that the drawing may be stopped at any moment and begun again."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

import platformdirs
from torch import Tensor

from course_lib.models.tensors import save_tensors

RUNS = platformdirs.user_cache_path("learning-to-denoise") / "runs"


class Named(Protocol):
    """One way to draw."""

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        ...


Setting = TypeVar("Setting", bound=Named)


def place(kept: Path, setting: Named, number: int) -> Path:
    """The file of a part."""
    return kept / setting.name.replace(", ", "-").replace(" ", "_") / f"{number:03d}.safetensors"


def parts_of(kept: Path, setting: Named) -> int:
    """How many parts of a setting there are, without a gap."""
    return next(k for k in count() if not place(kept, setting, k).exists())


def draw_all(
    kept: Path, settings: Iterable[Setting], draw: Callable[[Setting, int], Mapping[str, Tensor]], parts: int, only: str
) -> Iterator[str]:
    """Draw what is missing of so many parts of the settings with `only` in their names, and yield a line for each."""
    chosen = [setting for setting in settings if only in setting.name]
    for number in range(parts):
        for setting in chosen:
            file, started = place(kept, setting, number), time.process_time()
            if not file.exists():
                tensors = draw(setting, number)
                seconds = time.process_time() - started
                save_tensors(file, tensors, {"seconds": f"{seconds:.1f}"})
                yield f"{setting.name}, part {number}: {seconds:.1f} s"


def arguments_of(doc: str | None, name: str, n: int, part: int) -> Any:
    """What the command line asks for: `draw` or `measure`, the number of `parts` of so many pictures each, and where things lie."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("draw", "measure"))
    parser.add_argument("--n", type=int, default=n, help=f"pictures of a setting, a multiple of {part}")
    parser.add_argument("--only", default="", help="draw only the settings with this in their names")
    parser.add_argument("--kept", type=Path, default=RUNS / name)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--quick", action="store_true", help="one part")
    found = parser.parse_args()
    if found.n < part or found.n % part:
        parser.error(f"--n must be a multiple of {part}; got {found.n}")
    found.parts = 1 if found.quick else found.n // part
    return found
