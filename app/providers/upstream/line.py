"""The socket under a request, so that it can be cut at any moment.

httpx 0.28.1 loses a place in its pool when a request is cancelled at the wrong moment: after 1,600 random cancels none
of 20 is left. So nothing of httpx is ever cancelled: it runs in tasks of its own, and who wants no more aborts the
socket; then httpx fails by itself, by the way that gives the place back. In HTTP/2, where others share the socket, only
the stream ends (`frames.py`), by the same way.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

from app.domain.errors import CapacityError
from app.providers.upstream.frames import NOTHING, Frames
from app.providers.upstream.lanes import Lane
from app.providers.upstream.resolving import Resolver

NEVER = 1e9


class UploadCutError(BaseException):
    """The stream is closed, but h2 goes on answering that its window is. No `Exception`: httpcore would take that for
    the end of the connection.
    """


class Line:
    """Which stream a request is being sent on; one per request."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.cut = False
        self.number = 0
        """Of its stream in HTTP/2."""
        self.reset: int | None = None
        self.opened = False
        self.uploading = False
        self.waiting = True
        """For what comes; a slow reader does not."""
        self.due = False
        self.closed = False
        self.connecting: float | None = None
        """Seconds until there was a connection to ask on."""
        self._begun = time.perf_counter()
        self._stream: WatchedStream | None = None
        self._reads = 0

    @property
    def stale(self) -> bool:
        """The connection had carried an answer before, and nothing came on it since this request was sent.

        Or it was lost while the request waited for its turn to be written.
        """
        if self._stream is None:
            return self.number > 0
        return 0 < self._reads == self._stream.reads

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around reading, in a task of its own: who reads is known by it."""
        current_line.set(self)
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False

    async def abort(self) -> None:
        """Make the request fail wherever it is; before it has a stream, as soon as it gets one."""
        self.cut = True
        if self._stream is not None:
            await self._stream.end(self)

    async def sever(self) -> None:
        """Abort the socket, whoever else is on it."""
        if self._stream is not None:
            await self._stream.aclose()

    def left(self) -> None:
        self.waiting = False
        if self._stream is not None:
            self._stream.forget(self)

    def taken(self, stream: "WatchedStream") -> None:
        if self._stream is not stream:
            self._stream = stream
            self._reads = stream.reads

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """What httpcore tells of a request while it is sent; a stream that is refused here has cost nobody anything."""
        if self.connecting is None and event.endswith(".send_request_headers.started"):
            self.connecting = time.perf_counter() - self._begun
        match event:
            case "http2.send_request_headers.started":
                if self.cut:
                    raise httpcore.ReadError("nobody waits for this request any more")
                if not self.number:
                    self.lane.admit()
                self.number = info["stream_id"]
                self.opened = False
            case "http2.send_request_body.started":
                self.uploading = True
            case "http2.send_request_body.complete" | "http2.send_request_body.failed":
                self.uploading = False
            case "http11.send_request_headers.started":
                self.lane.speaks_http11()


current_line: ContextVar[Line] = ContextVar("current_line")


class WatchedStream(httpcore.AsyncNetworkStream):
    """Tells the line of the request that writes on it."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, lane: Lane) -> None:
        self._stream = stream
        self._lane = lane
        self.reads = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the base says so
        data = await self._stream.read(max_bytes, timeout)
        self.reads += bool(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the base says so
        if (line := current_line.get(None)) is not None:
            if line.cut:
                # not WriteError: httpcore passes over that one and goes on to wait for an answer
                raise httpcore.ReadError("nobody waits for this request any more")
            line.taken(self)
        await self._stream.write(buffer, timeout)

    async def end(self, _: Line) -> None:
        """Nobody else is on it."""
        await self.aclose()

    def forget(self, _: Line) -> None:
        """Its request has come to an end."""

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the base says so
    ) -> httpcore.AsyncNetworkStream:
        try:
            secured = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except Exception as error:
            self._lane.failed(error)
            raise
        watched = WatchedStream(secured, self._lane)
        if watched.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            return SharedStream(secured, self._lane)
        return watched

    def get_extra_info(self, info: str) -> Any:
        """Raises ConnectError where there is no socket any more, on which anyio stumbles: it was lost as it opened."""
        try:
            return self._stream.get_extra_info(info)
        except AttributeError:
            if info == "is_readable":  # so httpcore finds out that a connection it keeps has ended
                return True
            raise httpcore.ConnectError("the connection was lost as it opened") from None


