"""Checks of the equations on clouds and score distillation: matrices, quadrature, derivatives by autograd and all cases, in float64."""

import itertools
import math

import numpy as np
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from torch import Tensor

from course_lib.data import shadows, shapes
from course_lib.diffusion.distillation import distillation_loss
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine
from course_lib.nets.sets import PointTransformer
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, equivalent, proves

CYCLE = np.roll(np.eye(3), 1, 0)  # a permutation of three points that is not its own inverse
COSINE = cosine(20)
PROCESS = GaussianDiffusion(COSINE)
T = torch.tensor(9)
A, B = float(COSINE.signal(T)), float(COSINE.noise(T))
BUMPS = Mixture(
    torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64),
    torch.tensor([[-1.0, 0.3, 0.2], [0.8, -0.4, 0.5], [0.2, 1.1, -0.6]], dtype=torch.float64),
    torch.stack([scale * torch.eye(3, dtype=torch.float64) for scale in (0.3, 0.2, 0.5)]),
)
EXACT = ExactDiffusion(BUMPS, COSINE)


def grid(nodes: int = 9) -> tuple[Tensor, Tensor]:
    """Points `(nodes^3, 3)` and masses with which polynomials of standard normal numbers in three dimensions are integrated."""
    places, masses = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.array(list(itertools.product(places, repeat=3)))
    mass = np.array([math.prod(m) for m in itertools.product(masses / masses.sum(), repeat=3)])
    return torch.tensor(points), torch.tensor(mass)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers of a shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- clouds -----------------------------------------------------------------------------------------------------------


def stretch(R: float, r: float, angles: list[float]) -> float:
    """The area that a torus's parametrisation has at two angles: the length of the cross product of its derivatives."""

    def place(both: Tensor) -> Tensor:
        out = R + r * both[1].cos()
        return torch.stack([out * both[0].cos(), out * both[0].sin(), r * both[1].sin()])

    sides = torch.func.jacrev(place)(torch.tensor(angles, dtype=torch.float64))
    return float(torch.linalg.cross(sides[:, 0], sides[:, 1]).norm())


@defines("eq-shape-torus")
def place() -> None:
    """The library's points are such points, with the first axis around which theta turns."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.rand(2, 3, generator=generator)
    points = shapes.torus(sizes, torch.rand(2, 9, 3, generator=generator), torch.rand(2, 9, 2, generator=generator))
    R = 0.45 + 0.25 * sizes[:, :1]
    r = R * (0.25 + 0.17 * sizes[:, 1:2])
    away = points[..., 1:].norm(dim=2) - R  # r cos(phi), beside r sin(phi)
    assert_close(claim(away**2 + points[..., 0] ** 2), (r**2).expand(2, 9), 1e-5)


@proves("eq-shape-area")
def area() -> None:
    """The cross product at random angles of three tori."""
    rng = np.random.default_rng(0)
    for R, r in ((1.0, 0.3), (0.7, 0.5), (2.0, 1.1)):
        theta, phi = rng.uniform(0, 6, 2)
        assert_close(claim(r * (R + r * math.cos(phi))), stretch(R, r, [theta, phi]), 1e-10)


@proves("eq-shape-flip")
def flip() -> None:
    """One area of two, and the mean of the cosine that the library's points have: half the ratio of the radii."""
    for k, phi in ((0.3, 0.4), (0.5, 2.0), (0.25, 4.0)):
        here, there = stretch(1.0, k, [0.3, phi]), stretch(1.0, k, [0.3, math.pi - phi])
        assert_close(claim((1 + k * math.cos(phi)) / 2), here / (here + there), 1e-10)
    generator = torch.Generator().manual_seed(0)
    draws, tosses = (torch.rand(1, 40_000, size, generator=generator) for size in (3, 2))
    points = shapes.torus(torch.full((1, 3), 1.0), draws, tosses)[0].double()
    out = points[:, 1:].norm(dim=1) / 0.7
    assert_close((out.mean() - 1) / 0.42, 0.42 / 2, 0.015)


@defines("eq-shape-mixed")
def mixed() -> None:
    """This introduces points that are independent given their object."""


