"""Draw images from a trained network: the few lines that the command, the recipes and the book share."""

import torch
from rich.progress import track
from torch import Tensor, nn

from course_lib import checkpoints
from course_lib.gaussian import GaussianProcess
from course_lib.grids import uniform_grid
from course_lib.predictions import PREDICTIONS, Prediction, denoiser
from course_lib.samplers import ancestral, ddim, last, sample
from course_lib.schedules import TableSchedule
from course_lib.training import bf16_is_fast

SAMPLERS = {"ddim": ddim, "ddpm": ancestral}


def draw(
    network: nn.Module,
    prediction: Prediction,
    schedule: TableSchedule,
    shape: tuple[int, ...],
    steps: int,
    sampler: str = "ddim",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images `(B, C, H, W)` in [-1, 1] of the given shape, from fresh noise, in `steps` steps; all noise comes from `generator`.

    The network runs in bf16 where the hardware is fast at it; the images stay in float32.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}; got {sampler!r}")
    process = GaussianProcess(schedule)
    device = next(network.parameters()).device
    times = uniform_grid(schedule, steps)
    x = process.prior(shape, generator).to(device)
    denoise = denoiser(network, prediction, schedule, clip=1.0)
    step = SAMPLERS[sampler](denoise, process, noise=lambda x: torch.randn(x.shape, generator=generator).to(x))
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
        return last(sample(step, x, times))


def draw_batches(model: str, n: int, steps: int, sampler: str, seed: int, batch_size: int = 128) -> Tensor:
    """n images `(n, C, H, W)` from a model on disk, in batches, on the GPU where there is one; the seed fixes them all."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network, card = checkpoints.load(model, device)
    schedule, prediction = card.build_schedule(), PREDICTIONS[card.prediction]
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]
    batches = [
        draw(network, prediction, schedule, (size, *card.image_shape), steps, sampler, generator)
        for size in track(sizes, "drawing", transient=True)
    ]
    return torch.cat(batches).cpu()
