"""Checks of chapter 3's equations: algebra by SymPy, and the library's solvers on exact mixtures in float64."""

import functools
import itertools
import math

import numpy as np
import sympy as sp
import torch
from scipy.integrate import simpson, solve_ivp
from torch import Tensor

from course_lib.diffusion import schedules
from course_lib.diffusion.continuous import VP
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import log_snr
from course_lib.pages.proofs import assert_close, assert_zero, claim, defines, equivalent, proves, pushed
from course_lib.sampling.inversion import invert, lerp, slerp
from course_lib.sampling.ode import angle, angle_heun, dpm_solver, velocity
from course_lib.sampling.steps import ddim
from course_lib.types import Schedule

SCHEDULE = schedules.linear(T=1000)
PUSHED = pushed(SCHEDULE.beta[1:].tolist())
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


@defines("eq-ddim-loss", "eq-ddim-wanted", "eq-ddim-family", "eq-ddim-rescaled")
def definitions() -> None:
    """These recall the loss, state what is wanted, and name the family and the rescaled state."""


@defines("eq-ddim-angle", "eq-ddim-lambda", "eq-ddim-eta", "eq-ddim-slerp")
def library_definitions() -> None:
    """The library's angle, log-SNR, variance and slerp are the ones defined."""
    for s, t in PAIRS:
        now = levels(s, t)[1]
        phi, lam = float(angle(SCHEDULE, torch.tensor(t))), float(log_snr(SCHEDULE, torch.tensor(t))) / 2
        a, b = math.sqrt(now), math.sqrt(1 - now)
        assert_close(a, claim(math.cos(phi), "eq-ddim-angle"), 1e-9)
        assert_close(b, claim(math.sin(phi), "eq-ddim-angle"), 1e-9)
        assert_close(b / a, claim(math.tan(phi), "eq-ddim-angle"), 1e-9)
        assert_close(lam, claim(math.log(a / b), "eq-ddim-lambda"), 1e-9)
        assert_close(b / a, claim(math.exp(-lam), "eq-ddim-lambda"), 1e-9)
        tilde = float(PROCESS.posterior_weights(torch.tensor(t), torch.tensor(s))[2])
        for eta in (0.0, 0.4, 1.0):
            _, variance = PROCESS.bridge(normal(1, 1), normal(1, 1), torch.tensor(t), torch.tensor(s), eta)
            assert_close(float(variance) ** 0.5, claim(eta * math.sqrt(tilde), "eq-ddim-eta"), 1e-9)
    omega, u = 1.1, 0.3
    one = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    other = torch.tensor([[math.cos(omega), math.sin(omega)]], dtype=torch.float64)
    page = claim(
        math.sin((1 - u) * omega) / math.sin(omega) * one + math.sin(u * omega) / math.sin(omega) * other,
        "eq-ddim-slerp",
    )
    assert_close(slerp(one, other, torch.tensor([u], dtype=torch.float64))[0], page, 1e-9)


# --- the family ---------------------------------------------------------------------------------------------------------


@proves("eq-ddim-marginal")
def marginal() -> None:
    """The chain of chapter 2 has these marginals: means multiply, variances add up."""
    alpha, alpha_bar = SCHEDULE.alpha, SCHEDULE.alpha_bar
    for t in (1, 2, 10, 300, 1000):
        signal, variance = PUSHED[t]
        assert float(alpha[t]) != float(alpha_bar[t]) or t == 1
        assert_close(signal, claim(alpha_bar[t].sqrt()))
        assert_close(variance, claim(1 - alpha_bar[t]))


X_0, EPSILON, Z = torch.eye(
    3, dtype=torch.float64
)  # x_0, eps and z, which are independent, as coordinates of linear maps


