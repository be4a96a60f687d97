"""Checks of chapter 1's equations: SymPy where algebra decides, float64 on exact Gaussians and mixtures elsewhere.

What the chain does is found without the closed form: means and variances are pushed through one step after the other. What goes
backward is found without Bayes' rule: two neighbours of the chain are jointly Gaussian, and one is conditioned on the other.
"""

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import TableSchedule, cosine, linear, log_snr, sigmoid
from course_lib.pages.proofs import assert_close, assert_zero, claim, defines, equivalent, proves

SCHEDULES = (linear(50, 0.001, 0.2), cosine(50), sigmoid(50, tau=0.7))


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture() -> Mixture:
    """Two correlated Gaussians in the plane."""
    return Mixture(
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        torch.tensor([[-1.2, 0.4], [0.9, -0.5]], dtype=torch.float64),
        torch.tensor([[[0.2, 0.05], [0.05, 0.1]], [[0.15, -0.03], [-0.03, 0.3]]], dtype=torch.float64),
    )


def two_bumps() -> Mixture:
    """Two Gaussians on the line."""
    return Mixture(
        torch.tensor([0.4, 0.6], dtype=torch.float64),
        torch.tensor([[-1.0], [1.2]], dtype=torch.float64),
        torch.tensor([[[0.1]], [[0.2]]], dtype=torch.float64),
    )


def average(function: Callable[[np.ndarray], np.ndarray]) -> float:
    """The mean of a function of one standard normal number, by Gauss-Hermite quadrature, exact for polynomials."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    return float(weights @ function(nodes) / math.sqrt(2 * math.pi))


@functools.cache
def pushed(schedule_index: int, t: int, s: int = 0) -> tuple[float, float]:
    """The coefficient of x_s and the variance of x_t given x_s, pushed through the single steps from s to t."""
    coefficient, variance = 1.0, 0.0
    for step in range(s + 1, t + 1):
        beta = float(SCHEDULES[schedule_index].beta[step])
        coefficient, variance = math.sqrt(1 - beta) * coefficient, (1 - beta) * variance + beta
    return coefficient, variance


# --- the forward process ------------------------------------------------------------------------------------------------


@defines("eq-fund-chain")
def chain_is_named() -> None:
    """The chain is a product of steps by definition."""


@defines("eq-fund-step", "eq-fund-alpha-bar", "eq-fund-snr")
def chain_definitions() -> None:
    """The library's step, its table and its signal-to-noise ratio are the ones defined."""
    for schedule in SCHEDULES:
        for t in (1, 9, 41):
            x, noise, beta = normal(4, 3), normal(4, 3, seed=1), schedule.beta[t]
            drawn = GaussianDiffusion(schedule).advance(x, torch.tensor(t - 1), torch.tensor(t), noise)
            assert_close(drawn, claim((1 - beta).sqrt() * x + beta.sqrt() * noise, "eq-fund-step"))
            product = claim(math.prod(float(schedule.alpha[s]) for s in range(1, t + 1)), "eq-fund-alpha-bar")
            assert_close(schedule.alpha_bar[t], product)
            alpha_bar = schedule.alpha_bar[t]
            assert_close(
                log_snr(schedule, torch.tensor(t)).exp(), claim(alpha_bar / (1 - alpha_bar), "eq-fund-snr"), 1e-11
            )


@equivalent(
    "math.sqrt(1 - beta) * x - math.sqrt(beta) * eps", because="the noise is symmetric, so its sign does not matter"
)
@proves("eq-fund-step-draw")
def step_draw() -> None:
    """Average over the noise: the draw has the mean and the variance that the step's density names."""
    for x, beta in ((0.7, 0.02), (-1.3, 0.4)):

        def draw(eps: np.ndarray, x: float = x, beta: float = beta) -> np.ndarray:
            return claim(math.sqrt(1 - beta) * x + math.sqrt(beta) * eps)

        mean = average(draw)
        assert_close(mean, math.sqrt(1 - beta) * x)
        assert_close(average(lambda eps, m=mean, d=draw: (d(eps) - m) ** 2), beta)


