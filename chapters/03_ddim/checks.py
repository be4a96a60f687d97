"""Checks of chapter 3's equations: algebra by SymPy, and the library's solvers on exact mixtures in float64."""

import itertools
import math

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from course_lib.diffusion import schedules
from course_lib.diffusion.continuous import VP
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.pages.proofs import assert_close, assert_zero, claim, defines, proves
from course_lib.sampling.inversion import invert, lerp, slerp
from course_lib.sampling.ode import angle, angle_heun, dpm_solver, velocity
from course_lib.sampling.steps import ddim
from course_lib.types import Schedule

SCHEDULE = schedules.linear(T=1000)
PROCESS = GaussianDiffusion(SCHEDULE)
PAIRS = ((1, 2), (10, 40), (200, 201), (300, 700), (900, 1000))  # s < t
SHARES = (0.0, 0.3, 0.7, 1.0)  # of the largest variance 1 - alpha_bar_s


def levels(s: int, t: int) -> tuple[float, float]:
    """alpha-bar at s and at t."""
    return float(SCHEDULE.alpha_bar[s]), float(SCHEDULE.alpha_bar[t])


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture() -> Mixture:
    """Two unequal bumps in the plane."""
    means = torch.tensor([[-0.9, 0.2], [0.7, -0.4]], dtype=torch.float64)
    covariances = torch.tensor([[[0.05, 0.02], [0.02, 0.1]], [[0.2, 0.0], [0.0, 0.04]]], dtype=torch.float64)
    return Mixture(torch.tensor([0.4, 0.6], dtype=torch.float64), means, covariances)


EXACT = ExactDiffusion(mixture(), SCHEDULE)
SMOOTH = ExactDiffusion(mixture(), VP())


@defines(
    "eq-ddim-loss",
    "eq-ddim-wanted",
    "eq-ddim-family",
    "eq-ddim-eta",
    "eq-ddim-rescaled",
    "eq-ddim-angle",
    "eq-ddim-lambda",
    "eq-ddim-slerp",
)
def definitions() -> None:
    """These recall the loss and its marginals, state what is wanted, and introduce the family, eta and the changes of variable."""


# --- the family ---------------------------------------------------------------------------------------------------------


@proves("eq-ddim-marginal")
def marginal() -> None:
    """The chain of chapter 2 has these marginals: means multiply, variances add up."""
    signal, variance = 1.0, 0.0
    for t in range(1, SCHEDULE.T + 1):
        beta = float(SCHEDULE.beta[t])
        signal, variance = math.sqrt(1 - beta) * signal, (1 - beta) * variance + beta
        assert_close(signal**2, SCHEDULE.alpha_bar[t])
        assert_close(variance, 1 - SCHEDULE.alpha_bar[t])


@proves("eq-ddim-blend", "eq-ddim-old-noise", "eq-ddim-induction")
def blend() -> None:
    """As a linear map of the independent (x_0, eps, z): the coefficient of x_0, and the variance of the rest, are the marginal's."""
    for s, t in PAIRS:
        now, then = levels(s, t)[1], levels(s, t)[0]
        for share in SHARES:
            variance = share * (1 - then)
            x_t = torch.tensor([math.sqrt(now), math.sqrt(1 - now), 0.0], dtype=torch.float64)  # on (x_0, eps, z)
            x_0, eps, z = torch.eye(3, dtype=torch.float64)
            old = (x_t - math.sqrt(now) * x_0) / math.sqrt(1 - now)
            assert_close(old, eps)
            x_s = math.sqrt(then) * x_0 + math.sqrt(1 - then - variance) * old + math.sqrt(variance) * z
            assert_close(x_s[0] ** 2, then)
            assert_close(x_s[1] ** 2 + x_s[2] ** 2, 1 - then)


