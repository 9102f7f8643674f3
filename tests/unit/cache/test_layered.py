"""A near cache saves round trips, and is never far behind the one it stands for."""

import asyncio
from collections.abc import Callable

import pytest

from app.cache.base import CacheBackend
from app.cache.layered import LayeredCache
from app.cache.memory import OVERHEAD_PER_ENTRY, MemoryCache
from app.cache.module import CacheModule
from app.cache.redis import RedisCache
from app.domain.llm import CacheStatus
from app.services.stages.caching import CachingStage
from app.settings import CacheSettings, Secret
from tests.unit.services.test_caching import Provider, ask

KEY, OTHER = b"k" * 32, b"o" * 32
SECONDS = 5.0


class Far(MemoryCache):
    """What all processes share; counts who asks, and can do something while it is asked, or be down."""

    name = "far"

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(max_bytes=100_000, clock=clock)
        self.asked = 0
        self.meanwhile: Callable[[], object] | None = None
        self.is_down = False

    async def get(self, key: bytes) -> bytes | None:
        self.asked += 1
        value = await super().get(key)
        if self.meanwhile is not None:
            self.meanwhile()
            await asyncio.sleep(0)
        return None if self.is_down else value

    async def clear(self) -> None:
        if self.is_down:
            raise ConnectionError
        await super().clear()


class Layers:
    """One far cache, and what two processes have in front of it."""

    def __init__(self) -> None:
        self.now = [1000.0]
        self.far = Far(self.clock)
        self.near = MemoryCache(max_bytes=10_000, clock=self.clock)
        self.cache = LayeredCache(self.near, self.far, seconds=SECONDS, clock=self.clock)
        theirs = MemoryCache(max_bytes=10_000, clock=self.clock)
        self.neighbour = LayeredCache(theirs, self.far, seconds=SECONDS, clock=self.clock)

    def clock(self) -> float:
        return self.now[0]


@pytest.fixture
def layers() -> Layers:
    return Layers()


async def read(cache: CacheBackend, times: int, key: bytes = KEY) -> list[bytes | None]:
    return [await cache.get(key) for _ in range(times)]


async def test_what_was_read_once_costs_no_more_round_trips(layers: Layers) -> None:
    layers.cache.set(KEY, b"value", ttl=60)

    assert await read(layers.cache, 3) == [b"value"] * 3
    assert layers.far.asked == 1


async def test_what_nobody_asked_for_again_has_no_place_in_memory(layers: Layers) -> None:
    layers.cache.set(KEY, b"value", ttl=60)

    assert layers.near.size.keys == 0


async def test_a_miss_is_not_kept(layers: Layers) -> None:
    assert await read(layers.cache, 2) == [None] * 2

    layers.neighbour.set(KEY, b"value", ttl=60)

    assert await read(layers.cache, 1) == [b"value"]


async def test_it_is_asked_for_again_when_its_time_is_over_however_often_it_was_used(layers: Layers) -> None:
    layers.cache.set(KEY, b"old", ttl=60)
    await read(layers.cache, 1)
    layers.neighbour.set(KEY, b"new", ttl=60)

    layers.now[0] += SECONDS - 0.1
    before = await read(layers.cache, 2)
    layers.now[0] += 0.1

    assert (before, await read(layers.cache, 1)) == ([b"old"] * 2, [b"new"])


@pytest.mark.parametrize("ttl", [1, 3])
async def test_what_the_far_one_let_go_is_gone_within_the_time_of_the_near_one(layers: Layers, ttl: float) -> None:
    layers.cache.set(KEY, b"value", ttl=ttl)
    layers.now[0] += ttl - 0.01
    await read(layers.cache, 1)

    layers.now[0] += SECONDS

    assert await read(layers.cache, 1) == [None]


async def test_the_time_is_counted_from_before_the_far_one_was_asked(layers: Layers) -> None:
    def slow() -> None:
        layers.now[0] += 2

    layers.cache.set(KEY, b"value", ttl=60)
    layers.far.meanwhile = slow
    await read(layers.cache, 1)
    layers.far.meanwhile = None

    layers.now[0] += SECONDS - 2
    await read(layers.cache, 1)

    assert layers.far.asked == 2


async def test_what_is_set_here_is_seen_here_at_once(layers: Layers) -> None:
    layers.cache.set(KEY, b"old", ttl=60)
    await read(layers.cache, 2)

    layers.cache.set(KEY, b"new", ttl=60)

    assert await read(layers.cache, 2) == [b"new"] * 2


