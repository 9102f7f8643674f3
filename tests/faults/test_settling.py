"""However a call ends it is settled once: in the counters, in the log, and as often as providers were asked."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import (
    PATIENCE_SECONDS,
    GatewayProcess,
    ProviderProcess,
    answer,
    event,
    gateway_process,
    send,
    stream,
)
from tests.support.provider_faults import ABORT, DONE, GATE, HANG, ask_and_wait, eventually, refusal

pytestmark = pytest.mark.e2e

FIRST, LAST = event("whole"), event("end", "stop")
LONG = event("x" * 4000)
FLOOD = stream({"repeat": send((b"%x\r\n%b\r\n" % (len(LONG), LONG)) * 4)["send"], "every": 0})
TIMES = {"connect": 10.0, "first_byte": 3.0, "idle": 3.0, "total": 60.0, "stream_total": 60.0}

Ending = tuple[list[Any], str]
ANSWERED: dict[str, Ending] = {
    "complete": (answer({"choices": [{"finish_reason": "stop"}]}), "ok"),
    "failed": (refusal("501 No"), "upstream_error"),
    "rejected": (refusal("400 No"), "upstream_rejected"),
    "malformed": (answer(b"<html>"), "upstream_malformed"),
    "empty": (answer({"choices": []}), "upstream_empty"),
    "cut": ([send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), ABORT], "upstream_truncated"),
    "late": ([HANG], "upstream_timeout"),
}
STREAMED: dict[str, Ending] = {
    "complete": (stream(FIRST, LAST, DONE), "ok"),
    "without [DONE]": (stream(FIRST, LAST), "ok"),
    "never begun": (stream(DONE), "upstream_empty"),
    "cut": (stream(FIRST, ABORT), "upstream_truncated"),
    "an error inside": (stream(FIRST, b'data: {"error":{"message":"no"}}\n\n'), "upstream_error"),
    "silent": (stream(FIRST, HANG), "upstream_timeout"),
    "an event without an end": (stream(FIRST, b"data: " + b"x" * 2**21, HANG), "upstream_malformed"),
}


class Ledger:
    """What one model's calls must have left behind: how each ended, by its request id."""

    def __init__(self, gateway: GatewayProcess, provider: ProviderProcess, model: str) -> None:
        self.ended: dict[str, str] = {}
        self._gateway = gateway
        self._provider = provider
        self._model = model

    def check(self, *, asked: int) -> None:
        """Counters, lines and what the provider saw say the same, once the last call has ended."""
        gateway, expected = self._gateway, Counter(self.ended.values())
        eventually(lambda: gateway.metric("llm_active_requests", provider="primary") == 0, "all have ended")
        lines = [line for line in gateway.log() if line.get("request_id", "") in self.ended]
        assert {line["request_id"]: line["status"] for line in lines} == self.ended
        assert len(lines) == len(self.ended)
        good = expected.pop("ok", 0)
        assert gateway.metric("llm_requests_total", provider="primary", status="success") == good
        assert gateway.metric("llm_requests_total", provider="primary", status="error") == expected.total()
        assert len(self._provider.seen(self._model)["requests"]) == asked
        assert gateway.metric("llm_provider_requests_total", provider="primary") == asked


