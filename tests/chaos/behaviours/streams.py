"""Streams that do not end as they should, or do not end."""

import json

from tests.chaos.behaviours.registry import behaviour
from tests.chaos.behaviours.well import WORD, delta_of, some_events, usage_of
from tests.chaos.line import Asked, Line

MIB = 1024 * 1024
BEFORE = 3
"""Events before it goes wrong."""


async def _begin(asked: Asked, line: Line) -> None:
    await line.begin_stream()
    await some_events(asked, line, asked.spec.count("events", BEFORE))


@behaviour
async def truncate(asked: Asked, line: Line) -> bool:
    """`events` (3), then the end of the connection, in the middle of the chunked body."""
    await _begin(asked, line)
    return False


@behaviour
async def eof(asked: Asked, line: Line) -> bool:
    """`events` (3), then a proper end of the body, without [DONE] or a finish_reason."""
    await _begin(asked, line)
    await line.end_stream()
    return True


@behaviour
async def half_event(asked: Asked, line: Line) -> bool:
    """Ends properly in the middle of an event."""
    await _begin(asked, line)
    await line.chunk(b'data: {"choices":[{"ind')
    await line.end_stream()
    return True


@behaviour
async def empty_stream(asked: Asked, line: Line) -> bool:
    """No event at all; `done` (0): only [DONE]."""
    await line.begin_stream()
    if asked.spec.count("done", 0):
        await line.event(b"[DONE]")
    await line.end_stream()
    return True


@behaviour
async def reset_mid_stream(asked: Asked, line: Line) -> bool:
    """`events` (3), then RST."""
    await _begin(asked, line)
    if await line.left(asked.spec.seconds("ms", 50)):  # a reset takes what was not read yet
        return False
    return line.reset()


@behaviour
async def hang_mid_stream(asked: Asked, line: Line) -> bool:
    """`events` (3), then nothing, ever."""
    await _begin(asked, line)
    await line.left()
    return False


@behaviour
async def endless(asked: Asked, line: Line) -> bool:
    """An event every `every_ms` (20), for ever."""
    await line.begin_stream()
    while not await line.left(asked.spec.seconds("every_ms", 20)):
        await line.event(delta_of(asked))
    return False


@behaviour
async def flood(asked: Asked, line: Line) -> bool:
    """Events of 32 KiB as fast as they are read, for ever."""
    event = delta_of(asked, "x" * 32 * 1024)
    await line.begin_stream()
    try:
        while True:
            await line.event(event)
    except ConnectionError:
        line.ending = "deserted"
    return False


@behaviour
async def endless_pings(asked: Asked, line: Line) -> bool:
    """`events` (0), then `: ping` every `every_ms` (20), for ever."""
    asked.spec.parameters.setdefault("events", "0")
    await _begin(asked, line)
    while not await line.left(asked.spec.seconds("every_ms", 20)):
        await line.chunk(b": ping\n\n")
    return False


@behaviour
async def endless_empty(asked: Asked, line: Line) -> bool:
    """Empty deltas every `every_ms` (20), for ever."""
    await line.begin_stream()
    while not await line.left(asked.spec.seconds("every_ms", 20)):
        await line.event(delta_of(asked, ""))
    return False


@behaviour
async def no_newline(asked: Asked, line: Line) -> bool:
    """`mb` (200) in one line that does not end."""
    await line.begin_stream()
    await line.chunk(b"data: ")
    for _ in range(asked.spec.count("mb", 200) * 16):
        await line.chunk(b"x" * (MIB // 16))
    await line.left(asked.spec.seconds("ms", 1000))
    return False


@behaviour
async def huge_event(asked: Asked, line: Line) -> bool:
    """`events` (3), then one of `kb` (2048), then a good end."""
    await _begin(asked, line)
    await line.event(delta_of(asked, "x" * asked.spec.count("kb", 2048) * 1024))
    await line.event(delta_of(asked, "", "stop"))
    await line.event(b"[DONE]")
    await line.end_stream()
    return True


@behaviour
async def error_event(asked: Asked, line: Line) -> bool:
    """`events` (3), then an error event with `code` (server_error), then the end; `done` (0): and [DONE]."""
    await _begin(asked, line)
    code = asked.spec.text("code", "server_error")
    error = {"message": "it broke", "type": "server_error", "code": int(code) if code.isdigit() else code}
    await line.event({"error": error})
    if asked.spec.count("done", 0):
        await line.event(b"[DONE]")
    await line.end_stream()
    return True


@behaviour
async def bad_event(asked: Asked, line: Line) -> bool:
    """`events` (3), then one that is no JSON, then a good end."""
    await _begin(asked, line)
    await line.event(b"{no json")
    await line.event(delta_of(asked, "", "stop"))
    await line.event(b"[DONE]")
    await line.end_stream()
    return True


@behaviour
async def after_done(asked: Asked, line: Line) -> bool:
    """More events after [DONE]."""
    await _begin(asked, line)
    await line.event(delta_of(asked, "", "stop"))
    await line.event(asked.identity | {"choices": [], "usage": usage_of(asked)})
    await line.event(b"[DONE]")
    await line.event(delta_of(asked, "too late"))
    await line.end_stream()
    return True


@behaviour
async def torn_words(asked: Asked, line: Line) -> bool:
    """A good stream of words with umlauts and emoji, each character torn between two segments."""
    text = f"Grüße {WORD}👋"
    await line.begin_stream()
    said = json.dumps(delta_of(asked, text, "stop"), ensure_ascii=False).encode()
    for each in b"data: " + said + b"\n\ndata: [DONE]\n\n":
        await line.chunk(bytes([each]))
    line.events += 1
    await line.end_stream()
    return True