@proves("eq-ddim-bridge")
def bridge() -> None:
    """The library's bridge has this mean and variance, for every eta."""
    x0, x_t = normal(4, 3), normal(4, 3, seed=1)
    for s, t in PAIRS:
        then, now = levels(s, t)
        for eta in (0.0, 0.4, 1.0):
            mean, variance = PROCESS.bridge(x0, x_t, torch.tensor(t), torch.tensor(s), eta)
            eps = (x_t - math.sqrt(now) * x0) / math.sqrt(1 - now)
            assert_close(variance, eta**2 * (1 - then) / (1 - now) * (1 - now / then), 1e-11)
            assert_close(mean, math.sqrt(then) * x0 + math.sqrt(1 - then - float(variance)) * eps, 1e-11)


@proves("eq-ddim-posterior-variance")
def posterior_variance() -> None:
    """For neighbours it is beta-tilde; for any pair, that of the posterior which Bayes' rule gives the chain."""
    for s, t in PAIRS:
        then, now = levels(s, t)
        step = 1 - now / then  # the variance of q(x_t | x_s)
        precision = 1 / (1 - then) + (now / then) / step  # of x_s: the prior's and the likelihood's add up
        assert_close(1 / precision, (1 - then) / (1 - now) * (1 - now / then))
        assert_close(PROCESS.posterior_weights(torch.tensor(t), torch.tensor(s))[2], 1 / precision, 1e-11)


THEN, NOW = sp.symbols("s t", positive=True)  # alpha-bar at s and at t, now < then < 1
TILDE = (1 - THEN) / (1 - NOW) * (1 - NOW / THEN)


@proves("eq-ddim-kept", "eq-ddim-ddpm-weight")
def ddpm_is_a_member() -> None:
    """SymPy; and the weight is that of x_t in the library's posterior."""
    left = 1 - THEN - TILDE
    assert_zero(left - (1 - THEN) / (1 - NOW) * ((1 - NOW) - 1 + NOW / THEN))
    assert_zero(left - (1 - THEN) / (1 - NOW) * NOW * (1 - THEN) / THEN)
    for s, t in PAIRS:
        then, now = levels(s, t)
        tilde = float(TILDE.subs({THEN: then, NOW: now}))
        weight = math.sqrt(now / then) * (1 - then) / (1 - now)
        assert_close(math.sqrt(1 - then - tilde) / math.sqrt(1 - now), weight, 1e-10)
        assert_close(PROCESS.posterior_weights(torch.tensor(t), torch.tensor(s))[1], weight)


@proves("eq-ddim-forward-bayes", "eq-ddim-forward-moments")
def forward_step() -> None:
    """The product of the densities on the right is the Gaussian with these moments; Markov only for DDPM's variance."""

    def log_normal(x: Tensor, mean: Tensor, variance: float) -> Tensor:
        return torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x)

    for s, t in PAIRS:
        then, now = levels(s, t)
        for share in (0.2, 0.6, 0.95):
            variance = share * (1 - then)
            x0, x_s, x_t = normal(5), normal(5, seed=1), normal(5, seed=2)
            kept = math.sqrt(1 - then - variance)
            back = math.sqrt(then) * x0 + kept * (x_t - math.sqrt(now) * x0) / math.sqrt(1 - now)
            right = (
                log_normal(x_s, back, variance)
                + log_normal(x_t, math.sqrt(now) * x0, 1 - now)
                - log_normal(x_s, math.sqrt(then) * x0, 1 - then)
            )
            mean = math.sqrt(now) * x0 + kept * math.sqrt(1 - now) / (1 - then) * (x_s - math.sqrt(then) * x0)
            assert_close(log_normal(x_t, mean, (1 - now) * variance / (1 - then)), right, 1e-9)
    forgets = sp.sqrt(1 - THEN - TILDE) * sp.sqrt(1 - NOW) * sp.sqrt(THEN) - sp.sqrt(NOW) * (1 - THEN)
    for then, now in ((0.9, 0.2), (0.99, 0.98), (0.3, 0.1)):
        assert abs(float(forgets.subs({THEN: then, NOW: now}))) < 1e-12


