"""Which failures tell against a provider, which against a model of it, and which against nobody."""

import asyncio
from typing import Any

import pytest

from app.domain import upstream_errors as errors
from app.domain.errors import QueueTimeoutError
from app.providers.breaker import State
from app.providers.standing import MOST_MODELS, NO_TRIAL, Standing, Standings
from app.settings import BreakerSettings, RetrySettings


class Made:
    def __init__(self, **fields: Any) -> None:
        self.now = 1000.0
        self.standing = Standing(
            "one", BreakerSettings(**fields), RetrySettings(), clock=lambda: self.now, chance=lambda: 0.0
        )

    def call(self, model: str, error: BaseException | None = None, *, times: int = 1) -> None:
        for _ in range(times):
            assert not self.standing.wait(model)
            trial = self.standing.begin(model)
            started, self.now = self.now, self.now + 0.001
            self.standing.ended(model, started, error, trial)


def failure(kind: type[errors.UpstreamError] = errors.UpstreamError, **fields: Any) -> errors.UpstreamError:
    return kind("no", provider="one", **fields)


def test_a_model_that_fails_leaves_the_others_alone() -> None:
    made = Made()

    made.call("ill", failure(), times=5)

    assert made.standing.wait("ill") == 10
    assert made.standing.wait("well") == 0
    assert made.standing.states() == (State.CLOSED, State.OPEN)
    assert (made.standing.trouble(), made.standing.why()) == (
        "the breaker of ill is open",
        "5 failures in a row, the last with upstream_error",
    )


def test_a_provider_out_of_reach_is_so_for_all_models() -> None:
    made = Made()

    for model in "abcde":
        made.call(model, errors.unreached(failure(errors.UpstreamConnectError, detail="Connection refused")))

    assert made.standing.wait("never asked") == 10
    assert made.standing.states() == (State.OPEN, State.CLOSED)
    assert made.standing.why() == "5 failures in a row, the last with upstream_connect: Connection refused"


def test_a_key_that_is_refused_is_enough_once() -> None:
    made = Made()

    made.call("a", failure(errors.UpstreamAuthError, key_refused=True))

    assert made.standing.wait("b") == 60


def test_money_or_a_right_may_lack_for_one_model_only() -> None:
    made = Made()

    made.call("a", failure(errors.UpstreamAuthError), times=5)

    assert (made.standing.wait("a"), made.standing.wait("b")) == (10, 0)


@pytest.mark.parametrize(
    "error",
    [
        failure(errors.UpstreamRejectedError, status=400),
        failure(errors.ContextLengthError, status=400),
        failure(errors.UpstreamNotFoundError, status=404),
        failure(errors.UpstreamRateLimitedError),
        failure(errors.UpstreamRateLimitedError, retry_after=30),
        QueueTimeoutError("full"),
        asyncio.CancelledError(),
        RuntimeError("ours"),
    ],
)
def test_what_is_not_the_providers_fault_opens_nothing(error: BaseException) -> None:
    made = Made()

    made.call("a", error, times=50)
    assert made.standing.known == {}
    made.call("a", failure(), times=4)
    made.call("a", error, times=50)

    assert made.standing.states() == (State.CLOSED, State.CLOSED)
    made.call("a", failure())
    assert made.standing.wait("a") == 10, "nor did it end the row"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), QueueTimeoutError("full"), GeneratorExit()])
@pytest.mark.parametrize("whole", [False, True])
def test_a_trial_that_is_cut_short_is_the_next_callers(error: BaseException, *, whole: bool) -> None:
    made, down = Made(), failure(errors.UpstreamConnectError)
    made.call("a", errors.unreached(down) if whole else down, times=5)
    made.now += 10

    trial = made.standing.begin("a")
    assert (any(trial), made.standing.wait("a")) == (True, 1)
    made.standing.ended("a", made.now, error, trial)

    assert made.standing.wait("a") == 0
    made.call("a")
    assert made.standing.states() == (State.CLOSED, State.CLOSED)