@proves("eq-shape-equivariant")
def equivariant() -> None:
    """Bayes' rule over two clouds of three points in space in each of their orders."""
    rng = np.random.default_rng(1)
    orders = [np.eye(3)[list(order)] for order in itertools.permutations(range(3))]
    data = np.array([order @ cloud for cloud in rng.normal(size=(2, 3, 3)) for order in orders])

    def denoise(x: np.ndarray) -> np.ndarray:
        weights = np.exp(-((x - 0.6 * data) ** 2).sum((1, 2)) / (2 * 0.8**2))
        return np.einsum("n,nij->ij", weights / weights.sum(), data)

    P = CYCLE
    for _ in range(4):
        x = rng.normal(size=(3, 3))
        assert_close(claim(P.T @ denoise(P @ x)), denoise(x), 1e-10)


@proves("eq-shape-jacobian")
def jacobian() -> None:
    """The derivative of the library's network of sets by autograd, for three points in space; so its determinant is the same."""
    network = PointTransformer(2, width=8, depth=1, heads=2).double().eval()
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(0.4 * drawn(*parameter.shape, seed=number))
    P = torch.kron(torch.tensor(CYCLE), torch.eye(3, dtype=torch.float64))
    t, kind = torch.tensor([300.0], dtype=torch.float64), torch.tensor([1])

    def derivative(x: Tensor) -> Tensor:
        return torch.func.jacrev(lambda flat: network(flat.view(1, 3, 3), t, kind).flatten())(x).detach()

    x = drawn(9, seed=50)
    assert_close(claim(P @ derivative(x) @ P.T), derivative(P @ x), 1e-9)
    assert_close(torch.linalg.slogdet(derivative(x))[1], torch.linalg.slogdet(derivative(P @ x))[1], 1e-9)


@proves("eq-shape-gaussian")
def gaussian() -> None:
    """The gain of all points together as a matrix, for five points in space around a centre that is not known."""
    x, n = drawn(5, 3), 5
    for a, sigma, tau in ((0.8, 0.5, 1.2), (0.3, 1.0, 0.4)):
        b = math.sqrt(1 - a**2)
        covariance = sigma**2 * torch.eye(n) + tau**2 * torch.ones(n, n)
        gain = a * covariance @ torch.linalg.inv(a**2 * covariance + b**2 * torch.eye(n))
        g0 = claim(a * sigma**2 / (a**2 * sigma**2 + b**2), "eq-shape-gaussian")
        wide = sigma**2 + n * tau**2
        g1 = claim(a * wide / (a**2 * wide + b**2), "eq-shape-gaussian")
        assert_close(claim(g0 * x + (g1 - g0) * x.mean(0), "eq-shape-gaussian"), gain.double() @ x, 1e-5)


@proves("eq-shape-information")
def information() -> None:
    """All clouds of three points with four places each, of three objects."""
    rng, n = np.random.default_rng(2), 3
    objects, places = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(4), 3)
    alone, told, together, divergence = objects @ places, 0.0, 0.0, 0.0
    for z, i in itertools.product(range(3), range(4)):
        told += objects[z] * places[z, i] * math.log(places[z, i] / alone[i])
    for cloud in itertools.product(range(4), repeat=n):
        given = [math.prod(places[z, i] for i in cloud) for z in range(3)]
        share = objects @ given
        divergence += share * math.log(share / math.prod(alone[i] for i in cloud))
        together += sum(objects[z] * given[z] * math.log(given[z] / share) for z in range(3))
    assert_close(claim(n * told - together), divergence, 1e-10)


def lost(n: int, rho: float) -> float:
    """The divergence of points in space around an unknown centre from independent ones, by determinants."""
    covariance = np.eye(n) + rho * np.ones((n, n))
    return 3 / 2 * (n * math.log(1 + rho) - np.linalg.slogdet(covariance)[1])


@proves("eq-shape-lost")
def what_is_lost() -> None:
    """The same for other numbers of points and dimensions."""
    for n, rho, D in ((2, 0.5, 3), (7, 2.0, 3), (20, 0.1, 3)):
        assert_close(claim(D / 2 * (n * math.log(1 + rho) - math.log(1 + n * rho))), lost(n, rho), 1e-9)


