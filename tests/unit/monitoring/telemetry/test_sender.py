"""What leaves for the collector, and what does not."""

import threading
from collections.abc import Sequence
from typing import Any

from structlog.testing import capture_logs

from app.domain.passage import Passage
from app.domain.trace import Trace
from app.monitoring.telemetry.sender import Sender
from app.settings import TelemetrySettings

PATIENCE_SECONDS = 20.0


class Collector:
    """Takes what it is given once its gate is open, as well as it is told."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.taken: list[int] = []
        self.gate = threading.Event()
        self.asked = threading.Event()
        self.closed = False
        self.trouble = "on strike, s3cr3t"

    def spans(self, passages: Sequence[Passage]) -> tuple[int, bool]:
        self.asked.set()
        assert self.gate.wait(PATIENCE_SECONDS)
        self.taken.append(len(passages))
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return len(passages), answer

    def numbers(self, metrics: Any) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def passage(*, sampled: bool = True) -> Passage:
    """Of one span."""
    return Passage(1.0, 1.0, finished=2.0, trace=Trace("a" * 32, "b" * 16, sampled=sampled))


async def test_what_is_not_sampled_stays() -> None:
    collector = Collector()
    collector.gate.set()
    sender = Sender(collector, None, TelemetrySettings())

    for each in (passage(sampled=False), Passage(1.0, 1.0), passage()):
        sender.passed(each)
    await sender.aclose()

    assert (collector.taken, sender.exported, sender.dropped) == ([1], 1, 0)
    assert collector.closed


async def test_what_finds_no_room_is_dropped_and_counted() -> None:
    collector = Collector()
    sender = Sender(collector, None, TelemetrySettings(queue=3))
    sender.passed(passage())
    assert collector.asked.wait(PATIENCE_SECONDS)

    for _ in range(10):
        sender.passed(passage())
    collector.gate.set()
    await sender.aclose()

    assert (sender.exported, sender.dropped) == (4, 7)


async def test_what_comes_after_the_stop_is_dropped_and_counted() -> None:
    collector = Collector()
    sender = Sender(collector, None, TelemetrySettings())

    await sender.aclose()
    sender.passed(passage())

    assert (sender.exported, sender.dropped) == (0, 1)


async def test_failing_is_one_line_and_so_is_its_end() -> None:
    collector = Collector(False, False, ValueError("of ours"), False, True, True)  # noqa: FBT003 - answers
    collector.gate.set()
    sender = Sender(collector, None, TelemetrySettings(endpoint="http://me:s3cr3t@x:4318", interval_seconds=0.01))

    with capture_logs() as lines:
        for count in range(1, 7):
            collector.asked.clear()
            sender.passed(passage())
            assert collector.asked.wait(PATIENCE_SECONDS)
            while sender.exported + sender.dropped < count:
                threading.Event().wait(0.001)
        await sender.aclose()

    assert [line["event"] for line in lines] == [
        "telemetry does not get through",
        "spans could not be made",
        "telemetry gets through again",
    ]
    assert lines[0] == {
        "event": "telemetry does not get through",
        "log_level": "warning",
        "what": "traces",
        "endpoint": "http://x:4318",
        "detail": "on strike, ***",
    }
    assert (sender.exported, sender.dropped) == (2, 4)
