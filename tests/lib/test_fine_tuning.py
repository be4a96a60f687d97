"""New words, controlled U-Nets, drawn figures, corrections of Gaussians, and the training and files of a fine-tuning."""

import copy
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from course_lib.data.images import to_bytes
from course_lib.data.strokes import FIGURES, drawn
from course_lib.diffusion import predictions, schedules
from course_lib.diffusion.corrections import Gaussian, adapted, best_affine, best_correction, excess
from course_lib.models.tuned import load_tuned, save_tuned
from course_lib.nets.control import ControlledUNet
from course_lib.nets.dit import DiT
from course_lib.nets.lora import adapters, add_lora
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.nets.words import GrownTable, add_words, grown_table
from course_lib.recipes.finetuning import RATES, finetune, mixed, outlined, own_samples, prepared, usual_rate
from course_lib.sampling.generate import Denoising, draw

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
TIMES, LABELS = torch.tensor([1.0, 200, 500, 999]), torch.tensor([0, 1, 2, 1])


def small(classes: int | None = 3) -> UNet:
    """A U-Net whose weights are all different from zero."""
    torch.manual_seed(0)
    network = UNet(width=8, multipliers=(1, 2), attention=(1,), classes=classes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network.eval()


def drawing(network: nn.Module) -> Denoising:
    return Denoising(network, predictions.V, schedules.cosine(20), (1, 8, 8))


def taught(model: Denoising, steps: int = 3, **options) -> nn.Module:
    """What a few steps make of two new pictures."""
    new = to_bytes(X[:2].clamp(-1, 1)), torch.tensor([3, 3])
    *_, state = finetune(model, new, steps, 2, bf16=False, **options)
    return state.network.eval()


# --- new words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build", [small, lambda: DiT(channels=1, width=32, depth=1, classes=3).eval()], ids=["U-Net", "DiT"]
)
def test_old_classes_answer_as_before_and_a_new_word_says_nothing_yet(build) -> None:
    network = build()
    x = X if isinstance(network, UNet) else torch.randn(4, 1, 28, 28)
    before, nothing = network(x, TIMES, LABELS), network(x, TIMES)
    table = add_words(network, 2)
    assert network.takes.classes == 5
    assert torch.equal(network(x, TIMES, LABELS), before)
    assert torch.equal(network(x, TIMES), nothing)
    assert torch.equal(network(x, TIMES, torch.full((4,), 5)), nothing)  # the null token comes after the words
    assert torch.equal(network(x, TIMES, torch.tensor([3, 4, 3, 4])), nothing)
    with torch.no_grad():
        table.rows[0] += 1
    assert torch.equal(network(x, TIMES, LABELS), before) and torch.equal(network(x, TIMES), nothing)
    changed = network(x, TIMES, torch.tensor([3, 4, 3, 4])) - nothing
    if isinstance(network, UNet):
        assert [bool(row.any()) for row in changed] == [True, False, True, False]


def test_textual_inversion_moves_one_row_and_nothing_else() -> None:
    network = small()
    before = copy.deepcopy(network.state_dict())
    table = prepared(network, 1, 0)
    assert table is not None and [n for n, p in network.named_parameters() if p.requires_grad] == [
        "condition.label.rows"
    ]
    row = table.rows.detach().clone()
    taught(drawing(network))
    after = network.state_dict()
    for name, value in before.items():
        assert torch.equal(after[name.replace("condition.label.", "condition.label.table.")], value), name
    assert not torch.equal(table.rows, row)


