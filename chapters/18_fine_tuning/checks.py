"""Checks of chapter 18's equations: small matrices and Gaussians in float64, gradients by torch, least squares, cubature, simulations."""

import functools
import itertools
import math

import torch
from scipy.integrate import quad
from torch import Tensor, nn

from course_lib.diffusion.corrections import Gaussian, adapted, best_affine, best_correction, excess
from course_lib.diffusion.exact import ExactDiffusion, Mixture
from course_lib.diffusion.gaussian import GaussianDiffusion
from course_lib.diffusion.schedules import cosine
from course_lib.nets.blocks import ResidualBlock
from course_lib.nets.lora import LoRA
from course_lib.nets.unet import UNet
from course_lib.nets.words import add_words
from course_lib.pages.proofs import answers, assert_close, assert_printed, claim, defines, equivalent, proves
from course_lib.sampling.steps import ddim

D = 4
SCHEDULE = cosine(50)
T = torch.tensor(23)


def rows(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(t: Tensor = T) -> tuple[float, float]:
    """Signal and noise at a time of the schedule."""
    return float(SCHEDULE.signal(t)), float(SCHEDULE.noise(t))


@functools.cache
def old_and_new() -> tuple[Gaussian, Gaussian]:
    """Two Gaussians whose covariances share no axes."""
    one, other = rows(D, D, seed=1), rows(D, D, seed=2)
    return Gaussian(rows(D, seed=3), one @ one.T / D + 0.2 * torch.eye(D)), Gaussian(
        rows(D, seed=4), other @ other.T / D + 0.1 * torch.eye(D)
    )


def oracle(*data: Gaussian, weights: tuple[float, ...] = (1.0,)) -> ExactDiffusion:
    """The library's oracle of one Gaussian, or of a mixture of some."""
    means, covariances = (torch.stack(part).double() for part in zip(*data, strict=True))
    return ExactDiffusion(Mixture(torch.tensor(weights, dtype=torch.float64), means, covariances), SCHEDULE)


def matrix_and_offset(data: Gaussian) -> tuple[Tensor, Tensor]:
    """Those of the best denoiser of a Gaussian at T, read off the oracle by its derivative."""
    exact = oracle(data)
    at = lambda x: exact.denoise(x[None], T)[0]  # noqa: E731
    matrix = torch.autograd.functional.jacobian(at, torch.zeros(D, dtype=torch.float64))
    return matrix, at(torch.zeros(D, dtype=torch.float64)).detach()  # type: ignore[return-value]


def cubature(data: Gaussian) -> tuple[Tensor, Tensor]:
    """Points of x_0 and of x_t at T, with equal weights, over which the mean of every quadratic function is exact."""
    a, b = levels()
    root, n = torch.linalg.cholesky(data.covariance), 2 * D
    points = math.sqrt(n) * torch.cat([torch.eye(n), -torch.eye(n)]).double()  # (4 D, 2 D)
    x0 = data.mean + points[:, :D] @ root.T
    return x0, a * x0 + b * points[:, D:]


def error(matrix: Tensor, offset: Tensor, data: Gaussian) -> float:
    """The mean squared error of x_t -> matrix x_t + offset at T, summed over coordinates, by cubature."""
    x0, x_t = cubature(data)
    return float((x_t @ matrix.T + offset - x0).square().sum(1).mean())


@defines("eq-tune-prior-loss", "eq-tune-control")
def names() -> None:
    """These introduce the loss with prior preservation, and the controlled network."""


@proves("eq-tune-lora")
def adapter() -> None:
    """The matrix that the library's adapter applies, read off its answers to the unit vectors."""
    layer = LoRA(nn.Linear(5, 4, bias=False).double(), 2, alpha=6.0)
    layer.lora_B.weight.data = rows(4, 2)
    W, A, B = (part.detach() for part in (layer.weight, layer.lora_A.weight, layer.lora_B.weight))
    alpha, r = 6.0, 2
    applied = layer(torch.eye(5, dtype=torch.float64)).detach().T
    assert_close(claim(W + alpha / r * (B @ A)), applied)


# --- low rank ---------------------------------------------------------------------------------------------------------


@proves("eq-tune-count")
def count() -> None:
    """The dimension of the products B A is the rank of their derivative in A and B, at a random point."""
    for m, n, r in ((4, 6, 1), (4, 6, 2), (5, 3, 2), (6, 6, 3)):
        product = lambda b, a: b @ a  # noqa: E731
        parts = torch.autograd.functional.jacobian(product, (rows(m, r, seed=1), rows(r, n, seed=2)))
        derivative = torch.cat([part.reshape(m * n, -1) for part in parts], 1)
        assert_close(claim(r * (m + n - r)), float(torch.linalg.matrix_rank(derivative)))


def slope(m: int = 4, n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and a starting matrix of a least-squares problem."""
    return rows(7, n, seed=5), rows(7, m, seed=6), rows(m, n, seed=7)


@proves("eq-tune-gradients")
def gradients() -> None:
    """By torch, for a loss that is not quadratic; G is the gradient of the whole matrix."""
    x, y, W = slope()
    s, B, A = 1.7, rows(4, 2, seed=8).requires_grad_(), rows(2, 5, seed=9).requires_grad_()
    loss = lambda M: (x @ M.T - y).abs().pow(3).mean()  # noqa: E731
    whole = (W + s * B @ A).detach().requires_grad_()
    (G,) = torch.autograd.grad(loss(whole), whole)
    of_b, of_a = torch.autograd.grad(loss(W + s * B @ A), (B, A))
    A, B = A.detach(), B.detach()
    assert_close(claim(s * (G @ A.T), "eq-tune-gradients"), of_b)
    assert_close(claim(s * (B.T @ G), "eq-tune-gradients"), of_a)


@proves("eq-tune-first")
def first_step() -> None:
    """One step of torch's SGD on the library's adapter."""
    x, y, W = slope()
    eta = 0.03
    layer = LoRA(nn.Linear(5, 4, bias=False).double(), 2, alpha=3.0)
    layer.layer.weight.data = W
    A, s = layer.lora_A.weight.detach().clone(), layer.scale
    whole = W.clone().requires_grad_()
    (G,) = torch.autograd.grad((x @ whole.T - y).square().mean(), whole)
    optimiser = torch.optim.SGD([layer.lora_A.weight, layer.lora_B.weight], lr=eta)
    (layer(x) - y).square().mean().backward()
    optimiser.step()
    assert_close(layer.lora_A.weight.detach(), A)
    assert_close(claim(-eta * s**2 * G @ A.T @ A), layer.update().detach())


@proves("eq-tune-mean-first")
def mean_first_step() -> None:
    """The mean over all signs of a matrix A whose entries are plus or minus sigma."""
    eta, s, sigma, r, n = 0.03, 1.7, 0.6, 2, 3
    G, total = rows(4, n, seed=1), torch.zeros(4, n, dtype=torch.float64)
    for signs in itertools.product((-sigma, sigma), repeat=r * n):
        A = torch.tensor(signs, dtype=torch.float64).view(r, n)
        total += -eta * s**2 * (G @ A.T @ A) / 2 ** (r * n)
    assert_close(claim(-eta * s**2 * r * sigma**2 * G), total)


@equivalent("-eta * s * r * sigma * length * math.sqrt(2 / math.pi) / sign", because="the sign is 1 or -1")
@proves("eq-tune-adam")
def first_step_of_adam() -> None:
    """One step of torch's Adam for a single example, its mean over normal A by quadrature along the example's direction."""
    eta, s, sigma, r = 0.02, 0.7, 0.6, 3
    x, g = rows(5, seed=1), rows(4, seed=2)
    length = float(x.norm())

    def change(A: Tensor) -> Tensor:
        """What the step adds to the answer to x."""
        B = torch.zeros(4, len(A), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([B], lr=eta, eps=1e-30)
        (g @ (s * B @ (A @ x))).backward()
        optimiser.step()
        return (s * B @ (A @ x)).detach()

    along = x / length  # only the part of A's rows along x counts: normal, with the deviation sigma

    def mean(row: int) -> float:
        """The mean change of one number of the answer where A has one row."""
        density = lambda z: math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)  # noqa: E731
        value = lambda z: float(change(sigma * z * along[None])[row]) * density(z)  # noqa: E731
        return quad(value, -9, 0, epsabs=1e-8, limit=20)[0] + quad(value, 0, 9, epsabs=1e-8, limit=20)[0]

    two = torch.stack([0.3 * along, -1.1 * along])
    assert_close(change(two), change(two[:1]) + change(two[1:]))  # rows add up
    sign = math.copysign(1, float(g[1]))
    assert_close(r * mean(1), claim(-eta * s * r * sigma * length * math.sqrt(2 / math.pi) * sign), 1e-5)


# --- Gaussians ----------------------------------------------------------------------------------------------------------


@equivalent("mu + (x - a * mu) @ (a * Sigma @ S_inverse)", because="Sigma and S commute, so their product is symmetric")
@equivalent("mu + S_inverse @ (a * Sigma) @ (x - a * mu)", because="Sigma and S commute")
@proves("eq-tune-denoiser")
def denoiser_of_a_gaussian() -> None:
    """Against the least-squares fit of x_0 on x_t over cubature points, which knows nothing of Bayes' rule; the library agrees."""
    (data, _), (a, b) = old_and_new(), levels()
    mu, Sigma, eye = data.mean, data.covariance, torch.eye(D, dtype=torch.float64)
    x0, x_t = cubature(data)
    fit = torch.linalg.lstsq(torch.cat([x_t, torch.ones(len(x_t), 1, dtype=torch.float64)], 1), x0).solution
    x = rows(D, seed=9)
    expected = x @ fit[:D] + fit[D]
    S_inverse = torch.linalg.inv(a**2 * Sigma + b**2 * eye)
    assert_close(claim(mu + a * Sigma @ S_inverse @ (x - a * mu)), expected, 1e-10)
    best = best_affine(data, a, b)
    assert_close(best.matrix @ x + best.offset, expected, 1e-10)


@proves("eq-tune-difference")
def difference() -> None:
    """Against the derivatives of the oracle's two denoisers."""
    (old, new), (a, b) = old_and_new(), levels()
    Sigma, Sigma_new, eye = old.covariance, new.covariance, torch.eye(D, dtype=torch.float64)
    S, S_new = a**2 * Sigma + b**2 * eye, a**2 * Sigma_new + b**2 * eye
    wanted = matrix_and_offset(new)[0] - matrix_and_offset(old)[0]
    found = claim(a * b**2 * S.inverse() @ (Sigma_new - Sigma) @ S_new.inverse())
    assert_close(found, wanted, 1e-10)


@proves("eq-tune-excess")
def excess_of_any() -> None:
    """A random affine denoiser's error against the best one's, both by cubature; the library's closed form too."""
    (_, new), (a, b) = old_and_new(), levels()
    best = matrix_and_offset(new)
    matrix, offset = rows(D, D, seed=5), rows(D, seed=6)
    least = error(*best, new)
    _, x_t = cubature(new)
    gap = x_t @ (matrix - best[0]).T + offset - best[1]
    assert_close(error(matrix, offset, new), claim(least + gap.square().sum(1).mean()), 1e-10)
    assert_close(
        excess(best_affine(old_and_new()[0], a, b), new, a, b),
        error(*matrix_and_offset(old_and_new()[0]), new) - least,
        1e-9,
    )


def alternating(wanted: Tensor, C: Tensor, rank: int) -> Tensor:
    """The best correction of a rank by alternating least squares from a random start, with no singular values in it."""
    A = rows(rank, len(C), seed=11)
    for _ in range(400):
        B = wanted @ C @ A.T @ torch.linalg.inv(A @ C @ A.T)
        A = torch.linalg.inv(B.T @ B) @ B.T @ wanted
    return B @ A


@proves("eq-tune-eckart", "eq-tune-best")
def weighted_low_rank() -> None:
    """The least error, and the matrix that has it, against alternating least squares; the library's correction too."""
    (old, new), (a, b) = old_and_new(), levels()
    wanted = matrix_and_offset(new)[0] - matrix_and_offset(old)[0]
    C = new.noisy(a, b).covariance
    values, axes = torch.linalg.eigh(C)
    root, inverse = (axes * values.sqrt()) @ axes.T, (axes / values.sqrt()) @ axes.T
    u, s, v = torch.linalg.svd(wanted @ root)
    for r in (1, 2, 3):
        M = alternating(wanted, C, r)
        left = wanted - M
        least = float(torch.einsum("ij,jk,ik->", left, C, left))
        assert_close(claim(sum(s[k] ** 2 for k in range(r, D)), "eq-tune-eckart"), least, 1e-9)
        cut = torch.cat([s[:r], torch.zeros(D - r).double()])
        assert_close(claim(u @ torch.diag(cut) @ v @ inverse, "eq-tune-best"), M, 1e-6)
        assert_close(best_correction(wanted, C, r), M, 1e-6)


@equivalent(
    "torch.trace(Delta.T @ (Delta @ S)) + (a * Delta @ old.mean + delta).square().sum()",
    because="the trace of a product does not change when its factors go round",
)
@proves("eq-tune-forgetting")
def forgetting() -> None:
    """What a denoiser that differs from the old data's best by any matrix and offset loses on them: errors by cubature."""
    (old, _), (a, b) = old_and_new(), levels()
    W, c = matrix_and_offset(old)
    S = a**2 * old.covariance + b**2 * torch.eye(D, dtype=torch.float64)
    Delta, delta = rows(D, D, seed=12), rows(D, seed=13)
    lost = error(W + Delta, c + delta, old) - error(W, c, old)
    found = claim(torch.trace(Delta @ S @ Delta.T) + (a * Delta @ old.mean + delta).square().sum())
    assert_close(found, lost, 1e-9)


@proves("eq-tune-prior")
def prior_preservation() -> None:
    """The minimiser at each x of the two losses together, by a search, against the mixture's posterior mean."""
    old, new = old_and_new()
    share = 0.3
    x = rows(6, D, seed=8)
    exact = [oracle(data) for data in (old, new)]
    q, q_new = (one.log_prob(x, T).exp() for one in exact)
    D_old, D_new = (one.denoise(x, T) for one in exact)
    guess = torch.zeros_like(x, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [guess], lr=1, max_iter=500, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        old_part = (1 - share) * q * (guess - D_old).square().sum(1)
        total = ((share * q_new * (guess - D_new).square().sum(1) + old_part) / (q + q_new)).sum()
        total.backward()
        return total

    optimiser.step(loss)
    for k in range(len(x)):
        weight, weight_old = share * q_new[k], (1 - share) * q[k]
        found = claim((weight * D_new[k] + weight_old * D_old[k]) / (weight + weight_old))
        assert_close(found, guess[k].detach(), 1e-5)
        assert_close(found, oracle(new, old, weights=(share, 1 - share)).denoise(x[k][None], T)[0], 1e-10)


# --- one vector, and zeros ----------------------------------------------------------------------------------------------


@proves("eq-tune-vector")
def one_vector() -> None:
    """The derivative of a block's scales and shifts in a new class's row, by torch through a small network."""
    torch.manual_seed(0)
    network = UNet(width=8, multipliers=(1,), attention=(), classes=3).double()
    table, block = add_words(network), network.middle.residual
    assert isinstance(block, ResidualBlock)
    t, told = torch.tensor([0.7], dtype=torch.float64), torch.tensor([3])
    with torch.no_grad():
        table.rows.copy_(rows(*table.rows.shape, seed=3))

    def modulated(row: Tensor) -> Tensor:
        condition = torch.func.functional_call(network.condition, {"label.rows": row[None]}, (t, told))
        return block.modulation(torch.nn.functional.silu(condition))[0]

    derivative = torch.autograd.functional.jacobian(modulated, table.rows[0].detach())
    h = network.condition(t, told)[0].detach()
    sigma = torch.sigmoid(h)
    V = block.modulation.weight.detach()
    assert_close(claim(V @ torch.diag(sigma * (1 + h * (1 - sigma)))), derivative, 1e-6)


@proves("eq-tune-zero")
def zero_convolution() -> None:
    """The first step of torch's SGD for a small network behind a zero layer; nothing but that layer has a gradient."""
    x, y, _ = slope()
    eta, n = 0.05, len(x)
    inner, zero = rows(3, 5, seed=1).requires_grad_(), torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    h = torch.tanh(x @ inner.T)
    h.retain_grad()
    out = x @ rows(4, 5, seed=2).T + h @ zero.T
    g = torch.autograd.grad((out - y).abs().pow(3).sum(), out, retain_graph=True)[0]  # of each example's own loss
    optimiser = torch.optim.SGD([zero, inner], lr=eta)
    before = inner.detach().clone()
    ((out - y).abs().pow(3).sum() / n).backward()
    optimiser.step()
    assert h.grad is not None
    assert_close(h.grad, 0.0)
    assert_close(inner.detach(), before)
    h = h.detach()
    assert_close(claim(-eta / n * (g.T @ h)), zero.detach())


@proves("eq-tune-awake")
def awake() -> None:
    """After one step of SGD the gradient passes: by torch, for a squared error."""
    eta, h, g = 0.04, rows(3, seed=1), rows(4, seed=2)
    target = rows(4, seed=3) - g  # so that the first gradient is g
    start = target + g
    zero, inner = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True), h.clone().requires_grad_()
    optimiser = torch.optim.SGD([zero], lr=eta)
    ((start + zero @ h - target).square().sum() / 2).backward()
    optimiser.step()
    (found,) = torch.autograd.grad((start + zero.detach() @ inner - target).square().sum() / 2, inner)
    h_norm, g_norm = float(h.norm()), float(g.norm())
    assert_close(claim(-eta * (1 - eta * h_norm**2) * g_norm**2 * h), found)


# --- elsewhere --------------------------------------------------------------------------------------------------------


@proves("eq-tune-first-order", "eq-tune-clipped")
def other_samplers() -> None:
    """DPM-Solver++'s first order against the library's DDIM; and the step that keeps an old noise beside a clipped x_0."""
    t, s = torch.tensor(31), torch.tensor(19)
    a_t, b_t = levels(t)
    a_s, b_s = levels(s)
    x, raw = rows(3, D, seed=1), 2 * rows(3, D, seed=2)
    process = GaussianDiffusion(SCHEDULE)
    x0 = raw.clamp(-1, 1)
    step = ddim(lambda x, t: x0, process)(x, t, s)
    h = math.log(a_s / b_s) - math.log(a_t / b_t)
    assert_close(claim(b_s / b_t * x - a_s * (math.exp(-h) - 1) * x0, "eq-tune-first-order"), step, 1e-9)
    kept = a_s * x0 + b_s * (x - a_t * raw) / b_t
    assert_close(kept - step, claim(b_s * a_t / b_t * (x0 - raw), "eq-tune-clipped"), 1e-9)


# --- exercises --------------------------------------------------------------------------------------------------------


@answers("ex-tune-count")
def numbers_of_a_layer() -> None:
    """A 64 x 64 layer at rank 4."""
    n, r = 64, 4
    adapter = LoRA(nn.Linear(n, n, bias=False), r)
    held = sum(p.numel() for p in (adapter.lora_A.weight, adapter.lora_B.weight))
    assert_close(claim(2 * r * n), held)
    assert_printed(held / n**2, "0.125")
    assert_printed((2 * r * n - r**2) / n**2, "0.121")


@answers("ex-tune-mean")
def a_change_of_mean() -> None:
    """Two Gaussians of one covariance: no matrix, and an offset."""
    (old, _), (a, b) = old_and_new(), levels()
    moved = Gaussian(old.mean + 1, old.covariance)
    before, after = best_affine(old, a, b), best_affine(moved, a, b)
    assert_close(before.matrix, after.matrix)
    one = Gaussian(torch.zeros(1).double(), torch.ones(1, 1).double())
    two = Gaussian(torch.full((1,), 2.0).double(), torch.ones(1, 1).double())
    shift = float(best_affine(two, 0.6, 0.8).offset - best_affine(one, 0.6, 0.8).offset)
    assert_close(shift, claim(2 * (1 - 0.6**2)))
    assert_printed(shift, "1.28")
    assert_printed(float(best_affine(one, 0.6, 0.8).matrix[0, 0]), "0.6")
    assert_printed(0.6**2, "0.36")
    assert_printed(0.8**2, "0.64")


@answers("ex-tune-rank-one")
def a_line() -> None:
    """Without a bias, a change of mean in one dimension is a matrix of rank one, and not a perfect one."""
    a, b = 0.6, 0.8
    one = Gaussian(torch.zeros(1).double(), torch.ones(1, 1).double())
    two = Gaussian(torch.full((1,), 2.0).double(), torch.ones(1, 1).double())
    found = adapted(one, two, a, b, 1, bias=False)
    none = excess(best_affine(one, a, b), two, a, b)
    assert_printed(float(found.matrix[0, 0]), "1.23")
    assert_printed(float(none), "1.64")
    second = a**2 * 4 + 1
    assert_printed(second, "2.44")
    assert_printed(2 * a, "1.2")
    assert_printed(2 * (1 - a**2), "1.28")
    gain = 2 * (1 - a**2) * 2 * a / second
    assert_close(claim(a + gain), float(found.matrix[0, 0]))
    assert_printed(gain, "0.63")
    assert_printed(float(excess(found, two, a, b)), "0.67")


@answers("ex-tune-scale")
def other_ranks() -> None:
    """How much smaller the first step is at rank 64 than at rank 4, by plain gradient steps, with both scales."""
    factor = {}
    for power in (1, 0.5):
        steps = {r: (8 / r**power) ** 2 * r for r in (4, 64)}
        factor[power] = steps[64] / steps[4]
    assert_close(claim(4 / 64), factor[1])
    assert_printed(1 / factor[1], "16")
    assert_close(factor[0.5], 1.0)
