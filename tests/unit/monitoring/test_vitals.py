"""The machine and the loop against their thresholds."""

import asyncio
from typing import Any

import pytest

from app.domain.health import CheckStatus
from app.monitoring.health.vitals import LAG_EVERY_SECONDS, Vitals
from app.settings import HealthSettings

PATIENT = {"cpu_threshold": 100, "memory_threshold": 100, "disk_threshold": 100, "event_loop_threshold_ms": 1000}


def vitals(clock: Any = None, **thresholds: float) -> Vitals:
    settings = HealthSettings(**PATIENT | thresholds)
    return Vitals(settings, clock=clock) if clock else Vitals(settings)


def test_below_its_threshold_everything_is_healthy() -> None:
    checks = vitals().checks()

    assert checks.keys() == {"cpu_usage", "memory_usage", "disk_usage", "event_loop"}
    assert {each.status for each in checks.values()} == {CheckStatus.HEALTHY}
    assert all(each.reason is None for each in checks.values())
    assert [each.threshold for each in checks.values()] == [100, 100, 100, 1000]
    assert all(each.value is not None and 0 <= each.value <= 100 for each in checks.values())


@pytest.mark.parametrize("name", ["memory", "disk"])
def test_over_its_threshold_one_is_degraded_and_says_why(name: str) -> None:
    checks = vitals(**{f"{name}_threshold": 0.001}).checks()

    check = checks.pop(f"{name}_usage")
    assert check.status is CheckStatus.DEGRADED
    assert check.reason == f"{check.value:g}% is over the threshold of 0.001%"
    assert {each.status for each in checks.values()} == {CheckStatus.HEALTHY}


async def test_a_loop_that_lags_is_noticed() -> None:
    times = iter([0.0, LAG_EVERY_SECONDS + 1.5])
    made = vitals(clock=lambda: next(times, 0.0))
    task = asyncio.create_task(made.run())

    await asyncio.sleep(LAG_EVERY_SECONDS + 0.1)
    task.cancel()

    check = made.checks()["event_loop"]
    assert (check.status, check.value, check.threshold) == (CheckStatus.DEGRADED, 1500, 1000)
    assert check.reason == "1500 ms is over the threshold of 1000 ms"
