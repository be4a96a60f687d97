"""Checks of chapter 1's equations: SymPy where algebra decides, float64 on exact Gaussians and mixtures elsewhere."""

import math

import sympy as sp
import torch
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import TableSchedule, cosine, linear, sigmoid
from course_lib.pages.proofs import defines, proves

TOLERANCE = 1e-12
SCHEDULES = (linear(50, 0.001, 0.2), cosine(50), sigmoid(50))


def assert_close(left: Tensor, right: Tensor, tolerance: float = TOLERANCE) -> None:
    """Fail where two float64 tensors differ by more than the tolerance."""
    error = float((left - right).abs().max())
    assert error < tolerance, f"error {error:.1e} is above {tolerance:.0e}"


def assert_zero(expression: sp.Expr) -> None:
    """Fail unless the expression is identically zero."""
    residual = sp.simplify(expression)
    assert residual == 0, f"residual is {residual}"


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


@defines(
    "eq-fund-step",
    "eq-fund-chain",
    "eq-fund-alpha-bar",
    "eq-fund-snr",
    "eq-fund-linear",
    "eq-fund-cosine",
    "eq-fund-sigmoid",
)
def definitions() -> None:
    """The noising step, the chain, alpha-bar, the signal-to-noise ratio and the three schedules are choices."""


@proves("eq-fund-step-draw")
def step_draw() -> None:
    """An affine map of standard noise has the mean and the variance that the step's density names."""
    x, beta, eps = sp.symbols("x beta epsilon", real=True)
    draw = sp.sqrt(1 - beta) * x + sp.sqrt(beta) * eps
    density = sp.exp(-(eps**2) / 2) / sp.sqrt(2 * sp.pi)
    mean, square = (sp.integrate(sp.expand(power) * density, (eps, -sp.oo, sp.oo)) for power in (draw, draw**2))
    assert_zero(mean - sp.sqrt(1 - beta) * x)
    assert_zero(square - mean**2 - beta)


@proves("eq-fund-preserve")
def preserve() -> None:
    """The variance map has 1 as its fixed point, and no other."""
    beta, variance = sp.symbols("beta V", positive=True)
    assert sp.solve(sp.Eq((1 - beta) * variance + beta, variance), variance) == [1]


@proves("eq-fund-two-steps")
def two_steps() -> None:
    """Substituting one step into the next."""
    x, e1, e2 = sp.symbols("x e1 e2", real=True)
    a1, a2 = sp.symbols("a1 a2", positive=True)
    once = sp.sqrt(a1) * x + sp.sqrt(1 - a1) * e1
    twice = sp.sqrt(a2) * once + sp.sqrt(1 - a2) * e2
    assert_zero(sp.expand(twice - (sp.sqrt(a1 * a2) * x + sp.sqrt(a2 * (1 - a1)) * e1 + sp.sqrt(1 - a2) * e2)))


@proves("eq-fund-merge")
def merge() -> None:
    """The variances of the two noises add up to one minus the product."""
    a1, a2 = sp.symbols("a1 a2", positive=True)
    assert_zero(a2 * (1 - a1) + (1 - a2) - (1 - a1 * a2))


@proves("eq-fund-closed-form")
def closed_form() -> None:
    """Pushing mean coefficient and variance through all single steps gives sqrt(alpha-bar) and 1 - alpha-bar, for each schedule."""
    for schedule in SCHEDULES:
        coefficient, variance = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for t in range(1, schedule.T + 1):
            beta = schedule.beta[t]
            coefficient, variance = (1 - beta).sqrt() * coefficient, (1 - beta) * variance + beta
            assert_close(coefficient, schedule.alpha_bar[t].sqrt())
            assert_close(variance, 1 - schedule.alpha_bar[t])


@proves("eq-fund-draw")
def draw() -> None:
    """`diffuse` is the formula, written out."""
    x0, noise = normal(6, 3), normal(6, 3, seed=1)
    for schedule in SCHEDULES:
        t = torch.arange(6) * 8 + 1
        alpha_bar = schedule.alpha_bar[t][:, None]
        assert_close(
            GaussianDiffusion(schedule).diffuse(x0, t, noise), alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise
        )


