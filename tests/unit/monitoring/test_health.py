"""The report, and the two words for load balancers."""

import asyncio
import re

import msgspec
import pytest

from app.domain.errors import Failure
from app.domain.health import Check, CheckStatus, HealthStatus
from app.monitoring.health.service import MAX_AGE_SECONDS
from tests.support.checks import HOT, WELL, Asked, asked, service
from tests.support.metrics import value


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


async def test_the_report_says_which_checks_are_critical() -> None:
    made, _ = service(asked("a", critical=True), asked("b"))

    checks = msgspec.to_builtins((await made.report()).checks)

    assert checks["a"]["critical"] is True
    assert "critical" not in checks["b"]


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
