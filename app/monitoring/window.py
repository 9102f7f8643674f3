"""What was seen in the last five minutes, in bounded memory: count, true average, quantiles within 2.5 %."""

import math
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate

SLICES = 5
SLICE_SECONDS = 60.0
SMALLEST = 1e-5
RATIO = 1.05
_PER_LOG = 1 / math.log(RATIO)
_LOG_SMALLEST = math.log(SMALLEST)
BUCKETS = int(math.log(1e9) * _PER_LOG) + 2
"""From 10 µs to 10,000; what is smaller or larger counts as that."""

_log = math.log


class _Slice:
    __slots__ = ("count", "counts", "number", "sum")

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.sum = 0.0
        self.counts = array("L", bytes(array("L").itemsize * BUCKETS))


class Window:
    """Slices of a minute: the running one, and the four before it."""

    __slots__ = ("_clock", "_running", "_slices")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slices: list[_Slice] = []
        self._running = _Slice(-1)

    def observe(self, value: float) -> None:
        self.observe_all((value,))

    def observe_all(self, values: Sequence[float]) -> None:
        number = int(self._clock() / SLICE_SECONDS)
        running = self._running
        if running.number != number:
            running = self._running = _Slice(number)
            self._slices = [*(each for each in self._slices if each.number > number - SLICES), running]
        running.count += len(values)
        running.sum += sum(values)
        counts = running.counts
        for value in values:
            place = int((_log(value) - _LOG_SMALLEST) * _PER_LOG) if value > SMALLEST else 0
            counts[place if place < BUCKETS else BUCKETS - 1] += 1

    @property
    def count(self) -> int:
        return sum(each.count for each in self._recent())

    @property
    def average(self) -> float:
        """0 where nothing was seen."""
        recent = self._recent()
        count = sum(each.count for each in recent)
        return sum(each.sum for each in recent) / count if count else 0.0

    def quantiles(self, *wanted: float) -> list[float]:
        """The values below which these shares lie, 0 to 1, in rising order; zeros where nothing was seen."""
        recent = self._recent()
        running = list(accumulate(map(sum, zip(*(each.counts for each in recent), strict=True))))
        if not running:
            return [0.0] * len(wanted)
        found = []
        for share in wanted:
            rank = max(math.ceil(share * running[-1]), 1)
            place = next(index for index, count in enumerate(running) if count >= rank)
            found.append(SMALLEST * RATIO ** (place + 0.5))
        return found

    def _recent(self) -> list[_Slice]:
        oldest = int(self._clock() / SLICE_SECONDS) - SLICES
        return [each for each in self._slices if each.number > oldest]
