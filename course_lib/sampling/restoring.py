"""Restoring and editing pictures with a model that was trained for neither: steps and denoisers that keep to a measurement.

A measurement says what is known of a picture (`diffusion.measurements`). What these functions draw keeps to it, more or less, and the rest
comes from the model. None of them draws exactly from what is possible given the measurement.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.data.degradations import Degraded
from course_lib.diffusion.gaussian import GaussianDiffusion, is_end
from course_lib.diffusion.measurements import Measurement
from course_lib.diffusion.predictions import clipped, denoiser
from course_lib.draws import NoiseSource, standard_normal
from course_lib.hardware import bf16_is_fast
from course_lib.nets.conditions import Until, check_condition, moved
from course_lib.sampling.generate import SAMPLERS, Denoising, Given, guided_denoiser
from course_lib.sampling.steps import ancestral, last, sample, unit_variance
from course_lib.types import Cond, Denoiser, Schedule, Step, Variance, check_name, per_sample


def steered(
    denoise: Denoiser,
    schedule: Schedule,
    measurement: Measurement,
    y: Tensor,
    spread: Variance | None = None,
    clip: float | None = None,
) -> Denoiser:
    """The denoiser, guided to what was measured: x0 + b^2 / a grad log N(y; A x0, (sigma^2 + spread gain) I), all `(B, ...)`.

    `spread(x_t, t)` stands for the variance of x_0 given x_t. None for it, 0, is the approximation of Chung et al. (2023), and
    `steps.unit_variance(schedule)` that of Song et al. (2023, pseudoinverse guidance); for Gaussian data, the true one makes it exact.
    `clip` bounds the guided x_0. Costs a backward pass. Raises ValueError where there is neither noise in y nor a spread.
    """
    if spread is None and not measurement.noise:
        raise ValueError("spread must be given where the measurement has no noise: its likelihood is infinitely narrow")

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        t = torch.as_tensor(t)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            x0 = denoise(x, t)
            width = torch.full_like(schedule.noise(t), measurement.noise**2)
            if spread is not None:
                width = width + measurement.gain * spread(x_t, t).detach()
            off = y - measurement.apply(x0.detach())
            (gradient,) = torch.autograd.grad(x0, x, measurement.adjoint(off / per_sample(width, off)))
        a, b = schedule.signal(t), schedule.noise(t)
        return x0.detach() + per_sample(b**2 / a, x_t) * gradient

    return clipped(guided, clip)


def descended(
    make: Callable[[Denoiser], Step], denoise: Denoiser, measurement: Measurement, y: Tensor, rate: float
) -> Step:
    """The step that `make` makes of the denoiser, then one down the slope of |y - A x0-hat(x_t)| of each sample `(B, ...)`, times 2 rate.

    Algorithm 1 of Chung et al. (2023), DPS, whose step size is zeta / |y - A x0-hat| times the slope of the square: `rate` is zeta.
    Costs a backward pass.
    """

    def lowered(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            x0 = denoise(x, t)
            off = (y - measurement.apply(x0)).flatten(1)
            (slope,) = torch.autograd.grad(off.square().sum(1).clamp(min=1e-12).sqrt().sum(), x)
        return make(lambda x_t, t: x0.detach())(x_t, t, s) - 2 * rate * slope

    return lowered


def replacing(step: Step, process: GaussianDiffusion, measurement: Measurement, y: Tensor, noise: NoiseSource) -> Step:
    """After each step, what A sees of x_s `(B, ...)` is replaced by the measurement, diffused to s (Song et al., 2021)."""

    def replaced(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        x_s, seen = step(x_t, t, s), measurement.inverse(y)
        return measurement.replaced(x_s, measurement.apply(process.diffuse(seen, s, noise(seen))))

    return replaced


def repeated(step: Step, process: GaussianDiffusion, times: int, noise: NoiseSource) -> Step:
    """The step `times` times, with fresh noise from s back to t in between, all `(B, ...)`; the last step, to 0, is taken once.

    Around `replacing` it is RePaint (Lugmayr et al., 2022, algorithm 1): the two parts of the picture get more often to see each other.
    """

    def again(x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        for _ in range(0 if is_end(s) else times - 1):
            x_s = step(x_t, t, s)
            x_t = process.advance(x_s, s, t, noise(x_s))
        return step(x_t, t, s)

    return again


def edited(step: Step, process: GaussianDiffusion, guide: Tensor, times: Tensor, noise: NoiseSource) -> Tensor:
    """The guide `(B, ...)`, diffused to the first of the decreasing times and denoised again: SDEdit (Meng et al., 2022)."""
    return last(sample(step, process.diffuse(guide, times[0], noise(guide)), times))


class Wanted(NamedTuple):
    """What a method of restoring is made of."""

    denoise: Denoiser
    process: GaussianDiffusion
    measurement: Measurement
    y: Tensor
    noise: NoiseSource
    clip: float | None

    def stepping(self, denoise: Denoiser) -> Step:
        """DDPM's step with a denoiser, whose x_0 is clipped; the states are `(B, ...)`."""
        return ancestral(clipped(denoise, self.clip), self.process, noise=self.noise)

    def replacing(self) -> Step:
        """DDPM's step of the model, after which what is known is put in; the states are `(B, ...)`."""
        return replacing(self.stepping(self.denoise), self.process, self.measurement, self.y, self.noise)

    def steered(self) -> Denoiser:
        """The model's denoiser, guided with the pseudoinverse; the states are `(B, ...)`."""
        schedule = self.process.schedule
        return steered(self.denoise, schedule, self.measurement, self.y, unit_variance(schedule))


