"""Who asked, across processes: W3C Trace Context's ids."""

import re
from os import urandom

from msgspec import Struct

from app.domain.llm import Reply
from app.domain.usage import NO_USAGE, TokenUsage

_parent = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?"
).fullmatch
SAMPLED = 1


class Attempt(Struct, gc=False):
    """One asking of a provider within a trace; seconds on the clock of `time.perf_counter`, 0 where it never came."""

    span_id: str
    provider: str
    model: str
    """The provider's own name for it."""
    started: float
    answered: float = 0.0
    """When the answer was here, or the first event of a stream."""
    ended: float = 0.0
    error: str = ""
    usage: TokenUsage = NO_USAGE
    finish_reasons: tuple[str, ...] = ()

    def end(self, now: float, reply: Reply | None, error: str = "") -> None:
        self.ended = now
        self.error = error
        if reply is not None:
            self.usage, self.finish_reasons = reply.usage, reply.finish_reasons


class Trace(Struct):
    """The part of a trace that is one request here.

    `parent_id` is the caller's span, or nothing. Without a `span_id` we take no part: what came in `handed_on` is what
    providers get. Where `sampled` is false nobody keeps it.
    """

    trace_id: str
    span_id: str = ""
    parent_id: str = ""
    sampled: bool = False
    handed_on: bytes = b""
    """Whole header lines for providers, beside the `traceparent` that each attempt has of its own."""
    propagated: bool = True
    attempts: list[Attempt] = []

    def asks(self, provider: str, model: str, now: float) -> Attempt:
        attempt = Attempt(new_span_id(), provider, model, now)
        self.attempts.append(attempt)
        return attempt

    def lines_for(self, attempt: Attempt) -> bytes:
        """What the provider is told: whole header lines."""
        if not (self.span_id and self.propagated):
            return self.handed_on
        parent = traceparent(self.trace_id, attempt.span_id, sampled=self.sampled)
        return b"traceparent: %b\r\n%b" % (parent.encode(), self.handed_on)


def new_trace_id() -> str:
    return urandom(16).hex()


def new_span_id() -> str:
    return urandom(8).hex()


def parse_traceparent(value: bytes) -> tuple[str, str, bool] | None:
    """Trace id, parent's span id, sampled; None for what is no `traceparent` (W3C Trace Context §3.2)."""
    match = _parent(value.decode("latin-1").strip())
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return match[2], match[3], bool(int(match[4], 16) & SAMPLED)


def traceparent(trace_id: str, span_id: str, *, sampled: bool) -> str:
    return f"00-{trace_id}-{span_id}-0{SAMPLED if sampled else 0}"
