"""Hidden tests of a05: label dropout, both conventions, the sampler on known data, and the curve measured again where it matters."""

import csv
import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from autograder.testing.answers import Wrong, close, match, require
from autograder.testing.suite import Draw, Files, Student, follows, given, points

FILE, OWN, NULL = "curve.csv", "network.safetensors", 10
HEARD = 0.3  # the least accuracy, at the best scale, of a network of one's own; one that hears no class has 0.1
ROWS, GAP = 20, 0.05  # the most rows of a curve, and the smallest distance between two of its scales
REFERENCE = Path(__file__).parent / "reference"
guide = given("a05_cifar_cfg", "guide")
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]  # from x_t, t and labels to the noise

# --- label dropout -----------------------------------------------------------------------------------------------------------


@points("drop", 6)
def test_drop_share(student: Student, draw: Draw) -> None:
    labels, null = torch.arange(6000) % 10, draw.integer(20, 90)
    for share in (0.1, draw.uniform(0.3, 0.6)):
        generator = torch.Generator().manual_seed(draw.integer(1, 10**6))
        found = student.tensor("drop_labels", labels, null, share, generator, shape=(6000,)).long()
        kept = found == labels
        dropped = found == null
        require(
            bool((kept | dropped).all()), "every label is either kept or replaced by null, the number that is given"
        )
        part = float(dropped.double().mean())
        require(0 < part < 1, "labels are dropped one by one, and not all or none of them")
        if abs(part - (1 - share)) < 0.03 and abs(share - 0.5) > 0.03:
            raise Wrong("this keeps a share of the labels; drop it")
        require(abs(part - share) < 0.03, f"at share = {share:.2f} you dropped {part:.2f} of the labels")


