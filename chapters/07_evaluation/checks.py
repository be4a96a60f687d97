"""Checks of chapter 7's equations: linear algebra in float64, exhaustive expectations over small sets, SymPy."""

import itertools
import math

import sympy as sp
import torch
from torch import Tensor

from course_lib.evaluation.classes import classifier_score
from course_lib.evaluation.frechet import Moments, frechet_distance, gaussian_frechet_distance
from course_lib.evaluation.kernel import kernel_distance
from course_lib.evaluation.neighbours import manifold
from course_lib.pages.proofs import assert_close, assert_zero, defines, proves


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(size: int, seed: int) -> Tensor:
    """A random positive definite matrix."""
    factor = normal(size, size, seed=seed)
    return factor @ factor.T + 0.2 * torch.eye(size, dtype=torch.float64)


def root(matrix: Tensor) -> Tensor:
    """The symmetric root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


@defines("eq-eval-wasserstein", "eq-eval-mmd", "eq-eval-clip", "eq-eval-bradley-terry")
def definitions() -> None:
    """These define a distance, a discrepancy, a score and a model of duels."""


# --- the Frechet distance -----------------------------------------------------------------------------------------------


@proves("eq-eval-expand")
def expand() -> None:
    """For a random joint Gaussian: the mean of |x - y|^2 is the trace of the difference's second moment."""
    joint, mean = covariance(6, 1), normal(6, seed=2)
    difference = torch.cat([torch.eye(3), -torch.eye(3)], 1).double()
    left = (difference @ joint @ difference.T).trace() + (difference @ mean).square().sum()
    first, second, across = joint[:3, :3], joint[3:, 3:], joint[:3, 3:]
    right = (mean[:3] - mean[3:]).square().sum() + first.trace() + second.trace() - 2 * across.trace()
    assert_close(left, right)


def block(first: Tensor, second: Tensor, across: Tensor) -> Tensor:
    """The joint covariance."""
    return torch.cat([torch.cat([first, across], 1), torch.cat([across.T, second], 1)])


@proves("eq-eval-contraction")
def contraction() -> None:
    """The smallest eigenvalue of the block matrix is negative exactly where the largest singular value of K is above 1."""
    first, second = covariance(4, 1), covariance(4, 2)
    for seed in range(20):
        direction = normal(4, 4, seed=10 + seed)
        direction = direction / torch.linalg.matrix_norm(direction, 2)
        for size in (0.5, 0.99, 1.01, 2.0):
            across = root(first) @ (size * direction) @ root(second)
            smallest = float(torch.linalg.eigvalsh(block(first, second, across)).min())
            assert (smallest > 0) == (size < 1)
    whitened = torch.linalg.eigvalsh(block(torch.eye(4).double(), torch.eye(4).double(), 0.7 * direction))
    singular = torch.linalg.svdvals(0.7 * direction)
    assert_close(whitened, torch.cat([1 - singular, 1 + singular]).sort().values, 1e-10)


@proves("eq-eval-nuclear")
def nuclear() -> None:
    """The rotation reaches the sum of the singular values, and no random contraction exceeds it."""
    matrix = normal(5, 5, seed=3)
    u, s, vh = torch.linalg.svd(matrix)
    assert_close((vh.T @ u.T @ matrix).trace(), s.sum())
    assert_close(s.sum(), root(matrix.T @ matrix).trace(), 1e-10)
    for seed in range(200):
        other = normal(5, 5, seed=100 + seed)
        other = other / torch.linalg.matrix_norm(other, 2)
        assert (other @ matrix).trace() < s.sum()


@proves("eq-eval-frechet")
def frechet() -> None:
    """The library's value; and the optimal transport map, a linear one, has this cost and the right image."""
    for size in (1, 4, 7):
        first, second = covariance(size, 1), covariance(size, 2)
        shift = normal(size, seed=3)
        inner = root(root(first) @ second @ root(first))
        written = shift.square().sum() + (first + second - 2 * inner).trace()
        found = gaussian_frechet_distance(
            Moments(shift, first), Moments(torch.zeros(size, dtype=torch.float64), second)
        )
        assert_close(found, written, 1e-10)
        inverse = torch.linalg.inv(root(first))
        transport = inverse @ inner @ inverse  # y = T x has the covariance `second`
        assert_close(transport @ first @ transport.T, second, 1e-9)
        moved = torch.eye(size, dtype=torch.float64) - transport
        assert_close((moved @ first @ moved.T).trace() + shift.square().sum(), written, 1e-9)


