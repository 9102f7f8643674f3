"""How many lines of a kind are worth it."""

from app.monitoring.sparing import MOST_KINDS, Sparing
from tests.support.clock import Clock


def test_so_many_of_a_kind_in_a_second_and_the_next_says_how_many_were_left_out() -> None:
    clock = Clock(50.5)
    sparing = Sparing(2, clock=clock)

    first = [sparing.takes("a") for _ in range(5)]
    other = sparing.takes("b")
    clock.now += 1
    second = [sparing.takes("a") for _ in range(3)]
    clock.now += 10
    third = [sparing.takes(kind) for kind in "ab"]

    assert first == [0, 0, None, None, None]
    assert other == 0
    assert second == [3, 0, None]
    assert third == [1, 0]
    assert sparing.held == 4


def test_whoever_makes_up_kinds_fills_no_memory_and_no_log() -> None:
    sparing = Sparing(1, clock=lambda: 1.0)

    taken = [sparing.takes(str(number)) for number in range(10 * MOST_KINDS)]

    assert taken.count(0) == MOST_KINDS + 1
    assert sparing.held == 9 * MOST_KINDS - 1
    assert len(vars(sparing)["_counts"]) == MOST_KINDS + 1
