"""What the hidden tests of a01 take for the truth, how unlucky they may be, and what they say of a mistake without a name."""

import importlib.util
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from scipy import stats

from autograder.assignment.source import read_assignment
from autograder.sandbox.child import StudentError
from autograder.sandbox.limits import Limits
from autograder.testing.answers import Wrong
from autograder.testing.suite import Draw, Student, given

A01 = read_assignment("a01")


def load_suite() -> ModuleType:
    spec = importlib.util.spec_from_file_location("suite_a01", A01.suite / "test_a01.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


SUITE = load_suite()
CHECKS = given(A01.name, "checks")


class Here(Student):
    """A student whose functions are ours, without a sandbox."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        self.functions, self.child, self.instead = functions, None, {}

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.functions[name](*args, **kwargs)


# --- the truth -------------------------------------------------------------------------------------------------------------

BAR, EXTRA, ALPHA, SIGMA = 0.37, 0.52, 0.81, 0.45


def test_two_steps_are_two_inductions() -> None:
    first = SUITE.induction(1.0, 0.0, 0.7, SIGMA)["extra"]
    lines = SUITE.two_steps(0.3, 0.7, ALPHA, SIGMA, 1, 2, 3, 4)
    assert math.isclose(lines["simplified"], SUITE.induction(0.7, first, ALPHA, SIGMA)["noise_variance"])
    other = SUITE.two_steps(0.3, ALPHA, 0.7, SIGMA, 1, 2, 3, 4)
    assert lines["swapped"] == other["simplified"] and not math.isclose(lines["swapped"], lines["simplified"])
    weights = [SUITE.two_steps(0, 0.7, ALPHA, SIGMA, *row)["x2"] for row in torch.eye(4).tolist()]
    assert math.isclose(sum(weight**2 for weight in weights), lines["noise_variance"])


def test_the_limit_is_where_a_step_changes_nothing() -> None:
    end = SUITE.limit(2.0, 0.2, SIGMA, 3)["limit_variance"]
    assert math.isclose(0.8 * end + 0.2 + SIGMA**2, end)
    assert math.isclose(SUITE.limit(2.0, 0.2, SIGMA, 400)["variance"], end)


def test_the_posterior_is_bayes_rule_on_a_grid() -> None:
    lines, x0, x_t = SUITE.posterior(ALPHA, SIGMA, BAR, EXTRA), 0.8, -0.4
    x = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
    log = -((x_t - math.sqrt(ALPHA) * x) ** 2) / 2 / (1 - ALPHA + SIGMA**2)
    log -= (x - math.sqrt(BAR) * x0) ** 2 / 2 / (1 - BAR + EXTRA)
    weight = log.softmax(0)
    mean = float((weight * x).sum())
    assert math.isclose(mean, lines["mean_xt"] * x_t + lines["mean_x0"] * x0, rel_tol=1e-9)
    assert math.isclose(float((weight * (x - mean) ** 2).sum()), lines["variance"], rel_tol=1e-9)
    assert math.isclose(lines["variance"] * lines["precision"], 1)


def test_the_inverse_undoes_the_log_snr() -> None:
    assert math.isclose(SUITE.alpha_bar_of(SUITE.log_snr(BAR, EXTRA), EXTRA), BAR)


def test_jumps_compose_and_start_from_the_image() -> None:
    bar, extra = SUITE.tables(Draw(b"jumps---"), 6)
    s, u, t = torch.tensor([0, 1]), torch.tensor([2, 4]), torch.tensor([5, 6])
    (first, added), (then, more), (whole, all_of_it) = (
        SUITE.jump(a, b, bar, extra) for a, b in ((s, u), (u, t), (s, t))
    )
    torch.testing.assert_close(first * then, whole)
    torch.testing.assert_close(then * added + more, all_of_it)
    assert math.isclose(float(all_of_it[0]), 1 - float(bar[5]) + float(extra[5]))


def test_a_silent_sensor_gives_chapter_1_and_no_shrinking_adds_variances() -> None:
    assert SUITE.two_steps(1, 0.7, ALPHA, 0, 0, 0, 0, 0)["swapped"] == pytest.approx(1 - 0.7 * ALPHA)
    assert SUITE.induction(BAR, 0, ALPHA, 0)["total"] == 1
    silent = SUITE.posterior(ALPHA, 0, BAR, 0)
    assert silent["variance"] == pytest.approx((1 - ALPHA) * (1 - BAR) / (1 - ALPHA * BAR))
    assert silent["mean_x0"] == pytest.approx(math.sqrt(BAR) * (1 - ALPHA) / (1 - ALPHA * BAR))
    assert SUITE.induction(1.0, EXTRA, 1.0, SIGMA)["noise_variance"] == pytest.approx(EXTRA + SIGMA**2)


def test_no_asked_line_is_a_line_of_chapter_1() -> None:
    """What the chapter prints, put into each box, is refused."""
    draw = Draw(b"chapter1")
    printed = {
        "two_steps": lambda x, a, b, s, e, z, f, y: {
            "x2": (b * a) ** 0.5 * x + (b * (1 - a)) ** 0.5 * e + (1 - b) ** 0.5 * f,
            **dict.fromkeys(("noise_variance", "simplified", "swapped"), 1 - a * b),
        },
        "induction": lambda bar, c, a, s: {"noise_variance": 1 - a * bar, "extra": 0.0, "total": 1.0},
        "limit": lambda x, b, s, t: {
            "mean": (1 - b) ** (t / 2) * x,
            "variance": 1 - (1 - b) ** t,
            "limit_mean": 0,
            "limit_variance": 1,
        },
        "posterior": lambda a, s, bar, c: SUITE.posterior(a, 0.0, bar, 0.0),
        "snr": lambda bar, c: bar / (1 - bar),
        "log_snr": lambda bar, c: math.log(bar / (1 - bar)),
        "alpha_bar_of": lambda value, c: 1 / (1 + math.exp(-value)),
        "q_sample": lambda x, s, t, bar, c, noise: SUITE.q_sample(x, s, t, bar, 0 * c, noise),
    }
    student, paid = Here(**printed), []
    for name, test in vars(SUITE).items():
        if hasattr(test, "points") and test.points[0] not in ("one_step", "walk"):
            try:
                test(student=student, draw=draw)
                paid.append(name)
            except Wrong:
                pass
    assert paid == []


# --- luck ------------------------------------------------------------------------------------------------------------------


def test_a_right_walk_is_unlucky_as_rarely_as_it_says() -> None:
    freedom = SUITE.GROUPS * (SUITE.WALKERS - 1)
    low, high = (bound * freedom for bound in SUITE.VARIANCE_BOUNDS)
    luck = 2 * stats.norm.sf(SUITE.MEAN_BOUND) + stats.chi2.cdf(low, freedom) + stats.chi2.sf(high, freedom)
    assert luck <= SUITE.test_walk.power[1]
    tenth = stats.norm.cdf(0.1) - stats.norm.cdf(-0.1), stats.chi2.cdf(1.1, 1) - stats.chi2.cdf(0.9, 1)
    assert sum(chance**SUITE.PAIRS for chance in tenth) < 1e-30
    assert math.exp(-SUITE.BIASED) <= SUITE.test_walk_variance_is_unbiased.power[1] * (1 + 1e-9)
    # The evidence has mean 1 as a ratio: of an unbiased variance, over all that it may be.
    y = torch.linspace(1e-9, 80, 2_000_001, dtype=torch.float64)
    density = torch.from_numpy(stats.chi2.pdf(y.numpy() ** 2, 1)) * 2 * y  # of the root of it, which has no pole
    assert math.isclose(float(torch.trapezoid(density * torch.exp(math.log(2) / 2 - y**2 / 2), y)), 1, rel_tol=1e-4)


def test_the_suite_is_unlucky_once_in_ten_thousand_at_most() -> None:
    powers = [test.power for test in vars(SUITE).values() if hasattr(test, "points")]
    assert sum(luck for _, luck in powers) <= 1e-5


# --- what is said ----------------------------------------------------------------------------------------------------------


def said(test: Callable[..., None], seed: bytes, **functions: Callable[..., Any]) -> str:
    with pytest.raises(Wrong) as caught:
        test(student=Here(**functions), draw=Draw(seed))
    return str(caught.value)


def test_a_mistake_without_a_name_is_shown_by_one_example_that_is_the_same_for_all() -> None:
    def wrong(bar: float, c: float, a: float, s: float) -> dict[str, float]:
        return {**SUITE.induction(bar, c, a, s), "extra": math.sin(a * c) + s}

    message = said(SUITE.test_induction_extra, b"one-seed", induction=wrong)
    assert message == said(SUITE.test_induction_extra, b"another-", induction=wrong)
    assert "for example induction(0.5, 0.2, 0.8, 0.3)['extra'] should be 0.25, and yours gives 0.4593" in message


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda bar, c, a, s: 0.7 * c + s**2, "does not change with alpha, and it should"),
        (lambda bar, c, a, s: a * c + s**2 + bar / 9, "changes with alpha_bar_prev, and it should not"),
        (lambda bar, c, a, s: (a * c + s**2) / 3, "always 0.3333 times what it should be"),
        (lambda bar, c, a, s: -(a * c + s**2), "the sign is wrong"),
        (lambda bar, c, a, s: a * c + s**2 + 0.5, "always off by 0.5"),
        (lambda bar, c, a, s: (a * c + s**2) ** 2, "the square of what is asked"),
        (lambda bar, c, a, s: 1 / (a * c + s**2), "one over what is asked"),
    ],
)
def test_the_kind_of_a_mistake_is_found_without_a_list(wrong: Callable[..., float], kind: str) -> None:
    def lines(*args: float) -> dict[str, float]:
        return {**SUITE.induction(*args), "extra": wrong(*args)}

    assert kind in said(SUITE.test_induction_extra, b"one-seed", induction=lines)


def test_a_walk_may_be_given_in_many_shapes() -> None:
    for pair in ((1, 2.0), [1.0, 2.0], torch.tensor([1.0, 2.0]), torch.tensor([[1.0], [2.0]]).numpy()):
        student = Here(walk=lambda *_, pair=pair: list(pair) if isinstance(pair, tuple) else pair)
        assert SUITE.walked(student, 0.0, torch.ones(1), 1.0, 2, 0) == (1.0, 2.0)


def test_a_function_that_never_ends_is_waited_for_once() -> None:
    calls = []

    def endless(*args: Any) -> None:
        calls.append(args)
        raise StudentError("your code was still running", "Timeout")

    for name, tests in (
        ("posterior", [SUITE.test_posterior_variance, SUITE.test_posterior_mean]),
        ("q_sample", [SUITE.test_q_sample_formula, SUITE.test_q_sample_gives_each_image_its_own_times]),
        ("walk", [SUITE.test_walk, SUITE.test_walk_variance_is_unbiased]),
    ):
        student, first = Here(**{name: endless}), len(calls)
        with pytest.raises(StudentError, match="still running"):
            tests[0](student=student, draw=Draw(b"one-seed"))
        with pytest.raises(Wrong, match=f"{name} was stopped in another test"):
            tests[1](student=student, draw=Draw(b"one-seed"))
        assert len(calls) == first + 1


def test_cells_that_were_stopped_have_less_time_in_a_new_process() -> None:
    asked = []

    class Ended:
        alive = False

        def load(self, cells: list[str]) -> list[dict[str, str] | None]:
            return [None, {"kind": "Timeout", "message": "", "trace": ""}]

    class Box:
        def spawn(self, limits: Limits, until: float) -> Ended:
            asked.append(limits.load_seconds)
            return Ended()

    student = Student(Box(), ["", "while True: pass"], Limits())  # type: ignore[arg-type]
    student.ready()
    student.ready()
    assert asked == [Limits().load_seconds, Student.AGAIN]


# --- the public checks -----------------------------------------------------------------------------------------------------


def test_the_public_checks_take_lines_in_capitals_and_name_what_is_changed_in_place() -> None:
    CHECKS.two_steps(lambda *args: {name.upper(): value for name, value in SUITE.two_steps(*args).items()})
    CHECKS.q_sample(SUITE.q_sample)

    def in_place(x_s, s, t, alpha_bar, extra, noise):
        found = SUITE.q_sample(x_s, s, t, alpha_bar, extra, noise)
        return x_s.copy_(found)

    with pytest.raises(AssertionError, match="your function changes the x_s that it is given"):
        CHECKS.q_sample(in_place)
