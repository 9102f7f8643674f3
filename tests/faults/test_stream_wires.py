"""Streams however they are cut up, broken off or never begun; through the whole gateway, with each upstream client."""

import re
from typing import Any

import pytest

from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, send, stream
from tests.support.provider_faults import (
    ABORT,
    DONE,
    ENDLESS,
    FAILED,
    FIRST,
    HALF_LETTER,
    HANG,
    HTML,
    LAST,
    assert_failed,
    data,
    events_of,
    last_error,
    refusal,
)

pytestmark = pytest.mark.e2e


TRUNCATED = {
    "in a letter": stream(FIRST, HALF_LETTER),
    "in a letter, hanging up": stream(FIRST, HALF_LETTER, ABORT),
    "in a line": stream(FIRST, b'data: {"choi'),
    "in a line, hanging up": stream(FIRST, b'data: {"choi', ABORT),
    "before the empty line": stream(FIRST, FIRST[:-1]),
    "in [DONE]": stream(FIRST, LAST, b"data: [DO"),
    "after an event": stream(FIRST),
    "after an event, hanging up": stream(FIRST, ABORT),
    "after an event, without the last chunk": stream(FIRST, {"close": True}),
    "after the last event, hanging up": stream(FIRST, LAST, ABORT),
    "without a length, closed": [
        send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + FIRST),
        {"close": True},
    ],
    "in a chunk": [*stream(FIRST, end=False), send(b"ffff\r\ndata: {"), ABORT],
}


@pytest.mark.parametrize("steps", TRUNCATED.values(), ids=TRUNCATED)
def test_U_09_streams_that_were_cut(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, steps: list[Any]
) -> None:
    """A provider's stream ends by a reset, without its last chunk, or well but without `[DONE]` or a finish reason.

    Happens: what came is passed on, then an error event `upstream_truncated`, and no `[DONE]`: it never looks complete,
    is not stored and not tried again.
    Seen: `llm_streams_total{ending="upstream_truncated"}`, `llm_provider_errors_total`, `status` in the log.
    """
    labels = {"provider": "primary", "error_type": "upstream_truncated"}
    failed = gateway.metric("llm_provider_errors_total", **labels)
    settled = gateway.metric("llm_requests_total", provider="primary", status="error")
    provider.script(model, steps)

    response = gateway.chat(f"primary/{model}", stream=True)

    assert response.status_code == 200
    assert events_of(response)[0] + b"\n\n" == FIRST
    error = last_error(response)
    assert (error["type"], error["code"]) == ("upstream_error", "upstream_truncated")
    assert len(provider.seen(model)["requests"]) == 1
    assert gateway.metric("llm_provider_errors_total", **labels) == failed + 1
    assert gateway.metric("llm_requests_total", provider="primary", status="error") == settled + 1
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert (line["status"], line["attempts"]) == ("upstream_truncated", "primary:upstream_truncated")


