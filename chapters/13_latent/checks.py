"""Checks of chapter 13: Gaussians, for which rate and error are known, finite sums, and the library's losses, in float64."""

import math

import numpy as np
import torch
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.stats import norm
from torch import Tensor, nn

from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.schedules import cosine, linear
from course_lib.evaluation.frechet import Moments, gaussian_frechet_distance
from course_lib.nets.autoencoders import Coded, QuantisedAutoencoder, nearest, straight_through
from course_lib.nets.blocks import CrossAttention
from course_lib.nets.classifier import ConvClassifier
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves
from course_lib.recipes.autoencoding import ReconstructAdversarially, perceptual_distance, reconstruction_loss
from course_lib.training.adversarial import fooling_loss, telling_loss

SPECTRUM = (3.0, 0.8, 0.1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance() -> Tensor:
    """A tilted covariance in three dimensions with the spectrum above."""
    axes = torch.linalg.qr(normal(3, 3))[0]
    return axes @ torch.diag(torch.tensor(SPECTRUM, dtype=torch.float64)) @ axes.T


# --- two kinds of compression ----------------------------------------------------------------------------------------


@proves("eq-latent-rate", "eq-latent-distortion", "eq-latent-soft")
def gaussian_diffusion() -> None:
    """A tilted Gaussian under two schedules: differential entropies by determinants, and the exact denoiser's own covariance."""
    one = Mixture(torch.ones(1).double(), torch.zeros(1, 3).double(), covariance()[None])
    spectrum = torch.tensor(SPECTRUM).double()
    for schedule, t in ((cosine(20), 5), (cosine(20), 14), (linear(100), 60)):
        time = torch.tensor(t)
        a, b = schedule.signal(time), schedule.noise(time)
        ratio = a**2 / b**2
        noisy = torch.logdet(a**2 * covariance() + b**2 * torch.eye(3).double())
        known = (noisy - torch.logdet(b**2 * torch.eye(3).double())) / 2  # h(x_t) - h(x_t | x_0)
        assert_close(known, claim((1 + ratio * spectrum).log().sum() / 2, "eq-latent-rate"), 1e-7)
        left = ExactDiffusion(one, schedule).covariance(normal(1, 3), time)[0].trace()
        assert_close(left, claim((spectrum / (1 + ratio * spectrum)).sum(), "eq-latent-distortion"), 1e-6)
        level = 1 / ratio
        assert_close(left, claim((spectrum * level / (spectrum + level)).sum(), "eq-latent-soft"), 1e-6)


@proves("eq-latent-immse")
def information_and_error() -> None:
    """The information in x_t about x_0 by determinants, its slope by differences, and the error of the best linear guess, solved for."""
    known = lambda ratio: torch.logdet(torch.eye(3).double() + ratio * covariance()) / 2  # noqa: E731
    for ratio in (0.2, 1.0, 7.0):
        slope = (known(ratio + 1e-5) - known(ratio - 1e-5)) / 2e-5
        gain = torch.linalg.solve(ratio * covariance() + torch.eye(3).double(), ratio * covariance())
        error = (covariance() - covariance() @ gain).trace()
        assert_close(slope, claim(error / 2), 1e-7)


def cheapest(budget: float, spectrum: tuple[float, ...] = SPECTRUM) -> float:
    """The fewest nats for a total squared error, by a search over how it is shared among the directions."""
    scale = np.array(spectrum)
    free = lambda share: budget * np.exp(share) / np.exp(share).sum()  # noqa: E731
    rate = lambda share: float(np.maximum(np.log(scale / free(share)), 0).sum() / 2)  # noqa: E731
    starts = [np.zeros(len(scale)), np.log(np.minimum(scale, budget / len(scale)))]
    return min(
        minimize(rate, start, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13, "maxiter": 9000}).fun
        for start in starts
    )


