"""A training run's folder: run.json (its options), state.safetensors (to resume from), log.csv, pictures, the finished model."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.files import write_atomically
from course_lib.models.cards import ModelCard
from course_lib.models.store import save
from course_lib.training import distributed
from course_lib.training.loop import TrainState


@dataclass
class Run:
    """The folder of one run and the options that it was started with; `minutes` counts training over all resumptions.

    Where several processes train together, the first alone `writes`.
    """

    folder: Path
    options: dict[str, Any]
    minutes: float = 0.0
    started: float = field(default_factory=time.monotonic)
    writes: bool = field(default_factory=lambda: distributed.rank() == 0)

    @classmethod
    def open(cls, folder: Path | str, resume: bool, **options: Any) -> "Run":
        """Begin a run in an unused folder, or go on with the one that is there.

        Raises ValueError where a run is there and `resume` is not set, where it was started with other options, or where the
        folder cannot be written.
        """
        folder = Path(folder)
        file = folder / "run.json"
        if distributed.rank() > 0:
            distributed.wait()  # until the first has checked the folder
            return cls(folder, options)
        if file.exists():
            if not resume:
                raise ValueError(f"{folder} already holds a run: resume it (--resume), or choose another folder")
            stored = read_json(file)
            different = {k: (stored["options"].get(k), v) for k, v in options.items() if stored["options"].get(k) != v}
            if different:
                listing = ", ".join(f"{k} was {old} and is now {new}" for k, (old, new) in different.items())
                raise ValueError(f"{folder} was started with other options ({listing}): a resumed run must keep them")
            distributed.wait()
            return cls(folder, options, stored["minutes"])
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"{folder} could not be made ({error.strerror}): choose a folder that you may write to"
            ) from error
        run = cls(folder, options)
        run.write()
        distributed.wait()
        return run

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
        log = self.folder / "log.csv"
        first = int(rows[0].split(",")[0])
        old = log.read_text().splitlines(keepends=True)[1:] if log.exists() else []
        kept = [row for row in old if int(row.split(",")[0]) < first]
        write_atomically(log, "".join(["step,loss,gradient_norm\n", *kept, *rows]).encode())
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


def stored_options(folder: Path) -> dict[str, Any]:
    """The options of the run in a folder; none where no run is there yet."""
    file = folder / "run.json"
    return read_json(file)["options"] if file.exists() else {}


def read_json(file: Path) -> dict[str, Any]:
    """The contents of a run's JSON file; raises ValueError where it is damaged."""
    try:
        return json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is damaged ({error}): delete the folder and train anew") from error
