"""Identical questions in flight share one answer, streams included."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from app.domain.llm import CacheStatus, Reply
from app.services.stages.base import Call, Handler
from app.services.stages.flight import Flight, Reader


class CoalescingStage:
    """The first to ask works for all. Per process; who leads alone pays for a dictionary entry.

    A failure is everybody's, so that a provider in trouble is not asked a hundred times.
    """

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    async def __call__(self, call: Call, proceed: Handler) -> Reply:
        if not call.key:
            return await proceed(call)
        while (flight := self._flights.get(call.key)) is not None and flight.joinable:
            try:
                reply = await self._followed(call.key, flight)
            finally:
                call.passage.answered = time.perf_counter()
            if reply is not None:
                return reply
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
            flight.source = reply.body
            reply.body = self._led(call.key, flight, reply.body)
            flight.tell()
        return reply

    async def _led(
        self, key: bytes, flight: Flight, source: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """The leader's own stream: pulled by itself until it is shared, read like everybody's from then on."""
        leader = flight.leader
        try:
            while flight.pump is None:
                flight.pulling = True
                try:
                    event = await source.__anext__()
                except StopAsyncIteration:
                    self._land(key, flight)
                    return
                flight.pulling = False
                leader.seen += 1
                flight.log(event)
                if flight.readers:
                    self._share(key, flight, source)
                yield event
            async with aclosing(flight.read(leader)) as rest:
                async for event in rest:
                    yield event
        except BaseException as error:
            if flight.pump is None:
                self._land(key, flight, error)
            raise
        finally:
            flight.leave(leader)
            if flight.pump is None:
                await source.aclose()

    def _share(self, key: bytes, flight: Flight, source: AsyncGenerator[bytes, None]) -> None:
        flight.take_over(asyncio.create_task(self._pump(key, flight, source)))

    async def _pump(self, key: bytes, flight: Flight, source: AsyncGenerator[bytes, None]) -> None:
        try:
            async with aclosing(source):
                async for event in source:
                    flight.log(event)
        except BaseException as error:
            self._land(key, flight, error)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            self._land(key, flight)

    async def _followed(self, key: bytes, flight: Flight) -> Reply | None:
        """The shared answer, or None where its leader was cancelled before there was one: then someone else leads."""
        reader = Reader()
        flight.join(reader)
        staying = False
        try:
            while flight.reply is None and not flight.landed:
                await flight.more()
            if flight.reply is None:
                if isinstance(flight.error, Exception):
                    raise flight.error.with_traceback(None)
                return None
            reply = msgspec.structs.replace(flight.reply, cache=CacheStatus.COALESCED)
            if not isinstance(reply.body, bytes):
                if flight.source is not None and not (flight.pulling or flight.landed or flight.pump):
                    self._share(key, flight, flight.source)
                reply.body = _following(flight, reader, reply)
                staying = True
            return reply
        finally:
            if not staying:
                flight.leave(reader)

    def _land(self, key: bytes, flight: Flight, error: BaseException | None = None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.land(error)


async def _following(flight: Flight, reader: Reader, reply: Reply) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(flight.read(reader)) as events:
            async for event in events:
                yield event
        assert flight.reply is not None
        reply.usage, reply.finish_reasons = flight.reply.usage, flight.reply.finish_reasons
    finally:
        flight.leave(reader)
