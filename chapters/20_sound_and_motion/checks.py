"""Checks of the equations on sound, films and plans: direct sums, matrices, quadrature and all cases, in float64."""

import itertools
import math

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import ndtr

from course_lib.data import spectra
from course_lib.data.sounds import RATE, frequency
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves

SIZE, LENGTH = 16, 40  # a window and a wave; the hop is 4, so that there are 10 frames
HOP, FRAMES = SIZE // 4, LENGTH // (SIZE // 4)
RHO, MANY = 0.8, 5  # correlation of neighbouring frames, frames


def window() -> np.ndarray:
    """Hann's window."""
    return np.sin(np.pi * np.arange(SIZE) / SIZE) ** 2


def transform() -> np.ndarray:
    """The matrix of the short-time transform with all SIZE bins, (FRAMES * SIZE, LENGTH), written out entry by entry."""
    matrix = np.zeros((FRAMES, SIZE, LENGTH), complex)
    for f, k, n in itertools.product(range(FRAMES), range(SIZE), range(SIZE)):
        matrix[f, k, (n + f * HOP) % LENGTH] += window()[n] * np.exp(-2j * np.pi * k * n / SIZE)
    return matrix.reshape(FRAMES * SIZE, LENGTH)


def wave(seed: int = 0) -> np.ndarray:
    """A random wave."""
    return np.random.default_rng(seed).normal(size=LENGTH)


@proves("eq-beyond-basis")
def basis() -> None:
    """The denoiser of a turned mixture, by Bayes' rule over its points, against the turned answer of the unturned one."""
    rng = np.random.default_rng(0)
    points, a, b = rng.normal(size=(6, 4)), 0.6, 0.8
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]

    def denoise(x: np.ndarray, data: np.ndarray = points) -> np.ndarray:
        weights = np.exp(-((x - a * data) ** 2).sum(1) / (2 * b**2))
        return weights @ data / weights.sum()

    for _ in range(5):
        y = rng.normal(size=4)
        assert_close(claim(turn @ denoise(turn.T @ y)), denoise(y, points @ turn.T), 1e-10)


# --- sound ------------------------------------------------------------------------------------------------------------


