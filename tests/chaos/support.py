"""The kit in a test: a misbehaving provider in a process of its own, and a proxy in a thread."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.chaos.provider import encoded
from tests.chaos.proxy import TcpProxy
from tests.chaos.toxics import toxic
from tests.support.processes import PATIENCE_SECONDS, ROOT


class ChaosProvider:
    """`python -m tests.chaos provider`, and how it is asked what it saw."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE_SECONDS)

    def base_url(self, row: str) -> str:
        """For a provider of the gateway's; `row` may be a `fault:…` that all its questions meet."""
        return f"{self.url}/{row}/v1"

    def fault(self, row: str, written: str = "", share: float = 1.0) -> None:
        """What a row's questions meet from now on, that share of them; nothing: all is well again."""
        self.client.post(f"/_fault/{row}", content=encoded(written, share)).raise_for_status()

    def journal(self, call: str | None = None) -> list[dict[str, Any]]:
        """Everything received and sent, of one call or of all."""
        found: list[dict[str, Any]] = []
        while entries := self.client.get(f"/_journal?since={len(found)}").json()["entries"]:
            found += entries
        return [each for each in found if call in {None, each["call"]}]


@contextmanager
def chaos_provider(*arguments: str) -> Iterator[ChaosProvider]:
    command = [sys.executable, "-m", "tests.chaos", "provider", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        provider = ChaosProvider(int(process.stdout.readline()))
        try:
            yield provider
        finally:
            provider.client.close()
            process.terminate()


class ProxyThread:
    """A proxy for tests that are not asynchronous; every method returns when it is done."""

    def __init__(self, proxy: TcpProxy, loop: asyncio.AbstractEventLoop) -> None:
        self.proxy = proxy
        self._loop = loop

    @property
    def port(self) -> int:
        return self.proxy.port

    def add(self, written: str) -> None:
        """As on the command line: `latency=200,jitter=50,stream=up,probability=0.5`."""
        self._do(self.proxy.add(toxic(written)))

    def clear(self) -> None:
        self._do(self.proxy.clear())

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self.proxy.cut)

    def _do(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE_SECONDS)


@contextmanager
def chaos_proxy(port: int, *toxics: str, seed: int = 1) -> Iterator[ProxyThread]:
    """In front of that port of this machine."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = TcpProxy("127.0.0.1", port, seed=seed)
    asyncio.run_coroutine_threadsafe(made.up(), loop).result(PATIENCE_SECONDS)
    proxied = ProxyThread(made, loop)
    try:
        for each in toxics:
            proxied.add(each)
        yield proxied
    finally:
        asyncio.run_coroutine_threadsafe(_ended(made), loop).result(PATIENCE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_SECONDS)
        loop.close()


async def _ended(made: TcpProxy) -> None:
    await made.down()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)
