"""What a generator and its discriminator are trained for: the non-saturating losses (Goodfellow et al., 2014) and the R1 penalty."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def telling_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss `()`: the cross-entropy of its logits for real and for generated samples, each `(B,)` or `(B, 1)`."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def fooling_loss(fake: Tensor) -> Tensor:
    """The generator's loss `()`, from the logits of its samples `(B,)` or `(B, 1)`: -log D, which does not saturate where D is sure."""
    return F.softplus(-fake).mean()


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """R1 `()`: the mean squared norm of the logit's gradient at real samples `(B, ...)` (Mescheder et al., 2018).

    It is to be multiplied by gamma / 2. Its own gradient goes through the discriminator twice, in float32.
    """
    with torch.autocast(real.device.type, enabled=False):
        real = real.detach().float().requires_grad_(True)
        (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return slope.flatten(1).square().sum(1).mean()