@pytest.mark.parametrize("rank", [None, 2])
def test_old_rows_of_the_table_stay_bit_for_bit(rank: int | None) -> None:
    network = small()
    rows = network.condition.label.weight.detach().clone()
    table = prepared(network, 1, rank)
    taught(drawing(network))
    assert table is not None and torch.equal(table.table.weight, rows)
    assert not torch.equal(table.rows[0], rows[3])
    assert bool(adapters(network)) == (rank is not None)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: add_words(small(None)), "network must take classes and nothing else"),
        (lambda: add_words(ControlledUNet(small(), 1, 8)), "network must take classes and nothing else"),
        (lambda: add_words(small(), 0), "words must be at least 1; got 0"),
        (lambda: [add_words(net := small()), add_words(net)], "network has new words already"),
        (lambda: prepared(small(), 0, 0), "rank 0 teaches new words alone"),
        (lambda: prepared(small(), 1, -1), "rank must be at least 0; got -1"),
        (lambda: GrownTable(small().condition.label)(None), "like must be given where cond is None"),
        (lambda: own_samples(drawing(small(None)), 2), "the model must take classes and nothing else"),
        (lambda: best_correction(torch.eye(2), torch.eye(2), -1), "rank must be at least 0; got -1"),
        (lambda: drawn("horse", 1, 8, torch.Generator()), "figure must be one of"),
        (lambda: ControlledUNet(small(), 1, 8)(X, TIMES, LABELS), 'cond must be a mapping of "shown"'),
    ],
)
def test_what_cannot_be_is_refused(act, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        act()


# --- control -------------------------------------------------------------------------------------------------------------


def controlled() -> tuple[UNet, ControlledUNet, dict[str, Tensor]]:
    base = small()
    told = {"shown": (X > 0).float(), "class": LABELS}
    return base, ControlledUNet(copy.deepcopy(base), 1, 8), told


def test_an_untrained_copy_changes_nothing_whatever_it_is_shown() -> None:
    base, network, told = controlled()
    assert torch.equal(network(X, TIMES, told), base(X, TIMES, LABELS))
    assert torch.equal(network(X, TIMES, {**told, "shown": 9 * told["shown"]}), base(X, TIMES, LABELS))
    assert torch.equal(network(X, TIMES), base(X, TIMES))
    without = ControlledUNet(small(None), 1, 8)
    assert set(without.takes) == {"shown"} and torch.equal(without(X, TIMES, {"shown": X}), small(None)(X, TIMES))


def test_at_first_only_the_exits_have_a_gradient_and_after_a_step_all_that_learns() -> None:
    base, network, told = controlled()
    network.train()
    assert not base.training and not network.base.training
    for step in range(3):
        network.zero_grad(set_to_none=True)
        (network(X, TIMES, told) - X).square().sum().backward()
        moving = {name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.any())}
        assert not {name for name in moving if name.startswith("base.")}
        if step == 0:
            assert moving == {name for name, _ in network.named_parameters() if name.startswith("exits.")}
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.grad is not None:
                    parameter -= 1e-3 * parameter.grad
    assert {name for name, p in network.named_parameters() if p.requires_grad} - moving <= {
        name for name in moving | {n for n, _ in network.named_parameters()} if name.endswith(("skip.bias",))
    }
    assert "entrance.weight" in moving and "down.0.residual.conv_in.weight" in moving
    assert not torch.equal(network(X, TIMES, told), network(X, TIMES, {**told, "shown": 0 * told["shown"]}))
    assert all(torch.equal(a, b) for a, b in zip(network.base.state_dict().values(), base.state_dict().values()))


def test_each_exit_reaches_the_output_through_its_own_skip() -> None:
    base, network, told = controlled()
    plain = base(X, TIMES, LABELS)
    for layer in network.exits:
        with torch.no_grad():
            layer.bias += 1
        assert not torch.allclose(network(X, TIMES, told), plain)
        with torch.no_grad():
            layer.bias -= 1
    assert torch.equal(network(X, TIMES, told), plain)


def test_a_controlled_network_draws_with_guidance() -> None:
    _, network, told = controlled()
    found = draw(drawing(network), 4, 3, generator=torch.Generator().manual_seed(0), cond=told, scale=2.0)
    expected = draw(drawing(small()), 4, 3, generator=torch.Generator().manual_seed(0), cond=LABELS, scale=2.0)
    assert torch.equal(found, expected)


# --- training -------------------------------------------------------------------------------------------------------------


def test_training_goes_on_where_it_was_left(tmp_path: Path) -> None:
    new = to_bytes(X.clamp(-1, 1)), torch.full((4,), 3)
    ends = []
    for resumed in (False, True):
        network = small()
        torch.manual_seed(5)
        prepared(network, 1, 2)
        states = finetune(drawing(network), new, 4, 2, bf16=False)
        if resumed:
            next(states), next(states).save(tmp_path / "state")
            torch.manual_seed(6)
            network = small()
            prepared(network, 1, 2)
            states = finetune(drawing(network), new, 4, 2, bf16=False, resume=tmp_path / "state")
        *_, state = states
        ends.append(state.network.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_mixed_rows_are_half_new_and_half_kept() -> None:
    new, kept = (torch.zeros(5, 2), torch.full((5,), 9)), (torch.ones(31, 2), torch.arange(31))
    rows, labels = mixed(new, kept)
    assert len(rows) == 6 * 5 + 31 and float(rows.mean()) == pytest.approx(0.5, abs=0.02)
    assert bool((labels[:30] == 9).all()) and labels[30:].tolist() == list(range(31))
    assert len(mixed(kept, new)[0]) == 31 + 30
    assert mixed(new, None) is new


def test_own_samples_are_of_every_class_and_of_the_model() -> None:
    images, labels = own_samples(drawing(small()), 2, steps=3)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2] and images.dtype == torch.uint8
    expected = draw(drawing(small()), 6, 3, generator=torch.Generator().manual_seed(0), cond=labels)
    assert torch.equal(images, to_bytes(expected))


def test_learning_rates_go_with_what_learns() -> None:
    for rank, kind in ((None, "full"), (2, "adapters"), (0, "words")):
        network = small()
        prepared(network, 1, rank)
        assert usual_rate(network) == RATES[kind]


