"""A call is settled once, whatever becomes of it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.domain.errors import CancelledByShutdownError, Failure, GatewayError, ShuttingDownError
from app.domain.llm import LLMRequest, Operation, Reply
from app.domain.outcome import Outcome
from app.domain.passage import Passage
from app.domain.principal import ANONYMOUS
from app.domain.upstream_errors import UpstreamTruncatedError
from app.services.drain import Drain
from app.services.llm import LLMService
from app.services.presence import Presence
from app.services.stages.base import Call

REQUEST = LLMRequest.parse(Operation.CHAT, b'{"model":"m","messages":[],"stream":true}')


class Recording:
    def __init__(self) -> None:
        self.begun = 0
        self.outcomes: list[Outcome] = []

    def began(self) -> None:
        self.begun += 1

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Dispatch:
    def __init__(self, result: Any = None, *, break_with: Exception | None = None, slow: bool = False) -> None:
        self.result = result
        self.break_with = break_with
        self.slow = slow

    async def __call__(self, call: Call) -> Reply:
        if isinstance(self.result, Exception):
            raise self.result
        if self.slow and self.result == b"{}":
            await asyncio.sleep(10)
        return Reply(body=self.result or self.events(), provider="p", model="m")

    async def events(self) -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        if self.slow:
            await asyncio.sleep(10)
        if self.break_with is not None:
            raise self.break_with
        yield b"data: 2\n\n"


def service(dispatch: Dispatch) -> tuple[LLMService, Recording, Drain]:
    observer, drain = Recording(), Drain()
    return LLMService([], dispatch, [observer], drain), observer, drain


async def run(llm: LLMService, presence: Presence | None = None) -> bytes:
    task = asyncio.current_task()
    assert task is not None
    reply = await llm.run(REQUEST, caller=ANONYMOUS, request_id="id", presence=presence or Presence(task))
    if isinstance(reply.body, bytes):
        return reply.body
    return b"".join([event async for event in reply.body])


async def test_a_json_answer_settles_the_call() -> None:
    llm, observer, drain = service(Dispatch(b"{}"))

    await run(llm)

    assert [(each.error, each.provider) for each in observer.outcomes] == [(None, "p")]
    assert await drain.empty(within=0)


async def test_a_stream_settles_the_call_at_its_end() -> None:
    llm, observer, _ = service(Dispatch())

    await run(llm)

    (outcome,) = observer.outcomes
    assert outcome.error is None
    assert outcome.seconds_to_first_chunk is not None
    assert (outcome.chunks, outcome.chunk_bytes) == (2, 18)
    assert 0 < outcome.largest_gap <= outcome.seconds - outcome.seconds_to_first_chunk


async def test_of_a_stream_that_broke_what_was_sent_is_counted() -> None:
    llm, observer, _ = service(Dispatch(break_with=UpstreamTruncatedError("cut", provider="p")))

    with pytest.raises(UpstreamTruncatedError):
        await run(llm)

    (outcome,) = observer.outcomes
    assert (outcome.chunks, outcome.chunk_bytes, outcome.largest_gap) == (1, 9, 0.0)
    assert outcome.seconds_to_first_chunk is not None


async def test_the_passage_gets_the_outcome_and_the_end_of_the_stream() -> None:
    llm, observer, _ = service(Dispatch())
    task = asyncio.current_task()
    assert task is not None
    passage = Passage(1.0, 1.0)

    reply = await llm.run(REQUEST, ANONYMOUS, "id", Presence(task), passage=passage)
    before = passage.ended
    assert not isinstance(reply.body, bytes)
    async for _ in reply.body:
        pass

    assert before == 0 < passage.ended
    assert passage.outcome is observer.outcomes[0]


@pytest.mark.parametrize(
    ("dispatch", "word"),
    [
        (Dispatch(UpstreamTruncatedError("cut", provider="p")), Failure.UPSTREAM_TRUNCATED),
        (Dispatch(break_with=UpstreamTruncatedError("cut", provider="p")), Failure.UPSTREAM_TRUNCATED),
        (Dispatch(ZeroDivisionError()), Failure.INTERNAL),
        (Dispatch(break_with=ZeroDivisionError()), Failure.INTERNAL),
    ],
)
async def test_a_failure_settles_the_call_with_its_word(dispatch: Dispatch, word: Failure) -> None:
    llm, observer, drain = service(dispatch)

    with pytest.raises((GatewayError, ZeroDivisionError)):
        await run(llm)

    assert [each.error for each in observer.outcomes] == [word]
    assert await drain.empty(within=0)


@pytest.mark.parametrize("result", [b"{}", None])
async def test_a_caller_who_leaves_settles_the_call(result: bytes | None) -> None:
    llm, observer, drain = service(Dispatch(result, slow=True))
    task = asyncio.create_task(run(llm))
    await asyncio.sleep(0.01)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each.error for each in observer.outcomes] == [Failure.CLIENT_DISCONNECTED]
    assert await drain.empty(within=0)


async def test_a_stream_that_is_closed_early_settles_the_call() -> None:
    llm, observer, _ = service(Dispatch())
    task = asyncio.current_task()
    assert task is not None
    reply = await llm.run(REQUEST, caller=ANONYMOUS, request_id="id", presence=Presence(task))
    assert not isinstance(reply.body, bytes)
    await anext(reply.body)

    await reply.body.aclose()

    assert [each.error for each in observer.outcomes] == [Failure.CLIENT_DISCONNECTED]


@pytest.mark.parametrize("result", [b"{}", None])
async def test_what_is_cut_at_the_end_of_draining_ends_with_its_own_word(result: bytes | None) -> None:
    llm, observer, drain = service(Dispatch(result, slow=True))
    task = asyncio.create_task(run(llm))
    await asyncio.sleep(0.01)
    drain.begin()
    assert not await drain.empty(within=0.01)

    drain.cut()

    with pytest.raises(CancelledByShutdownError):
        await task
    assert [each.error for each in observer.outcomes] == [Failure.CANCELLED_BY_SHUTDOWN]
    assert await drain.empty(within=1)


async def test_no_call_begins_once_draining_has() -> None:
    llm, observer, drain = service(Dispatch(b"{}"))
    drain.begin()

    with pytest.raises(ShuttingDownError) as caught:
        await run(llm)

    assert caught.value.retry_after
    assert observer.outcomes == []


async def test_a_tap_that_fails_costs_nobody_the_settlement() -> None:
    class Failing:
        def saw(self, events: bytes) -> None:
            return None

        def ended(self, error: BaseException | None) -> None:
            raise OverflowError

    class Tapped(Dispatch):
        async def __call__(self, call: Call) -> Reply:
            call.taps.append(Failing())
            return await super().__call__(call)

    llm, observer, drain = service(Tapped())

    await run(llm)

    assert [each.error for each in observer.outcomes] == [None]
    assert await drain.empty(within=0)
