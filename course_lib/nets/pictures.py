"""A U-Net that is told a picture: it sees the condition's channels beside its input's (Saharia et al., 2022)."""

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.nets.conditions import Vectors
from course_lib.nets.recorded import recorded
from course_lib.nets.unet import UNet
from course_lib.types import Cond


class PictureUNet(nn.Module):
    """A U-Net of pictures of `size` x `size` pixels, whose condition is a picture of the same size with `shown` channels.

    The two are laid one over the other at the input. The other arguments are those of `UNet`.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        channels: int = 3,
        shown: int = 4,
        size: int = 32,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        attention: tuple[int, ...] = (2,),
        patch: int = 1,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.takes = channels, Vectors((shown, size, size))
        self.body = UNet(channels + shown, width, multipliers, blocks, attention, patch, time_scale=time_scale)

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)` and the condition `(B, shown, H, W)` to the shape of x.

        Raises ValueError where the condition is missing or of another kind.
        """
        if not isinstance(cond, Tensor):
            raise ValueError(
                "this network restores pictures, and must be told one: cond must be a tensor (B, shown, H, W)"
            )
        self.takes.check(cond)
        return self.body(torch.cat([x, cond.to(x.dtype)], 1), t)[:, : self.channels]
