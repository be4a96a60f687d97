"""Checks of the equations on chapter 2's second page: the library's blocks, written out, and the algebra of averages and predictions."""

import itertools
import math

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from course_lib.diffusion import schedules
from course_lib.diffusion.bound import discretised_log_prob, gaussian_log_prob, variational_bound
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import EPS, V, denoiser
from course_lib.nets.blocks import ResidualBlock, SelfAttention
from course_lib.nets.embeddings import sinusoidal_embedding
from course_lib.pages.proofs import answers, assert_close, assert_printed, assert_zero, claim, defines, proves

SCHEDULE = schedules.linear(T=1000)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@defines("eq-ddpm-bits", "eq-ddpm-ema", "eq-ddpm-rate")
def definitions() -> None:
    """These introduce a unit, an average, and the length of the message so far."""


GAUSSIANS = ((0.1, 1e-4), (-0.98, 1e-3), (1.02, 0.04), (0.0, 2.0))


@defines("eq-ddpm-decoder")
def decoder() -> None:
    """The library's mass of each level is torch's Gaussian between the two edges, the first and last of which are infinite."""
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    for mean, variance in ((0.1, 0.3), (0.0, 2.0)):
        below = torch.distributions.Normal(mean, math.sqrt(variance)).cdf
        edges = (levels[1:] + levels[:-1]) / 2
        lower = torch.cat([torch.zeros(1, dtype=torch.float64), below(edges)])
        upper = torch.cat([below(edges), torch.ones(1, dtype=torch.float64)])
        picture = levels[[0, 3, 128, 255]][None]  # four pixels of one picture
        drawn = discretised_log_prob(
            picture, torch.full_like(picture, mean), torch.tensor(variance, dtype=torch.float64)
        )
        masses = upper - lower
        whole = claim(masses[0] * masses[3] * masses[128] * masses[255])
        assert_close(drawn.sum().exp() / whole, 1.0, 1e-5)
        between = claim(upper[128] - lower[128])
        assert_close(masses[128] / between, 1.0)


@proves("eq-ddpm-decoder-sum")
def decoder_sum() -> None:
    """The masses of all levels add up to 1, for narrow and wide Gaussians, also off the range of the data; the levels are a picture's."""
    G, k = 256, torch.arange(256, dtype=torch.float64)
    levels = claim(2 * k / (G - 1) - 1)
    assert_close(levels, k / 255 * 2 - 1)  # of a byte k, as pictures are read
    for mean, variance in GAUSSIANS:
        centre, spread = torch.full((G, 1), mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64)
        mass = discretised_log_prob(levels[:, None], centre, spread).exp()
        assert_close(claim(mass.sum()), 1.0)


@proves("eq-ddpm-distortion")
def distortion() -> None:
    """The squared error that each term of the library's bound tells, against the error itself, on the same draws."""
    schedule = schedules.linear(T=12, beta_min=0.01, beta_max=0.3)
    process, x0, dimensions = GaussianDiffusion(schedule), draw(3, 5), 5

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return (0.7 * x + 0.01 * t).tanh()

    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    bound = variational_bound(denoise, x0, process, gaussian_log_prob, generator=generators[0])
    snr = schedule.alpha_bar / (1 - schedule.alpha_bar)
    for t in range(2, 13):
        x_t = process.forward(x0, torch.tensor(t), generators[1])
        error = (x0 - denoise(x_t, torch.tensor(t))).square().mean(1)
        L = bound.steps[t - 2]
        assert_close(error, claim(2 / dimensions * L / (snr[t - 1] - snr[t])), 1e-11)


TIMES = torch.tensor([0.0, 3.0, 170.0, 999.0])


def written(t: float, M: int = 32) -> np.ndarray:
    """The embedding of one time, written out."""
    i = np.arange(M)
    omega = claim(10_000.0 ** (-i / M), "eq-ddpm-embedding")
    return np.concatenate(
        [np.cos(claim(omega * t, "eq-ddpm-embedding")), np.sin(claim(omega * t, "eq-ddpm-embedding"))]
    )


@defines("eq-ddpm-embedding")
def embedding() -> None:
    """The library's sinusoids are the ones defined."""
    for row, t in zip(sinusoidal_embedding(TIMES, 64), TIMES.tolist(), strict=True):
        assert_close(row, written(t), 1e-4)  # the library computes it in float32


@proves("eq-ddpm-embedding-product")
def embedding_product() -> None:
    """The inner product of the library's embeddings of two times, as a function of their difference."""
    omega, rows = 10_000.0 ** (-np.arange(32) / 32), sinusoidal_embedding(TIMES, 64).double().numpy()
    for (m, t), (n, s) in itertools.product(enumerate(TIMES.tolist()), repeat=2):
        assert_close(rows[m] @ rows[n], claim(np.cos(omega * (t - s)).sum()), 1e-4)


