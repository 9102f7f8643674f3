"""Counting that adds up, however many labels somebody thinks of."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse_text

from app.monitoring.exposition import FamilyWriter, number
from app.monitoring.tally import LONGEST_LABEL, OVERFLOW, AnyFamily, CounterFamily, GaugeFamily, HistogramFamily, Tally

BOUNDS = (0.1, 1, 10)
MOST = 200


def samples(family: AnyFamily) -> dict[tuple[str, ...], float]:
    """Each sample's value by its name and label values."""
    text = b"".join(FamilyWriter(family).pieces(open_metrics=False)).decode()
    return {(each.name, *each.labels.values()): each.value for found in parse_text(text) for each in found.samples}


def test_a_counter_counts_by_its_labels() -> None:
    family = CounterFamily("calls", "Calls", "provider", "status")
    family.of("one", "ok").value += 2
    family.of("one", "error").value += 1
    family.of("one", "ok").value += 1

    assert samples(family) == {("calls_total", "one", "ok"): 3, ("calls_total", "one", "error"): 1}


def test_a_gauge_is_what_it_was_set_to() -> None:
    family = GaugeFamily("up", "Up", "provider")
    family.of("one").value = 1
    family.of("one").value -= 1

    assert samples(family) == {("up", "one"): 0}


def test_without_labels_there_is_one_child() -> None:
    family = CounterFamily("hits", "Hits")
    family.of().value += 1
    family.of().value += 1

    assert samples(family) == {("hits_total",): 2}


def test_beyond_its_share_all_go_to_other_and_the_sum_stays_exact() -> None:
    family = CounterFamily("calls", "Calls", "model", "word", max_series=MOST)
    for _ in range(2):
        for each in range(10_000):
            family.of(str(each), "x").value += 1

    found = samples(family)

    assert len(found) == family.series == MOST + 1
    assert found["calls_total", OVERFLOW, OVERFLOW] == 2 * (10_000 - MOST)
    assert found["calls_total", "0", "x"] == found["calls_total", str(MOST - 1), "x"] == 2
    assert sum(found.values()) == 20_000
    assert family.overflows >= 10_000 - MOST


def test_a_histogram_counts_its_samples_against_its_share() -> None:
    family = HistogramFamily("seconds", "Seconds", "model", bounds=BOUNDS, max_series=60)
    for each in range(100):
        family.of(str(each)).observe(1)

    assert len(family.children) == 60 // (len(BOUNDS) + 3) + 1
    assert sum(value for (name, *_), value in samples(family).items() if name == "seconds_count") == 100


@given(st.lists(st.floats(min_value=0, max_value=100, allow_nan=False)))
def test_a_histogram_keeps_every_value_in_its_bucket(values: list[float]) -> None:
    family = HistogramFamily("seconds", "Seconds", bounds=BOUNDS)
    for value in values[::2]:
        family.of().observe(value)
    family.of().observe_all(values[1::2])

    found = samples(family)

    if values:
        for bound in (*BOUNDS, float("inf")):
            name = "+Inf" if bound == float("inf") else str(float(bound))
            assert found["seconds_bucket", name] == sum(value <= bound for value in values)
        assert found["seconds_count",] == len(values)
        assert found["seconds_sum",] == pytest.approx(sum(values))
        assert all(
            first <= second for first, second in pairwise(found["seconds_bucket", str(float(b))] for b in BOUNDS)
        )


@given(st.text(max_size=300))
def test_whatever_a_label_holds_the_text_can_be_read(value: str) -> None:
    family = CounterFamily("calls", "Calls", "model")
    family.of(value).value += 1

    assert list(samples(family).values()) == [1]


def test_labels_are_cut_and_two_that_are_then_alike_are_one() -> None:
    family = CounterFamily("calls", "Calls", "model")
    for end in ("a", "b", "\ud800"):
        family.of("x" * LONGEST_LABEL + end).value += 1

    assert samples(family) == {("calls_total", "x" * LONGEST_LABEL): 3}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, b"3"),
        (0.1, b"0.1"),
        (1e16, b"10000000000000000"),
        (float("inf"), b"+Inf"),
        (float("-inf"), b"-Inf"),
        (float("nan"), b"NaN"),
    ],
)
def test_numbers_are_written_as_prometheus_reads_them(value: float, text: bytes) -> None:
    assert number(value) == text


def test_a_name_is_given_once() -> None:
    tally = Tally()
    tally.counter("calls", "Calls")

    with pytest.raises(ValueError, match="there already is a metric calls"):
        tally.histogram("calls", "Calls", bounds=BOUNDS)


def test_open_metrics_is_told_the_unit() -> None:
    family = HistogramFamily("wait_seconds", 'Says "so"\n', bounds=BOUNDS)

    text = b"".join(FamilyWriter(family).pieces(open_metrics=True)).decode()

    assert text == '# HELP wait_seconds Says \\"so\\"\\n\n# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n'
