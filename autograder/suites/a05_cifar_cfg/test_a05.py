"""Hidden tests of a05: label dropout, both conventions, the sampler on known data, and a curve that only one's own noise gives."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from autograder.sandbox.child import StudentError
from autograder.testing.answers import Wrong, as_number, close, match, require
from autograder.testing.suite import Draw, Files, Student, example, follows, given, own_name, points, power, redacted
from course_lib.data.images import to_bytes, to_unit

FILE, OWN, NULL = "curve.safetensors", "network.safetensors", 10
HEARD = 0.3  # the least accuracy, at the best scale, of a network of one's own; one that hears no class has 0.1
GAP = 0.05  # the smallest distance between two scales
guide = given("a05_cifar_cfg", "guide")
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]  # from x_t, t and labels to the noise

# --- label dropout -----------------------------------------------------------------------------------------------------------

# The labels of a test are so many that chance fails a right answer next to never: tests/grader/test_a05.py computes how often, with
# the exact distributions, and compares it with the `luck` that is stated here.
LABELS, OFF = 20_000, 0.025  # how many there are, and how far the share of the known ones that are hidden may be off
EACH, CALLS = 4_000, 40  # how many there are where the test counts the hidden ones of several batches
CLASS_OFF, PAIR_OFF, SPREAD = 0.09, 0.04, (0.2, 2.6)


def chance(share: float, gaps: float) -> float:
    """The probability with which a known label is hidden, where a part of the batch, `gaps`, is unknown."""
    return max(0.0, (share - gaps) / (1 - gaps))


def hidden(student: Student, labels: Tensor, null: int, share: float, seed: int) -> Tensor:
    """Which of the known labels a call has hidden, in their order. Raises Wrong where a label is neither kept nor null."""
    generator = torch.Generator().manual_seed(seed)
    found = student.tensor("drop_labels", labels, null, share, generator, shape=tuple(labels.shape)).long()
    student.unchanged("drop_labels", "labels")
    require(bool((found[labels < 0] != -1).all()), "an image whose class is unknown, -1, should have the label null")
    kept, known = found == labels, labels >= 0
    right = bool((kept | (found == null)).all() and (found[~known] == null).all())
    require(right, "every label is either kept or replaced by null, the number that is given")
    return ~kept[known]


def dropped_of_a_thousand(student: Student) -> str:
    """One example, the same for all: how many labels are hidden of a thousand, a fifth of which are unknown."""
    labels = torch.where(torch.arange(1000) < 200, -1, torch.arange(1000) % 10)
    try:
        generator = torch.Generator().manual_seed(0)
        found = student.tensor("drop_labels", labels, NULL, 0.4, generator, shape=(1000,))
        got = f"yours hides {int((found[200:] != labels[200:]).sum())}"
    except (Wrong, StudentError) as error:
        got = f"yours gives the error {redacted(str(error))[:200]}"
    return (
        f"of 1000 labels, of which 200 are -1, about 200 of the 800 others should be hidden at share = 0.4, and {got}"
    )


@points("drop", 6)
@power(smallest="hides of the known labels what should be hidden of all", luck=2e-8)
def test_drop_share(student: Student, draw: Draw) -> None:
    null = draw.integer(20, 90)
    for share, gaps in ((0.1, 0.0), (draw.uniform(0.45, 0.6), draw.uniform(0.15, 0.3)), (0.1, 0.3)):
        labels, unknown = torch.arange(LABELS) % 10, round(gaps * LABELS)
        labels[torch.randperm(LABELS, generator=draw.torch)[:unknown]] = -1
        gone = hidden(student, labels, null, share, draw.integer(1, 10**6))
        part, right = float(gone.double().mean()), chance(share, unknown / LABELS)
        if right == 0:
            require(part == 0, "where more labels are unknown than should be hidden, no other is hidden")
            continue
        require(0 < part < 1, "labels are dropped one by one, and not all or none of them")
        if abs(part - right) < OFF:
            continue
        mistakes = {
            "of the whole batch the share becomes null, and the unknown labels count": share,
            "the probability is for the known labels alone: they are fewer than the whole batch": share - gaps,
            "this keeps a share of the labels; drop it": 1 - right,
        }
        for message, wrong in mistakes.items():
            if abs(part - wrong) < OFF < abs(wrong - right):
                raise Wrong(message)
        raise Wrong(f"you drop another share of the labels; for example, {dropped_of_a_thousand(student)}")


@points("drop", 4)
@power(smallest="pairs are dropped together", luck=1e-6)
def test_drop_each_label_on_its_own(student: Student, draw: Draw) -> None:
    seed, share = draw.integer(1, 10**6), 0.475  # a quarter is unknown, so three tenths of the others are hidden

    def dropped(count: int, seed: int) -> Tensor:
        labels = torch.arange(count) % 10
        return hidden(student, torch.where(torch.arange(count) < 3 * count // 4, labels, -1), NULL, share, seed)

    first = dropped(LABELS, seed)
    require(
        bool((first == dropped(LABELS, seed)).all()),
        "the same generator should drop the same labels: take all randomness from it",
    )
    require(
        bool((first != dropped(LABELS, seed + 1)).any()),
        "another generator drops the same labels: take the randomness from it",
    )
    part = float(first.double().mean())  # whether that is the right share is another test's question
    require(0 < part < 1, "labels are dropped one by one, and not all or none of them")
    by_class = first.double().reshape(-1, 10).mean(0)
    require(
        bool(((by_class - part).abs() < CLASS_OFF).all()),
        "some classes are dropped more often than others: the chance is the same for all known labels",
    )
    both = float((first[:-1] & first[1:]).double().mean())
    require(abs(both - part**2) < PAIR_OFF, "neighbours are dropped together: each label is dropped on its own")
    # The number of dropped labels is binomial; its variance over the calls, relative to n p (1 - p), is nearly chi-squared.
    counts = torch.stack([dropped(EACH, seed + k).double().sum() for k in range(CALLS)])
    spread = float(counts.var() / (counts.mean() * (1 - counts.mean() / (3 * EACH // 4))))
    require(
        spread > SPREAD[0],
        "nearly the same number of labels is dropped in every batch: each label is dropped on its own, by its own chance",
    )
    require(
        spread < SPREAD[1], "the number of labels that are dropped varies too much: each label is dropped on its own"
    )


# --- formulas ----------------------------------------------------------------------------------------------------------------


def per_image(number: float | Tensor) -> Tensor:
    """A number, or one for each image, as it is multiplied with images."""
    return torch.as_tensor(number, dtype=torch.float64).reshape(-1, 1, 1, 1)


def by_scale(eps_class: Tensor, eps_null: Tensor, s: float | Tensor) -> Tensor:
    """What by_scale should do."""
    return eps_null + per_image(s) * (eps_class - eps_null)


def by_weight(eps_class: Tensor, eps_null: Tensor, w: float | Tensor) -> Tensor:
    """What by_weight should do."""
    return (1 + per_image(w)) * eps_class - per_image(w) * eps_null


def scale_of(w: float, r: float = 1.0) -> float:
    """What scale_of should do."""
    return (1 + w) * r


def weight_of(s: float, r: float = 1.0) -> float:
    """What weight_of should do."""
    return s / r - 1


FORMULAS = {"by_scale": by_scale, "by_weight": by_weight, "scale_of": scale_of, "weight_of": weight_of}
THREE, ONE = torch.full((1, 1, 1, 1), 3.0), torch.ones(1, 1, 1, 1)  # two answers of a network, for examples


def by_scale_mistakes(y: Tensor, n: Tensor, s: float | Tensor) -> dict[str, Tensor]:
    """What wrong formulas for by_scale give."""
    s = per_image(s)
    return {
        "this is the other convention: s counts from the unconditional answer, so s = 1 is conditional": (1 + s) * y
        - s * n,
        "the two answers are swapped: s leads from eps_null to eps_class": y + s * (n - y),
        "the sign is wrong: go from the unconditional answer towards the conditional one": n - s * (y - n),
        "the unconditional answer is missing: it is where s starts from": s * (y - n),
        "the two answers are added; take their difference": n + s * (y + n),
        "the unconditional answer should be counted 1 - s times": n + s * y,
        "this is the conditional answer: s has no effect": y,
        "this is the unconditional answer: s has no effect": n,
    }


def by_weight_mistakes(y: Tensor, n: Tensor, w: float | Tensor) -> dict[str, Tensor]:
    """What wrong formulas for by_weight give."""
    w = per_image(w)
    return {
        "this is the convention of s: w counts from the conditional answer, so w = 0 is conditional": n + w * (y - n),
        "the sign is wrong: the conditional answer is exaggerated, (1 + w) of it minus w of the other": (1 - w) * y
        + w * n,
        "the unconditional answer is subtracted": (1 + w) * y + w * n,
        "the two answers are swapped": (1 + w) * n - w * y,
        "the two answers' parts should add up to one: (1 + w) - w": w * y - w * n,
        "the whole unconditional answer is subtracted; subtract w of it": (1 + w) * y - n,
        "s = w + 1, and not w - 1": n + (w - 1) * (y - n),
    }


@points("formulas", 2)
@power(smallest="by_scale with a factor of its own")
def test_by_scale(student: Student, draw: Draw) -> None:
    y, n, s = draw.normal(2, 3, 5, 5), draw.normal(2, 3, 5, 5), draw.uniform(1.5, 6)
    got = student.tensor("by_scale", y, n, s, shape=(2, 3, 5, 5))
    student.unchanged("by_scale", "eps_class", "eps_null")
    fallback = example(student, "by_scale is wrong", "by_scale", THREE, ONE, 2.0, right=5 * ONE)
    match(got, by_scale(y, n, s), by_scale_mistakes(y, n, s), fallback, 1e-5)


def for_each_image(
    student: Student, draw: Draw, name: str, letter: str, right: Callable[..., Tensor], mistakes: Callable[..., Any]
) -> None:
    """See that a formula gives each image its own scale or weight: four of them, for images that are four pixels wide."""
    y, n = draw.normal(4, 3, 4, 4), draw.normal(4, 3, 4, 4)
    numbers = torch.tensor([draw.uniform(k, k + 0.5) for k in (1.5, 3, 5, 7)], dtype=torch.float64)
    advice = f"with one {letter} for each image, (B,), give it the shape (B, 1, 1, 1) before you multiply"
    try:
        got = student.tensor(name, y, n, numbers, shape=(4, 3, 4, 4))
    except StudentError as error:
        raise Wrong(f"{advice}; yours gives the error {redacted(str(error))[:200]}") from None
    student.unchanged(name, "eps_class", "eps_null", letter)
    known = {
        f"this gives each column of pixels its own {letter}: {advice}": combined(right, y, n, numbers, 3),
        f"this gives each row of pixels its own {letter}: {advice}": combined(right, y, n, numbers, 2),
        f"this uses the {letter} of the first image for all: {advice}": right(y, n, float(numbers[0])),
        f"this uses the mean of {letter} for all images: {advice}": right(y, n, float(numbers.mean())),
        **mistakes(y, n, numbers),
    }
    two = torch.tensor([0.0, 2.0])
    shown = right(THREE.repeat(2, 1, 1, 1), ONE.repeat(2, 1, 1, 1), two)
    asked = f"{name} of two images, of 3 and 1 each, with {letter} = [0, 2]"
    pair = (THREE.repeat(2, 1, 1, 1), ONE.repeat(2, 1, 1, 1), two)
    fallback = example(
        student, f"{name} is wrong where each image has its own {letter}", name, *pair, right=shown, asked=asked
    )
    match(got, right(y, n, numbers), known, fallback, 1e-5)


def combined(right: Callable[..., Tensor], y: Tensor, n: Tensor, numbers: Tensor, axis: int) -> Tensor:
    """A formula whose numbers lie along another axis than that of the images."""
    return right(y.transpose(0, axis), n.transpose(0, axis), numbers).transpose(0, axis)


@points("formulas", 2)
@power(smallest="by_scale with the scales along the columns")
def test_by_scale_of_each_image(student: Student, draw: Draw) -> None:
    for_each_image(student, draw, "by_scale", "s", by_scale, by_scale_mistakes)


def check_conversion(
    student: Student,
    name: str,
    right: Callable[..., float],
    plain: Mapping[str, float],
    guided: Mapping[str, float],
    *args: float,
) -> None:
    """See that a conversion is right for plain answers, and then for guided ones."""
    for known, asked, fixed in ((plain, args[:1], (2.0,)), (guided, args, (2.0, 4.0))):
        fallback = example(student, f"{name} is wrong", name, *fixed, right=right(*fixed))
        match(student.number(name, *asked), right(*asked), known, fallback, 1e-5)


@points("formulas", 3)
@power(smallest="guiding twice adds up")
def test_scale_of(student: Student, draw: Draw) -> None:
    w, r = draw.uniform(1.5, 6), draw.uniform(1.5, 4)
    plain = {
        "scale_of goes the wrong way: w = 0 and s = 1 are the same model": w - 1,
        "scale_of changes nothing, but w = 0 and s = 1 are the same model": w,
        "scale_of has the wrong sign: a larger w is a larger s": 1 - w,
    }
    guided = {
        "scale_of takes no account of r: an answer that is guided already is r times as far from that for null": 1 + w,
        "scale_of adds r; but what is r times as far away, and taken 1 + w times, is (1 + w) r times as far": w + r,
        "scale_of multiplies w alone with r; all of 1 + w is taken of an answer that is r times as far away": 1 + w * r,
        "scale_of divides by r; an answer that is guided already is farther away, so that s is larger": (1 + w) / r,
        "scale_of forgets that w = 0 gives back the answer that is guided with r": w * r,
    }
    check_conversion(student, "scale_of", scale_of, plain, guided, w, r)


@points("formulas", 3)
@power(smallest="the inverse subtracts one too early")
def test_weight_of(student: Student, draw: Draw) -> None:
    s, r = draw.uniform(1.5, 6), draw.uniform(1.5, 4)
    plain = {
        "weight_of goes the wrong way: w = 0 and s = 1 are the same model": s + 1,
        "weight_of changes nothing, but w = 0 and s = 1 are the same model": s,
        "weight_of has the wrong sign: a larger s is a larger w": 1 - s,
    }
    guided = {
        "weight_of takes no account of r: an answer that is guided already needs less weight": s - 1,
        "weight_of subtracts r; but s is (1 + w) r": s - r,
        "weight_of subtracts 1 before it divides by r; s is (1 + w) r": (s - 1) / r,
        "weight_of multiplies by r; an answer that is guided already needs less weight": s * r - 1,
        "weight_of forgets to subtract 1: with w = 0 the scale is r": s / r,
    }
    check_conversion(student, "weight_of", weight_of, plain, guided, s, r)


# The tests that lend a function come after its own: what is lent could be learned by asking it.


@points("formulas", 2)
@power(smallest="by_weight with a factor of its own")
@follows(by_scale=by_scale)
def test_by_weight(student: Student, draw: Draw) -> None:
    y, n, w = draw.normal(2, 3, 5, 5), draw.normal(2, 3, 5, 5), draw.uniform(1.5, 6)
    got = student.tensor("by_weight", y, n, w, shape=(2, 3, 5, 5))
    student.unchanged("by_weight", "eps_class", "eps_null")
    fallback = example(student, "by_weight is wrong", "by_weight", THREE, ONE, 2.0, right=7 * ONE)
    match(got, by_weight(y, n, w), by_weight_mistakes(y, n, w), fallback, 1e-5)


@points("formulas", 2)
@power(smallest="by_weight with the weights along the columns")
@follows(by_scale=by_scale)
def test_by_weight_of_each_image(student: Student, draw: Draw) -> None:
    for_each_image(student, draw, "by_weight", "w", by_weight, by_weight_mistakes)


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

    def told(self) -> list[int]:
        """All labels that it was asked about."""
        return [label for _, _, labels in self.asked for label in labels.long().tolist()]


def tells_its_label(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A network for examples."""
    return x + y.reshape(-1, 1, 1, 1)