@proves("eq-fund-induction")
def induction() -> None:
    """The variance after one more step, with the hypothesis put in."""
    alpha, previous = sp.symbols("alpha_t abar", positive=True)
    assert_zero(alpha * (1 - previous) + (1 - alpha) - (1 - alpha * previous))


@proves("eq-fund-unrolled")
def unrolled() -> None:
    """Running the chain with given noises equals the weighted sum of all of them."""
    for schedule in SCHEDULES:
        process, noises = GaussianDiffusion(schedule), normal(schedule.T + 1, 1, 2, seed=2)
        x = x0 = normal(1, 2)
        for t in range(1, schedule.T + 1):
            x = process.advance(x, torch.tensor(t - 1), torch.tensor(t), noises[t])
        weights = (schedule.alpha_bar[-1] / schedule.alpha_bar[1:] * schedule.beta[1:]).sqrt()
        assert_close(x, schedule.alpha_bar[-1].sqrt() * x0 + torch.einsum("s,sbd->bd", weights, noises[1:]))


@proves("eq-fund-telescope")
def telescope() -> None:
    """The squared weights add up to 1 - alpha-bar, for symbolic betas and T = 5."""
    betas = sp.symbols("beta_1:6", positive=True)
    bars = [sp.Integer(1)]
    for beta in betas:
        bars.append(bars[-1] * (1 - beta))
    assert_zero(sp.expand(sum(sp.cancel(bars[-1] / bars[s]) * betas[s - 1] for s in range(1, 6)) - (1 - bars[-1])))
    for s in range(1, 6):
        assert_zero(bars[-1] / bars[s] * betas[s - 1] - bars[-1] * (1 / bars[s] - 1 / bars[s - 1]))


@proves("eq-fund-transition")
def transition() -> None:
    """The jump from s to t composes with the jump from 0 to s to the jump from 0 to t."""
    for schedule in SCHEDULES:
        for s, t in ((3, 9), (1, 50), (20, 21)):
            ratio, variance = GaussianDiffusion(schedule).transition(torch.tensor(s), torch.tensor(t))
            assert_close(ratio, (schedule.alpha_bar[t] / schedule.alpha_bar[s]).sqrt())
            assert_close(variance, 1 - schedule.alpha_bar[t] / schedule.alpha_bar[s])
            assert_close(ratio * schedule.alpha_bar[s].sqrt(), schedule.alpha_bar[t].sqrt())
            assert_close(ratio**2 * (1 - schedule.alpha_bar[s]) + variance, 1 - schedule.alpha_bar[t])


@proves("eq-fund-clip")
def clip() -> None:
    """Beta from alpha-bar and its clip, against the library's cosine table; without the clip the last beta would be 1."""
    T, s = 50, 0.008
    f = [math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2 for t in range(T + 1)]
    bars = [value / f[0] for value in f]
    beta = [1 - bars[t] / bars[t - 1] for t in range(1, T + 1)]
    assert abs(beta[-1] - 1) < 1e-12
    assert_close(cosine(T, s).beta[1:], torch.tensor([min(b, 0.999) for b in beta], dtype=torch.float64))


@proves("eq-fund-prior-kl")
def prior_kl() -> None:
    """The KL divergence of the end of the chain from the standard normal, against torch's own."""
    alpha_bar, x0 = 0.03, normal(4)
    q = torch.distributions.Normal(
        math.sqrt(alpha_bar) * x0, torch.tensor(math.sqrt(1 - alpha_bar), dtype=torch.float64)
    )
    p = torch.distributions.Normal(torch.zeros(4, dtype=torch.float64), torch.ones((), dtype=torch.float64))
    formula = (alpha_bar * x0.square().sum() - len(x0) * (alpha_bar + math.log(1 - alpha_bar))) / 2
    assert_close(torch.distributions.kl_divergence(q, p).sum(), formula)


@proves("eq-fund-reverse-bayes")
def reverse_bayes() -> None:
    """On a mixture in one dimension, the right-hand side integrates to one over x_{t-1}."""
    x, density = reverse_on_a_grid(torch.tensor(20), 0.4)
    assert_close(torch.trapezoid(density, x), torch.ones((), dtype=torch.float64), 1e-9)


