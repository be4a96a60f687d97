"""Guidance: a Denoiser goes in, and a Denoiser that keeps to a condition comes out."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.diffusion.predictions import Prediction, clipped, denoiser
from course_lib.nets.classifier import log_probabilities
from course_lib.nets.conditions import joined, moved
from course_lib.types import Cond, Condition, Denoiser, Network, Schedule, on_device, per_sample


def classifier_free(
    network: Network,
    prediction: Prediction,
    schedule: Schedule,
    cond: Condition,
    null: int | Condition,
    scale: float,
    clip: float | None = None,
) -> Denoiser:
    """Classifier-free guidance (Ho and Salimans, 2022) to the condition: x0(null) + scale (x0(cond) - x0(null)).

    scale = 1 is the conditional model and 0 the unconditional one; the paper's w is scale - 1. x_0, eps, v and score are linear
    in one another at a given x_t, so guiding any of them is the same. Both answers come from one batch of 2B; where one has
    the weight 0 it is not asked for. `cond` is `(B,)` classes or any other condition with one row a sample, and `null` the token for
    "no class", or what the network takes for no condition, as `conditions.null_of` gives it; `clip` bounds the guided x_0 to [-clip, clip].
    """
    nothing: Condition = torch.full_like(cond, null) if isinstance(null, int) else null  # type: ignore[arg-type]
    one: Cond = nothing if scale == 0 else cond if scale == 1 else None
    if one is not None:
        return lambda x_t, t: denoiser(network, prediction, schedule, moved(one, x_t.device), clip)(x_t, t)
    pair = joined(cond, nothing)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        both = denoiser(network, prediction, schedule, moved(pair, x_t.device))
        t = torch.as_tensor(t)
        conditional, unconditional = both(torch.cat([x_t, x_t]), torch.cat([t, t]) if t.ndim else t).chunk(2)
        return torch.lerp(unconditional, conditional, scale)

    return clipped(denoise, clip)


def extrapolated(good: Denoiser, bad: Denoiser, scale: float, clip: float | None = None) -> Denoiser:
    """bad + scale (good - bad), for any two denoisers: classifier-free guidance, a label to avoid, or a worse model (Karras et al., 2024).

    Two evaluations. Where both come from one network, `classifier_free` asks it once, with one batch.
    """
    return clipped(lambda x_t, t: torch.lerp(bad(x_t, t), good(x_t, t), scale), clip)


def composed(base: Denoiser, told: Sequence[Denoiser], scale: float = 1.0, clip: float | None = None) -> Denoiser:
    """base + scale times the sum of (each - base): several conditions at once, each told for itself (Liu et al., 2022).

    At the time 0 it is exact, with scale 1, for conditions that are independent given x_0; at others it neglects what they say together.
    """

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        plain = base(x_t, t)
        return plain + scale * sum((each(x_t, t) - plain for each in told), start=torch.zeros_like(plain))

    return clipped(denoise, clip)


def within(guided: Denoiser, plain: Denoiser, low: float, high: float) -> Denoiser:
    """Guidance at times low < t <= high only, and the plain denoiser at the others (Kynkaanniemi et al., 2024)."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return guided(x_t, t) if bool(((t > low) & (t <= high)).all()) else plain(x_t, t)

    return denoise


def dynamic_threshold(denoise: Denoiser, quantile: float = 0.995) -> Denoiser:
    """Each x_0-hat, clipped at this quantile of its own absolute values and divided by it, where that is above 1 (Saharia et al., 2022)."""

    def thresholded(x_t: Tensor, t: Tensor) -> Tensor:
        x0 = denoise(x_t, t)
        limit = per_sample(x0.flatten(1).abs().float().quantile(quantile, dim=1).clamp(min=1), x0)
        return x0.clamp(-limit, limit) / limit

    return thresholded


def rescaled(guided: Denoiser, conditional: Denoiser, share: float = 0.7, clip: float | None = None) -> Denoiser:
    """The guided x_0-hat, brought `share` of the way to the conditional one's spread in each sample (Lin et al., 2024, section 3.4)."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        x0, wanted = guided(x_t, t), conditional(x_t, t)
        ratio = wanted.flatten(1).std(1) / x0.flatten(1).std(1)
        return x0 * per_sample(share * ratio + (1 - share), x0)

    return clipped(denoise, clip)


def classifier_guided(
    denoise: Denoiser,
    classifier: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    cond: Tensor,
    scale: float,
    clip: float | None = None,
) -> Denoiser:
    """Classifier guidance (Dhariwal and Nichol, 2021) to the classes cond `(B,)`: x0 + scale b^2 / a grad log p(cond | x_t).

    `classifier` maps (x_t, t) to logits and must have been trained on noisy images. `clip` bounds the guided x_0.
    """

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        t = torch.as_tensor(t)
        x0, gradient = denoise(x_t, t), class_score(classifier, x_t, on_device(t, x_t), cond)
        a, b = (per_sample(level, x_t) for level in (schedule.signal(t), schedule.noise(t)))
        return x0 + scale * b**2 / a * gradient

    return clipped(guided, clip)


def class_score(classifier: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    """The gradient of log p(cond | x_t) with respect to x_t, in the shape of x_t `(B, ...)`; t and cond are `(B,)`.

    Where x_t is differentiated itself, as for a likelihood, so is the gradient.
    """
    wanted = torch.is_grad_enabled() and x_t.requires_grad
    with torch.enable_grad():
        x = x_t if wanted else x_t.detach().requires_grad_()
        chosen = log_probabilities(classifier, x, t).gather(1, cond.to(x.device)[:, None]).sum()
        return torch.autograd.grad(chosen, x, create_graph=wanted)[0]
