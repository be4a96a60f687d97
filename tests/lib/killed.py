"""A training that is killed: it dies when it is about to keep its state for the second time."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from course_lib.training.runs import Run


class Killed(Exception):
    """Stands for a kill."""


@contextmanager
def killed_at_second_save() -> Iterator[None]:
    """Within it, the second save of a run never happens, and what called it ends."""
    saves, save = iter(range(1, 100)), Run.save

    def dies(self, state, rows):
        if next(saves) == 2:
            raise Killed
        save(self, state, rows)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Run, "save", dies)
        yield
