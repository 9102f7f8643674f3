"""How many retries there may be for how many calls."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.retry_budget import WINDOW_SECONDS, RetryBudget
from app.settings import RetrySettings


class Made:
    def __init__(self, **fields: Any) -> None:
        self.now = 50.0
        self.budget = RetryBudget(RetrySettings(**fields), clock=lambda: self.now)

    def spend(self) -> int:
        """As many as there are."""
        taken = 0
        while self.budget.take():
            taken += 1
        return taken


def test_low_traffic_may_retry_twice_a_second() -> None:
    made = Made()

    assert made.spend() == 20, "as after ten quiet seconds"
    made.now += 1
    assert made.spend() == 2
    assert made.budget.refused == 2


def test_a_fifth_of_the_calls_may_be_retried() -> None:
    made = Made(budget_per_second=0)

    made.budget.calls += 100

    assert made.spend() == 20


@pytest.mark.parametrize("seconds", [20, 3600])
def test_calls_of_long_ago_save_nothing_up(seconds: float) -> None:
    made = Made(budget_per_second=0)

    made.budget.calls += 100
    made.now += seconds

    assert made.spend() == int(20 * WINDOW_SECONDS / seconds)


def test_nothing_at_all_may_be_allowed() -> None:
    made = Made(budget_percent=0, budget_per_second=0)

    made.budget.calls += 1000

    assert (made.spend(), made.budget.refused) == (0, 1)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 200), st.integers(0, 50)), max_size=30))
def test_retries_never_exceed_their_share_and_what_is_free(steps: list[tuple[float, int, int]]) -> None:
    made = Made()
    taken, calls, began = 0, 0, made.now

    for seconds, asked, wanted in steps:
        made.now += seconds
        made.budget.calls += asked
        calls += asked
        taken += sum(made.budget.take() for _ in range(wanted))

        free = 2 * (made.now - began + WINDOW_SECONDS)
        assert taken <= 0.2 * calls + free + 1e-6
