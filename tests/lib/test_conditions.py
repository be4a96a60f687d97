"""Conditions of every kind go through training, drawing and guidance without a special case."""

import pytest
import torch
from torch import Tensor, nn

from course_lib.diffusion.predictions import X0
from course_lib.diffusion.schedules import cosine
from course_lib.nets.conditions import Labels, Vectors, check_condition, dropped, joined, moved, null_of, rows
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.sampling.generate import Denoising, balanced_classes, draw, draw_batches

TAKES = {"label": Labels(3), "picture": Vectors((1, 4, 4))}


class TwoConditions(nn.Module):
    """Answers with the picture that it is given, plus its class; it needs no class and no base of the library's."""

    takes = TAKES

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor, t: Tensor, cond=None) -> Tensor:
        cond = null_of(self.takes, len(x)) if cond is None else cond
        return cond["picture"] + self.scale * cond["label"][:, None, None, None]


MODEL = Denoising(TwoConditions(), X0, cosine(20), (1, 4, 4))


def condition(n: int) -> dict[str, Tensor]:
    return {
        "label": torch.arange(n) % 3,
        "picture": torch.linspace(-0.5, 0.5, n)[:, None, None, None].expand(n, 1, 4, 4),
    }


def answer(cond: dict[str, Tensor]) -> Tensor:
    return MODEL.network(torch.empty(len(cond["label"]), 1, 4, 4), torch.empty(0), cond).detach()


def test_two_conditions_are_guided_to_at_any_scale():
    """The network's answer does not depend on x, so DDIM ends at it: the null's plus scale times the difference."""
    cond, null = condition(5), null_of(TAKES, 5)
    assert isinstance(null, dict)
    for scale in (0.0, 1.0, 1.5):
        drawn = draw(MODEL, 5, 4, generator=torch.Generator().manual_seed(0), cond=cond, scale=scale)
        wanted = (answer(null) + scale * (answer(cond) - answer(null))).clamp(-1, 1)
        torch.testing.assert_close(drawn, wanted, rtol=1e-5, atol=1e-6)


def test_batches_cut_every_condition_at_the_same_rows():
    cond = condition(7)
    torch.testing.assert_close(draw_batches(MODEL, 7, 3, batch_size=3, cond=cond), answer(cond), rtol=1e-5, atol=1e-6)


def test_a_sample_loses_all_its_conditions_together_and_as_often_as_asked():
    cond = {"label": torch.ones(4000, dtype=torch.long), "picture": torch.ones(4000, 1, 4, 4)}
    kept = dropped(TAKES, cond, 0.1, torch.Generator().manual_seed(0))
    lost = kept["label"] == 3  # the null token
    assert torch.equal(kept["picture"][:, 0, 0, 0] == 0, lost)
    assert abs(lost.double().mean() - 0.1) < 0.024  # five standard errors
    with pytest.raises(ValueError, match="has none to drop"):
        dropped(None, cond, 0.1, torch.Generator())


def test_rows_join_and_move_in_every_form():
    cond = condition(4)
    both = joined(rows(cond, 0, 1), rows(cond, 1, 4))
    assert all(torch.equal(both[name], cond[name]) for name in cond)
    assert torch.equal(joined(cond["label"], cond["label"][:1]), torch.tensor([0, 1, 2, 0, 0]))
    assert moved(None, torch.device("cpu")) is None and rows(None, 0, 3) is None


@pytest.mark.parametrize(
    ("takes", "cond", "message"),
    [
        (None, torch.tensor([1, 2]), "trained without conditions"),
        (Labels(3), torch.tensor([0, 4]), r"classes must lie in \[0, 2\]; got \[4\]"),
        (Labels(3), torch.tensor([0, -1]), r"classes must lie in \[0, 2\]; got \[-1\]"),
        (Labels(3), torch.tensor([0.0, 1.0]), "classes must be whole numbers"),
        (Labels(3), torch.tensor([0, 1, 2]), "one row a sample, 2; got 3 rows"),
        (Labels(3), {"label": torch.tensor([0, 1])}, "must be one tensor; got dict"),
        (TAKES, torch.tensor([0, 1]), r"a mapping with the names \['label', 'picture'\]; got Tensor"),
        (TAKES, {"label": torch.tensor([0, 1])}, r"are \['label', 'picture'\]; got \['label'\]"),
        (Vectors((5, 8)), torch.zeros(2, 5, 7), r"shape \(B, 5, 8\); got torch.float32 of shape \(2, 5, 7\)"),
        (Vectors((5, 8)), torch.zeros(2, 5, 8).long(), "must be of floating point"),
    ],
)
def test_a_condition_that_does_not_fit_is_named(takes, cond, message):
    with pytest.raises(ValueError, match=message):
        check_condition(takes, cond, 2)


def test_every_network_says_what_it_takes_and_knows_its_null():
    for network in (MLP(classes=4), UNet(width=8, multipliers=(1,), attention=(), classes=4)):
        assert network.takes == Labels(4)
        assert torch.equal(null_of(network.takes, 2), torch.tensor([4, 4]))
        check_condition(network.takes, torch.tensor([3, 4]), 2)  # the null token, too
    assert MLP().takes is None and null_of(None, 3) is None


def test_classes_are_balanced_where_there_are_some():
    assert balanced_classes(Labels(3), 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert balanced_classes(None, 6) is None and balanced_classes(TAKES, 6) is None


def test_what_does_not_fit_is_refused_before_anything_is_drawn(monkeypatch):
    monkeypatch.setattr(MODEL.network, "forward", lambda *_: pytest.fail("it drew"))
    with pytest.raises(ValueError, match="one row a sample, 4; got 3"):
        draw_batches(MODEL, 4, 3, cond=condition(3))
    with pytest.raises(ValueError, match="sampler must be one of .*; got 'dimm'; did you mean 'ddim'"):
        draw(MODEL, 4, 3, sampler="dimm")
