"""Requests that no client would send, byte by byte: slow, huge, garbled and ambiguous ones are refused and counted."""

import json

import pytest

from tests.support.failures import (
    ADDRESS_TOO_LONG,
    CHAT,
    HEAD_TOO_LARGE,
    INVALID,
    REQUEST_TIMEOUT,
    Row,
    check_refusal,
    counted,
    question,
    resident_bytes,
)
from tests.support.processes import GatewayProcess, ProviderProcess
from tests.support.raw import Wire, head, request

pytestmark = pytest.mark.e2e


def test_a_head_that_does_not_come_is_not_waited_for(gateway: GatewayProcess) -> None:
    with counted(gateway, REQUEST_TIMEOUT, method=None), Wire(gateway.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        response = wire.answer()

        assert wire.is_closed()
    check_refusal(response, REQUEST_TIMEOUT)


def test_a_head_that_comes_byte_by_byte_gets_no_more_time(gateway: GatewayProcess) -> None:
    with counted(gateway, REQUEST_TIMEOUT, method=None), Wire(gateway.port) as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nx-slow: ")
        for _ in range(200):
            if wire.has_answer(within=0.05):
                break
            wire.send(b"x")
        response = wire.answer()

    check_refusal(response, REQUEST_TIMEOUT)


def test_a_second_head_that_does_not_come_is_not_waited_for(gateway: GatewayProcess, model: str) -> None:
    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, question(f"primary/{model}")))
        first = wire.answer()
        with counted(gateway, REQUEST_TIMEOUT, method=None):
            wire.send(b"POST /v1")
            second = wire.answer()

    assert first.status_code == 200
    check_refusal(second, REQUEST_TIMEOUT)


def test_who_says_nothing_is_told_nothing(gateway: GatewayProcess) -> None:
    with Wire(gateway.port) as wire:
        closed = wire.is_closed()

    assert closed
    assert gateway.client.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [["Content-Length: 100"], ["Content-Length: 100", "Expect: 100-continue"], ["Transfer-Encoding: chunked"]],
    ids=["whole", "expected", "chunked"],
)
def test_a_body_that_does_not_come_is_not_waited_for(gateway: GatewayProcess, sent: list[str]) -> None:
    with counted(gateway, REQUEST_TIMEOUT, method=None), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, *sent))
        line = wire.line()
        if "Expect: 100-continue" in sent:
            assert (line, wire.line()) == (b"HTTP/1.1 100 Continue", b"")
            line = wire.line()
        response = wire.answer(line)

        assert wire.is_closed()
    check_refusal(response, REQUEST_TIMEOUT)


def test_a_body_that_breaks_off_is_a_caller_who_left(gateway: GatewayProcess) -> None:
    before = gateway.metric("llm_request_errors_total", error_type="client_disconnected")
    with Wire(gateway.port) as wire:
        wire.send(head(gateway.port, "Content-Length: 100", "x-request-id: broken-off") + b'{"model"')

    (line,) = gateway.log_of("broken-off")

    assert (line["status"], line["code"]) == ("client_disconnected", 499)
    assert gateway.metric("llm_request_errors_total", error_type="client_disconnected") == before + 1


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["x-large: " + "x" * 100_000], id="one-large"),
        pytest.param([f"x-{number}: {number}" for number in range(1000)], id="many"),
        pytest.param([f"x-{number}: " + "x" * 5000 for number in range(20)], id="large-together"),
        pytest.param(["x-" + "x" * 100_000 + ": 1"], id="large-name"),
    ],
)
def test_a_head_that_is_too_large_is_refused(gateway: GatewayProcess, fields: list[str]) -> None:
    with counted(gateway, HEAD_TOO_LARGE, method=None), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, "Content-Length: 0", *fields))
        response = wire.answer()

    check_refusal(response, HEAD_TOO_LARGE)


@pytest.mark.parametrize(
    ("start", "row"),
    [
        pytest.param(b"GET /", ADDRESS_TOO_LONG, id="address"),
        pytest.param(b"GET / HTTP/1.1\r\nx-large: ", HEAD_TOO_LARGE, id="value"),
        pytest.param(b"GET / HTTP/1.1\r\nx", HEAD_TOO_LARGE, id="name"),
        pytest.param(head(80, "Transfer-Encoding: chunked") + b"0\r\nx: ", HEAD_TOO_LARGE, id="trailer"),
    ],
)
def test_a_head_without_end_is_refused_and_not_kept(gateway: GatewayProcess, start: bytes, row: Row) -> None:
    before = most = resident_bytes(gateway)

    with counted(gateway, row, method=None), Wire(gateway.port) as wire:
        wire.send(start)
        for _ in range(100):
            wire.send(b"x" * 2**20)
            most = max(most, resident_bytes(gateway))
        response = wire.answer()

    check_refusal(response, row)
    assert most - before < 60 * 2**20


