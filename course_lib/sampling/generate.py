"""Draw samples from a trained network: the few lines that the command, the recipes and the book share."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from rich.progress import track
from torch import Tensor, nn

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import Prediction, denoiser
from course_lib.diffusion.schedules import TableSchedule
from course_lib.draws import NoiseSource, standard_normal
from course_lib.hardware import bf16_is_fast
from course_lib.nets.autoencoders import Autoencoder
from course_lib.nets.conditions import Labels, Takes, Until, check_condition, moved, null_of, rows
from course_lib.sampling.guidance import classifier_free
from course_lib.sampling.implicit import implicit
from course_lib.sampling.leaps import leap, renoised
from course_lib.sampling.ode import angle_heun, dpm_solver, heun, velocity
from course_lib.sampling.steps import ancestral, ddim, last, sample
from course_lib.sampling.variance import analytic_variance, learned_variance
from course_lib.types import Cond, Denoiser, Schedule, Step, Variance, check_name


class Given(NamedTuple):
    """What a sampler is made of."""

    denoise: Denoiser
    process: GaussianDiffusion
    noise: NoiseSource
    learned: Variance | None  # Var[x_0 | x_t], where the network says it
    gamma: Tensor | None  # see `Denoising`
    leap: Step | None = None  # where the network is told how far a step goes

    @property
    def renoised(self) -> Step:
        """A consistency model's step; raises ValueError where the network has not learned to go to the data at once."""
        if self.leap is None:
            raise ValueError(
                "this model has not learned to leap to the data, which consistency sampling asks of it: choose another sampler"
            )
        return renoised(self.leap, self.process, self.noise)

    @property
    def analytic(self) -> Variance:
        """Var[x_0 | x_t] as Bao et al. (2022) compute it; raises ValueError where the model has no gamma."""
        if self.gamma is None:
            raise ValueError(
                "this model comes without the norms of its score (gamma), from which the analytic variance is computed: "
                "choose another sampler, or measure them with course_lib.sampling.variance.score_norms"
            )
        return analytic_variance(self.gamma, self.process.schedule)


def second_order(denoise: Denoiser, schedule: Schedule) -> Step:
    """Heun's method on the schedule's own clock, or, for a table, which has none between its steps, on that of the angle."""
    if isinstance(schedule, TableSchedule):
        return angle_heun(denoise, schedule)
    return heun(velocity(denoise, schedule))


# Heun's method asks the network twice a step, but for the last; the others once.
SAMPLERS: dict[str, Callable[[Given], Step]] = {
    "ddim": lambda given: given.leap or ddim(given.denoise, given.process),
    "ddpm": lambda given: ancestral(given.denoise, given.process, given.learned, noise=given.noise),
    "heun": lambda given: second_order(given.denoise, given.process.schedule),
    "dpm-solver": lambda given: dpm_solver(given.denoise, given.process.schedule),
    "analytic-ddim": lambda given: ddim(given.denoise, given.process, noise=given.noise, x0_variance=given.analytic),
    "analytic-ddpm": lambda given: ancestral(given.denoise, given.process, given.analytic, noise=given.noise),
    "consistency": lambda given: given.renoised,
}


class Denoising(NamedTuple):
    """A model that draws: its network, what that predicts, the schedule it was trained with, and the shape of what it denoises.

    With an autoencoder that is the shape of the latents, and what is drawn is decoded at the end.
    """

    network: nn.Module  # called as network(x_t, t, cond); its attribute `takes` says what conditions it knows
    prediction: Prediction
    schedule: Schedule
    shape: tuple[int, ...]  # (C, H, W) for images
    gamma: Tensor | None = None  # (T + 1,), of `sampling.variance.score_norms`, where it was measured
    autoencoder: Autoencoder | None = None  # whose latents the network denoises; None for a network of images

    @property
    def learns_variance(self) -> bool:
        """Whether the network says a variance beside its prediction: its output has twice the channels of a sample."""
        return getattr(self.network, "outputs", self.shape[0]) == 2 * self.shape[0]

    @property
    def latent(self) -> int:
        """The length of the latent vector with which the network draws x_0; 0 for one that averages it."""
        return getattr(self.network, "latent", 0)

    @property
    def clip(self) -> float | None:
        """The bound of x_0: 1 for images in [-1, 1]; None for latents, which have none."""
        return 1.0 if self.autoencoder is None else None

    @property
    def takes(self) -> Takes:
        """The conditions that the network can be given, or None."""
        return self.network.takes  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device


