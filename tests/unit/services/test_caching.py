"""What is stored, what is served, and what a caller may ask of it."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from app.cache.memory import MemoryCache
from app.controllers.cache_controls import controls_of
from app.domain.controls import AS_CONFIGURED, CacheControls
from app.domain.errors import InvalidRequestError, NotCachedError
from app.domain.llm import CacheStatus, LLMRequest, Operation, Reply
from app.domain.usage import TokenUsage
from app.services.stages.caching import CachingStage
from app.settings import CacheSettings
from tests.support.calls import call_for, read

BODY = b'{"model":"m","messages":[]}'
OTHER_KEY = b"o" * 32
STREAM = b'{"model":"m","messages":[],"stream":true}'


class Provider:
    """Answers a different number each time."""

    def __init__(self, **fields: Any) -> None:
        self.asked = 0
        self.fields: dict[str, Any] = {"finish_reasons": ("stop",), "complete": True} | fields

    async def __call__(self, call: Any) -> Reply:
        self.asked += 1
        body: Any = b"%d" % self.asked
        if call.request.stream:
            body = self.events(body)
        usage = TokenUsage(prompt_tokens=5, completion_tokens=2)
        return Reply(body=body, provider="p", model="m", usage=usage, **self.fields)

    async def events(self, body: bytes) -> AsyncGenerator[bytes, None]:
        yield b"data: a\n\n"
        yield b"data: " + body + b"\n\n"


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def cache(now: list[float]) -> MemoryCache:
    return MemoryCache(max_bytes=100_000, clock=lambda: now[0])


@pytest.fixture
def stage(cache: MemoryCache, now: list[float]) -> CachingStage:
    return CachingStage(cache, CacheSettings(max_entry_bytes=1000), clock=lambda: now[0])


async def ask(stage: CachingStage, provider: Provider, body: bytes = BODY, **call: Any) -> tuple[bytes, CacheStatus]:
    asking = call_for(body, **call)
    reply = await stage(asking, provider)
    return await read(reply, asking), reply.cache


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_the_second_time_the_answer_is_the_first_one(stage: CachingStage, body: bytes) -> None:
    provider = Provider()

    first = await ask(stage, provider, body)
    second = await ask(stage, provider, body)

    assert first == (second[0], CacheStatus.MISS)
    assert second[1] is CacheStatus.HIT
    assert provider.asked == 1


async def test_a_hit_knows_who_made_it_how_old_it_is_and_what_it_saved(stage: CachingStage, now: list[float]) -> None:
    provider = Provider()
    await ask(stage, provider)
    now[0] += 60

    reply = await stage(call_for(BODY), provider)

    assert (reply.provider, reply.age, reply.ttl) == ("p", 60, 3540)
    assert reply.usage == TokenUsage(prompt_tokens=5, completion_tokens=2)


@pytest.mark.parametrize(
    "fields",
    [{"finish_reasons": ("length",)}, {"finish_reasons": ("stop", "content_filter")}, {"complete": False}],
)
@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_what_is_not_whole_and_well_is_not_stored(
    stage: CachingStage, body: bytes, fields: dict[str, Any]
) -> None:
    provider = Provider(**fields)

    for _ in range(2):
        await ask(stage, provider, body)

    assert provider.asked == 2


async def test_a_stream_nobody_read_to_its_end_is_not_stored(stage: CachingStage) -> None:
    provider = Provider()
    reply = await stage(call_for(STREAM), provider)
    assert not isinstance(reply.body, bytes)
    await anext(reply.body)
    await reply.body.aclose()

    assert (await ask(stage, provider, STREAM))[1] is CacheStatus.MISS


async def test_an_answer_that_is_too_large_is_not_stored(stage: CachingStage) -> None:
    provider = Provider()

    async def large(_: Any) -> Reply:
        provider.asked += 1
        return Reply(body=b"x" * 1001, provider="p", model="m", complete=True, finish_reasons=("stop",))

    for _ in range(2):
        await stage(call_for(BODY), large)

    assert provider.asked == 2


async def test_tenants_share_nothing_unless_told_to(now: list[float]) -> None:
    provider = Provider()
    cache = MemoryCache(max_bytes=100_000)
    apart, together = (CachingStage(cache, CacheSettings(shared=shared)) for shared in (False, True))

    separate = [(await ask(apart, provider, tenant=tenant))[1] for tenant in ("alice", "bob")]
    shared = [(await ask(together, provider, tenant=tenant))[1] for tenant in ("alice", "bob")]

    assert separate == [CacheStatus.MISS, CacheStatus.MISS]
    assert shared == [CacheStatus.MISS, CacheStatus.HIT]


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x97" + b"\xc0" * 7, b"\xff" * 100])
async def test_garbage_under_our_key_is_a_miss_and_counted(garbage: bytes) -> None:
    class Full(MemoryCache):
        async def get(self, key: bytes) -> bytes | None:
            return garbage

    cache = Full(max_bytes=1000)
    provider = Provider()

    assert (await ask(CachingStage(cache, CacheSettings()), provider))[1] is CacheStatus.MISS
    assert cache.size.errors == 1


async def test_another_questions_answer_under_our_key_is_a_miss() -> None:
    class Swapped(MemoryCache):
        async def get(self, key: bytes) -> bytes | None:
            return next((value for _, value in self._entries.values()), None)

    cache = Swapped(max_bytes=100_000)
    stage, provider = CachingStage(cache, CacheSettings()), Provider()
    await ask(stage, provider)

    answer = await ask(stage, provider, b'{"model":"m","messages":[],"n":2}')

    assert answer == (b"2", CacheStatus.MISS)


async def test_a_caller_may_forbid_reading_or_storing(stage: CachingStage) -> None:
    provider = Provider()
    await ask(stage, provider)

    again = await ask(stage, provider, controls=CacheControls(read=False))
    renewed = await ask(stage, provider)
    other = [await ask(stage, provider, b'{"model":"x","messages":[]}', controls=CacheControls(store=False))] * 2
    neither = await ask(stage, provider, controls=CacheControls(read=False, store=False))

    assert again == (b"2", CacheStatus.BYPASS)
    assert renewed == (b"2", CacheStatus.HIT)
    assert [status for _, status in other] == [CacheStatus.MISS, CacheStatus.MISS]
    assert neither == (b"4", CacheStatus.BYPASS)


async def test_an_answer_older_than_the_caller_wants_is_a_miss(stage: CachingStage, now: list[float]) -> None:
    provider = Provider()
    await ask(stage, provider)
    now[0] += 10

    fresh_enough = await ask(stage, provider, controls=CacheControls(max_age=10))
    too_old = await ask(stage, provider, controls=CacheControls(max_age=9))

    assert (fresh_enough[1], too_old[1]) == (CacheStatus.HIT, CacheStatus.MISS)


async def test_a_caller_may_shorten_the_time_an_answer_is_kept(stage: CachingStage, now: list[float]) -> None:
    provider = Provider()
    await ask(stage, provider, controls=CacheControls(ttl=5))
    now[0] += 6

    assert (await ask(stage, provider))[1] is CacheStatus.MISS


async def test_only_if_cached_asks_nobody(stage: CachingStage) -> None:
    provider = Provider()

    with pytest.raises(NotCachedError) as caught:
        await ask(stage, provider, controls=CacheControls(only_if_cached=True))

    assert (caught.value.status_code, provider.asked) == (504, 0)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, b"", AS_CONFIGURED),
        ({b"cache-control": b"no-cache"}, b"", CacheControls(read=False)),
        ({b"cache-control": b"No-Store, max-age=60"}, b"", CacheControls(store=False, max_age=60)),
        ({b"cache-control": b'max-age="5"'}, b"", CacheControls(max_age=5)),
        ({b"cache-control": b"max-age=soon, only-if-cached"}, b"", CacheControls(only_if_cached=True)),
        ({b"x-portkey-cache-force-refresh": b"true"}, b"", CacheControls(read=False)),
        ({b"helicone-cache-enabled": b"false"}, b"", CacheControls(read=False, store=False)),
        ({b"helicone-cache-enabled": b"true"}, b"", AS_CONFIGURED),
        ({b"x-openrouter-cache": b"false"}, b"", CacheControls(read=False, store=False)),
        ({b"x-openrouter-cache-ttl": b"7"}, b"", CacheControls(ttl=7)),
        ({b"cf-aig-skip-cache": b"true"}, b"", CacheControls(read=False, store=False)),
        ({b"cf-aig-cache-ttl": b"9"}, b"", CacheControls(ttl=9)),
        ({}, b',"cache":{"no-cache":true,"ttl":3,"namespace":"x"}', CacheControls(read=False, ttl=3)),
        ({}, b',"cache":{"no-store":true,"s-maxage":4}', CacheControls(store=False, max_age=4)),
        ({}, b',"cache":null', AS_CONFIGURED),
    ],
)
def test_the_spellings_people_know_are_understood(
    headers: dict[bytes, bytes], body: bytes, expected: CacheControls
) -> None:
    request = LLMRequest.parse(Operation.CHAT, b'{"model":"m","messages":[]' + body + b"}")

    assert controls_of(headers, request) == expected


@pytest.mark.parametrize("cache", [b"5", b'"no"', b'{"ttl":"long"}'])
def test_a_cache_field_that_is_none_is_refused_by_name(cache: bytes) -> None:
    request = LLMRequest.parse(Operation.CHAT, b'{"model":"m","messages":[],"cache":' + cache + b"}")

    with pytest.raises(InvalidRequestError) as caught:
        controls_of({}, request)

    assert caught.value.param == "cache"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({0: OTHER_KEY}, "question"),
        ({1: "evil\r\nset-cookie: a=b"}, "format"),
        ({1: "n\u00e4me"}, "format"),
        ({1: "x" * 200}, "format"),
        ({2: float("nan")}, "time"),
        ({2: float("inf")}, "time"),
        ({3: float("nan")}, "format"),
        ({3: -1.0}, "format"),
        ({3: 1e300}, "format"),
        ({4: True}, "question"),
        ({5: {"prompt_tokens": -5, "completion_tokens": 2}}, "format"),
        ({5: {"prompt_tokens": 5, "completion_tokens": 2**60}}, "format"),
        ({6: "text"}, "format"),
        ({7: "one more"}, "format"),
    ],
)
async def test_a_value_somebody_has_changed_reaches_neither_headers_nor_counters(
    stage: CachingStage, cache: MemoryCache, changed: dict[int, Any], reason: str
) -> None:
    provider = Provider()
    await ask(stage, provider)
    ((key, (_, value)),) = cache._entries.items()  # noqa: SLF001 - what another program would write to a shared store
    fields = dict(enumerate(msgspec.msgpack.decode(value))) | changed
    cache.set(key, msgspec.msgpack.encode(list(fields.values())), ttl=60)

    assert (await ask(stage, provider))[1] is CacheStatus.MISS
    assert {each: times for each, times in cache.size.rejected.items() if times} == {reason: 1}
