"""Training as a generator: `for state in fit(...)` takes one optimiser step a turn, and the caller decides what to do with it.

All randomness of step k comes from (seed, k) alone, so a run that is killed and resumed draws what the unbroken run draws.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from course_lib.hardware import bf16_is_fast
from course_lib.models.tensors import load_tensors, load_weights, save_tensors
from course_lib.training import distributed

Batch = tuple[Tensor, ...]


Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]  # (network, batch, generator) -> scalar


@dataclass
class TrainState:
    """Where training stands after `step` optimiser steps. `ema.module` is the averaged network, the one to sample from."""

    step: int
    loss: float
    gradient_norm: float
    network: nn.Module
    ema: AveragedModel
    optimizer: torch.optim.Optimizer

    def save(self, path: Path) -> None:
        """Write everything that `fit(resume=path)` needs, atomically: a kill at any moment leaves a whole file."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in entries.items()}
        save_tensors(path, tensors, {k: repr(getattr(self, k)) for k in ("step", "loss", "gradient_norm")})

    def restore(self, path: Path) -> None:
        """Take weights, averages, optimiser moments and step from a file that `save` wrote."""
        tensors, metadata = load_tensors(path)
        load_weights(self.network, below(tensors, "network."), path)
        load_weights(self.ema, below(tensors, "ema."), path)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        entries: dict[int, dict[str, Tensor]] = {}
        for name, tensor in below(tensors, "optimizer.").items():
            index, key = name.split(".", 1)
            parameter = parameters[int(index)]
            if (
                tensor.shape == parameter.shape
            ):  # the fused optimizer walks through memory: its moments must lie as the weights do
                tensor = torch.empty_like(parameter).copy_(tensor)
            entries.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": entries})
        self.step = int(metadata["step"])
        self.loss, self.gradient_norm = float(metadata["loss"]), float(metadata["gradient_norm"])


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with the prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def fit(
    network: nn.Module,
    loss: Loss,
    data: Batch,
    steps: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    warmup: int = 100,
    ema_decay: float = 0.999,
    clip: float = 1.0,
    weight_decay: float = 0.01,
    bf16: bool | None = None,
    channels_last: bool = True,
    compiled: bool = False,
    checkpointing: bool = False,
    parts: int | None = None,
    seed: int = 0,
    resume: Path | None = None,
) -> Iterator[TrainState]:
    """Train with AdamW for `steps` steps; the learning rate rises over `warmup` steps and falls as a cosine to 0.

    `data` is a tuple of tensors with one row a sample; `loss` gets (network, a batch of rows, a generator) and returns the mean over
    the rows. Gradients are clipped to the norm `clip`. With `resume`, training goes on after the step saved there; where that
    was the last, its state is yielded once, so that the caller can finish.

    Four keywords trade speed and memory: `bf16` autocast (None: where the hardware is fast at it), `channels_last` memory order of
    the convolutions, `compiled` (torch.compile, which needs a C++ compiler), and `checkpointing`, which keeps only what enters the
    elements of the network's ModuleLists and computes the rest again in the backward pass.

    A step's batch is cut into `parts` (None: one for each process), each with a generator of its own, and their gradients are
    averaged. One process takes the parts in turn, which saves memory; several (`distributed.join`) share them, with the same
    result up to rounding.
    Raises ValueError, before the first step, where the rows differ in number, a batch does not fit data or parts, a keyword is out of
    its range, or the saved state is of another network; and where loss or gradient is not finite, before the weights take that step.
    """
    parts = distributed.count() if parts is None else parts
    rows = check_rows(data, batch_size, parts)
    check_keywords(steps, learning_rate, warmup, ema_decay, clip, weight_decay)
    device = next(network.parameters()).device
    bf16 = bf16_is_fast(device) if bf16 is None else bf16
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    state = TrainState(0, float("nan"), float("nan"), network, averaged(network, ema_decay), optimizer)
    if resume is not None:
        state.restore(resume)

    def backward(shared: nn.Module, k: int) -> Tensor:
        """Leave the gradient of batch k in the network, and return its loss: both are means over all parts and processes."""
        chosen, mine = batch_rows(rows, batch_size, k, seed), range(distributed.rank(), parts, distributed.count())
        value = torch.zeros((), device=device)
        for number in mine:
            batch = tuple(tensor[chosen.chunk(parts)[number]].to(device) for tensor in data)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                share = loss(shared, batch, generator_for(seed, k, device, number)) / len(mine)
            share.backward()
            value = value + share.detach()
        return distributed.mean(value)

    def training() -> Iterator[TrainState]:
        if state.step >= steps:
            yield state
        network.train()
        if compiled:
            network.compile()
        with recomputed(network) if checkpointing else nullcontext():
            shared = distributed.shared(network)
            while state.step < steps:
                k = state.step
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * rate(k, steps, warmup)
                optimizer.zero_grad(set_to_none=True)
                value = backward(shared, k)
                norm = nn.utils.clip_grad_norm_(network.parameters(), clip)
                state.loss, state.gradient_norm = value.item(), norm.item()
                check_finite(state, learning_rate, clip)
                optimizer.step()
                state.ema.update_parameters(network)
                state.step = k + 1
                yield state

    return training()


