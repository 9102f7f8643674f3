"""One answer on its way to several callers."""

import asyncio
from collections.abc import AsyncGenerator
from functools import cached_property

from app.domain.errors import CapacityError
from app.domain.llm import Reply
from app.domain.upstream_errors import UpstreamTruncatedError
from app.services.presence import Presence

LONGEST_SHARED = 1024 * 1024
MOST_BEHIND = 8 * 1024 * 1024


class Reader:
    """How far one caller has read; `holding` while the leader's call may not end for its sake."""

    __slots__ = ("holding", "lost", "seen")

    def __init__(self, seen: int = 0) -> None:
        self.seen = seen
        self.holding = False
        self.lost = False


class Flight:
    """A log of events that all read at their own pace.

    Whoever asked first is held while others read: its call goes on though it has left, and is settled and stored
    with what it used. It pulls; once an event is there and somebody else reads too, a task of the flight's own
    pulls instead, so that nobody waits for the slowest, until nobody reads any more. A log
    that has grown over 1 MiB cannot be joined; from then on only what somebody has still to read is kept, and who
    is 8 MiB behind is cut off.
    """

    # most flights carry one caller, who pays for what it uses: an answer in one piece needs none of these
    reply: Reply | None = None
    error: BaseException | None = None
    landed = False
    pulling = False
    pump: "asyncio.Task[None] | None" = None
    source: AsyncGenerator[bytes, None] | None = None
    _start = 0
    _size = 0
    _kept = 0

    def __init__(self, presence: Presence) -> None:
        self.readers: set[Reader] = set()
        self._presence = presence
        self._events: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []

    @cached_property
    def leader(self) -> Reader:
        return Reader()

    @property
    def joinable(self) -> bool:
        """Not when it is too long, nor when its leader is being cancelled and nobody has taken over."""
        return self._size <= LONGEST_SHARED and (self.pump is not None or not self._presence.task.cancelling())

    @property
    def end(self) -> int:
        return self._start + len(self._events)

    def join(self, reader: Reader) -> None:
        self.readers.add(reader)
        if not self.landed:
            reader.holding = True
            self._presence.hold()

    def leave(self, reader: Reader) -> None:
        self.readers.discard(reader)
        self._release(reader)
        if not self.readers and self.pump is not None:
            self.pump.cancel()

    def take_over(self, pump: "asyncio.Task[None]") -> None:
        """From now on the leader reads as everybody does, at its own pace."""
        self.pump = pump
        self.readers.add(self.leader)

    def log(self, event: bytes) -> None:
        self._events.append(event)
        self._size += len(event)
        self._kept += len(event)
        if self._size > LONGEST_SHARED:
            self._forget()
        self.tell()

    def land(self, error: BaseException | None) -> None:
        # the traceback of one who was cut short holds the whole flight: what others are told needs none
        self.error = error if error is None or isinstance(error, Exception) else asyncio.CancelledError()
        self.landed = True
        self.tell()

    def tell(self) -> None:
        """There is more to see."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)

    async def more(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    async def read(self, reader: Reader) -> AsyncGenerator[bytes, None]:
        """What `reader` has not seen, to the end; raises what the flight ended with."""
        while True:
            if reader.lost:
                raise CapacityError(
                    "the answer is shared, and was read too slowly to keep it any longer", retry_after=1
                )
            if reader.seen < self.end:
                events = b"".join(self._events[reader.seen - self._start :])
                reader.seen = self.end
                yield events
            elif not self.landed:
                await self.more()
            else:
                break
        if isinstance(self.error, Exception):
            raise self.error.with_traceback(None)
        if self.error is not None:
            provider = self.reply.provider if self.reply is not None else "none"
            raise UpstreamTruncatedError("the call that was shared has been cut", provider=provider)

    def _forget(self) -> None:
        """What all have seen; then the reader that keeps too much."""
        while True:
            seen = min((reader.seen for reader in self.readers), default=self.end)
            gone, self._events = self._events[: seen - self._start], self._events[seen - self._start :]
            self._start = seen
            self._kept -= sum(map(len, gone))
            if self._kept <= MOST_BEHIND:
                return
            for reader in [each for each in self.readers if each.seen == seen]:
                reader.lost = True
                self.readers.discard(reader)

    def _release(self, reader: Reader) -> None:
        if reader.holding:
            reader.holding = False
            self._presence.let_go()
