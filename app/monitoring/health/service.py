"""Sums up what is watched: one report for people and dashboards, two words for load balancers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

from msgspec import UNSET
from msgspec.structs import replace

from app.domain.errors import Failure
from app.domain.health import Change, Check, CheckStatus, HealthReport, HealthStatus
from app.monitoring.health.endpoints import Endpoints
from app.monitoring.health.history import History
from app.monitoring.health.watch import ProviderWatch, Watch

MAX_AGE_SECONDS = 2.0
LONGEST_TICK_SECONDS = 5.0
MARGIN_SECONDS = 0.25


class HealthService:
    """A report is refreshed by one caller while the others wait for it: a storm of probes reaches no provider.

    What is not answered within `patience` seconds is reported as it was; the question goes on.
    """

    def __init__(  # noqa: PLR0913 - what a report is made of
        self,
        *,
        providers: dict[str, ProviderWatch],
        redis: Watch | None,
        others: Sequence[Watch],
        derived: Sequence[Watch],
        endpoints: Endpoints,
        history: History,
        fail_on: Literal["any", "all", "critical"],
        patience: float,
        interval: float,
        version: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`derived` are asked when the others have been."""
        self._providers = providers
        self._redis = redis
        self._others = others
        self._derived = derived
        self._endpoints = endpoints
        self._history = history
        self._fail_on = fail_on
        self._patience = patience + MARGIN_SECONDS
        self._interval = interval
        self._version = version
        self._clock = clock
        self._started = clock()
        self._report: HealthReport | None = None
        self._stale_at = 0.0
        self._lock = asyncio.Lock()

    @property
    def _first(self) -> list[Watch]:
        return [*self._others, *self._providers.values(), *([self._redis] if self._redis else [])]

    @property
    def _tick(self) -> float:
        return min(self._interval, LONGEST_TICK_SECONDS, *(each.max_age for each in self._first if each.max_age))

    @property
    def all(self) -> list[Watch]:
        """Every watch, those that are asked first in front."""
        return [*self._first, *self._derived]

    def follow(self, before: "HealthService", *, same: Callable[[str], bool]) -> None:
        """Go on from what `before` knows of the checks that are the `same`; it is not asked any more.

        Of a provider that stays, the watch itself goes on: calls that are on their way still tell it how they ended.
        """
        self._started = before._started  # noqa: SLF001 - one of its kind
        known = {each.name: each for each in before.all}
        for name, watch in self._providers.items():
            old = known.pop(watch.name, None) if same(watch.name) else None
            if isinstance(old, ProviderWatch):
                old.ask_as(watch)
                self._providers[name] = old
        for each in self.all:
            if each.name in known and same(each.name) and not isinstance(each, ProviderWatch):
                each.resume(known[each.name])
        for old in known.values():
            old.retire()

    def stand(self) -> None:
        """What the metrics say of checks is what this one says; of what it does not know they say nothing."""
        names = {each.name for each in self.all}
        self._history.metrics.only(names)
        for each in self.all:
            each.stand()

    async def leave(self, after: "HealthService") -> None:
        """Ask nobody any more but what `after` has taken over."""
        for each in self.all:
            if each not in after.all:
                await each.aclose()

    async def report(self) -> HealthReport:
        async with self._lock:
            if self._report is None or self._clock() >= self._stale_at:
                await self._refresh(self._first)
                await self._refresh(self._derived)
                self._report = self._made()
                self._stale_at = self._clock() + min(MAX_AGE_SECONDS, self._tick)
            return self._report

    def outdated(self) -> None:
        """Something has changed that the next report should know of, however soon it is asked for."""
        self._stale_at = 0.0

    def changes(self) -> list[Change]:
        """What turned lately, the newest first."""
        return self._history.changes()

    def can_serve(self) -> bool:
        """Whether at least one provider is not known to be down; asks nobody."""
        return any(each.is_up for each in self._providers.values())

    def attempted(self, provider: str, error: Failure | None, *, hurts: bool, detail: str = "") -> None:
        """What a live call says of its provider."""
        watch = self._providers[provider]
        if error is None:
            watch.well()
        elif hurts:
            watch.failing(error, detail)

    def watch_of(self, provider: str) -> ProviderWatch:
        """For whoever reads a stream, to tell that it flows."""
        return self._providers[provider]

    async def run(self) -> None:
        """The worker: the first questions at boot, then whatever is due, so that metrics and log do not wait for
        somebody to ask.
        """
        while True:
            await self.report()
            await asyncio.sleep(self._tick)

    async def aclose(self) -> None:
        for each in self.all:
            await each.aclose()

    async def _refresh(self, watches: Sequence[Watch]) -> None:
        tasks = [task for each in watches if (task := each.refresh()) is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._patience)

    def _made(self) -> HealthReport:
        return HealthReport(
            status=self._status(),
            timestamp=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            uptime=int(self._clock() - self._started),
            version=self._version,
            endpoints=self._endpoints.report(),
            providers={name: each.is_up for name, each in self._providers.items()},
            redis=self._redis.is_up if self._redis else UNSET,
            checks={each.name: _marked(each) for each in self.all},
        )

    def _status(self) -> HealthStatus:
        providers = list(self._providers.values())
        down = [each for each in providers if not each.is_up]
        fatal = {
            "any": bool(down),
            "all": len(down) == len(providers),
            "critical": any(each.critical for each in down),
        }
        watches = self.all
        broken = any(each.critical and not each.is_up for each in watches if each not in providers)
        if fatal[self._fail_on] or broken:
            return HealthStatus.ERROR
        troubled = any(each.check.status is not CheckStatus.HEALTHY for each in watches)
        return HealthStatus.DEGRADED if troubled else HealthStatus.OK


def _marked(watch: Watch) -> Check:
    return replace(watch.shown(), critical=True) if watch.critical else watch.shown()
