"""What health and metrics say of breakers."""

from typing import Any

from app.domain import upstream_errors as errors
from app.domain.health import CheckStatus
from app.monitoring.health.history import History
from app.monitoring.health.watch import ProviderWatch
from app.monitoring.standings import StandingReadings
from app.providers.standing import Standings
from app.settings import BreakerSettings, RetrySettings
from tests.support.checks import Asked
from tests.support.metrics import made as made_metrics
from tests.support.metrics import value

REFUSED = errors.UpstreamAuthError("no", provider="one", key_refused=True)
UNREACHED = errors.unreached(errors.UpstreamConnectError("no", provider="one"))
FAILED = errors.UpstreamError("no", provider="one")


class Made:
    def __init__(self, *, asks: bool = True) -> None:
        self.standing = Standings(BreakerSettings(), RetrySettings()).of("one")
        self.heard: list[bool] = []
        self.asked = Asked("provider:one", max_age=0)
        self.watch = ProviderWatch(
            self.asked,
            History(made_metrics().health),
            told=lambda *, is_up: self.heard.append(is_up),
            standing=self.standing,
            asks=asks,
        )

    def fail(self, error: errors.UpstreamError, times: int = 1) -> None:
        for _ in range(times):
            self.standing.ended("m", float("inf"), error)
            self.watch.failing(error.word)

    async def ask(self) -> None:
        task = self.watch.refresh()
        assert task is not None
        await task

    @property
    def told(self) -> tuple[Any, ...]:
        return self.watch.check.status, self.watch.check.reason


def test_whom_nobody_is_sent_to_is_down_at_once() -> None:
    made = Made()

    made.fail(REFUSED)

    assert made.told == (CheckStatus.UNHEALTHY, "upstream_auth; the breaker is open")
    assert (made.heard, made.watch.is_up) == ([False], False)


def test_a_provider_that_calls_found_down_has_an_open_breaker_besides() -> None:
    made = Made()

    made.fail(UNREACHED, 5)

    said = "5 attempts in a row failed, the last with upstream_connect; the breaker is open"
    assert made.told == (CheckStatus.UNHEALTHY, said)


def test_a_model_that_is_left_alone_degrades_its_provider() -> None:
    made = Made()
    for _ in range(5):
        made.standing.ended("m", float("inf"), FAILED)

    status, reason = made.told
    assert status is CheckStatus.DEGRADED
    assert reason == "5 failures in a row, the last with upstream_error; the breaker of m is open"
    assert made.watch.is_up

    made.standing.known["m"].come_back()
    made.standing.ended("m", float("inf"), None, made.standing.begin("m"))

    assert made.told == (CheckStatus.HEALTHY, None)


async def test_a_question_that_is_answered_lets_the_next_call_try() -> None:
    made = Made()
    made.fail(UNREACHED, 5)
    assert made.standing.wait("m")
    made.watch._fresh_until = 0.0  # noqa: SLF001 - as if it had been silent for long

    await made.ask()

    assert made.standing.wait("m") == 0
    status, reason = made.told
    assert (status, made.watch.is_up) == (CheckStatus.DEGRADED, True)
    assert reason == "5 failures in a row, the last with upstream_connect; the breaker is half-open"


async def test_what_was_never_asked_lets_nobody_try() -> None:
    made = Made(asks=False)
    made.fail(UNREACHED, 5)
    made.watch._fresh_until = 0.0  # noqa: SLF001 - as if it had been silent for long

    await made.ask()

    assert made.standing.wait("m") > 0
    assert made.told == (
        CheckStatus.UNHEALTHY,
        "5 failures in a row, the last with upstream_connect; the breaker is open",
    )


def test_a_scrape_has_all_of_them_from_the_start() -> None:
    standings, metrics = Standings(BreakerSettings(), RetrySettings()), made_metrics()
    metrics.tally.add_source(StandingReadings(standings, ["one", "two"]))

    for scope in ("provider", "model"):
        assert value(metrics, "llm_circuit_breaker_state", provider="two", scope=scope) == 0
    one = standings.of("one")
    for _ in range(5):
        one.ended("m", float("inf"), FAILED)
    one.ended("m", float("inf"), REFUSED)
    one.skipped, one.retries.refused = 3, 4

    for scope in ("provider", "model"):
        assert value(metrics, "llm_circuit_breaker_state", provider="one", scope=scope) == 2
        labels = {"provider": "one", "scope": scope}
        assert value(metrics, "llm_circuit_breaker_transitions_total", **labels, to="open") == 1
        assert value(metrics, "llm_circuit_breaker_transitions_total", **labels, to="closed") == 0
    assert value(metrics, "llm_circuit_breaker_skips_total", provider="one") == 3
    assert value(metrics, "llm_retries_refused_total", provider="one") == 4
