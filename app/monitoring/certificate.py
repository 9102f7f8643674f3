"""The certificate that callers are shown: how long it is good yet."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from app.domain.health import Check, CheckStatus
from app.monitoring.tally import Reading

DAY_SECONDS = 86_400
SOON_DAYS = 14


class Certificate:
    """An `Indicator`: degraded in its last two weeks, unhealthy when it is over. Whoever serves sets `ends`."""

    name = "certificate"
    critical = False
    deadline = 1.0
    max_age = 0.0

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.ends: Callable[[], float] = float
        """When it ends, in seconds since the epoch; 0 where there is none, or nobody can tell."""
        self._clock = clock

    async def run(self) -> Check:
        if not (ends := self.ends()):
            return Check(status=CheckStatus.HEALTHY)
        days, day = (ends - self._clock()) / DAY_SECONDS, datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d")
        if days <= 0:
            return Check(status=CheckStatus.UNHEALTHY, reason=f"the certificate ended on {day}: callers refuse it")
        if days < SOON_DAYS:
            return Check(status=CheckStatus.DEGRADED, reason=f"the certificate ends on {day}")
        return Check(status=CheckStatus.HEALTHY)

    def readings(self) -> Iterable[Reading]:
        yield Reading(
            "http_certificate_expiry_timestamp_seconds",
            "When the certificate that callers are shown ends; 0: there is none",
            self.ends(),
        )
