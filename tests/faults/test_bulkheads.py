"""A provider that is slow, or full, costs the callers of others nothing."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.support.breakers import state
from tests.support.processes import (
    PATIENCE_SECONDS,
    GatewayProcess,
    ProviderProcess,
    gateway_process,
)
from tests.support.provider_faults import HANG, eventually

pytestmark = pytest.mark.e2e

CALLERS = 1000


@pytest.fixture(scope="module")
def gateway(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = {
        "server": {"max_in_flight": 2 * CALLERS},
        "providers": {
            "calm": {"base_url": provider.base_url("calm")},
            "slow": {"base_url": provider.base_url("slow"), "max_connections": 2 * CALLERS},
            "crowded": {"base_url": provider.base_url("crowded"), "max_connections": 8},
        },
        "retry": {"backoff_seconds": 0.01},
        "cache": {"enabled": False},
    }
    with gateway_process(tmp_path_factory.mktemp("gateway"), config) as process:
        yield process


async def ask(gateway: GatewayProcess, model: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{gateway.port}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    return reader, writer


def come(asked: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
    """What has been answered, unread."""
    return bytes(asked[0]._buffer)  # type: ignore[attr-defined] # noqa: SLF001 - reading would wait


def seconds_for(gateway: GatewayProcess, model: str, times: int = 30) -> float:
    """The median of so many calls, which are all answered."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        assert gateway.chat(model).status_code == 200
        spent.append(time.perf_counter() - started)
    return median(spent)


async def test_U_22_a_thousand_calls_that_hang_at_one_provider_do_not_touch_another(
    gateway: GatewayProcess, provider: ProviderProcess
) -> None:
    """A thousand callers wait for a provider that says nothing, while others ask another provider.

    Happens: those are answered as fast as before.

    Seen: `llm_active_requests{provider="slow"}` 1000, `llm_endpoint_connections`; no breaker has turned.
    """
    provider.script("never-answering", [HANG])
    before = await asyncio.to_thread(seconds_for, gateway, "calm/m2")

    waiting = [await ask(gateway, "slow/never-answering") for _ in range(CALLERS)]
    try:
        await asyncio.to_thread(
            eventually, lambda: gateway.metric("llm_endpoint_connections", provider="slow", state="active") == CALLERS,
            "all are at the provider",
        )  # fmt: skip # one condition
        assert gateway.metric("llm_active_requests", provider="slow") == CALLERS
        during = await asyncio.to_thread(seconds_for, gateway, "calm/m2")
        assert gateway.metric("llm_active_requests", provider="slow") == CALLERS
    finally:
        for _, writer in waiting:
            writer.close()

    assert during < 5 * before
    await asyncio.to_thread(
        eventually, lambda: gateway.metric("llm_active_requests", provider="slow") == 0, "all are let go"
    )
    assert state(gateway, "slow") == state(gateway, "slow", "provider") == 0


async def test_U_22_callers_beyond_a_providers_connections_are_turned_away(
    gateway: GatewayProcess, provider: ProviderProcess
) -> None:
    """A hundred callers ask a silent provider that may have eight connections.

    Happens: eight wait for it, the others get 503 `queue_timeout` with `retry-after` after 2 s; who asks another
    provider meanwhile is answered.

    Seen: `llm_endpoint_queue_rejections_total`, the alert QueueRejecting; our own limit opens no breaker.
    """
    provider.script("crowding", [HANG])

    waiting = [await ask(gateway, "crowded/crowding") for _ in range(100)]
    try:
        await asyncio.to_thread(seconds_for, gateway, "calm/m3")
        rejected = "llm_endpoint_queue_rejections_total"
        await asyncio.to_thread(
            eventually, lambda: gateway.metric(rejected, provider="crowded") == 92, "92 are turned away"
        )
        refused = [each for each in waiting if come(each)]
        assert len(refused) == 92
        head = (await refused[0][0].readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 503 ")
        assert "\r\nx-signalbox-error: queue_timeout\r\n" in head
        assert "\r\nretry-after: 1\r\n" in head
        assert len(provider.seen("crowding")["requests"]) == 8
    finally:
        for _, writer in waiting:
            writer.close()

    assert state(gateway, "crowded") == state(gateway, "crowded", "provider") == 0


async def test_U_22_a_thousand_calls_that_hang_find_the_limits_as_they_are(
    provider: ProviderProcess, tmp_path: Path
) -> None:
    """The same with no limit configured: a thousand calls are all that may be in flight, and 512 connections one
    provider's.

    Happens: 512 of them wait for the silent provider, 256 for a connection to it for 2 s, and the others get 503
    `queue_full` at once; who asks another provider is answered from the first moment on.

    Seen: `llm_endpoint_queue_rejections_total`; `x-signalbox-error`.
    """
    provider.script("hanging", [HANG])
    rows = {name: {"base_url": provider.base_url(name)} for name in ("slow", "calm")}
    with gateway_process(tmp_path, {"providers": rows, "cache": {"enabled": False}}) as gateway:
        waiting = [await ask(gateway, "slow/hanging") for _ in range(CALLERS)]
        try:
            answered = await asyncio.to_thread(lambda: [gateway.chat("calm/m4").status_code for _ in range(30)])
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(heads := [head for each in waiting if (head := come(each))]) < CALLERS - 512:  # noqa: ASYNC110 - bytes come unasked
                    await asyncio.sleep(0.05)
            rejected = gateway.metric("llm_endpoint_queue_rejections_total", provider="slow")
        finally:
            for _, writer in waiting:
                writer.close()
        await asyncio.to_thread(
            eventually, lambda: gateway.metric("llm_active_requests", provider="slow") == 0, "all are let go"
        )

    words = [word for word in ("queue_full", "queue_timeout") for head in heads if f": {word}\r\n".encode() in head]
    assert answered == [200] * 30
    assert len(words) == CALLERS - 512
    assert words.count("queue_timeout") >= 256  # more, where it took the callers two seconds to come
    assert rejected == CALLERS - 512
