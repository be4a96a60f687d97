"""Checks of chapter 7's equations: linear algebra in float64, exhaustive expectations over small sets, SymPy."""

import functools
import itertools
import math

import sympy as sp
import torch
from torch import Tensor

from course_lib.evaluation.classes import classifier_score
from course_lib.evaluation.frechet import Moments, frechet_distance, gaussian_frechet_distance
from course_lib.evaluation.intervals import Measured
from course_lib.evaluation.kernel import kernel_distance
from course_lib.evaluation.neighbours import manifold
from course_lib.pages.proofs import (
    answers,
    assert_close,
    assert_printed,
    assert_zero,
    claim,
    defines,
    equivalent,
    proves,
)


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
    first, second, across = joint[:3, :3].trace(), joint[3:, 3:].trace(), joint[:3, 3:].trace()
    one, other = mean[:3], mean[3:]
    assert_close(left, claim((one - other).square().sum() + first + second - 2 * across))


def block(first: Tensor, second: Tensor, across: Tensor) -> Tensor:
    """The joint covariance."""
    return torch.cat([torch.cat([first, across], 1), torch.cat([across.T, second], 1)])


@proves("eq-eval-contraction")
def contraction() -> None:
    """The block matrix, factored by Cholesky where it can be, is a covariance exactly where the norm of R is at most 1."""
    first, second = covariance(4, 1), covariance(4, 2)
    for seed in range(20):
        direction = normal(4, 4, seed=10 + seed)
        for size in (0.5, 0.999, 1.001, 2.0):
            R = size * direction / torch.linalg.matrix_norm(direction, 2)
            across = claim(root(first) @ R @ root(second))
            found = torch.linalg.cholesky_ex(block(first, second, across)).info == 0
            assert bool(found) == bool(claim(torch.linalg.svdvals(R)[0] <= 1))


@equivalent("root(A @ A.T).trace()", because="A A^T has the eigenvalues of A^T A")
@proves("eq-eval-nuclear")
def nuclear() -> None:
    """The rotation reaches the sum of the singular values, and no random contraction exceeds it."""
    A = normal(5, 5, seed=3)
    u, s, vh = torch.linalg.svd(A)
    reached = (vh.T @ u.T @ A).trace()
    assert_close(reached, claim(s.sum()))
    assert_close(reached, claim(root(A.T @ A).trace()), 1e-10)
    for seed in range(200):
        other = normal(5, 5, seed=100 + seed)
        other = other / torch.linalg.matrix_norm(other, 2)
        assert (other @ A).trace() < reached
    near = torch.linalg.matrix_exp(0.01 * (normal(5, 5, seed=4) - normal(5, 5, seed=4).T))  # a rotation by a little
    assert (near @ vh.T @ u.T @ A).trace() < reached


@proves("eq-eval-frechet")
def frechet() -> None:
    """The least cost by eq-eval-expand and the nuclear norm; the cost of the linear transport map; and the library's value."""
    for size in (1, 4, 7):
        first, second, zero = covariance(size, 1), covariance(size, 2), torch.zeros(size, dtype=torch.float64)
        one, other = normal(size, seed=3), normal(size, seed=4)
        inner = claim(root(root(first) @ second @ root(first)))
        written = claim((one - other).square().sum() + (first + second - 2 * inner).trace())
        largest = torch.linalg.svdvals(root(second) @ root(first)).sum()  # of tr C
        assert_close(written, (one - other).square().sum() + first.trace() + second.trace() - 2 * largest, 1e-9)
        inverse = torch.linalg.inv(root(first))
        transport = inverse @ inner @ inverse  # y = T x has the covariance `second`
        assert_close(transport @ first @ transport.T, second, 1e-9)
        moved = torch.eye(size, dtype=torch.float64) - transport
        assert_close((moved @ first @ moved.T).trace() + (one - other).square().sum(), written, 1e-9)
        assert_close(gaussian_frechet_distance(Moments(one, first), Moments(other, second)), written, 1e-10)
        assert_close(gaussian_frechet_distance(Moments(zero, first), Moments(zero, first)), 0.0, 1e-9)


