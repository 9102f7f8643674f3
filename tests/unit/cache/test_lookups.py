"""Lookups that come together are one read, and nobody's leaving or waiting is another's trouble."""

import asyncio
from collections.abc import Sequence

import pytest

from app.cache.lookups import KEYS_PER_READ, READS_IN_FLIGHT, Lookups


class Far:
    """Answers each key with itself, once its gate is open; keeps what it was asked."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.gate = asyncio.Event()
        self.reads: list[list[bytes]] = []
        self.deadlines: list[float] = []
        if is_open:
            self.gate.set()

    async def read(self, keys: list[bytes], deadline: float) -> Sequence[bytes | None]:
        self.reads.append(keys)
        self.deadlines.append(deadline)
        try:
            async with asyncio.timeout_at(deadline):
                await self.gate.wait()
        except TimeoutError:
            return [None] * len(keys)
        return keys


def named(*numbers: int) -> list[bytes]:
    return [b"%d" % each for each in numbers]


async def asked(lookups: Lookups, key: bytes) -> bytes | None:
    return await lookups.of(key)


async def test_lookups_of_one_turn_are_one_read() -> None:
    far = Far()
    lookups = Lookups(far.read, timeout=60)

    answers = await asyncio.gather(*(asked(lookups, key) for key in named(*range(20))))

    assert answers == named(*range(20))
    assert far.reads == [named(*range(20))]


async def test_a_key_is_read_once_for_all_who_ask_for_it_together() -> None:
    far = Far()
    lookups = Lookups(far.read, timeout=60)

    answers = await asyncio.gather(*(asked(lookups, key) for key in (b"a", b"b", b"a")))

    assert answers == [b"a", b"b", b"a"]
    assert far.reads == [[b"a", b"b"]]


async def test_a_read_has_no_more_keys_than_it_may() -> None:
    far = Far()
    lookups = Lookups(far.read, timeout=60)
    many = named(*range(3 * KEYS_PER_READ + 1))

    answers = await asyncio.gather(*(asked(lookups, key) for key in many))

    assert answers == many
    assert [len(keys) for keys in far.reads] == [KEYS_PER_READ] * 3 + [1]


async def test_what_comes_while_as_many_are_read_as_may_be_goes_together_next() -> None:
    far = Far(is_open=False)
    lookups = Lookups(far.read, timeout=60)
    first = []
    for key in named(*range(READS_IN_FLIGHT)):
        first.append(lookups.of(key))
        await asyncio.sleep(0)
    later = []
    for key in named(*range(100, 110)):
        later.append(lookups.of(key))
        await asyncio.sleep(0)
    assert far.reads == [[key] for key in named(*range(READS_IN_FLIGHT))]

    far.gate.set()

    assert await asyncio.gather(*first, *later) == named(*range(READS_IN_FLIGHT), *range(100, 110))
    assert far.reads[READS_IN_FLIGHT:] == [named(*range(100, 110))]


async def test_who_comes_in_the_moment_a_read_ends_is_read_too() -> None:
    far = Far()
    lookups = Lookups(far.read, timeout=60)

    async def again_and_again(key: bytes) -> list[bytes | None]:
        return [await lookups.of(key) for _ in range(50)]

    keys = named(*range(10))
    assert await asyncio.gather(*(again_and_again(key) for key in keys)) == [[key] * 50 for key in keys]


@pytest.mark.parametrize("key", [b"a", b"b"], ids=["for the same key", "for another key"])
async def test_a_caller_who_is_cancelled_disturbs_nobody(key: bytes) -> None:
    far = Far(is_open=False)
    lookups = Lookups(far.read, timeout=60)
    leaving, staying = (asyncio.create_task(asked(lookups, each)) for each in (b"a", key))
    await asyncio.sleep(0.01)

    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    far.gate.set()

    assert leaving.cancelled()
    assert await staying == key


async def test_all_may_leave_and_the_next_one_is_answered() -> None:
    far = Far(is_open=False)
    lookups = Lookups(far.read, timeout=60)
    callers = [asyncio.create_task(asked(lookups, key)) for key in named(*range(READS_IN_FLIGHT * KEYS_PER_READ + 5))]
    await asyncio.sleep(0.01)
    for each in callers:
        each.cancel()
    await asyncio.gather(*callers, return_exceptions=True)

    far.gate.set()

    assert await lookups.of(b"next") == b"next"


async def test_who_stands_in_line_behind_reads_that_hang_waits_no_longer_than_they_do() -> None:
    far = Far(is_open=False)
    lookups = Lookups(far.read, timeout=0.05)
    many = named(*range((READS_IN_FLIGHT + 2) * KEYS_PER_READ))
    waiting = [lookups.of(key) for key in many]
    asked_by = asyncio.get_running_loop().time()

    assert await asyncio.gather(*waiting) == [None] * len(many)
    assert far.deadlines == sorted(far.deadlines)
    assert max(far.deadlines) <= asked_by + 0.05  # from when it was asked for, not from when the line moved


async def test_closing_answers_who_still_waits() -> None:
    far = Far(is_open=False)
    lookups = Lookups(far.read, timeout=60)
    waiting = [lookups.of(key) for key in named(*range((READS_IN_FLIGHT + 1) * KEYS_PER_READ))]
    await asyncio.sleep(0.01)

    lookups.close()

    assert await asyncio.gather(*waiting) == [None] * len(waiting)
