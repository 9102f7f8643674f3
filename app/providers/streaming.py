"""A provider's stream of events, read until it says that it is done."""

from app.domain.llm import Reply
from app.domain.upstream_errors import UpstreamError, UpstreamMalformedError, UpstreamTruncatedError
from app.providers.events import EventCutter
from app.providers.reading import AnswerReader
from app.providers.upstream.base import Exchange


class EventStream:
    """Whole events as they come; what they say of the answer is noted in `reply`.

    An error inside the stream is raised after the events that came before it, however they were packed.
    """

    def __init__(self, exchange: Exchange, reader: AnswerReader, reply: Reply, *, choices: int = 1) -> None:
        """`choices` is how many were asked for: each says by itself why it ended."""
        self._exchange = exchange
        self._reader = reader
        self._reply = reply
        self._cutter = EventCutter()
        self._choices = choices
        self._begun = False
        self._failure: UpstreamError | None = None

    @property
    def done(self) -> bool:
        return self._cutter.done

    async def next(self) -> bytes:
        """One event or more; nothing at the end; raises UpstreamTruncatedError when that is not the right end."""
        if self._failure is not None:
            raise self._failure
        cutter = self._cutter
        while not cutter.done:
            piece = await self._exchange.read()
            if events := cutter.feed(piece) if piece else cutter.finish():
                events, self._failure = self._reader.stream(events, self._reply)
                if self._failure is not None and not events:
                    raise self._failure
                self._begun = True
                return events
            if cutter.too_long or not (piece or cutter.done):
                self._check_end()
                break
        return b""

    def close(self) -> None:
        self._exchange.close(done=self._cutter.done)

    def _check_end(self) -> None:
        """The provider sent its last, or what never ends: whether that may be."""
        cutter, provider = self._cutter, self._reply.provider
        if cutter.too_long:
            raise UpstreamMalformedError(f"{provider} sent an event without an end", provider=provider)
        if cutter.pending or (self._begun and len(self._reply.finish_reasons) < self._choices):
            raise UpstreamTruncatedError(f"{provider}'s stream ended without [DONE]", provider=provider)