def guided_is_wrong(student: Student, s: Any, null: Any, shown: str, right: float) -> Callable[[], str]:
    """The example for an answer of `guided` that no list names."""
    zero, asked = (
        torch.zeros(1, 3, 1, 1),
        f"guided at x_t = 0 and labels = [3], with {shown}, of a network that answers x_t + label,",
    )
    args = (tells_its_label, zero, torch.tensor([5]), torch.tensor([3]), s, null)
    return example(student, "guided is wrong", "guided", *args, right=right + zero, asked=asked)


def check_asked(network: Network, t: Tensor, labels: Tensor, reference: Tensor) -> None:
    """Raise Wrong where a wrong answer comes from what the network was asked."""
    require(network.asked, "guided never asks the network")
    times, told = {time for _, at, _ in network.asked for time in at.long().tolist()}, network.told()
    require(times <= set(t.tolist()), "the network is asked at another time than t")
    require(
        all(label in told for label in reference.tolist()),
        "the network should be asked with null for every image"
        + (", with the number that null has in the call" if NULL in told else ""),
    )
    require(all(label in told for label in labels.tolist()), "the network should be asked with the labels, too")


def guided_mistakes(y: Tensor, n: Tensor, s: float | Tensor) -> dict[str, Tensor]:
    """What wrong ways to guide give, from the answers with the class and without."""
    return {
        "this is the convention of w: at s = 1 the answer should be the conditional one": by_weight(y, n, s),
        "the two answers are swapped: which half of the batch has the classes?": by_scale(n, y, s),
        "this is the conditional answer: the scale has no effect": y,
        "this is the unconditional answer: the class has no effect": n,
        "this is the difference of the two answers; add the one for null, where s starts from": by_scale(y, n, s) - n,
    }


