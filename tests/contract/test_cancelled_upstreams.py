"""A pool loses no place, however and whenever its callers leave."""

import asyncio
import random

import pytest

from app.providers.upstream.base import Limits, Upstream
from tests.support.origin import question
from tests.support.upstreams import KINDS, origin_of, upstream_of

PLACES = 20
CANCELS = 8_000
AT_ONCE = 100
LONGEST_SECONDS = 0.1
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"


async def _slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await question(reader)
        await asyncio.sleep(0.004)
        writer.write(STREAM)
        await asyncio.sleep(0.004)
        writer.write(b"0\r\n\r\n")


async def _ask(upstream: Upstream) -> None:
    exchange = await upstream.open("POST", "chat", b"{}")
    try:
        while await exchange.read():
            pass
    finally:
        exchange.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_thousands_of_random_cancels_leave_every_place_in_the_pool(kind: str) -> None:
    loop = asyncio.get_running_loop()
    chance = random.Random(7)  # noqa: S311 - moments, not secrets
    async with origin_of(kind) as provider:
        provider.script = _slow
        limits = Limits(connections=PLACES, queue=5)
        upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=limits)
        cancelled = 0
        while cancelled < CANCELS:
            calls = [asyncio.create_task(_ask(upstream)) for _ in range(AT_ONCE)]
            for call in calls:
                for _ in range(chance.randint(1, 2)):
                    loop.call_later(chance.random() * LONGEST_SECONDS, call.cancel)
            ended = await asyncio.gather(*calls, return_exceptions=True)
            cancelled += sum(isinstance(each, asyncio.CancelledError) for each in ended)

        async with asyncio.timeout(20):
            await asyncio.gather(*(_ask(upstream) for _ in range(PLACES * 3)))
        await upstream.aclose()

    assert cancelled >= CANCELS
