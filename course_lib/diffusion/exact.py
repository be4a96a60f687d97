"""The oracle: diffusion models whose every quantity has a closed form.

A Gaussian mixture stays a Gaussian mixture under diffusion, so its marginals, score, best noise prediction, best
denoiser and class posterior are known exactly at every time. A finite data set is the same with zero covariance.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.draws import categories, normal, normal_like, uniform
from course_lib.types import Schedule, anywhere, per_sample


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture in D dimensions: weights `(K,)`, means `(K, D)`, covariances `(K, D, D)`.

    Raises ValueError where the shapes disagree, the weights are no probabilities, or a covariance is not symmetric and
    positive semidefinite.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __post_init__(self) -> None:
        K, D = self.means.shape if self.means.ndim == 2 else (0, 0)
        if not K or self.weights.shape != (K,) or self.covariances.shape != (K, D, D):
            raise ValueError(
                f"weights, means and covariances must have shapes (K,), (K, D), (K, D, D); got {tuple(self.weights.shape)}, "
                f"{tuple(self.means.shape)}, {tuple(self.covariances.shape)}"
            )
        if not bool((self.weights > 0).all()) or abs(float(self.weights.sum()) - 1) > 1e-6:
            raise ValueError(f"weights must be positive and add up to 1; got {self.weights.tolist()}")
        if not torch.allclose(self.covariances, self.covariances.mT):
            raise ValueError("covariances must be symmetric; some matrix differs from its transpose")
        if float(torch.linalg.eigvalsh(self.covariances).min()) < -1e-9:
            raise ValueError("covariances must be positive semidefinite; the smallest eigenvalue is negative")

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n draws `(n, D)` and the component `(n,)` that each came from."""
        component = categories(self.weights, n, generator)
        values, vectors = torch.linalg.eigh(self.covariances)
        factor = vectors * values.clamp(min=0).sqrt().unsqueeze(-2)  # (K, D, D), factor factor^T = covariance
        z = normal((n, self.means.shape[1]), generator, self.means.dtype, self.means.device)
        return self.means[component] + torch.einsum("nij,nj->ni", factor[component], z), component

    def to(self, device: torch.device | str) -> "Mixture":
        """The mixture on a device."""
        return Mixture(self.weights.to(device), self.means.to(device), self.covariances.to(device))

    def mean(self) -> Tensor:
        """The mean of the whole mixture, `(D,)`."""
        return self.weights @ self.means

    def covariance(self) -> Tensor:
        """The covariance of the whole mixture, `(D, D)`, by the law of total variance."""
        centred = self.means - self.mean()
        return torch.einsum("k,kij->ij", self.weights, self.covariances) + (centred.T * self.weights) @ centred


def two_bumps() -> Mixture:
    """The book's mixture on the line: a narrow bump at -1 and a wider, heavier one at 0.8."""
    return Mixture(
        torch.tensor([0.4, 0.6], dtype=torch.float64),
        torch.tensor([[-1.0], [0.8]], dtype=torch.float64),
        torch.tensor([[[0.02]], [[0.05]]], dtype=torch.float64),
    )


def three_bumps() -> Mixture:
    """The book's mixture in the plane, on which its equations are checked: three unequal bumps, two of them tilted."""
    return Mixture(
        torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64),
        torch.tensor([[-1.0, 0.3], [0.8, -0.4], [0.2, 1.1]], dtype=torch.float64),
        torch.tensor(
            [[[0.1, 0.03], [0.03, 0.2]], [[0.2, 0.0], [0.0, 0.1]], [[0.15, -0.05], [-0.05, 0.1]]], dtype=torch.float64
        ),
    )


def five_by_five(spacing: float = 0.5**0.5, spread: float = 0.05) -> Mixture:
    """25 small round bumps of equal weight on a 5 x 5 grid around 0 in the plane, a classic test for lost modes.

    `spread` is the standard deviation of a bump in units of the grid's spacing; with the usual spacing the whole has about unit variance.
    """
    axis = spacing * torch.arange(-2, 3, dtype=torch.float64)
    return Mixture(
        torch.full((25,), 1 / 25, dtype=torch.float64),
        torch.cartesian_prod(axis, axis),
        ((spread * spacing) ** 2 * torch.eye(2, dtype=torch.float64)).repeat(25, 1, 1),
    )