@proves("eq-eval-frechet-line")
def frechet_line() -> None:
    """SymPy: the cost of the increasing map from one Gaussian to the other; and the general formula on the line."""
    m1, m2, s1, s2 = sp.symbols("m1 m2 s1 s2", positive=True)
    z = sp.Symbol("z", real=True)  # x = m1 + s1 z and y = m2 + s2 z
    cost = sp.Poly(sp.expand((m1 + s1 * z - m2 - s2 * z) ** 2), z)
    moments = {0: 1, 1: 0, 2: 1}  # of a standard normal z
    mean = sum(coefficient * moments[power] for (power,), coefficient in cost.terms())
    assert_zero(mean - claim((m1 - m2) ** 2 + (s1 - s2) ** 2))
    general = (m1 - m2) ** 2 + s1**2 + s2**2 - 2 * sp.sqrt(s1 * s2**2 * s1)
    assert_zero(general - mean)


# --- its bias -----------------------------------------------------------------------------------------------------------


@proves("eq-eval-bias-mean")
def bias_of_the_mean() -> None:
    """Over all samples of three from five points, drawn with replacement: exact."""
    points = normal(5, 2)
    centre, n = points.mean(0), 3
    errors = [(points[list(rows)].mean(0) - centre).square().sum() for rows in itertools.product(range(5), repeat=n)]
    trace = (points - centre).square().sum(1).mean()  # of the population's covariance
    assert_close(torch.stack(errors).mean(), claim(trace / n))


@functools.cache
def deviations(n: int) -> tuple[float, float]:
    """By quadrature, for n standard normal numbers: the mean of the sample's standard deviation, and its mean square error."""
    grid = torch.linspace(0, 14, 40_001, dtype=torch.float64)[1:]  # the norm of n - 1 standard normals
    log_density = (n - 2) * grid.log() - grid**2 / 2 - ((n - 1) / 2 - 1) * math.log(2) - math.lgamma((n - 1) / 2)
    deviation = grid / math.sqrt(n - 1)
    density = log_density.exp()
    return float(torch.trapezoid(deviation * density, grid)), float(
        torch.trapezoid((deviation - 1) ** 2 * density, grid)
    )


@proves("eq-eval-bias-spread")
def bias_of_the_spread() -> None:
    """Both means by quadrature of the chi distribution, for a sigma other than 1; and the limit, at n = 4000."""
    sigma = 1.7
    for n in (3, 10, 40):
        mean, error = deviations(n)
        c = claim(math.sqrt(2 / (n - 1)) * math.gamma(n / 2) / math.gamma((n - 1) / 2))
        assert_close(mean, c, 1e-7)
        assert_close(sigma**2 * error, claim(2 * sigma**2 * (1 - c)), 1e-6)
    n = 4000
    c = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    assert abs(2 * sigma**2 * (1 - c) / claim(sigma**2 / (2 * n)) - 1) < 1e-3


@functools.cache
def measured(n: int, equal: bool, draws: int = 1500) -> tuple[float, float]:
    """The mean distance of n draws from one Gaussian in three dimensions to another (or the same), and its standard error."""
    source = Moments(normal(3, seed=5) * 0.5, covariance(3, 2))
    mean, matrix = (source.mean, source.covariance) if equal else (torch.zeros(3).double(), covariance(3, 1))
    rows = mean + normal(draws, n, 3, seed=n) @ torch.linalg.cholesky(matrix).T
    centred = rows - rows.mean(1, keepdim=True)
    second = centred.mT @ centred / (n - 1)
    inner = root(source.covariance) @ second @ root(source.covariance)
    roots = torch.linalg.eigvalsh(inner).clamp(min=0).sqrt().sum(-1)
    shift = (rows.mean(1) - source.mean).square().sum(1)
    values = shift + source.covariance.trace() + second.diagonal(dim1=1, dim2=2).sum(1) - 2 * roots
    assert_close(values[0], frechet_distance(source, rows[0]), 1e-4)
    return float(values.mean()), float(values.std() / draws**0.5)


