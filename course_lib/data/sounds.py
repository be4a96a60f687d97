"""Short sounds of two instruments and a drum, synthesised from a seed: a quarter of a second at 8 kHz."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.draws import integers, normal, uniform

RATE, LENGTH = 8000, 2048  # samples a second, samples a sound
LOWEST, NOTES = 220.0, 12  # the octave from A3 on, in Hz and semitones
DRUM = NOTES  # the class that comes after the notes
KINDS = ("pipe", "string", "drum")


class Sounds(NamedTuple):
    """Waves `(n, LENGTH)` in [-1, 1], what was asked for `(n,)`, a note or the drum, and the number `(n,)` of the kind in KINDS."""

    waves: Tensor
    notes: Tensor
    kinds: Tensor


def frequency(note: Tensor) -> Tensor:
    """The frequency in Hz of notes of any shape, counted in semitones from A3 (220 Hz)."""
    return LOWEST * 2 ** (note / 12)


def sounds(n: int, generator: torch.Generator | None = None) -> Sounds:
    """n sounds: each note and the drum as often, and each note from the pipe or the string by the toss of a coin.

    Each has a loudness, a tuning, phases and a length of its own.
    """
    notes = integers(0, NOTES + 1, (n,), generator)
    kinds = torch.where(notes == DRUM, 2, integers(0, 2, (n,), generator))
    tuned = frequency(notes + 0.08 * normal((n,), generator))  # a twelfth of a semitone off, or so
    phases = 2 * math.pi * uniform((n, 8), generator)
    pace, loudness = 1 + 0.15 * normal((n, 1), generator).clamp(-2, 2), 0.6 + 0.4 * uniform((n, 1), generator)
    seconds = torch.arange(LENGTH) / RATE
    made = torch.stack([
        pipe(tuned, phases, pace, seconds),
        string(tuned, phases, pace, seconds),
        drum(phases, pace, seconds, normal((n, LENGTH), generator)),
    ])  # fmt: skip
    waves = made[kinds, torch.arange(n)]
    return Sounds(loudness * waves / waves.abs().amax(1, keepdim=True), notes, kinds)


def partials(pitch: Tensor, phases: Tensor, numbers: Tensor, seconds: Tensor) -> Tensor:
    """The overtones of pitches `(n,)` with these numbers `(k,)`, `(n, k, samples)`; those above 3.6 kHz are silent."""
    each = pitch[:, None] * numbers
    waves = torch.sin(2 * math.pi * each[:, :, None] * seconds + phases[:, : len(numbers), None])
    return waves * (each < 3600)[:, :, None]


def pipe(pitch: Tensor, phases: Tensor, pace: Tensor, seconds: Tensor) -> Tensor:
    """A pipe closed at one end: odd overtones only, which swell and are held, `(n, samples)`."""
    numbers = torch.tensor([1.0, 3.0, 5.0])
    swell = (1 - torch.exp(-seconds / (0.04 * pace))) * closing(seconds)
    return (partials(pitch, phases, numbers, seconds) / numbers[:, None] ** 1.5).sum(1) * swell


def string(pitch: Tensor, phases: Tensor, pace: Tensor, seconds: Tensor) -> Tensor:
    """A plucked string: all overtones, there at once, and the higher the sooner gone, `(n, samples)`."""
    numbers = torch.arange(1.0, 9.0)
    decay = torch.exp(-seconds * numbers[:, None] ** 0.5 / (0.07 * pace[:, :, None]))  # (n, k, samples)
    return (partials(pitch, phases, numbers, seconds) * decay / numbers[:, None]).sum(1) * opening(seconds)


def drum(phases: Tensor, pace: Tensor, seconds: Tensor, noise: Tensor) -> Tensor:
    """A drum: a tone that falls from 300 to 70 Hz, and a short hiss, `(n, samples)`."""
    fall = 0.03 * pace
    cycles = 70 * seconds + 230 * fall * (1 - torch.exp(-seconds / fall))
    tone = torch.sin(2 * math.pi * cycles + 0.3 * phases[:, :1]) * torch.exp(-seconds / (0.07 * pace))
    return (tone + 0.25 * noise * torch.exp(-seconds / 0.015)) * opening(seconds)


def opening(seconds: Tensor) -> Tensor:
    """A rise from 0 to 1 within 3 milliseconds, so that no sound begins with a click, for seconds `(samples,)`."""
    return torch.sin(math.pi / 2 * (seconds / 0.003).clamp(max=1)) ** 2 * closing(seconds)


def closing(seconds: Tensor) -> Tensor:
    """A fall to 0 over the last 20 milliseconds of a sound, for seconds `(samples,)`."""
    return torch.sin(math.pi / 2 * ((LENGTH / RATE - seconds) / 0.02).clamp(0, 1)) ** 2


def pitch(waves: Tensor, low: float = 200.0, high: float = 480.0) -> tuple[Tensor, Tensor]:
    """The pitch of each wave `(n, samples)` in Hz and how periodic it is, in [-1, 1], both `(n,)`.

    It is the shortest lag at which the autocorrelation comes near its highest value between the two frequencies. Between the samples
    the autocorrelation is that of the band-limited wave: the power spectrum's cosine series, evaluated every twentieth of a sample.
    """
    lags = torch.arange(RATE / high, RATE / low, 0.05, dtype=torch.float64).to(waves.device)
    power = torch.fft.rfft(waves.double(), 2 * waves.shape[1]).abs().square()
    power[:, 1:-1] *= 2
    turns = torch.outer(torch.arange(power.shape[1], device=waves.device), lags) / (2 * waves.shape[1])
    similar = power @ torch.cos(2 * math.pi * turns) / power.sum(1, keepdim=True).clamp(min=1e-12)
    similar = similar / (1 - lags / waves.shape[1])  # a later lag overlaps less
    inner = similar[:, 1:-1]
    peaks = (inner >= similar[:, :-2]) & (inner >= similar[:, 2:]) & (inner > 0)
    best = torch.where(peaks, inner, -1).amax(1, keepdim=True)
    first = (peaks & (inner >= 0.85 * best)).int().argmax(1)
    return RATE / lags[1 + first], best[:, 0]


def cents(found: Tensor, wanted: Tensor) -> Tensor:
    """How far frequencies lie above others, of any shape, in hundredths of a semitone."""
    return 1200 * torch.log2(found / wanted)


class Traits(NamedTuple):
    """Three properties by which an ear tells pipe from string, each `(n,)`; a pipe has a high `held`, a high `late`, a low `even`."""

    held: Tensor  # the energy of the second half as a share of the whole
    late: Tensor  # seconds until a tenth of the energy has passed
    even: Tensor  # the share of the second overtone's amplitude in that of the first two


def traits(waves: Tensor, notes: Tensor) -> Traits:
    """The traits of waves `(n, samples)` that are to play these notes `(n,)`."""
    energy = waves.double().square()
    passed = energy.cumsum(1) / energy.sum(1, keepdim=True).clamp(min=1e-12)
    late = (passed < 0.1).sum(1) / RATE
    seconds = torch.arange(waves.shape[1], device=waves.device) / RATE
    turns = 2 * math.pi * frequency(notes.double())[:, None, None] * torch.tensor([[1.0], [2.0]]).to(seconds) * seconds
    early = waves[:, None, :800].double()  # the first tenth of a second
    angles = turns[:, :, :800]
    first, second = torch.hypot((early * angles.cos()).sum(2), (early * angles.sin()).sum(2)).unbind(1)
    return Traits(1 - passed[:, waves.shape[1] // 2], late, second / (first + second).clamp(min=1e-12))


def instruments(waves: Tensor, notes: Tensor) -> Tensor:
    """Which instrument plays each wave `(n, samples)` of these notes, `(n,)`: 0 pipe, 1 string, -1 where the traits disagree."""
    found = traits(waves, notes)
    votes = torch.stack([found.held > 0.3, found.late > 0.03, found.even < 0.1])
    return torch.where(votes.all(0), 0, torch.where(~votes.any(0), 1, -1))