async def test_what_is_read_while_another_value_is_set_does_not_stay(layers: Layers) -> None:
    layers.cache.set(KEY, b"old", ttl=60)
    layers.far.meanwhile = lambda: layers.cache.set(KEY, b"new", ttl=60)
    assert await read(layers.cache, 1) == [b"old"]
    layers.far.meanwhile = None

    assert await read(layers.cache, 1) == [b"new"]


async def test_clearing_is_seen_here_at_once_and_by_a_neighbour_in_time(layers: Layers) -> None:
    layers.cache.set(KEY, b"value", ttl=60)
    await read(layers.cache, 1)
    await read(layers.neighbour, 1)

    await layers.cache.clear()

    assert (await read(layers.cache, 1), await read(layers.neighbour, 1)) == ([None], [b"value"])
    layers.now[0] += SECONDS
    assert await read(layers.neighbour, 1) == [None]


async def test_what_is_read_while_all_is_cleared_does_not_stay(layers: Layers) -> None:
    clearing: list[asyncio.Task[None]] = []
    layers.cache.set(KEY, b"value", ttl=60)
    layers.far.meanwhile = lambda: clearing.append(asyncio.create_task(layers.cache.clear()))
    await read(layers.cache, 1)
    layers.far.meanwhile = None
    await asyncio.gather(*clearing)

    assert await read(layers.cache, 1) == [None]


async def test_clearing_empties_the_near_one_even_if_the_far_one_is_down(layers: Layers) -> None:
    layers.cache.set(KEY, b"value", ttl=60)
    await read(layers.cache, 1)
    layers.far.is_down = True

    with pytest.raises(ConnectionError):
        await layers.cache.clear()

    assert await read(layers.cache, 1) == [None]


async def test_while_the_far_one_is_down_what_was_read_is_served_until_its_time_is_over(layers: Layers) -> None:
    layers.cache.set(KEY, b"value", ttl=60)
    await read(layers.cache, 1)
    layers.far.is_down = True

    assert (await read(layers.cache, 1), await read(layers.cache, 1, OTHER)) == ([b"value"], [None])
    layers.now[0] += SECONDS
    assert await read(layers.cache, 1) == [None]


async def test_the_near_one_is_bounded_by_bytes(layers: Layers) -> None:
    weight = OVERHEAD_PER_ENTRY + 100
    near = MemoryCache(max_bytes=3 * weight, clock=layers.clock)
    cache = LayeredCache(near, layers.far, seconds=SECONDS, clock=layers.clock)
    for number in range(10):
        cache.set(b"%032d" % number, b"x" * 100, ttl=60)
        await cache.get(b"%032d" % number)

    assert (near.size.keys, near.size.memory_bytes) == (3, 3 * weight)


async def test_name_and_size_are_the_far_ones_and_tell_of_the_near_one(layers: Layers) -> None:
    cache = LayeredCache(layers.near, layers.far, seconds=SECONDS, clock=layers.clock)
    cache.set(KEY, b"value", ttl=60)
    await read(cache, 1)

    assert cache.name == "far"
    assert cache.size is layers.far.size
    assert cache.size.near is layers.near.size
    assert (layers.far.size.keys, layers.near.size.keys) == (1, 1)


async def test_tenants_share_nothing_in_memory_either(layers: Layers) -> None:
    stage, provider = CachingStage(layers.cache, CacheSettings()), Provider()

    statuses = [(await ask(stage, provider, tenant=tenant))[1] for tenant in ("alice", "alice", "bob", "alice")]

    assert statuses == [CacheStatus.MISS, CacheStatus.HIT, CacheStatus.MISS, CacheStatus.HIT]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (CacheSettings(url=Secret("redis://h")), LayeredCache),
        (CacheSettings(url=Secret("redis://h"), backend="redis"), LayeredCache),
        (CacheSettings(url=Secret("redis://h"), l1_seconds=0), RedisCache),
        (CacheSettings(url=Secret("redis://h"), backend="memory"), MemoryCache),
        (CacheSettings(url=Secret("redis://h"), enabled=False), MemoryCache),
        (CacheSettings(), MemoryCache),
    ],
)
def test_redis_has_a_near_one_in_front_unless_it_is_switched_off(settings: CacheSettings, kind: type) -> None:
    backend = CacheModule(settings=settings).backend()

    assert type(backend) is kind
    assert (backend.name == "redis") is (kind is not MemoryCache)
