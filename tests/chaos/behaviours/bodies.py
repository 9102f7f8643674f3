"""Whole answers that are not what OpenAI's API answers."""

import gzip
import json
import zlib
from functools import lru_cache
from typing import Any

from tests.chaos.behaviours.registry import behaviour
from tests.chaos.behaviours.well import completion_of, usage_of, used
from tests.chaos.line import Asked, Line

MIB = 1024 * 1024
NONSENSE: dict[str, Any] = {
    "missing": None,
    "negative": {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12},
    "huge": {"prompt_tokens": 10**18, "completion_tokens": 10**18, "total_tokens": 2 * 10**18},
    "string": {"prompt_tokens": "7", "completion_tokens": "3", "total_tokens": "10"},
    "float": {"prompt_tokens": 7.5, "completion_tokens": 1e300, "total_tokens": 1},
    "contradictory": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 1},
    "list": [1, 2, 3],
}


@behaviour
async def text(asked: Asked, line: Line) -> bool:
    """200 with something else: `kind` html, not_json, empty, null, array, number, deep, wrong, no_choices, error."""
    deep = b"[" * 100_000 + b"]" * 100_000
    kinds: dict[str, tuple[str, bytes]] = {
        "html": ("text/html", b"<html>Sign in to the network</html>"),
        "not_json": ("application/json", b"{not json"),
        "empty": ("application/json", b""),
        "null": ("application/json", b"null"),
        "array": ("application/json", b"[]"),
        "number": ("application/json", b"5"),
        "deep": ("application/json", b'{"choices":' + deep + b"}"),
        "wrong": ("application/json", b'{"choices":"many","usage":[]}'),
        "no_choices": ("application/json", b'{"choices":[],"usage":{"prompt_tokens":1}}'),
        "error": ("application/json", b'{"error":{"message":"overloaded","code":529}}'),
        "utf8": ("application/json", b'{"choices":[{"message":{"content":"\xff\xfe"}}]}'),
    }
    kind, body = kinds[asked.spec.text("kind", "html")]
    await line.answer(body, "200 OK", f"content-type: {kind}")
    return True


@behaviour
async def usage(asked: Asked, line: Line) -> bool:
    """Good, but its usage is nonsense: `kind` missing, negative, huge, string, float, contradictory, list, two."""
    kind = asked.spec.text("kind", "negative")
    told = NONSENSE.get(kind, usage_of(asked))
    if not asked.stream:
        body = completion_of(asked, usage=told)
        if told is None:
            del body["usage"]
        await line.answer(body)
        return True
    await line.begin_stream()
    choice = {"index": 0, "delta": {"content": "word"}, "finish_reason": "stop"}
    await line.event(asked.identity | {"choices": [choice]})
    for _ in range(2 if kind == "two" else 1 if told is not None else 0):
        await line.event(asked.identity | {"choices": [], "usage": told})
    await line.event(b"[DONE]")
    await line.end_stream()
    return True


@behaviour
async def zipped(asked: Asked, line: Line) -> bool:
    """A good answer in gzip, though nobody asked for that."""
    body = gzip.compress(json.dumps(completion_of(asked)).encode())
    await line.answer(body, "200 OK", "content-encoding: gzip")
    used(asked, line)
    return True


@behaviour
async def gzip_bomb(asked: Asked, line: Line) -> bool:
    """`mb` (256) of spaces in gzip; `twice` (0): gzip in gzip."""
    body = _bomb(asked.spec.count("mb", 256), twice=bool(asked.spec.count("twice", 0)))
    await line.answer(body, "200 OK", f"content-encoding: gzip{', gzip' if asked.spec.count('twice', 0) else ''}")
    return True


@behaviour
async def encoded(asked: Asked, line: Line) -> bool:
    """An encoding nobody has: `by` (zstd)."""
    await line.answer(b"\x28\xb5\x2f\xfd", "200 OK", f"content-encoding: {asked.spec.text('by', 'zstd')}")
    return True


@behaviour
async def huge_json(asked: Asked, line: Line) -> bool:
    """One JSON answer of `mb` (100)."""
    size = asked.spec.count("mb", 100)
    start, end = b'{"choices":[{"message":{"content":"', b'"}}]}'
    await line.head("200 OK", "content-type: application/json", f"content-length: {size * MIB + len(start + end)}")
    await line.say(start)
    for _ in range(size * 16):
        await line.say(b"x" * (MIB // 16))
    await line.say(end)
    return True


@behaviour
async def json_for_stream(asked: Asked, line: Line) -> bool:
    """A whole JSON answer, whatever was asked for."""
    await line.answer(completion_of(asked))
    used(asked, line)
    return True


@lru_cache(4)
def _bomb(mb: int, *, twice: bool) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join([packer.compress(b" " * MIB) for _ in range(mb)]) + packer.flush()
    return gzip.compress(body, 9) if twice else body
