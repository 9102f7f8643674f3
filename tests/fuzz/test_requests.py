"""What callers send to the front, byte by byte: one reply for a request, and none for what a strict reader refuses.

The application behind it takes whole bodies and says of each request which one it was; the strict reader is h11.
"""

import asyncio
import re
from typing import Any, NamedTuple

import h11
import uvicorn
from uvicorn.server import ServerState

from app.controllers.visitors import Visitors
from app.domain.errors import GatewayError
from app.front import Front
from tests.fuzz.looping import run
from tests.fuzz.mutating import fuzzed, pieces
from tests.support.wired import Transport

MOST_TURNS = 12
LENIENT = {
    r"Missing mandatory Host: header": "the head is read; the door refuses it, as the application here does",
    r"Found multiple Host: headers": "so is one with two; what follows it is a request of its own",
    r"no request line received": "empty lines before a request are passed over (RFC 9112 §2.2)",
    r"illegal request line: bytearray\(b'(\\r)+'\)": "CRs among the empty lines before it",
    r"Only Transfer-Encoding: chunked is supported": "other codings before chunked; its end is known all the same",
    r"illegal request line: bytearray\(b'(\\r)*[A-Z]+ +\S+ +HTTP/1\.[01]'\)": "CRs before it, spaces behind the method",
}
"""What h11 refuses and we answer with 200, by h11's reason; each with why that may be. Looked through by hand."""


class Request(NamedTuple):
    method: str
    target: bytes
    body: bytes


class Application:
    """`calls` has every request whose head came, with its body once that is whole."""

    def __init__(self) -> None:
        self.calls: list[Request | None] = []
        self.answered: list[int] = []
        self._visitors = Visitors(origins=(), loopback_only=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        number = len(self.calls)
        self.calls.append(None)
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body, more = body + message["body"], message["more_body"]
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        self.calls[number] = Request(scope["method"], target, body)
        headers = [(b"x-call", b"%d" % number), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": self._status(scope), "headers": headers})
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})

    def _status(self, scope: Any) -> int:
        try:
            self._visitors.check(scope["headers"], dict(scope["headers"]))
        except GatewayError as error:
            return error.status_code
        return 200


class Socket(Transport):
    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "something is written behind the end"
        super().write(data)


class Reply(NamedTuple):
    """`call` is the application's number for it, or -1 where the front refused."""

    status: int
    call: int


async def asked(data: list[bytes]) -> tuple[Application, list[Reply]]:
    app = Application()
    config = uvicorn.Config(app, http=Front, ws="none", lifespan="off", log_config=None)
    config.load()
    refused: list[GatewayError] = []
    front = Front(
        config=config, server_state=ServerState(), app_state={}, refused=lambda error, *_: refused.append(error)
    )
    socket = Socket()
    front.connection_made(socket)
    for piece in data:
        await _settled(front, socket)
        if socket.closed:
            break
        front.data_received(piece)
    await _settled(front, socket)
    replies = replies_of(b"".join(socket.writes), app)
    broken = sum(request is None for request in app.calls)
    assert len(refused) <= sum(reply.call < 0 for reply in replies) <= len(refused) + broken, (replies, refused)
    front.connection_lost(None)
    await _settled(front, socket)
    assert not front.tasks
    return app, replies


async def _settled(front: Front, socket: Socket) -> None:
    """Until everybody waits for more bytes."""
    for _ in range(MOST_TURNS):
        await asyncio.sleep(0)
        if not front.tasks and (socket.closed or not socket.paused):
            return
    assert socket.closed or not socket.paused, "nobody would ever read on"


def replies_of(written: bytes, app: Application) -> list[Reply]:
    found = []
    while written:
        head, end, written = written.partition(b"\r\n\r\n")
        assert end, head
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert match, head
        status = int(match[1])
        if status == 100:
            continue
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        call = int(fields.get(b"x-call", b"-1"))
        asked_by = app.calls[call] if call >= 0 else None
        length = 0 if asked_by and asked_by.method == "HEAD" else int(fields[b"content-length"])
        assert len(written) >= length
        written = written[length:]
        found.append(Reply(status, call))
    return found


def reference(data: bytes) -> tuple[list[Request], str]:
    """The requests h11 takes, and why it took no more."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    server.receive_data(data)
    found: list[Request] = []
    try:
        while True:
            event = server.next_event()
            match event:
                case h11.Request():
                    request, body = event, b""
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    found.append(Request(request.method.decode(), request.target, body))
                    status = 405 if request.method == b"CONNECT" else 200
                    server.send(h11.Response(status_code=status, headers=[("content-length", "0")]))
                    server.send(h11.EndOfMessage())
                    if server.our_state is h11.MUST_CLOSE:
                        return found, "the connection has to be closed"
                    server.start_next_cycle()
                case _:
                    return found, "more has to come"
    except h11.RemoteProtocolError as error:
        return found, str(error)


@fuzzed("requests", split=True)
def test_each_request_has_one_reply_and_the_front_refuses_at_most_the_last(data: bytes, places: list[int]) -> None:
    app, replies = run(asked(pieces(data, places)))

    calls = [reply.call for reply in replies]
    assert calls[: len(app.calls)] == [number for number, _ in enumerate(app.calls)][: len(calls)] or -1 in calls
    answered = [call for call in calls if call >= 0]
    assert answered == [number for number, request in enumerate(app.calls) if request is not None]
    assert calls.count(-1) <= 1
    assert -1 not in calls[:-1]


@fuzzed("requests", split=True)
def test_nothing_is_served_that_a_strict_reader_would_not_have_read_so(data: bytes, places: list[int]) -> None:
    expected, why = reference(data)

    app, replies = run(asked(pieces(data, places)))

    answered = [(reply.status, app.calls[reply.call]) for reply in replies if reply.call >= 0]
    for (status, ours), theirs in zip(answered, expected, strict=False):
        if status != 200 or ours is None:
            continue  # refused by its visitor's rules, of which h11 knows nothing
        assert (ours.method, ours.body) == (theirs.method, theirs.body)
        if theirs.target.startswith(b"/"):
            assert ours.target == theirs.target.partition(b"#")[0].removesuffix(b"?")
    lenient = any(re.fullmatch(reason, why) for reason in LENIENT)
    beyond = [request for status, request in answered[len(expected) :] if status == 200]
    assert lenient or not beyond, (beyond, why)


@fuzzed("requests", split=True)
def test_requests_do_not_depend_on_where_their_bytes_were_cut(data: bytes, places: list[int]) -> None:
    at_once, in_pieces = (run(asked(each)) for each in ([data] if data else [], pieces(data, places)))

    assert [each for each in at_once[0].calls if each] == [each for each in in_pieces[0].calls if each]
