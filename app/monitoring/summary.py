"""What the guides want as JSON, read from the metrics; nothing is counted here."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from app.cache.base import CacheSize
from app.domain.errors import OF_NO_PROVIDER
from app.monitoring.metrics import Metrics
from app.monitoring.tally import Labels


class RequestMetrics(Struct, frozen=True, rename="camel"):
    """Calls since the start. Latencies are milliseconds from the call to its last byte, of the last five minutes."""

    total_requests: int
    successful_requests: int
    failed_requests: int
    average_latency: float
    p95_latency: float
    p99_latency: float


class CacheMetrics(Struct, frozen=True, rename="camel"):
    """Rates are shares of all lookups since the start, 0 to 1 and 0 without any; memory is bytes.

    `eviction_rate` is answers that had to make room, for each lookup. Of Redis, memory, keys and evictions are the
    whole server's, as it tells them.
    """

    hit_rate: float
    miss_rate: float
    eviction_rate: float
    memory_usage: int
    key_count: int


class TokenCounts(Struct, frozen=True):
    prompt: int
    completion: int
    total: int


class ProviderMetrics(Struct, frozen=True, rename="camel"):
    """Attempts since the start; `error_rate` is the share of them that failed by the provider's fault, 0 to 1.

    `average_response_time` is milliseconds until one of them answered or failed.
    """

    request_count: int
    error_rate: float
    average_response_time: float
    token_usage: TokenCounts


class Detailed(Struct, frozen=True):
    """Every configured provider is there, called or not."""

    request: RequestMetrics
    cache: CacheMetrics
    provider: dict[str, ProviderMetrics]


class Usage(Struct, frozen=True):
    """By endpoint and model: calls on their way, and tokens used since the start."""

    usage_counts: dict[str, dict[str, int]]
    token_usage_counts: dict[str, dict[str, int]]


class MetricsSummary:
    """`endpoints` has for every provider the address it is told by, which some may share."""

    def __init__(self, metrics: Metrics, *, cache: Callable[[], CacheSize], endpoints: Mapping[str, str]) -> None:
        self._metrics = metrics
        self._cache = cache
        self._endpoints = endpoints

    def detailed(self) -> Detailed:
        self._metrics.catch_up()
        providers = {name: self._provider(name) for name in self._endpoints}
        return Detailed(request=self._requests(), cache=self._lookups(), provider=providers)

    def usage(self) -> Usage:
        self._metrics.catch_up()
        active = self._by_endpoint("llm_endpoint_active_requests")
        return Usage(usage_counts=active, token_usage_counts=self._by_endpoint("llm_model_tokens"))

    def _requests(self) -> RequestMetrics:
        window = self._metrics.calls.window
        p95, p99 = window.quantiles(0.95, 0.99)
        return RequestMetrics(
            total_requests=self._sum("llm_requests"),
            successful_requests=self._sum("llm_requests", status="success"),
            failed_requests=self._sum("llm_requests", status="error"),
            average_latency=_milliseconds(window.average),
            p95_latency=_milliseconds(p95),
            p99_latency=_milliseconds(p99),
        )

    def _lookups(self) -> CacheMetrics:
        size = self._cache()
        hits, misses = self._sum("llm_cache_hits"), self._sum("llm_cache_misses")
        return CacheMetrics(
            hit_rate=_share(hits, hits + misses),
            miss_rate=_share(misses, hits + misses),
            eviction_rate=_share(size.evictions, hits + misses),
            memory_usage=size.memory_bytes,
            key_count=size.keys,
        )

    def _provider(self, name: str) -> ProviderMetrics:
        attempts = self._sum("llm_provider_requests", provider=name)
        prompt = self._sum("llm_token_usage", provider=name, type="prompt")
        completion = self._sum("llm_token_usage", provider=name, type="completion")
        took = self._children("llm_provider_latency_seconds").get((name,))
        return ProviderMetrics(
            request_count=attempts,
            error_rate=_share(self._failed(name), attempts),
            average_response_time=_milliseconds(took.sum / sum(took.counts)) if took else 0.0,
            token_usage=TokenCounts(prompt=prompt, completion=completion, total=prompt + completion),
        )

    def _failed(self, name: str) -> int:
        errors = self._children("llm_provider_errors").items()
        return int(sum(each.value for (who, word), each in errors if who == name and word not in OF_NO_PROVIDER))

    def _by_endpoint(self, family: str) -> dict[str, dict[str, int]]:
        """Sums by model of what is labelled by provider and model."""
        found: dict[str, dict[str, int]] = {endpoint: defaultdict(int) for endpoint in self._endpoints.values()}
        for (provider, model, *_), child in self._children(family).items():
            endpoint = self._endpoints.get(provider, provider)
            found.setdefault(endpoint, defaultdict(int))[model] += int(child.value)
        return found

    def _sum(self, family: str, **wanted: str) -> int:
        names = self._metrics.tally.families[family].label_names
        places = [(names.index(name), value) for name, value in wanted.items()]
        children = self._children(family).items()
        return int(sum(child.value for labels, child in children if all(labels[at] == each for at, each in places)))

    def _children(self, family: str) -> Mapping[Labels, Any]:
        return self._metrics.tally.families[family].children


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
