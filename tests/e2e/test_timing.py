"""Where the time went, of whole answers and of streams."""

import time

import httpx
import pytest

from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, stream
from tests.support.raw import Wire, request

pytestmark = pytest.mark.e2e

WAIT_SECONDS = 0.4
GOOD = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}


def timing_of(response: httpx.Response) -> dict[str, float]:
    """Milliseconds by name, as `Server-Timing` says."""
    parts = (part.strip().split(";dur=") for part in response.headers["server-timing"].split(","))
    return {name: float(milliseconds) for name, milliseconds in parts}


def test_where_the_time_went_stands_in_every_answer_and_adds_up(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(f"{model}-bad", answer({"error": {"message": "no"}}, status="400 Bad Request"))
    usual = ["queue", "auth", "parse", "cache", "route", "connect", "upstream_wait", "serialise", "total"]
    asked = [
        (gateway.chat(f"primary/{model}"), usual),
        (gateway.chat(f"primary/{model}"), [*usual[:4], "serialise", "total"]),
        (gateway.chat(f"primary/{model}", stream=True), usual),
        (gateway.chat(f"primary/{model}-bad"), usual),
        (gateway.client.post("/v1/chat/completions", content="{"), ["queue", "auth", "parse", "serialise", "total"]),
        (gateway.client.get("/v1/chat/completions"), ["queue", "auth", "serialise", "total"]),
        (gateway.client.get("/v1/models"), ["total"]),
        (gateway.client.get("/nowhere"), ["total"]),
    ]

    for response, names in asked:
        timing = timing_of(response)
        assert list(timing) == names
        total = timing.pop("total")
        assert total > 0
        assert not timing or sum(timing.values()) == pytest.approx(total, abs=1.0)


def test_the_phases_of_all_calls_add_up_to_their_times(gateway: GatewayProcess, model: str) -> None:
    route = {"method": "POST", "route": "/v1/chat/completions"}
    phases = ["queue", "auth", "parse", "cache", "route", "connect", "upstream_wait", "stream", "serialise"]

    def spent() -> tuple[float, float, float]:
        together = sum(gateway.metric("llm_overhead_seconds_sum", phase=phase) for phase in phases)
        seconds = gateway.metric("http_request_duration_seconds_sum", **route)
        return together, seconds, gateway.metric("http_request_duration_seconds_count", **route)

    before = spent()
    for number in range(5):
        gateway.chat(f"primary/{model}", seed=number, stream=number % 2 == 1)
    together, seconds, count = (after - earlier for after, earlier in zip(spent(), before, strict=True))

    assert count == 5
    assert together == pytest.approx(seconds, abs=0.001 * count)


def test_a_stream_is_counted_to_its_last_event(gateway: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    """Whether it came to its end, broke, or was left."""
    whole = stream(event("a"), event("b"), event("c", "stop"), b"data: [DONE]\n\n")
    provider.script(f"{model}-whole", whole)
    provider.script(f"{model}-cut", stream(event("a"), event("b"), {"close": True}, end=False))
    provider.script(f"{model}-left", stream(event("a"), {"gate": True}, end=False))
    names = [("llm_stream_chunks_total", {}), ("llm_stream_bytes_total", {})]
    endings = ("complete", "upstream_truncated", "client_disconnected")
    names += [("llm_streams_total", {"ending": each}) for each in endings]
    before = [gateway.metric(name, provider="primary", **labels) for name, labels in names]

    gateway.chat(f"primary/{model}-whole", stream=True)
    gateway.chat(f"primary/{model}-cut", stream=True)
    body = {"model": f"primary/{model}-left", "messages": [], "stream": True}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_raw())
    deadline = time.monotonic() + 15
    while gateway.metric("llm_streams_total", provider="primary", ending="client_disconnected") == before[-1]:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    after = [gateway.metric(name, provider="primary", **labels) for name, labels in names]
    size = len(event("a")) * 3 + len(event("b")) * 2 + len(event("c", "stop"))
    assert [now - then for now, then in zip(after, before, strict=True)] == [6, size, 1, 1, 1]


def test_the_wait_for_a_provider_is_told_as_that(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, [{"sleep": WAIT_SECONDS}, *answer(GOOD)])

    timing = timing_of(gateway.chat(f"primary/{model}"))

    assert timing.pop("total") >= timing["upstream_wait"] >= WAIT_SECONDS * 1000
    assert max(timing, key=lambda phase: timing[phase]) == "upstream_wait"


def test_a_slow_sender_is_told_as_queue(gateway: GatewayProcess, model: str) -> None:
    whole = request(gateway.port, b'{"model":"primary/%b","messages":[]}' % model.encode())
    with Wire(gateway.port) as wire:
        wire.send(whole[:-5])
        time.sleep(WAIT_SECONDS)
        wire.send(whole[-5:])
        timing = timing_of(wire.answer())

    assert timing.pop("total") >= timing["queue"] >= WAIT_SECONDS * 900  # its head was not there at once
    assert max(timing, key=lambda phase: timing[phase]) == "queue"


def test_a_pause_in_a_stream_is_its_gap_and_not_its_first_event(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
    steps = [event("a"), {"sleep": WAIT_SECONDS}, event("b"), event("c", "stop"), usage, b"data: [DONE]\n\n"]
    provider.script(model, stream(*steps))
    names = ["llm_stream_largest_gap_seconds", "llm_time_per_output_token_seconds", "llm_time_to_first_chunk_seconds"]

    def seen() -> list[float]:
        streamed = [gateway.metric(f"{name}_sum", provider="primary") for name in names]
        return [*streamed, gateway.metric("llm_overhead_seconds_sum", phase="stream")]

    before = seen()
    gateway.chat(f"primary/{model}", stream=True)
    gap, per_token, first, whole = (now - then for now, then in zip(seen(), before, strict=True))

    assert whole >= gap >= WAIT_SECONDS * 0.9
    assert per_token == pytest.approx(whole / 2, rel=0.05), "two tokens after the first"
    assert first < gap
