"""The training objective: the denoising loss that everyone trains with."""

from collections.abc import Callable

from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import EPS, Prediction
from course_lib.types import Cond, Network, check_same_shape, per_sample


def denoising_loss(
    network: Network,
    x0: Tensor,
    t: Tensor,
    noise: Tensor,
    process: GaussianDiffusion,
    prediction: Prediction = EPS,
    cond: Cond = None,
    weight: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The mean squared error of each sample `(B,)`; with EPS and no weight it is L_simple (Ho et al., 2020, equation 14).

    `weight` maps t `(B,)` to the factor of each sample, `(B,)`. Times t are `(B,)`; x_0 and noise `(B, ...)`.
    Raises ValueError where the score is asked for at noise(t) = 0: there it is infinite.
    """
    x_t = process.diffuse(x0, t, noise)
    signal, level = per_sample(process.schedule.signal(t), x0), per_sample(process.schedule.noise(t), x0)
    if prediction.name == "score" and bool((level == 0).any()):
        raise ValueError("t must have noise(t) > 0 for a network that predicts the score: draw t from 1 on")
    output = network(x_t, t, cond)
    target = prediction.target(x0, noise, signal, level)
    check_same_shape(output=output, target=target)
    error = (output - target).square().flatten(1).mean(1)
    if weight is None:
        return error
    factor = weight(t).to(error)
    check_same_shape(weight=factor, error=error)
    return error * factor
