"""The rounds: every load on every gateway in turn, again and again."""

import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.endpoint import Endpoint, Plan, WrongAnswerError
from benchmarks.gateways import Direct, Gateway, Place, UnavailableError
from benchmarks.generator import CannotMeasureError, Counted, Generator, Span, compiled
from benchmarks.loads import LOADS, SATURATION, Load
from benchmarks.measure import settle
from benchmarks.processes import Cores, Processes, free_port, wait_for_port
from benchmarks.results import Figures, Results

STREAM_WARM = 1.4
"""The first streams of a load take 1.3 s; only then is there a figure."""
BURST_SECONDS = 40.0
KEPT_UP = 0.95
"""A gateway that answers less than this part of what it is asked is over its capacity."""
SETTLE_SECONDS = 20.0
WARM_UP = 1.5
"""Before the first round each gateway is asked for so many times the seconds of a load: compilers need that."""
UNEXPECTED = 0.01
"""So many hits among misses, or misses among hits, change no figure; on a busy machine a lookup may time out."""


class Options(msgspec.Struct, frozen=True):
    """How thoroughly."""

    seconds: float = 2.0
    rounds: int = 3
    requests: int = 200_000
    """For the slope of memory."""
    loads: tuple[str, ...] = ()
    """Empty: all."""

    def wants(self, load: str) -> bool:
        return not self.loads or load in self.loads

    def span(self, load: Load) -> Span:
        if load.requests:
            return Span(0, BURST_SECONDS)
        return Span(STREAM_WARM if load.stream else self.seconds * 0.3, self.seconds)


class Bench:
    """The mock, the generator and a way to start gateways; stops with its processes."""

    def __init__(self, processes: Processes, cores: Cores, scratch: Path, directory: Path) -> None:
        self.processes = processes
        self.cores = cores
        mock = free_port()
        command = cores.on(cores.load, [compiled("mock", directory), str(mock)])
        process = processes.start(command, directory, directory / "mock.log", {})
        if not wait_for_port(mock, process):
            raise CannotMeasureError("the mock does not start")
        self.place = Place(scratch, directory, mock, self._redis(directory))
        self.generator = Generator(directory, cores, mock)
        self.direct = Endpoint("direct", Direct().plan(self.place), process, directory / "mock.log")

    def start(self, gateway: Gateway, *, pinned: bool = True) -> Endpoint:
        """The gateway, not yet waited for; raises UnavailableError."""
        if isinstance(gateway, Direct):
            return self.direct
        plan: Plan = gateway.plan(self.place)
        log = self.place.directory / f"{gateway.name}.log"
        log.write_bytes(b"")
        command = self.cores.on(self.cores.gateway if pinned else None, plan.command)
        return Endpoint(gateway.name, plan, self.processes.start(command, self.place.directory, log, plan.environ), log)

    def stop(self, endpoint: Endpoint) -> None:
        if endpoint is not self.direct:
            self.processes.stop(endpoint.process)

    def _redis(self, directory: Path) -> int:
        """On the load's core, since what it costs is not the gateway's."""
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru", "--dir", str(directory)]
        try:
            log = directory / "redis.log"
            process = self.processes.start(self.cores.on(self.cores.load, command), directory, log, {})
        except OSError:
            return 0
        return port if wait_for_port(port, process) else 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def install(gateways: Iterable[Gateway], scratch: Path, results: Results) -> list[Gateway]:
    """Those that can take part; the others are in the results with their reason."""
    able = []
    for gateway in gateways:
        row = results.gateways.setdefault(gateway.name, {"title": gateway.title, "on": gateway.on})
        try:
            say(f"install {gateway.name}")
            gateway.install(scratch)
            row["version"] = gateway.version(scratch)
        except UnavailableError as error:
            row["missing"] = str(error)
            say(f"  {gateway.name} is left out: {error}")
        else:
            able.append(gateway)
    return able


def run_loads(bench: Bench, gateways: list[Gateway], options: Options, results: Results) -> None:
    """All gateways started first; each round runs each load on each of them in turn."""
    loads = [each for each in LOADS if options.wants(each.name)]
    running: dict[Gateway, Endpoint] = {}
    for gateway in gateways if loads else []:
        try:
            running[gateway] = warm(bench, gateway, options)
        except (UnavailableError, WrongAnswerError) as error:
            results.gateways[gateway.name]["missing"] = str(error)
            say(f"  {gateway.name} is left out: {error}")
    for number in range(options.rounds):
        for load in loads:
            for gateway in list(running):
                if gateway.takes(load) and not results.over_capacity(load.name, gateway.name):
                    endpoint = running[gateway] = alive(bench, gateway, running[gateway], options, results)
                    figures = run_load(bench, endpoint, load, options.span(load), results)
                    results.put(number, load.name, gateway.name, figures)
                    say(f"round {number + 1}/{options.rounds}  {load.name:<13} {gateway.name:<16} {brief(figures)}")
    for endpoint in running.values():
        bench.stop(endpoint)