def check_pairs(network: Network, x: Tensor, t: Tensor) -> None:
    """Raise Wrong where the network was asked about an image at the time of another."""
    for images, times, _ in network.asked:
        for image, time in zip(images, times.tolist(), strict=True):
            own = [place for place in range(len(x)) if close(image, x[place], 1e-4)]
            require(
                not own or time == float(t[own[0]]),
                "the network is asked about an image at the time of another: in a doubled batch image, time and label stay together",
            )


@points("guided", 6)
@power(smallest="null is a fixed number in the call")
@follows(**FORMULAS)
def test_guided(student: Student, draw: Draw) -> None:
    x, t, y = draw.normal(4, 3, 8, 8), torch.tensor([900, 3, 250, 777]), torch.tensor([3, 0, 9, 5])
    for null in (NULL, 12):
        s, network = draw.uniform(2, 5), Network()
        got = student.tensor("guided", network, x, t, y, s, null, shape=(4, 3, 8, 8))
        student.unchanged("guided", "network", "x_t", "t", "labels")
        reference = torch.full_like(y, null)
        with_class, without = network.answer(x, t, y), network.answer(x, t, reference)
        if not close(got, right := by_scale(with_class, without, s), 1e-4):
            check_asked(network, t, y, reference)
            check_pairs(network, x, t)
            fallback = guided_is_wrong(student, 2.0, NULL, "s = 2 and null = 10", -4.0)
            match(got, right, guided_mistakes(with_class, without, s), fallback, 1e-4)


