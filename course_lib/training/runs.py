"""A training run's folder: run.json (its options), state.safetensors (to resume from), log.csv, pictures, the finished model."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.files import read_json, write_atomically, wrong_entry
from course_lib.models.cards import ModelCard
from course_lib.models.store import save
from course_lib.training import distributed
from course_lib.training.state import TrainState

HEADER = "step,loss,gradient_norm\n"
REMEDY = "delete the folder and train anew"


@dataclass
class Run:
    """The folder of one run and the options that fix its result; `minutes` counts training over all resumptions.

    Where several processes train together, the first alone `writes`.
    """

    folder: Path
    options: dict[str, Any]
    minutes: float = 0.0
    started: float = field(default_factory=time.monotonic)
    writes: bool = field(default_factory=lambda: distributed.rank() == 0)

    @classmethod
    def open(cls, folder: Path | str, resume: bool, usual: Mapping[str, Any], **given: Any) -> "Run":
        """The run that begins in an unused folder, or goes on where one is; nothing is written before `begin`.

        Its options are those `given`, then those that the folder's run was begun with, then the `usual` ones.
        Raises ValueError where a run is there and `resume` is not set, or where it was begun with other options.
        """
        folder = Path(folder)
        stored = stored_run(folder, usual)
        if stored is None:
            return cls(folder, {**usual, **given})
        if not resume:
            raise ValueError(f"{folder} already holds a run: resume it (--resume), or choose another folder")
        options = stored["options"]
        different = [f"{k} was {options[k]} and is now {v}" for k, v in given.items() if options[k] != v]
        if different:
            raise ValueError(
                f"{folder} was started with other options ({', '.join(different)}): a resumed run must keep them"
            )
        return cls(folder, options, stored["minutes"])

    def begin(self) -> None:
        """Make the folder, and write the options when every process has read what was there."""
        distributed.wait()
        if self.writes:
            self.write()

    @property
    def state_file(self) -> Path | None:
        """The state to resume from, or None where nothing is saved yet."""
        file = self.folder / "state.safetensors"
        return file if file.exists() else None

    def keep(self, states: Iterable[TrainState], save_every: int = 250) -> Iterator[TrainState]:
        """Pass the states on; every `save_every` steps, and after the last, save the state and the log."""
        if not self.writes:
            yield from states
            return
        rows: list[str] = []
        for state in states:
            rows.append(f"{state.step},{state.loss:.6g},{state.gradient_norm:.6g}\n")
            if state.step % save_every == 0 or state.step == self.options["steps"]:
                self.save(state, rows)
                rows = []
            yield state

    def save(self, state: TrainState, rows: list[str]) -> None:
        """Write state, log and minutes; the log first drops what an interrupted run had written past the state before."""
        log, first = self.folder / "log.csv", step_of(rows[0])
        old = log.read_text().splitlines(keepends=True)[1:] if log.exists() else []
        kept = [row for row in old if step_of(row) < first]
        write_atomically(log, "".join([HEADER, *kept, *rows]).encode())
        # The log goes first: a kill in between leaves rows past the state, which the resumed run drops, and never a gap.
        state.save(self.folder / "state.safetensors")
        now = time.monotonic()
        self.minutes, self.started = self.minutes + (now - self.started) / 60, now
        self.write()

    def write(self) -> None:
        """Write run.json."""
        contents = {"options": self.options, "minutes": round(self.minutes, 3)}
        write_atomically(self.folder / "run.json", json.dumps(contents, indent=2).encode() + b"\n")

    def finish(self, state: TrainState, **card: Any) -> ModelCard:
        """Write the averaged network as model.safetensors with its card, and return that; `card` gives what only the recipe knows."""
        network: Any = state.ema.module
        complete = ModelCard(
            name=self.options["recipe"],
            architecture=type(network).__name__,
            config=network.config,
            parameters=sum(p.numel() for p in network.parameters()),
            recipe=self.options,
            steps=state.step,
            images_seen=state.step * self.options["batch_size"],
            seed=self.options["seed"],
            device=str(next(network.parameters()).device),
            minutes=round(self.minutes, 1),
            **card,
        )
        return save(self.folder / "model.safetensors", network, complete) if self.writes else complete


def step_of(row: str) -> int:
    """The step that a row of a log is of; raises ValueError where it names none."""
    step = row.partition(",")[0]
    if not step.isdecimal():
        raise ValueError(f"log.csv is damaged (a row begins with {step!r:.20}): {REMEDY}")
    return int(step)


def stored_run(folder: Path, usual: Mapping[str, Any]) -> dict[str, Any] | None:
    """Options and minutes of the run in a folder, or None where there is none; raises ValueError where they are damaged."""
    file = folder / "run.json"
    try:
        stored = read_json(file, REMEDY, options=dict, minutes=(float, int))
    except (FileNotFoundError, NotADirectoryError):
        return None
    options = stored["options"]
    problem = wrong_entry(options, **{name: type(value) for name, value in usual.items()})
    if unknown := ", ".join(sorted(options.keys() - usual.keys())):
        problem = f"it has the unknown options {unknown}"
    if problem:
        raise ValueError(f"{file} is damaged ({problem}): {REMEDY}")
    return stored