@points("drop", 4)
def test_drop_each_label_on_its_own(student: Student, draw: Draw) -> None:
    labels, seed = torch.arange(6000) % 10, draw.integer(1, 10**6)

    def dropped(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return student.tensor("drop_labels", labels, NULL, 0.3, generator, shape=(6000,)) == NULL

    first = dropped(seed)
    require(
        bool((first == dropped(seed)).all()),
        "the same generator should drop the same labels: take all randomness from it",
    )
    require(
        bool((first != dropped(seed + 1)).any()), "another generator drops the same labels: take the randomness from it"
    )
    by_class = first.double().reshape(-1, 10).mean(0)
    require(bool(((by_class - 0.3).abs() < 0.09).all()), "some classes are dropped more often than others")
    both = float((first[:-1] & first[1:]).double().mean())
    require(abs(both - 0.09) < 0.03, "neighbours are dropped together: each label is dropped on its own")
    # The number of dropped labels is binomial: over 40 draws its spread, relative to n p (1 - p), lies in these bounds all but
    # once in 25,000 times.
    counts = torch.stack([dropped(seed + k).double().sum() for k in range(40)])
    spread = float((counts - 6000 * 0.3).square().mean()) / (6000 * 0.3 * 0.7)
    require(
        spread > 0.33,
        "nearly the same number of labels is dropped in every batch: each label is dropped on its own, by its own chance",
    )
    require(spread < 2.2, "the number of labels that are dropped varies too much: each label is dropped on its own")


# --- formulas ----------------------------------------------------------------------------------------------------------------


@points("formulas", 4)
def test_by_scale(student: Student, draw: Draw) -> None:
    y, n, s = draw.normal(2, 3, 4, 4), draw.normal(2, 3, 4, 4), draw.uniform(1.5, 6)
    mistakes = {
        "this is the other convention: s counts from the unconditional answer, so s = 1 is conditional": (1 + s) * y
        - s * n,
        "the two answers are swapped": y + s * (n - y),
        "this starts from the conditional answer; s counts from the unconditional one": y + s * (y - n),
        "the unconditional answer is missing": s * (y - n),
    }
    match(student.tensor("by_scale", y, n, s, shape=(2, 3, 4, 4)), n + s * (y - n), mistakes, "by_scale is wrong", 1e-5)


@points("formulas", 4)
def test_by_weight(student: Student, draw: Draw) -> None:
    y, n, w = draw.normal(2, 3, 4, 4), draw.normal(2, 3, 4, 4), draw.uniform(1.5, 6)
    mistakes = {
        "this is the convention of s: w counts from the conditional answer, so w = 0 is conditional": n + w * (y - n),
        "the sign is wrong: the conditional answer is exaggerated, (1 + w) of it minus w of the other": (1 - w) * y
        + w * n,
        "the unconditional answer is subtracted": (1 + w) * y + w * n,
        "the two answers are swapped": (1 + w) * n - w * y,
    }
    got = student.tensor("by_weight", y, n, w, shape=(2, 3, 4, 4))
    match(got, (1 + w) * y - w * n, mistakes, "by_weight is wrong", 1e-5)


@points("formulas", 6)
def test_conversions(student: Student, draw: Draw) -> None:
    number = draw.uniform(1.5, 6)
    for name, right in (("scale_of", 1 + number), ("weight_of", number - 1)):
        mistakes = {
            f"{name} goes the wrong way: w = 0 and s = 1 are the same model": 2 * number - right,
            f"{name} changes nothing, but w = 0 and s = 1 are the same model": number,
        }
        match(student.number(name, number), right, mistakes, f"{name} is wrong")


def by_scale(eps_class: Tensor, eps_null: Tensor, s: float) -> Tensor:
    """What by_scale should do."""
    return eps_null + s * (eps_class - eps_null)


def by_weight(eps_class: Tensor, eps_null: Tensor, w: float) -> Tensor:
    """What by_weight should do."""
    return (1 + w) * eps_class - w * eps_null


FORMULAS = {"by_scale": by_scale, "by_weight": by_weight, "scale_of": lambda w: 1 + w, "weight_of": lambda s: s - 1}


# --- the network asked twice ---------------------------------------------------------------------------------------------------


class Network:
    """A network in the grader whose answer shows which image, time and class it was asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def answer(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The noise that this network predicts."""
        return 0.5 * x + 0.01 * t.reshape(-1, 1, 1, 1) + (0.3 * y.reshape(-1, 1, 1, 1)).sin()

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        require(isinstance(x, Tensor) and x.ndim == 4, "the network should be asked about images (B, 3, 32, 32)")
        for name, value in (("t", t), ("labels", y)):
            require(
                isinstance(value, Tensor) and tuple(value.shape) == (len(x),),
                f"the network should be told {name} for each image, a tensor of shape ({len(x)},)",
            )
        self.asked.append((x.double(), t.double(), y.double()))
        return self.answer(x.double(), t.double(), y.double()).to(x.dtype)


@points("guided", 10)
@follows(**FORMULAS)
def test_guided(student: Student, draw: Draw) -> None:
    x, t, y = draw.normal(4, 3, 8, 8), torch.tensor([900, 3, 250, 777]), torch.tensor([3, 0, 9, 5])
    s, null, network = draw.uniform(2, 5), 10, Network()
    got = student.tensor("guided", network, x, t, y, s, null, shape=(4, 3, 8, 8))
    require(network.asked, "guided never asks the network")
    asked = torch.cat([labels for _, _, labels in network.asked]).long().tolist()
    require(asked.count(null) == 4, "the network should be asked with null for every image")
    with_class, without = network.answer(x, t, y), network.answer(x, t, torch.full((4,), null))
    mistakes = {
        "this is the convention of w: at s = 1 the answer should be the conditional one": (1 + s) * with_class
        - s * without,
        "the two answers are swapped": with_class + s * (without - with_class),
        "this is the conditional answer: the scale has no effect": with_class,
    }
    match(got, without + s * (with_class - without), mistakes, "guided is wrong", 1e-4)
    twelve = student.tensor("guided", Network(), x, t, y, s, 12, shape=(4, 3, 8, 8))
    right = network.answer(x, t, torch.full((4,), 12))
    require(
        close(twelve, right + s * (with_class - right), 1e-4),
        "take the number that null has in the call: it need not be 10",
    )


# --- the sampler -----------------------------------------------------------------------------------------------------------------


@points("step", 10)
def test_step(student: Student, draw: Draw) -> None:
    a, b = draw.uniform(0.2, 0.4), draw.uniform(0.5, 0.8)
    x0, eps = draw.normal(3, 3, 4, 4).clamp(-0.9, 0.9), draw.normal(3, 3, 4, 4)
    x = a**0.5 * x0 + (1 - a) ** 0.5 * eps
    mistakes = {
        "this is x_0; add the noise that is left at time s": x0,
        "the amounts of time s are the roots of a_s and 1 - a_s": b * x0 + (1 - b) * eps,
        "the amounts are those of time s, not of time t": x,
        "signal and noise of time s are swapped": (1 - b) ** 0.5 * x0 + b**0.5 * eps,
        "x_0 is divided by sqrt(a_t)": b**0.5 * (x0 * a**0.5).clamp(-1, 1) + (1 - b) ** 0.5 * eps,
    }
    got = student.tensor("step", x, eps, a, b, shape=(3, 3, 4, 4))
    match(got, b**0.5 * x0 + (1 - b) ** 0.5 * eps, mistakes, "step is wrong", 1e-5)
    x = 3 * draw.normal(3, 3, 4, 4)
    raw = (x - (1 - a) ** 0.5 * eps) / a**0.5
    clipped = raw.clamp(-1, 1)
    again = (x - a**0.5 * clipped) / (1 - a) ** 0.5
    mistakes = {
        "x_0 is clipped to [-1, 1]": b**0.5 * raw + (1 - b) ** 0.5 * eps,
        "after clipping x_0, find the noise that x_t then holds": b**0.5 * clipped + (1 - b) ** 0.5 * eps,
    }
    got = student.tensor("step", x, eps, a, b, shape=(3, 3, 4, 4))
    match(got, b**0.5 * clipped + (1 - b) ** 0.5 * again, mistakes, "step is wrong where x_0 has to be clipped", 1e-5)


def guided(network: Predict, x_t: Tensor, t: Tensor, labels: Tensor, s: float, null: int) -> Tensor:
    """What guided should do."""
    return by_scale(network(x_t, t, labels), network(x_t, t, torch.full_like(labels, null)), s)


def step(x_t: Tensor, eps: Tensor, a_t: float, a_s: float) -> Tensor:
    """What step should do."""
    x0 = ((x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5).clamp(-1, 1)
    return a_s**0.5 * x0 + (1 - a_s) ** 0.5 * (x_t - a_t**0.5 * x0) / (1 - a_t) ** 0.5


def unclipped(x_t: Tensor, eps: Tensor, a_t: float, a_s: float) -> Tensor:
    """A step that forgets to clip x_0."""
    return a_s**0.5 * (x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5 + (1 - a_s) ** 0.5 * eps


def inconsistent(x_t: Tensor, eps: Tensor, a_t: float, a_s: float) -> Tensor:
    """A step that clips x_0 and keeps the old noise."""
    return a_s**0.5 * ((x_t - (1 - a_t) ** 0.5 * eps) / a_t**0.5).clamp(-1, 1) + (1 - a_s) ** 0.5 * eps


def drawn(network: Predict, x: Tensor, y: Tensor, s: float, bar: Tensor, times: list[int], step=step) -> Tensor:
    """What the sampler should draw, or what it draws with another step."""
    for t, earlier in pairwise(times):
        eps = guided(network, x, torch.full((len(x),), t), y, s, NULL)
        x = step(x, eps, float(bar[t]), float(bar[earlier]))
    return x


@points("sampler", 14)
@follows(**FORMULAS, guided=guided, step=step)
def test_sampler(student: Student, draw: Draw) -> None:
    bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - torch.linspace(0.01, 0.3, 30)).double().cumprod(0)])
    times, s = [30, 22, 13, 6, 2, 0], draw.uniform(1.5, 4)
    x, y, network = draw.normal(3, 3, 32, 32), torch.tensor([1, 8, 4]), Network()
    got = student.tensor("guided_sample", network, x, y, s, NULL, bar, torch.tensor(times), shape=(3, 3, 32, 32))
    asked = [int(t[0]) for _, t, _ in network.asked]
    steps = [t for t, before in zip(asked, [None, *asked]) if t != before]
    if steps == times[1:]:
        raise Wrong("the network is asked at the time that a step goes to; ask it at the time that it comes from")
    if 0 in steps:
        raise Wrong("the network is asked at time 0, where the image is finished")
    require(steps == times[:-1], "the network should be asked at each of the times but the last, in their order")
    mistakes = {
        "the scale has no effect": drawn(network.answer, x, y, 1.0, bar, times),
        "this is the convention of w: s = 1 should be the conditional model": drawn(
            network.answer, x, y, 1 + s, bar, times
        ),
        "the sampler stops one step before time 0": drawn(network.answer, x, y, s, bar, times[:-1]),
        "x_0 is clipped to [-1, 1] in every step": drawn(network.answer, x, y, s, bar, times, unclipped),
        "after clipping x_0, find the noise that x_t then holds": drawn(
            network.answer, x, y, s, bar, times, inconsistent
        ),
    }
    match(got, drawn(network.answer, x, y, s, bar, times), mistakes, "guided_sample does not draw what it should", 1e-3)
    other = student.tensor("guided_sample", Network(), x, y.flip(0), s, NULL, bar, torch.tensor(times))
    require(not close(other, got, 1e-3), "the labels have no effect on what is drawn")


