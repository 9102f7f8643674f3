"""Without a collector, or with a bad one, calls are what they were."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.collector import collector
from tests.support.processes import PATIENCE_SECONDS, GatewayProcess, ProviderProcess, free_port, gateway_process

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = f"00-{TRACE}-b7ad6b7169203331-01"
TROUBLE = "telemetry does not get through"


def config(provider: ProviderProcess, **telemetry: Any) -> dict[str, Any]:
    return {"providers": {"primary": {"base_url": provider.base_url("primary")}}, "telemetry": telemetry}


def counted(gateway: GatewayProcess, name: str, least: int) -> float:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (value := gateway.metric(f"llm_spans_{name}_total")) < least:
        assert time.monotonic() < deadline, f"{value} spans {name}"
        time.sleep(0.05)
    return value


def test_off_what_the_caller_sent_goes_on_as_it_came(provider: ProviderProcess, directory: Path, model: str) -> None:
    with gateway_process(directory, config(provider)) as gateway:
        reply = gateway.chat(f"primary/{model}", headers={"traceparent": SENT, "tracestate": "a=1"})
        plain = gateway.chat(f"primary/{model}", messages=[{"role": "user", "content": "other"}])
        (line,) = gateway.log_of(reply.headers["x-request-id"])
        exposition = gateway.client.get("/metrics", headers={"accept": "application/openmetrics-text"}).text

    first, second = [each["headers"] for each in provider.seen(model)["requests"]]
    assert (first["traceparent"], first["tracestate"]) == (SENT, "a=1")
    assert reply.headers["x-trace-id"] == line["trace_id"] == TRACE
    assert f'trace_id="{TRACE}"' in exposition
    assert "traceparent" not in second
    assert "x-trace-id" not in plain.headers


def test_told_not_to_propagate_it_tells_providers_nothing(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    with gateway_process(directory, config(provider, propagate=False)) as gateway:
        reply = gateway.chat(f"primary/{model}", headers={"traceparent": SENT, "tracestate": "a=1"})

    (sent,) = [each["headers"] for each in provider.seen(model)["requests"]]
    assert reply.headers["x-trace-id"] == TRACE
    assert not {"traceparent", "tracestate"} & sent.keys()


def test_a_ratio_of_nothing_exports_nothing_and_still_hands_on(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    with collector() as own:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": own.url, "OTEL_TRACES_SAMPLER_ARG": "0"}
        with gateway_process(directory, config(provider), environ=environ) as gateway:
            reply = gateway.chat(f"primary/{model}")
            gateway.stop()

    (sent,) = [each["headers"] for each in provider.seen(model)["requests"]]
    assert sent["traceparent"].startswith(f"00-{reply.headers['x-trace-id']}-")
    assert sent["traceparent"].endswith("-00")
    assert own.spans == []
    assert own.points


def test_only_metrics_leave_the_callers_trace_alone(provider: ProviderProcess, directory: Path, model: str) -> None:
    with (
        collector() as own,
        gateway_process(directory, config(provider, endpoint=own.url, traces=False)) as gateway,
    ):
        gateway.chat(f"primary/{model}", headers={"traceparent": SENT})
        gateway.stop()

    (sent,) = [each["headers"] for each in provider.seen(model)["requests"]]
    assert sent["traceparent"] == SENT
    assert own.spans == []
    assert own.point("gen_ai.client.inference.duration", {"gen_ai.provider.name": "primary"}).count == 1


@pytest.mark.parametrize("wrong", ["nobody", "refuses", "garbage"])
def test_a_bad_collector_costs_spans_and_one_line(
    provider: ProviderProcess, directory: Path, model: str, wrong: str
) -> None:
    with collector() as own:
        own.answer = lambda: (500, b"no") if wrong == "refuses" else (99999, b"\0")
        url = f"http://127.0.0.1:{free_port()}" if wrong == "nobody" else own.url
        made = config(provider, endpoint=url, timeout_seconds=0.3, metrics=False)
        with gateway_process(directory, made) as gateway:
            for number in range(3):
                fresh = [{"role": "user", "content": str(number)}]
                assert gateway.chat(f"primary/{model}", messages=fresh).status_code == 200
                counted(gateway, "dropped", 5 * (number + 1))
            lines = [line for line in gateway.log() if line["event"] == TROUBLE]
            assert gateway.metric("llm_spans_exported_total") == 0

    assert len(lines) == 1
    assert (lines[0]["what"], lines[0]["endpoint"]) == ("traces", url)
    assert lines[0]["detail"]


def test_what_was_lost_and_what_arrived_are_all_there_were(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    with collector() as own:
        gate = threading.Event()

        def held() -> tuple[int, bytes]:
            gate.wait(PATIENCE_SECONDS)
            return 200, b""

        own.answer = held
        made = config(provider, endpoint=own.url, queue=4, metrics=False)
        with gateway_process(directory, made) as gateway:
            replies = [gateway.chat(f"primary/{model}", headers={"cache-control": "no-cache"}) for _ in range(40)]
            dropped = counted(gateway, "dropped", 1)
            gate.set()
            exported = counted(gateway, "exported", 1)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while dropped + exported < 40 * 4 and time.monotonic() < deadline:
                exported = gateway.metric("llm_spans_exported_total")
                dropped = gateway.metric("llm_spans_dropped_total")

    assert {reply.status_code for reply in replies} == {200}
    assert dropped + exported == 40 * 4  # no-cache is not looked up
    assert len(own.spans) == exported


def test_a_stop_sends_what_is_there_and_does_not_wait_for_a_collector_that_hangs(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    with collector() as own:
        with gateway_process(directory / "one", config(provider, endpoint=own.url)) as gateway:
            reply = gateway.chat(f"primary/{model}")
            assert gateway.stop() == 0
        assert len(own.of(reply.headers["x-trace-id"])) == 5
        gate = threading.Event()
        own.answer = lambda: (200 + gate.wait(PATIENCE_SECONDS * 2), b"")
        with gateway_process(directory / "two", config(provider, endpoint=own.url, timeout_seconds=60)) as gateway:
            gateway.chat(f"primary/{model}")
            assert gateway.stop() == 0  # within the patience of the test, which the collector has not
        gate.set()
