"""The same target is asked again where that is safe, and not too often."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.breakers import GOOD
from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process, stream
from tests.support.provider_faults import ABORT, refusal

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def gateway(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = {
        "providers": {"retried": {"base_url": provider.base_url("retried")}},
        "retry": {"backoff_seconds": 0.01},
        "cache": {"enabled": False},
    }
    with gateway_process(tmp_path_factory.mktemp("gateway"), config) as process:
        yield process


@pytest.mark.parametrize("status", ["500 Oops", "502 Bad", "503 Busy", "529 Overloaded"])
def test_U_13_a_provider_that_fails_twice_is_asked_three_times(
    gateway: GatewayProcess, provider: ProviderProcess, status: str
) -> None:
    """A provider answers 500, 502, 503 or 529 twice, then well.

    Happens: the same target is asked again, at most twice, with waits that differ by chance; the caller gets 200.

    Seen: three attempts in `x-signalbox-attempts`, `llm_retries_total` +2, `llm_requests_total{status="success"}` +1.
    """
    model, labels = f"twice-{status[:3]}", {"provider": "retried"}
    provider.script(model, refusal(status), refusal(status), GOOD)
    won = gateway.metric("llm_requests_total", **labels, status="success")
    retries = gateway.metric("llm_retries_total", **labels, reason="upstream_error")
    attempts = gateway.metric("llm_provider_requests_total", **labels)

    response = gateway.chat(f"retried/{model}")

    assert response.status_code == 200
    assert response.headers["x-signalbox-attempts"] == "retried:upstream_error,retried:upstream_error,retried:ok"
    assert len(provider.seen(model)["requests"]) == 3
    assert gateway.metric("llm_requests_total", **labels, status="success") == won + 1
    assert gateway.metric("llm_retries_total", **labels, reason="upstream_error") == retries + 2
    assert gateway.metric("llm_provider_requests_total", **labels) == attempts + 3
    assert gateway.metric("llm_active_requests", **labels) == 0


def test_U_13_a_stream_is_asked_again_before_its_first_event_only(
    gateway: GatewayProcess, provider: ProviderProcess
) -> None:
    """A provider answers 503 to a stream, then begins one and breaks off.

    Happens: it is asked again after the 503, and not after the first event.

    Seen: two attempts in the log, the second of them `upstream_truncated`.
    """
    first = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    provider.script("retried-stream", refusal("503 Busy"), stream(first, ABORT), GOOD)

    response = gateway.chat("retried/retried-stream", stream=True)

    assert first in response.content
    assert b"[DONE]" not in response.content
    assert len(provider.seen("retried-stream")["requests"]) == 2
    (line,) = gateway.log_of(response.headers["x-request-id"])
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
