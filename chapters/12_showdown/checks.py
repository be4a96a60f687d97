"""Checks of chapter 12's first page: tables, Gaussians and small maps in float64, each compared with what it was not derived from."""

import math

import numpy as np
import torch
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import entropy
from torch import Tensor

from course_lib.evaluation.modes import modes_of_classes
from course_lib.nets.flows import Coupling
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves
from course_lib.recipes.rivals import Autoencoder
from course_lib.training.adversarial import fooling_loss, gradient_penalty, telling_loss

RANDOM = np.random.default_rng(0)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tables(seed: int, size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Two random probability tables."""
    drawn = np.random.default_rng(seed).uniform(0.05, 1.0, (2, size))
    return tuple(drawn / drawn.sum(1, keepdims=True))


def best(function, low: float, high: float) -> float:  # type: ignore[no-untyped-def]
    """Where a function of one number is largest."""
    found = minimize_scalar(lambda x: -function(x), bounds=(low, high), method="bounded", options={"xatol": 1e-13})
    return float(found.x)


# --- GAN -----------------------------------------------------------------------------------------------------------------


@defines("eq-show-gan-value", "eq-show-gan-losses", "eq-show-gan-r1")
def adversarial_definitions() -> None:
    """The library's losses are the negative logarithms, and its penalty the mean squared slope at real samples."""
    real, fake, x = normal(7), normal(7, seed=1), normal(5, 3)
    D = torch.sigmoid
    loss = claim(-D(real).log().mean() - (1 - D(fake)).log().mean(), "eq-show-gan-losses")
    assert_close(telling_loss(real, fake), loss)
    assert_close(fooling_loss(fake), claim(-D(fake).log().mean(), "eq-show-gan-losses"))
    value = -telling_loss(real, fake)
    assert_close(value, claim(D(real).log().mean() + (1 - D(fake)).log().mean(), "eq-show-gan-value"))
    slope = torch.cos(x) * torch.tensor([1.0, 2.0, 3.0])
    logit = lambda y: (torch.sin(y) * torch.tensor([1.0, 2.0, 3.0])).sum(1)  # noqa: E731
    assert_close(gradient_penalty(logit, x).detach(), claim(slope.square().sum(1), "eq-show-gan-r1").mean(), 1e-5)


@proves("eq-show-gan-optimal", "eq-show-gan-ratio")
def optimal_discriminator() -> None:
    """The best answer for each entry of two random tables, by a search; and its logit."""
    for seed in range(3):
        for p, q in zip(*tables(seed), strict=True):
            D = best(lambda d, p=p, q=q: p * math.log(d) + q * math.log(1 - d), 1e-9, 1 - 1e-9)
            assert_close(D, claim(p / (p + q), "eq-show-gan-optimal"), 1e-6)
            assert_close(math.log(D / (1 - D)), claim(math.log(p / q), "eq-show-gan-ratio"), 1e-5)


@proves("eq-show-gan-js")
def jensen_shannon() -> None:
    """The largest value over all tables of answers, each found by a search; the divergences by scipy."""
    for seed in range(4):
        p, q = tables(seed)
        value = 0.0
        for one, other in zip(p, q, strict=True):
            D = best(lambda d, one=one, other=other: one * math.log(d) + other * math.log(1 - d), 1e-9, 1 - 1e-9)
            value += one * math.log(D) + other * math.log(1 - D)
        middle = (p + q) / 2
        assert_close(value, claim(entropy(p, middle) + entropy(q, middle) - math.log(4)), 1e-9)


@proves("eq-show-gan-saturates")
def saturation() -> None:
    """Both losses of a generated sample against its logit, by differences."""
    h = 1e-6
    for u in (-4.0, -0.5, 1.5):

        def D(logit: float) -> float:
            return 1 / (1 + math.exp(-logit))

        first = (math.log(1 - D(u + h)) - math.log(1 - D(u - h))) / (2 * h)
        second = (-math.log(D(u + h)) + math.log(D(u - h))) / (2 * h)
        assert_close(first, claim(-D(u)), 1e-6)
        assert_close(second, claim(-(1 - D(u))), 1e-6)


@proves("eq-show-gan-flow", "eq-show-gan-eigenvalues")
def dirac() -> None:
    """Gradients of the two losses of the game of one point, by differences; the eigenvalues of their derivative at 0, by numpy."""
    h = 1e-5
    softplus = lambda u: math.log1p(math.exp(u))  # noqa: E731
    for gamma in (0.0, 0.4, 3.0):

        def game(theta: float, psi: float, gamma: float = gamma) -> tuple[float, float]:
            tell = lambda s: softplus(-s * 0.0) + softplus(s * theta) + gamma / 2 * s**2  # noqa: E731
            fool = lambda c: softplus(-psi * c)  # noqa: E731
            down = lambda f, at: -(f(at + h) - f(at - h)) / (2 * h)  # noqa: E731
            return down(fool, theta), down(tell, psi)

        def page(theta: float, psi: float, gamma: float = gamma) -> tuple[float, float]:
            D = 1 / (1 + math.exp(-psi * theta))
            return (
                claim((1 - D) * psi, "eq-show-gan-flow"),
                claim(-D * theta - gamma * psi, "eq-show-gan-flow"),
            )

        for theta, psi in ((0.7, -0.4), (-1.2, 0.9), (0.3, 2.0)):
            assert_close(game(theta, psi), page(theta, psi), 1e-8)
        k = 1e-3
        columns = [(np.array(game(k, 0)) - game(-k, 0)) / (2 * k), (np.array(game(0, k)) - game(0, -k)) / (2 * k)]
        root = np.emath.sqrt(gamma**2 - 1)
        roots = (
            claim((-gamma + root) / 2, "eq-show-gan-eigenvalues"),
            claim((-gamma - root) / 2, "eq-show-gan-eigenvalues"),
        )
        found = np.linalg.eigvals(np.array(columns).T)
        order = lambda values: np.array(sorted(values, key=lambda z: (np.real(z), np.imag(z))), dtype=complex)  # noqa: E731
        for part in (np.real, np.imag):
            assert_close(part(order(found)), part(order(roots)), 1e-4)


# --- VAE -----------------------------------------------------------------------------------------------------------------


def gaussian(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """log N(x; mean, covariance)."""
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)


@defines("eq-show-vae-model", "eq-show-vae-reparam")
def vae_definitions() -> None:
    """The library's z is the mean plus the deviation times the noise, and its density that of the model."""
    network, x, noise = Autoencoder(3, 2, 8, 1).double(), normal(5, 3), normal(5, 2, seed=1)
    network.log_variances.data.fill_(0.6)
    mean, log_variance = network.encoder(x).chunk(2, 1)
    z = claim(mean + (log_variance / 2).exp() * noise, "eq-show-vae-reparam")
    mean, variance = network.decoder(z), network.log_variances.exp()
    fit = claim(-((x - mean) ** 2 / variance + torch.log(2 * math.pi * variance)) / 2, "eq-show-vae-model").sum(1)
    assert_close(network(x, noise)[0].detach(), fit.detach())


@proves("eq-show-vae-elbo")
def elbo() -> None:
    """A linear decoder of two latent coordinates in four dimensions, whose evidence and posterior are Gaussian; any Gaussian q."""
    A, spread, x = normal(4, 2), 0.7, normal(4, seed=1)
    root = normal(2, 2, seed=2)
    m, C = normal(2, seed=3), root @ root.T + 0.1 * torch.eye(2).double()
    evidence = gaussian(x, torch.zeros(4).double(), A @ A.T + spread * torch.eye(4).double())
    precision = torch.eye(2).double() + A.T @ A / spread
    posterior = torch.distributions.MultivariateNormal(
        torch.linalg.solve(precision, A.T @ x / spread), torch.linalg.inv(precision)
    )
    q = torch.distributions.MultivariateNormal(m, C)
    prior = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    fit = -(4 * math.log(2 * math.pi * spread) + ((x - A @ m).square().sum() + (A @ C @ A.T).trace()) / spread) / 2
    KL = torch.distributions.kl_divergence
    assert_close(evidence, claim(fit - KL(q, prior) + KL(q, posterior)), 1e-9)


@proves("eq-show-vae-kl")
def vae_kl() -> None:
    """Each coordinate's divergence by quadrature."""
    m, s = np.array([0.4, -1.1, 0.0]), np.array([0.6, 1.4, 1.0])

    def one(mean: float, deviation: float) -> float:
        q = lambda z: math.exp(-(((z - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))  # noqa: E731
        log_ratio = lambda z: -(((z - mean) / deviation) ** 2) / 2 - math.log(deviation) + z**2 / 2  # noqa: E731
        return quad(lambda z: q(z) * log_ratio(z), mean - 12 * deviation, mean + 12 * deviation)[0]

    total = sum(one(*pair) for pair in zip(m, s, strict=True))
    assert_close(total, claim((m**2 + s**2 - 1 - np.log(s**2)) / 2).sum(), 1e-8)


@proves("eq-show-vae-variance", "eq-show-vae-fit")
def decoder_variance() -> None:
    """The variance that makes the mean log density of random errors largest, by a search, and what it is there."""
    errors, D = 0.8 * normal(400, 3), 3
    E = float(errors.square().sum(1).mean())
    density = lambda v: -(D * math.log(2 * math.pi * v) + E / v) / 2  # noqa: E731
    variance = best(density, 1e-3, 10.0)
    assert_close(variance, claim(E / D, "eq-show-vae-variance"), 1e-5)
    assert_close(density(variance), claim(-D / 2 * math.log(2 * math.pi * math.e * variance), "eq-show-vae-fit"), 1e-9)


# --- flows ---------------------------------------------------------------------------------------------------------------


@proves("eq-show-flow-change")
def change_of_variables() -> None:
    """Linear maps of a normal vector, whose image is known to be Gaussian; a curved map on the line, by the slope of the shares."""
    A, c, x = normal(3, 3), normal(3, seed=1), normal(6, 3, seed=2)
    f = lambda y: torch.linalg.solve(A, y - c)  # noqa: E731  (x = A z + c)
    for row in x:
        jacobian = torch.func.jacfwd(f)(row)
        log_normal = -(f(row).square().sum() + 3 * math.log(2 * math.pi)) / 2
        page = claim(log_normal + torch.linalg.slogdet(jacobian)[1])
        assert_close(page, gaussian(row, c, A @ A.T), 1e-9)
    h = 1e-5
    for point in (-2.0, 0.3, 1.5):  # x = sinh z
        share = lambda y: float(torch.special.ndtr(torch.tensor(math.asinh(y), dtype=torch.float64)))  # noqa: E731
        slope = (share(point + h) - share(point - h)) / (2 * h)
        log_normal, volume = (
            -(math.asinh(point) ** 2 + math.log(2 * math.pi)) / 2,
            -math.log(math.cosh(math.asinh(point))),
        )
        assert_close(math.log(slope), log_normal + volume, 1e-7)


def coupled(x: Tensor) -> Tensor:
    """A coupling of five coordinates, two of them kept, written out."""
    a, b = x[:2], x[2:]
    s, m = torch.stack([a[0].sin(), a.prod(), a[1] ** 2 / 2]), torch.stack([a[0] ** 2, a.sum(), a[1].cos()])
    return torch.cat([a, claim(b * s.exp() + m, "eq-show-flow-coupling")])


@proves("eq-show-flow-coupling", "eq-show-flow-inverse", "eq-show-flow-volume")
def coupling() -> None:
    """A coupling by hand: back to the x that it came from, its Jacobian by automatic differentiation; and the library's."""
    for seed in range(3):
        x = normal(5, seed=seed)
        y, a = coupled(x), x[:2]
        s, m = torch.stack([a[0].sin(), a.prod(), a[1] ** 2 / 2]), torch.stack([a[0] ** 2, a.sum(), a[1].cos()])
        back = claim((y[2:] - m) * (-s).exp(), "eq-show-flow-inverse")
        assert_close(back, x[2:], 1e-9)
        jacobian = torch.func.jacfwd(coupled)(x)
        assert_close(torch.linalg.slogdet(jacobian)[1], claim(s.sum(), "eq-show-flow-volume"), 1e-9)
    layer = Coupling(torch.tensor([True, True, False, False, False]), 8, 1).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
        rows = normal(4, 5)
        s, m = layer.scale_and_shift(rows[:, :2])
        moved, volume = layer(rows)
        b = rows[:, 2:]
        assert_close(moved[:, 2:], claim(b * s.exp() + m, "eq-show-flow-coupling"))
        assert_close(moved[:, :2], rows[:, :2])
        assert_close(volume, s.sum(1))


@proves("eq-show-flow-bridge")
def bridge() -> None:
    """A map that is as steep as it may be in the gap: the probability that it puts there, by quadrature; a gentler one loses more."""
    density = lambda z: math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    Phi = lambda z: float(torch.special.ndtr(torch.tensor(z, dtype=torch.float64)))  # noqa: E731
    for L, delta, z_0 in ((4.0, 1.2, -0.1), (9.0, 2.0, 0.5), (2.5, 0.6, -1.3)):

        def g(z: float, steep: float, L: float = L, delta: float = delta, z_0: float = z_0) -> float:
            """Slope 1/2 outside, `steep` inside of the gap, which is (0, delta)."""
            inside = min(max(z - z_0, 0.0), delta / steep)
            return steep * inside + (z - z_0 - inside) / 2

        def lost(steep: float, delta: float = delta) -> float:
            at = np.linspace(-9, 9, 200_001)
            inside = np.array([0 < g(z, steep) < delta for z in at])
            edges = at[inside][[0, -1]]
            return quad(density, *edges)[0]

        bound = claim(Phi(z_0 + delta / L) - Phi(z_0))
        assert_close(lost(L), bound, 1e-4)
        assert lost(L / 2) > bound


# --- what the divergences ask for ----------------------------------------------------------------------------------------


@proves("eq-show-covering")
def covering() -> None:
    """The Gaussian with the smallest KL(p, q) for a mixture of three on the line, by a search in mean and variance."""
    w, centres, v = np.array([0.2, 0.5, 0.3]), np.array([-2.0, 0.5, 1.5]), np.array([0.1, 0.3, 0.05])
    mean = claim((w * centres).sum())
    variance = claim((w * (v + centres**2)).sum() - (w * centres).sum() ** 2)
    x = np.linspace(-9, 9, 20001)
    p = sum(
        weight * np.exp(-((x - c) ** 2) / (2 * u)) / math.sqrt(2 * math.pi * u)
        for weight, c, u in zip(w, centres, v, strict=True)
    )
    cross = lambda at: np.trapezoid(p * ((x - at[0]) ** 2 / (2 * math.exp(at[1])) + at[1] / 2), x)  # noqa: E731
    found = minimize(cross, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}).x
    assert_close([found[0], math.exp(found[1])], [mean, variance], 1e-5)


@defines("eq-show-modes-kl")
def modes_kl() -> None:
    """The library's divergence of the modes is that of the shares from even ones."""
    classes = torch.tensor([0, 0, 0, 1, 1, 2, 4, 4])
    shares = torch.tensor([3, 2, 1, 2]).double() / 8
    assert_close(modes_of_classes(classes, 5).divergence, claim(shares * (5 * shares).log()).sum())


@proves("eq-show-modes-floor")
def modes_floor() -> None:
    """The mean divergence of many draws of n from K equal kinds."""
    for K, n in ((4, 2000), (25, 5000), (100, 20000)):
        counts = RANDOM.multinomial(n, np.full(K, 1 / K), size=4000)
        shares = counts / n
        divergences = (shares * np.log(np.where(shares > 0, K * shares, 1))).sum(1)
        error = divergences.std() / math.sqrt(len(divergences))
        floor = claim((K - 1) / (2 * n))
        assert abs(divergences.mean() - floor) < 4 * error + 0.02 * abs(divergences.mean()), (divergences.mean(), floor)


# --- exercises -----------------------------------------------------------------------------------------------------------


@answers("ex-show-discriminator")
def discriminator_exercise() -> None:
    """What a perfect discriminator loses for equal densities, by a search over its one answer."""
    D = best(lambda d: math.log(d) + math.log(1 - d), 1e-9, 1 - 1e-9)
    lost = -(math.log(D) + math.log(1 - D))
    assert_close(lost, claim(2 * math.log(2)), 1e-9)
    assert_close(D, claim(1 / 2), 1e-6)
    assert_printed(lost, "1.386")


@answers("ex-show-vae-modes")
def vae_modes_exercise() -> None:
    """Two entropies by quadrature on the line, twice for the plane: the fitted Gaussian's, and a small bump's; and 25 equal ones."""
    spacing = math.sqrt(1 / 2)
    v = float(np.mean((spacing * np.arange(-2, 3)) ** 2) + (spacing / 20) ** 2)
    assert_close(v, claim(1 + 1 / 800))
    assert_printed(v, "1.00125")

    def entropy_of(variance: float) -> float:
        p = lambda x: math.exp(-(x**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)  # noqa: E731
        width = 12 * math.sqrt(variance)
        return 2 * quad(lambda x: -p(x) * math.log(p(x)), -width, width, points=[0.0])[0]

    fitted, bump = entropy_of(v), entropy_of(1 / 800)
    assert_close(fitted, claim(math.log(2 * math.pi * math.e * v)), 1e-6)
    truth = entropy(np.full(25, 1 / 25)) + bump
    assert_close(truth, claim(math.log(25) + math.log(2 * math.pi * math.e / 800)), 1e-6)
    assert_printed(fitted, "2.84")
    assert_printed(float(-truth), "0.63")


@answers("ex-show-dirac")
def dirac_exercise() -> None:
    """The size of the eigenvalues of a simultaneous step, by numpy, and what they are to the power of a thousand."""
    for h in (0.1, 0.5):
        step = np.eye(2) + h * np.array([[0, 0.5], [-0.5, 0]])
        for value in np.abs(np.linalg.eigvals(step)):
            assert_close(value, claim(math.sqrt(1 + h**2 / 4)))
    grown = np.linalg.norm(np.linalg.matrix_power(np.eye(2) + 0.1 * np.array([[0, 0.5], [-0.5, 0]]), 1000)[0])
    assert_printed(float(grown), "3.48")
    assert_printed(0.1, "0.1")