def reverse_on_a_grid(t: Tensor, x_t: float) -> tuple[Tensor, Tensor]:
    """A grid of x_{t-1} and the density q(x_t | x_{t-1}) q(x_{t-1}) / q(x_t) there."""
    schedule = SCHEDULES[1]
    one = Mixture(
        torch.tensor([0.4, 0.6]).double(),
        torch.tensor([[-1.0], [1.2]]).double(),
        torch.tensor([[[0.1]], [[0.2]]]).double(),
    )
    exact = ExactDiffusion(one, schedule)
    x = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    beta = schedule.beta[t]
    step = torch.distributions.Normal((1 - beta).sqrt() * x, beta.sqrt()).log_prob(
        torch.tensor(x_t, dtype=torch.float64)
    )
    log = step + exact.log_prob(x[:, None], t - 1) - exact.log_prob(torch.tensor([[x_t]], dtype=torch.float64), t)
    return x, log.exp()


@proves("eq-fund-taylor")
def taylor() -> None:
    """The expansion of a smooth log-density (here of two Gaussians) misses by the third order."""
    x, d = sp.symbols("x d", real=True)
    log_q = sp.log(sp.exp(-((x + 1) ** 2)) + 2 * sp.exp(-((x - 1) ** 2) / 3))
    expansion = log_q + d * sp.diff(log_q, x) + d**2 / 2 * sp.diff(log_q, x, 2)
    remainder = (log_q.subs(x, x + d) - expansion).subs(x, sp.Rational(3, 10))
    ratios = [
        abs(float((remainder / d**3).subs(d, step).evalf(60)))
        for step in (sp.Rational(1, 10**4), sp.Rational(1, 10**5))
    ]
    assert abs(ratios[0] - ratios[1]) < 1e-3 * ratios[0], f"remainder / d^3 should approach a constant; got {ratios}"


@proves("eq-fund-reverse-exponent")
def reverse_exponent() -> None:
    """Collecting the powers of x_{t-1} in the exponent."""
    x, y, s, h = sp.symbols("x y s h", real=True)  # x is x_t, y is x_{t-1}
    beta = sp.symbols("beta", positive=True)
    exponent = -((x - sp.sqrt(1 - beta) * y) ** 2) / (2 * beta) + s * (y - x) + h * (y - x) ** 2 / 2
    a, b = (1 - beta) / beta - h, sp.sqrt(1 - beta) * x / beta + s - h * x
    assert_zero(sp.diff(sp.expand(exponent - (-a * y**2 / 2 + b * y)), y))


@proves("eq-fund-reverse-small")
def reverse_small() -> None:
    """Mean b/a and variance 1/a to first order in beta."""
    x, s, h = sp.symbols("x s h", real=True)
    beta = sp.symbols("beta", positive=True)
    a, b = (1 - beta) / beta - h, sp.sqrt(1 - beta) * x / beta + s - h * x
    mean = sp.series(sp.simplify(b * beta) / sp.simplify(a * beta), beta, 0, 2).removeO()
    variance = sp.series(beta / sp.simplify(a * beta), beta, 0, 2).removeO()
    assert_zero(sp.expand(mean - (x + beta * (x / 2 + s))))
    assert_zero(variance - beta)


alpha, beta_t, bar, bar_before = sp.symbols("alpha beta abar abar_before", positive=True)
x_0, x_t, x_before, eps = sp.symbols("x_0 x_t x_before epsilon", real=True)
CHAIN = {alpha: 1 - beta_t, bar: (1 - beta_t) * bar_before}


@proves("eq-fund-posterior-bayes")
def posterior_bayes() -> None:
    """Bayes' rule in the chain: both sides agree as densities at random points."""
    schedule = SCHEDULES[0]
    t, x0, x1, x2 = 17, *normal(3)
    a, a_before = schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
    gauss = torch.distributions.Normal
    step = gauss(schedule.alpha[t].sqrt() * x1, schedule.beta[t].sqrt()).log_prob(x2)
    right = (
        step
        + gauss(a_before.sqrt() * x0, (1 - a_before).sqrt()).log_prob(x1)
        - gauss(a.sqrt() * x0, (1 - a).sqrt()).log_prob(x2)
    )
    mean, variance = GaussianDiffusion(schedule).posterior(x0[None], x2[None], torch.tensor(t), torch.tensor(t - 1))
    assert_close(gauss(mean[0], variance.sqrt()).log_prob(x1), right)