@equivalent(
    "math.sqrt(1 - then - variance) * EPSILON - math.sqrt(variance) * Z",
    because="the new noise is symmetric, so its sign does not matter",
)
@proves("eq-ddim-blend", "eq-ddim-old-noise", "eq-ddim-induction")
def blend() -> None:
    """As linear maps of the independent (x_0, eps, z): the coefficient of x_0, and the variance of the rest, are the marginal's."""
    for s, t in PAIRS:
        then, now = levels(s, t)
        for share in SHARES:
            variance = share * (1 - then)
            x_t = math.sqrt(now) * X_0 + math.sqrt(1 - now) * EPSILON
            old = claim((x_t - math.sqrt(now) * X_0) / math.sqrt(1 - now), "eq-ddim-old-noise")
            assert_close(old, EPSILON)
            new = claim(math.sqrt(1 - then - variance) * EPSILON + math.sqrt(variance) * Z, "eq-ddim-blend")
            assert_close(new.square().sum(), 1 - then)
            assert_close(new[2] ** 2, variance)
            kept, sigma = math.sqrt(1 - then - variance), math.sqrt(variance)
            x_s = math.sqrt(then) * X_0 + kept * old + sigma * Z
            noise = math.sqrt(1 - now)
            first = claim(math.sqrt(then) * X_0 + kept * (noise * EPSILON) / noise + sigma * Z, "eq-ddim-induction")
            second = claim(kept * EPSILON + sigma * Z, "eq-ddim-induction")
            assert_close(first, x_s)
            assert_close(second, x_s - x_s * X_0)
            assert_close(x_s[0], math.sqrt(then))
            assert_close(x_s[1:].square().sum(), claim((1 - then - variance) + variance, "eq-ddim-induction"))
            assert_close(x_s[1:].square().sum(), 1 - then)


@proves("eq-ddim-bridge")
def bridge() -> None:
    """The only mean that is linear, keeps the old noise's sign and gives x_s its marginal; and the library's, for every eta."""
    for s, t in PAIRS:
        then, now = levels(s, t)
        for eta in (0.0, 0.4, 1.0):
            variance = eta**2 * (1 - then) / (1 - now) * (1 - now / then)

            def mean(x_0, x_t, then=then, now=now, variance=variance):
                return claim(
                    math.sqrt(then) * x_0
                    + math.sqrt(1 - then - variance) * (x_t - math.sqrt(now) * x_0) / math.sqrt(1 - now)
                )

            from_x0, from_xt = mean(1.0, 0.0), mean(0.0, 1.0)
            assert_close(from_x0 + from_xt * math.sqrt(now), math.sqrt(then), 1e-10)
            assert_close(from_xt**2 * (1 - now), claim(1 - then - variance), 1e-10)
            assert from_xt > 0
            x0, x_t = normal(4, 3), normal(4, 3, seed=1)
            library_mean, library_variance = PROCESS.bridge(x0, x_t, torch.tensor(t), torch.tensor(s), eta)
            assert_close(library_mean, mean(x0, x_t), 1e-10)
            assert_close(library_variance, variance, 1e-10)


@proves("eq-ddim-posterior-variance")
def posterior_variance() -> None:
    """For any pair, that of the posterior which Bayes' rule gives the chain: precisions add up; and the library's."""
    for s, t in PAIRS:
        then, now = levels(s, t)
        step = 1 - now / then  # the variance of q(x_t | x_s)
        precision = 1 / (1 - then) + (now / then) / step  # of x_s: the prior's and the likelihood's
        assert_close(1 / precision * 1e4, 1e4 * claim((1 - then) / (1 - now) * (1 - now / then)), 1e-7)
        assert_close(PROCESS.posterior_weights(torch.tensor(t), torch.tensor(s))[2], 1 / precision, 1e-11)


THEN, NOW = sp.symbols("s t", positive=True)  # alpha-bar at s and at t, now < then < 1
TILDE = (1 - THEN) / (1 - NOW) * (1 - NOW / THEN)


@proves("eq-ddim-kept", "eq-ddim-ddpm-weight")
def ddpm_is_a_member() -> None:
    """SymPy; and the weight is that of x_t in the library's posterior."""
    left = 1 - THEN - TILDE
    assert_zero(left - claim((1 - THEN) / (1 - NOW) * ((1 - NOW) - 1 + NOW / THEN), "eq-ddim-kept"))
    assert_zero(left - claim((1 - THEN) / (1 - NOW) * (NOW * (1 - THEN) / THEN), "eq-ddim-kept"))
    for s, t in PAIRS:
        then, now = levels(s, t)
        tilde = float(TILDE.subs({THEN: then, NOW: now}))
        weight = claim(math.sqrt(now / then) * (1 - then) / (1 - now), "eq-ddim-ddpm-weight")
        assert_close(math.sqrt(1 - then - tilde) / math.sqrt(1 - now), weight, 1e-10)
        assert_close(PROCESS.posterior_weights(torch.tensor(t), torch.tensor(s))[1], weight)


