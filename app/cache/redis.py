"""Redis cache. A broken Redis reads as a miss and is reported by its health."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.cache.base import CacheSize
from app.cache.lookups import Lookups
from app.settings import CacheSettings

PREFIX = b"signalbox:cache:"
CONNECTIONS = 64
FAILURES_TO_OPEN = 3
OPEN_SECONDS = 2.0
QUEUE_BYTES = 16 * 1024 * 1024
PIPELINE = 64
SIZE_EVERY_SECONDS = 15.0

logger = structlog.get_logger("signalbox.cache")


def client_for(settings: CacheSettings) -> Redis:
    """Fails at once instead of by redis-py's own patience of ten retries and five seconds each."""
    pool = BlockingConnectionPool.from_url(
        str(settings.url),
        max_connections=CONNECTIONS,
        timeout=settings.timeout_seconds,
        socket_timeout=1,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


class RedisCache:
    """Reads wait at most `timeout` seconds; after three failures in a row nobody waits for two seconds.

    Lookups that come together are one round trip, and one failure if it fails. Writes go through a queue, bounded by
    bytes, that one worker empties in pipelines.
    """

    name = "redis"

    def __init__(
        self, client: Redis, *, timeout: float, prefix: bytes = PREFIX, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.size = CacheSize()
        self._client = client
        self._lookups = Lookups(self._read, timeout=timeout)
        self._prefix = prefix
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0
        self._queue: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._queued_bytes = 0
        self._wanted = asyncio.Event()

    async def get(self, key: bytes) -> bytes | None:
        if self._queue and (queued := self._queue.get(key)) is not None:
            return queued[0]
        if self._clock() < self._closed_until:
            return None
        return await self._lookups.of(key)

    def set(self, key: bytes, value: bytes, *, ttl: float) -> None:
        if self._queued_bytes + len(value) > QUEUE_BYTES:
            self.size.errors += 1
            return
        self._forget(key)
        self._queue[key] = (value, ttl)
        self._queued_bytes += len(value)
        self._wanted.set()

    async def clear(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0
        async for key in self._client.scan_iter(match=self._prefix + b"*", count=500):
            await self._client.unlink(key)

    async def ping(self) -> None:
        try:
            await self._client.ping()
        except (RedisError, OSError, TimeoutError) as error:
            raise ConnectionError(_said(error)) from None

    async def run(self) -> None:
        measuring = asyncio.create_task(self._measure())
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                await self._write()
        finally:
            measuring.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._write()

    async def aclose(self) -> None:
        self._lookups.close()
        await self._client.aclose()

    async def _read(self, keys: list[bytes], deadline: float) -> list[bytes | None]:
        if self._clock() < self._closed_until:  # since these came
            return [None] * len(keys)
        try:
            async with asyncio.timeout_at(deadline):
                values = await self._client.mget([self._named(key) for key in keys])
            found = [value if isinstance(value, bytes) else None for _, value in zip(keys, values, strict=True)]
        except Exception as error:  # noqa: BLE001 - many wait for this answer, whatever is wrong with it
            self._failed("read", error)
            return [None] * len(keys)
        self._failures = 0
        return found

    async def _write(self) -> None:
        while self._queue:
            batch = list(self._queue.items())[:PIPELINE]
            if self._clock() >= self._closed_until:
                try:
                    async with asyncio.timeout(1):
                        await self._write_batch(batch)
                except (RedisError, OSError, TimeoutError) as error:
                    self._failed("write", error)
            for key, written in batch:
                if self._queue.get(key) is written:
                    self._forget(key)

    async def _write_batch(self, batch: list[tuple[bytes, tuple[bytes, float]]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for key, (value, ttl) in batch:
            pipeline.set(self._named(key), value, px=max(int(ttl * 1000), 1))
        for answer in await pipeline.execute(raise_on_error=False):
            if isinstance(answer, RedisError):
                raise answer

    def _named(self, key: bytes) -> bytes:
        return self._prefix + key.hex().encode()

    def _forget(self, key: bytes) -> None:
        if (queued := self._queue.pop(key, None)) is not None:
            self._queued_bytes -= len(queued[0])

    def _failed(self, what: str, error: Exception) -> None:
        self.size.errors += 1
        self._failures += 1
        if self._failures % FAILURES_TO_OPEN == 0:
            self._closed_until = self._clock() + OPEN_SECONDS
            logger.warning("redis is left alone for a while", seconds=OPEN_SECONDS, failed=what, error=_said(error))

    async def _measure(self) -> None:
        while True:
            try:
                async with asyncio.timeout(1):
                    self.size.keys = await self._client.dbsize()
                    memory: dict[str, Any] = await self._client.info("memory")
                    stats: dict[str, Any] = await self._client.info("stats")
                self.size.memory_bytes = int(memory.get("used_memory", 0))
                self.size.evictions = int(stats.get("evicted_keys", 0))
            except (RedisError, OSError, TimeoutError):
                pass  # the reads count what is wrong with it
            await asyncio.sleep(SIZE_EVERY_SECONDS)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
