"""Gateways that are started by hand: without a file, by a bare command line, or not at all."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import PATIENCE_SECONDS, ROOT
from tests.support.provider_faults import eventually

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def run(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(directory)}
    command = [sys.executable, "-m", "app", "serve", *arguments]
    return subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def started(process: "subprocess.Popen[str]", host: str = "127.0.0.1") -> str:
    """The banner, once it is there and the address answers."""
    assert process.stderr is not None
    said = ""
    while "  try " not in said:
        line = process.stderr.readline()
        assert line, f"it did not start: {said}"
        said += line
    threading.Thread(target=process.stderr.read, daemon=True).start()
    port = int(said.rsplit("listening on ", 1)[1].split(")")[0].rpartition(":")[2])

    def live() -> bool:
        try:
            return httpx.get(f"http://{host}:{port}/health/live", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    eventually(live, "it lives")
    return said
