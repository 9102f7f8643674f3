"""Providers that fail are passed over."""

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from openai import OpenAI

from tests.support.breakers import DOWN, GOOD, assert_left_alone, check_of, state
from tests.support.processes import GatewayProcess, ProviderProcess, free_port, gateway_process
from tests.support.provider_faults import refusal

pytestmark = pytest.mark.e2e

FOREVER = 3000.0


@pytest.fixture(scope="module")
def hole() -> Iterator[int]:
    """A port where nobody accepts and no SYN is answered any more."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.settimeout(0)
            each.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for each in waiting:
            each.close()


@pytest.fixture(scope="module")
def patient(provider: ProviderProcess, hole: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose breakers stay open for good. Every test has rows of its own."""
    rows: dict[str, Any] = {
        name: {"base_url": provider.base_url(name)} for name in ("backup", "listed", "refusing", "refusing-alone")
    }
    rows |= {name: {"base_url": f"http://127.0.0.1:{free_port()}/v1"} for name in ("closed", "closed-alone")}
    rows["hole"] = {"base_url": f"http://127.0.0.1:{hole}/v1", "timeouts": {"connect": 0.2}}
    config = {
        "providers": rows,
        "routes": {name: [f"{name}:shunned", "backup:shunned"] for name in ("closed", "hole", "refusing")},
        "retry": {"backoff_seconds": 0.01},
        "breaker": {"open_seconds": FOREVER, "max_open_seconds": FOREVER},
        "health": {"probe": False},
        "cache": {"enabled": False},
    }
    with gateway_process(tmp_path_factory.mktemp("patient"), config) as process:
        yield process


def test_U_01_a_connection_that_is_refused_goes_to_the_next_target(patient: GatewayProcess) -> None:
    """Nobody listens at a provider's port; its route has a second target.

    Happens: the first is tried three times and the second answers; after five failures the first is passed over, and a
    call costs no attempt at it.

    Seen: `x-signalbox-attempts`, `llm_circuit_breaker_state{scope="provider"}` 2, `llm_circuit_breaker_skips_total`.
    """
    first, second, third = (patient.chat("closed") for _ in range(3))

    assert [each.status_code for each in (first, second, third)] == [200, 200, 200]
    assert first.headers["x-signalbox-attempts"] == "closed:upstream_connect," * 3 + "backup:ok"
    assert second.headers["x-signalbox-attempts"] == "closed:upstream_connect," * 2 + "backup:ok"
    assert third.headers["x-signalbox-attempts"] == "backup:ok"
    assert state(patient, "closed", "provider") == 2
    assert patient.metric("llm_circuit_breaker_skips_total", provider="closed") == 1


def test_U_01_a_single_provider_that_refuses_connections_fails_at_once(patient: GatewayProcess) -> None:
    """Nobody listens at the only provider there is for a model.

    Happens: 502 `upstream_connect` after three attempts; once five have failed, 503 `no_target` with `retry-after` and
    without an attempt, for every model of the provider.

    Seen: `llm_request_errors_total{error_type="no_target"}`; `/health` says that the breaker is open, and why.
    """
    refused = patient.metric("llm_request_errors_total", error_type="no_target")
    first, second = patient.chat("closed-alone/shunned"), patient.chat("closed-alone/shunned")

    assert [each.headers["x-signalbox-error"] for each in (first, second)] == ["upstream_connect"] * 2
    assert (first.status_code, second.status_code) == (502, 502)
    assert_left_alone(patient.chat("closed-alone/shunned"))
    assert_left_alone(patient.chat("closed-alone/another"))
    assert patient.metric("llm_provider_requests_total", provider="closed-alone") == 5
    assert patient.metric("llm_request_errors_total", error_type="no_target") == refused + 2
    check = check_of(patient, "closed-alone")
    assert check["status"] == "unhealthy"
    assert check["reason"].endswith("the last with upstream_connect: Connection refused; the breaker is open")


