"""Metrics of your own beside the gateway's: counters, gauges and histograms, by the same rules.

Any thread may count: each metric has a lock, which the gateway's own do without; a scrape just then may find a value
among the buckets and not yet in the sum. There is one catalogue for the process, because code that counts is often
imported long before there is a container; every container shows it.
"""

import sys
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import Generic, TypeVar

from app.monitoring import naming
from app.monitoring.naming import MetricError
from app.monitoring.tally import (
    AnyFamily,
    Count,
    CounterFamily,
    Distribution,
    Family,
    GaugeFamily,
    HistogramFamily,
    Tally,
)

Labels = Mapping[str, object]

MOST_METRICS = 200
LARGEST = sys.float_info.max

Child = TypeVar("Child")


class _Metric(Generic[Child]):
    """`labels` must be those that were declared; their values may be strings, integers and booleans."""

    def __init__(self, family: Family[Child]) -> None:
        self._family = family
        self._names = frozenset(family.label_names)
        self._lock = RLock()  # what a finaliser counts may come in the middle of counting

    def _child(self, labels: Labels | None) -> Child:
        given = {} if labels is None else labels
        name = self._family.name
        if not isinstance(given, Mapping):
            raise MetricError(f"{name}: labels are a mapping, as {{'region': 'north'}}, and not {given!r}")
        if given.keys() != self._names:
            wanted = ", ".join(self._family.label_names) or "no labels"
            raise MetricError(f"{name}: was declared with {wanted}, and got {', '.join(map(str, given)) or 'none'}")
        return self._family.of(*(_text(name, label, given[label]) for label in self._family.label_names))


class Counter(_Metric[Count]):
    def inc(self, labels: Labels | None = None, amount: float = 1) -> None:
        """Add `amount`, which is not negative; raises MetricError."""
        value = _number(self._family.name, amount)
        if value < 0:
            raise MetricError(f"{self._family.name}: a counter never falls, and {amount} is negative; take a gauge")
        with self._lock:
            self._child(labels).value += value


class Gauge(_Metric[Count]):
    def set(self, value: float, labels: Labels | None = None) -> None:
        number = _number(self._family.name, value)
        with self._lock:
            self._child(labels).value = number

    def inc(self, labels: Labels | None = None, amount: float = 1) -> None:
        number = _number(self._family.name, amount)
        with self._lock:
            self._child(labels).value += number

    def dec(self, labels: Labels | None = None, amount: float = 1) -> None:
        self.inc(labels, -_number(self._family.name, amount))


class Histogram(_Metric[Distribution]):
    def observe(self, value: float, labels: Labels | None = None) -> None:
        """Count `value`, in the unit of the name; raises MetricError where it is negative."""
        number = _number(self._family.name, value)
        if number < 0:
            raise MetricError(f"{self._family.name}: {value} is negative, and a histogram's sum never falls")
        with self._lock:
            self._child(labels).observe(number)


class CustomMetrics:
    """A catalogue of metrics. All that declares raises MetricError, a ValueError that says what would be right."""

    def __init__(self) -> None:
        self.plugins: set[str] = set()
        """Those that have declared theirs here."""
        self._families: dict[str, AnyFamily] = {}
        self._lock = RLock()

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        """`name` with or without `_total`; samples have it always."""
        family = CounterFamily(naming.family_name("counter", name), help_text, *naming.label_names(labels))
        self._add(family)
        return Counter(family)

    def gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        family = GaugeFamily(naming.family_name("gauge", name), help_text, *naming.label_names(labels))
        self._add(family)
        return Gauge(family)

    def histogram(
        self, name: str, help_text: str, labels: Sequence[str] = (), *, buckets: Sequence[float] | None = None
    ) -> Histogram:
        """`buckets` are upper bounds; a name that ends in `_seconds` or `_bytes` needs none."""
        name = naming.family_name("histogram", name)
        bounds = naming.bounds(name, buckets)
        family = HistogramFamily(name, help_text, *naming.label_names(labels), bounds=bounds)
        self._add(family)
        return Histogram(family)

    def join(self, tally: Tally) -> None:
        """Show there what was declared since the last time."""
        for name, family in self._families.copy().items():
            if name not in tally.families:
                tally.adopt(family)

    def _add(self, family: AnyFamily) -> None:
        if not isinstance(family.help_text, str) or not family.help_text.strip():
            raise MetricError(f"{family.name}: needs a text that says what it counts")
        with self._lock:
            if family.name in self._families:
                raise MetricError(
                    f"there already is a metric {family.name}; declare it once, and keep what the declaration returns"
                )
            if len(self._families) >= MOST_METRICS:
                raise MetricError(f"{family.name}: there are {MOST_METRICS} metrics; what differs belongs into labels")
            self._families[family.name] = family


def _number(name: str, value: float) -> float:
    if not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:  # nor is NaN
        raise MetricError(f"{name}: {str(value)[:64]} is not a finite number")
    return value


def _text(name: str, label: str, value: object) -> str:
    if not isinstance(value, str | int):
        raise MetricError(f"{name}: the label {label} is a string, and not {value!r}")
    return value if isinstance(value, str) else str(value)


catalogue = CustomMetrics()
counter, gauge, histogram = catalogue.counter, catalogue.gauge, catalogue.histogram

request_counter = counter("custom_requests", "Requests counted by code of your own", ["provider", "model"])
response_time = histogram("custom_response_time_seconds", "Times measured by code of your own", ["endpoint"])
