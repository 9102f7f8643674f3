"""How many calls may be with a provider at a time, and how many may wait until one of them has ended.

httpx's own queue loses a place when waiting ends the moment it is given.
"""

import asyncio

from app.domain.errors import QueueFullError, QueueTimeoutError
from app.providers.upstream.base import Limits


class Places:
    def __init__(self, provider: str, limits: Limits) -> None:
        self.active = 0
        self.waiting = 0
        self.refused = 0
        """Who waited in vain, or found too many waiting."""
        self._provider = provider
        self._limits = limits
        self._free = asyncio.Semaphore(limits.connections)

    async def take(self, *, again: bool = False) -> None:
        """Raises QueueTimeoutError; QueueFullError, one of those, unless it had a place and has to give it up."""
        busy = self._free.locked()
        if busy and self.waiting >= self._limits.waiting and not again:
            self.refused += 1
            raise QueueFullError(f"all connections to {self._provider} are busy, and many calls wait", retry_after=1)
        self.waiting += busy
        try:
            async with asyncio.timeout(self._limits.queue):
                await self._free.acquire()
        except TimeoutError:
            self.refused += 1
            raise QueueTimeoutError(f"all connections to {self._provider} are busy", retry_after=1) from None
        finally:
            self.waiting -= busy
        self.active += 1

    def leave(self) -> None:
        """Once for each that was taken."""
        self.active -= 1
        self._free.release()
