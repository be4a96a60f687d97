"""Checks of chapter 15's page on Palette: a mixture whose posterior is known, sums over a fine grid, and Gaussian data."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from course_lib.data.degradations import Degraded
from course_lib.diffusion.exact import Mixture, two_bumps
from course_lib.diffusion.predictions import V
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves
from course_lib.recipes.palette import Palette, Regress, on_the_unknown

DOUBLE = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@defines("eq-palette-loss", "eq-palette-regression")
def losses() -> None:
    """The library's losses, of a network that is a known function, against the page's, on one picture with a hole."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    class Known(nn.Module):
        def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
            seen.append((x, t, cond))
            return torch.tanh(x) + cond[:, :3]

    images = torch.randint(0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for power in (1, 2):
        regress = Regress(V, {"name": "cosine", "T": 20}, power)
        found = regress.loss(Known())(Known(), (images,), torch.Generator().manual_seed(1))
        x, _, cond = seen[-1]
        assert float(x.abs().max()) == 0, "a regression sees no picture under noise"
        whole = Palette(V, {"name": "cosine", "T": 20}, power).loss(Known())
        again = whole(Known(), (images,), torch.Generator().manual_seed(1))
        left = Degraded(cond[:, :3], cond[:, 3:])
        assert torch.equal(seen[-1][2], cond), "both see the same pictures"
        assert not torch.equal(found, again)
        error = normal(8, 3, 16, 16).float()
        page = [
            claim((e.abs() ** power)[:, u[0] > 0].mean(), "eq-palette-loss", "eq-palette-regression")
            for e, u in zip(error, left.unknown, strict=True)
        ]
        assert_close(on_the_unknown(error, left.unknown, power), torch.stack(page).mean(), 1e-5)


def finite() -> tuple[Tensor, Tensor]:
    """A random table p(x_0, y) of 7 points in the plane and 5 measurements, and the points."""
    table = torch.rand(7, 5, generator=torch.Generator().manual_seed(3), dtype=DOUBLE)
    return table / table.sum(), normal(7, 2, seed=4)


@proves("eq-palette-mean", "eq-palette-double", "eq-palette-shrunk")
def finite_world() -> None:
    """All sums over a finite table: any answer's error, two independent draws given y, and the covariances."""
    joint, points = finite()
    of_y = joint.sum(0)
    given = joint / of_y  # p(x_0 | y), (7, 5)
    means = given.T @ points  # (5, 2)
    centred = points[:, None] - means  # (7, 5, 2)
    unknown = torch.einsum("k,ik,ika,ikb->ab", of_y, given, centred, centred)  # E Cov[x_0 | y]
    answer = normal(5, 2, seed=5)
    error = (joint * (points[:, None] - answer).square().sum(2)).sum()
    page = claim(unknown.trace() + (of_y * (answer - means).square().sum(1)).sum(), "eq-palette-mean")
    assert_close(error, page)
    pairs = (points[:, None] - points).square().sum(2)  # (7, 7)
    twice = torch.einsum("k,ik,jk,ij->", of_y, given, given, pairs)
    assert_close(twice, claim(2 * unknown.trace(), "eq-palette-double"))
    weights = joint.sum(1)
    mean = weights @ points
    whole = torch.einsum("i,ia,ib->ab", weights, points - mean, points - mean)
    of_means = torch.einsum("k,ka,kb->ab", of_y, means - mean, means - mean)
    assert_close(of_means, claim(whole - unknown, "eq-palette-shrunk"))


@proves("eq-palette-many")
def several_draws() -> None:
    """The mean of two and of three draws of a finite table, by a sum over all cases."""
    joint, points = finite()
    of_y, given = joint.sum(0), joint / joint.sum(0)
    best = (of_y * (given.T @ points.square().sum(1) - (given.T @ points).square().sum(1))).sum()
    two = (points[:, None] + points) / 2  # (7, 7, 2)
    off = (points[:, None, None] - two).square().sum(-1)
    found = {2: torch.einsum("k,ik,jk,lk,ijl->", of_y, given, given, given, off)}
    three = (points[:, None, None] + points[:, None] + points) / 3
    off = (points[:, None, None, None] - three).square().sum(-1)
    found[3] = torch.einsum("k,ik,jk,lk,mk,ijlm->", of_y, given, given, given, given, off)
    for K, error in found.items():
        assert_close(error, claim((1 + 1 / K) * best))


@proves("eq-palette-linear")
def linear() -> None:
    """The library's v of random pictures, against the page's line in x_0, at random times."""
    for seed in range(5):
        angle = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=DOUBLE) + 0.2
        a, b, x0, noise = angle.cos(), angle.sin(), normal(4, 3, seed=seed), normal(4, 3, seed=seed + 50)
        x_t = a * x0 + b * noise
        assert_close(V.target(x0, noise, a, b), claim((a * x_t - x0) / b))


