"""The machine and the event loop against their thresholds."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from app.domain.health import Check, CheckStatus
from app.monitoring.connections import Connections
from app.monitoring.machine import Machine
from app.monitoring.tally import Distribution, Reading
from app.settings import HealthSettings

LAG_EVERY_SECONDS = 0.25
LAGS_KEPT = 120


class Threshold:
    """A number that should not be over another; degraded where it is."""

    critical = False
    deadline = 1.0
    max_age = 0.0

    def __init__(
        self, name: str, read: Callable[[], float], *, threshold: float, unit: str, where: Callable[[], str] = str
    ) -> None:
        self.name = name
        self._read = read
        self._threshold = threshold
        self._unit = unit
        self._where = where

    async def run(self) -> Check:
        value, threshold, unit = round(max(self._read(), 0.0), 1), self._threshold, self._unit
        if value <= threshold:
            return Check(status=CheckStatus.HEALTHY, value=value, threshold=threshold)
        reason = f"{value:g}{unit} is over the threshold of {threshold:g}{unit}{self._where()}"
        return Check(status=CheckStatus.DEGRADED, value=value, threshold=threshold, reason=reason)


class Crowd:
    """Callers' connections against what there may be; degraded before the next is one too many, and a minute after."""

    name = "connections"
    critical = False
    deadline = 1.0
    max_age = 0.0

    def __init__(self, connections: Connections, *, threshold: float) -> None:
        self._connections = connections
        self._threshold = threshold

    async def run(self) -> Check:
        value, threshold = round(self._connections.percent(), 1), self._threshold
        most = self._connections.most
        if self._connections.refused_lately():
            reason = f"connections were turned away within the last minute: there may be {most}"
        elif value >= threshold:
            reason = f"{value:g}% of the {most} there may be are open; the threshold is {threshold:g}%"
        else:
            return Check(status=CheckStatus.HEALTHY, value=value, threshold=threshold)
        return Check(status=CheckStatus.DEGRADED, value=value, threshold=threshold, reason=reason)


class LoopLag:
    """How late the event loop was in the last half minute: four looks a second, some 20 µs each."""

    def __init__(self, seen: Distribution, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._seen = seen
        self._clock = clock
        self._lags: deque[float] = deque(maxlen=LAGS_KEPT)

    def worst_ms(self) -> float:
        return max(self._lags, default=0.0) * 1000

    async def run(self) -> None:
        while True:
            before = self._clock()
            await asyncio.sleep(LAG_EVERY_SECONDS)
            lag = max(self._clock() - before - LAG_EVERY_SECONDS, 0.0)
            self._lags.append(lag)
            self._seen.observe(lag)


def vitals(settings: HealthSettings, machine: Machine, lag: LoopLag) -> list[Threshold]:
    percent = [
        ("cpu_usage", lambda: machine.snapshot().cpu_percent, settings.cpu_threshold),
        ("memory_usage", lambda: machine.snapshot().memory_percent, settings.memory_threshold),
        ("descriptors_usage", machine.descriptors_percent, settings.descriptors_threshold),
    ]
    disk = Threshold(
        "disk_usage",
        lambda: machine.disk().percent,
        threshold=settings.disk_threshold,
        unit="%",
        where=lambda: f", where {Path(machine.disk().path).resolve()} is",
    )
    loop = Threshold("event_loop", lag.worst_ms, threshold=settings.event_loop_threshold_ms, unit=" ms")
    return [*(Threshold(name, read, threshold=most, unit="%") for name, read, most in percent), disk, loop]


def tasks() -> Iterable[Reading]:
    """For a scrape."""
    try:
        count = len(asyncio.all_tasks())
    except RuntimeError:  # no loop is running
        count = 0
    yield Reading("llm_tasks", "Tasks of the event loop", count)
