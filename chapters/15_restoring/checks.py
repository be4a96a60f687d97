"""Checks of chapter 15's page on restoring: mixtures with known posteriors, quadratures on the line, and recursions of means."""

import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, Mixture, two_bumps
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.measurements import Measurement, along, coarse, grey, known, posterior
from course_lib.diffusion.schedules import TableSchedule, cosine, linear
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves
from course_lib.sampling.restoring import descended, edited, replacing, steered
from course_lib.sampling.steps import ddim, unit_variance

DOUBLE = torch.float64
SCHEDULES = (cosine(20), linear(50))
TIMES = {20: (3, 11, 18), 50: (2, 25, 49)}


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def mixture(bumps: int = 3) -> Mixture:
    """Unequal bumps in three dimensions."""
    roots = 0.5 * normal(bumps, 3, 3, seed=1)
    weights = torch.arange(1, bumps + 1, dtype=DOUBLE)
    return Mixture(
        weights / weights.sum(), normal(bumps, 3, seed=2), roots @ roots.mT + 0.1 * torch.eye(3, dtype=DOUBLE)
    )


def density(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """The normal density at points `(N, d)`, from scipy."""
    found = multivariate_normal.pdf(x.numpy(), mean.numpy(), covariance.numpy())  # type: ignore[arg-type]
    return torch.as_tensor(found).reshape(-1)


def cases():  # type: ignore[no-untyped-def]
    """Schedules with times, as numbers: the schedule, t, a and b."""
    for schedule in SCHEDULES:
        for t in map(torch.tensor, TIMES[schedule.T]):
            yield schedule, t, schedule.signal(t), schedule.noise(t)


A, SIGMA, Y = normal(2, 3, seed=3), 0.3, torch.tensor([0.4, -0.2], dtype=DOUBLE)


@defines("eq-restore-measurement", "eq-restore-inverse")
def measurements() -> None:
    """What the library measures is linear with the adjoint and the gain that it says; its noise has the size that was asked for."""
    mask = (normal(1, 1, 4, 4) > 0).double()
    x, other = normal(2, 3, 4, 4, seed=1), normal(2, 3, 4, 4, seed=2)
    for kind in (known(mask), grey(), coarse(2)):
        seen = kind.apply(x)
        assert_close((seen * kind.apply(other)).sum(), (x * kind.adjoint(kind.apply(other))).sum())
        assert_close(kind.apply(kind.adjoint(seen)), kind.gain * seen)
        page = claim(1 / kind.gain * kind.adjoint(seen), "eq-restore-inverse")
        assert_close(kind.inverse(seen), page)
        assert_close(kind.apply(page), seen)
    noisy = Measurement(grey().apply, grey().adjoint, grey().gain, 0.3)
    many = normal(1, 3, 100, 100).expand(9, 3, 100, 100)
    off = noisy.observe(many, torch.Generator().manual_seed(0)) - noisy.apply(many)
    assert_close(off.std(), claim(0.3, "eq-restore-measurement"), 0.01)


@proves("eq-restore-moved", "eq-restore-weights")
def bayes() -> None:
    """Prior times likelihood at many points, each component for itself, against the page's Gaussians times the page's weights."""
    prior, points, one = mixture(), 0.7 * normal(50, 3, seed=4), torch.eye(2, dtype=DOUBLE)
    likelihood = torch.cat([density(Y[None], A @ x, SIGMA**2 * one) for x in points])
    joint, page = [], []
    for weight, mean, covariance in zip(prior.weights, prior.means, prior.covariances, strict=True):
        S = A @ covariance @ A.T + SIGMA**2 * one
        K = claim(covariance @ A.T @ torch.linalg.inv(S), "eq-restore-moved")
        moved = claim(mean + K @ (Y - A @ mean), "eq-restore-moved")
        left = claim(covariance - K @ A @ covariance, "eq-restore-moved")
        joint.append(weight * density(points, mean, covariance) * likelihood)
        heavier = claim(weight * density(Y[None], A @ mean, S), "eq-restore-weights")
        page.append(heavier * density(points, moved, (left + left.T) / 2))
    assert_close(torch.stack(page).log(), torch.stack(joint).log(), 1e-9)
    found = posterior(prior, A, Y, SIGMA)
    assert_close(
        ExactDiffusion(found, cosine(20)).log_prob(points, torch.tensor(0)).softmax(0),
        torch.stack(joint).sum(0) / torch.stack(joint).sum(),
        1e-9,
    )


@proves("eq-restore-honest")
def honest() -> None:
    """Draws from the posterior of a mixture, for many points and their measurements, beside the points and beside each other."""
    generator = torch.Generator().manual_seed(20)
    x0, _ = mixture().sample(1500, generator)
    y = x0 @ A.T + SIGMA * normal(len(x0), 2, seed=21)
    pairs = torch.stack([posterior(mixture(), A, one, SIGMA).sample(20, generator)[0] for one in y])  # (N, 20, 3)
    found = (pairs - x0[:, None]).square().sum(2).mean()
    page = claim((pairs[:, ::2] - pairs[:, 1::2]).square().sum(2).mean())
    assert_close(found / page, 1.0, 0.04)


def log_likelihood(exact: ExactDiffusion, x: Tensor, t: Tensor) -> Tensor:
    """log p(y | x_t) by the two mixtures' densities at time t and Bayes' rule, up to a constant."""
    after = ExactDiffusion(posterior(exact.mixture, A, Y, SIGMA), exact.schedule)
    return after.log_prob(x, t) - exact.log_prob(x, t)


@proves("eq-restore-likelihood")
def likelihood() -> None:
    """p(y | x_t) from Bayes' rule at time t, for two points, against means over draws of q(x_0 | x_t)."""
    exact = ExactDiffusion(mixture(), cosine(20))
    prior, one = exact.mixture, torch.eye(2, dtype=DOUBLE)
    parts = zip(prior.weights, prior.means, prior.covariances, strict=True)
    evidence = sum(w * density(Y[None], A @ m, A @ S @ A.T + SIGMA**2 * one) for w, m, S in parts)
    x, t = normal(2, 3, seed=5), torch.tensor(9)
    truth = evidence * log_likelihood(exact, x, t).exp()
    for point, wanted in zip(x, truth, strict=True):
        x0 = exact.draw(point.expand(40_000, 3), t, torch.Generator().manual_seed(0))
        off = Y - x0 @ A.T
        found = claim((-off.square().sum(1) / (2 * SIGMA**2)).exp() / (2 * torch.pi * SIGMA**2)).mean()
        assert_close(found / wanted, 1.0, 0.06)


@proves("eq-restore-target")
def target() -> None:
    """The gradient of p(y | x_t), shifted from the prior's exact denoiser to the posterior's."""
    x = normal(2, 3, seed=5)
    for schedule, time, a, b in cases():
        exact = ExactDiffusion(mixture(), schedule)
        after = ExactDiffusion(posterior(exact.mixture, A, Y, SIGMA), schedule)
        point = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_likelihood(exact, point, time).sum(), point)
        page = claim(exact.denoise(x, time) + b**2 / a * gradient)
        assert_close(after.denoise(x, time), page, 1e-7)


