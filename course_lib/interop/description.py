"""What those must know who draw from a model without the course; and which models draw in a way that is exported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from course_lib.diffusion.continuous import EDM, Straight
from course_lib.diffusion.schedules import TableSchedule
from course_lib.models.cards import ModelCard
from course_lib.models.store import denoising, load
from course_lib.nets.conditions import Labels, Until
from course_lib.sampling.generate import Denoising
from course_lib.types import Schedule

CODE = Path(__file__).parent  # where the code lies that goes into the folders


@dataclass(frozen=True)
class Exported:
    """A model that can be exported, and what those who draw from it elsewhere must know."""

    card: ModelCard
    network: nn.Module
    autoencoder: nn.Module | None
    description: dict[str, Any]  # JSON: prediction, shape, schedule, clip, classes, leaps


def exported(model: Path | str) -> Exported:
    """A model that is ready to be exported; raises ValueError, as `load` does, and where it cannot be."""
    network, card = load(model)
    drawing = denoising(network, card)
    return Exported(card, network, drawing.autoencoder, describe(card.name, drawing))


def describe(name: str, model: Denoising) -> dict[str, Any]:
    """What one must know to draw from a network, as JSON; raises ValueError for a model that draws in a way that is not exported."""
    takes, schedule = model.takes, model.schedule
    if len(model.shape) != 3:
        raise ValueError(f"{name} draws no pictures: only models of pictures are exported")
    if model.latent:
        raise ValueError(
            f"{name} draws x_0 with fresh noise at every step (a denoising diffusion GAN), which no scheduler elsewhere does"
        )
    if takes is not None and not isinstance(takes, Labels | Until):
        raise ValueError(
            f"{name} is told more than a class, such as a picture to restore: only models of a class, or of nothing, are exported"
        )
    if isinstance(takes, Until) and not takes.steps:
        raise ValueError(f"{name} is a consistency model, which adds fresh noise between its leaps: it is not exported")
    leaps = sorted(takes.steps) if isinstance(takes, Until) else None
    return {
        "name": name,
        "prediction": model.prediction.name,
        "shape": list(model.shape),
        "schedule": describe_schedule(name, schedule),
        "clip": None if leaps else model.clip,
        "classes": takes.classes if isinstance(takes, Labels) else None,
        "leaps": leaps,
    }


def describe_schedule(name: str, schedule: Schedule) -> dict[str, Any]:
    """Signal and noise at every time of a table, or the few numbers that a continuous schedule is made of; raises ValueError for others."""
    if isinstance(schedule, TableSchedule):
        steps = range(schedule.T + 1)
        signal, noise = ([float(level(t)) for t in steps] for level in (schedule.signal, schedule.noise))
        if not signal[-1]:
            raise ValueError(f"{name} has no signal left at its last time, where schedulers elsewhere divide by it")
        return {"kind": "table", "signal": signal, "noise": noise}
    if isinstance(schedule, Straight):
        return {"kind": "straight"}
    if isinstance(schedule, EDM):
        low = min(schedule.sigma_min, schedule.T)
        return {"kind": "edm", "sigma_max": schedule.T, "sigma_min": low, "rho": schedule.rho}
    raise ValueError(f"{name} has a schedule of the kind {type(schedule).__name__}, which is not exported")


def write_json(path: Path, entries: Mapping[str, Any]) -> None:
    """Write JSON that people can read."""
    path.write_text(json.dumps(entries, indent=2) + "\n")


def facts(card: ModelCard) -> str:
    """What a folder's README says of the model."""
    schedule = card.schedule["name"]
    return (
        f"{card.architecture}, {card.parameters:,} parameters, trained on {card.data}; it predicts {card.prediction}, and its schedule is "
        f"{schedule}.\nExported from the course Learning to Denoise (weights {card.sha256[:12]}); the code is under the MIT licence."
    )