@torch.no_grad()
def draw(
    model: Denoising,
    n: int,
    steps: int,
    sampler: str = "ddim",
    generator: torch.Generator | None = None,
    cond: Cond = None,
    scale: float = 1.0,
    away: Cond = None,
) -> Tensor:
    """n samples `(n, *shape)`, in [-1, 1], on the network's device, from fresh noise, in `steps` steps; all noise comes from `generator`.

    Where the network denoises an autoencoder's latents, the samples are the images that these are decoded to.

    With a condition of n rows the network is guided to it without a classifier, at `scale` (1 is the conditional model), and away from
    the condition `away`, where there is one, instead of none.
    DDPM's reverse steps have the variance that the network has learned, where it has, and else beta-tilde. A network that is told where
    a step ends leaps there, in as many steps as it has learned to take.
    The network runs in bf16 where the hardware is fast at it; the samples stay in float32.
    Raises ValueError for an unknown sampler, for an analytic one where the model has no gamma, for a condition that the network does not
    take, and for samplers and numbers of steps that a network of leaps has not learned, or one of leaps that the network has not.
    """
    check_name("sampler", sampler, SAMPLERS)
    check_condition(model.takes, cond, n)
    check_condition(model.takes, away, n)
    check_leaps(model.takes, sampler, steps, cond)
    check_implicit(model, sampler, steps)
    process, device, clip = GaussianDiffusion(model.schedule), model.device, model.clip
    x = process.prior((n, *model.shape), generator, device=device)
    times, learned = model.schedule.grid(steps), None
    if model.learns_variance:
        if cond is not None and scale != 1:
            raise ValueError(f"a network that learns its variance is not guided here: scale must be 1; got {scale:g}")
        denoise, learned = learned_variance(model.network, model.prediction, process, moved(cond, device), clip, times)
    elif model.latent:
        denoise = implicit(model.network, model.latent, generator, clip=clip)
    else:
        denoise = guided_denoiser(model, cond, n, scale, away)
    leaping = leap(model.network, model.prediction, process) if isinstance(model.takes, Until) else None
    step = SAMPLERS[sampler](Given(denoise, process, standard_normal(generator), learned, model.gamma, leaping))
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device)):
        drawn = last(sample(step, x, times))
        if model.autoencoder is not None:
            return model.autoencoder.decode(drawn).float()
    return drawn if leaping is None else drawn.clamp(-1, 1)


def guided_denoiser(model: Denoising, cond: Cond, n: int, scale: float, away: Cond = None) -> Denoiser:
    """The model's denoiser of n samples, guided to the condition without a classifier; the plain one where that is None.

    Guidance leads away from the condition `away`, or from none.
    """
    if cond is None:
        return denoiser(model.network, model.prediction, model.schedule, clip=model.clip)
    nothing = null_of(model.takes, n) if away is None else away
    wanted, nothing = moved(cond, model.device), moved(nothing, model.device)
    assert wanted is not None and nothing is not None  # what takes a condition has a null
    return classifier_free(model.network, model.prediction, model.schedule, wanted, nothing, scale, clip=model.clip)


def check_leaps(takes: Takes, sampler: str, steps: int, cond: Cond) -> None:
    """Raise a ValueError where a network of leaps is asked for a sampler or number of steps that it has not learned, or for a condition."""
    if not isinstance(takes, Until):
        return
    wanted = "ddim" if takes.steps else "consistency"
    if sampler != wanted:
        raise ValueError(
            f"this model leaps from time to time, and knows no slope: its sampler must be {wanted!r}; got {sampler!r}"
        )
    if takes.steps and steps not in takes.steps:
        raise ValueError(
            f"steps must be one of {', '.join(map(str, sorted(takes.steps)))}, which the model has learned to take; got {steps}"
        )
    if cond is not None:
        raise ValueError("the sampler says where the steps of this model end: cond must be None")


def check_implicit(model: Denoising, sampler: str, steps: int) -> None:
    """Raise a ValueError where a network that draws x_0 is asked for other steps, or another sampler, than it was trained for."""
    if model.latent and (sampler != "ddpm" or steps != model.schedule.T):
        raise ValueError(
            f"this model draws x_0 (a denoising diffusion GAN), which goes with sampler ddpm and steps {model.schedule.T:g} alone; "
            f"got {sampler!r} and {steps}"
        )


def draw_batches(
    model: Denoising,
    n: int,
    steps: int,
    sampler: str = "ddim",
    seed: int = 0,
    batch_size: int = 128,
    cond: Cond = None,
    scale: float = 1.0,
    away: Cond = None,
) -> Tensor:
    """n samples `(n, *shape)` in batches, on the CPU; the seed fixes them all, on any device. The rest is as for `draw`.

    Raises ValueError where `draw` does, before anything is drawn.
    """
    check_condition(model.takes, cond, n)
    check_condition(model.takes, away, n)
    generator = torch.Generator().manual_seed(seed)
    batches: list[Tensor] = []
    for start in track(range(0, n, batch_size), "drawing", transient=True):
        stop = min(start + batch_size, n)
        part = rows(cond, start, stop)
        drawn = draw(model, stop - start, steps, sampler, generator, part, scale, rows(away, start, stop))
        batches.append(drawn.cpu())
    return torch.cat(batches)


def balanced_classes(takes: Takes, n: int) -> Tensor | None:
    """n classes `(n,)`, each equally often, in order; None for a network that takes no classes."""
    return torch.arange(n) * takes.classes // n if isinstance(takes, Labels) else None
