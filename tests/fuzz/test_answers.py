"""What providers send to the lean client, byte by byte: an answer or an error of ours; none too many or too late."""

import asyncio
import zlib
from typing import Any

import h11

from app.domain.upstream_errors import UpstreamError
from app.providers.upstream.base import Limits
from app.providers.upstream.connection import Connection, StaleError
from tests.fuzz.looping import run
from tests.fuzz.mutating import fuzzed, pieces

REQUEST = b"POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
LIMITS = Limits(answer_bytes=8192)
PACKED = {b"gzip", b"x-gzip", b"deflate"}


class Clock:
    """A loop of which a connection sees the time and the futures; time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.create_future = asyncio.get_running_loop().create_future

    def time(self) -> float:
        return self.now


class Pool:
    provider = "p"
    limits = LIMITS

    def __init__(self) -> None:
        self.loop: Any = Clock()
        self.idle = 0
        self.known = True

    def forget(self, connection: Connection) -> None:
        self.known = False

    def take_back(self, connection: Connection) -> None:
        self.idle += 1


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert bytes(data) == REQUEST

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def asked(data: list[bytes], *, whole: bool, hangs_up: bool) -> tuple[int, bytes] | Exception:
    """What one question ends with: status and body, or the error it ends in.

    Behind the bytes the provider hangs up, or says no more until everything is due.
    """
    pool = Pool()
    wire, connection = Wire(), Connection(pool)
    connection.connection_made(wire)
    head = connection.ask(REQUEST, whole=whole, total=LIMITS.total)
    for piece in data:
        if wire.aborted:
            break
        connection.data_received(piece)
        if head.done():
            await asyncio.sleep(0)
    if hangs_up or wire.aborted:
        connection.connection_lost(None)
    for _ in range(3):  # first byte, idle, total
        if connection.busy:
            pool.loop.now = connection.due
            connection.expire()
    assert head.done(), "it would wait for ever"
    try:
        await head
        status = connection.status
        body = connection.take() if whole else await _rest_of(connection)
    except (UpstreamError, StaleError) as error:
        assert not connection.busy
        return error
    if pool.known:
        connection.close()
        assert pool.idle + wire.aborted >= 1, "it is neither kept nor closed"
    return status, body


async def _rest_of(connection: Connection) -> bytes:
    found = []
    while piece := await asyncio.wait_for(connection.read(), 10):
        found.append(piece)
    return b"".join(found)


def reference(data: bytes) -> tuple[int, bytes] | None:
    """What h11 reads, where it accepts all of it and the answer has an end."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=65536)
    client.send(h11.Request(method="POST", target="/v1/x", headers=[("host", "a"), ("content-length", "2")]))
    client.send(h11.Data(data=b"{}"))
    client.send(h11.EndOfMessage())
    status, packed, body = 0, b"", b""
    try:
        client.receive_data(data)
        ended = False
        while True:
            event = client.next_event()
            match event:
                case h11.Response():
                    status = event.status_code
                    packed = next((value for name, value in event.headers if name == b"content-encoding"), b"")
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    return status, _unpacked(packed, body)
                case h11.NEED_DATA if not ended:
                    ended = True
                    client.receive_data(b"")
                case h11.InformationalResponse():
                    continue
                case _:
                    return None
    except (h11.RemoteProtocolError, zlib.error):
        return None


def _unpacked(packed: bytes, body: bytes) -> bytes:
    return zlib.decompress(body, 47) if packed.strip().lower() in PACKED else body


@fuzzed("answers", split=True)
def test_an_answer_is_what_the_provider_sent_or_an_error_of_ours(data: bytes, places: list[int]) -> None:
    expected = reference(data)
    for whole in (True, False):
        got = run(asked(pieces(data, places), whole=whole, hangs_up=True))
        if isinstance(got, tuple):
            assert not isinstance(expected, tuple) or got == expected
            assert 200 <= got[0] <= 999
            assert len(got[1]) <= LIMITS.answer_bytes


@fuzzed("answers", split=True)
def test_an_answer_does_not_depend_on_where_its_bytes_were_cut(data: bytes, places: list[int]) -> None:
    for whole in (True, False):
        at_once = run(asked([data] if data else [], whole=whole, hangs_up=True))
        in_pieces = run(asked(pieces(data, places), whole=whole, hangs_up=True))
        if isinstance(at_once, tuple) and isinstance(in_pieces, tuple):
            assert at_once == in_pieces


@fuzzed("answers", split=True)
def test_nobody_waits_for_ever(data: bytes, places: list[int]) -> None:
    for whole in (True, False):
        got = run(asked(pieces(data, places), whole=whole, hangs_up=False))
        assert isinstance(got, tuple | UpstreamError), got
