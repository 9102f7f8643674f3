"""A port that serves metrics and nothing else, and who may read them where."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.failures import AUTHENTICATION, NOT_FOUND, check_common
from tests.support.processes import PATIENCE_SECONDS, ROOT, GatewayProcess, ProviderProcess, gateway_process, stream
from tests.support.processes import event as event_of
from tests.support.provider_faults import DONE, GATE, eventually
from tests.support.watched import KEY, METRICS_KEY, PATHS

pytestmark = pytest.mark.e2e

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested here
FOREIGN = {"host": "gateway.test:9464"}


def aside(gateway: GatewayProcess) -> httpx.Client:
    """A client at the other port."""
    (address,) = re.findall(r"^  metrics +(http\S+)/metrics$", gateway.banner, re.MULTILINE)
    return httpx.Client(base_url=address, trust_env=False, timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, httpx.Client]]:
    """On loopback, without any key."""
    environ = {"METRICS_PORT": "0", "METRICS_ENDPOINT": "/mine"}
    with gateway_process(tmp_path_factory.mktemp("local"), environ=environ) as gateway, aside(gateway) as client:
        yield gateway, client


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, httpx.Client]]:
    """Beyond loopback, both ports, with keys."""
    config = {"metrics": {"key": METRICS_KEY, "port": 0, "paths": ["/mine"]}}
    environ = {"SIGNALBOX_API_KEYS": f"alice={KEY}"}
    directory = tmp_path_factory.mktemp("exposed")
    with (
        gateway_process(directory, config, environ=environ, arguments=("--host", EVERYWHERE)) as gateway,
        aside(gateway) as client,
    ):
        yield gateway, client


@pytest.mark.parametrize("path", PATHS)
def test_it_tells_what_the_first_port_tells(local: tuple[GatewayProcess, httpx.Client], path: str) -> None:
    gateway, client = local

    here, there = client.get(path), gateway.client.get(path)

    assert (here.status_code, there.status_code) == (200, 200)
    assert here.headers["content-type"] == there.headers["content-type"]
    assert client.head(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("OPTIONS", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("GET", "/health"),
        ("GET", "/health/live"),
        ("GET", "/openapi.json"),
        ("GET", "/"),
        ("GET", "/api/chat"),
        ("GET", "/monitoring/health"),
    ],
)
def test_nothing_else_is_there(local: tuple[GatewayProcess, httpx.Client], method: str, path: str) -> None:
    gateway, client = local
    labels = {"method": method, "route": "unmatched", "status": "404"}
    before = gateway.metric("http_requests_total", **labels)

    response = client.request(method, path, json={"model": "demo", "messages": []})

    check_common(response, NOT_FOUND)
    assert "only metrics are served at this address" in response.text
    assert gateway.metric("http_requests_total", **labels) == before + 1
    assert gateway.metric("llm_requests_total", provider="demo", status="success") == 0


def test_another_method_is_refused_there_too(local: tuple[GatewayProcess, httpx.Client]) -> None:
    response = local[1].post("/api/usage")

    assert (response.status_code, response.headers["x-signalbox-error"]) == (405, "method_not_allowed")
    assert response.json().keys() == {"detail", "error"}


def test_a_foreign_name_for_this_machine_is_refused_on_both_ports(local: tuple[GatewayProcess, httpx.Client]) -> None:
    gateway, client = local

    assert [each.get("/metrics", headers=FOREIGN).status_code for each in (gateway.client, client)] == [400, 400]


@pytest.mark.parametrize("port", [0, 1], ids=["first", "other"])
@pytest.mark.parametrize("path", PATHS)
def test_beyond_loopback_they_take_a_key(exposed: tuple[GatewayProcess, httpx.Client], path: str, port: int) -> None:
    client = (exposed[0].client, exposed[1])[port]

    refused = [client.get(path, headers=headers) for headers in ({}, {"authorization": "Bearer sk-wrong"})]
    shown = [
        client.get(path, headers=headers | FOREIGN)
        for headers in ({"authorization": f"Bearer {METRICS_KEY}"}, {"x-api-key": METRICS_KEY}, {"x-api-key": KEY})
    ]

    for response in refused:
        check_common(response, AUTHENTICATION)
        assert "llm_" not in response.text
    assert [response.status_code for response in shown] == [200, 200, 200]


def test_on_loopback_they_are_open_though_the_gateway_is_not(directory: Path) -> None:
    config = {"metrics": {"port": 0, "host": "127.0.0.1"}}
    environ = {"SIGNALBOX_API_KEYS": f"alice={KEY}"}
    arguments = ("--host", EVERYWHERE)
    with gateway_process(directory, config, environ=environ, arguments=arguments) as gateway, aside(gateway) as client:
        assert gateway.client.get("/metrics").status_code == 401
        assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize(
    ("metrics", "codes"), [({"key": METRICS_KEY}, (401, 200)), ({"public": True}, (200, 200))], ids=["key", "public"]
)
def test_the_other_port_may_be_reached_though_the_gateway_is_not(
    directory: Path, metrics: dict[str, object], codes: tuple[int, int]
) -> None:
    config = {"metrics": metrics | {"port": 0, "host": EVERYWHERE}}
    with gateway_process(directory, config) as gateway, aside(gateway) as client:
        without = client.get("/metrics", headers=FOREIGN)
        with_key = client.get("/metrics", headers=FOREIGN | {"authorization": f"Bearer {METRICS_KEY}"})

        assert (without.status_code, with_key.status_code) == codes
        assert gateway.client.get("/metrics", headers=FOREIGN).status_code == 400


def run(directory: Path, command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)} | environ
    arguments = [sys.executable, "-m", "app", command]
    return subprocess.run(
        arguments, cwd=directory, env=clean, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


@pytest.mark.parametrize("command", ["serve", "check"])
def test_without_any_key_metrics_do_not_leave_this_machine(directory: Path, command: str) -> None:
    ended = run(directory, command, SIGNALBOX__METRICS__HOST=EVERYWHERE, METRICS_PORT="0", PORT="0")

    assert ended.returncode == 1
    sentence = ended.stderr.splitlines()[-1]
    assert sentence.startswith(f"signalbox: refusing to serve metrics on {EVERYWHERE} without a key")
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_told_in_one_line(directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        ended = run(directory, "serve", METRICS_PORT=str(port), PORT="0")

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"signalbox: cannot listen on 127.0.0.1:{port} (metrics.port): ")


@pytest.mark.parametrize(
    ("variable", "path", "setting"),
    [
        ("METRICS_ENDPOINT", "/health", "metrics.paths"),
        ("METRICS_ENDPOINT", "/openapi.json", "metrics.paths"),
        ("HEALTH_ENDPOINT", "/metrics", "health.paths"),
        ("HEALTH_ENDPOINT", "/health/live/", "health.paths"),
    ],
)
def test_a_path_of_something_else_is_told_in_one_line(directory: Path, variable: str, path: str, setting: str) -> None:
    ended = run(directory, "serve", **{variable: path, "PORT": "0"})

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == f"signalbox: {setting}: {path.rstrip('/')} is the path of something else"
    assert "Traceback" not in ended.stdout + ended.stderr


def test_it_is_there_while_the_last_calls_run_and_gone_with_the_gateway(
    directory: Path, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(event_of("first"), GATE, event_of("", "stop"), DONE))
    config = {"providers": {"one": {"base_url": provider.base_url("one")}}, "server": {"drain_seconds": 60}}
    question = {"model": f"one/{model}", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with gateway_process(directory, config | {"metrics": {"port": 0}}) as gateway, aside(gateway) as client:
        with gateway.client.stream("POST", "/v1/chat/completions", json=question) as running:
            lines = running.iter_lines()
            next(lines)
            gateway.process.send_signal(signal.SIGTERM)
            ready = f"{gateway.url}/health/ready"
            eventually(lambda: httpx.get(ready, trust_env=False).status_code == 503, "not ready any more")
            scraped = client.get("/metrics")
            provider.open(model)
            rest = list(lines)

        assert "data: [DONE]" in rest
        assert 'llm_active_requests{provider="one"} 1' in scraped.text
        assert gateway.process.wait(PATIENCE_SECONDS) == 0
        with pytest.raises(httpx.HTTPError):
            client.get("/metrics")
