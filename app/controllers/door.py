"""Who may come in, how much they may carry, and how an answer leaves; what the hot routes share.

A hot route is raw ASGI: what Litestar would check for an ordinary handler is checked here, and ordinary handlers
come by here too, by their guard.
"""

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Iterable
from os import urandom
from typing import Any, Protocol

from litestar.types import HTTPScope, Receive, Send

from app.controllers.visitors import Visitors
from app.domain.errors import (
    UNKNOWN_KEY,
    AuthenticationError,
    CallerGoneError,
    CapacityError,
    GatewayError,
    InvalidRequestError,
    MethodNotAllowedError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    UnsupportedEncodingError,
)
from app.domain.passage import Passage
from app.domain.principal import Principal
from app.domain.trace import Trace
from app.monitoring.backlog import Backlog
from app.monitoring.journal import Journal
from app.monitoring.metrics import Metrics
from app.monitoring.telemetry.tracing import TRACEPARENT, Tracing
from app.services.drain import Drain
from app.services.keys import KeyService
from app.services.llm import LLMService
from app.services.wrong_keys import WrongKeys

REQUEST_ID = b"x-request-id"
RETRY_AFTER_SECONDS = 1
TOO_MANY_WRONG = "too many wrong API keys came from this address"

Headers = list[tuple[bytes, bytes]]
Client = tuple[str, int] | None


class ServerSide(Protocol):
    """What our own server tells of a request, and has to be told."""

    task: asyncio.Task[None] | None
    """Who works on the answer."""
    leave: Callable[[], object] | None
    """Called when the caller goes before its answer is complete."""
    refusal: GatewayError | None
    """Why the request broke off, where the caller is not to blame for leaving."""
    request_id: str
    """For an answer that the server gives in the route's place."""
    arrived: float
    """When the request's head was complete, on the clock of `time.perf_counter`."""

    send: Send
    """Whoever has wrapped it wants to see messages: then `answer` is not for us."""

    def whole_body(self) -> bytes | None:
        """The request's body, if all of it is here."""
        ...

    def answer(self, status: int, lines: bytes, body: bytes) -> bool:
        """Send a whole answer, its headers as lines; False where it has to be sent in messages."""
        ...

    def push(self, piece: bytes) -> bool:
        """Send a piece of a begun stream; False where it has to be sent in a message."""
        ...


acceptable = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch


