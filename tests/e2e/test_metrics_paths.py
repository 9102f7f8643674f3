"""One registry at every guide's path: as text for Prometheus, as JSON in the guides' shapes, or not at all."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import FAST
from tests.support.failures import INVALID, METHOD_NOT_ALLOWED, NOT_FOUND, Row, check_common
from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, gateway_process, stream
from tests.support.provider_faults import DONE, GATE

pytestmark = pytest.mark.e2e

EXPOSITIONS = ["/metrics", "/metrics/prometheus", "/monitoring/metrics", "/api/usage?format=prometheus"]
SUMMARIES = ["/metrics?format=json", "/monitoring/metrics?format=json", "/monitoring/metrics/detailed"]
OWN = ["/status/metrics", "/status/metrics/", "/internal/prom?format=prometheus"]
PROMETHEUS = {
    "accept": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "accept-encoding": "gzip",
    "user-agent": "Prometheus/3.5.0",
    "x-prometheus-scrape-timeout-seconds": "10",
}


@pytest.fixture(scope="module")
def told(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with paths of the operator's own."""
    base = provider.url.replace("http://", "http://user:pass-word@")
    config = {
        "providers": {"told": {"base_url": f"{base}/told/v1", "timeouts": FAST}},
        "metrics": {"paths": ["/status/metrics", "/metrics"]},
        "health": {"paths": ["/status/health"]},
        "retry": {"max_retries": 0},
    }
    environ = {"METRICS_ENDPOINT": "/internal/prom", "PROM_METRICS_PATH": "/metrics/prometheus"}
    with gateway_process(tmp_path_factory.mktemp("told"), config, environ=environ) as process:
        yield process


