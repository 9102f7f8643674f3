"""One check over time: asked when it must be, by one task, and every turn told."""

import asyncio

import pytest

from app.domain.health import Check, CheckStatus
from app.monitoring.health.history import KEPT, History
from app.monitoring.health.watch import Watch
from tests.support.checks import Asked
from tests.support.metrics import made as made_metrics
from tests.support.metrics import value

HEALTHY, DEGRADED, UNHEALTHY = CheckStatus.HEALTHY, CheckStatus.DEGRADED, CheckStatus.UNHEALTHY


def watch(asked: Asked | None = None, *, history: History | None = None) -> tuple[Watch, list[float]]:
    now = [100.0]
    return Watch(asked or Asked(), history or History(made_metrics().health), clock=lambda: now[0]), now


async def answered(made: Watch) -> Check:
    task = made.refresh()
    if task is not None:
        await task
    return made.shown()


async def test_what_was_never_asked_counts_as_healthy() -> None:
    made, _ = watch()

    check = made.shown()

    assert made.is_up
    assert (check.status, check.reason, check.latency_ms) == (HEALTHY, None, None)
    assert check.since is not None


async def test_it_is_asked_again_when_what_is_known_is_too_old() -> None:
    asked = Asked()
    made, now = watch(asked)

    await answered(made)
    now[0] += 29.9
    await answered(made)
    assert asked.times == 1
    now[0] += 0.1
    await answered(made)

    assert asked.times == 2


async def test_however_many_want_to_know_one_task_asks() -> None:
    asked = Asked()
    asked.gate.clear()
    made, now = watch(asked)

    tasks = [made.refresh() for _ in range(1000)]
    await asyncio.sleep(0)
    now[0] += 100
    tasks.append(made.refresh())
    asked.gate.set()
    await asyncio.gather(*(each for each in tasks if each is not None))

    assert len(set(tasks)) == 1
    assert asked.times == 1


@pytest.mark.parametrize(
    ("failure", "reason"), [(RuntimeError("no such host"), "no such host"), (ZeroDivisionError(), "ZeroDivisionError")]
)
async def test_a_question_that_fails_says_why(failure: Exception, reason: str) -> None:
    asked = Asked(max_age=0)
    asked.failure = failure
    made, _ = watch(asked)

    check = await answered(made)

    assert not made.is_up
    assert (check.status, check.reason) == (UNHEALTHY, reason)
    asked.failure = None
    assert (await answered(made)).reason is None
    assert made.is_up


async def test_what_is_failing_is_not_asked_more_often() -> None:
    asked = Asked()
    asked.failure = RuntimeError("down")
    made, _ = watch(asked)

    for _ in range(5):
        await answered(made)

    assert asked.times == 1


async def test_a_question_nobody_answers_ends_in_time() -> None:
    asked = Asked(deadline=0.01)
    asked.gate.clear()
    made, _ = watch(asked)

    async with asyncio.timeout(5):
        check = await answered(made)

    assert (check.status, check.reason) == (UNHEALTHY, "no answer within 0.01 s")


async def test_secrets_are_taken_out_of_reasons() -> None:
    asked = Asked()
    asked.failure = RuntimeError("no entry for sk-secret")
    made, _ = watch(asked, history=History(made_metrics().health, lambda text: text.replace("sk-secret", "***")))

    assert (await answered(made)).reason == "no entry for ***"


async def test_an_answer_tells_how_long_it_took() -> None:
    now = [0.0]

    class Slow(Asked):
        async def run(self) -> Check:
            now[0] += 0.0125
            return Check(status=HEALTHY)

    made = Watch(Slow(max_age=0), History(made_metrics().health), clock=lambda: now[0])

    assert (await answered(made)).latency_ms == 12.5


async def test_every_turn_is_kept_and_counted_and_since_is_its_time() -> None:
    metrics, asked = made_metrics(), Asked(max_age=0)
    history = History(metrics.health)
    made, _ = watch(asked, history=history)
    born = made.shown().since
    await asyncio.sleep(0.002)

    seen = []
    for found in (Check(status=HEALTHY), Check(status=DEGRADED, reason="hot"), Check(status=DEGRADED, reason="hotter")):
        asked.found = found
        seen.append(await answered(made))

    assert [each.since == born for each in seen] == [True, False, False]
    assert seen[1].since == seen[2].since
    (change,) = history.changes()
    assert (change.check, change.before, change.after, change.reason) == ("one", HEALTHY, DEGRADED, "hot")
    assert change.time == seen[1].since
    assert value(metrics, "llm_health_status", check="one") == 0.5
    assert value(metrics, "llm_health_transitions_total", check="one", to="degraded") == 1
    assert value(metrics, "llm_health_check_duration_seconds_count", check="one") == 3


async def test_the_history_is_bounded_and_the_newest_comes_first() -> None:
    asked = Asked(max_age=0)
    history = History(made_metrics().health)
    made, _ = watch(asked, history=history)

    for number in range(KEPT + 10):
        asked.found = Check(status=HEALTHY if number % 2 else DEGRADED, reason=str(number))
        await answered(made)

    changes = history.changes()
    assert len(changes) == KEPT
    assert changes[0].reason == str(KEPT + 9)


async def test_closing_ends_the_question() -> None:
    asked = Asked()
    asked.gate.clear()
    made, _ = watch(asked)
    task = made.refresh()
    await asyncio.sleep(0)

    await made.aclose()

    assert task is not None
    assert task.cancelled()
    assert made.is_up
