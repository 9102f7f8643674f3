"""The certificate that callers are shown: how long it is good yet."""

import time
from collections.abc import Callable, Iterable

from app.domain.health import Check, CheckStatus
from app.monitoring.tally import Reading
from app.settings.tls import Validity


class Certificate:
    """An `Indicator`: degraded in its last two weeks, or last third if that is less, and unhealthy when it is over."""

    name = "certificate"
    critical = False
    deadline = 1.0
    max_age = 0.0

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.validity: Callable[[], Validity] = Validity
        """Whoever serves sets it."""
        self._clock = clock

    async def run(self) -> Check:
        validity, now = self.validity(), self._clock()
        if not validity.ends:
            return Check(status=CheckStatus.HEALTHY, reason="its end is not known")
        if why := validity.fault(now):
            return Check(status=CheckStatus.UNHEALTHY, reason=f"the certificate {why}: callers refuse it")
        if why := validity.warning(now):
            return Check(status=CheckStatus.DEGRADED, reason=f"the certificate {why}")
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
