"""What an answer says of itself in its head, as whole lines: a tenth of the work that pairs of bytes are."""

import time
from functools import lru_cache

from app.controllers.door import Headers
from app.domain.llm import SERVED_AGAIN, CacheStatus, Reply
from app.domain.passage import PHASES, Passage

WHOLE = b"content-type: application/json\r\n"
STREAM = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
_NAMES = {phase: phase.encode() for phase in PHASES}
_HIT = b"queue;dur=%.3f, auth;dur=%.3f, parse;dur=%.3f, cache;dur=%.3f, serialise;dur=%.3f, total;dur=%.3f"
_MISS = (
    b"queue;dur=%.3f, auth;dur=%.3f, parse;dur=%.3f, cache;dur=%.3f, route;dur=%.3f, connect;dur=%.3f, "
    b"upstream_wait;dur=%.3f, serialise;dur=%.3f, total;dur=%.3f"
)
"""What most answers say, in one go: a phase at a time would take twice as long."""
# RFC 9211
_CACHE_STATUS = {
    CacheStatus.MISS: "signalbox; fwd=uri-miss",
    CacheStatus.BYPASS: "signalbox; fwd=bypass",
    CacheStatus.COALESCED: "signalbox; fwd=uri-miss; collapsed",
}


def lines_of(reply: Reply, *, request_id: str, passage: Passage) -> bytes:
    """Lines with their ends."""
    whole, cache = isinstance(reply.body, bytes), reply.cache
    lines = b"%bx-request-id: %b\r\nserver-timing: %b\r\n" % (
        _lasting(reply.provider, reply.model, cache, reply.attempts, whole),
        request_id.encode(),
        timing_of(passage),
    )
    if passage.trace is not None:
        lines += b"".join([b"%b: %b\r\n" % header for header in traced(passage)])
    if cache is CacheStatus.HIT:
        lines += b"cache-status: signalbox; hit; ttl=%d\r\nage: %d\r\n" % (max(reply.ttl or 0, 0), reply.age or 0)
    if whole and reply.usage.cost_nano_usd is not None and cache not in SERVED_AGAIN:
        lines += b"x-signalbox-cost: %.9f\r\n" % (reply.usage.cost_nano_usd / 1e9)
    return lines


def timing_of(passage: Passage) -> bytes:
    """`Server-Timing`: the phases until now, and the time since the request came, in milliseconds."""
    now = time.perf_counter()
    queue, auth, parse, cache, route, connect, wait, stream, rest = phases = passage.phases(now)
    total = (now - passage.arrived) * 1000
    if auth is None or parse is None or cache is None or stream is not None or (wait is None) != (route is None):
        there = [(name, seconds) for name, seconds in zip(PHASES, phases, strict=True) if seconds is not None]
        said = b", ".join([b"%b;dur=%.3f" % (_NAMES[name], seconds * 1000) for name, seconds in there])
        return b"%b, total;dur=%.3f" % (said, total)
    first = (queue * 1000, auth * 1000, parse * 1000, cache * 1000)
    if wait is None or route is None or connect is None:
        return _HIT % (*first, rest * 1000, total)
    return _MISS % (*first, route * 1000, connect * 1000, wait * 1000, rest * 1000, total)


def traced(passage: Passage) -> Headers:
    """Which trace the answer is part of, if it has one."""
    trace = passage.trace
    return [] if trace is None or not trace.trace_id else [(b"x-trace-id", trace.trace_id.encode())]


def headers_in(lines: bytes) -> Headers:
    """The same as ASGI wants it."""
    pairs = (line.partition(b": ") for line in lines.split(b"\r\n") if line)
    return [(name, value) for name, _, value in pairs]


@lru_cache(1024)
def _lasting(provider: str, model: str, cache: CacheStatus, attempts: str, whole: bool) -> bytes:  # noqa: FBT001 - a key
    """What the answers of one model have in common; what cannot stand in a header is a question mark there."""
    headers = {"x-signalbox-provider": provider, "x-signalbox-model": model, "x-signalbox-cache": cache}
    if attempts:
        headers["x-signalbox-attempts"] = attempts
    if cache is not CacheStatus.HIT:
        headers["cache-status"] = _CACHE_STATUS[cache]
    if whole and cache in SERVED_AGAIN:
        headers["x-signalbox-cost"] = "0"
    lines = "".join(f"{name}: {value if value.isprintable() else '?'}\r\n" for name, value in headers.items())
    return (WHOLE if whole else STREAM) + lines.encode("ascii", "replace")