@pytest.mark.parametrize("path", [*EXPOSITIONS, *OWN])
def test_every_path_is_told_as_text(told: GatewayProcess, path: str) -> None:
    response = told.client.get(path, headers={"accept-encoding": "identity"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["vary"] == "Accept, Accept-Encoding"
    assert "content-encoding" not in response.headers
    assert "\nllm_build_info{" in response.text


@pytest.mark.parametrize("path", [*EXPOSITIONS, *OWN])
def test_prometheus_gets_what_it_asks_for(told: GatewayProcess, path: str) -> None:
    with told.client.stream("GET", path, headers=PROMETHEUS) as response:
        packed = b"".join(response.iter_raw())

    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert response.headers["content-encoding"] == "gzip"
    assert int(response.headers["content-length"]) == len(packed)
    assert gzip.decompress(packed).endswith(b"# EOF\n")


@pytest.mark.parametrize("path", [*EXPOSITIONS, *SUMMARIES, *OWN, "/api/usage", "/status/health"])
def test_a_head_is_answered_and_has_no_body(told: GatewayProcess, path: str) -> None:
    asked, answered = told.client.head(path), told.client.get(path)

    assert asked.status_code == answered.status_code
    assert asked.content == b""
    for name in ("content-type", "cache-control"):
        assert asked.headers[name] == answered.headers[name]


def test_the_summary_is_in_the_guides_shape_and_counts_what_happened(
    told: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(f"{model}-broken", answer({"error": {"message": "no"}}, status="500 Oops"))
    before = told.client.get(SUMMARIES[0]).json()

    told.chat(f"told/{model}")
    told.chat(f"told/{model}")
    told.chat(f"told/{model}-broken")
    after = [told.client.get(path).json() for path in SUMMARIES]

    assert after == after[:1] * len(SUMMARIES)
    request, cache, row = after[0]["request"], after[0]["cache"], after[0]["provider"]["told"]
    assert {name: request[name] - before["request"][name] for name in request if name.endswith("Requests")} == {
        "totalRequests": 3,
        "successfulRequests": 2,
        "failedRequests": 1,
    }
    assert 0 < request["averageLatency"] < request["p95Latency"] * 1.05 <= request["p99Latency"] * 1.05
    assert cache["hitRate"] + cache["missRate"] == pytest.approx(1)
    assert cache["keyCount"] >= 1
    assert cache["memoryUsage"] > 0
    assert row["requestCount"] - before["provider"]["told"]["requestCount"] == 2
    assert 0 < row["errorRate"] < 1
    assert row["averageResponseTime"] > 0
    assert row["tokenUsage"]["total"] - before["provider"]["told"]["tokenUsage"]["total"] == 10


def test_usage_has_by_endpoint_who_works_and_what_was_used(
    told: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    usage = event("x").replace(b"}]}", b'}],"usage":{"prompt_tokens":5,"completion_tokens":6,"total_tokens":11}}')
    provider.script("told-model", stream(event("first"), GATE, usage, event("", "stop"), DONE))
    question = {"model": "told-model", "messages": [{"role": "user", "content": model}], "stream": True}
    endpoint = f"{provider.url}/told"

    with told.client.stream("POST", "/v1/chat/completions", json=question) as running:
        lines = running.iter_lines()
        next(lines)
        during = httpx.get(f"{told.url}/api/usage", trust_env=False).json()
        provider.open("told-model")
        assert "data: [DONE]" in list(lines)
    after = told.client.get("/api/usage?format=json").json()

    assert list(during) == ["usage_counts", "token_usage_counts"]
    assert during["usage_counts"][endpoint]["told-model"] == 1
    assert after["usage_counts"][endpoint]["told-model"] == 0
    assert after["token_usage_counts"][endpoint]["told-model"] == 11
    assert "pass-word" not in str(after)


def check_in_its_dialect(response: httpx.Response, row: Row, dialect: str) -> None:
    check_common(response, row)
    body: dict[str, Any] = response.json()
    message = body["error"]["message"] if dialect == "openai" else body.get("message") or body["detail"]
    spelled = {
        "openai": {"error": {"message": message, "type": row.type, "param": body["error"]["param"], "code": row.code}}
        if dialect == "openai"
        else {},
        "nomyo": {"detail": message, "error": message},
        "service": {"statusCode": row.status, "message": message, "error": httpx.codes.get_reason_phrase(row.status)},
    }
    assert body == spelled[dialect]
    assert message


DIALECTS = [("/metrics", "openai"), ("/monitoring/metrics", "service"), ("/api/usage", "nomyo")]


@pytest.mark.parametrize(("path", "dialect"), DIALECTS)
def test_an_unknown_format_is_refused_in_the_dialect_of_its_path(told: GatewayProcess, path: str, dialect: str) -> None:
    check_in_its_dialect(told.client.get(path, params={"format": "xml" * 99}), INVALID, dialect)


@pytest.mark.parametrize(("path", "dialect"), [*DIALECTS, ("/monitoring/metrics/detailed", "service")])
def test_another_method_is_refused_in_the_dialect_of_its_path(told: GatewayProcess, path: str, dialect: str) -> None:
    response = told.client.post(path)

    check_in_its_dialect(response, METHOD_NOT_ALLOWED, dialect)
    assert set(response.headers["allow"].replace(" ", "").split(",")) >= {"GET", "HEAD"}


def test_a_path_of_the_operators_own_is_counted_as_what_it_tells(told: GatewayProcess) -> None:
    labels = {"method": "GET", "route": "/health", "status": "200"}
    before = told.metric("http_requests_total", **labels)

    report = told.client.get("/status/health")
    assert report.json().keys() >= {"status", "checks"}

    assert told.metric("http_requests_total", **labels) - before == (report.status_code == 200)
    assert "/status/" not in told.client.get("/metrics").text


@pytest.mark.parametrize("name", ["ENABLE_METRICS", "PROMETHEUS_ENABLED", "MONITORING_ENABLED"])
def test_metrics_that_are_off_are_nowhere_and_health_is(directory: Path, name: str) -> None:
    environ = {name: "false", "METRICS_PORT": "0", "METRICS_ENDPOINT": "/mine"}
    with gateway_process(directory, environ=environ) as gateway:
        served = gateway.chat("demo")
        answers = [gateway.client.get(path) for path in [*EXPOSITIONS, *SUMMARIES, "/api/usage", "/mine"]]

        assert served.status_code == 200
        assert gateway.client.get("/health").status_code in {200, 503}
        assert "/metrics" not in gateway.banner
    for response in answers:
        check_common(response, NOT_FOUND)
        assert "metrics are off" in response.text


def test_the_description_has_them_all(told: GatewayProcess) -> None:
    paths = told.client.get("/openapi.json").json()["paths"]

    found = {path: sorted(paths[path]) for path in (each.partition("?")[0] for each in [*EXPOSITIONS, *SUMMARIES])}

    assert found == {path: ["get", "head"] for path in found}
    (parameter,) = paths["/api/usage"]["get"]["parameters"]
    assert (parameter["name"], parameter["required"]) == ("format", False)
