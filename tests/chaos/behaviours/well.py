"""How it should be, and how it may be: slow, in odd pieces, with unusual contents, but true."""

import asyncio
import json
import struct
from base64 import b64encode
from typing import Any

from tests.chaos.behaviours.registry import behaviour
from tests.chaos.line import Asked, Line

WORD = "another word "


def usage_of(asked: Asked) -> dict[str, int]:
    prompt, completion = asked.tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion_of(asked: Asked, **fields: Any) -> dict[str, Any]:
    """The whole JSON answer."""
    words = WORD * asked.tokens[1]
    if asked.operation == "completions":
        choice: dict[str, Any] = {"index": 0, "text": words, "finish_reason": "stop"}
    else:
        choice = {"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}
    return asked.identity | {"object": "chat.completion", "choices": [choice], "usage": usage_of(asked)} | fields


def embedding_of(asked: Asked) -> dict[str, Any]:
    vector: Any = [0.25] * asked.tokens[1] + [0.5]
    if asked.fields.get("encoding_format") == "base64":
        vector = b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": asked.tokens[0], "total_tokens": asked.tokens[0]}
    return asked.identity | {"object": "list", "data": data, "usage": usage}


def delta_of(asked: Asked, text: str = WORD, finish_reason: str | None = None) -> dict[str, Any]:
    if asked.operation == "completions":
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish_reason}
    else:
        choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish_reason}
    return asked.identity | {"object": "chat.completion.chunk", "choices": [choice]}


def events_of(asked: Asked) -> list[bytes]:
    """The data of every event of a good stream, `[DONE]` included."""
    said = [delta_of(asked)] * asked.tokens[1]
    said += [delta_of(asked, "", "stop"), asked.identity | {"choices": [], "usage": usage_of(asked)}]
    return [*(json.dumps(each, separators=(",", ":")).encode() for each in said), b"[DONE]"]


def used(asked: Asked, line: Line) -> None:
    """The whole usage has been told."""
    prompt, completion = asked.tokens
    line.usage = (prompt, 0 if asked.operation == "embeddings" else completion)


async def some_events(asked: Asked, line: Line, count: int) -> None:
    for _ in range(count):
        await line.event(delta_of(asked))


@behaviour
async def well(asked: Asked, line: Line) -> bool:
    """A good answer: JSON, stream or embedding, as was asked. `ms` before it, `every_ms` between events."""
    if (wait := asked.spec.seconds("ms", 0)) and await line.left(wait):
        return False
    if not asked.stream or asked.operation == "embeddings":
        await line.answer(embedding_of(asked) if asked.operation == "embeddings" else completion_of(asked))
        used(asked, line)
        return True
    await line.begin_stream()
    every = asked.spec.seconds("every_ms", 0)
    for each in events_of(asked):
        await line.event(each)
        if every and await line.left(every):
            return False
    await line.end_stream()
    used(asked, line)
    return True


@behaviour
async def latency(asked: Asked, line: Line) -> bool:
    """Good after `ms` (500)."""
    asked.spec.parameters.setdefault("ms", "500")
    return await well(asked, line)


@behaviour
async def drip(asked: Asked, line: Line) -> bool:
    """Good, but `bytes` (16) at a time, `every_ms` (5)."""
    size, every = asked.spec.count("bytes", 16), asked.spec.seconds("every_ms", 5)
    whole = await _recorded(asked, line)
    for start in range(0, len(whole), size):
        await line.say(whole[start : start + size])
        if await line.left(every):
            return False
    used(asked, line)
    return True


@behaviour
async def split(asked: Asked, line: Line) -> bool:
    """Good, every `bytes` (1) in a segment of its own, as fast as they go."""
    size = asked.spec.count("bytes", 1)
    whole = await _recorded(asked, line)
    for start in range(0, len(whole), size):
        await line.say(whole[start : start + size])
        await asyncio.sleep(0)
    used(asked, line)
    return True


@behaviour
async def dressed(asked: Asked, line: Line) -> bool:
    """A good stream in another dress: `ends` crlf (default), cr or mixed; comments, `event:`, `id:`, `retry:` lines."""
    if not asked.stream:
        return await well(asked, line)
    ends = {"crlf": [b"\r\n"], "cr": [b"\r"], "lf": [b"\n"], "mixed": [b"\r\n", b"\n"]}
    chosen = ends[asked.spec.text("ends", "crlf")]
    await line.begin_stream()
    for turn, each in enumerate(events_of(asked)):
        end = chosen[turn % len(chosen)]
        lines = [b": a comment", b"event: message", b"id: %d" % turn, b"retry: 10", b"data: " + each, b""]
        await line.chunk(end.join([*lines, b""]))
        line.events += 1
    await line.end_stream()
    used(asked, line)
    return True


@behaviour
async def finish(asked: Asked, line: Line) -> bool:
    """A good answer that ended by `reason` (length); with tool_calls their arguments are broken JSON."""
    reason = asked.spec.text("reason", "length")
    calls = {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a'}}]}
    said: dict[str, Any] = calls if reason == "tool_calls" else {"content": WORD}
    choice = {"index": 0, "finish_reason": reason}
    if not asked.stream:
        message = {"role": "assistant", "content": None} | said
        await line.answer(completion_of(asked, choices=[choice | {"message": message}]))
    else:
        await line.begin_stream()
        await line.event(asked.identity | {"choices": [choice | {"delta": said}]})
        await line.event(asked.identity | {"choices": [], "usage": usage_of(asked)})
        await line.event(b"[DONE]")
        await line.end_stream()
    used(asked, line)
    return True


@behaviour
async def flapping(asked: Asked, line: Line) -> bool:
    """`failures` (1) times `status` (500), then good; counted by call, else by model."""
    if asked.times <= asked.spec.count("failures", 1):
        body = {"error": {"message": "not yet", "type": "server_error", "code": None, "param": None}}
        await line.answer(body, f"{asked.spec.count('status', 500)} Again")
        return True
    return await well(asked, line)


async def _recorded(asked: Asked, line: Line) -> bytes:
    """The bytes of a good answer, unsent."""
    tape = _Tape(line)
    await well(asked, tape)
    line.events = tape.events
    return bytes(tape.said)


class _Tape(Line):
    """Takes what is said instead of sending it."""

    def __init__(self, line: Line) -> None:
        super().__init__(line.reader, line.writer, line.number)
        self.said = bytearray()

    async def say(self, data: bytes) -> None:
        self.said += data
