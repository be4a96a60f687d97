"""The blocks of a convolutional denoiser. Images are `(B, C, H, W)`, the condition vector is `(B, width)`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PixelNorm(nn.Module):
    """Scale the channel vector of each pixel to root mean square 1, times a learned gain for each channel.

    RMS norm (Zhang and Sennrich, 2019) over channels: unlike group norm it needs no statistics across the image,
    so it is one cheap pass in the memory order that fast convolutions want.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `(B, C, H, W)`; the length of each channel vector is taken in float32."""
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
        scale = math.sqrt(x.shape[1]) / (length + 1e-6)
        return x * scale.to(x.dtype) * self.gain.to(x.dtype)[:, None, None]


def zero_initialised(layer: nn.Conv2d) -> nn.Conv2d:
    """The same layer with weights and bias 0, so that the block around it starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """Two convolutions around a skip; the condition scales and shifts the channels between them.

    The second convolution starts at 0, so an untrained block passes its input through (up to the 1x1 skip).
    """

    def __init__(self, channels_in: int, channels: int, width: int) -> None:
        super().__init__()
        self.norm_in = PixelNorm(channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.modulation = nn.Linear(width, 2 * channels)
        self.norm_out = PixelNorm(channels)
        self.conv_out = zero_initialised(nn.Conv2d(channels, channels, 3, padding=1))
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x `(B, channels_in, H, W)` to `(B, channels, H, W)`."""
        scale, shift = self.modulation(F.silu(condition))[:, :, None, None].chunk(2, dim=1)
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = self.conv_out(F.silu(self.norm_out(h) * (1 + scale) + shift))
        return self.skip(x) + h


class SelfAttention(nn.Module):
    """Multi-head self-attention among the pixels of an image, around a skip; starts as the identity."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels must be a multiple of heads; got {channels} and {heads}")
        self.heads = heads
        self.norm = PixelNorm(channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = zero_initialised(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x `(B, C, H, W)`; each pixel is one token."""
        B, C, H, W = x.shape
        qkv = self.to_qkv(self.norm(x)).flatten(2).reshape(B, 3, self.heads, C // self.heads, H * W)
        query, key, value = qkv.transpose(-1, -2).unbind(1)  # each (B, heads, H*W, C/heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(mixed.transpose(-1, -2).reshape(B, C, H, W))


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
