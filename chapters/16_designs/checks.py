"""Checks of chapter 16: sums over small worlds, mixtures with known posteriors, and draws from exact denoisers."""

import itertools

import torch
from torch import Tensor

from course_lib.data import clothes
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.measurements import posterior
from course_lib.diffusion.schedules import cosine
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves

DOUBLE = torch.float64
SCHEDULE = cosine(20)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def mixture(bumps: int = 3, dim: int = 3) -> Mixture:
    """Unequal bumps."""
    roots = 0.5 * normal(bumps, dim, dim, seed=1)
    weights = torch.arange(1, bumps + 1, dtype=DOUBLE)
    return Mixture(
        weights / weights.sum(), normal(bumps, dim, seed=2), roots @ roots.mT + 0.1 * torch.eye(dim, dtype=DOUBLE)
    )


def levels(t: int) -> tuple[Tensor, Tensor, Tensor]:
    """A time of the schedule, and its a and b."""
    time = torch.tensor(t)
    return time, SCHEDULE.signal(time), SCHEDULE.noise(time)


@defines("eq-design-rank")
def rank() -> None:
    """The library's rank of a value is the share of its kind that lies below it."""
    labels = torch.arange(10).repeat_interleave(400)
    values = normal(4000, 4).float() * (labels[:, None] + 1)
    found = clothes.ranks(values, labels, clothes.distributions(values, labels))
    for kind in (0, 4, 9):
        own, row = values[labels == kind, 2], 123
        page = claim((own <= own[row]).double().mean(), "eq-design-rank")
        assert_close(found[labels == kind][row, 2].double(), page, 0.01)


@proves("eq-design-uniform")
def uniform() -> None:
    """Ranks of draws from an uneven mixture of three bells by its own distribution function, against shares of the interval."""
    means, deviations = torch.tensor([-2.0, 0.1, 3.0]), torch.tensor([0.3, 1.0, 2.0])
    kinds = torch.multinomial(torch.tensor([0.5, 0.2, 0.3]), 200_000, True, generator=torch.Generator().manual_seed(7))
    m = means[kinds] + deviations[kinds] * normal(200_000).float()
    bells = torch.distributions.Normal(means, deviations)
    r = (bells.cdf(m[:, None]) * torch.tensor([0.5, 0.2, 0.3])).sum(1)
    for u, v in ((0.05, 0.3), (0.3, 0.62), (0.1, 0.9)):
        found = ((r > u) & (r <= v)).double().mean()
        assert_close(found, torch.tensor(claim(v - u), dtype=DOUBLE), 0.02)


@proves("eq-design-open")
def left_open() -> None:
    """The least squares answer of every situation of a small world, wishes hidden at random, against means given what is shown."""
    generator, hide = torch.Generator().manual_seed(0), 0.3
    chances = torch.rand(6, 2, 3, 2, generator=generator, dtype=DOUBLE)  # of x_0, what is seen of it, and two wishes
    chances /= chances.sum()
    x0 = normal(6)
    for shown in itertools.product((False, True), repeat=2):  # which wishes a network is told
        for seen, first, second in itertools.product(range(2), range(3), range(2)):
            told = [first if shown[0] else None, second if shown[1] else None]
            # All cases in which the network is told just this, and how often they occur.
            share = torch.zeros(6, dtype=DOUBLE)
            for w in itertools.product(range(3), range(2)):
                if all(say is None or say == wish for say, wish in zip(told, w, strict=True)):
                    hidden = [(1 - hide) if is_shown else hide for is_shown in shown]
                    share += chances[(slice(None), seen, *w)] * hidden[0] * hidden[1]
            grid = torch.linspace(-4, 4, 80_001, dtype=DOUBLE)
            loss = (share @ x0**2) - 2 * grid * (share @ x0) + grid**2 * share.sum()
            rows = chances[:, seen]
            rows = rows[:, first : first + 1] if shown[0] else rows
            rows = rows[..., second] if shown[1] else rows.sum(-1)
            given = rows.sum(-1)
            page = claim((given * x0).sum() / given.sum())
            assert_close(grid[loss.argmin()], page, 1e-4)


A, B = normal(1, 3, seed=3), normal(1, 3, seed=4)  # what two wishes look at
WISHES = torch.tensor([0.4], dtype=DOUBLE), torch.tensor([-0.7], dtype=DOUBLE)
SIGMA = 0.5
WAYS = ((False, False), (True, False), (False, True), (True, True))  # which of the two are known


