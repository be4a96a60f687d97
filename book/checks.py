"""Checks of the refresher's equations: SymPy where algebra decides, float64 where a table or a quadrature is clearer."""

import functools
import math

import numpy as np
import sympy as sp
from scipy.stats import entropy

from course_lib.pages.proofs import assert_close, assert_zero, claim, defines, equivalent, proves

x, y, u, s = sp.symbols("x y u s", real=True)
mu, mu_1, mu_2, m = sp.symbols("mu mu_1 mu_2 m", real=True)
sigma, sigma_1, sigma_2, tau, a, b = sp.symbols("sigma sigma_1 sigma_2 tau a b", positive=True)


def normal(value: sp.Expr, mean: sp.Expr | int, variance: sp.Expr | int) -> sp.Expr:
    """Return eq-ref-gauss-density as an expression."""
    return sp.exp(-((value - mean) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)


@functools.cache
def integral(expression: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """Integrate over the real line."""
    return sp.integrate(expression, (variable, -sp.oo, sp.oo))


def random_table(*shape: int, seed: int = 0) -> np.ndarray:
    """Return a random joint probability table, all entries positive."""
    table = np.random.default_rng(seed).uniform(0.1, 1.0, shape)
    return table / table.sum()


def hermite(mean: np.ndarray, covariance: np.ndarray, order: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes (N, 2) and weights (N,) whose weighted sums are Gaussian averages (Gauss-Hermite quadrature)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    products = np.outer(weights, weights).ravel() / (2 * np.pi)
    return mean + grid @ np.linalg.cholesky(covariance).T, products


def log_normal(value: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the logarithm of eq-ref-gauss-multi at value (N, D)."""
    deviation = value - mean
    quadratic = np.einsum("nd,de,ne->n", deviation, np.linalg.inv(covariance), deviation)
    return -0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + len(mean) * math.log(2 * math.pi))


def normal_average(function, power: int = 0) -> float:  # type: ignore[no-untyped-def]
    """The mean of z^power function(z) for a standard normal z, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return float(weights @ (nodes**power * function(nodes)) / math.sqrt(2 * math.pi))


MEAN_1, MEAN_2 = np.array([0.3, -1.0]), np.array([1.1, 0.4])
COVARIANCE_1, COVARIANCE_2 = np.array([[0.8, 0.3], [0.3, 0.5]]), np.array([[1.5, -0.4], [-0.4, 0.9]])


@defines("eq-ref-markov", "eq-ref-gauss-density", "eq-ref-gauss-multi", "eq-ref-kl")
def definitions() -> None:
    """These equations say what a Markov chain, a Gaussian density and the KL divergence are."""


@proves("eq-ref-bayes")
def bayes() -> None:
    """Reverse the conditioning of a random joint table."""
    joint = random_table(4, 5)
    prior, evidence = joint.sum(1, keepdims=True), joint.sum(0)
    likelihood = joint / prior
    assert_close(joint / joint.sum(0), claim(likelihood * prior / evidence))
    assert_close(evidence, claim((likelihood * prior).sum(0)))


@proves("eq-ref-markov-bayes")
def markov_bayes() -> None:
    """Compare the formula with the conditional of the joint table of a random chain x0 -> x1 -> x2."""
    start, first, second = random_table(3), random_table(3, 4, seed=1), random_table(4, 5, seed=2)
    first, second = first / first.sum(1, keepdims=True), second / second.sum(1, keepdims=True)
    joint = np.einsum("i,ij,jk->ijk", start, first, second)
    truth = joint / joint.sum(1, keepdims=True)  # q(x1 | x2, x0)
    assert_close(truth, claim(first[:, :, None] * second[None] / (first @ second)[:, None, :]))


@proves("eq-ref-gauss-moments")
def gauss_moments() -> None:
    """Integrate the density, its mean and its variance."""
    density = sp.exp(-(((x - mu) / sigma) ** 2) / 2) / (sigma * sp.sqrt(2 * sp.pi))
    assert_zero(integral(density, x) - claim(1))
    assert_zero(integral(x * density, x) - claim(mu))
    assert_zero(integral((x - mu) ** 2 * density, x) - claim(sigma**2))


@proves("eq-ref-affine")
def affine() -> None:
    """Carry a 2-D Gaussian through an affine map and compare the densities at random points."""
    matrix, shift = np.array([[1.2, -0.7], [0.4, 0.9]]), np.array([0.5, -2.0])
    points = np.random.default_rng(3).normal(size=(50, 2))
    carried = log_normal(points, MEAN_1, COVARIANCE_1) - np.linalg.slogdet(matrix)[1]
    mean, covariance = claim(matrix @ MEAN_1 + shift), claim(matrix @ COVARIANCE_1 @ matrix.T)
    assert_close(carried, log_normal(points @ matrix.T + shift, mean, covariance))


@equivalent("mu - sigma * eps", because="the noise is symmetric, so its sign does not matter")
@proves("eq-ref-reparam")
def reparameterisation() -> None:
    """The waves of the draw, averaged over the noise, are those of the density, integrated; and all waves determine a law."""
    mu, sigma = 0.7, 1.6
    grid = np.linspace(-20, 20, 4001)
    variance = claim(sigma**2)
    density = np.exp(-((grid - mu) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    for frequency in (0.5, 1.0, 2.0):
        for wave in (np.cos, np.sin):
            drawn = normal_average(lambda eps, k=frequency, wave=wave: wave(k * claim(mu + sigma * eps)))
            assert_close(drawn, np.trapezoid(wave(frequency * grid) * density, grid), 1e-9)


@proves("eq-ref-sum")
def sum_of_gaussians() -> None:
    """Split the integrand of the convolution into the claimed density and one in u, which integrates to one."""
    variance = sp.simplify(1 / (1 / sigma_1**2 + 1 / sigma_2**2))
    mean = variance * (mu_1 / sigma_1**2 + (s - mu_2) / sigma_2**2)
    integrand = sp.log(normal(u, mu_1, sigma_1**2)) + sp.log(normal(s - u, mu_2, sigma_2**2))
    claimed = sp.log(normal(s, claim(mu_1 + mu_2), claim(sigma_1**2 + sigma_2**2)))
    assert_zero(integrand - claimed - sp.log(normal(u, mean, variance)))


@proves("eq-ref-square")
def square() -> None:
    """Expand the completed square."""
    assert_zero(a * x**2 - 2 * b * x - claim(a * (x - b / a) ** 2 - b**2 / a))


@proves("eq-ref-product")
def product() -> None:
    """Compare the logarithms of both sides."""
    variance = sp.together(1 / claim(1 / sigma_1**2 + 1 / sigma_2**2))
    mean = claim(variance * (mu_1 / sigma_1**2 + mu_2 / sigma_2**2))
    left = sp.log(normal(x, mu_1, sigma_1**2)) + sp.log(normal(x, mu_2, sigma_2**2))
    constant = normal(mu_1, mu_2, claim(sigma_1**2 + sigma_2**2))
    assert_zero(left - sp.log(constant) - sp.log(normal(x, mean, variance)))


@proves("eq-ref-exponent")
def exponent() -> None:
    """The two sides differ by something without x."""
    left = -((x - m) ** 2 / tau**2 + (y - a * x) ** 2 / b**2) / 2
    right = claim(-((1 / tau**2 + a**2 / b**2) * x**2 - 2 * (m / tau**2 + a * y / b**2) * x) / 2)
    assert_zero(sp.diff(left - right, x))


@proves("eq-ref-gauss-bayes")
def gauss_bayes() -> None:
    """Posterior times evidence is prior times likelihood."""
    variance = sp.together(1 / claim(1 / tau**2 + a**2 / b**2))
    mean = claim(variance * (m / tau**2 + a * y / b**2))
    joint = sp.log(normal(x, m, tau**2)) + sp.log(normal(y, a * x, b**2))
    evidence = sp.log(normal(y, a * m, a**2 * tau**2 + b**2))
    assert_zero(joint - evidence - sp.log(normal(x, mean, variance)))


@proves("eq-ref-kl-nonneg")
def kl_is_not_negative() -> None:
    """log u <= u - 1, with equality at u = 1 alone; then each side on random tables, the divergence by scipy."""
    v = sp.symbols("v", positive=True)
    gap = v - 1 - sp.log(v)
    assert sp.solve(sp.diff(gap, v), v) == [1] and gap.subs(v, 1) == 0
    assert sp.diff(gap, v, 2).is_positive
    for seed in range(20):
        q, p = random_table(6, seed=seed), random_table(6, seed=seed + 100)
        assert entropy(q, p) > 0
        assert_close(-entropy(q, p), (q * claim(np.log(p / q))).sum())
        assert_close((q * claim(p / q - 1)).sum(), 0.0)
        q, p = q[2:] / q[2:].sum(), p[2:]  # where q never goes and p does, the last step is an inequality
        assert (q * np.log(p / q)).sum() <= (q * (p / q - 1)).sum() < 0


@proves("eq-ref-kl-chain")
def kl_chain() -> None:
    """Split the KL divergence of two random joint tables, all divergences by scipy."""
    q, p = random_table(4, 5), random_table(4, 5, seed=1)
    q_x, p_x = q.sum(1), p.sum(1)
    inner = entropy(q / q_x[:, None], p / p_x[:, None], axis=1)
    first = entropy(q_x, p_x)
    assert_close(entropy(q.ravel(), p.ravel()), claim(first + (q_x * inner).sum()))


@proves("eq-ref-kl-gauss")
def kl_gauss() -> None:
    """Average the log-ratio by quadrature, which is exact for a quadratic."""
    for mu_1, sigma_1, mu_2, sigma_2 in ((0.3, 0.6, 1.1, 1.7), (-0.4, 2.0, 0.2, 0.5)):

        def log_ratio(z, mu_1=mu_1, sigma_1=sigma_1, mu_2=mu_2, sigma_2=sigma_2):
            x = mu_1 + sigma_1 * z
            return -(z**2) / 2 - math.log(sigma_1) + (x - mu_2) ** 2 / (2 * sigma_2**2) + math.log(sigma_2)

        page = claim(math.log(sigma_2 / sigma_1) + (sigma_1**2 + (mu_1 - mu_2) ** 2) / (2 * sigma_2**2) - 1 / 2)
        assert_close(normal_average(log_ratio), page)


@equivalent(
    "(math.log(det_2 / det_1) - D + np.trace(COVARIANCE_1 @ precision) + square) / 2",
    because="the trace of a product does not depend on the order",
)
@proves("eq-ref-kl-gauss-multi")
def kl_gauss_multi() -> None:
    """Average the log-ratio by quadrature, which is exact for a quadratic."""
    nodes, weights = hermite(MEAN_1, COVARIANCE_1)
    truth = weights @ (log_normal(nodes, MEAN_1, COVARIANCE_1) - log_normal(nodes, MEAN_2, COVARIANCE_2))
    precision, deviation = np.linalg.inv(COVARIANCE_2), MEAN_1 - MEAN_2
    det_1, det_2, D = np.linalg.det(COVARIANCE_1), np.linalg.det(COVARIANCE_2), len(MEAN_1)
    square = deviation @ precision @ deviation
    assert_close(truth, claim((math.log(det_2 / det_1) - D + np.trace(precision @ COVARIANCE_1) + square) / 2))


@proves("eq-ref-kl-same-variance")
def kl_same_variance() -> None:
    """Average the log-ratio of two Gaussians with one spherical covariance by quadrature."""
    variance = 0.7
    covariance = variance * np.eye(2)
    nodes, weights = hermite(MEAN_1, covariance)
    truth = weights @ (log_normal(nodes, MEAN_1, covariance) - log_normal(nodes, MEAN_2, covariance))
    assert_close(truth, claim(((MEAN_1 - MEAN_2) ** 2).sum() / (2 * variance)))


@proves("eq-ref-jensen")
def jensen() -> None:
    """The logarithm is concave; then both sides for random positive variables, and for one that is not random."""
    v = sp.symbols("v", positive=True)
    assert sp.diff(sp.log(v), v, 2).is_negative
    for seed in range(20):
        weights, values = random_table(6, seed=seed), np.random.default_rng(seed).lognormal(size=6)

        def bound(weights, values):
            return claim(np.log((weights * values).sum()))

        assert bound(weights, values) > weights @ np.log(values)
        assert_close(bound(weights, np.full(6, 2.5)), math.log(2.5))


@proves("eq-ref-elbo")
def elbo() -> None:
    """Importance weighting leaves the evidence as it is; the bound lies below it, and reaches it where q is the posterior."""
    for seed in range(20):
        joint, q = random_table(3, 6, seed=seed)[0], random_table(6, seed=seed + 100)

        def bound(joint, q):
            return claim((q * np.log(joint / q)).sum())

        evidence = math.log(joint.sum())
        assert_close(evidence, claim(np.log((q * (joint / q)).sum())))
        assert bound(joint, q) < evidence
        assert_close(bound(joint, joint / joint.sum()), evidence)


@proves("eq-ref-elbo-gap")
def elbo_gap() -> None:
    """The gap is the KL divergence to the posterior, by scipy."""
    for seed in range(20):
        joint, q = random_table(3, 6, seed=seed)[0], random_table(6, seed=seed + 100)
        bound, divergence = float(q @ np.log(joint / q)), entropy(q, joint / joint.sum())
        assert_close(math.log(joint.sum()), claim(bound + divergence))


def _conditional_moments() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return a random joint table (X, Y), the values of x, p(y), E[x | y] and Var[x | y]."""
    joint, values = random_table(6, 4), np.random.default_rng(5).normal(size=6)
    marginal = joint.sum(0)
    means = values @ joint / marginal
    return joint, values, marginal, means, values**2 @ joint / marginal - means**2


@proves("eq-ref-tower")
def tower() -> None:
    """Average the conditional means of a random table."""
    joint, values, marginal, means, _ = _conditional_moments()
    assert_close(values @ joint.sum(1), claim((marginal * means).sum()))


@proves("eq-ref-total-variance")
def total_variance() -> None:
    """Split the variance of a random table."""
    joint, values, marginal, means, variances = _conditional_moments()
    p_x = joint.sum(1)
    variance = p_x @ values**2 - (p_x @ values) ** 2
    mean = values @ p_x
    assert_close(variance, claim((marginal * variances).sum() + (marginal * (means - mean) ** 2).sum()))


@proves("eq-ref-total-variance-split")
def total_variance_split() -> None:
    """The split holds by way of any number of each group, on a random table; by way of the group's mean the product is zero."""
    joint, values, marginal, means, variances = _conditional_moments()
    average = lambda table: float((joint * table).sum())  # noqa: E731
    mean = average(values[:, None])
    for stop in (means, np.array([0.3, -1.0, 2.0, 0.0])):
        x_, m_ = np.broadcast_arrays(values[:, None], stop)
        assert_close(
            average(x_**2) - mean**2,
            claim(average((x_ - m_) ** 2) + average((m_ - mean) ** 2) + 2 * average((x_ - m_) * (m_ - mean))),
        )
    assert_close(average((values[:, None] - means) ** 2), marginal @ variances)
    assert_close(average((values[:, None] - means) * (means - mean)), 0.0)


@proves("eq-ref-best-guess")
def best_guess() -> None:
    """Split the squared error of an arbitrary guess f(y)."""
    joint, values, marginal, means, variances = _conditional_moments()
    guess = np.array([0.3, -1.0, 2.0, 0.0])
    loss = (joint * (values[:, None] - guess) ** 2).sum()
    assert_close(loss, claim((marginal * variances).sum() + (marginal * (guess - means) ** 2).sum()))


@proves("eq-ref-coin")
def coin() -> None:
    """The mean of +1 and -1, weighted by Bayes' rule, against both forms."""
    for y, sigma in ((0.4, 0.7), (-1.3, 1.1), (0.2, 2.0)):
        faces = np.array([1.0, -1.0])
        up, down = np.exp(-((y - faces) ** 2) / (2 * sigma**2)) / math.sqrt(2 * math.pi * sigma**2)
        given = np.array([up / 2, down / 2]) / (up / 2 + down / 2)
        assert_close(given @ faces, claim((up - down) / (up + down)))
        assert_close(given @ faces, claim(math.tanh(y / sigma**2)))


@proves("eq-ref-change")
def change_of_variables() -> None:
    """Differentiate P(Y <= y) = P(X <= g^-1(y)) for any density and any inverse."""
    cumulative, inverse = sp.Function("F"), sp.Function("h")
    density = sp.diff(cumulative(x), x).subs(x, inverse(y)).doit()
    assert_zero(sp.diff(cumulative(inverse(y)), y) - claim(density * sp.diff(inverse(y), y)))
    slope, value = sp.Rational(3, 2), sp.log(y)  # an example that can be computed: X standard normal, Y = exp(3 X / 2)
    given = normal(value / slope, 0, 1)
    at = {y: sp.Rational(9, 5)}
    below = sp.erf(value / slope / sp.sqrt(2)) / 2
    assert_close(float(sp.diff(below, y).subs(at)), float(claim(given * sp.diff(value / slope, y)).subs(at)))


@proves("eq-ref-change-multi")
def change_of_variables_multi() -> None:
    """Compare E[f(y)] by the formula on a grid with E[f(g(x))] by quadrature, for a curved map of the plane that mirrors it."""

    def observe(points: np.ndarray) -> np.ndarray:
        return np.cos(points[:, 0] - 0.5 * points[:, 1])

    nodes, weights = hermite(np.zeros(2), np.eye(2), order=60)
    forward = np.stack([np.sinh(0.5 * nodes[:, 0]), 0.3 * np.sin(nodes[:, 0]) - nodes[:, 1]], axis=1)
    axis, other = np.linspace(-40, 40, 1601), np.linspace(-9, 9, 181)
    first, second = np.meshgrid(axis, other, indexing="ij")
    back_1 = 2 * np.arcsinh(first)
    back_2 = 0.3 * np.sin(back_1) - second
    determinant = -2 / np.sqrt(1 + first**2)  # the inverse map is triangular, with -1 in the other corner
    original = np.exp(-(back_1**2 + back_2**2) / 2) / (2 * np.pi)
    density = claim(original * np.abs(determinant))
    cell = (axis[1] - axis[0]) * (other[1] - other[0])
    grid = np.stack([first.ravel(), second.ravel()], axis=1)
    assert_close((density.ravel() * observe(grid)).sum() * cell, weights @ observe(forward), tolerance=1e-8)


@proves("eq-ref-gauss-score")
def gauss_score() -> None:
    """Differentiate the log-density."""
    assert_zero(sp.diff(sp.log(normal(x, mu, sigma**2)), x) - claim(-(x - mu) / sigma**2))


@defines("eq-ref-brownian")
def brownian_motion() -> None:
    """The law of its increments, which with independence and a continuous path defines it."""


@proves("eq-ref-quadratic-variation")
def quadratic_variation() -> None:
    """The moments of n independent squares, from the second and fourth moment of one increment."""
    for t, n in ((1.0, 1), (0.7, 10), (3.0, 400)):
        second, fourth = (normal_average(lambda z, k=k, t=t, n=n: (math.sqrt(t / n) * z) ** k) for k in (2, 4))
        assert_close(n * second, claim(t))
        assert_close(n * (fourth - second**2), claim(2 * t**2 / n))


@proves("eq-ref-ito-taylor")
def ito_taylor() -> None:
    """Differentiate twice in the root of the step, for two functions."""
    f, g, z, h, delta = sp.symbols("f g z h Delta", positive=True)
    for phi in (sp.sin(x), x**4 + sp.exp(x)):
        first, second = sp.diff(phi, x), sp.diff(phi, x, 2)
        moved = phi.subs(x, x + f * h**2 + g * h * z)
        series = sum(sp.diff(moved, h, k).subs(h, 0) * h**k / sp.factorial(k) for k in (1, 2))
        right = claim(first * (f * delta + g * sp.sqrt(delta) * z) + second * g**2 * delta * z**2 / 2)
        assert_zero(series - right.subs(delta, h**2))


@proves("eq-ref-ito")
def ito() -> None:
    """The mean of a short step, and its mean product with the kick, determine the two coefficients."""
    f, g, value, step = -0.4, 0.9, 0.3, 1e-5
    after = lambda z: np.sin(value + f * step + g * math.sqrt(step) * z)  # noqa: E731
    first, second = math.cos(value), -math.sin(value)
    assert_close((normal_average(after) - math.sin(value)) / step, claim(f * first + g**2 * second / 2), 1e-4)
    assert_close(normal_average(after, power=1) / math.sqrt(step), claim(g * first), 1e-4)
