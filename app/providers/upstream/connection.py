"""One keep-alive HTTP/1.1 connection: at most one exchange at a time."""

import asyncio
import math
from typing import Protocol, cast

import httptools

from app.domain.upstream_errors import (
    UpstreamError,
    UpstreamMalformedError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
)
from app.providers.upstream.base import LINGER_SECONDS, Headers, Limits
from app.providers.upstream.inflating import ENCODINGS, IDENTITY, Inflater, InflatingError

HIGH_WATER = 64 * 1024
FRAMING_BYTES = 64 * 1024
"""In a row without a byte of the body: a head, trailers, the head of a chunk. The parser keeps what it has of them."""

MOST_PIECES = 1024
NEVER = math.inf


class StaleError(Exception):
    """A kept connection had been closed by the other side: nothing of the answer was seen."""


class UnaskedError(Exception):
    """A second answer to one question."""


class Owner(Protocol):
    """What a connection needs of its pool."""

    provider: str
    limits: Limits
    loop: asyncio.AbstractEventLoop

    def forget(self, connection: "Connection") -> None: ...

    def take_back(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """An `Exchange` while it is busy; `due` is when it will have taken too long, or been idle for too long."""

    __slots__ = (
        "_body", "_closed", "_error", "_framing", "_held", "_inflater", "_keep", "_limits", "_loop", "_parser",
        "_pool", "_size", "_total_due", "_transport", "_until_close", "_waiter", "_whole", "busy", "connecting",
        "due", "headers", "reused", "status",
    )  # fmt: skip # a line for each would be twenty

    def __init__(self, pool: Owner) -> None:
        self._pool = pool
        self._loop = pool.loop
        self._limits = pool.limits
        self._parser: httptools.HttpResponseParser
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._inflater: Inflater | None = None
        self._body: list[bytes | bytearray] = []
        self._framing = self._held = self._size = 0
        self._whole = self._keep = self._until_close = self._closed = False
        self._total_due = NEVER
        self.due = NEVER
        self.busy = self.reused = False
        self.status = 0
        self.connecting = 0.0
        self.headers: Headers = []

    # the side of whoever asks

    def ask(self, request: bytes, *, whole: bool, total: float) -> "asyncio.Future[None]":
        """Send; what is returned is done when the head of the answer is here, or all of it.

        Not a coroutine, and no try: whoever awaits it aborts the connection when that fails.
        """
        now = self._loop.time()
        self._total_due = now + total
        self.due = min(now + self._limits.first_byte, self._total_due)
        self.busy = True
        self.status = 0
        self.headers = []
        self._inflater = None
        self._body = []
        self._framing = self._held = self._size = 0
        self._whole = whole
        self._closed = self._until_close = False
        self._transport.write(request)
        waiter = self._waiter = self._loop.create_future()
        return waiter

    async def read(self) -> bytes:
        while not self._body:
            if self._error is not None:
                raise self._error
            if not self.busy:
                return b""
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            except BaseException:
                self.abort()
                raise
        return self.take()

    def take(self) -> bytes:
        """All that has arrived and was not taken yet."""
        body = self._body
        self._body = []
        self._let_flow()
        return bytes(body[0]) if len(body) == 1 else b"".join(body)

    def _let_flow(self) -> None:
        """Read on after a pause; also at the end, or the next answer on this connection would never be seen."""
        if self._held > HIGH_WATER:
            self._transport.resume_reading()
            if self.busy:
                self.due = min(self._loop.time() + self._limits.idle, self._total_due)
        self._held = 0

    def close(self, *, done: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        self._let_flow()
        if self.busy and done and self._keep:
            self.due = self._loop.time() + LINGER_SECONDS
        elif self.busy or not self._keep or self._transport.is_closing():
            self.abort()
        else:
            self._rest()

    def _rest(self) -> None:
        self._body = []
        self.reused = True
        self.connecting = 0.0
        self.due = self._loop.time() + self._limits.keep_idle
        self._pool.take_back(self)

    def abort(self) -> None:
        self.busy = False
        self.due = NEVER
        self._transport.abort()

    def expire(self) -> None:
        """`due` has come: the provider is too slow, or the connection was not needed."""
        if self.busy:
            left = self._total_due <= self._loop.time()
            what = "answer in time" if self.status == 0 else "come to an end" if left else "go on"
            self._fail(UpstreamTimeoutError(f"{self._pool.provider} did not {what}", provider=self._pool.provider))
        self._transport.abort()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self.busy:
            self.busy = self._keep = False
            self.due = NEVER
            self._error = error
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)

    def _malformed(self, what: str) -> None:
        self._fail(UpstreamMalformedError(f"{self._pool.provider}'s answer {what}", provider=self._pool.provider))
        self._transport.abort()

    # the side of the network

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        if not self.busy:  # an answer to no question
            self._transport.abort()
            return
        if self._closed:
            pass
        elif self.status:  # the head has its own limit, which a trickle does not extend
            due = self._loop.time() + self._limits.idle
            self.due = due if due < self._total_due else self._total_due
        self._framing += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):  # nobody asked for another protocol
            self._malformed("is not HTTP")
        if self._framing > FRAMING_BYTES:
            self._malformed("has too much around its body" if self.status else "has too large a head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        if self.busy:
            if self._until_close and exc is None and self.status:
                self.on_message_complete()
            else:
                self._fail(self._lost())
        del self._parser  # it holds us, and we what was not read

    def _lost(self) -> Exception:
        if self.status:
            return UpstreamTruncatedError(f"{self._pool.provider} hung up in mid-answer", provider=self._pool.provider)
        if self.reused and not self._framing:
            return StaleError()
        return UpstreamError(f"{self._pool.provider} hung up without an answer", provider=self._pool.provider)

    # httptools' callbacks

    def on_message_begin(self) -> None:
        if not self.busy:  # behind the answer, in the same bytes: it must not be taken for part of it
            raise UnaskedError  # the parser stops here, and the connection is closed

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status: int = self._parser.get_status_code()
        if status < 200:  # 100 Continue, 103 Early Hints
            return
        self.status = status
        self._keep = self._parser.should_keep_alive()
        length = encoding = b""
        for name, value in self.headers:
            if len(name) == 14 and name.lower() == b"content-length":
                length = value
            elif len(name) == 16 and name.lower() == b"content-encoding":
                encoding = value.strip().lower()
        if not self._keep:
            names = {name.lower() for name, _ in self.headers}
            self._until_close = not names & {b"content-length", b"transfer-encoding"}
        self.due = min(self._loop.time() + self._limits.idle, self._total_due)
        if encoding not in IDENTITY:
            self._unpack(encoding)
        if self._whole and length.isdigit() and int(length) > self._limits.answer_bytes:
            self._too_long()
        elif not self._whole:
            self._wake()

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        if not self.busy or self._closed:  # it was cut short meanwhile, or nobody reads any more
            return
        if self._inflater is not None:
            try:
                body = self._inflater.feed(body)
            except InflatingError as error:
                self._malformed(f"cannot be unpacked: {error}")
                return
            if not body:
                return
        if (pieces := len(self._body)) < MOST_PIECES:
            self._body.append(body)
        elif pieces == MOST_PIECES:
            self._body.append(bytearray(body))
        else:  # cut into ever so many, where each costs fifty bytes beside its own
            self._body[-1] += body
        if self._whole:
            self._size += len(body)
            if self._size > self._limits.answer_bytes:
                self._too_long()
            return
        if self._held <= HIGH_WATER < self._held + len(body):
            self._transport.pause_reading()
            self.due = self._total_due  # it is the reader who is slow now
        self._held += len(body)
        self._wake()

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            self.headers = []
            return
        if self.busy and self._inflater is not None and not self._inflater.ended:
            self._malformed("cannot be unpacked: it has no end")
        if not self.busy:
            return
        self.busy = False
        self.due = NEVER
        if self._closed:
            self._rest()
        else:
            self._wake()

    def _unpack(self, encoding: bytes) -> None:
        if encoding not in ENCODINGS:
            self._malformed("is packed in a way we did not ask for")
        else:
            self._inflater = Inflater(self._limits.answer_bytes)

    def _too_long(self) -> None:
        self._malformed(f"is larger than {self._limits.answer_bytes} bytes")
