"""A stream as OpenAI's clients read it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.controllers.openai.sse import DONE, send_events, without_usage
from app.domain.upstream_errors import UpstreamRejectedError, UpstreamTruncatedError

ONE = b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n'
NULL = b'data: {"choices":[{"delta":{}}],"usage":null}\n\n'
BOTH = b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'


class Source:
    """Items of a stream, then what breaks it."""

    def __init__(self, *items: bytes, error: Exception | None = None) -> None:
        self.items = items
        self.error = error
        self.closed = False

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        try:
            for each in self.items:
                yield each
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


async def told(source: Source, *, with_usage: bool, pushes: bool, fails: bool = False) -> list[bytes]:
    """What is sent after the head, whichever way it is sent."""
    pieces: list[bytes] = []
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)
        if "body" in message:
            pieces.append(message["body"])
            if fails:
                raise asyncio.CancelledError

    def push(piece: bytes) -> bool:
        if pushes:
            pieces.append(piece)
        return pushes

    await send_events(send, [(b"x", b"y")], source(), with_usage=with_usage, push=push)
    first, *others = messages
    assert (first["type"], first["status"], first["headers"]) == ("http.response.start", 200, [(b"x", b"y")])
    assert [each["more_body"] for each in others] == [True] * (len(others) - 1) + [False]
    return pieces


async def sent(*items: bytes, with_usage: bool = False, error: Exception | None = None) -> list[bytes]:
    in_messages, pushed = [
        await told(Source(*items, error=error), with_usage=with_usage, pushes=pushes) for pushes in (False, True)
    ]
    assert in_messages == pushed
    return pushed


async def test_done_is_the_last_event() -> None:
    assert await sent(ONE, NULL) == [ONE, NULL, DONE]
    assert await sent() == [DONE]


async def test_usage_that_only_we_asked_for_is_taken_out() -> None:
    assert await sent(ONE, USAGE) == [ONE, DONE]
    assert await sent(ONE, USAGE, with_usage=True) == [ONE, USAGE, DONE]


@pytest.mark.parametrize(
    "told",
    [
        b"id: 7\n" + USAGE,
        b"event: message\nid: 7\nretry: 5\n" + USAGE,
        USAGE.replace(b"data: ", b"data:"),
        b'data: {"choices":[],\ndata: "usage":{"prompt_tokens":1}}\n\n',
        b'data: {"usage" : {"prompt_tokens":1}, "choices" : [ ]}\n\n',
    ],
)
async def test_usage_is_taken_out_however_it_is_written(told: bytes) -> None:
    assert await sent(ONE, told) == [ONE, DONE]


async def test_of_several_events_in_one_item_only_the_usage_goes() -> None:
    assert await sent(ONE + USAGE + b"id: 8\n" + NULL) == [ONE + b"id: 8\n" + NULL, DONE]
    assert await sent(USAGE + USAGE) == [DONE]


@pytest.mark.parametrize(
    "event",
    [
        BOTH,
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[]}\n\n',
        b'data: {"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"usage\\":"}}]}\n\n',
        b'data: {"choices":[],"usage":\n\n',
        b'data: {"choices":[],"usage":\xff}\n\n',
        b'event: "usage"\n\n',
        b'data: "usage"\n\n',
        b'data: {"usage":' + b"[" * 100_000 + b"\n\n",
    ],
)
async def test_whatever_is_not_only_usage_stays_as_it_is(event: bytes) -> None:
    assert without_usage(event) == event
    assert await sent(event) == [event, DONE]


def error_of(event: bytes) -> dict[str, Any]:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    body: dict[str, Any] = json.loads(event.removeprefix(b"data: "))
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    return error


async def test_an_error_is_the_last_event_and_no_done_follows() -> None:
    *before, last = await sent(ONE, error=UpstreamTruncatedError("cut", provider="p"))

    assert before == [ONE]
    assert error_of(last) == {"message": "cut", "type": "upstream_error", "param": None, "code": "upstream_truncated"}


async def test_an_error_with_line_breaks_is_still_one_event() -> None:
    said = UpstreamRejectedError("a\n\nb\r", provider="p", status=422, type="odd", code="c", param="x")

    (last,) = await sent(error=said)

    assert last.count(b"\n") == 2
    assert error_of(last) == {"message": "a\n\nb\r", "type": "odd", "param": "x", "code": "c"}


async def test_what_nobody_foresaw_says_nothing_of_its_insides() -> None:
    (last,) = await sent(error=ZeroDivisionError("secret"))

    assert b"secret" not in last
    assert error_of(last)["code"] == "internal_error"


@pytest.mark.parametrize("items", [(ONE,), (ONE, ONE, ONE)])
async def test_who_stops_reading_closes_what_is_read(items: tuple[bytes, ...]) -> None:
    source = Source(*items)

    with pytest.raises(asyncio.CancelledError):
        await told(source, with_usage=False, pushes=False, fails=True)

    assert source.closed
