"""The diffusion transformer (Peebles and Xie, 2023): patches become tokens, blocks mix them, tokens become patches."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.blocks import CrossAttention, check_image, let_through, zero_initialised
from course_lib.nets.conditions import Labels
from course_lib.nets.embeddings import ConditionEmbedding, position_embedding
from course_lib.nets.recorded import recorded
from course_lib.nets.transformers import AdaLNZero, TokenAttention, modulated, perceptron, rotary_angles, spread
from course_lib.types import Cond, check_name

POSITIONS = ("sinusoids", "rotary", "none")


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut images `(B, C, H, W)` into squares of patch x patch pixels, one token each, `(B, H/patch, W/patch, C patch^2)`."""
    return F.pixel_unshuffle(x, patch).movedim(1, -1)


def unpatchify(tokens: Tensor, patch: int) -> Tensor:
    """Put the squares together again, to `(B, C, H, W)`: the inverse of `patchify`."""
    return F.pixel_shuffle(tokens.movedim(-1, 1), patch)


class InContext(nn.Module):
    """Attention, then a perceptron, both around a skip, after norms with gains of their own: the block of a plain transformer.

    It takes no notice of what it is told: time and class stand among the tokens.
    """

    def __init__(self, channels: int, width: int, attention: TokenAttention, mlp: nn.Module) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention, self.mlp = attention, mlp

    def forward(self, x: Tensor, told: Tensor, angles: Tensor | None = None) -> Tensor:
        """Tokens x `(B, ..., C)`, told `(B, n, width)`, to the shape of x."""
        x = x + self.attention(self.norm_attention(x), angles)
        return x + self.mlp(self.norm_mlp(x))


class CrossAttended(InContext):
    """The plain block in which the tokens, between attention and perceptron, ask time and class as two tokens of another kind."""

    def __init__(self, channels: int, width: int, attention: TokenAttention, mlp: nn.Module) -> None:
        super().__init__(channels, width, attention, mlp)
        self.cross = CrossAttention(channels, width, attention.heads)
        nn.init.xavier_uniform_(self.cross.out.weight)  # it starts at 0, as no other layer of this block does

    def forward(self, x: Tensor, told: Tensor, angles: Tensor | None = None) -> Tensor:
        """Tokens x `(B, ..., C)`, told `(B, n, width)`, to the shape of x."""
        x = x + self.attention(self.norm_attention(x), angles)
        x = self.cross(x.flatten(1, -2).mT[..., None], told)[..., 0].mT.view_as(x)
        return x + self.mlp(self.norm_mlp(x))


class AdaLN(nn.Module):
    """The block whose norms are shifted and scaled by the condition, without gates and without a start at 0."""

    def __init__(self, channels: int, width: int, attention: TokenAttention, mlp: nn.Module) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 4 * channels)
        self.attention, self.mlp = attention, mlp

    def forward(self, x: Tensor, told: Tensor, angles: Tensor | None = None) -> Tensor:
        """Tokens x `(B, ..., C)`, told `(B, n, width)`, of which the sum is taken, to the shape of x."""
        shift, scale, later_shift, later_scale = spread(self.modulation(F.silu(told.sum(1))), x).chunk(4, dim=-1)
        x = x + self.attention(modulated(x, shift, scale), angles)
        return x + self.mlp(modulated(x, later_shift, later_scale))


CONDITIONINGS: dict[str, Callable[..., nn.Module]] = {
    "in-context": InContext,
    "cross-attention": CrossAttended,
    "adaln": AdaLN,
    "adaln-zero": AdaLNZero,
}