@proves("eq-fund-preserve")
def preserve() -> None:
    """The variance map has 1 as its fixed point, and no other; and it is the variance of the step's draw."""
    beta, variance = sp.symbols("beta V", positive=True)

    def after(beta, variance):
        return claim((1 - beta) * variance + beta)

    assert sp.solve(sp.Eq(after(beta, variance), variance), variance) == [claim(1)]
    spread = average(lambda eps: (math.sqrt(0.7) * math.sqrt(2.5) * eps) ** 2) + average(lambda eps: 0.3 * eps**2)
    assert_close(spread, after(0.3, 2.5))


@proves("eq-fund-two-steps")
def two_steps() -> None:
    """Substituting one step into the next."""
    x, e1, e2 = sp.symbols("x e1 e2", real=True)
    a1, a2 = sp.symbols("a1 a2", positive=True)
    once = sp.sqrt(a1) * x + sp.sqrt(1 - a1) * e1
    twice = sp.sqrt(a2) * once + sp.sqrt(1 - a2) * e2
    assert_zero(twice - claim(sp.sqrt(a2) * (sp.sqrt(a1) * x + sp.sqrt(1 - a1) * e1) + sp.sqrt(1 - a2) * e2))
    assert_zero(twice - claim(sp.sqrt(a2 * a1) * x + sp.sqrt(a2 * (1 - a1)) * e1 + sp.sqrt(1 - a2) * e2))


@proves("eq-fund-merge")
def merge() -> None:
    """The variance of the sum, averaged over both noises, is one minus the product."""
    a1, a2 = 0.8, 0.35

    def noise(e1, e2):
        return math.sqrt(a2 * (1 - a1)) * e1 + math.sqrt(1 - a2) * e2

    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    variance = weights @ noise(nodes[:, None], nodes) ** 2 @ weights / (2 * math.pi)
    assert_close(variance, claim(a2 * (1 - a1) + (1 - a2)))
    assert_close(variance, claim(a2 - a2 * a1 + 1 - a2))
    assert_close(variance, claim(1 - a1 * a2))


@proves("eq-fund-closed-form")
def closed_form() -> None:
    """Pushing mean coefficient and variance through all single steps gives sqrt(alpha-bar) and 1 - alpha-bar, for each schedule."""
    for index, schedule in enumerate(SCHEDULES):
        for t in range(1, schedule.T + 1):
            coefficient, variance = pushed(index, t)
            alpha_bar = schedule.alpha_bar
            assert_close(coefficient, claim(alpha_bar[t].sqrt()))
            assert_close(variance, claim(1 - alpha_bar[t]))


@proves("eq-fund-draw")
def draw() -> None:
    """Its coefficients are those of the chain, step by step; and `diffuse` returns it."""
    for index, schedule in enumerate(SCHEDULES):
        for t in (1, 9, 41):
            alpha_bar = schedule.alpha_bar[t]

            def jump(x0, eps, alpha_bar=alpha_bar):
                return claim(alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps)

            coefficient, variance = pushed(index, t)
            assert_close(jump(1.0, 0.0), coefficient)
            assert_close(jump(0.0, 1.0), math.sqrt(variance))
            x0, noise = normal(6, 3), normal(6, 3, seed=1)
            assert_close(GaussianDiffusion(schedule).diffuse(x0, torch.tensor(t), noise), jump(x0, noise))


@proves("eq-fund-induction")
def induction() -> None:
    """The variance after one more step, with the hypothesis put in, at every t of every schedule."""
    for index, schedule in enumerate(SCHEDULES):
        alpha, alpha_bar = schedule.alpha, schedule.alpha_bar
        for t in range(1, schedule.T + 1):
            variance = pushed(index, t)[1]
            assert_close(variance, claim(alpha[t] * (1 - alpha_bar[t - 1]) + (1 - alpha[t])))
            assert_close(variance, claim(1 - alpha[t] * alpha_bar[t - 1]))
            assert_close(variance, claim(1 - alpha_bar[t]))


@proves("eq-fund-unrolled")
def unrolled() -> None:
    """Running the chain with given noises equals the weighted sum of all of them."""
    for schedule in SCHEDULES:
        beta, alpha_bar, t = schedule.beta, schedule.alpha_bar, schedule.T
        process, eps = GaussianDiffusion(schedule), normal(t + 1, 1, 2, seed=2)
        x = x0 = normal(1, 2)
        for s in range(1, t + 1):
            x = process.advance(x, torch.tensor(s - 1), torch.tensor(s), eps[s])
        noise = claim(sum((alpha_bar[t] / alpha_bar[n] * beta[n]).sqrt() * eps[n] for n in range(1, t + 1)))
        assert_close(x, claim(alpha_bar[t].sqrt() * x0 + noise))


