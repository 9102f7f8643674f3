"""An agent on a real datagram socket, and a strict reading of what it was sent."""

import os
import re
import socket
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

Labels = tuple[tuple[str, str], ...]

PATIENCE_SECONDS = 20.0
END = b"\0end"

_line = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+):(?P<values>[0-9.e+-]+(?::[0-9.e+-]+)*)\|(?P<kind>c|g|d|ms)"
    r"(?:\|@(?P<rate>[0-9.e-]+))?(?:\|#(?P<tags>[^|]+))?"
).fullmatch


class Line(NamedTuple):
    name: str
    kind: str
    values: list[float]
    tags: Labels
    rate: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises where an agent would have to guess."""
        found = _line(text)
        assert found is not None, text
        tags = [tag.partition(":") for tag in (found["tags"] or "").split(",") if found["tags"]]
        assert all(name and value and not re.search(r"[\s:@#|,]", value) for name, _, value in tags), text
        pairs = tuple(sorted((name, value) for name, _, value in tags))
        values = [float(value) for value in found["values"].split(":")]
        return cls(found["name"], found["kind"], values, pairs, float(found["rate"] or 1))


class Agent:
    """Listens at `address`, UDP on loopback or a socket in the file system, until it is left."""

    def __init__(self, path: Path | None = None) -> None:
        self.datagrams: list[bytes] = []
        if path is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind(("127.0.0.1", 0))
            host, port = self._socket.getsockname()
            self.address = f"{host}:{port}"
        else:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.bind(os.fspath(path))
            self.address = f"unix://{path}"
        self._thread = threading.Thread(target=self._receive, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drained()
        self._socket.close()

    def lines(self) -> list[Line]:
        return [Line.parse(line) for datagram in self.datagrams for line in datagram.decode().split("\n")]

    def counters(self) -> dict[tuple[str, Labels], float]:
        """What all that came adds up to."""
        sums: dict[tuple[str, Labels], float] = defaultdict(float)
        for line in self.lines():
            if line.kind == "c":
                sums[line.name, line.tags] += sum(line.values)
        return dict(sums)

    def total(self, name: str) -> float:
        """The sum of one counter, whatever its tags."""
        return sum(value for (found, _), value in self.counters().items() if found == name)

    def gauges(self) -> dict[tuple[str, Labels], float]:
        """The last value of each."""
        return {(line.name, line.tags): line.values[-1] for line in self.lines() if line.kind == "g"}

    def timings(self, name: str) -> list[float]:
        return [
            value for line in self.lines() if line.kind in {"d", "ms"} and line.name == name for value in line.values
        ]

    def until(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(line.name == name for line in self.lines()):
            assert time.monotonic() < deadline, f"{name} did not come"
            time.sleep(0.05)

    def drained(self) -> None:
        """Return once all that was sent before has arrived."""
        if not self._thread.is_alive():
            return
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as last:
            last.sendto(END, self._socket.getsockname())
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def _receive(self) -> None:
        while (datagram := self._socket.recv(65536)) != END:
            self.datagrams.append(datagram)
