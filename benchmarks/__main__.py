"""`python -m benchmarks`: see `--help`, and README.md beside this file."""

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from benchmarks import report
from benchmarks.gateways import ROOT, Direct, Gateway, Signalbox, SignalboxL1, SignalboxRedis, SignalboxUncounted
from benchmarks.generator import CannotMeasureError
from benchmarks.lives import LIFE, WORKERS, run_lives
from benchmarks.loads import LOADS
from benchmarks.peers import PEERS
from benchmarks.processes import Cores, Processes
from benchmarks.results import Results
from benchmarks.suite import Bench, Options, install, run_loads, say

OWN: tuple[type[Gateway], ...] = (Direct, Signalbox, SignalboxUncounted, SignalboxRedis, SignalboxL1)
NAMES = [each.name for each in (*OWN, *PEERS)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast Signalbox is.")
    parser.add_argument("--peers", action="store_true", help="install and measure the others too, write RESULTS.md")
    parser.add_argument("--seconds", type=float, default=Options().seconds, help="for each load (%(default)s)")
    parser.add_argument("--rounds", type=int, default=Options().rounds, help="(%(default)s)")
    parser.add_argument("--requests", type=_some, default=Options().requests, help="for memory's slope (%(default)s)")
    parser.add_argument("--loads", default="", help=f"some of {','.join(_loads())}")
    parser.add_argument("--gateways", default="", help=f"some of {','.join(NAMES)}")
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "bench", help="where peers are installed")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "RESULTS.md", help="with --peers")
    parser.add_argument("--readme", action="store_true", help="put the short table into README.md")
    parser.add_argument("--again", action="store_true", help="measure nothing, write the last results again")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    signal.signal(signal.SIGTERM, _stop)
    scratch: Path = chosen.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    saved = scratch / ("peers.json" if chosen.peers else "own.json")
    if chosen.again:
        results = msgspec.json.decode(saved.read_bytes(), type=Results)
    else:
        try:
            results = measured(chosen, scratch)
        except CannotMeasureError as error:
            sys.exit(f"benchmarks: {error}")
        saved.write_bytes(msgspec.json.encode(results))
    if chosen.peers:
        chosen.output.write_text(report.document(results))
        say(f"written: {chosen.output}")
    if chosen.readme:
        report.README.write_text(report.put_into_readme(results, report.README.read_text()))
    print(f"{report.loads(results)}\n### Targets\n\n{report.targets(results)}")
    if any(note.error for note in results.notes):
        sys.exit("benchmarks: there were errors, see above")


def measured(chosen: argparse.Namespace, scratch: Path) -> Results:
    """Everything that was chosen; what was started is stopped, whatever happens."""
    if not hasattr(os, "sched_setaffinity"):
        raise CannotMeasureError("needs Linux: mock and load generator speak epoll")
    options = Options(
        seconds=chosen.seconds,
        rounds=chosen.rounds,
        requests=chosen.requests,
        loads=tuple(filter(None, chosen.loads.split(","))),
    )
    if unknown := {*options.loads} - {*_loads()}:
        raise CannotMeasureError(f"no such load: {', '.join(unknown)}")
    wanted = set(filter(None, chosen.gateways.split(",")))
    kinds = [each for each in (*OWN, *(PEERS if chosen.peers else ())) if not wanted or each.name in wanted]
    cores, results = Cores(), Results()
    results.setup = setup_of(cores, options)
    if cores.problem:
        say(f"note: {cores.problem}")
    gateways = install([kind() for kind in kinds], scratch, results)
    with tempfile.TemporaryDirectory(prefix="signalbox-bench-") as directory, Processes() as processes:
        bench = Bench(processes, cores, scratch, Path(directory))
        run_lives(bench, gateways, options, results)
        run_loads(bench, gateways, options, results)
    return results


def setup_of(cores: Cores, options: Options) -> dict[str, str]:
    """The machine and the method's parameters, as far as figures depend on them."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    pinned = "gateway on a core of its own, mock and load generator (and Redis) on another"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "system": f"Linux {platform.release()}",
        "Python": platform.python_version(),
        "cores": cores.problem or pinned,
        "rounds": f"{options.rounds}, {options.seconds:g} s for each load",
    }


def _some(text: str) -> int:
    """A number of requests; without any there is no slope."""
    return max(int(text), 1)


def _loads() -> list[str]:
    return [LIFE, WORKERS, *(each.name for each in LOADS)]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("benchmarks: stopped")
