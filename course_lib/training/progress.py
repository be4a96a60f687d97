"""Show how far training is."""

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from course_lib.training import distributed
from course_lib.training.state import TrainState


def progress(states: Iterable[TrainState], steps: int, every: float = 30.0) -> Iterator[TrainState]:
    """Pass the states on and show a bar with the loss, steps a second and the time that is left; off a terminal, a line now and then."""
    console = Console(stderr=True)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    rank = distributed.rank()
    shown_here = console.is_terminal and rank == 0
    start, first, shown = time.monotonic(), None, float("-inf")
    with Progress(*columns, console=console, disable=not shown_here) as bar:
        task = bar.add_task("training", total=steps, note="")
        for state in states:
            first = state.step - 1 if first is None else first
            seconds = time.monotonic() - start
            speed = (state.step - first) / seconds
            note = f"loss {state.loss:.4f}, {speed:.2f} steps/s"
            bar.update(task, completed=state.step, note=note)
            if rank == 0 and not console.is_terminal and (seconds - shown >= every or state.step == steps):
                shown = seconds
                console.print(f"step {state.step}/{steps}, {note}, {(steps - state.step) / speed / 60:.1f} min left")
            yield state
