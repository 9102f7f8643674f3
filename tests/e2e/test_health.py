"""Health of a running gateway: who is asked how often, local servers, the operator's own checks, who may see it."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.monitoring.health.plugins import GROUP
from tests.support.packages import installed
from tests.support.processes import ROOT, GatewayProcess, ProviderProcess, answer, free_port, gateway_process
from tests.support.provider_faults import eventually

pytestmark = pytest.mark.e2e

UNMOVED = {"cpu_threshold": 100, "memory_threshold": 100, "disk_threshold": 100, "event_loop_threshold_ms": 100_000}
STORM = 1000


@pytest.fixture
def row(model: str) -> str:
    return model[-40:].replace("_", "-").strip("-")


def ollama(provider: ProviderProcess, row: str, **health: Any) -> dict[str, Any]:
    rows = {"local": {"kind": "ollama", "base_url": f"{provider.url}/{row}"}}
    return {"providers": rows, "health": UNMOVED | health}


def asked(provider: ProviderProcess, row: str, path: str) -> int:
    return [each["path"] for each in provider.seen(f"models-of-{row}")["requests"]].count(f"/{row}/{path}")


async def storm(gateway: GatewayProcess, path: str, *, leaving: bool = False) -> list[int]:
    """The codes that a thousand callers at once get; `leaving`: every other one does before its answer."""
    return await asyncio.gather(
        *(_probed(gateway.port, path, leaves=leaving and number % 2 == 0) for number in range(STORM))
    )


async def _probed(port: int, path: str, *, leaves: bool) -> int:
    """On bare sockets: a thousand of them in a pool of httpx take a minute."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n".encode())
        return 0 if leaves else int((await reader.read()).split(b" ", 2)[1])
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("path", ["/health", "/monitoring/health"])
async def test_a_storm_of_probes_asks_a_provider_once_in_an_interval(
    provider: ProviderProcess, directory: Path, row: str, path: str
) -> None:
    interval, begun = 0.7, time.monotonic()
    with gateway_process(directory, ollama(provider, row, interval_seconds=interval)) as gateway:
        codes = [*await storm(gateway, path), *await storm(gateway, path, leaving=True), *await storm(gateway, path)]
        questions, seconds = asked(provider, row, "api/version"), time.monotonic() - begun

    assert codes.count(200) == 2.5 * STORM
    assert 1 <= questions <= seconds / interval + 1
    assert asked(provider, row, "v1/models") == 1, "its list, at the start"


async def test_a_provider_that_hangs_is_asked_once_at_a_time(
    provider: ProviderProcess, directory: Path, row: str
) -> None:
    provider.script(f"models-of-{row}", [{"hang": True}])
    with gateway_process(directory, ollama(provider, row, timeout_seconds=0.5)) as gateway:
        codes = await storm(gateway, "/health")

        assert set(codes) == {503}
        assert asked(provider, row, "api/version") == 1


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_ollama_tells_its_version_and_answers_with_or_without_its_v1(
    provider: ProviderProcess, directory: Path, row: str, model: str, suffix: str
) -> None:
    config = ollama(provider, row)
    config["providers"]["local"]["base_url"] += suffix
    with gateway_process(directory, config) as gateway:
        report = gateway.client.get("/health").json()

        endpoint = f"{provider.url}/{row}"
        assert report["endpoints"] == {endpoint: {"status": "ok", "version": "0.5.1"}}
        assert gateway.chat(f"local/{model}").status_code == 200
        assert provider.seen(model)["requests"][0]["path"] == f"/{row}/v1/chat/completions"
        told = {"provider": "local", "endpoint": endpoint}
        assert gateway.metric("llm_endpoint_info", **told, kind="ollama", version="0.5.1") == 1
        assert gateway.metric("llm_endpoint_up", **told) == 1
        assert gateway.metric("llm_endpoint_connections_limit", provider="local") == 512


