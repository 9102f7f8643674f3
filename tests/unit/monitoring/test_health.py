"""The report, and the two words for load balancers."""

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import msgspec
import pytest

from app.domain.errors import Failure
from app.domain.health import Check, CheckStatus, HealthStatus
from app.monitoring.health.adapters import ProviderIndicator
from app.monitoring.health.endpoints import Endpoints
from app.monitoring.health.history import History
from app.monitoring.health.service import MAX_AGE_SECONDS, HealthService
from app.monitoring.health.watch import ProviderWatch, Watch
from app.monitoring.metrics import Metrics
from app.providers.upstream.base import Load
from tests.support.checks import Asked
from tests.support.metrics import made as made_metrics
from tests.support.metrics import value

WELL = Check(status=CheckStatus.HEALTHY, value=1, threshold=80)
HOT = Check(status=CheckStatus.DEGRADED, value=99, threshold=80, reason="99% is over the threshold of 80%")


class Fake:
    """A provider as far as health looks at it."""

    prefix_only = False

    def __init__(self, name: str, *, critical: bool = False, endpoint: str = "", version: str = "") -> None:
        self.name = name
        self.kind = "ollama"
        self.endpoint = endpoint
        self.critical = critical
        self.version = version
        self.failure: Exception | None = None

    async def ping(self) -> str:
        if self.failure is not None:
            raise self.failure
        return self.version

    def load(self) -> Load:
        return Load(active=2, idle=1, limit=8, waiting=3, refused=4)


def asked(name: str, found: Check = WELL, *, down: bool = False, critical: bool = False) -> Asked:
    made = Asked(name, critical=critical, max_age=0)
    made.found = found
    made.failure = RuntimeError("down") if down else None
    return made


def service(
    *providers: Asked,
    redis: Asked | None = None,
    others: Sequence[Asked] = (),
    derived: Sequence[Asked] = (),
    now: Sequence[float] = (100.0,),
    fakes: Sequence[Fake] = (),
    **fields: Any,
) -> tuple[HealthService, Metrics]:
    """`fakes` are providers with an address."""
    metrics = made_metrics()
    history = History(metrics.health)
    clock = fields.get("clock") or (lambda: now[0])
    indicators = [ProviderIndicator(cast("Any", each), deadline=1, max_age=0) for each in fakes]
    watches = {
        each.name.removeprefix("provider:"): ProviderWatch(
            each, history, told=partial(metrics.providers.stands, each.name), clock=clock
        )
        for each in (*providers, *indicators)
    }
    made = HealthService(
        **{
            "providers": watches,
            "redis": Watch(redis, history, clock=clock) if redis else None,
            "others": [Watch(each, history, clock=clock) for each in others],
            "derived": [Watch(each, history, clock=clock) for each in derived],
            "endpoints": Endpoints(indicators, watches),
            "history": history,
            "fail_on": "any",
            "patience": 1.0,
            "interval": 30.0,
            "version": "1.2.3",
            "clock": clock,
        }
        | fields
    )
    return made, metrics


@pytest.mark.parametrize(
    ("fail_on", "down", "status"),
    [
        ("any", "", HealthStatus.OK),
        ("any", "a", HealthStatus.ERROR),
        ("any", "b", HealthStatus.ERROR),
        ("all", "", HealthStatus.OK),
        ("all", "a", HealthStatus.DEGRADED),
        ("all", "b", HealthStatus.DEGRADED),
        ("all", "ab", HealthStatus.ERROR),
        ("critical", "", HealthStatus.OK),
        ("critical", "a", HealthStatus.ERROR),
        ("critical", "b", HealthStatus.DEGRADED),
        ("critical", "ab", HealthStatus.ERROR),
    ],
)
async def test_who_is_down_decides_as_configured(fail_on: str, down: str, status: HealthStatus) -> None:
    made, _ = service(asked("a", down="a" in down, critical=True), asked("b", down="b" in down), fail_on=fail_on)

    report = await made.report()

    assert report.status is status
    assert report.providers == {"a": "a" not in down, "b": "b" not in down}
    assert made.can_serve() is (down != "ab")


