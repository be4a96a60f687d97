"""Public checks of assignment 3: run them as often as you like. The hidden tests look deeper, with fresh numbers."""

import math

import torch

from course_lib.pages.checking import check


def ok(message):
    """Say that a check passed."""
    print(f"ok: {message}")


def near(got, right, message, tolerance=1e-6):
    """Stop with a message unless a number is right."""
    assert math.isclose(float(got), right, rel_tol=tolerance, abs_tol=tolerance), f"{message} (got {float(got):.6g})"


def table(alpha_bar, T, name):
    """Stop unless a value is a table of alpha_bar."""
    assert isinstance(alpha_bar, torch.Tensor), f"{name} should return a tensor; got {type(alpha_bar).__name__}"
    assert tuple(alpha_bar.shape) == (T + 1,), (
        f"{name}({T}) should have shape ({T + 1},), with an entry for t = 0; got {tuple(alpha_bar.shape)}"
    )
    near(alpha_bar[0], 1, f"{name}: alpha_bar[0] is 1, since nothing has been destroyed yet")
    assert alpha_bar.min() > 0, f"{name}: alpha_bar should stay above 0; got {float(alpha_bar.min()):.3g}"
    rises = (alpha_bar.diff() >= 0).nonzero().flatten().tolist()
    assert not rises, (
        f"{name}: alpha_bar should fall at every step, and does not at step {rises[0] + 1} of {T} (use dtype=torch.float64)"
    )


def untouched(value, before, name, argument):
    """Stop where a function has changed a tensor that it was given."""
    assert torch.equal(value, before), (
        f"{name} changes the {argument} that it is given, which its caller may need again: make new tensors "
        f"(no {argument} += ..., no {argument}.mul_(...))"
    )


@check
def name(given):
    """Your name."""
    assert isinstance(given, str) and given.strip(), "NAME is a text, such as 'ada': the name under which you hand in"
    ok(f"your digits are written in the ink of {given.strip()!r}: this has to be the name under which you hand in")


@check
def linear(function):
    """Task 1."""
    found = function(1000)
    table(found, 1000, "linear_schedule")
    near(found[1], 1 - 1e-4, "the first step adds noise of variance beta_min = 0.0001, so alpha_bar[1] is 0.9999")
    near(1 - found[-1] / found[-2], 0.02, "the last step adds noise of variance beta_max = 0.02")
    ok("the linear schedule begins and ends as it should")


@check
def cosine(function):
    """Task 2."""
    found = function(1000)
    table(found, 1000, "cosine_schedule")
    near(found[500], 0.4938, "half-way, alpha_bar is about 0.494", 1e-3)
    ok("the cosine schedule is half-way down at half-time")


# The log-SNR of the other two schedules at t = 100, 200, ..., 900 of 1000.
OTHERS = {
    "linear": (2.1645, 0.6590, -0.4204, -1.4169, -2.4617, -3.6281, -4.9597, -6.4796, -8.1977),
    "cosine": (3.5506, 2.1829, 1.3064, 0.6080, -0.0246, -0.6597, -1.3669, -2.2652, -3.7015),
}


