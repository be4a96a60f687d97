"""Checks of chapter 10's equations on the design space: SymPy, exact mixtures, finite data and linear SDEs in float64."""

import functools
import math

import sympy as sp
import torch
from scipy.integrate import simpson
from torch import Tensor

from course_lib.diffusion import weights
from course_lib.diffusion.continuous import EDM, VP, Straight, drift_and_diffusion
from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import EPS, X0, V, to_score
from course_lib.nets.preconditioned import Preconditioned, coefficients
from course_lib.pages.proofs import assert_close, assert_zero, claim, defines, proves
from course_lib.sampling.ode import velocity
from course_lib.sampling.sde import churned

SCHEDULES = (VP(), EDM(6.0), Straight())
TIMES = (0.2, 0.55, 0.9)
SIGMA, DATA, SKIP = sp.symbols("sigma d s", positive=True)  # the level, sigma_data, c_skip


def double(value: float) -> Tensor:
    """A number in float64."""
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair() -> Mixture:
    """Two bumps on the line that overlap."""
    return Mixture(
        torch.tensor([0.35, 0.65]).double(),
        torch.tensor([[-1.0], [0.8]]).double(),
        torch.tensor([[[0.1]], [[0.2]]]).double(),
    )


class Answer(torch.nn.Module):
    """A raw network: any function of the state and the level."""

    takes = None

    def forward(self, x: Tensor, t: Tensor, cond: None = None) -> Tensor:
        """Some function of both."""
        return torch.cos(x) + t[:, None]


@defines("eq-edm-precondition", "eq-edm-noise", "eq-edm-levels", "eq-edm-minsnr")
def definitions() -> None:
    """The library's preconditioning, noise levels, grid and truncated weight are the ones defined."""
    x, sigma, data = normal(4, 3), torch.tensor([0.1, 0.5, 2.0, 30.0]).double(), 0.7
    model, raw = Preconditioned(Answer(), data), Answer()
    c = coefficients(sigma, data)
    skip, out, into = (of[:, None] for of in (c.skip, c.out, c.into))
    assert_close(model(x, sigma), claim(skip * x + out * raw(into * x, c.noise), "eq-edm-precondition"), 1e-9)
    z = torch.randn(4, generator=torch.Generator().manual_seed(0))
    drawn = EDM().times(4, torch.Generator().manual_seed(0))
    assert_close(drawn, claim((-1.2 + 1.2 * z).exp(), "eq-edm-noise"), 1e-5)
    top, low, rho, n = 80.0, 0.002, 7, 9
    for i, level in enumerate(EDM().grid(n)[:-1].tolist()):
        page = claim((top ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - top ** (1 / rho))) ** rho, "eq-edm-levels")
        assert_close(level, page, 1e-9)
    t = torch.tensor([0.05, 0.3, 0.8]).double()
    for schedule in SCHEDULES:
        ratio = (schedule.signal(t) / schedule.noise(t)) ** 2
        for found, limit in zip(weights.min_snr(schedule, 5.0)(t), ratio, strict=True):
            assert_close(found, claim(min(float(limit), 5.0), "eq-edm-minsnr"), 1e-9)


# --- one equation, and the preconditioning ------------------------------------------------------------------------------


@proves("eq-edm-ode")
def one_equation() -> None:
    """For a finite data set: the library's velocity for EDM's schedule, and the score by automatic differentiation."""
    data, x = normal(7, 3), normal(5, 3, seed=1)
    ideal = IdealDenoiser(data, EDM())

    for level in (0.3, 1.0, 4.0):
        sigma = double(level)

        def log_density(x: Tensor, sigma: Tensor = sigma) -> Tensor:
            return (-(x - data).square().sum(-1) / (2 * sigma**2)).logsumexp(0)

        score, answer = torch.stack([torch.func.grad(log_density)(row) for row in x]), ideal(x, sigma)
        assert_close(velocity(ideal, EDM())(x, sigma), claim(-sigma * score), 1e-9)
        assert_close(-sigma * score, claim((x - answer) / sigma), 1e-9)


