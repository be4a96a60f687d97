"""How a trained model learns something new from a few pictures: which weights learn, from what, and the loop that teaches them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data.images import to_bytes
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.nets.lora import ATTENTION, add_lora
from course_lib.nets.words import GrownTable, add_words
from course_lib.recipes.diffusion import diffusion_loss
from course_lib.sampling.generate import Denoising, balanced_classes, draw_batches
from course_lib.training.loop import fit
from course_lib.training.state import Batch, Loss, TrainState

LAYERS = (
    *ATTENTION,
    "conv_in",
    "conv_out",
    "modulation",
)  # where adapters are put: attention, convolutions and what the condition says
RATES = {"full": 5e-4, "adapters": 5e-3, "words": 5e-2}  # learning rates: the fewer weights learn, the larger


def prepared(network: nn.Module, words: int, rank: int | None, layers: Sequence[str] = LAYERS) -> GrownTable | None:
    """Say in place what of a trained network is to learn, and return the table of new words, or None where there are none.

    With a `rank`, adapters of that rank; 0 is the new words alone (textual inversion); None is every weight but the old rows of the table
    of classes. Raises ValueError for a rank below 0, and where nothing would learn.
    """
    if rank is not None and rank < 0:
        raise ValueError(f"rank must be at least 0; got {rank}")
    if rank == 0 and not words:
        raise ValueError("rank 0 teaches new words alone, and there are none: choose a rank of at least 1")
    table = add_words(network, words) if words else None
    network.requires_grad_(rank is None)
    if rank:
        add_lora(network, rank, targets=layers)
    if table is not None:
        table.table.requires_grad_(False)
        table.rows.requires_grad_(True)
    return table


def own_samples(model: Denoising, each: int, steps: int = 20, seed: int = 0) -> Batch:
    """Pictures that a model draws of each of its classes by itself, as uint8 `(n, C, H, W)`, and their classes `(n,)`.

    They are what a fine-tuned copy is to keep in mind: the prior preservation of Ruiz et al. (2023). Raises ValueError for a model
    without classes alone.
    """
    labels = balanced_classes(model.takes, each * getattr(model.takes, "classes", 0))
    if labels is None:
        raise ValueError("the model must take classes and nothing else: what it knows is asked class by class")
    return to_bytes(draw_batches(model, len(labels), steps, seed=seed, cond=labels)), labels


def mixed(new: Batch, kept: Batch | None) -> Batch:
    """Rows of which half, or as near as may be, are new and half are kept: the smaller set is repeated. None keeps nothing.

    Each batch is a tuple of tensors of one row a sample, `(n, ...)`.
    """
    if kept is None:
        return new
    rows, others = len(new[0]), len(kept[0])
    times, times_kept = max(1, round(others / rows)), max(1, round(rows / others))
    return tuple(
        torch.cat([a.repeat(times, *[1] * (a.ndim - 1)), b.repeat(times_kept, *[1] * (b.ndim - 1))])
        for a, b in zip(new, kept, strict=True)
    )


def finetune(
    model: Denoising,
    new: Batch,
    steps: int,
    batch_size: int = 16,
    learning_rate: float | None = None,
    kept: Batch | None = None,
    seed: int = 0,
    resume: Path | None = None,
    **options: Any,
) -> Iterator[TrainState]:
    """Teach what is prepared of a model's network with uint8 pictures and their conditions, with `kept` ones of old classes mixed in.

    One state a step, as `training.loop.fit` yields them, which takes the other options and `resume`. The learning rate is that of RATES by
    how much learns (None). Raises ValueError where `fit` does.
    """
    loss = diffusion_loss(GaussianDiffusion(model.schedule), model.prediction, model.takes)
    rate = usual_rate(model.network) if learning_rate is None else learning_rate
    return lessons(model.network, loss, mixed(new, kept), steps, batch_size, rate, seed=seed, resume=resume, **options)


def lessons(
    network: nn.Module, loss: Loss, rows: Batch, steps: int, batch_size: int, learning_rate: float, **options: Any
) -> Iterator[TrainState]:
    """`fit` as few rows `(n, ...)` and few steps want it: a batch of no more rows than there are, a short warm-up, a short memory.

    One state a step; the options are those of `fit`. Raises ValueError where `fit` does.
    """
    defaults: Mapping[str, Any] = {"warmup": min(10, steps // 2), "ema_decay": 0.95, "weight_decay": 0.0}
    return fit(network, loss, rows, steps, min(batch_size, len(rows[0])), learning_rate, **{**defaults, **options})


def usual_rate(network: nn.Module) -> float:
    """The learning rate of RATES for what is prepared to learn."""
    learning = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    if any(".lora_A." in name for name in learning):
        return RATES["adapters"]
    return RATES["words"] if len(learning) <= 1 else RATES["full"]


def outlined(pictures: Tensor) -> Tensor:
    """A sketch of uint8 pictures `(n, C, H, W)`: 1 where a pixel is brighter than half, 0 elsewhere, `(n, 1, H, W)` in float32."""
    return (pictures.float().mean(1, keepdim=True) > 127.5).float()
