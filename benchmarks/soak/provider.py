"""A provider on loopback that behaves as the model's name says, and keeps a ledger of its own.

`python -m benchmarks.soak.provider` prints its port. The first part of a path is the row that asks. Beside OpenAI's
API there are `GET /_arrived/<number>` and `GET /_gone/<number>`, which answer once that question has come, or once
whoever asked has hung up; `GET /_open/<number>` lets a waiting answer go on; `GET /_ledger` tells what was counted.
"""

import asyncio
import socket
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable

import msgspec

from benchmarks.soak.questions import identity, tokens_of

TRICKLE_SECONDS = 0.02
EVENTS_BEFORE = 3
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FLOOD = b'{"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}' % (b"x" * 32768)
RESET = struct.pack("ii", 1, 0)


class Ledger(msgspec.Struct):
    """By row; `replays` are questions hung up on over a connection that had served before: a client may ask again."""

    questions: dict[str, int] = msgspec.field(default_factory=Counter)
    replays: dict[str, int] = msgspec.field(default_factory=Counter)
    deserted: dict[str, int] = msgspec.field(default_factory=Counter)
    prompt_tokens: dict[str, int] = msgspec.field(default_factory=Counter)
    completion_tokens: dict[str, int] = msgspec.field(default_factory=Counter)
    lists: int = 0


class Question(msgspec.Struct):
    model: str = ""
    number: int = 0
    stream: bool = False
    row: str = ""
    embedding: bool = False


class Gates:
    """One event for each thing a caller may wait for, forgotten once it was waited for."""

    def __init__(self) -> None:
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def open(self, name: str) -> None:
        self._events[name].set()

    async def passed(self, name: str) -> None:
        await self._events[name].wait()
        self._events.pop(name, None)


