"""The showdown of chapter 12: rivals of equal size, data whose kinds are known, and a table that says what was measured."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import showdown
from course_lib.data import sets
from course_lib.diffusion.exact import five_by_five
from course_lib.evaluation.ledger import read_entry, verdict

LEDGER = Path(showdown.__file__).parents[1] / "results"


@pytest.mark.parametrize("data", ["points", "digits"])
def test_rivals_have_equally_many_weights_within_a_twentieth(data: str) -> None:
    """Those of the discriminator with them, in the tuning as in the contest."""
    pieces = [*showdown.pieces(quick=False), *showdown.trials(quick=False)]
    found = {piece.name: showdown.weights(piece.rival) for piece in pieces if piece.data == data}
    assert all(0.95 * showdown.WEIGHTS[data] < count <= showdown.WEIGHTS[data] for count in found.values()), found
    network = showdown.POINTS["GAN"].build()
    _, opponent = showdown.POINTS["GAN"].task(network)
    counts = [sum(p.numel() for p in module.parameters()) for module in (network, opponent.network)]
    assert showdown.weights(showdown.POINTS["GAN"]) == sum(counts) > 1.5 * counts[0]


def test_every_model_had_equally_many_trials_and_got_the_best_of_its_own() -> None:
    found = read_entry(LEDGER / "showdown-tuning.json")["metrics"]
    trials = showdown.trials(quick=False)
    assert {f"{piece.data}, {piece.name}" for piece in trials} == found.keys()
    for data, chosen in showdown.TUNED.items():
        for name, setting in chosen.items():
            scores = {
                tried: found["{}, {}, {} octaves, rate {:g}".format(data, name, *tried)]
                for tried in showdown.TRIED[data]
            }
            assert min(scores, key=lambda tried: scores[tried]["value"]) == setting, (data, name)


def test_points_are_as_far_astray_as_their_shares_are_from_the_true_ones(tmp_path: Path) -> None:
    bumps, generator = five_by_five(), torch.Generator().manual_seed(0)
    real, at = bumps.sample(20_000, generator)[0], 1 - math.exp(-4.5)
    assert showdown.astray("points", real, tmp_path) < 0.02
    one = bumps.means[:1].expand(100, 2)
    expected = ((1 - at / 25) + 24 * at / 25 + (1 - at)) / 2
    assert showdown.astray("points", one, tmp_path) == pytest.approx(expected)
    nowhere = torch.full((100, 2), 9.0)
    assert showdown.astray("points", nowhere, tmp_path) == pytest.approx(at)


def test_the_reader_learns_wherever_it_is_asked_for(tmp_path: Path) -> None:
    with torch.no_grad():
        reader = showdown.reader(tmp_path, steps=200)
    (images, labels), _ = sets.split_labelled_digits()
    rows = showdown.spread_out(images, torch.Generator().manual_seed(0))
    found = reader.last(reader.body(rows)).argmax(1)
    assert float((found == labels).double().mean()) > 0.8


def test_grey_levels_are_spread_over_their_bins_and_read_back() -> None:
    images, labels = sets.digits()
    pictures, _ = sets.stacked_digits(50, images, labels, torch.Generator().manual_seed(0))
    rows = showdown.spread_out(pictures, torch.Generator().manual_seed(1))
    assert rows.shape == (50, 192) and rows.min() >= -1 and rows.max() < 1
    levels = ((rows + 1) * showdown.LEVELS / 2).floor()
    assert torch.equal(levels, ((pictures + 1) * 8).round().flatten(1))
    inside = (rows + 1) * showdown.LEVELS / 2 - levels
    assert abs(float(inside.mean()) - 0.5) < 0.02 and abs(float(inside.var()) - 1 / 12) < 0.01


def test_no_test_digit_is_in_a_training_picture() -> None:
    """The channels of held-out pictures, back as whole grey levels, are other digits than those of the training pictures."""

    def digits(rows: torch.Tensor) -> set[bytes]:
        levels = ((rows + 1) * showdown.LEVELS / 2).floor().to(torch.uint8).reshape(-1, 64)
        return {bytes(level.tolist()) for level in levels}

    seen, new = digits(showdown.learned_from("digits", 8000)), digits(showdown.held_out("digits", 1000))
    assert len(new) > 250 and not seen & new


def test_the_reader_names_three_digits_as_one_number() -> None:
    torch.manual_seed(0)
    reader = showdown.Reader()
    rows = torch.randn(6, 192)
    classes = reader(rows).argmax(-1)
    assert torch.equal(reader.numbers(rows), classes[:, 0] * 100 + classes[:, 1] * 10 + classes[:, 2])
    assert torch.allclose(reader.features(rows)[:, 32:64], reader.body(rows[:, 64:128]), atol=1e-6)


def test_a_piece_goes_on_where_it_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights as an unbroken run, with the steps that were planned at first."""
    monkeypatch.setattr(showdown, "paces", lambda kept, data: {"points-GAN": 0.01})
    piece = showdown.Piece("points", "GAN", replace(showdown.POINTS["GAN"], width=8, depth=1), 0, 2.2, 2e-3)

    class Stop(Exception):
        """Stands for a kill."""

    def broken(*args, **kwargs):
        for state in fit(*args, **kwargs):
            yield state
            if state.step == 210 and not kwargs["resume"]:
                raise Stop

    fit = showdown.fit
    (tmp_path / "whole").mkdir()
    whole, _, facts = showdown.trained(piece, tmp_path / "whole")
    assert facts["steps"] == facts["reached"] == 220
    monkeypatch.setattr(showdown, "fit", broken)
    (tmp_path / "cut").mkdir()
    with pytest.raises(Stop):
        showdown.trained(piece, tmp_path / "cut")
    monkeypatch.setattr(showdown, "paces", lambda kept, data: {"points-GAN": 0.001})  # the plan stands
    again, _, facts = showdown.trained(piece, tmp_path / "cut")
    assert facts["reached"] == 220
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_the_last_step_of_a_denoising_gan_and_all_others_are_judged_apart(tmp_path: Path) -> None:
    """A network that always says x_0 = 0, where one mode is: alone at the end it finds that mode; before an exact end, hits are exact."""

    class Nought(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
            return 0 * x

    found = showdown.step_by_step(Nought(), showdown.POINTS["DD-GAN"], 400, tmp_path)
    assert found["the last step alone: modes"]["high"] == 1 and found["the last step alone: hits"]["low"] == 1
    assert found["the last step alone: divergence of the modes"]["value"] == pytest.approx(math.log(25), abs=1e-4)
    assert found["all but the last step: hits"]["low"] > 0.97 and found["all but the last step: modes"]["low"] > 1


def test_what_was_measured_on_another_machine_keeps_its_entry(tmp_path: Path) -> None:
    """All of it, and the machine's name through any number of measurements; nothing of what is measured here or is no piece any more."""
    file = tmp_path / "showdown.json"
    assert showdown.elsewhere(file, {"points, GAN"}) == {"metrics": {}, "shown": {}, "kept": {}}
    names = ("points, GAN", "points, GAN, no R1", "points, a model of old", "digits, GAN", "digits, real")
    entry = {
        "metrics": {f"{name}: training: steps": {"value": 3.0} for name in names},
        "shown": {name: [[0.0]] for name in names},
        "options": {"machine": "an old one"},
    }
    file.write_text(json.dumps(entry))
    found, stay = showdown.elsewhere(file, {"points, GAN", "points, real"}), (names[1], *names[3:])
    assert found["metrics"] == {f"{name}: training: steps": {"value": 3.0} for name in stay}
    assert found["shown"].keys() == set(stay)
    assert found["kept"] == dict.fromkeys(stay, "an old one")
    file.write_text(json.dumps(entry | {"options": {"machine": "a new one", "kept": found["kept"]}}))
    again = showdown.elsewhere(file, {"points, real"})["kept"]
    assert again == found["kept"] | {"points, GAN": "a new one"}


def test_a_sentence_holds_only_where_all_seeds_agree() -> None:
    low, high, wide = (
        {"value": v, "low": a, "high": b} for v, a, b in ((1.0, 0.9, 1.1), (2.0, 1.5, 2.5), (1.2, 1.0, 1.6))
    )
    assert verdict(low, high) == "yes" and verdict(high, low) == "no, the reverse"
    assert verdict(low, wide) == verdict(wide, high) == "open"
    assert verdict({"value": 1.0}, {"value": 2.0}) == "yes"


def test_a_longer_piece_differs_from_its_model_in_nothing_but_its_seconds() -> None:
    found = {piece.name: piece for piece in showdown.pieces(quick=False) if piece.data == "points"}
    plain, longer = found["DD-GAN"], found["DD-GAN, longer"]
    assert longer == plain._replace(name=longer.name, budget=showdown.LONGER * plain.budget)