@defines("eq-sound-stft")
def short_time_transform() -> None:
    """The library's transform, bin by bin, is the sum, and so is that of the matrix."""
    found, every = spectra.spectrum(torch.tensor(wave()), SIZE), (transform() @ wave()).reshape(FRAMES, SIZE)
    n, w = np.arange(SIZE), window()
    for f, k in itertools.product(range(FRAMES), range(SIZE // 2 + 1)):
        x = np.roll(wave(), -f * HOP)[:SIZE]
        page = claim((w * x * np.exp(-2j * np.pi * k * n / SIZE)).sum())
        assert_close(as_pairs(found[f, k].numpy()), as_pairs(page))
        assert_close(as_pairs(every[f, k]), as_pairs(page))


def as_pairs(values: np.ndarray) -> np.ndarray:
    """Real and imaginary parts side by side."""
    return np.stack([values.real, values.imag], -1)


@proves("eq-sound-hann")
def hann() -> None:
    """Squares of the window, moved and added."""
    for size in (8, 16, 64):
        w = np.sin(np.pi * np.arange(size) / size) ** 2
        total = sum(np.roll(w**2, j * size // 4) for j in range(4))
        assert_close(total, np.full(size, claim(3 / 2)))


@proves("eq-sound-inverse")
def inverse() -> None:
    """The wave out of its spectrum, sample by sample; and the library's inverse of any spectrum is the pseudoinverse."""
    x, w, c = wave(), window(), 1.5
    spectrum, found = (transform() @ x).reshape(FRAMES, SIZE), np.zeros(LENGTH, complex)
    for f, m in itertools.product(range(FRAMES), range(SIZE)):  # m = n - f h is the place in the window
        for k in range(SIZE):
            found[(m + f * HOP) % LENGTH] += claim(
                w[m] / (c * SIZE) * spectrum[f, k] * np.exp(2j * np.pi * k * m / SIZE), "eq-sound-inverse"
            )
    assert_close(as_pairs(found), as_pairs(x.astype(complex)))
    rng = np.random.default_rng(1)
    waves = rng.normal(size=(FRAMES, SIZE))  # the spectra of frames that no wave has
    nearest = np.linalg.pinv(transform()) @ np.fft.fft(waves).ravel()
    assert_close(spectra.overlap_add(torch.fft.rfft(torch.tensor(waves))), nearest.real, 1e-10)


@proves("eq-sound-energy")
def energy() -> None:
    """The sum of all squares, on both sides."""
    x, N, c = wave(), SIZE, 1.5
    assert_close((np.abs(transform() @ x) ** 2).sum(), claim(c * N * (x**2).sum()))


@proves("eq-sound-white")
def white() -> None:
    """The covariance of the spectrum of white noise, as the product of the matrix with its adjoint."""
    covariance = 0.7**2 * (transform() @ transform().conj().T).reshape(FRAMES, SIZE, FRAMES, SIZE)
    w, sigma, f = window(), 0.7, 5
    for k, d in itertools.product((0, 1, 5, 11), (0, 1, 2, 3)):
        overlap = sum(w[n] * w[n - d * HOP] for n in range(d * HOP, SIZE))
        found = claim(sigma**2 * np.exp(-2j * np.pi * k * d * HOP / SIZE) * overlap, "eq-sound-white")
        assert_close(as_pairs(np.array(found)), as_pairs(covariance[f, k, f + d, k]), 1e-10)
    assert_close((w**2).sum(), 3 * SIZE / 8)


@proves("eq-sound-descent")
def descent() -> None:
    """The three steps of the argument, on the way of the iteration from random phases, with exact projections."""
    rng, matrix = np.random.default_rng(2), transform()
    wanted = np.abs(matrix @ wave())
    y = wanted * np.exp(2j * np.pi * rng.uniform(size=wanted.shape))
    x = (np.linalg.pinv(matrix) @ y).real
    for _ in range(20):
        s = matrix @ x
        before = ((np.abs(s) - wanted) ** 2).sum()
        y = wanted * s / np.abs(s)
        assert_close(claim((np.abs(s - y) ** 2).sum(), "eq-sound-descent"), before, 1e-9)
        x = (np.linalg.pinv(matrix) @ y).real
        nearer, after = (np.abs(matrix @ x - y) ** 2).sum(), ((np.abs(matrix @ x) - wanted) ** 2).sum()
        assert after <= nearer + 1e-12 and nearer <= before + 1e-12


# --- films ------------------------------------------------------------------------------------------------------------


@defines("eq-video-chain")
def chain() -> None:
    """This introduces the chain of frames."""


def covariance(frames: int, rho: float = RHO) -> np.ndarray:
    """Of a stationary chain of frames: rho to the distance."""
    places = np.arange(frames)
    return rho ** np.abs(places[:, None] - places)


@proves("eq-video-score")
def neighbours() -> None:
    """The gradient of the Gaussian's log-density by autograd."""
    x = torch.tensor(np.random.default_rng(3).normal(size=MANY), requires_grad=True)
    law = torch.distributions.MultivariateNormal(torch.zeros(MANY).double(), torch.tensor(covariance(MANY)))
    (score,) = torch.autograd.grad(law.log_prob(x), x)
    values, rho = x.detach().numpy(), RHO
    for f in range(1, MANY - 1):
        found = claim(
            (rho * (values[f - 1] + values[f + 1]) - (1 + rho**2) * values[f]) / (1 - rho**2), "eq-video-score"
        )
        assert_close(found, score[f])


@proves("eq-video-spectrum", "eq-video-inverse")
def in_waves() -> None:
    """The sums over all frames, and the inverse of a closed chain's noisy covariance by matrices, at its frequencies."""
    frames, a, b = 240, 0.8, 0.6
    for rho in (0.4, 0.8):
        away = np.minimum(np.arange(frames), frames - np.arange(frames))
        row = rho**away
        circulant = row[(np.arange(frames)[:, None] - np.arange(frames)) % frames]
        inverse_row = np.linalg.inv(a**2 * circulant + b**2 * np.eye(frames))[0]
        for j in (0, 7, 50, 111):
            omega = 2 * math.pi * j / frames
            waves = np.cos(omega * np.arange(frames))
            power = claim((1 - rho**2) / (1 - 2 * rho * math.cos(omega) + rho**2), "eq-video-spectrum")
            assert_close(power, row @ waves, 1e-9)
            found = claim(
                (1 - 2 * rho * math.cos(omega) + rho**2)
                / (a**2 * (1 - rho**2) + b**2 * (1 + rho**2) - 2 * b**2 * rho * math.cos(omega)),
                "eq-video-inverse",
            )
            assert_close(found, inverse_row @ waves, 1e-9)


@proves("eq-video-reach")
def reach() -> None:
    """The inverse of a long chain's noisy covariance, in the middle, falls by one factor a frame: its sum with its inverse."""
    for rho, b in ((0.8, 0.5), (0.95, 0.9), (0.6, 0.3)):
        a = math.sqrt(1 - b**2)
        row = np.linalg.inv(a**2 * covariance(301, rho) + b**2 * np.eye(301))[150]
        r = row[153] / row[152]
        assert_close(claim((a**2 * (1 - rho**2) + b**2 * (1 + rho**2)) / (b**2 * rho)), r + 1 / r, 1e-7)


@proves("eq-video-information")
def information() -> None:
    """The divergence of the chain from its independent frames, by the formula for Gaussians with determinants and traces."""
    for F, rho in ((2, 0.5), (5, 0.8), (8, 0.95)):
        sigma = covariance(F, rho)
        divergence = 0.5 * (np.trace(sigma) - F - np.linalg.slogdet(sigma)[1])
        assert_close(claim(-(F - 1) / 2 * math.log(1 - rho**2)), divergence, 1e-10)


@proves("eq-video-loss")
def excess() -> None:
    """The integral of what denoising alone loses, over all signal-to-noise ratios, against the divergence by determinants."""
    sigma, values = covariance(MANY), np.linalg.eigvalsh(covariance(MANY))

    def integrand(snr: float) -> float:
        alone, together = MANY / (1 + snr), (values / (1 + snr * values)).sum()
        return claim(1 / 2 * (alone - together), "eq-video-loss")

    found = quad(integrand, 0, 1)[0] + quad(lambda u: integrand(1 / u) / u**2, 0, 1)[0]
    assert_close(found, -0.5 * np.linalg.slogdet(sigma)[1], 1e-7)


# --- plans ------------------------------------------------------------------------------------------------------------


@proves("eq-plan-mean")
def mean_of_two_ways() -> None:
    """The error of every answer near the mean, by Gauss-Hermite quadrature of a mixture in three dimensions."""
    m, p, sigma = np.array([0.7, -0.4, 1.1]), 0.3, 0.25
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    grid = np.array(list(itertools.product(nodes, repeat=3)))
    mass = np.array([math.prod(w) for w in itertools.product(weights / weights.sum(), repeat=3)])

    def error(c: np.ndarray) -> float:
        return sum(
            share * float(mass @ ((centre + sigma * grid - c) ** 2).sum(1)) for share, centre in ((p, m), (1 - p, -m))
        )

    best = (2 * p - 1) * m
    least = claim(4 * p * (1 - p) * (m**2).sum() + 3 * sigma**2, "eq-plan-mean")
    assert_close(error(best), least, 1e-10)
    for direction in np.eye(3):
        assert error(best + 0.01 * direction) > least and error(best - 0.01 * direction) > least


@proves("eq-plan-velocity")
def mean_velocity() -> None:
    """Who follows the mean velocity keeps the share of walks to the left of him, although no walk of the expert is like his."""
    tau = 0.2

    def g(s: float) -> float:
        return 0.8 * math.sin(math.pi * s) ** 2

    def slope(s: float) -> float:
        return 0.8 * math.pi * math.sin(2 * math.pi * s)

    def share(x: float, s: float) -> float:
        return float(0.5 * ndtr((x - g(s)) / tau) + 0.5 * ndtr((x + g(s)) / tau))

    for x0 in (-0.3, -0.05, 0.15):

        def velocity(s: float, x: float) -> float:
            return claim(slope(s) * math.tanh(g(s) * x / tau**2), "eq-plan-velocity")

        x, step = x0, 0.5 / 400
        for k in range(400):  # the classical method of Runge and Kutta
            s = k * step
            first = velocity(s, x)
            second = velocity(s + step / 2, x + step / 2 * first)
            third = velocity(s + step / 2, x + step / 2 * second)
            fourth = velocity(s + step, x + step * third)
            x += step / 6 * (first + 2 * second + 2 * third + fourth)
        assert_close(share(x, 0.5), share(x0, 0.0), 1e-7)


@proves("eq-plan-dither")
def dither() -> None:
    """The mean square over all sequences of choices."""
    for N, h, delta in ((8, 1, 0.3), (8, 2, 0.3), (12, 4, 0.5), (6, 6, 1.0)):
        every = [h * delta * sum(signs) for signs in itertools.product((-1, 1), repeat=N // h)]
        assert_close(sum(d**2 for d in every) / len(every), claim(N * h * delta**2))


# --- exercises --------------------------------------------------------------------------------------------------------


@answers("ex-sound-bins")
def bins() -> None:
    """A bin of the library's transform, and the step from A3 to the next note."""
    apart = np.fft.rfftfreq(512, 1 / RATE)
    assert_close(apart[1], claim(RATE / 512))
    assert_printed(apart[1], "15.6")
    assert_printed(float(frequency(torch.tensor(1.0)) - frequency(torch.tensor(0.0))), "13.1")


@answers("ex-video-reach")
def how_far() -> None:
    """The factor for rho = 0.9 at equal parts of signal and noise, by the inverse of a long chain, and after two frames."""
    row = np.linalg.inv(0.5 * covariance(201, 0.9) + 0.5 * np.eye(201))[100]
    right = (1 - 0.9**2 + 1 + 0.9**2) / 0.9
    assert_printed(0.9, "0.9")
    assert_printed(right, "2.22")
    assert_printed(row[102] / row[101], "0.627")
    assert_printed(claim((right - math.sqrt(right**2 - 4)) / 2), "0.627")
    assert_printed((row[105] / row[104]) ** 5, "0.10")


@answers("ex-plan-dither")
def eight_steps() -> None:
    """Root mean squares over all choices of eight steps, one at a time and in one plan."""
    every = [sum(signs) ** 2 for signs in itertools.product((-1, 1), repeat=8)]
    assert_printed(math.sqrt(sum(every) / len(every)), "2.83")
    assert_close(math.sqrt(sum(every) / len(every)), claim(8**0.5))
    assert_printed(sum(one == 0 for one in every) / len(every), "0.27")
