"""Who can be taught by pictures: a model of classes, a model that is told texts, and a pipeline of diffusers, behind one face."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from course_lib import hardware
from course_lib.data import scenes
from course_lib.data.images import to_bytes
from course_lib.models.cards import ModelCard
from course_lib.models.store import load_denoising
from course_lib.models.telling import teller
from course_lib.models.tuned import save_tuned
from course_lib.nets.conditions import Labels
from course_lib.recipes import stable_diffusion
from course_lib.recipes.finetuning import finetune, own_samples, prepared
from course_lib.sampling.generate import Denoising, draw_batches
from course_lib.training.state import Batch, TrainState


class Pupil(Protocol):
    """A trained model that pictures and captions are to teach something new."""

    shape: tuple[int, ...]  # of its pictures, (C, H, W)
    words: list[str]  # that the captions brought and it did not know

    def conditions(self, said: Mapping[str, str]) -> Tensor:
        """What the captions of the n pictures mean to the model, a row each `(n, ...)`.

        Raises ValueError for a caption that it does not understand; the message names the picture.
        """
        ...

    def kept(self, texts: Sequence[str], each: int, seed: int) -> Batch | None:
        """What the model draws now, and what it was told, to be reminded of; raises ValueError for texts that it cannot be told."""
        ...

    def learn(
        self, new: Batch, kept: Batch | None, rank: int, steps: int, batch_size: int, rate: float | None, seed: int
    ) -> Iterator[TrainState]:
        """Teach adapters of a rank with uint8 pictures `(n, C, H, W)` and their conditions; a state a step."""
        ...

    def save(self, path: Path, state: TrainState) -> None:
        """Write what was learned, and nothing else."""
        ...


def pupil_of(name: str, rank: int) -> Pupil:
    """The model of a name, ready to be taught adapters of a rank: a run's folder, a file, a shipped model, or a pipeline.

    Raises ValueError where it cannot be loaded, where it draws in a way that is not taught here, and for a rank of 0 where there are
    no new words to learn.
    """
    if stable_diffusion.names_pipeline(name):
        check_rank(name, rank)
        return PipelinePupil(stable_diffusion.load_pipeline(name))
    model, card = load_denoising(name, hardware.device())
    if model.autoencoder is None and not model.learns_variance:
        if card.towers:
            check_rank(name, rank)
            return TextPupil(model, card)
        if isinstance(model.takes, Labels):
            return ClassPupil(model, card)
    raise ValueError(
        f"{name} is no model of pictures with classes or texts alone, as is fine-tuned here: choose mnist-cfg, fashion-cfg, cifar10-cfg "
        "or scenes-text"
    )


def check_rank(name: str, rank: int) -> None:
    """Raise a ValueError for a model that learns no new words, and is to learn nothing else."""
    if rank == 0:
        raise ValueError(f"rank 0 teaches new words alone, and {name} learns none: choose a rank of at least 1")


class ClassPupil:
    """A model of classes. A caption that is a whole number is one of them; any other word becomes a new class."""

    def __init__(self, model: Denoising, card: ModelCard) -> None:
        self.model, self.card, self.shape = model, card, model.shape
        self.words: list[str] = []

    def conditions(self, said: Mapping[str, str]) -> Tensor:
        """The classes `(n,)`; raises ValueError for a number that is none."""
        labels, self.words = meaning(said, self.model.takes.classes)  # type: ignore[union-attr]
        return torch.tensor(labels)

    def kept(self, texts: Sequence[str], each: int, seed: int) -> Batch | None:
        """Pictures of each old class; raises ValueError where texts are given."""
        if texts:
            raise ValueError("a model of classes is reminded of its classes: leave out --remind, and choose --keep")
        return own_samples(self.model, each, seed=seed) if each else None

    def learn(
        self, new: Batch, kept: Batch | None, rank: int, steps: int, batch_size: int, rate: float | None, seed: int
    ) -> Iterator[TrainState]:
        """Teach adapters and the new words' rows; raises ValueError for rank 0 without new words."""
        torch.manual_seed(seed)
        prepared(self.model.network, len(self.words), rank)
        return finetune(self.model, new, steps, batch_size, rate, kept, seed)

    def save(self, path: Path, state: TrainState) -> None:
        """Write adapters and words."""
        save_tuned(path, state.ema.module, self.words, self.card.sha256)


