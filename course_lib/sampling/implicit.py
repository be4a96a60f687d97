"""A denoiser that draws x_0 instead of averaging it: an implicit distribution, as of the denoising diffusion GAN (Xiao et al., 2022)."""

import torch
from torch import Tensor

from course_lib.draws import normal
from course_lib.types import Denoiser, Network, on_device


def implicit(
    network: Network, latent: int, generator: torch.Generator | None = None, clip: float | None = None
) -> Denoiser:
    """The Denoiser (x_t, t) -> G(x_t, z, t) with a fresh latent vector z ~ N(0, I) of that length for each sample `(B, ...)`.

    With `sampling.steps.ancestral` it makes the sampler of Xiao et al.: x_0 is drawn, and then x_s from q(x_s | x_t, x_0). `clip` bounds
    x_0 to [-clip, clip]. A latent vector of length 0 leaves an ordinary denoiser.
    """

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        z = normal((len(x_t), latent), generator, x_t.dtype, x_t.device) if latent else None
        x0 = network(x_t, on_device(t, x_t), z).to(x_t.dtype)
        return x0 if clip is None else x0.clamp(-clip, clip)

    return denoise
