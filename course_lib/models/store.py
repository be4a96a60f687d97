"""Weights on disk, each model with its card: those of a training run, and those that ship with the course."""

import dataclasses
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import torch
from requests import RequestException
from torch import Tensor, nn

from course_lib.data.sets import data_dir
from course_lib.diffusion.predictions import PREDICTIONS
from course_lib.models.cards import BITS, IMAGE, PAIR, ModelCard, load_card, save_card
from course_lib.models.tensors import load_tensors, load_weights, save_tensors
from course_lib.nets.autoencoders import Autoencoder
from course_lib.nets.clip import Clip
from course_lib.sampling.generate import Denoising

RELEASE = "https://github.com/learning-to-denoise/learning-to-denoise/releases/download/v{version}/"
SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints"
CHECKSUMS = Path(__file__).parent / "weights.json"
GAMMA = "{}-gamma.safetensors"  # the norms of a model's score lie beside its weights


def save(path: Path | str, network: nn.Module, card: ModelCard, dtype: torch.dtype | None = None) -> ModelCard:
    """Write the weights to `path` (.safetensors) and the card beside it (.json); returns the card with its SHA-256.

    With a `dtype`, floating-point weights are rounded to it; whoever loads them computes in float32 all the same.
    """
    path = Path(path)
    weights = network.state_dict()
    save_tensors(path, {name: w.to(dtype) if dtype and w.is_floating_point() else w for name, w in weights.items()})
    card = dataclasses.replace(card, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    save_card(path.with_suffix(".json"), card)
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
    # Convolutions are faster in this order of memory: on a CPU by about a tenth in float32, and by a third in bf16.
    return network.eval().to(device, memory_format=torch.channels_last), card  # type: ignore[call-overload]


def load_denoising(path: Path | str, device: torch.device | str = "cpu") -> tuple[Denoising, ModelCard]:
    """A model that draws, ready for `sampling.generate`, and its card; the path is as for `load`.

    Raises ValueError where `load` does, and where the model is a classifier or an autoencoder.
    """
    network, card = load(path, device)
    return denoising(network, card, load_gamma(path, card)), card


def denoising(network: nn.Module, card: ModelCard, gamma: Tensor | None = None) -> Denoising:
    """A network ready for `sampling.generate`, with the autoencoder whose latents it denoises, where its card names one.

    `gamma` `(T + 1,)` are the norms of its score, where they were measured. Raises ValueError where the card says that the network is a
    classifier or an autoencoder, or draws bits; and where the autoencoder is missing, or not the one that the network was trained with.
    """
    if card.prediction == BITS:
        raise ValueError(f"{card.name} draws bits, not images: take `sampling.steps.reverse` with a BinomialDiffusion")
    if card.prediction == IMAGE:
        raise ValueError(f"{card.name} is an autoencoder, which draws nothing: choose a model of its latents")
    if card.prediction == PAIR:
        raise ValueError(f"{card.name} matches pictures and captions, and draws nothing: choose a diffusion model")
    if card.prediction not in PREDICTIONS:
        raise ValueError(f"{card.name} is a classifier, which draws nothing: choose a diffusion model")
    prediction, shape = PREDICTIONS[card.prediction], tuple(card.image_shape)
    autoencoder = None
    if card.autoencoder:
        autoencoder = load_autoencoder(**card.autoencoder, device=next(network.parameters()).device)
    return Denoising(network, prediction, card.build_schedule(), shape, gamma, autoencoder)


def load_autoencoder(model: Path | str, sha256: str | None = None, device: torch.device | str = "cpu") -> Autoencoder:
    """An autoencoder whose weights are held; `model` is a path or a name as for `load`.

    Raises ValueError where `load` does, for a model of another kind, and where its weights have another SHA-256 than the one given.
    """
    network, card = load(model, device)
    if not isinstance(network, Autoencoder):
        raise ValueError(
            f"{card.name} is no autoencoder, but {card.architecture}: name the one whose latents are meant"
        )
    check_same(f"the autoencoder {model}", "that the model's latents come from", card, sha256)
    return network.requires_grad_(False)


def load_towers(model: Path | str, sha256: str | None = None, device: torch.device | str = "cpu") -> Clip:
    """Two towers whose weights are held; `model` is a path or a name as for `load`.

    Raises ValueError where `load` does, for a model of another kind, and where its weights have another SHA-256 than the one given.
    """
    network, card = load(model, device)
    if not isinstance(network, Clip):
        raise ValueError(
            f"{card.name} has no tower for texts, but is a {card.architecture}: name the one that reads the captions"
        )
    check_same(f"{model}", "whose words the model has learned to hear", card, sha256)
    return network.requires_grad_(False)


def check_same(what: str, which: str, card: ModelCard, sha256: str | None) -> None:
    """Raise a ValueError where weights have another SHA-256 than the one given, if there is one."""
    if sha256 not in (None, card.sha256):
        raise ValueError(
            f"{what} is not the one {which} (SHA-256 differs): copy or download both again, or train the model anew"
        )


def save_gamma(path: Path | str, gamma: Tensor) -> Path:
    """Write the norms of a model's score `(T + 1,)` beside its weights; returns the file, which names the weights it belongs to."""
    weights = locate(path)
    file = weights.with_name(GAMMA.format(weights.stem))
    save_tensors(file, {"gamma": gamma}, {"weights": load_card(weights.with_suffix(".json")).sha256})
    return file


def load_gamma(path: Path | str, card: ModelCard) -> Tensor | None:
    """The norms of a model's score `(T + 1,)`, from the file beside its weights, or None where there is none; the path is as for `load`.

    Raises ValueError where the file is damaged, or was made with other weights.
    """
    weights = locate(path)
    file = weights.with_name(GAMMA.format(weights.stem))
    if str(path) == weights.stem and file.name in checksums():
        file = shipped(file.name)
    if not file.exists():
        return None
    tensors, metadata = load_tensors(file)
    if metadata.get("weights") != card.sha256 or "gamma" not in tensors:
        raise ValueError(f"{file} was measured with other weights than those beside it: measure it again, or delete it")
    return tensors["gamma"]


def locate(path: Path | str) -> Path:
    """The weights' file that a path or a shipped model's name means; raises ValueError where there is none."""
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
    return json.loads(CHECKSUMS.read_text())


def shipped(file: str) -> Path:
    """The path of a file that ships: in the checkout, or, where the package was installed without it, downloaded from the release."""
    path = SHIPPED / file
    return path if path.exists() else download_weights(file, checksums()[file], data_dir() / "weights")


def download_weights(file: str, sha256: str, folder: Path) -> Path:
    """The path of one file of the release of this version, its SHA-256 checked; what is already there is not fetched again.

    Raises ValueError with what to do where there is no network, the folder cannot be written, or the checksum differs.
    """
    import pooch

    base = RELEASE.format(version=version("learning-to-denoise"))
    try:
        return Path(pooch.retrieve(base + file, known_hash=f"sha256:{sha256}", fname=file, path=folder))
    except RequestException as error:
        raise ValueError(
            f"{file} could not be downloaded from {base} ({type(error).__name__}): connect to the network, or put it into {folder}"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{file} could not be stored in {folder} ({error.strerror or error}): free some disk space, or set COURSE_DATA_DIR"
        ) from error