@points("guided", 4)
@power(smallest="the same class to avoid for all")
@follows(**FORMULAS)
def test_guided_away_from_a_class(student: Student, draw: Draw) -> None:
    x, t, y = draw.normal(4, 3, 4, 4), torch.tensor([900, 3, 250, 777]), torch.tensor([3, 0, 9, 5])
    null, network = torch.tensor([8, 2, 4, 1]), Network()
    s = torch.tensor([draw.uniform(k, k + 0.5) for k in (1.5, 3, 5, 7)], dtype=torch.float64)
    try:
        got = student.tensor("guided", network, x, t, y, s, null, shape=(4, 3, 4, 4))
    except StudentError as error:
        text = (
            "null may be a tensor (B,) with a class for each image to lead away from, and s one with a scale for each"
        )
        raise Wrong(f"{text}; yours gives the error {redacted(str(error))[:200]}") from None
    student.unchanged("guided", "network", "x_t", "t", "labels", "s", "null")
    with_class, without = network.answer(x, t, y), network.answer(x, t, null)
    right = by_scale(with_class, without, s)
    if not close(got, right, 1e-4):
        first = network.answer(x, t, null[:1].expand(4))
        mistakes = guided_mistakes(with_class, without, s) | {
            "each image has its own class to lead away from; you take the first for all": by_scale(
                with_class, first, s
            ),
            "each image has its own scale": combined(by_scale, with_class, without, s, 3),
            "each image has its own scale; you take the first for all": by_scale(with_class, without, float(s[0])),
        }
        if not any(close(got, wrong, 1e-4) for wrong in mistakes.values()):
            check_asked(network, t, y, null)
        two = torch.tensor([2.0]), torch.tensor([8])
        match(got, right, mistakes, guided_is_wrong(student, *two, "s = [2] and null = [8]", -2.0), 1e-4)


# --- the sampler -----------------------------------------------------------------------------------------------------------------


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


def ddpm_mean(x_t: Tensor, x0: Tensor, a_t: float, a_s: float) -> Tensor:
    """The mean of DDPM's step."""
    ratio = a_t / a_s
    return (a_s**0.5 * (1 - ratio) * x0 + ratio**0.5 * (1 - a_s) * x_t) / (1 - a_t)


CLIP, STALE = "x_0 is clipped to [-1, 1]", "after clipping x_0, find the noise that x_t then holds"


def step_is_wrong(student: Student, otherwise: str, x: list[float], eps: list[float]) -> Callable[[], str]:
    """The example for an answer of `step` that no list names."""
    args = (torch.tensor(x).reshape(1, 1, 1, -1), torch.tensor(eps).reshape(1, 1, 1, -1), 0.36, 0.64)
    return example(student, otherwise, "step", *args, right=step(*args))


