"""One request of our own server and its answer: what ASGI calls scope, receive and send."""

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
import structlog
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.domain.errors import GatewayError

LEGAL = bytes(each for each in range(256) if each in b"\t\r\n" or (each > 31 and each != 127))
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LONGEST_KNOWN = 256
ANY_LENGTH = -(2**63)
LONGEST_JOINED = 16 * 1024
BROKEN = b"Internal Server Error"

logger = structlog.get_logger("signalbox.server")


def target_of(url: bytes) -> tuple[str, bytes, bytes]:
    """Path, raw path and query; raises HttpParserInvalidURLError."""
    return _known(url) if len(url) <= LONGEST_KNOWN else _parsed(url)


def _parsed(url: bytes) -> tuple[str, bytes, bytes]:
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""


_known = lru_cache(256)(_parsed)


class _Fixed:
    """The lines every answer has; uvicorn makes a new list of them each second, with a new date."""

    headers: list[tuple[bytes, bytes]] | None = None
    lines = b""


def _lines_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    if _Fixed.headers is not headers:
        _Fixed.headers = headers
        _Fixed.lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    return _Fixed.lines


def _nothing() -> None:
    """Nobody waits for the end of this answer."""


CLOSE = (b"connection", b"close")
"""While the process drains, every answer has it already."""


class Cycle:
    """Its head waits for its first piece, so that both leave together; the connection is closed by `on_response`.

    It stands in for uvicorn's RequestResponseCycle, and is what hot routes find in the scope under the extension
    `signalbox`: `task` is who works on the answer, `leave` is called once when the client goes before its end,
    `refusal` is why the request broke off, `request_id` is for an answer that is given in the route's place, and
    `arrived` is when the head was complete.
    """

    __slots__ = (
        "_expected",
        "_flow",
        "_head",
        "_headers",
        "_news",
        "_pieces",
        "_size",
        "_waiter",
        "arrived",
        "chunked",
        "disconnected",
        "expects_continue",
        "keep_alive",
        "leave",
        "more_body",
        "on_response",
        "refusal",
        "request_id",
        "response_complete",
        "response_started",
        "scope",
        "task",
        "transport",
    )

    def __init__(  # noqa: PLR0913 - what a request has to do with
        self,
        transport: asyncio.Transport,
        flow: FlowControl,
        headers: list[tuple[bytes, bytes]],
        on_response: Callable[[], None],
        *,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self.scope: Any = {}
        self.transport = transport
        self.on_response = on_response
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.disconnected = self.response_started = self.response_complete = False
        self.arrived = time.perf_counter()
        self.more_body = True
        self.chunked: bool | None = None
        self.leave: Callable[[], object] | None = None
        self.refusal: GatewayError | None = None
        self.request_id = ""
        self.task: asyncio.Task[None] | None = None
        self._flow = flow
        self._headers = headers
        self._expected = self._size = 0
        self._head = b""
        self._news = False
        self._pieces: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None

    # the side of the network

    def take(self, piece: bytes) -> None:
        """A piece of the request's body has come."""
        if not self.response_complete:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > HIGH_WATER_LIMIT:
                self._flow.pause_reading()
            self.wake()

    def wake(self) -> None:
        """There is something to receive."""
        self._news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def broke_off(self) -> None:
        """Nobody is there any more."""
        self.disconnected = True
        self.wake()

    # the side of the application

    async def run(self, app: Any, tasks: set[asyncio.Task[None]]) -> None:
        """Have `app` answer; an answer that it left open is ended here."""
        try:
            await app(self.scope, self.receive, self.send)
            if not (self.response_complete or self.disconnected):
                raise RuntimeError("the application returned without an answer")  # noqa: TRY301 - both end alike
        except BaseException:
            logger.exception("the application failed")
            await self._broke()
        finally:
            if self.task is not None:
                tasks.discard(self.task)
            # what points back at us goes, or every request would be left to the garbage collector
            self.on_response, self.leave, self.task, self.scope = _nothing, None, None, {}

    async def receive(self) -> Any:
        if self.expects_continue and not self.transport.is_closing():
            self.transport.write(CONTINUE)
            self.expects_continue = False
        if not (self._news or self.disconnected or self.response_complete):
            self._flow.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._taken(), "more_body": self.more_body}

    def _taken(self) -> bytes:
        body = b"".join(self._pieces)
        self._pieces = []
        if self._size > HIGH_WATER_LIMIT:
            self._flow.resume_reading()  # or nobody would see the client leave
        self._size = 0
        return body

    async def send(self, message: Any) -> None:
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message["status"], message["headers"])
        else:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    def whole_body(self) -> bytes | None:
        """The body of the request, where all of it is here already: that spares the hot routes a `receive`."""
        if self.more_body or self.disconnected or self.expects_continue:
            return None
        return self._taken()

    def answer(self, status: int, lines: bytes, body: bytes) -> bool:
        """The whole answer in one go, `lines` being whole header lines; False where it has to be sent as ASGI wants it.

        That spares the hot routes two messages, and all of them the building and checking of single headers.
        """
        if self.disconnected or self.response_started or self._flow.write_paused:
            return False
        self.response_started = self.response_complete = True
        if self.more_body:
            self.keep_alive = False
        close = b"" if self.keep_alive else b"connection: close\r\n"
        head = b"%b%b%b%bcontent-length: %d\r\n\r\n" % (
            STATUS_LINE[status],
            _lines_of(self._headers),
            lines,
            close,
            len(body),
        )
        if len(body) < LONGEST_JOINED:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self.on_response()
        return True

    def push(self, piece: bytes) -> bool:
        """A piece of a stream that has begun; False where it has to be sent as ASGI wants it."""
        if self._head or not self.chunked or self.disconnected or self._flow.write_paused:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    def _start(self, status: int, sent: list[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.expects_continue = False
        headers = [*self._headers, *sent]
        if self.more_body:  # nobody will read the rest of it
            self.keep_alive = False
        if not self.keep_alive and CLOSE not in headers:
            headers.append(CLOSE)
        for name, value in headers:
            if name == b"content-length":
                self.chunked = False
                self._expected = int(value)
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
        if self.chunked is None and self.scope["http_version"] == "1.0":  # it ends with the connection: RFC 9112 §6.1
            self._expected = ANY_LENGTH
        elif self.chunked is None and self.scope["method"] != "HEAD" and status not in {204, 304}:
            self.chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        count = len(headers)
        if lines.count(b"\n") != count or lines.count(b"\r") != count or lines.translate(None, LEGAL):
            raise RuntimeError("a header has a control character in it")
        self._head = b"%b%b\r\n" % (STATUS_LINE[status], lines)

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if self.response_complete:
            raise RuntimeError("the answer is already complete")
        if self.scope["method"] == "HEAD":
            body, self._expected = b"", 0
        elif self.chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk if more else chunk + b"0\r\n\r\n"
        elif self._expected != ANY_LENGTH:
            self._expected -= len(body)
        head = self._head
        if head:
            self._head = b""
            self.transport.write(head + body)
        elif body:
            self.transport.write(body)
        if not more:
            self._finish()

    def _finish(self) -> None:
        if self._expected not in {0, ANY_LENGTH}:
            raise RuntimeError("the body is not as long as its head said")
        self.response_complete = True
        self.wake()
        self.on_response()

    async def _broke(self) -> None:
        if self.response_started:
            self.transport.close()
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(BROKEN))]
        await self.send({"status": 500, "headers": [*headers, (b"connection", b"close")]})
        await self.send({"body": BROKEN})
