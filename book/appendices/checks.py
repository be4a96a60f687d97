"""Checks of the equations in the appendices, against the library with random weights."""

import torch
from torch import Tensor

from course_lib.nets.norms import ChannelNorm
from course_lib.nets.unet import UNet
from course_lib.pages.proofs import assert_close, proves


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers in float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@proves("eq-ddpm-channel-norm")
def channel_norm() -> None:
    """The library's norm against the formula."""
    x = draw(2, 8, 4, 4)
    centred = x - x.mean(1, keepdim=True)
    assert_close(ChannelNorm()(x), centred / centred.square().mean(1, keepdim=True).sqrt(), 1e-4)


@proves("eq-ddpm-input-gain")
def input_gain() -> None:
    """The network's output with the gain g(t) and without it differ by g(t) x_t, for random weights."""
    torch.manual_seed(0)
    network, x, t = UNet(width=8, multipliers=(1, 2), attention=(1,)), draw(2, 1, 8, 8), torch.tensor([3, 170])
    for layer in (network.last, network.input_gain):
        torch.nn.init.normal_(layer.weight, std=0.1)
    gain = network.input_gain(torch.nn.functional.silu(network.condition(t)))
    whole = network(x, t).detach()
    torch.nn.init.zeros_(network.input_gain.weight)
    assert_close(whole, (network(x, t) + gain[:, :, None, None] * x).detach(), 1e-5)
    assert gain.abs().min() > 1e-3 and float((gain[0] - gain[1]).abs().detach()) > 1e-3
