"""Checks of the operator's own, by configuration: a page that answers, a port that is open."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import urlsplit

from app.domain.health import Check, CheckStatus
from app.domain.upstream_errors import UpstreamError
from app.providers.upstream.base import Limits, Upstream
from app.settings import CheckSettings

WELL = Check(status=CheckStatus.HEALTHY)
FINE = range(200, 400)
PAUSE_SECONDS = 0.2


class Connect(Protocol):
    def __call__(self, *, provider: str, base_url: str, headers: dict[str, str], limits: Limits) -> Upstream: ...


class Repeated:
    """Asks up to `retries` times more before it gives up; each time has `timeout_seconds`."""

    def __init__(self, name: str, row: CheckSettings, ask: Callable[[], Awaitable[object]]) -> None:
        self.name = f"custom:{name}"
        self.critical = row.critical
        self.max_age = row.interval_seconds
        self.deadline = (row.timeout_seconds + PAUSE_SECONDS) * (row.retries + 1)
        self._row = row
        self._ask = ask

    async def run(self) -> Check:
        for left in range(self._row.retries, -1, -1):
            try:
                async with asyncio.timeout(self._row.timeout_seconds):
                    await self._ask()
                break
            except TimeoutError:
                if not left:
                    raise TimeoutError(f"no answer within {self._row.timeout_seconds:g} s") from None
            except (OSError, UpstreamError):
                if not left:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)
        return WELL


class HttpQuestion:
    """GET, for the status alone: the body is not read, redirects are answers."""

    def __init__(self, row: CheckSettings, connect: Connect) -> None:
        parts = urlsplit(row.url)
        self._place = parts.netloc
        self._base = f"{parts.scheme}://{parts.netloc}/"
        self._path = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
        self._expected = row.expect_status or FINE
        self._limits = Limits(connect=row.timeout_seconds, first_byte=row.timeout_seconds)
        self._connect = connect

    async def __call__(self) -> None:
        upstream = self._connect(provider=self._place, base_url=self._base, headers={}, limits=self._limits)
        try:
            exchange = await upstream.open("GET", self._path)
            exchange.close()
        finally:
            await upstream.aclose()
        if exchange.status not in self._expected:
            raise ConnectionError(f"{self._place} answered {exchange.status}")


class TcpQuestion:
    """Whether somebody accepts a connection; nothing is sent."""

    def __init__(self, row: CheckSettings) -> None:
        host, _, port = row.address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)

    async def __call__(self) -> None:
        _, writer = await asyncio.open_connection(self._host, self._port)
        writer.transport.abort()
