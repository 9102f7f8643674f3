"""The cache as callers see it, in memory and in a real Redis, well and in trouble."""

from pathlib import Path

import pytest

from tests.support.gateways import ask_twice, gateway_on
from tests.support.processes import GatewayProcess, ProviderProcess, redis_process
from tests.support.redis_servers import needs_redis

pytestmark = pytest.mark.e2e


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
