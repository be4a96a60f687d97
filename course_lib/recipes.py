"""Training recipes: each is one short function, the same on CPU and GPU, that leaves weights with a model card in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import data
from course_lib.checkpoints import ModelCard, build_schedule
from course_lib.drawing import draw
from course_lib.gaussian import GaussianProcess
from course_lib.losses import denoising_loss
from course_lib.nets import UNet
from course_lib.plotting import save_grid
from course_lib.predictions import EPS, Prediction, V
from course_lib.runs import Run
from course_lib.training import Batch, Loss, fit, progress


def mnist_ddpm(
    out: Path | str,
    steps: int = 16_000,
    batch_size: int = 64,
    seed: int = 0,
    resume: bool = False,
    compiled: bool = False,
    save_every: int = 250,
) -> ModelCard:
    """A DDPM of MNIST: a compact U-Net that predicts v (Salimans and Ho, 2022) under the cosine schedule with T = 1000.

    Near pure noise, x_0 from a predicted eps is a small difference divided by a small signal; v has no such division, so that
    a short training already gives whole digits. At equal FLOPs, 2 x 2 patches make a step faster.
    """
    run = Run.open(out, resume, recipe="mnist-ddpm", steps=steps, batch_size=batch_size, seed=seed)
    images, _ = data.load("mnist", "train")
    network = build(seed, compiled, channels=1, width=64, multipliers=(1, 2), blocks=1, attention=(1,), patch=2)
    schedule = {"name": "cosine", "T": 1000}
    return train_ddpm(run, network, images, "MNIST, 60,000 training images", V, schedule, save_every, 1.5e-3)


def digits_ddpm(
    out: Path | str,
    steps: int = 2000,
    batch_size: int = 128,
    seed: int = 0,
    resume: bool = False,
    compiled: bool = False,
    save_every: int = 250,
) -> ModelCard:
    """The DDPM of Ho et al. (2020), eps-prediction and the linear schedule, on scikit-learn's 8 x 8 digits: minutes on two cores."""
    run = Run.open(out, resume, recipe="digits-ddpm", steps=steps, batch_size=batch_size, seed=seed)
    images, _ = data.digits()
    network = build(seed, compiled, channels=1, width=32, multipliers=(1, 2), blocks=1, attention=(1,))
    description = "scikit-learn's handwritten digits, 1,797 images"
    schedule = {"name": "linear", "T": 1000}
    return train_ddpm(run, network, data.to_bytes(images), description, EPS, schedule, save_every)


RECIPES: dict[str, Callable[..., ModelCard]] = {"mnist-ddpm": mnist_ddpm, "digits-ddpm": digits_ddpm}


def build(seed: int, compiled: bool, **config: object) -> UNet:
    """A U-Net with seeded weights on the GPU where there is one, in the memory order of fast convolutions."""
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = UNet(**config).to(device, memory_format=torch.channels_last)  # type: ignore[arg-type]
    if compiled:
        network.compile()
    return network


def diffusion_loss(process: GaussianProcess, prediction: Prediction = EPS) -> Loss:
    """The denoising loss of a batch of uint8 images: t uniform on 1..T, noise standard normal (Algorithm 1 of Ho et al., 2020)."""

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        x0 = data.to_unit(batch[0]).contiguous(memory_format=torch.channels_last)
        t = torch.randint(1, int(process.schedule.T) + 1, (len(x0),), generator=generator, device=x0.device)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        return denoising_loss(network, x0, t, noise, process, prediction).mean()

    return loss


def train_ddpm(
    run: Run,
    network: UNet,
    images: Tensor,
    description: str,
    prediction: Prediction,
    schedule_card: dict[str, Any],
    save_every: int,
    learning_rate: float = 1e-3,
) -> ModelCard:
    """Train a network on uint8 images `(N, C, H, W)`, each noise level equally often; ten pictures of samples on the way."""
    steps, batch_size, seed = run.options["steps"], run.options["batch_size"], run.options["seed"]
    schedule = build_schedule(schedule_card)
    loss = diffusion_loss(GaussianProcess(schedule), prediction)
    states = fit(network, loss, (images,), steps, batch_size, learning_rate, seed=seed, resume=run.state_file)
    for state in run.keep(progress(states, steps), save_every):
        if state.step % max(1, steps // 10) == 0:
            generator = torch.Generator().manual_seed(seed)
            drawn = draw(state.ema.module, prediction, schedule, (36, *images.shape[1:]), 50, generator=generator)
            save_grid(run.folder / f"samples-{state.step:06d}.png", drawn)
    return run.finish(
        state,
        prediction=prediction.name,
        schedule=schedule_card,
        image_shape=list(images.shape[1:]),
        data=description,
    )