@defines("eq-shape-chamfer")
def chamfer() -> None:
    """The library's distances, point by point."""
    first, second = drawn(2, 5, 3), drawn(3, 4, 3, seed=1)
    for i, j in itertools.product(range(2), range(3)):
        X, Y = first[i], second[j]
        there = sum(min(float((x - y).square().sum()) for y in Y) for x in X) / len(X)
        back = sum(min(float((x - y).square().sum()) for x in X) for y in Y) / len(Y)
        assert_close(shapes.chamfer(first, second)[i, j], claim(there + back))


@proves("eq-shape-half")
def half() -> None:
    """The share of neighbours of the own set over all ways to call half of some things the one set."""
    rng = np.random.default_rng(3)
    for M in (2, 3, 4):
        apart = rng.uniform(size=(2 * M, 2 * M))
        apart = apart + apart.T + np.diag([9.0] * 2 * M)
        nearest, shares = apart.argmin(1), []
        for chosen in itertools.combinations(range(2 * M), M):
            ours = np.isin(np.arange(2 * M), chosen)
            shares.append((ours[nearest] == ours).mean())
        assert_close(np.mean(shares), claim((M - 1) / (2 * M - 1)), 1e-12)


# --- score distillation -----------------------------------------------------------------------------------------------


@proves("eq-shape-full")
def full() -> None:
    """The derivative of the denoising loss through a network by autograd, with a network that is no gradient of anything."""
    weights, (nodes, mass), a, b = drawn(3, 3, seed=2), grid(5), 0.7, math.sqrt(0.51)

    def network(x_t: Tensor) -> Tensor:
        return torch.tanh(x_t @ weights.T) * 0.9

    x = drawn(3, seed=3).requires_grad_()
    value = (mass * (network(a * x + b * nodes) - nodes).square().sum(1) / 2).sum()
    (wanted,) = torch.autograd.grad(value, x)
    found = torch.zeros(3, dtype=torch.float64)
    for noise, share in zip(nodes, mass, strict=True):
        x_t = a * x.detach() + b * noise
        J, guess = torch.func.jacrev(network)(x_t), network(x_t)
        found += share * claim(a * J.T @ (guess - noise), "eq-shape-full")
    assert_close(found, wanted, 1e-9)


@defines("eq-shape-sds")
def distilled() -> None:
    """The library's loss has this gradient, with b / a as its weight."""
    x, noise = drawn(4, 3, seed=4).requires_grad_(), drawn(4, 3, seed=5)
    t = torch.full((4,), int(T))
    (found,) = torch.autograd.grad(distillation_loss(EXACT.denoise, x, t, noise, PROCESS).sum(), x)
    guess = EXACT.eps(A * x.detach() + B * noise, T)
    assert_close(found, claim(B / A * (guess - noise)), 1e-9)


@proves("eq-shape-target")
def target() -> None:
    """The exact mixture's best guess of the noise, and of the data."""
    x, noise, a, b = drawn(6, 3, seed=6), drawn(6, 3, seed=7), A, B
    x_t = a * x + b * noise
    x0 = EXACT.denoise(x_t, T)
    assert_close(EXACT.eps(x_t, T) - noise, claim(a / b * (x - x0)), 1e-9)


@defines("eq-shape-divergence")
def two_terms() -> None:
    """This writes the divergence as two means."""


def divergence(x: Tensor, a: float | Tensor, b: float) -> Tensor:
    """The divergence of the picture's noisy copies from the mixture's, by quadrature."""
    nodes, mass = grid(13)
    x_t = a * x + b * nodes
    own = -(nodes.square().sum(1) + 3 * math.log(2 * math.pi * b**2)) / 2
    variances = a**2 * BUMPS.covariances[:, 0, 0] + b**2
    apart = (x_t[:, None] - a * BUMPS.means).square().sum(-1)
    logs = BUMPS.weights.log() - apart / (2 * variances) - 1.5 * torch.log(2 * math.pi * variances)
    return mass @ (own - logs.logsumexp(1))


@equivalent(
    "a / b * (mass @ (guess + noise))", because="the noise has the mean 0, so that any multiple of it may be added"
)
@equivalent("a / b * (mass @ guess)", because="the noise has the mean 0, so that any multiple of it may be added")
@proves("eq-shape-kl")
def descent() -> None:
    """The derivative of the divergence by autograd, and the library's best guesses of the noise, averaged by quadrature."""
    (nodes, mass), a, b = grid(13), A, B
    for seed in (8, 9):
        x = drawn(3, seed=seed).requires_grad_()
        (wanted,) = torch.autograd.grad(divergence(x, a, b), x)
        guess, noise = EXACT.eps(a * x.detach() + b * nodes, T), nodes
        assert_close(claim(a / b * (mass @ (guess - noise))), wanted, 1e-8)


