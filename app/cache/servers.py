"""What is asked of Redis itself: one server, whoever Sentinel says is the master, or a cluster."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ResponseError

KEYS_PER_SCAN = 500
Item = tuple[bytes, bytes, int]
"""Name, value, and the milliseconds it is kept."""


class Facts(Struct):
    """What a server tells of itself; of a cluster the sums, and the least safe policy."""

    keys: int = 0
    memory_bytes: int = 0
    evictions: int = 0
    policy: str = ""
    policy_unsafe: bool = False


class Server(Protocol):
    """Everything may raise what redis-py raises; nothing is tried again."""

    async def read(self, names: Sequence[bytes]) -> Sequence[Any]:
        """For each name its value; anything but bytes is none."""
        ...

    async def write(self, items: Sequence[Item]) -> Sequence[Any]:
        """For each item what the server said; an exception where it did not take it."""
        ...

    def names(self, prefix: bytes) -> AsyncIterator[bytes]: ...

    async def remove(self, name: bytes) -> None: ...

    async def ping(self) -> None: ...

    async def meet(self) -> None:
        """Ping it after it was away, forgetting what was known of it."""
        ...

    async def facts(self) -> Facts: ...

    async def aclose(self) -> None: ...


def server_of(client: Any) -> Server:
    return Cluster(client) if isinstance(client, RedisCluster) else Single(client)


class Single:
    def __init__(self, client: Redis) -> None:
        self._client = client

    async def read(self, names: Sequence[bytes]) -> Sequence[Any]:
        found: list[Any] = await self._client.mget(names)
        if len(found) != len(names):
            raise ResponseError("as many answers as questions were expected")
        return found

    async def write(self, items: Sequence[Item]) -> Sequence[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for name, value, milliseconds in items:
            pipeline.set(name, value, px=milliseconds)
        said: list[Any] = await pipeline.execute(raise_on_error=False)
        return said

    def names(self, prefix: bytes) -> AsyncIterator[bytes]:
        return self._client.scan_iter(match=prefix + b"*", count=KEYS_PER_SCAN)

    async def remove(self, name: bytes) -> None:
        await self._client.unlink(name)

    async def ping(self) -> None:
        await self._client.ping()

    async def meet(self) -> None:
        await self.ping()

    async def facts(self) -> Facts:
        memory, stats = await self._client.info("memory"), await self._client.info("stats")
        return _facts(await self._client.dbsize(), memory, stats)

    async def aclose(self) -> None:
        await self._client.aclose()
        if isinstance(pool := self._client.connection_pool, SentinelConnectionPool):
            await pool.sentinel_manager.aclose()


class Cluster:
    """Keys lie all over it: one `MGET` would be refused, so each is asked for by itself, side by side.

    Its pipeline does not learn of a master that is gone; `meet` asks for all its nodes anew.
    """

    def __init__(self, client: RedisCluster) -> None:
        self._client = client

    async def read(self, names: Sequence[bytes]) -> Sequence[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
        found = await pipeline.execute(raise_on_error=False)
        for each in found:
            if isinstance(each, Exception) and not str(each).startswith("WRONGTYPE"):
                raise each
        return found

    async def write(self, items: Sequence[Item]) -> Sequence[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for name, value, milliseconds in items:
            pipeline.set(name, value, px=milliseconds)
        return await pipeline.execute(raise_on_error=False)

    async def names(self, prefix: bytes) -> AsyncIterator[bytes]:
        async for name in self._client.scan_iter(
            match=prefix + b"*", count=KEYS_PER_SCAN, target_nodes=RedisCluster.PRIMARIES
        ):
            yield name

    async def remove(self, name: bytes) -> None:
        await self._client.unlink(name)

    async def ping(self) -> None:
        await self._client.ping(target_nodes=RedisCluster.PRIMARIES)

    async def meet(self) -> None:
        await self._client.aclose()
        await self._client.initialize()
        await self.ping()

    async def facts(self) -> Facts:
        memory, stats = [
            await self._client.info(section, target_nodes=RedisCluster.PRIMARIES) for section in ("memory", "stats")
        ]
        each = [_facts(0, memory[node], stats.get(node, {})) for node in memory]
        worst = max(each, key=lambda facts: facts.policy_unsafe, default=Facts())
        return Facts(
            keys=await self._client.dbsize(target_nodes=RedisCluster.PRIMARIES),
            memory_bytes=sum(facts.memory_bytes for facts in each),
            evictions=sum(facts.evictions for facts in each),
            policy=worst.policy,
            policy_unsafe=worst.policy_unsafe,
        )

    async def aclose(self) -> None:
        await self._client.aclose()


def _facts(keys: int, memory: dict[str, Any], stats: dict[str, Any]) -> Facts:
    """`noeviction` is unsafe where memory has a bound: once it is reached, whoever shares the server cannot write."""
    policy = str(memory.get("maxmemory_policy", ""))
    return Facts(
        keys=keys,
        memory_bytes=int(memory.get("used_memory", 0)),
        evictions=int(stats.get("evicted_keys", 0)),
        policy=policy,
        policy_unsafe=policy == "noeviction" and int(memory.get("maxmemory", 0)) > 0,
    )
