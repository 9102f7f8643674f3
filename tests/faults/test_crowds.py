"""More than can be served: those who say nothing cost nobody anything, and those beyond the bound are told at once."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.failures import OVERLOADED, REQUEST_TIMEOUT, check_refusal, question
from tests.support.processes import GatewayProcess, ProviderProcess, answer, gateway_process
from tests.support.provider_faults import eventually
from tests.support.raw import Wire, head, request

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MOST = 50
GOOD = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}


@pytest.fixture(scope="module")
def gateway(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = {
        "providers": {"primary": {"base_url": provider.base_url("primary")}},
        "server": {"max_in_flight": MOST},
        "cache": {"enabled": False},
    }
    with gateway_process(tmp_path_factory.mktemp("crowds"), config) as process:
        yield process


def files_of(gateway: GatewayProcess) -> int:
    return len(list(Path(f"/proc/{gateway.process.pid}/fd").iterdir()))


async def asked(port: int, sent: bytes) -> tuple[int, bytes]:
    """Status and the lines of the head of an answer, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        lines = await reader.readuntil(b"\r\n\r\n")
        return int(lines.split()[1]), lines
    finally:
        writer.close()


async def many(port: int, sent: bytes, number: int) -> list[tuple[int, bytes]]:
    return await asyncio.gather(*(asked(port, sent) for _ in range(number)))


def test_H_01_half_sent_heads(gateway: GatewayProcess) -> None:
    """900 connections stop in mid-head.

    Happens: each gets 408 after `server.header_seconds` and is closed; all others are served as if they were not there.

    Seen: `http_connections` while they last, `http_requests_total{route="unread",status="408"}` afterwards.
    """
    before, files = gateway.metric("llm_request_errors_total", error_type=REQUEST_TIMEOUT.word), files_of(gateway)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(gateway.port)) for _ in range(900)]
        for wire in wires:
            wire.send(b"GET / HTTP/1.1\r\nX-")
        eventually(lambda: gateway.metric("http_connections") >= 900, "all are connected")
        meanwhile = Counter(gateway.chat("primary/meanwhile").status_code for _ in range(100))
        answers = [wire.answer() for wire in wires]
        closed = Counter(wire.is_closed() for wire in wires)

    assert meanwhile == {200: 100}
    assert closed == {True: 900}
    for each in answers:
        check_refusal(each, REQUEST_TIMEOUT)
    assert gateway.metric("llm_request_errors_total", error_type=REQUEST_TIMEOUT.word) == before + 900
    eventually(lambda: files_of(gateway) <= files + 5, "their files are closed")


async def test_H_18_more_requests_than_may_be_in_flight(gateway: GatewayProcess, provider: ProviderProcess) -> None:
    """2,000 requests at once, with `server.max_in_flight` at 50 and a provider that takes its time.

    Happens: 50 are served; the others get 503 with `retry-after: 1` at once. Health and metrics are answered.

    Seen: `llm_request_errors_total{error_type="overloaded"}`, `http_requests_in_flight`, lines `refused`.
    """
    provider.script("crowd", [{"gate": True}, *answer(GOOD)])
    before = gateway.metric("llm_request_errors_total", error_type="overloaded")
    sent = request(gateway.port, question("primary/crowd"))

    running = [asyncio.create_task(asked(gateway.port, sent)) for _ in range(MOST)]
    seen = asyncio.to_thread(eventually, lambda: len(provider.seen("crowd")["requests"]) == MOST, "all of them run")
    await seen
    refused = await many(gateway.port, sent, 2000 - MOST)
    health = [gateway.client.get(path).status_code for path in ("/health/live", "/health/ready", "/metrics")]
    models = gateway.client.get("/v1/models")
    provider.open("crowd")
    served = await asyncio.gather(*running)

    assert Counter(status for status, _ in refused) == {503: 2000 - MOST}
    assert all(b"\r\nretry-after: 1\r\n" in lines for _, lines in refused)
    assert all(b"\r\nx-request-id: " in lines for _, lines in refused)
    assert health == [200, 200, 200]
    check_refusal(models, OVERLOADED)
    assert Counter(status for status, _ in served) == {200: MOST}
    assert gateway.metric("llm_request_errors_total", error_type="overloaded") == before + 2000 - MOST + 1
    assert gateway.chat("primary/after").status_code == 200


async def test_H_18_calls_that_are_served_under_too_many(gateway: GatewayProcess, provider: ProviderProcess) -> None:
    """Three times as many callers as may be in flight, each asking again as soon as it is answered or refused.

    Happens: as many calls are served as without them, give or take.

    Seen: `http_requests_total` of both statuses.
    """
    provider.script("paced", [{"sleep": 0.2}, *answer(GOOD)])
    sent = request(gateway.port, question("primary/paced"))

    async def served_by(callers: int) -> int:
        until, served = time.monotonic() + 3, 0

        async def call() -> None:
            nonlocal served
            while time.monotonic() < until:
                status, _ = await asked(gateway.port, sent)
                served += status == 200
                if status != 200:
                    await asyncio.sleep(0.1)

        await asyncio.gather(*(call() for _ in range(callers)))
        return served

    alone = await served_by(MOST)
    crowded = await served_by(3 * MOST)

    assert crowded > 0.5 * alone


def test_H_18_one_connection_that_asks_too_much(gateway: GatewayProcess) -> None:
    """One connection, thousands of requests at once.

    Happens: 65 are answered in their order, then 503 with `retry-after` and the connection ends.

    Seen: `http_requests_total{route="unread",status="503"}`.
    """
    with Wire(gateway.port) as wire:
        wire.send(head(gateway.port, method="GET", path="/health/live") * 2000)
        answers = [wire.answer() for _ in range(66)]

        assert wire.is_closed()
    assert Counter(each.status_code for each in answers) == {200: 65, 503: 1}
    check_refusal(answers[-1], OVERLOADED)


def test_H_18_answers_that_nobody_takes(tmp_path: Path) -> None:
    """Strangers ask and ask, and read no answer.

    Happens: no more of their requests are begun than fit on the way to them, so none is in flight; after
    `server.write_stall_seconds` in which they took nothing their connections end.

    Seen: `http_requests_in_flight`, `http_connections`.
    """
    with gateway_process(tmp_path, {"server": {"write_stall_seconds": 4, "max_in_flight": 5}}) as gateway:
        with ExitStack() as stack:
            wires = [stack.enter_context(Wire(gateway.port)) for _ in range(6)]
            for wire in wires:
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(10):  # of 24 kB each a few MB fit on the way
                for wire in wires:
                    wire.send(head(gateway.port, method="GET", path="/openapi.json") * 40)
                time.sleep(0.2)
            eventually(lambda: gateway.metric("http_requests_in_flight") == 1, "only the question for it is in flight")
            assert gateway.chat("demo").status_code == 200
            eventually(lambda: gateway.metric("http_connections") <= 2, "they are gone")

        answered = gateway.metric("http_requests_total", method="GET", route="/openapi.json", status="200")
        assert 0 < answered < 6 * 10 * 40
        assert gateway.metric("llm_request_errors_total", error_type="overloaded") == 0
