"""Recipes for classifiers: those of clean images, whose features the metrics use, and those of noisy ones, which guide."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import hardware
from course_lib.data import sets
from course_lib.data.images import flipped, shifted, to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.evaluation.intervals import Estimate, share_interval
from course_lib.hardware import bf16_is_fast
from course_lib.models.cards import ModelCard, build_schedule
from course_lib.nets.classifier import Classifier, ConvClassifier, accuracy
from course_lib.training.loop import Batch, Loss, fit
from course_lib.training.progress import progress
from course_lib.training.runs import Run

Augment = Callable[[Tensor, torch.Generator], Tensor]
Network = TypeVar("Network", bound=nn.Module)


def mnist_classifier(
    out: Path | str,
    steps: int = 6000,
    batch_size: int = 128,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> ModelCard:
    """A classifier of MNIST's digits, trained on images moved by up to two pixels."""
    run = Run.open(out, resume, recipe="mnist-classifier", steps=steps, batch_size=batch_size, seed=seed)
    network = prepare(Classifier, seed, channels=1, width=64, multipliers=(1, 2), blocks=2, patch=2)
    return train_classifier(run, network, "mnist", lambda x, generator: shifted(x, 2, generator), **options)


def fashion_classifier(
    out: Path | str,
    steps: int = 4700,
    batch_size: int = 256,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> ModelCard:
    """A classifier of Fashion-MNIST's clothes, trained on images that are mirrored and moved by up to two pixels."""
    run = Run.open(out, resume, recipe="fashion-classifier", steps=steps, batch_size=batch_size, seed=seed)
    network = prepare(ConvClassifier, seed, channels=1)
    return train_classifier(
        run, network, "fashion_mnist", mirrored_and_moved(2), label_smoothing=0.1, learning_rate=2e-3, **options
    )


def cifar10_classifier(
    out: Path | str,
    steps: int = 3900,
    batch_size: int = 256,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> ModelCard:
    """A classifier of CIFAR-10: 20 epochs of images that are mirrored and moved by up to two pixels."""
    run = Run.open(out, resume, recipe="cifar10-classifier", steps=steps, batch_size=batch_size, seed=seed)
    network = prepare(ConvClassifier, seed, channels=3)
    return train_classifier(
        run, network, "cifar10", mirrored_and_moved(2), label_smoothing=0.1, learning_rate=2e-3, **options
    )


def mnist_noisy_classifier(
    out: Path | str,
    steps: int = 9000,
    batch_size: int = 128,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> ModelCard:
    """A classifier of noisy digits, told the time, for classifier guidance of `mnist-ddpm` (Dhariwal and Nichol, 2021)."""
    run = Run.open(out, resume, recipe="mnist-noisy-classifier", steps=steps, batch_size=batch_size, seed=seed)
    network = prepare(Classifier, seed, channels=1, width=64, multipliers=(1, 2), blocks=2, patch=2)
    return train_classifier(run, network, "mnist", lambda x, generator: x, {"name": "cosine", "T": 1000}, **options)


CLASSIFIER_RECIPES: dict[str, Callable[..., ModelCard]] = {
    "mnist-classifier": mnist_classifier,
    "mnist-noisy-classifier": mnist_noisy_classifier,
    "fashion-classifier": fashion_classifier,
    "cifar10-classifier": cifar10_classifier,
}


def prepare(architecture: Callable[..., Network], seed: int, **config: object) -> Network:
    """A network with seeded weights, on this process's GPU where there is one."""
    torch.manual_seed(seed)
    return architecture(**config).to(hardware.device())


def mirrored_and_moved(pixels: int) -> Augment:
    """The augmentation of photographs: mirrored half of the time, and moved by up to `pixels`."""
    return lambda x, generator: shifted(flipped(x, generator), pixels, generator)


def classification_loss(
    augment: Augment, process: GaussianDiffusion | None = None, label_smoothing: float = 0.0
) -> Loss:
    """The cross-entropy of augmented images; with a process, of images at a time t drawn uniformly from 0..T.

    With `label_smoothing` the target gives that share of its probability to all classes alike (Szegedy et al., 2016).
    """

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        images, labels = batch
        x = to_unit(augment(images, generator)).contiguous(memory_format=torch.channels_last)
        if process is None:
            return F.cross_entropy(network(x).float(), labels, label_smoothing=label_smoothing)
        t = torch.randint(0, int(process.schedule.T) + 1, (len(x),), generator=generator, device=x.device)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        logits = network(process.diffuse(x, t, noise), t).float()
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    return loss


def train_classifier(
    run: Run,
    network: Classifier | ConvClassifier,
    name: str,
    augment: Augment,
    schedule_card: dict[str, object] | None = None,
    label_smoothing: float = 0.0,
    learning_rate: float = 1e-3,
    save_every: int = 250,
    **options: Any,
) -> ModelCard:
    """Train on a data set and write the test accuracy (of clean images) into the card."""
    steps = run.options["steps"]
    batch = sets.load(name, "train")
    process = GaussianDiffusion(build_schedule(schedule_card)) if schedule_card else None
    loss = classification_loss(augment, process, label_smoothing)
    states = fit(
        network,
        loss,
        batch,
        steps,
        run.options["batch_size"],
        learning_rate,
        weight_decay=0.05,
        seed=run.options["seed"],
        resume=run.state_file,
        **options,
    )
    *_, state = run.keep(progress(states, steps), save_every)
    images, labels = sets.load(name, "test")
    averaged, device = state.ema.module.eval(), next(network.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
        score = accuracy(averaged, to_unit(images).to(device), labels.to(device))
    return run.finish(
        state,
        prediction="class",
        schedule=schedule_card or {},
        image_shape=list(images.shape[1:]),
        data=f"{name}, {len(batch[0]):,} training images",
        metrics={"test accuracy": round(score, 4)},
    )


def accuracy_score(
    images: Tensor, labels: Tensor, test: Batch, steps: int = 1000, batch_size: int = 64, seed: int = 0
) -> Estimate:
    """The classification accuracy score: train a classifier on drawn images, test it on real ones (Ravuri and Vinyals, 2019).

    images `(N, C, H, W)` uint8 of the classes labels `(N,)`; `test` holds real images and labels of the same kind. A small network
    is trained for `steps` steps without augmentation, which would add a diversity that the images do not have. The 95 % interval is
    that of a share of the test images; the spread between training seeds comes on top.
    Raises ValueError where images and labels differ in number, or are fewer than a batch.
    """
    network = prepare(Classifier, seed, channels=images.shape[1], width=32, multipliers=(1, 2), blocks=1, patch=2)
    loss = classification_loss(lambda x, generator: x)
    *_, state = fit(
        network, loss, (images, labels), steps, batch_size, learning_rate=2e-3, weight_decay=0.05, seed=seed
    )
    real, truth = (tensor.to(hardware.device()) for tensor in test)
    return share_interval(accuracy(state.ema.module.eval(), to_unit(real), truth), len(truth))
