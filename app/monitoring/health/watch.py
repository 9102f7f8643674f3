"""One thing that is up or down: what live traffic says counts first, a question is asked only when it says nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from app.domain.health import Check, CheckStatus

FAILURES_TO_FALL = 3


class Watch:
    """What was never seen counts as up. `ask` must cost nothing; it raises what is wrong."""

    def __init__(  # noqa: PLR0913 - what is asked, how, and how often
        self,
        name: str,
        ask: Callable[[], Awaitable[object]],
        *,
        timeout: float,
        max_age: float,
        critical: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.critical = critical
        self.is_up = True
        self.reason: str | None = None
        self.latency_ms: float | None = None
        self._ask = ask
        self._timeout = timeout
        self._max_age = max_age
        self._clock = clock
        self._since = _now()
        self._fresh_until = 0.0
        self._failures = 0

    def seen_well(self) -> None:
        """A call was answered."""
        self._failures = 0
        self._fresh_until = self._clock() + self._max_age
        if not self.is_up:
            self._turn(is_up=True, reason=None)

    def seen_failing(self, reason: str) -> None:
        """A call failed by no fault of its caller's; three in a row are one too many."""
        self._failures += 1
        if self._failures >= FAILURES_TO_FALL:
            self._fresh_until = self._clock() + self._max_age
            self._turn(is_up=False, reason=f"{self._failures} calls in a row failed, the last with {reason}")

    async def check(self) -> None:
        """Ask, unless live traffic has told lately."""
        if self._clock() < self._fresh_until:
            return
        started = self._clock()
        try:
            async with asyncio.timeout(self._timeout):
                await self._ask()
        except TimeoutError:
            self._turn(is_up=False, reason=f"no answer within {self._timeout:g} s")
        except Exception as error:  # noqa: BLE001 - a health check reports failures, it never has one
            detail = getattr(error, "detail", "")
            self._turn(is_up=False, reason=f"{str(error) or type(error).__name__}{detail and f': {detail}'}")
        else:
            self.latency_ms = round((self._clock() - started) * 1000, 2)
            self._failures = 0
            self._turn(is_up=True, reason=None)

    def as_check(self) -> Check:
        status = CheckStatus.HEALTHY if self.is_up else CheckStatus.UNHEALTHY
        return Check(status=status, latency_ms=self.latency_ms, since=self._since, reason=self.reason)

    def _turn(self, *, is_up: bool, reason: str | None) -> None:
        if is_up != self.is_up:
            self._since = _now()
        self.is_up = is_up
        self.reason = reason


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
