"""What a container may use of the machine: control groups, version 2.

The names are those of https://docs.kernel.org/admin-guide/cgroup-v2.html.
"""

from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


class Memory(NamedTuple):
    """Bytes; what the kernel can drop at once, because a file still has it, is not counted as used."""

    used: int
    limit: int


class Cgroup:
    """The group of this process and those around it, of which the tightest limit counts; none without version 2."""

    def __init__(self, *, root: Path = ROOT, own: Path = OWN) -> None:
        self._groups = _groups(root, own)
        self._cpu = next((each for each in self._groups if _quota(each) is not None), None)
        limited = [(limit, each) for each in self._groups if (limit := _number(each / "memory.max")) is not None]
        self._memory = min(limited, default=(0, None))[1]

    def memory(self) -> Memory | None:
        """None where nothing limits it."""
        if self._memory is None:
            return None
        limit, used = _number(self._memory / "memory.max"), _number(self._memory / "memory.current")
        if limit is None or used is None:
            return None
        return Memory(max(used - _inactive(self._memory), 0), limit)

    def cpus(self) -> float | None:
        """How many processors it may keep busy; None where nothing limits it."""
        quotas = [quota for each in self._groups if (quota := _quota(each)) is not None]
        return min(quotas, default=None)

    def cpu_seconds(self) -> float | None:
        """What the limited group has used since it began; None where nothing limits it."""
        if self._cpu is None:
            return None
        micros = _field(self._cpu / "cpu.stat", "usage_usec")
        return None if micros is None else micros / 1e6


def _groups(root: Path, own: Path) -> list[Path]:
    """Innermost first. In a container the path is often `/`, and the root has the container's own limits."""
    lines = _text(own).splitlines()
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if path is None or not (root / "cgroup.controllers").exists():
        return []
    inner = root / path.strip().lstrip("/")
    return [each for each in (inner, *inner.parents) if each == root or root in each.parents]


def _quota(group: Path) -> float | None:
    quota, _, period = _text(group / "cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _inactive(group: Path) -> int:
    return _field(group / "memory.stat", "inactive_file") or 0


def _field(file: Path, name: str) -> int | None:
    found = next((line for line in _text(file).splitlines() if line.startswith(f"{name} ")), "")
    value = found.removeprefix(f"{name} ")
    return int(value) if value.isdigit() else None


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
