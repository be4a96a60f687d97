"""Reverse variances that a network has learned, for each pixel (Nichol and Dhariwal, 2021)."""

from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import Prediction, clipped
from course_lib.types import Cond, Denoiser, Network, Variance, on_device, per_sample


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
) -> tuple[Denoiser, Variance]:
    """The denoiser and Var[x_0 | x_t] of a network that returns both `(B, 2C, ...)`, for `ancestral` and `variational_bound`.

    The network was trained with the steps of its table: its second half, from -1 to 1, says where between beta-tilde_t and beta_t the
    variance of the step from t to t - 1 lies; what that says of x_0 holds for longer steps. Both come from one evaluation: asked for at
    the same x_t and t, the second is not computed again. `clip` bounds x_0-hat.
    """
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
        weight_x0, _, exact = process.posterior_weights(t, t - 1)
        # beta-tilde_1 is 0 and has no logarithm: the first step takes the second's, as in the paper.
        second = t.clamp(min=2)
        lower, (_, upper) = process.posterior_weights(second, second - 1)[2], process.transition(t - 1, t)
        variance = interpolated_variance(lower, upper, (logits.float() + 1) / 2)
        return ((variance - per_sample(exact, variance)) / per_sample(weight_x0, variance) ** 2).clamp(min=0)

    return clipped(denoise, clip), x0_variance
