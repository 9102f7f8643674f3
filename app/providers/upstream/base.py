"""What an adapter asks of the network."""

from typing import Protocol

from msgspec import Struct

Headers = list[tuple[bytes, bytes]]

MIB = 1024 * 1024


class Limits(Struct, frozen=True, kw_only=True):
    """Seconds, except `answer_bytes`, which bounds a whole answer and not a stream.

    `first_byte` runs from the moment of asking, `idle` between two pieces received, `total` over the
    whole of a `send`, `stream_total` over the whole of what was opened. `queue` is the wait for a free connection,
    `waiting` how many calls may.
    `keep_idle` is how long one is kept unused: servers of Node and uvicorn close theirs after 5.
    """

    connect: float = 5
    queue: float = 2
    first_byte: float = 60
    idle: float = 60
    total: float = 600
    stream_total: float = 1800
    keep_idle: float = 4
    connections: int = 512
    waiting: int = 256
    answer_bytes: int = 32 * MIB


DEFAULT_LIMITS = Limits()
LINGER_SECONDS = 0.5


class Answer(Struct):
    """A whole answer, whatever its status; `connecting` is the seconds until there was a connection to ask on."""

    status: int
    headers: Headers
    body: bytes
    connecting: float = 0.0

    def header(self, name: bytes) -> bytes:
        """The value of a header whose `name` is given in lower case, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), b"")


class Load(Struct, frozen=True):
    """What a client's connections are doing: in use (with HTTP/2 calls), kept for the next call, and how many may be.

    `waiting` are calls that wait for one now, `refused` those that ever did in vain, or found too many there.
    """

    active: int
    idle: int
    limit: int
    waiting: int
    refused: int


class Exchange(Protocol):
    """An answer whose head has arrived and whose body is still coming."""

    status: int
    headers: Headers
    connecting: float
    """Seconds until there was a connection to ask on; 0 on one that was kept."""

    async def read(self) -> bytes:
        """All that has arrived since the last call, waiting for something; empty at the end."""
        ...

    def close(self, *, done: bool = False) -> None:
        """Give the connection back, or end it if the body was not read to its end. Never waits.

        `done` says that all that matters has come: then the end of the body is given half a second to follow.
        """
        ...


class Upstream(Protocol):
    """One origin.

    Every failure leaves as an `UpstreamError`, or as `CapacityError` where a limit of ours is to blame:
    all connections were busy, or no descriptors were left.
    Whoever is cancelled while waiting takes the connection with it: the provider sees that nobody listens.
    Nothing is sent twice, except once more when a kept connection had died before a byte came back.
    `lines` are whole header lines of this one request's own, each with its end.
    """

    async def send(self, method: str, path: str, body: bytes = b"", lines: bytes = b"") -> Answer: ...

    async def open(self, method: str, path: str, body: bytes = b"", lines: bytes = b"") -> Exchange: ...

    def load(self) -> Load: ...

    async def aclose(self) -> None: ...
