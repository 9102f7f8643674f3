"""A TCP proxy that damages what passes through it, in front of a provider or Redis."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.chaos.line import RESET
from tests.chaos.toxics import Direction, Toxic

PIECE = 64 * 1024
MOST_PIECES = 32
LOOK_SECONDS = 0.05
LINGER_SECONDS = 5.0


class TcpProxy:
    """Toxics may come and go while connections are open, and count for those too."""

    def __init__(self, host: str, port: int, *, listen: int = 0, seed: int = 1) -> None:
        self.toxics: dict[str, Toxic] = {}
        self.target = (host, port)
        self.port = listen
        self.passed = 0
        """Connections that were accepted, ever."""
        self.dice = random.Random(seed)  # noqa: S311 - a choice, not a secret
        self._links: set[Link] = set()
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def up(self) -> None:
        """Listen, on the same port as before."""
        self.toxics.pop("down", None)
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
            self._listener.setblocking(False)  # noqa: FBT003 - the socket module's own
            self.port = self._listener.getsockname()[1]
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def down(self) -> None:
        """Connections are refused, and those that are open are reset."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """Reset every open connection."""
        for link in list(self._links):
            link.reset()

    async def add(self, toxic: Toxic, name: str = "") -> None:
        """Under its kind and direction, unless named."""
        if toxic.kind == "down":
            await self.down()
        self.toxics[name or ("down" if toxic.kind == "down" else f"{toxic.kind}_{toxic.stream}")] = toxic

    async def remove(self, name: str) -> None:
        if (gone := self.toxics.pop(name, None)) is not None and gone.kind == "down":
            await self.up()

    async def clear(self) -> None:
        for name in list(self.toxics):
            await self.remove(name)
        await self.up()

    @property
    def open(self) -> int:
        return len(self._links)

    def _accept(self, listener: socket.socket) -> None:
        """By hand: asyncio's own server loses connections that it accepts while it is closed."""
        with suppress(OSError):
            accepted, _ = listener.accept()
            task = asyncio.create_task(self._serve(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        self.passed += 1
        link = Link(self, *await asyncio.open_connection(sock=accepted))
        if self._listener is None:  # it went down since
            link.reset()
            return
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: TcpProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._near = (reader, writer)
        self._far: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._hit: dict[Toxic, bool] = {}
        self._begun = asyncio.get_running_loop().time()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        try:
            self._far = await asyncio.open_connection(*self._proxy.target)
        except OSError:
            self.reset()
            return
        (here, back), (there, out) = self._near, self._far
        pumps = [
            asyncio.create_task(self._pump("up", here, out)),
            asyncio.create_task(self._pump("down", there, back)),
            asyncio.create_task(self._ended.wait()),
            asyncio.create_task(self._watch()),
        ]
        try:
            await asyncio.wait(pumps[:3], return_when=asyncio.FIRST_COMPLETED)
            if not self._ended.is_set():  # a half that ended was told to the other side, whose answer may still come
                both = asyncio.gather(*pumps[:2], return_exceptions=True)
                await asyncio.wait([both, pumps[2]], return_when=asyncio.FIRST_COMPLETED, timeout=LINGER_SECONDS)
        finally:
            for each in pumps:
                each.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for _, writer in (self._near, self._far):
                writer.close()

    def reset(self) -> None:
        for side in (self._near, self._far):
            if side is not None:
                writer = side[1]
                found = writer.get_extra_info("socket")
                with suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
        self._ended.set()

    def _active(self, kind: str, stream: Direction | None = None) -> Toxic | None:
        """The toxic of that kind that hits this connection now."""
        for each in self._proxy.toxics.values():
            meant = each.kind == kind and stream in {None, each.stream}
            if meant and self._hit.setdefault(each, self._proxy.dice.random() < each.probability):
                return each
        return None

    async def _watch(self) -> None:
        """Ends a connection that is to be reset after a time, whatever passes."""
        while True:
            found = self._active("reset_peer")
            if found is not None and self._age() >= found.seconds("timeout"):
                self.reset()
                return
            found = self._active("timeout")
            if found is not None and found.value("timeout") and self._age() >= found.seconds("timeout"):
                self._ended.set()
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._begun

    async def _pump(self, stream: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Reads ahead a little, so that latency costs time and no throughput."""
        pieces: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue(MOST_PIECES)
        writing = asyncio.create_task(self._write(stream, pieces, sink))
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    data = await source.read(PIECE)
                except ConnectionError:
                    self.reset()
                    return
                found = self._active("latency", stream)
                await pieces.put((data, loop.time() + (found.wait(self._proxy.dice) if found else 0.0)))
                if not data:
                    break
            await writing
        finally:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing

    async def _write(
        self, stream: Direction, pieces: "asyncio.Queue[tuple[bytes, float]]", sink: asyncio.StreamWriter
    ) -> None:
        loop, written = asyncio.get_running_loop(), 0
        try:
            while True:
                data, due = await pieces.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if self._active("timeout", stream):  # a black hole; once it is taken away nobody knows where they were
                    while self._active("timeout", stream):  # noqa: ASYNC110 - toxics come and go without a word
                        await asyncio.sleep(LOOK_SECONDS)
                    self._ended.set()
                    return
                if not data:
                    if (slow := self._active("slow_close", stream)) is not None:
                        await asyncio.sleep(slow.seconds("delay"))
                    if sink.can_write_eof():
                        sink.write_eof()
                    return
                limit = self._active("limit_data", stream)
                if limit is not None and written + len(data) >= limit.value("bytes"):
                    sink.write(data[: max(0, int(limit.value("bytes")) - written)])
                    await sink.drain()
                    self._ended.set()
                    return
                written += len(data)
                await self._send(stream, data, sink)
        except (ConnectionError, RuntimeError):
            self.reset()

    async def _send(self, stream: Direction, data: bytes, sink: asyncio.StreamWriter) -> None:
        slicer, width = self._active("slicer", stream), self._active("bandwidth", stream)
        size = len(data)
        if width is not None:
            size = max(1, int(width.value("rate") * 1024 * LOOK_SECONDS))
        if slicer is not None:
            size = min(size, max(1, int(slicer.value("average_size"))))
        for start in range(0, len(data), max(size, 1)):
            piece = data[start : start + size]
            sink.write(piece)
            await sink.drain()
            pause = len(piece) / (width.value("rate") * 1024) if width is not None else 0.0
            pause += slicer.seconds("delay") if slicer is not None else 0.0
            if pause:
                await asyncio.sleep(pause)


@asynccontextmanager
async def proxy(host: str, port: int, *, listen: int = 0, seed: int = 1) -> AsyncIterator[TcpProxy]:
    """Listening, with nothing wrong yet."""
    made = TcpProxy(host, port, listen=listen, seed=seed)
    await made.up()
    try:
        yield made
    finally:
        await made.down()