@proves("eq-edm-effective")
def effective() -> None:
    """Through the library's wrapper: its squared error, weighted, against that of the raw network with its own target."""
    y, n, data = normal(4, 3), normal(4, 3, seed=1), 0.7
    sigma = torch.tensor([0.1, 0.5, 2.0, 30.0]).double()
    level, weight = sigma[:, None], 1 + sigma[:, None]
    x, c, raw = y + level * n, coefficients(sigma, data), Answer()
    skip, out, into = (of[:, None] for of in (c.skip, c.out, c.into))
    left = weight * (Preconditioned(Answer(), data)(x, sigma) - y).square()
    answer = raw(into * x, c.noise)
    assert_close(left, claim(weight * out**2 * (answer - (y - skip * x) / out).square()), 1e-9)


@proves("eq-edm-in", "eq-edm-out")
def unit_variance() -> None:
    """Variances of linear maps of independent y and n of variances d^2 and sigma^2, by SymPy; and the library's c_in."""
    y, n = sp.Matrix([DATA, 0]), sp.Matrix([0, SIGMA])
    into = claim(1 / sp.sqrt(SIGMA**2 + DATA**2), "eq-edm-in")
    seen = into * (y + n)
    assert_zero(seen.dot(seen) - 1)
    target = y - SKIP * (y + n)
    squared = claim((1 - SKIP) ** 2 * DATA**2 + SKIP**2 * SIGMA**2, "eq-edm-out")
    assert_zero(target.dot(target) - squared)
    assert_close(float(coefficients(double(0.4), 0.7).into), float(into.subs({SIGMA: 0.4, DATA: 0.7})), 1e-9)


@proves("eq-edm-skip", "eq-edm-lambda")
def best_skip() -> None:
    """SymPy: the derivative of the target's variance vanishes there; what is left is c_out^2; the library's three."""
    squared = (1 - SKIP) ** 2 * DATA**2 + SKIP**2 * SIGMA**2
    (root,) = sp.solve(sp.diff(squared, SKIP), SKIP)
    skip = claim(DATA**2 / (SIGMA**2 + DATA**2), "eq-edm-skip")
    out = claim(SIGMA * DATA / sp.sqrt(SIGMA**2 + DATA**2), "eq-edm-skip")
    assert_zero(root - skip)
    assert_zero(squared.subs(SKIP, root) - out**2)
    weight = claim((SIGMA**2 + DATA**2) / (SIGMA * DATA) ** 2, "eq-edm-lambda")
    assert_zero(weight * out**2 - 1)
    at = {SIGMA: sp.Float("0.4", 30), DATA: sp.Float("0.7", 30)}
    c = coefficients(double(0.4), 0.7)
    assert_close([float(c.skip), float(c.out)], [float(skip.subs(at)), float(out.subs(at))], 1e-9)
    assert_close(float(weights.edm(0.7)(double(0.4))), float(weight.subs(at)), 1e-9)


@proves("eq-edm-v")
def is_v() -> None:
    """With unit data: the wrapper's answer, solved for the raw network, is minus the v of the rescaled state."""
    y, n, sigma = normal(4, 3), normal(4, 3, seed=1), torch.tensor([0.1, 0.5, 2.0, 30.0]).double()
    c = coefficients(sigma, 1.0)
    level = sigma[:, None]
    target = (y - c.skip[:, None] * (y + level * n)) / c.out[:, None]
    a = claim(1 / (1 + level**2).sqrt())
    b = claim(level / (1 + level**2).sqrt())
    assert_close(a * (y + level * n), a * y + b * n, 1e-9)
    assert_close(target, claim(-(a * n - b * y)), 1e-9)
    assert_close(target, -V.target(y, n, a, b), 1e-9)
    assert_close(c.into[:, None], a, 1e-9)


