"""`python -m benchmarks.soak`: drive for minutes, print the bill, and exit with 1 unless everything adds up."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks.soak.bill import MOST_TOLD
from benchmarks.soak.run import Plan, Result, grown, held_longer, soak
from benchmarks.soak.trend import trend_of

HEAP_SLACK_KB = 256
"""The cache is never full to the same byte."""
MOST_BLOCKS = 10
"""More small blocks in use per 1,000 requests would be one for every hundredth call."""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    plan = Plan()
    parser.add_argument("--minutes", type=float, default=plan.seconds / 60, help="after the warm-up (%(default)g)")
    parser.add_argument("--warm-up", type=float, default=plan.warm_seconds, help="seconds (%(default)g)")
    parser.add_argument("--rate", type=float, default=plan.plays_per_second, help="plays per second (%(default)g)")
    parser.add_argument("--callers", type=int, default=plan.callers, help="at the same time (%(default)s)")
    parser.add_argument(
        "--tolerance", type=float, default=1.0, help="kB that memory may grow by per 1,000 requests (%(default)g)"
    )
    parser.add_argument("--objects", type=int, default=1000, help="objects more at rest than before (%(default)s)")
    return parser.parse_args()


def memory_grew(result: Result, *, tolerance: float, objects: int) -> list[str]:
    """Prints how much, and says what is too much."""
    trend = trend_of(result.samples)
    before, after = result.before, result.after
    slope = f"{trend.kb_per_thousand:+.2f} kB per 1,000 requests, standard error {trend.error:.2f}"
    say(f"memory    {slope}, over {trend.requests} requests")
    say(f"          {trend.grown_mb:+.2f} MB from the second tenth to the last")
    say(f"at rest   PSS {before.memory.pss} kB before, {after.memory.pss} kB after")
    thousands = result.requests / 1000
    heap = (after.census.heap_bytes - before.census.heap_bytes) / 1024
    blocks = after.census.blocks - before.census.blocks
    more = grown(before, after)
    say(f"          {heap:+.0f} kB in use, {heap / thousands:+.2f} per 1,000 requests")
    say(f"          {blocks:+d} small blocks in use, {blocks / thousands:+.2f} per 1,000 requests")
    say(f"          {more.total():+d} objects, most of them {dict(more.most_common(3))}")
    garbage = after.census.garbage - before.census.garbage
    say(f"          {garbage} objects were garbage in cycles, {garbage / thousands:.0f} per 1,000 requests")
    found = []
    if heap > max(HEAP_SLACK_KB, tolerance * thousands):
        found.append(f"{heap / thousands:.2f} kB more in use per 1,000 requests are more than {tolerance:g}")
    if blocks > max(objects, MOST_BLOCKS * thousands):
        found.append(f"{blocks / thousands:.2f} small blocks more per 1,000 requests are more than {MOST_BLOCKS}")
    if trend.at_least > tolerance:
        found.append(f"at least {trend.at_least:.2f} kB per 1,000 requests are more than {tolerance:g}")
    if more.total() > objects:
        found.append(f"{more.total()} objects more than before: {dict(more.most_common(10))}")
    return found


def told(result: Result, *, tolerance: float, objects: int) -> bool:
    """Whether all is well, having said so line by line."""
    say(f"{result.requests} requests in {result.seconds:.0f} s, {result.requests / result.seconds:.0f} a second")
    found = {"memory": memory_grew(result, tolerance=tolerance, objects=objects)}
    say(f"          {result.after.holding}")
    found |= {"at rest": held_longer(result.before, result.after)} | result.differences
    for name, wrongs in found.items():
        say(f"{name:<10}{f'{len(wrongs)} wrong' if wrongs else 'ok'}")
        for wrong in wrongs[:MOST_TOLD]:
            say(f"    {wrong}")
    return not any(found.values())


def main() -> int:
    asked = arguments()
    plan = Plan(
        seconds=asked.minutes * 60,
        warm_seconds=asked.warm_up,
        callers=asked.callers,
        plays_per_second=asked.rate,
    )
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        result = asyncio.run(soak(Path(directory), plan, say))
    return 0 if told(result, tolerance=asked.tolerance, objects=asked.objects) else 1


if __name__ == "__main__":
    sys.exit(main())
