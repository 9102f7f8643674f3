"""Whether memory grows with the number of requests."""

from collections.abc import Sequence
from math import sqrt
from statistics import linear_regression, mean

from msgspec import Struct

from benchmarks.soak.vitals import Memory

TENTHS = 10


class Sample(Struct, frozen=True):
    requests: int
    memory: Memory


class Trend(Struct, frozen=True):
    kb_per_thousand: float
    """The slope of the least-squares line through all samples but those of the first tenth."""
    error: float
    """Its standard error, by the means of the nine tenths: samples that follow each other are not independent."""
    grown_mb: float
    """From the mean of the second tenth to the mean of the last."""
    requests: int

    @property
    def at_least(self) -> float:
        """What memory grows by for certain, noise taken off: two standard errors below the slope."""
        return self.kb_per_thousand - 2 * self.error


def trend_of(samples: Sequence[Sample]) -> Trend:
    """Of PSS; raises ValueError where there are too few samples to speak of tenths."""
    tenth = len(samples) // TENTHS
    if not tenth:
        raise ValueError(f"{len(samples)} samples are too few to see a trend")
    later = samples[len(samples) - (TENTHS - 1) * tenth :]
    asked, held = _axes(later)
    tenths = [_axes(later[start : start + tenth]) for start in range(0, len(later), tenth)]
    means = [mean(memory) for _, memory in tenths]
    error = _slope_error([mean(requests) for requests, _ in tenths], means)
    slope = linear_regression(asked, held).slope
    return Trend(slope, error, (means[-1] - means[0]) / 1024, later[-1].requests - later[0].requests)


def _axes(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """Thousands of requests, and kB."""
    return [each.requests / 1000 for each in samples], [float(each.memory.pss) for each in samples]


def _slope_error(xs: Sequence[float], ys: Sequence[float]) -> float:
    slope, intercept = linear_regression(xs, ys)
    residual = sum((y - slope * x - intercept) ** 2 for x, y in zip(xs, ys, strict=True))
    middle = mean(xs)
    return sqrt(residual / (len(xs) - 2) / sum((x - middle) ** 2 for x in xs))
