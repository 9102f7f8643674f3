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

from app.cycle import Cycle
from app.domain.errors import GatewayError, HeaderTooLargeError, InvalidRequestError, RequestTimeoutError

SWEEP_SECONDS = 0.5
NEVER = math.inf
FIELD_OVERHEAD = 4
TOO_LARGE = "the head of the request is too large"

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
        self.running: RequestResponseCycle | None = None
        """The one that is being answered; `cycle` may already be a later one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        super().connection_made(transport)
        self._await_head()
        if self.server_state not in _swept:
            _swept.add(self.server_state)
            self.loop.call_later(SWEEP_SECONDS, sweep, self.server_state, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        self.due = NEVER
        super().connection_lost(exc)
        running = self.running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            for act in _extension(running)["acts"]:
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
        acts: list[Callable[[], object]] = []
        departure = {"do": acts.append, "acts": acts}
        self.scope["extensions"] = {"signalbox.departure": departure}  # type: ignore[dict-item] # ASGI leaves it open
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
        if self.running is not self.cycle:  # it waits for its turn, and its body is not waited for before
            self.due = NEVER

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
        now = self.loop.time()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            self.due = now + self.limits.body_seconds if cycle.more_body else NEVER
        elif self.waiting_for_head:
            self.due = now + self.limits.head_seconds
        elif not self.cycle.more_body:
            self.due = now + self.timeout_keep_alive

    def send_400_response(self, msg: str) -> None:
        """What httptools could not read, or a callback of ours refused."""
        error = self.refusal or InvalidRequestError("the request is not HTTP")
        cycle, running = self.cycle, self.running
        if running is not None and not running.response_complete and (cycle is not running or not running.more_body):
            # what follows good requests is none: those are still answered
            self.deaf = True
            if self.pipeline and cycle.more_body:
                self.pipeline.popleft()
            (self.pipeline[0][0] if self.pipeline else running).keep_alive = False
            return
        self._refuse(error)
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = Cycle
        self.running = cycle
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
        running = self.running
        answering = running is not None and not running.response_complete
        if running is not None and answering and not running.more_body:
            return  # what comes behind may be late as long as this one is not answered
        if answering or (self.waiting_for_head and self.scope is not None and self.head_bytes):
            self._refuse(RequestTimeoutError("the request did not arrive in time"))
        self.transport.close()

    def _refuse(self, error: GatewayError) -> None:
        """Answer in the place of the application; a call that waits for its body learns why, and is who counts it."""
        running = self.running
        request_id = urandom(12).hex()
        if running is None or running.response_complete:
            self.refused(error, request_id)
        else:
            extension = _extension(running)
            extension["refusal"] = error
            request_id = extension.get("request_id", request_id)
            running.disconnected = True
            running.message_event.set()
            if running.response_started:
                return
            running.response_started = running.response_complete = True
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


def _extension(cycle: RequestResponseCycle) -> dict[str, Any]:
    extensions: Any = cycle.scope["extensions"]
    extension: dict[str, Any] = extensions["signalbox.departure"]
    return extension


def _without_offer(data: bytes) -> bytes:
    """An offer of another protocol may be passed over (RFC 9110 §7.8), but the parser would stop at its head."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _offer(b"\r\nx-declined:", head) + end + rest


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
