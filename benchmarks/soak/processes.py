"""The gateway and the provider as processes of their own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.soak.cases import KEYS, ROUTES
from benchmarks.soak.observed import Census
from benchmarks.soak.provider import Ledger as ProviderLedger
from benchmarks.soak.wire import Wire

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30.0
LISTENING = "(listening on 127.0.0.1:"
HASTE_SECONDS = 0.3


def settings(provider: int, nobody: int, cache_bytes: int) -> dict[str, Any]:
    """Everything on but what would spare a failing provider: the script says how often each is asked.

    The row `gone` is where nobody listens, and `hasty` does not wait.
    """
    url = f"http://127.0.0.1:{provider}"
    return {
        "log": {"format": "json"},
        "keys": {name: {"key": key} for name, key in KEYS.items()},
        "cache": {"max_bytes": cache_bytes},
        "health": {"fail_on": "all"},
        "retry": {"backoff_seconds": 0.01, "budget_per_second": 1e6},
        "breaker": {"failures": 0},
        "providers": {
            "main": {"base_url": f"{url}/main/v1", "api_key": "k-main-0123456789"},
            "backup": {"base_url": f"{url}/backup/v1", "api_key": "k-backup-0123456789"},
            "hasty": {"base_url": f"{url}/hasty/v1", "timeouts": {"first_byte": HASTE_SECONDS}},
            "gone": {"base_url": f"http://127.0.0.1:{nobody}/v1", "models": ["well"]},
        },
        "routes": ROUTES,
    }


class Gateway:
    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, observer: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.port = port
        self.log = log
        self._observer = observer

    async def census(self) -> Census:
        reader, writer = await asyncio.open_unix_connection(str(self._observer))
        try:
            return msgspec.json.decode(await reader.read(), type=Census)
        finally:
            writer.close()
            await writer.wait_closed()

    async def stop(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)


class Provider:
    def __init__(self, port: int) -> None:
        self.port = port

    async def ledger(self) -> ProviderLedger:
        wire = Wire(self.port)
        try:
            return msgspec.json.decode(await wire.get("/_ledger"), type=ProviderLedger)
        finally:
            await wire.leave()


@asynccontextmanager
async def provider_process() -> AsyncIterator[Provider]:
    command = [sys.executable, "-m", "benchmarks.soak.provider"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)  # noqa: ASYNC220 - ours, at the start
    try:
        assert process.stdout is not None
        yield Provider(int(await asyncio.to_thread(process.stdout.readline)))
    finally:
        await _ended(process)


@asynccontextmanager
async def gateway_process(directory: Path, provider: Provider, cache_bytes: int) -> AsyncIterator[Gateway]:
    """In front of the soak's own provider."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        configuration = settings(provider.port, nobody.getsockname()[1], cache_bytes)
        async with configured(directory, configuration) as gateway:
            yield gateway


@asynccontextmanager
async def configured(directory: Path, configuration: dict[str, Any]) -> AsyncIterator[Gateway]:
    """With nothing of our own environment but what it needs to run; its log is the file `log` in `directory`."""
    file, log, errors = (directory / name for name in ("signalbox.yaml", "log", "errors"))
    file.touch(mode=0o600)  # it holds keys
    file.write_bytes(msgspec.yaml.encode(configuration))
    observer = directory / "observer"
    observer.unlink(missing_ok=True)  # of an earlier run
    command = [sys.executable, "-m", "benchmarks.soak.observed", str(observer), "serve", "--port", "0"]
    command += ["--config", str(file)]
    clean = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    with log.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(command, cwd=directory, env=clean, stdout=out, stderr=err)  # noqa: ASYNC220 - ours, at the start
    try:
        yield Gateway(process, await _port(process, errors), log, observer)
    finally:
        await _ended(process)


async def _port(process: subprocess.Popen[bytes], errors: Path) -> int:
    """Where the gateway's banner says that it listens."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while LISTENING not in (said := await asyncio.to_thread(errors.read_text)) or "  try " not in said:
            if process.poll() is not None:
                raise RuntimeError(f"the gateway did not start: {said}")
            await asyncio.sleep(0.02)
    return int(said.partition(LISTENING)[2].partition(")")[0])


async def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