def warm(bench: Bench, gateway: Gateway, options: Options) -> Endpoint:
    """The gateway, started and asked for a while; raises UnavailableError or WrongAnswerError."""
    endpoint = bench.start(gateway)
    endpoint.wait()
    bench.generator.run(endpoint, SATURATION, Span(0, options.seconds * WARM_UP))
    settle(endpoint.process.pid, SETTLE_SECONDS)
    return endpoint


def alive(bench: Bench, gateway: Gateway, endpoint: Endpoint, options: Options, results: Results) -> Endpoint:
    """The same, or one started anew where it has ended by itself, which is said of it."""
    if (status := endpoint.process.poll()) is None:
        return endpoint
    row = results.gateways[gateway.name]
    row["on"] += f"; ended by itself with status {status}, and was started again"
    say(f"  {gateway.name} has ended with status {status}: {plain_end(endpoint.log)}")
    try:
        return warm(bench, gateway, options)
    except (UnavailableError, WrongAnswerError) as error:
        say(f"  {gateway.name} does not start again: {error}")
        return endpoint


def plain_end(log: Path) -> str:
    """What a process said last."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def run_load(bench: Bench, endpoint: Endpoint, load: Load, span: Span, results: Results) -> Figures:
    """One load on one gateway, checked before and after; nothing where the answers are wrong."""
    direct = endpoint is bench.direct
    try:
        events = endpoint.check(load)
    except WrongAnswerError as error:
        results.note(load.name, endpoint.name, str(error), error=True)
        return {}
    upstream, cpu = bench.generator.upstream_calls(), endpoint.cpu_seconds()
    counted = bench.generator.run(endpoint, load, span, events)
    cpu = endpoint.cpu_seconds() - cpu
    # Whoever is measured next finds the core free, and the last questions have arrived upstream.
    settle(endpoint.process.pid, SETTLE_SECONDS)
    upstream = bench.generator.upstream_calls() - upstream
    if not direct:
        endpoint.log.write_bytes(b"")
    judge(load, endpoint.name, counted, upstream, results)
    return figures_of(load, counted, None if direct else cpu, results.over_capacity(load.name, endpoint.name))


def judge(load: Load, gateway: str, counted: Counted, upstream: int, results: Results) -> None:
    """Notes what makes a figure worthless or needs a word."""
    if counted.errors:
        text = f"{counted.non2xx} refused, {counted.errs} cut off, {counted.short} incomplete of {counted.tot}"
        results.note(load.name, gateway, text, error=True)
    if load.requests and counted.tot < load.requests:
        text = f"{counted.tot} of {load.requests} complete after {BURST_SECONDS:.0f} s"
        results.note(load.name, gateway, text, error=True)
    expected, cut = (0, 0) if load.hits else (counted.tot, load.connections)
    slack = counted.tot * UNEXPECTED
    if not expected - slack <= upstream <= expected + cut + slack:
        text = f"{upstream} calls reached upstream for {counted.tot} answers"
        results.note(load.name, gateway, text, error=True)
    if load.rate and counted.n and counted.rps < load.rate * KEPT_UP and not counted.errors:
        results.note(load.name, gateway, f"{counted.rps:,.0f} answers at {load.rate:,} questions a second", over=True)
    elif load.rate and not counted.n and not counted.errors:
        results.note(load.name, gateway, f"no answer in time at {load.rate:,} questions a second", over=True)


def figures_of(load: Load, counted: Counted, cpu: float | None, over: bool) -> Figures:  # noqa: FBT001 - said by name
    """Microseconds and rates; latencies of a gateway that cannot keep up are left out, they only grow."""
    figures: Figures = {"rps": counted.rps, "errors": counted.errors}
    if cpu is not None and counted.tot:
        figures["cpu"] = cpu / counted.tot * 1e6
    if load.stream:
        figures["events"] = counted.ev_s
        if cpu is not None and counted.totev:
            figures["cpu_event"] = cpu / counted.totev * 1e6
    if counted.n and not over:
        figures |= {"p50": counted.p50, "p99": counted.p99}
        if load.stream:
            figures |= {"first50": counted.ttfb50, "first99": counted.ttfb99}
    return figures


def brief(figures: Figures) -> str:
    return "  ".join(f"{name} {value:,.1f}" for name, value in figures.items())
