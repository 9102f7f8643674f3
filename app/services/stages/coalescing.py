"""Identical questions in flight share one answer, streams included."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from app.domain.llm import CacheStatus, Reply
from app.domain.upstream_errors import UpstreamTruncatedError
from app.services.presence import Presence
from app.services.stages.base import Call, Handler

LONGEST_SHARED = 1024 * 1024


class Flight:
    """One answer on its way, and those who wait for more of it."""

    def __init__(self, presence: Presence) -> None:
        self.presence = presence
        self.reply: Reply | None = None
        self.error: BaseException | None = None
        self.events: list[bytes] = []
        self.size = 0
        self.landed = False
        self._waiting: list[asyncio.Future[None]] = []

    def tell(self) -> None:
        """There is more to see."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)

    async def more(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter


class CoalescingStage:
    """The first to ask works for all: as long as others share its answer, its call goes on though it has left.

    Per process. Who leads alone pays for a dictionary entry. A stream can be joined from its beginning until it
    has grown to 1 MiB; a failure is everybody's, so that a provider in trouble is not asked a hundred times.
    """

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    async def __call__(self, call: Call, proceed: Handler) -> Reply:
        if not call.key:
            return await proceed(call)
        while (flight := self._flights.get(call.key)) is not None:
            if (reply := await self._followed(flight)) is not None:
                return reply
        return await self._lead(call, proceed)

    async def _lead(self, call: Call, proceed: Handler) -> Reply:
        flight = self._flights[call.key] = Flight(call.presence)
        try:
            reply = await proceed(call)
        except BaseException as error:
            self._land(call.key, flight, error)
            raise
        flight.reply = reply
        if isinstance(reply.body, bytes):
            self._land(call.key, flight)
        else:
            reply.body = self._led(call.key, flight, reply.body)
            flight.tell()
        return reply

    async def _led(
        self, key: bytes, flight: Flight, events: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(events):
                async for event in events:
                    flight.events.append(event)
                    flight.size += len(event)
                    if flight.size > LONGEST_SHARED and self._flights.get(key) is flight:
                        del self._flights[key]
                    flight.tell()
                    yield event
        except BaseException as error:
            self._land(key, flight, error)
            raise
        self._land(key, flight)

    async def _followed(self, flight: Flight) -> Reply | None:
        """The shared answer, or None where its leader was cancelled before there was one: then someone else leads."""
        flight.presence.hold()
        holding = True
        try:
            while flight.reply is None and not flight.landed:
                await flight.more()
            if flight.reply is None:
                if isinstance(flight.error, Exception):
                    raise flight.error.with_traceback(None)
                return None
            reply = msgspec.structs.replace(flight.reply, cache=CacheStatus.COALESCED)
            if not isinstance(reply.body, bytes):
                reply.body = _following(flight, reply)
                holding = False  # the stream lets go
            return reply
        finally:
            if holding:
                flight.presence.let_go()

    def _land(self, key: bytes, flight: Flight, error: BaseException | None = None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.error = error
        flight.landed = True
        flight.tell()


async def _following(flight: Flight, reply: Reply) -> AsyncGenerator[bytes, None]:
    seen = 0
    try:
        while True:
            if seen < len(flight.events):
                events = b"".join(flight.events[seen:])
                seen = len(flight.events)
                yield events
            elif not flight.landed:
                await flight.more()
            else:
                break
        if isinstance(flight.error, Exception):
            raise flight.error.with_traceback(None)
        if flight.error is not None:
            raise UpstreamTruncatedError("the call that was shared has been cut", provider=reply.provider)
        assert flight.reply is not None
        reply.usage, reply.finish_reasons = flight.reply.usage, flight.reply.finish_reasons
    finally:
        flight.presence.let_go()
