"""However a provider's stream is cut up it comes out the same, and however it breaks the caller is told."""

import json
import re
from typing import Any

import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, send, stream
from tests.support.provider_faults import ABORT, DONE, HANG, assert_failed, events_of, eventually, last_error, refusal

pytestmark = pytest.mark.e2e

FIRST = event("whole")
LAST = event("end", "stop")
HTML = {"content-type": "text/html"}
HALF_LETTER = 'data: {"choices":[{"delta":{"content":"ä'.encode()[:-1]
ENDLESS = b'data: {"choices":[{"delta":{"content":"' + b"x" * 2 * 2**20
NEVER = {"repeat": send(b"%x\r\n%b\r\n" % (len(FIRST), FIRST))["send"], "every": 0.05}
FAILED = {"message": "out of memory", "type": "server_error"}


def data(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


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
    "in a chunk": [*stream(FIRST, end=False), send(b"ffff\r\ndata: {"), ABORT],
}


@pytest.mark.parametrize("steps", TRUNCATED.values(), ids=TRUNCATED)
def test_a_stream_that_was_cut_says_so_at_its_end(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, steps: list[Any]
) -> None:
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


def test_a_stream_that_was_cut_is_not_kept(gateway: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    provider.script(model, stream(FIRST, LAST, ABORT), stream(FIRST, LAST, DONE))
    gateway.chat(f"primary/{model}", stream=True)

    response = gateway.chat(f"primary/{model}", stream=True)

    assert response.headers["x-signalbox-cache"] == "miss"
    assert response.content == FIRST + LAST + DONE


def test_an_end_without_done_is_an_end_when_the_reason_was_told(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(FIRST, LAST))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert response.content == FIRST + LAST + DONE


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
def test_events_come_out_the_same_however_they_were_written_and_cut(  # noqa: PLR0913 - fixtures and cases
    gateway: GatewayProcess, provider: ProviderProcess, model: str, wire: bytes, events: bytes, *, apart: bool
) -> None:
    pieces: list[Any] = [wire]
    if apart:
        pieces = [piece for at in range(len(wire)) for piece in (wire[at : at + 1], {"sleep": 0.0005})]
    provider.script(model, stream(*pieces))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert re.sub(b"\n{3,}", b"\n\n", response.content) == events + DONE
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert line["status"] == "ok"


IN_MIDSTREAM = {
    "endless": ([NEVER], "upstream_timeout"),
    "silence": ([HANG], "upstream_timeout"),
    "an event without an end": ([ENDLESS], "upstream_malformed"),
    "an error": ([data({"error": FAILED})], "upstream_error"),
    "an error in its choices": ([data({"error": FAILED | {"code": 502}, "choices": [{}]})], "upstream_error"),
    "an error 429": ([data({"error": FAILED | {"code": 429}})], "upstream_rate_limited"),
    "an error 408": ([data({"error": FAILED | {"code": 408}})], "upstream_timeout"),
    "an error as text": ([data({"error": "out of memory"})], "upstream_error"),
    "an error and then [DONE]": ([data({"error": FAILED}) + DONE], "upstream_error"),
}


@pytest.mark.parametrize(("pieces", "word"), IN_MIDSTREAM.values(), ids=IN_MIDSTREAM)
def test_a_stream_that_breaks_ends_with_an_error_and_is_not_tried_again(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, pieces: list[Any], word: str
) -> None:
    labels = {"provider": "primary", "error_type": word}
    failed = gateway.metric("llm_provider_errors_total", **labels)
    settled = gateway.metric("llm_requests_total", provider="primary", status="error")
    provider.script(model, stream(FIRST, {"sleep": 0.05}, *pieces))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert events_of(response)[0] + b"\n\n" == FIRST
    error = last_error(response)
    assert (error["type"], error["code"], error["param"]) == ("upstream_error", word, None)
    assert len(provider.seen(model)["requests"]) == 1
    assert gateway.metric("llm_provider_errors_total", **labels) == failed + 1
    assert gateway.metric("llm_requests_total", provider="primary", status="error") == settled + 1
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert (line["status"], line["attempts"]) == (word, f"primary:{word}")


@pytest.mark.parametrize("step", [NEVER, HANG], ids=["endless", "silent"])
def test_a_provider_is_hung_up_on_when_its_time_is_over(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, step: dict[str, Any]
) -> None:
    provider.script(model, stream(FIRST, step))

    gateway.chat(f"primary/{model}", stream=True)

    eventually(lambda: provider.seen(model)["left"] == 1, "the connection is closed")


def test_events_that_came_with_an_error_are_told_before_it(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(FIRST, {"sleep": 0.05}, event("more") + data({"error": FAILED})))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert last_error(response)["code"] == "upstream_error"
    assert response.content.startswith(FIRST + event("more"))


def test_our_key_in_a_streams_error_is_not_passed_on(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(FIRST, {"sleep": 0.05}, data({"error": {"message": f"{PROVIDER_KEY} is odd"}})))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert last_error(response)["message"] == "*** is odd"
    assert PROVIDER_KEY not in response.text


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
def test_a_stream_that_never_began_is_an_ordinary_failure(  # noqa: PLR0913, PLR0917 - fixtures and cases
    gateway: GatewayProcess, provider: ProviderProcess, model: str, steps: list[Any], status: int, word: str, tries: int
) -> None:
    labels = {"provider": "primary", "error_type": word}
    before = gateway.metric("llm_provider_errors_total", **labels)
    provider.script(model, steps)

    response = gateway.chat(f"primary/{model}", stream=True)

    assert_failed(response, status, word, tries=tries)
    assert len(provider.seen(model)["requests"]) == tries
    assert gateway.metric("llm_provider_errors_total", **labels) == before + tries


def test_an_error_event_of_the_callers_making_keeps_the_providers_words(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    said = {"message": "odd", "type": "odd_error", "param": "top_p", "code": 400}
    provider.script(model, stream(data({"error": said})))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert response.status_code == 400
    assert response.json()["error"] == said | {"code": "400"}
    assert response.headers["x-signalbox-error"] == "upstream_rejected"