def test_U_02_a_provider_that_answers_no_syn_is_given_up_after_its_connect_timeout(patient: GatewayProcess) -> None:
    """A provider's backlog is full, so that no connection is ever made.

    Happens: after `timeouts.connect` the next target answers; after five such calls nobody waits for it any more.

    Seen: `hole:upstream_timeout` in `x-signalbox-attempts`, `llm_overhead_seconds{phase="connect"}`; then
    `llm_circuit_breaker_state{scope="provider"}` is 2.
    """
    tried = [patient.chat("hole").headers["x-signalbox-attempts"] for _ in range(6)]

    assert tried == ["hole:upstream_timeout,backup:ok"] * 5 + ["backup:ok"]
    assert state(patient, "hole", "provider") == 2


def test_U_15_a_key_that_is_refused_takes_the_provider_out_at_once(
    patient: GatewayProcess, provider: ProviderProcess
) -> None:
    """A provider answers 401 to our key.

    Happens: the caller gets the next target's answer, or 502 `upstream_auth` where there is none, never a 401 of ours;
    from then on nobody is sent to that provider for `breaker.max_open_seconds`, whatever the model.

    Seen: the alert UpstreamAuth by `llm_provider_errors_total{error_type="upstream_auth"}`,
    `llm_circuit_breaker_state{scope="provider"}` 2, the provider's `reason` in `/health`.
    """
    provider.script("shunned", GOOD)
    provider.script("unpaid", refusal("401 Unauthorized"))
    alone = patient.chat("refusing-alone/unpaid")
    again = patient.chat("refusing-alone/any")
    provider.script("shunned", refusal("401 Unauthorized"), GOOD)
    first, second = patient.chat("refusing"), patient.chat("refusing")

    assert (alone.status_code, alone.headers["x-signalbox-error"]) == (502, "upstream_auth")
    assert_left_alone(again)
    assert [each.status_code for each in (first, second)] == [200, 200]
    assert first.headers["x-signalbox-attempts"] == "refusing:upstream_auth,backup:ok"
    assert second.headers["x-signalbox-attempts"] == "backup:ok"
    assert patient.metric("llm_provider_errors_total", provider="refusing-alone", error_type="upstream_auth") == 1
    assert state(patient, "refusing-alone", "provider") == 2
    check = check_of(patient, "refusing-alone")
    assert (check["status"], check["reason"]) == ("unhealthy", "upstream_auth: status 401; the breaker is open")


def test_U_21_a_model_that_fails_is_left_alone_and_says_so(patient: GatewayProcess, provider: ProviderProcess) -> None:
    """One model of a provider answers 500 to everything, another one is fine.

    Happens: after five failures in a row callers of that model get 503 `no_target`; the other model is asked as ever.

    Seen: `llm_circuit_breaker_state{scope="model"}` 2, the model's card in `/v1/models`, the provider's `reason` in
    `/health`, the log line `breaker turned`.
    """
    provider.script("listed-model", DOWN)

    words = [patient.chat("listed-model").headers["x-signalbox-error"] for _ in range(3)]

    assert words == ["upstream_error", "upstream_error", "no_target"]
    assert len(provider.seen("listed-model")["requests"]) == 5
    assert patient.chat("listed/another").status_code == 200
    assert (state(patient, "listed"), state(patient, "listed", "provider")) == (2, 0)
    with OpenAI(base_url=f"{patient.url}/v1", api_key="none") as client:
        cards = {each.id: each.model_dump() for each in client.models.list()}
    assert cards["listed-model"]["signalbox"] == {"status": "unavailable"}
    assert "signalbox" not in cards["backup-model"]
    check = check_of(patient, "listed")
    assert check["reason"].split("; ")[-1] == "the breaker of listed-model is open"
    (line,) = [each for each in patient.log() if each["event"] == "breaker turned" and each["provider"] == "listed"]
    assert (line["model"], line["to"]) == ("listed-model", "open")
    assert line["reason"] == "5 failures in a row, the last with upstream_error: status 500"
