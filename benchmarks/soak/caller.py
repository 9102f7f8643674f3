"""One caller: asks by case, reads what comes, and notes it in the ledger."""

import itertools
from collections.abc import Iterator

from benchmarks.soak.cases import CASES, KEYS, Case
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.provider import EVENTS_BEFORE
from benchmarks.soak.questions import identity, question, tokens_of
from benchmarks.soak.wire import Wire

DONE = b"data: [DONE]\n\n"
MALFORMED = b'{"model": "main/well", "messages": ['


class Caller:
    """A connection to the gateway, kept from one request to the next, and one to the provider, to be told by."""

    def __init__(self, gateway: int, provider: int, ledger: Ledger, numbers: Iterator[int]) -> None:
        self.wire = Wire(gateway)
        self.aside = Wire(provider)
        self.ledger = ledger
        self.numbers = numbers

    def companion(self) -> "Caller":
        """Somebody else, who asks the same and counts in the same ledger."""
        port = self.wire.port, self.aside.port
        return Caller(*port, self.ledger, self.numbers)

    async def ask(self, name: str, number: int, *, short_of: int = 0) -> None:
        case = CASES[name]
        path = "/nowhere" if case.route == "unmatched" else case.route
        body = question(case.model, number, operation=case.operation, stream=case.stream)
        key = KEYS.get(case.key, "k-nobody-0123456789")
        fields = (f"x-request-id: {name}.{number}", f"authorization: Bearer {key}", *case.fields)
        body = MALFORMED if name == "malformed" else body
        await self.wire.ask(path, body, method=case.method, fields=fields, short_of=short_of)

    async def whole(self, name: str, number: int) -> None:
        """Ask, read the answer to its end, and note it."""
        await self.ask(name, number)
        await self.finish(name, number)

    async def finish(self, name: str, number: int, read: bytes = b"") -> None:
        """Read what is left after the events that were `read`, or the whole answer where none were."""
        if not read:
            await self.begin(name, number)
        read += await self.wire.rest()
        case = CASES[name]
        if wrong := _wrong_stream(case, number, read) if case.stream else _wrong_body(case, number, read):
            self.ledger.complain(name, number, f"{wrong}: {read[-200:]!r}")
        self.ledger.note(name, number)

    async def begin(self, name: str, number: int) -> None:
        """Read the head of the answer."""
        head = await self.wire.head()
        case = CASES[name]
        expected = {"x-request-id": f"{name}.{number}"}
        if case.code >= 400:
            expected["x-signalbox-error"] = case.status
        else:
            expected |= {"x-signalbox-cache": case.cache, "x-signalbox-provider": case.provider}
        if not case.stream:
            expected["x-signalbox-attempts"] = ",".join(case.attempts)
        told = {field: head.fields.get(field, "") for field in expected}
        if (head.status, told) != (case.code, expected):
            self.ledger.complain(name, number, f"expected {case.code} {expected}, got {head.status} {told}")

    async def first_events(self, name: str, number: int) -> bytes:
        """The head of a stream, and its first events."""
        await self.begin(name, number)
        read = b""
        while read.count(identity(number)) < EVENTS_BEFORE:
            if not (piece := await self.wire.piece()):
                self.ledger.complain(name, number, f"the stream ended after {read!r}")
                break
            read += piece
        return read

    async def leave(self, name: str, number: int) -> None:
        """Hang up in the middle, and note that."""
        await self.wire.leave()
        self.ledger.note(name, number)

    async def peek(self, path: str) -> None:
        """What an operator looks at; nothing but the answer's status is counted."""
        await self.wire.ask(path, fields=(f"authorization: Bearer {KEYS['web']}",))
        head = await self.wire.head()
        await self.wire.rest()
        if head.status != 200:
            self.ledger.complain(path, 0, f"{head.status}")
        self.ledger.answered("GET", path, 200)

    async def close(self) -> None:
        await self.wire.leave()
        await self.aside.leave()


def callers(count: int, gateway: int, provider: int, ledger: Ledger) -> list[Caller]:
    numbers = itertools.count(1)
    return [Caller(gateway, provider, ledger, numbers) for _ in range(count)]


def _wrong_body(case: Case, number: int, body: bytes) -> str:
    if case.code >= 400:
        return "" if body.startswith(b'{"error":{') else "no error"
    return "" if identity(number) in body else "another answer"


def _wrong_stream(case: Case, number: int, read: bytes) -> str:
    if case.code >= 400:
        return _wrong_body(case, number, read)
    said = read.count(identity(number))
    if case.status != "ok":
        broken = said == EVENTS_BEFORE and b'"error":{' in read and DONE not in read
        return "" if broken else "not broken as it should be"
    words = EVENTS_BEFORE if case.model == "main/waits" else tokens_of(number)[1]
    if said != words + 1 or not read.endswith(DONE) or b'"usage"' in read:
        return f"{said} events of {words + 1}"
    return "" if read.count(b"data: ") == said + 1 else "somebody else's events"