@proves("eq-ddim-mean-difference", "eq-ddim-kl")
def objective() -> None:
    """The bridge's means for the true and the guessed picture differ by kappa times the error of the noise."""
    x0, noise, error = normal(6, 3), normal(6, 3, seed=1), 0.1 * normal(6, 3, seed=2)
    for s, t in PAIRS:
        then, now = levels(s, t)
        x_t = math.sqrt(now) * x0 + math.sqrt(1 - now) * noise
        guess = (x_t - math.sqrt(1 - now) * (noise + error)) / math.sqrt(now)
        for eta in (0.5, 1.0):
            true, variance = PROCESS.bridge(x0, x_t, torch.tensor(t), torch.tensor(s), eta)
            guessed, _ = PROCESS.bridge(guess, x_t, torch.tensor(t), torch.tensor(s), eta)
            kappa = math.sqrt(then * (1 - now) / now) - math.sqrt(1 - then - float(variance))
            assert_close(true - guessed, -kappa * (noise - (noise + error)), 1e-10)
            deviation = float(variance.sqrt())
            divergence = torch.distributions.kl_divergence(
                torch.distributions.Normal(true, deviation), torch.distributions.Normal(guessed, deviation)
            ).sum(1)
            assert_close(divergence, kappa**2 / (2 * float(variance)) * error.square().sum(1), 1e-8)


# --- the algorithm ------------------------------------------------------------------------------------------------------


@proves("eq-ddim-x0-hat", "eq-ddim-update")
def update() -> None:
    """The library's step, with its noise fixed, written out with the exact denoiser of a mixture."""
    x_t, z = normal(5, 2), normal(5, 2, seed=1)
    for s, t in PAIRS:
        then, now = levels(s, t)
        eps = EXACT.eps(x_t, torch.tensor(t))
        x0 = (x_t - math.sqrt(1 - now) * eps) / math.sqrt(now)
        assert_close(x0, EXACT.denoise(x_t, torch.tensor(t)), 1e-10)
        for eta in (0.0, 0.5, 1.0):
            variance = eta**2 * (1 - then) / (1 - now) * (1 - now / then)
            written = math.sqrt(then) * x0 + math.sqrt(1 - then - variance) * eps + math.sqrt(variance) * z
            step = ddim(EXACT.denoise, PROCESS, eta, noise=lambda x: z)
            assert_close(step(x_t, torch.tensor(t), torch.tensor(s)), written, 1e-10)


@proves("eq-ddim-one-step")
def one_step() -> None:
    """From T to 0 at once, DDIM returns the denoiser's answer, which is close to the mean of the data."""
    x = normal(200, 2)
    landed = ddim(EXACT.denoise, PROCESS)(x, torch.tensor(1000), torch.tensor(0))
    assert_close(landed, EXACT.denoise(x, torch.tensor(1000)), 1e-11)
    assert_close(landed, mixture().mean().expand(200, 2), 0.03)


# --- Euler --------------------------------------------------------------------------------------------------------------


