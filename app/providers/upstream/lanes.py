"""Which connections a call may travel on.

httpx 0.28.1 opens no second HTTP/2 connection while the first one lives, full or not, and goes on using one whose
server is leaving. So each HTTP/2 connection gets a transport of its own here, and calls are spread over those.
"""

import asyncio
import sys
from collections.abc import Callable

import httpx

STREAMS = 100
"""On one connection: more than httpcore takes no server's permission for."""


class ElsewhereError(Exception):
    """Nothing was sent: this connection takes no more calls."""


class Lane:
    """A transport: of one HTTP/2 connection, or of as many of HTTP/1.1 as are wanted. Frames report what they see."""

    def __init__(self, streams: int, *, shared: bool) -> None:
        self.transport: httpx.AsyncHTTPTransport
        self.shared = shared
        """By calls that wait for the same connection, as far as is known."""
        self.streams = streams
        self.calls = 0
        self.admitted = 0
        """Those of its calls that have a stream."""
        self.leaving = False
        """The server takes no new calls, and ends the old ones."""
        self.unreachable: Exception | None = None
        self.closing: asyncio.TimerHandle | None = None

    def free(self) -> bool:
        return self.calls < self.streams and not self.leaving and self.unreachable is None

    def admit(self) -> None:
        """Raises ElsewhereError where the server would refuse one more stream."""
        if self.leaving or self.admitted >= self.streams:
            raise ElsewhereError
        self.admitted += 1

    def speaks_http11(self) -> None:
        self.streams = sys.maxsize
        self.shared = False

    def failed(self, error: Exception) -> None:
        """Connecting did: httpcore would let each of those who wait try it after the other."""
        if self.shared:
            self.unreachable = error


class Lanes(httpx.AsyncBaseTransport):
    """A request says in its extensions which lane it takes; whoever took one leaves it once."""

    def __init__(self, make: Callable[[Lane], httpx.AsyncHTTPTransport], *, http2: bool, keep_idle: float) -> None:
        self._make = make
        self._http2 = http2
        self._keep_idle = keep_idle
        self._lanes: list[Lane] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self) -> Lane:
        lane = next((each for each in self._lanes if each.free()), None) or self._opened()
        lane.calls += 1
        if lane.closing is not None:
            lane.closing.cancel()
            lane.closing = None
        return lane

    def leave(self, lane: Lane, *, admitted: bool) -> None:
        lane.calls -= 1
        lane.admitted -= admitted
        if lane.calls or not self._http2 or lane not in self._lanes:
            return
        if lane.leaving or lane.unreachable is not None:
            self._close(lane)
        else:
            lane.closing = asyncio.get_running_loop().call_later(self._keep_idle, self._close, lane)

    def idle(self) -> int:
        """Connections that no call is on."""
        pools = [each.transport._pool for each in self._lanes]  # noqa: SLF001 - httpx offers no other way to them
        return sum(each.is_idle() for pool in pools for each in pool.connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        lane: Lane = request.extensions["lane"]
        return await lane.transport.handle_async_request(request)

    async def aclose(self) -> None:
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            if lane.closing is not None:
                lane.closing.cancel()
            await lane.transport.aclose()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _opened(self) -> Lane:
        """A server's other connections will have as much room as its last one."""
        known = [each.streams for each in self._lanes if each.streams <= STREAMS]
        lane = Lane((known[-1] if known else STREAMS) if self._http2 else sys.maxsize, shared=self._http2)
        lane.transport = self._make(lane)
        self._lanes.append(lane)
        return lane

    def _close(self, lane: Lane) -> None:
        self._lanes.remove(lane)
        task = asyncio.get_running_loop().create_task(lane.transport.aclose())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
