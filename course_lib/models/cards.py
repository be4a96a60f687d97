"""Model cards: what a model is, how it was made, and what it measured; and how to build the model from one."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from course_lib.diffusion import continuous, schedules
from course_lib.diffusion.predictions import PREDICTIONS
from course_lib.files import read_json, write_atomically, wrong_entry
from course_lib.nets.autoencoders import GaussianAutoencoder, QuantisedAutoencoder
from course_lib.nets.classifier import Classifier, ConvClassifier
from course_lib.nets.clip import Clip
from course_lib.nets.designs import DesignUNet
from course_lib.nets.dit import DiT
from course_lib.nets.hybrid import Hybrid
from course_lib.nets.latent import LatentUNet
from course_lib.nets.mlp import MLP
from course_lib.nets.multiscale import MultiScale
from course_lib.nets.pictures import PictureUNet
from course_lib.nets.preconditioned import PreconditionedUNet
from course_lib.nets.sequences import FrameTransformer
from course_lib.nets.standard import NotInstalledError, StandardAutoencoder, StandardUNet
from course_lib.nets.texts import TextUNet
from course_lib.nets.unet import BasicUNet, UNet
from course_lib.types import Schedule

ARCHITECTURES: dict[str, type[nn.Module]] = {
    architecture.__name__: architecture
    for architecture in (
        MLP,
        MultiScale,
        BasicUNet,
        UNet,
        LatentUNet,
        PreconditionedUNet,
        PictureUNet,
        DesignUNet,
        TextUNet,
        Clip,
        DiT,
        FrameTransformer,
        Hybrid,
        Classifier,
        ConvClassifier,
        GaussianAutoencoder,
        QuantisedAutoencoder,
        StandardAutoencoder,
        StandardUNet,
    )
}


SCHEDULES: dict[str, Callable[..., Any]] = {
    "linear": schedules.linear,
    "cosine": schedules.cosine,
    "sigmoid": schedules.sigmoid,
    "erasing": schedules.erasing,
    "straight": continuous.Straight,
    "edm": continuous.EDM,
}
CLASS = "class"  # what a classifier predicts
IMAGE = "image"  # what an autoencoder predicts: the image that it was given
PAIR = "pair"  # what two towers predict: which picture and which caption belong together
BITS = "bits"  # what a model of bits predicts: the log-odds that each of x_0 is 1
Built = TypeVar("Built")


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it was trained on and how, and what it measured."""

    name: str
    architecture: str  # a key of ARCHITECTURES
    config: dict[str, Any]  # the constructor's arguments
    parameters: int
    prediction: str  # a key of predictions.PREDICTIONS, BITS for a model of bits, CLASS, IMAGE (an autoencoder) or PAIR
    schedule: dict[str, Any]  # {"name": a key of SCHEDULES, ...its arguments}; {} where there is none
    image_shape: list[int]  # (C, H, W) of what the network denoises or reads: images, or an autoencoder's latents
    dataset: str  # the name of the set that it was trained on
    data: str  # the same for people
    recipe: dict[str, Any]  # the options of its training
    steps: int
    images_seen: int
    seed: int
    device: str
    minutes: float
    metrics: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""  # of the weights' file
    autoencoder: dict[str, str] = field(
        default_factory=dict
    )  # {"model", "sha256"} of the one whose latents it denoises
    towers: dict[str, str] = field(default_factory=dict)  # {"model", "sha256"} of the ones that say captions to it

    def build_network(self) -> nn.Module:
        """A network of this architecture, with fresh weights; raises ValueError where the card describes none."""
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture must be one of {sorted(ARCHITECTURES)}; the card of {self.name} says {self.architecture!r}"
            )
        return built(ARCHITECTURES[self.architecture], self.config)

    def build_schedule(self) -> Schedule:
        """The schedule that the model was trained with; raises ValueError where the card describes none."""
        return build_schedule(self.schedule)


def build_schedule(card: Mapping[str, Any]) -> Schedule:
    """The schedule that a card's entry {"name": ..., its arguments} describes; raises ValueError where it describes none."""
    arguments = dict(card)
    name = arguments.pop("name", None)
    if name not in SCHEDULES:
        raise ValueError(f"schedule must be one of {sorted(SCHEDULES)}; the card says {name!r}")
    return built(SCHEDULES[name], arguments)


def built(build: Callable[..., Built], arguments: Mapping[str, Any]) -> Built:
    """What a function makes of a card's arguments; raises ValueError for wrong ones, since anything may be written in a card.

    What a network is made of may be missing: a NotInstalledError passes as it is.
    """
    try:
        return build(**arguments)
    except NotInstalledError:
        raise
    except (TypeError, ValueError, ArithmeticError, LookupError, AssertionError, RuntimeError) as error:
        raise ValueError(
            f"the card's arguments of {build.__name__} are wrong ({error}): copy or download it again"
        ) from error


def save_card(path: Path, card: ModelCard) -> None:
    """Write a card as JSON; raises ValueError where it cannot be written."""
    entries = asdict(card)
    for name in LATER:
        if not entries[name]:
            del entries[name]  # cards of models that belong to no other are as they were before there were such
    write_atomically(path, json.dumps(entries, indent=2).encode() + b"\n")


def load_card(path: Path) -> ModelCard:
    """The model card in a JSON file; raises ValueError where it is missing, no JSON, or has other fields or kinds of values."""
    needed = {entry.name: JSON_KINDS[entry.type] for entry in fields(ModelCard)}
    later = {name: needed.pop(name) for name in LATER}
    try:
        card = {**{name: {} for name in LATER}, **read_json(path, "copy or download the card again", **needed)}
    except FileNotFoundError as error:
        raise ValueError(f"{path}, the model's card, does not exist: it must lie beside the weights") from error
    problem = wrong_entry(card, **later) or wrong_value(card, unknown=card.keys() - needed - later.keys())
    if problem:
        raise ValueError(f"{path} is no model card ({problem}): copy or download it again")
    return ModelCard(**card)


LATER = ("autoencoder", "towers")  # which only the cards of models that belong to another have
# What JSON has for the types of a card's fields.
JSON_KINDS: dict[Any, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (float, int),
    dict[str, Any]: (dict,),
    dict[str, str]: (dict,),
    list[int]: (list,),
}


def wrong_value(card: Mapping[str, Any], unknown: set[str]) -> str:
    """What is wrong with the values of a card whose fields are of the right kinds; "" where nothing is."""
    if unknown:
        return f"it has the unknown entries {', '.join(sorted(unknown))}"
    shape, predictions = card["image_shape"], [*PREDICTIONS, BITS, CLASS, IMAGE, PAIR]
    if not shape or not all(type(size) is int and size > 0 for size in shape):
        return f"its image_shape must list whole numbers above 0; got {shape}"
    if card["prediction"] not in predictions:
        return f"its prediction must be one of {', '.join(predictions)}; got {card['prediction']!r}"
    channels = card["config"].get("channels", shape[0])
    if channels != shape[0]:
        return f"its network has {channels} channels, and its images {shape[0]}"
    named = [card[name] for name in LATER if card[name]]
    return next(filter(None, (wrong_entry(entry, model=str, sha256=str) for entry in named)), "")