def test_an_ollama_that_is_gone_is_an_error_with_a_detail(directory: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    rows = {"local": {"kind": "ollama", "base_url": f"{address}/v1"}}
    with gateway_process(directory, {"providers": rows, "health": UNMOVED}) as gateway:
        response = gateway.client.get("/health")

        assert response.status_code == 503
        (told,) = response.json()["endpoints"].items()
        assert told[0] == address
        assert told[1]["status"] == "error"
        assert "could not reach local" in told[1]["detail"]


def test_llama_cpp_is_asked_for_its_models(provider: ProviderProcess, directory: Path, row: str) -> None:
    rows = {"local": {"kind": "llama_cpp", "base_url": provider.base_url(row)}}
    with gateway_process(directory, {"providers": rows, "health": UNMOVED}) as gateway:
        report = gateway.client.get("/health").json()

        assert report["endpoints"] == {f"{provider.url}/{row}": {"status": "ok"}}
        assert asked(provider, row, "v1/models") >= 1
        assert gateway.chat(f"local/{row}").status_code == 200


def test_without_probes_no_provider_is_asked_and_live_calls_tell(
    provider: ProviderProcess, directory: Path, row: str, model: str
) -> None:
    provider.script(model, answer({"error": {"message": "no"}}, status="500 Oops"))
    config = ollama(provider, row, probe=False) | {"retry": {"max_retries": 0}}
    with gateway_process(directory, config) as gateway:
        assert gateway.client.get("/health").status_code == 200
        for _ in range(3):
            gateway.chat(f"local/{model}")

        assert gateway.client.get("/health/ready").status_code == 503
        assert asked(provider, row, "api/version") == 0


def test_configured_models_are_looked_for(provider: ProviderProcess, directory: Path, row: str) -> None:
    config = ollama(provider, row, models=[f"{row}-model", "no-such-model"], interval_seconds=0.3)
    with gateway_process(directory, config) as gateway:
        checks: dict[str, Any] = {}

        def looked() -> bool:
            checks.update(gateway.client.get("/health").json()["checks"])
            return checks[f"model:{row}-model"]["status"] == "healthy"

        eventually(looked, "the list is read")
        assert checks["model:no-such-model"]["status"] == "unhealthy"
        assert checks["model:no-such-model"]["reason"] == "no provider lists it"
        assert gateway.client.get("/health").json()["status"] == "degraded"


@pytest.fixture
def documented() -> str:
    """The example of docs/health.md, as it stands there."""
    text = (ROOT / "docs" / "health.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return str(source)


@pytest.fixture
def plugged(directory: Path, documented: str) -> Iterator[GatewayProcess]:
    """A gateway beside a package with three checks: the documented one, one that fails, and one that is broken."""
    source = documented + '\n\nasync def failing():\n    raise RuntimeError("the door is open")\n'
    names = {"licence": "licence", "failing": "failing", "broken": "not_there"}
    environ = installed(directory, "acme_checks", source, group=GROUP, names=names)
    rows = {"failing": {"kind": "python", "critical": True}}
    with gateway_process(directory, {"health": UNMOVED | {"checks": rows}}, environ=environ) as gateway:
        yield gateway


def test_packages_bring_checks_along_and_a_broken_one_stops_nothing(plugged: GatewayProcess) -> None:
    response = plugged.client.get("/health?details")
    checks = response.json()["checks"]

    assert checks["custom:licence"]["status"] == "healthy"
    assert (checks["custom:failing"]["status"], checks["custom:failing"]["reason"]) == ("unhealthy", "the door is open")
    assert checks["custom:broken"]["status"] == "unhealthy"
    assert checks["custom:broken"]["reason"].startswith("could not be loaded: AttributeError")
    assert (response.status_code, response.json()["status"]) == (503, "error"), "one of them is critical"
    lines = [each for each in plugged.log() if each["event"] == "health check could not be loaded"]
    assert [each["check"] for each in lines] == ["custom:broken"]
    assert plugged.chat("demo").status_code == 200


def test_turns_are_history_log_and_metric(plugged: GatewayProcess) -> None:
    history = plugged.client.get("/health?details").json()["history"]

    (turn,) = [each for each in history if each["check"] == "custom:failing"]
    assert (turn["from"], turn["to"], turn["reason"]) == ("healthy", "unhealthy", "the door is open")
    assert "history" not in plugged.client.get("/health").json()
    lines = [each for each in plugged.log() if each["event"] == "health changed" and each["check"] == turn["check"]]
    assert [(each["from"], each["to"], each["reason"], each["level"]) for each in lines] == [
        ("healthy", "unhealthy", "the door is open", "warning")
    ]
    assert plugged.metric("llm_health_transitions_total", check="custom:failing", to="unhealthy") == 1
    assert plugged.metric("llm_health_status", check="custom:failing") == 0


def test_pages_and_ports_are_checked(provider: ProviderProcess, directory: Path, row: str) -> None:
    place = provider.url.removeprefix("http://")
    checks = {
        "page": {"kind": "http", "url": f"{provider.url}/_seen/{row}"},
        "teapot": {"kind": "http", "url": f"{provider.url}/_seen/{row}", "expect_status": [418]},
        "port": {"kind": "tcp", "address": place},
    }
    with gateway_process(directory, {"health": UNMOVED | {"checks": checks}}) as gateway:
        response = gateway.client.get("/health")
        told = response.json()["checks"]

    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert told["custom:page"]["status"] == told["custom:port"]["status"] == "healthy"
    assert told["custom:teapot"]["reason"] == f"{place} answered 200"


def test_terminus_has_its_shape_and_counts_errors_that_are_no_callers(
    provider: ProviderProcess, directory: Path, row: str
) -> None:
    with gateway_process(directory, ollama(provider, row)) as gateway:
        provider.script(f"broken-{row}", answer(b"no JSON"))
        gateway.chat("no-such-model")
        gateway.chat(f"local/broken-{row}")
        gateway.chat(f"local/{row}-model")
        gateway.chat(f"local/{row}-model", temperature=0.5)
        response = gateway.client.get("/monitoring/health")

        body = response.json()
        assert response.status_code == 200
        assert body.keys() == {"status", "info", "error", "details"}
        assert (body["status"], body["error"]) == ("ok", {})
        assert body["info"]["providers"]["details"]["local"]["status"] == "up"
        system = body["info"]["system"]
        assert system["status"] == "degraded"
        assert (system["details"]["errorRate"], system["details"]["activeRequests"]) == (0.25, 0)
        assert system["details"]["averageLatency"] > 0
        assert gateway.client.head("/monitoring/health").status_code == 200
        refused = gateway.client.post("/monitoring/health")
        assert refused.json().keys() == {"statusCode", "message", "error"}


@pytest.mark.parametrize("path", ["/health?details", "/monitoring/health"])
def test_where_there_are_keys_details_take_one(directory: Path, path: str) -> None:
    config = {"keys": {"me": {"key": "k-12345678"}}, "health": UNMOVED | {"public_details": False}}
    with gateway_process(directory, config) as gateway:
        without = gateway.client.get(path)
        wrong = gateway.client.get(path, headers={"x-api-key": "no"})
        right = gateway.client.get(path, headers={"authorization": "Bearer k-12345678"})

        assert without.json().keys() <= {"status", "timestamp"}
        assert wrong.json().keys() <= {"status", "timestamp"}
        assert len(right.json()) > 3
        assert json.dumps(without.json()).count("{") == 1
        assert gateway.client.head(path).status_code == 200
