"""Clients that take nothing of what waits for them."""

import asyncio

import structlog
from uvicorn.protocols.http.flow_control import FlowControl

logger = structlog.get_logger("signalbox.server")


class Flow(FlowControl):
    """uvicorn's, and since when a client has taken nothing.

    Writing pauses above 64 KiB that the socket does not take, and nothing more is read from a provider then. uvicorn
    waits for ever: a client that holds a connection open and reads nothing would hold a call, too.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        super().__init__(transport)
        self._seconds = seconds
        self._left = -1
        self._since = 0.0

    def pause_writing(self) -> None:
        super().pause_writing()
        self._left = -1

    def cut_if_stalled(self, now: float) -> None:
        """To be asked about twice a second; any byte that is taken begins the time anew."""
        if not self.write_paused:
            return
        left = self._transport.get_write_buffer_size()
        if left != self._left:
            self._left, self._since = left, now
        elif now - self._since > self._seconds:
            logger.warning("a client reads nothing and is cut off", after_seconds=self._seconds, unsent_bytes=left)
            self._transport.abort()