@proves("eq-shape-sum")
def added_up() -> None:
    """The errors at all signal-to-noise ratios below one, added up by Gauss and Legendre, against the divergence there."""
    nodes, mass = grid(13)
    places, masses = np.polynomial.legendre.leggauss(14)
    x, total, top = drawn(3, seed=10), torch.zeros(()), (A / B) ** 2
    for place, share in zip(places, masses, strict=True):
        gamma = top * (place + 1) / 2
        x_t = math.sqrt(gamma) * x + nodes
        variances = gamma * BUMPS.covariances[:, 0, 0] + 1
        away = x_t[:, None] - math.sqrt(gamma) * BUMPS.means
        logs = BUMPS.weights.log() - away.square().sum(-1) / (2 * variances) - 1.5 * variances.log()
        each = BUMPS.means + (math.sqrt(gamma) * BUMPS.covariances[:, 0, 0] / variances)[:, None] * away
        guess = (logs.softmax(1)[..., None] * each).sum(1)
        total += share * top / 2 * claim(1 / 2 * (mass * (x - guess).square().sum(1)).sum(), "eq-shape-sum")
    assert_close(total, divergence(x, A, B), 1e-4)


@proves("eq-shape-mode")
def towards_the_mean() -> None:
    """The derivative of the divergence of two Gaussians in four dimensions."""
    from torch.distributions import MultivariateNormal, kl_divergence

    one = torch.eye(4, dtype=torch.float64)
    for a, s in ((0.9, 0.4), (0.4, 1.3)):
        b, m = math.sqrt(1 - a**2), drawn(4, seed=11)
        x = drawn(4, seed=12).requires_grad_()
        law = MultivariateNormal(a * m, (a**2 * s**2 + b**2) * one)
        (wanted,) = torch.autograd.grad(kl_divergence(MultivariateNormal(a * x, b**2 * one), law), x)
        assert_close(claim(a**2 * (x.detach() - m) / (a**2 * s**2 + b**2)), wanted, 1e-9)


@proves("eq-shape-guided")
def further_out() -> None:
    """Where the guided field of two bumps in space, from the library's mixture, has its zero, by bisection."""
    (nodes, mass), a, b, spread = grid(11), A, B, 0.5
    m = torch.tensor([0.6, -0.2, 0.4], dtype=torch.float64)
    one = spread**2 * torch.eye(3, dtype=torch.float64)
    pair = Mixture(torch.tensor([0.5, 0.5], dtype=torch.float64), torch.stack([m, -m]), torch.stack([one, one]))
    everything = ExactDiffusion(pair, COSINE)
    alone, v = everything.conditional(0), a**2 * spread**2 + b**2
    for s in (1.0, 3.0, 8.0):

        def field(r: float, s: float = s) -> float:
            x_t = a * r * m + b * nodes
            plain = everything.eps(x_t, T)
            return float(mass @ ((plain + s * (alone.eps(x_t, T) - plain)) @ m))

        r = brentq(field, 0.2, 9.0, xtol=1e-12)
        doubt = float(mass @ torch.sigmoid(-2 * a * (a * r * m + b * nodes) @ m / v))
        assert_close(r, claim(1 + 2 * (s - 1) * doubt, "eq-shape-guided"), 1e-6)


@proves("eq-shape-variance")
def variance() -> None:
    """How the library's best guess of the noise moves with the noise, by autograd, for a Gaussian in four dimensions."""
    spreads = torch.tensor([2.0, 0.7, 0.1, 0.01], dtype=torch.float64)
    mean = torch.zeros(1, 4, dtype=torch.float64)
    data = ExactDiffusion(Mixture(torch.ones(1, dtype=torch.float64), mean, torch.diag(spreads)[None]), COSINE)
    a, b, x = A, B, drawn(4, seed=13)
    v = a**2 * spreads + b**2
    for c in (0.0, 0.4, 1.0):
        moves = torch.func.jacrev(lambda noise, c=c: data.eps((a * x + b * noise)[None], T)[0] - c * noise)(
            drawn(4, seed=14)
        )
        assert_close(claim(((b**2 / v - c) ** 2).sum(), "eq-shape-variance"), moves.square().sum(), 1e-9)


