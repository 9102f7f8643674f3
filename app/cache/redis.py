"""Redis cache. A broken Redis reads as a miss and is reported by its health."""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import structlog

from app.cache.base import CacheSize, RedisState
from app.cache.breaker import Breaker, BreakerState
from app.cache.frames import ForeignValueError, Frames
from app.cache.lookups import Lookups
from app.cache.servers import Item, server_of
from app.cache.trouble import KINDS, TROUBLES, hurts, kind_of, said
from app.domain.rarely import Rarely

PREFIX = b"signalbox:cache:"
NOBODYS = b"trial"
"""A key without an answer: reading it tells whether reading works."""

QUEUE_BYTES = 16 * 1024 * 1024
PIPELINE = 64
MOST_BODY_BYTES = 1024 * 1024
WRITE_SECONDS = 1.0
MEETING_SECONDS = 1.0
GOODBYE_SECONDS = 1.0
SIZE_EVERY_SECONDS = 15.0

logger = structlog.get_logger("signalbox.cache")


class RedisCache:
    """Reads wait at most `timeout` seconds; after three failures in a row a breaker opens, and nobody waits any more.

    Lookups that come together are one round trip, and one failure if it fails. Writes go through a queue, bounded by
    bytes, that one worker empties in pipelines; what finds no place, or no Redis, is dropped and counted. An error of
    one write, such as of a server that is full, leaves the breaker alone: reads go on.
    """

    name = "redis"

    def __init__(
        self,
        client: Any,
        *,
        timeout: float,
        frames: Frames | None = None,
        prefix: bytes = PREFIX,
        first_interval: float = 1.0,
    ) -> None:
        """`client` is redis-py's, of a server or a cluster; `first_interval` the breaker's, in seconds."""
        self.state = RedisState(errors=dict.fromkeys(KINDS, 0))
        self.size = CacheSize(redis=self.state)
        self._server = server_of(client)
        self._timeout = timeout
        self._frames = frames or Frames(max_body_bytes=MOST_BODY_BYTES)
        self._lookups = Lookups(self._read, timeout=timeout)
        self._prefix = prefix
        self._breaker = Breaker(self._try, self._told, first=first_interval)
        self._rarely = Rarely()
        self._queue: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._queued_bytes = 0
        self._wanted = asyncio.Event()
        self._back = asyncio.Event()
        self._writing = asyncio.Lock()

    async def get(self, key: bytes) -> bytes | None:
        if self._queue and (queued := self._queue.get(key)) is not None:
            return queued[0]
        if not self._breaker.closed:
            return None
        return await self._lookups.of(key)

    def set(self, key: bytes, value: bytes, *, ttl: float) -> None:
        if self._queued_bytes + len(value) > QUEUE_BYTES:
            self.size.errors += 1
            self.size.drop("queue_full")
            return
        self._forget(key)
        self._queue[key] = (value, ttl)
        self._queued_bytes += len(value)
        self._wanted.set()

    async def clear(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0
        async with self._writing:  # what is on its way would arrive behind the broom
            async for name in self._server.names(self._prefix):
                await self._server.remove(name)

    async def ping(self) -> None:
        try:
            await self._server.ping()
        except TROUBLES as error:
            raise ConnectionError(said(error)) from None

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
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._write()

    async def aclose(self) -> None:
        self._breaker.close()
        self._lookups.close()
        with suppress(*TROUBLES):  # it may be dead, and need not be told
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._server.aclose()

    async def _read(self, keys: list[bytes], deadline: float) -> list[bytes | None]:
        if not self._breaker.closed:  # since these came
            return [None] * len(keys)
        try:
            async with asyncio.timeout_at(deadline):
                values = await self._server.read([self._named(key) for key in keys])
        except Exception as error:  # noqa: BLE001 - many wait for this answer, whatever is wrong with it
            self._count("read", error)
            self._breaker.failed(said(error))
            return [None] * len(keys)
        self._breaker.succeeded()
        return [self._opened(key, value) for key, value in zip(keys, values, strict=True)]

    def _opened(self, key: bytes, value: Any) -> bytes | None:
        if value is None:
            return None
        try:
            return self._frames.opened(key, value)
        except ForeignValueError as error:
            self.size.reject(str(error))
            if self._rarely.may("rejected"):
                logger.warning("a value in redis is not ours, and counts as a miss", reason=str(error))
            return None

    async def _write(self) -> None:
        while self._queue:
            batch = list(self._queue.items())[:PIPELINE]
            if self._breaker.closed:
                async with self._writing:
                    await self._write_batch(batch)
            else:
                self.size.drop("redis_away", len(batch))
            for key, written in batch:
                if self._queue.get(key) is written:
                    self._forget(key)

    async def _write_batch(self, batch: list[tuple[bytes, tuple[bytes, float]]]) -> None:
        items: list[Item] = [
            (self._named(key), self._frames.wrapped(key, value), max(int(ttl * 1000), 1)) for key, (value, ttl) in batch
        ]
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                answers = await self._server.write(items)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next answers want to be written too
            answers = [error]
            self.size.drop("failed", len(batch) - 1)
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        if not refused:
            return
        self.size.drop("failed", len(refused))
        self._count("write", refused[0])
        if hurts(refused[0]):
            self._breaker.failed(said(refused[0]))
        elif self._rarely.may("refused"):
            logger.warning("redis does not take what is written", answers=len(refused), error=said(refused[0]))

    def _named(self, key: bytes) -> bytes:
        return self._prefix + key.hex().encode()

    def _forget(self, key: bytes) -> None:
        if (queued := self._queue.pop(key, None)) is not None:
            self._queued_bytes -= len(queued[0])

    def _count(self, what: str, error: Exception) -> None:
        self.size.errors += 1
        self.state.errors[kind_of(error)] += 1
        logger.debug("redis failed", what=what, error=said(error))

    async def _try(self) -> None:
        """Meeting again may take longer than a lookup; then one has to succeed in a lookup's time."""
        try:
            async with asyncio.timeout(MEETING_SECONDS):
                await self._server.meet()
            async with asyncio.timeout(self._timeout):
                await self._server.read([self._prefix + NOBODYS])
        except Exception as error:  # noqa: BLE001 - whatever a server of another kind provokes
            self._count("trial", error)
            raise ConnectionError(said(error)) from None

    def _told(self, state: BreakerState, reason: str, seconds: float) -> None:
        was_closed = self.state.breaker == BreakerState.CLOSED.value
        self.state.breaker, self.state.reason = state.value, reason
        if state is BreakerState.CLOSED:
            self._back.set()
            logger.info("redis is asked again")
        elif state is BreakerState.OPEN and (self._rarely.may("open") or was_closed):
            logger.warning("redis is left alone", seconds=round(seconds, 1), error=reason)

    async def _measure(self) -> None:
        while True:
            if self._breaker.closed:
                with suppress(Exception):  # the reads count what is wrong with it
                    async with asyncio.timeout(MEETING_SECONDS):
                        await self._look()
            self._back.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(SIZE_EVERY_SECONDS):
                    await self._back.wait()

    async def _look(self) -> None:
        facts = await self._server.facts()
        size, state = self.size, self.state
        size.keys, size.memory_bytes, size.evictions = facts.keys, facts.memory_bytes, facts.evictions
        if facts.policy_unsafe and not state.policy_unsafe:
            logger.warning(
                "redis will refuse writes once it is full: give it a maxmemory-policy that evicts", policy=facts.policy
            )
        state.policy, state.policy_unsafe = facts.policy, facts.policy_unsafe
