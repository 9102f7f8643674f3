"""Counting that adds up, however many labels somebody thinks of."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.monitoring.tally import MOST_CHILDREN, OVERFLOW, CounterFamily, GaugeFamily, HistogramFamily

BOUNDS = (0.1, 1, 10)


def samples(families: Iterable[Any]) -> dict[tuple[str, ...], float]:
    """Each sample's value by its name and label values."""
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_a_counter_counts_by_its_labels() -> None:
    family = CounterFamily("calls", "Calls", "provider", "status")
    family.of("one", "ok").value += 2
    family.of("one", "error").value += 1
    family.of("one", "ok").value += 1

    assert samples(family.collect()) == {("calls_total", "one", "ok"): 3, ("calls_total", "one", "error"): 1}


def test_a_gauge_is_what_it_was_set_to() -> None:
    family = GaugeFamily("up", "Up", "provider")
    family.of("one").value = 1
    family.of("one").value -= 1

    assert samples(family.collect()) == {("up", "one"): 0}


def test_without_labels_there_is_one_child() -> None:
    family = CounterFamily("hits", "Hits")
    family.of().value += 1
    family.of().value += 1

    assert samples(family.collect()) == {("hits_total",): 2}


def test_beyond_the_most_children_all_go_to_other_and_the_sum_stays_exact() -> None:
    family = CounterFamily("calls", "Calls", "model", "word")
    for _ in range(2):
        for number in range(MOST_CHILDREN + 500):
            family.of(str(number), "x").value += 1

    found = samples(family.collect())

    assert len(found) == MOST_CHILDREN + 1
    assert found["calls_total", OVERFLOW, OVERFLOW] == 1000
    assert found["calls_total", "0", "x"] == found["calls_total", str(MOST_CHILDREN - 1), "x"] == 2
    assert sum(found.values()) == 2 * (MOST_CHILDREN + 500)


def test_beyond_the_most_children_nothing_is_kept_of_a_label() -> None:
    family = CounterFamily("calls", "Calls", "model")
    for number in range(5 * MOST_CHILDREN):
        family.of(str(number)).value += 1

    assert len(family.children) == MOST_CHILDREN + 1
    assert family.of.cache_info().currsize <= MOST_CHILDREN


def test_a_histogram_overflows_too() -> None:
    family = HistogramFamily("seconds", "Seconds", "model", bounds=BOUNDS)
    for number in range(MOST_CHILDREN + 3):
        family.of(str(number)).observe(0.5)

    found = samples(family.collect())

    assert found["seconds_count", OVERFLOW] == 3
    assert found["seconds_sum", OVERFLOW] == 1.5


def test_a_bound_is_in_its_own_bucket() -> None:
    family = HistogramFamily("seconds", "Seconds", bounds=BOUNDS)
    for value in (0.1, 1, 1.0001, 10, 10.0001, -1):
        family.of().observe(value)

    found = samples(family.collect())

    assert [found["seconds_bucket", each] for each in ("0.1", "1.0", "10.0", "+Inf")] == [2, 3, 5, 6]


@given(st.lists(st.floats(0, 100)))
def test_buckets_are_cumulative_and_the_last_one_has_them_all(values: list[float]) -> None:
    family = HistogramFamily("seconds", "Seconds", bounds=BOUNDS)
    child = family.of()
    for value in values:
        child.observe(value)

    found = samples(family.collect())

    buckets = [found["seconds_bucket", str(float(bound))] for bound in BOUNDS] + [found["seconds_bucket", "+Inf"]]
    assert buckets[:-1] == [sum(value <= bound for value in values) for bound in BOUNDS]
    assert all(one <= other for one, other in pairwise(buckets))
    assert buckets[-1] == found["seconds_count",] == len(values)
    assert found["seconds_sum",] == pytest.approx(sum(values))
