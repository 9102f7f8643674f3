"""What a real Redis sees of many lookups, and what they see of a Redis in trouble."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from app.cache.breaker import FAILURES_TO_OPEN
from app.cache.frames import PLAIN
from app.cache.lookups import KEYS_PER_READ, READS_IN_FLIGHT
from app.cache.module import CacheModule
from app.cache.redis import PREFIX, RedisCache
from app.settings import CacheSettings, Secret
from tests.support.processes import redis_process, redis_server

Server = tuple[subprocess.Popen[bytes], str]
PATIENT = 5.0


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if redis_server() is None:
        pytest.skip("no redis-server on this machine")
    with redis_process(tmp_path_factory.mktemp("redis")) as process:
        yield process


@asynccontextmanager
async def redis_cache(url: str, *, patience: float = PATIENT) -> AsyncIterator[tuple[RedisCache, CacheModule]]:
    module = CacheModule(settings=CacheSettings(url=Secret(url), timeout_seconds=patience))
    cache = module.redis()
    yield cache, module
    await cache.aclose()


def keys(count: int) -> list[bytes]:
    return [b"%032d" % number for number in range(count)]


async def fill(module: CacheModule, names: list[bytes]) -> None:
    """Each key's value is itself; and the server counts its commands from now on."""
    await module.client().mset({PREFIX + name.hex().encode(): PLAIN + name for name in names})
    await module.client().config_resetstat()


async def reads(module: CacheModule) -> dict[str, int]:
    stats = await module.client().info("commandstats")
    return {name: stats[f"cmdstat_{name}"]["calls"] for name in ("get", "mget") if f"cmdstat_{name}" in stats}


async def test_lookups_that_come_together_are_one_command(server: Server) -> None:
    async with redis_cache(server[1]) as (cache, module):
        names = keys(KEYS_PER_READ)
        await fill(module, names[::2])

        found = await asyncio.gather(*(cache.get(name) for name in names))

        assert found == [name if number % 2 == 0 else None for number, name in enumerate(names)]
        assert await reads(module) == {"mget": 1}


async def test_all_who_ask_for_one_key_are_one_command(server: Server) -> None:
    async with redis_cache(server[1]) as (cache, module):
        await fill(module, keys(1))

        assert await asyncio.gather(*(cache.get(keys(1)[0]) for _ in range(100))) == keys(1) * 100
        assert await reads(module) == {"mget": 1}


async def test_what_is_of_another_kind_than_ours_is_a_miss(server: Server) -> None:
    async with redis_cache(server[1]) as (cache, module):
        theirs, ours = keys(2)
        await fill(module, [ours])
        await module.client().rpush(PREFIX + theirs.hex().encode(), "a list")

        assert await asyncio.gather(cache.get(theirs), cache.get(ours)) == [None, ours]
        assert cache.size.errors == 0


async def test_a_read_that_hangs_is_one_failure_however_many_wait_for_it(server: Server) -> None:
    async with redis_cache(server[1], patience=0.05) as (cache, module):
        names = keys(KEYS_PER_READ)
        await fill(module, names)
        server[0].send_signal(signal.SIGSTOP)

        found = await asyncio.gather(*(cache.get(name) for name in names))

        assert found == [None] * len(names)
        assert cache.size.errors == 1


async def test_a_redis_that_hangs_is_left_alone_by_who_stands_in_line_too(server: Server) -> None:
    async with redis_cache(server[1], patience=0.05) as (cache, module):
        names = keys(3 * READS_IN_FLIGHT * KEYS_PER_READ)
        await fill(module, names)
        server[0].send_signal(signal.SIGSTOP)

        found = await asyncio.gather(*(cache.get(name) for name in names))

        assert found == [None] * len(names)
        assert FAILURES_TO_OPEN <= cache.size.errors <= READS_IN_FLIGHT + FAILURES_TO_OPEN


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff" * 100, b"*1\r\n" * 10_000, b""])
async def test_what_speaks_another_language_reads_as_empty(said: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(said)
        writer.close()

    stranger = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = stranger.sockets[0].getsockname()[1]
    async with redis_cache(f"redis://127.0.0.1:{port}/0") as (cache, _):
        assert await asyncio.gather(*(cache.get(name) for name in keys(10))) == [None] * 10
        assert cache.size.errors == 1
    stranger.close()