def gaussian(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """N(x; mean, variance), number by number."""
    return torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x).exp()


@proves("eq-ddim-forward-bayes", "eq-ddim-forward-moments")
def forward_step() -> None:
    """Condition the joint Gaussian of x_t and x_s, given x_0, on x_s; Markov only for DDPM's variance."""
    for s, t in PAIRS[2:]:
        then, now = levels(s, t)
        for share in (0.2, 0.6, 0.95):
            variance = share * (1 - then)
            kept = math.sqrt(1 - then - variance)
            x_t_map, x_s_map = math.sqrt(1 - now) * EPSILON, kept * EPSILON + math.sqrt(variance) * Z
            x_0, x_s, x_t = normal(5), normal(5, seed=1), normal(5, seed=2)
            gain = float(x_t_map @ x_s_map / (x_s_map @ x_s_map))
            mean = math.sqrt(now) * x_0 + gain * (x_s - math.sqrt(then) * x_0)
            spread = float(x_t_map @ x_t_map - gain * (x_t_map @ x_s_map))
            noise = math.sqrt(1 - now)
            page = claim(
                math.sqrt(now) * x_0 + kept * noise / (1 - then) * (x_s - math.sqrt(then) * x_0),
                "eq-ddim-forward-moments",
            )
            assert_close(mean, page, 1e-10)
            assert_close(spread, claim((1 - now) * variance / (1 - then), "eq-ddim-forward-moments"), 1e-10)
            back = gaussian(x_s, math.sqrt(then) * x_0 + kept * (x_t - math.sqrt(now) * x_0) / noise, variance)
            before, after = gaussian(x_t, math.sqrt(now) * x_0, 1 - now), gaussian(x_s, math.sqrt(then) * x_0, 1 - then)
            assert_close(gaussian(x_t, mean, spread), claim(back * before / after, "eq-ddim-forward-bayes"), 1e-9)
    forgets = sp.sqrt(1 - THEN - TILDE) * sp.sqrt(1 - NOW) * sp.sqrt(THEN) - sp.sqrt(NOW) * (1 - THEN)
    for then, now in ((0.9, 0.2), (0.99, 0.98), (0.3, 0.1)):
        assert abs(float(forgets.subs({THEN: then, NOW: now}))) < 1e-12


@proves("eq-ddim-mean-difference", "eq-ddim-kl")
def objective() -> None:
    """The library's bridges for the true and the guessed picture: the difference of their means, and torch's divergence."""
    x0, noise, error = normal(6, 3), normal(6, 3, seed=1), 0.1 * normal(6, 3, seed=2)
    for s, t in PAIRS[1:]:
        then, now = levels(s, t)
        x_t = math.sqrt(now) * x0 + math.sqrt(1 - now) * noise
        predicted = noise + error
        guess = (x_t - math.sqrt(1 - now) * predicted) / math.sqrt(now)
        for eta in (0.5, 1.0):
            true, spread = PROCESS.bridge(x0, x_t, torch.tensor(t), torch.tensor(s), eta)
            guessed, _ = PROCESS.bridge(guess, x_t, torch.tensor(t), torch.tensor(s), eta)
            variance, deviation = float(spread), float(spread.sqrt())
            kept = math.sqrt(1 - then - variance)
            first = claim(
                (math.sqrt(then) - kept * math.sqrt(now) / math.sqrt(1 - now)) * (x0 - guess), "eq-ddim-mean-difference"
            )
            kappa = claim(math.sqrt(then * (1 - now) / now) - math.sqrt(1 - then - variance), "eq-ddim-mean-difference")
            assert_close((true - guessed) / kappa, first / kappa, 1e-8)
            assert_close(
                (true - guessed) / deviation,
                claim(-kappa * (noise - predicted), "eq-ddim-mean-difference") / deviation,
                1e-8,
            )
            divergence = torch.distributions.kl_divergence(
                torch.distributions.Normal(true, deviation), torch.distributions.Normal(guessed, deviation)
            ).sum(1)
            square = (noise - predicted).square().sum(1)
            assert_close(divergence / square, claim(kappa**2 / (2 * variance) * square, "eq-ddim-kl") / square, 1e-8)


