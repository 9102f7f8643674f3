"""Starting processes, each on its core, and stopping every one of them by its id."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_SECONDS = 10.0


class Cores:
    """Which core the gateway has to itself and which one the load shares with the mock."""

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.problem = ""
        if shutil.which("taskset") is None:
            self.problem = "no `taskset`: nothing is pinned"
        elif len(cores) < 2:
            self.problem = "one core only: gateway, mock and load generator share it"
        self.gateway = None if self.problem else cores[0]
        self.load = None if self.problem else cores[1]
        self._pinned = not self.problem

    def on(self, core: int | None, command: Sequence[str]) -> list[str]:
        """`command`, on that core where there is a choice."""
        return ["taskset", "-c", str(core), *command] if self._pinned and core is not None else list(command)


class Processes:
    """Starts processes with an environment of nothing but what they need; none of them outlives it."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._running[:]):
            self.stop(process)

    def start(
        self, command: Sequence[str], directory: Path, log: Path, environ: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """In a session of its own, so that Ctrl-C comes to us alone; output is appended, so `log` may be cut."""
        clean = {"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8"} | dict(environ)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=clean,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """The process and what it has started, politely first."""
        children = list(tree(process.pid))[1:]
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children:
            _kill(child)
        self._running.remove(process)


def tree(pid: int) -> Iterator[int]:
    """The process and all it has started."""
    yield pid
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = listed.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], patience: float = 10.0) -> bool:
    """Whether somebody listens there before patience, or the process, ends."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
