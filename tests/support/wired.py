"""Our protocol on a transport that only notes what it is told."""

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from app.front import Front
from app.heads import DEFAULT_LIMITS, FrontLimits

ANSWER = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"{}", "more_body": False}


class Transport(asyncio.Transport):
    """Notes what is written, one entry for each system call it would be."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.ended = self.aborted = False
        self.unsent = 0
        self.full: Callable[[], None] | None = None
        """Called after each write, as transports do that have enough."""
        self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        if self.full is not None:
            self.full()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def front(app: Any, limits: FrontLimits = DEFAULT_LIMITS) -> tuple[Front, Transport]:
    config = uvicorn.Config(app, http=Front, ws="none", lifespan="off", log_config=None)
    config.load()
    protocol = Front(limits=limits, config=config, server_state=ServerState(), app_state={})
    transport = Transport()
    protocol.connection_made(transport)
    return protocol, transport


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send(ANSWER)
    await send(BODY)
