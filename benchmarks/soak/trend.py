"""Whether memory grows with the number of requests."""

from collections.abc import Sequence
from statistics import linear_regression, mean

from msgspec import Struct

from benchmarks.soak.vitals import Memory


class Sample(Struct, frozen=True):
    requests: int
    memory: Memory


class Trend(Struct, frozen=True):
    kb_per_thousand: float
    """The slope of the least-squares line through all samples but those of the first tenth."""
    grown_mb: float
    """From the mean of the second tenth to the mean of the last."""
    requests: int


def trend_of(samples: Sequence[Sample]) -> Trend:
    """Of PSS; raises ValueError where there are too few samples to speak of tenths."""
    tenth = len(samples) // 10
    if not tenth:
        raise ValueError(f"{len(samples)} samples are too few to see a trend")
    later = samples[tenth:]
    slope = linear_regression([each.requests / 1000 for each in later], [each.memory.pss for each in later]).slope
    second = mean(each.memory.pss for each in samples[tenth : 2 * tenth])
    last = mean(each.memory.pss for each in samples[-tenth:])
    return Trend(slope, (last - second) / 1024, later[-1].requests - later[0].requests)
