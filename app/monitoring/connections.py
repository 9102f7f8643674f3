"""Callers' connections: how many there are, how many there may be, and who was turned away."""

import time
from collections.abc import Callable, Iterable

import structlog

from app.domain.rarely import LINE_EVERY_SECONDS, Rarely
from app.monitoring.tally import Reading

logger = structlog.get_logger("signalbox.monitoring")


class Connections:
    """Whoever serves sets `open` and `most`, which is 0 as long as there is no bound, and tells of each it refuses."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.open: Callable[[], int] = int
        self.most = 0
        self.refused = 0
        """Since the start."""
        self._clock = clock
        self._rarely = Rarely(clock)
        self._last_refused: float | None = None

    def refuse(self) -> None:
        """One too many was closed unanswered; there is a line about it at most once a minute."""
        self.refused += 1
        self._last_refused = self._clock()
        if self._rarely.may("refused"):
            logger.warning(
                "connections are turned away: there are as many as the limit of open files allows",
                most=self.most,
                refused=self.refused,
            )

    def percent(self) -> float:
        """Of what may be; 0 where there is no bound."""
        return min(100 * self.open() / self.most, 100.0) if self.most else 0.0

    def refused_lately(self) -> bool:
        """Within the last minute."""
        return self._last_refused is not None and self._clock() - self._last_refused < LINE_EVERY_SECONDS

    def readings(self) -> Iterable[Reading]:
        yield Reading("http_connections", "Open connections of callers", self.open())
        yield Reading("http_connections_max", "Connections callers may have; 0: no bound", self.most)
        yield Reading("http_connections_refused_total", "Connections that were too many", self.refused, "counter")