def rescaled(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma-bar, noise over signal."""
    return schedule.noise(t) / schedule.signal(t)


@proves("eq-ddim-euler")
def euler_step() -> None:
    """DDIM's step, divided by the signal."""
    x_t = normal(5, 2)
    for s, t in PAIRS:
        s, t = torch.tensor(s), torch.tensor(t)
        left = ddim(EXACT.denoise, PROCESS)(x_t, t, s) / SCHEDULE.signal(s)
        slope = rescaled(SCHEDULE, s) - rescaled(SCHEDULE, t)
        assert_close(left, x_t / SCHEDULE.signal(t) + slope * EXACT.eps(x_t, t), 1e-10)


@proves("eq-ddim-ode")
def ode() -> None:
    """By the chain rule from the library's dx/dt: (x/a)' = (x' - x a'/a) / a, divided by sigma-bar'."""
    x_t = normal(5, 2)
    for time in (0.1, 0.4, 0.8):
        t = torch.tensor(time, dtype=torch.float64)
        (a, bar), (a_rate, bar_rate) = torch.func.jvp(
            lambda t: (VP().signal(t), rescaled(VP(), t)), (t,), (torch.ones_like(t),)
        )
        left = (velocity(SMOOTH.denoise, VP())(x_t, t) - x_t * a_rate / a) / a / bar_rate
        assert_close(left, SMOOTH.eps(x_t, t), 1e-10)
        assert_close(a, 1 / (1 + bar**2).sqrt())


def slope(bar_x: Tensor, bar: Tensor) -> Tensor:
    """The right-hand side of eq-ddim-ode at a noise level, for a mixture: eps at signal 1 and noise sigma-bar."""
    noised = mixture()
    log_joint = torch.stack(
        [
            w.log() + torch.distributions.MultivariateNormal(m, c + bar**2 * torch.eye(2)).log_prob(bar_x)
            for w, m, c in zip(noised.weights, noised.means, noised.covariances, strict=True)
        ]
    ).softmax(0)
    eps = torch.stack(
        [
            bar * torch.linalg.solve(c + bar**2 * torch.eye(2, dtype=torch.float64), (bar_x - m).T).T
            for m, c in zip(noised.means, noised.covariances, strict=True)
        ]
    )
    return (log_joint[:, :, None] * eps).sum(0)


def follow(bar_x: Tensor, start: float, end: float, steps: int = 400) -> Tensor:
    """The ODE solved by the classical Runge-Kutta method of order 4."""
    h = (end - start) / steps
    for k in range(steps):
        bar = torch.tensor(start + k * h, dtype=torch.float64)
        one = slope(bar_x, bar)
        two = slope(bar_x + h / 2 * one, bar + h / 2)
        three = slope(bar_x + h / 2 * two, bar + h / 2)
        four = slope(bar_x + h * three, bar + h)
        bar_x = bar_x + h / 6 * (one + 2 * two + 2 * three + four)
    return bar_x


@proves("eq-ddim-local-error")
def local_error() -> None:
    """Euler's error minus h^2/2 times the slope's derivative along the path falls like h^3."""
    bar_x, bar = normal(4, 2), torch.tensor(0.8, dtype=torch.float64)
    here = slope(bar_x, bar)
    along = torch.func.jvp(slope, (bar_x, bar), (here, torch.ones_like(bar)))[1]
    rest = []
    for h in (-0.04, -0.02):
        error = follow(bar_x, 0.8, 0.8 + h, 20) - (bar_x + h * here)
        rest.append(float((error - h**2 / 2 * along).norm()))
        assert rest[-1] < 0.2 * float(error.norm())
    assert 6.5 < rest[0] / rest[1] < 9.5, f"halving h divides the rest by {rest[0] / rest[1]:.2f}, not by 8"


X, C, BAR, M, S = sp.symbols("x c sigma m s", positive=True)


@proves("eq-ddim-point")
def point() -> None:
    """SymPy: the total derivative along the path, with dx/dsigma = eps = (x - c)/sigma."""
    eps = (X - C) / BAR
    total = sp.diff(eps, BAR) + sp.diff(eps, X) * eps
    assert_zero(total)
    assert_zero(total - (eps * BAR - (X - C)) / BAR**2)


@proves("eq-ddim-gaussian-path")
def gaussian_path() -> None:
    """SymPy: the hyperbola solves the equation; and the guess of the noise is the library's for one Gaussian."""
    start, x_start = sp.symbols("sigma_T x_T", positive=True)
    path = M + (x_start - M) * sp.sqrt((S**2 + BAR**2) / (S**2 + start**2))
    assert_zero(sp.diff(path, BAR) - BAR * (path - M) / (S**2 + BAR**2))
    assert_zero(path.subs(BAR, start) - x_start)
    one = Mixture(
        torch.ones(1, dtype=torch.float64),
        torch.full((1, 1), 0.7, dtype=torch.float64),
        torch.full((1, 1, 1), 0.09, dtype=torch.float64),
    )
    x, t = normal(6, 1), torch.tensor(0.4, dtype=torch.float64)
    a, bar = VP().signal(t), rescaled(VP(), t)
    assert_close(ExactDiffusion(one, VP()).eps(x, t), bar * (x / a - 0.7) / (0.09 + bar**2), 1e-11)


# --- the angle, and Heun's method ---------------------------------------------------------------------------------------

PHI, PSI = sp.symbols("phi psi", positive=True)
X0, EPS = sp.symbols("x_0 epsilon", real=True)


@proves("eq-ddim-angle-ode")
def angle_ode() -> None:
    """SymPy: each line; and the library's velocity in t is v times dphi/dt."""
    bar = X0 + sp.tan(PHI) * EPS
    first = -sp.sin(PHI) * bar + sp.cos(PHI) * EPS / sp.cos(PHI) ** 2
    assert_zero(first - (-sp.sin(PHI) * X0 + sp.cos(PHI) * EPS))
    x_t = normal(5, 2)
    for time in (0.1, 0.5, 0.9):
        t = torch.tensor(time, dtype=torch.float64)

        def phi(t):
            return torch.atan2(VP().noise(t), VP().signal(t))

        rate = torch.func.jvp(phi, (t,), (torch.ones_like(t),))[1]
        v = VP().signal(t) * SMOOTH.eps(x_t, t) - VP().noise(t) * SMOOTH.denoise(x_t, t)
        assert_close(velocity(SMOOTH.denoise, VP())(x_t, t), v * rate, 1e-9)


@proves("eq-ddim-rotation")
def rotation() -> None:
    """SymPy's addition theorems; and the library's DDIM."""
    x_t = sp.cos(PHI) * X0 + sp.sin(PHI) * EPS
    v_t = -sp.sin(PHI) * X0 + sp.cos(PHI) * EPS
    turned = sp.cos(PSI - PHI) * x_t + sp.sin(PSI - PHI) * v_t
    assert_zero(sp.expand_trig(turned) - (sp.cos(PSI) * X0 + sp.sin(PSI) * EPS))
    x = normal(5, 2)
    for s, t in PAIRS:
        s, t = torch.tensor(s), torch.tensor(t)
        a, b = SCHEDULE.signal(t), SCHEDULE.noise(t)
        turn = torch.atan2(SCHEDULE.noise(s), SCHEDULE.signal(s)) - torch.atan2(b, a)
        v = a * EXACT.eps(x, t) - b * EXACT.denoise(x, t)
        assert_close(ddim(EXACT.denoise, PROCESS)(x, t, s), turn.cos() * x + turn.sin() * v, 1e-10)


@proves("eq-ddim-heun")
def heun() -> None:
    """The library's step, written out."""
    x = normal(5, 2)

    def v(x: Tensor, t: Tensor) -> Tensor:
        return SCHEDULE.signal(t) * EXACT.eps(x, t) - SCHEDULE.noise(t) * EXACT.denoise(x, t)

    for s, t in PAIRS:
        s, t = torch.tensor(s), torch.tensor(t)
        turn = torch.acos(SCHEDULE.signal(s)) - torch.acos(SCHEDULE.signal(t))
        trial = turn.cos() * x + turn.sin() * v(x, t)
        assert_close(angle_heun(EXACT.denoise, SCHEDULE)(x, t, s), x + turn / 2 * (v(x, t) + v(trial, s)), 1e-9)


# --- DPM-Solver++ -------------------------------------------------------------------------------------------------------

LAM, H = sp.symbols("lambda h", positive=True)


@proves("eq-ddim-exponential")
def exponential() -> None:
    """SymPy: the derivative of x-bar e^lambda, where x-bar moves by -e^-lambda eps."""
    bar = sp.Function("xbar")(LAM)
    derivative = sp.diff(bar * sp.exp(LAM), LAM).subs(sp.diff(bar, LAM), -sp.exp(-LAM) * EPS)
    assert_zero(derivative - (sp.exp(LAM) * bar - EPS))
    assert_zero(derivative - sp.exp(LAM) * (bar - sp.exp(-LAM) * EPS))


@proves("eq-ddim-integral")
def integral() -> None:
    """On one Gaussian N(0, s^2) the path is known (eq-ddim-gaussian-path) and so is the guess; SymPy differentiates both sides.

    Both are 0 for equal limits, so equal derivatives in the upper limit make them equal.
    """
    path = sp.sqrt(S**2 + sp.exp(-2 * LAM))  # x-bar, up to a constant factor
    guess = path * S**2 / (S**2 + sp.exp(-2 * LAM))
    assert_zero(sp.diff(path * sp.exp(LAM), LAM) - sp.exp(LAM) * guess)


@proves("eq-ddim-first-order")
def first_order() -> None:
    """DDIM's step in its third form."""
    x = normal(5, 2)
    for s, t in PAIRS:
        s, t = torch.tensor(s), torch.tensor(t)
        (a_s, b_s), (a_t, b_t) = ((SCHEDULE.signal(n), SCHEDULE.noise(n)) for n in (s, t))
        h = (a_s / b_s).log() - (a_t / b_t).log()
        assert_close((-h).exp(), a_t * b_s / (a_s * b_t), 1e-11)
        written = b_s / b_t * x + a_s * (1 - (-h).exp()) * EXACT.denoise(x, t)
        assert_close(ddim(EXACT.denoise, PROCESS)(x, t, s), written, 1e-10)


@proves("eq-ddim-line")
def line() -> None:
    """The line passes through both answers."""
    now, before, t, r = sp.symbols("D_t D_r lambda_t lambda_r")
    through = now + (LAM - t) * (now - before) / (t - r)
    assert_zero(through.subs(LAM, t) - now)
    assert_zero(through.subs(LAM, r) - before)


@proves("eq-ddim-line-integral")
def line_integral() -> None:
    """SymPy: the integral, and the expansion to order 2 in h."""
    start = sp.Symbol("lambda_t", real=True)
    inside = sp.integrate(sp.exp(LAM) * (LAM - start), (LAM, start, start + H)) * sp.exp(-(start + H))
    assert_zero(inside - (H - 1 + sp.exp(-H)))
    difference = sp.series(H - 1 + sp.exp(-H) - H / 2 * (1 - sp.exp(-H)), H, 0, 4).removeO()
    assert_zero(difference - H**3 / 12)


@proves("eq-ddim-2m")
def second_order() -> None:
    """The library's second step after a first one, written out."""
    x = normal(5, 2)
    for r, t, s in ((1000, 900, 700), (500, 420, 400), (60, 20, 1)):
        r, t, s = (torch.tensor(n) for n in (r, t, s))
        step = dpm_solver(EXACT.denoise, SCHEDULE)
        x_t = step(x, r, t)

        def level(n):
            return (SCHEDULE.signal(n) / SCHEDULE.noise(n)).log()

        h = level(s) - level(t)
        now, before = EXACT.denoise(x_t, t), EXACT.denoise(x, r)
        bracket = now + h / (2 * (level(t) - level(r))) * (now - before)
        written = SCHEDULE.noise(s) / SCHEDULE.noise(t) * x_t + SCHEDULE.signal(s) * (1 - (-h).exp()) * bracket
        assert_close(step(x_t, t, s), written, 1e-10)


# --- codes --------------------------------------------------------------------------------------------------------------


@proves("eq-ddim-inverse")
def inverse() -> None:
    """It is eq-ddim-rotation, solved for x_t; and the library's fixed point satisfies it."""
    x_s = normal(5, 2)
    for s, t in ((0, 1), (1, 2), (10, 12), (200, 201), (400, 430), (900, 1000)):  # a long step need not have an inverse
        s, t = torch.tensor(s), torch.tensor(t)
        x_t = invert(EXACT.denoise, SCHEDULE, x_s, torch.stack([t, s]), 200)
        turn = angle(SCHEDULE, t) - angle(SCHEDULE, s)
        v = SCHEDULE.signal(t) * EXACT.eps(x_t, t) - SCHEDULE.noise(t) * EXACT.denoise(x_t, t)
        assert_close(x_t, (x_s + turn.sin() * v) / turn.cos(), 1e-9)
        assert_close(ddim(EXACT.denoise, PROCESS)(x_t, t, s), x_s, 1e-9)


@proves("eq-ddim-lerp", "eq-ddim-slerp-variance")
def variances() -> None:
    """The weights' squares, and the library's two ways between orthogonal unit vectors."""
    u = sp.Symbol("u", real=True)
    assert_zero(sp.expand((1 - u) ** 2 + u**2 - 2 * (u - sp.Rational(1, 2)) ** 2 - sp.Rational(1, 2)))
    a, b = torch.eye(2, dtype=torch.float64).split(1)
    shares = torch.linspace(0, 1, 7, dtype=torch.float64)
    assert_close(lerp(a, b, shares).square().sum((1, 2)), (1 - shares) ** 2 + shares**2)
    turned = slerp(a, b, shares)[:, 0]
    assert_close(turned[:, 0], torch.cos(math.pi / 2 * shares))
    assert_close(turned[:, 1], torch.sin(math.pi / 2 * shares))
    assert_close(turned.square().sum(1), torch.ones(7))


# --- the bound without a Markov property, and the error of many steps ---------------------------------------------------


@proves("eq-ddim-bound")
def bound_of_the_family() -> None:
    """Random tables for given x_0: the bound summed over all paths, against the divergences one by one."""
    for seed in range(5):
        rng, states, n = np.random.default_rng(seed), 3, 3
        rows = lambda *shape, rng=rng: rng.dirichlet(np.ones(shape[-1]), shape[:-1])  # noqa: E731
        end, prior, x0 = rows(states), rows(states), int(rng.integers(states))
        q = {i: rows(states, states) for i in range(2, n + 1)}  # q[i][x_i, x_{i-1}], given x_0
        p = {i: rows(states, states) for i in range(1, n + 1)}
        total, marginal = 0.0, {n: end}
        for i in range(n, 1, -1):
            marginal[i - 1] = marginal[i] @ q[i]
        for path in itertools.product(range(states), repeat=n):
            x = (x0, *path)
            chance = end[x[n]] * math.prod(q[i][x[i], x[i - 1]] for i in q)
            model = prior[x[n]] * math.prod(p[i][x[i], x[i - 1]] for i in p)
            total -= chance * math.log(model / chance)
        ends = (end * np.log(end / prior)).sum()
        steps = sum(marginal[i] @ (q[i] * np.log(q[i] / p[i])).sum(1) for i in q)
        last = marginal[1] @ np.log(p[1][:, x0])
        assert_close(total, claim(ends + steps - last))


@proves("eq-ddim-global-error")
def global_error() -> None:
    """Follow the recursion where it is an equality; the last bound is above it, and reached for small steps."""
    for K, C, h, n in ((2.0, 0.7, 0.1, 10), (0.5, 3.0, 0.01, 300), (1.5, 2.0, 1e-5, 100_000)):
        e = 0.0
        for _ in range(n):
            e = (1 + K * h) * e + C * h**2
        assert_close(e, claim(C * h**2 * ((1 + K * h) ** n - 1) / (K * h)), 1e-9)
        bound = claim(C / K * (math.exp(K * n * h) - 1) * h)
        assert e <= bound * (1 + 1e-9)
        assert h > 1e-4 or e > 0.999 * bound