@proves("eq-eval-bias")
def bias() -> None:
    """Drawn 1500 times at three sizes, for equal Gaussians and for different ones: the constant from one size foretells the others."""
    source = Moments(normal(3, seed=5) * 0.5, covariance(3, 2))
    other = Moments(torch.zeros(3).double(), covariance(3, 1))
    for equal in (True, False):
        infinite = 0.0 if equal else float(gaussian_frechet_distance(source, other))
        middle, _ = measured(100, equal)
        slope = (middle - infinite) * 100
        assert slope > 0
        for n in (50, 200):
            value, error = measured(n, equal)
            assert abs(value - claim(infinite + slope / n)) < 4 * error + 0.05 * slope / n  # and the next order


@proves("eq-eval-infinity")
def extrapolation() -> None:
    """On the line the expected distance of a normal sample to its source is known: two sizes give the limit, which is 0."""

    def expected(n: int) -> float:
        c = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
        return 1 / n + 2 * (1 - c)

    limit = 0.3  # of a model whose means differ from the data's, in one more direction without spread
    small, large = 1000, 2500
    of_small, of_large = limit + expected(small), limit + expected(large)
    found = claim((large * of_large - small * of_small) / (large - small))
    assert abs(found - limit) < 1e-6
    assert expected(small) > 1e-3


# --- the kernel distance ------------------------------------------------------------------------------------------------


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / D + 1)^3."""
    return (x @ y.mT / x.shape[-1] + 1) ** 3


@proves("eq-eval-mmd-means")
def means_of_features() -> None:
    """With the kernel's own features in two dimensions, written out, on two finite populations."""
    x, y = normal(6, 2), normal(5, 2, seed=1) + 0.5

    def features(points: Tensor) -> Tensor:
        a, b = (points / math.sqrt(2)).T  # x.y / D = a a' + b b'
        one = torch.ones_like(a)
        three, six = math.sqrt(3), math.sqrt(6)
        terms = (one, three * a, three * b, three * a**2, three * b**2, six * a * b)
        terms += (a**3, b**3, three * a**2 * b, three * a * b**2)
        return torch.stack(terms, 1)

    assert_close(features(x) @ features(y).T, kernel(x, y), 1e-10)
    left = kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()
    assert_close(left, claim((features(x).mean(0) - features(y).mean(0)).square().sum()), 1e-10)


@proves("eq-eval-kid")
def unbiased() -> None:
    """Averaged over all samples of three from one population and four from another, it is the discrepancy; and it is the library's."""
    x, y, m, n = normal(4, 3), normal(3, 3, seed=1) + 0.3, 3, 4
    first = torch.stack([x[list(rows)] for rows in itertools.product(range(4), repeat=m)])
    second = torch.stack([y[list(rows)] for rows in itertools.product(range(3), repeat=n)])

    def off_diagonal(points: Tensor) -> Tensor:
        table = kernel(points, points)
        return table.sum((1, 2)) - table.diagonal(dim1=1, dim2=2).sum(1)

    within_x, within_y = off_diagonal(first)[:, None], off_diagonal(second)[None]
    across = kernel(first[:, None], second[None]).sum((2, 3))
    values = claim(within_x / (m * (m - 1)) + within_y / (n * (n - 1)) - 2 * across / (m * n))
    true = kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()
    assert_close(values.mean(), true, 1e-10)
    assert_close(values[1, 5], kernel_distance(first[1], second[5]), 1e-10)


# --- neighbourhoods -----------------------------------------------------------------------------------------------------


