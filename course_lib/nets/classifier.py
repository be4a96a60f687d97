"""Convolutional classifiers: their features measure samples, and one that is told the time guides them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import Downsample, ResidualBlock
from course_lib.nets.embeddings import ConditionEmbedding
from course_lib.nets.norms import ChannelNorm
from course_lib.nets.recorded import recorded


class Classifier(nn.Module):
    """The way down of a U-Net, an average over the pixels, and a linear layer that names the class.

    It is told the time like a U-Net, so that it can learn to classify noisy images (Dhariwal and Nichol, 2021); one for clean
    images is asked at t = 0, the default. `multipliers`, `blocks` and `patch` mean what they mean for `UNet`.
    """

    config: dict[str, Any]

    @recorded
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


class ConvClassifier(nn.Module):
    """A classifier of clean images that trains in minutes: a convolution, three stages that each halve the image, a linear layer.

    After the fast CIFAR-10 network of Jordan (2024): a narrow first convolution, pooling before the norm, batch norm (Ioffe and
    Szegedy, 2015), and most multiplications at a quarter of the resolution or less. Images need at least 17 x 17 pixels.
    It is for classes that a mirror does not change: in evaluation mode it averages the features of an image and of its mirror image.
    """

    config: dict[str, Any]

    @recorded
    def __init__(self, channels: int = 3, widths: tuple[int, ...] = (64, 256, 256), classes: int = 10) -> None:
        super().__init__()
        sizes = [24, *widths]
        self.first = nn.Conv2d(channels, sizes[0], 2)
        self.stages = nn.Sequential(*(Stage(inner, outer) for inner, outer in pairwise(sizes)))
        self.last = nn.Linear(sizes[-1], classes)

    def features(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """The vector `(B, C)` that the class is read off; x `(B, channels, H, W)` in [-1, 1].

        Raises ValueError unless t is None: there is no noise.
        """
        if t is not None:
            raise ValueError("t must be None: this classifier is not told the time, and knows clean images only")
        if self.training:
            return self._seen_once(x)
        return (self._seen_once(x) + self._seen_once(x.flip(-1))) / 2

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """The logits of the classes, `(B, classes)`."""
        return self.last(self.features(x, t))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """What the network sees of images x `(B, channels, H, W)` in [-1, 1] after each stage but the last: `(B, C, h, w)` each."""
        h, found = F.gelu(self.first(x)), []
        for stage in list(self.stages)[:-1]:
            h = stage(h)
            found.append(h)
        return found

    def _seen_once(self, x: Tensor) -> Tensor:
        return self.stages(F.gelu(self.first(x))).amax((2, 3))


class Stage(nn.Module):
    """Convolve, halve by the maximum, normalise; then a second convolution around a skip."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.norm_in = nn.BatchNorm2d(channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_out = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x `(B, channels_in, H, W)` to `(B, channels, H/2, W/2)`."""
        h = F.gelu(self.norm_in(F.max_pool2d(self.conv_in(x), 2)))
        return h + F.gelu(self.norm_out(self.conv_out(h)))


def log_probabilities(classifier: Callable[..., Tensor], x: Tensor, t: Tensor | None = None) -> Tensor:
    """log p(y | x_t) of every class, `(B, classes)`, from logits in at least float32."""
    logits = classifier(x, t)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


@torch.no_grad()
def accuracy(classifier: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """The share of images `(N, C, H, W)` in [-1, 1] that are classified as their labels `(N,)` say."""
    right = [
        (classifier(x).argmax(-1) == y.to(x.device)).sum()
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
    ]
    return float(torch.stack(right).sum() / len(labels))