REPEATS = 5  # of each step of RePaint
RATE = 1.0  # of the descent of DPS

METHODS: dict[str, Callable[[Wanted], Step]] = {
    "replacement": lambda wanted: wanted.replacing(),
    "repaint": lambda wanted: repeated(wanted.replacing(), wanted.process, REPEATS, wanted.noise),
    "pigdm": lambda wanted: wanted.stepping(wanted.steered()),
    "dps": lambda wanted: descended(wanted.stepping, wanted.denoise, wanted.measurement, wanted.y, RATE),
}


@torch.no_grad()
def restored(
    model: Denoising,
    measurement: Measurement,
    y: Tensor,
    method: str = "pigdm",
    steps: int = 100,
    generator: torch.Generator | None = None,
    cond: Cond = None,
) -> Tensor:
    """One picture `(n, *shape)` in [-1, 1] for each of n measurements y `(n, ...)`, drawn by a model that never saw such; on its device.

    `method` is one of METHODS. All noise comes from `generator`. Where the model knows classes, `cond` `(n,)` may name them.
    Raises ValueError for an unknown method or condition, and for a model of latents or leaps, which has no slope to follow.
    """
    check_name("method", method, METHODS)
    check_condition(model.takes, cond, len(y))
    check_averages(model)
    process, device = GaussianDiffusion(model.schedule), model.device
    exactly = denoiser(model.network, model.prediction, model.schedule, moved(cond, device))

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(
            device.type, torch.bfloat16, enabled=bf16_is_fast(device)
        ):  # the network; what is known stays exact
            return exactly(x_t, t)

    step = METHODS[method](Wanted(denoise, process, measurement, y.to(device), standard_normal(generator), model.clip))
    x = process.prior((len(y), *model.shape), generator, device=device)
    return last(sample(step, x, model.schedule.grid(steps))).clamp(-1, 1)


@torch.no_grad()
def variations(
    model: Denoising,
    pictures: Tensor,
    change: float,
    steps: int = 50,
    generator: torch.Generator | None = None,
    cond: Cond = None,
    scale: float = 1.0,
) -> Tensor:
    """Pictures `(n, *shape)` like those given, by SDEdit from t_0 = `change` T, on the part of the grid of `steps` steps that lies below.

    With `change` 0 they are the pictures themselves; with 1 hardly anything of them is left. The condition, of n rows, says what they
    become, at the guidance `scale`. In [-1, 1], on the model's device; all noise comes from `generator`.
    Raises ValueError where `change` lies outside [0, 1], the pictures have another shape, the model does not take the condition, or it is
    one of latents or leaps.
    """
    if not 0 <= change <= 1:
        raise ValueError(f"change must lie in [0, 1]; got {change:g}")
    if tuple(pictures.shape[1:]) != model.shape:
        raise ValueError(
            f"pictures must have shape (n, {', '.join(map(str, model.shape))}); got {tuple(pictures.shape)}"
        )
    check_condition(model.takes, cond, len(pictures))
    check_averages(model)
    process, device, noise = GaussianDiffusion(model.schedule), model.device, standard_normal(generator)
    times = model.schedule.grid(steps)
    times = times[times <= change * model.schedule.T]
    if len(times) < 2:
        return pictures.to(device)
    denoise = guided_denoiser(model, cond, len(pictures), scale)
    step = ancestral(denoise, process, noise=noise)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
        return edited(step, process, pictures.to(device), times, noise).float().clamp(-1, 1)


def check_averages(model: Denoising) -> None:
    """Raise a ValueError where a model does not say the mean picture at each time: one that draws or leaps, or denoises latents."""
    if model.autoencoder is not None or model.latent or model.learns_variance or isinstance(model.takes, Until):
        raise ValueError(
            "a picture is restored by a model that averages pictures; this one draws, leaps, or knows latents: choose another"
        )


@torch.no_grad()
def mended(
    model: Denoising,
    left: Degraded,
    steps: int = 50,
    sampler: str = "ddim",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Pictures `(B, C, H, W)` in [-1, 1] that complete what is left of them, by a model that was trained for it; on its device.

    What is shown of each picture stays: it takes the place of the model's answer there, at every step. Raises ValueError for an unknown
    sampler, and for a model that takes no such condition.
    """
    check_name("sampler", sampler, SAMPLERS)
    check_condition(model.takes, left.condition, len(left.shown))
    process, device = GaussianDiffusion(model.schedule), model.device
    left = Degraded(left.shown.to(device), left.unknown.to(device))
    whole = denoiser(model.network, model.prediction, model.schedule, left.condition, clip=1.0)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return left.completed(whole(x_t, t))

    step = SAMPLERS[sampler](Given(denoise, process, standard_normal(generator), None, None))
    x = process.prior(tuple(left.shown.shape), generator, device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
        return last(sample(step, x, model.schedule.grid(steps))).float()
