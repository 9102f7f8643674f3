"""A provider that says when it says something, and notes when it is left.

`python -m benchmarks.reliability.paced PORT`. The model `paced-100` streams an event every 100 ms, for ever, or answers
whole after 100 ms; an event carries the clock in nanoseconds. `GET /left` tells who was left when, by the field `call`.
"""

import asyncio
import sys
import time

import msgspec
import uvloop

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n'
CHOICE = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}],'
USAGE = b'"usage":{"prompt_tokens":7,"completion_tokens":90}}'
WHOLE = CHOICE % (b"a word " * 90) + USAGE


class Question(msgspec.Struct):
    model: str = "paced-100"
    stream: bool = False
    call: str = ""


class Paced(asyncio.Protocol):
    left: dict[str, float | None] = {}
    """By call that came, on the machine's monotonic clock; None while it is waited for."""

    def __init__(self) -> None:
        self._buffer = b""
        self._call = ""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # what a stream's is
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._call:
            self.left[self._call] = time.monotonic()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        if not end or len(body) < length:
            return
        self._buffer = b""
        if head.startswith(b"GET"):
            listing = msgspec.json.encode({"data": [{"id": f"paced-{ms}"} for ms in (0, 20, 100)]})
            self._say(msgspec.json.encode(self.left) if b" /left " in head else listing)
            return
        asked = msgspec.json.decode(body, type=Question)
        seconds = int(asked.model.partition("-")[2]) / 1000
        self._call = asked.call
        self.left[asked.call] = None
        if asked.stream:
            self._transport.write(HEAD)
            self._tick(seconds, self._loop.time())
        else:
            self._timer = self._loop.call_later(seconds, self._answer)

    def _answer(self) -> None:
        self._call = ""
        self._say(WHOLE)

    def _tick(self, seconds: float, due: float) -> None:
        event = EVENT % time.monotonic_ns()
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._timer = self._loop.call_at(due + seconds, self._tick, seconds, due + seconds)

    def _say(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Paced, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
