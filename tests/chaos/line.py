"""A provider's side of one connection, and the question that came on it."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from tests.chaos.spec import Spec

RESET = struct.pack("ii", 1, 0)
STREAM_FIELDS = ("content-type: text/event-stream", "transfer-encoding: chunked")


Body = bytes | dict[str, Any] | list[Any]


def _head(status: str, fields: Iterable[str]) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode("latin-1")


def whole(body: Body, status: str = "200 OK", *fields: str) -> bytes:
    """A whole answer; JSON, unless `fields` has another content type."""
    said = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    kind = () if any(each.startswith("content-type:") for each in fields) else ("content-type: application/json",)
    return _head(status, (*kind, f"content-length: {len(said)}", *fields)) + said


class Asked:
    """A question. `call` is the field `call` of its body, or its x-request-id: who reads the journal goes by it."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        try:
            fields = json.loads(body or b"{}")
        except ValueError:
            fields = {}
        self.fields: dict[str, Any] = fields if isinstance(fields, dict) else {}
        self.body = body
        self.row = unquote(path.lstrip("/").partition("/")[0])
        self.operation = path.rstrip("/").rpartition("/v1/")[2] or path.rpartition("/")[2]
        self.model = str(self.fields.get("model", ""))
        self.stream = self.fields.get("stream") is True
        self.call = str(self.fields.get("call") or headers.get("x-request-id", ""))
        self.spec = Spec("well", {})
        self.times = 1
        """How often this call asked for this model so far, this time included."""

    @property
    def tokens(self) -> tuple[int, int]:
        """Prompt and completion tokens, by the field `number` of its body; the answer has as many words."""
        number = self.fields.get("number", 0)
        number = number if isinstance(number, int) else 0
        return 1 + number % 97, 1 + number * 7 % 61

    @property
    def identity(self) -> dict[str, str]:
        """Stands in every answer and event, so that nobody gets another one's unseen."""
        return {"id": f"answer-{self.call or self.fields.get('number', 0)}"}


class Line:
    """Counts what is written on it, from one answer to the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self.turn = 0
        """How many questions have come on it."""
        self.reader = reader
        self.writer = writer
        self.begin()

    def begin(self) -> None:
        """What is counted from now on belongs to the next answer."""
        self.sent = self.events = 0
        self.usage: tuple[int, int] | None = None
        self.ending = ""

    async def request(self) -> Asked | None:
        """The next question; None where there is none."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return None
        self.turn += 1
        return Asked(method, path, headers, body)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        self.sent += len(data)
        await self.writer.drain()

    async def head(self, status: str = "200 OK", *fields: str) -> None:
        await self.say(_head(status, fields))

    async def answer(self, body: Body, status: str = "200 OK", *fields: str) -> None:
        """A whole answer in one go; JSON, unless `fields` has another content type."""
        await self.say(whole(body, status, *fields))

    async def begin_stream(self, *fields: str) -> None:
        await self.head("200 OK", *STREAM_FIELDS, *fields)

    async def chunk(self, data: bytes) -> None:
        await self.say(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, data: bytes | dict[str, Any]) -> None:
        said = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode()
        await self.chunk(b"data: %b\n\n" % said)
        self.events += 1

    async def end_stream(self) -> None:
        await self.say(b"0\r\n\r\n")

    async def left(self, within: float | None = None) -> bool:
        """Whether the other side hangs up within so many seconds; without a limit, once it does."""
        try:
            async with asyncio.timeout(within):
                gone = await self.reader.read(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            gone = True
        if gone:
            self.ending = "deserted"
        return gone

    def reset(self) -> bool:
        """Hang up with a reset; False, as a behaviour says it whose connection is over."""
        self.ending = "reset"
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()
        return False

    def close(self) -> None:
        self.writer.close()
