"""How good are samples? Distances between two sets of feature vectors, and what a classifier says of a set.

Features `(N, d)` come from a classifier (`features`). Every metric takes optional weights `(N,)`, how often each row counts,
so that `bootstrap` can resample rows without copying them: a row never becomes its own neighbour.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.data import to_bytes, to_unit
from course_lib.nets.classifier import Classifier, ConvClassifier


class Features(NamedTuple):
    """What a classifier makes of N images: its feature vectors and the logarithms of its class probabilities, in float64."""

    vectors: Tensor  # (N, d)
    log_probs: Tensor  # (N, classes)

    def __getitem__(self, rows: object) -> "Features":  # type: ignore[override]
        return Features(self.vectors[rows], self.log_probs[rows])  # type: ignore[index]


@torch.no_grad()
def features(classifier: Classifier | ConvClassifier, images: Tensor, batch_size: int = 500) -> Features:
    """The features of images `(N, C, H, W)`, uint8 or in [-1, 1]; the latter are rounded to 8 bits first, as real images are.

    The classifier runs in float32 whatever the hardware, so that a metric means the same everywhere.
    """
    device = next(classifier.parameters()).device
    images = images if images.dtype == torch.uint8 else to_bytes(images)
    vectors, logs = [], []
    for batch in images.split(batch_size):
        h = classifier.features(to_unit(batch.to(device)).contiguous(memory_format=torch.channels_last))
        vectors.append(h.double().cpu())
        logs.append(classifier.last(h).log_softmax(-1).double().cpu())
    return Features(torch.cat(vectors), torch.cat(logs))


# --- the Fréchet distance ------------------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Mean `(d,)` and covariance `(d, d)` of a set of vectors."""

    mean: Tensor
    covariance: Tensor


def moments(vectors: Tensor, weights: Tensor | None = None) -> Moments:
    """Mean and unbiased covariance of the rows of `(N, d)`; raises ValueError where there are fewer than two."""
    if len(vectors) < 2:
        raise ValueError(f"vectors must have at least 2 rows to have a covariance; got {len(vectors)}")
    w = torch.ones(len(vectors), dtype=vectors.dtype) if weights is None else weights
    mean = w @ vectors / w.sum()
    centred = vectors - mean
    return Moments(mean, (centred * w[:, None]).T @ centred / (w.sum() - 1))


def gaussian_frechet_distance(a: Moments, b: Moments) -> Tensor:
    """The squared Wasserstein-2 distance of two Gaussians (Dowson and Landau, 1982), which Heusel et al. (2017) made into FID.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2); the roots come from symmetric eigenproblems, so that nothing
    becomes complex where a covariance is singular.
    """
    values, axes = torch.linalg.eigh(a.covariance)
    root = axes * values.clamp(min=0).sqrt() @ axes.T
    inner = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt()
    traces = a.covariance.trace() + b.covariance.trace()
    return ((a.mean - b.mean).square().sum() + traces - 2 * inner.sum()).clamp(min=0)


def frechet_distance(real: Tensor | Moments, generated: Tensor, weights: Tensor | None = None) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of features; FID only where the features are Inception-v3's.

    `weights` are those of the generated rows. It is biased upwards by an amount that falls as 1/N (Chong and Forsyth, 2020):
    compare at equal N only.
    """
    reference = real if isinstance(real, Moments) else moments(real)
    return float(gaussian_frechet_distance(reference, moments(generated, weights)))


# --- kernel distance -----------------------------------------------------------------------------------------------------


def kernel_distance(real: Tensor, generated: Tensor, weights: Tensor | None = None) -> float:
    """The unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (KID; Binkowski et al., 2018).

    `weights` are those of the generated rows. It may be negative: its expectation, and not its value, is 0 for equal
    distributions. Memory grows as the square of the number of generated rows (200 MB for 5,000).
    """
    return kernel_statistic(real, generated)(weights)


def kernel_statistic(real: Tensor, generated: Tensor) -> Callable[[Tensor | None], float]:
    """`kernel_distance` as a function of the weights alone: the kernels are computed once, for all of a bootstrap's draws."""
    d, n = real.shape[1], len(real)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / d + 1) ** 3

    def diagonal(x: Tensor) -> Tensor:  # k(x, x), which the unbiased estimate leaves out
        return (x.square().sum(1) / d + 1) ** 3

    blocks = real.split(1000)
    among_real = (sum(kernel(rows, real).sum() for rows in blocks) - diagonal(real).sum()) / (n * (n - 1))
    across = torch.stack([kernel(rows, generated).sum(0) for rows in blocks]).sum(0) / n  # (M,)
    among_generated, itself = kernel(generated, generated), diagonal(generated)

    def statistic(weights: Tensor | None = None) -> float:
        w = torch.ones_like(itself) if weights is None else weights
        pairs = w @ among_generated @ w - w.square() @ itself
        return float(among_real + pairs / (w.sum() ** 2 - w.square().sum()) - 2 * (w @ across) / w.sum())

    return statistic


