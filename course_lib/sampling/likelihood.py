"""The exact likelihood of a diffusion model, along its probability flow from data to noise (Song et al., 2021, section 4.3)."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.draws import integers
from course_lib.sampling.ode import angle, angle_velocity
from course_lib.types import Denoiser, Schedule, Velocity, check_decreasing, per_sample


def divergence(field: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The field at x `(B, ...)` and the trace of its Jacobian there, `(B,)`.

    Without probes the trace is exact, at the cost of one backward pass a coordinate. With probes `(P, B, ...)` of mean 0 and covariance I
    it is Hutchinson's estimate, the mean of v J v over the probes v (Hutchinson, 1989).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = field(x, t)
        if probes is None:
            basis = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).reshape(-1, 1, *x.shape[1:])
            rows = [torch.autograd.grad(value, x, v.expand_as(x), retain_graph=True)[0] * v for v in basis]
            return value.detach(), torch.stack(rows).sum(0).flatten(1).sum(1)
        rows = [torch.autograd.grad(value, x, v, retain_graph=True)[0] * v for v in probes]
    return value.detach(), torch.stack(rows).mean(0).flatten(1).sum(1)


def log_likelihood(
    denoise: Denoiser,
    schedule: Schedule,
    x: Tensor,
    times: Tensor,
    probes: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """log q(x_t) in nats, `(B,)`, of states x `(B, ...)` at the last of the decreasing times, which begin at T.

    The probability flow is followed up to x_T with Heun's method in the angle; log q(x_t) is the standard normal's at x_T plus the
    integral of the divergence. The last time must be above 0. `probes` is how many of Hutchinson's random signs, fixed along the path; None
    computes the trace exactly. The denoiser must not clip, which has no useful derivative. The schedule must be variance-preserving.
    Raises ValueError for other times or schedules, and for a denoiser that cannot be differentiated.
    """
    times = check_decreasing(times).cpu().flip(0)
    if not float(times[0]) > 0:
        raise ValueError("the last of the times must be above 0: at 0 there is no noise to predict; start at a small t")
    if float(times[-1]) != schedule.T:
        raise ValueError(
            f"times must begin at T = {schedule.T:g}, where the density is known; they begin at {float(times[-1]):g}"
        )
    check_differentiable(denoise, x, times[0])
    field, signs = angle_velocity(denoise, schedule), None
    if probes is not None:
        signs = 2.0 * integers(0, 2, (probes, *x.shape), generator, x.device).to(x) - 1
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for t, u in pairwise(times):
        turn = angle(schedule, u) - angle(schedule, t)
        step = per_sample(turn, x)
        slope, spread = divergence(field, x, t, signs)
        later_slope, later_spread = divergence(field, step.cos() * x + step.sin() * slope, u, signs)
        x = x + step * (slope + later_slope) / 2
        total = total + turn.to(total) * (spread + later_spread) / 2
    return total - (x.square() + math.log(2 * math.pi)).flatten(1).sum(1) / 2


def check_differentiable(denoise: Denoiser, x: Tensor, t: Tensor) -> None:
    """Raise a ValueError where the denoiser's answer at x `(B, ...)` changes with x but carries no gradient, as under no_grad."""
    with torch.enable_grad():
        answer = denoise(x.detach().requires_grad_(), t)
    if not answer.requires_grad:
        with torch.no_grad():
            if not torch.equal(denoise(x + 0.1, t), answer):
                raise ValueError(
                    "denoise must be differentiable in x: it runs under no_grad, in inference mode, or detaches its input; "
                    "without its derivative the likelihood would be wrong"
                )