def check_keywords(
    steps: int, learning_rate: float, warmup: int, ema_decay: float, clip: float, weight_decay: float
) -> None:
    """Raise a ValueError that names the first keyword of `fit` that is out of its range; one that is no number is in none."""
    for name, value, allowed, text in (
        ("steps", steps, steps >= 1, "at least 1"),
        ("learning_rate", learning_rate, 0 < learning_rate < math.inf, "finite and above 0"),
        ("warmup", warmup, warmup >= 0, "at least 0"),
        ("ema_decay", ema_decay, 0 <= ema_decay <= 1, "in [0, 1]"),
        ("clip", clip, clip > 0, "above 0 (math.inf clips nothing)"),
        ("weight_decay", weight_decay, 0 <= weight_decay < math.inf, "finite and at least 0"),
    ):
        if not allowed:
            raise ValueError(f"{name} must be {text}; got {value}")


def check_finite(state: TrainState, learning_rate: float, clip: float) -> None:
    """Raise a ValueError where a step's loss or gradient is not finite: the weights would be lost, and the average with them."""
    for what, value in (("loss", state.loss), ("gradient's norm", state.gradient_norm)):
        if not math.isfinite(value):
            raise ValueError(
                f"the {what} became {value} at step {state.step}: lower learning_rate (now {learning_rate}) or clip (now {clip})"
            )


@contextmanager
def recomputed(network: nn.Module) -> Iterator[None]:
    """Inside, the elements of the network's ModuleLists keep only their inputs for the backward pass (gradient checkpointing)."""
    blocks = [block for stack in network.modules() if isinstance(stack, nn.ModuleList) for block in stack]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # what the class defines is seen again


def check_rows(data: Batch, batch_size: int, parts: int) -> int:
    """The number of samples; raises ValueError where the tensors disagree on it, or a batch does not fit data or parts."""
    counts = {len(tensor) for tensor in data}
    if len(counts) != 1:
        raise ValueError(f"data must be tensors with one row a sample; they have {sorted(counts)} rows")
    rows = counts.pop()
    if not 1 <= batch_size <= rows:
        raise ValueError(f"batch_size must lie in [1, {rows}], the number of samples; got {batch_size}")
    if parts < 1 or parts % distributed.count() or batch_size % parts:
        raise ValueError(
            f"parts must be a multiple of the number of processes ({distributed.count()}) and divide batch_size ({batch_size}); got {parts}"
        )
    return rows


def batch_rows(rows: int, batch_size: int, step: int, seed: int) -> Tensor:
    """The row numbers `(batch_size,)` of batch `step`: a fresh shuffle each epoch; the rows that do not fill a batch sit this epoch out."""
    epoch, position = divmod(step, rows // batch_size)
    return epoch_order(rows, epoch, seed)[position * batch_size : (position + 1) * batch_size]


@lru_cache(maxsize=1)  # every step of an epoch asks for the same
def epoch_order(rows: int, epoch: int, seed: int) -> Tensor:
    """All row numbers in the order of one epoch, `(rows,)`."""
    return torch.randperm(rows, generator=generator_for(seed, -1 - epoch, torch.device("cpu")))


def generator_for(seed: int, step: int, device: torch.device, part: int = 0) -> torch.Generator:
    """The generator of one part of one step (or, with a negative number, of one epoch's shuffle)."""
    hashed = hashlib.sha256((f"{seed} {step} {part}" if part else f"{seed} {step}").encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(hashed[:7], "big"))


def rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate of a step as a share of the highest: a linear rise, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    return (1 + torch.cos(torch.tensor(torch.pi * done)).item()) / 2


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a network's weights, with a short memory at first: min(decay, (1 + n) / (10 + n))."""

    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | int) -> None:
        n = int(
            average_of.n_averaged
        )  # this lies on the CPU; the argument, on the network's device, would have to be waited for
        for average, weight in zip(averages, weights, strict=True):
            average.copy_(average.lerp(weight, 1 - min(decay, (1 + n) / (10 + n))))

    average_of = AveragedModel(network, multi_avg_fn=update)
    return average_of
