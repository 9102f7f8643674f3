"""Metrics and log under those who would fill, forge or read them."""

import asyncio
import json
import socket
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.e2e.conftest import KEY, METRICS_KEY
from tests.support.failures import AUTHENTICATION, CHAT, check_refusal, question
from tests.support.flood import statuses
from tests.support.metrics import made, value
from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    answer,
    gateway_process,
)
from tests.support.raw import Wire, head, request

pytestmark = pytest.mark.e2e

LONGEST_LABEL = 128
LONGEST_LINE = 8192
EVIL = "a\r\nb\x1b[2J\u2028c\x00"
FLOOD = 6_000
A_SECOND = 100


def test_M_02_what_a_label_says_breaks_no_scrape(provider: ProviderProcess, tmp_path: Path) -> None:
    """Models whose names have quotes, backslashes, line breaks, half a surrogate, or 100,000 characters.

    Happens: the scrape can be read; labels have at most 128 characters.
    Seen: the names as far as they can be written.
    """
    names = ['quo"te', "back\\slash", "brace}{=,", "emoji-🙂", "l" * 240]
    listed = [*names, "line\nbreak", "\ud800", "x" * 100_000]
    data = json.dumps({"object": "list", "data": [{"id": each} for each in listed]}).encode()
    provider.script("models-of-labels", answer(data))
    rows = {"labels": {"base_url": provider.base_url("labels")}}
    with gateway_process(tmp_path, {"providers": rows, "routes": {name: ["labels:x"] for name in names}}) as gateway:
        asked = [gateway.chat(name).status_code for name in (*names, f"labels/{names[0]}")]
        text = gateway.client.get("/metrics").text

    labels = [each for family in parse(text) for sample in family.samples for each in sample.labels.values()]
    assert asked == [200] * 6
    assert {each[:LONGEST_LABEL] for each in names} <= {*labels}
    assert max(map(len, labels)) <= LONGEST_LABEL


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer sk-wrong"}, {"authorization": f"Basic {METRICS_KEY}"}],
    ids=["none", "wrong", "basic"],
)
def test_M_03_metrics_are_not_public(exposed: GatewayProcess, headers: dict[str, str]) -> None:
    """The metrics of a gateway others may reach, without a key, with a wrong one, with the right one in `Basic`.

    Happens: 401, nothing of the metrics.
    Seen: `llm_auth_attempts_total{result="missing"}` or `refused`.
    """
    response = exposed.client.get("/metrics", headers=headers)

    check_refusal(response, AUTHENTICATION)
    assert response.headers["www-authenticate"] == "Bearer"
    assert "llm_" not in response.text


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {METRICS_KEY}"}, {"x-api-key": KEY}], ids=["own", "any"]
)
def test_M_03_metrics_are_shown_to_their_own_key_and_to_any_other(
    exposed: GatewayProcess, headers: dict[str, str]
) -> None:
    """The same with the key for metrics, or a caller's.

    Happens: 200.
    Seen: `llm_auth_attempts_total{result="accepted"}`.
    """
    response = exposed.client.get("/metrics", headers=headers)

    assert response.status_code == 200
    assert "llm_build_info" in response.text


@pytest.mark.anyio
async def test_M_05_scrapes_that_come_together_are_made_once() -> None:
    """20 scrapes at once.

    Happens: the text is made once, a millisecond at a time, and all get it.
    Seen: `llm_scrape_duration_seconds_count` counts one.
    """
    metrics = made()
    await metrics.scrape("")

    answers = await asyncio.gather(*(metrics.scrape("") for _ in range(20)))

    assert len({id(body) for body, _ in answers}) == 1
    assert value(metrics, "llm_scrape_duration_seconds_count") == 2


