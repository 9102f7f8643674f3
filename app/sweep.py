"""One timer for the deadlines of all connections, as long as there are any."""

import asyncio
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

from uvicorn.server import ServerState

SECONDS = 0.5
STEP_SECONDS = 0.001

_swept: WeakSet[ServerState] = WeakSet()


def watch(state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
    """Have every connection of this server that has a `due` on the loop's clock expire, at most half a second late.

    Its `flow` is asked as often whether its client has stalled.
    """
    if state not in _swept:
        _swept.add(state)
        loop.call_later(SECONDS, _sweep, state, loop)


def _sweep(state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
    _step(iter(list[Any](state.connections)), state, loop)


def _step(left: Iterator[Any], state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
    """Thousands that expire together hold nobody up for longer than a step."""
    now = loop.time()
    for connection in left:
        if (due := getattr(connection, "due", None)) is None:  # not one of ours
            continue
        connection.flow.cut_if_stalled(now)
        if due <= now:
            connection.expire()
            if loop.time() - now >= STEP_SECONDS:
                loop.call_soon(_step, left, state, loop)
                return
    if state.connections:
        loop.call_later(SECONDS, _sweep, state, loop)
    else:
        _swept.discard(state)
