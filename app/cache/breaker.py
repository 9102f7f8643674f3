"""A circuit breaker: what fails is left alone, and tried again beside the calls."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from enum import Enum

FAILURES_TO_OPEN = 3
FIRST_SECONDS = 1.0
LONGEST_SECONDS = 8.0


class BreakerState(Enum):
    CLOSED = 0.0
    HALF_OPEN = 1.0
    OPEN = 2.0


class Breaker:
    """Closed until three failures in a row, then open: nobody asks, nobody waits.

    After an interval it is half-open for one trial, which no call waits for: it raises what is wrong, or the breaker
    closes. The interval doubles from 1 s to 8 s, starts anew once the breaker has stayed closed for the longest, and
    a random half of it is left out, so that of many processes that lost one server few come back at a time.
    """

    def __init__(  # noqa: PLR0913 - what a test of its times has to turn
        self,
        trial: Callable[[], Awaitable[None]],
        told: Callable[[BreakerState, str, float], None],
        *,
        first: float = FIRST_SECONDS,
        longest: float = LONGEST_SECONDS,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told` hears of every change: the state, why, and the seconds until the next trial."""
        self.closed = True
        self._trial = trial
        self._told = told
        self._first = self._interval = first
        self._longest = longest
        self._draw = draw
        self._clock = clock
        self._closed_at = clock()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, reason: str) -> None:
        self._failures += 1
        if self.closed and self._failures >= FAILURES_TO_OPEN:
            self.closed = False
            if self._clock() - self._closed_at >= self._longest:
                self._interval = self._first
            self._task = asyncio.get_running_loop().create_task(self._recover(reason))

    def close(self) -> None:
        """No more trials."""
        if self._task is not None:
            self._task.cancel()

    async def _recover(self, reason: str) -> None:
        while True:
            seconds = self._interval * (1 + self._draw()) / 2
            self._interval = min(self._interval * 2, self._longest)
            self._told(BreakerState.OPEN, reason, seconds)
            await asyncio.sleep(seconds)
            self._told(BreakerState.HALF_OPEN, reason, 0)
            try:
                await self._trial()
            except Exception as error:  # noqa: BLE001 - whatever is wrong, it is tried again
                reason = str(error) or type(error).__name__
            else:
                break
        self._failures = 0
        self._closed_at = self._clock()
        self.closed = True
        self._told(BreakerState.CLOSED, "", 0)