# --- neighbourhoods ------------------------------------------------------------------------------------------------------


class Manifold(NamedTuple):
    """Which samples lie in the neighbourhoods of which; a neighbourhood reaches to the k-th nearest point of its own set."""

    precise: Tensor  # (M,) bool: the generated row lies in some real row's neighbourhood
    recalled: Tensor  # (N,) bool: the real row lies in some generated row's neighbourhood
    dense: Tensor  # (M,): in how many real neighbourhoods the generated row lies, divided by k
    covered: Tensor  # (N,) bool: the real row's neighbourhood holds some generated row


def manifold(real: Tensor, generated: Tensor, k: int = 3) -> Manifold:
    """Compare features `(N, d)` and `(M, d)` by neighbourhoods (Kynkäänniemi et al., 2019; Naeem et al., 2020).

    The means of the four fields are precision, recall, density and coverage. Raises ValueError where a set has at most k rows.
    """
    if min(len(real), len(generated)) <= k:
        raise ValueError(f"k must be smaller than both sets; got k = {k} for {len(real)} and {len(generated)} rows")
    real_radius, generated_radius = radii(real, k), radii(generated, k)
    precise, dense, recalled, covered = [], [], torch.zeros(len(real)).bool(), torch.zeros(len(real)).bool()
    for rows, radius in zip(generated.split(1000), generated_radius.split(1000), strict=True):
        distance = torch.cdist(rows, real)  # (rows, N)
        inside = distance <= real_radius
        precise.append(inside.any(1))
        dense.append(inside.sum(1) / k)
        covered |= inside.any(0)
        recalled |= (distance <= radius[:, None]).any(0)
    return Manifold(torch.cat(precise), recalled, torch.cat(dense), covered)


def radii(vectors: Tensor, k: int) -> Tensor:
    """The distance from each row of `(N, d)` to its k-th nearest other row, `(N,)`."""
    return torch.cat([torch.cdist(rows, vectors).kthvalue(k + 1, dim=1).values for rows in vectors.split(1000)])


# --- what the classifier says --------------------------------------------------------------------------------------------


def classifier_score(log_probs: Tensor, weights: Tensor | None = None) -> float:
    """exp of the mean KL(p(y|x) || p(y)), in [1, classes]: the Inception Score (Salimans et al., 2016) by another classifier."""
    w = torch.ones(len(log_probs), dtype=log_probs.dtype) if weights is None else weights
    probs = log_probs.exp()
    overall = (w @ probs / w.sum()).clamp(min=1e-300)
    divergence = (probs * (log_probs - overall.log())).sum(1)
    return math.exp(float(w @ divergence / w.sum()))


def effective_classes(log_probs: Tensor, weights: Tensor | None = None) -> float:
    """How many classes the set covers: exp of the entropy of the predicted classes' shares, in [1, classes]."""
    w = torch.ones(len(log_probs), dtype=log_probs.dtype) if weights is None else weights
    counts = torch.zeros(log_probs.shape[1], dtype=w.dtype).index_add_(0, log_probs.argmax(1), w)
    shares = counts / counts.sum()
    return math.exp(-float(torch.special.xlogy(shares, shares).sum()))


