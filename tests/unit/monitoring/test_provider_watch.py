"""What a provider's calls, its streams and the answers to our questions come to, over time."""

import asyncio

import pytest

from app.domain.errors import CapacityError, QueueTimeoutError
from app.domain.health import Check, CheckStatus
from app.monitoring.health.history import History
from app.monitoring.health.watch import ProviderWatch
from tests.support.checks import Asked, standing
from tests.support.metrics import made as made_metrics

UNHEALTHY = CheckStatus.UNHEALTHY


def provider(asked: Asked | None = None) -> tuple[ProviderWatch, list[float], list[bool]]:
    now, heard = [100.0], list[bool]()
    history = History(made_metrics().health)

    def told(*, is_up: bool) -> None:
        heard.append(is_up)

    return ProviderWatch(asked or Asked(), history, told=told, standing=standing(), clock=lambda: now[0]), now, heard


async def answered(made: ProviderWatch) -> Check:
    task = made.refresh()
    if task is not None:
        await task
    return made.shown()


async def test_live_traffic_spares_the_question_for_as_long_as_it_is_fresh() -> None:
    asked = Asked()
    made, now, _ = provider(asked)
    made.well()

    now[0] += 29.9
    await answered(made)
    assert asked.times == 0
    now[0] += 0.1
    await answered(made)

    assert asked.times == 1


async def test_too_few_failures_spare_no_question_and_three_do() -> None:
    asked = Asked()
    made, now, heard = provider(asked)
    made.failing("upstream_error")
    made.failing("upstream_error")
    await answered(made)
    assert (asked.times, made.is_up) == (1, True)
    now[0] += 30

    for _ in range(3):
        made.failing("upstream_error")
    check = await answered(made)
    assert asked.times == 1
    assert (check.status, check.reason) == (UNHEALTHY, "5 attempts in a row failed, the last with upstream_error")
    assert check.recent == ("upstream_error",) * 5
    assert heard == [False]
    now[0] += 30
    await answered(made)

    assert asked.times == 2
    assert heard == [False, True]


async def test_one_success_lifts_what_a_question_found_down() -> None:
    asked = Asked()
    asked.failure = RuntimeError("down")
    made, _, heard = provider(asked)
    await answered(made)

    made.well()

    assert made.is_up
    assert made.shown().reason is None
    assert heard == [False, True]


async def test_what_calls_say_while_a_question_is_asked_counts_more() -> None:
    asked = Asked()
    asked.gate.clear()
    made, _, _ = provider(asked)
    task = made.refresh()
    await asyncio.sleep(0)

    for _ in range(3):
        made.failing("upstream_timeout")
    asked.gate.set()
    assert task is not None
    await task

    assert not made.is_up


async def test_a_good_answer_after_silence_is_a_trial() -> None:
    made, now, _ = provider()
    for outcome in "xx." * 4:
        made.well() if outcome == "." else made.failing("upstream_error")
    assert not made.is_up

    now[0] += 30
    await answered(made)

    assert made.is_up
    made.failing("upstream_error")
    assert not made.is_up


@pytest.mark.parametrize(("gap", "up"), [(4, 0.01), (12, 0.02), (16, 0.02), (29, 0.03), (60, 0.55), (300, 0.95)])
async def test_whose_every_call_fails_is_noticed_however_slow_the_calls_are(gap: int, up: float) -> None:
    made, now, heard = provider()

    healthy = 0
    for second in range(3600):
        now[0] += 1
        if second % gap == 0:
            made.failing("upstream_error")
        if second % 5 == 0:
            await answered(made)
        healthy += made.is_up

    assert heard[0] is False
    assert healthy / 3600 <= up
    if gap < made.max_age:
        assert heard == [False], "what calls say is never too old"


async def test_a_stream_that_flows_spares_the_question() -> None:
    asked = Asked()
    made, now, _ = provider(asked)

    for _ in range(100):
        made.flowing = True
        await answered(made)
        now[0] += 5
    assert asked.times == 0
    assert made.shown().recent == (), "that it flows is no success yet"
    now[0] += 25
    await answered(made)

    assert asked.times == 1


async def test_what_flows_while_a_question_is_asked_counts_more() -> None:
    asked = Asked()
    asked.gate.clear()
    asked.failure = RuntimeError("slow")
    made, _, _ = provider(asked)
    task = made.refresh()
    await asyncio.sleep(0)

    made.flowing = True
    asked.gate.set()
    assert task is not None
    await task

    assert made.is_up


async def test_a_stream_that_flows_holds_nobody_down() -> None:
    asked = Asked()
    made, now, _ = provider(asked)
    for _ in range(3):
        made.failing("upstream_error")

    now[0] += 30
    made.flowing = True
    await answered(made)

    assert asked.times == 1
    assert made.is_up


@pytest.mark.parametrize("error", [CapacityError("full"), QueueTimeoutError("all are busy", retry_after=1)])
@pytest.mark.parametrize("down", [False, True])
async def test_a_limit_of_ours_tells_nothing(*, error: CapacityError, down: bool) -> None:
    asked = Asked()
    made, now, _ = provider(asked)
    for _ in range(3 * down):
        made.failing("upstream_error")
    before = made.shown()
    now[0] += 30

    asked.failure = error
    assert (await answered(made)) == before
    asked.failure = None
    await answered(made)

    assert asked.times == 2, "it is asked as soon as there is room"
    assert made.is_up
