import pytest

from benchmarks.loads import COUNTER, LOADS, Load
from benchmarks.measure import slope
from benchmarks.results import Results


def results(*rounds: tuple[float, float]) -> Results:
    """Requests a second of two gateways, by round."""
    made = Results()
    for number, (ours, theirs) in enumerate(rounds):
        made.put(number, "load", "ours", {"rps": ours})
        made.put(number, "load", "theirs", {"rps": theirs})
    return made


def test_a_figure_is_the_median_of_its_rounds() -> None:
    assert results((1, 0), (9, 0), (2, 0)).median("load", "ours", "rps") == 2


def test_a_ratio_is_taken_within_each_round() -> None:
    # Of the medians it would be 20 / 20.
    assert results((10, 5), (20, 20), (90, 30)).ratio("load", "rps", "ours", "theirs") == 2


def test_a_difference_is_taken_within_each_round() -> None:
    assert results((10, 1), (20, 19), (30, 25)).difference("load", "rps", "ours", "theirs") == 5


def test_a_round_without_both_counts_for_neither() -> None:
    made = results((10, 5))
    made.put(1, "load", "ours", {"rps": 100})

    assert made.ratio("load", "rps", "ours", "theirs") == 2


def test_nothing_measured_is_no_figure() -> None:
    made = results()

    assert made.median("load", "ours", "rps") is None
    assert made.ratio("load", "rps", "ours", "theirs") is None


def test_a_ratio_to_nothing_is_no_figure() -> None:
    assert results((10, 0)).ratio("load", "rps", "ours", "theirs") is None


def test_what_every_round_says_is_noted_once() -> None:
    made = Results()
    for number in range(3):
        made.note("load", "ours", f"{number} refused", error=True)

    assert made.errors("load", "ours") == ["0 refused"]
    assert made.errors("load", "theirs") == []


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    assert slope([(0, 5), (1, 7), (2, 9)]) == 2
    assert slope([(1, 5)]) == 0


def test_one_step_is_no_slope() -> None:
    assert slope([(0, 5), (1, 5), (2, 5), (3, 5), (4, 9)]) == 0


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_a_question_is_as_long_as_it_says_and_can_be_numbered(load: Load) -> None:
    body = load.body("tensorzero::model_name::mock-gpt")

    assert len(body) == load.size
    assert body.count(COUNTER) == 1
    assert (b'"stream":true' in body) == load.stream
