"""Identical questions in flight share one answer, whoever leaves."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.domain.errors import CapacityError
from app.domain.llm import CacheStatus, Reply
from app.domain.upstream_errors import UpstreamFailedError
from app.domain.usage import TokenUsage
from app.services.stages.base import Call
from app.services.stages.coalescing import CoalescingStage
from tests.support.calls import call_for, read

BODY = b'{"model":"m","messages":[]}'
EVENTS = [b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"]


class Slow:
    """Answers after a moment; `closed` once its stream was given up."""

    def __init__(self, *, stream: bool = False, error: Exception | None = None) -> None:
        self.asked = 0
        self.closed = False
        self.stream = stream
        self.error = error

    async def __call__(self, call: Call) -> Reply:
        self.asked += 1
        await asyncio.sleep(0.01)
        reply = Reply(body=b"{}", provider="p", model="m", usage=TokenUsage(prompt_tokens=3))
        if self.stream:
            reply.body = self.events()
        elif self.error is not None:
            raise self.error
        return reply

    async def events(self) -> AsyncGenerator[bytes, None]:
        try:
            for event in EVENTS:
                yield event
                await asyncio.sleep(0.01)
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


async def ask(stage: CoalescingStage, proceed: Any, calls: list[Call] | None = None) -> tuple[bytes, CacheStatus]:
    call = call_for(BODY, key=b"same")
    if calls is not None:
        calls.append(call)
    reply = await stage(call, proceed)
    return await read(reply), reply.cache


@pytest.mark.parametrize("stream", [False, True])
async def test_identical_questions_in_flight_are_asked_once(*, stream: bool) -> None:
    stage, slow = CoalescingStage(), Slow(stream=stream)

    answers = await asyncio.gather(*(ask(stage, slow) for _ in range(5)))

    assert slow.asked == 1
    assert {body for body, _ in answers} == {b"".join(EVENTS) if stream else b"{}"}
    assert [cache for _, cache in answers[1:]] == [CacheStatus.COALESCED] * 4


async def test_a_stream_can_be_joined_in_its_middle_and_is_had_from_its_beginning() -> None:
    stage, slow = CoalescingStage(), Slow(stream=True)
    first = asyncio.create_task(ask(stage, slow))
    await asyncio.sleep(0.025)

    late = await ask(stage, slow)

    assert late == (b"".join(EVENTS), CacheStatus.COALESCED)
    assert (await first)[0] == late[0]
    assert slow.asked == 1


async def test_after_the_answer_the_next_one_asks_again() -> None:
    stage, slow = CoalescingStage(), Slow(stream=True)

    await ask(stage, slow)
    await ask(stage, slow)

    assert slow.asked == 2


async def test_a_question_without_a_key_is_shared_with_nobody() -> None:
    stage, slow = CoalescingStage(), Slow()

    await asyncio.gather(*(stage(call_for(BODY), slow) for _ in range(2)))

    assert slow.asked == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_first_leaves_it_goes_on_for_those_who_wait(*, stream: bool) -> None:
    stage, slow = CoalescingStage(), Slow(stream=stream)
    calls: list[Call] = []
    tasks = [asyncio.create_task(ask(stage, slow, calls)) for _ in range(2)]
    await asyncio.sleep(0.005)

    calls[0].presence.leave()

    assert (await tasks[1])[0] == (b"".join(EVENTS) if stream else b"{}")
    await tasks[0]
    assert slow.asked == 1


async def test_when_all_have_left_the_work_ends() -> None:
    stage, slow = CoalescingStage(), Slow(stream=True)
    calls: list[Call] = []
    tasks = [asyncio.create_task(ask(stage, slow, calls)) for _ in range(3)]
    await asyncio.sleep(0.015)

    for call in calls:
        call.presence.leave()
    ended = await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
    assert slow.closed


async def test_one_who_waits_may_leave_without_harm() -> None:
    stage, slow = CoalescingStage(), Slow()
    calls: list[Call] = []
    first, second, third = (asyncio.create_task(ask(stage, slow, calls)) for _ in range(3))
    await asyncio.sleep(0.005)

    calls[1].presence.leave()

    with pytest.raises(asyncio.CancelledError):
        await second
    assert (await first)[0] == (await third)[0] == b"{}"


async def test_when_the_first_is_cancelled_before_the_answer_another_one_asks() -> None:
    stage, slow = CoalescingStage(), Slow()
    first, second = (asyncio.create_task(ask(stage, slow)) for _ in range(2))
    await asyncio.sleep(0.005)

    first.cancel()

    assert (await second)[0] == b"{}"
    assert slow.asked == 2


async def test_who_joins_while_the_first_is_being_cancelled_asks_anew() -> None:
    stage, slow = CoalescingStage(), Slow(stream=True)
    first = asyncio.create_task(ask(stage, slow))
    await asyncio.sleep(0.015)
    first.cancel()

    second = await ask(stage, slow)

    assert second == (b"".join(EVENTS), CacheStatus.BYPASS)
    assert slow.asked == 2
    await asyncio.gather(first, return_exceptions=True)


async def test_who_reads_too_slowly_is_cut_off_and_the_others_are_not() -> None:
    class Long(Slow):
        async def events(self) -> AsyncGenerator[bytes, None]:
            for _ in range(12):
                yield b"x" * 1024 * 1024
                await asyncio.sleep(0.001)

    stage, source = CoalescingStage(), Long(stream=True)

    async def stuck() -> None:
        reply = await stage(call_for(BODY, key=b"same"), source)
        assert not isinstance(reply.body, bytes)
        await anext(reply.body)
        await asyncio.sleep(0.2)
        async for _ in reply.body:
            pass

    first = asyncio.create_task(ask(stage, source))
    slow = asyncio.create_task(stuck())

    assert len((await first)[0]) == 12 * 1024 * 1024
    with pytest.raises(CapacityError):
        await slow


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_is_everybodys(*, stream: bool) -> None:
    stage = CoalescingStage()
    slow = Slow(stream=stream, error=UpstreamFailedError("no", provider="p"))

    ended = await asyncio.gather(*(ask(stage, slow) for _ in range(3)), return_exceptions=True)

    assert [type(each) for each in ended] == [UpstreamFailedError] * 3
    assert slow.asked == 1
