"""The Gaussian diffusion process: the forward chain, the jump from x_0 to x_t, and the way back when x_0 is known."""

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.draws import normal, normal_like
from course_lib.types import Schedule, anywhere, check_same_shape, per_sample


@dataclass(frozen=True)
class GaussianDiffusion:
    """x_t = signal(t) x_0 + noise(t) eps, for any schedule; times t are `()` or `(B,)`, data `(B, ...)`."""

    schedule: Schedule

    def prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw x_T of a shape `(B, ...)` from N(0, noise(T)^2 I)."""
        return self.schedule.noise(torch.tensor(self.schedule.T)).to(dtype) * normal(shape, generator, dtype, device)

    def forward(self, x0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x_t from q(x_t | x_0) for data `(B, ...)`."""
        return self.diffuse(x0, t, normal_like(x0, generator))

    def backward(
        self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw x_s from q(x_s | x_t, x_0), s < t, of the shape of x_t `(B, ...)`; at s = 0, where nothing is left to chance, its mean."""
        mean, variance = self.posterior(x0, x_t, t, s)
        return mean if is_end(s) else mean + per_sample(variance.sqrt(), x_t) * normal_like(x_t, generator)

    def diffuse(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Jump from x_0 to x_t, both `(B, ...)` as the noise is, in one step (Ho et al., 2020, equation 4)."""
        check_same_shape(x0=x0, noise=noise)
        t = torch.as_tensor(t)
        return per_sample(self.schedule.signal(t), x0) * x0 + per_sample(self.schedule.noise(t), x0) * noise

    def advance(self, x_s: Tensor, s: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Go forward from x_s to x_t, s < t, both `(B, ...)`: a draw of q(x_t | x_s). With s = t - 1 it is one step of the chain."""
        check_same_shape(x_s=x_s, noise=noise)
        ratio, variance = self.transition(torch.as_tensor(s), torch.as_tensor(t))
        return per_sample(ratio, x_s) * x_s + per_sample(variance.sqrt(), x_s) * noise

    def transition(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficient of x_s and the variance in q(x_t | x_s), s < t, `()` or `(B,)`: signal_t / signal_s and what the noise needs.

        Raises ValueError where s is not earlier than t, as do all that use it.
        """
        check_order(s, t)
        ratio = self.schedule.signal(t) / self.schedule.signal(s)
        return ratio, (self.schedule.noise(t) ** 2 - (ratio * self.schedule.noise(s)) ** 2).clamp(min=0)

    def posterior_weights(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The weights of x_0 and of x_t in the mean of q(x_s | x_t, x_0), and its variance; each `()` or `(B,)`.

        With s = t - 1 these are equation 7 of Ho et al. (2020).
        """
        s, t = torch.as_tensor(s), torch.as_tensor(t)
        ratio, step_variance = self.transition(s, t)
        noise_s, noise_t = self.schedule.noise(s), self.schedule.noise(t)
        weight_x0 = self.schedule.signal(s) * step_variance / noise_t**2
        weight_xt = ratio * noise_s**2 / noise_t**2
        return weight_x0, weight_xt, step_variance * noise_s**2 / noise_t**2

    def posterior(self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Mean `(B, ...)` and variance `()` or `(B,)` of q(x_s | x_t, x_0), s < t, by Bayes' rule."""
        check_same_shape(x0=x0, x_t=x_t)
        weight_x0, weight_xt, variance = self.posterior_weights(t, s)
        return per_sample(weight_x0, x_t) * x0 + per_sample(weight_xt, x_t) * x_t, variance

    def bridge(self, x0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
        """Mean `(B, ...)` and variance of the family q_eta(x_s | x_t, x_0), s < t, whose marginals do not depend on eta.

        eta = 1 is the posterior (DDPM), eta = 0 is deterministic (DDIM): equations 7 and 16 of Song et al. (2021, DDIM).
        The variance is `()` or `(B,)`. Raises ValueError where eta is outside [0, 1].
        """
        check_same_shape(x0=x0, x_t=x_t)
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1]; got {eta}")
        s, t = torch.as_tensor(s), torch.as_tensor(t)
        _, step_variance = self.transition(s, t)
        noise_s, noise_t = self.schedule.noise(s), self.schedule.noise(t)
        variance = (eta * noise_s / noise_t) ** 2 * step_variance
        direction = (noise_s**2 - variance).clamp(min=0).sqrt()  # the coefficient of the noise that x_t implies
        eps = (x_t - per_sample(self.schedule.signal(t), x_t) * x0) / per_sample(noise_t, x_t)
        return per_sample(self.schedule.signal(s), x_t) * x0 + per_sample(direction, x_t) * eps, variance

    def bridge_weight(self, t: Tensor, s: Tensor, eta: float = 1.0) -> Tensor:
        """How far the mean of `bridge` moves with x_0, `()` or `(B,)`: at eta = 1 the first of the `posterior_weights`.

        At eta = 0 it is signal(s) - noise(s) signal(t) / noise(t).
        """
        s, t = torch.as_tensor(s), torch.as_tensor(t)
        _, step_variance = self.transition(s, t)
        noise_s, noise_t = self.schedule.noise(s), self.schedule.noise(t)
        direction = (noise_s**2 - (eta * noise_s / noise_t) ** 2 * step_variance).clamp(min=0).sqrt()
        return self.schedule.signal(s) - direction * self.schedule.signal(t) / noise_t


def widened(variance: Tensor, weight_x0: Tensor, spread: Tensor, x: Tensor) -> Tensor:
    """A reverse variance `()` or `(B,)` plus weight_x0^2 times x_0's own variance, `()`, `(B,)` or of the shape of x `(B, ...)`.

    The mean of q(x_s | x_t, x_0) moves by weight_x0 with x_0, so what is not known of x_0 adds to the variance (law of total variance).
    """
    if spread.shape == x.shape:
        return per_sample(variance, x) + per_sample(weight_x0, x) ** 2 * spread
    return variance + weight_x0**2 * spread


def check_order(s: Tensor, t: Tensor) -> None:
    """Raise ValueError unless s < t everywhere, each `()` or `(B,)`: time grows from data to noise."""
    if anywhere(s >= t):
        raise ValueError(
            f"s must be earlier than t (time grows from data to noise); got s = {s.tolist()}, t = {t.tolist()}"
        )


def is_end(s: Tensor) -> bool:
    """Whether s `()` or `(B,)` is time 0, the data: the last step adds no noise (line 3 of Ho et al.'s Algorithm 2)."""
    return bool((torch.as_tensor(s) == 0).all())
