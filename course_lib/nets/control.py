"""ControlNet (Zhang et al., 2023) in small: a U-Net that stays as it is, and a copy of its way down that looks at a picture."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import check_image, let_through, zero_initialised
from course_lib.nets.conditions import Labels, Takes, Vectors
from course_lib.nets.unet import Block, UNet
from course_lib.types import Cond


class ControlledUNet(nn.Module):
    """A trained U-Net, which stays, with a copy of its way down and its middle that learns to follow pictures of `shown` channels.

    The picture enters the copy through a convolution that starts at zero, and what the copy finds is added to the U-Net's skips and middle
    through convolutions that start at zero. So an untrained one is the U-Net, whatever picture it is told. Its condition is a mapping of
    "shown" `(B, shown, size, size)` and, where the U-Net takes classes, "class" `(B,)`; a picture of zeros is the null. Time and class
    are embedded once, by the U-Net's own layers. Raises ValueError for a U-Net that takes something else than classes.
    """

    def __init__(self, base: UNet, shown: int = 1, size: int = 28) -> None:
        super().__init__()
        if not (base.takes is None or isinstance(base.takes, Labels)):
            raise ValueError(f"base must be a U-Net of classes, or of nothing; it takes {base.takes}")
        self.takes: Takes = {"shown": Vectors((shown, size, size))} | ({"class": base.takes} if base.takes else {})
        self.outputs = base.outputs
        self.first, self.down = copy.deepcopy(base.first), copy.deepcopy(base.down)
        self.middle = copy.deepcopy(base.middle)
        for part in (self.first, self.down, self.middle):
            part.requires_grad_(True)
        self.base = base.requires_grad_(False)
        entering = shown * (base.first.in_channels // base.channels)  # the picture is cut into patches as the image is
        self.entrance = zero_initialised(nn.Conv2d(entering, base.first.out_channels, 3, padding=1))
        widths = [base.first.out_channels, *(widths_of(layer) for layer in base.down), widths_of(base.middle)]
        self.exits = nn.ModuleList(zero_initialised(nn.Conv2d(width, width, 1)) for width in widths)
        self.to(base.first.weight)

    def train(self, mode: bool = True) -> "ControlledUNet":
        """Train the copy; the U-Net stays as it is used."""
        super().train(mode)
        self.base.eval()
        return self

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, C, H, W)`, t `(B,)` and the condition, or None, to `(B, outputs, H, W)`.

        Raises ValueError where the condition is one tensor, which says neither picture nor class.
        """
        base = self.base
        check_image(x, base.channels, base.factor)
        if isinstance(cond, Tensor):
            raise ValueError('cond must be a mapping of "shown" and, for a network of classes, "class"; got one tensor')
        label, picture = (None, None) if cond is None else (cond.get("class"), cond["shown"])
        condition, tokens = base.told(t, label)
        pixels = base.split(x)
        found = self.looked(pixels, picture, condition, tokens)

        h = base.first(pixels)
        skips = [h]
        for layer in base.down:
            h = layer(h, condition, tokens) if isinstance(layer, Block) else layer(h)
            skips.append(h)
        h = base.middle(h, condition, tokens) + found[-1]
        skips = [skip + more for skip, more in zip(skips, found, strict=False)]  # the last found belongs to the middle
        for layer in base.up:
            h = layer(torch.cat([h, skips.pop()], dim=1), condition, tokens) if isinstance(layer, Block) else layer(h)
        out = base.join(base.last(F.silu(base.last_norm(h))))
        return let_through(out, base.input_gain, condition, x)

    def looked(self, pixels: Tensor, picture: Tensor | None, condition: Tensor, tokens: Tensor | None) -> list[Tensor]:
        """What the copy adds to each skip and to the middle, `(B, width, h, w)` each, as it leaves through the zero convolutions."""
        h = self.first(pixels)
        if picture is not None:
            h = h + self.entrance(self.base.split(picture.to(h.dtype)))
        seen = [h]
        for layer in self.down:
            h = layer(h, condition, tokens) if isinstance(layer, Block) else layer(h)
            seen.append(h)
        seen.append(self.middle(h, condition, tokens))
        return [leave(h) for leave, h in zip(self.exits, seen, strict=True)]


def widths_of(layer: nn.Module) -> int:
    """The channels of what a block, or a layer that halves the resolution, puts out."""
    return layer.residual.conv_out.out_channels if isinstance(layer, Block) else layer.conv.out_channels  # type: ignore
