"""What was seen lately."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.monitoring.window import SLICE_SECONDS, SLICES, Window
from tests.support.clock import Clock


def test_nothing_was_seen() -> None:
    window = Window(Clock())

    assert (window.count, window.average, window.quantiles(0.5, 0.99)) == (0, 0.0, [0.0, 0.0])


@given(st.lists(st.floats(min_value=1e-4, max_value=5000), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_near_the_value_that_has_its_rank(values: list[float], share: float) -> None:
    window = Window(Clock())
    for value in values:
        window.observe(value)

    (found,) = window.quantiles(share)

    rank = max(-(-int(share * 1000) * len(values) // 1000), 1)
    assert found == pytest.approx(sorted(values)[rank - 1], rel=0.026)
    assert window.average == pytest.approx(sum(values) / len(values))


def test_what_is_older_than_the_window_is_forgotten_minute_by_minute() -> None:
    clock = Clock()
    window = Window(clock)
    counts = []
    for _ in range(SLICES + 2):
        window.observe(1.0)
        counts.append(window.count)
        clock.now += SLICE_SECONDS
    clock.now += SLICES * SLICE_SECONDS

    assert counts == [1, 2, 3, 4, 5, 5, 5]
    assert (window.count, window.average, window.quantiles(0.5)) == (0, 0.0, [0.0])


@pytest.mark.parametrize("value", [-1.0, 0.0, 1e-9, 1e12])
def test_what_is_beyond_its_range_counts_as_the_end_of_it(value: float) -> None:
    window = Window(Clock())

    window.observe(value)

    assert window.count == 1
    assert window.quantiles(0.5)[0] > 0
