"""What a statsd server receives of a gateway that lived and died is what /metrics said."""

import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    answer,
    event,
    free_port,
    gateway_process,
    stream,
)
from tests.support.statsd import Agent, Labels

pytestmark = pytest.mark.e2e

MOVING = ("llm_statsd_", "llm_scrape_", "llm_metric_", "llm_event_loop_", "llm_health_", "llm_log_", "system_")
"""Metrics that go on while nobody calls."""
NOT_SCRIPTED = {"/metrics", "/health/live"}
EXACT = {"counter": ("_total",), "histogram": ("_count", "_sum")}


@pytest.fixture(params=["udp", "unix"])
def agent(request: pytest.FixtureRequest, directory: Path) -> "Agent":
    return Agent(directory / "s" if request.param == "unix" else None)


def traffic(gateway: GatewayProcess, provider: ProviderProcess, model: str) -> int:
    """Calls that end in every way; how many."""
    provider.script(f"{model}-bad", answer({"error": {"message": "no"}}, status="400 Bad Request"))
    provider.script(f"{model}-cut", stream(event("a"), {"abort": True}))
    for number in range(20):
        assert gateway.chat(f"one/{model}", temperature=number).status_code == 200
    for _ in range(5):
        assert gateway.chat(f"one/{model}", temperature=1).headers["x-signalbox-cache"] == "hit"
    assert gateway.chat(f"one/{model}-bad").status_code == 400
    for _ in range(3):
        assert gateway.chat(f"one/{model}", stream=True, stream_options={"include_usage": True}).status_code == 200
    assert gateway.chat(f"one/{model}-cut", stream=True).status_code == 200
    assert gateway.client.post("/v1/chat/completions", content=b"{").status_code == 400
    assert gateway.client.get("/nowhere").status_code == 404
    return 20 + 5 + 1 + 3 + 1


def scraped(text: str) -> dict[tuple[str, Labels], float]:
    """Counters, and count and sum of histograms, of all that stands still."""
    found = {}
    for family in parse_text(text):
        for sample in family.samples:
            if family.name.startswith(MOVING) or not sample.name.endswith(EXACT.get(family.type, ("never",))):
                continue
            if sample.value and sample.labels.get("route") not in NOT_SCRIPTED:
                found[f"signalbox.{sample.name}", tuple(sorted(sample.labels.items()))] = sample.value
    return {key: value for key, value in found.items() if key[0].split(".")[1].startswith(("llm_", "http_", "model_"))}


def test_all_counters_are_those_of_the_exposition(
    agent: Agent, provider: ProviderProcess, model: str, directory: Path
) -> None:
    config = {
        "providers": {"one": {"base_url": provider.base_url("one")}},
        "statsd": {"address": agent.address, "interval_seconds": 0.2},
    }
    with agent, gateway_process(directory / "gateway", config) as gateway:
        calls = traffic(gateway, provider, model)
        text = gateway.client.get("/metrics").text
        assert gateway.stop() == 0

    received = {key: value for key, value in agent.counters().items() if not key[0].startswith(_prefixed(MOVING))}
    received = {key: value for key, value in received.items() if dict(key[1]).get("route") not in NOT_SCRIPTED}
    expected = scraped(text)
    assert received.keys() == expected.keys()
    assert received == {key: pytest.approx(value, rel=1e-9) for key, value in expected.items()}
    assert agent.total("signalbox.llm_requests_total") == calls
    assert len(agent.timings("signalbox.llm_request_duration_seconds")) == calls
    assert len(agent.timings("signalbox.llm_time_to_first_chunk_seconds")) == 2  # the others were hits
    assert sum(agent.timings("signalbox.llm_request_duration_seconds")) == pytest.approx(
        sum(value for (name, _), value in expected.items() if name == "signalbox.llm_request_duration_seconds_sum")
    )


def test_gauges_and_the_size_of_datagrams(agent: Agent, directory: Path) -> None:
    config = {"statsd": {"address": agent.address, "interval_seconds": 0.2, "prefix": "llm.", "tags": ["env:test"]}}
    with agent, gateway_process(directory / "gateway", config) as gateway:
        agent.until("llm.llm_provider_up")
        gateway.chat("demo")
        dropped = gateway.metric("llm_statsd_packets_total", result="dropped")
        assert gateway.stop() == 0

    gauges = agent.gauges()
    env = ("env", "test")
    assert gauges["llm.llm_provider_up", (env, ("provider", "demo"))] == 1
    assert gauges["llm.llm_active_requests", (env, ("provider", "demo"))] == 0
    assert gauges["llm.llm_cache_keys_total", (env,)] == 1
    assert dropped == 0
    assert max(map(len, agent.datagrams)) <= (8192 if agent.address.startswith("unix") else 1432)


def test_plain_statsd_has_no_tags_and_milliseconds(directory: Path) -> None:
    with Agent() as agent:
        host, _, port = agent.address.rpartition(":")
        with gateway_process(directory, environ={"STATSD_HOST": host, "STATSD_PORT": port}) as gateway:
            gateway.chat("demo")
            seconds = gateway.metric("llm_request_duration_seconds_sum", provider="demo")
            assert gateway.stop() == 0

    assert {line.tags for line in agent.lines()} == {()}
    assert agent.total("signalbox.llm_requests_total.demo.success") == 1
    assert agent.timings("signalbox.llm_request_duration.demo") == [pytest.approx(seconds * 1000, abs=0.001)]


def test_an_absent_agent_costs_no_call_and_one_line(directory: Path) -> None:
    config = {"statsd": {"address": f"127.0.0.1:{free_port()}", "interval_seconds": 0.1}}
    with gateway_process(directory, config) as gateway:
        deadline = time.monotonic() + 20
        while gateway.metric("llm_statsd_packets_total", result="dropped") < 10:
            assert gateway.chat("demo").status_code == 200
            assert time.monotonic() < deadline
            time.sleep(0.1)
        said = [line for line in gateway.log() if line.get("logger") == "signalbox.statsd"]
        assert gateway.stop() == 0

    assert [(line["level"], line["reason"]) for line in said] == [("warning", "Connection refused")]


def test_without_an_address_nothing_is_sent(directory: Path) -> None:
    with gateway_process(directory) as gateway:
        gateway.chat("demo")

        assert gateway.metric("llm_statsd_packets_total", result="sent") == 0
        assert gateway.metric("llm_statsd_packets_total", result="dropped") == 0


def _prefixed(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"signalbox.{each}" for each in names)
