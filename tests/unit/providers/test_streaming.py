"""A provider's stream, from its first byte to its `[DONE]`."""

from collections.abc import Sequence

import pytest

from app.domain import upstream_errors as errors
from app.domain.llm import Reply
from app.domain.redaction import Redactor
from app.domain.usage import TokenUsage
from app.providers.errors import ErrorReader
from app.providers.events import LONGEST
from app.providers.reading import AnswerReader
from app.providers.streaming import EventStream
from app.providers.upstream.base import Headers

ONE = b'data: {"choices":[{"delta":{"content":"one"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\n'
ERROR = b'data: {"error":{"message":"no","code":429}}\n\n'
DONE = b"data: [DONE]\n\n"


class Scripted:
    """An exchange that has arrived in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.status = 200
        self.headers: Headers = []
        self.pieces = list(pieces)
        self.reads = 0
        self.closed = False

    async def read(self) -> bytes:
        self.reads += 1
        return self.pieces.pop(0) if self.pieces else b""

    def close(self, *, done: bool = False) -> None:
        self.closed = True
        self.done = done


def stream(*pieces: bytes, choices: int = 1) -> tuple[EventStream, Reply, Scripted]:
    exchange = Scripted(*pieces)
    reply = Reply(body=b"", provider="acme", model="m")
    reader = AnswerReader("acme", ErrorReader("acme", Redactor([])))
    return EventStream(exchange, reader, reply, choices=choices), reply, exchange


async def drain(events: EventStream) -> list[bytes]:
    """What comes until nothing more does."""
    found = []
    while event := await events.next():
        found.append(event)
    return found


async def test_events_come_as_they_arrive_and_their_end_is_noted() -> None:
    events, reply, _ = stream(ONE, ONE + LAST, USAGE, DONE)

    found = await drain(events)

    assert found == [ONE, ONE + LAST, USAGE]
    assert events.done
    assert reply.finish_reasons == ("stop",)
    assert reply.usage == TokenUsage(prompt_tokens=5, completion_tokens=7)


@pytest.mark.parametrize("place", [1, 10, len(ONE) - 1, len(ONE) + 1, len(ONE + LAST) + 6])
async def test_an_event_is_whole_wherever_it_was_cut(place: int) -> None:
    written = ONE + LAST + DONE
    events, _, _ = stream(written[:place], written[place:])

    found = await drain(events)

    assert b"".join(found) == ONE + LAST
    assert all(each.endswith(b"\n\n") for each in found)
    assert events.done


async def test_after_done_nobody_is_asked_any_more() -> None:
    events, _, exchange = stream(LAST + DONE + ONE, ONE)
    await drain(events)
    reads = exchange.reads

    assert await events.next() == b""
    assert exchange.reads == reads == 1


@pytest.mark.parametrize("pieces", [(ONE, ERROR), (ONE + ERROR,), (ONE + ERROR + ONE,), (ONE + ERROR + DONE,)])
async def test_an_error_is_raised_after_the_events_before_it(pieces: Sequence[bytes]) -> None:
    events, _, _ = stream(*pieces)

    assert await events.next() == ONE
    for _ in range(2 if len(pieces) == 1 else 1):
        with pytest.raises(errors.UpstreamRateLimitedError):
            await events.next()


async def test_an_error_as_first_event_is_raised_at_once() -> None:
    events, _, _ = stream(ERROR + DONE)

    with pytest.raises(errors.UpstreamRateLimitedError):
        await events.next()


@pytest.mark.parametrize("pieces", [(ONE,), (ONE, LAST, b"data: hal"), (b"data: hal",), (ONE + b"data: [DON",)])
async def test_a_stream_that_breaks_off_is_truncated(pieces: Sequence[bytes]) -> None:
    events, _, _ = stream(*pieces)

    with pytest.raises(errors.UpstreamTruncatedError) as caught:
        await drain(events)

    assert caught.value.provider == "acme"


@pytest.mark.parametrize("end", [b"", b": bye", b"\r"])
async def test_a_stream_that_said_why_it_ended_needs_no_done(end: bytes) -> None:
    events, _, _ = stream(ONE, LAST + end)

    assert await drain(events) == [ONE, LAST]
    assert not events.done


async def test_of_several_choices_each_has_to_say_why_it_ended() -> None:
    halved, _, _ = stream(ONE, LAST, choices=2)
    whole, _, _ = stream(ONE, LAST, LAST, choices=2)

    with pytest.raises(errors.UpstreamTruncatedError):
        await drain(halved)
    assert await drain(whole) == [ONE, LAST, LAST]


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r\n"])
async def test_done_at_the_very_end_needs_no_empty_line(end: bytes) -> None:
    events, _, _ = stream(ONE, end)

    assert await drain(events) == [ONE]
    assert events.done


@pytest.mark.parametrize("pieces", [(), (b": ping\n\n",), (b"\n\n",)])
async def test_a_stream_of_nothing_gives_nothing(pieces: Sequence[bytes]) -> None:
    events, reply, _ = stream(*pieces)

    assert await drain(events) == []
    assert not events.done
    assert reply.finish_reasons == ()


async def test_comments_are_not_events() -> None:
    events, _, _ = stream(b": ping\n\n", b": ping\n\n" + ONE, b": ping\n\n", LAST + DONE)

    assert await drain(events) == [ONE, LAST]


async def test_an_event_without_an_end_is_not_read_for_ever() -> None:
    piece = b"x" * (LONGEST // 4)
    events, _, exchange = stream(b"data: ", *[piece] * 100)

    with pytest.raises(errors.UpstreamMalformedError, match="without an end"):
        await events.next()

    assert exchange.reads < 10


def test_closing_gives_the_exchange_back() -> None:
    events, _, exchange = stream(ONE)

    events.close()

    assert exchange.closed