@proves("eq-fund-posterior-exponent")
def posterior_exponent() -> None:
    """Collecting the powers of x_{t-1}; the rest does not depend on it."""
    exponent = -((x_t - sp.sqrt(alpha) * x_before) ** 2) / (2 * beta_t) - (
        x_before - sp.sqrt(bar_before) * x_0
    ) ** 2 / (2 * (1 - bar_before))
    a = alpha / beta_t + 1 / (1 - bar_before)
    b = sp.sqrt(alpha) * x_t / beta_t + sp.sqrt(bar_before) * x_0 / (1 - bar_before)
    assert_zero(sp.diff(sp.expand(exponent - (-a * x_before**2 / 2 + b * x_before)), x_before))


@proves("eq-fund-posterior-variance")
def posterior_variance() -> None:
    """One over the coefficient a."""
    a = alpha / beta_t + 1 / (1 - bar_before)
    assert_zero((1 / a - (1 - bar_before) / (1 - bar) * beta_t).subs(CHAIN))


@proves("eq-fund-posterior-mean")
def posterior_mean() -> None:
    """b / a with the variance put in; the library's posterior gives the same numbers."""
    b = sp.sqrt(alpha) * x_t / beta_t + sp.sqrt(bar_before) * x_0 / (1 - bar_before)
    variance = (1 - bar_before) / (1 - bar) * beta_t
    mean = sp.sqrt(bar_before) * beta_t / (1 - bar) * x_0 + sp.sqrt(alpha) * (1 - bar_before) / (1 - bar) * x_t
    assert_zero((b * variance - mean).subs(CHAIN))
    schedule, t = SCHEDULES[1], 30
    values = {beta_t: schedule.beta[t], bar_before: schedule.alpha_bar[t - 1]}
    number = float(mean.subs(CHAIN).subs({k: float(v) for k, v in values.items()}).subs({x_0: 0.7, x_t: -0.2}))
    one = torch.ones(1, dtype=torch.float64)
    library, _ = GaussianDiffusion(schedule).posterior(0.7 * one, -0.2 * one, torch.tensor(t), torch.tensor(t - 1))
    assert_close(library, number * one)


@proves("eq-fund-posterior-eps")
def posterior_eps() -> None:
    """The mean with x_0 solved for in terms of x_t and the noise."""
    solved = (x_t - sp.sqrt(1 - bar) * eps) / sp.sqrt(bar)
    mean = sp.sqrt(bar_before) * beta_t / (1 - bar) * solved + sp.sqrt(alpha) * (1 - bar_before) / (1 - bar) * x_t
    target = (x_t - beta_t / sp.sqrt(1 - bar) * eps) / sp.sqrt(alpha)
    assert_zero(sp.simplify((mean - target).subs(CHAIN)))


@proves("eq-fund-average-posterior", "eq-fund-reverse-mean", "eq-fund-reverse-variance")
def reverse_moments() -> None:
    """The exact reverse density of a mixture, integrated on a grid, has the mean and variance that E[x_0 | x_t] and Var[x_0 | x_t] give."""
    schedule = SCHEDULES[1]
    t, x_t_value = torch.tensor(20), 0.4
    x, density = reverse_on_a_grid(t, x_t_value)
    mean = torch.trapezoid(x * density, x)
    variance = torch.trapezoid((x - mean) ** 2 * density, x)
    one = Mixture(
        torch.tensor([0.4, 0.6]).double(),
        torch.tensor([[-1.0], [1.2]]).double(),
        torch.tensor([[[0.1]], [[0.2]]]).double(),
    )
    exact, at = ExactDiffusion(one, schedule), torch.tensor([[x_t_value]], dtype=torch.float64)
    process = GaussianDiffusion(schedule)
    expected, tilde = process.posterior(exact.denoise(at, t), at, t, t - 1)
    weight = process.posterior_weights(t, t - 1)[0]
    assert_close(mean, expected[0, 0], 1e-9)
    assert_close(variance, tilde + weight**2 * exact.covariance(at, t)[0, 0, 0], 1e-9)