def told(prior: Mixture, first: bool, second: bool) -> ExactDiffusion:
    """The diffusion of what is possible when none, one or both of two measurements with errors of their own are known."""
    rows = [one for one, known in zip((A, B), (first, second), strict=True) if known]
    values = [one for one, known in zip(WISHES, (first, second), strict=True) if known]
    found = posterior(prior, torch.cat(rows), torch.cat(values), SIGMA) if rows else prior
    return ExactDiffusion(found, SCHEDULE)


@proves("eq-design-product")
def product() -> None:
    """The density given both of two measurements, by conditioning a mixture, against the product of those given one, point by point."""
    x, t = normal(40, 3, seed=5), torch.tensor(0)
    none, first, second, both = (told(mixture(), *which) for which in WAYS)
    found, page = both.log_prob(x, t), claim(first.log_prob(x, t) + second.log_prob(x, t) - none.log_prob(x, t))
    assert_close(found - found[0], page - page[0], 1e-8)  # up to the constant that makes it a density


def likelihood(rows: Tensor, values: Tensor, x: Tensor, t: Tensor, covariance: Tensor) -> Tensor:
    """log p(y | x_t) `(N,)` of measurements of Gaussian data with mean 0, by the joint normal distribution of y and x_t."""
    a, b = SCHEDULE.signal(t), SCHEDULE.noise(t)
    of_x = a**2 * covariance + b**2 * torch.eye(len(covariance), dtype=DOUBLE)
    gain = a * rows @ covariance @ torch.linalg.inv(of_x)
    spread = rows @ covariance @ rows.T + SIGMA**2 * torch.eye(len(rows), dtype=DOUBLE) - a * gain @ covariance @ rows.T
    return torch.distributions.MultivariateNormal(x @ gain.T, (spread + spread.T) / 2).log_prob(values)


@proves("eq-design-composed")
def composed() -> None:
    """The gradient of what two wishes owe each other, from the joint normal distributions, is what the sum of scores lacks."""
    root = normal(3, 3, seed=6)
    covariance = root @ root.T + 0.2 * torch.eye(3, dtype=DOUBLE)
    prior = Mixture(torch.ones(1, dtype=DOUBLE), torch.zeros(1, 3, dtype=DOUBLE), covariance[None])
    for t in (3, 9, 15):
        time, *_ = levels(t)
        x = normal(5, 3, seed=7).requires_grad_()
        joint = likelihood(torch.cat([A, B]), torch.cat(WISHES), x, time, covariance)
        first, second = (likelihood(one, wish, x, time, covariance) for one, wish in zip((A, B), WISHES, strict=True))
        (missing,) = torch.autograd.grad((joint - first - second).sum(), x)
        point = x.detach()
        none, one, two, both = (told(prior, *which).score(point, time) for which in WAYS)
        assert_close(both, claim(one + two - none + missing), 1e-8)
        assert float(missing.abs().max()) > 1e-3, "what is lost must be there"


@proves("eq-design-dial")
def dial() -> None:
    """How far draws of q(x_0 | x_t) lie from the x_0 that x_t was made of, against the error of the denoiser, on bumps in D = 3."""
    exact = ExactDiffusion(mixture(), SCHEDULE)
    x0, _ = exact.mixture.sample(100_000, torch.Generator().manual_seed(30))
    for t in (4, 10, 16):
        time, a, b = levels(t)
        x_t = a * x0 + b * normal(*x0.shape, seed=t)
        again = exact.draw(x_t, time, torch.Generator().manual_seed(1))
        moved = (again - x0).square().sum(1).mean()
        page = claim(2 * (x0 - exact.denoise(x_t, time)).square().sum(1).mean())
        assert_close(moved / page, torch.tensor(1.0, dtype=DOUBLE), 0.02)


