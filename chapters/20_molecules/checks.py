"""Checks of the equations on molecules: sums over a finite group of turns, integrals over angles, bases, and the network in float64."""

import itertools
import math

import numpy as np
import torch
from scipy.special import i0e, i1e
from scipy.stats import norm

from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine
from course_lib.nets.equivariant import EquivariantLayer, bells
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves
from course_lib.sampling.steps import ancestral

A, B = 0.6, 0.8  # signal and noise
TURNS = [  # the 24 rotations of a cube, as matrices
    matrix
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
    if np.linalg.det(matrix := np.diag(signs) @ np.eye(3)[list(order)]) > 0
]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def orbit() -> np.ndarray:
    """Two molecules of four atoms in all 24 poses, `(48, 4, 3)`: a world that the turns of a cube do not change."""
    return np.concatenate([molecule @ np.stack(TURNS).transpose(0, 2, 1) for molecule in random(2, 4, 3)])


def denoise(x: np.ndarray, a: float = A, b: float = B) -> np.ndarray:
    """The best denoiser of that world, by Bayes' rule."""
    weights = np.exp(-((x - a * orbit()) ** 2).sum((1, 2)) / (2 * b**2))
    return np.tensordot(weights / weights.sum(), orbit(), 1)


def score(x: np.ndarray) -> np.ndarray:
    """The gradient of the world's noisy log-density, by autograd."""
    where = torch.tensor(x, requires_grad=True)
    logs = -(where - A * torch.tensor(orbit())).square().sum((1, 2)) / (2 * B**2)
    return torch.autograd.grad(logs.logsumexp(0), where)[0].numpy()


def turning(seed: int, mirror: bool = False) -> np.ndarray:
    """A random rotation, or a reflection."""
    q = np.linalg.qr(random(3, 3, seed=seed))[0]
    return q * np.linalg.det(q) * (-1 if mirror else 1)


# --- poses ------------------------------------------------------------------------------------------------------------


@proves("eq-molecule-invariant")
def density() -> None:
    """The noisy density of the turned molecule, by SciPy's normal density round every centre, against the sum at the unturned one."""
    a, b = A, B
    for seed, Q in ((1, TURNS[5]), (2, TURNS[17])):
        x = 0.7 * random(4, 3, seed=seed)
        turned = (x @ Q.T).ravel()
        found = np.mean([norm.pdf(turned, a * y.ravel(), b).prod() for y in orbit()])
        for_each = [
            claim(math.exp(-((x - a * y) ** 2).sum() / (2 * b**2)) / (2 * math.pi * b**2) ** 6, "eq-molecule-invariant")
            for y in orbit()
        ]
        assert_close(np.mean(for_each) / found, 1.0, 1e-9)


@proves("eq-molecule-denoiser")
def equivariant_denoiser() -> None:
    """Bayes' rule at the turned point, against Tweedie's formula with autograd's score at the unturned point."""
    a, b = A, B
    for seed, Q in ((1, TURNS[5]), (2, TURNS[17])):
        x = random(4, 3, seed=seed)
        assert_close(claim(((x + b**2 * score(x)) / a) @ Q.T), denoise(x @ Q.T), 1e-9)


@proves("eq-molecule-step")
def equivariant_step() -> None:
    """The library's step from a turned point with turned noise, with the world's denoiser."""
    process = GaussianDiffusion(cosine(1000))
    t, s = torch.tensor(600.0), torch.tensor(500.0)
    w_0, w_t, variance = (float(value) for value in process.posterior_weights(t, s))
    sigma = math.sqrt(variance)
    a, b = float(process.schedule.signal(t)), float(process.schedule.noise(t))
    for seed, Q in ((1, TURNS[3]), (2, TURNS[20])):
        x, z = random(4, 3, seed=seed), random(4, 3, seed=seed + 9)
        step = ancestral(
            lambda x_t, t: torch.tensor(denoise(x_t.numpy(), a, b)),
            process,
            noise=lambda x_t, z=z, Q=Q: torch.tensor(z @ Q.T),  # type: ignore[misc]
        )
        found = step(torch.tensor(x @ Q.T), t, s).numpy()
        assert_close(claim((w_0 * denoise(x, a, b) + w_t * x + sigma * z) @ Q.T, "eq-molecule-step"), found, 1e-6)


