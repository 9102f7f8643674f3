"""Providers that fail are passed over, tried again by one call, and cost the others nothing."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    answer,
    free_port,
    gateway_process,
    provider_process,
    stream,
)
from tests.support.provider_faults import ABORT, GATE, HANG, ask_and_wait, eventually, refusal

pytestmark = pytest.mark.e2e

FOREVER = 3000.0
GOOD = answer({"choices": [{"finish_reason": "stop", "message": {"content": "hi"}}], "model": "m"})
DOWN = refusal("500 Oops")
CALLERS = 1000


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderProcess]:
    with provider_process() as process:
        yield process


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
    names = ("backup", "broken", "listed", "refusing", "refusing-alone", "retried", "crowded", "calm", "slow")
    rows: dict[str, Any] = {name: {"base_url": provider.base_url(name)} for name in names}
    rows |= {name: {"base_url": f"http://127.0.0.1:{free_port()}/v1"} for name in ("closed", "closed-alone")}
    rows["hole"] = {"base_url": f"http://127.0.0.1:{hole}/v1", "timeouts": {"connect": 0.2}}
    rows["slow"]["max_connections"] = 2 * CALLERS
    rows["crowded"]["max_connections"] = 8
    config = {
        "providers": rows,
        "routes": {name: [f"{name}:m", "backup:m"] for name in ("closed", "hole", "refusing")},
        "retry": {"backoff_seconds": 0.01},
        "breaker": {"open_seconds": FOREVER, "max_open_seconds": FOREVER},
        "health": {"probe": False},
        "cache": {"enabled": False},
    }
    with gateway_process(tmp_path_factory.mktemp("patient"), config) as process:
        yield process


@pytest.fixture(scope="module")
def hasty(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose breakers let somebody try again soon, and which asks nobody twice."""
    config = {
        "providers": {name: {"base_url": provider.base_url(name)} for name in ("flapping", "left", "cut")},
        "retry": {"max_retries": 0},
        "breaker": {"open_seconds": 0.2, "max_open_seconds": 0.2},
        "health": {"probe": False},
        "cache": {"enabled": False},
    }
    with gateway_process(tmp_path_factory.mktemp("hasty"), config) as process:
        yield process


def state(gateway: GatewayProcess, name: str, scope: str = "model") -> float:
    return gateway.metric("llm_circuit_breaker_state", provider=name, scope=scope)


def turns(gateway: GatewayProcess, name: str, to: str, scope: str = "model") -> float:
    return gateway.metric("llm_circuit_breaker_transitions_total", provider=name, scope=scope, to=to)


def assert_left_alone(response: httpx.Response) -> None:
    """The caller is told that nobody is asked, and when to come back."""
    assert response.status_code == 503, response.text
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("overloaded_error", "no_target", None)
    assert response.headers["x-signalbox-error"] == "no_target"
    assert int(response.headers["retry-after"]) >= 1
    assert "x-signalbox-attempts" not in response.headers


def check_of(gateway: GatewayProcess, name: str) -> dict[str, Any]:
    """What health says of a provider once it says that something is wrong; a report is kept for 2 s."""
    check: dict[str, Any] = {}

    def wrong() -> bool:
        check.update(gateway.client.get("/health").json()["checks"][f"provider:{name}"])
        return check["status"] != "healthy"

    eventually(wrong, "a report in which it is not healthy")
    return check