@proves("eq-eval-frechet-line")
def frechet_line() -> None:
    """SymPy, from the general formula on the line."""
    m1, m2, s1, s2 = sp.symbols("m1 m2 s1 s2", positive=True)
    general = (m1 - m2) ** 2 + s1**2 + s2**2 - 2 * sp.sqrt(s1 * s2**2 * s1)
    assert_zero(sp.expand(general - ((m1 - m2) ** 2 + (s1 - s2) ** 2)))


# --- its bias -----------------------------------------------------------------------------------------------------------


@proves("eq-eval-bias-mean")
def bias_of_the_mean() -> None:
    """Over all samples of three from five points, drawn with replacement: exact."""
    points = normal(5, 2)
    centre, n = points.mean(0), 3
    errors = [(points[list(rows)].mean(0) - centre).square().sum() for rows in itertools.product(range(5), repeat=n)]
    spread = (points - centre).square().sum(1).mean()  # the trace of the population's covariance
    assert_close(torch.stack(errors).mean(), spread / n)


@proves("eq-eval-bias-spread")
def bias_of_the_spread() -> None:
    """c_n by quadrature of the chi distribution; its square error; and the limit n times (1 - c_n) -> 1/4."""
    for n in (3, 10, 40):
        c = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
        grid = torch.linspace(0, 14, 400_001, dtype=torch.float64)[1:]  # the norm of n - 1 standard normals
        log_density = (n - 2) * grid.log() - grid**2 / 2 - ((n - 1) / 2 - 1) * math.log(2) - math.lgamma((n - 1) / 2)
        density = log_density.exp()
        deviation = grid / math.sqrt(n - 1)
        assert_close(torch.trapezoid(deviation * density, grid), c, 1e-8)
        assert_close(torch.trapezoid((deviation - 1) ** 2 * density, grid), 2 * (1 - c), 1e-8)
    n = 4000
    c = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    assert_close(2 * (1 - c) * n, 0.5, 1e-3)