@proves("eq-restore-jacobian")
def jacobian() -> None:
    """The denoiser's Jacobian, row by row, by automatic differentiation."""
    for schedule, t, a, b in cases():
        exact, x = ExactDiffusion(mixture(), schedule), normal(4, 3, seed=7).requires_grad_()
        x0 = exact.denoise(x, t)
        rows = [torch.autograd.grad(x0[:, i].sum(), x, retain_graph=True)[0] for i in range(3)]
        C = exact.covariance(x.detach(), t)
        assert_close(torch.stack(rows, 1), claim(a / b**2 * C), 1e-7)


@proves("eq-restore-kalman", "eq-restore-residual")
def kalman() -> None:
    """The library's guided denoiser with both widths, and what it leaves of the residual."""
    direction = normal(3, seed=6)
    for schedule, t, _, _ in cases():
        exact, x = ExactDiffusion(mixture(), schedule), normal(4, 3, seed=7)
        C, measured = exact.covariance(x, t), along(direction, 0.3)
        y, row, x0 = torch.full((4, 1), 0.6, dtype=DOUBLE), direction[None], exact.denoise(x, t)
        for width in (None, unit_variance(schedule)):
            r = 0.0 if width is None else width(x, t)
            S = 0.3**2 + r * direction.square().sum()
            off = y - x0 @ row.T
            page = claim(x0 + (C @ row.T / S)[:, :, 0] * off, "eq-restore-kalman")
            found = steered(exact.denoise, schedule, measured, y, width)(x, t)
            assert_close(found, page, 1e-7)
            left = claim((1 - (row @ C @ row.T)[:, :, 0] / S) * off, "eq-restore-residual")
            assert_close(y - found @ row.T, left, 1e-7)


