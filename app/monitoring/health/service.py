"""Sums up what is watched: one report for people and dashboards, two words for load balancers."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from msgspec import UNSET

from app.domain.errors import Failure
from app.domain.health import Check, CheckStatus, HealthReport, HealthStatus
from app.monitoring.health.vitals import Vitals
from app.monitoring.health.watch import Watch
from app.monitoring.metrics import Metrics

MAX_AGE_SECONDS = 2.0


class HealthService:
    """A report is refreshed by one caller while the others wait for it: a storm of probes reaches no provider."""

    def __init__(  # noqa: PLR0913 - what a report is made of
        self,
        *,
        providers: Sequence[Watch],
        redis: Watch | None,
        vitals: Vitals,
        loaded: Callable[[], int],
        metrics: Metrics,
        fail_on: Literal["any", "all", "critical"],
        interval: float,
        version: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers = {each.name: each for each in providers}
        self._redis = redis
        self._vitals = vitals
        self._loaded = loaded
        self._metrics = metrics
        self._fail_on = fail_on
        self._interval = interval
        self._version = version
        self._clock = clock
        self._started = clock()
        self._report: HealthReport | None = None
        self._stale_at = 0.0
        self._lock = asyncio.Lock()

    async def report(self) -> HealthReport:
        async with self._lock:
            if self._report is None or self._clock() >= self._stale_at:
                self._report = await self._made()
                self._stale_at = self._clock() + MAX_AGE_SECONDS
            return self._report

    def can_serve(self) -> bool:
        """Whether at least one provider is not known to be down; asks nobody."""
        return any(each.is_up for each in self._providers.values())

    def attempted(self, provider: str, error: Failure | None, *, hurts: bool) -> None:
        """What a live call says of its provider."""
        watch = self._providers[provider]
        if error is None:
            watch.seen_well()
        elif hurts:
            watch.seen_failing(error)

    async def run(self) -> None:
        """The worker: the first probe at boot, then one whenever traffic has been silent for the interval."""
        while True:
            await self.report()
            await asyncio.sleep(self._interval)

    async def _made(self) -> HealthReport:
        watched = [*self._providers.values(), *([self._redis] if self._redis else [])]
        await asyncio.gather(*(each.check() for each in watched))
        states = {name: each.is_up for name, each in self._providers.items()}
        self._metrics.providers.are_up(states)
        checks = self._vitals.checks() | {"models": self._models(states)}
        checks |= {each.name if each is self._redis else f"provider:{each.name}": each.as_check() for each in watched}
        return HealthReport(
            status=self._status(checks),
            timestamp=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            uptime=int(self._clock() - self._started),
            version=self._version,
            endpoints={},
            providers=states,
            redis=self._redis.is_up if self._redis else UNSET,
            checks=checks,
        )

    def _models(self, states: Mapping[str, bool]) -> Check:
        failed = sum(not is_up for is_up in states.values())
        status = CheckStatus.UNHEALTHY if failed == len(states) else CheckStatus.HEALTHY
        return Check(status=status, loaded=self._loaded(), failed=failed)

    def _status(self, checks: Mapping[str, Check]) -> HealthStatus:
        down = [each for each in self._providers.values() if not each.is_up]
        fatal = {
            "any": bool(down),
            "all": len(down) == len(self._providers),
            "critical": any(each.critical for each in down),
        }
        if fatal[self._fail_on]:
            return HealthStatus.ERROR
        troubled = any(each.status is not CheckStatus.HEALTHY for each in checks.values())
        return HealthStatus.DEGRADED if troubled else HealthStatus.OK
