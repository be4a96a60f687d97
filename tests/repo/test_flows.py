"""The benchmark of paths: equal evaluations, and seeds that are compared with their own partner."""

import torch

from benchmarks import flows
from course_lib.evaluation.intervals import Measured


def test_heun_is_asked_only_for_evaluations_that_it_can_spend() -> None:
    """Two a step, and one in the last: n steps cost 2 n - 1."""
    for evaluations in flows.EVALUATIONS:
        steps = flows.steps_for("heun", evaluations)
        assert (steps is None) == (evaluations % 2 == 0) and (steps is None or 2 * steps - 1 == evaluations)
        assert flows.steps_for("ddim", evaluations) == evaluations
    assert flows.steps_for("heun", 1) is None


def test_seeds_are_averaged_and_compared_with_the_same_seed_of_ddpm() -> None:
    none = torch.zeros(2, dtype=torch.float64)
    found = {
        "mnist-ddpm-0, ddim, 5": Measured(3.0, none),
        "mnist-ddpm-1, ddim, 5": Measured(7.0, none),
        "mnist-flow-0, ddim, 5": Measured(2.0, none),
        "mnist-flow-1, ddim, 5": Measured(5.0, none),
        "mnist-flow, ddim, 5": Measured(100.0, none),  # the shipped one has no seed
    }
    summary = flows.over_seeds(found)
    assert summary["mnist-flow, ddim, 5: mean of 2 seeds"] == {"value": 3.5, "low": 2.0, "high": 5.0}
    assert summary["mnist-flow - mnist-ddpm, ddim, 5: mean of 2 seeds"] == {"value": -1.5, "low": -2.0, "high": -1.0}
    assert not any(key.startswith("mnist-ddpm - ") for key in summary)
