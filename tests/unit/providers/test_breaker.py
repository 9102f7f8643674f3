"""Closed, open, half-open: when it turns, who is the trial, and what old calls may still say."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.providers.breaker import EVIDENCE, FORGOTTEN_SECONDS, Breaker, State
from app.settings import BreakerSettings


class Made:
    """A breaker on a clock that a test moves; `luck` 0 makes the longest intervals."""

    def __init__(self, *, luck: float = 0.0, **fields: Any) -> None:
        self.now = 1000.0
        self.turns: list[State] = []
        self.breaker = Breaker(
            BreakerSettings(**fields), heard=self.turns.append, clock=lambda: self.now, chance=lambda: luck
        )

    def fail(self, times: int = 1, *, at_once: bool = False) -> None:
        """Calls begin and fail, one after the other, where they may."""
        for _ in range(times):
            assert self.breaker.wait() == 0
            trial = self.breaker.begin()
            started, self.now = self.now, self.now + 0.001
            self.breaker.failed(started, "no", trial=trial, at_once=at_once)

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.breaker.wait() == 0
            trial = self.breaker.begin()
            started, self.now = self.now, self.now + 0.001
            self.breaker.well(started, trial=trial)


def test_it_opens_with_the_fifth_failure_in_a_row() -> None:
    made = Made()

    made.fail(4)
    made.succeed()
    made.fail(4)
    assert made.breaker.state is State.CLOSED
    made.fail()

    assert (made.breaker.state, made.breaker.wait()) == (State.OPEN, 10)
    assert made.breaker.reason == "5 failures in a row, the last with no"


def test_it_opens_when_most_of_many_calls_fail() -> None:
    made = Made(window_seconds=30)

    for _ in range(EVIDENCE // 2 - 1):
        made.fail()
        made.succeed()
    made.fail()
    made.succeed()
    assert made.breaker.state is State.CLOSED, "a half is not most"
    made.fail()

    assert made.breaker.state is State.OPEN
    assert made.breaker.reason == "11 of 21 calls failed, the last with no"


def test_failures_of_another_window_do_not_count_as_a_share() -> None:
    made = Made(window_seconds=30)

    for _ in range(EVIDENCE):
        made.fail()
        made.succeed()
        made.now += 3

    assert made.breaker.state is State.CLOSED


def test_failures_ten_minutes_apart_are_no_row() -> None:
    made = Made()

    for _ in range(10):
        made.fail()
        made.now += FORGOTTEN_SECONDS

    assert made.turns == []


def test_each_interval_is_twice_the_one_before_up_to_a_minute() -> None:
    made = Made()
    made.fail(5)
    waits = []

    for _ in range(5):
        waits.append(made.breaker.wait())
        made.now += waits[-1]
        made.fail()

    assert waits == pytest.approx([10, 20, 40, 60, 60])


def test_a_longer_first_interval_is_the_longest_too() -> None:
    made = Made(open_seconds=300)

    made.fail(5)

    assert made.breaker.wait() == 300


def test_chance_takes_up_to_a_quarter_of_an_interval() -> None:
    made = Made(luck=1.0)

    made.fail(5)

    assert made.breaker.wait() == 7.5


def test_what_does_not_heal_opens_it_at_once_and_for_long() -> None:
    made = Made()

    made.fail(at_once=True)

    assert (made.breaker.state, made.breaker.wait(), made.breaker.stubborn) == (State.OPEN, 60, True)


def test_one_call_is_the_trial_and_its_success_closes() -> None:
    made = Made()
    made.fail(5)
    made.now += 10

    assert made.breaker.state is State.HALF_OPEN
    assert made.breaker.begin()
    assert made.breaker.wait() > 0, "others are not sent while it goes on"
    made.breaker.well(made.now, trial=True)

    assert made.turns == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    assert (made.breaker.wait(), made.breaker.begin()) == (0, False)
    made.fail(5)
    assert made.breaker.wait() == 10, "intervals begin anew"


def test_a_trial_that_tells_nothing_leaves_the_next_caller_the_trial() -> None:
    made = Made()
    made.fail(5)
    made.now += 10
    assert made.breaker.begin()

    made.breaker.release()

    assert (made.breaker.state, made.breaker.wait()) == (State.HALF_OPEN, 0)
    assert made.breaker.begin()


def test_a_trial_that_is_a_stream_lets_others_in_until_it_breaks() -> None:
    made = Made()
    made.fail(5)
    made.now += 10
    started = made.now
    assert made.breaker.begin()

    made.breaker.answered()
    assert (made.breaker.state, made.breaker.wait()) == (State.CLOSED, 0)
    made.now += 5
    made.breaker.failed(started, "cut", trial=False)

    assert (made.breaker.state, made.breaker.wait()) == (State.OPEN, 20)
    assert made.breaker.reason == "failed again with cut"


def test_what_began_before_it_opened_tells_nothing_of_the_time_after() -> None:
    made = Made()
    early = made.now
    made.now += 1
    made.fail(5)
    due = made.breaker.wait()

    made.breaker.failed(early, "no", trial=False)
    made.breaker.well(early, trial=False)
    assert (made.breaker.state, made.breaker.wait()) == (State.OPEN, due)
    made.now += due
    made.succeed()
    for _ in range(9):
        made.breaker.failed(early, "no", trial=False)

    assert made.breaker.state is State.CLOSED


def test_nobody_tries_for_ten_minutes_and_it_is_forgotten() -> None:
    made = Made()
    made.fail(5)
    made.now += 10 + FORGOTTEN_SECONDS

    assert (made.breaker.state, made.breaker.quiet) == (State.CLOSED, True)
    assert (made.breaker.wait(), made.breaker.begin()) == (0, False)
    assert made.turns == [State.OPEN, State.CLOSED]


def test_it_is_quiet_when_its_window_has_passed_without_a_failure() -> None:
    made = Made()
    made.fail()
    made.succeed()
    assert not made.breaker.quiet

    made.now += 30

    assert made.breaker.quiet


class Machine(RuleBasedStateMachine):
    """Any order of calls that begin, end in any way and take any time, against what must always hold."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[tuple[float, bool]] = []
        self.row = self.failures_seen = 0
        self.opened = float("-inf")

    @initialize(failures=st.integers(1, 6), luck=st.floats(0, 1))
    def make(self, failures: int, luck: float) -> None:
        self.made = Made(luck=luck, failures=failures, error_percent=100)
        self.breaker = self.made.breaker
        self.limit = failures

    @rule(seconds=st.sampled_from([0.0, 0.5, 7.0, 10.0, 61.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.made.now += seconds

    @rule()
    def a_call_comes(self) -> None:
        if self.breaker.wait():
            assert self.breaker.state is not State.CLOSED
            return
        before = self.breaker.state
        trial = self.breaker.begin()
        assert trial is (before is not State.CLOSED)
        self.running.append((self.made.now, trial))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["well", "failed", "at once", "released", "streams"]))
    def a_call_ends(self, data: st.DataObject, how: str) -> None:
        started, trial = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        state, wait = self.breaker.state, self.breaker.wait()
        if how == "well":
            self.breaker.well(started, trial=trial)
        elif how == "streams" and trial:
            self.breaker.answered()
            self.running.append((started, False))
        elif how in {"failed", "at once"}:
            self.breaker.failed(started, "no", trial=trial, at_once=how == "at once")
        elif trial:
            self.breaker.release()
        after = self.breaker.state
        if not trial and started <= self.opened:
            assert (after, self.breaker.wait()) == (state, wait), "a call from before the opening changed something"
        if trial:
            expected = {"well": State.CLOSED, "streams": State.CLOSED, "released": after}.get(how, State.OPEN)
            assert after is expected
        if after is State.OPEN and (state is not State.OPEN or trial):
            assert how in {"failed", "at once"}, "only a failure opens"
            assert 7.5 <= self.breaker.wait() <= 60
            self.opened = self.made.now

    @invariant()
    def at_most_one_is_the_trial(self) -> None:
        assert sum(trial for _, trial in self.running) <= 1

    @invariant()
    def it_lets_callers_in_or_says_when(self) -> None:
        if not hasattr(self, "breaker"):
            return
        wait, state = self.breaker.wait(), self.breaker.state
        assert 0 <= wait <= 60
        assert not (state is State.CLOSED and wait), "closed, and yet it keeps callers out"
        trying = any(trial for _, trial in self.running)
        assert bool(wait) is (trying or state is State.OPEN)

    def teardown(self) -> None:
        """Whatever has happened: once the running calls are over and time has passed, a good call closes it."""
        if not hasattr(self, "breaker"):
            return
        for _, trial in self.running:
            if trial:
                self.breaker.release()
        self.made.now += 60
        self.made.succeed()
        assert self.breaker.state is State.CLOSED


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
