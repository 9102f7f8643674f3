"""One timer for the deadlines of all connections, as long as there are any."""

import asyncio
import math
from weakref import WeakSet

from uvicorn.server import ServerState

SECONDS = 0.5

_swept: WeakSet[ServerState] = WeakSet()


def watch(state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
    """Have every connection of this server that has a `due` on the loop's clock expire, at most half a second late."""
    if state not in _swept:
        _swept.add(state)
        loop.call_later(SECONDS, _sweep, state, loop)


def _sweep(state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
    now = loop.time()
    for connection in list(state.connections):
        if getattr(connection, "due", math.inf) <= now:
            connection.expire()  # type: ignore[union-attr] # ours, as it has a `due`
    if state.connections:
        loop.call_later(SECONDS, _sweep, state, loop)
    else:
        _swept.discard(state)
