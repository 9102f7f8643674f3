"""What live calls say, with time."""

import itertools

import pytest

from app.domain.health import CheckStatus
from app.monitoring.health.traffic import EVIDENCE, FAILURES_TO_FALL, HALF_LIFE_SECONDS, ROW_SECONDS, Traffic

HEALTHY, DEGRADED, UNHEALTHY = CheckStatus.HEALTHY, CheckStatus.DEGRADED, CheckStatus.UNHEALTHY


def traffic() -> tuple[Traffic, list[float]]:
    now = [1000.0]
    return Traffic(clock=lambda: now[0]), now


def told(made: Traffic, outcomes: str) -> list[CheckStatus]:
    """What it says after each: `.` was answered, `x` failed."""
    return [made.well() if each == "." else made.failing("upstream_error") for each in outcomes]


def test_three_failures_in_a_row_are_unhealthy_at_once() -> None:
    made, _ = traffic()

    assert told(made, "xxx") == [HEALTHY, HEALTHY, UNHEALTHY]
    assert FAILURES_TO_FALL == 3
    assert made.reason == "3 attempts in a row failed, the last with upstream_error"


def test_after_a_thousand_good_calls_three_failures_in_a_row_still_are() -> None:
    made, _ = traffic()
    told(made, "." * 1000)

    assert told(made, "xxx")[-1] is UNHEALTHY
    assert told(made, ".")[-1] is HEALTHY


def test_with_little_evidence_one_success_lifts() -> None:
    made, _ = traffic()

    assert told(made, "xxx.")[-1] is HEALTHY
    assert made.reason is None


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ("." * 9 + "x", HEALTHY),  # a tenth is not over a tenth
        ("." * 8 + "x", DEGRADED),
        (".." * 4 + "xx", DEGRADED),
        (".x" * 5, DEGRADED),  # a half is not over a half
        ("xx." * 4, UNHEALTHY),
    ],
)
def test_the_share_of_failures_decides_where_there_is_evidence(outcomes: str, status: CheckStatus) -> None:
    made, _ = traffic()

    assert told(made, outcomes)[-1] is status


def test_it_is_said_how_many_failed() -> None:
    made, _ = traffic()
    told(made, "xx." * 4)

    assert made.reason == "67% of recent calls failed, the last with upstream_error"


def test_the_last_five_are_kept_as_evidence() -> None:
    made, _ = traffic()
    told(made, "......x.")

    assert list(made.recent) == ["ok", "ok", "ok", "upstream_error", "ok"]


def test_fewer_calls_than_the_evidence_decide_nothing_but_by_a_row() -> None:
    made, _ = traffic()

    assert set(told(made, "x.x.")) == {HEALTHY}
    assert EVIDENCE == 5


def test_it_takes_half_the_share_to_get_back_from_unhealthy() -> None:
    made, _ = traffic()
    assert told(made, "xx." * 4)[-1] is UNHEALTHY  # 8 of 12

    statuses = told(made, "." * 150)

    assert statuses[:19] == [UNHEALTHY] * 19  # 8 of 31 are over a quarter
    assert statuses[20] is DEGRADED  # 8 of 33 are not
    assert statuses[-1] is HEALTHY
    assert statuses.index(HEALTHY) == 147  # 8 of 160 are a twentieth


def test_at_the_edge_nothing_flaps() -> None:
    made, _ = traffic()
    statuses = told(made, "xx." * 4 + ".xx" * 20 + ".x" * 100)

    turns = sum(before is not after for before, after in itertools.pairwise(statuses))

    assert turns <= 2


def test_old_failures_count_less_and_less() -> None:
    made, now = traffic()
    told(made, "xx." * 20)

    now[0] += 10 * HALF_LIFE_SECONDS
    statuses = told(made, "." * 6)

    assert statuses[-1] is HEALTHY


def test_at_a_steady_rate_an_outage_is_forgotten_after_two_half_lives() -> None:
    made, now = traffic()
    for _ in range(3000):
        now[0] += 0.1
        told(made, "x")

    ended, seconds = now[0], 0.0
    while made.status is UNHEALTHY:
        now[0] += 0.1
        told(made, ".")
        seconds = now[0] - ended

    assert seconds == pytest.approx(2 * HALF_LIFE_SECONDS, rel=0.1)


@pytest.mark.parametrize("outcomes", ["xxx", "xx." * 4, "x" * 3000])
def test_who_is_found_well_after_failing_calls_is_on_trial(outcomes: str) -> None:
    made, _ = traffic()
    told(made, outcomes)
    assert made.status is UNHEALTHY

    made.asked(well=True)

    assert made.status is HEALTHY
    assert told(made, "x") == [UNHEALTHY]
    assert made.reason == "calls fail though our question is answered, the last with upstream_error"
    made.asked(well=True)
    assert told(made, ".xxx") == [HEALTHY, HEALTHY, HEALTHY, UNHEALTHY]
    assert made.reason == "3 attempts in a row failed, the last with upstream_error"


def test_a_question_that_failed_meanwhile_ends_no_trial() -> None:
    made, _ = traffic()
    told(made, "xxx")

    made.asked(well=False)
    made.asked(well=True)

    assert told(made, "x") == [UNHEALTHY]


def test_calls_are_not_said_to_fail_where_nothing_is_answered() -> None:
    made, _ = traffic()
    told(made, "xxx")

    made.asked(well=False)

    assert told(made, "x") == [UNHEALTHY]
    assert made.reason == "4 attempts in a row failed, the last with upstream_error"


def test_a_good_answer_to_a_question_ends_no_row_and_takes_no_evidence() -> None:
    made, _ = traffic()
    told(made, "xx")
    made.asked(well=True)
    assert told(made, "x") == [UNHEALTHY]

    made, _ = traffic()
    told(made, ".......x")
    assert made.status is DEGRADED
    made.asked(well=True)
    assert made.status is HEALTHY
    assert told(made, "x") == [DEGRADED]


@pytest.mark.parametrize("trial", [False, True])
def test_ten_minutes_without_a_failure_end_a_row(*, trial: bool) -> None:
    for seconds, status in ((ROW_SECONDS - 1, UNHEALTHY), (ROW_SECONDS, HEALTHY)):
        made, now = traffic()
        told(made, "xxx" if trial else "xx")
        made.asked(well=True)
        now[0] += seconds

        assert told(made, "x") == [status]
    assert ROW_SECONDS == 600


def test_the_reason_has_what_the_system_said() -> None:
    made = Traffic(clock=lambda: 100.0)

    for _ in range(3):
        made.failing("upstream_connect", "Connection refused")

    assert made.reason == "3 attempts in a row failed, the last with upstream_connect: Connection refused"
    assert list(made.recent) == ["upstream_connect"] * 3
