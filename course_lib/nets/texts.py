"""A U-Net that is told a text: its pixels ask the words (Rombach et al., 2022; Saharia et al., 2022)."""

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.nets.blocks import CrossAttention
from course_lib.nets.conditions import Vectors
from course_lib.nets.recorded import recorded
from course_lib.nets.unet import Block, UNet
from course_lib.types import Cond


class TextUNet(UNet):
    """A `UNet` whose condition are the vectors of `words` words, `text_width` each; zeros stand for no text.

    The blocks at the resolutions in `asking` ask the words, around a skip that begins as the identity. The mean of the words' vectors is
    added to the vector for the time, so that all blocks hear the text as a whole; with `asking` empty that is all they hear.
    The other arguments are those of `UNet`. Raises ValueError where it does, and where `asking` lists a resolution that is not there.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        words: int,
        text_width: int,
        asking: tuple[int, ...] = (1,),
        channels: int = 3,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        attention: tuple[int, ...] = (2,),
        patch: int = 1,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__(channels, width, multipliers, blocks, attention, patch, time_scale=time_scale)
        if not {*asking} <= {*range(len(multipliers))}:
            raise ValueError(f"asking must list resolutions from 0 to {len(multipliers) - 1}; got {asking}")
        self.takes = Vectors((words, text_width))
        self.text = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, 4 * width))
        for module in self.modules():
            if isinstance(module, Block) and module.level in asking:
                module.asking = CrossAttention(width * multipliers[module.level], text_width)

    def told(self, t: Tensor, cond: Cond) -> tuple[Tensor, Tensor]:
        """The vector for time and text `(B, 4 width)`, and the words' vectors `(B, words, text_width)`.

        Raises ValueError where the condition is no such vectors.
        """
        if cond is None:
            cond = self.takes.null(len(t)).to(t.device)
        if not isinstance(cond, Tensor):
            raise ValueError("cond must be one tensor, the vectors of a text's words; got a mapping")
        self.takes.check(cond)
        tokens = cond.to(next(self.parameters()).dtype)
        there = (tokens != 0).any(-1).any(-1)[:, None]  # no text is not a text of zeros
        return self.condition(t) + torch.where(there, self.text(tokens.mean(1)), 0.0), tokens
