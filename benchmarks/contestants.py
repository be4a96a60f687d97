"""The networks that are compared: ours and the peers' own, unmodified, with equal numbers of parameters and of multiplications."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.data.images import to_unit
from course_lib.diffusion import schedules
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import V
from course_lib.nets.unet import UNet
from course_lib.recipes.diffusion import diffusion_loss
from course_lib.training.loop import fit

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

BATCH = 64


@dataclass(frozen=True)
class Mode:
    """How a network is run."""

    bf16: bool
    channels_last: bool
    compiled: bool

    def __str__(self) -> str:
        order = "channels_last" if self.channels_last else "contiguous"
        return f"{'bf16' if self.bf16 else 'float32'}, {order}, {'compiled' if self.compiled else 'eager'}"


@dataclass(frozen=True)
class Contestant:
    """A library's network and its training step.

    `train(network, images, mode)` yields once for each optimiser step on batches of the uint8 images `(N, C, H, W)`;
    `forward(network, x, t)` predicts from noisy images.
    """

    name: str
    build: Callable[[], nn.Module]
    train: Callable[[nn.Module, Tensor, Mode], Iterator[Any]]
    forward: Callable[[nn.Module, Tensor, Tensor], Tensor]


def contestants(channels: int, size: int) -> list[Contestant]:
    """Ours and the peers', for images of channels x size x size; about 1.5 M parameters and 0.5 GFLOP an image at 28 x 28."""
    ours = partial(UNet, channels, width=96, multipliers=(1,), blocks=2, attention=(), patch=2, condition_width=160)
    return [
        Contestant("course_lib", ours, our_steps, lambda network, x, t: network(x, t)),
        Contestant(
            "diffusers", partial(diffusers_unet, channels, size), diffusers_steps, lambda n, x, t: n(x, t).sample
        ),
        Contestant("denoising-diffusion-pytorch", partial(lucid_unet, channels), lucid_steps, lambda n, x, t: n(x, t)),
    ]


# --- ours ----------------------------------------------------------------------------------------------------------------


def our_steps(network: nn.Module, images: Tensor, mode: Mode) -> Iterator[Any]:
    """The course's own loop, with all that it does: clipping, the averaged weights, noise that only seed and step decide."""
    loss = diffusion_loss(GaussianDiffusion(schedules.cosine()), V)
    return fit(
        network,
        loss,
        (images,),
        steps=1_000_000,
        batch_size=BATCH,
        bf16=mode.bf16,
        channels_last=mode.channels_last,
        compiled=mode.compiled,
    )


# --- diffusers -----------------------------------------------------------------------------------------------------------


def diffusers_unet(channels: int, size: int) -> "UNet2DModel":
    """diffusers' UNet2DModel, as its tutorial builds it, in small."""
    declare_torchvision()
    from diffusers.models.unets.unet_2d import UNet2DModel

    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=2,
        block_out_channels=(32, 60, 60),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )


def diffusers_steps(network: nn.Module, images: Tensor, mode: Mode) -> Iterator[None]:
    """The training step of diffusers' tutorial with DDPMScheduler, on the same target as the others."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    # Any: it declares times of a type that torch.randint does not
    scheduler: Any = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")

    def loss(x0: Tensor) -> Tensor:
        noise = torch.randn_like(x0)
        t = torch.randint(0, 1000, (len(x0),))
        target = scheduler.get_velocity(x0, noise, t)
        return F.mse_loss(network(scheduler.add_noise(x0, noise, t), t).sample.float(), target)

    return plain_steps(network, loss, images, mode)


# --- denoising-diffusion-pytorch -----------------------------------------------------------------------------------------


def lucid_unet(channels: int) -> nn.Module:
    """denoising-diffusion-pytorch's Unet."""
    return lucid().Unet(dim=32, dim_mults=(1, 2, 2), attn_dim_head=36, channels=channels)


def lucid_steps(network: nn.Module, images: Tensor, mode: Mode) -> Iterator[None]:
    """The training step of denoising-diffusion-pytorch's Trainer: the loss of GaussianDiffusion for images in [0, 1]."""
    diffusion = lucid().GaussianDiffusion(
        network, image_size=images.shape[-1], objective="pred_v", beta_schedule="cosine"
    )
    return plain_steps(network, lambda x0: diffusion((x0 + 1) / 2), images, mode)


def lucid() -> Any:
    """The package, which imports torchvision."""
    declare_torchvision()
    return import_module("denoising_diffusion_pytorch")


# --- what both peers share -----------------------------------------------------------------------------------------------


def plain_steps(network: nn.Module, loss: Callable[[Tensor], Tensor], images: Tensor, mode: Mode) -> Iterator[None]:
    """A training loop that does nothing but train, with the same fused optimiser as ours."""
    order = torch.channels_last if mode.channels_last else torch.contiguous_format
    network.train().to(memory_format=order)  # type: ignore[call-overload]
    if mode.compiled:
        network.compile()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    while True:
        x0 = to_unit(images[torch.randint(0, len(images), (BATCH,))]).contiguous(memory_format=order)
        with torch.autocast("cpu", torch.bfloat16, enabled=mode.bf16):
            value = loss(x0)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        yield


def declare_torchvision() -> None:
    """Declare the two operators that torchvision looks for when it is imported beside a torch that it was not built for.

    Both peers import torchvision where it is installed; what they do here uses none of its operators.
    """
    for name in ("nms", "qnms"):
        with suppress(RuntimeError):  # it is declared already
            torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")


def parameters(network: nn.Module) -> int:
    """How many weights a network has."""
    return sum(parameter.numel() for parameter in network.parameters())


def gflop(network: nn.Module, forward: Callable[[nn.Module, Tensor, Tensor], Tensor], shape: tuple[int, ...]) -> float:
    """10^9 floating-point operations of one image's forward pass (two for each multiplication), as torch counts them.

    Attention is done by its formula, since torch's counter does not know the CPU's fused kernel.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        forward(network, torch.zeros(1, *shape), torch.tensor([5]))
    return counter.get_total_flops() / 1e9
