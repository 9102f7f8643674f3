"""Providers, Redis and models as checks."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from app.cache.base import CacheSize, RedisState
from app.domain.errors import QueueTimeoutError
from app.domain.health import CheckStatus
from app.domain.upstream_errors import UpstreamAuthError, UpstreamNotFoundError
from app.monitoring.conditions import RedisMetrics
from app.monitoring.health.adapters import ModelIndicator, ModelsIndicator, ProviderIndicator, RedisIndicator, wanted
from app.providers.listing import Listings
from app.providers.upstream.base import Load
from tests.support.checks import Fake
from tests.support.metrics import made as made_metrics
from tests.support.metrics import value

HEALTHY, DEGRADED, UNHEALTHY = CheckStatus.HEALTHY, CheckStatus.DEGRADED, CheckStatus.UNHEALTHY


class Listed(Fake):
    def __init__(self, name: str, *models: str, prefix_only: bool = False) -> None:
        super().__init__(name)
        self.listed = models
        self.prefix_only = prefix_only

    async def models(self) -> Sequence[dict[str, Any]]:
        if not self.listed:
            raise UpstreamAuthError("refused", provider=self.name)
        return [{"id": each} for each in self.listed]


async def listings(*providers: Listed) -> Listings:
    made = Listings(cast("Any", providers))
    await made.run()
    return made


class Cache:
    name = "redis"

    def __init__(self) -> None:
        self.size = CacheSize(errors=3)
        self.failure: Exception | None = None

    async def ping(self) -> None:
        if self.failure is not None:
            raise self.failure


def indicator(provider: Fake, *, probe: bool = True) -> ProviderIndicator:
    return ProviderIndicator(cast("Any", provider), deadline=1, max_age=1, probe=probe)


async def test_a_provider_tells_its_version() -> None:
    made = indicator(Fake("a", critical=True, version="0.5.1"))

    assert (await made.run()).status is HEALTHY
    assert (made.name, made.critical, made.version) == ("provider:a", True, "0.5.1")


async def test_what_tells_nothing_against_a_provider_is_no_failure_of_its_health() -> None:
    provider = Fake("a")
    provider.failure = UpstreamNotFoundError("no list", provider="a", status=404)
    assert (await indicator(provider).run()).status is HEALTHY

    provider.failure = UpstreamAuthError("refused", provider="a")
    with pytest.raises(UpstreamAuthError):
        await indicator(provider).run()


async def test_without_probes_nobody_is_asked() -> None:
    provider = Fake("a")
    provider.failure = RuntimeError("asked")

    assert (await indicator(provider, probe=False).run()).status is HEALTHY


@pytest.mark.parametrize("probe", [True, False])
async def test_where_calls_have_all_our_connections_nobody_is_asked(*, probe: bool) -> None:
    class Full(Fake):
        def load(self) -> Load:
            return Load(active=8, idle=0, limit=8, waiting=0, refused=0)

    provider = Full("a")
    provider.failure = RuntimeError("asked")
    made = indicator(provider, probe=probe)

    if not probe:
        assert (await made.run()).status is HEALTHY
        return
    with pytest.raises(QueueTimeoutError, match="all connections to a are busy"):
        await made.run()


async def test_redis_tells_its_errors_and_whether_it_is_of_use() -> None:
    cache, metrics = Cache(), made_metrics()
    told = RedisMetrics(metrics.tally, None)
    useful = RedisIndicator(cast("Any", cache), told, deadline=1, useful=60)
    useless = RedisIndicator(cast("Any", cache), told, deadline=1, useful=0)

    well, slow = await useful.run(), await useless.run()
    cache.failure = ConnectionError("refused")
    down = await useful.run()

    assert (well.status, well.reason, well.errors) == (HEALTHY, None, 3)
    assert slow.status is DEGRADED
    assert slow.reason is not None
    assert slow.reason.endswith("a lookup may take 0 ms")
    assert (down.status, down.reason, down.errors) == (UNHEALTHY, "refused", 3)
    assert value(metrics, "llm_redis_up") == 0


async def test_a_redis_that_is_left_alone_or_will_fill_up_is_told_of() -> None:
    cache, metrics = Cache(), made_metrics()
    state = cache.size.redis = RedisState(policy="noeviction", policy_unsafe=True, errors={"oom": 2})
    asked = RedisIndicator(cast("Any", cache), RedisMetrics(metrics.tally, state), deadline=1, useful=60)

    filling = await asked.run()
    state.breaker, state.reason = 1.0, "NOPERM"
    alone = await asked.run()

    assert (filling.status, filling.reason) == (HEALTHY, "maxmemory-policy is noeviction: once it is full, writes fail")
    assert (alone.status, alone.reason) == (DEGRADED, "it is left alone: NOPERM")
    assert (value(metrics, "llm_redis_breaker_state"), value(metrics, "llm_redis_policy_unsafe")) == (1, 1)
    assert value(metrics, "llm_redis_errors_total", kind="oom") == 2


async def test_models_are_those_of_providers_that_are_up() -> None:
    counted: list[tuple[int, int]] = []
    each = await listings(Listed("a", "m1", "m2"), Listed("b", "m2", "m3", "m4"), Listed("silent"))
    up = {"a"}

    check = await ModelsIndicator(each, up.__contains__, lambda *numbers: counted.append(numbers)).run()

    assert (check.status, check.loaded, check.failed) == (HEALTHY, 2, 4)
    assert counted == [(2, 4)]
    up.clear()
    none = await ModelsIndicator(each, up.__contains__, lambda *_: None).run()
    assert (none.status, none.loaded, none.failed, none.reason) == (UNHEALTHY, 0, 6, "no provider is up")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("m1", None),
        ("m2", None),
        ("b/m3", "only b has it, and is down"),
        ("m3", "only b has it, and is down"),
        ("m9", "the models of silent could not be listed"),
        ("a/m9", "no provider lists it"),
        ("hidden", "the models of silent could not be listed"),
        ("own/hidden", None),
        ("fast", None),
        ("lost", "only b has it, and is down"),
        ("wrong", "no provider lists it"),
    ],
)
async def test_a_model_is_listed_by_a_provider_that_is_up(model: str, reason: str | None) -> None:
    each = await listings(
        Listed("a", "m1", "m2"),
        Listed("b", "m2", "m3"),
        Listed("silent"),
        Listed("own", "hidden", prefix_only=True),
    )
    routes = {"fast": ["b:m3", "a:m1"], "lost": ["b:m3"], "wrong": ["a:typo"]}

    def is_up(provider: str) -> bool:
        return provider not in {"b", "silent"}

    made = ModelIndicator(model, wanted(model, routes, each), is_up, deadline=1, max_age=1)
    check = await made.run()

    assert made.name == f"model:{model}"
    assert (check.status, check.reason) == (UNHEALTHY if reason else HEALTHY, reason)
