"""What goes wrong before or with the head of an answer."""

import asyncio

from tests.chaos.behaviours.registry import behaviour
from tests.chaos.behaviours.well import completion_of
from tests.chaos.line import Asked, Line

KIB = 1024


@behaviour
async def hang(asked: Asked, line: Line) -> bool:
    """Takes the question and says nothing, ever."""
    await line.left()
    return False


@behaviour
async def hang_head(asked: Asked, line: Line) -> bool:
    """Stops in the middle of the head."""
    await line.say(b"HTTP/1.1 200 OK\r\ncontent-ty")
    await line.left()
    return False


@behaviour
async def interim(asked: Asked, line: Line) -> bool:
    """1xx after 1xx: `count` (0: for ever) of `status` (102), then the answer."""
    status, count = asked.spec.count("status", 102), asked.spec.count("count", 0)
    sent = 0
    while not count or sent < count:
        await line.say(b"HTTP/1.1 %d Processing\r\n\r\n" % status)
        sent += 1
        if sent % 100 == 0 and await line.left(0.001):
            return False
    await line.answer(completion_of(asked))
    return True


@behaviour
async def header_lines(asked: Asked, line: Line) -> bool:
    """A head that never ends: a line every `every_ms` (1)."""
    await line.say(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while not await line.left(asked.spec.seconds("every_ms", 1)):
        await line.say(b"x-%d: y\r\n" % number)
        number += 1
    return False


@behaviour
async def huge_header(asked: Asked, line: Line) -> bool:
    """One header of `kb` (50000)."""
    await line.say(b"HTTP/1.1 200 OK\r\nx-long: ")
    for _ in range(asked.spec.count("kb", 50_000) // 64):
        await line.say(b"x" * 64 * KIB)
    await line.say(b"\r\ncontent-length: 2\r\n\r\n{}")
    return True


@behaviour
async def garbage(asked: Asked, line: Line) -> bool:
    """Bytes that are no HTTP: `kind` random, http2, redis, tls or status (a bad status line)."""
    kinds = {
        "random": bytes(range(256)),
        "http2": b"\0\0\x12\4\0\0\0\0\0",
        "redis": b"-ERR unknown command 'POST'\r\n",
        "tls": b"\x15\x03\x01\0\x02\x02\x50",
        "status": b"HTTP/1.1 2OO Fine\r\ncontent-length: 2\r\n\r\n{}",
    }
    await line.say(kinds[asked.spec.text("kind", "random")])
    return False


@behaviour
async def http(asked: Asked, line: Line) -> bool:
    """`status` (500) with `retry_after` or `retry_after_ms`, and a `body`: json, html, text, empty or long."""
    fields = [
        f"{name.replace('_', '-')}: {asked.spec.text(name, '')}"
        for name in ("retry_after", "retry_after_ms")
        if name in asked.spec.parameters
    ]
    code = asked.spec.text("code", "")
    error = {"message": "it failed", "type": "error", "param": None, "code": code or None}
    bodies: dict[str, tuple[str, bytes | dict[str, object]]] = {
        "json": ("application/json", {"error": error}),
        "html": ("text/html", b"<html><h1>Bad gateway</h1></html>"),
        "text": ("text/plain", b"no"),
        "empty": ("application/json", b""),
        "long": ("text/plain", b"x" * 256 * KIB),
    }
    kind, body = bodies[asked.spec.text("body", "json")]
    await line.answer(body, f"{asked.spec.count('status', 500)} Said", f"content-type: {kind}", *fields)
    return True


@behaviour
async def unauthorized(asked: Asked, line: Line) -> bool:
    """401; it repeats the key it was sent, and paths of its own."""
    sent = asked.headers.get("authorization", "")
    body = {"error": {"message": f"Incorrect API key {sent} in /srv/keys.py line 7", "code": "invalid_api_key"}}
    await line.answer(body, "401 Unauthorized")
    return True


@behaviour
async def payment(asked: Asked, line: Line) -> bool:
    """402: no credit left."""
    await line.answer({"error": {"message": "Insufficient credits", "code": 402}}, "402 Payment Required")
    return True


@behaviour
async def limited(asked: Asked, line: Line) -> bool:
    """429; `retry_after` seconds, or `retry_after_ms`, if given."""
    asked.spec.parameters.setdefault("status", "429")
    return await http(asked, line)


@behaviour
async def redirect(asked: Asked, line: Line) -> bool:
    """`status` (307) to `to`."""
    to = asked.spec.text("to", "http://127.0.0.1:1/elsewhere")
    await line.answer(b"", f"{asked.spec.count('status', 307)} Elsewhere", f"location: {to}")
    return True


@behaviour
async def switching(asked: Asked, line: Line) -> bool:
    """101, as if a websocket had been asked for."""
    await line.head("101 Switching Protocols", "upgrade: websocket", "connection: upgrade")
    await line.left(asked.spec.seconds("ms", 1000))
    return False


@behaviour
async def reset(asked: Asked, line: Line) -> bool:
    """RST before a byte of the answer; after `ms` (0)."""
    await asyncio.sleep(asked.spec.seconds("ms", 0))
    return line.reset()


@behaviour
async def close(asked: Asked, line: Line) -> bool:
    """FIN before a byte of the answer."""
    return False