@defines("eq-restore-approximation")
def approximation() -> None:
    """The library's guidance is the slope of the logarithm of a normal density in y, at the denoiser's answer."""
    exact, measured, t = ExactDiffusion(mixture(), cosine(20)), along(normal(3, seed=6), 0.3), torch.tensor(9)
    x, y = normal(4, 3, seed=7).requires_grad_(), torch.full((4, 1), 0.6, dtype=DOUBLE)
    a, b = exact.schedule.signal(t), exact.schedule.noise(t)
    r = b / (a**2 + b**2).sqrt()
    width = claim(0.3**2 + r**2 * measured.gain)
    surprise = (y - measured.apply(exact.denoise(x, t))).square().sum() / (2 * width)
    (gradient,) = torch.autograd.grad(-surprise, x)
    found = steered(exact.denoise, exact.schedule, measured, y, unit_variance(exact.schedule))(x.detach(), t)
    assert_close(found, exact.denoise(x.detach(), t) + b**2 / a * gradient, 1e-7)


@proves("eq-restore-gaussian")
def gaussian() -> None:
    """For one Gaussian component the guided denoiser with its own covariance is that of the posterior."""
    one = torch.eye(2, dtype=DOUBLE)
    for schedule, t, _, _ in cases():
        exact, x = ExactDiffusion(mixture(1), schedule), normal(4, 3, seed=8)
        after = ExactDiffusion(posterior(exact.mixture, A, Y, SIGMA), schedule)
        C = exact.covariance(x, t)[0]
        x0 = exact.denoise(x, t)
        page = claim(x0 + (Y - x0 @ A.T) @ torch.linalg.inv(A @ C @ A.T + SIGMA**2 * one) @ A @ C)
        assert_close(after.denoise(x, t), page, 1e-8)


@defines("eq-restore-dps", "eq-restore-replace", "eq-restore-sdedit")
def steps() -> None:
    """The library's steps, around a plain step of DDIM with a denoiser that is known."""
    schedule = cosine(20)
    process, denoise = GaussianDiffusion(schedule), lambda x, t: torch.tanh(x)
    x, t, s, noise = normal(4, 3, seed=9), torch.tensor(9), torch.tensor(7), normal(4, 3, seed=10)
    plain, measured = ddim(denoise, process), along(normal(3, seed=6))
    y = torch.tensor([[0.6], [-0.6], [1.2], [-1.5]], dtype=DOUBLE)
    off = y - measured.apply(torch.tanh(x))
    slope = -2 * off * measured.adjoint(torch.ones_like(off)) / torch.cosh(x) ** 2  # of the square
    page = claim(plain(x, t, s) - 0.2 / off.abs() * slope, "eq-restore-dps")
    assert_close(descended(lambda d: ddim(d, process), denoise, measured, y, 0.2)(x, t, s), page, 1e-9)
    u = plain(x, t, s)
    a, b = schedule.signal(s), schedule.noise(s)
    y_s = claim(a * y + b * measured.apply(noise), "eq-restore-replace")
    page = claim(u + measured.inverse(y_s - measured.apply(u)), "eq-restore-replace")
    assert_close(replacing(plain, process, measured, y, lambda _: noise)(x, t, s), page)
    a, b = schedule.signal(t), schedule.noise(t)
    begin = claim(a * x + b * noise, "eq-restore-sdedit")
    assert_close(edited(lambda x, t, s: x, process, x, torch.tensor([9, 0]), lambda _: noise), begin)


def fine(T: int) -> TableSchedule:
    """A schedule of T small steps: alpha-bar falls geometrically to 1e-6."""
    return TableSchedule(10.0 ** torch.linspace(0, -6, T + 1, dtype=DOUBLE))


def pair(rho: float) -> Mixture:
    """Two numbers of mean 0 and variance 1 with a correlation."""
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=DOUBLE)
    return Mixture(torch.ones(1, dtype=DOUBLE), torch.zeros(1, 2, dtype=DOUBLE), covariance[None])


