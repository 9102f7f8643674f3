"""What a call, an attempt and an answer leave in the metrics."""

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from app.cache.base import CacheSize
from app.domain.errors import Failure
from app.domain.llm import CacheStatus, Operation
from app.domain.outcome import Outcome
from app.domain.usage import TokenUsage
from app.monitoring.metrics import LATENCY_BUCKETS, Metrics

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
USAGE = TokenUsage(prompt_tokens=5, completion_tokens=7)


def made(size: CacheSize | None = None) -> Metrics:
    return Metrics(cache=lambda: size or CacheSize(), version="1.2.3")


def outcome(**fields: Any) -> Outcome:
    usual = {"request_id": "id", "caller": "alice", "operation": Operation.CHAT, "model": "m", "stream": False}
    return Outcome(**usual | {"seconds": 1.0, "provider": "one", "usage": USAGE} | fields)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of one sample, None where there is none."""
    text = metrics.render("")[0].decode()
    found = [each for family in parse_text(text) for each in family.samples if each.name == name]
    return next((each.value for each in found if each.labels == labels), None)


def test_a_call_counts_itself_its_time_and_its_tokens() -> None:
    metrics = made()

    metrics.call_settled(outcome(cache=CacheStatus.MISS))

    assert value(metrics, "llm_requests_total", provider="one", status="success") == 1
    assert value(metrics, "llm_request_duration_seconds_sum", provider="one") == 1
    assert value(metrics, "llm_token_usage_total", provider="one", type="prompt") == 5
    assert value(metrics, "llm_token_usage_total", provider="one", type="completion") == 7
    assert value(metrics, "llm_cache_misses_total") == 1
    assert value(metrics, "llm_cache_hits_total") == 0
    assert value(metrics, "llm_time_to_first_chunk_seconds_count", provider="one") is None


def test_a_call_that_failed_is_an_error() -> None:
    metrics = made()

    metrics.call_settled(outcome(error=Failure.UPSTREAM_ERROR, usage=TokenUsage()))

    assert value(metrics, "llm_requests_total", provider="one", status="error") == 1
    assert value(metrics, "llm_requests_total", provider="one", status="success") is None
    assert value(metrics, "llm_token_usage_total", provider="one", type="prompt") is None
    assert value(metrics, "llm_cache_bypasses_total") == 1


@pytest.mark.parametrize("cache", [CacheStatus.HIT, CacheStatus.COALESCED])
def test_a_shared_answer_is_a_hit_and_its_tokens_were_saved_and_not_used(cache: CacheStatus) -> None:
    metrics = made()

    metrics.call_settled(outcome(cache=cache, seconds_to_first_chunk=0.5))

    assert value(metrics, "llm_cache_hits_total") == 1
    assert value(metrics, "llm_cache_misses_total") == value(metrics, "llm_cache_bypasses_total") == 0
    assert value(metrics, "llm_cache_tokens_saved_total", type="prompt") == 5
    assert value(metrics, "llm_cache_tokens_saved_total", type="completion") == 7
    assert value(metrics, "llm_token_usage_total", provider="one", type="prompt") is None
    assert value(metrics, "llm_requests_total", provider="one", status="success") == 1
    assert value(metrics, "llm_overhead_seconds_count", provider="one") is None


@pytest.mark.parametrize(
    ("seconds", "first", "upstream", "overhead"),
    [
        (1.0, None, 0.75, 0.25),
        (9.0, 1.0, 0.75, 0.25),
        (1.0, None, 2.0, 0.0),
        (9.0, 0.5, 0.75, 0.0),
        (1.0, None, 0.0, 1.0),
    ],
)
def test_overhead_is_what_was_not_spent_upstream_and_never_negative(
    seconds: float, first: float | None, upstream: float, overhead: float
) -> None:
    metrics = made()

    metrics.call_settled(outcome(seconds=seconds, seconds_to_first_chunk=first, seconds_upstream=upstream))

    assert value(metrics, "llm_overhead_seconds_sum", provider="one") == overhead
    assert value(metrics, "llm_overhead_seconds_count", provider="one") == 1
    assert value(metrics, "llm_time_to_first_chunk_seconds_sum", provider="one") == first


def test_the_gauge_of_active_calls_moves_with_them() -> None:
    metrics = made()
    seen = []

    for before, after in (("", "none"), ("none", "one"), ("one", "two"), ("two", "")):
        metrics.moved(before, after)
        seen.append([value(metrics, "llm_active_requests", provider=each) for each in ("none", "one", "two")])

    assert seen == [[1, None, None], [0, 1, None], [0, 0, 1], [0, 0, 0]]
    assert value(metrics, "llm_active_requests", provider="") is None


def test_an_attempt_is_counted_whatever_it_brought() -> None:
    metrics = made()

    metrics.attempted("one", 0.25)
    metrics.attempted("one", 0.5, Failure.UPSTREAM_TIMEOUT)
    metrics.stream_broke("one", Failure.UPSTREAM_TRUNCATED)

    assert value(metrics, "llm_provider_requests_total", provider="one") == 2
    assert value(metrics, "llm_provider_latency_seconds_sum", provider="one") == 0.75
    assert value(metrics, "llm_provider_latency_seconds_bucket", provider="one", le="0.25") == 1
    for word in (Failure.UPSTREAM_TIMEOUT, Failure.UPSTREAM_TRUNCATED):
        assert value(metrics, "llm_provider_errors_total", provider="one", error_type=str(word)) == 1


def test_an_answer_is_counted_by_its_template_and_an_invented_method_by_none() -> None:
    metrics = made()

    metrics.http_answered("GET", "/health", 200)
    metrics.http_answered("BREW", "/health", 405)
    metrics.refused("method_not_allowed")

    assert value(metrics, "http_requests_total", method="GET", route="/health", status="200") == 1
    assert value(metrics, "http_requests_total", method="other", route="/health", status="405") == 1
    assert value(metrics, "llm_request_errors_total", error_type="method_not_allowed") == 1


def test_providers_are_up_or_down() -> None:
    metrics = made()
    metrics.providers_up({"one": True, "two": True})

    metrics.providers_up({"one": True, "two": False})

    assert [value(metrics, "llm_provider_up", provider=each) for each in ("one", "two")] == [1, 0]


def test_the_cache_is_asked_when_prometheus_asks() -> None:
    size = CacheSize()
    metrics = made(size)
    assert value(metrics, "llm_cache_keys_total") == 0

    size.keys, size.memory_bytes, size.evictions, size.errors = 1, 2, 3, 4

    names = ("llm_cache_keys_total", "llm_cache_memory_bytes", "llm_cache_evictions_total", "llm_cache_errors_total")
    assert [value(metrics, name) for name in names] == [1, 2, 3, 4]


def test_what_stands_in_front_of_redis_is_told_apart() -> None:
    metrics = made(CacheSize(keys=1, memory_bytes=2, near=CacheSize(keys=3, memory_bytes=4)))

    names = ("llm_cache_keys_total", "llm_cache_memory_bytes", "llm_cache_near_keys", "llm_cache_near_bytes")
    assert [value(metrics, name) for name in names] == [1, 2, 3, 4]
    assert value(made(CacheSize(keys=1)), "llm_cache_near_keys") == 0


def filled() -> Metrics:
    metrics = made()
    odd = 'a"b\\c\nd{}=,# é'
    metrics.call_settled(outcome(provider=odd, seconds_to_first_chunk=0.5, seconds_upstream=0.25))
    metrics.call_settled(outcome(cache=CacheStatus.HIT))
    metrics.attempted(odd, 700.0, Failure.UPSTREAM_TIMEOUT)
    metrics.http_answered("GET", "/v1/models/{model}", 200)
    metrics.refused("internal")
    metrics.moved("", odd)
    metrics.providers_up({odd: True})
    return metrics


def ours(families: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    samples = [each for family in families for each in family.samples]
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for each in samples
        if each.name.startswith(("llm_", "http_"))
    }


def test_both_expositions_are_well_formed_and_say_the_same() -> None:
    metrics = filled()
    text, text_type = metrics.render("*/*")
    open_metrics, open_metrics_type = metrics.render(OPEN_METRICS)

    plain, strict = ours(parse_text(text.decode())), ours(parse_open_metrics(open_metrics.decode()))

    assert text_type.startswith("text/plain; version=0.0.4")
    assert open_metrics_type.startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.endswith(b"# EOF\n")
    assert plain == strict
    assert len(plain) > 4 * len(LATENCY_BUCKETS)
    assert plain["llm_build_info", frozenset({("version", "1.2.3")})] == 1


def test_no_sample_says_when_its_counter_was_made() -> None:
    assert b"_created" not in filled().render(OPEN_METRICS)[0]


@pytest.mark.parametrize("accept", ["", ";;,=", "text/plain;version=9.9.9", "application/openmetrics-text;version"])
def test_whatever_is_accepted_there_is_an_exposition(accept: str) -> None:
    body, content_type = made().render(accept)

    assert b"llm_build_info" in body
    assert content_type


@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_a_version_that_is_no_number_is_not_our_failure(kind: str) -> None:
    body, _ = made().render(f"{kind}; version=x")

    assert b"llm_build_info" in body
