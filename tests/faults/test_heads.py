"""Requests that no client would send, byte by byte: slow, huge, garbled and ambiguous ones are refused and counted."""

from collections.abc import Iterator

import pytest

from tests.support.failures import (
    ADDRESS_TOO_LONG,
    HEAD_TOO_LARGE,
    INVALID,
    REQUEST_TIMEOUT,
    Row,
    check_refusal,
    counted,
    peak_bytes,
)
from tests.support.processes import GatewayProcess, gateway_process
from tests.support.raw import Wire, head

pytestmark = pytest.mark.e2e

MIB = 2**20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = {"server": {"header_seconds": 2, "body_seconds": 4}, "log": {"level": "debug"}}
    with gateway_process(tmp_path_factory.mktemp("heads"), config) as process:
        yield process


def check_unread(gateway: GatewayProcess, sent: bytes) -> None:
    """It is refused and counted, and the connection ends."""
    with counted(gateway, INVALID, method=None), Wire(gateway.port) as wire:
        wire.send(sent)
        response = wire.answer()

        assert wire.is_closed()
    check_refusal(response, INVALID)
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert (line["event"], line["client"]) == ("refused", "127.0.0.1")


def test_H_02_a_head_that_comes_byte_by_byte(gateway: GatewayProcess) -> None:
    """A header comes byte by byte and does not end.

    Happens: 408 after `server.header_seconds` from its first byte; what trickles in does not extend them.

    Seen: `http_requests_total{route="unread",status="408"}`, a line `refused` with `request_timeout`.
    """
    with counted(gateway, REQUEST_TIMEOUT, method=None), Wire(gateway.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nx-request-id: slow-1\r\nx-b: c\r\nx-slow: ")
        for _ in range(200):
            if wire.has_answer(within=0.05):
                break
            wire.send(b"x")
        response = wire.answer()

        assert wire.is_closed()
    check_refusal(response, REQUEST_TIMEOUT)
    assert response.headers["x-request-id"] == "slow-1"
    (line,) = gateway.log_of("slow-1")
    assert (line["status"], line["route"]) == ("request_timeout", "unread")


@pytest.mark.parametrize("first", [b"", b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"], ids=["new", "kept"])
def test_H_03_who_says_nothing(first: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A client connects, or was answered, and sends nothing more.

    Happens: closed without a word after `server.header_seconds`, or `server.keep_alive_seconds` once it was answered.

    Seen: nowhere: neither a count nor a line.
    """
    config = {"server": {"header_seconds": 2, "keep_alive_seconds": 1}, "log": {"level": "debug"}}
    with gateway_process(tmp_path_factory.mktemp("silent"), config) as gateway:
        before = len(gateway.log())
        with Wire(gateway.port) as wire:
            wire.send(first)
            if first:
                assert wire.answer().status_code == 200
            closed = wire.is_closed()

        assert closed
        assert len(gateway.log()) == before
        assert gateway.metric("llm_request_errors_total", error_type="request_timeout") == 0


@pytest.mark.parametrize(
    ("fields", "path", "row"),
    [
        pytest.param(["x-large: " + "x" * 100_000], "/", HEAD_TOO_LARGE, id="one-large"),
        pytest.param([f"x-{number}: {number}" for number in range(1000)], "/", HEAD_TOO_LARGE, id="many"),
        pytest.param([f"x-{number}: " + "x" * 5000 for number in range(20)], "/", HEAD_TOO_LARGE, id="together"),
        pytest.param(["x-" + "x" * 100_000 + ": 1"], "/", HEAD_TOO_LARGE, id="large-name"),
        pytest.param([], "/v1/" + "x" * 100_000, ADDRESS_TOO_LONG, id="address"),
        pytest.param([], "/v1/models?" + "x" * 10_000, ADDRESS_TOO_LONG, id="query"),
    ],
)
def test_H_05_a_head_that_is_too_large(gateway: GatewayProcess, fields: list[str], path: str, row: Row) -> None:
    """A head of 100 kB, of 1,000 fields, with an address of 100 kB.

    Happens: 431, for the address 414, and the connection ends.

    Seen: `http_requests_total{route="unread"}` with that status, a line `refused` with `payload_too_large`.
    """
    with counted(gateway, row, method=None), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, "x-request-id: large-1", "Content-Length: 0", *fields, path=path))
        response = wire.answer()

        assert wire.is_closed()
    check_refusal(response, row)
    assert row is ADDRESS_TOO_LONG or response.headers["x-request-id"] == "large-1"


@pytest.mark.parametrize(
    ("start", "row"),
    [
        pytest.param(b"GET /", ADDRESS_TOO_LONG, id="address"),
        pytest.param(b"GET / HTTP/1.1\r\nx-large: ", HEAD_TOO_LARGE, id="value"),
        pytest.param(b"GET / HTTP/1.1\r\nx", HEAD_TOO_LARGE, id="name"),
        pytest.param(head(80, "Transfer-Encoding: chunked") + b"0\r\nx: ", HEAD_TOO_LARGE, id="trailer"),
    ],
)
def test_H_05_a_head_without_end(gateway: GatewayProcess, start: bytes, row: Row) -> None:
    """60 MB of one address, header or trailer.

    Happens: 431 or 414 after the first 32 KiB; the rest is read and forgotten, so that who still sends sees the answer.

    Seen: `http_requests_total{route="unread"}` with that status; `process_resident_memory_bytes` stays where it was.
    """
    before = peak_bytes(gateway)

    with counted(gateway, row, method=None), Wire(gateway.port) as wire:
        wire.send(start)
        for _ in range(60):
            wire.send(b"x" * MIB)
        response = wire.answer()

    check_refusal(response, row)
    assert peak_bytes(gateway) - before < 15 * MIB


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["Content-Length: 5", "Transfer-Encoding: chunked"], id="both"),
        pytest.param(["Transfer-Encoding: chunked", "Content-Length: 5"], id="both-reversed"),
        pytest.param(["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], id="two-encodings"),
        pytest.param(["Transfer-Encoding: chunked, identity"], id="not-chunked-last"),
        pytest.param(["Transfer-Encoding: xchunked"], id="xchunked"),
        pytest.param(["Transfer-Encoding : chunked"], id="space"),
        pytest.param(["Transfer-Encoding:\x0bchunked"], id="vertical-tab"),
    ],
)
def test_H_06_a_body_that_may_end_in_two_places(gateway: GatewayProcess, fields: list[str]) -> None:
    """`Content-Length` with `Transfer-Encoding`, or an encoding that two servers read differently.

    Happens: 400 and the connection ends; what follows is never taken for a request.

    Seen: `http_requests_total{route="unread",status="400"}`.
    """
    check_unread(
        gateway, head(gateway.port, *fields) + b"0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([f"Content-Length: {each}"], id=each or "empty")
        for each in ("-5", "+5", "5x", "0x5", "", "5,5", "5 5", "1" + "0" * 22)
    ]
    + [
        pytest.param(["Content-Length: 5", "Content-Length: 6"], id="two"),
        pytest.param(["Content-Length: 5", "Content-Length: 5"], id="same-twice"),
    ],
)
def test_H_07_a_length_that_is_none(gateway: GatewayProcess, fields: list[str]) -> None:
    """`Content-Length` twice, listed, signed, in hexadecimal, empty, or of 23 digits.

    Happens: 400 and the connection ends.

    Seen: `http_requests_total{route="unread",status="400"}`.
    """
    check_unread(gateway, head(gateway.port, *fields) + b"hello")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"garbage\r\n\r\n", id="words"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), id="tls"),
        pytest.param(b"\x00" * 64, id="zeros"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http2"),
        pytest.param(b"POST /v1/chat/completions HTTP/9.9\r\n\r\n", id="version"),
        pytest.param(b"GET /health/live\r\nHost: 127.0.0.1\r\n\r\n", id="http0.9"),
        pytest.param(b"GET /health/live HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n", id="http2.0"),
        pytest.param(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nno colon here\r\n\r\n", id="field"),
        pytest.param(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nx: a\x00b\r\n\r\n", id="nul"),
        pytest.param(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nx: a\r\n b\r\n\r\n", id="folded"),
        pytest.param(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nx: a\rb\r\n\r\n", id="bare-cr"),
        pytest.param(b"GET /health/live HTTP/1.1\nHost: 127.0.0.1\n\n", id="bare-lf"),
    ],
)
def test_H_09_what_is_not_http(gateway: GatewayProcess, sent: bytes) -> None:
    """Folded headers, a bare CR or LF, NUL, another protocol, garbage.

    Happens: 400 and the connection ends.

    Seen: `http_requests_total{route="unread",status="400"}`, a line `refused` with `invalid_request`.
    """
    check_unread(gateway, sent)


def test_H_17_what_is_no_request_between_two_that_are(gateway: GatewayProcess) -> None:
    """Three requests at once, the one in the middle malformed.

    Happens: the first is answered, the second refused with 400, and the connection ends before the third.

    Seen: one more answer of the route, one of `unread`, and nothing of the third.
    """
    names = [f"x-request-id: pipelined-{each}" for each in (1, 2, 3)]
    requests = [head(gateway.port, name, "x: y", method="GET", path="/v1/models") for name in names]
    requests[1] = requests[1].replace(b"x: y", b"x: y\r\nz: \x00")

    with Wire(gateway.port) as wire:
        wire.send(b"".join(requests))
        first, second = wire.answer(), wire.answer()

        assert wire.is_closed()
    assert (first.status_code, first.headers["x-request-id"]) == (200, "pipelined-1")
    check_refusal(second, INVALID)
    assert second.headers["x-request-id"] == "pipelined-2"
    assert not [line for line in gateway.log() if line.get("request_id") == "pipelined-3"]