@proves("eq-fund-telescope")
def telescope() -> None:
    """All four expressions agree for symbolic betas and t = 4; the first three do for any alpha-bar_0, the last needs 1."""
    betas, t = (None, *sp.symbols("beta_1:5", positive=True)), 4
    start = sp.Symbol("abar_0", positive=True)
    bars = [start]
    for beta in betas[1:]:
        bars.append(bars[-1] * (1 - beta))
    first = claim(sum(bars[t] / bars[s] * betas[s] for s in range(1, t + 1)))
    second = claim(bars[t] * sum(1 / bars[s] - 1 / bars[s - 1] for s in range(1, t + 1)))
    third = claim(bars[t] * (1 / bars[t] - 1 / bars[0]))
    assert_zero(first - second)
    assert_zero(second - third)
    assert_zero((third - claim(1 - bars[t])).subs(start, 1))


@proves("eq-fund-transition")
def transition() -> None:
    """The steps from s to t, one after the other; and the library's jump."""
    for index, schedule in enumerate(SCHEDULES):
        alpha_bar = schedule.alpha_bar
        for s, t in ((3, 9), (1, 50), (20, 21)):
            ratio, variance = claim((alpha_bar[t] / alpha_bar[s]).sqrt()), claim(1 - alpha_bar[t] / alpha_bar[s])
            assert_close(ratio, pushed(index, t, s)[0])
            assert_close(variance, pushed(index, t, s)[1])
            library = GaussianDiffusion(schedule).transition(torch.tensor(s), torch.tensor(t))
            assert_close(library[0], ratio)
            assert_close(library[1], variance)


# --- schedules ----------------------------------------------------------------------------------------------------------


@defines("eq-fund-linear", "eq-fund-cosine", "eq-fund-clip", "eq-fund-sigmoid")
def schedules() -> None:
    """The library's three tables are the ones defined."""
    T, s, tau, low, high = 50, 0.008, 0.7, 0.001, 0.2
    for t in range(1, T + 1):
        assert_close(SCHEDULES[0].beta[t], claim(low + (t - 1) / (T - 1) * (high - low), "eq-fund-linear"))

    def f(t):
        return claim(math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2, "eq-fund-cosine")

    def logistic(u):
        return 1 / (1 + math.exp(-u))

    cosine_bar, sigmoid_bar, u = [], [], [-3 + 6 * t / T for t in range(T + 1)]
    for t in range(T + 1):
        cosine_bar.append(claim(f(t) / f(0), "eq-fund-cosine"))
        bottom = claim(logistic(u[T] / tau) - logistic(u[0] / tau), "eq-fund-sigmoid")
        sigmoid_bar.append(claim((logistic(u[T] / tau) - logistic(u[t] / tau)) / bottom, "eq-fund-sigmoid"))
    assert_close(SCHEDULES[1].alpha_bar[:T], cosine_bar[:T])
    assert_close(SCHEDULES[2].alpha_bar[:T], sigmoid_bar[:T])
    assert abs(cosine_bar[T]) < 1e-12  # without the clip the last beta would be 1
    for t in range(1, T + 1):
        clipped = claim(min(1 - cosine_bar[t] / cosine_bar[t - 1], 0.999), "eq-fund-clip")
        assert_close(SCHEDULES[1].beta[t], clipped, 1e-11)


@proves("eq-fund-prior-kl")
def prior_kl() -> None:
    """The mean of the log-ratio of the two densities, by quadrature, coordinate by coordinate."""
    alpha_bar, x0 = 0.3, normal(4).numpy()
    D = len(x0)

    def log_ratio(eps, start):
        x = math.sqrt(alpha_bar) * start + math.sqrt(1 - alpha_bar) * eps
        return -(eps**2) / 2 - math.log(1 - alpha_bar) / 2 + x**2 / 2

    truth = sum(average(lambda eps, start=start: log_ratio(eps, start)) for start in x0)
    assert_close(truth, claim((alpha_bar * (x0**2).sum() - D * (alpha_bar + math.log(1 - alpha_bar))) / 2))


# --- backward -----------------------------------------------------------------------------------------------------------

