"""The timer of all connections' deadlines."""

import asyncio
import time
from typing import Any

from uvicorn.server import ServerState

from app.sweep import STEP_SECONDS, watch

PATIENCE_SECONDS = 30


class Flow:
    def cut_if_stalled(self, now: float) -> None:
        """It never has."""


class Late:
    """A connection whose end takes as long as a step may."""

    flow = Flow()

    def __init__(self, state: ServerState, seen: list[str]) -> None:
        self.due = 0.0
        self._state = state
        self._seen = seen

    def expire(self) -> None:
        time.sleep(STEP_SECONDS)
        self._seen.append("expired")
        self._state.connections.discard(self)  # type: ignore[arg-type] # a stand-in
        asyncio.get_running_loop().call_soon(self._seen.append, "another's turn")


async def test_between_two_that_expire_everybody_else_has_a_turn() -> None:
    state, seen = ServerState(), list[str]()
    connections: set[Any] = {Late(state, seen) for _ in range(5)}
    state.connections = connections

    watch(state, asyncio.get_running_loop())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(seen) < 10:  # noqa: ASYNC110 - a timer says nothing
            await asyncio.sleep(0.01)

    assert seen == ["expired", "another's turn"] * 5
