"""Callers who leave, and what streams owe those who stay; with each upstream client."""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    event,
    gateway_process,
    send,
    stream,
)
from tests.support.provider_faults import (
    DONE,
    GATE,
    HANG,
    ask_and_wait,
    events_of,
    eventually,
    last_error,
)

pytestmark = pytest.mark.e2e

FIRST, LAST = event("whole"), event("end", "stop")
NEVER = {"repeat": send(b"%x\r\n%b\r\n" % (len(FIRST), FIRST))["send"], "every": 0.02}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
USED = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
HALF = send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")


@pytest.fixture(scope="module", params=["lean", "httpx"])
def patient(
    request: pytest.FixtureRequest, provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway with the usual time limits, which no test of this file comes near."""
    row = {"base_url": provider.base_url("patient"), "api_key": PROVIDER_KEY, "upstream": request.param}
    config = {"providers": {"patient": row}, "cache": {"enabled": False}}
    with gateway_process(tmp_path_factory.mktemp("patient"), config) as process:
        yield process


def assert_let_go(gateway: GatewayProcess, provider: ProviderProcess, model: str, before: float) -> None:
    """The provider was hung up on, and the call settled once as left by its caller."""
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")
    (line,) = gateway.log_of(model)
    assert line["status"] == "client_disconnected"
    assert gateway.metric("llm_active_requests", provider="patient") == 0
    assert gateway.metric("llm_requests_total", provider="patient", status="error") == before + 1
    assert len(provider.seen(model)["requests"]) == 1


@pytest.mark.parametrize("step", [HANG, NEVER], ids=["idle", "talking"])
def test_S_01_a_caller_leaves_in_mid_stream(
    patient: GatewayProcess, provider: ProviderProcess, model: str, step: dict[str, Any]
) -> None:
    """A caller closes its connection in the middle of a stream, while the provider talks, or is silent.

    Happens: the provider's connection is closed at once (some milliseconds), whatever it does.
    Seen: `client_disconnected` in the log and in `llm_streams_total{ending=…}`; `http_client_disconnects_total`.
    """
    before = patient.metric("llm_requests_total", provider="patient", status="error")
    provider.script(model, stream(FIRST, step))

    with ask_and_wait(patient, {"model": f"patient/{model}", "stream": True}, request_id=model) as caller:
        said = b""
        while FIRST not in said:
            said += caller.recv(65536)

    assert_let_go(patient, provider, model, before)


@pytest.mark.parametrize(
    ("streamed", "steps"),
    [(False, [HANG]), (False, [HALF, HANG]), (True, [HANG]), (True, stream(HANG))],
    ids=["JSON", "JSON in mid-answer", "stream", "stream before its first event"],
)
def test_S_02_a_caller_leaves_before_the_answer(
    patient: GatewayProcess, provider: ProviderProcess, model: str, *, streamed: bool, steps: list[Any]
) -> None:
    """A caller closes its connection before there is an answer, or an event.

    Happens: the provider's connection is closed at once, also for calls that are no streams.
    Seen: `client_disconnected` in the log, once in `llm_requests_total{status="error"}`.
    """
    before = patient.metric("llm_requests_total", provider="patient", status="error")
    provider.script(model, steps)

    with ask_and_wait(patient, {"model": f"patient/{model}", "stream": streamed}, request_id=model):
        eventually(lambda: provider.seen(model)["requests"], "the provider is asked")

    assert_let_go(patient, provider, model, before)


@pytest.mark.parametrize("length", [100_000, 300_000, 1_000_000])
def test_S_02_a_caller_leaves_after_a_long_question(
    patient: GatewayProcess, provider: ProviderProcess, model: str, length: int
) -> None:
    """A caller with a question of a megabyte closes its connection before there is an answer.

    Happens: it is noticed all the same, though reading from callers pauses while much of a question is unread.
    Seen: `client_disconnected` in the log.
    """
    before = patient.metric("llm_requests_total", provider="patient", status="error")
    provider.script(model, [HANG])
    body = {"model": f"patient/{model}", "messages": [{"role": "user", "content": "x" * length}]}

    with ask_and_wait(patient, body, request_id=model):
        eventually(lambda: provider.seen(model)["requests"], "the provider is asked")

    assert_let_go(patient, provider, model, before)


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
def test_S_05_a_caller_closes_only_its_sending_side(
    patient: GatewayProcess, provider: ProviderProcess, model: str, *, streamed: bool
) -> None:
    """A caller shuts its sending side down after the question and goes on reading (a half-closed connection).

    Happens: that is leaving, as for nginx and most servers: the provider is hung up on, the connection closed.
    Seen: `client_disconnected` in the log, once in `llm_requests_total{status="error"}`.
    """
    before = patient.metric("llm_requests_total", provider="patient", status="error")
    provider.script(model, [HANG])

    with ask_and_wait(patient, {"model": f"patient/{model}", "stream": streamed}, request_id=model) as caller:
        eventually(lambda: provider.seen(model)["requests"], "the provider is asked")
        caller.shutdown(socket.SHUT_WR)
        said = caller.recv(65536)

    assert said == b""
    assert_let_go(patient, provider, model, before)


def test_S_07_failures_after_the_first_event(patient: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    """A provider reports an error in the middle of a stream, after events of its own.

    Happens: the events before it, then one with the error; no `[DONE]`, and the body ends properly, so that no client
    takes it for a broken connection. Nothing is tried again.
    Seen: `llm_streams_total{ending="upstream_error"}`, `status` in the log; the head had said 200.
    """
    failure = b'data: {"error":{"message":"out of memory","code":500}}\n\n'
    provider.script(model, stream(FIRST, {"sleep": 0.05}, failure, DONE))

    response = patient.chat(f"patient/{model}", stream=True)

    assert response.status_code == 200
    assert events_of(response)[0] + b"\n\n" == FIRST
    assert (last_error(response)["code"], last_error(response)["message"]) == ("upstream_error", "out of memory")
    assert len(provider.seen(model)["requests"]) == 1


def test_S_09_proxies_that_would_keep_a_stream_back(
    patient: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    """Nginx or another proxy stands in front, which gathers answers or keeps them.

    Happens: streams say `X-Accel-Buffering: no` and `Cache-Control: no-store`; each event leaves as it comes, before
    the next one is there.
    Seen: the headers; `llm_stream_largest_gap_seconds` tells how long a caller waited.
    """
    provider.script(model, stream(FIRST, GATE, LAST, DONE))
    question = {"model": f"patient/{model}", "messages": [], "stream": True}

    with patient.client.stream("POST", "/v1/chat/completions", json=question) as response:
        pieces = response.iter_raw()
        first = next(pieces)
        provider.open(model)
        rest = b"".join(pieces)

    assert (response.headers["x-accel-buffering"], response.headers["cache-control"]) == ("no", "no-store")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (first, rest) == (FIRST, LAST + DONE)


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": True}], ids=str)
def test_S_10_usage_nobody_asked_for(
    patient: GatewayProcess, provider: ProviderProcess, model: str, options: dict[str, bool] | None
) -> None:
    """A caller streams without wanting the usage, which we want.

    Happens: the provider is asked for it, and the event that tells it is taken out unless the caller asked too.
    Seen: `llm_token_usage_total` counts every stream; the log's `prompt_tokens`.
    """
    provider.script(model, stream(FIRST, LAST + USED, DONE))

    response = patient.chat(f"patient/{model}", stream=True, **({"stream_options": options} if options else {}))

    assert provider.bodies(model)[0]["stream_options"] == {"include_usage": True}
    assert response.content == FIRST + LAST + (USED if options == {"include_usage": True} else b"") + DONE
    (line,) = patient.log_of(response.headers["x-request-id"])
    assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 3)


def test_S_11_the_same_question_streamed_and_not(
    patient: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    """The same question is asked once for a stream and once for JSON.

    Happens: the same text, the same tokens, one settled call each.
    Seen: two lines in the log that differ in `stream` and times only.
    """

    def calls() -> float:
        return patient.metric("llm_requests_total", provider="patient", status="success")

    before = calls()

    whole, streamed = (patient.chat(f"patient/{model}", stream=each) for each in (False, True))

    deltas = re.findall(rb'"content":"([^"]*)"', streamed.content)
    assert b"".join(deltas).decode() == whole.json()["choices"][0]["message"]["content"] != ""
    assert calls() == before + 2
    lines = [patient.log_of(each.headers["x-request-id"]) for each in (whole, streamed)]
    same = [[line[name] for name in ("status", "prompt_tokens", "completion_tokens", "attempts")] for (line,) in lines]
    assert same[0] == same[1]
