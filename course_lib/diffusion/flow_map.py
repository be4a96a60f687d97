"""The exact flow map of a mixture on the line: what any model of few steps has to learn, with no network and no solver."""

import torch
from torch import Tensor

from course_lib.diffusion.exact import Mixture
from course_lib.types import Schedule, anywhere, per_sample

HALVINGS = 100  # of the bracket around a quantile: more than float64 can tell apart


class ExactFlowMap:
    """Where the probability flow of a one-dimensional mixture carries x from time t to time s, in either direction.

    On the line paths cannot cross, so that the share of probability below a particle never changes: x_s = F_s^{-1}(F_t(x_t)), with F_t
    the distribution function of x_t. States are `(B, 1)`, times `()` or `(B,)`.
    Raises ValueError for a mixture in more dimensions, or one with a component without spread.
    """

    def __init__(self, mixture: Mixture, schedule: Schedule) -> None:
        if mixture.means.shape[1] != 1:
            raise ValueError(
                f"mixture must lie on the line (D = 1), where paths keep their order; got D = {mixture.means.shape[1]}"
            )
        if not bool((mixture.covariances > 0).all()):
            raise ValueError("every component of the mixture must have a variance above 0")
        self.mixture, self.schedule = mixture, schedule

    def _components(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The components' means and standard deviations at time t, each `(1, K)` or `(B, K)`, beside x."""
        if self.mixture.means.device != x.device:
            self.mixture = self.mixture.to(x.device)
        t = torch.as_tensor(t)
        signal, noise = (per_sample(level(t), x) for level in (self.schedule.signal, self.schedule.noise))
        means, variances = self.mixture.means.T, self.mixture.covariances[:, :, 0].T  # (1, K)
        return signal * means, (signal**2 * variances + noise**2).sqrt()

    def _log_tails(self, x: Tensor, means: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor]:
        """log F(x) and log(1 - F(x)), each `(B, 1)`: both, since a share near 1 has no digits left for what is above it."""
        z, weights = (x - means) / spreads, self.mixture.weights.log()
        return tuple((weights + torch.special.log_ndtr(sign * z)).logsumexp(1, keepdim=True) for sign in (1, -1))  # type: ignore[return-value]

    def distribution(self, x: Tensor, t: Tensor) -> Tensor:
        """F_t(x), the probability that x_t lies below x, of the shape of x `(B, 1)`."""
        return self._log_tails(x, *self._components(t, x))[0].exp()

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """x_s `(B, 1)` of the path that is at x `(B, 1)` at time t; with s = 0 the consistency function, from t = T the generator.

        Found by halving a bracket until float64 cannot tell its ends apart.
        """
        if x.ndim != 2 or x.shape[1] != 1:
            raise ValueError(f"x must have shape (B, 1); got {tuple(x.shape)}")
        start, end = self._components(t, x), self._components(s, x)
        below, above = self._log_tails(x, *start)
        z = (x - start[0]) / start[1]  # the quantile's own z lies between these
        lowest, highest = (end[0] + end[1] * bound for bound in (z.amin(1, keepdim=True), z.amax(1, keepdim=True)))
        low, high = lowest.amin(1, keepdim=True), highest.amax(1, keepdim=True)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            under, over = self._log_tails(middle, *end)
            too_low = torch.where(below < above, under < below, over > above)
            low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
        return (low + high) / 2

    def mean_velocity(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The mean over time of the velocity on the way from x `(B, 1)` at time t to time s: (x - x_s) / (t - s), of the shape of x.

        Raises ValueError where s = t.
        """
        span = torch.as_tensor(t) - torch.as_tensor(s)
        if anywhere(span == 0):
            raise ValueError("s must differ from t: over no time there is no mean (take sampling.ode.velocity)")
        return (x - self(x, t, s)) / per_sample(span, x)
