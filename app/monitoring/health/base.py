"""What every check is."""

from typing import Protocol

from app.domain.health import Check


class Indicator(Protocol):
    """One concern. It is asked again once `max_age` seconds have passed, and given up after `deadline` seconds.

    `critical` and unhealthy makes the whole report an error, where a provider is not the concern.
    """

    name: str
    critical: bool
    deadline: float
    max_age: float

    async def run(self) -> Check:
        """How it is; may raise whatever is wrong. Costs no money, and does not block the event loop."""
        ...
