"""Checks of chapter 6's equations: exact mixtures in float64, SymPy, and the library's guidance."""

import sympy as sp
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from course_lib.diffusion.continuous import VP
from course_lib.diffusion.exact import ExactDiffusion, IdealDenoiser, Mixture
from course_lib.diffusion.predictions import EPS, to_eps
from course_lib.pages.proofs import assert_close, assert_zero, defines, proves
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
NULL = 3


def network(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
    """The best noise prediction of the mixture, for each row's class, or for all of it at the null token."""
    assert cond is not None
    models = [*(EXACT.conditional(y) for y in range(3)), EXACT]
    rows = [models[int(c)].eps(x[n : n + 1], t[n : n + 1]) for n, c in enumerate(cond)]
    return torch.cat(rows)


@defines("eq-cfg-loss", "eq-cfg-interval", "eq-cfg-auto", "eq-cfg-paper")
def definitions() -> None:
    """The loss, the interval, autoguidance and the paper's formula are stated."""


@proves("eq-cfg-split")
def split() -> None:
    """Over both values of the coin the expected loss is the weighted sum; and the library hides this share, independently."""
    hidden, shown, p = normal(50, seed=1) ** 2, normal(50, seed=2) ** 2, 0.1
    both = torch.stack([hidden, shown], 1)  # the loss of each picture with its label hidden and shown
    assert_close(
        (both @ torch.tensor([p, 1 - p], dtype=torch.float64)).mean(), p * hidden.mean() + (1 - p) * shown.mean()
    )
    labels = torch.zeros(200_000, dtype=torch.long)
    dropped = drop_labels(labels, 10, 0.1, torch.Generator().manual_seed(0)) == 10
    assert abs(float(dropped.double().mean()) - 0.1) < 0.003
    pairs = (dropped[:-1] & dropped[1:]).double().mean()
    assert abs(float(pairs) - 0.01) < 0.001


@proves("eq-cfg-optimum")
def optimum() -> None:
    """On a finite set with labels: the mean noise given x_t (and y), by enumeration, against the score of the noised set."""
    data, labels = normal(9, 2), torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 1])
    x, t = normal(5, 2, seed=1), double(0.4)
    a, b = VP().signal(t), VP().noise(t)
    for chosen in (data, data[labels == 0], data[labels == 1]):

        def log_density(x: Tensor, chosen: Tensor = chosen) -> Tensor:
            return (-(x - a * chosen).square().sum(-1) / (2 * b**2)).logsumexp(0)

        score = torch.stack([torch.func.grad(log_density)(row) for row in x])
        best = to_eps(IdealDenoiser(chosen, VP())(x, t), x, t, VP())
        assert_close(best, -b * score, 1e-9)


def guided_eps(x: Tensor, t: Tensor, y: int, scale: float) -> Tensor:
    """eq-cfg-formula, with the exact answers."""
    return EXACT.eps(x, t) + scale * (EXACT.conditional(y).eps(x, t) - EXACT.eps(x, t))


@proves("eq-cfg-formula")
def formula() -> None:
    """It is -b times chapter 5's guided score."""
    x = normal(6, 2)
    for time in TIMES:
        t = double(time)
        for y in range(3):
            score = (1 - 2.5) * EXACT.score(x, t) + 2.5 * EXACT.conditional(y).score(x, t)
            assert_close(guided_eps(x, t, y, 2.5), -VP().noise(t) * score, 1e-9)


@proves("eq-cfg-conversion")
def conversion() -> None:
    """SymPy: the difference of both formulas is (s - 1 - w) times the difference of the answers."""
    s, w, one, other = sp.symbols("s w e_y e_0")
    difference = s * one + (1 - s) * other - ((1 + w) * one - w * other)
    assert_zero(sp.expand(difference - (s - 1 - w) * (one - other)))


@proves("eq-cfg-linear")
def linear() -> None:
    """Guided pictures are those of the guided noise, in the library too."""
    x = normal(6, 2)
    for time in TIMES:
        t = double(time)
        a, b = VP().signal(t), VP().noise(t)
        for y in range(3):
            line = EXACT.denoise(x, t) + 3 * (EXACT.conditional(y).denoise(x, t) - EXACT.denoise(x, t))
            assert_close(line, (x - b * guided_eps(x, t, y, 3.0)) / a, 1e-9)
            library = classifier_free(network, EPS, VP(), torch.full((6,), y), NULL, 3.0)
            assert_close(library(x, t), line, 1e-9)


