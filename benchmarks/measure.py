"""What the kernel knows of a process: processor time and memory of it and all it has started."""

import statistics
import time
from itertools import combinations
from pathlib import Path

from benchmarks.processes import tree

IDLE_SHARE = 0.1
"""Below this share of a core a process counts as done with what it was asked."""


def cpu_seconds(pid: int) -> float:
    """Time on a core so far, by the scheduler's own nanoseconds rather than by ticks."""
    nanoseconds = 0
    for each in tree(pid):
        for schedstat in Path(f"/proc/{each}/task").glob("*/schedstat"):
            nanoseconds += int((_read(schedstat) or "0").split()[0])
    return nanoseconds / 1e9


def pss_kb(pid: int) -> int:
    """Proportional set size: memory of its own, and its part of what it shares."""
    total = 0
    for each in tree(pid):
        for line in _read(Path(f"/proc/{each}/smaps_rollup")).splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def settle(pid: int, patience: float) -> bool:
    """Wait until it rests, so that it does not disturb whoever is measured next; False when it would not."""
    deadline = time.monotonic() + patience
    window = 0.05
    while time.monotonic() < deadline:
        before = cpu_seconds(pid)
        time.sleep(window)
        if cpu_seconds(pid) - before < window * IDLE_SHARE:
            return True
    return False


def slope(points: list[tuple[float, float]]) -> float:
    """By how much the second rises while the first rises by one: the median over all pairs of points.

    An allocator that takes one step in the middle does not make a slope; a leak does.
    """
    pairs = ((one, other) for one, other in combinations(points, 2) if one[0] != other[0])
    slopes = [(other[1] - one[1]) / (other[0] - one[0]) for one, other in pairs]
    return statistics.median(slopes) if slopes else 0.0


def _read(path: Path) -> str:
    """Its text; empty where the process or thread has gone meanwhile."""
    try:
        return path.read_text()
    except OSError:
        return ""
