"""A provider that speaks HTTP/2 over TLS on a real socket, and lets a test decide every frame."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httptools
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.settings import SettingCodes, Settings

from tests.support.origin import Script

H2Script = Callable[["Call"], Awaitable[None]]
SSE = ((b"content-type", b"text/event-stream"),)


class Call:
    """One stream. What is sent waits for the client's windows."""

    def __init__(self, connection: "Connection", number: int) -> None:
        self.connection = connection
        self.number = number
        self.path = ""
        self.body = b""
        self.asked = False
        """Its script has begun, for the request is whole."""
        self.reset_by_client: int | None = None
        self.left = asyncio.Event()
        self._unsent = bytearray()
        self._end = False
        self._flowed = asyncio.Event()

    def head(self, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = SSE) -> None:
        if self.reset_by_client is not None:
            return
        self.connection.h2.send_headers(self.number, [(b":status", b"%d" % status), *headers])
        self.connection.flush()

    def data(self, data: bytes) -> None:
        self._unsent += data
        self.flow()

    def end(self) -> None:
        self._end = True
        self.flow()

    def answer(self, body: bytes) -> None:
        self.head(headers=((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))))
        self.data(body)
        self.end()

    def reset(self, code: ErrorCodes) -> None:
        self.connection.h2.reset_stream(self.number, code)
        self.connection.flush()

    async def drain(self) -> None:
        while self._unsent and self.reset_by_client is None:
            self._flowed.clear()
            await self._flowed.wait()
        await self.connection.writer.drain()

    def flow(self) -> None:
        if self.reset_by_client is not None or self.number not in self.connection.calls:
            return
        h2 = self.connection.h2
        while self._unsent:
            room = min(h2.local_flow_control_window(self.number), h2.max_outbound_frame_size)
            if room <= 0:
                break
            h2.send_data(self.number, bytes(self._unsent[:room]))
            del self._unsent[:room]
        if self._end and not self._unsent:
            h2.end_stream(self.number)
            del self.connection.calls[self.number]
        self.connection.flush()
        self._flowed.set()


class Connection:
    def __init__(self, origin: "H2Origin", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.origin = origin
        self.reader = reader
        self.writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.calls: dict[int, Call] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        self.h2.local_settings = Settings(client=False, initial_values=self.origin.settings)
        self.h2.initiate_connection()
        self.flush()
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.on(event)
                self.flush()
        except OSError:
            pass  # of TLS too
        finally:
            self.origin.left.set()
            for task in self.tasks:
                task.cancel()
            self.writer.close()

    def on(self, event: object) -> None:
        match event:
            case RequestReceived():
                call = self.calls[event.stream_id] = Call(self, event.stream_id)
                call.path = dict(event.headers)[":path"]
                self.origin.calls.append(call)
            case DataReceived():
                if self.origin.takes_bodies:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.stream_id in self.calls:
                    self.calls[event.stream_id].body += event.data
            case StreamEnded():
                self.asked(event.stream_id)
            case StreamReset():
                self.gone(event.stream_id, event.error_code)
            case WindowUpdated():
                for each in list(self.calls.values()):
                    each.flow()

    def asked(self, number: int) -> None:
        if number in self.calls:
            task = asyncio.create_task(self.run(self.calls[number]))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def run(self, call: Call) -> None:
        call.asked = True
        await self.origin.run(call)

    def gone(self, number: int, code: int) -> None:
        if (call := self.calls.pop(number, None)) is not None:
            call.reset_by_client = code
            call.left.set()
            call.flow()
            self.origin.left.set()

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.writer.write(data)

    def goaway(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """By hand: the library takes no more part in a connection it has said this on."""
        payload = last.to_bytes(4, "big") + int(code).to_bytes(4, "big")
        self.raw(len(payload).to_bytes(3, "big") + b"\x07\x00" + bytes(4) + payload)

    def raw(self, data: bytes) -> None:
        self.writer.write(data)


class H2Origin:
    def __init__(self) -> None:
        self.script: H2Script
        self.settings: dict[int, int] = {SettingCodes.MAX_CONCURRENT_STREAMS: 100}
        self.takes_bodies = True
        self.calls: list[Call] = []
        self.open: list[Connection] = []
        self.connections = 0
        self.left = asyncio.Event()
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, call: Call) -> None:
        await self.script(call)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = Connection(self, reader, writer)
        self.open.append(connection)
        try:
            await connection.serve()
        except asyncio.CancelledError:
            pass  # the test is over; asyncio's own server reports a cancelled handler as an error
        finally:
            self.open.remove(connection)

    async def end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class TranslatedOrigin(H2Origin):
    """Its `script` is one of HTTP/1.1, as `tests.support.origin` has them; what it writes goes out in frames."""

    script: Script  # type: ignore[assignment] # of another kind than its base has

    async def run(self, call: Call) -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(call.body) + call.body)
        reader.feed_eof()
        with suppress(asyncio.IncompleteReadError):  # it asked for the next call, which has a stream of its own
            await self.script(reader, _Writer(call))  # type: ignore[arg-type] # it stands in for a StreamWriter


class _Writer:
    def __init__(self, call: Call) -> None:
        self._call = call
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._ended = False
        self.transport = call.connection.writer.transport

    def write(self, data: bytes) -> None:
        if data:
            self._parser.feed_data(data)

    async def drain(self) -> None:
        await self._call.drain()

    def close(self) -> None:
        if not self._ended:
            self._call.connection.writer.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in {b"transfer-encoding", b"connection"}:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers, self._headers = tuple(self._headers), []
        self._call.head(self._parser.get_status_code(), headers)

    def on_body(self, body: bytes) -> None:
        self._call.data(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._ended = True
            self._call.end()


@asynccontextmanager
async def h2_origin(tls: ssl.SSLContext, made: H2Origin | None = None) -> AsyncIterator[H2Origin]:
    made = made or H2Origin()
    tls.set_alpn_protocols(["h2"])
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/"
    try:
        yield made
    finally:
        server.close()
        await made.end()