@proves("eq-eval-bias", "eq-eval-infinity")
def extrapolation() -> None:
    """On the line the expected distance of a normal sample to its source is known: n times it settles, and two sizes give 0."""

    def expected(n: int) -> float:
        c = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
        return 1 / n + 2 * (1 - c)

    assert_close(1000 * expected(1000), 2000 * expected(2000), 2e-3)
    assert abs((2000 * expected(2000) - 1000 * expected(1000)) / 1000) < 1e-6
    generator = torch.Generator().manual_seed(0)
    source = Moments(torch.zeros(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    drawn = torch.randn(4000, 20, 1, generator=generator, dtype=torch.float64)
    found = torch.tensor([frechet_distance(source, rows) for rows in drawn])
    assert abs(float(found.mean()) - expected(20)) < 4 * float(found.std()) / 4000**0.5
    n, m, intercept, slope = sp.symbols("n m F c", positive=True)

    def line(size):
        return intercept + slope / size

    assert_zero(sp.simplify((m * line(m) - n * line(n)) / (m - n) - intercept))


# --- the kernel distance ------------------------------------------------------------------------------------------------


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / d + 1)^3."""
    return (x @ y.T / x.shape[1] + 1) ** 3


@proves("eq-eval-mmd-means")
def means_of_features() -> None:
    """With the kernel's own features in two dimensions, written out, on two finite populations."""
    x, y = normal(6, 2), normal(5, 2, seed=1) + 0.5

    def features(points: Tensor) -> Tensor:
        a, b = (points / math.sqrt(2)).T  # x.y / d = a a' + b b'
        one = torch.ones_like(a)
        three, six = math.sqrt(3), math.sqrt(6)
        terms = (one, three * a, three * b, three * a**2, three * b**2, six * a * b)
        terms += (a**3, b**3, three * a**2 * b, three * a * b**2)
        return torch.stack(terms, 1)

    assert_close(features(x) @ features(y).T, kernel(x, y), 1e-10)
    left = kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()
    assert_close(left, (features(x).mean(0) - features(y).mean(0)).square().sum(), 1e-10)


@proves("eq-eval-kid")
def unbiased() -> None:
    """Averaged over all samples of two from one population and two from another, the library's value is the discrepancy itself."""
    x, y = normal(4, 3), normal(3, 3, seed=1) + 0.3
    values = [
        kernel_distance(x[list(rows)], y[list(others)])
        for rows in itertools.product(range(4), repeat=2)
        for others in itertools.product(range(3), repeat=2)
    ]
    true = kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()
    assert_close(sum(values) / len(values), true, 1e-10)


# --- neighbourhoods -----------------------------------------------------------------------------------------------------


@proves("eq-eval-precision", "eq-eval-density")
def neighbourhoods() -> None:
    """The library against loops over all pairs."""
    real, drawn, k = normal(30, 3), 1.3 * normal(25, 3, seed=1) + 0.4, 3
    near = manifold(real, drawn, k)

    def radius(points: Tensor, row: int) -> float:
        return sorted(float((points[row] - other).norm()) for other in points)[k]  # the 0th is the point itself

    of_real, of_drawn = [radius(real, i) for i in range(30)], [radius(drawn, j) for j in range(25)]
    distance = torch.cdist(real, drawn)
    in_real = torch.tensor([[float(distance[i, j]) <= of_real[i] for j in range(25)] for i in range(30)])
    in_drawn = torch.tensor([[float(distance[i, j]) <= of_drawn[j] for j in range(25)] for i in range(30)])
    assert_close(near.precise.double().mean(), in_real.any(0).double().mean())
    assert_close(near.recalled.double().mean(), in_drawn.any(1).double().mean())
    assert_close(near.dense.double().mean(), in_real.double().sum() / (k * 25), 1e-7)  # float32 in the library
    assert_close(near.covered.double().mean(), in_real.any(1).double().mean())


@proves("eq-eval-coverage-expected")
def expected_coverage() -> None:
    """Over all orders of N - 1 real and M drawn points by distance: the share in which the k nearest are not all real."""
    for real, drawn, k in ((4, 3, 1), (5, 4, 2), (6, 3, 3)):
        places = range(real - 1 + drawn)
        orders = list(itertools.combinations(places, drawn))  # where the drawn ones stand
        covered = sum(min(order) < k for order in orders) / len(orders)
        product = math.prod((real - 1 - level) / (real - 1 + drawn - level) for level in range(k))
        assert_close(covered, 1 - product)


# --- classifiers, likelihood, shares ------------------------------------------------------------------------------------


@proves("eq-eval-inception", "eq-eval-inception-range")
def inception() -> None:
    """Both forms, and the library's; the ends of the range for equal and for certain, balanced answers."""
    log_probs = (2 * normal(40, 6)).log_softmax(1)
    probs = log_probs.exp()
    overall = probs.mean(0)
    entropies = (
        torch.distributions.Categorical(overall).entropy() - torch.distributions.Categorical(probs).entropy().mean()
    )
    divergence = (probs * (log_probs - overall.log())).sum(1).mean()
    assert_close(divergence, entropies)
    assert_close(classifier_score(log_probs), divergence.exp())
    assert 1 <= float(divergence.exp()) <= 6
    assert_close(classifier_score(log_probs[:1].expand(5, 6)), 1.0)
    certain = torch.full((6, 6), -800.0, dtype=torch.float64).fill_diagonal_(0.0)
    assert_close(classifier_score(certain), 6.0, 1e-9)


@proves("eq-eval-mixture", "eq-eval-mixture-bits")
def mixture() -> None:
    """For random positive densities; and the number."""
    p, q = normal(1000).exp(), normal(1000, seed=1).exp()
    assert ((0.01 * p + 0.99 * q).log() >= p.log() - math.log(100)).all()
    assert abs(math.log2(100) / 784 - 0.0085) < 5e-5


@proves("eq-eval-share")
def share() -> None:
    """Over all outcomes of n coins, weighted by their probability."""
    n, p = 7, 0.3
    weights = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    variance = sum(w * (k / n - p) ** 2 for k, w in enumerate(weights))
    assert_close(math.sqrt(variance), math.sqrt(p * (1 - p) / n))
