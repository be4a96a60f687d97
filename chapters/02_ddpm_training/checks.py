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
from course_lib.diffusion.predictions import EPS, denoiser
from course_lib.nets.blocks import ResidualBlock, SelfAttention
from course_lib.nets.embeddings import sinusoidal_embedding
from course_lib.pages.proofs import assert_close, assert_zero, claim, defines, proves

SCHEDULE = schedules.linear(T=1000)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@defines("eq-ddpm-decoder", "eq-ddpm-bits", "eq-ddpm-ema", "eq-ddpm-rate")
def definitions() -> None:
    """These introduce the decoder, a unit, an average, and the length of the message so far."""


@proves("eq-ddpm-decoder-sum")
def decoder_sum() -> None:
    """The masses of all 256 levels add up to 1, for narrow and wide Gaussians, also off the range of the data."""
    levels = (torch.arange(256, dtype=torch.float64) / 127.5 - 1)[:, None]
    for mean, variance in ((0.1, 1e-4), (-0.98, 1e-3), (1.02, 0.04), (0.0, 2.0)):
        log_mass = discretised_log_prob(
            levels, torch.full_like(levels, mean), torch.tensor(variance, dtype=torch.float64)
        )
        assert_close(log_mass.exp().sum(), 1.0)


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


@proves("eq-ddpm-embedding", "eq-ddpm-embedding-product")
def embedding_product() -> None:
    """The library's sinusoids written out, and the inner product of two times as a function of their difference."""
    dim, times = 64, torch.tensor([0.0, 3.0, 170.0, 999.0])
    frequencies = 10_000.0 ** (-np.arange(dim // 2) / (dim // 2))
    angles = times.double().numpy()[:, None] * frequencies
    written = np.concatenate([np.cos(angles), np.sin(angles)], -1)
    assert_close(sinusoidal_embedding(times, dim), written, 1e-4)  # the library computes it in float32
    for i, j in itertools.product(range(4), repeat=2):
        difference = float(times[i] - times[j])
        assert_close(written[i] @ written[j], np.cos(frequencies * difference).sum())


@proves("eq-ddpm-modulation", "eq-ddpm-attention")
def network_blocks() -> None:
    """The library's blocks against the formulas, with random weights."""
    torch.manual_seed(0)
    x = draw(2, 8, 4, 4).float()
    block, condition = ResidualBlock(8, 8, 16), draw(2, 16, seed=1).float()
    torch.nn.init.normal_(block.conv_out.weight)
    scale, shift = block.modulation(torch.nn.functional.silu(condition))[:, :, None, None].chunk(2, 1)
    h = block.conv_in(torch.nn.functional.silu(block.norm_in(x)))
    h = block.conv_out(torch.nn.functional.silu((1 + scale) * block.norm_out(h) + shift))
    assert_close(block(x, condition).detach(), (x + h).detach(), 1e-5)
    attention = SelfAttention(8, heads=2)
    torch.nn.init.normal_(attention.out.weight)
    query, key, value = attention.to_qkv(attention.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)  # (B, 16, 8)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(4)).softmax(-1)
        heads.append(weights @ value[..., part])
    mixed = torch.cat(heads, -1).transpose(1, 2).reshape(2, 8, 4, 4)
    assert_close(attention(x).detach(), (x + attention.out(mixed)).detach(), 1e-5)


@proves("eq-ddpm-ema-window")
def ema_window() -> None:
    """Unroll the recursion on random numbers; the weights add up to 1."""
    rng, decay, steps = np.random.default_rng(0), 0.9, 30
    theta = rng.normal(size=steps + 1)
    average = theta[0]
    for n in range(1, steps + 1):
        average = decay * average + (1 - decay) * theta[n]
    weights = (1 - decay) * decay ** (steps - np.arange(1, steps + 1))
    assert_close(average, decay**steps * theta[0] + weights @ theta[1:])
    assert_close(decay**steps + weights.sum(), 1.0)


@proves("eq-ddpm-v")
def v_prediction() -> None:
    """Put x_t and v into the right-hand side; the squares of the two coefficients add up to 1."""
    x0, eps = sp.symbols("x_0 epsilon", real=True)
    bar = sp.symbols("abar", positive=True)
    x_t = sp.sqrt(bar) * x0 + sp.sqrt(1 - bar) * eps
    v = sp.sqrt(bar) * eps - sp.sqrt(1 - bar) * x0
    assert_zero(sp.expand(sp.sqrt(bar) * x_t - sp.sqrt(1 - bar) * v - x0))


@proves("eq-ddpm-eps-error")
def eps_error() -> None:
    """Two predicted noises that differ by delta, turned into images by the library."""
    x_t, eps, delta = draw(1, 3), draw(1, 3, seed=1), 0.3
    for t in (2, 3, 50, 400, 1000):
        images = [
            denoiser(lambda x, t, cond, eps=value: eps, EPS, SCHEDULE)(x_t, torch.tensor(t))
            for value in (eps, eps + delta)
        ]
        bar = float(SCHEDULE.alpha_bar[t])
        assert_close(
            (images[1] - images[0]).abs() / delta,
            torch.full((1, 3), math.sqrt((1 - bar) / bar), dtype=torch.float64),
            1e-9,
        )
