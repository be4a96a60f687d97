"""Dead leaves: what is known of them in closed form, pixel by pixel and pair by pair."""

import math

import pytest
import torch
from scipy.integrate import quad

from course_lib.data.leaves import BRIGHTEST, CANVAS, SENSOR, dead_leaves, heap


def overlap(radius: float, distance: float) -> float:
    """The area that two discs of this radius share."""
    if distance >= 2 * radius:
        return 0.0
    half = distance / (2 * radius)
    return 2 * radius**2 * (math.acos(half) - half * math.sqrt(1 - half**2))


def same_leaf(distance: float, smallest: float, largest: float) -> float:
    """The probability that two points lie on one leaf: the first leaf on either covers both (Lee et al., 2001)."""
    norm = quad(lambda r: r**-3, smallest, largest)[0]

    def area(r: float) -> float:
        return r**-3 / norm

    both = quad(lambda r: area(r) * overlap(r, distance), smallest, largest)[0]
    one = quad(lambda r: area(r) * math.pi * r**2, smallest, largest)[0]
    return both / (2 * one - both)


def test_greys_are_uniform_and_neighbours_agree_as_often_as_the_theory_says():
    """Correlation of two pixels = probability that they lie on one leaf; averaging over a pixel changes it little from 8 pixels on."""
    generator = torch.Generator().manual_seed(0)
    heaps = torch.stack([heap(4.0, 24.0, generator) for _ in range(24)])
    variance = BRIGHTEST**2 / 3
    assert abs(heaps.mean()) < 0.05 and heaps.abs().max() <= BRIGHTEST
    assert 0.85 * variance < heaps.var() < 1.05 * variance
    for distance in (8, 16, 30):
        found = (heaps[:, :-distance] * heaps[:, distance:]).mean() / variance
        assert abs(found - same_leaf(distance, 4.0, 24.0)) < 0.06, distance


def test_the_sensor_adds_noise_of_its_own_to_every_pixel():
    clean, noisy = (dead_leaves(64, 32, sensor=s, generator=torch.Generator().manual_seed(1)) for s in (0.0, SENSOR))
    noise = noisy - clean
    assert abs(noise.std() / SENSOR - 1) < 0.02 and noisy.shape == (64, 1, 32, 32)
    assert abs((noise[..., 1:] * noise[..., :-1]).mean()) < 0.02 * SENSOR**2 * 5


def test_pictures_are_windows_of_heaps_that_no_two_share():
    pictures = dead_leaves(5, CANVAS // 2, sensor=0.0, generator=torch.Generator().manual_seed(2))
    first = heap(3.0, 32.0, torch.Generator().manual_seed(2))
    assert torch.equal(pictures[0, 0], first[: CANVAS // 2, : CANVAS // 2])
    assert torch.equal(pictures[3, 0], first[CANVAS // 2 :, CANVAS // 2 :])
    assert len(torch.unique(pictures.flatten(1), dim=0)) == 5
    assert dead_leaves(0).shape == (0, 1, 32, 32)


@pytest.mark.parametrize(("smallest", "largest"), [(0.0, 4.0), (5.0, 5.0), (-1.0, 3.0)])
def test_radii_out_of_order_are_refused(smallest, largest):
    with pytest.raises(ValueError, match="0 < smallest < largest"):
        dead_leaves(1, 32, smallest, largest)


def test_a_size_that_does_not_divide_a_heap_is_refused():
    with pytest.raises(ValueError, match="size must divide 256"):
        dead_leaves(1, 28)
