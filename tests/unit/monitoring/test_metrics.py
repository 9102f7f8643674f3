"""What a call, an attempt and an answer leave in the metrics."""

import asyncio
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from app.cache.base import CacheSize
from app.domain.errors import Failure
from app.domain.llm import CacheStatus
from app.domain.usage import TokenUsage
from app.monitoring.backlog import Backlog
from app.monitoring.metrics import LATENCY_BUCKETS, Metrics
from tests.support.metrics import made, outcome, passage, value

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
SHARES = ("0.5", "0.95", "0.99")


def test_a_call_counts_itself_its_time_and_its_tokens() -> None:
    metrics = made()

    metrics.calls.settled(outcome(cache=CacheStatus.MISS))

    assert value(metrics, "llm_requests_total", provider="one", status="success") == 1
    assert value(metrics, "llm_request_duration_seconds_sum", provider="one") == 1
    assert value(metrics, "llm_token_usage_total", provider="one", type="prompt") == 5
    assert value(metrics, "llm_token_usage_total", provider="one", type="completion") == 7
    assert value(metrics, "llm_cache_misses_total") == 1
    assert value(metrics, "llm_cache_hits_total") == 0
    assert value(metrics, "llm_time_to_first_chunk_seconds_count", provider="one") is None


def test_a_call_that_failed_is_an_error() -> None:
    metrics = made()

    metrics.calls.settled(outcome(error=Failure.UPSTREAM_ERROR, usage=TokenUsage()))

    assert value(metrics, "llm_requests_total", provider="one", status="error") == 1
    assert value(metrics, "llm_requests_total", provider="one", status="success") is None
    assert value(metrics, "llm_token_usage_total", provider="one", type="prompt") is None
    assert value(metrics, "llm_cache_bypasses_total") == 1


@pytest.mark.parametrize("cache", [CacheStatus.HIT, CacheStatus.COALESCED])
def test_a_shared_answer_is_a_hit_and_its_tokens_were_saved_and_not_used(cache: CacheStatus) -> None:
    metrics = made()

    metrics.calls.settled(outcome(cache=cache, seconds_to_first_chunk=0.5))

    assert value(metrics, "llm_cache_hits_total") == 1
    assert value(metrics, "llm_cache_misses_total") == value(metrics, "llm_cache_bypasses_total") == 0
    assert value(metrics, "llm_cache_tokens_saved_total", type="prompt") == 5
    assert value(metrics, "llm_cache_tokens_saved_total", type="completion") == 7
    assert value(metrics, "llm_token_usage_total", provider="one", type="prompt") is None
    assert value(metrics, "llm_requests_total", provider="one", status="success") == 1
    assert value(metrics, "model_inference_total", model="m") is None


def test_the_gauge_of_active_calls_moves_with_them() -> None:
    metrics = made()
    seen = []

    for before, after in (("", "none"), ("none", "one"), ("one", "two"), ("two", "")):
        metrics.providers.moved(before, after, "m")
        seen.append([value(metrics, "llm_active_requests", provider=each) for each in ("none", "one", "two")])

    assert seen == [[1, None, None], [0, 1, None], [0, 0, 1], [0, 0, 0]]
    assert value(metrics, "llm_endpoint_active_requests", provider="one", model="m") == 0
    assert value(metrics, "llm_endpoint_active_requests", provider="none", model="m") is None
    assert value(metrics, "llm_active_requests", provider="") is None


def test_an_attempt_is_counted_whatever_it_brought() -> None:
    metrics = made()

    metrics.providers.attempted("one", 0.25)
    metrics.providers.attempted("one", 0.5, Failure.UPSTREAM_TIMEOUT)
    metrics.providers.stream_broke("one", Failure.UPSTREAM_TRUNCATED)

    assert value(metrics, "llm_provider_requests_total", provider="one") == 2
    assert value(metrics, "llm_provider_latency_seconds_sum", provider="one") == 0.75
    assert value(metrics, "llm_provider_latency_seconds_bucket", provider="one", le="0.25") == 1
    for word in (Failure.UPSTREAM_TIMEOUT, Failure.UPSTREAM_TRUNCATED):
        assert value(metrics, "llm_provider_errors_total", provider="one", error_type=str(word)) == 1