# --- grid and churn -----------------------------------------------------------------------------------------------------


@proves("eq-edm-geometric")
def geometric() -> None:
    """The library's grid for a very large rho."""
    top, low, n = 20.0, 0.05, 11
    for i, level in enumerate(EDM(top, sigma_min=low, rho=1e7).grid(n)[:-1].tolist()):
        u = i / (n - 1)
        assert_close(level, claim(top ** (1 - u) * low**u), 1e-4)
        assert_close(level, claim(top * (low / top) ** u), 1e-4)


@proves("eq-edm-churn")
def churn() -> None:
    """Variances add: the library's step that does nothing else, for linear maps; growth 1 + churn / steps."""
    t, later = 2.0, 2.0 * (1 + 0.8 / 4)
    unit = torch.eye(2).double()  # the state and the new noise as coordinates
    stay = lambda x, t, s: x  # noqa: E731
    row = churned(stay, EDM(10.0), 0.8, 4, noise=lambda x: unit[1:])(t * unit[:1], double(t), double(1.0))[0]
    assert_close(later, claim(t * (1 + 0.8 / 4)))
    assert_close(row[1], claim(math.sqrt(later**2 - t**2)), 1e-9)
    assert_close(row.square().sum(), later**2, 1e-9)


@proves("eq-edm-family")
def family() -> None:
    """A short step towards less noise for a Gaussian of variance d^2 + sigma^2, whose score is linear: the variance moves as it should."""
    d, delta = 0.7, 1e-6
    for sigma, rate in ((0.4, 0.0), (1.3, 0.6), (3.0, 2.0)):
        variance = d**2 + sigma**2
        s = -1 / variance
        drift = claim(-sigma * s - rate * sigma**2 * s)
        kick = claim(2 * rate * sigma**2)
        after = (1 - delta * drift) ** 2 * variance + kick * delta
        assert_close((variance - after) / delta, 2 * sigma, 1e-4)


# --- weights and the bound ----------------------------------------------------------------------------------------------


@proves("eq-edm-step-bound")
def step_of_the_bound() -> None:
    """The divergence of two posteriors of the library with the same variance, for any pair of times of a continuous schedule."""
    x0, guess, eps = normal(5, 3), normal(5, 3, seed=1), normal(5, 3, seed=2)
    for schedule in SCHEDULES:
        process = GaussianDiffusion(schedule)
        for s, t in ((0.2, 0.3), (0.5, 0.9)):
            then, now = double(s), double(t)
            x_t = process.diffuse(x0, now, eps)
            right, variance = process.posterior(x0, x_t, now, then)
            wrong, _ = process.posterior(guess, x_t, now, then)
            left = (right - wrong).square().sum(1) / (2 * variance)
            before, after = (float((schedule.signal(u) / schedule.noise(u)) ** 2) for u in (then, now))
            error = (x0 - guess).square().sum(1)
            assert_close(left / error, claim((before - after) / 2 * error) / error, 1e-8)


