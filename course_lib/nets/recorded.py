"""Remember how a network was built, so that its card can say it and build it again."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import nn

P = ParamSpec("P")
Net = TypeVar("Net", bound=nn.Module)


def recorded(init: Callable[Concatenate[Net, P], None]) -> Callable[Concatenate[Net, P], None]:
    """Decorate a network's `__init__`: `network.config` is then a mapping of all its arguments, defaults included, as JSON has them."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: Net, *args: P.args, **kwargs: P.kwargs) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, *arguments = bound.arguments.items()
        init(self, *args, **kwargs)
        config: dict[str, Any] = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments}
        self.config = config  # type: ignore[assignment]

    return wrapped