def meaning(said: Mapping[str, str], classes: int) -> tuple[list[int], list[str]]:
    """What captions mean to a model of classes: the class of each, and the words that name the classes after the last old one, in order.

    A whole number is a class, anything else a word. Raises ValueError for a class that the model does not have.
    """
    words: list[str] = []
    labels = []
    for name, caption in said.items():
        if caption.removeprefix("-").isdecimal():
            label = int(caption)
            if not 0 <= label < classes:
                raise ValueError(
                    f"the caption of {name} must be a class from 0 to {classes - 1}, or a word; got {caption}"
                )
            labels.append(label)
        else:
            if caption not in words:
                words.append(caption)
            labels.append(classes + words.index(caption))
    return labels, words


class TextPupil:
    """A model that is told texts of our grammar. It learns how they look in the new pictures; its words stay those that they were."""

    def __init__(self, model: Denoising, card: ModelCard) -> None:
        self.model, self.card, self.shape = model, card, model.shape
        self.tell = teller(card)
        self.words: list[str] = []

    def conditions(self, said: Mapping[str, str]) -> Tensor:
        """The vectors of the captions' words `(n, length, width)`; raises ValueError for a caption outside the grammar."""
        for name, caption in said.items():
            try:
                scenes.parse(caption)
            except ValueError as error:
                raise ValueError(f"the caption of {name} is not understood: {error}") from error
        return self.tell(list(said.values()))

    def kept(self, texts: Sequence[str], each: int, seed: int) -> Batch | None:
        """Pictures of each text; raises ValueError for a text outside the grammar."""
        for text in texts:
            scenes.parse(text)
        if not texts or not each:
            return None
        cond = self.tell([text for text in texts for _ in range(each)])
        return to_bytes(draw_batches(self.model, len(cond), 25, seed=seed, cond=cond, scale=3.0)), cond

    def learn(
        self, new: Batch, kept: Batch | None, rank: int, steps: int, batch_size: int, rate: float | None, seed: int
    ) -> Iterator[TrainState]:
        """Teach adapters."""
        torch.manual_seed(seed)
        prepared(self.model.network, 0, rank)
        return finetune(self.model, new, steps, batch_size, rate, kept, seed)

    def save(self, path: Path, state: TrainState) -> None:
        """Write the adapters."""
        save_tuned(path, state.ema.module, [], self.card.sha256)


class PipelinePupil:
    """A Stable Diffusion pipeline of diffusers, whose captions are any text; see `recipes.stable_diffusion`."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.shape = pipeline, stable_diffusion.picture_shape(pipeline)
        self.words: list[str] = []

    def conditions(self, said: Mapping[str, str]) -> Tensor:
        """The vectors of the captions' tokens `(n, tokens, width)`; raises ValueError for a caption that is too long."""
        return stable_diffusion.told(self.pipeline, list(said.values()))

    def kept(self, texts: Sequence[str], each: int, seed: int) -> Batch | None:
        """Latents of each text; raises ValueError for a text that is too long."""
        return stable_diffusion.own_latents(self.pipeline, texts, each, seed=seed) if texts and each else None

    def learn(
        self, new: Batch, kept: Batch | None, rank: int, steps: int, batch_size: int, rate: float | None, seed: int
    ) -> Iterator[TrainState]:
        """Teach adapters of peft's around the U-Net's attention."""
        stable_diffusion.add_adapters(self.pipeline, rank, seed)
        latents = stable_diffusion.latents_of(self.pipeline, new[0]), new[1]
        return stable_diffusion.finetune(self.pipeline, latents, steps, batch_size, rate, kept, seed)

    def save(self, path: Path, state: TrainState) -> None:
        """Write the adapters under diffusers' names."""
        stable_diffusion.save_adapters(path, state.ema.module)  # type: ignore[arg-type]
