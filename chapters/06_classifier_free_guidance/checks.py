"""Checks of chapter 6's equations: exact mixtures in float64, SymPy, and the library's guidance."""

import functools
import itertools
import math

import sympy as sp
import torch
from scipy.integrate import quad, solve_ivp
from torch import Tensor

from course_lib.diffusion.continuous import VE, VP
from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture
from course_lib.diffusion.predictions import EPS, FLOW, SCORE, X0, V, to_eps
from course_lib.pages.proofs import answers, assert_close, assert_printed, assert_zero, claim, defines, proves
from course_lib.recipes.diffusion import drop_labels
from course_lib.sampling.guidance import classifier_free, dynamic_threshold, extrapolated, rescaled, within

TIMES = (0.1, 0.4, 0.8)


def double(value: float) -> Tensor:
    """A number in float64."""
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MIXTURE = Mixture(
    torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64),
    torch.tensor([[-1.0, 0.0], [0.9, 0.4], [0.0, -1.1]], dtype=torch.float64),
    torch.tensor(
        [[[0.2, 0.05], [0.05, 0.1]], [[0.1, 0.0], [0.0, 0.3]], [[0.15, -0.06], [-0.06, 0.2]]], dtype=torch.float64
    ),
)
EXACT = ExactDiffusion(MIXTURE, VP())
POINTS = normal(6, 2)
NULL = 3


def network(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
    """The best noise prediction of the mixture, for each row's class, or for all of it at the null token."""
    assert cond is not None
    models = [*(EXACT.conditional(y) for y in range(3)), EXACT]
    rows = [models[int(c)].eps(x[n : n + 1], t[n : n + 1]) for n, c in enumerate(cond)]
    return torch.cat(rows)


# --- training for both questions ----------------------------------------------------------------------------------------


@defines("eq-cfg-loss")
def loss_is_named() -> None:
    """The loss is stated."""


@proves("eq-cfg-split")
def split() -> None:
    """The mean over all ways in which a coin may hide the labels of three pictures, with a network; and the library's coin."""
    x, t, labels, p = normal(3, 2), torch.full((3,), 0.4, dtype=torch.float64), torch.tensor([2, 0, 1]), 0.1
    noise = normal(3, 2, seed=1)
    mean = 0.0
    for coins in itertools.product((True, False), repeat=3):
        condition = torch.where(torch.tensor(coins), NULL, labels)
        weight = p ** sum(coins) * (1 - p) ** (3 - sum(coins))
        mean += weight * float((noise - network(x, t, condition)).square().sum())
    hidden = float((noise - network(x, t, torch.full((3,), NULL))).square().sum())
    shown = float((noise - network(x, t, labels)).square().sum())
    assert_close(mean, claim(p * hidden + (1 - p) * shown))
    dropped = drop_labels(torch.zeros(200_000, dtype=torch.long), 10, 0.1, torch.Generator().manual_seed(0)) == 10
    assert abs(float(dropped.double().mean()) - p) < 0.003
    pairs = (dropped[:-1] & dropped[1:]).double().mean()
    assert abs(float(pairs) - p**2) < 0.001


@proves("eq-cfg-optimum")
def optimum() -> None:
    """On a finite set with labels: the mean noise given x_t (and y), over the set, against the score by automatic differentiation."""
    data, labels = normal(9, 2), torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 1])
    x, t = normal(5, 2, seed=1), double(0.4)
    a, b = VP().signal(t), VP().noise(t)
    for chosen in (data, data[labels == 0], data[labels == 1]):

        def log_density(x: Tensor, chosen: Tensor = chosen) -> Tensor:
            return (-(x - a * chosen).square().sum(-1) / (2 * b**2)).logsumexp(0)

        score = torch.stack([torch.func.grad(log_density)(row) for row in x])
        given = (-(x[:, None] - a * chosen).square().sum(-1) / (2 * b**2)).softmax(1)  # p(x_0 | x_t)
        noises = (x[:, None] - a * chosen) / b
        best = claim((given[:, :, None] * noises).sum(1))
        assert_close(best, claim(-b * score), 1e-9)
        assert_close(to_eps(IdealDenoiser(chosen, VP())(x, t), x, t, VP()), best, 1e-9)


