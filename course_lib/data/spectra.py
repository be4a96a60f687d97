"""The short-time Fourier transform of sounds that are taken as periodic, its inverse, and phases for magnitudes without."""

import math

import torch
from torch import Tensor

from course_lib.draws import uniform

FLOOR = 1e-3  # 60 decibels below the loudest


def hann(size: int) -> Tensor:
    """The window sin^2(pi n / size), `(size,)`, float64. Its squares, moved by a quarter of its size, sum to 3/2 everywhere."""
    return torch.sin(math.pi * torch.arange(size, dtype=torch.float64) / size) ** 2


def spectrum(waves: Tensor, size: int = 512) -> Tensor:
    """Waves `(..., L)` to complex `(..., 4 L / size, size / 2 + 1)`: a windowed Fourier transform every quarter of a window.

    The wave goes on at its beginning where it ends. Raises ValueError unless L is a multiple of a quarter of the window.
    """
    hop = size // 4
    if waves.shape[-1] % hop or size % 4:
        raise ValueError(f"waves must be a multiple of {hop} samples long, a quarter of size; got {waves.shape[-1]}")
    around = torch.cat([waves, waves[..., : size - hop]], -1)
    return torch.fft.rfft(around.unfold(-1, size, hop) * hann(size).to(waves), dim=-1)


def overlap_add(spectra: Tensor) -> Tensor:
    """Spectra `(..., frames, size / 2 + 1)` to waves `(..., frames size / 4)`: the pseudoinverse of `spectrum`.

    Each frame is transformed back, windowed again and added where it was; where the spectra are of no wave, this is the nearest wave's.
    """
    frames, size = spectra.shape[-2], 2 * (spectra.shape[-1] - 1)
    pieces = torch.fft.irfft(spectra, size, dim=-1)
    pieces = pieces * hann(size).to(pieces) / 1.5
    places = (torch.arange(frames)[:, None] * (size // 4) + torch.arange(size)).remainder(frames * size // 4)
    waves = pieces.new_zeros(*spectra.shape[:-2], frames * size // 4)
    return waves.index_add(-1, places.flatten().to(pieces.device), pieces.flatten(-2))


def griffin_lim(magnitudes: Tensor, steps: int = 60, generator: torch.Generator | None = None) -> Tensor:
    """Waves `(..., L)` whose spectra have nearly these magnitudes `(..., frames, size / 2 + 1)` (Griffin and Lim, 1984).

    It begins with random phases, and in turn goes to the nearest wave and takes that wave's phases: the misfit never grows.
    """
    turns = uniform(tuple(magnitudes.shape), generator, magnitudes.dtype, magnitudes.device)
    spectra = torch.polar(magnitudes, 2 * math.pi * turns)
    for _ in range(steps):
        found = spectrum(overlap_add(spectra), 2 * (magnitudes.shape[-1] - 1))
        spectra = magnitudes * found / found.abs().clamp(min=1e-12)
    return overlap_add(spectra)


def inconsistency(waves: Tensor, magnitudes: Tensor) -> Tensor:
    """How far the magnitudes of the waves `(..., L)` are from those wanted, relative to these, `(...)`."""
    misfit = spectrum(waves, 2 * (magnitudes.shape[-1] - 1)).abs() - magnitudes
    return torch.linalg.matrix_norm(misfit) / torch.linalg.matrix_norm(magnitudes)


def to_loudness(magnitudes: Tensor, loudest: float) -> Tensor:
    """Magnitudes `(...)` on a scale of decibels, from -1 (60 dB below the loudest, or less) to 1 (the loudest)."""
    return 1 - 2 * torch.log((magnitudes / loudest).clamp(FLOOR, 1)) / math.log(FLOOR)


def from_loudness(loudness: Tensor, loudest: float) -> Tensor:
    """The magnitudes of loudness `(...)`: the inverse of `to_loudness`; what lies at its lower end is taken for silence."""
    x = loudness.clamp(-1, 1)
    return loudest * torch.exp((1 - x) / 2 * math.log(FLOOR)) * (x > -0.95)