@proves("eq-molecule-average")
def averaged_network() -> None:
    """Three mean squares over all turns of one molecule and of one noise, for a network that knows nothing of turns."""
    group = np.stack(TURNS)
    x0 = random(4, 3) @ group.transpose(0, 2, 1)  # (24, 4, 3)
    noise = random(4, 3, seed=1) @ group.transpose(0, 2, 1)

    def network(x: np.ndarray) -> np.ndarray:
        return np.tanh(x @ random(3, 3, seed=2) + random(4, 3, seed=3)) + 0.3 * x**2

    pairs = [(data, A * data + B * eps) for data in x0 for eps in noise]
    loss, mean_loss, spread = 0.0, 0.0, 0.0
    for data, x in pairs:
        f = network(x)
        f_bar = np.mean([network(x @ Q.T) @ Q for Q in group], axis=0)
        loss += ((f - data) ** 2).sum() / len(pairs)
        mean_loss += ((f_bar - data) ** 2).sum() / len(pairs)
        spread += ((f - f_bar) ** 2).sum() / len(pairs)
    assert_close(claim(mean_loss + spread, "eq-molecule-average"), loss, 1e-10)


@proves("eq-molecule-planar")
def planar() -> None:
    """The mean of all poses of a flat molecule, weighed by Bayes' rule, as a sum over 4,000 angles."""
    angles = 2 * np.pi * np.arange(4000) / 4000
    for seed, a in ((1, 0.3), (2, 0.6), (3, 0.9)):
        b = math.sqrt(1 - a**2)
        y, x = (random(5, 2, seed=seed + k) @ np.array([1, 1j]) for k in (0, 20))
        poses = np.exp(1j * angles)[:, None] * y
        logs = -(np.abs(x - a * poses) ** 2).sum(1) / (2 * b**2)
        weights = np.exp(logs - logs.max())
        bayes = weights @ poses / weights.sum()
        z = (y.conj() * x).sum()
        k = a * abs(z) / b**2
        found = claim(i1e(a * abs(z) / b**2) / i0e(a * abs(z) / b**2) * z / abs(z) * y, "eq-molecule-planar")
        assert_close([found.real, found.imag], [bayes.real, bayes.imag], 1e-10)
        assert_close(i1e(k) / i0e(k), weights @ np.cos(angles - np.angle(z)) / weights.sum(), 1e-10)


@proves("eq-molecule-covariance")
def covariance() -> None:
    """The products of coordinates of two atoms, averaged over all turns of a cube."""
    for seed in (1, 2, 3):
        x_i, x_j = random(2, 3, seed=seed)
        found = np.mean([np.outer(Q @ x_i, Q @ x_j) for Q in TURNS], axis=0)
        assert_close(claim((x_i * x_j).sum() / 3 * np.eye(3)), found)


# --- places -----------------------------------------------------------------------------------------------------------


def basis(n: int) -> np.ndarray:
    """An orthonormal basis of what is orthogonal to the vector of ones, `(n, n - 1)`, by the singular value decomposition."""
    return np.linalg.svd(np.ones((1, n)))[2][1:].T


@proves("eq-molecule-projector")
def projector() -> None:
    """The projection by a basis, against the matrix."""
    for n in (3, 5, 8):
        ones = np.ones((n, 1))
        assert_close(claim(np.eye(n) - ones @ ones.T / n), basis(n) @ basis(n).T)


@proves("eq-molecule-density")
def centred_density() -> None:
    """The density of independent normal coordinates in a basis of centred clouds, by SciPy."""
    for n, sigma in ((3, 0.7), (5, 1.3)):
        x = random(n, 3, seed=n)
        x = x - x.mean(0)
        found = norm.logpdf(basis(n).T @ x, scale=sigma).sum()
        log_density = claim(
            -(x**2).sum() / (2 * sigma**2) - 3 * (n - 1) / 2 * math.log(2 * math.pi * sigma**2), "eq-molecule-density"
        )
        assert_close(log_density, found, 1e-10)


@proves("eq-molecule-gram")
def gram() -> None:
    """The scalar products of the centred points, against the squared distances of uncentred ones."""
    for n in (3, 6):
        x = random(n, 3, seed=n) + 5
        D = ((x[:, None] - x) ** 2).sum(2)
        P = basis(n) @ basis(n).T
        assert_close(claim(-P @ D @ P / 2), (x - x.mean(0)) @ (x - x.mean(0)).T, 1e-9)


# --- the network ------------------------------------------------------------------------------------------------------


def layer() -> EquivariantLayer:
    """A layer with random weights, in float64."""
    torch.manual_seed(0)
    made = EquivariantLayer(8).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, dtype=torch.float64))
    return made


