"""The cache as callers see it, in memory and in a real Redis, well and in trouble."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    answer,
    event,
    free_port,
    gateway_process,
    redis_process,
    redis_server,
    stream,
)

pytestmark = pytest.mark.e2e
needs_redis = pytest.mark.skipif(redis_server() is None, reason="no redis-server on this machine")


@contextmanager
def gateway_on(provider: ProviderProcess, directory: Path, **cache: Any) -> Iterator[GatewayProcess]:
    config = {"providers": {"primary": {"base_url": provider.base_url("primary")}}, "cache": cache}
    with gateway_process(directory, config) as process:
        yield process


def ask_twice(gateway: GatewayProcess, model: str, **fields: Any) -> list[str]:
    return [gateway.chat(f"primary/{model}", **fields).headers["x-signalbox-cache"] for _ in range(2)]


@pytest.mark.parametrize("streaming", [False, True])
def test_an_answer_is_served_again_and_says_so(
    gateway: GatewayProcess,
    provider: ProviderProcess,
    model: str,
    *,
    streaming: bool,
) -> None:
    hits = gateway.metric("llm_cache_hits_total")
    misses = gateway.metric("llm_cache_misses_total")
    saved = gateway.metric("llm_cache_tokens_saved_total", type="completion")
    used = gateway.metric("llm_token_usage_total", provider="primary", type="completion")

    first, second = (gateway.chat(f"primary/{model}", stream=streaming) for _ in range(2))

    assert first.text == second.text
    assert (first.headers["x-signalbox-cache"], first.headers["cache-status"]) == ("miss", "signalbox; fwd=uri-miss")
    assert second.headers["x-signalbox-cache"] == "hit"
    assert second.headers["cache-status"].startswith("signalbox; hit; ttl=")
    assert second.headers["age"] in {"0", "1"}
    assert second.headers["x-signalbox-provider"] == "primary"
    assert "x-signalbox-attempts" not in second.headers
    assert len(provider.seen(model)["requests"]) == 1
    assert gateway.metric("llm_cache_hits_total") == hits + 1
    assert gateway.metric("llm_cache_misses_total") == misses + 1
    assert gateway.metric("llm_cache_tokens_saved_total", type="completion") == saved + 3
    assert gateway.metric("llm_token_usage_total", provider="primary", type="completion") == used + 3


def test_a_stored_stream_tells_its_usage_to_whoever_asks_for_it(gateway: GatewayProcess, model: str) -> None:
    gateway.chat(f"primary/{model}", stream=True)

    silent = gateway.chat(f"primary/{model}", stream=True)
    told = gateway.chat(f"primary/{model}", stream=True, stream_options={"include_usage": True})

    assert (silent.headers["x-signalbox-cache"], told.headers["x-signalbox-cache"]) == ("hit", "hit")
    assert ('"total_tokens"' in silent.text, '"total_tokens"' in told.text) == (False, True)


def test_controls_in_headers_and_body_are_obeyed_and_do_not_reach_the_provider(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    bypasses = gateway.metric("llm_cache_bypasses_total")
    gateway.chat(f"primary/{model}")

    statuses = [
        gateway.chat(f"primary/{model}", headers={"cache-control": "no-cache"}).headers["x-signalbox-cache"],
        gateway.chat(f"primary/{model}", cache={"no-cache": True}).headers["x-signalbox-cache"],
        gateway.chat(f"primary/{model}").headers["x-signalbox-cache"],
    ]

    assert statuses == ["bypass", "bypass", "hit"]
    assert gateway.metric("llm_cache_bypasses_total") == bypasses + 2
    assert all("cache" not in body for body in provider.bodies(model))


def test_only_if_cached_answers_504_and_asks_nobody(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    response = gateway.chat(f"primary/{model}", headers={"cache-control": "only-if-cached"})

    assert (response.status_code, response.json()["error"]["code"]) == (504, "not_found")
    assert provider.seen(model)["requests"] == []


def test_what_was_cut_off_by_its_length_is_not_stored(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    document = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "length"}]}
    provider.script(model, answer(document))
    provider.script(f"{model}-s", stream(event("x", "length"), b"data: [DONE]\n\n"))

    assert ask_twice(gateway, model) == ["miss", "miss"]
    gateway.chat(f"primary/{model}-s", stream=True)
    assert gateway.chat(f"primary/{model}-s", stream=True).headers["x-signalbox-cache"] == "miss"


def test_embeddings_are_stored(gateway: GatewayProcess, model: str) -> None:
    body = {"model": f"primary/{model}", "input": ["a", "b"]}

    statuses = [gateway.client.post("/v1/embeddings", json=body).headers["x-signalbox-cache"] for _ in range(2)]

    assert statuses == ["miss", "hit"]


def test_the_least_used_answers_make_room(provider: ProviderProcess, directory: Path, model: str) -> None:
    with gateway_on(provider, directory, max_bytes=4000) as gateway:
        for number in range(10):
            gateway.chat(f"primary/{model}", seed=number)

        assert gateway.metric("llm_cache_evictions_total") > 0
        assert gateway.metric("llm_cache_memory_bytes") <= 4000
        assert gateway.metric("llm_cache_keys_total") < 10


def test_a_cache_that_is_off_stores_and_shares_nothing(provider: ProviderProcess, directory: Path, model: str) -> None:
    with gateway_on(provider, directory, enabled=False) as gateway:
        assert ask_twice(gateway, model) == ["bypass", "bypass"]


@needs_redis
def test_two_gateways_share_what_redis_keeps_and_a_restart_loses_nothing(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    with redis_process(directory) as (_, url):
        with gateway_on(provider, directory / "one", url=url) as one:
            assert ask_twice(one, model) == ["miss", "hit"]
            assert "Redis at 127.0.0.1" in one.banner
            assert one.client.get("/health").json()["redis"] is True
        with gateway_on(provider, directory / "two", url=url) as two:
            assert two.chat(f"primary/{model}").headers["x-signalbox-cache"] == "hit"


@needs_redis
def test_garbage_under_our_key_is_a_miss(provider: ProviderProcess, directory: Path, model: str) -> None:
    with redis_process(directory) as (_, url), gateway_on(provider, directory, url=url) as gateway:
        gateway.chat(f"primary/{model}")
        client = redis.Redis.from_url(url)
        wait_for(lambda: client.keys("signalbox:cache:*"))
        (key,) = client.keys("signalbox:cache:*")
        client.set(key, b"\x00garbage")

        response = gateway.chat(f"primary/{model}")

        assert (response.status_code, response.headers["x-signalbox-cache"]) == (200, "miss")
        assert gateway.metric("llm_cache_errors_total") == 1
        client.close()


@needs_redis
def test_a_redis_that_is_full_costs_no_answer(provider: ProviderProcess, directory: Path, model: str) -> None:
    full = ("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    with redis_process(directory, *full) as (_, url), gateway_on(provider, directory, url=url) as gateway:
        gateway.chat(f"primary/{model}")
        wait_for(lambda: gateway.metric("llm_cache_errors_total") >= 1)

        response = gateway.chat(f"primary/{model}")

        assert (response.status_code, response.headers["x-signalbox-cache"]) == (200, "miss")


@needs_redis
def test_a_redis_that_evicts_only_costs_hits(provider: ProviderProcess, directory: Path, model: str) -> None:
    small = ("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
    with redis_process(directory, *small) as (_, url), gateway_on(provider, directory, url=url) as gateway:
        client = redis.Redis.from_url(url)
        for number in range(40):
            assert gateway.chat(f"primary/{model}", seed=number).status_code == 200
            client.set(f"theirs-{number}", b"x" * 100_000)

        assert client.info("stats")["evicted_keys"] > 0
        assert gateway.chat(f"primary/{model}", seed=0).status_code == 200
        client.close()


@needs_redis
def test_a_redis_that_hangs_or_dies_under_load_costs_no_answer(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    with redis_process(directory) as (server, url), gateway_on(provider, directory, url=url) as gateway:
        assert ask_twice(gateway, model) == ["miss", "hit"]

        server.send_signal(signal.SIGSTOP)
        hanging = [gateway.chat(f"primary/{model}", seed=number).status_code for number in range(10)]
        wait_for(lambda: gateway.client.get("/health").json()["redis"] is False)
        report = gateway.client.get("/health")
        server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait()
        dead = [gateway.chat(f"primary/{model}", seed=number).status_code for number in range(10)]

        assert hanging + dead == [200] * 20
        assert (report.status_code, report.json()["status"], report.json()["redis"]) == (200, "degraded", False)
        assert gateway.metric("llm_cache_errors_total") >= 3
        assert gateway.client.get("/health/ready").status_code == 200


@needs_redis
def test_what_was_just_read_outlives_redis_for_its_short_time(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    with redis_process(directory) as (server, url), gateway_on(provider, directory, url=url, l1_seconds=600) as gateway:
        assert ask_twice(gateway, model) == ["miss", "hit"]
        assert gateway.metric("llm_cache_near_keys") == 1

        server.kill()
        server.wait()

        assert ask_twice(gateway, model) == ["hit", "hit"]
        assert len(provider.seen(model)["requests"]) == 1


def test_a_redis_that_was_never_there_costs_no_answer(provider: ProviderProcess, directory: Path, model: str) -> None:
    with gateway_on(provider, directory, url=f"redis://:secret-pw@127.0.0.1:{free_port()}/0") as gateway:
        assert gateway.chat(f"primary/{model}").status_code == 200
        wait_for(lambda: gateway.metric("llm_cache_errors_total") >= 2)  # read in vain, written in vain

        assert gateway.chat(f"primary/{model}").headers["x-signalbox-cache"] == "miss"
        assert gateway.client.get("/health").json()["status"] == "degraded"
        assert "secret-pw" not in gateway.banner + gateway.log_text() + gateway.client.get("/health").text


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)