# --- the curve -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def curve(files: Files) -> list[dict[str, float]]:
    """The rows of the file, in the order of their scales."""
    try:
        rows = [
            {name: float(row[name]) for name in guide.COLUMNS} for row in csv.DictReader(io.StringIO(files.text(FILE)))
        ]
    except (KeyError, TypeError, ValueError, csv.Error):
        raise Wrong(f"{FILE} should have the columns {', '.join(guide.COLUMNS)} and a number in each") from None
    require(0 < len(rows) <= ROWS, f"{FILE} has no rows, or more than {ROWS}")
    require(all(abs(value) < 1e6 for row in rows for value in row.values()), f"{FILE} holds numbers that cannot be")
    for row in rows:
        require(
            abs(row["scale"]) <= guide.LARGEST,
            f"{FILE} has the scale {row['scale']:g}, and none may lie beyond {guide.LARGEST}",
        )
        require(
            0 <= row["accuracy"] <= 1 and 0 < row["diversity"] < 3 and row["frechet"] >= 0,
            f"at scale {row['scale']:g} {FILE} holds numbers that cannot be: the accuracy lies in [0, 1], the diversity between 0 "
            "and 3, and no distance is negative",
        )
    rows.sort(key=lambda row: row["scale"])
    for one, other in pairwise(row["scale"] for row in rows):
        require(
            other - one >= GAP - 1e-9,
            f"the scales {one:g} and {other:g} are nearly the same: leave {GAP:g} between two",
        )
    return rows


