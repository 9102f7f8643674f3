"""Up or down: by live traffic first, by a question only when there is none."""

import asyncio
from typing import Any

import pytest

from app.domain.health import CheckStatus
from app.monitoring.health.watch import FAILURES_TO_FALL, Watch


class Asked:
    """A thing that can be asked how it is."""

    def __init__(self) -> None:
        self.times = 0
        self.failure: Exception | None = None
        self.slow = False

    async def __call__(self) -> None:
        self.times += 1
        if self.slow:
            await asyncio.sleep(10)
        if self.failure is not None:
            raise self.failure


def watch(asked: Asked | None = None, **fields: Any) -> tuple[Watch, list[float]]:
    now = [100.0]
    usual = {"timeout": 0.01, "max_age": 30.0, "clock": lambda: now[0]}
    return Watch("one", asked or Asked(), **usual | fields), now


def test_what_was_never_seen_counts_as_up() -> None:
    made, _ = watch()

    check = made.as_check()

    assert made.is_up
    assert (check.status, check.reason, check.latency_ms) == (CheckStatus.HEALTHY, None, None)


def test_three_failures_in_a_row_fall() -> None:
    made, _ = watch()

    seen = []
    for _ in range(FAILURES_TO_FALL):
        seen.append(made.is_up)
        made.seen_failing("upstream_timeout")

    assert seen == [True] * FAILURES_TO_FALL
    assert FAILURES_TO_FALL == 3
    assert not made.is_up
    check = made.as_check()
    assert check.status is CheckStatus.UNHEALTHY
    assert check.reason == "3 calls in a row failed, the last with upstream_timeout"


def test_a_success_between_failures_begins_the_row_anew() -> None:
    made, _ = watch()

    seen = []
    for _ in range(3):
        made.seen_failing("upstream_error")
        made.seen_failing("upstream_error")
        seen.append(made.is_up)
        made.seen_well()

    assert seen == [True] * 3


def test_one_success_lifts() -> None:
    made, _ = watch()
    for _ in range(FAILURES_TO_FALL):
        made.seen_failing("upstream_error")

    made.seen_well()

    assert made.is_up
    assert made.as_check().reason is None


async def test_live_traffic_spares_the_question_for_as_long_as_it_is_fresh() -> None:
    asked = Asked()
    made, now = watch(asked)
    made.seen_well()

    now[0] += 29.9
    await made.check()
    assert asked.times == 0
    now[0] += 0.1
    await made.check()

    assert asked.times == 1


async def test_too_few_failures_spare_no_question_and_three_do() -> None:
    asked = Asked()
    made, now = watch(asked)
    made.seen_failing("upstream_error")
    made.seen_failing("upstream_error")
    await made.check()
    assert asked.times == 1

    for _ in range(FAILURES_TO_FALL):
        made.seen_failing("upstream_error")
    await made.check()
    assert (asked.times, made.is_up) == (1, False)
    now[0] += 30
    await made.check()

    assert (asked.times, made.is_up) == (2, True)


async def test_a_question_answered_well_begins_the_row_of_failures_anew() -> None:
    made, _ = watch()
    made.seen_failing("upstream_error")
    made.seen_failing("upstream_error")

    await made.check()
    made.seen_failing("upstream_error")

    assert made.is_up


@pytest.mark.parametrize(
    ("failure", "reason"), [(RuntimeError("no such host"), "no such host"), (ZeroDivisionError(), "ZeroDivisionError")]
)
async def test_a_question_that_fails_says_why(failure: Exception, reason: str) -> None:
    asked = Asked()
    asked.failure = failure
    made, _ = watch(asked)

    await made.check()

    assert not made.is_up
    assert made.as_check().reason == reason
    asked.failure = None
    await made.check()
    assert made.is_up
    assert made.as_check().reason is None


async def test_a_question_nobody_answers_ends_in_time() -> None:
    asked = Asked()
    asked.slow = True
    made, _ = watch(asked)

    async with asyncio.timeout(1):
        await made.check()

    assert not made.is_up
    assert made.as_check().reason == "no answer within 0.01 s"


async def test_being_cancelled_says_nothing_of_what_is_watched() -> None:
    asked = Asked()
    asked.slow = True
    made, _ = watch(asked, timeout=10)
    task = asyncio.create_task(made.check())
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert made.is_up


async def test_an_answer_tells_how_long_it_took() -> None:
    now = [0.0]

    async def slowly() -> None:
        now[0] += 0.0125

    made = Watch("one", slowly, timeout=1, max_age=0, clock=lambda: now[0])
    await made.check()

    assert made.as_check().latency_ms == 12.5


async def test_since_changes_only_when_it_turns() -> None:
    asked = Asked()
    made, _ = watch(asked, max_age=0.0)
    born = made.as_check().since
    await asyncio.sleep(1.01)  # `since` is told in whole seconds

    await made.check()
    made.seen_well()
    well = made.as_check().since
    asked.failure = RuntimeError("down")
    await made.check()
    down = made.as_check().since
    await made.check()

    assert born == well
    assert down is not None
    assert well is not None
    assert down > well
    assert down.endswith("Z")
