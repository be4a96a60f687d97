"""Model cards: what a model is, how it was made, and what it measured; and how to build the model from one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from course_lib.diffusion import schedules
from course_lib.diffusion.schedules import TableSchedule
from course_lib.nets.classifier import Classifier, ConvClassifier
from course_lib.nets.hybrid import Hybrid
from course_lib.nets.mlp import MLP
from course_lib.nets.transformers import DiT
from course_lib.nets.unet import BasicUNet, UNet

ARCHITECTURES: dict[str, type[nn.Module]] = {
    architecture.__name__: architecture
    for architecture in (MLP, BasicUNet, UNet, DiT, Hybrid, Classifier, ConvClassifier)
}


SCHEDULES = {"linear": schedules.linear, "cosine": schedules.cosine, "sigmoid": schedules.sigmoid}


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it was trained on and how, and what it measured."""

    name: str
    architecture: str  # a key of ARCHITECTURES
    config: dict[str, Any]  # the constructor's arguments
    parameters: int
    prediction: str  # a key of predictions.PREDICTIONS, or "class" for a classifier
    schedule: dict[str, Any]  # {"name": a key of SCHEDULES, ...its arguments}; {} for a classifier of clean images
    image_shape: list[int]  # (C, H, W) of what the model draws or reads
    data: str
    recipe: dict[str, Any]  # the command's options
    steps: int
    images_seen: int
    seed: int
    device: str
    minutes: float
    metrics: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""  # of the weights' file

    def build_network(self) -> nn.Module:
        """A network of this architecture, with fresh weights."""
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture must be one of {sorted(ARCHITECTURES)}; the card of {self.name} says {self.architecture!r}"
            )
        return ARCHITECTURES[self.architecture](**self.config)

    def build_schedule(self) -> TableSchedule:
        """The schedule that the model was trained with."""
        return build_schedule(self.schedule)


def build_schedule(card: Mapping[str, Any]) -> TableSchedule:
    """The schedule that a card's entry {"name": ..., its arguments} describes."""
    arguments = dict(card)
    name = arguments.pop("name", None)
    if name not in SCHEDULES:
        raise ValueError(f"schedule must be one of {sorted(SCHEDULES)}; the card says {name!r}")
    return SCHEDULES[name](**arguments)


def load_card(path: Path) -> ModelCard:
    """The model card in a JSON file; raises ValueError where it is missing, no JSON, or has other fields."""
    try:
        return ModelCard(**json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise ValueError(f"{path}, the model's card, does not exist: it must lie beside the weights") from error
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path} is no model card ({error}): copy or download it again") from error