class DiT(nn.Module):
    """The diffusion transformer, which denoises images as a row of patches.

    `conditioning` chooses how the blocks hear of time and class (a key of CONDITIONINGS); `positions`, how they know where a patch
    stands: fixed sinusoids that are added to the tokens, turns of queries and keys ("rotary"), or not at all. `registers` are
    tokens with no place in the image. A perceptron's hidden layer is `ratio` times as wide as a token. With `window`, each
    block attends within squares of window x window tokens, and every other block's squares are moved by half a window.
    Any image is welcome whose sides are multiples of patch (times window).
    As in `UNet`, a gain that depends on the time lets the input through; an untrained transformer predicts 0.
    Raises ValueError for an unknown conditioning or kind of positions, for sizes below 1, where the heads do not divide the width or the
    positions do not fit it, and for windows together with tokens that have no place in the image.
    """

    config: dict[str, Any]

    @recorded
    def __init__(
        self,
        channels: int = 1,
        patch: int = 2,
        width: int = 192,
        depth: int = 6,
        heads: int = 4,
        window: int | None = None,
        classes: int | None = None,
        time_scale: float = 1.0,
        conditioning: str = "adaln-zero",
        positions: str = "sinusoids",
        registers: int = 0,
        qk_norm: bool = False,
        ratio: float = 4.0,
    ) -> None:
        super().__init__()
        check_name("conditioning", conditioning, CONDITIONINGS)
        check_name("positions", positions, POSITIONS)
        check_sizes(patch=patch, width=width, depth=depth, heads=heads)
        self.among = conditioning == "in-context"  # whether time and class are tokens
        if window is not None and (registers or self.among):
            raise ValueError(
                "window must be None where there are registers or the conditioning is in-context: those tokens lie in no window"
            )
        if positions == "sinusoids" and width % 4:
            raise ValueError(f"width must be a multiple of 4, for sines and cosines of two axes; got {width}")
        if positions == "rotary":
            rotary_angles(1, 1, width // heads)  # which refuses heads that have no two pairs of channels
        self.channels, self.patch, self.positions = channels, patch, positions
        self.factor = patch * (window or 1)
        self.takes = None if classes is None else Labels(classes)
        self.condition = ConditionEmbedding(width, classes, time_scale)
        self.first = nn.Linear(channels * patch**2, width)
        self.registers = nn.Parameter(0.02 * torch.randn(registers, width)) if registers else None
        hidden = round(ratio * width)
        self.blocks = nn.ModuleList()
        for number in range(depth):
            shift = 0 if window is None else number % 2 * (window // 2)
            attention = TokenAttention(width, heads, window, shift, qk_norm)
            self.blocks.append(CONDITIONINGS[conditioning](width, width, attention, perceptron(width, hidden)))
        adaptive = conditioning.startswith("adaln")
        self.norm = nn.LayerNorm(width, elementwise_affine=not adaptive)
        self.modulation = zero_initialised(nn.Linear(width, 2 * width)) if adaptive else None
        self.last = zero_initialised(nn.Linear(width, channels * patch**2))
        self.input_gain = zero_initialised(nn.Linear(width, 1))

    def forward(self, x: Tensor, t: Tensor, cond: Cond = None) -> Tensor:
        """x `(B, channels, H, W)`, t `(B,)`, cond `(B,)` or None, to the shape of x."""
        check_image(x, self.channels, self.factor)
        told = torch.stack(self.condition.parts(t, cond), 1)  # (B, 1 or 2, width)
        h = self.first(patchify(x, self.patch))  # (B, H/patch, W/patch, width)
        rows, columns, angles = h.shape[1], h.shape[2], None
        if self.positions == "sinusoids":
            h = h + position_embedding(h.movedim(-1, 1)).movedim(0, -1)
        others = self.others(told)  # (B, n, width)
        if self.positions == "rotary":
            angles = rotary_angles(rows, columns, h.shape[-1] // self.config["heads"], device=x.device)
            angles = F.pad(angles, (0, 0, others.shape[1], 0))  # what has no place is not turned
        if self.config["window"] is None:
            h = torch.cat([others.to(h), h.flatten(1, 2)], 1)
        for block in self.blocks:
            h = block(h, told, angles)
        if self.config["window"] is None:
            h = h[:, others.shape[1] :].unflatten(1, (rows, columns))
        h = self.norm(h)
        if self.modulation is not None:
            shift, scale = spread(self.modulation(F.silu(told.sum(1))), h).chunk(2, dim=-1)
            h = torch.addcmul(shift, h, 1 + scale)
        return let_through(unpatchify(self.last(h), self.patch), self.input_gain, told.sum(1), x)

    def others(self, told: Tensor) -> Tensor:
        """The tokens that are no patches, `(B, n, width)`: time and class where they stand among the tokens, and the registers."""
        found = [told if self.among else told[:, :0]]
        if self.registers is not None:
            found.append(self.registers.expand(len(told), -1, -1))
        return torch.cat(found, 1)

    def flops(self, height: int, width: int) -> int:
        """Floating-point operations of one image's forward pass, two for each multiplication: those of the matrix products."""
        config, size = self.config, self.config["width"]
        patches, told = height * width // self.patch**2, 1 + (self.takes is not None)
        tokens = patches + config["registers"] + told * self.among
        one = block_flops(
            tokens,
            size,
            round(config["ratio"] * size),
            config["conditioning"],
            told,
            (config["window"] or 0) ** 2 or None,
        )
        ends = 4 * patches * self.channels * self.patch**2 * size  # the first layer and the last
        final = 4 * size**2 if self.modulation is not None else 0
        time = 2 * size * (self.condition.time.sinusoids + size)
        return config["depth"] * one + ends + final + time + 2 * size


def block_flops(
    tokens: int, width: int, hidden: int, conditioning: str = "adaln-zero", told: int = 2, seen: int | None = None
) -> int:
    """Floating-point operations of one block's forward pass for one image, two for each multiplication.

    `seen` is how many tokens each attends to (None: all). `told` are the vectors of the condition, of the tokens' width. What is done to
    single numbers (norms, the softmax, GELU) is not counted, as usual.
    """
    layers = 2 * tokens * (4 * width**2 + 2 * width * hidden)
    attention = 4 * tokens * (seen or tokens) * width
    hears = {
        "in-context": 0,
        "cross-attention": 4 * tokens * width**2 + 4 * told * width**2 + 4 * tokens * told * width,
        "adaln": 8 * width**2,
        "adaln-zero": 12 * width**2,
    }
    return layers + attention + hears[conditioning]


def check_sizes(**sizes: int) -> None:
    """Raise a ValueError that names the first of the sizes that is no whole number of at least 1."""
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ValueError(f"{name} must be a whole number of at least 1; got {size!r}")