@defines("eq-ddpm-modulation", "eq-ddpm-attention")
def network_blocks() -> None:
    """The library's blocks against the formulas, with random weights."""
    torch.manual_seed(0)
    x = draw(2, 8, 4, 4).float()
    block, condition = ResidualBlock(8, 8, 16), draw(2, 16, seed=1).float()
    torch.nn.init.normal_(block.conv_out.weight)
    scale, shift = block.modulation(torch.nn.functional.silu(condition))[:, :, None, None].chunk(2, 1)
    normed = block.norm_out(block.conv_in(torch.nn.functional.silu(block.norm_in(x))))
    h = claim((1 + scale) * normed + shift, "eq-ddpm-modulation")
    h = block.conv_out(torch.nn.functional.silu(h))
    assert_close(block(x, condition).detach(), (x + h).detach(), 1e-5)
    attention = SelfAttention(8, heads=2)
    torch.nn.init.normal_(attention.out.weight)
    query, key, value = attention.to_qkv(attention.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)  # (B, 16, 8)
    heads, d, query, key, value = [], 4, query.detach(), key.detach(), value.detach()
    for part in (slice(0, 4), slice(4, 8)):
        Q, K, V = query[..., part], key[..., part], value[..., part]
        heads.append(claim((Q @ K.mT / math.sqrt(d)).softmax(-1) @ V, "eq-ddpm-attention"))
    mixed = torch.cat(heads, -1).transpose(1, 2).reshape(2, 8, 4, 4)
    assert_close(attention(x).detach(), (x + attention.out(mixed)).detach(), 1e-5)


@proves("eq-ddpm-ema-window")
def ema_window() -> None:
    """Unroll the recursion on random numbers; the weights add up to 1."""
    rng, m, n = np.random.default_rng(0), 0.9, 30
    theta = rng.normal(size=n + 1)

    def window(theta):
        return claim(m**n * theta[0] + (1 - m) * sum(m ** (n - k) * theta[k] for k in range(1, n + 1)))

    average = theta[0]
    for k in range(1, n + 1):
        average = m * average + (1 - m) * theta[k]
    assert_close(average, window(theta))
    assert_close(1.0, window(np.ones(n + 1)))


@proves("eq-ddpm-v")
def v_prediction() -> None:
    """SymPy: put x_t and v into the right-hand side; and the library's target and its way back."""
    x0, eps = sp.symbols("x_0 epsilon", real=True)
    bar = sp.symbols("abar", positive=True)
    x_t = sp.sqrt(bar) * x0 + sp.sqrt(1 - bar) * eps
    v = claim(sp.sqrt(bar) * eps - sp.sqrt(1 - bar) * x0)
    state, velocity = sp.symbols("x_t v")
    back = claim(sp.sqrt(bar) * state - sp.sqrt(1 - bar) * velocity)
    assert_zero(back.subs({state: x_t, velocity: v}) - x0)
    values = {bar: 0.3, x0: 0.7, eps: -1.2}
    a, b = math.sqrt(0.3), math.sqrt(0.7)
    target = V.target(torch.tensor(0.7), torch.tensor(-1.2), torch.tensor(a), torch.tensor(b))
    assert_close(target, float(sp.sympify(v).subs(values)), 1e-6)


@proves("eq-ddpm-eps-error")
def eps_error() -> None:
    """Two predicted noises that differ by delta, turned into images by the library."""
    x_t, eps, delta = draw(1, 3), draw(1, 3, seed=1), 0.3
    for t in (2, 3, 50, 400, 1000):
        images = [
            denoiser(lambda x, t, cond, eps=value: eps, EPS, SCHEDULE)(x_t, torch.tensor(t))
            for value in (eps, eps + delta)
        ]
        alpha_bar = float(SCHEDULE.alpha_bar[t])
        page = claim(math.sqrt((1 - alpha_bar) / alpha_bar) * delta)
        assert_close((images[1] - images[0]).abs() / page, torch.ones(1, 3), 1e-9)


# --- the exercises ------------------------------------------------------------------------------------------------------


@answers("ex-ddpm-ema")
def window_of_the_average() -> None:
    """Follow the weight of the first entry until it has halved, and for 2,000 steps."""
    m, weight, halved = 0.9999, 1.0, 0
    for n in range(1, 7001):
        weight *= m
        halved = halved or (n if weight < 0.5 else 0)
        if n == 2000:
            assert_printed(weight, "0.82")
            assert_close(weight, claim(m**2000), 1e-9)
    assert halved == math.ceil(claim(math.log(2) / -math.log(m)))
    assert round(math.log(2) / -math.log(m)) == 6931