@functools.cache
def bumps(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two bumps on the line under a schedule: times, SNR, and the mean squared errors of the exact and of a shrunken denoiser."""
    schedule = {"VP": VP(), "EDM": EDM(6.0)}[name]
    exact = ExactDiffusion(pair(), schedule)
    # times whose SNR runs evenly, on a logarithmic scale, over the same range for every schedule
    wanted = torch.linspace(math.log(30.0), math.log(0.05), 301).double().exp()
    low, high = torch.full_like(wanted, 1e-9), torch.full_like(wanted, float(schedule.T))
    for _ in range(70):
        middle = (low + high) / 2
        above = weights.snr(schedule, middle) > wanted
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    grid = torch.linspace(-1, 1, 161).double()[:, None]
    errors = []
    for t in low:
        a, b = schedule.signal(t), schedule.noise(t)
        x = grid * 6 * (a + b)
        density = exact.log_prob(x, t).exp()
        known, answer = exact.covariance(x, t)[:, 0, 0], exact.denoise(x, t)[:, 0]
        wrong = known + (0.1 * answer) ** 2
        errors.append([torch.trapezoid(density * error, x[:, 0]) for error in (known, wrong)])
    best, shrunk = torch.tensor(errors).double().T
    return low, wanted, best, shrunk


@proves("eq-edm-continuous", "eq-edm-invariant")
def invariance() -> None:
    """The bound of a wrong denoiser as an integral over each schedule's time, with rates of its own; and over the SNR."""
    found = []
    for name, schedule in (("VP", VP()), ("EDM", EDM(6.0))):
        t, snr, _, wrong = bumps(name)
        rate = -2 * weights.likelihood(schedule)(t)  # of the SNR, by the library
        h = 1e-6 * t
        by_differences = (weights.snr(schedule, t + h) - weights.snr(schedule, t - h)) / (2 * h)
        assert_close(rate / by_differences, torch.ones_like(rate), 1e-5)
        steps = (snr[:-1] - snr[1:]) / 2 * (wrong[:-1] + wrong[1:]) / 2  # eq-edm-step-bound for many short steps
        over_time = simpson(claim(-by_differences / 2 * wrong, "eq-edm-continuous"), x=t)
        over_snr = simpson(claim(wrong / 2, "eq-edm-invariant").flip(0), x=snr.flip(0))
        assert_close(over_time, steps.sum(), 2e-3)
        assert_close(over_snr, steps.sum(), 2e-3)
        found.append(over_snr)
    assert_close(found[0], found[1], 1e-5)


@proves("eq-edm-information")
def information() -> None:
    """Entropies of the noisy bumps by quadrature, and the integral of the exact denoiser's error."""
    schedule = EDM(6.0)
    exact, x = ExactDiffusion(pair(), schedule), torch.linspace(-30, 30, 12001).double()[:, None]
    t, snr, best, _ = bumps("EDM")

    def shared(sigma: Tensor) -> Tensor:
        """The mutual information of x_0 and x_t: the entropy of x_t less that of the noise."""
        log_density = exact.log_prob(x, sigma)
        return -torch.trapezoid(log_density.exp() * log_density, x[:, 0]) - (2 * math.pi * math.e * sigma**2).log() / 2

    left = shared(t[0]) - shared(t[-1])
    assert_close(left, simpson(claim(best / 2).flip(0), x=snr.flip(0)), 2e-4)


@proves("eq-edm-g2")
def score_weight() -> None:
    """The library's g^2, the rate of the SNR by differences, and two answers turned into scores by the library."""
    x, first, second = normal(5, 3), normal(5, 3, seed=1), normal(5, 3, seed=2)
    for schedule in SCHEDULES:
        for time in TIMES:
            t, h = double(time), 1e-5
            _, g2 = drift_and_diffusion(schedule, t)
            apart = (to_score(first, x, t, schedule) - to_score(second, x, t, schedule)).square().sum(1)
            rate = (weights.snr(schedule, t + h) - weights.snr(schedule, t - h)) / (2 * h)
            error = (first - second).square().sum(1)
            assert_close(g2 / 2 * apart / error, claim(-rate / 2 * error) / error, 1e-5)


@proves("eq-edm-exchange")
def exchange() -> None:
    """What the library's weights of the output are for each prediction, against the errors of two answers through it."""
    x, out, other = normal(5, 3), normal(5, 3, seed=1), normal(5, 3, seed=2)
    for time in TIMES:
        t = double(time)
        a, b = VP().signal(t), VP().noise(t)
        snr = (a / b) ** 2
        error = {p.name: (p.to_x0(out, x, a, b) - p.to_x0(other, x, a, b)).square().sum(1) for p in (EPS, V, X0)}
        raw = (out - other).square().sum(1)
        assert_close(error["eps"], claim(raw / snr), 1e-9)
        assert_close(error["v"], claim(raw / (snr + 1)), 1e-9)
        one = lambda t: torch.ones_like(t)  # noqa: E731
        assert_close(weights.for_output(one, V, VP())(t) * raw, error["v"], 1e-9)


@proves("eq-edm-importance")
def importance() -> None:
    """By quadrature over the time and over the log-SNR, whose density for even times comes from differences."""
    t = torch.linspace(0.02, 0.98, 4001).double()
    level = weights.snr(VP(), t).log()
    loss = torch.sin(level) + 2
    left = simpson(loss, x=t)
    h = 1e-5
    rate = (weights.snr(VP(), t + h).log() - weights.snr(VP(), t - h).log()) / (2 * h)
    p = claim(-1 / rate)
    right = simpson(claim(p * loss).flip(0), x=level.flip(0))
    assert_close(right, left, 1e-5)


# --- from error of the score to error of the samples --------------------------------------------------------------------


@proves("eq-edm-ratio", "eq-edm-girsanov")
def girsanov() -> None:
    """The logarithm of two Gaussian steps' densities by torch, for a state that the first has made; its mean over the kicks."""
    g, delta = 1.3, 0.01
    right, wrong, z, x = normal(6, 3), normal(6, 3, seed=1), normal(6, 3, seed=2), normal(6, 3, seed=3)
    step = lambda drift: torch.distributions.Normal(x - drift * delta, g * math.sqrt(delta))  # noqa: E731
    moved = x - right * delta + g * math.sqrt(delta) * z
    left = (step(right).log_prob(moved) - step(wrong).log_prob(moved)).sum(1)
    h = wrong - right
    page = claim((h * z).sum(1) * math.sqrt(delta) / g + h.square().sum(1) * delta / (2 * g**2), "eq-edm-ratio")
    assert_close(left, page, 1e-9)
    divergence = torch.distributions.kl_divergence(step(right), step(wrong)).sum(1)
    assert_close(divergence, claim(h.square().sum(1) / (2 * g**2) * delta, "eq-edm-girsanov"), 1e-9)


@proves("eq-edm-linear")
def linear() -> None:
    """One short step back of the SDE and of the flow with a stretched score, as linear maps of state and kick."""
    t, delta, w = double(0.6), 1e-6, 0.8
    f, g2 = (float(value) for value in drift_and_diffusion(VP(), t))
    beta, variance = g2, 0.4
    assert_close(f, -beta / 2, 1e-9)
    for stretch in (-0.3, 0.5):
        score = -(1 + stretch) / variance  # times x
        for kicks, half in ((1.0, 1.0), (0.0, 0.5)):  # the SDE, the flow
            moved = (1 - (f - half * g2 * score) * delta) ** 2 * w + kicks * g2 * delta
            sde = claim(beta * w - 2 * beta * (1 + stretch) * w / variance + beta)
            flow = claim(beta * w - beta * (1 + stretch) * w / variance)
            assert_close((moved - w) / delta, sde if kicks else flow, 1e-3)


@proves("eq-edm-linear-bound")
def linear_bound() -> None:
    """The mean squared error of the stretched score under N(0, V), by quadrature, times g^2 / 2, over time."""
    stretch, grid = 0.3, torch.linspace(-12, 12, 4001).double()
    pieces, page, times = [], [], torch.linspace(0, 1, 101).double()
    for t in times:
        _, g2 = drift_and_diffusion(VP(), t) if t > 0 else (None, double(VP().beta_min))
        variance = 0.25 * VP().signal(t) ** 2 + VP().noise(t) ** 2
        x = grid * variance.sqrt()
        density = torch.exp(-(x**2) / (2 * variance)) / (2 * math.pi * variance).sqrt()
        pieces.append(torch.trapezoid(density * (stretch * x / variance) ** 2, x) * g2 / 2)
        beta = g2
        page.append(claim(stretch**2 / 2 * beta / variance))
    assert_close(torch.stack(page), torch.stack(pieces), 1e-7)
