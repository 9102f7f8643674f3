"""Server-sent events, as OpenAI ends them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from litestar.types import Send
from msgspec import Raw, Struct

from app.controllers.door import Headers
from app.controllers.errors import as_gateway_error
from app.controllers.openai.errors import error_body
from app.providers.events import USAGE, payloads, telling, tells

DONE = b"data: [DONE]\n\n"


async def send_events(
    send: Send,
    headers: Headers,
    events: AsyncGenerator[bytes, None],
    *,
    with_usage: bool,
    push: Callable[[bytes], bool],
) -> None:
    """Send the whole answer; its head goes with the first event.

    The status is long sent when something breaks: the error is the last event then, and no `[DONE]` follows.
    `push` sends a piece at once where it can, and says whether it could.
    """
    last, begun = DONE, False
    try:
        async with aclosing(events):
            async for event in events:
                piece = event if with_usage else without_usage(event)
                if not begun:
                    begun = True
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                if piece and not push(piece):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
    except Exception as error:  # noqa: BLE001 - rendered, as the exception handlers would
        last = b"data: " + msgspec.json.encode(error_body(as_gateway_error(error))) + b"\n\n"
        error.__traceback__ = error.__cause__ = error.__context__ = None  # it holds frames, and they the answer
    if not begun:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": last, "more_body": False})


def without_usage(events: bytes) -> bytes:
    """The events without the one that only tells the usage: the gateway asked for that, not the caller."""
    if not tells(events, USAGE):
        return events
    kept, start = [], 0
    for begin, end in telling(events, USAGE):
        if _only_usage(events[begin:end]):
            kept.append(events[start:begin])
            start = end
    return b"".join([*kept, events[start:]]) if start else events


class _Chunk(Struct):
    choices: list[Raw] | None = None
    usage: Raw = Raw()


_decode = msgspec.json.Decoder(_Chunk).decode


def _only_usage(event: bytes) -> bool:
    try:
        (payload,) = payloads(event)
        chunk = _decode(payload)
    except (ValueError, RecursionError):  # msgspec's and Unicode's errors are ValueErrors
        return False
    return chunk.choices == [] and bytes(chunk.usage) not in {b"", b"null"}
