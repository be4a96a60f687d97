"""Checks of chapter 15's page on Palette: a mixture whose posterior is known, sums over a fine grid, and Gaussian data."""

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
