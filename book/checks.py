"""Checks of the refresher's equations: SymPy where algebra decides, float64 where a table or a quadrature is clearer."""

import math

import numpy as np
import sympy as sp

from course_lib.pages.proofs import defines, proves

TOLERANCE = 1e-12
x, y, u, s = sp.symbols("x y u s", real=True)
mu, mu_1, mu_2, m = sp.symbols("mu mu_1 mu_2 m", real=True)
sigma, sigma_1, sigma_2, tau, a, b = sp.symbols("sigma sigma_1 sigma_2 tau a b", positive=True)


def normal(value: sp.Expr, mean: sp.Expr | int, variance: sp.Expr | int) -> sp.Expr:
    """Return eq-ref-gauss-density as an expression."""
    return sp.exp(-((value - mean) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)


def integral(expression: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """Integrate over the real line."""
    return sp.integrate(expression, (variable, -sp.oo, sp.oo))


def assert_zero(expression: sp.Expr) -> None:
    """Fail unless the expression is identically zero."""
    residual = sp.simplify(sp.expand_log(sp.expand(expression), force=True))
    assert residual == 0, f"residual is {residual}"


def assert_close(left: float | np.ndarray, right: float | np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Fail where two float64 values differ by more than the tolerance."""
    error = float(np.max(np.abs(np.asarray(left) - np.asarray(right))))
    assert error < tolerance, f"error {error:.1e} is above {tolerance:.0e}"


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


MEAN_1, MEAN_2 = np.array([0.3, -1.0]), np.array([1.1, 0.4])
COVARIANCE_1, COVARIANCE_2 = np.array([[0.8, 0.3], [0.3, 0.5]]), np.array([[1.5, -0.4], [-0.4, 0.9]])


@defines("eq-ref-markov", "eq-ref-gauss-density", "eq-ref-gauss-multi", "eq-ref-kl")
def definitions() -> None:
    """These equations say what a Markov chain, a Gaussian density and the KL divergence are."""


@proves("eq-ref-bayes")
def bayes() -> None:
    """Reverse the conditioning of a random joint table."""
    joint = random_table(4, 5)
    prior, evidence = joint.sum(1), joint.sum(0)
    likelihood = joint / prior[:, None]
    assert_close(likelihood * prior[:, None] / evidence, joint / joint.sum(0))
    assert_close((likelihood * prior[:, None]).sum(0), evidence)


@proves("eq-ref-markov-bayes")
def markov_bayes() -> None:
    """Compare the formula with the conditional of the joint table of a random chain x0 -> x1 -> x2."""
    start, first, second = random_table(3), random_table(3, 4, seed=1), random_table(4, 5, seed=2)
    first, second = first / first.sum(1, keepdims=True), second / second.sum(1, keepdims=True)
    joint = np.einsum("i,ij,jk->ijk", start, first, second)
    truth = joint / joint.sum(1, keepdims=True)  # q(x1 | x2, x0)
    formula = first[:, :, None] * second[None] / (first @ second)[:, None, :]
    assert_close(formula, truth)


@proves("eq-ref-gauss-moments")
def gauss_moments() -> None:
    """Integrate the density, its mean and its variance."""
    density = normal(x, mu, sigma**2)
    assert_zero(integral(density, x) - 1)
    assert_zero(integral(x * density, x) - mu)
    assert_zero(integral((x - mu) ** 2 * density, x) - sigma**2)


@proves("eq-ref-affine")
def affine() -> None:
    """Carry a 2-D Gaussian through an affine map and compare the densities at random points."""
    matrix, shift = np.array([[1.2, -0.7], [0.4, 0.9]]), np.array([0.5, -2.0])
    points = np.random.default_rng(3).normal(size=(50, 2))
    carried = log_normal(points, MEAN_1, COVARIANCE_1) - np.linalg.slogdet(matrix)[1]
    formula = log_normal(points @ matrix.T + shift, matrix @ MEAN_1 + shift, matrix @ COVARIANCE_1 @ matrix.T)
    assert_close(carried, formula)


@proves("eq-ref-reparam")
def reparameterisation() -> None:
    """Change variables from eps to x = mu + sigma eps."""
    assert_zero(normal((x - mu) / sigma, 0, 1) / sigma - normal(x, mu, sigma**2))


@proves("eq-ref-sum")
def sum_of_gaussians() -> None:
    """Split the integrand of the convolution into the claimed density and one in u, which integrates to one."""
    variance = sp.simplify(1 / (1 / sigma_1**2 + 1 / sigma_2**2))
    mean = variance * (mu_1 / sigma_1**2 + (s - mu_2) / sigma_2**2)
    integrand = sp.log(normal(u, mu_1, sigma_1**2)) + sp.log(normal(s - u, mu_2, sigma_2**2))
    claimed = sp.log(normal(s, mu_1 + mu_2, sigma_1**2 + sigma_2**2))
    assert_zero(integrand - claimed - sp.log(normal(u, mean, variance)))


@proves("eq-ref-square")
def square() -> None:
    """Expand the completed square."""
    assert_zero(a * (x - b / a) ** 2 - b**2 / a - (a * x**2 - 2 * b * x))


@proves("eq-ref-product")
def product() -> None:
    """Compare the logarithms of both sides."""
    variance = sp.simplify(1 / (1 / sigma_1**2 + 1 / sigma_2**2))
    mean = variance * (mu_1 / sigma_1**2 + mu_2 / sigma_2**2)
    left = sp.log(normal(x, mu_1, sigma_1**2)) + sp.log(normal(x, mu_2, sigma_2**2))
    right = sp.log(normal(mu_1, mu_2, sigma_1**2 + sigma_2**2)) + sp.log(normal(x, mean, variance))
    assert_zero(left - right)


@proves("eq-ref-exponent")
def exponent() -> None:
    """The two sides differ by something without x."""
    left = (x - m) ** 2 / tau**2 + (y - a * x) ** 2 / b**2
    right = (1 / tau**2 + a**2 / b**2) * x**2 - 2 * (m / tau**2 + a * y / b**2) * x
    assert_zero(sp.diff(left - right, x))


@proves("eq-ref-gauss-bayes")
def gauss_bayes() -> None:
    """Posterior times evidence is prior times likelihood."""
    variance = sp.simplify(1 / (1 / tau**2 + a**2 / b**2))
    mean = variance * (m / tau**2 + a * y / b**2)
    joint = sp.log(normal(x, m, tau**2)) + sp.log(normal(y, a * x, b**2))
    evidence = sp.log(normal(y, a * m, a**2 * tau**2 + b**2))
    assert_zero(joint - evidence - sp.log(normal(x, mean, variance)))


@proves("eq-ref-kl-nonneg")
def kl_is_not_negative() -> None:
    """log u <= u - 1 with equality only at u = 1; then both sides on random tables."""
    v = sp.symbols("v", positive=True)
    gap = v - 1 - sp.log(v)
    assert sp.solve(sp.diff(gap, v), v) == [1] and gap.subs(v, 1) == 0
    assert sp.diff(gap, v, 2).is_positive
    for seed in range(20):
        q, p = random_table(6, seed=seed), random_table(6, seed=seed + 100)
        assert (q * np.log(q / p)).sum() > 0
        assert_close((q * (p / q - 1)).sum(), 0.0)


@proves("eq-ref-kl-chain")
def kl_chain() -> None:
    """Split the KL divergence of two random joint tables."""
    q, p = random_table(4, 5), random_table(4, 5, seed=1)
    q_x, p_x = q.sum(1), p.sum(1)
    q_z, p_z = q / q_x[:, None], p / p_x[:, None]
    inner = (q_z * np.log(q_z / p_z)).sum(1)
    assert_close((q * np.log(q / p)).sum(), (q_x * np.log(q_x / p_x)).sum() + (q_x * inner).sum())


@proves("eq-ref-kl-gauss")
def kl_gauss() -> None:
    """Integrate the log-ratio under the first Gaussian."""
    q, p = normal(x, mu_1, sigma_1**2), normal(x, mu_2, sigma_2**2)
    ratio = sp.expand(sp.expand_log(sp.log(q) - sp.log(p), force=True))
    formula = sp.log(sigma_2 / sigma_1) + (sigma_1**2 + (mu_1 - mu_2) ** 2) / (2 * sigma_2**2) - sp.Rational(1, 2)
    assert_zero(integral(q * ratio, x) - formula)


@proves("eq-ref-kl-gauss-multi")
def kl_gauss_multi() -> None:
    """Average the log-ratio by quadrature, which is exact for a quadratic."""
    nodes, weights = hermite(MEAN_1, COVARIANCE_1)
    truth = weights @ (log_normal(nodes, MEAN_1, COVARIANCE_1) - log_normal(nodes, MEAN_2, COVARIANCE_2))
    precision, deviation = np.linalg.inv(COVARIANCE_2), MEAN_1 - MEAN_2
    log_ratio = math.log(np.linalg.det(COVARIANCE_2) / np.linalg.det(COVARIANCE_1))
    assert_close(truth, 0.5 * (log_ratio - 2 + np.trace(precision @ COVARIANCE_1) + deviation @ precision @ deviation))


@proves("eq-ref-kl-same-variance")
def kl_same_variance() -> None:
    """Average the log-ratio of two Gaussians with one spherical covariance by quadrature."""
    covariance = 0.7 * np.eye(2)
    nodes, weights = hermite(MEAN_1, covariance)
    truth = weights @ (log_normal(nodes, MEAN_1, covariance) - log_normal(nodes, MEAN_2, covariance))
    assert_close(truth, ((MEAN_1 - MEAN_2) ** 2).sum() / (2 * 0.7))


@proves("eq-ref-jensen")
def jensen() -> None:
    """The logarithm is concave; then both sides for random positive variables."""
    v = sp.symbols("v", positive=True)
    assert sp.diff(sp.log(v), v, 2).is_negative
    for seed in range(20):
        weights, values = random_table(6, seed=seed), np.random.default_rng(seed).lognormal(size=6)
        assert math.log(weights @ values) > weights @ np.log(values)


def _evidence_and_bound(seed: int) -> tuple[float, float, float]:
    """Return log p(x), the ELBO and KL(q || p(z | x)) of a random discrete model and a random q."""
    joint, q = random_table(3, 6, seed=seed)[0], random_table(6, seed=seed + 100)
    posterior = joint / joint.sum()
    return math.log(joint.sum()), float(q @ np.log(joint / q)), float(q @ np.log(q / posterior))


@proves("eq-ref-elbo")
def elbo() -> None:
    """Importance weighting leaves the evidence as it is, and the bound lies below it."""
    for seed in range(20):
        joint, q = random_table(3, 6, seed=seed)[0], random_table(6, seed=seed + 100)
        evidence, bound, _ = _evidence_and_bound(seed)
        assert_close(math.log(q @ (joint / q)), evidence)
        assert bound < evidence


@proves("eq-ref-elbo-gap")
def elbo_gap() -> None:
    """The gap is the KL divergence to the posterior."""
    for seed in range(20):
        evidence, bound, divergence = _evidence_and_bound(seed)
        assert_close(evidence, bound + divergence)


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
    assert_close(marginal @ means, values @ joint.sum(1))


@proves("eq-ref-total-variance")
def total_variance() -> None:
    """Split the variance of a random table."""
    joint, values, marginal, means, variances = _conditional_moments()
    p_x = joint.sum(1)
    variance = p_x @ values**2 - (p_x @ values) ** 2
    assert_close(variance, marginal @ variances + marginal @ means**2 - (marginal @ means) ** 2)


@proves("eq-ref-best-guess")
def best_guess() -> None:
    """Split the squared error of an arbitrary guess f(y)."""
    joint, values, marginal, means, variances = _conditional_moments()
    guess = np.array([0.3, -1.0, 2.0, 0.0])
    loss = (joint * (values[:, None] - guess) ** 2).sum()
    assert_close(loss, marginal @ variances + marginal @ (guess - means) ** 2)


@proves("eq-ref-coin")
def coin() -> None:
    """Both sides are the same function of y."""
    up, down = normal(y, 1, sigma**2), normal(y, -1, sigma**2)
    difference = (up - down) / (up + down) - sp.tanh(y / sigma**2)
    assert_zero(sp.simplify(difference.rewrite(sp.exp)))
    joint = np.array([0.5, 0.5]) * np.exp(-((0.4 - np.array([1.0, -1.0])) ** 2) / (2 * 0.7**2))  # y = 0.4, sigma = 0.7
    assert_close(joint @ np.array([1.0, -1.0]) / joint.sum(), math.tanh(0.4 / 0.7**2))


@proves("eq-ref-change")
def change_of_variables() -> None:
    """Differentiate P(Y <= y) = P(X <= g^-1(y)) for any density and any inverse."""
    cumulative, inverse = sp.Function("F"), sp.Function("h")
    density = sp.diff(cumulative(x), x).subs(x, inverse(y)).doit()
    assert_zero(sp.diff(cumulative(inverse(y)), y) - density * sp.diff(inverse(y), y))


@proves("eq-ref-change-multi")
def change_of_variables_multi() -> None:
    """Compare E[f(y)] by the formula on a grid with E[f(g(x))] by quadrature, for a curved map of the plane."""

    def observe(points: np.ndarray) -> np.ndarray:
        return np.cos(points[:, 0] - 0.5 * points[:, 1])

    nodes, weights = hermite(np.zeros(2), np.eye(2), order=60)
    forward = np.stack([np.sinh(0.5 * nodes[:, 0]), nodes[:, 1] + 0.3 * np.sin(nodes[:, 0])], axis=1)
    axis = np.linspace(-60, 60, 4801)
    first, second = np.meshgrid(axis, np.linspace(-9, 9, 361), indexing="ij")
    back_1 = 2 * np.arcsinh(first)
    back_2 = second - 0.3 * np.sin(back_1)
    determinant = 2 / np.sqrt(1 + first**2)  # the inverse map is triangular, with 1 in the other corner
    density = np.exp(-0.5 * (back_1**2 + back_2**2)) / (2 * np.pi) * np.abs(determinant)
    grid = np.stack([first.ravel(), second.ravel()], axis=1)
    cell = (axis[1] - axis[0]) * (second[0, 1] - second[0, 0])
    assert_close((density.ravel() * observe(grid)).sum() * cell, weights @ observe(forward), tolerance=1e-9)


@proves("eq-ref-gauss-score")
def gauss_score() -> None:
    """Differentiate the log-density."""
    assert_zero(sp.diff(sp.log(normal(x, mu, sigma**2)), x) + (x - mu) / sigma**2)
