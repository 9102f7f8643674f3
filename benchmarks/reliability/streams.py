"""Streams: how late each event is, what one costs in memory, and how soon a provider learns that nobody reads."""

import asyncio
import re
import time

import msgspec

from benchmarks.reliability.bench import AUTHORIZED, Figure, Place, Running, asked, ms, quantile, resident_kb
from benchmarks.soak.bill import samples_of
from benchmarks.soak.wire import Wire

STREAMS = 500
EVENTS_A_SECOND = 10
LEAVERS = 200
_sent = re.compile(rb'"content":"(\d+)"').findall


async def lags(port: int, seconds: float, *, count: int = STREAMS, settled: float = 2.0) -> tuple[list[float], int]:
    """Seconds each event was under way, but for those of the first moments; and how many streams failed."""
    found: list[float] = []
    failed, begun = 0, time.monotonic()

    async def one(number: int) -> None:
        nonlocal failed
        wire = Wire(port)
        await asyncio.sleep(number / count)  # spread over a second, as callers are
        try:
            await asked(wire, "paced-100", stream=True)
            failed += (await wire.head()).status != 200
            while time.monotonic() - begun < seconds + settled:
                events = _sent(await wire.piece())
                now = time.monotonic_ns()
                if time.monotonic() - begun > settled:
                    found.extend((now - int(each)) / 1e9 for each in events)
        except (OSError, EOFError, ValueError):
            failed += 1
        finally:
            await wire.leave()

    await asyncio.gather(*(one(number) for number in range(count)))
    return found, failed


async def streams(place: Place) -> list[Figure]:
    direct, _ = await lags(place.provider, place.seconds)
    with place.gateway(place.settings()) as running:
        await lags(running.port, 1, count=20)
        before = resident_kb(running.process.pid)
        measuring = asyncio.create_task(lags(running.port, place.seconds))
        await asyncio.sleep(place.seconds / 2 + 2)
        each_kb = (resident_kb(running.process.pid) - before) / STREAMS
        through, failed = await measuring
        late = await loop_lag(running)
    more, middle = (quantile(through, part) - quantile(direct, part) for part in (0.99, 0.5))
    expected = STREAMS * EVENTS_A_SECOND * place.seconds
    title = f"{STREAMS} streams x {EVENTS_A_SECOND} events/s, added to an event"
    said = f"p50 {ms(middle)}, p99 {ms(more)}; {failed} failed; {len(through) / expected:.0%} of the events came"
    return [
        Figure(title, "p99 ≤ 50 ms, none fails", said, more <= 0.05 and not failed and len(through) > 0.95 * expected),
        Figure("memory for each of them", "≤ 100 KB", f"{each_kb:.0f} KB", each_kb <= 100),
        Figure("event loop's lag meanwhile", "p99.9 ≤ 50 ms", late[0], late[1]),
    ]


async def loop_lag(running: Running) -> tuple[str, bool]:
    """The smallest bucket that holds 99.9 % of the looks."""
    wire = Wire(running.port)
    await wire.ask("/metrics", fields=AUTHORIZED)
    await wire.head()
    samples = samples_of((await wire.rest()).decode())
    await wire.leave()
    buckets = sorted(
        (float(dict(labels)["le"]), value)
        for (name, labels), value in samples.items()
        if name == "llm_event_loop_lag_seconds_bucket"
    )
    if not buckets:
        value = samples.get(("llm_event_loop_lag_seconds", ()), 0.0)
        return ms(value), value <= 0.05
    bound = next(le for le, value in buckets if value >= 0.999 * buckets[-1][1])
    return f"≤ {ms(bound)}", bound <= 0.05


async def disconnects(place: Place) -> list[Figure]:
    """Half of them leave a stream that flows, the others while they wait for a whole answer."""
    went: dict[str, float] = {}
    with place.gateway(place.settings()) as running:

        async def one(number: int) -> None:
            wire, call, stream = Wire(running.port), f"leaver-{number}", number % 2 == 0
            await asked(wire, "paced-100" if stream else "forever", stream=stream, call=call)
            if stream:
                await wire.head()
                await wire.piece()
            await asyncio.sleep(1 + number % 10 / 20)
            await wire.leave()
            went[call] = time.monotonic()

        await asyncio.gather(*(one(number) for number in range(LEAVERS)))
        await asyncio.sleep(2)
        wire = Wire(place.provider)
        left = msgspec.json.decode(await wire.get("/left"), type=dict[str, float | None])
        await wire.leave()
    came = [call for call in went if call in left]
    took = [max(0.0, at - went[call]) for call in came if (at := left[call]) is not None]
    said = (
        f"p50 {ms(quantile(took, 0.5))}, p99 {ms(quantile(took, 0.99))}; {len(came) - len(took)} of {len(came)} never"
    )
    title = f"{LEAVERS} callers leave: the provider is left"
    return [Figure(title, "p99 ≤ 1 s", said, len(took) == len(came) and quantile(took, 0.99) <= 1)]
