"""Public checks of assignment 4: run them as often as you like. The hidden tests look deeper, with fresh numbers."""

import math

import sympy as sp
import torch

from course_lib.pages.checking import check

WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([[-1.5, 0.0], [1.0, 0.5]], dtype=torch.float64)
VARIANCES = torch.tensor([0.2, 0.4], dtype=torch.float64)


def ok(message):
    """Say that a check passed."""
    print(f"ok: {message}")


def near(got, right, message, tolerance=1e-6):
    """Stop with a message unless numbers or tensors agree."""
    got, right = (torch.as_tensor(value, dtype=torch.float64) for value in (got, right))
    assert got.shape == right.shape, f"{message} (the shape should be {tuple(right.shape)}; it is {tuple(got.shape)})"
    assert torch.allclose(got, right, rtol=tolerance, atol=tolerance), (
        f"{message} (off by up to {(got - right).abs().max():.3g})"
    )


def shaped(value, shape, name):
    """A value as a tensor. Stop unless it is one, or an array or a list of numbers, of a shape."""
    try:
        value = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AssertionError(f"{name} should return a tensor; got {type(value).__name__}") from error
    assert tuple(value.shape) == shape, f"{name} should return shape {shape}; got {tuple(value.shape)}"
    return value


def asked(name, function, *args):
    """What a function gives. Stop where it changes a tensor that it was given."""
    before = [arg.clone() if isinstance(arg, torch.Tensor) else arg for arg in args]
    found = function(*args)
    for old, new in zip(before, args):
        assert not isinstance(old, torch.Tensor) or torch.equal(old, new), (
            f"{name} changes a tensor that it is given: make new ones (no x += ..., no x.mul_(...))"
        )
    return found


def same(one, other, symbols):
    """Whether two expressions agree at some points: exact algebra would take a hundred times as long."""
    for point in ((0.7, 1.1, 0.3), (1.9, 0.4, 0.6), (0.2, 1.3, 0.85)):
        difference = (one - other).subs(dict(zip(symbols, point))).evalf()
        if not difference.is_number or not abs(difference) < 1e-9:
            return False
    return True


@check
def derivation(function):
    """Task 1."""
    x, x0, a = symbols = sp.symbols("x x0 a", positive=True)
    try:
        found = function(x, x0, a)
    except TypeError as error:
        raise AssertionError("it should work for SymPy symbols too: use sp.sqrt, sp.log and sp.pi") from error
    assert isinstance(found, dict), f"return a dict; got {type(found).__name__}"
    missing = [name for name in ("log_q", "score", "eps", "ratio") if name not in found]
    assert not missing, f"the dict lacks {', '.join(missing)}"
    lines = {name: sp.sympify(found[name]) for name in ("log_q", "score", "eps", "ratio")}
    assert same(sp.diff(lines["log_q"], x), lines["score"], symbols), (
        "score is not the derivative of log_q with respect to x"
    )
    assert same(lines["ratio"] * lines["score"], lines["eps"], symbols), "ratio times score should be eps"
    left = {str(symbol) for symbol in lines["ratio"].free_symbols} - {"a"}
    assert not left, f"ratio should hold alpha_bar alone; it still holds {', '.join(sorted(left))}"
    ok("score is the derivative of log_q, and ratio is eps over score; the hidden tests see whether each is right")


@check
def convert(to_score, to_eps):
    """Task 2."""
    eps, a = torch.ones(3, 1, 2, 2), torch.tensor([0.0, 0.75, 0.96])
    score = shaped(asked("eps_to_score", to_score, eps, a), (3, 1, 2, 2), "eps_to_score")
    near(asked("score_to_eps", to_eps, score, a), eps, "score_to_eps should undo eps_to_score")
    near(score[0].abs().mean(), 1.0, "at alpha_bar = 0 noise and score have the same size")
    ok("there and back again, with one factor for each row")


@check
def tweedie(function):
    """Task 3."""
    x, a = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 0.25])
    found = shaped(asked("tweedie", function, x, torch.zeros(2, 2), a), (2, 2), "tweedie")
    near(found[0], x[0], "without noise (alpha_bar = 1) the best guess of x_0 is x_t itself")
    ok("without noise there is nothing to guess")


@check
def noisy(function):
    """Task 4."""
    means, variances = asked("noisy", function, MEANS, VARIANCES, 0.25)
    shaped(means, (2, 2), "the first result of noisy")
    shaped(variances, (2,), "the second result of noisy")
    same, kept = function(MEANS, VARIANCES, 1.0)
    near(same, MEANS, "without noise (alpha_bar = 1) the means stay")
    near(kept, VARIANCES, "without noise (alpha_bar = 1) the variances stay")
    _, all_noise = function(MEANS, VARIANCES, 0.0)
    near(all_noise, torch.ones(2), "at alpha_bar = 0 only noise of variance 1 is left")
    ok("both ends are right")