@defines("eq-eval-precision", "eq-eval-density")
def neighbourhoods() -> None:
    """The library against loops over all pairs."""
    real, drawn, k = normal(30, 3), 1.3 * normal(25, 3, seed=1) + 0.4, 3
    near, N, M = manifold(real, drawn, k), 30, 25

    def radius(points: Tensor, row: int) -> float:
        return sorted(float((points[row] - other).norm()) for other in points)[k]  # the 0th is the point itself

    of_real, of_drawn = [radius(real, i) for i in range(N)], [radius(drawn, j) for j in range(M)]
    distance = torch.cdist(real, drawn).tolist()
    in_real = [[distance[i][j] <= of_real[i] for j in range(M)] for i in range(N)]
    in_drawn = [[distance[i][j] <= of_drawn[j] for j in range(M)] for i in range(N)]
    columns = list(zip(*in_real, strict=True))
    precision = claim(sum(any(column) for column in columns) / M, "eq-eval-precision")
    recall = claim(sum(any(row) for row in in_drawn) / N, "eq-eval-precision")
    density = claim(sum(sum(row) for row in in_real) / (k * M), "eq-eval-density")
    coverage = claim(sum(any(row) for row in in_real) / N, "eq-eval-density")
    assert_close(near.precise.double().mean(), precision)
    assert_close(near.recalled.double().mean(), recall)
    assert_close(near.dense.double().mean(), density, 1e-7)  # float32 in the library
    assert_close(near.covered.double().mean(), coverage)


@proves("eq-eval-coverage-expected")
def expected_coverage() -> None:
    """Over all orders of N - 1 real and M drawn points by distance: the share in which the k nearest are not all real."""
    for N, M, k in ((4, 3, 1), (5, 4, 2), (6, 3, 3)):
        places = range(N - 1 + M)
        orders = list(itertools.combinations(places, M))  # where the drawn ones stand
        covered = sum(min(order) < k for order in orders) / len(orders)
        assert_close(covered, claim(1 - math.prod((N - 1 - level) / (N - 1 + M - level) for level in range(0, k))))


# --- classifiers, likelihood, shares ------------------------------------------------------------------------------------


@proves("eq-eval-inception")
def inception() -> None:
    """The library's value; and both forms, with the divergences and entropies from torch's own distributions."""
    log_probs = (2 * normal(40, 6)).log_softmax(1)
    each = torch.distributions.Categorical(logits=log_probs)
    overall = torch.distributions.Categorical(log_probs.exp().mean(0))
    divergence, entropy = torch.distributions.kl_divergence(each, overall), each.entropy()
    score = math.prod(float((p / q) ** (p / 40)) for row in each.probs for p, q in zip(row, overall.probs, strict=True))
    assert_close(score, claim(divergence.mean().exp()), 1e-10)
    assert_close(score, claim((overall.entropy() - entropy.mean()).exp()), 1e-10)
    assert_close(classifier_score(log_probs), score, 1e-10)


@proves("eq-eval-inception-range")
def inception_range() -> None:
    """Random answers stay inside; the ends are reached by equal answers, and by certain ones that are spread evenly."""
    for K in (2, 6):
        certain = torch.full((K, K), -800.0, dtype=torch.float64).fill_diagonal_(0.0)
        equal = normal(1, K).log_softmax(1).expand(5, K)
        scores = [classifier_score((3 * normal(40, K, seed=seed)).log_softmax(1)) for seed in range(20)]
        scores += [classifier_score(certain), classifier_score(equal)]
        assert_close(min(scores), claim(1))
        assert_close(max(scores), claim(K), 1e-9)


@proves("eq-eval-mixture")
def mixture() -> None:
    """The mixture is a density; its logarithm stays above the bound, and reaches it where the other density vanishes."""
    p, u = normal(1000).exp(), normal(1000, seed=1).exp()
    p, u = p / p.sum(), u / u.sum()
    u[:10] = 0.0
    u = u / u.sum()
    blend, bound = claim(0.01 * p + 0.99 * u), claim(p.log() - math.log(100))
    assert_close(blend.sum(), 1.0)
    assert (blend.log() - bound > -1e-12).all()
    assert_close(blend[:10].log(), bound[:10], 1e-12)