@proves("eq-fund-best-denoiser")
def best_denoiser() -> None:
    """The split of the squared error on a random table of (x_0, x_t), for a random guess f."""
    table = torch.rand(5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    table = table / table.sum()
    values, guess = normal(5, seed=4)[:, None], normal(4, seed=5)[None]
    best = (table * values).sum(0, keepdim=True) / table.sum(0, keepdim=True)
    error = (table * (values - guess) ** 2).sum()
    assert_close(error, (table * (values - best) ** 2).sum() + (table * (best - guess) ** 2).sum())


@proves("eq-fund-mixture-marginal")
def mixture_marginal() -> None:
    """The diffused mixture's density, against the library's, at random points."""
    start, schedule, t, x = mixture(), SCHEDULES[2], 23, normal(7, 2)
    a, b = schedule.alpha_bar[t].sqrt(), (1 - schedule.alpha_bar[t]).sqrt()
    parts = [
        weight.log()
        + torch.distributions.MultivariateNormal(a * mean, a**2 * covariance + b**2 * torch.eye(2).double()).log_prob(x)
        for weight, mean, covariance in zip(start.weights, start.means, start.covariances, strict=True)
    ]
    assert_close(torch.stack(parts).logsumexp(0), ExactDiffusion(start, schedule).log_prob(x, torch.tensor(t)))


@proves("eq-fund-mixture-denoiser")
def mixture_denoiser() -> None:
    """The weighted average of the components' estimates, against Tweedie's formula with the gradient taken by autograd."""
    start, schedule, t = mixture(), SCHEDULES[2], 23
    exact, x = ExactDiffusion(start, schedule), normal(7, 2).requires_grad_()
    a, b = schedule.alpha_bar[t].sqrt(), (1 - schedule.alpha_bar[t]).sqrt()
    eye = torch.eye(2).double()
    gains = [a * c @ torch.linalg.inv(a**2 * c + b**2 * eye) for c in start.covariances]
    estimates = torch.stack([m + (x - a * m) @ gain.T for m, gain in zip(start.means, gains, strict=True)], 1)
    formula = (exact.class_posterior(x, torch.tensor(t))[..., None] * estimates).sum(1)
    (score,) = torch.autograd.grad(exact.log_prob(x, torch.tensor(t)).sum(), x)
    assert_close(formula.detach(), ((x + b**2 * score) / a).detach(), 1e-11)


@proves("eq-fund-tweedie")
def tweedie() -> None:
    """The denoiser from the score of the exact mixture, for each schedule, the score by autograd."""
    for schedule in SCHEDULES:
        exact, t = ExactDiffusion(mixture(), schedule), torch.tensor(15)
        x = normal(9, 2).requires_grad_()
        (score,) = torch.autograd.grad(exact.log_prob(x, t).sum(), x)
        bar_t = schedule.alpha_bar[15]
        assert_close(exact.denoise(x, t).detach(), ((x + (1 - bar_t) * score) / bar_t.sqrt()).detach(), 1e-11)


@proves("eq-fund-error-no-root")
def no_root() -> None:
    """Noise scaled by beta in place of its root gives the variance beta squared."""
    beta = sp.symbols("beta", positive=True)
    z = sp.symbols("z", real=True)
    density = sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi)
    assert_zero(sp.integrate((beta * z) ** 2 * density, (z, -sp.oo, sp.oo)) - beta**2)


def as_table(alpha_bar: list[float]) -> TableSchedule:
    """A schedule from a list, for the exercises' solutions."""
    return TableSchedule(torch.tensor(alpha_bar, dtype=torch.float64))


@proves("eq-fund-ex-constant")
def constant_beta() -> None:
    """With a constant beta, alpha-bar is a power, and the number of steps follows."""
    beta, target = 0.02, 4e-5
    steps = math.ceil(math.log(target) / math.log(1 - beta))
    assert (1 - beta) ** steps <= target < (1 - beta) ** (steps - 1)
    schedule = as_table([(1 - beta) ** t for t in range(11)])
    assert_close(schedule.beta[1:], torch.full((10,), beta, dtype=torch.float64))
