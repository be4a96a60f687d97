"""Sculpt a block whose shadows are digits: score distillation of a model of pictures, from three sides at once."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data.shadows import SIDE, SIDES, shadows
from course_lib.diffusion.distillation import distillation_loss
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.draws import normal_like, uniform
from course_lib.hardware import bf16_is_fast
from course_lib.sampling.generate import Denoising, guided_denoiser


class Sculpted(NamedTuple):
    """Densities `(B, SIDE, SIDE, SIDE)`, none below 0, and their shadows `(B, 3, SIDE, SIDE)` in [0, 1]."""

    density: Tensor
    seen: Tensor


def sculpt(
    model: Denoising,
    digits: Tensor,
    steps: int = 150,
    scale: float = 5.0,
    generator: torch.Generator | None = None,
    rate: float = 0.2,
) -> Iterator[Sculpted]:
    """Blocks whose front, side and top shall look like these digits `(B, 3)`, after each of `steps` steps of Adam.

    Every step looks at each shadow once, under new noise. The times are drawn up to a highest one, which falls from nearly T to T / 2:
    first what is seen, then how it looks. Raises ValueError for other shapes, and for a model of other pictures.
    """
    if digits.ndim != 2 or digits.shape[1] != len(SIDES) or model.shape != (1, SIDE, SIDE):
        raise ValueError(
            f"digits must be (B, {len(SIDES)}), and the model's pictures (1, {SIDE}, {SIDE}); got {tuple(digits.shape)} and {model.shape}"
        )
    device, process, views = model.device, GaussianDiffusion(model.schedule), digits.numel()
    denoise = guided_denoiser(model, digits.flatten().to(device), views, scale)
    raw = torch.full((len(digits), SIDE, SIDE, SIDE), -4.5, device=device)  # a thin fog: shadows of about a quarter
    raw = (raw + 0.1 * normal_like(raw, generator)).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=rate, betas=(0.9, 0.99))
    for k in range(steps):
        pictures = 2 * shadows(F.softplus(raw)).flatten(0, 1)[:, None] - 1  # (3 B, 1, SIDE, SIDE)
        highest = 0.98 - 0.48 * k / steps
        share = 0.02 + (highest - 0.02) * uniform((views,), generator, device=device)
        t = (share * model.schedule.T).round().long()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
            loss = distillation_loss(denoise, pictures, t, normal_like(pictures, generator), process).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            density = F.softplus(raw)
            yield Sculpted(density, shadows(density))
