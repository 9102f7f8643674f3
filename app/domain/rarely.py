"""What would else be said for every call."""

import time
from collections.abc import Callable

LINE_EVERY_SECONDS = 60.0


class Rarely:
    """At most one line a minute about each thing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}

    def may(self, what: str) -> bool:
        now = self._clock()
        if now - self._last.get(what, -LINE_EVERY_SECONDS) < LINE_EVERY_SECONDS:
            return False
        self._last[what] = now
        return True
