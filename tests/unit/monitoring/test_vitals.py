"""The machine and the loop against their thresholds."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.health import Check, CheckStatus
from app.monitoring.health.vitals import LAG_EVERY_SECONDS, LoopLag, vitals
from app.monitoring.machine import Machine
from app.monitoring.tally import Distribution
from app.settings import HealthSettings

PATIENT = {
    "cpu_threshold": 100,
    "memory_threshold": 100,
    "disk_threshold": 100,
    "descriptors_threshold": 100,
    "event_loop_threshold_ms": 1000,
}


async def checks(machine: Machine | None = None, lag: LoopLag | None = None, **thresholds: float) -> dict[str, Check]:
    settings = HealthSettings(**PATIENT | thresholds)  # type: ignore[arg-type] # numbers all
    each = vitals(settings, machine or Machine(), lag or LoopLag(Distribution([1.0])))
    return {one.name: await one.run() for one in each}


async def test_below_its_threshold_everything_is_healthy() -> None:
    found = await checks()

    assert found.keys() == {"cpu_usage", "memory_usage", "descriptors_usage", "disk_usage", "event_loop"}
    assert {each.status for each in found.values()} == {CheckStatus.HEALTHY}
    assert all(each.reason is None for each in found.values())
    assert [each.threshold for each in found.values()] == [100, 100, 100, 100, 1000]
    assert all(each.value is not None and 0 <= each.value <= 100 for each in found.values())


async def test_over_its_threshold_memory_is_degraded_and_says_why() -> None:
    found = await checks(memory_threshold=0.001)

    check = found.pop("memory_usage")
    assert check.status is CheckStatus.DEGRADED
    assert check.reason == f"{check.value:g}% is over the threshold of 0.001%"
    assert {each.status for each in found.values()} == {CheckStatus.HEALTHY}


async def test_a_full_disk_is_degraded_and_named() -> None:
    def usage(path: str) -> Any:
        return SimpleNamespace(used=97, total=100, percent=97.0 if path.endswith("logs") else 10.0)

    machine = Machine([Path(), Path("/"), Path("/no-such/logs")], disk_usage=usage)
    assert (await checks(machine, disk_threshold=90))["disk_usage"].status is CheckStatus.HEALTHY, (
        "the nearest there is"
    )

    def full(path: str) -> Any:
        return SimpleNamespace(used=97, total=100, percent=97.0 if path == "/" else 10.0)

    machine = Machine([Path(), Path("/no-such/logs")], disk_usage=full)
    check = (await checks(machine, disk_threshold=90))["disk_usage"]

    assert (check.status, check.value, check.threshold) == (CheckStatus.DEGRADED, 97.0, 90)
    assert check.reason == "97% is over the threshold of 90%, where /no-such/logs is"


async def test_a_loop_that_lags_is_noticed_and_counted() -> None:
    times = iter([0.0, LAG_EVERY_SECONDS + 1.5])
    seen = Distribution([0.5])
    lag = LoopLag(seen, clock=lambda: next(times, 0.0))
    task = asyncio.create_task(lag.run())

    async with asyncio.timeout(10):
        while lag.worst_ms() == 0.0:  # noqa: ASYNC110 - a number has no event
            await asyncio.sleep(0.01)
    task.cancel()

    check = (await checks(lag=lag))["event_loop"]
    assert (check.status, check.value, check.threshold) == (CheckStatus.DEGRADED, 1500, 1000)
    assert check.reason == "1500 ms is over the threshold of 1000 ms"
    assert seen.counts == [0, 1]
    assert seen.sum == pytest.approx(1.5)
