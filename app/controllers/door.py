"""Who may come in, how much they may carry, and how an answer leaves; what the hot routes share.

A hot route is raw ASGI: what Litestar would check for an ordinary handler is checked here, and ordinary handlers
come by here too, by their guard.
"""

import itertools
import re
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from os import urandom
from typing import Any

from litestar.types import HTTPScope, Receive, Send

from app.controllers.visitors import Visitors
from app.domain.errors import (
    CallerGoneError,
    MethodNotAllowedError,
    PayloadTooLargeError,
    UnsupportedEncodingError,
)
from app.domain.principal import Principal
from app.monitoring.journal import Journal
from app.monitoring.metrics import Metrics
from app.services.drain import Drain
from app.services.keys import KeyService
from app.services.llm import LLMService

REQUEST_ID = b"x-request-id"

Headers = list[tuple[bytes, bytes]]

_acceptable = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch


class Door:
    """One per process, on `app.state`; the plugin builds it from the container."""

    def __init__(  # noqa: PLR0913 - what a door knows
        self,
        *,
        llm: LLMService,
        keys: KeyService,
        visitors: Visitors,
        metrics: Metrics,
        journal: Journal,
        drain: Drain,
        max_body_bytes: int,
    ) -> None:
        self.llm = llm
        self.keys = keys
        self.visitors = visitors
        self._metrics = metrics
        self._journal = journal
        self._drain = drain
        self._max_body_bytes = max_body_bytes
        self._made_here = urandom(6).hex()
        self._count = itertools.count()

    def request_id(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The caller's own, if it may be one."""
        for name, value in headers:
            if name == REQUEST_ID and _acceptable(value):
                return value.decode()
        return f"{self._made_here}{next(self._count):08x}"

    def admit(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Principal:
        """The caller of a hot route; refuses what can be refused before the body is read."""
        if scope["method"] != "POST":
            raise MethodNotAllowedError("this path answers POST only", allow="POST")
        self.visitors.check(scope["headers"], headers)
        self._drain.check()
        principal = self.keys.authenticate(headers.get(b"authorization", b""), headers.get(b"x-api-key", b""))
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedEncodingError("compressed bodies are not read here")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._max_body_bytes:
            raise self._too_large()
        return principal

    async def body(self, scope: HTTPScope, receive: Receive) -> bytes:
        """The whole body; raises PayloadTooLargeError as soon as it is too long, CallerGoneError when it breaks off."""
        body, more = await _piece(scope, receive)
        if more:
            pieces, size = [body], len(body)
            while more and size <= self._max_body_bytes:
                body, more = await _piece(scope, receive)
                pieces.append(body)
                size += len(body)
            body = b"".join(pieces)
        if len(body) > self._max_body_bytes:
            raise self._too_large()
        return body

    def answered(self, method: str, route: str, status: int, *, word: str = "") -> None:
        """Count an answer by its route's template, and the word of one that is an error."""
        self._metrics.http_answered(method, route, status)
        if word:
            self._metrics.refused(word)

    def refused(self, *, route: str, status: int, word: str, request_id: str) -> None:
        """A line for what never became a call."""
        self._journal.refused(request_id=request_id, route=route, status_code=status, word=word)

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"the body is larger than {self._max_body_bytes} bytes")


def when_caller_leaves(scope: HTTPScope, act: Callable[[], None]) -> None:
    """Our own server tells at once; under another one a call goes on to its end."""
    if (departure := _departure(scope)) is not None:
        departure["do"](act)


def tell_request_id(scope: HTTPScope, request_id: str) -> None:
    """Our own server may have to answer in our place."""
    if (departure := _departure(scope)) is not None:
        departure["request_id"] = request_id


def _departure(scope: HTTPScope) -> Any:
    return (scope.get("extensions") or {}).get("signalbox.departure")


async def _piece(scope: HTTPScope, receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise (_departure(scope) or {}).get("refusal") or CallerGoneError("the caller has left")
    return message["body"], message["more_body"]


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_stream(send: Send, headers: Headers, pieces: AsyncGenerator[bytes, None]) -> None:
    """The first piece is taken before the head goes out: a generator that was never begun would never be settled."""
    async with aclosing(pieces):
        piece = await anext(pieces)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
