"""Every metric the gateway counts, and how Prometheus gets it.

Names follow the guides where one names it, else Prometheus: base units, labels of bounded sets only.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from app.cache.base import CacheSize
from app.monitoring import custom
from app.monitoring.answers import LATENCY_BUCKETS, AnswerMetrics
from app.monitoring.backlog import AT_ONCE
from app.monitoring.calls import NONE, CallMetrics
from app.monitoring.certificate import Certificate
from app.monitoring.conditions import HealthMetrics
from app.monitoring.connections import Connections
from app.monitoring.exposition import FamilyWriter, readings_text
from app.monitoring.security import SecurityMetrics
from app.monitoring.statsd.link import StatsdMetrics
from app.monitoring.tally import MOST_REMEMBERED, MOST_SERIES, Count, Reading, Tally

SCRAPE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1)
STEP_SECONDS = 0.001
CLASSIC = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
FASTEST = 1
GZIP = zlib.MAX_WBITS + 16
"""Of zlib: with a head and an end as gzip has them. 450 kB become 30, for 2 ms."""

request_counter, response_time = custom.request_counter, custom.response_time
"""Where a guide looks for metrics of its readers' own; `app/monitoring/custom.py` makes more."""


class Metrics:
    """All metrics of a process; not `counting`, those of calls, attempts and answers stay as they are.

    `before_reading` are called before anything is read: what is counted late is counted then.
    """

    def __init__(
        self, *, cache: Callable[[], CacheSize], version: str, max_series: int = MOST_SERIES, counting: bool = True
    ) -> None:
        self.tally = Tally(max_series=max_series)
        self.answers = AnswerMetrics(self.tally)
        self.calls = CallMetrics(self.tally)
        self.providers = ProviderMetrics(self.tally) if counting else Uncounted(self.tally)
        self.security = SecurityMetrics(self.tally)
        self.statsd = StatsdMetrics(self.tally)
        self.health = HealthMetrics(self.tally)
        self.in_flight: Callable[[], int] = int
        self.connections = Connections()
        self.certificate = Certificate()
        self.lines_dropped: Callable[[], int] = int
        self.lines_held: Callable[[], int] = int
        self.spans_exported: Callable[[], int] = int
        self.spans_dropped: Callable[[], int] = int
        self.endpoints: Callable[[], Iterable[Reading]] = tuple
        """Set by who knows: requests being answered, log lines lost, spans, providers' addresses."""
        self.before_reading: list[Callable[[], object]] = [self.providers.work_off]
        self.tally.gauge("llm_build_info", "Always 1", "version").of(version).value = 1
        self.tally.add_source(lambda: _cache_sizes(cache()))
        self.tally.add_source(self._socket)
        self.tally.add_source(self._itself)
        self._scrapes = self.tally.histogram(
            "llm_scrape_duration_seconds", "Making the text of all metrics", bounds=SCRAPE_BUCKETS
        ).of()
        self._writers: dict[str, FamilyWriter] = {}
        self._library = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._library)
        self._scraping: dict[tuple[str, bool], asyncio.Task[tuple[bytes, str]]] = {}

    def catch_up(self) -> None:
        """Count what is counted late; whoever reads what was counted calls this first."""
        for count in self.before_reading:
            count()

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition a scraper that accepts `accept` wants, and its content type."""
        content_type = exposition_type(accept)
        started = time.perf_counter()
        body = b"".join(self._pieces(content_type))
        self._scrapes.observe(time.perf_counter() - started)
        return body, content_type

    async def scrape(self, accept: str, *, gzip: bool = False) -> tuple[bytes, str]:
        """The same, a millisecond at a time; who asks while it is being made gets what the others get."""
        wanted = content_type, _ = exposition_type(accept), gzip
        if (task := self._scraping.get(wanted)) is None:
            task = self._scraping[wanted] = asyncio.create_task(self._scraped(content_type, gzip=gzip))
            task.add_done_callback(lambda _: self._scraping.pop(wanted))
        return await asyncio.shield(task)

    async def _scraped(self, content_type: str, *, gzip: bool) -> tuple[bytes, str]:
        started = time.perf_counter()
        spent, pieces = 0.0, []
        packer = zlib.compressobj(FASTEST, wbits=GZIP) if gzip else None
        for piece in self._pieces(content_type):
            pieces.append(piece if packer is None else packer.compress(piece))
            now = time.perf_counter()
            if now - started > STEP_SECONDS:
                spent += now - started
                await asyncio.sleep(0)
                started = time.perf_counter()
        if packer is not None:
            pieces.append(packer.flush())
        self._scrapes.observe(spent + time.perf_counter() - started)
        return b"".join(pieces), content_type

    def _pieces(self, content_type: str) -> Iterator[bytes]:
        self.catch_up()
        open_metrics = content_type == OPEN_METRICS
        for name, family in list(self.tally.families.items()):
            if (writer := self._writers.get(name)) is None:
                writer = self._writers[name] = FamilyWriter(family)
            yield from writer.pieces(open_metrics=open_metrics)
        yield from readings_text(self.tally.readings(), open_metrics=open_metrics)
        encode, _ = choose_encoder(content_type)
        yield encode(self._library)  # ends OpenMetrics too

    def _socket(self) -> Iterable[Reading]:
        yield Reading("http_requests_in_flight", "Requests that are being answered", self.in_flight())
        yield from self.connections.readings()
        yield from self.certificate.readings()
        yield from self.endpoints()

    def _itself(self) -> Iterable[Reading]:
        yield Reading(
            "llm_log_lines_dropped_total", "Log lines that could not be written", self.lines_dropped(), "counter"
        )
        yield Reading(
            "llm_log_lines_held_total", "Log lines beyond a hundred a second of a kind", self.lines_held(), "counter"
        )
        yield Reading("llm_spans_exported_total", "Spans a collector took", self.spans_exported(), "counter")
        yield Reading(
            "llm_spans_dropped_total", "Spans that found no room, or no collector", self.spans_dropped(), "counter"
        )
        families = list(self.tally.families.values())
        for family in families:
            yield Reading(
                "llm_metric_series", "Samples a family shows", family.series, labels=(("family", family.name),)
            )
        for family in families:
            yield Reading(
                "llm_metric_overflows_total",
                "Label values counted as `other`, a family's share of series being used up",
                family.overflows,
                "counter",
                (("family", family.name),),
            )


class ProviderMetrics:
    """Attempts, and who has the calls that are on their way."""

    def __init__(self, tally: Tally) -> None:
        self._attempts = tally.counter("llm_provider_requests", "Attempts", "provider")
        self._failures = tally.counter("llm_provider_errors", "Failed attempts, by word", "provider", "error_type")
        self._latency = tally.histogram(
            "llm_provider_latency_seconds", "Until an attempt answered or failed", "provider", bounds=LATENCY_BUCKETS
        )
        self._active = tally.gauge(
            "llm_active_requests", "Calls on their way; none: no provider chosen yet", "provider"
        )
        self._at = tally.gauge(
            "llm_endpoint_active_requests", "Calls a provider is working on, by model", "provider", "model"
        )
        self._ended: list[tuple[str, float]] = []
        self._unplaced = self._active.of(NONE)
        self._place = lru_cache(MOST_REMEMBERED)(self._placed)
        self._up = tally.gauge("llm_provider_up", "1 while the provider counts as healthy", "provider")
        self._decisions = tally.counter("llm_routing_decisions", "Targets chosen, and by what", "provider", "reason")
        self._retries = tally.counter(
            "llm_retries", "The same target asked again, and after what", "provider", "reason"
        )
        self._fallbacks = tally.counter(
            "llm_fallbacks", "Targets given up for the next, and after what", "provider", "reason"
        )

    def moved(self, before: str, after: str, model: str) -> None:
        """A call on its way passes from one provider to the next; `""` is outside, `none` before one is chosen."""
        if before == NONE:
            self._unplaced.value -= 1
        elif before:
            active, at = self._place(before, model)
            active.value -= 1
            at.value -= 1
        if after == NONE:
            self._unplaced.value += 1
        elif after:
            active, at = self._place(after, model)
            active.value += 1
            at.value += 1

    def _placed(self, provider: str, model: str) -> tuple[Count, Count]:
        return self._active.of(provider), self._at.of(provider, model)

    def active(self, provider: str) -> int:
        """Calls that are with a provider now."""
        child = self._active.children.get((provider,))
        return int(child.value) if child is not None else 0

    def attempted(self, provider: str, seconds: float, error: str = "") -> None:
        """Counted with the next ones, or when somebody reads."""
        self._ended.append((provider, seconds))
        if error:
            self._failures.of(provider, error).value += 1
        if len(self._ended) >= AT_ONCE:
            self.work_off()

    def work_off(self) -> None:
        ended, self._ended = self._ended, []
        for provider in {provider for provider, _ in ended}:
            seconds = [seconds for name, seconds in ended if name == provider]
            self._attempts.of(provider).value += len(seconds)
            self._latency.of(provider).observe_all(seconds)

    def stream_broke(self, provider: str, error: str) -> None:
        """An attempt that was counted when its first event came has failed after all."""
        self._failures.of(provider, error).value += 1

    def chosen(self, provider: str, reason: str) -> None:
        self._decisions.of(provider, reason).value += 1

    def retried(self, provider: str, reason: str) -> None:
        self._retries.of(provider, reason).value += 1

    def left(self, provider: str, reason: str) -> None:
        """A target failed, and the next one is asked."""
        self._fallbacks.of(provider, reason).value += 1

    def stands(self, provider: str, *, is_up: bool) -> None:
        self._up.of(provider).value = float(is_up)

    def only(self, providers: Collection[str]) -> None:
        """There are no others any more; what they were asked stays counted."""
        self._up.keep(lambda labels: labels[0] in providers)

    def on_their_way(self) -> int:
        """Calls on their way, wherever they are."""
        return int(sum(each.value for each in self._active.children.values()))


class Uncounted(ProviderMetrics):
    """Metrics are off: nothing moves."""

    def moved(self, before: str, after: str, model: str) -> None:
        return None

    def attempted(self, provider: str, seconds: float, error: str = "") -> None:
        return None

    def stream_broke(self, provider: str, error: str) -> None:
        return None

    def chosen(self, provider: str, reason: str) -> None:
        return None

    def retried(self, provider: str, reason: str) -> None:
        return None

    def left(self, provider: str, reason: str) -> None:
        return None


def exposition_type(accept: str) -> str:
    """One of two, whatever version is claimed: our text is that of OpenMetrics 1.0.0, or the classic one."""
    try:
        chosen = choose_encoder(accept)[1]
    except (TypeError, ValueError):  # it stumbles over a version that is no number
        return CLASSIC
    return OPEN_METRICS if chosen.startswith("application/openmetrics-text") else CLASSIC


def _cache_sizes(size: CacheSize) -> Iterable[Reading]:
    """How full the cache is, asked when Prometheus asks."""
    near = size.near or CacheSize()
    yield Reading("llm_cache_keys_total", "Keys in the cache", size.keys)
    yield Reading("llm_cache_memory_bytes", "Memory the cache uses", size.memory_bytes)
    yield Reading("llm_cache_evictions_total", "Answers that had to make room", size.evictions, "counter")
    yield Reading("llm_cache_errors_total", "Cache operations that failed", size.errors, "counter")
    yield from _by_reason("llm_cache_rejected_total", "Stored values that were not what they had to be", size.rejected)
    yield from _by_reason("llm_cache_writes_dropped_total", "Answers that were not written", size.dropped)
    yield Reading("llm_cache_near_keys", "Keys kept in front of Redis", near.keys)
    yield Reading("llm_cache_near_bytes", "Memory of what is kept in front of Redis", near.memory_bytes)


def _by_reason(name: str, help_text: str, counted: Mapping[str, int]) -> Iterable[Reading]:
    return (Reading(name, help_text, times, "counter", (("reason", why),)) for why, times in counted.items())
