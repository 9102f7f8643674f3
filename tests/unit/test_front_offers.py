"""Offers of another protocol are passed over, wherever they stand and however they come (RFC 9110 §7.8)."""

import asyncio
from typing import Any

import pytest

from tests.support.wired import front

PLAIN = b"GET /plain HTTP/1.1\r\nhost: x\r\n\r\n"
OFFER = b"POST /offer HTTP/1.1\r\nhost: x\r\nconnection: %b\r\nUpgrade: h2c\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /offer HTTP/1.1\r\nhost: x\r\nupgrade: websocket, h2c\r\nconnection: upgrade\r\n"
    b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
)


async def heard(*pieces: bytes) -> tuple[list[tuple[str, bytes, list[bytes]]], list[bytes]]:
    """Paths, bodies and names of fields that arrive, and what is written."""
    calls = []

    async def hot(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        calls.append((scope["path"], body, [name for name, _ in scope["headers"]]))
        scope["extensions"]["signalbox"].answer(200, b"", b"")

    protocol, transport = front(hot)
    for piece in pieces:
        protocol.data_received(piece)
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    return calls, transport.writes


@pytest.mark.parametrize("data", [OFFER % b"Upgrade", OFFER % b"HTTP2-Settings, UPGRADE", CHUNKED])
async def test_a_body_behind_an_offer_is_whole_wherever_it_was_cut(data: bytes) -> None:
    for pieces in [[data], [data[at : at + 1] for at in range(len(data))], *cut_once(data)]:
        calls, written = await heard(*pieces)

        ((path, body, names),) = calls
        assert (path, body) == ("/offer", b"hello")
        assert b"upgrade" not in names
        assert [each[:12] for each in written] == [b"HTTP/1.1 200"]
        assert b"connection: close" not in written[0]


def cut_once(data: bytes) -> list[list[bytes]]:
    return [[data[:at], data[at:]] for at in range(1, len(data))]


@pytest.mark.parametrize("offer", [OFFER % b"Upgrade", CHUNKED])
async def test_an_offer_that_is_not_the_first_of_its_bytes_is_none_the_less_passed_over(offer: bytes) -> None:
    calls, written = await heard(PLAIN + offer + PLAIN + offer + offer)

    bodies = [b"", b"hello", b"", b"hello", b"hello"]
    assert [body for _, body, _ in calls] == bodies
    assert len(written) == len(bodies)


async def test_after_an_offer_with_close_the_connection_ends() -> None:
    calls, written = await heard(OFFER % b"close, Upgrade" + PLAIN)

    assert [path for path, _, _ in calls] == ["/offer"]
    assert b"connection: close\r\n" in written[0]


async def test_who_starts_with_the_other_protocol_at_once_is_told_that_it_is_none() -> None:
    calls, written = await heard(
        PLAIN.replace(b"host", b"connection: upgrade\r\nupgrade: h2c\r\nhost"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    )

    assert [path for path, _, _ in calls] == ["/plain"]
    assert [each[:12] for each in written] == [b"HTTP/1.1 200", b"HTTP/1.1 400"]


async def test_an_offer_counts_for_the_size_of_its_head() -> None:
    huge = OFFER.replace(b"host: x", b"x: " + b"a" * 40_000) % b"Upgrade"

    for pieces in ([huge], [huge[:30_000], huge[30_000:]], [PLAIN + huge]):
        calls, written = await heard(*pieces)

        assert [path for path, _, _ in calls] == ["/plain"] * (pieces[0].startswith(PLAIN))
        assert written[-1].startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("target", [b"example.com:443", b"http://x/plain"])
async def test_nobody_gets_a_tunnel(target: bytes) -> None:
    calls, written = await heard(b"CONNECT %b HTTP/1.1\r\nhost: x\r\n\r\nbytes" % target)

    assert not calls
    assert [each[:12] for each in written] == [b"HTTP/1.1 405"]


@pytest.mark.parametrize("version", [b"2.0", b"0.9"])
async def test_another_version_is_told_what_is_spoken(version: bytes) -> None:
    _, (written,) = await heard(b"GET / HTTP/%b\r\nhost: x\r\n\r\n" % version)

    assert written.startswith(b"HTTP/1.1 400")
    assert b"HTTP/1.1 and HTTP/1.0 are spoken here" in written
