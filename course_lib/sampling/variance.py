"""Reverse variances: learned for each pixel (Nichol and Dhariwal, 2021), and computed from a trained network (Bao et al., 2022)."""

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import Prediction, clipped, to_eps
from course_lib.draws import integers, normal_like
from course_lib.types import (
    Cond,
    Denoiser,
    Network,
    Schedule,
    Variance,
    check_decreasing,
    on_device,
    per_sample,
)


def split_output(output: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
    """A network's output `(B, 2C, ...)` as its prediction and its variance's logits, both of the shape of x_t `(B, C, ...)`.

    Raises ValueError where the output has not twice the channels of x_t.
    """
    wanted = (len(x_t), 2 * x_t.shape[1], *x_t.shape[2:])
    if tuple(output.shape) != wanted:
        raise ValueError(
            f"a network that learns its variance must return shape {wanted}, twice the channels of x_t {tuple(x_t.shape)}; "
            f"got {tuple(output.shape)}"
        )
    return output.chunk(2, dim=1)  # type: ignore[return-value]


def interpolated_variance(lower: Tensor, upper: Tensor, share: Tensor) -> Tensor:
    """exp(share log upper + (1 - share) log lower), of the shape of share `(B, ...)`.

    The ends, such as beta-tilde_t and beta_t, are `()` or `(B,)`. Equation 15 of Nichol and Dhariwal (2021).
    """
    low, high = (per_sample(end.log(), share) for end in (lower, upper))
    return (low + share * (high - low)).exp()


def learned_variance(
    network: Network,
    prediction: Prediction,
    process: GaussianDiffusion,
    cond: Cond = None,
    clip: float | None = None,
    times: Tensor | None = None,
) -> tuple[Denoiser, Variance]:
    """The denoiser and Var[x_0 | x_t] of a network that returns both `(B, 2C, ...)`, for `ancestral` and `variational_bound`.

    The second half of its output, from -1 to 1, says where between beta-tilde and beta the variance of a step lies. Without `times` it
    is the step from t to t - 1, as in training, and what that says of x_0 holds for longer steps. With the falling `times` of a
    shorter chain it is the step from t to the next of them, whose beta-tilde and beta are computed anew: so the paper does it.
    Both come from one evaluation: asked for at the same x_t and t, the second is not computed again. `clip` bounds x_0-hat.
    Raises ValueError for fewer than two steps: then there is nothing between the ends.
    """
    rising = check_decreasing(process.schedule.grid() if times is None else times).cpu().flip(0)
    if len(rising) < 3:
        raise ValueError(
            f"a learned variance needs at least two steps: between the ends of one is nothing; got {len(rising) - 1}"
        )
    memory: tuple[Tensor, Tensor, Tensor] | None = None

    def answer(x_t: Tensor, t: Tensor) -> Tensor:
        nonlocal memory
        if memory is None or memory[0] is not x_t or memory[1] is not t:
            memory = x_t, t, network(x_t, on_device(t, x_t), cond)
        return memory[2]

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        output, _ = split_output(answer(x_t, t), x_t)
        signal, noise = (per_sample(level(t), x_t) for level in (process.schedule.signal, process.schedule.noise))
        return prediction.to_x0(output, x_t, signal, noise)

    def x0_variance(x_t: Tensor, t: Tensor) -> Tensor:
        _, logits = split_output(answer(x_t, t), x_t)
        known = rising.to(t.device)
        place = torch.searchsorted(known, t)  # known[place] is t
        s, later = known[place - 1], place.clamp(min=2)
        weight_x0, _, exact = process.posterior_weights(t, s)
        # beta-tilde of the last step is 0 and has no logarithm: it takes that of the step before, as in the paper.
        lower, (_, upper) = process.posterior_weights(known[later], known[later - 1])[2], process.transition(s, t)
        variance = interpolated_variance(lower, upper, (logits.float() + 1) / 2)
        return ((variance - per_sample(exact, variance)) / per_sample(weight_x0, variance) ** 2).clamp(min=0)

    return clipped(denoise, clip), x0_variance


@torch.no_grad()
def score_norms(
    denoise: Denoiser,
    data: Tensor,
    process: GaussianDiffusion,
    draws: int = 100,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Gamma_t, the mean square of an entry of the model's score at each time of a table, `(T + 1,)`, float64 (0 at t = 0).

    From `draws` rows of the data `(N, ...)` at each t, each with fresh noise. Equation 8 of Bao et al. (2022). The noise that was drawn
    has a mean square near 1, and what it has too much is taken off: in much noise nearly all of the estimate's error.
    """
    schedule = process.schedule
    gamma = torch.zeros(int(schedule.T) + 1, dtype=torch.float64)
    for t in torch.arange(1, int(schedule.T) + 1):
        x0 = data[integers(0, len(data), (draws,), generator, data.device)]
        noise = normal_like(x0, generator)
        x_t = process.diffuse(x0, t, noise)
        eps = to_eps(denoise(x_t, t), x_t, t, schedule)  # the score is -eps / noise(t)
        excess = (eps.double().square() - noise.double().square()).mean().cpu()
        gamma[t] = (1 + excess).clamp(min=0) / schedule.noise(t) ** 2
    return gamma


def analytic_variance(gamma: Tensor, schedule: Schedule, reach: float = 1.0) -> Variance:
    """The mean over x_t and entries of Var[x_0 | x_t], of the shape of t, from gamma `(T + 1,)` of `score_norms`.

    noise^2 / signal^2 (1 - noise^2 gamma), which with `ancestral` or `ddim` is equation 9 of Bao et al. (2022). It is clipped to what
    any data in [-reach, reach] can have, their theorem 2: at least 0, at most reach^2 and noise^2 / signal^2.
    """

    def x0_variance(x_t: Tensor, t: Tensor) -> Tensor:
        t = torch.as_tensor(t)
        signal, noise = schedule.signal(t), schedule.noise(t)
        unexplained = (1 - noise**2 * gamma.to(t.device)[t.long()]).clamp(0, 1)
        return (noise**2 * unexplained / (signal**2).clamp(min=1e-12)).clamp(max=reach**2)

    return x0_variance


def step_costs(x0_variance: Variance, process: GaussianDiffusion) -> Tensor:
    """What a step from t to s costs of the bound at the best variance, in nats for an entry: row s, column t of `(T + 1, T + 1)`.

    For a variance that depends on t alone it is log(sigma^2 / beta-tilde) / 2; infinite where 0 < s < t does not hold. Equation 14 of
    Bao et al. (2022), for `sampling.times.cheapest_grid`.
    """
    T = int(process.schedule.T)
    costs = torch.full((T + 1, T + 1), torch.inf, dtype=torch.float64)
    for t in torch.arange(2, T + 1):
        s = torch.arange(1, int(t))
        weight_x0, _, least = process.posterior_weights(t, s)
        costs[s, t] = (1 + weight_x0**2 * x0_variance(torch.zeros(()), t) / least).log() / 2
    return costs