class SharedStream(WatchedStream):
    """Many requests are on it; httpcore lets one at a time read, for all of them, and one write."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, lane: Lane) -> None:
        super().__init__(stream, lane)
        self._frames = Frames(lane)
        self._arriving: asyncio.Task[bytes] | None = None
        self._ended = asyncio.Event()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the base says so
        line = current_line.get(None)
        while True:
            self._ended.clear()
            if shown := self._frames.made_up():
                return shown
            if line is not None and line.uploading and line.closed:
                raise UploadCutError
            if line is not None and line.uploading and line.due:
                line.due = False
                return NOTHING
            if self._frames.others_due(line):
                return NOTHING
            if (data := await self._arrived(max_bytes, timeout)) is None:
                continue
            if not data or (data := self._frames.received(data)):
                return data

    async def _arrived(self, max_bytes: int, timeout: float | None) -> bytes | None:  # noqa: ASYNC109 - handed on
        """What the network brought, or None if a stream was ended meanwhile."""
        if self._arriving is None:
            self._arriving = asyncio.create_task(super().read(max_bytes, timeout))
            self._arriving.add_done_callback(_looked_at)
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait([self._arriving, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        if not self._arriving.done():
            return None
        arrived, self._arriving = self._arriving, None
        return arrived.result()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the base says so
        if (line := current_line.get(None)) is not None:
            line.taken(self)
            line.due = False  # httpcore writes after each look at what has come
            if line.number and not line.opened:
                line.opened = True
                self._frames.opened(line.number, line)
                if line.cut:
                    self._frames.end(line.number)
                self._ended.set()
        told, self._frames.unsent = self._frames.unsent, b""
        await self._stream.write(buffer + told, timeout)

    async def end(self, line: Line) -> None:
        self._frames.end(line.number)
        self._ended.set()

    def forget(self, line: Line) -> None:
        self._frames.forget(line.number)


class WatchedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, backend: httpcore.AsyncNetworkBackend, lane: Lane, resolver: Resolver) -> None:
        self._backend = backend
        self._lane = lane
        self._resolver = resolver

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base says so
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if self._lane.unreachable is not None:
            raise self._lane.unreachable

        async def connect(address: str) -> httpcore.AsyncNetworkStream:
            try:
                return await self._backend.connect_tcp(address, port, None, local_address, socket_options)
            except httpcore.ConnectError as error:
                raise _cause_of(error) from None

        try:
            stream = await self._resolver.connected(host, timeout or NEVER, connect)
        except CapacityError as error:
            self._lane.failed(error)
            raise
        except OSError as error:
            kind = httpcore.ConnectTimeout if isinstance(error, TimeoutError) else httpcore.ConnectError
            failed = kind(error.strerror or str(error))
            self._lane.failed(failed)
            raise failed from error
        return WatchedStream(stream, self._lane)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def _cause_of(error: BaseException) -> OSError:
    """What the system said, beneath what httpcore and anyio made of it."""
    cause = error.__cause__
    while cause is not None and isinstance(cause.__cause__, OSError):
        cause = cause.__cause__
    return cause if isinstance(cause, OSError) else OSError(str(error))


def _looked_at(task: asyncio.Task[bytes]) -> None:
    """Nobody may read any more, and then nobody asks how it ended."""
    if not task.cancelled():
        task.exception()


def drop_if_more_came(response: httpx.Response) -> None:
    """What stands behind an answer h11 would give the next question. Told of a failure, httpcore keeps nothing."""
    stream: Any = response.stream
    # neither httpx nor httpcore offers another way to it; a test watches this one
    connection = stream._stream._httpcore_stream._stream._connection  # noqa: SLF001 - as said above
    if connection._h11_state.trailing_data[0]:  # noqa: SLF001 - as said above
        connection._h11_state.send_failed()  # noqa: SLF001 - as said above
