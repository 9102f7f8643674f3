"""The same line a hundred thousand times a second says no more than a hundred times: counters are exact anyway."""

import threading
import time
from collections.abc import Callable

MOST_A_SECOND = 100
MOST_KINDS = 256
OTHERS = "other"


class Sparing:
    """Lets through so many lines of each kind within a second, and counts what it holds back; for any thread."""

    def __init__(self, most: int = MOST_A_SECOND, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.held = 0
        """Lines held back since the start."""
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._second = 0
        self._counts: dict[str, int] = {}
        self._owed: dict[str, int] = {}

    def takes(self, kind: str) -> int | None:
        """Nothing where this line is one too many; else how many of its kind were held back before it."""
        with self._lock:
            second = int(self._clock())
            if second != self._second:
                self._second = second
                self._counts.clear()
            if kind not in self._counts and len(self._counts) >= MOST_KINDS:
                kind = OTHERS
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
            if count <= self._most:
                return self._owed.pop(kind, 0)
            self.held += 1
            if kind in self._owed or len(self._owed) < MOST_KINDS:
                self._owed[kind] = self._owed.get(kind, 0) + 1
            return None
