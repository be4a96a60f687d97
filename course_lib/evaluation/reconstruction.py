"""How much of an image an autoencoder keeps: its reconstructions, and their distance from what they should be."""

import torch
from torch import Tensor

from course_lib.data.images import to_bytes, to_unit
from course_lib.evaluation.intervals import Estimate
from course_lib.hardware import bf16_is_fast
from course_lib.nets.autoencoders import Autoencoder
from course_lib.types import check_same_shape


@torch.no_grad()
def reconstructed(autoencoder: Autoencoder, images: Tensor, batch_size: int = 250) -> Tensor:
    """What is left of uint8 images `(N, C, H, W)` after encoding and decoding, of the same kind and shape, on the CPU.

    The network runs in bf16 where the hardware is fast at it, as it does for samples.
    """
    device = autoencoder.mean_square.device
    again = lambda batch: to_bytes(autoencoder.decode(autoencoder.encode(to_unit(batch.to(device)))))  # noqa: E731
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
        return torch.cat([again(batch).cpu() for batch in images.split(batch_size)])


@torch.no_grad()
def encoded(autoencoder: Autoencoder, images: Tensor, batch_size: int = 500) -> Tensor:
    """The latents of uint8 images `(N, C, H, W)`, of mean square 1, on the CPU in half precision."""
    device = autoencoder.mean_square.device
    latents = lambda batch: autoencoder.encode(to_unit(batch.to(device))).half()  # noqa: E731
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
        found = [latents(batch).cpu() for batch in images.split(batch_size)]
    return torch.cat(found)  # the autocast of a CPU knows no half precision


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each pair of uint8 images `(N, C, H, W)`, in decibels, `(N,)`: 10 log10(255^2 / squared error).

    Equal images count as 100 dB. Raises ValueError where the shapes differ.
    """
    check_same_shape(images=images, others=others)
    error = (images.double() - others.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(255.0**2 / error.clamp(min=255.0**2 * 1e-10))


def mean_interval(values: Tensor) -> Estimate:
    """The mean of values `(N,)` with its 95 % interval over draws of as many."""
    mean, reach = float(values.mean()), 1.96 * float(values.std()) / len(values) ** 0.5
    return Estimate(mean, mean - reach, mean + reach)
