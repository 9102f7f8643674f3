"""What ended is counted by the dozen, and always before anybody reads."""

import asyncio
from collections.abc import Sequence

from app.monitoring.backlog import AT_LATEST_SECONDS, AT_ONCE, Backlog


async def test_items_wait_for_their_dozen_or_for_who_wants_to_read() -> None:
    taken: list[int] = []
    backlog = Backlog(taken.extend)
    for item in range(AT_ONCE - 1):
        backlog.add(item)
    before = list(taken)

    backlog.add(AT_ONCE - 1)
    at_once = list(taken)
    backlog.add(AT_ONCE)
    backlog.work_off()

    assert (before, at_once, taken) == ([], list(range(AT_ONCE)), list(range(AT_ONCE + 1)))


async def test_nothing_waits_for_ever() -> None:
    taken: list[int] = []
    told = asyncio.Event()
    backlog = Backlog(taken.extend, lambda _: told.set())

    backlog.add(1)
    async with asyncio.timeout(20 * AT_LATEST_SECONDS):
        await told.wait()

    assert taken == [1]


async def test_a_taker_that_fails_keeps_nobody_else_from_counting() -> None:
    taken: list[int] = []

    def broken(_: Sequence[int]) -> None:
        raise RuntimeError("no")

    backlog = Backlog(broken, taken.extend)
    backlog.add(1)
    backlog.work_off()

    assert taken == [1]


async def test_who_wants_them_one_by_one_gets_them_after_they_were_counted() -> None:
    order: list[str] = []
    backlog = Backlog[int](lambda items: order.append(f"counted {len(items)}"))
    backlog.takers.append(lambda item: order.append(f"told {item}"))

    backlog.add(1)
    backlog.add(2)
    backlog.work_off()

    assert order == ["counted 2", "told 1", "told 2"]


async def test_the_last_ones_are_counted_when_it_is_closed() -> None:
    taken: list[int] = []
    backlog = Backlog(taken.extend)
    backlog.add(1)

    await backlog.aclose()

    assert taken == [1]


async def test_where_nobody_counts_nothing_is_kept() -> None:
    backlog = Backlog[int]()
    taken: list[int] = []

    for item in range(AT_ONCE - 1):
        backlog.add(item)
    backlog.takers.append(taken.append)
    backlog.work_off()

    assert taken == []


async def test_one_that_cannot_be_told_keeps_no_other_from_it() -> None:
    told: list[int] = []

    def tell(item: int) -> None:
        if item == 1:
            raise RuntimeError("no")
        told.append(item)

    backlog = Backlog[int]()
    backlog.takers.append(tell)
    for item in range(4):
        backlog.add(item)
    backlog.work_off()

    assert told == [0, 2, 3]
