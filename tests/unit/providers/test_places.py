"""Who gets a place, who waits for one, and who is turned away."""

import asyncio

import pytest

from app.domain.errors import QueueFullError, QueueTimeoutError
from app.providers.upstream.base import Limits
from app.providers.upstream.places import Places


async def test_who_gives_its_place_up_for_another_waits_behind_however_many_there_are() -> None:
    places = Places("p", Limits(connections=1, waiting=1, queue=60))
    await places.take()
    waiting = asyncio.create_task(places.take())
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError):
        await places.take()

    places.leave()
    moved = asyncio.create_task(places.take(again=True))
    await waiting
    assert (places.active, places.waiting, places.refused) == (1, 1, 1)
    places.leave()
    await moved

    assert (places.active, places.waiting, places.refused) == (1, 0, 1)


async def test_who_waits_too_long_has_no_place() -> None:
    places = Places("p", Limits(connections=1, queue=0.01))
    await places.take()

    with pytest.raises(QueueTimeoutError):
        await places.take()

    assert (places.active, places.waiting, places.refused) == (1, 0, 1)
