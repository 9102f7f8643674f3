"""How a connection ends: its last answer arrives, and who takes nothing of it is not waited for for ever."""

import math
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LINGER_SECONDS = 2.0
NEVER = math.inf


class Parting(HttpToolsProtocol):
    """Whoever sweeps asks a connection that is `due` to `expire`; while `lingering` or closing that is `_part`."""

    patience: float
    """Seconds in which a client has to take something of what it was sent: as long as within an answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.due = NEVER
        """On the loop's clock."""
        self.deaf = False
        """Nothing that comes is read any more."""
        self.lingering = False
        self.unsent = NEVER

    def _linger(self) -> None:
        """Read on and forget: closing on a client that still sends would take its answer away from it (RFC 9112 §9.6).

        It has the time it had for its body, or a moment.
        """
        left = self.due if math.isfinite(self.due) else 0.0
        self.due = max(left, self.loop.time() + LINGER_SECONDS)
        self.deaf = self.lingering = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():  # TLS cannot: there the answer's `connection: close` has to do
            self.transport.write_eof()

    def _part(self) -> None:
        """What was said last is thrown away once the client takes nothing of it."""
        left = self.transport.get_write_buffer_size()
        if not 0 < left < self.unsent:
            self.transport.abort()
            return
        self.unsent = left
        self.due = self.loop.time() + self.patience

    def _close(self) -> None:
        """Once everything is sent."""
        self.due = self.loop.time() + self.patience
        self.transport.close()
