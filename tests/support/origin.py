"""A provider on a real socket that says what the test wants it to say."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from weakref import WeakSet

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Origin:
    def __init__(self) -> None:
        self.script: Script
        self.connections = 0
        self.left = asyncio.Event()
        self.url = ""
        self._tasks: WeakSet[asyncio.Task[None]] = WeakSet()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        try:
            await self.script(reader, writer)
            if await reader.read() == b"":
                self.left.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        except asyncio.CancelledError:
            pass  # the test is over; asyncio's own server reports a cancelled handler as an error
        finally:
            writer.close()

    async def end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def origin(tls: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Origin]:
    """On a free port, unless one is named; with `tls` it speaks https."""
    made = Origin()
    server = await asyncio.start_server(made.serve, host, port, ssl=tls)
    made.url = f"http{'s' if tls else ''}://{host}:{server.sockets[0].getsockname()[1]}/v1/"
    try:
        yield made
    finally:
        server.close()
        await made.end()


async def question(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


def says(*pieces: bytes, then_close: bool = False) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await question(reader)
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.005)
            if then_close:
                writer.close()
                return

    return script
