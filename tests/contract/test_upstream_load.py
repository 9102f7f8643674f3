"""What every upstream client says of its own connections is so."""

import asyncio
import time

import pytest

from app.domain.errors import QueueFullError, QueueTimeoutError
from app.providers.upstream.base import Limits, Load
from app.providers.upstream.resolving import Resolver
from tests.support.origin import Origin, question, says
from tests.support.upstreams import HTTP11, upstream_of
from tests.support.waiting import until

LOOKUP_SECONDS = 0.2
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
PATIENCE_SECONDS = 5.0


async def test_before_the_first_call_there_is_nothing(provider: Origin, kind: str) -> None:
    upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=Limits(connections=3))

    assert upstream.load() == Load(active=0, idle=0, limit=3, waiting=0, refused=0)


async def test_calls_are_active_and_then_a_connection_is_kept(provider: Origin, kind: str) -> None:
    gate = asyncio.Event()

    async def gated(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await question(reader)
            await gate.wait()
            writer.write(OK)

    provider.script = gated
    upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=Limits(connections=3))
    calls = [asyncio.create_task(upstream.send("POST", "chat", b"{}")) for _ in range(2)]
    await until(lambda: upstream.load().active == 2)
    during = upstream.load()

    gate.set()
    await asyncio.gather(*calls)
    await until(lambda: upstream.load().active == 0)
    after = upstream.load()
    await upstream.aclose()

    assert (during.idle, during.waiting, during.limit) == (0, 0, 3)
    assert after.idle >= 1
    assert (after.waiting, after.refused) == (0, 0)


async def test_who_waits_for_a_connection_is_counted_and_who_waited_in_vain(provider: Origin, kind: str) -> None:
    provider.script = says(b"")
    limits = Limits(connections=1, queue=0.2)
    upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=limits)
    first = asyncio.create_task(upstream.send("POST", "chat", b"{}"))
    await until(lambda: upstream.load().active == 1)

    second = asyncio.create_task(upstream.send("POST", "chat", b"{}"))
    await until(lambda: upstream.load().waiting == 1)
    waiting = upstream.load()
    with pytest.raises(QueueTimeoutError):
        await second
    after = upstream.load()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await until(lambda: upstream.load().active == 0)
    await upstream.aclose()

    assert (waiting.active, waiting.refused) == (1, 0)
    assert (after.active, after.waiting, after.refused) == (1, 0, 1)


async def test_who_finds_too_many_waiting_is_told_at_once(provider: Origin, kind: str) -> None:
    provider.script = says(b"")
    limits = Limits(connections=1, queue=60, waiting=1)
    upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=limits)
    first, second = (asyncio.create_task(upstream.send("POST", "chat", b"{}")) for _ in range(2))
    await until(lambda: (upstream.load().active, upstream.load().waiting) == (1, 1))

    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(QueueFullError):
            await upstream.send("POST", "chat", b"{}")
    after = upstream.load()
    for each in (first, second):
        each.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await until(lambda: upstream.load().active == 0)
    await upstream.aclose()

    assert (after.active, after.waiting, after.refused) == (1, 1, 1)


@pytest.mark.parametrize("kind", HTTP11)
async def test_an_answer_says_how_long_connecting_took(provider: Origin, kind: str) -> None:
    names: list[str] = []

    def slow(name: str) -> list[str]:
        names.append(name)
        time.sleep(LOOKUP_SECONDS)
        return ["127.0.0.1"]

    provider.script = says(OK)
    base_url = provider.url.replace("127.0.0.1", "a.name")
    upstream = upstream_of(kind)(provider="p", base_url=base_url, headers={}, limits=Limits(), resolver=Resolver(slow))
    took = [(await upstream.send("POST", "chat", b"{}")).connecting for _ in range(2)]
    await upstream.aclose()

    assert names == ["a.name"]
    assert took[0] >= LOOKUP_SECONDS
    assert took[1] >= 0
    assert provider.connections == 1
