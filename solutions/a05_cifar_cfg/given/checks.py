"""Public checks of assignment 5: run them as often as you like. The hidden tests look deeper, with fresh numbers."""

import torch

from course_lib.pages.checking import check


def ok(message):
    """Say that a check passed."""
    print(f"ok: {message}")


def near(got, right, message, tolerance=1e-5):
    """Stop with a message unless numbers or tensors agree."""
    got, right = torch.as_tensor(got, dtype=torch.float64), torch.as_tensor(right, dtype=torch.float64)
    got = got.reshape(()) if got.numel() == 1 and right.ndim == 0 else got
    assert got.shape == right.shape, f"{message} (the shape should be {tuple(right.shape)}; it is {tuple(got.shape)})"
    assert torch.allclose(got, right, rtol=tolerance, atol=tolerance), (
        f"{message} (off by up to {(got - right).abs().max():.3g})"
    )


def call(function, *args):
    """What a function gives. Stop where it changes a tensor that it was given."""
    before = [arg.clone() if torch.is_tensor(arg) else arg for arg in args]
    found = function(*args)
    for arg, old in zip(args, before, strict=True):
        assert not torch.is_tensor(arg) or torch.equal(arg, old), (
            f"{function.__name__} changes a tensor that it is given, which its caller may need again: make a new one"
        )
    return found


@check
def name(given):
    """Your name."""
    assert isinstance(given, str) and given.strip(), "NAME is a text, such as 'ada': the name under which you hand in"
    ok(f"your noise is made from {given.strip()!r}: this has to be the name under which you hand in")


@check
def drop(function):
    """Task 1."""
    labels, generator = torch.arange(1000) % 10, torch.Generator().manual_seed(0)
    found = torch.as_tensor(call(function, labels, 10, 0.1, generator))
    assert found.shape == labels.shape, f"the result has the shape of labels, (1000,); got {tuple(found.shape)}"
    kept = found == labels
    assert (found[~kept] == 10).all(), "a label is either kept or replaced by null"
    assert 40 < (~kept).sum() < 160, (
        f"about 100 of 1000 labels should be dropped at share = 0.1; you dropped {(~kept).sum()}"
    )
    assert (torch.as_tensor(call(function, labels, 10, 0.0, generator)) == labels).all(), (
        "at share = 0 no label is dropped"
    )
    gaps = labels.clone()
    gaps[:300] = -1
    found = torch.as_tensor(call(function, gaps, 10, 0.3, generator))
    assert (found[:300] == 10).all(), "an unknown label, -1, becomes null"
    assert (found[300:] == gaps[300:]).all(), (
        "three tenths of the labels are unknown, so at share = 0.3 no other is dropped"
    )
    ok("about a tenth of the labels is gone, and unknown ones count")


@check
def formulas(by_scale, by_weight, scale_of, weight_of):
    """Task 2."""
    with_class, without = torch.ones(2, 3, 2, 2), torch.arange(24.0).reshape(2, 3, 2, 2)
    near(call(by_scale, with_class, without, 0.0), without, "s = 0 is the unconditional answer")
    near(call(by_scale, with_class, without, 1.0), with_class, "s = 1 is the conditional answer")
    near(call(by_weight, with_class, without, 0.0), with_class, "w = 0 is the conditional answer")
    near(call(by_weight, with_class, without, -1.0), without, "w = -1 is the unconditional answer")
    each = torch.stack([without[0], with_class[1]])
    ends = "with one number for each image, (B,), every image has its own"
    near(call(by_scale, with_class, without, torch.tensor([0.0, 1.0])), each, ends)
    near(call(by_weight, with_class, without, torch.tensor([-1.0, 0.0])), each, ends)
    near(weight_of(scale_of(0.3)), 0.3, "weight_of should undo scale_of")
    near(weight_of(scale_of(0.3, 2.0), 2.0), 0.3, "weight_of should undo scale_of, with the same r")
    near(scale_of(0.0, 2.0), 2.0, "an answer guided with r = 2, and not once more (w = 0), has the scale 2")
    ok("both conventions have their ends right")


@check
def guided(function):
    """Task 3."""
    x, t, labels = torch.zeros(2, 3, 32, 32), torch.tensor([5, 5]), torch.tensor([3, 7])

    def network(x, t, y):
        return x + y.reshape(-1, 1, 1, 1).float()

    found = call(function, network, x, t, labels, 1.0, 10)
    near(found[:, 0, 0, 0], [3.0, 7.0], "at s = 1 the answer is the one for the labels")
    found = call(function, network, x, t, labels, torch.tensor([0.0, 1.0]), torch.tensor([4, 5]))
    near(
        found[:, 0, 0, 0],
        [4.0, 7.0],
        "at s = 0 the answer is the one for null, which may be another class for each image",
    )
    ok("the class is heard")


@check
def step(function):
    """Task 4."""
    x0, eps = torch.full((1, 3, 4, 4), 0.5), torch.ones(1, 3, 4, 4)
    x_t = 0.8 * x0 + 0.6 * eps
    near(call(function, x_t, eps, 0.64, 1.0), x0, "a step to alpha_bar = 1 gives x_0 itself")
    near(call(function, x_t, eps, 0.64, 0.64), x_t, "a step that stays at its time changes nothing")
    ok("both ends of the step are right")


@check
def sampler(function):
    """Task 5."""
    alpha_bar = torch.tensor([1.0, 0.8, 0.64, 0.5, 0.36, 0.2, 0.0784])
    amounts = {2: (0.8, 0.6), 4: (0.6, 0.8), 6: (0.28, 0.96)}  # of signal and noise
    labels = torch.tensor([0, 9])

    def network(x, t, y):
        now = int(t[0])
        assert now in amounts, f"the network should be asked at the times 6, 4 and 2; it was asked at {now}"
        return (x - amounts[now][0] * (y.reshape(-1, 1, 1, 1).float() / 10 - 0.5)) / amounts[now][1]

    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = call(function, network, x, labels, 1.0, 10, alpha_bar, torch.tensor([6, 4, 2, 0]))
    near(found[:, 0, 0, 0], [-0.5, 0.4], "a network that knows the image of each class should give that image", 1e-3)
    ok("the sampler draws what it was asked for")


@check
def verdict(function):
    """Task 7."""
    found = function()
    assert isinstance(found, dict), f"return a dict; got {type(found).__name__}"
    said = {str(key).lower(): value for key, value in found.items()}
    for key in ("best_accuracy", "best_frechet", "diversity_at_1", "diversity_at_largest"):
        assert key in said, f"the dict lacks {key}"
        value = said[key][0] if isinstance(said[key], list | tuple) and len(said[key]) == 1 else said[key]
        try:
            float(torch.as_tensor(value)) if not isinstance(value, str) else float(value)
        except (TypeError, ValueError, RuntimeError):
            raise AssertionError(f"{key} should be a number; it is {said[key]!r}") from None
    ok("the verdict is complete; the grader compares it with your curve")