def mean_by_replacing(rho: float, known_value: float, T: int) -> float:
    """The unknown number's mean after the whole chain of exact steps, in which the known one has the mean that is put in."""
    schedule = fine(T)
    process, exact, u = GaussianDiffusion(schedule), ExactDiffusion(pair(rho), schedule), torch.zeros((), dtype=DOUBLE)
    for t in range(T, 0, -1):
        now, s = torch.tensor(t), torch.tensor(t - 1)
        x = torch.stack([schedule.signal(now) * known_value, u])[None]
        u = process.posterior(exact.denoise(x, now), x, now, s)[0][0, 1]
    return float(u)


@proves("eq-restore-drift", "eq-restore-integrated")
def drift() -> None:
    """One small exact step of the mean from the library; then the product rule, with derivatives by automatic differentiation."""
    T, k, m = 20_000, 0.8, torch.tensor(0.37, dtype=DOUBLE)
    process, powers = GaussianDiffusion(fine(T)), fine(T).alpha_bar
    for rho, t in ((0.4, 300), (0.8, 900), (0.95, 2000)):
        now, s = torch.tensor(t), torch.tensor(t - 1)
        exact = ExactDiffusion(pair(rho), fine(T))
        x = torch.stack([powers[t].sqrt() * k, m])[None]
        after = process.posterior(exact.denoise(x, now), x, now, s)[0][0, 1]
        tau = powers[t]
        slope = tau * (after - m) / (powers[t - 1] - tau)
        assert_close(slope, claim(m / 2 - (m - rho * tau**1.5 * k) / (1 - rho**2 * tau**2), "eq-restore-drift"), 2e-3)
        n = m / tau.sqrt()
        rate = -(n - rho * tau * k) / (tau * (1 - rho**2 * tau**2))  # dn/dtau, from the drift without m / 2
        factor = lambda tau: tau / (1 - rho**2 * tau**2).sqrt()  # noqa: B023, E731
        whole = rate * factor(tau) + n * torch.func.grad(factor)(tau)
        assert_close(whole, claim(rho * tau * k / (1 - rho**2 * tau**2) ** 1.5, "eq-restore-integrated"), 1e-9)
        root = torch.func.grad(lambda tau: 1 / (1 - rho**2 * tau**2).sqrt())(tau)  # noqa: B023
        assert_close(whole, claim(k / rho * root, "eq-restore-integrated"), 1e-9)


@proves("eq-restore-half")
def half() -> None:
    """Means of the chain in 200 and 400 steps, extrapolated to endlessly many, for two correlations."""
    for rho in (0.3, 0.8):
        few, many = (mean_by_replacing(rho, 0.8, T) for T in (200, 400))
        assert_close(2 * many - few, claim(0.8 * (1 - (1 - rho**2) ** 0.5) / rho), 1e-3)


@proves("eq-restore-relaxed")
def relaxed() -> None:
    """The fixed point of a short step down and up again, an affine map of means, with the known number's mean put in each time."""
    schedule = fine(2000)
    process = GaussianDiffusion(schedule)
    for rho, t in ((0.5, 400), (0.8, 100)):
        exact, now, s = ExactDiffusion(pair(rho), schedule), torch.tensor(t), torch.tensor(t - 1)
        a, (ratio, _) = schedule.signal(now), process.transition(s, now)
        x = torch.stack([a * 0.8 * torch.ones(2, dtype=DOUBLE), torch.arange(2, dtype=DOUBLE)], 1)
        zero, one = (
            ratio * process.posterior(exact.denoise(x, now), x, now, s)[0][:, 1]
        )  # where u = 0 and u = 1 come to
        assert_close(zero / (1 - (one - zero)), claim(a**3 * rho * 0.8), 5e-3)