# --- files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 2])
def test_what_was_learned_comes_back_exactly_and_belongs_to_its_model(rank: int, tmp_path: Path) -> None:
    network = small()
    prepared(network, 2, rank)
    taught(drawing(network))
    path = tmp_path / "lora.safetensors"
    save_tuned(path, network, ["heart", "star"], "abc")
    fresh = small()
    with pytest.raises(ValueError, match="was fine-tuned from another model"):
        load_tuned(path, fresh, "abd")
    assert grown_table(fresh) is None and not adapters(fresh)
    assert load_tuned(path, fresh, "abc") == ["heart", "star"]
    told = torch.tensor([3, 4, 0, 5])
    assert torch.allclose(
        fresh(X, TIMES, told), network(X, TIMES, told), atol=1e-5
    )  # the convolutions' memory order differs
    learned = {name: p for name, p in network.named_parameters() if p.requires_grad}
    back = dict(fresh.named_parameters())
    assert all(torch.equal(p, back[name]) for name, p in learned.items()) and len(learned) == 1 + 2 * len(
        adapters(fresh)
    )


def test_files_and_networks_that_have_nothing_are_refused(tmp_path: Path) -> None:
    path, network = tmp_path / "lora.safetensors", small()
    with pytest.raises(ValueError, match="neither adapters nor new words"):
        save_tuned(path, network, [], "abc")
    add_words(network)
    with pytest.raises(ValueError, match="words must name the network's 1 new words; got 2 names"):
        save_tuned(path, network, ["a", "b"], "abc")
    from course_lib.models.adapters import save_lora

    other = small()
    add_lora(other)
    save_lora(path, other)
    with pytest.raises(ValueError, match="is no file of `course finetune`"):
        load_tuned(path, small(), "abc")


# --- figures and sketches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", FIGURES)
def test_a_pens_figures_have_ink_inside_and_differ(figure: str) -> None:
    first, again = (drawn(figure, 6, 28, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again) and first.dtype == torch.uint8
    assert not torch.equal(drawn(figure, 6, 28, torch.Generator().manual_seed(2)), first)
    ink = first.float().mean((1, 2, 3)) / 255
    assert float(ink.min()) > 0.05 and float(ink.max()) < 0.5
    rim = torch.cat([first[..., 0, :], first[..., -1, :], first[..., :, 0], first[..., :, -1]], -1)
    assert float(rim.float().mean()) < 5
    assert float(torch.pdist(first.flatten(1).float()).min()) > 500  # no two alike


def test_a_heart_is_nearly_its_own_mirror_image_and_has_its_point_below() -> None:
    mean = drawn("heart", 100, 28, torch.Generator().manual_seed(0)).float().mean(0)[0]
    assert float((mean - mean.flip(1)).abs().mean()) < 0.1 * float(mean.mean())
    top, bottom = mean[4:9].sum(0), mean[19:24].sum(0)
    spread = [float((row * (torch.arange(28.0) - 13.5).square()).sum() / row.sum()) for row in (top, bottom)]
    assert spread[0] > 4 * spread[1]


def test_a_sketch_is_where_ink_covers_more_than_half() -> None:
    pictures = torch.tensor([[[[0, 127], [128, 255]]]], dtype=torch.uint8)
    assert outlined(pictures).tolist() == [[[[0, 0], [1, 1]]]]


# --- corrections ------------------------------------------------------------------------------------------------------------


def gaussians(k: int, D: int = 5) -> tuple[Gaussian, Gaussian]:
    """Data whose covariances differ in k directions, and whose means differ."""
    half, more = torch.randn(2, D, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    old = half @ half.T / D + 0.1 * torch.eye(D)
    return Gaussian(torch.zeros(D).double(), old), Gaussian(torch.ones(D).double(), old + more[:, :k] @ more[:, :k].T)


@pytest.mark.parametrize("k", [0, 1, 2, 4])
def test_a_change_in_k_directions_needs_rank_k_and_no_more(k: int) -> None:
    old, new = gaussians(k)
    errors = [float(excess(adapted(old, new, 0.8, 0.6, rank), new, 0.8, 0.6)) for rank in range(5)]
    assert all(error > 1e-6 for error in errors[:k]) and all(error < 1e-12 for error in errors[k:])
    assert all(after <= before + 1e-12 for before, after in pairwise(errors))


def test_without_a_bias_the_matrix_does_what_it_can() -> None:
    old, new = gaussians(1)
    with_bias, without = (adapted(old, new, 0.8, 0.6, 5, bias) for bias in (True, False))
    assert torch.equal(without.offset, best_affine(old, 0.8, 0.6).offset)
    assert float(excess(with_bias, new, 0.8, 0.6)) < 1e-12 < float(excess(without, new, 0.8, 0.6))
    gradient = torch.zeros(5, 5).double().requires_grad_()
    moved = without._replace(matrix=without.matrix + gradient)
    excess(moved, new, 0.8, 0.6).backward()
    assert float(gradient.grad.abs().max()) < 1e-10  # no other matrix is better


def test_a_network_without_classes_has_no_table() -> None:
    assert grown_table(MLP(width=8, depth=1)) is None