T_BACK, X_T = (
    torch.tensor(20),
    torch.tensor(0.4, dtype=torch.float64),
)  # the place and the time at which the mixture on the line is asked
EXACT_LINE = ExactDiffusion(two_bumps(), SCHEDULES[1])
GRID = torch.linspace(-8, 8, 4001, dtype=torch.float64)


def log_normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log N(x; mean, variance)."""
    return torch.distributions.Normal(mean, variance.sqrt()).log_prob(x)


@functools.cache
def reverse_density() -> Tensor:
    """q(x_{t-1} | x_t = X_T) on GRID without Bayes' rule for densities: condition each component's joint Gaussian, and weigh."""
    schedule, start = SCHEDULES[1], two_bumps()
    alpha, beta, bar = schedule.alpha[T_BACK], schedule.beta[T_BACK], schedule.alpha_bar[T_BACK - 1]
    mean = bar.sqrt() * start.means[:, 0]
    variance = bar * start.covariances[:, 0, 0] + 1 - bar
    total = alpha * variance + beta  # of x_t, whose covariance with x_{t-1} is sqrt(alpha) times the variance
    weight = (start.weights.log() + log_normal(X_T, alpha.sqrt() * mean, total)).softmax(0)
    gain = alpha.sqrt() * variance / total
    centre = mean + gain * (X_T - alpha.sqrt() * mean)
    return (weight * log_normal(GRID[:, None], centre, variance - gain**2 * total).exp()).sum(1)


@proves("eq-fund-reverse-bayes")
def reverse_bayes() -> None:
    """On a mixture on the line, at each point of a grid."""
    beta, at = SCHEDULES[1].beta[T_BACK], X_T.reshape(1, 1)
    step = log_normal(at[0], (1 - beta).sqrt() * GRID, beta).exp()
    before, now = EXACT_LINE.log_prob(GRID[:, None], T_BACK - 1).exp(), EXACT_LINE.log_prob(at, T_BACK).exp()
    assert_close(reverse_density(), claim(step * before / now), 1e-11)


@proves("eq-fund-taylor")
def taylor() -> None:
    """The expansion of a smooth log-density (here of two Gaussians) misses by the third order, with the derivatives by SymPy."""
    x, y = sp.symbols("x y", real=True)
    log_q = sp.log(sp.exp(-((x + 1) ** 2)) + 2 * sp.exp(-((x - 1) ** 2) / 3))
    s, h = sp.diff(log_q, x), sp.diff(log_q, x, 2)
    expansion = claim(log_q + s * (y - x) + h * (y - x) ** 2 / 2)
    remainder = (log_q.subs(x, y) - expansion) / (y - x) ** 3
    at = sp.Rational(3, 10)
    sizes = (sp.Rational(1, 10**4), sp.Rational(1, 10**5))
    ratios = [float(remainder.subs({x: at, y: at + size}).evalf(40)) for size in sizes]
    assert abs(ratios[0] - ratios[1]) < 1e-3 * abs(ratios[0]), f"remainder / |y - x|^3 should settle; got {ratios}"


@proves("eq-fund-reverse-exponent")
def reverse_exponent() -> None:
    """The logarithms of the step and of the expanded density; both sides differ by nothing that contains y."""
    x, y, s, h = sp.symbols("x y s h", real=True)  # x is x_t, y is x_{t-1}
    beta = sp.symbols("beta", positive=True)
    exponent = -((x - sp.sqrt(1 - beta) * y) ** 2) / (2 * beta) + s * (y - x) + h * (y - x) ** 2 / 2
    a, b = claim((1 - beta) / beta - h), claim(sp.sqrt(1 - beta) / beta * x + s - h * x)
    assert_zero(sp.diff(exponent - claim(-(a * y**2 - 2 * b * y) / 2), y))


@proves("eq-fund-reverse-small")
def reverse_small() -> None:
    """Mean b/a and variance 1/a of eq-fund-reverse-exponent at beta = 0, and their first derivatives there."""
    x, s, h = sp.symbols("x s h", real=True)
    beta = sp.symbols("beta", positive=True)
    a, b = (1 - beta) / beta - h, sp.sqrt(1 - beta) * x / beta + s - h * x
    mean, variance, bottom = claim(x + beta * (x / 2 + s)), claim(beta), sp.expand(a * beta)
    for exact, first_order in ((sp.expand(b * beta) / bottom, mean), (beta / bottom, variance)):
        for difference in (exact - first_order, sp.diff(exact - first_order, beta)):
            assert_zero(difference.subs(beta, 0))


alpha, beta_t, bar_before = sp.symbols("alpha beta abar_before", positive=True)
x_0, x_t, x_before, eps = sp.symbols("x_0 x_t x_before epsilon", real=True)
bar = alpha * bar_before
CHAIN = {alpha: 1 - beta_t}  # put in at the end, so that a claim may use either letter


def conditioned() -> tuple[sp.Expr, sp.Expr]:
    """Mean and variance of x_{t-1} given x_t and x_0, from the joint Gaussian of x_{t-1} and x_t given x_0."""
    before = 1 - bar_before  # the variance of x_{t-1}; its covariance with x_t is sqrt(alpha) times as large
    gain = sp.sqrt(alpha) * before / (alpha * before + beta_t)
    mean = sp.sqrt(bar_before) * x_0 + gain * (x_t - sp.sqrt(alpha) * sp.sqrt(bar_before) * x_0)
    return mean, before - gain * sp.sqrt(alpha) * before


def on_the_chain(expression: sp.Expr) -> sp.Expr:
    """The expression with alpha = 1 - beta."""
    return sp.sympify(expression).subs(CHAIN)


@proves("eq-fund-posterior-bayes")
def posterior_bayes() -> None:
    """The right-hand side at random points and several times, against the joint Gaussian of two neighbours, conditioned."""
    for schedule, t in itertools.product(SCHEDULES, (2, 17, 41)):
        now, then = schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
        x0 = normal(5)
        x1 = then.sqrt() * x0 + (1 - then).sqrt() * normal(5, seed=1)
        x2 = schedule.alpha[t].sqrt() * x1 + schedule.beta[t].sqrt() * normal(5, seed=2)
        step = log_normal(x2, schedule.alpha[t].sqrt() * x1, schedule.beta[t]).exp()
        before = log_normal(x1, then.sqrt() * x0, 1 - then).exp()
        evidence = log_normal(x2, now.sqrt() * x0, 1 - now).exp()
        values = {alpha: float(schedule.alpha[t]), beta_t: float(schedule.beta[t]), bar_before: float(then)}
        mean, variance = (sp.lambdify((x_0, x_t), part.subs(values)) for part in conditioned())
        left = log_normal(x1, mean(x0, x2), torch.tensor(variance(0, 0), dtype=torch.float64)).exp()
        assert_close(left, claim(step * before / evidence), 1e-11)


@proves("eq-fund-posterior-exponent")
def posterior_exponent() -> None:
    """Both sides differ by nothing that contains x_{t-1}."""
    exponent = -((x_t - sp.sqrt(alpha) * x_before) ** 2) / (2 * beta_t) - (
        x_before - sp.sqrt(bar_before) * x_0
    ) ** 2 / (2 * (1 - bar_before))
    a = claim(alpha / beta_t + 1 / (1 - bar_before))
    b = claim(sp.sqrt(alpha) / beta_t * x_t + sp.sqrt(bar_before) / (1 - bar_before) * x_0)
    assert_zero(sp.diff(exponent - claim(-(a * x_before**2 - 2 * b * x_before) / 2), x_before))


@proves("eq-fund-posterior-variance")
def posterior_variance() -> None:
    """One over the coefficient a, and the variance of the conditioned Gaussian."""
    _, variance = conditioned()
    assert_zero(on_the_chain(variance - claim((1 - bar_before) / (1 - bar) * beta_t)))
    a = alpha / beta_t + 1 / (1 - bar_before)
    assert_zero(on_the_chain(variance - claim(1 / a)))


@proves("eq-fund-posterior-mean")
def posterior_mean() -> None:
    """The mean of the conditioned Gaussian; the library's posterior gives the same numbers."""
    mean, _ = conditioned()
    page = claim(sp.sqrt(bar_before) * beta_t / (1 - bar) * x_0 + sp.sqrt(alpha) * (1 - bar_before) / (1 - bar) * x_t)
    assert_zero(on_the_chain(mean - page))
    schedule, t = SCHEDULES[1], 30
    values = {beta_t: float(schedule.beta[t]), bar_before: float(schedule.alpha_bar[t - 1]), x_0: 0.7, x_t: -0.2}
    one = torch.ones(1, dtype=torch.float64)
    library, _ = GaussianDiffusion(schedule).posterior(0.7 * one, -0.2 * one, torch.tensor(t), torch.tensor(t - 1))
    assert_close(library, float(on_the_chain(page).subs(values)) * one)