@points("step", 6)
@power(smallest="a little too much noise")
def test_step(student: Student, draw: Draw) -> None:
    a, b = draw.uniform(0.2, 0.4), draw.uniform(0.5, 0.8)
    x0, eps = draw.normal(3, 3, 4, 4).clamp(-0.9, 0.9), draw.normal(3, 3, 4, 4)
    x = a**0.5 * x0 + (1 - a) ** 0.5 * eps
    got = student.tensor("step", x, eps, a, b, shape=(3, 3, 4, 4))
    student.unchanged("step", "x_t", "eps")
    signal, noise = b**0.5, (1 - b) ** 0.5

    def through(wrong: Tensor) -> Tensor:
        """The step with another x_0."""
        wrong = wrong.clamp(-1, 1)
        return signal * wrong + noise * (x - a**0.5 * wrong) / (1 - a) ** 0.5

    mistakes = {
        "this is x_0; add the noise that is left at time s": x0,
        "the amounts of time s are the roots of a_s and 1 - a_s": b * x0 + (1 - b) * eps,
        "the amounts are those of time s, not of time t": x,
        "the noise that is left is that of time s, the root of 1 - a_s": signal * x0 + (1 - a) ** 0.5 * eps,
        "the signal that is left is that of time s, the root of a_s": a**0.5 * x0 + noise * eps,
        "the noise at time s has the root of 1 - a_s, and not 1 - a_s": signal * x0 + (1 - b) * eps,
        "the noise at time s has the root of 1 - a_s, and not 1 minus the root": signal * x0 + (1 - signal) * eps,
        "signal and noise of time s are swapped": noise * x0 + signal * eps,
        "the noise is added at time s, not subtracted": signal * x0 - noise * eps,
        "x_t goes where the noise should: add the noise that x_t holds": signal * x0 + noise * x,
        "to find x_0, divide by sqrt(a_t)": through((x - (1 - a) ** 0.5 * eps) * a**0.5),
        "to find x_0, divide by sqrt(a_t), and not by a_t": through((x - (1 - a) ** 0.5 * eps) / a),
        "to find x_0, the division by sqrt(a_t) is missing": through(x - (1 - a) ** 0.5 * eps),
        "to find x_0, subtract the noise times the root of 1 - a_t, and not times 1 - a_t": through(
            (x - (1 - a) * eps) / a**0.5
        ),
        "to find x_0, the noise is subtracted times the root of 1 - a_t": through((x - eps) / a**0.5),
        "to find x_0, the noise is subtracted, and not added": through((x + (1 - a) ** 0.5 * eps) / a**0.5),
        "a_t and a_s are swapped: x_t belongs to a_t": step(x, eps, b, a),
        "this is the mean of DDPM's step; the deterministic one keeps all of the noise that time s has": ddpm_mean(
            x, x0, a, b
        ),
    }
    match(got, signal * x0 + noise * eps, mistakes, step_is_wrong(student, "step is wrong", [1.4], [1.0]), 1e-5)


@points("step", 4)
@power(smallest="the old noise after clipping")
def test_step_clips(student: Student, draw: Draw) -> None:
    a, b = draw.uniform(0.2, 0.4), draw.uniform(0.5, 0.8)
    x, eps = 3 * draw.normal(3, 3, 4, 4), draw.normal(3, 3, 4, 4)
    raw = (x - (1 - a) ** 0.5 * eps) / a**0.5
    got = student.tensor("step", x, eps, a, b, shape=(3, 3, 4, 4))
    student.unchanged("step", "x_t", "eps")

    def with_x0(x0: Tensor) -> Tensor:
        """The step with another x_0."""
        return b**0.5 * x0 + (1 - b) ** 0.5 * (x - a**0.5 * x0) / (1 - a) ** 0.5

    mistakes = {
        CLIP: unclipped(x, eps, a, b),
        STALE: inconsistent(x, eps, a, b),
        "x_0 is clipped at both ends: its values lie in [-1, 1], and not in [0, 1]": with_x0(raw.clamp(0, 1)),
        "x_0 is clipped at both ends, to [-1, 1]": with_x0(raw.clamp(max=1)),
        "x_0 is clipped at both ends, to [-1, 1]; yours at the lower": with_x0(raw.clamp(min=-1)),
        "x_0 is clipped, and not what the step gives: x_s holds noise": unclipped(x, eps, a, b).clamp(-1, 1),
        "x_0 alone is clipped: what the step gives holds noise": step(x, eps, a, b).clamp(-1, 1),
        "x_0 is clipped, and not the noise": unclipped(x, eps.clamp(-1, 1), a, b),
        "clip each pixel of x_0 to [-1, 1]; do not squeeze it with tanh": with_x0(raw.tanh()),
        "clip each pixel of x_0 to [-1, 1]; do not rescale the whole": with_x0(raw / raw.abs().max().clamp(min=1)),
    }
    fallback = step_is_wrong(student, "step is wrong where x_0 has to be clipped", [3.0], [1.0])
    match(got, step(x, eps, a, b), mistakes, fallback, 1e-5)


# --- the sampler as a whole ------------------------------------------------------------------------------------------------------


def guided(network: Predict, x_t: Tensor, t: Tensor, labels: Tensor, s: float | Tensor, null: int | Tensor) -> Tensor:
    """What guided should do."""
    return by_scale(network(x_t, t, labels), network(x_t, t, torch.zeros_like(labels) + null), s)


def drawn(
    network: Predict, x: Tensor, y: Tensor, s: float | Tensor, bar: Tensor, times: list[int], null: int = NULL
) -> Tensor:
    """What the sampler should draw."""
    for t, earlier in pairwise(times):
        eps = guided(network, x, torch.full((len(x),), t), y, s, null).to(x.dtype)
        x = step(x, eps, float(bar[t]), float(bar[earlier]))
    return x


