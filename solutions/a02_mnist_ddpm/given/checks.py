"""Public checks of assignment 2: run them as often as you like. The hidden tests look deeper, with fresh numbers."""

import math

import torch

from course_lib.pages.checking import check


def ok(message):
    """Say that a check passed."""
    print(f"ok: {message}")


def near(got, right, message, tolerance=1e-5):
    """Stop with a message unless a number is right."""
    assert math.isclose(float(got), right, rel_tol=tolerance, abs_tol=tolerance), f"{message} (got {float(got):.6g})"


def asked(name, function, *args):
    """What a function gives. Stop where it changes a tensor that it was given."""
    before = [arg.clone() if isinstance(arg, torch.Tensor) else arg for arg in args]
    found = function(*args)
    for old, new in zip(before, args):
        assert not isinstance(old, torch.Tensor) or torch.equal(old, new), (
            f"{name} changes a tensor that it is given: make new ones (no x += ..., no x.mul_(...))"
        )
    return found


@check
def name(given):
    """Your name."""
    assert isinstance(given, str) and given.strip(), "NAME is a text, such as 'ada': the name under which you hand in"
    ok(f"your digits are written in the ink of {given.strip()!r}: this has to be the name under which you hand in")


@check
def schedule(function):
    """Task 1."""
    found = function(250)
    assert isinstance(found, torch.Tensor), f"return a tensor; got {type(found).__name__}"
    assert tuple(found.shape) == (251,), (
        f"for T = 250 the shape is (251,), with an entry for t = 0; got {tuple(found.shape)}"
    )
    near(found[0], 1, "alpha_bar[0] is 1, since nothing has been destroyed yet")
    near(found[1], 0.9996, "the first step adds noise of variance beta_min = 0.0004, so alpha_bar[1] is 0.9996")
    assert (found.diff() < 0).all(), "alpha_bar should fall at every step"
    near(found[250] / found[249], 0.92, "the last step adds noise of variance beta_max = 0.08", 1e-3)
    ok("the schedule begins and ends as it should")


@check
def q_sample(function):
    """Task 2."""
    alpha_bar = torch.tensor([1.0, 0.81, 0.36])
    x0, noise = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    found = asked("q_sample", function, x0, torch.tensor([0, 1, 2]), noise, alpha_bar)
    assert found.shape == x0.shape, f"the result has the shape of x0, {tuple(x0.shape)}; got {tuple(found.shape)}"
    for got, right in zip(found.mean((1, 2, 3)).tolist(), (1.0, 0.9, 0.6)):
        near(got, right, "with no noise, image i is x0[i] times sqrt(alpha_bar[t[i]])")
    ok("each image has its own time")


@check
def loss(function):
    """Task 3."""
    alpha_bar, weight = torch.linspace(1, 0.01, 21), torch.ones((), requires_grad=True)
    x0, seen = torch.zeros(64, 1, 28, 28), []

    def perfect(x_t, t):
        assert tuple(t.shape) == (64,), f"the network should be told a time for each image, (64,); got {tuple(t.shape)}"
        assert t.min() >= 1, "t = 0 has no noise to predict: draw t from 1 to T"
        seen.append(t)
        return weight * x_t / (1 - alpha_bar[t]).sqrt().reshape(-1, 1, 1, 1)

    found = asked("loss", function, perfect, x0, alpha_bar, torch.Generator().manual_seed(0))
    assert isinstance(found, torch.Tensor), f"the loss is a tensor; got {type(found).__name__}"
    assert found.ndim == 0, f"the loss is one number, of shape (); got {tuple(found.shape)}"
    near(found.detach(), 0, "where x0 is 0, x_t / sqrt(1 - alpha_bar) is the noise, and the loss of that answer is 0")
    assert found.requires_grad, "the loss cannot be differentiated: do not turn tensors into numbers on the way"
    assert len(seen[0].unique()) > 5, "each image draws its own time"
    ok("a perfect network has no loss")


@check
def step(function):
    """Task 4."""
    alpha_bar = torch.tensor([1.0, 0.64, 0.36])
    # What eps = -0.3 makes of x_0 = 0.5 at the times 1 and 2 is 0.22 and 0.06.
    first, second, eps, noise = (value * torch.ones(2, 1, 28, 28) for value in (0.22, 0.06, -0.3, 1.0))
    last = torch.as_tensor(asked("reverse_step", function, first, eps, 1, noise, alpha_bar))
    assert tuple(last.shape) == (2, 1, 28, 28), (
        f"the result has the shape of x_t, (2, 1, 28, 28); got {tuple(last.shape)}"
    )
    assert torch.isfinite(last).all(), (
        "at t = 1 the result is NaN or infinite: 1 - alpha_bar[0] is 0, and divides nothing"
    )
    assert torch.equal(last, torch.as_tensor(function(first, eps, 1, 0 * noise, alpha_bar))), (
        "the last step, at t = 1, adds no noise"
    )
    near(last.mean(), 0.5, "the last step, at t = 1, leads to the x_0 that x_t and eps make: here x_0 = 0.5", 1e-4)
    mean, other = (asked("reverse_step", function, second, eps, 2, k * noise, alpha_bar).mean() for k in (0, 1))
    assert other > mean, "the step from t = 2 adds a positive factor times the noise that it is given"
    ok("the last step gives x_0 itself, and others add noise; the hidden tests see whether mean and noise are right")


# Whether what `sample` draws can be differentiated. Grading looks here, since no network that it can lend you carries gradients.
GRADIENTS_KEPT = None


@check
def sample(function):
    """Task 5."""
    global GRADIENTS_KEPT
    alpha_bar, times = torch.cat([torch.ones(1), (1 - torch.linspace(0.01, 0.3, 30)).cumprod(0)]), []
    weight = torch.ones((), requires_grad=True)

    def black(x_t, t):
        times.append(int(t[0]))
        return (
            weight * (x_t + alpha_bar[t].sqrt().reshape(-1, 1, 1, 1)) / (1 - alpha_bar[t]).sqrt().reshape(-1, 1, 1, 1)
        )

    found = asked("sample", function, black, 2, alpha_bar, torch.Generator().manual_seed(0))
    GRADIENTS_KEPT = isinstance(found, torch.Tensor) and found.requires_grad
    assert not GRADIENTS_KEPT, "the images carry gradients: ask the network inside `with torch.no_grad():`"
    found = torch.as_tensor(found)
    assert tuple(found.shape) == (2, 1, 28, 28), f"two images have shape (2, 1, 28, 28); got {tuple(found.shape)}"
    assert times == list(range(30, 0, -1)), (
        f"the times go from T = 30 down to 1; yours were {times[:3]} ... {times[-3:]}"
    )
    assert (found + 1).abs().max() < 0.01, (
        "a network that knows that all images are black should give black images (-1)"
    )
    one, two = (function(lambda x, t: 0.5 * x, 2, alpha_bar, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, two), "the same generator should draw the same images: take all noise from it"
    ok("the sampler finds the only image that there is")