def tried_until(gateway: GatewayProcess, model: str, holds: Callable[[], object]) -> None:
    """Call until `holds`; who is turned away comes again."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        gateway.chat(model)
        time.sleep(0.01)


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
    first, second = patient.chat("closed-alone/m"), patient.chat("closed-alone/m")

    assert [each.headers["x-signalbox-error"] for each in (first, second)] == ["upstream_connect"] * 2
    assert (first.status_code, second.status_code) == (502, 502)
    assert_left_alone(patient.chat("closed-alone/m"))
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


@pytest.mark.parametrize("status", ["500 Oops", "502 Bad", "503 Busy", "529 Overloaded"])
def test_U_13_a_provider_that_fails_twice_is_asked_three_times(
    patient: GatewayProcess, provider: ProviderProcess, status: str
) -> None:
    """A provider answers 500, 502, 503 or 529 twice, then well.

    Happens: the same target is asked again, at most twice, with waits that differ by chance; the caller gets 200.

    Seen: three attempts in `x-signalbox-attempts`, `llm_retries_total` +2, `llm_requests_total{status="success"}` +1.
    """
    model, labels = f"twice-{status[:3]}", {"provider": "retried"}
    provider.script(model, refusal(status), refusal(status), GOOD)
    won = patient.metric("llm_requests_total", **labels, status="success")
    retries = patient.metric("llm_retries_total", **labels, reason="upstream_error")
    attempts = patient.metric("llm_provider_requests_total", **labels)

    response = patient.chat(f"retried/{model}")

    assert response.status_code == 200
    assert response.headers["x-signalbox-attempts"] == "retried:upstream_error,retried:upstream_error,retried:ok"
    assert len(provider.seen(model)["requests"]) == 3
    assert patient.metric("llm_requests_total", **labels, status="success") == won + 1
    assert patient.metric("llm_retries_total", **labels, reason="upstream_error") == retries + 2
    assert patient.metric("llm_provider_requests_total", **labels) == attempts + 3
    assert patient.metric("llm_active_requests", **labels) == 0


def test_U_13_a_stream_is_asked_again_before_its_first_event_only(
    patient: GatewayProcess, provider: ProviderProcess
) -> None:
    """A provider answers 503 to a stream, then begins one and breaks off.

    Happens: it is asked again after the 503, and not after the first event.

    Seen: two attempts in the log, the second of them `upstream_truncated`.
    """
    first = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    provider.script("streamed", refusal("503 Busy"), stream(first, ABORT), GOOD)

    response = patient.chat("retried/streamed", stream=True)

    assert first in response.content
    assert b"[DONE]" not in response.content
    assert len(provider.seen("streamed")["requests"]) == 2
    (line,) = patient.log_of(response.headers["x-request-id"])
    assert line["attempts"] == "retried:upstream_error,retried:upstream_truncated"


def test_U_13_retries_are_a_fifth_of_the_traffic_at_most(provider: ProviderProcess, tmp_path: Path) -> None:
    """A provider answers 503 to everything for 60 calls, with no retry free of charge and no breaker.

    Happens: at most 12 of them are asked again, though each might be twice.

    Seen: `llm_retries_refused_total`.
    """
    provider.script("always-busy", refusal("503 Busy"))
    config = {
        "providers": {"busy": {"base_url": provider.base_url("busy")}},
        "retry": {"backoff_seconds": 0.001, "budget_per_second": 0},
        "breaker": {"failures": 0},
    }

    with gateway_process(tmp_path, config) as gateway:
        for _ in range(60):
            assert gateway.chat("busy/always-busy").status_code == 502
        retries = gateway.metric("llm_retries_total", provider="busy", reason="upstream_error")
        refused = gateway.metric("llm_retries_refused_total", provider="busy")

    assert len(provider.seen("always-busy")["requests"]) == 60 + retries
    assert 1 <= retries <= 12
    assert refused >= 60 - retries


def test_U_15_a_key_that_is_refused_takes_the_provider_out_at_once(
    patient: GatewayProcess, provider: ProviderProcess
) -> None:
    """A provider answers 401 to our key.

    Happens: the caller gets the next target's answer, or 502 `upstream_auth` where there is none, never a 401 of ours;
    from then on nobody is sent to that provider for `breaker.max_open_seconds`, whatever the model.

    Seen: the alert UpstreamAuth by `llm_provider_errors_total{error_type="upstream_auth"}`,
    `llm_circuit_breaker_state{scope="provider"}` 2, the provider's `reason` in `/health`.
    """
    provider.script("m", GOOD)
    provider.script("unpaid", refusal("401 Unauthorized"))
    alone = patient.chat("refusing-alone/unpaid")
    again = patient.chat("refusing-alone/any")
    provider.script("m", refusal("401 Unauthorized"), GOOD)
    first, second = patient.chat("refusing"), patient.chat("refusing")

    assert (alone.status_code, alone.headers["x-signalbox-error"]) == (502, "upstream_auth")
    assert_left_alone(again)
    assert [each.status_code for each in (first, second)] == [200, 200]
    assert first.headers["x-signalbox-attempts"] == "refusing:upstream_auth,backup:ok"
    assert second.headers["x-signalbox-attempts"] == "backup:ok"
    assert patient.metric("llm_provider_errors_total", provider="refusing-alone", error_type="upstream_auth") == 1
    assert state(patient, "refusing-alone", "provider") == 2
    check = check_of(patient, "refusing-alone")
    assert (check["status"], check["reason"]) == ("unhealthy", "upstream_auth; the breaker is open")


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
    assert line["reason"] == "5 failures in a row, the last with upstream_error"


def test_U_21_one_call_tries_and_the_others_do_not_follow(hasty: GatewayProcess, provider: ProviderProcess) -> None:
    """A provider fails, recovers and fails again, while twenty callers at a time ask for it.

    Happens: after each opening exactly one call reaches it; while that one waits the others get 503 `no_target`. Its
    success lets everybody in, and five more failures keep everybody out again.

    Seen: `llm_circuit_breaker_state` 0, 2, 1, 0, 2; `llm_circuit_breaker_transitions_total`.
    """
    model, route = "flapping-model", "flapping/flapping-model"
    seen = lambda: len(provider.seen(model)["requests"])  # noqa: E731 - a name for the condition below
    provider.script(model, *[DOWN] * 5, [GATE, *GOOD], GOOD, *[DOWN] * 5, GOOD)
    assert state(hasty, "flapping") == 0
    tried_until(hasty, route, lambda: seen() == 5)
    assert state(hasty, "flapping") in {2, 1}
    eventually(lambda: state(hasty, "flapping") == 1, "it is due")

    with ThreadPoolExecutor(40) as threads:
        herd = [threads.submit(hasty.chat, route) for _ in range(20)]
        eventually(lambda: sum(each.done() for each in herd) == 19, "all but one are turned away")
        late = [threads.submit(hasty.chat, route) for _ in range(20)]
        for each in late:
            assert_left_alone(each.result())
        assert (seen(), state(hasty, "flapping")) == (6, 1)
        provider.open(model)
        answers = [each.result() for each in herd]
    (tried,) = [each for each in answers if each.status_code == 200]
    for each in answers:
        if each is not tried:
            assert_left_alone(each)

    assert (tried.headers["x-signalbox-attempts"], state(hasty, "flapping")) == ("flapping:ok", 0)
    assert hasty.chat(route).status_code == 200
    tried_until(hasty, route, lambda: seen() == 12)
    assert state(hasty, "flapping") in {2, 1}
    assert [turns(hasty, "flapping", to) for to in ("open", "half_open", "closed")] == [2, 1, 1]
    tried_until(hasty, route, lambda: state(hasty, "flapping") == 0)
    assert seen() == 13


def test_U_21_a_caller_who_leaves_during_the_trial_hands_it_on(
    hasty: GatewayProcess, provider: ProviderProcess
) -> None:
    """The one call that may try a provider again is given up by its caller.

    Happens: the next call is the trial; the breaker does not stay half-open for ever.

    Seen: `client_disconnected` in the log, then `llm_circuit_breaker_state` 0.
    """
    model, route = "left-model", "left/left-model"
    provider.script(model, *[DOWN] * 5, [HANG], GOOD)
    tried_until(hasty, route, lambda: len(provider.seen(model)["requests"]) == 5)
    eventually(lambda: state(hasty, "left") == 1, "it is due")

    with ask_and_wait(hasty, {"model": route}, request_id="left"):
        eventually(lambda: len(provider.seen(model)["requests"]) == 6, "the trial has begun")
        assert_left_alone(hasty.chat(route))
    eventually(lambda: provider.seen(model)["left"] == 1, "the trial has ended")

    tried_until(hasty, route, lambda: state(hasty, "left") == 0)
    assert len(provider.seen(model)["requests"]) == 7


def test_U_21_streams_that_break_off_open_it_too(hasty: GatewayProcess, provider: ProviderProcess) -> None:
    """Every stream of a provider begins and breaks off; each trial begins just as well.

    Happens: the fifth opens the breaker; a trial that begins lets others in, and breaking off opens it again at once.

    Seen: `upstream_truncated` as the end of each, `llm_circuit_breaker_transitions_total{to="open"}`.
    """
    first = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    provider.script("cut-model", stream(first, ABORT))
    seen = lambda: len(provider.seen("cut-model")["requests"])  # noqa: E731 - a name for the condition below

    for _ in range(5):
        assert hasty.chat("cut/cut-model", stream=True).status_code == 200
    assert (seen(), turns(hasty, "cut", "open")) == (5, 1)
    for opened in (2, 3):
        eventually(lambda: state(hasty, "cut") == 1, "it is due")
        hasty.chat("cut/cut-model", stream=True)
        assert turns(hasty, "cut", "open") == opened

    assert seen() == 7


async def ask(gateway: GatewayProcess, model: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{gateway.port}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    return reader, writer


def seconds_for(gateway: GatewayProcess, model: str, times: int = 30) -> float:
    """The median of so many calls, which are all answered."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        assert gateway.chat(model).status_code == 200
        spent.append(time.perf_counter() - started)
    return median(spent)


