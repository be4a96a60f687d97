"""Where a training stands, as a file keeps it: the networks, their averages, their optimisers' moments, the step."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from course_lib.models.tensors import load_tensors, load_weights, save_tensors

Batch = tuple[Tensor, ...]
Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]  # (network, batch, generator) -> scalar


@dataclass
class Opponent:
    """A second network that learns in turns with the first: before each step of the first it takes one, on the same batch.

    Its loss knows the first network from elsewhere. While the first takes its step, the opponent's weights are held.
    """

    network: nn.Module
    loss: Loss
    learning_rate: float

    def adam(self, betas: tuple[float, float]) -> torch.optim.Optimizer:
        """Its optimiser: Adam without weight decay."""
        return torch.optim.AdamW(
            self.network.parameters(), lr=self.learning_rate, betas=betas, weight_decay=0.0, fused=True
        )


@dataclass
class TrainState:
    """Where training stands after `step` optimiser steps. `ema.module` is the averaged network, the one to sample from.

    `opponent` and its optimiser are there where two networks learn in turns.
    """

    step: int
    loss: float
    gradient_norm: float
    network: nn.Module
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    opponent: nn.Module | None = None
    opponent_optimizer: torch.optim.Optimizer | None = None

    def save(self, path: Path) -> None:
        """Write everything that `fit(resume=path)` needs, atomically: a kill at any moment leaves a whole file."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        tensors |= moments_of(self.optimizer, "optimizer.")
        if self.opponent is not None and self.opponent_optimizer is not None:
            tensors |= {f"opponent.{k}": v for k, v in self.opponent.state_dict().items()}
            tensors |= moments_of(self.opponent_optimizer, "opponent_optimizer.")
        save_tensors(path, tensors, {k: repr(getattr(self, k)) for k in ("step", "loss", "gradient_norm")})

    def restore(self, path: Path) -> None:
        """Take weights, averages, optimiser moments and step from a file that `save` wrote."""
        tensors, metadata = load_tensors(path)
        load_weights(self.network, below(tensors, "network."), path)
        load_weights(self.ema, below(tensors, "ema."), path)
        take_moments(self.optimizer, below(tensors, "optimizer."))
        if self.opponent is not None and self.opponent_optimizer is not None:
            load_weights(self.opponent, below(tensors, "opponent."), path)
            take_moments(self.opponent_optimizer, below(tensors, "opponent_optimizer."))
        self.step = int(metadata["step"])
        self.loss, self.gradient_norm = float(metadata["loss"]), float(metadata["gradient_norm"])


def moments_of(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, by names that begin with the prefix."""
    entries = optimizer.state_dict()["state"].items()
    return {f"{prefix}{index}.{k}": torch.as_tensor(v) for index, found in entries for k, v in found.items()}


def take_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser what `moments_of` found, by names without the prefix."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # the fused optimizer walks through memory: its moments must lie as the weights do
            tensor = torch.empty_like(parameter).copy_(tensor)
        entries.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with the prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
