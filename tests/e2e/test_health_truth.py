"""What a real gateway says of each fault is what `docs/health.md` says it does, row by row."""

import re
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from dependency_injector import providers as di
from litestar.testing import AsyncTestClient
from redis import Redis

from app.container import Container
from app.main import create_app
from app.monitoring.health.plugins import GROUP
from app.monitoring.machine import Machine
from app.settings import load
from tests.support.packages import installed
from tests.support.processes import (
    PATIENCE_SECONDS,
    ROOT,
    GatewayProcess,
    ProviderProcess,
    event,
    free_port,
    gateway_process,
    redis_process,
    redis_server,
    stream,
)
from tests.support.provider_faults import GATE, HANG, eventually, refusal

pytestmark = pytest.mark.e2e

HEALTH = {
    "cpu_threshold": 100,
    "memory_threshold": 100,
    "disk_threshold": 100,
    "event_loop_threshold_ms": 100_000,
    "interval_seconds": 60,
    "timeout_seconds": 0.5,
}


class Truth(NamedTuple):
    fault: str
    code: str
    status: str
    check: str
    state: str
    reason: str
    noticed: str


def _truths() -> dict[str, Truth]:
    text = (ROOT / "docs" / "health.md").read_text()
    (table,) = re.findall(r"<!-- truth -->\n(.*?)<!-- /truth -->", text, re.DOTALL)
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0]: Truth(*row) for row in rows}


TRUTHS = _truths()


def assert_true(fault: str, code: int, report: Mapping[str, Any]) -> None:
    truth = TRUTHS[fault]
    check = report["checks"][truth.check]
    assert (str(code), report["status"], check["status"]) == (truth.code, truth.status, truth.state), report
    if truth.state == "healthy":
        assert "reason" not in check
    else:
        pattern = ".*".join(map(re.escape, truth.reason.split("…"))) if truth.reason else ".+"
        assert re.fullmatch(pattern, check["reason"]), check
    assert check["since"].endswith("Z")
    wrong = {name for name, each in report["checks"].items() if each["status"] != "healthy"}
    assert wrong <= {truth.check, "models"}, "nothing else is blamed"


def asked_once(gateway: GatewayProcess, check: str) -> bool:
    return gateway.metric("llm_health_check_duration_seconds_count", check=check) == 1


def config(provider: ProviderProcess, row: str, **health: Any) -> dict[str, Any]:
    return {"providers": {"one": {"base_url": provider.base_url(row)}}, "health": HEALTH | health}


@pytest.fixture
def row(model: str) -> str:
    return model[-40:].replace("_", "-").strip("-")


def test_a_provider_that_refuses_connections(directory: Path) -> None:
    port = free_port()
    providers = {"one": {"base_url": f"http://127.0.0.1:{port}/v1"}}
    with gateway_process(directory, {"providers": providers, "health": HEALTH}) as gateway:
        response = gateway.client.get("/health")

        assert_true("provider refuses connections", response.status_code, response.json())
        assert response.json()["endpoints"] == {
            f"http://127.0.0.1:{port}": {
                "status": "error",
                "detail": "upstream_connect: could not reach one: Connection refused",
            }
        }
        assert response.json()["providers"] == {"one": False}
        assert asked_once(gateway, "provider:one")


@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        ("provider slow", [HANG]),
        ("provider answers 401", refusal("401 Unauthorized")),
        ("provider answers 500", refusal("500 Oops")),
    ],
)
def test_a_provider_that_answers_badly(
    provider: ProviderProcess, directory: Path, row: str, fault: str, steps: list[dict[str, Any]]
) -> None:
    provider.script(f"models-of-{row}", steps)
    with gateway_process(directory, config(provider, row)) as gateway:
        response = gateway.client.get("/health")

        assert_true(fault, response.status_code, response.json())
        assert asked_once(gateway, "provider:one")


def test_a_provider_that_fails_live_calls(provider: ProviderProcess, directory: Path, row: str, model: str) -> None:
    provider.script(model, refusal("500 Oops"))
    with gateway_process(directory, config(provider, row) | {"retry": {"max_retries": 0}}) as gateway:
        assert gateway.client.get("/health").json()["status"] == "ok"
        codes = []
        for _ in range(3):
            codes.append(gateway.client.get("/health/ready").status_code)
            gateway.chat(f"one/{model}")
        report = until(gateway, "error")

        assert codes == [200, 200, 200]
        assert gateway.client.get("/health/ready").status_code == 503, "noticed with the third failure"
        assert_true("provider fails three live calls", 503, report)
        assert report["checks"]["provider:one"]["recent"] == ["upstream_error"] * 3


