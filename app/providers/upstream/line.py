"""The socket under a request, so that it can be cut at any moment.

httpx 0.28.1 loses a place in its pool when a request is cancelled at the wrong moment: after 1,600 random cancels none
of 20 is left. So nothing of httpx is ever cancelled: it runs in tasks of its own, and who wants no more aborts the
socket; then httpx fails by itself, by the way that gives the place back.
"""

import ssl
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import httpcore


class Line:
    """Which stream a request is being sent on; one per request."""

    def __init__(self) -> None:
        self.cut = False
        self.kept = False
        """The stream had carried an answer before."""
        self._stream: WatchedStream | None = None

    async def abort(self) -> None:
        """Make the request fail wherever it is; before it has a stream, as soon as it gets one."""
        self.cut = True
        if self._stream is not None:
            await self._stream.aclose()

    def taken(self, stream: "WatchedStream") -> None:
        if self.cut:
            # not WriteError: httpcore passes over that one and goes on to wait for an answer
            raise httpcore.ReadError("nobody waits for this request any more")
        if self._stream is not stream:
            self._stream = stream
            self.kept = stream.read_before


current_line: ContextVar[Line] = ContextVar("current_line")


class WatchedStream(httpcore.AsyncNetworkStream):
    """Tells the line of the request that writes on it."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self.read_before = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the base says so
        data = await self._stream.read(max_bytes, timeout)
        self.read_before = self.read_before or bool(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the base says so
        if (line := current_line.get(None)) is not None:
            line.taken(self)
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the base says so
    ) -> httpcore.AsyncNetworkStream:
        return WatchedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class WatchedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base says so
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return WatchedStream(stream)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)
