"""The machine and the loop this process runs on."""

import asyncio
import time
from collections.abc import Callable

import psutil

from app.domain.health import Check, CheckStatus
from app.settings import HealthSettings

LAG_EVERY_SECONDS = 1.0
LAGS_KEPT = 30


class Vitals:
    """`run` listens to the event loop; `checks` reads the rest, in well under a millisecond."""

    def __init__(self, settings: HealthSettings, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._settings = settings
        self._clock = clock
        self._lags_ms: list[float] = []
        psutil.cpu_percent()  # the first reading says nothing

    def checks(self) -> dict[str, Check]:
        settings = self._settings
        return {
            "cpu_usage": _against(psutil.cpu_percent(), settings.cpu_threshold, "%"),
            "memory_usage": _against(psutil.virtual_memory().percent, settings.memory_threshold, "%"),
            "disk_usage": _against(psutil.disk_usage(".").percent, settings.disk_threshold, "%"),
            "event_loop": _against(max(self._lags_ms, default=0.0), settings.event_loop_threshold_ms, " ms"),
        }

    async def run(self) -> None:
        while True:
            before = self._clock()
            await asyncio.sleep(LAG_EVERY_SECONDS)
            self._lags_ms = [*self._lags_ms[1 - LAGS_KEPT :], (self._clock() - before - LAG_EVERY_SECONDS) * 1000]


def _against(value: float, threshold: float, unit: str) -> Check:
    value = round(max(value, 0.0), 1)
    if value <= threshold:
        return Check(status=CheckStatus.HEALTHY, value=value, threshold=threshold)
    reason = f"{value:g}{unit} is over the threshold of {threshold:g}{unit}"
    return Check(status=CheckStatus.DEGRADED, value=value, threshold=threshold, reason=reason)