class ExactDiffusion:
    """The diffusion of a Gaussian mixture under any schedule, in closed form; x is `(B, D)`, t is `()` or `(B,)`.

    The component k has at time t the mean a mu_k and the covariance a^2 Sigma_k + b^2 I, with a = signal(t), b = noise(t).
    """

    def __init__(self, mixture: Mixture, schedule: Schedule) -> None:
        self.mixture, self.schedule = mixture, schedule
        self.eigenvalues, self.eigenvectors = torch.linalg.eigh(mixture.covariances)  # (K, D), (K, D, D)
        self.eigenvalues = self.eigenvalues.clamp(min=0)

    def _follow(self, x: Tensor) -> None:
        """Bring the mixture to the device of x, once."""
        if self.mixture.means.device != x.device:
            self.mixture = self.mixture.to(x.device)
            self.eigenvalues, self.eigenvectors = self.eigenvalues.to(x.device), self.eigenvectors.to(x.device)

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """log q(x_t), `(B,)`, in nats."""
        return self._log_joint(x, t).logsumexp(-1)

    def class_posterior(self, x: Tensor, t: Tensor) -> Tensor:
        """p(component k | x_t), `(B, K)`."""
        return self._log_joint(x, t).softmax(-1)

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """The gradient of log q(x_t) in x, `(B, D)`: the components' scores, weighted by the class posterior."""
        rotated, variances, *_ = self._rotate(x, t)
        per_component = -torch.einsum("kij,bkj->bki", self.eigenvectors, rotated / variances)
        return torch.einsum("bk,bki->bi", self.class_posterior(x, t), per_component)

    def eps(self, x: Tensor, t: Tensor) -> Tensor:
        """The best prediction of the noise, E[eps | x_t], `(B, D)`."""
        return -per_sample(self.schedule.noise(torch.as_tensor(t)), x) * self.score(x, t)

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """The best prediction of the data, E[x_0 | x_t], `(B, D)`: the ideal Denoiser."""
        return torch.einsum("bk,bki->bi", self.class_posterior(x, t), self._component_denoise(x, t))

    def covariance(self, x: Tensor, t: Tensor) -> Tensor:
        """Cov[x_0 | x_t], `(B, D, D)`, by the law of total variance over the components."""
        _, variances, _, noise = self._rotate(x, t)
        posterior = self.class_posterior(x, t)
        spectrum = self.eigenvalues * noise**2 / variances  # (B, K, D)
        within = torch.einsum("bk,kij,bkj,klj->bil", posterior, self.eigenvectors, spectrum, self.eigenvectors)
        centred = self._component_denoise(x, t) - self.denoise(x, t).unsqueeze(1)
        return within + torch.einsum("bk,bki,bkj->bij", posterior, centred, centred)

    def draw(self, x: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of q(x_0 | x_t) for each x, `(B, D)`: a component by its posterior, then a point of its Gaussian.

        With `sampling.steps.ancestral` in the place of a denoiser it makes every reverse step exact, however long.
        """
        _, variances, _, noise = self._rotate(x, t)
        share = self.class_posterior(x, t).cumsum(1)  # (B, K)
        below = share < uniform((len(x), 1), generator, x.dtype, x.device) * share[:, -1:]
        chosen = below.sum(1).clamp(max=share.shape[1] - 1)
        rows = torch.arange(len(x), device=x.device)
        deviation = (self.eigenvalues * noise**2 / variances).sqrt()[rows, chosen]  # (B, D)
        turned = torch.einsum("bij,bj->bi", self.eigenvectors[chosen], deviation * normal_like(x, generator))
        return self._component_denoise(x, t)[rows, chosen] + turned

    def reverse(self, x: Tensor, t: Tensor, s: Tensor) -> Mixture:
        """q(x_s | x_t = x) for one x `(D,)`, s < t: again a mixture, which a Gaussian step replaces by one Gaussian."""
        row, (t, s) = x[None], (torch.as_tensor(t), torch.as_tensor(s))
        rotated, variances, _, _ = self._rotate(row, t)
        process = GaussianDiffusion(self.schedule)
        ratio, step_variance = process.transition(s, t)
        before = (self.schedule.signal(s) ** 2 * self.eigenvalues + self.schedule.noise(s) ** 2).to(x)  # (K, D)
        moved = torch.einsum("kij,kj->ki", self.eigenvectors, (ratio * before / variances[0]) * rotated[0])
        spectrum = step_variance * before / variances[0]
        covariances = torch.einsum("kij,kj,klj->kil", self.eigenvectors, spectrum, self.eigenvectors)
        weights = self.class_posterior(row, t)[0].clamp(min=1e-300)
        return Mixture(weights / weights.sum(), self.schedule.signal(s) * self.mixture.means + moved, covariances)

    def conditional(self, component: int) -> "ExactDiffusion":
        """The diffusion of one component alone: q(x_t | class); raises ValueError where there is no such component."""
        last = len(self.mixture.weights) - 1
        if not 0 <= component <= last:
            raise ValueError(f"component must be one of 0 .. {last}; got {component}")
        one = slice(component, component + 1)
        mixture = Mixture(
            torch.ones_like(self.mixture.weights[one]), self.mixture.means[one], self.mixture.covariances[one]
        )
        return ExactDiffusion(mixture, self.schedule)

    def _rotate(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x - a mu_k in the components' eigenbases and the variances there, both `(B, K, D)`; a and b as `()` or `(B, 1, 1)`.

        Raises ValueError for x of another dimension, and where a component has no spread at all in some direction.
        """
        self._follow(x)
        if x.ndim != 2 or x.shape[1] != self.mixture.means.shape[1]:
            raise ValueError(f"x must have shape (B, {self.mixture.means.shape[1]}); got {tuple(x.shape)}")
        t = torch.as_tensor(t)
        three = x.unsqueeze(1)  # (B, 1, D)
        signal = per_sample(self.schedule.signal(t), three)
        noise = per_sample(self.schedule.noise(t), three)
        rotated = torch.einsum("kji,bkj->bki", self.eigenvectors, three - signal * self.mixture.means)
        variances = signal**2 * self.eigenvalues + noise**2
        if anywhere(variances == 0):
            raise ValueError(
                "t must have noise(t) > 0 for a mixture with a component that has no covariance in some direction"
            )
        return rotated, variances.expand_as(rotated), signal, noise

    def _log_joint(self, x: Tensor, t: Tensor) -> Tensor:
        """log of weight_k N(x; a mu_k, a^2 Sigma_k + b^2 I), `(B, K)`."""
        rotated, variances, *_ = self._rotate(x, t)
        exponent = (rotated**2 / variances + variances.log() + math.log(2 * math.pi)).sum(-1)
        return self.mixture.weights.log() - exponent / 2

    def _component_denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x_0 | x_t, component k], `(B, K, D)`: the Gaussian (Wiener) estimate."""
        rotated, variances, signal, _ = self._rotate(x, t)
        gain = signal * self.eigenvalues / variances
        return self.mixture.means + torch.einsum("kij,bkj->bki", self.eigenvectors, gain * rotated)


class IdealDenoiser:
    """E[x_0 | x_t] where the data are exactly the rows of `data` `(N, ...)`, equally likely (Karras et al., 2022, appendix B.3).

    It minimises every denoising loss on that data set, and can only ever reproduce it.
    Raises ValueError for data without rows, for x of another shape, and at noise(t) = 0.
    """

    def __init__(self, data: Tensor, schedule: Schedule) -> None:
        if data.ndim < 2 or not len(data):
            raise ValueError(f"data must have shape (N, ...) with N >= 1; got {tuple(data.shape)}")
        self.data, self.schedule = data, schedule

    def weights(self, x: Tensor, t: Tensor) -> Tensor:
        """p(x_0 = data[n] | x_t), `(B, N)`: a softmax of the squared distances to the scaled data.

        Raises ValueError for x of another shape than the data's, and at noise(t) = 0.
        """
        if x.ndim < 2 or x.shape[1:] != self.data.shape[1:]:
            raise ValueError(
                f"x must hold samples of the data's shape {tuple(self.data.shape[1:])}; got {tuple(x.shape)}"
            )
        t = torch.as_tensor(t)
        signal, noise = self.schedule.signal(t), self.schedule.noise(t)
        if anywhere(noise == 0):
            raise ValueError("t must have noise(t) > 0: without noise there is nothing to denoise")
        flat = x.flatten(1)
        centres = self.data.flatten(1).to(flat)
        # |x - a y|^2 without the term |x|^2, which every candidate y shares
        distance = per_sample(signal**2, flat) * centres.square().sum(1) - 2 * per_sample(signal, flat) * (
            flat @ centres.T
        )
        return (-distance / (2 * per_sample(noise**2, flat))).softmax(-1)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x_0 | x_t], of the shape of x `(B, ...)`."""
        return (self.weights(x, t) @ self.data.flatten(1).to(x)).reshape(x.shape)