def test_an_address_that_is_too_large_is_refused(gateway: GatewayProcess) -> None:
    with counted(gateway, ADDRESS_TOO_LONG, method=None), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, path="/v1/" + "x" * 100_000))
        response = wire.answer()

    check_refusal(response, ADDRESS_TOO_LONG)


def test_a_head_with_a_few_large_fields_is_served(gateway: GatewayProcess, model: str) -> None:
    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, question(f"primary/{model}"), *(f"x-{n}: " + "x" * 1000 for n in range(25))))
        response = wire.answer()

    assert response.status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"garbage\r\n\r\n", id="words"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), id="tls"),
        pytest.param(b"\x00" * 64, id="zeros"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http2"),
        pytest.param(b"POST /v1/chat/completions HTTP/9.9\r\n\r\n", id="version"),
        pytest.param(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nno colon here\r\n\r\n", id="field"),
        pytest.param(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nx: a\x00b\r\n\r\n", id="nul"),
    ],
)
def test_what_is_not_http_is_refused(gateway: GatewayProcess, sent: bytes) -> None:
    with counted(gateway, INVALID, method=None), Wire(gateway.port) as wire:
        wire.send(sent)
        response = wire.answer()

    check_refusal(response, INVALID)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["Content-Length: 5", "Transfer-Encoding: chunked"], id="both"),
        pytest.param(["Transfer-Encoding: chunked", "Content-Length: 5"], id="both-reversed"),
        pytest.param(["Content-Length: 5", "Content-Length: 6"], id="two-lengths"),
        pytest.param(["Content-Length: -5"], id="negative"),
        pytest.param(["Content-Length: 5x"], id="no-number"),
        pytest.param(["Transfer-Encoding: chunked, identity"], id="not-chunked-last"),
    ],
)
def test_a_body_of_two_lengths_is_refused(gateway: GatewayProcess, fields: list[str]) -> None:
    with counted(gateway, INVALID, method=None), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, *fields) + b"0\r\n\r\nGET /health/live HTTP/1.1\r\n\r\n")
        response = wire.answer()

        assert wire.is_closed()
    check_refusal(response, INVALID)


def test_a_chunk_that_has_no_size_is_refused(gateway: GatewayProcess) -> None:
    with counted(gateway, INVALID, method=None), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, "Transfer-Encoding: chunked") + b'5\r\n{"mod\r\nnonsense\r\n')
        response = wire.answer()

    check_refusal(response, INVALID)


def test_three_requests_at_once_are_answered_in_order(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    before = gateway.metric("http_requests_total", method="POST", route=CHAT, status="200")
    names = ["one", "two", "three"]
    requests = [request(gateway.port, question(f"primary/{model}", n=each), f"x-request-id: {each}") for each in names]

    with Wire(gateway.port) as wire:
        wire.send(b"".join(requests))
        answers = [wire.answer() for _ in names]

    assert [(each.status_code, each.headers["x-request-id"]) for each in answers] == [(200, name) for name in names]
    assert [body["n"] for body in provider.bodies(model)] == names
    assert gateway.metric("http_requests_total", method="POST", route=CHAT, status="200") == before + 3


def test_a_good_request_is_answered_though_garbage_follows(gateway: GatewayProcess, model: str) -> None:
    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, question(f"primary/{model}")) + b"\x00garbage\r\n\r\n")
        first = wire.answer()

    assert first.status_code == 200
    assert json.loads(first.content)["choices"][0]["message"]["content"] == "Hello there."


def test_a_refused_request_does_not_spoil_the_next_one_on_its_connection(gateway: GatewayProcess, model: str) -> None:
    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, b"{") + request(gateway.port, question(f"primary/{model}")))
        first, second = wire.answer(), wire.answer()

    check_refusal(first, INVALID)
    assert second.status_code == 200


def test_what_follows_a_body_is_not_taken_for_its_head(gateway: GatewayProcess, model: str) -> None:
    body = question(f"primary/{model}")
    trailer = b"x-request-id: from-behind\r\norigin: https://evil.test\r\n"

    with Wire(gateway.port) as wire:
        wire.send(
            head(gateway.port, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer)
        )
        response = wire.answer()

    assert response.status_code == 200
    assert response.headers["x-request-id"] != "from-behind"


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_offer_of_another_protocol_is_passed_over(gateway: GatewayProcess, model: str, protocol: str) -> None:
    # the Java HTTP client offers h2c with every first request, its body behind it
    offer = "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"

    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, question(f"primary/{model}"), *offer))
        response = wire.answer()

    assert response.status_code == 200


@pytest.mark.parametrize(
    "line",
    [b"GET ?x", b"GET http://", b"GET /\xff"],
    ids=["query", "no-host", "not-ascii"],
)
def test_an_address_that_has_no_path_is_refused(gateway: GatewayProcess, line: bytes) -> None:
    with counted(gateway, INVALID, method=None), Wire(gateway.port) as wire:
        wire.send(line + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        response = wire.answer()

    check_refusal(response, INVALID)
