"""What HTTP answers leave in the metrics."""

import time
from collections.abc import Sequence

from app.domain.passage import PHASES, Passage
from app.monitoring.tally import Count, Distribution, Tally
from app.monitoring.window import Window

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
OVERHEAD_BUCKETS = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5,
    30, 120, 600,
)  # fmt: skip # a row for each power would be twenty lines
SIZE_BUCKETS = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Door:
    """The children for one kind of answer, looked up together."""

    __slots__ = ("count", "left", "received", "seconds", "sent")

    def __init__(
        self, count: Count, seconds: Distribution, received: Distribution, sent: Distribution, left: Count
    ) -> None:
        self.count = count
        self.seconds = seconds
        self.received = received
        self.sent = sent
        self.left = left


class AnswerMetrics:
    def __init__(self, tally: Tally) -> None:
        self._http = tally.counter("http_requests", "HTTP answers", "method", "route", "status")
        self._seconds = tally.histogram(
            "http_request_duration_seconds",
            "From a request's head to the last byte of its answer",
            "method",
            "route",
            bounds=LATENCY_BUCKETS,
        )
        self._received = tally.histogram("http_request_size_bytes", "Bodies of requests", "route", bounds=SIZE_BUCKETS)
        self._sent = tally.histogram("http_response_size_bytes", "Bodies of answers", "route", bounds=SIZE_BUCKETS)
        self._left = tally.counter(
            "http_client_disconnects", "Callers who left before their answer was complete", "route"
        )
        self._refusals = tally.counter("llm_request_errors", "Answers that were errors, by word", "error_type")
        overhead = tally.histogram(
            "llm_overhead_seconds", "Where the time of a call went, by phase", "phase", bounds=OVERHEAD_BUCKETS
        )
        self._phases = [overhead.of(phase) for phase in PHASES]
        self._doors: dict[tuple[str, str, int], _Door] = {}
        self.window = Window()
        self._seconds.quantiles = lambda: [((), self.window)]

    def passed(self, *passages: Passage) -> None:
        """Requests were answered, or their callers have left."""
        self.passed_all(passages)

    def passed_all(self, passages: Sequence[Passage]) -> None:
        gathered: dict[int, tuple[_Door, list[Passage]]] = {}
        for passage in passages:
            door = self._doors.get((passage.method, passage.route, passage.status)) or self._door(passage)
            gathered.setdefault(id(door), (door, []))[1].append(passage)
        for door, alike in gathered.values():
            self._count(door, alike)
        calls = [passage.phases(passage.finished) for passage in passages if passage.admitted]
        for phase, spent in zip(self._phases, zip(*calls, strict=True), strict=bool(calls)):
            phase.observe_all([seconds for seconds in spent if seconds is not None])

    def _count(self, door: "_Door", passages: list[Passage]) -> None:
        door.count.value += len(passages)
        seconds = [passage.finished - passage.arrived for passage in passages]
        for passage, spent in zip(passages, seconds, strict=True):
            if passage.left:
                door.left.value += 1
            if passage.word:
                self._refusals.of(passage.word).value += 1
            if passage.trace is not None and passage.trace.sampled:
                door.seconds.exemplify(spent, passage.trace.trace_id, time.time())
        door.seconds.observe_all(seconds)
        self.window.observe_all(seconds)
        door.received.observe_all([passage.bytes_in for passage in passages])
        door.sent.observe_all([_sent(passage) for passage in passages])

    def refused(self, method: str, route: str, status: int, word: str) -> None:
        """An answer of which nothing is known but that it was an error."""
        self._http.of(_method(method), route, str(status)).value += 1
        self._refusals.of(word).value += 1

    def _door(self, passage: Passage) -> _Door:
        method, route, status = _method(passage.method), passage.route, passage.status
        door = _Door(
            self._http.of(method, route, str(status)),
            self._seconds.of(method, route),
            self._received.of(route),
            self._sent.of(route),
            self._left.of(route),
        )
        if method == passage.method:
            self._doors[passage.method, route, status] = door
        return door


def _method(method: str) -> str:
    return method if method in METHODS else "other"


def _sent(passage: Passage) -> float:
    """Of a stream what its call has counted."""
    outcome = passage.outcome
    return passage.bytes_out or (0 if outcome is None else outcome.chunk_bytes)