@pytest.mark.parametrize("client", ["lean", "httpx"])
def test_a_provider_busy_with_long_streams(
    provider: ProviderProcess, directory: Path, row: str, model: str, client: str
) -> None:
    provider.script(model, stream(event("a"), GATE, event("b", "stop"), b"data: [DONE]\n\n"))
    made = config(provider, row, interval_seconds=0.5)
    made["providers"]["one"] |= {"max_connections": 2, "upstream": client}
    with gateway_process(directory, made) as gateway, ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(gateway.chat, f"one/{model}", stream=True, seed=each) for each in range(2)]
        eventually(lambda: len(provider.bodies(model)) == 2, "both streams have begun")
        until(gateway, "ok")
        asked = gateway.metric("llm_health_check_duration_seconds_count", check="provider:one")
        for _ in range(30):
            response = gateway.client.get("/health")
            assert_true("provider busy with long streams", response.status_code, response.json())
            assert gateway.client.get("/health/ready").status_code == 200
            time.sleep(0.1)  # six intervals in all
        assert gateway.metric("llm_health_check_duration_seconds_count", check="provider:one") == asked
        assert connections(gateway, "active") == 2
        provider.open(model)

        assert [call.result().status_code for call in calls] == [200, 200]
        eventually(lambda: recent(gateway) == ["ok", "ok"], "both have ended well")


def recent(gateway: GatewayProcess) -> list[str]:
    return gateway.client.get("/health").json()["checks"]["provider:one"].get("recent", [])


def connections(gateway: GatewayProcess, state: str) -> float:
    return gateway.metric("llm_endpoint_connections", provider="one", state=state)


@pytest.mark.skipif(redis_server() is None, reason="no redis-server")
def test_redis_that_is_down_slow_or_hangs(provider: ProviderProcess, directory: Path, row: str) -> None:
    with redis_process(directory) as (process, url):
        made = config(provider, row, interval_seconds=0.5) | {"cache": {"url": url}}
        with gateway_process(directory / "gateway", made) as gateway:
            assert until(gateway, "ok")["redis"] is True
            with Redis.from_url(url) as client:
                report = until(gateway, "degraded", meanwhile=lambda: client.execute_command("CLIENT", "PAUSE", 150))
            assert_true("Redis slow", 200, report)
            assert report["redis"] is True

            until(gateway, "ok")
            process.send_signal(signal.SIGSTOP)
            report = until(gateway, "degraded")
            assert_true("Redis hangs", 200, report)
            assert report["redis"] is False
            assert gateway.metric("llm_redis_up") == 0

            process.send_signal(signal.SIGCONT)
            until(gateway, "ok")
            assert gateway.metric("llm_redis_up") == 1
            process.kill()
            report = until(gateway, "degraded")
            assert_true("Redis down", 200, report)
            assert gateway.client.get("/health/ready").status_code == 200
            turns = [each["to"] for each in gateway.client.get("/health?details").json()["history"]]
            assert (turns[0], turns[-1]) == ("unhealthy", "degraded")
            assert turns.count("unhealthy") == 2  # a busy machine may make it slow more than once


@pytest.mark.anyio
async def test_a_full_disk(tmp_path: Path) -> None:
    def full(_: str) -> Any:
        return SimpleNamespace(used=97, total=100, percent=97.0)

    settings = load(None, {"SIGNALBOX__HEALTH__CPU_THRESHOLD": "100"}).settings
    container = Container(settings=settings)
    container.health.machine.override(di.Object(Machine(disk_usage=full)))
    async with AsyncTestClient(create_app(container), base_url="http://127.0.0.1") as client:
        response = await client.get("/health")

    assert_true("disk full", response.status_code, response.json())
    assert response.json()["checks"]["disk_usage"]["value"] == 97


def test_an_event_loop_that_is_blocked(provider: ProviderProcess, directory: Path, row: str) -> None:
    source = "import time\n\nasync def block():\n    time.sleep(0.8)\n"
    environ = installed(directory, "blocking", source, group=GROUP, names={"blocking": "block"})
    with gateway_process(directory, config(provider, row, event_loop_threshold_ms=250), environ=environ) as gateway:
        report = until(gateway, "degraded")

        assert_true("event loop blocked", 200, report)
        assert report["checks"]["event_loop"]["value"] > 250
        assert gateway.metric("llm_event_loop_lag_seconds_bucket", le="0.25") < gateway.metric(
            "llm_event_loop_lag_seconds_count"
        )


def test_a_critical_check_that_fails(provider: ProviderProcess, directory: Path, row: str) -> None:
    door = {"kind": "tcp", "address": f"127.0.0.1:{free_port()}", "critical": True}
    with gateway_process(directory, config(provider, row, checks={"door": door}, fail_on="all")) as gateway:
        response = gateway.client.get("/health")

        assert_true("critical check of your own fails", response.status_code, response.json())
        assert gateway.client.get("/health/ready").status_code == 200
        assert asked_once(gateway, "custom:door")


def test_every_row_of_the_table_has_its_test() -> None:
    source = Path(__file__).read_text()

    assert TRUTHS
    assert [fault for fault in TRUTHS if f'"{fault}"' not in source] == []


def until(gateway: GatewayProcess, status: str, *, meanwhile: Any = None) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        if meanwhile is not None:
            meanwhile()
        report = dict(gateway.client.get("/health").json())
        if report["status"] == status:
            return report
        assert time.monotonic() < deadline, report
        time.sleep(0.05)
