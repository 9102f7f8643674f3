"""Counters and histograms a call can afford: adding is adding, and Prometheus' objects are made when it asks.

The event loop is the only writer, so nothing is locked. `prometheus_client` spends 0.4 µs and a mutex on each.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Labels = tuple[str, ...]

MOST_CHILDREN = 1000
OVERFLOW = "other"


class Count:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Distribution:
    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


Child = TypeVar("Child")


class Family(Generic[Child]):
    """One child for each set of label values, as far as `MOST_CHILDREN`.

    Beyond that all go to one child whose labels are `other`: sums stay exact, memory bounded.
    """

    def __init__(self, name: str, help_text: str, labels: Labels, new: Callable[[], Child]) -> None:
        self.name = name
        self.help_text = help_text
        self.label_names = labels
        self.children: dict[Labels, Child] = {}
        self._new = new
        self.of = lru_cache(MOST_CHILDREN)(self._child)

    def _child(self, *labels: str) -> Child:
        if labels not in self.children and len(self.children) >= MOST_CHILDREN:
            labels = (OVERFLOW,) * len(labels)
        return self.children.setdefault(labels, self._new())


class CounterFamily(Family[Count]):
    def __init__(self, name: str, help_text: str, *labels: str) -> None:
        super().__init__(name, help_text, labels, Count)

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self.name, self.help_text, labels=self.label_names)
        for labels, child in self.children.items():
            family.add_metric(labels, child.value)
        yield family


class GaugeFamily(Family[Count]):
    def __init__(self, name: str, help_text: str, *labels: str) -> None:
        super().__init__(name, help_text, labels, Count)

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self.name, self.help_text, labels=self.label_names)
        for labels, child in self.children.items():
            family.add_metric(labels, child.value)
        yield family


class HistogramFamily(Family[Distribution]):
    def __init__(self, name: str, help_text: str, *labels: str, bounds: Sequence[float]) -> None:
        super().__init__(name, help_text, labels, lambda: Distribution(bounds))
        self._names = [*map(str, map(float, bounds)), "+Inf"]

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self.name, self.help_text, labels=self.label_names)
        for labels, child in self.children.items():
            running = 0
            buckets = []
            for name, count in zip(self._names, child.counts, strict=True):
                running += count
                buckets.append((name, float(running)))
            family.add_metric(labels, buckets, child.sum)
        yield family
