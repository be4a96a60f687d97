"""How a network learns its variance beside its mean: the bound as a loss, alone or beside the simple one (Nichol and Dhariwal, 2021)."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.data.images import to_unit
from course_lib.diffusion.bound import discretised_log_prob, gaussian_kl
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import Prediction
from course_lib.draws import categories, normal_like
from course_lib.models import store
from course_lib.models.cards import build_schedule
from course_lib.nets.unet import UNet
from course_lib.recipes.diffusion import Denoise
from course_lib.sampling.variance import interpolated_variance, split_output
from course_lib.training.loop import Batch, Loss
from course_lib.types import per_sample

WEIGHT = 0.001  # of the bound beside the simple loss, in the paper


def bound_terms(
    predicted: Tensor,
    logits: Tensor,
    x0: Tensor,
    x_t: Tensor,
    t: Tensor,
    process: GaussianDiffusion,
    prediction: Prediction,
    levels: int = 256,
) -> Tensor:
    """The term of the bound that belongs to each sample's time, `(B,)`, in bits for each dimension, with its gradient.

    The network's prediction and the logits of its variance are of the shape of x_0 and x_t `(B, ...)`, times t `(B,)` in 1..T. At t = 1
    the term is -log p(x_0 | x_1) of data with so many levels in [-1, 1], at others the divergence of the true step from the model's.
    """
    s, second = t - 1, t.clamp(min=2)
    signal, noise = (per_sample(level(t), x_t) for level in (process.schedule.signal, process.schedule.noise))
    x0_hat = prediction.to_x0(predicted, x_t, signal, noise)
    weight_x0, _, exact = process.posterior_weights(t, s)
    # beta-tilde_1 is 0 and has no logarithm: the first step takes the second's.
    lower, (_, upper) = process.posterior_weights(second, second - 1)[2], process.transition(s, t)
    variance = interpolated_variance(lower, upper, (logits + 1) / 2)
    # The means differ by the weight of x_0 times its error; so written, nothing is lost where both are large.
    error = per_sample(weight_x0, x0) * (x0_hat - x0)
    terms = gaussian_kl(torch.zeros_like(x0), torch.where(t == 1, lower, exact), error, variance)
    first = t == 1
    if bool(first.any()):
        decoded = -discretised_log_prob(x0[first], x0_hat[first], variance[first], levels)
        terms = terms.masked_scatter(first, decoded.to(terms.dtype))
    return terms / (x0[0].numel() * math.log(2))


def hybrid_loss(process: GaussianDiffusion, prediction: Prediction, weight: float = WEIGHT, levels: int = 256) -> Loss:
    """L_simple + weight L_vlb of a batch of images in 0..255, where L_vlb teaches the variance alone: the prediction is detached in it.

    The squared error is that of the prediction, which need not be eps; L_vlb is in bits for each dimension, T times the mean of its
    terms over uniform times.
    """

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        x0 = to_unit(batch[0])
        t, noise = process.schedule.times(len(x0), generator, x0.device), normal_like(x0, generator)
        x_t = process.diffuse(x0, t, noise)
        predicted, logits = (half.float() for half in split_output(network(x_t, t), x_t))
        signal, level = (per_sample(of(t), x0) for of in (process.schedule.signal, process.schedule.noise))
        simple = (predicted - prediction.target(x0, noise, signal, level)).square().mean()
        terms = bound_terms(predicted.detach(), logits, x0, x_t, t, process, prediction, levels)
        return simple + weight * process.schedule.T * terms.mean()

    return loss


def bound_loss(process: GaussianDiffusion, prediction: Prediction, times: "ImportantTimes", levels: int = 256) -> Loss:
    """L_vlb itself of a batch of images in 0..255, in bits for each dimension, its times drawn by importance; it teaches the mean, too."""

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        x0 = to_unit(batch[0])
        t, factor = (tensor.to(x0.device) for tensor in times.draw(len(x0), generator))
        x_t = process.forward(x0, t, generator)
        predicted, logits = (half.float() for half in split_output(network(x_t, t), x_t))
        terms = bound_terms(predicted, logits, x0, x_t, t, process, prediction, levels)
        times.remember(t, terms.detach())
        return process.schedule.T * (factor * terms).mean()

    return loss


class ImportantTimes:
    """Times in 1..T, drawn in proportion to the root mean square of the last terms seen there, each with a factor that undoes it.

    Until every time has been seen `memory` times they are drawn evenly: a time without a history would never be drawn. A small share of
    the draws stays even, so that no time is forgotten. Its memory is not part of a saved run.
    """

    def __init__(self, T: int, memory: int = 10, even: float = 0.001) -> None:
        self.even, self.seen = even, torch.zeros(T + 1, dtype=torch.long)
        self.terms = torch.zeros(T + 1, memory, dtype=torch.float64)

    @property
    def probabilities(self) -> Tensor:
        """The probability of each time, `(T + 1,)`, 0 at t = 0."""
        T, memory = len(self.terms) - 1, self.terms.shape[1]
        flat = torch.full((T + 1,), 1 / T, dtype=torch.float64)
        flat[0] = 0
        if bool((self.seen[1:] < memory).any()):
            return flat
        sizes = self.terms.square().mean(1).sqrt()
        return (1 - self.even) * sizes / sizes.sum() + self.even * flat

    def draw(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n times and their factors 1 / (T p_t), both `(n,)`: the mean of factor times term is the mean over all times."""
        chances = self.probabilities
        t = categories(chances, n, generator)
        return t, (1 / ((len(chances) - 1) * chances[t])).float()

    def remember(self, t: Tensor, terms: Tensor) -> None:
        """Write the terms `(n,)` seen at times t `(n,)` over the oldest of each."""
        memory = self.terms.shape[1]
        for time, term in zip(t.tolist(), terms.tolist(), strict=True):
            self.terms[time, int(self.seen[time]) % memory] = term
            self.seen[time] += 1


@dataclass(frozen=True)
class DenoiseWithVariance(Denoise):
    """To undo noise and to say how sure one is of each pixel: what a recipe with a learned variance trains for."""

    weight: float = WEIGHT

    def loss(self, network: nn.Module) -> Loss:
        """The loss to minimise."""
        return hybrid_loss(GaussianDiffusion(build_schedule(self.schedule)), self.prediction, self.weight)


def with_variance(start: str) -> UNet:
    """A shipped U-Net, grown by a second output for the variance, whose logits begin at 0: half-way between the two ends."""
    network, card = store.load(start)
    assert isinstance(network, UNet)
    grown = UNet(**{**card.config, "outputs": 2 * network.channels})
    weights = network.state_dict()
    for name in ("last.weight", "last.bias"):
        weights[name] = torch.cat([weights[name], torch.zeros_like(weights[name])])
    grown.load_state_dict(weights)
    return grown


from_mnist_ddpm = partial(with_variance, "mnist-ddpm")
