"""Every upstream client keeps the promises of `Upstream`, over real sockets."""

import asyncio
import gc
from collections.abc import AsyncIterator

import httpx
import pytest

from app.domain import upstream_errors as errors
from app.domain.errors import QueueTimeoutError
from app.providers.upstream.base import Limits, Upstream
from tests.support.origin import Origin, question, says
from tests.support.upstreams import H2, HTTP11, upstream_of

LIMITS = Limits(connect=0.5, queue=0.2, first_byte=0.3, idle=0.3, total=1, stream_total=1, answer_bytes=100_000)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

about_http11 = pytest.mark.parametrize("kind", HTTP11)


@pytest.fixture
async def upstream(kind: str, provider: Origin) -> AsyncIterator[Upstream]:
    made = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=LIMITS)
    yield made
    await made.aclose()


async def test_a_body_of_known_length_is_read(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(OK)

    answer = await upstream.send("POST", "chat", b"{}")

    assert (answer.status, answer.body) == (200, b"hello")


@about_http11
async def test_lines_of_one_request_go_with_it_and_with_no_other(upstream: Upstream, provider: Origin) -> None:
    heads: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(2)
            writer.write(OK)

    provider.script = script

    await upstream.send("POST", "chat", b"{}", b"traceparent: 00-a\r\ntracestate: b=1, c: 2\r\n")
    (await upstream.open("POST", "chat", b"{}", b"traceparent: 00-b\r\n")).close()
    await upstream.send("POST", "chat", b"{}")

    first, second, third = heads
    assert b"\r\ntraceparent: 00-a\r\n" in first
    assert b"\r\ntracestate: b=1, c: 2\r\n" in first
    assert b"\r\ntraceparent: 00-b\r\n" in second
    assert b"trace" not in third


async def test_chunks_and_early_hints_are_read(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED, b"3\r\nhel\r\n", b"2\r\nlo\r\n0\r\n\r\n")

    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"


async def test_an_answer_says_that_connecting_took_a_while(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(OK)

    took = [(await upstream.send("POST", "chat", b"{}")).connecting for _ in range(2)]

    assert (took[0] > 0, took[1] >= 0) == (True, True)


@about_http11
async def test_a_body_that_ends_with_its_connection_is_read(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhel", b"lo", then_close=True)

    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"


async def test_a_connection_is_kept(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(OK)

    for _ in range(3):
        await upstream.send("POST", "chat", b"{}")

    assert provider.connections == 1


async def test_a_connection_is_kept_after_a_stream_that_was_read_to_its_last_event(
    upstream: Upstream, provider: Origin
) -> None:
    provider.script = says(CHUNKED, b"3\r\none\r\n", b"0\r\n\r\n")
    exchange = await upstream.open("POST", "chat", b"{}")
    assert await exchange.read() == b"one"
    exchange.close(done=True)
    await asyncio.sleep(0.05)

    await upstream.send("POST", "chat", b"{}")

    assert provider.connections == 1


async def test_who_reads_no_further_takes_the_connection_along(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(CHUNKED, b"3\r\none\r\n")
    exchange = await upstream.open("POST", "chat", b"{}")
    assert await exchange.read() == b"one"

    exchange.close()

    await asyncio.wait_for(provider.left.wait(), 0.2)


async def test_a_stream_is_read_as_it_comes(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(CHUNKED, b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n")

    exchange = await upstream.open("POST", "chat", b"{}")
    pieces = [await exchange.read(), await exchange.read(), await exchange.read()]
    exchange.close()

    assert pieces == [b"one", b"two", b""]


async def test_silence_is_a_timeout(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(b"")

    with pytest.raises(errors.UpstreamTimeoutError):
        await upstream.send("POST", "chat", b"{}")
    await asyncio.wait_for(provider.left.wait(), 1)


async def test_silence_in_mid_stream_is_a_timeout(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(CHUNKED, b"3\r\none\r\n")
    exchange = await upstream.open("POST", "chat", b"{}")
    assert await exchange.read() == b"one"

    with pytest.raises(errors.UpstreamTimeoutError):
        await exchange.read()
    exchange.close()
    await asyncio.wait_for(provider.left.wait(), 1)


async def test_a_stream_without_an_end_is_ended_by_the_total(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(CHUNKED, *[b"1\r\nx\r\n"] * 1000)
    exchange = await upstream.open("POST", "chat", b"{}")

    async def read_on() -> None:
        while await exchange.read():
            pass

    with pytest.raises(errors.UpstreamTimeoutError, match="did not come to an end"):
        await read_on()
    exchange.close()


async def test_endless_early_hints_are_ended_by_the_first_byte_limit(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(*[b"HTTP/1.1 102 Processing\r\n\r\n"] * 1000)

    with pytest.raises(errors.UpstreamTimeoutError):
        await upstream.send("POST", "chat", b"{}")


async def test_hanging_up_in_mid_answer_is_truncation(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", then_close=True)

    with pytest.raises(errors.UpstreamTruncatedError):
        await upstream.send("POST", "chat", b"{}")


async def test_hanging_up_without_an_answer_is_not_said_to_be_safe_to_repeat(
    upstream: Upstream, provider: Origin
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.transport.abort()

    provider.script = hang_up

    with pytest.raises(errors.UpstreamError) as caught:
        await upstream.send("POST", "chat", b"{}")

    assert (caught.value.word, caught.value.retry) == ("upstream_error", False)


@about_http11
async def test_what_is_not_http_is_malformed(upstream: Upstream, provider: Origin) -> None:
    provider.script = says(b"SSH-2.0-OpenSSH\r\n\r\n")

    with pytest.raises(errors.UpstreamMalformedError):
        await upstream.send("POST", "chat", b"{}")


@pytest.mark.parametrize("head", [b"content-length: 100001\r\n", b"transfer-encoding: chunked\r\n"])
async def test_an_answer_over_the_limit_is_not_read_to_its_end(
    upstream: Upstream, provider: Origin, head: bytes
) -> None:
    chunk = b"%x\r\n%b\r\n" % (60_000, b"x" * 60_000)
    provider.script = says(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", chunk, chunk)

    with pytest.raises(errors.UpstreamMalformedError, match="larger than 100000 bytes"):
        await upstream.send("POST", "chat", b"{}")


async def test_nobody_there_is_a_connect_error(kind: str) -> None:
    nobody = "https://127.0.0.1:1/" if kind == H2 else "http://127.0.0.1:1/"
    upstream = upstream_of(kind)(provider="p", base_url=nobody, headers={}, limits=LIMITS)

    with pytest.raises(errors.UpstreamConnectError) as caught:
        await upstream.send("POST", "chat", b"{}")
    await upstream.aclose()

    assert caught.value.retry


async def test_who_is_cancelled_takes_the_connection_along(upstream: Upstream, provider: Origin) -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await question(reader)
        asked.set()

    provider.script = silent
    call = asyncio.create_task(upstream.send("POST", "chat", b"{}"))
    await asyncio.wait_for(asked.wait(), 5)
    call.cancel()

    await asyncio.wait_for(provider.left.wait(), 5)
    assert call.cancelled()


@about_http11
async def test_a_kept_connection_that_died_is_replaced_once(provider: Origin, kind: str) -> None:
    upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=LIMITS)

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(OK)
        if provider.connections == 1:
            await question(reader)
            writer.transport.abort()

    provider.script = once
    await upstream.send("POST", "chat", b"{}")

    answer = await upstream.send("POST", "chat", b"{}")
    await upstream.aclose()

    assert (answer.body, provider.connections) == (b"hello", 2)


@about_http11
async def test_a_pool_at_its_cap_makes_the_next_one_wait(provider: Origin, kind: str) -> None:
    limits = Limits(connections=2, queue=5)
    upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=limits)
    provider.script = says(OK)

    answers = await asyncio.gather(*(upstream.send("POST", "chat", b"{}") for _ in range(10)))
    await upstream.aclose()

    assert [answer.body for answer in answers] == [b"hello"] * 10
    assert provider.connections == 2


async def test_waiting_too_long_for_a_connection_is_our_limit_and_no_failure_of_the_provider(
    provider: Origin, kind: str
) -> None:
    limits = Limits(connections=1, queue=0.05)
    upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=limits)
    provider.script = says(b"")
    first = asyncio.create_task(upstream.send("POST", "chat", b"{}"))
    await asyncio.sleep(0.05)

    with pytest.raises(QueueTimeoutError):
        await upstream.send("POST", "chat", b"{}")

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await upstream.aclose()


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno"])
async def test_a_body_is_let_go_of_with_its_call_and_not_with_the_next_collection(
    upstream: Upstream, provider: Origin, answer: bytes
) -> None:
    provider.script = says(answer)
    await upstream.send("POST", "chat", b"{}")
    gc.collect()
    kinds = (httpx.Request, httpx.Response)
    others = [each for each in gc.get_objects() if isinstance(each, kinds)]
    gc.disable()
    try:
        for _ in range(3):
            await upstream.send("POST", "chat", b"x" * 500_000)
        await asyncio.sleep(0.05)
        kept = [each for each in gc.get_objects() if isinstance(each, kinds) and each not in others]
    finally:
        gc.enable()

    assert kept == []