@pytest.mark.parametrize("fail_on", ["any", "all", "critical"])
async def test_without_redis_it_still_serves_but_not_as_well(fail_on: str) -> None:
    made, _ = service(asked("a", critical=True), redis=asked("redis", down=True), fail_on=fail_on)

    report = await made.report()

    assert (report.status, report.redis) == (HealthStatus.DEGRADED, False)
    assert report.checks["redis"].reason == "down"
    assert report.providers == {"a": True}


@pytest.mark.parametrize("fail_on", ["any", "all", "critical"])
@pytest.mark.parametrize(("critical", "status"), [(True, HealthStatus.ERROR), (False, HealthStatus.DEGRADED)])
async def test_a_check_of_the_operators_own_fails_all_where_it_is_critical(
    fail_on: str, *, critical: bool, status: HealthStatus
) -> None:
    made, _ = service(asked("a"), others=[asked("custom:x", down=True, critical=critical)], fail_on=fail_on)

    assert (await made.report()).status is status


async def test_a_critical_check_that_is_degraded_fails_nothing() -> None:
    made, _ = service(asked("a"), others=[asked("custom:x", HOT, critical=True)])

    assert (await made.report()).status is HealthStatus.DEGRADED


async def test_a_machine_in_trouble_degrades() -> None:
    made, _ = service(asked("a"), others=[asked("cpu_usage", HOT)])

    report = await made.report()

    assert report.status is HealthStatus.DEGRADED
    assert report.checks["cpu_usage"].reason == HOT.reason


async def test_the_report_has_its_shape() -> None:
    now = [100.0]
    made, _ = service(
        asked("a"), asked("b", down=True), redis=asked("redis"), others=[asked("cpu_usage")], now=now, fail_on="all"
    )
    now[0] += 61.9

    body = msgspec.to_builtins(await made.report())

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body.pop("timestamp"))
    checks = body.pop("checks")
    assert body == {
        "status": "degraded",
        "uptime": 61,
        "version": "1.2.3",
        "endpoints": {},
        "providers": {"a": True, "b": False},
        "redis": True,
    }
    assert list(checks) == ["cpu_usage", "a", "b", "redis"]
    assert checks["cpu_usage"].keys() == {"status", "value", "threshold", "latency_ms", "since"}
    assert checks["b"].keys() == {"status", "since", "reason"}
    assert checks["b"]["reason"] == "down"


async def test_redis_is_not_mentioned_where_there_is_none() -> None:
    made, _ = service(asked("a"))

    body = msgspec.to_builtins(await made.report())

    assert "redis" not in body
    assert "redis" not in body["checks"]


async def test_providers_with_an_address_are_endpoints() -> None:
    well, gone = Fake("a", endpoint="http://one", version="0.5.1"), Fake("b", endpoint="http://two")
    gone.failure = RuntimeError("refused")
    shared = [Fake("c", endpoint="http://three"), Fake("d", endpoint="http://three"), Fake("e")]
    shared[0].failure = RuntimeError("no")
    made, _ = service(fakes=[well, gone, *shared])

    assert (await made.report()).endpoints == {
        "http://one": {"status": "ok", "version": "0.5.1"},
        "http://two": {"status": "error", "detail": "refused"},
        "http://three": {"status": "error", "detail": "no"},
    }


def test_endpoints_are_told_to_prometheus() -> None:
    metrics = made_metrics()
    history, indicator = (
        History(metrics.health),
        ProviderIndicator(cast("Any", Fake("a", endpoint="http://one")), deadline=1, max_age=1),
    )
    indicator.version = "0.5.1"
    watch = ProviderWatch(indicator, history, told=partial(metrics.providers.stands, "a"))
    metrics.tally.add_source(Endpoints([indicator], {"a": watch}).readings)

    told = {"provider": "a", "endpoint": "http://one"}
    assert value(metrics, "llm_endpoint_up", **told) == 1
    assert value(metrics, "llm_endpoint_info", **told, kind="ollama", version="0.5.1") == 1
    assert value(metrics, "llm_endpoint_connections", provider="a", state="active") == 2
    assert value(metrics, "llm_endpoint_connections", provider="a", state="idle") == 1
    assert value(metrics, "llm_endpoint_connections_limit", provider="a") == 8
    assert value(metrics, "llm_endpoint_queue_depth", provider="a") == 3
    assert value(metrics, "llm_endpoint_queue_rejections_total", provider="a") == 4


