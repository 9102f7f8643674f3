"""HTTP/1.1 on bare asyncio: what every call pays for, so nothing is built that is not sent."""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from app.domain.errors import QueueFullError, QueueTimeoutError
from app.domain.upstream_errors import UpstreamConnectError, UpstreamTimeoutError, unreached
from app.providers.upstream.base import DEFAULT_LIMITS, Answer, Limits, Load
from app.providers.upstream.connection import Connection, StaleError
from app.providers.upstream.resolving import Resolver
from app.providers.upstream.tls import tls_context

SWEEP_SECONDS = 0.1


class LeanUpstream:
    """A pool of connections to one origin, the last used first.

    One timer looks after the deadlines of all of them: a deadline is a number on the
    connection, and costs a request nothing but writing it down.
    """

    def __init__(  # noqa: PLR0913 - what a client is made of
        self,
        *,
        provider: str,
        base_url: str,
        headers: Mapping[str, str],
        limits: Limits = DEFAULT_LIMITS,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.provider = provider
        self.limits = limits
        self.loop: asyncio.AbstractEventLoop
        url = urlsplit(base_url)
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = (tls or tls_context()) if url.scheme == "https" else None
        self._resolver = resolver or Resolver()
        self._prefix = quote(url.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
        fixed = {"host": url.netloc.rpartition("@")[2], "accept-encoding": "identity", **headers}
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        self._heads: dict[tuple[str, str], bytes] = {}
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._queue: deque[asyncio.Future[None]] = deque()
        self._opening = 0
        self._waiting = 0
        self._refused = 0
        self._sweeping = False

    async def send(self, method: str, path: str, body: bytes = b"", lines: bytes = b"") -> Answer:
        connection = await self._asked(method, path, body, lines, whole=True, total=self.limits.total)
        answer = Answer(connection.status, connection.headers, connection.take(), connection.connecting)
        connection.close()
        return answer

    async def open(self, method: str, path: str, body: bytes = b"", lines: bytes = b"") -> Connection:
        return await self._asked(method, path, body, lines, whole=False, total=self.limits.stream_total)

    def load(self) -> Load:
        idle = len(self._idle)
        active = len(self._connections) - idle + self._opening
        return Load(active, idle, self.limits.connections, self._waiting, self._refused)

    async def aclose(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)  # the loop takes them down in its next round

    async def _asked(  # noqa: PLR0913 - of one request
        self, method: str, path: str, body: bytes, lines: bytes, *, whole: bool, total: float
    ) -> Connection:
        head = self._heads.get((method, path)) or self._head(method, path)
        request = b"%b%d\r\n%b\r\n%b" % (head, len(body), lines, body)
        connection = self._idle.pop() if self._idle else await self._timed()
        try:
            await connection.ask(request, whole=whole, total=total)
        except StaleError:
            return await self._asked_again(request, whole=whole, total=total)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _timed(self, *, fresh: bool = False) -> Connection:
        started = time.perf_counter()
        connection = await self._connect(fresh=fresh)
        connection.connecting = time.perf_counter() - started
        return connection

    async def _asked_again(self, request: bytes, *, whole: bool, total: float) -> Connection:
        connection = await self._timed(fresh=True)
        try:
            await connection.ask(request, whole=whole, total=total)
        except BaseException:
            connection.abort()
            raise
        return connection

    def _head(self, method: str, path: str) -> bytes:
        head = f"{method} {self._prefix}/{path} HTTP/1.1\r\n{self._fixed}content-length: ".encode("latin-1")
        self._heads[method, path] = head
        return head

    # connections

    async def _connect(self, *, fresh: bool = False) -> Connection:
        self.loop = asyncio.get_running_loop()
        full = len(self._connections) + self._opening >= self.limits.connections
        kept = await self._turn(fresh=fresh) if full else None
        return kept or await self._opened()

    async def _turn(self, *, fresh: bool) -> Connection | None:
        """Wait until a connection is free, or may be opened."""
        if self._waiting >= self.limits.waiting:
            self._refused += 1
            raise QueueFullError(f"all connections to {self.provider} are busy, and many calls wait", retry_after=1)
        self._waiting += 1
        try:
            async with asyncio.timeout(self.limits.queue):
                while len(self._connections) + self._opening >= self.limits.connections:
                    await self._told()
                    if self._idle:
                        if not fresh:
                            return self._idle.pop()
                        self._idle.pop(0).abort()
        except TimeoutError:
            self._refused += 1
            raise QueueTimeoutError(f"all connections to {self.provider} are busy", retry_after=1) from None
        finally:
            self._waiting -= 1
        return None

    async def _opened(self) -> Connection:
        self._opening += 1
        try:
            connected = self._resolver.connected(self._host, self.limits.connect, self._connected)
            transport, connection = await connected
        except TimeoutError:
            raise unreached(
                UpstreamTimeoutError(f"no connection to {self.provider} in time", provider=self.provider)
            ) from None
        except OSError as error:  # of TLS too
            raise unreached(
                UpstreamConnectError(
                    f"could not reach {self.provider}", provider=self.provider, detail=error.strerror or str(error)
                )
            ) from None
        finally:
            self._opening -= 1
            self._next()
        if (raw := transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(connection)
        if not self._sweeping:
            self._sweeping = True
            self.loop.call_later(SWEEP_SECONDS, self._sweep)
        return connection

    async def _connected(self, address: str) -> tuple[asyncio.Transport, Connection]:
        name = self._host if self._tls else None
        made = await self.loop.create_connection(
            lambda: Connection(self), address, self._port, ssl=self._tls, server_hostname=name
        )
        if made[0].is_closing():  # it was lost at once, and nobody would tell us again
            raise ConnectionResetError("closed as soon as it was open")
        return made

    async def _told(self) -> None:
        turn = self.loop.create_future()
        self._queue.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._next()
            raise

    def _next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def take_back(self, connection: Connection) -> None:
        self._idle.append(connection)
        if self._queue:
            self._next()

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._queue:
            self._next()

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in [each for each in self._connections if each.due <= now]:
            connection.expire()
        self._sweeping = bool(self._connections)
        if self._sweeping:
            self.loop.call_later(SWEEP_SECONDS, self._sweep)
