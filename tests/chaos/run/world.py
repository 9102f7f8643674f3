"""The gateway of a run and everything around it: providers behind proxies, Redis behind another."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.soak.processes import Gateway, configured
from tests.chaos.proxy import TcpProxy, proxy
from tests.chaos.run.book import KEYS
from tests.chaos.support import ChaosProvider, chaos_provider
from tests.support.processes import free_port, redis_server

HASTE = {"connect": 1, "first_byte": 1, "idle": 1, "total": 4, "stream_total": 6}
CATCHES = 1 << (signal.SIGHUP - 1)


class RedisServer:
    """One that may be stopped, killed and started again on its port."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._command = [str(redis_server()), "--port", str(self.port), "--save", "", "--dir", str(directory)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def send(self, sig: int) -> None:
        if self._process is not None:
            self._process.send_signal(sig)

    async def kill(self) -> None:
        if (process := self._process) is not None:
            self._process = None
            process.send_signal(signal.SIGCONT)
            process.kill()
            await asyncio.to_thread(process.wait)

    async def say(self, *words: str) -> None:
        """A command, its answer not read."""
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(f"{' '.join(words)}\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()


class World:
    def __init__(
        self, directory: Path, provider: ChaosProvider, proxies: dict[str, TcpProxy], redis: RedisServer
    ) -> None:
        self.directory = directory
        self.provider = provider
        self.proxies = proxies
        self.redis = redis
        self.gateway: Gateway

    def settings(self) -> dict[str, Any]:
        """Everything on; `a` by the lean client with few connections, `b` by httpx, `c` in peace."""
        rows = {
            name: {
                "base_url": f"http://127.0.0.1:{self.proxies[name].port}/{name}/v1",
                "api_key": f"k-{name}-0123456789",
                "timeouts": HASTE,
                "max_connections": 24 if name == "a" else 64,
                "upstream": "httpx" if name == "b" else "lean",
            }
            for name in "abc"
        }
        redis = (
            {"backend": "redis", "url": f"redis://127.0.0.1:{self.proxies['redis'].port}/0"} if redis_server() else {}
        )
        return {
            "log": {"format": "json"},
            "server": {"header_seconds": 2, "body_seconds": 5, "drain_seconds": 5, "max_in_flight": 20},
            "keys": {name: {"key": key} for name, key in KEYS.items()},
            "cache": {"max_bytes": 2 * 1024 * 1024, "l1_seconds": 1, **redis},
            "retry": {"backoff_seconds": 0.02, "max_wait_seconds": 0.5},
            "health": {"interval_seconds": 5, "timeout_seconds": 1},
            "providers": rows,
            "routes": {"either": ["a:well", "b:well", "c:well"], "calm": ["c:well"]},
        }

    def reloads(self) -> bool:
        """Whether the gateway takes SIGHUP as a word and not as its end."""
        status = Path(f"/proc/{self.gateway.pid}/status").read_text()
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) & CATCHES)

    def write_settings(self, *, good: bool) -> None:
        file = self.directory / "signalbox.yaml"
        file.write_bytes(msgspec.yaml.encode(self.settings()) if good else b"providers: [this is\nno yaml")


@asynccontextmanager
async def world(directory: Path, seed: int) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        provider = stack.enter_context(chaos_provider("--seed", str(seed)))
        redis = RedisServer(directory)
        stack.push_async_callback(redis.kill)
        if redis_server():
            redis.start()
        ports = {"a": provider.port, "b": provider.port, "c": provider.port, "redis": redis.port}
        proxies = {
            name: await stack.enter_async_context(proxy("127.0.0.1", port, seed=seed)) for name, port in ports.items()
        }
        made = World(directory, provider, proxies, redis)
        made.gateway = await stack.enter_async_context(configured(directory, made.settings()))
        yield made
