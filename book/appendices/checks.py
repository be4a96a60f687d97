"""Checks of the equations in the appendices, against the library with random weights."""

import torch
from torch import Tensor

from course_lib.nets.norms import ChannelNorm
from course_lib.nets.unet import UNet
from course_lib.pages.proofs import assert_close, claim, defines


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers in float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@defines("eq-ddpm-channel-norm")
def channel_norm() -> None:
    """The library's norm is the one defined."""
    h = 3 * draw(2, 8, 4, 4) + 0.5
    C = h.shape[1]
    m = claim(h.sum(1, keepdim=True) / C)
    v = claim(((h - m) ** 2).sum(1, keepdim=True) / C)
    assert_close(ChannelNorm()(h), claim((h - m) / v.sqrt()), 1e-4)


@defines("eq-ddpm-input-gain")
def input_gain() -> None:
    """The network's output with the gain g(t) and without it differ by g(t) x_t, for random weights."""
    torch.manual_seed(0)
    network, x, t = UNet(width=8, multipliers=(1, 2), attention=(1,)), draw(2, 1, 8, 8), torch.tensor([3, 170])
    for layer in (network.last, network.input_gain):
        torch.nn.init.normal_(layer.weight, std=0.1)
    gain = network.input_gain(torch.nn.functional.silu(network.condition(t)))[:, :, None, None]
    whole = network(x, t).detach()
    torch.nn.init.zeros_(network.input_gain.weight)
    plain = network(x, t)
    assert_close(whole, claim(plain + gain * x).detach(), 1e-5)
    assert gain.abs().min() > 1e-3 and float((gain[0] - gain[1]).abs().detach()) > 1e-3
