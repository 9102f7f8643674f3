"""The socket towards the agent: it never waits for long, and never fails."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from app.monitoring.tally import Tally
from app.settings import datagram_address

UDP_BYTES = 1432
"""What an Ethernet frame holds after the heads of IP and UDP, with some to spare for tunnels."""
UNIX_BYTES = 8192

RETRY_SECONDS = 5.0
RESOLVE_SECONDS = 300.0
BACK_AFTER_SECONDS = 30.0
PATIENCE = 20
PATIENCE_SECONDS = 0.005

logger = structlog.get_logger("signalbox.statsd")


class StatsdMetrics:
    def __init__(self, tally: Tally) -> None:
        packets = tally.counter("llm_statsd_packets", "Datagrams for statsd, by what became of them", "result")
        self.sent, self.dropped = map(packets.of, ("sent", "dropped"))
        self.timings_dropped = tally.counter(
            "llm_statsd_timings_dropped", "Times that were not sent because too many waited"
        ).of()


class Link:
    """What an absent agent misses is counted and gone; its name is resolved every five minutes, and after errors."""

    def __init__(self, address: str, metrics: StatsdMetrics, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._target = datagram_address(address)
        self._metrics = metrics
        self._clock = clock
        self._socket: socket.socket | None = None
        self._opened = 0.0
        self._failed = 0.0
        self._again = 0.0
        self._absent = False
        self.limit = UNIX_BYTES if isinstance(self._target, str) else UDP_BYTES
        """Bytes of a datagram."""

    async def send(self, datagram: bytes) -> None:
        now = self._clock()
        if self._socket is None and now < self._again:
            self._metrics.dropped.value += 1
            return
        try:
            if self._socket is None or now > self._opened + RESOLVE_SECONDS:
                await self._open()
            await self._put(datagram)
        except OSError as error:
            self._metrics.dropped.value += 1
            self._broke(error)
            return
        self._metrics.sent.value += 1
        if self._absent and now > self._failed + BACK_AFTER_SECONDS:
            self._absent = False
            logger.info("statsd is there again", address=self._address)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _open(self) -> None:
        self.close()
        family, target = await self._resolved()
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.settimeout(0)
            opened.connect(target)
        except OSError:
            opened.close()
            raise
        self._socket, self._opened = opened, self._clock()

    async def _resolved(self) -> tuple[int, Any]:
        if isinstance(self._target, str):
            return socket.AF_UNIX, self._target
        host, port = self._target
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        return found[0][0], found[0][4]

    async def _put(self, datagram: bytes) -> None:
        """A local agent that is behind is given a tenth of a second."""
        assert self._socket is not None
        for _ in range(PATIENCE):
            with suppress(BlockingIOError):
                self._socket.send(datagram)
                return
            await asyncio.sleep(PATIENCE_SECONDS)
        self._socket.send(datagram)

    def _broke(self, error: OSError) -> None:
        self.close()
        self._failed = self._clock()
        self._again = self._failed + RETRY_SECONDS
        if not self._absent:
            self._absent = True
            logger.warning(
                "statsd cannot be reached; metrics are counted all the same",
                address=self._address,
                reason=error.strerror or str(error),
            )