@proves("eq-fund-posterior-eps")
def posterior_eps() -> None:
    """The conditioned mean at an x_t made of x_0 and the noise."""
    mean, _ = conditioned()
    made = claim(sp.sqrt(bar) * x_0 + sp.sqrt(1 - bar) * eps)
    page = claim(1 / sp.sqrt(alpha) * (x_t - beta_t / sp.sqrt(1 - bar) * eps))
    assert_zero(on_the_chain((mean - page).subs(x_t, made)))


@proves("eq-fund-average-posterior", "eq-fund-reverse-mean", "eq-fund-reverse-variance")
def reverse_moments() -> None:
    """The posteriors, averaged over q(x_0 | x_t) by quadrature, against the reverse density, its mean and its variance."""
    schedule, at = SCHEDULES[1], X_T.reshape(1, 1)
    now, before = schedule.alpha_bar[T_BACK], schedule.alpha_bar[T_BACK - 1]
    beta, alpha = schedule.beta[T_BACK], schedule.alpha[T_BACK]
    start = two_bumps()
    x0 = GRID[::8]
    data = (start.weights * log_normal(x0[:, None], start.means[:, 0], start.covariances[:, 0, 0]).exp()).sum(1)
    given = (data.log() + log_normal(at[0], now.sqrt() * x0, 1 - now)).softmax(
        0
    )  # q(x_0 | x_t), as weights of the grid
    points = GRID[::40]
    mean, tilde = GaussianDiffusion(schedule).posterior(x0[:, None], at.expand(len(x0), 1), T_BACK, T_BACK - 1)
    posterior = log_normal(points, mean, tilde).exp()  # q(x_{t-1} | x_t, x_0), (x_0, x_{t-1})
    density = reverse_density()
    assert_close(density[::40], claim((given[:, None] * posterior).sum(0), "eq-fund-average-posterior"), 1e-9)
    expected, spread = EXACT_LINE.denoise(at, T_BACK)[0, 0], EXACT_LINE.covariance(at, T_BACK)[0, 0, 0]
    centre = torch.trapezoid(GRID * density, GRID)
    width = torch.trapezoid((GRID - centre) ** 2 * density, GRID)
    page = claim(
        before.sqrt() * beta / (1 - now) * expected + alpha.sqrt() * (1 - before) / (1 - now) * at[0, 0],
        "eq-fund-reverse-mean",
    )
    assert_close(centre, page, 1e-9)
    tilde = (1 - before) / (1 - now) * beta
    assert_close(
        width, claim(tilde + (before.sqrt() * beta / (1 - now)) ** 2 * spread, "eq-fund-reverse-variance"), 1e-9
    )


