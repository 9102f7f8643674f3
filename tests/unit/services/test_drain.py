"""Stopping without breaking what runs."""

import asyncio

import pytest

from app.domain.errors import ShuttingDownError
from app.services.drain import RETRY_AFTER_SECONDS, Drain


async def call(drain: Drain, gate: asyncio.Event) -> None:
    task = asyncio.current_task()
    assert task is not None
    drain.enter(task)
    try:
        await gate.wait()
    finally:
        drain.leave(task)


async def test_nothing_running_is_empty_at_once() -> None:
    assert await Drain().empty(within=0)


async def test_what_runs_is_waited_for_and_what_is_new_refused() -> None:
    drain, gate = Drain(), asyncio.Event()
    running = [asyncio.create_task(call(drain, gate)) for _ in range(2)]
    await asyncio.sleep(0)

    drain.begin()
    with pytest.raises(ShuttingDownError) as caught:
        await call(drain, gate)
    assert not await drain.empty(within=0.01)
    gate.set()

    assert await drain.empty(within=1)
    assert caught.value.retry_after == RETRY_AFTER_SECONDS
    assert all(each.done() and not each.cancelled() for each in running)


async def test_empty_is_when_the_last_one_has_left() -> None:
    drain, gates = Drain(), [asyncio.Event(), asyncio.Event()]
    running = [asyncio.create_task(call(drain, gate)) for gate in gates]
    await asyncio.sleep(0)

    gates[0].set()
    await running[0]
    assert not await drain.empty(within=0.01)
    gates[1].set()

    assert await drain.empty(within=1)


async def test_cutting_cancels_what_is_left() -> None:
    drain = Drain()
    running = [asyncio.create_task(call(drain, asyncio.Event())) for _ in range(2)]
    await asyncio.sleep(0)
    assert not drain.cutting

    drain.cut()

    assert await drain.empty(within=1)
    assert drain.cutting
    assert all(each.cancelled() for each in running)
