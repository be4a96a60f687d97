"""A convolutional classifier: its features measure samples, and with the time as input it guides them."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import ChannelNorm, Downsample, ResidualBlock
from course_lib.nets.embeddings import ConditionEmbedding


class Classifier(nn.Module):
    """The way down of a U-Net, an average over the pixels, and a linear layer that names the class.

    It is told the time like a U-Net, so that it can learn to classify noisy images (Dhariwal and Nichol, 2021); one for clean
    images is asked at t = 0, the default. `multipliers`, `blocks` and `patch` mean what they mean for `UNet`.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 2,
        patch: int = 1,
        classes: int = 10,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "channels": channels,
            "width": width,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "patch": patch,
            "classes": classes,
            "time_scale": time_scale,
        }
        sizes = [width * multiplier for multiplier in multipliers]
        self.condition = ConditionEmbedding(2 * width, time_scale=time_scale)
        self.split = nn.PixelUnshuffle(patch)
        self.first = nn.Conv2d(channels * patch**2, sizes[0], 3, padding=1)
        self.down = nn.ModuleList()
        for level, size in enumerate(sizes):
            if level:
                self.down.append(Downsample(sizes[level - 1], size))
            self.down.extend(ResidualBlock(size, size, 2 * width) for _ in range(blocks))
        self.norm = ChannelNorm()
        self.last = nn.Linear(sizes[-1], classes)

    def features(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """The vector `(B, C)` that the class is read off; x `(B, channels, H, W)` in [-1, 1], t `(B,)` or None for 0."""
        condition = self.condition(x.new_zeros(len(x)) if t is None else t)
        h = self.first(self.split(x))
        for layer in self.down:
            h = layer(h, condition) if isinstance(layer, ResidualBlock) else layer(h)
        return F.silu(self.norm(h)).mean((2, 3))

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """The logits of the classes, `(B, classes)`."""
        return self.last(self.features(x, t))


def log_probabilities(classifier: Callable[..., Tensor], x: Tensor, t: Tensor | None = None) -> Tensor:
    """log p(y | x_t) of every class, `(B, classes)`, from logits in at least float32."""
    logits = classifier(x, t)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


@torch.no_grad()
def accuracy(classifier: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """The share of images `(N, C, H, W)` in [-1, 1] that are classified as their labels `(N,)` say."""
    right = [
        (classifier(x).argmax(-1) == y).sum()
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
    ]
    return float(torch.stack(right).sum() / len(labels))