class Painter(Network):
    """A network that sees in x_t another picture for each class and time, part of which lies beyond [-1, 1] once it is guided."""

    def __init__(self, bar: Tensor) -> None:
        super().__init__()
        self.bar = bar

    def answer(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The noise that is in x if it shows that picture."""
        a = self.bar[t.long().clamp(min=1, max=len(self.bar) - 1)].reshape(-1, 1, 1, 1)
        picture = 0.6 * (1.3 * x + 0.9 * y.reshape(-1, 1, 1, 1) + 0.1 * t.reshape(-1, 1, 1, 1)).sin()
        return (x - a.sqrt() * picture) / (1 - a).sqrt()

    def states(self, x: Tensor, labels: list[int]) -> list[tuple[int, Tensor | None]]:
        """The time of each step, and the images that the network was asked about there, in the order of x and their labels."""
        found: list[tuple[int, dict[int, Tensor]]] = []
        for images, t, y in self.asked:
            for image, time, label in zip(images, t.long().tolist(), y.long().tolist(), strict=True):
                if not found or found[-1][0] != time:
                    found.append((time, {}))
                if image.shape == x.shape[1:]:
                    found[-1][1].setdefault(label, image)
        return [
            (time, torch.stack([rows[label] for label in labels]) if all(label in rows for label in labels) else None)
            for time, rows in found
        ]


def step_mistakes(
    network: Painter, x: Tensor, y: Tensor, s: float, null: int, times: tuple[int, int]
) -> dict[str, Tensor]:
    """What wrong steps from one time to the next give."""
    (t, earlier), bar = times, network.bar
    a, b = float(bar[t]), float(bar[earlier])
    at, reference = torch.full((len(x),), t), torch.full_like(y, null)
    with_class, without = network.answer(x, at, y), network.answer(x, at, reference)
    eps = by_scale(with_class, without, s)

    def by(eps: Tensor) -> Tensor:
        """The right step with another noise."""
        return step(x, eps, a, b)

    x0 = ((x - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1)
    return {
        "the scale has no effect: this is the conditional model": by(with_class),
        "the class has no effect: this is the unconditional model": by(without),
        "this is the convention of w: s = 1 should be the conditional model": by(by_weight(with_class, without, s)),
        "the answers with the class and without are swapped": by(by_scale(without, with_class, s)),
        "take the number that null has in the call: it need not be 10": by(
            by_scale(with_class, network.answer(x, at, torch.full_like(y, NULL)), s)
        ),
        "the step should go to the next one of `times`, and not to t - 1": step(x, eps, a, float(bar[t - 1])),
        "alpha_bar has T + 1 entries: the one of time t is alpha_bar[t], and not alpha_bar[t - 1]": step(
            x, eps, float(bar[t - 1]), float(bar[max(earlier - 1, 0)])
        ),
        "the step starts from alpha_bar[t], and not from alpha_bar[t - 1]": step(x, eps, float(bar[t - 1]), b),
        "the step should go from t to the earlier time: its two amounts are swapped": step(x, eps, b, min(a, 0.999999)),
        "step takes alpha_bar itself, and not its root": step(x, eps, a**0.5, b**0.5),
        CLIP + " in every step": unclipped(x, eps, a, b),
        STALE: inconsistent(x, eps, a, b),
        "x_0 alone is clipped: what a step gives holds noise": by(eps).clamp(-1, 1),
        "each step gives x_0; the noise that is left at the next time is missing": x0,
        "this is the mean of DDPM's step; the deterministic one keeps all of the noise": ddpm_mean(x, x0, a, b),
    }


def diagnose(student: Student, network: Painter, args: tuple[Any, ...], got: Tensor) -> None:
    """Raise Wrong with what is wrong about images that are not what the sampler should draw: the first wrong step says it."""
    x, y, s, null, bar, times = args
    whole = times.tolist()
    if not network.asked:
        raise Wrong("guided_sample never asks the network")
    steps = network.states(x, y.tolist())
    asked = [t for t, _ in steps]
    require(
        asked != whole[1:],
        "the network is asked at the time that a step goes to; ask it at the time that it comes from",
    )
    require(0 not in asked, "the network is asked at time 0, where the image is finished")
    require(asked != whole[::-1][1:], "the times are taken backwards: from T down to 0")
    require(asked != whole[:-2], "the sampler stops one step before time 0")
    require(asked == whole[:-1], "the network should be asked at each of the times but the last, in their order")
    inputs = [state for _, state in steps if state is not None]
    require(len(inputs) == len(steps), "the network should be asked about each image with the label that was asked for")
    require(close(inputs[0], x, 1e-4), "the sampler should begin with the noise x that it is given, and nothing else")
    again = student.tensor("guided_sample", Painter(bar), *args, shape=tuple(x.shape))
    require(close(again, got, 1e-4), "called twice, it draws two different images: nothing random happens on the way")
    require(not close(got, inputs[-1], 1e-4), "the sampler stops one step before time 0: its last step is missing")
    for (t, earlier), before, after in zip(pairwise(whole), inputs, [*inputs[1:], got], strict=True):
        eps = guided(network.answer, before, torch.full((len(before),), t), y, s, null)
        right = step(before, eps, float(bar[t]), float(bar[earlier]))
        mistakes = step_mistakes(network, before, y, s, null, (t, earlier))
        match(after, right, mistakes, sampler_is_wrong(student), 1e-4)
    raise Wrong(sampler_is_wrong(student)())


def half(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A network for examples."""
    return 0.5 * x + 0.1 * y.reshape(-1, 1, 1, 1)


def sampler_is_wrong(student: Student) -> Callable[[], str]:
    """The example for images that no list names."""
    bar, times = torch.tensor([1.0, 0.64, 0.36, 0.09]), [3, 1, 0]
    x, y = torch.ones(1, 3, 1, 1), torch.tensor([3])
    asked = (
        "guided_sample from x = 1 at labels = [3], s = 2 and null = 10, along the times [3, 1, 0] of alpha_bar = [1, 0.64, 0.36, 0.09], "
        "with a network that answers x_t / 2 + label / 10,"
    )
    args = (half, x, y, 2.0, NULL, bar, torch.tensor(times))
    right = drawn(half, x, y, 2.0, bar, times)
    return example(
        student, "guided_sample does not draw what it should", "guided_sample", *args, right=right, asked=asked
    )


@points("sampler", 14)
@power(smallest="a little too small a picture")
@follows(**FORMULAS, guided=guided, step=step)
def test_sampler(student: Student, draw: Draw) -> None:
    bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - torch.linspace(0.01, 0.3, 30)).double().cumprod(0)])
    times, s, null = torch.tensor([30, 22, 13, 6, 2, 0]), draw.uniform(1.5, 4), draw.integer(12, 20)
    x, y, network = draw.normal(3, 3, 32, 32), torch.tensor([1, 8, 4]), Painter(bar)
    args = (x, y, s, null, bar, times)
    got = student.tensor("guided_sample", network, *args, shape=(3, 3, 32, 32))
    student.unchanged("guided_sample", "network", "x", "labels", "s", "null", "alpha_bar", "times")
    if not close(got, drawn(network.answer, x, y, s, bar, times.tolist(), null), 1e-3):
        diagnose(student, network, args, got)


