"""Training recipes: each is one short function, the same on CPU and GPU, that leaves weights with a model card in a folder.

Further `options` of a recipe are keywords of `fit` (compiled, checkpointing, parts, ...) and `save_every`, in steps.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data import sets
from course_lib.data.images import dequantised, flipped, to_bytes, to_unit
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.losses import denoising_loss
from course_lib.diffusion.predictions import EPS, Prediction, V
from course_lib.models.cards import ModelCard, build_schedule
from course_lib.nets.unet import UNet
from course_lib.pages.plotting import save_grid
from course_lib.recipes.classifiers import CLASSIFIER_RECIPES, Augment, prepare
from course_lib.sampling.generate import Denoising, draw
from course_lib.training.loop import Batch, Loss, fit
from course_lib.training.progress import progress
from course_lib.training.runs import Run

SMALL: dict[str, Any] = {"width": 64, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "patch": 2}
COSINE = {"name": "cosine", "T": 1000}
UNCONDITIONAL = 0.1  # the share of labels that classifier-free guidance drops in training (Ho and Salimans, 2022)


def mnist_ddpm(
    out: Path | str,
    steps: int = 16_000,
    batch_size: int = 64,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> ModelCard:
    """A DDPM of MNIST: a compact U-Net that predicts v (Salimans and Ho, 2022) under the cosine schedule with T = 1000.

    Near pure noise, x_0 from a predicted eps is a small difference divided by a small signal; v has no such division, so that
    a short training already gives whole digits. At equal FLOPs, 2 x 2 patches make a step faster.
    """
    run = Run.open(out, resume, recipe="mnist-ddpm", steps=steps, batch_size=batch_size, seed=seed)
    images, _ = sets.load("mnist", "train")
    network = prepare(UNet, seed, channels=1, **SMALL)
    return train_diffusion(run, network, (images,), "MNIST, 60,000 training images", **options)


def mnist_cfg(
    out: Path | str,
    steps: int = 16_000,
    batch_size: int = 64,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> ModelCard:
    """`mnist_ddpm` with classes, a tenth of them dropped, for classifier-free guidance (Ho and Salimans, 2022)."""
    run = Run.open(out, resume, recipe="mnist-cfg", steps=steps, batch_size=batch_size, seed=seed)
    network = prepare(UNet, seed, channels=1, **SMALL, classes=10)
    description = "MNIST, 60,000 training images with their classes"
    return train_diffusion(run, network, sets.load("mnist", "train"), description, **options)


def fashion_cfg(
    out: Path | str,
    steps: int = 16_000,
    batch_size: int = 64,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> ModelCard:
    """`mnist_cfg` for the clothes of Fashion-MNIST."""
    run = Run.open(out, resume, recipe="fashion-cfg", steps=steps, batch_size=batch_size, seed=seed)
    network = prepare(UNet, seed, channels=1, **SMALL, classes=10)
    description = "Fashion-MNIST, 60,000 training images with their classes"
    return train_diffusion(run, network, sets.load("fashion_mnist", "train"), description, **options)


def cifar10_cfg(
    out: Path | str,
    steps: int = 24_000,
    batch_size: int = 64,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> ModelCard:
    """CIFAR-10 with classes, a tenth of them dropped, on mirrored images: the U-Net of `mnist_cfg` with a third resolution."""
    run = Run.open(out, resume, recipe="cifar10-cfg", steps=steps, batch_size=batch_size, seed=seed)
    config = {**SMALL, "multipliers": (1, 2, 3), "attention": (1, 2)}
    network = prepare(UNet, seed, channels=3, **config, classes=10)
    train = sets.load("cifar10", "train")
    description = "CIFAR-10, 50,000 training images with their classes"
    return train_diffusion(run, network, train, description, learning_rate=1e-3, augment=flipped, **options)


def digits_ddpm(
    out: Path | str,
    steps: int = 2000,
    batch_size: int = 128,
    seed: int = 0,
    resume: bool = False,
    **options: Any,
) -> ModelCard:
    """The DDPM of Ho et al. (2020), eps-prediction and the linear schedule, on scikit-learn's 8 x 8 digits: minutes on two cores.

    It sees 1,500 of the digits, each grey level spread over its bin, so that its likelihood of the others can be measured.
    """
    run = Run.open(out, resume, recipe="digits-ddpm", steps=steps, batch_size=batch_size, seed=seed)
    train, _ = sets.split_digits()
    network = prepare(UNet, seed, channels=1, width=32, multipliers=(1, 2), blocks=1, attention=(1,))
    description = "1,500 of scikit-learn's 1,797 handwritten digits, dequantised"
    linear = {"name": "linear", "T": 1000}
    batch = (to_bytes(train),)
    spread = partial(dequantised, levels=17)
    return train_diffusion(run, network, batch, description, EPS, linear, 1e-3, augment=spread, **options)


RECIPES: dict[str, Callable[..., ModelCard]] = {
    "mnist-ddpm": mnist_ddpm,
    "mnist-cfg": mnist_cfg,
    "fashion-cfg": fashion_cfg,
    "cifar10-cfg": cifar10_cfg,
    "digits-ddpm": digits_ddpm,
    **CLASSIFIER_RECIPES,
}


def diffusion_loss(
    process: GaussianDiffusion, prediction: Prediction = EPS, null: int | None = None, augment: Augment | None = None
) -> Loss:
    """The denoising loss of a batch of uint8 images: t uniform on 1..T, noise standard normal (Algorithm 1 of Ho et al., 2020).

    With `null`, the batch brings labels, and each becomes the null token with probability UNCONDITIONAL, so that one network
    learns to answer with the class and without it.
    """

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        images = batch[0] if augment is None else augment(batch[0], generator)
        x0 = to_unit(images).contiguous(memory_format=torch.channels_last)
        t = torch.randint(1, int(process.schedule.T) + 1, (len(x0),), generator=generator, device=x0.device)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        cond = None if null is None else drop_labels(batch[1], null, UNCONDITIONAL, generator)
        return denoising_loss(network, x0, t, noise, process, prediction, cond).mean()

    return loss


def drop_labels(labels: Tensor, null: int, share: float, generator: torch.Generator) -> Tensor:
    """The labels `(B,)`, each replaced by the null token with probability `share`, independently."""
    dropped = torch.rand(len(labels), generator=generator, device=labels.device) < share
    return torch.where(dropped, null, labels)


def train_diffusion(
    run: Run,
    network: UNet,
    batch: Batch,
    description: str,
    prediction: Prediction = V,
    schedule_card: Mapping[str, Any] = COSINE,
    learning_rate: float = 1.5e-3,
    augment: Augment | None = None,
    save_every: int = 250,
    **options: Any,
) -> ModelCard:
    """Train a network on uint8 images `(N, C, H, W)`, and on their labels `(N,)` where it takes classes.

    Each noise level comes equally often. Ten times on the way a picture of samples is written, one row a class (scale 2).
    `options` are keywords of `fit`.
    """
    steps, batch_size, seed = run.options["steps"], run.options["batch_size"], run.options["seed"]
    schedule, classes = build_schedule(schedule_card), network.config["classes"]
    loss = diffusion_loss(GaussianDiffusion(schedule), prediction, null=classes, augment=augment)
    cond = None if classes is None else torch.arange(classes).repeat_interleave(6)
    n, shape = 36 if cond is None else len(cond), tuple(batch[0].shape[1:])
    states = fit(network, loss, batch, steps, batch_size, learning_rate, seed=seed, resume=run.state_file, **options)
    for state in run.keep(progress(states, steps), save_every):
        if state.step % max(1, steps // 10) == 0 and run.writes:
            generator = torch.Generator().manual_seed(seed)
            model = Denoising(state.ema.module, prediction, schedule, shape)
            drawn = draw(model, n, 50, generator=generator, cond=cond, scale=2.0)
            save_grid(run.folder / f"samples-{state.step:06d}.png", drawn, columns=6)
    return run.finish(
        state,
        prediction=prediction.name,
        schedule=dict(schedule_card),
        image_shape=list(shape),
        data=description,
    )
