"""More than it can take: half of what it can, three times as much, and two thousand connections that say nothing."""

import asyncio
import time
from collections import Counter

from benchmarks.endpoint import Endpoint
from benchmarks.gateways import Direct, Signalbox
from benchmarks.gateways import Place as Around
from benchmarks.generator import Generator, Span, compiled
from benchmarks.loads import Load
from benchmarks.processes import Cores, Processes, free_port, wait_for_port
from benchmarks.reliability.bench import Figure, Place, Running, ms, quantile, timed
from benchmarks.soak.wire import Wire

IN_FLIGHT = 50
THINKS_SECONDS = 0.1
OVER = 3
HALF_OPEN = 2000
CALLS_A_SECOND = 100


def throughput(place: Place, processes: Processes, cores: Cores) -> list[Figure]:
    """Misses and hits at full speed, and what is added at half of it; by the benchmarks' own generator."""
    mock = free_port()
    started = processes.start(
        cores.on(cores.load, [compiled("mock", place.directory), str(mock)]),
        place.directory,
        place.directory / "mock.log",
        {},
    )
    wait_for_port(mock, started)
    around = Around(place.directory, place.directory, mock, 0)
    generator, gateway = Generator(place.directory, cores, mock), Signalbox()
    plan = gateway.plan(around)
    log = place.directory / "throughput.log"
    running = processes.start(cores.on(cores.gateway, plan.command), place.directory, log, plan.environ)
    ends = {
        "ours": Endpoint("signalbox", plan, running, log),
        "direct": Endpoint("direct", Direct().plan(around), started, log),
    }
    ends["ours"].wait()
    span, found = Span(1, place.seconds), []
    for title, hits, least in (("misses", False, 500), ("hits", True, 1500)):
        full = generator.run(ends["ours"], Load("full", "", hits=hits), span)
        said = f"{full.rps:,.0f}/s, {full.errors} failed"
        found.append(Figure(f"whole answers, {title}", f"≥ {least:,}/s", said, full.rps >= least and not full.errors))
        half = Load("half", "", hits=hits, rate=max(1, int(full.rps / 2)))
        ours, direct = generator.run(ends["ours"], half, span), generator.run(ends["direct"], half, span)
        middle, more = (max(0.0, getattr(ours, name) - getattr(direct, name)) / 1e6 for name in ("p50", "p99"))
        met = middle <= 0.003 and more <= 0.015 and not ours.errors
        said = f"p50 {ms(middle)}, p99 {ms(more)} at {half.rate:,}/s"
        found.append(Figure(f"added at half of that, {title}", "p50 ≤ 3 ms, p99 ≤ 15 ms", said, met))
    processes.stop(running)
    processes.stop(started)
    return found


async def answers(running: Running, rate: float, seconds: float) -> tuple[Counter[int], dict[int, list[float]]]:
    """Questions at a fixed rate, whatever the answers take: how many of each status, and how long they took."""
    counts: Counter[int] = Counter()
    took: dict[int, list[float]] = {}
    free: list[Wire] = []

    async def one() -> None:
        wire = free.pop() if free else Wire(running.port)
        try:
            status, lasted, _ = await timed(wire, "paced-100")
        except (OSError, EOFError, ValueError):
            status, lasted = 0, 0.0
            await wire.leave()
        counts[status] += 1
        took.setdefault(status, []).append(lasted)
        free.append(wire)

    begun, number = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while (now := time.monotonic() - begun) < seconds:
            while number < now * rate:
                group.create_task(one())
                number += 1
            await asyncio.sleep(0.002)
    for wire in free:
        await wire.leave()
    return counts, took


async def overload(place: Place) -> list[Figure]:
    """The cap makes the capacity: so many calls at a time, each of which takes a tenth of a second."""
    title = f"{OVER} times what it may take"
    settings = place.settings(server={"max_in_flight": IN_FLIGHT})
    capacity = IN_FLIGHT / THINKS_SECONDS
    with place.gateway(settings) as running:
        await answers(running, capacity * 0.5, 1)
        full, _ = await answers(running, capacity * 0.9, place.seconds)
        over, took = await answers(running, capacity * OVER, place.seconds)
        await asyncio.sleep(5)
        after, _ = await answers(running, capacity * 0.5, 2)
    good = over[200] / max(1.0, full[200] / 0.9)
    refused, others = took.get(503, []), sum(over.values()) - over[200] - over[503]
    said = (
        f"{good:.0%} of the maximum answered; {over[503]} times 503, p99 {ms(quantile(refused, 0.99))}; {others} others"
    )
    met = good >= 0.8 and bool(refused) and quantile(refused, 0.99) <= 0.05 and not others
    return [
        Figure(title, "≥ 80 % of the maximum, the rest 503 in ≤ 50 ms", said, met),
        Figure("5 s later", "as before", f"{after[200]} of {sum(after.values())} answered", set(after) == {200}),
    ]


async def slowloris(place: Place) -> list[Figure]:
    """Half-open connections, renewed as the gateway closes them, while somebody asks at leisure."""
    with place.gateway(place.settings()) as running:
        await _calls(running, 1)
        quiet = await _calls(running, place.seconds)
        with place.holding(running.port, HALF_OPEN):
            await asyncio.sleep(2)
            busy = await _calls(running, place.seconds)
    before, during = quantile(quiet, 0.99), quantile(busy, 0.99)
    said = f"p99 {ms(before)} without, {ms(during)} with: {during / before:.2f} times"
    return [Figure(f"{HALF_OPEN:,} half-open connections", "p99 at most twice", said, during <= 2 * before)]


async def _calls(running: Running, seconds: float) -> list[float]:
    _, took = await answers_of(running, CALLS_A_SECOND, seconds)
    return took


async def answers_of(running: Running, rate: float, seconds: float) -> tuple[int, list[float]]:
    """How many of the answers were not 200, and how long those took that were."""
    counts, took = await answers(running, rate, seconds)
    return sum(counts.values()) - counts[200], took.get(200, [])
