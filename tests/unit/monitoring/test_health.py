"""The report, and the two words for load balancers."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from app.cache.base import CacheSize
from app.domain.errors import Failure
from app.domain.health import Check, CheckStatus, HealthStatus
from app.monitoring.health.service import MAX_AGE_SECONDS, HealthService
from app.monitoring.health.vitals import Vitals
from app.monitoring.health.watch import Watch
from app.monitoring.metrics import Metrics

WELL = Check(status=CheckStatus.HEALTHY, value=1, threshold=80)
HOT = Check(status=CheckStatus.DEGRADED, value=99, threshold=80, reason="99% is over the threshold of 80%")


class Still:
    """A machine of which only this is known."""

    def __init__(self, **checks: Check) -> None:
        self._checks = checks or {"cpu_usage": WELL}

    def checks(self) -> dict[str, Check]:
        return self._checks


class Asked:
    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.times = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> None:
        self.times += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure


def watch(name: str, asked: Asked | None = None, *, down: bool = False, critical: bool = False) -> Watch:
    ask = asked or Asked(RuntimeError("down") if down else None)
    return Watch(name, ask, timeout=1, max_age=0, critical=critical)


def service(*providers: Watch, now: Sequence[float] | None = None, **fields: Any) -> tuple[HealthService, Metrics]:
    metrics = Metrics(cache=CacheSize, version="1")
    times = [100.0] if now is None else now
    usual = {"redis": None, "vitals": cast("Vitals", Still()), "fail_on": "any", "interval": 0.01, "version": "1.2.3"}
    usual |= {"loaded": lambda: 7, "clock": lambda: times[0]}
    return HealthService(providers=providers, metrics=metrics, **cast("Any", usual | fields)), metrics


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
    made, _ = service(watch("a", down="a" in down, critical=True), watch("b", down="b" in down), fail_on=fail_on)

    report = await made.report()

    assert report.status is status
    assert report.providers == {"a": "a" not in down, "b": "b" not in down}
    assert made.can_serve() is (down != "ab")


@pytest.mark.parametrize("fail_on", ["any", "all", "critical"])
async def test_without_redis_it_still_serves_but_not_as_well(fail_on: str) -> None:
    made, _ = service(watch("a", critical=True), redis=watch("redis", down=True), fail_on=fail_on)

    report = await made.report()

    assert (report.status, report.redis) == (HealthStatus.DEGRADED, False)
    assert report.checks["redis"].reason == "down"
    assert report.providers == {"a": True}


async def test_a_machine_in_trouble_degrades() -> None:
    made, _ = service(watch("a"), vitals=Still(cpu_usage=HOT))

    report = await made.report()

    assert report.status is HealthStatus.DEGRADED
    assert report.checks["cpu_usage"] is HOT


async def test_the_report_has_its_shape() -> None:
    now = [100.0]
    made, _ = service(watch("a"), watch("b", down=True), redis=watch("redis"), now=now, fail_on="all")
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
    assert list(checks) == ["cpu_usage", "models", "provider:a", "provider:b", "redis"]
    assert checks["models"] == {"status": "healthy", "loaded": 7, "failed": 1}
    assert checks["provider:a"].keys() == {"status", "latency_ms", "since"}
    assert checks["provider:b"].keys() == {"status", "since", "reason"}
    assert checks["provider:b"]["reason"] == "down"


async def test_redis_is_not_mentioned_where_there_is_none() -> None:
    made, _ = service(watch("a"))

    body = msgspec.to_builtins(await made.report())

    assert "redis" not in body
    assert "redis" not in body["checks"]


async def test_a_provider_called_redis_is_not_the_cache() -> None:
    made, _ = service(watch("redis", down=True), redis=watch("redis"), fail_on="all")

    report = await made.report()

    assert (report.redis, report.providers) == (True, {"redis": False})
    assert report.checks["redis"].status is CheckStatus.HEALTHY
    assert report.checks["provider:redis"].status is CheckStatus.UNHEALTHY


async def test_models_cannot_be_served_when_nobody_is_left() -> None:
    made, _ = service(watch("a", down=True))

    assert (await made.report()).checks["models"].status is CheckStatus.UNHEALTHY


async def test_many_callers_wait_for_one_refresh() -> None:
    asked, now = Asked(), [100.0]
    asked.gate.clear()
    made, _ = service(watch("a", asked), now=now)
    waiting = [asyncio.create_task(made.report()) for _ in range(10)]
    await asyncio.sleep(0.01)

    asked.gate.set()
    reports = await asyncio.gather(*waiting)

    assert asked.times == 1
    assert all(each is reports[0] for each in reports)
    now[0] += MAX_AGE_SECONDS - 0.1
    assert await made.report() is reports[0]
    now[0] += 0.1
    assert await made.report() is not reports[0]
    assert asked.times == 2


async def test_a_caller_who_leaves_does_not_keep_the_others_from_their_report() -> None:
    asked = Asked()
    asked.gate.clear()
    made, _ = service(watch("a", asked))
    first, second = (asyncio.create_task(made.report()) for _ in range(2))
    await asyncio.sleep(0.01)

    first.cancel()
    asked.gate.set()

    assert (await second).status is HealthStatus.OK


async def test_metrics_know_who_is_up() -> None:
    made, metrics = service(watch("a"), watch("b", down=True))

    await made.report()

    families = {each.name: each for each in parse_text(metrics.render("")[0].decode())}
    up = {each.labels["provider"]: each.value for each in families["llm_provider_up"].samples}
    assert up == {"a": 1, "b": 0}


async def test_live_calls_are_heard_and_nobody_is_asked() -> None:
    asked = Asked()
    made, _ = service(watch("a", asked), watch("b", asked))

    for _ in range(3):
        made.attempted("a", Failure.UPSTREAM_TIMEOUT, hurts=True)
        made.attempted("b", Failure.UPSTREAM_REJECTED, hurts=False)
    assert made.can_serve()
    for _ in range(3):
        made.attempted("b", Failure.UPSTREAM_ERROR, hurts=True)
    assert not made.can_serve()
    made.attempted("a", None, hurts=True)

    assert made.can_serve()
    assert asked.times == 0


async def test_the_worker_asks_at_once_and_then_again_and_again() -> None:
    now, asked = [0.0], Asked()

    def clock() -> float:
        now[0] += MAX_AGE_SECONDS
        return now[0]

    made, _ = service(watch("a", asked), clock=clock)
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0.005)
    assert asked.times == 1

    await asyncio.sleep(0.1)
    task.cancel()

    assert asked.times > 2
