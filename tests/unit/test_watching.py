"""Who looks after the certificate asks for it until it is taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.watching import RenewalWatch
from tests.support.waiting import until

FIRST, SECOND, NONE = b"first", b"second", b""


class Files:
    def __init__(self) -> None:
        self.held = self.shown = FIRST
        self.asked: list[bytes] = []
        self.looks = 0

    def look(self) -> bytes:
        self.looks += 1
        return self.held

    def ask(self) -> None:
        """It is not taken."""
        self.asked.append(self.held)


@asynccontextmanager
async def watched(files: Files, *, again: float) -> AsyncIterator[None]:
    watch = RenewalWatch(files.look, lambda: files.shown, files.ask, every=0.01, again=again)
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def looked_at(files: Files, times: int = 5) -> None:
    before = files.looks
    await until(lambda: files.looks >= before + times)


async def test_what_was_bad_for_a_moment_is_asked_for_when_it_is_good_again() -> None:
    files = Files()
    async with watched(files, again=3600):
        await looked_at(files)
        files.held = NONE
        await until(lambda: files.asked == [NONE])
        files.held = FIRST
        await until(lambda: files.asked == [NONE, FIRST])
        await looked_at(files)

    assert files.asked == [NONE, FIRST]


async def test_what_was_taken_is_not_asked_for_again() -> None:
    files = Files()
    async with watched(files, again=0):
        files.held = SECOND
        await until(lambda: SECOND in files.asked)
        files.shown = SECOND
        await looked_at(files)
        asked = len(files.asked)
        await looked_at(files)

    assert len(files.asked) == asked


async def test_what_was_not_taken_is_asked_for_again() -> None:
    files = Files()
    async with watched(files, again=0.02):
        files.held = SECOND
        await until(lambda: len(files.asked) >= 3)

    assert set(files.asked) == {SECOND}
