"""With keys on loopback: what is open to this machine is closed to a page whose name leads here, and to a proxy's."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.failures import AUTHENTICATION, check_common
from tests.support.processes import GatewayProcess, gateway_process
from tests.support.raw import Wire, head
from tests.support.watched import KEY, METRICS_KEY, PATHS

pytestmark = pytest.mark.e2e

WRONG = "sk-mallory-5566778899"
METRICS = [*PATHS, "/metrics/"]
HEALTH = ["/health", "/health?details", "/monitoring/health", "/state"]
BARE = {"/monitoring/health": {"status"}}
FOREIGN = ["evil.test:12434", "evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "0.0.0.0", "192.0.2.1"]  # noqa: S104 - a browser would reach us by it
CONFIG = {
    "metrics": {"key": METRICS_KEY, "port": 0, "paths": ["/mine"]},
    "health": {"paths": ["/state"]},
    "server": {"wrong_keys_per_minute": 0},
}
ENVIRON = {"SIGNALBOX_API_KEYS": f"alice={KEY}"}


def port_of(gateway: GatewayProcess, which: str) -> int:
    if which == "first":
        return gateway.port
    (port,) = re.findall(r"^  metrics +http\S+:(\d+)/metrics$", gateway.banner, re.MULTILINE)
    return int(port)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_process(tmp_path_factory.mktemp("guarded"), CONFIG, environ=ENVIRON) as process:
        yield process


def asked(port: int, path: str, host: str, *fields: str) -> httpx.Response:
    with Wire(port) as wire:
        wire.send(head(port, *fields, method="GET", path=path, host=host))
        return wire.answer()


def attempts(gateway: GatewayProcess) -> dict[str, float]:
    return {
        result: gateway.metric("llm_auth_attempts_total", result=result)
        for result in ("accepted", "missing", "refused")
    }


@pytest.mark.parametrize("which", ["first", "other"])
@pytest.mark.parametrize("path", METRICS)
def test_metrics_are_not_shown_to_a_foreign_name(guarded: GatewayProcess, path: str, which: str) -> None:
    port = port_of(guarded, which)

    refused = [asked(port, path, host) for host in FOREIGN]
    ours = [asked(port, path, host).status_code for host in ("localhost", "127.0.0.1:1", "[::1]:12434")]
    opened = [asked(port, path, "evil.test", f"X-API-Key: {key}").status_code for key in (KEY, METRICS_KEY)]

    for response in refused:
        check_common(response, AUTHENTICATION)
        assert "llm_" not in response.text
    assert (ours, opened) == ([200] * 3, [200] * 2)


@pytest.mark.parametrize("path", HEALTH)
def test_details_of_health_are_not_shown_to_a_foreign_name(guarded: GatewayProcess, path: str) -> None:
    bare = BARE.get(path, {"status", "timestamp"})

    for host in FOREIGN:
        assert asked(guarded.port, path, host).json().keys() == bare
    for fields in (f"X-API-Key: {METRICS_KEY}", f"X-API-Key: {WRONG}"):
        assert asked(guarded.port, path, "evil.test", fields).json().keys() == bare
    assert asked(guarded.port, path, "localhost").json().keys() > bare
    assert asked(guarded.port, path, "evil.test", f"Authorization: Bearer {KEY}").json().keys() > bare


def test_what_is_public_by_the_operators_word_is_shown_to_everybody(directory: Path) -> None:
    config = {"metrics": {"public": True, "port": 0}, "health": {"public_details": True}}
    with gateway_process(directory, config, environ=ENVIRON) as gateway:
        for which in ("first", "other"):
            assert asked(port_of(gateway, which), "/metrics", "evil.test").status_code == 200
        assert "version" in asked(gateway.port, "/health", "evil.test").json()


def test_without_keys_by_the_operators_word_a_foreign_name_still_sees_no_insides(directory: Path) -> None:
    with gateway_process(directory, arguments=("--insecure-allow-unauthenticated",)) as gateway:
        metrics = asked(gateway.port, "/metrics", "evil.test")
        health = asked(gateway.port, "/health", "evil.test", f"X-API-Key: {WRONG}")

        assert asked(gateway.port, "/v1/models", "evil.test").status_code == 200
        check_common(metrics, AUTHENTICATION)
        assert health.json().keys() == {"status", "timestamp"}
        assert "version" in gateway.client.get("/health").json()


@pytest.mark.parametrize("which", ["first", "other"])
@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ([], "missing"),
        ([f"Authorization: Bearer {WRONG}"], "refused"),
        ([f"X-API-Key: {WRONG}"], "refused"),
        ([f"X-API-Key: {KEY}"], "accepted"),
        ([f"Authorization: Bearer {METRICS_KEY}"], "accepted"),
    ],
    ids=["none", "wrong", "wrong-x-api-key", "any", "own"],
)
def test_who_asks_for_metrics_with_which_key_is_counted(
    guarded: GatewayProcess, fields: list[str], result: str, which: str
) -> None:
    before = attempts(guarded)

    asked(port_of(guarded, which), "/metrics", "evil.test", *fields)

    assert attempts(guarded) == before | {result: before[result] + 1}


@pytest.mark.parametrize("path", HEALTH)
@pytest.mark.parametrize(
    ("key", "result"),
    [(WRONG, "refused"), (METRICS_KEY, "refused"), (KEY, "accepted")],
    ids=["wrong", "metrics", "any"],
)
def test_a_key_for_details_is_counted_and_a_wrong_one_has_its_line(
    guarded: GatewayProcess, path: str, key: str, result: str
) -> None:
    before, name = attempts(guarded), f"guess-{result}-{key[3:6]}{re.sub('[^a-z]', '-', path)}"

    response = asked(guarded.port, path, "evil.test", f"X-API-Key: {key}", f"X-Request-Id: {name}")
    guarded.client.get("/nothing", headers={"x-request-id": f"{name}-over"})
    guarded.log_of(f"{name}-over")

    assert response.headers.get("x-signalbox-error") is None
    assert attempts(guarded) == before | {result: before[result] + 1}
    lines = [line for line in guarded.log() if line.get("request_id") == name]
    route = {"/state": "/health"}.get(path, path.partition("?")[0])
    told = [(line["event"], line["status"], line["route"], line["code"]) for line in lines]
    assert told == ([("refused", "authentication", route, response.status_code)] if result == "refused" else [])
    assert key not in guarded.log_text()


@pytest.mark.parametrize("host", ["evil.test", "localhost"])
def test_who_asks_for_health_without_a_key_is_not_counted(guarded: GatewayProcess, host: str) -> None:
    before = attempts(guarded)

    asked(guarded.port, "/health", host)
    asked(guarded.port, "/monitoring/health", host)

    assert attempts(guarded) == before