def label_accuracy(log_probs: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """The share of samples that the classifier sees as the class `(N,)` that was asked for."""
    right = (log_probs.argmax(1) == labels).to(log_probs)
    w = torch.ones_like(right) if weights is None else weights
    return float(w @ right / w.sum())


# --- copies --------------------------------------------------------------------------------------------------------------


class Copies(NamedTuple):
    """How near samples lie to the training set, beside how near new real images lie (root mean square a pixel, in [0, 2])."""

    generated: Tensor  # (N,)
    held_out: Tensor  # (M,)

    @property
    def near(self) -> Tensor:
        """Which samples `(N,)` are nearer to the training set than all but 1 % of the held-out images (1.0, else 0.0)."""
        return (self.generated < self.held_out.quantile(0.01)).double()

    @property
    def share(self) -> float:
        """The share of such samples; about 0.01 is no copying."""
        return float(self.near.mean())


def copies(generated: Tensor, held_out: Tensor, train: Tensor) -> Copies:
    """The distance of each image to the nearest training image, pixel by pixel; all `(N, C, H, W)` in [-1, 1]."""
    flat = train.flatten(1).float()

    def nearest(images: Tensor) -> Tensor:
        rows = images.flatten(1).float()
        distances = [torch.cdist(part, flat).min(1).values for part in rows.split(200)]
        return torch.cat(distances) / math.sqrt(rows.shape[1])

    return Copies(nearest(generated), nearest(held_out))


# --- intervals -----------------------------------------------------------------------------------------------------------


class Estimate(NamedTuple):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[Tensor | None], float],
    rows: int,
    repeats: int = 200,
    seed: int = 0,
    groups: Tensor | None = None,
) -> Estimate:
    """The statistic of all rows, with a 95 % interval from its values on resampled rows (Efron, 1979).

    Resampling must imitate how the rows were drawn: where the number of each class was fixed, pass the classes as `groups`
    `(rows,)`, and each is resampled in itself. `statistic` gets weights `(rows,)`, how often each row was drawn, or None for all
    rows once. The ends are the 2.5 and 97.5 % points of those values, moved so that their mean is the value itself: resampling
    adds a bias of its own to a metric that is biased in the number of rows, and little to its spread.
    """
    generator = torch.Generator().manual_seed(seed)
    value = statistic(None)
    parts = [torch.arange(rows)] if groups is None else [(groups == group).nonzero()[:, 0] for group in groups.unique()]
    drawn = [
        torch.cat([part[torch.randint(0, len(part), (len(part),), generator=generator)] for part in parts])
        for _ in range(repeats)
    ]
    values = torch.tensor([statistic(torch.bincount(chosen, minlength=rows).double()) for chosen in drawn]).double()
    low, high = (values - values.mean() + value).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Estimate(value, min(low, value), max(high, value))


def share_interval(value: float, rows: int) -> Estimate:
    """A share of `rows` independent images with its 95 % interval, in the normal approximation, within [0, 1]."""
    spread = 1.96 * (value * (1 - value) / rows) ** 0.5
    return Estimate(value, max(value - spread, 0.0), min(value + spread, 1.0))


# --- the number of images ------------------------------------------------------------------------------------------------


def by_size(
    statistic: Callable[[Tensor], float], rows: int, sizes: Sequence[int], repeats: int = 10, seed: int = 0
) -> dict[int, Estimate]:
    """What a metric says of smaller sets: for each size, its mean over random subsets, with the lowest and the highest of them.

    `statistic` gets the chosen rows' numbers `(size,)`. A metric without bias has the same mean at every size; the Fréchet distance
    falls towards its value for endless sets by about a constant divided by the size (Chong and Forsyth, 2020).
    Raises ValueError where a size is larger than `rows`.
    """
    if max(sizes) > rows:
        raise ValueError(f"sizes must not exceed {rows}, the number of rows; got {max(sizes)}")
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for size in sizes:
        values = [statistic(torch.randperm(rows, generator=generator)[:size]) for _ in range(repeats)]
        found[size] = Estimate(sum(values) / repeats, min(values), max(values))
    return found