@proves("eq-design-dial-gaussian")
def dial_of_gaussian() -> None:
    """The same for data with a different variance in each direction, by draws."""
    spreads = torch.tensor([2.0, 0.7, 0.1], dtype=DOUBLE)
    prior = Mixture(torch.ones(1, dtype=DOUBLE), torch.zeros(1, 3, dtype=DOUBLE), torch.diag(spreads**2)[None])
    exact = ExactDiffusion(prior, SCHEDULE)
    x0 = normal(200_000, 3, seed=8) * spreads
    for t in (4, 10, 16):
        time, a, b = levels(t)
        again = exact.draw(a * x0 + b * normal(*x0.shape, seed=t), time, torch.Generator().manual_seed(1))
        moved = (again - x0).square().mean(0)
        page = torch.stack([claim(2 * s**2 * b**2 / (a**2 * s**2 + b**2)) for s in spreads])
        assert_close(moved / page, torch.ones(3, dtype=DOUBLE), 0.02)


@proves("eq-design-exchange")
def exchange() -> None:
    """The mean of what begins with one condition and ends with another, simulated in D = 3, against its share of the way."""
    spreads = torch.tensor([1.5, 0.6, 0.15], dtype=DOUBLE)
    first, second = normal(3, seed=9), normal(3, seed=10)
    for t in (4, 10, 16):
        time, a, b = levels(t)
        x_t = a * (first + spreads * normal(100_000, 3, seed=11)) + b * normal(100_000, 3, seed=12)
        target = Mixture(torch.ones(1, dtype=DOUBLE), second[None], torch.diag(spreads**2)[None])
        drawn = ExactDiffusion(target, SCHEDULE).draw(x_t, time, torch.Generator().manual_seed(2))
        kept = (drawn.mean(0) - second) / (first - second)
        page = torch.stack([claim(a**2 * s**2 / (a**2 * s**2 + b**2)) for s in spreads])
        assert_close(kept, page, 0.02)


@answers("ex-design-corner")
def corner() -> None:
    """How many of many random ranks the library finds in a corner, and in how many tens of them it finds one."""
    inside = clothes.corner_of(3).holds(torch.rand(1_000_000, 4, generator=torch.Generator().manual_seed(40)))
    share = claim((1 / 3) * (1 / 3))
    assert_close(inside.double().mean(), torch.tensor(share, dtype=DOUBLE), 0.01)
    assert_printed(share, "0.111")
    one = claim(1 - (1 - 1 / 9) ** 10)
    assert_close(inside.reshape(-1, 10).any(1).double().mean(), torch.tensor(one, dtype=DOUBLE), 0.01)
    assert_printed(one, "0.692")


@answers("ex-design-open")
def shares_open() -> None:
    """How often all of four wishes are told, and none, in many draws."""
    generator = torch.Generator().manual_seed(41)
    lost = torch.rand(1_000_000, generator=generator) < 0.1
    left_open = (torch.rand(1_000_000, 4, generator=generator) < 0.4) | lost[:, None]
    everything, nothing = claim((1 - 0.1) * (1 - 0.4) ** 4), claim(0.1 + (1 - 0.1) * 0.4**4)
    assert_close((~left_open).all(1).double().mean(), torch.tensor(everything, dtype=DOUBLE), 0.01)
    assert_close(left_open.all(1).double().mean(), torch.tensor(nothing, dtype=DOUBLE), 0.01)
    for value, text in ((everything, "0.117"), (nothing, "0.123"), (1 - 0.1, "0.9"), (1 - 0.4, "0.6")):
        assert_printed(value, text)
    for value, text in ((0.1, "0.1"), (0.4, "0.4")):
        assert_printed(value, text)


@answers("ex-design-dial")
def dial_limits() -> None:
    """The change in one direction, by draws from the posterior of Gaussian data at a level of that noise, and its end."""
    s, b = 0.5, 0.6
    a = (1 - b**2) ** 0.5
    x0, noise, fresh = (normal(1_000_000, seed=seed) for seed in (42, 43, 44))
    x_t = a * s * x0 + b * noise
    precision = 1 / s**2 + a**2 / b**2  # of x_0, given x_t
    again = a * x_t / b**2 / precision + fresh / precision**0.5
    square = claim(2 * s**2 * b**2 / (a**2 * s**2 + b**2))
    assert_close((again - s * x0).square().mean(), torch.tensor(square, dtype=DOUBLE), 0.01)
    for value, text in ((square, "0.346"), (square**0.5, "0.588"), ((2 * s**2) ** 0.5, "0.707")):
        assert_printed(value, text)
    for value, text in ((s, "0.5"), (s**2, "0.25"), (b**2, "0.36"), (a**2, "0.64")):
        assert_printed(value, text)