class Door:
    """One per process, on `app.state`; the plugin builds it from the container."""

    def __init__(  # noqa: PLR0913 - what a door knows
        self,
        *,
        llm: LLMService,
        keys: KeyService,
        wrong_keys: WrongKeys,
        visitors: Visitors,
        metrics: Metrics,
        passed: Backlog[Passage],
        journal: Journal,
        tracing: Tracing,
        drain: Drain,
        max_body_bytes: int,
        max_in_flight: int,
    ) -> None:
        self.llm = llm
        self.keys = keys
        self._wrong_keys = wrong_keys
        self.visitors = visitors
        self._security = metrics.security
        self._passed = passed
        self._journal = journal
        self.tracing = tracing
        self.traces = tracing.on
        self._drain = drain
        self._max_body_bytes = max_body_bytes
        self._max_in_flight = max_in_flight
        self._made_here = urandom(6).hex()
        self._count = itertools.count()
        self.in_flight = 0
        """Requests that are being answered."""
        self._metrics = metrics
        metrics.in_flight = lambda: self.in_flight

    def become(self, after: "Door") -> None:
        """Be as `after` from the next step on: its keys, its rules, its calls. Who is inside stays counted."""
        inside = self.in_flight
        self.__dict__.update(vars(after))
        self.in_flight = inside
        self._metrics.in_flight = lambda: self.in_flight

    def request_id(self, sent: bytes | None, served: ServerSide | None = None) -> str:
        """The caller's own, if it may be one; where the server had to answer already, the one it gave."""
        if served is not None and served.request_id:
            return served.request_id
        if sent is not None and acceptable(sent):
            return sent.decode()
        return f"{self._made_here}{next(self._count):08x}"

    def trace(self, headers: dict[bytes, bytes], sent: Iterable[tuple[bytes, bytes]]) -> Trace | None:
        """What a request is part of; where tracing is off and nothing came of the caller, that is nothing."""
        return self.tracing.of(headers, sent) if self.traces or TRACEPARENT in headers else None

    def admit(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Principal:
        """The caller of a hot route; refuses what can be refused before the body is read."""
        if scope["method"] != "POST":
            raise MethodNotAllowedError("this path answers POST only", allow="POST")
        self.check_visitor(scope["headers"], headers)
        self._drain.check()
        if self.in_flight > self._max_in_flight:
            self.check_room()
        principal = self.authenticate(headers, scope.get("client"))
        if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
            raise UnsupportedEncodingError("compressed bodies are not read here")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._max_body_bytes:
            raise self._too_large()
        return principal

    def check_room(self) -> None:
        """Raises CapacityError for a request beyond those that may be in flight, itself among them."""
        if self.in_flight > self._max_in_flight:
            raise CapacityError(
                "too many requests are in flight: server.max_in_flight", retry_after=RETRY_AFTER_SECONDS
            )

    def check_visitor(
        self, sent: Iterable[tuple[bytes, bytes]], headers: dict[bytes, bytes], visitors: Visitors | None = None
    ) -> None:
        """Raises what `Visitors.check` does, and counts it; `visitors` are those of another listener."""
        try:
            (visitors or self.visitors).check(sent, headers)
        except InvalidRequestError:
            self._security.host.value += 1
            raise
        except PermissionDeniedError:
            self._security.origin.value += 1
            raise
        except AuthenticationError:
            self._security.repeated.value += 1
            raise

    def authenticate(self, headers: dict[bytes, bytes], client: Client) -> Principal:
        """The holder of the key that was sent, counted where keys are needed.

        Raises AuthenticationError, or RateLimitedError where too many wrong ones came from `client`.
        """
        authorization, api_key = headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")
        try:
            principal = self.keys.authenticate(authorization, api_key)
        except AuthenticationError:
            self._wrong(client, sent=bool(authorization or api_key))
            raise
        if self.keys.needed:
            self._security.accepted.value += 1
        return principal

    def authenticate_scraper(self, headers: dict[bytes, bytes], client: Client) -> None:
        """Any key, or the one for metrics; raises as `authenticate`. Counted always: here one is needed."""
        authorization, api_key = _given(headers)
        if self.keys.may_read_metrics(authorization, api_key):
            self._security.accepted.value += 1
            return
        self._wrong(client, sent=bool(authorization or api_key))
        raise AuthenticationError(UNKNOWN_KEY)

    def _wrong(self, client: Client, *, sent: bool) -> None:
        """Count a key that opens nothing, or that none came, which is no guess."""
        if not sent:
            self._security.missing.value += 1
            return
        self._security.refused.value += 1
        if seconds := self._wrong_keys.late(client):
            self._security.wrong_keys.value += 1
            raise RateLimitedError(TOO_MANY_WRONG, retry_after=seconds)

    def opens_details(
        self, headers: dict[bytes, bytes], client: Client, *, route: str, status: int, request_id: str
    ) -> bool:
        """Whether a key came that opens the details of health.

        Who sends none is answered all the same, so that is not counted; a wrong one is, and has its line in the log.
        """
        if not self.keys.needed or not any(_given(headers)):
            return False
        try:
            self.authenticate(headers, client)
        except (AuthenticationError, RateLimitedError) as error:
            self.refused(route=route, status=status, word=error.word, request_id=request_id, client=client)
            return False
        return True

    async def body(self, scope: HTTPScope, receive: Receive) -> bytes:
        """The whole body; raises PayloadTooLargeError as soon as it is too long, CallerGoneError when it breaks off."""
        pieces, size, more = [], 0, True
        while more and size <= self._max_body_bytes:
            body, more = await _piece(scope, receive)
            pieces.append(body)
            size += len(body)
        return self.fitting(b"".join(pieces))

    def fitting(self, body: bytes) -> bytes:
        """The same body; raises PayloadTooLargeError when it is too long."""
        if len(body) > self._max_body_bytes:
            raise self._too_large()
        return body

    def passed(self, passage: Passage) -> None:
        """A request is over, whatever became of it: it is counted by its route's template."""
        passage.finished = time.perf_counter()
        self._passed.add(passage)

    def refused(  # noqa: PLR0913 - the fields of a line
        self, *, route: str, status: int, word: str, request_id: str, client: Client, trace: Trace | None = None
    ) -> None:
        """A line for what never became a call."""
        self._journal.refused(
            request_id=request_id,
            route=route,
            status_code=status,
            word=word,
            client=client[0] if client else "",
            trace_id="" if trace is None else trace.trace_id,
        )

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"the body is larger than {self._max_body_bytes} bytes (server.max_body_bytes)")


def door_of(scope: Any) -> Door:
    """The application's door; `Shortcut` has it at hand, and looking it up takes a hundredth of a request."""
    door: Door = scope.get("signalbox.door") or scope["litestar_app"].state.door
    return door


def served_by(scope: HTTPScope) -> ServerSide | None:
    """Our own server's side of a request; under another server there is none, and a call goes on to its end."""
    extensions: Any = scope.get("extensions")
    served: ServerSide | None = extensions.get("signalbox") if extensions else None
    return served


def _given(headers: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    return headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")


async def _piece(scope: HTTPScope, receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        served = served_by(scope)
        raise (served and served.refusal) or CallerGoneError("the caller has left")
    return message["body"], message["more_body"]


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