# --- shadows ----------------------------------------------------------------------------------------------------------


@proves("eq-shape-beer")
def beer() -> None:
    """Light through many thin slabs, each of which takes its share; and the library's shadow of a block of voxels."""
    depth = quad(lambda z: 0.4 + math.sin(z) ** 2, 0, 2)[0]
    light, thin = 1.0, 2 / 40_000
    for k in range(40_000):
        light *= 1 - thin * (0.4 + math.sin((k + 0.5) * thin) ** 2)
    assert_close(1 - light, claim(1 - math.exp(-depth)), 1e-4)
    block = drawn(1, 3, 3, 3, seed=15).square()
    for y, x in itertools.product(range(3), range(3)):
        depth = float(block[0, y, x].sum())
        assert_close(shadows.shadows(block)[0, 0, y, x], claim(1 - math.exp(-depth)))


@proves("eq-shape-deaf")
def deaf() -> None:
    """The derivative of a shadow in a voxel's density by autograd."""
    block = drawn(1, 3, 3, 3, seed=16).square().requires_grad_()
    seen = shadows.shadows(block)[0, 0, 1, 2]
    (slope,) = torch.autograd.grad(seen, block)
    S = float(seen.detach())
    assert_close(slope[0, 1, 2], np.full(3, claim(1 - S)))


@proves("eq-shape-hull")
def hull() -> None:
    """The front of a carved block, voxel by voxel; and all 256 blocks of two voxels a side: which pairs of pictures are shadows."""
    rng = np.random.default_rng(4)
    for _ in range(5):
        F, S = (rng.uniform(size=(5, n)) < 0.3 for n in (6, 4))
        F, S = F.astype(float), S.astype(float)
        seen = np.array([[max(F[y, x] * S[y, z] for z in range(4)) for x in range(6)] for y in range(5)])
        assert_close(seen, claim(F * S.max(1)[:, None]))
    every = [np.array(bits).reshape(2, 2, 2) for bits in itertools.product((0, 1), repeat=8)]
    possible = {(tuple(block.max(2).ravel()), tuple(block.max(1).ravel())) for block in every}
    for front, side in itertools.product(itertools.product((0, 1), repeat=4), repeat=2):
        rows = [np.array(picture).reshape(2, 2).max(1).tolist() for picture in (front, side)]
        assert ((front, side) in possible) == (rows[0] == rows[1])


# --- exercises --------------------------------------------------------------------------------------------------------


@answers("ex-shape-inside")
def inside() -> None:
    """The inner half's share of the area, by quadrature of the cross product."""
    inner = quad(lambda phi: stretch(1.0, 0.5, [0.2, phi]), math.pi / 2, 3 * math.pi / 2)[0]
    everything = quad(lambda phi: stretch(1.0, 0.5, [0.2, phi]), 0, 2 * math.pi)[0]
    k = 0.5
    assert_close(inner / everything, claim(1 / 2 - k / math.pi), 1e-7)
    assert_printed(inner / everything, "0.341")
    assert_printed(0.5 / (inner / everything), "1.47")


@answers("ex-shape-bits")
def nats() -> None:
    """What 64 independent points lose, by determinants; for each point, and for each of endlessly many."""
    found = lost(64, 4.0)
    assert_close(claim(3 / 2 * (64 * math.log(5) - math.log(257))), found, 1e-9)
    assert_printed(found, "146.2")
    assert_printed(found / 64, "2.28")
    assert_printed(3 / 2 * math.log(5), "2.41")


@answers("ex-shape-opaque")
def opaque() -> None:
    """The density at which 28 voxels, or one, take 95 of 100 parts of the light, by the library's shadows."""
    dense = claim(-math.log(1 - 0.95) / 28)
    block = torch.full((1, 28, 28, 28), dense, dtype=torch.float64)
    assert_close(shadows.shadows(block)[0, 0, 0, 0], 0.95)
    assert_printed(dense, "0.107")
    assert_printed(28 * dense, "3.00")
    assert_printed(1 - 0.95, "0.05")
    assert_printed(1 / (1 - 0.95), "20")