async def test_U_22_a_thousand_calls_that_hang_at_one_provider_do_not_touch_another(
    patient: GatewayProcess, provider: ProviderProcess
) -> None:
    """A thousand callers wait for a provider that says nothing, while others ask another provider.

    Happens: those are answered as fast as before.

    Seen: `llm_active_requests{provider="slow"}` 1000, `llm_endpoint_connections`; no breaker has turned.
    """
    provider.script("never", [HANG])
    before = await asyncio.to_thread(seconds_for, patient, "calm/m2")

    waiting = [await ask(patient, "slow/never") for _ in range(CALLERS)]
    try:
        await asyncio.to_thread(
            eventually, lambda: patient.metric("llm_endpoint_connections", provider="slow", state="active") == CALLERS,
            "all are at the provider",
        )  # fmt: skip # one condition
        assert patient.metric("llm_active_requests", provider="slow") == CALLERS
        during = await asyncio.to_thread(seconds_for, patient, "calm/m2")
        assert patient.metric("llm_active_requests", provider="slow") == CALLERS
    finally:
        for _, writer in waiting:
            writer.close()

    assert during < 5 * before
    await asyncio.to_thread(
        eventually, lambda: patient.metric("llm_active_requests", provider="slow") == 0, "all are let go"
    )
    assert state(patient, "slow") == state(patient, "slow", "provider") == 0


