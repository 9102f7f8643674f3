"""What a metric of somebody else's may be called and labelled."""

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from app.monitoring.answers import LATENCY_BUCKETS, SIZE_BUCKETS
from app.monitoring.tally import Labels

Kind = Literal["counter", "gauge", "histogram"]

RESERVED = ("llm_", "http_", "model_", "system_", "process_", "python_", "go_", "signalbox_", "scrape_")
"""Prefixes of the gateway's own metrics, of prometheus_client's and of Prometheus'."""

MADE = frozenset({"bucket", "count", "sum", "created", "info"})
"""Endings that Prometheus' formats give themselves."""

OTHER_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "ms", "msec", "millis", "milliseconds"), "seconds"),
    **dict.fromkeys(("us", "microseconds", "ns", "nanoseconds", "minutes", "hours", "days"), "seconds"),
    **dict.fromkeys(("byte", "bits", "kb", "mb", "gb", "kib", "mib", "gib"), "bytes"),
    **dict.fromkeys(("kilobytes", "megabytes", "gigabytes"), "bytes"),
    **dict.fromkeys(("percent", "percentage", "pct"), "ratio"),
    "cents": "usd",
}
"""Units, and the base unit that Prometheus wants in their place; a ratio is 0 to 1."""

TIMES = frozenset({"time", "duration", "latency"})
BUCKETS: dict[str, tuple[float, ...]] = {"seconds": LATENCY_BUCKETS, "bytes": SIZE_BUCKETS}

TAKEN_LABELS = {
    "le": "is the bound of a bucket",
    "quantile": "is a summary's",
    "job": "is what Prometheus adds",
    "instance": "is what Prometheus adds",
}
PERSONAL = frozenset(
    {"key", "keys", "apikey", "user", "users", "username", "email", "mail", "ip", "phone", "address", "session"}
    | {"path", "url", "uri", "query", "prompt", "message", "content", "password", "secret", "cookie"}
)
"""Words a label may not have: they say who somebody is or what they asked, and their values never end."""

MOST_LABELS = 6
MOST_BUCKETS = 40


class MetricError(ValueError):
    """A rule about metrics was broken: which one, and what would be right."""


_snake = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*").fullmatch


def family_name(kind: Kind, name: str) -> str:
    """The name without the `_total` that a counter's may have or not; raises MetricError."""
    if not isinstance(name, str) or not _snake(name):
        raise MetricError(f"the name {name!r} is not snake case: {_example(name, 'shop_orders')}")
    if name.startswith(RESERVED):
        prefix = next(each for each in RESERVED if name.startswith(each))
        raise MetricError(f"the name {name!r} begins with {prefix}, which is taken; begin with a word of your own")
    base = name.removesuffix("_total")
    if base != name and kind != "counter":
        raise MetricError(f"the name {name!r} ends in _total, which says counter, and this is a {kind}")
    last = base.rpartition("_")[2]
    if last in MADE:
        raise MetricError(f"the name {name!r} ends in _{last}, which Prometheus adds itself; leave it out")
    if last in OTHER_UNITS:
        unit = OTHER_UNITS[last]
        right = f"{base.removesuffix(last)}{unit}" + ("_total" if kind == "counter" else "")
        raise MetricError(f"the name {name!r} ends in {last}; base units only: {right}" + _range_of(unit))
    if last in TIMES:
        right = f"{base}_seconds" + ("_total" if kind == "counter" else "")
        raise MetricError(f"the name {name!r} lacks its unit: {right}")
    return base


def label_names(labels: Sequence[str]) -> Labels:
    """Raises MetricError."""
    if isinstance(labels, str):
        raise MetricError(f"labels are a list of names: [{labels!r}]")
    if len(labels) > MOST_LABELS:
        raise MetricError(f"{len(labels)} labels are too many: each value of one multiplies those of all others; "
                         f"{MOST_LABELS} at most")  # fmt: skip # one sentence
    for label in labels:
        _check_label(label)
    if len(set(labels)) < len(labels):
        raise MetricError(f"a label is named twice in {list(labels)}")
    return tuple(labels)


def bounds(name: str, given: Sequence[float] | None) -> tuple[float, ...]:
    """A histogram's buckets: those given, else what suits its unit; raises MetricError."""
    if given is None:
        if (usual := BUCKETS.get(name.rpartition("_")[2])) is None:
            raise MetricError(
                f"the histogram {name!r} needs buckets, or a name that ends in _seconds or _bytes, which have some"
            )
        return usual
    if not 1 <= len(given) <= MOST_BUCKETS:
        raise MetricError(f"a histogram has 1 to {MOST_BUCKETS} buckets, and {name!r} was given {len(given)}")
    if not all(map(math.isfinite, given)):
        raise MetricError(f"the buckets of {name!r} must be finite numbers; +Inf is added by itself")
    if any(lower >= upper for lower, upper in pairwise(given)):
        raise MetricError(f"the buckets of {name!r} must rise, each above the one before")
    return tuple(given)


def _check_label(label: str) -> None:
    if isinstance(label, str) and label.startswith("__"):
        raise MetricError(f"the label {label!r} begins with __, which is Prometheus' own")
    if not isinstance(label, str) or not _snake(label):
        raise MetricError(f"the label {label!r} is not snake case: {_example(label, 'shop_name')}")
    if label in TAKEN_LABELS:
        raise MetricError(f"the label {label!r} {TAKEN_LABELS[label]}; take another word")
    words = label.split("_")
    if personal := sorted(PERSONAL.intersection(words)):
        raise MetricError(
            f"the label {label!r} has the word {personal[0]!r}: no metric says who somebody is or what they asked; "
            "take a property of few values, as tier or region"
        )
    if words[-1] in {"id", "uuid"}:
        raise MetricError(f"the label {label!r} is an identifier, whose values never end; log it instead")


def _example(name: object, usual: str) -> str:
    """What was meant, where that can be told."""
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name) if isinstance(name, str) else []
    meant = "_".join(words).lower()
    return f"write it {meant}" if _snake(meant) else f"write it like {usual}"


def _range_of(unit: str) -> str:
    return ", 0 to 1" if unit == "ratio" else ""