@pytest.fixture(scope="session")
def network(files: Files) -> Predict:
    """The network that the curve was measured with: the given one, or the one handed in."""
    if OWN not in files.contents and OWN not in files.refused:
        return guide.noise_network()
    try:
        return guide.noise_network(files.tensors(OWN))
    except ValueError:
        raise Wrong(
            f"{OWN} does not hold the weights of a network of `course train cifar10-cfg`: write it with guide.own_weights"
        ) from None


def measured(network: Predict, s: float) -> dict[str, float]:
    """What guidance at the scale s draws with a network, measured as `guide.measure` does."""
    x, labels = guide.start()
    images = drawn(network, x, labels, s, guide.schedule(), guide.times().tolist())
    return {"scale": s, **guide.point(images, labels)}


def table() -> list[dict[str, float]]:
    """The curve of the given network, which is the same for everybody: `python -m tools.curve_of_a05` has measured it."""
    rows = csv.DictReader(io.StringIO((REFERENCE / "given_network.csv").read_text()))
    return [{name: float(row[name]) for name in guide.COLUMNS} for row in rows]


def between(rows: list[dict[str, float]], s: float) -> dict[str, float]:
    """The curve at a scale, on the straight line between two of its rows."""
    scales = [row["scale"] for row in rows]
    return {name: float(np.interp(s, scales, [row[name] for row in rows])) for name in guide.COLUMNS}


def difference(row: dict[str, float], found: dict[str, float], slack: float = 1.0) -> str:
    """The first of a row's numbers that is not what was found, within `slack` times what another processor's rounding may change, or ""."""
    most = {"accuracy": 0.05, "frechet": 0.15 * found["frechet"], "diversity": 0.1}
    return next((name for name in most if abs(row[name] - found[name]) > slack * most[name]), "")


def check_row(row: dict[str, float], found: dict[str, float]) -> None:
    """Raise Wrong where a row of the file is not what was found."""
    name = difference(row, found)
    require(
        not name,
        f"at scale {row['scale']:g} the file says {name} = {row.get(name, 0):.3f}, and guidance with this network gives "
        f"{found.get(name, 0):.3f}: is guided_sample right? Then measure again",
    )


