"""A client's side of HTTP/1.1 on bare streams: cheap, and gone when it wants to be."""

import asyncio
from collections.abc import Iterable

from msgspec import Struct

LONGEST_LINE = 1024 * 1024


class Head(Struct):
    status: int
    fields: dict[str, str]


class Wire:
    """One kept connection, opened when it is needed; an answer is read in whole, or piece by piece."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._head = Head(0, {})

    async def ask(
        self, path: str, body: bytes = b"", *, method: str = "GET", fields: Iterable[str] = (), short_of: int = 0
    ) -> None:
        """Send a request, its body `short_of` so many bytes that its head promised."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LONGEST_LINE)
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body) + short_of}", *fields]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self._writer.drain()

    async def head(self) -> Head:
        assert self._reader is not None
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = (line.partition(": ") for line in lines if line)
        self._head = Head(int(first.split(" ", 2)[1]), {name.lower(): value for name, _, value in fields})
        return self._head

    async def piece(self) -> bytes:
        """The next chunk of a chunked answer; nothing at its end."""
        assert self._reader is not None
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        return (await self._reader.readexactly(size + 2))[:-2]

    async def rest(self) -> bytes:
        """What is left of the answer."""
        assert self._reader is not None
        if "transfer-encoding" in self._head.fields:
            pieces = []
            while piece := await self.piece():
                pieces.append(piece)
            body = b"".join(pieces)
        else:
            body = await self._reader.readexactly(int(self._head.fields["content-length"]))
        if self._head.fields.get("connection") == "close":
            await self.leave()
        return body

    async def get(self, path: str) -> bytes:
        await self.ask(path)
        await self.head()
        return await self.rest()

    async def leave(self) -> None:
        """At once, whatever is on its way; when this returns, the other side has been told."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.transport.abort()
            await asyncio.sleep(0)  # the loop closes the socket in its next round
            await asyncio.sleep(0)
