"""Server-sent events, as OpenAI ends them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from msgspec import Raw, Struct

from app.controllers.errors import as_gateway_error
from app.controllers.openai.errors import error_body
from app.providers.events import payloads

DONE = b"data: [DONE]\n\n"


async def as_sse(events: AsyncGenerator[bytes, None], *, with_usage: bool) -> AsyncGenerator[bytes, None]:
    """The status is long sent when something breaks: the error is the last event, and no `[DONE]` follows."""
    try:
        async with aclosing(events):
            async for event in events:
                if with_usage or event.count(b'"usage"') == event.count(b'"usage":null'):
                    yield event
                elif left := without_usage(event):
                    yield left
    except Exception as error:  # noqa: BLE001 - rendered, as the exception handlers would
        yield b"data: " + msgspec.json.encode(error_body(as_gateway_error(error))) + b"\n\n"
    else:
        yield DONE


def without_usage(events: bytes) -> bytes:
    """The events without the one that only tells the usage: the gateway asked for that, not the caller."""
    kept = [event for event in events.split(b"\n\n") if event and not _only_usage(event)]
    return b"".join(event + b"\n\n" for event in kept)


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
