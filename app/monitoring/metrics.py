"""Every metric the gateway exports, named once and here.

Names follow the guides where one names it, else Prometheus: base units, labels of bounded sets only.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import disable_created_metrics as _disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from app.cache.base import CacheSize
from app.domain.llm import SERVED_AGAIN, CacheStatus
from app.domain.outcome import Outcome
from app.monitoring.tally import CounterFamily, GaugeFamily, HistogramFamily

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NONE = "none"

_disable_created_metrics()  # type: ignore[no-untyped-call] # the library's


class Metrics:
    def __init__(self, *, cache: Callable[[], CacheSize], version: str) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._http = self._counter("http_requests", "HTTP answers", "method", "route", "status")
        self._refusals = self._counter("llm_request_errors", "Answers that were errors, by word", "error_type")
        self._calls = self._counter("llm_requests", "Settled calls, cache hits included", "provider", "status")
        self._seconds = self._histogram("llm_request_duration_seconds", "From the call to its last byte")
        self._first = self._histogram("llm_time_to_first_chunk_seconds", "From the call to the first event of a stream")
        self._overhead = self._histogram(
            "llm_overhead_seconds", "Until the answer or its first event, less the time spent upstream"
        )
        self._attempts = self._counter("llm_provider_requests", "Attempts", "provider")
        self._failures = self._counter("llm_provider_errors", "Failed attempts, by word", "provider", "error_type")
        self._latency = self._histogram("llm_provider_latency_seconds", "Until an attempt answered or failed")
        self._tokens = self._counter("llm_token_usage", "Tokens used, as providers counted them", "provider", "type")
        self._saved = self._counter("llm_cache_tokens_saved", "Tokens of answers served again", "type")
        self._cache = {
            status: self._counter(f"llm_cache_{name}", text).of()
            for status, name, text in (
                (CacheStatus.HIT, "hits", "Calls answered from the cache or by another call's answer"),
                (CacheStatus.MISS, "misses", "Calls looked up in vain"),
                (CacheStatus.BYPASS, "bypasses", "Calls that were not looked up"),
            )
        }
        self._cache[CacheStatus.COALESCED] = self._cache[CacheStatus.HIT]
        self._active = GaugeFamily(
            "llm_active_requests", "Calls on their way; none: no provider chosen yet", "provider"
        )
        self._up = GaugeFamily("llm_provider_up", "1 while the provider counts as healthy", "provider")
        info = GaugeFamily("llm_build_info", "Always 1", "version")
        info.of(version).value = 1
        for family in (self._active, self._up, info, _CacheSizes(cache)):
            self._registry.register(family)

    def http_answered(self, method: str, route: str, status: int) -> None:
        """Count an answer; `route` is a template, never the path that was asked for."""
        self._http.of(method if method in METHODS else "other", route, str(status)).value += 1

    def refused(self, word: str) -> None:
        self._refusals.of(word).value += 1

    def moved(self, before: str, after: str) -> None:
        """A call on its way passes from one provider to the next; `""` is outside."""
        if before:
            self._active.of(before).value -= 1
        if after:
            self._active.of(after).value += 1

    def attempted(self, provider: str, seconds: float, error: str = "") -> None:
        self._attempts.of(provider).value += 1
        self._latency.of(provider).observe(seconds)
        if error:
            self._failures.of(provider, error).value += 1

    def stream_broke(self, provider: str, error: str) -> None:
        """An attempt that was counted when its first event came has failed after all."""
        self._failures.of(provider, error).value += 1

    def call_settled(self, outcome: Outcome) -> None:
        provider = outcome.provider
        self._calls.of(provider, "error" if outcome.error else "success").value += 1
        self._seconds.of(provider).observe(outcome.seconds)
        self._cache[outcome.cache].value += 1
        usage = outcome.usage
        if outcome.cache in SERVED_AGAIN:
            self._saved.of("prompt").value += usage.prompt_tokens
            self._saved.of("completion").value += usage.completion_tokens
            return
        if usage.prompt_tokens or usage.completion_tokens:
            self._tokens.of(provider, "prompt").value += usage.prompt_tokens
            self._tokens.of(provider, "completion").value += usage.completion_tokens
        first = outcome.seconds_to_first_chunk
        if first is not None:
            self._first.of(provider).observe(first)
        ours = (outcome.seconds if first is None else first) - outcome.seconds_upstream
        self._overhead.of(provider).observe(max(ours, 0.0))

    def providers_up(self, states: Mapping[str, bool]) -> None:
        for provider, is_up in states.items():
            self._up.of(provider).value = float(is_up)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition a scraper that accepts `accept` wants, and its content type."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # it stumbles over a version that is no number
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type

    def _counter(self, name: str, help_text: str, *labels: str) -> CounterFamily:
        family = CounterFamily(name, help_text, *labels)
        self._registry.register(family)
        return family

    def _histogram(self, name: str, help_text: str) -> HistogramFamily:
        family = HistogramFamily(name, help_text, "provider", bounds=LATENCY_BUCKETS)
        self._registry.register(family)
        return family


class _CacheSizes:
    """How full the cache is, asked when Prometheus asks."""

    def __init__(self, size: Callable[[], CacheSize]) -> None:
        self._size = size

    def collect(self) -> Iterable[Metric]:
        size = self._size()
        yield GaugeMetricFamily("llm_cache_keys_total", "Keys in the cache", value=size.keys)
        yield GaugeMetricFamily("llm_cache_memory_bytes", "Memory the cache uses", value=size.memory_bytes)
        yield CounterMetricFamily("llm_cache_evictions", "Answers that had to make room", value=size.evictions)
        yield CounterMetricFamily("llm_cache_errors", "Cache operations that failed", value=size.errors)
        near = size.near or CacheSize()
        yield GaugeMetricFamily("llm_cache_near_keys", "Keys kept in front of Redis", value=near.keys)
        yield GaugeMetricFamily(
            "llm_cache_near_bytes", "Memory of what is kept in front of Redis", value=near.memory_bytes
        )
