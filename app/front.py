"""Our side of the socket: uvicorn's HTTP protocol with the six things it lacks.

uvicorn writes the head and the body of an answer apart (two system calls, two packets), arms and disarms a timer for
every answer, lets a client take for ever over its request, takes a head of any size, closes on a client that still
sends so that the answer is lost, and tells nobody that a client has left. uvicorn is pinned exactly: this class knows
its insides, and `tests/unit/test_front.py` tells when they move.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

import httptools

from app import heads
from app.cycle import Cycle, target_of
from app.domain.errors import GatewayError, InvalidRequestError, RequestTimeoutError
from app.heads import DEFAULT_LIMITS, FrontLimits
from app.parting import NEVER, Parting
from app.stall import Flow
from app.sweep import watch


class Front(Parting):
    def __init__(
        self,
        *args: Any,
        limits: FrontLimits = DEFAULT_LIMITS,
        refused: Callable[[GatewayError, str, str], object] = lambda _error, _request_id, _client: None,
        crowded: Callable[[], object] = lambda: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.limits = limits
        self.refused, self.crowded = refused, crowded
        self.patience = limits.stall_seconds
        self.stalled = False
        """It takes too little of its answers to be asked for more."""
        self.waiting_for_head = False
        self.begun = False
        self.arrived = 0
        self.unweighed = False
        """Its beginning came behind another request, and was not counted in `arrived`."""
        self.offer = b""
        """The head that offered another protocol, without that (RFC 9110 §7.8), until a new parser has read it."""
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
        self.flow: Flow = Flow(transport, self.limits.stall_seconds)
        self._await_head()
        if len(self.connections) > self.limits.connections:
            self.crowded()
            transport.abort()
            return
        watch(self.server_state, self.loop)

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
        self.told = False
        self.arrived = self.silent_bytes + len(data)
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as stop:  # it has read the head, and would read no body
                head, self.offer, self.parser = self.offer, b"", heads.parser_for(self)
                data = head + data[stop.args[0] :]
            except httptools.HttpParserError:
                self.send_400_response("")
                return
        self.silent_bytes = 0 if self.told else self.arrived
        if self.silent_bytes > self.limits.head_bytes and not self.transport.is_closing():
            self.refusal = heads.too_large()
            self.send_400_response("")

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.begun = True
        self.unweighed = self.told
        self._await_head()

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.limits.url_bytes:
            self._stop(heads.too_long())

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.waiting_for_head:  # a trailer: it comes too late to say who asks
            return
        headers = self.headers
        if len(headers) >= self.limits.head_fields:
            self._stop(heads.too_large())
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        if (self.unweighed or self.arrived > self.limits.head_bytes) and self._outweighs():
            self._stop(heads.too_large())
        self.due = self.loop.time() + self.limits.body_seconds
        parser, before = self.parser, self.cycle
        if (version := parser.get_http_version()) not in heads.SPOKEN:
            self._stop(heads.not_spoken())
        if parser.should_upgrade():
            self._offered(parser.get_method(), version)
            return
        path, raw_path, query = self._target()
        self.waiting_for_head, self.told = False, True
        cycle = self.cycle = Cycle(
            self.transport,
            self.flow,
            self.server_state.default_headers,
            self.on_response_complete,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            expects_continue=self.expect_100_continue and version != "1.0",
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
            self._queue(cycle)

    def on_body(self, body: bytes) -> None:
        self.told = True
        self.cycle.take(body)

    def on_message_complete(self) -> None:
        if self.offer:
            return
        self.due = NEVER
        self.told = True
        self.cycle.more_body = False
        self.cycle.wake()

    def _outweighs(self) -> bool:
        return heads.weight_of(self.url, self.headers) > self.limits.head_bytes

    def _target(self) -> tuple[str, bytes, bytes]:
        try:
            return target_of(self.url)
        except httptools.HttpParserInvalidURLError:
            self._stop(heads.no_address())

    def _offered(self, method: bytes, version: str) -> None:
        if method == b"CONNECT":
            self._stop(heads.no_tunnel())
        self.offer = heads.without_offer(method, self.url, version, self.headers)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._go_on()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.stalled:
            self.stalled = False
            self._go_on()

    def _go_on(self) -> None:
        """An answer is complete: the next request, if the client takes its answers."""
        running = self.running
        if running is None or self.transport.is_closing():
            return
        if not running.keep_alive:
            self._leave(running)
            return
        now = self.loop.time()
        if self.flow.write_paused:
            self.stalled, self.due = True, NEVER  # `flow` does not wait for ever
            self.flow.pause_reading()
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            self.due = now + self.limits.body_seconds if cycle.more_body else NEVER
        elif self.deaf and self.refusal is not None:
            self._refuse(self.refusal)
            self._linger()
        elif self.waiting_for_head:
            self.due = now + self.limits.head_seconds
        elif not self.cycle.more_body:
            self.due = now + self.timeout_keep_alive

    def send_400_response(self, msg: str) -> None:
        """What httptools could not read, or a callback of ours refused."""
        error = self.refusal = self.refusal or InvalidRequestError("the request is not HTTP")
        cycle, running = self.cycle, self.running
        if running is not None and not running.response_complete and (cycle is not running or not running.more_body):
            # what follows good requests is none: those are answered first
            self.deaf = True
            if self.pipeline and cycle.more_body:
                self.pipeline.popleft()
            return
        self._refuse(error)
        self._linger()

    def _queue(self, cycle: Cycle) -> None:
        """It waits for its turn, and its body is not waited for before."""
        self.flow.pause_reading()
        if len(self.pipeline) >= heads.MOST_WAITING:
            cycle.more_body = False
            self._stop(heads.too_many())
        self.pipeline.appendleft((cycle, self.app))
        self.due = NEVER

    def _start_asgi_task(self, cycle: Cycle, app: Any) -> None:  # type: ignore[override] # ours, not uvicorn's
        self.running = cycle
        task = cycle.task = self.loop.create_task(cycle.run(app, self.tasks))
        self.tasks.add(task)

    def _await_head(self) -> None:
        self.due = self.loop.time() + self.limits.head_seconds
        self.waiting_for_head = True

    def _stop(self, error: GatewayError) -> NoReturn:
        self.refusal = error
        raise error  # the parser stops here, and we call send_400_response

    def _leave(self, running: Cycle) -> None:
        """The last answer of this connection is written."""
        if running.more_body or self.deaf:
            self._linger()
        else:
            self._close()

    def expire(self) -> None:
        """The client took too long, or a kept connection was not used."""
        self.due = NEVER
        if self.lingering or self.transport.is_closing():
            self._part()
            return
        running = self.running
        answering = running is not None and not running.response_complete
        if running is not None and answering and not running.more_body:
            return  # what comes behind may be late as long as this one is not answered
        if answering or (self.waiting_for_head and self.begun):
            self._refuse(RequestTimeoutError("the request did not arrive in time"))
            self._linger()
        else:
            self._close()

    def _refuse(self, error: GatewayError) -> None:
        """Answer in the place of the application; a call that waits for its body learns why, and is who counts it."""
        running = self.running
        answering = running is not None and not running.response_complete
        request_id = heads.name_of((self.headers or ()) if self.waiting_for_head or answering else ())
        if running is None or not answering:
            self.refused(error, request_id, self.client[0] if self.client else "")
        else:
            running.refusal = error
            request_id = running.request_id = running.request_id or request_id
            running.broke_off()
            if running.response_started:
                return
            running.response_started = running.response_complete = True
        self.transport.write(heads.refusal(error, request_id, self.server_state.default_headers))
