"""A gateway, a paced provider and Redis on their cores, and how a target is written down."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.gateways import KEY, ROOT
from benchmarks.generator import CannotMeasureError
from benchmarks.processes import Cores, Processes, free_port, wait_for_port
from benchmarks.soak.wire import Wire

Json = dict[str, object]
PATIENCE_SECONDS = 30.0
PACED = ("paced-0", "paced-20", "paced-100")


class Figure(msgspec.Struct, frozen=True):
    """One target and what came of it."""

    title: str
    target: str
    measured: str
    met: bool | None
    """None where it could not be measured; `measured` says why."""


class Place:
    """Where everything runs; a gateway has its core to itself."""

    def __init__(self, directory: Path, processes: Processes, cores: Cores, *, seconds: float) -> None:
        self.directory = directory
        self.seconds = seconds
        """For a measurement that takes as long as one likes."""
        self._processes = processes
        self._cores = cores
        self._count = 0
        if cores.load is not None:
            os.sched_setaffinity(0, {cores.load})
        self.provider = free_port()
        command = [sys.executable, "-m", "benchmarks.reliability.paced", str(self.provider)]
        started = self._start(command, cores.load, "provider")
        if not wait_for_port(self.provider, started, PATIENCE_SECONDS):
            raise CannotMeasureError("the paced provider does not start")

    def settings(self, **more: object) -> Json:
        """Everything on, as the benchmarks have it."""
        row = {"base_url": f"http://127.0.0.1:{self.provider}/v1", "max_connections": 4096}
        return {
            "log": {"format": "json"},
            "keys": {"bench": {"key": KEY}},
            "providers": {"paced": row},
            "routes": {"forever": ["paced:paced-600000"]} | {name: [f"paced:{name}"] for name in PACED},
        } | more

    @contextmanager
    def gateway(self, settings: Json) -> Iterator["Running"]:
        self._count += 1
        file, port = self.directory / f"gateway-{self._count}.yaml", free_port()
        file.write_bytes(msgspec.yaml.encode(settings))
        command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--config", str(file)]
        begun = time.monotonic()
        process = self._start(command, self._cores.gateway, f"gateway-{self._count}")
        try:
            if not wait_for_port(port, process, PATIENCE_SECONDS):
                raise CannotMeasureError(f"the gateway does not start; see {self.directory}")
            yield Running(port, process, begun)
        finally:
            if process.poll() is None:
                self._processes.stop(process)

    @contextmanager
    def holding(self, port: int, count: int) -> Iterator[None]:
        """Somebody keeps so many half-open connections to `port`."""
        command = [sys.executable, "-m", "benchmarks.reliability.holding", str(port), str(count)]
        process = self._start(command, self._cores.load, "holding")
        try:
            yield
        finally:
            self._processes.stop(process)

    @contextmanager
    def redis(self) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """Its port and its process."""
        port = free_port()
        command = [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self.directory),
        ]
        process = self._start(command, self._cores.load, "redis")
        try:
            if not wait_for_port(port, process):
                raise CannotMeasureError("redis-server does not start")
            yield port, process
        finally:
            self._processes.stop(process)

    def _start(self, command: Sequence[str], core: int | None, name: str) -> subprocess.Popen[bytes]:
        log = self.directory / f"{name}.log"
        return self._processes.start(self._cores.on(core, command), self.directory, log, {"PYTHONPATH": str(ROOT)})


class Running(msgspec.Struct, frozen=True):
    port: int
    process: subprocess.Popen[bytes]
    begun: float


AUTHORIZED = (f"authorization: Bearer {KEY}",)


async def asked(wire: Wire, model: str, *, stream: bool = False, **more: object) -> None:
    """A question of its own each time, unless `more` says otherwise."""
    body: Json = {"model": model, "messages": [{"role": "user", "content": "hi"}], "call": str(time.monotonic_ns())}
    fields = AUTHORIZED
    await wire.ask(
        "/v1/chat/completions", msgspec.json.encode(body | {"stream": stream} | more), method="POST", fields=fields
    )


async def timed(wire: Wire, model: str, **more: object) -> tuple[int, float, dict[str, str]]:
    """Status, seconds and header fields of a whole answer."""
    begun = time.monotonic()
    await asked(wire, model, stream=False, **more)
    head = await wire.head()
    await wire.rest()
    return head.status, time.monotonic() - begun, head.fields


def quantile(values: Sequence[float], part: float) -> float:
    """0 where there are none."""
    return sorted(values)[int((len(values) - 1) * part)] if values else 0.0


def resident_kb(pid: int) -> int:
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
