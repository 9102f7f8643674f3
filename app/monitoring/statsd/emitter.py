"""Sends what has changed since the last time: counters as what came to them, gauges as they are.

The calls' own times go out one by one, every second: whoever receives them makes quantiles of his own.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from random import random

from app.domain.llm import SERVED_AGAIN
from app.domain.outcome import Outcome
from app.monitoring.statsd.lines import Dialect, Pairs
from app.monitoring.statsd.link import Link, StatsdMetrics
from app.monitoring.tally import AnyFamily, Count, Distribution, Tally
from app.settings import StatsdSettings

DURATION = "llm_request_duration_seconds"
FIRST_CHUNK = "llm_time_to_first_chunk_seconds"

TICK_SECONDS = 1.0
MOST_WAITING = 20_000
AT_ONCE = 8
PAUSE_SECONDS = 0.01
"""A socket's usual buffer holds a hundred datagrams: so many at once would be lost where they arrive."""
STEP_SECONDS = 0.001
LAST_WORDS_SECONDS = 2.0


class StatsdEmitter:
    """A worker; without an address it does nothing. `before_reading` are called before anything is read."""

    def __init__(
        self,
        settings: StatsdSettings,
        tally: Tally,
        metrics: StatsdMetrics,
        before_reading: Sequence[Callable[[], object]] = (),
    ) -> None:
        self.on = bool(settings.address)
        self._settings = settings
        self._tally = tally
        self._metrics = metrics
        self._before_reading = before_reading
        self._dialect = Dialect(settings.prefix, settings.tags if settings.dogstatsd else None)
        self._sent: dict[tuple[str, Pairs], float] = {}
        self._waiting: dict[tuple[str, str], list[float]] = {}
        self._packet = bytearray()
        self._packets = 0
        self._link = Link(settings.address, metrics) if self.on else None

    def settled(self, outcome: Outcome) -> None:
        """Keep the times of a call, or of a share of them."""
        if self._settings.sample_rate < 1 and random() >= self._settings.sample_rate:  # noqa: S311 - a sample, no secret
            return
        self._keep(DURATION, outcome.provider, outcome.seconds)
        if outcome.seconds_to_first_chunk is not None and outcome.cache not in SERVED_AGAIN:
            self._keep(FIRST_CHUNK, outcome.provider, outcome.seconds_to_first_chunk)

    async def run(self) -> None:
        if not self.on:
            return
        interval = self._settings.interval_seconds
        due = time.monotonic() + interval
        while True:
            await asyncio.sleep(min(interval, TICK_SECONDS))
            if time.monotonic() < due:
                await self._post(self._timings())
            else:
                due = time.monotonic() + interval
                await self.flush()

    async def flush(self) -> None:
        """Everything, now."""
        for catch_up in self._before_reading:
            catch_up()
        await self._post(chain(self._timings(), self._everything()))

    async def aclose(self) -> None:
        if self._link is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.flush(), LAST_WORDS_SECONDS)
            self._link.close()

    def _keep(self, name: str, provider: str, seconds: float) -> None:
        waiting = self._waiting.setdefault((name, provider), [])
        if len(waiting) < MOST_WAITING:
            waiting.append(seconds)
        else:
            self._metrics.timings_dropped.value += 1

    async def _post(self, lines: Iterable[bytes]) -> None:
        """Into datagrams, as many lines in each as fit; an empty line is a moment to look at the clock."""
        assert self._link is not None
        limit, started = self._link.limit, time.perf_counter()
        for line in lines:
            if time.perf_counter() > started + STEP_SECONDS:
                await asyncio.sleep(0)
                started = time.perf_counter()
            if len(line) > limit:
                self._metrics.dropped.value += 1
                continue
            if self._packet and len(self._packet) + len(line) + 1 > limit:
                await self._ship(self._link)
            if line:  # from here to the next line nothing may be awaited
                self._packet += b"\n" + line if self._packet else line
        if self._packet:
            await self._ship(self._link)

    async def _ship(self, link: Link) -> None:
        """Whoever cancels it finds the datagram either sent or still here."""
        await link.send(bytes(self._packet))
        self._packet.clear()
        self._packets += 1
        if self._packets % AT_ONCE == 0:
            await asyncio.sleep(PAUSE_SECONDS)

    def _timings(self) -> Iterator[bytes]:
        """What stands behind a `yield` is done once the line is in a datagram, and never where that was cancelled."""
        assert self._link is not None
        for (name, provider), waiting in list(self._waiting.items()):
            labels = (("provider", provider),)
            now, rate = waiting.copy(), self._settings.sample_rate
            for taken, line in self._dialect.timings(name, labels, now, rate=rate, limit=self._link.limit):
                yield line
                del waiting[:taken]

    def _everything(self) -> Iterator[bytes]:
        for family in list(self._tally.families.values()):
            yield from self._family(family)
        for reading in self._tally.readings():
            if reading.kind == "counter":
                yield from self._difference(reading.name, reading.labels, reading.value)
            elif math.isfinite(reading.value):
                yield self._dialect.gauge(reading.name, reading.labels, reading.value)

    def _family(self, family: AnyFamily) -> Iterator[bytes]:
        name = family.name
        for values, child in family.children.copy().items():
            labels = tuple(zip(family.label_names, values, strict=True))
            if isinstance(child, Distribution):
                yield from self._difference(f"{name}_count", labels, sum(child.counts))
                yield from self._difference(f"{name}_sum", labels, child.sum)
            elif isinstance(child, Count) and family.kind == "counter":
                yield from self._difference(f"{name}_total", labels, child.value)
            elif isinstance(child, Count) and math.isfinite(child.value):
                yield self._dialect.gauge(name, labels, child.value)

    def _difference(self, name: str, labels: Pairs, value: float) -> Iterator[bytes]:
        """A number that fell has begun again."""
        before = self._sent.get((name, labels), 0.0)
        if value == before or not math.isfinite(value):
            yield b""
            return
        yield self._dialect.count(name, labels, value - before if value > before else value)
        self._sent[name, labels] = value
