"""Every cache backend keeps the same promises; Redis is asked both as fakeredis and as a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from dependency_injector import providers as di
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis

from app.cache.base import CacheBackend
from app.cache.frames import PLAIN
from app.cache.memory import OVERHEAD_PER_ENTRY, MemoryCache
from app.cache.module import CacheModule
from app.cache.redis import PREFIX, RedisCache
from app.settings import CacheSettings, Secret
from tests.support.processes import redis_process, redis_server
from tests.support.waiting import until

KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if redis_server() is None:
        pytest.skip("no redis-server on this machine")
    with redis_process(tmp_path_factory.mktemp("redis")) as (_, url):
        yield url


def fake_module(l1_seconds: float) -> CacheModule:
    module = CacheModule(settings=CacheSettings(backend="redis", url=Secret("redis://fake"), l1_seconds=l1_seconds))
    module.client.override(di.Singleton(FakeAsyncRedis))
    return module


@pytest.fixture(params=["memory", "fakeredis", "redis-server", "layered fakeredis", "layered redis-server"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[CacheBackend]:
    l1_seconds = 0.1 if "layered" in request.param else 0
    if request.param == "memory":
        module = CacheModule(settings=CacheSettings(backend="memory"))
    elif "fakeredis" in request.param:
        module = fake_module(l1_seconds)
    else:
        url = Secret(request.getfixturevalue("redis_url"))
        module = CacheModule(settings=CacheSettings(url=url, timeout_seconds=1, l1_seconds=l1_seconds))
    made: CacheBackend = module.backend()
    await made.clear()
    worker = asyncio.create_task(made.run())
    yield made
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await made.aclose()


async def test_what_was_set_is_got_at_once_and_later(cache: CacheBackend) -> None:
    cache.set(KEY, b"value", ttl=60)

    assert await cache.get(KEY) == b"value"
    await asyncio.sleep(0.05)
    assert await cache.get(KEY) == b"value"


async def test_what_was_never_set_is_a_miss(cache: CacheBackend) -> None:
    assert await cache.get(KEY) is None


async def test_the_last_value_is_the_one(cache: CacheBackend) -> None:
    cache.set(KEY, b"one", ttl=60)
    cache.set(KEY, b"two", ttl=60)
    await asyncio.sleep(0.05)

    assert await cache.get(KEY) == b"two"


async def test_what_is_too_old_is_a_miss(cache: CacheBackend) -> None:
    cache.set(KEY, b"value", ttl=0.05)
    await asyncio.sleep(0.2)

    assert await cache.get(KEY) is None


async def test_clearing_forgets_every_answer(cache: CacheBackend) -> None:
    cache.set(KEY, b"value", ttl=60)
    cache.set(OTHER, b"value", ttl=60)
    await asyncio.sleep(0.05)

    await cache.clear()

    assert (await cache.get(KEY), await cache.get(OTHER)) == (None, None)


async def test_it_answers_a_ping(cache: CacheBackend) -> None:
    await cache.ping()


async def test_clearing_leaves_what_is_not_ours(redis_url: str) -> None:
    client = Redis.from_url(redis_url)
    await client.set("theirs", "value")
    cache = RedisCache(client, timeout=1)

    await cache.clear()

    assert await client.get("theirs") == b"value"
    await client.aclose()


async def test_what_is_set_is_written_when_the_worker_ends(redis_url: str) -> None:
    client = Redis.from_url(redis_url)
    cache = RedisCache(client, timeout=1)
    worker = asyncio.create_task(cache.run())
    await asyncio.sleep(0.01)
    cache.set(KEY, b"last words", ttl=60)

    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)

    assert await client.get(PREFIX + KEY.hex().encode()) == PLAIN + b"last words"
    await client.aclose()


async def test_a_redis_that_is_down_reads_as_empty_and_is_asked_again_by_itself() -> None:
    server = FakeServer()
    server.connected = False
    cache = RedisCache(FakeAsyncRedis(server=server), timeout=1, first_interval=0.05)

    assert [await cache.get(KEY) for _ in range(5)] == [None] * 5
    assert cache.size.errors == 3
    with pytest.raises(ConnectionError):
        await cache.ping()

    server.connected = True
    worker = asyncio.create_task(cache.run())
    await until(lambda: cache.state.breaker == 0)
    cache.set(KEY, b"back", ttl=60)
    await asyncio.sleep(0.05)
    assert await cache.get(KEY) == b"back"
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await cache.aclose()


async def test_what_waits_to_be_written_is_bounded_and_what_is_dropped_is_counted() -> None:
    cache = RedisCache(FakeAsyncRedis(), timeout=1)

    for number in range(20):
        cache.set(b"%032d" % number, b"x" * 2**20, ttl=60)

    kept = [await cache.get(b"%032d" % number) is not None for number in range(20)]
    assert kept == [True] * 16 + [False] * 4
    assert (cache.size.dropped["queue_full"], cache.size.errors) == (4, 4)
    await cache.aclose()


async def test_memory_is_bounded_by_bytes_and_what_was_used_last_stays() -> None:
    weight = OVERHEAD_PER_ENTRY + 100
    cache = MemoryCache(max_bytes=3 * weight)
    for name in (b"a", b"b", b"c"):
        cache.set(name, b"x" * 100, ttl=60)
    await cache.get(b"a")

    cache.set(b"d", b"x" * 100, ttl=60)
    cache.set(b"too large", b"x" * 10_000, ttl=60)

    found = {name: await cache.get(name) is not None for name in (b"a", b"b", b"c", b"d", b"too large")}
    assert found == {b"a": True, b"b": False, b"c": True, b"d": True, b"too large": False}
    assert (cache.size.keys, cache.size.memory_bytes, cache.size.evictions) == (3, 3 * weight, 1)


class Held(FakeAsyncRedis):
    """Begins to write, and goes on when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may, self.written = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def pipeline(self, *args: Any, **options: Any) -> Any:
        made: Any = super().pipeline(*args, **options)
        execute = made.execute

        async def held(**options: Any) -> Any:
            self.begun.set()
            await self.may.wait()
            said = await execute(**options)
            self.written.set()
            return said

        made.execute = held
        return made


async def test_clearing_forgets_what_is_just_being_written() -> None:
    client = Held()
    cache = RedisCache(client, timeout=5)
    worker = asyncio.create_task(cache.run())
    cache.set(b"k" * 32, b"an answer", ttl=60)
    await client.begun.wait()

    clearing = asyncio.create_task(cache.clear())
    await asyncio.wait([clearing], timeout=0.1)
    client.may.set()
    await asyncio.gather(clearing, client.written.wait())
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)

    assert await client.keys() == []
    await cache.aclose()
