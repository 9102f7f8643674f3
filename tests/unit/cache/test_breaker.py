"""What fails three times is left alone, tried beside the calls, and ever more seldom."""

import asyncio
from collections.abc import Callable

from app.cache.breaker import FAILURES_TO_OPEN, Breaker, BreakerState
from tests.support.waiting import until

Told = list[tuple[BreakerState, str, float]]


class Server:
    """What is tried; well once `failures` trials have failed."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.tried = 0

    async def trial(self) -> None:
        self.tried += 1
        await asyncio.sleep(0)
        if self.tried <= self.failures:
            raise ConnectionError(f"no {self.tried}")


def breaker_of(
    server: Server, *, draw: float = 1.0, clock: Callable[[], float] = lambda: 0.0, first: float = 0.001
) -> tuple[Breaker, Told]:
    told: Told = []
    made = Breaker(
        server.trial, lambda *each: told.append(each), first=first, longest=0.004, draw=lambda: draw, clock=clock
    )
    return made, told


def fail(breaker: Breaker, times: int = FAILURES_TO_OPEN) -> None:
    for _ in range(times):
        breaker.failed("down")


async def test_it_opens_after_three_failures_in_a_row() -> None:
    breaker, told = breaker_of(Server())
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.closed

    fail(breaker, 5)

    assert not breaker.closed
    await until(lambda: breaker.closed)
    assert [state for state, _, _ in told] == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


async def test_one_trial_at_a_time_and_each_interval_twice_the_last_up_to_a_bound() -> None:
    server = Server(failures=4)
    breaker, told = breaker_of(server)

    fail(breaker)
    await until(lambda: breaker.closed)

    opened = [(reason, seconds) for state, reason, seconds in told if state is BreakerState.OPEN]
    assert opened == [("down", 0.001), ("no 1", 0.002), ("no 2", 0.004), ("no 3", 0.004), ("no 4", 0.004)]
    assert server.tried == 5


async def test_a_random_half_of_an_interval_is_left_out() -> None:
    breaker, told = breaker_of(Server(), draw=0.0)

    fail(breaker)
    await until(lambda: breaker.closed)

    assert told[0] == (BreakerState.OPEN, "down", 0.0005)


async def test_who_fails_again_at_once_waits_longer_and_who_stayed_well_does_not() -> None:
    now = [0.0]
    breaker, told = breaker_of(Server(), clock=lambda: now[0])
    for later in (0.001, 10.0):
        fail(breaker)
        await until(lambda: breaker.closed)
        now[0] += later
    fail(breaker)

    assert [seconds for state, _, seconds in told if state is BreakerState.OPEN] == [0.001, 0.002]
    await until(lambda: breaker.closed)
    assert [seconds for state, _, seconds in told if state is BreakerState.OPEN] == [0.001, 0.002, 0.001]


async def test_once_it_is_closed_for_good_nothing_is_tried() -> None:
    server = Server()
    breaker, _ = breaker_of(server, first=0.02)
    fail(breaker)

    breaker.close()
    await asyncio.sleep(0.05)

    assert server.tried == 0
