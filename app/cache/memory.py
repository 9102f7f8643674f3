"""In-process cache: what was used last stays, as far as it fits."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from app.cache.base import CacheSize

OVERHEAD_PER_ENTRY = 350


class MemoryCache:
    """Per process: other workers and replicas have their own."""

    name = "memory"

    def __init__(self, *, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = CacheSize()
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._max_bytes = max_bytes
        self._clock = clock

    async def get(self, key: bytes) -> bytes | None:
        return self.peek(key)

    def peek(self, key: bytes) -> bytes | None:
        """`get` for those who do not want to wait."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def set(self, key: bytes, value: bytes, *, ttl: float) -> None:
        weight = len(value) + OVERHEAD_PER_ENTRY
        if weight > self._max_bytes:
            return
        self.forget(key)
        self._entries[key] = (self._clock() + ttl, value)
        self.size.memory_bytes += weight
        self.size.keys += 1
        while self.size.memory_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
            self.size.evictions += 1

    def forget(self, key: bytes) -> None:
        if key in self._entries:
            self._drop(key)

    async def clear(self) -> None:
        self._entries.clear()
        self.size.keys = self.size.memory_bytes = 0

    async def ping(self) -> None:
        return None

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        return None

    def _drop(self, key: bytes) -> None:
        _, value = self._entries.pop(key)
        self.size.memory_bytes -= len(value) + OVERHEAD_PER_ENTRY
        self.size.keys -= 1
