"""The one service controllers call."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import structlog
from msgspec import Struct

from app.domain.controls import AS_CONFIGURED, CacheControls
from app.domain.errors import CallerGoneError, CancelledByShutdownError, Failure, GatewayError, word_of
from app.domain.llm import LLMRequest, Reply
from app.domain.outcome import Outcome
from app.domain.passage import Passage
from app.domain.principal import Principal
from app.domain.trace import Trace
from app.domain.usage import NO_USAGE
from app.services.drain import RETRY_AFTER_SECONDS, Drain
from app.services.observers import Observer
from app.services.presence import Presence
from app.services.stages.base import Call, Handler, Stage, chain

logger = structlog.get_logger("signalbox.calls")

END_OF_EVENT = b"\n\n"


class _Seen(Struct):
    """What has gone by of a stream; seconds, and `before` is when the last of it did."""

    before: float = 0.0
    first: float | None = None
    largest_gap: float = 0.0
    chunks: int = 0
    size: int = 0


NOTHING_SEEN = _Seen()
NO_TRACE = Trace("")


class LLMService:
    """Runs a call through the stages it was built with; a new policy is a new stage. Observers are told of each."""

    def __init__(
        self,
        stages: Sequence[Stage],
        dispatch: Handler,
        observers: Sequence[Observer],
        drain: Drain,
        public_name: Callable[[str], str] = str,
    ) -> None:
        self._handle = chain(stages, dispatch)
        self._observers = tuple(observers)
        self._drain = drain
        self._public_name = public_name

    async def run(  # noqa: PLR0913, PLR0917 - what a call is
        self,
        request: LLMRequest,
        caller: Principal,
        request_id: str,
        presence: Presence,
        controls: CacheControls = AS_CONFIGURED,
        passage: Passage | None = None,
    ) -> Reply:
        """The answer, its first event at hand where it is a stream; raises GatewayError.

        The call is settled when this raises, when a JSON answer is returned, or when its stream has ended: so a
        stream that was returned must be begun, and closed.
        """
        now = time.perf_counter()
        call = Call(request, caller, request_id, presence, passage or Passage(now, now), now, controls)
        self._drain.enter(presence.task)
        for observer in self._observers:
            observer.began()
        try:
            reply = await self._handle(call)
        except BaseException as error:  # noqa: BLE001 - it is raised again, or what it became
            ended = self._ended(call, None, error)
            try:
                raise ended from ended.__cause__
            finally:
                del ended  # or its traceback holds this frame, and that the error
        reply.attempts = call.attempts.rstrip(",")
        reply.seconds_upstream = call.seconds_upstream
        if isinstance(reply.body, bytes):
            self._settle(call, reply, time.perf_counter() - call.started, _gone(call))
        else:
            reply.body = self._settled_at_its_end(reply, reply.body, call)
        return reply

    async def _settled_at_its_end(
        self, reply: Reply, events: AsyncGenerator[bytes, None], call: Call
    ) -> AsyncGenerator[bytes, None]:
        seen = _Seen(before=call.started)
        try:
            async with aclosing(events):
                async for event in events:
                    now = time.perf_counter()
                    gap = now - seen.before
                    seen.before = now
                    if seen.first is None:
                        seen.first = gap
                    elif gap > seen.largest_gap:
                        seen.largest_gap = gap
                    seen.chunks += event.count(END_OF_EVENT)
                    seen.size += len(event)
                    for tap in call.taps:
                        tap.saw(event)
                    yield event
        except BaseException as error:  # noqa: BLE001 - it is raised again, or what it became
            _end_taps(call, error)
            ended = self._ended(call, reply, error, seen)
            try:
                raise ended from ended.__cause__
            finally:
                del ended
        _end_taps(call, None)
        self._settle(call, reply, time.perf_counter() - call.started, _gone(call), seen=seen)

    def _ended(
        self, call: Call, reply: Reply | None, error: BaseException, seen: "_Seen | None" = None
    ) -> BaseException:
        """Settle a call that failed, and say what is to be raised."""
        if isinstance(error, asyncio.CancelledError) and self._drain.cutting:
            call.presence.task.uncancel()
            error = CancelledByShutdownError(
                "the gateway has shut down before the answer was complete", retry_after=RETRY_AFTER_SECONDS
            )
        word = word_of(error)
        if isinstance(error, GeneratorExit) and self._drain.cutting:
            word = CancelledByShutdownError.word
        seconds = time.perf_counter() - call.started
        call.attempts = call.attempts.rstrip(",")
        provider = getattr(error, "provider", call.place)
        self._settle(call, reply, seconds, word, provider=provider, seen=seen)
        if isinstance(error, GatewayError):
            error.attempts = call.attempts or error.attempts  # an error may be shared
        return error

    def _settle(  # noqa: PLR0913 - how a call ended
        self,
        call: Call,
        reply: Reply | None,
        seconds: float,
        error: Failure | None,
        *,
        provider: str = "none",
        seen: "_Seen | None" = None,
    ) -> None:
        """Once, and without waiting: an `await` here would be cut when the client leaves."""
        if call.settled:
            return
        call.settled = True
        self._drain.leave(call.presence.task)
        request, cache, usage = call.request, call.cache, NO_USAGE
        if reply is not None:
            provider, cache, usage = reply.provider, reply.cache, reply.usage
        trace, seen = call.passage.trace or NO_TRACE, seen or NOTHING_SEEN
        outcome = call.passage.outcome = Outcome(
            call.request_id, call.caller.name, request.operation, request.model, request.stream, seconds, error,
            provider, call.place, cache, usage, call.attempts, call.seconds_upstream, seen.first, seen.chunks,
            seen.size, seen.largest_gap, trace.trace_id, call.public_model or self._public_name(request.model),
            trace.sampled,
        )  # fmt: skip # by place: names would cost a microsecond
        if seen.first is not None:
            call.passage.ended = call.started + seconds
        for observer in self._observers:
            observer.ended(outcome)


def _end_taps(call: Call, error: BaseException | None) -> None:
    """Before the call is settled, and whatever they do: it is settled all the same."""
    for tap in call.taps:
        try:
            tap.ended(error)
        except Exception:
            logger.exception("a tap failed")


def _gone(call: Call) -> Failure | None:
    """A caller may have left while others waited for the same answer."""
    return CallerGoneError.word if call.presence.left else None