# --- the curve -------------------------------------------------------------------------------------------------------------------

Row = dict[str, float]  # a scale, and what is measured of the images there


class Drawn(NamedTuple):
    """What the file holds, in the order of the scales: (k,), and images (k, N, 3, 32, 32) in whole numbers from 0 to 255."""

    scales: list[float]
    images: Tensor


@pytest.fixture(scope="session")
def name(student: Student, files: Files) -> str:
    """The name of which the noise is made. Raises Wrong where it is not the one of whoever handed it in."""
    return own_name(student, files, "the noise that you begin with is made of it", "measure again")


@pytest.fixture(scope="session")
def handed_in(files: Files) -> Drawn:
    """The scales and images of the file."""
    return read_drawn(files.tensors(FILE))


def read_drawn(found: Mapping[str, Tensor]) -> Drawn:
    """The scales and images of a file, in the order of the scales. Raises Wrong where it holds anything else."""
    k = found["scales"].numel() if "scales" in found else 0
    require(
        found.keys() == {"scales", "images"}
        and found["scales"].shape == (k,)
        and found["images"].dtype == torch.uint8
        and found["images"].shape == (k, guide.N, 3, 32, 32),
        f"{FILE} does not hold scales and images: measure with guide.measure, and write the file with guide.save",
    )
    require(0 < k <= guide.MOST, f"{FILE} has no scales, or more than {guide.MOST}")
    order = found["scales"].double().argsort()
    scales = found["scales"].double()[order].tolist()
    for scale in scales:
        require(abs(scale) <= guide.LARGEST, f"{FILE} has the scale {scale:g}, and none may lie beyond {guide.LARGEST}")
    for one, other in pairwise(scales):
        require(
            other - one >= GAP - 1e-4,  # scales of float32
            f"the scales {one:g} and {other:g} are nearly the same: leave {GAP:g} between two",
        )
    return Drawn(scales, found["images"][order])


@pytest.fixture(scope="session")
def curve(handed_in: Drawn) -> list[Row]:
    """What is measured of the images, in the order of the scales; the classifier is a small part of what it takes to draw them."""
    labels = torch.arange(guide.N) % 10
    return [{"scale": s, **guide.point(x, labels)} for s, x in zip(handed_in.scales, handed_in.images, strict=True)]


def nearest(rows: list[Row], s: float, gap: float) -> Row | None:
    """The row whose scale is nearest to s, where one lies within the gap: 10/3 may be written as 3.33333 here, and as 3.3 there."""
    found = min(rows, key=lambda row: abs(row["scale"] - s))
    return found if abs(found["scale"] - s) <= gap else None


@pytest.fixture(scope="session")
def network(files: Files) -> Predict:
    """The network that the images were drawn with: the given one, or the one handed in."""
    if OWN not in files.contents and OWN not in files.refused:
        return guide.noise_network()
    try:
        return guide.noise_network(files.tensors(OWN))
    except ValueError:
        raise Wrong(
            f"{OWN} does not hold the weights of a network of `course train cifar10-cfg`: write it with guide.own_weights"
        ) from None


@pytest.fixture(scope="session")
def own(student: Student, name: str, handed_in: Drawn, network: Predict, shared_draw: Draw) -> Drawn:
    """The images, once the submitted sampler is known to draw what guidance draws, and they to be of this network and this noise."""
    compare(student, name, shared_draw)
    draw_again(network, name, handed_in, shared_draw)
    return handed_in


@pytest.fixture(scope="session")
def confirmed(own: Drawn, curve: list[Row]) -> list[Row]:
    """The curve of one's own images. Raises Wrong where their network hears no class."""
    best = max(row["accuracy"] for row in curve)
    require(
        best >= HEARD,
        f"even at its best scale the network draws the right class only in {best:.0%} of the cases: train it longer",
    )
    return curve


def apart(images: Tensor, right: Tensor) -> Tensor:
    """How far images `(n, 3, 32, 32)`, as bytes, are from others, in the mean over each one's pixels, `(n,)`."""
    return (to_unit(images) - to_unit(to_bytes(right))).abs().mean((1, 2, 3))


def alike(s: float) -> float:
    """How far, in the mean over its pixels, an image may be from what is drawn again at the scale s, perhaps on another processor.

    A network that rounds to float32 and one that rounds to bf16 move an image by 0.0013, 0.0076 and 0.026 at most at the scales 1, 3
    and 8 (24 images each), and by 0.038 at 20 (three images); float64 in the sampler moves it as far, and another number of threads
    not at all. With other noise an image of the same class is 0.12 away or more at scale 8, 0.19 at scale 1. At scale 1.5 instead of 1
    it is 0.021 away or more, at 2 instead of 3 0.035.
    """
    return 0.01 + 0.0075 * abs(s)


