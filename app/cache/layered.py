"""A small cache in this process in front of the one all processes share."""

import time
from collections.abc import Callable
from typing import Protocol

from app.cache.base import CacheBackend, CacheSize

SLOTS = 256


class NearCache(Protocol):
    """What is asked of the one in front: it answers without being awaited."""

    size: CacheSize

    def peek(self, key: bytes) -> bytes | None: ...

    def forget(self, key: bytes) -> None: ...

    def set(self, key: bytes, value: bytes, *, ttl: float) -> None: ...

    async def clear(self) -> None: ...


class LayeredCache:
    """What is read from `far` is kept `near` for `seconds`, counted from before it was asked for.

    So an answer is served for at most `seconds` after `far` let it go, by its age, for want of room or because another
    process cleared it; `clear` and `set` here are seen here at once. What is stored goes to `far` alone: only what is
    asked for again has a place in memory. While `far` is in trouble, `near` serves what it has until its time is over.
    Name, size and health are those of `far`.
    """

    def __init__(
        self, near: NearCache, far: CacheBackend, *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = far.name
        self.size = far.size
        self.size.near = near.size
        self._near = near
        self._far = far
        self._seconds = seconds
        self._clock = clock
        self._changes = [0] * SLOTS

    async def get(self, key: bytes) -> bytes | None:
        if (kept := self._near.peek(key)) is not None:
            return kept
        slot = key[0]
        changes, asked_at = self._changes[slot], self._clock()
        value = await self._far.get(key)
        # What was set or cleared meanwhile may be newer than what was read. Telling 256 sorts of keys apart is enough:
        # the price of a mistake is that an answer is not kept this time.
        if value is not None and self._changes[slot] == changes:
            self._near.set(key, value, ttl=self._seconds - (self._clock() - asked_at))
        return value

    def set(self, key: bytes, value: bytes, *, ttl: float) -> None:
        self._changes[key[0]] += 1
        self._near.forget(key)
        self._far.set(key, value, ttl=ttl)

    async def clear(self) -> None:
        await self._clear_near()
        try:
            await self._far.clear()
        finally:
            await self._clear_near()  # what was read while the other was being emptied

    async def ping(self) -> None:
        await self._far.ping()

    async def run(self) -> None:
        await self._far.run()

    async def aclose(self) -> None:
        await self._far.aclose()

    async def _clear_near(self) -> None:
        self._changes = [each + 1 for each in self._changes]
        await self._near.clear()
