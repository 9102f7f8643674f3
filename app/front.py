"""Our side of the socket: uvicorn's HTTP protocol with the five things it lacks.

uvicorn writes the head and the body of an answer apart (two system calls, two packets), arms and disarms a timer for
every answer, lets a client take for ever over its request, takes a head of any size, and tells nobody that a client
has left. uvicorn is pinned exactly: this class knows its insides, and `tests/unit/test_front.py` tells when
they move.
"""

import asyncio
import math
import re
from collections.abc import Callable
from os import urandom
from typing import Any
from weakref import WeakSet

import msgspec
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.domain.errors import GatewayError, HeaderTooLargeError, InvalidRequestError, RequestTimeoutError

SWEEP_SECONDS = 0.5
NEVER = math.inf
FIELD_OVERHEAD = 4
TOO_LARGE = "the head of the request is too large"

_illegal = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
_offer = re.compile(rb"\r\nupgrade:", re.IGNORECASE).sub
_swept: WeakSet[ServerState] = WeakSet()


class FrontLimits(Struct, frozen=True):
    """Seconds a client has for its head and for its body; bytes and fields a head may have."""

    head_seconds: float = 5.0
    body_seconds: float = 30.0
    head_bytes: int = 32 * 1024
    head_fields: int = 100


DEFAULT_LIMITS = FrontLimits()


def _unheard(error: GatewayError, request_id: str) -> None:
    """Nobody counts."""


class Front(HttpToolsProtocol):
    def __init__(
        self,
        *args: Any,
        limits: FrontLimits = DEFAULT_LIMITS,
        refused: Callable[[GatewayError, str], None] = _unheard,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.limits = limits
        self.refused = refused
        self.due = NEVER
        self.waiting_for_head = False
        self.deaf = False
        self.head_bytes = 0
        self.silent_bytes = 0
        self.told = False
        self.refusal: GatewayError | None = None
        self.extension: dict[str, Any] = {}
        self.departures: list[Callable[[], object]] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if self.server_state not in _swept:
            _swept.add(self.server_state)
            self.loop.call_later(SWEEP_SECONDS, sweep, self.server_state, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        self.due = NEVER
        super().connection_lost(exc)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            for act in self.departures:
                act()

    def data_received(self, data: bytes) -> None:
        """What the parser keeps without telling is counted here: a field, or a trailer, that does not end."""
        if self.deaf:
            return
        if b"pgrade" in data and (self.cycle is None or not self.cycle.more_body):
            data = _without_offer(data)
        self.told = False
        super().data_received(data)
        self.silent_bytes = 0 if self.told else self.silent_bytes + len(data)
        if self.silent_bytes > self.limits.head_bytes and not self.transport.is_closing():
            self.refusal = HeaderTooLargeError(TOO_LARGE)
            self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.departures = []
        self.extension = {"do": self.departures.append}
        self.scope["extensions"] = {"signalbox.departure": self.extension}  # type: ignore[dict-item]
        self.head_bytes = 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        self._weigh(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._weigh(len(name) + len(value) + FIELD_OVERHEAD)
        if not self.waiting_for_head:  # a trailer: it comes too late to say who asks
            return
        if len(self.headers) >= self.limits.head_fields:
            self._too_large()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.due = self.loop.time() + self.limits.body_seconds
        self.waiting_for_head = False
        self.told = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.told = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.due = NEVER
        self.told = True
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self.cycle.more_body = False
            self.due = self.loop.time() + self.timeout_keep_alive

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif not (self.waiting_for_head or self.cycle.more_body):
            self.due = self.loop.time() + self.timeout_keep_alive

    def send_400_response(self, msg: str) -> None:
        """What httptools could not read, or a callback of ours refused."""
        error = self.refusal or InvalidRequestError("the request is not HTTP")
        cycle = self.cycle
        if cycle is not None and not (cycle.more_body or cycle.response_complete):
            # what follows a good request is none: that one is still answered
            self.deaf = True
            cycle.keep_alive = False
            return
        self._refuse(error)
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = Cycle
        super()._start_asgi_task(cycle, app)

    def _await_head(self) -> None:
        self.due = self.loop.time() + self.limits.head_seconds
        self.waiting_for_head = True

    def _weigh(self, size: int) -> None:
        self.head_bytes += size
        if self.head_bytes > self.limits.head_bytes:
            self._too_large()

    def _too_large(self) -> None:
        self.refusal = HeaderTooLargeError(TOO_LARGE)
        raise self.refusal  # the parser stops here and calls send_400_response

    def expire(self) -> None:
        """The client took too long, or a kept connection was not used."""
        self.due = NEVER
        cycle = self.cycle
        idle = cycle is None or cycle.response_complete
        if (self.waiting_for_head and self.scope is not None and idle) or (cycle is not None and cycle.more_body):
            self._refuse(RequestTimeoutError("the request did not arrive in time"))
        self.transport.close()

    def _refuse(self, error: GatewayError) -> None:
        """Answer in the place of the application; a call that waits for its body learns why, and is who counts it."""
        cycle = self.cycle
        request_id = urandom(12).hex()
        if cycle is None or cycle.response_complete:
            self.refused(error, request_id)
        else:
            self.extension["refusal"] = error
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                return
            cycle.response_started = cycle.response_complete = True
        fields = {"message": error.message, "type": error.type, "param": None, "code": error.code}
        body = msgspec.json.encode({"error": fields})
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"x-request-id", request_id.encode()),
            (b"x-signalbox-error", error.word.encode()),
            (b"connection", b"close"),
            (b"content-length", b"%d" % len(body)),
        ]
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[error.status_code], lines, body))


def _without_offer(data: bytes) -> bytes:
    """An offer of another protocol may be passed over (RFC 9110 §7.8), but the parser would stop at its head."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _offer(b"\r\nx-declined:", head) + end + rest


class Cycle(RequestResponseCycle):
    """One answer. Its head waits for its first piece, so that both leave together."""

    head = b""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message)
        else:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, message: Any) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        headers = [*self.default_headers, *message["headers"]]
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        for name, value in headers:
            if name == b"content-length":
                self.chunked_encoding = False
                self.expected_content_length = int(value)
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and message["status"] not in {204, 304}:
            self.chunked_encoding = True
            headers.append((b"transfer-encoding", b"chunked"))
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or _illegal(lines):
            raise RuntimeError("a header has a control character in it")
        self.head = b"%b%b\r\n" % (STATUS_LINE[message["status"]], lines)

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if self.response_complete:
            raise RuntimeError("the answer is already complete")
        if self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        elif self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk if more else chunk + b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
        head, self.head = self.head, b""
        if head or body:
            self.transport.write(head + body if head else body)
        if not more:
            self._finish()

    def _finish(self) -> None:
        if self.expected_content_length != 0:
            raise RuntimeError("the body is not as long as its head said")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def sweep(state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
    """One timer for the heads and the rests of all connections, as long as there are any."""
    now = loop.time()
    for connection in list(state.connections):
        if isinstance(connection, Front) and connection.due <= now:
            connection.expire()
    if state.connections:
        loop.call_later(SWEEP_SECONDS, sweep, state, loop)
    else:
        _swept.discard(state)