# --- the formula --------------------------------------------------------------------------------------------------------


def from_library(scale: float, y: int, time: float) -> Tensor:
    """The noise of the library's classifier-free guidance at POINTS."""
    t = double(time)
    picture = classifier_free(network, EPS, VP(), torch.full((6,), y), NULL, scale)(POINTS, t.expand(6))
    return to_eps(picture, POINTS, t.expand(6), VP())


@functools.cache
def both_eps(y: int, time: float) -> tuple[Tensor, Tensor]:
    """The noise that is expected without and with the class, at POINTS."""
    return EXACT.eps(POINTS, double(time)), EXACT.conditional(y).eps(POINTS, double(time))


@defines("eq-cfg-formula", "eq-cfg-paper")
def formulas() -> None:
    """The library's guidance, in both conventions."""
    for time in TIMES:
        for y in range(3):
            plain, eps = both_eps(y, time)
            for s, w in ((3.0, 2.0), (0.5, -0.5)):
                drawn = from_library(s, y, time)
                assert_close(drawn, claim(plain + s * (eps - plain), "eq-cfg-formula"), 1e-9)
                assert_close(drawn, claim((1 + w) * eps - w * plain, "eq-cfg-paper"), 1e-9)


@proves("eq-cfg-conversion")
def conversion() -> None:
    """SymPy: both formulas agree for all answers where the coefficients do, and that happens at one scale only."""
    s, w, eps, plain = sp.symbols("s w e_y e_0")
    difference = sp.expand(claim(s * eps + (1 - s) * plain) - claim((1 + w) * eps - w * plain))
    assert sp.solve(difference.coeff(eps), s) == sp.solve(difference.coeff(plain), s) == [claim(1 + w)]
    assert_zero(difference.subs(s, 1 + w))


@proves("eq-cfg-affine")
def affine() -> None:
    """Each quantity from its definition by x_0 and the noise, also where a^2 + b^2 is not 1; the library turns each into the picture."""
    for schedule in (VP(), VE(0.1, 6.0)):
        for time in TIMES:
            t = double(time)
            a, b = schedule.signal(t), schedule.noise(t)
            x0, eps = normal(4, 2), normal(4, 2, seed=1)
            x = a * x0 + b * eps
            picture = claim(1 / a * x - b / a * eps)
            velocity = claim((a**2 + b**2) / a * eps - b / a * x)
            score = claim(-(1 / b) * eps)
            flow = claim((a + b) / a * eps - 1 / a * x)
            assert_close(picture, x0, 1e-9)
            assert_close(velocity, a * eps - b * x0, 1e-9)
            assert_close(flow, eps - x0, 1e-9)
            for raw, prediction in ((picture, X0), (velocity, V), (score, SCORE), (flow, FLOW)):
                assert_close(prediction.to_x0(raw, x, a, b), x0, 1e-8)


@proves("eq-cfg-linear")
def linear() -> None:
    """Guided pictures are those of the guided noise, in the library too."""
    for time in TIMES:
        t = double(time)
        a, b = VP().signal(t), VP().noise(t)
        for y in range(3):
            plain, picture = EXACT.denoise(POINTS, t), EXACT.conditional(y).denoise(POINTS, t)
            drawn, s = classifier_free(network, EPS, VP(), torch.full((6,), y), NULL, 3.0)(POINTS, t.expand(6)), 3.0
            assert_close(drawn, claim(plain + s * (picture - plain)), 1e-9)
            without, eps = both_eps(y, time)
            guided = without + s * (eps - without)
            assert_close(drawn, claim((POINTS - b * guided) / a), 1e-9)


# --- what it does -------------------------------------------------------------------------------------------------------


@functools.cache
def posterior_gradients(time: float) -> Tensor:
    """The gradients of log q(y | x_t) at POINTS for all classes, `(6, classes, 2)`, by automatic differentiation."""

    def log_posterior(x: Tensor) -> Tensor:
        return EXACT.class_posterior(x[None], double(time))[0].log()

    return torch.stack([torch.func.jacrev(log_posterior)(row) for row in POINTS])


