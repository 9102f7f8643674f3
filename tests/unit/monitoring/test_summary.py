"""The guides' JSON says what the metrics say."""

import itertools

import msgspec
import pytest

from app.cache.base import CacheSize
from app.domain.errors import OF_NO_PROVIDER, Failure
from app.domain.llm import CacheStatus
from app.domain.usage import TokenUsage
from app.monitoring.backlog import Backlog
from app.monitoring.metrics import Metrics
from app.monitoring.summary import Detailed, MetricsSummary
from app.monitoring.window import Window
from tests.support.metrics import made, outcome

ENDPOINTS = {"one": "http://a:1", "two": "http://b:2", "twin": "http://a:1", "demo": "demo"}
NOTHING = {"requestCount": 0, "errorRate": 0, "averageResponseTime": 0}
NO_TOKENS = {"prompt": 0, "completion": 0, "total": 0}


def summary(metrics: Metrics, size: CacheSize | None = None) -> MetricsSummary:
    return MetricsSummary(metrics, cache=lambda: size or CacheSize(), endpoints=ENDPOINTS)


def detailed(metrics: Metrics, size: CacheSize | None = None) -> "dict[str, dict[str, object]]":
    return msgspec.to_builtins(summary(metrics, size).detailed())


def test_its_fields_are_the_guides() -> None:
    told = detailed(made())

    assert told.keys() == {"request", "cache", "provider"}
    assert list(told["request"]) == [
        "totalRequests", "successfulRequests", "failedRequests", "averageLatency", "p95Latency", "p99Latency",
    ]  # fmt: skip # as the guide has them
    assert list(told["cache"]) == ["hitRate", "missRate", "evictionRate", "memoryUsage", "keyCount"]
    assert list(told["provider"]) == list(ENDPOINTS)


def test_where_nothing_happened_everything_is_zero() -> None:
    told = detailed(made())

    assert set(told["request"].values()) | set(told["cache"].values()) == {0}
    assert told["provider"] == dict.fromkeys(ENDPOINTS, NOTHING | {"tokenUsage": NO_TOKENS})


def test_calls_are_counted_by_how_they_ended_and_timed_in_milliseconds() -> None:
    metrics = made()
    for number in range(1, 101):
        metrics.calls.settled(outcome(seconds=number / 100, error=Failure.INTERNAL if number > 90 else None))

    told = detailed(metrics)["request"]

    assert (told["totalRequests"], told["successfulRequests"], told["failedRequests"]) == (100, 90, 10)
    assert told["averageLatency"] == 505
    assert told["p95Latency"] == pytest.approx(950, rel=0.03)
    assert told["p99Latency"] == pytest.approx(990, rel=0.03)


def test_latencies_are_of_the_last_five_minutes_and_counts_of_all_time() -> None:
    metrics, now = made(), itertools.count(0, 3600)
    metrics.calls.window = Window(clock=lambda: float(next(now)))
    metrics.calls.settled(outcome(seconds=100.0))

    told = detailed(metrics)["request"]

    assert (told["totalRequests"], told["averageLatency"], told["p99Latency"]) == (1, 0, 0)


def test_rates_of_the_cache_are_shares_of_lookups() -> None:
    metrics = made()
    for status in (CacheStatus.HIT, CacheStatus.COALESCED, CacheStatus.MISS, CacheStatus.HIT, CacheStatus.BYPASS):
        metrics.calls.settled(outcome(cache=status))

    told = detailed(metrics, CacheSize(keys=7, memory_bytes=900, evictions=2, near=CacheSize(keys=1)))["cache"]

    assert told == {"hitRate": 0.75, "missRate": 0.25, "evictionRate": 0.5, "memoryUsage": 900, "keyCount": 7}


def test_a_provider_has_its_attempts_its_failures_and_its_tokens() -> None:
    metrics = made()
    metrics.providers.attempted("one", 0.1)
    metrics.providers.attempted("one", 0.5, Failure.UPSTREAM_TIMEOUT)
    metrics.providers.attempted("two", 0.3)
    metrics.providers.stream_broke("two", Failure.UPSTREAM_TRUNCATED)
    metrics.calls.settled(outcome(usage=TokenUsage(prompt_tokens=3, completion_tokens=4)))
    metrics.calls.settled(outcome(cache=CacheStatus.HIT))

    told = detailed(metrics)["provider"]

    tokens = {"prompt": 3, "completion": 4, "total": 7}
    assert told["one"] == {"requestCount": 2, "errorRate": 0.5, "averageResponseTime": 300, "tokenUsage": tokens}
    assert told["two"] == {"requestCount": 1, "errorRate": 1, "averageResponseTime": 300, "tokenUsage": NO_TOKENS}


def test_callers_who_leave_or_ask_wrongly_are_attempts_and_no_failures_of_the_provider() -> None:
    metrics = made()
    for word in (*OF_NO_PROVIDER, "", "", "", Failure.UPSTREAM_RATE_LIMITED):
        metrics.providers.attempted("one", 0.1, word)

    told = summary(metrics).detailed().provider["one"]

    assert (told.request_count, told.error_rate) == (8, 0.125)


def test_usage_is_by_endpoint_and_providers_that_share_one_are_added_up() -> None:
    metrics = made()
    for provider in ("one", "twin", "demo"):
        metrics.providers.moved("", provider, "m")
        metrics.calls.settled(outcome(provider=provider, usage=TokenUsage(prompt_tokens=3, completion_tokens=4)))
    metrics.providers.moved("demo", "", "m")

    told = summary(metrics).usage()

    assert told.usage_counts == {"http://a:1": {"m": 2}, "http://b:2": {}, "demo": {"m": 0}}
    assert told.token_usage_counts == {"http://a:1": {"m": 14}, "http://b:2": {}, "demo": {"m": 7}}


async def test_what_is_counted_late_is_counted_before_it_is_told() -> None:
    metrics = made()
    late = Backlog(metrics.calls.settled_all)
    metrics.before_reading.append(late.work_off)

    late.add(outcome())
    first = summary(metrics).detailed().request.total_requests
    late.add(outcome())
    second = summary(metrics).usage().token_usage_counts["http://a:1"]["m"]

    assert (first, second) == (1, 24)


def test_it_counts_nothing_itself() -> None:
    metrics = made()
    before = metrics.render("")[0].count(b"\n")

    told: Detailed = summary(metrics).detailed()
    summary(metrics).usage()

    assert told.request.total_requests == 0
    assert metrics.render("")[0].count(b"\n") == before
