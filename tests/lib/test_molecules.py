"""Molecules: lengths, angles and hands that are known, rules against molecules that break them, and a network that knows no pose."""

import pytest
import torch

from course_lib.data import molecules as world
from course_lib.data.molecules import Molecules
from course_lib.nets.equivariant import EquivariantNetwork, bells, centred
from course_lib.recipes.molecules import PROCESS, UNIT, centred_noise, draw_molecules, molecule_loss


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MADE = world.molecules(140, seeded())


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """With all weights moved: nothing is zero any more."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=seeded(3)))
    return network.eval()


def about_nitrogen(places: torch.Tensor) -> torch.Tensor:
    """The triple product of the bonds of N in C-N-O, whose rows are C N O, three hydrogens of C, and the one of N."""
    return torch.linalg.det(places[:, [0, 2, 6]] - places[:, 1:2])


def test_a_chain_has_ideal_lengths_angles_and_torsions() -> None:
    torsion = torch.tensor([[0.3], [-1.2], [2.0]])
    places, atoms = world.chain("CO", torsion)
    assert atoms[0].tolist() == [2, 4, 1, 1, 1, 1]
    torch.testing.assert_close((places[:, 0] - places[:, 1]).norm(dim=1), torch.full((3,), 0.76 + 0.66))
    bonds = places[:, [1, 2, 3, 4]] - places[:, :1]  # from the carbon
    bonds = bonds / bonds.norm(dim=2, keepdim=True)
    cosines = bonds @ bonds.mT
    torch.testing.assert_close(cosines, torch.eye(4).expand(3, 4, 4) * 4 / 3 - 1 / 3, atol=1e-5, rtol=0)
    # the oxygen's hydrogen stands opposite the first hydrogen, and as much further as the torsion says
    first, along, last = places[:, 0] - places[:, 2], places[:, 1] - places[:, 0], places[:, 5] - places[:, 1]
    n1, n2 = torch.linalg.cross(first, along), torch.linalg.cross(along, last)
    cosine = (n1 * n2).sum(1) / (n1.norm(dim=1) * n2.norm(dim=1))
    torch.testing.assert_close(cosine, -torsion[:, 0].cos(), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="letters of 'CNO'"):
        world.chain("CH", torsion)
    with pytest.raises(ValueError, match="one a bond of 'CCO'"):
        world.chain("CCO", torsion)


def test_the_world_obeys_the_rules_and_both_hands_occur() -> None:
    assert bool(world.valid(*MADE).all()) and set(world.constitutions(*MADE)) == set(world.WORDS)
    torch.testing.assert_close(centred(MADE.places, MADE.atoms), MADE.places, atol=1e-5, rtol=0)
    right = world.peroxides(200, seeded())
    assert bool(world.valid(*right).all()) and float((world.handedness(right.places) > 0).double().mean()) == 1
    for word, hand in (("OO", world.handedness), ("CNO", about_nitrogen)):
        share = float((hand(world.molecules(300, seeded(), [word]).places) > 0).double().mean())
        assert abs(share - 0.5) < 4 * 0.5 / 300**0.5


@pytest.mark.parametrize("hydrogens", [True, False])
def test_rules_find_what_is_broken(hydrogens: bool) -> None:
    places, atoms = world.chain("COO", torch.zeros(1, 2))
    far, near, free = places.clone(), places.clone(), places.clone()
    far[:, 3] += 5  # a hydrogen lost
    near[:, 3] = places[:, 0] + 0.5 * (places[:, 3] - places[:, 0])  # and one pressed into its carbon
    free[:, [2, 6]] += 20  # a piece broken off
    assert bool(world.valid(places, atoms, hydrogens).all())
    for broken in (far, near, free):
        assert not bool(world.valid(broken, atoms, hydrogens).any())
    assert world.constitutions(far, atoms) == [""] and world.constitutions(places, atoms) == ["COO"]
    heavy = Molecules(places[:, :3], atoms[:, :3])
    assert bool(world.valid(*heavy, hydrogens).all()) != hydrogens
    double = torch.tensor([[[0.0, 0, 0], [1.21, 0, 0]], [[0.0, 0, 0], [1.13, 0, 0]], [[0.0, 0, 0], [1.43, 0, 0]]])
    kinds = torch.tensor([[2, 4]]).expand(3, 2)
    assert world.orders(double, kinds)[:, 0, 1].tolist() == [2, 3, 1]


def test_distances_see_neither_pose_nor_hand_nor_order() -> None:
    reference = world.distances(*MADE)
    order = torch.arange(MADE.atoms.shape[1]).flip(0)
    mirrored = Molecules((MADE.places * torch.tensor([1.0, 1, -1]))[:, order], MADE.atoms[:, order])
    torch.testing.assert_close(
        world.distances(*world.posed(mirrored, seeded(1))).sort(1).values, reference.sort(1).values, atol=1e-4, rtol=0
    )
    torch.testing.assert_close(world.distances(*mirrored), reference, atol=1e-4, rtol=0)
    torch.testing.assert_close(world.distances(*world.chain("CO", torch.zeros(1, 1)))[:, -1], torch.tensor([1.42]))
    known, new = (Molecules(*(part[k::2] for part in MADE)) for k in (0, 1))
    assert float(world.nearest(known, known).max()) < 1e-3 < float(world.nearest(new, known).median()) < 0.1
    alone = Molecules(known.places[:, :6], known.atoms.clamp(max=3)[:, :6])
    assert bool(torch.isinf(world.nearest(Molecules(alone.places, alone.atoms * 0 + 2), alone)).all())
    assert world.overlap(reference, reference) == 0 and world.overlap(reference, 3 + 0 * reference) > 0.9


def test_rotations_are_rotations_and_all_alike() -> None:
    turns = world.rotations(4000, seeded()).double()
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).double().expand(4000, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(4000).double(), atol=1e-5, rtol=0)
    assert float(turns.mean(0).abs().max()) < 4 * (1 / 3 / 4000) ** 0.5
    squares = turns.square().mean(0)
    assert float((squares - 1 / 3).abs().max()) < 4 * (4 / 45 / 4000) ** 0.5  # of a uniform unit vector's coordinate


@pytest.mark.parametrize("mirror", [1, -1])
def test_the_network_turns_mirrors_and_permutes_with_its_input(mirror: int) -> None:
    torch.manual_seed(0)
    network = awake(EquivariantNetwork(16, 3).double())
    x = centred(torch.randn(6, 7, 3, generator=seeded(), dtype=torch.float64), MADE.atoms[:6])
    t, atoms = torch.linspace(50, 950, 6), MADE.atoms[:6]
    u, _, v = torch.linalg.svd(world.rotations(1, seeded(1))[0].double())
    turn = mirror * u @ v  # orthogonal to the last digit
    answer = network(x, t, atoms).detach()
    assert float(answer.abs().max()) > 0.1
    moved = x @ turn.T + torch.tensor([3.0, -1.0, 2.0]).double()
    assert float(torch.linalg.det(turn)) == pytest.approx(mirror)
    torch.testing.assert_close(network(moved, t, atoms), answer @ turn.T, atol=1e-6, rtol=0)
    order = torch.randperm(7, generator=seeded(2))
    torch.testing.assert_close(network(x[:, order], t, atoms[:, order]), answer[:, order], atol=1e-6, rtol=0)
    torch.testing.assert_close(answer.sum(1), torch.zeros(6, 3).double(), atol=1e-9, rtol=0)
    count = (atoms > 0).sum(1)
    k, n = int(count.argmin()), int(count.min())
    alone = network(x[k : k + 1, :n], t[k : k + 1], atoms[k : k + 1, :n])
    assert n < 7
    torch.testing.assert_close(alone, answer[k : k + 1, :n], atol=1e-9, rtol=0)  # empty rows change nothing


def test_bells_tell_distances_apart() -> None:
    heights = bells(torch.tensor([0.0, 1.0, 4.0]).double())
    middles = torch.linspace(0, 6, heights.shape[1])
    torch.testing.assert_close(middles[heights.argmax(1)], torch.tensor([0.0, 1.0, 2.0]), atol=0.1, rtol=0)


def test_noise_and_drawings_have_their_centre_at_0() -> None:
    atoms = MADE.atoms[:50]
    noise = centred_noise(atoms, seeded())(torch.zeros(50, 7, 3, dtype=torch.float64))
    torch.testing.assert_close(noise.sum(1), torch.zeros(50, 3).double(), atol=1e-9, rtol=0)
    count = (atoms > 0).sum(1)
    expected = 3.0 * (count - 1)  # the dimensions that are left
    z = (noise.square().sum((1, 2)) - expected).sum() / (2 * expected).sum().sqrt()
    assert abs(float(z)) < 4
    drawn = draw_molecules(awake(EquivariantNetwork(8, 1)), atoms, 5, seeded())
    torch.testing.assert_close(drawn.sum(1), torch.zeros(50, 3), atol=1e-4, rtol=0)
    assert not bool(drawn[atoms == 0].any())


def test_an_untrained_network_loses_what_v_is() -> None:
    """Its answer is 0, so its loss is the mean square of v = a eps - b x_0, where both have their centre at 0."""
    torch.manual_seed(0)
    network, batch = EquivariantNetwork(8, 1), tuple(MADE)
    losses = [float(molecule_loss(turned)(network, batch, seeded(5)).detach()) for turned in (False, True)]
    generator = seeded(5)
    t = PROCESS.schedule.times(len(MADE.atoms), generator)
    noise = centred_noise(MADE.atoms, generator)(MADE.places)
    a, b = (part(t).float()[:, None, None] for part in (PROCESS.schedule.signal, PROCESS.schedule.noise))
    assert losses[0] == pytest.approx(float((a * noise - b * MADE.places / UNIT).square().mean()), rel=1e-4)
    assert losses[1] != losses[0] and losses[1] == pytest.approx(losses[0], rel=0.2)
