"""Pictures that lost something, and the two losses of the network that restores them."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from course_lib.data.degradations import DEGRADATIONS, Degraded, box, compressed, cropped, degraded, greyed, holed
from course_lib.data.images import to_bytes
from course_lib.diffusion.predictions import V
from course_lib.diffusion.schedules import cosine
from course_lib.nets.pictures import PictureUNet
from course_lib.recipes.palette import Palette, Regress, guessed, on_the_unknown
from course_lib.sampling.generate import Denoising
from course_lib.sampling.restoring import mended
from tests.lib.tensors import normal

PICTURES = normal(8, 3, 16, 16).float().clamp(-1, 1)
COSINE = {"name": "cosine", "T": 20}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("task", ["inpaint", "uncrop"])
def test_what_is_not_hidden_stays_and_what_is_hidden_becomes_noise(task: str) -> None:
    many = PICTURES.repeat(50, 1, 1, 1)
    left = DEGRADATIONS[task](many, generator())
    gone = (left.unknown > 0).expand_as(many)
    assert torch.equal(left.shown[~gone], many[~gone])
    assert abs(float(left.shown[gone].mean())) < 0.02 and abs(float(left.shown[gone].std()) - 1) < 0.02


def test_a_hole_is_a_box_of_a_quarter_to_five_eighths_that_may_lie_anywhere() -> None:
    left = holed(torch.zeros(400, 3, 16, 16), generator())
    sides = left.unknown[:, 0].amax(2).sum(1), left.unknown[:, 0].amax(1).sum(1)
    assert torch.equal(left.unknown.sum((1, 2, 3)), sides[0] * sides[1])
    for side in sides:
        assert (int(side.min()), int(side.max())) == (4, 10)
    assert bool((left.unknown.sum((0, 1)) > 0).all()), "some pixels are never hidden"
    one = box(torch.zeros(1, 3, 16, 16), *(torch.tensor([n]) for n in (2, 5, 3, 4)))
    assert torch.equal(one[0, 0].nonzero().amin(0), torch.tensor([2, 5])) and float(one.sum()) == 12


def test_a_frame_of_an_eighth_is_hidden() -> None:
    assert torch.equal(cropped(PICTURES).unknown[:, :, 2:-2, 2:-2], torch.zeros(8, 1, 12, 12))
    assert float(cropped(PICTURES).unknown.sum()) == 8 * (16**2 - 12**2)


def test_grey_pictures_have_pillows_grey_values() -> None:
    from PIL import Image

    left = greyed(PICTURES)
    assert torch.equal(left.shown[:, :1].expand_as(left.shown), left.shown) and bool((left.unknown == 1).all())
    theirs = Image.fromarray(to_bytes(PICTURES)[0].permute(1, 2, 0).numpy()).convert("L")
    assert np.abs(to_bytes(left.shown)[0, 0].numpy().astype(int) - np.array(theirs).astype(int)).max() <= 1


def test_jpeg_loses_more_at_a_lower_quality_and_less_on_what_is_flat() -> None:
    lost = [float((compressed(PICTURES, quality=q).shown - PICTURES).square().mean()) for q in (5, 50, 95)]
    assert lost[0] > 1.2 * lost[1] > 1.2 * lost[2] > 0
    flat = torch.full((1, 3, 16, 16), 0.2)
    assert float((compressed(flat, quality=95).shown - flat).abs().max()) < 0.02
    assert compressed(PICTURES[:, :1]).shown.shape == (8, 1, 16, 16)


def test_a_batch_is_dealt_to_all_tasks() -> None:
    left = degraded(PICTURES, generator())
    share = left.unknown.mean((1, 2, 3))
    assert bool((share[:2] < 0.5).all()) and torch.allclose(share[2:4], torch.tensor(1 - (12 / 16) ** 2))
    assert torch.equal(left.shown[4:6], greyed(PICTURES[4:6]).shown)
    assert torch.equal(left.shown[6:], compressed(PICTURES[6:]).shown)
    assert left.condition.shape == (8, 4, 16, 16)
    assert len(degraded(PICTURES[:3], generator()).shown) == 3


def test_the_error_counts_where_something_is_unknown_and_each_picture_alike() -> None:
    unknown = torch.zeros(2, 1, 2, 2)
    unknown[0, 0, 0, 0], unknown[1] = 1, 1
    error = torch.full((2, 3, 2, 2), 2.0)
    error[0, :, 0, 0] = -3
    assert float(on_the_unknown(error, unknown, 2)) == (9 + 4) / 2
    assert float(on_the_unknown(error, unknown, 1)) == (3 + 2) / 2


class Oracle(nn.Module):
    """It knows that all pictures have one grey: v or x_0 exactly where something is unknown, and nonsense elsewhere."""

    def __init__(self, says: str, level: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.says, self.grey = says, level / 127.5 - 1

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        schedule = cosine(20)
        a, b = (level(t).float()[:, None, None, None] for level in (schedule.signal, schedule.noise))
        x0 = torch.full_like(x, self.grey)
        answer = a * (x - a * x0) / b - b * x0 if self.says == "v" else x0
        return torch.where(cond[:, -1:] > 0, answer, 7.0)


@pytest.mark.parametrize(
    ("objective", "says"), [(Palette(V, COSINE), "v"), (Regress(V, COSINE), "x0"), (Palette(V, COSINE, 1), "v")]
)
def test_a_network_that_knows_the_pictures_has_no_loss(objective: Palette, says: str) -> None:
    for level, other in ((127, 200), (200, 127)):
        network, batches = (
            Oracle(says, level),
            [(torch.full((8, 3, 16, 16), n, dtype=torch.uint8),) for n in (level, other)],
        )
        right, wrong = (float(objective.loss(network)(network, batch, generator())) for batch in batches)
        assert right < 1e-6 and wrong > 0.1


def network() -> PictureUNet:
    torch.manual_seed(0)
    found = PictureUNet(size=16, width=8, multipliers=(1, 2), attention=())
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return found.eval()


def test_the_network_listens_to_its_picture_and_refuses_to_work_without() -> None:
    net, x, t = network(), PICTURES[:2], torch.tensor([3.0, 9.0])
    one, other = (net(x, t, degraded(PICTURES[at : at + 2], generator()).condition) for at in (0, 2))
    assert one.shape == x.shape and not torch.allclose(one, other)
    with pytest.raises(ValueError, match="must be told one"):
        net(x, t)
    with pytest.raises(ValueError, match=r"shape \(B, 4, 16, 16\)"):
        net(x, t, torch.zeros(2, 3, 16, 16))


def test_mended_pictures_keep_what_is_shown_and_differ_by_their_seed() -> None:
    model = Denoising(network(), V, cosine(20), (3, 16, 16))
    left = degraded(PICTURES, generator())
    one, same, other = (mended(model, left, 4, generator=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    stays = (left.unknown == 0).expand_as(one)
    assert torch.equal(one[stays], left.shown[stays])
    assert torch.equal(guessed(network(), left, 20.0)[stays], left.shown[stays])
    assert isinstance(left, Degraded)
    with pytest.raises(ValueError, match="sampler must be one of"):
        mended(model, left, 4, "dimm")
