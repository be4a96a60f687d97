"""The network of 2015: convolutions at several scales, and a readout of each pixel over bumps in time (Sohl-Dickstein et al., 2015)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import check_image
from course_lib.nets.recorded import recorded
from course_lib.types import Cond


class MultiScale(nn.Module):
    """Layers of convolutions at `scales` resolutions, then a small MLP at each pixel whose answers are weighted by bumps in time.

    The layers see the picture alone: time enters at the very end, as the weights of `bumps` images (appendix D.2 of the paper). It draws
    pictures of any size that halves `scales` - 1 times.
    """

    config: dict[str, Any]
    centres: Tensor

    @recorded
    def __init__(
        self,
        channels: int = 1,
        width: int = 40,
        depth: int = 4,
        scales: int = 3,
        hidden: int = 40,
        bumps: int = 10,
        T: float = 1000.0,
    ) -> None:
        super().__init__()
        self.takes = None
        self.channels, self.factor, self.T = channels, 2 ** (scales - 1), T
        self.layers = nn.ModuleList(
            MultiScaleConvolution(width if k else channels, width, scales) for k in range(depth)
        )
        self.readout = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.SiLU(), nn.Conv2d(hidden, channels * bumps, 1))
        self.register_buffer("centres", torch.linspace(0, 1, bumps), persistent=False)

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)` to the shape of x; raises ValueError for a condition, which it does not take."""
        if cond is not None:
            raise ValueError("cond must be None: this network takes no condition")
        check_image(x, self.channels, self.factor)
        h = x
        for layer in self.layers:
            h = F.silu(layer(h))
        images = self.readout(h).unflatten(1, (self.channels, -1))  # (B, C, bumps, H, W)
        return torch.einsum("bckhw,bk->bchw", images, bump_weights(t / self.T, self.centres).to(images.dtype))


class MultiScaleConvolution(nn.Module):
    """The picture at full, half, quarter ... resolution, each convolved, enlarged again, and added up."""

    def __init__(self, channels_in: int, channels: int, scales: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(nn.Conv2d(channels_in, channels, 3, padding=1) for _ in range(scales))

    def forward(self, x: Tensor) -> Tensor:
        """x `(B, channels_in, H, W)` to `(B, channels, H, W)`."""
        shrunk = [x]
        for _ in self.scales[1:]:
            shrunk.append(F.avg_pool2d(shrunk[-1], 2))
        total = self.scales[-1](shrunk[-1])
        for convolution, part in zip(reversed(self.scales[:-1]), reversed(shrunk[:-1]), strict=True):
            total = F.interpolate(total, scale_factor=2) + convolution(part)
        return total


def bump_weights(t: Tensor, centres: Tensor) -> Tensor:
    """The weights `(B, K)` of K bumps at times t `(B,)` in [0, 1]: Gaussians around the centres `(K,)`, which add up to 1.

    Their width is half the distance of two centres.
    """
    width = (centres[1] - centres[0]) / 2
    return (-((t[:, None].float() - centres) ** 2) / (2 * width**2)).softmax(1)