class Line:
    """One connection to us; `gone` ends when the other side hangs up in mid-answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served = False
        self._reader = reader
        self._writer = writer

    async def request(self) -> tuple[str, bytes]:
        """Path and body of the next one; raises IncompleteReadError where there is none."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        return head.split(b" ", 2)[1].decode(), await self._reader.readexactly(length)

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, body: bytes, status: str = "200 OK", *fields: str) -> None:
        lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *fields]
        await self.say("\r\n".join([*lines, "", ""]).encode() + body)

    async def event(self, data: bytes) -> None:
        data = b"data: %b\n\n" % data
        await self.say(b"%x\r\n%b\r\n" % (len(data), data))

    async def deserted(self, within: float | None = None) -> bool:
        """Whether the other side hangs up within so many seconds; without a limit, once it does."""
        try:
            async with asyncio.timeout(within):
                return await self._reader.read(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def reset(self) -> None:
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()


class Provider:
    """Each behaviour is a method; it says whether the connection is kept."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._gates = Gates()
        self._tried: Counter[int] = Counter()
        self._behaviours: dict[str, Callable[[Question, Line], Awaitable[bool]]] = {
            name: getattr(self, f"_{name}")
            for name in (
                "well",
                "fails",
                "recovers",
                "limits",
                "returns",
                "resets",
                "garbles",
                "empties",
                "cuts",
                "holds",
                "waits",
                "breaks",
                "floods",
                "postpones",
            )
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        try:
            while await self._answered(line):
                line.served = True
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            line.close()

    async def _answered(self, line: Line) -> bool:
        path, body = await line.request()
        row, _, rest = path[1:].partition("/")
        if row in {"_arrived", "_gone"}:
            await self._gates.passed(f"{row}{rest}")
        elif row == "_open":
            self._gates.open(f"_open{rest}")
        elif row == "_ledger":
            await line.answer(msgspec.json.encode(self.ledger))
            return True
        elif rest.endswith("/models"):
            self.ledger.lists += 1
            await line.answer(msgspec.json.encode({"data": [{"id": name} for name in self._behaviours]}))
            return True
        else:
            asked = msgspec.json.decode(body, type=Question)
            asked.row, asked.embedding = row, rest.endswith("/embeddings")
            self.ledger.questions[row] += 1
            return await self._behaviours[asked.model](asked, line)
        await line.answer(b"{}")
        return True

    async def _well(self, asked: Question, line: Line) -> bool:
        prompt, completion = tokens_of(asked.number)
        usage = b'"usage":{"prompt_tokens":%d,"completion_tokens":%d}' % (prompt, completion)
        if asked.stream:
            await line.say(STREAM_HEAD)
            await self._events(asked, line, completion)
            await self._end(asked, line)
        elif asked.embedding:
            body = b'{"object":"list",%b,"data":[{"index":0,"embedding":[%b0.5]}],"usage":{"prompt_tokens":%d}}'
            await line.answer(body % (identity(asked.number), b"0.25," * completion, prompt))
            completion = 0
        else:
            choice = b'{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}'
            body = b'{%b,"choices":[%b],%b}'
            await line.answer(body % (identity(asked.number), choice % (b"another word " * completion), usage))
        self.ledger.prompt_tokens[asked.row] += prompt
        self.ledger.completion_tokens[asked.row] += completion
        return True

    async def _fails(self, _: Question, line: Line) -> bool:
        await line.answer(b'{"error":{"message":"broken"}}', "500 Oops")
        return True

    async def _recovers(self, asked: Question, line: Line) -> bool:
        return await (self._well if self._again(asked) else self._fails)(asked, line)

    async def _limits(self, _: Question, line: Line) -> bool:
        await line.answer(b'{"error":{"message":"too fast"}}', "429 Wait")
        return True

    async def _returns(self, asked: Question, line: Line) -> bool:
        if self._again(asked):
            return await self._well(asked, line)
        await line.answer(b'{"error":{"message":"too fast"}}', "429 Wait", "retry-after-ms: 10")
        return True

    async def _resets(self, asked: Question, line: Line) -> bool:
        self.ledger.replays[asked.row] += line.served
        line.reset()
        return False

    async def _garbles(self, asked: Question, line: Line) -> bool:
        await line.answer(b'{"choices":[{"message":' + b"x" * (asked.number % 4096))
        return True

    async def _empties(self, _: Question, line: Line) -> bool:
        await line.answer(b'{"choices":[]}')
        return True

    async def _cuts(self, asked: Question, line: Line) -> bool:
        """Hang up in mid-answer, after what was sent has arrived."""
        if asked.stream:
            await line.say(STREAM_HEAD)
            await self._events(asked, line, EVENTS_BEFORE)
        else:
            await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
        return False

    async def _holds(self, asked: Question, line: Line) -> bool:
        """No end at all: a stream trickles, a JSON answer does not come, until whoever asked has hung up."""
        if asked.stream:
            await line.say(STREAM_HEAD)
            await self._events(asked, line, EVENTS_BEFORE)
        self._gates.open(f"_arrived{asked.number}")
        try:
            while not await line.deserted(TRICKLE_SECONDS if asked.stream else None):
                await self._events(asked, line, 1)
        except ConnectionError:
            pass
        self.ledger.deserted[asked.row] += 1
        self._gates.open(f"_gone{asked.number}")
        return False

    async def _floods(self, asked: Question, line: Line) -> bool:
        """More than anybody reads."""
        await line.say(STREAM_HEAD)
        await self._events(asked, line, EVENTS_BEFORE)
        try:
            while True:
                await line.event(FLOOD)
        except ConnectionError:
            self.ledger.deserted[asked.row] += 1
            self._gates.open(f"_gone{asked.number}")
        return False

    async def _postpones(self, asked: Question, line: Line) -> bool:
        await line.answer(b'{"error":{"message":"too fast"}}', "429 Wait", "retry-after: 5")
        self._gates.open(f"_arrived{asked.number}")
        return True

    async def _waits(self, asked: Question, line: Line) -> bool:
        """A stream that goes on after its first events when it is told to."""
        await self._until_open(asked, line)
        await self._end(asked, line)
        prompt, completion = tokens_of(asked.number)
        self.ledger.prompt_tokens[asked.row] += prompt
        self.ledger.completion_tokens[asked.row] += completion
        return True

    async def _breaks(self, asked: Question, line: Line) -> bool:
        await self._until_open(asked, line)
        return False

    async def _until_open(self, asked: Question, line: Line) -> None:
        await line.say(STREAM_HEAD)
        await self._events(asked, line, EVENTS_BEFORE)
        await self._gates.passed(f"_open{asked.number}")

    async def _events(self, asked: Question, line: Line, count: int) -> None:
        choice = b'{"index":0,"delta":{"content":"another word "},"finish_reason":null}'
        for _ in range(count):
            await line.event(b'{%b,"choices":[%b]}' % (identity(asked.number), choice))

    async def _end(self, asked: Question, line: Line) -> None:
        name, (prompt, completion) = identity(asked.number), tokens_of(asked.number)
        await line.event(b'{%b,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}' % name)
        usage = b'{%b,"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}'
        await line.event(usage % (name, prompt, completion))
        await line.event(b"[DONE]")
        await line.say(b"0\r\n\r\n")

    def _again(self, asked: Question) -> bool:
        """Whether the question has been asked before; forgotten with the second time."""
        self._tried[asked.number] += 1
        return self._tried[asked.number] > 1 and bool(self._tried.pop(asked.number))


async def main() -> None:
    server = await asyncio.start_server(Provider().serve, "127.0.0.1", 0, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