async def test_what_follows_from_others_is_asked_after_them() -> None:
    order: list[str] = []

    class Noted(Asked):
        async def run(self) -> Check:
            await asyncio.sleep(0)
            order.append(self.name)
            return WELL

    made, _ = service(Noted("a"), others=[Noted("cpu")], derived=[Noted("models")])
    await made.report()

    assert order[-1] == "models"
    assert sorted(order) == ["a", "cpu", "models"]


async def test_a_thousand_callers_wait_for_one_refresh() -> None:
    one, now = asked("a"), [100.0]
    one.gate.clear()
    made, _ = service(one, now=now)
    waiting = [asyncio.create_task(made.report()) for _ in range(1000)]
    await asyncio.sleep(0.01)

    one.gate.set()
    reports = await asyncio.gather(*waiting)

    assert one.times == 1
    assert all(each is reports[0] for each in reports)
    now[0] += MAX_AGE_SECONDS - 0.1
    assert await made.report() is reports[0]
    now[0] += 0.1
    assert await made.report() is not reports[0]
    assert one.times == 2


async def test_callers_who_leave_begin_no_second_question() -> None:
    one = asked("a")
    one.gate.clear()
    made, _ = service(one)
    for _ in range(20):
        caller = asyncio.create_task(made.report())
        await asyncio.sleep(0.001)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
    last = asyncio.create_task(made.report())
    await asyncio.sleep(0.01)

    one.gate.set()

    assert (await last).status is HealthStatus.OK
    assert one.times == 1


async def test_who_takes_too_long_is_reported_as_it_was() -> None:
    slow, quick = Asked("custom:slow", deadline=60), asked("a")
    slow.gate.clear()
    made, _ = service(quick, others=[slow], patience=0.01)

    async with asyncio.timeout(5):
        report = await made.report()

    assert report.checks["custom:slow"].status is CheckStatus.HEALTHY
    assert report.checks["a"].latency_ms is not None
    await made.aclose()


async def test_metrics_know_who_is_up() -> None:
    made, metrics = service(asked("a"), asked("b", down=True))

    await made.report()

    assert value(metrics, "llm_provider_up", provider="b") == 0
    assert value(metrics, "llm_health_status", check="a") == 1
    assert value(metrics, "llm_health_status", check="b") == 0
    assert [(each.check, each.after) for each in made.changes()] == [("b", CheckStatus.UNHEALTHY)]


async def test_live_calls_are_heard_and_nobody_is_asked() -> None:
    one, two = asked("a"), asked("b")
    made, _ = service(one, two)

    for _ in range(3):
        made.attempted("a", Failure.UPSTREAM_TIMEOUT, hurts=True)
        made.attempted("b", Failure.UPSTREAM_REJECTED, hurts=False)
    assert made.can_serve()
    for _ in range(3):
        made.attempted("b", Failure.UPSTREAM_ERROR, hurts=True)
    assert not made.can_serve()
    made.attempted("a", None, hurts=True)

    assert made.can_serve()
    assert (one.times, two.times) == (0, 0)


async def test_the_worker_asks_at_once_and_then_again_and_again() -> None:
    now, one = [0.0], asked("a")

    def clock() -> float:
        now[0] += MAX_AGE_SECONDS
        return now[0]

    made, _ = service(one, interval=0.01, clock=clock)
    task = asyncio.create_task(made.run())
    async with asyncio.timeout(10):
        while one.times < 3:  # noqa: ASYNC110 - a number has no event
            await asyncio.sleep(0.005)
    task.cancel()

    assert one.times >= 3
