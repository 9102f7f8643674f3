"""What providers do to the bytes beneath an answer, and to the way there; for every upstream client."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.domain import upstream_errors as errors
from app.providers.upstream.base import Limits, Upstream
from tests.support.origin import origin, question
from tests.support.upstreams import HTTP11

LIMITS = Limits(connect=10, first_byte=10, idle=10, answer_bytes=1_000_000)
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
EVIL = b"HTTP/1.1 500 Evil\r\nx-evil: 1\r\ncontent-length: 4\r\n\r\nevil"
BEHIND = {
    "a whole answer": EVIL,
    "a head and half a body": EVIL[:-2],
    "half a head": EVIL[:30],
    "one letter": b"H",
    "no HTTP": b"evil\r\n\r\n",
}

every_http11 = pytest.mark.parametrize("kind", HTTP11)


@asynccontextmanager
async def asking(kind: str, url: str) -> AsyncIterator[Upstream]:
    upstream = HTTP11[kind](provider="p", base_url=url, headers={}, limits=LIMITS)
    try:
        yield upstream
    finally:
        await upstream.aclose()


@every_http11
@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
async def test_U_17_bytes_behind_an_answer(kind: str, behind: bytes, *, late: bool) -> None:
    """A provider sends another answer, or the beginning of one, behind the one it was asked for.

    Happens: the answer is what it was; what stands behind it is nobody's. Its connection is dropped, and the next call
    gets its own answer on another one.
    Seen: nothing, for nobody was hurt; `llm_provider_requests_total` counts no failure.
    """
    said = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(HELLO if late else HELLO + behind)
        if late:
            await asyncio.sleep(0.02)
            writer.write(behind)
        said.set()

    async with origin() as provider, asking(kind, provider.url) as upstream:
        provider.script = script
        first = await upstream.send("POST", "chat", b"{}")
        await said.wait()
        await asyncio.sleep(0.05 if late else 0)
        second = await upstream.send("POST", "chat", b"{}")

    assert [(each.status, each.body) for each in (first, second)] == [(200, b"hello")] * 2
    assert not any(b"evil" in name for each in (first, second) for name, _ in each.headers)
    assert provider.connections == 2


@every_http11
@pytest.mark.parametrize(
    "fields",
    [
        b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"content-length: 5, 6\r\n\r\nhello",
        b"content-length: -5\r\n\r\nhello",
        b"content-length: +5\r\n\r\nhello",
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"upgrade: other\r\nconnection: upgrade\r\n\r\nhello",
    ],
)
async def test_U_17_lengths_that_contradict_each_other(kind: str, fields: bytes) -> None:
    """A provider's head says twice, and differently, where its body ends, or says 101.

    Happens: 502 `upstream_malformed`; the connection is dropped, the next call goes on another one.
    Seen: `llm_provider_errors_total{error_type="upstream_malformed"}`, the word in `x-signalbox-error` and in the log.
    """
    status = b"101 Switching" if fields.startswith(b"upgrade") else b"200 OK"

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + fields if provider.connections == 1 else HELLO)

    async with origin() as provider, asking(kind, provider.url) as upstream:
        provider.script = script
        with pytest.raises(errors.UpstreamMalformedError):
            await upstream.send("POST", "chat", b"{}")
        after = await upstream.send("POST", "chat", b"{}")

    assert (after.status, after.body, provider.connections) == (200, b"hello", 2)


def packed(body: bytes, encoding: bytes, behind: bytes = b"") -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (encoding, len(body + behind)) + body + behind


PACKED = {
    "a bomb": packed(gzip.compress(b"x" * 50_000_000), b"gzip"),
    "a bomb in zlib": packed(zlib.compress(b"x" * 50_000_000), b"deflate"),
    "packed twice": packed(gzip.compress(gzip.compress(b"{}")), b"gzip, gzip"),
    "bytes behind the end": packed(gzip.compress(b"{}"), b"gzip", b"x" * 100),
    "cut": packed(gzip.compress(b"{}")[:-4], b"gzip"),
    "not packed at all": packed(b"{}", b"gzip"),
    "br": packed(b"{}", b"br"),
    "zstd": packed(b"{}", b"zstd"),
}


@every_http11
@pytest.mark.parametrize("answer", PACKED.values(), ids=PACKED)
async def test_U_06_answers_packed_though_nobody_asked(kind: str, answer: bytes) -> None:
    """A provider is asked for `identity`, and packs its answer: too well, twice, brokenly, or in a way of its own.

    Happens: gzip and deflate are unpacked within the limit of an answer; everything else is 502 `upstream_malformed`.
    Seen: `llm_provider_errors_total{error_type="upstream_malformed"}`, the word in `x-signalbox-error` and in the log.
    """
    heads: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)

    async with origin() as provider, asking(kind, provider.url) as upstream:
        provider.script = script
        with pytest.raises(errors.UpstreamMalformedError, match="packed"):
            await upstream.send("POST", "chat", b"{}")

    assert b"\r\naccept-encoding: identity\r\n" in heads[0].lower()