@proves("eq-latent-fine")
def fine_errors() -> None:
    """Three directions, all described: the fewest nats by a search, for an error and for half of it."""
    for error in (0.06, 0.15, 0.27):
        more = cheapest(error / 2) - cheapest(error)
        assert_close(more, claim(3 / 2 * math.log(2)), 1e-6)


# --- the autoencoder -------------------------------------------------------------------------------------------------


class Straight(nn.Module):
    """An autoencoder that is a known function, with a known price."""

    def forward(self, x: Tensor) -> Coded:  # noqa: D102
        return Coded(torch.sin(x), x.flatten(1).square().sum(1))


@defines("eq-latent-loss", "eq-latent-whole")
def loss() -> None:
    """The library's loss, times the number of pixels, is the sum of squares and the price; the other parts are added."""
    x, w = normal(5, 3, 4, 4), 0.7
    coded = Straight()(x)
    pixels = x[0].numel()
    found = pixels * reconstruction_loss(Coded(coded.images, coded.penalty), x, w)
    page = claim((x - torch.sin(x)).square().flatten(1).sum(1) + w * coded.penalty, "eq-latent-loss")
    assert_close(found, page.mean(), 1e-6)
    torch.manual_seed(0)
    reader, x = ConvClassifier(widths=(8, 8, 8)).eval().double(), normal(2, 3, 20, 20)
    objective = ReconstructAdversarially(w, 0.3, "", adversarial=0.2, discriminator={"width": 8})
    with torch.no_grad():
        coded = Straight()(x)
        L = (x - coded.images).square().sum() / 2 + w * coded.penalty.mean()
        D, apart = x[0].numel(), perceptual_distance(reader, coded.images, x).mean()
        found = reconstruction_loss(coded, x, w, objective.perceptual, reader)
        logits = normal(2, 25)
        found = found + objective.adversarial * fooling_loss(logits)
        page = claim(L / D + 0.3 * apart + 0.2 * fooling_loss(logits), "eq-latent-whole")
        assert_close(found, page, 1e-6)


@proves("eq-latent-price")
def price_is_a_rate() -> None:
    """A random finite encoder, prior and data: every sum is over all cases."""
    random = np.random.default_rng(0)
    q_x, encoder, prior = (random.uniform(0.1, 1, shape) for shape in ((4,), (4, 6), (6,)))
    q_x, encoder, prior = q_x / q_x.sum(), encoder / encoder.sum(1, keepdims=True), prior / prior.sum()
    marginal = q_x @ encoder
    price = sum(q_x[i] * (encoder[i] * np.log(encoder[i] / prior)).sum() for i in range(4))
    joint = q_x[:, None] * encoder
    information = (joint * np.log(joint / np.outer(q_x, marginal))).sum()
    assert_close(price, claim(information + (marginal * np.log(marginal / prior)).sum()))


@proves("eq-latent-gaussian")
def one_direction() -> None:
    """A number of variance v, a noisy code of it, the best linear guess (solved for), and the information by variances."""
    for v, c, s in ((3.0, 1.0, 0.5), (0.8, 0.3, 1.2), (0.1, 2.0, 0.4)):
        guess = np.linalg.solve(np.array([[c**2 * v + s**2]]), np.array([c * v]))[0]
        d = (1 - guess * c) ** 2 * v + (guess * s) ** 2
        information = (math.log(c**2 * v + s**2) - math.log(s**2)) / 2
        assert_close(information, claim(math.log(v / d) / 2))


@proves("eq-latent-water")
def water() -> None:
    """The error in one direction that makes error plus price smallest, by a search, for variances above and below the level."""
    for v in SPECTRUM:
        for w in (0.05, 0.6, 2.4):
            cost = lambda d, v=v, w=w: d + w * math.log(v / d) / 2  # noqa: E731
            found = minimize_scalar(cost, bounds=(1e-6, v), method="bounded", options={"xatol": 1e-11})
            assert_close(found["x"], claim(min(v, w / 2)), 1e-4)


