"""Callers who ask and do not read."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.failures import resident_bytes
from tests.support.processes import (
    PATIENCE_SECONDS,
    GatewayProcess,
    ProviderProcess,
    event,
    gateway_process,
    send,
    stream,
)
from tests.support.provider_faults import ask_and_wait, eventually

pytestmark = pytest.mark.e2e

MIB = 2**20
EVENT = event("x" * 1000)
FLOOD = stream({"repeat": send((b"%x\r\n%b\r\n" % (len(EVENT), EVENT)) * 16)["send"], "every": 0})
ONE_CALLER = {"lean": MIB, "httpx": 8 * MIB}
"""What a call may hold for a caller who takes nothing; the event loop reads as much ahead for httpx."""
STALL_SECONDS = 2.0


@pytest.fixture(params=["lean", "httpx"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def impatient(kind: str, provider: ProviderProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that cuts off who takes nothing for two seconds."""
    row = {"base_url": provider.base_url("primary"), "upstream": kind}
    config = {
        "providers": {"primary": row},
        "cache": {"enabled": False},
        "server": {"write_stall_seconds": STALL_SECONDS},
    }
    with gateway_process(tmp_path, config) as process:
        yield process


def flooded(gateway: GatewayProcess, provider: ProviderProcess, model: str, kind: str, callers: int) -> None:
    provider.script(model, FLOOD)
    gateway.chat(f"primary/{model}-warm")
    before = resident_bytes(gateway)
    highest = 0
    with ExitStack() as stack:
        for number in range(callers):
            body = {"model": f"primary/{model}", "stream": True}
            stack.enter_context(ask_and_wait(gateway, body, request_id=f"{model}-{number}"))

        def all_cut() -> bool:
            nonlocal highest
            highest = max(highest, resident_bytes(gateway))
            return bool(provider.seen(model)["left"] == callers)

        eventually(all_cut, "every provider's connection is closed", patience=3 * PATIENCE_SECONDS)
    assert highest - before < callers * ONE_CALLER[kind] + 16 * MIB
    assert gateway.metric("llm_requests_total", provider="primary", status="error") == callers
    assert gateway.metric("llm_streams_total", provider="primary", ending="client_disconnected") == callers
    assert gateway.metric("llm_active_requests", provider="primary") == 0
    statuses = [line["status"] for line in gateway.log() if line.get("request_id", "").startswith(f"{model}-")]
    assert statuses == ["client_disconnected"] * callers
    cut = [line for line in gateway.log() if line["event"] == "a client reads nothing and is cut off"]
    assert [line["after_seconds"] for line in cut] == [STALL_SECONDS] * callers
    assert gateway.chat(f"primary/{model}-after").status_code == 200


def test_S_03_callers_who_never_read(
    impatient: GatewayProcess, provider: ProviderProcess, model: str, kind: str
) -> None:
    """A few callers ask for streams without an end and read nothing.

    Happens: the provider is read no further once 64 KiB wait for the caller and 64 KiB behind them; who takes nothing
    for `server.write_stall_seconds` is cut off, and the provider with it.
    Seen: `client_disconnected` in the log and in `llm_streams_total{ending=…}`; a warning tells of the stall.
    """
    flooded(impatient, provider, model, kind, callers=4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lean"])
def test_S_03_two_hundred_callers_who_never_read(
    impatient: GatewayProcess, provider: ProviderProcess, model: str, kind: str
) -> None:
    """200 callers ask for streams without an end and read nothing.

    Happens: less than 1 MiB is held for each; all are cut off after `server.write_stall_seconds`.
    Seen: `process_resident_memory_bytes` stays bounded; 200 calls end as `client_disconnected`.
    """
    flooded(impatient, provider, model, kind, callers=200)


def test_S_03_a_slow_caller_is_not_cut_off(
    impatient: GatewayProcess, provider: ProviderProcess, model: str, kind: str
) -> None:
    """A caller reads slowly, but goes on reading.

    Happens: each byte that is taken begins `server.write_stall_seconds` anew: the call goes on however long it takes.
    Seen: nothing.
    """
    provider.script(model, FLOOD)

    with ask_and_wait(impatient, {"model": f"primary/{model}", "stream": True}, request_id=model) as caller:
        for _ in range(8):
            taken = 0
            while taken < 8 * MIB:
                taken += len(caller.recv(MIB))
            time.sleep(STALL_SECONDS / 5)
        left = provider.seen(model)["left"]

    assert left == 0
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on when the caller leaves")