@proves("eq-palette-odds")
def odds() -> None:
    """The densities of x_t around two points of space, against the page's sum, from noise in space."""
    for seed, sign in ((0, 1), (1, -1), (2, 1), (3, -1)):
        plus, minus, noise = (normal(3, seed=10 * seed + at) for at in range(3))
        w, angle = 0.6 + 0.05 * seed, torch.tensor(0.4 + 0.2 * seed, dtype=DOUBLE)
        a, b = angle.cos(), angle.sin()
        x_t = a * (plus if sign == 1 else minus) + b * noise
        densities = [torch.distributions.Normal(a * point, b).log_prob(x_t).sum() for point in (plus, minus)]
        L, apart = torch.tensor(w / (1 - w), dtype=DOUBLE).log(), plus - minus
        r, z = a * apart.norm() / (2 * b), noise @ apart / apart.norm()
        assert_close(densities[0] - densities[1] + L, claim(L + 2 * r * (sign * r + z)))


def drawn_share(often: float, n: int = 2000, steps: int = 500) -> float:
    """The share of the rarer of two points of space that DDIM draws with their medians, from evenly spread noise, by small steps.

    One point is met `often`; of two points the median of each coordinate is that of the more probable one.
    """
    points = torch.stack([normal(3, seed=7), normal(3, seed=8)]) + 0.4
    across = (points[0] - points[1]) / (points[0] - points[1]).norm()
    spread = torch.special.ndtri((torch.arange(n, dtype=DOUBLE) + 0.5) / n)
    z = normal(n, 3, seed=9)
    x = z + (spread - z @ across)[:, None] * across
    weights = torch.tensor([often, 1 - often], dtype=DOUBLE).log()
    angles = torch.linspace(torch.pi / 2, 0, steps + 1, dtype=DOUBLE)
    for now, then in pairwise(angles):
        odds = weights - (x[:, None] - now.cos() * points).square().sum(2) / (2 * now.sin() ** 2)
        answer = points[odds.argmax(1)]
        x = then.cos() * answer + then.sin() * (x - now.cos() * answer) / now.sin()
    return float(((x - points[1]).norm(dim=1) < 1e-6).double().mean())


@proves("eq-palette-rare")
def rarer() -> None:
    """The share of the rarer of two points, by many small steps of DDIM with medians."""
    for w in (0.6, 0.7, 0.9):
        odds = torch.tensor(w / (1 - w), dtype=DOUBLE)
        page = claim(torch.special.ndtr(-((2 * torch.log(odds)) ** 0.5)))
        assert_close(drawn_share(w), page, 4e-3)


@proves("eq-palette-median")
def median() -> None:
    """The slope of the mean absolute error of a constant, by differences of a sum over a fine grid, on the two bumps."""
    bumps = two_bumps()
    x = torch.linspace(-3, 3, 60_001, dtype=DOUBLE)
    spread = bumps.covariances[:, 0, 0]
    density = (
        bumps.weights * (-((x[:, None] - bumps.means[:, 0]) ** 2) / (2 * spread)).exp() / (2 * torch.pi * spread).sqrt()
    ).sum(1)
    share = density / density.sum()
    for c in (-0.9, 0.1, 0.75):
        error = lambda at: (share * (x - at).abs()).sum()  # noqa: E731
        slope = (error(c + 1e-4) - error(c - 1e-4)) / 2e-4
        F = share[x < c].sum()
        assert_close(slope, claim(2 * F - 1), 1e-3)