@check
def mine(function):
    """Task 3: all that the hidden tests look at too."""
    half = {}
    for T in (50, 80, 120, 400, 1000):
        found = function(T)
        table(found, T, "my_schedule")
        half[T] = float(found[T // 2])
        assert found.min() >= 1e-12, f"my_schedule({T}) falls to {float(found.min()):.3g}; it has to stay above 1e-12"
        assert found[-1] <= 0.01 + 1e-6, (
            f"my_schedule({T}) ends at {float(found[-1]):.3g}; it has to end at 0.01 or below"
        )
        assert found[1] >= 0.8 - 1e-6, (
            f"my_schedule({T}): the first step adds variance {1 - float(found[1]):.3g}, more than 0.2"
        )
    low, high = min(half, key=lambda T: half[T]), max(half, key=lambda T: half[T])
    assert half[high] - half[low] <= 0.05 + 1e-6, (
        f"alpha_bar at T/2 is {half[low]:.3f} for T = {low} and {half[high]:.3f} for T = {high}: make it a function of t / T"
    )
    bar = function(1000)[100:901:100].double()
    level = bar.log() - (1 - bar).log()
    for name, other in OTHERS.items():
        apart = (level - torch.tensor(other, dtype=torch.float64)).abs().max()
        assert apart >= 0.5, (
            f"for T = 1000 the log-SNR of my_schedule lies at most {float(apart):.2f} from that of the {name} schedule, at the "
            "times 100, 200, ..., 900; it has to be 0.5 or more at one of them"
        )
    ok("your schedule is one, for every T, and neither of the other two")


@check
def log_snr(function):
    """Task 4."""
    alpha_bar = torch.tensor([1.0, 0.9, 0.5, 0.1], dtype=torch.float64)
    found = torch.as_tensor(function(alpha_bar))
    untouched(alpha_bar, torch.tensor([1.0, 0.9, 0.5, 0.1], dtype=torch.float64), "log_snr", "alpha_bar")
    assert tuple(found.shape) == (3,), (
        f"the log-SNR of steps 1 to T has one entry less than alpha_bar: shape (3,) here; got {tuple(found.shape)}"
    )
    near(found[1], 0, "where signal and noise are equally strong, the log-SNR is 0")
    assert found[0] > 0 > found[2], "the log-SNR falls: first there is more signal, then more noise"
    ok("positive for signal, negative for noise")


@check
def share(function):
    """Task 5."""
    alpha_bar = torch.tensor([1.0, 0.9, 0.6, 0.5, 0.2], dtype=torch.float64)
    before = alpha_bar.clone()
    near(function(alpha_bar, -100, 100), 1, "all steps together make a share of 1")
    untouched(alpha_bar, before, "share", "alpha_bar")
    near(function(alpha_bar, 0, 100), 0.75, "three of these four steps have a log-SNR of 0 or more")
    ok("step 0 is not counted, and low belongs to the interval")


def picture(plt, schedules, log_snr):
    """The three schedules: alpha_bar and log-SNR over t / T."""
    _, axes = plt.subplots(1, 2, figsize=(9, 3))
    for name, schedule in schedules.items():
        alpha_bar = schedule(1000)
        axes[0].plot(torch.arange(1001) / 1000, alpha_bar, label=name)
        axes[1].plot(torch.arange(1, 1001) / 1000, log_snr(alpha_bar), label=name)
    axes[0].set(xlabel="t / T", ylabel="alpha_bar")
    axes[1].set(xlabel="t / T", ylabel="log-SNR", ylim=(-12, 10))
    axes[0].legend()
    plt.show()


@check
def spaced(function):
    """Task 6."""
    found = torch.as_tensor(function(1000, 4))
    assert not found.is_floating_point(), "times are whole numbers: round them and use .long()"
    assert found.tolist() == [1000, 750, 500, 250, 0], (
        f"for T = 1000 and 4 steps the times are 1000, 750, 500, 250, 0; got {found.tolist()}"
    )
    ok("from T to 0, both included")


@check
def loss(function):
    """Task 7."""
    x0, noise = torch.zeros(3, 4), torch.ones(3, 4)
    alpha_bar = torch.tensor([1.0, 0.75, 0.19], dtype=torch.float64)
    t = torch.tensor([1, 2, 2])
    given = {"x0": x0, "t": t, "noise": noise, "alpha_bar": alpha_bar}
    before = {name: value.clone() for name, value in given.items()}
    weight = torch.ones((), requires_grad=True)

    def network(x, t):
        assert x.dtype == x0.dtype, (
            f"the network is asked about an x_t in {x.dtype}, and its weights, like x0, are in {x0.dtype}: alpha_bar is in "
            "torch.float64, so turn alpha_bar[t] into x0's precision, with .to(x0)"
        )
        return weight * x / torch.sqrt(1 - before["alpha_bar"][t])[:, None].to(x)

    found = function(network, x0, t, noise, alpha_bar)
    for name, value in given.items():
        untouched(value, before[name], "loss", name)
    assert isinstance(found, torch.Tensor), (
        f"the loss should be a tensor, so that it can be differentiated; got {found!r}"
    )
    assert found.ndim == 0, f"the loss should be one number, of shape (); got {tuple(found.shape)}"
    near(
        found.detach(),
        0,
        "where x0 is 0, x_t / sqrt(1 - alpha_bar) is the noise, and the loss of that answer is 0",
        1e-5,
    )
    assert found.requires_grad, "the loss cannot be differentiated: do not turn tensors into numbers on the way"
    ok("a perfect network has no loss")


@check
def verdict(function):
    """Task 9."""
    names = ("lowest_loss", "best_at_10", "best_at_100")
    numbers = ("linear_over_cosine_at_10", "cosine_10_over_100")
    found = function()
    assert isinstance(found, dict), f"return a dict; got {type(found).__name__}"
    missing = [key for key in (*names, *numbers) if key not in found]
    assert not missing, f"the dict lacks {', '.join(missing)}"
    for key in names:
        assert str(found[key]).strip().casefold() in ("linear", "cosine", "mine"), (
            f"{key} should be 'linear', 'cosine' or 'mine'; got {found[key]!r}"
        )
    for key in numbers:
        assert not isinstance(found[key], str) and math.isfinite(float(found[key])), f"{key} should be a number"
    ok("the verdict is complete; the grader measures whether it is right")
