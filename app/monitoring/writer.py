"""Lines leave the event loop at once, however slowly they are read at the other end."""

import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import BinaryIO

MOST_WAITING = 8 * 1024 * 1024
PATIENCE_SECONDS = 2.0


class LineWriter:
    """Writes in a thread of its own; what would wait behind more than 8 MiB, or cannot be written, is lost.

    A pipe that nobody empties, or a disk that is full, costs lines and no call.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._given = self._taken = 0  # each is written by one side only
        self._thread: threading.Thread | None = None

    def write(self, lines: bytes) -> None:
        """Never waits and never fails."""
        if self._given - self._taken > MOST_WAITING:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()
        self._given += len(lines)
        self._queue.put(lines)

    def close(self) -> None:
        """Wait for what is on its way, but not for ever."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(PATIENCE_SECONDS)
            self._thread = None

    def _run(self) -> None:
        while (lines := self._queue.get()) is not None:
            with suppress(OSError, ValueError):  # ValueError: it was closed
                self._file.write(lines)
                self._file.flush()
            self._taken += len(lines)
