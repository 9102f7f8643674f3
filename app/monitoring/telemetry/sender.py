"""What is over leaves for the collector, on a thread of its own: nothing of it waits for a call, or makes one wait."""

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from app.domain.passage import Passage
from app.monitoring.telemetry.genai import GenAIMetrics
from app.monitoring.telemetry.tree import size_of
from app.providers.endpoints import endpoint_of
from app.settings import TelemetrySettings, passwords_of

AT_ONCE = 32
AT_LATEST_SECONDS = 1.0
FLUSH_SECONDS = 2.0
SWITCH_SECONDS = 0.0005

logger = structlog.get_logger("signalbox.telemetry")


class Collector(Protocol):
    """Where to; each may take its time, and says whether it arrived."""

    @property
    def trouble(self) -> str:
        """Why the last thing did not."""
        ...

    def spans(self, passages: Sequence[Passage]) -> tuple[int, bool]: ...

    def numbers(self, metrics: GenAIMetrics) -> bool: ...

    def close(self) -> None: ...


class Sender:
    """`passed` is for the event loop: it takes what was sampled, as long as fewer than `queue` requests wait.

    A collector that is down, slow or wrong costs spans, which are counted, and a line in the log when that begins and
    when it ends.
    """

    def __init__(self, collector: Collector, metrics: GenAIMetrics | None, settings: TelemetrySettings) -> None:
        self.exported = 0
        self._refused = self._lost = 0  # each has one thread that writes it
        self._collector = collector
        self._metrics = metrics
        self._settings = settings
        self._waiting: deque[Passage] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._failing: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        # turning spans into bytes holds the interpreter's lock, for 5 ms at a time unless it is told otherwise
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))
        self._thread.start()

    def passed(self, passage: Passage) -> None:
        trace = passage.trace
        if trace is None:
            return
        if self._metrics is not None:
            self._metrics.passed(passage)
        if not (trace.sampled and trace.span_id):
            return
        if self._stopping or len(self._waiting) >= self._settings.queue:
            self._refused += size_of(passage, trace)
            return
        self._waiting.append(passage)
        if len(self._waiting) >= AT_ONCE:
            self._wake.set()

    @property
    def dropped(self) -> int:
        return self._refused + self._lost

    async def aclose(self) -> None:
        """Send what there is, for two seconds at most; what is left then is lost."""
        self._stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, FLUSH_SECONDS)
        left = self._taken(len(self._waiting))
        self._collector.close()
        self._refused += _spans_of(left)
        if left:
            logger.warning("traces were left at the stop", requests=len(left))

    def _run(self) -> None:
        interval = self._settings.interval_seconds
        due = time.monotonic() + interval
        while True:
            self._wake.wait(min(AT_LATEST_SECONDS, interval))
            self._wake.clear()
            stopping = self._stopping
            while taken := self._taken(AT_ONCE):
                self._send_spans(taken)
            if self._metrics is not None and (stopping or time.monotonic() >= due):
                due = time.monotonic() + interval
                self._send_numbers(self._metrics)
            if stopping:
                return

    def _taken(self, most: int) -> list[Passage]:
        taken: list[Passage] = []
        with suppress(IndexError):  # at a stop two may take
            while len(taken) < most:
                taken.append(self._waiting.popleft())
        return taken

    def _send_spans(self, taken: Sequence[Passage]) -> None:
        try:
            count, arrived = self._collector.spans(taken)
        except Exception:
            logger.exception("spans could not be made")
            self._lost += _spans_of(taken)
            return
        if arrived:
            self.exported += count
        else:
            self._lost += count
        self._heard("traces", arrived=arrived)

    def _send_numbers(self, metrics: GenAIMetrics) -> None:
        try:
            arrived = self._collector.numbers(metrics)
        except Exception:
            logger.exception("metrics could not be exported")
        else:
            self._heard("metrics", arrived=arrived)

    def _heard(self, what: str, *, arrived: bool) -> None:
        """The first of many failures is worth a line, and so is the end of them."""
        if arrived == (what not in self._failing):
            return
        address, trouble = endpoint_of(self._settings.address), self._collector.trouble
        for password in passwords_of(self._settings.address):
            trouble = trouble.replace(password, "***")
        if arrived:
            self._failing.discard(what)
            logger.info("telemetry gets through again", what=what, endpoint=address)
        else:
            self._failing.add(what)
            logger.warning("telemetry does not get through", what=what, endpoint=address, detail=trouble)


def _spans_of(passages: Sequence[Passage]) -> int:
    return sum(size_of(each, each.trace) for each in passages if each.trace is not None)