@pytest.fixture(params=["lean", "httpx"])
def fresh(request: pytest.FixtureRequest, provider: ProviderProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that has counted nothing yet."""
    row = {"base_url": provider.base_url("primary"), "api_key": PROVIDER_KEY, "timeouts": TIMES}
    config = {
        "providers": {"primary": row | {"upstream": request.param, "models": ["none"]}},
        "server": {"write_stall_seconds": 2.0, "drain_seconds": 0.5},
        "health": {"probe": False},
    }
    with gateway_process(tmp_path, config) as process:
        yield process


@pytest.fixture
def ledger(fresh: GatewayProcess, provider: ProviderProcess, model: str) -> Ledger:
    return Ledger(fresh, provider, model)


def asking(gateway: GatewayProcess, model: str, request_id: str, **fields: Any) -> Callable[[], object]:
    """A call in a thread of its own; what is returned waits for its end."""
    body = {"model": f"primary/{model}", "messages": []} | fields
    url = f"{gateway.url}/v1/chat/completions"
    thread = threading.Thread(
        target=lambda: httpx.post(
            url, json=body, headers={"x-request-id": request_id}, timeout=PATIENCE_SECONDS, trust_env=False
        )
    )
    thread.start()
    return thread.join


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])
def test_S_12_every_ending_of_the_providers_making(
    fresh: GatewayProcess, provider: ProviderProcess, model: str, ledger: Ledger, *, streamed: bool
) -> None:
    """Calls end in every way a provider can end them: well, cut, late, malformed, empty, refused.

    Happens: each is settled once, with the word of its ending.
    Seen: `llm_requests_total`, the log's lines and the provider's own count of questions agree.
    """
    endings = STREAMED if streamed else ANSWERED
    provider.script(model, *(steps for steps, _ in endings.values()))

    for number, (_, word) in enumerate(endings.values()):
        request_id = f"{model}-{number}"
        fresh.chat(f"primary/{model}", stream=streamed, seed=number, headers={"x-request-id": request_id})
        ledger.ended[request_id] = word

    ledger.check(asked=len(endings))


LEAVING = {"before the head": [HANG], "in the stream": stream(FIRST, HANG), "slow": FLOOD}


@pytest.mark.parametrize("steps", LEAVING.values(), ids=LEAVING)
def test_S_12_every_ending_of_the_callers_making(
    fresh: GatewayProcess, provider: ProviderProcess, model: str, ledger: Ledger, steps: list[Any]
) -> None:
    """Callers leave before the head, in the stream, or read nothing until they are cut off.

    Happens: each call is settled once, as `client_disconnected`, and the provider is hung up on.
    Seen: `llm_requests_total`, the log's lines and the provider's own count of questions agree.
    """
    provider.script(model, steps)
    with ExitStack() as stack:
        for number in range(3):
            request_id = f"{model}-{number}"
            body = {"model": f"primary/{model}", "stream": True, "seed": number}
            caller = stack.enter_context(ask_and_wait(fresh, body, request_id=request_id))
            ledger.ended[request_id] = "client_disconnected"
            if steps is LEAVING["in the stream"]:
                while b"whole" not in caller.recv(65536):
                    pass
        eventually(lambda: len(provider.seen(model)["requests"]) == 3, "all have asked")
        if steps is FLOOD:
            eventually(lambda: provider.seen(model)["left"] == 3, "all were cut off")

    eventually(lambda: provider.seen(model)["left"] == 3, "the provider is hung up on")
    ledger.check(asked=3)


@pytest.mark.parametrize("who", ["the first", "another"])
def test_S_12_shared_answers(
    fresh: GatewayProcess, provider: ProviderProcess, model: str, ledger: Ledger, who: str
) -> None:
    """Three callers share one answer, and the one who asked first leaves, or another one.

    Happens: the provider is asked once; who left is settled as `client_disconnected`, the others as `ok`.
    Seen: three settled calls in `llm_requests_total` and the log, one attempt in `llm_provider_requests_total`.
    """
    provider.script(model, stream(FIRST, GATE, LAST, DONE))
    body = {"model": f"primary/{model}", "stream": True}
    ids = [f"{model}-{number}" for number in range(3)]

    def active(many: int) -> bool:
        return (
            fresh.metric("llm_active_requests", provider="primary")
            + fresh.metric("llm_active_requests", provider="none")
            == many
        )

    waits = [] if who == "the first" else [asking(fresh, model, ids[1], stream=True)]
    eventually(lambda: active(len(waits)), "the first has asked")
    with ask_and_wait(fresh, body, request_id=ids[0]):
        eventually(lambda: active(len(waits) + 1), "who leaves has asked")
        waits += [asking(fresh, model, each, stream=True) for each in ids[1 + len(waits) :]]
        eventually(lambda: active(3), "all have asked")
    for _ in range(3):  # later connections were served: who has left by now is known to have left
        httpx.get(f"{fresh.url}/health/live", trust_env=False).raise_for_status()
    provider.open(model)
    for wait in waits:
        wait()

    ledger.ended = {ids[0]: "client_disconnected", ids[1]: "ok", ids[2]: "ok"}
    ledger.check(asked=1)


def test_S_12_calls_cut_by_a_stop(fresh: GatewayProcess, provider: ProviderProcess, model: str, ledger: Ledger) -> None:
    """The gateway is told to stop, and calls outlast `server.drain_seconds`.

    Happens: each is told so and settled once, as `cancelled_by_shutdown`.
    Seen: one line each in the log; the process ends with 3.
    """
    provider.script(model, stream(FIRST, HANG))
    ids = [f"{model}-{number}" for number in range(3)]
    waits = [asking(fresh, model, each, stream=number != 2, seed=number) for number, each in enumerate(ids)]
    eventually(lambda: len(provider.seen(model)["requests"]) == 3, "all have asked")

    fresh.process.send_signal(signal.SIGTERM)
    ended = fresh.process.wait(PATIENCE_SECONDS)
    for wait in waits:
        wait()

    assert ended == 3
    lines = [json.loads(line) for line in fresh.log_text().splitlines()]
    statuses = Counter((line["request_id"], line["status"]) for line in lines if line.get("request_id") in ids)
    assert statuses == Counter((each, "cancelled_by_shutdown") for each in ids)
