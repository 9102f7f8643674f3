"""Answers that are none, take for ever, or lie; through the whole gateway, with each upstream client."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    answer,
    event,
    send,
    stream,
)
from tests.support.provider_faults import DONE, HANG, assert_failed, eventually, last_error, refusal

pytestmark = pytest.mark.e2e

HTML = {"content-type": "text/html"}
OWN_TEXT = "a text that only the provider knows"
FIRST, LAST = event("whole"), event("end", "stop")
USED = {"prompt_tokens": 7, "completion_tokens": 3}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
def test_U_03_accepts_and_never_answers(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, *, streamed: bool
) -> None:
    """A provider takes the question and says nothing.

    Happens: 504 `upstream_timeout` when `timeouts.first_byte` is over; its connection is closed and its place is free.
    Seen: `llm_provider_errors_total{error_type="upstream_timeout"}`; `llm_active_requests` is back to 0.
    """
    provider.script(model, [HANG])

    response = gateway.chat(f"primary/{model}", stream=streamed)

    assert_failed(response, 504, "upstream_timeout")
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")
    assert gateway.metric("llm_active_requests", provider="primary") == 0


EMPTY_DELTA = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize("first", [b"", FIRST], ids=["before the first event", "in mid-stream"])
@pytest.mark.parametrize("again", [b": ping\n\n", EMPTY_DELTA], ids=["pings", "empty deltas"])
def test_U_05_talks_without_saying_anything(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, first: bytes, again: bytes
) -> None:
    """A provider sends comments or empty deltas for ever.

    Happens: any byte begins `timeouts.idle` anew, and none of them `timeouts.stream_total`: when that is over, the
    stream ends with an error event `upstream_timeout`, or is an ordinary 504 if there was no event yet.
    Seen: `llm_streams_total{ending="upstream_timeout"}`, `llm_provider_errors_total{error_type="upstream_timeout"}`.
    """
    pieces = [first] if first else []
    provider.script(model, stream(*pieces, {"repeat": send(chunk(again))["send"], "every": 0.05}, end=False))

    response = gateway.chat(f"primary/{model}", stream=True)

    if first or again == EMPTY_DELTA:
        assert last_error(response)["code"] == "upstream_timeout"
    else:
        assert_failed(response, 504, "upstream_timeout")
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert line["status"] == "upstream_timeout"
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")


NO_ANSWERS = {
    "no JSON": (answer(b"{not json " + OWN_TEXT.encode()), "upstream_malformed"),
    "HTML": (answer(f"<html>{OWN_TEXT}</html>".encode(), headers=HTML), "upstream_malformed"),
    "nothing": (answer(b""), "upstream_malformed"),
    "null": (answer(b"null"), "upstream_malformed"),
    "a list": (answer(json.dumps([OWN_TEXT]).encode()), "upstream_malformed"),
    "a number": (answer(b"42"), "upstream_malformed"),
    "choices of another kind": (answer({"choices": [OWN_TEXT]}), "upstream_malformed"),
    "no choices": (answer({"object": OWN_TEXT}), "upstream_malformed"),
    "0 choices": (answer({"choices": [], "x": OWN_TEXT}), "upstream_empty"),
    "no UTF-8": (answer(b'{"choices":[{"text":"\xff"}]}'), "upstream_malformed"),
    "depth": (answer(b'{"choices":[{}],"a":' + b"[" * 50_000), "upstream_malformed"),
    "a redirect": (answer(b"", status="307 Moved", headers={"location": "/elsewhere"}), "upstream_malformed"),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize(("steps", "word"), NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_U_07_answers_with_200_that_are_none(  # noqa: PLR0913 - fixtures and cases
    gateway: GatewayProcess, provider: ProviderProcess, model: str, steps: list[Any], word: str, *, streamed: bool
) -> None:
    """A provider answers 200 with what is no completion: broken JSON, HTML, nothing, another shape; or redirects.

    Happens: 502 `upstream_malformed`, or `upstream_empty` where only the choices are missing; the body is not passed
    on, a redirect is not followed, and the next target is tried.
    Seen: `llm_provider_errors_total{error_type=…}`, `x-signalbox-attempts`; it tells against the provider's health.
    """
    labels = {"provider": "primary", "error_type": word}
    failed = gateway.metric("llm_provider_errors_total", **labels)
    provider.script(model, steps)

    response = gateway.chat(f"primary/{model}", stream=streamed)

    assert_failed(response, 502, word)
    assert OWN_TEXT not in f"{response.text}{response.headers}{gateway.log_text()}"
    assert len(provider.seen(model)["requests"]) == 1
    assert gateway.metric("llm_provider_errors_total", **labels) == failed + 1


TOLD = f"{PROVIDER_KEY} at /srv/models/x.gguf may not ask “hi”"


@pytest.mark.parametrize("status", ["400 Bad", "404 Not Found", "422 No", "429 Slow", "500 Oops", "504 Late", "200 OK"])
@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
def test_U_14_errors_that_carry_our_key(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, status: str, *, streamed: bool
) -> None:
    """A provider's error text holds the key it was asked with.

    Happens: its text is passed on, for it is the caller who has to understand it; every key we hold is `***` in it.
    Seen: no key in answers, headers and log.
    """
    said = {"message": TOLD, "type": TOLD, "code": TOLD, "param": TOLD}
    provider.script(model, refusal(status, **said))

    response = gateway.chat(f"primary/{model}", stream=streamed)

    assert response.json()["error"]["message"] == TOLD.replace(PROVIDER_KEY, "***")
    assert PROVIDER_KEY not in f"{response.text}{response.headers}{gateway.log_text()}"


USAGES: dict[str, tuple[Any, tuple[int, int]]] = {
    "missing": (None, (0, 0)),
    "negative": ({"prompt_tokens": -5, "completion_tokens": 3}, (0, 3)),
    "huge": ({"prompt_tokens": 10**18, "completion_tokens": 1}, (10**12, 1)),
    "text": ({"prompt_tokens": "7", "completion_tokens": 3}, (0, 3)),
    "all text": ("many", (0, 0)),
    "contradictory": (USED | {"total_tokens": 99_999}, (7, 3)),
    "fractions": ({"prompt_tokens": 7.9, "completion_tokens": 3}, (7, 3)),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize(("said", "counted"), USAGES.values(), ids=USAGES)
def test_U_23_usage_that_cannot_be(  # noqa: PLR0913 - fixtures and cases
    gateway: GatewayProcess,
    provider: ProviderProcess,
    model: str,
    said: Any,
    counted: tuple[int, int],
    *,
    streamed: bool,
) -> None:
    """A provider's usage is missing, negative, 10¹⁸, text, contradictory, or told twice in one stream.

    Happens: what cannot be is brought to what can: at least 0, at most 10¹² tokens; of several in a stream the last
    counts, once. The caller gets the provider's own words.
    Seen: `llm_token_usage_total` never falls; the log's `prompt_tokens` and `completion_tokens`.
    """
    kinds = ("prompt", "completion")
    before = [gateway.metric("llm_token_usage_total", provider="primary", type=kind) for kind in kinds]
    if streamed:
        early = b"data: " + json.dumps({"choices": [], "usage": USED}).encode() + b"\n\n" if said is not None else b""
        last = b"data: " + json.dumps({"choices": [], "usage": said}).encode() + b"\n\n"
        provider.script(model, stream(FIRST, early + LAST, last + DONE))
    else:
        choice = {"message": {"content": "x"}, "finish_reason": "stop"}
        provider.script(model, answer({"choices": [choice], "usage": said}))

    response = gateway.chat(f"primary/{model}", stream=streamed, stream_options={"include_usage": True})

    assert response.status_code == 200
    assert json.dumps(said).encode() in response.content
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert (line["prompt_tokens"], line["completion_tokens"]) == counted
    after = [gateway.metric("llm_token_usage_total", provider="primary", type=kind) for kind in kinds]
    assert [now - then for now, then in zip(after, before, strict=True)] == list(counted)


BROKEN_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"city": "Os'}}
ODD_ENDS = {
    "length": {"message": {"content": "half a"}, "finish_reason": "length"},
    "content_filter": {"message": {"content": None, "refusal": "no"}, "finish_reason": "content_filter"},
    "broken arguments": {"message": {"content": None, "tool_calls": [BROKEN_CALL]}, "finish_reason": "tool_calls"},
    "a reason of its own": {"message": {"content": "x"}, "finish_reason": {"odd": [1]}},
}


@pytest.mark.parametrize("choice", ODD_ENDS.values(), ids=ODD_ENDS)
def test_U_25_answers_that_ended_otherwise(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, choice: dict[str, Any]
) -> None:
    """An answer ends with `length`, `content_filter`, or tool calls whose arguments are broken JSON.

    Happens: it goes through byte for byte, and is not stored: the same question is asked again.
    Seen: `x-signalbox-cache: miss` both times.
    """
    body = json.dumps({"choices": [choice], "usage": USED}, indent=1).encode()
    provider.script(model, answer(body))

    answers = [gateway.chat(f"primary/{model}") for _ in range(2)]

    assert [each.content for each in answers] == [body] * 2
    assert [each.headers["x-signalbox-cache"] for each in answers] == ["miss"] * 2
    assert len(provider.seen(model)["requests"]) == 2
