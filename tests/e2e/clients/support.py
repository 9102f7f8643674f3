"""What the tests with other people's clients share: Node and its packages, a second gateway, patience."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import PATIENCE_SECONDS, ROOT, free_port

CALLER_KEY = "sk-caller-0123456789abcdef"
NODE = ROOT / "tests" / "e2e" / "node"
PORTKEY = "@portkey-ai/gateway"


def missing(package: str) -> str:
    """What a test with an npm package lacks, as a reason to skip it; nothing where all is there."""
    if shutil.which("node") is None:
        return "node is missing"
    if not (NODE / "node_modules" / package / "package.json").exists():
        return f"the npm package {package} is missing; scripts/prepare-tests installs it"
    return ""


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


@contextmanager
def portkey_process(directory: Path) -> Iterator[str]:
    """A gateway of another make on a free port, and its address; it takes its own provider from each call's headers."""
    port = free_port()
    script = NODE / "node_modules" / PORTKEY / "build" / "start-server.js"
    preload = ["--import", (NODE / "loopback.mjs").as_uri()]
    command = [str(shutil.which("node")), *preload, str(script), "--headless", f"--port={port}"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "NODE_ENV": "production"}
    log = directory / "portkey"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=directory, env=environ, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _answers(port):
            assert process.poll() is None, f"the second gateway did not start: {log.read_text()}"
            assert time.monotonic() < deadline, f"the second gateway did not start in time: {log.read_text()}"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
