"""No cache: keeps nothing, finds nothing."""

import asyncio

from app.cache.base import CacheSize


class AbsentCache:
    name = "off"

    def __init__(self) -> None:
        self.size = CacheSize()

    async def get(self, key: bytes) -> bytes | None:
        return None

    def set(self, key: bytes, value: bytes, *, ttl: float) -> None:
        return None

    async def clear(self) -> None:
        return None

    async def ping(self) -> None:
        return None

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        return None
