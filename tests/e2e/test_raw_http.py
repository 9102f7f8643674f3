"""Requests that no client would send, byte by byte: slow, huge, garbled and ambiguous ones are refused and counted."""

import pytest

from tests.support.failures import (
    CHAT,
    INVALID,
    REQUEST_TIMEOUT,
    check_refusal,
    counted,
    question,
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


def test_a_second_head_that_does_not_come_is_not_waited_for(gateway: GatewayProcess, model: str) -> None:
    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, question(f"primary/{model}")))
        first = wire.answer()
        with counted(gateway, REQUEST_TIMEOUT, method=None):
            wire.send(b"POST /v1")
            second = wire.answer()

    assert first.status_code == 200
    check_refusal(second, REQUEST_TIMEOUT)


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


def test_a_head_with_a_few_large_fields_is_served(gateway: GatewayProcess, model: str) -> None:
    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, question(f"primary/{model}"), *(f"x-{n}: " + "x" * 1000 for n in range(25))))
        response = wire.answer()

    assert response.status_code == 200


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