@proves("eq-cfg-implicit", "eq-cfg-contrast")
def implicit() -> None:
    """The gradients of the exact class posterior, by automatic differentiation."""
    x = normal(6, 2)
    for time in TIMES:
        t = double(time)
        b = VP().noise(t)

        def log_posterior(x, t=t):
            return EXACT.class_posterior(x[None], t)[0].log()

        gradients = torch.stack([torch.func.jacrev(log_posterior)(row) for row in x])  # (6, classes, 2)
        for y in range(3):
            own = EXACT.conditional(y).eps(x, t)
            assert_close(-(own - EXACT.eps(x, t)) / b, gradients[:, y], 1e-9)
            other = EXACT.conditional((y + 1) % 3).eps(x, t)
            assert_close(-(own - other) / b, gradients[:, y] - gradients[:, (y + 1) % 3], 1e-9)


@proves("eq-cfg-density")
def density() -> None:
    """The gradient of either form's logarithm is the guided score."""
    x, t, scale, y = normal(6, 2), double(0.3), 3.0, 1
    own = EXACT.conditional(y)

    def first(x):
        return (1 - scale) * EXACT.log_prob(x[None], t)[0] + scale * own.log_prob(x[None], t)[0]

    def second(x):
        return EXACT.log_prob(x[None], t)[0] + scale * (own.log_prob(x[None], t)[0] - EXACT.log_prob(x[None], t)[0])

    for form in (first, second):
        gradient = torch.stack([torch.func.grad(form)(row) for row in x])
        assert_close(gradient, -guided_eps(x, t, y, scale) / VP().noise(t), 1e-9)


X, M, A, S, NU = sp.symbols("x m a s nu", positive=True)


@proves("eq-cfg-gaussian-flow")
def gaussian_flow() -> None:
    """SymPy: (x + guided score) / a, with the scores of N(0, 1) and N(a m, a^2 nu + 1 - a^2)."""
    variance = A**2 * NU + 1 - A**2
    score = (1 - S) * (-X) + S * (-(X - A * M) / variance)
    middle = S / A * (X - (X - A * M) / (1 - A**2 * (1 - NU)))
    assert_zero((X + score) / A - middle)
    assert_zero(middle - S * (M - A * (1 - NU) * X) / (1 - A**2 * (1 - NU)))


@proves("eq-cfg-variance")
def variance() -> None:
    """SymPy: the distance's equation and the product's precision; scipy runs the flow from two points."""
    distance = (1 - A**2 * (1 - NU)) ** (S / 2)
    assert_zero(sp.diff(distance, A) / distance + S * A * (1 - NU) / (1 - A**2 * (1 - NU)))
    assert_zero(1 / ((1 - S) + S / NU) - NU / (NU + S * (1 - NU)))
    for s, nu in ((1.0, 0.3), (3.0, 0.1), (2.0, 0.5)):

        def field(a, x, s=s, nu=nu):
            return s * (0.7 - a * (1 - nu) * x) / (1 - a**2 * (1 - nu))

        ends = solve_ivp(field, (0, 1), [-1.0, 1.0], rtol=1e-10, atol=1e-12).y[:, -1]
        assert_close(((ends[1] - ends[0]) / 2) ** 2, nu**s, 1e-6)


@proves("eq-cfg-threshold", "eq-cfg-rescale")
def remedies() -> None:
    """The library's, written out."""
    raw, calm, t = 3 * normal(4, 1, 8, 8), normal(4, 1, 8, 8, seed=1), double(0.5)
    guided = dynamic_threshold(lambda x, t: raw)(raw, t)
    for n in range(4):
        limit = max(1.0, float(raw[n].abs().flatten().float().quantile(0.995)))
        assert_close(guided[n], raw[n].clamp(-limit, limit) / limit, 1e-6)
    inside = calm / 10
    assert_close(dynamic_threshold(lambda x, t: inside)(raw, t), inside)
    scaled = rescaled(lambda x, t: raw, lambda x, t: calm, 0.7)(raw, t)
    for n in range(4):
        assert_close(scaled[n], raw[n] * (0.7 * calm[n].std() / raw[n].std() + 0.3), 1e-9)
    whole = rescaled(lambda x, t: raw, lambda x, t: calm, 1.0)(raw, t)
    assert_close(whole.flatten(1).std(1), calm.flatten(1).std(1), 1e-9)
    chosen = within(lambda x, t: x + 1, lambda x, t: x, 200, 800)
    for time, added in ((100, 0), (200, 0), (201, 1), (800, 1), (801, 0)):
        assert_close(chosen(raw, torch.tensor(time)), raw + added)


@proves("eq-cfg-negative")
def negative() -> None:
    """The library's extrapolation of two classes' pictures is the formula for their noise."""
    x, t = normal(6, 2), double(0.4)
    one, other = EXACT.conditional(0), EXACT.conditional(2)
    eps = other.eps(x, t) + 2.5 * (one.eps(x, t) - other.eps(x, t))
    drawn = extrapolated(one.denoise, other.denoise, 2.5)(x, t)
    assert_close(to_eps(drawn, x, t, VP()), eps, 1e-9)