@pytest.fixture(scope="session")
def confirmed(
    student: Student, files: Files, network: Predict, curve: list[dict[str, float]], shared_draw: Draw
) -> list[dict[str, float]]:
    """The curve, once its rows are known to be what guidance gives, and the submitted sampler draws the images of one of them.

    Of the given network every row is compared with the table, and measured only where it differs; of another network the best row is
    measured, and one that nobody knows beforehand.
    """
    lot = curve[shared_draw.integer(0, len(curve) - 1)]
    compare(student, network, lot["scale"], torch.randperm(guide.N, generator=shared_draw.torch)[:3])
    best = max(curve, key=lambda row: row["accuracy"])
    if OWN in files.contents:
        suspects = [lot] if lot is best else [lot, best]
    else:
        known = table()
        suspects = [row for row in curve if difference(row, between(known, row["scale"]))]
        for row in suspects:
            if difference(row, between(known, row["scale"]), slack=3):  # no straight line between two rows is so wrong
                check_row(row, between(known, row["scale"]))
    for row in suspects:
        check_row(row, measured(network, row["scale"]))
    require(
        best["accuracy"] >= HEARD,
        f"even at its best scale the network draws the right class only in {best['accuracy']:.0%} of the cases: train it longer",
    )
    return curve


def compare(student: Student, network: Predict, s: float, rows: Tensor) -> None:
    """Raise Wrong unless the submitted sampler draws what guidance at the scale s draws from the same noise.

    Without this, somebody else's curve would do without a sampler. The tolerance is for the mean over pixels: another processor's
    rounding moves it by 0.014 at scale 8 and by 0.04 at scale 20, and half the image or the noise itself lie 0.2 and 0.9 away.
    """
    x, labels = guide.start()
    x, labels = x[rows], labels[rows]
    images = student.tensor(
        "guided_sample", network, x, labels, s, NULL, guide.schedule(), guide.times(), shape=tuple(x.shape)
    )
    right = drawn(network, x, labels, s, guide.schedule(), guide.times().tolist())
    require(
        float((images - right).abs().mean()) <= 0.1,
        f"at scale {s:g} your sampler does not draw what guidance draws with this network, so its curve says nothing: mend "
        "guided_sample, and measure again",
    )


@points("curve", 14)
def test_curve_is_what_the_sampler_gives(confirmed: list[dict[str, float]]) -> None:
    require(confirmed, "the curve is empty")


@points("curve", 6)
def test_curve_has_enough_scales(confirmed: list[dict[str, float]]) -> None:
    scales = {round(row["scale"], 6) for row in confirmed}
    require(len(scales) >= 6, f"the curve has {len(scales)} different scales; six are needed")
    require(1.0 in scales, "scale 1, the model without exaggeration, is missing")
    require(min(scales) <= 1 and max(scales) >= 4, "the scales should reach from at most 1 to at least 4")


@points("verdict", 12)
def test_verdict(student: Student, curve: list[dict[str, float]], request: pytest.FixtureRequest) -> None:
    said = student.call("verdict")
    require(type(said) is dict, "verdict should return a dict")
    by_scale = {row["scale"]: row for row in curve}

    def number(key: str) -> float:
        value = said.get(key)
        if type(value) not in (int, float):
            raise Wrong(f"{key} should be a number")
        return float(value)

    for key, name, sign, slack in (("best_accuracy", "accuracy", 1, 0.02), ("best_frechet", "frechet", -1, 0.05)):
        scale = number(key)
        require(scale in by_scale, f"{key} should be one of your scales")
        best = max(sign * row[name] for row in curve)
        require(
            sign * by_scale[scale][name] >= best - slack * abs(best),
            f"{key}: your own curve says otherwise" + (" (a small distance is good)" if sign < 0 else ""),
        )
    for key, scale in (("diversity_at_1", 1.0), ("diversity_at_largest", max(by_scale))):
        require(scale in by_scale, "scale 1 is missing in the curve")
        require(abs(number(key) - by_scale[scale]["diversity"]) <= 0.03, f"{key}: your own curve says otherwise")
    request.getfixturevalue("confirmed")  # the long measurement last: it may not be needed
