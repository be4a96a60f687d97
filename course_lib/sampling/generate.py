"""Draw images from a trained network: the few lines that the command, the recipes and the book share."""

from collections.abc import Callable
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import PREDICTIONS, Prediction, denoiser
from course_lib.diffusion.schedules import TableSchedule
from course_lib.hardware import bf16_is_fast
from course_lib.models import store
from course_lib.models.cards import ModelCard
from course_lib.sampling.guidance import classifier_free
from course_lib.sampling.ode import angle_heun, dpm_solver
from course_lib.sampling.steps import ancestral, ddim, last, sample
from course_lib.sampling.times import uniform_grid
from course_lib.types import Denoiser, NoiseSource, Step

# Heun's method asks the network twice a step, but for the last; the others once.
SAMPLERS: dict[str, Callable[[Denoiser, GaussianDiffusion, NoiseSource], Step]] = {
    "ddim": lambda denoise, process, noise: ddim(denoise, process),
    "ddpm": lambda denoise, process, noise: ancestral(denoise, process, noise=noise),
    "heun": lambda denoise, process, noise: angle_heun(denoise, process.schedule),
    "dpm-solver": lambda denoise, process, noise: dpm_solver(denoise, process.schedule),
}


def draw(
    network: nn.Module,
    prediction: Prediction,
    schedule: TableSchedule,
    shape: tuple[int, ...],
    steps: int,
    sampler: str = "ddim",
    generator: torch.Generator | None = None,
    cond: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Images `(B, C, H, W)` in [-1, 1] of the given shape, from fresh noise, in `steps` steps; all noise comes from `generator`.

    With classes cond `(B,)` the network is guided to them without a classifier, at `scale` (1 is the conditional model).
    The network runs in bf16 where the hardware is fast at it; the images stay in float32.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}; got {sampler!r}")
    process = GaussianDiffusion(schedule)
    device = next(network.parameters()).device
    times = uniform_grid(schedule, steps)
    x = process.prior(shape, generator).to(device)
    if cond is None:
        denoise = denoiser(network, prediction, schedule, clip=1.0)
    else:
        config: Any = network.config
        null = config["classes"]
        denoise = classifier_free(network, prediction, schedule, cond.to(device), null, scale, clip=1.0)
    step = SAMPLERS[sampler](denoise, process, lambda x: torch.randn(x.shape, generator=generator).to(x))
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
        return last(sample(step, x, times))


def draw_batches(
    model: str,
    n: int,
    steps: int,
    sampler: str,
    seed: int,
    batch_size: int = 128,
    cond: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """n images `(n, C, H, W)` from a model on disk, in batches, on the GPU where there is one; the seed fixes them all.

    `cond` `(n,)` asks for classes, at the guidance `scale`. Raises ValueError where the model is a classifier, or has no classes.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network, card = store.load(model, device)
    if card.prediction not in PREDICTIONS:
        raise ValueError(f"{card.name} is a classifier, which draws nothing: choose a diffusion model")
    check_classes(card, cond)
    schedule, prediction = card.build_schedule(), PREDICTIONS[card.prediction]
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for start in track(range(0, n, batch_size), "drawing", transient=True):
        shape = (min(batch_size, n - start), *card.image_shape)
        wanted = None if cond is None else cond[start : start + batch_size]
        batches.append(draw(network, prediction, schedule, shape, steps, sampler, generator, wanted, scale))
    return torch.cat(batches).cpu()


def check_classes(card: ModelCard, cond: Tensor | None) -> None:
    """Raise a ValueError where classes are asked for that the model does not have."""
    if cond is None:
        return
    classes = card.config.get("classes")
    if classes is None:
        raise ValueError(f"{card.name} was trained without classes: it cannot be asked for one")
    if not bool(((cond >= 0) & (cond < classes)).all()):
        raise ValueError(f"classes must lie in [0, {classes - 1}]; got {sorted(set(cond.tolist()))}")


def balanced_classes(card: ModelCard, n: int) -> Tensor | None:
    """n classes `(n,)`, each equally often, in order; None for a model without classes."""
    classes = card.config.get("classes")
    return None if classes is None else torch.arange(n) * classes // n
