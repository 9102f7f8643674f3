"""Calls as a stage meets them, for tests of one stage."""

import asyncio
from typing import Any

from app.domain.llm import LLMRequest, Operation, Reply
from app.domain.passage import Passage
from app.domain.principal import Principal
from app.services.presence import Presence
from app.services.stages.base import Call


def call_for(body: bytes, *, tenant: str = "alice", **fields: Any) -> Call:
    """A call of the running task."""
    task = asyncio.current_task()
    assert task is not None
    request = LLMRequest.parse(Operation.CHAT, body)
    return Call(request, Principal(tenant, tenant), "id", Presence(task), Passage(0.0, 0.0), 0.0, **fields)


async def read(reply: Reply, call: Call | None = None) -> bytes:
    """The whole body, of a stream too, past the taps of its call."""
    if isinstance(reply.body, bytes):
        return reply.body
    taps = [] if call is None else call.taps
    events = []
    async for event in reply.body:
        events.append(event)
        for tap in taps:
            tap.saw(event)
    for tap in taps:
        tap.ended(None)
    return b"".join(events)
