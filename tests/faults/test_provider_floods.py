"""Providers that send too much: the gateway's memory stays where it was."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.processes import GatewayProcess, ProviderProcess, event, gateway_process, send, stream
from tests.support.provider_faults import assert_failed, eventually, last_error

pytestmark = pytest.mark.e2e

MIB = 2**20
KIB_64 = b"x" * 2**16
TIMES = {"connect": 10.0, "first_byte": 3.0, "idle": 10.0, "total": 30.0, "stream_total": 30.0}
"""Of what must end by its size; what only time ends has three seconds."""
ANSWER = {"content-type": "application/json"}


def again(data: bytes, every: float = 0) -> dict[str, Any]:
    return {"repeat": send(data)["send"], "every": every}


def head(*fields: str) -> dict[str, str]:
    return send("".join(f"{field}\r\n" for field in ("HTTP/1.1 200 OK", *fields)).encode() + b"\r\n")


def bomb() -> bytes:
    """A gigabyte in a megabyte; twice packed it would be less than ten kilobytes."""
    return gzip.compress(bytes(1024 * MIB), compresslevel=1)


def packed_bomb(*fields: str) -> list[dict[str, Any]]:
    body = bomb()
    return [head("content-encoding: gzip", f"content-length: {len(body)}", *fields), send(body), {"hang": True}]


class Flood(NamedTuple):
    steps: list[Any]
    word: str = "upstream_malformed"
    status: int = 502
    grown: int = 16 * MIB
    """What it may cost in memory at most."""


LINE = b"data: " + KIB_64
HEADS = {
    "endless 102s": Flood([again(b"HTTP/1.1 102 Processing\r\n\r\n", 0.02)], "upstream_timeout", 504),
    "a flood of 103s": Flood([again(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 1000)], "", 0),
    "endless header lines": Flood([send(b"HTTP/1.1 200 OK\r\n"), again(b"x-a: b\r\n" * 100)]),
    "a slow header": Flood([send(b"HTTP/1.1 200 OK\r\n"), again(b"x-a: b\r\n", 0.02)], "upstream_timeout", 504),
    "a header of 50 MB": Flood([send(b"HTTP/1.1 200 OK\r\nx-a: "), *[send(KIB_64)] * 800]),
    "a status line without an end": Flood([send(b"HTTP/1.1 200 "), again(KIB_64)]),
}
CHUNKED_ON = send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
CHUNKED = send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
BODIES = {
    "a bomb": Flood(packed_bomb(), grown=80 * MIB),
    "a body of 64 MiB, as it says": Flood([head(f"content-length: {64 * MIB}"), again(KIB_64)]),
    "trailers without an end": Flood([CHUNKED, again(b"x-a: b\r\n" * 1000)]),
    "a trailer without an end": Flood([CHUNKED, send(b"x-a: "), again(KIB_64)]),
    "the head of a chunk without an end": Flood([CHUNKED_ON, send(b"5;a="), again(KIB_64)]),
    "a body without an end": Flood([head("connection: close"), again(KIB_64)], grown=80 * MIB),
}
STREAMS = {
    "200 MB without a line end": Flood(stream(again(b"%x\r\n%b\r\n" % (len(KIB_64), KIB_64)), end=False)),
    "an event of 2 MB": Flood(stream(LINE, *[KIB_64] * 32, b"\n\n", {"hang": True})),
    "a bomb": Flood(packed_bomb("content-type: text/event-stream"), grown=120 * MIB),
}


@pytest.fixture(scope="module", params=["lean", "httpx"])
def flooded(
    request: pytest.FixtureRequest, provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    row = {"base_url": provider.base_url("primary"), "timeouts": TIMES, "upstream": request.param}
    with gateway_process(tmp_path_factory.mktemp("flooded"), {"providers": {"primary": row}}) as process:
        yield process


def highest_bytes(gateway: GatewayProcess) -> int:
    """The most memory the process had since that was forgotten."""
    lines = Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def suffer(gateway: GatewayProcess, provider: ProviderProcess, model: str, flood: Flood, *, streamed: bool) -> None:
    for warm in (False, True):
        gateway.chat(f"primary/{model}-warm", stream=warm)
    provider.script(model, flood.steps)
    Path(f"/proc/{gateway.process.pid}/clear_refs").write_text("5")  # forget how high it was
    before = highest_bytes(gateway)

    response = gateway.chat(f"primary/{model}", stream=streamed)

    assert highest_bytes(gateway) - before < flood.grown
    if flood.word:
        assert_failed(response, flood.status, flood.word)
    else:
        assert response.headers["x-signalbox-error"] in {"upstream_malformed", "upstream_timeout"}
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")
    assert gateway.chat(f"primary/{model}-after").status_code == 200


@pytest.mark.parametrize("flood", HEADS.values(), ids=HEADS)
def test_U_06_heads_without_an_end(
    flooded: GatewayProcess, provider: ProviderProcess, model: str, flood: Flood
) -> None:
    """A provider sends interim answers for ever, header lines for ever, or a header of 50 MB.

    Happens: 502 `upstream_malformed` as soon as the head is over 64 KiB (100 KiB with httpx), else 504
    `upstream_timeout` when `timeouts.first_byte` is over, which nothing extends.
    Seen: the word in `llm_provider_errors_total`; `process_resident_memory_bytes` stays where it was.
    """
    suffer(flooded, provider, model, flood, streamed=False)


@pytest.mark.parametrize("flood", BODIES.values(), ids=BODIES)
def test_U_06_bodies_without_an_end(
    flooded: GatewayProcess, provider: ProviderProcess, model: str, flood: Flood
) -> None:
    """A provider answers with 64 MiB, with no end, with a gigabyte packed into one megabyte, or with endless trailers.

    Happens: 502 `upstream_malformed` as soon as 32 MiB are passed, before it where the head tells; its connection is
    closed. A packed answer is unpacked no further than that. What is around a body may be 64 KiB (100 KiB with httpx).
    Seen: `llm_provider_errors_total{error_type="upstream_malformed"}`; memory grows by what 32 MiB take, for so long.
    """
    suffer(flooded, provider, model, flood, streamed=False)


@pytest.mark.parametrize("flood", STREAMS.values(), ids=STREAMS)
def test_U_10_events_without_an_end(
    flooded: GatewayProcess, provider: ProviderProcess, model: str, flood: Flood
) -> None:
    """A provider streams without ever ending a line, or an event of 2 MB.

    Happens: 502 `upstream_malformed` at 1 MiB, or the same word as the last event where the stream had begun.
    Seen: `llm_provider_errors_total{error_type="upstream_malformed"}`; `process_resident_memory_bytes` stays flat.
    """
    suffer(flooded, provider, model, flood, streamed=True)


def test_U_10_an_event_without_an_end_in_mid_stream(
    flooded: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    """A stream that had begun well goes on with an event that does not end.

    Happens: the stream ends with an error event `upstream_malformed`, and nothing follows.
    Seen: `llm_streams_total{ending="upstream_malformed"}`.
    """
    provider.script(model, stream(event("well"), {"sleep": 0.05}, again(b"%x\r\n%b\r\n" % (2**16, KIB_64)), end=False))

    response = flooded.chat(f"primary/{model}", stream=True)

    assert last_error(response)["code"] == "upstream_malformed"
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")
