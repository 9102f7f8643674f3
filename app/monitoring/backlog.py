"""What ended is counted by the dozen: the second one finds everything at hand, and costs half of the first."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

AT_ONCE = 128
AT_LATEST_SECONDS = 1.0

logger = structlog.get_logger("signalbox.monitoring")

Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """Hands items to `counters`, 128 together, or those there are after a second; `work_off` does it now.

    `takers` get them one by one. What any of them does wrong is logged, and costs no call anything. Where there is
    neither, nothing is kept.
    """

    def __init__(self, *counters: Callable[[Sequence[Item]], object]) -> None:
        self.takers: list[Callable[[Item], object]] = []
        self._counters = counters
        self._items: list[Item] = []
        self._due: asyncio.TimerHandle | None = None

    def add(self, item: Item) -> None:
        if not (self._counters or self.takers):
            return
        self._items.append(item)
        if len(self._items) >= AT_ONCE:
            self.work_off()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(AT_LATEST_SECONDS, self._late)

    def work_off(self) -> None:
        items, self._items = self._items, []
        if not items:
            return
        for count in self._counters:
            try:
                count(items)
            except Exception:
                logger.exception("what has ended could not be counted", items=len(items))
        for take in self.takers:
            for item in items:
                try:
                    take(item)
                except Exception:
                    logger.exception("what has ended could not be told")

    async def aclose(self) -> None:
        """The last ones are counted too."""
        if self._due is not None:
            self._due.cancel()
        self.work_off()

    def _late(self) -> None:
        self._due = None
        self.work_off()
