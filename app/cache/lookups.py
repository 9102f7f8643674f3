"""Lookups that come together share a round trip."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import repeat
from typing import NamedTuple

KEYS_PER_READ = 32
READS_IN_FLIGHT = 4

Future = asyncio.Future[bytes | None]
Read = Callable[[list[bytes], float], Awaitable[Iterable[bytes | None]]]


class Lookups:
    """One read for the keys of one turn of the event loop, or for those that came while others were read.

    Nobody waits longer than `timeout`, in line and for the answer together; whoever leaves leaves alone. `read` gets
    keys and the time of the loop's clock at which it has to be back; it answers for every key and does not raise.
    """

    def __init__(self, read: Read, *, timeout: float) -> None:
        self._read = read
        self._timeout = timeout
        self._line: deque[_Batch] = deque()
        self._readers = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, key: bytes) -> Future:
        """What is under `key`; the future is the caller's own, to be cancelled freely."""
        loop = asyncio.get_running_loop()
        if not self._line or len(self._line[-1].wanted) >= KEYS_PER_READ:
            self._line.append(_Batch(loop.time() + self._timeout, {}))
            if self._readers < READS_IN_FLIGHT:
                self._start()
        future: Future = loop.create_future()
        self._line[-1].wanted.setdefault(key, []).append(future)
        return future

    def close(self) -> None:
        """Whoever still waits is answered with nothing."""
        for task in self._tasks:
            task.cancel()
        while self._line:
            self._line.popleft().answer(repeat(None))

    def _start(self) -> None:
        self._readers += 1
        task = asyncio.get_running_loop().create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        """Deadlines grow along the line, so a reader is free before what it takes next is too late."""
        try:
            while self._line:
                batch = self._line.popleft()
                values: Iterable[bytes | None] = repeat(None)
                try:
                    values = await self._read(list(batch.wanted), batch.deadline)
                finally:
                    batch.answer(values)
        finally:
            self._readers -= 1
            if self._line:  # it was cut short, and those in line have nobody else
                self._start()


class _Batch(NamedTuple):
    deadline: float
    wanted: dict[bytes, list[Future]]

    def answer(self, values: Iterable[bytes | None]) -> None:
        for futures, value in zip(self.wanted.values(), values, strict=False):
            for future in futures:
                if not future.done():
                    future.set_result(value)
