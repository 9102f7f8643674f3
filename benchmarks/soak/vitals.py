"""What a process holds, read from /proc without its knowing: memory, sockets, file descriptors, threads."""

import re
from collections import Counter
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc")
STATES = {"01": "ESTABLISHED", "02": "SYN_SENT", "06": "TIME_WAIT", "08": "CLOSE_WAIT", "0A": "LISTEN"}

_socket = re.compile(r"socket:\[(\d+)\]").fullmatch


class Memory(Struct, frozen=True):
    """In kB; `pss` counts a page that several processes share in part."""

    pss: int
    rss: int


class Holding(Struct, frozen=True):
    descriptors: int
    threads: int
    sockets: dict[str, int]
    """TCP sockets by their state."""


def memory_of(pid: int) -> Memory:
    fields = dict(re.findall(r"^(\w+): +(\d+) kB$", (PROC / str(pid) / "smaps_rollup").read_text(), re.MULTILINE))
    return Memory(int(fields["Pss"]), int(fields["Rss"]))


def holding_of(pid: int) -> Holding:
    links = [link for each in (PROC / str(pid) / "fd").iterdir() if (link := _target(each))]
    inodes = {found[1] for link in links if (found := _socket(link))}
    lines = [line.split() for name in ("tcp", "tcp6") for line in _lines(PROC / "net" / name)]
    states = Counter(STATES.get(line[3], line[3]) for line in lines if line[9] in inodes)
    threads = re.findall(r"^Threads:\s+(\d+)$", (PROC / str(pid) / "status").read_text(), re.MULTILINE)
    return Holding(len(links), int(threads[0]), dict(states))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []
