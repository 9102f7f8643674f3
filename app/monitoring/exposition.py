"""The tally as text, in Prometheus' format and as OpenMetrics 1.0.

A writer of our own: the library's took 37 ms for 4,000 samples, and all of it between two steps of the event loop.
"""

import math
from collections.abc import Iterable, Iterator

from app.monitoring.tally import AnyFamily, Count, Distribution, HistogramFamily, Labels, Reading, presentable

UNITS = ("seconds", "bytes", "percent", "usd")
QUANTILES = (0.5, 0.95, 0.99)


class FamilyWriter:
    """One family's text; what never changes of it is made once."""

    def __init__(self, family: AnyFamily) -> None:
        self.family = family
        self._heads = {
            each: _head(family.name, family.help_text, family.kind, open_metrics=each) for each in (True, False)
        }
        self._starts: dict[Labels, list[bytes]] = {}
        self._texts: dict[Labels, tuple[float, list[int], bytes]] = {}

    def pieces(self, *, open_metrics: bool) -> Iterator[bytes]:
        """Its head, then one piece for each child."""
        family = self.family
        yield self._heads[open_metrics]
        for labels, child in family.children.copy().items():  # of custom ones another thread may add some
            starts = self._starts.get(labels) or self._begun(labels)
            if isinstance(child, Distribution):
                yield self._written(labels, starts, child, open_metrics=open_metrics)
            elif isinstance(child, Count):
                yield b"%b%b\n" % (starts[0], number(child.value))
        if isinstance(family, HistogramFamily) and family.quantiles is not None and not open_metrics:
            yield from self._quantiles(family)

    def _written(self, labels: Labels, starts: list[bytes], child: Distribution, *, open_metrics: bool) -> bytes:
        """Where nothing was added since the last time, what was written then: most models rest."""
        if open_metrics and child.exemplars:
            return _histogram(starts, child, open_metrics=True)
        before = self._texts.get(labels)
        if before is not None and before[0] == child.sum and before[1] == child.counts:
            return before[2]
        total, counts = child.sum, child.counts.copy()  # before it is written: what another thread adds now comes next
        text = _histogram(starts, child, open_metrics=False)
        self._texts[labels] = (total, counts, text)
        return text

    def _begun(self, labels: Labels) -> list[bytes]:
        family = self.family
        pairs = list(zip(family.label_names, labels, strict=True))
        if isinstance(family, HistogramFamily):
            bounds = [*map(str, map(float, family.bounds)), "+Inf"]
            starts = [_start(f"{family.name}_bucket", [*pairs, ("le", bound)]) for bound in bounds]
            starts += [_start(f"{family.name}_{end}", pairs) for end in ("count", "sum")]
        else:
            starts = [_start(f"{family.name}_total" if family.kind == "counter" else family.name, pairs)]
        self._starts[labels] = starts
        return starts

    def _quantiles(self, family: HistogramFamily) -> Iterator[bytes]:
        """Samples that a guide promises beside the buckets; OpenMetrics forbids them. NaN where nothing was seen."""
        assert family.quantiles is not None
        for labels, window in list(family.quantiles()):  # a model may be new before the next piece
            pairs = list(zip(family.label_names, labels, strict=False))
            values = window.quantiles(*QUANTILES) if window.count else [math.nan] * len(QUANTILES)
            for share, value in zip(QUANTILES, values, strict=True):
                yield b"%b%b\n" % (_start(family.name, [*pairs, ("quantile", f"{share:g}")]), number(value))


def readings_text(readings: Iterable[Reading], *, open_metrics: bool) -> Iterator[bytes]:
    """One piece for each reading, headed where a new name begins."""
    before = ""
    for reading in readings:
        if reading.name != before:
            before = reading.name
            base = reading.name.removesuffix("_total") if reading.kind == "counter" else reading.name
            yield _head(base, reading.help_text, reading.kind, open_metrics=open_metrics)
        labels = [(key, presentable(value)) for key, value in reading.labels]
        yield b"%b%b\n" % (_start(reading.name, labels), number(reading.value))


def number(value: float) -> bytes:
    if math.isfinite(value):
        return b"%d" % value if value == int(value) else repr(value).encode()
    return b"NaN" if math.isnan(value) else b"+Inf" if value > 0 else b"-Inf"


def _histogram(starts: list[bytes], child: Distribution, *, open_metrics: bool) -> bytes:
    pieces, running = [], 0
    exemplars = child.exemplars if open_metrics else None
    for place, count in enumerate(child.counts):
        running += count
        seen = exemplars and exemplars.get(place)
        if seen:
            text = b' # {trace_id="%b"} %b %.3f' % (seen[0].encode(), number(seen[1]), seen[2])
            pieces.append(b"%b%d%b\n" % (starts[place], running, text))
        else:
            pieces.append(b"%b%d\n" % (starts[place], running))
    pieces.append(b"%b%d\n%b%b\n" % (starts[-2], running, starts[-1], number(child.sum)))
    return b"".join(pieces)


def _head(name: str, help_text: str, kind: str, *, open_metrics: bool) -> bytes:
    shown = name if open_metrics or kind != "counter" else f"{name}_total"
    escaped = help_text.replace("\\", r"\\").replace("\n", r"\n")
    if open_metrics:
        escaped = escaped.replace('"', r"\"")
    lines = [f"# HELP {shown} {escaped}", f"# TYPE {shown} {kind}"]
    if open_metrics and (unit := name.rpartition("_")[2]) in UNITS:
        lines.append(f"# UNIT {shown} {unit}")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _start(name: str, labels: Iterable[tuple[str, str]]) -> bytes:
    """A sample up to its value."""
    written = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return (f"{name}{{{written}}} " if written else f"{name} ").encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
