"""Choices of what a residual block normalises: all keep the shape of an image `(B, C, H, W)` and have no weights of their own.

Gain and bias come from the condition, which scales and shifts the channels right after the norm.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel: mean 0 and variance 1, with no gain or bias of its own.

    Layer norm (Ba et al., 2016), applied to one pixel at a time as in ConvNeXt (Liu et al., 2022). Unlike group norm it needs
    no statistics across the image, and torch has one fused kernel for it in the memory order that fast convolutions want.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `(B, C, H, W)` over C."""
        return F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)


class RMSNorm(nn.Module):
    """Divide each pixel's channels by their root mean square (Zhang and Sennrich, 2019); the mean stays."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `(B, C, H, W)` over C."""
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-5)


def group_norm(channels: int) -> nn.Module:
    """Mean 0 and variance 1 over the whole image, for each of 8 groups of channels (Wu and He, 2018), as DDPM's U-Net does it."""
    return nn.GroupNorm(8, channels, affine=False)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "channel": lambda channels: ChannelNorm(),
    "rms": lambda channels: RMSNorm(),
    "group": group_norm,
    "none": lambda channels: nn.Identity(),
}


def build_norm(name: str, channels: int) -> nn.Module:
    """The norm of that name for so many channels; raises ValueError where there is none."""
    if name not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {name!r}")
    return NORMS[name](channels)
