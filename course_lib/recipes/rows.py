"""The recipes: one row for each model that ships."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from course_lib.data import sets
from course_lib.data.images import dequantised, flipped, shifted, to_bytes
from course_lib.diffusion.predictions import EPS, FLOW, X0, V
from course_lib.diffusion.weights import edm
from course_lib.nets.autoencoders import GaussianAutoencoder
from course_lib.nets.classifier import Classifier, ConvClassifier
from course_lib.nets.clip import Clip
from course_lib.nets.dit import DiT
from course_lib.nets.latent import LatentUNet
from course_lib.nets.mlp import MLP
from course_lib.nets.multiscale import MultiScale
from course_lib.nets.pictures import PictureUNet
from course_lib.nets.preconditioned import PreconditionedUNet
from course_lib.nets.sequences import FrameTransformer
from course_lib.nets.standard import StandardAutoencoder, StandardUNet
from course_lib.nets.texts import TextUNet
from course_lib.nets.unet import UNet
from course_lib.recipes.adversarial import DenoiseAdversarially
from course_lib.recipes.autoencoding import ReconstructAdversarially
from course_lib.recipes.classification import Classify, mirrored_and_moved
from course_lib.recipes.designs import Design, all_but_corners, designer
from course_lib.recipes.diffusion import Denoise, DenoiseLatents
from course_lib.recipes.few_steps import Distil, leaping_mnist_ddpm
from course_lib.recipes.nonequilibrium import (
    DenoisePoints,
    Restore,
    all_heartbeats,
    heap_of_leaves,
    points_of_the_roll,
)
from course_lib.recipes.palette import Palette
from course_lib.recipes.pipelines import READS, DenoiseCaptioned, ReconstructScenes
from course_lib.recipes.sounds import DenoiseSounds, many_sounds
from course_lib.recipes.texts import CLIP, DenoiseTold, Match, captioned_scenes
from course_lib.recipes.variance import DenoiseWithVariance, from_mnist_ddpm
from course_lib.training.state import Batch, Loss, Opponent


class Objective(Protocol):
    """What a network is trained for."""

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise."""
        ...

    def samples(self, network: nn.Module, shape: tuple[int, ...], seed: int) -> Tensor | None:
        """Images `(N, *shape)` that show how far training is, or None where there is nothing to see."""
        ...

    def card(self, network: nn.Module, dataset: str) -> dict[str, Any]:
        """What the card says of the trained network: prediction, schedule, and metrics if there are any."""
        ...


@runtime_checkable
class Duel(Objective, Protocol):
    """What a network is trained for against another one."""

    def duel(self, network: nn.Module) -> tuple[Loss, Opponent]:
        """The loss to minimise, and the other network with its own."""
        ...


@runtime_checkable
class Encoding(Objective, Protocol):
    """What a network is trained for on something that is made of the data once, before the training."""

    def encoded(self, batch: Batch) -> Batch:
        """What the network learns from, made of all images and their labels."""
        ...


@dataclass(frozen=True)
class Recipe:
    """How one model is trained: what it learns from, what it is, what for, and how long."""

    name: str
    dataset: str  # a key of TRAINING
    data: str  # the same for people
    architecture: Callable[..., nn.Module]
    config: Mapping[str, Any]  # the constructor's arguments
    objective: Objective
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 100  # steps in which the learning rate rises

    def batch(self) -> Batch:
        """What it learns from: all images `(N, C, H, W)`, uint8, or their latents, with their labels `(N,)` if there are any."""
        batch = TRAINING[self.dataset]()
        return self.objective.encoded(batch) if isinstance(self.objective, Encoding) else batch


def digits() -> Batch:
    """1,500 of the 8 x 8 digits: the others are left to measure the likelihood on."""
    train, _ = sets.split_digits()
    return (to_bytes(train),)


TRAINING: dict[str, Callable[[], Batch]] = {
    **{name: partial(sets.load, name, "train") for name in sets.SHAPES},
    "digits": digits,
    "scenes": captioned_scenes,
    "fashion_designs": all_but_corners,
    "heartbeat": all_heartbeats,
    "swiss_roll": points_of_the_roll,
    "leaves": heap_of_leaves,
    "sounds": many_sounds,
}

# At equal FLOPs, 2 x 2 patches make a step faster.
SMALL: dict[str, Any] = {"width": 64, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "patch": 2}
MIDDLE = {**SMALL, "multipliers": (1, 2, 3), "attention": (1, 2)}
SIGMA_DATA = 0.62  # the standard deviation of MNIST's pixels in [-1, 1]
READER = {"channels": 1, "width": 64, "multipliers": (1, 2), "blocks": 2, "patch": 2}
COSINE, LINEAR = {"name": "cosine", "T": 1000}, {"name": "linear", "T": 1000}

