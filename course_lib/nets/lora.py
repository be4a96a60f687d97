"""Low-rank adaptation (Hu et al., 2022): a trained layer stays as it is, and learns a small correction of low rank beside it."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

ATTENTION = ("to_qkv", "to_query", "to_key_value", "out")  # the layers of attention in this library's networks


class LoRA(nn.Module):
    """A linear layer or a convolution with weights W, which stay, plus (alpha / rank) B A, which learn.

    A has `rank` outputs and B as many inputs; a convolution's A has its kernel, and B is 1 x 1. B starts at 0, so an untrained adapter
    changes nothing. Raises ValueError for a layer of another kind or in groups, and for a rank below 1.
    """

    def __init__(self, layer: nn.Module, rank: int = 4, alpha: float | None = None) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1; got {rank}")
        if isinstance(layer, nn.Linear):
            self.lora_A = nn.Linear(layer.in_features, rank, bias=False)
            self.lora_B = nn.Linear(rank, layer.out_features, bias=False)
        elif isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros":
            form = layer.kernel_size, layer.stride, layer.padding, layer.dilation
            self.lora_A = nn.Conv2d(layer.in_channels, rank, *form, bias=False)  # type: ignore[arg-type]
            self.lora_B = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            raise ValueError(
                f"layer must be an nn.Linear, or an nn.Conv2d without groups and with zeros around it; got {layer}"
            )
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)
        self.layer = layer.requires_grad_(False)
        self.scale = (rank if alpha is None else alpha) / rank
        self.merged = False
        self.to(layer.weight)

    @property
    def weight(self) -> Tensor:
        """W, of its shape, as those who ask the layer itself see it."""
        return self.layer.weight  # type: ignore[return-value]

    def update(self) -> Tensor:
        """scale B A, of the shape of W."""
        return self.scale * (self.lora_B.weight.flatten(1) @ self.lora_A.weight.flatten(1)).view_as(self.weight)

    @torch.no_grad()
    def merge(self, merged: bool = True) -> None:
        """Add the update to W, so that the layer costs what it did before; or, with False, take it out again."""
        if merged != self.merged:
            self.weight.add_(self.update(), alpha=1 if merged else -1)
            self.merged = merged

    def forward(self, x: Tensor) -> Tensor:
        """x `(B, ..., in)`, or `(B, in, H, W)` for a convolution, as the layer takes it, to the layer's output."""
        return self.layer(x) if self.merged else self.layer(x) + self.scale * self.lora_B(self.lora_A(x))


def add_lora(
    network: nn.Module, rank: int = 4, alpha: float | None = None, targets: Sequence[str] = ATTENTION
) -> dict[str, LoRA]:
    """Put an adapter around each layer that is a target, in place, and let nothing else of the network learn; returns them by name.

    A layer is a target where its name is one of `targets`, or ends in a dot and one of them. `alpha` is the rank where it is None.
    Raises ValueError where there is no such layer, where one is of a kind that has no adapter, and where the network has adapters.
    """
    check_bare(network)
    endings = tuple(f".{target}" for target in targets)
    names = [name for name, _ in network.named_modules() if name in targets or name.endswith(endings)]
    if not names:
        raise ValueError(f"targets must name layers of the network; none of its layers is called {', '.join(targets)}")
    return put_in(network, {name: LoRA(network.get_submodule(name), rank, alpha) for name in names})


def put_in(network: nn.Module, found: Mapping[str, LoRA]) -> dict[str, LoRA]:
    """Put adapters in the place of the layers that they stand for, by name, and let nothing else learn; returns them.

    Raises ValueError where the network has adapters already.
    """
    check_bare(network)
    network.requires_grad_(False)
    for name, adapter in found.items():
        network.set_submodule(name, adapter)
        for part in (adapter.lora_A, adapter.lora_B):
            part.requires_grad_(True)
    return dict(found)


def check_bare(network: nn.Module) -> None:
    """Raise a ValueError where a network has adapters."""
    if adapters(network):
        raise ValueError("network has adapters already: take them out first, with remove_lora")


def adapters(network: nn.Module) -> dict[str, LoRA]:
    """The adapters of a network, by the names of the layers that they stand for."""
    return {name: module for name, module in network.named_modules() if isinstance(module, LoRA)}


def merge(network: nn.Module, merged: bool = True) -> None:
    """Add every adapter's update to the weights, or, with False, take it out again."""
    for adapter in adapters(network).values():
        adapter.merge(merged)


def set_scale(network: nn.Module, scale: float) -> None:
    """Let every adapter count `scale` times: alpha / rank as in training, or less or more; 0 is the network without them.

    Raises ValueError while the adapters are merged: what was added must be taken out as it was.
    """
    for name, adapter in adapters(network).items():
        if adapter.merged:
            raise ValueError(f"the adapter of {name} is merged: take its update out first, with merge(network, False)")
        adapter.scale = scale


def remove_lora(network: nn.Module) -> None:
    """Put the layers back in the place of their adapters: as they were, or where these are merged, with what they learned."""
    for name, adapter in adapters(network).items():
        network.set_submodule(name, adapter.layer)
