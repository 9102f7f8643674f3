"""Callers of all kinds: patient, hasty, slow, wrong, and malicious ones."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec

from benchmarks.soak.questions import question
from benchmarks.soak.wire import Wire
from tests.chaos.run.book import KEYS, Book, Told

CHAT = "/v1/chat/completions"
MODELS = ("either", "either", "either", "calm", "a/well", "b/well")
FAULTS = (
    "fault:hang_mid_stream",
    "fault:endless",
    "fault:reset_mid_stream",
    "fault:truncate?events=1",
    "fault:flapping?failures=1&status=503",
    "fault:split?bytes=3",
    "fault:dressed?ends=crlf",
    "fault:usage?kind=negative",
    "fault:usage?kind=string",
    "fault:zipped",
    "fault:text?kind=deep",
    "fault:extra_answer",
    "fault:extra_bytes",
    "fault:bad_chunk",
    "fault:both_lengths",
    "fault:no_length",
    "fault:bad_event",
    "fault:after_done",
    "fault:redirect",
    "fault:gzip_bomb?mb=8",
    "fault:finish?reason=tool_calls",
    "fault:no_newline?mb=3",
    "fault:huge_header?kb=512",
)
PATIENCE_SECONDS = 60.0
MALFORMED = (b'{"model": "either", "messages": [', b"", b"null", b"[]", b'{"model": 5}', b"\xff\xfe", b"[" * 20_000)
LEAVES_AFTER = 0.4


class Caller:
    """One who asks again and again; `number` makes its ids, its dice what it does next."""

    def __init__(self, number: int, seed: int, port: int, book: Book) -> None:
        self.dice = random.Random(f"caller {seed} {number}")  # noqa: S311 - an order, not a secret
        self.wire = Wire(port)
        self.book = book
        self._name = f"c{number}"
        self._count = 0

    async def play(self) -> None:
        """One of the plays, by its weight; what gets stuck is a complaint."""
        name = self.dice.choices(list(PLAYS), [weight for weight, _ in PLAYS.values()])[0]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await PLAYS[name][1](self)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.book.complain(f"{self._name}.{self._count} {name}: {error!r}")
            await self.wire.leave()
        if self.dice.random() < 0.05:
            await self.wire.leave()

    def told(self, model: str = "", *, question_id: str = "", number: int | None = None, **fields: object) -> Told:
        """A new request in the book."""
        self._count += 1
        name = f"{self._name}.{self._count}"
        number = self.dice.randint(1, 5000) if number is None else number
        told = Told(name, question_id or name, number=number, **fields)  # type: ignore[arg-type] # its own
        told.plain = "fault:" not in model
        return self.book.add(told)

    async def ask(self, told: Told, model: str, *, stream: bool, key: str = "web", body: bytes | None = None) -> None:
        await self.wire.ask(
            told.route, body or body_of(told, model, stream=stream), method="POST", fields=fields(told, key)
        )

    async def read(self, told: Told, *, slowly: float = 0.0) -> None:
        """The answer to its end."""
        head = await self.wire.head()
        told.status = head.status
        if head.fields.get("x-request-id") != told.id:
            self.book.complain(f"{told.id} was answered with the id {head.fields.get('x-request-id')}")
        told.word = head.fields.get("x-signalbox-error", "ok")
        streamed = head.fields.get("content-type", "").startswith("text/event-stream")
        if slowly and streamed:
            pieces = []
            while piece := await self.wire.piece():
                pieces.append(piece)
                await asyncio.sleep(slowly)
            body = b"".join(pieces)
        else:
            body = await self.wire.rest()
        told.whole = True
        self._check(told, body, streamed=streamed)

    def _check(self, told: Told, body: bytes, *, streamed: bool) -> None:
        if told.status >= 400:
            if told.word == "ok" or not body.startswith(b'{"error":{'):
                self.book.complain(f"{told.id}: {told.status} without a word: {body[:200]!r}")
            return
        if streamed and not body.endswith(b"data: [DONE]\n\n"):
            told.word = "broken"
            if b'"error":{' not in body:
                self.book.complain(f"{told.id}: a stream ended without [DONE] and without an error: {body[-200:]!r}")
        if told.plain and told.word == "ok" and f'"answer-{told.question}"'.encode() not in body:
            self.book.complain(f"{told.id}: somebody else's answer: {body[:200]!r}")

    async def leave(self, told: Told, after: float) -> None:
        """Hang up after so many seconds, whatever has come."""
        told.left = True
        told.sure = after > LEAVES_AFTER / 2
        await asyncio.sleep(after)
        await self.wire.leave()


def body_of(told: Told, model: str, *, stream: bool) -> bytes:
    asked = msgspec.json.decode(question(model, told.number, operation=told.route.removeprefix("/v1/"), stream=stream))
    return msgspec.json.encode(asked | {"call": told.question})


def fields(told: Told, key: str) -> list[str]:
    return [f"x-request-id: {told.id}", f"authorization: Bearer {KEYS.get(key, 'k-nobody-0123456789')}"]


async def patient(caller: Caller) -> None:
    model, stream = caller.dice.choice(MODELS), caller.dice.random() < 0.5
    told = caller.told(model)
    await caller.ask(told, model, stream=stream, key=caller.dice.choice(list(KEYS)))
    await caller.read(told)


async def other_route(caller: Caller) -> None:
    told = caller.told(route=caller.dice.choice(["/v1/embeddings", "/v1/completions"]))
    await caller.ask(told, "either", stream=False)
    await caller.read(told)


async def unlucky(caller: Caller) -> None:
    """Asks for a fault by its name."""
    model = f"{caller.dice.choice('ab')}/{caller.dice.choice(FAULTS)}"
    told = caller.told(model)
    await caller.ask(told, model, stream=caller.dice.random() < 0.7)
    await caller.read(told)


async def hasty(caller: Caller) -> None:
    """Leaves at any moment."""
    model = caller.dice.choice([*MODELS, "a/fault:endless", "b/fault:endless", "a/fault:hang", "b/fault:flood"])
    told = caller.told(model)
    await caller.ask(told, model, stream=caller.dice.random() < 0.6)
    await caller.leave(told, caller.dice.random() * LEAVES_AFTER)


async def slow(caller: Caller) -> None:
    told = caller.told("either")
    await caller.ask(told, "either", stream=True)
    await caller.read(told, slowly=0.002)


async def twins(caller: Caller) -> None:
    """The same question at once and again: shared while it is on its way, a hit once it is answered."""
    shared, number = f"q{caller.dice.randint(0, 10**9)}", caller.dice.randint(1, 5000)
    others = [Caller(0, 0, caller.wire.port, caller.book) for _ in range(2)]
    stream = caller.dice.random() < 0.5
    told = [caller.told("either", question_id=shared, number=number) for _ in range(3)]
    for each, mine in zip([caller, *others], told, strict=True):
        await each.ask(mine, "either", stream=stream)
    try:
        if caller.dice.random() < 0.3:
            await caller.leave(told[0], 0.05)
        else:
            await caller.read(told[0])
        for other, mine in zip(others, told[1:], strict=True):
            await other.read(mine)
    finally:
        for other in others:
            await other.wire.leave()


async def stranger(caller: Caller) -> None:
    told = caller.told()
    await caller.ask(told, "either", stream=False, key="nobody")
    await caller.read(told)


async def malformed(caller: Caller) -> None:
    told = caller.told()
    await caller.wire.ask(told.route, caller.dice.choice(MALFORMED), method="POST", fields=fields(told, "web"))
    await caller.read(told)


async def lost(caller: Caller) -> None:
    """A model or a path that is not there."""
    if caller.dice.random() < 0.5:
        told = caller.told()
        await caller.ask(told, "nobody-has-it", stream=False)
    else:
        told = caller.told(route="/v1/nowhere")
        await caller.ask(told, "either", stream=False, body=b"{}")
    await caller.read(told)


async def half(caller: Caller) -> None:
    """Leaves in the middle of its body."""
    told = caller.told()
    await caller.wire.ask(told.route, b'{"model":', method="POST", fields=fields(told, "web"), short_of=100)
    await caller.leave(told, caller.dice.random() * LEAVES_AFTER)


async def pipelined(caller: Caller) -> None:
    """Three questions in one go, answered in their order."""
    told = [caller.told("calm") for _ in range(3)]
    for each in told:
        await caller.ask(each, "calm", stream=caller.dice.random() < 0.5)
    for each in told:
        await caller.read(each)


async def looking(caller: Caller) -> None:
    path = caller.dice.choice(["/metrics", "/health/live", "/health/ready", "/v1/models"])
    told = caller.told(route=path)
    del caller.book.requests[told.id]  # only what is refused has a line in the log
    await caller.wire.ask(path, fields=fields(told, "web"))
    head = await caller.wire.head()
    await caller.wire.rest()
    caller.book.looked[path, head.status] += 1
    if word := head.fields.get("x-signalbox-error"):
        told.status, told.word, told.whole = head.status, word, True
        caller.book.add(told)


PLAYS: dict[str, tuple[int, Callable[[Caller], Awaitable[None]]]] = {
    "patient": (50, patient),
    "other_route": (6, other_route),
    "unlucky": (10, unlucky),
    "hasty": (12, hasty),
    "slow": (3, slow),
    "twins": (6, twins),
    "stranger": (3, stranger),
    "malformed": (3, malformed),
    "lost": (2, lost),
    "half": (3, half),
    "pipelined": (4, pipelined),
    "looking": (3, looking),
}
"""How often each is played beside the others."""