@proves("eq-palette-frechet", "eq-palette-decibels")
def frechet() -> None:
    """Gaussian data on the line of which a share of the variance stays unknown: the distance by sorted draws, the errors by sums."""
    spread, share = 0.8, 0.6
    quantiles = torch.special.ndtri((torch.arange(200_000, dtype=DOUBLE) + 0.5) / 200_000)
    data, means = spread * quantiles, spread * (1 - share) ** 0.5 * quantiles
    assert_close(
        (data - means).square().mean(), claim(spread**2 * (1 - (1 - share) ** 0.5) ** 2, "eq-palette-frechet"), 1e-3
    )
    joint, points = finite()
    of_y, given = joint.sum(0), joint / joint.sum(0)
    best = torch.einsum("k,ik,ika->", of_y, given, (points[:, None] - given.T @ points).square())
    draws = torch.einsum("k,ik,jk,ij->", of_y, given, given, (points[:, None] - points).square().sum(2))
    loss = 10 * torch.log10(draws / best)
    assert_close(loss, claim(10 * torch.log10(torch.tensor(2.0, dtype=DOUBLE)), "eq-palette-decibels"))


@answers("ex-palette-share")
def share_exercise() -> None:
    """The distance of the mean's distribution, in units of the data's variance, by sorted draws."""
    quantiles = torch.special.ndtri((torch.arange(200_000, dtype=DOUBLE) + 0.5) / 200_000)
    for share, text in ((0.5, "0.09"), (0.9, "0.47")):
        shrunk = Mixture(
            torch.ones(1, dtype=DOUBLE), torch.zeros(1, 1, dtype=DOUBLE), torch.tensor([[[1 - share]]], dtype=DOUBLE)
        )
        found = (quantiles - shrunk.covariances[0, 0, 0].sqrt() * quantiles).square().mean()
        assert_close(found, claim((1 - (1 - share) ** 0.5) ** 2), 1e-3)
        assert_printed(float(found), text)


@answers("ex-palette-eight")
def eight_exercise() -> None:
    """The error of the mean of eight draws of a coin, against the best guess and against one draw, by the binomial distribution."""
    for p in (0.2, 0.5, 0.7):
        heads = torch.arange(9, dtype=DOUBLE)
        ways = torch.tensor([1, 8, 28, 56, 70, 56, 28, 8, 1], dtype=DOUBLE)
        chance = ways * p**heads * (1 - p) ** (8 - heads)
        eight = (chance * (p * (1 - heads / 8) ** 2 + (1 - p) * (heads / 8) ** 2)).sum()
        best, one = p * (1 - p), 2 * p * (1 - p)  # (1 - p)^2 with probability p, ...; two unlike coins
        lost, gained = 10 * torch.log10(eight / best), 10 * torch.log10(one / eight)
        assert_close(lost, claim(10 * torch.log10(torch.tensor(1 + 1 / 8, dtype=DOUBLE))))
        assert_close(gained, claim(10 * torch.log10(torch.tensor(2 / (1 + 1 / 8), dtype=DOUBLE))))
        assert_printed(float(lost), "0.51")
        assert_printed(float(gained), "2.50")


@answers("ex-palette-apples")
def apples_exercise() -> None:
    """What is left of a fifth, and how frequent the other must be that less than one in a hundred is left, by small steps."""
    found = drawn_share(4 / 5)
    assert_close(found, claim(torch.special.ndtr(-((2 * torch.log(torch.tensor(4.0, dtype=DOUBLE))) ** 0.5))), 4e-3)
    assert_printed(float(torch.special.ndtr(-((2 * torch.log(torch.tensor(4.0, dtype=DOUBLE))) ** 0.5))), "0.048")
    q = -torch.special.ndtri(torch.tensor(0.01, dtype=DOUBLE))
    assert_printed(float(q), "2.33")
    often = claim(1 / (1 + torch.exp(-(q**2) / 2)))
    assert_printed(float(often), "0.94")
    assert_close(drawn_share(float(often)), 0.01, 2e-3)
