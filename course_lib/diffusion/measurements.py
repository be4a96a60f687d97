"""Linear measurements y = A x_0 + sigma e of a picture: a part of it, its grey values, its coarse version.

What such a y says of x_0 is known exactly where x_0 comes from a Gaussian mixture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.diffusion.exact import Mixture
from course_lib.draws import normal_like

LUMA = (0.299, 0.587, 0.114)  # the weights of red, green and blue in a grey value (Rec. 601), as Pillow has them


@dataclass(frozen=True)
class Measurement:
    """y = A x_0 + sigma e, of a kind that is easy to invert: A A^T = gain, a number, on everything that A can say.

    `apply` is A, `adjoint` its transpose. The noise lies where A can reach, with the standard deviation sigma = `noise` there. Masks, grey
    values and coarse pictures are of this kind; for others A's singular values differ, and inverting needs them (Kawar et al., 2022).
    """

    apply: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    gain: float = 1.0
    noise: float = 0.0

    def observe(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw of y given x `(B, ...)`."""
        seen = self.apply(x)
        return seen + self.noise / self.gain**0.5 * self.apply(normal_like(x, generator)) if self.noise else seen

    def inverse(self, y: Tensor) -> Tensor:
        """The smallest x `(B, ...)` that measures y: A's pseudoinverse, A^T / gain."""
        return self.adjoint(y) / self.gain

    def replaced(self, x: Tensor, y: Tensor) -> Tensor:
        """The nearest to x `(B, ...)` among all that measure y: what A sees comes from y, and the rest from x."""
        return x + self.inverse(y - self.apply(x))


def known(mask: Tensor, noise: float = 0.0) -> Measurement:
    """The pixels where the mask, which broadcasts to `(B, C, H, W)`, is 1; elsewhere y is 0. Inpainting asks for those."""

    def seen(x: Tensor) -> Tensor:
        return x * mask.to(x)

    return Measurement(seen, seen, noise=noise)


def grey(noise: float = 0.0) -> Measurement:
    """Grey values `(B, 1, H, W)` of colour pictures `(B, 3, H, W)`."""

    def weights(x: Tensor) -> Tensor:
        return torch.tensor(LUMA, dtype=x.dtype, device=x.device)[:, None, None]

    def seen(x: Tensor) -> Tensor:
        return (x * weights(x)).sum(1, keepdim=True)

    return Measurement(seen, lambda y: y * weights(y), sum(w**2 for w in LUMA), noise)


def coarse(factor: int, noise: float = 0.0) -> Measurement:
    """The means `(B, C, H / factor, W / factor)` over squares of factor x factor pixels."""

    def spread(y: Tensor) -> Tensor:
        return F.interpolate(y, scale_factor=factor) / factor**2

    return Measurement(lambda x: F.avg_pool2d(x, factor), spread, 1 / factor**2, noise)


def along(direction: Tensor, noise: float = 0.0) -> Measurement:
    """The single number y `(B, 1)` that points x `(B, D)` have along a direction `(D,)`."""

    def seen(x: Tensor) -> Tensor:
        return x @ direction.to(x)[:, None]

    return Measurement(seen, lambda y: y * direction.to(y), float(direction.square().sum()), noise)


def posterior(mixture: Mixture, A: Tensor, y: Tensor, noise: float) -> Mixture:
    """p(x_0 | y) for one y = A x_0 + noise e, `(M,)`, with any matrix A `(M, D)`: again a mixture, moved and weighted anew.

    Raises ValueError where the noise is not above 0, or the shapes do not fit.
    """
    D = mixture.means.shape[1]
    if noise <= 0:
        raise ValueError(f"noise must be above 0; got {noise}")
    if A.ndim != 2 or A.shape[1] != D or y.shape != A.shape[:1]:
        raise ValueError(f"A and y must have shapes (M, {D}) and (M,); got {tuple(A.shape)} and {tuple(y.shape)}")
    A, y = A.to(mixture.means), y.to(mixture.means)
    seen = A @ mixture.covariances @ A.T + noise**2 * torch.eye(len(y)).to(A)  # (K, M, M), of y given the component
    surprise = y - mixture.means @ A.T  # (K, M)
    kalman = torch.linalg.solve(seen, A @ mixture.covariances).mT  # (K, D, M)
    means = mixture.means + (kalman @ surprise[:, :, None])[:, :, 0]
    covariances = mixture.covariances - kalman @ A @ mixture.covariances
    distance = (surprise * torch.linalg.solve(seen, surprise)).sum(1)
    weights = (mixture.weights.log() - (distance + torch.logdet(seen)) / 2).softmax(0).clamp(min=1e-300)
    return Mixture(weights / weights.sum(), means, (covariances + covariances.mT) / 2)


def leaning_bumps() -> Mixture:
    """The book's mixture for measurements: three long, thin, tilted bumps in the plane, of which one coordinate says something, not all."""
    angles = torch.tensor([0.6, -0.3, -0.9], dtype=torch.float64)
    axes = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1).reshape(3, 2, 2)
    sides = torch.tensor([[0.45, 0.12], [0.5, 0.12], [0.4, 0.12]], dtype=torch.float64)
    return Mixture(
        torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64),
        torch.tensor([[-0.7, 0.9], [0.2, -0.9], [0.7, 0.5]], dtype=torch.float64),
        axes @ torch.diag_embed(sides**2) @ axes.mT,
    )
