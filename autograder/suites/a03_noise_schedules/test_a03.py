"""Hidden tests of a03: the schedules at other lengths, the loss with a network that looks back, and the experiment measured again."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from autograder.testing.answers import Wrong, close, match, require
from autograder.testing.suite import Draw, Files, Student, follows, given, points
from course_lib.diffusion import schedules

NAMES = ("linear", "cosine", "mine")
FILE = "experiment.safetensors"
FUNCTIONS = {"linear": "linear_schedule", "cosine": "cosine_schedule", "mine": "my_schedule"}

# --- helpers ---------------------------------------------------------------------------------------------------------------


def table(student: Student, function: str, T: int, *args: float) -> Tensor:
    """A schedule of the student's, (T + 1,)."""
    return student.tensor(function, T, *args, shape=(T + 1,))


def ratio_log(alpha_bar: Tensor) -> Tensor:
    """The log-SNR of steps 1 to T."""
    return alpha_bar[1:].log() - (1 - alpha_bar[1:]).log()


def chain(beta: Tensor) -> Tensor:
    """alpha_bar from beta."""
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])


def apart(one: Tensor, other: Tensor) -> float:
    """The largest distance between the log-SNRs of two tables, from T/10 to 9T/10."""
    rows = slice(len(one) // 10 - 1, 9 * (len(one) // 10))
    return float((ratio_log(one)[rows] - ratio_log(other)[rows]).abs().max())


# --- schedules ---------------------------------------------------------------------------------------------------------------


@points("linear", 10)
def test_linear(student: Student, draw: Draw) -> None:
    T, low, high = draw.integer(120, 400), draw.uniform(0.0005, 0.002), draw.uniform(0.02, 0.05)
    beta = torch.linspace(low, high, T, dtype=torch.float64)
    right = schedules.linear(T, low, high).alpha_bar
    ends = torch.linspace(low, high, T + 1, dtype=torch.float64)
    mistakes = {
        "alpha_bar is the product of the alphas, and not each alpha": torch.cat([torch.ones(1).double(), 1 - beta]),
        "multiply 1 - beta, not beta": torch.cat([torch.ones(1).double(), beta.cumprod(0)]),
        "alpha_bar is a product over all steps; you subtracted the sum of the betas": torch.cat(
            [torch.ones(1).double(), 1 - beta.cumsum(0)]
        ),
        "this is sqrt(alpha_bar), the signal": right.sqrt(),
        "the T betas go from beta_min at t = 1 to beta_max at t = T; yours take one step more or less": chain(ends[1:]),
        "the first beta is beta_min; yours starts one step early": chain(ends[:-1]),
        "alpha_bar[0] is 1; you began the product at t = 0": torch.cat([chain(beta)[1:], chain(beta)[-1:]]),
        "the variances rise in equal steps, not their roots": chain(
            torch.linspace(low**0.5, high**0.5, T, dtype=torch.float64) ** 2
        ),
        "beta rises from beta_min to beta_max, and yours falls": chain(beta.flip(0)),
    }
    match(table(student, "linear_schedule", T, low, high), right, mistakes, "linear_schedule is wrong", 1e-6)
    require(
        close(table(student, "linear_schedule", 1000), schedules.linear(1000).alpha_bar, 1e-6),
        "linear_schedule(1000) should take beta_min = 0.0001 and beta_max = 0.02 by itself",
    )


@points("cosine", 12)
def test_cosine(student: Student, draw: Draw) -> None:
    T, s, most = draw.integer(60, 300), draw.uniform(0.01, 0.04), draw.uniform(0.8, 0.95)
    right = schedules.cosine(T, s, most).alpha_bar
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((u + s) / (1 + s) * math.pi / 2)
    plain = chain(1 - (f**2)[1:] / (f**2)[:-1])
    mistakes = {
        "the cosine is squared": chain((1 - f[1:] / f[:-1]).clamp(max=most)),
        "divide by f(0), so that alpha_bar[0] is 1": f**2,
        "the betas are not clipped at beta_max: the last step destroys everything": plain,
        "clip the betas, not alpha_bar": plain.clamp(min=1 - most),
        "the offset s is missing": schedules.cosine(T, 1e-12, most).alpha_bar,
        "the offset s is divided out again by 1 + s": chain(
            (1 - torch.cos((u[1:] + s) * math.pi / 2) ** 2 / torch.cos((u[:-1] + s) * math.pi / 2) ** 2).clamp(max=most)
        ),
        "this is sqrt(alpha_bar), the signal": right.sqrt(),
        "the clip bounds each beta from above, not alpha": chain((1 - (f**2)[1:] / (f**2)[:-1]).clamp(max=1 - most)),
    }
    match(table(student, "cosine_schedule", T, s, most), right, mistakes, "cosine_schedule is wrong", 1e-6)
    require(
        close(table(student, "cosine_schedule", 1000), schedules.cosine(1000).alpha_bar, 1e-6),
        "cosine_schedule(1000) should take s = 0.008 and beta_max = 0.999 by itself",
    )


@points("mine", 5)
def test_mine_is_a_schedule(student: Student, draw: Draw) -> None:
    half = {}
    for T in (50, 2 * draw.integer(40, 80), 2 * draw.integer(150, 300), 1000):
        found = table(student, "my_schedule", T)
        half[T] = float(found[T // 2])
        require(abs(float(found[0]) - 1) < 1e-12, f"my_schedule({T}) starts at {float(found[0]):.6g} and not at 1")
        require(bool((found.diff() < 0).all()), f"my_schedule({T}) does not fall at every step")
        require(float(found[-1]) > 0, f"my_schedule({T}) reaches 0, where nothing is left to learn from")
        require(float(found[-1]) <= 0.01 + 1e-9, f"my_schedule({T}) ends above 0.01: too much of the image is left")
        require(float(found[1]) >= 0.8, f"the first step of my_schedule({T}) adds a variance of more than 0.2")
    require(
        max(half.values()) - min(half.values()) <= 0.02,
        "alpha_bar at T/2 depends on T by more than 0.02: make it a function of t / T",
    )


@points("mine", 5)
def test_mine_is_neither_of_the_others(student: Student) -> None:
    mine = table(student, "my_schedule", 1000)
    require(
        bool(torch.isfinite(ratio_log(mine)[99:900]).all()),
        "the log-SNR of my_schedule(1000) is infinite between T/10 and 9T/10",
    )
    for name, other in (("linear", schedules.linear(1000)), ("cosine", schedules.cosine(1000))):
        require(
            apart(mine, other.alpha_bar) >= 0.5,
            f"my_schedule is the {name} schedule: their log-SNRs are nowhere 0.5 apart",
        )


# --- the ruler ---------------------------------------------------------------------------------------------------------------


def falling(draw: Draw, T: int) -> Tensor:
    """Some table of alpha_bar."""
    return chain(torch.tensor([draw.uniform(0.02, 0.3) for _ in range(T)], dtype=torch.float64))


@points("log_snr", 8)
def test_log_snr(student: Student, draw: Draw) -> None:
    bar = falling(draw, 12)
    right = ratio_log(bar)
    mistakes = {
        "this is the SNR; take its logarithm": right.exp(),
        "the SNR compares variances: alpha_bar / (1 - alpha_bar), with no root": right / 2,
        "the SNR is signal over noise, and you took noise over signal": -right,
        "take the natural logarithm, not that of base 10": right / math.log(10),
        "the noise has variance 1 - alpha_bar": bar[1:].log(),
    }
    match(student.tensor("log_snr", bar, shape=(12,)), right, mistakes, "log_snr is wrong", 1e-6)


@points("share", 8)
@follows(log_snr=ratio_log)
def test_share(student: Student, draw: Draw) -> None:
    bar = falling(draw, 40)
    level = ratio_log(bar)
    order = level.sort().values
    # The bounds lie midway between two levels, where rounding decides nothing; the table `half` below tests the ends.
    low, high = (float(order[k - 1] + order[k]) / 2 for k in (7, draw.integer(15, 30)))
    inside = (level >= low) & (level < high)
    mistakes = {
        "this is the number of steps; divide by T": inside.sum().item(),
        "only steps 1 to T count: there are T of them, not T + 1": inside.sum().item() / 41,
        "this is the share of the steps below low": (level < low).double().mean().item(),
        "this is the share outside of the interval": 1 - inside.double().mean().item(),
        "this is the share of the steps below high": (level < high).double().mean().item(),
        "this counts alpha_bar, not the log-SNR": ((bar[1:] >= low) & (bar[1:] < high)).double().mean().item(),
    }
    match(student.number("share", bar, low, high), inside.double().mean().item(), mistakes, "share is wrong", 1e-6)
    half = torch.tensor([1.0, 0.9, 0.5, 0.1], dtype=torch.float64)
    require(
        close(student.number("share", half, 0.0, 1.0), 1 / 3) and close(student.number("share", half, -1.0, 0.0), 0.0),
        "low belongs to the interval and high does not",
    )


@points("spaced", 8)
def test_spaced(student: Student, draw: Draw) -> None:
    for T, steps in ((draw.integer(300, 900), draw.integer(7, 40)), (1000, 10), (draw.integer(20, 40), 1)):
        got = student.tensor("spaced", T, steps)
        even = torch.linspace(T, 0, steps + 1, dtype=torch.float64)
        require(got.ndim == 1, "spaced should return one row of times")
        require(
            len(got) == steps + 1,
            f"{steps} steps visit {steps + 1} times, both ends included; you returned {len(got)}",
        )
        if bool((got.diff() > 0).all()):
            raise Wrong("the times fall: the sampler starts at T, where all is noise")
        require(float(got[0]) == T and float(got[-1]) == 0, "the first time is T and the last is 0")
        require(bool((got == got.round()).all()), "the times of a table are whole numbers")
        floored = bool((got - even.floor()).abs().max() < 1e-9)
        if not bool(((got - even).abs() <= 0.5 + 1e-9).all()):
            raise Wrong(
                "you cut the decimals off; round to the nearest whole number"
                if floored
                else "the times are not as evenly spaced as whole numbers can be"
            )


# --- the loss ----------------------------------------------------------------------------------------------------------------


@points("loss", 10)
def test_loss(student: Student, draw: Draw) -> None:
    bar, x0, noise = falling(draw, 20), draw.normal(6, 6), draw.normal(6, 6)
    t, weight = torch.tensor([1, 20, 7, 3, 12, 16]), draw.normal(6, 6)
    a = bar[t][:, None]
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * noise
    asked: list[Tensor] = []

    def network(x: Tensor, times: Tensor) -> Tensor:
        require(isinstance(x, Tensor) and tuple(x.shape) == (6, 6), "the network should be asked about x_t, (B, D)")
        require(isinstance(times, Tensor) and times.shape == t.shape, "the network should be told t, (B,)")
        require(bool((times.long() == t).all()), "the network should be told each row's own t, as it is")
        asked.append(x.double())
        return (x.double() @ weight).to(x.dtype)

    got = student.tensor("loss", network, x0, t, noise, bar)
    require(asked, "loss never asks the network")
    wrong_points = {
        "the network is asked about x0; ask it about the noisy x_t": x0,
        "x_t takes the roots: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise": a * x0 + (1 - a) * noise,
        "signal and noise are swapped in x_t": (1 - a).sqrt() * x0 + a.sqrt() * noise,
        "the times belong to the rows: reshape alpha_bar[t] to (B, 1)": a.T.sqrt() * x0 + (1 - a).T.sqrt() * noise,
        "the entry of time t is alpha_bar[t], and not alpha_bar[t - 1]": bar[t - 1][:, None].sqrt() * x0
        + (1 - bar[t - 1][:, None]).sqrt() * noise,
    }
    match(asked[-1], x_t, wrong_points, "the network is asked about a wrong x_t", 1e-5)
    require(got.ndim == 0, f"the loss is one number, of shape (); you returned shape {tuple(got.shape)}")
    out = x_t @ weight
    errors = (out - noise).square()
    mistakes = {
        "the target is the noise, not x0": (out - x0).square().mean(),
        "take the mean, not the sum": errors.sum(),
        "take the mean over all entries; you summed over each row": errors.sum(1).mean(),
        "the error is squared, and has no root": errors.mean().sqrt(),
        "this is the mean absolute error; square it": (out - noise).abs().mean(),
    }
    match(got, errors.mean(), mistakes, "loss is wrong", 1e-5)


# --- the experiment ------------------------------------------------------------------------------------------------------------

experiment = given("a03_noise_schedules", "experiment")


def part(tensors: dict[str, Tensor], name: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """A tensor of the file, of a shape."""
    if name not in tensors or (shape is not None and tuple(tensors[name].shape) != shape):
        raise Wrong(
            f"{FILE} lacks {name}{f' of shape {shape}' if shape else ''}: write it with the notebook's own cell"
        )
    return tensors[name].double()


def trained(tensors: dict[str, Tensor], name: str) -> torch.nn.Module:
    """The network of a schedule."""
    network = experiment.new_network()
    weights = {
        key: part(tensors, f"{name}.network.{key}", tuple(value.shape)).float()
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(weights)
    return network.eval()


@pytest.fixture(scope="session")
def tables(student: Student) -> dict[str, Tensor]:
    """The three tables of the experiment. Raises Wrong unless they are three: one under three names would compare nothing.

    They need not be the papers': a mistake in a schedule has cost its points above.
    """
    found = {name: table(student, FUNCTIONS[name], experiment.T) for name in NAMES}
    for name, alpha_bar in found.items():
        require(bool(((alpha_bar > 0) & (alpha_bar <= 1)).all()), f"{FUNCTIONS[name]} is not a table of alpha_bar")
    for one, other in combinations(NAMES, 2):
        require(
            apart(found[one], found[other]) >= 0.5,
            f"the experiment compares three schedules, and {FUNCTIONS[other]} is {FUNCTIONS[one]} again: their log-SNRs are nowhere "
            "0.5 apart; mend it, and run the experiment again",
        )
    return found


@pytest.fixture(scope="session")
def networks(files: Files, tables: dict[str, Tensor], shared_draw: Draw) -> dict[str, torch.nn.Module]:
    """The three trained networks. Raises Wrong unless each knows its own schedule better than the other two know it.

    A copy of a network knows it equally well, and one that trained with another schedule less well: by 1.7 % where two schedules
    are hardly 0.5 apart in their log-SNR, and by 25 % and more for the reference's three. The three meet the same noise.
    """
    tensors = files.tensors(FILE)
    found = {name: trained(tensors, name) for name in NAMES}
    for name, alpha_bar in tables.items():
        seed = shared_draw.integer(1, 10**6)
        losses = {each: loss_of(network, alpha_bar, seed) for each, network in found.items()}
        for other in NAMES:
            require(
                other == name or losses[name] < 0.995 * losses[other],
                f"with the {name} schedule the network of {other} is as good as that of {name}, so they are one network or not "
                "trained: each schedule trains a network of its own; run the experiment again",
            )
    return found


@pytest.fixture(scope="session")
def measured(networks: dict[str, torch.nn.Module], tables: dict[str, Tensor], shared_draw: Draw) -> dict[str, Tensor]:
    """For each schedule the distances (3,), from the submitted weights and fresh seeds; the mean of two draws."""
    found = {}
    for name in NAMES:
        runs = []
        for _ in range(2):
            seed = shared_draw.integer(1, 10**6)
            samples = [
                experiment.draw(networks[name], tables[name], times(steps), seed=seed) for steps in experiment.STEPS
            ]
            require(all(bool(torch.isfinite(x).all()) for x in samples), f"the digits of {name} are not finite")
            runs.append(torch.tensor([experiment.distance(x) for x in samples], dtype=torch.float64))
        found[name] = torch.stack(runs).mean(0)
    return found


def times(steps: int) -> Tensor:
    """The times of the sampler."""
    return torch.linspace(experiment.T, 0, steps + 1, dtype=torch.float64).round().long()


@points("experiment", 8)
def test_networks_draw_digits(measured: dict[str, Tensor]) -> None:
    for name, most in (("linear", 1.2), ("cosine", 1.0), ("mine", 3.0)):
        value = float(measured[name][-1])
        require(
            value <= most,
            f"in 100 steps the network of {name} draws digits at a distance of {value:.2f} from the real ones, and {most} should be "
            "within reach: did it train with this schedule and this loss?",
        )


@points("experiment", 6)
def test_file_says_what_the_networks_do(
    files: Files,
    draw: Draw,
    tables: dict[str, Tensor],
    networks: dict[str, torch.nn.Module],
    measured: dict[str, Tensor],
) -> None:
    tensors = files.tensors(FILE)
    for name in NAMES:
        said = part(tensors, f"{name}.distances", (len(experiment.STEPS),))
        off = ((said - measured[name]).abs() / (0.2 * measured[name] + 0.05)).max()
        require(
            float(off) <= 1,
            f"the distances of {name} in the file are not what its network gives: run the experiment again after a change",
        )
        losses = part(tensors, f"{name}.losses")
        require(
            losses.ndim == 1 and len(losses) >= 20,
            f"{name}.losses should hold the mean loss of each window of 100 steps",
        )
        again = loss_of(networks[name], tables[name], draw.integer(1, 10**6))
        require(
            abs(float(losses[-1]) / again - 1) < 0.2,
            f"the last training loss of {name} in the file is not the loss of its network: run the experiment again",
        )


def loss_of(network: torch.nn.Module, alpha_bar: Tensor, seed: int) -> float:
    """The loss of a trained network on all digits, with fresh times and noise."""
    x0, generator = experiment.images().repeat(4, 1), torch.Generator().manual_seed(seed)
    t = torch.randint(1, len(alpha_bar), (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    a = alpha_bar[t][:, None].float()
    with torch.no_grad():
        return float((network(a.sqrt() * x0 + (1 - a).sqrt() * noise, t) - noise).square().mean())


@points("verdict", 10)
def test_verdict(student: Student, files: Files, measured: dict[str, Tensor]) -> None:
    tensors = files.tensors(FILE)
    said = student.call("verdict")
    require(type(said) is dict, "verdict should return a dict")
    last = {name: float(part(tensors, f"{name}.losses")[-1]) for name in NAMES}
    for key, values in (
        ("lowest_loss", last),
        ("best_at_10", {name: float(measured[name][0]) for name in NAMES}),
        ("best_at_100", {name: float(measured[name][-1]) for name in NAMES}),
    ):
        require(said.get(key) in NAMES, f"{key} should be 'linear', 'cosine' or 'mine'")
        require(
            values[said[key]] <= 1.1 * min(values.values()),
            f"{key}: your own experiment says otherwise; read the column again (small is good)",
        )
    for key, value, inverse in (
        ("linear_over_cosine_at_10", float(measured["linear"][0] / measured["cosine"][0]), "cosine by linear"),
        ("cosine_10_over_100", float(measured["cosine"][0] / measured["cosine"][-1]), "100 steps by 10"),
    ):
        number = said.get(key)
        if type(number) not in (int, float):
            raise Wrong(f"{key} should be a number")
        if not abs(number - value) <= 0.2 * value:  # asked in this direction, so that NaN is no match
            upside_down = abs(value - 1) > 0.25 and abs(number * value - 1) < 0.2
            raise Wrong(
                f"{key}: you divided {inverse}" if upside_down else f"{key}: your own experiment says otherwise"
            )