def test_providers_are_up_or_down() -> None:
    metrics = made()
    metrics.providers.stands("one", is_up=True)
    metrics.providers.stands("two", is_up=True)

    metrics.providers.stands("two", is_up=False)

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
    metrics.calls.settled(outcome(provider=odd, seconds_to_first_chunk=0.5, seconds_upstream=0.25))
    metrics.calls.settled(outcome(cache=CacheStatus.HIT))
    metrics.providers.attempted(odd, 700.0, Failure.UPSTREAM_TIMEOUT)
    metrics.answers.passed(passage(method="GET", route="/v1/models/{model}"))
    metrics.answers.refused("other", "unread", 400, "internal")
    metrics.providers.moved("", odd, "m")
    metrics.providers.stands(odd, is_up=True)
    return metrics


def ours(families: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    samples = [each for family in families for each in family.samples]
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for each in samples
        if each.name.startswith(("llm_", "http_", "model_"))
    }


def test_both_expositions_are_well_formed_and_say_the_same() -> None:
    metrics = filled()
    text, text_type = metrics.render("*/*")
    open_metrics, open_metrics_type = metrics.render(OPEN_METRICS)

    plain, strict = ours(parse_text(text.decode())), ours(parse_open_metrics(open_metrics.decode()))
    plain = {sample: value for sample, value in plain.items() if not any(name == "quantile" for name, _ in sample[1])}
    for itself in [sample for sample in plain if sample[0].startswith(("llm_scrape", "llm_metric_series"))]:
        del plain[itself], strict[itself]  # the second reading saw the first

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


@pytest.mark.parametrize(("error", "ending"), [(None, "complete"), (Failure.UPSTREAM_TRUNCATED, "upstream_truncated")])
def test_a_stream_says_how_it_went_and_how_it_ended(error: Failure | None, ending: str) -> None:
    metrics = made()

    metrics.calls.settled(
        outcome(
            stream=True,
            seconds=4.0,
            seconds_to_first_chunk=1.0,
            chunks=8,
            chunk_bytes=800,
            largest_gap=0.75,
            error=error,
            cache=CacheStatus.MISS,
        )
    )

    assert value(metrics, "llm_streams_total", provider="one", ending=ending) == 1
    assert value(metrics, "llm_stream_chunks_total", provider="one") == 8
    assert value(metrics, "llm_stream_bytes_total", provider="one") == 800
    assert value(metrics, "llm_time_to_first_chunk_seconds_sum", provider="one") == 1
    assert value(metrics, "llm_stream_largest_gap_seconds_sum", provider="one") == 0.75
    assert value(metrics, "llm_time_per_output_token_seconds_sum", provider="one") == 0.5  # 3 s for 6 tokens more
    assert value(metrics, "model_time_to_first_token_seconds_sum", model="m") == 1


def test_a_model_has_its_inferences_tokens_errors_and_cost() -> None:
    metrics = made()
    paid = TokenUsage(prompt_tokens=5, completion_tokens=7, cost_nano_usd=2_000_000)

    metrics.calls.settled(outcome(seconds=3.5, usage=paid))
    metrics.calls.settled(outcome(error=Failure.UPSTREAM_TIMEOUT, usage=TokenUsage()))
    metrics.calls.settled(outcome(provider="none", place="none", error=Failure.MODEL_NOT_FOUND, usage=TokenUsage()))

    assert value(metrics, "model_inference_total", model="m") == 2
    assert value(metrics, "model_inference_errors_total", model="m", error_type="upstream_timeout") == 1
    assert value(metrics, "model_tokens_generated_total", model="m") == 7
    assert value(metrics, "model_tokens_per_second_sum", model="m") == 2
    assert value(metrics, "llm_model_tokens_total", provider="one", model="m", type="prompt") == 5
    assert value(metrics, "llm_cost_usd_total", provider="one", model="m") == 0.002
    assert value(metrics, "llm_active_models") == 1
    assert value(metrics, "llm_active_keys") == 1


