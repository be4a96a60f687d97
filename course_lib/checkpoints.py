"""Weights on disk: safetensors only (never pickle), each model with a card that says what it is and how it was made."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from course_lib import schedules
from course_lib.data import data_dir
from course_lib.download import download_weights
from course_lib.nets import MLP, BasicUNet, Classifier, ConvClassifier, DiT, Hybrid, UNet
from course_lib.schedules import TableSchedule

ARCHITECTURES: dict[str, type[nn.Module]] = {
    architecture.__name__: architecture
    for architecture in (MLP, BasicUNet, UNet, DiT, Hybrid, Classifier, ConvClassifier)
}
SCHEDULES = {"linear": schedules.linear, "cosine": schedules.cosine, "sigmoid": schedules.sigmoid}
SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"


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


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old contents or the new, never half; a failure leaves the old file as it was."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # two processes may write the same file
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ValueError(
            f"{path} could not be written ({error.strerror}): free some disk space, or choose a folder that you may write to"
        ) from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file atomically, with a digest of their contents in its metadata."""
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(tensors, partial, {**(metadata or {}), "digest": digest(tensors)})
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise ValueError(
            f"{path} could not be written ({error}): free some disk space, or choose a folder that you may write to"
        ) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of a file that `save_tensors` wrote; raises ValueError where it is missing, damaged or foreign."""
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist: give the folder of a training run, or a .safetensors file with its .json card"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}): copy or download it again") from error
    if metadata.get("digest") != digest(tensors):
        raise ValueError(f"{path} is damaged: its contents do not match its own digest; copy or download it again")
    return tensors, metadata


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def save(path: Path | str, network: nn.Module, card: ModelCard, dtype: torch.dtype | None = None) -> ModelCard:
    """Write the weights to `path` (.safetensors) and the card beside it (.json); returns the card with its SHA-256.

    With a `dtype`, floating-point weights are rounded to it; whoever loads them computes in float32 all the same.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = network.state_dict()
    save_tensors(path, {name: w.to(dtype) if dtype and w.is_floating_point() else w for name, w in weights.items()})
    card = dataclasses.replace(card, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    write_atomically(path.with_suffix(".json"), json.dumps(dataclasses.asdict(card), indent=2).encode() + b"\n")
    return card


def load(path: Path | str, device: torch.device | str = "cpu") -> tuple[nn.Module, ModelCard]:
    """The network in evaluation mode, and its card, from a .safetensors file, a run's folder, or a shipped model's name.

    Raises ValueError where the file or card is missing, damaged, or does not fit the other.
    """
    path = locate(path)
    card = load_card(path.with_suffix(".json"))
    tensors, _ = load_tensors(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != card.sha256:
        raise ValueError(
            f"{path} is not the file that its card describes (SHA-256 differs): copy or download both again"
        )
    network = card.build_network()
    load_weights(network, tensors, path)
    return network.eval().to(device), card


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put tensors into a network; raises ValueError where names or shapes differ."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(
            f"{path} holds the weights of another network: {str(error).splitlines()[-1].strip()}"
        ) from error


def load_card(path: Path) -> ModelCard:
    """The model card in a JSON file; raises ValueError where it is missing, no JSON, or has other fields."""
    try:
        return ModelCard(**json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise ValueError(f"{path}, the model's card, does not exist: it must lie beside the weights") from error
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path} is no model card ({error}): copy or download it again") from error


def locate(path: Path | str) -> Path:
    """The weights' file that a path or a shipped model's name means."""
    path = Path(path)
    if path.is_dir():
        return path / "model.safetensors"
    if path.exists():
        return path
    if f"{path}.json" in checksums():
        shipped(f"{path}.json")
        return shipped(f"{path}.safetensors")
    names = ", ".join(shipped_models())
    raise ValueError(f"{path} is neither a folder nor a file nor a shipped model ({names})")


def shipped_models() -> list[str]:
    """The names of the models that ship with the course."""
    return sorted(file.removesuffix(".json") for file in checksums() if file.endswith(".json"))


def checksums() -> dict[str, str]:
    """The SHA-256 of every file that ships, by its name."""
    return json.loads((Path(__file__).parent / "weights.json").read_text())


def shipped(file: str) -> Path:
    """The path of a file that ships: in the checkout, or, where the package was installed without it, downloaded from the release."""
    path = SHIPPED / file
    return path if path.exists() else download_weights(file, checksums()[file], data_dir() / "weights")
