"""Targets whose breakers are open are passed over, and retries have a budget."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.domain import upstream_errors as errors
from app.domain.errors import Failure, NoTargetError
from app.domain.llm import LLMRequest, Reply
from app.providers.breaker import State
from app.providers.standing import Standings
from app.services.stages.fallback import FallbackDispatcher
from app.settings import BreakerSettings, RetrySettings
from tests.support.calls import call_for
from tests.unit.services.test_fallback import BODY, Provider, Registry, Witness, failed


class Made:
    """A dispatcher, with all that it tells; an open breaker is due after `open_seconds`."""

    def __init__(self, *providers: Any, retry: dict[str, Any] | None = None, **breaker: Any) -> None:
        self.retry = RetrySettings(**{"backoff_seconds": 0.001, "max_retries": 0} | (retry or {}))
        self.standings = Standings(BreakerSettings(**breaker), self.retry)
        self.metrics, self.health = Witness(), Witness()
        self.dispatch = FallbackDispatcher(
            Registry(*providers),  # type: ignore[arg-type] # a stand-in
            self.standings,
            self.metrics,  # type: ignore[arg-type] # a stand-in
            self.health,  # type: ignore[arg-type] # a stand-in
            self.retry,
        )

    async def fail(self, times: int = 1) -> None:
        for _ in range(times):
            with pytest.raises(errors.UpstreamError):
                await self.dispatch(call_for(BODY))

    def state(self, name: str = "one") -> State:
        return self.standings.of(name).state_of("m")


def down(times: int = 5) -> list[errors.UpstreamError]:
    return [failed(errors.UpstreamFailedError) for _ in range(times)]


class Waiting(Provider):
    """Answers when told to."""

    def __init__(self, name: str, *failures: errors.UpstreamError) -> None:
        super().__init__(name, *failures)
        self.gate = asyncio.Event()

    async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
        self.asked += 1
        if not self.failures:
            await self.gate.wait()
        self.asked -= 1
        return await super().answer(request, model=model)


async def test_a_target_that_failed_five_times_is_passed_over() -> None:
    first, second = Provider("one", *down()), Provider("two")
    made = Made(first, second)
    for _ in range(5):
        await made.dispatch(call_for(BODY))
    call = call_for(BODY)

    await made.dispatch(call)

    assert (first.asked, second.asked, call.attempts) == (5, 6, "two:ok")
    assert made.standings.of("one").skipped == 1
    assert made.metrics.choices[-1] == ("two", "fallback")
    assert len(made.metrics.given_up) == 5, "nobody was left, the last time"


async def test_when_all_are_open_the_caller_is_told_at_once_when_to_come_back() -> None:
    one, two = Provider("one", *down()), Provider("two", *down())
    made = Made(one, two, open_seconds=40)
    await made.fail(5)
    call = call_for(BODY)

    with pytest.raises(NoTargetError) as caught:
        await made.dispatch(call)

    assert (one.asked, two.asked, call.attempts, call.place) == (5, 5, "", "none")
    assert caught.value.word is Failure.NO_TARGET
    seconds = caught.value.retry_after
    assert seconds is not None
    assert 30 <= seconds <= 40
    assert caught.value.message == (
        f"nobody is asked for 'm' now: too many calls have failed (one, two); try again in {seconds} s"
    )


async def test_who_failed_last_is_told_though_others_were_passed_over() -> None:
    one, two = Provider("one", *down()), Provider("two")
    made = Made(one, two)
    for _ in range(5):
        await made.dispatch(call_for(BODY))
    two.failures = [failed(errors.UpstreamTimeoutError)]

    with pytest.raises(errors.UpstreamTimeoutError):
        await made.dispatch(call_for(BODY))


async def test_a_target_is_not_asked_again_once_it_is_open() -> None:
    one, two = Provider("one", *down(9)), Provider("two")
    made, call = Made(one, two, retry={"max_retries": 2}, failures=2), call_for(BODY)

    await made.dispatch(call)

    assert call.attempts == "one:upstream_error,one:upstream_error,two:ok"
    assert made.metrics.again == [("one", "upstream_error")]


async def test_nor_when_others_have_failed_while_it_waited() -> None:
    one, two = Provider("one", *down(1)), Provider("two")
    made = Made(one, two, retry={"max_retries": 1, "backoff_seconds": 0.05})
    running = asyncio.create_task(made.dispatch(call_for(BODY)))
    await asyncio.sleep(0)
    for error in down(4):
        made.standings.of("one").ended("m", time.perf_counter(), error)

    reply = await running

    assert (reply.provider, one.asked, made.metrics.again) == ("two", 1, [])


async def test_one_of_many_is_the_trial_and_the_others_go_elsewhere() -> None:
    one, two = Waiting("one", *down()), Provider("two")
    made = Made(one, two, open_seconds=0.001)
    for _ in range(5):
        await made.dispatch(call_for(BODY))
    await asyncio.sleep(0.002)

    calls = [asyncio.create_task(made.dispatch(call_for(BODY))) for _ in range(20)]
    await asyncio.sleep(0.01)

    assert one.asked == 5 + 1
    assert sum(each.done() for each in calls) == 19
    one.gate.set()
    replies = await asyncio.gather(*calls)
    assert sorted(each.provider for each in replies) == ["one", *["two"] * 19]
    assert made.state() is State.CLOSED


async def test_a_caller_who_leaves_during_the_trial_hands_it_on() -> None:
    one = Waiting("one", *down())
    made = Made(one, open_seconds=0.001)
    await made.fail(5)
    await asyncio.sleep(0.002)
    trial = asyncio.create_task(made.dispatch(call_for(BODY)))
    await asyncio.sleep(0)
    with pytest.raises(NoTargetError):
        await made.dispatch(call_for(BODY))

    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    one.gate.set()
    reply = await made.dispatch(call_for(BODY))

    assert (reply.provider, made.state()) == ("one", State.CLOSED)


async def test_streams_that_break_open_it_too() -> None:
    class Streaming(Provider):
        async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
            return Reply(body=events(), provider=self.name, model=model)

    async def events() -> AsyncGenerator[bytes]:
        yield b"data: {}\n\n"

    made = Made(Streaming("one"))
    for _ in range(5):
        call = call_for(BODY)
        await made.dispatch(call)
        call.taps[0].ended(failed(errors.UpstreamTruncatedError))

    assert made.state() is State.OPEN
    with pytest.raises(NoTargetError):
        await made.dispatch(call_for(BODY))


async def test_retries_beyond_the_budget_are_not_made() -> None:
    one, two = Provider("one", *down(100)), Provider("two")
    retry = {"max_retries": 2, "budget_percent": 20, "budget_per_second": 0}
    made = Made(one, two, retry=retry, failures=0)

    for _ in range(50):
        await made.dispatch(call_for(BODY))

    retries = one.asked - 50
    assert 5 <= retries <= 10, "a fifth, less what the time of this test has used up"
    assert len(made.metrics.again) == retries
    assert made.standings.of("one").retries.refused > 0


async def test_it_may_be_off() -> None:
    one = Provider("one", *down(50))
    made = Made(one, failures=0)

    await made.fail(50)

    assert (one.asked, made.standings.of("one").known) == (50, {})
