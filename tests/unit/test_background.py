"""Workers beside the calls: begun, begun again when they fail, ended with the block.

The wait before a restart is a constant of the module, so one restart takes its second here too.
"""

import asyncio
import logging

import pytest

from app.background import RESTART_AFTER_SECONDS, running


class Working:
    """Fails so many times, then works until it is told to stop."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.begun = 0
        self.ended = False
        self.at_work = asyncio.Event()

    async def run(self) -> None:
        self.begun += 1
        if self.begun <= self.failures:
            raise ZeroDivisionError
        self.at_work.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.ended = True


class Finishing:
    def __init__(self) -> None:
        self.begun = 0

    async def run(self) -> None:
        self.begun += 1


class Stubborn:
    """Breaks while it is being stopped."""

    async def run(self) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ZeroDivisionError


async def test_workers_run_beside_the_block_and_end_with_it() -> None:
    one, other = Working(), Working()

    async with running([one, other]):
        await asyncio.wait_for(asyncio.gather(one.at_work.wait(), other.at_work.wait()), 1)
        assert not one.ended

    assert one.ended
    assert other.ended


async def test_a_worker_that_fails_is_told_of_and_begun_again_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    failing, other = Working(failures=1), Working()

    with caplog.at_level(logging.ERROR):
        async with running([failing, other]):
            await asyncio.sleep(RESTART_AFTER_SECONDS / 4)
            assert failing.begun == 1
            await asyncio.wait_for(failing.at_work.wait(), RESTART_AFTER_SECONDS + 1)

    assert (failing.begun, failing.ended, other.begun) == (2, True, 1)
    (record,) = caplog.records
    assert record.getMessage() == "Working failed; restarting"
    assert record.exc_info is not None


async def test_a_worker_that_is_done_is_not_begun_again() -> None:
    worker = Finishing()

    async with running([worker]):
        await asyncio.sleep(0.05)

    assert worker.begun == 1


async def test_a_failure_of_the_block_still_ends_the_workers() -> None:
    worker = Working()

    async def block() -> None:
        async with running([worker]):
            await worker.at_work.wait()
            raise LookupError

    with pytest.raises(LookupError):
        await block()

    assert worker.ended


async def test_a_worker_that_breaks_while_it_is_stopped_breaks_nothing_else() -> None:
    other = Working()

    async with asyncio.timeout(RESTART_AFTER_SECONDS / 2):
        async with running([Stubborn(), other]):
            await other.at_work.wait()

    assert other.ended