# --- the algorithm ------------------------------------------------------------------------------------------------------


@functools.cache
def answers_at(t: int) -> tuple[Tensor, Tensor, Tensor]:
    """A state, and the exact noise and picture of the mixture there."""
    x_t = normal(5, 2)
    return x_t, EXACT.eps(x_t, torch.tensor(t)), EXACT.denoise(x_t, torch.tensor(t))


@proves("eq-ddim-x0-hat", "eq-ddim-update")
def update() -> None:
    """The bridge towards the guessed picture, with the noise fixed, and the library's step, for the exact denoiser of a mixture."""
    z = normal(5, 2, seed=1)
    for s, t in PAIRS:
        then, now = levels(s, t)
        x_t, eps, picture = answers_at(t)
        assert_close(picture, claim((x_t - math.sqrt(1 - now) * eps) / math.sqrt(now), "eq-ddim-x0-hat"), 1e-10)
        for eta in (0.0, 0.5, 1.0):
            mean, spread = PROCESS.bridge(picture, x_t, torch.tensor(t), torch.tensor(s), eta)
            variance, sigma = float(spread), float(spread.sqrt())
            page = claim(math.sqrt(then) * picture + math.sqrt(1 - then - variance) * eps + sigma * z, "eq-ddim-update")
            assert_close(mean + spread.sqrt() * z, page, 1e-10)
            step = ddim(EXACT.denoise, PROCESS, eta, noise=lambda x: z)
            assert_close(step(x_t, torch.tensor(t), torch.tensor(s)), page, 1e-10)


@proves("eq-ddim-one-step")
def one_step() -> None:
    """From T to 0 at once, DDIM returns the denoiser's answer, which is close to the mean of the data."""
    x, T = normal(200, 2), torch.tensor(1000)
    landed = ddim(EXACT.denoise, PROCESS)(x, T, torch.tensor(0))
    eps, signal, noise = EXACT.eps(x, T), SCHEDULE.signal(T), SCHEDULE.noise(T)
    assert_close(landed, claim((x - noise * eps) / signal), 1e-9)
    assert_close(landed, mixture().mean().expand(200, 2), 0.03)


# --- Euler --------------------------------------------------------------------------------------------------------------