@check
def mixture(log_density, score):
    """Task 5."""
    x = torch.tensor([[0.0, 0.0], [1.0, -1.0], [-2.0, 0.5]], dtype=torch.float64)
    model = (WEIGHTS, MEANS, VARIANCES)
    shaped(asked("log_density", log_density, x, *model), (3,), "log_density")
    found = shaped(asked("mixture_score", score, x, *model), (3, 2), "mixture_score")
    for axis, step in enumerate(0.01 * torch.eye(2, dtype=torch.float64)):
        above, below = (shaped(log_density(x + sign * step, *model), (3,), "log_density") for sign in (1, -1))
        slope = (above - below) / 0.02
        near(found[:, axis], slope, "mixture_score is not the gradient of your log_density", 3e-3)
    one = log_density(torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    near(one, [-math.log(2 * math.pi)], "the standard normal density in two dimensions is 1 / (2 pi) at 0")
    far = torch.as_tensor(score(torch.tensor([[300.0, 0.0]]), WEIGHTS.float(), MEANS.float(), VARIANCES.float()))
    assert torch.isfinite(far).all(), "far from all means your score is NaN or infinite: take softmax of the logarithms"
    ok("the score is the slope of the log-density, and it survives far away")


@check
def average(posterior, expected):
    """Task 6."""
    data = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    x = torch.tensor([[0.0, 0.3], [0.5, 0.5]], dtype=torch.float64)
    found = shaped(asked("posterior", posterior, x, data, 0.5), (2, 3), "posterior")
    shaped(asked("expected_score", expected, x, data, 0.5), (2, 2), "expected_score")
    near(found.sum(-1), torch.ones(2), "probabilities sum to 1")
    near(found[0, 0], found[0, 1], "a point between two equally distant data points belongs to both alike")
    ok("each row is a distribution over the data")


@check
def matching(function):
    """Task 7."""
    x0, noise = torch.zeros(4, 2, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64)
    exact = asked("matching_loss", function, lambda x: -x / 0.75, x0, noise, 0.25)
    exact = torch.as_tensor(exact)
    assert exact.numel() == 1, f"the loss is one number; got shape {tuple(exact.shape)}"
    near(exact.reshape(()), 0.0, "for data that are all 0, s(x) = -x / (1 - alpha_bar) is right, and its loss is 0")
    ok("where the data are one point, the true score has no loss")


@check
def fit(function):
    """Task 8."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(500, 2, generator=generator, dtype=torch.float64)
    found = asked("fit_score", function, lambda x: x, torch.zeros(500, 2, dtype=torch.float64), noise, 0.25)
    found = shaped(found, (2, 2), "fit_score")
    near(found, -torch.eye(2) / 0.75, "for data that are all 0, the score is -x / (1 - alpha_bar)", 1e-4)
    ok("for data at one point, the fit is exact")


def bumps(x):
    """Forty features (B, 40) of one-dimensional points (B, 1): Gaussian bumps from -4 to 4."""
    centres = torch.linspace(-4, 4, 40, dtype=torch.float64)
    return torch.exp(-((x - centres) ** 2) / 0.18)


def picture(plt, noisy, mixture_score, fit_score):
    """The true score of a noisy mixture, and the one that denoising score matching finds."""
    generator, alpha_bar = torch.Generator().manual_seed(0), 0.7
    weights, means = torch.tensor([0.4, 0.6], dtype=torch.float64), torch.tensor([[-1.5], [1.5]], dtype=torch.float64)
    variances = torch.tensor([0.1, 0.3], dtype=torch.float64)
    which = torch.multinomial(weights, 10_000, replacement=True, generator=generator)
    draw = [torch.randn(10_000, 1, generator=generator, dtype=torch.float64) for _ in range(2)]
    x0 = means[which] + variances[which, None].sqrt() * draw[0]
    found = torch.as_tensor(fit_score(bumps, x0, draw[1], alpha_bar)).double()
    grid = torch.linspace(-3.2, 3.2, 200, dtype=torch.float64)[:, None]
    _, axes = plt.subplots(figsize=(7, 3.2))
    axes.plot(grid, mixture_score(grid, weights, *noisy(means, variances, alpha_bar)), label="true score")
    axes.plot(grid[::5], (bumps(grid) @ found)[::5], "o", markersize=4, label="found from noisy samples")
    axes.set(xlabel="$x_t$", ylabel="score")
    axes.legend()
    plt.show()
