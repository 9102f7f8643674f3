"""The certificate that callers are shown: how long it is good yet."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from app.domain.health import Check, CheckStatus
from app.monitoring.tally import Reading

SOON_SECONDS = 14 * 86_400
SOON_PART = 1 / 3


class Certificate:
    """An `Indicator`: degraded in its last two weeks, or last third if that is less, and unhealthy when it is over."""

    name = "certificate"
    critical = False
    deadline = 1.0
    max_age = 0.0

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.validity: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
        """Whoever serves sets it: from when and until when, in seconds since the epoch; zeros if that is not known."""
        self._clock = clock

    async def run(self) -> Check:
        begins, ends = self.validity()
        if not ends:
            return Check(status=CheckStatus.HEALTHY, reason="its end is not known")
        left, day = ends - self._clock(), datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M UTC")
        if left <= 0:
            return Check(status=CheckStatus.UNHEALTHY, reason=f"the certificate ended on {day}: callers refuse it")
        if left < min(SOON_SECONDS, (ends - begins) * SOON_PART):
            return Check(status=CheckStatus.DEGRADED, reason=f"the certificate ends on {day}")
        return Check(status=CheckStatus.HEALTHY)

    def readings(self) -> Iterable[Reading]:
        begins, ends = self.validity()
        yield Reading(
            "http_certificate_not_before_timestamp_seconds",
            "From when the certificate that callers are shown is good; 0: there is none",
            begins,
        )
        yield Reading(
            "http_certificate_expiry_timestamp_seconds",
            "When the certificate that callers are shown ends; 0: there is none",
            ends,
        )
