"""Our side of the socket: uvicorn's HTTP protocol with the five things it lacks.

uvicorn writes the head and the body of an answer apart (two system calls, two packets), arms and disarms a timer for
every answer, lets a client take for ever over its request, takes a head of any size, and tells nobody that a client
has left. uvicorn is pinned exactly: this class knows its insides, and `tests/unit/test_front.py` tells when
they move.
"""

import asyncio
import math
import re
from collections import deque
from collections.abc import Callable
from os import urandom
from typing import Any
from weakref import WeakSet

import httptools
import msgspec
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.cycle import Cycle, target_of
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
        self.begun = False
        self.deaf = False
        self.arrived = 0
        self.unweighed = False
        """Its beginning came behind another request, and was not counted in `arrived`."""
        self.silent_bytes = 0
        self.told = False
        self.refusal: GatewayError | None = None
        self.cycle: Any = None
        """The `Cycle` of the last request, which stands in for uvicorn's."""
        self.pipeline: deque[tuple[Cycle, Any]] = deque()  # type: ignore[assignment] # of ours, too
        self.running: Cycle | None = None
        """The one that is being answered; `cycle` may already be a later one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        super().connection_made(transport)
        self._await_head()
        if self.server_state not in _swept:
            _swept.add(self.server_state)
            self.loop.call_later(SWEEP_SECONDS, sweep, self.server_state, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        self.due = NEVER
        self.connections.discard(self)
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment] # it holds us, as we hold it
        for cycle in (self.cycle, self.running):
            if cycle is not None and not cycle.response_complete:
                cycle.broke_off()
                if cycle.leave is not None:
                    leave, cycle.leave = cycle.leave, None
                    leave()

    def data_received(self, data: bytes) -> None:
        """What the parser keeps without telling is counted here: a field, or a trailer, that does not end."""
        if self.deaf:
            return
        cycle = self.cycle
        if (cycle is None or not cycle.more_body) and data.find(b"pgrade", 0, self.limits.head_bytes) >= 0:
            data = _without_offer(data)
        self.told = False
        self.arrived = self.silent_bytes + len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        except httptools.HttpParserError:
            self.send_400_response("")
            return
        self.silent_bytes = 0 if self.told else self.arrived
        if self.silent_bytes > self.limits.head_bytes and not self.transport.is_closing():
            self.refusal = HeaderTooLargeError(TOO_LARGE)
            self.send_400_response("")

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.begun = True
        self.unweighed = self.told
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.waiting_for_head:  # a trailer: it comes too late to say who asks
            return
        headers = self.headers
        if len(headers) >= self.limits.head_fields:
            self._too_large()
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        most = self.limits.head_bytes
        if (self.arrived > most or self.unweighed) and self._weight() > most:
            self._too_large()
        self.due = self.loop.time() + self.limits.body_seconds
        self.waiting_for_head, self.told = False, True
        parser, before = self.parser, self.cycle
        version = parser.get_http_version()
        path, raw_path, query = target_of(self.url)
        cycle = self.cycle = Cycle(
            self.transport,
            self.flow,
            self.server_state.default_headers,
            self.on_response_complete,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            expects_continue=self.expect_100_continue,
        )
        cycle.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": parser.get_method().decode("ascii"),
            "root_path": "",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "extensions": {"signalbox": cycle},
        }
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
            self.due = NEVER  # it waits for its turn, and its body is not waited for before

    def on_body(self, body: bytes) -> None:
        self.told = True
        self.cycle.take(body)

    def on_message_complete(self) -> None:
        self.due = NEVER
        self.told = True
        self.cycle.more_body = False
        self.cycle.wake()
        if self.cycle.response_complete:
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

    def _start_asgi_task(self, cycle: Cycle, app: Any) -> None:  # type: ignore[override] # ours, not uvicorn's
        self.running = cycle
        task = cycle.task = self.loop.create_task(cycle.run(app, self.tasks))
        self.tasks.add(task)

    def _await_head(self) -> None:
        self.due = self.loop.time() + self.limits.head_seconds
        self.waiting_for_head = True

    def _weight(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in self.headers)

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
        if answering or (self.waiting_for_head and self.begun):
            self._refuse(RequestTimeoutError("the request did not arrive in time"))
        self.transport.close()

    def _refuse(self, error: GatewayError) -> None:
        """Answer in the place of the application; a call that waits for its body learns why, and is who counts it."""
        running = self.running
        request_id = urandom(12).hex()
        if running is None or running.response_complete:
            self.refused(error, request_id)
        else:
            running.refusal = error
            request_id = running.request_id or request_id
            running.broke_off()
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
