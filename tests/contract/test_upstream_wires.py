"""Every upstream client over TLS, through slow readers, and however the network cuts what comes."""

import asyncio
import itertools
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.upstream_errors import UpstreamConnectError, UpstreamTruncatedError
from app.providers.upstream.base import Limits, Upstream
from app.providers.upstream.connection import HIGH_WATER
from app.providers.upstream.tls import tls_context
from tests.support.origin import Origin, origin, question, says
from tests.support.upstreams import HTTP11, KINDS, origin_of, upstream_of

LIMITS = Limits(connect=2, first_byte=2, idle=2)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
MIB = 1024 * 1024
JUST_TOO_MUCH = HIGH_WATER + 1000


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    made = trustme.CA()
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    made.cert_pem.write_to_path(str(file))
    return made, file


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_whose_certificate_is_good_is_asked(kind: str, authority: tuple[trustme.CA, Path]) -> None:
    ca, file = authority
    async with origin(server_context(ca)) as provider:
        provider.script = says(OK)
        upstream = upstream_of(kind)(
            provider="p", base_url=provider.url, headers={}, limits=LIMITS, tls=tls_context(str(file))
        )

        answers = [await upstream.send("POST", "chat", b"{}") for _ in range(2)]
        await upstream.aclose()

    assert [answer.body for answer in answers] == [b"hello", b"hello"]
    assert provider.connections == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", ["authority", "name"])
async def test_a_server_whose_certificate_is_not_is_told_nothing(
    kind: str, wrong: str, authority: tuple[trustme.CA, Path]
) -> None:
    ca, file = authority
    context = server_context(trustme.CA()) if wrong == "authority" else server_context(ca, "elsewhere.example")
    async with origin(context) as provider:
        provider.script = says(OK)
        upstream = upstream_of(kind)(
            provider="p", base_url=provider.url, headers={}, limits=LIMITS, tls=tls_context(str(file))
        )

        with pytest.raises(UpstreamConnectError):
            await upstream.send("POST", "chat", b"{}")
        await upstream.aclose()

    assert provider.connections == 0


async def test_an_answer_in_ever_so_many_pieces_costs_what_an_answer_costs() -> None:
    pieces = [b"2\r\nab\r\n" * 1000] * 200

    async with origin() as provider:
        provider.script = says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *pieces, b"0\r\n\r\n")
        upstream = upstream_of("lean")(provider="p", base_url=provider.url, headers={}, limits=Limits())
        tracemalloc.start()
        try:
            answer = await upstream.send("POST", "chat", b"{}")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await upstream.aclose()

    assert answer.body == b"ab" * 200_000
    assert most < 4 * MIB, "a list of 200,000 takes eight"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_reader_slows_the_provider_down(kind: str) -> None:
    sent = [0]

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(64):
            writer.write(b"%x\r\n%b\r\n" % (MIB, b"x" * MIB))
            await writer.drain()
            sent[0] += MIB
        writer.write(b"0\r\n\r\n")

    async with origin_of(kind) as provider:
        provider.script = flood
        upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=LIMITS)
        exchange = await upstream.open("POST", "chat", b"{}")
        size = len(await exchange.read())
        await asyncio.sleep(0.3)

        held_back = sent[0]
        while piece := await exchange.read():
            size += len(piece)
        exchange.close()
        await upstream.aclose()

    assert held_back < 32 * MIB, "what sockets hold, and no more"
    assert size == 64 * MIB


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read_on", [True, False])
async def test_a_connection_that_was_held_back_to_its_end_is_good_for_the_next_call(
    kind: str,
    *,
    read_on: bool,
) -> None:
    async with origin_of(kind) as provider:
        # the pause falls into the very read that brings the end
        whole = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (JUST_TOO_MUCH, b"x" * JUST_TOO_MUCH)
        provider.script = says(whole[:-2000], whole[-2000:])
        upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=LIMITS)
        for _ in range(3):
            exchange = await upstream.open("POST", "chat", b"{}")
            await asyncio.sleep(0.05)
            size = 0
            while read_on and (piece := await exchange.read()):
                size += len(piece)
            exchange.close(done=True)
            assert size == (JUST_TOO_MUCH if read_on else 0)

        answer = await upstream.send("POST", "chat", b"{}")
        await upstream.aclose()

    assert len(answer.body) == JUST_TOO_MUCH


class Wire:
    """A server that writes what it is told in the pieces it is told, one question after the other."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await question(reader)
            for piece in self.pieces:
                writer.write(piece)
                await asyncio.sleep(0)
                await asyncio.sleep(0)


@pytest.fixture(params=HTTP11)
async def cut_wire(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Upstream, Wire, Origin]]:
    async with origin() as provider:
        provider.script = wire = Wire()
        upstream = HTTP11[request.param](provider="p", base_url=provider.url, headers={}, limits=LIMITS)
        yield upstream, wire, provider
        await upstream.aclose()


@pytest.mark.parametrize("kind", HTTP11)
@settings(max_examples=25, deadline=None)
@given(
    body=st.binary(max_size=200),
    chunks=st.lists(st.integers(1, 60), max_size=6),
    places=st.lists(st.integers(0, 600), max_size=12),
    chunked=st.booleans(),
)
def test_an_answer_is_the_same_however_it_is_cut(
    kind: str, body: bytes, chunks: list[int], places: list[int], *, chunked: bool
) -> None:
    whole = (
        _written(body, chunks) if chunked else b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    edges = sorted({0, len(whole), *(place for place in places if place < len(whole))})

    async def ask() -> tuple[bytes, bytes]:
        wire = Wire()
        wire.pieces = [whole[start:end] for start, end in itertools.pairwise(edges)]
        async with origin() as provider:
            provider.script = wire
            upstream = upstream_of(kind)(provider="p", base_url=provider.url, headers={}, limits=LIMITS)
            answer = await upstream.send("POST", "chat", b"{}")
            exchange = await upstream.open("POST", "chat", b"{}")
            read = b""
            while piece := await exchange.read():
                read += piece
            exchange.close()
            await upstream.aclose()
        return answer.body, read

    assert asyncio.run(ask()) == (body, body)


async def test_an_answer_that_ends_anywhere_too_early_is_no_answer(
    cut_wire: tuple[Upstream, Wire, Origin],
) -> None:
    upstream, _, provider = cut_wire
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
    body_starts = whole.index(b"3\r\n")

    for end in range(body_starts, len(whole) - 1):
        provider.script = says(whole[:end], then_close=True)
        with pytest.raises(UpstreamTruncatedError):
            await upstream.send("POST", "chat", b"{}")


def _written(body: bytes, chunks: list[int]) -> bytes:
    written, start = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 0
    for size in [*chunks, len(body)]:
        if piece := body[start : start + size]:
            written += b"%x\r\n%b\r\n" % (len(piece), piece)
        start += size
    return written + b"0\r\n\r\n"
