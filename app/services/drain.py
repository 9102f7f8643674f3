"""Stopping without breaking what runs: no new calls, the old ones to their end, the last ones told."""

import asyncio

from app.domain.errors import ShuttingDownError

RETRY_AFTER_SECONDS = 5


class Drain:
    """`announce` ends readiness; `begin` refuses new calls; `empty` waits for the running ones; `cut` cancels the rest.

    A call that is cut ends as `cancelled_by_shutdown`, in mid-stream with an error event.
    """

    def __init__(self) -> None:
        self.announced = False
        self.begun = False
        self.cutting = False
        self._running: set[asyncio.Task] = set()
        self._none_left: asyncio.Event | None = None

    def enter(self, task: asyncio.Task) -> None:
        """A call begins in `task`; raises ShuttingDownError when it may not."""
        self.check()
        self._running.add(task)

    def on_their_way(self) -> list[asyncio.Task]:
        """The tasks of all calls that run now."""
        return list(self._running)

    @property
    def running(self) -> int:
        """How many calls are on their way."""
        return len(self._running)

    def check(self) -> None:
        if self.begun:
            raise ShuttingDownError("the gateway is shutting down", retry_after=RETRY_AFTER_SECONDS)

    def leave(self, task: asyncio.Task) -> None:
        self._running.discard(task)
        if self._none_left is not None and not self._running:
            self._none_left.set()

    def announce(self) -> None:
        """Tell load balancers to look elsewhere; calls are still taken."""
        self.announced = True

    def begin(self) -> None:
        self.announced = self.begun = True

    async def empty(self, *, within: float) -> bool:
        """Whether all calls ended within so many seconds."""
        self._none_left = asyncio.Event()
        try:
            async with asyncio.timeout(within):
                while self._running:
                    await self._none_left.wait()
                    self._none_left.clear()
        except TimeoutError:
            return False
        return True

    def cut(self) -> None:
        self.cutting = True
        for task in list(self._running):
            task.cancel()
