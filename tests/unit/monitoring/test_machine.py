"""What a container may use, read from a tree of files such as the kernel has; and the machine itself."""

from pathlib import Path
from typing import Any

import psutil
import pytest

from app.monitoring.cgroup import Cgroup
from app.monitoring.machine import HALF_LIFE_SECONDS, MAX_AGE_SECONDS, Machine

MIB = 1024 * 1024


class Kernel:
    """Control groups of a test's own."""

    def __init__(self, directory: Path, path: str = "/") -> None:
        self.root = directory / "cgroup"
        self.root.mkdir()
        self.write("cgroup.controllers", "cpu memory")
        self.own = directory / "own"
        self.own.write_text(f"1:name=systemd:/\n0::{path}\n")

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def memory(self, *, limit: object, current: int, inactive: int, group: str = ".") -> None:
        self.write(f"{group}/memory.max", str(limit))
        self.write(f"{group}/memory.current", str(current))
        self.write(f"{group}/memory.stat", f"anon 1\ninactive_file {inactive}\nfile 9")

    def cgroup(self) -> Cgroup:
        return Cgroup(root=self.root, own=self.own)


def test_memory_is_that_of_the_group_without_what_can_be_dropped(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.memory(limit=100 * MIB, current=80 * MIB, inactive=30 * MIB)

    snapshot = Machine(cgroup=kernel.cgroup()).snapshot()

    assert (snapshot.memory_used, snapshot.memory_limit) == (50 * MIB, 100 * MIB)
    assert snapshot.memory_percent == 50


def test_the_tightest_limit_around_counts(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "/slice/unit")
    kernel.memory(limit="max", current=5 * MIB, inactive=0)
    kernel.memory(limit=100 * MIB, current=40 * MIB, inactive=0, group="slice")
    kernel.memory(limit=200 * MIB, current=20 * MIB, inactive=0, group="slice/unit")

    memory = kernel.cgroup().memory()

    assert memory is not None
    assert (memory.used, memory.limit) == (40 * MIB, 100 * MIB)


@pytest.mark.parametrize("limit", ["max", psutil.virtual_memory().total * 2])
def test_without_a_limit_that_binds_it_is_the_machines(tmp_path: Path, limit: object) -> None:
    kernel = Kernel(tmp_path)
    kernel.memory(limit=limit, current=MIB, inactive=0)

    snapshot = Machine(cgroup=kernel.cgroup()).snapshot()

    assert snapshot.memory_limit == psutil.virtual_memory().total
    assert snapshot.memory_used > MIB


def test_where_there_is_no_version_2_nothing_is_said(tmp_path: Path) -> None:
    cgroup = Cgroup(root=tmp_path, own=tmp_path / "none")

    assert (cgroup.memory(), cgroup.cpus(), cgroup.cpu_seconds()) == (None, None, None)


def test_the_processor_is_what_was_used_of_the_quota(tmp_path: Path) -> None:
    kernel, now = Kernel(tmp_path), [100.0]
    kernel.write("cpu.max", "150000 100000")
    kernel.write("cpu.stat", "usage_usec 1000000\nuser_usec 1")
    machine = Machine(cgroup=kernel.cgroup(), clock=lambda: now[0])

    now[0] += HALF_LIFE_SECONDS
    kernel.write("cpu.stat", f"usage_usec {1_000_000 + int(HALF_LIFE_SECONDS * 1.5e6)}\nuser_usec 1")
    first = machine.snapshot().cpu_percent
    now[0] += 20 * HALF_LIFE_SECONDS
    later = machine.snapshot().cpu_percent

    assert first == pytest.approx(50), "all of the quota, for one half-life"
    assert later == pytest.approx(0, abs=0.01)


def test_a_quota_without_end_is_none(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    kernel.write("cpu.max", "max 100000")
    kernel.write("cpu.stat", "usage_usec 5")

    assert kernel.cgroup().cpus() is None
    assert kernel.cgroup().cpu_seconds() is None
    assert 0 <= Machine(cgroup=kernel.cgroup()).snapshot().cpu_percent <= 100


def test_it_is_looked_at_once_a_second_at_most() -> None:
    now = [100.0]
    machine = Machine(clock=lambda: now[0])
    first = machine.snapshot()
    now[0] += MAX_AGE_SECONDS - 0.01
    assert machine.snapshot() is first
    now[0] += 0.01

    assert machine.snapshot() is not first


def test_a_disk_that_cannot_be_read_leaves_the_rest() -> None:
    def broken(_: str) -> Any:
        raise OSError("gone")

    names = [each.name for each in Machine(disk_usage=broken).readings()]

    assert "process_threads" in names
    assert "system_network_sent_bytes_total" in names
    assert "system_cpu_usage_percent" in names
    assert "system_disk_usage_percent" not in names


def test_everything_has_a_reading_and_the_totals_rise() -> None:
    readings = list(Machine().readings())

    assert {each.kind for each in readings if each.name.endswith("_total")} == {"counter"}
    assert all(each.value >= 0 for each in readings)