def test_quantiles_stand_beside_the_buckets_in_the_classic_text_only() -> None:
    metrics = made()
    for seconds in range(1, 101):
        metrics.calls.settled(outcome(seconds=seconds / 100))
        metrics.answers.passed(passage(finished=10 + seconds / 100))

    found = {share: value(metrics, "model_inference_duration_seconds", model="m", quantile=share) for share in SHARES}
    assert found == {share: pytest.approx(float(share), rel=0.03) for share in SHARES}
    assert value(metrics, "http_request_duration_seconds", quantile="0.95") == pytest.approx(0.95, rel=0.03)
    assert b"quantile=" not in metrics.render(OPEN_METRICS)[0]


def test_a_trace_is_the_exemplar_of_its_bucket() -> None:
    metrics = made()
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    metrics.calls.settled(outcome(seconds=0.3, trace_id=trace_id, sampled=True))

    exemplars = [
        (sample.labels["le"], sample.exemplar.labels, sample.exemplar.value)
        for family in parse_open_metrics(metrics.render(OPEN_METRICS)[0].decode())
        for sample in family.samples
        if sample.exemplar
    ]
    assert exemplars == [("0.5", {"trace_id": trace_id}, 0.3)]
    assert b"trace_id" not in metrics.render("")[0]


def test_a_family_that_is_full_says_so() -> None:
    metrics = Metrics(cache=CacheSize, version="1", max_series=100)

    for number in range(150):
        metrics.providers.chosen(f"p{number}", "route")

    assert value(metrics, "llm_routing_decisions_total", provider="other", reason="other") == 50
    assert value(metrics, "llm_metric_series", family="llm_routing_decisions") == 101
    assert value(metrics, "llm_metric_overflows_total", family="llm_routing_decisions") == 50


async def test_who_asks_while_the_text_is_made_gets_what_the_others_get() -> None:
    metrics = filled()

    first, second, other = await asyncio.gather(metrics.scrape(""), metrics.scrape(""), metrics.scrape(OPEN_METRICS))

    assert first is second
    assert first[0] != other[0]
    assert value(metrics, "llm_scrape_duration_seconds_count") == 2
    assert (await metrics.scrape(""))[0] != first[0]


async def test_what_is_counted_late_is_counted_before_it_is_read() -> None:
    metrics = made()
    late = Backlog(metrics.calls.settled_all)
    metrics.before_reading.append(late.work_off)

    late.add(outcome())

    assert value(metrics, "llm_requests_total", provider="one", status="success") == 1


def test_who_shared_another_calls_failure_made_no_inference() -> None:
    metrics = made()

    metrics.calls.settled(outcome(error=Failure.UPSTREAM_ERROR, usage=TokenUsage()))
    for _ in range(3):
        metrics.calls.settled(outcome(error=Failure.UPSTREAM_ERROR, usage=TokenUsage(), place="none"))

    assert value(metrics, "llm_requests_total", provider="one", status="error") == 4
    assert value(metrics, "model_inference_total", model="m") == 1
    assert value(metrics, "model_inference_errors_total", model="m", error_type="upstream_error") == 1


@pytest.mark.parametrize("version", ["2.0.0", "1_0.0", "1.0.0.beta"])
def test_the_version_that_is_told_is_the_one_that_is_written(version: str) -> None:
    _, content_type = made().render(f"application/openmetrics-text; version={version}")

    assert content_type in {OPEN_METRICS, "text/plain; version=0.0.4; charset=utf-8"}