@proves("eq-latent-linear")
def linear_autoencoder() -> None:
    """Mean and spread of the code and the decoder's factor that make the loss smallest in one direction, by a search."""
    for v, w in ((3.0, 0.6), (0.8, 0.6), (0.8, 0.2)):
        h = w / 2

        def cost(at: np.ndarray, v: float = v, w: float = w) -> float:
            c, log_s, out = at
            s = math.exp(log_s)
            divergence = (c**2 * v + s**2 - 1 - 2 * log_s) / 2
            return (1 - out * c) ** 2 * v + (out * s) ** 2 + w * divergence

        options = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 9000}
        c, log_s, out = minimize(cost, np.array([0.5, -0.5, 0.8]), method="Nelder-Mead", options=options).x
        assert_close(out, claim(math.sqrt(v - h)), 1e-5)
        assert_close(c, claim(math.sqrt(v - h) / v), 1e-5)
        assert_close(math.exp(log_s), claim(math.sqrt(h / v)), 1e-5)


@proves("eq-latent-pca")
def principal_components() -> None:
    """The best two directions of a tilted Gaussian by orthogonal iteration, and the error that they leave."""
    axes = torch.linalg.qr(normal(3, 2, seed=3))[0]
    for _ in range(300):
        axes = torch.linalg.qr(covariance() @ axes)[0]
    left = torch.eye(3).double() - axes @ axes.T
    error = (left @ covariance() @ left).trace()
    assert_close(error, claim(sum(SPECTRUM) - sum(SPECTRUM[:2])), 1e-9)
    assert_close(error, claim(SPECTRUM[2]), 1e-9)


@defines("eq-latent-nearest", "eq-latent-straight", "eq-latent-vq")
def quantised() -> None:
    """The library's choice by all distances, the gradient that comes through, and the price of a quantised autoencoder."""
    z, codes, slope = normal(5, 3), normal(7, 3, seed=1), normal(5, 3, seed=2)
    word = codes[nearest(z, codes)]
    least = claim((z[:, None] - codes).square().sum(2), "eq-latent-nearest").min(1).values
    assert_close((z - word).square().sum(1), least)
    leaf = z.clone().requires_grad_()
    (straight_through(leaf, word).sin() * slope).sum().backward()
    assert leaf.grad is not None
    assert_close(leaf.grad, claim(slope * word.cos(), "eq-latent-straight"))
    torch.manual_seed(0)
    network = QuantisedAutoencoder(latent=2, codes=5, width=8).eval()
    x = normal(3, 3, 8, 8).float()
    with torch.no_grad():
        said = network.raw(x)
        word, beta = network.quantise(said), network.commitment
        apart = (said - word).flatten(1)
        page = claim(apart.square().sum(1) + beta * apart.square().sum(1), "eq-latent-vq")
        assert_close(network(x).penalty, page, 1e-5)


@proves("eq-latent-onebit")
def one_bit() -> None:
    """A standard normal number and two words, moved until the error is smallest; the error is a quadrature."""
    x = np.linspace(-9, 9, 200_001)
    weight = norm.pdf(x) * (x[1] - x[0])
    error = lambda at: float((weight * np.minimum((x - at) ** 2, (x + at) ** 2)).sum())  # noqa: E731
    found = minimize_scalar(error, bounds=(0.1, 2), method="bounded", options={"xatol": 1e-10})
    assert_close(found["fun"], claim(1 - 2 / math.pi), 1e-6)


