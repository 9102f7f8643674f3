"""What people and machines see of a running gateway: health, metrics, the log, the description."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    answer,
    free_port,
    gateway_process,
)

pytestmark = pytest.mark.e2e

# a machine busy with tests is no subject of these
UNMOVED = {"cpu_threshold": 100, "memory_threshold": 100, "disk_threshold": 100, "event_loop_threshold_ms": 100_000}


@pytest.fixture(scope="module")
def watched(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One good provider and one that nobody listens for; `fail_on: all`."""
    config = {
        "providers": {
            "good": {"base_url": provider.base_url("good")},
            "gone": {"base_url": f"http://127.0.0.1:{free_port()}/v1"},
        },
        "health": UNMOVED | {"fail_on": "all"},
    }
    with gateway_process(tmp_path_factory.mktemp("watched"), config) as process:
        yield process


@pytest.fixture(scope="module")
def calm(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Two good providers that no test makes fail."""
    rows = {name: {"base_url": provider.base_url(f"calm-{name}")} for name in ("primary", "backup")}
    with gateway_process(tmp_path_factory.mktemp("calm"), {"providers": rows, "health": UNMOVED}) as process:
        yield process


def until(gateway: GatewayProcess, status: str) -> "dict[str, object]":
    deadline = time.monotonic() + 15
    while (report := gateway.client.get("/health").json())["status"] != status:
        assert time.monotonic() < deadline, report
        time.sleep(0.1)
    return dict(report)


def test_the_report_has_what_four_guides_promise(calm: GatewayProcess, provider: ProviderProcess) -> None:
    deadline = time.monotonic() + 15
    while (report := calm.client.get("/health").json())["checks"]["models"]["loaded"] < 2:
        assert time.monotonic() < deadline, report  # the lists are read beside the start
        time.sleep(0.1)

    assert report["status"] == "ok"
    assert set(report) >= {"status", "timestamp", "uptime", "version", "endpoints", "providers", "checks"}
    assert report["providers"] == {"primary": True, "backup": True}
    assert report["endpoints"] == {f"{provider.url}/calm-{name}": {"status": "ok"} for name in report["providers"]}
    assert report["timestamp"].endswith("Z")
    assert isinstance(report["uptime"], int)
    assert "redis" not in report
    checks = report["checks"]
    assert set(checks) >= {"cpu_usage", "memory_usage", "disk_usage", "models", "event_loop"}
    assert set(checks["cpu_usage"]) >= {"status", "value", "threshold"}
    assert checks["models"]["loaded"] >= 2


def test_a_provider_that_is_down_degrades_what_tolerates_it(watched: GatewayProcess) -> None:
    report = until(watched, "degraded")

    assert report["providers"] == {"good": True, "gone": False}
    assert watched.client.get("/health").status_code == 200
    assert watched.metric("llm_provider_up", provider="gone") == 0
    assert watched.metric("llm_provider_up", provider="good") == 1
    assert watched.client.get("/health/ready").status_code == 200


def test_by_default_one_provider_that_is_down_fails_the_report_but_not_readiness(
    provider: ProviderProcess, directory: Path
) -> None:
    rows = {"good": provider.base_url("good"), "gone": f"http://127.0.0.1:{free_port()}/v1"}
    config = {"providers": {name: {"base_url": url} for name, url in rows.items()}, "health": UNMOVED}
    with gateway_process(directory, config) as gateway:
        until(gateway, "error")

        assert gateway.client.get("/health").status_code == 503
        assert gateway.client.get("/health/ready").status_code == 200


def test_without_any_provider_that_is_up_it_is_not_ready_but_alive(directory: Path) -> None:
    config = {"providers": {"gone": {"base_url": f"http://127.0.0.1:{free_port()}/v1"}}, "health": UNMOVED}
    with gateway_process(directory, config) as gateway:
        until(gateway, "error")

        assert gateway.client.get("/health/ready").status_code == 503
        assert gateway.client.get("/health/live").status_code == 200


def test_live_traffic_tells_of_a_provider_whose_model_list_looks_well(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    provider.script(model, answer({"error": {"message": "broken"}}, status="500 Oops"))
    config = {
        "providers": {"one": {"base_url": provider.base_url("one")}},
        "retry": {"backoff_seconds": 0.01},
        "health": UNMOVED,
    }
    with gateway_process(directory, config) as gateway:
        until(gateway, "ok")
        assert gateway.chat(f"one/{model}").status_code == 502

        report = until(gateway, "error")
        assert "3 attempts in a row failed" in json.dumps(report["checks"])

        provider.script(model, answer({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}))
        assert gateway.chat(f"one/{model}").status_code == 200
        until(gateway, "ok")


def test_a_provider_without_a_list_of_models_is_not_down_for_that(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    provider.script("models-of-unlisted", answer({"error": "no such path"}, status="404 Not Found"))
    config = {"providers": {"unlisted": {"base_url": provider.base_url("unlisted")}}, "health": UNMOVED}
    with gateway_process(directory, config) as gateway:
        report = until(gateway, "ok")

        assert report["providers"] == {"unlisted": True}
        assert gateway.chat(f"unlisted/{model}").status_code == 200


def test_an_idle_provider_is_asked_for_its_models_only(provider: ProviderProcess, directory: Path) -> None:
    row = directory.name.replace("_", "-")[-40:]
    config = {"providers": {row: {"base_url": provider.base_url(row)}}}
    with gateway_process(directory, config) as gateway:
        for _ in range(20):
            gateway.client.get("/health")

    asked = provider.seen(f"models-of-{row}")["requests"]
    assert {each["path"] for each in asked} == {f"/{row}/v1/models"}
    assert len(asked) <= 4, "one list and one probe at boot, and no storm"


@pytest.mark.parametrize(
    "path", ["/health/live", "/livez", "/health/liveliness", "/health/ready", "/readyz", "/health/readiness"]
)
def test_machines_get_a_word_and_no_caching(calm: GatewayProcess, path: str) -> None:
    response = calm.client.get(path)

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["cache-control"] == "no-store"


def test_metrics_are_told_in_both_formats_and_with_the_guides_names(gateway: GatewayProcess, model: str) -> None:
    gateway.chat(f"primary/{model}")

    text = gateway.client.get("/metrics")
    openmetrics = gateway.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert text.headers["content-type"].startswith("text/plain")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    for bucket in ("0.1", "0.5", "1.0", "2.0", "5.0", "600.0"):
        assert f'llm_request_duration_seconds_bucket{{provider="primary",le="{bucket}"}}' in text.text
    assert "process_resident_memory_bytes" in text.text
    assert "_created" not in text.text


def test_every_call_and_attempt_is_counted_once(gateway: GatewayProcess, model: str) -> None:
    names = [
        ("llm_requests_total", {"provider": "primary", "status": "success"}),
        ("llm_provider_requests_total", {"provider": "primary"}),
        ("llm_request_duration_seconds_count", {"provider": "primary"}),
        ("llm_provider_latency_seconds_count", {"provider": "primary"}),
        ("http_requests_total", {"method": "POST", "route": "/v1/chat/completions", "status": "200"}),
    ]
    before = [gateway.metric(name, **labels) for name, labels in names]

    for number in range(3):
        gateway.chat(f"primary/{model}", seed=number, stream=number == 2)

    assert [gateway.metric(name, **labels) for name, labels in names] == [value + 3 for value in before]
    assert gateway.metric("llm_active_requests", provider="primary") == 0
    assert gateway.metric("llm_active_requests", provider="none") == 0


def test_the_log_has_a_line_for_each_call_and_never_what_was_said(gateway: GatewayProcess, model: str) -> None:
    body = {"model": f"primary/{model}", "messages": [{"role": "user", "content": "tell-nobody-my-secret"}]}
    response = gateway.client.post("/v1/chat/completions", json=body, headers={"x-request-id": "mine-1"})

    (line,) = gateway.log_of("mine-1")

    assert response.headers["x-request-id"] == "mine-1"
    assert line["event"] == "call"
    assert (line["status"], line["provider"], line["model"]) == ("ok", "primary", f"primary/{model}")
    assert (line["prompt_tokens"], line["completion_tokens"], line["cache"]) == (7, 3, "miss")
    assert line["ms"] >= line["upstream_ms"] > 0
    assert "tell-nobody" not in gateway.log_text()
    assert "Hello there" not in gateway.log_text()


def test_unknown_models_make_no_new_series(gateway: GatewayProcess, model: str) -> None:
    def series() -> int:
        return len([line for line in gateway.client.get("/metrics").text.splitlines() if not line.startswith("#")])

    gateway.chat(f"unknown-{model}-first")
    series()  # reading makes series of its own, once
    before = series()

    codes = {gateway.chat(f"unknown-{model}-{number}").json()["error"]["code"] for number in range(20)}

    assert codes == {"model_not_found"}
    assert series() == before


def test_the_description_documents_every_route(gateway: GatewayProcess) -> None:
    document = gateway.client.get("/openapi.json").json()

    assert document["openapi"].startswith("3.")
    assert set(document["paths"]) >= {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/v1/models/{model}",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
    }
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations))
