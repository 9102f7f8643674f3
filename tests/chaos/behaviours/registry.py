"""Where a behaviour puts itself by being defined."""

from collections.abc import Awaitable, Callable

from tests.chaos.line import Asked, Line

Behaviour = Callable[[Asked, Line], Awaitable[bool]]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    """Its name is the function's, its description the docstring."""
    BEHAVIOURS[function.__name__] = function
    return function
