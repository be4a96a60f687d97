"""Sounds, films and plans: transforms against sums, ears and rules against what was synthesised, and what a network may see."""

import base64
import io
import itertools
import math
import wave

import numpy as np
import pytest
import torch

from course_lib.data import paths, sounds, spectra, videos
from course_lib.nets.sequences import FrameTransformer
from course_lib.pages.listening import audio_html
from course_lib.recipes.sounds import heard, seen


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MADE = sounds.sounds(80, seeded())
DIGITS = torch.rand(5, 1, 8, 8, generator=seeded(1)) * 2 - 1


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """With all weights moved: nothing is zero any more."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=seeded(3)))
    return network.eval()


def test_a_wave_comes_back_from_its_spectrum_and_energy_is_kept() -> None:
    x = torch.randn(3, 96, generator=seeded(), dtype=torch.float64)
    found = spectra.spectrum(x, 32)
    torch.testing.assert_close(spectra.overlap_add(found), x)
    weights = torch.full((17,), 2.0, dtype=torch.float64)
    weights[[0, -1]] = 1  # the bins that have no twin
    torch.testing.assert_close((found.abs().square() * weights).sum((1, 2)), 1.5 * 32 * x.square().sum(1))
    with pytest.raises(ValueError, match="multiple of 8 samples"):
        spectra.spectrum(x[:, :-1], 32)


def test_each_of_griffin_and_lims_steps_brings_the_magnitudes_nearer() -> None:
    wanted = spectra.spectrum(MADE.waves[:2]).abs()
    misfits = [spectra.inconsistency(spectra.griffin_lim(wanted, k, seeded(1)), wanted) for k in (0, 5, 10, 20)]
    assert all(bool((after < before).all()) for before, after in itertools.pairwise(misfits))
    assert float(misfits[-1].max()) < 0.35 * float(misfits[0].max())


def test_loudness_is_a_scale_of_decibels() -> None:
    x = torch.tensor([1.0, 10**-1.5, 1e-3, 1e-5]) * 7
    torch.testing.assert_close(spectra.to_loudness(x, 7.0), torch.tensor([1.0, 0.0, -1.0, -1.0]))
    torch.testing.assert_close(
        spectra.from_loudness(torch.tensor([1.0, 0.0, -1.0]), 7.0), torch.tensor([7, 7 * 10**-1.5, 0])
    )


def test_the_ear_hears_what_is_played() -> None:
    tonal = MADE.kinds < 2
    found, periodic = sounds.pitch(MADE.waves)
    off = sounds.cents(found, sounds.frequency(MADE.notes.double()))[tonal]
    assert float(off.abs().max()) < 50 and float(off.abs().median()) < 12  # each is tuned within 8 cents or so
    assert float(periodic[tonal].min()) > 0.8 and float(periodic[~tonal].max()) < 0.8
    assert torch.equal(sounds.instruments(MADE.waves, MADE.notes)[tonal], MADE.kinds[tonal])
    torch.testing.assert_close(sounds.cents(torch.tensor(440.0), torch.tensor(220.0)), torch.tensor(1200.0))
    torch.testing.assert_close(sounds.frequency(torch.tensor([0.0, 12.0])), torch.tensor([220.0, 440.0]))
    seconds = torch.arange(sounds.LENGTH) / sounds.RATE
    exact = torch.sin(2 * math.pi * 311.7 * seconds)[None]
    assert float(sounds.pitch(exact)[0]) == pytest.approx(311.7, abs=0.5)


def test_a_mixture_of_two_instruments_is_neither() -> None:
    pipe = MADE.waves[MADE.kinds == 0][0]
    note = MADE.notes[MADE.kinds == 0][:1]
    string = sounds.string(
        sounds.frequency(note), torch.zeros(1, 8), torch.ones(1, 1), torch.arange(sounds.LENGTH) / 8000
    )
    both = seen(torch.cat([pipe[None], 0.5 * string]))
    assert int(sounds.instruments(heard(both.mean(0, keepdim=True)), note)) == -1


def test_sounds_come_back_through_loudness() -> None:
    again = heard(seen(MADE.waves[:12]))
    tonal = MADE.kinds[:12] < 2
    assert torch.equal(sounds.instruments(again, MADE.notes[:12])[tonal], MADE.kinds[:12][tonal])


def test_digits_bounce_and_the_rules_see_it() -> None:
    films = videos.bouncing(DIGITS, 40, 9, seeded())
    found = videos.moves(films)
    assert bool(found.allowed.all()) and float(found.residual.max()) < 1e-6
    assert bool(
        (videos.read(films, DIGITS, torch.arange(5)) == videos.read(films, DIGITS, torch.arange(5))[:, :1]).all()
    )
    # over nine frames each axis meets a wall: both directions occur in each film
    assert bool((found.step.amin(1) == -1).all() and (found.step.amax(1) == 1).all())
    every = videos.every_film(DIGITS)
    assert every.shape == (64 * 5, videos.FRAMES, 12, 12) and len(every.flatten(1).unique(dim=0)) == 64 * 5
    assert float(torch.cdist(films[:, : videos.FRAMES].flatten(1), every.flatten(1)).amin(1).max()) < 0.1
    shuffled = films[torch.randperm(40, generator=seeded(2))][:, torch.randperm(9, generator=seeded(2))]
    assert float(videos.moves(shuffled).allowed.double().mean()) < 0.6


def test_an_expert_never_touches_the_pillar_and_both_ways_are_taken() -> None:
    walked = paths.walks(200, seeded())
    assert not bool(paths.touches(walked).any())
    torch.testing.assert_close(walked[:, -1], torch.tensor(paths.GOAL).expand(200, 2), atol=1e-5, rtol=0)
    right = float((walked[:, paths.STEPS // 2, 0] > 0).double().mean())
    assert abs(right - 0.5) < 4 * 0.5 / 200**0.5
    straight = torch.stack([torch.zeros(3), torch.linspace(-1, 1, 3)], 1)[None]
    assert bool(paths.touches(straight).all())  # its corner points alone do not all lie in the pillar
    jump = torch.tensor([[[-1.0, 0.0], [1.0, 0.0]]])
    assert bool(paths.touches(jump).all())


def test_who_does_what_the_expert_does_arrives() -> None:
    walked = paths.walks(30, seeded())
    places, actions = paths.lessons(walked)
    assert actions.shape == (30 * 25, paths.CHUNK, 2)
    torch.testing.assert_close(
        places.view(30, 25, 2)[:, 3] + paths.SCALE * actions.view(30, 25, 8, 2)[:, 3, 0], walked[:, 4]
    )

    def expert(now: torch.Tensor) -> torch.Tensor:
        return actions[torch.cdist(now, places).argmin(1)]

    for executed in (1, 4, 8):
        done = paths.walk(expert, walked[:, 0], executed)
        assert bool(done.arrived.all()) and not bool(done.hit.any())
        assert torch.equal(done.right, walked[:, 12, 0] > 0)
    ahead = torch.zeros(30, paths.CHUNK, 2)
    ahead[..., 1] = 0.3
    assert bool(paths.walk(lambda now: ahead, walked[:, 0]).hit.all())
    with pytest.raises(ValueError, match="executed must lie in"):
        paths.walk(expert, walked[:, 0], 9)


def test_a_set_has_no_order_and_a_row_has() -> None:
    x, t, order = torch.randn(2, 5, 3, generator=seeded()), torch.tensor([0.2, 0.7]), torch.tensor([3, 0, 4, 1, 2])
    for frames in (None, 5):
        torch.manual_seed(0)
        network = awake(FrameTransformer(3, frames, 16, 2, 2))
        gap = (network(x, t)[:, order] - network(x[:, order], t)).abs().max()
        assert bool(gap < 1e-5) == (frames is None)


def test_an_untrained_network_answers_zero_and_is_told_what_it_takes() -> None:
    x, t = torch.randn(2, 5, 3, generator=seeded()), torch.tensor([0.2, 0.7])
    assert not bool(FrameTransformer(3, 5, 16, 1, 2)(x, t).any())
    network = awake(FrameTransformer(3, 5, 16, 1, 2, numbers=2))
    one, other = (network(x, t, torch.tensor([[a, 1.0], [a, 2.0]])) for a in (0.0, 1.0))
    assert bool(((one - other).abs() > 1e-3).any())
    torch.testing.assert_close(network(x, t), network(x, t, torch.zeros(2, 2)))
    with pytest.raises(ValueError, match="classes and numbers"):
        FrameTransformer(3, 5, 16, 1, 2, classes=3, numbers=2)


def test_a_page_plays_the_samples() -> None:
    text = audio_html(np.array([0.0, 0.5, -1.0, 3.0]), 8000, 'two "notes"')
    data = base64.b64decode(text.partition("base64,")[2].partition('"')[0])
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 4)
        assert np.frombuffer(file.readframes(4), "<i2").tolist() == [0, 16384, -32767, 32767]
    assert 'aria-label="two &quot;notes&quot;"' in text and "controls" in text and "autoplay" not in text
    for wrong, label in ((np.zeros((2, 2)), "a"), (np.array([np.nan]), "a"), (np.zeros(3), " ")):
        with pytest.raises(ValueError, match="samples must be|label must say"):
            audio_html(wrong, 8000, label)
