"""An OTLP/HTTP receiver on loopback: keeps what it is sent, decoded."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATIENCE_SECONDS = 20.0
KINDS = {1: "internal", 2: "server", 3: "client"}


class Received(Struct):
    """One span; ids are hex, seconds since the epoch."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    started: float
    ended: float
    attributes: dict[str, Any]
    failed: bool
    remote: bool
    """Its parent is somebody else's."""


class Point(Struct):
    """`value` is a counter's, or a histogram's sum."""

    metric: str
    unit: str
    attributes: dict[str, Any]
    value: float
    count: int | None = None
    counts: list[int] = []
    bounds: list[float] = []


class Collector:
    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[Received] = []
        self.points: list[Point] = []
        """Of the last export; what is told is all since the start."""
        self.headers: list[dict[str, str]] = []
        self.resource: dict[str, Any] = {}
        self.answer: Callable[[], tuple[int, bytes]] = lambda: (200, b"")
        self.seen = threading.Condition()

    def trace(self, trace_id: str, *, size: int) -> list[Received]:
        """The spans of a trace, once there are so many of them, the first one to begin first."""
        self.wait(lambda: len(self.of(trace_id)) >= size, f"{size} spans of {trace_id}")
        return self.of(trace_id)

    def of(self, trace_id: str) -> list[Received]:
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.started)

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self.seen:
            while not ready():
                assert self.seen.wait(deadline - time.monotonic()), f"no {what} in time: {self.spans}"

    def point(self, metric: str, attributes: dict[str, Any]) -> Point:
        """The one point of `metric` that has these `attributes`."""
        wanted = attributes.items()
        (only,) = [each for each in self.points if each.metric == metric and wanted <= each.attributes.items()]
        return only

    def take(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        status, said = self.answer()
        with self.seen:
            self.headers.append(headers)
            if status == 200 and path == "/v1/traces":
                self._traces(body)
            elif status == 200 and path == "/v1/metrics":
                self._metrics(body)
            self.seen.notify_all()
        return status, said

    def _traces(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = _pairs(group.resource.attributes)
            self.spans += [_received(span) for scope in group.scope_spans for span in scope.spans]

    def _metrics(self, body: bytes) -> None:
        self.points = []
        for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self.resource = _pairs(group.resource.attributes)
            for metric in (each for scope in group.scope_metrics for each in scope.metrics):
                for point in metric.sum.data_points:
                    value = point.as_double or point.as_int
                    self.points.append(Point(metric.name, metric.unit, _pairs(point.attributes), value))
                for point in metric.histogram.data_points:
                    said = (list(point.bucket_counts), list(point.explicit_bounds))
                    self.points.append(
                        Point(metric.name, metric.unit, _pairs(point.attributes), point.sum, point.count, *said)
                    )


def _received(span: Any) -> Received:
    return Received(
        span.name,
        KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        _pairs(span.attributes),
        span.status.code == 2,
        bool(span.flags & 0x200),
    )


def _pairs(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(said: Any) -> Any:
    kind = said.WhichOneof("value")
    value = getattr(said, kind)
    return [_value(each) for each in value.values] if kind == "array_value" else value


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    collector: Collector


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, said = self.server.collector.take(self.path, body, headers)
        with suppress(ConnectionError):  # whoever sent it has stopped
            self.send_response(status)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        return None


@contextmanager
def collector() -> Iterator[Collector]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.collector
        finally:
            server.shutdown()
            thread.join()