def rescaled(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma-bar, noise over signal."""
    return schedule.noise(t) / schedule.signal(t)


@proves("eq-ddim-euler")
def euler_step() -> None:
    """DDIM's step, divided by the signal."""
    for s, t in PAIRS:
        x_t, eps, picture = answers_at(t)
        s, t = torch.tensor(s), torch.tensor(t)
        left = ddim(EXACT.denoise, PROCESS)(x_t, t, s) / SCHEDULE.signal(s)
        after, before, x_bar = rescaled(SCHEDULE, s), rescaled(SCHEDULE, t), x_t / SCHEDULE.signal(t)
        assert_close(left, claim(picture + after * eps), 1e-10)
        assert_close(left, claim(x_bar + (after - before) * eps), 1e-10)


@functools.cache
def rescaled_velocity(time: float) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, and by the chain rule from the library's dx/dt: (x/a)' / sigma-bar' with (x/a)' = (x' - x a'/a) / a; and sigma-bar."""
    x_t, t = normal(5, 2), torch.tensor(time, dtype=torch.float64)
    (a, bar), (a_rate, bar_rate) = torch.func.jvp(
        lambda t: (VP().signal(t), rescaled(VP(), t)), (t,), (torch.ones_like(t),)
    )
    return x_t, (velocity(SMOOTH.denoise, VP())(x_t, t) - x_t * a_rate / a) / a / bar_rate, bar


@proves("eq-ddim-ode")
def ode() -> None:
    """By the chain rule from the library's dx/dt; and x_t is x-bar times the signal that belongs to sigma-bar."""
    for time in (0.1, 0.4, 0.8):
        x_t, left, bar = rescaled_velocity(time)
        t = torch.tensor(time, dtype=torch.float64)
        assert_close(left, claim(SMOOTH.eps(x_t, t)), 1e-10)
        x_bar = x_t / VP().signal(t)
        assert_close(x_t, claim(x_bar / (1 + bar**2).sqrt()), 1e-10)


def slope(bar_x: Tensor, bar: Tensor) -> Tensor:
    """The right-hand side of eq-ddim-ode at a noise level, for a mixture: eps at signal 1 and noise sigma-bar."""
    covariances = EXACT.mixture.covariances + bar**2 * torch.eye(2, dtype=torch.float64)  # (K, 2, 2)
    deviations = bar_x - EXACT.mixture.means[:, None]  # (K, N, 2)
    solved = torch.linalg.solve(covariances, deviations.mT).mT
    exponents = -(deviations * solved).sum(-1) / 2 - torch.logdet(covariances)[:, None] / 2
    share = (EXACT.mixture.weights.log()[:, None] + exponents).softmax(0)
    return (share[:, :, None] * bar * solved).sum(0)


@functools.cache
def moved(h: float, steps: int = 20) -> Tensor:
    """The ODE solved from sigma-bar = 0.8 to 0.8 + h by the classical Runge-Kutta method of order 4."""
    bar_x = normal(4, 2)
    for k in range(steps):
        bar, d = torch.tensor(0.8 + k * h / steps, dtype=torch.float64), h / steps
        one = slope(bar_x, bar)
        two = slope(bar_x + d / 2 * one, bar + d / 2)
        three = slope(bar_x + d / 2 * two, bar + d / 2)
        four = slope(bar_x + d * three, bar + d)
        bar_x = bar_x + d / 6 * (one + 2 * two + 2 * three + four)
    return bar_x


@functools.cache
def slopes() -> tuple[Tensor, Tensor]:
    """The slope at sigma-bar = 0.8, and its derivative along the path, by automatic differentiation."""
    bar_x, bar = normal(4, 2), torch.tensor(0.8, dtype=torch.float64)
    here = slope(bar_x, bar)
    return here, torch.func.jvp(slope, (bar_x, bar), (here, torch.ones_like(bar)))[1]


@proves("eq-ddim-local-error")
def local_error() -> None:
    """Euler's error minus h^2/2 times the slope's derivative along the path falls like h^3."""
    bar_x, (here, along), rest = normal(4, 2), slopes(), []
    for h in (-0.04, -0.02):
        error = moved(h) - claim(bar_x + h * here)
        rest.append(float((error - claim(h**2 / 2 * along)).norm()))
        assert rest[-1] < 0.2 * float(error.norm())
    assert 6.5 < rest[0] / rest[1] < 9.5, f"halving h divides the rest by {rest[0] / rest[1]:.2f}, not by 8"


X, C, BAR, M, S = sp.symbols("x c sigma m s", positive=True)


@proves("eq-ddim-point")
def point() -> None:
    """SymPy: the quotient rule along a path of any slope; it is zero for the slope (x - c) / sigma."""
    eps, path = sp.Symbol("epsilon"), sp.Function("x")(BAR)
    total = sp.diff((path - C) / BAR, BAR).subs(sp.diff(path, BAR), eps).subs(path, X)
    assert_zero(total - claim((eps * BAR - (X - C)) / BAR**2))
    inserted = sp.Symbol("guess")  # (x - c) / sigma, as the page inserts it
    assert_zero(total.subs(X, C + inserted * BAR) - claim((eps - inserted) / BAR))
    assert_zero(total.subs(eps, (X - C) / BAR))


@proves("eq-ddim-gaussian-path")
def gaussian_path() -> None:
    """SymPy: the hyperbola solves the equation; and the guess of the noise is the library's for one Gaussian."""
    start, x_start = sp.symbols("sigma_T x_T", positive=True)
    centred = claim((x_start - M) * sp.sqrt((S**2 + BAR**2) / (S**2 + start**2)))
    assert_zero(sp.diff(centred, BAR) - BAR * centred / (S**2 + BAR**2))
    assert_zero(centred.subs(BAR, start) - (x_start - M))
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


@functools.cache
def turning(time: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The library's dx/dt over dphi/dt at a state, a and b, and the exact picture and noise."""
    x_t, t = normal(5, 2), torch.tensor(time, dtype=torch.float64)
    rate = torch.func.jvp(lambda t: torch.atan2(VP().noise(t), VP().signal(t)), (t,), (torch.ones_like(t),))[1]
    field = velocity(SMOOTH.denoise, VP())(x_t, t) / rate
    return field, VP().signal(t), VP().noise(t), SMOOTH.denoise(x_t, t), SMOOTH.eps(x_t, t)


@proves("eq-ddim-angle-ode")
def angle_ode() -> None:
    """SymPy: the product rule for cos(phi) x-bar(tan phi); and the library's velocity in t, over dphi/dt."""
    path, bar = sp.Function("xbar"), sp.Symbol("xbar")
    sigma = sp.tan(PHI)
    rate = sp.diff(sp.cos(PHI) * path(PHI), PHI)
    rate = rate.subs(sp.diff(path(PHI), PHI), EPS * sp.diff(sigma, PHI)).subs(path(PHI), bar)
    assert_zero(sp.trigsimp(rate - claim(-sp.sin(PHI) * bar + sp.cos(PHI) * EPS / sp.cos(PHI) ** 2)))
    rate = rate.subs(bar, X0 + sigma * EPS)
    assert_zero(sp.trigsimp(rate - claim(-sp.sin(PHI) * (X0 + sp.tan(PHI) * EPS) + EPS / sp.cos(PHI))))
    assert_zero(sp.trigsimp(rate - claim(-sp.sin(PHI) * X0 + sp.cos(PHI) * EPS)))
    for time in (0.1, 0.5, 0.9):
        field, a, b, picture, eps = turning(time)
        assert_close(field, claim(-b * picture + a * eps), 1e-9)


@proves("eq-ddim-rotation")
def rotation() -> None:
    """SymPy's addition theorems; and the library's DDIM."""
    x_t = sp.cos(PHI) * X0 + sp.sin(PHI) * EPS
    v_t = -sp.sin(PHI) * X0 + sp.cos(PHI) * EPS
    turned = claim(sp.cos(PSI - PHI) * x_t + sp.sin(PSI - PHI) * v_t)
    assert_zero(sp.expand_trig(turned) - (sp.cos(PSI) * X0 + sp.sin(PSI) * EPS))
    for s, t in PAIRS:
        x_t, eps, picture = answers_at(t)
        s, t = torch.tensor(s), torch.tensor(t)
        v_t = SCHEDULE.signal(t) * eps - SCHEDULE.noise(t) * picture
        after, before = (torch.atan2(SCHEDULE.noise(n), SCHEDULE.signal(n)) for n in (s, t))
        page = claim((after - before).cos() * x_t + (after - before).sin() * v_t)
        assert_close(ddim(EXACT.denoise, PROCESS)(x_t, t, s), page, 1e-10)


@defines("eq-ddim-heun")
def heun() -> None:
    """The library's step is the method named, which is DDIM's step for a trial and then the mean of both velocities."""

    def v(x: Tensor, t: Tensor) -> Tensor:
        return SCHEDULE.signal(t) * EXACT.eps(x, t) - SCHEDULE.noise(t) * EXACT.denoise(x, t)

    x = normal(5, 2)
    for s, t in PAIRS[1:]:
        s, t = torch.tensor(s), torch.tensor(t)
        turn = torch.acos(SCHEDULE.signal(s)) - torch.acos(SCHEDULE.signal(t))
        v_t = v(x, t)
        trial = claim(turn.cos() * x + turn.sin() * v_t)
        assert_close(ddim(EXACT.denoise, PROCESS)(x, t, s), trial, 1e-9)
        v_s = v(trial, s)
        assert_close(angle_heun(EXACT.denoise, SCHEDULE)(x, t, s), claim(x + turn / 2 * (v_t + v_s)), 1e-9)


# --- DPM-Solver++ -------------------------------------------------------------------------------------------------------

LAM, H = sp.symbols("lambda h", positive=True)


@proves("eq-ddim-exponential")
def exponential() -> None:
    """SymPy: the derivative of x-bar e^lambda, where x-bar moves by eps times the derivative of sigma-bar = e^-lambda."""
    path, bar, x0 = sp.Function("xbar")(LAM), sp.Symbol("xbar"), sp.Symbol("x_0")
    sigma = sp.exp(-LAM)
    derivative = sp.diff(path * sp.exp(LAM), LAM).subs(sp.diff(path, LAM), EPS * sp.diff(sigma, LAM)).subs(path, bar)
    assert_zero(derivative - claim(sp.exp(LAM) * bar - EPS))
    assert_zero(derivative - claim(sp.exp(LAM) * (bar - sp.exp(-LAM) * EPS)))
    assert_zero(derivative.subs(bar, x0 + sigma * EPS) - claim(sp.exp(LAM) * x0))


@functools.cache
def path_in_lambda() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """On a grid of lambda: x-bar of the mixture along its path, solved by scipy as eq-ddim-ode has it, and the guessed picture there."""
    grid = np.linspace(-1.5, 2.0, 401)

    def noise(bar: float, x: np.ndarray) -> np.ndarray:
        return slope(torch.from_numpy(x).reshape(-1, 2), torch.tensor(bar, dtype=torch.float64)).numpy().reshape(-1)

    times = np.exp(-grid)
    found = solve_ivp(
        noise, (times[0], times[-1]), normal(1, 2).numpy()[0] * 4, "DOP853", times, rtol=1e-11, atol=1e-12
    ).y.T
    guesses = [x - bar * noise(bar, x) for bar, x in zip(times, found, strict=True)]
    return grid, found, np.array(guesses)


@proves("eq-ddim-integral")
def integral() -> None:
    """On a mixture in the plane: the path by scipy, from the guessed noise; the integral of the guessed picture by Simpson's rule."""
    lam, bar_x, x0 = path_in_lambda()
    state = np.exp(lam)[:, None] * bar_x  # x / b
    area = simpson(claim(np.exp(lam)[:, None] * x0), x=lam, axis=0)
    start, end = state[0], state[-1]
    assert_close(end, claim(start + area), 1e-7)


@proves("eq-ddim-first-order")
def first_order() -> None:
    """DDIM's step in its third form."""
    for s, t in PAIRS:
        x_t, _, picture = answers_at(t)
        s, t = torch.tensor(s), torch.tensor(t)
        (a_s, b_s), (a_t, b_t) = ((SCHEDULE.signal(n), SCHEDULE.noise(n)) for n in (s, t))
        h = (a_s / b_s).log() - (a_t / b_t).log()
        page = claim(b_s / b_t * x_t + a_s * (1 - (-h).exp()) * picture)
        assert_close(ddim(EXACT.denoise, PROCESS)(x_t, t, s), page, 1e-10)


@proves("eq-ddim-line")
def line() -> None:
    """The line passes through both answers, and is one."""
    now, before, t, r = sp.symbols("D_t D_r lambda_t lambda_r")
    through = claim(now + (LAM - t) * (now - before) / (t - r))
    assert_zero(through.subs(LAM, t) - now)
    assert_zero(through.subs(LAM, r) - before)
    assert_zero(sp.diff(through, LAM, 2))


@functools.cache
def area_under_the_line() -> sp.Expr:
    """The left-hand side of eq-ddim-line-integral, by SymPy."""
    start = sp.Symbol("lambda_t", real=True)
    return sp.simplify(sp.integrate(sp.exp(LAM) * (LAM - start), (LAM, start, start + H)) * sp.exp(-(start + H)))


@proves("eq-ddim-line-integral")
def line_integral() -> None:
    """SymPy: the integral; and the last form has the same value and the same first and second derivatives at h = 0."""
    assert_zero(area_under_the_line() - claim(H - 1 + sp.exp(-H)))
    near = claim(H / 2 * (1 - sp.exp(-H)))
    for order in range(3):
        assert_zero(sp.diff(area_under_the_line() - near, H, order).subs(H, 0))
    assert sp.diff(area_under_the_line() - near, H, 3).subs(H, 0) == sp.Rational(
        1, 2
    )  # h^3 / 12, as the exercise finds


@proves("eq-ddim-2m")
def second_order() -> None:
    """The integral of the line between the two answers, with eq-ddim-line-integral; and the library's second step after a first one."""
    x = normal(5, 2)
    for r, t, s in ((1000, 900, 700), (500, 420, 400), (60, 20, 1)):
        r, t, s = (torch.tensor(n) for n in (r, t, s))
        step = dpm_solver(EXACT.denoise, SCHEDULE)
        x_t = step(x, r, t)
        level = {n: (SCHEDULE.signal(m) / SCHEDULE.noise(m)).log() for n, m in (("r", r), ("t", t), ("s", s))}
        h, gap = level["s"] - level["t"], level["t"] - level["r"]
        now, before = EXACT.denoise(x_t, t), EXACT.denoise(x, r)
        a_s, b_s, b_t = SCHEDULE.signal(s), SCHEDULE.noise(s), SCHEDULE.noise(t)
        page = claim(b_s / b_t * x_t + a_s * (1 - (-h).exp()) * (now + h / (2 * gap) * (now - before)))
        first = ddim(EXACT.denoise, PROCESS)(x_t, t, s)
        assert_close(first + a_s * h / 2 * (1 - (-h).exp()) * (now - before) / gap, page, 1e-10)
        assert_close(step(x_t, t, s), page, 1e-10)


# --- codes --------------------------------------------------------------------------------------------------------------


@functools.cache
def inverted(s: int, t: int) -> Tensor:
    """The library's fixed point, from a state at s back to t."""
    return invert(EXACT.denoise, SCHEDULE, normal(5, 2), torch.tensor([t, s]), 60)


@proves("eq-ddim-inverse")
def inverse() -> None:
    """It undoes DDIM's step at any state; and the library's fixed point satisfies it."""
    for s, t in ((1, 2), (10, 12), (200, 201), (400, 430), (900, 1000)):
        x_t, eps, picture = answers_at(t)
        s_, t_ = torch.tensor(s), torch.tensor(t)
        v = SCHEDULE.signal(t_) * eps - SCHEDULE.noise(t_) * picture
        x_s, turn = ddim(EXACT.denoise, PROCESS)(x_t, t_, s_), angle(SCHEDULE, t_) - angle(SCHEDULE, s_)
        assert_close(x_t, claim((x_s + turn.sin() * v) / turn.cos()), 1e-9)
    for s, t in ((10, 12), (400, 430)):  # a long step need not have an inverse
        assert_close(ddim(EXACT.denoise, PROCESS)(inverted(s, t), torch.tensor(t), torch.tensor(s)), normal(5, 2), 1e-9)


@equivalent(
    "(1 - u) * one - u * other", because="the variance of independent, symmetric codes does not depend on their signs"
)
@proves("eq-ddim-lerp", "eq-ddim-slerp-variance")
def variances() -> None:
    """Two independent codes as unit vectors, so that the variance is the squared length; and the library's two ways."""
    one, other = torch.eye(2, dtype=torch.float64)
    shares, found = torch.linspace(0, 1, 7, dtype=torch.float64), []
    straight = lerp(one[:, None], other[:, None], shares)[:, :, 0].square().sum(1)
    turned = slerp(one[None], other[None], shares)[:, 0]
    for n, u in enumerate(shares.tolist()):
        blend = claim((1 - u) * one + u * other, "eq-ddim-lerp").square().sum()
        found.append(float(blend))
        assert_close(blend, claim((1 - u) ** 2 + u**2, "eq-ddim-lerp"))
        assert_close(straight[n], blend)
        c, s = math.cos(math.pi / 2 * u), math.sin(math.pi / 2 * u)
        assert_close(turned[n], claim(c * one + s * other, "eq-ddim-slerp-variance"), 1e-9)
        assert_close(turned[n].square().sum(), claim(c**2 + s**2, "eq-ddim-slerp-variance"), 1e-9)
    assert_close(min(found), claim(1 / 2, "eq-ddim-lerp"))


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
