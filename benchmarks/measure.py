"""What the kernel knows of a process: processor time and memory of it and all it has started."""

import time
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
    """By how much the second rises while the first rises by one, by least squares."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def _read(path: Path) -> str:
    """Its text; empty where the process or thread has gone meanwhile."""
    try:
        return path.read_text()
    except OSError:
        return ""
