"""What turned, when and why: the last of it, in memory and in the log."""

from collections import deque
from collections.abc import Callable

import structlog

from app.domain.health import Change, CheckStatus
from app.monitoring.conditions import HealthMetrics

KEPT = 100

logger = structlog.get_logger("signalbox.health")


class History:
    def __init__(self, metrics: HealthMetrics, clean: Callable[[str], str] = str) -> None:
        """`clean` takes our secrets out of other people's texts."""
        self.metrics = metrics
        self.clean = clean
        self._changes: deque[Change] = deque(maxlen=KEPT)

    def turned(self, change: Change) -> None:
        self._changes.append(change)
        self.metrics.turned(change.check, change.after)
        say = logger.info if change.after is CheckStatus.HEALTHY else logger.warning
        told = {"check": change.check, "from": change.before, "to": change.after, "reason": change.reason}
        say("health changed", **told)

    def changes(self) -> list[Change]:
        """The newest first."""
        return list(reversed(self._changes))
