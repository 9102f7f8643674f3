"""Whether a request is traced, and as part of what: decided when it comes, told when it is over."""

from collections.abc import Iterable, Mapping

from app.domain.trace import Trace, new_span_id, new_trace_id, parse_traceparent
from app.settings import TelemetrySettings

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
LONGEST_PARENT = 128
LONGEST_STATE = 512
"""What W3C Trace Context §3.3.1.5 asks to hand on at least; a longer one is left out, or a provider would refuse us."""
ALWAYS, NEVER = 1.0, 0.0


class Tracing:
    """The ratio is taken of trace ids, as OpenTelemetry's TraceIdRatioBased takes it: all who do so agree.

    Where tracing is off, a caller's context still reaches providers, the log and exemplars, just as it came. Where only
    metrics are on, a request without a context gets a trace without an id, for its attempts.
    """

    def __init__(self, settings: TelemetrySettings) -> None:
        self.on = settings.on
        self._takes_part = settings.on and settings.traces
        kind = settings.sampler.removeprefix("parentbased_")
        self._by_parent = kind != settings.sampler
        ratio = {"always_on": ALWAYS, "always_off": NEVER}.get(kind, settings.sample_ratio)
        self._bound = round(ratio * 2**64)
        self._propagated = settings.propagate

    def of(self, headers: Mapping[bytes, bytes], sent: Iterable[tuple[bytes, bytes]]) -> Trace | None:
        """The trace of a request with `headers`, `sent` being all of them; None where there is nothing to trace."""
        came = headers.get(TRACEPARENT, b"")
        parent = parse_traceparent(came) if came and len(came) <= LONGEST_PARENT else None
        if not self._takes_part:
            if parent is None:
                return Trace("") if self.on else None
            trace_id, parent_id, sampled = parent
            lines = b"traceparent: %b\r\n%b" % (came.strip(), _state(headers, sent)) if self._propagated else b""
            return Trace(trace_id, "", parent_id, sampled, lines, self._propagated)
        if parent is None:
            trace_id = new_trace_id()
            return Trace(trace_id, new_span_id(), "", self._chosen(trace_id), b"", self._propagated)
        trace_id, parent_id, sampled = parent
        lines = _state(headers, sent) if self._propagated else b""
        if not self._by_parent:
            sampled = self._chosen(trace_id)
        return Trace(trace_id, new_span_id(), parent_id, sampled, lines, self._propagated)

    def _chosen(self, trace_id: str) -> bool:
        return int(trace_id[16:], 16) < self._bound


def _state(headers: Mapping[bytes, bytes], sent: Iterable[tuple[bytes, bytes]]) -> bytes:
    """`tracestate` as one line: a caller may have sent it in several."""
    if TRACESTATE not in headers:
        return b""
    state = b",".join(value.strip() for name, value in sent if name == TRACESTATE)
    if len(state) > LONGEST_STATE or not (state.isascii() and state.decode("ascii").isprintable()):
        return b""
    return b"tracestate: %b\r\n" % state
