"""The machine this runs on, as far as it may use it: processor, memory, disk, network.

A reading is blocking reads of /proc and one statvfs for each disk, together well under a millisecond. Processor and
memory are read at most once a second, whoever asks.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import psutil

from app.monitoring.cgroup import Cgroup
from app.monitoring.tally import Reading

try:
    import resource
except ImportError:  # Windows, where files and sockets have no common limit
    resource = None  # type: ignore[assignment] # a module or nothing

MAX_AGE_SECONDS = 1.0
HALF_LIFE_SECONDS = 10.0


class Usage(Protocol):
    """What psutil says of a disk: bytes, and percent of what a user may have."""

    @property
    def used(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def percent(self) -> float: ...


class Disk(NamedTuple):
    path: str
    used: int
    total: int
    percent: float


class Snapshot(NamedTuple):
    """`cpu_percent` is of the last half minute or so, the latest counting most."""

    cpu_percent: float
    memory_used: int
    memory_limit: int

    @property
    def memory_percent(self) -> float:
        return 100 * self.memory_used / self.memory_limit if self.memory_limit else 0.0


class Machine:
    """Within a control group with limits the percentages are of those, else of the whole machine."""

    def __init__(
        self,
        directories: Sequence[Path] = (Path(),),
        *,
        cgroup: Cgroup | None = None,
        disk_usage: Callable[[str], Usage] = psutil.disk_usage,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`directories` are those written to; one that is not there yet counts as the nearest one above it."""
        self._directories = directories
        self._cgroup = cgroup or Cgroup()
        self._disk_usage = disk_usage
        self._clock = clock
        self._process = psutil.Process()
        self._at = clock()
        self._cpu_seconds = self._cgroup.cpu_seconds()
        psutil.cpu_percent()  # the first reading says nothing
        self._cpu = 0.0
        self._snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        now = self._clock()
        if self._snapshot is None or now - self._at >= MAX_AGE_SECONDS:
            used, limit = self._memory()
            seconds, self._at = now - self._at, now
            old = 0.5 ** (seconds / HALF_LIFE_SECONDS)
            self._cpu = old * self._cpu + (1 - old) * self._cpu_percent(seconds)
            self._snapshot = Snapshot(self._cpu, used, limit)
        return self._snapshot

    def readings(self) -> Iterable[Reading]:
        """For a scrape. What this machine does not tell is left out."""
        yield from _usages(self.snapshot())
        with suppress(OSError):  # its check says so
            yield from _disk(self.disk())
        yield from _totals()
        yield Reading("process_threads", "Threads of this process", self._process.num_threads())

    def _cpu_percent(self, seconds: float) -> float:
        cpus, spent, before = self._cgroup.cpus(), self._cgroup.cpu_seconds(), self._cpu_seconds
        self._cpu_seconds = spent
        if cpus is None or spent is None or before is None:
            return psutil.cpu_percent()
        return 100 * (spent - before) / (seconds * cpus) if seconds > 0 else 0.0

    def _memory(self) -> tuple[int, int]:
        whole = psutil.virtual_memory()
        limited = self._cgroup.memory()
        if limited is not None and limited.limit < whole.total:
            return limited
        return whole.total - whole.available, whole.total

    def descriptors_percent(self) -> float:
        """Open ones, sockets among them, of what this process may have; 0 where there is no limit."""
        if resource is None or (limit := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) <= 0:
            return 0.0
        try:
            return min(100 * self._process.num_fds() / limit, 100.0)
        except OSError:  # it takes one to count them
            return 100.0

    def disk(self) -> Disk:
        """The fullest of those that are written to; raises OSError where one cannot be read."""
        disks = []
        for directory in self._directories:
            usage = self._disk_usage(str(_existing(directory)))
            disks.append(Disk(str(directory), usage.used, usage.total, usage.percent))
        return max(disks, key=lambda disk: disk.percent)


def _existing(directory: Path) -> Path:
    return next(each for each in (directory, *directory.absolute().parents) if os.path.lexists(each))


def _usages(snapshot: Snapshot) -> Iterable[Reading]:
    yield Reading("system_cpu_usage_percent", "Processor time used, of what may be", snapshot.cpu_percent)
    yield Reading("system_memory_usage_bytes", "Memory used", snapshot.memory_used)
    yield Reading("system_memory_limit_bytes", "Memory there is, or may be used", snapshot.memory_limit)
    yield Reading("system_memory_usage_percent", "Memory used, of what may be", snapshot.memory_percent)


def _disk(disk: Disk) -> Iterable[Reading]:
    yield Reading("system_disk_usage_bytes", "Used of the fullest disk written to", disk.used)
    yield Reading("system_disk_limit_bytes", "Size of the fullest disk written to", disk.total)
    yield Reading("system_disk_usage_percent", "Used of the fullest disk written to, of what may be", disk.percent)


def _totals() -> Iterable[Reading]:
    if (disks := psutil.disk_io_counters(nowrap=False)) is not None:
        yield Reading("system_disk_read_bytes_total", "Read from all disks", disks.read_bytes, "counter")
        yield Reading("system_disk_written_bytes_total", "Written to all disks", disks.write_bytes, "counter")
    networks = [each for name, each in psutil.net_io_counters(pernic=True, nowrap=False).items() if name != "lo"]
    received, sent = sum(each.bytes_recv for each in networks), sum(each.bytes_sent for each in networks)
    yield Reading("system_network_received_bytes_total", "Received, without loopback", received, "counter")
    yield Reading("system_network_sent_bytes_total", "Sent, without loopback", sent, "counter")