@proves("eq-cfg-implicit", "eq-cfg-contrast")
def implicit() -> None:
    """The gradients of the exact class posterior, by automatic differentiation; log densities too for the contrast of two classes."""
    for time in TIMES:
        t, gradients = double(time), posterior_gradients(time)
        b = VP().noise(t)
        for y in range(3):
            n = (y + 1) % 3
            plain, eps = both_eps(y, time)
            negative = both_eps(n, time)[1]
            own, all_classes = EXACT.conditional(y).score(POINTS, t), EXACT.score(POINTS, t)
            assert_close(gradients[:, y], claim(own - all_classes, "eq-cfg-implicit"), 1e-9)
            assert_close(gradients[:, y], claim(-(eps - plain) / b, "eq-cfg-implicit"), 1e-9)
            contrast = claim(-(eps - negative) / b, "eq-cfg-contrast")
            assert_close(gradients[:, y] - gradients[:, n], contrast, 1e-9)
            first, second = EXACT.conditional(y), EXACT.conditional(n)

            def log_ratio(x, one=first, other=second, t=t):
                return claim(one.log_prob(x, t) - other.log_prob(x, t), "eq-cfg-contrast").sum()

            assert_close(torch.func.grad(log_ratio)(POINTS), contrast, 1e-9)


@proves("eq-cfg-density")
def density() -> None:
    """The gradient of either form's logarithm is the score that belongs to the guided noise."""
    t, y, s = double(0.4), 1, 3.0
    plain, eps = both_eps(y, 0.4)
    score = -(plain + s * (eps - plain)) / VP().noise(t)

    def first(x):
        q, own = EXACT.log_prob(x, t).exp(), EXACT.conditional(y).log_prob(x, t).exp()
        return claim(q ** (1 - s) * own**s).log().sum()

    def second(x):
        q, own = EXACT.log_prob(x, t).exp(), EXACT.conditional(y).log_prob(x, t).exp()
        return claim(q * (own / q) ** s).log().sum()

    assert_close(torch.func.grad(first)(POINTS), score, 1e-9)
    assert_close(torch.func.grad(second)(POINTS), score, 1e-9)


x, m, a, s, nu = sp.symbols("x m a s nu", positive=True)


@proves("eq-cfg-gaussian-flow")
def gaussian_flow() -> None:
    """SymPy: (x + guided score) / a, with the scores by differentiating log N(0, 1) and log N(a m, a^2 nu + 1 - a^2)."""
    own = -((x - a * m) ** 2) / (2 * (a**2 * nu + 1 - a**2))
    score = sp.diff((1 - s) * -(x**2) / 2 + s * own, x)
    slope = (x + score) / a
    assert_zero(slope - claim(s / a * (x - (x - a * m) / (1 - a**2 * (1 - nu)))))
    assert_zero(slope - claim(s * (m - a * (1 - nu) * x) / (1 - a**2 * (1 - nu))))


@functools.cache
def flow_ends(s: float, nu: float, m: float) -> tuple[float, float]:
    """Mean and variance after the guided flow, from the scores by scipy: an affine map, of which two particles show all."""

    def rate(a, x):
        score = -(1 - s) * x - s * (x - a * m) / (a**2 * nu + 1 - a**2)
        return (x + score) / a

    low, high = solve_ivp(rate, (1e-6, 1), [-1.0, 1.0], rtol=1e-10, atol=1e-12).y[:, -1]
    return (high + low) / 2, ((high - low) / 2) ** 2


@proves("eq-cfg-variance")
def variance() -> None:
    """The flow run by scipy; the curvature of the product's logarithm by SymPy."""
    for scale, width in ((1.0, 0.3), (3.0, 0.1), (2.0, 0.5)):
        assert_close(flow_ends(scale, width, 0.7)[1], claim(width**scale), 1e-6)
    log_product = (1 - s) * -(x**2) / 2 + s * -((x - m) ** 2) / (2 * nu)
    assert_zero(-1 / sp.diff(log_product, x, 2) - claim(nu / (nu + s * (1 - nu))))