def test_U_09_one_choice_of_two(gateway: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    """Two choices were asked for (`n`), and the stream ends well but without `[DONE]` when one has said why it ended.

    Happens: an error event `upstream_truncated` behind what came, and no `[DONE]`.
    Seen: as for every stream that was cut.
    """
    provider.script(model, stream(FIRST, LAST))

    response = gateway.chat(f"primary/{model}", stream=True, n=2)

    assert b"".join(each + b"\n\n" for each in events_of(response)[:2]) == FIRST + LAST
    assert last_error(response)["code"] == "upstream_truncated"


TWO_LINES = b'data: {"choices":[{"index":0,"delta":{"content":"two"},\ndata: "finish_reason":"stop"}]}\n\n'
NAMED = b"event: message\nid: 7\n" + FIRST
TIGHT = FIRST.replace(b"data: ", b"data:")
ESCAPED = event("data: [DONE]\n\n: no comment \x00 ä 🦊")
RAW = 'data: {"choices":[{"index":0,"delta":{"content":"ä € \u2028 🦊"},"finish_reason":null}]}\n\n'.encode()
WELL = FIRST + RAW + ESCAPED + NAMED + TIGHT + TWO_LINES
WIRES = {
    "LF": (WELL + DONE, WELL),
    "CRLF": ((WELL + DONE).replace(b"\n", b"\r\n"), WELL),
    "CR": ((WELL + DONE).replace(b"\n", b"\r"), WELL),
    "mixed": (
        (FIRST + RAW).replace(b"\n", b"\r\n") + TIGHT.replace(b"\n", b"\r") + LAST + DONE,
        FIRST + RAW + TIGHT + LAST,
    ),
    "comments": (
        b": hello\n\n" + FIRST + b":\n\n: again\n: twice\n\n" + b":with\n" + LAST + b": bye\n\n" + DONE,
        FIRST + LAST,
    ),
    "comments in CRLF": (b": hello\r\n\r\n" + FIRST + b":\r\n" + LAST + DONE.replace(b"\n", b"\r\n"), FIRST + LAST),
    "empty lines": (b"\n\n\n" + FIRST + b"\n\n" + LAST + b"\n" + DONE, FIRST + LAST),
    "after the end": (FIRST + LAST + DONE + event("too late"), FIRST + LAST),
    "tight done": (FIRST + LAST + b"data:[DONE]\n\n", FIRST + LAST),
    "done without an empty line": (FIRST + LAST + b"data: [DONE]\n", FIRST + LAST),
}


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(("wire", "events"), WIRES.values(), ids=WIRES)
def test_U_11_streams_however_they_are_written(  # noqa: PLR0913 - fixtures and cases
    gateway: GatewayProcess, provider: ProviderProcess, model: str, wire: bytes, events: bytes, *, apart: bool
) -> None:
    """A stream is split at every byte, inside letters too; its lines end in LF, CRLF, CR or all of them; it has
    comments, empty lines, several `data:` lines in one event, and something after `[DONE]`.

    Happens: the same events with the same bytes come out; line ends become LF, comments are left out.
    Seen: `status` `ok` in the log.
    """
    pieces: list[Any] = [wire]
    if apart:
        pieces = [piece for at in range(len(wire)) for piece in (wire[at : at + 1], {"sleep": 0.0005})]
    provider.script(model, stream(*pieces))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert re.sub(b"\n{3,}", b"\n\n", response.content) == events + DONE
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert line["status"] == "ok"


WHOLE = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
BEFORE_THE_FIRST_EVENT = {
    "nothing": (stream(), 502, "upstream_empty", 1),
    "[DONE] only": (stream(DONE), 502, "upstream_empty", 1),
    "comments only": (stream(b": wait\n\n", b": still\n\n"), 502, "upstream_empty", 1),
    "JSON": (answer(WHOLE), 502, "upstream_malformed", 1),
    "an error as JSON": (answer({"error": FAILED}), 502, "upstream_error", 1),
    "HTML": (answer(b"<html>", headers=HTML), 502, "upstream_malformed", 1),
    "an event without an end": (stream(ENDLESS), 502, "upstream_malformed", 1),
    "an error event": (stream(data({"error": FAILED})), 502, "upstream_error", 1),
    "an error event 429": (stream(data({"error": FAILED | {"code": 429}})), 429, "upstream_rate_limited", 1),
    "500": (refusal("500 Oops"), 502, "upstream_error", 3),
    "401": (refusal("401 No"), 502, "upstream_auth", 1),
    "cut": (stream(FIRST[:9], ABORT), 502, "upstream_truncated", 1),
    "hung up": (stream(ABORT), 502, "upstream_truncated", 1),
    "silence": (stream(HANG), 504, "upstream_timeout", 1),
    "no first byte": ([HANG], 504, "upstream_timeout", 1),
}


@pytest.mark.parametrize(
    ("steps", "status", "word", "tries"), BEFORE_THE_FIRST_EVENT.values(), ids=BEFORE_THE_FIRST_EVENT
)
def test_S_06_failures_before_the_first_event(  # noqa: PLR0913, PLR0917 - fixtures and cases
    gateway: GatewayProcess, provider: ProviderProcess, model: str, steps: list[Any], status: int, word: str, tries: int
) -> None:
    """A stream was asked for, and its provider fails before the first event: by status, silence, HTML, `[DONE]` only.

    Happens: the real status with an error in JSON, never 200 and nothing; the next target is tried where there is one.
    Seen: `x-signalbox-error`, `x-signalbox-attempts`, `llm_provider_errors_total`.
    """
    labels = {"provider": "primary", "error_type": word}
    before = gateway.metric("llm_provider_errors_total", **labels)
    provider.script(model, steps)

    response = gateway.chat(f"primary/{model}", stream=True)

    assert_failed(response, status, word, tries=tries)
    assert len(provider.seen(model)["requests"]) == tries
    assert gateway.metric("llm_provider_errors_total", **labels) == before + tries
