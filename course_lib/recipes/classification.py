"""How classifiers learn: those of clean images, whose features the metrics use, and those of noisy ones, which guide."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import hardware
from course_lib.data import sets
from course_lib.data.images import flipped, shifted, to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.draws import integers
from course_lib.evaluation.intervals import Estimate, share_interval
from course_lib.hardware import bf16_is_fast
from course_lib.models.cards import CLASS, build_schedule
from course_lib.nets.classifier import Classifier, accuracy
from course_lib.training.loop import Batch, Loss, fit

Augment = Callable[[Tensor, torch.Generator], Tensor]
Built = TypeVar("Built", bound=nn.Module)


def prepare(architecture: Callable[..., Built], seed: int, **config: object) -> Built:
    """A network with seeded weights, on this process's GPU where there is one."""
    torch.manual_seed(seed)
    return architecture(**config).to(hardware.device())


def mirrored_and_moved(pixels: int) -> Augment:
    """The augmentation of photographs: mirrored half of the time, and moved by up to `pixels`."""
    return lambda x, generator: shifted(flipped(x, generator), pixels, generator)


def classification_loss(
    augment: Augment | None = None, process: GaussianDiffusion | None = None, label_smoothing: float = 0.0
) -> Loss:
    """The cross-entropy of images, augmented or as they are; with a process, of images at a time t drawn uniformly from 0..T.

    With `label_smoothing` the target gives that share of its probability to all classes alike (Szegedy et al., 2016).
    """

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        images, labels = batch
        images = images if augment is None else augment(images, generator)
        x = to_unit(images).contiguous(memory_format=torch.channels_last)
        if process is None:
            return F.cross_entropy(network(x).float(), labels, label_smoothing=label_smoothing)
        t = integers(0, int(process.schedule.T) + 1, (len(x),), generator, x.device)
        logits = network(process.forward(x, t, generator), t).float()
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    return loss


@dataclass(frozen=True)
class Classify:
    """To name the class of an image, augmented, and with a schedule noisy: what a classifier's recipe trains for."""

    augment: Augment | None = None
    label_smoothing: float = 0.0
    schedule: Mapping[str, Any] = field(default_factory=dict)  # as a card has it; empty for clean images

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise."""
        process = GaussianDiffusion(build_schedule(self.schedule)) if self.schedule else None
        return classification_loss(self.augment, process, self.label_smoothing)

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> None:
        """A classifier draws nothing."""

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network: its accuracy on clean test images, too."""
        images, labels = sets.load(dataset, "test")
        device = next(network.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
            score = accuracy(network.eval(), to_unit(images).to(device), labels.to(device))
        return {
            "prediction": CLASS,
            "schedule": dict(self.schedule),
            "metrics": {"test accuracy": round(score, 4)},
        }


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
    loss = classification_loss()
    *_, state = fit(
        network, loss, (images, labels), steps, batch_size, learning_rate=2e-3, weight_decay=0.05, seed=seed
    )
    real, truth = (tensor.to(hardware.device()) for tensor in test)
    return share_interval(accuracy(state.ema.module.eval(), to_unit(real), truth), len(truth))
