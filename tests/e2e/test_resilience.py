"""When a target fails the next one answers, and when a caller leaves nobody works on."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import FAST, PROVIDER_KEY
from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    answer,
    event,
    free_port,
    gateway_process,
    send,
    stream,
)
from tests.support.provider_faults import (
    ABORT,
    DONE,
    HANG,
    ask_and_wait,
    eventually,
    last_error,
    refusal,
)

pytestmark = pytest.mark.e2e

FIRST = event("whole")
NEVER = {"repeat": send(b"%x\r\n%b\r\n" % (len(FIRST), FIRST))["send"], "every": 0.02}
THRICE = "primary:upstream_error,primary:upstream_error,primary:upstream_error"

FAILING: dict[str, tuple[list[Any], str]] = {
    "500": (refusal("500 Oops"), THRICE),
    "timeout": ([HANG], "primary:upstream_timeout"),
    "not-found": (refusal("404 Not Found"), "primary:upstream_rejected"),
    "limited": (refusal("429 Slow"), "primary:upstream_rate_limited"),
    "limited-for-long": (refusal("429 Slow", headers={"retry-after": "600"}), "primary:upstream_rate_limited"),
    "credentials": (refusal("401 No"), "primary:upstream_auth"),
    "html": (answer(b"<html>", headers={"content-type": "text/html"}), "primary:upstream_malformed"),
    "no-choice": (answer({"choices": []}), "primary:upstream_empty"),
    "error-with-200": (answer({"error": {"message": "busy"}}), "primary:upstream_error"),
}
FAILING_STREAMS: dict[str, tuple[list[Any], str]] = FAILING | {
    "no-choice": (stream(DONE), "primary:upstream_empty"),
    "error-with-200": (stream(b'data: {"error":{"message":"busy"}}\n\n'), "primary:upstream_error"),
    "cut": (stream(FIRST[:9], ABORT), "primary:upstream_truncated"),
}
ROUTES = (*FAILING_STREAMS, "all-fail", "all-error", "callers-fault", "broken-stream")


@pytest.fixture(scope="module")
def resilient(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose every route goes to `primary:<route>-1`, then to `backup:<route>-2`; `patient` waits long."""
    key = {"api_key": PROVIDER_KEY}
    config = {
        "providers": {
            "primary": key | {"base_url": provider.base_url("primary"), "timeouts": FAST},
            "backup": key | {"base_url": provider.base_url("backup"), "timeouts": FAST},
            "patient": key | {"base_url": provider.base_url("patient")},
            "closed": key | {"base_url": f"http://127.0.0.1:{free_port()}/v1"},
        },
        "routes": {route: [f"primary:{route}-1", f"backup:{route}-2"] for route in ROUTES}
        | {"refused": ["closed:refused-1", "backup:refused-2"]},
        "retry": {"backoff_seconds": 0.01, "budget_per_second": 1000},
        "breaker": {"failures": 0},
        "cache": {"enabled": False},
    }
    with gateway_process(tmp_path_factory.mktemp("resilient"), config) as process:
        yield process


@pytest.mark.parametrize("route", FAILING)
def test_a_failing_target_is_replaced_by_the_next(
    resilient: GatewayProcess, provider: ProviderProcess, route: str
) -> None:
    steps, attempts = FAILING[route]
    provider.script(f"{route}-1", steps)

    response = resilient.chat(route)

    assert response.status_code == 200
    assert response.json()["model"] == f"{route}-2"
    assert response.headers["x-signalbox-attempts"] == f"{attempts},backup:ok"
    assert response.headers["x-signalbox-provider"] == "backup"
    assert response.headers["x-signalbox-model"] == route
    (line,) = resilient.log_of(response.headers["x-request-id"])
    assert (line["status"], line["provider"], line["attempts"]) == ("ok", "backup", f"{attempts},backup:ok")


@pytest.mark.parametrize("route", FAILING_STREAMS)
def test_a_stream_that_does_not_begin_is_replaced_by_the_next(
    resilient: GatewayProcess, provider: ProviderProcess, route: str
) -> None:
    steps, attempts = FAILING_STREAMS[route]
    provider.script(f"{route}-1", steps)

    response = resilient.chat(route, stream=True)

    assert response.content.endswith(DONE)
    assert f'"model":"{route}-2"' in response.text
    assert response.headers["x-signalbox-attempts"] == f"{attempts},backup:ok"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_target_that_cannot_be_reached_is_replaced_by_the_next(resilient: GatewayProcess, *, streamed: bool) -> None:
    response = resilient.chat("refused", stream=streamed)

    assert response.status_code == 200
    attempts = ["closed:upstream_connect"] * 3
    assert response.headers["x-signalbox-attempts"] == ",".join([*attempts, "backup:ok"])


def test_the_last_answer_is_told_when_all_targets_fail(resilient: GatewayProcess, provider: ProviderProcess) -> None:
    provider.script("all-fail-1", refusal("500 Oops"))
    provider.script("all-fail-2", refusal("429 Slow", headers={"retry-after": "600"}, message="not so fast"))

    response = resilient.chat("all-fail")

    assert response.status_code == 429
    assert response.json()["error"]["message"] == "not so fast"
    assert response.headers["x-signalbox-error"] == "upstream_rate_limited"
    assert response.headers["x-signalbox-attempts"] == f"{THRICE},backup:upstream_rate_limited"
    assert response.headers["retry-after"] == "600"


def test_a_call_is_tried_again_twice_whatever_the_number_of_targets(
    resilient: GatewayProcess, provider: ProviderProcess
) -> None:
    provider.script("all-error-1", refusal("500 Oops"))
    provider.script("all-error-2", refusal("500 Oops", message="the second"))

    response = resilient.chat("all-error")

    assert (response.status_code, response.json()["error"]["message"]) == (502, "the second")
    assert response.headers["x-signalbox-attempts"] == f"{THRICE},backup:upstream_error"
    assert len(provider.seen("all-error-2")["requests"]) == 1


def test_what_the_caller_did_wrong_is_not_asked_elsewhere(resilient: GatewayProcess, provider: ProviderProcess) -> None:
    provider.script("callers-fault-1", refusal("400 Bad Request"))

    response = resilient.chat("callers-fault")

    assert response.status_code == 400
    assert response.headers["x-signalbox-attempts"] == "primary:upstream_rejected"
    assert provider.seen("callers-fault-2")["requests"] == []


def test_a_stream_that_has_begun_is_not_replaced(resilient: GatewayProcess, provider: ProviderProcess) -> None:
    provider.script("broken-stream-1", stream(FIRST, ABORT))

    response = resilient.chat("broken-stream", stream=True)

    assert last_error(response)["code"] == "upstream_truncated"
    assert provider.seen("broken-stream-2")["requests"] == []


def left_by_its_caller(gateway: GatewayProcess, request_id: str) -> bool:
    (line,) = gateway.log_of(request_id)
    return (
        bool(line["status"] == "client_disconnected") and gateway.metric("llm_active_requests", provider="patient") == 0
    )


def test_a_caller_who_leaves_between_two_attempts_is_not_asked_for_again(
    resilient: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    labels = {"provider": "patient", "error_type": "upstream_error"}
    failed = resilient.metric("llm_provider_errors_total", **labels)
    provider.script(model, refusal("503 Busy", headers={"retry-after": "4"}), [HANG])

    with ask_and_wait(resilient, {"model": f"patient/{model}"}, request_id=model):
        eventually(lambda: resilient.metric("llm_provider_errors_total", **labels) == failed + 1, "the first failure")

    assert left_by_its_caller(resilient, model)
    assert len(provider.seen(model)["requests"]) == 1