ROWS = (
    # Near pure noise, x_0 from a predicted eps is a small difference divided by a small signal; v (Salimans and Ho, 2022) has no such
    # division, so that a short training already gives whole digits.
    Recipe(
        name="mnist-ddpm",
        dataset="mnist",
        data="MNIST, 60,000 training images",
        architecture=UNet,
        config={"channels": 1, **SMALL},
        objective=Denoise(V, COSINE),
        steps=16_000,
        batch_size=64,
        learning_rate=1.5e-3,
    ),
    # It goes on from mnist-ddpm's weights: what is new to learn is the variance (Nichol and Dhariwal, 2021).
    Recipe(
        name="mnist-iddpm",
        dataset="mnist",
        data="MNIST, 60,000 training images; training went on from the weights of mnist-ddpm",
        architecture=from_mnist_ddpm,
        config={},
        objective=DenoiseWithVariance(V, COSINE),
        steps=1000,
        batch_size=64,
        learning_rate=3e-4,
    ),
    # The network and the steps of mnist-ddpm on the straight line (Lipman et al., 2023; Liu et al., 2023), and preconditioned (Karras
    # et al., 2022): what differs is the path, the prediction, the weight and the distribution of times.
    Recipe(
        name="mnist-flow",
        dataset="mnist",
        data="MNIST, 60,000 training images",
        architecture=UNet,
        config={"channels": 1, **SMALL, "time_scale": 1000.0},
        objective=Denoise(FLOW, {"name": "straight"}),
        steps=16_000,
        batch_size=64,
        learning_rate=1.5e-3,
    ),
    Recipe(
        name="mnist-edm",
        dataset="mnist",
        data="MNIST, 60,000 training images",
        architecture=PreconditionedUNet,
        config={"channels": 1, **SMALL, "time_scale": 250.0, "sigma_data": SIGMA_DATA},
        objective=Denoise(X0, {"name": "edm"}, loss_weight=edm(SIGMA_DATA)),
        steps=16_000,
        batch_size=64,
        learning_rate=1.5e-3,
    ),
    # Progressive distillation of mnist-ddpm, whose weights it starts from, into 8, 4, 2 and 1 steps (Salimans and Ho, 2022).
    Recipe(
        name="mnist-leaps",
        dataset="mnist",
        data="MNIST, 60,000 training images; the teacher, from whose weights training went on, is mnist-ddpm",
        architecture=leaping_mnist_ddpm,
        config={},
        objective=Distil(V, COSINE, teacher="mnist-ddpm"),
        steps=1500,
        batch_size=64,
        learning_rate=5e-4,
        weight_decay=0.0,
    ),
    # Four leaps instead of a thousand steps, each judged by a discriminator (Xiao et al., 2022).
    Recipe(
        name="mnist-ddgan",
        dataset="mnist",
        data="MNIST, 60,000 training images",
        architecture=LatentUNet,
        config={"channels": 1, "latent": 32, **SMALL, "width": 32, "time_scale": 250.0},
        objective=DenoiseAdversarially(
            {"name": "cosine", "T": 4},
            {"width": 32, "multipliers": (1, 2), "blocks": 1, "patch": 2, "time_scale": 250.0},
        ),
        steps=2500,
        batch_size=64,
        learning_rate=5e-4,
        weight_decay=0.0,
        betas=(0.5, 0.99),
    ),
    # The same with classes, a tenth of them dropped, for classifier-free guidance (Ho and Salimans, 2022).
    Recipe(
        name="mnist-cfg",
        dataset="mnist",
        data="MNIST, 60,000 training images with their classes",
        architecture=UNet,
        config={"channels": 1, **SMALL, "classes": 10},
        objective=Denoise(V, COSINE),
        steps=16_000,
        batch_size=64,
        learning_rate=1.5e-3,
    ),
    Recipe(
        name="fashion-cfg",
        dataset="fashion_mnist",
        data="Fashion-MNIST, 60,000 training images with their classes",
        architecture=UNet,
        config={"channels": 1, **SMALL, "classes": 10},
        objective=Denoise(V, COSINE),
        steps=16_000,
        batch_size=64,
        learning_rate=1.5e-3,
    ),
    # The same network, told measures of the picture, too; it is not shown a corner of each class.
    Recipe(
        name="fashion-design",
        dataset="fashion_designs",
        data="Fashion-MNIST, 60,000 training images but for a corner of each class, with their classes and measures",
        architecture=designer,
        config={"channels": 1, **SMALL},
        objective=Design(V, COSINE),
        steps=5000,
        batch_size=64,
        learning_rate=1.5e-3,
    ),
    # A transformer in the place of the U-Net (Peebles and Xie, 2023), as many pictures as its weights and minutes allow.
    Recipe(
        name="fashion-dit",
        dataset="fashion_mnist",
        data="Fashion-MNIST, 60,000 training images with their classes",
        architecture=DiT,
        config={"channels": 1, "patch": 4, "width": 96, "depth": 6, "heads": 4, "classes": 10},
        objective=Denoise(V, COSINE),
        steps=2_500,
        batch_size=64,
        learning_rate=3e-3,
        weight_decay=0.0,
    ),
    # A third resolution, and mirrored images.
    Recipe(
        name="cifar10-cfg",
        dataset="cifar10",
        data="CIFAR-10, 50,000 training images with their classes",
        architecture=UNet,
        config={"channels": 3, **MIDDLE, "classes": 10},
        objective=Denoise(V, COSINE, augment=flipped),
        steps=24_000,
        batch_size=64,
        learning_rate=1e-3,
    ),
    # Latent diffusion (Rombach et al., 2022): an autoencoder, and a model of its latents with classes.
    Recipe(
        name="cifar10-autoencoder",
        dataset="cifar10",
        data="CIFAR-10, 50,000 training images",
        architecture=GaussianAutoencoder,
        config={"channels": 3, "latent": 8, "width": 32, "multipliers": (1, 2)},
        objective=ReconstructAdversarially(1e-3, 0.05, "cifar10-classifier", flipped),
        steps=8000,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.0,
        betas=(0.5, 0.99),
    ),
    Recipe(
        name="cifar10-latent",
        dataset="cifar10",
        data="CIFAR-10, 50,000 training images with their classes, encoded by cifar10-autoencoder",
        architecture=UNet,
        config={"channels": 8, "width": 32, "multipliers": (1, 2), "attention": (1,), "classes": 10},
        objective=DenoiseLatents(V, COSINE, autoencoder="cifar10-autoencoder", mirrored=True),
        steps=28_000,
        batch_size=32,
        learning_rate=1e-3,
    ),
    # Four ways to restore a picture, by one network (Saharia et al., 2022).
    Recipe(
        name="cifar10-palette",
        dataset="cifar10",
        data="CIFAR-10, 50,000 training images, of which a part is shown",
        architecture=PictureUNet,
        config={"channels": 3, "shown": 4, "size": 32, **MIDDLE, "width": 32},
        objective=Palette(V, COSINE),
        steps=24_000,
        batch_size=32,
        learning_rate=1e-3,
    ),
    # Pictures and captions that belong together (Radford et al., 2021), and pictures from captions.
    Recipe(
        name="scenes-clip",
        dataset="scenes",
        data="20,000 drawn scenes of one or two coloured shapes, with captions",
        architecture=Clip,
        config=CLIP,
        objective=Match(),
        steps=4000,
        batch_size=256,
        learning_rate=1e-3,
    ),
    Recipe(
        name="scenes-text",
        dataset="scenes",
        data="20,000 drawn scenes of one or two coloured shapes, with captions, as scenes-clip reads them",
        architecture=TextUNet,
        config={
            "channels": 3,
            "words": 12,
            "text_width": 64,
            "multipliers": (1, 2, 2),
            "attention": (1, 2),
            "asking": (1, 2),
            "patch": 2,
        },
        objective=DenoiseTold(V, COSINE),
        steps=4500,
        batch_size=64,
        learning_rate=1.5e-3,
    ),
    # The parts of Stable Diffusion (Rombach et al., 2022), built by diffusers and transformers, which therefore draw with them.
    Recipe(
        name="scenes-autoencoder",
        dataset="scenes",
        data="20,000 drawn scenes of one or two coloured shapes",
        architecture=StandardAutoencoder,
        config={"channels": 3, "latent": 4, "widths": (16, 32, 64)},
        objective=ReconstructScenes(1e-3),
        steps=1500,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.0,
    ),
    Recipe(
        name="scenes-pipeline",
        dataset="scenes",
        data="20,000 drawn scenes of one or two coloured shapes, with captions, encoded by scenes-autoencoder",
        architecture=StandardUNet,
        config={"channels": 4, "size": 8, "widths": (64, 64), **READS},
        objective=DenoiseCaptioned(V, COSINE, autoencoder="scenes-autoencoder"),
        steps=2300,
        batch_size=64,
        learning_rate=1e-3,
    ),
    # The DDPM of Ho et al. (2020), minutes on two cores; each grey level is spread over its bin, so that there is a likelihood.
    Recipe(
        name="digits-ddpm",
        dataset="digits",
        data="1,500 of scikit-learn's 1,797 handwritten digits, dequantised",
        architecture=UNet,
        config={"channels": 1, "width": 32, "multipliers": (1, 2), "blocks": 1, "attention": (1,)},
        objective=Denoise(EPS, LINEAR, augment=partial(dequantised, levels=17)),
        steps=2000,
        batch_size=128,
        learning_rate=1e-3,
    ),
    Recipe(
        name="mnist-classifier",
        dataset="mnist",
        data="MNIST, 60,000 training images",
        architecture=Classifier,
        config=READER,
        objective=Classify(augment=lambda x, generator: shifted(x, 2, generator)),
        steps=6000,
        batch_size=128,
        learning_rate=1e-3,
        weight_decay=0.05,
    ),
    # Told the time, for classifier guidance of mnist-ddpm (Dhariwal and Nichol, 2021).
    Recipe(
        name="mnist-noisy-classifier",
        dataset="mnist",
        data="MNIST, 60,000 training images",
        architecture=Classifier,
        config=READER,
        objective=Classify(schedule=COSINE),
        steps=9000,
        batch_size=128,
        learning_rate=1e-3,
        weight_decay=0.05,
    ),
    Recipe(
        name="fashion-classifier",
        dataset="fashion_mnist",
        data="Fashion-MNIST, 60,000 training images",
        architecture=ConvClassifier,
        config={"channels": 1},
        objective=Classify(augment=mirrored_and_moved(2), label_smoothing=0.1),
        steps=4700,
        batch_size=256,
        learning_rate=2e-3,
        weight_decay=0.05,
    ),
    # The models of 2015 (Sohl-Dickstein et al.), of which one makes bits.
    Recipe(
        name="heartbeat",
        dataset="heartbeat",
        data="the five sequences of 20 bits with a beat at every fifth place",
        architecture=MLP,
        config={"dim": 20, "width": 64, "depth": 3, "time_scale": 2.0},
        objective=Restore({"name": "erasing", "T": 500}, rate=0.2),
        steps=6000,
        batch_size=250,
        learning_rate=2e-3,
    ),
    Recipe(
        name="swiss-roll",
        dataset="swiss_roll",
        data="20,000 generated points of a Swiss roll",
        architecture=MLP,
        config={"dim": 2, "width": 128, "depth": 3},
        objective=DenoisePoints(V, COSINE),
        steps=8000,
        batch_size=500,
        learning_rate=2e-3,
    ),
    Recipe(
        name="sounds",
        dataset="sounds",
        data="2,000 generated sounds of a pipe, a string and a drum",
        architecture=FrameTransformer,
        config={"dim": 257, "frames": 16, "width": 64, "depth": 2, "classes": 13},
        objective=DenoiseSounds(V, COSINE),
        steps=1600,
        batch_size=24,
        learning_rate=2e-3,
    ),
    Recipe(
        name="leaves",
        dataset="leaves",
        data="2,048 generated pictures of dead leaves, dequantised",
        architecture=MultiScale,
        config={"channels": 1, "width": 48, "scales": 4, "hidden": 64},
        objective=Denoise(V, COSINE, augment=dequantised),
        steps=2000,
        batch_size=32,
        learning_rate=2e-3,
    ),
    Recipe(
        name="mnist-multiscale",
        dataset="mnist",
        data="MNIST, 60,000 training images",
        architecture=MultiScale,
        config={"channels": 1, "width": 40, "scales": 3},
        objective=Denoise(V, COSINE),
        steps=1000,
        batch_size=64,
        learning_rate=2e-3,
    ),
    # 20 epochs.
    Recipe(
        name="cifar10-classifier",
        dataset="cifar10",
        data="CIFAR-10, 50,000 training images",
        architecture=ConvClassifier,
        config={"channels": 3},
        objective=Classify(augment=mirrored_and_moved(2), label_smoothing=0.1),
        steps=3900,
        batch_size=256,
        learning_rate=2e-3,
        weight_decay=0.05,
    ),
)

RECIPES = {recipe.name: recipe for recipe in ROWS}