# --- the best denoiser --------------------------------------------------------------------------------------------------


@proves("eq-fund-best-denoiser")
def best_denoiser() -> None:
    """The split of the squared error on a random table of (x_0, x_t), for a random guess f."""
    table = torch.rand(5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    table = table / table.sum()
    values, guess = normal(5, seed=4)[:, None], normal(4, seed=5)[None]
    best = (table * values).sum(0, keepdim=True) / table.sum(0, keepdim=True)
    error = sum(float(table[i, j] * (values[i, 0] - guess[0, j]) ** 2) for i in range(5) for j in range(4))
    assert_close(error, claim((table * (values - best) ** 2).sum() + (table * (best - guess) ** 2).sum()))


@functools.cache
def convolved() -> tuple[Tensor, Tensor, Tensor]:
    """Points x_t, q(x_t) and E[x_0 | x_t] there, for the mixture in the plane: sums over a fine grid of x_0."""
    schedule, start, x = SCHEDULES[2], mixture(), normal(7, 2)
    axis = torch.linspace(-5, 5, 401, dtype=torch.float64)
    x0 = torch.cartesian_prod(axis, axis)
    parts = torch.distributions.MultivariateNormal(start.means, start.covariances)
    data = parts.log_prob(x0[:, None]).exp() @ start.weights
    signal, noise = schedule.alpha_bar[23].sqrt(), (1 - schedule.alpha_bar[23]).sqrt()
    kernel = torch.distributions.Normal(signal * x0, noise).log_prob(x[:, None]).sum(-1).exp()  # (7, grid)
    joint = kernel * data * (axis[1] - axis[0]) ** 2
    return x, joint.sum(1), joint @ x0 / joint.sum(1, keepdim=True)


@proves("eq-fund-mixture-marginal")
def mixture_marginal() -> None:
    """The density of the data, convolved with the noise on a grid; and the library's density."""
    start, schedule, (x, density, _) = mixture(), SCHEDULES[2], convolved()
    alpha_bar, eye, found = schedule.alpha_bar[23], torch.eye(2).double(), 0
    for weight, mean, covariance in zip(start.weights, start.means, start.covariances, strict=True):
        part = torch.distributions.MultivariateNormal(
            claim(alpha_bar.sqrt() * mean), claim(alpha_bar * covariance + (1 - alpha_bar) * eye)
        )
        found = found + claim(weight * part.log_prob(x).exp())
    assert_close(found, density, 1e-9)
    assert_close(found.log(), ExactDiffusion(start, schedule).log_prob(x, torch.tensor(23)), 1e-11)


@equivalent(
    "mu[:, None] + inverse @ (alpha_bar.sqrt() * sigma) @ (x.T - alpha_bar.sqrt() * mu[:, None])",
    because="a matrix commutes with the inverse of a polynomial of it",
)
@proves("eq-fund-mixture-denoiser")
def mixture_denoiser() -> None:
    """The weighted average of the components' estimates, against E[x_0 | x_t] summed on a grid."""
    start, schedule, (x, _, best) = mixture(), SCHEDULES[2], convolved()
    alpha_bar, eye, found = schedule.alpha_bar[23], torch.eye(2).double(), 0
    share = ExactDiffusion(start, schedule).class_posterior(x, torch.tensor(23))
    for k, (mu, sigma) in enumerate(zip(start.means, start.covariances, strict=True)):
        inverse = torch.linalg.inv(claim(alpha_bar * sigma + (1 - alpha_bar) * eye))
        estimate = claim(mu[:, None] + alpha_bar.sqrt() * sigma @ inverse @ (x.T - alpha_bar.sqrt() * mu[:, None]))
        found = found + claim(share[:, k] * estimate)
    assert_close(found.T, best, 1e-9)


@proves("eq-fund-tweedie")
def tweedie() -> None:
    """The score of the exact mixture by automatic differentiation, against E[x_0 | x_t] summed on a grid; and the library's."""
    schedule, (x, _, best), t = SCHEDULES[2], convolved(), torch.tensor(23)
    exact, points = ExactDiffusion(mixture(), schedule), x.clone().requires_grad_()
    (score,) = torch.autograd.grad(exact.log_prob(points, t).sum(), points)
    alpha_bar = schedule.alpha_bar[23]
    page = claim((x + (1 - alpha_bar) * score) / alpha_bar.sqrt())
    assert_close(best, page, 1e-9)
    assert_close(exact.denoise(x, t), page, 1e-11)


# --- what breaks, and the exercises -------------------------------------------------------------------------------------


@proves("eq-fund-error-no-root")
def no_root() -> None:
    """Noise scaled by beta in place of its root, averaged."""
    beta = 0.03
    assert_close(average(lambda z: claim((beta * z) ** 2)), beta**2)
    assert_close(average(lambda z: claim((math.sqrt(beta) * z) ** 2)), beta)
    assert_close(average(lambda z: (beta * z) ** 2), claim(beta**2))


@proves("eq-fund-ex-constant")
def constant_beta() -> None:
    """With a constant beta, alpha-bar is a power; the smallest number of steps is found by running the chain."""
    beta, target = 0.02, 4e-5
    table, steps = [1.0], 0
    while table[-1] > target:
        steps += 1
        table.append(table[-1] * (1 - beta))
        assert_close(table[-1], claim((1 - beta) ** steps))
    assert steps == math.ceil(claim(math.log(target) / math.log(1 - beta)))
    schedule = TableSchedule(torch.tensor(table, dtype=torch.float64))
    assert_close(schedule.beta[1:], torch.full((steps,), beta, dtype=torch.float64))
