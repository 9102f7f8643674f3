"""Bodies whose length is not what their head says."""

import asyncio
import json

from tests.chaos.behaviours.registry import behaviour
from tests.chaos.behaviours.well import completion_of, some_events, used
from tests.chaos.line import Asked, Line, whole


def _body(asked: Asked) -> bytes:
    return json.dumps(completion_of(asked)).encode()


@behaviour
async def hang_body(asked: Asked, line: Line) -> bool:
    """The head, half of the body, and nothing more."""
    body = _body(asked)
    await line.head("200 OK", "content-type: application/json", f"content-length: {len(body)}")
    await line.say(body[: len(body) // 2])
    await line.left()
    return False


@behaviour
async def cut_body(asked: Asked, line: Line) -> bool:
    """Half of the body, then the end of the connection."""
    body = _body(asked)
    await line.head("200 OK", "content-type: application/json", f"content-length: {len(body)}")
    await line.say(body[: len(body) // 2])
    return False


@behaviour
async def two_lengths(asked: Asked, line: Line) -> bool:
    """Two different content-lengths."""
    body = _body(asked)
    fields = ("content-type: application/json", f"content-length: {len(body)}", f"content-length: {len(body) + 9}")
    await line.head("200 OK", *fields)
    await line.say(body)
    return False


@behaviour
async def odd_length(asked: Asked, line: Line) -> bool:
    """A content-length of `value` (-1)."""
    await line.head("200 OK", "content-type: application/json", f"content-length: {asked.spec.text('value', '-1')}")
    await line.say(_body(asked))
    return False


@behaviour
async def both_lengths(asked: Asked, line: Line) -> bool:
    """A content-length and chunks."""
    body = _body(asked)
    fields = ("content-type: application/json", "content-length: 5", "transfer-encoding: chunked")
    await line.head("200 OK", *fields)
    await line.chunk(body)
    await line.end_stream()
    return False


@behaviour
async def extra_answer(asked: Asked, line: Line) -> bool:
    """A good answer, and a second one nobody asked for, in one go or after `ms`: the next caller must not get it."""
    poison = whole({"id": "poison", "choices": [{"index": 0, "message": {"content": "poison"}}]})
    if wait := asked.spec.seconds("ms", 0):
        await line.answer(completion_of(asked))
        await asyncio.sleep(wait)
        await line.say(poison)
    else:
        await line.say(whole(completion_of(asked)) + poison)
    used(asked, line)
    return True


@behaviour
async def extra_bytes(asked: Asked, line: Line) -> bool:
    """A content-length shorter than what is sent."""
    body = _body(asked)
    await line.say(whole(body) + b"and more")
    used(asked, line)
    return True


@behaviour
async def no_length(asked: Asked, line: Line) -> bool:
    """A good body that ends where the connection does."""
    await line.head("200 OK", "content-type: application/json", "connection: close")
    await line.say(_body(asked))
    used(asked, line)
    return False


@behaviour
async def bad_chunk(asked: Asked, line: Line) -> bool:
    """A chunk whose size is no number."""
    await line.begin_stream()
    await some_events(asked, line, 2)
    await line.say(b"zz\r\nno\r\n")
    return False
