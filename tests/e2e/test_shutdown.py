"""A gateway that is told to stop refuses what is new, finishes what runs, and tells whom it must cut off."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import (
    PATIENCE_SECONDS,
    GatewayProcess,
    ProviderProcess,
    event,
    gateway_process,
    send,
    stream,
)
from tests.support.provider_faults import DONE, GATE, HANG, eventually, last_error

pytestmark = pytest.mark.e2e

FIRST = event("whole")
LAST = event("end", "stop")
NEVER = {"repeat": send(b"%x\r\n%b\r\n" % (len(FIRST), FIRST))["send"], "every": 0.02}


@contextmanager
def gateway_draining(directory: Path, provider: ProviderProcess, seconds: float) -> Iterator[GatewayProcess]:
    rows = {"primary": {"base_url": provider.base_url("primary"), "api_key": PROVIDER_KEY}}
    with gateway_process(directory, {"providers": rows, "server": {"drain_seconds": seconds}}) as process:
        yield process


def test_calls_are_taken_while_load_balancers_learn_that_it_stops(
    directory: Path, provider: ProviderProcess, model: str
) -> None:
    rows = {"primary": {"base_url": provider.base_url("primary")}}
    server = {"drain_seconds": 5, "drain_delay_seconds": 3}
    with gateway_process(directory, {"providers": rows, "server": server}) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: draining(gateway), "not ready any more")

        response = gateway.chat(f"primary/{model}")

        assert response.status_code == 200
        assert gateway.process.wait(PATIENCE_SECONDS) == 0


def draining(gateway: GatewayProcess) -> bool:
    return gateway.client.get("/health/ready").status_code == 503


def test_what_runs_is_finished_and_what_is_new_is_refused(
    directory: Path, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(FIRST, GATE, LAST, DONE))
    question = {"model": f"primary/{model}", "messages": [], "stream": True}

    with gateway_draining(directory, provider, seconds=60) as gateway:
        with gateway.client.stream("POST", "/v1/chat/completions", json=question) as running:
            pieces = running.iter_raw()
            said = next(pieces)
            gateway.process.send_signal(signal.SIGTERM)
            eventually(lambda: draining(gateway), "not ready any more")
            new = httpx.post(f"{gateway.url}/v1/chat/completions", json=question | {"stream": False}, trust_env=False)
            live = gateway.client.get("/health/live")
            provider.open(model)
            said += b"".join(pieces)
        ended = gateway.process.wait(PATIENCE_SECONDS)

    assert said == FIRST + LAST + DONE
    assert (new.status_code, new.headers["x-signalbox-error"]) == (503, "shutting_down")
    assert (new.json()["error"]["type"], new.json()["error"]["code"]) == ("overloaded_error", "shutting_down")
    assert int(new.headers["retry-after"]) > 0
    assert live.status_code == 200
    assert ended == 0
    assert len(provider.seen(model)["requests"]) == 1
    (line,) = gateway.log_of(running.headers["x-request-id"])
    assert line["status"] == "ok"


@pytest.mark.parametrize("callers", [1, 3])
def test_a_stream_that_does_not_end_in_time_is_told_so(
    directory: Path, provider: ProviderProcess, model: str, callers: int
) -> None:
    provider.script(model, stream(FIRST, NEVER))

    with gateway_draining(directory, provider, seconds=0.5) as gateway, ThreadPoolExecutor() as threads:
        asked = [threads.submit(gateway.chat, f"primary/{model}", stream=True) for _ in range(callers)]
        eventually(lambda: active(gateway) == callers, "all have asked")
        gateway.process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in asked]
        ended = gateway.process.wait(PATIENCE_SECONDS)

    for each in answers:
        assert each.content.startswith(FIRST)
        error = last_error(each)
        assert (error["type"], error["code"]) == ("overloaded_error", "cancelled_by_shutdown")
        (line,) = gateway.log_of(each.headers["x-request-id"])
        assert line["status"] == "cancelled_by_shutdown"
    assert ended == 0
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")


@pytest.mark.parametrize("callers", [1, 3])
def test_a_call_that_is_not_answered_in_time_is_told_so(
    directory: Path, provider: ProviderProcess, model: str, callers: int
) -> None:
    provider.script(model, [HANG])

    with gateway_draining(directory, provider, seconds=0.5) as gateway, ThreadPoolExecutor() as threads:
        asked = [threads.submit(gateway.chat, f"primary/{model}") for _ in range(callers)]
        eventually(lambda: active(gateway) == callers, "all have asked")
        gateway.process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in asked]
        ended = gateway.process.wait(PATIENCE_SECONDS)

    for each in answers:
        assert (each.status_code, each.headers["x-signalbox-error"]) == (503, "cancelled_by_shutdown")
        assert each.json()["error"]["code"] == "cancelled_by_shutdown"
    assert ended == 0


def active(gateway: GatewayProcess) -> float:
    return sum(gateway.metric("llm_active_requests", provider=name) for name in ("none", "primary"))


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_waits_for_nobody(
    directory: Path, provider: ProviderProcess, model: str, again: signal.Signals
) -> None:
    provider.script(model, stream(FIRST, HANG))

    with gateway_draining(directory, provider, seconds=600) as gateway, ThreadPoolExecutor() as threads:
        asked = threads.submit(gateway.chat, f"primary/{model}", stream=True)
        eventually(lambda: active(gateway) == 1, "it runs")
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: draining(gateway), "it drains")
        gateway.process.send_signal(again)
        ended = gateway.process.wait(PATIENCE_SECONDS)
        response = asked.result()

    assert ended == 0
    assert last_error(response)["code"] == "cancelled_by_shutdown"


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_stops_at_once(directory: Path, provider: ProviderProcess, sig: signal.Signals) -> None:
    with gateway_draining(directory, provider, seconds=600) as gateway:
        assert gateway.stop(sig) == 0
