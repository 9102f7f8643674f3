"""Answers that are packed though nobody asked for it: unpacked by every upstream client, within limits."""

import gzip
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from app.domain import upstream_errors as errors
from app.providers.upstream.base import Limits, Upstream
from tests.support.origin import Origin, says
from tests.support.upstreams import upstream_of


@pytest.fixture
async def upstream(kind: str, provider: Origin) -> AsyncIterator[Upstream]:
    limits = Limits(first_byte=2, idle=2, answer_bytes=100_000)
    made = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=limits)
    yield made
    await made.aclose()


def packed(body: bytes, encoding: bytes = b"gzip") -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (encoding, len(body)) + body


@pytest.mark.parametrize(("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
async def test_an_answer_that_is_packed_all_the_same_is_unpacked(
    upstream: Upstream, provider: Origin, encoding: bytes, pack: Callable[[bytes], bytes]
) -> None:
    provider.script = says(packed(pack(b"hello"), encoding))

    assert (await upstream.send("POST", "chat", b"{}")).body == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        packed(gzip.compress(b"x" * 50_000_000)),
        packed(gzip.compress(b"hello")[:-4]),
        packed(b"not packed at all"),
        packed(b"hello", b"br"),
        packed(b"hello", b"gzip, gzip"),
    ],
    ids=["bomb", "cut", "plain", "unknown", "twice"],
)
async def test_what_cannot_be_unpacked_within_the_limit_is_malformed(
    upstream: Upstream, provider: Origin, answer: bytes
) -> None:
    provider.script = says(answer)

    with pytest.raises(errors.UpstreamMalformedError, match="packed"):
        await upstream.send("POST", "chat", b"{}")
