"""Ends and beginnings: a stop under load, a start, the loss of Redis; and what a scrape costs."""

import asyncio
import signal
import time
from contextlib import suppress

from benchmarks.gateways import KEY
from benchmarks.reliability.bench import AUTHORIZED, Figure, Json, Place, asked, ms, quantile, timed
from benchmarks.soak.wire import Wire

DRAIN_SECONDS = 3.0
STREAMS = 50
IDLE = 50
MODELS = 50
PROVIDERS = 10
LOOKS = 20


async def drain(place: Place) -> list[Figure]:
    """Streams without an end, idle connections, and SIGTERM."""
    with place.gateway(place.settings(server={"drain_seconds": DRAIN_SECONDS})) as running:
        streams, idle = [Wire(running.port) for _ in range(STREAMS)], [Wire(running.port) for _ in range(IDLE)]
        for wire in streams:
            await asked(wire, "paced-100", stream=True)
            await wire.head()
        for wire in idle:
            await wire.get("/health/live")
        probe = Wire(running.port)
        await probe.get("/health/live")
        running.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        unready = await _unready(probe, begun)
        gone = await asyncio.gather(*(_end(wire, begun) for wire in idle))
        ends = await asyncio.gather(*(_rest(wire) for wire in streams))
        code = await asyncio.to_thread(running.process.wait, 30)
        took = time.monotonic() - begun
    told = sum(b'"cancelled_by_shutdown"' in end for end in ends)
    target, met = f"≤ {DRAIN_SECONDS:g} s + 5 s, exit 3: calls were cut", took <= DRAIN_SECONDS + 5 and code == 3
    return [
        Figure("SIGTERM: not ready", "≤ 100 ms", ms(unready), unready <= 0.1),
        Figure(
            "SIGTERM: idle connections closed", "≤ 1 s", f"the last of {IDLE} after {ms(max(gone))}", max(gone) <= 1
        ),
        Figure(f"SIGTERM: ended, {STREAMS} endless streams", target, f"{took:.2f} s, exit {code}", met),
        Figure(
            "SIGTERM: streams that are told why", f"{STREAMS} of {STREAMS}", f"{told} of {STREAMS}", told == STREAMS
        ),
    ]


async def _unready(probe: Wire, begun: float) -> float:
    """Seconds until readiness says no, or nobody can ask any more."""
    while time.monotonic() - begun < 10:
        try:
            await probe.ask("/health/ready")
            if (await probe.head()).status == 503:
                break
            await probe.rest()
        except (OSError, EOFError):
            break
        await asyncio.sleep(0.005)
    await probe.leave()
    return time.monotonic() - begun


async def _end(wire: Wire, begun: float) -> float:
    with suppress(OSError, EOFError):
        await wire.head()
    return time.monotonic() - begun


async def _rest(wire: Wire) -> bytes:
    last = b""
    try:
        while piece := await wire.piece():
            last = piece
    except (OSError, EOFError, ValueError):
        pass
    return last


async def restart(place: Place) -> list[Figure]:
    """From exec to the first answer of a provider, five times."""
    found = []
    for _ in range(5):
        with place.gateway(place.settings()) as running:
            wire = Wire(running.port)
            await timed(wire, "paced-0")
            found.append(time.monotonic() - running.begun)
            await wire.leave()
    return [Figure("serving after exec", "≤ 2 s", f"{quantile(found, 0.5):.2f} s", max(found) <= 2)]


async def redis_loss(place: Place) -> list[Figure]:
    """Redis stands still (the worst there is: nothing is refused), and goes on."""
    with place.redis() as (port, redis):
        cache = {"backend": "redis", "url": f"redis://127.0.0.1:{port}/0", "l1_seconds": 0}
        with place.gateway(place.settings(cache=cache)) as running:
            wire = Wire(running.port)
            with_redis = await _some(wire, 200)
            redis.send_signal(signal.SIGSTOP)
            lost = await _some(wire, 200)
            redis.send_signal(signal.SIGCONT)
            begun = time.monotonic()
            back = await _hit_again(wire, begun)
            await wire.leave()
    usual = quantile(with_redis, 0.5)
    first, after = max(lost[:5]) - usual, quantile(lost[5:], 0.99) - usual
    met = first <= 0.1 and after <= 0.005
    said = f"{ms(first)} at most for the first 5, p99 {ms(after)} after"
    return [
        Figure("Redis stands still: added to a call", "≤ 100 ms for the first 5, p99 ≤ 5 ms after", said, met),
        Figure("Redis is back: hits again", "≤ 10 s", f"{back:.2f} s", back <= 10),
    ]


async def _some(wire: Wire, count: int) -> list[float]:
    return [(await timed(wire, "paced-0"))[1] for _ in range(count)]


async def _hit_again(wire: Wire, begun: float) -> float:
    while time.monotonic() - begun < 60:
        _, _, fields = await timed(wire, "paced-0", call="the same")
        if fields.get("x-signalbox-cache") == "hit":
            break
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


async def metrics(place: Place) -> list[Figure]:
    """Every model of every provider was asked for, with twenty keys."""
    url = f"http://127.0.0.1:{place.provider}/v1"
    rows = {
        f"provider-{row}": {"base_url": url, "models": [f"model-{number}" for number in range(MODELS)]}
        for row in range(PROVIDERS)
    }
    routes = {f"m{row}-{number}": [f"provider-{row}:paced-0"] for row in range(PROVIDERS) for number in range(MODELS)}
    keys: Json = {f"key-{number}": {"key": f"{KEY}-{number}"} for number in range(20)}
    settings: Json = place.settings() | {"providers": rows, "routes": routes, "keys": keys | {"bench": {"key": KEY}}}
    with place.gateway(settings) as running:
        wire = Wire(running.port)
        for model in routes:
            await timed(wire, model)
        took, size = [], 0
        for _ in range(LOOKS):
            begun = time.monotonic()
            await wire.ask("/metrics", fields=AUTHORIZED)
            await wire.head()
            size = len(await wire.rest())
            took.append(time.monotonic() - begun)
        await wire.leave()
    said = f"{ms(max(took))} at most, {size / 1024:,.0f} KB"
    title = f"`/metrics`, {PROVIDERS} providers x {MODELS} models"
    return [Figure(title, "≤ 100 ms, ≤ 1 MB", said, max(took) <= 0.1 and size <= 1024 * 1024)]
