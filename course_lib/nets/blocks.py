"""The blocks of a convolutional denoiser. Images are `(B, C, H, W)`, the condition vector is `(B, width)`."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.nets.norms import ChannelNorm, build_norm

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def zero_initialised(layer: Layer) -> Layer:
    """The same layer with weights and bias 0, so that the block around it starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """Two convolutions around a skip; the condition scales and shifts the channels between them.

    The second convolution starts at 0, so an untrained block passes its input through (up to the 1x1 skip).
    """

    def __init__(self, channels_in: int, channels: int, width: int, norm: str = "channel") -> None:
        super().__init__()
        self.norm_in, self.norm_out = build_norm(norm, channels_in), build_norm(norm, channels)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.modulation = nn.Linear(width, 2 * channels)
        self.conv_out = zero_initialised(nn.Conv2d(channels, channels, 3, padding=1))
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x `(B, channels_in, H, W)` to `(B, channels, H, W)`."""
        scale, shift = self.modulation(F.silu(condition))[:, :, None, None].chunk(2, dim=1)
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = self.conv_out(F.silu(torch.addcmul(shift, self.norm_out(h), 1 + scale)))
        return self.skip(x) + h


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017) of `(..., tokens, d)`: softmax(query key^T / sqrt(d)) value.

    On a CPU, torch's fused kernel is 2.4 times as fast as the formula for 196 tokens in float32, and as fast for 49; but it has no
    forward-mode and no second derivative, and its backward pass in bf16 took ten times as long for 128 images of 49 tokens. So few
    tokens take the formula.
    """
    few = 256 if query.dtype is torch.bfloat16 else 64
    if query.device.type == "cpu" and query.shape[-2] <= few:
        weights = (query / query.shape[-1] ** 0.5) @ key.transpose(-1, -2)  # (..., tokens, tokens)
        return weights.softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value)


def multi_head(qkv: Tensor, heads: int) -> Tensor:
    """Attention in several heads, of queries, keys and values that lie side by side, `(..., tokens, 3C)`, to `(..., tokens, C)`."""
    query, key, value = (
        qkv.unflatten(-1, (3, heads, -1)).movedim(-3, 0).transpose(-3, -2)
    )  # each (..., heads, tokens, d)
    return attend(query, key, value).transpose(-3, -2).flatten(-2)


class SelfAttention(nn.Module):
    """Multi-head self-attention among the pixels of an image, around a skip; starts as the identity.

    Raises ValueError unless the heads divide the channels.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels must be a multiple of heads; got {channels} and {heads}")
        self.heads = heads
        self.norm = ChannelNorm()
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = zero_initialised(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x `(B, C, H, W)`; each pixel is one token."""
        qkv = self.to_qkv(self.norm(x)).movedim(1, -1)  # (B, H, W, 3C)
        mixed = multi_head(qkv.flatten(1, 2), self.heads)  # (B, H*W, C)
        return x + self.out(mixed.unflatten(1, x.shape[2:]).movedim(-1, 1))


class CrossAttention(nn.Module):
    """Each pixel of an image asks tokens of another kind, such as words, around a skip (Rombach et al., 2022); starts as the identity.

    The tokens have `width` numbers each. Raises ValueError unless the heads divide the channels.
    """

    def __init__(self, channels: int, width: int, heads: int = 4) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels must be a multiple of heads; got {channels} and {heads}")
        self.heads = heads
        self.norm = ChannelNorm()
        self.to_query = nn.Conv2d(channels, channels, 1, bias=False)
        self.to_key_value = nn.Linear(width, 2 * channels, bias=False)
        self.out = zero_initialised(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """x `(B, C, H, W)` asks tokens `(B, n, width)`, n as it likes, and is answered in its own shape."""
        query = self.to_query(self.norm(x)).flatten(2).mT  # (B, H*W, C)
        key, value = self.to_key_value(tokens).chunk(2, dim=-1)  # each (B, n, C)
        apart = lambda h: h.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # noqa: E731 (B, heads, rows, d)
        mixed = attend(apart(query), apart(key), apart(value)).transpose(-3, -2).flatten(-2)  # (B, H*W, C)
        return x + self.out(mixed.mT.unflatten(-1, x.shape[2:]))


class Downsample(nn.Module):
    """Halve height and width with a convolution of stride 2."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, channels_in, H, W)` to `(B, channels, H/2, W/2)`."""
        return self.conv(x)


class Upsample(nn.Module):
    """Double height and width: repeat each pixel, then convolve, which leaves no checkerboard."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, channels_in, H, W)` to `(B, channels, 2H, 2W)`."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def let_through(out: Tensor, gain: nn.Linear, condition: Tensor, x: Tensor) -> Tensor:
    """The output `(B, C', H, W)` plus the input x `(B, C, H, W)` in its first C channels, as much of it as the condition `(B, width)` says.

    A norm forgets how long the channels' vectors are; near pure noise the answer is the input, length and all.
    """
    passed = gain(F.silu(condition))[:, :, None, None] * x
    if out.shape == x.shape:
        return out + passed
    return torch.cat([out[:, : x.shape[1]] + passed, out[:, x.shape[1] :]], dim=1)


def check_image(x: Tensor, channels: int, factor: int) -> None:
    """Raise a ValueError unless x is `(B, channels, H, W)` with sides that the network can divide by `factor`."""
    if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % factor or x.shape[3] % factor:
        raise ValueError(
            f"x must have shape (B, {channels}, H, W) with H and W multiples of {factor}; got {tuple(x.shape)}"
        )