def test_M_05_a_scraper_that_does_not_read_holds_up_nobody(exposed: GatewayProcess) -> None:
    """20 scrapers ask for the metrics 20 times each, and read nothing.

    Happens: calls and other scrapes are answered meanwhile.
    Seen: `http_connections`.
    """
    scrape = head(exposed.port, f"X-API-Key: {METRICS_KEY}", method="GET", path="/metrics") * 20
    wires = []
    for _ in range(20):
        wire = socket.socket()
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        wire.connect(("127.0.0.1", exposed.port))
        wire.sendall(scrape)
        wires.append(wire)
    try:
        served = [exposed.chat("demo", headers={"x-api-key": KEY}).status_code for _ in range(20)]
        scraped = exposed.client.get("/metrics", headers={"x-api-key": METRICS_KEY})
    finally:
        for wire in wires:
            wire.close()

    assert served == [200] * 20
    assert 'llm_build_info{version="' in scraped.text


def test_M_06_whatever_is_sent_is_one_line_of_bounded_length(tmp_path: Path) -> None:
    """CR, LF, ESC, U+2028 and NUL in path, query, header, model and user; a megabyte of them.

    Happens: each request is answered; in the log each is one line of JSON, escaped, of at most 8 KiB.
    Seen: lines `call` and `refused`.
    """
    large = EVIL * (1_000_000 // len(EVIL))
    with gateway_process(tmp_path, environ={"DEBUG": "true"}) as gateway:
        for name in (EVIL, large, "x" * 257, "🙂" * 200):
            gateway.chat(name)
            gateway.chat("demo", user=name)
        for field in ("X-Evil", "X-Request-Id", "Origin", "User-Agent"):
            for said in ("\x1b[2J\x9b\xe2\x80\xa8", "x" * 30_000, "y" * 1_000_000):
                with Wire(gateway.port) as wire:
                    wire.send(head(gateway.port, method="GET", path="/v1/models")[:-2])
                    try:
                        wire.send(f"{field}: {said}\r\n\r\n".encode("latin-1"))
                    except ConnectionError:  # it had seen enough
                        continue
                    wire.line()
        for path in ("/%0d%0a%1b%5b2J%e2%80%a8", "/v1/models/%0a{}", "/x?q=%0d%0a%1b", "/" + "%0a" * 5000):
            gateway.client.get(path)
        gateway.client.get("/over", headers={"x-request-id": "over"})
        gateway.log_of("over")
        written = gateway.log_text().removesuffix("\n").split("\n")

    lines = [json.loads(line) for line in written]
    assert len([line for line in lines if line["event"] in {"call", "refused"}]) > 15
    assert [line for line in written if not line.isprintable()] == []
    assert max(len(line.encode()) for line in written) <= LONGEST_LINE


def test_M_09_what_is_refused_all_the_time_is_a_hundred_lines_a_second(tmp_path: Path) -> None:
    """6,000 requests for paths that are not there, as fast as they go, with calls among them.

    Happens: at most 100 lines a second for them, the next one saying how many were left out; a line for every call.
    Seen: `left_out` in the log, `llm_log_lines_held_total`; `http_requests_total` has each of them.
    """
    with gateway_process(tmp_path) as gateway:
        nowhere = [head(gateway.port, method="GET", path=f"/nowhere/{number}") for number in range(FLOOD)]
        calls = [request(gateway.port, question("demo"), path=CHAT) for _ in range(1_000)]
        begun = time.monotonic()
        answered = statuses(gateway.port, [*nowhere[: FLOOD // 2], *calls, *nowhere[FLOOD // 2 :]])
        seconds = time.monotonic() - begun
        time.sleep(1.1)  # the second after
        gateway.client.get("/nowhere", headers={"x-request-id": "last"})
        gateway.log_of("last")
        lines = gateway.log()
        counted = gateway.metric("http_requests_total", method="GET", route="unmatched", status="404")
        held = gateway.metric("llm_log_lines_held_total")

    refused = [line for line in lines if line["event"] == "refused"]
    left_out = sum(line.get("left_out", 0) for line in refused)
    assert answered == {404: FLOOD, 200: 1_000}
    assert len(refused) <= A_SECOND * (seconds + 3)
    assert len(refused) + left_out == counted == FLOOD + 1
    assert held == left_out > 0
    assert len([line for line in lines if line["event"] == "call"]) == 1_000