def moved(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The points after that layer."""
    with torch.no_grad():
        return layer()(torch.tensor(x)[None], torch.tensor(h)[None], torch.ones(1, len(x), 1).double())[0][0].numpy()


@defines("eq-molecule-message", "eq-molecule-move")
def as_the_library_computes() -> None:
    """The layer, atom by atom and pair by pair."""
    net, x, h = layer(), torch.tensor(random(5, 3)), torch.tensor(random(5, 8, seed=1))
    points, features = [], []
    with torch.no_grad():
        for i in range(5):
            move, gathered = torch.zeros(3).double(), torch.zeros(8).double()
            for j in range(5):
                d = (x[i] - x[j]).square().sum()
                m = net.message(claim(net.mine(h[i]) + net.theirs(h[j]) + net.near(bells(d)), "eq-molecule-message"))
                gathered += m
                move += claim((x[i] - x[j]) / (1 + d.sqrt()) * net.pull(m), "eq-molecule-move")
            points.append(x[i] + move)
            features.append(claim(h[i] + net.gather(torch.cat([h[i], gathered])), "eq-molecule-message"))
        found = net(x[None], h[None], torch.ones(1, 5, 1).double())
    assert_close(found[0][0], torch.stack(points), 1e-7)
    assert_close(found[1][0], torch.stack(features), 1e-7)


@proves("eq-molecule-equivariant")
def equivariant_layer() -> None:
    """The library's layer at points that are turned, mirrored and moved."""
    h = random(6, 8, seed=1)
    for seed, mirror in ((1, False), (2, True), (3, True)):
        x, c, Q = random(6, 3, seed=seed), random(3, seed=seed + 5), turning(seed, mirror)
        found = moved(x @ Q.T + c, h)
        assert_close(claim(moved(x, h) @ Q.T + c), found, 1e-9)


@proves("eq-molecule-hand")
def hand() -> None:
    """The triple product as a sum over all permutations, for turned and for mirrored bonds."""
    parity = {order: np.linalg.det(np.eye(3)[list(order)]) for order in itertools.permutations(range(3))}

    def triple(rows: np.ndarray) -> float:
        return sum(sign * math.prod(rows[k, order[k]] for k in range(3)) for order, sign in parity.items())

    for seed, mirror in ((1, False), (2, True)):
        u, v, w = random(3, 3, seed=seed)
        Q = turning(seed, mirror)
        found = triple(np.stack([Q @ u, Q @ v, Q @ w]))
        assert_close(claim(np.linalg.det(Q) * (u * np.cross(v, w)).sum()), found, 1e-10)


# --- exercises --------------------------------------------------------------------------------------------------------


@answers("ex-molecule-shrink")
def shrink() -> None:
    """The ratio for a molecule of squared length 4 that noise has not moved, by a sum over angles."""
    angles = 2 * np.pi * np.arange(4000) / 4000
    for k, text in ((4.0, "0.86"), (1.0, "0.45")):
        weights = np.exp(k * np.cos(angles))
        assert_printed(float(weights @ np.cos(angles) / weights.sum()), text)
    assert_printed(float(i1e(claim(0.5 * 4 / 0.5)) / i0e(4.0)), "0.86")
    assert_printed(float(i1e(0.2 * 4 / 0.8) / i0e(1.0)), "0.45")
    assert_printed(0.2, "0.2")
    assert_printed(0.8, "0.8")


@answers("ex-molecule-dimensions")
def dimensions() -> None:
    """The two normalisers, for noise of 0.1."""
    wrong = 3 / 2 * math.log(2 * math.pi * 0.1**2)
    log_density = [-3 * count / 2 * math.log(2 * math.pi * 0.1**2) for count in (6, 7)]
    assert_close(log_density[0] - log_density[1], claim(3 / 2 * math.log(2 * math.pi * 0.1**2)))
    assert_printed(-wrong, "4.15")
    assert_printed(-wrong / math.log(2), "5.99")
    assert_printed(0.1, "0.1")


@answers("ex-molecule-types")
def types() -> None:
    """How often the wrong of two types is the more likely one, by the normal distribution and by a simulation."""
    for scale, text in ((1.0, "0.24"), (0.25, "0.43")):
        assert_printed(float(norm.cdf(claim(-scale / math.sqrt(2)))), text)
        rng = np.random.default_rng(0)
        right, other = scale + rng.normal(size=200_000), rng.normal(size=200_000)
        assert abs((other > right).mean() - norm.cdf(-scale / math.sqrt(2))) < 0.005
    assert_printed(0.25, "0.25")