def finite(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Data on the line and the probabilities of each datum and code, `(5, 3)`."""
    random = np.random.default_rng(seed)
    joint = random.uniform(0.05, 1, (5, 3))
    return random.normal(size=5), joint / joint.sum()


@proves("eq-latent-blur", "eq-latent-double")
def best_decoders() -> None:
    """A finite world: the best answer to each code by a search; its variance and error, and those of a draw, by sums over all cases."""
    for seed in range(3):
        x, joint = finite(seed)
        code = joint.sum(0)
        given = joint / code
        best = np.array(
            [minimize_scalar(lambda a, p=given[:, k], x=x: (p * (x - a) ** 2).sum(), tol=1e-12)["x"] for k in range(3)]
        )
        error = (joint * (x[:, None] - best) ** 2).sum()
        total = (joint.sum(1) * x**2).sum() - (joint.sum(1) * x).sum() ** 2
        spread = (code * best**2).sum() - (code * best).sum() ** 2
        assert_close(spread, claim(total - error, "eq-latent-blur"), 1e-7)
        drawn = sum(
            code[k] * given[i, k] * given[j, k] * (x[i] - x[j]) ** 2
            for i in range(5)
            for j in range(5)
            for k in range(3)
        )
        assert_close(drawn, claim(2 * error, "eq-latent-double"), 1e-7)


@defines("eq-latent-perceptual", "eq-latent-adversarial")
def losses() -> None:
    """The library's perceptual distance, and its two adversarial losses over a map of logits."""
    torch.manual_seed(0)
    reader = ConvClassifier(widths=(8, 8, 8)).eval().double()
    x, y = normal(2, 3, 20, 20), normal(2, 3, 20, 20, seed=1)
    total = torch.zeros(2).double()
    with torch.no_grad():
        stages = list(zip(reader.pyramid(x), reader.pyramid(y), strict=True))
        for a, b in stages:
            apart = a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)
            total = total + claim(apart.square().sum(1), "eq-latent-perceptual").mean((1, 2))
        assert_close(perceptual_distance(reader, x, y), total / len(stages), 1e-5)
    real, fake = normal(4, 9), normal(4, 9, seed=1)
    D = torch.sigmoid
    assert_close(
        telling_loss(real, fake), claim(-D(real).log().mean() - (1 - D(fake)).log().mean(), "eq-latent-adversarial")
    )
    assert_close(fooling_loss(fake), claim(-D(fake).log().mean(), "eq-latent-adversarial"))


# --- the scale -------------------------------------------------------------------------------------------------------


@proves("eq-latent-snr", "eq-latent-turn", "eq-latent-half")
def scale() -> None:
    """Stretched data on the circle: variances pushed through, the same state with unit data at another angle, and a root."""
    for sigma in (0.3, 5.0):
        for angle in (0.4, 1.2):
            a, b = math.cos(angle), math.sin(angle)
            variances = np.cov(
                np.array([[a * sigma, 0.0], [0.0, b]]) @ np.array([[1, -1, 1, -1], [1, 1, -1, -1]]), ddof=0
            )
            ratio = variances[0, 0] / variances[1, 1]
            assert_close(ratio, claim(sigma**2 * (a / b) ** 2, "eq-latent-snr"))
            state = np.array([sigma * a, b])
            length = np.hypot(*state)
            turned = math.atan2(state[1], state[0])
            assert_close(math.tan(turned), claim(math.tan(angle) / sigma, "eq-latent-turn"))
            unit = length * np.array([math.cos(turned), math.sin(turned)])
            assert_close(unit, state)
        even = brentq(lambda angle: sigma * math.cos(angle) - math.sin(angle), 0, math.pi / 2)  # noqa: B023
        assert_close(even, claim(math.atan(sigma), "eq-latent-half"), 1e-9)
        assert_close(even / (math.pi / 2), claim(2 / math.pi * math.atan(sigma), "eq-latent-half"), 1e-9)


@proves("eq-latent-floor")
def floor() -> None:
    """The Frechet distance of a tilted Gaussian from its projection on one and on two principal axes."""
    values, axes = torch.linalg.eigh(covariance())
    for k in (1, 2):
        kept = axes[:, -k:]
        projected = kept @ kept.T @ covariance() @ kept @ kept.T
        zero = torch.zeros(3).double()
        found = gaussian_frechet_distance(Moments(zero, covariance()), Moments(zero, projected))
        assert_close(found, claim(values[:-k].sum()), 1e-7)
        assert_close(found, claim(sum(SPECTRUM[k:])), 1e-7)


