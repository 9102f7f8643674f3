"""A call ends when nobody waits for it any more, and not before."""

import asyncio

import pytest

from app.services.presence import Presence


async def forever() -> None:
    await asyncio.sleep(10)


async def settled(task: asyncio.Task) -> bool:
    """Whether the call was cancelled, once it had the time."""
    await asyncio.sleep(0.001)
    cancelled = task.cancelled()
    task.cancel()
    return cancelled


async def test_a_caller_who_leaves_takes_the_call_along() -> None:
    presence = Presence(asyncio.create_task(forever()))
    await asyncio.sleep(0)

    presence.leave()

    assert presence.left
    assert await settled(presence.task)


@pytest.mark.parametrize(("holders", "gone", "cancelled"), [(1, 0, False), (1, 1, True), (3, 2, False), (3, 3, True)])
async def test_who_shares_the_answer_keeps_the_call(holders: int, gone: int, *, cancelled: bool) -> None:
    presence = Presence(asyncio.create_task(forever()))
    await asyncio.sleep(0)
    for _ in range(holders):
        presence.hold()

    presence.leave()
    for _ in range(gone):
        presence.let_go()

    assert await settled(presence.task) is cancelled


async def test_letting_go_ends_nothing_while_the_caller_waits() -> None:
    presence = Presence(asyncio.create_task(forever()))
    await asyncio.sleep(0)
    presence.hold()

    presence.let_go()

    assert not presence.left
    assert not await settled(presence.task)
