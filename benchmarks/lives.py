"""What is measured on a process of its own: cold start, memory, and a second worker."""

from benchmarks.endpoint import Endpoint, WrongAnswerError
from benchmarks.gateways import Gateway, Signalbox, UnavailableError
from benchmarks.generator import Counted, Span
from benchmarks.loads import BURST, SATURATION, Load
from benchmarks.measure import pss_kb, settle, slope
from benchmarks.results import Results
from benchmarks.suite import Bench, Options, run_load, say

LIFE = "life"
WORKERS = "workers"
FILL = 10_000
POINTS = 10
LONGEST_SECONDS = 60.0
REST_SECONDS = 5.0


def run_lives(bench: Bench, gateways: list[Gateway], options: Options, results: Results) -> None:
    """Each gateway starts alone, since memory that is shared with others would count for less."""
    for number in range(options.rounds):
        for gateway in gateways:
            if options.wants(LIFE) and gateway.forwards and gateway.lives:
                live(bench, gateway, number, options, results)
        if options.wants(WORKERS):
            second_worker(bench, number, options, results)


def live(bench: Bench, gateway: Gateway, number: int, options: Options, results: Results) -> None:
    """Cold start, memory at rest, memory after a burst of streams; for Signalbox how memory goes on."""
    if gateway.name == "direct" or "missing" in results.gateways[gateway.name]:
        return
    try:
        if not number:
            # The first start ever compiles bytecode and fills the file cache.
            bench.stop(_started(bench, gateway)[0])
        endpoint, cold = _started(bench, gateway)
    except (UnavailableError, WrongAnswerError) as error:
        results.gateways[gateway.name]["missing"] = str(error)
        say(f"  {gateway.name} is left out: {error}")
        return
    settle(endpoint.process.pid, REST_SECONDS)
    figures = {"cold": cold, "idle": pss_kb(endpoint.process.pid) / 1024}
    if run_load(bench, endpoint, BURST, options.span(BURST), results):
        settle(endpoint.process.pid, REST_SECONDS)
        figures["streamed"] = pss_kb(endpoint.process.pid) / 1024
    if isinstance(gateway, Signalbox):
        if not _filled(bench, endpoint, options.requests):
            results.note(LIFE, gateway.name, "too few requests for memory's slope: the cache was not full yet")
        figures["slope"] = _slope(bench, endpoint, options.requests)
    results.put(number, LIFE, gateway.name, figures)
    said = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
    say(f"round {number + 1}/{options.rounds}  {LIFE:<13} {gateway.name:<16} {said}")
    bench.stop(endpoint)


def second_worker(bench: Bench, number: int, options: Options, results: Results) -> None:
    """Two processes on two ports, each with a generator, on all cores, against one on its own core.

    Signalbox processes do not share a port, so that a balancer stands before them; here nobody does.
    """
    one = _cost(bench, [bench.start(Signalbox())], options)
    pair = [bench.start(Signalbox(), pinned=False) for _ in range(2)]
    two = _cost(bench, pair, options)
    results.put(number, WORKERS, Signalbox.name, {"one": one, "two": two})
    say(f"round {number + 1}/{options.rounds}  {WORKERS:<13} {Signalbox.name:<16} one {one:.1f}  two {two:.1f}")


def _started(bench: Bench, gateway: Gateway) -> tuple[Endpoint, float]:
    endpoint = bench.start(gateway)
    try:
        return endpoint, endpoint.wait()
    except BaseException:
        bench.stop(endpoint)
        raise


def _cost(bench: Bench, endpoints: list[Endpoint], options: Options) -> float:
    """Microseconds of processor time for a request, all endpoints asked at once; they are stopped then."""
    for each in endpoints:
        each.wait()
        settle(each.process.pid, REST_SECONDS)
    span = options.span(SATURATION)
    cpu = sum(each.cpu_seconds() for each in endpoints)
    asking = [bench.generator.begin(each, SATURATION, span) for each in endpoints]
    counted: list[Counted] = [
        bench.generator.finish(each, SATURATION, span, process) for each, process in zip(endpoints, asking, strict=True)
    ]
    cpu = sum(each.cpu_seconds() for each in endpoints) - cpu
    for each in endpoints:
        bench.stop(each)
    return cpu / max(sum(each.tot for each in counted), 1) * 1e6


def _filled(bench: Bench, endpoint: Endpoint, requests: int) -> bool:
    """Whether, after at most so many requests, the cache has begun to drop old answers."""
    fill = Load("fill", "", requests=min(FILL, requests))
    for _ in range(requests // fill.requests):
        bench.generator.run(endpoint, fill, Span(0, LONGEST_SECONDS))
        endpoint.log.write_bytes(b"")
        if endpoint.metric("llm_cache_evictions_total"):
            return True
    return False


def _slope(bench: Bench, endpoint: Endpoint, requests: int) -> float:
    """Kilobytes of memory for 1,000 requests more, once the allocator has got used to a full cache."""
    span = Span(0, LONGEST_SECONDS)
    bench.generator.run(endpoint, Load("slope", "", requests=max(requests // 5, 1)), span)
    part = Load("slope", "", requests=max(requests // POINTS, 1))
    points = [(0.0, float(pss_kb(endpoint.process.pid)))]
    for step in range(1, POINTS + 1):
        bench.generator.run(endpoint, part, span)
        endpoint.log.write_bytes(b"")
        points.append((step * part.requests / 1000, float(pss_kb(endpoint.process.pid))))
    return slope(points)