@proves("eq-eval-mixture-bits")
def mixture_bits() -> None:
    """The bound's loss of log 100 in bits, over the number of pixels of a 28 by 28 picture."""
    assert_printed(claim(math.log2(100) / 784), "0.0085")
    assert_close(100 ** (1 / 28**2), 2 ** claim(math.log2(100) / 784))


@proves("eq-eval-share")
def share() -> None:
    """Over all outcomes of n coins, weighted by their probability."""
    n, p = 7, 0.3
    weights = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    variance = sum(w * (k / n - p) ** 2 for k, w in enumerate(weights))
    assert_close(math.sqrt(variance), claim(math.sqrt(p * (1 - p) / n)))


# --- the exercises ------------------------------------------------------------------------------------------------------


@answers("ex-eval-code")
def written_from_an_empty_file() -> None:
    """The library's metrics of the points, and the moments of whole numbers by hand."""
    real = torch.cartesian_prod(torch.arange(10.0), torch.arange(10.0)).double()
    samples, k = 4.5 + (real - 4.5) / 2, 3
    printed = {name: float(name) for name in ("4.5", "8.25", "2.25", "6.75")}
    assert printed["4.5"] == float(real.mean())
    assert_close(printed["8.25"], sum((n - 4.5) ** 2 for n in range(10)) / 10)
    assert (printed["2.25"], printed["6.75"]) == (float(samples.min()), float(samples.max()))
    covariance = torch.cov(real.T)
    assert_printed(float(frechet_distance(Moments(real.mean(0), covariance), samples)), "4.167")
    assert_printed(2 * claim(8.25 / 4), "4.125")
    assert_printed(float(covariance.trace() * (1 + 1 / 4) - 2 * (covariance @ covariance).trace() / 4), "-48.6")
    near = manifold(real, samples, k)
    assert bool(near.precise.all())
    assert_printed(float(near.recalled.double().mean()), "0.36")
    inside = ((real >= 2) & (real <= 7)).all(1)
    assert bool((near.recalled == inside).all())
    four = 4.5 + 8.25**0.5 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double()
    copies = four.repeat(25, 1)
    assert float(frechet_distance(Moments(real.mean(0), covariance), copies)) < 1e-5
    near = manifold(real, copies, k)
    assert bool(near.precise.all()) and not bool(near.recalled.any())


@answers("ex-eval-coverage")
def coverage_of_a_perfect_model() -> None:
    """The product of eq-eval-coverage-expected for N = M = 10 million, to the decimals that the solution gives."""
    for k, text in ((3, "0.875"), (5, "0.969"), (10, "0.999")):
        N = M = 10**7
        product = math.prod((N - 1 - level) / (N - 1 + M - level) for level in range(k))
        assert_printed(1 - product, text)
        assert_close(1 - product, claim(1 - 2**-k), 1e-5)


@defines("eq-eval-jackknife")
def jackknife() -> None:
    """The library's standard error, written out."""
    without, G = normal(7), 7
    assert_close(Measured(0.0, without).error ** 2, claim((G - 1) / G * (without - without.mean()).square().sum()))


@proves("eq-eval-jackknife-mean")
def jackknife_of_a_mean() -> None:
    """Of forty numbers in eight parts: the mean of all but one part, eight times, from the numbers themselves."""
    parts = normal(8, 5)
    without = torch.stack([torch.cat([parts[:j], parts[j + 1 :]]).mean() for j in range(8)])
    left = claim((8 - 1) / 8 * (without - without.mean()).square().sum())
    h = parts.mean(1)
    assert_close(left, claim((h - h.mean()).square().sum() / (8 * (8 - 1))))
    assert_close(left, torch.var(h) / 8)
