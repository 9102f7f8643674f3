"""Our spans and tallies as the SDK has them, and the library's exporters. Whoever imports this pays for all of it.

The SDK's own pipelines are not used: spans are made after the fact, and numbers are counted elsewhere.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from uuid import uuid4

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from app.domain.passage import Passage
from app.monitoring.tally import OVERFLOW, CounterFamily, Distribution, GaugeFamily, HistogramFamily
from app.monitoring.telemetry.genai import GenAIMetrics
from app.monitoring.telemetry.names import Peer
from app.monitoring.telemetry.tree import Span, tree_of
from app.settings import TelemetrySettings

KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
UNSET, BROKEN = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
LIBRARIES = ("opentelemetry", "urllib3")


class _LastWords(logging.Handler):
    """Keeps what the libraries said last, in place of their lines: they say it for each export that fails."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


class Otlp:
    """One collector. Called from one thread, and may wait there for as long as `timeout_seconds`."""

    def __init__(self, settings: TelemetrySettings, peers: Mapping[str, Peer], version: str) -> None:
        named = {"service.name": settings.service_name, "service.version": version, "service.instance.id": str(uuid4())}
        self._resource = Resource.create({**named, **settings.resource, "service.name": settings.service_name})
        self._scope = InstrumentationScope("signalbox", version)
        self._peers = peers
        self._begun = time.time_ns()
        timeout, headers, address = settings.timeout_seconds, settings.headers, settings.address
        self._spans = OTLPSpanExporter(f"{address}/v1/traces", headers=headers, timeout=timeout)
        self._numbers = OTLPMetricExporter(f"{address}/v1/metrics", headers=headers, timeout=timeout)
        self._last_words = _LastWords()
        for each in map(logging.getLogger, LIBRARIES):
            each.addHandler(self._last_words)
            each.propagate = False

    @property
    def trouble(self) -> str:
        """What the library said of the last export that failed."""
        return self._last_words.text

    def spans(self, passages: Sequence[Passage]) -> tuple[int, bool]:
        """Export what was sampled: how many spans, and whether the collector took them."""
        made = [span for passage in passages for span in self._made(passage)]
        return len(made), self._spans.export(made) is SpanExportResult.SUCCESS

    def numbers(self, metrics: GenAIMetrics) -> bool:
        """Export all that was counted since the start, if anything was."""
        found = list(self._counted(metrics))
        if not found:
            return True
        scope = ScopeMetrics(self._scope, found, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        return self._numbers.export(data) is MetricExportResult.SUCCESS

    def close(self) -> None:
        """What is being sent has no second try."""
        self._spans.shutdown()  # type: ignore[no-untyped-call] # the library has no annotation here
        self._numbers.shutdown()
        for each in map(logging.getLogger, LIBRARIES):
            each.removeHandler(self._last_words)
            each.propagate = True

    def _made(self, passage: Passage) -> Iterator[ReadableSpan]:
        trace = passage.trace
        assert trace is not None
        number = int(trace.trace_id, 16)
        epoch = time.time_ns() - time.perf_counter_ns()
        for span in tree_of(passage, trace, self._peers):
            yield self._readable(span, number, epoch, remote=span.kind == "server")

    def _readable(self, span: Span, trace_id: int, epoch: int, *, remote: bool) -> ReadableSpan:
        parent = SpanContext(trace_id, int(span.parent_id, 16), remote, SAMPLED) if span.parent_id else None
        return ReadableSpan(
            span.name,
            SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=SAMPLED),
            parent,
            self._resource,
            span.attributes,
            kind=KINDS[span.kind],
            status=BROKEN if span.broken else UNSET,
            start_time=epoch + int(span.started * 1e9),
            end_time=epoch + int(span.ended * 1e9),
            instrumentation_scope=self._scope,
        )

    def _counted(self, metrics: GenAIMetrics) -> Iterator[Metric]:
        now = time.time_ns()
        for name, each in metrics.instruments.items():
            family = metrics.tally.families[name]
            data = self._spreads(family, now) if isinstance(family, HistogramFamily) else self._sums(family, now)
            if data.data_points:
                yield Metric(name, each.text, each.unit, data)

    def _sums(self, family: CounterFamily | GaugeFamily, now: int) -> Sum:
        points = [
            NumberDataPoint(_said(family.label_names, labels), self._begun, now, int(child.value))
            for labels, child in list(family.children.items())  # the event loop may add one meanwhile
        ]
        return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)

    def _spreads(self, family: HistogramFamily, now: int) -> Histogram:
        points = [
            self._spread(_said(family.label_names, labels), child, family.bounds, now)
            for labels, child in list(family.children.items())  # as above
        ]
        return Histogram(points, AggregationTemporality.CUMULATIVE)

    def _spread(
        self, said: dict[str, str | int | bool], child: Distribution, bounds: Sequence[float], now: int
    ) -> HistogramDataPoint:
        counts = list(child.counts)
        return HistogramDataPoint(
            said, self._begun, now, sum(counts), child.sum, counts, bounds,
            min=None, max=None,  # type: ignore[arg-type] # optional in OTLP, and nobody kept them
        )  # fmt: skip # a point is a row


def _said(names: Sequence[str], values: Sequence[str]) -> dict[str, str | int | bool]:
    """Attributes that have a value; a port is a number. What found no room is told as the SDK tells it."""
    if values and all(value == OVERFLOW for value in values):
        return {"otel.metric.overflow": True}
    pairs = zip(names, values, strict=True)
    return {name: int(value) if name == "server.port" else value for name, value in pairs if value}
