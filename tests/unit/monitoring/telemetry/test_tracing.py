"""What a request is part of, and whether that is sampled."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from app.domain.trace import Attempt, Trace
from app.monitoring.telemetry.tracing import LONGEST_STATE, Tracing
from app.settings import TelemetrySettings

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
ENDPOINT = "http://x"


def of(sent: list[tuple[bytes, bytes]] | None = None, **settings: Any) -> Trace | None:
    made = Tracing(TelemetrySettings(**{"endpoint": ENDPOINT} | settings))
    return made.of(dict(sent or []), sent or [])


def parent(flags: str = "01") -> tuple[bytes, bytes]:
    return b"traceparent", f"00-{TRACE}-{PARENT}-{flags}".encode()


def lines_of(trace: Trace) -> bytes:
    return trace.lines_for(Attempt("00f067aa0ba902b7", "p", "m", 0.0))


@pytest.mark.parametrize(
    ("sampler", "ratio", "flags", "sampled"),
    [
        ("always_on", 0, None, True),
        ("always_on", 0, "00", True),
        ("always_off", 1, None, False),
        ("always_off", 1, "01", False),
        ("traceidratio", 0, "01", False),
        ("traceidratio", 1, "00", True),
        ("parentbased_always_on", 0, None, True),
        ("parentbased_always_on", 0, "00", False),
        ("parentbased_always_off", 1, None, False),
        ("parentbased_always_off", 1, "01", True),
        ("parentbased_traceidratio", 0, None, False),
        ("parentbased_traceidratio", 0, "01", True),
        ("parentbased_traceidratio", 1, "00", False),
        ("parentbased_traceidratio", 1, None, True),
    ],
)
def test_samplers_decide_as_opentelemetry_has_them(sampler: str, ratio: float, flags: str, *, sampled: bool) -> None:
    trace = of([parent(flags)] if flags else [], sampler=sampler, sample_ratio=ratio)

    assert trace is not None
    assert trace.sampled is sampled
    assert trace.lines_for(trace.asks("p", "m", 0.0)).endswith(b"-01\r\n" if sampled else b"-00\r\n")


@given(st.integers(min_value=1, max_value=2**128 - 1), st.floats(min_value=0, max_value=1))
def test_the_ratio_chooses_the_traces_that_the_sdk_chooses(trace_id: int, ratio: float) -> None:
    header = b"traceparent", f"00-{trace_id:032x}-{PARENT}-00".encode()

    trace = of([header], sampler="traceidratio", sample_ratio=ratio)

    theirs = TraceIdRatioBased(ratio).should_sample(None, trace_id, "")
    assert trace is not None
    assert trace.sampled is (theirs.decision is Decision.RECORD_AND_SAMPLE)


def test_a_caller_is_the_parent_and_its_state_is_handed_on_in_one_line() -> None:
    trace = of([parent(), (b"tracestate", b"a=1"), (b"x", b"y"), (b"tracestate", b"b=2 ")])

    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE, PARENT)
    assert trace.span_id not in {"", PARENT}
    expected = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\ntracestate: a=1,b=2\r\n"
    assert lines_of(trace) == expected.encode()


@pytest.mark.parametrize("state", [b"a=" + b"x" * LONGEST_STATE, b"a=\xe9", b"a=\x01"])
def test_a_state_that_could_cost_the_call_is_left_out(state: bytes) -> None:
    trace = of([parent(), (b"tracestate", state)])

    assert trace is not None
    assert b"tracestate" not in lines_of(trace)


@pytest.mark.parametrize("settings", [{"endpoint": ""}, {"enabled": False}, {"metrics": False, "traces": False}])
def test_off_only_the_callers_context_is_known_and_goes_on_as_it_came(settings: dict[str, Any]) -> None:
    came = b"01-" + TRACE.encode() + b"-" + PARENT.encode() + b"-01-more"

    assert of(**settings) is None
    assert of([(b"traceparent", b"garbage")], **settings) is None
    trace = of([(b"traceparent", came), (b"tracestate", b"a=1")], **settings)

    assert trace is not None
    assert (trace.trace_id, trace.span_id, trace.sampled) == (TRACE, "", True)
    assert lines_of(trace) == b"traceparent: " + came + b"\r\ntracestate: a=1\r\n"


@pytest.mark.parametrize("endpoint", ["", ENDPOINT])
def test_told_so_it_tells_providers_nothing(endpoint: str) -> None:
    trace = of([parent(), (b"tracestate", b"a=1")], endpoint=endpoint, propagate=False)

    assert trace is not None
    assert trace.trace_id == TRACE
    assert lines_of(trace) == b""


def test_metrics_alone_need_a_trace_without_an_id() -> None:
    trace = of(traces=False)

    assert trace == Trace("")
    assert lines_of(trace) == b""
