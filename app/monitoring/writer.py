"""Lines leave the event loop at once, however slowly they are read at the other end."""

import logging
import sys
import threading
import time
from contextlib import suppress
from queue import SimpleQueue

from app.monitoring.lines import LinesLostError, Sink
from app.monitoring.sparing import Sparing

MOST_WAITING = 8 * 1024 * 1024
PATIENCE_SECONDS = 2.0
TELL_SECONDS = 60.0

logger = logging.getLogger("signalbox.log")

Queue = SimpleQueue[bytes | None]


class LineWriter:
    """Writes in a thread of its own; what would wait behind more than 8 MiB, or cannot be written, is lost.

    A pipe that nobody empties, or a disk that is full, costs lines and no call; `lost` counts them. Any thread may
    hand in lines, each time whole ones: they are not mixed.
    """

    def __init__(self, sink: Sink) -> None:
        self.sparing = Sparing()
        """Of lines that others can make us write, asked before they are made."""
        self._sink = sink
        self._lock = threading.RLock()  # a signal's handler may log while its thread is in here
        self._queue: Queue = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended: threading.Thread | None = None
        self._given = self._taken = 0  # bytes; each is written by one side only, and so are the next two
        self._refused = self._failed = 0
        self._told = 0
        self._tell_from = {True: 0.0, False: 0.0}

    @property
    def lost(self) -> int:
        """Lines dropped since the start."""
        return self._refused + self._failed

    def write(self, lines: bytes) -> None:
        """Never waits and never fails."""
        with self._lock:
            if self._given - self._taken > MOST_WAITING:
                self._refused += lines.count(b"\n")
                return
            if self._thread is None:
                self._begin()
            self._given += len(lines)
            self._queue.put(lines)

    def close(self) -> None:
        """Wait for what is on its way, but not for ever; lines that come later are written all the same."""
        with self._lock:
            ending, self._thread = self._thread, None
            if ending is None:
                return
            self._ended = ending
            self._queue.put(None)
        ending.join(PATIENCE_SECONDS)

    def _begin(self) -> None:
        self._queue = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(self._queue, self._ended), name="log", daemon=True)
        self._thread.start()

    def _run(self, queue: Queue, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        while (lines := queue.get()) is not None:
            self._put(lines)
            self._taken += len(lines)
        self._sink.close()

    def _put(self, lines: bytes) -> None:
        try:
            self._sink.write(lines)
        except LinesLostError as error:
            self._failed += error.lines
            self._tell(str(error))
        except Exception as error:  # noqa: BLE001 - without this thread no line would ever be written again
            self._failed += lines.count(b"\n")
            self._tell(repr(error))
        else:
            self._tell("")

    def _tell(self, why: str) -> None:
        """Once a minute at most: where lines cannot be written on standard error, else as a line."""
        lost, now = self.lost, time.monotonic()
        if lost == self._told or now < self._tell_from[bool(why)]:
            return
        self._tell_from[bool(why)] = now + TELL_SECONDS
        if why:
            with suppress(OSError, ValueError, AttributeError):  # it may be as full, closed, or not there
                sys.stderr.write(f"signalbox: log lines are lost: {why}\n")
        else:
            self._told = lost
            logger.warning("log lines were lost", extra={"lines": lost})