async def test_U_22_callers_beyond_a_providers_connections_are_turned_away(
    patient: GatewayProcess, provider: ProviderProcess
) -> None:
    """A hundred callers ask a silent provider that may have eight connections.

    Happens: eight wait for it, the others get 503 `queue_timeout` with `retry-after` after 2 s; who asks another
    provider meanwhile is answered.

    Seen: `llm_endpoint_queue_rejections_total`, the alert QueueRejecting; our own limit opens no breaker.
    """
    provider.script("full", [HANG])

    waiting = [await ask(patient, "crowded/full") for _ in range(100)]
    try:
        await asyncio.to_thread(seconds_for, patient, "calm/m3")
        rejected = "llm_endpoint_queue_rejections_total"
        await asyncio.to_thread(
            eventually, lambda: patient.metric(rejected, provider="crowded") == 92, "92 are turned away"
        )
        refused = [each for each in waiting if each[0]._buffer]  # type: ignore[attr-defined] # noqa: SLF001 - who has an answer
        assert len(refused) == 92
        head = (await refused[0][0].readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 503 ")
        assert "\r\nx-signalbox-error: queue_timeout\r\n" in head
        assert "\r\nretry-after: 1\r\n" in head
        assert len(provider.seen("full")["requests"]) == 8
    finally:
        for _, writer in waiting:
            writer.close()

    assert state(patient, "crowded") == state(patient, "crowded", "provider") == 0