@proves("eq-cfg-corrector")
def corrector() -> None:
    """SymPy: the drift of the guided reverse SDE is the sum of both parts, for any scores."""
    f, beta, plain, own = sp.symbols("f beta g_0 g_y")
    drift = f - beta * ((1 - s) * plain + s * own)
    more = claim(2 * s - 1)
    predictor = claim(f - beta * own / 2)
    assert_zero(drift - claim(predictor - beta * ((1 - more) * plain + more * own) / 2))
    assert_zero(drift - claim(f - beta * ((1 - s) * plain + s * own)))


# --- remedies, and other guides -----------------------------------------------------------------------------------------


@defines("eq-cfg-threshold", "eq-cfg-rescale", "eq-cfg-interval", "eq-cfg-auto", "eq-cfg-negative")
def remedies() -> None:
    """The library's, written out."""
    raw, calm, t = 3 * normal(4, 1, 8, 8), normal(4, 1, 8, 8, seed=1), double(0.5)
    guided = dynamic_threshold(lambda x, t: raw)(raw, t)
    tame = dynamic_threshold(lambda x, t: calm / 10)(raw, t)
    scaled = rescaled(lambda x, t: raw, lambda x, t: calm, 0.7)(raw, t)
    phi = 0.7
    for n in range(4):
        for out, x0 in ((guided[n], raw[n]), (tame[n], calm[n] / 10)):
            quantile = float(x0.abs().flatten().float().quantile(0.995))
            limit = claim(max(1.0, quantile), "eq-cfg-threshold")
            clipped = x0.clamp(-limit, limit)
            assert_close(out, claim(clipped / limit, "eq-cfg-threshold"), 1e-6)
        x0, own = raw[n], calm[n]
        assert_close(scaled[n], claim(x0 * (phi * own.std() / x0.std() + 1 - phi), "eq-cfg-rescale"), 1e-9)
    chosen, low, high, s = within(lambda x, t: 3 * x, lambda x, t: 1 * x, 200, 800), 200, 800, 3
    for time in (100, 200, 201, 800, 801):
        scale = s if claim(low < time, "eq-cfg-interval") and claim(time <= high, "eq-cfg-interval") else 1
        assert_close(chosen(raw, torch.tensor(time)), claim(scale * raw, "eq-cfg-interval"))
    bad, good = EXACT.denoise(POINTS, t), EXACT.conditional(1).denoise(POINTS, t)
    drawn = extrapolated(EXACT.conditional(1).denoise, EXACT.denoise, 3.0)(POINTS, t)
    assert_close(drawn, claim(bad + s * (good - bad), "eq-cfg-auto"), 1e-9)
    one, other = EXACT.conditional(0), EXACT.conditional(2)
    eps, negative = one.eps(POINTS, t), other.eps(POINTS, t)
    away = to_eps(extrapolated(one.denoise, other.denoise, 3.0)(POINTS, t), POINTS, t, VP())
    assert_close(away, claim(negative + s * (eps - negative), "eq-cfg-negative"), 1e-9)


# --- the exercises ------------------------------------------------------------------------------------------------------


@answers("ex-cfg-mean")
def overshooting_mean() -> None:
    """The flow by scipy, the integral by quadrature, for m = 1."""
    k = 0.5
    assert_printed(claim(math.sqrt(k)), "0.7071")
    u = math.sqrt(k)
    assert_printed(claim(u / (1 - u**2)), "1.4142")
    assert_printed(claim(math.atanh(u)), "0.8814")
    whole = claim(2 / u) * quad(lambda u: 1 / (1 - u**2) ** 2, 0, u)[0]
    assert_printed(whole, "3.246")
    assert_close(whole, claim((u / (1 - u**2) + math.atanh(u)) / u), 1e-9)
    mean, _ = flow_ends(2.0, 0.5, 1.0)
    assert_printed(mean, "1.62")
    assert_close(mean, whole / 2, 1e-5)
