"""Checks of the page on denoising diffusion GANs: finite chains, where every sum is over all cases, and exact mixtures, in float64."""

import itertools
import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import entropy
from torch import Tensor

from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine, linear
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, proves
from course_lib.recipes.adversarial import duel
from course_lib.sampling.implicit import implicit

SCHEDULES = (cosine(4), cosine(8), linear(100))
PAIRS = {4: ((4, 3), (2, 1), (3, 1)), 8: ((8, 5), (3, 2), (6, 1)), 100: ((60, 20), (90, 89), (100, 1))}


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cases():  # type: ignore[no-untyped-def]
    """Schedules with pairs of times s < t, as alpha-bars and tensors."""
    for schedule in SCHEDULES:
        for t, s in PAIRS[schedule.T]:
            yield schedule, torch.tensor(t), torch.tensor(s)


def mixture() -> Mixture:
    """Four unequal bumps in three dimensions."""
    means = normal(4, 3, seed=3)
    roots = 0.4 * normal(4, 3, 3, seed=4)
    return Mixture(torch.tensor([0.4, 0.3, 0.2, 0.1]).double(), means, roots @ roots.mT + 0.02 * torch.eye(3).double())


def gaussian(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log N(x; mean, variance I) over the last axis."""
    return -((x - mean).square().sum(-1) / variance + x.shape[-1] * torch.log(2 * math.pi * variance)) / 2


@proves("eq-ddgan-true-step")
def true_step() -> None:
    """For a data set of seven points: Bayes' rule for x_s among the densities at both times, against the mixture of posteriors."""
    data, first, second = normal(7, 3), normal(3, seed=1), normal(3, seed=2)
    for schedule, t, s in cases():
        process = GaussianDiffusion(schedule)
        x_s = process.diffuse(data[2], s, first)  # where the densities are not too small to be divided
        x_t = process.advance(x_s, s, t, second)
        ratio, variance = process.transition(s, t)
        at = lambda x, time: gaussian(x, schedule.signal(time) * data, schedule.noise(time) ** 2)  # noqa: B023, E731
        marginal = {time: at(x, time).logsumexp(0) - math.log(7) for x, time in ((x_s, s), (x_t, t))}
        bayes = gaussian(x_t, ratio * x_s, variance) + marginal[s] - marginal[t]
        given = at(x_t, t).softmax(0)  # q(x_0 | x_t)
        steps = []
        for point in data:
            mean, spread = process.posterior(point[None], x_t[None], t, s)
            steps.append(gaussian(x_s, mean[0], spread).exp())
        density = claim(given * torch.stack(steps)).sum()
        assert_close(density / bayes.exp(), 1.0, 1e-8)


@proves("eq-ddgan-gain")
def gain() -> None:
    """The step's mean weight and variance from the library, for several schedules and pairs of times."""
    for schedule, t, s in cases():
        w, _, tilde = GaussianDiffusion(schedule).posterior_weights(t, s)
        now, before = schedule.at(t), schedule.at(s)
        beta = 1 - now / before
        assert_close(w**2 / tilde, claim(before * beta / ((1 - before) * (1 - now))), 1e-8)
        R_s, R_t = (schedule.at(time) / (1 - schedule.at(time)) for time in (s, t))
        assert_close(w**2 / tilde, claim(R_s - R_t), 1e-8)


@proves("eq-ddgan-spread")
def spread() -> None:
    """The covariance of the exact reverse step, a mixture, over the posterior's variance."""
    exact_mixture = mixture()
    for schedule, t, s in cases():
        exact, x = ExactDiffusion(exact_mixture, schedule), normal(3, seed=5)
        found = exact.reverse(x, t, s).covariance()
        tilde = GaussianDiffusion(schedule).posterior_weights(t, s)[2]
        R_s, R_t = (schedule.at(time) / (1 - schedule.at(time)) for time in (s, t))
        C, one = exact.covariance(x[None], t)[0], torch.eye(3).double()
        assert_close(found / tilde, claim(one + (R_s - R_t) * C), 1e-8)


@proves("eq-ddgan-two")
def two_points() -> None:
    """Data at +c and -c in three dimensions: weights and centres of the exact reverse step."""
    c, x = normal(3), normal(3, seed=1)
    for schedule, t, s in cases():
        _, _, tilde = GaussianDiffusion(schedule).posterior_weights(t, s)
        a, b = schedule.signal(t), schedule.noise(t)
        logs = torch.stack([gaussian(x, sign * a * c, b**2) for sign in (1, -1)])
        page = claim(torch.sigmoid(2 * a * (x * c).sum() / b**2), "eq-ddgan-two")
        assert_close(logs.softmax(0)[0], page, 1e-9)
        process = GaussianDiffusion(schedule)
        up, down = (process.posterior((sign * c)[None], x[None], t, s)[0][0] for sign in (1, -1))
        R_s, R_t = (schedule.at(time) / (1 - schedule.at(time)) for time in (s, t))
        apart = claim(2 * c.norm() * (R_s - R_t).sqrt(), "eq-ddgan-two")
        assert_close((up - down).norm() / tilde.sqrt(), apart, 1e-8)


@defines("eq-ddgan-model", "eq-ddgan-loss")
def definitions() -> None:
    """The library's denoiser is G at a fresh z; its losses are those of pairs, with the posterior at G for the generated ones."""
    network = lambda x, t, z: x * z.sum(1, keepdim=True) + t[:, None] ** 2  # noqa: E731
    x, g = normal(5, 3), torch.Generator().manual_seed(3)
    z = torch.randn((5, 2), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert_close(implicit(network, 2, g)(x, torch.tensor(2)), claim(x * (z[:, :1] + z[:, 1:]) + 2**2, "eq-ddgan-model"))

    class Judge(torch.nn.Module):
        def forward(self, pair: Tensor, t: Tensor) -> Tensor:
            self.last = getattr(self, "last", [])
            self.last.append(pair.sum(1))
            return pair.sum(1, keepdim=True)

    judge = Judge()
    body = torch.nn.Linear(3, 3).double()
    fool, opponent = duel(lambda x, t, z: body(x), judge, 0, GaussianDiffusion(cosine(4)), 0.1, 1e-3, 0.0)  # type: ignore[arg-type]
    found = opponent.loss(judge, (normal(6, 3),), torch.Generator().manual_seed(0))
    D = [torch.sigmoid(logits) for logits in judge.last]
    assert_close(found.detach(), claim(-D[0].log() - (1 - D[1]).log(), "eq-ddgan-loss").mean().detach(), 1e-6)
    del fool


def chain(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random table of x_0 (4 values), and the conditional tables of x_s (5) given x_0 and of x_t (6) given x_s."""
    random = np.random.default_rng(seed)
    start, first, second = (random.uniform(0.1, 1, shape) for shape in ((4,), (4, 5), (5, 6)))
    return start / start.sum(), first / first.sum(1, keepdims=True), second / second.sum(1, keepdims=True)


@proves("eq-ddgan-pairs")
def pairs() -> None:
    """The mean of a random function of (x_s, x_t) on a finite chain, once through the reverse conditional and once forwards."""
    for seed in range(3):
        start, first, second = chain(seed)
        f = np.random.default_rng(seed + 9).normal(size=(5, 6))
        x_s = start @ first
        x_t = x_s @ second
        reverse = (x_s[:, None] * second) / x_t  # q(x_s | x_t)
        left = (x_t * (reverse * f).sum(0)).sum()
        assert_close(left, claim(np.einsum("i,ij,jk,jk->", start, first, second, f)), 1e-12)
        by_hand = sum(
            start[i] * first[i, j] * second[j, k] * f[j, k]
            for i, j, k in itertools.product(range(4), range(5), range(6))
        )
        assert_close(left, claim(by_hand))


@proves("eq-ddgan-optimal", "eq-ddgan-divergence")
def optimal() -> None:
    """On a finite chain with a random model of the reverse step: each answer by a search, the divergences by scipy."""
    start, first, second = chain()
    x_s = start @ first
    x_t = x_s @ second
    q = (x_s[:, None] * second) / x_t  # (5, 6)
    p = np.random.default_rng(7).uniform(0.1, 1, (5, 6))
    p = p / p.sum(0)
    D = np.zeros((5, 6))
    for j, k in itertools.product(range(5), range(6)):
        lost = lambda d, j=j, k=k: -q[j, k] * math.log(d) - p[j, k] * math.log(1 - d)  # noqa: E731
        D[j, k] = minimize_scalar(lost, bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-13})["x"]
    assert_close(D, claim(q / (q + p), "eq-ddgan-optimal"), 1e-6)
    loss = -(x_t * (q * np.log(D) + p * np.log(1 - D)).sum(0)).sum()
    JS = np.array([(entropy(q[:, k], (q + p)[:, k] / 2) + entropy(p[:, k], (q + p)[:, k] / 2)) / 2 for k in range(6)])
    assert_close(loss, claim(math.log(4) - 2 * (x_t * JS).sum(), "eq-ddgan-divergence"), 1e-9)


@proves("eq-ddgan-exact")
def exact_chain() -> None:
    """Correlated Gaussian data in three dimensions: draw x_0 exactly, then the posterior; all in the data's eigenbasis."""
    root = normal(3, 3, seed=6)
    spectrum = torch.linalg.eigvalsh(root @ root.T)
    for schedule, t, s in cases():
        a_t, b_t = schedule.signal(t), schedule.noise(t)
        w, v, tilde = GaussianDiffusion(schedule).posterior_weights(t, s)
        now = torch.linalg.eigvalsh(a_t**2 * root @ root.T + b_t**2 * torch.eye(3).double())
        K = a_t * spectrum / now  # E[x_0 | x_t] = K x_t
        rest = spectrum - a_t * K * spectrum  # Cov[x_0 | x_t]
        after = claim((w * K + v) ** 2 * now + w**2 * rest + tilde)
        alpha_bar = schedule.at(s)
        assert_close(after, claim(alpha_bar * spectrum + 1 - alpha_bar), 1e-9)


@answers("ex-ddgan-gain")
def gain_exercise() -> None:
    """The gain of the steps as the library's squared weight over its variance, against the difference of the ratios."""
    four, thousand = cosine(4), cosine(1000)
    for schedule, t, text in ((four, 4, "0.17"), (four, 3, "0.81"), (four, 2, "4.56"), (thousand, 501, "0.0061")):
        w, _, tilde = GaussianDiffusion(schedule).posterior_weights(torch.tensor(t), torch.tensor(t - 1))
        found, (now, before) = float(w**2 / tilde), (float(schedule.at(time)) for time in (t, t - 1))
        assert_close(found, claim(before / (1 - before) - now / (1 - now)), 1e-8)
        assert_printed(found, text)


@answers("ex-ddgan-collapse")
def collapse_exercise() -> None:
    """The Jensen-Shannon divergence of one of two equal points from both, by scipy."""
    q, p = np.array([0.5, 0.5]), np.array([1.0, 0.0])
    found = (entropy(q, (q + p) / 2) + entropy(p, (q + p) / 2)) / 2
    first = claim(1 / 2 * math.log((1 / 2) / (3 / 4)) + 1 / 2 * math.log((1 / 2) / (1 / 4)))
    assert_close(found, claim(1 / 2 * (first + math.log(1 / (3 / 4)))))
    assert_printed(float(found), "0.216")