def test_whoever_is_answered_at_all_has_reached_the_provider() -> None:
    made = Made()
    made.call("a", errors.unreached(failure(errors.UpstreamConnectError)), times=5)
    made.now += 10

    made.call("a", failure())

    assert made.standing.states() == (State.CLOSED, State.CLOSED)
    made.call("a", failure(), times=4)
    assert made.standing.states() == (State.CLOSED, State.OPEN)


def test_a_stream_that_begins_has_reached_the_provider_and_is_still_to_prove_its_model() -> None:
    made = Made()
    made.call("a", errors.unreached(failure(errors.UpstreamConnectError)), times=5)
    made.now += 10
    started, trial = made.now, made.standing.begin("a")

    made.standing.answered("a", trial)
    assert made.standing.wait("a") == 0
    made.now += 1
    made.standing.ended("a", started, failure(errors.UpstreamTruncatedError))

    assert made.standing.states() == (State.CLOSED, State.CLOSED)


def test_a_free_question_that_is_answered_makes_the_next_call_the_trial() -> None:
    made, heard = Made(), list[str]()
    made.call("a", errors.unreached(failure(errors.UpstreamConnectError)), times=5)
    made.standing.heard = lambda: heard.append("turned")

    made.standing.reached()

    assert (made.standing.wait("a"), made.standing.states()[0], heard) == (0, State.HALF_OPEN, ["turned"])


def test_it_says_nothing_of_a_key_nor_of_a_model() -> None:
    made = Made()
    made.call("b", failure(), times=5)
    made.call("a", failure(errors.UpstreamAuthError, key_refused=True))

    made.standing.reached()

    assert (made.standing.wait("a"), made.standing.wait("b")) == (60, 60)


def test_who_does_well_again_is_forgotten() -> None:
    made = Made()
    made.call("a", failure(), times=5)
    made.now += 31
    made.call("a")

    assert made.standing.known == {}


def test_names_without_end_do_not_fill_the_memory() -> None:
    made = Made()
    made.call("kept", failure(), times=5)

    for number in range(3 * MOST_MODELS):
        made.call(f"made-up-{number}", failure())

    assert len(made.standing.known) <= MOST_MODELS + 1
    assert made.standing.wait("kept"), "an open breaker outlives closed ones"


def test_it_may_be_off() -> None:
    made = Made(failures=0)

    made.call("a", failure(), times=100)
    made.call("a", failure(errors.UpstreamAuthError, key_refused=True))

    assert (made.standing.known, made.standing.wait("a")) == ({}, 0)


def test_turns_are_counted_and_told() -> None:
    made, heard = Made(), list[str]()
    made.standing.heard = lambda: heard.append(made.standing.trouble())
    made.call("a", failure(), times=5)
    made.now += 10
    made.call("a")

    assert made.standing.turns == {("model", State.OPEN): 1, ("model", State.HALF_OPEN): 1, ("model", State.CLOSED): 1}
    assert heard == ["the breaker of a is open", "the breaker of a is half-open", ""]


def test_several_models_are_told_as_one_and_a_number() -> None:
    made = Made()

    for model in "abc":
        made.call(model, failure(), times=5)

    assert made.standing.trouble() == "the breaker of a, and 2 more, is open"


def test_what_is_known_outlives_the_settings() -> None:
    standings = Standings(BreakerSettings(), RetrySettings())
    standing = standings.of("one")
    for number in range(3):
        standing.ended("m", float(number), failure())
    assert (standings.troubled, standings.of("one")) == (True, standing)

    standings.configure(BreakerSettings(failures=4), RetrySettings(budget_per_second=7))
    standing.ended("m", 3.0, failure(), NO_TRIAL)

    assert standing.wait("m")
    assert standing.retries.settings.budget_per_second == 7
    assert list(standings.each()) == [standing]


def test_what_is_known_ends_with_the_breaker_or_the_row() -> None:
    standings = Standings(BreakerSettings(failures=1), RetrySettings())
    for name in ("one", "two"):
        standings.of(name).ended("m", 1.0, failure())

    standings.forget("one")
    assert (standings.of("one").wait("m"), bool(standings.of("two").wait("m"))) == (0, True)
    standings.configure(BreakerSettings(failures=0), RetrySettings())

    assert standings.of("two").wait("m") == 0
