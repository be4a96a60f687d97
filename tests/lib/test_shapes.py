"""Clouds, shadows and score distillation: surfaces and shares of area, tests of sets that are known, gradients on an exact mixture."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from course_lib.data import shadows, shapes
from course_lib.diffusion.distillation import distillation_loss, distilled
from course_lib.diffusion.exact import ExactDiffusion, Mixture, three_bumps
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.predictions import X0
from course_lib.diffusion.schedules import cosine
from course_lib.nets.conditions import Labels
from course_lib.nets.sets import PointTransformer, Waves
from course_lib.recipes.shadows import sculpt
from course_lib.sampling.generate import Denoising
from course_lib.sampling.guidance import extrapolated

PROCESS = GaussianDiffusion(cosine(100))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(n: int, points: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = seeded(seed)
    return (
        torch.rand(n, 3, generator=generator),
        torch.rand(n, points, 3, generator=generator),
        torch.rand(n, points, 2, generator=generator),
    )


def test_points_lie_on_their_surfaces() -> None:
    sizes, places, tosses = draws(5, 200)
    x, y, z = shapes.torus(sizes, places, tosses).unbind(-1)
    wide, tube = 0.45 + 0.25 * sizes[:, :1], (0.45 + 0.25 * sizes[:, :1]) * (0.25 + 0.17 * sizes[:, 1:2])
    torch.testing.assert_close((torch.hypot(y, z) - wide).square() + x.square(), tube.square().expand(5, 200))
    half = 0.25 + 0.45 * sizes
    on = (shapes.box(sizes, places, tosses).abs() / half[:, None]).amax(-1)
    torch.testing.assert_close(on, torch.ones(5, 200))
    wire = shapes.helix(sizes, places)
    torch.testing.assert_close(wire[..., 1:].norm(dim=2), (0.25 + 0.25 * sizes[:, :1]).expand(5, 200))
    turns = wire[..., 0] / (0.5 + 0.35 * sizes[:, 1:2]) * math.pi * shapes.TURNS
    torch.testing.assert_close(torch.atan2(wire[..., 2], wire[..., 1]).cos(), turns.cos(), atol=1e-4, rtol=0)


def test_points_are_spread_by_area() -> None:
    sizes, places, tosses = draws(1, 60_000, 1)
    wide, k = float(0.45 + 0.25 * sizes[0, 0]), float(0.25 + 0.17 * sizes[0, 1])
    for by_area, mean in ((True, k / 2), (False, 0.0)):
        out = shapes.torus(sizes, places, tosses, by_area)[0, :, 1:].norm(dim=1)
        assert float((out / wide - 1).mean() / k) == pytest.approx(mean, abs=0.012)
    half = 0.25 + 0.45 * sizes[0]
    points = shapes.box(sizes, places, tosses)[0]
    faces = ((points.abs() / half) > 1 - 1e-6).float().mean(0)
    areas = half.prod() / half
    torch.testing.assert_close(faces, areas / areas.sum(), atol=0.01, rtol=0)
    assert float((points > 0).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_clouds_are_objects_and_scattered_points_are_not() -> None:
    made = shapes.clouds(300, seeded(2))
    again = shapes.clouds(300, seeded(2))
    assert torch.equal(made.points, again.points) and set(made.kinds.tolist()) == {0, 1, 2}
    assert float(made.points.abs().max()) <= shapes.SCALE and float(made.points.var()) == pytest.approx(1, abs=0.1)
    kinds = torch.ones(3000, dtype=torch.long)
    for draw, linked in ((shapes.clouds_of, True), (shapes.scattered, False)):
        height = draw(kinds, seeded(3), 2)[..., 2].abs()  # two points of one box are as high as it is
        assert (float(torch.corrcoef(height.T)[0, 1]) > 0.08) == linked
    with pytest.raises(ValueError, match="numbers of torus, box, helix"):
        shapes.clouds_of(torch.tensor([3]))


def test_chamfer_is_blind_to_how_many_and_the_test_of_sets_is_fair() -> None:
    one = torch.randn(1, 6, 3, generator=seeded(4))
    many = one[:, [0, 0, 0, 1, 2, 3, 4, 5, 5]]
    assert float(shapes.chamfer(one, many)) == pytest.approx(0, abs=1e-12)
    moved = one.clone()
    moved[0, 0, 0] += 1e-2
    assert float(shapes.chamfer(one, moved)) == pytest.approx(2 * 1e-4 / 6, rel=1e-3)
    near = torch.randn(20, 8, 3, generator=seeded(5))
    assert bool(shapes.told_apart(near, near[:, :, :] + 50).all())
    accuracies = []
    for seed in range(60):
        both = torch.randn(12, 4, 3, generator=seeded(seed))
        accuracies.append(float(shapes.told_apart(both[:6], both[6:]).double().mean()))
    error = torch.tensor(accuracies).std() / 60**0.5
    assert abs(sum(accuracies) / 60 - 5 / 11) < 4 * float(error)
    with pytest.raises(ValueError, match="as many clouds"):
        shapes.told_apart(near, near[:3])


@pytest.mark.parametrize("places", [None, 7])
def test_a_network_of_sets_answers_in_the_order_of_the_question(places: int | None) -> None:
    torch.manual_seed(0)
    network = PointTransformer(3, places, 16, 1, 2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=seeded(6)))
        x, t, kinds = torch.randn(2, 7, 3, generator=seeded(7)), torch.tensor([30.0, 60.0]), torch.tensor([0, 2])
        order = torch.randperm(7, generator=seeded(8))
        apart = float((network(x[:, order], t, kinds) - network(x, t, kinds)[:, order]).abs().max())
    assert (apart < 1e-5) == (places is None)


def test_waves_are_sines_and_cosines() -> None:
    x = torch.tensor([0.3, -1.0, 2.0])
    expected = [*x, *(f(m * float(v)) for f in (math.sin, math.cos) for m in (1, 2, 4) for v in x)]
    torch.testing.assert_close(Waves()(x), torch.tensor([float(v) for v in expected]))


def test_shadows_of_one_voxel_and_of_a_carved_block() -> None:
    block = torch.zeros(1, 28, 28, 28)
    block[0, 2, 5, 9] = 0.7  # y, x, z
    seen = shadows.shadows(block)[0]
    for side, place in enumerate([(2, 5), (2, 9), (9, 5)]):
        assert float(seen[side][place]) == pytest.approx(1 - math.exp(-0.7))
        assert float(seen[side].sum()) == pytest.approx(1 - math.exp(-0.7))
    solid = (torch.rand(2, 28, 28, 28, generator=seeded(9)) < 0.002).float()
    pictures = shadows.outlines(solid)
    torch.testing.assert_close(pictures, (shadows.shadows(1e9 * solid)))
    hull = shadows.carved(pictures)
    assert bool((hull >= solid).all()) and torch.equal(shadows.outlines(hull), pictures)


def test_the_gradient_of_the_loss_is_score_distillations() -> None:
    exact = ExactDiffusion(three_bumps(), PROCESS.schedule)
    x, noise = (torch.randn(5, 2, generator=seeded(s), dtype=torch.float64) for s in (10, 11))
    t = torch.tensor([5, 20, 50, 70, 90])
    x.requires_grad_()
    loss = distillation_loss(exact.denoise, x, t, noise, PROCESS)
    (found,) = torch.autograd.grad(loss.sum(), x)
    a, b = (level(t)[:, None] for level in (PROCESS.schedule.signal, PROCESS.schedule.noise))
    guess = exact.eps(a * x.detach() + b * noise, t)
    torch.testing.assert_close(found, b / a * (guess - noise))
    with pytest.raises(ValueError, match="noise"):
        distillation_loss(exact.denoise, x, t, noise[:1], PROCESS)


def test_distilled_points_end_in_modes_of_what_the_times_show_and_guided_ones_beyond() -> None:
    start = torch.randn(60, 3, generator=seeded(12), dtype=torch.float64)
    one, middle = torch.eye(3, dtype=torch.float64)[None], torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    bump = ExactDiffusion(Mixture(torch.ones(1, dtype=torch.float64), middle, 0.3 * one), PROCESS.schedule)
    torch.testing.assert_close(
        distilled(bump.denoise, PROCESS, start, 400, seeded(13)), middle.expand(60, 3), atol=0.1, rtol=0
    )
    exact = ExactDiffusion(three_bumps(), PROCESS.schedule)
    ends = distilled(exact.denoise, PROCESS, start[:, :2], 400, seeded(14), highest=0.25)
    apart = torch.cdist(ends, three_bumps().means)
    assert float(apart.amin(1).mean()) < 0.25 and len(apart.argmin(1).unique()) == 3
    alike = distilled(exact.denoise, PROCESS, start[:, :2], 400, seeded(14))
    assert float(alike.std(0).max()) < 0.1  # one place for all, and that in no bump
    assert float(torch.cdist(alike, three_bumps().means).amin()) > 0.5
    one = exact.conditional(1)
    reach = []
    for scale in (1.0, 8.0):
        guided = extrapolated(one.denoise, exact.denoise, scale)
        ends = distilled(guided, PROCESS, start[:20, :2], 300, seeded(16))
        reach.append(float((ends.mean(0) - three_bumps().mean()).norm()))
    assert reach[1] > 1.2 * reach[0]
    for steps, rate, highest in ((0, 0.1, 1.0), (3, 0.0, 1.0), (3, 1.5, 1.0), (3, 0.1, 0.0)):
        with pytest.raises(ValueError, match="steps must be at least 1, and rate and highest"):
            distilled(exact.denoise, PROCESS, start[:, :2], steps, rate=rate, highest=highest)


class Knows(nn.Module):
    """A network that says of everything that it is the picture of the class: a bar in the middle rows, at a place of its own."""

    def __init__(self) -> None:
        super().__init__()
        pictures = torch.full((11, 1, 28, 28), -1.0)
        for k in range(10):
            pictures[k, 0, 10:18, 8 + k : 14 + k] = 1
        self.takes, self.pictures = Labels(10), nn.Parameter(pictures)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return self.pictures[cond]


def test_a_block_is_sculpted_into_shadows_that_agree() -> None:
    model = Denoising(Knows(), X0, PROCESS.schedule, (1, 28, 28))
    digits = torch.tensor([[0, 4, 0]])
    first, *_, done = sculpt(model, digits, 60, 1.0, seeded(15))
    front, side = (model.network.pictures[k, 0].detach() / 2 + 0.5 for k in (0, 4))  # type: ignore[index, operator]
    assert float((first.seen[0, 0] - front).abs().mean()) > 0.2
    assert max(float((done.seen[0, k] - picture).abs().mean()) for k, picture in ((0, front), (1, side))) < 0.04
    torch.testing.assert_close(done.seen, shadows.shadows(done.density))
    assert float(done.density.min()) >= 0
    for wrong, shape in itertools.product([digits[:, :2], digits[0]], [(1, 28, 28)]):
        with pytest.raises(ValueError, match="digits must be"):
            next(sculpt(model._replace(shape=shape), wrong))