@proves("eq-restore-sdedit-gaussian", "eq-restore-faithful")
def sdedit() -> None:
    """Gaussian data on the line: the exact reverse step from a diffused guide, as moments; and by draws."""
    m, spread, g = 0.4, 0.7, 1.9
    data = Mixture(
        torch.ones(1, dtype=DOUBLE), torch.tensor([[m]], dtype=DOUBLE), torch.tensor([[[spread**2]]], dtype=DOUBLE)
    )
    for schedule, t, a, b in cases():
        exact = ExactDiffusion(data, schedule)
        ends = torch.stack([a * g - b, a * g + b])[:, None]  # one standard deviation to each side
        low, high = exact.denoise(ends, t)[:, 0]
        mean, variance = (low + high) / 2, ((high - low) / 2) ** 2 + exact.covariance(ends, t)[0, 0, 0]
        kappa = claim(a**2 * spread**2 / (a**2 * spread**2 + b**2), "eq-restore-sdedit-gaussian")
        assert_close(mean, claim(m + kappa * (g - m), "eq-restore-sdedit-gaussian"), 1e-9)
        assert_close(variance, claim(spread**2 * (1 - kappa**2), "eq-restore-sdedit-gaussian"), 1e-9)
        page = claim((1 - kappa) ** 2 * (g - m) ** 2 + spread**2 * (1 - kappa**2), "eq-restore-faithful")
        assert_close((mean - g) ** 2 + variance, page, 1e-9)


@proves("eq-restore-realism")
def realism() -> None:
    """Two bumps on the line and a guide between them, by sums over a fine grid of both x_0 and x_t."""
    exact, t, g = ExactDiffusion(two_bumps(), cosine(1000)), torch.tensor(350), -0.1
    a, b = exact.schedule.signal(t), exact.schedule.noise(t)
    x0, x_t = (torch.linspace(-3, 3, n, dtype=DOUBLE) for n in (1201, 1501))
    h, k = x0[1] - x0[0], x_t[1] - x_t[0]

    def bell(x: Tensor, mean: Tensor | float, deviation: Tensor) -> Tensor:
        return (-((x - mean) ** 2) / (2 * deviation**2)).exp() / (deviation * (2 * torch.pi) ** 0.5)

    q0, q_t = (exact.log_prob(x[:, None], time).exp() for x, time in ((x0, torch.tensor(0)), (x_t, t)))
    forward = bell(x_t[None], a * x0[:, None], b)  # q(x_t | x_0)
    start = bell(x_t, a * g, b)
    joint = q0[:, None] * forward / q_t * start
    edited_ = joint.sum(1) * k
    left = (torch.special.xlogy(edited_, edited_ / q0.clamp(min=1e-300))).sum() * h
    first = (start * (start / q_t).log()).sum() * k
    back = joint / edited_[:, None].clamp(min=1e-300)
    second = (joint * (back / forward.clamp(min=1e-300)).clamp(min=1e-300).log()).sum() * h * k
    assert_close(left, claim(first - second), 1e-4)
    assert float(second) > 0.05, "the term that is dropped is not small here"


@answers("ex-restore-overshoot")
def overshoot_exercise() -> None:
    """The factor on the residual for the numbers of the exercise, by the library's guidance on Gaussian data of that variance."""
    for width, text in ((None, "24.00"), (unit_variance(cosine(1000)), "0.51")):
        schedule = cosine(1000)
        t = int((schedule.alpha_bar - 0.5).abs().argmin())
        data = Mixture(
            torch.ones(1, dtype=DOUBLE), torch.zeros(1, 1, dtype=DOUBLE), torch.tensor([[[1 / 3]]], dtype=DOUBLE)
        )
        exact, x = ExactDiffusion(data, schedule), torch.tensor([[0.3]], dtype=DOUBLE)
        measured, y = along(torch.ones(1, dtype=DOUBLE), 0.1), torch.tensor([[1.0]], dtype=DOUBLE)
        now = torch.tensor(t)
        before, after = (y - d(x, now) for d in (exact.denoise, steered(exact.denoise, schedule, measured, y, width)))
        factor = float(claim(after / before))
        assert_printed(factor if width else -factor, text)
        c = float(exact.covariance(x, now)[0, 0, 0])
        assert_printed(0.1**2, "0.01")
        assert_printed(c + 0.1**2, "0.26")


@answers("ex-restore-half")
def half_exercise() -> None:
    """The share that replacing finds, by the chain's means."""
    for rho, text in ((0.3, "0.51"), (0.95, "0.76")):
        found = 2 * mean_by_replacing(rho, 1.0, 400) - mean_by_replacing(rho, 1.0, 200)
        assert_close(found / rho, claim((1 - (1 - rho**2) ** 0.5) / rho**2), 2e-3)
        assert_printed(found / rho, text)
