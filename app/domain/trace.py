"""Who asked, across processes: W3C Trace Context's ids."""

import re
from os import urandom

from msgspec import Struct

_parent = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
).fullmatch
SAMPLED = 1


class Attempt(Struct, gc=False):
    """One asking of a provider within a trace; seconds on the clock of `time.perf_counter`."""

    span_id: str
    provider: str
    model: str
    started: float
    ended: float = 0.0
    error: str = ""
    status: int = 0


class Trace(Struct):
    """The part of a trace that is one request here.

    `parent_id` is the caller's span, or nothing; where `sampled` is false the ids are only handed on.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    sampled: bool = False
    state: str = ""
    """The caller's `tracestate`, handed on as it came."""
    attempts: list[Attempt] = []


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
    return f"00-{trace_id}-{span_id}-{SAMPLED if sampled else 0:02x}"
