"""What runs beside the requests, from the first to the last: under one container, and under the next."""

import asyncio
import gc
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog

from app.background import Workers
from app.container import Container, hand_over
from app.providers.listing import ModelListing
from app.providers.upstream.base import Upstream

END_SECONDS = 1.5
LAST_LINES_SECONDS = 1.5

logger = structlog.get_logger("signalbox.server")


class Life:
    """Begun when the application starts; `end` closes everything, however stubborn, within four and a half seconds."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._workers = Workers()
        self._retiring: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        self.container.closeables()  # some are nobody's part, and have only to be there
        for worker in self.container.workers():
            self._workers.start(worker)
        _settle_heap()

    def pass_on(self, after: Container) -> None:
        """`after` is what there is from now on; of what was before, nothing is closed under a call that still uses it.

        Raises whatever cannot be built; then all is as it was.
        """
        before = self.container
        hand_over(before, after)
        running, wanted = before.workers(), after.workers()
        for worker in running:
            if worker not in wanted:
                self._workers.stop(worker)
        for worker in wanted:
            if worker not in running:
                self._workers.start(worker)
        self.container = after
        calls = before.services.drain().on_their_way()
        retiring = asyncio.create_task(self._retire(before, after, calls), name="retire")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    @property
    def retiring(self) -> int:
        """How many former configurations still have calls."""
        return len(self._retiring)

    async def end(self) -> None:
        """Everything is closed; the log is the last one, so that it has all of it."""
        journal = self.container.monitoring.journal()
        for each in self._retiring:
            each.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await asyncio.gather(*self._retiring, return_exceptions=True)
                await self._workers.aclose()
        closeables = [each for each in self.container.closeables() if each is not journal]
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await asyncio.gather(*(_closed(each) for each in reversed(closeables)))
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_LINES_SECONDS):
                await journal.aclose()

    async def _retire(self, before: Container, after: Container, calls: Sequence[asyncio.Task]) -> None:
        """Close what `after` has not taken over, once the calls that were on their way are at their end."""
        gone: list[Upstream] = before.network.upstreams().gone(after.network.upstreams())
        listings: list[ModelListing] = before.upstream.listings().each
        try:
            await before.health.service().leave(after.health.service())
            if calls:
                await asyncio.wait(calls)
            for listing in listings:
                await listing.ended()
        finally:
            for each in listings:
                await each.aclose()
            for upstream in gone:
                await upstream.aclose()
        if len(self._retiring) == 1:  # the last one: what it was made of is nobody's any more
            del before
            gc.unfreeze()
            _settle_heap()


async def _closed(closeable: Any) -> None:
    try:
        await closeable.aclose()
    except Exception:
        logger.exception("not closed in order", what=type(closeable).__name__)


def _settle_heap() -> None:
    gc.collect()
    gc.freeze()  # what was built now stays to the end: looking through it again took 20 ms each time
    gc.set_threshold(10_000, 20, 100)
