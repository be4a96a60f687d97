"""Public checks of assignments: what one says of an answer stands alone in the notebook, without the lines of the check above it."""

import functools
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Failed(AssertionError):
    """What a check says of an answer that is missing or wrong. A notebook shows its message and nothing else."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows, and with it JupyterLab and nbgrader's Validate."""
        return [str(self)]


def check(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a public check: its own assertions, and a task that is still to be written, raise Failed with the same message.

    An error anywhere else, such as in the answer, keeps its lines: they show where it is.
    """

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True  # IPython leaves these lines out of an error that comes through them
        try:
            return function(*args, **kwargs)
        except (AssertionError, NotImplementedError) as error:
            own = function.__module__ if isinstance(error, AssertionError) else "__main__"  # the notebook
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if not str(error) or frame.f_globals.get("__name__") != own:
                raise
            raise Failed(str(error)) from None

    return checked
