"""`python -m benchmarks.reliability`: measure every target, print the table, and put it into docs/reliability.md."""

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks.gateways import ROOT
from benchmarks.generator import CannotMeasureError
from benchmarks.processes import Cores, Processes
from benchmarks.reliability import life, load, streams
from benchmarks.reliability.bench import Figure, Place

DOCUMENT = ROOT / "docs" / "reliability.md"
MARKS = re.compile(r"(<!-- measured -->\n).*?(<!-- /measured -->)", re.DOTALL)
VERDICTS = {True: "met", False: "**missed**", None: "not measured"}

MEASURES: dict[str, Callable[[Place], Awaitable[list[Figure]]]] = {
    "streams": streams.streams,
    "disconnects": streams.disconnects,
    "overload": load.overload,
    "slowloris": load.slowloris,
    "drain": life.drain,
    "restart": life.restart,
    "redis": life.redis_loss,
    "metrics": life.metrics,
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    names = ["throughput", *MEASURES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--only", default="", help=f"some of {','.join(names)}")
    parser.add_argument("--seconds", type=float, default=20, help="for what takes as long as one likes (%(default)g)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}")
    return parser.parse_args()


def measured(wanted: set[str], seconds: float) -> list[Figure]:
    found: list[Figure] = []
    cores = Cores()
    if cores.problem:
        say(f"note: {cores.problem}")
    with tempfile.TemporaryDirectory(prefix="reliability-") as directory, Processes() as processes:
        place = Place(Path(directory), processes, cores, seconds=seconds)
        for name in ["throughput", *MEASURES]:
            if wanted and name not in wanted:
                continue
            say(f"measuring {name}")
            try:
                if name == "throughput":
                    more = load.throughput(place, processes, cores)
                else:
                    more = uvloop.run(_measure(MEASURES[name], place))
            except (CannotMeasureError, OSError, EOFError, TimeoutError) as error:
                more = [Figure(name, "", f"failed: {error!r}"[:200], None)]
            for each in more:
                say(f"  {each.title}: {each.measured} ({VERDICTS[each.met]})")
            found += more
    return found


async def _measure(measure: Callable[[Place], Awaitable[list[Figure]]], place: Place) -> list[Figure]:
    async with asyncio.timeout(300):
        return await measure(place)


def table(figures: list[Figure]) -> str:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    where = f"{models[0] if models else 'unknown processor'}, {os.cpu_count()} cores"
    rows = [f"| {each.title} | {each.target} | {each.measured} | {VERDICTS[each.met]} |" for each in figures]
    head = ["| | target | measured | |", "|---|---|---|---|"]
    return "\n".join([f"{time.strftime('%Y-%m-%d')}, {where}:", "", *head, *rows, ""])


def main() -> int:
    asked = arguments()
    wanted = set(filter(None, asked.only.split(",")))
    if unknown := wanted - {"throughput", *MEASURES}:
        sys.exit(f"benchmarks: no such measure: {', '.join(sorted(unknown))}")
    figures = measured(wanted, asked.seconds)
    print(table(figures))
    if asked.write:
        text = DOCUMENT.read_text()
        DOCUMENT.write_text(MARKS.sub(lambda found: f"{found[1]}{table(figures)}{found[2]}", text))
        say(f"written: {DOCUMENT}")
    return 0 if all(each.met for each in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
