"""The training objective: the denoising loss that everyone trains with."""

from collections.abc import Callable

from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import EPS, Prediction
from course_lib.types import Cond, Network, anywhere, check_same_shape, per_sample


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
    Raises ValueError where the score is asked for at noise(t) = 0: there it is infinite; and where output and target differ in shape.
    """
    signal, level = process.schedule.signal(t), process.schedule.noise(t)
    if prediction.endless and anywhere(level == 0):
        raise ValueError("t must have noise(t) > 0 for a network that predicts the score: draw t from 1 on")
    x_t = process.diffuse(x0, t, noise)
    output = network(x_t, t, cond)
    target = prediction.target(x0, noise, per_sample(signal, x0), per_sample(level, x0))
    check_same_shape(output=output, target=target)
    error = (output - target).square().flatten(1).mean(1)
    if weight is None:
        return error
    factor = weight(t).to(error)
    check_same_shape(weight=factor, error=error)
    return error * factor
