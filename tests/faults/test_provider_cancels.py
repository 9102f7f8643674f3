"""A pool loses no place, however and whenever its callers leave."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.providers.upstream.base import Limits, Upstream
from tests.support.origin import question
from tests.support.processes import ProviderProcess, event, stream
from tests.support.upstreams import H2, HTTP11, origin_of, upstream_of

PLACES = 20
AT_ONCE = 100
LONGEST_SECONDS = 0.1
PATIENCE_SECONDS = 30
SEED = 7
LATE = {"sleep": 0.004}
STEPS = stream(LATE, event("one"), LATE, event("two", "stop"))
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
LIMITS = Limits(connections=PLACES, queue=PATIENCE_SECONDS)

every_http11 = pytest.mark.parametrize("kind", HTTP11)


async def _slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await question(reader)
        await asyncio.sleep(0.004)
        writer.write(STREAM)
        await asyncio.sleep(0.004)
        writer.write(b"0\r\n\r\n")


@asynccontextmanager
async def pool(kind: str, url: str) -> AsyncIterator[Upstream]:
    upstream = upstream_of(kind)(provider="p", base_url=url, headers={}, limits=LIMITS)
    try:
        yield upstream
    finally:
        await upstream.aclose()


async def ask(upstream: Upstream, body: bytes, *, whole: bool = False) -> None:
    if whole:
        await upstream.send("POST", "chat", body)
        return
    exchange = await upstream.open("POST", "chat", body)
    try:
        while await exchange.read():
            pass
    finally:
        exchange.close()


async def cancelled_at_random(upstream: Upstream, cancels: int, body: bytes = b"{}") -> None:
    """So many calls are cancelled while they wait, connect, send or read; then a full pool's worth must work."""
    loop = asyncio.get_running_loop()
    chance = random.Random(SEED)  # noqa: S311 - moments, not secrets
    cancelled = 0
    while cancelled < cancels:
        calls = [asyncio.create_task(ask(upstream, body, whole=bool(number % 2))) for number in range(AT_ONCE)]
        for call in calls:
            for _ in range(chance.randint(1, 2)):
                loop.call_later(chance.random() * LONGEST_SECONDS, call.cancel)
        ended = await asyncio.gather(*calls, return_exceptions=True)
        wrong = [each for each in ended if each is not None and not isinstance(each, asyncio.CancelledError)]
        assert not wrong, wrong[0]
        cancelled += sum(each is not None for each in ended)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while upstream.load().active:  # noqa: ASYNC110 - nobody tells when a connection is let go of
            await asyncio.sleep(0.01)
        await asyncio.gather(*(ask(upstream, body) for _ in range(PLACES * 3)))
    assert upstream.load().waiting == 0


@every_http11
async def test_U_20_random_cancels(kind: str, provider: ProviderProcess, model: str) -> None:
    """500 calls are cancelled at random moments, by a fixed seed, against a provider in another process.

    Happens: each takes its connection along; no place of the pool is lost, a full pool's worth of calls works after.
    Seen: `llm_endpoint_connections{state="active"}` falls back to 0.
    """
    provider.script(model, STEPS)
    async with pool(kind, f"{provider.url}/{kind}/v1/") as upstream:
        await cancelled_at_random(upstream, 500, json.dumps({"model": model}).encode())

    assert provider.seen(model)["left"] > 0


@pytest.mark.slow
@every_http11
async def test_U_20_thousands_of_random_cancels(kind: str, provider: ProviderProcess, model: str) -> None:
    """8,000 calls are cancelled at random moments while they wait for a place, connect, send or read.

    Happens: no place of a pool of 20 is lost, with either client.
    Seen: `llm_endpoint_connections{state="active"}` falls back to 0.
    """
    provider.script(model, STEPS)
    async with pool(kind, f"{provider.url}/{kind}/v1/") as upstream:
        await cancelled_at_random(upstream, 8_000, json.dumps({"model": model}).encode())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [H2])
async def test_U_20_thousands_of_random_cancels_in_http2(kind: str) -> None:
    """8,000 calls that share connections of HTTP/2 are cancelled at random moments.

    Happens: their streams end, for both sides; no place is lost.
    Seen: `llm_endpoint_connections{state="active"}` falls back to 0.
    """
    async with origin_of(kind) as made:
        made.script = _slow
        async with pool(kind, made.url) as upstream:
            await cancelled_at_random(upstream, 8_000)