def draw_again(network: Predict, name: str, handed_in: Drawn, draw: Draw) -> None:
    """Raise Wrong unless one image of each scale, by lot, is what guidance draws there from the noise of this name.

    Everybody begins with noise of their own, so nobody else's images do, and those of one scale do for no other that is far enough to
    see. A scale without its own images is always found out; who leaves out a part of each scale's saves time, and gains no point.
    """
    x, labels = guide.start(name)
    lots = torch.tensor([draw.integer(0, guide.N - 1) for _ in handed_in.scales])
    scales = torch.tensor(handed_in.scales, dtype=torch.float64)
    right = drawn(network, x[lots], labels[lots], scales, guide.schedule(), guide.times().tolist())
    off = apart(handed_in.images[torch.arange(len(lots)), lots], right)
    for scale, by in zip(handed_in.scales, off.tolist(), strict=True):
        require(
            by <= alike(scale),
            f"at scale {scale:g} the images are not what guidance draws with this network from the noise of {name!r}: is guided_sample "
            "right, and were they drawn for this name? Then measure again",
        )


STEPS = torch.linspace(1000, 0, 9, dtype=torch.float64).round().long()  # fewer than the curve's, for they bind as well


def tolerance(s: float) -> float:
    """How far, in the mean over pixels, rounding may move what is drawn in STEPS at the scale s.

    Both samplers ask one network on one machine, so that only their own arithmetic differs. In float64 that moves images by 0.0007 at
    scale 1. A sampler without its last step is 0.14 to 0.16 away at scales 1 and 8, the scale s + 1 0.08 to 0.19 at scale 1, half of
    the image 0.1 and more. What moves images less, such as noise that is 1 % too small (0.02 at scale 1), is seen by `test_sampler`
    alone.
    """
    return 0.02 + 0.004 * abs(s)


def compare(student: Student, name: str, draw: Draw) -> None:
    """Raise Wrong unless the submitted sampler draws with the given network what guidance draws, at a scale by lot.

    Without this, somebody else's sampler would do to draw the curve.
    """
    network, s = guide.noise_network(), draw.uniform(2, 4)
    rows = torch.randperm(guide.N, generator=draw.torch)[:3]
    x, labels = (start[rows] for start in guide.start(name))
    images = student.tensor("guided_sample", network, x, labels, s, NULL, guide.schedule(), STEPS, shape=tuple(x.shape))
    right = drawn(network, x, labels, s, guide.schedule(), STEPS.tolist())
    require(
        float((images - right).abs().mean()) <= tolerance(s),
        f"at scale {s:.3g} your sampler does not draw what guidance draws with the given network, so a curve of it says nothing: mend "
        "guided_sample, and measure again",
    )


@points("curve", 14)
@power(smallest="a curve drawn without the last step")
def test_curve_is_what_the_sampler_gives(confirmed: list[Row]) -> None:
    require(confirmed, "the curve is empty")


SCALE_ONE, SAID = 0.01, 0.1  # how near to 1 the scale 1 lies, and a scale that is written down to the one that is meant


@points("curve", 6)
@power(smallest="a curve of a sampler that draws nothing")
def test_curve_has_enough_scales(confirmed: list[Row]) -> None:
    require(len(confirmed) >= 6, f"the curve has {len(confirmed)} different scales; six are needed")
    require(nearest(confirmed, 1, SCALE_ONE), "scale 1, the model without exaggeration, is missing")
    scales = [row["scale"] for row in confirmed]
    require(
        min(scales) <= 1 + SCALE_ONE and max(scales) >= 4 - SCALE_ONE,
        "the scales should reach from at most 1 to at least 4",
    )


VERDICTS = ("best_accuracy", "best_frechet", "diversity_at_1", "diversity_at_largest")


def said_number(said: dict[str, Any], key: str) -> float:
    """A number of the verdict: plain, of NumPy or torch, alone in a list or a tuple, or written as a text."""
    value = {str(name).strip().lower(): value for name, value in said.items()}.get(key)
    while type(value) is list and len(value) == 1:
        value = value[0]
    try:
        return as_number(key, float(value) if type(value) is str else value)
    except (Wrong, ValueError):
        missing = " is missing:" if value is None else ""
        raise Wrong(f"{key}{missing} should be a number; the verdict is a dict with {', '.join(VERDICTS)}") from None


@points("verdict", 12)
@power(smallest="the smallest scale is always best")
def test_verdict(student: Student, curve: list[Row], request: pytest.FixtureRequest) -> None:
    said = student.call("verdict")
    require(type(said) is dict, f"verdict should return a dict with {', '.join(VERDICTS)}")
    one = nearest(curve, 1, SCALE_ONE)
    if one is None:
        raise Wrong("scale 1 is missing in the curve")
    for key, name, sign, slack in (("best_accuracy", "accuracy", 1, 0.02), ("best_frechet", "frechet", -1, 0.05)):
        row = nearest(curve, scale := said_number(said, key), SAID)
        scales = ", ".join(f"{row['scale']:g}" for row in curve)
        if row is None:
            raise Wrong(f"{key} should be one of your scales, {scales}; you say {scale:g}")
        best = max(curve, key=lambda row: sign * row[name])
        require(
            sign * (row[name] - best[name]) >= -slack * abs(best[name]) - 1e-9,
            f"{key}: your own curve says otherwise: at scale {row['scale']:g} its {name} is {row[name]:.3g}, and at scale "
            f"{best['scale']:g} it is {best[name]:.3g}" + (" (a small distance is good)" if sign < 0 else ""),
        )
    for key, row in (("diversity_at_1", one), ("diversity_at_largest", curve[-1])):
        value = said_number(said, key)
        require(
            abs(value - row["diversity"]) <= 0.03,
            f"{key}: your own curve says otherwise: at scale {row['scale']:g} its diversity is {row['diversity']:.3g}, and you say "
            f"{value:.3g}",
        )
    request.getfixturevalue("confirmed")  # the long measurement last: it may not be needed
