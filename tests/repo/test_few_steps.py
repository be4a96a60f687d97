"""The benchmark of few steps: distances on the line, and what is asked of the shipped models."""

import torch

from benchmarks import few_steps
from course_lib.models import store


def test_distance_on_the_line_matches_the_sorted_points() -> None:
    x = torch.tensor([[3.0], [1.0], [2.0]])
    assert few_steps.apart(x, x.flip(0) + 0.5) == 0.5
    assert few_steps.apart(x, torch.tensor([[1.0], [2.0], [9.0]])) == 12**0.5


def test_every_way_teaches_the_same_network_something_else() -> None:
    """Two steps of training from one seed: the losses differ, so the networks do."""
    x = torch.linspace(-1, 1, 5)[:, None]
    ways = [name for name in few_steps.ways() if not name.endswith("clock")]
    made = [
        few_steps.generated(few_steps.student(few_steps.ways()[name], 0, 2, few_steps.FAST), name, x, 1)
        for name in ways
    ]
    assert len(made) == 4
    for k, one in enumerate(made):
        assert one.shape == (5, 1) and not any(torch.equal(one, other) for other in made[:k])


def test_students_and_solvers_get_the_same_evaluations() -> None:
    asked = set(few_steps.settings(few_steps.EVALUATIONS))
    for evaluations in few_steps.EVALUATIONS:
        assert (
            f"{few_steps.MODEL}, ddim, {evaluations}" in asked and f"{few_steps.TEACHER}, ddim, {evaluations}" in asked
        )
        assert (f"{few_steps.TEACHER}, dpm-solver, {evaluations}" in asked) == (evaluations > 1)
    assert few_steps.END in asked
    assert any(name.startswith(few_steps.FLOW_MODEL) for name in asked) == (
        few_steps.FLOW_MODEL in store.shipped_models()
    )