# --- cross-attention -------------------------------------------------------------------------------------------------


@defines("eq-latent-cross")
def cross_attention() -> None:
    """The library's layer with one head, written out."""
    torch.manual_seed(0)
    layer = CrossAttention(4, 3, heads=1).double()
    nn.init.normal_(layer.out.weight)
    layer.requires_grad_(False)
    x, tokens = normal(2, 4, 2, 2), normal(2, 5, 3, seed=1)
    rows = layer.norm(x).flatten(2).mT
    Q = rows @ layer.to_query.weight[:, :, 0, 0].T
    K, V = (tokens @ part.T for part in layer.to_key_value.weight.chunk(2))
    d = Q.shape[-1]
    page = claim((Q @ K.mT / math.sqrt(d)).softmax(-1) @ V)
    wanted = x + layer.out(page.mT.unflatten(-1, (2, 2)))
    assert_close(layer(x, tokens), wanted, 1e-10)


@proves("eq-latent-onetoken")
def one_token() -> None:
    """The library's layer with one token, for two pictures: what it adds is one linear function of the token, everywhere."""
    torch.manual_seed(0)
    layer = CrossAttention(4, 3, heads=2).double()
    nn.init.normal_(layer.out.weight)
    x, token = normal(2, 4, 2, 2), normal(2, 1, 3, seed=1)
    out, value = layer.out.weight[:, :, 0, 0].detach(), layer.to_key_value.weight[4:].detach()
    added = (layer(x, token) - x).detach() - layer.out.bias.detach()[:, None, None]
    heard = claim((token[:, 0, None] * value).sum(2))
    assert_close(added, torch.einsum("oc,bc->bo", out, heard)[:, :, None, None].expand_as(added), 1e-10)


# --- answers ---------------------------------------------------------------------------------------------------------


@answers("ex-latent-water")
def water_exercise() -> None:
    """Error and bits of four directions by a search in each for the cheapest error."""
    errors, nats = 0.0, 0.0
    for v in (4.0, 1.0, 0.25, 0.04):
        cost = lambda d, v=v: d + 0.5 * math.log(v / d) / 2  # noqa: E731
        d = minimize_scalar(cost, bounds=(1e-6, v), method="bounded", options={"xatol": 1e-11})["x"]
        errors, nats = errors + d, nats + math.log(v / d) / 2
    assert_printed(errors, "0.79")
    assert_close(nats / math.log(2), claim(math.log2(4 / 0.25) / 2 + math.log2(1 / 0.25) / 2), 1e-3)
    for v, text in ((0.25, "0.25"), (0.04, "0.04")):
        assert_printed(min(v, 0.5 / 2), text)
    assert_printed(0.5, "0.5")


@answers("ex-latent-forgotten")
def forgotten_exercise() -> None:
    """The angle of equal parts by a root, as a share of the quarter turn."""
    assert_printed(1 / 0.18215, "5.49")
    even = brentq(lambda angle: math.cos(angle) / 0.18215 - math.sin(angle), 0, math.pi / 2)
    assert_close(even, claim(math.atan(1 / 0.18215)), 1e-9)
    assert_printed(even / (math.pi / 2), "0.885")
    assert_printed(0.18215, "0.18215")
    assert_printed(50 * (1 - even / (math.pi / 2)), "5.7")


@answers("ex-latent-decibels")
def decibels_exercise() -> None:
    """Twice the error in decibels."""
    error = 0.013
    lost = 10 * math.log10(4 / error) - 10 * math.log10(4 / (2 * error))
    assert_close(lost, claim(10 * math.log10(2)), 1e-9)
    assert_printed(lost, "3.01")
